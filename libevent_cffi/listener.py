"""Accepting connections: event2/listener.h."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import stat
from typing import TYPE_CHECKING, Any, Literal, Optional, Union, overload

from ._native import check, children, convert
from ._native._libevent import ffi, lib
from ._native.running import refuse
from .event.arguments import check_base

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import TypeVarTuple, Unpack

    from .event import EventBase
    from .types import Address, HasFileno, SocketAddress

    _Ts = TypeVarTuple("_Ts")

__all__ = ["Listener"]

_log = logging.getLogger("libevent")

_new_socket = socket.socket.__new__
_init_socket: Any = socket.SocketType.__init__
_AF_UNIX = getattr(socket, "AF_UNIX", None)
_NO_FILE = (b"", 0, 0)
#: Has a socket object know that its descriptor does not block.
_NONBLOCK = getattr(socket, "SOCK_NONBLOCK", 0)


class Listener(children.Child):
    """
    Listens, and calls ``callback(listener, sock, address, *args)`` for each connection, on the thread that
    dispatches.

    The base listens on *address*: (host, port), with port 0 for one that is free; the path of a UNIX socket;
    or a listening socket, which is handed over: a socket object is detached, an int taken, of anything else
    the descriptor is duplicated.  When that fails they stay yours.

    The callback's *sock* is a socket that does not block, yours to keep and to close; when the callback
    raises it is closed.  With *plain_fd* it is a descriptor, which stays open even then: what the callback
    has made of it may have closed it, and its number be another's.  The callback's *address* is the peer's.

    - *backlog*: how many connections may wait to be accepted; None is the system's most.
    - *enabled*: False waits for enable().
    - *reuse_address*, *reuse_port*: the socket options; the first is what a server that starts again needs.
    - *ipv6_only*: None has an IPv6 address serve IPv4 as well where the system can.
    - *deferred_accept*: tell of a connection when its first byte is there, where the system can.
    - *leave_sockets_blocking*, *close_on_exec*: how connections are made.
    - *on_error*: ``on_error(listener, error)`` is told of each OSError of accepting; without it they are
      logged.  Accepting then pauses for a second, so that a process without descriptors does not spin;
      connections wait meanwhile.

    It is held by its base while it is enabled.  The path of a UNIX socket that it made is removed at its end;
    one that nobody listens on is replaced.

    Raises OSError when the address cannot be bound or the socket is not listening; TypeError and ValueError
    for arguments that fit nothing; ClosedError; WrongThreadError.

    Wraps: evconnlistener_new() evconnlistener_new_bind() evconnlistener_free() evconnlistener_get_base()
    evconnlistener_set_error_cb()
    <event2/listener.h>; libevent >= 2.0.
    """

    __slots__ = ("_accepting", "_address", "_args", "_callback", "_kind", "_on_error", "_plain_fd")

    @overload
    def __init__(
        self,
        base: EventBase,
        address: Union[Address, HasFileno, int],
        callback: Callable[[Listener, socket.socket, SocketAddress, Unpack[_Ts]], object],
        *args: Unpack[_Ts],
        plain_fd: Literal[False] = False,
        backlog: Optional[int] = None,
        enabled: bool = True,
        reuse_address: bool = True,
        reuse_port: bool = False,
        ipv6_only: Optional[bool] = None,
        deferred_accept: bool = False,
        leave_sockets_blocking: bool = False,
        close_on_exec: bool = True,
        on_error: Optional[Callable[[Listener, OSError], object]] = None,
    ) -> None: ...

    @overload
    def __init__(
        self,
        base: EventBase,
        address: Union[Address, HasFileno, int],
        callback: Callable[[Listener, int, SocketAddress, Unpack[_Ts]], object],
        *args: Unpack[_Ts],
        plain_fd: Literal[True],
        backlog: Optional[int] = None,
        enabled: bool = True,
        reuse_address: bool = True,
        reuse_port: bool = False,
        ipv6_only: Optional[bool] = None,
        deferred_accept: bool = False,
        leave_sockets_blocking: bool = False,
        close_on_exec: bool = True,
        on_error: Optional[Callable[[Listener, OSError], object]] = None,
    ) -> None: ...

    def __init__(
        self,
        base: EventBase,
        address: Union[Address, HasFileno, int],
        callback: Callable[..., object],
        *args: object,
        plain_fd: bool = False,
        backlog: Optional[int] = None,
        enabled: bool = True,
        reuse_address: bool = True,
        reuse_port: bool = False,
        ipv6_only: Optional[bool] = None,
        deferred_accept: bool = False,
        leave_sockets_blocking: bool = False,
        close_on_exec: bool = True,
        on_error: Optional[Callable[[Listener, OSError], object]] = None,
    ) -> None:
        self._check_new()
        check_base(base)
        _check_callable(callback, "callback")
        if on_error is not None:
            _check_callable(on_error, "on_error")
        self._callback, self._args, self._on_error = callback, args, on_error
        self._plain_fd = plain_fd
        self._accepting: Optional[socket.socket] = None
        backlog = socket.SOMAXCONN if backlog is None else convert.c_int(backlog, "backlog", 1)
        flags = (lib.LEV_OPT_LEAVE_SOCKETS_BLOCKING if leave_sockets_blocking else 0) | (
            lib.LEV_OPT_CLOSE_ON_EXEC if close_on_exec else 0
        )
        file = _NO_FILE
        if isinstance(address, int) or hasattr(address, "fileno"):
            sock = _look_at(address)
        else:
            sock, file = _bind(address, backlog, reuse_address, reuse_port, ipv6_only)
        handle = children.new("struct lev_listener *")
        try:
            if deferred_accept:
                check.check_rc(
                    lib.evutil_make_tcp_listen_socket_deferred(sock.fileno()),
                    "make_tcp_listen_socket_deferred",
                )
            how = 0 if leave_sockets_blocking else _NONBLOCK
            self._kind = (sock.family, sock.type | how, sock.proto)
            self._address = convert.local_address(sock.fileno())
            self._open(base, handle, sock, flags, file)
        except BaseException:
            if children.has_begun(handle) or isinstance(address, (int, socket.socket)):
                sock.detach()  # it is C's, or still the caller's
            else:
                sock.close()
                _unlink(file)
            raise
        sock.detach()
        if isinstance(address, socket.socket):
            address.detach()
        if enabled:
            self.enable()

    def _open(
        self, base: EventBase, handle: Any, sock: socket.socket, flags: int, file: tuple[bytes, int, int]
    ) -> None:
        self._base = base
        path, device, inode = file
        result = lib.lev_listener_open(handle, base._l, sock.fileno(), flags, path or ffi.NULL, device, inode)
        if result < 0:
            refuse(base, result, "evconnlistener_new")
        self._begin(base, handle)

    # -- called from callbacks_stream.py ---------------------------------------------------------------------

    def _accepted(
        self, fd: int, address: Any, length: int
    ) -> tuple[Union[int, socket.socket], SocketAddress]:
        """
        Return what the callback gets for connection *fd*.

        A signal handler may raise anywhere in here, and C calls again then: so the socket object is made
        without the descriptor, and takes it in one step that shows whether it has been done.
        """
        peer = convert.sockaddr_from_c(address, length)
        if self._plain_fd:
            return fd, peer
        sock = self._accepting
        if sock is None or sock.fileno() not in (-1, fd):
            sock = _new_socket(socket.socket)
            sock._io_refs = 0  # type: ignore[attr-defined]
            sock._closed = False  # type: ignore[attr-defined]
            self._accepting = sock
        if sock.fileno() < 0:
            _init_socket(sock, *self._kind, fd)
        if not _NONBLOCK and not os.get_blocking(fd):
            sock.setblocking(False)
        return sock, peer

    def _error(self, number: int) -> OSError:
        error = check.socket_error("accept", number)
        if self._on_error is None:
            _log.warning("%r cannot accept and tries again in a second: %s", self, error)
        return error

    def _after_failure(self) -> None:
        sock, self._accepting = self._accepting, None
        if sock is not None:
            sock.close()

    def _not_delivered(self) -> None:
        if self._accepting is not None:
            self._accepting.detach()  # C keeps the descriptor, and makes it known again

    # -- doing -----------------------------------------------------------------------------------------------

    def set_callback(self, callback: Callable[..., object], *args: object) -> None:
        """
        Have another callback for the connections to come.

        Raises TypeError, ClosedError.

        Wraps: evconnlistener_set_cb() <event2/listener.h>; libevent >= 2.0.
        """
        _check_callable(callback, "callback")
        self._check_open()
        self._callback, self._args = callback, args

    @property
    def on_error(self) -> Optional[Callable[[Listener, OSError], object]]:
        """
        Told of each OSError of accepting, as ``on_error(listener, error)``; None for nobody.

        Wraps: evconnlistener_set_error_cb() <event2/listener.h>; libevent >= 2.0.
        """
        return self._on_error

    @on_error.setter
    def on_error(self, callback: Optional[Callable[[Listener, OSError], object]]) -> None:
        if callback is not None:
            _check_callable(callback, "on_error")
        self._check_open()
        self._on_error = callback

    def enable(self) -> None:
        """
        Accept connections.

        Raises OSError, ClosedError, WrongThreadError.

        Wraps: evconnlistener_enable() <event2/listener.h>; libevent >= 2.0.
        """
        self._checked(lib.lev_listener_enable(self._c, 1), "evconnlistener_enable")
        self._hold()

    def disable(self) -> None:
        """
        Leave connections in the backlog.

        Raises ClosedError, WrongThreadError.

        Wraps: evconnlistener_disable() <event2/listener.h>; libevent >= 2.0.
        """
        self._checked(lib.lev_listener_enable(self._c, 0), "evconnlistener_disable")
        self._hold()

    def _give_file(self) -> tuple[bytes, int, int]:
        """Hand over the file of its UNIX socket, which somebody else removes now."""
        path = ffi.new("char[]", 256)
        place = ffi.new("uint64_t[2]")
        if self._checked(lib.lev_listener_give_file(self._c, path, 256, place), "evconnlistener_free"):
            return ffi.string(path), place[0], place[1]
        return _NO_FILE

    # -- looking ---------------------------------------------------------------------------------------------

    @property
    def enabled(self) -> bool:
        """Does it accept connections?  Also True while accepting pauses after an error."""
        return not self.closed and bool(lib.lev_listener_is_enabled(self._c))

    def fileno(self) -> int:
        """
        Return its descriptor, which stays its own.

        Raises ClosedError, WrongThreadError.

        Wraps: evconnlistener_get_fd() <event2/listener.h>; libevent >= 2.0.
        """
        return self._checked(lib.lev_listener_fd(self._c), "evconnlistener_get_fd")

    @property
    def address(self) -> SocketAddress:
        """
        The address as bound: port 0 has become the real one.  Raises ClosedError.

        Wraps: evconnlistener_get_fd() <event2/listener.h>; libevent >= 2.0.
        """
        self._check_open()
        return self._address

    @property
    def port(self) -> int:
        """
        The port that it is bound to.  Raises ValueError for a UNIX socket, ClosedError.

        Wraps: evconnlistener_get_fd() <event2/listener.h>; libevent >= 2.0.
        """
        address = self.address
        if not isinstance(address, tuple):
            raise ValueError(f"a UNIX socket has no port: {address!r}")
        return address[1]

    def _describe(self) -> list[str]:
        words = [convert.format_address(self._address)]
        return words if self.closed else [*words, "enabled" if self.enabled else "disabled"]


def _check_callable(callback: object, name: str) -> None:
    if not callable(callback):
        raise TypeError(f"{name} must be callable, not {callback!r}")


# -- the socket ----------------------------------------------------------------------------------------------


def _look_at(what: Union[HasFileno, int, Any]) -> socket.socket:
    """
    Return the listening socket *what* as a socket object that does not block.

    It has the same descriptor when *what* is an int or a socket, a new one otherwise.
    """
    fd = convert.fileno(what)
    is_shared = isinstance(what, (int, socket.socket))
    blocks = os.get_blocking(fd)
    sock = socket.socket(fileno=fd if is_shared else os.dup(fd))
    try:
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise ValueError(f"{what!r} is not listening: call its listen() first")
        sock.setblocking(False)
    except BaseException:
        if is_shared:
            sock.detach()
            os.set_blocking(fd, blocks)  # PyPy has changed it
        else:
            sock.close()
        raise
    return sock


def _bind(
    address: Address, backlog: int, reuse_address: bool, reuse_port: bool, ipv6_only: Optional[bool]
) -> tuple[socket.socket, tuple[bytes, int, int]]:
    """Make a listening socket; return it, with the path, device and inode of a UNIX socket's file."""
    if isinstance(address, tuple):
        memory, length = convert.sockaddr_to_c(address)  # checks it
        target: Any = convert.sockaddr_from_c(memory, length)
        family = socket.AF_INET if len(target) == 2 else socket.AF_INET6
    elif _AF_UNIX is None:
        raise ValueError("this system has no UNIX sockets")
    else:
        convert.sockaddr_to_c(address)
        target, family = os.fspath(address), _AF_UNIX
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if family == _AF_UNIX:
            return sock, _bind_path(sock, target, backlog)
        if reuse_address and os.name != "nt":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            _set_ipv6_only(sock, ipv6_only)
        sock.bind(target)
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock, _NO_FILE


def _set_ipv6_only(sock: socket.socket, ipv6_only: Optional[bool]) -> None:
    try:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, bool(ipv6_only))
    except OSError:
        if ipv6_only is not None:
            raise


def _bind_path(sock: socket.socket, path: Union[str, bytes], backlog: int) -> tuple[bytes, int, int]:
    try:
        sock.bind(path)
    except OSError as error:
        if error.errno != errno.EADDRINUSE or not _is_dead(path):
            raise
        os.unlink(path)
        sock.bind(path)
    encoded = os.fsencode(path)
    if encoded.startswith(b"\0"):
        sock.listen(backlog)
        return _NO_FILE
    try:
        status = os.lstat(encoded)
        sock.listen(backlog)
    except BaseException:
        os.unlink(encoded)
        raise
    return os.path.abspath(encoded), status.st_dev, status.st_ino


def _unlink(file: tuple[bytes, int, int]) -> None:
    if file is not _NO_FILE:
        with contextlib.suppress(OSError):
            os.unlink(file[0])


def _is_dead(path: Union[str, bytes]) -> bool:
    """Tell whether *path* is a UNIX socket on which nobody listens any more."""
    if not stat.S_ISSOCK(os.stat(path).st_mode):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False
