/*
 * What the TLS module and this one call in each other.  They are separate libraries, so it goes by pointers; tls.c
 * includes this file too.
 */

struct lev_base;
struct lev_child;

struct lev_bridge {             /* what the TLS module calls */
    /* A client has named the server it wants: ask Python which context to use.  0; or -1: the handshake fails. */
    int (*ask_server_name)(struct lev_base *l, int64_t context, const char *name, void *ssl);
    /* Is this a child of the process in which the loop was begun? */
    int (*is_forked)(struct lev_base *l);
    /* As for every call of Python's: a number to leave with, or why not. */
    int (*enter)(struct lev_child *c);
    void (*leave)(struct lev_child *c, int entered);
    long *forks;                /* how often this process is a child */
};

struct lev_tls_ops {            /* what is called in it, for the TLS of one connection */
    /* An ssl of a context, for an object of this base; NULL when there is no memory for it. */
    void *(*make)(void *context, struct lev_base *l);
    /*
     * A bufferevent on a descriptor, on none yet where that is -1, or on another bufferevent, which it then owns as
     * well.  It frees ssl; and so does this when it fails.
     */
    struct bufferevent *(*open)(struct event_base *eb, evutil_socket_t fd, struct bufferevent *under, void *ssl);
    void (*free)(void *ssl);
    /* Has it got as far as the other side? */
    int (*has_begun)(void *ssl);
    /* Has the other side said that nothing more comes, and nothing failed? */
    int (*has_ended)(void *ssl);
    /*
     * Tell the other side that nothing more comes, unless that was done or makes no sense any more.  1: it does not
     * take it now; "whom", NULL for its own bufferevent, is told that the output is written when it is to be tried
     * again.
     */
    int (*say_goodbye)(void *ssl, struct bufferevent *whom);
    /* Reading has been enabled: go on with what is in TLS already. */
    void (*read_on)(void *ssl);
    /* It is to be closed: no event of its own comes any more. */
    void (*stop)(void *ssl);
    /* One more who frees it. */
    void *(*share)(void *ssl);
};
