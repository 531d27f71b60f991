/* OpenSSL's, as pointers only */

struct ssl_ctx_st;

/* errors: csrc/tls_errors.c */

#define LEV_TLS_REASONS ...
#define LEV_TLS_TEXT ...

struct lev_tls_failure {
    int count;
    int needs_password;
    int dirty;
    long verify_code;
    char verify_text[...];
    char reasons[...][...];
    ...;
};

/* contexts: csrc/tls_context.c */

int lev_tls_start(const struct lev_bridge *bridge);
struct ssl_ctx_st *lev_tls_context_new(int is_server, int64_t number, struct lev_tls_failure *f);
void lev_tls_context_free(struct ssl_ctx_st *ctx);
void lev_tls_ask_name(struct ssl_ctx_st *ctx);
void lev_tls_take_dirty(struct ssl_ctx_st *ctx);
int lev_tls_set_versions(struct ssl_ctx_st *ctx, int least, int most, struct lev_tls_failure *f);
int lev_tls_set_ciphers(struct ssl_ctx_st *ctx, const char *old, const char *suites, struct lev_tls_failure *f);
int lev_tls_set_alpn(
    struct ssl_ctx_st *ctx, int is_server, const char *names, unsigned size, struct lev_tls_failure *f);
void lev_tls_set_verify(struct ssl_ctx_st *ctx, int how);
void lev_tls_no_tickets(struct ssl_ctx_st *ctx);
int lev_tls_trust_system(struct ssl_ctx_st *ctx, struct lev_tls_failure *f);
int lev_tls_trust_path(struct ssl_ctx_st *ctx, const char *path, struct lev_tls_failure *f);
int lev_tls_trust(struct ssl_ctx_st *ctx, const char *pem, int size, int is_server, struct lev_tls_failure *f);
int lev_tls_use_certificate(struct ssl_ctx_st *ctx, const char *pem, int size, struct lev_tls_failure *f);
int lev_tls_use_key(struct ssl_ctx_st *ctx, const char *pem, int size, const char *password, int password_size,
    struct lev_tls_failure *f);
int lev_tls_switch(struct ssl_st *ssl, struct ssl_ctx_st *ctx);

/* the TLS of one connection: csrc/tls_layer.c, tls_look.c */

#define LEV_TLS_NOTHING ...
#define LEV_TLS_VERSION ...
#define LEV_TLS_CIPHER ...
#define LEV_TLS_ALPN ...
#define LEV_TLS_NAME ...
#define LEV_TLS_STATE ...
#define LEV_TLS_REUSED ...
#define LEV_TLS_DIRTY ...
#define LEV_TLS_BATCHES ...

const struct lev_tls_ops *lev_tls_ops(void);
struct ssl_st *lev_tls_new(struct ssl_ctx_st *ctx, struct lev_base *base, struct lev_tls_failure *f);
void lev_tls_free(struct ssl_st *ssl);
int lev_tls_set_host(
    struct ssl_st *ssl, const char *host, int is_address, int verify, struct lev_tls_failure *f);
void lev_tls_why(struct ssl_st *ssl, struct bufferevent *bev, struct lev_tls_failure *f);
int lev_tls_text(void *c, struct ssl_st *ssl, int which, char *text, unsigned size);
int lev_tls_certificate(void *c, struct ssl_st *ssl, int index, unsigned char **der);
void lev_tls_let_go(unsigned char *der);
int lev_tls_state(void *c, struct ssl_st *ssl, struct bufferevent *bev, int which);
int lev_tls_set(void *c, struct ssl_st *ssl, struct bufferevent *bev, int which, int on);
int lev_tls_renegotiate(void *c, struct ssl_st *ssl, struct bufferevent *bev);
