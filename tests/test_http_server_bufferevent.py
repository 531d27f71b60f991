"""The bufferevent of a connection of a server: what Python may do with it while evhttp has its callbacks."""

from __future__ import annotations

import gc
import socket
from collections.abc import Callable
from typing import Any

import pytest
from http_peer import Client, ask, get, read_all, read_head, split

from libevent_cffi import READ, WRITE, BufferEventFlag, EventBase
from libevent_cffi.bufferevent import BufferEvent, RateLimit, RateLimitGroup
from libevent_cffi.errors import ClosedError
from libevent_cffi.http import Request, Server

BOTH = READ | WRITE
KEEP = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def server(plain_base: EventBase) -> Server:
    return Server(plain_base)


@pytest.mark.parametrize(
    "use",
    [
        lambda bev: bev.trigger(READ, ignore_watermarks=True),
        lambda bev: bev.trigger(WRITE, ignore_watermarks=True),
        lambda bev: bev.trigger_event(BufferEventFlag.READING | BufferEventFlag.EOF),
        lambda bev: bev.set_watermark(WRITE, low=10),
        lambda bev: bev.set_watermark(READ, high=10),
        lambda bev: bev.write_eof(),
    ],
    ids=["trigger read", "trigger write", "trigger_event", "low", "high", "write_eof"],
)
def test_what_would_call_evhttp_is_refused(
    plain_base: EventBase, server: Server, use: Callable[[BufferEvent], object]
) -> None:
    """While an answer is due evhttp ends the process when it is called, or takes the answer for sent."""
    told: list[str] = []

    def answer(request: Request) -> None:
        told.append("answered")
        request.reply(200, b"late")

    def handle(request: Request) -> None:
        request.defer()
        request.on_complete = lambda request: told.append("complete")
        with pytest.raises(ValueError, match="evhttp"):
            use(request.connection.bufferevent)
        plain_base.call_later(0.01, answer, request)

    server.handler = handle
    assert split(ask(plain_base, server, get()))[2] == b"late"
    assert told == ["answered", "complete"]


def test_what_is_turned_on_is_what_evhttp_uses(plain_base: EventBase, server: Server) -> None:
    """It reads nothing while an answer is due, and writes nothing before there is one."""
    told: list[str] = []
    deferred: list[Request] = []

    def answer(request: Request) -> None:
        told.append("answered")
        request.reply(200, b"late")

    def handle(request: Request) -> None:
        request.on_complete = lambda request: told.append("complete")
        if deferred:
            request.reply(200, b"first" if len(deferred) == 1 else b"third")
            return
        deferred.append(request)
        request.reply(200, b"first")
        server.handler = defer

    def defer(request: Request) -> None:
        request.on_complete = lambda request: told.append("complete")
        request.defer()
        bev = request.connection.bufferevent
        bev.disable(BOTH)
        bev.enable(BOTH)
        assert not bev.enabled & READ
        plain_base.call_later(0.02, bev.enable, BOTH)
        plain_base.call_later(0.05, answer, request)
        server.handler = handle

    server.handler = handle
    server.bind(("127.0.0.1", 0))

    def talk(sock: socket.socket) -> bytes:
        sock.sendall(KEEP)
        assert b"200" in read_head(sock)
        assert sock.recv(5) == b"first"
        sock.sendall(KEEP)
        plain_base.call_soon_threadsafe(lambda: None)
        sock.sendall(get())
        return read_all(sock)

    rest = Client(plain_base, server.bound[0].address, talk).finish()
    assert b"late" in rest
    assert rest.count(b"HTTP/1.1 200") == 2
    assert told == ["complete", "answered", "complete", "complete"]


@pytest.mark.parametrize("flush", [False, True])
def test_closing_it_ends_only_the_view(plain_base: EventBase, server: Server, flush: bool) -> None:
    """The answer that is on its way is sent to its end, and complete when it is."""
    size = 3000000
    told: list[int] = []

    def close(request: Request, bev: BufferEvent) -> None:
        assert request.unsent > 0
        bev.close(flush=flush)
        assert bev.closed
        go_on()

    def go_on() -> None:
        reads.append(None)

    reads: list[None] = []

    def handle(request: Request) -> None:
        bev = request.connection.bufferevent
        bev.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        request.on_complete = lambda request: told.append(request.unsent)
        request.reply(200, b"x" * size)
        plain_base.call_later(0.02, close, request, bev)

    server.handler = handle
    server.bind(("127.0.0.1", 0))

    def talk(sock: socket.socket) -> bytes:
        sock.sendall(get())
        while not reads:
            sock.settimeout(20)
            sock.recv(1, socket.MSG_PEEK)
        return read_all(sock)

    assert len(split(Client(plain_base, server.bound[0].address, talk).finish())[2]) == size
    assert told == [0]


def test_there_is_one_for_a_connection(plain_base: EventBase, server: Server) -> None:
    """All requests of it have the same, whose limits last as long as the connection without being kept."""
    limit = RateLimit(read_rate=1000000, write_rate=1000000)
    seen: list[Any] = []

    def handle(request: Request) -> None:
        bev = request.connection.bufferevent
        if not seen:
            bev.rate_limit = limit
            seen.append(id(bev))
        else:
            seen.append((id(bev) == seen[0], bev.rate_limit))
        request.reply(200, b"x")
        del bev
        plain_base.call_soon(gc.collect)

    server.handler = handle
    server.bind(("127.0.0.1", 0))

    def talk(sock: socket.socket) -> None:
        for last in (False, True):
            sock.sendall(get() if last else KEEP)
            read_head(sock)
            sock.recv(1)

    Client(plain_base, server.bound[0].address, talk).finish()
    assert seen[1:] == [(True, limit)]


def test_one_that_was_closed_has_a_successor(plain_base: EventBase, server: Server) -> None:
    """As long as the connection is open."""
    connections: list[Any] = []

    def handle(request: Request) -> None:
        connection = request.connection
        connection.bufferevent.close()
        assert connection.bufferevent.fileno() >= 0
        connections.append(connection)
        request.reply(200, b"x")

    server.handler = handle
    assert split(ask(plain_base, server, get()))[2] == b"x"
    with pytest.raises(ClosedError):
        connections[0].bufferevent  # noqa: B018 - the look-up is what is tested


def test_a_group_of_limits_keeps_the_loop_for_it(plain_base: EventBase, server: Server) -> None:
    """Until the answer is sent, also when the server is to stop and nothing else is waited for."""
    group = RateLimitGroup(plain_base, RateLimit(write_rate=400000, write_burst=40000))

    def handle(request: Request) -> None:
        request.defer()
        group.add(request.connection.bufferevent)
        server.stop()
        plain_base.call_later(0.3, request.reply, 200, b"x" * 100000)

    server.handler = handle
    server.bind(("127.0.0.1", 0))
    address = server.bound[0].address
    with socket.create_connection(address, 20) as sock:
        sock.sendall(get())
        plain_base.dispatch()
        assert len(split(read_all(sock))[2]) == 100000
    group.close()
