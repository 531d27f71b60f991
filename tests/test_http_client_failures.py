"""The HTTP client: every way in which requests fail and end, each told once."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import threading
import weakref
from typing import Any

import http_asking
import pytest
from conftest import output_of
from http_asking import CLOSED_PORT, WAIT, echo
from httpserver import OK, read_head, reset, serving

from libevent_cffi import Buffer, EventBase, util
from libevent_cffi.errors import ClosedError, HTTPError, WrongThreadError
from libevent_cffi.flags import RequestErrorKind
from libevent_cffi.http import ClientRequest, Connection, fetch

descriptors_are_closed = http_asking.descriptors_are_closed


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
