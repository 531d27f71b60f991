"""Answering names."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING, Any, Optional, Union

from .._native import children, convert, features
from .._native._libevent import ffi, lib
from .._native.running import refuse
from ..errors import FeatureUnavailableError
from ..event.arguments import check_base
from .requests import Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..event import EventBase
    from ..types import HasFileno, InetAddress

__all__ = ["Server"]

_ATTEMPTS = 20
_NEEDS_FILTER = lib.event_get_version_number() < 0x02020000


class Server(children.Child):
    """
    Answers DNS by UDP, and with *tcp* by TCP too; ``handler(request)`` gets each Request, on the thread that
    dispatches.

    *address* is (host, port), with port 0 for one that is free, or a UDP socket, which is handed over: a
    socket object is detached, an int taken, of anything else the descriptor is duplicated.

    - *handler*: has to answer the request or defer() it.  What it raises is logged, and the request answered
      SERVFAIL; KeyboardInterrupt and SystemExit end the loop too.
    - *tcp*, with *tcp_max_clients* and *tcp_idle_timeout* (whole seconds): libevent 2.2.

    It is held by its base.  While more datagrams come than it can handle everything else has its turn every
    twentieth of a second, and the kernel, where it is Linux, drops some of them meanwhile.  Up to libevent
    2.1.12 a datagram that is too short would end the process: there the kernel drops such ones too.

    Raises OSError when the address cannot be bound; FeatureUnavailableError for TCP on 2.1, and for any
    server on 2.1 where the system cannot drop datagrams; TypeError, ValueError, ClosedError,
    WrongThreadError.

    Wraps: evdns_add_server_port_with_base() evdns_add_server_port_with_listener() evdns_close_server_port()
    evdns_server_port_set_option() <event2/dns.h>; libevent >= 2.0.
    """

    __slots__ = ("_address", "_current", "_handler")

    def __init__(
        self,
        base: EventBase,
        address: Union[InetAddress, HasFileno, int],
        handler: Callable[[Request], object],
        *,
        tcp: bool = False,
        tcp_max_clients: Optional[int] = None,
        tcp_idle_timeout: Optional[float] = None,
    ) -> None:
        self._check_new()
        check_base(base)
        self._set_handler(handler)
        self._current: Optional[Request] = None
        most, idle = _tcp_options(tcp, tcp_max_clients, tcp_idle_timeout)
        handle = children.new("struct lev_dns_server *")
        self._base = base
        sock, listening = _sockets(address, tcp)
        is_shared = isinstance(address, (int, socket.socket))
        try:
            self._address: InetAddress = convert.local_address(sock.fileno())  # type: ignore[assignment]
            tcp_fd = -1 if listening is None else listening.fileno()
            result = lib.lev_dns_server_open(handle, base._l, sock.fileno(), tcp_fd, most, idle)
            if result < 0:
                refuse(base, result, "evdns_add_server_port_with_base")
        finally:
            if children.has_begun(handle) or is_shared:
                sock.detach()  # it is C's, or still the caller's
            sock.close()
            if listening is not None:
                if children.has_begun(handle):
                    listening.detach()
                listening.close()
        if isinstance(address, socket.socket):
            address.detach()
        self._begin(base, handle)

    # -- called from asking.py -------------------------------------------------------------------------------

    def _take_request(self) -> Optional[Request]:
        """Return the request whose handler is to be called; after an interrupt the same one again."""
        request = self._current
        if request is not None and request._handled:
            self._finish_request(request)
            return None
        if request is None:  # it is kept before C's is taken up: an interrupt may come anywhere
            request = self._current = Request._of(self)
        if not request._take():
            request = self._current = None
        return request

    def _finish_request(self, request: Request) -> None:
        request._finish()
        self._current = None

    # -- looking ---------------------------------------------------------------------------------------------

    @property
    def handler(self) -> Callable[[Request], object]:
        """
        What is called with each Request; another one counts from the next request on.

        Setting it raises TypeError, ClosedError.
        """
        return self._handler

    @handler.setter
    def handler(self, handler: Callable[[Request], object]) -> None:
        self._check_open()
        self._set_handler(handler)

    def _set_handler(self, handler: Callable[[Request], object]) -> None:
        if not callable(handler):
            raise TypeError(f"handler must be callable, not {handler!r}")
        self._handler = handler

    @property
    def address(self) -> InetAddress:
        """The address as bound: port 0 has become the real one.  Raises ClosedError."""
        self._check_open()
        return self._address

    @property
    def port(self) -> int:
        """The port that it is bound to.  Raises ClosedError."""
        return self.address[1]

    def fileno(self) -> int:
        """
        Return the descriptor of its UDP socket, which stays its own.

        Raises ClosedError, WrongThreadError.
        """
        return self._checked(lib.lev_dns_server_fd(self._c), "fileno")

    def _describe(self) -> list[str]:
        return [convert.format_address(self._address)]


def _tcp_options(tcp: bool, most: Optional[int], idle: Optional[float]) -> tuple[int, int]:
    if tcp:
        features.require("dns_tcp")
    elif most is not None or idle is not None:
        raise ValueError("tcp_max_clients and tcp_idle_timeout are for tcp=True")
    if most is not None:
        convert.c_int(most, "tcp_max_clients", 1)
    seconds = 0 if idle is None else convert.check_seconds(idle, "tcp_idle_timeout")
    if seconds != int(seconds) or (idle is not None and seconds == 0):
        raise ValueError(f"tcp_idle_timeout is whole seconds, not {idle!r}")
    return most or 0, int(seconds)


def _sockets(
    address: Union[InetAddress, HasFileno, int, Any], tcp: bool
) -> tuple[socket.socket, Optional[socket.socket]]:
    """Make the UDP socket and, with *tcp*, the listening one on the same port."""
    if isinstance(address, (str, bytes)):
        raise TypeError(f"address is (host, port) or a UDP socket, not {address!r}")
    if not isinstance(address, tuple):
        sock = _take_over(address)
        return sock, _listen(sock.getsockname()) if tcp else None
    memory, length = convert.sockaddr_to_c(address)  # checks it
    target: Any = convert.sockaddr_from_c(memory, length)
    for attempt in range(_ATTEMPTS):
        sock = _bind(target)
        try:
            return sock, _listen(sock.getsockname()) if tcp else None
        except OSError as error:
            sock.close()
            # A free port of UDP may be one of TCP that is taken.
            if error.errno != errno.EADDRINUSE or target[1] != 0 or attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError


def _bind(target: Any) -> socket.socket:
    sock = socket.socket(socket.AF_INET if len(target) == 2 else socket.AF_INET6, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        _filter(sock.fileno())
        sock.bind(target)
    except BaseException:
        sock.close()
        raise
    return sock


def _listen(target: Any) -> socket.socket:
    sock = socket.socket(socket.AF_INET if len(target) == 2 else socket.AF_INET6, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(target)
        sock.listen(socket.SOMAXCONN)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _take_over(what: Any) -> socket.socket:
    """Return UDP socket *what* as an object, with another descriptor when it is no int or socket."""
    fd = convert.fileno(what)
    is_shared = isinstance(what, (int, socket.socket))
    blocks = os.get_blocking(fd)
    sock = socket.socket(fileno=fd if is_shared else os.dup(fd))
    try:
        if sock.type != socket.SOCK_DGRAM or sock.family not in (socket.AF_INET, socket.AF_INET6):
            raise ValueError(f"{what!r} is no UDP socket")
        sock.setblocking(False)
        _filter(sock.fileno())
    except BaseException:
        if is_shared:
            sock.detach()
            os.set_blocking(fd, blocks)
        sock.close()
        raise
    return sock


def _filter(fd: int) -> None:
    if not _NEEDS_FILTER:
        return
    result = lib.lev_drop_short_datagrams(fd)
    if result == lib.LEV_NO_FILTER:
        raise FeatureUnavailableError(
            "dns_server",
            "on this system a DNS server needs libevent 2.2: with"
            f" {features.loaded_version()} a datagram that is too short would end the process",
        )
    if result < 0:
        raise OSError(ffi.errno, os.strerror(ffi.errno))
