"""One event loop."""

from __future__ import annotations

import logging
import time
from _thread import get_ident
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Callable, Optional, TypeVar

from .._native import check, convert
from .._native._libevent import ffi, lib
from .._native.callbacks import SOON, delivers
from .._native.running import Loop, refuse
from ..errors import CancelledError, ClosedError, LoopBusyError
from ..flags import BaseFlag, EventCount, EventFlag, Feature, LoopFlag, check_flags
from .config import make_base
from .events import Event, Signal, Timer
from .timeouts import CommonTimeout, Timeout

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from typing_extensions import TypeAlias, TypeVarTuple, Unpack

    from ..types import FileDescriptorLike
    from .operation import Operation

    _Ts = TypeVarTuple("_Ts")

__all__ = ["ErrorHandler", "EventBase", "Statistics"]

_T_co = TypeVar("_T_co", covariant=True)
_log = logging.getLogger("libevent")

#: error_handler(error, source): an exception of a callback, and the object whose callback raised it.
ErrorHandler: TypeAlias = Callable[[Exception, object], object]

_EVERYTHING = EventCount.ACTIVE | EventCount.VIRTUAL | EventCount.ADDED


@dataclass(frozen=True)
class Statistics:
    """
    A snapshot for tests and dashboards.

    *pending* and *active* count the user's events, *live* what the base holds, per class name.
    *stale_callbacks* is how often C called for an object that was gone already, *redelivered* how often an
    event was given again because its callback could not begin.
    """

    pending: int
    active: int
    live: Mapping[str, int]
    stale_callbacks: int
    redelivered: int


class _Posted:
    """A call from another thread, in the queue of call_soon()."""

    __slots__ = ("_args", "_callback", "_token")

    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        self._callback = callback
        self._args = args
        self._token = SOON


class _Finalizer(_Posted):
    """What Event.finalize() queued: it runs at the latest when the base closes."""

    __slots__ = ()


class EventBase(Loop):
    """
    One event loop: it waits for what happens, and calls back.

    Every keyword is fixed for its life but *error_handler*:

    - *avoid_methods*: names, as of supported_methods(), not to use.
    - *required_features*: what the method must be able to do.
    - *flags*: see BaseFlag.  The default, NO_CACHE_TIME, keeps a slow callback from spoiling the timers after
      it.
    - *priorities*: how many (1 to 255); events of priority 0 go first.
    - *max_dispatch_interval* (seconds) and *max_dispatch_callbacks*: look for new events at least so often
      while callbacks of *min_dispatch_priority* or less urgent ones run.  1000 callbacks by default, so that
      an event that activates itself leaves room for the rest.
    - *cpu_hint*: how many processors there are, for Windows.
    - *error_handler*: ``error_handler(error, source)`` takes an Exception that a callback raised, with the
      object whose callback it was, and the loop goes on; None has dispatch() raise it.  KeyboardInterrupt and
      SystemExit are raised always.

    One thread at a time may use a base and its objects, and while it is dispatched only that one.  The others
    have call_soon_threadsafe(), loop_exit(), loop_break() and introspection; for anything else they get
    WrongThreadError.

    A base that is dropped is freed with everything on it.  In a forked child it is made usable again at its
    first use, unless its loop was running: then it is dead there.

    Raises ValueError when no method fits, or an argument is out of range; OSError when the system gives no
    descriptors; ClosedError after util.global_shutdown().

    Wraps: event_base_new() event_base_new_with_config() event_config_new() event_config_free()
    event_config_avoid_method() event_config_require_features() event_config_set_flag()
    event_config_set_num_cpus_hint() event_config_set_max_dispatch_interval() event_base_priority_init()
    event_base_free() event_base_free_nofinalize() <event2/event.h>; libevent >= 2.1.
    """

    __slots__ = ("_common", "_features", "_method", "_operations", "_priorities")

    def __init__(
        self,
        *,
        avoid_methods: Iterable[str] = (),
        required_features: Feature = Feature(0),
        flags: BaseFlag = BaseFlag.NO_CACHE_TIME,
        priorities: int = 1,
        max_dispatch_interval: Optional[float] = None,
        max_dispatch_callbacks: Optional[int] = None,
        min_dispatch_priority: int = 0,
        cpu_hint: Optional[int] = None,
        error_handler: Optional[ErrorHandler] = None,
    ) -> None:
        pointer = make_base(
            avoid_methods=avoid_methods,
            required_features=required_features,
            flags=flags,
            priorities=priorities,
            max_interval=max_dispatch_interval,
            max_callbacks=max_dispatch_callbacks,
            min_priority=min_dispatch_priority,
            cpu_hint=cpu_hint,
        )
        super().__init__(pointer)
        eb = lib.lev_base_pointer(pointer)
        self._priorities = priorities
        self._features = Feature(lib.event_base_get_features(eb))
        self._method: str = ffi.string(lib.event_base_get_method(eb)).decode("ascii")
        self._common: dict[float, CommonTimeout] = {}
        self._operations: set[Operation[Any]] = set()
        self.error_handler = error_handler

    # -- running ---------------------------------------------------------------------------------------------

    def dispatch(self, *, exit_on_empty: bool = True) -> None:
        """
        Run until nothing is pending, or, with *exit_on_empty* False, until told to stop.

        Raises what a callback raised, unless error_handler takes it; the events that were active with it stay
        so, and dispatch() may be called again.  KeyboardInterrupt when there was a Ctrl-C, LoopBusyError when
        the base is being dispatched already, ClosedError when it is closed.

        Wraps: event_base_dispatch() <event2/event.h>; libevent >= 1.4.
        """
        self._run(0 if exit_on_empty else lib.EVLOOP_NO_EXIT_ON_EMPTY)

    def loop(self, flags: LoopFlag = LoopFlag(0)) -> bool:
        """
        Run as *flags* say: until nothing is pending; with ONCE until callbacks have run; with NONBLOCK until
        nothing is ready; with NO_EXIT_ON_EMPTY also while nothing is pending.

        Returns False when nothing is pending any more.  Raises as dispatch() does.

        Wraps: event_base_loop() <event2/event.h>; libevent >= 1.4.
        """
        self._run(check_flags(LoopFlag, flags, "flags"))
        return self._is_alive()

    def poll(self, timeout: Optional[float] = 0.0) -> bool:
        """
        Make one pass that waits at most *timeout* seconds (None: without end): the step to call from a
        foreign loop.

        Returns False when nothing is pending any more.  Raises as dispatch() does, and ValueError for a
        negative timeout.

        Wraps: event_base_loop() <event2/event.h>; libevent >= 1.4.
        """
        if timeout is None:
            self._run(lib.EVLOOP_ONCE)
        elif convert.check_seconds(timeout) == 0:
            self._run(lib.EVLOOP_ONCE | lib.EVLOOP_NONBLOCK)
        else:
            self._run(lib.EVLOOP_ONCE, float(timeout))
        return self._is_alive()

    def wait(self, operation: Operation[_T_co], timeout: Optional[float] = None) -> _T_co:
        """
        Dispatch until *operation* is done, and return its result.

        Raises its error, CancelledError when it was cancelled, TimeoutError when it is not done after
        *timeout* seconds (it goes on, then), and as dispatch() does; ValueError when it is of another base;
        RuntimeError when loop_exit() or loop_break() ended the wait.

        Wraps: event_base_loop() <event2/event.h>; libevent >= 1.4.
        """
        if operation.base is not self:
            raise ValueError(f"{operation!r} belongs to another base")
        clock = _Deadline(timeout)
        while not operation.done and not clock.expired:
            self._run(lib.EVLOOP_ONCE | lib.EVLOOP_NO_EXIT_ON_EMPTY, clock.left())
            if not operation.done and (self.got_break or self.got_exit):
                raise RuntimeError(f"the loop was stopped before {operation!r} was done")
        if not operation.done:
            raise TimeoutError(f"{operation!r} is not done after {timeout} s")
        return operation.result()

    def loop_exit(self, *, after: float = 0.0) -> None:
        """
        Return from dispatch() after the active callbacks, *after* seconds from now.

        Before dispatch() it counts for the next one.  Any thread may call it.  Raises ValueError,
        ClosedError.

        Wraps: event_base_loopexit() <event2/event.h>; libevent >= 1.4.
        """
        if convert.check_seconds(after, "after"):
            self._stop(lib.LEV_STOP_LATER, after)
        else:
            self._stop(lib.LEV_STOP_EXIT)

    def loop_break(self) -> None:
        """
        Return from dispatch() after the running callback.

        Before dispatch() it counts for the next one.  Any thread may call it.  Raises ClosedError.

        Wraps: event_base_loopbreak() <event2/event.h>; libevent >= 1.4.
        """
        self._stop(lib.LEV_STOP_BREAK)
        self._breaking = True

    def _stop(self, how: int, after: float = 0.0) -> None:
        result = lib.lev_stop(self._l, how, after)
        if result < 0:
            refuse(self, result, "event_base_loopexit")

    def loop_continue(self) -> None:
        """
        Look for new events before the remaining active ones run; from a callback.

        Raises ClosedError, WrongThreadError.

        Wraps: event_base_loopcontinue() <event2/event.h>; libevent >= 2.1.
        """
        self._checked(lib.lev_loop_continue(self._l), "event_base_loopcontinue")

    @property
    def got_exit(self) -> bool:
        """Did loop_exit() end the last loop?  Wraps: event_base_got_exit() <event2/event.h>."""
        return bool(lib.lev_base_got(self._l) & lib.LEV_STOP_EXIT)

    @property
    def got_break(self) -> bool:
        """Did loop_break()?  Wraps: event_base_got_break() <event2/event.h>."""
        return bool(lib.lev_base_got(self._l) & lib.LEV_STOP_BREAK)

    @property
    def running_event(self) -> Optional[Event]:
        """
        The event whose callback runs now on this thread; None outside of one.

        Wraps: event_base_get_running_event() event_self_cbarg() <event2/event.h>; libevent >= 2.1.
        """
        token = lib.lev_base_current(self._l)
        event = self._armed.get(token) if token else None
        return self._deleted if token and event is None else event

    def reinit(self) -> None:
        """
        Make the base usable in a forked child; it is done by itself before the first use there.

        Raises OSError when there are no descriptors for it, LoopBusyError inside a callback, ClosedError.

        Wraps: event_reinit() <event2/event.h>; libevent >= 1.4.
        """
        self._checked(lib.lev_base_reinit(self._l), "event_reinit")

    # -- short forms -----------------------------------------------------------------------------------------

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
            return Timer(self, callback, *args, priority=priority).add(0.0)
        timer = Timer._make(self, callback, args, SOON)
        if not self._soon:
            self._checked(lib.lev_soon(self._l), "event_add")
            self._soon = True
        elif self._thread != get_ident() or self._closed:  # C, which would refuse, knows of the queue already
            self._checked(lib.lev_soon(self._l), "event_add")
        self._queue.append(timer)
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
        self._post(_Posted(callback, args))

    def _post(self, call: _Posted) -> None:
        if self._closed:
            raise ClosedError(f"the base was closed: {self!r}")
        self._queue.append(call)
        if not self._soon:
            self._soon = True
            result = lib.lev_post(self._l)
            if result < 0:
                self._soon = False
                refuse(self, result, "event_add")

    def _queue_finalizer(self, callback: Callable[..., object], event: Event) -> None:
        self._post(_Finalizer(callback, (event,)))

    def _complete(self, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        """Have an operation's callback run in a later pass."""
        self._post(_Posted(callback, args))

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

        Returns the Timer, which need not be kept.  With *keepalive* False it does not keep dispatch() from
        returning.  Raises TypeError, ValueError, ClosedError, WrongThreadError.

        Wraps: evtimer_new() evtimer_add() <event2/event.h>; libevent >= 1.4.
        """
        if priority is None and keepalive:
            return Timer._make(self, callback, args).add(delay)
        return Timer(self, callback, *args, priority=priority, keepalive=keepalive).add(delay)

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

        Passes missed while busy are not made up.  Returns the Timer, which need not be kept: delete() or
        close() ends it.  Raises TypeError, ValueError, ClosedError, WrongThreadError.

        Wraps: evtimer_new() evtimer_add() <event2/event.h>; libevent >= 2.0.
        """
        return Timer(self, callback, *args, persist=True, priority=priority, keepalive=keepalive).add(
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
        event = Event(self, fd, events, callback, *args, priority=priority, keepalive=keepalive)
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
        signal = Signal(self, signum, call, *args, priority=priority, keepalive=keepalive)
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
        event = Event(self, fd, events, call, *args)
        return event.add(timeout)

    # -- what it is and holds --------------------------------------------------------------------------------

    @property
    def method(self) -> str:
        """'epoll', 'kqueue', …  Wraps: event_base_get_method() <event2/event.h>; libevent >= 1.4."""
        return self._method

    @staticmethod
    def supported_methods() -> list[str]:
        """
        Return what this libevent can use here, best first.

        Wraps: event_get_supported_methods() <event2/event.h>; libevent >= 2.0.
        """
        names = lib.event_get_supported_methods()
        found: list[str] = []
        while names[len(found)] != ffi.NULL:
            found.append(ffi.string(names[len(found)]).decode("ascii"))
        return found

    @property
    def signal_method(self) -> str:
        """
        How libevent itself would get signals: 'signalfd_signal' or 'signal'.  Events of this package get them
        by handlers of its own either way.

        Wraps: event_base_get_signal_method() <event2/event.h>; libevent >= 2.2, 'signal' before.
        """
        with self._inside() as eb:
            if not hasattr(lib, "event_base_get_signal_method"):
                return "signal"
            return ffi.string(lib.event_base_get_signal_method(eb)).decode("ascii")  # type: ignore[no-any-return]

    @property
    def features(self) -> Feature:
        """What its method can do.  Wraps: event_base_get_features() <event2/event.h>; libevent >= 2.0."""
        return self._features

    @property
    def priorities(self) -> int:
        """How many priorities.  Wraps: event_base_get_npriorities() <event2/event.h>; libevent >= 2.1."""
        return self._priorities

    def now(self) -> float:
        """
        Return wall-clock seconds, cached for the pass unless the base was made with NO_CACHE_TIME.

        Wraps: event_base_gettimeofday_cached() <event2/event.h>; libevent >= 2.0.
        """
        with self._inside() as eb:
            tv = ffi.new("struct timeval *")
            check.check_rc(lib.event_base_gettimeofday_cached(eb, tv), "event_base_gettimeofday_cached")
            return convert.seconds_from_timeval(tv)

    def update_now(self) -> None:
        """
        Read the clock again for what now() returns and timers reckon with, in a callback that took long.

        Wraps: event_base_update_cache_time() <event2/event.h>; libevent >= 2.1.
        """
        with self._inside() as eb:
            check.check_rc(lib.event_base_update_cache_time(eb), "event_base_update_cache_time")

    def common_timeout(self, seconds: float) -> CommonTimeout:
        """
        Make a delay for very many timers; the same seconds give the same object.

        Raises ValueError when there would be more than 256 of one base, or for seconds out of range;
        ClosedError; WrongThreadError.

        Wraps: event_base_init_common_timeout() <event2/event.h>; libevent >= 2.0.
        """
        seconds = convert.check_seconds(seconds, "seconds")
        found = self._common.get(seconds)
        if found is not None:
            self._check_open()
            return found
        number = lib.lev_common_timeout(self._l, seconds)
        if number == lib.LEV_NO_EVENT:
            raise ValueError(f"a base has at most {lib.LEV_COMMON_MAX} common timeouts")
        self._checked(number, "event_base_init_common_timeout")
        made = self._common[seconds] = CommonTimeout._make(self, number, seconds)
        return made

    def count(self, what: EventCount = _EVERYTHING) -> int:
        """
        Return how many events there are of the kinds *what*: added, active, or virtual.

        Events with keepalive=False do not count.  The calls that call_soon() queued count as one.  Any thread
        may ask.  Raises ClosedError.

        Wraps: event_base_get_num_events() <event2/event.h>; libevent >= 2.1.
        """
        flags = check_flags(EventCount, what, "what")
        return self._count(lib.lev_base_count(self._l, flags))

    def max_count(self, what: EventCount = _EVERYTHING, *, clear: bool = False) -> int:
        """
        Return the most there ever were of them, and with *clear* begin anew.

        Wraps: event_base_get_max_events() <event2/event.h>; libevent >= 2.1.
        """
        flags = check_flags(EventCount, what, "what")
        return self._count(lib.lev_base_max_count(self._l, flags, bool(clear)))

    def _count(self, result: int) -> int:
        self._checked(result, "event_base_get_num_events")
        return result

    def events(self) -> list[Event]:
        """
        Return the pending and active events: a snapshot, which nothing changes any more.

        Wraps: event_base_foreach_event() <event2/event.h>; its effect.
        """
        self._check_open()
        queued = [item for item in list(self._queue) if isinstance(item, Timer) and item._token == SOON]
        return [event for event in list(self._armed.values()) if event._token > 0] + queued

    def statistics(self) -> Statistics:
        """Return a snapshot of what there is.  Any thread may ask; a closed base has nothing."""
        armed = list(self._armed.values())
        live: dict[str, int] = {}
        for thing in (*armed, *self._preparing, *self._checking, *self._operations):
            live[type(thing).__name__] = live.get(type(thing).__name__, 0) + 1
        active = max(0, lib.lev_base_count(self._l, EventCount.ACTIVE))  # below 0: it is closed
        return Statistics(
            pending=len(armed) + len(self._queue),
            active=active,
            live=live,
            stale_callbacks=lib.lev_base_stale(self._l),
            redelivered=lib.lev_base_redelivered(self._l),
        )

    def dump(self, file: Optional[IO[str]] = None) -> str:
        """
        Return the pending events as libevent writes them, with its own and ours among them; also written to
        *file*, which is anything with write().

        Wraps: event_base_dump_events() <event2/event.h>; libevent >= 2.0.
        """
        self._check_open()
        memory = check.check_pointer(lib.lev_base_dump(self._l), "event_base_dump_events")
        try:
            text: str = ffi.string(memory).decode("utf-8", "replace")
        finally:
            lib.lev_free(memory)
        if file is not None:
            file.write(text)
        return text

    def activate_fd(self, fd: FileDescriptorLike, events: EventFlag) -> None:
        """
        Activate the pending events on *fd* that wait for one of *events*, READ, WRITE or CLOSED.

        Raises TypeError, ValueError, ClosedError, WrongThreadError.

        Wraps: event_base_active_by_fd() <event2/event.h>; libevent >= 2.1.
        """
        number = convert.fileno(fd)
        what = check_flags(EventFlag, events, "events")
        if not what or what & ~(EventFlag.READ | EventFlag.WRITE | EventFlag.CLOSED):
            raise ValueError(f"events must be some of READ, WRITE and CLOSED, not {what}")
        with self._inside() as eb:
            lib.event_base_active_by_fd(eb, number, what)

    def activate_signal(self, signum: int) -> None:
        """
        Activate the pending events of a signal, as if it had come.

        Raises TypeError, ValueError, ClosedError, WrongThreadError.

        Wraps: event_base_active_by_signal() <event2/event.h>; libevent >= 2.1.
        """
        number = convert.c_int(signum, "signum", 1, lib.LEV_NSIG - 1)
        self._checked(lib.lev_signal_activate(self._l, number), "event_base_active_by_signal")

    # -- ending ----------------------------------------------------------------------------------------------

    def close(self) -> None:
        """
        Close everything on it, and free it.

        Pending events are forgotten; operations finish with CancelledError; what Event.finalize() was given
        runs.  Inside a callback of its loop: stop the loop, and close when it has ended.  Raises
        LoopBusyError when another thread dispatches it, and what a finalizer or a completion raised.

        Wraps: event_base_free() <event2/event.h>; libevent >= 1.4.
        """
        if self._closed and not self._running and not lib.lev_base_pointer(self._l):
            return
        result = lib.lev_base_close(self._l)
        if result == lib.LEV_WRONG_THREAD:
            raise LoopBusyError("another thread is using the base or dispatching it: loop_break() stops it")
        self._closed = True
        if result == lib.LEV_RUNNING:
            self._breaking = True
            return
        self._forget()

    def _finish_close(self) -> None:
        lib.lev_base_close(self._l)
        self._forget()

    def _forget(self) -> None:
        """Let go of what the base held, and tell those who are to be told."""
        last: list[_Posted] = [item for item in self._queue if isinstance(item, _Finalizer)]
        self._armed.clear()
        self._queue.clear()
        self._preparing = self._checking = ()
        failures = []
        for operation in list(self._operations):
            last += _abandon(operation)
        for call in last:
            try:
                call._callback(*call._args)
            except Exception as error:
                failures.append(error)
        for another in failures[1:]:
            self._tell(another)
        if failures:
            raise failures[0]

    # -- ours ------------------------------------------------------------------------------------------------

    def _checked(self, result: int, call: str) -> None:
        if result < 0:
            refuse(self, result, call)

    def _inside(self) -> _Inside:
        return _Inside(self)

    def _is_alive(self) -> bool:
        return bool(lib.lev_base_is_pending(self._l) or self._queue)

    def _describe(self) -> list[str]:
        if self.closed:
            return [self._method]
        state = "running" if self._running else "idle"
        return [self._method, state, f"pending={len(self._armed) + len(self._queue)}"]


def _abandon(operation: Operation[Any]) -> list[_Posted]:
    """Finish an operation whose base is gone; return the call that tells it."""
    callback, operation._callback = operation._callback, None
    operation._finish(error=CancelledError(f"the base of {operation!r} was closed"))
    return [] if callback is None else [_Posted(callback, (operation, *operation._args))]


class _Inside:
    """Entered for calls into libevent itself: ``with base._inside() as eb``."""

    __slots__ = ("_base", "_entered")

    def __init__(self, base: EventBase) -> None:
        self._base = base
        self._entered = 0

    def __enter__(self) -> Any:
        l = self._base._l  # noqa: E741
        self._entered = lib.lev_base_enter(l)
        if self._entered < 0:
            refuse(self._base, self._entered, "libevent")
        return lib.lev_base_pointer(l)

    def __exit__(self, *_: object) -> None:
        lib.lev_leave(self._base._l, self._entered)


class _Deadline:
    """How long something may still take."""

    def __init__(self, timeout: Optional[float]) -> None:
        self._end = None if timeout is None else time.monotonic() + convert.check_seconds(timeout)

    @property
    def expired(self) -> bool:
        return self._end is not None and time.monotonic() >= self._end

    def left(self) -> float:
        return -1.0 if self._end is None else max(0.0, self._end - time.monotonic())
