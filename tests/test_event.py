"""Event: what a callback gets and when, its timeouts and its priority, on every method."""

from __future__ import annotations

import signal
import time
from typing import Any, Optional

import pytest
from conftest import Pair, Run

from libevent_cffi import CLOSED, ET, PERSIST, READ, WRITE, Event, EventBase, EventFlag, Timer
from libevent_cffi.flags import Feature

TIMEOUT = EventFlag.TIMEOUT
NOTHING = EventFlag(0)


# -- what happened -------------------------------------------------------------------------------------------


def test_a_one_shot_event_happens_once(base: EventBase, pair: Pair, run: Run) -> None:
    """Without PERSIST the event is not pending any more when its callback runs."""
    left, right = pair
    told: list[object] = []
    event = Event(base, left, READ, lambda fd, what: told.append((fd, what, event.pending)))
    assert event.add() is event
    right.send(b"x")
    run(base)
    assert told == [(left.fileno(), READ, NOTHING)]
    assert not event.pending


def test_a_persistent_event_happens_until_it_is_deleted(base: EventBase, pair: Pair, run: Run) -> None:
    """With PERSIST a level-triggered event is told as long as there is something to read."""
    left, right = pair
    got: list[bytes] = []

    def read(fd: int, what: EventFlag) -> None:
        got.append(left.recv(1))
        if len(got) == 3:
            event.delete()

    event = Event(base, left, READ | PERSIST, read).add()
    right.send(b"abc")
    run(base)
    assert got == [b"a", b"b", b"c"]


def test_the_callback_gets_its_args(base: EventBase, pair: Pair, run: Run) -> None:
    """What follows the callback in the constructor follows fd and what."""
    right = pair[1]
    told: list[object] = []
    Event(base, right, WRITE, lambda *got: told.append(got), 1, "two").add()
    run(base)
    assert told == [(right.fileno(), WRITE, 1, "two")]


def test_readable_and_writable_at_once_is_one_call(base: EventBase, pair: Pair, run: Run) -> None:
    """Two things that happen in one pass come in one call."""
    left, right = pair
    right.send(b"x")
    told: list[EventFlag] = []
    Event(base, left, READ | WRITE, lambda fd, what: told.append(what)).add()
    run(base)
    assert told == [READ | WRITE]


def test_the_end_of_the_peer_is_readable(base: EventBase, pair: Pair, run: Run) -> None:
    """A closed peer is told as READ, as in C."""
    left, right = pair
    told: list[EventFlag] = []
    Event(base, left, READ, lambda fd, what: told.append(what)).add()
    right.close()
    run(base)
    assert told == [READ]


def test_closed_is_told_with_data_unread(base: EventBase, pair: Pair, run: Run) -> None:
    """CLOSED tells that the peer is gone while its last words still wait to be read."""
    left, right = pair
    if not base.features & Feature.EARLY_CLOSE:
        with pytest.raises(ValueError, match="cannot watch for CLOSED"):
            Event(base, left, CLOSED, print)
        return
    told: list[EventFlag] = []
    Event(base, left, CLOSED, lambda fd, what: told.append(what)).add()
    right.send(b"x")
    base.call_later(0.02, right.close)
    run(base)
    assert told == [CLOSED]
    assert left.recv(5) == b"x"


def test_edge_triggered_tells_each_arrival_once(base: EventBase, pair: Pair, run: Run) -> None:
    """With ET what was not read is told again only when more arrives."""
    left, right = pair
    if not base.features & Feature.ET:
        with pytest.raises(ValueError, match="cannot watch for ET"):
            Event(base, left, READ | ET, print)
        return
    told: list[EventFlag] = []
    event = Event(base, left, READ | ET | PERSIST, lambda fd, what: told.append(what)).add()
    right.send(b"x")
    for _ in range(3):
        base.poll()
    assert len(told) == 1
    right.send(b"y")
    base.poll()
    assert len(told) == 2
    assert told == [READ | ET] * 2
    event.close()


def test_an_event_for_nothing_waits_to_be_activated(base: EventBase, run: Run) -> None:
    """A user event is pending without end once it is added, and happens when it is activated."""
    told: list[object] = []
    event = Event(base, None, NOTHING, lambda *got: told.append(got), "mine").add()
    assert event.pending
    assert base.count() == 1
    base.call_later(0.01, event.activate)
    run(base)
    assert told == [(-1, TIMEOUT, "mine")]
    assert not event.pending


def test_a_persistent_user_event_stays(base: EventBase) -> None:
    """With PERSIST it goes on waiting after each activation."""
    told: list[EventFlag] = []
    event = Event(base, None, PERSIST, lambda fd, what: told.append(what)).add()
    for what in (READ, WRITE, READ | TIMEOUT):
        event.activate(what)
        base.poll()
    assert told == [READ, WRITE, READ | TIMEOUT]
    assert event.pending


def test_a_user_event_with_a_timeout_is_a_timer(base: EventBase, run: Run) -> None:
    """A user event with a timeout happens by itself."""
    told: list[EventFlag] = []
    Event(base, None, NOTHING, lambda fd, what: told.append(what)).add(0.01)
    run(base)
    assert told == [TIMEOUT]


# -- timeouts of descriptors ---------------------------------------------------------------------------------


def test_a_timeout_is_told_as_such(base: EventBase, pair: Pair, run: Run) -> None:
    """When nothing happens before the timeout, what is TIMEOUT."""
    told: list[EventFlag] = []
    begin = time.monotonic()
    Event(base, pair[0], READ, lambda fd, what: told.append(what)).add(0.05)
    run(base)
    assert told == [TIMEOUT]
    assert time.monotonic() - begin >= 0.045


def test_what_happens_in_time_ends_the_timeout_of_a_one_shot(base: EventBase, pair: Pair, run: Run) -> None:
    """A one-shot event that happens does not time out later."""
    left, right = pair
    told: list[EventFlag] = []
    event = Event(base, left, READ, lambda fd, what: told.append(what)).add(30)
    right.send(b"x")
    run(base)
    assert told == [READ]
    assert event.remaining is None
    assert base.count() == 0


def test_each_event_starts_the_timeout_of_a_persistent_one_again(base: EventBase, pair: Pair) -> None:
    """With PERSIST the timeout is how long nothing happened."""
    left, right = pair
    told: list[EventFlag] = []
    event = Event(base, left, READ | PERSIST, lambda fd, what: (left.recv(9), told.append(what))).add(30)
    base.poll(0.05)
    before = event.remaining
    right.send(b"x")
    base.poll(5)
    after = event.remaining
    assert told == [READ]
    assert before is not None
    assert after is not None
    assert before < 29.97
    assert before < after <= 30.01
    event.close()


def test_a_persistent_event_times_out_again_and_again(base: EventBase, pair: Pair, run: Run) -> None:
    """With PERSIST the timeout runs again after it has passed."""
    told: list[EventFlag] = []

    def happened(fd: int, what: EventFlag) -> None:
        told.append(what)
        if len(told) == 3:
            event.close()

    event = Event(base, pair[0], READ | PERSIST, happened).add(0.01)
    run(base)
    assert told == [TIMEOUT] * 3


@pytest.mark.parametrize("timeout", [0, 0.0])
def test_a_timeout_of_zero_passes_in_the_next_pass(base: EventBase, pair: Pair, timeout: float) -> None:
    """0 is "now"."""
    told: list[EventFlag] = []
    Event(base, pair[0], READ, lambda fd, what: told.append(what)).add(timeout)
    base.poll()
    assert told == [TIMEOUT]


def test_add_without_timeout_drops_the_one_that_runs(base: EventBase, pair: Pair) -> None:
    """event_add(ev, NULL) leaves an old timeout where it is; None means none."""
    event = Event(base, pair[0], READ, print).add(5)
    assert event.pending == READ | TIMEOUT
    assert event.remaining is not None
    event.add()
    assert event.pending == READ
    assert event.remaining is None


def test_add_again_changes_the_timeout(base: EventBase, pair: Pair) -> None:
    """The last add() counts, and there is one event still."""
    event = Event(base, pair[0], READ, print).add(5).add(100)
    assert event.remaining == pytest.approx(100, abs=1)
    assert base.events() == [event]


def test_remaining_counts_down(base: EventBase, pair: Pair) -> None:
    """It is seconds until the timeout, and None before add() and after delete()."""
    event = Event(base, pair[0], READ, print)
    assert event.remaining is None
    event.add(3)
    first = event.remaining
    assert first is not None
    assert 2.5 < first <= 3.01
    event.delete()
    assert event.remaining is None


def test_remove_timer_goes_on_watching(base: EventBase, pair: Pair, run: Run) -> None:
    """The timeout is gone, the descriptor is watched."""
    left, right = pair
    told: list[EventFlag] = []
    event = Event(base, left, READ, lambda fd, what: told.append(what)).add(0.01)
    event.remove_timer()
    assert event.pending == READ
    assert event.remaining is None
    base.call_later(0.03, right.send, b"x")
    run(base)
    assert told == [READ]


def test_remove_timer_does_nothing_to_an_event_that_has_none(base: EventBase, pair: Pair) -> None:
    """Neither pending nor not pending is changed by it."""
    event = Event(base, pair[0], READ, print)
    event.remove_timer()
    assert not event.pending
    event.add()
    event.remove_timer()
    assert event.pending == READ


def test_data_and_timeout_in_one_pass_are_both_told(base: EventBase, pair: Pair) -> None:
    """
    2.1 gives EV_TIMEOUT alone when a timeout has passed in the pass in which the data came
    (event.c:timeout_process): a one-shot reader would take its peer for dead.
    """
    left, right = pair
    told: list[EventFlag] = []
    Event(base, left, READ, lambda fd, what: told.append(what)).add(0.001)
    right.send(b"x")
    time.sleep(0.02)
    base.poll()
    assert told == [READ | TIMEOUT]


def test_edge_and_timeout_in_one_pass_are_both_told(base: EventBase, pair: Pair) -> None:
    """The same for an edge, which the kernel tells once."""
    left, right = pair
    if not base.features & Feature.ET:
        return
    told: list[EventFlag] = []
    event = Event(base, left, READ | ET | PERSIST, lambda fd, what: told.append(what)).add(0.001)
    right.send(b"x")
    time.sleep(0.02)
    base.poll()
    assert told[0] == READ | ET | TIMEOUT
    event.close()


# -- priorities, keepalive -----------------------------------------------------------------------------------


def test_the_most_urgent_goes_first(method: Any, run: Run) -> None:
    """Of events that are active together those of priority 0 run first, None is the middle."""
    with method.make(priorities=3) as base:
        told: list[Optional[int]] = []
        for priority in (2, None, 0):
            Event(
                base, None, NOTHING, lambda fd, what, p: told.append(p), priority, priority=priority
            ).activate()
        run(base)
        assert told == [0, None, 2]


def test_priority_can_be_set_while_not_active(plain_base: EventBase, run: Run) -> None:
    """It is settable before add() and while pending; an active event has its place already."""
    with EventBase(priorities=4) as base:
        told: list[int] = []
        events = [Event(base, None, NOTHING, lambda fd, what, n: told.append(n), n) for n in range(4)]
        assert [event.priority for event in events] == [2] * 4
        for event in events:
            event.add()
            event.priority = 3 - event.args[0]
        for event in events:
            event.activate()
        with pytest.raises(RuntimeError, match="active"):
            events[0].priority = 0
        assert events[0].priority == 3
        run(base)
        assert told == [3, 2, 1, 0]


def test_what_is_not_kept_alive_for_does_not_keep_dispatch(base: EventBase, pair: Pair, run: Run) -> None:
    """keepalive=False: pending events of any kind let dispatch() return, and are pending still."""
    events = [
        Event(base, pair[0], READ | PERSIST, print, keepalive=False).add(),
        Event(base, None, NOTHING, print, keepalive=False).add(),
        Timer(base, print, keepalive=False).add(10),
        base.every(10, print, keepalive=False),
        base.on_readable(pair[0], print, keepalive=False),
        base.on_signal(signal.SIGUSR1, print, keepalive=False),
    ]
    run(base)
    assert all(event.pending and not event.keepalive for event in events)
    assert base.count() == 0
    for event in events:
        event.close()


def test_what_does_not_keep_dispatch_happens_nevertheless(base: EventBase, pair: Pair, run: Run) -> None:
    """While something else keeps the loop running, such an event is told like any other."""
    left, right = pair
    right.send(b"x")
    told: list[str] = []
    Event(base, left, READ, lambda fd, what: told.append("read"), keepalive=False).add()
    base.call_later(0.01, told.append, "timer", keepalive=False)
    base.call_later(0.05, told.append, "end")
    run(base)
    assert told == ["read", "timer", "end"]
