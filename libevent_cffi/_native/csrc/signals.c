/*
 * Signals for any number of bases on any threads.
 *
 * libevent lets one base of a process own them, and loses those of the others (signal.c:evsig_set_base_).  So
 * the handler is ours: it counts what came for each base that asked and wakes it; the base's loop then
 * activates its events.  A base is known to the handler by a lev_signals, which is linked once and never freed,
 * so that the handler can walk the list at any moment.
 */

static void lev_signal_count(struct lev_event *e, int count)
{
    e->calls = e->calls > 1000000000 - count ? 1000000000 : e->calls + count;
}

#ifndef _WIN32

#ifdef NSIG
#define LEV_NSIG NSIG
#else
#define LEV_NSIG 65
#endif

struct lev_signals {
    struct lev_signals *next;
    long pid;                   /* whose signals it counts; 0: free for another base */
    long wake_fd;               /* -1: a child has not made its base usable yet */
    struct lev_base *base;
    long watched[LEV_NSIG];     /* how many events */
    long came[LEV_NSIG];
};

static struct lev_signals *lev_signals_all = NULL;
static pthread_mutex_t lev_signals_mutex = PTHREAD_MUTEX_INITIALIZER;
static long lev_signals_busy = 0;       /* handlers that run now */
static int lev_signal_users[LEV_NSIG];
static struct sigaction lev_signal_before[LEV_NSIG];

static void lev_signal_handler(int signum)
{
    int saved = errno;
    long pid = (long)getpid();
    struct lev_signals *s;

    LEV_ADD(&lev_signals_busy, 1);
    for (s = __atomic_load_n(&lev_signals_all, __ATOMIC_ACQUIRE); s != NULL; s = s->next) {
        long fd;
        if (LEV_LOAD(&s->pid) != pid || LEV_LOAD(&s->watched[signum]) <= 0)
            continue;
        LEV_ADD(&s->came[signum], 1);
        fd = LEV_LOAD(&s->wake_fd);
        if (fd >= 0 && lev_put_byte((int)fd, "") < 0)
            continue;           /* full: the loop is woken anyway */
    }
    LEV_ADD(&lev_signals_busy, -1);
    errno = saved;
}

/* After it no handler uses what it was told before. */
static void lev_signals_wait(void)
{
    while (LEV_LOAD(&lev_signals_busy) != 0)
        lev_yield();
}

static int lev_signal_is_ours(int signum)
{
    struct sigaction now;

    return sigaction(signum, NULL, &now) == 0 && !(now.sa_flags & SA_SIGINFO)
        && now.sa_handler == lev_signal_handler;
}

static int lev_signal_install(int signum)
{
    struct sigaction ours;

    memset(&ours, 0, sizeof(ours));
    ours.sa_handler = lev_signal_handler;
    ours.sa_flags = SA_RESTART | SA_ONSTACK;
    sigfillset(&ours.sa_mask);
    return sigaction(signum, &ours, &lev_signal_before[signum]);
}

/* Give the signal back, unless somebody took it from us meanwhile. */
static void lev_signal_restore(int signum)
{
    if (lev_signal_is_ours(signum))
        sigaction(signum, &lev_signal_before[signum], NULL);
}

static int lev_signal_taken(int signum)
{
    return signum > 0 && signum < LEV_NSIG && lev_signal_users[signum] > 0;
}

/*
 * Take back every signal of ours that somebody else handles now, and return one of them, or 0.  Python's
 * signal.signal() is such a somebody: our events would never hear of the signal again.
 */
static int lev_signals_reclaim(struct lev_base *l)
{
    int signum, lost = 0;

    if (l->signals == NULL)
        return 0;
    lev_mutex_lock(&lev_signals_mutex);
    for (signum = 1; signum < LEV_NSIG; signum++)
        if (l->signals->watched[signum] > 0 && !lev_signal_is_ours(signum) && lev_signal_install(signum) == 0)
            lost = signum;
    lev_mutex_unlock(&lev_signals_mutex);
    return lost;
}

static struct lev_signals *lev_signals_of(struct lev_base *l)
{
    struct lev_signals *s;

    if (l->signals != NULL)
        return l->signals;
    for (s = lev_signals_all; s != NULL && s->pid != 0; s = s->next)
        ;
    if (s == NULL) {
        s = calloc(1, sizeof(*s));      /* kept for ever, so not counted as the base's */
        if (s == NULL)
            return NULL;
        s->next = lev_signals_all;
    }
    memset(s->watched, 0, sizeof(s->watched));
    memset(s->came, 0, sizeof(s->came));
    s->base = l;
    LEV_STORE(&s->wake_fd, l->wake_pair[1]);
    LEV_STORE(&s->pid, (long)getpid());
    if (s->next == lev_signals_all)
        __atomic_store_n(&lev_signals_all, s, __ATOMIC_RELEASE);
    return l->signals = s;
}

static int lev_signal_watch(struct lev_base *l, int signum)
{
    struct lev_signals *s;
    int result = 0;

    lev_mutex_lock(&lev_signals_mutex);
    s = lev_signals_of(l);
    if (s == NULL) {
        errno = ENOMEM;
        result = -1;
    } else {
        LEV_ADD(&s->watched[signum], 1);
        if (lev_signal_users[signum]++ == 0 || !lev_signal_is_ours(signum))
            result = lev_signal_install(signum);
        if (result != 0) {
            LEV_ADD(&s->watched[signum], -1);
            lev_signal_users[signum]--;
        }
    }
    lev_mutex_unlock(&lev_signals_mutex);
    return result;
}

static void lev_signal_unwatch(struct lev_base *l, int signum)
{
    if (l->signals == NULL)     /* given up after a fork */
        return;
    lev_mutex_lock(&lev_signals_mutex);
    if (LEV_ADD(&l->signals->watched[signum], -1) == 0)
        LEV_STORE(&l->signals->came[signum], 0);
    if (--lev_signal_users[signum] == 0)
        lev_signal_restore(signum);
    lev_mutex_unlock(&lev_signals_mutex);
}

/* The base goes: its lev_signals is free for another one. */
static void lev_signals_release(struct lev_base *l)
{
    if (l->signals == NULL)
        return;
    lev_mutex_lock(&lev_signals_mutex);
    LEV_STORE(&l->signals->pid, 0);
    LEV_STORE(&l->signals->wake_fd, -1);
    l->signals->base = NULL;
    l->signals = NULL;
    lev_mutex_unlock(&lev_signals_mutex);
    lev_signals_wait();
}

/* The base has another pair of descriptors, after a fork. */
static void lev_signals_renew(struct lev_base *l)
{
    if (l->signals == NULL)
        return;
    LEV_STORE(&l->signals->wake_fd, l->wake_pair[1]);
    LEV_STORE(&l->signals->pid, (long)getpid());
}

/* Give a number of signals to every event that waits for one of them. */
static void lev_signal_tell(struct lev_base *l, int signum, int count)
{
    int i;

    for (i = 0; i < l->signal_count; i++) {
        struct lev_event *e = l->signal_events[i];
        if (e->signum != signum)
            continue;
        lev_signal_count(e, count);
        event_active(&e->ev, EV_SIGNAL, 1);
    }
}

static void lev_signals_collect(struct lev_base *l)
{
    int signum;

    if (l->signals == NULL)
        return;
    for (signum = 1; signum < LEV_NSIG; signum++) {
        long came = LEV_RELAXED(&l->signals->came[signum]);
        if (came > 0)
            lev_signal_tell(l, signum, (int)LEV_SWAP(&l->signals->came[signum], 0));
    }
}

/*
 * In a new child.  A base that waits here for its first use goes on counting; one whose loop was going on is
 * dead, and would swallow the child's signals for ever.
 */
static void lev_signals_after_fork(void)
{
    struct lev_signals *s;
    int signum;

    lev_signals_busy = 0;
    for (s = lev_signals_all; s != NULL; s = s->next) {
        if (s->pid == 0)
            continue;
        s->wake_fd = -1;
        memset(s->came, 0, sizeof(s->came));
        if (!s->base->forked) {
            s->pid = (long)getpid();
            continue;
        }
        for (signum = 1; signum < LEV_NSIG; signum++) {
            lev_signal_users[signum] -= (int)s->watched[signum];
            if (s->watched[signum] > 0 && lev_signal_users[signum] == 0)
                lev_signal_restore(signum);
        }
        memset(s->watched, 0, sizeof(s->watched));
        s->base->signals = NULL;
        s->base = NULL;
        s->pid = 0;
    }
}

#else   /* Windows has no signals that libevent could watch apart from those of the C library */

#define LEV_NSIG 1
static int lev_signal_taken(int signum) { (void)signum; return 0; }
static int lev_signals_reclaim(struct lev_base *l) { (void)l; return 0; }
static int lev_signal_watch(struct lev_base *l, int s) { (void)l; (void)s; errno = EINVAL; return -1; }
static void lev_signal_unwatch(struct lev_base *l, int s) { (void)l; (void)s; }
static void lev_signals_release(struct lev_base *l) { (void)l; }
static void lev_signals_renew(struct lev_base *l) { (void)l; }
static void lev_signal_tell(struct lev_base *l, int s, int n) { (void)l; (void)s; (void)n; }
static void lev_signals_collect(struct lev_base *l) { (void)l; }

#endif

static int lev_signal_link(struct lev_base *l, struct lev_event *e)
{
    if (l->signal_count == l->signal_size) {
        int size = l->signal_size ? l->signal_size * 2 : 8;
        struct lev_event **more = lev_realloc(l->signal_events, (size_t)size * sizeof(*more));
        if (more == NULL)
            return -1;
        l->signal_events = more;
        l->signal_size = size;
    }
    if (lev_signal_watch(l, e->signum) != 0)
        return -1;
    l->signal_events[l->signal_count++] = e;
    return 0;
}

static void lev_signal_unlink(struct lev_base *l, struct lev_event *e)
{
    int i;

    for (i = 0; i < l->signal_count; i++)
        if (l->signal_events[i] == e) {
            memmove(l->signal_events + i, l->signal_events + i + 1,
                (size_t)(--l->signal_count - i) * sizeof(e));
            lev_signal_unwatch(l, e->signum);
            return;
        }
}

/* -- Python's calls -------------------------------------------------------------------------------------- */

/* Activate the base's events of a signal, as if it had come. */
static int lev_signal_activate(struct lev_base *l, int signum)
{
    int entered = lev_enter(l);

    if (entered < 0)
        return entered;
    lev_signal_tell(l, signum, 1);
    lev_leave(l, entered);
    return 0;
}

/* After Python has set its own handler while an event of ours waits for the signal. */
static int lev_signal_reassert(int signum)
{
#ifdef _WIN32
    (void)signum;
    return 0;
#else
    int result = 0;

    lev_mutex_lock(&lev_signals_mutex);
    if (lev_signal_taken(signum) && !lev_signal_is_ours(signum))
        result = lev_signal_install(signum);
    lev_mutex_unlock(&lev_signals_mutex);
    return result;
#endif
}

/* A signal reached Python's handler on its way to events that wait for it: count it.  0: none waits. */
static int lev_signal_came(int signum)
{
#ifdef _WIN32
    (void)signum;
    return 0;
#else
    if (!lev_signal_taken(signum))
        return 0;
    lev_signal_handler(signum);
    return 1;
#endif
}

/* Block a signal on this thread, or let it in again; answers whether it was blocked. */
static int lev_signal_hold(int signum, int hold)
{
#ifdef _WIN32
    (void)signum;
    return hold;
#else
    sigset_t one, before;

    sigemptyset(&one);
    sigaddset(&one, signum);
    pthread_sigmask(hold ? SIG_BLOCK : SIG_UNBLOCK, &one, &before);
    return sigismember(&before, signum);
#endif
}
