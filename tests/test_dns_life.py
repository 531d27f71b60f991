"""Every query finishes once, whatever becomes of it, its resolver and its base."""

from __future__ import annotations

import contextlib
import gc
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import dns_asking
import pytest
from conftest import output_of
from dns_asking import failure, nothing
from dns_peers import (
    AAAA,
    CNAME,
    PTR,
    A,
    NameServer,
    answer,
    dnsmasq,
    name_server,
    name_server_beside_tcp,
    record,
    unbound,
    usual,
)
from test_fork import in_child
from test_leaks import descriptors

from libevent_cffi import EventBase
from libevent_cffi._native import lib
from libevent_cffi.dns import Answer, Query, Resolver
from libevent_cffi.errors import (
    CancelledError,
    ClosedError,
    DNSError,
    WrongThreadError,
)
from libevent_cffi.flags import DNSErrorCode, DNSType

IS_22 = hasattr(lib, "DNS_QUERY_USEVC")

peer, make = dns_asking.peer, dns_asking.make


def test_cancel_in_every_state(
    make: Callable[..., Resolver], plain_base: EventBase, run: Callable[..., None]
) -> None:
    """Before it is sent, while it waits, when its answer is queued, when it is done: it is told once."""
    told: list[Query[Any]] = []
    resolver = make(max_inflight=2)
    queries = [resolver.resolve_ipv4("usual.example", told.append) for _ in range(8)]
    queries += [resolver.getaddrinfo("silent.example", 80, told.append) for _ in range(3)]
    assert all(query.cancel() for query in queries[::2])
    assert not queries[0].cancel()
    plain_base.poll(0.02)
    for query in queries:
        query.cancel()
    run(plain_base)
    assert sorted(map(id, told)) == sorted(map(id, queries))
    assert not any(query.cancel() for query in queries)
    assert resolver.pending == 0
    with pytest.raises(CancelledError):
        queries[0].result()


def test_cancel_while_the_answer_is_being_told(
    make: Callable[..., Resolver], run: Callable[..., None]
) -> None:
    """A completion cancels others of the same pass, and itself."""
    told: list[Any] = []

    def done(query: Query[Any]) -> None:
        told.append(query)
        for each in queries:
            each.cancel()

    resolver = make()
    queries = [resolver.resolve_ipv4("usual.example", done) for _ in range(20)]
    run(resolver.base)
    assert len(told) == len(set(map(id, told))) == 20


@pytest.mark.parametrize("where", ["outside", "completion", "timer"])
@pytest.mark.parametrize("what", ["resolver", "base"])
def test_closed_with_queries_open(
    make: Callable[..., Resolver], plain_base: EventBase, run: Callable[..., None], what: str, where: str
) -> None:
    """Each of them is told CancelledError, once."""
    told: list[Query[Any]] = []
    resolver = make()

    def end(*_: object) -> None:
        plain_base.close() if what == "base" else resolver.close()

    queries: list[Query[Any]] = [resolver.resolve_ipv4("silent.example", told.append) for _ in range(3)]
    queries += [
        resolver.getaddrinfo("silent.example", 80, told.append),
        resolver.resolve_reverse("::1", told.append),
    ]
    if where == "outside":
        plain_base.poll(0)
        end()
    elif where == "timer":
        plain_base.call_soon(end)
    else:
        resolver.resolve_ipv4("usual.example", end)
    if not plain_base.closed:
        run(plain_base)
    assert resolver.closed
    assert resolver.pending == 0
    assert sorted(map(id, told)) == sorted(map(id, queries))
    assert sum(query.cancelled for query in queries) >= 4  # the reverse one may have its answer
    resolver.close()
    for call in (lambda: resolver.resolve_ipv4("a.example"), lambda: resolver.nameservers, resolver.resume):
        with pytest.raises(ClosedError):
            call()


def test_a_query_keeps_its_resolver(
    make: Callable[..., Resolver], plain_base: EventBase, run: Callable[..., None]
) -> None:
    """Nothing has to be kept; what is idle and dropped is gone."""
    told: list[Query[Answer]] = []
    for _ in range(4):
        gc.collect()
    plain_base.poll()
    before = lib.lev_live_objects
    make().resolve_ipv4("usual.example", told.append)
    gc.collect()
    run(plain_base)
    assert told.pop().result().records == ("192.0.2.1",)
    for _ in range(4):
        gc.collect()
    plain_base.poll()
    assert lib.lev_live_objects == before


def test_idle_it_does_not_keep_the_loop(
    make: Callable[..., Resolver], plain_base: EventBase, run: Callable[..., None]
) -> None:
    """Also after a name server failed, which libevent would ask again and again; unless keepalive."""
    resolver = make(timeout=0.02, attempts=1, max_timeouts=1, initial_probe_timeout=0.05)
    began = time.monotonic()
    assert isinstance(failure(resolver.resolve_ipv4("silent.example")), DNSError)
    run(plain_base)
    assert resolver.resolve_ipv4("usual.example").wait(10)
    run(plain_base)
    assert time.monotonic() - began < 5
    kept = make(keepalive=True)
    plain_base.call_later(0.05, plain_base.loop_exit, keepalive=False)
    plain_base.dispatch()
    assert plain_base.got_exit
    kept.close()
    run(plain_base)


def test_name_servers_that_fail_before_resume_are_let_go_too(
    make: Callable[..., Resolver], peer: NameServer, run: Callable[..., None]
) -> None:
    """libevent asks them; without queries it no longer looks whether they answer again."""
    resolver = make(timeout=0.02, attempts=1, initial_probe_timeout=0.01)
    resolver.clear_nameservers()
    resolver.add_nameserver(peer.address)
    assert isinstance(failure(resolver.resolve_ipv4("silent.example")), DNSError)
    peer.reply = lambda *_: []
    run(resolver.base)
    resolver.clear_nameservers()
    waiting = resolver.resolve_ipv4("one.example", nothing)
    peer.reply = usual
    resolver.add_nameserver(peer.address)
    resolver.resume()
    assert waiting.wait(10).records == ("192.0.2.1",)


@pytest.mark.parametrize("close", ["resolver", "base"])
def test_closed_while_a_name_server_is_probed(
    plain_base: EventBase, run: Callable[..., None], close: str
) -> None:
    """In whatever state the probe is: once libevent used the name server after it was freed."""

    def slow(query: bytes, name: str, kind: int) -> list[bytes]:
        return [answer(query, code=3)] if name.lower() == "google.com" else []

    for number in range(12):
        with name_server(slow) as peer, EventBase() as base:
            resolver = Resolver(
                *(base,),
                **{"resolv_conf": False, "hosts": False, "nameservers": [peer.address]},
                **{"timeout": 0.005, "attempts": 10, "max_timeouts": 1, "initial_probe_timeout": 0.001},
            )
            for _ in range(5):
                resolver.resolve_ipv4("silent.example", nothing)
            base.call_later(0.004 + 0.002 * number, resolver.close if close == "resolver" else base.close)
            base.call_later(1, int)
            if close == "resolver":
                base.call_later(0.05, base.loop_exit)
            base.dispatch()


def ask_once(resolver: Resolver) -> None:
    """Ask, and let it fail."""
    with contextlib.suppress(DNSError):
        resolver.resolve_ipv4("usual.example", nothing).wait(10)
    resolver.base.poll(0.005)


def test_a_name_server_that_is_back_is_asked_again(plain_base: EventBase) -> None:
    """Another one answers meanwhile; only then is it asked for a name of ours."""
    with name_server(lambda *_: []) as down, name_server() as up:
        resolver = Resolver(
            *(plain_base,),
            **{"resolv_conf": False, "hosts": False, "nameservers": [down.address, up.address]},
            **{"timeout": 0.1, "attempts": 1, "initial_probe_timeout": 0.02, "keepalive": True},
        )

        def ask_until(wanted: Callable[[str], bool]) -> None:
            deadline = time.monotonic() + 20
            seen = len(down.asked)
            while not any(wanted(name.lower()) for name, _ in down.asked[seen:]):
                assert time.monotonic() < deadline, down.asked[seen:]
                ask_once(resolver)

        for _ in range(2):
            down.reply = lambda *_: []
            ask_until("google.com".__eq__)
            down.reply = usual
            ask_until("usual.example".__eq__)
        resolver.close()


def test_a_cut_off_answer_to_a_probe_counts_as_one(plain_base: EventBase) -> None:
    """By UDP, and libevent does not go on by TCP: 2.2 used freed memory when it did."""

    def cut_off(query: bytes, name: str, kind: int) -> list[bytes]:
        return [answer(query, flags=0x8380)] if name.lower() == "google.com" else []

    with name_server_beside_tcp(cut_off) as (down, listening), name_server() as up:
        listening.setblocking(False)
        resolver = Resolver(
            *(plain_base,),
            **{"resolv_conf": False, "hosts": False, "nameservers": [down.address, up.address]},
            **{"timeout": 0.1, "attempts": 1, "initial_probe_timeout": 0.02, "keepalive": True},
        )
        deadline = time.monotonic() + 20
        while not _asked_after_a_probe(down):
            assert time.monotonic() < deadline, down.asked
            ask_once(resolver)
        with pytest.raises(BlockingIOError):
            listening.accept()
        resolver.close()


def _asked_after_a_probe(peer: NameServer) -> bool:
    names = [name.lower() for name, _ in peer.asked]
    return "google.com" in names and "usual.example" in names[names.index("google.com") :]


def test_name_servers_are_forgotten_anywhere(make: Callable[..., Resolver], run: Callable[..., None]) -> None:
    """Also in the completion of a query, after they failed and while others wait for their turn."""
    told: list[Query[Any]] = []

    def forget(query: Query[Any]) -> None:
        told.append(query)
        resolver.clear_nameservers()
        for server in servers:
            resolver.add_nameserver(server.address)
        resolver.resume()

    with name_server() as first, name_server() as second:
        servers = [first, second]
        resolver = make(
            nameservers=[first.address, second.address],
            **{"timeout": 0.01, "attempts": 2, "max_timeouts": 1, "max_inflight": 2},
            initial_probe_timeout=0.005,
        )
        queries = [resolver.resolve_ipv4(f"{kind}.example", forget) for kind in ("silent", "usual") * 6]
        run(resolver.base)
    assert sorted(map(id, told)) == sorted(map(id, queries))


def test_thousands_in_flight(make: Callable[..., Resolver], run: Callable[..., None]) -> None:
    """None is lost, and none told twice."""
    told: list[Any] = []
    resolver = make()
    count = 4000
    for number in range(count):
        resolver.resolve_ipv4(f"n{number}.example", told.append)
    assert resolver.pending == count
    run(resolver.base)
    assert len(told) == len(set(map(id, told))) == count
    assert {query.result().records for query in told} == {("192.0.2.1",)}


def test_beside_dnsmasq(plain_base: EventBase, run: Callable[..., None], tmp_path: pathlib.Path) -> None:
    """A real name server: addresses, aliases, reverse names, and what is missing."""
    options = [
        *("--host-record=one.test,192.0.2.10,2001:db8::10", "--cname=alias.test,one.test"),
        *("--address=/many.test/192.0.2.20", "--local=/test/"),
    ]
    with (
        dnsmasq(tmp_path, *options) as address,
        Resolver(plain_base, resolv_conf=False, hosts=False, nameservers=[address]) as resolver,
    ):
        assert resolver.resolve_ipv4("one.test").wait(10).records == ("192.0.2.10",)
        assert resolver.resolve_ipv6("one.test").wait(10).records == ("2001:db8::10",)
        assert resolver.resolve_ipv4("alias.test").wait(10).records == ("192.0.2.10",)
        assert resolver.resolve_reverse("192.0.2.10").wait(10).records == ("one.test",)
        assert resolver.resolve_reverse("2001:db8::10").wait(10).records == ("one.test",)
        missing = failure(resolver.resolve_ipv4("missing.test"))
        assert isinstance(missing, DNSError)
        assert missing.code is DNSErrorCode.NOTEXIST
        nothing = failure(resolver.resolve_ipv6("x.many.test"))
        assert isinstance(nothing, DNSError)
        assert nothing.code in (DNSErrorCode.NODATA, DNSErrorCode.NOTEXIST)
        named = resolver.getaddrinfo("alias.test", 80, flags=socket.AI_CANONNAME).wait(10)
        assert named[0][3] == "one.test"
        told: list[Any] = []
        for number in range(2000):
            resolver.getaddrinfo(f"n{number}.many.test", 80, told.append, family=socket.AF_INET)
        run(plain_base)
        assert len(told) == 2000
        assert {query.result()[0][4] for query in told} == {("192.0.2.20", 80)}


def test_beside_unbound(plain_base: EventBase, run: Callable[..., None], tmp_path: pathlib.Path) -> None:
    """Another one: thousands of names in flight, and an answer that is too long for a datagram."""
    lines = [
        *('local-zone: "test." static', 'local-data: "one.test. 77 A 192.0.2.10"'),
        *('local-data-ptr: "2001:db8::10 one.test"', 'local-data: "alias.test. CNAME one.test."'),
        *('local-zone: "many.test." redirect', 'local-data: "many.test. A 192.0.2.20"'),
        *(f'local-data: "long.test. A 192.0.2.{number}"' for number in range(60)),
    ]
    with (
        unbound(tmp_path, *lines) as address,
        Resolver(
            *(plain_base,),
            **{"resolv_conf": False, "hosts": False, "nameservers": [address], "ignore_tc": False},
            **{"max_inflight": 200, "timeout": 1.0, "attempts": 5},
        ) as resolver,
    ):
        found = resolver.resolve_ipv4("one.test").wait(10)
        assert (found.records, found.ttl) == (("192.0.2.10",), 77)
        assert resolver.resolve_reverse("2001:db8::10").wait(10).records == ("one.test",)
        assert len(resolver.resolve_ipv4("long.test").wait(10)) == 60
        cut_off = failure(resolver.resolve_ipv4("long.test", ignore_truncation=True))
        assert isinstance(cut_off, DNSError)
        assert cut_off.code is DNSErrorCode.TRUNCATED
        assert len(resolver.getaddrinfo("long.test", 1, family=socket.AF_INET, type=1).wait(10)) == 60
        missing = failure(resolver.resolve_ipv4("missing.test", tcp=True))
        assert isinstance(missing, DNSError)
        assert missing.code is DNSErrorCode.NOTEXIST
        told: list[Any] = []
        for number in range(2000):
            resolver.resolve_ipv4(f"n{number}.many.test", told.append, tcp=number % 10 == 0)
        run(plain_base)
        assert len(told) == len(set(map(id, told))) == 2000
        assert {query.result().records for query in told} == {("192.0.2.20",)}


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's namespaces")
def test_without_a_network(tmp_path: pathlib.Path) -> None:
    """No route, no address, no resolv.conf: each way of asking ends with its error, and does so in time."""
    code = """
import sys, time
from libevent_cffi import EventBase
from libevent_cffi.dns import Resolver
from libevent_cffi.errors import DNSError
began = time.monotonic()
with EventBase() as base:
    for nameservers in ([], ["192.0.2.53", "[2001:db8::53]"]):
        options = {"timeout": 0.03, "attempts": 2, "getaddrinfo_allow_skew": 0.05, "nameservers": nameservers}
        resolver = Resolver(base, resolv_conf=not nameservers, hosts=False, **options)
        queries = [
            resolver.resolve_ipv4("one.example"),
            resolver.resolve_ipv6("one.example", tcp=True),
            resolver.resolve_reverse("192.0.2.1"),
            resolver.getaddrinfo("one.example", 80),
        ]
        for query in queries:
            try:
                query.wait(10)
            except DNSError as error:
                print(error.code.name if error.code else error.args[0])
        base.dispatch()
        assert resolver.pending == 0
        assert not nameservers or len(resolver.nameservers) == 2, resolver.nameservers
        resolver.close()
assert time.monotonic() - began < 8
"""
    empty = tmp_path / "resolv.conf"
    empty.write_text("")
    inside = 'mount --bind "$1" /etc/resolv.conf && exec "$2" -c "$3"'
    command = ["unshare", "-rnm", "sh", "-c", inside, "sh", str(empty), sys.executable, code]
    try:
        subprocess.run([*command[:2], "true"], check=True, capture_output=True, timeout=10)
        asked = subprocess.run(command, check=False, capture_output=True, timeout=30, text=True)
    except (OSError, subprocess.SubprocessError):
        pytest.skip("namespaces are not allowed here")
    if "mount" in asked.stderr:
        pytest.skip("nothing can be mounted here")
    assert asked.stderr == ""
    assert asked.stdout.split() == ["TIMEOUT", "TIMEOUT", "TIMEOUT", str(socket.EAI_FAIL)] * 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork()")
def test_a_child_asks_by_its_own_sockets(make: Callable[..., Resolver], plain_base: EventBase) -> None:
    """Both have their answers: on shared sockets each would take those of the other."""
    resolver = make(max_inflight=50)
    queries = [resolver.resolve_ipv4(f"n{number}.example") for number in range(100)]

    def work() -> None:
        for query in queries:
            assert query.wait(15).records == ("192.0.2.1",)
        assert resolver.resolve_ipv6("usual.example").wait(15).records == ("2001:db8::1",)
        resolver.close()
        plain_base.close()

    in_child(work)
    for query in queries:
        assert query.wait(10).records == ("192.0.2.1",)


def test_other_threads_are_refused(
    make: Callable[..., Resolver], plain_base: EventBase, run: Callable[..., None]
) -> None:
    """While the base is dispatched elsewhere: nothing is asked, and nothing stays open."""
    resolver = make()
    refused: list[str] = []

    def other() -> None:
        for call in (
            lambda: resolver.resolve_ipv4("usual.example"),
            lambda: resolver.getaddrinfo("usual.example", 80),
            lambda: resolver.nameservers,
            lambda: resolver.set_options(timeout=0.25),
            resolver.resume,
            resolver.close,
        ):
            try:
                call()
            except WrongThreadError as error:
                refused.append(str(error))
        plain_base.call_soon_threadsafe(plain_base.loop_break)

    thread = threading.Thread(target=other)
    plain_base.call_soon(thread.start)
    run(plain_base, exit_on_empty=False)
    thread.join()
    assert len(refused) == 6
    assert resolver.pending == 0
    assert resolver._options.get("timeout") != 0.25


def test_nothing_is_left_behind(
    make: Callable[..., Resolver], plain_base: EventBase, run: Callable[..., None]
) -> None:
    """Neither memory nor descriptors, whichever way queries and resolvers end."""

    def once(number: int) -> None:
        resolver = make(timeout=0.01, attempts=1)
        query = resolver.resolve_ipv4("usual.example" if number % 3 else "silent.example", lambda query: None)
        resolver.getaddrinfo("usual.example", 80, lambda query: None)
        resolver.getaddrinfo("127.0.0.1", 80, lambda query: None)
        if number % 5 == 0:
            query.cancel()
        if number % 2:
            run(plain_base)
        resolver.close()
        run(plain_base)

    def many(count: int) -> tuple[int, int, int]:
        for number in range(count):
            once(number)
        for _ in range(12 if sys.implementation.name == "pypy" else 3):
            gc.collect()
        plain_base.poll()
        return lib.lev_memory_blocks(), lib.lev_live_objects, descriptors()

    before = many(30)
    after = many(60)
    assert after[1:] == before[1:]
    if sys.implementation.name != "pypy":
        assert after[0] <= before[0] + 4


def test_a_failure_that_nobody_asked_for_is_logged(
    make: Callable[..., Resolver],
    plain_base: EventBase,
    run: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And one with a callback is not."""
    resolver = make()
    resolver.resolve_ipv4("missing.example")
    run(plain_base)
    for _ in range(4):
        gc.collect()
    assert [entry.getMessage() for entry in caplog.records] == [
        "Query failed, and nobody asked for its result"
    ]


def test_exit_with_queries_open_is_silent() -> None:
    """Whatever is open."""
    code = """
from libevent_cffi import EventBase
from libevent_cffi.dns import Resolver
base = EventBase()
resolver = Resolver(base, resolv_conf=False, nameservers=["127.0.0.1:9"])
queries = [resolver.resolve_ipv4("a.example"), resolver.getaddrinfo("a.example", 80)]
base.poll(0.01)
"""
    assert output_of(code) == ""


@pytest.mark.skipif(bool(lib.lev_debug_mode_on), reason="libevent's debug mode ends without memory")
def test_without_memory(make: Callable[..., Resolver], plain_base: EventBase) -> None:
    """When the n-th allocation fails a query fails, or not; nothing ends the process."""
    for number in range(1, 60):
        resolver = make(timeout=0.05, attempts=1)
        lib.lev_memory_fail_after(number)
        try:
            resolver.resolve_ipv4("usual.example", nothing)
            # libevent does not look at what it gets when it reads an answer (evdns.c:reply_parse of 2.2), and
            # loses the query without memory to tell it (evdns.c:reply_schedule_callback of 2.1).
            lib.lev_memory_fail_after(-1)
            plain_base.poll(0.005)
        except (MemoryError, OSError, DNSError):
            pass
        finally:
            lib.lev_memory_fail_after(-1)
        resolver.close()
        plain_base.poll()


def test_kinds_of_records_are_named() -> None:
    """The numbers of the protocol are those of DNSType."""
    assert (DNSType.A, DNSType.AAAA, DNSType.CNAME, DNSType.PTR) == (A, AAAA, CNAME, PTR)


def test_a_resolver_that_is_closed_after_its_base_tells_its_queries(plain_base: EventBase) -> None:
    """Closing the base and then the resolver, in one callback, tells each query once."""
    told: list[Any] = []
    resolver = Resolver(plain_base, resolv_conf=False, hosts=False, nameservers=["127.0.0.1:9"])
    resolver.resolve_ipv4("a.example", told.append)

    def close() -> None:
        plain_base.close()
        resolver.close()

    plain_base.call_soon(close)
    plain_base.dispatch()
    assert [type(query.error) for query in told] == [CancelledError]


@pytest.mark.skipif(
    not (IS_22 and sys.platform == "linux"), reason="libevent 2.1 does not tell the sockets that it asks from"
)
def test_an_answer_from_another_port_does_not_count(make: Callable[..., Resolver]) -> None:
    """Though it comes from the host that was asked, with the number and the spelling of the question."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as forger,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
    ):
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(10)
        forger.bind(("127.0.0.1", 0))

        def serve() -> None:
            query, client = sock.recvfrom(512)
            forger.sendto(answer(query, record(A, bytes([192, 0, 2, 66]))), client)
            sock.sendto(answer(query, record(A, bytes([192, 0, 2, 1]))), client)

        thread = threading.Thread(target=serve)
        thread.start()
        found = make(nameservers=[sock.getsockname()]).resolve_ipv4("one.example").wait(10)
        thread.join()
    assert found.records == ("192.0.2.1",)


@pytest.mark.parametrize("how", ["IPv4", "reverse", "addresses"])
def test_a_query_by_tcp_ends_where_there_is_no_route(
    plain_base: EventBase, run: Callable[..., None], how: str
) -> None:
    """Connecting fails at once."""
    options: dict[str, Any] = {"timeout": 0.01, "attempts": 1, "getaddrinfo_allow_skew": 0.1}
    told: list[Any] = []
    with Resolver(
        plain_base, resolv_conf=False, hosts=False, nameservers=["255.255.255.255"], use_vc=True, **options
    ) as resolver:
        if how == "IPv4":
            resolver.resolve_ipv4("one.example", told.append)
        elif how == "reverse":
            resolver.resolve_reverse("192.0.2.1", told.append)
        else:
            resolver.getaddrinfo("one.example", 80, told.append)
        run(plain_base)
        assert resolver.pending == 0
    (query,) = told
    assert query.error.args[0] == socket.EAI_AGAIN


def test_queries_that_wait_for_their_turn_are_not_lost(make: Callable[..., Resolver]) -> None:
    """However long that takes."""
    resolver = make(timeout=0.3, attempts=1, max_inflight=1, initial_probe_timeout=0.01)
    for number in range(6):
        resolver.resolve_ipv4(f"silent{number}.example", nothing, search=False)
    query = resolver.resolve_ipv4("one.example", search=False)
    assert query.wait(20).records == ("192.0.2.1",)
