"""HTTP servers: requests and answers, over real sockets."""

from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Iterator
from typing import Any, Optional

import pytest
from http_peer import DEADLINE, Client, ask, exchange, get, read_all, read_head, split

from libevent_cffi import EventBase
from libevent_cffi.buffer import Buffer
from libevent_cffi.errors import ClosedError
from libevent_cffi.http import Request, Server, fetch


@pytest.fixture
def server(base: EventBase) -> Iterator[Server]:
    """A server without a handler."""
    with Server(base) as made:
        yield made


@pytest.fixture
def one(plain_base: EventBase) -> Iterator[Server]:
    """The same on one base only."""
    with Server(plain_base) as made:
        yield made


# -- answers -------------------------------------------------------------------------------------------------


def test_a_handler_answers(base: EventBase, server: Server) -> None:
    """With status, headers and body."""

    def handle(request: Request) -> None:
        request.reply(201, b"made", headers={"X-Name": "value"}, reason="Well Made", content_type="a/b")

    server.handler = handle
    answer = ask(base, server, get("/x"))
    assert answer.startswith(b"HTTP/1.1 201 Well Made\r\n")
    status, headers, body = split(answer)
    assert (status, body) == (201, b"made")
    assert (headers["X-Name"], headers["Content-Type"]) == ("value", "a/b")
    assert headers["Content-Length"] == "4"


def test_a_request_tells_what_the_client_wants(plain_base: EventBase, one: Server) -> None:
    """Line, headers, query, host and addresses."""
    seen: dict[str, Any] = {}

    def handle(request: Request) -> None:
        seen.update(
            method=request.method,
            target=request.target,
            path=request.path,
            raw=request.uri.path,
            query=request.query.multi_items(),
            host=request.host,
            version=request.version,
            header=request.headers["x-NAME"],
            peer=request.peer_address,
            local=request.connection.local_address,
            server=request.server,
            same=request.connection == request.connection,
            body=bytes(request.body),
            answered=request.answered,
        )
        request.reply()

    one.handler = handle
    data = b"POST /a%20b?x=1&y=%C3%A9&x=2 HTTP/1.1\r\nHost: example.org:8080\r\nX-Name: v\r\n"
    ask(plain_base, one, data + b"Connection: close\r\nContent-Length: 3\r\n\r\nabc")
    assert seen["peer"][0] == seen["local"][0] == "127.0.0.1"
    del seen["peer"], seen["local"]
    assert seen == {
        "method": "POST",
        "target": "/a%20b?x=1&y=%C3%A9&x=2",
        "path": "/a b",
        "raw": "/a%20b",
        "query": [("x", "1"), ("y", "é"), ("x", "2")],
        "host": "example.org",
        "version": (1, 1),
        "header": "v",
        "server": one,
        "same": True,
        "body": b"abc",
        "answered": False,
    }


@pytest.mark.parametrize(
    ("body", "expected", "kind"),
    [
        (b"bytes", b"bytes", None),
        ("é", "é".encode(), "text/plain; charset=utf-8"),
        (bytearray(b"array"), b"array", None),
        (memoryview(b"view"), b"view", None),
        (b"x" * 100000, b"x" * 100000, None),
        (b"", b"", None),
    ],
)
def test_bodies(plain_base: EventBase, one: Server, body: Any, expected: bytes, kind: Optional[str]) -> None:
    """Anything with bytes in it, and text."""
    one.handler = lambda request: request.reply(200, body)
    status, headers, got = split(ask(plain_base, one, get()))
    assert (status, got, headers.get("Content-Type")) == (200, expected, kind)


def test_a_buffer_as_body_is_emptied(plain_base: EventBase, one: Server) -> None:
    """It is moved, not copied."""
    body = Buffer(b"moved")
    one.handler = lambda request: request.reply(200, body)
    assert split(ask(plain_base, one, get()))[2] == b"moved"
    assert len(body) == 0


def test_json(plain_base: EventBase, one: Server) -> None:
    """Both ways."""
    one.handler = lambda request: request.reply_json({"got": request.json()}, 202)
    data = get("/", "Content-Length: 7", method="POST") + b'{"a":1}'
    status, headers, body = split(ask(plain_base, one, data))
    assert (status, json.loads(body)) == (202, {"got": {"a": 1}})
    assert headers["Content-Type"] == "application/json"


def test_text_is_decoded_by_its_charset(plain_base: EventBase, one: Server) -> None:
    """UTF-8 where nothing is said."""
    texts = []

    def handle(request: Request) -> None:
        texts.append(request.text())
        request.reply()

    one.handler = handle
    ask(plain_base, one, get("/", "Content-Length: 2", method="POST") + "é".encode())
    kind = 'Content-Type: text/plain; charset="latin-1"'
    ask(plain_base, one, get("/", kind, "Content-Length: 1", method="POST") + b"\xe9")
    assert texts == ["é", "é"]


def test_redirect_and_error(plain_base: EventBase, one: Server) -> None:
    """Short forms of reply()."""
    one.route("/r", lambda request: request.redirect("/there?a=<b>", 303))
    one.route("/e", lambda request: request.error(418, "Tea & <b>"))
    status, headers, _ = split(ask(plain_base, one, get("/r")))
    assert (status, headers["Location"]) == (303, "/there?a=<b>")
    answer = ask(plain_base, one, get("/e"))
    assert answer.startswith(b"HTTP/1.1 418 Tea & <b>\r\n")
    assert b"<h1>418 Tea &amp; &lt;b&gt;</h1>" in answer


def test_response_headers_go_with_any_answer(plain_base: EventBase, one: Server) -> None:
    """An answer's own take the place of those of the same name."""

    def handle(request: Request) -> None:
        request.response_headers["X-One"] = "1"
        request.response_headers["X-Two"] = "2"
        request.reply(200, b"", headers=[("x-two", "two")])

    one.handler = handle
    headers = split(ask(plain_base, one, get()))[1]
    assert headers.get_list("x-one") == ["1"]
    assert headers.get_list("x-two") == ["two"]


@pytest.mark.parametrize("status", [200, 404])
def test_head_gets_the_length_and_no_body(plain_base: EventBase, one: Server, status: int) -> None:
    """So that the next answer is not taken for the body of this one."""
    one.handler = lambda request: request.reply(status, b"12345")
    code, headers, body = split(ask(plain_base, one, get(method="HEAD")))
    assert (code, headers["Content-Length"], body) == (status, "5", b"")


@pytest.mark.parametrize("status", [204, 304])
def test_no_body_goes_with_such_a_status(plain_base: EventBase, one: Server, status: int) -> None:
    """204 and 304 have none."""
    one.handler = lambda request: request.reply(status, b"12345")
    code, headers, body = split(ask(plain_base, one, get()))
    assert (code, body) == (status, b"")
    assert "Transfer-Encoding" not in headers


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"headers": {"X": "a\r\nEvil: 1"}}, ValueError),
        ({"headers": {"X": "a\0Evil\0b"}}, ValueError),
        ({"headers": {"X: y\r\nEvil": "1"}}, ValueError),
        ({"headers": {"": "1"}}, ValueError),
        ({"headers": {"X": 1}}, TypeError),
        ({"headers": "no"}, TypeError),
        ({"reason": "a\r\nEvil: 1"}, ValueError),
        ({"reason": "a\0"}, ValueError),
        ({"reason": 3}, TypeError),
        ({"content_type": "a\nEvil: 1"}, ValueError),
        ({"status": 99}, ValueError),
        ({"status": 1000}, ValueError),
        ({"status": True}, TypeError),
        ({"status": "200"}, TypeError),
        ({"body": 3}, TypeError),
        ({"headers": {"Content-Length": "3"}, "body": b"four"}, ValueError),
        ({"headers": {"Content-Length": "-1"}}, ValueError),
        ({"headers": {"Transfer-Encoding": "chunked"}}, ValueError),
    ],
)
def test_what_cannot_be_sent_is_refused(
    plain_base: EventBase, one: Server, arguments: dict[str, Any], error: type[Exception]
) -> None:
    """Nothing of it is sent, and another answer can be."""
    raised = []

    def handle(request: Request) -> None:
        try:
            request.reply(**arguments)
        except Exception as caught:
            raised.append(type(caught))
        request.reply(200, b"fine")

    one.handler = handle
    answer = ask(plain_base, one, get())
    assert len(raised) == 1
    assert issubclass(raised[0], error)
    assert split(answer)[2] == b"fine"
    assert b"Evil" not in answer


def test_an_answer_is_given_once(plain_base: EventBase, one: Server) -> None:
    """A second one is ClosedError, and the first is what the client gets."""
    errors = []

    def handle(request: Request) -> None:
        request.reply(200, b"one")
        for again in (request.reply, request.start, request.defer, request.end):
            with pytest.raises(ClosedError) as caught:
                again()  # type: ignore[operator]
            errors.append(str(caught.value))
        assert request.answered
        assert request.closed

    one.handler = handle
    assert split(ask(plain_base, one, get()))[2] == b"one"
    assert len(errors) == 4
    assert "answered already" in errors[0]


def test_keep_alive_and_pipelining(base: EventBase, server: Server) -> None:
    """Requests on one connection are answered in order."""
    server.handler = lambda request: request.reply(200, request.path)
    first = b"".join(b"GET /item%d HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in range(5))
    answer = ask(base, server, first + get("/last"))
    assert answer.count(b"HTTP/1.1 200") == 6
    places = [answer.index(b"/item%d" % n) for n in range(5)]
    assert places == sorted(places)
    assert answer.endswith(b"/last")


def test_requests_as_a_proxy_gets_them(base: EventBase, server: Server) -> None:
    """The connection is kept, or told to end, as for any other request."""
    server.handler = lambda request: request.reply(200, request.target)
    first = b"GET http://one.example/ HTTP/1.1\r\nHost: one.example\r\n\r\n"
    answer = ask(base, server, first + get("http://other.example/"))
    assert answer.count(b"HTTP/1.1 200") == 2
    assert answer.count(b"Connection: close") == 1
    assert answer.endswith(b"http://other.example/")


def test_http_1_0(plain_base: EventBase, one: Server) -> None:
    """The connection ends after the answer."""
    one.handler = lambda request: request.reply(200, b"old")
    status, _, body = split(ask(plain_base, one, b"GET / HTTP/1.0\r\n\r\n"))
    assert (status, body) == (200, b"old")


# -- handlers that fail --------------------------------------------------------------------------------------


def test_a_handler_that_raises_answers_500(
    base: EventBase, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and the server goes on."""

    def handle(request: Request) -> None:
        if request.path == "/bad":
            raise RuntimeError("what the log says")
        request.reply(200, b"fine")

    server.handler = handle
    with caplog.at_level(logging.ERROR, "libevent"):
        assert split(ask(base, server, get("/bad")))[0] == 500
    assert "what the log says" in caplog.text
    assert "GET /bad" in caplog.text
    assert split(ask(base, server, get("/good")))[2] == b"fine"


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding"])
def test_headers_for_another_body_do_not_keep_an_error_from_its_client(
    plain_base: EventBase, one: Server, name: str
) -> None:
    """A handler that set them and raised, or whose own answer they spoiled, has 500 answered."""

    def handle(request: Request) -> None:
        request.response_headers[name] = "1"
        request.reply(200, b"more than one byte")

    one.handler = handle
    assert split(ask(plain_base, one, get()))[0] == 500


def test_a_handler_that_forgets_to_answer_answers_500(
    plain_base: EventBase, one: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """Also when it has kept the request."""
    kept = []
    one.handler = kept.append
    with caplog.at_level(logging.ERROR, "libevent"):
        assert split(ask(plain_base, one, get()))[0] == 500
    assert "returned without reply() or defer()" in caplog.text
    with pytest.raises(ClosedError):
        kept[0].reply()


def test_raising_after_the_answer_is_logged_only(
    plain_base: EventBase, one: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """The client has its answer."""

    def handle(request: Request) -> None:
        request.reply(200, b"fine")
        raise RuntimeError("too late")

    one.handler = handle
    with caplog.at_level(logging.ERROR, "libevent"):
        assert split(ask(plain_base, one, get()))[:3:2] == (200, b"fine")
    assert "too late" in caplog.text


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ends_a_program_leaves_the_loop(
    plain_base: EventBase, one: Server, error: type[BaseException]
) -> None:
    """The request is answered 500 by the next loop."""

    def handle(request: Request) -> None:
        raise error

    one.handler = handle
    client = Client(plain_base, one.bind(("127.0.0.1", 0)).address, exchange(get()))
    with pytest.raises(error):
        client.finish()
    assert split(client.finish())[0] == 500


def test_no_handler_is_404(plain_base: EventBase, one: Server) -> None:
    """And a route that is taken away is none any more."""
    one.route("/here", lambda request: request.reply(200, b"here"))
    assert split(ask(plain_base, one, get("/there")))[0] == 404
    assert split(ask(plain_base, one, get("/here?x=1")))[2] == b"here"
    one.remove_route("/here")
    assert split(ask(plain_base, one, get("/here")))[0] == 404
    with pytest.raises(KeyError):
        one.remove_route("/here")


def test_routes(plain_base: EventBase, one: Server) -> None:
    """By the decoded path, and by a decorator."""

    @one.route("/a b")
    def handle(request: Request) -> None:
        request.reply(200, b"found")

    assert split(ask(plain_base, one, get("/a%20b")))[2] == b"found"
    assert split(ask(plain_base, one, get("/a%20b%00c")))[0] == 404
    with pytest.raises(ValueError, match="already"):
        one.route("/a b", handle)
    with pytest.raises(ValueError, match="begins with"):
        one.route("a", handle)
    with pytest.raises(TypeError):
        one.route("/c", 3)  # type: ignore[call-overload]


# -- later ---------------------------------------------------------------------------------------------------


def test_an_answer_may_come_later(base: EventBase, server: Server) -> None:
    """After defer(), from any callback, though nobody keeps the request."""

    def handle(request: Request) -> None:
        request.defer()
        base.call_later(0.01, request.reply, 200, b"late")

    server.handler = handle
    assert split(ask(base, server, get()))[2] == b"late"


def test_on_complete_is_told(base: EventBase, server: Server) -> None:
    """When all was written."""
    told = []

    def handle(request: Request) -> None:
        request.on_complete = lambda request: told.append(("complete", request.path))
        request.on_close = lambda request: told.append(("close", request.path))
        request.reply(200, b"x" * 300000)

    server.handler = handle
    ask(base, server, get("/p"))
    assert told == [("complete", "/p")]


def leave_at_once(sock: socket.socket) -> None:
    sock.sendall(b"GET /p HTTP/1.1\r\nHost: x\r\n\r\n")


def test_the_status_of_an_answer_is_told(plain_base: EventBase, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever gave it: a handler, or the server for one that raised or is missing; None before."""
    told: list[Any] = []

    def complete(request: Request) -> None:
        told.append((request.path, request.status))
        plain_base.call_soon(over, request)

    def over(request: Request) -> None:
        with pytest.raises(ClosedError):
            request.status  # noqa: B018

    def first(request: Request) -> None:
        assert request.status is None
        request.on_complete = complete

    with Server(plain_base, on_request=first) as server:
        server.route("/made", lambda request: request.reply(201))
        server.route("/fails", lambda request: 1 / 0)
        port = server.bind(("127.0.0.1", 0)).port
        for path in ("/made", "/fails", "/missing"):
            fetch(plain_base, f"http://127.0.0.1:{port}{path}").wait(DEADLINE)
        plain_base.poll()
    assert told == [("/made", 201), ("/fails", 500), ("/missing", 404)]


def test_a_client_that_leaves_is_told_at_once(base: EventBase, server: Server) -> None:
    """While the answer is deferred; sending is BrokenPipeError then."""
    told: list[Any] = []

    def left(request: Request) -> None:
        told.append((request.path, request.client_gone, request.closed))
        with pytest.raises(BrokenPipeError):
            request.reply(200, b"late")
        base.loop_exit()

    def handle(request: Request) -> None:
        request.on_close = left
        request.on_complete = lambda request: told.append("complete")
        request.defer()

    server.handler = handle
    bound = server.bind(("127.0.0.1", 0))
    with socket.create_connection(bound.address) as sock:
        leave_at_once(sock)
        base.call_later(0.05, sock.close)
        base.call_later(DEADLINE, base.loop_exit)
        base.dispatch()
    assert told == [("/p", True, True)]


def test_a_client_that_only_stops_sending_gets_its_answer(plain_base: EventBase, one: Server) -> None:
    """It looks like one that left, and is told; the answer is sent all the same."""
    told = []

    def left(request: Request) -> None:
        told.append(request)
        with pytest.raises(BrokenPipeError):
            request.reply(200, b"late")

    def handle(request: Request) -> None:
        request.on_close = request.on_complete = left
        request.defer()

    one.handler = handle

    def talk(sock: socket.socket) -> bytes:
        sock.sendall(get())
        sock.shutdown(socket.SHUT_WR)
        return read_all(sock)

    answer = Client(plain_base, one.bind(("127.0.0.1", 0)).address, talk).finish()
    assert split(answer)[2] == b"late"
    plain_base.poll()
    assert len(told) == 1


@pytest.mark.parametrize("is_shown", [False, True])
def test_so_does_one_that_reads_nothing_yet(plain_base: EventBase, one: Server, is_shown: bool) -> None:
    """However small the answer is that its full socket does not take."""
    complete: list[Request] = []

    def handle(request: Request) -> None:
        if is_shown:
            assert request.connection.bufferevent.fileno() >= 0
        request.on_complete = complete.append
        request.reply(200, b"x" * 8000)

    one.handler = handle
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 100000)
    count = 0
    with socket.create_connection(one.accept(listening).address, DEADLINE) as sock:
        while len(complete) == count:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            count += 1
            for _ in range(20):
                plain_base.poll(0.01)
                if len(complete) == count:
                    break
        sock.shutdown(socket.SHUT_WR)
        for _ in range(5):
            plain_base.poll(0.01)
        sock.setblocking(False)
        answers = b""
        part: Optional[bytes] = None
        while part != b"":
            plain_base.poll(0.01)
            try:
                part = sock.recv(65536)
                answers += part
            except BlockingIOError:
                continue
    assert answers.count(b"x" * 8000) == count == len(complete)


def test_reply_timeout(plain_base: EventBase, one: Server) -> None:
    """A deferred request that is forgotten has 503 answered."""
    one.reply_timeout = 0.05
    one.handler = lambda request: request.defer()
    assert split(ask(plain_base, one, get()))[0] == 503


def test_giving_up_closes_the_connection(plain_base: EventBase, one: Server) -> None:
    """Nothing is answered."""
    told: list[Request] = []

    def handle(request: Request) -> None:
        request.on_close = told.append
        request.close()
        request.close()
        assert request.closed
        with pytest.raises(BrokenPipeError):
            request.reply()

    one.handler = handle
    assert ask(plain_base, one, get()) == b""
    assert told == []


# -- streams -------------------------------------------------------------------------------------------------


def test_a_body_in_pieces(base: EventBase, server: Server) -> None:
    """Each goes out when the one before was written."""

    def send(request: Request, n: int) -> None:
        if n == 5:
            request.end()
            return
        request.send_chunk(f"<{n}>", send, n + 1)

    def handle(request: Request) -> None:
        request.start(200, content_type="text/plain", headers={"X": "y"})
        assert request.answered
        assert not request.closed
        send(request, 0)

    server.handler = handle
    status, headers, body = split(ask(base, server, get()))
    assert (status, headers["Transfer-Encoding"], headers["X"]) == (200, "chunked", "y")
    assert body == b"".join(b"3\r\n<%d>\r\n" % n for n in range(5)) + b"0\r\n\r\n"


def test_every_callback_of_a_piece_is_called(plain_base: EventBase, one: Server) -> None:
    """Though libevent has but one for all, and an empty piece has none."""
    told = []

    def handle(request: Request) -> None:
        request.start()
        request.send_chunk(b"a", lambda _, n: told.append(n), 1)
        request.send_chunk(b"b", lambda _, n: told.append(n), 2)
        request.send_chunk(Buffer(b""), lambda _, n: told.append(n), 3)
        request.send_chunk(Buffer(b"c"), lambda request, n: request.end(), 4)

    one.handler = handle
    body = split(ask(plain_base, one, get()))[2]
    assert body.replace(b"\r\n", b"") == b"1a1b1c0"
    assert told == [1, 2, 3]


def test_a_length_that_is_told_is_kept(plain_base: EventBase, one: Server) -> None:
    """More is ValueError; less closes the connection."""

    def handle(request: Request) -> None:
        request.start(headers={"Content-Length": "4"})
        request.send_chunk(b"abc")
        with pytest.raises(ValueError, match="Content-Length"):
            request.send_chunk(b"de")
        if request.path == "/whole":
            request.send_chunk(b"d")
            request.end()
        else:
            with pytest.raises(ValueError, match="Content-Length"):
                request.end()

    one.handler = handle
    assert split(ask(plain_base, one, get("/whole")))[2] == b"abcd"
    assert not ask(plain_base, one, b"GET / HTTP/1.1\r\n\r\n").endswith(b"abcd")


@pytest.mark.parametrize("sent", [4, 3])
def test_a_client_need_not_wait_for_end(base: EventBase, server: Server, sent: int) -> None:
    """One that leaves with all that Content-Length said has left after the answer; before, it is lost."""
    told: list[str] = []

    def left(request: Request, how: str) -> None:
        told.append(how)
        assert request.closed
        base.call_soon(end, request)

    def end(request: Request) -> None:
        if sent < 4:
            with pytest.raises(BrokenPipeError):
                request.end()
        else:
            request.end()
            with pytest.raises(ClosedError, match="answered already"):
                request.end()
        assert request.client_gone == (sent < 4)
        told.append("ended")

    def handle(request: Request) -> None:
        request.on_complete = lambda request: left(request, "complete")
        request.on_close = lambda request: left(request, "close")
        request.start(headers={"Content-Length": "4"})
        request.send_chunk(b"abcd"[:sent])

    server.handler = handle

    def talk(sock: socket.socket) -> bytes:
        sock.sendall(get())
        return read_head(sock) + sock.recv(sent, socket.MSG_WAITALL)

    answer = Client(base, server.bind(("127.0.0.1", 0)).address, talk).finish()
    limit = time.monotonic() + DEADLINE
    while "ended" not in told:
        assert time.monotonic() < limit
        base.poll(1)
    assert answer.endswith(b"abcd"[:sent])
    assert told == ["complete" if sent == 4 else "close", "ended"]


@pytest.mark.parametrize("keep", ["close", "keep-alive"])
def test_a_stream_to_http_1_0_ends_with_the_connection(plain_base: EventBase, one: Server, keep: str) -> None:
    """Also when the client asked to keep it."""

    def handle(request: Request) -> None:
        request.start()
        request.send_chunk(b"abc")
        request.end()

    one.handler = handle
    data = f"GET / HTTP/1.0\r\nConnection: {keep}\r\n\r\n".encode()
    _, headers, body = split(ask(plain_base, one, data))
    assert body == b"abc"
    assert "keep-alive" not in headers.get_list("Connection")


def test_a_stream_that_raises_ends_the_connection(
    plain_base: EventBase, one: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """The client sees that it is not whole."""

    def fail(request: Request) -> None:
        raise RuntimeError("in the middle")

    def handle(request: Request) -> None:
        request.start()
        request.send_chunk(b"abc", fail)

    one.handler = handle
    with caplog.at_level(logging.ERROR, "libevent"):
        answer = ask(plain_base, one, get())
    assert not answer.endswith(b"0\r\n\r\n")
    assert "in the middle" in caplog.text


def test_no_timeout_cuts_a_stream_that_pauses(plain_base: EventBase, one: Server) -> None:
    """Nor one while the answer is deferred."""
    one.timeout = 0.1

    def go_on(request: Request) -> None:
        request.start()
        request.send_chunk(b"abc")
        plain_base.call_later(0.3, request.end)

    def handle(request: Request) -> None:
        request.defer()
        plain_base.call_later(0.3, go_on, request)

    one.handler = handle
    assert split(ask(plain_base, one, get()))[2] == b"3\r\nabc\r\n0\r\n\r\n"


def test_a_stream_stops_when_the_client_leaves(base: EventBase, server: Server) -> None:
    """on_close is told, and sending is BrokenPipeError."""
    told: list[Any] = []

    def left(request: Request) -> None:
        with pytest.raises(BrokenPipeError):
            request.send_chunk(b"more")
        told.append(request.unsent)
        base.loop_exit()

    def more(request: Request) -> None:
        request.send_chunk(b"x" * 1000, more)

    def handle(request: Request) -> None:
        request.on_close = left
        request.start()
        more(request)

    server.handler = handle
    bound = server.bind(("127.0.0.1", 0))
    with socket.create_connection(bound.address) as sock:
        leave_at_once(sock)
        base.call_later(0.05, sock.close)
        base.call_later(DEADLINE, base.loop_exit)
        base.dispatch()
    assert told == [0]
