/*
 * Calls of the system that a server does without.
 *
 * evhttp stops reading when a request has come, and begins again with the answer (http.c:evhttp_handle_request,
 * evhttp_write_buffer).  epoll is told both times, unless something else wants to read from the same socket: the
 * event "stay" of a connection does, and does nothing.  When it runs while nobody reads, it goes, and comes back for
 * the next request.
 *
 * An answer is sent when it is given, in one call; see bevsend.c.
 *
 * Both are for sockets that are evhttp's alone: not under TLS, not those that Python made or has.
 */

static void lev_on_stay(evutil_socket_t fd, short what, void *arg)
{
    struct lev_sconn *c = arg;

    (void)fd;
    (void)what;
    if (!event_pending(&c->bev->ev_read, EV_READ, NULL))
        event_del(&c->stay);
}

static void lev_sconn_stay(struct lev_sconn *c)
{
    if (c->has_stay && !event_pending(&c->stay, EV_READ, NULL))
        event_add(&c->stay, NULL);
}

static void lev_sconn_begin_stay(struct lev_sconn *c)
{
    struct lev_base *l = c->server->child.base;

    if (!c->is_plain || !l->is_epoll || l->has_changelist)
        return;
    event_assign(&c->stay, l->eb, bufferevent_getfd(c->bev), EV_READ | EV_PERSIST, lev_on_stay, c);
    c->stay.ev_evcallback.evcb_flags |= EVLIST_INTERNAL;
    c->has_stay = 1;
    lev_sconn_stay(c);
}

static void lev_sconn_end_stay(struct lev_sconn *c)
{
    if (!c->has_stay)
        return;
    c->has_stay = 0;
    event_del(&c->stay);
    event_debug_unassign(&c->stay);
}

/* It is not evhttp's alone any more. */
static void lev_sconn_is_not_plain(struct lev_sconn *c)
{
    c->is_plain = 0;
    lev_sconn_end_stay(c);
}

static int lev_sconn_can_send(const struct lev_sconn *c)
{
    return c->is_plain && evbuffer_get_length(bufferevent_get_output(c->bev)) == 0
        && !event_pending(&c->bev->ev_write, EV_WRITE, NULL);
}
