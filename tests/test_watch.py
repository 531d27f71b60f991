"""Watchers: before and after each wait, the same on 2.1 and on 2.2."""

from __future__ import annotations

import contextlib
import gc
import signal
import socket
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, Optional

import pytest
from conftest import DEADLINE

from libevent_cffi import READ, Event, EventBase, EventFlag, LoopFlag, Signal, Timer
from libevent_cffi.errors import ClosedError, LoopBusyError, WrongThreadError
from libevent_cffi.watch import CheckWatcher, PrepareWatcher

Pair = tuple[socket.socket, socket.socket]
Run = Callable[..., None]
NOTHING = EventFlag(0)
SHORT = 5.0  # what must not take a minute takes less than this


def in_short(told: list[str]) -> list[str]:
    """Leave out waits after which nothing happened: a coarse clock ends some too early."""
    text = " ".join(told)
    for idle in ("prepare check ", "prepare ", "check "):
        while idle * 2 in text:
            text = text.replace(idle * 2, idle)
    return text.split()


def test_each_wait_is_between_the_watchers(base: EventBase, run: Run) -> None:
    """Prepare, wait, check, and then the callbacks of what happened."""
    told: list[str] = []
    PrepareWatcher(base, lambda watcher, timeout: told.append("prepare"))
    CheckWatcher(base, lambda watcher: told.append("check"))
    base.call_later(0.01, lambda: (told.append("one"), base.call_later(0.01, told.append, "two")))
    base.dispatch()
    assert in_short(told) == ["prepare", "check", "one", "prepare", "check", "two"]


def test_they_get_themselves_and_their_args(base: EventBase) -> None:
    """The watcher first, then the timeout of a prepare watcher, then args."""
    told: list[object] = []
    prepare = PrepareWatcher(base, lambda *got: told.append(got), "p", 1)
    check = CheckWatcher(base, lambda *got: told.append(got), "c", 2)
    base.call_later(0, int)
    base.poll()
    assert told[0][0] is prepare  # type: ignore[index]
    assert told[0][2:] == ("p", 1)  # type: ignore[index]
    assert told[1] == (check, "c", 2)
    assert (prepare.base, check.base) == (base, base)
    prepare.close()
    check.close()


def test_the_timeout_is_how_long_the_wait_may_be(base: EventBase, pair: Pair) -> None:
    """The time to the next timer; None without one; 0 when something is active, or nothing is waited for."""
    left, right = pair
    told: list[Optional[float]] = []

    def first_wait(timeout: Optional[float]) -> Optional[float]:
        told.clear()
        base.poll(timeout)
        return told[0]

    with PrepareWatcher(base, lambda watcher, timeout: told.append(timeout)):
        Event(base, left, READ, lambda fd, what: None).add()
        right.send(b"x")
        assert first_wait(None) is None
        base.call_later(0.05, int)
        assert first_wait(None) == pytest.approx(0.05, abs=0.02)
        base.call_later(base.common_timeout(0.07), int)
        assert first_wait(None) == pytest.approx(0.07, abs=0.02)
        base.call_later(60, int)
        assert first_wait(0) == 0
        Event(base, None, NOTHING, lambda fd, what: None).activate()
        assert first_wait(None) == 0


def test_the_limit_of_poll_is_part_of_the_timeout(base: EventBase) -> None:
    """poll() waits no longer than it was told to."""
    told: list[Optional[float]] = []
    base.call_later(60, int)
    with PrepareWatcher(base, lambda watcher, timeout: told.append(timeout)):
        base.poll(0.03)
    assert told[0] == pytest.approx(0.03, abs=0.015)


def test_watchers_do_not_keep_the_loop_running(base: EventBase, run: Run) -> None:
    """With nothing else pending dispatch() returns at once."""
    PrepareWatcher(base, print)
    CheckWatcher(base, print)
    begin = time.monotonic()
    base.dispatch()
    assert base.poll() is False
    assert time.monotonic() - begin < SHORT


def test_several_watchers_run_in_the_order_they_were_made(base: EventBase) -> None:
    """All of a kind, each wait."""
    told: list[int] = []
    watchers = [PrepareWatcher(base, lambda watcher, timeout, n: told.append(n), n) for n in range(3)]
    watchers += [CheckWatcher(base, lambda watcher, n: told.append(n), n) for n in range(3, 6)]  # type: ignore[misc]
    base.call_later(0, int)
    base.poll()
    assert told == [0, 1, 2, 3, 4, 5]
    del watchers


def _add_timer(base: EventBase, told: list[object]) -> None:
    base.call_later(0.01, told.append, "happened")


def _call_soon(base: EventBase, told: list[object]) -> None:
    base.call_soon(told.append, "happened")


def _post(base: EventBase, told: list[object]) -> None:
    base.call_soon_threadsafe(told.append, "happened")


def _activate(base: EventBase, told: list[object]) -> None:
    Event(base, None, NOTHING, lambda fd, what: told.append("happened")).activate()


def _activate_background(base: EventBase, told: list[object]) -> None:
    Event(base, None, NOTHING, lambda fd, what: told.append("happened"), keepalive=False).activate()


def _raise_signal(base: EventBase, told: list[object]) -> None:
    base.on_signal(signal.SIGUSR1, told.append, "happened", keepalive=False)
    base.activate_signal(signal.SIGUSR1)


def _break(base: EventBase, told: list[object]) -> None:
    told.append("happened")
    base.loop_break()


def _exit(base: EventBase, told: list[object]) -> None:
    told.append("happened")
    base.loop_exit()


def _exit_later(base: EventBase, told: list[object]) -> None:
    told.append("happened")
    base.loop_exit(after=0.01)


CHANGES = [
    _add_timer,
    _call_soon,
    _post,
    _activate,
    _activate_background,
    _raise_signal,
    _break,
    _exit,
    _exit_later,
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__[1:])
def test_changes_made_before_the_wait_take_effect_at_once(
    base: EventBase, change: Callable[[EventBase, list[object]], None]
) -> None:
    """
    2.2 settles the wait's length before it calls the prepare watchers (event.c:event_base_loop): what they
    add, activate or stop would be noticed a minute later.
    """
    told: list[object] = []
    begin = time.monotonic()
    timer = base.call_later(60, print)

    def prepare(watcher: PrepareWatcher, timeout: Optional[float]) -> None:
        watcher.close()
        change(base, told)
        if change not in (_break, _exit, _exit_later):
            base.call_later(0.05, base.loop_break)

    PrepareWatcher(base, prepare)
    base.dispatch()
    assert told == ["happened"]
    assert time.monotonic() - begin < SHORT
    timer.close()


def test_deleting_the_last_event_before_the_wait_ends_the_loop(base: EventBase, pair: Pair) -> None:
    """Nothing is left to wait for, and the wait would be without end."""
    event = Event(base, pair[0], READ, print).add()
    begin = time.monotonic()
    PrepareWatcher(base, lambda watcher, timeout: event.close())
    timer = threading.Timer(SHORT, base.loop_break)
    timer.start()
    base.dispatch()
    timer.cancel()
    assert time.monotonic() - begin < SHORT - 1


def test_descriptors_added_before_the_wait_are_watched(base: EventBase, pair: Pair) -> None:
    """In the very wait that follows."""
    left, right = pair
    told: list[str] = []
    right.send(b"x")
    timer = base.call_later(60, print)

    def prepare(watcher: PrepareWatcher, timeout: Optional[float]) -> None:
        watcher.close()
        base.once(left, READ, lambda fd, what: (told.append("read"), timer.close()))

    PrepareWatcher(base, prepare)
    begin = time.monotonic()
    base.dispatch()
    assert told == ["read"]
    assert time.monotonic() - begin < SHORT


def test_a_prepare_watcher_that_always_sets_a_timer_does_not_spin(base: EventBase) -> None:
    """Setting a timer before each wait, as adapters of other loops do, must not end each wait at once."""
    waits: list[object] = []
    timer = Timer(base, int)

    def prepare(watcher: PrepareWatcher, timeout: Optional[float]) -> None:
        waits.append(timeout)
        timer.add(30)
        base.now()

    with PrepareWatcher(base, prepare):
        base.call_later(0.1, lambda: (watcher_timer.close(), timer.close(), base.loop_break()))
        watcher_timer = base.every(0.02, int)
        base.dispatch()
    timer.close()
    assert len(waits) < 20


def test_a_check_watcher_may_change_what_is_told(base: EventBase) -> None:
    """It runs before the callbacks: what it deletes does not happen any more."""
    timer = base.call_later(0.01, pytest.fail, "it was deleted")
    active = Event(base, None, NOTHING, lambda fd, what: pytest.fail("it was deleted"))
    active.activate()
    told: list[str] = []

    def check(watcher: CheckWatcher) -> None:
        timer.delete()
        active.delete()
        told.append("check")

    with CheckWatcher(base, check):
        base.dispatch()
        base.poll(0.02)
    assert told


@pytest.mark.parametrize("kind", [PrepareWatcher, CheckWatcher])
def test_a_watcher_closes_itself(base: EventBase, kind: Any) -> None:
    """And is not called again."""
    told: list[bool] = []

    def once(watcher: Any, *_: object) -> None:
        watcher.close()
        told.append(watcher.closed)

    kind(base, once)
    for _ in range(3):
        base.call_later(0, int)
        base.poll()
    assert told == [True]


@pytest.mark.parametrize("kind", [PrepareWatcher, CheckWatcher])
def test_a_watcher_closes_another_and_makes_one(base: EventBase, kind: Any) -> None:
    """The closed one is not called in the same round; the new one is called from the next one on."""
    told: list[str] = []

    def first(watcher: Any, *_: object) -> None:
        told.append("first")
        if not second.closed:
            second.close()
            kind(base, lambda *_: told.append("third"))

    kind(base, first)
    second = kind(base, lambda *_: told.append("second"))
    for _ in range(2):
        base.call_later(0, int)
        base.poll()
    assert told == ["first", "first", "third"]


def test_the_first_watcher_may_come_while_the_loop_runs(base: EventBase, run: Run) -> None:
    """On 2.1 the loop goes on one wait at a time from then on."""
    told: list[str] = []

    def begin() -> None:
        PrepareWatcher(base, lambda watcher, timeout: told.append("prepare"))
        CheckWatcher(base, lambda watcher: told.append("check"))
        base.call_later(0.01, told.append, "timer")

    base.call_later(0.01, begin)
    base.dispatch()
    assert in_short(told) == ["prepare", "check", "timer"]


def test_the_first_watcher_does_not_cut_a_poll_short(base: EventBase) -> None:
    """What was active with the callback that made it runs in the same pass."""
    told: list[str] = []
    Event(base, None, NOTHING, lambda fd, what: PrepareWatcher(base, lambda *_: told.append("p"))).activate()
    Event(base, None, NOTHING, lambda fd, what: told.append("second")).activate()
    base.poll()
    assert told == ["second"]
    base.call_later(0, told.append, "third")
    base.poll()
    assert [word for word in told if word != "p"] == ["second", "third"]
    assert "p" in told


def test_the_last_watcher_may_go_while_the_loop_runs(base: EventBase) -> None:
    """Events are told as before."""
    told: list[str] = []
    watcher = CheckWatcher(base, lambda watcher: told.append("check"))
    base.call_later(0.01, lambda: (watcher.close(), base.call_later(0.01, told.append, "timer")))
    base.dispatch()
    assert in_short(told) == ["check", "timer"]


@pytest.mark.parametrize("kind", [PrepareWatcher, CheckWatcher])
def test_what_a_watcher_raises_leaves_dispatch(base: EventBase, kind: Any) -> None:
    """The events of that wait run in the next loop."""
    told: list[str] = []

    def fail(watcher: Any, *_: object) -> None:
        watcher.close()
        raise LookupError("mine")

    watcher = kind(base, fail)
    base.call_later(0.01, told.append, "timer")
    begin = time.monotonic()
    with pytest.raises(LookupError, match="mine"):
        base.dispatch()
    assert told == []
    assert watcher.closed
    base.dispatch()
    assert told == ["timer"]
    assert time.monotonic() - begin < SHORT


@pytest.mark.parametrize("kind", [PrepareWatcher, CheckWatcher])
def test_an_error_handler_gets_the_watcher(base: EventBase, kind: Any) -> None:
    """And the loop goes on."""
    told: list[object] = []

    def fail(watcher: Any, *_: object) -> None:
        watcher.close()
        raise LookupError("mine")

    base.error_handler = lambda error, source: told.append(source)
    watcher = kind(base, fail)
    base.call_later(0.01, told.append, "timer")
    base.dispatch()
    assert told == [watcher, "timer"]


@pytest.mark.parametrize("kind", [PrepareWatcher, CheckWatcher])
def test_dispatch_inside_a_watcher_is_refused(base: EventBase, kind: Any) -> None:
    """As inside any callback."""
    told: list[str] = []

    def inside(watcher: Any, *_: object) -> None:
        with pytest.raises(LoopBusyError):
            base.dispatch()
        told.append("refused")

    kind(base, inside)
    base.call_later(0, int)
    base.poll()
    assert told == ["refused"]


@pytest.mark.parametrize("kind", [PrepareWatcher, CheckWatcher])
def test_a_watcher_closes_the_base(base: EventBase, kind: Any) -> None:
    """The loop stops, and the base is closed after it."""
    kind(base, lambda *_: base.close())
    kind(base, lambda *_: pytest.fail("the base is closed"))
    base.call_later(0.01, pytest.fail, "the base is closed")
    begin = time.monotonic()
    base.dispatch()
    assert base.closed
    assert time.monotonic() - begin < SHORT


@pytest.mark.parametrize(
    "flags", [LoopFlag.ONCE, LoopFlag.NONBLOCK, LoopFlag.ONCE | LoopFlag.NONBLOCK], ids=str
)
def test_every_kind_of_loop_calls_them(base: EventBase, flags: LoopFlag) -> None:
    """Whatever ends the loop."""
    told: list[str] = []
    PrepareWatcher(base, lambda watcher, timeout: told.append("prepare"))
    CheckWatcher(base, lambda watcher: told.append("check"))
    base.call_later(0, told.append, "timer")
    base.loop(flags)
    assert told[:3] == ["prepare", "check", "timer"]


def test_nonblock_runs_until_nothing_is_ready(base: EventBase) -> None:
    """With watchers as without: a callback's call_soon() runs in the same loop."""
    told: list[int] = []
    PrepareWatcher(base, lambda watcher, timeout: None)
    base.call_later(0, lambda: base.call_later(0, told.append, 1))
    base.loop(LoopFlag.NONBLOCK)
    assert told == [1]


def test_a_waiting_loop_with_watchers_is_woken_from_a_thread(base: EventBase) -> None:
    """Posted calls and stopping work as without watchers; each wake-up is a wait that has ended."""
    told: list[str] = []
    PrepareWatcher(base, lambda watcher, timeout: told.append("prepare"))
    timer = base.call_later(60, print)
    thread = threading.Thread(
        target=lambda: (
            time.sleep(0.03),
            base.call_soon_threadsafe(told.append, "posted"),
            time.sleep(0.03),
            base.loop_break(),
        )
    )
    thread.start()
    begin = time.monotonic()
    base.dispatch()
    thread.join()
    timer.close()
    assert time.monotonic() - begin < SHORT
    assert "posted" in told
    assert told.count("prepare") >= 2


def test_waits_ended_by_what_does_not_keep_the_loop_alive_are_waits(base: EventBase) -> None:
    """A timer with keepalive=False ends a wait like any other."""
    told: list[str] = []

    def tick() -> None:
        told.append("tick")
        if told.count("tick") == 3:
            timer.close()
            ticks.close()

    timer = base.call_later(60, print)
    PrepareWatcher(base, lambda watcher, timeout: told.append("prepare"))
    ticks = base.every(0.01, tick, keepalive=False)
    base.dispatch()
    assert in_short(told) == ["prepare", "tick"] * 3


def test_watchers_live_without_a_reference_and_go_with_the_base(method: Any) -> None:
    """Until they are closed, or the base is dropped."""
    told: list[str] = []
    base = method.make()
    PrepareWatcher(base, lambda watcher, timeout: told.append("prepare"))
    CheckWatcher(base, lambda watcher: told.append("check"))
    gc.collect()
    base.call_later(0, int)
    base.poll()
    assert told == ["prepare", "check"]
    assert base.statistics().live == {"PrepareWatcher": 1, "CheckWatcher": 1}
    gone = weakref.ref(base)
    del base
    for _ in range(4):
        gc.collect()
    assert gone() is None


@pytest.mark.parametrize("kind", [PrepareWatcher, CheckWatcher])
def test_closing_is_for_good(plain_base: EventBase, kind: Any) -> None:
    """Any number of times; with means close; they close with their base."""
    watcher = kind(plain_base, print)
    assert repr(watcher) == f"<{kind.__name__}>"
    watcher.close()
    watcher.close()
    assert watcher.closed
    assert repr(watcher) == f"<{kind.__name__} closed>"
    with pytest.raises(ClosedError), watcher:
        pass
    with kind(plain_base, print) as other:
        assert not other.closed
    assert other.closed
    last = kind(plain_base, print)
    plain_base.close()
    assert last.closed
    last.close()
    with pytest.raises(ClosedError):
        kind(plain_base, print)


@pytest.mark.parametrize("kind", [PrepareWatcher, CheckWatcher])
def test_wrong_arguments_are_refused(plain_base: EventBase, kind: Any) -> None:
    """TypeError, and nothing is registered."""
    with pytest.raises(TypeError, match="base must be an EventBase"):
        kind(object(), print)
    with pytest.raises(TypeError, match="callback must be callable"):
        kind(plain_base, None)
    assert plain_base.statistics().live == {}


@pytest.mark.parametrize("kind", [PrepareWatcher, CheckWatcher])
def test_other_threads_are_refused_while_the_loop_runs(base: EventBase, run: Run, kind: Any) -> None:
    """Making and closing one is for the thread that dispatches."""
    told: list[str] = []
    watcher = kind(base, lambda *_: None)

    def refused() -> None:
        for function in (lambda: kind(base, print), watcher.close):
            try:
                function()
            except WrongThreadError:
                told.append("refused")

    def ask() -> None:
        thread = threading.Thread(target=refused)
        thread.start()
        thread.join()

    base.call_later(0, ask)
    base.dispatch()
    assert told == ["refused", "refused"]
    assert not watcher.closed


@pytest.mark.parametrize("kind", ["timer", "descriptor", "signal"])
def test_what_a_check_watcher_activates_runs_once(
    base: EventBase, run: Callable[..., None], pair: tuple[socket.socket, socket.socket], kind: str
) -> None:
    """An event that is about to run is activated by a check watcher: it runs one time, for both."""
    told: list[object] = []
    pair[1].send(b"x")
    if kind == "timer":
        event: Event = Timer(base, told.append, "told").add(0)
    elif kind == "signal":
        event = Signal(base, signal.SIGUSR1, lambda number: (told.append(number), event.close())).add()
        signal.raise_signal(signal.SIGUSR1)
    else:
        event = Event(base, pair[0], READ, lambda fd, what: told.append(what)).add(60)

    def check(watcher: CheckWatcher) -> None:
        watcher.close()
        event.activate(EventFlag.TIMEOUT)

    CheckWatcher(base, check)
    run(base)
    assert told == [{"timer": "told", "signal": signal.SIGUSR1, "descriptor": READ | EventFlag.TIMEOUT}[kind]]
    event.close()


def test_threads_that_make_watchers_at_once_lose_none() -> None:
    """
    On a base that nobody dispatches each thread has its turn, or WrongThreadError and another try.

    The list of watchers was read before the call into C that gives the GIL up, and written after it: watchers
    of two threads replaced each other, and stayed open without ever being called.
    """

    def make(base: EventBase, start: threading.Barrier, made: list[Any], called: set[Any]) -> None:
        start.wait(DEADLINE)
        for number in range(60):
            kind: Any = CheckWatcher if number % 4 == 0 else PrepareWatcher
            while True:
                with contextlib.suppress(WrongThreadError):
                    made.append(kind(base, lambda watcher, *_: called.add(watcher)))
                    break
            if number % 3 == 0:
                with contextlib.suppress(WrongThreadError):
                    CheckWatcher(base, print).close()

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(6):
            made: list[Any] = []
            called: set[Any] = set()
            with EventBase() as base:
                start = threading.Barrier(3)
                arguments = (base, start, made, called)
                threads = [threading.Thread(target=make, args=arguments) for _ in range(3)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join(DEADLINE)
                base.call_later(0.001, int)
                base.dispatch()
                assert called == set(made)
    finally:
        sys.setswitchinterval(before)
