/*
 * Answers to requests that Python has not seen: evhttp's own (400, 413, 417, 501), and those that C gives for it.
 *
 * 2.1 calls nobody for its own.  So they are seen where all of them have to pass, on every libevent: in the output,
 * while no request that Python knows is being answered.  The line of the request is read from the input before evhttp
 * reads it; evhttp leaves it there until it is whole.
 */

static int lev_py_http_refused(int64_t token, int status, int64_t size, char *line, int line_size,
    struct sockaddr *peer, int peer_length, int slot);

static void lev_http_wake(struct lev_http *h);

/* What has come of the line of the next request. */
static void lev_refused_read_line(struct lev_sconn *c)
{
    struct lev_refused *f = c->refused;
    const char *end;
    ev_ssize_t size;

    if (f == NULL || f->has_line)
        return;
    size = evbuffer_copyout(bufferevent_get_input(c->bev), f->line, sizeof(f->line));
    f->line_size = size > 0 ? (int)size : 0;
    end = f->line_size > 0 ? memchr(f->line, '\n', (size_t)f->line_size) : NULL;
    f->has_line = end != NULL || f->line_size == (int)sizeof(f->line);
    if (end == NULL)
        return;
    f->line_size = (int)(end - f->line);
    if (f->line_size > 0 && f->line[f->line_size - 1] == '\r')
        f->line_size--;
    if (c->framing.was_cut && f->line_size >= 2 && memcmp(f->line + f->line_size - 2, "\rz", 2) == 0)
        f->line_size -= 2;              /* lev_framing_cut(); what it has cut off is lost */
}

/* A request was answered, and what is in the input belongs to the next one. */
static void lev_refused_next(struct lev_sconn *c)
{
    if (c->refused == NULL || c->refused->status != 0)
        return;
    c->refused->has_line = 0;
    lev_refused_read_line(c);
}

static void lev_refused_note(struct lev_sconn *c, int status)
{
    struct lev_refused *f = c->refused;
    ev_socklen_t length = sizeof(f->peer);

    if (f == NULL)
        return;
    f->status = status;
    if (getpeername(bufferevent_getfd(c->bev), (struct sockaddr *)&f->peer, &length) == 0)
        f->peer_length = (int)length;
}

/* Is this the status line of an answer, and no "100 Continue"?  evhttp writes it in one piece. */
static void lev_refused_begin(struct lev_sconn *c, struct evbuffer *output, size_t added)
{
    static const char example[] = "HTTP/1.1 400";
    struct evbuffer_iovec piece;
    struct evbuffer_ptr at;
    char line[sizeof(example)] = "";
    int status;

    if (evbuffer_ptr_set(output, &at, evbuffer_get_length(output) - added, EVBUFFER_PTR_SET) != 0
        || evbuffer_peek(output, (ev_ssize_t)added, &at, &piece, 1) < 1 || piece.iov_len < sizeof(line) - 1)
        return;
    memcpy(line, piece.iov_base, sizeof(line) - 1);
    status = atoi(line + sizeof("HTTP/1.1"));
    if (status >= 200)
        lev_refused_note(c, status);
}

/* libevent writes the status, each header, the empty line and the body one by one (http.c:evhttp_make_header). */
static void lev_on_output(struct evbuffer *output, const struct evbuffer_cb_info *info, void *arg)
{
    struct lev_sconn *c = arg;
    struct lev_refused *f = c->refused;

    if (info->n_added == 0 || c->is_refused || f == NULL)
        return;
    if (c->request != NULL && (c->request->is_seen || c->request->is_held))
        return;
    if (f->status == 0)
        lev_refused_begin(c, output, info->n_added);
    else if (f->in_body)
        f->size += (int64_t)info->n_added;
    else
        f->in_body = info->n_added == 2;
}

/* A connection begins. */
static void lev_refused_watch(struct lev_sconn *c)
{
    if (!c->server->wants_refused)
        return;
    c->refused = lev_calloc(1, sizeof(*c->refused));
    if (c->refused != NULL)
        c->watcher = evbuffer_add_cb(bufferevent_get_output(c->bev), lev_on_output, c);
}

static void lev_refused_unwatch(struct lev_sconn *c)
{
    if (c->watcher != NULL)
        evbuffer_remove_cb_entry(bufferevent_get_output(c->bev), c->watcher);
    c->watcher = NULL;
}

/* There is no more of it to come: it is told, if there was one and it matters. */
static void lev_refused_finish(struct lev_sconn *c)
{
    struct lev_http *h = c->server;
    struct lev_refused *f = c->refused, **end = &h->refused;

    c->refused = NULL;
    if (f == NULL)
        return;
    if (f->status == 0 || !h->wants_refused || h->child.closed || h->child.base->forked) {
        lev_free(f);
        return;
    }
    while (*end != NULL)
        end = &(*end)->next;
    *end = f;
    lev_http_wake(h);
}

static int lev_call_refused(struct lev_child *child, void *arg)
{
    struct lev_refused *f = arg;

    return lev_py_http_refused(child->token, f->status, f->size, f->line, f->line_size, (struct sockaddr *)&f->peer,
        f->peer_length, child->base->slot);
}

/* Tell of those that wait for it. */
static void lev_refused_tell(struct lev_http *h)
{
    struct lev_refused *f;
    int answer;

    while ((f = h->refused) != NULL) {
        if (lev_child_has_to_wait(&h->child)) {
            lev_http_wake(h);
            return;
        }
        h->refused = f->next;           /* a fork in there has told it, too */
        answer = lev_child_call(&h->child, lev_call_refused, f);
        if (answer == LEV_UNDELIVERED && !h->child.closed && !h->child.base->forked) {
            f->next = h->refused;
            h->refused = f;
            lev_http_wake(h);
            return;
        }
        lev_free(f);
        if (h->child.closed || h->child.base->forked)
            return;
    }
}

static void lev_refused_drop_all(struct lev_http *h)
{
    struct lev_refused *f;

    while ((f = h->refused) != NULL) {
        h->refused = f->next;
        lev_free(f);
    }
}
