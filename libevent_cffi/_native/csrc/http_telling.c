/* HTTP servers: how requests end, and what Python is told of them. */

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
