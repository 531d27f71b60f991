"""
Random programs of a server of HTTP: what clients send, read, leave half done or reset, and what is done with
their requests, connections, servers and bufferevents meanwhile, in callbacks and outside.

Each program is a seed.  A failure names it; LIBEVENT_CFFI_SEED=n runs that one alone, and
LIBEVENT_CFFI_PROGRAMS=n that many.  Each client gets exactly the bytes of its answers, in order, as far as
nobody has cut its connection; each request is told of its end once; and C has nothing left at the end.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import random
import socket
import ssl
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, Optional

import pytest

from libevent_cffi import READ, WRITE, EventBase, LoopFlag, util
from libevent_cffi._native import lib
from libevent_cffi.buffer import Buffer
from libevent_cffi.bufferevent import BufferEvent, RateLimit, RateLimitGroup
from libevent_cffi.errors import ClosedError
from libevent_cffi.http import Request, Server
from libevent_cffi.tls import TLSContext

PROGRAMS = int(os.environ.get("LIBEVENT_CFFI_PROGRAMS", "20" if sys.implementation.name == "pypy" else "80"))
SEED = os.environ.get("LIBEVENT_CFFI_SEED")
STEPS = 60
MOST_CALLS = 400
DEADLINE = 20.0
SIZES = (0, 1, 5, 700, 8192, 16384, 65536, 65537, 300000, 1 << 20)


class Mine(Exception):
    """What callbacks raise."""


class Wrong(AssertionError):
    """What the library did wrong."""


class Answer:
    """What a server has said to a request."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.status = 0  # not yet
        self.body: Optional[bytearray] = bytearray()  # None: whatever
        self.is_whole = False
        self.completes = self.closes = 0
        self.is_excused = False  # it need not be told of its end


class Client:
    """A peer: what it has asked for, and what it has got."""

    def __init__(self, program: Program, number: int, server: Server, tls: bool) -> None:
        self.program, self.number, self.dice, self.server = program, number, program.dice, server
        self.sock = socket.create_connection(server.bound[-1 if tls else 0].address)
        self.sock.setblocking(False)
        self.asked: list[tuple[str, str, bool]] = []  # names, methods, and whether it is the last
        self.sent: list[bytes] = []  # pieces to send
        self.got = bytearray()
        self.answered = 0  # of those, so many were got
        self.eof = self.left = self.ended_sending = False
        self.is_cut = False  # its connection may end anywhere
        self.may_end = False  # and here between two answers
        self.wire: Optional[ssl.SSLObject] = None
        if tls:
            self.inner, self.outer = ssl.MemoryBIO(), ssl.MemoryBIO()
            self.wire = program.client_context.wrap_bio(self.inner, self.outer, server_hostname="localhost")

    # -- out -------------------------------------------------------------------------------------------------

    def ask(self, *, count: int = 1) -> None:
        """Prepare to send requests, the last of which may come in pieces."""
        data = b""
        for _ in range(count):
            if self.left or self.ended_sending or (self.asked and self.asked[-1][2]):
                break
            method = self.dice.choice(("GET", "GET", "GET", "POST", "HEAD", "PUT"))
            version = self.dice.choice(("1.1", "1.1", "1.1", "1.0"))
            name = f"/{self.number}/{len(self.asked)}"
            closes = self.dice.random() < 0.15
            headers = [f"Host: {self.dice.choice(('localhost', 'v.example'))}"]
            body = b""
            if method in ("POST", "PUT"):
                body = b"b" * self.dice.choice((0, 3, 5000, 70000))
                headers.append(f"Content-Length: {len(body)}")
            is_last = closes
            if version == "1.0":
                is_last = self.dice.random() < 0.5
                headers.append("Connection: close" if is_last else "Connection: keep-alive")
            elif closes:
                headers.append("Connection: close")
            self.asked.append((name, method, is_last))
            self.program.versions[name] = version
            data += "\r\n".join([f"{method} {name} HTTP/{version}", *headers, "", ""]).encode() + body
        if data:
            at = len(data) if self.dice.random() < 0.7 else self.dice.randrange(len(data))
            self.sent += [data[:at], data[at:]] if at < len(data) else [data]

    def push(self, *, everything: bool = False) -> None:
        """Send a piece."""
        while self.sent and not self.is_cut and not self.ended_sending and not self.eof:
            data = self.sent.pop(0)
            try:
                size = self._write(data)
            except ConnectionError:
                size = 0
                self.is_cut = True
            self.is_cut = self.is_cut or self.may_end  # what comes too late resets the connection
            if size < len(data):
                self.sent.insert(0, data[size:])
            if not everything or size < len(data):
                return

    def _write(self, data: bytes) -> int:
        if self.wire is None:
            try:
                return self.sock.send(data)
            except BlockingIOError:
                return 0
        try:
            size = self.wire.write(data) if data else 0
        except ssl.SSLWantReadError:
            size = 0
        self._flush()
        return size

    def _flush(self) -> None:
        data = self.outer.read()
        while data:
            try:
                data = data[self.sock.send(data) :]
            except BlockingIOError:
                self.program.spin()

    # -- in --------------------------------------------------------------------------------------------------

    def take(self, most: int) -> bool:
        """Read something, and check what is there by now.  True: there may be more."""
        if self.left or self.eof:
            return False
        try:
            data = self.sock.recv(most)
        except BlockingIOError:
            return False
        except ConnectionError:
            data = b""
        if data:
            self._read(data)
        else:
            self.eof = True
        self.check()
        if self.eof:
            self.got_end()
        return bool(data)

    def _read(self, data: bytes) -> None:
        if self.wire is None:
            self.got += data
            return
        self.inner.write(data)
        try:
            while True:
                plain = self.wire.read(65536)
                if not plain:
                    break
                self.got += plain
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            pass
        self._flush()

    def wrong(self, words: str) -> Wrong:
        return Wrong(f"client {self.number}: {words}; {bytes(self.got[:200])!r}")

    def check(self) -> None:
        """Take whole answers from what has come; what there is of the next has to be the beginning of one."""
        while self.got:
            if self.answered == len(self.asked):
                raise self.wrong("an answer to nothing")
            name, method, _ = self.asked[self.answered]
            answer = self.program.answers.get(name)
            end = self.got.find(b"\r\n\r\n")
            if end < 0:
                return
            if answer is None or not answer.status:
                raise self.wrong(f"{name} was not answered, and yet this came")
            size = self._match(answer, method, end + 4)
            if size < 0:
                return
            del self.got[:size]
            self._was_answered(answer)

    def _was_answered(self, answer: Answer) -> None:
        self.answered += 1
        if not answer.is_whole and self.asked[self.answered - 1][1] != "HEAD":
            raise self.wrong(f"{answer.name} was told to end early")

    def _match(self, answer: Answer, method: str, at: int) -> int:
        """How long the answer is whose head ends there, or -1."""
        line, *lines = self.got[:at].decode("latin-1").split("\r\n")[:-2]
        headers = dict(each.lower().split(": ", 1) for each in lines)
        if int(line.split(" ")[1]) != answer.status:
            raise self.wrong(f"{answer.name} was answered with {answer.status}")
        if method == "HEAD" or answer.status in (204, 304):
            return at
        if "chunked" in headers.get("transfer-encoding", ""):
            body, size = unchunked(self.got, at)
        elif "content-length" in headers:
            length = int(headers["content-length"])
            body = self.got[at : at + length]
            size = at + length if len(body) == length else -1
        else:
            body, size = self.got[at:], len(self.got) if self.eof and not self.is_cut else -1
        if answer.body is not None and not (
            answer.body == body if size >= 0 else answer.body.startswith(body)
        ):
            raise self.wrong(f"{answer.name}: {len(body)} bytes are not the {len(answer.body)} of the answer")
        return size

    def got_end(self) -> None:
        """The server has ended the connection: was that its right?"""
        if self.is_cut or self.left:
            return
        if self.got:
            raise self.wrong(f"the connection ended within the answer to {self.asked[self.answered][0]}")
        if self.answered and self.asked[self.answered - 1][2]:
            return
        if self.answered < len(self.asked) or not self.ended_sending:
            name = self.asked[self.answered][0] if self.answered < len(self.asked) else ""
            answer = self.program.answers.get(name)
            if not self.may_end or (answer is not None and answer.status):
                raise self.wrong(f"the connection ended before the answer to {name or 'the next'}")

    def is_waiting(self) -> bool:
        """Has something to come still?"""
        if self.left or self.eof or (self.is_cut and self.sent):
            return False
        return self.answered < len(self.asked) or bool(self.asked and self.asked[-1][2]) or self.ended_sending

    # -- leaving ---------------------------------------------------------------------------------------------

    def half_close(self) -> None:
        if self.wire is None and not self.sent and not self.left and not self.eof and self.asked:
            self.ended_sending = True
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_WR)

    def leave(self, *, reset: bool = False) -> None:
        self.left = self.is_cut = True
        if reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def unchunked(data: bytearray, at: int) -> tuple[bytearray, int]:
    """Return what chunks hold, and where they end, or -1."""
    body = bytearray()
    while True:
        end = data.find(b"\r\n", at)
        if end < 0:
            return body, -1
        size = int(data[at:end], 16)
        body += data[end + 2 : end + 2 + size]
        at = end + 2 + size + 2
        if at > len(data):
            return body, -1
        if size == 0:
            return body, at


class Program:
    """One program: its base, its servers, their clients, and the requests that wait."""

    def __init__(self, seed: int, context: Optional[TLSContext], client_context: Any, file: str) -> None:
        self.dice = random.Random(seed)
        self.context, self.client_context, self.file = context, client_context, file
        self.base = EventBase(error_handler=self.failed)
        self.wrong: Optional[BaseException] = None
        self.servers: list[Server] = []
        self.hosts: list[tuple[Server, Server]] = []
        self.clients: list[Client] = []
        self.answers: dict[str, Answer] = {}
        self.versions: dict[str, str] = {}
        self.waiting: list[Request] = []  # deferred
        self.streams: list[tuple[Request, int]] = []  # begun, and how many pieces are to come
        self.shown: list[BufferEvent] = []
        self.groups: list[RateLimitGroup] = []
        self.calls = 0
        self.depth = 0
        self.draining = False
        self.actions: list[Callable[[], None]] = [
            *[self.client, self.ask, self.ask, self.push, self.push, self.push, self.take, self.take] * 3,
            *[self.answer, self.answer, self.go_on, self.go_on, self.go_on] * 2,
            *[self.half_close, self.leave, self.touch, self.touch, self.collect, self.burst],
            *[self.close_request, self.close_connection, self.stop, self.close_server, self.host, self.serve],
        ]

    def failed(self, error: Exception, source: object) -> None:
        """Take what a callback raised."""
        if not isinstance(error, Mine):
            self.wrong = self.wrong or error

    # -- what is known of requests ---------------------------------------------------------------------------

    def client_of(self, name: str) -> Client:
        return self.clients[int(name.split("/")[1])]

    def of(self, request: Request) -> Answer:
        return self.answers[request.path]

    def cut(self, name: str) -> None:
        """The connection of this request may end anywhere from now on."""
        client = self.client_of(name)
        client.is_cut = True

    def completed(self, request: Request) -> None:
        answer = self.of(request)
        answer.completes += 1
        if not answer.is_whole:
            self.wrong = self.wrong or Wrong(f"{answer.name} is complete, and was not answered")
        self.called()

    def closed(self, request: Request) -> None:
        self.of(request).closes += 1
        if not (self.client_of(request.path).ended_sending or self.client_of(request.path).is_cut):
            self.wrong = self.wrong or Wrong(f"the client of {request.path} is told to have left")
        self.called()

    def called(self) -> None:
        """Run in every callback: do something, and sometimes raise."""
        self.calls += 1
        if self.draining or self.calls > MOST_CALLS or self.depth > 3:
            return
        self.depth += 1
        try:
            for _ in range(self.dice.choice((0, 0, 1, 2))):
                self.step()
        finally:
            self.depth -= 1

    # -- handlers --------------------------------------------------------------------------------------------

    def handle(self, request: Request) -> None:
        """Answer in one way or another; what is wrong is kept, or it would only be logged."""
        try:
            self.handle_one(request)
        except Mine:
            raise
        except BaseException as error:
            self.wrong = self.wrong or error

    def handle_one(self, request: Request) -> None:
        name = request.path
        if name in self.answers:
            raise Wrong(f"{name} has come twice")
        answer = self.answers[name] = Answer(name)
        request.on_complete = self.completed
        request.on_close = self.closed
        if self.dice.random() < 0.3:
            self.show(request)
        self.called()
        kind = self.dice.random()
        if answer.status or answer.is_excused or request.closed:
            return
        if kind < 0.45:
            self.reply(request)
        elif kind < 0.65:
            request.defer()
            self.waiting.append(request)
        elif kind < 0.9:
            self.start(request)
        else:
            answer.status, answer.body, answer.is_whole = 500, None, True
            if kind < 0.95:
                raise Mine
        if self.dice.random() < 0.05 and answer.status != 500:
            if not (answer.status and answer.is_whole):
                self.cut(name)
                answer.is_excused = answer.status > 0
                answer.status, answer.body, answer.is_whole = answer.status or 500, answer.body, True
                if answer.status == 500:
                    answer.body = None
                self.forget(request)
            elif not request.closed:
                self.cut(name)
            raise Mine

    def forget(self, request: Request) -> None:
        self.waiting = [each for each in self.waiting if each is not request]
        self.streams = [each for each in self.streams if each[0] is not request]

    def reply(self, request: Request) -> None:
        """Answer at once."""
        answer = self.of(request)
        status = self.dice.choice((200, 200, 200, 200, 404, 204, 304))
        body = self.dice.randbytes(16) * (self.dice.choice(SIZES) // 16 + 1)
        body = body[: self.dice.choice(SIZES)]
        kind = self.dice.random()
        closes = self.dice.random() < 0.1
        headers = [("Connection", "close")] if closes else []
        if kind < 0.7:
            thing: Any = body
        elif kind < 0.9:
            thing = Buffer(body)
        else:
            body = bytes(range(256)) * 400
            status = 200
        answer.status, answer.body, answer.is_whole = status, bytearray(body), True
        if closes:
            self.closes(answer.name)
        try:
            if kind < 0.9:
                request.reply(status, thing, headers=headers)
            else:
                request.sendfile(self.file, headers=headers)
        except BrokenPipeError:
            if not self.may_be_gone(request):
                raise Wrong(f"the client of {answer.name} has not gone") from None
            if kind >= 0.9:
                self.cut(answer.name)

    def closes(self, name: str) -> None:
        """The server ends the connection after this answer."""
        client, number = self.client_of(name), int(name.split("/")[2])
        method = client.asked[number][1]
        del client.asked[number + 1 :]
        client.asked[number] = (name, method, True)
        client.sent = []

    def may_be_gone(self, request: Request) -> bool:
        client = self.client_of(request.path)
        return client.is_cut or client.ended_sending or client.eof

    def start(self, request: Request) -> None:
        """Begin an answer; sometimes end it at once."""
        answer = self.of(request)
        client = self.client_of(answer.name)
        pieces = self.dice.choice((0, 1, 2, 5))
        closes = self.dice.random() < 0.1
        if client.ended_sending:
            client.is_cut = True  # its end is seen while pieces are sent
        if self.versions[answer.name] == "1.0":
            self.closes(answer.name)
        answer.status = 200
        if closes:
            self.closes(answer.name)
        try:
            request.start(200, headers=[("Connection", "close")] if closes else [])
        except BrokenPipeError:
            if not self.may_be_gone(request):
                raise Wrong(f"the client of {answer.name} has not gone") from None
            self.cut(answer.name)
            answer.is_whole = answer.is_excused = True
            request.close()
            return
        if self.dice.random() < 0.4:
            while pieces >= 0 and self.piece(request, pieces):
                pieces -= 1
        else:
            self.streams.append((request, pieces))

    def piece(self, request: Request, left: int) -> bool:
        """Send the next piece, or the end when none is left.  False: the client is gone."""
        answer = self.of(request)
        assert answer.body is not None
        if self.client_of(answer.name).ended_sending:
            self.cut(answer.name)
        try:
            if left == 0:
                answer.is_whole = True
                request.end()
            else:
                data = self.dice.randbytes(8) * self.dice.choice((0, 1, 1000, 30000))
                if self.dice.random() < 0.3:
                    request.send_chunk(data, self.written)
                else:
                    request.send_chunk(data)
                answer.body += data
        except BrokenPipeError:
            if not self.may_be_gone(request):
                raise Wrong(f"the client of {answer.name} has not gone") from None
            return False
        return True

    def written(self, request: Request) -> None:
        self.called()

    # -- what may be done ------------------------------------------------------------------------------------

    def step(self) -> None:
        """Do one thing."""
        if not self.base.closed and self.wrong is None:
            self.dice.choice(self.actions)()

    def some(self, things: list[Any]) -> Any:
        return self.dice.choice(things) if things else None

    def serve(self) -> None:
        if len(self.servers) >= 2:
            return
        server = Server(self.base, self.handle, max_headers_size=20000)
        server.bind(("127.0.0.1", 0))
        if self.context is not None:
            server.bind(("127.0.0.1", 0), tls=self.context)
        self.servers.append(server)

    def host(self) -> None:
        """Add a virtual host, or take one away."""
        if self.hosts and self.dice.random() < 0.5:
            parent, host = self.hosts.pop()
            if not parent.closed and not host.closed:
                parent.remove_virtual_host(host)
        elif self.servers:
            parent = self.some(self.servers)
            host = Server(self.base, self.handle)
            parent.add_virtual_host("v.example", host)
            self.hosts.append((parent, host))

    def client(self) -> None:
        server = self.some([each for each in self.servers if each.bound])
        if server is not None and len(self.clients) < 12:
            tls = self.context is not None and self.dice.random() < 0.3
            self.clients.append(Client(self, len(self.clients), server, tls))
            self.clients[-1].ask()

    def ask(self) -> None:
        client = self.some(self.clients)
        if client is not None and not client.is_cut:
            client.ask(count=self.dice.choice((1, 1, 2, 3, 8)))

    def push(self) -> None:
        client = self.some(self.clients)
        if client is not None:
            client.push()

    def burst(self) -> None:
        for client in self.clients:
            client.push(everything=True)

    def take(self) -> None:
        client = self.some(self.clients)
        if client is not None:
            client.take(self.dice.choice((1, 100, 5000, 200000)))

    def half_close(self) -> None:
        client = self.some(self.clients)
        if client is not None and self.dice.random() < 0.5:
            client.half_close()
            if any(each[0].path.startswith(f"/{client.number}/") for each in self.streams):
                client.is_cut = True

    def leave(self) -> None:
        client = self.some(self.clients)
        if client is not None and not client.left and self.dice.random() < 0.4:
            client.leave(reset=self.dice.random() < 0.5)

    def answer(self) -> None:
        request = self.some(self.waiting)
        if request is not None:
            self.forget(request)
            if self.of(request).status or request.server.closed:
                return
            if self.dice.random() < 0.6:
                self.reply(request)
            else:
                self.start(request)

    def go_on(self) -> None:
        if self.streams:
            at = self.dice.randrange(len(self.streams))
            request, left = self.streams.pop(at)
            if self.of(request).is_whole or request.server.closed:
                return
            if self.piece(request, left) and left > 0:
                self.streams.append((request, left - 1))

    def show(self, request: Request) -> None:
        bev = request.connection.bufferevent
        if bev not in self.shown:
            self.shown.append(bev)
            if self.dice.random() < 0.6:
                bev.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.dice.choice((1000, 4000, 20000)))

    def touch(self) -> None:
        """Do something to the bufferevent of a connection that nobody may notice."""
        self.shown = [each for each in self.shown if not each.closed]
        bev = self.some(self.shown)
        if bev is None:
            return
        if self.dice.random() < 0.3:
            self.touch_limits(bev)
            return
        kind = self.dice.randrange(5)
        if kind == 0:
            bev.disable(self.dice.choice((READ, WRITE, READ | WRITE)))
            self.base.call_later(0.001, self.enable, bev)
        elif kind == 1:
            self.enable(bev)
        elif kind == 2:
            bev.set_timeouts(read=30, write=30)
        elif kind == 3:
            self.enable(bev)
            bev.close(flush=self.dice.random() < 0.5)
        else:
            with contextlib.suppress(ValueError):  # libevent refuses it while one of its events is due
                bev.priority = 0
            bev.flush()

    def touch_limits(self, bev: BufferEvent) -> None:
        kind = self.dice.randrange(5)
        if kind == 0:
            bev.rate_limit = self.dice.choice((None, RateLimit(write_rate=2000000, read_rate=2000000)))
        elif kind == 1:
            if not self.groups:
                limit = RateLimit(write_rate=5000000, write_burst=600000)
                self.groups.append(RateLimitGroup(self.base, limit))
            self.groups[0].add(bev)
        elif kind == 2 and self.groups:
            self.groups.pop().close()
        elif kind == 3:
            bev.max_single_write = self.dice.choice((1000, 16384, 100000))
        elif kind == 4:
            bev.max_single_read = self.dice.choice((100, 16384))

    def enable(self, bev: BufferEvent) -> None:
        if not bev.closed:
            bev.enable(READ | WRITE)

    def excuse(self, client: Client, *, may_end: bool = False) -> None:
        """No request of this client needs to be told of its end."""
        client.is_cut = client.is_cut or not may_end
        client.may_end = True

    def close_request(self) -> None:
        request = self.some(self.waiting + [each[0] for each in self.streams])
        if request is not None and self.dice.random() < 0.2:
            self.cut(request.path)
            self.of(request).is_excused = True
            self.forget(request)
            request.close()

    def close_connection(self) -> None:
        request = self.some(self.waiting + [each[0] for each in self.streams])
        if request is not None and self.dice.random() < 0.2:
            self.cut(request.path)
            with contextlib.suppress(ClosedError):
                request.connection.close()

    def clients_of(self, server: Server) -> list[Client]:
        return [each for each in self.clients if each.server is server]

    def stop(self) -> None:
        server = self.some(self.servers)
        if server is None or self.dice.random() > 0.2:
            return
        self.servers.remove(server)
        for client in self.clients_of(server):
            client.may_end = True
        server.stop()

    def close_server(self) -> None:
        server = self.some(self.servers)
        if server is not None and self.dice.random() < 0.15:
            self.servers.remove(server)
            self.end_server(server)

    def end_server(self, server: Server) -> None:
        for client in self.clients_of(server):
            client.is_cut = True
            for name, _, _ in client.asked:
                if name in self.answers:
                    self.answers[name].is_excused = True
        server.close()

    def collect(self) -> None:
        if self.dice.random() < 0.1:
            gc.collect()

    # -- running ---------------------------------------------------------------------------------------------

    def spin(self) -> None:
        if not self.base.running and not self.base.closed:
            self.base.loop(LoopFlag.NONBLOCK)

    def run(self) -> None:
        """Do this and that, and run the loop in between; then let everybody get what is his."""
        self.serve()
        for _ in range(STEPS):
            self.step()
            if self.dice.random() < 0.7:
                self.spin()
            self.complain()
        if self.dice.random() < 0.8:
            self.drain()
        self.end()
        self.complain()

    def complain(self) -> None:
        if self.wrong is not None:
            raise self.wrong

    def drain(self) -> None:
        self.draining = True
        end = time.monotonic() + DEADLINE
        while not self.base.closed:
            for client in self.clients:
                client.push(everything=True)
                while client.take(1 << 20):
                    pass
            while self.waiting:
                self.answer()
            while self.streams:
                self.go_on()
            for bev in self.shown:
                self.enable(bev)
            self.spin()
            self.complain()
            if not self.waiting and not self.streams and not any(each.is_waiting() for each in self.clients):
                break
            if time.monotonic() > end:
                raise Wrong(f"clients {[c.number for c in self.clients if c.is_waiting()]} wait for ever")
        for _ in range(3):
            self.spin()
        self.check_ends()

    def check_ends(self) -> None:
        for answer in self.answers.values():
            client = self.client_of(answer.name)
            count = answer.completes + answer.closes
            if count > 1:
                raise Wrong(f"{answer.name} was told of its end {count} times")
            if count == 0 and not answer.is_excused and not self.is_unfinished(client):
                raise Wrong(f"{answer.name} was not told of its end")

    def is_unfinished(self, client: Client) -> bool:
        """May the server still not know that the client has left?"""
        return client.left or client.is_cut

    def end(self) -> None:
        for client in self.clients:
            client.is_cut = True
            client.sock.close()
        for each in self.groups:
            each.close()
        if self.dice.random() < 0.5:
            for server in self.servers:
                self.end_server(server)
        self.base.close()

    def give_up(self) -> None:
        for client in self.clients:
            client.sock.close()
        self.base.close()


def run_one(seed: int, *arguments: Any) -> int:
    """Run one program; return how many blocks are left of it."""
    gc.collect()
    before = util.memory_counters().blocks
    program: Any = Program(seed, *arguments)
    try:
        program.run()
    finally:
        program.give_up()
        del program
    left = 1
    for _ in range(10):  # PyPy finalizes what refers to each other one by one
        if left > 0:
            gc.collect()
            left = util.memory_counters().blocks - before
    return left


def check(seed: int, *arguments: Any) -> Optional[str]:
    """Run one program; return what was wrong."""
    try:
        left = run_one(seed, *arguments)
        if left > 0 and not lib.lev_debug_mode_on:
            left = run_one(seed, *arguments)  # what is kept to be used again is kept once
    except Exception as error:
        if SEED is not None:
            raise
        return f"seed {seed}: {error!r}"
    return f"seed {seed}: {left} blocks are left" if left > 0 and not lib.lev_debug_mode_on else None


@pytest.fixture
def _quiet() -> Iterator[None]:
    """What is logged would be kept, with the frames of its tracebacks."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.usefixtures("_quiet")
def test_random_programs(certificates: Any) -> None:
    """Whatever they do in whatever order."""
    context = client_context = None
    if lib.LEV_HAS_TLS:
        context = TLSContext.server(certificates("server.pem"), certificates("server.key"))
        client_context = ssl.create_default_context(cafile=certificates("ca.pem"))
        client_context.check_hostname = False
        client_context.verify_mode = ssl.CERT_NONE
    with tempfile.NamedTemporaryFile() as file:
        file.write(bytes(range(256)) * 400)
        file.flush()
        seeds = [int(SEED)] if SEED is not None else range(PROGRAMS)
        found = [check(seed, context, client_context, file.name) for seed in seeds]
    assert [each for each in found if each is not None] == []
