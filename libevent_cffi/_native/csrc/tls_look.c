/* What Python asks of the TLS of a connection, by way of the child that it belongs to. */

#define LEV_TLS_NOTHING (-100)          /* there is none, as an answer */

enum { LEV_TLS_VERSION, LEV_TLS_CIPHER, LEV_TLS_ALPN, LEV_TLS_NAME };

/* Copy one of these; its length, LEV_TLS_NOTHING, or why not. */
static int lev_tls_text(struct lev_child *c, SSL *ssl, int which, char *text, unsigned size)
{
    const unsigned char *chosen = NULL;
    const char *found = NULL;
    unsigned length = 0;
    int entered = lev_tls_bridge->enter(c);

    if (entered < 0)
        return entered;
    if (which == LEV_TLS_NAME)
        found = lev_tls_layer_of(ssl)->name;
    else if (which == LEV_TLS_ALPN) {
        SSL_get0_alpn_selected(ssl, &chosen, &length);
        found = (const char *)chosen;
    } else if (SSL_get_current_cipher(ssl) != NULL)
        found = which == LEV_TLS_VERSION ? SSL_get_version(ssl) : SSL_get_cipher_name(ssl);
    if (found != NULL && which != LEV_TLS_ALPN)
        length = (unsigned)strlen(found);
    if (length > size)
        length = size;
    if (found != NULL)
        memcpy(text, found, length);
    lev_tls_bridge->leave(c, entered);
    return found != NULL && (which != LEV_TLS_ALPN || length > 0) ? (int)length : LEV_TLS_NOTHING;
}

static X509 *lev_tls_find_certificate(SSL *ssl, int index)
{
    STACK_OF(X509) *chain = SSL_get_peer_cert_chain(ssl);
    X509 *own = SSL_get_peer_certificate(ssl), *found = NULL;

    /* The chain of a server begins with its certificate, that of a client after it. */
    if (index == 0)
        found = own;
    else if (own != NULL) {
        index -= SSL_is_server(ssl) != 0;
        if (index < sk_X509_num(chain))
            found = sk_X509_value(chain, index);
        if (found != NULL)
            X509_up_ref(found);
        X509_free(own);
    }
    return found;
}

/*
 * The other side's certificate, or another of those that it sent, as DER in new memory, which lev_tls_let_go()
 * frees; its length, LEV_TLS_NOTHING, or why not.
 */
static int lev_tls_certificate(struct lev_child *c, SSL *ssl, int index, unsigned char **der)
{
    int length = LEV_TLS_NOTHING, entered = lev_tls_bridge->enter(c);
    X509 *found;

    *der = NULL;
    if (entered < 0)
        return entered;
    found = lev_tls_find_certificate(ssl, index);
    if (found != NULL)
        length = i2d_X509(found, der);
    X509_free(found);
    ERR_clear_error();
    lev_tls_bridge->leave(c, entered);
    return *der != NULL ? length : LEV_TLS_NOTHING;
}

static void lev_tls_let_go(unsigned char *der)
{
    OPENSSL_free(der);
}

enum { LEV_TLS_STATE, LEV_TLS_REUSED, LEV_TLS_DIRTY, LEV_TLS_BATCHES };

/* One of these; or why not.  The connection of a server may have gone, and only its ssl be there still. */
static int lev_tls_state(struct lev_child *c, SSL *ssl, struct bufferevent *bev, int which)
{
    int result = LEV_TLS_NOTHING, entered = lev_tls_bridge->enter(c);

    if (entered < 0)
        return entered;
    bev = lev_tls_layer_of(ssl)->bev;
    if (bev == NULL)
        which = LEV_TLS_REUSED;
    if (which == LEV_TLS_STATE) {
        if (!SSL_in_init(ssl))
            result = BUFFEREVENT_SSL_OPEN;
        else
            result = SSL_is_server(ssl) ? BUFFEREVENT_SSL_ACCEPTING : BUFFEREVENT_SSL_CONNECTING;
    } else if (which == LEV_TLS_REUSED)
        result = SSL_session_reused(ssl);
    else if (which == LEV_TLS_DIRTY)
        result = bufferevent_openssl_get_allow_dirty_shutdown(bev);
#if LEV_HAVE_bufferevent_ssl_get_flags
    else
        result = (bufferevent_ssl_get_flags(bev) & BUFFEREVENT_SSL_BATCH_WRITE) != 0;
#endif
    lev_tls_bridge->leave(c, entered);
    return result;
}

static int lev_tls_set(struct lev_child *c, SSL *ssl, struct bufferevent *bev, int which, int on)
{
    int entered = lev_tls_bridge->enter(c);

    if (entered < 0)
        return entered;
    bev = lev_tls_layer_of(ssl)->bev;
    if (bev == NULL)
        which = LEV_TLS_STATE;
    if (which == LEV_TLS_STATE)
        ;                               /* gone */
    else if (which == LEV_TLS_DIRTY)
        lev_tls_allow_dirty(bev, ssl, on);
#if LEV_HAVE_bufferevent_ssl_set_flags
    else if (on)
        bufferevent_ssl_set_flags(bev, BUFFEREVENT_SSL_BATCH_WRITE);
    else
        bufferevent_ssl_clear_flags(bev, BUFFEREVENT_SSL_BATCH_WRITE);
#endif
    lev_tls_bridge->leave(c, entered);
    return 0;
}

/* 0; LEV_TLS_NOTHING: this version of TLS has none, or no handshake has been yet; or why not. */
static int lev_tls_renegotiate(struct lev_child *c, SSL *ssl, struct bufferevent *bev)
{
    struct bufferevent *under;
    int result = LEV_TLS_NOTHING, entered = lev_tls_bridge->enter(c);

    if (entered < 0)
        return entered;
    bev = lev_tls_layer_of(ssl)->bev;
    under = bev != NULL ? bufferevent_get_underlying(bev) : NULL;
    if (bev != NULL && !SSL_in_init(ssl) && SSL_version(ssl) < TLS1_3_VERSION
        && !(SSL_get_options(ssl) & SSL_OP_NO_RENEGOTIATION)) {
        result = bufferevent_ssl_renegotiate(bev) < 0 ? LEV_TLS_NOTHING : 0;
        if (result == 0 && under != NULL)       /* nothing else would begin it */
            bufferevent_trigger(under, EV_READ, BEV_TRIG_IGNORE_WATERMARKS | BEV_TRIG_DEFER_CALLBACKS);
    }
    lev_tls_bridge->leave(c, entered);
    return result;
}
