"""Connections and processes, threads, ends of programs, and callbacks that end others."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from conftest import output_of
from test_bufferevent import EOF_READ, Told, connected
from test_bufferevent_control import USES

from libevent_cffi import READ, Buffer, BufferEvent, BufferEventFlag, EventBase, Listener, WrongThreadError
from libevent_cffi.bufferevent import FilterBufferEvent

Run = Callable[..., None]


# -- threads -------------------------------------------------------------------------------------------------


def test_another_thread_is_refused_while_the_base_is_dispatched(plain_base: EventBase, run: Run) -> None:
    """Every method says so at once, with what to do instead; closing says it too, and closes nothing."""
    bev, peer = connected(plain_base, on_event=Told())
    failures: list[Any] = []
    texts: list[str] = []

    def use_all() -> None:
        for name, use in USES.items():
            if name in ("with", "pointer", "filter", "surrender"):
                continue
            try:
                use(bev)
                failures.append(name)
            except WrongThreadError:
                pass
        try:
            bev.close()
            failures.append("close")
        except WrongThreadError as error:
            texts.append(str(error))
        plain_base.call_soon_threadsafe(bev.close)

    thread = threading.Thread(target=use_all)
    plain_base.call_soon(thread.start)
    run(plain_base, exit_on_empty=True)
    thread.join()
    assert failures == []
    assert "call_soon_threadsafe" in texts[0]
    assert bev.closed
    peer.close()


def test_a_connection_may_be_dropped_by_another_thread(base: EventBase) -> None:
    """The base ends it when it comes to it."""
    bev, peer = connected(base, enabled=READ)
    bev.disable(READ)
    holder = [bev]
    del bev
    thread = threading.Thread(target=holder.clear)
    thread.start()
    thread.join()
    gc.collect()
    base.poll()
    with peer:
        assert peer.recv(1) == b""


# -- processes -----------------------------------------------------------------------------------------------


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork() here")


def in_a_child(work: Callable[[], object]) -> int:
    """Run *work* in a fork, and return how that ended."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@needs_fork
def test_a_child_may_use_or_close_what_its_parent_has(base: EventBase, run: Run) -> None:
    """Its copy of the descriptor is its own; the parent's connection goes on."""
    bev, peer = connected(base)
    one, other = BufferEvent.pair(base)
    top = FilterBufferEvent(one)

    def child() -> None:
        bev.write(b"child ")
        other.write(b"x")
        base.poll()
        assert top.read() == b"x"
        bev.close()
        top.close()
        base.close()

    assert in_a_child(child) == 0
    with peer:
        bev.write(b"parent")
        base.poll()
        assert peer.recv(100) == b"child parent"
        peer.send(b"back")
        while not bev.input:
            base.poll(1.0)
        assert bev.read() == b"back"
        bev.close()
        assert peer.recv(1) == b""
    top.close()
    other.close()


@needs_fork
@pytest.mark.parametrize("kind", ["on_read", "on_event", "filter"])
def test_a_fork_inside_of_a_callback(base: EventBase, run: Run, kind: str) -> None:
    """The child's base is dead, and leaves what the parent waits for alone; the parent goes on."""
    children: list[int] = []
    got: list[bytes] = []
    bev, peer = connected(base)
    if kind == "filter":

        def fork_in_filter(source: Buffer, target: Buffer, limit: object, mode: object) -> None:
            if not children:
                children.append(os.fork())
            target.add_buffer(source)

        bev = FilterBufferEvent(bev, fork_in_filter)

    def fork(*_: object) -> None:
        if not children and kind != "filter":
            children.append(os.fork())
        got.append(bev.read() if not bev.closed else b"")

    bev.on_read = bev.on_event = fork
    if kind == "on_event":
        bev.on_read = None
        peer.shutdown(socket.SHUT_WR)
    else:
        peer.send(b"x")
    try:
        base.poll(5.0)
        while not got:
            base.poll(5.0)
    finally:
        if children and children[0] == 0:
            os._exit(0 if base.closed and bev.closed else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 0
    bev.write(b"on")
    base.poll(5.0)
    with peer:
        assert peer.recv(10) == b"on"
    bev.close()


def test_a_program_may_end_with_everything_open() -> None:
    """Silently, also from inside of a callback, and with a daemon thread that dispatches."""
    code = """
import socket, sys, threading
from libevent_cffi import BufferEvent, EventBase
from libevent_cffi.bufferevent import FilterBufferEvent, RateLimit, RateLimitGroup

def open_all(base):
    group = RateLimitGroup(base, RateLimit(read_rate=1000))
    one, two = socket.socketpair()
    bev = BufferEvent(base, one, on_read=print, rate_limit=RateLimit(1000))
    group.add(bev)
    top = FilterBufferEvent(bev, lambda s, t, l, m: t.add_buffer(s), on_event=print)
    other = BufferEvent(base, two, on_read=lambda bev: bev.write(bev.read()))
    other.write(bytes(100000))
    pair = BufferEvent.pair(base)
    pair[0].write(b"x")
    lost = BufferEvent(base)
    lost.connect(("127.0.0.1", 1))
    out, silent = socket.socketpair()
    closing = BufferEvent(base, out)
    closing.write(bytes(10000000))
    closing.close(flush=True)
    return group, bev, top, other, pair, lost, silent

base = EventBase()
kept = open_all(base)
second = EventBase()
also_kept = open_all(second)
started = threading.Event()
second.call_soon(started.set)
threading.Thread(target=second.dispatch, daemon=True).start()
started.wait()
if sys.argv[0] == "-c" and {inside}:
    base.call_soon(sys.exit, 0)
    base.dispatch()
base.poll()
"""
    for inside in (True, False):
        assert output_of(code.replace("{inside}", str(inside))) == ""


# -- callbacks that end others -------------------------------------------------------------------------------


def test_one_callback_may_close_every_other_connection(base: EventBase, run: Run) -> None:
    """Those that were active as well are not called."""
    called: list[int] = []
    everything: list[BufferEvent] = []
    peers = []

    def close_all(bev: BufferEvent) -> None:
        called.append(1)
        for each in everything:
            each.close()

    for number in range(40):
        bev, peer = connected(base, on_read=close_all, on_event=lambda *_: called.append(2))
        peers.append(peer)
        if number % 3 == 0:
            bev = FilterBufferEvent(bev, on_read=close_all)
        everything.append(bev)
        peer.send(b"x")
        if number % 2:
            peer.shutdown(socket.SHUT_WR)
    run(base)
    assert called == [1]
    assert all(each.closed for each in everything)
    for peer in peers:
        with peer, contextlib.suppress(ConnectionResetError):  # what came last was not read
            assert peer.recv(1) == b""


def ending(calls: list[str], name: str, last: str) -> Callable[..., None]:
    """Return a callback that writes its name down, and closes when it is *last*."""

    def called(bev: BufferEvent, *_: object) -> None:
        calls.append(name)
        if name == last:
            bev.close()

    return called


def test_each_callback_may_close_its_own_connection(base: EventBase, run: Run) -> None:
    """What would have come after it does not come."""
    for first in ("on_read", "on_write", "on_event"):
        calls: list[str] = []
        bev, peer = connected(base)
        for name in ("on_read", "on_write", "on_event"):
            setattr(bev, name, ending(calls, name, first))
        bev.write(b"x")
        peer.send(b"x")
        peer.shutdown(socket.SHUT_WR)
        run(base)
        assert calls[-1] == first
        assert bev.closed
        peer.close()


def test_many_connections_at_once(plain_base: EventBase, run: Run) -> None:
    """A listener, and a few hundred clients that are each answered and closed."""
    base = plain_base
    count = 200
    answers: list[bytes] = []
    told = Told()

    def accept(listener: Listener, sock: socket.socket, address: object) -> None:
        BufferEvent(base, sock, on_read=lambda bev: (bev.write(bev.read()), bev.close(flush=True)))

    listener = Listener(base, ("127.0.0.1", 0), accept)

    def read(bev: BufferEvent) -> None:
        answers.append(bev.read())
        bev.close()
        if len(answers) == count:
            listener.close()

    for number in range(count):
        client = BufferEvent(base, on_read=read, on_event=told)
        client.write(b"%d" % number)
        client.connect(("127.0.0.1", listener.port))
    del client
    run(base)
    assert sorted(int(each) for each in answers) == list(range(count))
    assert {what for what, _ in told} == {BufferEventFlag.CONNECTED}
    assert EOF_READ not in [what for what, _ in told]
