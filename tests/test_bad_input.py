"""What cannot be meant is refused at the call, with a sentence, and leaves nothing behind."""

from __future__ import annotations

import errno
import gc
import math
import os
import re
import resource
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import output_of, same_blocks

from libevent_cffi import CLOSED, ET, PERSIST, READ, WRITE, Event, EventBase, EventFlag, Signal, Timer, util
from libevent_cffi.errors import ClosedError
from libevent_cffi.event import CommonTimeout
from libevent_cffi.flags import BaseFlag, EventCount, Feature, LoopFlag

TEN_YEARS = 10 * 366 * 24 * 3600.0
NOTHING = EventFlag(0)

BAD_TIMES: list[tuple[Any, type[Exception]]] = [
    (-1, ValueError),
    (-1e-9, ValueError),
    (-0.5, ValueError),
    (float("nan"), ValueError),
    (math.inf, ValueError),
    (-math.inf, ValueError),
    (1e300, ValueError),
    (10**400, ValueError),
    (TEN_YEARS + 1, ValueError),
    (2**63, ValueError),
    (True, TypeError),
    ("1", TypeError),
    (b"1", TypeError),
    ([1], TypeError),
    (1j, TypeError),
    (object(), TypeError),
]


@pytest.fixture
def base(plain_base: EventBase) -> EventBase:
    """One base: what is refused here is refused before the method comes into play."""
    return plain_base


@pytest.fixture
def refused(base: EventBase) -> Callable[..., None]:
    """refused(error, function, *args): calling it raises, says something, and changes nothing in C."""
    return _refuser(base)


def _refuser(base: EventBase) -> Callable[..., None]:
    def check(
        kind: Any, function: Callable[..., object], *args: Any, match: str = ".", **keywords: Any
    ) -> None:
        first = _attempt(kind, function, args, keywords, match)
        assert str(first)
        descriptors, blocks = len(os.listdir("/proc/self/fd")), util.memory_counters().blocks
        events, count = base.events(), base.count()
        for _ in range(3):
            _attempt(kind, function, args, keywords, match)
        assert len(os.listdir("/proc/self/fd")) == descriptors
        assert util.memory_counters().blocks <= blocks
        assert (base.events(), base.count()) == (events, count)

    return check


def _attempt(
    kind: Any, function: Callable[..., object], args: Any, keywords: Any, match: str
) -> BaseException:
    with pytest.raises(kind, match=match) as caught:
        function(*args, **keywords)
    return caught.value


Refused = Callable[..., None]
Pair = tuple[socket.socket, socket.socket]


# -- time ----------------------------------------------------------------------------------------------------


class _LyingInt(int):
    """Every comparison is true, and what it is for arithmetic another number."""

    __hash__ = int.__hash__

    def _true(self, other: object) -> bool:
        return True

    __lt__ = __le__ = __gt__ = __ge__ = __eq__ = _true  # type: ignore[assignment]

    def __int__(self) -> int:
        return 200

    __index__ = __int__

    def __float__(self) -> float:
        return -1e300

    def __add__(self, other: object) -> int:
        return -1


class _LyingFloat(float):
    """Every comparison is true."""

    __hash__ = float.__hash__

    def _true(self, other: object) -> bool:
        return True

    __lt__ = __le__ = __gt__ = __ge__ = __eq__ = _true  # type: ignore[assignment]


@pytest.mark.parametrize("seconds", [_LyingFloat(-1e300), _LyingFloat(-7.0), _LyingInt(-7)], ids=repr)
def test_times_of_a_class_that_lies(base: EventBase, refused: Refused, seconds: Any) -> None:
    """It is the number that counts, not how it compares."""
    for function in (base.poll, base.common_timeout, Timer(base, print).add):
        refused(ValueError, function, seconds)
    refused(ValueError, base.loop_exit, after=seconds)
    Timer(base, print).add(_LyingInt(7)).close()


def test_numbers_of_a_class_that_lies(base: EventBase, refused: Refused) -> None:
    """Descriptors, signals, priorities and counts: C gets what was checked."""
    refused(ValueError, base.on_readable, _LyingInt(-5), print)
    refused(ValueError, Signal, base, _LyingInt(200), print)
    refused(ValueError, Timer, base, print, priority=_LyingInt(255))
    refused(ValueError, Event(base, None, EventFlag(0), print).activate, count=_LyingInt(10**9))
    assert Signal(base, _LyingInt(signal.SIGUSR1), print).fd == signal.SIGUSR1
    assert Timer(base, print, priority=_LyingInt(0)).priority == 0


@pytest.mark.parametrize(("seconds", "kind"), BAD_TIMES, ids=lambda value: repr(value)[:12])
def test_times_that_are_none(base: EventBase, pair: Pair, refused: Refused, seconds: Any, kind: Any) -> None:
    """
    Negative, not a number, infinite, over ten years, and what is no number: wherever seconds are taken.

    libevent fires a huge or negative timeout at once, and ends the process for some.
    """
    event = Event(base, pair[0], READ, print)
    timer = Timer(base, print)
    for function in (
        event.add,
        timer.add,
        base.poll,
        base.common_timeout,
        lambda value: base.loop_exit(after=value),
        lambda value: base.call_later(value, print),
        lambda value: base.every(value, print),
        lambda value: base.once(pair[0], READ, print, timeout=value),
        lambda value: EventBase(max_dispatch_interval=value),
    ):
        refused(kind, function, seconds)
    assert not event.pending
    assert not timer.pending
    with pytest.raises(ValueError, match="never started"):
        timer.add()


def test_a_bad_time_leaves_a_pending_event_as_it_was(base: EventBase, pair: Pair, refused: Refused) -> None:
    """The old timeout goes on."""
    event = Event(base, pair[0], READ, print).add(50)
    timer = Timer(base, print).add(60)
    for thing in (event, timer):
        refused(ValueError, thing.add, -1)
    assert event.remaining == pytest.approx(50, abs=1)
    assert timer.remaining == pytest.approx(60, abs=1)
    assert timer.add().remaining == pytest.approx(60, abs=1)


@pytest.mark.parametrize("seconds", [0, 1e-300, 1e-7, 1, 1.5, TEN_YEARS, 300_000_000])
def test_times_from_now_to_ten_years(base: EventBase, seconds: float) -> None:
    """What is between is what remaining tells, and never "now" unless it is 0."""
    timer = Timer(base, print).add(seconds)
    assert timer.remaining == pytest.approx(seconds, abs=1)
    timer.close()


def test_a_common_timeout_of_another_base(base: EventBase, refused: Refused) -> None:
    """It is memory of the other base."""
    with EventBase() as other:
        delay = other.common_timeout(1)
        refused(ValueError, Timer(base, print).add, delay, match="another base")
        refused(ValueError, base.call_later, delay, print, match="another base")
    refused(ValueError, Timer(base, print).add, delay, match="another base")
    refused(TypeError, CommonTimeout, match="common_timeout")
    refused(TypeError, base.common_timeout, delay)
    refused(TypeError, base.poll, base.common_timeout(5))


# -- descriptors ---------------------------------------------------------------------------------------------


class Fileno:
    """Something with fileno()."""

    def __init__(self, number: Any) -> None:
        self.number = number

    def fileno(self) -> Any:
        """Return what it was made with."""
        return self.number


@pytest.mark.parametrize(
    ("fd", "kind", "match"),
    [
        (-1, ValueError, "closed"),
        (-5, ValueError, "closed"),
        (2**31, ValueError, "too large"),
        (2**100, ValueError, "too large"),
        (True, TypeError, "bool"),
        (False, TypeError, "bool"),
        (1.0, TypeError, "fileno"),
        ("1", TypeError, "fileno"),
        (b"", TypeError, "fileno"),
        ([], TypeError, "fileno"),
        (Fileno(-1), ValueError, "closed"),
        (Fileno("1"), TypeError, "fileno"),
        (Fileno(True), TypeError, "fileno"),
        (Fileno(None), TypeError, "fileno"),
    ],
)
def test_descriptors_that_are_none(base: EventBase, refused: Refused, fd: Any, kind: Any, match: str) -> None:
    """C takes -1 for "no descriptor" and waits for ever."""
    for function in (
        lambda: Event(base, fd, READ, print),
        lambda: base.on_readable(fd, print),
        lambda: base.on_writable(fd, print),
        lambda: base.once(fd, READ, print),
        lambda: base.activate_fd(fd, READ),
    ):
        refused(kind, function, match=match)


def test_none_is_no_descriptor_to_read_from(base: EventBase, refused: Refused) -> None:
    """None is a user event, which happens by hand."""
    for function in (base.on_readable, base.on_writable):
        refused(TypeError, function, None, print, match="not None")
    refused(TypeError, base.activate_fd, None, READ)


def test_a_closed_socket(method: Any) -> None:
    """When it is closed before the event is made, or before it is added."""
    with method.make() as base:
        refused = _refuser(base)
        left, right = socket.socketpair()
        event = Event(base, left, READ, print)
        left.close()
        refused(ValueError, Event, base, left, READ, print, match="closed")
        refused(OSError, event.add, match="Bad file descriptor")
        refused(OSError, event.add, 5, match="Bad file descriptor")
        right.close()


def test_numbers_that_are_not_open(method: Any) -> None:
    """OSError at add(), and no memory for the descriptors up to that number (libevent takes 262 MB)."""
    with method.make() as base:
        refused = _refuser(base)
        left, right = socket.socketpair()
        number = left.fileno()
        left.close()
        right.close()
        before = util.memory_counters().bytes
        for fd in (number, 900, 30_000_000, 2**31 - 1):
            kinds = (OSError, ValueError) if base.method == "select" else OSError
            refused(kinds, Event(base, fd, READ, print).add)
            refused(kinds, base.on_readable, fd, print)
        assert util.memory_counters().bytes - before < 1_000_000


def test_files_and_folders(method: Any, run: Callable[..., None]) -> None:
    """
    epoll cannot watch them: PermissionError at add(), with the changelist too, where libevent's failure would
    come when the loop waits, and be heard by nobody.  The other methods find them always ready.
    """
    with method.make() as base:
        refused = _refuser(base)
        told: list[int] = []
        with tempfile.TemporaryFile() as file:
            folder = os.open("/", os.O_RDONLY)
            for fd in (file, file.fileno(), folder):
                event = Event(base, fd, READ, lambda fd, what: told.append(fd))
                if base.features & Feature.FDS:
                    event.add()
                    run(base)
                    assert told.pop() == event.fd
                else:
                    refused(PermissionError, event.add, match=r"epoll.*avoid_methods")
                    refused(PermissionError, base.on_readable, fd, print, match="epoll")
            os.close(folder)


def test_devices_that_cannot_be_waited_for(method: Any) -> None:
    """/dev/null under epoll, with and without the changelist."""
    with method.make() as base:
        refused = _refuser(base)
        fd = os.open(os.devnull, os.O_RDONLY)
        if not base.features & Feature.FDS:
            refused(PermissionError, Event(base, fd, READ, print).add, match="device that epoll")
        os.close(fd)


def test_a_failing_add_leaves_other_events_of_the_descriptor(method: Any, pair: Pair) -> None:
    """What was watched is watched still."""
    with method.make() as base:
        left, right = pair
        told: list[str] = []
        event = base.on_readable(left, lambda: (told.append("read"), event.close()))
        if base.features & Feature.ET:
            with pytest.raises(ValueError, match="edge"):
                Event(base, left, READ | ET, print).add()
        right.send(b"x")
        base.dispatch()
        assert told == ["read"]


# -- flags ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("events", "kind"),
    [
        (0x100, ValueError),
        (-1, ValueError),
        (2**70, ValueError),
        (NOTHING, ValueError),
        (PERSIST, ValueError),
        (EventFlag.TIMEOUT, ValueError),
        (ET, ValueError),
        (True, TypeError),
        ("READ", TypeError),
        (None, TypeError),
        (1.0, TypeError),
        (LoopFlag.ONCE, TypeError),
        (EventFlag.SIGNAL | READ, ValueError),
        (EventFlag.SIGNAL | ET, ValueError),
    ],
)
def test_events_that_say_nothing(
    base: EventBase, pair: Pair, refused: Refused, events: Any, kind: Any
) -> None:
    """Unknown bits, flags of another type, and nothing to watch for."""
    refused(kind, Event, base, pair[0], events, print)
    refused(kind, base.once, pair[0], events, print)


@pytest.mark.parametrize("events", [READ, WRITE, CLOSED, ET, READ | PERSIST])
def test_events_of_nothing(base: EventBase, refused: Refused, events: EventFlag) -> None:
    """A user event cannot be read from."""
    refused(ValueError, Event, base, None, events, print, match="user event|cannot watch")


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        (0, ValueError),
        (PERSIST, ValueError),
        (ET, ValueError),
        (0x100, ValueError),
        (-2, ValueError),
        ("READ", TypeError),
        (True, TypeError),
    ],
)
def test_activate_takes_what_can_happen(base: EventBase, refused: Refused, what: Any, kind: Any) -> None:
    """READ, WRITE, CLOSED, TIMEOUT and SIGNAL."""
    event = Event(base, None, PERSIST, print)
    refused(kind, event.activate, what, match="what")
    assert not event.pending


@pytest.mark.parametrize(
    ("count", "kind"),
    [
        (0, ValueError),
        (-1, ValueError),
        (32768, ValueError),
        (2**40, ValueError),
        (1.5, TypeError),
        (True, TypeError),
    ],
)
def test_activate_takes_a_count_that_c_has(base: EventBase, refused: Refused, count: Any, kind: Any) -> None:
    """libevent counts in a short, and a negative one runs 65535 times."""
    refused(kind, Signal(base, signal.SIGUSR1, print).activate, count=count, match="count")


def test_flags_of_the_other_methods(base: EventBase, pair: Pair, refused: Refused) -> None:
    """Each takes its own kind, or a plain int of known bits."""
    for function, good in (
        (base.loop, None),
        (base.count, None),
        (base.max_count, None),
        (lambda flags: base.activate_fd(pair[0], flags), READ),
        (lambda flags: EventBase(flags=flags), None),
        (lambda flags: EventBase(required_features=flags), None),
    ):
        refused(ValueError, function, 2**20)
        refused(ValueError, function, -1)
        refused(TypeError, function, "1")
        refused(TypeError, function, True)
        refused(TypeError, function, None)
        if good is not None:
            function(good)
    refused(TypeError, base.loop, EventCount.ACTIVE, match="LoopFlag")
    refused(TypeError, base.count, READ, match="EventCount")
    refused(TypeError, EventBase, flags=Feature.ET, match="BaseFlag")
    refused(TypeError, EventBase, required_features=BaseFlag.NOLOCK, match="Feature")
    for flags in (0, PERSIST, ET, EventFlag.TIMEOUT, EventFlag.SIGNAL):
        refused(ValueError, base.activate_fd, pair[0], flags, match="READ, WRITE and CLOSED")


# -- signals -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (0, ValueError),
        (-1, ValueError),
        (65, ValueError),
        (300, ValueError),
        (256 + signal.SIGUSR1, ValueError),
        (2**70, ValueError),
        (signal.SIGKILL, ValueError),
        (signal.SIGSTOP, ValueError),
        (True, TypeError),
        (None, TypeError),
        ("SIGUSR1", TypeError),
        (15.0, TypeError),
    ],
)
def test_signals_that_are_none(base: EventBase, refused: Refused, number: Any, kind: Any) -> None:
    """Numbers that the system has not, or keeps for itself."""
    handlers = [signal.getsignal(each) for each in (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT)]
    refused(kind, Signal, base, number, print)
    refused(kind, base.on_signal, number, print)
    refused(kind, base.activate_signal, number)
    refused(kind, Event, base, number, EventFlag.SIGNAL, print)
    refused(kind, base.once, number, EventFlag.SIGNAL, print)
    assert handlers == [signal.getsignal(each) for each in (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT)]


def test_reserved_real_time_signals_are_refused(base: EventBase, refused: Refused) -> None:
    """The C library keeps some for itself, and sigaction() refuses them."""
    reserved = set(range(1, 65)) - set(signal.valid_signals())
    for number in reserved:
        refused(ValueError, Signal, base, number, print, match="no signal")


# -- callbacks, bases, priorities ----------------------------------------------------------------------------


@pytest.mark.parametrize("callback", [None, 5, "print", object()])
def test_callbacks_that_cannot_be_called(
    base: EventBase, pair: Pair, refused: Refused, callback: Any
) -> None:
    """At the call, not when something happens."""
    idle = Event(base, None, NOTHING, print)
    for function in (
        lambda: Event(base, pair[0], READ, callback),
        lambda: Timer(base, callback),
        lambda: Signal(base, signal.SIGUSR1, callback),
        lambda: base.call_soon(callback),
        lambda: base.call_soon(callback, priority=0),
        lambda: base.call_soon_threadsafe(callback),
        lambda: base.call_later(1, callback),
        lambda: base.every(1, callback),
        lambda: base.on_readable(pair[0], callback),
        lambda: base.on_writable(pair[0], callback),
        lambda: base.on_signal(signal.SIGUSR1, callback),
        lambda: base.once(pair[0], READ, callback),
        lambda: idle.finalize(callback),
    ):
        refused(TypeError, function, match="callback must be callable")
    assert not idle.closed


@pytest.mark.parametrize("wrong", [None, 5, "base", object(), EventBase])
def test_bases_that_are_none(base: EventBase, pair: Pair, refused: Refused, wrong: Any) -> None:
    """C takes NULL for "the current base"."""
    refused(TypeError, Event, wrong, pair[0], READ, print, match="base must be an EventBase")
    refused(TypeError, Timer, wrong, print, match="base must be an EventBase")
    refused(TypeError, Signal, wrong, signal.SIGUSR1, print, match="base must be an EventBase")


def test_a_closed_base(base: EventBase, pair: Pair, refused: Refused) -> None:
    """Everything on it raises ClosedError, but closing."""
    event = Event(base, pair[0], READ, print)
    timer = base.call_later(5, print)
    with EventBase() as closed:
        pass
    refused(ClosedError, Event, closed, pair[0], READ, print, match="closed")
    refused(ClosedError, Timer, closed, print, match="closed")
    refused(ClosedError, closed.call_soon, print, match="closed")
    refused(ClosedError, closed.call_soon_threadsafe, print, match="closed")
    base.close()
    for function in (
        event.add,
        event.delete,
        event.activate,
        event.remove_timer,
        lambda: event.pending,
        lambda: timer.remaining,
        timer.add,
        base.dispatch,
        base.poll,
        base.loop_break,
        base.loop_exit,
        base.loop_continue,
        base.now,
        base.update_now,
        base.count,
        base.max_count,
        base.events,
        base.dump,
        base.reinit,
        lambda: base.common_timeout(1),
        lambda: base.activate_signal(signal.SIGUSR1),
        lambda: base.activate_fd(0, READ),
        lambda: base.on_readable(pair[0], print),
        lambda: event.finalize(print),
    ):
        with pytest.raises(ClosedError, match="closed"):
            function()
    assert event.closed
    assert timer.closed
    assert event.events == READ
    event.close()
    timer.close()
    base.close()


@pytest.mark.parametrize("priority", [-1, 1, 256, 2**70])
def test_priorities_the_base_has_not(base: EventBase, pair: Pair, refused: Refused, priority: int) -> None:
    """libevent ends the process when such an event is activated."""
    timer = Timer(base, print)
    for function in (
        lambda value: Timer(base, print, priority=value),
        lambda value: Event(base, pair[0], READ, print, priority=value),
        lambda value: Signal(base, signal.SIGUSR1, print, priority=value),
        lambda value: base.call_soon(print, priority=value),
        lambda value: base.call_later(1, print, priority=value),
        lambda value: setattr(timer, "priority", value),
    ):
        refused(ValueError, function, priority, match="priority must be between 0 and 0")
        refused(TypeError, function, True, match="priority must be an int")
        refused(TypeError, function, "0", match="priority must be an int")


@pytest.mark.parametrize(
    ("keywords", "kind", "match"),
    [
        ({"priorities": 0}, ValueError, "priorities must be between 1 and 255"),
        ({"priorities": 256}, ValueError, "priorities must be between 1 and 255"),
        ({"priorities": 2**40}, ValueError, "priorities"),
        ({"priorities": True}, TypeError, "priorities must be an int"),
        ({"priorities": None}, TypeError, "priorities must be an int"),
        ({"avoid_methods": "epoll"}, TypeError, "list of names"),
        ({"avoid_methods": 5}, TypeError, "iterable"),
        ({"avoid_methods": [5]}, TypeError, "a method must be str"),
        ({"avoid_methods": ["ep\0oll"]}, ValueError, "NUL"),
        ({"max_dispatch_callbacks": 0}, ValueError, "max_dispatch_callbacks"),
        ({"max_dispatch_callbacks": -1}, ValueError, "max_dispatch_callbacks"),
        ({"max_dispatch_callbacks": 2**40}, ValueError, "max_dispatch_callbacks"),
        ({"max_dispatch_callbacks": 1.5}, TypeError, "max_dispatch_callbacks"),
        ({"max_dispatch_interval": -1}, ValueError, "max_dispatch_interval"),
        ({"min_dispatch_priority": -1}, ValueError, "min_dispatch_priority"),
        ({"min_dispatch_priority": None}, TypeError, "min_dispatch_priority"),
        ({"cpu_hint": 0}, ValueError, "cpu_hint"),
        ({"cpu_hint": "two"}, TypeError, "cpu_hint"),
        ({"error_handler": 5}, TypeError, "error_handler"),
        ({"method": "epoll"}, TypeError, "method"),
    ],
    ids=str,
)
def test_a_base_that_cannot_be(keywords: dict[str, Any], kind: Any, match: str) -> None:
    """Each keyword is checked before anything is made."""
    for _ in range(3):
        with pytest.raises(kind, match=re.escape(match)):
            EventBase(**keywords)


def test_a_base_takes_keywords_only() -> None:
    """A number alone would mean nothing."""
    with pytest.raises(TypeError):
        EventBase(5)  # type: ignore[call-arg]


def test_what_cannot_be_written_to(base: EventBase) -> None:
    """dump() says so, and frees the text."""
    base.dump()
    gc.collect()  # what an older test has left goes now, and not meanwhile
    before = util.memory_counters().blocks
    for file in (5, object(), b""):
        with pytest.raises((TypeError, AttributeError), match="write"):
            base.dump(file)  # type: ignore[arg-type]
    with tempfile.TemporaryFile() as binary, pytest.raises(TypeError):
        base.dump(binary)  # type: ignore[arg-type]
    assert same_blocks(util.memory_counters().blocks, before)


def test_a_fileno_that_raises(base: EventBase, refused: Refused) -> None:
    """What it raises is what is raised."""

    class Broken:
        def fileno(self) -> int:
            raise ZeroDivisionError("mine")

    refused(ZeroDivisionError, Event, base, Broken(), READ, print, match="mine")


def test_no_descriptors_left() -> None:
    """
    OSError, whichever descriptor is the one that is not there, and nothing of the half-made base is left.

    libevent ends the process when it gets no pair of them for its signals (signal.c:evsig_init_).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    gc.collect()
    free = os.dup(0)
    os.close(free)
    before = util.memory_counters().blocks
    errors: list[int] = []
    for more in range(10):
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + more, hard))
        try:
            EventBase().close()
        except OSError as error:
            errors.append(error.errno)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert errors
    assert set(errors) == {errno.EMFILE}
    gc.collect()
    assert same_blocks(util.memory_counters().blocks, before)


def test_more_events_on_a_pipe_than_libevent_counts() -> None:
    """
    The 65536th is an OSError, in debug mode too.

    libevent counts them in 16 bits (evmap.c:evmap_io_add_) and refuses more, also the one by which we have a
    pipe looked at anew (fds.c:lev_fd_refresh); debug mode then takes it for added, and ends the process when
    its memory is given back.
    """
    code = """
import os
from libevent_cffi import READ, Event, EventBase
with EventBase() as base:
    fds = os.pipe()
    try:
        while True:
            Event(base, fds[0], READ, print).add()
    except OSError:
        print(base.count(), len(base.events()))
"""
    assert output_of(code, LIBEVENT_CFFI_DEBUG="mode") == "65535 65535\n"


def test_names_of_methods_that_make_the_same_base() -> None:
    """
    The base that they made stays, and the outer call is refused.

    It was replaced by another one under its events, and under a thread that dispatched it: nobody could stop
    that loop any more.
    """
    base = EventBase.__new__(EventBase)

    def names() -> Iterator[str]:
        base.__init__()  # type: ignore[misc]
        base.call_soon(told.append, "mine")
        yield "none"

    told: list[str] = []
    with pytest.raises(RuntimeError, match="made already"):
        base.__init__(avoid_methods=names())  # type: ignore[misc]
    base.dispatch()
    assert told == ["mine"]
    base.close()


def test_names_of_methods_that_shut_libevent_down() -> None:
    """ClosedError, as of a constructor that is called afterwards; it was a base without libevent's locks."""
    code = """
from libevent_cffi import EventBase, util
from libevent_cffi.errors import ClosedError
try:
    EventBase(avoid_methods=(util.global_shutdown() or "none" for _ in range(1)))
except ClosedError:
    print("closed")
"""
    assert output_of(code) == "closed\n"
