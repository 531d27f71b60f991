"""What a client wants: the part of a request that came from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, Optional

from .._native._libevent import ffi, lib
from ..buffer import Buffer
from ..errors import ClosedError
from ..flags import URIFlag
from .encoding import parse_query, uri_decode
from .headers import Headers
from .serverconnection import ServerConnection
from .text import codec_of, parse_json
from .uri import URI

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..types import SocketAddress
    from .multidict import MultiDict
    from .request import Request
    from .server import Server
    from .takeover import Guest

__all__ = ["Incoming"]

_new_text = ffi.new_allocator(should_clear_after_alloc=False)
_ROOM = 1024

_NO_REQUEST: int = lib.LEV_NO_REQUEST
_GONE: int = lib.LEV_CLIENT_GONE
_WRONG_THREAD: int = lib.LEV_WRONG_THREAD


class _Extra:
    """What few requests need."""

    __slots__ = (
        "body",
        "complete",
        "connection",
        "guest",
        "headers",
        "looked",
        "lost",
        "on_body",
        "on_body_end",
        "on_close",
        "on_complete",
        "on_end",
        "ready",
        "told",
        "unended",
        "waiting",
    )

    def __init__(self) -> None:
        self.on_close: Optional[Callable[[Request], object]] = None
        self.on_complete: Optional[Callable[[Request], object]] = None
        self.on_body: Optional[Callable[[Request, Buffer], object]] = None
        self.on_body_end: Optional[Callable[[Request], object]] = None
        self.body: Optional[Buffer] = None
        self.connection: Optional[ServerConnection] = None
        self.headers: Optional[Headers] = None
        #: What send_chunk() is to call when all is written.
        self.waiting: list[tuple[Callable[..., object], tuple[Any, ...]]] = []
        #: How many of them may be called now: what they send themselves has its turn later.
        self.ready = 0
        #: on_close was called.
        self.told = False
        #: Its connection came to its end before all was written.
        self.lost = False
        #: start() was called, and not end().
        self.unended = False
        #: All was written all the same: the client has left when it had all that was promised.
        self.complete = False
        #: Gives back what belongs to its answer.
        self.on_end: Optional[Callable[[], object]] = None
        #: Who speaks something else on its connection now.
        self.guest: Optional[Guest] = None
        #: on_request was called, when the head had come.
        self.looked = False

    def end(self) -> None:
        """It is over."""
        callback, self.on_end = self.on_end, None
        if callback is not None:
            callback()


class Incoming:
    """What came from the client.  It is read from C when it is asked for, and kept then."""

    __slots__ = ("__weakref__", "_answered", "_extra", "_headers", "_line", "_number", "_server")

    def __init__(self, server: Server, number: int) -> None:
        self._server = server
        self._number = number
        self._answered = False
        self._line: Optional[tuple[str, str, str]] = None
        self._headers: Optional[Headers] = None
        self._extra: Optional[_Extra] = None

    def _more(self) -> _Extra:
        if self._extra is None:
            self._extra = _Extra()
        return self._extra

    def _state(self) -> int:
        """Return what C says of it, below 0 when it has it no more.  Raises WrongThreadError."""
        state: int = lib.lev_sreq_state(self._server._c, self._number)
        if state == _WRONG_THREAD:
            self._server._refuse(state, "evhttp_request")
        return state

    # -- what the client wants -------------------------------------------------------------------------------

    def _copy(self, what: int) -> bytes:
        room = _ROOM
        while True:
            memory = _new_text("char[]", room)
            size = lib.lev_sreq_copy(self._server._c, self._number, what, memory, room)
            if size < 0:
                self._refuse_to_read(size)
            if size <= room:
                return bytes(ffi.buffer(memory, size))
            room = size

    def _refuse_to_read(self, code: int) -> NoReturn:
        if code == _NO_REQUEST:
            raise ClosedError(f"{self!r}: it is over, and what the client sent is gone")
        self._server._refuse(code, "evhttp_request")

    def _parts(self) -> tuple[str, str, str]:
        line = self._line
        if line is None:
            text = self._copy(lib.LEV_COPY_LINE).decode("utf-8", "surrogateescape")
            method, target, version, _ = text.split("\0")
            line = self._line = (method, target, version)
        return line

    def _answer(self) -> tuple[int, str]:
        """Return the status that was sent, 0 before, and the Content-Length that went with it, or ''."""
        status, length, _ = self._copy(lib.LEV_COPY_ANSWER).decode("ascii").split("\0")
        return int(status), length

    @property
    def method(self) -> str:
        """
        GET, POST, and so on; UNKNOWN for one that libevent does not know, where that is allowed.

        Wraps: evhttp_request_get_command() <event2/http.h>; libevent >= 2.0.
        """
        return self._parts()[0]

    @property
    def target(self) -> str:
        """
        What is asked for, as it stands on the request line.

        Wraps: evhttp_request_get_uri() <event2/http.h>; libevent >= 1.4.
        """
        return self._parts()[1]

    @property
    def version(self) -> tuple[int, int]:
        """The version of HTTP that the client speaks: (1, 1) or (1, 0)."""
        major, _, minor = self._parts()[2].partition(".")
        return int(major), int(minor)

    @property
    def uri(self) -> URI:
        """
        The target, taken apart.

        Wraps: evhttp_request_get_evhttp_uri() <event2/http.h>; libevent >= 2.0.
        """
        method, target, _ = self._parts()
        if method == "CONNECT":
            target = f"//{target}"
        return URI(target, flags=URIFlag.NONCONFORMANT)

    @property
    def path(self) -> str:
        """The path of the target, decoded; what is not UTF-8 comes as surrogates.  Raw: ``uri.path``."""
        target = self._parts()[1]
        if not target.startswith("/") or target.startswith("//"):
            target = self.uri.path
        path = target.partition("?")[0].partition("#")[0]
        if "%" not in path:
            return path
        return uri_decode(path).decode("utf-8", "surrogateescape")

    @property
    def query(self) -> MultiDict:
        """The query of the target, decoded; a name without a value has the value ''."""
        return parse_query(self._parts()[1].partition("?")[2].partition("#")[0], nonconformant=True)

    @property
    def host(self) -> Optional[str]:
        """
        Which host is asked, by the target or the header Host; without the port.

        Wraps: evhttp_request_get_host() <event2/http.h>; libevent >= 2.0.
        """
        text = self._copy(lib.LEV_COPY_HOST)
        return text[:-1].decode("utf-8", "surrogateescape") if text else None

    @property
    def headers(self) -> Headers:
        """
        What the client sent; a change of it changes nothing else.

        Wraps: evhttp_request_get_input_headers() <event2/http.h>; libevent >= 2.0.
        """
        headers = self._headers
        if headers is None:
            headers = self._headers = Headers._unpack(self._copy(lib.LEV_COPY_HEADERS))
        return headers

    @property
    def body(self) -> Buffer:
        """
        The body.  It is closed when the request is over; ``bytes(request.body)`` copies it.

        Wraps: evhttp_request_get_input_buffer() <event2/http.h>; libevent >= 2.0.
        """
        extra = self._more()
        if extra.body is None:
            pointer = lib.lev_sreq_body(self._server._c, self._number)
            if not pointer:
                self._state()  # where it was another thread that asked, that is said
                self._refuse_to_read(_NO_REQUEST)
            handle = ffi.gc(pointer, lib.lev_sreq_drop_body)
            extra.body = Buffer._part(pointer, handle, self._server._base, None)
        return extra.body

    def text(self) -> str:
        """
        Return the body as text, by the charset of Content-Type, which is UTF-8 by default.

        Raises UnicodeDecodeError, LookupError for an unknown charset, ClosedError.
        """
        return bytes(self.body).decode(codec_of(_charset(self.headers.get("Content-Type", ""))))

    def json(self) -> Any:
        """Return the body, which is JSON.  Raises ValueError, ClosedError."""
        return parse_json(bytes(self.body))

    # -- from whom -------------------------------------------------------------------------------------------

    @property
    def server(self) -> Server:
        """The server that answers: a virtual host, where it is one."""
        return self._server

    @property
    def connection(self) -> ServerConnection:
        """
        The client's connection.  Raises ClosedError where it was not asked for in time.

        Wraps: evhttp_request_get_connection() <event2/http.h>; libevent >= 2.0.
        """
        extra = self._more()
        if extra.connection is None:
            number = lib.lev_sreq_connection(self._server._c, self._number)
            if number < 0:
                self._refuse_to_read(_NO_REQUEST if number == _GONE else number)
            extra.connection = ServerConnection(self._server._root(), number)
        return extra.connection

    @property
    def peer_address(self) -> SocketAddress:
        """
        The client's address.  Raises ClosedError where it was not asked for in time.

        Wraps: evhttp_connection_get_peer() <event2/http.h>; libevent >= 1.4.
        """
        return self.connection.peer_address


def _charset(content_type: str) -> str:
    for parameter in content_type.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip('"') or "utf-8"
    return "utf-8"
