/*
 * Watchers: before and after the loop waits.
 *
 * 2.2 has them; one of each kind per base is registered there, at the first use, and stays until the base goes,
 * because a watcher may not be freed while the watchers are called (event.c:event_base_loop).  On 2.1 the loop
 * is run one wait at a time, and the first callback after a wait finds that check watchers are due.
 */

enum { LEV_WATCH_PREPARE = 1, LEV_WATCH_CHECK = 2 };

static void lev_call_watchers(struct lev_base *l, int is_prepare, double timeout)
{
    int answer;

    if (l->silent || l->broken || LEV_NO_PYTHON())
        return;
    LEV_INSIST(l, answer, is_prepare ? lev_py_prepare(timeout, l->slot) : lev_py_check(l->slot));
}

static void lev_run_prepare(struct lev_base *l, double timeout)
{
    l->changed = 0;
    if (l->watching & LEV_WATCH_PREPARE)
        lev_call_watchers(l, 1, timeout);
    lev_apply_stop(l);
}

static void lev_run_check(struct lev_base *l)
{
    l->check_due = 0;
    if (l->watching & LEV_WATCH_CHECK)
        lev_call_watchers(l, 0, 0);
    lev_apply_stop(l);
}

struct lev_soonest {
    int64_t tv_sec, tv_usec;
    int found;
    int is_active;
};

static int lev_look_at_event(const struct event_base *eb, const struct event *ev, void *arg)
{
    struct lev_soonest *soonest = arg;
    int64_t microseconds = ev->ev_timeout.tv_usec & 0x000fffff;

    (void)eb;
    if (ev->ev_evcallback.evcb_flags & (EVLIST_ACTIVE | EVLIST_ACTIVE_LATER))
        soonest->is_active = 1;
    if (!(ev->ev_evcallback.evcb_flags & EVLIST_TIMEOUT))
        return 0;
    if (!soonest->found || ev->ev_timeout.tv_sec < soonest->tv_sec
        || (ev->ev_timeout.tv_sec == soonest->tv_sec && microseconds < soonest->tv_usec)) {
        soonest->tv_sec = ev->ev_timeout.tv_sec;
        soonest->tv_usec = microseconds;
    }
    soonest->found = 1;
    return 0;
}

/* How long the next wait would be at most; -1: without end. */
static double lev_next_timeout(struct lev_base *l, int flags)
{
    struct lev_soonest soonest = {0, 0, 0, 0};
    struct timeval now;
    double left;

    if ((flags & EVLOOP_NONBLOCK) || event_base_get_num_events(l->eb, EVENT_BASE_COUNT_ACTIVE) > 0)
        return 0;
    event_base_foreach_event(l->eb, lev_look_at_event, &soonest);
    if (soonest.is_active)
        return 0;
    if (!soonest.found || event_gettime_monotonic(l->eb, &now) != 0)
        return -1;
    left = (double)(soonest.tv_sec - now.tv_sec) + (double)(soonest.tv_usec - now.tv_usec) / 1e6;
    return left > 0 ? left : 0;
}

static int lev_is_empty(struct lev_base *l)
{
    return event_base_get_num_events(l->eb,
        EVENT_BASE_COUNT_ACTIVE | EVENT_BASE_COUNT_VIRTUAL | EVENT_BASE_COUNT_ADDED) <= 0;
}

#if LEV_HAS_WATCH

/*
 * The wait's length was settled before the prepare watchers ran.  What they added or activated since, and that
 * nothing is left to wait for, would be noticed when something else ended the wait: so it is ended at once.
 */
static int lev_wait_is_wrong(struct lev_base *l, double timeout)
{
    double sooner;

    if (l->broken || l->got)
        return 1;
    if (!l->changed)
        return 0;
    if (!(l->flags & EVLOOP_NO_EXIT_ON_EMPTY) && lev_is_empty(l))
        return 1;
    sooner = lev_next_timeout(l, l->flags);
    return sooner >= 0 && (timeout < 0 || sooner < timeout - 0.0005);
}

static void lev_on_prepare(struct evwatch *watcher, const struct evwatch_prepare_cb_info *info, void *arg)
{
    struct lev_base *l = arg;
    struct timeval tv;
    double timeout = -1;

    (void)watcher;
    if (!l->looping || !(l->watching & LEV_WATCH_PREPARE))
        return;
    if (evwatch_prepare_get_timeout(info, &tv))
        timeout = (double)tv.tv_sec + (double)tv.tv_usec / 1e6;
    lev_run_prepare(l, timeout);
    if (!l->forked && lev_wait_is_wrong(l, timeout))
        lev_wake(l);
}

static void lev_on_check(struct evwatch *watcher, const struct evwatch_check_cb_info *info, void *arg)
{
    struct lev_base *l = arg;

    (void)watcher;
    (void)info;
    if (l->looping)
        lev_run_check(l);
}

static int lev_watch_start(struct lev_base *l, int kinds)
{
    if ((kinds & LEV_WATCH_PREPARE) && l->prepare == NULL)
        l->prepare = evwatch_prepare_new(l->eb, lev_on_prepare, l);
    if ((kinds & LEV_WATCH_CHECK) && l->check == NULL)
        l->check = evwatch_check_new(l->eb, lev_on_check, l);
    if (((kinds & LEV_WATCH_PREPARE) && l->prepare == NULL) || ((kinds & LEV_WATCH_CHECK) && l->check == NULL)) {
        errno = ENOMEM;
        return LEV_ERRNO;
    }
    return 0;
}

static void lev_watch_free(struct lev_base *l)
{
    if (l->prepare != NULL)
        evwatch_free(l->prepare);
    if (l->check != NULL)
        evwatch_free(l->check);
    l->prepare = l->check = NULL;
}

static int lev_watched_loop(struct lev_base *l, int flags)
{
    return event_base_loop(l->eb, flags);
}

#else

static int lev_watch_start(struct lev_base *l, int kinds)
{
    (void)l;
    (void)kinds;
    return 0;
}

static void lev_watch_free(struct lev_base *l)
{
    (void)l;
}

/* One wait between the watchers. *was_idle: no callback of ours ran. */
static int lev_watched_wait(struct lev_base *l, int flags, int *was_idle)
{
    int result = 0;

    if (!(flags & EVLOOP_NO_EXIT_ON_EMPTY) && lev_is_empty(l))
        return 1;
    lev_run_prepare(l, lev_next_timeout(l, flags));
    l->check_due = 1;
    l->flags = flags | EVLOOP_ONCE;
    l->waits_singly = !(flags & EVLOOP_ONCE);
    if (!l->broken && !l->got)
        result = event_base_loop(l->eb, flags | EVLOOP_ONCE);
    l->waits_singly = 0;
    *was_idle = l->check_due;
    if (l->check_due && !l->forked)
        lev_run_check(l);
    return result;
}

static int lev_watched_loop(struct lev_base *l, int flags)
{
    int result, goes_on, was_idle = 0;

    do {
        l->restart = 0;
        if (l->watching) {
            result = lev_watched_wait(l, flags, &was_idle);
            goes_on = !(was_idle && (flags & EVLOOP_NONBLOCK));
        } else {
            result = event_base_loop(l->eb, flags);
            goes_on = l->restart;
        }
    } while (result == 0 && goes_on && !l->broken && !l->got && !(flags & EVLOOP_ONCE));
    l->check_due = 0;
    return result;
}

#endif

/* Python has watchers of these kinds too, LEV_WATCH_ bits; 0 asks only whether this thread may change them. */
static int lev_watch(struct lev_base *l, int kinds)
{
    int result, entered = lev_enter(l);

    if (entered < 0)
        return entered;
    result = lev_watch_start(l, kinds);
    if (result == 0) {
        if (!LEV_HAS_WATCH && l->running && !l->watching && kinds && !(l->flags & EVLOOP_ONCE)) {
            l->restart = 1;
            event_base_loopbreak(l->eb);        /* go on one wait at a time */
        }
        l->watching |= kinds;
    }
    lev_leave(l, entered);
    return result;
}

/* The loop found no watcher of the kind any more. */
static void lev_unwatch(struct lev_base *l, int kind)
{
    l->watching &= ~kind;
}
