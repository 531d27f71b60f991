"""Listeners beside other threads and processes, and dropped ones."""

from __future__ import annotations

import gc
import logging
import os
import pathlib
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from conftest import output_of
from listening import LOCAL, Mistake, client, nothing
from test_fork import in_child
from test_leaks import descriptors

from libevent_cffi import EventBase, Listener
from libevent_cffi._native import lib
from libevent_cffi.errors import ClosedError, WrongThreadError


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork()")
def test_a_child_leaves_the_parents_path_and_can_accept(
    plain_base: EventBase, run: Callable[..., None], tmp_path: pathlib.Path
) -> None:
    """The child's base works on the shared socket; its end removes nothing of the parent's."""
    path = str(tmp_path / "socket")
    told: list[str] = []

    def accept(listener: Listener, sock: socket.socket, peer: Any) -> None:
        told.append("told")
        sock.send(b"%d" % os.getpid())
        sock.close()
        listener.close()

    listener = Listener(plain_base, path, accept)

    def work() -> None:
        with client(listener) as [sock]:
            run(plain_base)
            assert sock.recv(20) == b"%d" % os.getpid()
        plain_base.close()

    in_child(work)
    in_child(listener.close)
    assert os.path.exists(path)
    with client(listener) as [sock]:
        run(plain_base)
        assert sock.recv(20) == b"%d" % os.getpid()
    assert told == ["told"]
    assert not os.path.exists(path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork()")
def test_a_fork_in_its_callback(
    plain_base: EventBase, run: Callable[..., None], tmp_path: pathlib.Path
) -> None:
    """The parent goes on; the child's base and listener are dead, and the child takes no connection."""
    told: list[str] = []

    def work() -> None:
        assert listener.closed
        listener.close()
        with pytest.raises(ClosedError):
            listener.enable()
        plain_base.close()

    def accept(own: Listener, sock: socket.socket, peer: Any) -> None:
        told.append("told")
        in_child(work)
        sock.send(b"x")
        sock.close()
        if len(told) == 2:
            own.close()

    listener = Listener(plain_base, str(tmp_path / "socket"), accept)
    with client(listener, 2) as socks:
        run(plain_base)
        assert [sock.recv(1) for sock in socks] == [b"x", b"x"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork()")
def test_a_child_that_returns_from_the_callback(plain_base: EventBase, tmp_path: pathlib.Path) -> None:
    """It leaves the loop with ClosedError; the parent's connections are the parent's."""
    path = str(tmp_path / "socket")
    parent = os.getpid()
    pids: list[int] = []

    def accept(own: Listener, sock: socket.socket, peer: Any) -> None:
        if os.getpid() == parent:
            with sock:
                pids.append(os.fork())
                if pids[0]:
                    own.disable()

    listener = Listener(plain_base, path, accept)
    with client(listener, 2) as socks:
        try:
            plain_base.dispatch()
        except ClosedError:
            os._exit(0 if os.getpid() != parent and os.path.exists(path) else 1)
        except BaseException:
            os._exit(2)
        assert os.getpid() == parent
        assert os.waitpid(pids[0], 0)[1] == 0
        listener.set_callback(lambda own, sock, peer: (sock.send(b"x"), sock.close(), own.close()))
        listener.enable()
        plain_base.dispatch()
        assert socks[1].recv(1) == b"x"


def test_other_threads_are_refused(plain_base: EventBase, run: Callable[..., None]) -> None:
    """While the base is dispatched by one thread, another may look and no more."""
    refused: list[str] = []
    listener = Listener(plain_base, LOCAL, nothing)

    def other() -> None:
        for call in (listener.enable, listener.disable, listener.close, listener.fileno):
            try:
                call()
            except WrongThreadError:
                refused.append(call.__name__)
        assert listener.enabled
        assert listener.port
        assert repr(listener)
        plain_base.call_soon_threadsafe(listener.close)

    thread = threading.Thread(target=other)
    plain_base.call_soon(thread.start)
    run(plain_base)
    thread.join()
    assert refused == ["enable", "disable", "close", "fileno"]


def test_dropped_by_another_thread(plain_base: EventBase, run: Callable[..., None]) -> None:
    """The loop is woken, and ends what was dropped."""
    box = [Listener(plain_base, LOCAL, nothing, enabled=False)]
    address: Any = box[0].address

    def drop() -> None:
        box.clear()
        for _ in range(3):
            gc.collect()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                socket.create_connection(address).close()
            except OSError:
                told.append("refused")
                break
        plain_base.call_soon_threadsafe(plain_base.loop_break)

    told: list[str] = []
    thread = threading.Thread(target=drop)
    plain_base.call_soon(thread.start)
    run(plain_base, exit_on_empty=False)
    thread.join()
    assert told == ["refused"]


DROPPED = """
import gc, random, sys, threading, time
from libevent_cffi import EventBase, Listener
sys.setswitchinterval(1e-5)
end = time.monotonic() + 1.5
def work():
    while time.monotonic() < end:
        base = EventBase()
        box = [Listener(base, ("127.0.0.1", 0), print, enabled=False) for _ in range(4)]
        targets = [box.clear, random.choice([base.close, gc.collect])]
        threads = [threading.Thread(target=target) for target in targets]
        for thread in threads:
            thread.start()
        del base, targets
        box.clear()
        for thread in threads:
            thread.join()
workers = [threading.Thread(target=work) for _ in range(3)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
del workers, worker
gc.collect(); gc.collect(); gc.collect()
print("alive")
"""


def test_drops_race_with_the_end_of_the_base() -> None:
    """Listeners dropped by some threads while others close or drop their base: each is ended once."""
    assert output_of(DROPPED) == "alive\n"


@pytest.mark.parametrize("rounds", [300])
def test_nothing_is_left_behind(plain_base: EventBase, run: Callable[..., None], rounds: int) -> None:
    """Neither memory nor descriptors, whichever way a listener ends."""
    plain_base.error_handler = nothing

    def accept(listener: Listener, sock: socket.socket, peer: Any) -> None:
        sock.close()
        listener.close()
        raise Mistake

    def one(number: int) -> None:
        listener = Listener(plain_base, LOCAL, accept, enabled=number % 4 != 0)
        if number % 4 == 1:
            with client(listener):
                run(plain_base)
        elif number % 4 == 2:
            listener.close()
        elif number % 4 == 3:
            listener.disable()

    def many(count: int) -> tuple[int, int, int]:
        for number in range(count):
            one(number)
        for _ in range(12 if sys.implementation.name == "pypy" else 3):
            gc.collect()
        plain_base.poll()
        return lib.lev_memory_blocks(), lib.lev_live_objects, descriptors()

    before = many(40)
    after = many(rounds)
    assert after[1:] == before[1:]
    if sys.implementation.name != "pypy":  # there the memory of a handle goes when its collector likes
        assert after[0] <= before[0] + 4


def test_messages_of_no_error_are_silent(plain_base: EventBase, caplog: pytest.LogCaptureFixture) -> None:
    """Making, using and closing a listener logs nothing."""
    with caplog.at_level(logging.DEBUG, "libevent"):
        listener = Listener(plain_base, LOCAL, nothing)
        with client(listener):
            plain_base.poll(1.0)
        listener.close()
        plain_base.poll()
    assert caplog.records == []
