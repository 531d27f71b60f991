"""WebSockets with the library "websockets" on the other side, as client and as server."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from http_peer import DEADLINE

from libevent_cffi import EventBase
from libevent_cffi.http import Request, Server
from libevent_cffi.ws import WebSocket

pytest.importorskip("wsproto")
client = pytest.importorskip("websockets.sync.client")
server = pytest.importorskip("websockets.sync.server")
exceptions = pytest.importorskip("websockets.exceptions")

MESSAGES = ["", "hé", b"", b"\0\xff", "x" * 65535, b"y" * 65536, "é" * 400000]


def run_beside(base: EventBase, script: Callable[[], Any]) -> Any:
    """Dispatch until *script*, in a thread of its own, has returned; return what it did."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(script())
        except BaseException as error:
            found.append(error)
        base.call_soon_threadsafe(base.loop_exit)

    thread = threading.Thread(target=run)
    thread.start()
    base.call_later(DEADLINE, base.loop_exit)
    base.dispatch()
    thread.join(DEADLINE)
    if isinstance(found[0], BaseException):
        raise found[0]
    return found[0]


def connected(url: str, **keywords: Any) -> Any:
    return client.connect(url, open_timeout=DEADLINE, proxy=None, ping_interval=None, **keywords)


@contextmanager
def serving(base: EventBase, **keywords: Any) -> Iterator[tuple[str, list[Any]]]:
    """Echo; the URL, and what on_close was told."""
    told: list[Any] = []

    def accept(request: Request) -> None:
        WebSocket.accept(
            request, on_message=WebSocket.send, on_close=lambda ws, *end: told.append(end), **keywords
        )

    with Server(base, accept) as made:
        yield f"ws://127.0.0.1:{made.bind(('127.0.0.1', 0)).port}/", told


def test_a_client(plain_base: EventBase) -> None:
    """Messages of every size, pings, and the end, whose code and reason it says."""

    def script() -> None:
        with connected(url, subprotocols=["b", "a"], max_size=None) as ws:
            assert ws.subprotocol == "a"
            for each in MESSAGES:
                ws.send(each)
                assert ws.recv(DEADLINE) == each
            ws.send(iter(["in ", "", "pieces"]))
            assert ws.recv(DEADLINE) == "in pieces"
            assert ws.ping().wait(DEADLINE)
            ws.close(3999, "bye")
        assert (ws.protocol.close_rcvd.code, ws.protocol.close_sent.code) == (3999, 3999)

    with serving(plain_base, subprotocols=["a"]) as (url, told):
        run_beside(plain_base, script)
    assert told == [(3999, "bye")]


def test_a_client_that_is_refused(plain_base: EventBase) -> None:
    """By its Origin: 403."""

    def script() -> int:
        with pytest.raises(exceptions.InvalidStatus) as error, connected(url, origin="http://evil.example"):
            pass
        status: int = error.value.response.status_code
        return status

    with serving(plain_base) as (url, _):
        assert run_beside(plain_base, script) == 403


def test_a_client_whose_message_is_too_long(plain_base: EventBase) -> None:
    """1009 reaches it, though it has sent more than anybody read."""

    def script() -> int:
        def send(ws: Any) -> None:
            ws.send(b"x" * 3000000)
            ws.recv(DEADLINE)

        with connected(url) as ws, pytest.raises(exceptions.ConnectionClosed) as error:
            send(ws)
        code: int = error.value.rcvd.code
        return code

    with serving(plain_base) as (url, told):
        assert run_beside(plain_base, script) == 1009
    assert [code for code, _ in told] == [1009]


def test_many_clients_at_once(plain_base: EventBase) -> None:
    """Each gets its own answers."""
    count = 20

    def script() -> None:
        with ExitStack() as stack:
            opened = [stack.enter_context(connected(url)) for _ in range(count)]
            for number, each in enumerate(opened):
                each.send(str(number))
            assert [each.recv(DEADLINE) for each in opened] == [str(number) for number in range(count)]

    with serving(plain_base) as (url, told):
        run_beside(plain_base, script)
    assert [code for code, _ in told] == [1000] * count


@contextmanager
def their_server(handler: Callable[[Any], None], **keywords: Any) -> Iterator[str]:
    """Run one of theirs, in threads."""
    sock = socket.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    with server.serve(handler, sock=sock, ping_interval=None, **keywords) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{port}/"
        finally:
            made.shutdown()
            thread.join(DEADLINE)


def test_a_server(plain_base: EventBase, run: Any) -> None:
    """The same from a client's side, with theirs compressing for those that can."""

    def echo(ws: Any) -> None:
        for message in ws:
            ws.send(message)

    got: list[Any] = []
    pongs: list[bytes] = []

    def opened(operation: Any) -> None:
        ws = operation.result()
        assert ws.subprotocol == "chat"
        ws.on_pong = lambda ws, data: pongs.append(data)
        ws.ping(b"?")
        for each in MESSAGES:
            ws.send(each)

    def message(ws: WebSocket, data: Any) -> None:
        got.append(data)
        if len(got) == len(MESSAGES):
            ws.close()

    with their_server(echo, subprotocols=["chat"], max_size=None) as url:
        WebSocket.connect(plain_base, url, opened, on_message=message, subprotocols=["chat", "x"])
        run(plain_base)
    assert got == MESSAGES
    assert pongs == [b"?"]


def test_a_server_that_closes(plain_base: EventBase, run: Any) -> None:
    """With what it says, after the message before."""

    def bye(ws: Any) -> None:
        ws.send("first")
        ws.close(4444, "enough")

    told: list[Any] = []
    with their_server(bye) as url:
        WebSocket.connect(
            plain_base,
            url,
            on_message=lambda ws, data: told.append(data),
            on_close=lambda ws, *end: told.append(end),
        )
        run(plain_base)
    assert told == ["first", (4444, "enough")]


def test_random_bytes_instead_of_frames(plain_base: EventBase) -> None:
    """A client of theirs, and then noise: the connection ends, the server goes on."""

    def script() -> None:
        for _ in range(20):
            with connected(url) as ws:
                ws.socket.sendall(os.urandom(300))
        with connected(url) as ws:
            ws.send("still there")
            assert ws.recv(DEADLINE) == "still there"

    with serving(plain_base) as (url, told):
        run_beside(plain_base, script)
    assert {code for code, _ in told} <= {1000, 1002, 1005, 1006, 1007, 1009}
