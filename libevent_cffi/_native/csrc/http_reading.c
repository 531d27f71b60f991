/* HTTP servers: what Python reads of a request. */

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

/*
 * LEV_SREQ_, and whether the client is gone (16), the connection is (32), and files have to be read (64): under TLS,
 * and where there may be a limit, to which sendfile() pays no heed; or LEV_NO_REQUEST.
 */
static int lev_sreq_state(struct lev_http *h, int64_t token)
{
    struct lev_sreq *r;
    int result, entered = lev_sreq_enter(h, token, &r);

    if (entered < 0)
        return entered;
    result = r->state | (r->is_gone ? 16 : 0) | (lev_sreq_is_lost(r) ? 32 : 0);
    if (r->conn != NULL && !r->conn->is_plain)
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
