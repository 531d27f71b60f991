/*
 * Filters of Python's.
 *
 * libevent calls them wherever data moves, also inside of a call of Python's.  Where no Python may run, outside of
 * a loop or after a failure, they answer that they need more, and are called again from the loop: that costs
 * nothing, as what they are for is still there.
 */

enum { LEV_FILTER_ANSWER = 16 };        /* added to a result of Python's; LEV_DONE is "see for yourself" */

struct lev_filter;

struct lev_filter_context {             /* libevent's, until free_context() */
    struct lev_filter *filter;          /* NULL: it has ended */
};

struct lev_filter {
    struct lev_bev bev;
    struct lev_filter_context *context;
    struct lev_buffer parts[4];         /* source and target of both, open while they run */
    int has[2], runs[2], failed[2];
    int skipped, cramped;
    bufferevent_data_cb read, write;    /* libevent's callbacks for what it stands on */
    bufferevent_event_cb event;
    void *arg;
    int stirred;                        /* something was added to the output below, which may be gone already */
};

static int lev_py_filter(int64_t token, int which, int64_t limit, int mode, int slot);

/* Have it called again by the loop, as if what it stands on had had something to tell. */
static void lev_filter_retry(struct lev_filter *f, int which)
{
    f->skipped = 1;
    if (f->bev.child.base->silent || f->bev.below == NULL)
        return;
    f->bev.below->stalled = 0;
    lev_filter_hear(f);
    bufferevent_trigger(f->bev.below->bev, which == LEV_FILTER_IN ? EV_READ : EV_WRITE,
        BEV_TRIG_IGNORE_WATERMARKS | BEV_TRIG_DEFER_CALLBACKS);
}

static int lev_filter_may_run(struct lev_base *l)
{
    return (l->looping || l->road) && !l->silent && !lev_has_to_wait(l) && !l->forked
        && !LEV_NO_PYTHON();
}

/* Has the connection ended, but for what is still to be written? */
static int lev_filter_is_over(struct lev_filter *f)
{
    return f->bev.child.closed && !lev_bev_top(&f->bev)->finishing;
}

/* A filter that has failed is called no more, and its connection with it. */
static enum bufferevent_filter_result lev_filter_fail(struct lev_filter *f, int which)
{
    f->failed[which] = 1;
    if (lev_filter_is_over(f))
        return BEV_ERROR;
    lev_bev_settle(&f->bev);
    errno = EPROTO;
    bufferevent_trigger_event(f->bev.bev,
        BEV_EVENT_ERROR | (which == LEV_FILTER_IN ? BEV_EVENT_READING : BEV_EVENT_WRITING),
        BEV_TRIG_DEFER_CALLBACKS);
    return BEV_ERROR;
}

static void lev_filter_got_room(struct lev_filter *f)
{
    if (f->cramped)
        lev_filter_retry(f, LEV_FILTER_IN);
    f->cramped = 0;
}

/* It needs more than what it stands on may hold. */
static void lev_filter_make_room(struct lev_filter *f)
{
    struct bufferevent *bev = f->bev.below->bev;
    size_t high = bev->wm_read.high;

    if (high > 0 && evbuffer_get_length(bufferevent_get_input(bev)) >= high)
        bufferevent_setwatermark(bev, EV_READ, bev->wm_read.low, 2 * high);
}

/* It may need more room than there is; libevent looks again at the first change only (bufferevent_filter.c). */
static void lev_filter_await_room(struct lev_filter *f)
{
    f->cramped = 1;
    lev_bev_hear_drains(&f->bev);
}

static int lev_filter_call(
    struct lev_filter *f, int which, struct evbuffer *source, struct evbuffer *target, int64_t limit, int mode)
{
    struct lev_base *l = f->bev.child.base;
    struct lev_buffer *parts = f->parts + 2 * which;
    int64_t token = f->bev.child.token, outer = l->current;
    int answer;

    lev_buffer_open(&parts[0], source, l, 0, parts[0].token);
    lev_buffer_open(&parts[1], target, l, 0, parts[1].token);
    f->runs[which] = 1;
    f->stirred = 0;
    l->current = 0;
    LEV_INSIST(l, answer, lev_py_filter(token, which, limit, mode, l->slot));
    l->current = outer;
    f->runs[which] = 0;
    if (!l->forked) {
        lev_buffer_detach(&parts[0]);
        lev_buffer_detach(&parts[1]);
        if (l->looping)
            lev_after_callback(l);
    }
    return answer;
}

static enum bufferevent_filter_result lev_filter_run(struct lev_filter_context *context, int which,
    struct evbuffer *source, struct evbuffer *target, ev_ssize_t limit, int mode)
{
    struct lev_filter *f = context->filter;
    size_t before[2] = {evbuffer_get_length(source), evbuffer_get_length(target)};
    int answer, moved;

    if (f == NULL || f->failed[which] || lev_filter_is_over(f))
        return BEV_ERROR;
    if (f->runs[which])
        return BEV_NEED_MORE;           /* the call that is going on goes on with what there is */
    if (f->bev.child.base->check_due && lev_filter_may_run(f->bev.child.base))
        lev_run_check(f->bev.child.base);
    if (!lev_filter_may_run(f->bev.child.base)) {
        lev_filter_retry(f, which);
        return BEV_NEED_MORE;
    }
    answer = lev_filter_call(f, which, source, target, limit < 0 ? -1 : (int64_t)limit, mode);
    if (f->bev.child.base->forked)
        return BEV_ERROR;
    moved = evbuffer_get_length(source) != before[0] || evbuffer_get_length(target) != before[1] || f->stirred;
    if (answer == LEV_UNDELIVERED) {
        lev_filter_retry(f, which);
        return BEV_NEED_MORE;
    }
    if (which == LEV_FILTER_IN && !moved) {
        lev_filter_make_room(f);
        if (limit >= 0)
            lev_filter_await_room(f);
    }
    if (answer == LEV_RAISED || answer == LEV_STALE || answer == LEV_FILTER_ANSWER + BEV_ERROR)
        return lev_filter_fail(f, which);
    /* An OK that moved nothing would be called again for ever (bufferevent_filter.c:be_filter_process_input). */
    return moved && answer != LEV_FILTER_ANSWER + BEV_NEED_MORE ? BEV_OK : BEV_NEED_MORE;
}

static enum bufferevent_filter_result lev_filter_in(struct evbuffer *source, struct evbuffer *target,
    ev_ssize_t limit, enum bufferevent_flush_mode mode, void *context)
{
    return lev_filter_run(context, LEV_FILTER_IN, source, target, limit, (int)mode);
}

static enum bufferevent_filter_result lev_filter_out(struct evbuffer *source, struct evbuffer *target,
    ev_ssize_t limit, enum bufferevent_flush_mode mode, void *context)
{
    return lev_filter_run(context, LEV_FILTER_OUT, source, target, limit, (int)mode);
}

static void lev_filter_free_context(void *context)
{
    lev_free(context);
}

/* -- as a bufferevent -------------------------------------------------------------------------------------- */

/*
 * While the input of what it stands on is full, libevent would look at it again and again
 * (bufferevent.c:bufferevent_inbuf_wm_check), whether or not the filter can take any.  So its callbacks go
 * through ours.
 */
static void lev_filter_on_read(struct bufferevent *bev, void *arg)
{
    struct lev_filter *f = arg;
    struct lev_bev *below = f->bev.below;

    lev_bev_listen_for_drains(below);
    f->read(bev, f->arg);
    if (f->bev.below != below || below->child.base->forked)
        return;
    lev_bev_stall(below);
    if (below->stalled)
        lev_filter_await_room(f);
}

static void lev_filter_on_write(struct bufferevent *bev, void *arg)
{
    struct lev_filter *f = arg;

    f->write(bev, f->arg);
    if (!f->bev.child.base->forked && !f->bev.child.base->silent)
        lev_bev_go_on(lev_bev_top(&f->bev));
}

static void lev_filter_on_event(struct bufferevent *bev, short what, void *arg)
{
    struct lev_filter *f = arg;

    f->event(bev, what, f->arg);
}

static void lev_filter_hear(struct lev_filter *f)
{
    struct lev_bev *below = f->bev.below;

    if (below != NULL)
        bufferevent_setcb(below->bev, below->stalled ? NULL : lev_filter_on_read, lev_filter_on_write,
            lev_filter_on_event, f);
}

#define LEV_FILTER_MARK (64 * 1024)

/*
 * libevent stops neither way by itself: what the other side does not read piles up below, with on_write told all the
 * while, and so does what has come and the filter has no room for.
 */
static void lev_filter_set_marks(struct lev_bev *below)
{
    if (below->bev->wm_write.high == 0)
        bufferevent_setwatermark(below->bev, EV_WRITE, LEV_FILTER_MARK, 2 * LEV_FILTER_MARK);
    /* What its user waited for at least is no matter of a filter's. */
    bufferevent_setwatermark(
        below->bev, EV_READ, 0, below->bev->wm_read.high > 0 ? below->bev->wm_read.high : 2 * LEV_FILTER_MARK);
}

/* A pair passes on at once what is added to its output, so that its length does not show it. */
static void lev_on_filter_output(struct evbuffer *output, const struct evbuffer_cb_info *info, void *arg)
{
    struct lev_filter *f = arg;

    (void)output;
    if (info->n_added > 0)
        f->stirred = 1;
}

/* Before what it stands on is forgotten. */
static void lev_filter_unhear(struct lev_bev *s)
{
    if (s->filter == NULL || s->below == NULL)
        return;
    bufferevent_setcb(s->below->bev, NULL, NULL, NULL, NULL);
    evbuffer_remove_cb(bufferevent_get_output(s->below->bev), lev_on_filter_output, s->filter);
}

static void lev_filter_end(struct lev_filter *f)
{
    int i;

    f->context->filter = NULL;
    for (i = 0; i < 4; i++)
        lev_buffer_detach(&f->parts[i]);
}

/* It was off: what came or was written meanwhile is looked at in the loop. */
static void lev_filter_resume(struct lev_filter *f, short events)
{
    if ((events & EV_WRITE) && evbuffer_get_length(bufferevent_get_output(f->bev.bev)) > 0)
        lev_filter_retry(f, LEV_FILTER_OUT);
    if ((events & EV_READ) && evbuffer_get_length(bufferevent_get_input(f->bev.below->bev)) > 0)
        lev_filter_retry(f, LEV_FILTER_IN);
}

/* Run one to the end of what there is.  0: it could not run now. */
static int lev_filter_finish(struct lev_filter *f, int which)
{
    struct evbuffer *source, *target;
    enum bufferevent_filter_result result = BEV_OK;

    if (which == LEV_FILTER_IN) {
        source = bufferevent_get_input(f->bev.below->bev);
        target = bufferevent_get_input(f->bev.bev);
    } else {
        source = bufferevent_get_output(f->bev.bev);
        target = bufferevent_get_output(f->bev.below->bev);
    }
    if (!f->has[which]) {
        evbuffer_add_buffer(target, source);
        return 1;
    }
    f->skipped = 0;
    do
        result = lev_filter_run(f->context, which, source, target, -1, BEV_FINISHED);
    while (result == BEV_OK && !f->bev.child.base->forked && evbuffer_get_length(source) > 0);
    return !f->skipped;
}

/* Tell filters from the bottom up that nothing more will come, which libevent does not.  1: there is more to read. */
static int lev_filter_finish_input(struct lev_bev *s)
{
    size_t before = evbuffer_get_length(bufferevent_get_input(s->bev));

    if (s->below->below != NULL)
        lev_filter_finish_input(s->below);
    if (s->filter == NULL || s->child.base->forked)
        return 0;
    lev_filter_finish(s->filter, LEV_FILTER_IN);
    return !s->child.base->forked && evbuffer_get_length(bufferevent_get_input(s->bev)) > before;
}

/* -- Python's calls ---------------------------------------------------------------------------------------- */

static struct lev_buffer *lev_filter_part(struct lev_filter *f, int number)
{
    return &f->parts[number];
}

static struct bufferevent *lev_filter_new(struct lev_filter *f, struct lev_bev *below, int has_in, int has_out)
{
    struct bufferevent *bev;

    if (evbuffer_add_cb(bufferevent_get_output(below->bev), lev_on_filter_output, f) == NULL)
        return NULL;
    bev = bufferevent_filter_new(below->bev, has_in ? lev_filter_in : NULL, has_out ? lev_filter_out : NULL,
        BEV_OPT_DEFER_CALLBACKS, lev_filter_free_context, f->context);
    if (bev == NULL)
        evbuffer_remove_cb(bufferevent_get_output(below->bev), lev_on_filter_output, f);
    return bev;
}

/* Stand on another one, which is taken over; has_ says which filters there are. */
static int lev_filter_open(
    struct lev_filter *f, struct lev_bev *below, int has_in, int has_out, int enabled, int wants)
{
    struct lev_base *l = below->child.base;
    struct bufferevent *bev = NULL;
    int result = 0, entered = lev_bev_enter(below);

    if (entered < 0)
        return entered;
    if (below->is_borrowed == LEV_BEV_SHOWN)
        result = LEV_BEV_OWNED;
    else if (below->connecting || !below->is_open || !lev_bev_bottom(below)->is_open)
        result = LEV_BEV_NOT_OPEN;
    else if (below->ending_output || (below->ended & EV_WRITE))
        result = LEV_BEV_ENDED;
    else if ((f->context = lev_calloc(1, sizeof(*f->context))) != NULL)
        bev = lev_filter_new(f, below, has_in, has_out);
    if (bev != NULL) {
        f->context->filter = f;
        f->has[LEV_FILTER_IN] = has_in;
        f->has[LEV_FILTER_OUT] = has_out;
        lev_bev_detach_buffers(below);
        f->bev.filter = f;
        f->bev.below = below;
        below->above = &f->bev;
        below->child.held = 0;
        bufferevent_getcb(below->bev, &f->read, &f->write, &f->event, &f->arg);
        lev_filter_hear(f);
        lev_filter_set_marks(below);
        lev_bev_begin(&f->bev, l, bev, LEV_BEV_FILTER, wants);
        result = lev_bev_set_enabled(&f->bev, enabled);
        lev_filter_resume(f, EV_READ);
    } else if (result == 0) {
        lev_free(f->context);
        f->context = NULL;
        errno = ENOMEM;
        result = LEV_ERRNO;
    }
    lev_leave(l, entered);
    return result;
}

/*
 * Let filters run inside of a call of Python's that is outside of a loop; the base is taken for its length.  1:
 * lev_road_end() has to give it back, and slot is where Python keeps the table; 0: there is a way already.
 */
static int lev_road_begin(struct lev_base *l)
{
    return lev_enter(l);
}

static void lev_road_use(struct lev_base *l, int slot)
{
    l->slot = slot;
    l->broken = 0;
    l->road = 1;
}

static void lev_road_end(struct lev_base *l)
{
    l->road = 0;
    lev_leave(l, 1);
}
