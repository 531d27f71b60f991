"""The HTTP client over TLS: https, what it verifies, and which error a failure is."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from certificates import Certificates
from conftest import output_of
from httpserver import OK, Script, read_head, serving

from libevent_cffi import BufferEvent, EventBase
from libevent_cffi._native import lib
from libevent_cffi.errors import TLSError
from libevent_cffi.http import Connection, fetch
from libevent_cffi.tls import TLSContext

pytestmark = pytest.mark.skipif(not lib.LEV_HAS_TLS, reason="this build has no TLS")
WAIT = 15.0


def secure(
    certificates: Certificates, script: Callable[[ssl.SSLSocket], object], name: str = "server"
) -> Script:
    """Have *script* speak over TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates(f"{name}.pem"), certificates(f"{name}.key"))

    def run(sock: socket.socket) -> None:
        try:
            with context.wrap_socket(sock, server_side=True) as wrapped:
                script(wrapped)
        except ssl.SSLError:
            pass

    return run


def answer_all(sock: socket.socket) -> None:
    while read_head(sock):
        sock.sendall(OK)


def test_https(base: EventBase, certificates: Certificates) -> None:
    """With a context of one's own; a connection is used again, and tells of its TLS."""
    trusted = TLSContext(ca=certificates("ca.pem"))
    with serving(script=secure(certificates, answer_all)) as server:
        with Connection(base, server.address, tls=trusted) as connection:
            assert connection.tls is None
            for _ in range(3):
                assert connection.request("GET", "/").wait(WAIT).text() == "ok"
            assert connection.tls is not None
            assert connection.tls.version == "TLSv1.3"
            assert server.connections == 1
            assert str(connection.request("GET", "/x").url) == f"https://127.0.0.1:{server.address[1]}/x"
        url = f"https://127.0.0.1:{server.address[1]}/"
        assert fetch(base, url, tls=trusted).wait(WAIT).text() == "ok"


def test_pythons_own_ssl(plain_base: EventBase, certificates: Certificates) -> None:
    """A context of the ssl module will do as well."""
    context = TLSContext.from_ssl_context(ssl.create_default_context(cafile=certificates("ca.pem")))
    with serving(script=secure(certificates, answer_all)) as server:
        with Connection(plain_base, server.address, tls=context) as connection:
            for _ in range(3):
                assert connection.request("GET", "/").wait(WAIT).text() == "ok"
        plain_base.dispatch()  # it says goodbye
        assert server.connections == 1


@pytest.mark.parametrize(
    ("name", "keywords"),
    [
        *(("other", {}), ("expired", {}), ("strange", {}), ("server", {"server_hostname": "other.example"})),
        ("server", {"tls": None}),
    ],
)
def test_a_server_that_is_not_trusted_gets_no_request(
    plain_base: EventBase, certificates: Certificates, name: str, keywords: dict[str, Any]
) -> None:
    """TLSError that says why; with the wrong name, an old certificate, another authority, or none of ours."""
    heads: list[bytes] = []
    with serving(script=secure(certificates, lambda sock: heads.append(read_head(sock)), name)) as server:
        options = {"tls": TLSContext(ca=certificates("ca.pem")), **keywords}
        request = fetch(plain_base, f"https://127.0.0.1:{server.address[1]}/", **options)
        with pytest.raises(TLSError) as caught:
            request.wait(WAIT)
        assert caught.value.verify_code
    assert heads in ([], [b""])


def test_a_server_that_speaks_no_tls(plain_base: EventBase, certificates: Certificates) -> None:
    """TLSError; and one that closes at once, or says nothing, is no TLSError."""
    options: Any = {"tls": TLSContext(ca=certificates("ca.pem")), "connect_timeout": 0.2}
    for script, kind in (
        (lambda sock: sock.sendall(b"HTTP/1.1 400 Bad\r\n\r\n") or sock.recv(999), TLSError),
        (lambda sock: None, (ConnectionError, TLSError)),
        (lambda sock: sock.recv(1) and sock.recv(9999) and sock.recv(9999), TimeoutError),
    ):
        with serving(script=script) as server, pytest.raises(kind):
            Connection(plain_base, server.address, **options).request("GET", "/").wait(WAIT)


def test_retries_are_not_for_certificates(plain_base: EventBase, certificates: Certificates) -> None:
    """A server that is not trusted is asked once."""
    options: Any = {"tls": TLSContext(ca=certificates("ca.pem")), "retries": 3, "retry_delay": 0.0}
    with serving(script=secure(certificates, answer_all, "other")) as server:
        with pytest.raises(TLSError):
            Connection(plain_base, server.address, **options).request("GET", "/").wait(WAIT)
        assert server.connections == 1


def test_a_body_that_ends_with_the_connection_ends_with_goodbye(
    plain_base: EventBase, certificates: Certificates
) -> None:
    """Without close_notify it may have been cut off, and is an error."""
    head = b"HTTP/1.1 200 OK\r\n\r\nhello"

    def polite(sock: ssl.SSLSocket) -> None:
        read_head(sock)
        sock.sendall(head)
        sock.unwrap()

    def rude(sock: ssl.SSLSocket) -> None:
        read_head(sock)
        sock.sendall(head)
        socket.socket.shutdown(sock, socket.SHUT_RDWR)

    trusted = TLSContext(ca=certificates("ca.pem"))
    with serving(script=secure(certificates, polite)) as server:
        assert (
            fetch(plain_base, f"https://127.0.0.1:{server.address[1]}", tls=trusted).wait(WAIT).text()
            == "hello"
        )
    with serving(script=secure(certificates, rude)) as server, pytest.raises((TLSError, OSError)):
        fetch(plain_base, f"https://127.0.0.1:{server.address[1]}", tls=trusted).wait(WAIT)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no UNIX sockets")
def test_tls_over_a_unix_socket(plain_base: EventBase, certificates: Certificates, tmp_path: Path) -> None:
    """On every libevent, with the name that is to be verified."""
    path = str(tmp_path / "s")
    trusted = TLSContext(ca=certificates("ca.pem"))
    with serving(script=secure(certificates, answer_all), family=socket.AF_UNIX, address=path):
        connection = Connection(plain_base, path, tls=trusted, server_hostname="localhost")
        assert connection.request("GET", "/").wait(WAIT).text() == "ok"
        connection.close()
    with pytest.raises(ValueError, match="server_hostname is needed"):
        Connection(plain_base, path, tls=trusted)


def test_a_redirect_to_https_and_back(plain_base: EventBase, certificates: Certificates) -> None:
    """tls= is for the secure one; the address decides."""
    trusted = TLSContext(ca=certificates("ca.pem"))
    with serving(script=secure(certificates, answer_all)) as target:
        url = f"https://127.0.0.1:{target.address[1]}/"
        moved = f"HTTP/1.1 302 Go\r\nLocation: {url}\r\nContent-Length: 0\r\n\r\n".encode()
        with serving(moved) as server:
            response = fetch(plain_base, server.url, follow_redirects=1, tls=trusted).wait(WAIT)
            assert (response.text(), str(response.url)) == ("ok", url)


def test_a_connection_handed_over(plain_base: EventBase, certificates: Certificates) -> None:
    """With its TLS; plain ones and wrong contexts are refused."""
    trusted = TLSContext(ca=certificates("ca.pem"))
    server_side = TLSContext.server(certificates("server.pem"), certificates("server.key"))
    with serving(script=secure(certificates, answer_all)) as server:
        sock = socket.create_connection(server.address)
        bev = BufferEvent(plain_base, sock, tls=trusted, server_hostname="localhost")
        with Connection(plain_base, server.address, bufferevent=bev, tls=trusted) as connection:
            for _ in range(2):
                assert connection.request("GET", "/").wait(WAIT).text() == "ok"
            assert server.connections == 1
        with pytest.raises(ValueError, match="client"):
            Connection(plain_base, server.address, tls=server_side)
        with pytest.raises(TypeError, match="TLSContext"):
            Connection(plain_base, server.address, tls=ssl.create_default_context())  # type: ignore[arg-type]
        plain = BufferEvent(plain_base, socket.create_connection(server.address))
        with pytest.raises(ValueError, match="does not speak TLS"):
            Connection(plain_base, server.address, bufferevent=plain, tls=trusted)
        plain.close()


def test_http_loads_no_libssl() -> None:
    """Only https does."""
    code = "import sys, libevent_cffi.http; print([name for name in sys.modules if 'libevent_tls' in name])"
    assert output_of(code).strip() == "[]"
