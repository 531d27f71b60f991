"""What the tests of listeners share: an address, callbacks and clients."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

from libevent_cffi import Listener

LOCAL = ("127.0.0.1", 0)
HAS_IPV6 = socket.has_ipv6
try:
    socket.create_server(("::1", 0), family=socket.AF_INET6).close()
except OSError:
    HAS_IPV6 = False


class Mistake(Exception):
    """What a callback raises here."""


class HasFileno:
    """Something that has a descriptor, and stays its owner."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def fileno(self) -> int:
        """Return it."""
        return self.sock.fileno()


def nothing(*_: object) -> None:
    """Be a callback; a socket that it gets is closed, since nobody keeps it."""
    for each in _:
        if isinstance(each, socket.socket):
            each.close()


@contextlib.contextmanager
def client(listener: Listener, count: int = 1) -> Iterator[list[socket.socket]]:
    """*count* connections to *listener*, closed at the end."""
    with contextlib.ExitStack() as stack:
        made = []
        for _ in range(count):
            address: Any = listener.address
            family = socket.AF_UNIX if isinstance(address, (str, bytes)) else socket.AF_INET
            if isinstance(address, tuple) and len(address) == 4:
                family = socket.AF_INET6
            sock = stack.enter_context(socket.socket(family))
            sock.settimeout(10)
            sock.connect(address)
            made.append(sock)
        yield made


def is_ended(sock: socket.socket) -> bool:
    """Tell whether the other side closed *sock*."""
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True
