"""EventBase: how it is made, run, stopped and looked at."""

from __future__ import annotations

import gc
import io
import os
import signal
import socket
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from libevent_cffi import PERSIST, READ, WRITE, Event, EventBase, EventFlag, LoopFlag, Signal, Timer, util
from libevent_cffi.errors import ClosedError, LoopBusyError, WrongThreadError
from libevent_cffi.flags import BaseFlag, EventCount, Feature

Pair = tuple[socket.socket, socket.socket]
Run = Callable[..., None]
NOTHING = EventFlag(0)
ONCE, NONBLOCK, NO_EXIT_ON_EMPTY = LoopFlag.ONCE, LoopFlag.NONBLOCK, LoopFlag.NO_EXIT_ON_EMPTY


# -- how it is made ------------------------------------------------------------------------------------------


def test_each_method_can_be_asked_for() -> None:
    """Avoiding all methods but one gives that one."""
    names = EventBase.supported_methods()
    assert names
    for name in names:
        with EventBase(avoid_methods=[each for each in names if each != name]) as base:
            assert base.method.startswith(name.partition("_")[0])
    with EventBase() as base:
        assert base.method == names[0]


def test_avoided_methods_may_be_any_iterable(plain_base: EventBase) -> None:
    """A generator, a set, and names that this libevent does not know."""
    with EventBase(
        avoid_methods=(name for name in [plain_base.method, "/dev/poll", "no such method"])
    ) as base:
        assert base.method != plain_base.method


def test_no_method_left_is_refused() -> None:
    """ValueError tells what was asked for."""
    with pytest.raises(ValueError, match="avoid_methods"):
        EventBase(avoid_methods=EventBase.supported_methods())


@pytest.mark.parametrize("feature", list(Feature), ids=str)
def test_required_features_choose_the_method(feature: Feature) -> None:
    """The base has what was asked for, or there is none."""
    able = []
    names = EventBase.supported_methods()
    for name in names:
        with EventBase(avoid_methods=[each for each in names if each != name]) as base:
            if base.features & feature:
                able.append(base.method)
    if able:
        with EventBase(required_features=feature) as base:
            assert base.features & feature
            assert base.method in able


def test_features_that_no_method_has_together_are_refused() -> None:
    """epoll cannot watch files, and what can is not edge-triggered."""
    if "kqueue" in EventBase.supported_methods():
        return
    with pytest.raises(ValueError, match=r"required_features=ET\|FDS"):
        EventBase(required_features=Feature.ET | Feature.FDS)


@pytest.mark.parametrize("flag", list(BaseFlag), ids=str)
def test_every_flag_makes_a_base_that_works(flag: BaseFlag, pair: Pair, run: Run) -> None:
    """Descriptors, timers, signals and posted calls work whatever the flag."""
    left, right = pair
    right.send(b"x")
    told: list[str] = []
    with EventBase(flags=flag) as base:
        base.on_readable(left, lambda: told.append(left.recv(9).decode()))
        base.call_later(0.02, base.loop_exit)
        base.on_signal(signal.SIGUSR1, told.append, "signal")
        thread = threading.Thread(target=base.call_soon_threadsafe, args=(told.append, "posted"))
        thread.start()
        os.kill(os.getpid(), signal.SIGUSR1)
        run(base)
        thread.join()
    assert sorted(told) == ["posted", "signal", "x"]


def test_the_changelist_is_taken_where_it_is_asked_for() -> None:
    """The method's name tells."""
    if "epoll" in EventBase.supported_methods():
        with EventBase(flags=BaseFlag.EPOLL_USE_CHANGELIST) as base:
            assert "changelist" in base.method


def test_the_environment_counts_unless_it_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """EVENT_NOEPOLL and the like are libevent's; IGNORE_ENV says no to them."""
    first = EventBase.supported_methods()[0]
    monkeypatch.setenv(f"EVENT_NO{first.upper()}", "1")
    with EventBase() as base:
        assert base.method != first
    with EventBase(flags=BaseFlag.IGNORE_ENV) as base:
        assert base.method == first


@pytest.mark.parametrize("priorities", [1, 2, 255])
def test_priorities_are_as_many_as_asked_for(priorities: int) -> None:
    """From 0 to priorities - 1; the middle one is the default."""
    with EventBase(priorities=priorities) as base:
        assert base.priorities == priorities
        assert Timer(base, print).priority == priorities // 2
        assert Timer(base, print, priority=priorities - 1).priority == priorities - 1
        with pytest.raises(ValueError, match="priority must be between"):
            Timer(base, print, priority=priorities)


def _count_of_urgent_before_last(base: EventBase, run: Run) -> int:
    """Run 50 callbacks, the first of which adds an urgent event; tell how many ran before that."""
    told: list[str] = []
    urgent = Event(base, None, NOTHING, lambda fd, what: told.append("urgent"), priority=0)

    def happened(fd: int, what: EventFlag) -> None:
        if not told:
            urgent.add(0)
        told.append("other")
        time.sleep(0.001)

    for _ in range(50):
        Event(base, None, NOTHING, happened, priority=1).activate()
    run(base)
    assert told.count("urgent") == 1
    return told.index("urgent")


def test_max_dispatch_callbacks_lets_the_urgent_in(method: Any, run: Run) -> None:
    """After so many callbacks the loop looks for new events."""
    with method.make(priorities=2, max_dispatch_callbacks=3) as base:
        assert _count_of_urgent_before_last(base, run) == 3


def test_max_dispatch_interval_lets_the_urgent_in(method: Any, run: Run) -> None:
    """After so long the loop looks for new events."""
    with method.make(priorities=2, max_dispatch_interval=0.01) as base:
        assert _count_of_urgent_before_last(base, run) < 20


def test_min_dispatch_priority_spares_the_more_urgent(run: Run) -> None:
    """The limits hold from that priority on."""
    with EventBase(priorities=2, max_dispatch_callbacks=3, min_dispatch_priority=2) as base:
        assert _count_of_urgent_before_last(base, run) == 50


def test_a_cpu_hint_is_taken() -> None:
    """It says something on Windows only."""
    EventBase(cpu_hint=4).close()


def test_making_and_closing_bases_leaks_nothing() -> None:
    """Neither memory nor descriptors."""
    EventBase().close()
    gc.collect()
    before = util.memory_counters().blocks, len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        base = EventBase(priorities=3)
        base.every(1, print)
        base.common_timeout(3)
        base.close()
    del base
    gc.collect()
    assert (util.memory_counters().blocks, len(os.listdir("/proc/self/fd"))) == before


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


# -- short forms ---------------------------------------------------------------------------------------------


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


# -- what it is and holds ------------------------------------------------------------------------------------


def test_now_is_the_wall_clock(base: EventBase, run: Run) -> None:
    """And moves with it, as bases are made with NO_CACHE_TIME."""
    told: list[float] = []
    base.call_soon(lambda: (told.append(base.now()), time.sleep(0.05), told.append(base.now())))
    assert base.now() == pytest.approx(time.time(), abs=2)
    run(base)
    assert told[1] - told[0] >= 0.04


def test_update_now_reads_the_clock_of_a_base_that_caches_it(run: Run) -> None:
    """Without NO_CACHE_TIME now() stands still during a pass."""
    with EventBase(flags=BaseFlag(0)) as base:
        told: list[float] = []

        def measure() -> None:
            told.append(base.now())
            time.sleep(0.05)
            told.append(base.now())
            base.update_now()
            told.append(base.now())

        base.call_later(0, measure)
        run(base)
        base.update_now()
    assert told[0] == told[1]
    assert told[2] - told[1] >= 0.04


def test_common_timeouts_are_one_object_per_length(plain_base: EventBase) -> None:
    """At most 256 of them, as C has it."""
    first = plain_base.common_timeout(5)
    assert plain_base.common_timeout(5.0) is first
    assert (first.base, first.seconds, repr(first)) == (plain_base, 5.0, "<CommonTimeout 5.0 s>")
    for number in range(1, 256):
        plain_base.common_timeout(5 + number)
    with pytest.raises(ValueError, match="at most 256"):
        plain_base.common_timeout(1.25)
    assert plain_base.common_timeout(260.0).seconds == 260
    timers = [Timer(plain_base, print).add(plain_base.common_timeout(5 + n)) for n in range(256)]
    assert timers[255].remaining == pytest.approx(260, abs=1)


def test_counters_count_the_users_events(base: EventBase, pair: Pair) -> None:
    """Added ones, active ones; not those that do not keep the loop alive."""
    assert base.count() == 0
    events = [Timer(base, print).add(9), Event(base, pair[0], READ, print).add()]
    Timer(base, print, keepalive=False).add(9)
    assert (base.count(), base.count(EventCount.ADDED), base.count(EventCount.ACTIVE)) == (2, 2, 0)
    assert base.max_count(EventCount.ADDED) == 2
    events[0].activate()
    assert base.count(EventCount.ACTIVE) == 1
    assert base.count(EventCount.VIRTUAL) == 0
    assert base.max_count(EventCount.ACTIVE) == 1
    events[0].close()
    assert base.max_count(EventCount.ADDED, clear=True) >= 2
    assert base.max_count(EventCount.ADDED) <= 1


def test_events_are_the_objects_that_were_made(base: EventBase, pair: Pair) -> None:
    """A list that nothing changes any more, without what is idle."""
    idle = Timer(base, print)
    active = Event(base, None, NOTHING, print)
    active.activate()
    background = Timer(base, print, keepalive=False).add(5)
    reader = base.on_readable(pair[0], print)
    queued = base.call_soon(print)
    found = base.events()
    assert set(found) == {active, background, reader, queued}
    assert idle not in found
    reader.close()
    assert reader in found
    assert reader not in base.events()


def test_statistics_tell_what_there_is(base: EventBase, pair: Pair) -> None:
    """By class, and how many are pending and active; a closed base has nothing."""
    base.on_readable(pair[0], print)
    base.call_later(9, print)
    base.call_soon(int)
    Event(base, None, NOTHING, print).activate()
    found = base.statistics()
    assert (found.pending, found.active) == (4, 1)
    assert found.live == {"Event": 2, "Timer": 2}
    assert (found.stale_callbacks, found.redelivered) == (0, 0)
    base.close()
    assert base.statistics().pending == 0
    assert base.statistics().live == {}


def test_dump_lists_the_pending_events(base: EventBase, pair: Pair) -> None:
    """As text, and to anything with write()."""
    base.on_readable(pair[0], print)
    file = io.StringIO()
    text = base.dump(file)
    assert text == file.getvalue()
    assert "Inserted events" in text
    assert f"fd {pair[0].fileno()}" in text.replace("  ", " ")
    assert base.dump() == text


def test_activate_fd_activates_the_pending_events(base: EventBase, pair: Pair, run: Run) -> None:
    """Those that wait for what is said to have happened."""
    left, _ = pair
    told: list[EventFlag] = []
    reader = Event(base, left, READ, lambda fd, what: told.append(what)).add()
    Event(base, left, READ | PERSIST, lambda fd, what: (told.append(what), base.loop_break())).add()
    base.activate_fd(left, WRITE)
    base.poll()
    assert told == []
    base.activate_fd(left.fileno(), READ | WRITE)
    base.dispatch()
    assert told[-1] == READ
    assert not reader.pending or told == [READ]
    base.activate_fd(1_000_000, READ)


def test_activate_signal_activates_the_pending_events(base: EventBase) -> None:
    """Those of that signal only."""
    told: list[int] = []
    events = [Signal(base, number, told.append).add() for number in (signal.SIGUSR1, signal.SIGUSR2)]
    base.activate_signal(signal.SIGUSR1)
    base.poll()
    assert told == [signal.SIGUSR1]
    for event in events:
        event.close()


def test_signal_method_says_how_libevent_would(base: EventBase) -> None:
    """signalfd only where it was asked for."""
    assert base.signal_method in ("signal", "signalfd_signal")
    if hasattr(BaseFlag, "USE_SIGNALFD"):
        with EventBase(flags=BaseFlag.USE_SIGNALFD) as other:
            assert other.signal_method == "signalfd_signal"


def test_reinit_outside_of_a_child_does_no_harm(base: EventBase, pair: Pair, run: Run) -> None:
    """Everything stays pending; inside a callback it is refused."""
    left, right = pair
    told: list[str] = []
    base.once(left, READ, lambda fd, what: told.append("io"))
    base.call_later(0.02, told.append, "timer")
    base.reinit()
    right.send(b"x")

    def inside() -> None:
        with pytest.raises(LoopBusyError):
            base.reinit()
        told.append("refused")

    base.call_soon(inside)
    run(base)
    assert sorted(told) == ["io", "refused", "timer"]


def test_repr_names_method_and_state(method: Any) -> None:
    """Idle, running, closed."""
    told: list[str] = []
    with method.make() as base:
        base.call_soon(lambda: told.append(repr(base)))
        assert repr(base) == f"<EventBase {base.method} idle pending=1>"
        base.dispatch()
        assert told[0].startswith(f"<EventBase {base.method} running pending=")
    assert repr(base) == f"<EventBase {base.method} closed>"


def test_priorities_are_served_in_order_of_urgency(run: Run) -> None:
    """A stream of urgent events does not keep posted calls and stopping out for ever."""
    with EventBase(priorities=2) as base:
        told: list[int] = []

        def urgent(fd: int, what: EventFlag) -> None:
            told.append(1)
            event.activate()

        event = Event(base, None, PERSIST, urgent, priority=0)
        event.activate()
        thread = threading.Thread(target=lambda: (time.sleep(0.05), base.loop_break()))
        thread.start()
        base.dispatch()
        thread.join()
        assert told


# -- errors --------------------------------------------------------------------------------------------------


def test_an_error_is_raised_and_the_rest_runs_later(base: EventBase) -> None:
    """dispatch() raises it with its own traceback, and may be called again."""
    told: list[int] = []

    def fail() -> None:
        raise LookupError("mine")

    base.call_soon(told.append, 1)
    base.call_soon(fail)
    base.call_soon(told.append, 2)
    with pytest.raises(LookupError, match="mine") as caught:
        base.dispatch()
    assert caught.traceback[-1].name == "fail"
    assert told == [1]
    base.dispatch()
    assert told == [1, 2]


def test_an_error_handler_takes_errors_and_the_loop_goes_on(base: EventBase, run: Run) -> None:
    """It gets the error and the object whose callback raised it."""
    told: list[object] = []

    def fail(number: int) -> None:
        raise LookupError(number)

    base.error_handler = lambda error, source: told.append((error.args, source))
    first = base.call_later(0, fail, 1)
    second = base.call_soon(fail, 2)
    base.call_later(0.02, told.append, "end")
    run(base)
    assert sorted(told[:2], key=repr) == sorted([((1,), first), ((2,), second)], key=repr)
    assert told[2:] == ["end"]
    base.error_handler = None
    assert base.error_handler is None
    with pytest.raises(TypeError, match="error_handler must be callable or None"):
        base.error_handler = 5  # type: ignore[assignment]
    with pytest.raises(TypeError, match="error_handler must be callable or None"):
        EventBase(error_handler="no")  # type: ignore[arg-type]


# -- close ---------------------------------------------------------------------------------------------------


def test_close_in_a_callback_stops_the_loop_and_closes_after(base: EventBase) -> None:
    """It is closed for everybody at once."""
    told: list[object] = []
    timer = base.call_later(60, print)

    def end() -> None:
        base.close()
        told.append((base.closed, timer.closed, base.running))
        with pytest.raises(ClosedError):
            base.call_soon(print)
        base.close()

    base.call_soon(end)
    base.call_soon(told.append, "not any more")
    base.dispatch()
    assert told == [(True, True, True)]
    assert base.closed
    assert not base.running
    with pytest.raises(ClosedError):
        base.dispatch()


def test_close_from_another_thread_is_refused_while_it_runs(base: EventBase, run: Run) -> None:
    """LoopBusyError; and what is not for other threads is WrongThreadError."""
    told: list[str] = []

    def refused() -> None:
        for function, kind in (
            (base.close, LoopBusyError),
            (base.dispatch, LoopBusyError),
            (lambda: base.call_later(1, print), WrongThreadError),
            (base.now, WrongThreadError),
            (base.update_now, WrongThreadError),
            (base.loop_continue, WrongThreadError),
            (lambda: base.common_timeout(1), WrongThreadError),
            (lambda: base.activate_fd(0, READ), WrongThreadError),
            (lambda: base.activate_signal(1), WrongThreadError),
            (lambda: base.call_soon(print), WrongThreadError),
        ):
            with pytest.raises(kind, match=r"loop_break\(\)|call_soon_threadsafe\("):
                function()
            told.append("refused")

    def ask() -> None:
        thread = threading.Thread(target=refused)
        thread.start()
        thread.join()

    base.call_later(0, ask)
    run(base)
    assert told == ["refused"] * 10


def test_introspection_is_for_every_thread(base: EventBase, run: Run) -> None:
    """While the loop runs elsewhere."""
    told: list[object] = []
    timer = base.call_later(5, print)

    def look() -> None:
        told.append((base.running, base.count() >= 1, timer in base.events(), timer.pending, base.closed))
        told.append(timer.remaining is not None and base.dump() != "")
        told.append(base.statistics().live["Timer"] >= 1 and base.max_count() >= 1)
        told.append((repr(base) != "", repr(timer) != "", base.method, base.priorities))

    def ask() -> None:
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        timer.close()

    base.call_later(0, ask)
    run(base)
    assert told == [(True, True, True, EventFlag.TIMEOUT, False), True, True, (True, True, base.method, 1)]


def test_a_dropped_base_is_freed_with_everything_on_it(method: Any, pair: Pair) -> None:
    """Nothing of it is left after a collection or two."""
    gc.collect()
    before = util.memory_counters().blocks, len(os.listdir("/proc/self/fd"))
    base = method.make()
    base.every(1, print, base)
    base.on_readable(pair[0], print, base)
    base.on_signal(signal.SIGUSR1, print, base)
    base.call_soon(print, base)
    Event(base, None, NOTHING, print).activate()
    gone = weakref.ref(base)
    del base
    for _ in range(4):
        gc.collect()
    assert gone() is None
    assert (util.memory_counters().blocks, len(os.listdir("/proc/self/fd"))) == before
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


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
