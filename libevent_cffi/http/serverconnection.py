"""The connections of a server's clients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional

from .._native import children, convert
from .._native._libevent import lib
from ..errors import ClosedError

if TYPE_CHECKING:
    from ..bufferevent import BufferEvent
    from ..tls import TLSLayer
    from ..types import SocketAddress
    from .server import Server

__all__ = ["ServerConnection"]


class ServerConnection:
    """
    A client's connection, over which its requests come one after another.

    Two are equal when they are the same connection.

    Wraps: evhttp_connection_get_server() evhttp_request_get_connection() <event2/http.h>; libevent >= 2.0.
    """

    __slots__ = ("__weakref__", "_layer", "_number", "_peer", "_server")

    def __init__(self, server: Server, number: int) -> None:
        self._server = server
        self._number = number
        self._peer: Optional[SocketAddress] = None
        self._layer: Optional[TLSLayer] = None

    def _fd(self) -> int:
        fd: int = lib.lev_sconn_fd(self._server._c, self._number)
        if fd == lib.LEV_NO_REQUEST:
            raise ClosedError(f"{self!r}: the client has left, or it was closed")
        return self._server._checked(fd, "evhttp_connection_get_bufferevent")

    @property
    def server(self) -> Server:
        """
        The server that accepted it.

        Wraps: evhttp_connection_get_server() <event2/http.h>; libevent >= 2.1.
        """
        return self._server

    @property
    def peer_address(self) -> SocketAddress:
        """
        The client's address.  Raises ClosedError where it was not asked for in time, OSError.

        Wraps: evhttp_connection_get_peer() evhttp_connection_get_addr() <event2/http.h>; libevent >= 1.4.
        """
        if self._peer is None:
            self._peer = convert.peer_address(self._fd())
        return self._peer

    @property
    def local_address(self) -> SocketAddress:
        """The address that the client has connected to.  Raises ClosedError, WrongThreadError."""
        return convert.local_address(self._fd())

    @property
    def tls(self) -> Optional[TLSLayer]:
        """What TLS has to say of it; None when it has none.  Raises ClosedError, WrongThreadError."""
        if self._layer is None:
            self._fd()
            pointer = lib.lev_sconn_share(self._server._c, self._number)
            if pointer:
                from ..tls.layer import TLSLayer  # which loads libssl

                self._layer = TLSLayer._shared(pointer, self._context(), self)
        return self._layer

    @property
    def bufferevent(self) -> BufferEvent:
        """
        What carries it: to look at, to limit and to time.  Its callbacks and its data are evhttp's.

        There is one for all requests of the connection, and it is closed with that.  Closing it earlier lifts
        its limits, and no more.  What would have evhttp called, as trigger(), set_watermark() and write_eof()
        would, raises ValueError; enable() turns on what evhttp uses at the time.

        Raises ClosedError, WrongThreadError.

        Wraps: evhttp_connection_get_bufferevent() <event2/http.h>; libevent >= 2.0.
        """
        taken = self._server._guests.get(self._number)
        if taken is not None:
            return taken[0]
        self._fd()
        shown = self._server._shown.get(self._number)
        if shown is None or shown.closed:
            shown = self._show()
        return shown

    def _show(self) -> BufferEvent:
        from ..bufferevent import BufferEvent

        server = self._server
        made: Any = BufferEvent.__new__(BufferEvent)
        made._prepare(server._base, None, None, None)
        handle = children.new("struct lev_bev *")
        result = lib.lev_sconn_show(server._c, self._number, handle)
        made._begin_checked(server._base, handle, result, "evhttp_connection_get_bufferevent")
        if len(server._shown) > 2 * server.connections:
            server._shown = {number: bev for number, bev in server._shown.items() if not bev.closed}
        server._shown[self._number] = made
        return made  # type: ignore[no-any-return]

    def _context(self) -> Any:
        address = self.local_address
        bound = [each for each in self._server.bound if each._tls is not None]
        return next((each._tls for each in bound if each.address == address), bound and bound[0]._tls)

    # What a TLSLayer asks of its owner.

    @property
    def _child(self) -> Any:
        return self._server._child

    def _checked(self, result: int, call: str) -> int:
        return self._server._checked(result, call)

    @property
    def closed(self) -> bool:
        """Is it closed, by the client or by this side?  Raises WrongThreadError."""
        is_open: int = lib.lev_sconn_is_open(self._server._c, self._number)
        if is_open == lib.LEV_WRONG_THREAD:
            self._server._refuse(is_open, "evhttp_connection_get_bufferevent")
        return is_open < 0

    def close(self) -> None:
        """
        Close it now; any number of times, from inside any callback too.

        A request on it that has not been answered is told (on_close).  Raises WrongThreadError.

        Wraps: evhttp_connection_free() <event2/http.h>; libevent >= 1.4.
        """
        taken = self._server._guests.pop(self._number, None)
        result = lib.lev_sconn_close(self._server._c, self._number)
        if result < 0 and result not in (lib.LEV_NO_REQUEST, lib.LEV_CLOSED):
            if taken is not None:
                self._server._guests[self._number] = taken
            self._server._checked(result, "evhttp_connection_free")
        if taken is not None:
            taken[1]._left()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ServerConnection):
            return NotImplemented
        return self._server is other._server and self._number == other._number

    def __hash__(self) -> int:
        return hash((id(self._server), self._number))

    def __repr__(self) -> str:
        if self._peer is None:
            return f"<ServerConnection {self._number & 0xFFFFFF}>"
        return f"<ServerConnection {convert.format_address(self._peer)}>"
