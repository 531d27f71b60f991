"""What becomes of bases when the process forks: the parent loses nothing, the child is told what is dead."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from conftest import output_of

from libevent_cffi import PERSIST, READ, Event, EventBase, Timer
from libevent_cffi._native import lib
from libevent_cffi.errors import ClosedError, LoopBusyError
from libevent_cffi.flags import EventFlag
from libevent_cffi.watch import CheckWatcher, PrepareWatcher

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork()")


def fork() -> int:
    """os.fork(), without the warning of 3.12 that other threads are running: here they are meant to."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def leave(work: Callable[[], object]) -> None:
    """In a child: do *work* and end the process, with status 0 only if it went well and was not too long."""
    status = 1
    try:
        signal.alarm(20)
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def start_child(work: Callable[[], object]) -> int:
    """Fork a child that does *work*; return its pid."""
    pid = fork()
    if pid == 0:
        leave(work)
    return pid


def end_of(pid: int) -> int:
    """Wait for a child; return its exit status."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def in_child(work: Callable[[], object]) -> None:
    """Do *work* in a child, which has to end well."""
    assert end_of(start_child(work)) == 0


def nothing(*_: object) -> None:
    """Be a callback."""


# -- a base that nobody dispatches ---------------------------------------------------------------------------


def test_an_idle_base_works_in_the_child(base: EventBase, pair: tuple[socket.socket, socket.socket]) -> None:
    """Events added before the fork happen in the child, which makes the base usable at its first use."""
    left, right = pair
    told: list[object] = []
    event = Event(
        base, left, READ | PERSIST, lambda fd, what: (told.append("read"), left.recv(9), event.close())
    )
    event.add()
    base.call_later(0.005, told.append, "timer")

    def work() -> None:
        base.call_later(0.01, right.send, b"x")
        base.dispatch()
        assert told == ["timer", "read"], told
        assert base.method

    in_child(work)
    assert told == []
    assert event.pending


@pytest.mark.parametrize("ending", ["close", "drop", "event", "delete all", "collect"])
def test_what_the_child_ends_goes_on_in_the_parent(
    base: EventBase, pair: tuple[socket.socket, socket.socket], run: Callable[..., None], ending: str
) -> None:
    """
    A child that closes or drops its copies does not take anything out of the parent's epoll set.

    The set is one for both processes; a child that has not made its own would edit it.
    """
    left, right = pair
    told: list[str] = []
    bases = [base]
    event = Event(base, left, READ | PERSIST, lambda *_: (told.append("read"), base.loop_break())).add()

    def work() -> None:
        if ending == "close":
            base.close()
        elif ending == "event":
            event.close()
        elif ending == "delete all":
            for each in base.events():
                each.delete()
        elif ending == "drop":
            base._armed.clear()  # the child's only references go
            bases.clear()
        else:
            import gc

            gc.collect()

    in_child(work)
    right.send(b"x")
    run(base)
    assert told == ["read"]


def test_both_sides_use_the_base_that_was_forked(base: EventBase, run: Callable[..., None]) -> None:
    """After a fork of an idle base both processes have all timers, and neither wakes the other."""
    told: list[int] = []
    for number in range(10):
        base.call_later(0.001 * number, told.append, number)

    def work() -> None:
        for _ in range(100):
            base.call_soon_threadsafe(told.append, 0)
            base.poll()
        base.dispatch()
        assert [number for number in told if number] == list(range(1, 10))

    pid = start_child(work)
    run(base)
    assert told == list(range(10))
    assert end_of(pid) == 0


def test_the_child_of_a_child_works(base: EventBase, run: Callable[..., None]) -> None:
    """Each generation makes the base usable for itself."""
    told: list[str] = []
    base.call_later(0.002, told.append, "timer")

    def grandchild() -> None:
        base.dispatch()
        assert told == ["timer"]

    def child() -> None:
        base.poll()
        in_child(grandchild)
        base.dispatch()
        assert told == ["timer"]

    in_child(child)
    run(base)
    assert told == ["timer"]


def test_looking_at_a_base_works_before_its_first_use_in_the_child(base: EventBase) -> None:
    """Introspection in the child needs no new descriptors."""
    timer = base.call_later(50, nothing)

    def work() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
        assert timer.pending == EventFlag.TIMEOUT
        assert timer.remaining
        assert base.count() == 1
        assert base.events() == [timer]
        assert "Timer" in repr(timer)
        assert base.statistics().live == {"Timer": 1}
        assert not base.closed

    in_child(work)


def test_calls_posted_before_the_fork_run_on_both_sides(base: EventBase, run: Callable[..., None]) -> None:
    """A queue is copied like all memory: each process runs its calls once."""
    told: list[str] = []
    base.call_soon(told.append, "soon")
    base.call_soon_threadsafe(told.append, "posted")

    def work() -> None:
        base.call_soon_threadsafe(told.append, "child")
        base.dispatch()
        assert told == ["soon", "posted", "child"], told

    in_child(work)
    run(base)
    assert told == ["soon", "posted"]


def test_a_thread_of_the_child_may_post(base: EventBase) -> None:
    """call_soon_threadsafe() in a child wakes the loop of another thread there."""

    def work() -> None:
        told: list[int] = []
        started = threading.Event()

        def post() -> None:
            started.wait(10)
            for number in range(100):
                base.call_soon_threadsafe(told.append, number)
            base.call_soon_threadsafe(base.loop_break)

        thread = threading.Thread(target=post)
        thread.start()
        base.call_soon(started.set)
        base.dispatch(exit_on_empty=False)
        thread.join(10)
        assert told == list(range(100))

    in_child(work)


def test_reinit_may_be_called(base: EventBase, run: Callable[..., None]) -> None:
    """reinit() does by hand what the first use does, on either side, also many times."""
    told: list[str] = []
    base.call_later(0.001, told.append, "timer")

    def work() -> None:
        for _ in range(3):
            base.reinit()
        base.dispatch()
        assert told == ["timer"]

    in_child(work)
    base.reinit()
    run(base)
    assert told == ["timer"]
    base.call_soon(lambda: told.append("busy") if raises(LoopBusyError, base.reinit) else None)
    run(base)
    assert told == ["timer", "busy"]


def raises(kind: type[Exception], call: Callable[[], object]) -> bool:
    """Tell whether *call* raises a *kind*."""
    try:
        call()
    except kind:
        return True
    return False


def test_no_descriptors_at_reinit_is_an_oserror(
    base: EventBase, pair: tuple[socket.socket, socket.socket]
) -> None:
    """
    A child that has no descriptors left gets OSError, and another try when it has some.

    libevent would end the process (event.c:event_reinit).
    """
    left, right = pair
    told: list[str] = []
    Event(base, left, READ, lambda *_: told.append("read")).add()

    def work() -> None:
        import errno
        import resource

        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
        right.send(b"x")
        for call in (base.dispatch, base.reinit, base.poll, lambda: base.call_soon(nothing)):
            with pytest.raises(OSError) as caught:
                call()
            assert caught.value.errno == errno.EMFILE
        assert raises(OSError, lambda: base.call_soon_threadsafe(told.append, "refused"))
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        base.dispatch()
        assert told == ["read"], told

    in_child(work)


def test_closing_without_descriptors_disturbs_nobody(
    base: EventBase, pair: tuple[socket.socket, socket.socket], run: Callable[..., None]
) -> None:
    """A child that cannot make the base its own keeps it unfreed rather than edit its parent's epoll set."""
    left, right = pair
    told: list[str] = []
    Event(base, left, READ, lambda *_: told.append("read")).add()

    def work() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
        base.close()
        assert base.closed

    in_child(work)
    right.send(b"x")
    run(base)
    assert told == ["read"]


# -- a fork inside a callback --------------------------------------------------------------------------------

PLACES: dict[
    str, Callable[[EventBase, tuple[socket.socket, socket.socket], Callable[..., object]], object]
] = {
    "timer": lambda base, pair, act: base.call_later(0.0, act),
    "interval": lambda base, pair, act: base.every(0.001, act),
    "event": lambda base, pair, act: Event(base, pair[0], EventFlag.WRITE | PERSIST, act).add(),
    "call_soon": lambda base, pair, act: base.call_soon(act),
    "posted": lambda base, pair, act: base.call_soon_threadsafe(act),
    "signal": lambda base, pair, act: (
        base.on_signal(signal.SIGUSR1, act),
        signal.raise_signal(signal.SIGUSR1),
    ),
    "prepare watcher": lambda base, pair, act: (PrepareWatcher(base, act), base.call_soon(nothing)),
    "check watcher": lambda base, pair, act: (CheckWatcher(base, act), base.call_soon(nothing)),
    "error handler": lambda base, pair, act: (
        setattr(base, "error_handler", act),
        base.call_soon(lambda: 1 / 0),
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_fork_inside_a_callback(
    base: EventBase, pair: tuple[socket.socket, socket.socket], run: Callable[..., None], place: str
) -> None:
    """
    The parent goes on with everything, once; the child leaves dispatch() with ClosedError and starts anew.

    What was active together with the forking callback must not run in the child.
    """
    left, right = pair
    told: list[str] = []
    pids: list[int] = []

    def act(*_: object) -> None:
        if pids:
            return
        pids.append(fork())
        told.append("child" if pids[0] == 0 else "parent")

    PLACES[place](base, pair, act)
    for _ in range(5):
        base.call_soon(told.append, "soon")
        Event(base, None, EventFlag(0), lambda *_: told.append("active")).activate()
    timer = base.call_later(60, nothing)

    def read(*_: object) -> None:
        told.append("read")
        base.call_later(0.005, told.append, "timer")
        base.call_later(0.01, base.loop_break)

    Event(base, right, READ, read).add()
    base.call_later(0.01, left.send, b"x")
    before = len(told)
    try:
        run(base)
        outcome = ""
    except ClosedError as error:
        outcome = str(error)
    if pids == [0]:
        leave(lambda: check_child(base, timer, outcome, told, before))
    assert outcome == ""
    assert sorted(told) == ["active"] * 5 + ["parent", "read"] + ["soon"] * 5 + ["timer"]
    assert end_of(pids[0]) == 0


def check_child(base: EventBase, timer: Timer, outcome: str, told: list[str], before: int) -> None:
    """What the child of a running base finds."""
    assert "fork" in outcome, outcome
    assert told[-1] == "child", told
    assert base.closed
    assert not base.running
    assert timer.closed
    assert raises(ClosedError, base.dispatch)
    assert raises(ClosedError, base.reinit)
    assert raises(ClosedError, base.loop_break)
    assert raises(ClosedError, lambda: base.call_soon_threadsafe(nothing))
    assert raises(ClosedError, lambda: base.call_soon(nothing))
    assert raises(ClosedError, lambda: timer.pending)
    assert raises(ClosedError, base.count)
    timer.close()
    base.close()
    base.close()
    with EventBase() as fresh:
        heard: list[str] = []
        fresh.call_soon(heard.append, "fresh")
        fresh.dispatch()
        assert heard == ["fresh"]


def test_both_sides_go_on_after_a_fork_in_a_callback(base: EventBase, run: Callable[..., None]) -> None:
    """A fork in the tenth of fifty ticks: the parent has all of them, the child a loop of its own."""
    ticks: list[int] = []
    pids: list[int] = []

    def own_loop() -> None:
        mine: list[int] = []
        with EventBase() as fresh:
            timer = fresh.every(0.001, lambda: mine.append(1) or (len(mine) == 20 and timer.close()))
            fresh.dispatch()
        assert len(mine) == 20

    def tick() -> None:
        ticks.append(len(ticks))
        if len(ticks) == 10:
            pids.append(start_child(own_loop))
        if len(ticks) == 50:
            timer.close()

    timer = base.every(0.001, tick)
    run(base)
    assert ticks == list(range(50))
    assert end_of(pids[0]) == 0


def test_a_child_may_close_the_base_inside_the_callback(base: EventBase, run: Callable[..., None]) -> None:
    """close() and a new loop inside the very callback that forked."""
    told: list[str] = []
    pids: list[int] = []

    def work() -> None:
        assert base.closed
        base.close()
        with EventBase() as fresh:
            fresh.call_soon(told.append, "fresh")
            fresh.dispatch()
        assert told == ["fresh"]

    def act() -> None:
        pids.append(fork())
        if pids[0] == 0:
            try:
                work()
            except BaseException:
                traceback.print_exc()
                os._exit(1)

    base.call_later(0.0, act)
    base.call_later(0.01, told.append, "parent")
    try:
        run(base)
    except ClosedError:
        os._exit(0 if pids == [0] else 1)
    if pids == [0]:
        os._exit(2)
    assert told == ["parent"]
    assert end_of(pids[0]) == 0


def test_nested_loops_all_end_in_the_child(run: Callable[..., None]) -> None:
    """A fork in an inner loop's callback kills both loops in the child, and neither in the parent."""
    with EventBase() as outer, EventBase() as inner:
        told: list[str] = []
        pids: list[int] = []

        def nest() -> None:
            inner.call_soon(lambda: pids.append(fork()))
            inner.call_soon(told.append, "inner")
            inner.dispatch()
            told.append("outer")

        outer.call_soon(nest)
        try:
            run(outer)
        except ClosedError:
            leave(lambda: check_both_dead(outer, inner, told))
        assert told == ["inner", "outer"]
        assert end_of(pids[0]) == 0


def check_both_dead(outer: EventBase, inner: EventBase, told: list[str]) -> None:
    """Neither of two nested loops went on."""
    assert told == []
    assert outer.closed
    assert inner.closed


# -- other threads -------------------------------------------------------------------------------------------


class Running:
    """A base that another thread dispatches, with a timer that never rests."""

    def __init__(self) -> None:
        self.base = EventBase()
        self.started = threading.Event()
        self.ticks = 0
        self.base.every(0.0005, self.tick)
        self.thread = threading.Thread(target=self.base.dispatch)

    def tick(self) -> None:
        """Count."""
        self.ticks += 1
        self.started.set()

    def __enter__(self) -> Running:
        self.thread.start()
        assert self.started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self.base.loop_break()
        self.thread.join(10)
        self.base.close()


def test_a_base_that_another_thread_runs_is_dead_in_the_child() -> None:
    """The child has not that thread: the base says so at every use, and another one works."""
    with Running() as other, EventBase() as mine:
        told: list[str] = []
        mine.call_later(0.001, told.append, "mine")

        def work() -> None:
            assert other.base.closed
            for call in (other.base.dispatch, other.base.loop_break, other.base.count, other.base.reinit):
                assert raises(ClosedError, call), call
            assert raises(ClosedError, lambda: other.base.call_soon_threadsafe(nothing))
            other.base.close()
            mine.dispatch()
            assert told == ["mine"]

        for _ in range(20):
            in_child(work)
        ticks = other.ticks
        other.started.clear()
        assert other.started.wait(10)
        assert other.ticks > ticks


@pytest.mark.skipif(bool(lib.lev_debug_mode_on), reason="a fork may catch debug mode's own lock held")
def test_forks_while_other_threads_stop_wake_and_look() -> None:
    """
    No child is left with a lock that another thread held at the fork.

    Introspection and wake-ups hold the base's gate and libevent's own lock for moments.  Freeing a base takes
    one that all bases share; one fork in some thousands caught it, and the child could free none.
    """
    base = EventBase()
    timer = base.call_later(60, nothing)
    done = threading.Event()

    def disturb() -> None:
        while not done.is_set():
            base.call_soon_threadsafe(nothing)
            base._queue.clear()
            _ = timer.pending, timer.remaining, base.count()
            base.loop_exit()
            EventBase().close()

    def work() -> None:
        _ = timer.pending, timer.remaining, base.count()
        base.poll()
        base.call_soon_threadsafe(nothing)
        assert timer.pending
        with EventBase() as fresh:
            fresh.call_soon(nothing)
            fresh.dispatch()
        base.close()

    threads = [threading.Thread(target=disturb) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(40):
            in_child(work)
    finally:
        done.set()
        for thread in threads:
            thread.join(10)
    base.close()


def test_a_fork_in_another_thread_of_the_program() -> None:
    """The thread that forks may be one that Python did not start with; it is the child's only one."""
    statuses: list[int] = []
    base = EventBase()
    told: list[str] = []
    base.call_later(0.001, told.append, "timer")

    def work() -> None:
        base.dispatch()
        assert told == ["timer"]

    thread = threading.Thread(target=lambda: statuses.append(end_of(start_child(work))))
    thread.start()
    thread.join(20)
    assert statuses == [0]
    base.close()


# -- signals -------------------------------------------------------------------------------------------------


def test_signals_go_to_the_process_they_were_sent_to(base: EventBase, run: Callable[..., None]) -> None:
    """A signal event of an idle base works on both sides of a fork, and neither hears the other's."""
    told: list[str] = []
    base.on_signal(signal.SIGUSR1, lambda: (told.append("usr1"), base.loop_break()))

    def work() -> None:
        os.kill(os.getpid(), signal.SIGUSR1)
        base.dispatch()
        assert told == ["usr1"], told

    pid = start_child(work)
    assert end_of(pid) == 0
    base.call_later(0.01, base.loop_break)
    run(base)
    assert told == []
    signal.raise_signal(signal.SIGUSR1)
    run(base)
    assert told == ["usr1"]


def test_a_dead_base_gives_its_signals_back_to_the_child(run: Callable[..., None]) -> None:
    """
    The child of a running base has Python's handlers again, and can watch the signal with a new base.

    Else the dead base would swallow the child's signals for ever.
    """
    pids: list[int] = []
    seen: list[str] = []
    before = signal.signal(signal.SIGUSR1, lambda *_: seen.append("python"))

    def work() -> None:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert seen == ["python"], seen
        with EventBase() as fresh:
            event = fresh.on_signal(signal.SIGUSR1, lambda: (seen.append("fresh"), event.close()))
            os.kill(os.getpid(), signal.SIGUSR1)
            fresh.dispatch()
        assert seen == ["python", "fresh"], seen
        os.kill(os.getpid(), signal.SIGUSR1)
        assert seen == ["python", "fresh", "python"], seen

    try:
        with EventBase() as base:
            base.on_signal(signal.SIGUSR1, lambda: (seen.append("parent"), base.loop_break()))
            base.call_soon(lambda: pids.append(start_child(work)))
            base.call_later(0.01, signal.raise_signal, signal.SIGUSR1)
            run(base)
            assert seen == ["parent"]
        assert end_of(pids[0]) == 0
    finally:
        signal.signal(signal.SIGUSR1, before)


# -- the ways in which Python programs fork ------------------------------------------------------------------


def test_multiprocessing_by_fork(base: EventBase, run: Callable[..., None]) -> None:
    """Processes of multiprocessing, started in callbacks and outside, end well, and the loop goes on."""
    told: list[str] = []
    context = multiprocessing.get_context("fork")
    processes: list[Any] = []

    def start(target: Callable[[], object]) -> None:
        process = context.Process(target=target)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            process.start()
        processes.append(process)

    def with_a_new_base() -> None:
        with EventBase() as fresh:
            fresh.call_later(0.001, nothing)
            fresh.dispatch()

    base.call_later(0.02, told.append, "timer")
    start(base.dispatch)
    base.call_soon(start, with_a_new_base)
    run(base)
    for process in processes:
        process.join(20)
        assert process.exitcode == 0
    assert told == ["timer"]


def test_subprocesses_inside_a_callback(base: EventBase, run: Callable[..., None]) -> None:
    """subprocess, with a preexec_fn and without, inside a callback disturbs nothing."""
    told: list[object] = []

    def start() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            told.append(subprocess.run(["/bin/echo", "a"], capture_output=True, timeout=20).stdout)
            told.append(
                subprocess.run(
                    ["/bin/echo", "b"], capture_output=True, timeout=20, preexec_fn=os.getpid
                ).stdout
            )

    base.call_soon(start)
    base.call_later(0.02, told.append, "timer")
    run(base)
    assert told == [b"a\n", b"b\n", "timer"]


def test_no_descriptor_of_a_base_reaches_another_program() -> None:
    """Everything a base opens is closed by exec()."""
    told = output_of(
        """
import os, signal, subprocess, sys
from libevent_cffi import EventBase
base = EventBase()
base.on_signal(signal.SIGUSR1, print)
base.every(1, print)
base.poll()
done = subprocess.run(["/bin/ls", "/proc/self/fd"], close_fds=False, capture_output=True, text=True)
print(done.stdout.split())
"""
    )
    assert told.strip() == str(["0", "1", "2", "3"])


def test_a_child_that_exits_by_itself_is_silent() -> None:
    """sys.exit() in a child, with the parent's base running in a callback and others idle, says nothing."""
    told = output_of(
        """
import os, sys
from libevent_cffi import EventBase
sys.stdout.reconfigure(line_buffering=True)
idle, running = EventBase(), EventBase()
idle.every(1, print)
def fork():
    if os.fork() == 0:
        sys.exit(0)
    assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
    print("parent")
running.call_soon(fork)
running.call_later(0.01, print, "timer")
running.dispatch()
if os.fork() == 0:
    sys.exit(0)
assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
"""
    )
    assert told == "parent\ntimer\n"
