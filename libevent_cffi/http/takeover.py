"""Connections of a server that speak something else than HTTP from now on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from .._native import children
from .._native._libevent import lib
from ..bufferevent import BufferEvent

if TYPE_CHECKING:
    from ..bufferevent.handle import DataCallback, EventCallback
    from .incoming import _Extra
    from .request import Request
    from .server import Server

__all__ = ["Guest", "Taken", "take_over"]


class Guest(Protocol):
    """Who speaks that; its server keeps it while the connection lasts."""

    def _left(self) -> None:
        """The server, or the connection, was closed."""

    def _stopping(self) -> None:
        """The server is to stop: it waits for the end of the connection."""

    def _handler_failed(self) -> None:
        """The handler that took the connection over has raised."""


class Taken(BufferEvent):
    """What carried requests: the connection ends with it, and it with the connection."""

    __slots__ = ("_extra", "_finishing", "_number", "_server")

    _server: Server
    #: Closed to its user, and there until what it had to send is written.
    _finishing: bool
    #: Of the request, which may outlive it.
    _extra: _Extra
    #: Of the connection.
    _number: int

    def close(self, *, flush: bool = False) -> None:
        """End the connection now, and drop what was not sent; with *flush* when that is written."""
        if flush and self._finishing and self._is_there():
            return
        if flush and not self.closed and self.output:
            # C would have it held by the base, which does not hear when the server closes.
            self._finishing = True
            self.on_read = self.on_event = None
            self.on_write = _close
            if self._extra.guest is not None:
                self._extra.guest._left()
            return
        super().close()
        self._server._guests.pop(self._number, None)
        self._extra.guest = self._extra.on_end = None

    @property
    def closed(self) -> bool:
        """Is it closed, by its user, or with its connection?"""
        return self._finishing or not self._is_there()

    def _is_there(self) -> bool:
        return children.has_begun(self._child)


def _close(bev: BufferEvent) -> None:
    bev.close()


def take_over(request: Request, guest: Guest, on_read: DataCallback, on_event: EventCallback) -> BufferEvent:
    """
    Return what carries *request*, for *guest* to use; it neither reads nor writes yet.

    To its server the request is answered.  Raises ValueError while its body may still come, ClosedError when
    it was answered, BrokenPipeError when the client is gone, WrongThreadError.
    """
    server, number = request._server, request._number
    root = server._root()
    connection = lib.lev_sreq_connection(server._c, number)
    if connection < 0:
        request._refuse(connection, "evhttp_request_get_connection")
    made: Taken = Taken.__new__(Taken)
    made._prepare(server._base, on_read, None, on_event)
    made._server, made._number, made._extra = root, connection, request._more()
    made._finishing = False
    handle = children.new("struct lev_bev *")
    result = lib.lev_sreq_take_over(server._c, number, handle, made._wants())
    if result == lib.LEV_TOO_EARLY:
        raise ValueError(
            "the connection still reads the request: take it over in the handler of a route without"
            " stream=True, not in on_request"
        )
    if result < 0:
        request._refuse(result, "bufferevent_setcb")
    made._begin(server._base, handle)
    _forget_closed(root)
    root._guests[connection] = (made, guest)
    server._requests.pop(number, None)
    request._answered = True
    made._extra.guest, made._extra.on_end = guest, guest._left
    return made


def _forget_closed(server: Server) -> None:
    """Let go of those that C has ended by itself."""
    if len(server._guests) > 2 * server.connections:
        for number, (bev, _) in list(server._guests.items()):
            if not bev._is_there():
                del server._guests[number]
