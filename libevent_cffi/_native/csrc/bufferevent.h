/*
 * A bufferevent and what we keep beside it.
 *
 * Its callbacks are always deferred, so that none runs inside of a call of Python's.  What libevent tells about
 * bufferevents is one deferred callback for all of it (bufferevent.c:bufferevent_run_deferred_callbacks_locked).
 *
 * Filters stand on others: "above" and "below" are ours, one above the other.  The one at the bottom has the
 * descriptor, or the partner; the callbacks are those of the one on top.  Only that one is its user's.
 */

/* A filter stands on another one: Python's, or TLS that began later. */
enum { LEV_BEV_SOCKET, LEV_BEV_PAIR, LEV_BEV_FILTER, LEV_BEV_OTHER };
enum { LEV_BEV_OWN, LEV_BEV_BORROWED, LEV_BEV_SHOWN };

#define LEV_TLS_PIECE 16384

enum { LEV_FILTER_IN, LEV_FILTER_OUT };

enum { LEV_BEV_ON_READ = 1, LEV_BEV_ON_WRITE = 2, LEV_BEV_ON_EVENT = 4 };

enum {                          /* more answers of calls that fail */
    LEV_BEV_TAKEN = -50,        /* a filter stands on it */
    LEV_BEV_ENDED = -51,        /* its sending was ended */
    LEV_BEV_NO_SOCKET = -52,
    LEV_BEV_LISTENS = -53,
    LEV_BEV_NO_STREAM = -54,
    LEV_BEV_BUSY = -55,         /* it has a connection, or is opening one */
    LEV_BEV_NOT_OPEN = -56,
    LEV_BEV_NO_LIMIT = -57,
    LEV_BEV_SMALL_BURST = -58,  /* TLS cannot read or write less than a record */
    LEV_BEV_OWNED = -59,        /* evhttp goes by its callbacks, which nobody may replace */
    LEV_BEV_TOO_SMALL = -41     /* of the memory given; the same as of buffers */
};

/* An event of nobody's, by which a bufferevent comes back to us when what is on its way has been told. */
#define LEV_BEV_SETTLE 0x04

struct lev_target {             /* an address to connect to */
    int length;
    struct sockaddr_storage address;
};

struct lev_filter;
struct lev_group;
struct lev_sconn;

/* Ten thousand of them may be there: what is small is kept small. */
struct lev_bev {
    struct lev_child child;
    struct bufferevent *bev;
    struct lev_buffer input, output;    /* as Python has them */
    struct lev_bev *above, *below, *partner, *next_unsent;
    unsigned char kind;
    unsigned char is_borrowed;  /* its owner frees the bufferevent; LEV_BEV_SHOWN: and keeps its callbacks */
    unsigned char is_gone;      /* somebody else has it now */
    unsigned char has_callbacks;        /* they are ours */
    unsigned char wants;        /* LEV_BEV_ON_ bits: what Python has callbacks for */
    unsigned char is_open;      /* connected; only then does libevent watch its descriptor */
    unsigned char connecting;   /* until CONNECTED or a failure is told */
    unsigned char finishing;    /* ends when its output is written */
    unsigned char ending_output;        /* ends its sending when its output is written */
    unsigned char outstanding;  /* LEV_BEV_SETTLE is on its way */
    unsigned char missed;       /* LEV_BEV_ON_ bits: what happened and was not delivered */
    unsigned char forced;       /* trigger() asked for on_read, whatever is there */
    unsigned char stalled;      /* its input is full, and on_read was told */
    unsigned char took;         /* something was taken from its input since on_read began */
    unsigned char hears_drains; /* lev_on_input_drained() is told of its input */
    unsigned char is_unsent;    /* stands on the base's list; see bevsend.c */
    unsigned char flushed;      /* its filter has been told that nothing more will be written */
    short enabled;              /* as its user wants it; what has ended is taken out when that is told */
    short ended;                /* EV_READ: nothing more comes; EV_WRITE: we have ended our sending */
    short missed_what;
    short priority;             /* -1: as it was made */
    unsigned char is_priority_due;      /* libevent is to hear of it, see bevcontrol.c */
    int missed_error;
    int attached;               /* one more than the descriptor that it is counted at, or 0 */
    struct lev_filter *filter;  /* it is one of Python's; NULL: none */
    struct ev_token_bucket_cfg *limit;
    struct lev_group *group;    /* and its members */
    struct lev_bev *next_member, **before_member;
    const struct lev_tls_ops *tls;      /* NULL: it has no TLS; see bridge.h */
    void *ssl;
    struct evbuffer *unread;    /* what TLS has still to read, after the end of which an end is to be told */
    struct evbuffer *watched;   /* the output at the bottom, of which lev_on_stack_output() is told */
    struct lev_target *targets; /* addresses left to try */
    int target_count, next_target;
    struct lev_sconn *carrier;  /* it was a connection of a server of HTTP, whose end it is; see lev_sreq_take_over() */
                                /* LEV_BEV_SHOWN: it is one */
    int noted;                  /* LEV_BEV_ON_ bits, and what of it: to be told when LEV_BEV_SETTLE comes back */
    short noted_what;
    int noted_error;
};

static int lev_py_bev_data(int64_t token, int which, int slot);
static int lev_py_bev_event(int64_t token, int what, int error, int slot);

static short lev_sconn_uses(const struct lev_sconn *c);
static void lev_bev_on_write(struct bufferevent *bev, void *arg);
static void lev_on_input_drained(struct evbuffer *input, const struct evbuffer_cb_info *info, void *arg);
static int lev_bev_attach(struct lev_bev *s, struct lev_base *l, int fd);
static void lev_bev_unattach(struct lev_bev *s, struct lev_base *l);
static int lev_stream_check(struct lev_base *l, evutil_socket_t fd, int *connected);
static void lev_bev_go_on(struct lev_bev *s);
static void lev_bev_forget_unread(struct lev_bev *s);
static void lev_filter_got_room(struct lev_filter *f);
static void lev_bev_hear_drains(struct lev_bev *s);
static void lev_filter_unhear(struct lev_bev *s);
static void lev_filter_hear(struct lev_filter *f);
static void lev_filter_end(struct lev_filter *f);
static void lev_filter_resume(struct lev_filter *f, short events);
static int lev_filter_finish(struct lev_filter *f, int which);
static int lev_filter_finish_input(struct lev_bev *s);
static void lev_bev_collect(struct lev_bev *s);
static void lev_bev_uncollect(struct lev_bev *s);
static void lev_bev_lift_limits(struct lev_bev *s);
static void lev_group_keep(struct lev_bev *s);
static void lev_group_let_go(struct lev_bev *s);
static void lev_bev_listen_for_drains(struct lev_bev *s);
static void lev_bev_stall(struct lev_bev *s);
static void lev_sconn_say_goodbye(struct lev_sconn *c);
static void lev_sconn_was_left(struct lev_sconn *c);
