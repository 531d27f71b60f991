/* event2/http.h */

#define HTTP_OK ...
#define HTTP_NOCONTENT ...
#define HTTP_MOVEPERM ...
#define HTTP_MOVETEMP ...
#define HTTP_NOTMODIFIED ...
#define HTTP_BADREQUEST ...
#define HTTP_NOTFOUND ...
#define HTTP_BADMETHOD ...
#define HTTP_ENTITYTOOLARGE ...
#define HTTP_EXPECTATIONFAILED ...
#define HTTP_INTERNAL ...
#define HTTP_NOTIMPLEMENTED ...
#define HTTP_SERVUNAVAIL ...

#define EVHTTP_SERVER_LINGERING_CLOSE ...

#define EVHTTP_CON_REUSE_CONNECTED_ADDR ...
#define EVHTTP_CON_READ_ON_WRITE_ERROR ...
#define EVHTTP_CON_LINGERING_CLOSE ...
#define EVHTTP_CON_PUBLIC_FLAGS_END ...

#define EVHTTP_URI_NONCONFORMANT ...

struct evhttp;
struct evhttp_bound_socket;
struct evhttp_connection;
struct evhttp_request;
struct evhttp_uri;

enum evhttp_cmd_type {
    EVHTTP_REQ_GET,
    EVHTTP_REQ_POST,
    EVHTTP_REQ_HEAD,
    EVHTTP_REQ_PUT,
    EVHTTP_REQ_DELETE,
    EVHTTP_REQ_OPTIONS,
    EVHTTP_REQ_TRACE,
    EVHTTP_REQ_CONNECT,
    EVHTTP_REQ_PATCH,
/* if LEV_WANT_22 */
    EVHTTP_REQ_PROPFIND,
    EVHTTP_REQ_PROPPATCH,
    EVHTTP_REQ_MKCOL,
    EVHTTP_REQ_LOCK,
    EVHTTP_REQ_UNLOCK,
    EVHTTP_REQ_COPY,
    EVHTTP_REQ_MOVE,
/* end */
    ...
};

enum evhttp_request_kind {
    EVHTTP_REQUEST,
    EVHTTP_RESPONSE,
    ...
};

enum evhttp_request_error {
    EVREQ_HTTP_TIMEOUT,
    EVREQ_HTTP_EOF,
    EVREQ_HTTP_INVALID_HEADER,
    EVREQ_HTTP_BUFFER_ERROR,
    EVREQ_HTTP_REQUEST_CANCEL,
    EVREQ_HTTP_DATA_TOO_LONG,
    ...
};

/* as wide as the libevent at hand takes it: 16 bits in 2.1, 32 in 2.2 */
typedef int... lev_methods_t;

typedef void evhttp_bound_socket_foreach_fn(struct evhttp_bound_socket *, void *);

struct evhttp *evhttp_new(struct event_base *);

int evhttp_bind_socket(struct evhttp *, const char *, ev_uint16_t);
struct evhttp_bound_socket *evhttp_bind_socket_with_handle(struct evhttp *, const char *,
    ev_uint16_t);
int evhttp_accept_socket(struct evhttp *, evutil_socket_t);
struct evhttp_bound_socket *evhttp_accept_socket_with_handle(struct evhttp *, evutil_socket_t);
struct evhttp_bound_socket *evhttp_bind_listener(struct evhttp *, struct evconnlistener *);
struct evconnlistener *evhttp_bound_socket_get_listener(struct evhttp_bound_socket *);
void evhttp_foreach_bound_socket(struct evhttp *, evhttp_bound_socket_foreach_fn *, void *);
void evhttp_del_accept_socket(struct evhttp *, struct evhttp_bound_socket *);
evutil_socket_t evhttp_bound_socket_get_fd(struct evhttp_bound_socket *);
void evhttp_free(struct evhttp *);

void evhttp_set_max_headers_size(struct evhttp *, ev_ssize_t);
void evhttp_set_max_body_size(struct evhttp *, ev_ssize_t);
void evhttp_set_default_content_type(struct evhttp *, const char *);

int evhttp_set_cb(struct evhttp *, const char *, void (*)(struct evhttp_request *, void *), void *);
int evhttp_del_cb(struct evhttp *, const char *);
void evhttp_set_gencb(struct evhttp *, void (*)(struct evhttp_request *, void *), void *);
void evhttp_set_bevcb(struct evhttp *, struct bufferevent *(*)(struct event_base *, void *),
    void *);

int evhttp_add_virtual_host(struct evhttp *, const char *, struct evhttp *);
int evhttp_remove_virtual_host(struct evhttp *, struct evhttp *);
int evhttp_add_server_alias(struct evhttp *, const char *);
int evhttp_remove_server_alias(struct evhttp *, const char *);

void evhttp_set_timeout(struct evhttp *, int);
void evhttp_set_timeout_tv(struct evhttp *, const struct timeval *);
int evhttp_set_flags(struct evhttp *, int);

void evhttp_send_error(struct evhttp_request *, int, const char *);
void evhttp_send_reply(struct evhttp_request *, int, const char *, struct evbuffer *);
void evhttp_send_reply_start(struct evhttp_request *, int, const char *);
void evhttp_send_reply_chunk(struct evhttp_request *, struct evbuffer *);
void evhttp_send_reply_chunk_with_cb(struct evhttp_request *, struct evbuffer *,
    void (*)(struct evhttp_connection *, void *), void *);
void evhttp_send_reply_end(struct evhttp_request *);

struct evhttp_connection *evhttp_connection_base_bufferevent_new(struct event_base *,
    struct evdns_base *, struct bufferevent *, const char *, ev_uint16_t);
struct bufferevent *evhttp_connection_get_bufferevent(struct evhttp_connection *);
struct evhttp *evhttp_connection_get_server(struct evhttp_connection *);

struct evhttp_request *evhttp_request_new(void (*)(struct evhttp_request *, void *), void *);
void evhttp_request_set_chunked_cb(struct evhttp_request *,
    void (*)(struct evhttp_request *, void *));
void evhttp_request_set_header_cb(struct evhttp_request *,
    int (*)(struct evhttp_request *, void *));
void evhttp_request_set_error_cb(struct evhttp_request *,
    void (*)(enum evhttp_request_error, void *));
void evhttp_request_set_on_complete_cb(struct evhttp_request *,
    void (*)(struct evhttp_request *, void *), void *);
void evhttp_request_free(struct evhttp_request *);

struct evhttp_connection *evhttp_connection_base_new(struct event_base *, struct evdns_base *,
    const char *, ev_uint16_t);
void evhttp_connection_set_family(struct evhttp_connection *, int);
int evhttp_connection_set_flags(struct evhttp_connection *, int);

void evhttp_request_own(struct evhttp_request *);
int evhttp_request_is_owned(struct evhttp_request *);
struct evhttp_connection *evhttp_request_get_connection(struct evhttp_request *);
struct event_base *evhttp_connection_get_base(struct evhttp_connection *);

void evhttp_connection_set_max_headers_size(struct evhttp_connection *, ev_ssize_t);
void evhttp_connection_set_max_body_size(struct evhttp_connection *, ev_ssize_t);
void evhttp_connection_free(struct evhttp_connection *);
void evhttp_connection_free_on_completion(struct evhttp_connection *);
void evhttp_connection_set_local_address(struct evhttp_connection *, const char *);
void evhttp_connection_set_local_port(struct evhttp_connection *, ev_uint16_t);
void evhttp_connection_set_timeout(struct evhttp_connection *, int);
void evhttp_connection_set_timeout_tv(struct evhttp_connection *, const struct timeval *);
void evhttp_connection_set_initial_retry_tv(struct evhttp_connection *, const struct timeval *);
void evhttp_connection_set_retries(struct evhttp_connection *, int);

void evhttp_connection_set_closecb(struct evhttp_connection *,
    void (*)(struct evhttp_connection *, void *), void *);
const struct sockaddr *evhttp_connection_get_addr(struct evhttp_connection *);

int evhttp_make_request(struct evhttp_connection *, struct evhttp_request *, enum evhttp_cmd_type,
    const char *);
void evhttp_cancel_request(struct evhttp_request *);

const char *evhttp_request_get_uri(const struct evhttp_request *);
const struct evhttp_uri *evhttp_request_get_evhttp_uri(const struct evhttp_request *);
enum evhttp_cmd_type evhttp_request_get_command(const struct evhttp_request *);
int evhttp_request_get_response_code(const struct evhttp_request *);
const char *evhttp_request_get_response_code_line(const struct evhttp_request *);
struct evkeyvalq *evhttp_request_get_input_headers(struct evhttp_request *);
struct evkeyvalq *evhttp_request_get_output_headers(struct evhttp_request *);
struct evbuffer *evhttp_request_get_input_buffer(struct evhttp_request *);
struct evbuffer *evhttp_request_get_output_buffer(struct evhttp_request *);
const char *evhttp_request_get_host(struct evhttp_request *);

const char *evhttp_find_header(const struct evkeyvalq *, const char *);
int evhttp_remove_header(struct evkeyvalq *, const char *);
int evhttp_add_header(struct evkeyvalq *, const char *, const char *);
void evhttp_clear_headers(struct evkeyvalq *);

char *evhttp_encode_uri(const char *);
char *evhttp_uriencode(const char *, ev_ssize_t, int);
char *evhttp_decode_uri(const char *);
char *evhttp_uridecode(const char *, int, size_t *);
int evhttp_parse_query(const char *, struct evkeyvalq *);
int evhttp_parse_query_str(const char *, struct evkeyvalq *);
char *evhttp_htmlescape(const char *);

struct evhttp_uri *evhttp_uri_new(void);
void evhttp_uri_set_flags(struct evhttp_uri *, unsigned int);
const char *evhttp_uri_get_scheme(const struct evhttp_uri *);
const char *evhttp_uri_get_userinfo(const struct evhttp_uri *);
const char *evhttp_uri_get_host(const struct evhttp_uri *);
int evhttp_uri_get_port(const struct evhttp_uri *);
const char *evhttp_uri_get_path(const struct evhttp_uri *);
const char *evhttp_uri_get_query(const struct evhttp_uri *);
const char *evhttp_uri_get_fragment(const struct evhttp_uri *);

int evhttp_uri_set_scheme(struct evhttp_uri *, const char *);
int evhttp_uri_set_userinfo(struct evhttp_uri *, const char *);
int evhttp_uri_set_host(struct evhttp_uri *, const char *);
int evhttp_uri_set_port(struct evhttp_uri *, int);
int evhttp_uri_set_path(struct evhttp_uri *, const char *);
int evhttp_uri_set_query(struct evhttp_uri *, const char *);
int evhttp_uri_set_fragment(struct evhttp_uri *, const char *);

struct evhttp_uri *evhttp_uri_parse_with_flags(const char *, unsigned int);
struct evhttp_uri *evhttp_uri_parse(const char *);
void evhttp_uri_free(struct evhttp_uri *);

/* these differ between 2.1 and 2.2; headers.h makes them one */
void evhttp_set_allowed_methods(struct evhttp *, lev_methods_t);
void evhttp_connection_get_peer(struct evhttp_connection *, const char **, ev_uint16_t *);
char *evhttp_uri_join(struct evhttp_uri *, char *, size_t);

/* if LEV_WANT_22 */
#define HTTP_CONTINUE ...
#define HTTP_SWITCH_PROTOCOLS ...
#define HTTP_PROCESSING ...
#define HTTP_EARLYHINTS ...
#define HTTP_CREATED ...
#define HTTP_ACCEPTED ...
#define HTTP_NONAUTHORITATIVE ...
#define HTTP_UNAUTHORIZED ...
#define HTTP_PAYMENTREQUIRED ...
#define HTTP_FORBIDDEN ...
#define HTTP_BADGATEWAY ...

#define EVHTTP_REQ_MAX ...
#define EVHTTP_METHOD_HAS_BODY ...

#define EVHTTP_URI_QUERY_NONCONFORMANT ...
#define EVHTTP_URI_QUERY_LAST_VAL ...
#define EVHTTP_URI_HOST_STRIP_BRACKETS ...
#define EVHTTP_URI_UNIX_SOCKET ...

struct evhttp_ext_method {
    const char *method;
    ev_uint32_t type;
    ev_uint16_t flags;
};

typedef int (*evhttp_ext_method_cb)(struct evhttp_ext_method *);

void evhttp_bound_set_bevcb(struct evhttp_bound_socket *,
    struct bufferevent *(*)(struct event_base *, void *), void *);
void evhttp_set_max_connections(struct evhttp *, int);
int evhttp_get_connection_count(struct evhttp *);
void evhttp_set_ext_method_cmp(struct evhttp *, evhttp_ext_method_cb);
void evhttp_set_newreqcb(struct evhttp *, int (*)(struct evhttp_request *, void *), void *);
void evhttp_set_errorcb(struct evhttp *,
    int (*)(struct evhttp_request *, struct evbuffer *, int, const char *, void *), void *);
void evhttp_set_read_timeout_tv(struct evhttp *, const struct timeval *);
void evhttp_set_write_timeout_tv(struct evhttp *, const struct timeval *);
struct evhttp_connection *evhttp_connection_base_bufferevent_unix_new(struct event_base *,
    struct bufferevent *, const char *);
struct evhttp_connection *evhttp_connection_base_bufferevent_reuse_new(struct event_base *,
    struct evdns_base *, struct bufferevent *);
void evhttp_connection_set_ext_method_cmp(struct evhttp_connection *, evhttp_ext_method_cb);
void evhttp_connection_set_connect_timeout_tv(struct evhttp_connection *, const struct timeval *);
void evhttp_connection_set_read_timeout_tv(struct evhttp_connection *, const struct timeval *);
void evhttp_connection_set_write_timeout_tv(struct evhttp_connection *, const struct timeval *);
int evhttp_parse_query_str_flags(const char *, struct evkeyvalq *, unsigned int);
const char *evhttp_uri_get_unixsocket(const struct evhttp_uri *);
int evhttp_uri_set_unixsocket(struct evhttp_uri *, const char *);
/* end */
