/*
 * HTTP servers: evhttp, and what we keep beside it.
 *
 * A struct lev_http is a child of its base.  Its clients' connections (lev_sconn) and their requests (lev_sreq) are
 * known to Python by tokens, which a table of their server turns into pointers: a stale one finds nothing, so a
 * request needs no finalizer, and nothing that Python does can meet one that libevent has freed.
 *
 * A connection is made known to us by this: evhttp calls our bevcb for a bufferevent, and has set its own callbacks
 * on it when it comes back, with the evhttp_connection as their argument.  So an event of ours, run before anything
 * is read, finds out which connection it became, and sets the close callback that tells of its end.
 *
 * libevent runs callbacks in the middle of its own functions, so a connection is never freed where that is
 * asked for while a loop runs, but by the server's event "doom".
 */

enum {                          /* more answers of calls that fail */
    LEV_ANSWERED = -60,         /* the request was answered, or given up */
    LEV_CLIENT_GONE = -61,
    LEV_NOT_STARTED = -62,      /* send_chunk() and end() without start() */
    LEV_WRONG_LENGTH = -63,     /* the body is not as long as Content-Length says */
    LEV_NO_REQUEST = -64,       /* nothing is left of it */
    LEV_TOO_LATE = -65,         /* half of it has been sent */
    LEV_BAD_VHOST = -66,
    LEV_BAD_BEV = -67,
    LEV_TOO_EARLY = -68         /* its body has not come yet */
};

#define LEV_FAILED 5            /* a trampoline's answer: the user's function raised, and the server goes on */
#define LEV_MORE 6              /* it wants to be called again */

enum {                          /* what is told of a request */
    LEV_TELL_COMPLETE = 1,      /* all was written; the request ends */
    LEV_TELL_GONE = 2,          /* the client went away */
    LEV_TELL_LOST = 4,          /* so did the connection; the request ends */
    LEV_TELL_DRAINED = 8,       /* what send_chunk() took was written */
    LEV_TELL_LATE = 16,         /* it was deferred, and reply_timeout has passed */
    LEV_TELL_BODY = 32,         /* a piece of the body of a route with stream=True */
    LEV_TELL_BODY_END = 64
};

enum {                          /* lev_http_set() */
    LEV_SET_MAX_HEADERS, LEV_SET_MAX_BODY, LEV_SET_MAX_CONNECTIONS, LEV_SET_READ_TIMEOUT, LEV_SET_WRITE_TIMEOUT,
    LEV_SET_REPLY_TIMEOUT, LEV_SET_LINGERING, LEV_SET_METHODS, LEV_SET_WANTS_HEADERS, LEV_SET_WANTS_BEV,
    LEV_SET_WANTS_PAGE, LEV_SET_WANTS_REFUSED
};

enum {                          /* lev_sreq_copy() */
    LEV_COPY_LINE,              /* method, target and version */
    LEV_COPY_HOST,
    LEV_COPY_HEADERS,           /* as http_headers.c packs them */
    LEV_COPY_ANSWER             /* the status that was sent, 0 before, and what Content-Length said */
};

enum { LEV_SREQ_NEW, LEV_SREQ_DEFERRED, LEV_SREQ_STARTED, LEV_SREQ_ANSWERED };

struct lev_name {
    int64_t token;              /* 0: free */
    void *what;
    int next;                   /* free: the next free one, or -1 */
};

struct lev_names {
    struct lev_name *all;
    int size, free;             /* free: the first that is, or -1 */
    int64_t uses;
};

struct lev_framing {            /* where in a request its client is; see http_framing.c */
    int state;                  /* LEV_AT_ */
    int column;                 /* how much of the line has come, as far as that matters */
    int which;                  /* name of a header */
    int is_bare_cr, is_chunked, is_trailer, upgrades;
    int was_cut;
    int wholes;                 /* requests that have come and not been begun */
    uint64_t left;              /* of the body, or of its chunk */
};

#define LEV_LINE_KEPT 1000

struct lev_refused {            /* an answer to a request that Python has not seen; see http_refused.c */
    struct lev_refused *next;
    int status;                 /* 0: there was none yet */
    int in_body;                /* its head is there */
    int64_t size;               /* of its body */
    int has_line;               /* the line of the request is there, or as much of it as is kept */
    int line_size;
    int peer_length;            /* 0: it could not be told */
    struct sockaddr_storage peer;
    char line[LEV_LINE_KEPT];
};

struct lev_sreq;

struct lev_sconn {
    struct lev_sconn *next, **before;   /* of its server: claimed, or not yet */
    struct lev_sconn *chain;            /* in its server's table, by evcon */
    struct lev_sconn *doomed;
    struct lev_http *server;
    struct bufferevent *bev;
    struct evhttp_connection *evcon;    /* NULL: not claimed yet */
    struct lev_sreq *request;           /* the one that is being served */
    int64_t token;
    const struct lev_tls_ops *tls;      /* NULL: it has none; see bridge.h */
    void *ssl;
    int age;                    /* sweeps since it began to wait for a request */
    int has_more;               /* requests wait in its input */
    int is_in;                  /* the headers of that are in: 2.2 only */
    int is_doomed, is_refused, is_lifted;
    int is_plain;               /* its socket is evhttp's alone, see http_epoll.c */
    int has_stay;
    struct event stay;
    int is_shown;               /* Python has its bufferevent */
    struct lev_bev *taker;      /* and uses it for something else than HTTP; see lev_sreq_take_over() */
    int is_taken;               /* it did, or does */
    struct evbuffer_cb_entry *follower; /* sees what comes, before evhttp does */
    struct lev_framing framing;
    size_t received;            /* bytes, for lev_sconn_sweep() */
    struct lev_refused *refused;        /* NULL: nobody wants to know of it */
    struct evbuffer_cb_entry *watcher;  /* of the output, for that */
};

struct lev_sreq {
    struct lev_sreq *next;      /* on its server's list of what is to be told */
    struct lev_http *server;
    struct lev_sconn *conn;     /* NULL: gone */
    struct evhttp_request *req; /* NULL: libevent has it no more */
    int64_t token;
    int refs;                   /* its connection or what is to be told; Python's handle for the body */
    int state;
    int is_held;                /* Python has it in its table, and has to be told of its end */
    int is_queued;              /* on that list */
    int missed;                 /* LEV_TELL_ bits that wait there */
    int is_undelivered;         /* the request itself waits there */
    int is_seen;                /* by a handler */
    int is_gone;                /* the client is; it may still take an answer */
    int is_orphan;              /* we free req, since its connection did not */
    int wants_drain;
    int is_reading;             /* its body is still coming: an answer has to wait, see lev_on_headers() */
    int is_streamed;            /* that goes to Python piece by piece */
    int has_ended;              /* end() was called meanwhile */
    int has_all;                /* the client took all that was promised, and left before end() */
    int status;                 /* of that answer */
    char *reason;
    struct evbuffer *kept;      /* of the body, and not delivered */
    int64_t left;               /* bytes that Content-Length promises and are not sent yet; -1: no promise */
    double deadline;            /* of reply_timeout, or 0 */
    int is_watched;
    struct event watch;         /* for a client that goes away while the answer is deferred */
    int has_body;
    struct lev_buffer body;
};

struct lev_bound {              /* one address that a server listens on */
    struct lev_child child;
    struct lev_bound *next_of_all;      /* under lev_children_mutex */
    struct lev_http *server;
    struct evhttp_bound_socket *bound;  /* NULL: it has ended */
    struct evconnlistener *listener;
    struct event again;         /* after a pause, see listener.c */
    int enabled;
    const struct lev_tls_ops *tls;      /* for its connections, with this context */
    void *context;
    char *path;
    uint64_t device, inode;
    long forks;
};

struct lev_alias {
    struct lev_alias *next;
    char *name;
};

struct lev_http {
    struct lev_child child;
    struct evhttp *http;
    struct lev_http *parent;            /* it is a virtual host of that one, */
    char *pattern;                      /* for these hosts */
    struct lev_http *hosts, *next_host; /* its own virtual hosts, in libevent's order */
    struct lev_alias *aliases;
    struct lev_names clients, requests;
    struct lev_sconn *connections, *fresh, *doomed;
    struct lev_sconn **by_evcon;
    int bucket_count;
    struct lev_sreq *queue, **queue_end;        /* what is to be told later */
    int count, bound_count;
    int live;                   /* requests; one that was a virtual host may have some still, and nothing else */
    int was_host;
    int max_connections;        /* 0: any number */
    int is_stopping, stop_told;
    int inside;                 /* calls of ours: what libevent tells during them is told later */
    int wants_headers, wants_bev, wants_page, wants_refused;
    struct lev_refused *refused;        /* what is to be told later */
    struct evbuffer *page;      /* Python is asked for it */
    double read_timeout, write_timeout, reply_timeout;  /* below 0: none */
    char *content_type;
    struct bufferevent *offered;        /* by Python, which was asked for one */
    const struct lev_tls_ops *offered_tls;
    void *offered_ssl;
    struct event claim, doom, later, sweep;
    long forks;
    lev_methods_t methods;
};

/* Python's functions that C calls, and what the parts of the server need of each other. */
static int lev_py_request(int64_t token, int64_t request, int slot);
static int lev_py_request_headers(int64_t token, int64_t request, int slot);
static int lev_py_request_failed(int64_t token, int64_t request, int slot);
static int lev_py_request_event(int64_t token, int64_t request, int what, int slot);
static int lev_py_request_was_told(int64_t token, int64_t request, int what, int slot);
static int lev_py_http_stopped(int64_t token, int slot);
static int lev_py_http_bev(int64_t token, int slot);
static int lev_py_http_page(int64_t token, int64_t request, int status, int slot);

static void lev_sreq_lost(struct lev_sreq *r);
static void lev_sreq_free(struct lev_sreq *r);
static void lev_sreq_abandon(struct lev_sreq *r);
static void lev_sreq_unwatch(struct lev_sreq *r);
static void lev_on_request(struct evhttp_request *req, void *arg);
#ifdef LEV_HAVE_evhttp_set_newreqcb
static int lev_on_new_request(struct evhttp_request *req, void *arg);
#endif
#ifdef LEV_HAVE_evhttp_set_errorcb
static int lev_on_error_page(struct evhttp_request *req, struct evbuffer *page, int status, const char *reason,
    void *arg);
#endif
static void lev_http_deliver(struct lev_http *h);
