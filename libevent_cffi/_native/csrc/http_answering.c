/* HTTP servers: what Python answers. */

#define LEV_LARGE_REPLY 32768   /* bytes of a body for which a client may need longer than the read timeout */

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
