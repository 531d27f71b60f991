"""The part of a BufferEvent that sets it: directions, timeouts, watermarks, triggers, and limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

from .._native import convert
from .._native._libevent import ffi, lib
from ..event.arguments import check_priority
from ..flags import BufferEventFlag, EventFlag, check_flags
from .limits import c_rate, check_bytes, check_change, check_for_tls
from .transfer import Transfer

if TYPE_CHECKING:
    from .limits import RateLimit, RateLimitGroup

__all__ = ["BOTH", "Control", "check_directions"]

BOTH = EventFlag.READ | EventFlag.WRITE
_TELLABLE = int(~BufferEventFlag(0))


class Control(Transfer):
    """What can be set."""

    __slots__ = ("_group", "_limit")

    _limit: Optional[RateLimit]
    _group: Optional[RateLimitGroup]

    # -- directions ------------------------------------------------------------------------------------------

    def enable(self, events: EventFlag) -> None:
        """
        Turn READ or WRITE or both on.

        Raises ValueError for other flags, OSError, ClosedError, WrongThreadError.

        Wraps: bufferevent_enable() <event2/bufferevent.h>; libevent >= 1.4.
        """
        self._done(lib.lev_bev_enable(self._c, check_directions(events)), "bufferevent_enable")

    def disable(self, events: EventFlag) -> None:
        """
        Turn READ or WRITE or both off: what arrives stays where it is, and what was written waits.

        Raises ValueError for other flags, ClosedError, WrongThreadError.

        Wraps: bufferevent_disable() <event2/bufferevent.h>; libevent >= 1.4.
        """
        self._done(lib.lev_bev_disable(self._c, check_directions(events)), "bufferevent_disable")

    @property
    def enabled(self) -> EventFlag:
        """
        The directions that are on; an end, a failure or a timeout turns them off.

        Wraps: bufferevent_get_enabled() <event2/bufferevent.h>; libevent >= 2.0.
        """
        return EventFlag(self._checked(lib.lev_bev_enabled(self._c), "bufferevent_get_enabled"))

    # -- timeouts --------------------------------------------------------------------------------------------

    def set_timeouts(self, *, read: Optional[float] = None, write: Optional[float] = None) -> None:
        """
        Have on_event told TIMEOUT when for so many seconds nothing arrived while it reads, or nothing could
        be sent while there is something to send, or it could not connect (*write*).  None is no limit.

        The direction is off then, until enable().

        Raises ValueError for times that are negative, not numbers or over ten years; ClosedError;
        WrongThreadError.

        Wraps: bufferevent_set_timeouts() <event2/bufferevent.h>; libevent >= 2.0.
        """
        seconds = [
            -1.0 if each is None else convert.check_seconds(each, name)
            for each, name in ((read, "read"), (write, "write"))
        ]
        self._done(lib.lev_bev_set_timeouts(self._c, *seconds), "bufferevent_set_timeouts")

    def _timeouts(self) -> tuple[Optional[float], Optional[float]]:
        found = ffi.new("double[2]")
        self._checked(lib.lev_bev_timeouts(self._c, found), "bufferevent_set_timeouts")
        read, write = (None if each < 0 else float(each) for each in found)
        return read, write

    @property
    def read_timeout(self) -> Optional[float]:
        """
        The seconds after which silence is told, or None; settable.

        Wraps: bufferevent_set_timeouts() <event2/bufferevent.h>; libevent >= 2.0.
        """
        return self._timeouts()[0]

    @read_timeout.setter
    def read_timeout(self, seconds: Optional[float]) -> None:
        self.set_timeouts(read=seconds, write=self._timeouts()[1])

    @property
    def write_timeout(self) -> Optional[float]:
        """
        The seconds after which being stuck is told, or None; settable.

        Wraps: bufferevent_set_timeouts() <event2/bufferevent.h>; libevent >= 2.0.
        """
        return self._timeouts()[1]

    @write_timeout.setter
    def write_timeout(self, seconds: Optional[float]) -> None:
        self.set_timeouts(read=self._timeouts()[0], write=seconds)

    # -- watermarks ------------------------------------------------------------------------------------------

    def set_watermark(self, events: EventFlag, *, low: int = 0, high: Optional[int] = None) -> None:
        """
        Set when on_read and on_write are called, in bytes.

        For READ: on_read is called when the input holds *low* or more, and at *high* (None: never) no more is
        read until some of it was taken.  For WRITE: on_write is called when the output has fallen to *low*;
        a filter on top writes no more when it has *high*.

        Raises ValueError for other flags, and for a *high* below *low* or 1; ClosedError; WrongThreadError.

        Wraps: bufferevent_setwatermark() <event2/bufferevent.h>; libevent >= 1.4.
        """
        directions = check_directions(events)
        least = check_bytes(low, "low", 0)
        most = 0 if high is None else check_bytes(high, "high", max(1, least))
        self._done(lib.lev_bev_set_watermark(self._c, directions, least, most), "bufferevent_setwatermark")

    def get_watermark(self, event: EventFlag) -> tuple[int, Optional[int]]:
        """
        Return (low, high) of READ or of WRITE.

        Raises ValueError for anything else, ClosedError, WrongThreadError.

        Wraps: bufferevent_getwatermark() <event2/bufferevent.h>; libevent >= 2.1.
        """
        direction = check_directions(event)
        if direction not in (int(EventFlag.READ), int(EventFlag.WRITE)):
            raise ValueError(f"event must be READ or WRITE, not {event!r}")
        found = ffi.new("size_t[2]")
        self._checked(lib.lev_bev_watermark(self._c, direction, found), "bufferevent_getwatermark")
        return int(found[0]), int(found[1]) or None

    # -- triggers --------------------------------------------------------------------------------------------

    def trigger(self, events: EventFlag, *, ignore_watermarks: bool = False) -> None:
        """
        Have on_read or on_write or both called in the next pass, when their low marks are reached, or with
        *ignore_watermarks* in any case.

        Raises ValueError for other flags, ClosedError, WrongThreadError.

        Wraps: bufferevent_trigger() <event2/bufferevent.h>; libevent >= 2.1.
        """
        directions = check_directions(events)
        self._done(lib.lev_bev_trigger(self._c, directions, bool(ignore_watermarks)), "bufferevent_trigger")

    def trigger_event(self, what: BufferEventFlag) -> None:
        """
        Have *what* happen to it in the next pass, as far as its user and it itself can see.

        Raises ValueError for no flag, ClosedError, WrongThreadError.

        Wraps: bufferevent_trigger_event() <event2/bufferevent.h>; libevent >= 2.1.
        """
        flags = int(check_flags(BufferEventFlag, what, "what"))
        if not flags & _TELLABLE:
            raise ValueError("what is empty")
        self._done(lib.lev_bev_trigger_event(self._c, flags, 0), "bufferevent_trigger_event")

    # -- priority and limits ---------------------------------------------------------------------------------

    @property
    def priority(self) -> int:
        """
        Its priority among the events of its base, 0 being the most urgent.

        It can be set; ValueError for one that the base has not, and for pairs and filters.  While callbacks
        are on their way it counts from those on that come after them.

        Wraps: bufferevent_get_priority() bufferevent_priority_set() <event2/bufferevent.h>; libevent >= 2.1.
        """
        return self._checked(lib.lev_bev_priority(self._c), "bufferevent_get_priority")

    @priority.setter
    def priority(self, value: int) -> None:
        number = check_priority(self._base, value)
        self._checked(lib.lev_bev_set_priority(self._c, number, 0), "bufferevent_priority_set")

    @property
    def rate_limit(self) -> Optional[RateLimit]:
        """
        How fast it may be, or None.

        It can be set; None lifts it.  A filter passes it on to what it stands on.  What is sent from then on
        is read from files, and not sent by sendfile().

        Raises ValueError for pairs, and under TLS for bursts below 16,384 bytes; TypeError, ClosedError,
        WrongThreadError.

        Wraps: bufferevent_set_rate_limit() bufferevent_get_token_bucket_cfg() <event2/bufferevent.h>;
        libevent >= 2.0.
        """
        if self._engine is not None:
            return self._engine.wire.rate_limit
        if not self._checked(lib.lev_bev_has_limit(self._c), "bufferevent_get_token_bucket_cfg"):
            return None
        limit: Optional[RateLimit] = self._bottom()._limit
        return limit

    @rate_limit.setter
    def rate_limit(self, limit: Optional[RateLimit]) -> None:
        if self._engine is not None:
            self._engine.wire.rate_limit = limit
            return
        rate = c_rate(limit)
        check_for_tls(limit, self)
        self._checked(lib.lev_bev_set_limit(self._c, rate), "bufferevent_set_rate_limit")
        self._bottom()._limit = limit

    @property
    def rate_limit_group(self) -> Optional[RateLimitGroup]:
        """The group whose limit it shares, or None."""
        group = self._group
        return None if group is None or group.closed or self.closed else group

    @property
    def read_limit(self) -> int:
        """
        Bytes that may be read now: of its own limit in this tick, which is negative when more was read;
        without one, at once.  Raises ClosedError, WrongThreadError.

        Wraps: bufferevent_get_read_limit() bufferevent_get_max_to_read() <event2/bufferevent.h>; libevent >=
        2.0.
        """
        return self._room(0, "bufferevent_get_read_limit")

    @property
    def write_limit(self) -> int:
        """
        Bytes that may be written now; as read_limit.

        Wraps: bufferevent_get_write_limit() bufferevent_get_max_to_write() <event2/bufferevent.h>; libevent
        >= 2.0.
        """
        return self._room(1, "bufferevent_get_write_limit")

    def _room(self, is_write: int, call: str) -> int:
        room = ffi.new("int64_t *")
        self._checked(lib.lev_bev_room(self._c, is_write, room), call)
        return int(room[0])

    def decrement_read_limit(self, nbytes: int) -> None:
        """
        Count *nbytes* as read under its own limit; a negative number gives room back.

        Raises ValueError when it has no limit, TypeError, ClosedError, WrongThreadError.

        Wraps: bufferevent_decrement_read_limit() <event2/bufferevent.h>; libevent >= 2.0.
        """
        size = check_change(nbytes)
        self._checked(lib.lev_bev_take_room(self._c, 0, size), "bufferevent_decrement_read_limit")

    def decrement_write_limit(self, nbytes: int) -> None:
        """
        Count *nbytes* as written.  As decrement_read_limit().

        Wraps: bufferevent_decrement_write_limit() <event2/bufferevent.h>; libevent >= 2.0.
        """
        size = check_change(nbytes)
        self._checked(lib.lev_bev_take_room(self._c, 1, size), "bufferevent_decrement_write_limit")

    @property
    def max_single_read(self) -> int:
        """
        Most bytes that are read at once; settable.  libevent reads no more than 4096 at once before 2.2.

        Wraps: bufferevent_get_max_single_read() bufferevent_set_max_single_read() <event2/bufferevent.h>;
        libevent >= 2.1.
        """
        return self._checked(lib.lev_bev_max_single(self._c, 0), "bufferevent_get_max_single_read")

    @max_single_read.setter
    def max_single_read(self, nbytes: int) -> None:
        size = check_bytes(nbytes, "max_single_read")
        self._checked(lib.lev_bev_set_max_single(self._c, 0, size), "bufferevent_set_max_single_read")

    @property
    def max_single_write(self) -> int:
        """
        Most bytes that are written at once; settable, and files are read from then on.

        Wraps: bufferevent_get_max_single_write() bufferevent_set_max_single_write() <event2/bufferevent.h>;
        libevent >= 2.1.
        """
        return self._checked(lib.lev_bev_max_single(self._c, 1), "bufferevent_get_max_single_write")

    @max_single_write.setter
    def max_single_write(self, nbytes: int) -> None:
        size = check_bytes(nbytes, "max_single_write")
        self._checked(lib.lev_bev_set_max_single(self._c, 1, size), "bufferevent_set_max_single_write")


def check_directions(events: EventFlag) -> int:
    """Return *events*, which may be READ and WRITE."""
    value = int(check_flags(EventFlag, events, "events"))
    if value & ~int(BOTH):
        raise ValueError(f"events can be READ and WRITE only, not {events!r}")
    return value
