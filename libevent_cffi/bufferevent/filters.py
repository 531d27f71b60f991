"""Connections that pass through filters."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Callable, Optional

from .._native import callbacks_filter as _callbacks_filter  # noqa: F401 - C calls what is there
from .._native import children
from .._native._libevent import lib
from ..buffer import Buffer
from ..flags import EventFlag, FilterResult, FlushMode
from .connection import BufferEvent
from .control import BOTH, check_directions

if TYPE_CHECKING:
    from typing_extensions import TypeAlias

    from .handle import DataCallback, EventCallback

__all__ = ["Filter", "FilterBufferEvent"]

#: filter(source, target, limit, mode): move what can be moved, at most *limit* bytes.
Filter: TypeAlias = Callable[[Buffer, Buffer, Optional[int], FlushMode], Optional[FilterResult]]


class FilterBufferEvent(BufferEvent):
    """
    A connection that passes what *underlying* carries through two filters.

    It takes *underlying*, which must be connected, over: its callbacks are called no more, and its methods
    raise ClosedError but for those that only look.  Closing one closes both.

    *input_filter* gets what has arrived, *output_filter* what was written; None lets bytes through.  Each is
    called as ``filter(source, target, limit, mode)``, whenever there may be something to do: take from the
    Buffer *source*, add to the Buffer *target*, at most *limit* bytes (None: no limit).  Both Buffers are
    open during the call only.  *mode* is NORMAL; FLUSH in flush(); FINISHED when nothing more will come, so
    that what was held back has to go on.

    It returns NEED_MORE when *source* has too little; ERROR, which on_event is told as an OSError (EPROTO);
    or None, which is OK when anything was moved, and NEED_MORE when nothing was.  What it raises comes from
    dispatch(), as from any callback, and from flush() outside of a loop; then too the connection has failed.

    In a loop filters are also called inside of the methods that move data.  Everything else is as for
    BufferEvent.

    Raises TypeError, ValueError when *underlying* is not connected, ClosedError, WrongThreadError.

    Wraps: bufferevent_filter_new() <event2/bufferevent.h>; libevent >= 2.0.
    """

    __slots__ = ("_filters",)

    def __init__(
        self,
        underlying: BufferEvent,
        input_filter: Optional[Filter] = None,
        output_filter: Optional[Filter] = None,
        *,
        on_read: Optional[DataCallback] = None,
        on_write: Optional[DataCallback] = None,
        on_event: Optional[EventCallback] = None,
        enabled: EventFlag = BOTH,
        read_timeout: Optional[float] = None,
        write_timeout: Optional[float] = None,
    ) -> None:
        self._check_new()
        if not isinstance(underlying, BufferEvent):
            raise TypeError(f"underlying must be a BufferEvent, not {underlying!r}")
        for each, name in ((input_filter, "input_filter"), (output_filter, "output_filter")):
            if each is not None and not callable(each):
                raise TypeError(f"{name} must be callable or None, not {each!r}")
        base = underlying._base
        self._prepare(base, on_read, on_write, on_event)
        self._check_timeouts(read_timeout, write_timeout)
        directions = check_directions(enabled)
        handle = children.new("struct lev_filter *")
        parts = [Buffer._part(lib.lev_filter_part(handle, each), handle, base, None) for each in range(4)]
        self._filters = ((input_filter, *parts[:2]), (output_filter, *parts[2:]))
        has_in, has_out = input_filter is not None, output_filter is not None
        result = lib.lev_filter_open(handle, underlying._c, has_in, has_out, directions, self._wants())
        if result < 0:
            underlying._refuse(result, "bufferevent_filter_new")
        self._under = underlying
        # Only a pair needs a reference up: its other end has to keep who stands on this one.
        is_pair = self._bottom()._partner is not None
        underlying._above = (lambda: self) if is_pair else weakref.ref(self)
        underlying._let_go()
        self._begin(base, handle)
        if read_timeout is not None or write_timeout is not None:
            self.set_timeouts(read=read_timeout, write=write_timeout)

    def _describe(self) -> list[str]:
        return [*super()._describe(), *([] if self.closed else [f"over={self._under!r}"])]
