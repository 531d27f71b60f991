/*
 * What is known of the descriptors that events watch.
 *
 * libevent takes the number for the thing.  When a descriptor is closed under a pending event the kernel forgets
 * it; a new event on the same number, open again as something else, is then believed to be registered already
 * and never fires (evmap.c:evmap_io_add_).  And an edge-triggered event beside a level-triggered one makes both
 * edge-triggered without a word.  Both are found here and refused.
 */

static int lev_fd_identify(evutil_socket_t fd, struct lev_fd *found, int is_epoll)
{
#ifdef _WIN32
    (void)fd;
    (void)is_epoll;
    found->device = found->inode = 0;
#else
    struct stat status;

    if (fstat(fd, &status) != 0)
        return LEV_ERRNO;
    found->device = (uint64_t)status.st_dev;
    found->inode = (uint64_t)status.st_ino;
    /* epoll_ctl() says so only later when the base collects its changes. */
    if (is_epoll && (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode)))
        return LEV_NO_FILES;
#endif
    return 0;
}

static int lev_fds_grow(struct lev_base *l, evutil_socket_t fd)
{
    int count = l->fd_count ? l->fd_count : 32;
    struct lev_fd *more;

    while (count <= fd)
        count *= 2;
    more = lev_realloc(l->fds, (size_t)count * sizeof(*more));
    if (more == NULL)
        return LEV_ERRNO;
    memset(more + l->fd_count, 0, (size_t)(count - l->fd_count) * sizeof(*more));
    l->fds = more;
    l->fd_count = count;
    return 0;
}

/* Count one more event on fd; the descriptor is open, so its number is small enough for an array. */
static int lev_fd_attach(struct lev_base *l, evutil_socket_t fd, int edge_triggered)
{
    struct lev_fd now, *known;
    int result = lev_fd_identify(fd, &now, l->is_epoll);

    if (result == 0 && fd >= l->fd_count)
        result = lev_fds_grow(l, fd);
    if (result != 0)
        return result;
    known = &l->fds[fd];
    if (known->events > 0) {
        if (known->device != now.device || known->inode != now.inode)
            return LEV_FD_REUSED;
        if (known->edge_triggered != edge_triggered)
            return LEV_MIXED_ET;
    }
    known->device = now.device;
    known->inode = now.inode;
    known->edge_triggered = edge_triggered;
    known->events++;
    return 0;
}

static void lev_fd_detach(struct lev_base *l, evutil_socket_t fd)
{
    l->fds[fd].events--;
}

/* What is ready on fd now, of the events asked for. */
static short lev_fd_ready(evutil_socket_t fd, short events)
{
#ifdef _WIN32
    (void)fd;
    (void)events;
    return 0;
#else
    struct pollfd state;
    short ready = 0;

    state.fd = fd;
    state.events = (short)((events & EV_READ ? POLLIN : 0) | (events & EV_WRITE ? POLLOUT : 0));
#ifdef POLLRDHUP
    state.events |= (short)(events & EV_CLOSED ? POLLRDHUP : 0);
#endif
    if (poll(&state, 1, 0) <= 0 || (state.revents & POLLNVAL))
        return 0;
    if (state.revents & (POLLIN | POLLHUP | POLLERR))
        ready |= EV_READ;
    if (state.revents & (POLLOUT | POLLERR))
        ready |= EV_WRITE;
#ifdef POLLRDHUP
    if (state.revents & (POLLRDHUP | POLLHUP))
        ready |= EV_CLOSED;
#endif
    return (short)(ready & events);
#endif
}
