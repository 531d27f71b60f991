"""Events and their descriptors: kept alive, used again under their number, watched twice, on every method."""

from __future__ import annotations

import gc
import os
import socket
import weakref
from typing import Any

import pytest
from conftest import Pair, Run

from libevent_cffi import ET, PERSIST, READ, WRITE, Event, EventBase, EventFlag
from libevent_cffi.flags import Feature


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
