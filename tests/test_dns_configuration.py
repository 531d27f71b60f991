"""Resolvers as they are made: name servers, options, search domains, hosts files and names."""

from __future__ import annotations

import gc
import os
import pathlib
import socket
from collections.abc import Callable
from typing import Any

import dns_asking
import pytest
from dns_asking import failure
from dns_peers import (
    NameServer,
    usual,
)

from libevent_cffi import EventBase
from libevent_cffi._native import lib
from libevent_cffi.dns import Resolver
from libevent_cffi.errors import (
    DNSError,
    FeatureUnavailableError,
)
from libevent_cffi.flags import DNSOption

IS_22 = hasattr(lib, "DNS_QUERY_USEVC")

peer, make = dns_asking.peer, dns_asking.make


def test_name_servers(plain_base: EventBase, peer: NameServer, tmp_path: pathlib.Path) -> None:
    """From a file, from arguments in its place, added, counted, forgotten."""
    conf = tmp_path / "resolv.conf"
    conf.write_text(
        "nameserver 192.0.2.53\nnameserver 2001:db8::53\nsearch one.example two.example\noptions ndots:2\n"
    )
    with Resolver(plain_base, resolv_conf=conf) as resolver:
        assert resolver.nameservers == [("192.0.2.53", 53), ("2001:db8::53", 53, 0, 0)]
        resolver.add_nameserver("192.0.2.54")
        resolver.add_nameserver("[::1]:5353")
        resolver.add_nameserver(("192.0.2.55", 1053))
        added = {("192.0.2.54", 53), ("::1", 5353, 0, 0), ("192.0.2.55", 1053)}
        assert set(resolver.nameservers) == {("192.0.2.53", 53), ("2001:db8::53", 53, 0, 0), *added}
        resolver.clear_nameservers()
        assert resolver.nameservers == []
    with Resolver(plain_base, resolv_conf=conf, nameservers=[peer.address]) as resolver:
        assert resolver.nameservers == [peer.address]
    only_search = DNSOption.SEARCH
    with Resolver(plain_base, resolv_conf=conf, resolv_conf_options=only_search) as resolver:
        assert resolver.nameservers == []
        resolver.load_resolv_conf(conf)
        assert len(resolver.nameservers) == 2
        with pytest.raises(FileNotFoundError):
            resolver.load_resolv_conf(tmp_path / "missing")


@pytest.mark.parametrize(
    "wrong", ["", "name.example", "1.2.3.4:0", ("1.2.3.4", 0), ("name", 53), 53, None, "1.2.3.4:x"]
)
def test_wrong_name_servers_are_refused(plain_base: EventBase, wrong: Any) -> None:
    """TypeError or ValueError, and nothing is left."""
    before = lib.lev_live_objects
    with pytest.raises((TypeError, ValueError)):
        Resolver(plain_base, resolv_conf=False, nameservers=[wrong])
    assert lib.lev_live_objects == before


def test_search_domains(make: Callable[..., Resolver], peer: NameServer) -> None:
    """They are tried in order for names without dots, and not for what ends with one."""

    def only_two(query: bytes, name: str, kind: int) -> list[bytes]:
        return usual(query, "usual" if name.lower() == "host.two.example" else "missing", kind)

    peer.reply = only_two
    resolver = make(search=["one.example", "two.example"])
    assert resolver.resolve_ipv4("host").wait(10).name == "host"
    asked = [name.lower() for name, _ in peer.asked]
    assert asked == ["host.one.example", "host.two.example"]
    for name, keywords in (("host.", {}), ("host", {"search": False})):
        peer.asked.clear()
        assert isinstance(failure(resolver.resolve_ipv4(name, **keywords)), DNSError)
        assert [each.lower() for each, _ in peer.asked] == ["host"]
    resolver.add_search("two.example")
    peer.asked.clear()
    resolver.resolve_ipv4("host").wait(10)
    assert [name.lower() for name, _ in peer.asked] == ["host.two.example"]
    resolver.clear_search()
    peer.asked.clear()
    assert isinstance(failure(resolver.resolve_ipv4("host")), DNSError)
    assert [name.lower() for name, _ in peer.asked] == ["host"]


GOOD_OPTIONS: dict[str, Any] = {
    "ndots": 2,
    "timeout": 1.5,
    "max_timeouts": 3,
    "max_inflight": 100,
    "attempts": 2,
    "randomize_case": False,
    "bind_to": ("127.0.0.1", 0),
    "initial_probe_timeout": 5.0,
    "getaddrinfo_allow_skew": 1.0,
    "so_rcvbuf": 65536,
    "so_sndbuf": 65536,
    "max_probe_timeout": 100.0,
    "probe_backoff_factor": 2,
    "tcp_idle_timeout": 5.0,
    "use_vc": False,
    "ignore_tc": True,
}
OPTIONS_OF_22: dict[str, Any] = {"edns_udp_size": 1232}


def test_every_option_is_taken(make: Callable[..., Resolver]) -> None:
    """At the start and later; those of 2.2 say so on 2.1."""
    resolver = make(**{**GOOD_OPTIONS, **(OPTIONS_OF_22 if IS_22 else {})})
    assert resolver.resolve_ipv4("usual.example").wait(10)
    resolver.set_options(**GOOD_OPTIONS)
    for name, value in OPTIONS_OF_22.items():
        if IS_22:
            resolver.set_options(**{name: value})
        else:
            with pytest.raises(FeatureUnavailableError, match=f"{name} needs libevent 2.2"):
                resolver.set_options(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ndots", -1),
        ("ndots", "1"),
        ("timeout", 0),
        ("timeout", -1.0),
        ("timeout", float("nan")),
        ("timeout", 0.0001),
        ("max_timeouts", 0),
        ("max_timeouts", 256),
        ("max_inflight", 0),
        ("max_inflight", 65001),
        ("attempts", True),
        ("randomize_case", 1),
        ("bind_to", "127.0.0.1"),
        ("bind_to", ("name", 0)),
        ("so_rcvbuf", -1),
        ("no_such_option", 1),
    ],
)
def test_wrong_options_are_refused(make: Callable[..., Resolver], name: str, value: Any) -> None:
    """With the name of the option; libevent itself takes some of them silently."""
    with pytest.raises((TypeError, ValueError), match=name):
        make(**{name: value})
    with pytest.raises((TypeError, ValueError), match=name):
        make().set_options(**{name: value})


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "a..b", ".a", "a\0b", "x" * 64, ".".join(["x" * 60] * 5), "\udcff", "ä" * 60),
        7,
        None,
        b"name",
    ],
)
def test_names_that_cannot_be_are_refused(make: Callable[..., Resolver], name: Any) -> None:
    """At the call: libevent would never call back for some of them."""
    resolver = make()
    for ask in (resolver.resolve_ipv4, resolver.resolve_ipv6, lambda name: resolver.getaddrinfo(name, 80)):
        if name is None and ask not in (resolver.resolve_ipv4, resolver.resolve_ipv6):
            continue
        with pytest.raises((TypeError, ValueError)):
            ask(name)
    assert resolver.pending == 0
    with pytest.raises((TypeError, ValueError)):
        resolver.resolve_reverse(name)


def test_other_scripts_are_encoded(make: Callable[..., Resolver], peer: NameServer) -> None:
    """As the socket module does."""
    make(randomize_case=False).resolve_ipv4("bücher.example").wait(10)
    assert peer.asked[0][0] == "xn--bcher-kva.example"


def test_without_name_servers_it_fails_at_once(plain_base: EventBase) -> None:
    """libevent would keep the query for ever."""
    with Resolver(plain_base, resolv_conf=False, hosts=False) as resolver:
        for query in (resolver.resolve_ipv4("a.example"), resolver.getaddrinfo("a.example", 80)):
            assert query.done
            assert "there is no name server" in str(failure(query))


def test_suspended_queries_wait_for_resume(make: Callable[..., Resolver], peer: NameServer) -> None:
    """Those on their way too."""
    resolver = make()
    query = resolver.resolve_ipv4("usual.example")
    resolver.clear_nameservers()
    another = resolver.resolve_ipv4("usual.example")
    resolver.base.poll(0.05)
    assert not query.done
    assert not another.done
    resolver.add_nameserver(peer.address)
    resolver.resume()
    assert query.wait(10) == another.wait(10)


def test_the_default_one_is_shared(plain_base: EventBase) -> None:
    """One for each base, made anew when it was closed, gone with the base."""
    first = Resolver.default(plain_base)
    assert Resolver.default(plain_base) is first
    first.close()
    second = Resolver.default(plain_base)
    assert second is not first
    plain_base.close()
    assert second.closed
    with pytest.raises(TypeError):
        Resolver.default(None)  # type: ignore[arg-type]


@pytest.mark.skipif(not IS_22, reason="libevent 2.1 has no cache")
def test_the_cache(make: Callable[..., Resolver]) -> None:
    """What was put there is found, by getaddrinfo() too."""
    resolver = make(cache=True)
    assert resolver.cache_lookup("kept.example") is None
    resolver.cache_add("kept.example", ["192.0.2.5", "2001:db8::5"], ttl=60)
    found = resolver.cache_lookup("kept.example", 80)
    assert found is not None
    assert [entry[4][:2] for entry in found] == [("192.0.2.5", 80), ("2001:db8::5", 80)]
    asked = resolver.getaddrinfo("kept.example", 80, family=socket.AF_INET, type=socket.SOCK_STREAM).wait(10)
    assert asked[0][4] == ("192.0.2.5", 80)
    resolver.cache_add("kept.example", [], ttl=0)
    assert resolver.cache_lookup("kept.example") is None


@pytest.mark.skipif(not IS_22, reason="libevent 2.1 has no cache")
def test_what_was_kept_is_freed_as_it_was_made(make: Callable[..., Resolver], plain_base: EventBase) -> None:
    """By libevent's memory functions, as what they count tells; once the system freed it."""

    def keep() -> int:
        for number in range(10):
            with make(cache=True) as resolver:
                resolver.cache_add("kept.example", ["192.0.2.5", "2001:db8::5"], ttl=number % 2)
                resolver.cache_add("kept.example", ["192.0.2.6"], ttl=60)
            plain_base.poll()
        gc.collect()
        plain_base.poll()
        return int(lib.lev_memory_blocks())

    before = keep()
    assert keep() <= before + 2


@pytest.mark.skipif(IS_22, reason="libevent 2.2 has it")
def test_what_needs_2_2_says_so(make: Callable[..., Resolver]) -> None:
    """FeatureUnavailableError, at the call."""
    resolver = make()
    for call in (
        lambda: resolver.cache_add("a.example", [], ttl=1),
        lambda: resolver.cache_lookup("a.example"),
        lambda: resolver.nameserver_fd(0),
    ):
        with pytest.raises(FeatureUnavailableError):
            call()
    assert resolver.pending == 0


@pytest.mark.skipif(not IS_22, reason="needs libevent 2.2")
def test_descriptor_of_a_name_server(make: Callable[..., Resolver]) -> None:
    """It is a socket; there is no second one."""
    resolver = make()
    assert os.fstat(resolver.nameserver_fd(0))
    with pytest.raises(IndexError):
        resolver.nameserver_fd(1)
