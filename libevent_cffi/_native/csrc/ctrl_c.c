/*
 * Ctrl-C while a loop of the main thread runs.
 *
 * A handler of ours stands in front of Python's.  It has Python's note the signal, and wakes the loop by the
 * loop's own pipe: a callback may have taken Python's wake-up descriptor away, and libevent waits on after EINTR
 * (epoll.c:epoll_dispatch).
 *
 * A callback may be about to block when the signal comes: the guard (wakeup.py) has kept it, or Python would look
 * for it only after a call of the system's that no signal interrupts any more.  So a thread sends it again, and
 * again, until the guard has raised it or the loop has ended.  One that is still on its way then is dropped,
 * here or by the guard: nobody pressed a key for it.
 */

#ifndef _WIN32

#define LEV_REPEAT_NS 15000000L

enum { LEV_CAME_NEW = 1, LEV_CAME_AGAIN = 2 };

static pthread_mutex_t lev_ctrl_c_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct sigaction lev_ctrl_c_before;
static long lev_ctrl_c_fd = -1;         /* what wakes the innermost loop that waits */
static long lev_ctrl_c_came = 0;        /* one came since a loop last looked */
static long lev_ctrl_c_guarded = 0;     /* Python's handler is the guard; set under the mutex, as the next one */
static long lev_ctrl_c_kept = 0;        /* the guard keeps one */
static long lev_ctrl_c_sent = 0;        /* it was sent again, and has not reached the handler */
static long lev_ctrl_c_passed = 0;      /* LEV_CAME_ bits: what Python was told of since the guard last ran */
static int lev_ctrl_c_extra = 0;        /* the guard may run once more for what it has seen */
static pthread_t lev_ctrl_c_main;

static lev_semaphore lev_ctrl_c_alarm;  /* what the thread waits for */
static int lev_ctrl_c_has_alarm = 0;
static pthread_t lev_ctrl_c_thread;
static int lev_ctrl_c_has_thread = 0;
static int lev_ctrl_c_ends = 0;         /* the thread is to end */
static long lev_ctrl_c_lost = 0;        /* it has ended while a loop goes on */

static void lev_ctrl_c_handler(int signum, siginfo_t *info, void *context)
{
    int saved = errno;
    int is_again = info->si_pid == getpid() && LEV_SWAP(&lev_ctrl_c_sent, 0);
    long fd = LEV_LOAD(&lev_ctrl_c_fd);

    (void)context;
    if (!is_again || LEV_LOAD(&lev_ctrl_c_kept) || LEV_LOAD(&lev_ctrl_c_passed)) {
        LEV_OR(&lev_ctrl_c_passed, is_again ? LEV_CAME_AGAIN : LEV_CAME_NEW);
        lev_ctrl_c_before.sa_handler(signum);
        LEV_STORE(&lev_ctrl_c_came, 1);
        if (fd >= 0 && lev_put_byte((int)fd, "") < 0)
            errno = saved;              /* full: the loop is woken anyway */
        if (!is_again && LEV_LOAD(&lev_ctrl_c_guarded))
            lev_semaphore_post(&lev_ctrl_c_alarm);
    }
    errno = saved;
}

/* Nobody has put another handler in its place, such as that of an event of ours. */
static int lev_ctrl_c_is_ours(void)
{
    struct sigaction now;

    return sigaction(SIGINT, NULL, &now) == 0 && (now.sa_flags & SA_SIGINFO)
        && now.sa_sigaction == lev_ctrl_c_handler;
}

/* Send it again, if that is wanted; the thread has the mutex. */
static int lev_ctrl_c_repeat(void)
{
    int is_wanted = lev_ctrl_c_guarded && !lev_ctrl_c_ends
        && (lev_ctrl_c_kept || LEV_LOAD(&lev_ctrl_c_passed));

    if (is_wanted && lev_ctrl_c_is_ours()) {
        LEV_STORE(&lev_ctrl_c_sent, 1);
        pthread_kill(lev_ctrl_c_main, SIGINT);
    }
    return is_wanted;
}

static void *lev_ctrl_c_run(void *arg)
{
    struct timespec pause = {0, LEV_REPEAT_NS};
    int ends = 0, is_wanted;

    while (!ends) {
        lev_semaphore_wait(&lev_ctrl_c_alarm);
        do {
            nanosleep(&pause, NULL);
            pthread_mutex_lock(&lev_ctrl_c_mutex);
            is_wanted = lev_ctrl_c_repeat();
            ends = lev_ctrl_c_ends;
            pthread_mutex_unlock(&lev_ctrl_c_mutex);
        } while (is_wanted);
    }
    return arg;
}

/* The caller has the mutex.  Without memory for a thread a Ctrl-C may wait for the callback to return. */
static void lev_ctrl_c_start_thread(void)
{
    sigset_t all, before;

    if (!lev_ctrl_c_has_alarm)
        lev_ctrl_c_has_alarm = lev_semaphore_init(&lev_ctrl_c_alarm) == 0;
    if (!lev_ctrl_c_has_alarm || lev_ctrl_c_has_thread)
        return;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);        /* no signal of the process's is for it */
    lev_ctrl_c_has_thread = pthread_create(&lev_ctrl_c_thread, NULL, lev_ctrl_c_run, NULL) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/*
 * Leaves the mutex locked.  Python warns of a fork() beside threads, so there is none until the callback that
 * forks has returned.
 */
static void lev_ctrl_c_end_thread(void)
{
    int has_thread;

    pthread_mutex_lock(&lev_ctrl_c_mutex);
    has_thread = lev_ctrl_c_has_thread;
    lev_ctrl_c_has_thread = 0;
    lev_ctrl_c_ends = 1;
    pthread_mutex_unlock(&lev_ctrl_c_mutex);
    if (has_thread) {
        lev_semaphore_post(&lev_ctrl_c_alarm);
        pthread_join(lev_ctrl_c_thread, NULL);
    }
    pthread_mutex_lock(&lev_ctrl_c_mutex);
    lev_ctrl_c_ends = 0;
    LEV_STORE(&lev_ctrl_c_lost, has_thread && lev_ctrl_c_guarded);
}

/* Unlocks the mutex.  A Ctrl-C that is to be sent again does not wait for the callback to return. */
static void lev_ctrl_c_go_on(void)
{
    if (lev_ctrl_c_guarded && (lev_ctrl_c_kept || LEV_LOAD(&lev_ctrl_c_passed))) {
        lev_ctrl_c_start_thread();
        lev_semaphore_post(&lev_ctrl_c_alarm);
    }
    pthread_mutex_unlock(&lev_ctrl_c_mutex);
}

/* After a callback. */
static void lev_ctrl_c_replace_thread(void)
{
    pthread_mutex_lock(&lev_ctrl_c_mutex);
    if (lev_ctrl_c_guarded && pthread_equal(pthread_self(), lev_ctrl_c_main)) {
        LEV_STORE(&lev_ctrl_c_lost, 0);
        lev_ctrl_c_start_thread();
    }
    pthread_mutex_unlock(&lev_ctrl_c_mutex);
}

/* In a child. */
static void lev_ctrl_c_after_fork(void)
{
    lev_ctrl_c_fd = -1;
    lev_ctrl_c_lost = 0;
    lev_ctrl_c_came = lev_ctrl_c_guarded = lev_ctrl_c_kept = lev_ctrl_c_sent = lev_ctrl_c_passed = 0;
}

/* One that was sent and is blocked by the main thread would come when it is let in. */
static void lev_ctrl_c_swallow(void)
{
    sigset_t pending, blocked, one;
    int signum;

    sigemptyset(&one);
    sigaddset(&one, SIGINT);
    if (sigpending(&pending) == 0 && sigismember(&pending, SIGINT)
        && pthread_sigmask(SIG_BLOCK, NULL, &blocked) == 0 && sigismember(&blocked, SIGINT))
        sigwait(&one, &signum);
}

#else
static long lev_ctrl_c_lost = 0;
static void lev_ctrl_c_replace_thread(void) { }
#endif

/* Did one come since the last time? */
static int lev_ctrl_c_take(void)
{
#ifdef _WIN32
    return 0;
#else
    return LEV_RELAXED(&lev_ctrl_c_came) && LEV_SWAP(&lev_ctrl_c_came, 0);
#endif
}

/* -- Python's calls, all on the main thread --------------------------------------------------------------- */

/* The guard is about to take its place: what it saw in another loop is over. */
static void lev_ctrl_c_forget(void)
{
#ifndef _WIN32
    lev_ctrl_c_extra = 0;
#endif
}

/* A loop begins: stand in front of Python's handler, if it is that which is there.  guarded: it is the guard. */
static void lev_ctrl_c_begin(int guarded)
{
#ifdef _WIN32
    (void)guarded;
#else
    struct sigaction now;

    pthread_mutex_lock(&lev_ctrl_c_mutex);
    if (guarded) {
        lev_ctrl_c_main = pthread_self();
        lev_ctrl_c_start_thread();
    }
    LEV_STORE(&lev_ctrl_c_guarded, guarded && lev_ctrl_c_has_alarm);
    pthread_mutex_unlock(&lev_ctrl_c_mutex);
    lev_mutex_lock(&lev_signals_mutex);
    if (sigaction(SIGINT, NULL, &now) == 0 && !(now.sa_flags & SA_SIGINFO) && now.sa_handler != SIG_DFL
        && now.sa_handler != SIG_IGN && now.sa_handler != lev_signal_handler) {
        LEV_STORE(&lev_ctrl_c_passed, 0);
        lev_ctrl_c_before = now;
        now.sa_flags |= SA_SIGINFO;
        now.sa_sigaction = lev_ctrl_c_handler;
        sigaction(SIGINT, &now, NULL);
    }
    lev_mutex_unlock(&lev_signals_mutex);
#endif
}

/* The descriptor that wakes the loop which waits now, or -1. */
static void lev_ctrl_c_wakes(int fd)
{
#ifdef _WIN32
    (void)fd;
#else
    LEV_STORE(&lev_ctrl_c_fd, fd);
#endif
}

/* The guard keeps one: send it again until it is let go. */
static void lev_ctrl_c_keep(int keep)
{
#ifdef _WIN32
    (void)keep;
#else
    pthread_mutex_lock(&lev_ctrl_c_mutex);
    if (keep && !lev_ctrl_c_kept && lev_ctrl_c_guarded)
        lev_semaphore_post(&lev_ctrl_c_alarm);
    LEV_STORE(&lev_ctrl_c_kept, keep);
    pthread_mutex_unlock(&lev_ctrl_c_mutex);
#endif
}

/* For the guard: does it run for nothing but what has been raised already? */
static int lev_ctrl_c_is_stale(void)
{
#ifdef _WIN32
    return 0;
#else
    long passed = LEV_SWAP(&lev_ctrl_c_passed, 0);
    int extra = lev_ctrl_c_extra;

    /* One that came while Python was about to call the guard has it called again. */
    lev_ctrl_c_extra = (passed & LEV_CAME_AGAIN) != 0;
    return passed == 0 ? extra : passed == LEV_CAME_AGAIN && !LEV_LOAD(&lev_ctrl_c_kept);
#endif
}

/*
 * The last loop has ended: the handler is Python's again.  1: Python may know of one that its guard has not seen,
 * or call it once more for one that it has seen; PyPy does so only after some more instructions.
 */
static int lev_ctrl_c_end(void)
{
#ifdef _WIN32
    return 0;
#else
    pthread_mutex_lock(&lev_ctrl_c_mutex);
    LEV_STORE(&lev_ctrl_c_guarded, 0);
    LEV_STORE(&lev_ctrl_c_kept, 0);
    pthread_mutex_unlock(&lev_ctrl_c_mutex);
    lev_mutex_lock(&lev_signals_mutex);
    if (lev_ctrl_c_is_ours())           /* a system call: what was sent and not blocked has come */
        sigaction(SIGINT, &lev_ctrl_c_before, NULL);
    lev_mutex_unlock(&lev_signals_mutex);
    if (LEV_SWAP(&lev_ctrl_c_sent, 0))
        lev_ctrl_c_swallow();
    return LEV_LOAD(&lev_ctrl_c_passed) != 0 || lev_ctrl_c_extra;
#endif
}
