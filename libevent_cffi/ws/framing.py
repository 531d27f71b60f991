"""Messages in frames, by wsproto, with limits."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, NamedTuple, Optional, Union

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Framing", "Kind", "Told", "check_close", "require"]

#: A control frame has room for no more.
_MOST_CONTROL = 125
#: Codes that say what was not said, and are never sent (RFC 6455, 7.4.1).
_NEVER_SENT = (1004, 1005, 1006)


class Kind(enum.Enum):
    """What the other side has sent."""

    MESSAGE = 1
    PING = 2
    PONG = 3
    CLOSE = 4
    #: It has broken the protocol.
    FAILED = 5


class Told(NamedTuple):
    """Something that it has sent: str or bytes of a message, bytes of a ping, the reason of an end."""

    kind: Kind
    data: Union[str, bytes]
    code: int = 0


def require() -> Any:
    """Return wsproto's modules; say what to install where they are missing."""
    try:
        import wsproto.connection
        import wsproto.events
    except ImportError as error:
        raise ModuleNotFoundError(
            "WebSockets need wsproto: pip install 'libevent_cffi[ws]'", name="wsproto"
        ) from error
    return wsproto


def check_close(code: int, reason: str) -> None:
    """Raise ValueError for what a close frame cannot say."""
    if isinstance(code, bool) or not isinstance(code, int) or not isinstance(reason, str):
        raise TypeError(f"code must be an int and reason a str, not {code!r} and {reason!r}")
    if not (1000 <= code <= 1014 or 3000 <= code <= 4999) or code in _NEVER_SENT:
        raise ValueError(f"{code} cannot be sent: 1000-1003, 1007-1014 and 3000-4999 can")
    if len(reason.encode()) > _MOST_CONTROL - 2:
        raise ValueError(f"a reason has at most {_MOST_CONTROL - 2} bytes of UTF-8")


class Framing:
    """One side's frames: what is sent becomes bytes, and bytes that came become what was sent."""

    __slots__ = ("_connection", "_events", "_found", "_is_over", "_limit", "_message", "_size")

    def __init__(self, *, client: bool, limit: int) -> None:
        self._events = require().events
        kind = require().connection.ConnectionType
        self._connection = require().connection.Connection(kind.CLIENT if client else kind.SERVER)
        self._limit = limit
        #: The pieces of a message that is coming.
        self._message: list[Union[str, bytes]] = []
        self._size = 0
        self._found: Optional[Iterator[Any]] = None
        self._is_over = False

    # -- out -------------------------------------------------------------------------------------------------

    def _bytes(self, event: Any) -> bytes:
        return bytes(self._connection.send(event))

    def message(self, data: Union[str, bytes]) -> bytes:
        """Return the frame of a message."""
        if isinstance(data, str):
            return self._bytes(self._events.TextMessage(data=data))
        return self._bytes(self._events.BytesMessage(data=data))

    def ping(self, data: bytes) -> bytes:
        """Return a ping."""
        if len(data) > _MOST_CONTROL:
            raise ValueError(f"a ping carries at most {_MOST_CONTROL} bytes, not {len(data)}")
        return self._bytes(self._events.Ping(payload=data))

    def pong(self, data: bytes) -> bytes:
        """Return the answer to a ping."""
        return self._bytes(self._events.Pong(payload=data))

    def close(self, code: int, reason: str) -> bytes:
        """Return the frame that ends it; no other may follow."""
        # 1005 is what was told of a close frame without a code: it is answered by one.
        return self._bytes(self._events.CloseConnection(code=code, reason=reason or None))

    # -- in --------------------------------------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Take bytes that came."""
        if not self._is_over:
            self._connection.receive_data(data)

    def next(self) -> Optional[Told]:
        """Return what comes next in the bytes that came; None: more of them are needed."""
        while not self._is_over:
            if self._found is None:
                self._found = self._connection.events()
            event = next(self._found, None)
            if event is None:
                self._found = None
                return None
            told = self._told(event)
            if told is not None:
                self._is_over = told.kind in (Kind.CLOSE, Kind.FAILED)
                return told
        return None

    def _told(self, event: Any) -> Optional[Told]:
        events = self._events
        if isinstance(event, events.Message):
            return self._add(event)
        if isinstance(event, events.Ping):
            return Told(Kind.PING, bytes(event.payload))
        if isinstance(event, events.Pong):
            return Told(Kind.PONG, bytes(event.payload))
        assert isinstance(event, events.CloseConnection)
        # wsproto tells what it cannot read as if the other side had closed, but goes to no other state.
        states = require().connection.ConnectionState
        has_closed = self._connection.state in (states.REMOTE_CLOSING, states.CLOSED)
        return Told(Kind.CLOSE if has_closed else Kind.FAILED, event.reason or "", int(event.code))

    def _add(self, event: Any) -> Optional[Told]:
        piece: Union[str, bytes] = event.data if isinstance(event.data, str) else bytes(event.data)
        if piece:
            self._message.append(piece)
            is_wide = isinstance(piece, str) and not piece.isascii()
            self._size += len(piece.encode()) if is_wide else len(piece)  # type: ignore[union-attr]
        if self._size > self._limit:
            self._message.clear()
            return Told(Kind.FAILED, f"a message has more than {self._limit} bytes", 1009)
        if not event.message_finished:
            if len(self._message) > _PIECES:
                self._message[:] = [self._joined(event)]
            return None
        data = self._message[0] if len(self._message) == 1 else self._joined(event)
        self._message.clear()
        self._size = 0
        return Told(Kind.MESSAGE, data)

    def _joined(self, event: Any) -> Union[str, bytes]:
        empty: Any = "" if isinstance(event.data, str) else b""
        joined: Union[str, bytes] = empty.join(self._message)
        return joined


#: More pieces than this are joined: one of a byte takes the room of fifty.
_PIECES = 1024
