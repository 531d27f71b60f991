"""Asking by TCP: what a name server does there ends no process, loses no query and tells none twice."""

from __future__ import annotations

import gc
import os
import pathlib
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from dns_peers import (
    AAAA,
    CNAME,
    PTR,
    A,
    TCPNameServer,
    answer,
    framed,
    name_server,
    name_server_beside_tcp,
    question_of,
    questions_of,
    record,
    tcp_name_server,
    usual,
    wire,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from test_fork import in_child
from test_leaks import descriptors

from libevent_cffi import EventBase
from libevent_cffi._native import lib
from libevent_cffi.dns import Resolver
from libevent_cffi.dns.messages import read_answer_to
from libevent_cffi.errors import CancelledError, DNSError
from libevent_cffi.flags import DNSErrorCode

Talk = Callable[[socket.socket], object]


def well(connection: socket.socket) -> None:
    """Answer as usual."""
    for query in questions_of(connection):
        name, kind, _ = question_of(query)
        for message in usual(query, name, kind):
            connection.sendall(framed(message))


def each_with(make: Callable[[bytes], bytes]) -> Talk:
    """Answer each question with what *make* makes of it, whatever that is."""

    def talk(connection: socket.socket) -> None:
        for query in questions_of(connection):
            connection.sendall(make(query))

    return talk


@pytest.fixture
def peer() -> Iterator[TCPNameServer]:
    """A name server that answers as usual."""
    with tcp_name_server(well) as made:
        yield made


@pytest.fixture
def make(plain_base: EventBase, peer: TCPNameServer) -> Iterator[Callable[..., Resolver]]:
    """make(**options) gives a resolver that asks the peer by TCP and nothing else."""
    made: list[Resolver] = []

    def resolver(**keywords: Any) -> Resolver:
        usual = {"resolv_conf": False, "hosts": False, "nameservers": [peer.address], "timeout": 5.0}
        made.append(Resolver(plain_base, **{**usual, "use_vc": True, **keywords}))
        return made[-1]

    yield resolver
    for each in made:
        each.close()


def failure(query: Any) -> DNSError:
    """Wait for a query that fails; return why."""
    with pytest.raises(DNSError) as caught:
        query.wait(20)
    return caught.value


def test_every_kind_of_question(make: Callable[..., Resolver], peer: TCPNameServer) -> None:
    """Over one connection, and with the same results as by UDP."""
    resolver = make()
    assert resolver.resolve_ipv4("a.example").wait(10).records == ("192.0.2.1",)
    assert resolver.resolve_ipv4("a.example").wait(10).ttl == 30
    assert resolver.resolve_ipv6("a.example").wait(10).records == ("2001:db8::1",)
    assert resolver.resolve_reverse("192.0.2.1").wait(10).records == ("a.example",)
    assert resolver.resolve_reverse("::1").wait(10).records == ("a.example",)
    assert failure(resolver.resolve_ipv4("missing.example")).code is DNSErrorCode.NOTEXIST
    found = resolver.getaddrinfo("a.example", 80, type=socket.SOCK_STREAM).wait(10)
    assert [entry[4][:2] for entry in found] == [("192.0.2.1", 80), ("2001:db8::1", 80)]
    assert failure(resolver.getaddrinfo("missing.example", 80)).args[0] == socket.EAI_NONAME
    assert len(resolver.getaddrinfo("a.example", 80, family=socket.AF_INET6, type=1).wait(10)) == 1
    assert peer.accepted == 1


def test_one_question_by_tcp(make: Callable[..., Resolver]) -> None:
    """The others go by UDP."""
    with name_server(lambda *_: []) as silent:
        resolver = make(use_vc=False, nameservers=[silent.address], timeout=0.05, attempts=1)
        assert failure(resolver.resolve_ipv4("a.example")).code is DNSErrorCode.TIMEOUT
        assert failure(resolver.resolve_ipv4("a.example", tcp=True)).code is DNSErrorCode.TIMEOUT
        while not silent.asked:
            resolver.base.poll(0.01)
        assert len(silent.asked) == 1


@pytest.mark.parametrize("how", ["again", "ignored", "usual"])
def test_what_was_cut_off_is_asked_again(plain_base: EventBase, how: str) -> None:
    """With ignore_tc=False, but where one question says that it is not to be."""
    many = [record(A, bytes([192, 0, 2, number])) for number in range(60)]
    talk = each_with(lambda query: framed(answer(query, *many)))

    def cut_off(query: bytes, name: str, kind: int) -> list[bytes]:
        return [answer(query, record(A, bytes(4)), flags=0x8380)]

    with name_server_beside_tcp(cut_off) as (server, listening):
        listening.close()
        options: dict[str, Any] = {} if how == "usual" else {"ignore_tc": False}
        tcp = TCPNameServer(talk, server.address[1])
        resolver = Resolver(
            plain_base, resolv_conf=False, hosts=False, nameservers=[server.address], **options
        )
        query = resolver.resolve_ipv4("a.example", ignore_truncation=how == "ignored")
        if how == "again":
            assert len(query.wait(10).records) == 60
            found = resolver.getaddrinfo("a.example", 1, family=socket.AF_INET, type=1).wait(10)
            assert len(found) == 60
        else:
            assert failure(query).code is DNSErrorCode.TRUNCATED
            assert tcp.accepted == 0
        resolver.close()
        tcp.close()


def refuse(connection: socket.socket) -> None:
    """Reset the connection."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def half_close(connection: socket.socket) -> None:
    """Send no more, and read on."""
    connection.shutdown(socket.SHUT_WR)
    for _ in questions_of(connection):
        pass


def go_after_half(connection: socket.socket) -> None:
    """Send half of an answer."""
    for query in questions_of(connection):
        connection.sendall(framed(answer(query, record(A, bytes(4))))[:20])
        return


BAD: dict[str, tuple[Talk, DNSErrorCode]] = {
    "closes": (lambda connection: None, DNSErrorCode.TIMEOUT),
    "resets": (refuse, DNSErrorCode.TIMEOUT),
    "half closes": (half_close, DNSErrorCode.TIMEOUT),
    "half an answer": (go_after_half, DNSErrorCode.TIMEOUT),
    "silent": (each_with(lambda query: b""), DNSErrorCode.TIMEOUT),
    "empty": (each_with(lambda query: b"\0\0"), DNSErrorCode.TIMEOUT),
    "too long": (each_with(lambda query: b"\xff\xff" + bytes(9)), DNSErrorCode.TIMEOUT),
    "another number": (
        each_with(lambda query: framed(bytes([query[0] ^ 1]) + answer(query)[1:])),
        DNSErrorCode.TIMEOUT,
    ),
    "a question": (each_with(framed), DNSErrorCode.TIMEOUT),
    "failed": (each_with(lambda query: framed(answer(query, code=2))), DNSErrorCode.TIMEOUT),
    "refused": (each_with(lambda query: framed(answer(query, code=5))), DNSErrorCode.REFUSED),
    "not known": (each_with(lambda query: framed(answer(query, code=4))), DNSErrorCode.NOTIMPL),
    "another name": (
        each_with(lambda query: framed(answer(query[:12] + wire("b.example") + b"\0\1\0\1"))),
        DNSErrorCode.UNKNOWN,
    ),
    "nothing": (each_with(lambda query: framed(answer(query))), DNSErrorCode.NODATA),
    "wrong size": (each_with(lambda query: framed(answer(query, record(A, b"123")))), DNSErrorCode.UNKNOWN),
    "cut off": (each_with(lambda query: framed(answer(query, flags=0x8380))), DNSErrorCode.TRUNCATED),
}


@pytest.mark.parametrize("how", BAD)
def test_a_bad_name_server(make: Callable[..., Resolver], peer: TCPNameServer, how: str) -> None:
    """Each query ends, once; and the next resolver finds it well."""
    peer.talk, code = BAD[how]
    told: list[Any] = []
    resolver = make(timeout=0.02 if code is DNSErrorCode.TIMEOUT else 5.0, attempts=2, max_inflight=2)
    queries = [resolver.resolve_ipv4("a.example", told.append) for _ in range(3)]
    for query in queries:
        assert failure(query).code is code
    resolver.base.poll()
    assert sorted(map(id, told)) == sorted(map(id, queries))
    peer.talk = well
    assert make().resolve_ipv4("a.example").wait(10).records == ("192.0.2.1",)


@pytest.mark.parametrize("how", ["closes", "silent", "refused", "failed", "gone"])
def test_another_name_server_is_asked_then(
    make: Callable[..., Resolver], peer: TCPNameServer, how: str
) -> None:
    """One that answers is found, however the other one fails."""
    with tcp_name_server(BAD.get(how, BAD["closes"])[0]) as bad:
        if how == "gone":
            with socket.create_server(("127.0.0.1", 0)) as sock:
                address = sock.getsockname()
        else:
            address = bad.address
        resolver = make(nameservers=[address, peer.address], timeout=0.2, attempts=8)
        queries = [resolver.resolve_ipv4("a.example") for _ in range(4)]
        assert all(query.wait(20).records == ("192.0.2.1",) for query in queries)
        resolver.close()


def test_a_connection_that_is_closed_after_each_answer(
    make: Callable[..., Resolver], peer: TCPNameServer
) -> None:
    """What was asked on it besides is asked again, and has its tries still."""

    def one(connection: socket.socket) -> None:
        for query in questions_of(connection):
            connection.sendall(framed(answer(query, record(A, bytes([192, 0, 2, 1])))))
            return

    peer.talk = one
    resolver = make(attempts=2)
    queries = [resolver.resolve_ipv4(f"a{number}.example") for number in range(12)]
    assert all(query.wait(20) for query in queries)


def test_hundreds_at_once(make: Callable[..., Resolver], run: Callable[..., None]) -> None:
    """In their turn, max_inflight at a time."""
    told: list[Any] = []
    resolver = make()
    for number in range(300):
        resolver.resolve_ipv4(f"a{number}.example", told.append)
    assert resolver.pending == 300
    run(resolver.base)
    assert len(told) == len(set(map(id, told))) == 300
    assert all(query.error is None for query in told)
    assert resolver.pending == 0


def test_cancelled_anywhere(make: Callable[..., Resolver], run: Callable[..., None]) -> None:
    """Before it is sent, on its way, and from the completion of another one."""
    told: list[Any] = []

    def done(query: Any) -> None:
        told.append(query)
        for each in queries[::3]:
            each.cancel()

    resolver = make(max_inflight=4)
    queries = [resolver.resolve_ipv4("a.example", done) for _ in range(12)]
    queries += [resolver.getaddrinfo("a.example", 80, done) for _ in range(6)]
    assert queries[0].cancel()
    for number in range(1, 6):
        resolver.base.poll(0.001)
        queries[-number].cancel()
    run(resolver.base)
    assert sorted(map(id, told)) == sorted(map(id, queries))
    assert resolver.pending == 0


@pytest.mark.parametrize("passes", [0, 1, 6])
@pytest.mark.parametrize("what", ["resolver", "base"])
def test_closed_with_questions_on_their_way(
    make: Callable[..., Resolver], peer: TCPNameServer, run: Callable[..., None], what: str, passes: int
) -> None:
    """Each is told CancelledError, once."""
    peer.talk = BAD["silent"][0]
    told: list[Any] = []
    resolver = make(max_inflight=2)
    for _ in range(3):
        resolver.resolve_ipv4("a.example", told.append)
        resolver.getaddrinfo("a.example", 80, told.append)
    for _ in range(passes):
        resolver.base.poll(0.01)
    resolver.base.call_soon(resolver.close if what == "resolver" else resolver.base.close)
    if what == "resolver":
        run(resolver.base)
    else:
        resolver.base.dispatch()
    assert len(told) == len(set(map(id, told))) == 6
    assert all(isinstance(query.error, CancelledError) for query in told)
    assert resolver.pending == 0


def test_idle_connections_do_not_keep_the_loop(
    make: Callable[..., Resolver], peer: TCPNameServer, run: Callable[..., None]
) -> None:
    """They are closed after tcp_idle_timeout, when the loop runs."""
    ended = threading.Event()

    def talk(connection: socket.socket) -> None:
        well(connection)
        ended.set()

    peer.talk = talk
    resolver = make(tcp_idle_timeout=0.05)
    resolver.resolve_ipv4("a.example").wait(10)
    run(resolver.base)
    assert not ended.is_set()
    while not ended.wait(0.01):
        resolver.base.call_later(0.02, int)
        run(resolver.base)
    assert resolver.resolve_ipv4("a.example").wait(10)
    assert peer.accepted == 2


def test_search_domains_are_those_of_libevent(make: Callable[..., Resolver], peer: TCPNameServer) -> None:
    """The same names in the same order by UDP and by TCP, from wherever they come."""
    asked: list[str] = []

    def missing(connection: socket.socket) -> None:
        for query in questions_of(connection):
            asked.append(question_of(query)[0].lower())
            connection.sendall(framed(answer(query, code=3)))

    peer.talk = missing
    with name_server(lambda query, name, kind: [answer(query, code=3)]) as by_udp:

        def both(names: list[str], change: Callable[[Resolver], object], **options: Any) -> None:
            udp = make(use_vc=False, nameservers=[by_udp.address], **options)
            tcp = make(**options)
            for resolver in (udp, tcp):
                change(resolver)
            for name in names:
                del asked[:], by_udp.asked[:]
                for resolver in (udp, tcp):
                    assert failure(resolver.resolve_ipv4(name)).code is DNSErrorCode.NOTEXIST
                assert asked == [each.lower() for each, _ in by_udp.asked]

        names = ["one", "two.example", "three.of.example", "absolute."]
        both(names, lambda resolver: None, search=["a.example", "b.example"])
        both(names, lambda resolver: None, search=["a.example", "b.example"], ndots=2)
        both(names, lambda resolver: resolver.add_search("c.example"), search=["a.example"])
        both(names, lambda resolver: resolver.clear_search(), search=["a.example"], ndots=3)
        both(["one"], lambda resolver: resolver.set_options(ndots=0), search=["a.example"])


def test_what_resolv_conf_says(make: Callable[..., Resolver], tmp_path: pathlib.Path) -> None:
    """Its options, domains and name servers count by TCP too, and what the program says counts more."""
    path = tmp_path / "resolv.conf"
    path.write_text(
        "options ndots:2 timeout:1 attempts:1 use-vc edns0 nonsense:x\nsearch a.example b.example\n"
    )
    asked: list[str] = []

    def log(connection: socket.socket) -> None:
        for query in questions_of(connection):
            asked.append(question_of(query)[0])
            connection.sendall(framed(answer(query, code=3)))

    with tcp_name_server(log) as server:
        resolver = make(nameservers=[server.address], resolv_conf=path)
        assert failure(resolver.resolve_ipv4("one.x")).code is DNSErrorCode.NOTEXIST
        assert asked == ["one.x", "one.x.a.example", "one.x.b.example"]  # "search" has libevent forget ndots
        other = make(nameservers=[server.address], resolv_conf=path, ndots=2)
        assert failure(other.resolve_ipv4("one.x")).code is DNSErrorCode.NOTEXIST
        assert asked[3:] == ["one.x.a.example", "one.x.b.example", "one.x"]
        alone = Resolver(resolver.base, resolv_conf=path, hosts=False, nameservers=[server.address])
        assert failure(alone.resolve_ipv4("one.x.")).code is DNSErrorCode.NOTEXIST
        assert asked[6:] == ["one.x"]
        for each in (resolver, other, alone):
            each.close()


def test_hosts_files_come_first(make: Callable[..., Resolver], tmp_path: pathlib.Path) -> None:
    """By TCP as by UDP."""
    path = tmp_path / "hosts"
    path.write_text(
        "# none\n192.0.2.9 known.example other # name\n2001:db8::9\tknown.example\nx y\n::1 six\n"
    )
    for use_vc in (False, True):
        resolver = make(use_vc=use_vc, hosts=path)
        found = resolver.getaddrinfo("Known.example", 80, type=socket.SOCK_STREAM).wait(10)
        assert [entry[4][0] for entry in found] == ["192.0.2.9", "2001:db8::9"]
        assert len(resolver.getaddrinfo("other", 80, type=socket.SOCK_STREAM).wait(10)) == 1
        assert failure(resolver.getaddrinfo("six", 80, family=socket.AF_INET)).args[0] < 0
        resolver.clear_hosts()
        with_none = resolver.getaddrinfo("known.example", 80, family=socket.AF_INET)
        with_none.cancel()
        resolver.base.poll()


def test_suspended_questions_wait(make: Callable[..., Resolver], peer: TCPNameServer) -> None:
    """Until resume(); without a name server they fail."""
    resolver = make()
    resolver.clear_nameservers()
    query = resolver.resolve_ipv4("a.example")
    for _ in range(5):
        resolver.base.poll(0.001)
    assert not query.done
    resolver.add_nameserver(peer.address)
    resolver.resume()
    assert query.wait(10).records == ("192.0.2.1",)
    assert failure(make(nameservers=[]).resolve_ipv4("a.example")).code is not None


def test_an_alias_by_tcp(make: Callable[..., Resolver], peer: TCPNameServer) -> None:
    """The last one of several is told; by UDP as well, where libevent would lose memory."""

    def aliases(query: bytes) -> bytes:
        chain = [record(CNAME, wire("b.example")), record(CNAME, wire("c.example"))]
        return answer(query, *chain, record(A, bytes([192, 0, 2, 1])))

    peer.talk = each_with(lambda query: framed(aliases(query)))
    assert make().resolve_ipv4("a.example", canonical_name=True).wait(10).canonical_name == "c.example"
    (entry,) = make().getaddrinfo("a.example", 1, family=2, type=1, flags=socket.AI_CANONNAME).wait(10)
    assert entry[3] == "c.example"
    with name_server(lambda query, name, kind: [aliases(query)]) as by_udp:
        resolver = make(use_vc=False, nameservers=[by_udp.address])
        before = lib.lev_memory_blocks()
        for _ in range(20):
            named = resolver.resolve_ipv4("a.example", canonical_name=True).wait(10)
            assert named.canonical_name == "c.example"
        del named
        gc.collect()
        resolver.base.poll()
        assert lib.lev_memory_blocks() <= before + 4


def test_a_long_time_to_live_is_none(make: Callable[..., Resolver], peer: TCPNameServer) -> None:
    """RFC 2181, 8: not a negative one, by UDP and by TCP."""

    def talk(query: bytes) -> bytes:
        return answer(query, record(A, bytes(4), 0x80000001))

    peer.talk = each_with(lambda query: framed(talk(query)))
    with name_server(lambda query, name, kind: [talk(query)]) as by_udp:
        assert make().resolve_ipv4("a.example").wait(10).ttl == 0
        assert make(use_vc=False, nameservers=[by_udp.address]).resolve_ipv4("a.example").wait(10).ttl == 0


def test_nothing_is_left_behind(plain_base: EventBase, peer: TCPNameServer, run: Callable[..., None]) -> None:
    """Neither memory nor descriptors, whichever way it ends."""

    def once(number: int) -> None:
        peer.talk = (well, BAD["closes"][0], BAD["refused"][0], BAD["silent"][0])[number % 4]
        resolver = Resolver(
            plain_base,
            **{"resolv_conf": False, "hosts": False, "nameservers": [peer.address], "use_vc": True},
            **{"timeout": 0.01, "attempts": 2},
        )
        query = resolver.resolve_ipv4("a.example", lambda query: None)
        resolver.getaddrinfo("a.example", 80, lambda query: None)
        resolver.resolve_ipv4("a.example", lambda query: None, canonical_name=True, tcp=number % 2 == 0)
        if number % 5 == 0:
            query.cancel()
        if number % 3:
            run(plain_base)
        resolver.close()
        run(plain_base)

    def many(count: int) -> tuple[int, int, int]:
        for number in range(count):
            once(number)
        for thread in peer.threads[1:]:
            thread.join(10)
        for _ in range(12 if sys.implementation.name == "pypy" else 3):
            gc.collect()
        plain_base.poll()
        return lib.lev_memory_blocks(), lib.lev_live_objects, descriptors()

    before = many(12)
    after = many(20)
    assert after[2] == before[2]
    if sys.implementation.name != "pypy":
        assert after[1] == before[1]
        assert after[0] <= before[0] + 4


def test_a_dropped_base_goes_silently(peer: TCPNameServer) -> None:
    """With questions on their way, by TCP and by UDP."""
    peer.talk = BAD["silent"][0]
    with name_server(lambda *_: []) as silent:

        def ask() -> None:
            base = EventBase()
            for address, use_vc in ((peer.address, True), (silent.address, False)):
                resolver = Resolver(
                    base, resolv_conf=False, hosts=False, nameservers=[address], use_vc=use_vc
                )
                resolver.resolve_ipv4("a.example", canonical_name=True)
            while not silent.asked:
                base.poll(0.01)

        before = descriptors()
        ask()
        for _ in range(4):
            gc.collect()
        assert descriptors() <= before + 1  # the peer's own


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_asks_on_a_connection_of_its_own(make: Callable[..., Resolver], peer: TCPNameServer) -> None:
    """And the parent goes on with its own."""
    resolver = make()
    assert resolver.resolve_ipv4("a.example").wait(10)

    def ask() -> None:
        assert resolver.resolve_ipv4("a.example").wait(10).records == ("192.0.2.1",)

    in_child(ask)
    ask()
    assert peer.accepted == 2


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 3), st.sampled_from([A, AAAA, PTR]), st.booleans())
def test_any_bytes_are_read(data: bytes, count: int, kind: int, keeps_question: bool) -> None:
    """As an answer, as an error, or as nothing; with names that lead round."""
    asked = wire("a.example") + struct.pack(">HH", kind, 1)
    head = struct.pack(">HHHHHH", 7, 0x8180, 1, count, 0, 0)
    for tail in (data, b"\xc0\x0c" + data, record(kind, data), record(CNAME, b"\xc0" + data)):
        message = head + (asked if keeps_question else b"") + tail
        found = read_answer_to(message, 7, b"a.example", kind)
        assert found is None or found.error or found.data or kind == PTR
    loop = head[:4] + b"\0\1\0\0\0\0\0\0\xc0\x0c"
    error = read_answer_to(loop + bytes(8), 7, b"a.example", kind)
    assert error is not None
    assert error.error == lib.DNS_ERR_UNKNOWN
