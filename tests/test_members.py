"""Every public member of what HTTP, WebSockets and DNS make: when it is closed, and on another thread."""

from __future__ import annotations

import contextlib
import inspect
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import pytest
from http_peer import DEADLINE, get

from libevent_cffi import EventBase, dns, http, ws
from libevent_cffi.errors import ClosedError, FeatureUnavailableError, WrongThreadError
from libevent_cffi.flags import DNSErrorCode, DNSFlag, DNSSection

LOCAL = ("127.0.0.1", 0)
QUESTION = b"\0\1\1\0\0\1\0\0\0\0\0\0\1a\0\0\1\0\1"


class Kind(NamedTuple):
    """What is tried of one class."""

    #: Makes an open one.
    make: Callable[[EventBase], AbstractContextManager[Any]]
    close: Callable[[Any], object]
    #: What asks C, or changes something: ClosedError after close(), WrongThreadError on another thread.
    uses: dict[str, Callable[[Any], object]]
    #: What goes on answering after close(), and never changes anything.
    telling: str
    #: Those of uses that any thread may call, since nothing of C is asked.
    anywhere: tuple[str, ...] = ()
    #: Those of uses that do no harm after close().
    afterwards: tuple[str, ...] = ()
    #: What they raise after close(): an answer to a client that has left is a BrokenPipeError.
    refusals: tuple[type[Exception], ...] = (ClosedError,)


def set_to(name: str, value: object) -> Callable[[Any], object]:
    """Return what sets an attribute."""
    return lambda thing: setattr(thing, name, value)


def settings() -> dict[str, Callable[[Any], object]]:
    """Return what sets each setting of a server to what it may be."""
    callables = ("handler", "on_request", "on_refused", "error_page", "bufferevent_factory")
    numbers = ("max_headers_size", "max_body_size", "max_connections")
    seconds = ("timeout", "read_timeout", "write_timeout", "reply_timeout")
    values: dict[str, object] = {**dict.fromkeys(callables, print), **dict.fromkeys(numbers + seconds, 1)}
    values.update(default_content_type="text/css", lingering_close=True)
    return {f"set {name}": set_to(name, value) for name, value in values.items()}


# -- how each is made ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def a_resolver(base: EventBase) -> Iterator[dns.Resolver]:
    with dns.Resolver(base, resolv_conf=False, hosts=False, nameservers=["127.0.0.1:9"]) as made:
        yield made


@contextlib.contextmanager
def a_question(base: EventBase) -> Iterator[dns.Request]:
    kept: list[dns.Request] = []
    with (
        dns.Server(base, LOCAL, lambda request: (request.defer(), kept.append(request))) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
    ):
        sock.sendto(QUESTION, server.address)
        run_until(base, lambda: bool(kept))
        yield kept[0]


@contextlib.contextmanager
def a_request(base: EventBase) -> Iterator[http.Request]:
    kept: list[http.Request] = []

    def handler(request: http.Request) -> None:
        request.defer()
        kept.append(request)

    with (
        http.Server(base, handler) as server,
        socket.create_connection(server.bind(LOCAL).address, timeout=DEADLINE) as sock,
    ):
        sock.sendall(get())
        run_until(base, lambda: bool(kept))
        yield kept[0]


@contextlib.contextmanager
def a_server(base: EventBase) -> Iterator[http.Server]:
    with http.Server(base, print) as server:
        server.route("/there", print)
        server.bind(LOCAL)
        yield server


@contextlib.contextmanager
def a_bound_socket(base: EventBase) -> Iterator[http.BoundSocket]:
    with http.Server(base) as server:
        yield server.bind(LOCAL)


@contextlib.contextmanager
def a_client(base: EventBase) -> Iterator[http.Connection]:
    with http.Connection(base, ("127.0.0.1", 1)) as made:
        yield made


@contextlib.contextmanager
def a_websocket(base: EventBase) -> Iterator[ws.WebSocket]:
    pytest.importorskip("wsproto")
    with http.Server(base, ws.WebSocket.accept) as server:
        url = f"ws://127.0.0.1:{server.bind(LOCAL).port}/"
        with ws.WebSocket.connect(base, url).wait(DEADLINE) as made:
            yield made


@contextlib.contextmanager
def a_connection(base: EventBase) -> Iterator[http.ServerConnection]:
    with a_request(base) as request:
        yield request.connection


def run_until(base: EventBase, is_so: Callable[[], bool]) -> None:
    """Dispatch until it is so."""
    limit = base.call_later(DEADLINE, pytest.fail, "it took too long")
    while not is_so():
        base.poll(1)
    limit.close()


def accept(server: http.Server) -> None:
    with socket.create_server(LOCAL) as listening:
        server.accept(listening)


# -- what each has -------------------------------------------------------------------------------------------

KINDS = {
    "dns.Resolver": Kind(
        a_resolver,
        lambda it: it.close(),
        {
            "add_nameserver": lambda it: it.add_nameserver("127.0.0.1"),
            "add_search": lambda it: it.add_search("example"),
            "cache_add": lambda it: it.cache_add("a.example", ["192.0.2.1"], ttl=1),
            "cache_lookup": lambda it: it.cache_lookup("a.example"),
            "clear_hosts": lambda it: it.clear_hosts(),
            "clear_nameservers": lambda it: it.clear_nameservers(),
            "clear_search": lambda it: it.clear_search(),
            "getaddrinfo": lambda it: it.getaddrinfo("a.example", 80),
            "load_hosts": lambda it: it.load_hosts(os.devnull),
            "load_resolv_conf": lambda it: it.load_resolv_conf(os.devnull),
            "nameserver_fd": lambda it: it.nameserver_fd(0),
            "nameservers": lambda it: it.nameservers,
            "resolve_ipv4": lambda it: it.resolve_ipv4("a.example"),
            "resolve_ipv6": lambda it: it.resolve_ipv6("a.example"),
            "resolve_reverse": lambda it: it.resolve_reverse("192.0.2.1"),
            "resume": lambda it: it.resume(),
            "set_options": lambda it: it.set_options(timeout=1),
        },
        "base closed default pending",
    ),
    "dns.Server": Kind(
        lambda base: dns.Server(base, LOCAL, print),
        lambda it: it.close(),
        {
            "address": lambda it: it.address,
            "port": lambda it: it.port,
            "fileno": lambda it: it.fileno(),
            "set handler": set_to("handler", print),
        },
        "base closed handler",
        anywhere=("address", "port", "set handler"),
    ),
    "dns.Request": Kind(
        a_question,
        lambda it: it.drop(),
        {
            "add_a": lambda it: it.add_a("a.example", "192.0.2.1", ttl=1),
            "add_aaaa": lambda it: it.add_aaaa("a.example", "2001:db8::1", ttl=1),
            "add_cname": lambda it: it.add_cname("a.example", "b.example", ttl=1),
            "add_ptr": lambda it: it.add_ptr("192.0.2.1", "a.example", ttl=1),
            "add_reply": lambda it: it.add_reply(DNSSection.ANSWER, "a.example", 16, b"\1x", ttl=1),
            "defer": lambda it: it.defer(),
            "drop": lambda it: it.drop(),
            "respond": lambda it: it.respond(DNSErrorCode.NONE),
            "set_flags": lambda it: it.set_flags(DNSFlag.AA),
        },
        "answered flags peer_address questions server",
    ),
    "http.Server": Kind(
        a_server,
        lambda it: it.close(),
        {
            "accept": accept,
            "add_alias": lambda it: it.add_alias("a.example"),
            "add_virtual_host": lambda it: it.add_virtual_host("a.example", http.Server(EventBase())),
            "bind": lambda it: it.bind(LOCAL),
            "remove_alias": lambda it: it.remove_alias("a.example"),
            "remove_route": lambda it: it.remove_route("/there"),
            "remove_virtual_host": lambda it: it.remove_virtual_host(it),
            "route": lambda it: it.route("/", print),
            "stop": lambda it: it.stop(),
            **settings(),
        },
        "base bound closed connections bufferevent_factory default_content_type error_page handler"
        " lingering_close max_body_size max_connections max_headers_size on_refused on_request read_timeout"
        " reply_timeout timeout write_timeout",
        anywhere=("set handler",),
    ),
    "http.BoundSocket": Kind(
        a_bound_socket,
        lambda it: it.close(),
        {
            "address": lambda it: it.address,
            "port": lambda it: it.port,
            "fileno": lambda it: it.fileno(),
            "enable": lambda it: it.enable(),
            "disable": lambda it: it.disable(),
        },
        "base closed server",
    ),
    "http.ServerConnection": Kind(
        a_connection,
        lambda it: it.close(),
        {
            "bufferevent": lambda it: it.bufferevent,
            "local_address": lambda it: it.local_address,
            "peer_address": lambda it: it.peer_address,
            "tls": lambda it: it.tls,
        },
        "closed server",
    ),
    "http.Request": Kind(
        a_request,
        lambda it: it.close(),
        {
            "body": lambda it: it.body,
            "connection": lambda it: it.connection,
            "peer_address": lambda it: it.peer_address,
            "headers": lambda it: it.headers,
            "host": lambda it: it.host,
            "method": lambda it: it.method,
            "path": lambda it: it.path,
            "query": lambda it: it.query,
            "target": lambda it: it.target,
            "uri": lambda it: it.uri,
            "version": lambda it: it.version,
            "json": lambda it: it.json(),
            "text": lambda it: it.text(),
            "defer": lambda it: it.defer(),
            "start": lambda it: it.start(),
            "status": lambda it: it.status,
            "send_chunk": lambda it: it.send_chunk(b"x"),
            "end": lambda it: it.end(),
            "reply": lambda it: it.reply(),
            "reply_json": lambda it: it.reply_json({}),
            "error": lambda it: it.error(404),
            "redirect": lambda it: it.redirect("/"),
            "sendfile": lambda it: it.sendfile(__file__),
            "set on_body": set_to("on_body", print),
            "set on_body_end": set_to("on_body_end", print),
            "set on_close": set_to("on_close", print),
            "set on_complete": set_to("on_complete", print),
        },
        "answered client_gone closed on_body on_body_end on_close on_complete response_headers server unsent",
        refusals=(ClosedError, BrokenPipeError),
    ),
    "http.Connection": Kind(
        a_client,
        lambda it: it.close(),
        {
            "request": lambda it: it.request("GET", "/"),
            "set on_close": set_to("on_close", None),
        },
        "address base bufferevent closed on_close pending tls",
        anywhere=("set on_close",),
    ),
    "ws.WebSocket": Kind(
        a_websocket,
        lambda it: it.close(),
        {
            "peer_address": lambda it: it.peer_address,
            "ping": lambda it: it.ping(),
            "send": lambda it: it.send("x"),
            "set on_close": set_to("on_close", None),
            "set on_message": set_to("on_message", None),
            "set on_pong": set_to("on_pong", None),
        },
        "accept base bufferevent closed connect on_close on_message on_pong request subprotocol unsent",
        anywhere=("set on_close", "set on_message", "set on_pong"),
        afterwards=("peer_address", "set on_close", "set on_message", "set on_pong"),
    ),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each class."""
    return KINDS[request.param]


@pytest.mark.parametrize("name", KINDS)
def test_every_member_is_tried(name: str) -> None:
    """A new method or property gets its entry here, and a setter one as "set NAME"."""
    module, _, cls = name.partition(".")
    owner = getattr({"dns": dns, "http": http, "ws": ws}[module], cls)
    names = {each for each in dir(owner) if not each.startswith("_")} - {"close"}
    setters = {f"set {each}" for each in names if getattr(inspect.getattr_static(owner, each), "fset", None)}
    tried = {*KINDS[name].uses, *KINDS[name].telling.split()}
    missing, gone = sorted((names | setters) - tried), sorted(tried - names - setters)
    assert not missing, f"give {missing} entries in KINDS[{name!r}]: among uses, or telling"
    assert not gone, f"{name} has none of {gone}: take them out of KINDS"


def test_what_is_closed_refuses_all_but_what_it_tells(plain_base: EventBase, kind: Kind) -> None:
    """By ClosedError, whatever is asked."""
    with kind.make(plain_base) as thing:
        kind.close(thing)
        assert getattr(thing, "closed", True)
        assert set(values(kind, thing)) == set(kind.telling.split())
        told = outcomes(kind, thing)
    accepted = {name: error for name, error in told.items() if not isinstance(error, kind.refusals)}
    assert accepted == dict.fromkeys(kind.afterwards)


def test_another_thread_is_refused_while_the_loop_runs(plain_base: EventBase, kind: Kind) -> None:
    """By WrongThreadError, and it has changed nothing; what it is told all the same is true."""
    told: dict[str, object] = {}
    seen: dict[str, object] = {}

    def elsewhere() -> None:
        told.update(outcomes(kind, thing))
        seen.update(values(kind, thing))
        repr(thing)

    def look() -> None:
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join(DEADLINE)

    with kind.make(plain_base) as thing:
        before = values(kind, thing)
        plain_base.call_soon(look)
        plain_base.poll()
        assert values(kind, thing) == before
    assert {name: value for name, value in seen.items() if value != before[name]} == {}
    accepted = {name: error for name, error in told.items() if not isinstance(error, WrongThreadError)}
    assert accepted == dict.fromkeys(kind.anywhere)


def outcomes(kind: Kind, thing: Any) -> dict[str, object]:
    """Try everything that this libevent has, and return what each raised, or None."""
    found = {name: error_of(use, thing) for name, use in kind.uses.items()}
    return {name: error for name, error in found.items() if not isinstance(error, FeatureUnavailableError)}


def error_of(use: Callable[[Any], object], thing: Any) -> object:
    try:
        use(thing)
    except Exception as error:
        return error
    return None


def values(kind: Kind, thing: Any) -> dict[str, object]:
    """Return what it tells, as far as this thread may ask."""
    found = {}
    for name in kind.telling.split():
        with contextlib.suppress(WrongThreadError):
            found[name] = getattr(thing, name)
    return found
