"""HTTP servers: bodies that come piece by piece, where libevent can, and in one piece elsewhere."""

from __future__ import annotations

import gc
import logging
import socket
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from http_peer import DEADLINE, Client, ask, get, read_all, read_head, split

from libevent_cffi import EventBase, util
from libevent_cffi.buffer import Buffer
from libevent_cffi.http import Request, Server

STREAMS = util.features()["upload_streaming"]


@pytest.fixture
def server(plain_base: EventBase) -> Iterator[Server]:
    """A server without a handler."""
    with Server(plain_base) as made:
        yield made


def post(body: bytes, *headers: str) -> bytes:
    return get("/up", f"Content-Length: {len(body)}", *headers, method="POST") + body


def collect(told: list[Any]) -> Any:
    """Make a handler that notes what comes, and answers when all has come."""

    def on_body(request: Request, chunk: Buffer) -> None:
        told.append(bytes(chunk))

    def on_body_end(request: Request) -> None:
        told.append("end")
        request.reply(200, b"".join(part for part in told if isinstance(part, bytes)))

    def handle(request: Request) -> None:
        told.append(request.method)
        request.on_body = on_body
        request.on_body_end = on_body_end

    return handle


def test_the_calls_come_in_order(plain_base: EventBase, server: Server) -> None:
    """Handler, pieces, end; the answer has all of it."""
    told: list[Any] = []
    server.route("/up", collect(told), stream=True)
    assert split(ask(plain_base, server, post(b"abc" * 1000)))[2] == b"abc" * 1000
    assert told[0] == "POST"
    assert told[-1] == "end"
    assert b"".join(told[1:-1]) == b"abc" * 1000
    told.clear()
    chunks = b"".join(b"3\r\nabc\r\n" for _ in range(5)) + b"0\r\n\r\n"
    data = get("/up", "Transfer-Encoding: chunked", method="POST") + chunks
    assert split(ask(plain_base, server, data))[2] == b"abc" * 5
    told.clear()
    assert split(ask(plain_base, server, get("/up")))[0] == 200
    assert told == ["GET", "end"]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_body_takes_linear_time(plain_base: EventBase, server: Server, chunked: bool) -> None:
    """To come, and to be taken, though it is kept in thousands of pieces until it is whole."""
    size = 40 * 2**20
    server.max_body_size = None
    server.handler = lambda request: request.reply(200, str(len(request.body.remove())))
    server.bind(("127.0.0.1", 0))
    header = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (size, bytes(size)) if chunked else bytes(size)
    data = get("/", header, method="PUT") + body
    begin = time.process_time()
    assert split(ask(plain_base, server, data))[2] == b"%d" % size
    assert time.process_time() - begin < 1.2  # in quadratic time it would be 3 s or more


@pytest.mark.skipif(not STREAMS, reason="libevent 2.1 keeps bodies until they are whole")
def test_pieces_come_as_they_are_sent(plain_base: EventBase, server: Server) -> None:
    """The handler is called before the body has been sent."""
    told: list[Any] = []
    seen = threading.Event()
    handle = collect(told)

    def handler(request: Request) -> None:
        handle(request)
        seen.set()

    server.route("/up", handler, stream=True)
    server.bind(("127.0.0.1", 0))

    def talk(sock: socket.socket) -> bytes:
        whole = post(b"abcdef")
        sock.sendall(whole[:-3])
        assert seen.wait(10)
        sock.sendall(whole[-3:])
        return read_all(sock)

    assert split(Client(plain_base, server.bound[0].address, talk).finish())[2] == b"abcdef"
    assert [part for part in told if isinstance(part, bytes)] == [b"abc", b"def"]


@pytest.mark.parametrize("how", ["reply", "error", "start", "end", "chunks", "raise", "redirect"])
def test_an_answer_may_come_before_the_body(
    plain_base: EventBase, server: Server, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is sent when that has come."""

    def handle(request: Request) -> None:
        if how == "reply":
            request.reply(200, b"early")
        elif how == "error":
            request.error(403)
        elif how == "redirect":
            request.redirect("/x")
        elif how == "raise":
            raise RuntimeError("no")
        else:
            request.start(200)
            if how == "chunks":
                request.send_chunk(b"early")
            if how == "start":
                request.send_chunk(b"ear", lambda request: (request.send_chunk(b"ly"), request.end()))
            else:
                request.end()

    server.route("/up", handle, stream=True)
    with caplog.at_level(logging.CRITICAL, "libevent"):
        status, _, body = split(ask(plain_base, server, post(b"x" * 100000)))
    expected = {"error": 403, "raise": 500, "redirect": 302}.get(how, 200)
    assert status == expected
    if expected == 200:
        assert (
            body.replace(b"\r\n", b"")
            in {
                "reply": [b"early"],
                "chunks": [b"5early0"],
                "start": [b"3ear2ly0"],
                "end": [b"0"],
            }[how]
        )


def test_one_that_is_never_answered_is_500(
    plain_base: EventBase, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """After on_body_end; one that is deferred may be answered later."""

    def later(request: Request) -> None:
        request.defer()
        plain_base.call_later(0.02, request.reply, 200, b"later")

    def handle(request: Request) -> None:
        if request.query:
            request.on_body_end = later

    server.route("/up", handle, stream=True)
    with caplog.at_level(logging.CRITICAL, "libevent"):
        assert split(ask(plain_base, server, post(b"x")))[0] == 500
        whole = post(b"x").replace(b"/up", b"/up?later")
        assert split(ask(plain_base, server, whole))[2] == b"later"


def test_a_callback_that_raises_is_500(
    plain_base: EventBase, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """And no more of the body is told."""
    told = []

    def fail(request: Request, chunk: Buffer) -> None:
        told.append(bytes(chunk))
        raise RuntimeError("enough")

    def handle(request: Request) -> None:
        request.on_body = fail

    server.route("/up", handle, stream=True)
    with caplog.at_level(logging.ERROR, "libevent"):
        assert split(ask(plain_base, server, post(b"x" * 100)))[0] == 500
    assert "enough" in caplog.text
    assert len(told) == 1


def test_an_interrupted_body_is_whole_in_the_next_loop(plain_base: EventBase, server: Server) -> None:
    """What came after a KeyboardInterrupt is kept."""
    told: list[Any] = []
    handle = collect(told)

    def handler(request: Request) -> None:
        handle(request)
        on_body = request.on_body

        def once(request: Request, chunk: Buffer) -> None:
            request.on_body = on_body
            told.append(bytes(chunk))
            plain_base.loop_break()

        request.on_body = once

    server.route("/up", handler, stream=True)
    server.bind(("127.0.0.1", 0))
    body = bytes(range(256)) * 1000

    def talk(sock: socket.socket) -> bytes:
        sock.sendall(post(body))
        return read_all(sock)

    client = Client(plain_base, server.bound[0].address, talk)
    plain_base.dispatch()
    assert split(client.finish())[2] == body


def test_on_request_sees_a_request_once(plain_base: EventBase, server: Server) -> None:
    """And refuses it before its body has come, where libevent can."""
    seen = []

    def look(request: Request) -> None:
        seen.append((request.path, len(request.body)))
        if request.path == "/no":
            request.error(403)

    server.on_request = look
    server.handler = lambda request: request.reply(200, request.body)
    assert split(ask(plain_base, server, post(b"abc")))[2] == b"abc"
    assert split(ask(plain_base, server, post(b"abc").replace(b"/up", b"/no")))[0] == 403
    assert [path for path, _ in seen] == ["/up", "/no"]
    if STREAMS:
        assert [size for _, size in seen] == [0, 0]


def test_a_client_that_leaves_in_the_middle(plain_base: EventBase, server: Server) -> None:
    """It is told, where the handler was called."""
    told = []

    def left(request: Request) -> None:
        told.append("left")
        plain_base.loop_exit()

    def handle(request: Request) -> None:
        told.append("came")
        request.on_close = left

    server.route("/up", handle, stream=True)
    bound = server.bind(("127.0.0.1", 0))
    with socket.create_connection(bound.address) as sock:
        sock.sendall(post(b"abc")[:-1])
        plain_base.call_later(0.05, sock.close)
        plain_base.call_later(0.3, plain_base.loop_exit)
        plain_base.dispatch()
    assert told == (["came", "left"] if STREAMS else [])


def test_expect_is_answered_before_the_pieces(plain_base: EventBase, server: Server) -> None:
    """100 Continue comes from libevent."""
    told: list[Any] = []
    server.route("/up", collect(told), stream=True)
    server.bind(("127.0.0.1", 0))

    def talk(sock: socket.socket) -> bytes:
        whole = post(b"abc", "Expect: 100-continue")
        sock.sendall(whole[:-3])
        assert read_head(sock).startswith(b"HTTP/1.1 100")
        sock.sendall(b"abc")
        return read_all(sock)

    assert split(Client(plain_base, server.bound[0].address, talk).finish())[2] == b"abc"


# -- virtual hosts -------------------------------------------------------------------------------------------


class Hosts:
    """A server with virtual hosts, and a client that stops in the middle of a body."""

    def __init__(self, base: EventBase, server: Server) -> None:
        self.base, self.server = base, server
        self.told: list[Any] = []
        self.inner, self.outer = Server(base), Server(base)
        self.outer.add_virtual_host("*.inner.example", self.inner)
        self.outer.add_alias("alias.example")
        server.add_virtual_host("*.example", self.outer)
        for name, each in (("own", server), ("outer", self.outer), ("inner", self.inner)):
            each.route("/up", self.handler(name), stream=True)
        server.bind(("127.0.0.1", 0))
        self.at_first: Any = lambda request: None

    def handler(self, name: str) -> Any:
        handle = collect(self.told)

        def noted(request: Request) -> None:
            assert request.server in (self.server, self.outer, self.inner)
            self.told.append(name)
            handle(request)
            on_body = request.on_body

            def first(request: Request, chunk: Buffer) -> None:
                request.on_body = on_body
                assert on_body is not None
                on_body(request, chunk)
                self.at_first(request)
                self.seen.set()

            request.on_body = first

        return noted

    def send(self, host: str) -> bytes:
        """Send a body in two halves, the second when the first was seen, where that can be."""
        self.told.clear()
        self.seen = threading.Event()
        whole = post(b"abcdef").replace(b"Host: localhost", b"Host: " + host.encode())

        def talk(sock: socket.socket) -> bytes:
            sock.sendall(whole[:-3])
            if STREAMS:
                assert self.seen.wait(10)
            sock.sendall(whole[-3:])
            return read_all(sock)

        answer: bytes = Client(self.base, self.server.bound[0].address, talk).finish()
        return answer


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("localhost", "own"),
        ("example", "own"),
        ("a.example:80", "outer"),
        ("A.B.EXAMPLE", "outer"),
        ("alias.example", "outer"),
        ("a.inner.example", "inner"),
        ("inner.example", "outer"),
        (".inner.example", "inner"),
        ("a.inner.example.b.example", "outer"),
    ],
)
def test_pieces_go_to_the_virtual_host(plain_base: EventBase, server: Server, host: str, name: str) -> None:
    """To the same that libevent finds when the request is whole."""
    hosts = Hosts(plain_base, server)
    assert split(hosts.send(host))[2] == b"abcdef"
    assert hosts.told[:2] == [name, "POST"]
    assert hosts.told[2:] == ([b"abc", b"def", "end"] if STREAMS else [b"abcdef", "end"])
    for own, each in (("own", server), ("outer", hosts.outer), ("inner", hosts.inner)):
        each.remove_route("/up")
        each.route("/up", lambda request, own=own: request.reply(200, own))
    whole = post(b"x").replace(b"Host: localhost", b"Host: " + host.encode())
    assert split(ask(plain_base, server, whole))[2] == name.encode()


@pytest.mark.skipif(not STREAMS, reason="libevent 2.1 keeps bodies until they are whole")
def test_a_virtual_host_may_go_while_a_body_comes(plain_base: EventBase, server: Server) -> None:
    """One that is removed finishes; with one that is closed the connection goes, and nobody gets a half."""
    hosts = Hosts(plain_base, server)
    hosts.at_first = lambda request: hosts.outer.remove_virtual_host(hosts.inner)
    assert split(hosts.send("a.inner.example"))[2] == b"abcdef"
    hosts.at_first = lambda request: hosts.outer.close()
    assert hosts.send("a.example") == b""
    assert hosts.told == ["outer", "POST", b"abc"]
    hosts.at_first = lambda request: None
    assert split(hosts.send("a.example"))[2] == b"abcdef"
    assert hosts.told[0] == "own"
    hosts.inner.close()


def test_a_virtual_host_that_is_removed_answers_what_it_has(plain_base: EventBase, server: Server) -> None:
    """It is told of its requests until they are over, and held no longer."""
    told = []

    def complete(request: Request) -> None:
        told.append(request.server.closed)

    def later(request: Request) -> None:
        request.start()
        request.send_chunk(b"lat", lambda request: (request.send_chunk(b"er"), request.end()))

    def handle(request: Request) -> None:
        request.defer()
        request.on_complete = complete
        server.remove_virtual_host(request.server)
        plain_base.call_later(0.01, later, request)

    server.add_virtual_host("*host", Server(plain_base, handle))
    assert split(ask(plain_base, server, get()))[2].replace(b"\r\n", b"") == b"3lat2er0"
    assert told == [False]
    assert split(ask(plain_base, server, get()))[0] == 404
    before = weakref.WeakSet(child for child in plain_base._children.values() if child is not server)
    gc.collect()
    assert not [each for each in before if isinstance(each, Server)]


def test_an_early_answer_reaches_who_only_stops_sending(plain_base: EventBase, server: Server) -> None:
    """All of it, though the client's end comes with the last of the body, long before all is written."""
    size = 3000000

    def handle(request: Request) -> None:
        request.start(200)
        request.send_chunk(b"x" * size)
        request.end()
        seen.set()

    seen = threading.Event()
    server.route("/up", handle, stream=True)
    server.bind(("127.0.0.1", 0))

    def talk(sock: socket.socket) -> bytes:
        whole = post(b"abcdef")
        sock.sendall(whole[:-4])
        if STREAMS:
            seen.wait(DEADLINE)
        sock.sendall(whole[-4:])
        sock.shutdown(socket.SHUT_WR)
        return read_all(sock)

    answer = Client(plain_base, server.bound[0].address, talk).finish()
    assert answer.endswith(b"\r\n0\r\n\r\n")
    assert answer.count(b"x") >= size
