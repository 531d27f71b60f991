"""What callbacks raise, and how a base is closed and dropped."""

from __future__ import annotations

import gc
import os
import signal
import threading
import weakref
from typing import Any

import pytest
from conftest import Pair, Run, same_blocks

from libevent_cffi import READ, Event, EventBase, EventFlag, util
from libevent_cffi.errors import ClosedError, LoopBusyError, WrongThreadError

NOTHING = EventFlag(0)


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
    assert same_blocks(util.memory_counters().blocks, before[0])
    assert len(os.listdir("/proc/self/fd")) == before[1]
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
