"""TLS with other programs as peers, and with much data."""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
from collections.abc import Callable
from typing import Any, Optional

import pytest
from certificates import Certificates
from conftest import Run
from tls_ends import CONNECTED, End, client, server, sockets
from tls_peers import SClient, Thread, python_client, python_server, s_server

from libevent_cffi import BufferEventFlag, EventBase, Listener
from libevent_cffi._native import lib
from libevent_cffi.bufferevent import BufferEvent
from libevent_cffi.errors import TLSError
from libevent_cffi.flags import READ, WRITE, TLSVersion
from libevent_cffi.tls import TLSContext

pytestmark = pytest.mark.skipif(not lib.LEV_HAS_TLS, reason="this build has no TLS")


# -- other programs ------------------------------------------------------------------------------------------


def serve_one(base: EventBase, context: TLSContext, **keywords: Any) -> tuple[Listener, list[End]]:
    ends: list[End] = []

    def on_accept(listener: Listener, sock: socket.socket, address: object) -> None:
        ends.append(End(base, sock, context, **keywords))
        listener.close()

    return Listener(base, ("127.0.0.1", 0), on_accept), ends


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_s_client_is_served(
    plain_base: EventBase, run: Run, certificates: Certificates, version: str
) -> None:
    """It verifies us, gets what it sent, and ends with us."""
    listener, ends = serve_one(plain_base, server(certificates, alpn=["echo"]), echoes=True, expects=6)
    peer = SClient(
        certificates,
        listener.port,
        *("-CAfile", "ca.pem", "-verify_return_error", "-verify_hostname", "localhost"),
        *("-servername", "localhost", "-alpn", "echo", version),
        data=b"hello\n",
    )
    run(plain_base)
    status, output, errors = peer.wait()
    assert output == b"hello\n", errors
    assert status == 0
    assert ends[0].layer["alpn"] == "echo"
    assert ends[0].error is None


#: What "openssl s_client" asks for, of which server, and what that server is told or finds.
S_CLIENT: dict[str, tuple[Callable[[Certificates], TLSContext], tuple[str, ...], str]] = {
    "wrong authority": (
        server,
        ("-CAfile", "stranger.pem", "-verify_return_error"),
        "tlsv1 alert unknown ca",
    ),
    "expired": (
        lambda c: server(c, "expired"),
        ("-CAfile", "ca.pem", "-verify_return_error"),
        "sslv3 alert certificate expired",
    ),
    "wrong host": (
        lambda c: server(c, "other"),
        ("-CAfile", "ca.pem", "-verify_return_error", "-verify_hostname", "localhost"),
        "sslv3 alert bad certificate",
    ),
    "no shared version": (
        lambda c: server(c, minimum_version=TLSVersion.TLSv1_3),
        ("-tls1_2",),
        "unsupported protocol",
    ),
    "no client certificate": (
        lambda c: server(c, ca=c("ca.pem"), verify=True),
        (),
        "peer did not return a certificate",
    ),
    "wrong client certificate": (
        lambda c: server(c, ca=c("ca.pem"), verify=True),
        ("-cert", "strange.pem", "-key", "strange.key"),
        "certificate verify failed",
    ),
}


@pytest.mark.parametrize("case", S_CLIENT)
def test_openssl_s_client_refuses_or_is_refused(
    plain_base: EventBase, run: Run, certificates: Certificates, case: str
) -> None:
    """And we are told why."""
    make, arguments, reason = S_CLIENT[case]
    listener, ends = serve_one(plain_base, make(certificates))
    peer = SClient(certificates, listener.port, *arguments)
    run(plain_base)
    peer.wait()
    assert isinstance(ends[0].error, TLSError)
    assert reason in ends[0].error.reasons
    assert CONNECTED not in ends[0].told


def test_openssl_s_client_shows_its_certificate(
    plain_base: EventBase, run: Run, certificates: Certificates
) -> None:
    """One that our authority has signed is taken, and handed out."""
    context = server(certificates, ca=certificates("ca.pem"), verify=True)
    listener, ends = serve_one(plain_base, context, echoes=True, expects=3)
    peer = SClient(certificates, listener.port, "-cert", "client.pem", "-key", "client.key", data=b"me\n")
    run(plain_base)
    assert peer.wait()[1] == b"me\n"
    assert ends[0].layer["peer_certificate"] == certificates.der("client")


@pytest.mark.parametrize(
    ("arguments", "reason", "code"),
    [
        ((), None, None),
        (("-tls1_2",), None, None),
        (("-cert", "expired.pem", "-key", "expired.key"), "certificate verify failed", 10),
        (("-cert", "other.pem", "-key", "other.key"), "certificate verify failed", 62),
        (("-cert", "strange.pem", "-key", "strange.key"), "certificate verify failed", 20),
        (
            (
                "-Verify",
                "1",
                "-verify_return_error",
                "-CAfile",
                "ca.pem",
                "-cert",
                "server.pem",
                "-key",
                "server.key",
            ),
            "tlsv13 alert certificate required",
            None,
        ),
        (("-no_tls1_3", "-no_tls1_2"), "tlsv1 alert protocol version", None),
    ],
)
def test_openssl_s_server_is_talked_to(
    plain_base: EventBase,
    run: Run,
    certificates: Certificates,
    arguments: tuple[str, ...],
    reason: Optional[str],
    code: Optional[int],
) -> None:
    """Over TCP, or refused."""
    with s_server(certificates, *arguments) as port:
        here = End(plain_base, None, client(certificates), server_hostname="localhost", sends=b"abc\n")
        here.bev.on_read = lambda bev: (here.got.extend(bev.read()), bev.close())
        here.bev.connect(("127.0.0.1", port))
        run(plain_base)
    if reason is None:
        assert here.got == b"cba\n"
        assert here.error is None
    else:
        assert isinstance(here.error, TLSError), (here.error, here.told)
        assert reason in here.error.reasons
        assert here.error.verify_code == code


def test_openssl_s_server_takes_our_certificate(
    plain_base: EventBase, run: Run, certificates: Certificates
) -> None:
    """A client that has one shows it when it is asked."""
    asks = ("-Verify", "1", "-verify_return_error", "-CAfile", "ca.pem")
    context = client(certificates, certificate=certificates("client.pem"), key=certificates("client.key"))
    with s_server(certificates, *asks, "-cert", "server.pem", "-key", "server.key") as port:
        here = End(plain_base, None, context, server_hostname="localhost", sends=b"abc\n")
        here.bev.on_read = lambda bev: (here.got.extend(bev.read()), bev.close())
        here.bev.connect(("127.0.0.1", port))
        run(plain_base)
    assert here.error is None
    assert here.got == b"cba\n"


def test_python_s_ssl_is_served_and_talked_to(
    plain_base: EventBase, run: Run, certificates: Certificates
) -> None:
    """In both directions, with a megabyte each way."""
    data = os.urandom(1_000_000)

    def talk(tls: ssl.SSLSocket, first: bool) -> bytes:
        with tls:
            got = b""
            if first:
                tls.sendall(data)
            while len(got) < len(data):
                got += tls.recv(65536)
            if not first:
                tls.sendall(data)
            assert tls.recv(1) == b""
            return got

    one, other = sockets()
    there = End(plain_base, other, server(certificates), echoes=True, expects=len(data))
    peer = Thread(talk, python_client(certificates, one), True)
    run(plain_base)
    assert peer.finish() == data == there.got
    one, other = sockets()
    here = End(
        plain_base, one, client(certificates), server_hostname="localhost", sends=data, expects=len(data)
    )
    peer = Thread(talk, python_server(certificates, other), False)
    run(plain_base)
    assert peer.finish() == data == here.got


# -- much data -----------------------------------------------------------------------------------------------


def test_what_openssl_holds_is_read_when_there_is_room_again(
    plain_base: EventBase, run: Run, certificates: Certificates
) -> None:
    """A watermark stops in the middle of a record; nothing more comes from the socket."""
    one, other = sockets()
    got = bytearray()

    def take() -> None:
        if not here.closed:
            got.extend(here.read())

    here = BufferEvent(
        plain_base, other, tls=server(certificates), on_read=lambda bev: plain_base.call_later(0.001, take)
    )
    here.set_watermark(READ, high=1000)
    tls = python_client(certificates, one)

    def talk() -> None:
        tls.sendall(b"x" * 40_000)
        assert tls.recv(1) == b"!"
        tls.close()

    peer = Thread(talk)
    watch = plain_base.every(
        0.005, lambda: len(got) == 40_000 and (here.write(b"!"), here.close(flush=True), watch.close())
    )
    run(plain_base)
    peer.finish()
    assert got == b"x" * 40_000


def test_a_hundred_megabytes_arrive_as_they_were(
    plain_base: EventBase, run: Run, certificates: Certificates
) -> None:
    """By their digest; and neither side has more than its buffers in memory."""
    one, other = sockets()
    size, block = 100_000_000, os.urandom(1 << 20)
    sent, got = hashlib.blake2b(), hashlib.blake2b()
    left = [size]
    received = [0]
    most = [0]

    def fill(bev: BufferEvent) -> None:
        while left[0] and len(bev.output) < 256 * 1024:
            piece = block[: min(left[0], 65536)]
            sent.update(piece)
            left[0] -= len(piece)
            bev.write(piece)
        most[0] = max(most[0], len(bev.output))
        if not left[0]:
            bev.close(flush=True)

    def on_event(bev: BufferEvent, what: BufferEventFlag, error: Optional[Exception]) -> None:
        if what & CONNECTED:
            fill(bev)

    def drain(bev: BufferEvent) -> None:
        data = bev.read()
        received[0] += len(data)
        got.update(data)

    BufferEvent(plain_base, other, tls=server(certificates), on_read=drain)
    here = BufferEvent(
        plain_base,
        one,
        tls=client(certificates),
        server_hostname="localhost",
        on_write=fill,
        on_event=on_event,
    )
    here.set_watermark(WRITE, low=128 * 1024)
    run(plain_base, deadline=60.0)
    assert received[0] == size
    assert got.digest() == sent.digest()
    assert most[0] <= 512 * 1024
