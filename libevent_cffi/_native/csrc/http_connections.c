/* HTTP servers: their clients' connections.  See http_server.h. */

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif
#ifndef SHUT_WR
#define SHUT_WR SD_SEND
#endif

#ifdef MSG_DONTWAIT
#define LEV_DONTWAIT MSG_DONTWAIT
#else
#define LEV_DONTWAIT 0          /* its sockets do not block anyway */
#endif

#define LEV_DRAINS 256          /* pieces of 4 KiB: more than a client has on its way when it does not wait */

#define LEV_SWEEPS 4            /* in the time that a client has to send the head of a request */
#define LEV_SLOW 20.0           /* bytes in a second that are enough to count as sending */

static struct lev_bound *lev_bounds = NULL;     /* all of them, under lev_children_mutex */

/* -- connections ----------------------------------------------------------------------------------------- */

static struct lev_sconn **lev_sconn_bucket(struct lev_http *h, const struct evhttp_connection *evcon)
{
    uintptr_t hash = (uintptr_t)evcon >> 4;

    return &h->by_evcon[(hash ^ hash >> 9) & (uintptr_t)(h->bucket_count - 1)];
}

static int lev_sconn_grow(struct lev_http *h)
{
    int count = h->bucket_count ? h->bucket_count * 4 : 64;
    struct lev_sconn *c, **at, **more = lev_calloc((size_t)count, sizeof(*more));

    if (more == NULL)
        return h->bucket_count ? 0 : -1;
    lev_free(h->by_evcon);
    h->by_evcon = more;
    h->bucket_count = count;
    for (c = h->connections; c != NULL; c = c->next) {
        at = lev_sconn_bucket(h, c->evcon);
        c->chain = *at;
        *at = c;
    }
    return 0;
}

static void lev_sconn_link(struct lev_sconn **first, struct lev_sconn *c)
{
    c->next = *first;
    if (c->next != NULL)
        c->next->before = &c->next;
    c->before = first;
    *first = c;
}

static void lev_sconn_unlink(struct lev_sconn *c)
{
    *c->before = c->next;
    if (c->next != NULL)
        c->next->before = c->before;
}

static const struct timeval *lev_timeout(double seconds, struct timeval *tv)
{
    if (seconds < 0)
        return NULL;
    lev_to_timeval(seconds, tv);
    return tv;
}

static void lev_sconn_set_timeouts(struct lev_sconn *c)
{
    struct timeval read, write;

    bufferevent_set_timeouts(c->bev, c->is_lifted ? NULL : lev_timeout(c->server->read_timeout, &read),
        lev_timeout(c->server->write_timeout, &write));
}

/*
 * While more requests wait in the input, nothing is read: evhttp would drop them at the end of what comes, but a
 * client that sends no more may wait for their answers.
 */
static void lev_sconn_limit_input(struct lev_sconn *c)
{
    c->has_more = c->framing.wholes > 0;
    bufferevent_setwatermark(c->bev, EV_READ, 0, c->has_more ? 1 : c->is_lifted ? 65536 : 0);
}

static void lev_sconn_begins_one(struct lev_sconn *c)
{
    c->framing.wholes -= c->framing.wholes > 0;
    if (c->has_more != (c->framing.wholes > 0))
        lev_sconn_limit_input(c);
}

/*
 * While an answer is sent nothing has to come from the client, but evhttp goes on reading, to see it leave
 * (http.c:evhttp_write_buffer): so no time runs, and what comes all the same is left to the kernel.
 */
static void lev_sconn_lift(struct lev_sconn *c)
{
    if (c->is_lifted)
        return;
    c->is_lifted = 1;
    lev_sconn_set_timeouts(c);
    lev_sconn_limit_input(c);
}

static void lev_sconn_put_down(struct lev_sconn *c)
{
    if (!c->is_lifted)
        return;
    c->is_lifted = 0;
    lev_sconn_set_timeouts(c);
    lev_sconn_limit_input(c);
}

/*
 * All of the answer is there: what comes now may wait.  evhttp goes on reading, and would give up the rest of the
 * answer at the end of what comes, which may be that of a client that only sends no more.  One that has left is seen
 * by its answer; evhttp reads again after that (http.c:evhttp_start_read_).
 */
static void lev_sconn_only_write(struct lev_sconn *c)
{
    bufferevent_disable(c->bev, EV_READ);
}

/*
 * What its user may turn on again.  evhttp ends the process for what it reads while an answer is due
 * (http.c:evhttp_read_cb), and takes that for sent when something is written before it.
 */
static short lev_sconn_uses(const struct lev_sconn *c)
{
    const struct lev_sreq *r = c->request;

    if (r == NULL || r->is_reading)
        return EV_READ;
    return r->state == LEV_SREQ_STARTED ? EV_READ | EV_WRITE : r->state == LEV_SREQ_ANSWERED ? EV_WRITE : 0;
}

static void lev_http_told_stopped(struct lev_http *h)
{
    if (h->is_stopping && h->count == 0 && !h->child.closed)
        event_active(&h->later, EV_TIMEOUT, 1);
}

/* What Python has of its bufferevent is closed. */
static void lev_sconn_hide(struct lev_sconn *c)
{
    struct lev_child *other;
    struct lev_bev *s;

    for (other = c->server->child.base->children; other != NULL; other = other->next) {
        s = (struct lev_bev *)other;
        if (other->kind == &lev_bev_kind && s->bev == c->bev && !s->is_gone)
            lev_bev_forget(s);
    }
}

/*
 * A socket that is closed with something unread is reset, and the client loses what it has not read yet of the last
 * answer: so what it has sent after that is read, as far as it is here.
 */
static void lev_sconn_drain(struct lev_sconn *c)
{
    char unread[4096];
    int i;

    for (i = 0; i < LEV_DRAINS && recv(bufferevent_getfd(c->bev), unread, sizeof(unread), LEV_DONTWAIT) > 0; i++)
        continue;
}

/* libevent frees the connection. */
static void lev_on_sconn_closed(struct evhttp_connection *evcon, void *arg)
{
    struct lev_sconn *c = arg, **at;
    struct lev_http *h = c->server;

    for (at = lev_sconn_bucket(h, evcon); *at != NULL; at = &(*at)->chain)
        if (*at == c) {
            *at = c->chain;
            break;
        }
    lev_sconn_unfollow(c);
    lev_refused_unwatch(c);
    lev_refused_finish(c);
    lev_sconn_end_stay(c);
    if (c->is_shown)
        lev_sconn_hide(c);
    if (c->taker != NULL) {
        c->taker->carrier = NULL;
        lev_bev_forget(c->taker);
    }
    /* what is deferred keeps the bufferevent, and 2.1 closes its socket at once (http.c:evhttp_connection_free) */
    bufferevent_disable(c->bev, EV_READ | EV_WRITE);
    if (c->tls != NULL) {
        c->tls->say_goodbye(c->ssl, NULL);
        c->tls->stop(c->ssl);
    }
    shutdown(bufferevent_getfd(c->bev), SHUT_WR);       /* on 2.2 it is closed by a later pass of the loop only */
    if (c->request == NULL)
        lev_sconn_drain(c);
    if (c->is_doomed)
        for (at = &h->doomed; *at != NULL; at = &(*at)->doomed)
            if (*at == c) {
                *at = c->doomed;
                break;
            }
    lev_sconn_unlink(c);
    lev_name_free(&h->clients, c->token);
    h->count -= !c->is_refused;
    if (c->request != NULL)
        lev_sreq_lost(c->request);
    lev_free(c);
    if (h->count == 0 && !h->child.closed)
        event_del(&h->sweep);
    lev_http_told_stopped(h);
}

static void lev_sconn_end(struct lev_sconn *c)
{
    evhttp_connection_free(c->evcon);   /* comes to lev_on_sconn_closed() */
}

static void lev_http_reap(struct lev_http *h)
{
    struct lev_sconn *c;

    while ((c = h->doomed) != NULL) {
        h->doomed = c->doomed;
        c->is_doomed = 0;
        lev_sconn_end(c);
    }
}

static void lev_on_doom(evutil_socket_t fd, short what, void *arg)
{
    struct lev_http *h = arg;

    (void)fd;
    (void)what;
    if (!h->child.closed && !h->child.base->forked)
        lev_http_reap(h);
}

/* Free the connection, as soon as libevent cannot be using it. */
static void lev_sconn_doom(struct lev_sconn *c)
{
    struct lev_http *h = c->server;

    if (c->is_doomed)
        return;
    c->is_doomed = 1;
    c->doomed = h->doomed;
    h->doomed = c;
    event_active(&h->doom, EV_TIMEOUT, 1);
}

/* -- connections that speak something else now ------------------------------------------------------------- */

static void lev_sconn_say_goodbye(struct lev_sconn *c)
{
    if (c->tls != NULL)
        c->tls->say_goodbye(c->ssl, NULL);
}

/* Whoever took its bufferevent over has ended that. */
static void lev_sconn_was_left(struct lev_sconn *c)
{
    struct lev_base *l = c->server->child.base;

    c->taker = NULL;
    lev_sconn_doom(c);
    if (!l->looping && !l->closed && !l->silent && c->server->inside == 0)
        lev_http_reap(c->server);
}

/* -- too many -------------------------------------------------------------------------------------------- */

/* Tell the client so, without waiting for its request. */
static void lev_sconn_refuse(struct lev_sconn *c)
{
    static const char text[] =
        "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\nConnection: close\r\n\r\n";
    evutil_socket_t fd = bufferevent_getfd(c->bev);

    c->is_refused = 1;
    c->server->count--;
    if (c->tls != NULL || send(fd, text, sizeof(text) - 1, MSG_NOSIGNAL) < 0) {
        lev_sconn_doom(c);
        return;
    }
    lev_refused_note(c, HTTP_SERVUNAVAIL);
    lev_refused_finish(c);
    shutdown(fd, SHUT_WR);       /* and wait for it to leave, or it would not get that */
}

/* -- claiming -------------------------------------------------------------------------------------------- */

static struct evhttp_connection *lev_evcon_of(struct bufferevent *bev)
{
    bufferevent_data_cb read = NULL;
    void *arg = NULL;

    bufferevent_getcb(bev, &read, NULL, NULL, &arg);
    return read != NULL ? arg : NULL;
}

static void lev_sweep_soon(struct lev_http *h)
{
    struct timeval tv;
    double period = h->read_timeout / LEV_SWEEPS;

    if (h->read_timeout < 0 || event_pending(&h->sweep, EV_TIMEOUT, NULL))
        return;
    lev_to_timeval(period < 0.05 ? 0.05 : period, &tv);
    event_add(&h->sweep, &tv);
}

/* The bufferevent that c was made for has become a connection, or nothing. */
static void lev_sconn_claim(struct lev_sconn *c)
{
    struct lev_http *h = c->server;
    struct lev_sconn **at;

    lev_sconn_unlink(c);
    c->evcon = lev_evcon_of(c->bev);
    if (c->evcon != NULL) {
        at = lev_sconn_bucket(h, c->evcon);
        c->chain = *at;
        *at = c;
        lev_sconn_link(&h->connections, c);
        evhttp_connection_set_closecb(c->evcon, lev_on_sconn_closed, c);
        h->count++;
        lev_sconn_begin_stay(c);
        lev_sweep_soon(h);
        if (c->is_refused) {            /* its bufferevent is not the one that it should have */
            h->count--;
            lev_sconn_doom(c);
        } else if ((h->max_connections > 0 && h->count > h->max_connections) || h->is_stopping)
            lev_sconn_refuse(c);
        if (h->count > h->bucket_count * 2)
            lev_sconn_grow(h);
    }
    if (c->evcon == NULL) {
        lev_sconn_unfollow(c);
        lev_refused_unwatch(c);
        lev_refused_finish(c);
    }
    if (c->evcon == NULL && c->tls != NULL)
        c->tls->stop(c->ssl);
    bufferevent_decref(c->bev);
    if (c->evcon == NULL) {
        lev_name_free(&h->clients, c->token);
        lev_free(c);
    }
}

static void lev_on_claim(evutil_socket_t fd, short what, void *arg)
{
    struct lev_http *h = arg;

    (void)fd;
    (void)what;
    while (!h->child.closed && h->fresh != NULL)
        lev_sconn_claim(h->fresh);
}

/* The connection that libevent means; NULL where there was no memory for it. */
static struct lev_sconn *lev_sconn_of(struct lev_http *h, struct evhttp_connection *evcon)
{
    struct lev_sconn *c;

    h = lev_http_root(h);
    while (h->fresh != NULL)
        lev_sconn_claim(h->fresh);
    if (h->bucket_count == 0)
        return NULL;
    for (c = *lev_sconn_bucket(h, evcon); c != NULL && c->evcon != evcon; c = c->chain)
        continue;
    return c;
}

/* -- accepting ------------------------------------------------------------------------------------------- */

/* As libevent makes its own (http.c:evhttp_connection_base_bufferevent_new): 2.1 closes the socket itself. */
#if LIBEVENT_VERSION_NUMBER >= 0x02020000
#define LEV_SCONN_OPTIONS BEV_OPT_CLOSE_ON_FREE
#else
#define LEV_SCONN_OPTIONS 0
#endif

/* The address at which libevent is accepting now; NULL where that cannot be told. */
static struct lev_bound *lev_bound_accepting(struct lev_http *h)
{
    struct event *running = event_base_get_running_event(h->child.base->eb);
    evutil_socket_t fd = running != NULL ? event_get_fd(running) : -1;
    struct lev_bound *b;

    lev_children_lock();
    for (b = lev_bounds; b != NULL && !(b->server == h && evconnlistener_get_fd(b->listener) == fd);)
        b = b->next_of_all;
    lev_children_unlock();
    return b;
}

/* Have Python make one: once, since a connection cannot wait.  NULL: it did not. */
static struct bufferevent *lev_http_ask_for_bev(struct lev_http *h, struct lev_sconn *c)
{
    struct lev_base *l = h->child.base;

    h->offered = NULL;
    if (!lev_child_may_call(&h->child) || lev_child_has_to_wait(&h->child))
        return NULL;
    lev_delivered(l, lev_py_http_bev(h->child.token, l->slot));
    c->tls = h->offered_tls;
    c->ssl = h->offered_ssl;
    if (h->offered == NULL)
        c->tls = NULL;
    lev_child_after_callback(&h->child);
    return h->offered;
}

/* A bufferevent as the address wants it; one for nothing, and c refused, where that cannot be had. */
static struct bufferevent *lev_sconn_make_bev(struct lev_sconn *c, struct lev_bound *b)
{
    struct lev_base *l = c->server->child.base;
    struct bufferevent *bev = NULL;

    if (b == NULL)
        c->is_refused = 1;
    else if (b->tls == NULL && c->server->wants_bev) {
        bev = lev_http_ask_for_bev(c->server, c);
        c->is_refused = bev == NULL;
    } else if (b->tls != NULL) {
        c->ssl = b->tls->make(b->context, l);
        if (c->ssl != NULL)
            bev = b->tls->open(l->eb, -1, NULL, c->ssl);
        if (bev != NULL)
            c->tls = b->tls;
        c->is_refused = bev == NULL;
    }
    c->is_plain = bev == NULL;
    return bev != NULL ? bev : bufferevent_socket_new(l->eb, -1, LEV_SCONN_OPTIONS);
}

/* evhttp wants a bufferevent for a connection that it has accepted. */
static struct bufferevent *lev_on_bev(struct event_base *eb, void *arg)
{
    struct lev_http *h = arg;
    struct lev_sconn *c = lev_calloc(1, sizeof(*c));

    if (c != NULL && (h->bucket_count > 0 || lev_sconn_grow(h) == 0))
        c->token = lev_name_new(&h->clients, c);
    if (c != NULL && c->token != 0) {
        c->server = h;
        c->bev = lev_sconn_make_bev(c, h->child.closed ? NULL : lev_bound_accepting(h));
    }
    if (c == NULL || c->bev == NULL) {
        if (c != NULL)
            lev_name_free(&h->clients, c->token);
        lev_free(c);
        return bufferevent_socket_new(eb, -1, LEV_SCONN_OPTIONS);
    }
    bufferevent_incref(c->bev);
    lev_sconn_set_timeouts(c);
    lev_sconn_follow(c);
    lev_refused_watch(c);
    lev_sconn_link(&h->fresh, c);
    event_active(&h->claim, EV_TIMEOUT, 1);
    return c->bev;
}

/* -- clients that are too slow ---------------------------------------------------------------------------- */

/*
 * evhttp's timeouts begin anew with each byte: this ends what sends a byte now and then.  2.2 tells when the head
 * of a request has come, and the body may take its time.  2.1 does not: there, whoever sends a little is let be.
 */
static void lev_sconn_sweep(struct lev_sconn *c)
{
    if (c->request != NULL || c->is_in || c->is_doomed)
        return;
    c->age++;
#ifndef LEV_HAVE_evhttp_set_newreqcb
    if (c->age == LEV_SWEEPS / 2)
        c->received = 0;
    if (c->age > LEV_SWEEPS && (double)c->received > LEV_SLOW * c->server->read_timeout) {
        c->received = 0;
        c->age = 1;
    }
#endif
    if (c->age > LEV_SWEEPS)
        lev_sconn_doom(c);
}

static void lev_on_sweep(evutil_socket_t fd, short what, void *arg)
{
    struct lev_http *h = arg;
    struct lev_sconn *c;

    (void)fd;
    (void)what;
    if (h->child.closed || h->child.base->forked)
        return;
    for (c = h->connections; c != NULL; c = c->next)
        lev_sconn_sweep(c);
    if (h->connections != NULL)
        lev_sweep_soon(h);
}
