/* Bufferevents as children of a base: what libevent tells of them, how they end, and when they are idle. */

static const struct lev_kind lev_bev_kind;

static struct lev_bev *lev_bev_bottom(struct lev_bev *s)
{
    while (s->below != NULL)
        s = s->below;
    return s;
}

static struct lev_bev *lev_bev_top(struct lev_bev *s)
{
    while (s->above != NULL)
        s = s->above;
    return s;
}

static int lev_bev_has_tls(struct lev_bev *s)
{
    for (; s != NULL; s = s->below)
        if (s->tls != NULL)
            return 1;
    return 0;
}

/* Is everything written that its user wrote? */
static int lev_bev_is_drained(struct lev_bev *s)
{
    for (; s != NULL; s = s->below)
        if (evbuffer_get_length(bufferevent_get_output(s->bev)) > 0)
            return 0;
    return 1;
}

/* What TLS has to say when nothing is left to be written.  0: the socket does not take it now. */
static int lev_bev_say_goodbye(struct lev_bev *s)
{
    struct bufferevent *top = s->bev;

    for (; s != NULL; s = s->below)
        if (s->tls != NULL && (!lev_bev_is_drained(s) || s->tls->say_goodbye(s->ssl, top)))
            return 0;
    return 1;
}

/* -- callbacks, and whether any can come ------------------------------------------------------------------- */

static int lev_bev_has_timer(struct lev_bev *s)
{
    return event_pending(&s->bev->ev_read, EV_TIMEOUT, NULL) || event_pending(&s->bev->ev_write, EV_TIMEOUT, NULL);
}

/* Can something of it still happen by itself? */
static int lev_bev_is_armed(struct lev_child *c)
{
    struct lev_bev *s = (struct lev_bev *)c, *bottom = lev_bev_bottom(s);
    /* What comes of the doings of a pair's other end is told by LEV_BEV_SETTLE. */
    int is_live = bottom->is_open && bottom->kind != LEV_BEV_PAIR && !s->is_borrowed;

    if (s->carrier != NULL)
        return 0;                       /* its server has it */
    if (is_live && (s->enabled & EV_READ))
        return 1;
    if (s->outstanding || s->connecting || s->finishing || s->ending_output || c->todo)
        return 1;
    if (is_live && (s->enabled & EV_WRITE) && !lev_bev_is_drained(s))
        return 1;
    return lev_bev_has_timer(s) || (bottom != s && lev_bev_has_timer(bottom));
}

static void lev_bev_on_read(struct bufferevent *bev, void *arg);
static void lev_bev_on_event(struct bufferevent *bev, short what, void *arg);
static void lev_bev_note_read(struct bufferevent *bev, void *arg);
static void lev_bev_note_write(struct bufferevent *bev, void *arg);
static void lev_bev_note_event(struct bufferevent *bev, short what, void *arg);

/* Have libevent call back for what somebody has to hear, and for no more. */
static void lev_bev_apply(struct lev_bev *s)
{
    /* Where reading does not keep it in Python's table, we have to see when its output is written. */
    int write = (s->wants & LEV_BEV_ON_WRITE) || s->finishing || s->ending_output || !(s->enabled & EV_READ);

    if (s->above != NULL && s->above->filter != NULL)
        lev_filter_hear(s->above->filter);
    if (s->above != NULL || s->is_gone || s->is_borrowed == LEV_BEV_SHOWN
        || (s->is_borrowed && s->wants == 0 && !s->has_callbacks))
        return;
    s->has_callbacks = 1;
    if (s->carrier != NULL)
        bufferevent_setcb(s->bev, (s->wants & LEV_BEV_ON_READ) && !s->stalled ? lev_bev_note_read : NULL,
            write ? lev_bev_note_write : NULL, lev_bev_note_event, s);
    else
        bufferevent_setcb(s->bev, (s->wants & LEV_BEV_ON_READ) && !s->stalled ? lev_bev_on_read : NULL,
            write ? lev_bev_on_write : NULL, lev_bev_on_event, s);
}

/* Come back when what libevent has to tell now has been told. */
static void lev_bev_settle(struct lev_bev *s)
{
    if (s->outstanding)
        return;
    s->outstanding = 1;
    errno = 0;
    bufferevent_trigger_event(s->bev, LEV_BEV_SETTLE, BEV_TRIG_DEFER_CALLBACKS);
}

/* A call of Python's may have moved data between the ends of a pair: both hear of it later. */
static void lev_bev_stir(struct lev_bev *s)
{
    struct lev_bev *bottom = lev_bev_bottom(s);

    if (bottom->kind != LEV_BEV_PAIR)
        return;
    lev_bev_settle(lev_bev_top(bottom));
    if (bottom->partner != NULL)
        lev_bev_settle(lev_bev_top(bottom->partner));
}

/* -- ending ------------------------------------------------------------------------------------------------ */

/* Its buffers are closed to Python from here on. */
static void lev_bev_detach_buffers(struct lev_bev *s)
{
    lev_buffer_detach(&s->input);
    lev_buffer_detach(&s->output);
}

/* What it stands on is closed to Python as well, and ended with it. */
static void lev_bev_close_below(struct lev_bev *s)
{
    for (s = s->below; s != NULL; s = s->below)
        s->child.closed = 1;
}

/* Nothing of it reaches Python from here on; the base ends it soon. */
static void lev_bev_close_now(struct lev_bev *s)
{
    struct lev_child *c = &s->child;
    int attempt;

    if (c->is_ending)
        return;                         /* what closes it may be told twice in one pass */
    for (attempt = 0; c->held && attempt < LEV_ATTEMPTS; attempt++)
        if (lev_py_let_go(c->token, c->base->slot) == LEV_DONE)
            c->held = 0;
    lev_bev_detach_buffers(s);
    lev_bev_close_below(s);
    c->closed = 0;                      /* it was closed to Python by close(flush=True) */
    lev_child_close(c);
}

static void lev_on_stack_output(struct evbuffer *output, const struct evbuffer_cb_info *info, void *arg)
{
    struct lev_bev *s = arg;

    if (info->n_deleted > 0 && evbuffer_get_length(output) == 0)
        bufferevent_trigger(s->bev, EV_WRITE, BEV_TRIG_IGNORE_WATERMARKS | BEV_TRIG_DEFER_CALLBACKS);
}

/* Hear when the output at the bottom is written: its callbacks are the filter's that stands on it. */
static int lev_bev_watch_output(struct lev_bev *s)
{
    if (s->below == NULL || s->watched != NULL)
        return 0;
    s->watched = bufferevent_get_output(lev_bev_bottom(s)->bev);
    if (evbuffer_add_cb(s->watched, lev_on_stack_output, s) == NULL) {
        s->watched = NULL;
        return LEV_ERRNO;
    }
    return 0;
}

static void lev_bev_tell_partner_of_eof(struct lev_bev *partner)
{
    lev_bev_settle(lev_bev_top(partner));
    if (!(partner->ended & EV_READ))
        bufferevent_trigger_event(partner->bev, BEV_EVENT_READING | BEV_EVENT_EOF, BEV_TRIG_DEFER_CALLBACKS);
}

static void lev_bev_end_output(struct lev_bev *s)
{
    struct lev_bev *bottom = lev_bev_bottom(s);

    s->ending_output = 0;
    s->ended |= EV_WRITE;
    if (lev_bev_has_tls(s))
        return;                         /* it has said goodbye, and still needs both ways */
    if (s->carrier != NULL)
        lev_sconn_say_goodbye(s->carrier);
    if (bottom->kind != LEV_BEV_PAIR)
        shutdown(bufferevent_getfd(bottom->bev), LEV_SHUT_WR);
    else if (bottom->partner != NULL)
        lev_bev_tell_partner_of_eof(bottom->partner);
}

/*
 * Tell what it stands on, from the top down, that nothing more will be written.  Each hears of it when all that is
 * above it has come down to it: a filter that has been told is given no more, and what it has not let go of by then it
 * never will.  0: one could not be told now, or its socket did not take what TLS says last; on_write comes again.
 */
static int lev_bev_finish_output(struct lev_bev *s)
{
    struct bufferevent *top = s->bev;

    for (; s != NULL; s = s->below) {
        if (s->filter != NULL && !s->flushed && !(s->flushed = lev_filter_finish(s->filter, LEV_FILTER_OUT)))
            return 0;
        if (s->child.base->forked)
            return 0;
        if (s->tls == NULL)
            continue;
        if (evbuffer_get_length(bufferevent_get_output(s->bev)) > 0 || s->tls->say_goodbye(s->ssl, top))
            return 0;
    }
    return 1;
}

/* Go on with a write_eof() or a close(flush=True), in the loop. */
static void lev_bev_go_on(struct lev_bev *s)
{
    if ((!s->finishing && !s->ending_output) || !lev_bev_finish_output(s))
        return;
    if (!lev_bev_is_drained(lev_bev_bottom(s)))
        return;
    if (s->ending_output)
        lev_bev_end_output(s);
    if (s->finishing || s->ended == (EV_READ | EV_WRITE))
        lev_bev_close_now(s);
}

/* Is a handshake of TLS going on?  It reads and writes by itself, and what is enabled is for later. */
static int lev_bev_shakes_hands(struct lev_bev *s)
{
    return s->tls != NULL && !s->is_open;
}

/* Close it when its output is written. */
static void lev_bev_finish(struct lev_bev *s)
{
    s->finishing = 1;
    s->enabled &= ~EV_READ;
    if (!lev_bev_shakes_hands(s))
        bufferevent_disable(s->bev, EV_READ);
    if (!(s->enabled & EV_WRITE)) {
        s->enabled |= EV_WRITE;
        if (!lev_bev_shakes_hands(s))
            bufferevent_enable(s->bev, EV_WRITE);
    }
    lev_bev_apply(s);
    lev_bev_watch_output(s);
    bufferevent_trigger(s->bev, EV_WRITE, BEV_TRIG_IGNORE_WATERMARKS | BEV_TRIG_DEFER_CALLBACKS);
}

/* The last that TLS does, if the socket takes it at once.  What was not written is lost, and so nothing is said. */
static void lev_bev_leave_tls(struct lev_bev *s)
{
    struct lev_bev *bottom = lev_bev_bottom(s);
    struct evbuffer *output = bufferevent_get_output(bottom->bev);
    evutil_socket_t fd = bufferevent_getfd(bottom->bev);

    if (lev_bev_is_drained(s))
        s->tls->say_goodbye(s->ssl, NULL);
    if (bottom != s && bottom->kind == LEV_BEV_SOCKET && fd >= 0) {
        evbuffer_unfreeze(output, 1);
        evbuffer_write(output, fd);
    }
    s->tls->stop(s->ssl);
    s->tls = NULL;
}

/* Somebody else has the bufferevent, or has freed it: touch it no more. */
static void lev_bev_forget(struct lev_bev *s)
{
    lev_bev_detach_buffers(s);
    lev_bev_lift_limits(s);
    if (s->hears_drains)
        evbuffer_remove_cb(bufferevent_get_input(s->bev), lev_on_input_drained, s);
    s->hears_drains = 0;
    s->is_gone = 1;
    lev_child_close(&s->child);
}

static void lev_bev_free(struct lev_bev *s)
{
    evutil_socket_t fd = s->kind == LEV_BEV_SOCKET && !s->is_gone ? bufferevent_getfd(s->bev) : -1;

    if (s->watched != NULL)
        evbuffer_remove_cb(s->watched, lev_on_stack_output, s);
    s->watched = NULL;
    lev_bev_forget_unread(s);
    lev_free(s->targets);
    s->targets = NULL;
    lev_bev_unattach(s, s->child.base);
    if (s->is_gone)
        return;
    lev_bev_detach_buffers(s);
    lev_bev_lift_limits(s);
    if (s->hears_drains)
        evbuffer_remove_cb(bufferevent_get_input(s->bev), lev_on_input_drained, s);
    if (s->filter != NULL)
        lev_filter_end(s->filter);
    if (fd >= 0) {
        /* libevent closes it in a later pass, and there may be none (bufferevent.c:bufferevent_finalize_cb_) */
        bufferevent_setfd(s->bev, -1);
        evutil_closesocket(fd);
    }
    if (!s->is_borrowed)
        bufferevent_free(s->bev);
    else if (s->has_callbacks)
        bufferevent_setcb(s->bev, NULL, NULL, NULL, NULL);
    if (s->carrier != NULL && s->is_borrowed != LEV_BEV_SHOWN)
        lev_sconn_was_left(s->carrier);
    s->carrier = NULL;
    s->bev = NULL;
}

/* The other end of a pair is told what a socket would be told. */
static void lev_bev_leave_partner(struct lev_bev *s)
{
    struct lev_bev *partner = s->partner;

    if (partner == NULL)
        return;
    s->partner = partner->partner = NULL;
    lev_bev_tell_partner_of_eof(partner);
}

static void lev_bev_end(struct lev_child *c)
{
    struct lev_bev *s = (struct lev_bev *)c, *above = s->above, *below = s->below;

    lev_bev_uncollect(s);
    if (s->tls != NULL)
        lev_bev_leave_tls(s);
    if (above != NULL) {
        lev_filter_unhear(above);
        s->above = above->below = NULL;
        lev_child_end(&above->child);
    }
    lev_filter_unhear(s);
    if (below != NULL)
        s->below = below->above = NULL;
    lev_bev_leave_partner(s);
    lev_bev_free(s);
    if (below != NULL)
        lev_child_end(&below->child);
}

/* -- telling Python ---------------------------------------------------------------------------------------- */

struct lev_bev_news {
    int which;
    int what, error;
};

static int lev_call_bev(struct lev_child *c, void *arg)
{
    struct lev_bev_news *news = arg;

    if (news->which == LEV_BEV_ON_EVENT)
        return lev_py_bev_event(c->token, news->what, news->error, c->base->slot);
    return lev_py_bev_data(c->token, news->which, c->base->slot);
}

/* Keep it for the next loop. */
static void lev_bev_miss(struct lev_bev *s, int which, int what, int error)
{
    s->missed |= which;
    s->missed_what |= (short)what;
    if (what & BEV_EVENT_ERROR)
        s->missed_error = error;
    lev_child_remember(&s->child);
}

static void lev_bev_tell(struct lev_bev *s, int which, int what, int error)
{
    struct lev_bev_news news = {which, what, error};

    if (!(s->wants & which))
        return;
    s->child.base->collects = 1;
    if (lev_child_has_to_wait(&s->child) || lev_child_call(&s->child, lev_call_bev, &news) == LEV_UNDELIVERED)
        lev_bev_miss(s, which, what, error);
}

/* Can Python be told now?  Else it is remembered, unless nobody wants to hear of it any more. */
static int lev_bev_may_tell(struct lev_bev *s, int which, int what, int error)
{
    struct lev_base *l = s->child.base;

    if (!s->child.closed && !l->looping && !l->silent) {
        lev_bev_miss(s, which, what, error);
        return 0;
    }
    return lev_child_may_call(&s->child);
}

static void lev_bev_after(struct lev_bev *s)
{
    int was_held = s->child.held;

    if (!s->child.base->forked && !s->child.closed)
        lev_bev_apply(s);
    lev_child_after_callback(&s->child);
    if (was_held && !s->child.held)
        lev_group_let_go(lev_bev_bottom(s));
}

static void lev_on_input_drained(struct evbuffer *input, const struct evbuffer_cb_info *info, void *arg)
{
    struct lev_bev *s = arg;

    if (info->n_deleted == 0)
        return;
    s->took = 1;
    if (s->filter != NULL)
        lev_filter_got_room(s->filter);
    if (!s->stalled || evbuffer_get_length(input) >= s->bev->wm_read.high)
        return;
    s->stalled = 0;
    lev_bev_apply(s);
}

static void lev_bev_hear_drains(struct lev_bev *s)
{
    if (!s->hears_drains)
        s->hears_drains = evbuffer_add_cb(bufferevent_get_input(s->bev), lev_on_input_drained, s) != NULL;
}

/* Before on_read, where there is a high mark: hear whether it takes anything. */
static void lev_bev_listen_for_drains(struct lev_bev *s)
{
    s->took = 0;
    if (s->bev->wm_read.high > 0)
        lev_bev_hear_drains(s);
}

/*
 * While the input is full libevent would call again and again (bufferevent.c:bufferevent_inbuf_wm_check), however
 * long the user waits with taking from it.
 */
static void lev_bev_stall(struct lev_bev *s)
{
    if (s->took || !s->hears_drains || s->bev->wm_read.high == 0
        || evbuffer_get_length(bufferevent_get_input(s->bev)) < s->bev->wm_read.high)
        return;
    s->stalled = 1;
    lev_bev_apply(s);
}

static void lev_bev_on_read(struct bufferevent *bev, void *arg)
{
    struct lev_bev *s = arg;

    (void)bev;
    if (!lev_bev_may_tell(s, LEV_BEV_ON_READ, 0, 0))
        return;
    lev_bev_listen_for_drains(s);
    /* Filters that keep what they get are told as reading, too, and what others of the pass have taken. */
    if (s->forced || evbuffer_get_length(bufferevent_get_input(s->bev)) > 0)
        lev_bev_tell(s, LEV_BEV_ON_READ, 0, 0);
    s->forced = 0;
    if (!s->child.closed && !s->child.base->forked)
        lev_bev_stall(s);
    lev_child_after_callback(&s->child);
}

static void lev_bev_on_write(struct bufferevent *bev, void *arg)
{
    struct lev_bev *s = arg;

    (void)bev;
    if (s->finishing && !s->child.base->silent) {
        lev_bev_go_on(s);
        lev_after_callback(s->child.base);
        return;
    }
    if (!lev_bev_may_tell(s, LEV_BEV_ON_WRITE, 0, 0))
        return;
    lev_bev_tell(s, LEV_BEV_ON_WRITE, 0, 0);
    if (!s->child.closed && !s->child.base->forked)
        lev_bev_go_on(s);
    lev_bev_after(s);
}

/* The end of the other side's sending stops TLS both ways (bufferevent_openssl.c:conn_closed): go on with ours. */
static void lev_bev_write_on(struct lev_bev *s)
{
    for (; s != NULL; s = s->below)
        if (s->tls != NULL && (bufferevent_get_enabled(s->bev) & EV_WRITE))
            bufferevent_enable(s->bev, EV_WRITE);
}

/* What an event means for it, before its user hears of it. */
static void lev_bev_note(struct lev_bev *s, short what)
{
    struct lev_bev *below;
    short over = 0;

    if ((what & BEV_EVENT_CONNECTED) || !lev_bev_bottom(s)->is_open)
        return;                         /* after an attempt to connect another one may follow */
    if (what & BEV_EVENT_ERROR)
        over = EV_READ | EV_WRITE;      /* one failure is enough: what is left would only fail again */
    else if (what & BEV_EVENT_READING)
        over = EV_READ;
    else if (what & BEV_EVENT_WRITING)
        over = EV_WRITE;
    if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR))
        s->ended |= over & EV_READ;
    s->enabled &= (short)~over;
    bufferevent_disable(s->bev, over);
    if ((s->enabled & EV_WRITE) && (what & BEV_EVENT_EOF) && !(what & BEV_EVENT_ERROR))
        lev_bev_write_on(s);
    if (what & BEV_EVENT_ERROR)
        for (below = s->below; below != NULL; below = below->below)
            bufferevent_disable(below->bev, over);
}

/* A failure, a time out or an end that nobody wants to hear of ends it. */
static void lev_bev_end_alone(struct lev_bev *s, short what)
{
    if (what & BEV_EVENT_CONNECTED)
        return;
    if ((what & BEV_EVENT_EOF) && !(what & BEV_EVENT_ERROR) && !lev_bev_is_drained(s))
        lev_bev_finish(s);              /* it may have ended its sending only */
    else
        lev_bev_close_now(s);
}

static void lev_bev_tell_event(struct lev_bev *s, short what, int error)
{
    int was_ended;

    if (s->below != NULL && (what & BEV_EVENT_EOF) && (what & BEV_EVENT_READING) && lev_filter_finish_input(s)) {
        lev_bev_tell(s, LEV_BEV_ON_READ, 0, 0);
        if (s->child.closed || s->child.base->forked)
            return;
    }
    lev_bev_note(s, what);
    was_ended = s->ended == (EV_READ | EV_WRITE) && (what & BEV_EVENT_EOF);
    if (s->wants & LEV_BEV_ON_EVENT)
        lev_bev_tell(s, LEV_BEV_ON_EVENT, what, error);
    else
        lev_bev_end_alone(s, what);
    if (was_ended && !s->child.closed && !s->child.base->forked && !(s->missed & LEV_BEV_ON_EVENT))
        lev_bev_close_now(s);
}

static int lev_bev_next_target(struct lev_bev *s);

/* errno may be older than a failure that is TLS's own, which leaves none. */
static int lev_is_of_network(int error)
{
    static const int numbers[] = {ECONNRESET, EPIPE, ETIMEDOUT, ECONNABORTED, ECONNREFUSED, EHOSTUNREACH,
        ENETUNREACH, ENETDOWN, ENOTCONN, ENOBUFS, ENOMEM};
    size_t i;

    for (i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        if (numbers[i] == error)
            return 1;
    return 0;
}

static int lev_bev_error(struct lev_bev *s, int error)
{
    int found = 0;
    ev_socklen_t size = sizeof(found);
    evutil_socket_t fd = bufferevent_getfd(s->bev);

    if (s->tls != NULL && (!s->connecting || s->tls->has_begun(s->ssl)))
        return lev_is_of_network(error) ? error : 0;
    if (error != 0 && error != EAGAIN && error != EINPROGRESS)
        return s->connecting && error == ENOTCONN ? ECONNREFUSED : error;
    if (fd >= 0 && getsockopt(fd, SOL_SOCKET, SO_ERROR, (void *)&found, &size) == 0 && found != 0)
        return found;
    return s->connecting ? ECONNREFUSED : error == EINPROGRESS || error == EAGAIN ? ECONNRESET : 0;
}

/* After the handshake: have libevent do what its user wants. */
static void lev_bev_begin_tls(struct lev_bev *s)
{
    short not_enabled = (short)(~s->enabled & bufferevent_get_enabled(s->bev));

    if (s->below != NULL) {
        struct bufferevent *below = s->below->bev;
        bufferevent_set_timeouts(below, NULL, NULL);
    }
    if (not_enabled & (EV_READ | EV_WRITE))
        bufferevent_disable(s->bev, not_enabled & (EV_READ | EV_WRITE));
    bufferevent_enable(s->bev, s->enabled);
}

/* An attempt to connect has ended.  1: another one has begun. */
static int lev_bev_attempt_ended(struct lev_bev *s, short what)
{
    if (what & BEV_EVENT_CONNECTED) {
        s->connecting = 0;
        s->is_open = 1;
        lev_free(s->targets);
        s->targets = NULL;
        s->target_count = s->next_target = 0;
        if (s->tls != NULL)
            lev_bev_begin_tls(s);
        else if (s->enabled & EV_READ)
            bufferevent_enable(s->bev, EV_READ);
        return 0;
    }
    if (s->tls != NULL && (s->targets == NULL || s->tls->has_begun(s->ssl))) {
        s->connecting = 0;              /* it was the handshake that failed */
        bufferevent_disable(s->bev, EV_READ | EV_WRITE);
        return 0;
    }
    return lev_bev_next_target(s);
}

static void lev_on_unread(struct evbuffer *input, const struct evbuffer_cb_info *info, void *arg)
{
    struct lev_bev *s = arg;

    if (info->n_deleted == 0 || evbuffer_get_length(input) > 0)
        return;
    lev_bev_forget_unread(s);
    bufferevent_trigger_event(s->bev, BEV_EVENT_ERROR, BEV_TRIG_DEFER_CALLBACKS);
}

static void lev_bev_forget_unread(struct lev_bev *s)
{
    if (s->unread != NULL)
        evbuffer_remove_cb(s->unread, lev_on_unread, s);
    s->unread = NULL;
}

/*
 * Has what TLS stands on ended before TLS has read all of it, since its user does not take more now?  The end of a
 * pair comes at once.  Then it is told when that was read, and the goodbye in it makes it a good one.
 */
static int lev_bev_waits_for_unread(struct lev_bev *s, struct lev_bev *upper, short what)
{
    struct lev_bev *below = upper->below;
    struct evbuffer *input;

    if ((what & (BEV_EVENT_ERROR | BEV_EVENT_EOF | BEV_EVENT_READING | BEV_EVENT_WRITING)) != BEV_EVENT_ERROR)
        return 0;
    while (below != NULL && evbuffer_get_length(bufferevent_get_input(below->bev)) == 0)
        below = below->below;
    if (below == NULL || upper->tls->has_ended(upper->ssl))
        return 0;
    input = bufferevent_get_input(below->bev);
    if (s->unread == NULL && evbuffer_add_cb(input, lev_on_unread, s) != NULL)
        s->unread = input;
    return s->unread != NULL;
}

/*
 * TLS on another bufferevent tells the end of that as its own failure, also when its own end has come before, and
 * not of which direction it is (bufferevent_openssl.c:be_openssl_eventcb).
 */
static short lev_bev_sort_out(struct lev_bev *s, short what)
{
    struct lev_bev *upper = s;

    while (upper != NULL && (upper->tls == NULL || upper->below == NULL))
        upper = upper->below;
    if (upper == NULL || lev_bev_waits_for_unread(s, upper, what))
        return upper == NULL ? what : what & ~BEV_EVENT_ERROR;
    if ((what & BEV_EVENT_ERROR) && !(what & BEV_EVENT_WRITING) && upper->tls->has_ended(upper->ssl)) {
        what &= ~(BEV_EVENT_ERROR | BEV_EVENT_EOF | BEV_EVENT_READING);
        if (!(s->ended & EV_READ))
            what |= BEV_EVENT_EOF;
    }
    if ((what & (BEV_EVENT_EOF | BEV_EVENT_ERROR)) && !(what & BEV_EVENT_WRITING))
        what |= BEV_EVENT_READING;
    return what;
}

static void lev_bev_on_event(struct bufferevent *bev, short what, void *arg)
{
    struct lev_bev *s = arg;
    int error = EVUTIL_SOCKET_ERROR();          /* first: nothing keeps it */

    (void)bev;
    if (what & BEV_EVENT_ERROR)
        error = lev_bev_error(s, error);
    if (what & LEV_BEV_SETTLE) {
        s->outstanding = 0;
        what &= ~LEV_BEV_SETTLE;
    }
    if (s->child.base->silent || (s->child.closed && !s->finishing))
        return;
    if (!s->connecting)
        what = lev_bev_sort_out(s, what);
    if (s->connecting && what != 0 && lev_bev_attempt_ended(s, what))
        return;
    if (s->finishing) {
        if (what & ~BEV_EVENT_CONNECTED)
            lev_bev_close_now(s);
        lev_after_callback(s->child.base);
        return;
    }
    if (!lev_bev_may_tell(s, LEV_BEV_ON_EVENT, what, error))
        return;
    if (what != 0)
        lev_bev_tell_event(s, what, error);
    lev_bev_after(s);
}

/*
 * evhttp's bufferevents do not defer their callbacks, and TLS calls them from inside of a write: what they tell is
 * noted, and told when an event of ours, which is deferred, comes back.
 */
static void lev_bev_remind(struct lev_bev *s, int which, short what)
{
    s->noted |= which;
    s->noted_what |= what;
    lev_bev_settle(s);
}

static void lev_bev_note_read(struct bufferevent *bev, void *arg)
{
    (void)bev;
    lev_bev_remind(arg, LEV_BEV_ON_READ, 0);
}

static void lev_bev_note_write(struct bufferevent *bev, void *arg)
{
    (void)bev;
    lev_bev_remind(arg, LEV_BEV_ON_WRITE, 0);
}

static void lev_bev_note_event(struct bufferevent *bev, short what, void *arg)
{
    struct lev_bev *s = arg;
    int which, error = EVUTIL_SOCKET_ERROR();

    if (what & BEV_EVENT_ERROR)
        s->noted_error = error;
    if (!(what & LEV_BEV_SETTLE)) {
        lev_bev_remind(s, LEV_BEV_ON_EVENT, what);
        return;
    }
    s->outstanding = 0;
    what = (short)((what & ~LEV_BEV_SETTLE) | s->noted_what);
    which = s->noted;
    s->noted = s->noted_what = 0;
    if (which & LEV_BEV_ON_READ)
        lev_bev_on_read(bev, s);
    if ((which & LEV_BEV_ON_WRITE) && !s->child.base->forked)
        lev_bev_on_write(bev, s);
    if (what != 0 && !s->child.base->forked) {
        EVUTIL_SET_SOCKET_ERROR(s->noted_error);
        lev_bev_on_event(bev, what, s);
    }
}

static void lev_bev_deliver_again(struct lev_child *c)
{
    struct lev_bev *s = (struct lev_bev *)c;
    int missed = s->missed, error = s->missed_error;
    short what = s->missed_what;

    s->missed = s->missed_what = s->missed_error = 0;
    if (what & BEV_EVENT_CONNECTED)
        lev_bev_tell(s, LEV_BEV_ON_EVENT, BEV_EVENT_CONNECTED, 0);
    if ((missed & LEV_BEV_ON_READ) && !c->closed)
        lev_bev_tell(s, LEV_BEV_ON_READ, 0, 0);
    if ((missed & LEV_BEV_ON_WRITE) && !c->closed)
        lev_bev_tell(s, LEV_BEV_ON_WRITE, 0, 0);
    what &= ~BEV_EVENT_CONNECTED;
    if (what != 0 && !c->closed && !c->base->forked)
        lev_bev_tell_event(s, what, error);
    lev_bev_after(s);
}

static const struct lev_kind lev_bev_kind = {lev_bev_end, lev_bev_is_armed, lev_bev_deliver_again, 0};
