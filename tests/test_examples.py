"""Every example runs, as it stands."""

from __future__ import annotations

import contextlib
import http.server
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

import pytest
from certificates import Certificates
from httpserver import Asked, serving
from running_example import ENVIRONMENT, EXAMPLES

from libevent_cffi import EventBase, util
from libevent_cffi.dns import Resolver

if not EXAMPLES.exists():
    pytest.skip("needs the source tree", allow_module_level=True)

needs_tls = pytest.mark.skipif(not util.features()["tls"], reason="this build has no TLS")


def output_of(name: str) -> str:
    """Run an example that ends by itself, and return what it printed."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / name],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return done.stdout


def test_timers() -> None:
    """Each kind of timer tells, in order, and the cancelled one does not."""
    lines = [line.split("s  ")[1] for line in output_of("timers.py").splitlines()]
    assert lines[0] == "as soon as the loop runs"
    assert lines[-1] == "the last one: dispatch() returns"
    assert "10000 timers fired that share one delay" in lines
    assert "this is never told" not in lines


def test_workers() -> None:
    """All results of the threads arrive."""
    assert output_of("workers.py").endswith("4 results\n")


@needs_tls
def test_starttls() -> None:
    """The client asks for TLS in the clear, and nobody can read what it says after that."""
    lines = output_of("starttls.py").splitlines()
    assert lines[0].startswith("listening on port ")
    assert lines[1:4] == ["220 ready", "250 EHLO me", "220 go ahead"]
    assert lines[4].endswith(" with localhost --")
    assert lines[5:] == ["250 a secret (nobody else can read this)", "221 bye"]


def test_fetch_many() -> None:
    """Every page is counted, however many there are, and what failed is told."""

    def answer(asked: Asked) -> bytes:
        if asked.target == "/missing":
            return b"HTTP/1.1 404 Not there\r\nContent-Length: 0\r\n\r\n"
        return b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + bytes(1000)

    with serving(answer) as server:
        for urls, status in ((["/"] * 40, 0), (["/", "/missing"], 1)):
            command = [sys.executable, EXAMPLES / "fetch_many.py", *(server.url + url for url in urls)]
            done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
            assert (done.returncode, done.stderr) == (status, "")
            assert f"{len(urls)}/{len(urls)}" in done.stdout
    assert "40,000 bytes" in done.stdout or "1,000 bytes" in done.stdout
    assert f"{server.url}/missing: 404" in done.stdout


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_echo_server(signum: int) -> None:
    """It echoes, and ends well at a signal."""
    command = [sys.executable, EXAMPLES / "echo_server.py"]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        found = re.fullmatch(r"echoing on port (\d+)\n", server.stdout.readline())
        assert found is not None
        with socket.create_connection(("127.0.0.1", int(found[1])), timeout=20) as client:
            client.sendall(b"hello")
            assert client.recv(5, socket.MSG_WAITALL) == b"hello"
            server.send_signal(signum)
            out, _ = server.communicate(timeout=20)
    assert server.returncode == 0
    assert out.endswith("bye\n")


def test_the_echo_server_outlives_rude_clients() -> None:
    """One resets its connection, one sends and never reads; the next one is served."""
    command = [sys.executable, EXAMPLES / "echo_server.py"]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = ("127.0.0.1", int(server.stdout.readline().split()[-1]))
        with socket.create_connection(address, timeout=20) as rude:
            rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with socket.create_connection(address, timeout=20) as deaf, pytest.raises(ConnectionError):
            deaf.sendall(b"x" * 100_000_000)
        with socket.create_connection(address, timeout=20) as client:
            client.sendall(b"hello")
            assert client.recv(5, socket.MSG_WAITALL) == b"hello"
        server.terminate()
        out, _ = server.communicate(timeout=20)
    assert server.returncode == 0
    assert out.endswith("bye\n")


def test_dns_server() -> None:
    """It answers from its own zone; test_resolve.py has it serve a hosts file."""
    command = [sys.executable, EXAMPLES / "dns_server.py"]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline().split()[-1])
        with EventBase() as base, Resolver(base, nameservers=[("127.0.0.1", port)]) as resolver:
            assert resolver.resolve_ipv6("one.example").wait(20).records == ("2001:db8::1",)
            assert resolver.resolve_reverse("192.0.2.2").wait(20).records == ("two.example",)
        server.send_signal(signal.SIGINT)
        assert server.communicate(timeout=20)[0] == "bye\n"


@contextlib.contextmanager
def running(*command: object, **more: str) -> Iterator[tuple[str, int]]:
    """Run an example that serves until SIGTERM; give its address."""
    with subprocess.Popen(
        [sys.executable, *map(str, command)], env={**ENVIRONMENT, **more}, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        found = re.search(r"port (\d+)", server.stdout.readline())
        assert found is not None
        try:
            yield "127.0.0.1", int(found[1])
        finally:
            server.terminate()
            server.communicate(timeout=20)
    assert server.returncode == 0


def all_of(sock: socket.socket) -> bytes:
    """Read to the end."""
    parts = []
    while True:
        part = sock.recv(65536)
        if not part:
            return b"".join(parts)
        parts.append(part)


def test_buffered_echo() -> None:
    """All comes back, also to one that reads only when it has sent everything."""
    data = os.urandom(200_000)
    with (
        running(EXAMPLES / "buffered_echo.py") as address,
        socket.create_connection(address, timeout=20) as client,
    ):
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        assert all_of(client) == data


def test_chat() -> None:
    """What one says all hear, and who leaves is missed."""
    with (
        running(EXAMPLES / "chat.py") as address,
        socket.create_connection(address, timeout=20) as one,
        one.makefile("rwb", 0) as first,
    ):
        assert first.readline() == b"your name?\n"
        first.write(b"Ann\r\n")
        assert first.readline() == b"* Ann is here\n"
        with socket.create_connection(address, timeout=20) as other, other.makefile("rwb", 0) as second:
            second.write(b"Bob\nhello, ")
            assert [second.readline(), second.readline()] == [b"your name?\n", b"* Bob is here\n"]
            second.write(b"Ann\n")
            assert second.readline() == b"Bob: hello, Ann\n"
        lines = [first.readline() for _ in range(3)]
    assert lines == [b"* Bob is here\n", b"Bob: hello, Ann\n", b"* Bob has left\n"]


def test_proxy() -> None:
    """Both ways, to an echo server; a half-closed client still gets its answer."""
    data = os.urandom(300_000)
    with (
        running(EXAMPLES / "buffered_echo.py") as (host, port),
        running(EXAMPLES / "proxy.py", host, port, "--rate", 5_000_000) as address,
        socket.create_connection(address, timeout=20) as client,
    ):
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        assert all_of(client) == data


class Answers(http.server.BaseHTTPRequestHandler):
    """Sends the body of a POST back."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def web_server(certificates: Optional[Certificates]) -> Iterator[int]:
    """Run Python's own server, under TLS if there are *certificates*; give its port."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        if certificates is not None:
            import ssl

            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificates("server.pem"), certificates("server.key"))
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join(20)


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
@pytest.mark.parametrize("way", ["plain", "tls_passes", pytest.param("tls_begins", marks=needs_tls)])
def test_curl_through_the_proxy(certificates: Certificates, way: str) -> None:
    """In the clear, under TLS from end to end, and under TLS from the proxy on."""
    data = os.urandom(1_000_000)
    options = ["--rate", "50000000"] + ["--tls"] * (way == "tls_begins")
    with (
        web_server(None if way == "plain" else certificates) as port,
        running(
            EXAMPLES / "proxy.py", "localhost", port, *options, SSL_CERT_FILE=certificates("ca.pem")
        ) as address,
    ):
        url = f"{'https' if way == 'tls_passes' else 'http'}://localhost:{address[1]}/"
        command = ["curl", "-sS4", "--max-time", "20", "--noproxy", "*", "--cacert", certificates("ca.pem")]
        done = subprocess.run(
            [*command, "--data-binary", "@-", url, "--next", *command[1:], "--data-binary", "second", url],
            input=data,
            capture_output=True,
            timeout=40,
        )
    assert done.stderr == b""
    assert done.stdout == data + b"second"


@pytest.mark.skipif(shutil.which("socat") is None, reason="there is no socat")
def test_socat_is_echoed() -> None:
    """It ends its sending, and gets all of it back before the end."""
    data = os.urandom(3_000_000)
    with running(EXAMPLES / "buffered_echo.py") as (host, port):
        command = ["socat", "-t20", "-", f"TCP:{host}:{port}"]
        done = subprocess.run(command, input=data, capture_output=True, timeout=40)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == data


def test_send_file(tmp_path: Path) -> None:
    """Each of those who connect gets the whole file."""
    data = os.urandom(500_000)
    (tmp_path / "file").write_bytes(data)
    with running(EXAMPLES / "send_file.py", tmp_path / "file") as address:
        for _ in range(2):
            with socket.create_connection(address, timeout=20) as client:
                assert all_of(client) == data


def test_every_example_is_tested() -> None:
    """An example without a test would rot."""
    text = "".join(
        path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*examples.py")
    )
    assert [path.name for path in EXAMPLES.glob("*.py") if f'"{path.name}"' not in text] == []
