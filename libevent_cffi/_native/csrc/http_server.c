/* HTTP servers: their begin, their end, and what Python sets.  See http_server.h. */

/* -- as a child ------------------------------------------------------------------------------------------ */

static void lev_http_drop_event(struct event *ev)
{
    event_del(ev);
    event_debug_unassign(ev);
}

/*
 * In a child the sockets of its parent's clients are only closed: 2.1 would shut them down, for the parent too
 * (http.c:evhttp_connection_free).  So libevent gets another descriptor under the same number.
 */
static void lev_sconn_disown(struct lev_sconn *c, int nothing)
{
#ifndef _WIN32
    int fd = (int)bufferevent_getfd(c->bev);

    bufferevent_disable(c->bev, EV_READ | EV_WRITE);
    if (c->request != NULL)
        lev_sreq_unwatch(c->request);
    if (fd >= 0 && nothing >= 0)
        dup2(nothing, fd);
#else
    (void)c;
    (void)nothing;
#endif
}

static void lev_http_disown(struct lev_http *h)
{
#ifndef _WIN32
    struct lev_sconn *c;
    int nothing;

    if (h->forks == LEV_RELAXED(&lev_forks))
        return;
    nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (c = h->connections; c != NULL; c = c->next)
        lev_sconn_disown(c, nothing);
    for (c = h->fresh; c != NULL; c = c->next)
        lev_sconn_disown(c, nothing);
    if (nothing >= 0)
        close(nothing);
    h->forks = LEV_RELAXED(&lev_forks);
#endif
}

/* In a child: its parent's connections are not its own, what it listens on is. */
static void lev_http_renew(struct lev_child *child)
{
    struct lev_http *h = (struct lev_http *)child;
    struct lev_sconn *c, *next;

    while (h->fresh != NULL)
        lev_sconn_claim(h->fresh);
    lev_http_disown(h);
    lev_refused_drop_all(h);
    for (c = h->connections; c != NULL; c = next) {
        next = c->next;
        if (c->request != NULL)
            c->request->is_held = 0;    /* its parent is told */
        if (c->refused != NULL)
            c->refused->status = 0;
        lev_sconn_end(c);
    }
}

static void lev_http_end(struct lev_child *child)
{
    struct lev_http *h = (struct lev_http *)child;
    struct lev_base *l = child->base;
    struct lev_child *other, *next;
    struct lev_sreq *r;
    int i;

    lev_http_disown(h);
    for (other = l->children; other != NULL; other = next) {
        next = other->next;
        if (other->kind == &lev_bound_kind && ((struct lev_bound *)other)->server == h)
            lev_child_end(other);
    }
    while (h->hosts != NULL)
        lev_http_leave_parent(h->hosts);
    lev_http_leave_parent(h);
    while (h->fresh != NULL)
        lev_sconn_claim(h->fresh);
    evhttp_free(h->http);
    h->http = NULL;
    while ((r = h->queue) != NULL) {
        h->queue = r->next;
        lev_sreq_abandon(r);
    }
    for (i = 0; i < h->requests.size; i++)      /* of a virtual host: libevent goes on with them */
        if (h->requests.all[i].token != 0)
            lev_sreq_abandon(h->requests.all[i].what);
    lev_refused_drop_all(h);
    lev_http_drop_event(&h->claim);
    lev_http_drop_event(&h->doom);
    lev_http_drop_event(&h->later);
    lev_http_drop_event(&h->sweep);
    lev_free(h->requests.all);
    lev_free(h->clients.all);
    lev_free(h->by_evcon);
    lev_free(h->content_type);
    lev_http_drop_aliases(h);
    h->content_type = NULL;
    h->by_evcon = NULL;
    h->requests.all = h->clients.all = NULL;
    h->requests.size = h->clients.size = h->bucket_count = 0;
}

static int lev_http_is_armed(struct lev_child *child)
{
    struct lev_http *h = (struct lev_http *)child;

    return h->bound_count > 0 || h->connections != NULL || h->fresh != NULL || h->queue != NULL || h->parent != NULL
        || h->live > 0 || h->is_stopping || h->refused != NULL;
}

static void lev_http_deliver_again(struct lev_child *child)
{
    lev_http_deliver((struct lev_http *)child);
}

static const struct lev_kind lev_http_kind = {
    lev_http_end, lev_http_is_armed, lev_http_deliver_again, 0, NULL, lev_http_renew};

static int lev_call_stopped(struct lev_child *child, void *arg)
{
    (void)arg;
    return lev_py_http_stopped(child->token, child->base->slot);
}

static void lev_on_later(evutil_socket_t fd, short what, void *arg)
{
    struct lev_http *h = arg;

    (void)fd;
    (void)what;
    if (!lev_child_may_call(&h->child))
        return;
    if (lev_child_has_to_wait(&h->child)) {
        lev_child_remember(&h->child);
        return;
    }
    lev_http_deliver(h);
}

/* -- Python's calls -------------------------------------------------------------------------------------- */

static void lev_http_assign(struct lev_http *h, struct event *ev, event_callback_fn callback, int priority)
{
    event_assign(ev, h->child.base->eb, -1, 0, callback, h);
    event_priority_set(ev, priority);
    if (ev != &h->later)
        ev->ev_evcallback.evcb_flags |= EVLIST_INTERNAL;
}

static int lev_http_open(struct lev_http *h, struct lev_base *l)
{
    int result = LEV_ERRNO, entered = lev_enter(l);

    if (entered < 0)
        return entered;
    errno = ENOMEM;
    h->http = evhttp_new(l->eb);
    if (h->http != NULL) {
        evhttp_set_default_content_type(h->http, NULL);
        evhttp_set_gencb(h->http, lev_on_request, h);
        evhttp_set_bevcb(h->http, lev_on_bev, h);
#ifdef LEV_HAVE_evhttp_set_ext_method_cmp
        evhttp_set_ext_method_cmp(h->http, lev_on_ext_method);
#endif
#ifdef LEV_HAVE_evhttp_set_newreqcb
        evhttp_set_newreqcb(h->http, lev_on_new_request, h);
#endif
#ifdef LEV_HAVE_evhttp_set_errorcb
        evhttp_set_errorcb(h->http, lev_on_error_page, h);
#endif
        h->read_timeout = h->write_timeout = h->reply_timeout = -1;
        h->queue_end = &h->queue;
        h->forks = LEV_RELAXED(&lev_forks);
        lev_child_begin(&h->child, l, &lev_http_kind);
        /* First of all, so that nothing is read before it, nor used after what frees it. */
        lev_http_assign(h, &h->claim, lev_on_claim, 0);
        lev_http_assign(h, &h->doom, lev_on_doom, 0);
        lev_http_assign(h, &h->later, lev_on_later, l->priorities / 2);
        lev_http_assign(h, &h->sweep, lev_on_sweep, l->priorities / 2);
        result = 0;
    }
    lev_leave(l, entered);
    return result;
}

static void lev_http_retime(struct lev_http *h)
{
    struct lev_sconn *c;

    for (c = h->connections; c != NULL; c = c->next)
        lev_sconn_set_timeouts(c);
    event_del(&h->sweep);
    if (h->connections != NULL)
        lev_sweep_soon(h);
}

static void lev_http_apply(struct lev_http *h, int what, double value)
{
    switch (what) {
    case LEV_SET_MAX_HEADERS:
        evhttp_set_max_headers_size(h->http, (ev_ssize_t)value);
        break;
    case LEV_SET_MAX_BODY:
        evhttp_set_max_body_size(h->http, (ev_ssize_t)value);
        break;
    case LEV_SET_MAX_CONNECTIONS:
        h->max_connections = (int)value;
        break;
    case LEV_SET_READ_TIMEOUT:
        h->read_timeout = value;
        lev_http_retime(h);
        break;
    case LEV_SET_WRITE_TIMEOUT:
        h->write_timeout = value;
        lev_http_retime(h);
        break;
    case LEV_SET_REPLY_TIMEOUT:
        h->reply_timeout = value;
        break;
    case LEV_SET_LINGERING:
        evhttp_set_flags(h->http, value != 0 ? EVHTTP_SERVER_LINGERING_CLOSE : 0);
        break;
    case LEV_SET_METHODS:
        h->methods = (lev_methods_t)value;
        evhttp_set_allowed_methods(h->http, h->methods);
        break;
    case LEV_SET_WANTS_HEADERS:
        h->wants_headers = value != 0;
        break;
    case LEV_SET_WANTS_PAGE:
        h->wants_page = value != 0;
        break;
    case LEV_SET_WANTS_REFUSED:
        h->wants_refused = value != 0;
        break;
    default:
        h->wants_bev = value != 0;
        break;
    }
}

/* A setting; below 0 is "no limit". */
static int lev_http_set(struct lev_http *h, int what, double value)
{
    int entered = lev_child_enter(&h->child);

    if (entered < 0)
        return entered;
    lev_http_apply(h, what, value);
    lev_leave(h->child.base, entered);
    return 0;
}

/* libevent keeps the pointer (http.c:evhttp_set_default_content_type). */
static int lev_http_set_content_type(struct lev_http *h, const char *type)
{
    char *copy = NULL;
    int result = 0, entered = lev_child_enter(&h->child);

    if (entered < 0)
        return entered;
    if (lev_keep_text(type, &copy) == 0) {
        evhttp_set_default_content_type(h->http, copy);
        lev_free(h->content_type);
        h->content_type = copy;
    } else
        result = LEV_ERRNO;
    lev_leave(h->child.base, entered);
    return result;
}

static int lev_http_count(struct lev_http *h)
{
    return h->count;
}

/* Answer what is being answered, and nothing more: lev_py_http_stopped() tells when no connection is left. */
static int lev_http_stop(struct lev_http *h)
{
    struct lev_sconn *c;
    int entered = lev_child_enter(&h->child);

    if (entered < 0)
        return entered;
    h->is_stopping = 1;
    h->stop_told = 0;
    for (c = h->connections; c != NULL; c = c->next)
        if (c->request == NULL && !c->is_in && evbuffer_get_length(bufferevent_get_input(c->bev)) == 0)
            lev_sconn_doom(c);
    if (h->child.base->looping == 0 && h->inside == 0)
        lev_http_reap(h);
    lev_http_told_stopped(h);
    lev_leave(h->child.base, entered);
    return 0;
}

static int lev_sconn_enter(struct lev_http *h, int64_t token, struct lev_sconn **c)
{
    int entered = lev_child_enter(&h->child);

    if (entered < 0)
        return entered;
    *c = lev_name_find(&h->clients, token);
    if (*c != NULL && (*c)->evcon != NULL && !(*c)->is_doomed)
        return entered;
    lev_leave(h->child.base, entered);
    return LEV_NO_REQUEST;
}

static int lev_sconn_fd(struct lev_http *h, int64_t token)
{
    struct lev_sconn *c;
    int fd, entered = lev_sconn_enter(h, token, &c);

    if (entered < 0)
        return entered;
    fd = (int)bufferevent_getfd(c->bev);
    lev_leave(h->child.base, entered);
    return fd;
}

/* Below 0: it is not, or LEV_WRONG_THREAD. */
static int lev_sconn_is_open(struct lev_http *h, int64_t token)
{
    struct lev_sconn *c;
    int entered = lev_sconn_enter(h, token, &c);

    if (entered < 0)
        return entered;
    lev_leave(h->child.base, entered);
    return 0;
}

static int lev_sconn_close(struct lev_http *h, int64_t token)
{
    struct lev_sconn *c;
    int entered = lev_sconn_enter(h, token, &c);

    if (entered < 0)
        return entered;
    if (c->request != NULL)
        c->request->is_gone = 1;
    lev_sconn_doom(c);
    if (!h->child.base->looping && h->inside == 0)
        lev_http_reap(h);
    lev_leave(h->child.base, entered);
    return 0;
}

/* The TLS of a connection, for one more who frees it; NULL: it has none, or is closed. */
static void *lev_sconn_share(struct lev_http *h, int64_t token)
{
    struct lev_sconn *c;
    void *ssl;
    int entered = lev_sconn_enter(h, token, &c);

    if (entered < 0)
        return NULL;
    ssl = c->tls != NULL ? c->tls->share(c->ssl) : NULL;
    lev_leave(h->child.base, entered);
    return ssl;
}

/* Have s stand for the bufferevent of a connection, whose callbacks stay evhttp's. */
static int lev_sconn_show(struct lev_http *h, int64_t token, struct lev_bev *s)
{
    struct lev_sconn *c;
    int result, entered = lev_sconn_enter(h, token, &c);

    if (entered < 0)
        return entered;
    result = c->is_taken ? LEV_TOO_LATE : lev_bev_adopt(s, h->child.base, c->bev, 0, LEV_BEV_SHOWN);
    if (result >= 0) {
        c->is_shown = 1;
        s->carrier = c;
        lev_sconn_is_not_plain(c);
    }
    lev_leave(h->child.base, entered);
    return result;
}

/* Python's answer when it is asked for a bufferevent: evhttp owns it from now on. */
static int lev_http_offer(struct lev_http *h, struct lev_bev *s)
{
    int result = LEV_BAD_BEV, entered = lev_child_enter(&h->child);

    if (entered < 0)
        return entered;
    if (lev_child_is_open(&s->child) && s->child.base == h->child.base && s->kind == LEV_BEV_SOCKET
        && !s->is_borrowed && !s->is_gone && s->above == NULL && s->below == NULL && !s->connecting
        && bufferevent_getfd(s->bev) == -1 && h->offered == NULL) {
        h->offered = s->bev;
        h->offered_tls = s->tls;
        h->offered_ssl = s->ssl;
        s->tls = NULL;                  /* it is stopped with the connection */
        bufferevent_setcb(s->bev, NULL, NULL, NULL, NULL);
        lev_bev_unattach(s, h->child.base);
        lev_bev_forget(s);
        result = 0;
    }
    lev_leave(h->child.base, entered);
    return result;
}
