"""Signals."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Optional, Union

from ..flags import EventFlag
from .arguments import check_base, check_signal
from .events import SIGNAL, Event

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import TypeVarTuple, Unpack

    from .base import EventBase

    _Ts = TypeVarTuple("_Ts")

__all__ = ["Signal"]


class Signal(Event):
    """
    Calls ``callback(signum, *args)`` at each signal, on the thread that dispatches, until it is deleted.

    Any number of bases and threads may wait for one signal: each is told of each.  While an event waits for
    it, Python's own handler (signal.signal()) is not called; it is back when the last such event goes.

    As in C it keeps dispatch() running: give keepalive=False for a handler that only cleans up.  With a
    timeout, add() has the callback run also when no signal came for so long; an Event with EventFlag.SIGNAL
    is told which it was.

    Raises ValueError for a number that is no signal, or one that cannot be caught.

    Wraps: evsignal_new() evsignal_add() evsignal_del() evsignal_pending() evsignal_initialized()
    evsignal_assign() event_get_signal() <event2/event.h>; libevent >= 1.4, by handlers of ours.
    """

    __slots__ = ()

    def __init__(
        self,
        base: EventBase,
        signum: int,
        callback: Callable[[int, Unpack[_Ts]], object],
        *args: Unpack[_Ts],
        priority: Optional[int] = None,
        keepalive: bool = True,
    ) -> None:
        check_base(base)
        number = check_signal(signum)
        spec = int(EventFlag.SIGNAL | EventFlag.PERSIST) | SIGNAL
        self._setup(base, number, spec, callback, args, priority, keepalive)

    @property
    def signum(self) -> Union[signal.Signals, int]:
        """
        The signal; an int for a real-time signal without a name.

        Wraps: event_get_signal() <event2/event.h>; libevent >= 2.0.
        """
        try:
            return signal.Signals(self._fd)
        except ValueError:
            return self._fd
