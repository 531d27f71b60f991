"""The HTTP client against servers that know how it works, and users who close what it works with."""

from __future__ import annotations

import os
import socket
from typing import Any

import pytest
from httpserver import OK, Asked, read_head, serving

from libevent_cffi import Buffer, BufferEvent, EventBase, util
from libevent_cffi.bufferevent import FilterBufferEvent
from libevent_cffi.errors import CancelledError, ClosedError, HTTPError
from libevent_cffi.http import ClientRequest, Connection, Request, Server, fetch
from libevent_cffi.http.reader import DATA, HEAD, ResponseReader
from libevent_cffi.http.response import decode_body

WAIT = 15.0


# -- memory --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", [b"Content-Length: 5000", b"X: until closed"])
def test_a_body_that_comes_byte_by_byte_takes_no_more_memory(head: bytes) -> None:
    """Each byte comes in memory of its own, a thousand times as large, which is not kept with it."""
    reader = ResponseReader("GET")
    assert reader.step(Buffer(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % head)) == HEAD
    received = Buffer()
    before = util.memory_counters().bytes
    for _ in range(5000):
        received.add(b"x")
        assert reader.step(received) == DATA
    assert bytes(reader.data) == b"x" * 5000
    assert util.memory_counters().bytes - before < 50_000


@pytest.mark.parametrize("charset", ["punycode", "Puny_Code", "idna", "undefined", "unicode-escape", "zlib"])
def test_a_charset_is_one_of_texts(charset: str) -> None:
    """Others that Python knows take quadratic time, or refuse what is malformed: it is UTF-8 then."""
    for body in (b"-" + b"9" * 1_000_000, b"\xff\\q"):
        text = decode_body(body, f"text/plain; charset={charset}")
        assert text == body.decode("utf-8", "replace")


def test_json_that_is_nested_too_deep_is_a_valueerror(plain_base: EventBase) -> None:
    """As any other that cannot be read, to a client and to a server."""

    def handler(request: Request) -> None:
        with pytest.raises(ValueError, match="too deep"):
            request.json()
        with pytest.raises(LookupError):
            request.text()
        request.reply(200, bytes(request.body))

    with Server(plain_base, handler) as server:
        url = f"http://127.0.0.1:{server.bind(('127.0.0.1', 0)).port}/"
        headers = {"Content-Type": "text/plain; charset=punycode"}
        response = fetch(plain_base, url, method="POST", body=b"[" * 200_000, headers=headers).wait(WAIT)
    with pytest.raises(ValueError, match="too deep"):
        response.json()


# -- what was not asked for ----------------------------------------------------------------------------------


def flood(sock: socket.socket) -> None:
    """Send until nobody takes it any more."""
    while True:
        sock.sendall(bytes(65536))


@pytest.mark.parametrize("how", ["fetch", "connection"])
def test_another_protocol_unasked_is_an_error(plain_base: EventBase, how: str) -> None:
    """A status of 101 to who has not sent Upgrade fails the request, and ends the connection."""

    def script(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(b"HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
        flood(sock)

    told: list[ClientRequest] = []
    with serving(script=script) as server:
        connection = Connection(plain_base, server.address)
        if how == "fetch":
            fetch(plain_base, server.url, told.append)
        else:
            connection.request("GET", "/", told.append)
        plain_base.dispatch()
        connection.close()
    assert [type(request.error) for request in told] == [HTTPError]
    assert "unasked" in str(told[0].error)


@pytest.mark.parametrize("method", ["GET", "CONNECT"])
def test_a_tunnel_that_nobody_can_use_is_closed(plain_base: EventBase, method: str) -> None:
    """fetch() has no connection to take it from: what comes in it would be read for ever."""

    def script(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(b"HTTP/1.1 %d Go\r\n\r\n" % (101 if method == "GET" else 200))
        flood(sock)

    told: list[ClientRequest] = []
    with serving(script=script) as server:
        fetch(plain_base, server.url, told.append, method=method, headers={"Upgrade": "x"})
        plain_base.dispatch()
    assert told[0].result().status == (101 if method == "GET" else 200)


@pytest.mark.parametrize(
    ("location", "asked"),
    [
        (b"/a b", "/a%20b"),
        (b"/x HTTP/1.1", "/x%20HTTP/1.1"),
        (b"?\xc3\xbc=\xff", "/?%C3%BC=%FF"),
        (b"/a\tb\x7f\x01", "/a%09b%7F%01"),
        (b"/%20", "/%20"),
    ],
)
def test_a_redirect_cannot_break_the_request_line(plain_base: EventBase, location: bytes, asked: str) -> None:
    """What cannot stand there is encoded, as browsers do."""

    def answer(request: Asked) -> bytes:
        if request.target != "/":
            return OK
        return b"HTTP/1.1 302 Go\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % location

    with serving(answer) as server:
        response = fetch(plain_base, f"{server.url}/", follow_redirects=1).wait(WAIT)
    assert response.status == 200
    assert [each.target for each in server.asked] == ["/", asked]
    assert response.url.path is not None
    assert str(response.url) == server.url + asked


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no UNIX sockets")
def test_a_server_cannot_lead_to_a_unix_socket(plain_base: EventBase, tmp_path: Any) -> None:
    """Who listens there trusts this machine's users, and no server on the net: the redirect is the result."""
    paths = [os.fspath(tmp_path / name) for name in ("one", "two")]
    one, two = (f"http+unix://{path.replace('/', '%2F')}" for path in paths)

    def answer(request: Asked) -> bytes:
        place = {"/two": two, "/one": one}.get(request.target)
        if place is None:
            return OK
        return f"HTTP/1.1 302 Go\r\nLocation: {place}/\r\nContent-Length: 0\r\n\r\n".encode()

    unix = {"family": socket.AF_UNIX}
    with (
        serving(answer) as server,
        serving(answer, address=paths[0], **unix),
        serving(answer, address=paths[1], **unix) as other,
    ):
        for url, status in ((f"{server.url}/one", 302), (f"{one}/two", 302), (f"{one}/one", 200)):
            assert fetch(plain_base, url, follow_redirects=2).wait(WAIT).status == status
    assert other.asked == []


# -- the user's own ------------------------------------------------------------------------------------------


def slowly(sock: socket.socket) -> None:
    """Answer with a beginning; the rest is sent when something else has come."""
    read_head(sock)
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
    sock.recv(1)


def at_once(sock: socket.socket) -> None:
    read_head(sock)
    sock.sendall(OK)


@pytest.mark.parametrize("how", ["close", "flush", "detach"])
@pytest.mark.parametrize("where", ["on_headers", "on_chunk", "elsewhere"])
def test_closing_what_a_connection_speaks_over(plain_base: EventBase, where: str, how: str) -> None:
    """The request on it is told once, that it was cancelled; and the next one has a new connection."""
    scripts = iter((slowly, at_once))
    closed: list[object] = []

    def either(sock: socket.socket) -> None:
        next(scripts)(sock)

    def end(*_: object) -> None:
        bev = connection.bufferevent
        assert bev is not None
        bev.detach().close() if how == "detach" else bev.close(flush=how == "flush")

    def reached(request: ClientRequest, *_: object) -> None:
        plain_base.call_soon(end)

    callbacks: dict[str, Any] = {"on_headers": end, "on_chunk": end, "elsewhere": reached}
    keywords = {"on_chunk" if where == "elsewhere" else where: callbacks[where]}
    told: list[ClientRequest] = []
    with serving(script=either) as server:
        connection = Connection(plain_base, server.address, timeout=None, on_close=closed.append)
        first = connection.request("GET", "/", told.append, **keywords)
        second = connection.request("GET", "/", told.append)
        plain_base.call_later(WAIT, plain_base.loop_break, keepalive=False)
        plain_base.dispatch()
        assert told == [first, second]
        assert isinstance(first.error, CancelledError)
        assert second.result().text() == "ok"
        assert closed == [connection] * 2
        connection.close()


def test_closing_what_an_idle_connection_speaks_over(plain_base: EventBase) -> None:
    """on_close is told, and dispatch() waits for nothing more."""
    closed: list[object] = []
    with serving() as server, Connection(plain_base, server.address, on_close=closed.append) as connection:
        connection.request("GET", "/").wait(WAIT)
        assert connection.bufferevent is not None
        connection.bufferevent.close()
        assert connection.bufferevent is None
        plain_base.dispatch()
        assert closed == [connection]
        assert connection.request("GET", "/").wait(WAIT).text() == "ok"


def test_a_filter_on_what_a_connection_speaks_over(plain_base: EventBase) -> None:
    """It cannot go on then: the request fails when its time is over, and the next one is answered."""
    told: list[ClientRequest] = []
    scripts = iter((slowly, at_once))

    def either(sock: socket.socket) -> None:
        next(scripts)(sock)

    def cover(request: ClientRequest) -> None:
        assert connection.bufferevent is not None
        filters.append(FilterBufferEvent(connection.bufferevent))

    filters: list[FilterBufferEvent] = []
    with serving(script=either) as server:
        connection = Connection(plain_base, server.address, read_timeout=0.05)
        first = connection.request(
            "GET",
            "/",
            told.append,
            on_headers=lambda r: plain_base.call_soon(cover, r),  # after what has come
        )
        second = connection.request("GET", "/", told.append)
        plain_base.call_later(WAIT, plain_base.loop_break, keepalive=False)
        plain_base.dispatch()
        assert told == [first, second]
        assert isinstance(first.error, (ClosedError, TimeoutError))
        assert second.result().text() == "ok"
        filters[0].close()
        connection.close()


WRONG_USES: dict[str, Any] = {
    "a connection": lambda bev: Connection(bev.base, ("127.0.0.1", 1), bufferevent=bev).request("GET", "/"),
    "on_read": lambda bev: setattr(bev, "on_read", lambda bev: bev.read()),
    "on_event": lambda bev: setattr(bev, "on_event", lambda bev, what, error: bev.close()),
    "a filter": lambda bev: FilterBufferEvent(bev).close(),
}


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("use", WRONG_USES.values(), ids=WRONG_USES)
def test_a_servers_connection_cannot_be_used_for_something_else(
    plain_base: EventBase, use: Any, late: bool
) -> None:
    """evhttp goes by its callbacks, and would use freed memory: it is refused, and the request answered."""

    def misuse(request: Request) -> None:
        bev: BufferEvent = request.connection.bufferevent
        bev.on_read = None
        with pytest.raises(ValueError, match="evhttp speaks over it"):
            use(bev)
        refused.append(True)
        request.reply(200, b"ok")

    def handler(request: Request) -> None:
        if late:
            request.defer()
            plain_base.call_soon(misuse, request)
        else:
            misuse(request)

    refused: list[bool] = []
    with Server(plain_base, handler) as server:
        connection = Connection(plain_base, server.bind(("127.0.0.1", 0)).address)
        for _ in range(2):
            assert connection.request("GET", "/").wait(WAIT).text() == "ok"
        connection.close()
    assert refused == [True, True]
