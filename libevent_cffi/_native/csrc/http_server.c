/* HTTP servers: what they listen on, their connections, and how both begin and end.  See http_server.h. */

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

static int lev_py_request(int64_t token, int64_t request, int slot);
static int lev_py_request_headers(int64_t token, int64_t request, int slot);
static int lev_py_request_failed(int64_t token, int64_t request, int slot);
static int lev_py_request_event(int64_t token, int64_t request, int what, int slot);
static int lev_py_request_was_told(int64_t token, int64_t request, int what, int slot);
static int lev_py_http_stopped(int64_t token, int slot);
static int lev_py_http_bev(int64_t token, int slot);
static int lev_py_http_page(int64_t token, int64_t request, int status, int slot);

static void lev_sreq_lost(struct lev_sreq *r);
static void lev_sreq_free(struct lev_sreq *r);
static void lev_sreq_abandon(struct lev_sreq *r);
static void lev_sreq_unwatch(struct lev_sreq *r);
static void lev_on_request(struct evhttp_request *req, void *arg);
#ifdef LEV_HAVE_evhttp_set_newreqcb
static int lev_on_new_request(struct evhttp_request *req, void *arg);
#endif
#ifdef LEV_HAVE_evhttp_set_errorcb
static int lev_on_error_page(struct evhttp_request *req, struct evbuffer *page, int status, const char *reason,
    void *arg);
#endif
static void lev_http_deliver(struct lev_http *h);

static struct lev_bound *lev_bounds = NULL;     /* all of them, under lev_children_mutex */

/* -- methods that libevent does not know: 2.2 only --------------------------------------------------------- */

#define LEV_EXT_METHODS 16
#define LEV_EXT_FIRST 16        /* its bit; those below are libevent's */

/* libevent asks by the name or the bit alone, whoever's connection it is: so there is one table for all. */
static struct {
    char name[32];
    int has_body;
} lev_ext_methods[LEV_EXT_METHODS];
static int lev_ext_count = 0;           /* never less; under lev_children_mutex */

/* The number of a method's bit, made if need be; -1: there is no more room, -2: it was said differently before. */
static int lev_http_method(const char *name, int has_body)
{
    int i, result = -1;

    lev_children_lock();
    for (i = 0; i < lev_ext_count && strcmp(lev_ext_methods[i].name, name) != 0; i++)
        continue;
    if (i < lev_ext_count)
        result = lev_ext_methods[i].has_body == has_body ? LEV_EXT_FIRST + i : -2;
    else if (i < LEV_EXT_METHODS && strlen(name) < sizeof(lev_ext_methods[i].name)) {
        strcpy(lev_ext_methods[i].name, name);
        lev_ext_methods[i].has_body = has_body;
        lev_ext_count++;
        result = LEV_EXT_FIRST + i;
    }
    lev_children_unlock();
    return result;
}

static int lev_ext_index(int type)
{
    int i;

    for (i = 0; i < lev_ext_count; i++)
        if ((unsigned)type == 1u << (LEV_EXT_FIRST + i))
            return i;
    return -1;
}

#ifdef LEV_HAVE_evhttp_set_ext_method_cmp
static int lev_on_ext_method(struct evhttp_ext_method *method)
{
    int i;

    if (method->method == NULL) {
        i = lev_ext_index((int)method->type);
        if (i < 0)
            return -1;
        method->method = lev_ext_methods[i].name;
        method->flags = lev_ext_methods[i].has_body ? EVHTTP_METHOD_HAS_BODY : 0;
        return 0;
    }
    for (i = 0; i < lev_ext_count; i++)
        if (strcmp(method->method, lev_ext_methods[i].name) == 0) {
            method->type = 1u << (LEV_EXT_FIRST + i);
            return 0;
        }
    return -1;
}
#endif

/* -- names ----------------------------------------------------------------------------------------------- */

static int64_t lev_name_new(struct lev_names *names, void *what)
{
    int i, size = names->size ? names->size * 2 : 16;
    struct lev_name *more;

    if (names->size == 0)
        names->free = -1;
    if (names->free < 0) {
        more = lev_realloc(names->all, (size_t)size * sizeof(*more));
        if (more == NULL)
            return 0;
        for (i = names->size; i < size; i++) {
            more[i].token = 0;
            more[i].next = i + 1 < size ? i + 1 : -1;
        }
        names->free = names->size;
        names->all = more;
        names->size = size;
    }
    i = names->free;
    names->free = names->all[i].next;
    names->all[i].what = what;
    names->all[i].token = (++names->uses << LEV_INDEX_BITS) | i;
    return names->all[i].token;
}

static void *lev_name_find(struct lev_names *names, int64_t token)
{
    int i = (int)(token & ((1 << LEV_INDEX_BITS) - 1));

    return token > 0 && i < names->size && names->all[i].token == token ? names->all[i].what : NULL;
}

static void lev_name_free(struct lev_names *names, int64_t token)
{
    int i = (int)(token & ((1 << LEV_INDEX_BITS) - 1));

    if (lev_name_find(names, token) == NULL)
        return;
    names->all[i].token = 0;
    names->all[i].next = names->free;
    names->free = i;
}

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

/* -- addresses ------------------------------------------------------------------------------------------- */

static void lev_bound_apply(struct lev_bound *b)
{
    if (b->bound == NULL)
        return;
    if (b->enabled && !event_pending(&b->again, EV_TIMEOUT, NULL))
        evconnlistener_enable(b->listener);
    else
        evconnlistener_disable(b->listener);
}

static void lev_on_bound_again(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    lev_bound_apply(arg);
}

/* Accepting failed: libevent would try again at once, and for as long as it takes (listener.c). */
static void lev_on_bound_error(struct evconnlistener *listener, void *arg)
{
    struct timeval tv = {LEV_ACCEPT_PAUSE, 0};
    struct lev_bound *b;
    char text[LEV_LOG_TEXT];

    (void)arg;
    evutil_snprintf(text, sizeof(text), "no connection could be accepted: %s",
        evutil_socket_error_to_string(EVUTIL_SOCKET_ERROR()));
    lev_log_put(EVENT_LOG_WARN, LEV_LOG_LIBEVENT, text);
    lev_children_lock();
    for (b = lev_bounds; b != NULL && b->listener != listener; b = b->next_of_all)
        continue;
    lev_children_unlock();
    if (b == NULL)
        return;
    event_add(&b->again, &tv);
    lev_bound_apply(b);
}

static void lev_bound_list(struct lev_bound *b, int in)
{
    struct lev_bound **at;

    lev_children_lock();
    for (at = &lev_bounds; *at != NULL && *at != b; at = &(*at)->next_of_all)
        continue;
    if (in) {
        b->next_of_all = lev_bounds;
        lev_bounds = b;
    } else if (*at == b)
        *at = b->next_of_all;
    lev_children_unlock();
}

static void lev_bound_end(struct lev_child *child)
{
    struct lev_bound *b = (struct lev_bound *)child;

    if (b->bound == NULL)
        return;
    event_del(&b->again);
    event_debug_unassign(&b->again);
    lev_bound_list(b, 0);
    evhttp_del_accept_socket(b->server->http, b->bound);
    b->server->bound_count--;
    b->bound = NULL;
    b->server = NULL;
    lev_unlink_path(b->path, b->device, b->inode, b->forks);
    b->path = NULL;
}

static int lev_is_never_armed(struct lev_child *child)
{
    (void)child;
    return 0;                           /* its server has it */
}

static void lev_nothing_again(struct lev_child *child)
{
    (void)child;
}

static const struct lev_kind lev_bound_kind = {lev_bound_end, lev_is_never_armed, lev_nothing_again, 0};

/* Listen with fd, which does not block; path is removed at the end when it is still this one. */
static int lev_bound_open(struct lev_bound *b, struct lev_http *h, int fd, const char *path, uint64_t device,
    uint64_t inode, const struct lev_tls_ops *tls, void *context)
{
    struct lev_base *l = h->child.base;
    int result = LEV_ERRNO, entered = lev_child_enter(&h->child);

    if (entered < 0)
        return entered;
    if (h->parent != NULL || h->is_stopping)
        result = LEV_BAD_VHOST;
    else if (lev_fd_is_too_large(l, fd))
        result = LEV_FD_TOO_LARGE;
    else if (lev_keep_text(path, &b->path) == 0)
        b->listener = evconnlistener_new(
            l->eb, NULL, NULL, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_DISABLED, 0, fd);
    if (b->listener != NULL)
        b->bound = evhttp_bind_listener(h->http, b->listener);
    if (b->bound != NULL) {
        b->server = h;
        b->device = device;
        b->inode = inode;
        b->forks = LEV_RELAXED(&lev_forks);
        b->tls = tls;
        b->context = context;
        b->enabled = 1;
        event_assign(&b->again, l->eb, -1, 0, lev_on_bound_again, b);
        evconnlistener_set_error_cb(b->listener, lev_on_bound_error);
        lev_child_begin(&b->child, l, &lev_bound_kind);
        lev_bound_list(b, 1);
        h->bound_count++;
        evconnlistener_enable(b->listener);
        result = 0;
    } else {
        lev_free(b->path);
        b->path = NULL;
        if (b->listener != NULL)
            evconnlistener_free(b->listener);
        b->listener = NULL;
    }
    lev_leave(l, entered);
    return result;
}

static int lev_bound_enable(struct lev_bound *b, int enabled)
{
    int entered = lev_child_enter(&b->child);

    if (entered < 0)
        return entered;
    b->enabled = enabled;
    lev_bound_apply(b);
    lev_leave(b->child.base, entered);
    return 0;
}

static int lev_bound_fd(struct lev_bound *b)
{
    int fd, entered = lev_child_enter(&b->child);

    if (entered < 0)
        return entered;
    fd = b->bound != NULL ? (int)evhttp_bound_socket_get_fd(b->bound) : LEV_CLOSED;
    lev_leave(b->child.base, entered);
    return fd;
}

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
