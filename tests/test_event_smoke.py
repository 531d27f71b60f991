"""One of everything, on every method."""

from __future__ import annotations

import socket
from collections.abc import Callable

from libevent_cffi import PERSIST, READ, Event, EventBase


def test_a_descriptor_a_timer_and_a_call_are_told(
    base: EventBase, pair: tuple[socket.socket, socket.socket], run: Callable[..., None]
) -> None:
    """A readable socket, a timer and a queued call each reach their callback."""
    left, right = pair
    told: list[object] = []
    event = Event(base, left, READ | PERSIST, lambda fd, what: (told.append((fd, what)), event.close()))
    event.add()
    base.call_soon(told.append, "soon")
    base.call_later(0.01, right.send, b"x")
    run(base)
    assert told == ["soon", (left.fileno(), READ)]
