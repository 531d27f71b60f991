"""Numbers, text, time, and random bytes."""

from __future__ import annotations

import itertools
import math
import sys
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Optional, Union

from .._native import check, convert
from .._native._libevent import ffi, lib
from ..errors import ClosedError, FeatureUnavailableError

if TYPE_CHECKING:
    from ..types import BytesLike, StrPath

__all__ = [
    "MonotonicTimer",
    "add_entropy",
    "ascii_compare",
    "http_date",
    "random_bytes",
    "set_urandom_file",
    "strtoll",
    "wall_clock",
]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_RANDOM_BLOCK = 1 << 20
_urandom_files: list[Any] = []
_seeded = False


def strtoll(text: str, base: int = 10) -> tuple[int, int]:
    """
    Read a whole number at the beginning of *text*, as C does.

    White space and a sign may come first.  *base* is 2 to 36, or 0 to tell it from "0x" and "0".

    Returns (value, characters used); nothing readable is (0, 0).  A number beyond 64 bits is cut to the least
    or the greatest of them, with all its digits used.  Raises ValueError for another base, or a NUL in
    *text*.

    Wraps: evutil_strtoll() <event2/util.h>; libevent >= 1.4.
    """
    convert.c_int(base, "base", 0, 36)
    if base == 1:
        raise ValueError("base must be 0 or between 2 and 36, not 1")
    convert.c_text(text, "text")
    start = ffi.new("char[]", _ascii_part(text))
    end = ffi.new("char **")
    value: int = lib.evutil_strtoll(start, end, base)
    return value, end[0] - start


def _ascii_part(text: str) -> bytes:
    # No number goes on behind the first character that is not ASCII, and up to there bytes count as
    # characters.
    return "".join(itertools.takewhile(str.isascii, text)).encode("ascii")


def ascii_compare(a: str, b: str, length: Optional[int] = None) -> int:
    """
    Compare two texts without regard to the case of A to Z, whatever the locale.

    With *length* only so many characters of each count.

    Returns 0 when they are equal, else -1 or 1.  Other characters are equal to themselves only, and have no
    order that would be the same on every machine.  Raises ValueError for a negative length or a NUL.

    Wraps: evutil_ascii_strcasecmp() evutil_ascii_strncasecmp() <event2/util.h>; libevent >= 2.0.
    """
    left, right = convert.c_text(a, "a"), convert.c_text(b, "b")
    order: int
    if length is None:
        order = lib.evutil_ascii_strcasecmp(left, right)
    else:  # C counts bytes
        size = max(len(_first(a, length)), len(_first(b, length)))
        order = lib.evutil_ascii_strncasecmp(left, right, size)
    return order


def _first(text: str, length: int) -> bytes:
    return convert.c_text(text[: convert.c_int(length, "length", 0, sys.maxsize)], "text")


# -- time ----------------------------------------------------------------------------------------------------


def http_date(when: Union[float, datetime, None] = None) -> str:
    """
    Write a time as HTTP has it: "Sun, 06 Nov 1994 08:49:37 GMT".

    *when* is seconds since 1970, or a datetime that knows its time zone; None means now.  Fractions are cut
    off.

    Raises ValueError for a datetime without a time zone, for NaN, and outside the years 1000 to 9999.

    Wraps: evutil_date_rfc1123() <event2/util.h>; libevent >= 2.1.
    """
    if when is None:
        when = wall_clock()
    moment = _utc(when)
    if moment.year < 1000:
        raise ValueError(f"HTTP writes years with four digits: {when!r}")
    parts = ffi.new("struct tm *")
    parts.tm_year, parts.tm_mon, parts.tm_mday = moment.year - 1900, moment.month - 1, moment.day
    parts.tm_hour, parts.tm_min, parts.tm_sec = moment.hour, moment.minute, moment.second
    parts.tm_wday = moment.isoweekday() % 7
    text = ffi.new("char[]", 64)
    lib.evutil_date_rfc1123(text, 64, parts)
    written: str = ffi.string(text).decode("ascii")
    return written


def _utc(when: Union[float, datetime]) -> datetime:
    if isinstance(when, datetime):
        if when.utcoffset() is None:
            raise ValueError(f"{when!r} does not say its time zone: give it a tzinfo")
        return when.astimezone(timezone.utc)
    if isinstance(when, bool) or not isinstance(when, (int, float)):
        raise TypeError(f"when must be seconds or a datetime, not {when!r}")
    try:
        return _EPOCH + timedelta(seconds=math.floor(when))
    except (OverflowError, ValueError):  # too far away, infinite, or not a number
        raise ValueError(f"no time between the years 1000 and 9999: {when!r}") from None


def wall_clock() -> float:
    """
    Return the time of day in seconds since 1970, to the microsecond.

    It jumps when the clock is set; MonotonicTimer does not.

    Wraps: evutil_gettimeofday() <event2/util.h>; libevent >= 1.4.
    """
    now = ffi.new("struct timeval *")
    check.check_rc(lib.evutil_gettimeofday(now, ffi.NULL), "evutil_gettimeofday")
    return convert.seconds_from_timeval(now)


class MonotonicTimer:
    """
    The clock of libevent's timers: seconds from some moment, never backwards.

    *precise* asks for the exact clock rather than the quick one, whose steps are up to 4 ms on Linux.
    *fallback* has libevent take the time of day and hold it when it is set back, as it does on systems
    without such a clock.

    One thread at a time.  Raises ClosedError after global_shutdown().

    Wraps: evutil_monotonic_timer_new() evutil_monotonic_timer_free() evutil_configure_monotonic_time()
    <event2/util.h>; libevent >= 2.1.
    """

    __slots__ = ("__weakref__", "_timer")

    def __init__(self, *, precise: bool = False, fallback: bool = False) -> None:
        if lib.lev_shut_down:
            raise ClosedError("libevent was shut down by util.global_shutdown()")
        timer = check.check_pointer(lib.evutil_monotonic_timer_new(), "evutil_monotonic_timer_new")
        self._timer = ffi.gc(timer, lib.evutil_monotonic_timer_free)
        flags = (lib.EV_MONOT_PRECISE if precise else 0) | (lib.EV_MONOT_FALLBACK if fallback else 0)
        check.check_rc(
            lib.evutil_configure_monotonic_time(self._timer, flags), "evutil_configure_monotonic_time"
        )

    def now(self) -> float:
        """
        Return the time in seconds.

        Two timers that were made alike tell the same time; EventBase.now() is another clock, the time of day.

        Wraps: evutil_gettime_monotonic() event_gettime_monotonic() <event2/util.h>; libevent >= 2.1.
        """
        now = ffi.new("struct timeval *")
        check.check_rc(lib.evutil_gettime_monotonic(self._timer, now), "evutil_gettime_monotonic")
        return convert.seconds_from_timeval(now)


# -- chance --------------------------------------------------------------------------------------------------


def random_bytes(nbytes: int) -> bytes:
    """
    Return *nbytes* random bytes, good for keys.

    Raises ValueError when *nbytes* is negative, MemoryError when they do not fit, and OSError when the system
    gives libevent nothing to begin with.

    Wraps: evutil_secure_rng_get_bytes() evutil_secure_rng_init() <event2/util.h>; libevent >= 2.0.
    """
    convert.c_int(nbytes, "nbytes", 0, sys.maxsize)
    _seed()
    result = bytearray(nbytes)
    block = ffi.new("char[]", min(nbytes, _RANDOM_BLOCK) or 1)
    for start in range(0, nbytes, _RANDOM_BLOCK):
        size = min(nbytes - start, _RANDOM_BLOCK)
        lib.evutil_secure_rng_get_bytes(block, size)
        result[start : start + size] = ffi.buffer(block, size)
    return bytes(result)


def add_entropy(data: BytesLike) -> None:
    """
    Stir *data* into libevent's own generator.

    It has no effect where the system's arc4random() is used, which seeds itself (glibc 2.36 and later, the
    BSDs, macOS), nor in libevent 2.2.

    Wraps: evutil_secure_rng_add_bytes() <event2/util.h>; libevent >= 2.0.
    """
    memory = convert.c_bytes(data)
    lib.evutil_secure_rng_add_bytes(memory, len(memory))


def set_urandom_file(path: StrPath) -> None:
    """
    Have libevent's own generator begin with bytes of *path* in place of /dev/urandom.

    It must come before the first random byte is used, by you or by a resolver.

    Raises FeatureUnavailableError where libevent uses the system's arc4random(), which reads no file;
    ValueError for an empty path or a NUL.

    Wraps: evutil_secure_rng_set_urandom_device_file() <event2/util.h>; libevent >= 2.1.
    """
    name = ffi.new("char[]", convert.c_path(path, "path"))
    _urandom_files.append(name)  # C keeps the pointer (evutil_rand.c:arc4random_urandom_filename)
    if lib.evutil_secure_rng_set_urandom_device_file(name) != 0:
        _urandom_files.remove(name)
        raise FeatureUnavailableError("urandom_file", "this libevent uses arc4random(), which reads no file")


def _seed() -> None:
    # evutil_secure_rng_get_bytes() goes on without a seed when it finds none
    # (arc4random.c:arc4_stir_if_needed).
    global _seeded
    if not _seeded:
        check.clear_errno()
        check.check_rc(lib.evutil_secure_rng_init(), "evutil_secure_rng_init")
        _seeded = True
