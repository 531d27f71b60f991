/* Python's calls that set bufferevents. */

static int lev_bev_set_wants(struct lev_bev *s, int wants)
{
    int result = 0, entered = lev_bev_enter(s);

    if (entered < 0)
        return entered;
    if (s->is_borrowed == LEV_BEV_SHOWN && wants)
        result = LEV_BEV_OWNED;
    else {
        s->wants = wants;
        lev_bev_apply(s);
    }
    lev_leave(s->child.base, entered);
    return result;
}

/* What filters left undone because it was off does not come again by itself (bufferevent_filter.c:be_filter_enable). */
static int lev_bev_enable(struct lev_bev *s, int events)
{
    int result = 0, entered = lev_bev_enter(s);

    if (entered < 0)
        return entered;
    if (s->is_borrowed == LEV_BEV_SHOWN)
        events &= lev_sconn_uses(s->carrier);
    s->enabled |= (short)events;
    if (lev_bev_bottom(s)->is_open && !lev_bev_shakes_hands(s)
        && bufferevent_enable(s->bev, (short)events) != 0)
        result = LEV_ERRNO;
    if ((events & EV_READ) && s->tls != NULL && s->is_open)
        s->tls->read_on(s->ssl);
    if (s->filter != NULL && result == 0)
        lev_filter_resume(s->filter, (short)events);
    lev_bev_apply(s);
    if (result == 0)
        result = lev_bev_hold(s);
    lev_leave(s->child.base, entered);
    return result;
}

static int lev_bev_disable(struct lev_bev *s, int events)
{
    int result, entered = lev_bev_enter(s);

    if (entered < 0)
        return entered;
    s->enabled &= (short)~events;
    if (!lev_bev_shakes_hands(s))
        bufferevent_disable(s->bev, (short)events);
    lev_bev_apply(s);
    result = lev_bev_hold(s);
    lev_leave(s->child.base, entered);
    return result;
}

static int lev_bev_enabled(struct lev_bev *s)
{
    int result, entered = lev_child_enter(&s->child);

    if (entered < 0)
        return entered;
    result = s->is_borrowed == LEV_BEV_SHOWN ? bufferevent_get_enabled(s->bev) : s->enabled;
    lev_leave(s->child.base, entered);
    return result;
}

/* -- timeouts ---------------------------------------------------------------------------------------------- */

static struct timeval *lev_optional_timeval(double seconds, struct timeval *tv)
{
    if (seconds < 0)
        return NULL;
    lev_to_timeval(seconds, tv);
    if (tv->tv_sec == 0 && tv->tv_usec == 0)
        tv->tv_usec = 1;                /* 0 would mean none */
    return tv;
}

/* In seconds; -1 is none. */
static int lev_bev_set_timeouts(struct lev_bev *s, double read, double write)
{
    struct timeval tv[2];
    int result, entered = lev_bev_enter(s);

    if (entered < 0)
        return entered;
    result = bufferevent_set_timeouts(
        s->bev, lev_optional_timeval(read, &tv[0]), lev_optional_timeval(write, &tv[1]));
    result = result == 0 ? lev_bev_hold(s) : LEV_ERRNO;
    lev_leave(s->child.base, entered);
    return result;
}

static double lev_optional_seconds(const struct timeval *tv)
{
    return tv->tv_sec == 0 && tv->tv_usec == 0 ? -1 : (double)tv->tv_sec + (double)tv->tv_usec / 1e6;
}

static int lev_bev_timeouts(struct lev_bev *s, double found[2])
{
    int entered = lev_child_enter(&s->child);

    if (entered < 0)
        return entered;
    found[0] = lev_optional_seconds(&s->bev->timeout_read);
    found[1] = lev_optional_seconds(&s->bev->timeout_write);
    lev_leave(s->child.base, entered);
    return 0;
}

/* -- watermarks -------------------------------------------------------------------------------------------- */

/* low and high in bytes; a high of 0 is none. */
static int lev_bev_set_watermark(struct lev_bev *s, int events, size_t low, size_t high)
{
    int result, entered = lev_bev_enter_own(s);

    if (entered < 0)
        return entered;
    bufferevent_setwatermark(s->bev, (short)events, low, high);
    s->stalled = 0;
    lev_bev_apply(s);
    result = lev_bev_hold(s);
    lev_leave(s->child.base, entered);
    return result;
}

static int lev_bev_watermark(struct lev_bev *s, int event, size_t found[2])
{
    int entered = lev_child_enter(&s->child);

    if (entered < 0)
        return entered;
    bufferevent_getwatermark(s->bev, (short)event, &found[0], &found[1]);
    lev_leave(s->child.base, entered);
    return 0;
}

/* -- triggers ---------------------------------------------------------------------------------------------- */

static int lev_bev_trigger(struct lev_bev *s, int events, int ignore_watermarks)
{
    int result, entered = lev_bev_enter_own(s);

    if (entered < 0)
        return entered;
    s->stalled = 0;
    s->forced = (events & EV_READ) && ignore_watermarks;
    lev_bev_apply(s);
    bufferevent_trigger(s->bev, (short)events,
        BEV_TRIG_DEFER_CALLBACKS | (ignore_watermarks ? BEV_TRIG_IGNORE_WATERMARKS : 0));
    lev_bev_settle(s);
    result = lev_bev_hold(s);
    lev_leave(s->child.base, entered);
    return result;
}

/* Have an event told, with the number of an error or 0. */
static int lev_bev_trigger_event(struct lev_bev *s, int what, int error)
{
    int result, entered = lev_bev_enter_own(s);

    if (entered < 0)
        return entered;
    lev_bev_settle(s);
    errno = error;
    bufferevent_trigger_event(s->bev, (short)what, BEV_TRIG_DEFER_CALLBACKS);
    result = lev_bev_hold(s);
    lev_leave(s->child.base, entered);
    return result;
}

/* -- priority, single reads and writes --------------------------------------------------------------------- */

/*
 * libevent refuses when the bufferevent's events are active, and takes no heed of its deferred callbacks: those would
 * be taken out of another queue than they stand in, and what comes into that one later would be lost
 * (bufferevent.c:bufferevent_priority_set, event.c:event_queue_remove_active).  So a priority is set when nothing is
 * active.
 */
static void lev_bev_apply_priorities(struct lev_base *l)
{
    struct timeval soon = {0, 1000};
    struct lev_child *c;
    struct lev_bev *s;

    if (!l->has_priorities || l->silent)
        return;
    if (!lev_is_quiet(l)) {
        event_add(&l->late, &soon);
        return;
    }
    l->has_priorities = 0;
    for (c = l->children; c != NULL; c = c->next) {
        s = (struct lev_bev *)c;
        if (c->kind == &lev_bev_kind && s->is_priority_due && !s->is_gone)
            bufferevent_priority_set(s->bev, s->priority);
        if (c->kind == &lev_bev_kind)
            s->is_priority_due = 0;
    }
}

static int lev_bev_set_priority(struct lev_bev *s, int priority, int is_new)
{
    struct lev_base *l = s->child.base;
    int result = 0, entered = lev_bev_enter(s);

    if (entered < 0)
        return entered;
    if (s->kind == LEV_BEV_PAIR || (s->kind == LEV_BEV_FILTER && s->tls == NULL))
        result = LEV_BEV_NO_SOCKET;
    else if (is_new || lev_is_quiet(l)) {
        result = bufferevent_priority_set(s->bev, priority) == 0 ? 0 : LEV_BEV_NO_SOCKET;
        s->is_priority_due = 0;
    } else {
        s->is_priority_due = 1;
        l->has_priorities = 1;
        event_active(&l->late, EV_TIMEOUT, 1);
    }
    if (result == 0)
        s->priority = priority;
    lev_leave(l, entered);
    return result;
}

static int lev_bev_priority(struct lev_bev *s)
{
    int result, entered = lev_child_enter(&s->child);

    if (entered < 0)
        return entered;
    result = s->is_priority_due ? s->priority : bufferevent_get_priority(s->bev);
    lev_leave(s->child.base, entered);
    return result;
}

static int lev_bev_set_max_single(struct lev_bev *s, int is_write, size_t size)
{
    struct lev_bev *bottom;
    int entered = lev_bev_enter(s);

    if (entered < 0)
        return entered;
    bottom = lev_bev_bottom(s);
    if (is_write) {
        bufferevent_set_max_single_write(bottom->bev, size);
        bottom->output.sends_files = 0;         /* sendfile() would not keep to it */
    } else
        bufferevent_set_max_single_read(bottom->bev, size);
    lev_leave(s->child.base, entered);
    return 0;
}

static int64_t lev_bev_max_single(struct lev_bev *s, int is_write)
{
    struct lev_bev *bottom;
    int64_t result;
    int entered = lev_child_enter(&s->child);

    if (entered < 0)
        return entered;
    bottom = lev_bev_bottom(s);
    result = is_write ? bufferevent_get_max_single_write(bottom->bev)
                      : bufferevent_get_max_single_read(bottom->bev);
    lev_leave(s->child.base, entered);
    return result;
}

/* -- flushing ---------------------------------------------------------------------------------------------- */

static size_t lev_bev_moved(struct lev_bev *s)
{
    return evbuffer_get_length(bufferevent_get_input(s->bev)) - evbuffer_get_length(bufferevent_get_output(s->bev));
}

/* Push data on.  1: something was moved; the caller has opened the way to Python's filters. */
static int lev_bev_flush(struct lev_bev *s, int events, int mode)
{
    size_t before;
    int result, entered = lev_bev_enter(s);

    if (entered < 0)
        return entered;
    before = lev_bev_moved(s);
    result = bufferevent_flush(s->bev, (short)events, (enum bufferevent_flush_mode)mode) > 0
        || (!s->child.base->forked && before != lev_bev_moved(s));
    if (!s->child.base->forked)
        lev_bev_stir(s);
    lev_leave(s->child.base, entered);
    return result;
}
