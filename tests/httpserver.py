"""Servers for the tests of the client: each answers as it is told, in a thread of its own."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Optional, Union

DEADLINE = 15.0
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Asked(NamedTuple):
    """A request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


#: What to send for a request: bytes; with None the connection is closed.
Answer = Callable[[Asked], Optional[bytes]]
#: Or whatever else it does with a connection.
Script = Callable[[socket.socket], object]


class Server:
    """Answers requests, and remembers them."""

    def __init__(self, listener: socket.socket, answer: Union[Answer, bytes, None], script: Optional[Script]):
        self.listener = listener
        self.address: Any = listener.getsockname()[:2] if listener.family != socket.AF_UNIX else None
        self.answer = answer
        self.script = script
        self.asked: list[Asked] = []
        self.connections = 0
        self.failures: list[BaseException] = []
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.address[1]}"

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self._threads[0].join(DEADLINE)
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(DEADLINE)
            assert not thread.is_alive(), "a server's thread still runs"

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.listener.accept()
                self.connections += 1
                sock.settimeout(DEADLINE)
                self._open.append(sock)
                self._threads.append(threading.Thread(target=self._serve, args=(sock,), daemon=True))
                self._threads[-1].start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(ConnectionError, TimeoutError):
            try:
                if self.script is not None:
                    self.script(sock)
                else:
                    self._answer_all(sock)
            except (ConnectionError, TimeoutError, OSError):
                raise
            except BaseException as error:
                self.failures.append(error)

    def _answer_all(self, sock: socket.socket) -> None:
        with sock.makefile("rb") as file:
            while True:
                asked = read_request(file)
                if asked is None:
                    return
                self.asked.append(asked)
                answer = self.answer(asked) if callable(self.answer) else self.answer
                if answer is None:
                    return
                sock.sendall(answer)


def read_request(file: Any) -> Optional[Asked]:
    """Read one request; None at the end."""
    line = file.readline().decode()
    if not line:
        return None
    method, target, version = line.split(" ")
    assert version == "HTTP/1.1\r\n"
    headers: dict[str, str] = {}
    while True:
        line = file.readline().decode()
        if line in ("\r\n", ""):
            break
        name, _, value = line.rstrip("\r\n").partition(": ")
        assert name.lower() not in headers
        headers[name.lower()] = value
    return Asked(method, target, headers, file.read(int(headers.get("content-length", "0"))))


@contextlib.contextmanager
def serving(
    answer: Union[Answer, bytes, None] = OK,
    *,
    script: Optional[Script] = None,
    family: int = socket.AF_INET,
    address: Any = None,
) -> Iterator[Server]:
    """Serve for as long as the ``with`` lasts."""
    listener = socket.socket(family, socket.SOCK_STREAM)
    if address is None:
        address = ("127.0.0.1", 0) if family == socket.AF_INET else ("::1", 0)
    listener.bind(address)
    listener.listen(256)
    server = Server(listener, answer, script)
    try:
        yield server
    finally:
        server.close()
    assert server.failures == []


def reset(sock: socket.socket) -> None:
    """Close with RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def read_head(sock: socket.socket) -> bytes:
    """Read up to the end of a request's head, byte by byte."""
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        if not byte:
            break
        data += byte
    return data
