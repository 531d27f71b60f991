"""One request by fetch(): redirects, credentials and bodies."""

from __future__ import annotations

import http_asking
import pytest
from http_asking import CLOSED_PORT, WAIT
from httpserver import OK, serving

from libevent_cffi import Buffer, EventBase
from libevent_cffi.http import fetch

descriptors_are_closed = http_asking.descriptors_are_closed


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
