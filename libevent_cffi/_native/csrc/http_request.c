/* Requests that a server answers: what is read of them, what is sent, and what Python is told.  See http_server.h. */

#define LEV_GONE_POLL 1.0       /* seconds between two looks for a client that left, where they have to be taken */
#define LEV_LARGE_REPLY 32768   /* bytes of a body for which a client may need longer than the read timeout */

/* -- memory ---------------------------------------------------------------------------------------------- */

static void lev_sreq_unref(struct lev_sreq *r)
{
    int refs;

    lev_children_lock();
    refs = --r->refs;
    lev_children_unlock();
    if (refs > 0)
        return;
    lev_free(r);
}

static void lev_sreq_detach_body(struct lev_sreq *r)
{
    if (r->has_body)
        lev_buffer_detach(&r->body);
    r->has_body = 0;
}

static void lev_sreq_unwatch(struct lev_sreq *r)
{
    if (!r->is_watched)
        return;
    event_del(&r->watch);
    event_debug_unassign(&r->watch);
    r->is_watched = 0;
}

/* libevent has it no more, or not after this call. */
static void lev_sreq_orphan(struct lev_sreq *r)
{
    lev_sreq_unwatch(r);
    lev_sreq_detach_body(r);
    if (r->conn != NULL)
        r->conn->request = NULL;
    if (r->req != NULL && r->req->on_complete_cb_arg == r)
        evhttp_request_set_on_complete_cb(r->req, NULL, NULL);
    r->conn = NULL;
    if (r->is_orphan)
        evhttp_request_free(r->req);
    r->is_orphan = 0;
    r->req = NULL;
}

/* Forget it: its name means nothing any more. */
static void lev_sreq_free(struct lev_sreq *r)
{
    struct lev_http *h = r->server;

    lev_sreq_orphan(r);
    lev_name_free(&h->requests, r->token);
    if (--h->live == 0 && h->was_host && h->parent == NULL && !h->child.closed)
        event_active(&h->later, EV_TIMEOUT, 1);     /* nothing may hold it any more */
    r->server = NULL;
    lev_free(r->reason);
    r->reason = NULL;
    if (r->kept != NULL)
        evbuffer_free(r->kept);
    r->kept = NULL;
    lev_sreq_unref(r);
}

/* Its server goes, and its connection is another's: nobody else could answer, or take the other half of its body. */
static void lev_sreq_abandon(struct lev_sreq *r)
{
    if (r->conn != NULL && (r->is_reading || r->state != LEV_SREQ_ANSWERED)) {
        evhttp_request_set_chunked_cb(r->req, NULL);
        lev_sconn_doom(r->conn);
    }
    lev_sreq_free(r);
}

static struct lev_sreq *lev_sreq_new(struct lev_http *h, struct lev_sconn *c, struct evhttp_request *req);

/* -- what waits to be told ------------------------------------------------------------------------------- */

static void lev_http_wake(struct lev_http *h)
{
    if (h->child.base->looping && lev_child_has_to_wait(&h->child))
        lev_child_remember(&h->child);
    else
        event_active(&h->later, EV_TIMEOUT, 1);
}

static void lev_sreq_queue(struct lev_sreq *r)
{
    struct lev_http *h = r->server;

    if (!r->is_queued) {
        r->is_queued = 1;
        r->next = NULL;
        *h->queue_end = r;
        h->queue_end = &r->next;
    }
    lev_http_wake(h);
}

static void lev_sreq_dequeue(struct lev_sreq *r)
{
    struct lev_http *h = r->server;
    struct lev_sreq **at;

    for (at = &h->queue; *at != NULL; at = &(*at)->next)
        if (*at == r) {
            *at = r->next;
            if (h->queue_end == &r->next)
                h->queue_end = at;
            break;
        }
    r->is_queued = 0;
}

/* -- calling Python -------------------------------------------------------------------------------------- */

struct lev_telling {
    struct lev_sreq *r;
    int what;
};

static int lev_call_request(struct lev_child *child, void *arg)
{
    return lev_py_request(child->token, ((struct lev_sreq *)arg)->token, child->base->slot);
}

static int lev_call_request_failed(struct lev_child *child, void *arg)
{
    return lev_py_request_failed(child->token, ((struct lev_sreq *)arg)->token, child->base->slot);
}

static int lev_call_request_event(struct lev_child *child, void *arg)
{
    struct lev_telling *t = arg;

    return lev_py_request_event(child->token, t->r->token, t->what, child->base->slot);
}

static int lev_call_request_was_told(struct lev_child *child, void *arg)
{
    struct lev_telling *t = arg;

    return lev_py_request_was_told(child->token, t->r->token, t->what, child->base->slot);
}

static int lev_sreq_is_lost(const struct lev_sreq *r)
{
    return r->req == NULL || r->conn == NULL || r->conn->is_doomed;
}

/* Have Python make the page of an error.  -1: it did not. */
static int lev_sreq_ask_for_page(struct lev_sreq *r, struct evbuffer *page, int status)
{
    struct lev_http *h = r->server;
    struct lev_base *l = h->child.base;

    if (!h->wants_page || h->page != NULL || !lev_child_may_call(&h->child) || lev_child_has_to_wait(&h->child))
        return -1;
    h->page = page;
    lev_delivered(l, lev_py_http_page(h->child.token, r->token, status, l->slot));
    h->page = NULL;
    lev_child_after_callback(&h->child);
    return evbuffer_get_length(page) > 0 ? 0 : -1;
}

#ifdef LEV_HAVE_evhttp_set_errorcb

/* libevent answers with an error, by itself or for lev_sreq_fail(). */
static int lev_on_error_page(struct evhttp_request *req, struct evbuffer *page, int status, const char *reason,
    void *arg)
{
    struct lev_http *h = arg;
    struct lev_sconn *c = lev_sconn_of(h, req->evcon);
    struct lev_sreq *r = c != NULL ? c->request : NULL;

    (void)reason;
    if (c == NULL || c->is_doomed || c->is_refused || !(r != NULL ? r->server : h)->wants_page)
        return -1;
    if (r == NULL)
        r = lev_sreq_new(h, c, req);
    if (r == NULL)
        return -1;
    r->state = LEV_SREQ_ANSWERED;
    r->is_reading = 0;
    return lev_sreq_ask_for_page(r, page, status);
}

static void lev_sreq_send_error(struct lev_sreq *r, int status)
{
    evhttp_send_error(r->req, status, NULL);
}

#else

static void lev_sreq_send_error(struct lev_sreq *r, int status)
{
    struct evbuffer *page = r->server->wants_page ? evbuffer_new() : NULL;
    struct evhttp_request *req = r->req;

    if (page != NULL && lev_sreq_ask_for_page(r, page, status) == 0) {
        evhttp_add_header(req->output_headers, "Content-Type", "text/html; charset=utf-8");
        evhttp_add_header(req->output_headers, "Connection", "close");
        evhttp_send_reply(req, status, NULL, page);
    } else if (!r->server->child.base->forked)
        evhttp_send_error(req, status, NULL);
    if (page != NULL)
        evbuffer_free(page);
}

#endif

/* An answer of ours, where Python has none. */
static void lev_sreq_fail(struct lev_sreq *r, int status)
{
    if (lev_sreq_is_lost(r) || r->state == LEV_SREQ_ANSWERED)
        return;
    if (r->state == LEV_SREQ_STARTED || r->is_reading) {
        lev_sconn_doom(r->conn);
        return;
    }
    lev_sreq_unwatch(r);
    r->state = LEV_SREQ_ANSWERED;
    evhttp_clear_headers(r->req->output_headers);
    evbuffer_drain(r->req->output_buffer, evbuffer_get_length(r->req->output_buffer));
    lev_sreq_send_error(r, status);
    if (!lev_sreq_is_lost(r))
        lev_sconn_only_write(r->conn);
}

/* After a function of the user's that failed: 500 and a word in the log, which are Python's. */
static void lev_sreq_failed(struct lev_sreq *r, int answer)
{
    struct lev_http *h = r->server;

    if (h->child.closed || h->child.base->closed)
        return;
    if (answer == LEV_FAILED || answer == LEV_DONE)
        lev_child_call(&h->child, lev_call_request_failed, r);
    if (!h->child.base->forked)
        lev_sreq_fail(r, answer == LEV_STALE ? HTTP_SERVUNAVAIL : HTTP_INTERNAL);
}

/* Call the handler.  0: it could not be called. */
static int lev_sreq_deliver(struct lev_sreq *r)
{
    struct lev_http *h = r->server;
    int answer;

    r->is_seen = 1;
    answer = lev_child_call(&h->child, lev_call_request, r);
    if (h->child.base->forked)
        return 1;
    if (answer == LEV_UNDELIVERED || (answer == LEV_STALE && !h->child.closed))
        r->is_seen = 0;
    if (answer == LEV_UNDELIVERED)
        return 0;
    if (answer != LEV_DONE || (r->state == LEV_SREQ_NEW && !lev_sreq_is_lost(r)))
        lev_sreq_failed(r, answer);
    return 1;
}

/* Tell Python.  0: it could not be told. */
static int lev_sreq_told(struct lev_sreq *r, int what)
{
    struct lev_http *h = r->server;
    struct lev_telling t = {r, what};
    int answer;

    if (what == LEV_TELL_BODY && r->kept != NULL && r->req != NULL)
        evbuffer_prepend_buffer(r->req->input_buffer, r->kept);
    do
        answer = lev_child_call(&h->child, lev_call_request_event, &t);
    while (answer == LEV_MORE && !lev_child_has_to_wait(&h->child) && !h->child.base->forked);
    if (h->child.base->forked)
        return 1;
    if (answer == LEV_FAILED || answer == LEV_RAISED) {
        lev_sreq_failed(r, answer);
        lev_child_call(&h->child, lev_call_request_was_told, &t);
    }
    if (answer == LEV_UNDELIVERED || answer == LEV_MORE)
        return 0;
    if (what == LEV_TELL_BODY && r->req != NULL)
        evbuffer_drain(r->req->input_buffer, evbuffer_get_length(r->req->input_buffer));
    else if (what == LEV_TELL_BODY_END && answer == LEV_DONE && r->state == LEV_SREQ_NEW && !lev_sreq_is_lost(r))
        lev_sreq_failed(r, answer);
    return 1;
}

static void lev_sreq_tell(struct lev_sreq *r, int what)
{
    struct lev_http *h = r->server;

    if (!r->is_held || h->child.closed)
        return;
    if (!r->is_queued && lev_http_root(h)->inside == 0 && lev_child_may_call(&h->child)) {
        if (!lev_child_has_to_wait(&h->child) && lev_sreq_told(r, what)) {
            lev_child_after_callback(&h->child);
            return;
        }
    }
    if (h->child.closed || h->child.base->forked)
        return;
    r->missed |= what;
    lev_sreq_queue(r);
}

/* Which of what was missed comes first; the end of the request is the last. */
static int lev_sreq_next(int missed)
{
    static const int order[] = {LEV_TELL_BODY, LEV_TELL_BODY_END, LEV_TELL_DRAINED, LEV_TELL_LATE, LEV_TELL_GONE};
    size_t i;

    for (i = 0; i < sizeof(order) / sizeof(*order); i++)
        if (missed & order[i])
            return order[i];
    return missed;
}

/* 1: everything that was missed has been told. */
static int lev_sreq_catch_up(struct lev_sreq *r)
{
    struct lev_child *child = &r->server->child;
    int what;

    if (r->is_undelivered) {
        if (!lev_sreq_deliver(r))
            return 0;
        r->is_undelivered = 0;
    }
    while (r->missed && !child->closed && !child->base->forked) {
        if (lev_child_has_to_wait(child))
            return 0;
        what = lev_sreq_next(r->missed);
        if (!lev_sreq_told(r, what))
            return 0;
        r->missed &= ~what;
    }
    return 1;
}

static void lev_http_deliver(struct lev_http *h)
{
    struct lev_sreq *r, *last = NULL;
    int count = 0;

    for (r = h->queue; r != NULL; r = r->next)
        count++;
    while (count-- > 0 && (r = h->queue) != NULL && r != last) {
        if (h->child.closed || h->child.base->forked)
            return;
        if (lev_child_has_to_wait(&h->child) || !lev_sreq_catch_up(r)) {
            lev_http_wake(h);
            break;
        }
        if (h->child.base->forked)
            return;
        lev_sreq_dequeue(r);
        if (r->req == NULL)
            lev_sreq_free(r);
    }
    if (h->refused != NULL && !h->child.closed)
        lev_refused_tell(h);
    if (h->child.base->forked)
        return;
    if (h->is_stopping && h->count == 0 && h->queue == NULL && h->refused == NULL && !h->stop_told
        && !h->child.closed) {
        if (lev_child_has_to_wait(&h->child)
            || lev_child_call(&h->child, lev_call_stopped, NULL) == LEV_UNDELIVERED)
            lev_http_wake(h);
        else
            h->stop_told = 1;
    }
    if (!h->child.closed)
        lev_child_after_callback(&h->child);
}

/* -- a client that leaves -------------------------------------------------------------------------------- */

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

/* -- from libevent --------------------------------------------------------------------------------------- */

/* All of the answer was written; the request is freed next (http.c:evhttp_send_done). */
static void lev_on_sreq_complete(struct evhttp_request *req, void *arg)
{
    struct lev_sreq *r = arg;
    struct lev_sconn *c = r->conn;

    (void)req;
    if (c != NULL) {
        c->request = NULL;
        c->age = c->is_in = 0;
        lev_sconn_put_down(c);
        lev_sconn_follow_again(c);
        lev_refused_next(c);
        lev_sconn_stay(c);
        if (c->server->is_stopping)
            lev_sconn_doom(c);
    }
    r->conn = NULL;
    lev_sreq_tell(r, LEV_TELL_COMPLETE);
    if (r->server == NULL || r->server->child.base->forked)
        return;
    lev_sreq_orphan(r);
    if (!r->is_queued)
        lev_sreq_free(r);
}

static void lev_on_sreq_drained(struct evhttp_connection *evcon, void *arg)
{
    struct lev_sreq *r = arg;

    (void)evcon;
    if (r->conn == NULL || !r->wants_drain || evbuffer_get_length(bufferevent_get_output(r->conn->bev)) > 0)
        return;
    r->wants_drain = 0;
    lev_sreq_tell(r, LEV_TELL_DRAINED);
}

static struct lev_sreq *lev_sreq_new(struct lev_http *h, struct lev_sconn *c, struct evhttp_request *req)
{
    struct lev_sreq *r = lev_calloc(1, sizeof(*r));

    if (r == NULL)
        return NULL;
    r->token = lev_name_new(&h->requests, r);
    if (r->token == 0) {
        lev_free(r);
        return NULL;
    }
    h->live++;
    r->refs = 1;
    r->left = -1;
    r->server = h;
    r->conn = c;
    r->req = req;
    c->request = r;
    evhttp_request_set_on_complete_cb(req, lev_on_sreq_complete, r);
    return r;
}

/* -- what evhttp lets pass ------------------------------------------------------------------------------- */

/* Does evhttp read a body with this method (http.c:evhttp_method_may_have_body)? */
static int lev_method_has_body(int type)
{
    switch (type) {
    case EVHTTP_REQ_GET:
    case EVHTTP_REQ_POST:
    case EVHTTP_REQ_PUT:
    case EVHTTP_REQ_DELETE:
    case EVHTTP_REQ_OPTIONS:
    case EVHTTP_REQ_CONNECT:
    case EVHTTP_REQ_PATCH:
        return 1;
    default:
        if (lev_ext_index(type) >= 0)
            return lev_ext_methods[lev_ext_index(type)].has_body;
#if LIBEVENT_VERSION_NUMBER >= 0x02020000
        return type >= EVHTTP_REQ_PROPFIND && type <= EVHTTP_REQ_MOVE;
#else
        return 0;
#endif
    }
}

static int lev_is_token(const char *text)
{
    static const char others[] = "!#$%&'*+-.^_`|~";
    const char *p;

    for (p = text; *p != '\0'; p++)
        if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9')
                || strchr(others, *p) != NULL))
            return 0;
    return p != text;
}

/* evhttp has them in targets, and in values that go on in a second line. */
static int lev_has_control(const char *text)
{
    for (; *text != '\0'; text++)
        if (((unsigned char)*text < ' ' && *text != '\t') || *text == 0x7f)
            return 1;
    return 0;
}

static int lev_is_length(const char *text)
{
    size_t digits = strspn(text, "0123456789");

    return digits > 0 && digits < 19 && text[digits] == '\0';
}

/*
 * Is it certain where the request ends?  evhttp takes the first of several lengths, a length beside chunks, and no
 * body at all with some methods: what is left of the body would be the next request, for whoever put it there.
 */
static int lev_is_framed(struct evhttp_request *req)
{
    const struct evkeyval *header;
    int lengths = 0, encodings = 0, hosts = 0, has_body = 0;

    if (req->uri != NULL && lev_has_control(req->uri))
        return 0;
    for (header = req->input_headers->tqh_first; header != NULL; header = header->next.tqe_next) {
        if (!lev_is_token(header->key) || lev_has_control(header->value))
            return 0;
        if (evutil_ascii_strcasecmp(header->key, "Content-Length") == 0) {
            lengths++;
            has_body |= strspn(header->value, "0") != strlen(header->value);
            if (!lev_is_length(header->value))
                return 0;
        } else if (evutil_ascii_strcasecmp(header->key, "Transfer-Encoding") == 0) {
            encodings++;
            has_body = 1;
            if (evutil_ascii_strcasecmp(header->value, "chunked") != 0)
                return 0;
        } else if (evutil_ascii_strcasecmp(header->key, "Host") == 0)
            hosts++;
    }
    if (lengths + encodings > 1 || hosts > 1 || (encodings && req->minor < 1))
        return 0;
    return !has_body || lev_method_has_body(req->type);
}

/* -- a request ------------------------------------------------------------------------------------------- */

/* libevent's name of a method, or NULL for one that it does not know. */
static const char *lev_method_name(int type)
{
    static const struct {
        int type;
        const char *name;
    } methods[] = {
        {EVHTTP_REQ_GET, "GET"}, {EVHTTP_REQ_POST, "POST"}, {EVHTTP_REQ_HEAD, "HEAD"}, {EVHTTP_REQ_PUT, "PUT"},
        {EVHTTP_REQ_DELETE, "DELETE"}, {EVHTTP_REQ_OPTIONS, "OPTIONS"}, {EVHTTP_REQ_TRACE, "TRACE"},
        {EVHTTP_REQ_CONNECT, "CONNECT"}, {EVHTTP_REQ_PATCH, "PATCH"},
#if LIBEVENT_VERSION_NUMBER >= 0x02020000
        {EVHTTP_REQ_PROPFIND, "PROPFIND"}, {EVHTTP_REQ_PROPPATCH, "PROPPATCH"}, {EVHTTP_REQ_MKCOL, "MKCOL"},
        {EVHTTP_REQ_LOCK, "LOCK"}, {EVHTTP_REQ_UNLOCK, "UNLOCK"}, {EVHTTP_REQ_COPY, "COPY"},
        {EVHTTP_REQ_MOVE, "MOVE"},
#endif
    };
    size_t i;

    for (i = 0; i < sizeof(methods) / sizeof(*methods); i++)
        if (methods[i].type == type)
            return methods[i].name;
    if (lev_ext_index(type) >= 0)
        return lev_ext_methods[lev_ext_index(type)].name;
    return NULL;
}

static void lev_sreq_send(struct lev_sreq *r, int status, const char *reason);
static void lev_sreq_finish(struct lev_http *h, struct lev_sreq *r);

/* Give libevent the answer that had to wait for the end of the body. */
static void lev_sreq_flush(struct lev_sreq *r)
{
    struct evbuffer *body;

    if (lev_sreq_is_lost(r) || r->status == 0)
        return;
    if (r->state == LEV_SREQ_ANSWERED && !r->has_ended) {
        lev_sreq_send(r, r->status, r->reason);
        return;
    }
    body = evbuffer_new();
    if (body == NULL) {
        lev_sconn_doom(r->conn);
        return;
    }
    evbuffer_add_buffer(body, r->req->output_buffer);
    lev_sconn_lift(r->conn);
    evhttp_send_reply_start(r->req, r->status, r->reason);
    if (evbuffer_get_length(body) > 0)
        evhttp_send_reply_chunk_with_cb(r->req, body, lev_on_sreq_drained, r);
    else
        lev_on_sreq_drained(NULL, r);
    evbuffer_free(body);
    if (r->has_ended)
        lev_sreq_finish(r->server, r);
}

/* All of the body has come, of a request that Python has seen already. */
static void lev_sreq_is_whole(struct lev_http *h, struct lev_sreq *r)
{
    r->is_reading = 0;
    if (r->is_streamed)
        lev_sreq_tell(r, LEV_TELL_BODY_END);
    if (h->child.closed || h->child.base->forked)
        return;
    if (r->state == LEV_SREQ_DEFERRED && !lev_sreq_is_lost(r))
        lev_sreq_watch(r);
    lev_sreq_flush(r);
}

static void lev_sreq_begin(struct lev_http *h, struct lev_sconn *c, struct evhttp_request *req)
{
    struct lev_sreq *r = c->request != NULL ? c->request : lev_sreq_new(h, c, req);

    if (r != NULL)
        h = r->server;                  /* which has seen the head of it */
    lev_sconn_begins_one(c);
#ifdef EVHTTP_PROXY_REQUEST
    /* or it would be closed without a word, for want of Proxy-Connection (http.c:evhttp_is_connection_close) */
    req->flags &= ~EVHTTP_PROXY_REQUEST;
#endif
    if (r == NULL) {
        evhttp_send_error(req, HTTP_SERVUNAVAIL, NULL);
        return;
    }
    if (!lev_is_framed(req)) {
        lev_sreq_fail(r, HTTP_BADREQUEST);
        return;
    }
    if (r->is_streamed || r->state != LEV_SREQ_NEW) {
        lev_sreq_is_whole(h, r);
        return;
    }
    r->is_reading = 0;
    if (!lev_child_may_call(&h->child)) {
        lev_sreq_fail(r, HTTP_SERVUNAVAIL);
        return;
    }
    if (lev_child_has_to_wait(&h->child) || !lev_sreq_deliver(r)) {
        r->is_undelivered = 1;
        lev_sreq_queue(r);
    }
    lev_child_after_callback(&h->child);
}

/* -- while the body comes: 2.2 only ----------------------------------------------------------------------- */

#ifdef LEV_HAVE_evhttp_set_newreqcb

/* libevent drains what is left in the buffer (http.c:evhttp_read_body): what cannot be told now is kept. */
static void lev_on_sreq_body(struct evhttp_request *req, void *arg)
{
    struct lev_sreq *r = req->on_complete_cb_arg;
    struct lev_http *h = r->server;

    (void)arg;
    if (h->child.closed || !lev_child_may_call(&h->child))
        return;
    if (!r->is_queued && !lev_child_has_to_wait(&h->child) && lev_sreq_told(r, LEV_TELL_BODY)) {
        lev_child_after_callback(&h->child);
        return;
    }
    if (h->child.closed || h->child.base->forked)
        return;
    if (r->kept == NULL)
        r->kept = evbuffer_new();
    if (r->kept == NULL || evbuffer_add_buffer(r->kept, req->input_buffer) != 0) {
        lev_sconn_doom(r->conn);        /* better none than one with a hole */
        return;
    }
    r->missed |= LEV_TELL_BODY;
    lev_sreq_queue(r);
}

static int lev_call_request_headers(struct lev_child *child, void *arg)
{
    return lev_py_request_headers(child->token, ((struct lev_sreq *)arg)->token, child->base->slot);
}

/*
 * The head of a request is in.  Python may answer already, but evhttp would go on to read the body all the same,
 * and take the connection for one that is being written to: so the answer waits until that has come.
 */
static void lev_sreq_look(struct lev_http *h, struct lev_sreq *r)
{
    int answer;

    r->is_reading = 1;
    answer = lev_child_call(&h->child, lev_call_request_headers, r);
    if (h->child.base->forked)
        return;
    if (answer == LEV_FAILED || answer == LEV_RAISED)
        lev_sreq_failed(r, answer);
    else if (answer == LEV_MORE && r->req != NULL) {
        r->is_streamed = 1;
        evhttp_request_set_chunked_cb(r->req, lev_on_sreq_body);
    }
    lev_child_after_callback(&h->child);
}

static int lev_on_headers(struct evhttp_request *req, void *arg)
{
    struct lev_sconn *c = req->on_complete_cb_arg;
    struct lev_http *h = c->server;
    struct lev_sreq *r;
    const char *host = h->hosts != NULL ? evhttp_request_get_host(req) : NULL;

    (void)arg;
    c->is_in = 1;
    if (c->is_doomed || c->is_refused || h->child.closed || !lev_is_framed(req) || !(h->methods & req->type))
        return 0;
    if (host != NULL)
        h = lev_http_for(h, host);
    if (!h->wants_headers || h->child.closed)
        return 0;
    if (!lev_child_may_call(&h->child) || lev_child_has_to_wait(&h->child))
        return 0;
    r = lev_sreq_new(h, c, req);
    if (r != NULL)
        lev_sreq_look(h, r);
    return 0;
}

/* One that evhttp has answered itself. */
static void lev_on_unseen_complete(struct evhttp_request *req, void *arg)
{
    struct lev_sconn *c = arg;

    (void)req;
    c->age = c->is_in = 0;
}

static int lev_on_new_request(struct evhttp_request *req, void *arg)
{
    struct lev_sconn *c = lev_sconn_of(arg, req->evcon);

    if (c == NULL)
        return -1;
    evhttp_request_set_header_cb(req, lev_on_headers);
    evhttp_request_set_on_complete_cb(req, lev_on_unseen_complete, c);
    return 0;
}

#endif

/* evhttp has all of a request. */
static void lev_on_request(struct evhttp_request *req, void *arg)
{
    struct lev_http *h = arg;
    struct lev_sconn *c = lev_sconn_of(h, req->evcon);

    if (c == NULL)
        evhttp_send_error(req, HTTP_SERVUNAVAIL, NULL);
    else if (c->is_refused)
        lev_sconn_doom(c);
    else if (!c->is_doomed)
        lev_sreq_begin(h, c, req);
}

/* -- Python's calls: to read ----------------------------------------------------------------------------- */

static int lev_sreq_enter(struct lev_http *h, int64_t token, struct lev_sreq **r)
{
    int entered = lev_child_enter(&h->child);

    if (entered < 0)
        return entered;
    *r = lev_name_find(&h->requests, token);
    if (*r == NULL) {
        lev_leave(h->child.base, entered);
        return LEV_NO_REQUEST;
    }
    lev_http_root(h)->inside++;
    return entered;
}

static void lev_sreq_leave(struct lev_http *h, int entered)
{
    struct lev_http *root = lev_http_root(h);

    if (--root->inside == 0 && root->doomed != NULL && !h->child.base->looping)
        lev_http_reap(root);
    lev_leave(h->child.base, entered);
}

struct lev_text {
    char *to;
    size_t room, size;          /* of the text, also when there is less room */
};

static void lev_text_add(struct lev_text *text, const char *part)
{
    size_t size = strlen(part) + 1;

    if (text->size + size <= text->room)
        memcpy(text->to + text->size, part, size);
    text->size += size;
}

static void lev_sreq_line(struct lev_sreq *r, struct lev_text *text)
{
    const char *method = lev_method_name(r->req->type);
    char version[8];

    evutil_snprintf(version, sizeof(version), "%d.%d", r->req->major, r->req->minor);
    lev_text_add(text, method != NULL ? method : "UNKNOWN");
    lev_text_add(text, r->req->uri != NULL ? r->req->uri : "");
    lev_text_add(text, version);
}

static void lev_sreq_answer(struct lev_sreq *r, struct lev_text *text)
{
    const char *length = evhttp_find_header(r->req->output_headers, "Content-Length");
    char status[12];

    evutil_snprintf(status, sizeof(status), "%d", r->status != 0 ? r->status : r->req->response_code);
    lev_text_add(text, status);
    lev_text_add(text, length != NULL ? length : "");
}

/* Copy a part of it, if there is room; how much room that takes. */
static int64_t lev_sreq_copy(struct lev_http *h, int64_t token, int what, char *to, size_t room)
{
    struct lev_text text = {to, room, 0};
    struct lev_sreq *r;
    const struct evkeyval *header;
    const char *host;
    int entered = lev_sreq_enter(h, token, &r);

    if (entered < 0)
        return entered;
    if (r->req == NULL) {
        lev_sreq_leave(h, entered);
        return LEV_NO_REQUEST;
    }
    if (what == LEV_COPY_LINE)
        lev_sreq_line(r, &text);
    else if (what == LEV_COPY_ANSWER)
        lev_sreq_answer(r, &text);
    else if (what == LEV_COPY_HOST) {
        host = evhttp_request_get_host(r->req);
        if (host != NULL)
            lev_text_add(&text, host);
    } else
        for (header = r->req->input_headers->tqh_first; header != NULL; header = header->next.tqe_next) {
            lev_text_add(&text, header->key);
            lev_text_add(&text, header->value);
        }
    lev_sreq_leave(h, entered);
    return (int64_t)text.size;
}

/* What stands for its body; Python lets go of it with lev_sreq_drop_body(). */
static struct lev_buffer *lev_sreq_body(struct lev_http *h, int64_t token)
{
    struct lev_sreq *r;
    struct lev_buffer *body = NULL;
    int entered = lev_sreq_enter(h, token, &r);

    if (entered < 0)
        return NULL;
    if (r->req != NULL && !r->has_body
        && lev_buffer_open(&r->body, r->req->input_buffer, h->child.base, 0, 0) == 0)
        r->has_body = 1;
    if (r->has_body) {
        lev_children_lock();
        r->refs++;
        lev_children_unlock();
        body = &r->body;
    }
    lev_sreq_leave(h, entered);
    return body;
}

/* For ffi.gc(), on any thread. */
static void lev_sreq_drop_body(void *body)
{
    lev_sreq_unref((struct lev_sreq *)((char *)body - offsetof(struct lev_sreq, body)));
}

/* The token of its connection, for the server that accepted it; or LEV_CLIENT_GONE. */
static int64_t lev_sreq_connection(struct lev_http *h, int64_t token)
{
    struct lev_sreq *r;
    int64_t result;
    int entered = lev_sreq_enter(h, token, &r);

    if (entered < 0)
        return entered;
    result = r->conn != NULL ? r->conn->token : LEV_CLIENT_GONE;
    lev_sreq_leave(h, entered);
    return result;
}

/* LEV_SREQ_, and whether the client is gone (16), the connection is (32), and it has TLS (64); or LEV_NO_REQUEST. */
static int lev_sreq_state(struct lev_http *h, int64_t token)
{
    struct lev_sreq *r;
    int result, entered = lev_sreq_enter(h, token, &r);

    if (entered < 0)
        return entered;
    result = r->state | (r->is_gone ? 16 : 0) | (lev_sreq_is_lost(r) ? 32 : 0);
    if (r->conn != NULL && r->conn->tls != NULL)
        result |= 64;
    lev_sreq_leave(h, entered);
    return result;
}

static int64_t lev_sreq_unsent(struct lev_http *h, int64_t token)
{
    struct lev_sreq *r;
    int64_t result = 0;
    int entered = lev_sreq_enter(h, token, &r);

    if (entered < 0)
        return entered;
    if (!lev_sreq_is_lost(r))
        result = (int64_t)(evbuffer_get_length(bufferevent_get_output(r->conn->bev))
            + evbuffer_get_length(r->req->output_buffer));
    lev_sreq_leave(h, entered);
    return result;
}

/* Python's answer when it is asked for the page of an error. */
static int lev_http_put_page(struct lev_http *h, const char *text, size_t size)
{
    int result, entered = lev_child_enter(&h->child);

    if (entered < 0)
        return entered;
    result = h->page != NULL && evbuffer_add(h->page, text, size) == 0 ? 0 : LEV_ERRNO;
    lev_leave(h->child.base, entered);
    return result;
}

/* -- Python's calls: to answer --------------------------------------------------------------------------- */

/* It is to be answered later, or stands in Python's table for another reason. */
static int lev_sreq_hold(struct lev_http *h, int64_t token, int defer)
{
    struct lev_sreq *r;
    int result = 0, entered = lev_sreq_enter(h, token, &r);

    if (entered < 0)
        return entered;
    if (defer && r->state == LEV_SREQ_ANSWERED)
        result = LEV_ANSWERED;
    else if (lev_sreq_is_lost(r))
        result = LEV_CLIENT_GONE;
    else {
        r->is_held = 1;
        if (defer && r->state == LEV_SREQ_NEW) {
            r->state = LEV_SREQ_DEFERRED;
            if (h->reply_timeout >= 0)
                r->deadline = lev_clock() + h->reply_timeout;
            lev_sreq_watch(r);
        }
    }
    lev_sreq_leave(h, entered);
    return result;
}

static int lev_sreq_may_begin(const struct lev_sreq *r)
{
    if (r->state == LEV_SREQ_ANSWERED)
        return LEV_ANSWERED;
    if (lev_sreq_is_lost(r))
        return LEV_CLIENT_GONE;
    return r->state == LEV_SREQ_STARTED ? LEV_TOO_LATE : 0;
}

static void lev_sreq_clear(struct lev_sreq *r)
{
    evhttp_clear_headers(r->req->output_headers);
    evbuffer_drain(r->req->output_buffer, evbuffer_get_length(r->req->output_buffer));
}

static int lev_sreq_put_headers(struct lev_sreq *r, const char *packed, size_t size)
{
    struct evkeyvalq *headers = r->req->output_headers;

    if (size > 0 && lev_headers_add(headers, packed, size) != 0)
        return LEV_ERRNO;
    if (evhttp_find_header(headers, "Transfer-Encoding") != NULL)
        return LEV_WRONG_LENGTH;        /* that is evhttp's affair */
    if (lev_http_root(r->server)->is_stopping) {
        evhttp_remove_header(headers, "Connection");
        evhttp_add_header(headers, "Connection", "close");
    }
    return 0;
}

static int lev_status_has_body(int status)
{
    return status >= 200 && status != HTTP_NOCONTENT && status != HTTP_NOTMODIFIED;
}

/* What Content-Length says, or -1. */
static int64_t lev_sreq_promise(struct lev_sreq *r)
{
    const char *length = evhttp_find_header(r->req->output_headers, "Content-Length");

    if (length == NULL)
        return -1;
    return lev_is_length(length) ? (int64_t)strtoll(length, NULL, 10) : -2;
}

/*
 * libevent would send the body of an answer that has none, and not tell its length to HEAD
 * (http.c:evhttp_make_header): a client could not tell where the next answer begins.
 */
static int lev_sreq_settle(struct lev_sreq *r, int status)
{
    struct evbuffer *body = r->req->output_buffer;
    size_t size = evbuffer_get_length(body);
    int64_t promise = lev_sreq_promise(r);
    int is_head = r->req->type == EVHTTP_REQ_HEAD;
    char length[24];

    if (promise == -2 || (promise >= 0 && !is_head && lev_status_has_body(status) && promise != (int64_t)size))
        return LEV_WRONG_LENGTH;
    if (is_head && promise < 0 && lev_status_has_body(status)) {
        evutil_snprintf(length, sizeof(length), "%zu", size);
        if (evhttp_add_header(r->req->output_headers, "Content-Length", length) != 0)
            return LEV_ERRNO;
    }
    if (is_head || !lev_status_has_body(status))
        evbuffer_drain(body, size);
    return 0;
}

static int lev_sreq_put_body(struct lev_sreq *r, const char *data, size_t size, struct lev_buffer *moved)
{
    int result, entered;

    if (size > 0 && evbuffer_add(r->req->output_buffer, data, size) != 0)
        return LEV_ERRNO;
    if (moved == NULL)
        return 0;
    entered = lev_buffer_enter(moved);
    if (entered < 0)
        return entered;
    result = evbuffer_add_buffer(r->req->output_buffer, moved->eb) == 0 ? 0 : lev_buffer_refusal();
    lev_buffer_leave(moved, entered);
    return result;
}

/* 1: the answer is kept until the body has come; 0: there is nothing to wait for; LEV_ERRNO. */
static int lev_sreq_put_off(struct lev_sreq *r, int status, const char *reason)
{
    if (!r->is_reading)
        return 0;
    if (lev_keep_text(reason, &r->reason) != 0)
        return LEV_ERRNO;
    r->status = status;
    return 1;
}

static void lev_sreq_send(struct lev_sreq *r, int status, const char *reason)
{
    size_t size = evbuffer_get_length(r->req->output_buffer);
    struct lev_sconn *c = r->conn;
    int at_once = !r->is_gone && lev_sconn_can_send(c);

    lev_sreq_unwatch(r);
    if (size > LEV_LARGE_REPLY)
        lev_sconn_lift(c);
    r->state = LEV_SREQ_ANSWERED;
    if (at_once)
        lev_hold_output(c->bev);
    evhttp_send_reply(r->req, status, reason, NULL);
    if (at_once)
        lev_send_output(c->bev);
    if (!at_once || evbuffer_get_length(bufferevent_get_output(c->bev)) > 0)
        lev_sconn_only_write(c);
}

/*
 * Answer.  packed has the headers; the body is data, then what is in the buffer "moved".  LEV_CLIENT_GONE also
 * when the client had left, but the answer was given to libevent: one that only stopped sending gets it.
 */
static int lev_sreq_reply(struct lev_http *h, int64_t token, int status, const char *reason, const char *packed,
    size_t packed_size, const char *data, size_t size, struct lev_buffer *moved)
{
    struct lev_sreq *r;
    int result, was_gone, entered = lev_sreq_enter(h, token, &r);

    if (entered < 0)
        return entered;
    result = lev_sreq_may_begin(r);
    if (result == 0) {
        was_gone = r->is_gone;
        result = lev_sreq_put_headers(r, packed, packed_size);
        if (result == 0)
            result = lev_sreq_put_body(r, data, size, moved);
        if (result == 0)
            result = lev_sreq_settle(r, status);
        if (result == 0)
            result = lev_sreq_put_off(r, status, reason);
        if (result == 0)
            lev_sreq_send(r, status, reason);
        if (result < 0)
            lev_sreq_clear(r);
        else {
            r->state = LEV_SREQ_ANSWERED;
            result = was_gone ? LEV_CLIENT_GONE : 0;
        }
    }
    lev_sreq_leave(h, entered);
    return result;
}

/* To a client of HTTP/1.0 only the end of the connection can tell the end of the body. */
static void lev_sreq_end_with_connection(struct lev_sreq *r)
{
    if (r->req->minor >= 1 || lev_sreq_promise(r) >= 0)
        return;
    evhttp_remove_header(r->req->input_headers, "Connection");
    evhttp_remove_header(r->req->output_headers, "Connection");
    evhttp_add_header(r->req->output_headers, "Connection", "close");
}

/* Begin an answer; the request has to be held. */
static int lev_sreq_start(struct lev_http *h, int64_t token, int status, const char *reason, const char *packed,
    size_t packed_size)
{
    struct lev_sreq *r;
    int result, entered = lev_sreq_enter(h, token, &r);

    if (entered < 0)
        return entered;
    result = lev_sreq_may_begin(r);
    if (result == 0 && r->is_gone)
        result = LEV_CLIENT_GONE;
    if (result == 0) {
        result = lev_sreq_put_headers(r, packed, packed_size);
        if (result == 0 && lev_sreq_promise(r) == -2)
            result = LEV_WRONG_LENGTH;
        if (result == 0)
            result = lev_sreq_put_off(r, status, reason);
        if (result >= 0) {
            if (lev_status_has_body(status) && r->req->type != EVHTTP_REQ_HEAD)
                r->left = lev_sreq_promise(r);
            lev_sreq_end_with_connection(r);
            lev_sreq_unwatch(r);
            r->state = LEV_SREQ_STARTED;
            r->is_held = 1;
            if (result == 0) {
                lev_sconn_lift(r->conn);
                evhttp_send_reply_start(r->req, status, reason);
            }
            result = 0;
        } else
            lev_sreq_clear(r);
    }
    lev_sreq_leave(h, entered);
    return result;
}

static int lev_sreq_may_go_on(const struct lev_sreq *r)
{
    if (r->state == LEV_SREQ_ANSWERED)
        return LEV_ANSWERED;
    if (lev_sreq_is_lost(r))
        return LEV_CLIENT_GONE;
    return r->state == LEV_SREQ_STARTED ? 0 : LEV_NOT_STARTED;
}

static int lev_sreq_put_piece(struct lev_sreq *r, const char *data, size_t size, struct lev_buffer *moved)
{
    struct evbuffer *piece;
    int entered = 0, result = 0;

    if (moved != NULL) {
        entered = lev_buffer_enter(moved);
        if (entered < 0)
            return entered;
        size = evbuffer_get_length(moved->eb);
    }
    if (size > INT32_MAX || (r->left >= 0 && (int64_t)size > r->left))
        result = LEV_WRONG_LENGTH;
    piece = result == 0 ? evbuffer_new() : NULL;
    if (result == 0 && piece == NULL)
        result = LEV_ERRNO;
    if (result == 0 && size > 0) {
        if ((moved != NULL ? evbuffer_add_buffer(piece, moved->eb) : evbuffer_add(piece, data, size)) != 0)
            result = moved != NULL ? lev_buffer_refusal() : LEV_ERRNO;
        else {
            r->left -= r->left >= 0 ? (int64_t)size : 0;
            if (r->is_reading)
                evbuffer_add_buffer(r->req->output_buffer, piece);
            else
                evhttp_send_reply_chunk_with_cb(r->req, piece, lev_on_sreq_drained, r);
        }
    }
    if (piece != NULL)
        evbuffer_free(piece);
    if (moved != NULL)
        lev_buffer_leave(moved, entered);
    return result;
}

/* Send a piece of the body; with "tell", Python is told when all pieces are written. */
static int lev_sreq_chunk(struct lev_http *h, int64_t token, const char *data, size_t size, struct lev_buffer *moved,
    int tell)
{
    struct lev_sreq *r;
    int result, entered = lev_sreq_enter(h, token, &r);

    if (entered < 0)
        return entered;
    result = lev_sreq_may_go_on(r);
    if (result == 0)
        result = lev_sreq_put_piece(r, data, size, moved);
    if (result == 0 && tell) {
        r->wants_drain = 1;
        if (!r->is_reading && evbuffer_get_length(bufferevent_get_output(r->conn->bev)) == 0)
            lev_on_sreq_drained(NULL, r);
    }
    lev_sreq_leave(h, entered);
    return result;
}

static void lev_sreq_finish(struct lev_http *h, struct lev_sreq *r)
{
    int64_t token = r->token;

    evhttp_send_reply_end(r->req);      /* it may be complete at once, and freed */
    if (lev_name_find(&h->requests, token) == r && r->conn != NULL)
        lev_sconn_only_write(r->conn);
}

static int lev_sreq_end(struct lev_http *h, int64_t token)
{
    struct lev_sreq *r;
    int result, entered = lev_sreq_enter(h, token, &r);

    if (entered < 0)
        return entered;
    result = lev_sreq_may_go_on(r);
    if (r->has_all && r->state == LEV_SREQ_STARTED) {
        r->state = LEV_SREQ_ANSWERED;
        result = 0;
    } else if (result == 0) {
        r->state = LEV_SREQ_ANSWERED;
        if (r->left > 0) {
            lev_sconn_doom(r->conn);
            result = LEV_WRONG_LENGTH;
        } else if (r->is_reading)
            r->has_ended = 1;
        else
            lev_sreq_finish(h, r);
    }
    lev_sreq_leave(h, entered);
    return result;
}

/* Give it up: its connection is closed, and Python hears no more of it. */
static int lev_sreq_close(struct lev_http *h, int64_t token)
{
    struct lev_sreq *r;
    int entered = lev_sreq_enter(h, token, &r);

    if (entered < 0)
        return entered;
    r->is_held = 0;
    r->missed = 0;
    r->state = LEV_SREQ_ANSWERED;
    if (r->conn != NULL && !r->conn->is_doomed)
        lev_sconn_doom(r->conn);
    lev_sreq_leave(h, entered);
    return 0;
}

/*
 * Use its connection for something else: s is its bufferevent from now on, for "wants", and evhttp hears of it no
 * more.  To evhttp it is one whose request waits for an answer, which nothing touches until it is freed: at the end
 * of s, or with the server.
 */
static int lev_sreq_take_over(struct lev_http *h, int64_t token, struct lev_bev *s, int wants)
{
    struct lev_sreq *r;
    int result, entered = lev_sreq_enter(h, token, &r);

    if (entered < 0)
        return entered;
    result = lev_sreq_may_begin(r);
    if (result == 0 && (r->is_gone || r->is_reading))
        result = r->is_gone ? LEV_CLIENT_GONE : LEV_TOO_EARLY;
    if (result == 0) {
        if (r->conn->is_shown)
            lev_sconn_hide(r->conn);
        r->conn->is_shown = 0;
        s->carrier = r->conn;
        s->has_callbacks = 1;
        result = lev_bev_adopt(s, h->child.base, r->conn->bev, wants, 1);
        if (result < 0)
            s->carrier = NULL;
    }
    if (result == 0) {
        lev_sconn_unfollow(r->conn);
        lev_refused_unwatch(r->conn);
        lev_sconn_is_not_plain(r->conn);
        r->conn->taker = s;
        r->conn->is_taken = 1;
        lev_sreq_unwatch(r);
        lev_sconn_lift(r->conn);
        r->state = LEV_SREQ_ANSWERED;
        r->is_held = r->missed = 0;
        r->deadline = 0;
    }
    lev_sreq_leave(h, entered);
    return result;
}
