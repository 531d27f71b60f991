"""
TLS by Python's ssl module, for TLSContext.from_ssl_context().

The user's connection is one end of a pair.  The engine has the other end, where plain data comes and goes,
and an ordinary connection over the socket; in between is the MemoryLayer.  What piles up at one side stops
the other: each is read only while what is to be written at its opposite is less than a mark.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, Optional

from .._native import children
from .._native._libevent import lib
from ..errors import ClosedError
from ..flags import BufferEventFlag, EventFlag
from .control import BOTH

if TYPE_CHECKING:
    from ..event import EventBase
    from ..tls.memory import MemoryLayer
    from .connection import BufferEvent

__all__ = ["Engine", "open_engine", "start_engine"]

_MARK = 128 * 1024
_CONNECTED, _EOF, _ERROR = BufferEventFlag.CONNECTED, BufferEventFlag.EOF, BufferEventFlag.ERROR
_READING, _WRITING = BufferEventFlag.READING, BufferEventFlag.WRITING


class Engine:
    """Moves data between *inner*, the other end of the user's *bev*, and *wire*, which has the socket."""

    __slots__ = ("_bev", "_has_ended", "_has_failed", "_has_said", "_inner", "_is_open", "_layer", "_wire")

    def __init__(self, bev: BufferEvent, inner: BufferEvent, wire: BufferEvent, layer: MemoryLayer) -> None:
        self._bev, self._inner, self._wire, self._layer = bev, inner, wire, layer
        #: The other side has said goodbye; so have we.
        self._has_ended = self._has_said = False
        self._is_open = self._has_failed = False
        for end in (inner, bev):
            end._checked(lib.lev_bev_set_mark(end._c, _MARK), "bufferevent_setwatermark")
        inner.disable(EventFlag.READ)  # until the handshake is over
        inner.on_read, inner.on_write, inner.on_event = self._send, self._resume, self._on_inner_event
        wire.on_read, wire.on_write, wire.on_event = self._receive, self._on_written, self._on_wire_event

    @property
    def wire(self) -> BufferEvent:
        """The connection over the socket."""
        return self._wire

    def start(self) -> None:
        """Begin the handshake: the socket is connected.  What has come already is the beginning of it."""
        if self._bev.closed or self._wire.closed:
            return
        self._layer._begin()
        self._receive(self._wire)

    def take_over(self, bev: BufferEvent) -> None:
        """Go on for *bev*, which has the C side now of the one that the user had."""
        self._bev = bev

    # -- from the socket -------------------------------------------------------------------------------------

    def _receive(self, wire: BufferEvent) -> None:
        if not self._layer.has_begun:
            return  # start() takes it
        data = wire.read()
        if data:
            self._layer._put(data)
        self._go_on()

    def _go_on(self) -> None:
        """Do what can be done with what has arrived."""
        try:
            if not self._is_open and self._layer._shake_hands():
                self._is_open = True
                self._tell(_CONNECTED)
                self._inner.enable(EventFlag.READ)
            if self._is_open:
                self._deliver()
        except ssl.SSLError as error:
            self._fail(self._layer._explain(error))
        self._flush()

    def _deliver(self) -> None:
        while not self._has_ended and not self._bev.closed:
            data = self._layer._read()
            if data is None:
                break
            if data:
                self._inner.write(data)
            else:
                self._has_ended = True
                self._inner.write_eof()
        if self._has_ended and self._has_said:
            self._flush()
            self._wire.close(flush=True)
        elif not self._inner.closed and len(self._inner.output) > 0:
            self._wire.disable(EventFlag.READ)  # the user has enough

    def _resume(self, inner: BufferEvent) -> None:
        """The user has taken what there was."""
        if not self._wire.closed and not self._has_ended:
            self._wire.enable(EventFlag.READ)

    # -- to the socket ---------------------------------------------------------------------------------------

    def _send(self, inner: BufferEvent) -> None:
        data = inner.read()
        if data and not self._wire.closed:
            try:
                self._layer._write(data)
            except ssl.SSLError as error:
                self._fail(self._layer._explain(error))
            self._flush()
            if not self._wire.closed and len(self._wire.output) >= _MARK:
                inner.disable(EventFlag.READ)

    def _flush(self) -> None:
        data = self._layer._take()
        if data and not self._wire.closed:
            self._wire.write(data)

    def _on_written(self, wire: BufferEvent) -> None:
        if self._is_open and not self._inner.closed:
            self._inner.enable(EventFlag.READ)

    # -- ends ------------------------------------------------------------------------------------------------

    def _on_inner_event(self, inner: BufferEvent, what: BufferEventFlag, error: Optional[Exception]) -> None:
        """The user has ended the sending, or closed it."""
        self._send(inner)
        self._layer._say_goodbye()
        self._flush()
        self._has_said = True
        if self._bev.closed or self._has_ended:
            self._wire.close(flush=True)
        if self._bev.closed:
            inner.close()

    def _on_wire_event(self, wire: BufferEvent, what: BufferEventFlag, error: Optional[Exception]) -> None:
        if what & _CONNECTED:
            self.start()
        elif error is not None:
            wire.close()
            self._fail(error)
        else:
            self._receive(wire)
            if not self._has_ended:  # it did not say goodbye
                self._cut_off()

    def _cut_off(self) -> None:
        if self._is_open and self._layer.allows_dirty and not self._bev.closed:
            self._has_ended = True
            self._inner.write_eof()
        else:
            self._fail(self._layer.cut_off())

    def _fail(self, error: Exception) -> None:
        """Tell of *error*, unless nothing is left that could be lost by it."""
        if self._has_failed or (self._has_ended and self._has_said):
            return
        self._has_failed = True
        self._bev._top()._reason = error
        self._tell(_ERROR | (_WRITING if self._has_ended else _READING))
        self._has_ended = True
        self._flush()  # an alert
        self._wire.close(flush=True)
        if self._bev.closed:  # with what it has not sent yet
            self._inner.close()

    def _tell(self, what: BufferEventFlag) -> None:
        """Have the user's connection told, which may stand on this one by now."""
        top = self._bev._top()
        try:
            top._done(lib.lev_bev_trigger_event(top._c, int(what), 0), "bufferevent_trigger_event")
        except ClosedError:
            return


def _new(like: Any, base: Any) -> Any:
    """Return a connection without a C side yet."""
    cls: Any = type(like)
    made = cls.__new__(cls)
    made._prepare(base, None, None, None)
    return made


def _begin_pair(bev: Any, base: Any) -> Any:
    """Have *bev* be one end of a pair; return the other."""
    inner = _new(bev, base)
    handles = [children.new("struct lev_bev *") for _ in range(2)]
    result = lib.lev_bev_open_pair(handles[0], handles[1], base._l)
    bev._begin_checked(base, handles[0], result, "bufferevent_pair_new")
    inner._begin(base, handles[1])
    bev._set_wants()
    return inner


def open_engine(bev: Any, base: EventBase, fd: int, directions: int, layer: MemoryLayer) -> None:
    """Make the C side of *bev*, over descriptor *fd*; -1: connect() makes one."""
    wire = type(bev)(base, fd if fd >= 0 else None)
    try:
        inner = _begin_pair(bev, base)
    except BaseException:
        if fd >= 0:
            wire.detach().detach()  # it stays its owner's
        raise
    if directions != int(BOTH):
        bev.disable(EventFlag(int(BOTH) & ~directions))
    layer._attach(bev, None)
    bev._engine = Engine(bev, inner, wire, layer)
    if fd >= 0:
        base.call_soon(bev._engine.start)


def _move(old: Any, wire: Any) -> None:
    """Have *wire* stand where *old* stood."""
    for name in ("_limit", "_tls", "_engine", "_partner", "_under", "_filters"):
        if hasattr(old, name):
            setattr(wire, name, getattr(old, name))
    if wire._engine is not None:
        wire._engine.take_over(wire)
    if wire._partner is not None:
        wire._partner._partner, old._partner = wire, None
    if wire._under is not None:
        wire._under._above, old._under = (lambda: wire), None


def _take_settings(bev: Any, old: Any, wire: Any) -> None:
    """Have *bev* keep to what *old* was set to, and *wire*, which has its place now, to none of it."""
    enabled, (read, write) = wire.enabled, wire._timeouts()
    wire.enable(BOTH)
    wire.set_watermark(BOTH)
    if enabled != BOTH:
        bev.disable(BOTH & ~enabled)
    if read is not None or write is not None:
        wire.set_timeouts()
        bev.set_timeouts(read=read, write=write)
    bev._group, old._group = old._group, None
    if bev._group is not None:
        bev._group._members.discard(old)
        bev._group._members.add(bev)


def start_engine(old: Any, layer: MemoryLayer) -> BufferEvent:
    """Have another connection go on over *old*, which is closed to its user; return that."""
    base = old._base
    wire, bev = _new(old, base), _new(old, base)
    bev._on_read, bev._on_write, bev._on_event = old._on_read, old._on_write, old._on_event
    bev._tls = layer
    inner = _begin_pair(bev, base)
    wire._c, wire._child, wire._token, wire._memory = old._c, old._child, old._token, old._memory
    _move(old, wire)
    base._known[wire._token] = wire
    if wire._token in base._children:
        base._children[wire._token] = wire
    # One that has never begun counts as closed.
    old._c = old._child = old._memory = children.new("struct lev_bev *")
    layer._attach(bev, None)
    bev._engine = Engine(bev, inner, wire, layer)
    _take_settings(bev, old, wire)
    base.call_soon(bev._engine.start)
    return bev  # type: ignore[no-any-return]
