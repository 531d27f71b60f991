"""Answers are sent when they are given, and evhttp's stops and starts reach no epoll: the same else."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator

import pytest

from libevent_cffi import EventBase
from libevent_cffi.http import Request, Server

DEADLINE = 15.0
ASK = b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE = b"0123456789abcdef" * 65536


@pytest.fixture
def server(base: EventBase) -> Iterator[Server]:
    """A server that listens, on each method."""
    with Server(base) as made:
        made.bind(("127.0.0.1", 0))
        yield made


def connect(server: Server) -> socket.socket:
    """Connect to it."""
    sock = socket.create_connection(server.bound[0].address)
    sock.setblocking(False)
    return sock


def dispatch_until(base: EventBase, happened: Callable[[], object]) -> None:
    """Dispatch until *happened()*."""
    for _ in range(int(DEADLINE * 100)):
        if happened():
            return
        base.poll(0.01)
    pytest.fail("it did not happen")


def take(sock: socket.socket) -> bytes:
    """Take what is there without waiting."""
    parts: list[bytes] = []
    try:
        while part := sock.recv(1 << 20):
            parts.append(part)
    except BlockingIOError:
        pass
    return b"".join(parts)


def test_an_answer_is_sent_when_it_is_given(base: EventBase, server: Server) -> None:
    """Before the handler returns; on_complete is told later, and the next request is answered."""
    seen: list[object] = []

    def handle(request: Request) -> None:
        request.on_complete = lambda request: seen.append("complete")
        request.reply(200, b"hello")
        seen.append(take(sock).endswith(b"\r\n\r\nhello"))

    server.handler = handle
    with connect(server) as sock:
        for turn in range(1, 4):
            sock.send(ASK % turn)
            dispatch_until(base, lambda turn=turn: len(seen) == 2 * turn)
    assert seen == [True, "complete"] * 3


def test_an_answer_is_sent_without_a_loop(base: EventBase, server: Server) -> None:
    """One that was deferred goes out when it is given, whoever dispatches then."""
    kept: list[Request] = []

    def handle(request: Request) -> None:
        request.defer()
        kept.append(request)

    server.handler = handle
    with connect(server) as sock:
        sock.send(ASK % 1)
        dispatch_until(base, lambda: kept)
        kept[0].reply(200, b"late")
        assert take(sock).endswith(b"\r\n\r\nlate")
        sock.send(ASK % 2)
        dispatch_until(base, lambda: len(kept) == 2)
        kept[1].close()


def test_what_a_client_does_not_take_at_once_follows(base: EventBase, server: Server) -> None:
    """More than a socket holds; pipelined requests behind it are answered in their order."""
    server.handler = lambda request: request.reply(200, LARGE if request.path == "/1" else b"small")
    got = bytearray()
    with connect(server) as sock:
        sock.send(b"".join(ASK % number for number in (1, 2, 1, 2)))

        def is_whole() -> bool:
            got.extend(take(sock))
            return len(got) > 2 * len(LARGE) and got.endswith(b"\r\n\r\nsmall")

        dispatch_until(base, is_whole)
    answers = bytes(got).split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert [answer.partition(b"\r\n\r\n")[2] for answer in answers] == [LARGE, b"small"] * 2


def test_a_client_that_was_reset_is_told_once(base: EventBase, server: Server) -> None:
    """Whether sending fails, or reading does: on_close or on_complete, and the server goes on."""
    told: list[str] = []

    def handle(request: Request) -> None:
        request.on_close = lambda request: told.append("closed")
        request.on_complete = lambda request: told.append("complete")
        if request.path == "/1":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
        request.reply(200, LARGE)

    server.handler = handle
    sock = connect(server)
    sock.send(ASK % 1)
    dispatch_until(base, lambda: told)
    base.poll()
    assert told == ["closed"]
    with connect(server) as sock:
        sock.send(ASK % 2)
        dispatch_until(base, lambda: take(sock) is not None and len(told) == 2)
    assert told == ["closed", "complete"]


def test_a_connection_closed_behind_its_answer_leaves_nothing(base: EventBase, server: Server) -> None:
    """
    Its socket is closed while libevent still means to tell that all was sent; its number is another's soon.

    libevent 2.1 closes the socket and lets the bufferevent live until that is told: select() would fail for
    the closed descriptor, and epoll would be told of another connection's.
    """
    kept: list[Request] = []

    def handle(request: Request) -> None:
        if request.path == "/1":
            request.defer()
            kept.append(request)
        else:
            request.reply(200, b"other")

    server.handler = handle
    for _ in range(5):
        with connect(server) as sock:
            sock.send(ASK % 1)
            dispatch_until(base, lambda: kept)
            request = kept.pop()
            connection = request.connection
            request.reply(200, b"last")
            connection.close()
            with connect(server) as other:
                other.send(ASK % 2)
                dispatch_until(base, lambda other=other: take(other).endswith(b"other"))
            assert take(sock).endswith(b"last")


def reads_of_ours(base: EventBase) -> int:
    """Return for how many of our own events libevent reads."""
    return sum("Read" in line and "Internal" in line for line in base.dump().splitlines())


def test_nothing_is_watched_for_that_nobody_reads(base: EventBase, server: Server) -> None:
    """
    While an answer is deferred what the client sends waits, and wakes no loop up.

    The event that keeps epoll from hearing of evhttp's stops runs once then, and goes; the next request has
    it again.
    """
    kept: list[Request] = []

    def handle(request: Request) -> None:
        request.defer()
        kept.append(request)

    server.handler = handle
    stays = 1 if base.method == "epoll" else 0
    before = reads_of_ours(base)
    with connect(server) as sock:
        sock.send(b"G")
        for turn in range(1, 3):
            sock.send((ASK % turn)[1:])
            dispatch_until(base, lambda: kept)
            assert reads_of_ours(base) == before + stays
            sock.send(b"G")
            dispatch_until(base, lambda: reads_of_ours(base) == before)
            base.poll()
            kept.pop().reply(200, b"so be it")
            dispatch_until(base, lambda: take(sock).endswith(b"so be it"))
            dispatch_until(base, lambda: reads_of_ours(base) == before + stays)
    dispatch_until(base, lambda: not server.connections)
    assert reads_of_ours(base) == before


def test_a_bufferevent_in_python_hands_is_python_s_alone(base: EventBase, server: Server) -> None:
    """Who has seen the connection's bufferevent may stop it: the answer waits, and goes out when it may."""
    seen: list[bytes] = []

    def handle(request: Request) -> None:
        bev = request.connection.bufferevent
        bev.write_timeout = DEADLINE
        request.reply(200, b"slowly")
        seen.append(take(sock))

    server.handler = handle
    with connect(server) as sock:
        sock.send(ASK % 1)
        dispatch_until(base, lambda: seen)
        assert seen[0] == b""
        dispatch_until(base, lambda: take(sock).endswith(b"slowly"))
