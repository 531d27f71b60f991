"""HTTP servers over TLS, with Python's ssl and curl on the other side."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from certificates import Certificates
from http_peer import Client, get, read_all, split
from tls_peers import python_client

from libevent_cffi import EventBase
from libevent_cffi._native import lib
from libevent_cffi.errors import ClosedError
from libevent_cffi.http import Request, Server
from libevent_cffi.tls import TLSContext

pytestmark = pytest.mark.skipif(not lib.LEV_HAS_TLS, reason="this build has no TLS")


def server_context(certificates: Certificates) -> TLSContext:
    return TLSContext.server(certificates("server.pem"), certificates("server.key"))


def talk_tls(certificates: Certificates, data: bytes) -> Callable[[socket.socket], bytes]:
    """Send *data* over TLS and read all that comes, to a proper end."""

    def talk(sock: socket.socket) -> bytes:
        with python_client(certificates, sock) as wrapped:
            wrapped.sendall(data)
            return read_all(wrapped)

    return talk


def test_https(base: EventBase, certificates: Certificates) -> None:
    """Small and large answers, beside plain HTTP at another address."""
    seen: list[Any] = []

    def handle(request: Request) -> None:
        layer = request.connection.tls
        seen.append(layer and (layer.version, layer.server_name, layer.state.name, layer.context is context))
        request.reply(200, b"x" * 300000 if request.path == "/large" else b"small")

    context = server_context(certificates)
    with Server(base, handle) as server:
        secure = server.bind(("127.0.0.1", 0), tls=context)
        plain = server.bind(("127.0.0.1", 0))
        for path, size in (("/", 5), ("/large", 300000)):
            answer = Client(base, secure.address, talk_tls(certificates, get(path))).finish()
            assert len(split(answer)[2]) == size

        def talk(sock: socket.socket) -> bytes:
            sock.sendall(get())
            return read_all(sock)

        assert split(Client(base, plain.address, talk).finish())[2] == b"small"
    assert seen == [("TLSv1.3", "localhost", "OPEN", True)] * 2 + [None]


def test_the_servers_context_is_for_every_address(plain_base: EventBase, certificates: Certificates) -> None:
    """That names none of its own; and what TLS told is told no more when the connection has gone."""
    layers = []

    def handle(request: Request) -> None:
        layers.append(request.connection.tls)
        request.start()
        request.send_chunk(b"abc", lambda request: request.end())

    with Server(plain_base, handle, tls=server_context(certificates)) as server:
        bound = server.bind(("127.0.0.1", 0))
        answer = Client(plain_base, bound.address, talk_tls(certificates, get())).finish()
        assert split(answer)[2] == b"3\r\nabc\r\n0\r\n\r\n"
        layer = layers[0]
        assert layer is not None
        assert layer.allow_dirty_shutdown in (True, False)
        layer.allow_dirty_shutdown = True
        assert "closed" in repr(layer)
    with pytest.raises(ClosedError):
        layer.version  # noqa: B018


def test_who_does_not_speak_tls_gets_nothing(plain_base: EventBase, certificates: Certificates) -> None:
    """And the server goes on."""
    with Server(plain_base, lambda request: request.reply(), tls=server_context(certificates)) as server:
        bound = server.bind(("127.0.0.1", 0))

        def talk(sock: socket.socket) -> bytes:
            sock.sendall(get())
            return read_all(sock)

        assert b"HTTP" not in Client(plain_base, bound.address, talk).finish()
        assert split(Client(plain_base, bound.address, talk_tls(certificates, get())).finish())[0] == 200


def test_what_is_no_context_of_a_server_is_refused(plain_base: EventBase, certificates: Certificates) -> None:
    """A client's, one of Python's ssl, and anything else."""
    import ssl

    python = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for context, error in (
        (TLSContext(), ValueError),
        (TLSContext.from_ssl_context(python), ValueError),
        ("x", TypeError),
    ):
        with pytest.raises(error):
            Server(plain_base, tls=context)  # type: ignore[arg-type]
        with Server(plain_base) as server, pytest.raises(error):
            server.bind(("127.0.0.1", 0), tls=context)  # type: ignore[arg-type]


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
@pytest.mark.parametrize("tls", [False, True])
def test_curl(plain_base: EventBase, certificates: Certificates, tls: bool) -> None:
    """Keep-alive, an upload in chunks, and HEAD."""

    def handle(request: Request) -> None:
        request.reply(200, b"%d " % len(request.body) + request.method.encode())

    context = server_context(certificates) if tls else None
    with Server(plain_base, handle, tls=context) as server:
        port = server.bind(("127.0.0.1", 0)).port
        url = f"{'https' if tls else 'http'}://localhost:{port}/"
        curl = ["curl", "-sS", "--max-time", "10", "--cacert", certificates("ca.pem"), "-4", "--noproxy", "*"]
        runs = [
            [*curl, url, url, url],
            [*curl, "-T", "-", url],
            [*curl, "--data-binary", "@-", url],
            [*curl, "-I", url],
            [*curl, "--http1.0", url],
        ]

        def talk(_: socket.socket) -> list[bytes]:
            done = [subprocess.run(run, input=b"x" * 200000, capture_output=True) for run in runs]
            assert [each.stderr for each in done] == [b""] * len(runs)
            return [each.stdout for each in done]

        got = Client(plain_base, ("127.0.0.1", port), talk).finish()
    assert got[0] == b"0 GET" * 3
    assert got[1] == b"200000 PUT"
    assert got[2] == b"200000 POST"
    assert b"Content-Length: 6\r\n" in got[3]
    assert got[4] == b"0 GET"
