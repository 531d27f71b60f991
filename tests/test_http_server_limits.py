"""HTTP servers: addresses, limits, hosts, and how they end."""

from __future__ import annotations

import gc
import http.client
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Optional

import pytest
from http_peer import DEADLINE, Client, ask, exchange, get, read_all, read_head, split
from tls_peers import python_client

from libevent_cffi import EventBase, Listener, util
from libevent_cffi._native import lib
from libevent_cffi.bufferevent import BufferEvent, RateLimit
from libevent_cffi.errors import ClosedError, FeatureUnavailableError, WrongThreadError
from libevent_cffi.http import BoundSocket, Connection, Request, Server
from libevent_cffi.tls import TLSContext


@pytest.fixture
def server(plain_base: EventBase) -> Iterator[Server]:
    """A server that says hello."""
    with Server(plain_base, lambda request: request.reply(200, b"hello")) as made:
        yield made


def wait_for(base: EventBase, condition: Callable[[], bool]) -> None:
    """Dispatch until it is so."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end
        base.poll()


# -- addresses -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["bind", "accept"])
def test_small_pieces_do_not_wait_for_each_other(plain_base: EventBase, server: Server, how: str) -> None:
    """Both sides have TCP_NODELAY: without it a piece waits until the last one is confirmed."""
    found = []

    def handle(request: Request) -> None:
        found.append(request.connection.bufferevent.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        request.reply(200)

    server.handler = handle
    address = ("127.0.0.1", 0)
    bound = server.bind(address) if how == "bind" else server.accept(socket.create_server(address))
    client = Connection(plain_base, bound.address)
    client.request("GET", "/").wait(DEADLINE)
    assert client.bufferevent is not None
    found.append(client.bufferevent.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
    assert all(found)
    assert len(found) == 2
    client.close()


def test_it_listens_on_several_addresses(plain_base: EventBase, server: Server, tmp_path: Path) -> None:
    """TCP, IPv6 where there is any, and a UNIX socket, whose file goes with it."""
    path = str(tmp_path / "socket")
    bound = [server.bind(("127.0.0.1", 0)), server.bind(path)]
    if socket.has_ipv6:
        bound.append(server.bind(("::1", 0)))
    assert server.bound == tuple(bound)
    assert bound[0].port == bound[0].address[1]
    for each in bound[:2]:
        assert split(Client(plain_base, each.address, exchange(get())).finish())[2] == b"hello"
    with pytest.raises(ValueError, match="no port"):
        _ = bound[1].port
    bound[1].close()
    bound[1].close()
    assert not os.path.exists(path)
    assert bound[1].closed
    assert bound[1] not in server.bound
    with pytest.raises(ClosedError):
        bound[1].fileno()
    server.close()
    assert all(each.closed for each in bound)


def test_a_request_over_a_unix_socket_has_an_address(plain_base: EventBase, tmp_path: Path) -> None:
    """That of its client, which has none."""
    seen = []

    def handle(request: Request) -> None:
        seen.append((request.peer_address, request.connection.local_address))
        request.reply()

    with Server(plain_base, handle) as server:
        bound = server.bind(tmp_path / "socket")
        Client(plain_base, bound.address, exchange(get())).finish()
    assert seen == [("", str(tmp_path / "socket"))]


def test_it_takes_over_what_listens(plain_base: EventBase, server: Server, tmp_path: Path) -> None:
    """A socket object, a descriptor, and a Listener with the file of its UNIX socket."""
    sock = socket.create_server(("127.0.0.1", 0))
    address = sock.getsockname()
    assert server.accept(sock).address == address
    assert sock.fileno() == -1
    assert split(Client(plain_base, address, exchange(get())).finish())[2] == b"hello"
    other = socket.create_server(("127.0.0.1", 0))
    assert server.accept(other.detach()).server is server
    path = tmp_path / "socket"
    listener = Listener(plain_base, path, lambda *_: None)
    bound = server.accept(listener)
    assert listener.closed
    assert path.exists()
    assert split(Client(plain_base, str(path), exchange(get())).finish())[2] == b"hello"
    bound.close()
    assert not path.exists()


def test_what_does_not_listen_is_refused(plain_base: EventBase, server: Server) -> None:
    """And stays its owner's."""
    with socket.socket() as sock:
        with pytest.raises(ValueError, match="not listening"):
            server.accept(sock)
        assert sock.fileno() >= 0
    with pytest.raises(OSError):
        server.bind(("203.0.113.1", 0))
    with pytest.raises(TypeError):
        server.accept("no")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        BoundSocket()


def test_disable_leaves_connections_in_the_backlog(plain_base: EventBase, server: Server) -> None:
    """Until enable()."""
    bound = server.bind(("127.0.0.1", 0))
    bound.disable()
    client = Client(plain_base, bound.address, exchange(get()))
    plain_base.call_later(0.05, bound.enable)
    assert split(client.finish())[2] == b"hello"


# -- limits --------------------------------------------------------------------------------------------------


def test_a_head_that_is_too_long_is_400(plain_base: EventBase, server: Server) -> None:
    """One line, or many."""
    server.max_headers_size = 1000
    assert server.max_headers_size == 1000
    assert split(ask(plain_base, server, get("/", "X: " + "x" * 2000)))[0] == 400
    assert split(ask(plain_base, server, get("/", *(["X: y"] * 1000))))[0] == 400
    assert split(ask(plain_base, server, get()))[0] == 200


def test_a_body_that_is_too_long_is_413(plain_base: EventBase, server: Server) -> None:
    """By its Content-Length, and in chunks."""
    server.max_body_size = 10
    assert split(ask(plain_base, server, get("/", "Content-Length: 10", method="POST") + b"x" * 10))[0] == 200
    assert split(ask(plain_base, server, get("/", "Content-Length: 11", method="POST")))[0] == 413
    chunked = get("/", "Transfer-Encoding: chunked", method="POST") + b"b\r\n" + b"x" * 11 + b"\r\n0\r\n\r\n"
    assert split(ask(plain_base, server, chunked))[0] in (400, 413)


def test_expect_100_continue(plain_base: EventBase, server: Server) -> None:
    """The client is told to go on, and gets one answer."""
    server.bind(("127.0.0.1", 0))

    def talk(sock: socket.socket) -> tuple[bytes, bytes]:
        sock.sendall(get("/", "Content-Length: 3", "Expect: 100-continue", method="PUT"))
        first = read_head(sock)
        sock.sendall(b"abc")
        return first, read_all(sock)

    first, second = Client(plain_base, server.bound[0].address, talk).finish()
    assert first.startswith(b"HTTP/1.1 100 ")
    assert split(second)[2] == b"hello"


def test_methods_that_are_not_allowed_are_501(plain_base: EventBase, server: Server) -> None:
    """The usual ones are, unless others were said."""
    for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        assert split(ask(plain_base, server, get(method=method)))[0] == 200
    assert split(ask(plain_base, server, get(method="TRACE")))[0] == 501
    assert split(ask(plain_base, server, get(method="BREW")))[0] == 501
    with Server(
        plain_base, lambda request: request.reply(200, request.method), allowed_methods=["PUT"]
    ) as other:
        assert split(ask(plain_base, other, get(method="PUT")))[2] == b"PUT"
        assert split(ask(plain_base, other, get()))[0] == 501
    with pytest.raises(ValueError, match="BREW"):
        Server(plain_base, allowed_methods=["BREW"])
    with pytest.raises(TypeError):
        Server(plain_base, allowed_methods="GET")


def test_one_connection_too_many_is_503(base: EventBase) -> None:
    """It is told at once; when another one goes there is room again."""
    with Server(base, lambda request: request.reply(200, b"hello"), max_connections=1) as server:
        bound = server.bind(("127.0.0.1", 0))
        with socket.create_connection(bound.address):
            wait_for(base, lambda: server.connections == 1)
            assert split(Client(base, bound.address, read_all).finish())[0] == 503
            assert split(Client(base, bound.address, exchange(get())).finish())[0] == 503
            assert server.connections == 1
        wait_for(base, lambda: server.connections == 0)
        assert split(Client(base, bound.address, exchange(get())).finish())[0] == 200


def test_a_client_that_sends_nothing_is_closed(plain_base: EventBase, server: Server) -> None:
    """After the timeout, from the beginning and between requests."""
    server.timeout = 0.1
    bound = server.bind(("127.0.0.1", 0))
    assert Client(plain_base, bound.address, read_all).finish() == b""

    def talk(sock: socket.socket) -> bytes:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        return read_all(sock)

    assert split(Client(plain_base, bound.address, talk).finish())[2] == b"hello"


def test_a_client_that_sends_a_byte_now_and_then_is_closed(plain_base: EventBase, server: Server) -> None:
    """Though each byte begins libevent's timeout anew."""
    server.timeout = 0.2
    bound = server.bind(("127.0.0.1", 0))

    def talk(sock: socket.socket) -> float:
        begun = time.monotonic()
        try:
            for byte in get("/", "X: " + "y" * 1000):
                sock.sendall(bytes([byte]))
                sock.settimeout(0.1)
                try:
                    if not sock.recv(1):
                        break
                except socket.timeout:
                    pass
        except OSError:
            pass
        return time.monotonic() - begun

    assert Client(plain_base, bound.address, talk).finish() < 5


def test_a_slow_body_may_come(plain_base: EventBase, server: Server) -> None:
    """As long as it comes: the limit is for the head."""
    server.timeout = 0.2
    bound = server.bind(("127.0.0.1", 0))
    pause = threading.Event()

    def talk(sock: socket.socket) -> bytes:
        sock.sendall(get("/", "Content-Length: 1000", method="POST"))
        for _ in range(10):
            pause.wait(0.08)
            sock.sendall(b"x" * 100)
        return read_all(sock)

    assert split(Client(plain_base, bound.address, talk).finish())[2] == b"hello"


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("max_headers_size", [None, 0, 5], [-1, 1.5, "1", True]),
        ("max_body_size", [None, 0, 5], [-1, 1.5, "1"]),
        ("max_connections", [None, 1, 5], [0, -1, 1.5]),
        ("timeout", [None, 0.5, 3], [-1, float("nan"), "1"]),
        ("read_timeout", [None, 0.5, 3], [-1, float("inf")]),
        ("write_timeout", [None, 0.5, 3], [-1]),
        ("reply_timeout", [None, 0.5, 3], [-1]),
        ("default_content_type", [None, "a/b"], ["a\r\nb", "a\0", 3]),
        ("lingering_close", [True, False], []),
        ("handler", [None, print], [3]),
        ("on_request", [None, print], [3]),
        ("error_page", [None, print], [3]),
    ],
)
def test_settings_are_read_back_and_checked(
    plain_base: EventBase, name: str, good: list[Any], bad: list[Any]
) -> None:
    """As keywords and as attributes."""
    with Server(plain_base) as server:
        for value in good:
            setattr(server, name, value)
            assert getattr(server, name) == value
            with Server(plain_base, **{name: value}) as other:
                assert getattr(other, name) == value
        for value in bad:
            with pytest.raises((ValueError, TypeError)):
                setattr(server, name, value)
            with pytest.raises((ValueError, TypeError)):
                Server(plain_base, **{name: value})
            assert getattr(server, name) == good[-1]
    with pytest.raises(ClosedError):
        setattr(server, name, good[-1])


def test_default_content_type_and_error_page(plain_base: EventBase, server: Server) -> None:
    """For what says none itself; and for error()."""
    server.default_content_type = "a/b"
    assert split(ask(plain_base, server, get()))[1]["Content-Type"] == "a/b"
    server.handler = None
    server.error_page = lambda request, status, reason: f"{request.path} {status} {reason}".encode()
    assert split(ask(plain_base, server, get("/x")))[2] == b"/x 404 Not Found"
    server.error_page = lambda request, status, reason: None
    assert b"404 Not Found" in split(ask(plain_base, server, get("/x")))[2]


def test_an_error_page_that_fails_is_logged(
    plain_base: EventBase, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """The usual one is sent."""
    server.handler = None
    server.error_page = lambda *_: 1 / 0  # type: ignore[assignment,return-value]
    with caplog.at_level(logging.ERROR, "libevent"):
        assert split(ask(plain_base, server, get()))[0] == 404
    assert "ZeroDivisionError" in caplog.text


def test_on_request_comes_first(plain_base: EventBase, server: Server) -> None:
    """And may answer itself."""
    seen = []

    def look(request: Request) -> None:
        seen.append(request.path)
        if request.path == "/no":
            request.error(403)

    server.on_request = look
    assert split(ask(plain_base, server, get("/yes")))[0] == 200
    assert split(ask(plain_base, server, get("/no")))[0] == 403
    assert seen == ["/yes", "/no"]


# -- hosts ---------------------------------------------------------------------------------------------------


def test_virtual_hosts(plain_base: EventBase, server: Server) -> None:
    """By pattern, by alias, and not any more."""
    host = Server(plain_base, lambda request: request.reply(200, b"virtual " + (request.host or "").encode()))
    server.add_virtual_host("*.example.org", host)
    server.bind(("127.0.0.1", 0))

    def body(name: str) -> bytes:
        data = f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode()
        return split(ask(plain_base, server, data))[2]

    assert body("www.example.org:80") == b"virtual www.example.org"
    assert body("example.net") == b"hello"
    server.add_alias("own.example.org")
    assert body("own.example.org") == b"hello"
    server.remove_alias("own.example.org")
    assert body("own.example.org") == b"virtual own.example.org"
    with pytest.raises(KeyError):
        server.remove_alias("own.example.org")
    server.remove_virtual_host(host)
    assert body("www.example.org") == b"hello"
    with pytest.raises(ValueError, match="no virtual host"):
        server.remove_virtual_host(host)
    host.close()


def test_virtual_hosts_that_cannot_be(plain_base: EventBase, server: Server) -> None:
    """Itself, a circle, one that listens, and one of another server."""
    one, two = Server(plain_base), Server(plain_base)
    server.add_virtual_host("*", one)
    one.add_virtual_host("a*", two)
    for owner, host in ((server, server), (two, server), (server, one), (two, one)):
        with pytest.raises(ValueError, match="has another base"):
            owner.add_virtual_host("b*", host)
    with pytest.raises(ValueError, match="cannot listen"):
        one.bind(("127.0.0.1", 0))
    with pytest.raises(TypeError):
        server.add_virtual_host("b*", None)  # type: ignore[arg-type]
    other = EventBase()
    with Server(other) as foreign, pytest.raises(ValueError, match="another base"):
        server.add_virtual_host("b*", foreign)
    other.close()


def test_closing_a_virtual_host_and_its_server(plain_base: EventBase, server: Server) -> None:
    """In either order; a host lives as long as its server needs it."""
    host = Server(plain_base, lambda request: request.reply(200, b"virtual"))
    server.add_virtual_host("*host", host)
    server.bind(("127.0.0.1", 0))
    del host
    gc.collect()
    assert split(ask(plain_base, server, get()))[2] == b"virtual"
    host = Server(plain_base)
    server.add_virtual_host("a*", host)
    host.close()
    assert split(ask(plain_base, server, get()))[2] == b"virtual"
    host, inner, freed = (Server(plain_base) for _ in range(3))
    server.add_virtual_host("a*", host)
    host.add_virtual_host("b*", inner)
    server.add_virtual_host("c*", freed)
    server.remove_virtual_host(freed)
    server.close()
    assert (host.closed, inner.closed, freed.closed) == (True, True, False)
    freed.close()


# -- the end -------------------------------------------------------------------------------------------------


def test_stop_lets_requests_finish(base: EventBase) -> None:
    """No new connections, idle ones are closed, and the operation is done."""
    told = []

    def handle(request: Request) -> None:
        request.defer()
        told.append(server.stop(told.append))
        assert server.bound == ()
        base.call_later(0.05, request.reply, 200, b"last")

    server = Server(base, handle)
    bound = server.bind(("127.0.0.1", 0))
    address = bound.address
    with socket.create_connection(address) as idle:
        idle.settimeout(DEADLINE)
        answer = Client(base, address, exchange(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")).finish()
        assert idle.recv(1) == b""
    _, headers, body = split(answer)
    assert (headers["Connection"], body) == ("close", b"last")
    base.poll()
    assert told[0] is told[1]
    assert told[0].done
    assert server.closed
    with pytest.raises(OSError):
        socket.create_connection(address).close()


def test_stop_gives_up_after_its_timeout(plain_base: EventBase, server: Server) -> None:
    """What is not answered by then is not."""
    server.handler = lambda request: request.defer()
    client = Client(plain_base, server.bind(("127.0.0.1", 0)).address, exchange(get()))
    plain_base.call_later(0.1, lambda: server.stop(timeout=0.05))
    assert client.finish() == b""
    plain_base.poll()
    assert server.closed


def test_stop_of_an_idle_server(plain_base: EventBase, server: Server) -> None:
    """At once, and its timeout keeps nothing alive."""
    server.bind(("127.0.0.1", 0))
    operation = server.stop(timeout=1000)
    plain_base.dispatch()
    assert operation.done
    assert server.closed
    with pytest.raises(ClosedError):
        server.stop()


def test_after_close_everything_says_so(plain_base: EventBase, server: Server) -> None:
    """And close() may be called again."""
    kept = []

    def handle(request: Request) -> None:
        request.defer()
        kept.append((request, request.connection, request.body))
        plain_base.loop_exit()

    server.handler = handle
    bound = server.bind(("127.0.0.1", 0))
    with socket.create_connection(bound.address) as sock:
        sock.settimeout(DEADLINE)
        sock.sendall(get())
        plain_base.dispatch()
        request, connection, body = kept[0]
        assert server.connections == 1
        assert not connection.closed
        server.close()
        server.close()
        assert sock.recv(1) == b""
    assert (server.closed, bound.closed, request.closed, connection.closed, body.closed) == (True,) * 5
    assert server.connections == 0
    for call in (request.reply, request.defer, request.start, request.end, server.bind, connection._fd):
        with pytest.raises(ClosedError):
            call(*([("127.0.0.1", 0)] if call == server.bind else []))
    with pytest.raises(ClosedError):
        request.headers  # noqa: B018
    request.close()
    connection.close()
    assert "closed" in repr(server)
    repr(request)
    repr(connection)


@pytest.mark.parametrize("what", ["server", "base", "connection", "bound", "request"])
@pytest.mark.parametrize("when", ["handler", "on_close", "on_complete", "chunk", "later", "finished"])
def test_anything_may_be_closed_anywhere(what: str, when: str) -> None:
    """In the middle of whatever libevent does; nothing is left of it."""
    before = util.memory_counters().blocks
    close_in_the_middle(what, when)
    gc.collect()
    gc.collect()
    assert util.memory_counters().blocks <= before


def close_in_the_middle(what: str, when: str) -> None:
    base = EventBase()
    server = Server(base)
    connections: list[Any] = []

    def close(request: Request) -> None:
        try:
            closers = {"server": server, "base": base, "bound": bound, "request": request}
            closers.get(what, connections[0]).close()  # type: ignore[union-attr]
        except ClosedError:
            assert when in ("on_close", "on_complete", "finished")

    def handle(request: Request) -> None:
        connections.append(request.connection)
        if when == "handler":
            close(request)
        elif when in ("on_close", "on_complete"):
            setattr(request, when, close)
            if when == "on_close":
                request.defer()
            else:
                request.reply(200, b"x")
        elif when == "chunk":
            request.start()
            request.send_chunk(b"x", close)
        elif when == "later":
            request.defer()
            base.call_soon(close, request)
        else:
            request.reply(200, b"x")
            base.call_later(0.02, close, request)

    server.handler = handle
    bound = server.bind(("127.0.0.1", 0))
    with socket.create_connection(bound.address) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        base.call_later(
            0.01, sock.shutdown if when == "on_close" else int, *([2] if when == "on_close" else [])
        )
        base.call_later(0.03, base.loop_exit)
        base.dispatch()
    base.close()


def test_a_server_lives_while_it_listens(plain_base: EventBase) -> None:
    """Though nobody refers to it; and one that does nothing goes."""
    address = Server(plain_base, lambda request: request.reply(200, b"hi")).bind(("127.0.0.1", 0)).address
    gc.collect()
    assert split(Client(plain_base, address, exchange(get())).finish())[2] == b"hi"
    before = util.memory_counters().blocks
    Server(plain_base)
    gc.collect()
    gc.collect()
    plain_base.poll()
    assert util.memory_counters().blocks <= before


def test_another_thread_is_refused(plain_base: EventBase, server: Server) -> None:
    """While the base is dispatched."""
    kept, errors = [], []

    def handle(request: Request) -> None:
        request.defer()
        kept.append(request)

        def elsewhere() -> None:
            for call in (request.reply, request.defer, request.close, server.close, server.stop):
                with pytest.raises(WrongThreadError) as caught:
                    call()
                errors.append(caught.value)
            plain_base.call_soon_threadsafe(request.reply, 200, b"from there")

        thread = threading.Thread(target=elsewhere)
        thread.start()
        plain_base.call_soon(thread.join)

    server.handler = handle
    assert split(ask(plain_base, server, get()))[2] == b"from there"
    assert len(errors) == 5


def test_pythons_client_keeps_its_connection(plain_base: EventBase, server: Server) -> None:
    """http.client, over one connection."""
    server.handler = lambda request: request.reply(200, request.body if request.method == "POST" else b"get")
    host, port = server.bind(("127.0.0.1", 0)).address[:2]

    def talk(_: socket.socket) -> list[bytes]:
        connection = http.client.HTTPConnection(host, port, timeout=DEADLINE)
        got = []
        for n in range(20):
            connection.request("POST" if n % 2 else "GET", f"/{n}", body=b"%d" % n if n % 2 else None)
            got.append(connection.getresponse().read())
        connection.request(
            "POST",
            "/",
            body=iter([b"a", b"b"]),
            encode_chunked=True,
            headers={"Transfer-Encoding": "chunked"},
        )
        got.append(connection.getresponse().read())
        connection.close()
        return got

    got = Client(plain_base, (host, port), talk).finish()
    assert got == [b"%d" % n if n % 2 else b"get" for n in range(20)] + [b"ab"]


# -- what carries connections --------------------------------------------------------------------------------


def test_the_bufferevent_of_a_connection(plain_base: EventBase, server: Server) -> None:
    """It can be looked at and limited, and is closed with the connection."""
    seen: list[BufferEvent] = []

    def handle(request: Request) -> None:
        bev = request.connection.bufferevent
        assert request.connection.bufferevent is bev
        seen.append(bev)
        assert bev.fileno() >= 0
        bev.rate_limit = RateLimit(write_rate=10000000)
        request.reply(200, b"x" * 100000)

    server.handler = handle
    assert len(split(ask(plain_base, server, get()))[2]) == 100000
    assert seen[0].closed
    with pytest.raises(ClosedError):
        seen[0].fileno()


@pytest.mark.parametrize(
    "tls",
    [
        False,
        pytest.param(True, marks=pytest.mark.skipif(not lib.LEV_HAS_TLS, reason="this build has no TLS")),
    ],
)
def test_a_factory_makes_bufferevents(
    plain_base: EventBase, server: Server, certificates: Any, tls: bool
) -> None:
    """One for each connection, which is the server's from then on."""
    made: list[BufferEvent] = []
    context = TLSContext.server(certificates("server.pem"), certificates("server.key")) if tls else None

    def make(base: EventBase) -> BufferEvent:
        made.append(BufferEvent(base, tls=context))
        return made[-1]

    server.bufferevent_factory = make
    server.bind(("127.0.0.1", 0))

    def talk(sock: socket.socket) -> bytes:
        wrapped = python_client(certificates, sock) if tls else sock
        with wrapped:
            wrapped.sendall(get())
            return read_all(wrapped)

    for count in (1, 2):
        assert split(Client(plain_base, server.bound[0].address, talk).finish())[2] == b"hello"
        assert len(made) == count
        assert made[-1].closed


@pytest.mark.parametrize("what", ["raises", "nothing", "pair", "used", "interrupt"])
def test_a_factory_that_fails_refuses_the_connection(
    plain_base: EventBase, server: Server, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    """Never is plain HTTP spoken instead; the server goes on."""
    one, other = socket.socketpair()
    used = BufferEvent(plain_base, one)
    failing = [True]

    def make(base: EventBase) -> Any:
        if not failing:
            return BufferEvent(base)
        failing.clear()
        if what == "raises":
            raise RuntimeError("no")
        if what == "interrupt":
            raise KeyboardInterrupt
        return {"nothing": None, "pair": BufferEvent.pair(base)[0], "used": used}[what]

    server.bufferevent_factory = make
    client = Client(plain_base, server.bind(("127.0.0.1", 0)).address, exchange(get()))
    with caplog.at_level(logging.CRITICAL, "libevent"):
        if what == "interrupt":
            with pytest.raises(KeyboardInterrupt):
                client.finish()
        assert client.finish() == b""
    assert split(ask(plain_base, server, get()))[2] == b"hello"
    used.close()
    other.close()


@pytest.mark.skipif(not util.features()["http_ext_methods"], reason="libevent 2.1 has no more methods")
def test_more_methods(plain_base: EventBase) -> None:
    """With a body and without; others are still 501."""
    more = {"BREW": True, "WHEN": False}
    with Server(
        plain_base, lambda r: r.reply(200, r.method.encode() + bytes(r.body)), methods=more
    ) as server:
        body = get("/", "Content-Length: 3", method="BREW") + b"tea"
        assert split(ask(plain_base, server, body))[2] == b"BREWtea"
        assert split(ask(plain_base, server, get(method="WHEN")))[2] == b"WHEN"
        assert split(ask(plain_base, server, get(method="PROPFIND")))[0] == 501
        assert split(ask(plain_base, server, get(method="BOIL")))[0] == 501
    with pytest.raises(ValueError, match="declared before"):
        Server(plain_base, methods={"BREW": False})
    for wrong in ("GET", "A B", "", "X" * 40, "a\0"):
        with pytest.raises(ValueError, match=r"."):
            Server(plain_base, methods={wrong: True})


@pytest.mark.skipif(util.features()["http_ext_methods"], reason="libevent 2.2 has more methods")
def test_more_methods_need_a_newer_libevent(plain_base: EventBase) -> None:
    """And say so."""
    with pytest.raises(FeatureUnavailableError, match="libevent 2"):
        Server(plain_base, methods={"BREW": True})


# -- pages of errors -----------------------------------------------------------------------------------------

TWO_HOSTS = get("/b", "Host: other")  # which only we refuse
NATIVE = util.features()["http_error_page"]


@pytest.mark.parametrize(
    ("data", "status", "everywhere"),
    [
        (TWO_HOSTS, 400, True),
        (b"GET /a HTTP/1.1\r\nnonsense\r\n\r\n", 400, False),
        (b"GET\r\n\r\n", 400, False),
        (get("/a", "X: " + "y" * 100000), 400, False),
        (get("/a", "Content-Length: 100000", method="POST"), 413, False),
        (get("/a", "Content-Length: 3", "Expect: wonders", method="POST"), 417, False),
        (get("/a", method="BREW"), 501, False),
        (get("/a", method="TRACE"), 501, False),
    ],
)
def test_error_pages_of_libevents_own(
    plain_base: EventBase, server: Server, data: bytes, status: int, everywhere: bool
) -> None:
    """The function makes them too, of what no handler sees; then the next one is served."""
    seen = []

    def page(request: Request, status: int, reason: str) -> Optional[bytes]:
        seen.append((request.method, request.target, request.headers, request.answered, repr(request)))
        with pytest.raises(ClosedError):
            request.reply()
        return f"<p>{status} {reason}".encode() if len(seen) == 1 else None

    server.max_body_size = 1000
    server.error_page = page
    for n in range(2):
        code, headers, body = split(ask(plain_base, server, data))
        assert (code, headers["Connection"]) == (status, "close")
        if everywhere or NATIVE:
            assert headers["Content-Type"].startswith("text/html")
            assert int(headers["Content-Length"]) == len(body)
            assert body.startswith(b"<p>%d " % status if n == 0 else b"<!DOCTYPE html>")
    assert len(seen) == 2 * (everywhere or NATIVE)
    assert split(ask(plain_base, server, get()))[2] == b"hello"


@pytest.mark.parametrize("what", ["raise", "server", "base", "connection", "interrupt", "break"])
def test_the_page_of_an_error_may_do_anything(
    plain_base: EventBase, server: Server, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    """Nothing crashes; what cannot be made is libevent's page, or none."""

    def page(request: Request, status: int, reason: str) -> bytes:
        if what == "raise":
            raise RuntimeError("no page")
        if what == "interrupt":
            raise KeyboardInterrupt
        if what == "break":
            plain_base.loop_break()
        else:
            {"server": server, "base": plain_base, "connection": request.connection}[what].close()
        return b"page"

    server.error_page = page
    with socket.create_connection(server.bind(("127.0.0.1", 0)).address) as sock:
        sock.settimeout(DEADLINE)
        sock.sendall(TWO_HOSTS)
        plain_base.on_readable(sock, plain_base.loop_exit)
        plain_base.call_later(DEADLINE, plain_base.loop_exit)
        with caplog.at_level(logging.ERROR, "libevent"):
            if what == "interrupt":
                with pytest.raises(KeyboardInterrupt):
                    plain_base.dispatch()
            if what in ("interrupt", "break"):
                plain_base.dispatch()
            if not plain_base.closed:
                plain_base.dispatch()
        answer = read_all(sock)
    assert answer == b"" or split(answer)[0] == 400
    assert ("no page" in caplog.text) == (what == "raise")
    assert answer or what not in ("raise", "interrupt", "break")


@pytest.mark.parametrize("how", ["stop", "close"])
def test_what_was_not_read_costs_no_answer(plain_base: EventBase, server: Server, how: str) -> None:
    """What a client has sent after the last request that is answered does not reset its connection."""
    size = 200000

    def handle(request: Request) -> None:
        if how == "stop":
            server.stop()
        request.reply(200, b"x" * size, headers={"Connection": "close"} if how == "close" else {})

    server.handler = handle
    server.bind(("127.0.0.1", 0))

    def talk(sock: socket.socket) -> bytes:
        more = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 70000\r\n\r\n" + b"y" * 70000
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" + more)
        sock.recv(1, socket.MSG_PEEK)
        closed.wait(DEADLINE)
        return read_all(sock)

    closed = threading.Event()

    def look() -> None:
        if server.closed or not server.connections:
            closed.set()
            timer.close()

    timer = plain_base.every(0.005, look)
    answer = Client(plain_base, server.bound[0].address, talk).finish()
    assert len(split(answer)[2]) == size


@pytest.mark.parametrize("how", ["close", "remove", "base"])
def test_a_virtual_host_ends_with_its_requests(plain_base: EventBase, server: Server, how: str) -> None:
    """Their clients wait no longer, and nothing is left of them."""
    seen: list[Request] = []

    def handle(request: Request) -> None:
        request.defer()
        seen.append(request)

    server.bind(("127.0.0.1", 0))
    blocks = []
    for _ in range(3):
        host = Server(plain_base, handle)
        server.add_virtual_host("v.example", host)
        with socket.create_connection(server.bound[0].address, DEADLINE) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: v.example\r\n\r\n")
            wait_for(plain_base, lambda: bool(seen))
            if how == "remove":
                server.remove_virtual_host(host)
            if how == "base":
                plain_base.close()
            host.close()
            if how != "base":
                wait_for(plain_base, lambda: server.connections == 0)
            assert sock.recv(1) == b""
        seen.clear()
        if how == "base":
            break
        gc.collect()
        blocks.append(util.memory_counters().blocks)
    assert blocks[1:] == blocks[:1] * (len(blocks) - 1) or lib.lev_debug_mode_on
