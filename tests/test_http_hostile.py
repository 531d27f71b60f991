"""HTTP servers and clients that break it, by mistake or on purpose."""

from __future__ import annotations

import contextlib
import gc
import logging
import random
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from http_corpus import CORPUS
from http_peer import get, split

from libevent_cffi import EventBase, util
from libevent_cffi._native import lib
from libevent_cffi.errors import ClosedError
from libevent_cffi.http import Request, Server


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


def converse(base: EventBase, server: Server, data: bytes, *, reset: bool = False) -> bytes:
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
                            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                            base.loop_exit()
                            return
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


@pytest.mark.parametrize("name", CORPUS)
def test_the_corpus(plain_base: EventBase, quiet: None, name: str) -> None:
    """Each has an answer that is right for it, and nothing is smuggled."""
    data, statuses = CORPUS[name]
    with Server(plain_base, look, timeout=1) as server:
        server.bind(("127.0.0.1", 0))
        answer = converse(plain_base, server, data)
        assert b"SMUGGLED" not in answer
        assert (int(answer.split(b" ", 2)[1]) if answer else 0) in statuses
        assert split(converse(plain_base, server, get()))[2] == b"fine"
        assert server.connections == 0 or plain_base.poll() is not None


def test_every_prefix_of_a_request(plain_base: EventBase, quiet: None) -> None:
    """The client leaves after each of its bytes, properly or not."""
    head = get("/x", "Transfer-Encoding: chunked", "Expect: 100-continue", method="POST")
    whole = head + b"3\r\nabc\r\n0\r\n\r\n"
    with Server(plain_base, look) as server:
        bound = server.bind(("127.0.0.1", 0))
        for end in range(len(whole)):
            for reset in (False, True):
                with socket.create_connection(bound.address) as sock:
                    sock.sendall(whole[:end])
                    plain_base.poll()
                    plain_base.poll()
                    if reset:
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        for _ in range(1000):
            plain_base.poll()
            if not server.connections:
                break
        assert server.connections == 0
        assert split(converse(plain_base, server, whole))[0] in (100, 200)


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
