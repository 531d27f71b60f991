"""Signals: any number of bases and threads are told of each."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from conftest import Method

from libevent_cffi import PERSIST, Event, EventBase, Signal
from libevent_cffi.flags import EventFlag

Run = Callable[..., None]


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Python's handlers are the same afterwards."""
    numbers = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD)
    before = [signal.getsignal(number) for number in numbers]
    signal.signal(signal.SIGUSR1, lambda number, frame: None)
    signal.signal(signal.SIGUSR2, lambda number, frame: None)
    yield
    for number, handler in zip(numbers, before):
        signal.signal(number, handler)


def test_each_signal_is_told(base: EventBase, run: Run) -> None:
    """A signal that was raised five times before the loop looked is told five times."""
    told: list[int] = []
    event = Signal(base, signal.SIGUSR1, told.append, keepalive=False).add()
    for _ in range(5):
        signal.raise_signal(signal.SIGUSR1)
    base.call_later(0.01, int)
    run(base)
    assert told == [signal.SIGUSR1] * 5
    event.close()


def test_a_one_shot_signal_event_is_told_and_gone(base: EventBase, run: Run) -> None:
    """Without PERSIST the event is not pending any more, and Python's handler is back."""
    seen: list[int] = []
    signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))
    told: list[tuple[int, EventFlag]] = []
    event = Event(
        base, signal.SIGUSR1, EventFlag.SIGNAL, lambda number, what: told.append((number, what))
    ).add()
    signal.raise_signal(signal.SIGUSR1)
    run(base)
    assert told == [(signal.SIGUSR1, EventFlag.SIGNAL)]
    assert not event.pending
    signal.raise_signal(signal.SIGUSR1)
    assert seen == [signal.SIGUSR1]


def test_loop_break_keeps_the_rest_of_a_count(base: EventBase, run: Run) -> None:
    """
    loop_break() in the callback of a signal that came five times stops after this call; four come later.

    libevent drops them (event.c:event_signal_closure).
    """
    told: list[int] = []

    def callback(number: int) -> None:
        told.append(number)
        if len(told) == 1:
            base.loop_break()

    event = Signal(base, signal.SIGUSR1, callback, keepalive=False).add()
    event.activate(count=5)
    run(base)
    assert len(told) == 1
    base.call_later(0.01, int)
    run(base)
    assert len(told) == 5
    event.close()


def test_a_failure_keeps_the_rest_of_a_count(base: EventBase, run: Run) -> None:
    """An error in the callback of a signal that came five times leaves four to be told."""
    told: list[int] = []

    def callback(number: int) -> None:
        told.append(number)
        if len(told) == 2:
            raise ValueError("here")

    event = Signal(base, signal.SIGUSR1, callback, keepalive=False).add()
    event.activate(count=5)
    with pytest.raises(ValueError, match="here"):
        run(base)
    assert len(told) == 2
    base.call_later(0.01, int)
    run(base)
    assert len(told) == 5
    event.close()


def test_a_deleted_rest_does_not_cut_a_poll_short(base: EventBase) -> None:
    """What was kept for the next loop, and closed before it, is nothing that happened: poll() waits."""
    told: list[int] = []
    event = Signal(base, signal.SIGUSR1, lambda number: 1 // 0).add()
    event.activate(count=2)
    with pytest.raises(ZeroDivisionError):
        base.poll()
    event.close()
    base.call_later(0.02, told.append, 1)
    base.poll(10.0)
    assert told == [1]


@pytest.mark.parametrize("end", ["delete", "close"])
def test_deleted_in_its_callback_it_is_not_told_the_rest(base: EventBase, run: Run, end: str) -> None:
    """delete() in the callback of a signal that came five times ends it there."""
    told: list[int] = []

    def callback(number: int) -> None:
        told.append(number)
        getattr(event, end)()

    event = Signal(base, signal.SIGUSR1, callback).add()
    event.activate(count=5)
    run(base)
    assert told == [signal.SIGUSR1]


def test_all_events_of_all_bases_are_told(method: Method, run: Run) -> None:
    """Two events on each of three bases are told of each signal; libevent tells one base only."""
    told: list[tuple[int, int]] = []
    bases = [method.make() for _ in range(3)]
    for number, base in enumerate(bases):
        for index in range(2):
            base.on_signal(signal.SIGUSR1, told.append, (number, index), keepalive=False)
    signal.raise_signal(signal.SIGUSR1)
    for base in bases:
        base.call_later(0.01, int)
        run(base)
        base.close()
    assert sorted(told) == [(number, index) for number in range(3) for index in range(2)]


def test_counts_of_all_threads_are_exact() -> None:
    """
    Bases in three threads and the main one are each told of every signal that came, from another process.

    The kernel merges signals that wait, so what came is counted by a base of its own.
    """
    told: list[list[int]] = [[] for _ in range(4)]
    ready = threading.Barrier(4)

    def serve(number: int) -> None:
        with EventBase() as base:
            base.on_signal(signal.SIGUSR1, told[number].append, 1)
            base.on_signal(signal.SIGUSR2, base.call_later, 0.2, base.loop_exit)
            ready.wait(20)
            base.dispatch()

    threads = [threading.Thread(target=serve, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    code = (
        "import os, sys, time\nvictim = int(sys.argv[1])\nsys.stdin.read(1)\n"
        "for _ in range(3000): os.kill(victim, 10)\ntime.sleep(0.1)\nos.kill(victim, 12)"
    )
    command = [sys.executable, "-c", code, str(os.getpid())]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as sender:
        assert sender.stdin is not None
        sender.stdin.write(b"x")
        timer = threading.Timer(0.1, sender.stdin.close)
        timer.start()
        serve(3)
        timer.join()
    for thread in threads:
        thread.join(20)
    counts = [len(each) for each in told]
    assert len(set(counts)) == 1
    assert 0 < counts[0] <= 3000


def test_children_are_told_of(base: EventBase, run: Run) -> None:
    """SIGCHLD tells of the end of each process, also when two ends are one signal."""
    ended: list[int] = []
    processes = [subprocess.Popen([sys.executable, "-c", "pass"]) for _ in range(3)]

    def look() -> None:
        ended[:] = [process.pid for process in processes if process.poll() is not None]
        if len(ended) == len(processes):
            event.close()

    event = base.on_signal(signal.SIGCHLD, look)
    base.call_soon(look)
    run(base)
    assert len(ended) == 3


def test_pythons_handler_is_back_when_the_last_event_goes(base: EventBase, run: Run) -> None:
    """While an event waits for the signal Python's handler is not called; after it, it is."""
    seen: list[int] = []
    signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))
    one, two = (Signal(base, signal.SIGUSR1, id).add() for _ in range(2))
    one.close()
    signal.raise_signal(signal.SIGUSR1)
    assert seen == []
    two.close()
    signal.raise_signal(signal.SIGUSR1)
    assert seen == [signal.SIGUSR1]


def test_a_signal_that_was_taken_away_is_taken_back(
    base: EventBase, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """signal.signal() under a pending event: the next dispatch() takes the signal back, and warns."""
    told: list[int] = []

    def callback(number: int) -> None:
        told.append(number)
        base.loop_exit()

    event = Signal(base, signal.SIGUSR1, callback).add()
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    base.call_soon(signal.raise_signal, signal.SIGUSR1)
    run(base)
    assert told == [signal.SIGUSR1]
    assert "taken" in caplog.text
    event.close()
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN


def test_the_more_urgent_signal_event_goes_first(run: Run) -> None:
    """Priorities order signal events as others."""
    told: list[str] = []
    with EventBase(priorities=3) as base:
        base.on_signal(signal.SIGUSR1, told.append, "last", priority=2, keepalive=False)
        base.on_signal(signal.SIGUSR1, told.append, "first", priority=0, keepalive=False)
        signal.raise_signal(signal.SIGUSR1)
        base.call_later(0.01, int)
        run(base)
    assert told == ["first", "last"]


def test_a_persistent_signal_event_by_its_general_form(base: EventBase, run: Run) -> None:
    """Event(base, number, SIGNAL | PERSIST) is told again and again."""
    told: list[int] = []

    def callback(number: int, what: EventFlag) -> None:
        told.append(number)
        if len(told) == 3:
            event.close()
        else:
            signal.raise_signal(number)

    event = Event(base, signal.SIGUSR1, EventFlag.SIGNAL | PERSIST, callback).add()
    signal.raise_signal(signal.SIGUSR1)
    run(base)
    assert told == [signal.SIGUSR1] * 3


def test_a_blocking_call_goes_on_after_a_signal(base: EventBase, run: Run) -> None:
    """The handler is installed with SA_RESTART: a read of another thread does not fail."""
    told: list[int] = []
    reader, writer = os.pipe()
    event = Signal(base, signal.SIGUSR1, told.append).add()
    thread_saw: list[bytes] = []
    thread = threading.Thread(target=lambda: thread_saw.append(os.read(reader, 1)))
    thread.start()
    assert thread.ident is not None
    signal.pthread_kill(thread.ident, signal.SIGUSR1)
    deadline = time.monotonic() + 10
    while not told and time.monotonic() < deadline:
        base.poll(0.01)
    os.write(writer, b"x")
    thread.join(10)
    os.close(reader)
    os.close(writer)
    event.close()
    assert (told, thread_saw) == ([signal.SIGUSR1], [b"x"])
