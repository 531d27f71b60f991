/*
 * What a callback writes is sent when the callback is over.
 *
 * libevent would watch the socket for room first (bufferevent_sock.c:bufferevent_socket_outbuf_cb): two more calls
 * of the system for each message, when there is nearly always room.  While the event for writing is active it
 * does not begin to watch, so that event is made active before the first write, and taken back at the end of the
 * callback, when everything is sent in one call.  What the socket does not take goes libevent's way.
 *
 * Only for plain sockets without limits, whose output was empty.  Whatever else is done to one of them ends it
 * before (lev_bev_enter), so all that happens in between is writing and reading.
 */

/* Before output is put into an empty one: libevent is not to watch the socket for it. */
static void lev_hold_output(struct bufferevent *bev)
{
    event_active(&bev->ev_write, EV_WRITE, 1);
}

static int lev_bev_can_collect(struct lev_bev *s)
{
    return s->kind == LEV_BEV_SOCKET && s->tls == NULL && s->is_open && !s->is_borrowed && s->carrier == NULL
        && (s->enabled & EV_WRITE) && s->limit == NULL && s->group == NULL
        && evbuffer_get_length(bufferevent_get_output(s->bev)) == 0
        && !event_pending(&s->bev->ev_write, EV_WRITE, NULL);
}

/* Before something is written: from here on it is collected. */
static void lev_bev_collect(struct lev_bev *s)
{
    struct lev_base *l = s->child.base;

    if (!l->collects || s->is_unsent || !lev_bev_can_collect(s))
        return;
    lev_hold_output(s->bev);
    s->is_unsent = 1;
    s->next_unsent = l->unsent;
    l->unsent = s;
}

/* What was collected goes libevent's way. */
static void lev_bev_uncollect(struct lev_bev *s)
{
    struct lev_bev **at = &s->child.base->unsent;

    if (!s->is_unsent)
        return;
    while (*at != s)
        at = &(*at)->next_unsent;
    *at = s->next_unsent;
    s->is_unsent = 0;
    event_del(&s->bev->ev_write);
    if (evbuffer_get_length(bufferevent_get_output(s->bev)) > 0)
        bufferevent_enable(s->bev, EV_WRITE);
}

static int lev_is_retriable(int error)
{
#ifdef _WIN32
    return error == WSAEWOULDBLOCK || error == WSAEINTR;
#else
    return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
#endif
}

/* As bufferevent_sock.c:bufferevent_writecb does; a second try would tell of another error. */
static void lev_send_failed(struct bufferevent *bev, int error)
{
    bufferevent_disable(bev, EV_WRITE);
    EVUTIL_SET_SOCKET_ERROR(error);
    bufferevent_trigger_event(bev, BEV_EVENT_WRITING | BEV_EVENT_ERROR, BEV_TRIG_DEFER_CALLBACKS);
}

/* Send what was put there since; bufferevents' callbacks are told of it later. */
static void lev_send_output(struct bufferevent *bev)
{
    struct evbuffer *output = bufferevent_get_output(bev);
    int sent, error;

    event_del(&bev->ev_write);
    if (evbuffer_get_length(output) == 0)
        return;
    evbuffer_unfreeze(output, 1);
    sent = evbuffer_write_atmost(output, bufferevent_getfd(bev), bufferevent_get_max_to_write(bev));
    error = EVUTIL_SOCKET_ERROR();
    evbuffer_freeze(output, 1);
    if (sent < 0 && !lev_is_retriable(error)) {
        lev_send_failed(bev, error);
        return;
    }
    if (evbuffer_get_length(output) > 0)
        bufferevent_enable(bev, EV_WRITE);
    if (sent > 0 && bev->writecb != NULL)
        bufferevent_trigger(bev, EV_WRITE, BEV_TRIG_DEFER_CALLBACKS);
}

static void lev_bev_send(struct lev_bev *s)
{
    if (s->child.closed && !s->finishing)
        event_del(&s->bev->ev_write);
    else
        lev_send_output(s->bev);
}

/* At the end of a callback. */
static void lev_send_unsent(struct lev_base *l)
{
    struct lev_bev *s;

    while ((s = l->unsent) != NULL) {
        l->unsent = s->next_unsent;
        s->is_unsent = 0;
        lev_bev_send(s);
    }
}
