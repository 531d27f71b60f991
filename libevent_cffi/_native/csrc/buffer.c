/* Buffers: who may enter one, how it comes and goes, what goes in, and what comes out. */

/* -- entering -------------------------------------------------------------------------------------------- */

#define LEV_SPINS 50            /* attempts that only yield */
#define LEV_NAPS 40             /* and then a wait of half a millisecond each, before Python is asked */

static int lev_buffer_take(struct lev_buffer *b)
{
    long me = LEV_ME, owner, forks = LEV_RELAXED(&lev_forks);
    int attempt;

    for (attempt = 0; attempt < LEV_SPINS + LEV_NAPS; attempt++) {
        owner = LEV_LOAD(&b->owner);
        /* A thread that began after a fork can have the mark of one that is gone. */
        if (owner == me && (LEV_RELAXED(&b->fork_count) == forks || me == LEV_RELAXED(&lev_forker)))
            return 0;
        if (owner == 0) {
            /* Before the word is taken: who finds it taken knows in which process that was. */
            if (LEV_RELAXED(&b->fork_count) != forks)
                LEV_STORE(&b->fork_count, forks);
            if (LEV_CAS(&b->owner, &owner, me))
                return 1;
        } else if (LEV_RELAXED(&b->fork_count) != forks)
            return LEV_FORKED;          /* that thread is not here: it was inside at the fork */
        if (attempt < LEV_SPINS)
            lev_yield();
        else
            lev_nap();
    }
    return LEV_BUSY;
}

/* 1: entered, and lev_buffer_leave() has to let go; 0: this thread was inside already; else why not. */
static int lev_buffer_enter(struct lev_buffer *b)
{
    int entered = b->base != NULL ? lev_enter(b->base) : lev_buffer_take(b);

    if (entered < 0)
        return entered;
    if (b->eb == NULL) {
        if (b->base != NULL)
            lev_leave(b->base, entered);
        else if (entered)
            LEV_STORE(&b->owner, 0);
        return LEV_CLOSED;
    }
    b->inside++;
    errno = 0;
    return entered;
}

static void lev_buffer_forget_pin(struct lev_buffer *b)
{
    struct lev_pin *pin = b->pin;

    b->pin = NULL;
    if (pin != NULL)
        lev_pin_unref(pin);
}

/* What was noted about chains that are in it no more is forgotten. */
static void lev_buffer_settle(struct lev_buffer *b)
{
    size_t length = evbuffer_get_length(b->eb);

    if (length <= b->behind_file)
        b->holds_file = 0;
    if (length == 0) {
        b->holds_file = b->depth = 0;
        lev_buffer_forget_pin(b);
    } else if (b->pin != NULL && LEV_LOAD(&b->pin->refs) == 1)
        lev_buffer_forget_pin(b);
}

static void lev_buffer_leave(struct lev_buffer *b, int entered)
{
    b->inside--;
    if ((b->depth | b->holds_file) && b->eb != NULL)
        lev_buffer_settle(b);
    if (!entered)
        return;
    if (b->base != NULL)
        lev_leave(b->base, entered);
    else
        LEV_STORE(&b->owner, 0);
}

/* Enter two; of own ones the one with the lower address first, or two threads would wait for each other. */
static int lev_buffer_enter_two(struct lev_buffer *one, struct lev_buffer *other, int entered[2])
{
    struct lev_buffer *both[2] = {one, other};
    int first = one < other ? 0 : 1;

    entered[first] = lev_buffer_enter(both[first]);
    if (entered[first] < 0)
        return entered[first];
    entered[!first] = lev_buffer_enter(both[!first]);
    if (entered[!first] < 0) {
        lev_buffer_leave(both[first], entered[first]);
        return entered[!first];
    }
    return 0;
}

static void lev_buffer_leave_two(struct lev_buffer *one, struct lev_buffer *other, int entered[2])
{
    int first = one < other ? 0 : 1;

    lev_buffer_leave(first ? one : other, entered[!first]);
    lev_buffer_leave(first ? other : one, entered[first]);
}

/* Bytes were added at the end. */
static int lev_added(struct lev_buffer *b, size_t size)
{
    b->behind_file += size;
    return 0;
}

/* Why libevent refused: for want of memory, or because that end is frozen. */
static int lev_buffer_refusal(void)
{
    return errno == ENOMEM ? LEV_NO_MEMORY : LEV_FROZEN;
}

/* -- changes --------------------------------------------------------------------------------------------- */

/* The loop has changed a borrowed buffer: Python hears of it in a callback of its own. */
static void lev_buffer_tell_later(struct lev_buffer *b)
{
    struct lev_base *l = b->base;

    if (b->before != NULL)
        return;
    b->next = l->changed_buffers;
    if (b->next != NULL)
        b->next->before = &b->next;
    b->before = &l->changed_buffers;
    l->changed_buffers = b;
    event_active(&l->changes, EV_TIMEOUT, 1);
}

static void lev_buffer_unlink(struct lev_buffer *b)
{
    if (b->before == NULL)
        return;
    *b->before = b->next;
    if (b->next != NULL)
        b->next->before = b->before;
    b->before = NULL;
}

static void lev_on_changes(evutil_socket_t fd, short what, void *arg)
{
    struct lev_base *l = arg;
    int64_t token;
    int answer;

    (void)fd;
    (void)what;
    if (l->silent || !l->looping || LEV_NO_PYTHON())
        return;
    if (l->check_due)
        lev_run_check(l);
    while (l->changed_buffers != NULL && !l->broken && !l->forked) {
        token = l->changed_buffers->token;
        lev_buffer_unlink(l->changed_buffers);
        LEV_INSIST(l, answer, lev_py_change(token, l->slot));
    }
    if (l->forked)
        return;
    if (l->changed_buffers != NULL)
        event_active(&l->changes, EV_TIMEOUT, 1);
    lev_after_callback(l);
}

static void lev_on_buffer_change(struct evbuffer *eb, const struct evbuffer_cb_info *info, void *arg)
{
    struct lev_buffer *b = arg;

    (void)eb;
    if (b->quiet)
        return;
    if (b->change.n_added == 0 && b->change.n_deleted == 0)
        b->change.orig_size = info->orig_size;
    b->change.n_added += info->n_added;
    b->change.n_deleted += info->n_deleted;
    if (b->base != NULL && !b->inside)
        lev_buffer_tell_later(b);
}

/* Have changes noted, or not any more. */
static int lev_buffer_watch(struct lev_buffer *b, int on)
{
    int result = 0, entered = lev_buffer_enter(b);

    if (entered < 0)
        return entered;
    if (on && b->entry == NULL) {
        memset(&b->change, 0, sizeof(b->change));
        b->entry = evbuffer_add_cb(b->eb, lev_on_buffer_change, b);
        result = b->entry != NULL ? 0 : LEV_NO_MEMORY;
    } else if (!on && b->entry != NULL) {
        evbuffer_remove_cb_entry(b->eb, b->entry);
        b->entry = NULL;
    }
    lev_buffer_leave(b, entered);
    return result;
}

/* What has changed since the last call: nothing where both numbers are 0. */
static int lev_buffer_changes(struct lev_buffer *b, struct evbuffer_cb_info *change)
{
    int entered = lev_buffer_enter(b);

    if (entered < 0)
        return entered;
    *change = b->change;
    memset(&b->change, 0, sizeof(b->change));
    lev_buffer_leave(b, entered);
    return change->n_added != 0 || change->n_deleted != 0;
}

/* -- coming and going ------------------------------------------------------------------------------------ */

/*
 * Begin in memory that is all zeroes.  eb may be NULL to have one made.  kind: LEV_OWN, we free it; LEV_SENDS_FILES,
 * it has libevent's flag that it drains to a descriptor, and files may be added as such.
 */
static int lev_buffer_open(struct lev_buffer *b, struct evbuffer *eb, struct lev_base *base, int kind, int64_t token)
{
    LEV_STORE(&lev_used, 1);
    b->fork_count = LEV_RELAXED(&lev_forks);
    b->eb = eb != NULL ? eb : evbuffer_new();
    if (b->eb == NULL)
        return LEV_NO_MEMORY;
    b->base = base;
    b->is_own = (kind & LEV_OWN) != 0;
    b->sends_files = (kind & LEV_SENDS_FILES) != 0;
    b->token = token;
    if (b->is_own)
        LEV_ADD(&lev_live_objects, 1);
    return 0;
}

/* Python's name for one that its owner's C has opened. */
static void lev_buffer_name(struct lev_buffer *b, int64_t token)
{
    b->token = token;
}

/* Forget the evbuffer, which lives on or is freed by its owner; on the thread that may touch it. */
static void lev_buffer_detach(struct lev_buffer *b)
{
    if (b->eb == NULL)
        return;
    if (b->entry != NULL)
        evbuffer_remove_cb_entry(b->eb, b->entry);
    b->entry = NULL;
    lev_buffer_unlink(b);
    if (b->is_own)
        LEV_ADD(&lev_live_objects, -1);
    b->eb = NULL;
    lev_buffer_forget_pin(b);
}

static int lev_buffer_close(struct lev_buffer *b)
{
    struct evbuffer *eb = b->eb;
    int entered = lev_buffer_enter(b);

    if (entered < 0)
        return entered;
    lev_will_ask = 1;
    lev_buffer_detach(b);
    if (b->is_own)
        evbuffer_free(eb);
    lev_buffer_leave(b, entered);
    lev_will_ask = 0;
    return 0;
}

/* It was dropped: nobody is inside, but perhaps a thread of the parent, and then what is half changed stays. */
static void lev_buffer_drop(struct lev_buffer *b)
{
    struct evbuffer *eb = b->eb;

    if (eb == NULL || !b->is_own || (b->owner != 0 && b->fork_count != LEV_RELAXED(&lev_forks)))
        return;
    lev_buffer_detach(b);
    evbuffer_free(eb);
}

/* Give the evbuffer away: the caller has to free it. */
static int lev_buffer_surrender(struct lev_buffer *b, struct evbuffer **eb)
{
    int result = 0, entered = lev_buffer_enter(b);

    if (entered < 0)
        return entered;
    *eb = b->eb;
    if (b->is_own)
        lev_buffer_detach(b);
    else
        result = LEV_REFUSED;
    lev_buffer_leave(b, entered);
    return result;
}

/* Keep others out over several calls, until lev_buffer_unlock(). */
static int lev_buffer_lock(struct lev_buffer *b)
{
    int entered = lev_buffer_enter(b);

    if (entered < 0)
        return entered;
    b->inside--;
    if (b->base != NULL)                /* its base keeps other threads out */
        lev_leave(b->base, entered);
    return 0;
}

/* Is this thread inside, between two calls? */
static int lev_buffer_is_locked(struct lev_buffer *b)
{
    return b->base == NULL && LEV_RELAXED(&b->owner) == LEV_ME;
}

static void lev_buffer_unlock(struct lev_buffer *b)
{
    if (b != NULL && lev_buffer_is_locked(b))
        LEV_STORE(&b->owner, 0);
}

static int lev_buffer_freeze(struct lev_buffer *b, int ends, int frozen)
{
    int entered = lev_buffer_enter(b);

    if (entered < 0)
        return entered;
    if (frozen) {
        b->frozen |= ends;
        evbuffer_freeze(b->eb, ends == LEV_FRONT);
    } else {
        b->frozen &= ~ends;
        evbuffer_unfreeze(b->eb, ends == LEV_FRONT);
    }
    lev_buffer_leave(b, entered);
    return 0;
}

/* What is added as a file stays one, so that sendfile() can send it. */
static int lev_buffer_send_files(struct lev_buffer *b, int on)
{
    int result = 0, entered = lev_buffer_enter(b);

    if (entered < 0)
        return entered;
    if (evbuffer_get_length(b->eb) != 0)
        result = LEV_REFUSED;
    else if (on)
        evbuffer_set_flags(b->eb, EVBUFFER_FLAG_DRAINS_TO_FD);
    else
        evbuffer_clear_flags(b->eb, EVBUFFER_FLAG_DRAINS_TO_FD);
    if (result == 0)
        b->sends_files = on;
    lev_buffer_leave(b, entered);
    return result;
}

static int lev_buffer_sends_files(struct lev_buffer *b)
{
    return b->eb != NULL ? b->sends_files : LEV_CLOSED;
}

/* -- in -------------------------------------------------------------------------------------------------- */

/*
 * Add parts at the end, all or none.  After a chain that cannot grow libevent makes one that is as large
 * (buffer.c:evbuffer_add), be it a gigabyte for a byte: there it gets one that was made elsewhere.
 */
static int lev_add(struct lev_buffer *b, struct evbuffer_iovec *parts, int count, size_t size)
{
    struct evbuffer *fresh;
    int i, result;

    if (count == 1 && !b->lent_end)
        return evbuffer_add(b->eb, parts->iov_base, size) == 0 ? lev_added(b, size) : lev_buffer_refusal();
    fresh = evbuffer_new();
    result = fresh != NULL && evbuffer_expand(fresh, size) == 0 ? 0 : LEV_NO_MEMORY;
    for (i = 0; i < count && result == 0; i++)
        if (evbuffer_add(fresh, parts[i].iov_base, parts[i].iov_len) != 0)
            result = LEV_NO_MEMORY;
    if (result == 0)
        result = evbuffer_add_buffer(b->eb, fresh) == 0 ? lev_added(b, size) : lev_buffer_refusal();
    if (result == 0 && size > 0)
        b->lent_end = 0;
    if (fresh != NULL)
        evbuffer_free(fresh);
    return result;
}

static int lev_buffer_add(struct lev_buffer *b, const void *data, size_t size)
{
    struct evbuffer_iovec part;
    int result, entered = lev_buffer_enter(b);

    if (entered < 0)
        return entered;
    part.iov_base = (void *)data;
    part.iov_len = size;
    result = lev_add(b, &part, 1, size);
    lev_buffer_leave(b, entered);
    return result;
}

/* For want of memory evbuffer_prepend() can leave a part of the data in front. */
static int lev_prepend(struct lev_buffer *b, const void *data, size_t size)
{
    size_t before = evbuffer_get_length(b->eb), after;
    int result;

    if (evbuffer_prepend(b->eb, data, size) == 0)
        return 0;
    result = lev_buffer_refusal();
    after = evbuffer_get_length(b->eb);
    b->quiet++;
    if (after > before)
        evbuffer_drain(b->eb, after - before);
    b->quiet--;
    return result;
}

static int lev_buffer_prepend(struct lev_buffer *b, const void *data, size_t size)
{
    int result, entered = lev_buffer_enter(b);

    if (entered < 0)
        return entered;
    result = lev_prepend(b, data, size);
    lev_buffer_leave(b, entered);
    return result;
}

/* What its user has frozen gives way to what undoes a change of the user's. */
static void lev_thaw_front(struct lev_buffer *b, int begin)
{
    if (!(b->frozen & LEV_FRONT))
        return;
    if (begin)
        evbuffer_unfreeze(b->eb, 1);
    else
        evbuffer_freeze(b->eb, 1);
}

/* The same for what was taken a moment ago, also when that end was frozen meanwhile. */
static int lev_buffer_give_back(struct lev_buffer *b, const void *data, size_t size)
{
    int result, entered = lev_buffer_enter(b);

    if (entered < 0)
        return entered;
    lev_thaw_front(b, 1);
    result = lev_prepend(b, data, size);
    lev_thaw_front(b, 0);
    lev_buffer_leave(b, entered);
    return result;
}

/* A frozen end would be noticed only after room had been made. */
static int lev_end_is_frozen(struct lev_buffer *b)
{
    return evbuffer_commit_space(b->eb, NULL, 0) != 0;
}

static int lev_buffer_add_many(struct lev_buffer *b, struct evbuffer_iovec *parts, int count, size_t size)
{
    int result = 0, entered = lev_buffer_enter(b);

    if (entered < 0)
        return entered;
    if (size > 0)
        result = lev_add(b, parts, count, size);
    lev_buffer_leave(b, entered);
    return result;
}

static int lev_add_ref(struct lev_buffer *b, const void *data, size_t size, int64_t token)
{
    struct lev_ref *ref = lev_ref_new(token);
    int result;

    if (ref == NULL)
        return LEV_NO_MEMORY;
    if (size == 0) {            /* an empty chain would stay for longer than anybody expects */
        lev_ref_release(ref);
        return 0;
    }
    if (evbuffer_add_reference(b->eb, data, size, lev_on_ref_gone, ref) == 0) {
        b->lent_end = 1;
        return lev_added(b, size);
    }
    result = lev_buffer_refusal();
    lev_free(ref);
    return result;
}

/* *taken tells a caller that an interrupt kept from seeing the result. */
static int lev_buffer_add_ref(struct lev_buffer *b, const void *data, size_t size, int64_t token, int *taken)
{
    int result, entered = lev_buffer_enter(b);

    if (entered < 0)
        return entered;
    lev_will_ask = 1;
    result = lev_end_is_frozen(b) ? LEV_FROZEN : lev_add_ref(b, data, size, token);
    *taken = result == 0;
    lev_buffer_leave(b, entered);
    lev_will_ask = 0;
    return result;
}

/* Add the first bytes of a block: few as a copy, many by reference. */
static int lev_buffer_add_block(struct lev_buffer *b, void *block, size_t size, int copy)
{
    struct evbuffer_iovec part = {block, size};
    int result, entered = lev_buffer_enter(b);

    if (entered < 0)
        return entered;
    if (copy)
        result = lev_add(b, &part, 1, size);
    else {
        result = lev_block_add(b->eb, block, size) == 0 ? lev_added(b, size) : lev_buffer_refusal();
        b->lent_end |= result == 0;
    }
    lev_buffer_leave(b, entered);
    return result;
}

static int lev_buffer_expand(struct lev_buffer *b, size_t size)
{
    int result, entered = lev_buffer_enter(b);

    if (entered < 0)
        return entered;
    result = evbuffer_expand(b->eb, size) == 0 ? 0 : LEV_NO_MEMORY;
    lev_buffer_leave(b, entered);
    return result;
}

/* -- from one to another --------------------------------------------------------------------------------- */

static int lev_may_move(struct lev_buffer *to, struct lev_buffer *from)
{
    if (to->eb == from->eb)
        return LEV_SAME;
    if (from->holds_file && !to->sends_files)
        return LEV_HOLDS_FILE;          /* whoever reads it would read what is behind a small struct */
    return 0;
}

/* So many bytes have gone over, and so have their properties. */
static void lev_moved(struct lev_buffer *to, struct lev_buffer *from, size_t size, int front)
{
    if (from->holds_file) {
        if (!front)
            to->behind_file = from->behind_file;
        else if (!to->holds_file)
            to->behind_file = from->behind_file + evbuffer_get_length(to->eb) - size;
        to->holds_file = 1;
    } else if (!front)
        lev_added(to, size);
    if (!front && size > 0)
        to->lent_end = from->lent_end;
    else if (front)
        to->lent_end |= from->lent_end;
    if (to->depth < from->depth)
        to->depth = from->depth;
}

static int lev_move_all(struct lev_buffer *to, struct lev_buffer *from, int front)
{
    size_t size = evbuffer_get_length(from->eb);
    int result = lev_may_move(to, from);

    if (result != 0)
        return result;
    result = front ? evbuffer_prepend_buffer(to->eb, from->eb) : evbuffer_add_buffer(to->eb, from->eb);
    if (result != 0)
        return lev_buffer_refusal();
    lev_moved(to, from, size, front);
    return 0;
}

/* give_back: they were taken from that front a moment ago, also when it was frozen meanwhile. */
static int lev_buffer_move_all(struct lev_buffer *to, struct lev_buffer *from, int front, int give_back)
{
    int entered[2], result = lev_buffer_enter_two(to, from, entered);

    if (result < 0)
        return result;
    if (give_back)
        lev_thaw_front(to, 1);
    result = lev_move_all(to, from, front);
    if (give_back)
        lev_thaw_front(to, 0);
    lev_buffer_leave_two(to, from, entered);
    return result;
}

/* The bytes in whole chains of the first "size", and where the part of the next one is. */
static size_t lev_whole_chains(struct evbuffer *eb, size_t size, struct evbuffer_iovec *rest)
{
    struct evbuffer_iovec chunk;
    struct evbuffer_ptr at;
    size_t whole = 0;

    evbuffer_ptr_set(eb, &at, 0, EVBUFFER_PTR_SET);
    rest->iov_len = 0;
    while (whole < size && evbuffer_peek(eb, 1, &at, &chunk, 1) > 0) {
        if (whole + chunk.iov_len > size) {
            rest->iov_base = chunk.iov_base;
            rest->iov_len = size - whole;
            return whole;
        }
        whole += chunk.iov_len;
        if (evbuffer_ptr_set(eb, &at, chunk.iov_len, EVBUFFER_PTR_ADD) != 0)
            break;
    }
    return whole;
}

/*
 * Move the first bytes over.  libevent's own function takes what it has no memory for as moved
 * (buffer.c:evbuffer_remove_buffer), so the part of a chain that has to be copied is copied beforehand.
 */
static int lev_move_some(struct lev_buffer *to, struct lev_buffer *from, size_t size)
{
    struct evbuffer_iovec rest;
    struct evbuffer *copy;
    size_t whole;

    if (from->holds_file)
        return LEV_HOLDS_FILE;          /* of which only whole chains can go over */
    whole = lev_whole_chains(from->eb, size, &rest);
    copy = evbuffer_new();
    if (copy == NULL)
        return LEV_NO_MEMORY;
    if (rest.iov_len > 0 && evbuffer_add(copy, rest.iov_base, rest.iov_len) != 0) {
        evbuffer_free(copy);
        return LEV_NO_MEMORY;
    }
    if (whole > 0)
        evbuffer_remove_buffer(from->eb, to->eb, whole);
    if (rest.iov_len > 0) {
        evbuffer_add_buffer(to->eb, copy);
        evbuffer_drain(from->eb, rest.iov_len);
    }
    evbuffer_free(copy);
    lev_moved(to, from, size, 0);
    return 0;
}

/* Would taking from its front be refused?  libevent tells only by trying. */
static int lev_front_is_frozen(struct lev_buffer *b)
{
    char byte;

    return evbuffer_get_length(b->eb) > 0 && evbuffer_copyout(b->eb, &byte, 1) < 0;
}

/* How many bytes were moved; "size" below 0 means all. */
static int64_t lev_buffer_move(struct lev_buffer *to, struct lev_buffer *from, int64_t size)
{
    int64_t length, result;
    int entered[2];

    result = lev_buffer_enter_two(to, from, entered);
    if (result < 0)
        return result;
    lev_will_ask = 1;
    length = (int64_t)evbuffer_get_length(from->eb);
    if (size < 0 || size > length)
        size = length;
    result = lev_may_move(to, from);
    if (result == 0 && size == length)
        result = lev_move_all(to, from, 0);
    else if (result == 0 && size > 0) {
        if (lev_end_is_frozen(to) || (!from->holds_file && lev_front_is_frozen(from)))
            result = LEV_FROZEN;
        else
            result = lev_move_some(to, from, (size_t)size);
    }
    lev_buffer_leave_two(to, from, entered);
    lev_will_ask = 0;
    return result < 0 ? result : size;
}

/* -- out ------------------------------------------------------------------------------------------------- */

static int lev_buffer_drain(struct lev_buffer *b, size_t size)
{
    int result, entered = lev_buffer_enter(b);

    if (entered < 0)
        return entered;
    lev_will_ask = 1;
    result = evbuffer_drain(b->eb, size) == 0 ? 0 : LEV_FROZEN;
    lev_buffer_leave(b, entered);
    lev_will_ask = 0;
    return result;
}

/* Copy bytes out; there are as many.  libevent's own function refuses where the front is frozen. */
static void lev_copy(struct evbuffer *eb, size_t start, void *target, size_t size)
{
    struct evbuffer_iovec chunks[16];
    struct evbuffer_ptr at;
    char *next = target;
    size_t step, part;
    int i, count;

    if (size == 0 || evbuffer_ptr_set(eb, &at, start, EVBUFFER_PTR_SET) != 0)
        return;
    while (size > 0) {
        /* all, since it goes through as many chunks as hold what it is asked for (buffer.c:evbuffer_peek) */
        count = evbuffer_peek(eb, -1, &at, chunks, 16);
        if (count <= 0)
            return;
        for (step = 0, i = 0; i < count && i < 16 && size > 0; i++) {
            part = chunks[i].iov_len < size ? chunks[i].iov_len : size;
            memcpy(next, chunks[i].iov_base, part);
            next += part;
            step += part;
            size -= part;
        }
        if (size > 0 && evbuffer_ptr_set(eb, &at, step, EVBUFFER_PTR_ADD) != 0)
            return;
    }
}

/* Bytes from start on, at most size or, below 0, all; how many.  LEV_TOO_SMALL when they do not fit. */
static int64_t lev_copy_most(struct lev_buffer *b, int64_t start, void *target, size_t room, int64_t size)
{
    int64_t length = (int64_t)evbuffer_get_length(b->eb);

    if (start > length)
        start = length;
    if (size < 0 || size > length - start)
        size = length - start;
    if (b->holds_file && size > 0)
        return LEV_HOLDS_FILE;
    if ((size_t)size > room)
        return LEV_TOO_SMALL;
    lev_copy(b->eb, (size_t)start, target, (size_t)size);
    return size;
}

static int64_t lev_buffer_copy(struct lev_buffer *b, int64_t start, void *target, size_t room, int64_t size)
{
    int64_t result;
    int entered = lev_buffer_enter(b);

    if (entered < 0)
        return entered;
    result = lev_copy_most(b, start, target, room, size);
    lev_buffer_leave(b, entered);
    return result;
}

static int64_t lev_buffer_remove(struct lev_buffer *b, void *target, size_t room, int64_t size)
{
    int64_t result;
    int entered = lev_buffer_enter(b);

    if (entered < 0)
        return entered;
    lev_will_ask = 1;
    result = lev_copy_most(b, 0, target, room, size);
    if (result > 0 && evbuffer_drain(b->eb, (size_t)result) != 0)
        result = LEV_FROZEN;
    lev_buffer_leave(b, entered);
    lev_will_ask = 0;
    return result;
}

/* The first line and its end, which has *end bytes; how many bytes in all. */
static int64_t lev_buffer_readline(struct lev_buffer *b, void *target, size_t room, int style, size_t *end)
{
    struct evbuffer_ptr at;
    int64_t result = LEV_NOT_FOUND;
    int entered = lev_buffer_enter(b);

    if (entered < 0)
        return entered;
    lev_will_ask = 1;
    if (b->holds_file)
        result = LEV_HOLDS_FILE;
    else {
        at = evbuffer_search_eol(b->eb, NULL, end, (enum evbuffer_eol_style)style);
        if (at.pos >= 0)
            result = lev_copy_most(b, 0, target, room, (int64_t)at.pos + (int64_t)*end);
    }
    if (result > 0 && evbuffer_drain(b->eb, (size_t)result) != 0)
        result = LEV_FROZEN;
    lev_buffer_leave(b, entered);
    lev_will_ask = 0;
    return result;
}

/* -- descriptors ----------------------------------------------------------------------------------------- */

static int64_t lev_buffer_read(struct lev_buffer *b, int fd, int size)
{
    int64_t result;
    int entered = lev_buffer_enter(b);

    if (entered < 0)
        return entered;
    if (lev_end_is_frozen(b))
        result = LEV_FROZEN;
    else {
        errno = 0;
        result = evbuffer_read(b->eb, fd, size);
        if (result < 0)
            result = errno == ENOMEM ? LEV_NO_MEMORY : LEV_ERRNO;
        else
            lev_added(b, (size_t)result);
    }
    lev_buffer_leave(b, entered);
    return result;
}

static int64_t lev_write_out(struct lev_buffer *b, int fd, int64_t size)
{
    int64_t length = (int64_t)evbuffer_get_length(b->eb), result;

    if (size < 0 || size > length)
        size = length;
    if (size == 0)
        return 0;
    if (b->holds_file && size < length)
        return LEV_HOLDS_FILE;          /* sendfile() is given no limit (buffer.c:evbuffer_write_sendfile) */
    if (size > INT_MAX)                 /* what libevent returns is an int */
        size = INT_MAX;
    if (!b->holds_file && lev_front_is_frozen(b))
        return LEV_FROZEN;
    errno = 0;
    result = evbuffer_write_atmost(b->eb, fd, b->holds_file ? -1 : (ev_ssize_t)size);
    if (result < 0)
        return errno != 0 ? LEV_ERRNO : LEV_FROZEN;
    if (result == 0)
        return errno != 0 ? LEV_ERRNO : LEV_CUT_SHORT;
    return result;
}

static int64_t lev_buffer_write(struct lev_buffer *b, int fd, int64_t size)
{
    int64_t result;
    int entered = lev_buffer_enter(b);

    if (entered < 0)
        return entered;
    lev_will_ask = 1;
    result = lev_write_out(b, fd, size);
    lev_buffer_leave(b, entered);
    lev_will_ask = 0;
    return result;
}
