"""WebSocket peers by hand, frame by frame, for what no library would send."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import struct
from typing import NamedTuple, Optional

from http_peer import read_head

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
PROOF = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


class Frame(NamedTuple):
    """A frame as it came."""

    opcode: int
    data: bytes
    final: bool = True


def frame(opcode: int, data: bytes = b"", *, final: bool = True, mask: bool = True) -> bytes:
    """Make a frame; a client's are masked."""
    first = opcode | (0x80 if final else 0)
    size = len(data)
    if size < 126:
        head = struct.pack("!BB", first, size | (0x80 if mask else 0))
    elif size < 65536:
        head = struct.pack("!BBH", first, 126 | (0x80 if mask else 0), size)
    else:
        head = struct.pack("!BBQ", first, 127 | (0x80 if mask else 0), size)
    if not mask:
        return head + data
    key = os.urandom(4)
    stream = (key * (size // 4 + 1))[:size]
    masked = (int.from_bytes(data, "big") ^ int.from_bytes(stream, "big")).to_bytes(size, "big")
    return head + key + masked


def close_frame(code: int, reason: bytes = b"", *, mask: bool = True) -> bytes:
    return frame(CLOSE, struct.pack("!H", code) + reason, mask=mask)


def read_exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = sock.recv(size - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def read_frame(sock: socket.socket) -> Optional[Frame]:
    """Read one that is not masked; None at the end of the connection."""
    try:
        first, size = read_exactly(sock, 2)
        if size & 0x80:
            raise AssertionError("a server's frame is masked")
        if size == 126:
            (size,) = struct.unpack("!H", read_exactly(sock, 2))
        elif size == 127:
            (size,) = struct.unpack("!Q", read_exactly(sock, 8))
        return Frame(first & 15, read_exactly(sock, size), bool(first & 0x80))
    except (EOFError, ConnectionError):
        return None


def handshake(path: str = "/", *headers: str, **changes: Optional[str]) -> bytes:
    """Make an opening request; *changes* are values of its headers, with _ for -, or None for without."""
    lines = {
        "Host": "localhost",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": KEY,
    }
    for name, value in changes.items():
        lines.pop(name.replace("_", "-"))
        if value is not None:
            lines[name.replace("_", "-")] = value
    made = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in lines.items()), *headers]
    return "\r\n".join([*made, "", ""]).encode()


def open_on(sock: socket.socket, path: str = "/", *headers: str, **changes: Optional[str]) -> None:
    """Open a WebSocket on a connected socket."""
    sock.sendall(handshake(path, *headers, **changes))
    head = read_head(sock)
    assert head.startswith(b"HTTP/1.1 101 "), head
    assert f"Sec-WebSocket-Accept: {PROOF}\r\n".encode() in head


def proof_of(key: str) -> str:
    """Return what answers *key*."""
    made = hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    return base64.b64encode(made).decode()
