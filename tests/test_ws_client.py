"""The client's side of WebSockets: servers that refuse, cheat or break off; TLS; UNIX sockets; no wsproto."""

from __future__ import annotations

import contextlib
import importlib.util
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from certificates import Certificates
from conftest import output_of
from httpserver import read_head, reset, serving
from ws_peer import BINARY, CLOSE, PONG, TEXT, close_frame, frame, open_on, proof_of

from libevent_cffi import EventBase
from libevent_cffi._native import lib
from libevent_cffi.errors import HTTPError, WebSocketError
from libevent_cffi.http import Request, Server
from libevent_cffi.ws import WebSocket

needs_wsproto = pytest.mark.skipif(importlib.util.find_spec("wsproto") is None, reason="needs wsproto")
needs_tls = pytest.mark.skipif(not lib.LEV_HAS_TLS, reason="this build has no TLS")

WAIT = 15.0
GOOD = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"


def key_in(head: bytes) -> str:
    """Find the key in a handshake, which has to be one."""
    lines = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:-2])
    names = {name.lower(): value for name, value in lines.items()}
    assert names["upgrade"] == "websocket"
    assert names["connection"] == "Upgrade"
    assert names["sec-websocket-version"] == "13"
    return names["sec-websocket-key"]


def accepting(data: bytes = b"", more: str = "", then: Any = None) -> Callable[[socket.socket], None]:
    """Accept a handshake rightly, send *data* with the answer, then go on."""

    def script(sock: socket.socket) -> None:
        key = key_in(read_head(sock))
        answer = f"{GOOD}Sec-WebSocket-Accept: {proof_of(key)}\r\n{more}\r\n"
        sock.sendall(answer.encode() + data)
        if then is not None:
            then(sock)

    return script


def read_masked(sock: socket.socket) -> tuple[int, bytes]:
    """Read a client's frame, which has to be masked."""
    file = sock.makefile("rb")
    with file:
        first, size = file.read(2)
        assert size & 0x80
        size &= 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", file.read(2))
        key, data = file.read(4), file.read(size)
    return first & 15, bytes(each ^ key[i % 4] for i, each in enumerate(data))


class Told:
    """What a client's WebSocket is told."""

    def __init__(self, base: EventBase) -> None:
        self.base = base
        self.events: list[Any] = []

    def __call__(self, url: str, **options: Any) -> WebSocket:
        return WebSocket.connect(
            self.base, url, on_message=self.message, on_close=self.closed, **options
        ).wait(WAIT)

    def message(self, ws: WebSocket, data: Any) -> None:
        self.events.append(data)

    def closed(self, ws: WebSocket, code: int, reason: str) -> None:
        self.events.append((code, reason))
        self.base.loop_exit()


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 404),
        ("HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", 302),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200),
        (
            "HTTP/1.1 101 X\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: PROOF\r\n\r\n",
            1002,
        ),
        ("HTTP/1.1 101 X\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: PROOF\r\n\r\n", 1002),
        (f"{GOOD}\r\n", 1002),
        (f"{GOOD}Sec-WebSocket-Accept: AAAA\r\n\r\n", 1002),
        (f"{GOOD}Sec-WebSocket-Accept: PROOF\r\nSec-WebSocket-Protocol: c\r\n\r\n", 1002),
        (f"{GOOD}Sec-WebSocket-Accept: PROOF\r\nSec-WebSocket-Protocol: a, b\r\n\r\n", 1002),
        (f"{GOOD}Sec-WebSocket-Accept: PROOF\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n", 1002),
    ],
)
@needs_wsproto
def test_a_server_that_refuses_or_cheats(plain_base: EventBase, answer: str, code: int) -> None:
    """WebSocketError has its status, or 1002; nothing is open."""

    def script(sock: socket.socket) -> None:
        key = key_in(read_head(sock))
        sock.sendall(answer.replace("PROOF", proof_of(key)).encode())
        while sock.recv(100):
            pass

    with serving(script=script) as server:
        operation = WebSocket.connect(
            plain_base, f"ws://127.0.0.1:{server.address[1]}/", subprotocols=["a", "b"]
        )
        with pytest.raises(WebSocketError) as error:
            operation.wait(WAIT)
    assert error.value.code == code


@pytest.mark.parametrize("end", [lambda sock: None, reset], ids=["eof", "reset"])
@needs_wsproto
def test_a_server_that_breaks_the_handshake_off(plain_base: EventBase, end: Any) -> None:
    """As with any request: HTTPError, or what the connection failed with."""

    def script(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(b"HTTP/1.1 101 Swi")
        end(sock)

    with serving(script=script) as server, pytest.raises((HTTPError, ConnectionError)):
        WebSocket.connect(plain_base, f"ws://127.0.0.1:{server.address[1]}/").wait(WAIT)


@needs_wsproto
def test_nobody_listens(plain_base: EventBase) -> None:
    """The system's error."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionRefusedError):
            WebSocket.connect(plain_base, f"ws://127.0.0.1:{sock.getsockname()[1]}/").wait(WAIT)


@needs_wsproto
def test_what_comes_with_the_answer_is_not_lost(plain_base: EventBase, run: Any) -> None:
    """Messages and the end in the same packet, and the connection closed behind them."""
    data = (
        frame(TEXT, b"a", mask=False) + frame(BINARY, b"b", mask=False) + close_frame(3001, b"x", mask=False)
    )
    told = Told(plain_base)
    with serving(script=accepting(data)) as server:
        ws = told(f"ws://127.0.0.1:{server.address[1]}/")
        run(plain_base)
    assert told.events == ["a", b"b", (3001, "x")]
    assert ws.closed


@needs_wsproto
def test_a_server_that_masks_is_refused(plain_base: EventBase, run: Any) -> None:
    """1002, as for any breach."""
    seen: list[Any] = []

    def then(sock: socket.socket) -> None:
        seen.append(read_masked(sock))

    told = Told(plain_base)
    with serving(script=accepting(frame(TEXT, b"a", mask=True), then=then)) as server:
        told(f"ws://127.0.0.1:{server.address[1]}/")
        run(plain_base)
    assert [event[0] for event in told.events] == [1002]
    assert seen[0][0] == CLOSE
    assert seen[0][1][:2] == struct.pack("!H", 1002)


@pytest.mark.parametrize("end", [lambda sock: None, reset], ids=["eof", "reset"])
@needs_wsproto
def test_a_server_that_goes_without_a_word(plain_base: EventBase, run: Any, end: Any) -> None:
    """1006."""
    told = Told(plain_base)
    with serving(script=accepting(frame(TEXT, b"a", mask=False), then=end)) as server:
        told(f"ws://127.0.0.1:{server.address[1]}/")
        run(plain_base)
    assert [event[0] for event in told.events[-1:]] == [1006]


@needs_wsproto
def test_what_is_asked(plain_base: EventBase) -> None:
    """Path and query, the headers given, the password of the URL, and the subprotocols."""
    heads: list[bytes] = []

    def script(sock: socket.socket) -> None:
        heads.append(read_head(sock))
        answer = (
            f"{GOOD}Sec-WebSocket-Accept: {proof_of(key_in(heads[0]))}\r\nSec-WebSocket-Protocol: b\r\n\r\n"
        )
        sock.sendall(answer.encode())
        opcode, data = read_masked(sock)
        assert (opcode, data) == (CLOSE, struct.pack("!H", 1000))
        sock.sendall(close_frame(1000, mask=False))

    with serving(script=script) as server:
        url = f"ws://me:secret@127.0.0.1:{server.address[1]}/a%20b?c=d"
        headers = {"Origin": "http://x", "Cookie": "a=b"}
        ws = WebSocket.connect(plain_base, url, headers=headers, subprotocols=["a", "b"]).wait(WAIT)
        assert ws.subprotocol == "b"
        assert "client b" in repr(ws)
        ws.close()
        plain_base.dispatch()
    head = heads[0].decode()
    assert head.startswith("GET /a%20b?c=d HTTP/1.1\r\n")
    for line in ("Origin: http://x", "Cookie: a=b", "Sec-WebSocket-Protocol: a, b"):
        assert f"\r\n{line}\r\n" in head
    assert "\r\nAuthorization: Basic bWU6c2VjcmV0\r\n" in head


@needs_wsproto
def test_pings_of_a_server_are_answered(plain_base: EventBase) -> None:
    """Masked, as all that a client sends."""
    seen: list[Any] = []

    def then(sock: socket.socket) -> None:
        seen.append(read_masked(sock))
        sock.sendall(close_frame(1000, mask=False))

    with serving(script=accepting(frame(9, b"hi", mask=False), then=then)) as server:
        WebSocket.connect(plain_base, f"ws://127.0.0.1:{server.address[1]}/").wait(WAIT)
        plain_base.dispatch()
    assert seen == [(PONG, b"hi")]


@needs_wsproto
def test_over_a_unix_socket(plain_base: EventBase, tmp_path: Path, run: Any) -> None:
    """By the path, percent-encoded, as host."""
    path = str(tmp_path / "s")
    server = Server(plain_base, lambda request: WebSocket.accept(request, on_message=WebSocket.send))
    server.bind(path)
    got: list[Any] = []

    def message(ws: WebSocket, data: Any) -> None:
        got.append(data)
        ws.close()
        server.stop()

    url = f"ws+unix://{path.replace('/', '%2F')}/x"
    operation = WebSocket.connect(plain_base, url, lambda op: op.result().send("hi"), on_message=message)
    run(plain_base)
    assert got == ["hi"]
    assert operation.result().closed


def pinned(certificates: Certificates) -> Any:
    from libevent_cffi.tls import TLSContext

    return TLSContext.server(certificates("server.pem"), certificates("server.key"))


@needs_wsproto
@needs_tls
def test_over_tls(base: EventBase, certificates: Certificates, run: Any) -> None:
    """wss verifies the server; messages of any size, pings and the end go through on both sides."""
    from libevent_cffi.tls import TLSContext

    told: list[Any] = []

    def accept(request: Any) -> None:
        ws = WebSocket.accept(request, on_message=WebSocket.send, on_close=lambda ws, *end: told.append(end))
        ws.ping()
        assert ws.request is not None
        assert ws.request.connection.tls is not None

    server = Server(base, accept, tls=pinned(certificates))
    url = f"wss://127.0.0.1:{server.bind(('127.0.0.1', 0)).port}/"
    sent = ["x" * size for size in (0, 1, 20000, 70000, 500000)] + ["é"]
    got: list[Any] = []

    def opened(operation: Any) -> None:
        for each in sent:
            operation.result().send(each)

    def message(ws: WebSocket, data: Any) -> None:
        got.append(data)
        if len(got) == len(sent):
            assert ws.bufferevent.tls is not None
            ws.close(4001, "done")
            base.call_soon(server.stop)

    trusted = TLSContext(ca=certificates("ca.pem"))
    refused = WebSocket.connect(base, url)
    refused.cancel()
    WebSocket.connect(base, url, opened, on_message=message, tls=trusted)
    run(base)
    assert got == sent
    assert told in ([(4001, "done")], [(1001, "the server stops")])


@needs_wsproto
@needs_tls
@pytest.mark.parametrize("who", ["ws", "server", "base", "peer"])
def test_tls_ends_anywhere(base: EventBase, certificates: Certificates, who: str) -> None:
    """Closed inside of on_message, whose answer is written from inside of libevent's reading."""

    def message(ws: WebSocket, data: Any) -> None:
        ws.send(b"x" * 300000)
        ended.append(True)
        {"ws": ws.close, "server": server.close, "base": base.close, "peer": int}[who]()

    def accept(request: Request) -> None:
        WebSocket.accept(request, on_message=message)

    def talk() -> None:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(address, timeout=WAIT) as sock,
            context.wrap_socket(sock, server_hostname="localhost") as wrapped,
        ):
            open_on(wrapped)
            wrapped.sendall(frame(TEXT, b"go") * 3 + (close_frame(1000) if who == "peer" else b""))
            while wrapped.recv(65536) and who == "peer":
                pass

    def look() -> None:
        if not thread.is_alive():
            base.loop_exit()

    ended: list[bool] = []
    server = Server(base, accept, tls=pinned(certificates))
    address: Any = server.bind(("127.0.0.1", 0)).address
    context = ssl.create_default_context(cafile=certificates("ca.pem"))
    thread = threading.Thread(target=talk)
    thread.start()
    base.every(0.01, look)
    base.dispatch()
    thread.join(WAIT)
    if not base.closed:
        server.close()
    assert ended == [True] * (3 if who == "peer" else 1)


def test_without_wsproto_it_says_what_to_install() -> None:
    """The module can be imported; accept() and connect() raise an ImportError that names the extra."""
    code = """
import sys
sys.modules["wsproto"] = None
from libevent_cffi import EventBase, ws
with EventBase() as base:
    for call in (lambda: ws.WebSocket.connect(base, "ws://localhost/"), lambda: ws.WebSocket.accept(None)):
        try:
            call()
        except ImportError as error:
            print(error.name, error)
"""
    line = "wsproto WebSockets need wsproto: pip install 'libevent_cffi[ws]'\n"
    assert output_of(code) == line * 2
