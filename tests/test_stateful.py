"""
Random programs: what a user can do to bases, events and watchers, in any order, from any callback.

Each program is a seed.  A failure names it; LIBEVENT_CFFI_SEED=n runs that one alone, and
LIBEVENT_CFFI_PROGRAMS=n that many.  Nothing may be called after its end or its base's, and nothing may be
left when all is closed.
"""

from __future__ import annotations

import contextlib
import gc
import os
import random
import signal
import socket
from collections.abc import Callable
from typing import Any

import pytest

from libevent_cffi import PERSIST, READ, WRITE, Event, EventBase, Signal, Timer, util
from libevent_cffi._native import lib
from libevent_cffi.errors import ClosedError, LoopBusyError
from libevent_cffi.event import Operation
from libevent_cffi.flags import EventFlag, LoopFlag
from libevent_cffi.watch import CheckWatcher, PrepareWatcher

PROGRAMS = int(os.environ.get("LIBEVENT_CFFI_PROGRAMS", "1000"))
SEED = os.environ.get("LIBEVENT_CFFI_SEED")
STEPS = 60
MOST_CALLS = 300


class Mine(Exception):
    """What callbacks raise."""


class World:
    """One program: its objects, and what happened to them."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.bases: list[EventBase] = []
        self.events: list[Event] = []
        self.watchers: list[PrepareWatcher | CheckWatcher] = []
        self.operations: list[Operation[int]] = []
        self.ended: set[int] = set()  # ids of objects that were closed; they stay referred to below
        self.everything: list[Any] = []
        self.posted = self.heard = self.dropped = 0
        self.calls = self.depth = self.steps = 0
        self.left, self.right = socket.socketpair()
        self.left.setblocking(False)
        self.right.setblocking(False)
        self.new_base()

    # -- callbacks -------------------------------------------------------------------------------------------

    def called(self, thing: Any) -> None:
        """Run for every callback: check that it may, then do something, and sometimes raise."""
        self.calls += 1
        if thing is not None:
            assert id(thing) not in self.ended, f"{thing!r} was called after its end"
            assert not thing.base.closed, f"{thing!r} was called after its base's end"
            assert thing.base.running, thing
        if self.calls > MOST_CALLS:
            for base in {*self.bases, *([] if thing is None else [thing.base])}:
                if base.running:
                    base.loop_break()
            return
        for _ in range(self.dice.choice((0, 0, 1, 1, 2, 4))):
            self.step()
        if self.dice.random() < 0.08:
            raise Mine

    def event_callback(self) -> tuple[Callable[..., None], list[Event]]:
        """Return a callback and where its event goes."""
        holder: list[Event] = []
        return (lambda *_: self.called(holder[0])), holder

    def told(self) -> None:
        """A posted call."""
        self.heard += 1
        self.called(None)

    # -- making ----------------------------------------------------------------------------------------------

    def new_base(self) -> None:
        if len(self.bases) < 4:
            base = EventBase(priorities=3)
            if self.dice.random() < 0.3:
                base.error_handler = self.handle
            self.bases.append(base)

    def handle(self, error: Exception, source: object) -> None:
        if not isinstance(error, Mine):
            raise error
        if self.calls < MOST_CALLS and self.dice.random() < 0.3:
            self.step()

    def base(self) -> EventBase:
        return self.dice.choice(self.bases)

    def keep(self, event: Event, holder: list[Event]) -> None:
        holder.append(event)
        self.events.append(event)
        self.everything.append(event)

    def make_event(self) -> None:
        callback, holder = self.event_callback()
        base, kind = self.base(), self.dice.randrange(6)
        if kind == 0:
            events = self.dice.choice((READ, WRITE, READ | WRITE, READ | PERSIST, WRITE | PERSIST))
            self.keep(Event(base, self.dice.choice((self.left, self.right)), events, callback), holder)
        elif kind == 1:
            self.keep(Event(base, None, self.dice.choice((PERSIST, EventFlag(0))), callback), holder)
        elif kind == 2:
            self.keep(Signal(base, self.dice.choice((signal.SIGUSR1, signal.SIGUSR2)), callback), holder)
        elif kind == 3:
            event = base.call_soon(callback, priority=self.dice.choice((None, None, 0, 2)))
            self.keep(event, holder)
        else:
            persist, keepalive = self.dice.random() < 0.4, self.dice.random() < 0.8
            self.keep(Timer(base, callback, persist=persist, keepalive=keepalive), holder)

    def make_watcher(self) -> None:
        if len(self.watchers) < 6:
            holder: list[Any] = []
            kind = self.dice.choice((PrepareWatcher, CheckWatcher))
            watcher = kind(self.base(), lambda *_: self.called(holder[0]))
            holder.append(watcher)
            self.watchers.append(watcher)
            self.everything.append(watcher)

    # -- doing -----------------------------------------------------------------------------------------------

    def add(self) -> None:
        event = self.dice.choice(self.events)
        timeout: Any = self.dice.choice((0.0, 0.0, 0.0005, 0.001, 5.0))
        if self.dice.random() < 0.1:
            timeout = event.base.common_timeout(0.001)
        event.add(None if event.fd >= 0 and self.dice.random() < 0.5 else timeout)
        assert event.pending

    def activate(self) -> None:
        event = self.dice.choice(self.events)
        event.activate(count=self.dice.choice((1, 1, 3)))
        assert event.pending

    def delete(self) -> None:
        event = self.dice.choice(self.events)
        event.delete()
        assert not event.pending
        assert event.remaining is None

    def remove_timer(self) -> None:
        event = self.dice.choice(self.events)
        event.remove_timer()
        assert event.remaining is None

    def close(self) -> None:
        event = self.dice.choice(self.events)
        event.close()
        assert event.closed
        self.ended.add(id(event))
        self.events.remove(event)

    def finalize(self) -> None:
        event = self.dice.choice(self.events)
        self.posted += 1
        event.finalize(lambda _: self.heard_last())
        self.ended.add(id(event))
        self.events.remove(event)

    def heard_last(self) -> None:
        self.heard += 1

    def drop(self) -> None:
        self.events.remove(self.dice.choice(self.events))

    def priority(self) -> None:
        event = self.dice.choice(self.events)
        try:
            event.priority = self.dice.randrange(3)
        except RuntimeError:
            assert event.pending

    def close_watcher(self) -> None:
        if self.watchers:
            watcher = self.watchers.pop(self.dice.randrange(len(self.watchers)))
            watcher.close()
            self.ended.add(id(watcher))

    def close_base(self) -> None:
        base = self.base()
        if self.dice.random() < 0.4:
            base.close()
            assert base.closed
            self.bases.remove(base)
            self.new_base()

    def drop_base(self) -> None:
        if self.dice.random() < 0.3:
            base = self.base()
            self.bases.remove(base)
            self.new_base()

    def post(self) -> None:
        self.base().call_soon_threadsafe(self.told)

    def operation(self) -> None:
        if self.operations and self.dice.random() < 0.6:
            operation = self.operations.pop()
            if not operation.done:
                operation._finish(3) if self.dice.random() < 0.5 else operation.cancel()
        else:
            self.posted += 1
            self.operations.append(Operation._start(self.base(), lambda _: self.heard_last(), ()))

    def raise_signal(self) -> None:
        number = self.dice.choice((signal.SIGUSR1, signal.SIGUSR2))
        if lib.lev_signal_taken(number):
            signal.raise_signal(number)

    def write(self) -> None:
        side = self.dice.choice((self.left, self.right))
        with contextlib.suppress(BlockingIOError):
            side.send(b"x") if self.dice.random() < 0.5 else side.recv(100)

    def stop(self) -> None:
        base = self.base()
        self.dice.choice(
            (base.loop_break, base.loop_exit, base.loop_continue, lambda: base.loop_exit(after=0.001))
        )()

    def look(self) -> None:
        base = self.base()
        for event in base.events():
            assert event.pending or base.closed, event
            assert event.base is base
        assert base.statistics().stale_callbacks == 0
        assert base.count() >= 0
        assert "<" in repr(base) + repr(self.events[-1:]) + repr(self.watchers)

    def dispatch(self) -> None:
        if self.depth > 2:
            return
        base = self.base()
        self.depth += 1
        busy = base.running
        try:
            how = self.dice.randrange(3)
            if how == 0:
                base.poll(self.dice.choice((0, 0.001)))
            elif how == 1:
                base.loop(LoopFlag.NONBLOCK | LoopFlag.ONCE)
            else:
                guard = base.call_later(0.003, base.loop_break, priority=0, keepalive=False)
                base.dispatch()
                guard.close()
        except LoopBusyError:
            assert busy
        finally:
            self.depth -= 1

    # -- running ---------------------------------------------------------------------------------------------

    CHOICES = (
        ("make_event", 8), ("add", 10), ("activate", 6), ("delete", 4), ("remove_timer", 1), ("close", 3),
        ("finalize", 1), ("drop", 1), ("priority", 2), ("make_watcher", 1), ("close_watcher", 1),
        ("close_base", 1), ("drop_base", 1), ("post", 3), ("operation", 2), ("raise_signal", 2), ("write", 4),
        ("stop", 2), ("look", 1), ("dispatch", 8), ("new_base", 1),
    )  # fmt: skip
    NAMES = [name for name, weight in CHOICES for _ in range(weight)]

    def step(self) -> None:
        """Do one thing; being refused is right when something it needs is closed."""
        name = self.dice.choice(self.NAMES)
        self.steps += 1
        if not self.events:
            name = "make_event"
        try:
            getattr(self, name)()
        except ClosedError:
            assert (
                any(each.closed for each in (*self.bases, *self.events, *self.watchers)) or self.closing()
            ), name
        except Mine:
            if self.depth and self.dice.random() < 0.5:
                raise

    def closing(self) -> bool:
        """Was an object chosen whose base is gone?"""
        return any(thing.closed for thing in self.everything)

    def run(self) -> None:
        """Run the program, and close everything."""
        while self.steps < STEPS:
            with contextlib.suppress(Mine):
                self.step()
        for base in self.bases:
            base.error_handler = None
        for thing in self.everything:
            try:
                thing.base.close()
            except LoopBusyError:
                raise AssertionError(f"{thing.base!r} is still busy") from None
        for base in self.bases:
            base.close()
            assert base.statistics().pending == 0
        for operation in self.operations:
            operation.base.close()
        assert self.heard >= 0
        self.left.close()
        self.right.close()


def one_program(seed: int) -> tuple[int, int]:
    """Run the program of *seed*; return how many steps and calls it made."""
    world = World(seed)
    try:
        world.run()
    finally:
        world.left.close()
        world.right.close()
    return world.steps, world.calls


def test_random_programs(caplog: pytest.LogCaptureFixture) -> None:
    """No program crashes, hangs, calls what has ended, loses its memory, or raises what it should not."""
    caplog.set_level(100, "libevent")
    handlers = [signal.signal(number, lambda *_: None) for number in (signal.SIGUSR1, signal.SIGUSR2)]
    gc.collect()
    gc.collect()
    before = util.memory_counters().blocks
    seeds = [int(SEED)] if SEED else range(PROGRAMS)
    steps = calls = 0
    try:
        for seed in seeds:
            try:
                made = one_program(seed)
                steps, calls = steps + made[0], calls + made[1]
            except BaseException:
                print(f"LIBEVENT_CFFI_SEED={seed}")
                raise
    finally:
        for number, handler in zip((signal.SIGUSR1, signal.SIGUSR2), handlers):
            signal.signal(number, handler)
    gc.collect()
    gc.collect()
    print(f"{len(seeds)} programs, {steps} steps, {calls} callbacks")
    assert util.memory_counters().blocks <= before
