"""What the usual mistakes with HTTP and DNS are told: what was wrong, and what to do."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest
from http_peer import DEADLINE

from libevent_cffi import EventBase, dns
from libevent_cffi.http import Connection, Request, Server, fetch
from libevent_cffi.ws import WebSocket

Call = Callable[[EventBase], object]

#: Each call, its error, and words of that.
MISTAKES: dict[str, tuple[Call, type[Exception], str]] = {
    "one text as an address": (
        lambda base: Server(base).bind("127.0.0.1:8080"),
        ValueError,
        r"'127.0.0.1:8080' .*\(host, port\).*'./127.0.0.1:8080'",
    ),
    "a URL as an address": (
        lambda base: Connection(base, "http://127.0.0.1:8080"),
        ValueError,
        r"'http://127.0.0.1:8080' .*\(host, port\)",
    ),
    "a port as an address": (lambda base: Server(base).bind(8080), TypeError, r"\(host, port\).*not 8080"),  # type: ignore[arg-type]
    "an address of DNS as text": (
        lambda base: dns.Server(base, "127.0.0.1:53", print),  # type: ignore[arg-type]
        TypeError,
        r"address is \(host, port\) or a UDP socket, not '127.0.0.1:53'",
    ),
    "one name server": (
        lambda base: dns.Resolver(base, nameservers="127.0.0.1"),
        TypeError,
        r"nameservers are several: \['127.0.0.1'\]",
    ),
    "one name server with its port": (
        lambda base: dns.Resolver(base, nameservers=("127.0.0.1", 53)),  # type: ignore[arg-type]
        TypeError,
        r"nameservers are several: \[\('127.0.0.1', 53\)\]",
    ),
    "a search domain that is none": (
        lambda base: dns.Resolver(base, resolv_conf=False).add_search(5),  # type: ignore[arg-type]
        TypeError,
        "domain must be str, not int",
    ),
    "one search domain": (
        lambda base: dns.Resolver(base, search="example.org"),
        TypeError,
        r"search is several domains: \['example.org'\]",
    ),
    "a URL without its scheme": (
        lambda base: fetch(base, "127.0.0.1/x"),
        ValueError,
        "'127.0.0.1/x' is no URL to fetch: .*http, https",
    ),
    "a small method": (
        lambda base: fetch(base, "http://127.0.0.1/", method="get"),
        ValueError,
        "unknown method 'get': 'GET' is one",
    ),
    "a body that is a dict": (
        lambda base: fetch(base, "http://127.0.0.1/", method="POST", body={}),  # type: ignore[arg-type]
        TypeError,
        "a body is bytes-like, a str or a Buffer, not dict",
    ),
    "a target that is no path": (
        lambda base: Connection(base, ("127.0.0.1", 80)).request("GET", "x"),
        ValueError,
        "'x' cannot be a target: a path begins with '/'",
    ),
}


@pytest.mark.parametrize(("call", "error", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_what_to_do(
    plain_base: EventBase, call: Call, error: type[Exception], words: str
) -> None:
    """At once, and not by something that fails later."""
    with pytest.raises(error, match=words):
        call(plain_base)


@pytest.mark.parametrize("body", [{}, [b"x"], 5, None], ids=repr)
def test_an_answer_that_is_none_is_told_what_can_be_one(plain_base: EventBase, body: Any) -> None:
    """Also that there is reply_json() for values."""
    told = []

    def handle(request: Request) -> None:
        with pytest.raises(TypeError) as caught:
            request.reply(200, body)
        told.append(str(caught.value))
        request.reply()

    with Server(plain_base, handle) as server:
        fetch(plain_base, f"http://127.0.0.1:{server.bind(('127.0.0.1', 0)).port}/").wait(DEADLINE)
    assert told == [
        f"a body is bytes-like, a str or a Buffer, not {type(body).__name__}; reply_json() sends values"
    ]


@pytest.mark.parametrize("how", ["send", "ping"])
def test_a_message_that_is_none_is_told_what_can_be_one(plain_base: EventBase, how: str) -> None:
    """A WebSocket stays open."""
    pytest.importorskip("wsproto")
    with Server(plain_base, WebSocket.accept) as server:
        url = f"ws://127.0.0.1:{server.bind(('127.0.0.1', 0)).port}/"
        with WebSocket.connect(plain_base, url).wait(DEADLINE) as made:
            with pytest.raises(TypeError, match=r"a message is str or bytes-like, .*not dict; json"):
                getattr(made, how)({})
            assert not made.closed


def test_a_refused_connection_says_which(plain_base: EventBase) -> None:
    """A name may have several addresses, and a program many requests."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    with pytest.raises(ConnectionRefusedError, match=rf"127\.0\.0\.1:{port}$"):
        fetch(plain_base, f"http://127.0.0.1:{port}/").wait(DEADLINE)
    request = Connection(plain_base, "/there/is/no/such/socket").request("GET", "/")
    with pytest.raises(FileNotFoundError, match=r": /there/is/no/such/socket$"):
        request.wait(DEADLINE)
