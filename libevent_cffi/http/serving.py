"""Which function answers a request, and what happens when that fails."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any, Optional, overload

from .._native import callbacks_http as _callbacks_http  # noqa: F401 - C calls what is there
from .._native import convert
from .._native._libevent import ffi, lib
from .._native.callbacks import delivers
from ..errors import ClosedError, WebSocketError
from . import reply
from .refused import Refused
from .request import Request
from .settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..bufferevent import BufferEvent
    from .takeover import Guest, Taken

    Handler = Callable[[Request], object]

__all__ = ["Serving"]

_log = logging.getLogger("libevent")


class Serving(Settings):
    """The part of a Server that calls handlers."""

    __slots__ = ("_failures", "_guests", "_latest", "_requests", "_shown")

    def _start_serving(self) -> None:
        #: Held requests by number; see Request._hold().
        self._requests: dict[int, Request] = {}
        #: Those who speak something else than HTTP, by the number of their connection.
        self._guests: dict[int, tuple[Taken, Guest]] = {}
        #: What carries connections, where that was asked for, by their numbers.
        self._shown: dict[int, BufferEvent] = {}
        self._routes = {}
        #: What handlers raised, the newest first, until it is logged.
        self._failures: Any = None
        #: The request that came last, which lev_py_request_failed() may be about.
        self._latest: Optional[Request] = None

    # -- called from callbacks_http.py -----------------------------------------------------------------------

    def _request(self, number: int) -> Request:
        return Request(self, number)  # type: ignore[arg-type]  # this is a part of one

    def _incoming(self, number: int) -> tuple[Request, Handler]:
        """Return a request that has come, and who answers it."""
        request = self._requests.get(number)
        if request is None:
            request = Request(self, number)  # type: ignore[arg-type]  # this is a part of one
        self._latest = request
        if self._routes or self._on_request is not None:
            return request, self._dispatch
        return request, self._handler or _not_found

    def _looked_at(self, number: int) -> tuple[Request, Optional[Handler], int]:
        """Return a request whose head has come, who is to see it, and what C is told then: 2.2 only."""
        request = self._latest = self._request(number)
        _, streams = self._routes.get(request.path, (None, False))
        if streams or self._on_request is not None:
            request._hold(0)
            request._more().looked = True
        if streams:
            return request, self._look_and_handle, lib.LEV_MORE
        return request, self._on_request, lib.LEV_DONE

    @delivers
    def _look_and_handle(self, request: Request) -> None:
        callback = self._on_request
        if callback is not None:
            callback(request)
            if request.closed or request.answered:
                return
        callback = self._routes.get(request.path, (self._handler, False))[0] or _not_found
        callback(request)

    @delivers
    def _dispatch(self, request: Request) -> None:
        """Answer a request all of which is there."""
        callback = self._on_request
        if callback is not None and not request._more().looked:
            callback(request)
            if request.closed or request.answered:
                return
        handler, streams = self._routes.get(request.path, (self._handler, False))
        callback = handler or _not_found
        callback(request)
        if not streams or request.closed:
            return
        body_callback, callback = request.on_body, request.on_body_end
        if body_callback is not None and request.body:
            body_callback(request, request.body)
            request.body.drain()
        if callback is not None:
            callback(request)

    def _handler_failed(self, number: int) -> None:
        """Say what a handler did wrong, and answer for it."""
        request = self._requests.get(number) or self._latest
        if request is None or request._number != number:
            request = self._request(number)
        failure = self._failures
        error = failure[0] if failure is not None else None
        _say(request, error)
        if failure is not None:
            self._failures = failure[1]
        guest = request._extra.guest if request._extra is not None else None
        if guest is not None:
            guest._handler_failed()
        elif request.answered:
            if not request.closed:
                request.close()  # what has begun cannot be ended as if all were well
        elif not isinstance(error, BrokenPipeError):
            with contextlib.suppress(BrokenPipeError, ClosedError):
                request.error(500)

    def _refusal(
        self, status: int, size: int, line: tuple[Any, int], peer: tuple[Any, int]
    ) -> tuple[Optional[Callable[[Any, Refused], object]], Refused]:
        """Return who is told of a request that nobody has seen, and what."""
        text = bytes(ffi.buffer(*line)).decode("utf-8", "surrogateescape")
        return self._on_refused, Refused(status, text, size, convert.sockaddr_from_c(*peer))

    def _refusal_failed(self, error: BaseException) -> None:
        _log.error("on_refused of %s failed", repr(self), exc_info=error)

    @delivers
    def _make_bufferevent(self) -> None:
        """Have a bufferevent made for a connection, and give it to C."""
        from ..bufferevent import BufferEvent

        callback = self._factory
        try:
            made = callback(self.base) if callback is not None else None
            if not isinstance(made, BufferEvent):
                raise TypeError(f"bufferevent_factory must return a BufferEvent, not {made!r}")
            if lib.lev_http_offer(self._c, made._c) < 0:
                raise ValueError(
                    f"bufferevent_factory returned {made!r}: it must be new, on this base, without a socket,"
                    " and neither a filter nor one end of a pair"
                )
        except Exception as error:
            _log.error("a connection to %s is refused: no BufferEvent", repr(self), exc_info=error)

    def _make_page(self, number: int, status: int) -> None:
        """Give C the page of an error that has no handler."""
        request = self._requests.get(number) or self._request(number)
        request._answered = True
        page = self._page_of(request, status, reply.phrase(status))
        lib.lev_http_put_page(self._c, page, len(page))

    @delivers
    def _page_of(self, request: Request, status: int, reason: str) -> bytes:
        callback = self._error_page
        if callback is not None:
            try:
                page = callback(request, status, reason)
                if page is not None:
                    return bytes(page)
            except Exception as error:
                _log.error("error_page(%s, %d) failed", repr(request), status, exc_info=error)
        return reply.error_page(status, reason)

    # -- routes -----------------------------------------------------------------------------------------

    @overload
    def route(self, path: str, handler: Handler, *, stream: bool = False) -> Handler: ...
    @overload
    def route(self, path: str, *, stream: bool = False) -> Callable[[Handler], Handler]: ...
    def route(self, path: str, handler: Optional[Handler] = None, *, stream: bool = False) -> Any:
        """
        Have ``handler(request)`` answer for exactly this path, decoded; also a decorator.

        With *stream* it is called when the head of the request is in, and the body comes to on_body; what is
        answered before that has ended is sent then.  (libevent >= 2.2; below it the body comes in one piece.)

        Raises ValueError for a path that does not begin with "/" or has a handler, TypeError, ClosedError,
        WrongThreadError.

        Wraps: evhttp_set_cb() <event2/http.h>; libevent >= 1.4, its effect.
        """
        if not isinstance(path, str):
            raise TypeError(f"path must be str, not {path!r}")
        if not path.startswith("/"):
            raise ValueError(f"a path begins with '/': {path!r}")
        if handler is None:
            return lambda handler: self.route(path, handler, stream=stream)
        self._set_callable("handler", handler)
        if path in self._routes:
            raise ValueError(f"{path!r} has a handler already: remove_route() takes it away")
        self._set_routes({**self._routes, path: (handler, bool(stream))})
        return handler

    def remove_route(self, path: str) -> None:
        """
        Have the handler of *path* answer no more.

        Raises KeyError for a path that has none, ClosedError, WrongThreadError.

        Wraps: evhttp_del_cb() <event2/http.h>; libevent >= 1.4, its effect.
        """
        self._check_open()
        routes = dict(self._routes)
        del routes[path]
        self._set_routes(routes)

    def _set_routes(self, routes: dict[str, tuple[Handler, bool]]) -> None:
        self._set_looks(self._on_request, routes)
        self._routes = routes


def _not_found(request: Request) -> None:
    request.error(404)


def _say(request: Request, error: Optional[BaseException]) -> None:
    """Log what a callback did wrong; as text, or a log that is kept would keep the request."""
    with contextlib.suppress(ClosedError):
        request._parts()  # then its name is known
    name = repr(request)
    if error is None:
        _log.error("%s was not answered, and 500 is: its handler returned without reply() or defer()", name)
    elif isinstance(error, BrokenPipeError) and request.client_gone:
        _log.debug("the client of %s has gone", name)
    elif isinstance(error, WebSocketError) and request.answered:
        _log.info("%s: %s", name, error)
    else:
        _log.error("a callback of %s failed", name, exc_info=error)
