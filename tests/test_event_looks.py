"""How long events live, and what they tell of themselves."""

from __future__ import annotations

import gc
import os
import re
import resource
import signal
import socket
import textwrap
import weakref
from typing import Any

import pytest
from conftest import Pair, Run, output_of

from libevent_cffi import PERSIST, READ, ClosedError, Event, EventBase, EventFlag, Signal, Timer
from libevent_cffi.flags import BaseFlag

SIGNAL = EventFlag.SIGNAL
NOTHING = EventFlag(0)


# -- lives ---------------------------------------------------------------------------------------------------


def test_a_pending_event_needs_no_reference(base: EventBase, run: Run) -> None:
    """What is pending lives; what is idle and unreferenced is freed."""
    told: list[str] = []
    Timer(base, told.append, "timer").add(0.01)
    Event(base, None, NOTHING, lambda fd, what: told.append("active")).activate()
    idle = weakref.ref(Event(base, None, NOTHING, print))
    for _ in range(3):
        gc.collect()
    assert idle() is None
    run(base)
    assert told == ["active", "timer"]


def test_what_has_happened_is_let_go(base: EventBase, run: Run) -> None:
    """After its callback a one-shot event is not held by the base."""
    gone = [weakref.ref(base.call_later(0.0, int)), weakref.ref(base.call_soon(int))]
    run(base)
    for _ in range(3):
        gc.collect()
    assert [each() for each in gone] == [None, None]


def test_many_events_come_and_go_without_a_leak(base: EventBase) -> None:
    """Adding and deleting leaves as many blocks in C as before."""
    from libevent_cffi import util

    def cycle() -> None:
        events = [Timer(base, print).add(n % 7) for n in range(500)]
        for event in events[::2]:
            event.close()
        for event in events[1::2]:
            event.delete()

    cycle()
    before = util.memory_counters().blocks
    for _ in range(5):
        cycle()
    assert util.memory_counters().blocks <= before


# -- how they look -------------------------------------------------------------------------------------------


def test_attributes_are_what_it_was_made_with(base: EventBase, pair: Pair) -> None:
    """They can be read back, and not set."""
    event = Event(base, pair[0], READ | PERSIST, print, 1, 2, priority=0, keepalive=False)
    assert (event.base, event.fd, event.events) == (base, pair[0].fileno(), READ | PERSIST)
    assert (event.callback, event.args, event.priority, event.keepalive) == (print, (1, 2), 0, False)
    for name in ("base", "fd", "events", "callback", "args", "keepalive", "pending", "remaining", "closed"):
        with pytest.raises(AttributeError):
            setattr(event, name, None)
    timer = Timer(base, print)
    assert (timer.fd, timer.events, Timer(base, print, persist=True).events) == (-1, NOTHING, PERSIST)
    usr1 = Signal(base, signal.SIGUSR1, print)
    assert (usr1.signum, usr1.fd, usr1.events) == (signal.SIGUSR1, signal.SIGUSR1, SIGNAL | PERSIST)
    assert isinstance(usr1.signum, signal.Signals)


@pytest.mark.skipif(not hasattr(signal, "SIGRTMIN"), reason="this system has no real-time signals")
def test_real_time_signals_have_numbers(base: EventBase, run: Run) -> None:
    """Most of them have no name, and are signals all the same."""
    told: list[int] = []
    number = signal.SIGRTMIN + 3
    event = Signal(base, number, lambda signum: (told.append(signum), event.close())).add()
    assert event.signum == number
    assert repr(event) == f"<Signal signal {number} PERSIST pending>"
    base.call_soon(os.kill, os.getpid(), number)
    run(base)
    assert told == [number]


def test_repr_says_what_which_and_in_which_state(plain_base: EventBase, pair: Pair) -> None:
    """The words of libevent: initialized, pending, active; and closed."""
    base = plain_base
    fd = pair[0].fileno()
    event = Event(base, pair[0], READ | PERSIST, print)
    assert repr(event) == f"<Event fd={fd} READ|PERSIST initialized>"
    event.add()
    assert repr(event) == f"<Event fd={fd} READ|PERSIST pending>"
    event.close()
    assert repr(event) == f"<Event fd={fd} READ|PERSIST closed>"
    assert repr(Event(base, None, NOTHING, print)) == "<Event user initialized>"
    timer = Timer(base, print, persist=True)
    assert repr(timer) == "<Timer persist initialized>"
    timer.add(2)
    assert re.fullmatch(r"<Timer persist pending in [0-2]\.\d{3} s>", repr(timer))
    timer.activate()
    assert "active" in repr(timer)
    assert repr(Signal(base, signal.SIGUSR1, print)) == "<Signal SIGUSR1 PERSIST initialized>"
    other = EventBase()
    lost = Timer(other, print).add(1)
    other.close()
    assert repr(lost) == "<Timer closed>"
    assert repr(other) == f"<EventBase {other.method} closed>"


def test_events_are_equal_to_themselves_only(plain_base: EventBase) -> None:
    """They can be keys, and cannot be copied."""
    import copy
    import pickle

    one, two = Timer(plain_base, print), Timer(plain_base, print)
    assert one != two
    assert len({one, two, one}) == 2
    for function in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot be pickled or copied"):
            function(one)


def test_with_means_close(plain_base: EventBase) -> None:
    """At the end of the with an event is closed, whatever it was."""
    with Timer(plain_base, print).add(5) as timer:
        assert timer.pending
    assert timer.closed
    timer.close()
    with pytest.raises(ClosedError), timer:
        pass


def test_subclasses_work(plain_base: EventBase, run: Run) -> None:
    """A subclass may have attributes of its own."""

    class Mine(Timer):
        pass

    mine = Mine(plain_base, list)
    mine.note = "kept"  # type: ignore[attr-defined]
    mine.add(0)
    run(plain_base)
    assert plain_base.statistics().live == {}


def test_an_idle_event_costs_nothing_in_c(plain_base: EventBase) -> None:
    """An event has its memory in C only while libevent knows it."""
    from libevent_cffi import util

    before = util.memory_counters().blocks
    idle = [Event(plain_base, None, NOTHING, print) for _ in range(1000)]
    assert util.memory_counters().blocks <= before
    assert len(idle) == 1000


@pytest.mark.parametrize("flags", [BaseFlag(0), *BaseFlag], ids=str)
def test_the_flags_of_the_base_do_not_change_what_is_told(flags: BaseFlag, pair: Pair, run: Run) -> None:
    """With the cached time that C uses by default, without locks, and with all else there is."""
    left, right = pair
    told: list[object] = []
    with EventBase(flags=flags) as base:
        right.send(b"x")
        Event(base, left, READ, lambda fd, what: told.append(left.recv(9))).add()
        base.call_later(0.01, told.append, "timer")
        base.call_soon_threadsafe(told.append, "soon")
        run(base)
    assert sorted(map(str, told)) == ["b'x'", "soon", "timer"]


def test_descriptors_above_the_first_thousand_are_watched(method: Any, run: Run) -> None:
    """
    All methods take them but select: libevent makes its sets as large as they must be, but glibc ends the
    process at the first descriptor that does not fit into its own fd_set.
    """
    number = min(resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 1, 3000)
    left, right = socket.socketpair()
    os.dup2(left.fileno(), number)
    told: list[object] = []
    with method.make() as base, left, right:
        event = Event(base, number, READ, lambda *got: told.append(got))
        right.send(b"x")
        if base.method == "select" and number >= 1024:
            with pytest.raises(ValueError, match="too large for select"):
                event.add()
            event.activate()
        else:
            event.add()
        run(base)
    os.close(number)
    assert told == [(number, READ)]


def test_a_base_with_select_needs_small_descriptors(plain_base: EventBase) -> None:
    """libevent's own descriptors are held to the same limit, and the process would end in the constructor."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if "select" not in EventBase.supported_methods() or limit < 1100:
        return
    avoid = [name for name in EventBase.supported_methods() if name != "select"]
    taken = [os.open(os.devnull, os.O_RDONLY)]
    try:
        while taken[-1] < 1020:
            taken.append(os.dup(taken[0]))
        with pytest.raises(ValueError, match="no method"):
            EventBase(avoid_methods=avoid)
        EventBase().close()
    finally:
        for each in taken:
            os.close(each)


def test_debug_mode_takes_what_is_no_mistake() -> None:
    """
    libevent's debug mode ends the process for a descriptor that blocks or is closed
    (event.c:event_debug_assert_socket_nonblocking_), and for freeing an event that it refused to add.
    """
    code = """
        import os, socket
        from libevent_cffi import EventBase, Event, READ, PERSIST
        left, right = socket.socketpair()
        file = os.open(os.devnull, os.O_RDONLY)
        with EventBase() as base:
            event = base.on_readable(left, lambda: (print(left.recv(9)), event.close()))
            right.send(b"x")
            base.dispatch()
            for fd in (file, 900):
                try:
                    Event(base, fd, READ | PERSIST, print).add()
                except OSError as error:
                    print(type(error).__name__)
        left.close()
        right.close()
        """
    printed = output_of(textwrap.dedent(code), LIBEVENT_CFFI_DEBUG="mode,locks").split()
    assert printed[0] == "b'x'"
    assert printed[-1] == "OSError"
