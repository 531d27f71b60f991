"""When things end: closed objects, every order of closing, and slots used again."""

from __future__ import annotations

import inspect
import itertools
import random
import signal
import socket
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from conftest import output_of, same_blocks
from living import collect, nothing, started

from libevent_cffi import PERSIST, READ, Event, EventBase, Signal, Timer, dns, http, util
from libevent_cffi._native import lib
from libevent_cffi.errors import CancelledError, ClosedError
from libevent_cffi.event import CommonTimeout
from libevent_cffi.flags import EventCount, EventFlag, LoopFlag
from libevent_cffi.listener import Listener
from libevent_cffi.tls import TLSContext
from libevent_cffi.watch import CheckWatcher, PrepareWatcher

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
    assert same_blocks(util.memory_counters().blocks, before)


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
