"""The HTTP client: a limit for all of a request, whatever the server does meanwhile."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from httpserver import OK, Asked, read_head, serving

from libevent_cffi import EventBase
from libevent_cffi.errors import CancelledError
from libevent_cffi.http import ClientRequest, Connection, fetch

WAIT = 10.0
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"


def drip(what: bytes) -> Callable[[socket.socket], None]:
    """Answer a byte at a time, again and again, so that something always comes; until the client leaves."""

    def script(sock: socket.socket) -> None:
        read_head(sock)
        at, end = 0, time.monotonic() + WAIT
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < end and not select.select([sock], [], [], 0.005)[0]:
                sock.sendall(what[at : at + 1] or b"x")
                at += 1

    return script


def end_of(request: ClientRequest, calls: list[Any]) -> None:
    calls.append(request.error)


@pytest.mark.parametrize("what", [HEAD, b"HTTP/1.1 200 OK\r\nX: "])
def test_a_server_that_drips_is_ended(plain_base: EventBase, what: bytes) -> None:
    """Once, with TimeoutError, though read_timeout never passes: in its body, in its head."""
    calls: list[Any] = []
    with serving(script=drip(what)) as server:
        request = fetch(plain_base, server.url, end_of, calls, timeout=WAIT, total_timeout=0.1)
        began = time.monotonic()
        plain_base.dispatch()
        assert 0.05 < time.monotonic() - began < WAIT
        assert isinstance(request.error, TimeoutError)
        assert "0.1 s" in str(request.error)
        assert calls == [request.error]
    plain_base.poll()
    assert len(calls) == 1


def test_a_timer_that_cancels_ends_it_as_well(plain_base: EventBase) -> None:
    """Once, with CancelledError; the request's callback may end the timer."""
    calls: list[Any] = []
    with serving(script=drip(HEAD)) as server:
        request = fetch(plain_base, server.url, end_of, calls)
        plain_base.call_later(0.1, request.cancel, keepalive=False)
        plain_base.dispatch()
    assert calls == [request.error]
    assert isinstance(request.error, CancelledError)


def test_the_wait_for_its_turn_counts(plain_base: EventBase) -> None:
    """Also of one that was never sent."""
    calls: list[Any] = []

    def answer(asked: Asked) -> bytes:
        if asked.target != "/":
            left.wait(WAIT)
        return OK

    left = threading.Event()
    with serving(answer) as server, Connection(plain_base, server.address, total_timeout=0.05) as connection:
        requests = [connection.request("GET", f"/{n}", end_of, calls) for n in range(2)]
        for request in requests:
            with pytest.raises(TimeoutError):
                request.wait(WAIT)
        left.set()
        assert "/1" not in [asked.target for asked in server.asked]
        plain_base.poll()
        assert {*calls} == {request.error for request in requests}
        assert len(calls) == 2


def test_redirects_are_one_request(plain_base: EventBase) -> None:
    """Each begins no new time."""

    def answer(asked: Asked) -> bytes:
        return b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n"

    with serving(answer) as server:
        request = fetch(plain_base, server.url, follow_redirects=2**31 - 1, total_timeout=0.1)
        with pytest.raises(TimeoutError, match=r"0\.1 s"):
            request.wait(WAIT)


def test_nothing_of_it_is_left(plain_base: EventBase) -> None:
    """Of one that ended in time, by itself or by its user, and of one whose time is over before it begins."""
    with serving(OK) as server:
        began = time.monotonic()
        assert fetch(plain_base, server.url, total_timeout=WAIT).wait().status == 200
        assert fetch(plain_base, server.url, total_timeout=None).wait().status == 200
        fetch(plain_base, server.url, total_timeout=WAIT).cancel()
        plain_base.dispatch()
        assert time.monotonic() - began < WAIT
        with pytest.raises(TimeoutError):
            fetch(plain_base, server.url, total_timeout=0).wait(WAIT)
        for wrong in (-1, float("nan")):
            with pytest.raises(ValueError, match="total_timeout"):
                fetch(plain_base, server.url, total_timeout=wrong)
        with pytest.raises(TypeError, match="total_timeout"):
            fetch(plain_base, server.url, total_timeout="1")  # type: ignore[arg-type]


def test_one_that_is_paused_is_ended(plain_base: EventBase) -> None:
    """No other time runs then."""
    with serving(script=drip(HEAD)) as server:
        request = fetch(plain_base, server.url, on_headers=ClientRequest.pause_reading, total_timeout=0.1)
        with pytest.raises(TimeoutError):
            request.wait(WAIT)


def test_a_base_that_is_closed_tells_it_once(base: EventBase) -> None:
    """As cancelled; its time is over with it."""
    calls: list[Any] = []
    with serving(OK) as server:
        request = fetch(base, server.url, end_of, calls, total_timeout=0.01)
        base.close()
    assert isinstance(request.error, CancelledError)
