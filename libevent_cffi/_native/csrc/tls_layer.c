/* The TLS of one connection: an SSL, and what we keep of it, which is freed with it. */

#define LEV_TLS_CODES 4

struct lev_tls_layer {
    struct lev_base *base;              /* whose loop runs the handshake */
    char *name;                         /* the server's, as the client asks for it */
    unsigned long codes[LEV_TLS_CODES]; /* of OpenSSL's errors, the outermost first */
    int count;
};

static void lev_tls_free_layer(
    void *parent, void *memory, CRYPTO_EX_DATA *data, int index, long argl, void *argp)
{
    struct lev_tls_layer *t = memory;

    (void)parent, (void)data, (void)index, (void)argl, (void)argp;
    if (t != NULL)
        OPENSSL_free(t->name);
    OPENSSL_free(t);
}

static struct lev_tls_layer *lev_tls_layer_of(const SSL *ssl)
{
    return SSL_get_ex_data(ssl, lev_tls_layer_index);
}

static struct lev_base *lev_tls_base(const SSL *ssl)
{
    struct lev_tls_layer *t = lev_tls_layer_of(ssl);

    return t != NULL ? t->base : NULL;
}

static void lev_tls_name_layer(SSL *ssl, const char *name)
{
    struct lev_tls_layer *t = lev_tls_layer_of(ssl);

    if (t == NULL)
        return;
    OPENSSL_free(t->name);
    t->name = name != NULL ? OPENSSL_strdup(name) : NULL;
}

/* -- errors ---------------------------------------------------------------------------------------------- */

static void lev_tls_keep(struct lev_tls_layer *t, unsigned long code)
{
    int i;

    for (i = 0; i < t->count; i++)
        if (t->codes[i] == code)
            return;
    if (code != 0 && t->count < LEV_TLS_CODES)
        t->codes[t->count++] = code;
}

/*
 * What happens to a connection, told by OpenSSL while its errors are still in the queue.  libevent empties that
 * before anybody is called back; 2.1 hands three of them out afterwards and 2.2, by a condition the wrong way
 * round, none (bufferevent_ssl.c:bufferevent_get_ssl_error).
 */
static void lev_tls_on_info(const SSL *ssl, int where, int value)
{
    struct lev_tls_layer *t = lev_tls_layer_of(ssl);
    int is_fatal = value >> 8 == SSL3_AL_FATAL;

    if (t == NULL)
        return;
    if ((where & SSL_CB_READ_ALERT) == SSL_CB_READ_ALERT) {
        if (is_fatal)
            lev_tls_keep(t, ERR_PACK(ERR_LIB_SSL, 0, SSL_AD_REASON_OFFSET + (value & 0xff)));
    } else if ((where & SSL_CB_WRITE_ALERT) == SSL_CB_WRITE_ALERT ? is_fatal
                                                                  : (where & SSL_CB_EXIT) && value <= 0) {
        lev_tls_keep(t, ERR_peek_last_error());
        lev_tls_keep(t, ERR_peek_error());
    }
}

/* Why a connection failed. */
static void lev_tls_why(SSL *ssl, struct lev_tls_failure *f)
{
    struct lev_tls_layer *t = lev_tls_layer_of(ssl);
    int i;

    memset(f, 0, sizeof(*f));
    for (i = 0; t != NULL && i < t->count; i++) {
        lev_tls_add_code(f, t->codes[i]);
        if (ERR_GET_LIB(t->codes[i]) == ERR_LIB_SSL
            && ERR_GET_REASON(t->codes[i]) == SSL_R_CERTIFICATE_VERIFY_FAILED)
            f->verify_code = SSL_get_verify_result(ssl);
    }
    if (f->verify_code != X509_V_OK)
        snprintf(f->verify_text, LEV_TLS_TEXT, "%s", X509_verify_cert_error_string(f->verify_code));
}

/* -- making one ------------------------------------------------------------------------------------------ */

static SSL *lev_tls_new(SSL_CTX *ctx, struct lev_base *base, struct lev_tls_failure *f)
{
    struct lev_tls_layer *t = NULL;
    SSL *ssl;

    lev_tls_begin(f);
    ssl = SSL_new(ctx);
    if (ssl != NULL)
        t = OPENSSL_zalloc(sizeof(*t));
    if (t == NULL || !SSL_set_ex_data(ssl, lev_tls_layer_index, t)) {
        OPENSSL_free(t);
        SSL_free(ssl);
        lev_tls_failed(f);
        return NULL;
    }
    t->base = base;
    return ssl;
}

/*
 * The server that a client wants.  Its name is sent, as an address never is (RFC 6066, 3), and with *verify* its
 * certificate must be for it.
 */
static int lev_tls_set_host(
    SSL *ssl, const char *host, int is_address, int verify, struct lev_tls_failure *f)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    int fine;

    lev_tls_begin(f);
    fine = SSL_set_tlsext_host_name(ssl, (void *)(is_address ? NULL : host));
    fine = fine && X509_VERIFY_PARAM_set1_host(param, NULL, 0) && X509_VERIFY_PARAM_set1_ip(param, NULL, 0);
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (fine && verify && host != NULL)
        fine = is_address ? X509_VERIFY_PARAM_set1_ip_asc(param, host)
                          : X509_VERIFY_PARAM_set1_host(param, host, 0);
    lev_tls_name_layer(ssl, is_address ? NULL : host);
    return fine ? 0 : lev_tls_failed(f);
}
