"""The HTTP client: connections, requests, responses, and every way in which they end."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Optional

import pytest
from conftest import output_of
from httpserver import OK, Asked, read_head, read_request, reset, serving

from libevent_cffi import Buffer, BufferEvent, EventBase, http, util
from libevent_cffi.errors import CancelledError, ClosedError, HTTPError, WrongThreadError
from libevent_cffi.event import Operation
from libevent_cffi.flags import RequestErrorKind
from libevent_cffi.http import URI, ClientRequest, Connection, Response, fetch

CLOSED_PORT = 1
WAIT = 10.0


def echo(asked: Asked) -> bytes:
    body = f"{asked.method} {asked.target} ".encode() + asked.body
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def body_of(request: ClientRequest) -> bytes:
    return bytes(request.result().body)


@pytest.fixture(autouse=True)
def _descriptors_are_closed() -> Iterator[None]:
    """No test leaves a descriptor."""
    if not os.path.isdir("/proc/self/fd"):
        yield
        return
    before = len(os.listdir("/proc/self/fd"))
    yield
    if len(os.listdir("/proc/self/fd")) > before:
        gc.collect()
        gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before


# -- requests and responses ----------------------------------------------------------------------------------


def test_requests_run_one_after_another_over_one_connection(
    base: EventBase, run: Callable[..., None]
) -> None:
    """In order; each callback is called once, and none inside the call that asked."""
    told: list[object] = []
    with serving(echo) as server, Connection(base, server.address) as connection:
        for n in range(3):
            connection.request("GET", f"/{n}", lambda request, n: told.append((n, body_of(request))), n)
        assert told == []
        assert len(connection.pending) == 3
        run(base)
        assert told == [(0, b"GET /0 "), (1, b"GET /1 "), (2, b"GET /2 ")]
        assert connection.pending == ()
        assert connection.request("GET", "/3").wait(WAIT).text() == "GET /3 "
        assert server.connections == 1


def test_everything_about_a_response(plain_base: EventBase) -> None:
    """Status, reason, version, headers, body, text, JSON, and where it came from."""
    answer = (
        b"HTTP/1.1 201 Made it\r\nContent-Type: application/json; charset=latin-1\r\nSet-Cookie: a\r\n"
        b'set-cookie: b\r\nContent-Length: 9\r\n\r\n{"a":"\xfc"}'
    )
    with serving(answer) as server, Connection(plain_base, server.address) as connection:
        request = connection.request("GET", "/x?y")
        response = request.wait(WAIT)
    assert (response.status, response.reason, response.version, response.ok) == (201, "Made it", (1, 1), True)
    assert response.headers.get_list("Set-Cookie") == ["a", "b"]
    assert bytes(response.body) == b'{"a":"\xfc"}'
    assert response.text() == '{"a":"ü"}'
    assert response.url == request.url == URI(f"{server.url}/x?y")
    assert request.response is response
    assert response.raise_for_status() is response
    assert repr(response) == f"<Response 201 {server.url}/x?y 9 bytes>"
    with pytest.raises(TypeError):
        Response()


def test_any_status_is_a_result(plain_base: EventBase) -> None:
    """raise_for_status() makes it an error."""
    with serving(b"HTTP/1.1 404 Not there\r\nContent-Length: 3\r\n\r\n[1]") as server:
        response = fetch(plain_base, f"{server.url}/x").wait(WAIT)
    assert response.json() == [1]
    assert not response.ok
    with pytest.raises(HTTPError, match="404 Not there") as caught:
        response.raise_for_status()
    assert caught.value.response is response


def test_what_goes_out(plain_base: EventBase) -> None:
    """Host and Content-Length are added, in front of and after what was given."""
    with serving(echo) as server, Connection(plain_base, server.address) as connection:
        request = connection.request("POST", "/a", headers=[("X", "ü"), ("Y", "")], body="ü")
        host = f"127.0.0.1:{server.address[1]}"
        assert request.headers.multi_items() == [
            *(("Host", host), ("X", "ü"), ("Y", "")),
            ("Content-Length", "2"),
        ]
        request.headers["X"] = "a copy"
        assert request.wait(WAIT).text() == "POST /a ü"
        connection.request("GET", "/b").wait(WAIT)
        connection.request("PUT", "/c", headers={"host": "me", "content-length": "0"}).wait(WAIT)
        connection.request("OPTIONS", "*").wait(WAIT)
    heads = [asked.headers for asked in server.asked]
    assert heads == [
        {"host": host, "x": "ü", "y": "", "content-length": "2"},
        {"host": host},
        {"host": "me", "content-length": "0"},
        {"host": host},
    ]


def test_bodies_of_every_kind(plain_base: EventBase) -> None:
    """bytes, what has the buffer protocol, str as UTF-8; a Buffer is moved."""
    large = b"x" * 300_000
    moved = Buffer(large)
    kinds: list[Any] = [b"ab", bytearray(b"ab"), memoryview(b"xabx")[1:3], "äb", large, moved]
    with serving(echo) as server, Connection(plain_base, server.address) as connection:
        requests = [connection.request("POST", "/", body=body) for body in kinds]
        assert len(moved) == 0
        kinds[1][:] = b"no"
        bodies = [bytes(request.wait(WAIT).body)[7:] for request in requests]
    assert bodies == [b"ab", b"ab", b"ab", "äb".encode(), large, large]


@pytest.mark.parametrize(
    ("problem", "keywords"),
    [
        *(
            ("CR, LF or NUL", {"headers": {"X": "a\r\nY: b"}}),
            ("cannot be the name", {"headers": {"X Y": "a"}}),
        ),
        *(("target", {"target": "/a b"}), ("target", {"target": "/\r\nX: y"}), ("target", {"target": ""})),
        *(
            ("target", {"target": "/ü"}),
            ("unknown method", {"method": "GETT"}),
            ("a method", {"method": "G T"}),
        ),
        *(
            ("Content-Length", {"headers": {"Content-Length": "1"}}),
            ("no body|cannot have", {"method": "TRACE"}),
        ),
        ("Transfer-Encoding", {"headers": {"transfer-encoding": "chunked"}}),
    ],
)
def test_what_would_break_a_message_is_refused(
    plain_base: EventBase, problem: str, keywords: dict[str, Any]
) -> None:
    """ValueError at the call, and nothing is left pending."""
    arguments: dict[str, Any] = {"method": "POST", "target": "/", "body": b"abc", **keywords}
    with Connection(plain_base, ("127.0.0.1", CLOSED_PORT)) as connection:
        with pytest.raises(ValueError, match=problem):
            connection.request(**arguments)
        assert connection.pending == ()
    assert not plain_base.poll()


def test_bad_arguments() -> None:
    """TypeError and ValueError, at the call."""
    with EventBase() as base, EventBase() as other:
        here = ("127.0.0.1", CLOSED_PORT)
        for wrong, kind in (
            (lambda: Connection(None, here), TypeError),  # type: ignore[arg-type]
            (lambda: Connection(base, ("a b", 80)), ValueError),
            (lambda: Connection(base, ("", -1)), ValueError),
            (lambda: Connection(base, here, nonsense=1), TypeError),  # type: ignore[call-arg]
            (lambda: Connection(base, here, timeout=-1), ValueError),
            (lambda: Connection(base, here, retries=-2), ValueError),
            (lambda: Connection(base, here, max_body_size=-1), ValueError),
            (lambda: Connection(base, here, family=17), ValueError),
            (lambda: Connection(base, here, local_address=("x", 0)), ValueError),
            (lambda: Connection(base, here, local_address="x"), TypeError),  # type: ignore[arg-type]
            (lambda: Connection(base, here, server_hostname="x"), ValueError),
            (lambda: Connection(base, here, tls=1), TypeError),  # type: ignore[arg-type]
            (lambda: Connection(base, here, methods={"A B": True}), ValueError),
            (lambda: Connection(base, here, on_close=1), TypeError),  # type: ignore[arg-type]
            (lambda: Connection(base, here, bufferevent=1), TypeError),  # type: ignore[arg-type]
            (lambda: fetch(base, "ftp://h/"), ValueError),
            (lambda: fetch(base, "/x"), ValueError),
            (lambda: fetch(base, "http://127.0.0.1/", follow_redirects=-1), ValueError),
            (lambda: Connection(base, here).request("GET", "/", 1), TypeError),  # type: ignore[arg-type]
            (lambda: Connection(base, here).request("GET", "/", None, 1), TypeError),  # type: ignore[arg-type]
            (lambda: Connection(base, here).request("GET", "/", on_chunk=1), TypeError),  # type: ignore[arg-type]
            (lambda: Connection(base, here).request("GET", "/", body=1), TypeError),  # type: ignore[arg-type]
            (lambda: Connection(base, here).request("GET", "/", headers=1), TypeError),  # type: ignore[arg-type]
        ):
            with pytest.raises(kind):
                wrong()  # type: ignore[no-untyped-call]
        with Connection(other, here) as connection, pytest.raises(TypeError, match="made by the library"):
            type(connection.request("GET", "/"))()
        assert base._operations == set()


def test_methods_of_ones_own(plain_base: EventBase) -> None:
    """They are declared, with whether they may have a body."""
    options: dict[str, Any] = {"methods": {"PURGE": False, "QUERY": True}}
    with serving(echo) as server, Connection(plain_base, server.address, **options) as connection:
        assert connection.request("PURGE", "/").wait(WAIT).text() == "PURGE / "
        assert connection.request("QUERY", "/", body=b"x").wait(WAIT).text() == "QUERY / x"
        with pytest.raises(ValueError, match="PURGE cannot have a body"):
            connection.request("PURGE", "/", body=b"x")


def test_a_response_to_head_has_a_length_and_no_body(plain_base: EventBase) -> None:
    """The connection goes on."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"
    with serving(answer) as server, Connection(plain_base, server.address) as connection:
        for _ in range(2):
            response = connection.request("HEAD", "/").wait(WAIT)
            assert (response.headers["content-length"], len(response.body)) == ("99", 0)
        assert server.connections == 1


# -- pieces --------------------------------------------------------------------------------------------------

CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_headers_and_pieces_come_as_they_arrive(plain_base: EventBase) -> None:
    """on_headers first, on_chunk for each piece, then the callback; the chunk is closed on return."""
    told: list[object] = []
    kept: list[Buffer] = []
    step = threading.Semaphore(0)

    def script(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(CHUNKS)
        for piece in (b"abc", b"de"):
            assert step.acquire(timeout=WAIT)
            sock.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
        assert step.acquire(timeout=WAIT)
        sock.sendall(b"0\r\n\r\n")

    def on_headers(request: ClientRequest) -> None:
        assert request.response is not None
        told.append(request.response.status)
        step.release()

    def on_chunk(request: ClientRequest, chunk: Buffer) -> None:
        told.append(bytes(chunk))
        kept.append(chunk)
        step.release()

    with serving(script=script) as server, Connection(plain_base, server.address) as connection:
        request = connection.request(
            *("GET", "/", lambda request: told.append(request.done)), on_headers=on_headers, on_chunk=on_chunk
        )
        response = request.wait(WAIT)
        plain_base.poll()
    assert told == [200, b"abc", b"de", True]
    assert len(response.body) == 0
    assert all(chunk.closed for chunk in kept)


@pytest.mark.parametrize("where", ["on_headers", "on_chunk"])
def test_a_request_may_be_cancelled_from_its_own_callbacks(plain_base: EventBase, where: str) -> None:
    """It ends with CancelledError; what comes after it goes over a new connection."""
    told: list[str] = []

    def cancel(request: ClientRequest, *_: Buffer) -> None:
        told.append(where)
        assert request.cancel()
        assert not request.cancel()

    callbacks: Any = {where: cancel}
    with serving(echo) as server, Connection(plain_base, server.address) as connection:
        request = connection.request("POST", "/", body=b"x" * 1000, **callbacks)
        after = connection.request("GET", "/after")
        with pytest.raises(CancelledError):
            request.wait(WAIT)
        assert after.wait(WAIT).text() == "GET /after "
        assert server.connections == 2
    assert told == [where]


def test_what_a_callback_raises_ends_dispatch_and_not_the_request(plain_base: EventBase) -> None:
    """The next dispatch() goes on with it; error_handler gets the request as the source."""

    class Mine(Exception):
        pass

    def fail(*_: object) -> None:
        raise Mine

    pieces: list[bytes] = []

    def on_chunk(request: ClientRequest, chunk: Buffer) -> None:
        pieces.append(bytes(chunk))
        raise Mine

    sources: list[object] = []
    with serving(echo) as server, Connection(plain_base, server.address) as connection:
        request = connection.request("GET", "/", on_headers=fail, on_chunk=on_chunk)
        for _ in range(2):
            with pytest.raises(Mine):
                plain_base.dispatch()
            assert not request.done
        plain_base.dispatch()
        assert request.result().status == 200
        assert b"".join(pieces) == b"GET / "
        plain_base.error_handler = lambda error, source: sources.append(source)
        again = connection.request("GET", "/", fail, on_headers=fail)
        plain_base.dispatch()
        assert sources == [again, again]


def test_a_paused_request_takes_nothing(plain_base: EventBase) -> None:
    """Until it is resumed; what the server sends meanwhile waits on its side, and no timeout runs."""
    size = 8_000_000
    got: list[int] = []

    def on_chunk(request: ClientRequest, chunk: Buffer) -> None:
        got.append(len(chunk))
        if len(got) == 3:
            request.pause_reading()

    def script(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)

    with (
        serving(script=script) as server,
        Connection(plain_base, server.address, read_timeout=0.3) as connection,
    ):
        request = connection.request("GET", "/", on_chunk=on_chunk)
        with pytest.raises(TimeoutError):
            request.wait(0.4)
        assert len(got) == 3
        assert not request.done
        plain_base.call_later(0.01, request.resume_reading)
        request.wait(WAIT)
    assert sum(got) == size


def test_pausing_before_it_begins(plain_base: EventBase) -> None:
    """The request goes out, and the response waits."""
    with serving(echo) as server, Connection(plain_base, server.address) as connection:
        request = connection.request("GET", "/")
        request.pause_reading()
        with pytest.raises(TimeoutError):
            request.wait(0.1)
        assert server.asked
        request.resume_reading()
        assert request.wait(WAIT).status == 200


def test_our_own_server(plain_base: EventBase) -> None:
    """Client and server on one base: bodies, pieces, errors, and a handler that asks somebody else."""
    server = http.Server(plain_base)
    port = server.bind(("127.0.0.1", 0)).port

    @server.route("/echo")
    def echo_body(request: http.Request) -> None:
        request.reply(201, bytes(request.body), headers={"X": request.method})

    @server.route("/pieces")
    def pieces(request: http.Request) -> None:
        request.start()
        for n in range(3):
            request.send_chunk(f"{n}" * 1000)
        request.end()

    @server.route("/through")
    def through(request: http.Request) -> None:
        request.defer()
        fetch(
            plain_base, f"http://127.0.0.1:{port}/echo", lambda inner: request.reply(200, inner.result().body)
        )

    with Connection(plain_base, ("127.0.0.1", port)) as connection:
        made = connection.request("POST", "/echo", body=b"x" * 100_000).wait(WAIT)
        assert (made.status, len(made.body), made.headers["x"]) == (201, 100_000, "POST")
        assert connection.request("GET", "/pieces").wait(WAIT).text() == "0" * 1000 + "1" * 1000 + "2" * 1000
        assert connection.request("GET", "/through").wait(WAIT).status == 200
        assert connection.request("GET", "/none").wait(WAIT).status == 404
        assert connection.request("HEAD", "/echo").wait(WAIT).status == 201
        assert connection.request("GET", "/pieces").wait(WAIT).ok
    server.close()


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


# -- failures ------------------------------------------------------------------------------------------------


def test_nobody_listens(plain_base: EventBase) -> None:
    """ConnectionRefusedError, for every request, each once, and never inside the call."""
    told: list[object] = []
    with Connection(plain_base, ("127.0.0.1", CLOSED_PORT)) as connection:
        for _ in range(3):
            connection.request("GET", "/", lambda request: told.append(type(request.error)))
        assert told == []
        plain_base.dispatch()
        assert told == [ConnectionRefusedError] * 3


def test_retries(plain_base: EventBase) -> None:
    """So many more attempts, each after twice the time of the one before; then one may succeed."""
    with socket.socket() as placeholder:
        placeholder.bind(("127.0.0.1", 0))
        address = placeholder.getsockname()
        request = Connection(plain_base, address, retries=3, retry_delay=0.01).request("GET", "/")
        with pytest.raises(ConnectionRefusedError):
            request.wait(WAIT)
        request = Connection(plain_base, address, retries=-1, retry_delay=0.01).request("GET", "/")
        with pytest.raises(TimeoutError):
            request.wait(0.05)
    with serving(address=address):
        assert request.wait(WAIT).text() == "ok"


def test_a_connect_that_takes_too_long(plain_base: EventBase) -> None:
    """TimeoutError, after connect_timeout."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):  # its backlog is full then, and further SYNs are not answered
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        request = Connection(plain_base, listener.getsockname(), connect_timeout=0.1).request("GET", "/")
        with pytest.raises(TimeoutError, match="no connection to"):
            request.wait(WAIT)


def test_a_server_that_says_nothing(plain_base: EventBase) -> None:
    """TimeoutError, read_timeout after the last byte; the next request goes over another connection."""
    count = iter(range(9))

    def script(sock: socket.socket) -> None:
        read_head(sock)
        if next(count) == 0:
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab")
            sock.recv(1)
        else:
            sock.sendall(OK)

    with (
        serving(script=script) as server,
        Connection(plain_base, server.address, read_timeout=0.1) as connection,
    ):
        first, second = connection.request("GET", "/"), connection.request("GET", "/")
        with pytest.raises(TimeoutError, match=r"nothing came from the server for 0\.1 s"):
            first.wait(WAIT)
        assert second.wait(WAIT).text() == "ok"


def test_a_server_that_takes_nothing(plain_base: EventBase) -> None:
    """TimeoutError, after write_timeout."""
    release = threading.Event()
    options: Any = {"write_timeout": 0.1, "read_timeout": None}
    with (
        serving(script=lambda sock: release.wait(WAIT)) as server,
        Connection(plain_base, server.address, **options) as connection,
    ):
        request = connection.request("POST", "/", body=b"x" * 20_000_000)
        with pytest.raises(TimeoutError, match=r"the server took nothing for 0\.1 s"):
            request.wait(WAIT)
        release.set()


def test_a_reset_connection(plain_base: EventBase) -> None:
    """ConnectionResetError."""

    def script(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\n")
        reset(sock)

    with serving(script=script) as server, pytest.raises(ConnectionResetError):
        fetch(plain_base, server.url).wait(WAIT)


def test_an_answer_that_comes_before_the_body_is_sent(plain_base: EventBase) -> None:
    """It counts; the connection is not used again."""

    def script(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(b"HTTP/1.1 413 Too much\r\nContent-Length: 2\r\n\r\nno")
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(1 << 16):
            pass

    with serving(script=script) as server, Connection(plain_base, server.address) as connection:
        response = connection.request("POST", "/", body=b"x" * 20_000_000).wait(WAIT)
        assert (response.status, response.text()) == (413, "no")
        assert connection.bufferevent is None


def test_expecting_100_continue(plain_base: EventBase, monkeypatch: pytest.MonkeyPatch) -> None:
    """The body goes out when the server says so, or says nothing; and not when it refuses."""
    monkeypatch.setattr("libevent_cffi.http.exchange._CONTINUE_WAIT", 0.1)
    seen: list[object] = []

    def script(sock: socket.socket) -> None:
        head = read_head(sock)
        if b"/refuse" in head:
            sock.sendall(b"HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n")
            seen.append(sock.recv(9))
            return
        if b"/please" in head:
            sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        seen.append(sock.recv(9))
        sock.sendall(OK)

    with serving(script=script) as server:
        for target, status in (("/please", 200), ("/refuse", 417), ("/silent", 200)):
            with Connection(plain_base, server.address) as connection:
                request = connection.request(
                    "POST", target, headers={"Expect": "100-continue"}, body=Buffer(b"the body")
                )
                assert request.wait(WAIT).status == status
    assert seen == [b"the body", b"", b"the body"]


def test_interim_responses_go_by(plain_base: EventBase) -> None:
    """103 is not taken for the response."""
    with serving(b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + OK) as server:
        response = fetch(plain_base, server.url).wait(WAIT)
    assert (response.status, response.text()) == (200, "ok")
    assert "link" not in response.headers


def test_limits_of_a_response(plain_base: EventBase) -> None:
    """DATA_TOO_LONG; with lingering_close after the rest was taken; None has no limit."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000
    with serving(answer) as server:
        for options in (
            {"max_body_size": 99_999},
            {"max_headers_size": 20},
            {"max_body_size": 1, "lingering_close": True},
        ):
            with pytest.raises(HTTPError, match="is longer than") as caught:
                fetch(plain_base, server.url, **options).wait(WAIT)  # type: ignore[arg-type]
            assert caught.value.kind is RequestErrorKind.DATA_TOO_LONG
        for limit in (100_000, None):
            assert len(fetch(plain_base, server.url, max_body_size=limit).wait(WAIT).body) == 100_000


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


# -- fetch ---------------------------------------------------------------------------------------------------


def to(location: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Go\r\nLocation: {location}\r\nContent-Length: 4\r\n\r\ngone".encode()


def test_redirects_are_followed_as_often_as_asked(plain_base: EventBase) -> None:
    """One more is the result; on_headers and on_chunk hear of the last response only."""
    pages = {"/a": to("/b?x"), "/b?x": to("c#f"), "/c": OK}
    told: list[object] = []
    with serving(lambda asked: pages[asked.target]) as server:
        request = fetch(
            *(plain_base, f"{server.url}/a"),
            follow_redirects=5,
            on_headers=lambda request: told.append(request.response.status),  # type: ignore[union-attr]
            on_chunk=lambda request, chunk: told.append(bytes(chunk)),
        )
        response = request.wait(WAIT)
        assert told == [200, b"ok"]
        assert str(response.url) == f"{server.url}/c#f"
        assert (fetch(plain_base, f"{server.url}/a", follow_redirects=1).wait(WAIT)).text() == "gone"
        assert (fetch(plain_base, f"{server.url}/a").wait(WAIT)).status == 302
        assert all(asked.headers["connection"] == "close" for asked in server.asked)


@pytest.mark.parametrize(
    ("status", "method", "then"),
    [
        *((301, "POST", "GET"), (302, "POST", "GET"), (303, "PUT", "GET"), (303, "HEAD", "HEAD")),
        *((307, "POST", "POST"), (308, "PUT", "PUT"), (302, "PUT", "PUT")),
    ],
)
def test_methods_across_redirects(plain_base: EventBase, status: int, method: str, then: str) -> None:
    """As browsers do it: 307 and 308 keep method and body."""
    body = b"" if method == "HEAD" else b"the body"
    with serving(lambda asked: to("/b", status) if asked.target == "/a" else OK) as server:
        if method == "HEAD":
            server.answer = lambda asked: (
                (to("/b", status) if asked.target == "/a" else OK).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
            )
        fetch(
            *(plain_base, f"{server.url}/a"),
            method=method,
            body=body,
            headers={"Content-Type": "text/x"},
            follow_redirects=1,
        ).wait(WAIT)
    asked = server.asked[1]
    assert (asked.method, asked.body) == (then, body if then == method else b"")
    assert ("content-type" in asked.headers) == (then == method)


def test_credentials_stay_with_their_server(plain_base: EventBase) -> None:
    """Authorization and cookies do not go to another one; those of a URL are sent."""
    with serving(OK) as other, serving(lambda asked: to(f"{other.url}/b")) as server:
        url = f"http://us%65r:pw@127.0.0.1:{server.address[1]}/a"
        fetch(plain_base, url, headers={"Cookie": "a=1", "X": "1"}, follow_redirects=1).wait(WAIT)
        assert server.asked[0].headers["authorization"] == "Basic dXNlcjpwdw=="
        assert server.asked[0].headers["cookie"] == "a=1"
        assert set(other.asked[0].headers) == {"host", "connection", "x"}


@pytest.mark.parametrize("location", ["ftp://h/", "http://[", "http:///x", "mailto:x"])
def test_a_redirect_that_cannot_be_followed_is_the_result(plain_base: EventBase, location: str) -> None:
    """Another scheme, no host, or no URI at all."""
    with serving(to(location)) as server:
        assert fetch(plain_base, server.url, follow_redirects=3).wait(WAIT).status == 302


def test_a_body_that_was_moved_is_sent_once(plain_base: EventBase) -> None:
    """Such a redirect is the result."""
    with serving(to("/b", 307)) as server:
        request = fetch(plain_base, server.url, method="POST", body=Buffer(b"x"), follow_redirects=1)
        assert request.wait(WAIT).status == 307


def test_a_redirect_to_where_nobody_is(plain_base: EventBase) -> None:
    """The request fails, once."""
    told: list[object] = []
    with serving(to(f"http://127.0.0.1:{CLOSED_PORT}/")) as server:
        request = fetch(plain_base, server.url, told.append, follow_redirects=1)
        plain_base.dispatch()
    assert told == [request]
    assert isinstance(request.error, ConnectionRefusedError)


# -- ending --------------------------------------------------------------------------------------------------


def test_closing_a_connection_cancels_its_requests(plain_base: EventBase) -> None:
    """The one that runs, and those that wait; on_close is not told of it."""
    told: list[object] = []
    with serving(script=lambda sock: sock.recv(1 << 16) and sock.recv(1)) as server:
        connection = Connection(plain_base, server.address, on_close=told.append)
        requests = [connection.request("GET", "/", told.append) for _ in range(3)]
        with pytest.raises(TimeoutError):
            requests[0].wait(0.1)
        connection.close()
        connection.close()
        assert connection.closed
        assert told == []
        plain_base.dispatch()
        assert told == requests
        assert all(request.cancelled for request in requests)
        with pytest.raises(ClosedError):
            connection.request("GET", "/")
        assert repr(connection) == "<Connection closed>"


def test_closing_the_base_cancels_everything() -> None:
    """In every state: not begun, connecting, waiting, and in a callback."""
    told: list[object] = []
    with serving(script=lambda sock: sock.recv(1 << 16) and sock.recv(1)) as server:
        for begun in (False, True):
            base = EventBase()
            requests = [Connection(base, server.address).request("GET", "/", told.append) for _ in range(2)]
            if begun:
                with pytest.raises(TimeoutError):
                    requests[0].wait(0.05)
            base.close()
            assert told == requests or set(map(id, told)) == set(map(id, requests))
            assert all(request.cancelled for request in requests)
            told.clear()
    with serving() as server:
        base = EventBase()
        connection = Connection(base, server.address)
        connection.request("GET", "/", on_headers=lambda request: base.close())
        base.dispatch()
        assert base.closed
        assert connection.closed
        connection.close()


def test_closing_both_in_a_callback() -> None:
    """The base first, then the connection: every request is told once all the same."""
    told: list[object] = []
    with serving() as server:
        base = EventBase()
        connection = Connection(base, server.address)

        def close(request: ClientRequest) -> None:
            base.close()
            connection.close()

        requests = [connection.request("GET", "/", told.append, on_headers=close) for _ in range(2)]
        base.dispatch()
        assert sorted(map(id, told)) == sorted(map(id, requests))
        assert all(request.cancelled for request in requests)


def test_cancelling_a_request_that_waits(plain_base: EventBase) -> None:
    """It leaves the queue; the others run."""
    with serving(echo) as server, Connection(plain_base, server.address) as connection:
        first, second, third = (connection.request("GET", f"/{n}") for n in range(3))
        assert second.cancel()
        assert connection.pending == (first, third)
        assert third.wait(WAIT).text() == "GET /2 "
        assert [asked.target for asked in server.asked] == ["/0", "/2"]
        only = connection.request("GET", "/only")
        assert only.cancel()
        plain_base.dispatch()
        assert connection.request("GET", "/x").wait(WAIT).text() == "GET /x "


def test_cancelling_while_connecting(plain_base: EventBase) -> None:
    """The attempt ends with its last request."""
    with socket.socket() as placeholder:
        placeholder.bind(("127.0.0.1", 0))
        with Connection(plain_base, placeholder.getsockname(), retries=-1, retry_delay=0.01) as connection:
            request = connection.request("GET", "/")
            plain_base.call_later(0.03, request.cancel)
            plain_base.dispatch()
            assert request.cancelled


def test_another_thread_is_refused(plain_base: EventBase) -> None:
    """WrongThreadError, and nothing is changed; call_soon_threadsafe() has it done."""
    failures: list[object] = []
    with serving(echo) as server, Connection(plain_base, server.address) as connection:
        request = connection.request("GET", "/")

        def work() -> None:
            for call in (lambda: connection.request("GET", "/"), request.cancel, connection.close):
                try:
                    call()
                except WrongThreadError as error:
                    failures.append(error)
            plain_base.call_soon_threadsafe(connection.request, "GET", "/", failures.append)

        plain_base.call_soon(lambda: (thread.start(), thread.join()))
        thread = threading.Thread(target=work)
        plain_base.dispatch()
        assert request.result().status == 200
        assert len(failures) == 4
        assert not connection.closed


def test_a_failure_that_nobody_asked_for_is_logged(
    plain_base: EventBase, caplog: pytest.LogCaptureFixture
) -> None:
    """As of every operation."""
    Connection(plain_base, ("127.0.0.1", CLOSED_PORT)).request("GET", "/")
    plain_base.dispatch()
    gc.collect()
    gc.collect()
    assert "ClientRequest failed, and nobody asked for its result" in caplog.text


def test_a_dropped_base_is_freed_with_its_connections() -> None:
    """Whatever they were doing."""
    with serving(script=lambda sock: sock.recv(1 << 16) and sock.recv(1)) as server:
        before = util.memory_counters().blocks
        for _ in range(3):
            base = EventBase()
            for _ in range(2):
                connection = Connection(base, server.address)
                connection.request("GET", "/")
            with pytest.raises(TimeoutError):
                connection.request("GET", "/").wait(0.02)
            reference = weakref.ref(base)
            del base, connection
            for _ in range(4):
                gc.collect()
            assert reference() is None
        assert util.memory_counters().blocks <= before + 2


FORK = """
import os, sys, warnings
from libevent_cffi import EventBase
from libevent_cffi.http import Connection
warnings.simplefilter("ignore", DeprecationWarning)  # the server's threads matter to nobody in the child
sys.path.insert(0, {tests!r})
from httpserver import serving, Asked

def answer(asked):
    return b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(asked.target) + asked.target.encode()

with serving(answer) as server:
    base = EventBase()
    connection = Connection(base, server.address)
    print(connection.request("GET", "/1").wait(10).text(), flush=True)
    child = os.fork()
    if child == 0:
        print(connection.request("GET", "/child").wait(10).text(), flush=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    print(connection.request("GET", "/2").wait(10).text(), flush=True)
    print(server.connections)
    connection.close()
    base.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork()")
def test_a_forked_child_makes_a_connection_of_its_own() -> None:
    """And leaves that of its parent as it was."""
    code = FORK.format(tests=os.path.dirname(__file__))
    assert output_of(code).split() == ["/1", "/child", "/2", "2"]
