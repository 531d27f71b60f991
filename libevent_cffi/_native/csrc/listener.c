/*
 * Listeners.
 *
 * libevent accepts in a loop and calls back for each connection (listener.c:listener_read_cb).  What comes after
 * a callback that failed is kept here, and the listener disabled meanwhile, which ends that loop.
 */

#define LEV_ACCEPT_PAUSE 1      /* seconds without accepting, when there are no descriptors left */

struct lev_accepted {
    struct lev_accepted *next;
    evutil_socket_t fd;
    int length;
    struct sockaddr_storage address;
};

struct lev_listener {
    struct lev_child child;
    struct evconnlistener *listener;
    struct event again;                 /* after the pause */
    struct lev_accepted *first, *last;  /* accepted and not delivered */
    int error;                          /* not delivered, or 0 */
    int enabled;                        /* as the user wants it */
    char *path;                         /* of a UNIX socket that we made */
    uint64_t device, inode;
    long forks;
};

static int lev_py_accept(int64_t token, int fd, struct sockaddr *address, int length, int slot);
static int lev_py_listener_error(int64_t token, int error, int slot);

static void lev_listener_apply(struct lev_listener *s)
{
    int paused = s->first != NULL || event_pending(&s->again, EV_TIMEOUT, NULL);

    if (s->enabled && !paused && !s->child.closed)
        evconnlistener_enable(s->listener);
    else
        evconnlistener_disable(s->listener);
}

static void lev_listener_pause(struct lev_listener *s)
{
    struct timeval tv = {LEV_ACCEPT_PAUSE, 0};

    event_add(&s->again, &tv);
    lev_listener_apply(s);
}

static void lev_on_listener_again(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    lev_listener_apply(arg);
}

static int lev_call_accept(struct lev_child *c, void *arg)
{
    struct lev_accepted *a = arg;

    return lev_py_accept(c->token, (int)a->fd, (struct sockaddr *)&a->address, a->length, c->base->slot);
}

static int lev_call_listener_error(struct lev_child *c, void *arg)
{
    return lev_py_listener_error(c->token, *(int *)arg, c->base->slot);
}

/*
 * In a child that its callback forked libevent's loop would go on and take the parent's connections.  Disabling
 * the listener would change the parent's epoll set, so accept() gets a descriptor that is no socket.
 */
static void lev_listener_leave_to_parent(struct lev_listener *s)
{
#ifndef _WIN32
    dup2(s->child.base->wake_pair[0], evconnlistener_get_fd(s->listener));
#endif
}

/* 1: the descriptor is Python's now, or closed. */
static int lev_tell_accepted(struct lev_listener *s, struct lev_accepted *a)
{
    int answer = lev_child_call(&s->child, lev_call_accept, a);

    if (s->child.base->forked)
        lev_listener_leave_to_parent(s);
    else if (answer == LEV_STALE)
        evutil_closesocket(a->fd);
    return s->child.base->forked || answer != LEV_UNDELIVERED;
}

static void lev_keep_accepted(struct lev_listener *s, const struct lev_accepted *a)
{
    struct lev_accepted *copy = lev_malloc(sizeof(*copy));

    if (copy == NULL || lev_child_remember(&s->child) != 0) {
        lev_free(copy);
        evutil_closesocket(a->fd);
        return;
    }
    *copy = *a;
    copy->next = NULL;
    if (s->last != NULL)
        s->last->next = copy;
    else
        s->first = copy;
    s->last = copy;
    lev_listener_apply(s);
}

static void lev_on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address,
    int length, void *arg)
{
    struct lev_listener *s = arg;
    struct lev_accepted a;

    (void)listener;
    memset(&a, 0, sizeof(a));
    a.fd = fd;
    a.length = length < (int)sizeof(a.address) ? length : (int)sizeof(a.address);
    memcpy(&a.address, address, (size_t)a.length);
    if (!lev_child_may_call(&s->child)) {
        if (!s->child.base->forked)
            evconnlistener_disable(s->listener);        /* it would go on, and take from those who share the socket */
        evutil_closesocket(fd);
        return;
    }
    if (lev_child_has_to_wait(&s->child) || !lev_tell_accepted(s, &a))
        lev_keep_accepted(s, &a);
    lev_child_after_callback(&s->child);
}

static void lev_tell_listener_error(struct lev_listener *s, int error)
{
    if (!lev_child_has_to_wait(&s->child)
        && lev_child_call(&s->child, lev_call_listener_error, &error) != LEV_UNDELIVERED)
        return;
    s->error = lev_child_remember(&s->child) == 0 ? error : 0;
}

static void lev_on_listener_error(struct evconnlistener *listener, void *arg)
{
    struct lev_listener *s = arg;
    int error = EVUTIL_SOCKET_ERROR();

    (void)listener;
    if (!lev_child_may_call(&s->child))
        return;
    lev_listener_pause(s);              /* or it would be called again at once, for as long as nothing helps */
    lev_tell_listener_error(s, error);
    lev_child_after_callback(&s->child);
}

/* -- as a child ------------------------------------------------------------------------------------------ */

/* Remove the path of a UNIX socket that this process made, if it is still that one, and free it. */
static void lev_unlink_path(char *path, uint64_t device, uint64_t inode, long forks)
{
#ifndef _WIN32
    struct stat status;

    if (path != NULL && forks == LEV_RELAXED(&lev_forks) && lstat(path, &status) == 0
        && (uint64_t)status.st_dev == device && (uint64_t)status.st_ino == inode)
        unlink(path);
#endif
    lev_free(path);
}

/* 0; or -1: there is no memory for the copy. */
static int lev_keep_text(const char *text, char **copy)
{
    *copy = text != NULL ? lev_malloc(strlen(text) + 1) : NULL;
    if (*copy != NULL)
        strcpy(*copy, text);
    return text == NULL || *copy != NULL ? 0 : -1;
}

static void lev_listener_end(struct lev_child *c)
{
    struct lev_listener *s = (struct lev_listener *)c;
    struct lev_accepted *a;

    event_del(&s->again);
    event_debug_unassign(&s->again);
    evconnlistener_free(s->listener);
    s->listener = NULL;
    while ((a = s->first) != NULL) {
        s->first = a->next;
        evutil_closesocket(a->fd);
        lev_free(a);
    }
    lev_unlink_path(s->path, s->device, s->inode, s->forks);
    s->path = NULL;
}

static int lev_listener_is_armed(struct lev_child *c)
{
    struct lev_listener *s = (struct lev_listener *)c;

    return s->enabled || s->first != NULL || s->error;
}

static void lev_listener_deliver_again(struct lev_child *c)
{
    struct lev_listener *s = (struct lev_listener *)c;
    struct lev_accepted *a;
    int error = s->error;

    while ((a = s->first) != NULL && !c->closed && !lev_child_has_to_wait(c) && lev_tell_accepted(s, a)) {
        s->first = a->next;
        if (s->first == NULL)
            s->last = NULL;
        lev_free(a);
    }
    if (c->closed || c->base->forked)
        return;
    s->error = 0;
    if (error)
        lev_tell_listener_error(s, error);
    if (s->first != NULL)
        lev_child_remember(c);
    lev_listener_apply(s);
    lev_child_after_callback(c);
}

static void lev_listener_stop(struct lev_child *c)
{
    evconnlistener_disable(((struct lev_listener *)c)->listener);
}

static const struct lev_kind lev_listener_kind = {
    lev_listener_end, lev_listener_is_armed, lev_listener_deliver_again, 0, lev_listener_stop};

/* -- Python's calls -------------------------------------------------------------------------------------- */

/* Take over a listening socket that does not block; path is removed at the end when it is still this one. */
static int lev_listener_open(struct lev_listener *s, struct lev_base *l, int fd, unsigned flags, const char *path,
    uint64_t device, uint64_t inode)
{
    int result = LEV_ERRNO, entered = lev_enter(l);

    if (entered < 0)
        return entered;
    s->device = device;
    s->inode = inode;
    s->forks = LEV_RELAXED(&lev_forks);
    if (lev_fd_is_too_large(l, fd))
        result = LEV_FD_TOO_LARGE;
    else if (lev_keep_text(path, &s->path) == 0)
        s->listener = evconnlistener_new(
            l->eb, lev_on_accept, s, flags | LEV_OPT_CLOSE_ON_FREE | LEV_OPT_DISABLED, 0, fd);
    if (s->listener != NULL) {
        event_assign(&s->again, l->eb, -1, 0, lev_on_listener_again, s);
        evconnlistener_set_error_cb(s->listener, lev_on_listener_error);
        lev_child_begin(&s->child, l, &lev_listener_kind);
        result = 0;
    } else {
        lev_free(s->path);
        s->path = NULL;
    }
    lev_leave(l, entered);
    return result;
}

static int lev_listener_enable(struct lev_listener *s, int enabled)
{
    int result = 0, entered = lev_child_enter(&s->child);

    if (entered < 0)
        return entered;
    s->enabled = enabled;
    if (!enabled)
        event_del(&s->again);
    lev_listener_apply(s);
    if (enabled && s->first == NULL && evconnlistener_enable(s->listener) != 0)
        result = LEV_ERRNO;
    lev_leave(s->child.base, entered);
    return result;
}

static int lev_listener_is_enabled(struct lev_listener *s)
{
    return s->enabled;
}

static int lev_listener_fd(struct lev_listener *s)
{
    int fd, entered = lev_child_enter(&s->child);

    if (entered < 0)
        return entered;
    fd = (int)evconnlistener_get_fd(s->listener);
    lev_leave(s->child.base, entered);
    return fd;
}

/* 1: path and place are those of the UNIX socket's file, which somebody else removes now; 0: there is none. */
static int lev_listener_give_file(struct lev_listener *s, char *path, size_t size, uint64_t place[2])
{
    int result = 0, entered = lev_child_enter(&s->child);

    if (entered < 0)
        return entered;
    if (s->path != NULL && strlen(s->path) < size && s->forks == LEV_RELAXED(&lev_forks)) {
        strcpy(path, s->path);
        place[0] = s->device;
        place[1] = s->inode;
        lev_free(s->path);
        s->path = NULL;
        result = 1;
    }
    lev_leave(s->child.base, entered);
    return result;
}
