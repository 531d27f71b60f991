"""A WebSocket: messages over a connection that was one of HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional, Union

from .._native import convert
from ..errors import WebSocketError
from ..event.arguments import check_base
from ..flags import READ
from ..http import Request
from ..http.takeover import take_over
from . import handshake
from .connecting import connect
from .framing import Framing, check_close, require
from .speaking import Speaking, checked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from typing_extensions import TypeAlias, TypeVarTuple, Unpack

    from ..bufferevent import BufferEvent
    from ..event import EventBase, Operation
    from ..http import URI, ConnectionOptions
    from ..types import BytesLike, HeadersLike, SocketAddress

    _Ts = TypeVarTuple("_Ts")

    OnMessage: TypeAlias = Callable[["WebSocket", Union[str, bytes]], object]
    OnClose: TypeAlias = Callable[["WebSocket", int, str], object]
    OnPong: TypeAlias = Callable[["WebSocket", bytes], object]

__all__ = ["WebSocket"]

#: Bytes that may wait to be read.
_MOST_INPUT = 65536


class WebSocket(Speaking):
    """
    An open WebSocket, made by accept() on a server's side and by connect() on a client's.

    - ``on_message(ws, data)``: a whole message, str where it is text and bytes where it is binary.
    - ``on_close(ws, code, reason)``: the other side has ended it, and *code* is what it said, 1005 for none;
      or it was ended because that side broke the protocol, with 1002, sent text that is no UTF-8, with 1007,
      or a message that is too long, with 1009; or the connection broke or a ping was not answered, with 1006;
      or the server stops, with 1001.  Not after your own close().
    - ``on_pong(ws, data)``: a ping was answered.

    All of them are slots, to be set at any time, and run on the thread that dispatches, never inside of a
    call of its methods.  What they raise goes where the errors of callbacks go: to the base's error_handler,
    or out of dispatch(); it stays open.  Pings of the other side are answered by themselves.

    It lives while it is open, whether somebody refers to it or not: on a client's side it keeps dispatch()
    running, on a server's the server does.  It is closed with its server, its connection or its base.

    Wraps: evws_new_session() evws_connection_free() evws_connection_set_closecb() <event2/ws.h>; libevent >=
    2.2, here their effect on any.
    """

    __slots__ = ()

    def __init__(self) -> None:
        raise TypeError("a WebSocket is made by accept() or connect()")

    # -- opening ---------------------------------------------------------------------------------------------

    @classmethod
    def accept(
        cls,
        request: Request,
        *,
        on_message: Optional[OnMessage] = None,
        on_close: Optional[OnClose] = None,
        subprotocols: Iterable[str] = (),
        origins: Optional[Iterable[str]] = None,
        max_message_size: int = 1048576,
        ping_interval: Optional[float] = None,
    ) -> WebSocket:
        """
        Answer *request* with 101, and return the WebSocket that its connection is from now on.

        - *subprotocols*: those that this side speaks, the best first; the first that the client speaks too is
          chosen, and none where it speaks none of them.
        - *origins*: of which sites pages may connect, such as ``["https://example.org"]``; ``["*"]`` is for
          any.  None: those of the host that the request is for.  What is no page names no origin, and may.
        - *max_message_size*: more bytes in a message end it with 1009.
        - *ping_interval*: seconds after which a ping is sent, again and again; a client from which nothing
          has come until the next one is given up.  None: no pings, and who vanished is not noticed.

        Headers that are in the request's *response_headers* go out too.  No read timeout of the server runs
        any more; a client that takes nothing for its write timeout is given up.

        Raises WebSocketError for what is no handshake, which is answered 400 then, and 403 for a page that
        may not connect; ValueError where the body of the request may still come, ClosedError when it was
        answered, BrokenPipeError when the client is gone, TypeError, WrongThreadError, ModuleNotFoundError
        without wsproto.

        Wraps: evws_new_session() <event2/ws.h>; libevent >= 2.2, here its effect on any.
        """
        require()
        names = handshake.names_of(subprotocols, "subprotocols")
        sites = None if origins is None else _sites(origins)
        if not isinstance(request, Request):
            raise TypeError(f"request must be a http.Request, which a handler gets, not {request!r}")
        base = request.server.base
        self = cls._new(base, on_message, on_close, max_message_size, ping_interval, client=False)
        refused = handshake.read_question(request, sites)
        if refused is not None:
            if refused.status != 403:
                request.response_headers["Sec-WebSocket-Version"] = "13"
            request.reply(refused.status, f"{refused.why}\n")
            raise WebSocketError(refused.why, code=refused.status)
        head, self._subprotocol = handshake.answer_to(request, names)
        self._request = request
        self._bev = take_over(request, self, self._on_read, self._on_event)
        self._bev.write(head)
        self._start()
        return self

    @classmethod
    def connect(
        cls,
        base: EventBase,
        url: Union[str, URI],
        callback: Optional[Callable[[Operation[WebSocket], Unpack[_Ts]], object]] = None,
        *args: Unpack[_Ts],
        on_message: Optional[OnMessage] = None,
        on_close: Optional[OnClose] = None,
        headers: HeadersLike = (),
        subprotocols: Iterable[str] = (),
        max_message_size: int = 1048576,
        ping_interval: Optional[float] = None,
        **options: Unpack[ConnectionOptions],
    ) -> Operation[WebSocket]:
        """
        Open one at *url*, which is ws or wss, or ws+unix and wss+unix with the path of a UNIX socket as host.

        - *callback*: ``callback(operation, *args)`` when it is open, before its first on_message, or cannot
          be opened.
        - *headers*: beside those of the handshake, such as Origin or Cookie.
        - *subprotocols*: those that this side speaks; the server chooses one or none.
        - the rest: see accept(), and http.ConnectionOptions, whose timeouts are for the handshake, but for
          the write timeout.  For wss without *tls* the server is verified by TLSContext().

        The operation, which need not be kept, gives the WebSocket; or WebSocketError, with the status as its
        code, where the server answers something else; or why it could not be asked, as http.fetch() does.
        Redirects are not followed.

        Raises ValueError and TypeError for what cannot be asked, ClosedError, WrongThreadError,
        ModuleNotFoundError without wsproto.
        """
        require()
        check_base(base)
        names = handshake.names_of(subprotocols, "subprotocols")
        self = cls._new(base, on_message, on_close, max_message_size, ping_interval, client=True)

        def opened(bev: BufferEvent, chosen: Optional[str], write_timeout: Optional[float]) -> WebSocket:
            self._bev, self._subprotocol = bev, chosen
            bev.on_read, bev.on_event = self._on_read, self._on_event
            bev.set_timeouts(write=write_timeout)
            bev.set_watermark(READ, high=_MOST_INPUT)
            return self

        return connect(base, url, callback, args, headers, names, options, opened)

    # -- looking ---------------------------------------------------------------------------------------------

    @property
    def base(self) -> EventBase:
        """The base that it is on."""
        return self._base

    @property
    def subprotocol(self) -> Optional[str]:
        """The subprotocol that was chosen, or None."""
        return self._subprotocol

    @property
    def request(self) -> Optional[Request]:
        """The handshake, on a server's side; None on a client's."""
        return self._request

    @property
    def peer_address(self) -> SocketAddress:
        """The address of the other side.  Raises ClosedError where it was not asked for in time, OSError."""
        if self._peer is None:
            self._peer = convert.peer_address(self._bev.fileno())
        return self._peer

    @property
    def bufferevent(self) -> BufferEvent:
        """
        What carries it: to look at, to limit and to time.  Its callbacks and its data are the WebSocket's.

        Wraps: evws_connection_get_bufferevent() <event2/ws.h>; libevent >= 2.2, here its effect on any.
        """
        return self._bev

    @property
    def unsent(self) -> int:
        """How many bytes wait for the other side to take them; 0 when it is closed."""
        return 0 if self._bev.closed else len(self._bev.output)

    @property
    def on_message(self) -> Optional[OnMessage]:
        """Told of a message: ``on_message(ws, data)``.  With None messages are dropped."""
        return self._on_message

    @on_message.setter
    def on_message(self, callback: Optional[OnMessage]) -> None:
        self._on_message = checked(callback, "on_message")

    @property
    def on_close(self) -> Optional[OnClose]:
        """
        Told of the end: ``on_close(ws, code, reason)``.

        Wraps: evws_connection_set_closecb() <event2/ws.h>; libevent >= 2.2, here its effect on any.
        """
        return self._on_close

    @on_close.setter
    def on_close(self, callback: Optional[OnClose]) -> None:
        self._on_close = checked(callback, "on_close")

    @property
    def on_pong(self) -> Optional[OnPong]:
        """Told that a ping was answered, with what that carried: ``on_pong(ws, data)``."""
        return self._on_pong

    @on_pong.setter
    def on_pong(self, callback: Optional[OnPong]) -> None:
        self._on_pong = checked(callback, "on_pong")

    # -- sending ---------------------------------------------------------------------------------------------

    def send(self, data: Union[str, BytesLike]) -> None:
        """
        Send a message: a str as text, anything else as binary.

        It is queued; *unsent* tells how much is.  Raises TypeError, UnicodeEncodeError for surrogates,
        ClosedError, WrongThreadError.

        Wraps: evws_send_text() evws_send_binary() evws_send() <event2/ws.h>; libevent >= 2.2, here their
        effect on any.
        """
        self._write(data if isinstance(data, str) else _bytes_of(data), Framing.message)

    def ping(self, data: BytesLike = b"") -> None:
        """
        Ask for an answer, which on_pong is told; *data*, at most 125 bytes, comes back with it.

        Raises ValueError, TypeError, ClosedError, WrongThreadError.
        """
        self._write(_bytes_of(data), Framing.ping)

    def _write(self, data: Any, frame: Callable[[Framing, Any], bytes]) -> None:
        self._check_open()
        framing = self._framing
        assert framing is not None
        self._bev.write(frame(framing, data))

    # -- ending ----------------------------------------------------------------------------------------------

    def close(self, code: int = 1000, reason: str = "") -> None:
        """
        Send what was queued and the close frame; the rest goes on in the background.

        It is closed to you at once, and no callback of it runs any more.  *code*: 1000 for a normal end, 1001
        for going away, 3000 to 4999 for meanings of your own.  *reason*: at most 123 bytes of UTF-8.  The
        other side has ten seconds to answer.  Any number of times, from inside any callback too.

        Raises ValueError, TypeError, WrongThreadError, and closes nothing then.

        Wraps: evws_close() evws_connection_free() <event2/ws.h>; libevent >= 2.2, here their effect on any.
        """
        check_close(code, reason)
        if not self._base.closed:
            self._base.update_now()  # refuses another thread, before anything is done
        self._muted = True
        if not self.closed:
            self._say_goodbye(code, reason)
        self._closed = True

    def _describe(self) -> list[str]:
        words = ["client" if self._is_client else "server"]
        if self._subprotocol is not None:
            words.append(self._subprotocol)
        return words


def _sites(origins: Iterable[str]) -> frozenset[str]:
    if isinstance(origins, (str, bytes)):
        raise TypeError(f"origins must be several, such as a list, not {origins!r}")
    found = frozenset(origins)
    for each in found:
        if not isinstance(each, str):
            raise TypeError(f"origins must be str, not {each!r}")
    return frozenset(each.lower().rstrip("/") for each in found)


def _bytes_of(data: BytesLike) -> bytes:
    try:
        return data if type(data) is bytes else bytes(memoryview(data))
    except TypeError:
        what = f"a message is str or bytes-like, and a ping bytes-like, not {type(data).__name__}"
        raise TypeError(f"{what}; json.dumps() makes text of values") from None
