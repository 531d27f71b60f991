/*
 * Where events live: slots in chunks, named by tokens.
 *
 * An event has a slot only while libevent knows it.  Python holds no pointer to it but a token: the number of
 * the slot, and how many events its base ever had when this one came.  A token is good for one life, so a late
 * or mistaken one is found out and ignored, whatever its slot is used for meanwhile.
 */

#define LEV_CHUNK 64
#define LEV_INDEX_BITS 24

struct lev_event {
    struct event ev;
    int64_t token;              /* 0: free */
    int calls;                  /* signals that came and were not told yet; free: the next free slot, or -1 */
    unsigned char form;         /* LEV_FORM_ */
    unsigned char signum;       /* 0: no signal */
    unsigned char attached;     /* stands in fds, or among the base's signal events */
    short todo;                 /* what happened and was not delivered: it stands on the list */
};

struct lev_chunk {
    struct lev_base *base;
    int used;
    int free;                   /* first free slot, or -1 */
    int before, after;          /* among the chunks with room; -1: none */
    struct lev_event slots[LEV_CHUNK];
};

static struct lev_event *lev_slot(struct lev_base *l, int64_t token)
{
    int index = (int)(token & ((1 << LEV_INDEX_BITS) - 1));
    struct lev_chunk *chunk;
    struct lev_event *e;

    if (token <= 0 || index / LEV_CHUNK >= l->chunk_count)
        return NULL;
    chunk = l->chunks[index / LEV_CHUNK];
    if (chunk == NULL)
        return NULL;
    e = &chunk->slots[index % LEV_CHUNK];
    return e->token == token ? e : NULL;
}

static struct lev_base *lev_event_base(struct lev_event *e)
{
    struct lev_event *first = e - (e->token & ((1 << LEV_INDEX_BITS) - 1)) % LEV_CHUNK;

    return ((struct lev_chunk *)((char *)first - offsetof(struct lev_chunk, slots)))->base;
}

/* -- chunks with room ------------------------------------------------------------------------------------ */

static void lev_room_link(struct lev_base *l, int place)
{
    struct lev_chunk *chunk = l->chunks[place];

    chunk->before = -1;
    chunk->after = l->roomy;
    if (l->roomy >= 0)
        l->chunks[l->roomy]->before = place;
    l->roomy = place;
}

static void lev_room_unlink(struct lev_base *l, int place)
{
    struct lev_chunk *chunk = l->chunks[place];

    if (chunk->before >= 0)
        l->chunks[chunk->before]->after = chunk->after;
    else
        l->roomy = chunk->after;
    if (chunk->after >= 0)
        l->chunks[chunk->after]->before = chunk->before;
}

/* The list of chunks may move: a thread that does not own the base reads it under the gate only. */
static int lev_chunk_place(struct lev_base *l)
{
    struct lev_chunk **more;
    int i, count = l->chunk_count ? l->chunk_count * 2 : 4;

    for (i = l->chunk_hint; i < l->chunk_count; i++)
        if (l->chunks[i] == NULL)
            return i;
    if (count > (1 << LEV_INDEX_BITS) / LEV_CHUNK) {
        errno = ENOMEM;
        return -1;
    }
    lev_mutex_lock(&l->gate);
    more = lev_realloc(l->chunks, (size_t)count * sizeof(*more));
    if (more != NULL) {
        memset(more + l->chunk_count, 0, (size_t)(count - l->chunk_count) * sizeof(*more));
        l->chunks = more;
        l->chunk_count = count;
    }
    lev_mutex_unlock(&l->gate);
    return more != NULL ? i : -1;
}

static int lev_chunk_new(struct lev_base *l)
{
    int i, place = lev_chunk_place(l);
    struct lev_chunk *chunk = place < 0 ? NULL : lev_calloc(1, sizeof(*chunk));

    if (chunk == NULL)
        return -1;
    for (i = 0; i < LEV_CHUNK; i++)
        chunk->slots[i].calls = i + 1 < LEV_CHUNK ? i + 1 : -1;
    chunk->base = l;
    l->chunks[place] = chunk;
    l->chunk_hint = place + 1;
    lev_room_link(l, place);
    return 0;
}

static void lev_chunk_free(struct lev_base *l, int place)
{
    struct lev_chunk *chunk = l->chunks[place];
    int i;

    lev_mutex_lock(&l->gate);
    if (lev_debug_mode_on)      /* under the gate: another thread may be looking at one of them still */
        for (i = 0; i < LEV_CHUNK; i++)
            event_debug_unassign(&chunk->slots[i].ev);
    l->chunks[place] = NULL;
    lev_mutex_unlock(&l->gate);
    if (place < l->chunk_hint)
        l->chunk_hint = place;
    lev_free(chunk);
}

/* -- slots ----------------------------------------------------------------------------------------------- */

static struct lev_event *lev_slot_new(struct lev_base *l)
{
    struct lev_chunk *chunk;
    struct lev_event *e;
    int place, index;

    if (l->roomy < 0 && lev_chunk_new(l) != 0)
        return NULL;
    place = l->roomy;
    chunk = l->chunks[place];
    index = chunk->free;
    e = &chunk->slots[index];
    chunk->free = e->calls;
    chunk->used++;
    if (chunk->free < 0)
        lev_room_unlink(l, place);
    l->used++;
    e->token = (++l->uses << LEV_INDEX_BITS) | (place * LEV_CHUNK + index);
    e->calls = 0;
    e->todo = e->attached = e->signum = 0;
    return e;
}

static void lev_slot_free(struct lev_base *l, struct lev_event *e)
{
    int index = (int)(e->token & ((1 << LEV_INDEX_BITS) - 1));
    int place = index / LEV_CHUNK;
    struct lev_chunk *chunk = l->chunks[place];

    e->token = 0;
    e->calls = chunk->free;
    chunk->free = index % LEV_CHUNK;
    l->used--;
    if (chunk->used-- == LEV_CHUNK)
        lev_room_link(l, place);
    else if (chunk->used == 0 && (l->roomy != place || chunk->after >= 0)) {
        lev_room_unlink(l, place);      /* another one has room */
        lev_chunk_free(l, place);
    }
}

static void lev_slots_destroy(struct lev_base *l)
{
    int i;

    for (i = 0; i < l->chunk_count; i++)
        if (l->chunks[i] != NULL)
            lev_chunk_free(l, i);
    lev_mutex_lock(&l->gate);
    lev_free(l->chunks);
    l->chunks = NULL;
    l->chunk_count = 0;
    lev_mutex_unlock(&l->gate);
}
