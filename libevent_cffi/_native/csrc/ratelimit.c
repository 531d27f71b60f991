/*
 * Rate limits: of one bufferevent, and groups that share one.
 *
 * A group's timer goes on for as long as the group is there (bufferevent_ratelim.c), and would keep every loop
 * going.  So it is made an internal event, and one of ours stands for it while a member waits for something.
 */

struct lev_group {
    struct lev_child child;
    struct bufferevent_rate_limit_group *group;
    struct lev_bev *members;
    struct event keep;                  /* pending: the loop does not end */
    struct event look;                  /* is it still to be? */
};

struct lev_rate {                       /* bytes per tick */
    size_t read, read_burst, write, write_burst;
    double tick;                        /* seconds */
};

static void lev_rate_set(struct lev_rate *rate, size_t read, size_t read_burst, size_t write, size_t write_burst,
    double tick)
{
    struct lev_rate made = {read, read_burst, write, write_burst, tick};

    *rate = made;
}

static struct ev_token_bucket_cfg *lev_rate_make(const struct lev_rate *rate)
{
    struct timeval tv;

    lev_to_timeval(rate->tick, &tv);
    return ev_token_bucket_cfg_new(rate->read, rate->read_burst, rate->write, rate->write_burst, &tv);
}

/* -- one bufferevent --------------------------------------------------------------------------------------- */

static void lev_group_settle(struct lev_group *g);

static void lev_group_leave(struct lev_bev *s)
{
    struct lev_group *g = s->group;

    if (g == NULL)
        return;
    bufferevent_remove_from_rate_limit_group(s->bev);
    *s->before_member = s->next_member;
    if (s->next_member != NULL)
        s->next_member->before_member = s->before_member;
    s->group = NULL;
    lev_group_settle(g);
}

/* Before it is freed: it may live on for a while, its limit and its group need not. */
static void lev_bev_lift_limits(struct lev_bev *s)
{
    lev_group_leave(s);
    if (s->limit == NULL)
        return;
    bufferevent_set_rate_limit(s->bev, NULL);
    ev_token_bucket_cfg_free(s->limit);
    s->limit = NULL;
}

/* 1: entered one that has a limit of the kind; the bottom of its stack, which is what libevent limits. */
static int lev_limit_enter(struct lev_bev *s, struct lev_bev **bottom)
{
    int entered = lev_bev_enter(s);

    if (entered < 0)
        return entered;
    *bottom = lev_bev_bottom(s);
    if ((*bottom)->kind == LEV_BEV_PAIR) {
        lev_leave(s->child.base, entered);
        return LEV_BEV_NO_LIMIT;
    }
    return entered;
}

/* What TLS reads and writes at once is a record of up to 16 KiB. */
static int lev_rate_fits_tls(const struct lev_rate *rate)
{
    return rate->read_burst > 16384 && rate->write_burst > 16384;
}

/* NULL lifts it. */
static int lev_bev_set_limit(struct lev_bev *s, const struct lev_rate *rate)
{
    struct ev_token_bucket_cfg *limit = NULL;
    struct lev_bev *bottom;
    int result = 0, entered = lev_limit_enter(s, &bottom);

    if (entered < 0)
        return entered;
    if (rate != NULL && bottom->tls != NULL && !lev_rate_fits_tls(rate))
        result = LEV_BEV_SMALL_BURST;
    else if (rate != NULL && (limit = lev_rate_make(rate)) == NULL) {
        errno = ENOMEM;
        result = LEV_ERRNO;
    } else if (bufferevent_set_rate_limit(bottom->bev, limit) != 0) {
        ev_token_bucket_cfg_free(limit);
        errno = ENOMEM;
        result = LEV_ERRNO;
    } else {
        if (bottom->limit != NULL)
            ev_token_bucket_cfg_free(bottom->limit);
        bottom->limit = limit;
        if (limit != NULL)
            bottom->output.sends_files = 0;     /* sendfile() would pay no heed (buffer.c:evbuffer_write_sendfile) */
    }
    lev_leave(s->child.base, entered);
    return result;
}

static int lev_bev_has_limit(struct lev_bev *s)
{
    int result, entered = lev_child_enter(&s->child);

    if (entered < 0)
        return entered;
    result = bufferevent_get_token_bucket_cfg(lev_bev_bottom(s)->bev) != NULL;
    lev_leave(s->child.base, entered);
    return result;
}

/* What may be read or written now; in *room. */
static int lev_bev_room(struct lev_bev *s, int is_write, int64_t *room)
{
    struct bufferevent *bev;
    int entered = lev_child_enter(&s->child);

    if (entered < 0)
        return entered;
    bev = lev_bev_bottom(s)->bev;
    if (lev_bev_bottom(s)->limit != NULL)
        *room = is_write ? bufferevent_get_write_limit(bev) : bufferevent_get_read_limit(bev);
    else
        *room = is_write ? bufferevent_get_max_to_write(bev) : bufferevent_get_max_to_read(bev);
    lev_leave(s->child.base, entered);
    return 0;
}

static int lev_bev_take_room(struct lev_bev *s, int is_write, int64_t size)
{
    struct lev_bev *bottom;
    int result = 0, entered = lev_limit_enter(s, &bottom);

    if (entered < 0)
        return entered;
    if (bottom->limit == NULL)
        result = LEV_BEV_NO_LIMIT;      /* libevent would end the process */
    else if (is_write)
        bufferevent_decrement_write_limit(bottom->bev, (ev_ssize_t)size);
    else
        bufferevent_decrement_read_limit(bottom->bev, (ev_ssize_t)size);
    lev_leave(s->child.base, entered);
    return result;
}

/* -- groups ------------------------------------------------------------------------------------------------ */

/* A connection of a server waits for its client, or its client for it; libevent tells nobody which. */
static int lev_group_is_awaited(struct lev_group *g)
{
    struct lev_bev *member;

    for (member = g->members; member != NULL; member = member->next_member)
        if (member->carrier != NULL || lev_bev_is_armed(&lev_bev_top(member)->child))
            return 1;
    return 0;
}

static void lev_group_look_again(struct lev_group *g)
{
    struct timeval tv = {0, 100000};

    event_add(&g->keep, NULL);
    event_add(&g->look, &tv);
}

/* A member at the bottom of a stack waits for something again. */
static void lev_group_keep(struct lev_bev *s)
{
    if (s->group != NULL && !event_pending(&s->group->keep, EV_READ, NULL))
        lev_group_look_again(s->group);
}

/* Does no member wait any more?  Then the loop is not to wait for one either. */
static void lev_group_settle(struct lev_group *g)
{
    if (!event_pending(&g->keep, EV_READ, NULL) || lev_group_is_awaited(g))
        return;
    event_del(&g->keep);
    event_del(&g->look);
}

/* A member at the bottom of a stack waits for nothing any more. */
static void lev_group_let_go(struct lev_bev *s)
{
    if (s->group != NULL)
        lev_group_settle(s->group);
}

static void lev_on_group_look(evutil_socket_t fd, short what, void *arg)
{
    struct lev_group *g = arg;

    (void)fd;
    (void)what;
    if (lev_group_is_awaited(g))
        lev_group_look_again(g);
    else
        event_del(&g->keep);
}

static void lev_on_group_keep(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
}

static void lev_group_end(struct lev_child *c)
{
    struct lev_group *g = (struct lev_group *)c;

    while (g->members != NULL)
        lev_group_leave(g->members);
    event_del(&g->keep);
    event_debug_unassign(&g->keep);
    event_del(&g->look);
    event_debug_unassign(&g->look);
    bufferevent_rate_limit_group_free(g->group);
    g->group = NULL;
}

static int lev_group_is_armed(struct lev_child *c)
{
    (void)c;
    return 0;                           /* its members keep it, and it makes nothing happen by itself */
}

static void lev_group_deliver_again(struct lev_child *c)
{
    (void)c;
}

static const struct lev_kind lev_group_kind = {
    lev_group_end, lev_group_is_armed, lev_group_deliver_again, 0};

static int lev_is_event_of_group(const struct event_base *eb, const struct event *ev, void *arg)
{
    struct bufferevent_rate_limit_group **group = arg;

    (void)eb;
    if (event_get_callback_arg(ev) != *group)
        return 0;
    *(const struct event **)arg = ev;
    return 1;
}

/* Its timer must not keep the loop going. */
static void lev_group_hide_timer(struct lev_base *l, struct lev_group *g, double tick)
{
    void *found = g->group;
    struct event *timer;
    struct timeval tv;

    if (event_base_foreach_event(l->eb, lev_is_event_of_group, &found) != 1)
        return;
    timer = found;
    event_del(timer);
    timer->ev_evcallback.evcb_flags |= EVLIST_INTERNAL;
    lev_to_timeval(tick, &tv);
    event_add(timer, &tv);
}

/* A share of no bytes is read, and what reads nothing is taken for an end (bufferevent_sock.c:bufferevent_readcb). */
static int lev_group_share(struct lev_group *g, size_t share)
{
    return bufferevent_rate_limit_group_set_min_share(g->group, share > 0 ? share : 1);
}

static int lev_group_open(struct lev_group *g, struct lev_base *l, const struct lev_rate *rate, size_t min_share)
{
    struct ev_token_bucket_cfg *limit;
    int result = LEV_ERRNO, entered = lev_enter(l);

    if (entered < 0)
        return entered;
    limit = lev_rate_make(rate);
    if (limit != NULL)
        g->group = bufferevent_rate_limit_group_new(l->eb, limit);
    if (g->group != NULL) {
        lev_group_share(g, min_share);
        event_assign(&g->keep, l->eb, -1, EV_READ | EV_PERSIST, lev_on_group_keep, g);
        lev_assign_internal(l, &g->look, -1, 0, lev_on_group_look, 0);
        g->look.ev_evcallback.evcb_arg = g;
        lev_group_hide_timer(l, g, rate->tick);
        lev_child_begin(&g->child, l, &lev_group_kind);
        result = 0;
    } else
        errno = ENOMEM;
    if (limit != NULL)
        ev_token_bucket_cfg_free(limit);        /* it was copied */
    lev_leave(l, entered);
    return result;
}

static int lev_group_set_limit(struct lev_group *g, const struct lev_rate *rate)
{
    struct ev_token_bucket_cfg *limit;
    int result = LEV_ERRNO, entered = lev_child_enter(&g->child);

    if (entered < 0)
        return entered;
    limit = lev_rate_make(rate);
    errno = ENOMEM;
    if (limit != NULL) {
        result = bufferevent_rate_limit_group_set_cfg(g->group, limit) == 0 ? 0 : LEV_ERRNO;
        ev_token_bucket_cfg_free(limit);
    }
    lev_leave(g->child.base, entered);
    return result;
}

static int lev_group_set_min_share(struct lev_group *g, size_t share)
{
    int result, entered = lev_child_enter(&g->child);

    if (entered < 0)
        return entered;
    result = lev_group_share(g, share) == 0 ? 0 : LEV_ERRNO;
    lev_leave(g->child.base, entered);
    return result;
}

static int lev_group_add(struct lev_group *g, struct lev_bev *s)
{
    struct lev_bev *bottom;
    int result = 0, entered = lev_child_enter(&g->child), inner;

    if (entered < 0)
        return entered;
    inner = lev_limit_enter(s, &bottom);
    if (inner < 0)
        result = inner;
    else if (bottom->child.base != g->child.base)
        result = LEV_BEV_NO_SOCKET;
    else if (bottom->group != g) {
        lev_group_leave(bottom);
        if (bufferevent_add_to_rate_limit_group(bottom->bev, g->group) != 0) {
            errno = ENOMEM;
            result = LEV_ERRNO;
        } else {
            bottom->group = g;
            bottom->next_member = g->members;
            if (g->members != NULL)
                g->members->before_member = &bottom->next_member;
            bottom->before_member = &g->members;
            g->members = bottom;
            bottom->output.sends_files = 0;
            lev_group_keep(bottom);
        }
    }
    if (inner >= 0)
        lev_leave(s->child.base, inner);
    lev_leave(g->child.base, entered);
    return result;
}

static int lev_group_remove(struct lev_group *g, struct lev_bev *s)
{
    int result = 0, entered = lev_bev_enter(s);
    struct lev_bev *bottom;

    if (entered < 0)
        return entered;
    bottom = lev_bev_bottom(s);
    if (bottom->group == g)
        lev_group_leave(bottom);
    else
        result = LEV_BEV_NO_LIMIT;
    lev_leave(s->child.base, entered);
    return result;
}

/* What may be read or written in this tick; in *room. */
static int lev_group_room(struct lev_group *g, int is_write, int64_t *room)
{
    int entered = lev_child_enter(&g->child);

    if (entered < 0)
        return entered;
    *room = is_write ? bufferevent_rate_limit_group_get_write_limit(g->group)
                     : bufferevent_rate_limit_group_get_read_limit(g->group);
    lev_leave(g->child.base, entered);
    return 0;
}

static int lev_group_take_room(struct lev_group *g, int is_write, int64_t size)
{
    int entered = lev_child_enter(&g->child);

    if (entered < 0)
        return entered;
    if (is_write)
        bufferevent_rate_limit_group_decrement_write(g->group, (ev_ssize_t)size);
    else
        bufferevent_rate_limit_group_decrement_read(g->group, (ev_ssize_t)size);
    lev_leave(g->child.base, entered);
    return 0;
}

static int lev_group_totals(struct lev_group *g, uint64_t totals[2], int reset)
{
    ev_uint64_t read, written;
    int entered = lev_child_enter(&g->child);

    if (entered < 0)
        return entered;
    bufferevent_rate_limit_group_get_totals(g->group, &read, &written);
    totals[0] = read;
    totals[1] = written;
    if (reset)
        bufferevent_rate_limit_group_reset_totals(g->group);
    lev_leave(g->child.base, entered);
    return 0;
}
