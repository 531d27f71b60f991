"""Python's signal handlers run while C blocks, and the wake-up descriptor is lent, not taken."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest
from conftest import output_of

from libevent_cffi import EventBase
from libevent_cffi._native import wakeup

Run = Callable[..., None]


@pytest.fixture(autouse=True)
def alarm() -> Iterator[None]:
    """Give SIGALRM back."""
    before = signal.getsignal(signal.SIGALRM)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("busy", [False, True], ids=["alone", "beside a busy thread"])
def test_python_handlers_run_while_blocked(base: EventBase, run: Run, busy: bool) -> None:
    """A handler of signal.signal() runs at once though the loop waits, and may stop it."""
    stop: list[bool] = []

    def work() -> None:
        while not stop:
            sum(range(100))

    thread = threading.Thread(target=work)
    if busy:
        thread.start()
    taken: list[float] = []

    def handler(number: int, frame: object) -> None:
        taken.append(time.monotonic() - due)
        base.loop_break()

    signal.signal(signal.SIGALRM, handler)
    for _ in range(3):
        due = time.monotonic() + 0.02
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        run(base, exit_on_empty=False)
    stop.append(True)
    if busy:
        thread.join()
    assert len(taken) == 3
    assert sorted(taken)[1] < 0.1


def test_a_loop_in_another_thread_leaves_handlers_to_the_main_one() -> None:
    """A base that a second thread dispatches does not touch Python's wake-up descriptor."""
    seen: list[int] = []
    ready = threading.Event()
    with EventBase() as base:
        base.call_soon(ready.set)

        def serve() -> None:
            base.dispatch(exit_on_empty=False)

        thread = threading.Thread(target=serve)
        thread.start()
        ready.wait(10)
        before = signal.set_wakeup_fd(-1)
        base.loop_break()
        thread.join(10)
    assert (before, seen) == (-1, [])


def test_the_wakeup_descriptor_of_another_is_served_and_given_back(base: EventBase, run: Run) -> None:
    """Who had set_wakeup_fd() before gets its bytes meanwhile, also the last, and has it again."""
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    signal.signal(signal.SIGALRM, lambda number, frame: None)
    before = signal.set_wakeup_fd(right.fileno())
    try:
        base.call_later(0.005, signal.raise_signal, signal.SIGALRM)
        base.call_later(0.02, int)
        run(base)
        assert left.recv(10) == bytes([signal.SIGALRM])

        def at_the_last_moment() -> None:
            signal.raise_signal(signal.SIGALRM)
            base.loop_break()

        base.call_soon(at_the_last_moment)
        run(base)
        assert left.recv(10) == bytes([signal.SIGALRM])
    finally:
        assert signal.set_wakeup_fd(before) == right.fileno()
        left.close()
        right.close()


def test_a_wakeup_descriptor_set_in_a_callback_stays(plain_base: EventBase) -> None:
    """What a callback sets with set_wakeup_fd() is not undone when dispatch() returns."""
    left, right = socket.socketpair()
    right.setblocking(False)
    try:
        plain_base.call_soon(signal.set_wakeup_fd, right.fileno())
        plain_base.dispatch()
        assert signal.set_wakeup_fd(-1) == right.fileno()
    finally:
        signal.set_wakeup_fd(-1)
        left.close()
        right.close()


@pytest.mark.parametrize("blocks", [True, False], ids=["blocked", "in a pass"])
def test_ctrl_c_is_noticed_without_the_wakeup_descriptor(blocks: bool) -> None:
    """Also when a callback has taken it away, as asyncio's add_signal_handler() does."""
    code = f"""
import signal
from libevent_cffi import EventBase
from libevent_cffi._native import wakeup
base = EventBase()
base.call_soon(signal.set_wakeup_fd, -1)
base.call_soon(lambda: print("ready", flush=True))
if not {blocks}:
    base.every(0.05, int)
base.dispatch(exit_on_empty=False)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.05)  # until it waits; it is noticed before, too
        process.send_signal(signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=20)
        finally:
            process.kill()
    assert errors.rstrip().endswith("KeyboardInterrupt")


def test_the_wakeup_descriptor_is_given_back_after_a_failure(plain_base: EventBase) -> None:
    """Also when dispatch() raises."""
    plain_base.call_soon(int, "x")
    with pytest.raises(ValueError, match="invalid literal"):
        plain_base.dispatch()
    assert signal.set_wakeup_fd(-1) == -1


def test_nested_loops_lend_it_in_turn(plain_base: EventBase) -> None:
    """An inner loop's handlers run, and the outer one has its descriptor again."""
    seen: list[str] = []
    signal.signal(signal.SIGALRM, lambda number, frame: seen.append("handler"))
    with EventBase() as inner:
        inner.call_later(0.3, seen.append, "inner")

        def nest() -> None:
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            inner.dispatch()
            signal.setitimer(signal.ITIMER_REAL, 0.01)

        plain_base.call_soon(nest)
        plain_base.call_later(0.6, seen.append, "outer")
        plain_base.dispatch()
    assert seen == ["handler", "inner", "handler", "outer"]
    assert signal.set_wakeup_fd(-1) == -1


def test_a_wakeup_descriptor_that_was_closed_meanwhile_is_not_given_back(plain_base: EventBase) -> None:
    """dispatch() leaves none then, and the base works on."""
    seen: list[str] = []
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    signal.set_wakeup_fd(theirs.fileno())
    plain_base.call_later(0.001, theirs.close)
    plain_base.dispatch()
    assert signal.set_wakeup_fd(-1) == -1
    assert not plain_base.running
    plain_base.call_soon(seen.append, "again")
    plain_base.dispatch()
    assert seen == ["again"]
    ours.close()


def _strike(number: int, error: BaseException) -> Callable[..., Any]:
    """Return a trace function that raises *error* at instruction *number* of what ends a loop."""
    codes = {wakeup.Standin.end.__code__, wakeup.Standin.give_wakeup_back.__code__}
    left = [number]

    def trace(frame: FrameType, what: str, argument: object) -> Any:
        if frame.f_code not in codes:
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        if what == "opcode":
            left[0] -= 1
            if left[0] < 0:
                raise error
        return trace

    return trace


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="only CPython traces instructions")
def test_whatever_strikes_the_end_of_a_loop_all_is_given_back(plain_base: EventBase) -> None:
    """
    A handler of the user's own may raise between any two instructions.

    In Standin.end() that left the guard in place for SIGINT, and the loop on the stack of those that run.
    """
    number, was_struck, before = 0, True, sys.gettrace()
    while was_struck:
        plain_base.call_soon(int)
        sys.settrace(_strike(number, RuntimeError(number)))
        try:
            plain_base.dispatch()
        except RuntimeError:
            was_struck = True
        else:
            was_struck = False
        finally:
            sys.settrace(before)
        assert (wakeup._stack, wakeup._lent, plain_base.running) == ([], [], False)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert signal.set_wakeup_fd(-1) == -1
        number += 1
    assert number > 20


def test_no_descriptor_is_left_and_nothing_is_printed() -> None:
    """A thousand handlers in a hundred loops print nothing to stderr and leak no descriptor."""
    code = """
import os, signal
from libevent_cffi import EventBase
from libevent_cffi._native import wakeup
seen = []
signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))
def send():
    for _ in range(10):
        os.kill(os.getpid(), signal.SIGUSR1)
EventBase().close()
before = sorted(os.listdir("/dev/fd"))
for _ in range(100):
    with EventBase() as base:
        base.call_soon(send)
        base.call_later(0.001, int)
        base.dispatch()
print(sorted(os.listdir("/dev/fd")) == before, len(seen) >= 100)
"""
    assert output_of(code).split() == ["True", "True"]


def test_ctrl_c_of_a_program_is_quiet() -> None:
    """A program that lets KeyboardInterrupt go ends by it, with one traceback and nothing else on stderr."""
    code = """
from libevent_cffi import EventBase
from libevent_cffi._native import wakeup
base = EventBase()
base.call_soon(lambda: print('ready', flush=True))
base.dispatch(exit_on_empty=False)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert errors.startswith("Traceback")
    assert errors.count("Traceback") == 1
    assert errors.rstrip().endswith("KeyboardInterrupt")
