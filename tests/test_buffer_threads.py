"""Buffers under threads, forks, interrupts, and without memory."""

from __future__ import annotations

import contextlib
import gc
import os
import random
import signal
import sys
import threading
import time
import traceback
import warnings
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import DEADLINE, output_of

from libevent_cffi import Buffer, EventBase, util
from libevent_cffi._native import lib
from libevent_cffi._native.lent import LENT
from libevent_cffi.errors import ClosedError

BIG = 100_000


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """When a test is over, C holds as much as before."""
    settle(0)
    before = util.memory_counters().blocks
    yield
    lib.lev_memory_fail_after(-1)
    settle(before)
    assert util.memory_counters().blocks <= before
    assert LENT == {}


def settle(wanted: int) -> None:
    """Have garbage freed, and what C let go of told, until C has no more than *wanted* blocks."""
    for _ in range(3):
        with Buffer() as buffer:
            buffer.drain()
        if util.memory_counters().blocks <= wanted and not LENT:
            break
        gc.collect()


def in_threads(count: int, work: Callable[[int], object]) -> None:
    """Run work(0) … work(count - 1) each in a thread of its own; raise what one of them raised."""
    failures: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
        assert not thread.is_alive()
    if failures:
        raise failures[0]


@contextlib.contextmanager
def often_switching() -> Iterator[None]:
    """Let threads take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


# -- threads -------------------------------------------------------------------------------------------------


def test_every_call_is_locked() -> None:
    """Four threads at one buffer: no byte is lost or torn."""
    buffer = Buffer()
    taken: list[bytes] = []

    def work(number: int) -> None:
        for _ in range(2000):
            buffer.add(b"%d" % number * 10)
            taken.append(buffer.remove(10))

    in_threads(4, work)
    assert len(buffer) == 0
    assert sorted(b"".join(taken)) == sorted(b"0123" * 20_000)


def test_moves_in_both_directions_do_not_wait_for_each_other() -> None:
    """Two buffers are taken in one order, whichever comes first in the call."""
    buffers = [Buffer(bytes([65 + number]) * 1000) for number in range(3)]

    def work(number: int) -> None:
        dice = random.Random(number)
        for _ in range(2000):
            one, other = dice.sample(buffers, 2)
            dice.choice(
                (
                    one.add_buffer,
                    one.prepend_buffer,
                    lambda other: other.remove_buffer(dice.randrange(3000), into=one),  # noqa: B023
                    one.__eq__,
                )
            )(other)

    in_threads(4, work)
    assert sorted(b"".join(map(bytes, buffers))) == sorted(b"ABC" * 1000)


def test_callbacks_come_and_go_on_several_threads() -> None:
    """None that was registered is lost beside those that are removed."""
    buffer = Buffer()
    told: set[int] = set()
    handles: list[Any] = []

    def work(number: int) -> None:
        for each in range(number * 1000, number * 1000 + 100):
            if number:
                handles.append(buffer.on_change(lambda *_, each=each: told.add(each)))
            else:
                old.pop().close()

    with often_switching():
        for _ in range(3):
            old = [buffer.on_change(lambda *_: None) for _ in range(100)]
            in_threads(3, work)
            buffer.add(b"x")
            assert len(told) == 200
            told.clear()
            for handle in handles:
                handle.close()
        for _ in range(200):
            old = [buffer.on_change(lambda *_: None)]
            thread = threading.Thread(target=old[0].close)
            thread.start()
            handle = buffer.on_change(lambda *_: told.add(1))
            thread.join(DEADLINE)
            buffer.add(b"x")
            assert told == {1}
            told.clear()
            handle.close()


def test_one_that_takes_all_is_not_kept_by_those_that_add() -> None:
    """It takes what there was when it looked, however fast more comes."""
    buffer = Buffer(bytes(BIG))
    stop = threading.Event()

    def work(number: int) -> None:
        if number == 0:
            for _ in range(20):
                buffer.remove()
                buffer.copyout()
                buffer.add(bytes(BIG))
            stop.set()
        while not stop.is_set() and len(buffer) < 100_000_000:
            buffer.add(b"x" * 1000)

    with often_switching():
        in_threads(4, work)
    assert stop.is_set()
    assert len(buffer) < 100_000_000


def test_views_and_references_are_let_go_by_any_thread() -> None:
    """While others change the buffers that they came from."""
    released: list[int] = []
    data = os.urandom(BIG)
    buffers = [Buffer() for _ in range(3)]
    kept: list[Any] = []

    def check(views: Any) -> None:
        for view, digest in views:
            assert zlib.crc32(view) == digest

    def work(number: int) -> None:
        dice = random.Random(number)
        for _ in range(400):
            buffer = dice.choice(buffers)
            what = dice.randrange(8)
            if what <= 1:
                buffer.add_reference(data, on_release=lambda: released.append(1))
            elif what == 2:
                buffer.add(data)
            elif what == 3:
                kept.append([(view, zlib.crc32(view)) for view in buffer.peek()])
            elif what == 4:
                with contextlib.suppress(IndexError):
                    check(kept.pop(dice.randrange(len(kept) + 1)))
            elif what == 5:
                other = buffer.remove_buffer(dice.randrange(2 * BIG))
                buffer.add_buffer(other)
            elif what == 6:
                buffer.drain(dice.randrange(2 * BIG))
            else:
                with contextlib.suppress(ValueError):
                    buffer.pullup(dice.randrange(BIG))

    in_threads(4, work)
    for buffer in buffers:
        buffer.close()
    for views in kept:
        check(views)
    kept.clear()


def test_lock_keeps_others_out_over_several_calls() -> None:
    """They wait; the thread that has it may nest it."""
    buffer = Buffer()
    entered = threading.Event()

    def work(number: int) -> None:
        if number == 0:
            with buffer.lock(), buffer.lock():
                entered.set()
                for _ in range(100):
                    buffer.add(b"a")
                    time.sleep(0)
        else:
            assert entered.wait(DEADLINE)
            buffer.add(b"b")

    in_threads(3, work)
    assert bytes(buffer) == b"a" * 100 + b"bb"
    with pytest.raises(LookupError), buffer.lock():
        raise LookupError
    in_threads(1, lambda _: buffer.drain())
    with buffer.lock():
        buffer.close()
    with pytest.raises(ClosedError), buffer.lock():
        pass


def test_it_is_closed_while_others_use_it() -> None:
    """They get ClosedError, and nothing else."""
    for _ in range(50):
        buffer = Buffer(bytes(BIG))

        def work(number: int, buffer: Buffer = buffer) -> None:
            with contextlib.suppress(ClosedError):
                for _ in range(100):
                    if number == 0:
                        buffer.close()
                    buffer.add(b"x")
                    buffer.peek()
                    buffer.remove(5)

        in_threads(3, work)
        assert buffer.closed


def test_who_waits_for_a_buffer_can_be_interrupted() -> None:
    """A thread sits in a read that blocks; the main thread wants the buffer, and gets a Ctrl-C."""
    assert (
        output_of(
            """
import os, signal, threading, time
from libevent_cffi import Buffer
reader, writer = os.pipe()
buffer = Buffer()
thread = threading.Thread(target=buffer.read_from, args=(reader,), daemon=True)
thread.start()
while True:
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        while True:
            len(buffer)
    except KeyboardInterrupt:
        print("interrupted")
        break
os.write(writer, b"abc")
thread.join(20)
print(bytes(buffer))
"""
        )
        == "interrupted\nb'abc'\n"
    )


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs an alarm")
def test_a_read_that_blocks_goes_on_after_a_signal() -> None:
    """Its handler runs meanwhile, as in Python's own calls."""
    reader, writer = os.pipe()
    told: list[int] = []

    def handle(*_: object) -> None:
        told.append(1)
        os.write(writer, b"abc")

    old = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        buffer = Buffer()
        assert buffer.read_from(reader) == 3
        assert told == [1]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
        os.close(reader)
        os.close(writer)


def test_change_callbacks_run_on_the_thread_that_changed() -> None:
    """Every byte is told of, by whomever."""
    buffer = Buffer()
    added: list[int] = []
    buffer.on_change(lambda _, change: added.append(change.added))
    in_threads(4, lambda _: [buffer.add(b"x") for _ in range(500)])
    assert sum(added) == 2000
    threads: list[int] = []
    buffer.on_change(lambda *_: threads.append(threading.get_ident()))
    mine: list[int] = []
    in_threads(1, lambda _: (mine.append(threading.get_ident()), buffer.add(b"y")))
    assert threads == mine


# -- forks ---------------------------------------------------------------------------------------------------


def status_of_child(work: Callable[[], object]) -> int:
    """Do *work* in a forked child; return its exit status."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork()")
def test_a_buffer_works_in_a_child() -> None:
    """Parent and child each have their own from then on; also under lock()."""
    buffer = Buffer(b"abc")
    views = Buffer(bytes(BIG)).peek()

    def work() -> None:
        assert buffer.remove(1) == b"a"
        buffer.add(bytes(BIG))
        assert len(views[0]) == BIG
        views.clear()
        other = buffer.remove_buffer()
        assert len(other) == BIG + 2
        in_threads(2, lambda _: buffer.add(b"x"))

    assert status_of_child(work) == 0
    with buffer.lock():
        assert status_of_child(buffer.drain) == 0
    assert bytes(buffer) == b"abc"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork()")
def test_a_buffer_that_another_thread_was_in_is_dead_in_a_child() -> None:
    """It says so, instead of waiting for that thread for ever."""
    buffer = Buffer(b"abc")
    inside, done = threading.Event(), threading.Event()

    def hold() -> None:
        with buffer.lock():
            inside.set()
            done.wait(DEADLINE)

    thread = threading.Thread(target=hold)
    thread.start()
    assert inside.wait(DEADLINE)

    def work() -> None:
        with pytest.raises(ClosedError, match="forked"):
            buffer.add(b"x")
        Buffer(b"new").add(b"one")

    assert status_of_child(work) == 0
    done.set()
    thread.join(DEADLINE)
    assert buffer.remove() == b"abc"


CHILD_THREADS = """
import os, sys, threading, time
from libevent_cffi import Buffer, ClosedError

started = threading.Barrier(9)

def read(buffer):
    with buffer.lock():
        started.wait(20)
        time.sleep(60)

buffers = [Buffer(b"abc") for _ in range(8)]
for buffer in buffers:
    threading.Thread(target=read, args=(buffer,), daemon=True).start()
started.wait(20)
if os.fork():
    os._exit(os.wait()[1] >> 8)

inside = []

def try_all():
    for buffer in buffers:
        try:
            inside.append(len(buffer))
        except ClosedError:
            pass

for _ in range(3):
    threads = [threading.Thread(target=try_all) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
print(len(inside), flush=True)
os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork()")
def test_a_thread_of_a_child_is_taken_for_none_of_the_parent() -> None:
    """Also where the system gives it the memory of one that is gone, by which threads are told apart."""
    # From 3.12 on Python warns of a fork beside threads, which is what this is about.
    assert output_of(CHILD_THREADS, PYTHONWARNINGS="ignore::DeprecationWarning") == "0\n"


# -- interrupts ----------------------------------------------------------------------------------------------


INTERRUPTED = """
import gc, platform, random, signal, threading, time
from libevent_cffi import Buffer, util
from libevent_cffi._native.lent import LENT

class Struck(Exception):
    pass

def strike(*_):
    if armed:
        armed.clear()
        raise Struck

armed = []

dice = random.Random(1)
data = bytes(100_000)
gc.disable()
before = util.memory_counters().blocks
signal.signal(signal.SIGALRM, strike)
buffer = Buffer()
is_pypy = platform.python_implementation() == "PyPy"  # where garbage piles up meanwhile
end = time.monotonic() + (0.1 if is_pypy else 1.5)
strikes = 0

def work():
    while time.monotonic() < end:  # what strikes in a finalizer is lost
        buffer.add_reference(data, on_release=int)
        with buffer.lock():
            buffer.peek()
        with buffer.reserve(1000) as room:
            room.commit(1000)
        buffer.remove_buffer().close()

while time.monotonic() < end:
    try:
        armed.append(1)
        signal.setitimer(signal.ITIMER_REAL, dice.uniform(0.00002, 0.001))
        work()
        armed.clear()
    except Struck:
        strikes += 1
signal.setitimer(signal.ITIMER_REAL, 0)
print(strikes > 10 or is_pypy)
gc.enable()
gc.collect()  # PyPy can be struck between the lock and the with, and then gives it back here
thread = threading.Thread(target=buffer.drain)
thread.start()
thread.join(20)
print(thread.is_alive())
buffer.close()
for _ in range(3):
    gc.collect()
    with Buffer() as buffer:
        buffer.drain()
print(util.memory_counters().blocks - before, len(LENT) <= (strikes // 10 if is_pypy else 0))
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs an alarm")
def test_interrupts_lose_no_memory_and_no_lock() -> None:
    """A handler raises wherever it strikes: nothing of C stays allocated, and nothing locked."""
    assert output_of(INTERRUPTED) == "True\nFalse\n0 True\n"


# -- without memory ------------------------------------------------------------------------------------------


def fill(buffer: Buffer) -> None:
    """Do what allocates."""
    other = Buffer()
    for each in (buffer, other):
        each.add(b"ab" * 3000)
        each.prepend(b"front" * 2000)
        each.writelines([b"x" * 5000, b"y"])
        each.add_reference(b"z" * BIG)
        each.add(b"\n")
        with each.reserve(BIG) as room:
            room.commit(BIG)
        each.expand(10_000)
        each.peek()
        each.pullup(20_000)
    buffer.add_buffer_reference(other)
    other.remove_buffer(3_000, into=buffer)
    buffer.add_buffer(other)
    buffer.on_change(lambda *_: None)
    buffer.readline()
    buffer.remove(10)


@pytest.mark.skipif(bool(lib.lev_debug_mode_on), reason="libevent's debug mode ends without memory")
def test_every_allocation_may_fail(caplog: pytest.LogCaptureFixture) -> None:
    """MemoryError, at the call, and what is in the buffers is what was put there before."""
    caplog.set_level("CRITICAL", "libevent")
    before = util.memory_counters().blocks
    for number in range(1, 400):
        lib.lev_memory_fail_after(number)
        try:
            buffer = Buffer()
            fill(buffer)
        except MemoryError:
            pass
        finally:
            done = lib.lev_failing_in > 0
            lib.lev_memory_fail_after(-1)
        if done:
            break
        with contextlib.suppress(UnboundLocalError):
            assert len(bytes(buffer)) == len(buffer)
            buffer.close()
            del buffer
        if number % 20 == 0:
            settle(before)
            assert util.memory_counters().blocks <= before, number
    assert 30 < number < 399


@pytest.mark.skipif(bool(lib.lev_debug_mode_on), reason="libevent's debug mode ends without memory")
def test_a_call_without_memory_changes_nothing() -> None:
    """Neither the buffer nor the other one."""
    steps: dict[str, Callable[[Buffer, Buffer], object]] = {
        "add": lambda one, _: one.add(b"x" * 100_000),
        "prepend": lambda one, _: one.prepend(b"x" * 100_000),
        "writelines": lambda one, _: one.writelines([b"x" * 100_000] * 3),
        "add_reference": lambda one, _: one.add_reference(b"x"),
        "move some": lambda one, other: other.remove_buffer(130_000, into=one),
        "copy": lambda one, other: one.add_buffer_reference(other),
        "peek": lambda one, other: other.peek(),
        "pullup": lambda one, other: other.pullup(),
        "on_change": lambda one, _: one.on_change(print),
    }
    for name, step in steps.items():
        for number in range(1, 20):
            one, other = Buffer(b"abc"), Buffer()
            one.remove(1)
            other.add_reference(b"d" * BIG)
            other.add_reference(b"e" * BIG)
            lib.lev_memory_fail_after(number)
            try:
                step(one, other)
            except MemoryError:
                assert (bytes(one), bytes(other)) == (b"bc", b"d" * BIG + b"e" * BIG), name
            done = lib.lev_failing_in > 0
            lib.lev_memory_fail_after(-1)
            if done:
                break
        assert number > 1, name


def test_buffers_come_and_go_beside_a_running_loop(run: Callable[..., None]) -> None:
    """Whatever other threads let go of is told there or in the loop, each once; no wake-up is lost."""
    told: list[int] = []

    def work(base: EventBase, finished: list[int], number: int) -> None:
        for count in range(200):
            buffer = Buffer()
            buffer.add_reference(b"x" * 10, on_release=lambda: told.append(1))
            if count % 2:
                buffer.close()
            del buffer
        base.call_soon_threadsafe(finished.append, number)

    def round_of_threads() -> None:
        finished: list[int] = []
        with EventBase() as base:
            base.every(0.001, lambda: len(finished) == 3 and base.loop_exit())
            threads = [threading.Thread(target=work, args=(base, finished, number)) for number in range(3)]
            for thread in threads:
                thread.start()
            run(base)
            for thread in threads:
                thread.join(DEADLINE)
        assert sorted(finished) == [0, 1, 2]

    for _ in range(20):
        round_of_threads()
    settle(0)
    assert len(told) == 600 * 20
