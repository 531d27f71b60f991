"""
Threads: what any of them may do, and how the rest is refused.

LIBEVENT_CFFI_LONG=1 makes the storms long: 100,000 calls of each of eight threads, ten seconds of close()
against everything.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from conftest import output_of

from libevent_cffi import PERSIST, READ, Event, EventBase, Signal, Timer, util
from libevent_cffi._native import lib
from libevent_cffi.errors import ClosedError, LoopBusyError, WrongThreadError
from libevent_cffi.flags import BaseFlag, EventFlag
from libevent_cffi.watch import CheckWatcher, PrepareWatcher

LONG = bool(os.environ.get("LIBEVENT_CFFI_LONG"))
CALLS = 100_000 if LONG else 5_000
SECONDS = 10.0 if LONG else 0.5

pytestmark = pytest.mark.skipif(not lib.lev_threads_on, reason="thread support is off")


def nothing(*_: object) -> None:
    """Be a callback."""


@contextmanager
def elsewhere(work: Callable[[], object], count: int = 1) -> Iterator[None]:
    """Run *work* in *count* threads; raise what they raised."""
    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join(120 if LONG else 30)
            assert not thread.is_alive()
    if failures:
        raise failures[0]


def in_thread(work: Callable[[], Any]) -> Any:
    """Run *work* in another thread; return its result, or raise its error."""
    results: list[Any] = []
    with elsewhere(lambda: results.append(work())):
        pass
    return results[0]


@pytest.fixture
def running(base: EventBase) -> Iterator[EventBase]:
    """A base that another thread dispatches."""
    started = threading.Event()
    base.call_soon(started.set)
    with elsewhere(lambda: base.dispatch(exit_on_empty=False)):
        assert started.wait(10)
        yield base
        if not base.closed:
            base.loop_break()


# -- posting -------------------------------------------------------------------------------------------------


def test_every_posted_call_runs_once_and_in_order() -> None:
    """Eight threads post to a running base: nothing is lost, doubled, or out of its thread's order."""
    told: dict[int, list[int]] = {}
    names = iter(range(8))
    done: list[int] = []

    def post() -> None:
        name = next(names)
        told[name] = []
        for number in range(CALLS):
            base.call_soon_threadsafe(told[name].append, number)
        base.call_soon_threadsafe(finish)

    def finish() -> None:
        done.append(1)
        if len(done) == 8:
            base.loop_exit()

    with EventBase() as base:
        watchdog = base.call_later(100, base.loop_break)
        with elsewhere(post, 8):
            base.dispatch(exit_on_empty=False)
        watchdog.close()
        assert len(done) == 8
        assert all(numbers == list(range(CALLS)) for numbers in told.values())


def test_a_posted_call_wakes_a_loop_that_waits(running: EventBase) -> None:
    """A call posted to a loop that waits without end runs at once."""
    for _ in range(50):
        ran = threading.Event()
        running.call_soon_threadsafe(ran.set)
        assert ran.wait(10)


def test_calls_posted_to_an_idle_base_keep_dispatch_going(base: EventBase) -> None:
    """dispatch() of a base that has only posted calls runs them, then returns."""
    told: list[int] = []
    in_thread(lambda: [base.call_soon_threadsafe(told.append, number) for number in range(10)])
    assert base.poll() is False
    assert told == list(range(10))


def test_a_call_posted_while_the_loop_ends_runs_in_this_dispatch_or_the_next() -> None:
    """Posting against a loop that starts and ends all the time loses no call."""
    told: list[int] = []
    count = CALLS
    with EventBase() as base:
        with elsewhere(lambda: [base.call_soon_threadsafe(told.append, number) for number in range(count)]):
            end = time.monotonic() + 60
            while len(told) < count and time.monotonic() < end:
                base.dispatch()
        base.dispatch()
        assert told == list(range(count))


def test_a_signal_handler_may_post(base: EventBase, run: Callable[..., None]) -> None:
    """call_soon_threadsafe() in a handler of signal.signal(), while the loop waits and while it is busy."""
    told: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda *_: base.call_soon_threadsafe(told.append, len(told)))
    try:
        with elsewhere(lambda: [os.kill(os.getpid(), signal.SIGUSR1) for _ in range(20)]):
            base.call_later(0.01, os.kill, os.getpid(), signal.SIGUSR1)
            base.call_later(0.03, nothing)
            run(base)
        base.poll()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert len(told) >= 1


# -- what else any thread may do -----------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["loop_break", "loop_exit"])
def test_any_thread_may_stop_a_loop(base: EventBase, how: str) -> None:
    """loop_break() and loop_exit() from another thread end a loop that waits."""
    started = threading.Event()

    def stop() -> None:
        assert started.wait(10)
        getattr(base, how)()

    base.call_soon(started.set)
    with elsewhere(stop):
        base.dispatch(exit_on_empty=False)
    assert base.got_break == (how == "loop_break")
    assert base.got_exit == (how == "loop_exit")


LOOK_WHILE_CHUNKS_GO = """
import sys, threading, time
from libevent_cffi import Event, EventBase, EventFlag

sys.setswitchinterval(1e-5)
base = EventBase()
*others, last, watched = [Event(base, None, EventFlag(0), int) for _ in range(65)]
done = []

def look():
    while not done:
        watched.pending

for event in others:
    event.add()
threads = [threading.Thread(target=look) for _ in range(2)]
for thread in threads:
    thread.start()
end = time.monotonic() + {seconds}
while time.monotonic() < end:
    last.add()  # there are 64 places in a chunk of C's memory
    watched.add()  # so this one gets a chunk of its own
    last.delete()
    watched.delete()  # which is freed
done.append(1)
for thread in threads:
    thread.join()
"""


def test_looking_at_an_event_while_its_memory_goes() -> None:
    """Event.pending of other threads, in libevent's debug mode: it ended the process for a freed event."""
    assert output_of(LOOK_WHILE_CHUNKS_GO.format(seconds=SECONDS), LIBEVENT_CFFI_DEBUG="mode") == ""


def test_stopping_against_posting_leaves_no_call_waiting() -> None:
    """
    loop_break() from another thread, at any moment, leaves no mark on a later loop.

    A mark that came after the loop had ended kept the next one's queue shut: it span for ever.
    """
    told: list[int] = []
    done = threading.Event()
    with EventBase() as base:

        def disturb() -> None:
            while not done.is_set():
                base.loop_break()

        with elsewhere(disturb):
            for number in range(2000):
                base.call_soon(told.append, number)
                base.dispatch()
            done.set()
        while base.poll():
            pass
        assert told == list(range(2000))


def test_any_thread_may_look(running: EventBase) -> None:
    """Introspection from another thread answers while the loop runs."""
    ready = threading.Event()
    made: list[Timer] = []
    running.call_soon_threadsafe(lambda: (made.append(running.every(50, nothing)), ready.set()))
    assert ready.wait(10)
    timer = made[0]
    assert running.running
    assert running.count() >= 1
    assert running.max_count() >= 1
    assert timer in running.events()
    assert timer.pending == EventFlag.TIMEOUT
    assert 0 < (timer.remaining or 0) <= 50
    assert running.statistics().live["Timer"] >= 1
    assert "pending in" in repr(timer)
    assert "running" in repr(running)
    assert "timer" in running.dump() or running.dump()
    assert running.running_event is None
    assert not running.closed
    assert not timer.closed
    assert timer.priority == 0


# -- what the wrong thread may not do ------------------------------------------------------------------------

REFUSED: dict[str, Callable[[EventBase, Timer], object]] = {
    "call_soon": lambda base, timer: base.call_soon(nothing),
    "call_soon twice": lambda base, timer: base.call_soon(nothing) and base.call_soon(nothing),
    "call_later": lambda base, timer: base.call_later(1, nothing),
    "every": lambda base, timer: base.every(1, nothing),
    "on_readable": lambda base, timer: base.on_readable(0, nothing),
    "on_writable": lambda base, timer: base.on_writable(1, nothing),
    "on_signal": lambda base, timer: base.on_signal(signal.SIGUSR1, nothing),
    "once": lambda base, timer: base.once(None, EventFlag(0), nothing, timeout=1),
    "common_timeout": lambda base, timer: base.common_timeout(3.0),
    "loop_continue": lambda base, timer: base.loop_continue(),
    "reinit": lambda base, timer: base.reinit(),
    "activate_fd": lambda base, timer: base.activate_fd(0, READ),
    "activate_signal": lambda base, timer: base.activate_signal(signal.SIGUSR1),
    "update_now": lambda base, timer: base.update_now(),
    "prepare watcher": lambda base, timer: PrepareWatcher(base, nothing),
    "check watcher": lambda base, timer: CheckWatcher(base, nothing),
    "Event.add": lambda base, timer: Event(base, None, PERSIST, nothing).add(1),
    "Event.activate": lambda base, timer: Event(base, None, PERSIST, nothing).activate(),
    "Signal.add": lambda base, timer: Signal(base, signal.SIGUSR2, nothing).add(),
    "Timer.add": lambda base, timer: timer.add(1),
    "Timer.delete": lambda base, timer: timer.delete(),
    "Timer.cancel": lambda base, timer: timer.cancel(),
    "Timer.activate": lambda base, timer: timer.activate(),
    "Timer.remove_timer": lambda base, timer: timer.remove_timer(),
    "Timer.finalize": lambda base, timer: timer.finalize(nothing),
    "Timer.close": lambda base, timer: timer.close(),
    "Timer.priority": lambda base, timer: setattr(timer, "priority", 0),
}


@pytest.mark.parametrize("state", ["pending", "initialized", "queued"])
@pytest.mark.parametrize("name", REFUSED)
def test_a_wrong_thread_is_refused(name: str, state: str) -> None:
    """While a thread dispatches, the others get WrongThreadError that names the way, and change nothing."""
    entered, leave = threading.Event(), threading.Event()
    told: list[str] = []
    with EventBase() as base:
        timer = Timer(base, told.append, "ran")
        if state == "pending":
            timer.add(0.0)

        def hold() -> None:
            nonlocal timer
            if state == "queued":
                timer = base.call_soon(told.append, "ran")
            entered.set()
            assert leave.wait(10)

        base.call_soon(hold)

        def trespass() -> None:
            try:
                assert entered.wait(10)
                before = timer.pending
                with pytest.raises(WrongThreadError, match="call_soon_threadsafe"):
                    REFUSED[name](base, timer)
                assert timer.pending == before
                assert not timer.closed
            finally:
                leave.set()

        with elsewhere(trespass):
            base.dispatch()
        assert told == ([] if state == "initialized" else ["ran"])


def test_a_second_dispatch_is_refused(running: EventBase) -> None:
    """dispatch(), poll() and close() of a base that another thread dispatches are LoopBusyError."""
    for call in (running.dispatch, running.poll, running.loop, running.close):
        with pytest.raises(LoopBusyError):
            call()
    assert not running.closed
    assert running.running


def test_two_threads_on_one_idle_event_only_get_refused() -> None:
    """Methods of one event in two tight loops: WrongThreadError now and then, nothing else, and no crash."""
    refused: list[int] = []
    end = time.monotonic() + SECONDS

    def hammer() -> None:
        while time.monotonic() < end:
            for call in (lambda: timer.add(5.0), timer.delete, timer.activate, timer.remove_timer, base.poll):
                try:
                    call()
                except (WrongThreadError, LoopBusyError):
                    refused.append(1)

    with EventBase() as base:
        timer = Timer(base, nothing)
        with elsewhere(hammer, 3):
            pass
        base.poll()
    assert timer.closed


def test_two_threads_on_one_idle_base_only_get_refused() -> None:
    """Making events, watchers, signals and common timeouts in several threads at once."""
    end = time.monotonic() + SECONDS

    def hammer() -> None:
        numbers = iter(range(1_000_000))
        while time.monotonic() < end:
            for call in (
                lambda: base.call_later(5, nothing).close(),
                lambda: base.call_soon(nothing).close(),
                lambda: PrepareWatcher(base, nothing).close(),
                lambda: base.on_signal(signal.SIGUSR1, nothing).close(),
                lambda: base.common_timeout(1.0 + next(numbers) % 200),
                base.poll,
                base.statistics,
                base.events,
                base.dump,
                base.update_now,
            ):
                with contextlib.suppress(WrongThreadError, LoopBusyError):
                    call()

    with EventBase() as base, elsewhere(hammer, 3):
        pass


# -- close() against the rest --------------------------------------------------------------------------------


def what_any_thread_may_do(base: EventBase, timer: Timer) -> list[Callable[[], object]]:
    """Stop, post, look."""
    return [
        base.loop_break,
        base.loop_exit,
        lambda: base.loop_exit(after=1),
        lambda: base.call_soon_threadsafe(nothing),
        base.count,
        base.max_count,
        base.statistics,
        base.events,
        lambda: timer.pending,
        lambda: timer.remaining,
        lambda: repr(timer),
        lambda: repr(base),
        lambda: base.closed,
        base.dump,
    ]


def test_close_against_what_any_thread_may_do() -> None:
    """
    A base is made and closed again and again under threads that stop, post, and look.

    They get ClosedError, or an answer; nothing is read after it was freed.
    """
    end = time.monotonic() + SECONDS
    current: list[tuple[EventBase, Timer]] = []
    finished: list[bool] = []
    closes = answers = 0

    def disturb() -> None:
        nonlocal answers
        while not finished:
            try:
                base, timer = current[-1]
            except IndexError:
                continue
            for call in what_any_thread_may_do(base, timer):
                try:
                    call()
                    answers += 1
                except ClosedError:
                    pass

    with elsewhere(disturb, 3):
        while time.monotonic() < end or (closes <= 10 and time.monotonic() < end + 20):
            base = EventBase()
            timers = [base.call_later(0 if number % 2 else 60, nothing) for number in range(100)]
            current.append((base, timers[0]))
            base.poll()
            for timer in timers[1:50]:
                timer.close()
            base.close()
            closes += 1
            del current[:-1]
        finished.append(True)
    current.clear()
    assert closes > 10
    assert answers > 10


def test_close_inside_a_callback_against_posting() -> None:
    """A base that closes itself in a callback while threads post to it."""
    end = time.monotonic() + SECONDS
    current: list[EventBase] = []

    def disturb() -> None:
        while time.monotonic() < end:
            for base in current[-1:]:
                try:
                    base.call_soon_threadsafe(nothing)
                    base.loop_exit(after=2)
                except ClosedError:
                    pass

    with elsewhere(disturb, 3):
        while time.monotonic() < end:
            base = EventBase()
            current.append(base)
            base.call_later(0, base.close)
            while not base.closed:
                base.dispatch()
            del current[:-1]


# -- many bases, many threads --------------------------------------------------------------------------------


def test_many_bases_on_many_threads(method: Any) -> None:
    """Each thread makes, runs and closes bases of its own; they do not hear of each other."""
    before = util.memory_counters().blocks

    def work() -> None:
        for _ in range(20):
            with method.make() as base:
                told: list[int] = []
                for number in range(20):
                    base.call_later(0.0005 * number, told.append, number)
                base.on_signal(signal.SIGUSR2, told.append, -1).close()
                base.dispatch()
                assert told == list(range(20))

    with elsewhere(work, 6):
        pass
    gc.collect()
    gc.collect()
    assert util.memory_counters().blocks <= before + 1


def test_bases_of_two_threads_talk() -> None:
    """A ball goes to and fro between two loops."""
    bases = [EventBase(), EventBase()]
    hits: list[int] = []

    def hit(side: int) -> None:
        hits.append(side)
        if len(hits) == 1000:
            for base in bases:
                base.loop_break()
        else:
            bases[1 - side].call_soon_threadsafe(hit, 1 - side)

    bases[0].call_soon(hit, 0)
    with elsewhere(lambda: bases[1].dispatch(exit_on_empty=False)):
        bases[0].dispatch(exit_on_empty=False)
    assert hits == [0, 1] * 500
    for base in bases:
        base.close()


def test_a_base_may_move_between_threads_that_take_turns(base: EventBase) -> None:
    """Made in one thread, filled, dispatched and closed in others, each after the other."""
    told: list[int] = []
    timer = in_thread(lambda: base.call_later(0.001, lambda: told.append(threading.get_ident())))
    ran = in_thread(lambda: (base.dispatch(), threading.get_ident())[1])
    assert told == [ran]
    timer.add(0.0)
    base.dispatch()
    assert told == [ran, threading.get_ident()]
    in_thread(base.close)
    assert base.closed


def test_dispatch_in_one_thread_after_another_has_ended(base: EventBase) -> None:
    """The next thread takes over what the last one's loop left pending."""
    told: list[int] = []
    base.every(0.001, lambda: (told.append(threading.get_ident()), base.loop_break()))
    ran = [in_thread(lambda: (base.dispatch(), threading.get_ident())[1]) for _ in range(10)]
    assert told == ran
    base.dispatch()
    assert told[10:] == [threading.get_ident()]


def test_a_base_without_locks_works_in_its_thread() -> None:
    """BaseFlag.NOLOCK: everything but other threads, which can still post, because the queue is ours."""
    told: list[str] = []
    with EventBase(flags=BaseFlag.NOLOCK) as base:
        base.call_later(0.005, told.append, "timer")
        base.call_soon(told.append, "soon")
        Event(base, None, EventFlag(0), lambda *_: told.append("active")).activate()
        base.call_soon_threadsafe(told.append, "posted")
        base.dispatch()
        assert sorted(told) == ["active", "posted", "soon", "timer"]
        with elsewhere(lambda: [base.call_soon_threadsafe(told.append, "thread") for _ in range(100)]):
            base.call_later(0.02, nothing)
            base.dispatch()
        base.dispatch()
        assert told.count("thread") == 100


def test_loops_on_greenlets_may_end_in_any_order() -> None:
    """A loop that another greenlet interrupts, even in another loop's callback, loses no event."""
    greenlet = pytest.importorskip("greenlet")
    with EventBase() as one, EventBase() as two:
        told: list[str] = []
        outer = greenlet.getcurrent()
        inner = greenlet.greenlet(one.dispatch)
        one.call_later(0, outer.switch)
        two.call_later(0, inner.switch)
        one.call_later(0.002, told.append, "one")
        one.call_soon(told.append, "soon")
        two.call_later(0.004, told.append, "two")
        inner.switch()
        two.dispatch()
        assert sorted(told) == ["one", "soon", "two"]
        assert one.statistics().stale_callbacks == two.statistics().stale_callbacks == 0
    assert signal.set_wakeup_fd(-1) == -1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_python_signals_wait_for_the_main_thread(running: EventBase) -> None:
    """A loop in another thread leaves Python's signal handling to the main one."""
    seen: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(threading.get_ident()))
    try:
        signal.raise_signal(signal.SIGUSR1)
        assert seen == [threading.get_ident()]
        assert signal.set_wakeup_fd(-1) == -1
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_base_without_locks_is_dumped_by_its_own_thread_only() -> None:
    """libevent walks its lists for dump(), and with NOLOCK nothing keeps them still for another thread."""
    with EventBase(flags=BaseFlag.NOLOCK) as base:
        refused: list[BaseException] = []

        def look() -> None:
            try:
                base.dump()
            except WrongThreadError as error:
                refused.append(error)
            base.loop_exit()

        thread = threading.Thread(target=look)
        base.call_soon(thread.start)
        base.dispatch(exit_on_empty=False)
        thread.join()
        assert len(refused) == 1
        assert "Inserted" in base.dump() or base.dump() == ""
