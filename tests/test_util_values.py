"""The small things of util.h: numbers, text, time, random bytes; and the library as a whole."""

from __future__ import annotations

import array
import gc
import math
import os
import subprocess
import sys
import time
import weakref
from datetime import datetime, timedelta, timezone
from email.utils import formatdate

import pytest

from libevent_cffi import errors, util
from libevent_cffi._native import convert, features, ffi, lib


def output(code: str) -> str:
    """Run *code* in a process of its own, which must end well, and return what it printed."""
    path = os.pathsep.join(filter(None, sys.path))
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


# -- numbers and text ----------------------------------------------------------------------------------------

MOST = 2**63 - 1


@pytest.mark.parametrize(
    ("text", "base", "expected"),
    [
        ("12", 10, (12, 2)),
        (" \t\n-12xyz", 10, (-12, 6)),
        ("+5", 10, (5, 2)),
        ("0x1f", 0, (31, 4)),
        ("0x1f", 16, (31, 4)),
        ("017", 0, (15, 3)),
        ("zz!", 36, (1295, 2)),
        ("12", 2, (1, 1)),
        ("", 10, (0, 0)),
        ("abc", 10, (0, 0)),
        ("  ", 10, (0, 0)),
        ("\u00e9 1", 10, (0, 0)),
        ("12\u00e9", 10, (12, 2)),
        ("1\u0663", 10, (1, 1)),
        (str(MOST), 10, (MOST, 19)),
        (str(MOST + 1), 10, (MOST, 19)),
        ("-" + "9" * 40, 10, (-MOST - 1, 41)),
    ],
)
def test_strtoll_reads_as_c_does(text: str, base: int, expected: tuple[int, int]) -> None:
    """The value, cut to 64 bits, and how many characters it took."""
    assert util.strtoll(text, base) == expected


@pytest.mark.parametrize("base", [-1, 1, 37, 1 << 40])
def test_strtoll_refuses_impossible_bases(base: int) -> None:
    """A base is 0 or between 2 and 36."""
    with pytest.raises(ValueError, match="base must be"):
        util.strtoll("1", base)


def test_texts_with_a_nul_are_refused() -> None:
    """Where C would stop reading, the text is not taken at all."""
    for call in (
        lambda: util.strtoll("1\0"),
        lambda: util.ascii_compare("a\0b", "a"),
        lambda: util.ascii_compare("a", "\0"),
    ):
        with pytest.raises(ValueError, match="holds a NUL"):
            call()
    with pytest.raises(TypeError):
        util.strtoll(b"1")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("a", "b", "length", "sign"),
    [
        ("Content-Length", "content-LENGTH", None, 0),
        ("abc", "ABD", None, -1),
        ("b", "A", None, 1),
        ("a", "ab", None, -1),
        ("", "", None, 0),
        ("abcX", "ABCy", 3, 0),
        ("abcX", "ABCy", 4, -1),
        ("abc", "xyz", 0, 0),
        ("ab", "ABc", 2, 0),
        ("ab", "ABc", 1000, -1),
        ("\u00e9", "\u00e9", None, 0),
        ("\u00e9a", "\u00e9B", 1, 0),
        ("\u00e9a", "\u00e9B", 2, -1),
    ],
)
def test_ascii_compare_ignores_the_case_of_ascii(a: str, b: str, length: int, sign: int) -> None:
    """Equal, less or greater, by characters."""
    assert util.ascii_compare(a, b, length) == sign
    assert util.ascii_compare(b, a, length) == -sign


def test_ascii_compare_leaves_other_letters_apart() -> None:
    """Only A to Z have a case; a length is no negative number."""
    assert util.ascii_compare("\u00e9", "\u00c9") != 0
    with pytest.raises(ValueError, match="length"):
        util.ascii_compare("a", "b", -1)


# -- time ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "seconds", [0, 1, 784111777, 784111777.9, 951782400, 4107542400, -1, -0.5, 253402300799]
)
def test_http_date_writes_what_email_writes(seconds: float) -> None:
    """The form of RFC 9110, in UTC, with fractions cut off."""
    assert util.http_date(seconds) == formatdate(math.floor(seconds), usegmt=True)


def test_http_date_takes_a_datetime_of_any_zone() -> None:
    """Two datetimes of one moment give one text; without a zone there is no moment."""
    moment = datetime(1994, 11, 6, 8, 49, 37, 999999, timezone.utc)
    elsewhere = moment.astimezone(timezone(timedelta(hours=-7, minutes=-30)))
    assert util.http_date(moment) == util.http_date(elsewhere) == "Sun, 06 Nov 1994 08:49:37 GMT"
    with pytest.raises(ValueError, match="time zone"):
        util.http_date(datetime(1994, 11, 6))


def test_http_date_is_now_by_default() -> None:
    """Without an argument it is the time of day."""
    before = math.floor(time.time())
    written = util.http_date()
    assert written in {util.http_date(second) for second in range(before, math.floor(time.time()) + 1)}


@pytest.mark.parametrize("when", [math.nan, math.inf, -math.inf, 1e18, 253402300800, -1e11, -40_000_000_000])
def test_http_date_refuses_other_millennia(when: float) -> None:
    """A year has four digits."""
    with pytest.raises(ValueError):
        util.http_date(when)


@pytest.mark.parametrize("when", [True, "now", b"1"])
def test_http_date_refuses_other_types(when: float) -> None:
    """Seconds or a datetime, nothing else."""
    with pytest.raises(TypeError):
        util.http_date(when)


def test_wall_clock_is_the_time_of_day() -> None:
    """wall_clock() and time.time() read the same clock."""
    assert time.time() <= util.wall_clock() + 1e-5
    assert util.wall_clock() <= time.time() + 1e-5


@pytest.mark.parametrize(
    "arguments", [{}, {"precise": True}, {"fallback": True}, {"precise": True, "fallback": True}]
)
def test_monotonic_timer_never_goes_back(arguments: dict[str, bool]) -> None:
    """However the timer is made, time does not run backwards."""
    timer = util.MonotonicTimer(**arguments)
    times = [timer.now() for _ in range(1000)]
    assert times == sorted(times)


def test_precise_timer_is_the_system_s_clock() -> None:
    """precise=True reads the clock of time.monotonic(); the quick one is at most a tick behind."""
    before = time.monotonic()
    precise, quick = util.MonotonicTimer(precise=True).now(), util.MonotonicTimer().now()
    assert before - 1e-5 <= precise <= time.monotonic() + 1e-5
    assert before - 0.05 <= quick <= time.monotonic() + 1e-5


def test_monotonic_timers_are_freed() -> None:
    """A dropped timer leaves no memory in C."""
    gc.collect()
    before = util.memory_counters().blocks
    timers = [util.MonotonicTimer() for _ in range(50)]
    assert util.memory_counters().blocks == before + 50
    reference = weakref.ref(timers[0])
    del timers
    for _ in range(3):
        gc.collect()
    assert reference() is None
    assert util.memory_counters().blocks == before


@pytest.mark.parametrize("seconds", [0, 1e-6, 0.1, 0.3, 1.5, 123456.789012])
def test_seconds_become_timevals_and_back(seconds: float) -> None:
    """Time is exact to the microsecond."""
    assert convert.seconds_from_timeval(convert.timeval_from_seconds(seconds)) == pytest.approx(
        seconds, abs=1e-9
    )


def test_a_little_time_is_not_none() -> None:
    """Less than a microsecond is one, because 0 would mean now; None is no limit; the rest is refused."""
    assert convert.timeval_from_seconds(1e-12).tv_usec == 1
    assert convert.timeval_from_seconds(0.9999999).tv_sec == 1
    assert convert.timeval_from_seconds(None) == ffi.NULL
    for bad in (-1e-9, math.nan, math.inf, 4e8):
        with pytest.raises(ValueError, match="timeout must be between 0 and ten years"):
            convert.timeval_from_seconds(bad)
    for wrong in ("1", True):
        with pytest.raises(TypeError):
            convert.timeval_from_seconds(wrong)  # type: ignore[arg-type]


# -- chance --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nbytes", [0, 1, 4096, 3_000_001])
def test_random_bytes_are_as_many_as_asked(nbytes: int) -> None:
    """Any size, also beyond one block."""
    result = util.random_bytes(nbytes)
    assert (type(result), len(result)) == (bytes, nbytes)


def test_random_bytes_differ() -> None:
    """No two draws are alike, and every byte value comes."""
    assert len({util.random_bytes(16) for _ in range(1000)}) == 1000
    assert set(util.random_bytes(100_000)) == set(range(256))
    block = util.random_bytes(3 << 20)
    assert len({block[start : start + 4096] for start in range(0, len(block), 1 << 20)}) == 3


def test_random_bytes_refuse_impossible_sizes() -> None:
    """Negative or no number is a mistake; more than there is memory is a MemoryError at once."""
    with pytest.raises(ValueError):
        util.random_bytes(-1)
    with pytest.raises(TypeError):
        util.random_bytes(1.0)  # type: ignore[arg-type]
    with pytest.raises(MemoryError):
        util.random_bytes(sys.maxsize)


@pytest.mark.parametrize(
    "data", [b"", b"some", bytearray(b"some"), memoryview(b"some"), array.array("i", [1, 2])]
)
def test_add_entropy_takes_any_buffer(data: bytes) -> None:
    """What has the buffer protocol is taken; text is not."""
    util.add_entropy(data)
    with pytest.raises(TypeError):
        util.add_entropy("text")  # type: ignore[arg-type]


def test_set_urandom_file_works_or_says_why_not() -> None:
    """It succeeds, or says that this libevent reads no file; a path with NUL is a mistake anyway."""
    code = """
from libevent_cffi import errors, util
try:
    util.set_urandom_file("/dev/urandom")
except errors.FeatureUnavailableError as error:
    assert "arc4random" in str(error) and error.feature == "urandom_file"
print(len(util.random_bytes(10)))
"""
    assert output(code) == "10\n"
    for bad in ("a\0b", ""):
        with pytest.raises(ValueError):
            util.set_urandom_file(bad)


# -- the library as a whole ----------------------------------------------------------------------------------


def test_version_and_number_agree() -> None:
    """The text and the number are of one version."""
    numbers = [util.version_number() >> shift & 0xFF for shift in (24, 16, 8)]
    assert util.version().startswith(".".join(map(str, numbers)))


def test_features_say_what_is_there() -> None:
    """A feature is there exactly when its functions are; the mapping cannot be changed."""
    found = util.features()
    names = {"tls", "ws", "watch", "threads", "dns_tcp", "upload_streaming", "signalfd", "memory_functions"}
    assert names | {"unix_http_client", "buffer_max_read"} <= set(found)
    assert all(type(value) is bool for value in found.values())
    assert found["watch"] is hasattr(lib, "evwatch_prepare_new")
    assert found["memory_functions"] is hasattr(lib, "event_set_mem_functions")
    with pytest.raises(TypeError):
        found["ws"] = True  # type: ignore[index]


def test_a_missing_feature_says_who_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """require() passes for what is there, and names the version needed and the one loaded for what is not."""
    for name, there in util.features().items():
        if there:
            features.require(name)
    missing = features._Feature(("no_such_function",), "libevent 2.2")
    monkeypatch.setitem(features._FEATURES, "watch", missing)
    with pytest.raises(errors.FeatureUnavailableError) as caught:
        features.require("watch")
    assert str(caught.value) == f"watch needs libevent 2.2; this is {util.version()}"
    assert caught.value.feature == "watch"
    with pytest.raises(KeyError):
        features.has("no such feature")


SHUTDOWN = """
from libevent_cffi import errors, util
from libevent_cffi._native import lib
def attempt(call):
    try:
        call()
        print("done")
    except errors.LibeventError as error:
        print(type(error).__name__)
"""


def test_global_shutdown_ends_it_for_good() -> None:
    """Afterwards constructors raise ClosedError, a second call does nothing, plain functions work."""
    code = f"{SHUTDOWN}util.random_bytes(1)\nattempt(util.global_shutdown); attempt(util.global_shutdown)\n"
    code += "attempt(util.MonotonicTimer); attempt(lambda: util.random_bytes(10)); attempt(util.wall_clock)"
    assert output(code).split() == ["done", "done", "ClosedError", "done", "done"]


def test_global_shutdown_waits_for_open_objects() -> None:
    """While an object is open it is a LoopBusyError, and nothing is shut down."""
    code = (
        f"{SHUTDOWN}lib.lev_live_objects = 2\nattempt(util.global_shutdown); attempt(util.MonotonicTimer)\n"
    )
    code += "lib.lev_live_objects = 0; attempt(util.global_shutdown)"
    assert output(code).split() == ["LoopBusyError", "done", "done"]


def test_global_shutdown_frees_everything() -> None:
    """What libevent keeps for the whole process is freed: no block is left."""
    code = """
from libevent_cffi import util
from libevent_cffi._native import lib
lib.event_base_free(lib.event_base_new())
util.global_shutdown()
print(util.memory_counters().blocks)
"""
    assert output(code) == "0\n"
