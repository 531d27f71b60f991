"""WebSockets: opened, spoken over, and closed, by either side and by both of ours."""

from __future__ import annotations

import gc
import socket
import struct
import threading
import weakref
from collections.abc import Callable
from typing import Any, Optional

import pytest
from http_peer import Client, read_all, split
from ws_peer import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    Frame,
    close_frame,
    frame,
    handshake,
    open_on,
    read_frame,
)

from libevent_cffi import ClosedError, EventBase, LoopFlag, WrongThreadError
from libevent_cffi.errors import CancelledError, WebSocketError
from libevent_cffi.http import Request, Server
from libevent_cffi.ws import WebSocket

pytest.importorskip("wsproto")

Run = Callable[..., None]


class Room:
    """A server whose WebSockets are remembered, with what they are told."""

    def __init__(self, base: EventBase, **keywords: Any) -> None:
        self.base = base
        self.keywords: dict[str, Any] = {"on_message": self.echo, "on_close": self.left, **keywords}
        self.sockets: list[WebSocket] = []
        self.messages: list[Any] = []
        self.closes: list[tuple[int, str]] = []
        self.refused: list[WebSocketError] = []
        self.server = Server(base, self.accept)
        self.address: Any = self.server.bind(("127.0.0.1", 0)).address
        self.url = f"ws://127.0.0.1:{self.address[1]}/"

    def accept(self, request: Request) -> None:
        try:
            self.sockets.append(WebSocket.accept(request, **self.keywords))
        except WebSocketError as error:
            self.refused.append(error)

    def echo(self, ws: WebSocket, data: Any) -> None:
        self.messages.append(data)
        ws.send(data)

    def settle(self) -> None:
        """Dispatch until no connection is left, and what remained to be told is."""
        late: list[bool] = []
        timer = self.base.call_later(20, late.append, True)
        while self.server.connections and not late:
            self.base.loop(LoopFlag.ONCE)
        timer.close()
        for _ in range(2):
            self.base.loop(LoopFlag.NONBLOCK)
        assert self.server.connections == 0
        assert self.server._guests == {}

    def left(self, ws: WebSocket, code: int, reason: str) -> None:
        self.closes.append((code, reason))

    def talk(self, script: Callable[[socket.socket], Any], path: str = "/", *headers: str) -> Any:
        """Run *script* on an open connection, in a thread, while the base dispatches."""

        def run(sock: socket.socket) -> Any:
            open_on(sock, path, *headers)
            return script(sock)

        return Client(self.base, self.address, run).finish()


def until_closed(sock: socket.socket) -> list[Frame]:
    """Read frames up to the end of the connection."""
    found = []
    while True:
        each = read_frame(sock)
        if each is None:
            return found
        found.append(each)


def sending(data: bytes) -> Callable[[socket.socket], list[Frame]]:
    """Send *data*, and read to the end."""

    def script(sock: socket.socket) -> list[Frame]:
        sock.sendall(data)
        return until_closed(sock)

    return script


def test_messages_go_both_ways(base: EventBase, run: Run) -> None:
    """Text comes as str and binary as bytes, of any size, in order."""
    room = Room(base)
    sent = ["", "hé", b"", b"\0\xff", "x" * 125, "y" * 126, b"z" * 65536, "é" * 100000]
    got: list[Any] = []

    def opened_(operation: Any) -> None:
        ws = operation.result()
        assert ws.request is None
        assert ws.base is base
        assert ws.peer_address == room.address
        for each in sent:
            ws.send(each)

    def message(ws: WebSocket, data: Any) -> None:
        got.append(data)
        if len(got) == len(sent):
            ws.close()

    room.keywords["on_close"] = lambda *args: (room.left(*args), room.server.stop())
    WebSocket.connect(base, room.url, opened_, on_message=message)
    run(base)
    assert got == sent == room.messages
    assert [type(each) for each in got] == [type(each) for each in sent]
    assert room.closes == [(1000, "")]


def test_the_handshake_can_be_read_and_answered_with_headers(plain_base: EventBase, run: Run) -> None:
    """request is the handshake, also when it is over; response_headers go out with the answer."""
    requests: list[Any] = []

    def accept(request: Request) -> None:
        request.response_headers.add("Set-Cookie", "a=b")
        request.response_headers.add("Content-Length", "5")
        ws = WebSocket.accept(request, subprotocols=["two", "one"])
        requests.append((ws, ws.request, request))
        assert request.answered
        assert ws.subprotocol == "two"
        with pytest.raises(ClosedError, match="answered already"):
            request.reply(200)
        with pytest.raises(ClosedError, match="answered already"):
            WebSocket.accept(request)

    room = Room(plain_base)
    room.server.handler = accept

    def script(sock: socket.socket) -> bytes:
        sock.sendall(handshake("/a?b=c", "Sec-WebSocket-Protocol: one, two"))
        head = b""
        while b"\r\n\r\n" not in head:
            head += sock.recv(4096)
        sock.sendall(close_frame(1000))
        return head + read_all(sock)

    answer = Client(plain_base, room.address, script).finish()
    status, headers, rest = split(answer)
    assert status == 101
    assert headers["Set-Cookie"] == "a=b"
    assert headers["Sec-WebSocket-Protocol"] == "two"
    assert "Content-Length" not in headers
    assert rest == close_frame(1000, mask=False)
    ws, seen, request = requests[0]
    assert seen is request
    assert ws.closed


@pytest.mark.parametrize(
    ("ours", "theirs", "chosen"),
    [((), "a", None), (("b", "a"), "a, b", "b"), (("c",), "a,b", None), (("a",), "", None)],
)
def test_the_best_subprotocol_that_both_speak_is_chosen(
    plain_base: EventBase, run: Run, ours: tuple[str, ...], theirs: str, chosen: Optional[str]
) -> None:
    """In the server's order, or none."""
    room = Room(plain_base, subprotocols=ours)
    names = [each.strip() for each in theirs.split(",") if each]

    def opened_(operation: Any) -> None:
        found.append(operation.result().subprotocol)
        room.server.close()

    found: list[Optional[str]] = []
    WebSocket.connect(plain_base, room.url, opened_, subprotocols=names)
    run(plain_base)
    assert found == [chosen] == [room.sockets[0].subprotocol]


@pytest.mark.parametrize(
    ("origins", "origin", "status"),
    [
        (None, None, 101),
        (None, "http://localhost", 101),
        (None, "http://LOCALHOST:80", 101),
        (None, "https://localhost:80", 403),
        (None, "https://localhost", 101),
        (None, "http://localhost:8080", 403),
        (None, "http://evil.example", 403),
        (None, "null", 403),
        (None, "http://localhost\r\nOrigin: http://evil.example", 403),
        (["https://good.example"], "https://GOOD.example", 101),
        (["https://good.example/"], "https://good.example", 101),
        (["https://good.example"], "http://localhost", 403),
        (["https://good.example"], None, 101),
        (["*"], "http://evil.example", 101),
        (["null"], "null", 101),
    ],
)
def test_pages_of_other_sites_may_not_connect(
    plain_base: EventBase, origins: Optional[list[str]], origin: Optional[str], status: int
) -> None:
    """By the header Origin, which only browsers send; other hosts than the request's have to be named."""
    room = Room(plain_base, origins=origins)
    lines = [] if origin is None else [f"Origin: {origin}"]

    def script(sock: socket.socket) -> bytes:
        sock.sendall(handshake("/", *lines))
        return sock.recv(4096)

    answer = Client(plain_base, room.address, script).finish()
    found = split(answer)[0]
    assert found == status
    assert [error.code for error in room.refused] == ([] if status == 101 else [403])


@pytest.mark.parametrize(
    "changes",
    [
        {"Upgrade": None},
        {"Upgrade": "h2c"},
        {"Connection": "keep-alive"},
        {"Connection": None},
        {"Sec_WebSocket_Version": "8"},
        {"Sec_WebSocket_Version": None},
        {"Sec_WebSocket_Key": None},
        {"Sec_WebSocket_Key": "c2hvcnQ="},
        {"Sec_WebSocket_Key": "not base64, and of 24 by"},
        {"Sec_WebSocket_Key": f"dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key: {'A' * 22}=="},
    ],
    ids=str,
)
def test_what_is_no_handshake_is_answered_400(plain_base: EventBase, changes: dict[str, Any]) -> None:
    """WebSocketError says why; the connection goes on with HTTP."""
    room = Room(plain_base)

    def script(sock: socket.socket) -> bytes:
        sock.sendall(handshake("/", **changes))
        first = sock.recv(4096)
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return first + b"\n---\n" + read_all(sock)

    first, second = Client(plain_base, room.address, script).finish().split(b"\n---\n")
    assert split(first)[0] == split(second)[0] == 400
    assert split(first)[1]["Sec-WebSocket-Version"] == "13"
    assert [error.code for error in room.refused] == [400, 400]
    assert room.sockets == []


def test_a_handshake_may_be_written_in_many_ways(plain_base: EventBase) -> None:
    """Names without case, and lists over several lines."""
    room = Room(plain_base)

    def script(sock: socket.socket) -> bytes:
        data = handshake(
            "/", "upgrade: WebSocket", "connection: UPGRADE", Upgrade="foo", Connection="keep-alive"
        )
        sock.sendall(data)
        return sock.recv(4096)

    assert split(Client(plain_base, room.address, script).finish())[0] == 101


def test_frames_may_come_with_the_handshake(plain_base: EventBase) -> None:
    """In one piece with it, though no client should."""
    room = Room(plain_base)

    def script(sock: socket.socket) -> list[Frame]:
        sock.sendall(handshake() + frame(TEXT, b"early") + close_frame(1000))
        while not read.endswith(b"\r\n\r\n"):
            read.extend(sock.recv(1))
        return until_closed(sock)

    read = bytearray()
    frames = Client(plain_base, room.address, script).finish()
    assert frames == [Frame(TEXT, b"early"), Frame(CLOSE, struct.pack("!H", 1000))]


def test_it_may_be_accepted_later(plain_base: EventBase) -> None:
    """After defer(), from any callback."""
    room = Room(plain_base)

    def later(request: Request) -> None:
        request.defer()
        request.on_close = told.append
        plain_base.call_later(0.01, room.accept, request)

    told: list[Any] = []
    room.server.handler = later
    assert room.talk(sending(frame(BINARY, b"x") + close_frame(1000)))[0] == Frame(BINARY, b"x")
    assert told == []


def test_a_client_that_left_before_cannot_be_accepted(plain_base: EventBase) -> None:
    """BrokenPipeError, as with any answer."""
    room = Room(plain_base)
    caught: list[BaseException] = []

    def gone(request: Request) -> None:
        with pytest.raises(BrokenPipeError) as error:
            WebSocket.accept(request)
        caught.append(error.value)
        plain_base.loop_exit()

    def later(request: Request) -> None:
        request.defer()
        request.on_close = gone

    room.server.handler = later
    with socket.create_connection(room.address) as sock:
        sock.sendall(handshake())
        plain_base.call_later(0.05, sock.close)
        plain_base.call_later(20, plain_base.loop_exit)
        plain_base.dispatch()
    assert len(caught) == 1


HOSTILE = {
    "unmasked": (frame(TEXT, b"x", mask=False), 1002),
    "reserved bit": (b"\xc1" + frame(TEXT, b"x")[1:], 1002),
    "unknown opcode": (frame(3, b"x"), 1002),
    "unknown control opcode": (frame(11, b"x"), 1002),
    "continuation of nothing": (frame(0, b"x"), 1002),
    "text inside of text": (frame(TEXT, b"x", final=False) + frame(TEXT, b"y"), 1002),
    "fragmented ping": (frame(PING, b"x", final=False), 1002),
    "large ping": (frame(PING, b"x" * 126), 1002),
    "length not minimal": (b"\x81\xfe\x00\x01\0\0\0\0x", 1002),
    "64 bit length not minimal": (b"\x81\xff" + struct.pack("!Q", 1) + b"\0\0\0\0x", 1002),
    "negative length": (b"\x82\xff" + b"\xff" * 8 + b"\0\0\0\0", 1002),
    "not UTF-8": (frame(TEXT, b"\xff"), 1007),
    "half of a character": (frame(TEXT, "é".encode()[:1]), 1007),
    "surrogates": (frame(TEXT, b"\xed\xa0\x80"), 1007),
    "not UTF-8 in a fragment": (frame(TEXT, b"a", final=False) + frame(0, b"\xff", final=False), 1007),
    "too large": (frame(BINARY, b"x" * 2000), 1009),
    "too large as announced": (b"\x82\xff" + struct.pack("!Q", 2**40) + b"\0\0\0\0" + b"x" * 2000, 1009),
    "too large in pieces": (frame(BINARY, b"x", final=False) + frame(0, b"x", final=False) * 2000, 1009),
    "too large in UTF-8": (frame(TEXT, "é".encode() * 501), 1009),
    "close of one byte": (frame(CLOSE, b"x"), 1002),
    "close with 1005": (close_frame(1005), 1002),
    "close with 999": (close_frame(999), 1002),
    "close with 2000": (close_frame(2000), 1002),
    "close not UTF-8": (close_frame(1000, b"\xff"), 1007),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_who_breaks_the_protocol_is_told_so(plain_base: EventBase, name: str) -> None:
    """By a close frame with the code that fits; on_close is told the same."""
    data, code = HOSTILE[name]
    room = Room(plain_base, max_message_size=1000)
    frames = room.talk(sending(data + frame(TEXT, b"never")))
    assert [each.opcode for each in frames] == [CLOSE]
    assert struct.unpack("!H", frames[0].data[:2]) == (code,)
    assert [found for found, _ in room.closes] == [code]
    assert room.closes[0][1]
    assert room.messages == []
    room.settle()


def test_messages_may_come_in_pieces(plain_base: EventBase) -> None:
    """Also in the middle of a character, and with pings in between, which are answered at once."""
    room = Room(plain_base)
    text = "aé€😀" * 10
    pieces = [text.encode()[i : i + 1] for i in range(len(text.encode()))]
    data = frame(TEXT, pieces[0], final=False)
    for each in pieces[1:]:
        data += frame(0, each, final=False) + frame(PING, each) + frame(0, b"", final=False)
    data += frame(0, b"") + close_frame(3000, b"bye")

    def script(sock: socket.socket) -> list[Frame]:
        for i in range(0, len(data), 7):
            sock.sendall(data[i : i + 7])
        return until_closed(sock)

    frames = room.talk(script)
    assert room.messages == [text]
    assert [each.data for each in frames if each.opcode == PONG] == pieces[1:]
    assert frames[-2:] == [Frame(TEXT, text.encode()), Frame(CLOSE, struct.pack("!H", 3000) + b"bye")]
    assert room.closes == [(3000, "bye")]


@pytest.mark.parametrize("size", [1000, 1001])
def test_a_message_may_be_as_long_as_was_said(plain_base: EventBase, size: int) -> None:
    """Exactly max_message_size bytes, and not one more."""
    room = Room(plain_base, max_message_size=1000)
    frames = room.talk(sending(frame(BINARY, b"x" * size) + close_frame(1000)))
    assert frames[0].opcode == (BINARY if size == 1000 else CLOSE)


@pytest.mark.parametrize(
    ("data", "told", "answer"),
    [
        (frame(CLOSE), (1005, ""), b""),
        (close_frame(1000), (1000, ""), struct.pack("!H", 1000)),
        (close_frame(1001, "tschüß".encode()), (1001, "tschüß"), struct.pack("!H", 1001)),
        (close_frame(4999, b"x" * 123), (4999, "x" * 123), struct.pack("!H", 4999)),
    ],
)
def test_the_other_side_closes(
    plain_base: EventBase, data: bytes, told: tuple[int, str], answer: bytes
) -> None:
    """on_close gets its code and reason, it is answered, and the connection ends."""
    room = Room(plain_base)

    def left(ws: WebSocket, code: int, reason: str) -> None:
        room.left(ws, code, reason)
        assert ws.closed
        with pytest.raises(ClosedError):
            ws.send("too late")

    room.keywords["on_close"] = left
    frames = room.talk(sending(data + frame(TEXT, b"after the end")))
    assert len(frames) == 1
    assert frames[0].opcode == CLOSE
    assert frames[0].data.startswith(answer)
    assert room.closes == [told]
    assert room.messages == []


def test_this_side_closes(plain_base: EventBase) -> None:
    """What was sent before arrives, then the close frame; on_close is not told, and nothing else."""
    room = Room(plain_base)

    def bye(ws: WebSocket, data: Any) -> None:
        ws.send("last")
        ws.close(4000, "grüß")
        ws.close()
        assert ws.closed
        for call in (lambda: ws.send("x"), ws.ping):
            with pytest.raises(ClosedError):
                call()
        assert room.server.connections == 1

    room.keywords["on_message"] = bye

    def script(sock: socket.socket) -> list[Optional[Frame]]:
        sock.sendall(frame(TEXT, b"1") + frame(TEXT, b"2"))
        found = [read_frame(sock), read_frame(sock)]
        sock.sendall(frame(TEXT, b"3") + close_frame(4000))
        return [*found, *until_closed(sock)]

    assert room.talk(script) == [
        Frame(TEXT, b"last"),
        Frame(CLOSE, struct.pack("!H", 4000) + "grüß".encode()),
    ]
    assert room.closes == []
    room.settle()


def test_a_connection_that_breaks_is_told_as_1006(plain_base: EventBase) -> None:
    """Without a close frame; what came before is told first."""
    room = Room(plain_base)
    room.talk(lambda sock: sock.sendall(frame(TEXT, b"last words")))
    room.settle()
    assert room.messages == ["last words"]
    assert [code for code, _ in room.closes] == [1006]


def test_who_answers_no_ping_is_given_up(plain_base: EventBase) -> None:
    """With 1006, after two intervals; who answers stays."""
    room = Room(plain_base, ping_interval=0.05)

    def script(sock: socket.socket) -> int:
        for _ in range(3):
            got = read_frame(sock)
            assert got == Frame(PING, b"")
            sock.sendall(frame(PONG, b""))
        return len([each for each in until_closed(sock) if each.opcode == PING])

    assert room.talk(script) >= 1
    assert [code for code, _ in room.closes] == [1006]
    assert "ping" in room.closes[0][1]


def test_pings_are_answered_by_themselves(plain_base: EventBase, run: Run) -> None:
    """on_pong gets what the ping carried."""
    room = Room(plain_base)
    got: list[bytes] = []

    def pong(ws: WebSocket, data: bytes) -> None:
        got.append(data)
        ws.close()
        room.server.stop()

    def opened_(operation: Any) -> None:
        ws = operation.result()
        ws.on_pong = pong
        with pytest.raises(ValueError, match="125"):
            ws.ping(b"x" * 126)
        ws.ping(bytearray(b"y" * 125))

    WebSocket.connect(plain_base, room.url, opened_)
    run(plain_base)
    assert got == [b"y" * 125]


def test_what_waits_for_the_other_side_is_counted(plain_base: EventBase) -> None:
    """unsent grows while it does not read; one that takes nothing for the write timeout is given up."""
    room = Room(plain_base)
    room.server.write_timeout = 0.3

    def flood(ws: WebSocket, data: Any) -> None:
        for _ in range(64):
            ws.send(b"x" * 1000000)
        unsent.append(ws.unsent)

    unsent: list[int] = []
    room.keywords["on_message"] = flood

    def left(ws: WebSocket, code: int, reason: str) -> None:
        room.left(ws, code, reason)
        assert ws.unsent == 0
        plain_base.loop_exit()

    room.keywords["on_close"] = left
    with socket.create_connection(room.address) as sock:
        sock.sendall(handshake() + frame(TEXT, b"go"))
        plain_base.call_later(20, plain_base.loop_exit)
        plain_base.dispatch()
    assert unsent[0] > 60000000
    assert [code for code, _ in room.closes] == [1006]


def test_a_flood_of_pings_does_not_fill_the_memory(plain_base: EventBase) -> None:
    """Only the last one is answered while the client takes nothing."""
    room = Room(plain_base)
    count = 20000
    most: list[int] = []

    def look() -> None:
        if room.sockets:
            most.append(room.sockets[0].unsent)

    plain_base.every(0.005, look, keepalive=False)

    def accept(request: Request) -> None:
        room.accept(request)
        room.sockets[-1].bufferevent.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)

    room.server.handler = accept

    def script(sock: socket.socket) -> list[Frame]:
        for i in range(count):
            sock.sendall(frame(PING, b"%125d" % i))
        sock.sendall(close_frame(1000))
        return until_closed(sock)

    frames = room.talk(script)
    assert frames[-1].opcode == CLOSE
    assert max(most, default=0) < 1000000


def test_it_lives_without_a_reference(base: EventBase) -> None:
    """As long as it is open, and no longer."""
    room = Room(base)

    def accept(request: Request) -> None:
        kept.append(weakref.ref(WebSocket.accept(request, on_message=lambda ws, data: ws.send(data))))

    kept: list[Any] = []
    room.server.handler = accept

    def script(sock: socket.socket) -> Optional[Frame]:
        for _ in range(3):
            gc.collect()
            sock.sendall(frame(TEXT, b"x"))
            found = read_frame(sock)
        sock.sendall(close_frame(1000))
        until_closed(sock)
        return found

    assert room.talk(script) == Frame(TEXT, b"x")
    base.loop(LoopFlag.NONBLOCK)
    for _ in range(3):
        gc.collect()
    assert kept[0]() is None


ENDS: dict[str, Callable[[Room, WebSocket], object]] = {
    "server.close": lambda room, ws: room.server.close(),
    "base.close": lambda room, ws: room.base.close(),
    "connection.close": lambda room, ws: ws.request.connection.close(),  # type: ignore[union-attr]
    "request.close": lambda room, ws: ws.request.close(),  # type: ignore[union-attr]
    "bufferevent.close": lambda room, ws: ws.bufferevent.close(),
    "bufferevent.close(flush)": lambda room, ws: ws.bufferevent.close(flush=True),
    "ws.close": lambda room, ws: ws.close(),
    "with": lambda room, ws: ws.__exit__(None, None, None),
}


@pytest.mark.parametrize("where", ["handler", "message", "close", "pong", "outside"])
@pytest.mark.parametrize("how", ENDS)
def test_it_may_be_ended_anywhere(base: EventBase, how: str, where: str) -> None:
    """In any callback, and outside of the loop; nothing is called afterwards."""
    room = Room(base)
    after: list[str] = []
    ended: list[WebSocket] = []

    def end(ws: WebSocket) -> None:
        ended.append(ws)
        ENDS[how](room, ws)
        assert ws.closed
        assert ws.bufferevent.closed or not how.startswith("bufferevent")
        with pytest.raises(ClosedError):
            ws.send("x")
        ws.close()

    def accept(request: Request) -> None:
        ws = WebSocket.accept(request)
        ws.on_message = lambda ws, data: told(ws, "message")
        ws.on_close = lambda ws, code, reason: told(ws, "close")
        ws.on_pong = lambda ws, data: told(ws, "pong")
        ws.send("hello")
        told(ws, "handler")
        if where == "outside":
            room.sockets.append(ws)
            base.loop_exit()

    def told(ws: WebSocket, what: str) -> None:
        if ended and ended[0] is ws:
            after.append(what)
        elif what == where:
            end(ws)

    room.server.handler = accept
    with socket.create_connection(room.address) as sock:
        sock.sendall(handshake() + frame(TEXT, b"m") + frame(PONG, b"p") + frame(TEXT, b"n"))
        sock.sendall(close_frame(1000))
        base.call_later(5, base.loop_exit)
        while not ended and not base.closed:
            base.loop(LoopFlag.ONCE)
            if where == "outside" and room.sockets:
                end(room.sockets[0])
        if not base.closed:
            for _ in range(3):
                base.loop(LoopFlag.NONBLOCK)
            room.server.close()
    assert after == []


def test_stopping_the_server_closes_them(plain_base: EventBase, run: Run) -> None:
    """With 1001: the operation is done when the clients have answered."""
    room = Room(plain_base)
    stopped: list[Any] = []

    def opened_(operation: Any) -> None:
        kept.append(operation.result())
        room.server.stop(stopped.append)

    def left(ws: WebSocket, code: int, reason: str) -> None:
        told.append((code, reason))

    kept: list[Any] = []
    told: list[tuple[int, str]] = []
    WebSocket.connect(plain_base, room.url, opened_, on_close=left)
    run(plain_base)
    assert told == [(1001, "the server stops")] == room.closes
    assert stopped[0].error is None
    assert room.server.closed


def test_an_error_in_a_callback_is_the_loops(plain_base: EventBase, run: Run) -> None:
    """It comes out of dispatch(), or goes to error_handler; the WebSocket stays open, and nothing is lost."""
    room = Room(plain_base)

    def fail(ws: WebSocket, data: Any) -> None:
        room.messages.append(data)
        if data == "bad":
            raise LookupError(data)
        ws.send(data)

    room.keywords["on_message"] = fail

    def script(sock: socket.socket) -> Optional[Frame]:
        sock.sendall(frame(TEXT, b"bad") + frame(TEXT, b"good"))
        return read_frame(sock)

    with pytest.raises(LookupError, match="bad"):
        room.talk(script)
    run(plain_base)
    assert room.messages == ["bad", "good"]

    caught: list[Any] = []
    plain_base.error_handler = lambda error, source: caught.append((error, source))
    assert room.talk(script) == Frame(TEXT, b"good")
    assert isinstance(caught[0][0], LookupError)
    assert caught[0][1] is room.sockets[-1]


def test_a_handler_that_fails_after_accepting_closes_it(
    plain_base: EventBase, caplog: pytest.LogCaptureFixture
) -> None:
    """With 1011, and its traceback in the log."""
    room = Room(plain_base)

    def accept(request: Request) -> None:
        WebSocket.accept(request, on_close=room.left)
        raise LookupError("afterwards")

    room.server.handler = accept
    frames = room.talk(sending(close_frame(1000)))
    assert frames == [Frame(CLOSE, struct.pack("!H", 1011))]
    assert "afterwards" in caplog.text


def test_a_handler_need_not_catch_a_bad_handshake(
    plain_base: EventBase, caplog: pytest.LogCaptureFixture
) -> None:
    """It was answered, and is the client's fault: no traceback."""
    room = Room(plain_base)
    room.server.handler = WebSocket.accept
    request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

    def script(sock: socket.socket) -> bytes:
        sock.sendall(request)
        return read_all(sock)

    assert split(Client(plain_base, room.address, script).finish())[0] == 400
    assert [record.levelname for record in caplog.records if record.levelno >= 30] == []


def test_it_cannot_be_accepted_before_the_request_is_there(plain_base: EventBase) -> None:
    """ValueError in on_request, where the body may still come; on 2.1 that is later."""
    room = Room(plain_base)
    errors: list[Optional[str]] = []

    def early(request: Request) -> None:
        if request.headers.get("X-Early"):
            try:
                WebSocket.accept(request).close()
                errors.append(None)
            except ValueError as error:
                errors.append(str(error))

    room.server.on_request = early

    def script(sock: socket.socket) -> bytes:
        sock.sendall(handshake("/", "X-Early: yes"))
        got = sock.recv(4096)
        sock.sendall(close_frame(1000))
        return got

    assert split(Client(plain_base, room.address, script).finish())[0] == 101
    assert len(errors) == 1
    assert errors[0] is None or "on_request" in errors[0]


def test_another_thread_may_not(plain_base: EventBase) -> None:
    """WrongThreadError, and nothing is changed."""
    room = Room(plain_base)
    caught: list[type] = []

    def elsewhere(ws: WebSocket) -> None:
        for call in (lambda: ws.send("x"), ws.ping, ws.close):
            try:
                call()
            except BaseException as error:
                caught.append(type(error))

    def message(ws: WebSocket, data: Any) -> None:
        thread = threading.Thread(target=elsewhere, args=(ws,))
        thread.start()
        thread.join()
        ws.send("fine")

    room.keywords["on_message"] = message
    frames = room.talk(sending(frame(TEXT, b"x") + close_frame(1000)))
    assert frames[0] == Frame(TEXT, b"fine")
    assert caught == [WrongThreadError] * 3


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda ws: ws.close(1006), ValueError),
        (lambda ws: ws.close(999), ValueError),
        (lambda ws: ws.close("1000"), TypeError),
        (lambda ws: ws.close(1000, "é" * 62), ValueError),
        (lambda ws: ws.close(1000, b"x"), TypeError),
        (lambda ws: ws.send(1), TypeError),
        (lambda ws: ws.send(None), TypeError),
        (lambda ws: ws.send("\ud800"), UnicodeEncodeError),
        (lambda ws: ws.ping("x"), TypeError),
        (lambda ws: setattr(ws, "on_message", 1), TypeError),
        (lambda ws: WebSocket(), TypeError),
        (WebSocket.accept, TypeError),
        (lambda ws: WebSocket.accept(None), TypeError),
        (lambda ws: WebSocket.accept(ws.request, subprotocols="ab"), TypeError),
        (lambda ws: WebSocket.accept(ws.request, subprotocols=["a b"]), ValueError),
        (lambda ws: WebSocket.accept(ws.request, subprotocols=["a", "a"]), ValueError),
        (lambda ws: WebSocket.accept(ws.request, origins="http://x"), TypeError),
        (lambda ws: WebSocket.accept(ws.request, ping_interval=0), ValueError),
        (lambda ws: WebSocket.accept(ws.request, ping_interval=-1), ValueError),
        (lambda ws: WebSocket.accept(ws.request, max_message_size=-1), ValueError),
        (lambda ws: WebSocket.accept(ws.request, on_close=1), TypeError),
        (lambda ws: WebSocket.connect(ws.base, "http://x/"), ValueError),
        (lambda ws: WebSocket.connect(ws.base, "ws://x/#a"), ValueError),
        (lambda ws: WebSocket.connect(ws.base, "ws:///a"), ValueError),
        (lambda ws: WebSocket.connect(ws.base, "ws://x/", headers={"Upgrade": "x"}), ValueError),
        (lambda ws: WebSocket.connect(ws.base, "ws://x/", headers={"A": "x\r\nB: c"}), ValueError),
        (lambda ws: WebSocket.connect(ws.base, "ws://x/", 1), TypeError),
        (lambda ws: WebSocket.connect(ws.base, "ws://x/", nothing=1), TypeError),
        (lambda ws: WebSocket.connect(None, "ws://x/"), TypeError),
    ],
)
def test_wrong_arguments_are_refused(plain_base: EventBase, call: Any, error: type) -> None:
    """At the call; it stays open."""
    room = Room(plain_base)
    outcomes: list[Any] = []

    def message(ws: WebSocket, data: Any) -> None:
        try:
            call(ws)
        except Exception as raised:
            outcomes.append(raised)
        ws.send("open")

    room.keywords["on_message"] = message
    assert room.talk(sending(frame(TEXT, b"x") + close_frame(1000)))[0] == Frame(TEXT, b"open")
    assert isinstance(outcomes[0], error)


def test_every_beginning_of_a_handshake_may_be_the_end(plain_base: EventBase) -> None:
    """Whatever came before the client left, nothing is left of it."""
    room = Room(plain_base)
    data = handshake() + frame(TEXT, b"hello") + close_frame(1000)
    socks = []
    for size in range(len(data)):
        sock = socket.create_connection(room.address)
        sock.sendall(data[:size])
        if size % 2:
            sock.shutdown(socket.SHUT_WR)
            socks.append(sock)
        else:
            sock.close()
        plain_base.loop(LoopFlag.NONBLOCK)
    for sock in socks:
        sock.close()
    room.settle()


def test_a_pending_connect_can_be_cancelled(plain_base: EventBase, run: Run) -> None:
    """Its callback is told CancelledError."""
    told: list[Any] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"ws://127.0.0.1:{listener.getsockname()[1]}/"
        operation = WebSocket.connect(plain_base, url, told.append)
        plain_base.call_later(0.01, operation.cancel)
        run(plain_base)
    assert told == [operation]
    assert isinstance(operation.error, CancelledError)


def test_who_ended_the_sending_below_hears_of_the_end(plain_base: EventBase) -> None:
    """Pings, and the end, cannot be answered then; that is no failure of anybody."""

    def end(ws: WebSocket, data: Any) -> None:
        ws.bufferevent.write_eof()

    room = Room(plain_base, on_message=end, ping_interval=0.01)

    def script(sock: socket.socket) -> bytes:
        sock.sendall(frame(TEXT, b"x"))
        rest = read_all(sock)
        sock.sendall(frame(PING, b"?") + close_frame(1000))
        return rest

    room.talk(script)
    room.settle()
    assert [code for code, _ in room.closes] == [1000]


def test_close_after_the_sending_was_ended_below(plain_base: EventBase) -> None:
    """It ends as any other."""

    def end(ws: WebSocket, data: Any) -> None:
        ws.bufferevent.write_eof()
        ws.close()

    room = Room(plain_base, on_message=end)

    def script(sock: socket.socket) -> bytes:
        sock.sendall(frame(TEXT, b"x"))
        return read_all(sock)

    room.talk(script)
    room.settle()
    assert room.sockets[0].closed
    assert room.closes == []
