/* event2/rpc.h */

#define INPUT ...
#define OUTPUT ...

struct evrpc;
struct evrpc_base;
struct evrpc_hook_meta;
struct evrpc_pool;
struct evrpc_req_generic;
struct evrpc_request_wrapper;
struct evrpc_status;

enum EVRPC_HOOK_TYPE {
    EVRPC_INPUT,
    EVRPC_OUTPUT,
    ...
};

enum EVRPC_HOOK_RESULT {
    EVRPC_TERMINATE,
    EVRPC_CONTINUE,
    EVRPC_PAUSE,
    ...
};

struct evrpc_request_wrapper *evrpc_make_request_ctx(struct evrpc_pool *, void *, void *,
    const char *, void (*)(struct evbuffer *, void *), void (*)(void *),
    int (*)(void *, struct evbuffer *), void (*)(struct evrpc_status *, void *, void *, void *),
    void *);
void evrpc_request_done(struct evrpc_req_generic *);
void *evrpc_get_request(struct evrpc_req_generic *);
void *evrpc_get_reply(struct evrpc_req_generic *);

struct evrpc_base *evrpc_init(struct evhttp *);
void evrpc_free(struct evrpc_base *);
int evrpc_register_rpc(struct evrpc_base *, struct evrpc *,
    void (*)(struct evrpc_req_generic *, void *), void *);
int evrpc_unregister_rpc(struct evrpc_base *, const char *);

int evrpc_make_request(struct evrpc_request_wrapper *);

struct evrpc_pool *evrpc_pool_new(struct event_base *);
void evrpc_pool_free(struct evrpc_pool *);
void evrpc_pool_add_connection(struct evrpc_pool *, struct evhttp_connection *);
void evrpc_pool_remove_connection(struct evrpc_pool *, struct evhttp_connection *);
void evrpc_pool_set_timeout(struct evrpc_pool *, int);

void *evrpc_add_hook(void *, enum EVRPC_HOOK_TYPE,
    int (*)(void *, struct evhttp_request *, struct evbuffer *, void *), void *);
int evrpc_remove_hook(void *, enum EVRPC_HOOK_TYPE, void *);

int evrpc_resume_request(void *, void *, enum EVRPC_HOOK_RESULT);
int evrpc_hook_add_meta(void *, const char *, const void *, size_t);
int evrpc_hook_find_meta(void *, const char *, void **, size_t *);
struct evhttp_connection *evrpc_hook_get_connection(void *);

int evrpc_send_request_generic(struct evrpc_pool *, void *, void *,
    void (*)(struct evrpc_status *, void *, void *, void *), void *, const char *,
    void (*)(struct evbuffer *, void *), void (*)(void *), int (*)(void *, struct evbuffer *));
int evrpc_register_generic(struct evrpc_base *, const char *,
    void (*)(struct evrpc_req_generic *, void *), void *, void *(*)(void *), void *,
    void (*)(void *), int (*)(void *, struct evbuffer *), void *(*)(void *), void *,
    void (*)(void *), int (*)(void *), void (*)(struct evbuffer *, void *));

struct evrpc_pool *evrpc_request_get_pool(struct evrpc_request_wrapper *);
void evrpc_request_set_pool(struct evrpc_request_wrapper *, struct evrpc_pool *);
void evrpc_request_set_cb(struct evrpc_request_wrapper *,
    void (*)(struct evrpc_status *, void *, void *, void *), void *);

/* a macro in C; the generated wrapper expands it */
void EVRPC_REQUEST_DONE(struct evrpc_req_generic *);
