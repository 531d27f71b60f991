"""TLS by Python's own ssl.SSLContext: the same interface."""

from __future__ import annotations

import gc
import os
import socket
import ssl
import weakref
from collections.abc import Callable
from typing import Any, Optional

import pytest
from certificates import Certificates
from tls_peers import Thread, python_client, python_server

from libevent_cffi import BufferEvent, BufferEventFlag, EventBase, Listener
from libevent_cffi.errors import ClosedError, FeatureUnavailableError, TLSError
from libevent_cffi.flags import TLSState
from libevent_cffi.tls import TLSContext

Run = Callable[..., None]
CONNECTED, EOF, ERROR = BufferEventFlag.CONNECTED, BufferEventFlag.EOF, BufferEventFlag.ERROR


def client(certificates: Certificates, authority: str = "ca.pem") -> TLSContext:
    return TLSContext.from_ssl_context(ssl.create_default_context(cafile=certificates(authority)))


def server(certificates: Certificates, name: str = "server") -> TLSContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates(f"{name}.pem"), certificates(f"{name}.key"))
    context.set_alpn_protocols(["h2"])
    return TLSContext.from_ssl_context(context)


def sockets() -> tuple[socket.socket, socket.socket]:
    one, other = socket.socketpair()
    for sock in (one, other):
        sock.setblocking(False)
    return one, other


class End:
    """One end of a connection; it sends *sends* when it is connected."""

    def __init__(self, *, sends: bytes = b"", echoes: bool = False, expects: int = -1) -> None:
        self.got = bytearray()
        self.told: list[BufferEventFlag] = []
        self.error: Optional[Exception] = None
        self.version: Optional[str] = None
        self._sends, self._echoes, self._expects = sends, echoes, expects

    def begin(self, bev: BufferEvent) -> BufferEvent:
        bev.on_read, bev.on_event = self._on_read, self._on_event
        self.bev = bev
        return bev

    def _on_read(self, bev: BufferEvent) -> None:
        data = bev.read()
        self.got += data
        if self._echoes:
            bev.write(data)
        if len(self.got) == self._expects:
            bev.write_eof()

    def _on_event(self, bev: BufferEvent, what: BufferEventFlag, error: Optional[Exception]) -> None:
        self.told.append(what)
        if what & CONNECTED:
            assert bev.tls is not None
            self.version = bev.tls.version
            bev.write(self._sends)
        if what & ERROR:
            self.error = error
            bev.close()
        elif what & EOF:
            bev.close(flush=True)


def meet(
    base: EventBase,
    run: Run,
    ours: TLSContext,
    theirs: TLSContext,
    data: bytes = b"hello",
    name: str = "localhost",
) -> tuple[End, End]:
    one, other = sockets()
    here, there = End(sends=data, expects=len(data)), End(echoes=True)
    here.begin(BufferEvent(base, one, tls=ours, server_hostname=name))
    there.begin(BufferEvent(base, other, tls=theirs))
    run(base)
    return here, there


def test_data_goes_both_ways_and_both_ends_end(base: EventBase, run: Run, certificates: Certificates) -> None:
    """More than the engine lets pile up."""
    data = os.urandom(1_000_000)
    here, there = meet(base, run, client(certificates), server(certificates), data)
    assert (here.error, there.error) == (None, None)
    assert bytes(here.got) == data == bytes(there.got)
    assert here.told == [CONNECTED, EOF | BufferEventFlag.READING] == there.told
    assert here.bev.closed
    assert there.bev.closed


def test_what_its_layer_tells(plain_base: EventBase, run: Run, certificates: Certificates) -> None:
    """The same as the other kind, where ssl knows it."""
    seen: dict[str, Any] = {}

    def look(bev: BufferEvent, what: BufferEventFlag, error: Optional[Exception]) -> None:
        tls = bev.tls
        assert tls is not None
        seen.update(
            state=tls.state,
            version=tls.version,
            alpn=tls.alpn,
            server_name=tls.server_name,
            certificate=tls.peer_certificate,
            chain=tls.peer_chain,
            reused=tls.session_reused,
            batch=tls.batch_write,
        )
        assert tls.cipher
        with pytest.raises(TLSError, match="renegotiate"):
            tls.renegotiate()
        with pytest.raises(FeatureUnavailableError):
            tls.batch_write = True
        bev.close()

    context = ssl.create_default_context(cafile=certificates("ca.pem"))
    context.set_alpn_protocols(["h2"])
    ours = TLSContext.from_ssl_context(context)
    one, other = sockets()
    here = BufferEvent(plain_base, one, tls=ours, server_hostname="localhost", on_event=look)
    BufferEvent(plain_base, other, tls=server(certificates))
    assert here.tls is not None
    assert here.tls.state is TLSState.CONNECTING
    assert here.tls.context is ours
    assert [here.tls.version, here.tls.cipher, here.tls.alpn, here.tls.peer_certificate] == [None] * 4
    run(plain_base)
    assert seen["state"] is TLSState.OPEN
    assert (seen["version"], seen["alpn"], seen["server_name"]) == ("TLSv1.3", "h2", "localhost")
    assert seen["certificate"] == certificates.der("server") == seen["chain"][0]
    assert (seen["reused"], seen["batch"]) == (False, False)
    for name in ("state", "version", "peer_chain", "allow_dirty_shutdown"):
        with pytest.raises(ClosedError):
            getattr(here.tls, name)
    assert repr(here.tls).endswith("closed>")


@pytest.mark.parametrize(
    ("authority", "name", "host", "code"),
    [
        ("stranger.pem", "server", "localhost", 20),
        ("ca.pem", "expired", "localhost", 10),
        ("ca.pem", "other", "localhost", 62),
    ],
)
def test_refused_with_the_right_error(
    plain_base: EventBase,
    run: Run,
    certificates: Certificates,
    authority: str,
    name: str,
    host: str,
    code: int,
) -> None:
    """In OpenSSL's words."""
    here, there = meet(
        plain_base, run, client(certificates, authority), server(certificates, name), name=host
    )
    assert isinstance(here.error, TLSError)
    assert here.error.reasons == ("certificate verify failed",)
    assert here.error.verify_code == code
    assert isinstance(there.error, TLSError), there.error
    assert "alert" in there.error.reasons[0]
    assert here.got == there.got == b""


def test_connect_and_accept(plain_base: EventBase, run: Run, certificates: Certificates) -> None:
    """The host that connect() is given is what is verified."""
    here, there = End(sends=b"abc", expects=3), End(echoes=True)

    def on_accept(listener: Listener, sock: socket.socket, address: object) -> None:
        there.begin(BufferEvent(plain_base, sock, tls=server(certificates)))
        listener.close()

    listener = Listener(plain_base, ("127.0.0.1", 0), on_accept)
    bev = here.begin(BufferEvent(plain_base, tls=client(certificates)))
    bev.connect(("127.0.0.1", listener.port))
    run(plain_base)
    assert here.error is None, here.error
    assert here.got == b"abc"
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        here = End()
        here.begin(BufferEvent(plain_base, tls=client(certificates))).connect(bound.getsockname())
        run(plain_base)
    assert isinstance(here.error, ConnectionRefusedError)


def test_it_meets_the_other_kind(plain_base: EventBase, run: Run, certificates: Certificates) -> None:
    """And Python's blocking sockets, where each end is told from a cut."""
    one, other = sockets()
    there = End(echoes=True)
    there.begin(BufferEvent(plain_base, other, tls=server(certificates)))
    tls = python_client(certificates, one)

    def talk() -> bytes:
        with tls:
            tls.sendall(b"hello")
            got = tls.recv(5)
            tls.unwrap()
            return got

    peer = Thread(talk)
    run(plain_base)
    assert peer.finish() == b"hello"
    one, other = sockets()
    here = End(sends=b"hello", expects=5)
    here.begin(BufferEvent(plain_base, one, tls=client(certificates), server_hostname="localhost"))
    tls = python_server(certificates, other)

    def answer() -> bytes:
        with tls:
            got = tls.recv(5)
            tls.sendall(got)
            assert tls.recv(1) == b""
            return got

    peer = Thread(answer)
    run(plain_base)
    assert peer.finish() == b"hello" == here.got


@pytest.mark.parametrize("allowed", [False, True])
def test_an_end_without_goodbye(
    plain_base: EventBase, run: Run, certificates: Certificates, allowed: bool
) -> None:
    """An error, unless it is allowed."""
    one, other = sockets()
    there = End()
    bev = there.begin(BufferEvent(plain_base, other, tls=server(certificates)))
    assert bev.tls is not None
    bev.tls.allow_dirty_shutdown = allowed
    tls = python_client(certificates, one, maximum_version=ssl.TLSVersion.TLSv1_2)

    def talk() -> None:
        tls.sendall(b"data")
        socket.socket(fileno=tls.detach()).close()

    peer = Thread(talk)
    run(plain_base)
    peer.finish()
    assert there.got == b"data"
    if allowed:
        assert there.error is None
    else:
        assert isinstance(there.error, TLSError)
        assert "allow_dirty_shutdown" in str(there.error)


def test_starttls(plain_base: EventBase, run: Run, certificates: Certificates) -> None:
    """Also in the middle of a connection, with what was written before going before."""
    one, other = sockets()
    here, there = End(sends=b"secret", expects=6), End(echoes=True)
    before = [BufferEvent(plain_base, one), BufferEvent(plain_base, other)]
    here.begin(before[0].start_tls(client(certificates), server_hostname="localhost"))
    there.begin(before[1].start_tls(server(certificates)))
    for bev in before:
        assert bev.closed
        with pytest.raises(ClosedError):
            bev.write(b"x")
    run(plain_base)
    assert here.error is None, here.error
    assert here.got == there.got == b"secret"


def test_what_no_context_can_be_made_of(certificates: Certificates) -> None:
    """It has to say which side it is for."""
    with pytest.raises(TypeError, match="SSLContext"):
        TLSContext.from_ssl_context(None)  # type: ignore[arg-type]
    ours, theirs = client(certificates), server(certificates)
    assert (ours.server_side, theirs.server_side) == (False, True)
    assert repr(ours) == "<TLSContext client>"


def test_a_name_is_needed_where_one_is_checked(plain_base: EventBase, certificates: Certificates) -> None:
    """As with the other kind."""
    one, other = sockets()
    with pytest.raises(ValueError, match="server_hostname"):
        BufferEvent(plain_base, one, tls=client(certificates))
    with pytest.raises(ValueError, match="server_hostname"):
        BufferEvent(plain_base, one, tls=server(certificates), server_hostname="localhost")
    one.close()
    other.close()


def test_a_base_that_is_dropped_takes_it_along(certificates: Certificates) -> None:
    """All of it is garbage, with its sockets."""

    def make() -> tuple[weakref.ref[EventBase], socket.socket]:
        base = EventBase()
        one, other = sockets()
        BufferEvent(base, one, tls=client(certificates), server_hostname="localhost")
        base.poll(0.0)
        return weakref.ref(base), other

    reference, other = make()
    for _ in range(4):
        gc.collect()
    assert reference() is None
    other.setblocking(True)
    other.settimeout(10)
    while other.recv(4096):
        continue
    other.close()
