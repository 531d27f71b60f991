/*
 * An evbuffer and what we keep beside it.
 *
 * The memory of a lev_buffer is Python's, as that of a lev_base is, or a part of the owner's own struct: so no call
 * can meet a freed one.  It stands for one of two kinds of evbuffer.
 *
 * A buffer of one's own belongs to no base.  The thread that is inside has its mark in "owner"; another one waits
 * a while, and then comes back with LEV_BUSY, so that Python can run signal handlers before it tries again.
 *
 * A borrowed one is a part of something else: the input of a bufferevent, the body of a request.  Its base is
 * entered, as for anything else of that base, and its owner calls lev_buffer_detach() before the evbuffer goes.
 *
 * No chain of an own buffer is ever shared with another evbuffer (evbuffer_add_buffer_reference() is not used):
 * libevent counts references to a chain without a lock that both would take.  What several can see is behind an
 * atomic count of ours instead: see lend.c.
 */

enum {                          /* more answers of calls that fail */
    LEV_BUSY = -20,             /* another thread is inside: try again */
    LEV_FROZEN = -21,
    LEV_NO_MEMORY = -22,
    LEV_HOLDS_FILE = -23,       /* of which no byte is in memory */
    LEV_SAME = -24,             /* two names of one evbuffer */
    LEV_CUT_SHORT = -25,        /* a file has become shorter */
    LEV_NOT_FOUND = -40,        /* and these are no failures */
    LEV_TOO_SMALL = -41,
    LEV_COPY = -42,
    LEV_REFUSED = -43
};

enum { LEV_FRONT = 1, LEV_END = 2 };

enum { LEV_OWN = 1, LEV_SENDS_FILES = 2 };      /* kinds of buffers */

struct lev_pin;

/* A part of a snapshot, which Python has. */
struct lev_view {
    struct lev_pin *pin;        /* NULL: none yet */
    struct evbuffer_iovec *chunks;
    int count;
};

struct lev_buffer {
    struct evbuffer *eb;        /* NULL: closed, by its user or with its owner */
    struct lev_base *base;      /* NULL: a buffer of one's own */
    long owner;                 /* LEV_ME of the thread inside, or 0 */
    long fork_count;            /* lev_forks when it came */
    size_t behind_file;         /* bytes that are behind a file for certain */
    unsigned char is_own;       /* we free the evbuffer */
    unsigned char frozen;       /* LEV_FRONT, LEV_END: by its user */
    unsigned char sends_files;  /* files that are added stay files, for sendfile() */
    unsigned char holds_file;
    unsigned char lent_end;     /* its last chain may be one that nothing can be added to */
    unsigned char depth;        /* its chains may refer to snapshots that refer to snapshots, so many deep */
    unsigned char inside;       /* in one of our calls: its caller will ask for the changes */
    unsigned char quiet;        /* what changes now is no change to users */
    struct lev_pin *pin;        /* the last snapshot, while some of it is still in the buffer */
    struct evbuffer_cb_entry *entry;    /* libevent tells lev_on_buffer_change() of changes */
    struct evbuffer_cb_info change;     /* since it was last told */
    struct lev_buffer *next, **before;  /* among those that the base has to tell of */
    int64_t token;              /* by which Python finds it, in Loop._watched */
};

/* An object of Python's that C reads from.  Its name is given back when C needs it no more. */
struct lev_ref {
    struct lev_ref *next;
    int64_t token;
    long thread;                /* LEV_ME of the one whose call let go; 0: nobody's */
};

/* Is this thread in a call whose caller will ask for what it has let go of? */
static LEV_THREAD_LOCAL int lev_will_ask;

/* How many of them were given back, and not taken by Python. */
static long lev_released_count = 0;

static int lev_buffer_open(struct lev_buffer *b, struct evbuffer *eb, struct lev_base *base, int kind,
    int64_t token);
static void lev_buffer_detach(struct lev_buffer *b);
static void lev_released_wake(void);
