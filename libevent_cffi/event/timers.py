"""Timers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional

from ..flags import EventFlag
from .arguments import check_base
from .events import PLAIN, Event
from .timeouts import seconds_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self, TypeVarTuple, Unpack

    from .._native.running import Loop
    from .base import EventBase
    from .timeouts import Timeout

    _Ts = TypeVarTuple("_Ts")

__all__ = ["Timer"]

_PERSIST = int(EventFlag.PERSIST)


class Timer(Event):
    """
    Calls ``callback(*args)`` after the delay that add() is given, on the thread that dispatches.

    With *persist* it does so again and again.  *priority* and *keepalive* are as for Event.

    Wraps: evtimer_new() evtimer_add() evtimer_del() evtimer_pending() evtimer_initialized() evtimer_assign()
    <event2/event.h>; libevent >= 1.4.
    """

    __slots__ = ("_delay",)

    _delay: float

    def __init__(
        self,
        base: EventBase,
        callback: Callable[[Unpack[_Ts]], object],
        *args: Unpack[_Ts],
        persist: bool = False,
        priority: Optional[int] = None,
        keepalive: bool = True,
    ) -> None:
        check_base(base)
        self._setup(base, -1, _PERSIST | PLAIN if persist else PLAIN, callback, args, priority, keepalive)
        self._delay = -1.0

    @classmethod
    def _make(
        cls, base: Loop, callback: Callable[..., object], args: tuple[Any, ...], token: int = 0
    ) -> Timer:
        """Make one without options, for the short forms; *token* is SOON for the queue of call_soon()."""
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r}")
        timer = cls.__new__(cls)
        timer._base = base
        timer._fd = -1
        timer._spec = PLAIN
        timer._callback = callback
        timer._args = args
        timer._source = None
        timer._token = token
        timer._delay = 0.0
        return timer

    def add(self, timeout: Optional[Timeout] = None) -> Self:
        """
        Start it, or start it again, and return it.

        *timeout* is in seconds, or a CommonTimeout of the base; None is the delay of the last time.

        Raises ValueError for None when there was none before, and for a delay that is negative, not a number
        or over ten years; ClosedError; WrongThreadError.

        Wraps: evtimer_add() <event2/event.h>; libevent >= 1.4.
        """
        if timeout is not None:
            self._delay = seconds_of(timeout, self._base)
        elif self._delay == -1.0:
            raise ValueError("this timer was never started: give add() its delay in seconds")
        self._add(self._delay)
        return self

    def remove_timer(self) -> None:
        """
        Stop it: a timer without its time is not pending.

        Raises ClosedError, WrongThreadError.

        Wraps: event_remove_timer() <event2/event.h>; libevent >= 2.1.
        """
        self.delete()

    def _describe(self) -> list[str]:
        words = ["persist"] if self._spec & EventFlag.PERSIST else []
        if self.closed:
            return words
        state, left = self._state(), self.remaining
        return [*words, state if state != "pending" or left is None else f"pending in {left:.3f} s"]
