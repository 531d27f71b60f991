"""Event and Timer: what a callback gets and when, on every method."""

from __future__ import annotations

import gc
import os
import re
import resource
import signal
import socket
import textwrap
import time
import weakref
from collections.abc import Callable
from typing import Any, Optional

import pytest
from conftest import output_of

from libevent_cffi import (
    CLOSED,
    ET,
    PERSIST,
    READ,
    WRITE,
    ClosedError,
    Event,
    EventBase,
    EventFlag,
    Signal,
    Timer,
)
from libevent_cffi.flags import BaseFlag, Feature

Pair = tuple[socket.socket, socket.socket]
Run = Callable[..., None]
TIMEOUT = EventFlag.TIMEOUT
SIGNAL = EventFlag.SIGNAL
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


# -- delete, close, activate ---------------------------------------------------------------------------------


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


# -- descriptors ---------------------------------------------------------------------------------------------


def test_an_event_keeps_its_socket_alive(base: EventBase, run: Run) -> None:
    """A socket that nobody else refers to stays open while it is watched."""
    left, right = socket.socketpair()
    told: list[EventFlag] = []
    event = Event(base, left, READ, lambda fd, what: told.append(what)).add()
    alive = weakref.ref(left)
    del left
    gc.collect()
    right.send(b"x")
    run(base)
    left = alive()
    assert told == [READ]
    assert left is not None
    assert not event.pending
    left.close()
    right.close()


def test_a_callback_closes_its_socket_and_the_number_is_used_again(base: EventBase, run: Run) -> None:
    """
    A one-shot callback that closes its descriptor and watches a new one, which gets the same number.

    The running event still counted as watching the old one, and the new one was refused.
    """
    left, right = socket.socketpair()
    told: list[object] = []
    opened: list[socket.socket] = []

    def first(fd: int, what: EventFlag) -> None:
        left.close()
        new, other = socket.socketpair()
        opened.extend((new, other))
        assert fd in (new.fileno(), other.fileno())
        for end in (new, other):
            Event(base, end, WRITE, lambda fd, what: told.append(what)).add()

    Event(base, left, READ, first).add()
    right.send(b"x")
    run(base)
    for each in (right, *opened):
        each.close()
    assert told == [WRITE, WRITE]


def test_a_reused_descriptor_is_watched(base: EventBase, run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """
    A socket closed under its pending event, and another one that got its number.

    libevent takes the number for registered (evmap.c:evmap_io_add_), and the new event would never happen.
    """
    left, right = socket.socketpair()
    old = Event(base, left, READ | PERSIST, lambda fd, what: pytest.fail("its socket is closed")).add()
    number = left.fileno()
    left.close()
    new, other = socket.socketpair()
    if new.fileno() != number:
        new, other = other, new
    assert new.fileno() == number
    told: list[EventFlag] = []
    Event(base, new, READ, lambda fd, what: told.append(what)).add()
    assert not old.pending
    assert "closed" in caplog.text
    other.send(b"x")
    run(base)
    for each in (right, new, other):
        each.close()
    assert told == [READ]


def test_a_fifo_opened_again_is_watched(base: EventBase, tmp_path: Any) -> None:
    """
    A named pipe that is closed under its event and opened again is the same file, so nothing tells that it
    is not registered with the kernel any more.

    With the changelist it stays lost: libevent warns of using that with descriptors that come and go.
    """
    path = os.fspath(tmp_path / "fifo")
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(path, os.O_WRONLY)
    told: list[str] = []
    old = Event(base, reader, READ | PERSIST, lambda fd, what: told.append("old")).add()
    base.poll()
    os.close(reader)
    assert os.open(path, os.O_RDONLY | os.O_NONBLOCK) == reader
    new = Event(base, reader, READ | PERSIST, lambda fd, what: told.append("new")).add()
    os.write(writer, b"x")
    base.poll(0.5 if "changelist" not in base.method else 0)
    assert "new" in told or "changelist" in base.method
    old.close()
    new.close()
    os.close(reader)
    os.close(writer)


def test_the_event_of_a_closed_socket_does_not_watch_who_has_its_number_now(base: EventBase) -> None:
    """An event of a socket object is refused when the socket was closed, also when another has the number."""
    left, right = socket.socketpair()
    event = Event(base, left, READ, print)
    number = left.fileno()
    left.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        event.add()
    new, other = socket.socketpair()
    assert number in (new.fileno(), other.fileno())
    with pytest.raises(OSError, match="Bad file descriptor"):
        event.add()
    for each in (right, new, other):
        each.close()
    assert base.count() == 0


def test_edge_and_level_on_one_descriptor_are_refused(base: EventBase, pair: Pair) -> None:
    """Both would be edge-triggered in the kernel, and the level-triggered one would miss data in silence."""
    if not base.features & Feature.ET:
        return
    left, _ = pair
    level = Event(base, left, READ | PERSIST, print).add()
    edge = Event(base, left, WRITE | ET | PERSIST, print)
    with pytest.raises(ValueError, match="edge-triggered"):
        edge.add()
    assert not edge.pending
    level.delete()
    edge.add()
    with pytest.raises(ValueError, match="edge-triggered"):
        level.add()
    edge.close()


def test_two_events_on_one_descriptor_are_both_told(base: EventBase, pair: Pair, run: Run) -> None:
    """Readers and writers of one descriptor do not disturb each other."""
    left, right = pair
    right.send(b"x")
    told: list[str] = []
    Event(base, left, READ, lambda fd, what: told.append("read")).add()
    Event(base, left, READ, lambda fd, what: told.append("read too")).add()
    Event(base, left, WRITE, lambda fd, what: told.append("write")).add()
    run(base)
    assert sorted(told) == ["read", "read too", "write"]


def test_a_pipe_is_watched_at_both_ends(base: EventBase, run: Run) -> None:
    """A descriptor is any number that the kernel can poll."""
    reader, writer = os.pipe()
    told: list[object] = []
    Event(base, writer, WRITE, lambda fd, what: (os.write(fd, b"x"), told.append(what))).add()
    Event(base, reader, READ, lambda fd, what: told.append(os.read(fd, 9))).add()
    run(base)
    os.close(reader)
    os.close(writer)
    assert told == [WRITE, b"x"]


def test_more_events_than_libevent_counts_are_refused(pair: Pair) -> None:
    """libevent counts the events of one descriptor in 16 bits (evmap.c:evmap_io_add_)."""
    with EventBase() as base:
        many = [Event(base, pair[0], READ, print).add() for _ in range(65535)]
        with pytest.raises(OSError, match="event_add"):
            Event(base, pair[0], READ, print).add()
        for event in many:
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


# -- Timer ---------------------------------------------------------------------------------------------------


def test_a_timer_fires_after_its_delay(base: EventBase, run: Run) -> None:
    """callback(*args), once, and not early."""
    told: list[object] = []
    begin = time.monotonic()
    timer = Timer(base, lambda *got: told.append(got), 1, 2).add(0.05)
    assert timer.pending == TIMEOUT
    run(base)
    assert told == [(1, 2)]
    assert 0.045 <= time.monotonic() - begin < 2
    assert not timer.pending


def test_timers_fire_in_the_order_of_their_times(base: EventBase, run: Run) -> None:
    """Not in the order in which they were started."""
    told: list[float] = []
    for delay in (0.05, 0.01, 0.03, 0.0):
        Timer(base, told.append, delay).add(delay)
    run(base)
    assert told == [0.0, 0.01, 0.03, 0.05]


def test_timers_of_the_same_delay_fire_in_the_order_they_were_started(base: EventBase, run: Run) -> None:
    """A common timeout keeps the order of very many timers."""
    told: list[int] = []
    delay = base.common_timeout(0.02)
    for number in range(50):
        Timer(base, told.append, number).add(delay)
    run(base)
    assert told == list(range(50))


def test_a_timer_starts_again_with_its_last_delay(base: EventBase, run: Run) -> None:
    """add() without an argument, also in the timer's own callback."""
    told: list[int] = []

    def fired() -> None:
        told.append(1)
        if len(told) < 3:
            timer.add()

    timer = Timer(base, fired)
    with pytest.raises(ValueError, match="never started"):
        timer.add()
    timer.add(0.01)
    run(base)
    assert len(told) == 3
    assert timer.add().remaining == pytest.approx(0.01, abs=0.01)


def test_adding_a_timer_again_puts_it_off(base: EventBase, run: Run) -> None:
    """Start again means from now, with the new delay."""
    told: list[str] = []
    timer = Timer(base, told.append, "late").add(0.01)
    timer.add(0.06)
    Timer(base, told.append, "early").add(0.03)
    run(base)
    assert told == ["early", "late"]


@pytest.mark.parametrize("kind", ["delete", "cancel", "close", "remove_timer"])
def test_a_stopped_timer_does_not_fire(base: EventBase, run: Run, kind: str) -> None:
    """Each way of stopping it leaves nothing pending."""
    timer = Timer(base, pytest.fail, "it was stopped").add(0.01)
    getattr(timer, kind)()
    assert base.count() == 0
    run(base)


@pytest.mark.parametrize("interval", [0.0, 1e-9, 0.01])
def test_a_persistent_timer_fires_again_and_again(base: EventBase, run: Run, interval: float) -> None:
    """An interval of 0 too, which in C fires once and stops (event.c:event_persist_closure)."""
    told: list[int] = []

    def fired() -> None:
        told.append(1)
        if len(told) == 5:
            timer.delete()

    timer = Timer(base, fired, persist=True).add(interval)
    run(base)
    assert len(told) == 5


@pytest.mark.parametrize("seconds", [0.0, 0.01])
def test_a_persistent_timer_takes_a_common_timeout(base: EventBase, run: Run, seconds: float) -> None:
    """It starts again with the same one."""
    told: list[int] = []

    def fired() -> None:
        told.append(1)
        if len(told) == 5:
            timer.delete()

    timer = base.every(base.common_timeout(seconds), fired)
    run(base)
    assert len(told) == 5


def test_a_persistent_timer_does_not_make_up_for_what_it_missed(base: EventBase, run: Run) -> None:
    """After a callback that took four intervals it fires once, not four times at once."""
    times: list[float] = []

    def fired() -> None:
        times.append(time.monotonic())
        if len(times) == 1:
            time.sleep(0.2)
        if len(times) == 4:
            timer.close()

    timer = base.every(0.05, fired)
    run(base)
    assert times[3] - times[1] > 0.06


def test_a_slow_callback_does_not_spoil_timers_started_later(base: EventBase, run: Run) -> None:
    """
    A delay counts from add(), also in a callback that took long.

    libevent reckons with the time at which the pass began unless the base has NO_CACHE_TIME, and the timer
    would be 90 ms early.
    """
    times: dict[str, float] = {}

    def slow() -> None:
        time.sleep(0.09)
        times["begin"] = time.monotonic()
        base.call_later(0.1, lambda: times.setdefault("end", time.monotonic()))
        base.call_later(0.02, lambda: None)

    base.call_soon(slow)
    run(base)
    assert times["end"] - times["begin"] >= 0.09


# -- lives ---------------------------------------------------------------------------------------------------


def test_a_pending_event_needs_no_reference(base: EventBase, run: Run) -> None:
    """What is pending lives; what is idle and unreferenced is freed."""
    told: list[str] = []
    Timer(base, told.append, "timer").add(0.01)
    Event(base, None, NOTHING, lambda fd, what: told.append("active")).activate()
    idle = weakref.ref(Event(base, None, NOTHING, print))
    for _ in range(3):
        gc.collect()
    assert idle() is None
    run(base)
    assert told == ["active", "timer"]


def test_what_has_happened_is_let_go(base: EventBase, run: Run) -> None:
    """After its callback a one-shot event is not held by the base."""
    gone = [weakref.ref(base.call_later(0.0, int)), weakref.ref(base.call_soon(int))]
    run(base)
    for _ in range(3):
        gc.collect()
    assert [each() for each in gone] == [None, None]


def test_many_events_come_and_go_without_a_leak(base: EventBase) -> None:
    """Adding and deleting leaves as many blocks in C as before."""
    from libevent_cffi import util

    def cycle() -> None:
        events = [Timer(base, print).add(n % 7) for n in range(500)]
        for event in events[::2]:
            event.close()
        for event in events[1::2]:
            event.delete()

    cycle()
    before = util.memory_counters().blocks
    for _ in range(5):
        cycle()
    assert util.memory_counters().blocks <= before


# -- how they look -------------------------------------------------------------------------------------------


def test_attributes_are_what_it_was_made_with(base: EventBase, pair: Pair) -> None:
    """They can be read back, and not set."""
    event = Event(base, pair[0], READ | PERSIST, print, 1, 2, priority=0, keepalive=False)
    assert (event.base, event.fd, event.events) == (base, pair[0].fileno(), READ | PERSIST)
    assert (event.callback, event.args, event.priority, event.keepalive) == (print, (1, 2), 0, False)
    for name in ("base", "fd", "events", "callback", "args", "keepalive", "pending", "remaining", "closed"):
        with pytest.raises(AttributeError):
            setattr(event, name, None)
    timer = Timer(base, print)
    assert (timer.fd, timer.events, Timer(base, print, persist=True).events) == (-1, NOTHING, PERSIST)
    usr1 = Signal(base, signal.SIGUSR1, print)
    assert (usr1.signum, usr1.fd, usr1.events) == (signal.SIGUSR1, signal.SIGUSR1, SIGNAL | PERSIST)
    assert isinstance(usr1.signum, signal.Signals)


@pytest.mark.skipif(not hasattr(signal, "SIGRTMIN"), reason="this system has no real-time signals")
def test_real_time_signals_have_numbers(base: EventBase, run: Run) -> None:
    """Most of them have no name, and are signals all the same."""
    told: list[int] = []
    number = signal.SIGRTMIN + 3
    event = Signal(base, number, lambda signum: (told.append(signum), event.close())).add()
    assert event.signum == number
    assert repr(event) == f"<Signal signal {number} PERSIST pending>"
    base.call_soon(os.kill, os.getpid(), number)
    run(base)
    assert told == [number]


def test_repr_says_what_which_and_in_which_state(plain_base: EventBase, pair: Pair) -> None:
    """The words of libevent: initialized, pending, active; and closed."""
    base = plain_base
    fd = pair[0].fileno()
    event = Event(base, pair[0], READ | PERSIST, print)
    assert repr(event) == f"<Event fd={fd} READ|PERSIST initialized>"
    event.add()
    assert repr(event) == f"<Event fd={fd} READ|PERSIST pending>"
    event.close()
    assert repr(event) == f"<Event fd={fd} READ|PERSIST closed>"
    assert repr(Event(base, None, NOTHING, print)) == "<Event user initialized>"
    timer = Timer(base, print, persist=True)
    assert repr(timer) == "<Timer persist initialized>"
    timer.add(2)
    assert re.fullmatch(r"<Timer persist pending in [0-2]\.\d{3} s>", repr(timer))
    timer.activate()
    assert "active" in repr(timer)
    assert repr(Signal(base, signal.SIGUSR1, print)) == "<Signal SIGUSR1 PERSIST initialized>"
    other = EventBase()
    lost = Timer(other, print).add(1)
    other.close()
    assert repr(lost) == "<Timer closed>"
    assert repr(other) == f"<EventBase {other.method} closed>"


def test_events_are_equal_to_themselves_only(plain_base: EventBase) -> None:
    """They can be keys, and cannot be copied."""
    import copy
    import pickle

    one, two = Timer(plain_base, print), Timer(plain_base, print)
    assert one != two
    assert len({one, two, one}) == 2
    for function in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot be pickled or copied"):
            function(one)


def test_with_means_close(plain_base: EventBase) -> None:
    """At the end of the with an event is closed, whatever it was."""
    with Timer(plain_base, print).add(5) as timer:
        assert timer.pending
    assert timer.closed
    timer.close()
    with pytest.raises(ClosedError), timer:
        pass


def test_subclasses_work(plain_base: EventBase, run: Run) -> None:
    """A subclass may have attributes of its own."""

    class Mine(Timer):
        pass

    mine = Mine(plain_base, list)
    mine.note = "kept"  # type: ignore[attr-defined]
    mine.add(0)
    run(plain_base)
    assert plain_base.statistics().live == {}


def test_an_idle_event_costs_nothing_in_c(plain_base: EventBase) -> None:
    """An event has its memory in C only while libevent knows it."""
    from libevent_cffi import util

    before = util.memory_counters().blocks
    idle = [Event(plain_base, None, NOTHING, print) for _ in range(1000)]
    assert util.memory_counters().blocks <= before
    assert len(idle) == 1000


@pytest.mark.parametrize("flags", [BaseFlag(0), *BaseFlag], ids=str)
def test_the_flags_of_the_base_do_not_change_what_is_told(flags: BaseFlag, pair: Pair, run: Run) -> None:
    """With the cached time that C uses by default, without locks, and with all else there is."""
    left, right = pair
    told: list[object] = []
    with EventBase(flags=flags) as base:
        right.send(b"x")
        Event(base, left, READ, lambda fd, what: told.append(left.recv(9))).add()
        base.call_later(0.01, told.append, "timer")
        base.call_soon_threadsafe(told.append, "soon")
        run(base)
    assert sorted(map(str, told)) == ["b'x'", "soon", "timer"]


def test_descriptors_above_the_first_thousand_are_watched(method: Any, run: Run) -> None:
    """
    All methods take them but select: libevent makes its sets as large as they must be, but glibc ends the
    process at the first descriptor that does not fit into its own fd_set.
    """
    number = min(resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 1, 3000)
    left, right = socket.socketpair()
    os.dup2(left.fileno(), number)
    told: list[object] = []
    with method.make() as base, left, right:
        event = Event(base, number, READ, lambda *got: told.append(got))
        right.send(b"x")
        if base.method == "select" and number >= 1024:
            with pytest.raises(ValueError, match="too large for select"):
                event.add()
            event.activate()
        else:
            event.add()
        run(base)
    os.close(number)
    assert told == [(number, READ)]


def test_a_base_with_select_needs_small_descriptors(plain_base: EventBase) -> None:
    """libevent's own descriptors are held to the same limit, and the process would end in the constructor."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if "select" not in EventBase.supported_methods() or limit < 1100:
        return
    avoid = [name for name in EventBase.supported_methods() if name != "select"]
    taken = [os.open(os.devnull, os.O_RDONLY)]
    try:
        while taken[-1] < 1020:
            taken.append(os.dup(taken[0]))
        with pytest.raises(ValueError, match="no method"):
            EventBase(avoid_methods=avoid)
        EventBase().close()
    finally:
        for each in taken:
            os.close(each)


def test_debug_mode_takes_what_is_no_mistake() -> None:
    """
    libevent's debug mode ends the process for a descriptor that blocks or is closed
    (event.c:event_debug_assert_socket_nonblocking_), and for freeing an event that it refused to add.
    """
    code = """
        import os, socket
        from libevent_cffi import EventBase, Event, READ, PERSIST
        left, right = socket.socketpair()
        file = os.open(os.devnull, os.O_RDONLY)
        with EventBase() as base:
            event = base.on_readable(left, lambda: (print(left.recv(9)), event.close()))
            right.send(b"x")
            base.dispatch()
            for fd in (file, 900):
                try:
                    Event(base, fd, READ | PERSIST, print).add()
                except OSError as error:
                    print(type(error).__name__)
        left.close()
        right.close()
        """
    printed = output_of(textwrap.dedent(code), LIBEVENT_CFFI_DEBUG="mode,locks").split()
    assert printed[0] == "b'x'"
    assert printed[-1] == "OSError"
