"""Operation: something that finishes later, exactly once."""

from __future__ import annotations

import copy
import gc
import logging
import pickle
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from libevent_cffi import EventBase, Operation
from libevent_cffi.errors import CancelledError, LoopBusyError

Run = Callable[..., None]


class Task(Operation[int]):
    """What the library's own operations are: a subclass that _start() makes."""

    __slots__ = ("stopped",)

    stopped: list[str]

    @classmethod
    def begin(cls, base: EventBase, callback: Any = None, *args: Any) -> Task:
        """Start one."""
        task = cls._start(base, callback, args)
        assert isinstance(task, Task)
        task.stopped = []
        return task

    def _abandon(self) -> None:
        self.stopped.append("stopped")


def test_a_result_reaches_the_callback_and_result(base: EventBase, run: Run) -> None:
    """The callback gets the operation and its args, in a later pass, once."""
    told: list[object] = []
    task = Task.begin(base, lambda *got: told.append(got), 1, "two")
    assert (task.base, task.done, task.cancelled, task.error) == (base, False, False, None)
    assert repr(task) == "<Task running>"
    with pytest.raises(RuntimeError, match="not done"):
        task.result()
    assert task._finish(42)
    assert told == []
    assert (task.done, task.cancelled, task.error, task.result()) == (True, False, None, 42)
    assert repr(task) == "<Task done>"
    run(base)
    assert told == [(task, 1, "two")]


def test_a_failure_is_an_exception_object(base: EventBase, run: Run) -> None:
    """error gives it, result() raises it."""
    told: list[Task] = []
    error = LookupError("why")
    task = Task.begin(base, told.append)
    task._finish(error=error)
    assert (task.done, task.cancelled, task.error) == (True, False, error)
    assert repr(task) == "<Task failed LookupError('why')>"
    for _ in range(2):
        with pytest.raises(LookupError, match="why"):
            task.result()
    run(base)
    assert told == [task]


def test_it_finishes_once(base: EventBase, run: Run) -> None:
    """The first end counts: result, failure or cancel()."""
    told: list[Task] = []
    task = Task.begin(base, told.append)
    assert task._finish(1)
    assert not task._finish(2)
    assert not task._finish(error=LookupError())
    assert task.cancel() is False
    assert task.result() == 1
    assert task.stopped == []
    run(base)
    assert told == [task]


def test_cancel_stops_it_and_tells(base: EventBase, run: Run) -> None:
    """What runs in C is stopped, and the callback is told with CancelledError, in a later pass."""
    told: list[Task] = []
    task = Task.begin(base, told.append)
    assert task.cancel() is True
    assert task.cancel() is False
    assert told == []
    assert task.stopped == ["stopped"]
    assert (task.done, task.cancelled) == (True, True)
    assert isinstance(task.error, CancelledError)
    assert repr(task) == "<Task cancelled>"
    with pytest.raises(CancelledError):
        task.result()
    run(base)
    assert told == [task]


def test_wait_dispatches_until_it_is_done(base: EventBase) -> None:
    """And gives the result; other events go on meanwhile."""
    told: list[int] = []
    task = Task.begin(base)
    base.every(0.005, told.append, 1)
    base.call_later(0.03, task._finish, 42)
    assert task.wait() == 42
    assert told
    assert base.wait(task) == 42
    assert task.wait(0) == 42


def test_wait_raises_its_error(base: EventBase) -> None:
    """The failure, or CancelledError."""
    task = Task.begin(base)
    base.call_later(0, lambda: task._finish(error=LookupError("mine")))
    with pytest.raises(LookupError, match="mine"):
        task.wait(5)
    task = Task.begin(base)
    base.call_later(0, task.cancel)
    with pytest.raises(CancelledError):
        task.wait(5)


def test_wait_is_over_after_its_timeout(base: EventBase) -> None:
    """TimeoutError; the operation goes on, and may be waited for again."""
    task = Task.begin(base)
    begin = time.monotonic()
    with pytest.raises(TimeoutError, match="not done after"):
        task.wait(0.03)
    assert time.monotonic() - begin >= 0.025
    with pytest.raises(TimeoutError):
        task.wait(0)
    assert not task.done
    base.call_later(0.01, task._finish, 1)
    assert task.wait(5) == 1


def test_wait_ends_with_what_does_not_keep_the_loop_alive(base: EventBase) -> None:
    """A callback with keepalive=False may finish it too."""
    task = Task.begin(base)
    base.call_later(0.01, task._finish, 1, keepalive=False)
    begin = time.monotonic()
    assert task.wait(20) == 1
    assert time.monotonic() - begin < 5


def test_wait_ends_with_a_posted_call(base: EventBase) -> None:
    """Another thread finishes it by way of the loop."""
    task = Task.begin(base)
    thread = threading.Thread(target=lambda: (time.sleep(0.02), base.call_soon_threadsafe(task._finish, 7)))
    thread.start()
    assert task.wait(20) == 7
    thread.join()


@pytest.mark.parametrize("how", ["loop_break", "loop_exit"])
def test_wait_ends_when_the_loop_is_stopped(base: EventBase, how: str) -> None:
    """RuntimeError: it would go on for ever otherwise."""
    task = Task.begin(base)
    base.call_later(0.01, getattr(base, how))
    with pytest.raises(RuntimeError, match="stopped before"):
        task.wait(20)
    assert not task.done


def test_wait_raises_what_another_callback_raised(base: EventBase) -> None:
    """As dispatch() does; the operation goes on."""

    def fail() -> None:
        raise LookupError("another")

    task = Task.begin(base)
    base.call_later(0, fail)
    with pytest.raises(LookupError, match="another"):
        task.wait(20)
    base.call_later(0, task._finish, 1)
    assert task.wait(20) == 1


def test_wait_for_what_is_another_bases_is_refused(plain_base: EventBase) -> None:
    """ValueError; and LoopBusyError inside a callback of its own."""
    told: list[str] = []
    task = Task.begin(plain_base)
    with EventBase() as other, pytest.raises(ValueError, match="another base"):
        other.wait(task)

    def inside() -> None:
        with pytest.raises(LoopBusyError):
            task.wait()
        told.append("refused")

    plain_base.call_soon(inside)
    plain_base.dispatch()
    assert told == ["refused"]


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf"), 1e300, True, "1"])
def test_wait_checks_its_timeout(plain_base: EventBase, timeout: Any) -> None:
    """As every timeout is."""
    task = Task.begin(plain_base)
    with pytest.raises((ValueError, TypeError), match="timeout"):
        task.wait(timeout)


def test_wait_takes_operations_only(plain_base: EventBase) -> None:
    """TypeError says what is wanted."""
    for thing in (None, 5, plain_base, plain_base.call_later(1, print)):
        with pytest.raises(TypeError, match="operation must be an Operation"):
            plain_base.wait(thing)  # type: ignore[arg-type]


def test_its_base_holds_it_until_it_is_done(base: EventBase) -> None:
    """Nobody needs to keep it."""
    gone = weakref.ref(Task.begin(base))
    gc.collect()
    task = gone()
    assert task is not None
    assert base.statistics().live == {"Task": 1}
    task._finish(1)
    assert base.statistics().live == {}
    del task
    for _ in range(3):
        gc.collect()
    assert gone() is None


def test_closing_the_base_cancels_it(plain_base: EventBase) -> None:
    """The callback is told, with CancelledError, in close()."""
    told: list[object] = []
    task = Task.begin(plain_base, lambda task, word: told.append((task.done, task.cancelled, word)), "a")
    silent = Task.begin(plain_base)
    plain_base.close()
    assert told == [(True, True, "a")]
    assert silent.cancelled
    with pytest.raises(CancelledError, match="closed"):
        task.result()


def test_closing_the_base_raises_what_a_completion_raised(
    plain_base: EventBase, caplog: pytest.LogCaptureFixture
) -> None:
    """All completions run; the first error is raised, the others are logged, and the base is closed."""
    told: list[int] = []

    def fail(task: Task, number: int) -> None:
        told.append(number)
        raise LookupError(number)

    for number in range(3):
        Task.begin(plain_base, fail, number)
    with pytest.raises(LookupError):
        plain_base.close()
    assert sorted(told) == [0, 1, 2]
    assert len(caplog.records) == 2
    assert plain_base.closed
    plain_base.close()


def test_a_failure_that_nobody_asks_for_is_logged(base: EventBase, caplog: pytest.LogCaptureFixture) -> None:
    """When the operation goes: there was no callback, and neither result() nor error was asked for."""
    Task.begin(base)._finish(error=LookupError("unheard"))
    for _ in range(3):
        gc.collect()
    assert [(record.name, record.levelno) for record in caplog.records] == [("libevent", logging.ERROR)]
    assert "Task failed" in caplog.text
    assert "unheard" in caplog.text


@pytest.mark.parametrize("how", ["result", "error", "callback", "cancel", "succeed"])
def test_nothing_is_logged_otherwise(
    base: EventBase, caplog: pytest.LogCaptureFixture, how: str, run: Run
) -> None:
    """Asking once is enough; a cancelled operation failed because it was told to."""
    task = Task.begin(base, (lambda task: None) if how == "callback" else None)
    if how == "cancel":
        task.cancel()
    elif how == "succeed":
        task._finish(1)
    else:
        task._finish(error=LookupError("heard"))
    if how == "result":
        with pytest.raises(LookupError):
            task.result()
    elif how == "error":
        assert task.error is not None
    run(base)
    del task
    for _ in range(3):
        gc.collect()
    assert caplog.records == []


def test_what_the_callback_raises_leaves_dispatch(base: EventBase) -> None:
    """Like any callback's; the operation has finished all the same."""

    def fail(task: Task) -> None:
        raise LookupError("in the callback")

    task = Task.begin(base, fail)
    task._finish(1)
    with pytest.raises(LookupError, match="in the callback"):
        base.dispatch()
    assert task.result() == 1


def test_it_is_made_by_the_library_only(plain_base: EventBase) -> None:
    """Neither constructed, nor copied, nor started with what is no callback."""
    with pytest.raises(TypeError, match="made by the library"):
        Operation()
    task = Task.begin(plain_base)
    for function in (copy.copy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot be pickled or copied"):
            function(task)
    with pytest.raises(TypeError, match="callback must be callable"):
        Task.begin(plain_base, 5)
    with pytest.raises(TypeError, match="args without a callback"):
        Task.begin(plain_base, None, 1)
    assert plain_base.statistics().live == {"Task": 1}
