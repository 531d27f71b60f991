"""One event loop."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, Callable, Optional, TypeVar

from .._native import convert, lent
from .._native._libevent import lib
from .._native.callbacks import SOON
from .._native.running import refuse
from ..errors import CancelledError, LoopBusyError
from ..flags import BaseFlag, Feature, LoopFlag, check_flags
from .config import make_base
from .inspection import Inspection
from .operation import Operation
from .shortforms import Owed, Posted, ShortForms
from .timers import Timer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import TypeAlias

    from .events import Event

__all__ = ["ErrorHandler", "EventBase"]

_T_co = TypeVar("_T_co", covariant=True)

#: error_handler(error, source): an exception of a callback, and the object whose callback raised it.
ErrorHandler: TypeAlias = Callable[[Exception, object], object]


class EventBase(ShortForms, Inspection):
    """
    One event loop: it waits for what happens, and calls back.

    Every keyword is fixed for its life but *error_handler*:

    - *avoid_methods*: names, as of supported_methods(), not to use; others count for nothing.
    - *required_features*: what the method must be able to do.
    - *flags*: see ``libevent_cffi.flags.BaseFlag``.  The default, NO_CACHE_TIME, keeps a slow callback from
      spoiling the timers after it; with PRECISE_TIMER beside it timers are not late by some milliseconds.
    - *priorities*: how many (1 to 255); events of priority 0 go first.  As in C the less urgent wait for as
      long as more urgent ones are active: one of those that is always ready keeps them from running at all.
    - *max_dispatch_interval* (seconds) and *max_dispatch_callbacks*: look for new events at least so often
      while callbacks of priority *min_dispatch_priority* or less urgent ones run.  1000 callbacks by default,
      so that an event that activates itself leaves room for the rest.
    - *cpu_hint*: how many processors there are, for Windows.
    - *error_handler*: ``error_handler(error, source)`` takes an Exception that a callback raised, with the
      object whose callback it was (the base for call_soon_threadsafe()), and the loop goes on; None has
      dispatch() raise it.  KeyboardInterrupt and SystemExit are raised always.

    Every callback runs on the thread that dispatches.
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

    __slots__ = ()

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
        self._check_new()
        pointer, owner = make_base(
            avoid_methods=avoid_methods,
            required_features=required_features,
            flags=flags,
            priorities=priorities,
            max_interval=max_dispatch_interval,
            max_callbacks=max_dispatch_callbacks,
            min_priority=min_dispatch_priority,
            cpu_hint=cpu_hint,
        )
        self._check_new()  # once more: iterating over the names, or another thread, may have made it
        super().__init__(pointer, owner)
        self.error_handler = error_handler

    def _check_new(self) -> None:
        if hasattr(self, "_l"):
            raise RuntimeError(f"{self!r} was made already: make another EventBase")

    @property
    def error_handler(self) -> Optional[ErrorHandler]:
        """
        Takes an Exception that a callback raised, as ``error_handler(error, source)``; None has dispatch()
        raise it.

        Any thread may set it.  Raises TypeError.
        """
        return self._handler

    @error_handler.setter
    def error_handler(self, handler: Optional[ErrorHandler]) -> None:
        if handler is not None and not callable(handler):
            raise TypeError(f"error_handler must be callable or None, not {handler!r}")
        self._handler = handler

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

        NONBLOCK alone never returns while a descriptor stays ready: ONCE|NONBLOCK, as poll() has it, does,
        once no event is active any more.

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
            return self._is_alive()
        limit = convert.check_seconds(timeout)
        if limit == 0:
            self._run(lib.EVLOOP_ONCE | lib.EVLOOP_NONBLOCK)
        else:
            self._run(lib.EVLOOP_ONCE, limit)
        return self._is_alive()

    def wait(self, operation: Operation[_T_co], timeout: Optional[float] = None) -> _T_co:
        """
        Dispatch until *operation* is done, and return its result.

        Raises its error; CancelledError when it was cancelled; TimeoutError when it is not done after
        *timeout* seconds (it goes on, then); what dispatch() raises; ValueError when it is of another base;
        TypeError when it is no operation; RuntimeError when loop_exit() or loop_break() ended the wait.

        Wraps: event_base_loop() <event2/event.h>; libevent >= 1.4.
        """
        if not isinstance(operation, Operation):
            raise TypeError(f"operation must be an Operation, not {operation!r}")
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

        It has the middle priority: more urgent callbacks go first, less urgent ones stay active.  Of several
        the earliest counts.  Before dispatch() it counts for the next one; what is not due when dispatch()
        returns for another reason is forgotten, but poll() and wait() leave it.  Any thread may call it.
        Raises ValueError, ClosedError.

        Wraps: event_base_loopexit() <event2/event.h>; libevent >= 1.4.
        """
        seconds = convert.check_seconds(after, "after")
        if seconds:
            self._stop(lib.LEV_STOP_LATER, seconds)
        else:
            self._stop(lib.LEV_STOP_EXIT)

    def loop_break(self) -> None:
        """
        Return from dispatch() after the running callback.

        Before dispatch() it counts for the next one.  Any thread may call it.  Raises ClosedError.

        Wraps: event_base_loopbreak() <event2/event.h>; libevent >= 1.4.
        """
        self._breaking = True  # before C is told: afterwards it could be the next loop that is going on
        self._stop(lib.LEV_STOP_BREAK)

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
        """Did loop_break() end the last loop?  Wraps: event_base_got_break() <event2/event.h>."""
        return bool(lib.lev_base_got(self._l) & lib.LEV_STOP_BREAK)

    @property
    def running_event(self) -> Optional[Event]:
        """
        The event whose callback runs now on this thread; None outside of one.

        Wraps: event_base_get_running_event() event_self_cbarg() <event2/event.h>; libevent >= 2.1.
        """
        token = lib.lev_base_current(self._l)
        if token == SOON:
            call = self._queue[0] if self._queue else None
            return call if isinstance(call, Timer) else None
        event = self._armed.get(token) if token else None
        return self._deleted if token and event is None else event

    def reinit(self) -> None:
        """
        Make the base usable in a forked child; it is done by itself before the first use there.

        Raises OSError when there are no descriptors for it, LoopBusyError inside a callback, ClosedError.

        Wraps: event_reinit() <event2/event.h>; libevent >= 1.4.
        """
        self._checked(lib.lev_base_reinit(self._l), "event_reinit")

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
        if self._running:
            self._breaking = True
            return
        self._forget()

    def _finish_close(self) -> None:
        lib.lev_base_close(self._l)
        self._forget()

    def _forget(self) -> None:
        """Let go of what the base held, and tell those who are to be told."""
        last: list[Posted] = []
        while self._queue:  # one by one: two threads may come here at once
            with contextlib.suppress(IndexError):
                item = self._queue.popleft()
                if isinstance(item, Owed):
                    last.append(item)
        self._armed.clear()
        self._children.clear()
        self._known.clear()
        self._resolver = None
        self._watched.clear()
        self._preparing.clear()
        self._checking.clear()
        failures: list[BaseException] = []
        for operation in list(self._operations):
            last += _abandon(operation)
        for call in last:
            try:
                call._callback(*call._args)
            except BaseException as error:  # a SystemExit is raised too, when the others have been told
                failures.append(error)
        if lent.LENT:
            try:
                lent.collect()
            except BaseException as error:
                failures.append(error)
        failures.sort(key=lambda error: isinstance(error, Exception))
        for another in failures[1:]:
            self._tell(another)
        if failures:
            raise failures[0]

    # -- ours ------------------------------------------------------------------------------------------------

    def _is_alive(self) -> bool:
        return bool(lib.lev_base_is_pending(self._l) or self._queue)

    def _describe(self) -> list[str]:
        if self.closed:
            return [self._method]
        state = "running" if self._running else "idle"
        return [self._method, state, f"pending={len(self._armed) + len(self._queue)}"]


def _abandon(operation: Operation[Any]) -> list[Posted]:
    """Finish an operation whose base is gone; return the call that tells it."""
    callback, operation._callback = operation._callback, None
    args = (operation, *operation._args)
    operation._finish(error=CancelledError(f"the base of {operation!r} was closed"))
    return [] if callback is None else [Posted(callback, args, operation)]


class _Deadline:
    """How long something may still take."""

    def __init__(self, timeout: Optional[float]) -> None:
        self._end = None if timeout is None else time.monotonic() + convert.check_seconds(timeout)

    @property
    def expired(self) -> bool:
        return self._end is not None and time.monotonic() >= self._end

    def left(self) -> float:
        return -1.0 if self._end is None else max(0.0, self._end - time.monotonic())
