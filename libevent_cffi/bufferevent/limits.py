"""Rate limits, and groups of connections that share one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional
from weakref import WeakSet

from .._native import children, convert
from .._native._libevent import ffi, lib
from ..event.arguments import check_base

if TYPE_CHECKING:
    from ..event import EventBase
    from .connection import BufferEvent

__all__ = ["RateLimit", "RateLimitGroup", "c_rate", "check_bytes"]

#: What one tick can have; also what stands for "no limit".
_MOST = 2**31 - 1
_EXACT = 0.01
#: Milliseconds; libevent divides by 32 bits of them (bufferevent_ratelim.c:ev_token_bucket_get_tick_).
_LONGEST = 2**31 - 1
#: The most that TLS puts into one record.
_RECORD = 16384


def check_bytes(value: int, name: str, least: int = 1) -> int:
    """Return a number of bytes."""
    return convert.c_int(value, name, least, 2**62)


@dataclass(frozen=True)
class RateLimit:
    """
    Bytes per second each way; None is no limit.

    What was not used is saved up to *read_burst* and *write_burst* bytes (None: one second's worth).  Room
    for more comes every *tick* seconds, in whole milliseconds; where a tick of a slow rate would have less
    than whole bytes, several ticks are taken together.  A burst that is small beside the rate, and a short
    tick, make the rate hold exactly.

    Raises TypeError, and ValueError for rates and bursts below 1, a burst below what one tick brings, a rate
    of more than 2 GiB in a tick, and a tick below a millisecond or of more than 24 days.

    Wraps: ev_token_bucket_cfg_new() ev_token_bucket_cfg_free() <event2/bufferevent.h>; libevent >= 2.0.
    """

    read_rate: Optional[int] = None
    write_rate: Optional[int] = None
    read_burst: Optional[int] = None
    write_burst: Optional[int] = None
    tick: float = 0.1

    def __post_init__(self) -> None:
        for name in ("read_rate", "write_rate", "read_burst", "write_burst"):
            if getattr(self, name) is not None:
                check_bytes(getattr(self, name), name)
        if convert.check_seconds(self.tick, "tick") < 0.001:
            raise ValueError(f"tick must be at least 0.001 s, not {self.tick!r}")
        _per_tick(self)


def _per_tick(limit: RateLimit) -> tuple[int, int, int, int, float]:
    """Return rate and burst of each way as C has them, in bytes per tick, and the tick."""
    tick = round(limit.tick * 1000)
    rates = [rate for rate in (limit.read_rate, limit.write_rate) if rate is not None]
    longer = tick
    while any(
        abs(round(rate * longer / 1000) * 1000 - rate * longer) > _EXACT * rate * longer for rate in rates
    ):
        longer += tick
    if longer > _LONGEST:
        raise ValueError(f"tick is too long: {longer / 1000} s, and {_LONGEST // 1000} s are the most")
    read = _one_way(limit.read_rate, limit.read_burst, longer, "read")
    write = _one_way(limit.write_rate, limit.write_burst, longer, "write")
    return (*read, *write, longer / 1000)


def _one_way(rate: Optional[int], burst: Optional[int], tick: int, way: str) -> tuple[int, int]:
    if rate is None:
        if burst is not None:
            raise ValueError(f"{way}_burst without {way}_rate")
        return _MOST, _MOST
    share = max(1, round(rate * tick / 1000))
    if share > _MOST:
        raise ValueError(f"{way}_rate: {rate} bytes/s are more than {_MOST} in a tick")
    if burst is None:
        return share, min(max(rate, share), _MOST)
    if burst < share:
        raise ValueError(f"{way}_burst must be at least what a tick of {tick / 1000} s brings: {share} bytes")
    return share, min(burst, _MOST)


def check_for_tls(limit: Optional[RateLimit], bev: Any) -> None:
    """Raise ValueError when *limit* is too small for the TLS of *bev*, which goes by whole records."""
    if limit is None or bev._engine is not None or bev._bottom()._tls is None:
        return
    _, read, _, write, _ = _per_tick(limit)
    if min(read, write) < _RECORD:
        raise ValueError(f"under TLS a burst has to hold a record, of {_RECORD} bytes: {limit!r}")


def c_rate(limit: Optional[RateLimit]) -> Any:
    """Return a ``struct lev_rate *`` for *limit*; NULL for None."""
    if limit is None:
        return ffi.NULL
    if not isinstance(limit, RateLimit):
        raise TypeError(f"a rate limit is a RateLimit, not {limit!r}")
    rate = ffi.new("struct lev_rate *")
    lib.lev_rate_set(rate, *_per_tick(limit))
    return rate


class RateLimitGroup(children.Child):
    """
    One limit shared by many connections, in equal parts.

    *min_share* is how many bytes a member may use at once when there is room at all, so that many members do
    not each get a few bytes; it is at most what one tick brings.  Each member keeps its group alive, and a
    member that is closed leaves it.  Its timer keeps no loop going: a loop ends when nothing else is pending
    and no member waits for anything.

    Raises TypeError, ValueError, MemoryError, ClosedError, WrongThreadError.

    Wraps: bufferevent_rate_limit_group_new() bufferevent_rate_limit_group_free() <event2/bufferevent.h>;
    libevent >= 2.0.
    """

    __slots__ = ("_limit", "_members", "_min_share")

    def __init__(self, base: EventBase, limit: RateLimit, *, min_share: int = 64) -> None:
        self._check_new()
        check_base(base)
        if limit is None:
            raise TypeError("limit must be a RateLimit, not None")
        rate = c_rate(limit)
        share = check_bytes(min_share, "min_share", 0)
        self._base = base
        self._members: WeakSet[BufferEvent] = WeakSet()
        handle = children.new("struct lev_group *")
        result = lib.lev_group_open(handle, base._l, rate, share)
        if result < 0:
            self._c = handle
            self._child = handle
            self._refuse(result, "bufferevent_rate_limit_group_new")
        self._limit, self._min_share = limit, share
        self._begin(base, handle)

    def _checked_for(self, bev: BufferEvent, code: int, call: str) -> None:
        """Raise what the answer of a call means that has to do with *bev*."""
        if code == lib.LEV_BEV_NO_LIMIT:
            raise ValueError(f"{bev!r} is no member, or a pair, whose speed nothing limits")
        if code == lib.LEV_BEV_NO_SOCKET:
            raise ValueError(f"{bev!r} is on another base than the group")
        if code < 0:
            bev._refuse(code, call)

    @property
    def limit(self) -> RateLimit:
        """
        What the members share.  It can be set; raises TypeError, ClosedError, WrongThreadError.

        Wraps: bufferevent_rate_limit_group_set_cfg() <event2/bufferevent.h>; libevent >= 2.0.
        """
        return self._limit

    @limit.setter
    def limit(self, limit: RateLimit) -> None:
        if limit is None:
            raise TypeError("limit must be a RateLimit, not None")
        rate = c_rate(limit)
        for bev in self.members:
            check_for_tls(limit, bev)
        self._checked(lib.lev_group_set_limit(self._c, rate), "bufferevent_rate_limit_group_set_cfg")
        self._limit = limit

    @property
    def min_share(self) -> int:
        """
        Bytes that a member may use at once.  It can be set; raises ValueError, ClosedError, WrongThreadError.

        Wraps: bufferevent_rate_limit_group_set_min_share() <event2/bufferevent.h>; libevent >= 2.0.
        """
        return self._min_share

    @min_share.setter
    def min_share(self, nbytes: int) -> None:
        share = check_bytes(nbytes, "min_share", 0)
        self._checked(
            lib.lev_group_set_min_share(self._c, share), "bufferevent_rate_limit_group_set_min_share"
        )
        self._min_share = share

    def add(self, bev: BufferEvent) -> None:
        """
        Have *bev* share the limit; it leaves the group that it was in.

        Raises TypeError, ValueError for a pair, for one of another base, and as rate_limit does for one with
        TLS; ClosedError, WrongThreadError.

        Wraps: bufferevent_add_to_rate_limit_group() <event2/bufferevent.h>; libevent >= 2.0.
        """
        _check_member(bev)
        check_for_tls(self._limit, bev)
        self._check_open()
        result = lib.lev_group_add(self._c, bev._wire())
        self._checked_for(bev, result, "bufferevent_add_to_rate_limit_group")
        before, bev._group = bev._group, self
        if before is not None and before is not self:
            before._members.discard(bev)
        self._members.add(bev)

    def remove(self, bev: BufferEvent) -> None:
        """
        Have *bev* leave; one that is closed has left already.

        Raises TypeError, ValueError when it is no member, ClosedError, WrongThreadError.

        Wraps: bufferevent_remove_from_rate_limit_group() <event2/bufferevent.h>; libevent >= 2.0.
        """
        _check_member(bev)
        self._check_open()
        result = lib.lev_group_remove(self._c, bev._wire())
        self._checked_for(bev, result, "bufferevent_remove_from_rate_limit_group")
        self._members.discard(bev)
        bev._group = None

    @property
    def members(self) -> frozenset[BufferEvent]:
        """The connections that share it."""
        return frozenset(bev for bev in self._members if bev._group is self and not bev.closed)

    @property
    def read_limit(self) -> int:
        """
        Bytes that may be read in this tick; negative when more was.  Raises ClosedError, WrongThreadError.

        Wraps: bufferevent_rate_limit_group_get_read_limit() <event2/bufferevent.h>; libevent >= 2.0.
        """
        return self._room(0, "bufferevent_rate_limit_group_get_read_limit")

    @property
    def write_limit(self) -> int:
        """
        Bytes that may be written in this tick.  Raises ClosedError, WrongThreadError.

        Wraps: bufferevent_rate_limit_group_get_write_limit() <event2/bufferevent.h>; libevent >= 2.0.
        """
        return self._room(1, "bufferevent_rate_limit_group_get_write_limit")

    def _room(self, is_write: int, call: str) -> int:
        room = ffi.new("int64_t *")
        self._checked(lib.lev_group_room(self._c, is_write, room), call)
        return int(room[0])

    def decrement_read(self, nbytes: int) -> None:
        """
        Count *nbytes* as read, for what is not read by a member; a negative number gives room back.

        Raises TypeError, ValueError, ClosedError, WrongThreadError.

        Wraps: bufferevent_rate_limit_group_decrement_read() <event2/bufferevent.h>; libevent >= 2.0.
        """
        size = check_change(nbytes)
        call = "bufferevent_rate_limit_group_decrement_read"
        self._checked(lib.lev_group_take_room(self._c, 0, size), call)

    def decrement_write(self, nbytes: int) -> None:
        """
        Count *nbytes* as written.  As decrement_read().

        Wraps: bufferevent_rate_limit_group_decrement_write() <event2/bufferevent.h>; libevent >= 2.0.
        """
        size = check_change(nbytes)
        call = "bufferevent_rate_limit_group_decrement_write"
        self._checked(lib.lev_group_take_room(self._c, 1, size), call)

    def totals(self) -> tuple[int, int]:
        """
        Return how many bytes the members have read and written.  Raises ClosedError, WrongThreadError.

        Wraps: bufferevent_rate_limit_group_get_totals() <event2/bufferevent.h>; libevent >= 2.0.
        """
        return self._totals(0, "bufferevent_rate_limit_group_get_totals")

    def reset_totals(self) -> None:
        """
        Count them from 0 again.  Raises ClosedError, WrongThreadError.

        Wraps: bufferevent_rate_limit_group_reset_totals() <event2/bufferevent.h>; libevent >= 2.0.
        """
        self._totals(1, "bufferevent_rate_limit_group_reset_totals")

    def _totals(self, reset: int, call: str) -> tuple[int, int]:
        totals = ffi.new("uint64_t[2]")
        self._checked(lib.lev_group_totals(self._c, totals, reset), call)
        return int(totals[0]), int(totals[1])

    def close(self) -> None:
        """
        End it: its members go on without it.  Any number of times.

        Raises WrongThreadError, and closes nothing then.

        Wraps: bufferevent_rate_limit_group_free() <event2/bufferevent.h>; libevent >= 2.0.
        """
        super().close()

    def _describe(self) -> list[str]:
        return [] if self.closed else [f"members={len(self.members)}"]


def check_change(nbytes: int) -> int:
    """Return a number of bytes that may be negative."""
    return convert.c_int(nbytes, "nbytes", -(2**62), 2**62)


def _check_member(bev: object) -> None:
    if not isinstance(bev, children.Child) or not hasattr(bev, "_group"):
        raise TypeError(f"bev must be a BufferEvent, not {bev!r}")
