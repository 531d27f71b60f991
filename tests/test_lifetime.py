"""When things end: closed objects, every order of closing, dropped references, and slots used again."""

from __future__ import annotations

import gc
import inspect
import itertools
import os
import random
import signal
import socket
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import output_of

from libevent_cffi import PERSIST, READ, BufferEvent, Event, EventBase, Signal, Timer, dns, http, util
from libevent_cffi._native import lib
from libevent_cffi.bufferevent import FilterBufferEvent
from libevent_cffi.errors import CancelledError, ClosedError, LoopBusyError
from libevent_cffi.event import CommonTimeout, Operation
from libevent_cffi.flags import EventCount, EventFlag, LoopFlag
from libevent_cffi.listener import Listener
from libevent_cffi.tls import TLSContext
from libevent_cffi.watch import CheckWatcher, PrepareWatcher

IS_PYPY = sys.implementation.name == "pypy"


def collect() -> None:
    """Collect what is garbage; PyPy needs a second round for what the first one finalized."""
    gc.collect()
    gc.collect()


@pytest.fixture
def no_leak() -> Iterator[None]:
    """C holds as many blocks after the test as before."""
    before = util.memory_counters().blocks
    yield
    if util.memory_counters().blocks > before:
        collect()
    assert util.memory_counters().blocks <= before


def nothing(*_: object) -> None:
    """Be a callback."""


def started(base: EventBase, callback: Callable[..., object] | None = None) -> Operation[Any]:
    """Start an operation, as the library's asynchronous calls do."""
    return Operation._start(base, callback, ())


# -- after close() -------------------------------------------------------------------------------------------

MAKERS: dict[str, Callable[[EventBase], Any]] = {
    "EventBase": lambda base: base,
    "Event": lambda base: Event(base, None, PERSIST, nothing),
    "Timer": lambda base: Timer(base, nothing),
    "Signal": lambda base: Signal(base, signal.SIGUSR1, nothing),
    "PrepareWatcher": lambda base: PrepareWatcher(base, nothing),
    "CheckWatcher": lambda base: CheckWatcher(base, nothing),
}

ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "EventBase.loop": (LoopFlag.NONBLOCK,),
    "EventBase.call_soon": (nothing,),
    "EventBase.call_soon_threadsafe": (nothing,),
    "EventBase.call_later": (0, nothing),
    "EventBase.every": (1, nothing),
    "EventBase.on_readable": (0, nothing),
    "EventBase.on_writable": (0, nothing),
    "EventBase.on_signal": (signal.SIGUSR1, nothing),
    "EventBase.once": (None, EventFlag(0), nothing),
    "EventBase.common_timeout": (1.0,),
    "EventBase.activate_fd": (0, READ),
    "EventBase.activate_signal": (signal.SIGUSR1,),
    "Event.finalize": (nothing,),
    "Timer.finalize": (nothing,),
    "Signal.finalize": (nothing,),
    "Timer.add": (1.0,),
}

#: What a closed object still tells: what it was made of, and that it is closed.
TELLING = {
    "EventBase": {
        "method", "features", "priorities", "running", "closed", "got_exit", "got_break", "running_event",
        "statistics", "supported_methods", "signal_method", "error_handler", "close", "wait",
    },
    "Event": {"base", "fd", "events", "callback", "args", "keepalive", "priority", "closed", "close"},
    "Timer": {"base", "fd", "events", "callback", "args", "keepalive", "priority", "closed", "close"},
    "Signal": {
        "base", "fd", "events", "callback", "args", "keepalive", "priority", "closed", "close", "signum",
    },
    "PrepareWatcher": {"base", "closed", "close"},
    "CheckWatcher": {"base", "closed", "close"},
}  # fmt: skip


def public_names(kind: str) -> list[str]:
    owner = type(MAKERS[kind](EventBase()))
    return [name for name in dir(owner) if not name.startswith("_")]


MEMBERS = [(kind, name) for kind in MAKERS for name in public_names(kind)]


def use(thing: Any, kind: str, name: str) -> Any:
    """Read the attribute, and call it when it is a method."""
    value = getattr(thing, name)
    if name in ("callback", "error_handler") or not callable(value):
        return value
    if name == "wait":
        return value(started(EventBase()))
    arguments = ARGUMENTS.get(f"{kind}.{name}", ())
    try:
        inspect.signature(value).bind(*arguments)
    except TypeError as error:
        pytest.fail(
            f"{kind}.{name}() cannot be tried with {arguments}: give it others in ARGUMENTS ({error})"
        )
    return value(*arguments)


@pytest.mark.parametrize("owner_closed", [False, True], ids=["itself", "its base"])
@pytest.mark.parametrize(("kind", "name"), MEMBERS, ids=[f"{kind}.{name}" for kind, name in MEMBERS])
def test_a_closed_object_refuses_all_but_what_it_tells(
    no_leak: None, kind: str, name: str, owner_closed: bool
) -> None:
    """After close() every method and property raises ClosedError, or is among those that still tell."""
    base = EventBase()
    thing = MAKERS[kind](base)
    if kind in ("Event", "Timer", "Signal"):
        thing.add(1.0)
    (base if owner_closed else thing).close()
    assert thing.closed
    assert "closed" in repr(thing)
    if name == "wait":
        with pytest.raises(ValueError, match="another base"):
            use(thing, kind, name)
    elif name in TELLING[kind]:
        use(thing, kind, name)
    else:
        with pytest.raises(ClosedError):
            use(thing, kind, name)
    base.close()
    del thing, base


@pytest.mark.parametrize("kind", MAKERS)
def test_setting_and_entering_a_closed_object_is_refused(no_leak: None, kind: str) -> None:
    """``with`` a closed object is ClosedError, and so is setting its priority."""
    base = EventBase(priorities=2)
    thing = MAKERS[kind](base)
    thing.close()
    with pytest.raises(ClosedError), thing:
        pass
    if hasattr(type(thing), "priority"):
        with pytest.raises(ClosedError):
            thing.priority = 1
    base.close()


@pytest.mark.parametrize("kind", MAKERS)
def test_constructing_on_a_closed_base_is_refused(no_leak: None, kind: str) -> None:
    """No object can be made on a base that is closed."""
    base = EventBase()
    base.close()
    if kind != "EventBase":
        with pytest.raises(ClosedError):
            MAKERS[kind](base)


@pytest.mark.parametrize("kind", MAKERS)
def test_close_may_be_called_any_number_of_times(no_leak: None, kind: str) -> None:
    """close() of what is closed, by itself or with its base, does nothing."""
    base = EventBase()
    thing = MAKERS[kind](base)
    for _ in range(3):
        thing.close()
    base.close()
    thing.close()
    base.close()
    del thing


def test_what_a_call_refuses_leaves_nothing_behind(plain_base: EventBase) -> None:
    """A closed event that was refused is in no table of the base."""
    timer = Timer(plain_base, nothing)
    timer.close()
    for call in (timer.add, timer.activate, timer.delete, timer.cancel, timer.remove_timer):
        with pytest.raises(ClosedError):
            call(*((1.0,) if call == timer.add else ()))
    assert plain_base.events() == []
    assert plain_base.count() == 0


def test_common_timeout_of_a_closed_base(no_leak: None) -> None:
    """A CommonTimeout outlives its base as a number; the base gives no more of them."""
    base = EventBase()
    common = base.common_timeout(2.0)
    assert isinstance(common, CommonTimeout)
    base.close()
    assert common.seconds == 2.0
    assert common.base is base
    with pytest.raises(ClosedError):
        base.common_timeout(2.0)
    with pytest.raises(ClosedError):
        base.call_later(common, nothing)


def test_an_operation_of_a_closed_base_is_cancelled(no_leak: None) -> None:
    """Operations that run when their base closes finish with CancelledError; their callbacks hear of it."""
    base = EventBase()
    told: list[object] = []
    silent, loud = started(base), started(base, told.append)
    base.close()
    assert silent.done
    assert silent.cancelled
    assert told == [loud]
    assert isinstance(loud.error, CancelledError)
    assert not loud.cancel()
    for operation in (silent, loud):
        with pytest.raises(CancelledError):
            operation.result()
        with pytest.raises(CancelledError):
            operation.wait(0)
    assert silent.base is base


def test_an_operation_can_be_finished_once(plain_base: EventBase, run: Callable[..., None]) -> None:
    """Of a result, a failure and a cancellation the first counts; the callback runs once, in a later pass."""
    told: list[object] = []
    operation = started(plain_base, told.append)
    assert operation._finish(5)
    assert not operation._finish(6)
    assert not operation.cancel()
    assert told == []
    run(plain_base)
    assert told == [operation]
    assert operation.result() == 5


# -- orders of closing ---------------------------------------------------------------------------------------


def everything(base: EventBase, pair: tuple[socket.socket, socket.socket]) -> dict[str, Any]:
    """One object of each kind, pending where it can be."""
    left, _ = pair
    return {
        "base": base,
        "event": Event(base, left, READ | PERSIST, nothing).add(5.0),
        "timer": base.every(0.001, nothing),
        "signal": base.on_signal(signal.SIGUSR2, nothing),
        "watcher": PrepareWatcher(base, nothing),
    }


@pytest.mark.parametrize(
    "order", list(itertools.permutations(["base", "event", "timer", "signal", "watcher"]))
)
def test_every_order_of_closing_ends_well(
    no_leak: None, pair: tuple[socket.socket, socket.socket], order: tuple[str, ...]
) -> None:
    """Whatever is closed first, the rest can be closed after it, and C keeps nothing."""
    base = EventBase()
    things = everything(base, pair)
    base.poll()
    for name in order:
        things[name].close()
        assert things[name].closed
    assert all(thing.closed for thing in things.values())
    assert base.statistics().pending == 0
    things.clear()


@pytest.mark.parametrize("kept", ["base", "event", "timer", "signal", "watcher", "nothing"])
def test_any_one_reference_left_is_safe(pair: tuple[socket.socket, socket.socket], kept: str) -> None:
    """An object whose companions were all dropped still works, and the base goes with the last of them."""
    collect()
    before = util.memory_counters().blocks
    things = everything(EventBase(), pair)
    watch = weakref.ref(things["base"])
    last = things.get(kept)
    things.clear()
    collect()
    assert (watch() is None) == (last is None)
    if last is not None:
        assert not last.closed
        last.close()
    del last
    collect()
    assert watch() is None
    assert util.memory_counters().blocks == before


# -- dropping references -------------------------------------------------------------------------------------


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
    assert util.memory_counters().blocks == before


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
    assert util.memory_counters().blocks == before


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


# -- closing inside callbacks --------------------------------------------------------------------------------


@pytest.mark.parametrize("persist", [False, True])
@pytest.mark.parametrize("ending", ["close", "delete"])
def test_an_event_may_end_itself_in_its_callback(
    base: EventBase,
    pair: tuple[socket.socket, socket.socket],
    run: Callable[..., None],
    ending: str,
    persist: bool,
) -> None:
    """close() and delete() inside one's own callback: it runs no more, and the loop goes on."""
    left, right = pair
    right.send(b"x")
    told: list[object] = []

    def end(*_: object) -> None:
        told.append(event.pending)
        getattr(event, ending)()

    event = Event(base, left, READ | (PERSIST if persist else EventFlag(0)), end).add()
    base.call_later(0.01, told.append, "on")
    run(base)
    assert told == [READ if persist else EventFlag(0), "on"]
    assert event.closed == (ending == "close")


def test_an_event_may_close_the_others_of_its_pass(base: EventBase, run: Callable[..., None]) -> None:
    """Of events that are active together, the one that runs first may close the rest: none of them runs."""
    told: list[int] = []
    events: list[Event] = []

    def first(number: int) -> None:
        told.append(number)
        for event in events:
            event.close()

    for number in range(200):
        event = Event(base, None, EventFlag(0), lambda fd, what, n: first(n), number)
        event.activate()
        events.append(event)
    run(base)
    assert told == [0]


def test_an_event_may_close_and_replace_the_others_of_its_pass(
    base: EventBase, run: Callable[..., None]
) -> None:
    """A slot that was given up and used again in the same pass belongs to the new event only."""
    told: list[str] = []
    events: list[Event] = []

    def replace(*_: object) -> None:
        for event in events:
            event.close()
        for number in range(len(events)):
            Event(base, None, EventFlag(0), lambda fd, what, n: told.append(f"new {n}"), number).activate()

    Event(base, None, EventFlag(0), replace).activate()
    for _ in range(100):
        events.append(Event(base, None, EventFlag(0), lambda fd, what: told.append("old")))
        events[-1].activate()
    run(base)
    assert told == [f"new {number}" for number in range(100)]


def test_a_check_watcher_may_close_the_event_that_is_due(base: EventBase, run: Callable[..., None]) -> None:
    """
    What a check watcher closes does not run, though C has picked it already.

    On 2.1 the watcher runs inside the first event's own callback, whose memory goes with close().
    """
    told: list[str] = []
    timer = base.call_later(0.001, told.append, "timer")
    watcher = CheckWatcher(base, lambda watcher: (timer.close(), watcher.close()))
    run(base)
    assert told == []
    assert watcher.closed


def connection(base: EventBase, pair: tuple[socket.socket, socket.socket], **keywords: Any) -> BufferEvent:
    """Make a connection over one of two sockets, which can be had again."""
    return BufferEvent(base, os.dup(pair[0].fileno()), **keywords)


def asked(server: dns.Server) -> None:
    """Send it a question."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"\0\1\1\0\0\1\0\0\0\0\0\0\1a\0\0\1\0\1", server.address)


CALLERS = {
    "on_read": lambda base, pair, act: (pair[1].send(b"x"), connection(base, pair, on_read=act)),
    "on_write": lambda base, pair, act: connection(base, pair, on_write=act).write(b"x"),
    "on_event": lambda base, pair, act: (
        pair[1].shutdown(socket.SHUT_WR),
        connection(base, pair, on_event=act),
    ),
    "filter": lambda base, pair, act: (
        pair[1].send(b"x"),
        FilterBufferEvent(connection(base, pair), act),
    ),
    "look-up": lambda base, pair, act: dns.Resolver(base, resolv_conf=False).getaddrinfo("::1", 80, act),
    "DNS server": lambda base, pair, act: asked(dns.Server(base, ("127.0.0.1", 0), act)),
    "event": lambda base, pair, act: Event(base, pair[0], EventFlag.WRITE, act).add(),
    "persistent event": lambda base, pair, act: Event(base, pair[0], EventFlag.WRITE | PERSIST, act).add(),
    "plain event": lambda base, pair, act: base.on_writable(pair[0], act),
    "timer": lambda base, pair, act: base.call_later(0.0, act),
    "interval": lambda base, pair, act: base.every(0.001, act),
    "user event": lambda base, pair, act: Event(base, None, EventFlag(0), act).activate(),
    "signal": lambda base, pair, act: (
        base.on_signal(signal.SIGUSR1, act),
        signal.raise_signal(signal.SIGUSR1),
    ),
    "activated signal": lambda base, pair, act: Signal(base, signal.SIGUSR1, act).add().activate(count=5),
    "call_soon": lambda base, pair, act: base.call_soon(act),
    "call_soon_threadsafe": lambda base, pair, act: base.call_soon_threadsafe(act),
    "prepare watcher": lambda base, pair, act: (PrepareWatcher(base, act), base.call_soon(nothing)),
    "check watcher": lambda base, pair, act: (CheckWatcher(base, act), base.call_soon(nothing)),
    "once": lambda base, pair, act: base.once(None, EventFlag(0), act, timeout=0.0),
    "finalizer": lambda base, pair, act: Event(base, None, PERSIST, nothing).finalize(act),
    "error handler": lambda base, pair, act: (
        setattr(base, "error_handler", act),
        base.call_soon(lambda: 1 / 0),
    ),
    "operation": lambda base, pair, act: started(base, act)._finish(1),
}


@pytest.fixture(params=CALLERS)
def caller(request: pytest.FixtureRequest) -> Callable[..., object]:
    """Each way in which a base calls back."""
    made: Callable[..., object] = CALLERS[request.param]
    return made


def test_a_base_may_be_closed_inside_any_callback(
    base: EventBase,
    pair: tuple[socket.socket, socket.socket],
    run: Callable[..., None],
    caller: Callable[..., object],
) -> None:
    """
    base.close() in a callback: it is closed at once, no other callback runs, dispatch() returns.

    Signals that came several times, watchers and calls that were queued together are no exception.
    """
    told: list[str] = []

    def act(*_: object) -> None:
        told.append("close")
        base.close()
        assert base.closed
        base.close()
        with pytest.raises(ClosedError):
            base.call_soon(told.append, "late")

    base.call_later(0.5, told.append, "late timer")
    caller(base, pair, act)
    caller(base, pair, act)
    run(base, exit_on_empty=False)
    # What a base owes, finalizers and completions, it still tells at its end.
    owed = [CALLERS[name] for name in ("finalizer", "operation", "look-up")]
    assert told == ["close"] * (2 if caller in owed else 1)
    assert base.closed
    assert not base.running
    with pytest.raises(ClosedError):
        base.dispatch()


def test_a_base_may_be_closed_inside_with(pair: tuple[socket.socket, socket.socket], no_leak: None) -> None:
    """The end of ``with`` closes what may be closed already."""
    with (
        EventBase() as base,
        Event(base, pair[0], READ, nothing) as event,
        base.call_later(5, nothing) as timer,
    ):
        event.add()
        base.close()
        assert event.closed
        assert timer.closed
    assert base.closed


def test_leaving_with_inside_a_callback_closes_the_running_base(no_leak: None) -> None:
    """``with base`` inside its own callback stops the loop."""
    base = EventBase()
    told: list[int] = []

    def enter() -> None:
        with base:
            told.append(1)

    base.call_soon(enter)
    base.call_soon(told.append, 2)
    base.dispatch()
    assert told == [1]
    assert base.closed


def test_a_callback_may_close_an_idle_base(plain_base: EventBase, run: Callable[..., None]) -> None:
    """Another base, that is not running, can be closed with everything on it inside a callback."""
    other = EventBase()
    told: list[str] = []
    other.call_soon(told.append, "never")
    other.every(0.0, told.append, "never")
    plain_base.call_soon(other.close)
    plain_base.call_soon(told.append, "after")
    run(plain_base)
    assert told == ["after"]
    assert other.closed


def test_a_nested_loop_may_close_the_outer_base(no_leak: None) -> None:
    """The inner loop goes on when it closes the outer base; that one ends when the callback has returned."""
    outer, inner = EventBase(), EventBase()
    told: list[str] = []

    def nest() -> None:
        inner.call_soon(outer.close)
        inner.call_soon(told.append, "inner")
        inner.dispatch()
        told.append("outer")

    outer.call_soon(nest)
    outer.call_soon(told.append, "late")
    outer.dispatch()
    assert told == ["inner", "outer"]
    assert outer.closed
    inner.close()


def test_raising_after_closing_raises_from_dispatch(no_leak: None) -> None:
    """A callback that closes its base and fails: dispatch() raises its error, and the base is closed."""
    base = EventBase()

    def act() -> None:
        base.close()
        raise LookupError("mine")

    base.every(0.001, act)
    with pytest.raises(LookupError, match="mine"):
        base.dispatch()
    assert base.closed


# -- dispatching inside a callback ---------------------------------------------------------------------------


def test_a_running_base_cannot_be_dispatched_inside(
    base: EventBase,
    pair: tuple[socket.socket, socket.socket],
    run: Callable[..., None],
    caller: Callable[..., object],
) -> None:
    """dispatch(), loop(), poll() and wait() of the base whose callback runs are LoopBusyError."""
    told: list[str] = []
    operation = started(base)

    def act(*_: object) -> None:
        for call in (base.dispatch, base.loop, base.poll, lambda: base.wait(operation), base.reinit):
            try:
                call()
            except LoopBusyError:
                told.append("busy")
        base.loop_break()

    caller(base, pair, act)
    run(base)
    assert told[:5] == ["busy"] * 5
    operation.cancel()


def test_another_base_can_be_dispatched_inside(
    base: EventBase,
    pair: tuple[socket.socket, socket.socket],
    run: Callable[..., None],
    caller: Callable[..., object],
) -> None:
    """A callback may run another base to its end, three deep, and each hears its own events."""
    told: list[str] = []

    def act(*_: object) -> None:
        with EventBase() as second:

            def deeper() -> None:
                with EventBase() as third:
                    third.call_later(0.0, told.append, "third")
                    third.dispatch()
                    assert third.running_event is None
                told.append("second")
                assert second.running_event is not None

            second.call_later(0.0, deeper)
            second.dispatch()
        told.append("first")
        base.loop_break()

    caller(base, pair, act)
    run(base)
    assert told[:3] == ["third", "second", "first"]


# -- finalizers ----------------------------------------------------------------------------------------------


def test_a_finalizer_runs_once_after_the_callback(plain_base: EventBase, run: Callable[..., None]) -> None:
    """finalize() closes at once; its callback comes in a later pass, with the event."""
    told: list[object] = []

    def act() -> None:
        timer.finalize(lambda event: told.append((event, event.closed)))
        assert timer.closed
        told.append("callback")

    timer = plain_base.every(0.001, act)
    run(plain_base)
    assert told == ["callback", (timer, True)]
    with pytest.raises(ClosedError):
        timer.finalize(nothing)


def test_close_runs_the_finalizers_that_wait(no_leak: None, caplog: pytest.LogCaptureFixture) -> None:
    """base.close() runs what finalize() was given, all of it, and raises the first error afterwards."""
    base = EventBase()
    told: list[Event] = []
    events = [Event(base, None, PERSIST, nothing) for _ in range(3)]

    def fail(event: Event) -> None:
        told.append(event)
        raise LookupError("finalizer")

    for event in events:
        event.finalize(told.append if event is events[0] else fail)
    with pytest.raises(LookupError, match="finalizer"):
        base.close()
    assert told == events
    assert base.closed
    assert "another callback failed" in caplog.text
    caplog.clear()  # it holds the traceback
    base.close()


def test_a_finalizer_of_a_base_that_is_dropped_does_not_run_and_does_not_leak(no_leak: None) -> None:
    """What waits to be finalized on a base that is garbage is garbage too."""
    told: list[object] = []
    base = EventBase()
    Event(base, None, PERSIST, nothing).finalize(told.append)
    del base
    collect()
    assert told == []


# -- tokens and slots ----------------------------------------------------------------------------------------


def test_a_token_is_good_for_one_life(plain_base: EventBase) -> None:
    """C ignores the token of an event that is gone, also when its slot is another event's now."""
    old = plain_base.every(50, nothing)
    token = old._token
    old.close()
    new = plain_base.every(50, nothing)
    index = (1 << 24) - 1
    assert new._token & index == token & index
    assert new._token != token
    l = plain_base._l  # noqa: E741
    assert lib.lev_event_pending(l, token, lib_null()) == 0
    assert lib.lev_event_delete(l, token) == 0
    assert lib.lev_event_remove_timer(l, token) == 0
    assert new.pending == EventFlag.TIMEOUT
    for wrong in (-1, -2, index, 1 << 62, token + 1):
        assert lib.lev_event_delete(l, wrong) == 0
        assert lib.lev_event_pending(l, wrong, lib_null()) == 0
        assert lib.lev_event_pointer(l, wrong) == lib_null()
    assert new.pending


def lib_null() -> Any:
    """C's NULL."""
    from libevent_cffi._native import ffi

    return ffi.NULL


@pytest.mark.skipif(bool(lib.lev_debug_mode_on), reason="debug mode's table keeps the size it once had")
def test_a_hundred_thousand_events_in_random_order_return_their_memory(plain_base: EventBase) -> None:
    """Slots are found again whatever the order, no two events share one, and empty chunks are freed."""
    dice = random.Random(7)
    timer = plain_base.call_later(90, nothing)
    timer.close()
    before = util.memory_counters()
    alive: list[Timer] = []
    made = 0
    while made < 100_000:
        for _ in range(dice.randrange(1, 4000)):
            alive.append(plain_base.call_later(90, nothing))
            made += 1
        dice.shuffle(alive)
        for timer in alive[: dice.randrange(len(alive) + 1)]:
            timer.close()
        alive = [timer for timer in alive if not timer.closed]
        assert lib.lev_base_used(plain_base._l) == len(alive) == len(plain_base.events())
    assert len({timer._token for timer in alive}) == len(alive)
    assert all(timer.pending for timer in alive)
    dice.shuffle(alive)
    for timer in alive:
        timer.close()
    alive.clear()
    after = util.memory_counters()
    assert lib.lev_base_used(plain_base._l) == 0
    # libevent's heap of timers and our list of chunks keep their size; the chunks themselves are gone.
    assert after.blocks <= before.blocks + 2
    assert after.bytes - before.bytes < 2_000_000


@pytest.mark.skipif(bool(lib.lev_debug_mode_on), reason="debug mode's table keeps the size it once had")
def test_a_dropped_base_with_a_hundred_thousand_timers_is_freed() -> None:
    """All of it returns at once."""
    collect()
    before = util.memory_counters()
    base = EventBase()
    for _ in range(100_000):
        base.call_later(90, nothing)
    assert base.count(EventCount.ADDED) == 100_000
    del base
    collect()
    assert util.memory_counters()[:2] == before[:2]


def test_closing_while_c_holds_an_undelivered_event() -> None:
    """
    A base that closes with events that were put aside forgets them.

    A raising callback has the others of its pass put aside for the next dispatch().
    """
    told = output_of(
        """
import gc
from libevent_cffi import Event, EventBase, util
from libevent_cffi.flags import EventFlag
EventBase().close()  # debug mode makes its table for the first one
gc.collect()
before = util.memory_counters().blocks
for ending in ("close", "delete", "drop"):
    base = EventBase()
    told = []
    def fail(*_):
        raise LookupError
    first = Event(base, None, EventFlag(0), fail)
    rest = [Event(base, None, EventFlag(0), lambda *_: told.append(1)) for _ in range(5)]
    first.activate()
    for event in rest:
        event.activate()
    try:
        base.dispatch()
    except LookupError:
        pass
    for event in rest[:2]:
        event.delete()
    if ending == "delete":
        base.dispatch()
        assert told == [1, 1, 1], told
    if ending != "drop":
        base.close()
    del base, first, rest, event, fail
    gc.collect(); gc.collect()
    assert util.memory_counters().blocks == before, ending
"""
    )
    assert told == ""


def test_a_signal_activated_in_its_own_callback_leaves_the_base_in_the_end(base: EventBase) -> None:
    """
    What was never added is nobody's when its last call is told, also when a callback asked for more of them.

    C had the event active once more then, with nothing left to tell, and gave its slot up unnoticed.
    """
    told: list[int] = []

    def again(number: int) -> None:
        told.append(number)
        if len(told) == 1:
            event.activate(count=2)

    event = Signal(base, signal.SIGUSR1, again)
    event.activate(count=2)
    while base.poll():
        pass
    assert told == [signal.SIGUSR1] * 4
    assert base.events() == []
    assert base.statistics().live == {}


@pytest.mark.parametrize(
    "kind",
    [
        *("listener", "resolver", "dns.Server", "http.Server", "http.Connection"),
        pytest.param("tls", marks=pytest.mark.skipif(not lib.LEV_HAS_TLS, reason="this build has no TLS")),
    ],
)
def test_what_has_a_base_or_a_context_is_not_made_again(base: EventBase, kind: str) -> None:
    """A second __init__() is refused, and leaves the object as it was."""
    address = ("127.0.0.1", 0)
    makes: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "listener": (Listener, (base, address, print)),
        "resolver": (dns.Resolver, (base,)),
        "dns.Server": (dns.Server, (base, address, print)),
        "http.Server": (http.Server, (base, print)),
        "http.Connection": (http.Connection, (base, ("127.0.0.1", 1))),
        "tls": (TLSContext, ()),
    }
    cls, arguments = makes[kind]
    made = cls(*arguments)
    with pytest.raises(RuntimeError, match="was made already: make another"):
        made.__init__(*arguments)
    if kind != "tls":
        assert not made.closed
        made.close()
