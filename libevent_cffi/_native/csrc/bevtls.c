/* Python's calls of bufferevents that have TLS; what TLS itself does is in the other module, see bridge.h. */

#define LEV_TLS_BELOW (128 * 1024)

/* The same with TLS: "ssl" is freed with it, and also when this fails. */
static int lev_bev_open_tls(struct lev_bev *s, struct lev_base *l, int fd, int enabled, int wants,
    const struct lev_tls_ops *tls, void *ssl)
{
    struct bufferevent *bev = NULL;
    int connected = 0, result, entered = lev_enter(l);

    if (entered < 0) {
        tls->free(ssl);
        return entered;
    }
    result = fd >= 0 ? lev_stream_check(l, fd, &connected) : 0;
    if (result == 0 && fd >= 0 && !connected)
        result = LEV_BEV_NO_STREAM;
    if (result == 0)
        bev = tls->open(l->eb, fd, NULL, ssl);
    else
        tls->free(ssl);
    if (bev != NULL) {
        lev_bev_begin(s, l, bev, LEV_BEV_SOCKET, wants);
        s->tls = tls;
        s->ssl = ssl;
        s->is_open = 0;
        s->connecting = fd >= 0;
        s->enabled = (short)enabled;
        lev_bev_apply(s);
        if (fd < 0)
            bufferevent_disable(bev, EV_READ | EV_WRITE);
    } else if (result == 0) {
        errno = ENOMEM;
        result = LEV_ERRNO;
    }
    lev_leave(l, entered);
    return result;
}

static int lev_bev_can_start_tls(struct lev_bev *s)
{
    int result = s->is_borrowed == LEV_BEV_SHOWN ? LEV_BEV_OWNED : lev_bev_can_write(s);

    return result == 0 && (s->connecting || !lev_bev_bottom(s)->is_open) ? LEV_BEV_BUSY : result;
}

/* The same as a call, for TLS that is Python's. */
static int lev_bev_check_start_tls(struct lev_bev *s)
{
    int result, entered = lev_bev_enter(s);

    if (entered < 0)
        return entered;
    result = lev_bev_can_start_tls(s);
    lev_leave(s->child.base, entered);
    return result;
}

/* Go on under TLS: "top" takes s over.  What has come and was not read is TLS's, what was written goes first. */
static int lev_bev_start_tls(
    struct lev_bev *top, struct lev_bev *s, const struct lev_tls_ops *tls, void *ssl)
{
    struct lev_base *l = s->child.base;
    struct bufferevent *bev = NULL;
    int result, entered = lev_bev_enter(s);

    if (entered < 0) {
        tls->free(ssl);
        return entered;
    }
    result = lev_bev_can_start_tls(s);
    if (result == 0) {
        bufferevent_incref(s->bev);     /* it lets go of it once more when it is freed */
        bev = tls->open(l->eb, -1, s->bev, ssl);
        if (bev == NULL) {
            bufferevent_decref(s->bev);
            errno = ENOMEM;
            result = LEV_ERRNO;
        }
    } else
        tls->free(ssl);
    if (bev != NULL) {
        lev_bev_begin(top, l, bev, LEV_BEV_FILTER, s->wants);
        top->tls = tls;
        top->ssl = ssl;
        top->below = s;
        s->above = top;
        top->is_open = 0;
        top->connecting = 1;
        top->enabled = s->enabled;
        lev_bev_apply(top);
        bufferevent_set_timeouts(bev, &s->bev->timeout_read, &s->bev->timeout_write);
        bufferevent_trigger(s->bev, EV_READ | EV_WRITE, BEV_TRIG_IGNORE_WATERMARKS | BEV_TRIG_DEFER_CALLBACKS);
        /* Or what the other side does not read would pile up there, with on_write told all the while. */
        bufferevent_setwatermark(s->bev, EV_WRITE, LEV_TLS_BELOW / 2, LEV_TLS_BELOW);
        /* What its user waited for at least is no matter of a handshake's. */
        bufferevent_setwatermark(s->bev, EV_READ, 0, s->bev->wm_read.high);
        lev_bev_detach_buffers(s);
        s->child.held = 0;
        result = lev_bev_hold(top);
    }
    lev_leave(l, entered);
    return result;
}

/* Take in no more than this at a time: what is written to the other end of a pair would be here at once. */
static int lev_bev_set_mark(struct lev_bev *s, int mark)
{
    int entered = lev_bev_enter(s);

    if (entered < 0)
        return entered;
    bufferevent_setwatermark(s->bev, EV_READ, 0, (size_t)mark);
    lev_leave(s->child.base, entered);
    return 0;
}
