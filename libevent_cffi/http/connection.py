"""A client's connection."""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING, Any, Optional, Union

from .._native import convert
from ..buffer import Buffer
from ..bufferevent import BufferEvent
from ..errors import CancelledError, ClosedError
from ..event import Resource
from ..event.arguments import check_base
from ..event.shortforms import Posted
from ..flags import READ, WRITE, BufferEventFlag, URIFlag
from .checks import checked_bufferevent, checked_callback, has_body, is_readable
from .clientrequest import ClientRequest, body_of, check_target
from .encoding import uri_encode
from .exchange import Exchange
from .headers import Headers
from .opening import Opening
from .options import Options, host_of, is_name, path_of
from .uri import URI

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import TypeVarTuple, Unpack

    from ..event import EventBase
    from ..tls import TLSLayer
    from ..types import Address, BytesLike, HeadersLike
    from .fetch import Route
    from .options import ConnectionOptions

    _Ts = TypeVarTuple("_Ts")

__all__ = ["Connection"]


class Connection(Resource):
    """
    A client's connection to *address*: (host, port), or the path of a UNIX socket.

    It is opened at the first request, and again when it was lost; requests run one after another, in order.
    A host may be a name: its addresses are tried in turn.

    - *bufferevent*: one to speak over that is connected already, over a socket; it is this connection's from
      now on, and *address* is where to connect when it is lost.
    - *on_close*: ``on_close(connection)`` is told when the connection was lost or ended, but not by close().
      With it an idle connection is watched, and keeps dispatch() running; without, it waits for nothing.
    - the rest: see ConnectionOptions.

    A request that the server never saw, because it had closed the idle connection, is sent again, if its
    method may be.  A request's body goes out in one piece: it cannot be streamed.

    It lives as long as requests are pending, or somebody refers to it.  Raises TypeError and ValueError for
    arguments that fit nothing, ClosedError.

    Wraps: evhttp_connection_base_new() evhttp_connection_base_bufferevent_new()
    evhttp_connection_base_bufferevent_unix_new() evhttp_connection_base_bufferevent_reuse_new()
    evhttp_connection_set_closecb() evhttp_connection_get_base() <event2/http.h>; libevent >= 2.0, their
    effect on bufferevents: ARCHITECTURE.md tells why.
    """

    __slots__ = (
        *(
            "_address",
            "_base",
            "_bev",
            "_closed",
            "_exchange",
            "_host",
            "_is_new",
            "_known",
            "_on_close",
            "_once",
        ),
        *("_opening", "_options", "_origin", "_pid", "_queue", "_tunnel"),
    )

    def __init__(
        self,
        base: EventBase,
        address: Address,
        *,
        bufferevent: Optional[BufferEvent] = None,
        on_close: Optional[Callable[[Connection], object]] = None,
        **options: Unpack[ConnectionOptions],
    ) -> None:
        if hasattr(self, "_pid"):
            raise RuntimeError(f"{self!r} was made already: make another Connection")
        self._closed = True
        check_base(base)
        is_name(address)  # checks it
        self._base = base
        self._address = address if isinstance(address, tuple) else os.fspath(address)
        self._options = Options(base, address, options)
        self._on_close = checked_callback(on_close)
        self._bev = checked_bufferevent(base, bufferevent, self._options)
        if base.closed:
            raise ClosedError(f"the base was closed: {base!r}")
        secure = self._options.tls is not None
        self._host = host_of(address, 443 if secure else 80)
        if isinstance(address, tuple):
            self._origin = f"http{'s' * secure}://{self._host}"
        else:
            self._origin = f"http{'s' * secure}+unix://{uri_encode(path_of(address))}"
        URI(self._origin)  # checks the host
        self._queue: deque[ClientRequest] = deque()
        self._exchange: Optional[Exchange] = None
        self._opening: Optional[Opening] = None
        self._known: Any = None
        self._once = False
        self._is_new = self._bev is not None
        self._tunnel = False
        self._pid = os.getpid()
        if self._bev is not None:
            self._listen(self._bev)
            self._rest()
        self._closed = False

    # -- asking ----------------------------------------------------------------------------------------------

    def request(
        self,
        method: str,
        target: str,
        callback: Optional[Callable[[ClientRequest, Unpack[_Ts]], object]] = None,
        *args: Unpack[_Ts],
        headers: HeadersLike = (),
        body: Union[BytesLike, str, Buffer] = b"",
        on_headers: Optional[Callable[[ClientRequest], object]] = None,
        on_chunk: Optional[Callable[[ClientRequest, Buffer], object]] = None,
    ) -> ClientRequest:
        """
        Ask for *target*, a path with its query, percent-encoded; it goes out when those before it are done.

        - *callback*: ``callback(request, *args)`` when it is done, in whatever way.
        - *headers*: Host and Content-Length are added.  *body*: a str is UTF-8; a Buffer is moved, and left
          empty.
        - *on_headers*: ``on_headers(request)`` when status and headers are in its *response*; cancel() there
          takes no more.
        - *on_chunk*: ``on_chunk(request, chunk)`` for each piece of the body, a Buffer that is closed on
          return; the response's own body stays empty.

        All of them run on the thread that dispatches, never inside this call.  Raises ValueError for what
        would break the message, such as a CR in a header, and for a method that is unknown; TypeError,
        ClosedError, WrongThreadError.

        Wraps: evhttp_make_request() evhttp_request_set_header_cb() evhttp_request_set_chunked_cb()
        <event2/http.h>; libevent >= 2.1, their effect.
        """
        return self._ask(method, target, callback, args, headers, body, on_headers, on_chunk, None)

    def _ask(
        self,
        method: str,
        target: str,
        callback: Optional[Callable[..., object]],
        args: tuple[Any, ...],
        headers: HeadersLike,
        body: Union[BytesLike, str, Buffer],
        on_headers: Optional[Callable[..., object]],
        on_chunk: Optional[Callable[..., object]],
        route: Optional[Route],
    ) -> ClientRequest:
        self._check_open()
        check_target(method, target)
        checked = Headers(headers)
        self._options.check_method(method, has_body(body))
        self._base.call_soon(self._pump)  # also checks the thread
        request = ClientRequest._new(self._base, callback, args, on_headers, on_chunk)
        try:
            request._set(method, target, self._url(target), checked, body_of(body), self._host)
            request._limit(self._options.total_timeout)
        except BaseException:
            request._callback = None
            request._finish()
            raise
        request._route = route
        self._add(request)
        return request

    def _url(self, target: str) -> Union[URI, str]:
        if target.startswith("/"):
            return self._origin + target
        return URI(target, flags=URIFlag.NONCONFORMANT) if "://" in target else self._origin

    def _add(self, request: ClientRequest) -> None:
        request._connection = self
        self._queue.append(request)

    # -- running ---------------------------------------------------------------------------------------------

    def _pump_soon(self) -> None:
        if self._queue and not self.closed:
            self._base.call_soon(self._pump)

    def _pump(self) -> None:
        """Have the next request sent, if there is one and it can be."""
        if self.closed or self._exchange is not None or self._opening is not None:
            return
        while self._queue and self._queue[0].done:
            self._queue.popleft()
        if not self._queue:
            return
        if self._tunnel:
            self._take_tunnel()
        if self._bev is not None and not self._is_new and not self._is_fresh(self._bev):
            self._lose()
        if self._bev is not None:
            self._send(self._bev)
            return
        known = self._known if self._options.reuse_connected_address else None
        self._opening = Opening(self._base, self._address, self._options, known, self._opened)
        self._opening.start()

    def _opened(self, bev: Optional[BufferEvent], target: Any, error: Optional[Exception]) -> None:
        self._opening = None
        if error is not None:
            request = self._queue.popleft()  # the next one tries again
            self._pump_soon()
            request._finish(error=error)
            return
        assert bev is not None
        self._bev, self._known, self._pid, self._is_new = bev, target, os.getpid(), True
        self._listen(bev)
        self._pump()

    def _send(self, bev: BufferEvent) -> None:
        request = self._queue[0]
        request._tries += 1
        self._exchange = exchange = Exchange(self._base, request, bev, self._options, self._ended)
        self._queue.popleft()
        exchange.was_reused, self._is_new = not self._is_new, False
        try:
            exchange.start()
        except BaseException as error:
            if isinstance(error, Exception):
                exchange.fail(error)
                return
            exchange.fail(OSError("sending the request was interrupted"))
            raise

    def _ended(self, exchange: Exchange, error: Optional[Exception]) -> None:
        self._exchange = None
        request = exchange.request
        if error is not None:
            self._lose()
            if request._tries == 1 and exchange.was_reused and self._was_stale(exchange, error):
                self._queue.appendleft(request)
            else:
                request._finish(error=error)
            self._pump_soon()
            return
        self._after_response(exchange)
        self._pump_soon()
        if exchange.redirect is not None:
            route = request._route
            assert route is not None
            route.follow(request, exchange.redirect, exchange.reader.head.status)  # type: ignore[union-attr]
        else:
            request._finish(request._response)
            if self._once and self._tunnel:
                self._lose()  # nobody can get at it

    def _was_stale(self, exchange: Exchange, error: Exception) -> bool:
        return exchange.was_never_seen(error) and exchange.request._can_be_sent_again()

    def _after_response(self, exchange: Exchange) -> None:
        bev, head = exchange.bev, exchange.reader.head
        assert head is not None
        if head.status == 101 or (exchange.request.method == "CONNECT" and head.status < 300):
            self._tunnel = True
            bev.on_read = bev.on_write = bev.on_event = bev._closes = None
        elif exchange.is_reusable and not self._once:
            self._rest()
        else:
            self._lose()

    def _take_tunnel(self) -> Optional[BufferEvent]:
        """Give what speaks something else now to whoever goes on with it; the next request makes another."""
        bev = self._bev if self._tunnel else None
        if bev is not None:
            self._bev, self._tunnel = None, False
        return bev

    def _rest(self) -> None:
        """Wait for the next request."""
        bev = self._bev
        assert bev is not None
        if self._on_close is None:
            bev.disable(READ | WRITE)
        else:
            bev.enable(READ)

    def _is_fresh(self, bev: BufferEvent) -> bool:
        """Has the server neither closed nor sent anything while it was idle?"""
        if bev.closed or self._pid != os.getpid():
            return False
        return not bev.input and not is_readable(bev.fileno())

    def _listen(self, bev: BufferEvent) -> None:
        bev.on_read, bev.on_write, bev.on_event = self._on_read, self._on_write, self._on_event
        bev._closes = self._was_closed

    def _was_closed(self) -> None:
        """Its user, who has the bufferevent as well, has closed that."""
        exchange = self._exchange
        if exchange is not None:
            exchange.fail(CancelledError(f"the bufferevent of {exchange.request!r} was closed"))
        else:
            self._lose()

    def _on_read(self, bev: BufferEvent) -> None:
        if bev is not self._bev:
            return
        if self._exchange is not None:
            self._exchange.go_on()
        else:
            self._lose()  # nobody has asked for anything

    def _on_write(self, bev: BufferEvent) -> None:
        if bev is self._bev and self._exchange is not None:
            self._exchange.on_write()

    def _on_event(self, bev: BufferEvent, what: BufferEventFlag, error: Optional[Exception]) -> None:
        if bev is not self._bev or what & BufferEventFlag.CONNECTED:
            return
        if self._exchange is not None:
            self._exchange.on_event(what, error)
        else:
            self._lose()

    def _lose(self) -> None:
        """End the connection that there is, and tell of it."""
        bev, self._bev = self._bev, None
        if bev is None:
            return
        self._tunnel = False
        bev._closes = None
        bev.close()
        if self._on_close is not None and not self.closed:
            self._base._post(Posted(self._on_close, (self,), self))

    # -- called by a request ---------------------------------------------------------------------------------

    def _leave(self, request: ClientRequest) -> None:
        """Have nothing more to do with *request*."""
        exchange = self._exchange
        if exchange is not None and exchange.request is request:
            self._exchange = None
            exchange.stop()
            self._lose()
        elif request in self._queue:
            if len(self._queue) == 1 and self._opening is not None:
                self._opening.cancel()
                self._opening = None
            self._queue.remove(request)
        self._pump_soon()

    def _pause(self, request: ClientRequest) -> None:
        if self._exchange is not None and self._exchange.request is request:
            self._exchange.bev.disable(READ)

    def _unpause(self, request: ClientRequest) -> None:
        exchange = self._exchange
        if exchange is not None and exchange.request is request:
            exchange.bev.enable(READ)
            self._base.call_soon(exchange.go_on)

    # -- looking ---------------------------------------------------------------------------------------------

    @property
    def base(self) -> EventBase:
        """
        The base that it is on.

        Wraps: evhttp_connection_get_base() <event2/http.h>; libevent >= 2.0, its effect.
        """
        return self._base

    @property
    def address(self) -> Address:
        """
        Where it connects to.

        Wraps: evhttp_connection_get_peer() <event2/http.h>; libevent >= 1.4, its effect.
        """
        return self._address

    @property
    def bufferevent(self) -> Optional[BufferEvent]:
        """
        What it speaks over, None while it is not connected: to look at, to limit and to time.

        Its callbacks are the connection's, but after a status of 101, or a CONNECT that succeeded, they and
        the bufferevent are yours.

        Wraps: evhttp_connection_get_bufferevent() <event2/http.h>; libevent >= 2.0, its effect.
        """
        return self._bev

    @property
    def tls(self) -> Optional[TLSLayer]:
        """The TLS of the connection that there is."""
        bev = self._bev  # other threads may look, too
        return None if bev is None else bev.tls

    @property
    def pending(self) -> tuple[ClientRequest, ...]:
        """The requests that are not done, in order."""
        exchange = self._exchange  # other threads may look, too
        running = () if exchange is None else (exchange.request,)
        return tuple(request for request in (*running, *self._queue) if not request.done)

    @property
    def on_close(self) -> Optional[Callable[[Connection], object]]:
        """
        Told when the connection was lost or ended, as ``on_close(connection)``; None for nobody.

        Wraps: evhttp_connection_set_closecb() <event2/http.h>; libevent >= 1.4, its effect.
        """
        return self._on_close

    @on_close.setter
    def on_close(self, callback: Optional[Callable[[Connection], object]]) -> None:
        self._check_open()
        self._on_close = checked_callback(callback)
        if self._bev is not None and self._exchange is None and not self._tunnel:
            self._rest()

    @property
    def closed(self) -> bool:
        """Is it closed, or its base?"""
        return self._closed or self._base.closed

    # -- ending ----------------------------------------------------------------------------------------------

    def close(self) -> None:
        """
        End it now; any number of times, from inside any callback too.

        Requests that are not done finish with CancelledError.  Raises WrongThreadError, and closes nothing
        then.

        Wraps: evhttp_connection_free() <event2/http.h>; libevent >= 1.4, its effect.
        """
        if self._closed:
            return
        if self._base.closed:  # which finishes its operations itself
            self._closed = True
            return
        self._base.update_now()  # refuses another thread, before anything is done
        pending = self.pending
        if self._bev is not None:
            self._bev._closes = None
            self._bev.close()
        self._closed = True
        if self._exchange is not None:
            self._exchange.stop()
        if self._opening is not None:
            self._opening.cancel()
        self._exchange = self._opening = self._bev = None
        self._queue.clear()
        for request in pending:
            request._finish(error=CancelledError(f"the connection of {request!r} was closed"))

    def _describe(self) -> list[str]:
        if self.closed:
            return []
        state = "idle"
        if self._exchange is not None:
            state = "busy"
        elif self._opening is not None:
            state = "connecting"
        elif self._bev is None:
            state = "not connected"
        where = convert.format_address(self._address) if not isinstance(self._address, tuple) else self._host
        return [where, state, f"pending={len(self.pending)}"]
