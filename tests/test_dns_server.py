"""A DNS server: real clients, every way to answer, and its sockets."""

from __future__ import annotations

import gc
import os
import socket
import struct
import weakref
from collections.abc import Callable
from typing import Any

import dns_serving
import pytest
from dns_peers import AAAA, A
from dns_serving import HAS_TCP, LOCAL, Run, dig, zone
from test_leaks import descriptors

from libevent_cffi import EventBase
from libevent_cffi._native import lib
from libevent_cffi.dns import Question, Request, Resolver, Server
from libevent_cffi.errors import ClosedError, FeatureUnavailableError
from libevent_cffi.flags import DNSErrorCode, DNSFlag, DNSSection, DNSType

serve = dns_serving.serve


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
