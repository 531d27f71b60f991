"""
What the tests of DNS servers share: a server with a client of it, dig, and packets that mean harm.

A test module takes the fixture as its own: ``serve = dns_serving.serve``.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess
import threading
from collections.abc import Callable
from typing import Any

import pytest
from dns_peers import A, tool, wire

from libevent_cffi import EventBase
from libevent_cffi._native import lib
from libevent_cffi.dns import Request, Server
from libevent_cffi.flags import DNSErrorCode, DNSFlag, DNSSection, DNSType

LOCAL = ("127.0.0.1", 0)
HAS_TCP = hasattr(lib, "evdns_add_server_port_with_listener")
Run = Callable[..., None]


def query(name: str, kind: int = A, number: int = 7) -> bytes:
    """Return a question as it is sent."""
    return struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, 0) + wire(name) + struct.pack(">HH", kind, 1)


LOOP = struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + b"\xc0\x0c\0\1\0\1"
CORPUS = [
    *(bytes(size) for size in range(14)),
    LOOP,
    struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + b"\xc0\x0e\xc0\x0c\0\1\0\1",
    struct.pack(">HHHHHH", 7, 0x0100, 65535, 65535, 65535, 65535),
    struct.pack(">HHHHHH", 7, 0x0100, 300, 0, 0, 0) + b"\0\0\1\0\1" * 296,
    struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + b"\x3f" * 64 + b"\0\0\1\0\1",
    struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + (b"\x3f" + b"x" * 63) * 5 + b"\0\0\1\0\1",
    struct.pack(">HHHHHH", 7, 0x8180, 1, 0, 0, 0) + wire("one.example") + b"\0\1\0\1",
    struct.pack(">HHHHHH", 7, 0x7900, 1, 0, 0, 0) + wire("one.example") + b"\0\1\0\1",
    query("one.example")[:-1],
    query("one.example") * 100,
    query("one.example", 255),
    query("one.example", 252),
    b"\xff" * 1400,
    b"\0" * 9000,
]


class Client:
    """A UDP socket that asks a server."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.connect(server.address)
        self.sock.setblocking(False)

    def ask(self, name: str, kind: int = A) -> None:
        """Send a question."""
        self.sock.send(query(name, kind))

    def answer(self) -> tuple[int, int, bytes]:
        """Dispatch until there is an answer; return its flags, its code, and all of it."""
        got: list[bytes] = []
        event = self.server.base.on_readable(
            self.sock, lambda: (got.append(self.sock.recv(65536)), event.close())
        )
        self.server.base.call_later(10, self.server.base.loop_break, keepalive=False)
        while not got:
            assert self.server.base.poll(10)
        flags = struct.unpack_from(">H", got[0], 2)[0]
        return flags & ~15, flags & 15, got[0]

    def none_came(self) -> bool:
        """Tell whether nothing has come."""
        with contextlib.suppress(BlockingIOError):
            return not self.sock.recv(65536)
        return True


@pytest.fixture
def serve(plain_base: EventBase) -> Any:
    """serve(handler, **keywords) gives a server and a client of it."""
    clients: list[Client] = []

    def make(handler: Callable[[Request], object], **keywords: Any) -> tuple[Server, Client]:
        server = Server(plain_base, keywords.pop("address", LOCAL), handler, **keywords)
        clients.append(Client(server))
        return server, clients[-1]

    yield make
    for client in clients:
        client.sock.close()


def zone(request: Request) -> None:
    """Answer what tests with real clients ask."""
    for name, kind, _ in request.questions:
        plain = name.lower()
        request.set_flags(DNSFlag.AA)
        if plain.startswith("missing"):
            request.respond(DNSErrorCode.NOTEXIST)
            return
        if plain.startswith("alias"):
            request.add_cname(name, "one.example", ttl=30)
            request.add_a("one.example", "192.0.2.1", ttl=30)
        elif plain.startswith("large"):
            request.add_a(name, [f"192.0.2.{number}" for number in range(100)], ttl=30)
        elif kind == DNSType.A:
            request.add_a(name, ["192.0.2.1", "192.0.2.2"], ttl=60)
        elif kind == DNSType.AAAA:
            request.add_aaaa(name, "2001:db8::1", ttl=60)
        elif kind == DNSType.PTR:
            request.add_ptr(name, "one.example", ttl=60)
        elif kind == DNSType.TXT:
            request.add_reply(DNSSection.ANSWER, name, DNSType.TXT, b"\x05hello\x05world", ttl=60)
            request.add_reply(DNSSection.AUTHORITY, name, DNSType.NS, "ns.example", ttl=60)
            request.add_reply(DNSSection.ADDITIONAL, "ns.example", DNSType.A, bytes([192, 0, 2, 53]), ttl=60)
    request.respond()


def dig(base: EventBase, server: Server, *arguments: str) -> str:
    """Run dig against *server*; return what it prints."""
    command = [
        *(tool("dig"), f"@{server.address[0]}", "-p", str(server.port), "+tries=1", "+time=5", "+nocookie"),
        *arguments,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        ended: list[str] = []

        def read() -> None:
            assert process.stdout is not None
            ended.append(process.stdout.read())
            base.call_soon_threadsafe(base.loop_break)

        thread = threading.Thread(target=read)
        thread.start()
        base.dispatch(exit_on_empty=False)
        thread.join()
    return ended[0]
