"""What a WebSocket does by itself: frames come and go, its user is told, and it ends."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Optional, Union

from .._native import convert
from .._native.delivering import delivers
from ..event import Resource
from ..event.shortforms import Posted
from ..flags import READ, WRITE, BufferEventFlag
from ..http.checks import is_readable
from .framing import Framing, Kind, Told

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

    from ..bufferevent import BufferEvent
    from ..event import EventBase, Timer
    from ..http import Request
    from ..types import SocketAddress

__all__ = ["Speaking", "checked"]

#: Bytes that are taken from the input at a time.
_PIECE = 16384
#: With more than this unsent only the last ping is answered: who reads nothing gets no more.
_MOST_PONGS = 65536
#: Seconds for which the other side may take its time with the end.
_PATIENCE = 10.0
_FAILED = BufferEventFlag.ERROR | BufferEventFlag.TIMEOUT


class Speaking(Resource):
    """The part of a WebSocket that speaks the protocol."""

    __slots__ = (
        *("_base", "_bev", "_busy", "_closed", "_deadline", "_ended", "_failure", "_framing", "_heard"),
        *("_interval", "_is_client", "_muted", "_on_close", "_on_message", "_on_pong", "_owed", "_peer"),
        *("_pinger", "_request", "_subprotocol"),
    )

    _base: EventBase
    _bev: BufferEvent
    _on_message: Optional[Callable[[Any, Union[str, bytes]], object]]
    _on_close: Optional[Callable[[Any, int, str], object]]
    _on_pong: Optional[Callable[[Any, bytes], object]]
    _interval: Optional[float]
    _is_client: bool
    _request: Optional[Request]
    _subprotocol: Optional[str]
    _peer: Optional[SocketAddress]
    #: None: there is nothing more to be understood of what comes.
    _framing: Optional[Framing]
    #: To its user.
    _closed: bool
    #: No callback of it runs any more.
    _muted: bool
    #: A function of the user's is to be called, before anything more is read.
    _busy: bool
    #: Nothing more comes, and why: told when the input is used up.
    _ended: bool
    _failure: Optional[Exception]
    #: The ping that is to be answered when the output is written.
    _owed: Optional[bytes]
    _pinger: Optional[Timer]
    _deadline: Optional[Timer]
    #: Something has come since the last ping.
    _heard: bool

    @classmethod
    def _new(
        cls,
        base: EventBase,
        on_message: Optional[Callable[..., object]],
        on_close: Optional[Callable[..., object]],
        max_message_size: int,
        ping_interval: Optional[float],
        *,
        client: bool,
    ) -> Self:
        self = cls.__new__(cls)
        self._base = base
        self._on_message = checked(on_message, "on_message")
        self._on_close = checked(on_close, "on_close")
        self._on_pong = None
        limit = convert.c_int(max_message_size, "max_message_size", 0, 2**62)
        self._interval = None if ping_interval is None else convert.check_seconds(ping_interval)
        if self._interval == 0:
            raise ValueError("ping_interval must be more than 0; None is for no pings")
        self._framing = Framing(client=client, limit=limit)
        self._is_client = client
        self._request = self._subprotocol = self._peer = None
        self._closed = self._muted = self._busy = self._ended = False
        self._failure = self._owed = self._pinger = self._deadline = None
        self._heard = True
        return self

    def _start(self) -> None:
        """Read, and what has come already first."""
        self._bev.enable(READ | WRITE)
        if self._interval is not None:
            self._pinger = self._base.every(self._interval, self._ping_again, keepalive=False)
        self._base.call_soon(self._go_on)

    @property
    def closed(self) -> bool:
        """Is it closed, by either side, or with its server or its base?"""
        return self._closed or self._base.closed or self._bev.closed

    def _put(self, data: bytes) -> None:
        """Send what nobody has asked for; not where the user has ended the sending, by the bufferevent."""
        with contextlib.suppress(BrokenPipeError):
            self._bev.write(data)

    # -- ending ----------------------------------------------------------------------------------------------

    def _say_goodbye(self, code: int, reason: str) -> None:
        """Send the close frame, and wait a while for the other side's, or its end."""
        framing = self._framing
        self._closed = True
        self._owed = None
        self._stop_pinging()
        if framing is not None and not self._bev.closed:
            self._put(framing.close(code, reason))
        if self._deadline is None:
            self._deadline = self._base.call_later(_PATIENCE, self._give_up)

    def _stop_pinging(self) -> None:
        pinger, self._pinger = self._pinger, None
        if pinger is not None and not self._base.closed:
            pinger.close()

    def _give_up(self) -> None:
        self._deadline = None
        self._disconnect()

    def _disconnect(self) -> None:
        """Nothing more is to be done."""
        self._closed = True
        self._framing = self._owed = None
        self._stop_pinging()
        deadline, self._deadline = self._deadline, None
        if deadline is not None and not self._base.closed:
            deadline.close()
        self._bev.close()

    def _disconnect_when_written(self) -> None:
        self._framing = None
        if self._bev.closed or not self._bev.output:
            self._disconnect()
        else:
            self._bev.on_write = self._on_write

    # -- told by the server ----------------------------------------------------------------------------------

    def _left(self) -> None:
        self._closed = self._muted = True
        self._framing = self._owed = None
        self._stop_pinging()
        deadline, self._deadline = self._deadline, None
        if deadline is not None and not self._base.closed:
            deadline.close()

    def _stopping(self) -> None:
        if not self.closed:
            self._tell_end(1001, "the server stops")

    def _handler_failed(self) -> None:
        if not self.closed:
            self._muted = True
            self._say_goodbye(1011, "")

    # -- told by the connection ------------------------------------------------------------------------------

    def _on_read(self, bev: BufferEvent) -> None:
        self._go_on()

    def _on_write(self, bev: BufferEvent) -> None:
        bev.on_write = None
        if self._framing is None:
            self._disconnect()
        elif self._owed is not None:
            owed, self._owed = self._owed, None
            self._put(self._framing.pong(owed))

    def _on_event(self, bev: BufferEvent, what: BufferEventFlag, error: Optional[Exception]) -> None:
        if what & BufferEventFlag.EOF:
            self._ended = True
        if what & _FAILED:
            self._failure = error or OSError("the connection failed")
        self._go_on()

    def _go_on(self) -> None:
        """Read, as far as there is input and nobody has to be called first."""
        try:
            while not self._busy and not self._base.closed and self._step():
                pass
        except BaseException:
            # A signal handler's error, in the middle: what was read is lost.
            self._muted = True
            self._disconnect()
            raise

    def _step(self) -> bool:
        """Take the next thing; False when there is none now."""
        if self._bev.closed:
            self._left()  # by its user, who has it as well
            return False
        told = self._framing.next() if self._framing is not None else None
        if told is not None:
            self._take(told)
            return True
        data = self._bev.read(_PIECE)
        if data:
            self._heard = True
            if self._framing is not None:
                self._framing.feed(data)
            return True
        if self._ended or self._failure is not None:
            self._lose(str(self._failure or "the connection ended without a close frame"))
        return False

    def _take(self, told: Told) -> None:
        if told.kind is Kind.MESSAGE:
            if self._on_message is not None and not self._closed:
                self._call("_on_message", told.data)
        elif told.kind is Kind.PING:
            self._answer(told.data)
        elif told.kind is Kind.PONG:
            if self._on_pong is not None and not self._closed:
                self._call("_on_pong", told.data)
        elif told.kind is Kind.CLOSE:
            self._was_closed(told)
        else:
            self._was_broken(told)

    def _answer(self, data: Any) -> None:
        if self._closed or self._framing is None:
            return
        if len(self._bev.output) < _MOST_PONGS:
            self._put(self._framing.pong(data))
        else:
            self._owed = data
            self._bev.on_write = self._on_write

    def _was_closed(self, told: Told) -> None:
        """The other side has sent its close frame."""
        if not self._closed:
            self._tell_end(told.code, str(told.data))
        if self._is_client:
            self._framing = None  # the server is to end the connection
        else:
            self._disconnect_when_written()

    def _was_broken(self, told: Told) -> None:
        """It has sent what it must not."""
        if not self._closed:
            self._tell_end(told.code, str(told.data))
        self._framing = None
        self._bev.write_eof()  # and what it sends is read, or it might not get that

    def _tell_end(self, code: int, reason: str) -> None:
        self._say_goodbye(code, reason)
        if self._on_close is not None:
            self._call("_on_close", code, reason)

    def _lose(self, why: str) -> None:
        """The connection is of no use any more."""
        was_closed = self._closed
        self._disconnect()
        if not was_closed and self._on_close is not None:
            self._call("_on_close", 1006, why)

    # -- calling the user ------------------------------------------------------------------------------------

    def _call(self, name: str, *args: object) -> None:
        # From the queue of call_soon(): so one that raises, forks, or is struck by a signal is as any other
        # callback, and nothing more is read before it has run.
        self._busy = True
        self._base._post(Posted(self._deliver, (name, *args), self))
        self._base._post(Posted(self._resume, (), self))

    @delivers
    def _deliver(self, name: str, *args: object) -> None:
        callback = getattr(self, name)
        if callback is not None and not self._muted:
            callback(self, *args)

    def _resume(self) -> None:
        self._busy = False
        self._go_on()

    # -- pings -----------------------------------------------------------------------------------------------

    def _ping_again(self) -> None:
        """It is time for the next one; has anything come since the last?"""
        if self._closed or self._framing is None or self._bev.closed:
            self._stop_pinging()
        elif self._heard or self._busy or self._bev.input or is_readable(self._bev.fileno()):
            self._heard = False
            self._put(self._framing.ping(b""))
        else:
            self._lose(f"nothing came for {self._interval:g} s after a ping")


def checked(callback: Any, name: str) -> Any:
    if callback is not None and not callable(callback):
        raise TypeError(f"{name} must be callable or None, not {callback!r}")
    return callback
