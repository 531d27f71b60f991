/* The loop: what runs it, and what stops it. */

/*
 * After each call of Python: was it a fork's child that came back, did it fail?  1: the answer is final.
 *
 * A child leaves the loop before libevent touches what it shares with the parent again.
 */
static int lev_delivered(struct lev_base *l, int answer)
{
    if (l->fork_count != LEV_RELAXED(&lev_forks)) {
        l->forked = l->broken = 1;
        event_base_loopbreak(l->eb);
        return 1;
    }
    if (answer == LEV_STALE)
        l->stale++;
    if (answer == LEV_UNDELIVERED || answer == LEV_RAISED) {
        l->broken = 1;
        event_base_loopbreak(l->eb);
    }
    return answer != LEV_UNDELIVERED || LEV_NO_PYTHON();
}

static void lev_arm_soon(struct lev_base *l)
{
    struct timeval now = {0, 0};

    /* One that waits already is not to come later than what is due after it. */
    if (l->soon.ev_evcallback.evcb_flags & (EVLIST_TIMEOUT | EVLIST_ACTIVE | EVLIST_ACTIVE_LATER))
        return;
    if (event_add(&l->soon, &now) != 0)
        event_active(&l->soon, EV_TIMEOUT, 1);
}

/*
 * Events of a lower priority wait while those of a higher one keep coming (event.c:event_process_active), and so
 * does the end of EVLOOP_ONCE, for which none may be active, and of a loop that was asked to exit.  So passes are
 * counted from then on, by an event that libevent does not count among the urgent ones, and the loop is left.
 */
static void lev_arm_patience(struct lev_base *l)
{
    struct timeval now = {0, 0};

    if (!(l->patience.ev_evcallback.evcb_flags & (EVLIST_TIMEOUT | EVLIST_ACTIVE | EVLIST_ACTIVE_LATER)))
        event_add(&l->patience, &now);
}

static void lev_on_patience(evutil_socket_t fd, short what, void *arg)
{
    struct lev_base *l = arg;
    int exits = event_pending(&l->exit_now, EV_TIMEOUT, NULL);

    (void)fd;
    (void)what;
    if (!exits && !(l->flags & EVLOOP_ONCE))
        return;
    if (++l->passes < LEV_PATIENCE) {
        lev_arm_patience(l);
        return;
    }
    if (exits)
        lev_exit(l);
    else
        event_base_loopbreak(l->eb);
}

/* Act on what any thread asked for. */
static void lev_apply_stop(struct lev_base *l)
{
    long stop;

    if (l->forked || LEV_RELAXED(&l->stop) == 0)
        return;
    stop = LEV_SWAP(&l->stop, 0);
    if (stop & LEV_STOP_BREAK) {
        l->got |= LEV_STOP_BREAK;
        event_base_loopbreak(l->eb);
    }
    if (stop & LEV_STOP_EXIT) {
        event_active(&l->exit_now, EV_TIMEOUT, 1);
        lev_arm_patience(l);
    }
    if (stop & LEV_STOP_LATER) {
        struct timeval tv;
        double left;
        lev_mutex_lock(&l->gate);       /* loop_exit() of another thread may be setting it */
        left = l->exit_at - lev_clock();
        lev_mutex_unlock(&l->gate);
        lev_to_timeval(left > 0 ? left : 0, &tv);
        if (event_add(&l->exit_later, &tv) != 0)        /* no memory: better early than never */
            event_active(&l->exit_later, EV_TIMEOUT, 1);
    }
}

/*
 * Have EVLOOP_ONCE end after this pass: events that do not keep the loop alive do not count there
 * (event.c:event_process_active_single_queue), but their callbacks have run.
 */
static void lev_tick(struct lev_base *l)
{
    if (!l->forked && (l->flags & EVLOOP_ONCE))
        event_active(&l->tick, EV_TIMEOUT, 1);
}

static void lev_after_callback(struct lev_base *l)
{
    if (l->forked)
        return;
    l->collects = 0;
    if (l->unsent != NULL)
        lev_send_unsent(l);
    lev_apply_stop(l);
    lev_reap_soon(l);
    if (LEV_RELAXED(&lev_ctrl_c_lost))
        lev_ctrl_c_replace_thread();
    if ((l->flags & EVLOOP_ONCE) && l->priorities > 1)
        lev_arm_patience(l);
    if ((LEV_RELAXED(&lev_log_pending) || LEV_RELAXED(&lev_released_count)) && !l->log_asked) {
        l->log_asked = 1;
        lev_wake(l);
    }
}

/* -- callbacks of our own events ------------------------------------------------------------------------- */

static int lev_empty_pair(struct lev_base *l)
{
    unsigned char bytes[256];
    int signals = 0;
    long i, count;

    while ((count = lev_read_fd(l->wake_pair[0], bytes, sizeof(bytes))) > 0) {
        for (i = 0; i < count; i++) {
            if (bytes[i] == 0)
                continue;
            signals = 1;
            if (l->old_wakeup >= 0 && lev_put_byte(l->old_wakeup, &bytes[i]) < 0)
                continue;               /* full: its owner will look anyway */
        }
        if (count < (long)sizeof(bytes))
            break;
    }
    /*
     * Last: who comes now writes again, and what those wanted who came before is seen by whoever called this.  Before
     * the bytes are read, it would let in one whose byte is taken along, and nobody would write any more.
     */
    (void)LEV_SWAP(&l->awake, 0);
    return signals;
}

static void lev_call_wake(struct lev_base *l)
{
    int answer;

    LEV_INSIST(l, answer, lev_py_wake(l->python_signals, l->slot));
}

static void lev_on_wake(evutil_socket_t fd, short what, void *arg)
{
    struct lev_base *l = arg;
    int signals = lev_empty_pair(l);

    (void)fd;
    (void)what;
    if (l->silent || !l->looping || LEV_NO_PYTHON())
        return;
    if (l->python_signals && lev_ctrl_c_take())
        signals = 1;
    if (l->check_due)
        lev_run_check(l);
    lev_signals_collect(l);
    if (LEV_RELAXED(&l->want_soon) && LEV_SWAP(&l->want_soon, 0))
        lev_arm_soon(l);
    l->log_asked = 0;
    if ((signals || LEV_RELAXED(&lev_log_pending) || LEV_RELAXED(&lev_released_count)) && !l->broken)
        lev_call_wake(l);
    lev_apply_stop(l);
    lev_reap_soon(l);
    if (signals || l->waits_singly)
        lev_tick(l);
}

static void lev_on_soon(evutil_socket_t fd, short what, void *arg)
{
    struct lev_base *l = arg;
    int answer;

    (void)fd;
    (void)what;
    if (l->silent || !l->looping || LEV_NO_PYTHON())
        return;
    if (l->check_due)
        lev_run_check(l);
    if (lev_has_to_wait(l)) {
        lev_arm_soon(l);
        return;
    }
    l->current = LEV_SOON;
    l->collects = 1;
    LEV_INSIST(l, answer, lev_py_soon(l->slot));
    l->current = 0;
    if (answer != LEV_DONE && !l->forked)
        lev_arm_soon(l);
    lev_after_callback(l);
}

/* The loop_exit(after=) that the loop knew of counts no more; one that came this moment does. */
static void lev_forget_exit(struct lev_base *l)
{
    lev_mutex_lock(&l->gate);
    if (!(LEV_LOAD(&l->stop) & LEV_STOP_LATER))
        l->exit_at = 0;
    lev_mutex_unlock(&l->gate);
}

static void lev_exit(struct lev_base *l)
{
    l->got |= LEV_STOP_EXIT;
    if (!event_pending(&l->exit_later, EV_TIMEOUT, NULL))
        lev_forget_exit(l);
    event_base_loopbreak(l->eb);
}

static void lev_on_exit(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    lev_exit(arg);
}

/* The time of loop_exit(after=) has come: as if it had been asked for now. */
static void lev_on_exit_later(evutil_socket_t fd, short what, void *arg)
{
    struct lev_base *l = arg;

    (void)fd;
    (void)what;
    event_active(&l->exit_now, EV_TIMEOUT, 1);
    lev_arm_patience(l);
}

static void lev_on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
}

static void lev_on_limit(evutil_socket_t fd, short what, void *arg)
{
    struct lev_base *l = arg;

    (void)fd;
    (void)what;
    l->got |= LEV_STOP_LATER;
    if (event_pending(&l->exit_now, EV_TIMEOUT, NULL))
        lev_exit(l);                    /* it would not come to it any more */
    event_base_loopbreak(l->eb);
}

/* -- Python's calls -------------------------------------------------------------------------------------- */

/* The descriptor that wakes the loop, after making the base usable in a child; or why there can be no loop. */
static int lev_loop_prepare(struct lev_base *l)
{
    int entered = lev_enter(l);

    if (entered < 0)
        return entered;
    lev_leave(l, entered);
    return l->running ? LEV_RUNNING : (int)l->wake_pair[1];
}

/*
 * Take the base for a loop of this thread.  The loop lasts until lev_loop_end(), over any number of
 * lev_loop().  Answers the signal that somebody had taken from our events, or 0.  An interrupt that came before
 * stays.
 */
static int lev_loop_begin(struct lev_base *l)
{
    int entered = lev_enter(l);

    if (entered < 0)
        return entered;
    if (l->running)
        return LEV_RUNNING;
    LEV_STORE(&l->running, 1);
    l->got = l->broken = 0;
    return lev_signals_reclaim(l);
}

/* The slot of callbacks.py where Python keeps this loop's table. */
static void lev_loop_use(struct lev_base *l, int slot)
{
    l->slot = slot;
}

/* Between lev_loop_begin() and lev_loop_end() of this thread? */
static int lev_loop_is_mine(struct lev_base *l)
{
    return LEV_RELAXED(&l->owner) == LEV_ME && l->running;
}

/*
 * Run the loop as flags say, for at most limit seconds unless that is negative.  1: nothing is pending any
 * more; 0: it was stopped, or did what the flags asked for; LEV_ERRNO.
 */
static int lev_loop(struct lev_base *l, int flags, double limit)
{
    struct timeval tv;
    int result = 0;

    if (l->forked || l->fork_count != LEV_RELAXED(&lev_forks)) {
        l->forked = l->broken = 1;      /* between two lev_loop() */
        return 0;
    }
    lev_reap(l);
    l->looping = 1;
    l->flags = flags;
    l->passes = 0;
    l->got &= ~LEV_STOP_LATER;
    l->broken = l->interrupted;
    l->withdrawn = 0;
    if (LEV_RELAXED(&l->want_soon) && LEV_SWAP(&l->want_soon, 0))
        lev_arm_soon(l);
    if (LEV_RELAXED(&lev_released_count))
        lev_wake(l);
    lev_apply_stop(l);
    if (l->todo_count > 0 && !lev_has_to_wait(l)) {
        if (lev_deliver_todo(l) && (flags & EVLOOP_ONCE))
            flags |= EVLOOP_NONBLOCK;
        lev_apply_stop(l);
    }
    if (!lev_has_to_wait(l)) {
        if (limit >= 0)
            lev_to_timeval(limit, &tv);
        result = limit >= 0 && event_add(&l->limit, &tv) != 0 ? LEV_ERRNO : lev_watched_loop(l, flags);
        if (!l->forked) {
            event_del(&l->limit);
            event_del(&l->tick);
            event_del(&l->patience);
        }
    }
    l->looping = 0;
    lev_reap(l);
    return result;
}

/* What ended the loop, as LEV_STOP_ bits; with "keep", a later loop_exit(after=) still counts. */
static int lev_loop_end(struct lev_base *l, int keep)
{
    if (!l->forked) {
        event_del(&l->exit_now);
        if (!keep) {
            event_del(&l->exit_later);
            lev_forget_exit(l);
        }
    }
    if (l->old_wakeup >= 0 && !l->forked) {
        lev_empty_pair(l);              /* what came last is its owner's too */
        lev_wake(l);
    }
    l->python_signals = 0;
    l->old_wakeup = -1;
    LEV_STORE(&l->running, 0);
    lev_leave(l, 1);
    return l->got;
}

/* Why the last lev_loop() ended, as LEV_WAS_ bits. */
static int lev_loop_state(struct lev_base *l)
{
    return (l->interrupted ? LEV_WAS_INTERRUPTED : 0) | (l->forked ? LEV_WAS_FORKED : 0)
        | (l->closed ? LEV_WAS_CLOSED : 0) | (l->broken ? LEV_WAS_BROKEN : 0)
        | (l->withdrawn ? LEV_WAS_WITHDRAWN : 0);
}

/* Was there a Ctrl-C for dispatch() to raise?  It is taken by asking. */
static int lev_take_interrupt(struct lev_base *l)
{
    int interrupted = l->interrupted;

    l->interrupted = 0;
    return interrupted;
}

/* Make Python's wake-up descriptor known; it was another one's before. */
static void lev_loop_wakeup(struct lev_base *l, int old)
{
    l->python_signals = 1;
    l->old_wakeup = old != l->wake_pair[1] ? old : -1; /* or it would write to itself for ever */
}

static int lev_soon(struct lev_base *l)
{
    int entered = lev_enter(l);

    if (entered < 0)
        return entered;
    lev_arm_soon(l);
    lev_leave(l, entered);
    return 0;
}

static int lev_loop_continue(struct lev_base *l)
{
    int entered = lev_enter(l);

    if (entered < 0)
        return entered;
    event_base_loopcontinue(l->eb);
    lev_leave(l, entered);
    return 0;
}
