"""Callbacks that close things, their base too, or dispatch; and finalizers."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from typing import Any

import pytest
from living import collect, nothing, started

from libevent_cffi import PERSIST, READ, BufferEvent, Event, EventBase, Signal, dns
from libevent_cffi.bufferevent import FilterBufferEvent
from libevent_cffi.errors import ClosedError, LoopBusyError
from libevent_cffi.flags import EventFlag
from libevent_cffi.watch import CheckWatcher, PrepareWatcher

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


@pytest.mark.parametrize("inside", [False, True], ids=["outside", "in a callback"])
def test_a_finalizer_that_exits_leaves_the_others_their_turn(no_leak: None, inside: bool) -> None:
    """
    What is not an Exception is raised by close() as well, before one that is, when all the others have run.

    close() took the finalizers off the queue and stopped at the first SystemExit, and others were never told.
    """
    base = EventBase()
    told: list[str] = []

    def fail(event: Event) -> None:
        told.append("fail")
        raise LookupError

    def leave(event: Event) -> None:
        told.append("leave")
        raise SystemExit(3)

    def finish() -> None:
        for finalizer in (fail, leave, lambda event: told.append("last")):
            Event(base, None, PERSIST, nothing).finalize(finalizer)
        base.close()

    if inside:
        base.call_soon(finish)
    with pytest.raises(SystemExit):
        (base.dispatch if inside else finish)()
    assert told == ["fail", "leave", "last"]
    assert base.closed


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
