"""A DNS server: real clients, every way to answer, and packets that mean harm."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import random
import socket
import struct
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from conftest import output_of
from dns_peers import AAAA, CNAME, PTR, A, answer, name_server, question_of, record, tool, wire
from test_fork import in_child
from test_leaks import descriptors

from libevent_cffi import EventBase
from libevent_cffi._native import lib
from libevent_cffi.dns import Question, Request, Resolver, Server
from libevent_cffi.errors import ClosedError, DNSError, FeatureUnavailableError, WrongThreadError
from libevent_cffi.flags import DNSErrorCode, DNSFlag, DNSSection, DNSType, LoopFlag

LOCAL = ("127.0.0.1", 0)
HAS_TCP = hasattr(lib, "evdns_add_server_port_with_listener")
Run = Callable[..., None]


def query(name: str, kind: int = A, number: int = 7) -> bytes:
    """Return a question as it is sent."""
    return struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, 0) + wire(name) + struct.pack(">HH", kind, 1)


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


# -- real clients --------------------------------------------------------------------------------------------


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


def test_dig_gets_every_kind_of_answer(plain_base: EventBase) -> None:
    """A, AAAA, PTR, CNAME, TXT with all three sections, and NXDOMAIN."""
    with Server(plain_base, LOCAL, zone) as server:
        assert dig(plain_base, server, "+short", "one.example").split() == ["192.0.2.1", "192.0.2.2"]
        assert dig(plain_base, server, "+short", "one.example", "AAAA").split() == ["2001:db8::1"]
        assert dig(plain_base, server, "+short", "-x", "192.0.2.1").split() == ["one.example."]
        assert dig(plain_base, server, "+short", "-x", "2001:db8::1").split() == ["one.example."]
        assert dig(plain_base, server, "+short", "alias.example").split() == ["one.example.", "192.0.2.1"]
        full = dig(plain_base, server, "one.example", "TXT")
        assert '"hello" "world"' in full
        assert "ns.example.\t\t60\tIN\tA\t192.0.2.53" in full
        assert "status: NOERROR" in full
        assert "flags: qr aa rd" in full
        assert "status: NXDOMAIN" in dig(plain_base, server, "missing.example")


def test_dig_is_told_that_an_answer_was_cut_off(plain_base: EventBase) -> None:
    """100 addresses do not fit into a datagram of 512 bytes; with EDNS, on 2.2, they do."""
    with Server(plain_base, LOCAL, zone) as server:
        cut = dig(plain_base, server, "+noedns", "+ignore", "large.example")
        assert "flags: qr aa tc rd" in cut
        if HAS_TCP:
            assert len(dig(plain_base, server, "+bufsize=4096", "+short", "large.example").split()) == 100


@pytest.mark.skipif(not HAS_TCP, reason="needs libevent 2.2")
def test_dig_by_tcp(plain_base: EventBase) -> None:
    """The whole answer, on the same port; also after one that was cut off."""
    with Server(plain_base, LOCAL, zone, tcp=True, tcp_max_clients=5, tcp_idle_timeout=5) as server:
        assert len(dig(plain_base, server, "+tcp", "+short", "large.example").split()) == 100
        lines = dig(plain_base, server, "+noedns", "+short", "large.example").splitlines()
        assert len([line for line in lines if line.startswith("192.")]) == 100


@pytest.mark.skipif(HAS_TCP, reason="libevent 2.2 has it")
def test_tcp_needs_2_2(plain_base: EventBase) -> None:
    """And says so."""
    with pytest.raises(FeatureUnavailableError, match="dns_tcp"):
        Server(plain_base, LOCAL, zone, tcp=True)


def test_our_resolver_asks_our_server(plain_base: EventBase, run: Run) -> None:
    """On one base, thousands of times; what the server has no time for is asked again."""
    told: list[Any] = []
    with (
        Server(plain_base, LOCAL, zone) as server,
        Resolver(
            plain_base,
            resolv_conf=False,
            hosts=False,
            nameservers=[server.address],
            timeout=1,
            attempts=255,
            max_timeouts=255,
            getaddrinfo_allow_skew=60,
        ) as resolver,
    ):
        left = 2000

        def done(found: Any) -> None:
            told.append(found.result())
            if len(told) == left:
                plain_base.loop_break()

        for number in range(left):
            resolver.getaddrinfo(f"n{number}.example", 80, done, type=socket.SOCK_STREAM)
        run(plain_base)
    assert len(told) == left
    assert {len(each) for each in told} == {3}


# -- ways to answer ------------------------------------------------------------------------------------------


def test_what_a_request_tells(serve: Any) -> None:
    """Its questions, flags, peer and server, before and after it is answered."""
    kept: list[Request] = []
    server, client = serve(lambda request: (kept.append(request), request.respond()))
    client.ask("Some.Name.Example", AAAA)
    client.answer()
    request = kept[0]
    assert request.questions == (Question("Some.Name.Example", AAAA, 1),)
    assert request.questions[0].class_ == 1
    assert request.flags == DNSFlag.RD
    assert request.peer_address == client.sock.getsockname()
    assert request.server is server
    assert request.answered
    assert repr(request) == "<Request AAAA Some.Name.Example answered>"


@pytest.mark.parametrize("code", [*range(16)])
def test_every_code_is_sent(serve: Any, code: int) -> None:
    """From 0 to 15."""
    _, client = serve(lambda request: request.respond(code))
    client.ask("one.example")
    assert client.answer()[1] == code


@pytest.mark.parametrize("how", ["nothing", "raises"])
def test_a_request_that_is_not_answered_is_answered_servfail(
    serve: Any, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """At once, and it is logged; the server goes on."""
    told: list[Request] = []

    def handler(request: Request) -> None:
        told.append(request)
        if how == "raises":
            raise LookupError("here")

    server, client = serve(handler)
    server.base.error_handler = pytest.fail
    for _ in range(2):
        client.ask("one.example")
        assert client.answer()[1] == DNSErrorCode.SERVERFAILED
    assert len(told) == 2
    texts = [entry.getMessage() for entry in caplog.records if entry.name == "libevent.dns"]
    assert len(texts) == 2
    assert ("failed" if how == "raises" else "neither answered nor deferred") in texts[0]
    assert "one.example" in texts[0]
    if how == "raises":
        assert caplog.records[0].exc_info is not None


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_process_ends_the_loop(serve: Any, run: Run, kind: Any) -> None:
    """And the client is told SERVFAIL all the same."""

    def handler(request: Request) -> None:
        raise kind

    server, client = serve(handler)
    client.ask("one.example")
    with pytest.raises(kind):
        run(server.base)
    assert client.answer()[1] == DNSErrorCode.SERVERFAILED


def test_answered_later(serve: Any) -> None:
    """From a timer, after defer()."""

    def handler(request: Request) -> None:
        request.defer()
        assert not request.answered
        server.base.call_later(0.01, later, request)

    def later(request: Request) -> None:
        request.add_a("one.example", "192.0.2.9", ttl=1)
        request.respond()

    server, client = serve(handler)
    client.ask("one.example")
    assert bytes([192, 0, 2, 9]) in client.answer()[2]


def test_dropped(serve: Any) -> None:
    """drop() answers nothing; a deferred one that nobody refers to any more is dropped too."""
    kept: list[weakref.ref[Request]] = []

    def handler(request: Request) -> None:
        if not kept:
            request.drop()
            assert request.answered
        else:
            request.defer()
        kept.append(weakref.ref(request))

    server, client = serve(handler)
    before = lib.lev_live_objects
    for expected in (1, 2):
        client.ask("one.example")
        while len(kept) < expected:
            server.base.poll(1)
    for _ in range(4):
        gc.collect()
    server.base.poll()
    assert [each() for each in kept] == [None, None]
    assert lib.lev_live_objects == before
    assert client.none_came()


@pytest.mark.parametrize("end", ["respond", "drop"])
def test_an_answered_request_is_closed(serve: Any, end: str) -> None:
    """Nothing can be added, and it cannot be answered twice."""
    errors: list[str] = []

    def handler(request: Request) -> None:
        getattr(request, end)()
        for call in (
            request.respond,
            request.drop,
            request.defer,
            lambda: request.add_a("one.example", "192.0.2.1", ttl=1),
            lambda: request.set_flags(DNSFlag.AA),
        ):
            try:
                call()
            except ClosedError as error:
                errors.append(str(error))

    server, client = serve(handler)
    client.ask("one.example")
    while not errors:
        server.base.poll(1)
    assert len(errors) == 5
    assert "it has been answered or dropped" in errors[0]


def test_wrong_answers_are_refused(serve: Any) -> None:
    """TypeError or ValueError at the call; the request can still be answered."""
    refused: list[str] = []

    def handler(request: Request) -> None:
        calls: list[Callable[[], object]] = [
            lambda: request.respond(16),
            lambda: request.respond(-1),
            lambda: request.respond("0"),  # type: ignore[arg-type]
            lambda: request.add_a("one.example", "::1", ttl=1),
            lambda: request.add_a("one.example", "name", ttl=1),
            lambda: request.add_aaaa("one.example", ["::1", "192.0.2.1"], ttl=1),
            lambda: request.add_a("x" * 64, "192.0.2.1", ttl=1),
            lambda: request.add_a("a\0b", "192.0.2.1", ttl=1),
            lambda: request.add_a("one.example", "192.0.2.1", ttl=-1),
            lambda: request.add_a("one.example", "192.0.2.1", ttl=1 << 32),
            lambda: request.add_cname("one.example", "a..b", ttl=1),
            lambda: request.add_ptr("nothing", "one.example", ttl=1),
            lambda: request.add_reply(7, "one.example", A, b"", ttl=1),  # type: ignore[arg-type]
            lambda: request.add_reply(DNSSection.ANSWER, "one.example", 70000, b"", ttl=1),
            lambda: request.add_reply(DNSSection.ANSWER, "one.example", A, b"x" * 70000, ttl=1),
            lambda: request.add_reply(DNSSection.ANSWER, "one.example", A, 7, ttl=1),  # type: ignore[arg-type]
            lambda: request.set_flags(1 << 20),  # type: ignore[arg-type]
        ]
        for number, call in enumerate(calls):
            with pytest.raises((TypeError, ValueError)):
                call()
            refused.append(str(number))
        request.respond()

    _, client = serve(handler)
    client.ask("one.example")
    assert client.answer()[1] == 0
    assert len(refused) == 17


def test_no_memory_is_sent_that_is_not_the_answers(serve: Any) -> None:
    """An answer that is cut off has no more bytes than were written: libevent pads it with what was there."""

    def handler(request: Request) -> None:
        for number in range(6):
            request.add_reply(DNSSection.ANSWER, f"n{number}.example", DNSType.TXT, b"\xff" * 690, ttl=1)
        request.respond()

    _, client = serve(handler)
    client.ask("one.example")
    flags, _, packet = client.answer()
    assert flags & 0x0200 or len(packet) > 4000
    if len(packet) <= 512:
        first = packet.index(b"\xff" * 8)
        assert set(packet[first:]) == {0xFF}


def test_names_of_any_bytes_come_back(serve: Any) -> None:
    """Odd names are told as surrogates and can be answered; the root is "."."""
    told: list[str] = []

    def handler(request: Request) -> None:
        told.append(request.questions[0].name)
        request.add_a(request.questions[0].name, "192.0.2.1", ttl=1)
        request.respond()

    _, client = serve(handler)
    head = struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0)
    client.sock.send(head + b"\x04a\xff\x80b\x07example\0\0\1\0\1")
    assert client.answer()[1] == 0
    client.sock.send(head + b"\0\0\1\0\1")
    assert client.answer()[1] == 0
    assert told == ["a\udcff\udc80b.example", "."]


# -- sockets -------------------------------------------------------------------------------------------------


class HasFileno:
    """Something that has a descriptor."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def fileno(self) -> int:
        """Return it."""
        return self.sock.fileno()


@pytest.mark.parametrize("how", ["socket", "int", "fileno"])
def test_a_socket_is_handed_over(serve: Any, how: str) -> None:
    """A socket object is detached, an int taken, of anything else the descriptor is duplicated."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(LOCAL)
        fd = sock.fileno()
        given: Any = sock if how == "socket" else sock.detach() if how == "int" else HasFileno(sock)
        server, client = serve(zone, address=given)
        assert (server.fileno() == fd) == (how != "fileno")
        assert (sock.fileno() == fd) == (how == "fileno")
        client.ask("one.example")
        assert client.answer()[1] == 0
        server.close()
        server.base.poll()
    with pytest.raises(OSError):
        os.fstat(fd)


def test_wrong_addresses_and_arguments_are_refused(plain_base: EventBase) -> None:
    """And what was given stays its owner's."""
    before = descriptors()
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unix:
        for address in (tcp, unix, tcp.fileno(), "127.0.0.1", ("name", 53), ("127.0.0.1",), None, True):
            with pytest.raises((TypeError, ValueError)):
                Server(plain_base, address, zone)  # type: ignore[arg-type]
        assert os.fstat(tcp.fileno())
        assert os.fstat(unix.fileno())
    with pytest.raises(TypeError, match="handler must be callable"):
        Server(plain_base, LOCAL, None)  # type: ignore[arg-type]
    for keywords in ({"tcp_max_clients": 1}, {"tcp_idle_timeout": 1.0}):
        with pytest.raises(ValueError, match="tcp=True"):
            Server(plain_base, LOCAL, zone, **keywords)  # type: ignore[arg-type]
    with Server(plain_base, LOCAL, zone) as server, pytest.raises(OSError):
        Server(plain_base, server.address, zone)
    plain_base.close()
    with pytest.raises(ClosedError):
        Server(plain_base, LOCAL, zone)
    assert descriptors() <= before


# -- life and death ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["handler", "after answering", "deferred", "timer"])
@pytest.mark.parametrize("what", ["server", "base"])
def test_closed_anywhere(serve: Any, run: Run, what: str, where: str) -> None:
    """No handler is called any more, requests that are open are closed, the port is free."""
    told: list[Request] = []

    def end() -> None:
        server.close() if what == "server" else server.base.close()

    def handler(request: Request) -> None:
        told.append(request)
        if where == "after answering":
            request.respond()
        elif where != "handler":
            request.defer()
        if where == "deferred":
            server.base.call_soon(end)
        elif where != "timer":
            end()

    server, client = serve(handler)
    for _ in range(3):
        client.ask("one.example")
    if where == "timer":
        server.base.call_later(0.02, end)
    address = server.address
    run(server.base)
    assert server.closed
    assert all(request.answered for request in told)
    assert 1 <= len(told) <= 3
    for call in (told[0].respond, told[0].drop, lambda: told[0].add_a("a.example", "192.0.2.1", ttl=1)):
        with pytest.raises(ClosedError):
            call()
    for call in (server.fileno, lambda: server.address, lambda: server.port):
        with pytest.raises(ClosedError):
            call()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(address)
    server.close()


def test_a_server_need_not_be_kept(serve: Any) -> None:
    """It is held by its base until it is closed."""
    told: list[object] = []
    server, client = serve(lambda request: (told.append(1), request.respond()))
    base = server.base
    client.server = None
    sock = client.sock
    del server
    gc.collect()
    sock.send(query("one.example"))
    while not told:
        base.poll(1)


def fill_a_base() -> None:
    """Make a base with a server and open requests, all of which refer to each other."""
    base = EventBase()
    kept: list[object] = []

    def handler(request: Request) -> None:
        request.defer()
        kept.append(request)

    server = Server(base, LOCAL, handler)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _ in range(3):
            sock.sendto(query("one.example"), server.address)
        while len(kept) < 3:
            base.poll(1)
    kept.append(kept)


def test_a_dropped_base_is_garbage_with_its_servers() -> None:
    """Also with requests that are open."""
    live, before = lib.lev_live_objects, descriptors()
    fill_a_base()
    for _ in range(6):
        gc.collect()
    assert (lib.lev_live_objects, descriptors()) == (live, before)


@pytest.mark.parametrize("stop", ["loop_break", "raise"])
def test_stopping_the_loop_loses_no_request(serve: Any, run: Run, stop: str) -> None:
    """Those that libevent read after it are told by the next dispatch()."""
    told: list[object] = []

    def handler(request: Request) -> None:
        told.append(request)
        request.respond()
        if stop == "raise":
            raise SystemExit
        server.base.loop_break()

    server, client = serve(handler)
    for _ in range(5):
        client.ask("one.example")
    for expected in range(1, 6):
        with pytest.raises(SystemExit) if stop == "raise" else contextlib.nullcontext():
            run(server.base)
        assert len(told) == expected


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork()")
def test_a_fork_in_the_handler(serve: Any) -> None:
    """The child's server is dead, and takes no datagram of the parent's."""

    def work() -> None:
        assert server.closed
        server.close()
        server.base.close()

    told: list[object] = []

    def handler(request: Request) -> None:
        told.append(request)
        if len(told) == 1:
            in_child(work)
        request.respond()

    server, client = serve(handler)
    client.ask("one.example")
    client.ask("two.example")
    assert client.answer()[1] == 0
    assert client.answer()[1] == 0
    assert len(told) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork()")
def test_a_child_that_returns_from_the_handler(serve: Any) -> None:
    """It leaves the loop with ClosedError, and every datagram is still the parent's."""
    parent, pids, told = os.getpid(), [], []  # type: ignore[var-annotated]

    def handler(request: Request) -> None:
        told.append(request)
        if len(told) == 1:
            pids.append(os.fork())
        if os.getpid() == parent:
            request.respond()

    _, client = serve(handler)
    for _ in range(3):
        client.ask("one.example")
    try:
        for _ in range(3):
            client.answer()
    except ClosedError:
        os._exit(0 if os.getpid() != parent else 1)
    except BaseException:
        os._exit(2)
    assert os.getpid() == parent
    assert len(told) == 3
    assert os.waitpid(pids[0], 0)[1] == 0


def test_other_threads_are_refused(serve: Any, run: Run) -> None:
    """While the base is dispatched elsewhere."""
    refused: list[str] = []
    kept: list[Request] = []

    def handler(request: Request) -> None:
        request.defer()
        kept.append(request)
        thread.start()

    def other() -> None:
        for call in (kept[0].respond, kept[0].drop, server.close, server.fileno):
            try:
                call()
            except WrongThreadError as error:
                refused.append(str(error))
        server.base.call_soon_threadsafe(server.base.loop_break)

    thread = threading.Thread(target=other)
    server, client = serve(handler)
    client.ask("one.example")
    run(server.base)
    thread.join()
    assert len(refused) == 4
    assert not kept[0].answered
    kept[0].respond()


def test_replies_that_cannot_be_sent(plain_base: EventBase, run: Run) -> None:
    """To port 0, say: libevent tries again later, and closing the server meanwhile is safe."""
    if os.geteuid() != 0:
        pytest.skip("needs a raw socket, to forge where a datagram comes from")
    for close in (False, True):
        told: list[Request] = []

        def handler(request: Request, close: bool = close, told: list[Request] = told) -> None:
            told.append(request)
            request.respond()
            if close and len(told) == 2:
                request.server.close()

        server = Server(plain_base, LOCAL, handler)
        payload = query("one.example")
        try:
            raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
        except PermissionError:
            pytest.skip("raw sockets are not allowed here")
        with raw:
            for _ in range(2):
                packet = struct.pack(">HHHH", 0, server.port, 8 + len(payload), 0) + payload
                raw.sendto(packet, ("127.0.0.1", 0))
        plain_base.call_later(0.05, plain_base.loop_exit)
        run(plain_base)
        assert len(told) == 2
        server.close()
        plain_base.poll()


def test_nothing_is_left_behind(plain_base: EventBase, run: Run) -> None:
    """Neither memory nor descriptors, whichever way requests and servers end."""

    def once(number: int) -> None:
        kept: list[Request] = []

        def handler(request: Request) -> None:
            if number % 4 == 0:
                request.defer()
            elif number % 4 == 1:
                request.drop()
            elif number % 4 == 2:
                zone(request)
            else:
                zone(request)
                server.close()
            kept.append(request)
            plain_base.loop_break()

        server = Server(plain_base, LOCAL, handler)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(query("one.example"), server.address)
            sock.sendto(query("one.example"), server.address)
            run(plain_base)
        assert kept
        server.close()

    def many(count: int) -> tuple[int, int, int]:
        for number in range(count):
            once(number)
        for _ in range(12 if sys.implementation.name == "pypy" else 3):
            gc.collect()
        plain_base.poll()
        return lib.lev_memory_blocks(), lib.lev_live_objects, descriptors()

    before, after = many(20), many(100)
    assert after[1:] == before[1:]
    if sys.implementation.name != "pypy":
        assert after[0] <= before[0] + 4


FLOOD = """
import os, socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.connect(("127.0.0.1", int(sys.argv[1])))
    while os.getppid() != 1:
        try:
            sock.send(bytes.fromhex(sys.argv[2]))
        except OSError:
            pass
"""


def test_a_flood_leaves_the_others_their_turn(plain_base: EventBase, run: Run) -> None:
    """libevent reads until nothing is left, which is never here; afterwards all is as before."""
    told, ticks = [0], [0]

    def handler(request: Request) -> None:
        told[0] += 1
        end = time.monotonic() + 0.0003  # slower than any sender
        while time.monotonic() < end:
            pass
        request.respond()

    def tick() -> None:
        ticks[0] += 1
        if ticks[0] == 5:
            plain_base.loop_break()

    with Server(plain_base, LOCAL, handler) as server:
        command = [sys.executable, "-c", FLOOD, str(server.port), query("one.example").hex()]
        with subprocess.Popen(command) as process:
            try:
                while told[0] < 10:
                    plain_base.loop(LoopFlag.ONCE)
                plain_base.every(0.01, tick, keepalive=False)
                run(plain_base)
            finally:
                process.kill()
        client = Client(server)
        with client.sock:
            while client.none_came():  # as long as the flood's rest is answered, it may be dropped too
                client.ask("one.example")
                plain_base.poll(0.1)


# -- packets that mean harm ----------------------------------------------------------------------------------

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


def mutated(packet: bytes, source: random.Random) -> bytes:
    """Change, cut or repeat a part of *packet*."""
    data = bytearray(packet)
    for _ in range(source.randrange(1, 6)):
        how = source.randrange(4)
        at = source.randrange(len(data) + 1)
        if how == 0 and data:
            data[at % len(data)] = source.choice((0, 1, 12, 63, 64, 192, 255, source.randrange(256)))
        elif how == 1:
            del data[at:]
        elif how == 2:
            data[at:at] = data[max(0, at - 20) : at]
        else:
            data[at:at] = bytes([192, source.randrange(256)])
    return bytes(data[:1400])


def test_hostile_requests(plain_base: EventBase) -> None:
    """A corpus, and thousands made of good ones: the server lives, and answers the good ones in between."""
    source = random.Random(20)
    with Server(plain_base, LOCAL, zone) as server:
        client = Client(server)
        with client.sock:
            packets = CORPUS + [
                mutated(source.choice([query("one.example"), query("a.b.c.d", PTR), *CORPUS[14:20]]), source)
                for _ in range(4000)
            ]
            for start in range(0, len(packets), 100):
                for packet in packets[start : start + 100]:
                    with contextlib.suppress(BlockingIOError):
                        client.sock.send(packet)
                    plain_base.poll()
                while not client.none_came():
                    pass
                client.ask("one.example")
                while bytes([192, 0, 2, 2]) not in client.answer()[2]:
                    pass


def test_short_datagrams_that_came_before_the_server(plain_base: EventBase) -> None:
    """One of them in the socket's queue would end the process as well (2.1)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(LOCAL)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for size in range(12):
                sender.sendto(bytes(size), sock.getsockname())
        with Server(plain_base, sock, zone) as server:
            client = Client(server)
            with client.sock:
                client.ask("one.example")
                assert client.answer()[1] == 0


def test_hostile_answers(plain_base: EventBase, run: Run) -> None:
    """Whatever a name server answers, each query finishes once."""
    source = random.Random(21)

    def reply(packet: bytes, name: str, kind: int) -> list[bytes]:
        size = {A: 4, AAAA: 16}.get(kind, 12)
        good = answer(
            packet, record(CNAME, wire("alias.example")), record(kind, bytes(size)), record(kind, bytes(size))
        )
        made = [packet[:2] + mutated(good, source)[2:] for _ in range(3)]
        if source.random() < 0.5:
            made.append(
                answer(packet, code=source.randrange(16), flags=source.choice((0x8180, 0x8380, 0xFFF0)))
            )
        if source.random() < 0.1:
            made.append(good[:12] + b"\xc0\x0c" * 30)
        return made

    told: list[Any] = []
    with (
        name_server(reply) as peer,
        Resolver(
            plain_base,
            **{
                "resolv_conf": False,
                "hosts": False,
                "nameservers": [peer.address],
                "initial_probe_timeout": 0.005,
            },
            **{"timeout": 0.01, "attempts": 1, "max_timeouts": 200},  # type: ignore[arg-type]
        ) as resolver,
    ):
        count = 0
        for number in range(400):
            resolver.resolve_ipv4(f"n{number}.example", told.append)
            resolver.resolve_ipv6(f"n{number}.example", told.append)
            resolver.resolve_reverse(f"192.0.2.{number % 256}", told.append)
            resolver.getaddrinfo(f"n{number}.example", 80, told.append)
            count += 4
        run(plain_base)
        assert len(told) == len(set(map(id, told))) == count
        for each in told:
            assert each.done
            assert each.error is None or isinstance(each.error, DNSError)


def test_answers_of_strangers_do_not_count(plain_base: EventBase) -> None:
    """Neither from another address, nor with another number."""

    def reply(packet: bytes, name: str, kind: int) -> list[bytes]:
        wrong = record(A, bytes([203, 0, 113, 66]))
        number = bytes([packet[0] ^ 1, packet[1]])
        forged = number + answer(packet, wrong)[2:]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind(("127.0.0.2", 0))
            for to in where:
                stranger.sendto(answer(packet, wrong), to)
        assert question_of(packet)[0] == name
        return [forged, answer(packet, record(A, bytes([192, 0, 2, 1])))]

    where: list[Any] = []
    with (
        name_server(reply) as peer,
        Resolver(
            plain_base, resolv_conf=False, hosts=False, nameservers=[peer.address], timeout=2.0
        ) as resolver,
    ):
        assert resolver.resolve_ipv4("one.example").wait(10).records == ("192.0.2.1",)


def test_exit_with_a_server_open_is_silent() -> None:
    """And with a request in it."""
    code = f"""
import socket
from libevent_cffi import EventBase
from libevent_cffi.dns import Server
base = EventBase()
kept = []
server = Server(base, ("127.0.0.1", 0), lambda request: (request.defer(), kept.append(request)))
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.sendto({query("one.example")!r}, server.address)
    while not kept:
        base.poll(1)
"""
    assert output_of(code) == ""


def test_messages_have_a_logger_of_their_own(serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    """What the server says comes from "libevent.dns"."""
    with caplog.at_level(logging.WARNING, "libevent.dns"):
        _, client = serve(lambda request: None)
        client.ask("one.example")
        client.answer()
    assert [entry.name for entry in caplog.records] == ["libevent.dns"]


def test_a_record_may_be_empty(serve: Any) -> None:
    """As the OPT of EDNS is, which dig reads."""

    def handler(request: Request) -> None:
        request.add_reply(DNSSection.ADDITIONAL, ".", 41, b"", ttl=0, class_=1232)
        request.respond()

    server, _ = serve(handler)
    assert "EDNS: version: 0, flags:; udp: 1232" in dig(server.base, server, "+noedns", "one.example")


def test_a_slow_handler_that_raises_is_no_flood(serve: Any, run: Run) -> None:
    """What is asked while it was being answered is heard, though the server has been busy for long."""

    def handler(request: Request) -> None:
        time.sleep(0.06)  # longer than a server may keep everything else waiting
        raise LookupError("here")

    server, client = serve(handler)
    codes: list[int] = []

    def answered() -> None:
        codes.append(client.sock.recv(512)[3] & 15)
        if len(codes) < 4:
            client.ask("one.example")
        else:
            server.base.loop_break()

    client.ask("one.example")
    with server.base.on_readable(client.sock, answered):
        run(server.base)
    assert codes == [DNSErrorCode.SERVERFAILED] * 4
