"""Packets that mean harm, to DNS servers and to resolvers."""

from __future__ import annotations

import contextlib
import logging
import random
import socket
import time
from typing import Any

import dns_serving
import pytest
from conftest import output_of
from dns_peers import AAAA, CNAME, PTR, A, answer, name_server, question_of, record, wire
from dns_serving import CORPUS, LOCAL, Client, Run, dig, query, zone

from libevent_cffi import EventBase
from libevent_cffi.dns import Request, Resolver, Server
from libevent_cffi.errors import DNSError
from libevent_cffi.flags import DNSErrorCode, DNSSection

serve = dns_serving.serve


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
