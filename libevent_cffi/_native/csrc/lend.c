/*
 * Memory that an evbuffer only refers to: objects of Python's, blocks of our own, snapshots.
 *
 * libevent calls the cleanup function of such a chain on whichever thread drops it, in the middle of a change.  So
 * none of these runs Python: they count atomically, and what Python has to hear of goes on a list.
 */

/* -- objects of Python's --------------------------------------------------------------------------------- */

static struct lev_ref *lev_released;

/* Have every loop that runs look at the list: the thread that let go may be waiting in one of them. */
static void lev_released_wake(void)
{
    struct lev_base *l;

    lev_bases_lock();
    for (l = lev_bases; l != NULL; l = l->next) {
        if (!LEV_LOAD(&l->running))
            continue;
        lev_mutex_lock(&l->gate);
        if (l->eb != NULL && !l->closed && !l->forked)
            lev_wake(l);
        lev_mutex_unlock(&l->gate);
    }
    lev_bases_unlock();
}

static void lev_release_push(struct lev_ref *ref)
{
    struct lev_ref *first = LEV_LOAD_POINTER(&lev_released);

    do
        ref->next = first;
    while (!LEV_CAS_POINTER(&lev_released, &first, ref));
}

static void lev_ref_release(struct lev_ref *ref)
{
    ref->thread = lev_will_ask ? LEV_ME : 0;
    lev_release_push(ref);
    if (LEV_ADD(&lev_released_count, 1) == 1)
        lev_released_wake();
}

static struct lev_ref *lev_ref_new(int64_t token)
{
    struct lev_ref *ref = lev_malloc(sizeof(*ref));

    if (ref != NULL)
        ref->token = token;
    return ref;
}

/* What this thread has gathered, and Python not yet taken. */
static LEV_THREAD_LOCAL struct lev_ref *lev_gathered;

/*
 * Gather the objects that C has let go of, to be taken first; how many.  What another thread's call let go of is left
 * for the end of that call, unless "all" are asked for.
 */
static int lev_released_gather(int all)
{
    struct lev_ref *ref = LEV_SWAP_POINTER(&lev_released, NULL), *in_order = NULL, *next, *before = lev_gathered;
    struct lev_ref **end = &lev_gathered;
    int count = 0, attempt;

    for (attempt = 0; ref == NULL && LEV_LOAD(&lev_released_count) > 0 && attempt < 100; attempt++) {
        lev_yield();                    /* another thread is looking through the list */
        ref = LEV_SWAP_POINTER(&lev_released, NULL);
    }
    for (; ref != NULL; ref = next) {   /* the last one came first: turn them round */
        next = ref->next;
        ref->next = in_order;
        in_order = ref;
    }
    for (ref = in_order; ref != NULL; ref = next) {
        next = ref->next;
        if (!all && ref->thread != 0 && ref->thread != LEV_ME) {
            lev_release_push(ref);
            continue;
        }
        *end = ref;
        end = &ref->next;
        LEV_ADD(&lev_released_count, -1);
        count++;
    }
    *end = before;
    return count;
}

/* The token of the next one that was gathered, which is forgotten; 0 when there is none. */
static int64_t lev_released_next(void)
{
    struct lev_ref *ref = lev_gathered;
    int64_t token;

    if (ref == NULL)
        return 0;
    lev_gathered = ref->next;
    token = ref->token;
    lev_free(ref);
    return token;
}

/* Let others take what this thread has gathered. */
static void lev_released_give_back(void)
{
    struct lev_ref *ref;

    while ((ref = lev_gathered) != NULL) {
        lev_gathered = ref->next;
        lev_release_push(ref);
        LEV_ADD(&lev_released_count, 1);
    }
}

static void lev_on_ref_gone(const void *data, size_t size, void *arg)
{
    (void)data;
    (void)size;
    lev_ref_release(arg);
}

/* -- blocks of our own ----------------------------------------------------------------------------------- */

union lev_block {
    long refs;
    double aligned[2];          /* so that what follows is */
};

/* Memory of all zeroes, with one reference; it is known by where its bytes begin. */
static void *lev_block_new(size_t size)
{
    union lev_block *block;

    if (size > SIZE_MAX / 2)
        return NULL;
    block = lev_calloc(1, sizeof(*block) + size);
    if (block == NULL)
        return NULL;
    block->refs = 1;
    return block + 1;
}

static void lev_block_unref(void *data)
{
    union lev_block *block = (union lev_block *)data - 1;

    if (LEV_ADD(&block->refs, -1) == 0)
        lev_free(block);
}

static void lev_on_block_gone(const void *data, size_t size, void *arg)
{
    (void)data;
    (void)size;
    lev_block_unref(arg);
}

/* Add its first bytes to an evbuffer, by reference. */
static int lev_block_add(struct evbuffer *eb, void *data, size_t size)
{
    LEV_ADD(&((union lev_block *)data - 1)->refs, 1);
    if (evbuffer_add_reference(eb, data, size, lev_on_block_gone, data) == 0)
        return 0;
    lev_block_unref(data);
    return -1;
}

/* -- snapshots ------------------------------------------------------------------------------------------- */

/*
 * Chains that were taken out of a buffer for views to show.  Nothing changes them any more.  The buffer got chains
 * that refer to them in their place; each of those counts, and each view.
 */
struct lev_pin {
    long refs;
    int count;
    struct evbuffer *eb;
    struct lev_pin *next;
    struct evbuffer_iovec chunks[1];
};

static LEV_THREAD_LOCAL struct lev_pin *lev_dying_pins;
static LEV_THREAD_LOCAL int lev_freeing_pins;

/* Chains of a snapshot may refer to older ones: they are freed one after the other, not one inside the other. */
static void lev_pin_unref(struct lev_pin *pin)
{
    if (LEV_ADD(&pin->refs, -1) != 0)
        return;
    pin->next = lev_dying_pins;
    lev_dying_pins = pin;
    if (lev_freeing_pins)
        return;
    lev_freeing_pins = 1;
    while ((pin = lev_dying_pins) != NULL) {
        lev_dying_pins = pin->next;
        evbuffer_free(pin->eb);
        lev_free(pin);
    }
    lev_freeing_pins = 0;
}

static void lev_on_pin_gone(const void *data, size_t size, void *arg)
{
    (void)data;
    (void)size;
    lev_pin_unref(arg);
}

/* Make one of all that eb holds; eb is left empty. NULL: no memory, and nothing has changed. */
static struct lev_pin *lev_pin_new(struct evbuffer *eb, int count)
{
    struct lev_pin *pin = lev_calloc(1, sizeof(*pin) + (size_t)count * sizeof(pin->chunks[0]));

    if (pin == NULL)
        return NULL;
    pin->refs = 1;
    pin->count = evbuffer_peek(eb, -1, NULL, pin->chunks, count);
    pin->eb = evbuffer_new();
    if (pin->eb == NULL || evbuffer_add_buffer(pin->eb, eb) != 0) {
        if (pin->eb != NULL)
            evbuffer_free(pin->eb);
        lev_free(pin);
        return NULL;
    }
    return pin;
}

/* Fill eb, which is empty, with references to it. */
static int lev_pin_refer(struct lev_pin *pin, struct evbuffer *eb)
{
    int i;

    for (i = 0; i < pin->count; i++) {
        if (pin->chunks[i].iov_len == 0)
            continue;
        LEV_ADD(&pin->refs, 1);
        if (evbuffer_add_reference(eb, pin->chunks[i].iov_base, pin->chunks[i].iov_len, lev_on_pin_gone, pin) != 0) {
            LEV_ADD(&pin->refs, -1);
            evbuffer_drain(eb, evbuffer_get_length(eb));
            evbuffer_add_buffer(eb, pin->eb);
            return -1;
        }
    }
    return 0;
}

/* For ffi.new_allocator(), so that no interrupt can lose what is put into one. */
static void *lev_view_alloc(size_t size)
{
    return lev_calloc(1, size);
}

static void lev_view_drop(void *memory)
{
    struct lev_view *view = memory;

    if (view->pin != NULL)
        lev_pin_unref(view->pin);
    lev_free(view->chunks);
    lev_free(view);
}

static int lev_view_chunk(struct lev_view *view, int index, char **data, size_t *size)
{
    if (index >= view->count)
        return 0;
    *data = view->chunks[index].iov_base;
    *size = view->chunks[index].iov_len;
    return 1;
}

/* Is this one of its chunks, or a part of one?  *next is where to look first, and then behind what was found. */
static int lev_pin_shows(struct lev_pin *pin, struct evbuffer_iovec *chunk, int *next)
{
    char *start = chunk->iov_base, *base;
    int i, at = *next;

    for (i = 0; i < pin->count; i++, at++) {
        if (at >= pin->count)
            at = 0;
        base = pin->chunks[at].iov_base;
        if (start >= base && start + chunk->iov_len <= base + pin->chunks[at].iov_len) {
            *next = at + 1;
            return 1;
        }
    }
    return 0;
}
