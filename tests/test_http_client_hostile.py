"""The HTTP client against servers that are broken, hostile or real, and in programs that nobody writes."""

from __future__ import annotations

import contextlib
import functools
import gc
import http.server
import os
import random
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import pytest
from httpserver import OK, Asked, read_head, reset, serving

from libevent_cffi import EventBase, util
from libevent_cffi.errors import CancelledError, ClosedError, HTTPError
from libevent_cffi.flags import RequestErrorKind
from libevent_cffi.http import ClientRequest, Connection, fetch

WAIT = 15.0
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

#: What servers send and close: what becomes of the request.
HOSTILE: dict[str, tuple[bytes, object]] = {
    "nothing": (b"", RequestErrorKind.EOF),
    "garbage": (os.urandom(64).replace(b"H", b"h"), RequestErrorKind.INVALID_HEADER),
    "zeros": (bytes(70000), RequestErrorKind.INVALID_HEADER),
    "only line ends": (b"\r\n" * 1000, RequestErrorKind.INVALID_HEADER),
    "an endless status line": (b"HTTP/1.1 200 " + b"x" * 100_000, RequestErrorKind.DATA_TOO_LONG),
    "an endless header": (b"HTTP/1.1 200 OK\r\nA: " + b"x" * 100_000, RequestErrorKind.DATA_TOO_LONG),
    "endless headers": (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 50_000, RequestErrorKind.DATA_TOO_LONG),
    "two lengths": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
        RequestErrorKind.INVALID_HEADER,
    ),
    "a length and chunks": (CHUNKED[:-2] + b"Content-Length: 2\r\n\r\nab", RequestErrorKind.INVALID_HEADER),
    "a huge length": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n",
        RequestErrorKind.DATA_TOO_LONG,
    ),
    "a huge chunk": (CHUNKED + b"FFFFFFFFFFFFFF\r\n", RequestErrorKind.DATA_TOO_LONG),
    "a bad chunk": (CHUNKED + b"2\r\nabc\r\n", RequestErrorKind.INVALID_HEADER),
    "endless chunks": (
        CHUNKED + b"ffff\r\n" + (b"x" * 65535 + b"\r\nffff\r\n") * 300,
        RequestErrorKind.DATA_TOO_LONG,
    ),
    "a body cut off": (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", RequestErrorKind.EOF),
    "chunks cut off": (CHUNKED + b"5\r\nab", RequestErrorKind.EOF),
    "no last chunk": (CHUNKED + b"2\r\nab\r\n", RequestErrorKind.EOF),
}


@pytest.mark.parametrize(("data", "kind"), HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_response_is_told_once(plain_base: EventBase, data: bytes, kind: object) -> None:
    """As an HTTPError that says what is wrong; and the next request is as if nothing had been."""
    count = iter(range(9))

    def script(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(data if next(count) == 0 else OK)

    told: list[object] = []
    with serving(script=script) as server, Connection(plain_base, server.address) as connection:
        bad = connection.request("GET", "/", told.append)
        good = connection.request("GET", "/", told.append)
        plain_base.dispatch()
    assert told == [bad, good]
    assert isinstance(bad.error, HTTPError)
    assert bad.error.kind is kind
    assert good.result().text() == "ok"


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_server_that_stops_at_any_byte(plain_base: EventBase, how: str) -> None:
    """Every prefix of a response is a failure, told once; whatever came was no result."""
    whole = CHUNKED + b"3\r\nabc\r\n1\r\nd\r\n0\r\nX: y\r\n\r\n"
    sizes = iter(range(len(whole)))

    def script(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(whole[: next(sizes)])
        if how == "reset":
            reset(sock)

    told: list[ClientRequest] = []
    with serving(script=script) as server:
        for _ in whole:
            fetch(plain_base, server.url, told.append)
        plain_base.dispatch()
    assert len(told) == len(whole)
    for request in told:
        assert isinstance(request.error, (HTTPError, ConnectionResetError))
        if isinstance(request.error, HTTPError):
            assert request.error.kind is RequestErrorKind.EOF


def test_a_response_byte_by_byte(plain_base: EventBase) -> None:
    """It is the same."""

    def script(sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        read_head(sock)
        for byte in CHUNKED + b"3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n":
            sock.sendall(bytes([byte]))

    pieces: list[bytes] = []
    with serving(script=script) as server:
        fetch(plain_base, server.url, on_chunk=lambda r, chunk: pieces.append(bytes(chunk))).wait(WAIT)
    assert b"".join(pieces) == b"abcd"


def test_a_hundred_thousand_headers(plain_base: EventBase) -> None:
    """They are taken where the limit is lifted, and found at once."""
    lines = b"".join(b"X-%d: %d\r\n" % (n, n) for n in range(100_000))
    with serving(b"HTTP/1.1 200 OK\r\n" + lines + b"Content-Length: 0\r\n\r\n") as server:
        response = fetch(plain_base, server.url, max_headers_size=None).wait(WAIT)
    assert len(response.headers) == 100_001
    assert response.headers["x-99999"] == "99999"


# -- real servers --------------------------------------------------------------------------------------------


def test_the_servers_of_pythons_own_library(plain_base: EventBase, tmp_path: Path) -> None:
    """Files from http.server, over HTTP/1.0 and 1.1."""
    (tmp_path / "a.txt").write_bytes(b"text" * 50_000)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

    for version in ("HTTP/1.0", "HTTP/1.1"):
        Handler.protocol_version = version
        handler = functools.partial(Handler, directory=str(tmp_path))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            with Connection(plain_base, server.server_address[:2]) as connection:  # type: ignore[arg-type]
                files = [connection.request("GET", "/a.txt") for _ in range(3)]
                missing = connection.request("GET", "/b.txt")
                assert {bytes(each.wait(WAIT).body) for each in files} == {b"text" * 50_000}
                assert missing.wait(WAIT).status == 404
                assert connection.request("HEAD", "/a.txt").wait(WAIT).headers["content-length"] == "200000"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


NGINX = """
daemon off; master_process off; worker_processes 1; error_log {folder}/error.log; pid {folder}/pid;
events {{ worker_connections 64; }}
http {{
    access_log off; client_body_temp_path {folder}/body; client_body_in_single_buffer on;
    proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u;
    scgi_temp_path {folder}/s;
    server {{
        listen 127.0.0.1:{port}; listen unix:{folder}/sock; root {folder}/www; keepalive_requests 5;
        gzip on; gzip_min_length 1; gzip_types text/plain;
        location /old {{ return 301 /file.txt; }}
        location /echo {{ client_max_body_size 1k; return 200 "$request_method $content_length $http_x"; }}
        location /limited {{ limit_except GET {{ deny all; }} try_files /file.txt =404; }}
    }}
}}
"""


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """Debian's nginx, with a configuration of its own; its port, and the folder it is in."""
    program = shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))
    if program is None:
        pytest.skip("nginx is not installed")
    folder = tmp_path_factory.mktemp("nginx")
    (folder / "www").mkdir()
    (folder / "www" / "file.txt").write_bytes(b"a file\n" * 40_000)
    with socket.socket() as placeholder:
        placeholder.bind(("127.0.0.1", 0))
        port = placeholder.getsockname()[1]
    (folder / "conf").write_text(NGINX.format(folder=folder, port=port))
    command = [program, "-p", str(folder), "-c", str(folder / "conf"), "-e", str(folder / "error.log")]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        with EventBase() as base:
            there = Connection(base, ("127.0.0.1", port), retries=50, retry_delay=0.001).request(
                "GET", "/echo"
            )
            there.wait(WAIT)
        yield port, folder
    finally:
        process.terminate()
        process.communicate(timeout=WAIT)


def test_nginx(plain_base: EventBase, nginx: tuple[int, Path]) -> None:
    """Files, ranges, compression, uploads, errors and redirects; and a connection that it ends after five."""
    port, folder = nginx
    content = (folder / "www" / "file.txt").read_bytes()
    lost: list[object] = []
    with Connection(plain_base, ("127.0.0.1", port), on_close=lost.append) as connection:
        files = [connection.request("GET", "/file.txt") for _ in range(12)]
        assert {bytes(each.wait(WAIT).body) for each in files} == {content}
        assert len(lost) == 2
        part = connection.request("GET", "/file.txt", headers={"Range": "bytes=7-12"}).wait(WAIT)
        assert (part.status, part.text()) == (206, "a file")
        packed = connection.request("GET", "/file.txt", headers={"Accept-Encoding": "gzip"}).wait(WAIT)
        assert packed.headers["content-encoding"] == "gzip"
        assert packed.headers["transfer-encoding"] == "chunked"
        tagged = connection.request("HEAD", "/file.txt").wait(WAIT)
        same = connection.request("GET", "/file.txt", headers={"If-None-Match": tagged.headers["etag"]})
        assert same.wait(WAIT).status == 304
        echo = connection.request("POST", "/echo", body=b"x" * 1000, headers={"X": "y"}).wait(WAIT)
        assert echo.text() == "POST 1000 y"
        assert connection.request("POST", "/echo", body=b"x" * 100_000).wait(WAIT).status == 413
        assert connection.request("DELETE", "/limited").wait(WAIT).status == 403
        assert connection.request("GET", "/none").wait(WAIT).status == 404
        assert connection.request("OPTIONS", "*").wait(WAIT).status >= 400
    moved = fetch(plain_base, f"http://127.0.0.1:{port}/old", follow_redirects=1).wait(WAIT)
    assert moved.url.path == "/file.txt"
    assert len(moved.body) == len(content)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no UNIX sockets")
def test_nginx_over_a_unix_socket(plain_base: EventBase, nginx: tuple[int, Path]) -> None:
    """The same server, without a port."""
    with Connection(plain_base, nginx[1] / "sock") as connection:
        assert connection.request("GET", "/echo").wait(WAIT).text() == "GET  "


def test_many_requests_at_once(plain_base: EventBase, nginx: tuple[int, Path]) -> None:
    """Each has its own connection, and its own answer."""
    done: list[str] = []
    for n in range(50):
        fetch(
            *(plain_base, f"http://127.0.0.1:{nginx[0]}/echo", lambda r: done.append(r.result().text())),
            headers={"X": str(n)},
        )
    plain_base.dispatch()
    assert sorted(done) == sorted(f"GET  {n}" for n in range(50))


# -- random programs -----------------------------------------------------------------------------------------

PROGRAMS = int(os.environ.get("LIBEVENT_CFFI_PROGRAMS", "1000")) // 20
SEED = os.environ.get("LIBEVENT_CFFI_SEED")
ANSWERS: tuple[Optional[bytes], ...] = (
    *(OK, OK, OK, OK[:-1], b"HTTP/1.1 204 No\r\n\r\n", None, b"nonsense\r\n\r\n", OK + b"more"),
    CHUNKED + b"3\r\nabc\r\n0\r\n\r\n",
    CHUNKED + b"3\r\nabc\r\n",
    b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx",
    b"HTTP/1.1 302 Go\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n",
)


class Program:
    """One of them: connections and requests, and what is done with them at any point."""

    def __init__(self, seed: int, address: tuple[str, int]) -> None:
        self.random = random.Random(seed)
        self.address = address
        self.base = EventBase(error_handler=lambda error, source: None)
        self.connections: list[Connection] = []
        self.requests: list[ClientRequest] = []
        self.told: list[ClientRequest] = []
        self.calls = 0

    def run(self) -> None:
        for _ in range(self.random.randrange(5, 25)):
            self.step()
        if self.random.random() < 0.7:
            end = time.monotonic() + WAIT
            while not self.base.closed and any(not each.done for each in self.requests):
                assert time.monotonic() < end, "a request that never ends"
                self.base.poll(0.01)
        self.base.close()
        assert [each for each in self.requests if not each.done] == []
        assert sorted(map(id, self.told)) == sorted(map(id, self.requests))

    def step(self, *_: object) -> None:
        self.calls += 1
        if self.calls > 200:
            return
        actions = [self.ask] * 4 + [self.fetch, self.connect, self.cancel, self.close, self.pause]
        action = self.random.choice([*actions, self.drop, self.poll, self.end, self.fail])
        with contextlib.suppress(ClosedError):
            action()

    def finished(self, request: ClientRequest) -> None:
        assert request.done
        assert request not in self.told
        self.told.append(request)
        self.step()

    def keywords(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name in ("on_headers", "on_chunk"):
            if self.random.random() < 0.3:
                found[name] = self.step
        return found

    def connect(self) -> None:
        address = self.address if self.random.random() < 0.9 else ("127.0.0.1", 1)
        on_close = self.step if self.random.random() < 0.3 else None
        self.connections.append(Connection(self.base, address, on_close=on_close, timeout=0.03))

    def ask(self) -> None:
        if not self.connections:
            self.connect()
        body = b"x" * self.random.choice([0, 1, 1_000_000])
        method = self.random.choice(["GET", "POST"])
        connection = self.random.choice(self.connections)
        self.requests.append(connection.request(method, "/", self.finished, body=body, **self.keywords()))

    def fetch(self) -> None:
        url = f"http://127.0.0.1:{self.address[1]}/"
        follow = self.random.randrange(3)
        made = fetch(self.base, url, self.finished, follow_redirects=follow, timeout=0.03, **self.keywords())
        self.requests.append(made)

    def cancel(self) -> None:
        if self.requests:
            self.random.choice(self.requests).cancel()

    def pause(self) -> None:
        if self.requests:
            request = self.random.choice(self.requests)
            request.pause_reading()
            self.base.call_later(self.random.random() / 20, request.resume_reading)

    def close(self) -> None:
        if self.connections:
            self.random.choice(self.connections).close()

    def drop(self) -> None:
        if self.connections:
            self.connections.pop(self.random.randrange(len(self.connections)))

    def poll(self) -> None:
        if not self.base.running:
            self.base.poll(0.002)

    def end(self) -> None:
        if self.random.random() < 0.1:
            self.base.close()

    def fail(self) -> None:
        if self.base.running:
            raise ValueError("as programs do")


def test_random_programs() -> None:
    """Every request is told once, whatever is closed, cancelled or dropped when; and nothing stays."""
    chance = random.Random(1)

    def answer(asked: Asked) -> Optional[bytes]:
        return chance.choice(ANSWERS)

    with serving(answer) as server:
        before = util.memory_counters().blocks
        for seed in [int(SEED)] if SEED else range(PROGRAMS):
            try:
                Program(seed, server.address).run()
            except BaseException as error:
                raise AssertionError(f"LIBEVENT_CFFI_SEED={seed}") from error
        for _ in range(3):
            gc.collect()
        assert util.memory_counters().blocks <= before + 1


def test_what_is_done_again_and_again_leaves_nothing(plain_base: EventBase) -> None:
    """After sixty more times C holds as many blocks, bytes and descriptors as after the first twenty."""
    pages = {
        "/ok": OK,
        "/chunks": CHUNKED + b"3\r\nabc\r\n0\r\nX: y\r\n\r\n",
        "/bad": b"nonsense" * 9,
        "/cut": OK[:-1],
        "/to": b"HTTP/1.1 302 Go\r\nLocation: /ok\r\nContent-Length: 0\r\n\r\n",
    }

    def answer(asked: Asked) -> Optional[bytes]:
        return pages.get(asked.target)

    with serving(answer) as server:
        counts = []
        for rounds in (20, 60):
            for _ in range(rounds):
                connection = Connection(plain_base, server.address)
                for target in (*pages, "/none"):
                    chunks = {"on_chunk": lambda request, chunk: None} if target == "/chunks" else {}
                    request = connection.request(
                        "POST", target, body=b"x", headers={"Connection": "close"}, **chunks
                    )
                    if target == "/cut":
                        plain_base.call_later(0.001, request.cancel)
                    plain_base.dispatch()
                    assert request.error is None or target not in ("/ok", "/chunks")
                fetch(plain_base, f"{server.url}/to", follow_redirects=1).wait(WAIT)
                Connection(plain_base, ("127.0.0.1", 1)).request("GET", "/").cancel()
                connection.close()
                plain_base.dispatch()
            del connection, request
            for _ in range(3):
                gc.collect()
                plain_base.poll()
            fds = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
            counts.append((*util.memory_counters()[:2], fds))
        # libevent keeps 24 bytes for each descriptor that it has ever seen (evmap.c:evmap_io_add).
        assert abs(counts[0][0] - counts[1][0]) <= 4
        assert abs(counts[0][2] - counts[1][2]) <= 2  # the server's may take a moment to close


def test_cancelled_is_cancelled(plain_base: EventBase) -> None:
    """Even when the response is there already, and its callback is due."""
    with serving() as server, Connection(plain_base, server.address) as connection:
        told: list[object] = []
        request = connection.request("GET", "/", lambda r: told.append(r.cancel()))
        other = connection.request("GET", "/")
        plain_base.dispatch()
        assert told == [False]
        assert request.result().status == other.result().status == 200
        third = connection.request("GET", "/")
        third.cancel()
        with pytest.raises(CancelledError):
            third.result()
