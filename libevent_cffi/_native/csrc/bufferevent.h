/*
 * A bufferevent and what we keep beside it.
 *
 * Its callbacks are always deferred, so that none runs inside of a call of Python's.  What libevent tells about
 * bufferevents is one deferred callback for all of it (bufferevent.c:bufferevent_run_deferred_callbacks_locked).
 *
 * Filters stand on others: "above" and "below" are ours, one above the other.  The one at the bottom has the
 * descriptor, or the partner; the callbacks are those of the one on top.  Only that one is its user's.
 */

enum { LEV_BEV_SOCKET, LEV_BEV_PAIR, LEV_BEV_FILTER, LEV_BEV_OTHER };

enum { LEV_BEV_ON_READ = 1, LEV_BEV_ON_WRITE = 2, LEV_BEV_ON_EVENT = 4 };

enum {                          /* more answers of calls that fail */
    LEV_BEV_TAKEN = -50,        /* a filter stands on it */
    LEV_BEV_ENDED = -51,        /* its sending was ended */
    LEV_BEV_NO_SOCKET = -52,
    LEV_BEV_LISTENS = -53,
    LEV_BEV_NO_STREAM = -54,
    LEV_BEV_BUSY = -55,         /* it has a connection, or is opening one */
    LEV_BEV_TOO_SMALL = -41     /* of the memory given; the same as of buffers */
};

/* An event of nobody's, by which a bufferevent comes back to us when what is on its way has been told. */
#define LEV_BEV_SETTLE 0x04

struct lev_target {             /* an address to connect to */
    int length;
    struct sockaddr_storage address;
};

struct lev_bev {
    struct lev_child child;
    struct bufferevent *bev;
    struct lev_buffer input, output;    /* as Python has them */
    struct lev_bev *above, *below, *partner;
    int kind;
    int is_borrowed;            /* its owner frees the bufferevent */
    int wants;                  /* LEV_BEV_ON_ bits: what Python has callbacks for */
    short enabled;              /* as its user wants it; what has ended is taken out when that is told */
    short ended;                /* EV_READ: nothing more comes; EV_WRITE: we have ended our sending */
    int is_open;                /* connected; only then does libevent watch its descriptor */
    int connecting;             /* until CONNECTED or a failure is told */
    int finishing;              /* ends when its output is written */
    int ending_output;          /* ends its sending when its output is written */
    int outstanding;            /* LEV_BEV_SETTLE is on its way */
    int missed;                 /* LEV_BEV_ON_ bits: what happened and was not delivered */
    short missed_what;
    int missed_error;
    int priority;
    int flushed;                /* the filters have been told that this is the end */
    const struct lev_tls_ops *tls;      /* NULL: it has no TLS; see bridge.h */
    void *ssl;
    struct evbuffer *watched;   /* the output at the bottom, of which lev_on_stack_output() is told */
    struct lev_target *targets; /* addresses left to try */
    int target_count, next_target;
};

static int lev_py_bev_data(int64_t token, int which, int slot);
static int lev_py_bev_event(int64_t token, int what, int error, int slot);

static void lev_bev_on_write(struct bufferevent *bev, void *arg);
