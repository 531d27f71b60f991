"""The short forms: what they return is pending already, and need not be kept."""

from __future__ import annotations

import contextlib
from _thread import get_ident
from typing import TYPE_CHECKING, Any, Optional

from .._native._libevent import lib
from .._native.callbacks import SOON, Call, delivers
from .._native.running import Loop, refuse
from ..errors import ClosedError
from ..flags import EventFlag, check_flags
from .events import Event
from .signals import Signal
from .timers import Timer

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import TypeVarTuple, Unpack

    from ..types import FileDescriptorLike
    from .base import EventBase
    from .timeouts import Timeout

    _Ts = TypeVarTuple("_Ts")

__all__ = ["Owed", "Posted", "ShortForms"]


class Posted(Call):
    """A call from another thread, in the queue of call_soon()."""

    __slots__ = ()


class Owed(Posted):
    """What Event.finalize() or the end of an operation queued: it runs at the latest when the base closes."""

    __slots__ = ()


class ShortForms(Loop):
    """The part of EventBase that makes events, timers and signals at one go."""

    __slots__ = ()

    def call_soon(
        self,
        callback: Callable[[Unpack[_Ts]], object],
        *args: Unpack[_Ts],
        priority: Optional[int] = None,
    ) -> Timer:
        """
        Run ``callback(*args)`` in this or the next pass, in the order asked.

        Returns the Timer, which need not be kept.  With *priority* it is ordered among the events of that
        priority.  Raises TypeError, ValueError, ClosedError, WrongThreadError.

        Wraps: event_active() <event2/event.h>; its effect, by a queue and one timer.
        """
        if priority is not None:
            return Timer(self._itself, callback, *args, priority=priority).add(0.0)
        timer = Timer._make(self, callback, args, SOON)
        if self._soon and self._thread == get_ident() and not self._closed:
            self._queue.append(timer)  # C knows of the queue already
            return timer
        self._checked(lib.lev_soon(self._l), "event_add")
        self._queue.append(timer)
        if self._running:
            if self._thread == get_ident():
                self._soon = True
            else:  # it began to dispatch in between
                lib.lev_post(self._l)
        return timer

    def call_soon_threadsafe(self, callback: Callable[[Unpack[_Ts]], object], *args: Unpack[_Ts]) -> None:
        """
        The same as call_soon() from any thread, and from a signal handler.

        It wakes the loop, and keeps dispatch() from returning before the call has run.  Raises TypeError,
        ClosedError.

        Wraps: evthread_make_base_notifiable() <event2/thread.h>; its effect.
        """
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r}")
        self._post(Posted(callback, args, self))

    def call_later(
        self,
        delay: Timeout,
        callback: Callable[[Unpack[_Ts]], object],
        *args: Unpack[_Ts],
        priority: Optional[int] = None,
        keepalive: bool = True,
    ) -> Timer:
        """
        Run ``callback(*args)`` once after *delay* (seconds, or a CommonTimeout).

        How late it may be tells flags.BaseFlag.  Returns the Timer, which need not be kept.  With *keepalive*
        False it does not keep dispatch() from returning.  Raises TypeError, ValueError, ClosedError,
        WrongThreadError.

        Wraps: evtimer_new() evtimer_add() <event2/event.h>; libevent >= 1.4.
        """
        if priority is None and keepalive:
            return Timer._make(self, callback, args).add(delay)
        return Timer(self._itself, callback, *args, priority=priority, keepalive=keepalive).add(delay)

    def every(
        self,
        interval: Timeout,
        callback: Callable[[Unpack[_Ts]], object],
        *args: Unpack[_Ts],
        priority: Optional[int] = None,
        keepalive: bool = True,
    ) -> Timer:
        """
        Run ``callback(*args)`` every *interval* (seconds, or a CommonTimeout), first after one.

        Passes missed while busy are not made up.  0 is as often as can be, which is every few milliseconds
        unless the base has flags.BaseFlag.PRECISE_TIMER.  Returns the Timer, which need not be kept: delete()
        or close() ends it.  Raises TypeError, ValueError, ClosedError, WrongThreadError.

        Wraps: evtimer_new() evtimer_add() <event2/event.h>; libevent >= 2.0.
        """
        return Timer(self._itself, callback, *args, persist=True, priority=priority, keepalive=keepalive).add(
            interval
        )

    def on_readable(
        self,
        fd: FileDescriptorLike,
        callback: Callable[[Unpack[_Ts]], object],
        *args: Unpack[_Ts],
        edge_triggered: bool = False,
        priority: Optional[int] = None,
        keepalive: bool = True,
    ) -> Event:
        """
        Run ``callback(*args)`` whenever *fd* is readable, until the event is closed.

        Returns the Event, which need not be kept.  Raises as Event and Event.add() do.

        Wraps: event_new() event_add() <event2/event.h>; libevent >= 1.4.
        """
        return self._on_ready(EventFlag.READ, fd, callback, args, edge_triggered, priority, keepalive)

    def on_writable(
        self,
        fd: FileDescriptorLike,
        callback: Callable[[Unpack[_Ts]], object],
        *args: Unpack[_Ts],
        edge_triggered: bool = False,
        priority: Optional[int] = None,
        keepalive: bool = True,
    ) -> Event:
        """
        Run ``callback(*args)`` whenever *fd* is writable, until the event is closed.

        Returns the Event, which need not be kept.  Raises as Event and Event.add() do.

        Wraps: event_new() event_add() <event2/event.h>; libevent >= 1.4.
        """
        return self._on_ready(EventFlag.WRITE, fd, callback, args, edge_triggered, priority, keepalive)

    def _on_ready(
        self,
        what: EventFlag,
        fd: FileDescriptorLike,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        edge_triggered: bool,
        priority: Optional[int],
        keepalive: bool,
    ) -> Event:
        events = what | EventFlag.PERSIST | (EventFlag.ET if edge_triggered else EventFlag(0))
        if fd is None:
            raise TypeError("fd must be an int or have fileno(), not None")
        event = Event(self._itself, fd, events, callback, *args, priority=priority, keepalive=keepalive)
        return event._make_plain().add()

    def on_signal(
        self,
        signum: int,
        callback: Callable[[Unpack[_Ts]], object],
        *args: Unpack[_Ts],
        priority: Optional[int] = None,
        keepalive: bool = True,
    ) -> Signal:
        """
        Run ``callback(*args)`` at each signal, until the event is closed.

        As in C it keeps dispatch() running: give keepalive=False for a clean-up handler.  Returns the Signal,
        which need not be kept.  Raises as Signal and Event.add() do.

        Wraps: evsignal_new() evsignal_add() <event2/event.h>; libevent >= 1.4.
        """
        call: Any = callback  # _make_plain() has it called without the number
        signal = Signal(self._itself, signum, call, *args, priority=priority, keepalive=keepalive)
        return signal._make_plain().add()

    def once(
        self,
        fd: Optional[FileDescriptorLike],
        events: EventFlag,
        callback: Callable[[int, EventFlag, Unpack[_Ts]], object],
        *args: Unpack[_Ts],
        timeout: Optional[Timeout] = None,
    ) -> Event:
        """
        Run ``callback(fd, what, *args)`` one time, when one of *events* happens or *timeout* has passed.

        Returns the Event, which need not be kept; it is closed when its time has come.  Raises ValueError for
        PERSIST, and as Event and Event.add() do.

        Wraps: event_base_once() <event2/event.h>; its effect, since the function itself leaks a lock.
        """
        if check_flags(EventFlag, events, "events") & EventFlag.PERSIST:
            raise ValueError("once() and PERSIST do not go together")

        @delivers
        def run(number: int, what: EventFlag, *rest: Any) -> None:
            event.close()
            callback(number, what, *rest)

        if not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r}")
        call: Any = run
        event = Event(self._itself, fd, events, call, *args)
        return event.add(timeout)

    # -- ours ------------------------------------------------------------------------------------------------

    @property
    def _itself(self) -> EventBase:
        return self  # type: ignore[return-value]  # nothing else is made of this class

    def _post(self, call: Posted) -> None:
        if self._closed:
            raise ClosedError(f"the base was closed: {self!r}")
        self._queue.append(call)
        self._announce(call)

    def _announce(self, call: Posted) -> None:
        """Tell C of what the queue has; a base that was closed in a callback looks at it without that."""
        if not self._soon and not self._closed:
            self._soon = True
            result = lib.lev_post(self._l)
            if result < 0:
                self._soon = False
                with contextlib.suppress(ValueError):
                    self._queue.remove(call)
                refuse(self, result, "event_add")

    def _queue_finalizer(self, callback: Callable[..., object], event: Event) -> None:
        self._post(Owed(callback, (event,), event))

    def _owe(self, callback: Callable[..., object], args: tuple[Any, ...]) -> Posted:
        """Make what has an operation's callback run in a later pass, when it is in the queue."""
        return Owed(callback, args, args[0])
