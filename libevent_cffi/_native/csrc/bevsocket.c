/* The descriptors of bufferevents, and how they are connected. */

#ifdef _WIN32

static int lev_stream_check(struct lev_base *l, evutil_socket_t fd, int *connected)
{
    struct sockaddr_storage address;
    ev_socklen_t size = sizeof(address);

    (void)l;
    *connected = getpeername(fd, (struct sockaddr *)&address, &size) == 0;
    return evutil_make_socket_nonblocking(fd) == 0 ? 0 : LEV_ERRNO;
}

#else

static int lev_socket_option(evutil_socket_t fd, int option)
{
    int value = 0;
    ev_socklen_t size = sizeof(value);

    return getsockopt(fd, SOL_SOCKET, option, &value, &size) == 0 ? value : 0;
}

/* Can a bufferevent use it?  What does not end with its other side, such as a file, it cannot. */
static int lev_stream_check(struct lev_base *l, evutil_socket_t fd, int *connected)
{
    struct sockaddr_storage address;
    ev_socklen_t size = sizeof(address);
    struct stat status;

    *connected = 1;
    if (lev_fd_is_too_large(l, fd))
        return LEV_FD_TOO_LARGE;
    if (fstat(fd, &status) != 0)
        return LEV_ERRNO;
    if (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode))
        return LEV_NO_FILES;
    if (S_ISSOCK(status.st_mode)) {
        if (lev_socket_option(fd, SO_TYPE) != SOCK_STREAM)
            return LEV_BEV_NO_STREAM;
        if (lev_socket_option(fd, SO_ACCEPTCONN))
            return LEV_BEV_LISTENS;
        *connected = getpeername(fd, (struct sockaddr *)&address, &size) == 0;
    }
    return evutil_make_socket_nonblocking(fd) == 0 ? 0 : LEV_ERRNO;
}

#endif

/* Count it among those who watch the descriptor, see fds.c. */
static int lev_bev_attach(struct lev_bev *s, struct lev_base *l, int fd)
{
    int result = fd >= 0 ? lev_fd_attach(l, fd, 0) : 0;

    s->attached = result == 0 ? fd + 1 : 0;
    return result;
}

static void lev_bev_unattach(struct lev_bev *s, struct lev_base *l)
{
    if (s->attached > 0)
        lev_fd_detach(l, s->attached - 1);
    s->attached = 0;
}

/* -- descriptors ------------------------------------------------------------------------------------------- */

static int lev_bev_fd(struct lev_bev *s)
{
    int fd, entered = lev_child_enter(&s->child);

    if (entered < 0)
        return entered;
    fd = (int)bufferevent_getfd(lev_bev_bottom(s)->bev);
    lev_leave(s->child.base, entered);
    return fd < 0 ? LEV_BEV_NO_SOCKET : fd;
}

/* After bufferevent_setfd(), which opens the buffers and forgets the priority (bufferevent_sock.c:be_socket_setfd). */
static void lev_bev_mend(struct lev_bev *s)
{
    if (s->kind != LEV_BEV_SOCKET || s->tls != NULL)
        return;
    evbuffer_freeze(bufferevent_get_input(s->bev), 0);
    evbuffer_freeze(bufferevent_get_output(s->bev), 1);
    if (s->priority >= 0 && !s->is_priority_due)
        bufferevent_priority_set(s->bev, s->priority);
}

/* Forget the socket of an attempt to connect that failed. */
static void lev_bev_drop_fd(struct lev_bev *s)
{
    evutil_socket_t fd = bufferevent_getfd(s->bev);

    lev_bev_unattach(s, s->child.base);
    bufferevent_disable(s->bev, EV_READ | EV_WRITE);
    bufferevent_setfd(s->bev, -1);
    if (fd >= 0)
        evutil_closesocket(fd);
    lev_bev_mend(s);
}

/* Give the descriptor away, and end the rest. */
static int lev_bev_detach(struct lev_bev *s)
{
    struct lev_bev *bottom;
    int result = LEV_BEV_NO_SOCKET, entered = lev_bev_enter(s);

    if (entered < 0)
        return entered;
    bottom = lev_bev_bottom(s);
    if (bottom->kind == LEV_BEV_SOCKET && !lev_bev_has_tls(s) && !s->connecting) {
        evutil_socket_t fd = bufferevent_getfd(bottom->bev);
        lev_bev_unattach(bottom, s->child.base);
        if (fd >= 0 && bufferevent_setfd(bottom->bev, -1) == 0) {
            result = (int)fd;
            lev_bev_detach_buffers(s);
            lev_bev_close_below(s);
            lev_child_close(&s->child);
        }
    }
    lev_leave(s->child.base, entered);
    return result;
}

/* Use another descriptor from now on; the one before is closed. */
static int lev_bev_replace(struct lev_bev *s, int fd)
{
    evutil_socket_t before;
    int connected = 1, result = LEV_BEV_NO_SOCKET, entered = lev_bev_enter(s);

    if (entered < 0)
        return entered;
    if (s->kind == LEV_BEV_SOCKET && s->tls == NULL)
        result = s->connecting ? LEV_BEV_BUSY : lev_stream_check(s->child.base, fd, &connected);
    if (result == 0 && fd == bufferevent_getfd(s->bev))
        result = LEV_BEV_BUSY;
    if (result == 0) {
        lev_bev_unattach(s, s->child.base);
        result = lev_bev_attach(s, s->child.base, fd);
    }
    if (result == 0) {
        before = bufferevent_getfd(s->bev);
        bufferevent_disable(s->bev, EV_READ | EV_WRITE);
        bufferevent_setfd(s->bev, fd);
        lev_bev_mend(s);
        if (before >= 0)
            evutil_closesocket(before);
        s->ended = 0;
        s->is_open = connected;
        result = lev_bev_set_enabled(s, s->enabled);
        if (result == 0)
            result = lev_bev_hold(s);
    }
    lev_leave(s->child.base, entered);
    return result;
}

/* -- connecting -------------------------------------------------------------------------------------------- */

/* A socket whose number no event watches: libevent would take it for what was there before. */
static evutil_socket_t lev_new_socket(struct lev_base *l, int family)
{
    evutil_socket_t fd = socket(family, SOCK_STREAM, 0), others[16];
    int count = 0, saved;

    while (fd >= 0 && fd < l->fd_count && l->fds[fd].events > 0 && count < 16) {
        others[count++] = fd;
        fd = socket(family, SOCK_STREAM, 0);
    }
    if (fd >= 0 && (lev_fd_is_too_large(l, fd) || evutil_make_socket_nonblocking(fd) != 0
            || evutil_make_socket_closeonexec(fd) != 0)) {
        saved = lev_fd_is_too_large(l, fd) ? EMFILE : errno;
        evutil_closesocket(fd);
        errno = saved;
        fd = -1;
    }
    saved = errno;
    while (count > 0)
        evutil_closesocket(others[--count]);
    errno = saved;
    return fd;
}

/* Begin to connect to one address, over the socket that is there or a new one. */
static int lev_bev_try(struct lev_bev *s, const struct lev_target *target)
{
    struct lev_base *l = s->child.base;
    int saved;

    if (bufferevent_getfd(s->bev) < 0 && s->tls == NULL) {
        evutil_socket_t fd = lev_new_socket(l, target->address.ss_family);
        if (fd < 0)
            return LEV_ERRNO;
        bufferevent_disable(s->bev, EV_READ | EV_WRITE);
        bufferevent_setfd(s->bev, fd);
        if (lev_bev_attach(s, l, (int)fd) != 0)
            return LEV_ERRNO;
    }
    if (s->enabled & EV_WRITE)
        bufferevent_enable(s->bev, EV_WRITE);
    if (bufferevent_socket_connect(s->bev, (const struct sockaddr *)&target->address, target->length) != 0) {
        saved = errno;
        bufferevent_disable(s->bev, EV_WRITE);
        errno = saved;
        return LEV_ERRNO;
    }
    lev_bev_mend(s);
    return 0;
}

/* Try the addresses that are left.  1: an attempt goes on; 0: there is none. */
static int lev_bev_try_targets(struct lev_bev *s)
{
    int saved;

    while (s->next_target < s->target_count) {
        if (lev_bev_try(s, &s->targets[s->next_target++]) == 0) {
            s->connecting = 1;
            return 1;
        }
        saved = errno;
        lev_bev_drop_fd(s);
        errno = saved;
    }
    return 0;
}

static int lev_bev_next_target(struct lev_bev *s)
{
    int goes_on;

    lev_bev_drop_fd(s);
    goes_on = lev_bev_try_targets(s);
    s->connecting = goes_on;
    return goes_on;
}

static void lev_target_set(struct lev_target *target, const struct sockaddr *address, int length)
{
    target->length = length;
    memcpy(&target->address, address, (size_t)length);
}

/* Connect to the first of these that answers; CONNECTED or a failure is told later. */
static int lev_bev_connect(struct lev_bev *s, struct lev_target *targets, int count)
{
    struct lev_target *copy;
    int result = 0, entered = lev_bev_enter(s);

    if (entered < 0)
        return entered;
    copy = lev_malloc((size_t)count * sizeof(*copy));
    if (s->kind == LEV_BEV_PAIR || s->kind == LEV_BEV_FILTER)
        result = LEV_BEV_NO_SOCKET;
    else if (s->connecting || s->is_open)
        result = LEV_BEV_BUSY;
    else if (copy == NULL) {
        errno = ENOMEM;
        result = LEV_ERRNO;
    }
    if (result == 0) {
        memcpy(copy, targets, (size_t)count * sizeof(*copy));
        lev_free(s->targets);
        s->targets = copy;
        s->target_count = count;
        s->next_target = 0;
        if (!lev_bev_try_targets(s)) {
            s->connecting = 1;          /* until the failure is told */
            bufferevent_trigger_event(s->bev, BEV_EVENT_ERROR, BEV_TRIG_DEFER_CALLBACKS);
        }
        result = lev_bev_hold(s);
    } else
        lev_free(copy);
    lev_leave(s->child.base, entered);
    return result;
}

/* A name is looked up: until its addresses come, or nothing does, it is connecting. */
static int lev_bev_resolve(struct lev_bev *s, int begins)
{
    int result = 0, entered = lev_bev_enter(s);

    if (entered < 0)
        return entered;
    if (s->kind == LEV_BEV_PAIR || s->kind == LEV_BEV_FILTER)
        result = LEV_BEV_NO_SOCKET;
    else if (begins && (s->connecting || s->is_open))
        result = LEV_BEV_BUSY;
    else
        s->connecting = begins;
    lev_leave(s->child.base, entered);
    return result;
}
