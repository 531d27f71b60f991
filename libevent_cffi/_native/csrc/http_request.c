/* HTTP servers: requests, as they come from libevent.  See http_server.h. */

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
