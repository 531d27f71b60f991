"""The short forms of EventBase: call_soon(), call_later(), on_readable() and their like, on every method."""

from __future__ import annotations

import gc
import os
import signal
import socket
import threading
import time

import pytest
from conftest import Pair, Run

from libevent_cffi import PERSIST, READ, WRITE, Event, EventBase, EventFlag, Signal
from libevent_cffi.flags import Feature

NOTHING = EventFlag(0)


def test_call_soon_keeps_the_order(base: EventBase, run: Run) -> None:
    """Also between call_soon() and call_soon_threadsafe()."""
    told: list[int] = []
    for number in range(100):
        (base.call_soon if number % 2 else base.call_soon_threadsafe)(told.append, number)
    run(base)
    assert told == list(range(100))


def test_what_call_soon_gets_inside_runs_in_the_next_pass(base: EventBase, run: Run) -> None:
    """A ready descriptor is looked at in between."""
    order: list[str] = []
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with socket.create_connection(listener.getsockname()):
            base.on_readable(
                listener, lambda: (order.append("io"), listener.accept()[0].close(), event.close())
            )
            event = base.events()[0]
            base.call_soon(lambda: (order.append("first"), base.call_soon(order.append, "second")))
            run(base)
    assert order.index("first") < order.index("second")
    assert order.index("io") < order.index("second")


def test_call_soon_that_goes_on_for_ever_leaves_room(base: EventBase, pair: Pair, run: Run) -> None:
    """A call that asks for itself again and again keeps neither a timer nor a descriptor out."""
    left, right = pair
    right.send(b"x")
    told: list[str] = []
    calls = [0]

    def again() -> None:
        calls[0] += 1
        if len(told) < 2:
            base.call_soon(again)

    base.call_soon(again)
    base.call_later(0.02, told.append, "timer")
    event = base.on_readable(left, lambda: (told.append("io"), event.close()))
    run(base)
    assert sorted(told) == ["io", "timer"]
    assert calls[0] >= 2


def test_an_event_that_activates_itself_leaves_room(base: EventBase, pair: Pair, run: Run) -> None:
    """1000 callbacks, and the loop looks for what is new: in C it would never look again."""
    left, right = pair
    right.send(b"x")
    told: list[str] = []

    def again(fd: int, what: EventFlag) -> None:
        if len(told) < 2:
            event.activate()

    event = Event(base, None, PERSIST, again)
    event.activate()
    base.call_later(0.02, told.append, "timer")
    io_event = base.on_readable(left, lambda: (told.append("io"), io_event.close()))
    run(base)
    assert sorted(told) == ["io", "timer"]


def test_call_soon_gives_a_timer_that_can_be_cancelled(base: EventBase, run: Run) -> None:
    """It is pending, and closing or cancelling it takes it out of the queue."""
    told: list[int] = []
    timers = [base.call_soon(told.append, number) for number in range(4)]
    assert all(timer.pending and timer.remaining == 0 for timer in timers)
    assert base.events() == timers
    timers[0].cancel()
    timers[1].close()
    timers[2].delete()
    assert [bool(not timer.closed and timer.pending) for timer in timers] == [False, False, False, True]
    run(base)
    assert told == [3]


def test_a_queued_call_can_be_put_off(base: EventBase, run: Run) -> None:
    """add() makes an ordinary timer of it."""
    told: list[str] = []
    timer = base.call_soon(told.append, "late")
    base.call_soon(told.append, "soon")
    timer.add(0.01)
    run(base)
    assert told == ["soon", "late"]


def test_call_soon_with_a_priority_is_ordered_by_it(run: Run) -> None:
    """Among the events of that priority."""
    with EventBase(priorities=3) as base:
        told: list[int] = []
        for priority in (2, 1, 0):
            base.call_soon(told.append, priority, priority=priority)
        run(base)
        assert told == [0, 1, 2]


def test_posted_calls_keep_the_loop_and_wake_it(base: EventBase, run: Run) -> None:
    """dispatch() does not return before what was posted has run."""
    told: list[int] = []
    base.call_soon_threadsafe(told.append, 1)
    run(base)
    assert told == [1]
    base.every(60, int)
    thread = threading.Thread(target=lambda: (time.sleep(0.02), base.call_soon_threadsafe(base.loop_break)))
    thread.start()
    run(base)
    thread.join()


def test_a_signal_handler_of_pythons_may_post(base: EventBase, run: Run) -> None:
    """And the call is run without waiting for something else."""
    told: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda *_: base.call_soon_threadsafe(told.append, 1))
    try:
        base.call_later(0.01, os.kill, os.getpid(), signal.SIGUSR1)
        base.call_later(0.05, int)
        run(base)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert told == [1]


def test_call_later_and_every_take_a_common_timeout(base: EventBase, run: Run) -> None:
    """Wherever seconds are taken."""
    told: list[str] = []
    delay = base.common_timeout(0.01)
    base.call_later(delay, told.append, "once")
    timer = base.every(delay, lambda: (told.append("every"), len(told) > 3 and timer.close()))
    run(base)
    assert told == ["once", "every", "every", "every"]


def test_on_readable_and_on_writable_call_with_args_alone(base: EventBase, pair: Pair, run: Run) -> None:
    """Until the event is closed; the arguments of an event are not given."""
    left, right = pair
    told: list[object] = []
    right.send(b"ab")

    def readable(*args: object) -> None:
        told.append((left.recv(1), args))
        if len(told) == 3:
            reader.close()

    def writable(*args: object) -> None:
        told.append(args)
        writer.close()

    writer = base.on_writable(right, writable, "w")
    assert (writer.events, writer.fd, writer.args) == (WRITE | PERSIST, right.fileno(), ("w",))
    reader = base.on_readable(left, readable, 1, 2)
    run(base)
    assert sorted(told, key=repr) == sorted([("w",), (b"a", (1, 2)), (b"b", (1, 2))], key=repr)


def test_on_readable_edge_triggered(base: EventBase, pair: Pair) -> None:
    """Told once per arrival; ValueError where the method cannot."""
    left, right = pair
    told: list[int] = []
    if not base.features & Feature.ET:
        with pytest.raises(ValueError, match="ET"):
            base.on_readable(left, told.append, 1, edge_triggered=True)
        return
    event = base.on_readable(left, told.append, 1, edge_triggered=True)
    right.send(b"x")
    for _ in range(3):
        base.poll()
    assert told == [1]
    event.close()


def test_on_signal_calls_at_each_signal(base: EventBase, run: Run) -> None:
    """With args alone, once per signal; activating it does the same."""
    told: list[object] = []
    event = base.on_signal(
        signal.SIGUSR1, lambda *args: (told.append(args), len(told) == 3 and event.close()), "a"
    )
    base.call_soon(os.kill, os.getpid(), signal.SIGUSR1)
    base.call_later(0.01, os.kill, os.getpid(), signal.SIGUSR1)
    base.call_later(0.02, base.activate_signal, signal.SIGUSR1)
    run(base)
    assert told == [("a",)] * 3


def test_a_signal_gives_its_number(base: EventBase, run: Run) -> None:
    """Signal's callback gets signum before its args."""
    told: list[object] = []
    event = Signal(base, signal.SIGUSR2, lambda *got: (told.append(got), event.close()), "a").add()
    base.call_soon(os.kill, os.getpid(), signal.SIGUSR2)
    run(base)
    assert told == [(signal.SIGUSR2, "a")]


def test_once_closes_its_event(base: EventBase, pair: Pair, run: Run) -> None:
    """callback(fd, what, *args), one time; what timed out is told so."""
    left, right = pair
    told: list[object] = []
    first = base.once(right, WRITE, lambda *got: told.append(got), "a")
    second = base.once(left, READ, lambda *got: told.append(got), timeout=0.01)
    third = base.once(None, NOTHING, lambda *got: told.append(got), timeout=0.02)
    run(base)
    assert told == [
        (right.fileno(), WRITE, "a"),
        (left.fileno(), EventFlag.TIMEOUT),
        (-1, EventFlag.TIMEOUT),
    ]
    assert first.closed
    assert second.closed
    assert third.closed
    with pytest.raises(ValueError, match="PERSIST"):
        base.once(left, READ | PERSIST, print)


def test_short_forms_need_no_reference(base: EventBase, run: Run) -> None:
    """What they return may be dropped."""
    told: list[str] = []
    base.call_soon(told.append, "soon")
    base.call_later(0.01, told.append, "later")
    base.once(None, NOTHING, lambda fd, what: told.append("once"), timeout=0.02)
    gc.collect()
    run(base)
    assert told == ["soon", "later", "once"]
