/*
 * Socket options and addresses of a bare descriptor.
 *
 * A Python socket object around a copy of the descriptor would not do: making one changes the O_NONBLOCK that
 * both share (to socket.setdefaulttimeout()'s wish on CPython, always on PyPy).
 */

#ifdef _WIN32
#include <winsock2.h>
#include <ws2tcpip.h>
#else
#include <sys/socket.h>
#endif

static int lev_getsockopt(evutil_socket_t fd, int level, int option, int *value)
{
    ev_socklen_t size = sizeof(*value);

    return getsockopt(fd, level, option, (void *)value, &size);
}

static int lev_setsockopt(evutil_socket_t fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, (void *)&value, sizeof(value));
}

/* The length of the address that fd is bound or connected to; -1 and errno. */
static int lev_socket_address(evutil_socket_t fd, int is_peer, struct sockaddr *address, int size)
{
    ev_socklen_t length = (ev_socklen_t)size;
    int result = is_peer ? getpeername(fd, address, &length) : getsockname(fd, address, &length);

    return result != 0 ? -1 : (int)length < size ? (int)length : size;
}
