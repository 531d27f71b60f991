/* HTTP servers: clients that leave before they have their answer. */

#define LEV_GONE_POLL 1.0       /* seconds between two looks for a client that left, where they have to be taken */

static void lev_sreq_watch(struct lev_sreq *r);

/* 1: the client will send no more; 0: it may; -1: it has sent something, which hides that. */
static int lev_sconn_is_left(struct lev_sconn *c)
{
    char byte;
    long got = (long)recv(bufferevent_getfd(c->bev), &byte, 1, MSG_PEEK | LEV_DONTWAIT);

    if (got > 0)
        return -1;
    return got == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

static void lev_on_sreq_watch(evutil_socket_t fd, short what, void *arg)
{
    struct lev_sreq *r = arg;

    (void)fd;
    if (r->server->child.closed || r->conn == NULL)
        return;
    if (!r->is_gone && ((what & EV_CLOSED) || lev_sconn_is_left(r->conn) > 0)) {
        r->is_gone = 1;
        lev_sreq_tell(r, LEV_TELL_GONE);
    }
    if (r->server == NULL || r->server->child.closed || r->server->child.base->forked)
        return;
    if (r->deadline > 0 && lev_clock() >= r->deadline) {
        r->deadline = 0;
        if (r->state == LEV_SREQ_DEFERRED)
            lev_sreq_tell(r, LEV_TELL_LATE);
    }
    if (r->state == LEV_SREQ_DEFERRED && r->conn != NULL && !r->conn->is_doomed)
        lev_sreq_watch(r);
}

/*
 * evhttp does not read while a request is being answered, so that it does not see the client leave: an event of
 * ours does, by itself where the method can tell (EV_CLOSED), else by looking when there is something to read.
 */
static void lev_sreq_watch(struct lev_sreq *r)
{
    struct lev_base *l = r->server->child.base;
    short events = 0;
    double wait = r->deadline > 0 ? r->deadline - lev_clock() : -1;
    struct timeval tv;

    lev_sreq_unwatch(r);
    if (r->is_reading)                  /* evhttp sees it leave */
        return;
    if (!r->is_gone && event_base_get_features(l->eb) & EV_FEATURE_EARLY_CLOSE)
        events = EV_CLOSED;
    else if (!r->is_gone && lev_sconn_is_left(r->conn) < 0)
        wait = wait < 0 || wait > LEV_GONE_POLL ? LEV_GONE_POLL : wait;
    else if (!r->is_gone)
        events = EV_READ;
    if (events == 0 && wait < 0 && r->deadline == 0)
        return;
    event_assign(&r->watch, l->eb, bufferevent_getfd(r->conn->bev), events, lev_on_sreq_watch, r);
    r->is_watched = 1;
    event_add(&r->watch, lev_timeout(wait < 0 && r->deadline > 0 ? 0 : wait, &tv));
}

/* What Content-Length promised is written, and only end() is wanting: a client may leave when it has counted. */
static int lev_sreq_has_all(const struct lev_sreq *r)
{
    return r->state == LEV_SREQ_STARTED && r->left == 0 && !r->is_reading
        && evbuffer_get_length(bufferevent_get_output(r->conn->bev)) == 0;
}

/* Its connection has come to its end before it was answered, or before all of that was written. */
static void lev_sreq_lost(struct lev_sreq *r)
{
    r->has_all = lev_sreq_has_all(r);
    r->is_orphan = r->req != NULL && r->req->evcon == NULL;
    r->conn->request = NULL;
    r->conn = NULL;
    lev_sreq_unwatch(r);
    if (r->is_undelivered) {
        lev_sreq_dequeue(r);
        r->is_undelivered = 0;
    } else
        lev_sreq_tell(r, r->has_all ? LEV_TELL_COMPLETE : LEV_TELL_LOST);
    r->is_gone = 1;
    if (r->server == NULL)
        return;
    if (r->server->child.base->forked)
        return;
    lev_sreq_orphan(r);
    if (!r->is_queued)
        lev_sreq_free(r);
}
