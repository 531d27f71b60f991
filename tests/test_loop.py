"""The loop of a base: how it runs, how it is stopped, and which event runs."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from conftest import Pair, Run

from libevent_cffi import READ, WRITE, Event, EventBase, EventFlag, LoopFlag, Signal, Timer
from libevent_cffi.errors import LoopBusyError
from libevent_cffi.flags import EventCount

NOTHING = EventFlag(0)
ONCE, NONBLOCK, NO_EXIT_ON_EMPTY = LoopFlag.ONCE, LoopFlag.NONBLOCK, LoopFlag.NO_EXIT_ON_EMPTY


# -- loops ---------------------------------------------------------------------------------------------------


def test_dispatch_returns_when_nothing_is_pending(base: EventBase) -> None:
    """At once when nothing ever was."""
    assert base.dispatch() is None
    base.call_later(0.01, int)
    base.dispatch()
    assert not base.running


def test_dispatch_stays_when_it_is_to(base: EventBase) -> None:
    """exit_on_empty=False: until somebody says stop."""
    told: list[bool] = []

    def stop() -> None:
        told.append(base.running)
        base.loop_break()

    thread = threading.Thread(target=lambda: (time.sleep(0.03), base.call_soon_threadsafe(stop)))
    thread.start()
    base.dispatch(exit_on_empty=False)
    thread.join()
    assert told == [True]


def test_loop_tells_whether_anything_is_left(base: EventBase) -> None:
    """loop() returns what poll() does: False when nothing is pending any more."""
    assert base.loop() is False
    base.call_later(0.01, int)
    base.call_later(0.02, base.loop_break)
    base.call_later(60, int)
    assert base.loop() is True


def test_loop_once_waits_for_callbacks(base: EventBase) -> None:
    """ONCE waits until something happens, runs it, and returns."""
    told: list[int] = []
    base.call_later(0.02, told.append, 1)
    base.call_later(0.06, told.append, 2)
    assert base.loop(ONCE) is True
    assert told == [1]
    assert base.loop(ONCE) is False
    assert told == [1, 2]


def test_loop_nonblock_runs_what_is_ready(base: EventBase) -> None:
    """NONBLOCK does not wait."""
    told: list[int] = []
    base.call_later(0, told.append, 1)
    base.call_later(60, told.append, 2)
    assert base.loop(NONBLOCK) is True
    assert base.loop(ONCE | NONBLOCK) is True
    assert told == [1]


def test_loop_with_no_exit_on_empty_waits_for_ever(base: EventBase) -> None:
    """Until loop_exit()."""
    base.loop_exit(after=0.03)
    begin = time.monotonic()
    base.loop(NO_EXIT_ON_EMPTY)
    assert time.monotonic() - begin > 0.025
    assert base.got_exit


def test_loop_takes_a_plain_int(base: EventBase) -> None:
    """What is no flag is refused."""
    base.loop(int(ONCE | NONBLOCK))
    with pytest.raises(ValueError, match="flags: unknown bits 0x100"):
        base.loop(0x100)
    with pytest.raises(TypeError, match="flags must be LoopFlag"):
        base.loop(True)


def test_poll_does_not_wait(base: EventBase, pair: Pair) -> None:
    """One pass over what is ready."""
    left, right = pair
    told: list[int] = []
    base.on_readable(left, told.append, 1)
    begin = time.monotonic()
    assert base.poll() is True
    assert told == []
    right.send(b"x")
    assert base.poll() is True
    assert base.poll(0) is True
    assert told == [1, 1]
    assert time.monotonic() - begin < 5


def test_poll_waits_at_most_so_long(base: EventBase, pair: Pair) -> None:
    """And returns when something has happened."""
    left, right = pair
    told: list[int] = []
    base.on_readable(left, lambda: told.append(len(left.recv(9))))
    begin = time.monotonic()
    assert base.poll(0.05) is True
    assert 0.045 <= time.monotonic() - begin < 5
    assert told == []
    right.send(b"x")
    begin = time.monotonic()
    assert base.poll(20) is True
    assert base.poll(None) if not told else True
    assert told == [1]
    assert time.monotonic() - begin < 5


def test_poll_returns_at_once_when_nothing_is_pending(base: EventBase) -> None:
    """False, whatever the timeout."""
    begin = time.monotonic()
    assert base.poll(20) is False
    assert base.poll(None) is False
    assert time.monotonic() - begin < 5


def test_poll_returns_after_what_does_not_keep_the_loop_alive(base: EventBase, pair: Pair) -> None:
    """EVLOOP_ONCE goes on waiting after such callbacks (event.c:event_process_active_single_queue)."""
    told: list[int] = []
    base.on_readable(pair[0], told.append, 0)
    base.call_later(0.01, told.append, 1, keepalive=False)
    begin = time.monotonic()
    assert base.poll(20) is True
    assert told == [1]
    assert time.monotonic() - begin < 5


def test_a_foreign_loop_polls(base: EventBase, run: Run) -> None:
    """poll() in a while runs a program as dispatch() would."""
    told: list[int] = []
    base.call_soon(lambda: base.call_later(0.01, lambda: (told.append(1), base.call_soon(told.append, 2))))
    for _ in range(1000):
        if not base.poll(0.05):
            break
    assert told == [1, 2]


def test_dispatch_inside_a_callback_is_refused(base: EventBase, run: Run) -> None:
    """All that would run a loop of the same base raise LoopBusyError, and the loop goes on."""
    told: list[str] = []

    def inside() -> None:
        for run_loop in (base.dispatch, base.loop, base.poll):
            with pytest.raises(LoopBusyError, match=r"already, .*: return from it"):
                run_loop()
        told.append("refused")

    base.call_soon(inside)
    base.call_later(0.01, told.append, "later")
    run(base)
    assert told == ["refused", "later"]


def test_another_base_is_dispatched_inside_a_callback(base: EventBase, run: Run) -> None:
    """Each knows its own running event."""
    told: list[object] = []

    def outer() -> None:
        with EventBase() as other:
            inner = other.call_later(0, lambda: told.append((other.running_event, base.running_event)))
            other.dispatch()
            told.append((inner, base.running_event, other.running_event))

    timer = base.call_later(0, outer)
    run(base)
    inner = told[1][0]  # type: ignore[index]
    assert told == [(inner, timer), (inner, timer, None)]
    assert base.running_event is None


# -- stopping ------------------------------------------------------------------------------------------------


def test_loop_break_returns_after_the_running_callback(base: EventBase) -> None:
    """What is active besides stays active, and runs in the next loop."""
    told: list[int] = []
    for number in (1, 2, 3):
        Event(base, None, NOTHING, lambda fd, what, n: (told.append(n), base.loop_break()), number).activate()
    base.dispatch()
    assert told == [1]
    assert base.got_break
    assert not base.got_exit
    base.dispatch()
    base.dispatch()
    assert told == [1, 2, 3]
    base.poll()
    assert not base.got_break


def test_loop_break_stops_the_queue_of_call_soon(base: EventBase) -> None:
    """The calls that were not run are run in the next loop, in order."""
    told: list[int] = []
    base.call_soon(told.append, 1)
    base.call_soon(base.loop_break)
    base.call_soon(told.append, 2)
    base.call_soon(told.append, 3)
    base.dispatch()
    assert told == [1]
    base.dispatch()
    assert told == [1, 2, 3]


def test_loop_exit_returns_after_the_active_callbacks(base: EventBase) -> None:
    """What is active already runs; what comes later does not."""
    told: list[int] = []
    Event(base, None, NOTHING, lambda fd, what: (told.append(1), base.loop_exit())).activate()
    Event(base, None, NOTHING, lambda fd, what: told.append(2)).activate()
    base.call_later(0.3, told.append, 3)
    base.dispatch()
    assert told == [1, 2]
    assert base.got_exit
    assert not base.got_break
    base.dispatch()
    assert told == [1, 2, 3]
    assert not base.got_exit


def test_loop_exit_leaves_the_less_urgent_active(run: Run) -> None:
    """It has the middle priority itself, and each active event counts as an added one too."""
    with EventBase(priorities=3) as base:
        told: list[int] = []
        for priority in (2, 0):
            user = Event(base, None, NOTHING, lambda fd, what, n: told.append(n), priority, priority=priority)
            user.activate()
        base.loop_exit()
        base.dispatch()
        assert told == [0]
        assert (base.count(), base.count(EventCount.ADDED), len(base.events())) == (2, 1, 1)
        run(base)
        assert told == [0, 2]


def test_loop_exit_after_a_while(base: EventBase) -> None:
    """after is seconds from the call."""
    begin = time.monotonic()
    base.every(0.01, int)
    base.call_soon(lambda: base.loop_exit(after=0.05))
    base.dispatch()
    assert 0.045 <= time.monotonic() - begin < 5
    assert base.got_exit


def test_the_earliest_loop_exit_counts(base: EventBase) -> None:
    """As in C, where each is a timer of its own."""
    begin = time.monotonic()
    base.every(0.01, int)
    base.loop_exit(after=0.04)
    base.loop_exit(after=30)
    base.dispatch()
    assert time.monotonic() - begin < 5
    base.loop_exit(after=30)
    base.loop_exit(after=0.04)
    begin = time.monotonic()
    base.dispatch()
    assert 0.035 < time.monotonic() - begin < 5


def test_a_loop_exit_that_was_not_due_stops_no_later_loop(base: EventBase) -> None:
    """dispatch() that ended for another reason takes it along (C's stays armed)."""
    base.loop_exit(after=0.03)
    base.call_soon(base.loop_break)
    base.dispatch()
    assert base.got_break
    told: list[int] = []
    base.call_later(0.06, told.append, 1)
    base.dispatch()
    assert told == [1]
    base.loop_exit(after=0.02)
    base.dispatch(exit_on_empty=False)
    assert base.got_exit


def test_a_loop_exit_waits_through_polls(base: EventBase) -> None:
    """poll() and wait() are steps of one loop, so what is due later stays due."""
    base.loop_exit(after=0.05)
    begin = time.monotonic()
    passes = 0
    while base.poll(0.01) and not base.got_exit:
        passes += 1
        assert passes < 1000
    assert base.got_exit
    assert 0.045 <= time.monotonic() - begin < 5


@pytest.mark.parametrize("how", ["loop_break", "loop_exit"])
def test_stopping_before_the_loop_counts_for_the_next_one(base: EventBase, how: str) -> None:
    """C forgets a loopbreak that comes before the loop."""
    told: list[int] = []
    base.call_later(0.01, told.append, 1)
    base.every(5, int)
    getattr(base, how)()
    base.dispatch()
    assert told == []
    assert (base.got_break, base.got_exit) == (how == "loop_break", how == "loop_exit")
    base.call_later(0.03, base.loop_break)
    base.dispatch()
    assert told == [1]


@pytest.mark.parametrize("how", ["loop_break", "loop_exit"])
def test_another_thread_stops_a_waiting_loop(base: EventBase, how: str) -> None:
    """It acts at once."""
    base.every(60, int)
    thread = threading.Thread(target=lambda: (time.sleep(0.05), getattr(base, how)()))
    begin = time.monotonic()
    thread.start()
    base.dispatch()
    thread.join()
    assert time.monotonic() - begin < 5
    assert (base.got_break, base.got_exit) == (how == "loop_break", how == "loop_exit")


def test_breaking_from_a_thread_never_spoils_the_next_loop(plain_base: EventBase) -> None:
    """A loop_break() that comes as the loop ends by itself must not leave the queue of calls stuck."""
    base = plain_base
    stop = threading.Event()

    def break_it() -> None:
        while not stop.is_set():
            base.loop_break()

    thread = threading.Thread(target=break_it)
    thread.start()
    told: list[int] = []
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        base.call_soon(told.append, 1)
        base.dispatch()
    stop.set()
    thread.join()
    base.poll()  # what the last break stopped
    base.call_soon(told.append, 2)
    for _ in range(3):
        base.poll()
    assert told[-1] == 2


def test_loop_continue_looks_for_new_events_first(run: Run) -> None:
    """The urgent event that came meanwhile runs before the other active ones."""
    with EventBase(priorities=2) as base:
        told: list[str] = []
        urgent = Event(base, None, NOTHING, lambda fd, what: told.append("urgent"), priority=0)

        def first(fd: int, what: EventFlag) -> None:
            told.append("first")
            urgent.activate()
            base.loop_continue()

        Event(base, None, NOTHING, first, priority=1).activate()
        Event(base, None, NOTHING, lambda fd, what: told.append("second"), priority=1).activate()
        run(base)
        assert told == ["first", "urgent", "second"]


# -- the running event ---------------------------------------------------------------------------------------


def test_running_event_is_the_one_whose_callback_runs(base: EventBase, pair: Pair, run: Run) -> None:
    """For every kind of event; None outside of callbacks, and on other threads."""
    left, right = pair
    right.send(b"x")
    told: list[object] = []

    def note(*_: object) -> None:
        told.append(base.running_event)

    expected = [
        base.call_soon(note),
        Event(base, left, READ, note).add(),
        Timer(base, note).add(0.02),
        base.once(right, WRITE, note, timeout=5),
        Signal(base, signal.SIGUSR1, note, keepalive=False).add(),
    ]
    expected[-1].activate()
    assert base.running_event is None
    run(base)
    assert base.running_event is None
    assert set(map(id, told)) == set(map(id, expected))
    expected[-1].close()


@pytest.mark.parametrize("act", ["delete", "close", "add"])
@pytest.mark.parametrize("persist", [True, False])
def test_running_event_is_known_after_it_was_deleted(
    base: EventBase, run: Run, act: str, persist: bool
) -> None:
    """delete(), close(), and add() in its own callback do not change which event it is."""
    told: list[object] = []

    def fired() -> None:
        told.append(base.running_event)
        getattr(timer, act)()
        told.append(base.running_event)
        timer.close()

    timer = Timer(base, fired, persist=persist).add(0)
    run(base)
    assert told == [timer, timer]


def test_other_threads_see_no_running_event(base: EventBase, run: Run) -> None:
    """It is asked for on the thread that runs it."""
    told: list[object] = []

    def ask() -> None:
        thread = threading.Thread(target=lambda: told.append(base.running_event))
        thread.start()
        thread.join()

    base.call_later(0, ask)
    run(base)
    assert told == [None]


# -- stopping while urgent events stay active ----------------------------------------------------------------

STOPPING: dict[str, Callable[[EventBase], object]] = {
    "loop_exit": lambda base: base.call_later(0.02, base.loop_exit, priority=0),
    "loop_exit later": lambda base: base.loop_exit(after=0.02),
    "loop_exit of a thread": lambda base: threading.Timer(0.02, base.loop_exit).start(),
}


def keep_urgent(base: EventBase, pair: Pair) -> list[str]:
    """Have a descriptor stay ready at priority 0, and another event of it wait below."""
    told: list[str] = []
    pair[1].send(b"x")
    base.on_readable(pair[0], told.append, "urgent", priority=0)
    base.on_readable(pair[0], told.append, "other", priority=1)
    return told


@pytest.mark.parametrize("stop", STOPPING)
def test_urgent_events_keep_no_loop_from_exiting(method: Any, pair: Pair, run: Run, stop: str) -> None:
    """
    While a descriptor of priority 0 stays ready, libevent comes to nothing below it.

    Neither would it come to its own exit, which has the middle priority (event.c:event_process_active).
    """
    with method.make(priorities=2) as base:
        told = keep_urgent(base, pair)
        STOPPING[stop](base)
        run(base)
        assert base.got_exit
        assert set(told) == {"urgent"}


@pytest.mark.parametrize("timeout", [0.0, 5.0, None])
def test_urgent_events_keep_no_poll_from_ending(method: Any, pair: Pair, timeout: float | None) -> None:
    """libevent's ONCE ends when no event is active, and one of a lower priority would stay so for ever."""
    with method.make(priorities=2) as base:
        told = keep_urgent(base, pair)
        base.loop_exit(after=20.0)
        assert base.poll(timeout)
        assert set(told) == {"urgent"}
        assert not base.got_exit
