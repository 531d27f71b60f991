"""Asking name servers: answers, failures, and getaddrinfo()."""

from __future__ import annotations

import ipaddress
import pathlib
import socket
from collections.abc import Callable
from typing import Any

import dns_asking
import pytest
from conftest import needs_services
from dns_asking import failure, nothing
from dns_peers import (
    CNAME,
    NameServer,
    answer,
    record,
    wire,
)

from libevent_cffi import EventBase
from libevent_cffi.dns import Answer, Resolver, error_text
from libevent_cffi.errors import (
    DNSError,
)
from libevent_cffi.flags import DNSErrorCode, DNSType

peer, make = dns_asking.peer, dns_asking.make


def test_names_and_addresses(make: Callable[..., Resolver]) -> None:
    """IPv4, IPv6 and back, with the time that they may be kept."""
    resolver = make()
    ipv4 = resolver.resolve_ipv4("usual.example").wait(10)
    assert ipv4 == Answer("usual.example", DNSType.A, ("192.0.2.1",), 30)
    assert (list(ipv4), ipv4[0], len(ipv4), ipv4[:1]) == (["192.0.2.1"], "192.0.2.1", 1, ("192.0.2.1",))
    assert resolver.resolve_ipv6("usual.example").wait(10).records == ("2001:db8::1",)
    for address in (
        "192.0.2.1",
        "2001:db8::1",
        ipaddress.ip_address("192.0.2.1"),
        ipaddress.ip_address("::1"),
    ):
        query = resolver.resolve_reverse(address)
        assert query.name == str(address)
        assert query.wait(10) == Answer(str(address), DNSType.PTR, ("a.example",), 60)


def test_a_callback_gets_the_query_later(
    make: Callable[..., Resolver], plain_base: EventBase, run: Callable[..., None]
) -> None:
    """Once, with its arguments, never inside the call; also where libevent answers at once."""
    told: list[Any] = []
    resolver = make(hosts=False)
    queries = [
        resolver.resolve_ipv4("usual.example", lambda query, word: told.append((query, word)), "ipv4"),
        resolver.getaddrinfo("127.0.0.1", 80, lambda query, word: told.append((query, word)), "numeric"),
        resolver.getaddrinfo(None, 80, lambda query, word: told.append((query, word)), "none"),
    ]
    assert told == []
    assert queries[0].resolver is resolver
    assert not queries[0].done
    assert resolver.pending == 1
    run(plain_base)
    assert sorted(word for _, word in told) == ["ipv4", "none", "numeric"]
    assert all(query.done for query in queries)
    assert resolver.pending == 0


@pytest.mark.parametrize(
    ("name", "code", "number"),
    [
        ("missing.example", DNSErrorCode.NOTEXIST, socket.EAI_NONAME),
        ("refused.example", DNSErrorCode.REFUSED, socket.EAI_FAIL),
        ("silent.example", DNSErrorCode.TIMEOUT, socket.EAI_AGAIN),
    ],
)
def test_failures_are_dns_errors(
    make: Callable[..., Resolver], name: str, code: DNSErrorCode, number: int
) -> None:
    """With libevent's code and words, and the socket module's number."""
    resolver = make(timeout=0.05, attempts=1, max_timeouts=10)
    error = failure(resolver.resolve_ipv4(name))
    assert isinstance(error, DNSError)
    assert isinstance(error, socket.gaierror)
    if code is not DNSErrorCode.REFUSED:  # libevent asks again, and may run out of time
        assert error.code is code
        assert error.args == (number, f"{name}: {error_text(code)}")
    numbers = {socket.EAI_NONAME, socket.EAI_AGAIN, socket.EAI_FAIL}
    assert failure(resolver.getaddrinfo(name, 80)).args[0] in numbers


def test_words_for_codes() -> None:
    """error_text() knows every code and refuses what is none."""
    assert error_text(DNSErrorCode.NOTEXIST) == "name does not exist"
    assert all(error_text(code) for code in DNSErrorCode)
    with pytest.raises(ValueError):
        error_text(1000)  # type: ignore[arg-type]


def test_an_alias_is_followed(make: Callable[..., Resolver], peer: NameServer) -> None:
    """The addresses behind a CNAME are the answer, with the name where that is wanted."""

    def alias(query: bytes, name: str, kind: int) -> list[bytes]:
        target = b"\x04real\xc0\x0c"
        first = record(CNAME, target)
        where = 12 + len(wire(name)) + 4 + 12
        second = bytes([0xC0, where]) + b"\0\1\0\1\0\0\0\x3c\0\4" + bytes([192, 0, 2, 7])
        return [answer(query, first, second)]

    peer.reply = alias
    resolver = make(randomize_case=False)
    assert resolver.resolve_ipv4("alias.example").wait(10).records == ("192.0.2.7",)
    named = resolver.resolve_ipv4("alias.example", canonical_name=True).wait(10)
    assert (named.records, named.canonical_name) == (("192.0.2.7",), "real.alias.example")
    for wait in range(20):
        query = resolver.resolve_ipv4("alias.example", nothing, canonical_name=True)
        for _ in range(wait % 4):
            resolver.base.poll(0.001)
        query.cancel()
    resolver.resolve_ipv4("alias.example", nothing, canonical_name=True)
    resolver.close()
    resolver.base.poll(0.01)


@pytest.mark.parametrize(
    ("host", "port", "keywords"),
    [
        ("127.0.0.1", 80, {}),
        pytest.param("127.1", "http", {}, marks=needs_services),
        ("::1", None, {}),
        ("::1", 80, {"type": socket.SOCK_STREAM}),
        pytest.param("127.0.0.1", "domain", {"type": socket.SOCK_DGRAM}, marks=needs_services),
        (None, 80, {}),
        (None, 80, {"flags": socket.AI_PASSIVE, "family": socket.AF_INET}),
        ("127.0.0.1", 80, {"flags": socket.AI_CANONNAME}),
        ("127.0.0.1", 80, {"flags": socket.AI_NUMERICHOST | socket.AI_NUMERICSERV}),
    ],
)
def test_numbers_are_answered_as_the_system_does(
    make: Callable[..., Resolver], host: str, port: Any, keywords: dict[str, int]
) -> None:
    """The same list, without a packet."""
    expected = socket.getaddrinfo(
        host, port, *(keywords.get(key, 0) for key in ("family", "type", "proto", "flags"))
    )
    assert make().getaddrinfo(host, port, **keywords).wait(10) == expected


@pytest.mark.parametrize(
    ("host", "port", "keywords", "number"),
    [
        ("::1", 80, {"family": socket.AF_INET}, None),
        ("usual.example", 80, {"flags": socket.AI_NUMERICHOST}, socket.EAI_NONAME),
        ("usual.example", "no-such-service", {}, socket.EAI_SERVICE),
        ("usual.example", 80, {"family": 77}, socket.EAI_FAMILY),
        (None, None, {}, socket.EAI_NONAME),
    ],
)
def test_impossible_questions_fail_as_with_the_system(
    make: Callable[..., Resolver],
    peer: NameServer,
    host: Any,
    port: Any,
    keywords: dict[str, int],
    number: Any,
) -> None:
    """As DNSError of the Query, which nobody has to be asked for."""
    error = failure(make().getaddrinfo(host, port, **keywords))
    assert number is None or error.args[0] == number
    assert str(host or "this machine") in str(error)
    assert "no-such" not in str(port) or port in str(error)
    assert peer.asked == []


def test_names_give_each_address_in_each_kind(make: Callable[..., Resolver]) -> None:
    """As socket.getaddrinfo() has it: stream, datagram and raw."""
    resolver = make()
    found = resolver.getaddrinfo("usual.example", 80, type=socket.SOCK_STREAM).wait(10)
    assert found == [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 80)),
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", 80, 0, 0)),
    ]
    kinds = [entry[1:3] for entry in socket.getaddrinfo("127.0.0.1", 5)]
    both = resolver.getaddrinfo("usual.example", 5).wait(10)
    assert [entry[1:3] for entry in both] == kinds * 2
    only = resolver.getaddrinfo("usual.example", 5, family=socket.AF_INET6).wait(10)
    assert {entry[0] for entry in only} == {socket.AF_INET6}
    named = resolver.getaddrinfo("usual.example", 5, flags=socket.AI_CANONNAME).wait(10)
    assert [entry[3] for entry in named] == ["usual.example"] + [""] * (len(named) - 1)


@needs_services
def test_names_of_services_become_ports(make: Callable[..., Resolver]) -> None:
    """As the system has them."""
    found = make().getaddrinfo("usual.example", "http", type=socket.SOCK_STREAM).wait(10)
    assert {entry[4][1] for entry in found} == {80}


def test_the_hosts_file_comes_first(
    make: Callable[..., Resolver], peer: NameServer, tmp_path: pathlib.Path
) -> None:
    """Its names are answered from it, until it is forgotten."""
    hosts = tmp_path / "hosts"
    hosts.write_text("192.0.2.99 here.example\n2001:db8::99 here.example\n")
    resolver = make(hosts=hosts)
    found = resolver.getaddrinfo("here.example", 80, type=socket.SOCK_STREAM).wait(10)
    assert sorted(entry[4][0] for entry in found) == ["192.0.2.99", "2001:db8::99"]
    assert peer.asked == []
    resolver.clear_hosts()
    found = resolver.getaddrinfo("here.example", 80, family=socket.AF_INET).wait(10)
    assert found[0][4] == ("192.0.2.1", 80)
    resolver.load_hosts(hosts)
    assert resolver.getaddrinfo("here.example", 80).wait(10)[0][4][0] in ("192.0.2.99", "2001:db8::99")
    with pytest.raises(FileNotFoundError):
        resolver.load_hosts(tmp_path / "missing")


def test_localhost_is_known_without_a_hosts_file(plain_base: EventBase) -> None:
    """Also where there is no name server at all."""
    with Resolver(plain_base, resolv_conf=False) as resolver:
        assert resolver.getaddrinfo("localhost", 80).wait(10)[0][4][0] in ("127.0.0.1", "::1")


@pytest.mark.parametrize("how", ["constructor", "load_hosts"])
def test_localhost_is_found_once_where_the_system_has_no_hosts_file(
    plain_base: EventBase, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path, how: str
) -> None:
    """libevent adds it by itself then."""
    monkeypatch.setattr("libevent_cffi.dns.configuration._system_hosts", lambda: str(tmp_path / "none"))
    with Resolver(plain_base, resolv_conf=False, hosts=how == "constructor") as resolver:
        if how == "load_hosts":
            resolver.load_hosts()
        found = resolver.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM).wait(10)
    assert [address[0] for *_, address in found] == ["127.0.0.1", "::1"]
