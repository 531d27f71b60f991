"""
A tour of the package: one base does real work, checks it, and tells what happened and when.

Each part of the tour is a class with start(), lines() and problems(); all of them run on one base at once.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any, Protocol

from .. import util
from ..event import Event, EventBase
from ..flags import PERSIST, READ, EventFlag
from .tour_services import Connections, Names, Pages

__all__ = ["HELP", "add_arguments", "run"]

HELP = "show the package at work: timers, signals, connections under TLS, DNS, HTTP, threads"

_DEADLINE = 45.0


class _Part(Protocol):
    """A part of the tour."""

    title: str

    def start(self, base: EventBase) -> None:
        """Begin; nothing is pending on *base* any more when the work is done."""

    def lines(self) -> list[str]:
        """Tell what happened."""

    def problems(self) -> list[str]:
        """Tell what should have happened and did not."""


class _Timers:
    """Single timers, one that repeats, and how late each was."""

    title = "timers"
    _DELAYS = (0.05, 0.1, 0.2, 0.4)
    _TICKS = 10

    def __init__(self) -> None:
        self.late: list[float] = []
        self.ticks: list[float] = []

    def start(self, base: EventBase) -> None:
        started = time.monotonic()
        for delay in self._DELAYS:
            base.call_later(delay, lambda due: self.late.append(time.monotonic() - due), started + delay)
        self._ticker = base.every(0.05, self._tick)

    def _tick(self) -> None:
        self.ticks.append(time.monotonic())
        if len(self.ticks) == self._TICKS:
            self._ticker.close()

    def lines(self) -> list[str]:
        planned = ", ".join(f"{delay:.2f}" for delay in self._DELAYS)
        seconds = self.ticks[-1] - self.ticks[0]
        return [
            f"due after {planned} s: at most {max(self.late) * 1e3:.1f} ms late",
            f"every 0.05 s: {len(self.ticks)} ticks, the last {seconds:.2f} s after the first",
        ]

    def problems(self) -> list[str]:
        complete = len(self.late) == len(self._DELAYS) and len(self.ticks) == self._TICKS
        return [] if complete else ["a timer did not fire"]


class _Signals:
    """A signal that another process sends, told to a callback of the loop, which asks for the next one."""

    title = "signals"
    _COUNT = 5
    _SENDER = """
import os, sys
for _ in range(int(sys.argv[2])):
    os.kill(int(sys.argv[1]), 15)
    sys.stdin.readline()
"""

    def __init__(self) -> None:
        self.told = 0
        self._before = signal.getsignal(signal.SIGTERM)

    def start(self, base: EventBase) -> None:
        self._event = base.on_signal(signal.SIGTERM, self._on_signal)
        command = [sys.executable, "-c", self._SENDER, str(os.getpid()), str(self._COUNT)]
        self._sender = subprocess.Popen(command, stdin=subprocess.PIPE)

    def _on_signal(self) -> None:
        self.told += 1
        assert self._sender.stdin is not None
        self._sender.stdin.write(b"\n")
        self._sender.stdin.flush()
        if self.told == self._COUNT:
            self._event.close()
            self._sender.stdin.close()
            self._sender.wait()

    def lines(self) -> list[str]:
        return [f"SIGTERM came {self.told} times from process {self._sender.pid}; Python's handler is back"]

    def problems(self) -> list[str]:
        back = signal.getsignal(signal.SIGTERM) == self._before
        return (
            [] if self.told == self._COUNT and back else [f"{self.told} signals were told, not {self._COUNT}"]
        )


class _Echo:
    """An echo server on real sockets, and clients in another process."""

    title = "echo server"
    _CLIENTS = 50
    _MESSAGES = 100

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.connections = 0
        self._open: set[socket.socket] = set()
        self._printed = b""
        self.result: dict[str, Any] = {}

    def start(self, base: EventBase) -> None:
        self._base = base
        self._accepting = base.on_readable(self.listener, self._accept)
        host, port = self.listener.getsockname()
        command = [sys.executable, "-m", "libevent_cffi._commands.echo_clients", host, str(port)]
        command += [str(self._CLIENTS), str(self._MESSAGES)]
        self._clients = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._clients.stdout is not None
        os.set_blocking(self._clients.stdout.fileno(), False)
        self._output = base.on_readable(self._clients.stdout, self._read_result)

    def _accept(self) -> None:
        try:
            connection, _ = self.listener.accept()
        except BlockingIOError:
            return
        connection.setblocking(False)
        self.connections += 1
        self._open.add(connection)
        Event(self._base, connection, READ | PERSIST, self._echo, connection).add()

    def _echo(self, fd: int, what: EventFlag, connection: socket.socket) -> None:
        try:
            data = connection.recv(65536)
            connection.sendall(data)
        except OSError:  # reset by the client, or BlockingIOError: it reads too slowly
            data = b""
        if not data:
            event = self._base.running_event
            assert event is not None
            event.close()
            self._open.discard(connection)
            connection.close()

    def close(self) -> None:
        """Close the listener, and the connections that clients left open."""
        for each in (self.listener, *self._open):
            each.close()

    def _read_result(self) -> None:
        assert self._clients.stdout is not None
        text = os.read(self._clients.stdout.fileno(), 65536)
        if text:  # and more until the clients end
            self._printed += text
            return
        self.result = json.loads(self._printed) if self._printed else {}
        self._output.close()
        self._clients.stdout.close()
        self._clients.wait()
        self._accepting.close()
        self.listener.close()

    def lines(self) -> list[str]:
        found = self.result
        rate = found["messages"] / found["seconds"]
        return [
            f"{self.connections} clients in process {self._clients.pid}: {found['messages']} messages came"
            f" back in {found['seconds']:.2f} s, {rate:,.0f} a second",
            f"one there and back: median {found['median'] * 1e3:.2f} ms, worst {found['worst'] * 1e3:.2f} ms",
        ]

    def problems(self) -> list[str]:
        if self.result.get("messages") == self._CLIENTS * self._MESSAGES:
            return []
        return [f"the clients ended with status {self._clients.returncode}: {self.result}"]


class _Threads:
    """Calls that other threads post."""

    title = "threads"
    _THREADS = 4
    _CALLS = 5000

    def __init__(self) -> None:
        self.counts = [0] * self._THREADS
        self.seconds = 0.0

    def start(self, base: EventBase) -> None:
        self._started = time.monotonic()
        for number in range(self._THREADS):
            threading.Thread(target=self._post, args=(base, number)).start()

    def _post(self, base: EventBase, number: int) -> None:
        for _ in range(self._CALLS):
            base.call_soon_threadsafe(self._count, number)

    def _count(self, number: int) -> None:
        self.counts[number] += 1
        self.seconds = time.monotonic() - self._started

    def lines(self) -> list[str]:
        return [f"{self._THREADS} threads posted {sum(self.counts)} calls, all run in {self.seconds:.2f} s"]

    def problems(self) -> list[str]:
        expected = self._THREADS * self._CALLS
        return [] if sum(self.counts) == expected else [f"{sum(self.counts)} calls ran, not {expected}"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the tour can be told."""
    parser.add_argument("--serve", action="store_true", help="keep an echo server running until Ctrl-C")


def run(options: argparse.Namespace) -> int:
    """Run the tour; 0 when all went as it should."""
    return _serve() if options.serve else _tour()


def _tour() -> int:
    parts: list[_Part] = [_Timers(), _Signals(), _Echo(), Connections(), Names(), Pages(), _Threads()]
    started = time.monotonic()
    with EventBase() as base:
        print(f"libevent {util.version()}, {base.method}: one base, all at once\n", flush=True)
        for part in parts:
            part.start(base)
        base.call_later(_DEADLINE, base.loop_break, keepalive=False)
        base.dispatch()
        if base.got_break:
            print(f"still pending after {_DEADLINE} s: {base.events()}")
            return 1
    problems = [problem for part in parts for problem in part.problems()]
    if not problems:
        for part in parts:
            print("\n".join(f"{part.title:12} {line}" for line in part.lines()))
    print("".join(f"PROBLEM: {problem}\n" for problem in problems), end="")
    print(f"\nnothing is pending any more: dispatch() returned after {time.monotonic() - started:.2f} s")
    return 1 if problems else 0


def _serve() -> int:
    with EventBase() as base:
        echo = _Echo()
        echo._base = base
        base.on_readable(echo.listener, echo._accept)
        host, port = echo.listener.getsockname()
        print(f"echoing on {host} port {port}; Ctrl-C ends it", flush=True)
        try:
            base.dispatch()
        except KeyboardInterrupt:
            print(f"\n{echo.connections} connections were served")
    echo.close()
    return 0
