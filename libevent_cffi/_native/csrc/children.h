/*
 * What a base has beside its events: listeners, bufferevents, resolvers, servers.
 *
 * A kind of them embeds a struct lev_child at its beginning, in memory that Python's handle owns (made by
 * lev_child_alloc() and let go by lev_child_drop(), see children.py).  libevent gets that pointer for its
 * callbacks, so the memory also stays until the base has ended the child.
 *
 * Ending one is never done where it was asked for: libevent may be using it up the stack.  close() marks it, and
 * a dropped handle queues it; lev_reap() ends it, from an event of its own or when the outermost call leaves.
 */

struct lev_child;

struct lev_kind {
    void (*end)(struct lev_child *c);           /* free what libevent has of it; no callback may follow */
    int (*is_armed)(struct lev_child *c);       /* can something of it still happen by itself? */
    void (*deliver_again)(struct lev_child *c); /* what lev_child_remember() was called for */
    int is_late;                                /* ended after the others, and after what they left active */
    void (*stop)(struct lev_child *c);          /* at close(), where it may be in use: take nothing more up; or NULL */
    void (*renew)(struct lev_child *c);         /* in a forked child, before its first use there; or NULL */
    int (*is_ready)(struct lev_child *c);       /* may it be ended now, between two callbacks? or NULL: at any time */
};

struct lev_child {
    struct lev_child *next, *before;    /* of its base, the newest first; changed under lev_children_mutex */
    struct lev_base *base;              /* NULL: it has ended, or never begun; changed under lev_children_mutex */
    const struct lev_kind *kind;
    int64_t token;                      /* its name in Python's table */
    int refs;                           /* of the memory: Python's handle and the base; under lev_children_mutex */
    struct lev_child *ending, *dropped;
    unsigned char held;                 /* stands in Python's table, which keeps it alive */
    unsigned char closed;               /* Python hears nothing of it any more */
    unsigned char is_ending, is_dropped;        /* stands on that list of the base */
    unsigned char is_waiting;           /* until is_ready(); then it is ended */
    unsigned char todo;                 /* stands on the base's list of what was not delivered */
};

#ifndef _WIN32
static pthread_mutex_t lev_children_mutex = PTHREAD_MUTEX_INITIALIZER;
#define lev_children_lock() pthread_mutex_lock(&lev_children_mutex)
#define lev_children_unlock() pthread_mutex_unlock(&lev_children_mutex)
#else
static SRWLOCK lev_children_mutex = SRWLOCK_INIT;
#define lev_children_lock() AcquireSRWLockExclusive(&lev_children_mutex)
#define lev_children_unlock() ReleaseSRWLockExclusive(&lev_children_mutex)
#endif

static void lev_reap(struct lev_base *l);
static int lev_take_dropped(struct lev_base *l);
static void lev_renew_children(struct lev_base *l);
static void lev_reap_soon(struct lev_base *l);
static int lev_has_to_reap(struct lev_base *l);
static void lev_end_children(struct lev_base *l, int late);
static void lev_abandon_children(struct lev_base *l);
static void lev_child_deliver_again(struct lev_child *c);
