/* HTTP servers: the addresses that they listen on. */

static void lev_bound_apply(struct lev_bound *b)
{
    if (b->bound == NULL)
        return;
    if (b->enabled && !event_pending(&b->again, EV_TIMEOUT, NULL))
        evconnlistener_enable(b->listener);
    else
        evconnlistener_disable(b->listener);
}

static void lev_on_bound_again(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    lev_bound_apply(arg);
}

/* Accepting failed: libevent would try again at once, and for as long as it takes (listener.c). */
static void lev_on_bound_error(struct evconnlistener *listener, void *arg)
{
    struct timeval tv = {LEV_ACCEPT_PAUSE, 0};
    struct lev_bound *b;
    char text[LEV_LOG_TEXT];

    (void)arg;
    evutil_snprintf(text, sizeof(text), "no connection could be accepted: %s",
        evutil_socket_error_to_string(EVUTIL_SOCKET_ERROR()));
    lev_log_put(EVENT_LOG_WARN, LEV_LOG_LIBEVENT, text);
    lev_children_lock();
    for (b = lev_bounds; b != NULL && b->listener != listener; b = b->next_of_all)
        continue;
    lev_children_unlock();
    if (b == NULL)
        return;
    event_add(&b->again, &tv);
    lev_bound_apply(b);
}

static void lev_bound_list(struct lev_bound *b, int in)
{
    struct lev_bound **at;

    lev_children_lock();
    for (at = &lev_bounds; *at != NULL && *at != b; at = &(*at)->next_of_all)
        continue;
    if (in) {
        b->next_of_all = lev_bounds;
        lev_bounds = b;
    } else if (*at == b)
        *at = b->next_of_all;
    lev_children_unlock();
}

static void lev_bound_end(struct lev_child *child)
{
    struct lev_bound *b = (struct lev_bound *)child;

    if (b->bound == NULL)
        return;
    event_del(&b->again);
    event_debug_unassign(&b->again);
    lev_bound_list(b, 0);
    evhttp_del_accept_socket(b->server->http, b->bound);
    b->server->bound_count--;
    b->bound = NULL;
    b->server = NULL;
    lev_unlink_path(b->path, b->device, b->inode, b->forks);
    b->path = NULL;
}

static int lev_is_never_armed(struct lev_child *child)
{
    (void)child;
    return 0;                           /* its server has it */
}

static void lev_nothing_again(struct lev_child *child)
{
    (void)child;
}

static const struct lev_kind lev_bound_kind = {lev_bound_end, lev_is_never_armed, lev_nothing_again, 0};

/* Listen with fd, which does not block; path is removed at the end when it is still this one. */
static int lev_bound_open(struct lev_bound *b, struct lev_http *h, int fd, const char *path, uint64_t device,
    uint64_t inode, const struct lev_tls_ops *tls, void *context)
{
    struct lev_base *l = h->child.base;
    int result = LEV_ERRNO, entered = lev_child_enter(&h->child);

    if (entered < 0)
        return entered;
    if (h->parent != NULL || h->is_stopping)
        result = LEV_BAD_VHOST;
    else if (lev_fd_is_too_large(l, fd))
        result = LEV_FD_TOO_LARGE;
    else if (lev_keep_text(path, &b->path) == 0)
        b->listener = evconnlistener_new(
            l->eb, NULL, NULL, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_DISABLED, 0, fd);
    if (b->listener != NULL)
        b->bound = evhttp_bind_listener(h->http, b->listener);
    if (b->bound != NULL) {
        b->server = h;
        b->device = device;
        b->inode = inode;
        b->forks = LEV_RELAXED(&lev_forks);
        b->tls = tls;
        b->context = context;
        b->enabled = 1;
        event_assign(&b->again, l->eb, -1, 0, lev_on_bound_again, b);
        evconnlistener_set_error_cb(b->listener, lev_on_bound_error);
        lev_child_begin(&b->child, l, &lev_bound_kind);
        lev_bound_list(b, 1);
        h->bound_count++;
        evconnlistener_enable(b->listener);
        result = 0;
    } else {
        lev_free(b->path);
        b->path = NULL;
        if (b->listener != NULL)
            evconnlistener_free(b->listener);
        b->listener = NULL;
    }
    lev_leave(l, entered);
    return result;
}

static int lev_bound_enable(struct lev_bound *b, int enabled)
{
    int entered = lev_child_enter(&b->child);

    if (entered < 0)
        return entered;
    b->enabled = enabled;
    lev_bound_apply(b);
    lev_leave(b->child.base, entered);
    return 0;
}

static int lev_bound_fd(struct lev_bound *b)
{
    int fd, entered = lev_child_enter(&b->child);

    if (entered < 0)
        return entered;
    fd = b->bound != NULL ? (int)evhttp_bound_socket_get_fd(b->bound) : LEV_CLOSED;
    lev_leave(b->child.base, entered);
    return fd;
}
