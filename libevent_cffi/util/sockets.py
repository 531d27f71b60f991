"""Sockets and their options: each function but two returns nothing, and raises OSError."""

from __future__ import annotations

import math
import socket
from typing import TYPE_CHECKING, Optional

from .._native import check, convert
from .._native._libevent import ffi, lib

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..types import FileDescriptorLike

__all__ = [
    "close_socket",
    "set_close_on_exec",
    "set_deferred_accept",
    "set_ipv6_only",
    "set_keepalive",
    "set_nonblocking",
    "set_reuse_address",
    "set_reuse_port",
    "socket_error",
    "socketpair",
]

_PAIR_FAMILY = int(getattr(socket, "AF_UNIX", socket.AF_INET))


def socketpair(
    family: int = _PAIR_FAMILY, type: int = socket.SOCK_STREAM, proto: int = 0
) -> tuple[socket.socket, socket.socket]:
    """
    Make two sockets that are connected to each other.

    *family* is AF_UNIX by default (on Windows AF_INET, which libevent emulates), *type* SOCK_STREAM.  Both
    are blocking and are not inherited by a program that is started.

    Returns two socket objects, which the caller owns.  Raises OSError when the system has no such pair.

    Wraps: evutil_socketpair() <event2/util.h>; libevent >= 1.4.
    """
    kind = convert.c_int(type, "type") | getattr(socket, "SOCK_CLOEXEC", 0)
    fds = ffi.new("evutil_socket_t[2]")
    rc = lib.evutil_socketpair(convert.c_int(family, "family"), kind, convert.c_int(proto, "proto"), fds)
    check.check_rc(rc, "evutil_socketpair")
    # Where the pair is emulated, its sockets are of another family than was asked for.
    first = socket.socket(fileno=fds[0])
    try:
        second = socket.socket(fileno=fds[1])
    except BaseException:
        first.close()
        lib.evutil_closesocket(fds[1])
        raise
    for each in (first, second):
        each.set_inheritable(False)
    return first, second


def set_nonblocking(fd: FileDescriptorLike) -> None:
    """
    Have reads and writes on *fd* return at once.

    A socket object is not told: its own timeout goes on as it was, so use its setblocking() for one of those.

    Raises OSError when *fd* is no open descriptor, ValueError when it is closed.

    Wraps: evutil_make_socket_nonblocking() <event2/util.h>; libevent >= 1.4.
    """
    check.check_rc(lib.evutil_make_socket_nonblocking(convert.fileno(fd)), "evutil_make_socket_nonblocking")


def set_close_on_exec(fd: FileDescriptorLike) -> None:
    """
    Keep *fd* out of programs that are started; what Python opens is so already.

    Raises OSError when *fd* is no open descriptor, ValueError when it is closed.

    Wraps: evutil_make_socket_closeonexec() <event2/util.h>; libevent >= 2.0.
    """
    check.check_rc(lib.evutil_make_socket_closeonexec(convert.fileno(fd)), "evutil_make_socket_closeonexec")


def set_reuse_address(fd: FileDescriptorLike) -> None:
    """
    Let a socket be bound to an address whose last listener has just ended; call it before bind().

    Does nothing on Windows, where SO_REUSEADDR means something else.

    Raises OSError when *fd* is no socket, ValueError when it is closed.

    Wraps: evutil_make_listen_socket_reuseable() <event2/util.h>; libevent >= 2.0.
    """
    _set(lib.evutil_make_listen_socket_reuseable, fd, "evutil_make_listen_socket_reuseable")


def set_reuse_port(fd: FileDescriptorLike) -> None:
    """
    Let several sockets listen on one port and share its connections; call it on each of them before bind().

    Raises OSError when *fd* is no socket, or when this system does not share connections so (libevent 2.1
    says that only on Linux, and does nothing elsewhere); ValueError when it is closed.

    Wraps: evutil_make_listen_socket_reuseable_port() <event2/util.h>; libevent >= 2.1.
    """
    _set(lib.evutil_make_listen_socket_reuseable_port, fd, "evutil_make_listen_socket_reuseable_port")


def set_ipv6_only(fd: FileDescriptorLike, on: bool = True) -> None:
    """
    Have an IPv6 socket take IPv6 only, or with *on* False IPv4 as well; call it before bind().

    Where libevent lacks the call (the first before 2.1.12, the second before 2.2) the socket option is set
    here.

    Raises OSError when *fd* is no IPv6 socket or bound already, ValueError when it is closed.

    Wraps: evutil_make_listen_socket_ipv6only() evutil_make_listen_socket_not_ipv6only() <event2/util.h>;
    libevent >= 2.1.12 and 2.2, the same socket option before.
    """
    name = "evutil_make_listen_socket_ipv6only" if on else "evutil_make_listen_socket_not_ipv6only"
    if hasattr(lib, name):
        _set(getattr(lib, name), fd, name)
    else:
        _setsockopt(convert.fileno(fd), socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(bool(on)))


def set_deferred_accept(fd: FileDescriptorLike) -> None:
    """
    Have a listening TCP socket report a connection only when its first bytes are there.

    Linux only; does nothing elsewhere.

    Raises OSError when *fd* is no TCP socket, ValueError when it is closed.

    Wraps: evutil_make_tcp_listen_socket_deferred() <event2/util.h>; libevent >= 2.1.
    """
    _set(lib.evutil_make_tcp_listen_socket_deferred, fd, "evutil_make_tcp_listen_socket_deferred")


def set_keepalive(fd: FileDescriptorLike, timeout: Optional[float]) -> None:
    """
    Have the system probe an idle TCP connection, so that a dead peer is noticed.

    The first probe goes out after *timeout* seconds of silence, up to two more follow in steps of a third of
    it; the connection is lost when none is answered.  Whole seconds: a fraction counts as one more.  None
    turns probing off.

    Raises ValueError unless *timeout* is more than 0 and at most ten years, or when *fd* is closed; OSError
    when it is no TCP socket or the time too long for the system (Linux: 32767).

    Wraps: evutil_set_tcp_keepalive() <event2/util.h>; libevent >= 2.2, the same socket options before.
    """
    seconds = 0 if timeout is None else math.ceil(convert.check_seconds(timeout))
    if timeout is not None and not seconds:
        raise ValueError("timeout must be more than 0 seconds, or None")
    if hasattr(lib, "evutil_set_tcp_keepalive"):
        # A timeout of 0 would make C do nothing at all, also when it is to turn probing off.
        rc = lib.evutil_set_tcp_keepalive(convert.fileno(fd), seconds > 0, seconds or 1)
        check.check_rc(rc, "evutil_set_tcp_keepalive")
    else:
        _emulate_keepalive(convert.fileno(fd), seconds)


def close_socket(fd: int) -> None:
    """
    Close a descriptor that is held as a number.

    It must belong to the caller: never one that a socket object or a BufferEvent still has.

    Raises OSError when *fd* is not open, ValueError when it is negative, TypeError for anything but an int.

    Wraps: evutil_closesocket() EVUTIL_CLOSESOCKET() <event2/util.h>; libevent >= 1.4.
    """
    if not isinstance(fd, int):
        raise TypeError(f"fd must be an int, not {type(fd).__name__}: an object closes itself")
    check.check_rc(lib.evutil_closesocket(convert.fileno(fd)), "evutil_closesocket")


def socket_error(fd: FileDescriptorLike) -> Optional[OSError]:
    """
    Return the error that waits on a socket, and clear it; None when there is none.

    This is how a connect() in the background ends.  The result is of the OSError subclass that belongs to its
    number, such as ConnectionRefusedError.

    Raises OSError when *fd* is no socket, ValueError when it is closed.

    Wraps: evutil_socket_geterror() evutil_socket_error_to_string() EVUTIL_SOCKET_ERROR()
    EVUTIL_SET_SOCKET_ERROR() <event2/util.h>; by SO_ERROR everywhere, where libevent asks for the socket's
    own error only on Windows.
    """
    number = ffi.new("int *")
    rc = lib.lev_getsockopt(convert.fileno(fd), socket.SOL_SOCKET, socket.SO_ERROR, number)
    check.check_rc(rc, "getsockopt")
    return check.socket_error("SO_ERROR", number[0]) if number[0] else None


def _set(function: Callable[[int], int], fd: FileDescriptorLike, name: str) -> None:
    check.clear_errno()  # these answer -1 without a reason where the system lacks the option
    check.check_rc(function(convert.fileno(fd)), name)


def _setsockopt(fd: int, level: int, option: int, value: int) -> None:
    check.check_rc(lib.lev_setsockopt(fd, level, option, value), "setsockopt")


def _emulate_keepalive(fd: int, seconds: int) -> None:
    """What libevent 2.2 does in evutil.c:evutil_set_tcp_keepalive."""
    _setsockopt(fd, socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(seconds > 0))
    if seconds:
        idle = "TCP_KEEPIDLE" if hasattr(socket, "TCP_KEEPIDLE") else "TCP_KEEPALIVE"  # macOS calls it so
        for name, value in ((idle, seconds), ("TCP_KEEPINTVL", max(1, seconds // 3)), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, name):
                _setsockopt(fd, socket.IPPROTO_TCP, getattr(socket, name), value)
