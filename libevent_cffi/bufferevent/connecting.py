"""The part of a BufferEvent that connects, and has a descriptor."""

from __future__ import annotations

import errno
import logging
import socket
from typing import TYPE_CHECKING, Any, Optional

from .._native import check, convert
from .._native._libevent import ffi, lib
from ..errors import CancelledError
from ..event.events import evict
from .control import Control
from .sockets import handed_over

if TYPE_CHECKING:
    from ..event import Operation
    from ..types import Address, AddrInfo, FileDescriptorLike, SocketAddress

__all__ = ["Connecting"]

_log = logging.getLogger("libevent")
_ERROR: int = lib.BEV_EVENT_ERROR


class Connecting(Control):
    """Addresses and descriptors."""

    __slots__ = ()

    # -- connecting ------------------------------------------------------------------------------------------

    def connect(self, address: Address, *, resolver: Any = None, family: int = socket.AF_UNSPEC) -> None:
        """
        Connect to *address*; on_event is told CONNECTED, or ERROR or TIMEOUT, later.

        *address* is (host, port), or the path of a UNIX socket: a str is always that.  The host can be a name
        where *resolver*, a dns.Resolver, is given to look it up; its addresses are then tried in turn, with
        *family* only those of that one; under TLS it is also the name that is verified.  A name that is not
        found is told as ERROR with a DNSError.  Each attempt takes at most the write timeout.  After a
        failure connect() can be called again.

        Raises ValueError for an address that is none, a name without a resolver, and a connection that is
        open already; TypeError; ClosedError; WrongThreadError.

        Wraps: bufferevent_socket_connect() bufferevent_socket_connect_hostname()
        bufferevent_socket_connect_hostname_hints() bufferevent_socket_get_dns_error()
        <event2/bufferevent.h>; libevent >= 2.0.
        """
        wanted = convert.c_int(family, "family", 0)
        name = _name_in(address)
        if name is not None and resolver is None:
            raise ValueError(f"{name[0]!r} is a name: give a dns.Resolver as resolver= to look it up")
        if self._tls is not None:
            self._tls._connect_to(address[0] if isinstance(address, tuple) else None)
        if name is None:
            self._connect([address])
            return
        host, port = name
        self._checked(lib.lev_bev_resolve(self._wire(), 1), "bufferevent_socket_connect_hostname")
        try:
            self._reason = None
            self._query = resolver.getaddrinfo(
                host, port, self._resolved, family=wanted, type=socket.SOCK_STREAM
            )
        except BaseException:
            lib.lev_bev_resolve(self._wire(), 0)
            raise

    def _wire(self) -> Any:
        """Return the C side of what has the socket."""
        return (self if self._engine is None else self._engine.wire)._c

    def _connect(self, addresses: list[Any]) -> None:
        if self._engine is not None:
            self._engine.wire._connect(addresses)
            return
        targets = ffi.new("struct lev_target[]", len(addresses))
        for index, each in enumerate(addresses):
            memory, length = convert.sockaddr_to_c(each)
            lib.lev_target_set(targets + index, memory, length)
        self._reason = None
        self._done(lib.lev_bev_connect(self._c, targets, len(addresses)), "bufferevent_socket_connect")

    def _resolved(self, query: Operation[list[AddrInfo]]) -> None:
        """Go on with the addresses of the name, or tell that there are none."""
        if self._query is not query or self.closed:
            return
        self._query = None
        error = query.error
        lib.lev_bev_resolve(self._wire(), 0)
        if error is None:
            self._connect([info[4] for info in query.result()])
            return
        self._reason = error
        if isinstance(error, CancelledError):
            _log.debug("%r: its lookup was cancelled", self)
        self._done(lib.lev_bev_trigger_event(self._c, _ERROR, 0), "bufferevent_socket_connect_hostname")

    # -- descriptors -----------------------------------------------------------------------------------------

    def fileno(self) -> int:
        """
        Return its descriptor, which stays its own; -1 when it has none.

        Raises ClosedError, WrongThreadError.

        Wraps: bufferevent_getfd() <event2/bufferevent.h>; libevent >= 2.0.
        """
        fd: int = lib.lev_bev_fd(self._wire())
        if fd == lib.LEV_BEV_NO_SOCKET or (
            fd == lib.LEV_CLOSED and self._engine is not None and not self.closed
        ):
            return -1
        return self._checked(fd, "bufferevent_getfd")

    def detach(self) -> socket.socket:
        """
        Give the socket back, and close the rest: what has arrived and was not read is lost.

        Raises ValueError when there is none, ClosedError, WrongThreadError.

        Wraps: bufferevent_setfd() <event2/bufferevent.h>; libevent >= 2.0.
        """
        fd = self._checked(lib.lev_bev_detach(self._c), "bufferevent_setfd")
        self._base._children.pop(self._token, None)
        sock = socket.socket(fileno=fd)
        self._tell_closed()
        return sock

    def replace_socket(self, sock: FileDescriptorLike) -> None:
        """
        Go on over another socket, which is handed over as to the constructor; the one before is closed.

        What is in the buffers stays.  Raises as the constructor does, and ValueError while it connects, and
        for pairs and filters.

        Wraps: bufferevent_replacefd() bufferevent_setfd() <event2/bufferevent.h>; libevent >= 2.0.
        """
        with handed_over(sock) as fd:
            result = lib.lev_bev_replace(self._c, fd)
            if result == lib.LEV_FD_REUSED:
                evict(self._base, fd)
                result = lib.lev_bev_replace(self._c, fd)
            self._done(result, "bufferevent_setfd")

    def _socket_fd(self) -> int:
        fd = self.fileno()
        if fd < 0:
            raise ValueError(f"{self!r} has no socket")
        return fd

    def setsockopt(self, level: int, option: int, value: int) -> None:
        """
        Set an option of its socket, such as TCP_NODELAY.

        Raises OSError, ValueError when it has no socket, ClosedError, WrongThreadError.

        Wraps: bufferevent_getfd() <event2/bufferevent.h>; libevent >= 2.0.
        """
        check.check_rc(lib.lev_setsockopt(self._socket_fd(), level, option, value), "setsockopt")

    def getsockopt(self, level: int, option: int) -> int:
        """
        Return an option of its socket.

        Raises as setsockopt().

        Wraps: bufferevent_getfd() <event2/bufferevent.h>; libevent >= 2.0.
        """
        found = ffi.new("int *")
        check.check_rc(lib.lev_getsockopt(self._socket_fd(), level, option, found), "getsockopt")
        return int(found[0])

    @property
    def local_address(self) -> Optional[SocketAddress]:
        """
        The address of this side; None when it has no socket.  Raises OSError, ClosedError, WrongThreadError.

        Wraps: bufferevent_getfd() <event2/bufferevent.h>; libevent >= 2.0.
        """
        fd = self.fileno()
        return None if fd < 0 else convert.local_address(fd)

    @property
    def peer_address(self) -> Optional[SocketAddress]:
        """
        The address of the other side; None when it has no socket, or is not connected.

        Raises OSError, ClosedError, WrongThreadError.

        Wraps: bufferevent_getfd() <event2/bufferevent.h>; libevent >= 2.0.
        """
        fd = self.fileno()
        if fd < 0:
            return None
        try:
            return convert.peer_address(fd)
        except OSError as error:
            if error.errno == errno.ENOTCONN:
                return None
            raise


def _name_in(address: Any) -> Optional[tuple[str, int]]:
    """Return (host, port) of an address whose host is a name, else None."""
    if not isinstance(address, tuple) or len(address) < 2 or not isinstance(address[0], str):
        return None
    if not address[0] or convert.is_numeric(address[0]):
        return None
    return address[0], convert.c_int(address[1], "port", 0, 65535)
