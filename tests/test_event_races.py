"""Two things at once on one object: the second is refused, or makes no difference."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from typing import Any

import pytest

from libevent_cffi import PERSIST, Event, EventBase, Signal, Timer
from libevent_cffi._native import callbacks
from libevent_cffi.event import events
from libevent_cffi.watch import CheckWatcher, PrepareWatcher


class _Overtaken:
    """The C library, where another thread makes the same call just before."""

    def __init__(self, name: str, before: Callable[[], object]) -> None:
        self.name = name
        self.before = [before]

    def __getattr__(self, name: str) -> Any:
        if name == self.name and self.before:
            self.before.pop()()
        return getattr(callbacks.lib, name)


@pytest.mark.parametrize("call", ["add", "activate"])
def test_an_idle_event_is_registered_once(
    base: EventBase, run: Callable[..., None], monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Of two threads that add an idle event at once, the second changes what the first one made."""
    told: list[str] = []
    timer = Timer(base, told.append, "told")
    act: Callable[[], object] = (lambda: timer.add(0.001)) if call == "add" else timer.activate
    overtaken = _Overtaken("lev_event_add" if call == "add" else "lev_event_activate", act)
    monkeypatch.setattr(events, "lib", overtaken)
    act()
    monkeypatch.undo()
    assert len(list(base.events())) == 1
    run(base)
    assert told == ["told"]
    assert not timer.pending
    timer.add(0.001)
    timer.close()
    run(base)
    assert told == ["told"]


def test_an_event_is_gone_when_its_deletion_is_logged(plain_base: EventBase) -> None:
    """A log handler that looks, or raises, finds events of a closed descriptor deleted already."""
    left, right = socket.socketpair()
    old = plain_base.on_readable(left, int)
    number = left.detach()
    os.close(number)
    seen: list[object] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(bool(old.pending))

    handler = Handler()
    logging.getLogger("libevent").addHandler(handler)
    other, another = socket.socketpair()
    try:
        assert number in (other.fileno(), another.fileno())
        new = plain_base.on_readable(other if other.fileno() == number else another, int)
    finally:
        logging.getLogger("libevent").removeHandler(handler)
    assert seen == [False]
    new.close()
    for each in (right, other, another):
        each.close()


@pytest.mark.parametrize("kind", ["event", "timer", "signal", "prepare", "check", "base"])
def test_what_was_made_is_not_made_again(base: EventBase, kind: str) -> None:
    """A second __init__() is refused, and leaves the object as it was."""
    made: dict[str, Callable[[], Any]] = {
        "event": lambda: Event(base, None, PERSIST, print).add(),
        "timer": lambda: Timer(base, print).add(60),
        "signal": lambda: Signal(base, 10, print).add(),
        "prepare": lambda: PrepareWatcher(base, print),
        "check": lambda: CheckWatcher(base, print),
        "base": EventBase,
    }
    arguments: dict[str, tuple[Any, ...]] = {
        "event": (base, None, PERSIST, repr),
        "signal": (base, 12, repr),
        "base": (),
    }
    one = made[kind]()
    with pytest.raises(RuntimeError, match="was made already: make another"):
        one.__init__(*arguments.get(kind, (base, repr)))
    assert not one.closed
    if kind in ("event", "timer", "signal"):
        assert one.pending
        assert one.callback is print
    one.close()
