"""The HTTP client: how its connections are made, kept and given away, to addresses and names."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

import http_asking
import pytest
from http_asking import CLOSED_PORT, WAIT, body_of, echo
from httpserver import OK, Asked, read_head, read_request, serving

from libevent_cffi import BufferEvent, EventBase
from libevent_cffi.errors import HTTPError
from libevent_cffi.event import Operation
from libevent_cffi.flags import RequestErrorKind
from libevent_cffi.http import URI, Connection, fetch

descriptors_are_closed = http_asking.descriptors_are_closed


# -- connections ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more",
    ],
    ids=["close", "HTTP/1.0", "more than announced"],
)
def test_a_connection_that_is_not_to_be_used_again_is_not(plain_base: EventBase, answer: bytes) -> None:
    """It is lost, which on_close is told, and the next request makes another."""
    lost: list[Connection] = []
    with (
        serving(answer) as server,
        Connection(plain_base, server.address, on_close=lost.append) as connection,
    ):
        for n in range(2):
            assert connection.request("GET", "/").wait(WAIT).text() == "ok"
            plain_base.poll()
            assert connection.bufferevent is None
            assert lost == [connection] * (n + 1)
        assert server.connections == 2


def test_a_body_without_length_ends_with_the_connection(plain_base: EventBase) -> None:
    """Even where the server says that it keeps it alive."""

    def script(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\nhello")

    with serving(script=script) as server:
        assert fetch(plain_base, server.url).wait(WAIT).text() == "hello"


def test_a_connection_that_the_server_closed_while_idle_is_made_again(plain_base: EventBase) -> None:
    """Seen before the next request goes out, whatever its method."""
    closed = threading.Event()

    def script(sock: socket.socket) -> None:
        with sock.makefile("rb") as file:
            read_request(file)
        sock.sendall(OK)
        sock.shutdown(socket.SHUT_RDWR)
        closed.set()

    with serving(script=script) as server, Connection(plain_base, server.address) as connection:
        for _ in range(3):
            assert connection.request("POST", "/", body=b"x").wait(WAIT).text() == "ok"
            assert closed.wait(WAIT)
            closed.clear()
        assert server.connections == 3


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_request_that_met_a_closing_connection(plain_base: EventBase, method: str) -> None:
    """It is sent again when that does no harm, once; otherwise its failure is told."""
    count = iter(range(100))

    def answer(asked: Asked) -> Optional[bytes]:
        return None if next(count) == 1 else OK

    with serving(answer) as server, Connection(plain_base, server.address) as connection:
        assert connection.request(method, "/").wait(WAIT).text() == "ok"
        request = connection.request(method, "/")
        if method == "GET":
            assert request.wait(WAIT).text() == "ok"
            assert server.connections == 2
        else:
            with pytest.raises(HTTPError, match="before the response") as caught:
                request.wait(WAIT)
            assert caught.value.kind is RequestErrorKind.EOF


def test_an_idle_connection_waits_for_nothing(plain_base: EventBase, run: Callable[..., None]) -> None:
    """dispatch() returns; with on_close it goes on until the server closes, and tells."""
    lost: list[Connection] = []
    with serving() as server, Connection(plain_base, server.address) as connection:
        connection.request("GET", "/")
        run(plain_base)
        assert connection.bufferevent is not None
        connection.on_close = lost.append
        plain_base.call_later(0.01, server._open[0].shutdown, socket.SHUT_RDWR)
        run(plain_base)
        assert lost == [connection]
        assert connection.bufferevent is None
        connection.on_close = None
        assert connection.request("GET", "/").wait(WAIT).text() == "ok"


def test_what_a_server_sends_unasked_ends_the_connection(plain_base: EventBase) -> None:
    """Before it can be taken for the response to something."""
    sent = threading.Event()

    def script(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(OK)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        sent.set()
        with contextlib.suppress(OSError):
            read_head(sock)

    with serving(script=script) as server, Connection(plain_base, server.address) as connection:
        for _ in range(3):
            assert connection.request("GET", "/").wait(WAIT).text() == "ok"
            assert sent.wait(WAIT)
            sent.clear()


def test_nothing_has_to_be_kept(plain_base: EventBase, run: Callable[..., None]) -> None:
    """A request goes on without its Connection; an idle connection that is dropped is closed."""
    told: list[bytes] = []
    with serving(echo) as server:
        Connection(plain_base, server.address).request("GET", "/1", lambda r: told.append(body_of(r)))
        run(plain_base)
        assert told == [b"GET /1 "]
        connection = Connection(plain_base, server.address)
        connection.request("GET", "/2").wait(WAIT)
        reference = weakref.ref(connection)
        del connection
        plain_base.poll()
        for _ in range(3):
            gc.collect()
        plain_base.poll()
        assert reference() is None
        server._threads[2].join(WAIT)  # it has read the end
        assert not server._threads[2].is_alive()


def test_redirects_of_connections_local_address_and_families(plain_base: EventBase) -> None:
    """local_address is where it comes from; family restricts where it goes."""
    peers: list[Any] = []

    def script(sock: socket.socket) -> None:
        peers.append(sock.getpeername()[0])
        read_head(sock)
        sock.sendall(OK)

    with serving(script=script) as server:
        Connection(plain_base, server.address, local_address=("127.0.0.7", 0)).request("GET", "/").wait(WAIT)
        assert peers == ["127.0.0.7"]
        request = Connection(plain_base, server.address, family=socket.AF_INET6).request("GET", "/")
        with pytest.raises(OSError, match="family"):
            request.wait(WAIT)
        request = Connection(plain_base, server.address, local_address=("::1", 0)).request("GET", "/")
        with pytest.raises(OSError):
            request.wait(WAIT)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_ipv6(plain_base: EventBase) -> None:
    """The host goes into brackets where it has to."""
    try:
        context = serving(echo, family=socket.AF_INET6)
        server = context.__enter__()
    except OSError:
        pytest.skip("no IPv6 on loopback")
    try:
        port = server.address[1]
        request = Connection(plain_base, ("::1", port)).request("GET", "/")
        assert request.wait(WAIT).url == URI(f"http://[::1]:{port}/")
        assert fetch(plain_base, f"http://[::1]:{port}/x").wait(WAIT).text() == "GET /x "
        assert {asked.headers["host"] for asked in server.asked} == {f"[::1]:{port}"}
    finally:
        context.__exit__(None, None, None)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no UNIX sockets")
@pytest.mark.parametrize("abstract", [False, True])
def test_unix_sockets(plain_base: EventBase, tmp_path: Path, abstract: bool) -> None:
    """By path and by URL, on every libevent."""
    if abstract and sys.platform != "linux":
        pytest.skip("Linux")
    path: Any = b"\0httpc" + os.fsencode(tmp_path.name) if abstract else str(tmp_path / "so ck")
    with serving(echo, family=socket.AF_UNIX, address=path) as server:
        with Connection(plain_base, path) as connection:
            assert connection.request("GET", "/a").wait(WAIT).text() == "GET /a "
            assert connection.address == path
        url = URI.build(
            scheme="http+unix", host="%" + os.fsencode(path).hex("%").upper(), path="/b", query="c"
        )
        assert fetch(plain_base, url).wait(WAIT).text() == "GET /b?c "
        assert server.asked[0].headers["host"] == "localhost"
    with (
        Connection(plain_base, path) as connection,
        pytest.raises((FileNotFoundError, ConnectionRefusedError)),
    ):
        connection.request("GET", "/").wait(WAIT)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no UNIX sockets")
def test_a_unix_socket_with_a_full_backlog(plain_base: EventBase, tmp_path: Path) -> None:
    """It is tried again, until there is room or the time is over."""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as stack:
        listener.bind(path)
        listener.listen(0)
        waiting = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                sock = stack.enter_context(socket.socket(socket.AF_UNIX))
                sock.setblocking(False)
                sock.connect(path)
                waiting += 1
        late = Connection(plain_base, path, connect_timeout=0.1).request("GET", "/")
        with pytest.raises(TimeoutError, match="no connection to"):
            late.wait(WAIT)
        request = Connection(plain_base, path).request("GET", "/")

        def make_room() -> None:
            for _ in range(waiting):
                stack.enter_context(listener.accept()[0])

        def serve() -> None:
            with listener.accept()[0] as accepted:
                read_head(accepted)
                accepted.sendall(OK)

        thread = threading.Thread(target=serve)
        plain_base.call_later(0.03, lambda: (make_room(), thread.start()))
        assert request.wait(WAIT).text() == "ok"
        thread.join()


def test_a_connection_handed_over(plain_base: EventBase) -> None:
    """It is spoken over until it is lost; what is no connected socket is refused."""
    with serving(echo) as server:
        bev = BufferEvent(plain_base, socket.create_connection(server.address))
        with Connection(plain_base, server.address, bufferevent=bev) as connection:
            assert connection.bufferevent is bev
            assert connection.request("GET", "/1").wait(WAIT).text() == "GET /1 "
            assert connection.request("GET", "/2", headers={"Connection": "close"}).wait(WAIT).ok
            assert server.connections == 1
            assert connection.request("GET", "/3").wait(WAIT).text() == "GET /3 "
            assert server.connections == 2
        assert bev.closed
        one, other = BufferEvent.pair(plain_base)
        with EventBase() as another:
            for base, wrong in ((plain_base, one), (another, other), (plain_base, BufferEvent(plain_base))):
                with pytest.raises(ValueError, match=r"socket|another base"):
                    Connection(base, server.address, bufferevent=wrong)
                wrong.close()


@pytest.mark.parametrize("status", [101, 200])
def test_what_follows_a_change_of_protocol_is_the_users(plain_base: EventBase, status: int) -> None:
    """After 101, and a CONNECT that succeeded: by connection.bufferevent, with what has come already."""

    def script(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(b"HTTP/1.1 %d Go on\r\n\r\nhello" % status)
        sock.sendall(sock.recv(99).upper())

    with serving(script=script) as server, Connection(plain_base, server.address) as connection:
        method, target = ("GET", "/") if status == 101 else ("CONNECT", "example.com:80")
        request = connection.request(method, target, headers={"Upgrade": "x", "Connection": "upgrade"})
        assert request.wait(WAIT).status == status
        bev = connection.bufferevent
        assert bev is not None
        got: list[bytes] = []
        bev.on_read = lambda bev: got.append(bev.read())
        bev.on_event = lambda bev, what, error: plain_base.loop_break()
        bev.write(b"abc")
        plain_base.dispatch()
        assert b"".join(got) == b"helloABC"
        assert not connection.closed


# -- names ---------------------------------------------------------------------------------------------------


class FakeResolver:
    """Finds what it is told to, in a later pass."""

    def __init__(self, base: EventBase, *found: tuple[int, Any], error: Optional[Exception] = None) -> None:
        self.base = base
        self.found = [(family, socket.SOCK_STREAM, 6, "", address) for family, address in found]
        self.error = error
        self.asked: list[object] = []
        self.cancelled = 0

    def getaddrinfo(self, host: str, port: int, callback: Any, **hints: Any) -> Any:
        self.asked.append((host, port))
        operation: Any = Operation._start(self.base, callback, ())
        self.base.call_soon(operation._finish, self.found, self.error)
        return operation


def test_addresses_are_tried_one_after_another(plain_base: EventBase) -> None:
    """Until one can be connected to; it is used again where that is asked for."""
    with serving(echo) as server:
        port = server.address[1]
        resolver: Any = FakeResolver(
            plain_base, (socket.AF_INET, ("127.0.0.2", CLOSED_PORT)), (socket.AF_INET, server.address)
        )
        for reuse, lookups in ((False, 2), (True, 1)):
            resolver.asked.clear()
            with Connection(
                plain_base, ("example", port), resolver=resolver, reuse_connected_address=reuse
            ) as connection:
                for _ in range(2):
                    request = connection.request("GET", "/", headers={"Connection": "close"})
                    assert request.wait(WAIT).url == URI(f"http://example:{port}/")
            assert resolver.asked == [("example", port)] * lookups
        assert server.asked[0].headers["host"] == f"example:{port}"


def test_names_that_lead_nowhere(plain_base: EventBase) -> None:
    """The resolver's error is the request's; with addresses that all fail it is that of the last."""
    broken = LookupError("no such name")
    for resolver, kind in (
        (FakeResolver(plain_base, error=broken), LookupError),
        (FakeResolver(plain_base), OSError),
        (
            FakeResolver(plain_base, *[(socket.AF_INET, ("127.0.0.1", CLOSED_PORT))] * 2),
            ConnectionRefusedError,
        ),
    ):
        some: Any = resolver
        with pytest.raises(kind):
            Connection(plain_base, ("example", 80), resolver=some).request("GET", "/").wait(WAIT)
        assert len(resolver.asked) == 1
    with EventBase() as other, pytest.raises(ValueError, match="another base"):
        Connection(other, ("example", 80), resolver=some)
