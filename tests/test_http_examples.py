"""The web servers among the examples run, as they stand, and end when they are told to."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from contextlib import ExitStack
from typing import Optional

import pytest
from httpserver import Asked, read_request, serving
from running_example import DEADLINE, EXAMPLES, running
from ws_peer import CLOSE, TEXT, Frame, close_frame, frame, handshake, open_on, read_frame

if not EXAMPLES.exists():
    pytest.skip("needs the source tree", allow_module_level=True)


def fetch(url: str, data: Optional[bytes] = None, method: str = "GET") -> tuple[int, bytes]:
    """Make a request, past any proxy."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, data, method=method)
    try:
        with opener.open(request, timeout=DEADLINE) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_hello() -> None:
    """It greets."""
    with running("http_hello.py") as url:
        assert fetch(f"{url}?name=M%C3%A9lanie") == (200, "Hello, Mélanie!\n".encode())


def test_json() -> None:
    """Items are added, listed and deleted; mistakes are told."""
    with running("http_json.py") as url:
        status, body = fetch(url, b'{"text": "milk"}', "POST")
        assert (status, json.loads(body)) == (201, {"id": 1, "text": "milk"})
        assert json.loads(fetch(url)[1]) == [{"id": 1, "text": "milk"}]
        assert fetch(url, b"no", "POST")[0] == 400
        assert fetch(f"{url}?id=1", method="DELETE")[0] == 204
        assert fetch(f"{url}?id=1", method="DELETE")[0] == 404
        assert fetch(url, b"", "PUT")[0] == 405


def test_upload() -> None:
    """The digest of all that was sent."""
    data = os.urandom(1000000)
    with running("http_upload.py") as url:
        status, body = fetch(url, data, "PUT")
        assert (status, body) == (200, f"{hashlib.sha256(data).hexdigest()} {len(data)}\n".encode())


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_proxy() -> None:
    """What curl asks for goes through it both ways; what cannot be had is told."""
    large = os.urandom(1_000_000)

    def answer(asked: Asked) -> Optional[bytes]:
        assert not {"proxy-connection", "x-own"} & asked.headers.keys()
        if asked.target == "/cut":
            return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nno size\r\n"
        if asked.target == "/chunks":
            return b"HTTP/1.1 201 Made\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
        if asked.method == "HEAD":
            return b"HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n"
        body = asked.body or large
        return b"HTTP/1.1 404 Not Found\r\nX: y\r\nContent-Length: %d\r\n\r\n" % len(body) + body

    with serving(answer) as server, running("http_proxy.py") as proxy, socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))

        def curl(*words: str, data: bytes = b"", code: int = 0) -> bytes:
            command = ["curl", "-q", "-sS", "-m", str(DEADLINE), "-x", proxy, "--noproxy", "", *words]
            done = subprocess.run(command, input=data, capture_output=True, check=False)
            assert done.returncode == code, done.stderr
            return done.stdout

        assert (
            curl(f"{server.url}/x", f"{server.url}/x", "-H", "Connection: X-Own", "-H", "X-Own: 1")
            == 2 * large
        )
        sent = curl(
            f"{server.url}/x", f"{server.url}/x", "-w", "%{http_code}", "--data-binary", "@-", data=large
        )
        assert sent == (large + b"404") * 2
        assert curl(f"{server.url}/chunks", "-w", "%{http_code}") == b"ok201"
        assert b"Content-Length: 77\r\n" in curl("-I", f"{server.url}/x")
        assert curl(f"{server.url}/cut", code=18) == b"abc"
        status = ("-o", os.devnull, "-w", "%{http_code}")
        assert curl(f"http://127.0.0.1:{nobody.getsockname()[1]}/", *status) == b"502"
        assert fetch(f"{proxy}/x")[0] == 400
        assert curl("https://x/", code=56) == b""
        assert server.connections >= 6


def test_a_proxy_waits_for_a_slow_client() -> None:
    """It takes no more from the server than it can pass on."""
    size = 40_000_000
    counts = []

    def script(sock: socket.socket) -> None:
        read_request(sock.makefile("rb"))
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        sock.settimeout(0.2)
        left = size
        while left:
            try:
                left -= sock.send(bytes(min(left, 65536)))
            except OSError:  # TimeoutError has that name from Python 3.10 on
                assert not counts
                counts.append(size - left)
                go_on.set()
                sock.settimeout(DEADLINE)

    go_on = threading.Event()
    with serving(script=script) as server, running("http_proxy.py") as proxy:
        address = ("127.0.0.1", int(proxy.rpartition(":")[2]))
        with socket.create_connection(address, timeout=DEADLINE) as sock:
            sock.sendall(b"GET %s/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % server.url.encode())
            assert go_on.wait(DEADLINE)
            received = 0
            while part := sock.recv(1_000_000):
                received += len(part)
    assert counts[0] < size // 2
    assert size < received < size + 1000


def test_events() -> None:
    """Ticks come to whoever listens, until the server is told to end."""
    with running("http_events.py") as url:
        assert b"EventSource" in fetch(url)[1]
        port = int(url.rstrip("/").rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as sock:
            sock.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
            got = b""
            while got.count(b"data: ") < 3:
                part = sock.recv(4096)
                assert part
                got += part
        assert b"Content-Type: text/event-stream\r\n" in got


def test_chat() -> None:
    """A page, and everybody in it is told what one says; who breaks the rules leaves."""
    pytest.importorskip("wsproto")
    with running("ws_chat.py") as url:
        page = fetch(url)[1]
        assert b"new WebSocket(" in page
        port = int(url.rstrip("/").rpartition(":")[2])
        origin = f"Origin: http://127.0.0.1:{port}"
        with ExitStack() as stack:
            one, other = (
                stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=DEADLINE))
                for _ in range(2)
            )
            for sock, name in ((one, b"one"), (other, b"other")):
                open_on(sock, "/chat", origin, "Sec-WebSocket-Protocol: chat", Host=f"127.0.0.1:{port}")
                sock.sendall(frame(TEXT, name))
                assert read_frame(sock) == Frame(TEXT, b"* " + name + b" is here")
            assert read_frame(one) == Frame(TEXT, b"* other is here")
            other.sendall(frame(TEXT, "grüß dich".encode()))
            for sock in (one, other):
                assert read_frame(sock) == Frame(TEXT, "other: grüß dich".encode())
            other.sendall(frame(TEXT, b"x" * 2000))
            assert read_frame(one) == Frame(TEXT, b"* other has left")
            one.sendall(close_frame(1000))
            assert read_frame(one) == Frame(CLOSE, close_frame(1000, mask=False)[2:])
        with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as sock:
            sock.sendall(handshake("/chat", "Origin: http://evil.example"))
            assert sock.recv(12) == b"HTTP/1.1 403"
