/* Python's calls of bufferevents: making, closing, writing and reading. */

#define LEV_BEV_OPTIONS (BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS)

/* As lev_child_enter(), for one that no filter has taken over, and for those who only read and write. */
static int lev_bev_enter_data(struct lev_bev *s)
{
    int entered = lev_child_enter(&s->child);

    if (entered >= 0 && s->above != NULL) {
        lev_leave(s->child.base, entered);
        return LEV_BEV_TAKEN;
    }
    return entered;
}

static int lev_bev_enter(struct lev_bev *s)
{
    int entered = lev_bev_enter_data(s);

    if (entered >= 0)
        lev_bev_uncollect(s);
    return entered;
}

/* The same, for what has its callbacks called or held back: evhttp trusts that they come in its time only. */
static int lev_bev_enter_own(struct lev_bev *s)
{
    int entered = lev_bev_enter(s);

    if (entered >= 0 && s->is_borrowed == LEV_BEV_SHOWN) {
        lev_leave(s->child.base, entered);
        return LEV_BEV_OWNED;
    }
    return entered;
}

enum { LEV_BEV_HOLD = 1, LEV_BEV_HOLD_PARTNER = 2, LEV_BEV_LET_GO = 4 };

static int lev_bev_is_to_hold(struct lev_bev *s)
{
    if (s->child.held || s->child.closed || !lev_bev_is_armed(&s->child))
        return 0;
    s->child.held = 1;
    lev_group_keep(lev_bev_bottom(s));
    return 1;
}

/*
 * After a call that may have armed it, or the other end of its pair, or has left nothing to wait for: bits that say
 * what is to be done to Python's table.
 */
static int lev_bev_hold(struct lev_bev *s)
{
    struct lev_bev *bottom = lev_bev_bottom(s);
    int result = 0;

    lev_bev_stir(s);
    if (lev_bev_is_to_hold(s))
        result = LEV_BEV_HOLD;
    else if (s->child.held && !s->child.closed && !lev_bev_is_armed(&s->child)) {
        s->child.held = 0;
        lev_group_let_go(bottom);
        result = LEV_BEV_LET_GO;
    }
    if (bottom->partner != NULL && lev_bev_is_to_hold(lev_bev_top(bottom->partner)))
        result |= LEV_BEV_HOLD_PARTNER;
    return result;
}

/* -- making ------------------------------------------------------------------------------------------------ */

/* Stand for a bufferevent, which is freed at the end unless it is borrowed; this thread is inside the base. */
static void lev_bev_begin(struct lev_bev *s, struct lev_base *l, struct bufferevent *bev, int kind, int wants)
{
    s->bev = bev;
    s->kind = kind;
    s->wants = wants;
    s->is_open = 1;
    s->enabled = bufferevent_get_enabled(bev);
    s->priority = -1;
    lev_buffer_open(&s->input, bufferevent_get_input(bev), l, 0, 0);
    lev_buffer_open(&s->output, bufferevent_get_output(bev), l, kind == LEV_BEV_SOCKET ? LEV_SENDS_FILES : 0, 0);
    lev_child_begin(&s->child, l, &lev_bev_kind);
    lev_bev_apply(s);
}

/* Have it enabled for these and no more; libevent hears of it when it is connected. */
static int lev_bev_set_enabled(struct lev_bev *s, int events)
{
    s->enabled = (short)events;
    lev_bev_apply(s);
    if (!s->is_open)
        events = 0;
    if (~events & bufferevent_get_enabled(s->bev))
        bufferevent_disable(s->bev, (short)(~events & (EV_READ | EV_WRITE)));
    /* Enabling what is enabled would have on_write called with nothing written. */
    events &= ~bufferevent_get_enabled(s->bev);
    return events == 0 || bufferevent_enable(s->bev, (short)events) == 0 ? 0 : LEV_ERRNO;
}

/* The same as a call, for those who made it elsewhere: TLS, and lowlevel.adopt(). */
static int lev_bev_adopt(
    struct lev_bev *s, struct lev_base *l, struct bufferevent *bev, int wants, int is_borrowed)
{
    int result = 0, entered = lev_enter(l);

    if (entered < 0)
        return entered;
    if (bufferevent_get_base(bev) != l->eb)
        result = LEV_BEV_NO_SOCKET;
    else {
        s->is_borrowed = is_borrowed;
        lev_bev_begin(s, l, bev, LEV_BEV_OTHER, wants);
    }
    lev_leave(l, entered);
    return result;
}

/* Take over fd, or none where it is -1. */
static int lev_bev_open(struct lev_bev *s, struct lev_base *l, int fd, int enabled, int wants)
{
    struct bufferevent *bev;
    int connected = 0, result, entered = lev_enter(l);

    if (entered < 0)
        return entered;
    result = fd >= 0 ? lev_stream_check(l, fd, &connected) : 0;
    if (result == 0)
        result = lev_bev_attach(s, l, fd);
    bev = result == 0 ? bufferevent_socket_new(l->eb, fd, LEV_BEV_OPTIONS) : NULL;
    if (bev != NULL) {
        lev_bev_begin(s, l, bev, LEV_BEV_SOCKET, wants);
        s->is_open = connected;
        result = lev_bev_set_enabled(s, enabled);
    } else if (result == 0) {
        lev_bev_unattach(s, l);
        errno = ENOMEM;
        result = LEV_ERRNO;
    }
    lev_leave(l, entered);
    return result;
}

static int lev_bev_open_pair(struct lev_bev *one, struct lev_bev *other, struct lev_base *l)
{
    struct bufferevent *pair[2];
    int result = LEV_ERRNO, entered = lev_enter(l);

    if (entered < 0)
        return entered;
    if (bufferevent_pair_new(l->eb, LEV_BEV_OPTIONS, pair) == 0) {
        lev_bev_begin(one, l, pair[0], LEV_BEV_PAIR, 0);
        lev_bev_begin(other, l, pair[1], LEV_BEV_PAIR, 0);
        one->partner = other;
        other->partner = one;
        result = lev_bev_set_enabled(one, EV_READ | EV_WRITE);
        if (lev_bev_set_enabled(other, EV_READ | EV_WRITE) != 0)
            result = LEV_ERRNO;
    } else
        errno = ENOMEM;
    lev_leave(l, entered);
    return result;
}

/* Give the bufferevent away: whoever asked has to free it. */
static struct bufferevent *lev_bev_surrender(struct lev_bev *s)
{
    struct bufferevent *bev = s->bev;
    int entered = lev_bev_enter(s);

    if (entered < 0)
        return NULL;
    if (s->kind == LEV_BEV_PAIR || s->kind == LEV_BEV_FILTER || s->tls != NULL)
        bev = NULL;
    else {
        bufferevent_setcb(bev, NULL, NULL, NULL, NULL);
        lev_bev_unattach(s, s->child.base);
        lev_bev_forget(s);
    }
    lev_leave(s->child.base, entered);
    return bev;
}

/* For lowlevel.pointer(). */
static struct bufferevent *lev_bev_pointer(struct lev_bev *s)
{
    return lev_child_is_open(&s->child) ? s->bev : NULL;
}

/* -- out --------------------------------------------------------------------------------------------------- */

/* Can it be written to?  A pair without its other end fails as a socket would. */
static int lev_bev_can_write(struct lev_bev *s)
{
    if (s->ending_output || (s->ended & EV_WRITE))
        return LEV_BEV_ENDED;
    return 0;
}

static void lev_bev_break_pipe(struct lev_bev *s)
{
    struct lev_bev *bottom = lev_bev_bottom(s);

    if (bottom->kind != LEV_BEV_PAIR || bottom->partner != NULL || !(s->enabled & EV_WRITE))
        return;
    lev_bev_settle(s);
    errno = EPIPE;
    bufferevent_trigger_event(s->bev, BEV_EVENT_WRITING | BEV_EVENT_ERROR, BEV_TRIG_DEFER_CALLBACKS);
}

/* TLS sends a piece of the buffer at a time, however large (bufferevent_openssl.c:do_write): it gets small ones. */
static int lev_bev_put(struct lev_bev *s, const char *data, size_t size)
{
    struct evbuffer *pieces;
    size_t done = 0, piece;
    int result = 0;

    if (s->tls == NULL || size <= LEV_TLS_PIECE)
        return bufferevent_write(s->bev, data, size);
    pieces = evbuffer_new();
    if (pieces == NULL)
        return -1;
    for (; result == 0 && done < size; done += piece) {
        piece = size - done < LEV_TLS_PIECE ? size - done : LEV_TLS_PIECE;
        result = evbuffer_add(pieces, data + done, piece);
    }
    if (result == 0)
        result = bufferevent_write_buffer(s->bev, pieces);
    evbuffer_free(pieces);
    return result;
}

/* LEV_BEV_HOLD bits, or why not. */
static int lev_bev_write(struct lev_bev *s, const char *data, size_t size)
{
    int result, entered = lev_bev_enter_data(s);

    if (entered < 0)
        return entered;
    result = lev_bev_can_write(s);
    if (result == 0 && size > 0) {
        lev_bev_collect(s);
        if (lev_bev_put(s, data, size) != 0) {
            errno = ENOMEM;
            result = LEV_ERRNO;
        } else if (!s->child.held || s->kind != LEV_BEV_SOCKET) {
            lev_bev_break_pipe(s);
            result = lev_bev_hold(s);
        }
    }
    lev_leave(s->child.base, entered);
    return result;
}

/* What writing to the output itself changes: Python has added to it. */
static int lev_bev_wrote(struct lev_bev *s)
{
    int result, entered = lev_bev_enter_data(s);

    if (entered < 0)
        return entered;
    lev_bev_break_pipe(s);
    result = lev_bev_hold(s);
    lev_leave(s->child.base, entered);
    return result;
}

/* May Python use its buffers? */
static int lev_bev_check(struct lev_bev *s)
{
    int entered = lev_bev_enter_data(s);

    if (entered < 0)
        return entered;
    lev_leave(s->child.base, entered);
    return 0;
}

/* May Python write to its output now? */
static int lev_bev_check_write(struct lev_bev *s)
{
    int result, entered = lev_bev_enter_data(s);

    if (entered < 0)
        return entered;
    result = lev_bev_can_write(s);
    if (result == 0)
        lev_bev_collect(s);
    lev_leave(s->child.base, entered);
    return result;
}

static int lev_bev_write_eof(struct lev_bev *s)
{
    int result = 0, entered = lev_bev_enter_own(s);

    if (entered < 0)
        return entered;
    if (!(s->ended & EV_WRITE)) {
        s->ending_output = 1;
        lev_bev_apply(s);
        result = lev_bev_watch_output(s);
        bufferevent_trigger(s->bev, EV_WRITE, BEV_TRIG_IGNORE_WATERMARKS | BEV_TRIG_DEFER_CALLBACKS);
    }
    if (result == 0)
        result = lev_bev_hold(s);
    lev_leave(s->child.base, entered);
    return result;
}

/*
 * End it and what it stands on; with "flush" when its output is written.  LEV_BEV_HOLD: until then Python's table
 * has to keep it.
 */
static int lev_bev_close(struct lev_bev *s, int flush)
{
    struct lev_base *l = s->child.base;
    struct lev_bev *bottom;
    int result = 0, entered = lev_child_enter(&s->child);

    if (entered < 0)
        return entered == LEV_WRONG_THREAD ? entered : 0;
    s = lev_bev_top(s);
    bottom = lev_bev_bottom(s);
    lev_bev_detach_buffers(s);
    lev_bev_close_below(s);
    if (flush && s->is_borrowed != LEV_BEV_SHOWN && (s->ending_output || !lev_bev_is_drained(s) || s->below != NULL || s->tls != NULL)
        && (s->connecting || bottom->is_open)) {
        lev_bev_finish(s);
        s->child.closed = 1;
        s->child.held = 1;
        result = LEV_BEV_HOLD;
    } else if (lev_bev_has_tls(s) && bottom->is_open && lev_bev_is_drained(s) && !lev_bev_say_goodbye(s)) {
        lev_bev_finish(s);              /* nothing is left to send but that */
        s->child.closed = 1;
        s->child.held = 1;
        result = LEV_BEV_HOLD;
    } else
        lev_child_close(&s->child);
    if (bottom->partner != NULL) {
        lev_bev_settle(lev_bev_top(bottom->partner));
        if (lev_bev_is_to_hold(lev_bev_top(bottom->partner)))
            result |= LEV_BEV_HOLD_PARTNER;
    }
    lev_leave(l, entered);
    return result;
}

/* -- in ---------------------------------------------------------------------------------------------------- */

/* Take at most size bytes, -1 all; LEV_BEV_TOO_SMALL when there is not enough room for them. */
static int64_t lev_bev_read(struct lev_bev *s, char *target, size_t room, int64_t size)
{
    struct evbuffer *input;
    int64_t length;
    int entered = lev_bev_enter_data(s);

    if (entered < 0)
        return entered;
    input = bufferevent_get_input(s->bev);
    length = (int64_t)evbuffer_get_length(input);
    if (size < 0 || size > length)
        size = length;
    if (size > (int64_t)room)
        size = LEV_BEV_TOO_SMALL;
    else if (size > 0) {
        size = evbuffer_remove(input, target, (size_t)size);
        if (s->bev->wm_read.high > 0)
            lev_bev_stir(s);            /* there is room for more again */
    }
    lev_leave(s->child.base, entered);
    return size;
}

/* For Buffer, which keeps the bufferevent's memory by its owner. */
static struct lev_buffer *lev_bev_buffer(struct lev_bev *s, int is_output)
{
    return is_output ? &s->output : &s->input;
}
