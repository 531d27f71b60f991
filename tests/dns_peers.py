"""Name servers for tests: one that does as it is told, in a thread, and those of Debian."""

from __future__ import annotations

import contextlib
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Optional

import pytest

A, CNAME, PTR, AAAA = 1, 5, 12, 28

#: reply(query, name, type) returns datagrams to send.
Reply = Callable[[bytes, str, int], list[bytes]]


def question_of(query: bytes) -> tuple[str, int, bytes]:
    """Return name and type of the first question, and its bytes."""
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode("latin-1"))
        at += query[at] + 1
    kind = struct.unpack_from(">H", query, at + 1)[0]
    return ".".join(labels), kind, query[12 : at + 5]


def record(kind: int, data: bytes, ttl: int = 60) -> bytes:
    """Return a record of the name that was asked for."""
    return b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, ttl, len(data)) + data


def wire(name: str) -> bytes:
    """Return *name* as it is sent."""
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def answer(query: bytes, *records: bytes, code: int = 0, flags: int = 0x8180) -> bytes:
    """Return the answer to *query* with *records*."""
    head = query[:2] + struct.pack(">HHHHH", flags | code, 1, len(records), 0, 0)
    return head + question_of(query)[2] + b"".join(records)


def usual(query: bytes, name: str, kind: int) -> list[bytes]:
    """Answer 192.0.2.1, 2001:db8::1, a.example; names with "silent", "missing", "refused" do as they say."""
    lower = name.lower()
    if lower.startswith("silent"):
        return []
    if lower.startswith("missing"):
        return [answer(query, code=3)]
    if lower.startswith("refused"):
        return [answer(query, code=5)]
    if kind == A:
        return [answer(query, record(A, bytes([192, 0, 2, 1]), 30))]
    if kind == AAAA:
        return [answer(query, record(AAAA, socket.inet_pton(socket.AF_INET6, "2001:db8::1")))]
    return [answer(query, record(PTR, wire("a.example")))]


def framed(message: bytes) -> bytes:
    """Return *message* as it is sent by TCP."""
    return struct.pack(">H", len(message)) + message


def questions_of(connection: socket.socket) -> Iterator[bytes]:
    """Generate what comes by TCP, until the other side ends."""
    data = b""
    while True:
        while len(data) < 2 or len(data) < 2 + int.from_bytes(data[:2], "big"):
            more = connection.recv(4096)
            if not more:
                return
            data += more
        size = int.from_bytes(data[:2], "big")
        yield data[2 : 2 + size]
        data = data[2 + size :]


class TCPNameServer:
    """Name servers by TCP in threads; ``talk(connection)`` is one, and may be replaced at any time."""

    def __init__(self, talk: Callable[[socket.socket], object], port: int = 0) -> None:
        self.talk = talk
        self.accepted = 0
        self.listening = socket.create_server(("127.0.0.1", port))
        self.address: tuple[str, int] = self.listening.getsockname()
        self.threads = [threading.Thread(target=self._serve, daemon=True)]
        self.threads[0].start()

    def _serve(self) -> None:
        while True:
            connection, _ = self.listening.accept()
            talk = self.talk
            if talk is None:
                connection.close()
                return
            self.accepted += 1
            self.threads.append(threading.Thread(target=self._talk, args=(talk, connection), daemon=True))
            self.threads[-1].start()

    @staticmethod
    def _talk(talk: Callable[[socket.socket], object], connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(10)
            talk(connection)

    def close(self) -> None:
        """End it."""
        self.talk = None  # type: ignore[assignment]
        socket.create_connection(self.address).close()
        for thread in self.threads:
            thread.join(10)
        self.listening.close()


@contextlib.contextmanager
def tcp_name_server(talk: Callable[[socket.socket], object]) -> Iterator[TCPNameServer]:
    """A TCPNameServer for the time of a ``with``: close the resolver before it."""
    server = TCPNameServer(talk)
    try:
        yield server
    finally:
        server.close()


class NameServer:
    """A name server in a thread; *reply* may be replaced at any time."""

    def __init__(self, reply: Reply = usual, port: int = 0) -> None:
        self.reply = reply
        self.asked: list[tuple[str, int]] = []
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        try:
            self.sock.bind(("127.0.0.1", port))
        except OSError:
            self.sock.close()
            raise
        self.address: tuple[str, int] = self.sock.getsockname()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            query, peer = self.sock.recvfrom(4096)
            if query == b"end":
                return
            name, kind, _ = question_of(query)
            self.asked.append((name, kind))
            for packet in self.reply(query, name, kind):
                self.sock.sendto(packet, peer)

    def close(self) -> None:
        """End it."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"end", self.address)
        self.thread.join(10)
        self.sock.close()


@contextlib.contextmanager
def name_server(reply: Reply = usual) -> Iterator[NameServer]:
    """A NameServer for the time of a ``with``."""
    server = NameServer(reply)
    try:
        yield server
    finally:
        server.close()


@contextlib.contextmanager
def name_server_beside_tcp(reply: Reply = usual) -> Iterator[tuple[NameServer, socket.socket]]:
    """A NameServer, and a listening socket on the same port of TCP, for the time of a ``with``."""
    for _ in range(20):
        listening = socket.create_server(("127.0.0.1", 0))
        with listening:
            try:
                server = NameServer(reply, listening.getsockname()[1])
            except OSError:
                continue  # the port is taken by UDP
            try:
                yield server, listening
            finally:
                server.close()
            return
    raise AssertionError("there is no port that is free for both")


def tool(name: str) -> str:
    """Return the path of a program that .ci/run installs; skip the test without it."""
    path: Optional[str] = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if path is None:
        pytest.skip(f"{name} is not installed here; .ci/run installs it")
    return path


@contextlib.contextmanager
def dnsmasq(folder: Path, *options: str) -> Iterator[tuple[str, int]]:
    """A dnsmasq that answers from *options* alone, for the time of a ``with``; its address."""
    process, port = _start(folder, options)
    try:
        yield "127.0.0.1", port
    finally:
        process.terminate()
        process.wait(timeout=10)


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _start(folder: Path, options: tuple[str, ...]) -> tuple[subprocess.Popen[bytes], int]:
    """Start one on a free port; on another one when somebody has taken that meanwhile."""
    for _ in range(10):
        port = _free_port()
        command = [
            *(tool("dnsmasq"), "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts"),
            *("--listen-address=127.0.0.1", "--bind-interfaces", f"--port={port}", "--cache-size=10000"),
            *("--user=", "--pid-file=", "--log-facility=-", "--dns-forward-max=5000", *options),
        ]
        process = _run(command, folder, port, _NO_PORT)
        if process is not None:
            return process, port
    raise AssertionError("dnsmasq gets no port")


def _run(command: list[str], folder: Path, port: int, no_port: int) -> Optional[subprocess.Popen[bytes]]:
    """Start a server and wait until it answers; None when it ends with *no_port*."""
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL, cwd=folder)
    try:
        _wait_for(process, port)
    except AssertionError:
        process.kill()
        if process.wait(timeout=10) != no_port:
            raise
        return None
    return process


@contextlib.contextmanager
def unbound(folder: Path, *lines: str) -> Iterator[tuple[str, int]]:
    """An unbound that answers from *lines* in its "server:" alone, for the time of a ``with``."""
    process, port = _start_unbound(folder, lines)
    try:
        yield "127.0.0.1", port
    finally:
        process.terminate()
        process.wait(timeout=10)


def _start_unbound(folder: Path, lines: tuple[str, ...]) -> tuple[subprocess.Popen[bytes], int]:
    path = folder / "unbound.conf"
    for _ in range(10):
        port = _free_port()
        usual = [
            *(f'directory: "{folder}"', 'chroot: ""', 'username: ""', 'pidfile: ""', "do-daemonize: no"),
            *("use-syslog: no", f"interface: 127.0.0.1@{port}", "interface-automatic: no", "num-threads: 1"),
            *('module-config: "iterator"', 'local-zone: "ready." static', *lines),
        ]
        path.write_text("server:\n" + "".join(f"  {line}\n" for line in usual))
        process = _run([tool("unbound"), "-d", "-c", str(path)], folder, port, _FAILED)
        if process is not None:
            return process, port
    raise AssertionError((folder / "log").read_text())


#: unbound's exit status when it cannot listen, and for other errors.
_FAILED = 1
#: dnsmasq's exit status when it cannot listen.
_NO_PORT = 2


def _wait_for(process: subprocess.Popen[bytes], port: int) -> None:
    query = b"\0\1\1\0\0\1\0\0\0\0\0\0" + wire("ready") + b"\0\1\0\1"
    deadline = time.monotonic() + 10
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.05)
        sock.connect(("127.0.0.1", port))
        while time.monotonic() < deadline:
            assert process.poll() is None, process.returncode
            with contextlib.suppress(OSError):
                sock.send(query)
                sock.recv(512)
                return
    raise AssertionError("the server does not answer")
