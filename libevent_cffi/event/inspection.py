"""What a base is and holds, and its clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Optional

from .._native import check, convert
from .._native._libevent import ffi, lib
from .._native.callbacks import SOON
from .._native.running import Loop
from ..flags import EventCount, EventFlag, Feature, check_flags
from .arguments import check_signal
from .timeouts import CommonTimeout
from .timers import Timer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..types import FileDescriptorLike
    from .events import Event

__all__ = ["Inspection", "Statistics"]

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


class Inspection(Loop):
    """The part of EventBase that tells what there is."""

    __slots__ = ()

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
        found: list[str] = []
        name = check.check_pointer(lib.lev_supported_method(0), "event_get_supported_methods")
        while name:
            found.append(ffi.string(name).decode("ascii"))
            name = lib.lev_supported_method(len(found))
        return found

    @property
    def signal_method(self) -> str:
        """
        How libevent itself would get signals: 'signalfd_signal' or 'signal'.  Events of this package get them
        by handlers of its own either way.

        Wraps: event_base_get_signal_method() <event2/event.h>; libevent >= 2.2, 'signal' before.
        """
        return self._signal_method

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
        seconds: float = lib.lev_base_now(self._l)
        self._checked(int(seconds), "event_base_gettimeofday_cached")
        return seconds

    def update_now(self) -> None:
        """
        Read the clock again for what now() returns and timers reckon with, in a callback that took long.

        Wraps: event_base_update_cache_time() <event2/event.h>; libevent >= 2.1.
        """
        self._checked(lib.lev_base_update_time(self._l), "event_base_update_cache_time")

    def common_timeout(self, seconds: float) -> CommonTimeout:
        """
        Make a delay for very many timers; the same seconds give the same object.

        Raises ValueError when there would be more than 256 of one base, or for seconds out of range;
        ClosedError; WrongThreadError.

        Wraps: event_base_init_common_timeout() <event2/event.h>; libevent >= 2.0.
        """
        seconds = convert.check_seconds(seconds, "seconds")
        found: Optional[CommonTimeout] = self._common.get(seconds)
        if found is not None:
            self._check_open()
            return found
        number = lib.lev_common_timeout(self._l, seconds)
        if number == lib.LEV_TOO_MANY:
            raise ValueError(f"a base has at most {lib.LEV_COMMON_MAX} common timeouts")
        self._checked(number, "event_base_init_common_timeout")
        made = self._common[seconds] = CommonTimeout._make(self, number, seconds)
        return made

    def count(self, what: EventCount = _EVERYTHING) -> int:
        """
        Return how many events there are of the kinds *what*: added, active, or virtual.

        As in C an active event counts as added too: with both kinds, as by default, it counts twice; events()
        has it once.  Events with keepalive=False do not count.  The calls that call_soon() queued count as
        one.  Any thread may ask.  Raises ClosedError.

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
        return [event for token, event in list(self._armed.items()) if event._token == token] + queued

    def statistics(self) -> Statistics:
        """Return a snapshot of what there is.  Any thread may ask; a closed base has nothing."""
        armed = list(self._armed.values())
        queued = [item for item in list(self._queue) if isinstance(item, Timer) and item._token == SOON]
        live: dict[str, int] = {}
        watchers = (*self._preparing.values(), *self._checking.values())
        for thing in (*armed, *queued, *watchers, *self._operations):
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

        Any thread may ask; of a base made with NOLOCK only the one that uses it.  Raises ClosedError,
        WrongThreadError, and OSError when the system gives no temporary file.

        Wraps: event_base_dump_events() <event2/event.h>; libevent >= 2.0.
        """
        self._check_open()
        memory = ffi.new("char **")
        self._checked(lib.lev_base_dump(self._l, memory), "event_base_dump_events")
        try:
            text: str = ffi.string(memory[0]).decode("utf-8", "replace")
        finally:
            lib.lev_free(memory[0])
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
        self._checked(lib.lev_base_activate_fd(self._l, number, what), "event_base_active_by_fd")

    def activate_signal(self, signum: int) -> None:
        """
        Activate the pending events of a signal, as if it had come.

        Raises TypeError, ValueError, ClosedError, WrongThreadError.

        Wraps: event_base_active_by_signal() <event2/event.h>; libevent >= 2.1.
        """
        number = check_signal(signum)
        self._checked(lib.lev_signal_activate(self._l, number), "event_base_active_by_signal")
