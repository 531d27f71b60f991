/*
 * What is known of the descriptors that events watch.
 *
 * libevent takes the number for the thing.  When a descriptor is closed under a pending event the kernel forgets
 * it; a new event on the same number, open again as something else, is then believed to be registered already
 * and never fires (evmap.c:evmap_io_add_).  And an edge-triggered event beside a level-triggered one makes both
 * edge-triggered without a word.  Both are found here and refused.
 */

#ifdef _WIN32

#define LEV_SELECT_MOST INT_MAX     /* select is not what libevent uses there */

static int lev_fd_is_too_large(struct lev_base *l, evutil_socket_t fd)
{
    (void)l;
    (void)fd;
    return 0;
}

static int lev_fd_identify(struct lev_base *l, evutil_socket_t fd, struct lev_fd *found)
{
    (void)l;
    (void)fd;
    found->device = found->inode = 0;
    found->is_unique = 1;
    return 0;
}

#else

#define LEV_SELECT_MOST FD_SETSIZE

/*
 * libevent makes select's sets as large as they must be, but a libc with checks ends the process at the first
 * descriptor that does not fit into its own fd_set (glibc's __fdelt_chk).
 */
static int lev_fd_is_too_large(struct lev_base *l, evutil_socket_t fd)
{
    return l->is_select && fd >= LEV_SELECT_MOST;
}

/* Has epoll something against it?  With a changelist it says so when the loop waits, and nobody hears it. */
static int lev_fd_try_epoll(evutil_socket_t fd)
{
    int result = 0;
#ifdef __linux__
    struct epoll_event nothing = {0};
    int epoll = epoll_create1(EPOLL_CLOEXEC), saved;

    if (epoll < 0)
        return LEV_ERRNO;
    result = epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &nothing) == 0 ? 0 : LEV_ERRNO;
    saved = errno;
    close(epoll);
    errno = saved;
#else
    (void)fd;
#endif
    return result;
}

static int lev_fd_identify(struct lev_base *l, evutil_socket_t fd, struct lev_fd *found)
{
    struct stat status;

    if (lev_fd_is_too_large(l, fd))
        return LEV_FD_TOO_LARGE;
    if (fstat(fd, &status) != 0)
        return LEV_ERRNO;
    found->device = (uint64_t)status.st_dev;
    found->inode = (uint64_t)status.st_ino;
    found->is_unique = S_ISSOCK(status.st_mode);
    if (l->is_epoll && (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode)))
        return LEV_NO_FILES;
    if (l->has_changelist && !S_ISSOCK(status.st_mode) && !S_ISFIFO(status.st_mode))
        return lev_fd_try_epoll(fd);
    return 0;
}

#endif

static void lev_on_nothing(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
}

/*
 * event_assign() for any descriptor.  In debug mode libevent's ends the process for one that blocks or is closed
 * (event.c:event_debug_assert_socket_nonblocking_); watching one that blocks is no mistake.
 */
static int lev_assign(struct event *ev, struct event_base *eb, evutil_socket_t fd, short events,
    event_callback_fn callback, void *arg)
{
    int result = event_assign(ev, eb, -1, events, callback, arg);

    ev->ev_fd = fd;
    return result;
}

/*
 * A named pipe or a device that was closed and opened again is the same file, so nobody can tell whether epoll
 * still has it.  Changing what is watched finds out: libevent adds what the kernel has forgotten
 * (epoll.c:epoll_apply_one_change).  With a changelist the changes cancel out, and it stays unknown.
 */
static void lev_fd_refresh(struct lev_base *l, evutil_socket_t fd, int edge_triggered)
{
    static const short kinds[] = {EV_READ, EV_WRITE, EV_CLOSED};
    int i;

    for (i = 0; i < 3; i++) {
        struct event probe;
        lev_assign(&probe, l->eb, fd, (short)(kinds[i] | (edge_triggered ? EV_ET : 0)), lev_on_nothing, NULL);
        probe.ev_evcallback.evcb_flags |= EVLIST_INTERNAL;
        /* Debug mode takes one that was refused for added, see lev_event_free(). */
        if (event_add(&probe, NULL) == 0 || lev_debug_mode_on)
            event_del(&probe);
        event_debug_unassign(&probe);
    }
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
    int result = lev_fd_identify(l, fd, &now);

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
        if (l->is_epoll && !now.is_unique)
            lev_fd_refresh(l, fd, edge_triggered);
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
