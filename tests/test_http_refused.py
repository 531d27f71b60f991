"""HTTP servers: answers to requests that no handler sees."""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from certificates import Certificates
from http_peer import DEADLINE, Client, ask, exchange, get, read_all, split
from tls_peers import python_client

from libevent_cffi import EventBase
from libevent_cffi._native import lib
from libevent_cffi.http import Refused, Request, Server
from libevent_cffi.tls import TLSContext

LONG = "/" + "y" * 100000


@pytest.fixture
def told() -> list[Refused]:
    """What on_refused was told."""
    return []


@pytest.fixture
def server(plain_base: EventBase, told: list[Refused]) -> Iterator[Server]:
    """A server that says hello, to bodies of 1000 bytes at most."""
    with Server(
        plain_base,
        lambda request: request.reply(200, b"hello"),
        max_body_size=1000,
        on_refused=lambda server, refused: told.append(refused),
    ) as made:
        yield made


@pytest.mark.parametrize(
    ("data", "status", "line"),
    [
        (b"GET /a HTTP/1.1\r\nnonsense\r\n\r\n", 400, "GET /a HTTP/1.1"),
        (b"GET\n\n", 400, "GET"),
        (b"\x16\x03\x01\x02\xff\r\n\r\n", 400, "\x16\x03\x01\x02\udcff"),
        (b"GET /\x00a HTTP/1.1\r\n\r\n", 400, "GET /\x00a HTTP/1.1"),
        (get(LONG), 400, f"GET {LONG}"[:1000]),
        (get("/b", "Host: other"), 400, "GET /b HTTP/1.1"),
        (get("/c", "Content-Length: 1001", method="POST"), 413, "POST /c HTTP/1.1"),
        (get("/d", "Content-Length: 3", "Expect: wonders", method="POST"), 417, "POST /d HTTP/1.1"),
        (get("/e", method="BREW"), 501, "BREW /e HTTP/1.1"),
        (get("/f", method="TRACE"), 501, "TRACE /f HTTP/1.1"),
    ],
)
@pytest.mark.parametrize("before", [b"", b"GET /first HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_each_answer_is_told_once(
    plain_base: EventBase,
    server: Server,
    told: list[Refused],
    data: bytes,
    status: int,
    line: str,
    before: bytes,
) -> None:
    """With its status, its size and the line as it came, also after one that a handler has answered."""
    answer = ask(plain_base, server, before + data + b"GET /never HTTP/1.1\r\n\r\n")
    if before:
        answer = answer[answer.index(b"hello") + 5 :]
        line = line.partition("\0")[0]  # where it was cut before its turn came
    code, _, body = split(answer)
    assert code == status
    assert told == [Refused(status, line, len(body), told[0].peer_address)]
    assert told[0].peer_address[0] == "127.0.0.1"


def test_what_a_handler_sees_is_not_told(
    plain_base: EventBase, server: Server, told: list[Refused], caplog: pytest.LogCaptureFixture
) -> None:
    """Neither a reply, nor 404, nor the 500 of one that fails, nor a body that was waited for."""
    server.route("/fails", lambda request: 1 / 0)
    server.route("/404", lambda request: request.error(404))
    with caplog.at_level(logging.CRITICAL, "libevent"):
        for path, status in (("/", 200), ("/404", 404), ("/fails", 500)):
            data = get(path, "Content-Length: 1", "Expect: 100-continue", method="POST") + b"x"
            answer = ask(plain_base, server, data)
            assert split(answer[answer.rindex(b"HTTP/1.") :])[0] == status
    assert told == []


def test_one_that_on_request_saw_is_not_told(
    plain_base: EventBase, server: Server, told: list[Refused]
) -> None:
    """Where that is called before the body: it may have an on_complete of its own."""
    seen: list[Request] = []
    server.on_request = seen.append
    data = b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5000\r\n" + bytes(0x5000)
    assert split(ask(plain_base, server, data))[0] == 413
    assert len(seen) + len(told) == 1


def test_a_connection_too_many_is_told(plain_base: EventBase, server: Server, told: list[Refused]) -> None:
    """Its request is not waited for."""
    server.max_connections = 1
    address = server.bind(("127.0.0.1", 0)).address

    def talk(first: socket.socket) -> bytes:
        first.sendall(get().replace(b"close", b"keep-alive"))
        first.recv(1)
        with socket.create_connection(address, DEADLINE) as second:
            return read_all(second)

    assert split(Client(plain_base, address, talk).finish())[0] == 503
    assert [each[:3] for each in told] == [(503, "", 0)]


def test_a_unix_socket_has_no_host(
    plain_base: EventBase, server: Server, told: list[Refused], tmp_path: Path
) -> None:
    """Its address is that of the socket module."""
    bound = server.bind(str(tmp_path / "socket"))
    assert split(Client(plain_base, bound.address, exchange(b"BREW /\r\n\r\n")).finish())[0] in (400, 501)
    assert [each.peer_address for each in told] == [""]


@pytest.mark.skipif(not lib.LEV_HAS_TLS, reason="this build has no TLS")
def test_over_tls(
    plain_base: EventBase, told: list[Refused], server: Server, certificates: Certificates
) -> None:
    """As without."""
    context = TLSContext.server(certificates("server.pem"), certificates("server.key"))
    address = server.bind(("127.0.0.1", 0), tls=context).address

    def talk(sock: socket.socket) -> bytes:
        with python_client(certificates, sock) as wrapped:
            wrapped.sendall(get("/a", method="BREW"))
            return read_all(wrapped)

    body = split(Client(plain_base, address, talk).finish())[2]
    assert [each[:3] for each in told] == [(501, "BREW /a HTTP/1.1", len(body))]


def one_refused(base: EventBase, address: Any) -> None:
    """Have one request refused, until its client has seen the end and the loop has nothing to do."""
    with socket.create_connection(address, DEADLINE) as sock:
        sock.sendall(get(method="BREW"))
        sock.setblocking(False)
        end, got = time.monotonic() + DEADLINE, b"?"
        while got and not base.closed:
            assert time.monotonic() < end
            with contextlib.suppress(KeyboardInterrupt):
                base.poll(0.01)
            with contextlib.suppress(BlockingIOError, ConnectionError):
                got = sock.recv(65536)
    if not base.closed:
        base.poll()


@pytest.mark.parametrize("what", ["raise", "server", "base", "interrupt", "break", "off"])
def test_it_may_do_anything(
    plain_base: EventBase, server: Server, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    """Nothing crashes, and nothing is told twice."""
    calls = []

    def on_refused(served: Server, refused: Refused) -> None:
        assert served is server
        calls.append(refused)
        if what == "raise":
            raise RuntimeError("no log")
        if what == "interrupt":
            raise KeyboardInterrupt
        if what == "off":
            server.on_refused = None
        elif what == "break":
            plain_base.loop_break()
        else:
            {"server": server, "base": plain_base}[what].close()

    server.on_refused = on_refused
    address = server.bind(("127.0.0.1", 0)).address
    with caplog.at_level(logging.ERROR, "libevent"):
        for _ in range(2):
            if not server.closed:
                one_refused(plain_base, address)
    assert len(calls) == (1 if what in ("server", "base", "off") else 2)
    assert ("no log" in caplog.text) == (what == "raise")


def test_it_can_be_read_back(server: Server, told: list[Refused]) -> None:
    """It is a setting as others."""
    assert server.on_refused is not None
    server.on_refused = None
    assert server.on_refused is None
    wrong: Any = 3
    with pytest.raises(TypeError, match="on_refused"):
        server.on_refused = wrong
