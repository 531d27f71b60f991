"""HTTP servers in a forked child: what is the parent's stays so."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable

import pytest
from http_peer import DEADLINE, split

from libevent_cffi import EventBase
from libevent_cffi.errors import ClosedError
from libevent_cffi.http import Request, Server

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork()"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]

KEPT = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def in_child(what: Callable[[], None]) -> None:
    """Run *what* in a child and wait for it."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            what()
            status = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def answer(base: EventBase, sock: socket.socket) -> bytes:
    """Dispatch until something has come."""
    sock.setblocking(False)
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        base.poll()
        try:
            return sock.recv(65536)
        except BlockingIOError:
            continue
    raise TimeoutError


@pytest.mark.parametrize("how", ["server", "base", "connection", "use", "nothing"])
def test_a_child_leaves_its_parents_clients_alone(plain_base: EventBase, how: str) -> None:
    """Whatever it closes: a client that is idle, and one that waits for its answer, go on."""
    waiting: list[Request] = []

    def handle(request: Request) -> None:
        if request.path == "/wait":
            request.defer()
            waiting.append(request)
        else:
            request.reply(200, b"parent")

    server = Server(plain_base, handle)
    address = server.bind(("127.0.0.1", 0)).address

    with socket.create_connection(address) as idle, socket.create_connection(address) as asking:
        idle.sendall(KEPT)
        assert split(answer(plain_base, idle))[2] == b"parent"
        asking.sendall(KEPT.replace(b" / ", b" /wait "))
        while not waiting:
            plain_base.poll()

        def child() -> None:
            if how == "server":
                server.close()
            elif how == "base":
                plain_base.close()
            elif how == "connection":
                with pytest.raises((ClosedError, BrokenPipeError)):
                    waiting[0].reply(200, b"child")
                assert waiting[0].closed
            elif how == "use":
                plain_base.poll()
                assert server.connections == 0

        in_child(child)
        waiting[0].reply(200, b"late")
        assert split(answer(plain_base, asking))[2] == b"late"
        idle.sendall(KEPT)
        assert split(answer(plain_base, idle))[2] == b"parent"
        assert server.connections == 2
    server.close()


def test_a_child_serves_on_what_its_parent_listens_on(plain_base: EventBase) -> None:
    """As workers that were forked do."""
    server = Server(plain_base, lambda request: request.reply(200, b"%d" % os.getpid()))
    bound = server.bind(("127.0.0.1", 0))
    ready, told = os.pipe()

    def child() -> None:
        os.write(told, b"x")
        server.on_request = lambda _: plain_base.call_later(0.05, plain_base.loop_exit)
        plain_base.call_later(DEADLINE, plain_base.loop_exit)
        plain_base.dispatch()

    pid = os.fork()
    if pid == 0:
        try:
            child()
        finally:
            os._exit(0)
    os.read(ready, 1)
    with socket.create_connection(bound.address) as sock:
        sock.settimeout(DEADLINE)
        sock.sendall(LAST)
        parts = []
        while True:
            part = sock.recv(4096)
            if not part:
                break
            parts.append(part)
    assert split(b"".join(parts))[2] == b"%d" % pid
    os.waitpid(pid, 0)
    os.close(ready)
    os.close(told)
    server.close()


def test_a_child_that_is_forked_in_a_handler(plain_base: EventBase) -> None:
    """Its base is dead, and the parent answers."""

    def handle(request: Request) -> None:
        def child() -> None:
            with pytest.raises(ClosedError):
                request.reply(200, b"child")
            with pytest.raises(ClosedError):
                server.stop()

        in_child(child)
        request.reply(200, b"parent")

    server = Server(plain_base, handle)
    with socket.create_connection(server.bind(("127.0.0.1", 0)).address) as sock:
        sock.sendall(KEPT)
        assert split(answer(plain_base, sock))[2] == b"parent"
    server.close()
