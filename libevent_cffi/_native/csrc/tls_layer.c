/* The TLS of one connection: an SSL, and what we keep of it, which is freed with it. */

#define LEV_TLS_CODES 4
#define LEV_TLS_OPTIONS (BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS)

struct lev_tls_layer {
    SSL *ssl;
    struct lev_base *base;              /* whose loop runs the handshake */
    long forks;
    char *name;                         /* the server's, as the client asks for it */
    unsigned long codes[LEV_TLS_CODES]; /* of OpenSSL's errors, the outermost first */
    int count;
    struct bufferevent *bev;            /* NULL before there is one, and after lev_tls_stop() */
    struct event again;
    struct bufferevent *waits;          /* who is told when the goodbye is to be said again */
    int says_goodbye;                   /* 1: the socket did not take it; 2: the other side has not got it */
    int delay;                          /* microseconds until that is looked at again */
};

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

/* Why a connection failed, as far as TLS has to do with it. */
static void lev_tls_why(SSL *ssl, struct bufferevent *bev, struct lev_tls_failure *f)
{
    struct lev_tls_layer *t = lev_tls_layer_of(ssl);
    unsigned long code;
    int i;

    memset(f, 0, sizeof(*f));
    while (t != NULL && (code = bufferevent_get_openssl_error(bev)) != 0)
        if (ERR_GET_LIB(code) != 0)     /* the first of libevent's three is what SSL_get_error() says */
            lev_tls_keep(t, code);
    for (i = 0; t != NULL && i < t->count; i++) {
        lev_tls_add_code(f, t->codes[i]);
        if (ERR_GET_LIB(t->codes[i]) == ERR_LIB_SSL
            && ERR_GET_REASON(t->codes[i]) == SSL_R_CERTIFICATE_VERIFY_FAILED)
            f->verify_code = SSL_get_verify_result(ssl);
    }
    if (f->verify_code != X509_V_OK)
        snprintf(f->verify_text, LEV_TLS_TEXT, "%s", X509_verify_cert_error_string(f->verify_code));
}

/* -- what libevent leaves undone ------------------------------------------------------------------------- */

static void lev_tls_come_back(struct lev_tls_layer *t, int microseconds)
{
    struct timeval tv = {0, microseconds};

    if (microseconds == 0)
        event_active(&t->again, EV_TIMEOUT, 1);
    else
        event_add(&t->again, &tv);
}

/* Only a goodbye keeps the loop from ending: what waits in OpenSSL does not, as long as nobody reads it. */
static void lev_tls_keep_loop(struct lev_tls_layer *t, int keep)
{
    int keeps = (t->again.ev_evcallback.evcb_flags & EVLIST_INTERNAL) == 0;

    if (keeps == keep)
        return;
    event_del(&t->again);
    t->again.ev_evcallback.evcb_flags ^= EVLIST_INTERNAL;
}

static int lev_tls_is_full(struct lev_tls_layer *t)
{
    size_t high = t->bev->wm_read.high;

    return high > 0 && evbuffer_get_length(bufferevent_get_input(t->bev)) >= high;
}

/* Has OpenSSL taken more from the descriptor than libevent has from OpenSSL: data, or the other side's goodbye? */
static int lev_tls_has_more(struct lev_tls_layer *t)
{
    return SSL_pending(t->ssl) > 0 || (SSL_get_shutdown(t->ssl) & SSL_RECEIVED_SHUTDOWN);
}

/*
 * Read on in OpenSSL.  libevent goes on only after the descriptor is readable again, and it may never be: neither
 * when reading was suspended in the middle of a record, by a watermark or a rate limit
 * (bufferevent_openssl.c:consider_reading, be_openssl_enable), nor, on 2.2, when a goodbye came with the last data
 * (bufferevent_ssl.c:do_read).
 */
static void lev_tls_on_again(evutil_socket_t fd, short what, void *arg)
{
    struct lev_tls_layer *t = arg;

    (void)fd;
    (void)what;
    if (t->says_goodbye)
        bufferevent_trigger(t->waits, EV_WRITE, BEV_TRIG_IGNORE_WATERMARKS | BEV_TRIG_DEFER_CALLBACKS);
    if (t->says_goodbye || !lev_tls_has_more(t) || lev_tls_is_full(t) || !(t->bev->enabled & EV_READ))
        return;
    if (event_pending(&t->bev->ev_read, EV_READ, NULL))
        event_active(&t->bev->ev_read, EV_READ, 1);
    else
        lev_tls_come_back(t, 20000);
}

static void lev_tls_on_input(struct evbuffer *input, const struct evbuffer_cb_info *info, void *arg)
{
    struct lev_tls_layer *t = arg;

    (void)input;
    if (!lev_tls_has_more(t) || t->says_goodbye)
        return;
    if (info->n_deleted > 0 || lev_tls_is_full(t) || (SSL_get_shutdown(t->ssl) & SSL_RECEIVED_SHUTDOWN)
        || !event_pending(&t->bev->ev_read, EV_READ, NULL))
        lev_tls_come_back(t, 0);
}

/* -- making one, and its end ------------------------------------------------------------------------------- */

static void *lev_tls_make(void *context, struct lev_base *base)
{
    struct lev_tls_layer *t = NULL;
    SSL *ssl = SSL_new(context);

    if (ssl != NULL)
        t = OPENSSL_zalloc(sizeof(*t));
    if (t == NULL || !SSL_set_ex_data(ssl, lev_tls_layer_index, t)) {
        OPENSSL_free(t);
        SSL_free(ssl);
        return NULL;
    }
    t->ssl = ssl;
    t->base = base;
    t->forks = LEV_TLS_FORKS();
    return ssl;
}

static SSL *lev_tls_new(SSL_CTX *ctx, struct lev_base *base, struct lev_tls_failure *f)
{
    SSL *ssl;

    lev_tls_begin(f);
    ssl = lev_tls_make(ctx, base);
    if (ssl == NULL)
        lev_tls_failed(f);
    return ssl;
}

/* One that no bufferevent has. */
static void lev_tls_free(SSL *ssl)
{
    SSL_free(ssl);
}

static void lev_tls_free_ssl(void *ssl)
{
    SSL_free(ssl);
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

/* OpenSSL 3 calls it an error of the protocol, which 2.1 does not take for what it is. */
static void lev_tls_allow_dirty(struct bufferevent *bev, SSL *ssl, int allow)
{
    bufferevent_openssl_set_allow_dirty_shutdown(bev, allow);
#ifdef SSL_OP_IGNORE_UNEXPECTED_EOF
    if (allow)
        SSL_set_options(ssl, SSL_OP_IGNORE_UNEXPECTED_EOF);
    else
        SSL_clear_options(ssl, SSL_OP_IGNORE_UNEXPECTED_EOF);
#else
    (void)ssl;
#endif
}

/* See bridge.h. */
static struct bufferevent *lev_tls_open(
    struct event_base *eb, evutil_socket_t fd, struct bufferevent *under, void *ssl)
{
    struct lev_tls_layer *t = lev_tls_layer_of(ssl);
    struct lev_tls_setup *s = lev_tls_setup_of(SSL_get_SSL_CTX(ssl));
    enum bufferevent_ssl_state state =
        SSL_is_server(ssl) ? BUFFEREVENT_SSL_ACCEPTING : BUFFEREVENT_SSL_CONNECTING;
    struct bufferevent *bev;

    if (under != NULL)
        bev = bufferevent_openssl_filter_new(eb, under, ssl, state, LEV_TLS_OPTIONS);
    else
        bev = bufferevent_openssl_socket_new(eb, fd, ssl, state, LEV_TLS_OPTIONS);
    if (bev == NULL)
        return NULL;
    if (s != NULL && s->takes_dirty)
        lev_tls_allow_dirty(bev, ssl, 1);
    t->bev = bev;
    event_assign(&t->again, eb, -1, 0, lev_tls_on_again, t);
    t->again.ev_evcallback.evcb_flags |= EVLIST_INTERNAL;
    if (under == NULL)                  /* on another bufferevent, enabling reads what is there already */
        evbuffer_add_cb(bufferevent_get_input(bev), lev_tls_on_input, t);
    return bev;
}

static void lev_tls_stop_layer(struct lev_tls_layer *t)
{
    if (t->bev == NULL)
        return;
    evbuffer_remove_cb(bufferevent_get_input(t->bev), lev_tls_on_input, t);
    event_del(&t->again);
    event_debug_unassign(&t->again);
    t->bev = NULL;
}

/* What all of it stands on, or -1; libevent looks one step down (bufferevent_openssl.c:be_openssl_ctrl). */
static evutil_socket_t lev_tls_fd(struct bufferevent *bev)
{
    struct bufferevent *under;

    while ((under = bufferevent_get_underlying(bev)) != NULL)
        bev = under;
    return bufferevent_getfd(bev);
}

/* See bridge.h. */
static void lev_tls_read_on(void *ssl)
{
    struct lev_tls_layer *t = lev_tls_layer_of(ssl);

    if (t->bev != NULL && bufferevent_get_underlying(t->bev) == NULL && lev_tls_has_more(t))
        lev_tls_come_back(t, 0);
}

/*
 * A socket that is closed with something unread in it takes back what it has sent (RFC 1122, 4.2.2.13), an alert
 * for instance: so what is there is read, but not that of a parent.
 */
static void lev_tls_stop(void *ssl)
{
    struct lev_tls_layer *t = lev_tls_layer_of(ssl);
    evutil_socket_t fd = t->bev != NULL ? lev_tls_fd(t->bev) : -1;
    char nothing[4096];
    int i;

    if (fd >= 0 && t->forks == LEV_TLS_FORKS())
        for (i = 0; i < 64 && recv(fd, nothing, sizeof(nothing), 0) > 0; i++)
            ;
    lev_tls_stop_layer(t);
}

/* libevent frees the ssl before the buffers, and both in a later pass (bufferevent.c:bufferevent_finalize_cb_). */
static void lev_tls_free_layer(
    void *parent, void *memory, CRYPTO_EX_DATA *data, int index, long argl, void *argp)
{
    struct lev_tls_layer *t = memory;

    (void)parent, (void)data, (void)index, (void)argl, (void)argp;
    if (t == NULL)
        return;
    lev_tls_stop_layer(t);
    OPENSSL_free(t->name);
    OPENSSL_free(t);
}

static int lev_tls_has_begun(void *ssl)
{
    BIO *in = SSL_get_rbio(ssl), *out = SSL_get_wbio(ssl);

    return (in != NULL && BIO_number_read(in) > 0) || (out != NULL && BIO_number_written(out) > 0);
}

static int lev_tls_has_ended(void *ssl)
{
    return (SSL_get_shutdown(ssl) & SSL_RECEIVED_SHUTDOWN) && lev_tls_layer_of(ssl)->count == 0;
}

/* How much of what was sent has not reached the other side's system? */
static int lev_tls_unsent(struct lev_tls_layer *t)
{
    int count = 0;
#ifdef SIOCOUTQ
    struct sockaddr_storage address;
    ev_socklen_t size = sizeof(address);
    struct pollfd state = {lev_tls_fd(t->bev), 0, 0};
    int fd = state.fd;

    if (fd < 0 || poll(&state, 1, 0) < 0 || (state.revents & (POLLERR | POLLHUP | POLLNVAL)))
        return 0;                       /* it never will */
    /* What goes by a UNIX socket is there at once; the number tells what was not read. */
    if (getsockname(fd, (struct sockaddr *)&address, &size) != 0 || address.ss_family == AF_UNIX
        || ioctl(fd, SIOCOUTQ, &count) != 0)
        return 0;
#else
    (void)t;
#endif
    return count;
}

static int lev_tls_wait_for_goodbye(struct lev_tls_layer *t, int why)
{
    t->says_goodbye = why;
    t->delay = t->delay == 0 ? 2000 : t->delay < 200000 ? t->delay * 2 : t->delay;
    lev_tls_keep_loop(t, 1);
    lev_tls_come_back(t, t->delay);
    return 1;
}

/*
 * See bridge.h.  Never after a failure, and not in a child of fork(), whose parent has the same connection.
 *
 * It is over when the other side's system has all of it.  A socket that is closed sooner loses what was sent last
 * when anything comes that nobody reads, and of a server of TLS 1.3 tickets always do.
 */
static int lev_tls_say_goodbye(void *ssl, struct bufferevent *whom)
{
    struct lev_tls_layer *t = lev_tls_layer_of(ssl);
    struct bufferevent *under;
    int result, is_refused;

    if (t->bev == NULL || t->count > 0 || t->forks != LEV_TLS_FORKS() || SSL_in_init(ssl))
        return 0;
    t->waits = whom != NULL ? whom : t->bev;
    if (!(SSL_get_shutdown(ssl) & SSL_SENT_SHUTDOWN) || t->says_goodbye == 1) {
        ERR_clear_error();
        result = SSL_shutdown(ssl);
        is_refused = result < 0 && SSL_get_error(ssl, result) == SSL_ERROR_WANT_WRITE;
        ERR_clear_error();
        if (is_refused)
            return lev_tls_wait_for_goodbye(t, 1);
        t->says_goodbye = 0;
        if (result < 0)
            return 0;
    }
    under = bufferevent_get_underlying(t->bev);
    if ((under == NULL || evbuffer_get_length(bufferevent_get_output(under)) == 0) && lev_tls_unsent(t) > 0)
        return lev_tls_wait_for_goodbye(t, 2);
    t->says_goodbye = 0;
    lev_tls_keep_loop(t, 0);
    return 0;
}

static void *lev_tls_share(void *ssl)
{
    return SSL_up_ref(ssl) ? ssl : NULL;
}

static const struct lev_tls_ops lev_tls_ops_of_this = {
    lev_tls_make, lev_tls_open, lev_tls_free_ssl, lev_tls_has_begun, lev_tls_has_ended, lev_tls_say_goodbye,
    lev_tls_read_on, lev_tls_stop, lev_tls_share};

static const struct lev_tls_ops *lev_tls_ops(void)
{
    return &lev_tls_ops_of_this;
}
