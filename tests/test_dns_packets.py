"""
Packets that hypothesis makes, to a DNS server and to a resolver: no crash, the right error, nothing lost.

LIBEVENT_CFFI_PROGRAMS=n has n tenths as many examples tried.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from dns_peers import AAAA, CNAME, A, answer, question_of, record, wire
from dns_serving import CORPUS, HAS_TCP, LOCAL, query
from hypothesis import given, settings
from hypothesis import strategies as st

from libevent_cffi import EventBase
from libevent_cffi.dns import Request, Resolver, Server
from libevent_cffi.errors import DNSError
from libevent_cffi.flags import DNSErrorCode

EXAMPLES = int(os.environ.get("LIBEVENT_CFFI_PROGRAMS", "1000")) // 10
some = settings(max_examples=EXAMPLES)
fewer = settings(max_examples=EXAMPLES // 2)

numbers = st.sampled_from((0, 1, 2, 3, 255, 300, 65535)) | st.integers(0, 65535)
labels = st.binary(min_size=1, max_size=63).map(lambda data: bytes([len(data)]) + data)
pointers = st.integers(0xC000, 0xFFFF).map(lambda number: struct.pack(">H", number))
near_pointers = st.integers(0xC000, 0xC040).map(lambda number: struct.pack(">H", number))
reserved = st.tuples(st.integers(0x40, 0xBF), st.binary(max_size=70)).map(
    lambda pair: bytes([pair[0]]) + pair[1]
)
names = (
    st.lists(labels | near_pointers | pointers | reserved, max_size=6)
    .map(b"".join)
    .flatmap(lambda data: st.sampled_from((data + b"\0", data)))
)
questions = st.builds(lambda name, *rest: name + struct.pack(">HH", *rest), names, numbers, numbers)
records = st.builds(
    lambda name, kind, class_, ttl, size, data: name + struct.pack(">HHIH", kind, class_, ttl, size) + data,
    *(names, numbers, numbers, st.integers(0, 2**32 - 1), numbers, st.binary(max_size=40)),
)
bodies = st.lists(questions | records | st.binary(max_size=30), max_size=5).map(b"".join)
heads = st.tuples(st.sampled_from((0x0100, 0, 0x8180, 0x8380, 0x2800, 0xFFFF)) | numbers, *[numbers] * 4).map(
    lambda each: struct.pack(">HHHHH", *each)
)
sizes = st.integers(0, 600) | st.sampled_from((512, 1499, 1500, 1501, 4096, 9000, 60000))


@st.composite
def packets(draw: Any, begins: bytes = b"") -> bytes:
    """Make one, whole, cut off, or far too long."""
    packet: bytes = begins + draw(heads) + draw(bodies)
    how = draw(st.integers(0, 5))
    if how == 0:
        packet = packet[: draw(st.integers(len(begins), len(packet)))]
    elif how == 1:
        packet = (packet * 6000)[: len(begins) + draw(sizes)]
    return packet


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """A handler may refuse what it is asked, which is logged."""
    caplog.set_level(logging.CRITICAL, "libevent")
    caplog.set_level(logging.CRITICAL, "libevent.dns")


# -- to a server ---------------------------------------------------------------------------------------------


def echo(request: Request) -> None:
    """Answer each question with what it asked for."""
    for name, kind, class_ in request.questions:
        request.add_cname(name, name, ttl=1)
        request.add_reply(0, name, kind, name, ttl=1, class_=class_)  # type: ignore[arg-type]
    request.respond()


def answer_to(number: int, base: EventBase, sock: socket.socket) -> bytes:
    """Run the loop until that answer is there; on a busy machine a server rests for some passes."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        base.poll(0.1)
        with contextlib.suppress(BlockingIOError):
            while (got := sock.recv(65536, socket.MSG_DONTWAIT))[:2] != struct.pack(">H", number):
                pass
            return got
    raise TimeoutError(f"no answer to question {number}")


def test_a_server_answers_whatever_comes_beside(plain_base: EventBase) -> None:
    """After any packets a good question is answered, once and rightly."""
    number = 0
    with Server(plain_base, LOCAL, echo) as server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(server.address)

        @some
        @given(st.lists(packets(b"\xff\xff") | st.sampled_from(CORPUS), max_size=8))
        def attack(given_packets: list[bytes]) -> None:
            nonlocal number
            number = (number + 1) % 65000
            for packet in given_packets:
                sock.send(packet)
            sock.send(query("one.example", A, number))
            got = answer_to(number, plain_base, sock)
            assert got[2:4] == struct.pack(">H", 0x8100)
            assert struct.unpack_from(">HH", got, 4) == (1, 2)

        attack()


@pytest.mark.skipif(not HAS_TCP, reason="needs libevent 2.2")
def test_a_server_by_tcp_answers_whatever_comes_beside(plain_base: EventBase) -> None:
    """Also after connections that send anything, in pieces, and go."""
    with Server(plain_base, LOCAL, echo, tcp=True) as server:

        @fewer
        @given(
            st.lists(packets(), max_size=4),
            st.binary(max_size=20),
            st.integers(1, 300),
            st.booleans(),
        )
        def attack(given_packets: list[bytes], rest: bytes, cut: int, resets: bool) -> None:
            stream = b"".join(struct.pack(">H", len(packet)) + packet for packet in given_packets) + rest
            with contextlib.suppress(ConnectionError), socket.create_connection(server.address, 10) as sock:
                if resets:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                for at in range(0, len(stream), max(cut, len(stream) // 3)):
                    sock.sendall(stream[at : at + max(cut, len(stream) // 3)])
                    plain_base.poll()
            plain_base.poll()
            with socket.create_connection(server.address, 10) as sock:
                good = query("one.example", A, 77)
                sock.sendall(struct.pack(">H", len(good)) + good)
                got: list[bytes] = []
                event = plain_base.on_readable(sock, lambda: got.append(sock.recv(65536)))
                while not got:
                    assert plain_base.poll(10)
                event.close()
                assert got[0][2:6] == struct.pack(">HH", 77, 0x8100)

        attack()


# -- to a resolver -------------------------------------------------------------------------------------------


class Peer:
    """A name server on the resolver's own base; *replies* says what it answers, and what a stranger does."""

    def __init__(self, base: EventBase) -> None:
        self.replies: Callable[[bytes], tuple[list[bytes], list[bytes]]] = lambda query: ([], [])
        self.sock, self.stranger = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        self.sock.bind(LOCAL)
        self.stranger.bind(("127.0.0.2", 0))
        self.event = base.on_readable(self.sock, self.reply, keepalive=False)

    def reply(self) -> None:
        """Answer one."""
        packet, peer = self.sock.recvfrom(4096)
        strangers, own = self.replies(packet)
        for sock, given_packets in ((self.stranger, strangers), (self.sock, own)):
            for each in given_packets:
                sock.sendto(each, peer)

    def close(self) -> None:
        """End it."""
        self.event.close()
        self.sock.close()
        self.stranger.close()


@pytest.fixture
def peer(plain_base: EventBase) -> Iterator[Peer]:
    """One, for the time of a test."""
    made = Peer(plain_base)
    yield made
    made.close()


def resolver_of(base: EventBase, peer: Peer, **options: Any) -> Resolver:
    """Make one that asks *peer* alone."""
    return Resolver(base, resolv_conf=False, hosts=False, nameservers=[peer.sock.getsockname()], **options)


RIGHT = record(A, bytes([192, 0, 2, 1]))
FORGED = record(A, bytes([203, 0, 113, 66]))


def test_forged_answers_do_not_count(plain_base: EventBase, peer: Peer) -> None:
    """Neither of a stranger, who knows the number, nor with another number; the right one does."""

    @some
    @given(st.lists(st.integers(1, 65535), max_size=6), st.lists(packets(), max_size=4), st.booleans())
    def attack(others: list[int], raw: list[bytes], is_whole: bool) -> None:
        def replies(packet: bytes) -> tuple[list[bytes], list[bytes]]:
            number = struct.unpack_from(">H", packet)[0]
            strangers = [packet[:2] + each for each in raw] + [answer(packet, FORGED), answer(packet, code=3)]
            own = [struct.pack(">H", number ^ other) + answer(packet, FORGED)[2:] for other in others]
            own += [struct.pack(">H", number ^ other) + each for other, each in zip(others, raw)]
            return strangers, [*own, answer(packet, RIGHT) + (b"" if is_whole else b"rest")]

        peer.replies = replies
        assert resolver.resolve_ipv4("one.example").wait(10).records == ("192.0.2.1",)

    with resolver_of(plain_base, peer, timeout=5.0) as resolver:
        attack()


def test_records_of_any_kind_do_not_hide_the_addresses(plain_base: EventBase, peer: Peer) -> None:
    """Those of other types are passed over, wherever they stand; the order stays."""
    kinds = st.sampled_from((2, 6, 15, 16, 41, 99, 65535))
    others = st.builds(record, kinds, st.binary(max_size=20))
    aliases = st.just(record(CNAME, wire("alias.example")))
    addresses = st.binary(min_size=4, max_size=4).map(lambda data: record(A, data))

    @some
    @given(st.lists(others | aliases | addresses, max_size=12))
    def ask(given_records: list[bytes]) -> None:
        peer.replies = lambda packet: ([], [answer(packet, *given_records)])
        expected = [socket.inet_ntoa(each[-4:]) for each in given_records if each[2:4] == b"\0\1"]
        query = resolver.resolve_ipv4("one.example")
        if expected:
            assert list(query.wait(10)) == expected
        else:
            with pytest.raises(DNSError) as caught:
                query.wait(10)
            assert caught.value.code is DNSErrorCode.NODATA

    with resolver_of(plain_base, peer, timeout=5.0) as resolver:
        ask()


def test_spoiled_answers_finish_each_query_once(plain_base: EventBase, peer: Peer) -> None:
    """With records, DNSError, or at the end of its time; and the resolver goes on."""

    def ask(resolver: Resolver, told: list[Any]) -> int:
        asks: list[Callable[..., Any]] = [resolver.resolve_ipv4, resolver.resolve_ipv6]
        for each in asks:
            each("one.example", told.append)
            each("two.example", told.append)
        resolver.resolve_reverse("192.0.2.1", told.append)
        resolver.resolve_reverse("2001:db8::1", told.append)
        resolver.getaddrinfo("one.example", 80, told.append)
        return 7

    @fewer
    @given(st.lists(packets() | st.sampled_from(CORPUS), min_size=1, max_size=6), st.booleans())
    def attack(given_packets: list[bytes], keeps_question: bool) -> None:
        def replies(packet: bytes) -> tuple[list[bytes], list[bytes]]:
            asked = question_of(packet)[2]
            made = [packet[:2] + each[2:] for each in given_packets]
            if keeps_question:
                made = [each[:12] + asked + each[12:] for each in made]
            return [], made

        peer.replies = replies
        told: list[Any] = []
        with resolver_of(plain_base, peer, **keywords) as resolver:
            count = ask(resolver, told)
            while resolver.pending:
                plain_base.poll(1)
            peer.replies = lambda packet: ([], [answer(packet, RIGHT)])
            plain_base.poll()
            assert len(told) == len(set(map(id, told))) == count
            assert all(each.error is None or isinstance(each.error, DNSError) for each in told)

    keywords: dict[str, Any] = {"timeout": 0.01, "attempts": 1, "max_timeouts": 200}
    attack()
    peer.replies = lambda packet: ([], [answer(packet, RIGHT)])
    with resolver_of(plain_base, peer) as resolver:
        assert resolver.resolve_ipv4("one.example").wait(10).records == ("192.0.2.1",)


@pytest.mark.parametrize("code", range(1, 16))
def test_a_code_is_the_error(plain_base: EventBase, peer: Peer, code: int) -> None:
    """Of the answer; a name server that fails or refuses is asked again, until there is no time."""
    peer.replies = lambda packet: ([], [answer(packet, code=code)])
    with resolver_of(plain_base, peer, timeout=0.02, attempts=1, initial_probe_timeout=0.01) as resolver:
        for ask in (resolver.resolve_ipv4, resolver.resolve_ipv6):
            with pytest.raises(DNSError) as caught:
                ask("one.example").wait(10)
            known = code in tuple(DNSErrorCode)
            expected = {DNSErrorCode(code), DNSErrorCode.TIMEOUT} if known else {None, DNSErrorCode.UNKNOWN}
            assert caught.value.code in expected


def test_an_answer_that_was_cut_off_is_an_error(plain_base: EventBase, peer: Peer) -> None:
    """Unless it may be asked for by TCP, which 2.2 has."""
    peer.replies = lambda packet: ([], [answer(packet, RIGHT, flags=0x8380)])
    with resolver_of(plain_base, peer, timeout=1.0, attempts=1) as resolver:
        for ask in (resolver.resolve_ipv4, resolver.resolve_ipv6):
            with pytest.raises(DNSError) as caught:
                ask("one.example").wait(10)
            assert caught.value.code is DNSErrorCode.TRUNCATED


@pytest.mark.skipif(not HAS_TCP, reason="needs libevent 2.2")
@pytest.mark.parametrize("how", ["truncated", "use_vc", "tcp", "ignored"])
def test_a_resolver_asks_by_tcp(plain_base: EventBase, how: str) -> None:
    """Where it is told to, or an answer was cut off and that does not count as its end."""

    def many(request: Request) -> None:
        name = request.questions[0].name
        request.add_a(name, [f"192.0.2.{number}" for number in range(1, 31)], ttl=30)
        request.add_reply(0, name, 16, bytes(400), ttl=30)  # type: ignore[arg-type]
        request.respond()

    options: dict[str, Any] = {"truncated": {"ignore_tc": False}, "use_vc": {"use_vc": True}}.get(how, {})
    with (
        Server(plain_base, LOCAL, many, tcp=True) as server,
        Resolver(
            plain_base, resolv_conf=False, hosts=False, nameservers=[server.address], **options
        ) as resolver,
    ):
        query = resolver.resolve_ipv4("one.example", tcp=how == "tcp", ignore_truncation=how == "ignored")
        if how == "ignored":
            with pytest.raises(DNSError):
                query.wait(10)
        else:
            assert len(query.wait(10).records) == 30


def test_the_wrong_kind_is_no_answer(plain_base: EventBase, peer: Peer) -> None:
    """IPv6 where IPv4 was asked for, or a length that is none; once "" was taken."""
    for wrong in (record(AAAA, bytes(16)), record(A, bytes(3)), record(A, bytes(7)), record(A, b"")):
        peer.replies = lambda packet, wrong=wrong: ([], [answer(packet, wrong)])  # type: ignore[misc]
        with resolver_of(plain_base, peer, timeout=0.05, attempts=1) as resolver, pytest.raises(DNSError):
            resolver.resolve_ipv4("one.example").wait(10)
