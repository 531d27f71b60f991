/* Children of a base: made, held while they are armed, called, closed and ended.  See children.h. */

/* -- memory ---------------------------------------------------------------------------------------------- */

/* For ffi.new_allocator(): zeroes, so that a child is safe to drop before it was begun. */
static void *lev_child_alloc(size_t size)
{
    struct lev_child *c = lev_calloc(1, size);

    if (c != NULL)
        c->refs = 1;
    return c;
}

static void lev_child_unref(struct lev_child *c)
{
    if (--c->refs == 0)
        lev_free(c);
}

/*
 * Python's handle is gone, on whatever thread: the base ends the child when it comes to it.  At once when
 * nobody is in the base and this is the thread that uses it, so that no other one finds it taken.  Another
 * thread may be dropping the base meanwhile: it waits for those who are "dropping".
 */
static void lev_child_drop(void *memory)
{
    struct lev_child *c = memory;
    struct lev_base *l, *idle = NULL;

    lev_children_lock();
    l = c->base;
    if (l != NULL && !c->is_dropped) {
        c->closed = c->is_dropped = 1;
        c->dropped = l->dropped;
        l->dropped = c;
        LEV_STORE(&l->has_dropped, 1);
        if (LEV_LOAD(&l->running) && LEV_RELAXED(&l->owner) != LEV_ME)
            lev_wake(l);
        if (LEV_RELAXED(&l->owner) == 0 && l->home == LEV_ME && l->fork_count == LEV_RELAXED(&lev_forks)) {
            idle = l;
            idle->dropping++;
        }
    }
    lev_child_unref(c);
    lev_children_unlock();
    if (idle != NULL) {
        int entered = lev_enter(idle);
        if (entered >= 0)
            lev_leave(idle, entered);
        lev_children_lock();
        idle->dropping--;
        lev_children_unlock();
    }
}

/*
 * Take a base that Python has dropped, so that nobody else ends its children.  0 when a thread is inside that
 * will not come out: another one's loop went on, or it is not in this process.
 */
static int lev_take_dropped(struct lev_base *l)
{
    long nobody = 0;
    int taken;

    lev_children_lock();
    while (l->dropping > 0) {
        lev_children_unlock();
        lev_yield();
        lev_children_lock();
    }
    taken = !l->running && (LEV_RELAXED(&l->owner) == LEV_ME || LEV_CAS(&l->owner, &nobody, LEV_ME));
    lev_children_unlock();
    return taken;
}

/* -- beginning and ending -------------------------------------------------------------------------------- */

/* Put it on its base, whose thread is inside. */
static void lev_child_begin(struct lev_child *c, struct lev_base *l, const struct lev_kind *kind)
{
    lev_children_lock();
    c->kind = kind;
    c->base = l;
    c->token = ++l->child_uses;
    c->refs++;
    c->next = l->children;
    if (c->next != NULL)
        c->next->before = c;
    l->children = c;
    lev_children_unlock();
    LEV_ADD(&lev_live_objects, 1);
}

/* Take it off its base; the memory may be gone afterwards. */
static void lev_child_unlink(struct lev_child *c)
{
    struct lev_base *l = c->base;
    struct lev_child **at;

    lev_children_lock();
    if (c->before != NULL)
        c->before->next = c->next;
    else
        l->children = c->next;
    if (c->next != NULL)
        c->next->before = c->before;
    c->next = c->before = NULL;
    if (c->is_waiting)
        l->waiting--;
    if (c->is_dropped)
        for (at = &l->dropped; *at != NULL; at = &(*at)->dropped)
            if (*at == c) {
                *at = c->dropped;
                break;
            }
    if (c->is_ending)
        for (at = &l->ending; *at != NULL; at = &(*at)->ending)
            if (*at == c) {
                *at = c->ending;
                break;
            }
    c->base = NULL;
    lev_child_unref(c);
    lev_children_unlock();
    LEV_ADD(&lev_live_objects, -1);
}

static void lev_todo_forget(struct lev_base *l, struct lev_child *c)
{
    int i;

    for (i = 0; i < l->todo_count && c->todo; i++)
        if (l->todo[i] == -(int64_t)(intptr_t)c) {
            l->todo[i] = 0;
            c->todo = 0;
        }
}

static void lev_child_end(struct lev_child *c)
{
    struct lev_base *l = c->base;

    c->closed = 1;
    c->kind->end(c);
    if (c->todo)
        lev_todo_forget(l, c);
    lev_child_unlink(c);
}

/* The next one that was closed or dropped, taken off its list; NULL when there is none. */
static struct lev_child *lev_next_to_end(struct lev_base *l)
{
    struct lev_child *c;

    lev_children_lock();
    c = l->ending != NULL ? l->ending : l->dropped;
    if (c == NULL)
        LEV_STORE(&l->has_dropped, 0);
    else if (c == l->ending) {
        l->ending = c->ending;
        c->is_ending = 0;
    } else {
        l->dropped = c->dropped;
        c->is_dropped = 0;
    }
    lev_children_unlock();
    return c;
}

static int lev_has_to_reap(struct lev_base *l)
{
    return l->ending != NULL || LEV_RELAXED(&l->has_dropped);
}

static int lev_is_quiet(struct lev_base *l)
{
    return event_base_get_num_events(l->eb, EVENT_BASE_COUNT_ACTIVE) == 0;
}

/* End those that waited and are ready; see to it that this is called again for the others. */
static void lev_end_waiting(struct lev_base *l)
{
    struct timeval soon = {0, 1000};
    struct lev_child *c;

    if (l->silent)
        return;                         /* lev_tear_down() ends them, and one of them runs the loop for that */
    for (c = l->children; l->waiting > 0 && c != NULL;) {
        int ends = c->is_waiting && c->kind->is_ready(c);
        struct lev_child *next = c->next;
        if (ends)
            lev_child_end(c);
        c = ends ? l->children : next;  /* ending one may end others */
    }
    if (l->waiting > 0)
        event_add(&l->late, &soon);
}

static void lev_on_late(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    lev_bev_apply_priorities(arg);
    lev_end_waiting(arg);
}

static void lev_reap(struct lev_base *l)
{
    struct lev_child *c;

    if (l->forked || l->silent || l->fork_count != LEV_RELAXED(&lev_forks))
        return;                         /* what it would free is the parent's still, or lev_tear_down()'s */
    while ((c = lev_next_to_end(l)) != NULL) {
        if (c->kind->is_ready == NULL)
            lev_child_end(c);
        else if (!c->is_waiting) {
            c->is_waiting = 1;
            l->waiting++;
        }
    }
    lev_end_waiting(l);
}

static void lev_renew_children(struct lev_base *l)
{
    struct lev_child *c;

    for (c = l->children; c != NULL; c = c->next)
        if (c->kind->renew != NULL && !c->is_waiting)
            c->kind->renew(c);
}

static void lev_on_reap(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    lev_reap(arg);
}

static void lev_reap_soon(struct lev_base *l)
{
    if (!l->forked && lev_has_to_reap(l))
        event_active(&l->reap, EV_TIMEOUT, 1);
}

/* All of them, the newest first: those made on top of others go before them. */
static void lev_end_children(struct lev_base *l, int late)
{
    struct lev_child *c = l->children;

    while (c != NULL) {
        if (c->kind->is_late != late) {
            c = c->next;
            continue;
        }
        lev_child_end(c);
        c = l->children;                /* ending one may end others */
    }
}

/* The base cannot be freed: what libevent has of them is lost, what we have is not. */
static void lev_abandon_children(struct lev_base *l)
{
    while (l->children != NULL) {
        l->children->closed = 1;
        lev_child_unlink(l->children);
    }
}

/* -- Python's calls -------------------------------------------------------------------------------------- */

/* As lev_enter(), for the base of a child that is open. */
static int lev_child_enter(struct lev_child *c)
{
    struct lev_base *l = c->base;
    int entered = l != NULL ? lev_enter(l) : LEV_CLOSED;

    if (entered >= 0 && (c->closed || c->base == NULL)) {
        lev_leave(l, entered);
        return LEV_CLOSED;
    }
    return entered;
}

/* Nothing of it reaches Python from here on; it is ended when nobody can be using it. */
static int lev_child_close(struct lev_child *c)
{
    struct lev_base *l = c->base;
    int entered = lev_child_enter(c);

    if (entered < 0)
        return entered == LEV_CLOSED || entered == LEV_FORKED ? 0 : entered;
    c->closed = 1;
    c->held = 0;
    if (c->kind->stop != NULL)
        c->kind->stop(c);
    lev_children_lock();
    c->is_ending = 1;
    c->ending = l->ending;
    l->ending = c;
    lev_children_unlock();
    if (l->looping)
        lev_reap_soon(l);
    lev_leave(l, entered);
    return 0;
}

static int lev_child_is_open(struct lev_child *c)
{
    struct lev_base *l = c->base;

    return l != NULL && !c->closed && !l->closed && !l->forked;
}

static int64_t lev_child_token(struct lev_child *c)
{
    return c->token;
}

/* Is it armed?  Then it is to stand in Python's table, under its token; the answer is kept as "held". */
static int lev_child_hold(struct lev_child *c)
{
    int armed, entered = lev_child_enter(c);

    if (entered < 0)
        return entered;
    armed = c->held = c->kind->is_armed(c) != 0;
    lev_leave(c->base, entered);
    return armed;
}

/* -- calling Python -------------------------------------------------------------------------------------- */

/* May a callback of it run now?  The check watchers come first, and may close it. */
static int lev_child_may_call(struct lev_child *c)
{
    struct lev_base *l = c->base;

    if (c->closed || l->closed || !l->looping || l->silent || LEV_NO_PYTHON())
        return 0;
    if (l->check_due)
        lev_run_check(l);
    return !c->closed && !l->closed && !l->forked;
}

static int lev_child_has_to_wait(struct lev_child *c)
{
    return lev_has_to_wait(c->base);
}

/* Have deliver_again() called by the next loop.  0; or LEV_ERRNO: there is no memory to remember it. */
static int lev_child_remember(struct lev_child *c)
{
    if (c->todo)
        return 0;
    if (lev_todo_put(c->base, -(int64_t)(intptr_t)c) != 0)
        return LEV_ERRNO;
    c->todo = 1;
    return 0;
}

/* Run one of Python's functions for it, as lev_deliver_once() does for an event. */
static int lev_child_call(struct lev_child *c, int (*call)(struct lev_child *c, void *arg), void *arg)
{
    struct lev_base *l = c->base;
    int64_t outer = l->current;
    int answer;

    l->current = 0;
    LEV_INSIST(l, answer, call(c, arg));
    l->current = outer;
    return answer;
}

/* After a callback of it: Python's table lets go of one that waits for nothing any more. */
static void lev_child_after_callback(struct lev_child *c)
{
    struct lev_base *l = c->base;

    if (l->forked)
        return;
    if (c->held && !c->closed && !c->kind->is_armed(c) && lev_py_let_go(c->token, l->slot) == LEV_DONE)
        c->held = 0;
    lev_after_callback(l);
}

static void lev_child_deliver_again(struct lev_child *c)
{
    c->todo = 0;
    if (c->closed)
        return;
    c->base->redelivered++;
    c->kind->deliver_again(c);
}
