"""One request on a connection of its own, and following redirects."""

from __future__ import annotations

import base64
import functools
from typing import TYPE_CHECKING, Any, NamedTuple, Optional, Union, cast

from .._native import convert
from ..buffer import Buffer
from ..flags import URIFlag
from .connection import Connection
from .encoding import uri_decode
from .headers import Headers
from .options import is_name
from .uri import URI

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from typing_extensions import TypeVarTuple, Unpack

    from ..event import EventBase
    from ..tls import TLSContext
    from ..types import Address, BytesLike, HeadersLike
    from .clientrequest import ClientRequest
    from .options import ConnectionOptions
    from .response import Response

    _Ts = TypeVarTuple("_Ts")

__all__ = ["Route", "fetch"]

_FLAGS = getattr(URIFlag, "UNIX_SOCKET", URIFlag(0))
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
#: What is for one server only.
_PRIVATE = frozenset({"authorization", "cookie", "proxy-authorization"})
_ABOUT_BODY = frozenset(
    {"content-encoding", "content-language", "content-location", "content-type", "expect"}
)


def fetch(
    base: EventBase,
    url: Union[str, URI],
    callback: Optional[Callable[[ClientRequest, Unpack[_Ts]], object]] = None,
    *args: Unpack[_Ts],
    method: str = "GET",
    headers: HeadersLike = (),
    body: Union[BytesLike, str, Buffer] = b"",
    follow_redirects: int = 0,
    on_headers: Optional[Callable[[ClientRequest], object]] = None,
    on_chunk: Optional[Callable[[ClientRequest, Buffer], object]] = None,
    **options: Unpack[ConnectionOptions],
) -> ClientRequest:
    """
    Make one request on a connection of its own: http, https, or http+unix and https+unix, whose host is the
    path of a UNIX socket, percent-encoded; from libevent 2.2 on also ``http://unix:/path/of/socket:/path``.

    - *follow_redirects*: how many redirects to follow; one more is the result.  301, 302 and 303 go on with
      GET, where the method was not safe; credentials stay with the server they were for; a body that was a
      Buffer is sent once.  None leads to a UNIX socket, but within one.
    - the rest: see Connection.request() and ConnectionOptions.  For https without *tls* the server is
      verified by TLSContext().  A user and password in *url* are sent as Authorization.

    *timeout* is about a server that is silent; *total_timeout* ends the request with TimeoutError after so
    many seconds, whatever comes.  One that runs already: ``base.call_later(5, request.cancel)``.

    Returns the request, which need not be kept.  Raises as Connection and its request() do, and ValueError
    for a URL that is none of these.

    Wraps: evhttp_connection_free_on_completion() <event2/http.h>; libevent >= 2.1, its effect.
    """
    parsed = url if isinstance(url, URI) else URI(url, flags=_FLAGS)
    remaining = convert.c_int(follow_redirects, "follow_redirects", 0)
    where = _where(parsed)
    connection = _connect(base, where, options)
    given = Headers(headers)
    if "connection" not in given:
        given.add("Connection", "close")
    _credentials(parsed, given)
    route = Route(base, remaining, cast("dict[str, Any]", options))
    request = connection._ask(
        method, where.target, callback, args, given, body, on_headers, on_chunk, route if remaining else None
    )
    request._url = parsed
    return request


class _Where(NamedTuple):
    """Where a URL leads."""

    secure: bool
    address: Address
    target: str


def _where(url: URI) -> _Where:
    scheme = (url.scheme or "").lower()
    secure = scheme.startswith("https")
    target = (url.path or "/") + ("" if url.query is None else f"?{url.query}")
    if scheme in ("http+unix", "https+unix") and url.host:
        return _Where(secure, uri_decode(url.host), target)
    if scheme not in ("http", "https") or not (url.host or url.unix_socket):
        raise ValueError(
            f"{str(url)!r} is no URL to fetch: that has http, https, http+unix or https+unix, and a host"
        )
    if url.unix_socket:
        return _Where(secure, url.unix_socket, target)
    host = uri_decode(url.host or "").decode("utf-8", "replace").removeprefix("[").removesuffix("]")
    return _Where(secure, (host, (443 if secure else 80) if url.port is None else url.port), target)


def _credentials(url: URI, headers: Headers) -> None:
    """Add the user and password of *url* to *headers*."""
    if url.userinfo and "authorization" not in headers:
        headers.add("Authorization", f"Basic {base64.b64encode(uri_decode(url.userinfo)).decode('ascii')}")


def _connect(base: EventBase, where: _Where, options: Mapping[str, Any]) -> Connection:
    chosen = dict(options)
    if not where.secure:
        chosen.pop("tls", None)
        chosen.pop("server_hostname", None)
    elif chosen.get("tls") is None:
        chosen["tls"] = _default_tls()
    connection = Connection(base, where.address, **cast("ConnectionOptions", chosen))
    connection._once = True
    return connection


@functools.lru_cache(maxsize=1)
def _default_tls() -> TLSContext:
    from ..tls import TLSContext  # loads libssl

    return TLSContext()


class Route:
    """Where a request may be led on to."""

    __slots__ = ("_base", "_options", "_remaining")

    def __init__(self, base: EventBase, remaining: int, options: dict[str, Any]) -> None:
        self._base = base
        self._remaining = remaining
        self._options = options

    def target(self, request: ClientRequest, response: Response) -> Optional[URI]:
        """Return where *response* leads on to; None when it is what was asked for."""
        location = response.headers.get("location")
        if response.status not in _REDIRECTS or location is None or not self._remaining:
            return None
        if response.status in (307, 308) and request._body is None:
            return None
        try:
            url = request.url.resolve(URI(_encoded(location), flags=URIFlag.NONCONFORMANT))
            where, before = _where(url), _where(request.url)
            is_name(where.address)  # checks it
        except ValueError:
            return None
        if not isinstance(where.address, tuple) and where.address != before.address:
            return None  # a server has no say in what is asked of this machine's own sockets
        return url.replace(userinfo=None)

    def follow(self, request: ClientRequest, url: URI, status: int) -> None:
        """Ask there."""
        request._connection = request._response = None
        try:
            self._remaining -= 1
            where = _where(url)
            is_same = _origin(url) == _origin(request.url)
            if not is_same:
                self._options.pop("server_hostname", None)
            connection = _connect(self._base, where, self._options)
            self._ask_again(request, url, where, connection, is_same, status)
        except Exception as error:
            request._finish(error=error)

    def _ask_again(
        self,
        request: ClientRequest,
        url: URI,
        where: _Where,
        connection: Connection,
        is_same: bool,
        status: int,
    ) -> None:
        headers, method, body = request._headers.copy(), request._method, request._body
        for name in ("host", "content-length", *(() if is_same else _PRIVATE)):
            headers.pop(name, None)
        if (status == 303 and method not in ("GET", "HEAD")) or (status in (301, 302) and method == "POST"):
            method, body = "GET", b""
            for name in _ABOUT_BODY:
                headers.pop(name, None)
        request._set(method, where.target, url, headers, b"" if body is None else body, connection._host)
        connection._add(request)
        self._base.call_soon(connection._pump)


def _encoded(location: str) -> str:
    """Encode what cannot stand in a URL, as browsers do."""
    raw = location.encode("utf-8", "surrogateescape")
    return "".join(chr(byte) if 0x21 <= byte < 0x7F else f"%{byte:02X}" for byte in raw)


def _origin(url: URI) -> tuple[object, ...]:
    where = _where(url)
    return where.secure, where.address
