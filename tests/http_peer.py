"""What tests of HTTP servers share: clients that speak it by hand, on threads of their own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any, Optional

from libevent_cffi import EventBase
from libevent_cffi.http import Headers, Server

DEADLINE = 20.0


class Client:
    """A client on a thread of its own: what it does is a function of a connected socket."""

    def __init__(self, base: EventBase, address: Any, talk: Callable[[socket.socket], Any]) -> None:
        self.base, self.address, self.talk = base, address, talk
        self.result: Any = None
        self.error: Optional[BaseException] = None
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        family = socket.AF_INET if isinstance(self.address, tuple) else socket.AF_UNIX
        try:
            with socket.socket(family) as sock:
                sock.settimeout(DEADLINE)
                sock.connect(self.address)
                self.result = self.talk(sock)
        except BaseException as error:
            self.error = error
        self.base.call_soon_threadsafe(self.base.loop_exit)

    def finish(self) -> Any:
        """Dispatch until it is done, and return what it got."""
        self.base.call_later(DEADLINE, self.base.loop_exit)
        self.base.dispatch()
        self.thread.join(DEADLINE)
        if self.error is not None:
            raise self.error
        return self.result


def read_all(sock: socket.socket) -> bytes:
    """Read to the end."""
    parts = []
    while True:
        part = sock.recv(65536)
        if not part:
            return b"".join(parts)
        parts.append(part)


def read_head(sock: socket.socket) -> bytes:
    """Read up to the empty line, byte by byte."""
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        part = sock.recv(1)
        if not part:
            return data
        data += part
    return data


def exchange(data: bytes) -> Callable[[socket.socket], bytes]:
    """Send *data* and read all that comes, to the end of the connection."""

    def talk(sock: socket.socket) -> bytes:
        sock.sendall(data)
        return read_all(sock)

    return talk


def get(path: str = "/", *headers: str, method: str = "GET", version: str = "1.1") -> bytes:
    """Make a request that closes the connection."""
    lines = [f"{method} {path} HTTP/{version}", "Host: localhost", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def ask(base: EventBase, server: Server, data: bytes) -> bytes:
    """Send *data* to the server and return all that comes back."""
    if not server.bound:
        server.bind(("127.0.0.1", 0))
    result: bytes = Client(base, server.bound[0].address, exchange(data)).finish()
    return result


def split(answer: bytes) -> tuple[int, Headers, bytes]:
    """Take an answer apart."""
    head, _, body = answer.partition(b"\r\n\r\n")
    line, *lines = head.decode("latin-1").split("\r\n")
    pairs = [line.split(": ", 1) for line in lines]
    return int(line.split(" ")[1]), Headers([(name, value) for name, value in pairs]), body
