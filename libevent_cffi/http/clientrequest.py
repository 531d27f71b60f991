"""A client's request."""

from __future__ import annotations

import errno
import re
from typing import TYPE_CHECKING, Any, Optional, Union

from ..buffer import Buffer
from ..event import Operation
from ..flags import URIFlag
from .headers import Headers, is_token
from .response import Response
from .uri import URI

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..event import EventBase, Timer
    from ..types import BytesLike
    from .connection import Connection
    from .fetch import Route

__all__ = ["ClientRequest", "body_of", "check_target"]

#: Methods that may be sent twice without doing more (RFC 9110, 9.2.2).
IDEMPOTENT = frozenset("GET HEAD PUT DELETE OPTIONS TRACE PROPFIND MKCOL".split())

_is_target = re.compile("[!-~]+").fullmatch


class ClientRequest(Operation[Response]):
    """
    A request on its way.

    Any status is a result, a Response; an error is what kept a response from coming: OSError, TimeoutError,
    DNSError, TLSError, HTTPError where the server broke HTTP or closed early, or CancelledError.

    Wraps: evhttp_request_new() evhttp_cancel_request() evhttp_request_set_error_cb() <event2/http.h>;
    libevent >= 2.1, their effect.
    """

    __slots__ = (
        *("_body", "_connection", "_headers", "_method", "_on_chunk", "_on_headers", "_paused", "_response"),
        *("_route", "_target", "_timer", "_tries", "_url"),
    )

    _connection: Optional[Connection]
    _method: str
    _target: str
    _url: Union[URI, str]
    _headers: Headers
    #: None: it was a Buffer, and has been moved on.
    _body: Union[bytes, Buffer, None]
    _on_headers: Optional[Callable[..., object]]
    _on_chunk: Optional[Callable[..., object]]
    _response: Optional[Response]
    _route: Optional[Route]
    _paused: bool
    #: Ends it after total_timeout.
    _timer: Optional[Timer]
    _tries: int

    @classmethod
    def _new(
        cls,
        base: EventBase,
        callback: Optional[Callable[..., object]],
        args: tuple[Any, ...],
        on_headers: Optional[Callable[..., object]],
        on_chunk: Optional[Callable[..., object]],
    ) -> ClientRequest:
        for name, each in (("on_headers", on_headers), ("on_chunk", on_chunk)):
            if each is not None and not callable(each):
                raise TypeError(f"{name} must be callable, not {each!r}")
        request = cls._start(base, callback, args)
        assert isinstance(request, cls)
        request._on_headers, request._on_chunk = on_headers, on_chunk
        request._connection = request._response = request._route = None
        request._paused, request._timer, request._tries = False, None, 0
        return request

    @property
    def method(self) -> str:
        """The method."""
        return self._method

    @property
    def url(self) -> URI:
        """What is asked for."""
        if isinstance(self._url, str):
            self._url = URI(self._url, flags=URIFlag.NONCONFORMANT)
        return self._url

    @property
    def headers(self) -> Headers:
        """
        The headers that are sent, with those that were added; a copy.

        Wraps: evhttp_request_get_output_headers() <event2/http.h>; libevent >= 2.0, its effect.
        """
        return self._headers.copy()

    @property
    def response(self) -> Optional[Response]:
        """Status and headers once they are in; the body is complete when this is done."""
        return self._response

    # -- pausing ---------------------------------------------------------------------------------------------

    def pause_reading(self) -> None:
        """
        Take no more of the response: no on_chunk, and no timeout, until resume_reading().

        What fills up then is the server's.  Raises WrongThreadError.

        Wraps: bufferevent_disable() <event2/bufferevent.h>; libevent >= 2.0.
        """
        self._base.update_now()  # refuses another thread
        if not self._done and not self._paused:
            if self._connection is not None:
                self._connection._pause(self)
            self._paused = True

    def resume_reading(self) -> None:
        """
        Go on after pause_reading().  Raises WrongThreadError.

        Wraps: bufferevent_enable() <event2/bufferevent.h>; libevent >= 2.0.
        """
        self._base.update_now()
        if not self._done and self._paused:
            self._paused = False
            if self._connection is not None:
                self._connection._unpause(self)

    # -- ending ----------------------------------------------------------------------------------------------

    def _abandon(self) -> None:
        self._base.update_now()  # refuses another thread, before anything is done
        if self._connection is not None:
            self._connection._leave(self)

    def _finish(self, value: Any = None, error: Optional[Exception] = None) -> bool:
        connection = self._connection
        if not super()._finish(value, error):
            return False
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.close()
        self._connection = self._body = self._on_headers = self._on_chunk = self._route = None
        if connection is not None and error is not None:
            connection._leave(self)
        return True

    def _limit(self, seconds: Optional[float]) -> None:
        if seconds is not None:
            self._timer = self._base.call_later(seconds, self._took_too_long, seconds)

    def _took_too_long(self, seconds: float) -> None:
        self._finish(error=TimeoutError(errno.ETIMEDOUT, f"the request took longer than {seconds:g} s"))

    def _can_be_sent_again(self) -> bool:
        return self._body is not None and self._method in IDEMPOTENT

    # -- what goes out ---------------------------------------------------------------------------------------

    def _head_bytes(self) -> bytes:
        lines = [f"{self._method} {self._target} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in self._headers.multi_items()]
        return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")

    def _set(
        self,
        method: str,
        target: str,
        url: Union[URI, str],
        headers: Headers,
        body: Union[bytes, Buffer],
        host: str,
    ) -> None:
        """Say what is asked, with the headers that are missing."""
        size = len(body)
        if "host" not in headers:
            headers = Headers([("Host", host), *headers.multi_items()])
        if "transfer-encoding" in headers:
            raise ValueError("Transfer-Encoding: a request's body goes out in one piece, with Content-Length")
        if "content-length" in headers:
            if headers.get_list("content-length") != [str(size)]:
                raise ValueError(f"Content-Length: the body has {size} bytes, and it is added by itself")
        elif size or method in ("POST", "PUT", "PATCH"):
            headers.add("Content-Length", str(size))
        self._method, self._target, self._url, self._headers, self._body = method, target, url, headers, body

    def __repr__(self) -> str:
        state = super().__repr__().removeprefix("<ClientRequest ")
        return f"<ClientRequest {self._method} {self._url} {state}"


def body_of(body: Union[BytesLike, str, Buffer]) -> Union[bytes, Buffer]:
    """Return *body* as what nobody else can change; a Buffer is moved, and left empty."""
    if isinstance(body, str):
        return body.encode()
    if isinstance(body, Buffer):
        moved = Buffer()
        moved.add_buffer(body)
        return moved
    return body if type(body) is bytes else bytes(memoryview(body))


def check_target(method: str, target: str) -> None:
    """Raise for what would break the request line."""
    if not isinstance(method, str) or not isinstance(target, str):
        raise TypeError(f"method and target must be str, not {method!r} and {target!r}")
    if not is_token(method):
        raise ValueError(f"{method!r} cannot be a method: letters, digits and !#$%&'*+-.^_`|~")
    if not _is_target(target):
        raise ValueError(
            f"{target!r} cannot be a target: ASCII without spaces; uri_encode() encodes what is not"
        )
    if not target.startswith("/") and "://" not in target and target != "*" and method != "CONNECT":
        raise ValueError(f"{target!r} cannot be a target: a path begins with '/'")
