"""The part of a BufferEvent that stands for the bufferevent: its callbacks, its errors, and its end."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, Callable, NoReturn, Optional

from .._native import check, children
from .._native._libevent import ffi, lib
from ..buffer import Buffer
from ..errors import ClosedError
from ..flags import BufferEventFlag

if TYPE_CHECKING:
    from typing_extensions import TypeAlias

    from .._native.running import Loop
    from ..event import Operation
    from ..tls import TLSLayer
    from ..types import AddrInfo
    from .connection import BufferEvent
    from .engine import Engine

__all__ = ["DataCallback", "EventCallback", "Handle"]

#: on_read(bev), on_write(bev).
DataCallback: TypeAlias = Callable[["BufferEvent"], object]
#: on_event(bev, what, error).
EventCallback: TypeAlias = Callable[["BufferEvent", BufferEventFlag, Optional[Exception]], object]

_BEV = ffi.typeof("struct lev_bev *")
_HOLD: int = lib.LEV_BEV_HOLD
_HOLD_PARTNER: int = lib.LEV_BEV_HOLD_PARTNER
_LET_GO: int = lib.LEV_BEV_LET_GO
_ERROR = int(BufferEventFlag.ERROR)
_TIMEOUT = int(BufferEventFlag.TIMEOUT)
_WRITING = int(BufferEventFlag.WRITING)

_WHY = {
    lib.LEV_BEV_NO_SOCKET: (ValueError, "it has no socket of its own"),
    lib.LEV_BEV_LISTENS: (ValueError, "this socket listens: that is for a Listener"),
    lib.LEV_BEV_NO_STREAM: (ValueError, "this socket is no stream: a datagram has no place in a buffer"),
    lib.LEV_BEV_BUSY: (ValueError, "it has a connection, or is opening one"),
    lib.LEV_BEV_NOT_OPEN: (ValueError, "it is not connected yet: do this when on_event is told CONNECTED"),
    lib.LEV_BEV_NO_LIMIT: (ValueError, "it has no rate limit, and a pair can have none"),
    lib.LEV_BEV_SMALL_BURST: (ValueError, "under TLS a rate limit needs bursts of more than 16 KiB"),
    lib.LEV_BEV_OWNED: (
        ValueError,
        "evhttp speaks over it: callbacks, filters and TLS of others have no place",
    ),
    lib.LEV_FD_REUSED: (
        ValueError,
        "somebody closed the descriptor of another connection, and it is this one",
    ),
    lib.LEV_MIXED_ET: (ValueError, "an edge-triggered event watches this descriptor"),
    lib.LEV_FD_TOO_LARGE: (ValueError, "the number of the descriptor is too large for select"),
}


class Handle(children.Child):
    """The C side of a BufferEvent."""

    __slots__ = (
        "_above",
        "_closes",
        "_engine",
        "_error",
        "_input",
        "_memory",
        "_on_event",
        "_on_read",
        "_on_write",
        "_output",
        "_partner",
        "_query",
        "_reason",
        "_tls",
        "_under",
    )

    _on_read: Optional[DataCallback]
    _on_write: Optional[DataCallback]
    _on_event: Optional[EventCallback]
    #: What keeps the C side, whose address _c is.
    _memory: Any
    #: The lookup of the name that it is to connect to.
    _query: Optional[Operation[list[AddrInfo]]]
    #: The last failure that was told.
    _error: Optional[Exception]
    #: The failure that is to be told, where C does not know it.
    _reason: Optional[Exception]
    #: Told that its user has closed it, where it carries a protocol.
    _closes: Optional[Callable[[], None]]
    #: The other end of a pair.
    _partner: Optional[BufferEvent]
    #: What a filter stands on, and a way to the filter that stands on this one.
    _under: Optional[BufferEvent]
    _above: Optional[Callable[[], Optional[BufferEvent]]]
    _tls: Optional[TLSLayer]
    #: What moves its data where TLS is Python's.
    _engine: Optional[Engine]
    _input: Optional[Buffer]
    _output: Optional[Buffer]

    def _prepare(
        self,
        base: Loop,
        on_read: Optional[DataCallback],
        on_write: Optional[DataCallback],
        on_event: Optional[EventCallback],
    ) -> None:
        self._base = base
        self._on_read = _checked(on_read, "on_read")
        self._on_write = _checked(on_write, "on_write")
        self._on_event = _checked(on_event, "on_event")
        self._error = self._reason = None
        self._partner = self._under = self._above = self._query = self._closes = None
        self._input = self._output = None
        self._tls = self._engine = None

    def _begin(self, base: Loop, handle: Any) -> None:
        """Stand for *handle*, which a call into C has begun."""
        super()._begin(base, handle)
        self._memory = handle
        if ffi.typeof(handle) is not _BEV:
            self._c = ffi.cast(_BEV, handle)

    def _hold(self) -> None:
        super()._hold()
        if self._token not in self._base._children:
            self._base._known[self._token] = self

    def _begin_checked(self, base: Any, handle: Any, result: int, call: str) -> None:
        """Stand for *handle*, when *result* says that C has begun it; raise what it means otherwise."""
        if result < 0:
            self._c = handle
            self._child = handle
            self._refuse(result, call)
        self._begin(base, handle)

    # -- answers of C ----------------------------------------------------------------------------------------

    def _done(self, result: int, call: str) -> None:
        """Do what the answer of a call asks for that may have armed it, or its partner, or left it idle."""
        if result < 0:
            self._refuse(result, call)
        if result & _HOLD:
            self._base._children[self._token] = self
        elif result & _LET_GO:
            self._let_go()
        if result & _HOLD_PARTNER:
            self._hold_partner()

    def _let_go(self) -> None:
        """Its base keeps it no more; it still finds it, as long as somebody has it."""
        self._base._known[self._token] = self
        self._base._children.pop(self._token, None)

    def _bottom(self) -> Any:
        """Return what all filters below this one stand on."""
        bottom: Any = self
        while bottom._under is not None:
            bottom = bottom._under
        return bottom

    def _top(self) -> Any:
        """Return the filter that stands on all others above this one, or this one."""
        top: Any = self
        while top._above is not None and top._above() is not None:
            top = top._above()
        return top

    def _hold_partner(self) -> None:
        partner = self._bottom()._partner
        if partner is not None:
            top = partner._top()
            self._base._children[top._token] = top

    def _refuse(self, code: int, call: str) -> NoReturn:
        if code == lib.LEV_BEV_TAKEN:
            above = self._above() if self._above is not None else None
            raise ClosedError(f"{self!r}: it was taken over by {above!r}, which is the one to use")
        if code == lib.LEV_BEV_ENDED:
            raise BrokenPipeError(errno.EPIPE, "write_eof() has ended the sending of this connection")
        if code == lib.LEV_NO_FILES:
            raise PermissionError(errno.EPERM, "a file is always ready, and cannot be waited for")
        if code in _WHY:
            kind, text = _WHY[code]
            raise kind(text)
        super()._refuse(code, call)

    # -- called from callbacks_stream.py ---------------------------------------------------------------------

    def _failure(self, what: int, number: int) -> Optional[Exception]:
        """Return what on_event gets as its error; it may be asked twice for one event."""
        error: Exception
        if what & _ERROR:
            error = (
                self._reason
                or (self._tls is not None and self._tls._failure(what, number))
                or check.socket_error("the connection", number)
            )
        elif what & _TIMEOUT:
            direction = "written" if what & _WRITING else "read"
            error = TimeoutError(errno.ETIMEDOUT, f"nothing could be {direction} in time")
        else:
            return None
        self._error = error
        return error

    # -- callbacks -------------------------------------------------------------------------------------------

    def _wants(self) -> int:
        return (
            (lib.LEV_BEV_ON_READ if self._on_read is not None else 0)
            | (lib.LEV_BEV_ON_WRITE if self._on_write is not None else 0)
            | (lib.LEV_BEV_ON_EVENT if self._on_event is not None else 0)
        )

    def _set_wants(self) -> None:
        self._checked(lib.lev_bev_set_wants(self._c, self._wants()), "bufferevent_setcb")

    @property
    def on_read(self) -> Optional[DataCallback]:
        """
        Told that the input holds at least its low mark of bytes, as ``on_read(bev)``; None for nobody.

        Wraps: bufferevent_setcb() bufferevent_getcb() <event2/bufferevent.h>; libevent >= 1.4.
        """
        return self._on_read

    @on_read.setter
    def on_read(self, callback: Optional[DataCallback]) -> None:
        before, self._on_read = self._on_read, _checked(callback, "on_read")
        try:
            self._set_wants()
        except BaseException:
            self._on_read = before
            raise

    @property
    def on_write(self) -> Optional[DataCallback]:
        """
        Told that the output has fallen to its low mark, as ``on_write(bev)``; None for nobody.

        Wraps: bufferevent_setcb() bufferevent_getcb() <event2/bufferevent.h>; libevent >= 1.4.
        """
        return self._on_write

    @on_write.setter
    def on_write(self, callback: Optional[DataCallback]) -> None:
        before, self._on_write = self._on_write, _checked(callback, "on_write")
        try:
            self._set_wants()
        except BaseException:
            self._on_write = before
            raise

    @property
    def on_event(self) -> Optional[EventCallback]:
        """
        Told of CONNECTED, of EOF, and of TIMEOUT and ERROR with an exception, as ``on_event(bev, what,
        error)``; with None the connection closes itself at all of them but CONNECTED.

        Wraps: bufferevent_setcb() bufferevent_getcb() <event2/bufferevent.h>; libevent >= 1.4.
        """
        return self._on_event

    @on_event.setter
    def on_event(self, callback: Optional[EventCallback]) -> None:
        before, self._on_event = self._on_event, _checked(callback, "on_event")
        try:
            self._set_wants()
        except BaseException:
            self._on_event = before
            raise

    # -- ending ----------------------------------------------------------------------------------------------

    def close(self, *, flush: bool = False) -> None:
        """
        End it now, and drop what was not sent; with *flush*, in the background when that is written.

        Either way it is closed to you at once, and no callback of it runs any more.  The flush is given up
        when the connection fails, or when the write timeout has passed without progress.  The other end of a
        pair is told EOF.  What a filter stands on is closed with it, and the other way round.

        Raises WrongThreadError, and closes nothing then.

        Wraps: bufferevent_free() <event2/bufferevent.h>; libevent >= 1.4.
        """
        top = self._top()
        held = self._base._children.pop(top._token, None)
        result = lib.lev_bev_close(self._c, bool(flush))
        if result < 0:
            if held is not None:
                self._base._children[top._token] = top
            self._refuse(result, "bufferevent_free")
        top._done(result, "bufferevent_free")
        if self._query is not None:
            query, self._query = self._query, None
            query.cancel()
        self._tell_closed()

    def _tell_closed(self) -> None:
        closes, self._closes = self._closes, None
        if closes is not None:
            closes()

    # -- buffers ---------------------------------------------------------------------------------------------

    @property
    def input(self) -> Buffer:
        """
        What has arrived, as a borrowed Buffer: take from it, but nothing can be added.  Raises ClosedError.

        Wraps: bufferevent_get_input() <event2/bufferevent.h>; libevent >= 2.0.
        """
        buffer = self._input
        if buffer is None:
            self._check_usable()
            buffer = self._input = Buffer._part(
                lib.lev_bev_buffer(self._c, 0), self._memory, self._base, None
            )
        return buffer

    @property
    def output(self) -> Buffer:
        """
        What is to be sent, as a borrowed Buffer: add to it, but nothing can be taken.  Raises ClosedError.

        Wraps: bufferevent_get_output() <event2/bufferevent.h>; libevent >= 2.0.
        """
        buffer = self._output
        if buffer is None:
            self._check_usable()
            buffer = self._output = Buffer._part(
                lib.lev_bev_buffer(self._c, 1), self._memory, self._base, None
            )
        return buffer

    def _check_usable(self) -> None:
        """Raise ClosedError when it is closed, or a filter has taken it over."""
        self._checked(lib.lev_bev_check(self._c), "bufferevent_get_input")


def _checked(callback: Any, name: str) -> Any:
    if callback is not None and not callable(callback):
        raise TypeError(f"{name} must be callable or None, not {callback!r}")
    return callback
