"""TLS connections: handshakes, how they end, and what a layer tells."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable
from typing import Optional

import pytest
from certificates import Certificates
from conftest import Run
from tls_ends import CONNECTED, EOF, ERROR, LAYER, End, client, meet, server, sockets
from tls_peers import Thread, python_client

from libevent_cffi import BufferEventFlag, EventBase, Listener
from libevent_cffi._native import lib
from libevent_cffi.bufferevent import BufferEvent
from libevent_cffi.errors import ClosedError, FeatureUnavailableError, TLSError
from libevent_cffi.flags import READ, WRITE, TLSState, TLSVersion

pytestmark = pytest.mark.skipif(not lib.LEV_HAS_TLS, reason="this build has no TLS")


# -- what goes well ------------------------------------------------------------------------------------------


def test_data_goes_both_ways_and_both_ends_end(base: EventBase, run: Run, certificates: Certificates) -> None:
    """Over sockets that are connected already, on every method."""
    data = os.urandom(200_000)
    here, there = meet(base, run, client(certificates), server(certificates), data=data)
    assert here.told == [CONNECTED, EOF | BufferEventFlag.READING] == there.told
    assert bytes(here.got) == data == bytes(there.got)
    assert here.bev.closed
    assert there.bev.closed


def test_what_a_layer_tells_after_the_handshake(
    plain_base: EventBase, run: Run, certificates: Certificates
) -> None:
    """Version, cipher, names and certificates, on both sides."""
    ours = client(certificates, certificate=certificates("client.pem"), key=certificates("client.key"))
    theirs = server(certificates, ca=certificates("ca.pem"), verify=True)
    here, there = meet(plain_base, run, ours, theirs)
    for layer in (here.layer, there.layer):
        assert layer["state"] is TLSState.OPEN
        assert layer["version"] == "TLSv1.3"
        assert layer["cipher"].startswith("TLS_")
        assert layer["alpn"] is None
        assert layer["server_name"] == "localhost"
        assert layer["session_reused"] is False
    assert here.layer["peer_certificate"] == certificates.der("server")
    assert there.layer["peer_certificate"] == certificates.der("client")
    for layer, name in ((here.layer, "server"), (there.layer, "client")):
        assert layer["peer_chain"][0] == certificates.der(name)
        assert set(layer["peer_chain"]) <= {certificates.der(name), certificates.der("ca")}


def test_what_a_layer_tells_before_the_handshake(plain_base: EventBase, certificates: Certificates) -> None:
    """Nothing that the handshake settles; and after close() nothing at all."""
    ours, theirs = client(certificates), server(certificates)
    one, other = sockets()
    here = BufferEvent(plain_base, one, tls=ours, server_hostname="localhost")
    there = BufferEvent(plain_base, other, tls=theirs)
    layer = here.tls
    assert layer is not None
    assert there.tls is not None
    assert (layer.state, there.tls.state) == (TLSState.CONNECTING, TLSState.ACCEPTING)
    assert (layer.context, there.tls.context) == (ours, theirs)
    assert (layer.server_name, there.tls.server_name) == ("localhost", None)
    for each in (layer, there.tls):
        assert [each.version, each.cipher, each.alpn, each.peer_certificate] == [None] * 4
        assert each.peer_chain == ()
        assert not each.session_reused
    assert repr(layer) == "<TLSLayer connecting>"
    here.close()
    there.close()
    for name in (*LAYER, "allow_dirty_shutdown"):
        with pytest.raises(ClosedError):
            getattr(layer, name)
    with pytest.raises(ClosedError):
        layer.renegotiate()
    with pytest.raises(ClosedError):
        layer.allow_dirty_shutdown = True
    assert repr(layer) == "<TLSLayer closed>"
    assert layer.context is ours
    with pytest.raises(TypeError, match="made by its connection"):
        type(layer)()


@pytest.mark.parametrize("version", list(TLSVersion))
def test_either_version(
    plain_base: EventBase, run: Run, certificates: Certificates, version: TLSVersion
) -> None:
    """The newest that both sides have, within what their contexts allow."""
    ours = client(certificates, maximum_version=version)
    here, there = meet(plain_base, run, ours, server(certificates))
    assert here.layer["version"] == there.layer["version"] == str(version).replace("_", ".")
    assert here.got == b"hello"


def test_ciphers_are_those_that_the_context_allows(
    plain_base: EventBase, run: Run, certificates: Certificates
) -> None:
    """By a list for TLS 1.2, and another one for 1.3."""
    ours = client(certificates, ciphersuites="TLS_AES_128_GCM_SHA256")
    assert meet(plain_base, run, ours, server(certificates))[0].layer["cipher"] == "TLS_AES_128_GCM_SHA256"
    name = "ECDHE-ECDSA-AES128-GCM-SHA256"
    theirs = server(certificates, ciphers=name, maximum_version=TLSVersion.TLSv1_2)
    assert meet(plain_base, run, client(certificates), theirs)[1].layer["cipher"] == name


def test_alpn_takes_the_server_s_first_choice(
    plain_base: EventBase, run: Run, certificates: Certificates
) -> None:
    """None where the client offers nothing, or the server knows nothing."""
    for offered, spoken, chosen in (
        (["h2", "http/1.1"], ["http/1.1", "h2"], "http/1.1"),
        (["spdy", "h2"], ["http/1.1", "h2"], "h2"),
        ([], ["h2"], None),
        (["h2"], [], None),
    ):
        here, there = meet(
            plain_base, run, client(certificates, alpn=offered), server(certificates, alpn=spoken)
        )
        assert here.layer["alpn"] == there.layer["alpn"] == chosen


def test_an_address_is_verified_but_not_sent_as_a_name(
    plain_base: EventBase, run: Run, certificates: Certificates
) -> None:
    """The certificate has it as an address."""
    for name in ("127.0.0.1", "::1"):
        here, there = meet(plain_base, run, client(certificates), server(certificates), name=name)
        assert here.error is None
        assert there.layer["server_name"] is None
        assert here.got == b"hello"


def test_a_dot_at_a_name_s_end_and_capitals_make_no_difference(
    plain_base: EventBase, run: Run, certificates: Certificates
) -> None:
    """As in DNS."""
    here, there = meet(plain_base, run, client(certificates), server(certificates), name="LocalHost.")
    assert here.error is None
    assert there.layer["server_name"] == "LocalHost"


def test_connect_makes_the_handshake_too(base: EventBase, run: Run, certificates: Certificates) -> None:
    """CONNECTED comes after it; the address connected to is what is verified."""
    ends: list[End] = []

    def on_accept(listener: Listener, sock: socket.socket, address: object) -> None:
        ends.append(End(base, sock, theirs, echoes=True))
        listener.close()

    theirs = server(certificates)
    listener = Listener(base, ("127.0.0.1", 0), on_accept)
    here = End(base, None, client(certificates), sends=b"x" * 100, expects=100)
    here.bev.connect(("127.0.0.1", listener.port))
    run(base)
    assert here.told == [CONNECTED, EOF | BufferEventFlag.READING]
    assert here.got == b"x" * 100


def test_what_is_written_before_the_handshake_is_sent_after_it(
    plain_base: EventBase, run: Run, certificates: Certificates
) -> None:
    """And close(flush=True) waits for both."""
    one, other = sockets()
    there = End(plain_base, other, server(certificates))
    here = BufferEvent(plain_base, one, tls=client(certificates), server_hostname="localhost")
    here.write(b"early" * 50_000)
    here.close(flush=True)
    assert here.closed
    run(plain_base)
    assert there.told == [CONNECTED, EOF | BufferEventFlag.READING]
    assert there.got == b"early" * 50_000


def test_what_is_disabled_during_the_handshake_waits_for_its_end(
    plain_base: EventBase, run: Run, certificates: Certificates
) -> None:
    """The handshake itself reads and writes all the same."""
    one, other = sockets()
    there = End(plain_base, other, server(certificates), sends=b"data")
    here = End(plain_base, one, client(certificates), server_hostname="localhost", enabled=0)
    plain_base.call_later(0.05, lambda: held.append(bytes(here.got)))
    plain_base.call_later(0.06, lambda: here.bev.enable(READ | WRITE))
    plain_base.call_later(0.07, here.bev.write_eof)
    held: list[bytes] = []
    run(plain_base)
    assert there.told[0] == CONNECTED
    assert held == [b""]
    assert here.got == b"data"


# -- ends ----------------------------------------------------------------------------------------------------


def test_each_side_may_end_its_sending_first(
    plain_base: EventBase, run: Run, certificates: Certificates
) -> None:
    """write_eof() says goodbye after the last byte, and the other direction goes on."""
    one, other = sockets()
    got = bytearray()

    def reply(bev: BufferEvent, what: BufferEventFlag, error: Optional[Exception]) -> None:
        if what & EOF:
            bev.write(b"reply" * 100_000)
            bev.write_eof()

    there = BufferEvent(plain_base, other, tls=server(certificates), on_event=reply)
    here = BufferEvent(
        plain_base,
        one,
        tls=client(certificates),
        server_hostname="localhost",
        on_read=lambda bev: got.extend(bev.read()),
    )
    here.write(b"request" * 100_000)
    here.write_eof()
    there.on_read = lambda bev: bev.read()
    run(plain_base)
    assert got == b"reply" * 100_000
    assert here.closed
    assert there.closed


ENDINGS: dict[str, Callable[[BufferEvent], object]] = {
    "close": lambda bev: bev.close(),
    "flush": lambda bev: bev.close(flush=True),
    "write_eof": lambda bev: bev.write_eof(),
    "base": lambda bev: bev.base.close(),
}


@pytest.mark.parametrize("how", ENDINGS)
def test_goodbye_is_said_whatever_way_it_ends(run: Run, certificates: Certificates, how: str) -> None:
    """Python's client tells a clean end from one that is cut off."""
    base = EventBase()
    one, other = sockets()

    def on_event(bev: BufferEvent, what: BufferEventFlag, error: Optional[Exception]) -> None:
        if what & CONNECTED:
            bev.write(b"data")
        else:
            bev.close()

    def on_write(bev: BufferEvent) -> None:
        if (bev.tls and bev.tls.state == TLSState.OPEN) and not done:
            done.append(True)
            ENDINGS[how](bev)

    done: list[bool] = []
    there = BufferEvent(base, other, tls=server(certificates), on_event=on_event, on_write=on_write)
    tls = python_client(certificates, one)

    def talk() -> bytes:
        with tls:
            got = tls.recv(4)
            assert tls.recv(1) == b""
            return got

    peer = Thread(talk)
    run(base)
    assert peer.finish() == b"data"
    there.close()
    base.close()


def test_an_end_without_goodbye_is_an_error(base: EventBase, run: Run, certificates: Certificates) -> None:
    """It may have been cut off; the text says what to do where that is known and harmless."""
    one, other = sockets()
    here = End(base, other, server(certificates))
    tls = python_client(certificates, one)

    def talk() -> None:
        tls.sendall(b"half a mess")
        tls.shutdown(socket.SHUT_WR)
        socket.socket(fileno=tls.detach()).close()

    peer = Thread(talk)
    run(base)
    peer.finish()
    assert here.got == b"half a mess"
    assert here.told[-1] & ERROR
    assert isinstance(here.error, TLSError)
    assert "allow_dirty_shutdown" in str(here.error)
    assert here.error.reasons


@pytest.mark.parametrize("where", ["context", "layer"])
def test_an_end_without_goodbye_may_be_allowed(
    plain_base: EventBase, run: Run, certificates: Certificates, where: str
) -> None:
    """By the context, or on the connection."""
    one, other = sockets()
    here = End(plain_base, other, server(certificates, allow_dirty_shutdown=where == "context"))
    assert here.bev.tls is not None
    assert here.bev.tls.allow_dirty_shutdown == (where == "context")
    here.bev.tls.allow_dirty_shutdown = True
    assert here.bev.tls.allow_dirty_shutdown
    tls = python_client(certificates, one)

    def talk() -> None:
        tls.sendall(b"all of it")
        socket.socket(fileno=tls.detach()).close()

    peer = Thread(talk)
    run(plain_base)
    peer.finish()
    assert here.error is None, here.error
    assert here.told == [CONNECTED, EOF | BufferEventFlag.READING]
    assert here.got == b"all of it"


# -- changing ------------------------------------------------------------------------------------------------


def test_batch_write_is_there_from_libevent_2_2_on(
    plain_base: EventBase, run: Run, certificates: Certificates
) -> None:
    """And says so before."""
    one, other = sockets()
    here = BufferEvent(plain_base, one, tls=client(certificates), server_hostname="localhost")
    assert here.tls is not None
    assert here.tls.batch_write is False
    if lib.event_get_version_number() < 0x02020000 or "2.2" in os.environ.get("LIBEVENT_CFFI_DISABLE", ""):
        with pytest.raises(FeatureUnavailableError, match=r"2\.2"):
            here.tls.batch_write = True
    else:
        here.tls.batch_write = True
        assert here.tls.batch_write
        here.tls.batch_write = False
        assert not here.tls.batch_write
    here.close()
    other.close()


def test_tls_1_2_can_be_renegotiated(plain_base: EventBase, run: Run, certificates: Certificates) -> None:
    """CONNECTED comes once more; a client of TLS 1.3, or during a handshake, cannot."""
    one, other = sockets()
    there = End(plain_base, other, server(certificates), echoes=True)
    count = [0]

    def on_event(bev: BufferEvent, what: BufferEventFlag, error: Optional[Exception]) -> None:
        here_told.append(what)
        if what & CONNECTED:
            count[0] += 1
            bev.write(b"x")
        else:
            bev.close()

    def on_read(bev: BufferEvent) -> None:
        bev.read()
        assert bev.tls is not None
        if count[0] == 1:
            with pytest.raises(TLSError, match=r"TLSv1\.3 cannot be renegotiated"):
                bev.tls.renegotiate()
        bev.write_eof()

    here_told: list[BufferEventFlag] = []
    here = BufferEvent(
        plain_base,
        one,
        tls=client(certificates),
        server_hostname="localhost",
        on_event=on_event,
        on_read=on_read,
    )
    assert here.tls is not None
    with pytest.raises(TLSError, match="handshake"):
        here.tls.renegotiate()
    run(plain_base)
    assert count[0] == 1
    assert there.error is None


def test_a_server_asks_for_another_handshake(
    plain_base: EventBase, run: Run, certificates: Certificates
) -> None:
    """A client of TLS 1.2 makes it, and data goes on afterwards."""
    one, other = sockets()
    told: list[BufferEventFlag] = []

    def on_read(bev: BufferEvent) -> None:
        bev.write(bev.read())
        assert bev.tls is not None
        if told.count(CONNECTED) == 1:
            bev.tls.renegotiate()
        else:
            bev.close(flush=True)

    there = BufferEvent(
        plain_base,
        other,
        tls=server(certificates),
        on_read=on_read,
        on_event=lambda bev, what, error: told.append(what),
    )
    tls = python_client(certificates, one, maximum_version=ssl.TLSVersion.TLSv1_2)

    def talk() -> bytes:
        with tls:
            tls.sendall(b"one")
            got = tls.recv(3)
            tls.sendall(b"two")
            return got + tls.recv(3) + tls.recv(1)

    peer = Thread(talk)
    run(plain_base)
    assert peer.finish() == b"onetwo"
    assert there.closed
    assert told == [CONNECTED, CONNECTED]
