"""A client's WebSocket, until it is open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional, Union

from ..errors import WebSocketError
from ..event import Operation
from ..event.arguments import check_base
from ..http import URI, Headers
from ..http.clientrequest import ClientRequest
from ..http.fetch import _connect, _credentials, _where
from . import handshake

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..event import EventBase
    from ..http import Connection, Response
    from ..types import HeadersLike
    from .websocket import WebSocket

__all__ = ["connect"]

_SCHEMES = {"ws": "http", "wss": "https", "ws+unix": "http+unix", "wss+unix": "https+unix"}


class _Asking(ClientRequest):
    """The request; what came of it is seen before anything else can happen to the connection."""

    __slots__ = ("_opening",)

    _opening: Optional[_Opening]

    def _finish(self, value: Any = None, error: Optional[Exception] = None) -> bool:
        connection = self._connection
        if not super()._finish(value, error):
            return False
        opening, self._opening = self._opening, None
        if self.error is None and opening is not None and connection is not None:
            opening._answered(value, connection)
        elif opening is not None:
            opening._finish(error=error)
        return True


class _Opening(Operation["WebSocket"]):
    """The way to an open WebSocket."""

    __slots__ = ("_key", "_maker", "_request", "_subprotocols")

    _request: _Asking
    #: Makes the WebSocket of what carries it, the subprotocol, and the seconds that a write may be stuck.
    _maker: Any
    _key: str
    _subprotocols: tuple[str, ...]

    def _abandon(self) -> None:
        self._base.update_now()  # refuses another thread, before anything is done
        self._request._opening = None
        self._request.cancel()

    def _answered(self, response: Response, connection: Connection) -> None:
        write_timeout = connection._options.write_timeout
        bev = connection._take_tunnel()
        try:
            chosen = handshake.chosen_by(response, self._key, self._subprotocols)
        except WebSocketError as error:
            if bev is not None:
                bev.close()
            self._finish(error=error)
            return
        assert bev is not None
        made = self._maker(bev, chosen, write_timeout)
        self._finish(made)
        made._start()


def connect(
    base: EventBase,
    url: Union[str, URI],
    callback: Optional[Callable[..., object]],
    args: tuple[Any, ...],
    headers: HeadersLike,
    subprotocols: tuple[str, ...],
    options: Mapping[str, Any],
    maker: Any,
) -> Operation[WebSocket]:
    """Ask for a WebSocket; *maker* makes it of what carries it."""
    check_base(base)
    parsed = url if isinstance(url, URI) else URI(url)
    scheme = _SCHEMES.get((parsed.scheme or "").lower())
    if scheme is None or not parsed.host or parsed.fragment is not None:
        raise ValueError(
            f"{str(parsed)!r} is no URL of a WebSocket: that has ws or wss, a host, and no fragment"
        )
    where = _where(parsed.replace(scheme=scheme))
    key = handshake.new_key()
    asked: Headers = handshake.question(headers, key, subprotocols)
    _credentials(parsed, asked)
    connection = _connect(base, where, options)
    base.call_soon(connection._pump)  # also checks the thread
    operation: Any = _Opening._start(base, callback, args)
    request: Any = _Asking._new(base, None, (), None, None)
    base._operations.discard(request)  # the other one is told when the base closes
    operation._key, operation._subprotocols, operation._maker = key, subprotocols, maker
    operation._request, request._opening = request, operation
    request._set("GET", where.target, parsed, asked, b"", connection._host)
    connection._add(request)
    return operation  # type: ignore[no-any-return]
