/*
 * One event_base and what we keep beside it.
 *
 * The memory of a lev_base is Python's: every Python object of the base refers to it, so no call can meet a freed
 * one.  What is in it is made by lev_base_open() and freed by lev_base_drop() when Python's base goes; cyclic
 * garbage can still call after that, from a __del__, and finds the base closed.
 *
 * Who may touch it: the thread whose mark is in "owner".  Each call takes the word when it is free and gives
 * it back at its end (lev_enter, lev_leave); while a loop runs, its thread keeps it.  A second thread is
 * refused before it looks at anything else.  The few calls that any thread may make at any time (stopping,
 * waking, looking) hold the gate, which keeps the event_base from being freed under them.
 */

enum {                          /* what calls answer when they fail; 0 and more is success */
    LEV_ERRNO = -1,
    LEV_WRONG_THREAD = -2,
    LEV_CLOSED = -3,
    LEV_FORKED = -4,
    LEV_FD_REUSED = -5,
    LEV_MIXED_ET = -6,
    LEV_RUNNING = -7,
    LEV_NOTHING_LEFT = -8,
    LEV_NO_FILES = -9,
    LEV_FD_TOO_LARGE = -10,
    LEV_ACTIVE = -11,
    LEV_TOO_MANY = -12
};

enum {                          /* what a trampoline answers, see callbacks.py */
    LEV_UNDELIVERED = 0,
    LEV_DONE = 1,
    LEV_GONE = 2,
    LEV_RAISED = 3,
    LEV_STALE = 4
};

#define LEV_ATTEMPTS 64

/*
 * Have "answer" be what a call of Python's gives, and call again while it is "not delivered": something was raised
 * before the user's function began, by a signal handler of the user's own or for want of stack.
 */
#define LEV_INSIST(l, answer, call) \
    do { \
        int lev_left = LEV_ATTEMPTS; \
        do \
            (answer) = (call); \
        while (!lev_delivered((l), (answer)) && --lev_left > 0); \
    } while (0)

#define LEV_PATIENCE 100        /* passes; see lev_arm_patience() */

enum { LEV_STOP_BREAK = 1, LEV_STOP_EXIT = 2, LEV_STOP_LATER = 4 };

enum { LEV_WAS_INTERRUPTED = 1, LEV_WAS_FORKED = 2, LEV_WAS_CLOSED = 4, LEV_WAS_BROKEN = 8,
    LEV_WAS_WITHDRAWN = 16 };

#define LEV_COMMON_MAX 256      /* libevent's own limit (event.c:MAX_COMMON_TIMEOUTS) */

struct lev_bev;
struct lev_buffer;
struct lev_event;
struct lev_chunk;
struct lev_signals;

#define LEV_SOON (-2)           /* in the place of a token: a call that was queued */

struct lev_fd {                 /* what is known of a descriptor that events watch */
    unsigned events;            /* how many; 0: the rest means nothing */
    int edge_triggered;
    int is_unique;              /* opened again it would be another inode */
    uint64_t device, inode;
};

struct lev_base {
    struct lev_base *next, *before;     /* all of them, under lev_bases_mutex: for fork() */
    int is_listed;
    struct event_base *eb;      /* NULL when closed */
    lev_mutex gate;
    long owner;                 /* LEV_ME of the thread inside, or 0 */
    long running;               /* is a loop going on? */
    long closed;                /* set before eb is NULL: by close() in a callback */
    long stop;                  /* LEV_STOP_ bits, for the loop to notice */
    long fork_count;            /* lev_forks when it was made or made usable again */
    long home;                  /* LEV_ME of the thread that was the last to enter */
    int forked;                 /* dead: its loop or another thread was in it at the fork */

    int looping;                /* inside lev_loop(): on any greenlet, so no stack of bases would do */
    int silent;                 /* call no Python any more */
    int slot;                   /* where Python keeps this loop's table */
    int road;                   /* filters may call Python though there is no loop, see filter.c */
    int broken;                 /* a callback raised or was not run: keep what comes for later */
    int interrupted;            /* a Ctrl-C for dispatch() to raise */
    int withdrawn;              /* there was one, until it was raised elsewhere */
    int changed;                /* something was called since the prepare watchers began */
    int got;                    /* LEV_STOP_ bits that ended the loop */
    int is_epoll, is_select, has_changelist;
    int flags;                  /* EVLOOP_ flags of the loop */
    int priorities;
    int unlocked;               /* made with EVENT_BASE_FLAG_NOLOCK */
    int64_t current;            /* the token of the event whose callback runs */
    int64_t coming;             /* of the one that is told when the check watchers have run, or 0 */
    long stale, redelivered;

    evutil_socket_t wake_pair[2];
    long awake;                 /* a byte is in the pair already */
    long want_soon;             /* another thread queued a call */
    int log_asked;
    int python_signals;         /* the pair is also Python's wake-up descriptor */
    int old_wakeup;             /* whose place it took, or -1 */
    struct event wake, soon, exit_now, exit_later, limit, tick, patience, reap, late, changes;
    int passes;                 /* since it was time to end the loop */
    double exit_at;             /* when the earliest loop_exit(after=) is due; 0: none */

    struct lev_chunk **chunks;  /* events, see slots.c */
    int chunk_count;
    int chunk_hint;             /* no place before it is empty */
    int roomy;                  /* first chunk with room, or -1 */
    int used;                   /* events that exist */
    int64_t uses;               /* how many ever did */
    struct lev_fd *fds;
    int fd_count;
    int64_t *todo;              /* what happened and was not delivered: tokens, and children as -pointer */
    int todo_count, todo_size;

    struct lev_child *children; /* see children.h */
    struct lev_child *ending, *dropped;
    long has_dropped;
    int waiting;                /* children that are to be ended when they are ready */
    int dropping;               /* threads that end a dropped one now; under lev_children_mutex */
    int64_t child_uses;         /* how many there ever were */

    struct lev_signals *signals;        /* NULL until the first signal, see signals.c */
    struct lev_event **signal_events;
    int signal_count, signal_size;

    const struct timeval *common[LEV_COMMON_MAX];
    int common_count;

    int has_priorities;         /* of connections, which libevent is to hear of when nothing is active */
    int collects;               /* a callback runs at whose end what it wrote is sent, see bevsend.c */
    struct lev_bev *unsent;
    struct lev_buffer *changed_buffers;         /* borrowed buffers whose changes Python has to hear of, see buffer.c */

    int watching;               /* has Python watchers: 1 prepare, 2 check */
    int check_due;
    int waits_singly;           /* each wait is a loop of libevent's own, for the watchers' sake */
    int restart;                /* the first watcher came while the loop was going on */
#if LEV_HAS_WATCH
    struct evwatch *prepare, *check;
#endif
};

/* LEV_ME of the thread that is ending Python, or 0: on no other one may a callback run any more. */
static long lev_exiting = 0;
#define LEV_NO_PYTHON() (LEV_RELAXED(&lev_exiting) != 0 && LEV_RELAXED(&lev_exiting) != LEV_ME)
/* How often this process is a child. */
static long lev_forks = 0;
/* LEV_ME of the one thread that came along at the last one. */
static long lev_forker = 0;

/* Python's functions, defined in callbacks.py. */
static int lev_py_plain(int64_t token, int slot);
static int lev_py_plain_last(int64_t token, int slot);
static int lev_py_event(int64_t token, int what, int slot);
static int lev_py_event_last(int64_t token, int what, int slot);
static int lev_py_signal(int64_t token, int slot);
static int lev_py_soon(int slot);
static int lev_py_wake(int python_signals, int slot);
static int lev_py_prepare(double timeout, int slot);
static int lev_py_check(int slot);
static int lev_py_let_go(int64_t token, int slot);
static int lev_py_change(int64_t token, int slot);

/* Is the loop on its way out, so that what happens is kept for the next one? */
static int lev_has_to_wait(const struct lev_base *l)
{
    return l->broken || (l->got & LEV_STOP_BREAK);
}

static int lev_enter(struct lev_base *l);
static void lev_leave(struct lev_base *l, int entered);
static int lev_delivered(struct lev_base *l, int answer);
static void lev_after_callback(struct lev_base *l);
static void lev_send_unsent(struct lev_base *l);
static void lev_bev_apply_priorities(struct lev_base *l);
static void lev_tick(struct lev_base *l);
static void lev_arm_soon(struct lev_base *l);
static void lev_apply_stop(struct lev_base *l);
static void lev_exit(struct lev_base *l);
static void lev_run_check(struct lev_base *l);
static void lev_watch_free(struct lev_base *l);
static int lev_todo_put(struct lev_base *l, int64_t what);
static void lev_tear_down(struct lev_base *l);
static void lev_drain(struct lev_base *l);
