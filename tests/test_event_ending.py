"""How events end and begin again: delete(), close(), activate(), finalize(), on every method."""

from __future__ import annotations

import os
import signal

import pytest
from conftest import Pair, Run

from libevent_cffi import ET, PERSIST, READ, WRITE, ClosedError, Event, EventBase, EventFlag, Signal
from libevent_cffi.flags import Feature

TIMEOUT = EventFlag.TIMEOUT
SIGNAL = EventFlag.SIGNAL
NOTHING = EventFlag(0)


@pytest.mark.parametrize("end", ["delete", "cancel", "close"])
def test_what_was_ended_does_not_happen(base: EventBase, pair: Pair, run: Run, end: str) -> None:
    """delete(), cancel() and close() take a pending and an active event away."""
    left, right = pair
    right.send(b"x")
    pending = Event(base, left, READ | PERSIST, lambda fd, what: pytest.fail("it was ended")).add()
    active = Event(base, None, PERSIST, lambda fd, what: pytest.fail("it was ended"))
    active.activate()
    assert active.pending
    for event in (pending, active):
        getattr(event, end)()
        assert event.closed == (end == "close")
    run(base)
    assert base.count() == 0


def test_a_deleted_event_can_be_added_again(base: EventBase, pair: Pair, run: Run) -> None:
    """delete() any number of times, then add()."""
    left, right = pair
    right.send(b"x")
    told: list[EventFlag] = []
    event = Event(base, left, READ, lambda fd, what: told.append(what))
    event.delete()
    event.add().delete()
    event.delete()
    event.add()
    run(base)
    assert told == [READ]


def test_one_callback_deletes_another_active_event(base: EventBase, run: Run) -> None:
    """Of two active events the first may take the second away."""
    told: list[str] = []
    second = Event(base, None, NOTHING, lambda fd, what: told.append("second"))
    first = Event(base, None, NOTHING, lambda fd, what: (told.append("first"), second.delete()))
    first.activate()
    second.activate()
    run(base)
    assert told == ["first"]


def test_an_event_adds_itself_again_in_its_callback(base: EventBase, pair: Pair, run: Run) -> None:
    """A one-shot event that is added in its own callback is pending afterwards, once."""
    left, right = pair
    got: list[bytes] = []

    def read(fd: int, what: EventFlag) -> None:
        got.append(left.recv(1))
        if len(got) < 3:
            event.add()
            assert base.events().count(event) == 1

    event = Event(base, left, READ, read).add()
    right.send(b"abc")
    run(base)
    assert got == [b"a", b"b", b"c"]
    assert base.events() == []


def test_an_event_activates_itself_in_its_callback(base: EventBase, run: Run) -> None:
    """A one-shot event that is activated in its own callback runs again."""
    told: list[EventFlag] = []

    def happened(fd: int, what: EventFlag) -> None:
        told.append(what)
        if len(told) < 3:
            event.activate(WRITE)

    event = Event(base, None, NOTHING, happened)
    event.activate(READ)
    run(base)
    assert told == [READ, WRITE, WRITE]


def test_an_event_closes_itself_in_its_callback(base: EventBase, pair: Pair, run: Run) -> None:
    """close() in its own callback ends a persistent event, which says so afterwards."""
    left, right = pair
    right.send(b"x")
    told: list[bool] = []
    event = Event(base, left, READ | PERSIST, lambda fd, what: (event.close(), told.append(event.closed)))
    event.add()
    run(base)
    assert told == [True]
    with pytest.raises(ClosedError):
        event.add()


def test_activate_is_told_without_add(base: EventBase, pair: Pair, run: Run) -> None:
    """An event that was never added can be activated; it is not pending afterwards."""
    told: list[EventFlag] = []
    event = Event(base, pair[0], READ | PERSIST, lambda fd, what: told.append(what))
    event.activate()
    assert event.pending == READ
    run(base)
    assert told == [READ]
    assert not event.pending


def test_activate_twice_before_the_pass_is_one_call(base: EventBase, run: Run) -> None:
    """What has happened already is added to, not repeated."""
    told: list[EventFlag] = []
    event = Event(base, None, NOTHING, lambda fd, what: told.append(what))
    event.activate(READ)
    event.activate(WRITE)
    run(base)
    assert told == [READ | WRITE]


@pytest.mark.parametrize(
    ("events", "what"),
    [(READ, READ), (WRITE | READ, READ), (WRITE, WRITE), (NOTHING, TIMEOUT), (PERSIST, TIMEOUT)],
)
def test_activate_takes_what_the_event_was_made_for(
    plain_base: EventBase, pair: Pair, run: Run, events: EventFlag, what: EventFlag
) -> None:
    """Without an argument it is the first of READ, WRITE, SIGNAL, CLOSED, TIMEOUT."""
    told: list[EventFlag] = []
    fd = pair[0] if events & (READ | WRITE) else None
    Event(plain_base, fd, events, lambda fd, what: told.append(what)).activate()
    run(plain_base)
    assert told == [what]


def test_activate_needs_no_descriptor(base: EventBase, pair: Pair, run: Run) -> None:
    """As in C, activating says nothing to the kernel: the event of a closed socket may be told too."""
    left, _ = pair
    told: list[object] = []
    event = Event(base, left, READ | PERSIST, lambda fd, what: told.append(what))
    left.close()
    event.activate(TIMEOUT)
    run(base)
    assert told == [TIMEOUT]


def test_an_activated_event_is_not_edge_mixed(base: EventBase, pair: Pair, run: Run) -> None:
    """Only what is added has the kernel watch, so only there do edge and level exclude each other."""
    if not base.features & Feature.ET:
        return
    told: list[EventFlag] = []
    edge = Event(base, pair[0], READ | ET | PERSIST, print).add()
    level = Event(base, pair[0], WRITE, lambda fd, what: told.append(what))
    level.activate()
    base.poll()
    assert told == [WRITE]
    edge.close()


def test_a_signal_event_is_activated_count_times(base: EventBase, run: Run) -> None:
    """count says how many signals came."""
    told: list[object] = []
    event = Event(base, signal.SIGUSR1, SIGNAL | PERSIST, lambda *got: told.append(got))
    event.activate(count=3)
    base.poll()
    assert told == [(signal.SIGUSR1, SIGNAL)] * 3


def test_a_signal_event_that_activates_itself_leaves_room(base: EventBase, run: Run) -> None:
    """What its callback activates has its turn in a later pass, so other events are looked at."""
    told: list[int] = []

    def again(number: int) -> None:
        told.append(number)
        assert len(told) < 1_000_000
        event.activate()

    event = Signal(base, signal.SIGUSR1, again)
    event.activate(count=2)
    base.call_later(0.01, base.loop_break)
    run(base)
    assert len(told) > 2
    told.clear()
    event.close()


def test_very_many_activations_of_a_signal_do_not_overflow(plain_base: EventBase) -> None:
    """The number of signals to tell stops at its most, and is not turned into a negative one."""
    event = Event(plain_base, signal.SIGUSR1, SIGNAL | PERSIST, print)
    for _ in range(70_000):
        event.activate(count=32767)
    assert event.pending
    event.close()


def test_a_signal_that_is_only_activated_leaves_the_handler_alone(base: EventBase, run: Run) -> None:
    """Python's own handler keeps a signal whose event was never added."""
    told: list[object] = []
    came: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda signum, frame: came.append(signum))
    try:
        event = Event(base, signal.SIGUSR1, SIGNAL | PERSIST, lambda *got: told.append(got))
        event.activate()
        os.kill(os.getpid(), signal.SIGUSR1)
        run(base)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert came == [signal.SIGUSR1]
    assert told == [(signal.SIGUSR1, SIGNAL)]


def test_a_signal_event_times_out(base: EventBase, run: Run) -> None:
    """A timeout of a signal event is told like any other: it was dropped, and the event stayed for ever."""
    told: list[object] = []
    event = Event(base, signal.SIGUSR1, SIGNAL, lambda *got: told.append(got)).add(0.01)
    assert event.pending == SIGNAL | TIMEOUT
    run(base)
    assert told == [(signal.SIGUSR1, TIMEOUT)]
    assert base.events() == []


def test_a_persistent_signal_times_out_again_and_again(base: EventBase, run: Run) -> None:
    """With PERSIST the timeout of a signal event is how long no signal came."""
    told: list[EventFlag] = []

    def happened(signum: int, what: EventFlag) -> None:
        told.append(what)
        if len(told) == 3:
            event.close()

    event = Event(base, signal.SIGUSR1, SIGNAL | PERSIST, happened).add(0.2)
    os.kill(os.getpid(), signal.SIGUSR1)
    run(base)
    assert told == [SIGNAL, TIMEOUT, TIMEOUT]


def test_finalize_runs_after_the_event_is_closed(base: EventBase, pair: Pair, run: Run) -> None:
    """The finalizer gets the event in a later pass, when no callback of it can run any more."""
    left, right = pair
    right.send(b"x")
    told: list[object] = []
    event = Event(
        base, left, READ | PERSIST, lambda fd, what: (told.append("read"), event.finalize(told.append))
    )
    event.add()
    run(base)
    assert told == ["read", event]
    assert event.closed


def test_finalize_of_an_idle_event_keeps_the_loop_until_it_ran(base: EventBase, run: Run) -> None:
    """dispatch() does not return before what finalize() was given has run."""
    told: list[object] = []
    event = Event(base, None, NOTHING, print)
    event.finalize(told.append)
    assert event.closed
    with pytest.raises(ClosedError):
        event.finalize(told.append)
    run(base)
    assert told == [event]


def test_finalize_runs_when_the_base_closes(plain_base: EventBase) -> None:
    """A finalizer whose loop never ran again runs in close()."""
    told: list[object] = []
    event = Event(plain_base, None, NOTHING, print)
    event.finalize(told.append)
    plain_base.close()
    assert told == [event]
