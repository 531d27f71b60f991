/*
 * Contexts: a SSL_CTX with secure defaults, and the callbacks that it makes inside of handshakes.
 *
 * What we keep of one is freed with it, by OpenSSL, which counts the connections that use it.
 */

struct lev_tls_setup {
    int64_t number;             /* by which Python finds its object */
    int asks_name;              /* has Python a function that chooses by the server's name? */
    int takes_dirty;            /* may the other side end the connection without saying so? */
    unsigned alpn_size;
    unsigned char *alpn;        /* on the wire: each name after its length */
};

struct lev_tls_password {
    const char *text;
    int size;
    int asked;
};

static const struct lev_bridge *lev_tls_bridge;
static int lev_tls_setup_index = -1, lev_tls_layer_index = -1;
#define LEV_TLS_FORKS() (*(volatile long *)lev_tls_bridge->forks)

static void lev_tls_on_info(const SSL *ssl, int where, int value);
static void lev_tls_name_layer(SSL *ssl, const char *name);
static struct lev_base *lev_tls_base(const SSL *ssl);
static void lev_tls_free_layer(
    void *parent, void *memory, CRYPTO_EX_DATA *data, int index, long argl, void *argp);

static void lev_tls_free_setup(
    void *parent, void *memory, CRYPTO_EX_DATA *data, int index, long argl, void *argp)
{
    struct lev_tls_setup *s = memory;

    (void)parent, (void)data, (void)index, (void)argl, (void)argp;
    if (s != NULL)
        OPENSSL_free(s->alpn);
    OPENSSL_free(s);
}

/* Once, when the module is imported. */
static int lev_tls_start(const struct lev_bridge *bridge)
{
    lev_tls_bridge = bridge;
    if (lev_tls_setup_index < 0)
        lev_tls_setup_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, lev_tls_free_setup);
    if (lev_tls_layer_index < 0)
        lev_tls_layer_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, lev_tls_free_layer);
    return lev_tls_setup_index < 0 || lev_tls_layer_index < 0 ? -1 : 0;
}

static struct lev_tls_setup *lev_tls_setup_of(const SSL_CTX *ctx)
{
    return SSL_CTX_get_ex_data(ctx, lev_tls_setup_index);
}

/* -- what a client asks for ------------------------------------------------------------------------------ */

/* The server's name in the client's hello, in a new string; NULL when there is none. */
static char *lev_tls_read_name(SSL *ssl)
{
    const unsigned char *data;
    size_t size, length;

    /* two bytes of length, then one name: its kind, two bytes of length, the bytes */
    if (!SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &data, &size) || size < 5)
        return NULL;
    length = ((size_t)data[3] << 8) | data[4];
    if (data[2] != TLSEXT_NAMETYPE_host_name || length == 0 || length > size - 5
        || length > TLSEXT_MAXLEN_host_name || memchr(data + 5, 0, length) != NULL)
        return NULL;
    return OPENSSL_strndup((const char *)data + 5, length);
}

/* In a child of fork() nothing may reach the socket, which is the parent's. */
static void lev_tls_cut_off(SSL *ssl)
{
    BIO *nothing = BIO_new(BIO_s_null());

    if (nothing == NULL || !BIO_up_ref(nothing))
        return;
    SSL_set0_rbio(ssl, nothing);
    SSL_set0_wbio(ssl, nothing);
}

/*
 * The first message of a client.  Here and not in the callback for names, which comes after OpenSSL has settled
 * the version and taken a session up: a session of one context could pass for one of another that asks clients
 * for certificates.
 */
static int lev_tls_on_hello(SSL *ssl, int *alert, void *arg)
{
    struct lev_tls_setup *s = lev_tls_setup_of(SSL_get_SSL_CTX(ssl));
    struct lev_base *l = lev_tls_base(ssl);
    char *name = lev_tls_read_name(ssl);
    int result = 0;

    (void)arg;
    lev_tls_name_layer(ssl, name);
    if (s != NULL && s->asks_name) {
        result = l != NULL ? lev_tls_bridge->ask_server_name(l, s->number, name, ssl) : -1;
        if (l != NULL && lev_tls_bridge->is_forked(l))
            lev_tls_cut_off(ssl);
    }
    OPENSSL_free(name);
    ERR_clear_error();                  /* Python may have used OpenSSL meanwhile */
    if (result == 0)
        return SSL_CLIENT_HELLO_SUCCESS;
    *alert = SSL_AD_INTERNAL_ERROR;
    return SSL_CLIENT_HELLO_ERROR;
}

/* From on_server_name: have a connection go on with another context, all of it. */
static int lev_tls_switch(SSL *ssl, SSL_CTX *ctx)
{
    if (SSL_set_SSL_CTX(ssl, ctx) == NULL)
        return -1;
    SSL_set_verify(ssl, SSL_CTX_get_verify_mode(ctx), SSL_CTX_get_verify_callback(ctx));
    SSL_set_verify_depth(ssl, SSL_CTX_get_verify_depth(ctx));
    SSL_clear_options(ssl, SSL_get_options(ssl) & ~SSL_CTX_get_options(ctx));
    SSL_set_options(ssl, SSL_CTX_get_options(ctx));
    SSL_set_min_proto_version(ssl, (int)SSL_CTX_get_min_proto_version(ctx));
    SSL_set_max_proto_version(ssl, (int)SSL_CTX_get_max_proto_version(ctx));
    return 0;
}

/* The first of ours that the client has too; none in common ends the handshake (RFC 7301, 3.2). */
static int lev_tls_on_alpn(SSL *ssl, const unsigned char **chosen, unsigned char *size,
    const unsigned char *theirs, unsigned theirs_size, void *arg)
{
    struct lev_tls_setup *s = lev_tls_setup_of(SSL_get_SSL_CTX(ssl));
    unsigned char *found;

    (void)arg;
    if (s == NULL || s->alpn == NULL)
        return SSL_TLSEXT_ERR_NOACK;
    if (SSL_select_next_proto(&found, size, s->alpn, s->alpn_size, theirs, theirs_size)
        != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *chosen = found;
    return SSL_TLSEXT_ERR_OK;
}

/* -- making one ------------------------------------------------------------------------------------------ */

/* An encrypted key that comes without a password is an error; OpenSSL would ask at the terminal. */
static int lev_tls_on_password(char *buffer, int size, int writing, void *arg)
{
    struct lev_tls_password *p = arg;

    (void)writing;
    if (p == NULL)
        return -1;
    p->asked = 1;
    if (p->text == NULL || p->size > size)
        return -1;
    memcpy(buffer, p->text, (size_t)p->size);
    return p->size;
}

static void lev_tls_set_defaults(SSL_CTX *ctx, int is_server)
{
    uint64_t options = SSL_OP_NO_COMPRESSION;

    /*
     * Never SSL_MODE_ENABLE_PARTIAL_WRITE: 2.1 goes on with the next piece of its buffer whatever SSL_write()
     * has taken of the last (bufferevent_openssl.c:do_write).
     */
    SSL_CTX_set_mode(
        ctx, SSL_MODE_AUTO_RETRY | SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);    /* tickets need none, and it only grows */
    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ctx), X509_V_FLAG_PARTIAL_CHAIN);
    SSL_CTX_set_default_passwd_cb(ctx, lev_tls_on_password);
    SSL_CTX_set_info_callback(ctx, lev_tls_on_info);
    if (is_server) {
        options |= SSL_OP_CIPHER_SERVER_PREFERENCE;
#ifndef SSL_OP_ALLOW_CLIENT_RENEGOTIATION
        options |= SSL_OP_NO_RENEGOTIATION;     /* before 3.0 clients could make a server work without end */
#endif
        SSL_CTX_set_client_hello_cb(ctx, lev_tls_on_hello, NULL);
        SSL_CTX_set_alpn_select_cb(ctx, lev_tls_on_alpn, NULL);
    }
    SSL_CTX_set_options(ctx, options);
}

/* A new context; NULL when it cannot be. */
static SSL_CTX *lev_tls_context_new(int is_server, int64_t number, struct lev_tls_failure *f)
{
    struct lev_tls_setup *s = NULL;
    SSL_CTX *ctx;

    lev_tls_begin(f);
    ctx = SSL_CTX_new(is_server ? TLS_server_method() : TLS_client_method());
    if (ctx != NULL)
        s = OPENSSL_zalloc(sizeof(*s));
    if (s == NULL || !SSL_CTX_set_ex_data(ctx, lev_tls_setup_index, s)) {
        OPENSSL_free(s);
        SSL_CTX_free(ctx);
        lev_tls_failed(f);
        return NULL;
    }
    s->number = number;
    lev_tls_set_defaults(ctx, is_server);
    /* A session is taken up again by the context that it was made with, and by no other. */
    SSL_CTX_set_session_id_context(ctx, (const unsigned char *)&number, sizeof(number));
    return ctx;
}

static void lev_tls_context_free(SSL_CTX *ctx)
{
    SSL_CTX_free(ctx);
}

static void lev_tls_ask_name(SSL_CTX *ctx)
{
    lev_tls_setup_of(ctx)->asks_name = 1;
}

static void lev_tls_take_dirty(SSL_CTX *ctx)
{
    lev_tls_setup_of(ctx)->takes_dirty = 1;
}

static int lev_tls_set_versions(SSL_CTX *ctx, int least, int most, struct lev_tls_failure *f)
{
    lev_tls_begin(f);
    if (!SSL_CTX_set_min_proto_version(ctx, least) || !SSL_CTX_set_max_proto_version(ctx, most))
        return lev_tls_failed(f);
    return 0;
}

/* TLS 1.2's list, and 1.3's; either may be NULL, for OpenSSL's own. */
static int lev_tls_set_ciphers(SSL_CTX *ctx, const char *old, const char *suites, struct lev_tls_failure *f)
{
    lev_tls_begin(f);
    if ((old != NULL && !SSL_CTX_set_cipher_list(ctx, old))
        || (suites != NULL && !SSL_CTX_set_ciphersuites(ctx, suites)))
        return lev_tls_failed(f);
    return 0;
}

static int lev_tls_set_alpn(
    SSL_CTX *ctx, int is_server, const char *names, unsigned size, struct lev_tls_failure *f)
{
    struct lev_tls_setup *s = lev_tls_setup_of(ctx);

    lev_tls_begin(f);
    if (!is_server)                     /* this one answers 0 when all is well */
        return SSL_CTX_set_alpn_protos(ctx, (const unsigned char *)names, size) == 0 ? 0 : lev_tls_failed(f);
    s->alpn = OPENSSL_memdup(names, size);
    s->alpn_size = size;
    return s->alpn != NULL ? 0 : lev_tls_failed(f);
}

/* 0: the peer is not asked, 1: it is, 2: it must have a certificate. */
static void lev_tls_set_verify(SSL_CTX *ctx, int how)
{
    int mode = how == 0 ? SSL_VERIFY_NONE : SSL_VERIFY_PEER;

    SSL_CTX_set_verify(ctx, how == 2 ? mode | SSL_VERIFY_FAIL_IF_NO_PEER_CERT : mode, NULL);
}

static void lev_tls_no_tickets(SSL_CTX *ctx)
{
    SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
    SSL_CTX_set_num_tickets(ctx, 0);
}

/* -- certificates ---------------------------------------------------------------------------------------- */

static int lev_tls_trust_system(SSL_CTX *ctx, struct lev_tls_failure *f)
{
    lev_tls_begin(f);
    return SSL_CTX_set_default_verify_paths(ctx) ? 0 : lev_tls_failed(f);
}

/* A folder whose files have the names that "openssl rehash" gives. */
static int lev_tls_trust_path(SSL_CTX *ctx, const char *path, struct lev_tls_failure *f)
{
    lev_tls_begin(f);
    return SSL_CTX_load_verify_locations(ctx, NULL, path) ? 0 : lev_tls_failed(f);
}

/* Trust every certificate in a text, and tell clients its name if they are asked for theirs; how many, or -1. */
static int lev_tls_trust(SSL_CTX *ctx, const char *pem, int size, int is_server, struct lev_tls_failure *f)
{
    BIO *text;
    X509 *one;
    int count = 0, fine = 1;

    lev_tls_begin(f);
    text = BIO_new_mem_buf(pem, size);
    while (text != NULL && fine
        && (one = PEM_read_bio_X509_AUX(text, NULL, lev_tls_on_password, NULL)) != NULL) {
        fine = X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), one)
            && (!is_server || SSL_CTX_add_client_CA(ctx, one));
        X509_free(one);
        count++;
    }
    BIO_free(text);
    return text != NULL && fine && lev_tls_is_at_end() ? count : lev_tls_failed(f);
}

/* Our own certificate, and after it those that lead to one that the peer trusts. */
static int lev_tls_use_certificate(SSL_CTX *ctx, const char *pem, int size, struct lev_tls_failure *f)
{
    BIO *text;
    X509 *own = NULL, *next;
    int fine;

    lev_tls_begin(f);
    text = BIO_new_mem_buf(pem, size);
    if (text != NULL)
        own = PEM_read_bio_X509_AUX(text, NULL, lev_tls_on_password, NULL);
    fine = own != NULL && SSL_CTX_use_certificate(ctx, own);
    X509_free(own);
    while (fine && (next = PEM_read_bio_X509(text, NULL, lev_tls_on_password, NULL)) != NULL) {
        fine = SSL_CTX_add0_chain_cert(ctx, next);
        if (!fine)
            X509_free(next);
    }
    BIO_free(text);
    return fine && lev_tls_is_at_end() ? 0 : lev_tls_failed(f);
}

/* The key of our certificate, which comes before it. */
static int lev_tls_use_key(SSL_CTX *ctx, const char *pem, int size, const char *password, int password_size,
    struct lev_tls_failure *f)
{
    struct lev_tls_password p = {password, password_size, 0};
    EVP_PKEY *key = NULL;
    BIO *text;
    int fine;

    lev_tls_begin(f);
    text = BIO_new_mem_buf(pem, size);
    if (text != NULL)
        key = PEM_read_bio_PrivateKey(text, NULL, lev_tls_on_password, &p);
    BIO_free(text);
    fine = key != NULL && SSL_CTX_use_PrivateKey(ctx, key) && SSL_CTX_check_private_key(ctx);
    EVP_PKEY_free(key);
    f->needs_password = p.asked && password == NULL;
    return fine ? 0 : lev_tls_failed(f);
}
