"""What is dropped: an event, a watcher, a call, a base with everything on it."""

from __future__ import annotations

import gc
import signal
import socket
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from conftest import output_of, same_blocks
from living import collect, nothing, started

from libevent_cffi import PERSIST, READ, Event, EventBase, util
from libevent_cffi.flags import EventFlag
from libevent_cffi.watch import CheckWatcher, PrepareWatcher


class Callback:
    """A callback that can be watched."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, *_: object) -> None:
        """Count."""
        self.calls += 1


def test_an_initialized_event_is_only_its_users(plain_base: EventBase) -> None:
    """An event that was never added goes with its last reference, and its callback with it."""
    callback = Callback()
    gone = [weakref.ref(callback), weakref.ref(Event(plain_base, None, PERSIST, callback))]
    del callback
    collect()
    assert [ref() for ref in gone] == [None, None]


def test_a_pending_event_lives_until_it_has_happened(plain_base: EventBase, run: Callable[..., None]) -> None:
    """A pending event is held by its base, and by nothing after it happened."""
    callback = Callback()
    timer = weakref.ref(plain_base.call_later(0.001, callback))
    collect()
    assert timer() is not None
    run(plain_base)
    collect()
    assert callback.calls == 1
    assert timer() is None


def test_an_active_event_lives_until_its_callback_has_run(
    plain_base: EventBase, run: Callable[..., None]
) -> None:
    """An event that was activated runs once without a reference, then it is gone."""
    callback = Callback()
    event = Event(plain_base, None, EventFlag(0), callback)
    event.activate()
    ref = weakref.ref(event)
    del event
    collect()
    assert ref() is not None
    run(plain_base)
    collect()
    assert callback.calls == 1
    assert ref() is None


def test_an_event_dropped_in_its_own_callback_goes_after_it(
    plain_base: EventBase, run: Callable[..., None]
) -> None:
    """Closing and dropping an event while its callback runs ends it when the callback is over."""
    kept: list[Any] = []

    def end() -> None:
        kept.pop().close()
        collect()

    kept.append(plain_base.every(0.001, end))
    ref = weakref.ref(kept[0])
    run(plain_base)
    collect()
    assert ref() is None


@pytest.mark.parametrize("how", ["run", "close", "delete"])
def test_a_queued_call_goes_when_it_has_run_or_was_closed(
    plain_base: EventBase, run: Callable[..., None], how: str
) -> None:
    """What call_soon() queued is held until it ran, or until it is closed and the queue has passed it."""
    callback = Callback()
    timer = plain_base.call_soon(callback)
    ref = weakref.ref(timer)
    if how != "run":
        getattr(timer, how)()
    del timer
    collect()
    run(plain_base)
    collect()
    assert ref() is None
    assert callback.calls == (how == "run")


def test_a_deleted_event_is_not_held(
    plain_base: EventBase, pair: tuple[socket.socket, socket.socket]
) -> None:
    """delete() gives a pending event back to its user, with its file."""
    event = Event(plain_base, pair[0], READ | PERSIST, nothing).add()
    ref = weakref.ref(event)
    event.delete()
    del event
    collect()
    assert ref() is None


def test_a_watcher_lives_until_it_is_closed(plain_base: EventBase) -> None:
    """A watcher is held by its base until close()."""
    for kind in (PrepareWatcher, CheckWatcher):
        watcher = kind(plain_base, nothing)
        ref = weakref.ref(watcher)
        del watcher
        collect()
        found = ref()
        assert found is not None
        found.close()
        del found
        collect()
        assert ref() is None


def test_a_dropped_base_takes_everything_pending_with_it(pair: tuple[socket.socket, socket.socket]) -> None:
    """A base with events in every state, dropped, is garbage: C memory and descriptors return."""
    collect()
    before = util.memory_counters().blocks
    left, right = pair
    base = EventBase()
    right.send(b"x")
    Event(base, left, READ | PERSIST, nothing).add()
    base.every(100, base.loop_break)
    base.on_signal(signal.SIGUSR1, base.loop_exit)
    Event(base, None, EventFlag(0), nothing).activate()
    base.call_soon(base.loop_break)
    base.call_soon_threadsafe(base.loop_break)
    PrepareWatcher(base, lambda *_, b=base: b)
    CheckWatcher(base, lambda *_, b=base: b)
    idle = Event(base, None, PERSIST, base.loop_break)
    base.common_timeout(5.0)
    started(base, base.loop_break)
    base.error_handler = lambda *_, b=base: b
    ref = weakref.ref(base)
    del base, idle
    collect()
    assert ref() is None
    assert same_blocks(util.memory_counters().blocks, before)


def test_fifty_timers_on_a_dropped_base_go_in_two_collections() -> None:
    """
    Nothing in the cycle of base and timers has a finalizer but the C pointer, a leaf.

    PyPy finalizes one object of a cycle per collection, so a finalizer on each would take fifty.
    """
    collect()
    before = util.memory_counters().blocks
    base = EventBase()
    refs = [weakref.ref(base)]
    for _ in range(50):
        refs.append(weakref.ref(base.every(100, base.loop_break)))  # type: ignore[arg-type]
    del base
    gc.collect()
    gc.collect()
    assert [ref() for ref in refs] == [None] * 51
    assert same_blocks(util.memory_counters().blocks, before)


def test_many_dropped_bases_are_freed_while_another_runs(
    plain_base: EventBase, run: Callable[..., None]
) -> None:
    """Garbage bases are torn down by a collection inside another base's callback, which goes on."""
    collect()
    before = util.memory_counters().blocks
    calls = 0

    def churn() -> None:
        nonlocal calls
        calls += 1
        for _ in range(5):
            base = EventBase()
            base.every(1, base.loop_break)
            base.call_soon(base.loop_break)
        collect()
        if calls < 10:
            plain_base.call_soon(churn)

    plain_base.call_soon(churn)
    run(plain_base)
    assert calls == 10
    collect()
    # The queue's own chunk may come and go with the base that lives.
    assert util.memory_counters().blocks <= before + 4


def test_a_base_dropped_inside_its_own_callback_finishes_first(no_leak: None) -> None:
    """dispatch() holds its base; what the callback drops is collected afterwards."""
    bases = [EventBase()]
    ref = weakref.ref(bases[0])

    def drop() -> None:
        bases.clear()
        collect()

    bases[0].call_soon(drop)
    bases[0].dispatch()
    collect()
    assert ref() is None


def test_a_finalizer_may_use_the_base_that_is_dropped_with_it() -> None:
    """Python finalizes garbage in any order: a __del__ that calls a base, its own too, is answered."""
    code = """
import gc
from libevent_cffi import PERSIST, Event, EventBase
kept, wrong = [], []
class Base(EventBase):
    def __del__(self):
        use(self)
class Companion:
    def __init__(self, base):
        self.base = base
    def __del__(self):
        use(self.base)
        kept.append(self.base)
class Mine(Event):
    def __del__(self):
        tried(self.add, self.delete, self.activate, lambda: self.pending, lambda: repr(self), self.close)
def tried(*calls):
    for call in calls:
        try:
            call()
        except Exception as error:
            if type(error).__name__ != "ClosedError":
                wrong.append(error)
def use(base):
    tried(lambda: base.closed, lambda: repr(base), lambda: base.call_soon(int),
        lambda: base.call_later(0, int), base.poll, base.count, base.events, base.statistics,
        lambda: base.call_soon_threadsafe(int), base.loop_break, base.dump, base.now, base.close)
for kind in (EventBase, Base) * 30:
    base = kind()
    companion = Companion(base)
    base.call_later(100, id, companion)
    base.on_signal(10, id, companion)
    base.call_soon(id, companion)
    Mine(base, None, PERSIST, id, companion).add(50)
    del base, companion
    gc.collect()
for base in kept:
    use(base)
kept.clear()
for _ in range(5):
    gc.collect()
print(wrong)
"""
    assert output_of(code).split() == ["[]"]
