"""
Random programs of WebSockets: opened, spoken over, ended by whatever ends them, in callbacks and outside.

Each program is a seed.  A failure names it; LIBEVENT_CFFI_SEED=n runs that one alone, and
LIBEVENT_CFFI_PROGRAMS=n that many.  Nothing is called after its end, no on_close is told twice, and C has
nothing left when all is closed.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import random
import socket
import sys
from collections.abc import Iterator
from typing import Any, Optional

import pytest
from ws_peer import BINARY, CLOSE, PING, PONG, TEXT, close_frame, frame, handshake

from libevent_cffi import EventBase, LoopFlag, util
from libevent_cffi._native import lib
from libevent_cffi.errors import ClosedError, WebSocketError
from libevent_cffi.http import Request, Server
from libevent_cffi.ws import WebSocket

pytest.importorskip("wsproto")

PROGRAMS = int(os.environ.get("LIBEVENT_CFFI_PROGRAMS", "40" if sys.implementation.name == "pypy" else "100"))
SEED = os.environ.get("LIBEVENT_CFFI_SEED")
STEPS = 40
MOST_CALLS = 300


class Mine(Exception):
    """What callbacks raise."""


class Program:
    """One program: its base, its servers, and their WebSockets and clients."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.base = EventBase(error_handler=self.failed if seed % 2 else None)
        self.servers: list[Server] = []
        self.sockets: list[WebSocket] = []
        self.ended: set[int] = set()
        self.everything: list[Any] = []  # ids stay theirs
        self.waiting: list[Request] = []
        self.peers: list[socket.socket] = []
        self.calls = 0
        self.actions = [
            *[self.serve, self.drop, self.stop_server, self.close_server, self.collect, self.close_below],
            *[self.peer, self.connect, self.speak, self.speak, self.noise, self.leave, self.answer] * 2,
            *[self.send, self.ping, self.close, self.callbacks] * 2,
        ]

    def failed(self, error: Exception, source: object) -> None:
        """Take what a callback raised."""
        if not isinstance(error, Mine):
            raise AssertionError from error

    # -- callbacks -------------------------------------------------------------------------------------------

    def called(self, ws: WebSocket) -> None:
        """Run for every callback: check that it may, then do something, and sometimes raise."""
        self.calls += 1
        assert id(ws) not in self.ended, f"{ws!r} was called after its end"
        if self.calls > MOST_CALLS:
            self.base.loop_break()
            return
        for _ in range(self.dice.choice((0, 0, 1, 2))):
            self.step()
        if self.dice.random() < 0.05:
            raise Mine

    def on_message(self, ws: WebSocket, data: Any) -> None:
        assert isinstance(data, (str, bytes))
        self.called(ws)

    def on_pong(self, ws: WebSocket, data: bytes) -> None:
        self.called(ws)

    def on_close(self, ws: WebSocket, code: int, reason: str) -> None:
        assert ws.closed
        assert 1000 <= code < 5000
        try:
            self.called(ws)
        finally:
            self.ended.add(id(ws))

    def opened(self, operation: Any) -> None:
        if operation.error is None:
            self.keep(operation.result())
        self.step()

    def keep(self, ws: WebSocket) -> None:
        self.everything.append(ws)
        self.sockets.append(ws)
        if self.dice.random() < 0.8:
            ws.on_pong = self.on_pong

    def handle(self, request: Request) -> None:
        self.calls += 1
        kind = self.dice.random()
        if kind < 0.2:
            request.defer()
            self.waiting.append(request)
        elif kind < 0.9:
            self.accept(request)
        if kind > 0.95:
            raise Mine
        if self.dice.random() < 0.3:
            self.step()

    def accept(self, request: Request) -> None:
        with contextlib.suppress(WebSocketError, BrokenPipeError):
            self.keep(
                WebSocket.accept(
                    request,
                    on_message=self.on_message,
                    on_close=self.on_close,
                    max_message_size=self.dice.choice((10, 1000)),
                    ping_interval=self.dice.choice((None, 0.001, 0.01, 5)),
                )
            )

    # -- what may be done ------------------------------------------------------------------------------------

    def step(self) -> None:
        """Do one thing."""
        if not self.base.closed:
            with contextlib.suppress(ClosedError, BrokenPipeError, OSError):
                self.dice.choice(self.actions)()

    def some(self, things: list[Any]) -> Any:
        return self.dice.choice(things) if things else None

    def serve(self) -> None:
        if len(self.servers) < 3:
            server = Server(self.base, self.handle, write_timeout=self.dice.choice((0.01, 5)))
            server.bind(("127.0.0.1", 0))
            self.servers.append(server)

    def address(self) -> Any:
        server = self.some([each for each in self.servers if each.bound])
        return server.bound[0].address if server is not None else None

    def peer(self) -> None:
        address = self.address()
        if address is not None and len(self.peers) < 8:
            sock = socket.create_connection(address)
            sock.setblocking(False)
            self.peers.append(sock)
            data = handshake()
            sock.send(data if self.dice.random() < 0.9 else data[: self.dice.randrange(len(data))])

    def connect(self) -> None:
        address = self.address()
        if address is not None and len(self.everything) < 20:
            operation = WebSocket.connect(
                self.base,
                f"ws://127.0.0.1:{address[1]}/",
                self.opened,
                on_message=self.on_message,
                on_close=self.on_close,
                ping_interval=self.dice.choice((None, None, 0.002)),
            )
            if self.dice.random() < 0.1:
                operation.cancel()

    def speak(self) -> None:
        sock = self.some(self.peers)
        if sock is not None:
            opcode = self.dice.choice((TEXT, BINARY, PING, PONG, TEXT, BINARY, CLOSE, 0))
            final = self.dice.random() < 0.9
            data = b"x" * self.dice.choice((0, 1, 5, 120, 3000))
            sock.send(close_frame(1000) if opcode == CLOSE else frame(opcode, data, final=final))

    def noise(self) -> None:
        sock = self.some(self.peers)
        if sock is not None and self.dice.random() < 0.2:
            sock.send(bytes(self.dice.randrange(256) for _ in range(50)))

    def leave(self) -> None:
        sock = self.some(self.peers)
        if sock is not None and self.dice.random() < 0.3:
            if self.dice.random() < 0.5:
                sock.shutdown(socket.SHUT_WR)
            else:
                self.peers.remove(sock)
                sock.close()

    def answer(self) -> None:
        request = self.some(self.waiting)
        if request is not None:
            self.waiting.remove(request)
            self.accept(request)

    def send(self) -> None:
        ws = self.some(self.sockets)
        if ws is not None:
            ws.send(self.dice.choice(("", "text", b"binary", "é" * 600, b"x" * 100000)))

    def ping(self) -> None:
        ws = self.some(self.sockets)
        if ws is not None:
            ws.ping(b"?")

    def close(self) -> None:
        ws = self.some(self.sockets)
        if ws is not None and self.dice.random() < 0.5:
            ws.close(self.dice.choice((1000, 1001, 3000)), "bye")
            self.ended.add(id(ws))

    def close_below(self) -> None:
        ws = self.some(self.sockets)
        if ws is None:
            return
        kind = self.dice.random()
        if kind < 0.3:
            ws.bufferevent.close(flush=kind < 0.15)
        elif ws.request is not None:
            # One that has ended before owes its on_close.
            ended = set() if ws.closed else {id(ws)}
            (ws.request if kind < 0.6 else ws.request.connection).close()
            self.ended |= ended

    def callbacks(self) -> None:
        ws = self.some(self.sockets)
        if ws is not None:
            ws.on_message = self.dice.choice((None, self.on_message))
            ws.on_close = self.dice.choice((None, self.on_close, self.on_close))

    def drop(self) -> None:
        ws = self.some(self.sockets)
        if ws is not None:
            self.sockets.remove(ws)

    def stop_server(self) -> None:
        server = self.some(self.servers)
        if server is not None and self.dice.random() < 0.3:
            server.stop(timeout=self.dice.choice((0, 0.01, None)))

    def close_server(self) -> None:
        server = self.some(self.servers)
        if server is not None and self.dice.random() < 0.2:
            self.servers.remove(server)
            server.close()

    def collect(self) -> None:
        if self.dice.random() < 0.1:
            gc.collect()

    # -- running ---------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Do this and that, and run the loop in between."""
        self.serve()
        for _ in range(STEPS):
            self.step()
            if self.dice.random() < 0.6:
                with contextlib.suppress(Mine):
                    self.base.loop(LoopFlag.NONBLOCK)
            if self.base.closed:
                break
        self.end()

    def end(self) -> None:
        for each in self.peers:
            each.close()
        how = self.dice.random()
        if how < 0.4 and not self.base.closed:
            self.base.close()
        for each in self.everything:
            if how > 0.8:
                each.close()
        self.base.close()
        self.base.close()


def check(seed: int) -> Optional[str]:
    """Run one program; return what was wrong."""
    gc.collect()
    before = util.memory_counters().blocks
    program: Any = Program(seed)
    try:
        program.run()
    except Exception as error:
        return f"seed {seed}: {error!r}"
    finally:
        for each in program.peers:
            each.close()
        program.base.close()
        del program
    for _ in range(3):
        gc.collect()
    left = util.memory_counters().blocks - before
    return f"seed {seed}: {left} blocks are left" if left > 0 and not lib.lev_debug_mode_on else None


@pytest.fixture
def _quiet() -> Iterator[None]:
    """What is logged would be kept, with the frames of its tracebacks."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.usefixtures("_quiet")
def test_random_programs() -> None:
    """Whatever they do in whatever order."""
    seeds = [int(SEED)] if SEED is not None else range(PROGRAMS)
    assert [wrong for wrong in map(check, seeds) if wrong is not None] == []
