"""The HTTP client: requests and responses, whole and in pieces."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

import http_asking
import pytest
from http_asking import CLOSED_PORT, WAIT, body_of, echo
from httpserver import read_head, serving

from libevent_cffi import Buffer, EventBase, http
from libevent_cffi.errors import CancelledError, HTTPError
from libevent_cffi.http import URI, ClientRequest, Connection, Response, fetch

descriptors_are_closed = http_asking.descriptors_are_closed


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
