"""Connecting to a name: the first address that stands."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from certificates import Certificates
from dns_peers import AAAA, A, NameServer, answer, name_server, record
from test_leaks import descriptors

from libevent_cffi import BufferEvent, EventBase, Listener
from libevent_cffi._native import lib
from libevent_cffi.dns import Resolver, connect
from libevent_cffi.errors import CancelledError, ClosedError, DNSError, TLSError
from libevent_cffi.tls import TLSContext

ADDRESSES: dict[str, list[str]] = {
    "good.example": ["127.0.0.1"],
    "second.example": ["127.0.0.2", "127.0.0.1"],
    "refused.example": ["127.0.0.2", "127.0.0.3"],
    "two.example": ["127.0.0.2", "127.0.0.1"],
}


def reply(query: bytes, name: str, kind: int) -> list[bytes]:
    """Answer what ADDRESSES says."""
    if name.lower() == "silent.example":
        return []
    found = ADDRESSES.get(name.lower(), [])
    if kind != A or not found:
        return [answer(query, code=0 if found and kind == AAAA else 3)]
    return [answer(query, *(record(A, socket.inet_aton(address)) for address in found))]


@pytest.fixture
def peer() -> Iterator[NameServer]:
    """A name server with ADDRESSES."""
    with name_server(reply) as made:
        yield made


@pytest.fixture
def resolver(plain_base: EventBase, peer: NameServer) -> Resolver:
    """One that asks it."""
    return Resolver(plain_base, resolv_conf=False, hosts=False, nameservers=[peer.address])


@pytest.fixture
def listener(plain_base: EventBase) -> Listener:
    """One that says hello."""
    return Listener(plain_base, ("127.0.0.1", 0), lambda own, sock, peer: (sock.send(b"hello"), sock.close()))


@pytest.mark.parametrize("host", ["good.example", "second.example", "127.0.0.1"])
def test_the_first_address_that_stands(
    plain_base: EventBase, resolver: Resolver, listener: Listener, host: str
) -> None:
    """An address that refuses gives way to the next one at once."""
    began = time.monotonic()
    bev = connect(plain_base, (host, listener.port), resolver=resolver, attempt_delay=5.0).wait(10)
    assert time.monotonic() - began < 4
    assert bev.peer_address == listener.address
    told: list[bytes] = []
    bev.on_read = lambda own: told.append(own.read())
    while not told:
        plain_base.poll(1)
    assert told == [b"hello"]
    bev.close()


def test_a_callback_gets_the_operation(
    plain_base: EventBase, resolver: Resolver, listener: Listener, run: Callable[..., None]
) -> None:
    """With its arguments, in a later pass."""
    told: list[Any] = []

    def connected(operation: Any, word: str) -> None:
        told.append(word)
        operation.result().close()
        listener.close()
        resolver.close()

    connect(plain_base, ("good.example", listener.port), connected, "word", resolver=resolver)
    assert told == []
    run(plain_base)
    assert told == ["word"]


def test_failures(plain_base: EventBase, resolver: Resolver, listener: Listener) -> None:
    """Of the look-up, of all addresses, and for want of time."""
    with pytest.raises(DNSError):
        connect(plain_base, ("missing.example", 80), resolver=resolver).wait(10)
    with pytest.raises(ConnectionRefusedError, match=rf": 127\.0\.0\.3:{listener.port}$"):
        connect(plain_base, ("refused.example", listener.port), resolver=resolver).wait(10)
    with pytest.raises(TimeoutError, match=r"no connection to silent\.example, port 80, after 0\.05 s"):
        connect(plain_base, ("silent.example", 80), resolver=resolver, timeout=0.05).wait(10)
    for wrong in (80, None, ("good.example",), (1, 2)):
        with pytest.raises((TypeError, ValueError)):
            connect(plain_base, wrong, resolver=resolver)  # type: ignore[arg-type]
    for keywords in ({"attempt_delay": -1}, {"timeout": "1"}):
        with pytest.raises((TypeError, ValueError)):
            connect(plain_base, ("good.example", 80), resolver=resolver, **keywords)  # type: ignore[arg-type]


def test_a_unix_socket(plain_base: EventBase, tmp_path: Any) -> None:
    """Needs no name server."""
    path = str(tmp_path / "socket")
    with Listener(plain_base, path, lambda own, sock, peer: sock.close()):
        connect(plain_base, path).wait(10).close()
    with pytest.raises(FileNotFoundError, match=f": {path}$"):
        connect(plain_base, path).wait(10)


@pytest.mark.parametrize("end", ["cancel", "resolver", "base"])
def test_it_is_told_once_when_it_is_ended(plain_base: EventBase, resolver: Resolver, end: str) -> None:
    """Cancelled, or with what it belongs to; nothing stays open."""
    told: list[Any] = []
    before = descriptors()
    operation = connect(plain_base, ("silent.example", 80), told.append, resolver=resolver)
    plain_base.poll(0.01)
    {"cancel": operation.cancel, "resolver": resolver.close, "base": plain_base.close}[end]()
    if end != "base":
        while not told:
            plain_base.poll(1)
    assert told == [operation]
    with pytest.raises(CancelledError):
        operation.result()
    assert not operation.cancel()
    resolver.close()
    if end != "base":
        plain_base.poll()
        assert descriptors() <= before
    plain_base.close()
    with pytest.raises(ClosedError):
        connect(plain_base, ("127.0.0.1", 80))


# -- over TLS ------------------------------------------------------------------------------------------------

needs_tls = pytest.mark.skipif(not lib.LEV_HAS_TLS, reason="this build has no TLS")


@pytest.fixture
def secure(plain_base: EventBase, certificates: Certificates) -> Callable[..., Listener]:
    """secure(name, address) listens there with that certificate, and answers each line in capitals."""

    def answer_line(bev: BufferEvent) -> None:
        for line in bev:
            bev.write(line.upper())

    def make(name: str = "server", address: tuple[str, int] = ("127.0.0.1", 0)) -> Listener:
        context = TLSContext.server(certificates(f"{name}.pem"), certificates(f"{name}.key"))

        def accept(own: Listener, sock: socket.socket, peer: object) -> None:
            BufferEvent(plain_base, sock, tls=context, on_read=answer_line)

        return Listener(plain_base, address, accept)

    return make


def said_by(bev: BufferEvent, base: EventBase) -> bytes:
    """Say hello, and return what comes back."""
    told: list[bytes] = []
    bev.on_read = lambda own: told.append(own.read())
    bev.write(b"hello\n")
    while len(b"".join(told)) < 5:
        assert base.poll(10)
    bev.close()
    return b"".join(told)


@needs_tls
@pytest.mark.parametrize("host", ["127.0.0.1", "two.example"])
def test_the_handshake_is_done_when_it_is_told(
    plain_base: EventBase,
    resolver: Resolver,
    secure: Callable[..., Listener],
    certificates: Certificates,
    host: str,
) -> None:
    """The certificate is verified by the host's name, or by the one that was given."""
    trusted = TLSContext(ca=certificates("ca.pem"))
    name = None if host == "127.0.0.1" else "localhost"
    address = (host, secure().port)
    bev = connect(plain_base, address, resolver=resolver, tls=trusted, server_hostname=name).wait(10)
    assert bev.tls is not None
    assert bev.tls.version == "TLSv1.3"
    assert bev.peer_address == ("127.0.0.1", address[1])
    assert said_by(bev, plain_base) == b"HELLO"


@needs_tls
def test_a_certificate_that_is_refused_gives_way_to_the_next_address(
    plain_base: EventBase, resolver: Resolver, secure: Callable[..., Listener], certificates: Certificates
) -> None:
    """And is the failure where there is none left."""
    trusted = TLSContext(ca=certificates("ca.pem"))
    good = secure()
    secure("strange", ("127.0.0.2", good.port))
    keywords: dict[str, Any] = {"resolver": resolver, "tls": trusted}
    bev = connect(
        plain_base, ("two.example", good.port), server_hostname="localhost", attempt_delay=5.0, **keywords
    ).wait(10)
    assert bev.peer_address == good.address
    assert said_by(bev, plain_base) == b"HELLO"
    for name in (None, "other.example"):  # None: that of the address, which the certificate has not
        with pytest.raises(TLSError) as caught:
            connect(plain_base, ("good.example", good.port), server_hostname=name, **keywords).wait(10)
        assert caught.value.verify_code is not None


@needs_tls
def test_an_address_that_makes_no_handshake_is_overtaken(
    plain_base: EventBase, resolver: Resolver, secure: Callable[..., Listener], certificates: Certificates
) -> None:
    """A connection that stands is not enough: the next attempt begins, wins, and the first one is closed."""
    good = secure()
    silent: list[socket.socket] = []
    Listener(plain_base, ("127.0.0.2", good.port), lambda own, sock, peer: silent.append(sock))
    trusted = TLSContext(ca=certificates("ca.pem"))
    address = ("two.example", good.port)
    bev = connect(
        plain_base, address, resolver=resolver, tls=trusted, server_hostname="localhost", attempt_delay=0.02
    ).wait(10)
    assert bev.peer_address == good.address
    assert said_by(bev, plain_base) == b"HELLO"
    while not silent:
        plain_base.poll(1)
    with silent.pop() as sock:
        sock.settimeout(10)
        while sock.recv(4096):  # its hello, and then the end
            pass
