/* event2/bufferevent_ssl.h; all of it in the TLS module */

struct ssl_st;

enum bufferevent_ssl_state {
    BUFFEREVENT_SSL_OPEN,
    BUFFEREVENT_SSL_CONNECTING,
    BUFFEREVENT_SSL_ACCEPTING,
    ...
};

struct bufferevent *bufferevent_openssl_filter_new(struct event_base *, struct bufferevent *,
    struct ssl_st *, enum bufferevent_ssl_state, int);
struct bufferevent *bufferevent_openssl_socket_new(struct event_base *, evutil_socket_t,
    struct ssl_st *, enum bufferevent_ssl_state, int);
int bufferevent_openssl_get_allow_dirty_shutdown(struct bufferevent *);
void bufferevent_openssl_set_allow_dirty_shutdown(struct bufferevent *, int);
struct ssl_st *bufferevent_openssl_get_ssl(struct bufferevent *);
int bufferevent_ssl_renegotiate(struct bufferevent *);
unsigned long bufferevent_get_openssl_error(struct bufferevent *);

/* if LEV_WANT_22 */
#define BUFFEREVENT_SSL_DIRTY_SHUTDOWN ...
#define BUFFEREVENT_SSL_BATCH_WRITE ...

ev_uint64_t bufferevent_ssl_get_flags(struct bufferevent *);
ev_uint64_t bufferevent_ssl_set_flags(struct bufferevent *, ev_uint64_t);
ev_uint64_t bufferevent_ssl_clear_flags(struct bufferevent *, ev_uint64_t);
/* end */

/* if LEV_HAS_MBEDTLS */
struct mbedtls_ssl_context;
struct mbedtls_ssl_config;
typedef struct mbedtls_ssl_context mbedtls_dyncontext;

struct bufferevent *bufferevent_mbedtls_filter_new(struct event_base *, struct bufferevent *,
    mbedtls_dyncontext *, enum bufferevent_ssl_state, int);
struct bufferevent *bufferevent_mbedtls_socket_new(struct event_base *, evutil_socket_t,
    mbedtls_dyncontext *, enum bufferevent_ssl_state, int);
int bufferevent_mbedtls_get_allow_dirty_shutdown(struct bufferevent *);
void bufferevent_mbedtls_set_allow_dirty_shutdown(struct bufferevent *, int);
struct mbedtls_ssl_context *bufferevent_mbedtls_get_ssl(struct bufferevent *);
int bufferevent_mbedtls_renegotiate(struct bufferevent *);
unsigned long bufferevent_get_mbedtls_error(struct bufferevent *);
mbedtls_dyncontext *bufferevent_mbedtls_dyncontext_new(struct mbedtls_ssl_config *);
void bufferevent_mbedtls_dyncontext_free(mbedtls_dyncontext *);
/* end */
