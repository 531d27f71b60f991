"""What a server listens on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

from .._native import children, convert
from .._native._libevent import ffi, lib

if TYPE_CHECKING:
    import socket

    from ..tls import TLSContext
    from ..types import SocketAddress
    from .server import Server

__all__ = ["BoundSocket"]


class BoundSocket(children.Child):
    """
    An address that a server listens on; close() stops listening there.

    Wraps: evhttp_del_accept_socket() evhttp_bound_socket_get_fd() evhttp_bound_socket_get_listener()
    <event2/http.h>; libevent >= 2.0.
    """

    __slots__ = ("_address", "_server", "_tls")

    _address: SocketAddress
    _server: Server
    #: What C makes its connections' TLS with.
    _tls: Optional[TLSContext]

    def __init__(self) -> None:
        raise TypeError("a BoundSocket is made by Server.bind() and Server.accept()")

    @classmethod
    def _make(
        cls,
        server: Server,
        sock: socket.socket,
        file: tuple[bytes, int, int],
        tls: Optional[TLSContext],
    ) -> BoundSocket:
        """Listen with *sock*, which is detached."""
        self = cls.__new__(cls)
        self._server, self._tls = server, tls
        self._base = server._base
        handle = children.new("struct lev_bound *")
        path, *place = file
        ops, context = (ffi.NULL, ffi.NULL) if tls is None else tls._for_c()
        result = lib.lev_bound_open(handle, server._c, sock.fileno(), path or ffi.NULL, *place, ops, context)
        if result == lib.LEV_BAD_VHOST:
            raise ValueError(f"{server!r} is a virtual host, or is stopping: it cannot listen")
        if result < 0:
            server._refuse(result, "evhttp_bind_listener")
        self._address = convert.local_address(sock.fileno())
        sock.detach()
        self._begin(server._base, handle)
        return self

    @property
    def server(self) -> Server:
        """The server that listens."""
        return self._server

    def fileno(self) -> int:
        """
        Return its descriptor, which stays its own.  Raises ClosedError, WrongThreadError.

        Wraps: evhttp_bound_socket_get_fd() <event2/http.h>; libevent >= 2.0.
        """
        return self._checked(lib.lev_bound_fd(self._c), "evhttp_bound_socket_get_fd")

    @property
    def address(self) -> SocketAddress:
        """The address as bound: port 0 has become the real one.  Raises ClosedError, WrongThreadError."""
        self.fileno()
        return self._address

    @property
    def port(self) -> int:
        """The port.  Raises ValueError for a UNIX socket, ClosedError, WrongThreadError."""
        address = self.address
        if not isinstance(address, tuple):
            raise ValueError(f"a UNIX socket has no port: {address!r}")
        return address[1]

    def enable(self) -> None:
        """
        Accept connections.  Raises ClosedError, WrongThreadError.

        Wraps: evhttp_bound_socket_get_listener() <event2/http.h>; libevent >= 2.0.
        """
        self._checked(lib.lev_bound_enable(self._c, 1), "evconnlistener_enable")

    def disable(self) -> None:
        """
        Leave connections in the backlog.  Raises ClosedError, WrongThreadError.

        Wraps: evhttp_bound_socket_get_listener() <event2/http.h>; libevent >= 2.0.
        """
        self._checked(lib.lev_bound_enable(self._c, 0), "evconnlistener_disable")

    def close(self) -> None:
        """
        Stop listening there; any number of times.  Connections that were accepted go on.

        Raises WrongThreadError.

        Wraps: evhttp_del_accept_socket() <event2/http.h>; libevent >= 2.0.
        """
        super().close()
        self._server._bound = [bound for bound in self._server._bound if bound is not self]

    def _describe(self) -> list[str]:
        return [convert.format_address(self._address)]
