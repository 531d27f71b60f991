/* event2/listener.h */

#define LEV_OPT_LEAVE_SOCKETS_BLOCKING ...
#define LEV_OPT_CLOSE_ON_FREE ...
#define LEV_OPT_CLOSE_ON_EXEC ...
#define LEV_OPT_REUSEABLE ...
#define LEV_OPT_THREADSAFE ...
#define LEV_OPT_DISABLED ...
#define LEV_OPT_DEFERRED_ACCEPT ...
#define LEV_OPT_REUSEABLE_PORT ...
#define LEV_OPT_BIND_IPV6ONLY ...

struct evconnlistener;

typedef void (*evconnlistener_cb)(struct evconnlistener *, evutil_socket_t, struct sockaddr *, int,
    void *);
typedef void (*evconnlistener_errorcb)(struct evconnlistener *, void *);

struct evconnlistener *evconnlistener_new(struct event_base *, evconnlistener_cb, void *,
    unsigned int, int, evutil_socket_t);
struct evconnlistener *evconnlistener_new_bind(struct event_base *, evconnlistener_cb, void *,
    unsigned int, int, const struct sockaddr *, int);
void evconnlistener_free(struct evconnlistener *);

int evconnlistener_enable(struct evconnlistener *);
int evconnlistener_disable(struct evconnlistener *);
struct event_base *evconnlistener_get_base(struct evconnlistener *);
evutil_socket_t evconnlistener_get_fd(struct evconnlistener *);

void evconnlistener_set_cb(struct evconnlistener *, evconnlistener_cb, void *);
void evconnlistener_set_error_cb(struct evconnlistener *, evconnlistener_errorcb);

/* if LEV_WANT_22 */
#define LEV_OPT_BIND_IPV4_AND_IPV6 ...
/* end */
