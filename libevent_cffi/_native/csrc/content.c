/* Looking into a buffer: nothing here is a change to its users. */

static int64_t lev_buffer_length(struct lev_buffer *b)
{
    int64_t result;
    int entered = lev_buffer_enter(b);

    if (entered < 0)
        return entered;
    result = (int64_t)evbuffer_get_length(b->eb);
    lev_buffer_leave(b, entered);
    return result;
}

static int64_t lev_buffer_contiguous(struct lev_buffer *b)
{
    int64_t result;
    int entered = lev_buffer_enter(b);

    if (entered < 0)
        return entered;
    result = (int64_t)evbuffer_get_contiguous_space(b->eb);
    lev_buffer_leave(b, entered);
    return result;
}

static int64_t lev_buffer_max_read(struct lev_buffer *b, int64_t size)
{
    int64_t result = 0;
    int entered = lev_buffer_enter(b);

    if (entered < 0)
        return entered;
#if LEV_HAVE_evbuffer_set_max_read && LEV_HAVE_evbuffer_get_max_read
    if (size > 0 && evbuffer_set_max_read(b->eb, (size_t)size) != 0)
        result = LEV_FROZEN;
    if (size <= 0)
        result = (int64_t)evbuffer_get_max_read(b->eb);
#else
    result = size > 0 ? LEV_FROZEN : 4096;      /* buffer.c:EVBUFFER_MAX_READ */
#endif
    lev_buffer_leave(b, entered);
    return result;
}

/* Set a pointer; 0 when it is past the end. */
static int lev_point(struct evbuffer *eb, struct evbuffer_ptr *at, int64_t offset)
{
    return offset <= (int64_t)evbuffer_get_length(eb)
        && evbuffer_ptr_set(eb, at, (size_t)offset, EVBUFFER_PTR_SET) == 0;
}

/* The offset of the first match that begins at or after start and ends before end, which may be -1. */
static int64_t lev_buffer_search(struct lev_buffer *b, const char *what, size_t size, int64_t start, int64_t end)
{
    struct evbuffer_ptr from, to, found;
    int64_t length, result = LEV_NOT_FOUND;
    int entered = lev_buffer_enter(b);

    if (entered < 0)
        return entered;
    length = (int64_t)evbuffer_get_length(b->eb);
    if (end < 0 || end > length)
        end = length;
    if (b->holds_file)
        result = LEV_HOLDS_FILE;
    else if (size == 0)
        result = start <= end ? start : LEV_NOT_FOUND;
    else if (start <= end && lev_point(b->eb, &from, start) && lev_point(b->eb, &to, end)) {
        found = end == length ? evbuffer_search(b->eb, what, size, &from)
                              : evbuffer_search_range(b->eb, what, size, &from, &to);
        if (found.pos >= 0)
            result = (int64_t)found.pos;
    }
    lev_buffer_leave(b, entered);
    return result;
}

/* The offset of the first end of a line at or after start; *size is how long it is. */
static int64_t lev_buffer_search_eol(struct lev_buffer *b, int style, int64_t start, size_t *size)
{
    struct evbuffer_ptr from, found;
    int64_t result = LEV_NOT_FOUND;
    int entered = lev_buffer_enter(b);

    if (entered < 0)
        return entered;
    if (b->holds_file)
        result = LEV_HOLDS_FILE;
    else if (lev_point(b->eb, &from, start)) {
        found = evbuffer_search_eol(b->eb, &from, size, (enum evbuffer_eol_style)style);
        if (found.pos >= 0)
            result = (int64_t)found.pos;
    }
    lev_buffer_leave(b, entered);
    return result;
}

/* Are these its bytes? */
static int lev_buffer_equals(struct lev_buffer *b, const char *data, size_t size)
{
    struct evbuffer_iovec chunk;
    struct evbuffer_ptr at;
    int result, entered = lev_buffer_enter(b);

    if (entered < 0)
        return entered;
    result = evbuffer_get_length(b->eb) == size;
    if (b->holds_file && result)
        result = LEV_HOLDS_FILE;
    evbuffer_ptr_set(b->eb, &at, 0, EVBUFFER_PTR_SET);
    while (result == 1 && size > 0 && evbuffer_peek(b->eb, 1, &at, &chunk, 1) > 0) {
        result = memcmp(data, chunk.iov_base, chunk.iov_len) == 0;
        data += chunk.iov_len;
        size -= chunk.iov_len;
        evbuffer_ptr_set(b->eb, &at, chunk.iov_len, EVBUFFER_PTR_ADD);
    }
    lev_buffer_leave(b, entered);
    return result;
}

/* Have two the same bytes?  Both end with the same chunk when they do, however they are cut. */
static int lev_same_bytes(struct evbuffer *one, struct evbuffer *other)
{
    struct evbuffer *all[2] = {one, other};
    struct evbuffer_iovec chunks[2];
    struct evbuffer_ptr at[2];
    size_t left = evbuffer_get_length(one), part;
    int i;

    if (left != evbuffer_get_length(other))
        return 0;
    for (i = 0; i < 2; i++)
        evbuffer_ptr_set(all[i], &at[i], 0, EVBUFFER_PTR_SET);
    while (left > 0) {
        for (i = 0; i < 2; i++)
            if (evbuffer_peek(all[i], 1, &at[i], &chunks[i], 1) <= 0)
                return 0;
        part = chunks[0].iov_len < chunks[1].iov_len ? chunks[0].iov_len : chunks[1].iov_len;
        if (memcmp(chunks[0].iov_base, chunks[1].iov_base, part) != 0)
            return 0;
        for (i = 0; i < 2; i++)
            evbuffer_ptr_set(all[i], &at[i], part, EVBUFFER_PTR_ADD);
        left -= part;
    }
    return 1;
}

static int lev_buffer_same(struct lev_buffer *one, struct lev_buffer *other)
{
    int entered[2], result = lev_buffer_enter_two(one, other, entered);

    if (result < 0)
        return result;
    if (one->holds_file || other->holds_file)
        result = LEV_HOLDS_FILE;
    else
        result = lev_same_bytes(one->eb, other->eb);
    lev_buffer_leave_two(one, other, entered);
    return result;
}

/* Add a copy of what the other one holds. */
static int lev_buffer_add_copy(struct lev_buffer *to, struct lev_buffer *from)
{
    struct evbuffer_iovec chunk;
    struct evbuffer_ptr at;
    struct evbuffer *copy;
    int entered[2], result = lev_buffer_enter_two(to, from, entered);

    if (result < 0)
        return result;
    copy = evbuffer_new();
    if (copy == NULL || evbuffer_expand(copy, evbuffer_get_length(from->eb)) != 0)
        result = LEV_NO_MEMORY;
    if (from->holds_file)
        result = LEV_HOLDS_FILE;
    evbuffer_ptr_set(from->eb, &at, 0, EVBUFFER_PTR_SET);
    while (result == 0 && evbuffer_peek(from->eb, 1, &at, &chunk, 1) > 0) {
        if (evbuffer_add(copy, chunk.iov_base, chunk.iov_len) != 0)
            result = LEV_NO_MEMORY;
        evbuffer_ptr_set(from->eb, &at, chunk.iov_len, EVBUFFER_PTR_ADD);
    }
    if (result == 0)
        result = evbuffer_add_buffer(to->eb, copy) == 0 ? lev_added(to, evbuffer_get_length(from->eb))
                                                        : lev_buffer_refusal();
    if (result == 0 && evbuffer_get_length(from->eb) > 0)
        to->lent_end = 0;
    if (copy != NULL)
        evbuffer_free(copy);
    lev_buffer_leave_two(to, from, entered);
    return result;
}

/* Have the first bytes lie in one piece; how many, or all. */
static int64_t lev_buffer_pullup(struct lev_buffer *b, int64_t size)
{
    int64_t length;
    int entered = lev_buffer_enter(b);

    if (entered < 0)
        return entered;
    length = (int64_t)evbuffer_get_length(b->eb);
    if (size < 0 || size > length)
        size = length;
    if (b->holds_file && size > 0)
        size = LEV_HOLDS_FILE;
    else if (size > 0 && evbuffer_pullup(b->eb, (ev_ssize_t)size) == NULL)
        size = LEV_NO_MEMORY;
    lev_buffer_leave(b, entered);
    return size;
}

/* -- snapshots ------------------------------------------------------------------------------------------- */

#define LEV_PIN_LEAST 65536     /* bytes; copying less is quicker */
#define LEV_PIN_CHUNK 16384     /* as it is when chunks are smaller than that */
#define LEV_PIN_DEPTH 8

/* Is everything in the snapshot that there is already? */
static int lev_is_pinned(struct lev_buffer *b, int count)
{
    struct evbuffer_iovec chunk;
    struct evbuffer_ptr at;
    int next = 0;

    if (b->pin == NULL || evbuffer_ptr_set(b->eb, &at, 0, EVBUFFER_PTR_SET) != 0)
        return 0;
    while (count-- > 0 && evbuffer_peek(b->eb, 1, &at, &chunk, 1) > 0) {
        if (!lev_pin_shows(b->pin, &chunk, &next))
            return 0;
        evbuffer_ptr_set(b->eb, &at, chunk.iov_len, EVBUFFER_PTR_ADD);
    }
    return 1;
}

/* Put references to its chains in their place. */
static int lev_pin_chains(struct lev_buffer *b, int count)
{
    struct lev_pin *pin;
    int result;

    b->quiet++;
    evbuffer_unfreeze(b->eb, 0);
    evbuffer_unfreeze(b->eb, 1);
    pin = lev_pin_new(b->eb, count);
    result = pin != NULL && lev_pin_refer(pin, b->eb) == 0 ? 0 : LEV_NO_MEMORY;
    if (b->frozen & LEV_END)
        evbuffer_freeze(b->eb, 0);
    if (b->frozen & LEV_FRONT)
        evbuffer_freeze(b->eb, 1);
    b->quiet--;
    if (result != 0 && pin != NULL)
        lev_pin_unref(pin);
    if (result == 0) {
        lev_buffer_forget_pin(b);
        b->pin = pin;
        b->lent_end = 1;
        b->depth++;
    }
    return result;
}

/*
 * Make view show at most "size" bytes (below 0: all) from start on, without copying them; how many.  LEV_COPY where
 * a copy does as well or has to do: a borrowed buffer is its owner's to change.
 */
static int64_t lev_buffer_view(struct lev_buffer *b, int64_t start, int64_t size, struct lev_view *view)
{
    struct evbuffer_ptr at;
    int64_t length, result;
    int all, entered = lev_buffer_enter(b);

    if (entered < 0)
        return entered;
    length = (int64_t)evbuffer_get_length(b->eb);
    if (start > length)
        start = length;
    if (size < 0 || size > length - start)
        size = length - start;
    result = b->base != NULL || !b->is_own || size < LEV_PIN_LEAST ? LEV_COPY : 0;
    if (b->holds_file && size > 0)
        result = LEV_HOLDS_FILE;
    if (result == 0) {
        all = evbuffer_peek(b->eb, -1, NULL, NULL, 0);
        if (!lev_is_pinned(b, all))
            result = length / all < LEV_PIN_CHUNK || b->depth >= LEV_PIN_DEPTH ? LEV_COPY : lev_pin_chains(b, all);
    }
    if (result == 0) {
        lev_point(b->eb, &at, start);
        view->count = evbuffer_peek(b->eb, (ev_ssize_t)size, &at, NULL, 0);
        view->chunks = lev_calloc((size_t)view->count, sizeof(*view->chunks));
        result = view->chunks != NULL ? size : LEV_NO_MEMORY;
        if (view->chunks != NULL) {
            evbuffer_peek(b->eb, (ev_ssize_t)size, &at, view->chunks, view->count);
            LEV_ADD(&b->pin->refs, 1);
            view->pin = b->pin;
        }
    }
    lev_buffer_leave(b, entered);
    return result;
}

/* The evbuffer, for lowlevel.pointer(); NULL when it is closed. */
static struct evbuffer *lev_buffer_pointer(struct lev_buffer *b)
{
    return b->eb;
}
