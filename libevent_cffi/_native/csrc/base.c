/* A base: who may enter it, how it is woken, made, made usable in a child, and freed. */

static void lev_on_wake(evutil_socket_t fd, short what, void *arg);
static void lev_on_soon(evutil_socket_t fd, short what, void *arg);
static void lev_on_exit(evutil_socket_t fd, short what, void *arg);
static void lev_on_exit_later(evutil_socket_t fd, short what, void *arg);
static void lev_on_limit(evutil_socket_t fd, short what, void *arg);
static void lev_on_patience(evutil_socket_t fd, short what, void *arg);
static void lev_on_tick(evutil_socket_t fd, short what, void *arg);
static void lev_on_reap(evutil_socket_t fd, short what, void *arg);
static void lev_on_late(evutil_socket_t fd, short what, void *arg);
static void lev_on_changes(evutil_socket_t fd, short what, void *arg);
static void lev_event_free(struct lev_base *l, struct lev_event *e);

static struct lev_base *lev_bases = NULL;
#ifndef _WIN32
static pthread_mutex_t lev_bases_mutex = PTHREAD_MUTEX_INITIALIZER;
#define lev_bases_lock() pthread_mutex_lock(&lev_bases_mutex)
#define lev_bases_unlock() pthread_mutex_unlock(&lev_bases_mutex)
/* A base is being freed: libevent takes a lock of all bases (signal.c:evsig_dealloc_) that it knows no fork of. */
static pthread_mutex_t lev_freeing_mutex = PTHREAD_MUTEX_INITIALIZER;
#define lev_freeing_lock() pthread_mutex_lock(&lev_freeing_mutex)
#define lev_freeing_unlock() pthread_mutex_unlock(&lev_freeing_mutex)
#else
#define lev_bases_lock()
#define lev_bases_unlock()
#define lev_freeing_lock()
#define lev_freeing_unlock()
#endif

/* -- entering -------------------------------------------------------------------------------------------- */

static int lev_renew(struct lev_base *l);

/* 1: entered, and lev_leave() has to let go; 0: this thread was inside already; else why not. */
static int lev_enter(struct lev_base *l)
{
    long me = LEV_ME, nobody = 0;
    int entered = 0, result = 0;

    if (LEV_RELAXED(&l->owner) != me) {
        if (!LEV_CAS(&l->owner, &nobody, me)) {
            /* Dead: the thread that has it is not here any more. */
            return l->forked ? LEV_FORKED : LEV_WRONG_THREAD;
        }
        entered = 1;
    }
    if (l->closed)
        result = LEV_CLOSED;
    else if (l->fork_count != LEV_RELAXED(&lev_forks))
        result = l->forked ? LEV_FORKED : lev_renew(l);
    if (result != 0) {
        lev_leave(l, entered);
        return result;
    }
    l->home = me;
    l->changed = 1;
    return entered;
}

static void lev_leave(struct lev_base *l, int entered)
{
    if (!entered)
        return;
    if (lev_has_to_reap(l)) {
        int saved = errno;              /* the caller's result may be about to be told */
        lev_reap(l);
        errno = saved;
    }
    LEV_STORE(&l->owner, 0);
}

/* -- waking and stopping: any thread, and a signal handler of Python's ------------------------------------ */

static void lev_wake(struct lev_base *l)
{
    if (LEV_SWAP(&l->awake, 1) == 0 && lev_put_byte(l->wake_pair[1], "") < 0)
        return;                         /* full: there is enough to wake up for */
}

static int lev_lock_to_look(struct lev_base *l);

/* Hold the gate: the base is not freed meanwhile. Or why not. */
static int lev_lock_to_change(struct lev_base *l)
{
    if (l->fork_count != LEV_RELAXED(&lev_forks)) {
        int entered = lev_enter(l);     /* makes it usable, or says why not */
        while (entered == LEV_WRONG_THREAD && l->fork_count != LEV_RELAXED(&lev_forks)) {
            lev_yield();                /* another thread is making it usable */
            entered = lev_enter(l);
        }
        if (entered >= 0)
            lev_leave(l, entered);
        else if (entered != LEV_WRONG_THREAD)
            return entered;
    }
    return lev_lock_to_look(l);
}

/* The same for a look: it changes nothing, so in a child the base may stay as the parent left it. */
static int lev_lock_to_look(struct lev_base *l)
{
    if (l->forked)              /* libevent's own lock may be held by a thread that is not here */
        return LEV_FORKED;
    lev_mutex_lock(&l->gate);
    if (l->eb == NULL || l->closed) {
        lev_mutex_unlock(&l->gate);
        return LEV_CLOSED;
    }
    return 0;
}

/* Ask the loop to stop; when there is none, this counts for the next.  after is for LEV_STOP_LATER. */
static int lev_stop(struct lev_base *l, int how, double after)
{
    double due = how == LEV_STOP_LATER ? lev_clock() + after : 0;
    int result = lev_lock_to_change(l);

    if (result != 0)
        return result;
    if (how == LEV_STOP_LATER && (l->exit_at == 0 || due < l->exit_at))
        l->exit_at = due;
    LEV_OR(&l->stop, how);
    lev_wake(l);                /* always: whether a loop has begun this moment cannot be told */
    lev_mutex_unlock(&l->gate);
    return 0;
}

/* A call was queued by another thread. */
static int lev_post(struct lev_base *l)
{
    int result = lev_lock_to_change(l);

    if (result != 0)
        return result;
    LEV_STORE(&l->want_soon, 1);
    lev_wake(l);
    lev_mutex_unlock(&l->gate);
    return 0;
}

/* The guard of Ctrl-C, on the thread that dispatches. */
static void lev_interrupt(struct lev_base *l)
{
    l->interrupted = l->broken = 1;
    if (l->eb != NULL)
        event_base_loopbreak(l->eb);
}

/* It has been raised elsewhere: the loop goes on, unless something else ended it. */
static void lev_withdraw_interrupt(struct lev_base *l)
{
    if (l->interrupted) {
        l->interrupted = 0;
        l->withdrawn = 1;
    }
}

/* -- our own events -------------------------------------------------------------------------------------- */

static void lev_assign_internal(struct lev_base *l, struct event *ev, evutil_socket_t fd, short events,
    event_callback_fn callback, int priority)
{
    event_assign(ev, l->eb, fd, events, callback, l);
    event_priority_set(ev, priority);
    ev->ev_evcallback.evcb_flags |= EVLIST_INTERNAL;
}

static int lev_add_wake(struct lev_base *l)
{
    if (lev_open_pair(l->wake_pair) != 0)
        return -1;
    if (lev_fd_is_too_large(l, l->wake_pair[0])) {
        lev_close_pair(l->wake_pair);
        errno = EMFILE;
        return -1;
    }
    l->awake = 0;
    /* Priority 0, or a stream of more urgent events keeps Ctrl-C out (event.c:event_process_active). */
    lev_assign_internal(l, &l->wake, l->wake_pair[0], EV_READ | EV_PERSIST, lev_on_wake, 0);
    return event_add(&l->wake, NULL);
}

static int lev_add_own_events(struct lev_base *l)
{
    int middle = l->priorities / 2, last = l->priorities - 1;

    event_assign(&l->soon, l->eb, -1, 0, lev_on_soon, l);
    event_priority_set(&l->soon, middle);
    event_assign(&l->exit_later, l->eb, -1, 0, lev_on_exit_later, l);
    event_priority_set(&l->exit_later, 0);      /* or urgent events keep it out */
    lev_assign_internal(l, &l->exit_now, -1, 0, lev_on_exit, middle);
    lev_assign_internal(l, &l->limit, -1, 0, lev_on_limit, last);
    event_assign(&l->tick, l->eb, -1, 0, lev_on_tick, l);
    event_priority_set(&l->tick, last);
    lev_assign_internal(l, &l->patience, -1, 0, lev_on_patience, 0);
    lev_assign_internal(l, &l->reap, -1, 0, lev_on_reap, 0);
    lev_assign_internal(l, &l->late, -1, 0, lev_on_late, last);
    lev_assign_internal(l, &l->changes, -1, 0, lev_on_changes, 0);
    return lev_add_wake(l);
}

static void lev_drop_own_events(struct lev_base *l)
{
    struct event *all[] = {
        &l->wake, &l->soon, &l->exit_now, &l->exit_later, &l->limit, &l->tick, &l->patience, &l->reap, &l->late,
        &l->changes};
    size_t i;

    for (i = 0; i < sizeof(all) / sizeof(*all); i++) {
        if (!event_initialized(all[i]))
            continue;
        event_del(all[i]);
        event_debug_unassign(all[i]);
    }
    lev_close_pair(l->wake_pair);
}

/* -- fork ------------------------------------------------------------------------------------------------ */

/*
 * libevent ends the process when it gets no descriptors for its signals or in a child (signal.c:evsig_init_,
 * event.c:event_reinit): try first.  *highest is the highest number that there was.
 */
static int lev_can_open_files(int *highest)
{
#ifndef _WIN32
    int fds[6], i, count = 0, enough, saved;

    *highest = 0;
    while (count < 6 && pipe(fds + count) == 0)
        count += 2;
    saved = errno;
    enough = count == 6;
    for (i = 0; i < count; i++) {
        close(fds[i]);
        if (fds[i] > *highest)
            *highest = fds[i];
    }
    errno = saved;
    return enough;
#else
    *highest = 0;
    return 1;
#endif
}

/* Make the base usable in this process; this thread is inside. */
static int lev_renew(struct lev_base *l)
{
    int highest;

    if (!lev_can_open_files(&highest))
        return LEV_ERRNO;
    if (event_reinit(l->eb) != 0)
        return LEV_ERRNO;
    /* The pair is the parent's too: closing our copy does not touch what it waits for. */
    if (event_initialized(&l->wake)) {  /* not after a try that failed */
        event_del(&l->wake);
        event_debug_unassign(&l->wake);
        l->wake.ev_evcallback.evcb_flags = 0;
    }
    lev_close_pair(l->wake_pair);
    if (lev_add_wake(l) != 0)
        return LEV_ERRNO;
    l->fork_count = LEV_RELAXED(&lev_forks);
    lev_signals_renew(l);
    lev_renew_children(l);
    lev_wake(l);                        /* what was posted, or came as a signal, in between */
    return 0;
}

static int lev_base_reinit(struct lev_base *l)
{
    long before = l->fork_count;
    int result = 0, entered = lev_enter(l);

    if (entered < 0)
        return entered;
    if (l->running)
        result = LEV_RUNNING;
    else if (l->fork_count == before)   /* entering has not done it */
        result = lev_renew(l);
    lev_leave(l, entered);
    return result;
}

#ifndef _WIN32

/*
 * At a fork nobody else is inside a gate, so what the child gets is whole: no lock that is never let go, no
 * list half changed.  libevent's own lock of a base is taken under its gate or by its owner only.
 */
static void lev_before_fork(void)
{
    struct lev_base *l;

    lev_freeing_lock();
    lev_bases_lock();
    for (l = lev_bases; l != NULL; l = l->next)
        lev_mutex_lock(&l->gate);
    lev_mutex_lock(&lev_signals_mutex);
    lev_children_lock();
    lev_ctrl_c_end_thread();
}

static void lev_let_go_after_fork(void)
{
    struct lev_base *l;

    lev_ctrl_c_go_on();
    lev_children_unlock();
    lev_mutex_unlock(&lev_signals_mutex);
    for (l = lev_bases; l != NULL; l = l->next)
        lev_mutex_unlock(&l->gate);
    lev_bases_unlock();
    lev_freeing_unlock();
}

/* In the child a base is dead when its loop was going on, or a thread was in it that is not here. */
static void lev_after_fork(void)
{
    struct lev_base *l;

    lev_forks++;
    lev_forker = LEV_ME;
    for (l = lev_bases; l != NULL; l = l->next) {
        if (l->running || (l->owner != 0 && l->owner != LEV_ME))
            l->forked = 1;
        l->dropping = 0;                /* they are not here */
    }
    lev_signals_after_fork();
    lev_ctrl_c_after_fork();
    lev_let_go_after_fork();
}

#endif

static void lev_install_fork(void)
{
#ifndef _WIN32
    pthread_atfork(lev_before_fork, lev_let_go_after_fork, lev_after_fork);
#endif
}

/* -- making ---------------------------------------------------------------------------------------------- */

#ifndef _WIN32

static void lev_base_link(struct lev_base *l)
{
    lev_bases_lock();
    l->next = lev_bases;
    if (lev_bases != NULL)
        lev_bases->before = l;
    lev_bases = l;
    l->is_listed = 1;
    lev_bases_unlock();
}

static void lev_base_unlink(struct lev_base *l)
{
    lev_bases_lock();
    l->is_listed = 0;
    if (l->before != NULL)
        l->before->next = l->next;
    else
        lev_bases = l->next;
    if (l->next != NULL)
        l->next->before = l->before;
    lev_bases_unlock();
}

#else   /* no fork() */
static void lev_base_link(struct lev_base *l) { l->is_listed = 1; }
static void lev_base_unlink(struct lev_base *l) { l->is_listed = 0; }
#endif

/*
 * Make one in memory that is all zeroes; lev_base_drop() is called for it in any case.  0; or LEV_ERRNO, with
 * errno 0 when libevent has no method that fits.
 */
static int lev_base_open(struct lev_base *l, struct event_config *config, int priorities, int unlocked)
{
    int highest;

    if (!lev_can_open_files(&highest))
        return LEV_ERRNO;
    if (highest >= LEV_SELECT_MOST - 8)
        event_config_avoid_method(config, "select");
    LEV_STORE(&lev_used, 1);
    l->wake_pair[0] = l->wake_pair[1] = l->old_wakeup = -1;
    l->roomy = -1;
    l->fork_count = LEV_RELAXED(&lev_forks);
    l->priorities = priorities;
    l->unlocked = unlocked;
    lev_mutex_init(&l->gate);
    errno = 0;
    l->eb = event_base_new_with_config(config);
    if (l->eb == NULL)
        return LEV_ERRNO;
    lev_base_link(l);
    LEV_ADD(&lev_live_objects, 1);
    l->is_epoll = strncmp(event_base_get_method(l->eb), "epoll", 5) == 0;
    l->has_changelist = l->is_epoll && strstr(event_base_get_method(l->eb), "changelist") != NULL;
    l->is_select = strcmp(event_base_get_method(l->eb), "select") == 0;
    if (event_base_priority_init(l->eb, priorities) != 0 || lev_add_own_events(l) != 0) {
        int saved = errno;
        lev_tear_down(l);
        errno = saved;
        return LEV_ERRNO;
    }
    return 0;
}

/* -- ending ---------------------------------------------------------------------------------------------- */

static void lev_free_events(struct lev_base *l)
{
    int i, j;

    for (i = l->chunk_count - 1; i >= 0; i--)
        for (j = LEV_CHUNK - 1; j >= 0 && l->chunks[i] != NULL; j--)
            if (l->chunks[i]->slots[j].token != 0)
                lev_event_free(l, &l->chunks[i]->slots[j]);
}

/* Let what is still queued in libevent run out, without Python; the cap is against what never ends. */
static void lev_drain(struct lev_base *l)
{
    int passes;

    for (passes = 0; passes < 100; passes++) {
        if (event_base_get_num_events(l->eb, EVENT_BASE_COUNT_ACTIVE) <= 0)
            return;
        event_base_loop(l->eb, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    }
}

static void lev_tear_down(struct lev_base *l)
{
    struct event_base *eb = l->eb;

    l->silent = 1;
    lev_end_children(l, 0);
    lev_free_events(l);
    lev_signals_release(l);
    lev_watch_free(l);
    lev_drain(l);
    lev_end_children(l, 1);
    lev_drain(l);
    lev_mutex_lock(&l->gate);
    l->closed = 1;
    lev_drop_own_events(l);
    l->eb = NULL;
    lev_mutex_unlock(&l->gate);
    lev_freeing_lock();
    event_base_free(eb);
    lev_freeing_unlock();
    lev_slots_destroy(l);
    lev_free(l->fds);
    lev_free(l->todo);
    lev_free(l->signal_events);
    l->fds = NULL;
    l->todo = NULL;
    l->signal_events = NULL;
    l->fd_count = l->todo_count = l->todo_size = l->signal_count = l->signal_size = 0;
    LEV_ADD(&lev_live_objects, -1);
}

/*
 * End it.  LEV_RUNNING: this thread's loop is going on, the base is closed to everybody, and the call has to
 * be made again when the loop has ended.
 */
static int lev_base_close(struct lev_base *l)
{
    int entered = lev_enter(l);

    if ((entered == LEV_CLOSED || entered == LEV_FORKED) && l->running && LEV_RELAXED(&l->owner) == LEV_ME)
        entered = 0;
    else if (entered == LEV_CLOSED && l->eb != NULL)
        entered = LEV_CAS(&l->owner, &(long){0}, LEV_ME) ? 1 : LEV_WRONG_THREAD;
    if (entered < 0)
        return entered;
    if (l->running) {
        l->closed = 1;
        LEV_OR(&l->stop, LEV_STOP_BREAK);
        lev_leave(l, entered);
        return LEV_RUNNING;
    }
    lev_tear_down(l);
    lev_leave(l, entered);
    return 0;
}

/*
 * The base was dropped.  Finalizers of objects that are dropped with it may still call: they find it closed, in
 * memory that goes with the last who knows it.  What cannot be freed is lost: a base that a thread of the
 * parent was in, or one for which a child gets no descriptors.
 */
static void lev_base_drop(struct lev_base *l)
{
    if (!l->is_listed)
        return;
    lev_base_unlink(l);
    if (l->eb == NULL)
        return;
    if (lev_take_dropped(l)
        && ((l->fork_count == LEV_RELAXED(&lev_forks) && !l->forked) || lev_renew(l) == 0)) {
        lev_tear_down(l);
        LEV_STORE(&l->owner, 0);
        return;
    }
    lev_signals_release(l);
    lev_abandon_children(l);
    l->closed = 1;
}

/* From now on callbacks run on this thread only: it ends Python, and the others would hang in it. */
static void lev_begin_exit(void)
{
    LEV_STORE(&lev_exiting, LEV_ME);
#ifndef _WIN32
    lev_ctrl_c_end_thread();
    lev_mutex_unlock(&lev_ctrl_c_mutex);
#endif
}
