"""The settings of a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

from .._native import children, convert
from .._native._libevent import ffi, lib
from . import reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..bufferevent import BufferEvent
    from ..event import EventBase
    from .refused import Refused
    from .request import Request
    from .server import Server

    Handler = Callable[[Request], object]

__all__ = ["Settings"]


class Settings(children.Child):
    """What can be set of a server, by a keyword of its constructor or an attribute of the same name."""

    __slots__ = (
        "_content_type",
        "_error_page",
        "_factory",
        "_handler",
        "_lingering_close",
        "_max_body_size",
        "_max_connections",
        "_max_headers_size",
        "_on_refused",
        "_on_request",
        "_read_timeout",
        "_reply_timeout",
        "_routes",
        "_timeout",
        "_write_timeout",
    )

    #: Handlers by path, and whether they get the body piece by piece.
    _routes: dict[str, tuple[Handler, bool]]
    _timeout: Optional[float]
    _read_timeout: Optional[float]
    _write_timeout: Optional[float]

    def _set(self, what: int, value: float) -> None:
        self._checked(lib.lev_http_set(self._c, what, value), "evhttp_set")

    def _set_looks(self, on_request: Optional[Handler], routes: dict[str, tuple[Handler, bool]]) -> None:
        """Have C say when the head of a request has come, if one of these is to see it."""
        looks = on_request is not None or any(streams for _, streams in routes.values())
        self._set(lib.LEV_SET_WANTS_HEADERS, looks)

    def _set_callable(self, name: str, value: object) -> None:
        if value is not None and not callable(value):
            raise TypeError(f"{name} must be callable or None, not {value!r}")
        self._check_open()

    @property
    def handler(self) -> Optional[Handler]:
        """Answers what no route takes, as ``handler(request)``; None: 404."""
        return self._handler

    @handler.setter
    def handler(self, handler: Optional[Handler]) -> None:
        self._set_callable("handler", handler)
        self._handler = handler

    @property
    def on_request(self) -> Optional[Callable[[Request], object]]:
        """
        Told of any request before its handler, as ``on_request(request)``; it may answer itself.

        Wraps: evhttp_set_newreqcb() <event2/http.h>; libevent >= 2.2, its effect.
        """
        return self._on_request

    @on_request.setter
    def on_request(self, callback: Optional[Callable[[Request], object]]) -> None:
        self._set_callable("on_request", callback)
        self._set_looks(callback, self._routes)
        self._on_request = callback

    @property
    def on_refused(self) -> Optional[Callable[[Server, Refused], object]]:
        """
        Told of each answer to a request that neither a handler nor on_request has seen, with a Refused, when
        it was sent or its connection has ended: ``on_refused(server, refused)``.  A log that writes a line
        there, and one in on_complete or on_close of each request, has all answers.

        Those are the ones to what is no HTTP, too long, or has a method or an Expect that is not allowed; to
        a body that has no certain end, and to two hosts; and to a connection too many (which over TLS is told
        nothing).  A connection that ends without an answer, as after *timeout*, is not told.  It counts for
        connections to come, and for those to virtual hosts on the server that they belong to.

        What it raises is logged.

        Wraps: evhttp_set_errorcb() <event2/http.h>; libevent >= 2.2, its effect on any.
        """
        return self._on_refused

    @on_refused.setter
    def on_refused(self, callback: Optional[Callable[[Server, Refused], object]]) -> None:
        self._set_callable("on_refused", callback)
        self._set(lib.LEV_SET_WANTS_REFUSED, callback is not None)
        self._on_refused = callback

    @property
    def error_page(self) -> Optional[Callable[[Request, int, str], Optional[bytes]]]:
        """
        Gives the body of error replies, as ``error_page(request, status, reason)``; None: the usual one.

        Those are error()'s, and those to requests that no handler sees: one whose body has no certain end or
        that names two hosts (400), and with libevent >= 2.2 one that is no HTTP or too long (400, 413) or has
        a method that is not allowed (501).  Where libevent does not know the target any more it is ''.

        Wraps: evhttp_set_errorcb() <event2/http.h>; libevent >= 2.2, its effect.
        """
        return self._error_page

    @error_page.setter
    def error_page(self, callback: Optional[Callable[[Request, int, str], Optional[bytes]]]) -> None:
        self._set_callable("error_page", callback)
        self._set(lib.LEV_SET_WANTS_PAGE, callback is not None)
        self._error_page = callback

    @property
    def bufferevent_factory(self) -> Optional[Callable[[EventBase], BufferEvent]]:
        """
        Makes the BufferEvent of each connection without tls=, as ``bufferevent_factory(base)``.

        It must have no socket yet; what was set of it but its priority and its TLS is set anew.

        Wraps: evhttp_set_bevcb() <event2/http.h>; libevent >= 2.0.
        """
        return self._factory

    @bufferevent_factory.setter
    def bufferevent_factory(self, factory: Optional[Callable[[EventBase], BufferEvent]]) -> None:
        self._set_callable("bufferevent_factory", factory)
        self._set(lib.LEV_SET_WANTS_BEV, factory is not None)
        self._factory = factory

    @property
    def max_headers_size(self) -> Optional[int]:
        """
        How many bytes the head of a request may have; None: no limit.  For connections to come.

        Wraps: evhttp_set_max_headers_size() <event2/http.h>; libevent >= 2.0.
        """
        return self._max_headers_size

    @max_headers_size.setter
    def max_headers_size(self, value: Optional[int]) -> None:
        self._set(lib.LEV_SET_MAX_HEADERS, _limit(value, "max_headers_size"))
        self._max_headers_size = value

    @property
    def max_body_size(self) -> Optional[int]:
        """
        How many bytes the body of a request may have; None: no limit.  For connections to come.

        Wraps: evhttp_set_max_body_size() <event2/http.h>; libevent >= 2.0.
        """
        return self._max_body_size

    @max_body_size.setter
    def max_body_size(self, value: Optional[int]) -> None:
        self._set(lib.LEV_SET_MAX_BODY, _limit(value, "max_body_size"))
        self._max_body_size = value

    @property
    def max_connections(self) -> Optional[int]:
        """
        How many connections there may be; one more is told 503 and closed.  None: no limit.

        Wraps: evhttp_set_max_connections() <event2/http.h>; libevent >= 2.2, here on any.
        """
        return self._max_connections

    @max_connections.setter
    def max_connections(self, value: Optional[int]) -> None:
        number = 0 if value is None else convert.c_int(value, "max_connections", 1)
        self._set(lib.LEV_SET_MAX_CONNECTIONS, number)
        self._max_connections = value

    def _set_timeouts(self, both: Optional[float], read: Optional[float], write: Optional[float]) -> None:
        limits = []
        for seconds, name in ((both, "timeout"), (read, "read_timeout"), (write, "write_timeout")):
            limits.append(-1.0 if seconds is None else convert.check_seconds(seconds, name))
        self._set(lib.LEV_SET_READ_TIMEOUT, limits[0] if read is None else limits[1])
        self._set(lib.LEV_SET_WRITE_TIMEOUT, limits[0] if write is None else limits[2])
        self._timeout, self._read_timeout, self._write_timeout = both, read, write

    @property
    def timeout(self) -> Optional[float]:
        """
        Seconds for a client that sends or takes nothing; None: no limit.

        Wraps: evhttp_set_timeout_tv() <event2/http.h>; libevent >= 2.1.
        """
        return self._timeout

    @timeout.setter
    def timeout(self, seconds: Optional[float]) -> None:
        self._set_timeouts(seconds, self._read_timeout, self._write_timeout)

    @property
    def read_timeout(self) -> Optional[float]:
        """
        Seconds for a client that sends nothing; None: what *timeout* says.

        Wraps: evhttp_set_read_timeout_tv() <event2/http.h>; libevent >= 2.2, here on any.
        """
        return self._read_timeout

    @read_timeout.setter
    def read_timeout(self, seconds: Optional[float]) -> None:
        self._set_timeouts(self._timeout, seconds, self._write_timeout)

    @property
    def write_timeout(self) -> Optional[float]:
        """
        Seconds for a client that takes nothing; None: what *timeout* says.

        Wraps: evhttp_set_write_timeout_tv() <event2/http.h>; libevent >= 2.2, here on any.
        """
        return self._write_timeout

    @write_timeout.setter
    def write_timeout(self, seconds: Optional[float]) -> None:
        self._set_timeouts(self._timeout, self._read_timeout, seconds)

    @property
    def reply_timeout(self) -> Optional[float]:
        """Seconds after which a request that was deferred has 503 answered; None: never."""
        return self._reply_timeout

    @reply_timeout.setter
    def reply_timeout(self, seconds: Optional[float]) -> None:
        limit = -1.0 if seconds is None else convert.check_seconds(seconds, "reply_timeout")
        self._set(lib.LEV_SET_REPLY_TIMEOUT, limit)
        self._reply_timeout = seconds

    @property
    def default_content_type(self) -> Optional[str]:
        """
        The Content-Type of answers that say none themselves; None: no header.

        Wraps: evhttp_set_default_content_type() <event2/http.h>; libevent >= 2.1.
        """
        return self._content_type

    @default_content_type.setter
    def default_content_type(self, value: Optional[str]) -> None:
        if value is not None:
            reply.pack((), None, value)
        encoded = ffi.NULL if value is None else convert.c_text(value, "default_content_type")
        self._checked(lib.lev_http_set_content_type(self._c, encoded), "evhttp_set_default_content_type")
        self._content_type = value

    @property
    def lingering_close(self) -> bool:
        """
        Is a body that is too long read to its end before 413 is answered?  For connections to come.

        Wraps: evhttp_set_flags() <event2/http.h>; libevent >= 2.1.
        """
        return self._lingering_close

    @lingering_close.setter
    def lingering_close(self, value: bool) -> None:
        self._set(lib.LEV_SET_LINGERING, bool(value))
        self._lingering_close = bool(value)


def _limit(value: Optional[int], name: str) -> int:
    return -1 if value is None else convert.c_int(value, name, 0)
