"""HTTP servers and clients that break it, by mistake or on purpose."""

from __future__ import annotations

import contextlib
import gc
import logging
import random
import re
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from http_corpus import CORPUS, KEPT
from http_peer import get, split

from libevent_cffi import EventBase, util
from libevent_cffi._native import lib
from libevent_cffi.errors import ClosedError
from libevent_cffi.http import Request, Server

#: Where libevent tells when a head has come, other parts of ours decide.
STREAMS = [False, True] if util.features()["upload_streaming"] else [False]


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Without what servers have to say of it."""
    with caplog.at_level(logging.CRITICAL, "libevent"):
        yield


def look(request: Request) -> None:
    """Read all that there is to read, and answer."""
    seen = (request.method, request.target, request.path, request.query, request.host, request.headers)
    bytes(request.body)
    repr(seen)
    request.reply(200, b"fine" if request.path != "/smuggled" else b"SMUGGLED")


def look_at_pieces(request: Request) -> None:
    """Do the same when all of the body has come."""
    request.on_body_end = look


@contextlib.contextmanager
def served(base: EventBase, streams: bool) -> Iterator[Server]:
    """Serve, for a route with stream=True or not."""
    with Server(base, look, timeout=1) as server:
        if streams:
            server.route("/", look_at_pieces, stream=True)
        server.bind(("127.0.0.1", 0))
        yield server


def reset_at_close(sock: socket.socket) -> None:
    """Have it end by RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def poll_until(base: EventBase, condition: Callable[[], bool]) -> None:
    """Let what is there happen, until it is so."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        base.poll()


def converse(
    base: EventBase, server: Server, data: bytes, *, reset: bool = False, shut: bool = True
) -> bytes:
    """Send *data* without a thread, stop sending, and return what comes until the connection ends."""
    got = []
    with socket.create_connection(server.bound[0].address) as sock:
        sock.setblocking(False)
        left = memoryview(data)

        def work() -> None:
            nonlocal left
            try:
                if left:
                    left = left[sock.send(left) :]
                    if not left:
                        if reset:
                            reset_at_close(sock)
                            base.loop_exit()
                            return
                        if shut:
                            sock.shutdown(socket.SHUT_WR)
                elif not data:
                    sock.shutdown(socket.SHUT_WR)
                part = sock.recv(65536)
                if part:
                    got.append(part)
                else:
                    base.loop_exit()
            except BlockingIOError:
                pass
            except OSError:
                base.loop_exit()

        ticks = base.call_every(0.001, work) if hasattr(base, "call_every") else base.every(0.001, work)
        limit = base.call_later(3, base.loop_exit)
        base.dispatch()
        ticks.close()
        limit.close()
    return b"".join(got)


@pytest.mark.parametrize("streams", STREAMS)
@pytest.mark.parametrize("name", CORPUS)
def test_the_corpus(plain_base: EventBase, quiet: None, name: str, streams: bool) -> None:
    """Each has an answer that is right for it, and nothing is smuggled."""
    data, statuses = CORPUS[name]
    with served(plain_base, streams) as server:
        answer = converse(plain_base, server, data)
        assert b"SMUGGLED" not in answer
        assert (int(answer.split(b" ", 2)[1]) if answer else 0) in statuses
        assert split(converse(plain_base, server, get()))[2] == b"fine"
        assert server.connections == 0 or plain_base.poll() is not None


@pytest.mark.parametrize("streams", STREAMS)
@pytest.mark.parametrize("name", KEPT)
def test_what_is_sent_before_another_request(
    plain_base: EventBase, quiet: None, name: str, streams: bool
) -> None:
    """Each body ends where it does, and the next request begins there."""
    data, expected = KEPT[name]
    with served(plain_base, streams) as server:
        answer = converse(plain_base, server, data + get("/last"), shut=False)
    assert b"SMUGGLED" not in answer
    assert tuple(map(int, re.findall(rb"HTTP/1\.1 (\d+) ", answer))) in expected


@pytest.mark.parametrize("streams", STREAMS)
def test_what_comes_byte_by_byte(plain_base: EventBase, quiet: None, streams: bool) -> None:
    """Where the bytes of a request are parted, it means the same."""
    texts = [(data, {(status,) for status in statuses}) for data, statuses in CORPUS.values()]
    texts += [(data, expected) for data, expected in KEPT.values() if len(expected) == 1]
    with served(plain_base, streams) as server:
        for data, expected in texts:
            if len(data) > 400 or (b"\0" not in data and b"chunked" not in data):
                continue
            with socket.create_connection(server.bound[0].address) as sock:
                for byte in data + get("/last"):
                    try:
                        sock.send(bytes([byte]))
                    except OSError:
                        break
                    plain_base.poll()
                sock.settimeout(0)
                answer = b""
                end = time.monotonic() + 20
                while time.monotonic() < end:
                    plain_base.poll()
                    try:
                        part = sock.recv(65536)
                    except BlockingIOError:
                        continue
                    except OSError:
                        part = b""
                    if not part:
                        break
                    answer += part
            assert b"SMUGGLED" not in answer
            found = tuple(map(int, re.findall(rb"HTTP/1\.1 (\d+) ", answer)))
            assert found in expected or not found, data


def test_chunks_of_a_byte_take_no_more_memory(plain_base: EventBase) -> None:
    """Each part of each comes alone, in memory a thousand times as large, which is not kept with the body."""
    count = 1000
    with served(plain_base, False) as server:
        server.handler = lambda request: request.reply(200, bytes(request.body))
        with socket.create_connection(server.bound[0].address) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.send(
                b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            while not server.connections:
                plain_base.poll(0.01)
            before = util.memory_counters().bytes
            for part in (b"1\r\n", b"a", b"\r\n") * count:
                sock.send(part)
                plain_base.poll()
            assert util.memory_counters().bytes - before < 100 * count
            sock.send(b"0\r\n\r\n")
            sock.settimeout(0)
            answer = b""
            end = time.monotonic() + 20
            while not answer.endswith(b"a" * count) and time.monotonic() < end:
                plain_base.poll(0.01)
                with contextlib.suppress(BlockingIOError):
                    answer += sock.recv(65536)
            assert answer.endswith(b"a" * count)


@pytest.mark.parametrize("streams", STREAMS)
def test_all_requests_of_a_client_that_sends_no_more(
    plain_base: EventBase, quiet: None, streams: bool
) -> None:
    """Each of the requests that came before the end is answered, and a half of one is not."""
    data = b"GET / HTTP/1.1\r\nHost: x\r\n\r\nPOST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
    with served(plain_base, streams) as server:
        for count in (1, 2, 3, 40):
            answer = converse(plain_base, server, data * count + b"GET /half HTTP/1.1\r\n")
            assert answer.count(b"HTTP/1.1 200 OK") == answer.count(b"fine") == 2 * count
        assert server.connections == 0


@pytest.mark.parametrize("how", ["reply", "pieces", "file", "later"])
def test_a_large_answer_to_a_client_that_sends_no_more(
    plain_base: EventBase, quiet: None, tmp_path: Path, how: str
) -> None:
    """It gets all of it."""
    body = random.Random(4).randbytes(3_000_000)
    Path(tmp_path, "file").write_bytes(body)

    def late(request: Request) -> None:
        with contextlib.suppress(BrokenPipeError):  # it looks as if the client had left
            request.reply(200, body)

    def answer(request: Request) -> None:
        if how == "reply":
            request.reply(200, body)
        elif how == "file":
            request.sendfile(tmp_path / "file")
        elif how == "pieces":
            request.start(200, headers={"Content-Length": str(len(body))})
            request.send_chunk(body[:100_000])
            request.send_chunk(body[100_000:])
            request.end()
        else:
            request.defer()
            request.on_close = late

    with Server(plain_base, answer) as server:
        server.bind(("127.0.0.1", 0))
        got = converse(plain_base, server, get())
    assert split(got)[2] == body


def test_a_hundred_thousand_headers(plain_base: EventBase) -> None:
    """Where no limit was set, they are read."""
    counts = []

    def count(request: Request) -> None:
        counts.append(len(request.headers))
        request.reply()

    data = get("/", *(f"X{n}: y" for n in range(100_000)))
    with Server(plain_base, count, max_headers_size=None) as server:
        server.bind(("127.0.0.1", 0))
        assert split(converse(plain_base, server, data))[0] == 200
    assert counts == [100_002]


_HEAD = get("/x", "Transfer-Encoding: chunked", "Expect: 100-continue", method="POST")
WHOLE = {
    "chunks": _HEAD + b"3\r\nabc\r\n0\r\nX: y\r\n\r\n",
    "length": get("/", "Content-Length: 5", method="PUT") + b"abcde",
    "two": get().replace(b"Connection: close\r\n", b"") + get("/x"),
}


@pytest.mark.parametrize("streams", STREAMS)
@pytest.mark.parametrize("name", WHOLE)
def test_every_prefix_of_a_request(plain_base: EventBase, quiet: None, name: str, streams: bool) -> None:
    """The client leaves after each of its bytes, properly or not."""
    whole = WHOLE[name]
    with served(plain_base, streams) as server:
        for end in range(len(whole)):
            for reset in (False, True):
                with socket.create_connection(server.bound[0].address) as sock:
                    sock.sendall(whole[:end])
                    plain_base.poll()
                    plain_base.poll()
                    if reset:
                        reset_at_close(sock)
        poll_until(plain_base, lambda: not server.connections)
        assert split(converse(plain_base, server, whole))[0] in (100, 200)


@pytest.mark.parametrize("reset", [False, True])
def test_a_client_that_leaves_a_reply_in_chunks(plain_base: EventBase, quiet: None, reset: bool) -> None:
    """After each of its first bytes: it is told once, and nothing more can be sent."""
    told: list[Request] = []

    def more(request: Request) -> None:
        request.send_chunk(b"0123456789", more)

    def handle(request: Request) -> None:
        request.on_close = told.append
        request.start()
        more(request)

    with Server(plain_base, handle) as server:
        bound = server.bind(("127.0.0.1", 0))
        for size in range(1, 180, 3):
            with socket.create_connection(bound.address) as sock:
                sock.sendall(get())
                got = 0
                sock.setblocking(False)
                while got < size:
                    plain_base.poll()
                    with contextlib.suppress(BlockingIOError):
                        got += len(sock.recv(size - got))
                if reset:
                    reset_at_close(sock)
            poll_until(plain_base, lambda count=size // 3 + 1: len(told) == count)  # type: ignore[misc]
        poll_until(plain_base, lambda: not server.connections)
        assert all(request.closed and request.client_gone for request in told)
        for request in told:
            with pytest.raises(BrokenPipeError):
                request.send_chunk(b"more")


def test_mutated_requests(plain_base: EventBase, quiet: None) -> None:
    """Bytes are changed, doubled and left out, in many requests on many connections."""
    source = random.Random(20261127)
    seeds = [data for data, _ in CORPUS.values() if 0 < len(data) < 2000]
    with Server(plain_base, look, timeout=2, max_body_size=1000) as server:
        bound = server.bind(("127.0.0.1", 0))
        for _ in range(600):
            data = bytearray(source.choice(seeds) + source.choice(seeds))
            for _ in range(source.randrange(6)):
                place = source.randrange(len(data))
                how = source.randrange(3)
                if how == 0:
                    data[place] = source.randrange(256)
                elif how == 1:
                    del data[place : place + source.randrange(8)]
                else:
                    data[place:place] = data[place : place + source.randrange(20)]
                if not data:
                    data += b"x"
            with socket.create_connection(bound.address) as sock:
                sock.sendall(data)
                for _ in range(3):
                    plain_base.poll()
        assert split(converse(plain_base, server, get()))[2] == b"fine"


class Program:
    """Requests on several connections, and anything done to them at any time."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.base = EventBase()
        self.server = Server(self.base, self.handle, timeout=5, max_connections=6)
        if self.random.random() < 0.5:
            self.server.route("/up", self.handle, stream=True)
        self.bound = self.server.bind(("127.0.0.1", 0))
        self.address = self.bound.address
        self.requests: list[Request] = []
        self.clients: list[socket.socket] = []
        self.steps = 0

    def handle(self, request: Request) -> None:
        self.requests.append(request)
        if self.random.random() < 0.3:
            request.on_close = self.told
        if self.random.random() < 0.3:
            request.on_complete = self.told
        if self.random.random() < 0.2:
            request.on_body = lambda request, chunk: self.told(request)
        if self.random.random() < 0.4:
            request.defer()
        self.do(request)

    def told(self, request: Request) -> None:
        if self.random.random() < 0.5:
            self.do(self.random.choice(self.requests))
        if self.random.random() < 0.1:
            raise RuntimeError("told")

    def do(self, request: Request) -> None:
        """Do something to a request."""
        actions: list[Any] = [
            lambda: request.reply(200, b"x" * self.random.choice((0, 10, 100000))),
            lambda: request.error(404),
            request.start,
            lambda: request.send_chunk(b"chunk", self.told),
            lambda: request.send_chunk(b"y" * 100000),
            request.end,
            request.defer,
            request.close,
            lambda: (request.headers, request.path, request.body, request.connection),
            lambda: self.cut(request),
            lambda: bytes(request.body),
            lambda: setattr(request, "on_close", self.told),
            lambda: (request.closed, request.answered, request.client_gone, request.unsent, repr(request)),
        ]
        weights = [6, 2, 4, 3, 1, 3, 3, 1, 2, 1, 2, 1, 2]
        with contextlib.suppress(ClosedError, BrokenPipeError, ValueError):
            self.random.choices(actions, weights)[0]()

    @staticmethod
    def cut(request: Request) -> None:
        request.connection.close()

    def step(self) -> None:
        """Do something from outside."""
        self.steps += 1
        choice = self.random.random()
        if choice < 0.3:
            sock = socket.create_connection(self.address)
            sock.setblocking(False)
            self.clients.append(sock)
        if self.clients and choice < 0.75:
            sock = self.random.choice(self.clients)
            path = self.random.choice(("/", "/up", "/x"))
            data = get(path, "Content-Length: 4", method="POST") + b"abcd"
            if self.random.random() < 0.7:
                data = data.replace(b"Connection: close\r\n", b"")
            with contextlib.suppress(OSError):
                sock.send(data[: self.random.choice((len(data), len(data), len(data) - 2, 20))])
        elif self.clients and choice < 0.85:
            self.clients.pop(self.random.randrange(len(self.clients))).close()
        elif self.requests and choice < 0.97:
            self.do(self.random.choice(self.requests))
        elif choice > 0.995:
            self.server.close()
        for sock in self.clients:
            with contextlib.suppress(OSError):
                sock.recv(1000000)

    def run(self) -> None:
        for _ in range(60):
            if self.server.closed:
                break
            self.step()
            for _ in range(self.random.randrange(3)):
                self.base.poll()
        if self.random.random() < 0.3:
            self.server.close()
        for sock in self.clients:
            sock.close()
        if self.random.random() < 0.5:
            self.base.poll()
        self.base.close()


def test_random_programs(quiet: None) -> None:
    """Nothing crashes, and nothing of C is left."""
    before = util.memory_counters().blocks
    for seed in range(150):
        Program(seed).run()
    gc.collect()
    gc.collect()
    # Debug mode keeps an entry for each event that a bufferevent ever had: bufferevent.c unassigns none.
    assert lib.lev_debug_mode_on or util.memory_counters().blocks <= before
