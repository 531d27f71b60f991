/*
 * What the TLS module calls in this one.  The two are separate libraries, so it goes by pointers; tls.c includes
 * this file too.
 */

struct lev_base;

struct lev_bridge {
    /*
     * A client has named the server it wants: ask Python which context to use.  0; or -1: the handshake fails.
     */
    int (*ask_server_name)(struct lev_base *l, int64_t context, const char *name, void *ssl);
    /* Is this a child of the process in which the loop was begun? */
    int (*is_forked)(struct lev_base *l);
};
