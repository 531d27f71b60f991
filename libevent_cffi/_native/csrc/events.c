/*
 * Events: from Python's call to libevent, and from libevent's callback to Python's function.
 *
 * An event that Python adds or activates gets a slot; the slot goes when the event is deleted, or has happened
 * and is not pending any more.
 */

enum { LEV_FORM_PLAIN = 0, LEV_FORM_EVENT = 1, LEV_FORM_SIGNAL = 2 };

/* What Python packs into one number: the flags, the priority + 1, the form, and these. */
#define LEV_SPEC_EVENTS(spec) ((short)((spec) & 0xffff))
#define LEV_SPEC_PRIORITY(spec) ((int)((spec) >> 16 & 0xff) - 1)
#define LEV_SPEC_FORM(spec) ((unsigned char)((spec) >> 24 & 3))
#define LEV_SPEC_BACKGROUND (1 << 26)
#define LEV_SPEC_USER (1 << 27)

#define LEV_IS_ACTIVE 0x100     /* beside what an event is pending or active for */

static void lev_on_event(evutil_socket_t fd, short what, void *arg);

static short lev_is_in_c(const struct lev_event *e)
{
    return e->ev.ev_evcallback.evcb_flags & (EVLIST_TIMEOUT | EVLIST_INSERTED | EVLIST_ACTIVE | EVLIST_ACTIVE_LATER);
}

/* -- Python's calls -------------------------------------------------------------------------------------- */

/* The event is going to be pending: its descriptor or signal is taken, once. */
static int lev_event_attach(struct lev_base *l, struct lev_event *e)
{
    int result = 0;

    if (e->attached)
        return 0;
    if (e->signum)
        result = lev_signal_link(l, e) == 0 ? 0 : LEV_ERRNO;
    else if (e->ev.ev_fd >= 0)
        result = lev_fd_attach(l, e->ev.ev_fd, (e->ev.ev_events & EV_ET) != 0);
    e->attached = result == 0;
    return result;
}

static void lev_event_detach(struct lev_base *l, struct lev_event *e)
{
    if (!e->attached)
        return;
    e->attached = 0;
    if (e->signum)
        lev_signal_unlink(l, e);
    else if (e->ev.ev_fd >= 0)
        lev_fd_detach(l, e->ev.ev_fd);
}

static void lev_event_free(struct lev_base *l, struct lev_event *e)
{
    /* Debug mode takes an event that event_add() refused for added (event.c:event_add_nolock_). */
    if (lev_is_in_c(e) || lev_debug_mode_on)
        event_del(&e->ev);
    lev_event_detach(l, e);
    lev_slot_free(l, e);
}

/* Make the event that spec describes, for a descriptor, a signal, or -1. */
static int lev_event_make(struct lev_base *l, evutil_socket_t fd, unsigned spec, struct lev_event **made)
{
    short events = LEV_SPEC_EVENTS(spec);
    int result = 0;
    struct lev_event *e = lev_slot_new(l);

    if (e == NULL)
        return LEV_ERRNO;
    e->form = LEV_SPEC_FORM(spec);
    if (events & EV_SIGNAL) {
        e->signum = (unsigned char)fd;
        fd = -1;
    }
    /* Watching "no descriptor" is how an event is pending until somebody activates it. */
    if (spec & LEV_SPEC_USER || e->signum)
        events = (short)((events & EV_PERSIST) | EV_READ);
    result = lev_assign(&e->ev, l->eb, fd, events, lev_on_event, e) == 0 ? 0 : LEV_ERRNO;
    if (result == 0 && LEV_SPEC_PRIORITY(spec) >= 0)
        event_priority_set(&e->ev, LEV_SPEC_PRIORITY(spec));
    if (spec & LEV_SPEC_BACKGROUND)
        e->ev.ev_evcallback.evcb_flags |= EVLIST_INTERNAL;
    if (result != 0) {
        lev_slot_free(l, e);
        return result;
    }
    *made = e;
    return 0;
}

static int lev_event_set_pending(struct lev_base *l, struct lev_event *e, double seconds)
{
    struct timeval tv;
    int common = (int)(-2.0 - seconds), result = lev_event_attach(l, e);

    if (result != 0)
        return result;
    if (seconds <= -2.0)
        return common >= 0 && common < l->common_count ? event_add(&e->ev, l->common[common]) : -1;
    if (seconds >= 0) {
        lev_to_timeval(seconds, &tv);
        /* A persistent timer of 0 fires once and stops (event.c:event_persist_closure). */
        if (tv.tv_sec == 0 && tv.tv_usec == 0 && (e->ev.ev_events & EV_PERSIST))
            tv.tv_usec = 1;
        return event_add(&e->ev, &tv);
    }
    event_remove_timer(&e->ev);
    return event_add(&e->ev, NULL);
}

/*
 * Make an event pending and answer its token.  seconds is the timeout, -1 none, and -2 - n the common timeout
 * n.  token is that of an event that is pending already, or 0.
 */
static int64_t lev_event_add(struct lev_base *l, int64_t token, int fd, unsigned spec, double seconds)
{
    struct lev_event *e = NULL;
    int64_t result;
    int entered = lev_enter(l);

    if (entered < 0)
        return entered;
    e = lev_slot(l, token);
    result = e == NULL ? lev_event_make(l, fd, spec, &e) : 0;
    if (result == 0) {
        result = lev_event_set_pending(l, e, seconds);
        if (result == 0)
            result = e->token;
        else if (e->token != token) {
            int saved = errno;
            lev_event_free(l, e);
            errno = saved;
        }
    }
    lev_leave(l, entered);
    return result;
}

/* Forget an event.  1: it was the running one; 0: it was not. */
static int lev_event_delete(struct lev_base *l, int64_t token)
{
    struct lev_event *e;
    int result = lev_enter(l), entered = result;

    if (entered < 0)
        return entered;
    e = lev_slot(l, token);
    if (e != NULL)
        lev_event_free(l, e);
    result = token != 0 && l->current == token;
    lev_leave(l, entered);
    return result;
}

static int64_t lev_event_activate(struct lev_base *l, int64_t token, int fd, unsigned spec, int what, int count)
{
    struct lev_event *e;
    int64_t result;
    int entered = lev_enter(l);

    if (entered < 0)
        return entered;
    e = lev_slot(l, token);
    result = e == NULL ? lev_event_make(l, fd, spec, &e) : 0;
    if (result == 0) {
        if (e->signum && (what & EV_SIGNAL))
            lev_signal_count(e, count);
        if (e->token == l->coming)
            e->todo |= (short)what;
        else
            event_active(&e->ev, what, 1);
        result = e->token;
    }
    lev_leave(l, entered);
    return result;
}

static int lev_event_remove_timer(struct lev_base *l, int64_t token)
{
    struct lev_event *e;
    int result = 0, entered = lev_enter(l);

    if (entered < 0)
        return entered;
    e = lev_slot(l, token);
    if (e != NULL)
        result = event_remove_timer(&e->ev);
    if (e != NULL && !lev_is_in_c(e) && !e->todo) {
        lev_event_free(l, e);
        result = LEV_NOTHING_LEFT;
    }
    lev_leave(l, entered);
    return result;
}

static int lev_event_set_priority(struct lev_base *l, int64_t token, int priority)
{
    struct lev_event *e;
    int result = 0, entered = lev_enter(l);

    if (entered < 0)
        return entered;
    e = lev_slot(l, token);
    if (e != NULL && event_priority_set(&e->ev, priority) != 0)
        result = LEV_ACTIVE;
    lev_leave(l, entered);
    return result;
}

static double lev_remaining(struct lev_base *l, struct lev_event *e)
{
    struct timeval now;
    double left;

    if (!(e->ev.ev_evcallback.evcb_flags & EVLIST_TIMEOUT) || event_gettime_monotonic(l->eb, &now) != 0)
        return -1;
    /* A common timeout keeps its number in the upper bits (event.c:COMMON_TIMEOUT_MASK). */
    left = (double)e->ev.ev_timeout.tv_sec - (double)now.tv_sec
        + ((double)(e->ev.ev_timeout.tv_usec & 0x000fffff) - (double)now.tv_usec) / 1e6;
    return left > 0 ? left : 0;
}

/*
 * What the event is pending or active for, as bits; 0 when it is neither; or LEV_CLOSED, LEV_FORKED.  Any
 * thread may ask: the gate keeps the slot's memory, and libevent's own lock the event.
 */
static int lev_event_pending(struct lev_base *l, int64_t token, double *remaining)
{
    struct lev_event *e;
    int result = 0;

    result = lev_lock_to_look(l);
    if (result != 0)
        return result;
    e = lev_slot(l, token);
    if (e != NULL) {
        short all = EV_TIMEOUT | EV_READ | EV_WRITE | EV_CLOSED | EV_SIGNAL;
        result = event_pending(&e->ev, all, NULL) | e->todo;
        if (e->signum && (result & EV_READ || e->calls > 0))
            result = (result & ~EV_READ) | EV_SIGNAL;
        if (e->todo || e->ev.ev_evcallback.evcb_flags & (EVLIST_ACTIVE | EVLIST_ACTIVE_LATER))
            result |= LEV_IS_ACTIVE;
        if (remaining != NULL)
            *remaining = lev_remaining(l, e);
    }
    lev_mutex_unlock(&l->gate);
    return result;
}

/* The struct event of a pending event, for lowlevel.pointer(); NULL when there is none. */
static struct event *lev_event_pointer(struct lev_base *l, int64_t token)
{
    struct lev_event *e;

    if (lev_lock_to_look(l) != 0)
        return NULL;
    e = lev_slot(l, token);
    lev_mutex_unlock(&l->gate);
    return e != NULL ? &e->ev : NULL;
}

/* The token of the event that comes after another one's place, or 0; begin with 0. */
static int64_t lev_next_token(struct lev_base *l, int64_t after)
{
    int i = after ? (int)(after & ((1 << LEV_INDEX_BITS) - 1)) + 1 : 0;

    for (; i < l->chunk_count * LEV_CHUNK; i++) {
        struct lev_chunk *chunk = l->chunks[i / LEV_CHUNK];
        if (chunk != NULL && chunk->slots[i % LEV_CHUNK].token != 0)
            return chunk->slots[i % LEV_CHUNK].token;
    }
    return 0;
}

/* The number of a common timeout. */
static int lev_common_timeout(struct lev_base *l, double seconds)
{
    struct timeval tv;
    const struct timeval *common;
    int result, entered = lev_enter(l);

    if (entered < 0)
        return entered;
    lev_to_timeval(seconds, &tv);
    common = l->common_count < LEV_COMMON_MAX ? event_base_init_common_timeout(l->eb, &tv) : NULL;
    result = l->common_count < LEV_COMMON_MAX ? LEV_ERRNO : LEV_TOO_MANY;
    if (common != NULL) {
        result = l->common_count++;
        l->common[result] = common;
    } else
        errno = ENOMEM;
    lev_leave(l, entered);
    return result;
}

/* -- libevent's callback --------------------------------------------------------------------------------- */

static int lev_call_python(struct lev_base *l, int form, int64_t token, int what, int slot)
{
    if (form == LEV_FORM_PLAIN)
        return slot & 1 ? lev_py_plain_last(token, slot) : lev_py_plain(token, slot);
    if (form == LEV_FORM_EVENT)
        return slot & 1 ? lev_py_event_last(token, what, slot) : lev_py_event(token, what, slot);
    return lev_py_signal(token, slot);
}

/*
 * Run Python's function of an event.  An answer of "not delivered" means that something was raised before the
 * user's function began, by a signal handler of the user's own or for want of stack: it is tried again at
 * once, because nothing that libevent offers puts an event back without changing it.
 */
static int lev_deliver_once(struct lev_base *l, struct lev_event *e, int what, int is_last)
{
    int64_t token = e->token, outer = l->current;
    int form = e->form, slot = l->slot * 2 + is_last, answer;

    l->current = token;
    LEV_INSIST(l, answer, lev_call_python(l, form, token, what, slot));
    l->current = outer;
    return answer;
}

/* Put something on the list of what the next loop delivers. */
static int lev_todo_put(struct lev_base *l, int64_t what)
{
    if (l->todo_count == l->todo_size) {
        int size = l->todo_size ? l->todo_size * 2 : 16;
        int64_t *more = lev_realloc(l->todo, (size_t)size * sizeof(*more));
        if (more == NULL)
            return LEV_ERRNO;
        l->todo = more;
        l->todo_size = size;
    }
    l->todo[l->todo_count++] = what;
    return 0;
}

static void lev_remember(struct lev_base *l, struct lev_event *e, int what)
{
    if (!e->todo && lev_todo_put(l, e->token) != 0) {
        event_active(&e->ev, what, 1);  /* better at a wrong time than never */
        return;
    }
    e->todo |= (short)what;
}

/* Is the loop to end after the callback that has just run? */
static int lev_is_leaving(struct lev_base *l)
{
    return lev_has_to_wait(l) || (LEV_RELAXED(&l->stop) & LEV_STOP_BREAK);
}

/* Active for no more than the one signal that is told now anyway, it would come once more with nothing to tell. */
static void lev_signal_settle(struct lev_event *e)
{
    if (e->calls <= 1 && lev_is_in_c(e) == EVLIST_ACTIVE && !(e->ev.ev_res & ~EV_SIGNAL))
        event_del(&e->ev);
}

/*
 * Signals are counted here and told one by one, so that one that stops the loop does not drop the rest.  What
 * else happened, such as a timeout, is told with the first.
 */
static void lev_deliver_signal(struct lev_base *l, struct lev_event *e, int what)
{
    int64_t token = e->token;
    int left = e->calls;                /* what a callback activates meanwhile has its turn in a later pass */

    what &= ~EV_SIGNAL;
    while (e != NULL && (left > 0 || what != 0)) {
        int is_signal = left > 0, is_last, answer;
        lev_signal_settle(e);
        is_last = !lev_is_in_c(e) && e->calls <= 1;
        if (lev_is_leaving(l)) {
            lev_remember(l, e, what | (is_signal ? EV_SIGNAL : 0));
            return;
        }
        e->calls -= is_signal;
        left -= is_signal;
        if (is_last)
            lev_event_detach(l, e);
        answer = lev_deliver_once(l, e, what | (is_signal ? EV_SIGNAL : 0), is_last);
        e = lev_slot(l, token);
        if (e == NULL || l->forked)
            return;
        if (answer == LEV_UNDELIVERED) {
            e->calls += is_signal;
            left += is_signal;
        } else if (answer == LEV_STALE || is_last) {
            lev_event_free(l, e);
            return;
        } else
            what = 0;
    }
    if (e != NULL && !lev_is_in_c(e) && e->calls == 0)
        lev_event_free(l, e);
}

static void lev_deliver(struct lev_base *l, struct lev_event *e, int what)
{
    int64_t token = e->token;
    int answer, is_last;

    if (e->signum) {
        lev_deliver_signal(l, e, what);
        return;
    }
    is_last = !lev_is_in_c(e);
    if (is_last)
        lev_event_detach(l, e);         /* the callback may close the descriptor, and its number be used again */
    answer = lev_deliver_once(l, e, what, is_last);
    if (l->forked || (answer == LEV_DONE && !is_last))
        return;
    e = lev_slot(l, token);             /* the callback may have closed it */
    if (e == NULL)
        return;
    if (answer == LEV_UNDELIVERED)
        lev_remember(l, e, what);
    else if (is_last || answer == LEV_STALE)
        lev_event_free(l, e);
}

/*
 * 2.1 tells only EV_TIMEOUT when a timeout and the descriptor come in one pass (event.c:timeout_process): what
 * is edge-triggered or asked for once would be lost.
 */
static int lev_complete(struct lev_event *e, int what)
{
    short asked = e->ev.ev_events & (EV_READ | EV_WRITE | EV_CLOSED), ready = 0;

    if (what == EV_TIMEOUT && asked && e->ev.ev_fd >= 0)
        ready = lev_fd_ready(e->ev.ev_fd, asked);
    return ready ? what | ready | (e->ev.ev_events & EV_ET) : what;
}

/*
 * Run the check watchers, to whom the event is still pending; what they activate it for is told with *what.  0:
 * they deleted it, its memory may be gone.
 */
static int lev_check_before(struct lev_base *l, struct lev_event *e, short *what)
{
    int64_t token = e->token;
    short todo = e->todo;

    e->todo |= *what;
    l->coming = token;
    lev_run_check(l);
    l->coming = 0;
    if (l->forked || lev_slot(l, token) == NULL)
        return 0;
    *what |= e->todo;
    e->todo = todo;
    return 1;
}

static void lev_on_event(evutil_socket_t fd, short what, void *arg)
{
    struct lev_event *e = arg;
    struct lev_base *l = lev_event_base(e);
    int is_background = e->ev.ev_evcallback.evcb_flags & EVLIST_INTERNAL;

    (void)fd;
    if (!l->looping || l->silent || LEV_NO_PYTHON())
        return;
    if (l->check_due && !lev_check_before(l, e, &what))
        return;
    what = (short)lev_complete(e, what);
    l->collects = 1;
    if (lev_has_to_wait(l))
        lev_remember(l, e, what);
    else
        lev_deliver(l, e, what);
    lev_after_callback(l);
    if (is_background)
        lev_tick(l);
}

/* What an earlier loop left behind, before anything new. 1: there was something, 0: only deleted events. */
static int lev_deliver_todo(struct lev_base *l)
{
    int i, count = l->todo_count, found = 0;

    for (i = 0; i < count && !lev_is_leaving(l); i++) {
        struct lev_event *e = lev_slot(l, l->todo[i]);
        short what;
        if (l->todo[i] < 0) {
            found = 1;
            lev_child_deliver_again((struct lev_child *)(intptr_t)-l->todo[i]);
            continue;
        }
        if (e == NULL || !e->todo)
            continue;
        what = e->todo;
        e->todo = 0;
        l->redelivered++;
        found = 1;
        lev_deliver(l, e, what);
    }
    memmove(l->todo, l->todo + i, (size_t)(l->todo_count - i) * sizeof(*l->todo));
    l->todo_count -= i;
    return found;
}
