"""STARTTLS: a connection that goes on under TLS."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable
from typing import Any, Optional

import pytest
from certificates import Certificates
from tls_peers import Thread, python_client

from libevent_cffi import BufferEvent, BufferEventFlag, EventBase
from libevent_cffi._native import lib
from libevent_cffi.errors import ClosedError, TLSError
from libevent_cffi.tls import TLSContext

pytestmark = pytest.mark.skipif(not lib.LEV_HAS_TLS, reason="this build has no TLS")

Run = Callable[..., None]
CONNECTED, EOF, ERROR = BufferEventFlag.CONNECTED, BufferEventFlag.EOF, BufferEventFlag.ERROR


def contexts(certificates: Certificates, **keywords: Any) -> tuple[TLSContext, TLSContext]:
    """Return a client's and a server's."""
    theirs = TLSContext.server(certificates("server.pem"), certificates("server.key"), **keywords)
    return TLSContext(ca=certificates("ca.pem")), theirs


def sockets() -> tuple[socket.socket, socket.socket]:
    one, other = socket.socketpair()
    for sock in (one, other):
        sock.setblocking(False)
    return one, other


class Side:
    """One side of a conversation that turns to TLS when it reads *turn*, after answering *answer*."""

    def __init__(
        self,
        bev: BufferEvent,
        context: TLSContext,
        turn: bytes,
        answer: bytes = b"",
        then: bytes = b"",
        **keywords: Any,
    ) -> None:
        self.bev = self.first = bev
        self.got = bytearray()
        self.told: list[BufferEventFlag] = []
        self.error: Optional[Exception] = None
        self._context, self._turn, self._answer, self._then = context, turn, answer, then
        self._keywords = keywords
        bev.on_read = self._on_read
        bev.on_event = self._on_event

    def _on_read(self, bev: BufferEvent) -> None:
        if self.bev.tls is None:
            line = bev.readline()
            if line == self._turn:
                bev.write(self._answer)
                self.bev = bev.start_tls(self._context, **self._keywords)
            return
        self.got += bev.read()
        if self._then and self.got == self._then:
            bev.write_eof()

    def _on_event(self, bev: BufferEvent, what: BufferEventFlag, error: Optional[Exception]) -> None:
        assert bev is self.bev
        self.told.append(what)
        if what & CONNECTED:
            bev.write(self._then)
        elif what & ERROR:
            self.error = error
            bev.close()
        else:
            bev.close(flush=True)


def talk(
    base: EventBase,
    run: Run,
    certificates: Certificates,
    bevs: tuple[BufferEvent, BufferEvent],
    size: int = 5,
) -> tuple[Side, Side]:
    ours, theirs = contexts(certificates)
    data = os.urandom(size)
    here = Side(bevs[0], ours, b"go ahead", then=data, server_hostname="localhost")
    there = Side(bevs[1], theirs, b"STARTTLS", b"go ahead\r\n", then=data)
    bevs[0].write(b"STARTTLS\r\n")
    run(base)
    assert here.error is None, here.error
    assert there.error is None, there.error
    assert here.got == there.got == data
    return here, there


def test_both_sides_turn_to_tls(base: EventBase, run: Run, certificates: Certificates) -> None:
    """After an answer in the clear; data goes both ways, and each side says goodbye."""
    one, other = sockets()
    here, there = talk(base, run, certificates, (BufferEvent(base, one), BufferEvent(base, other)), 200_000)
    assert here.told == there.told == [CONNECTED, EOF | BufferEventFlag.READING]
    for side in (here, there):
        assert side.bev is not side.first
        assert side.bev.closed
        assert side.first.closed


def test_a_pair_can_turn_to_tls(plain_base: EventBase, run: Run, certificates: Certificates) -> None:
    """It has no descriptor, and needs none."""
    talk(plain_base, run, certificates, BufferEvent.pair(plain_base))


def test_the_connection_before_is_closed_to_its_user(
    plain_base: EventBase, run: Run, certificates: Certificates
) -> None:
    """Methods say which one to use instead; what was written before goes out before."""
    ours, _ = contexts(certificates)
    one, other = sockets()
    bev = BufferEvent(plain_base, one)
    bev.write(b"before\r\n")
    above = bev.start_tls(ours, server_hostname="localhost")
    assert above.tls is not None
    assert above.tls.context is ours
    for use in (lambda: bev.write(b"x"), bev.read, lambda: bev.start_tls(ours)):
        with pytest.raises((ClosedError, ValueError)):
            use()
    plain_base.poll(0.0)
    got = b""
    while b"\x16\x03" not in got:
        plain_base.poll(0.01)
        try:
            got += other.recv(1000)
        except BlockingIOError:
            continue
    assert got.startswith(b"before\r\n\x16\x03")
    above.close()
    assert bev.closed
    other.close()


def test_a_hello_that_has_arrived_already_is_taken(
    plain_base: EventBase, run: Run, certificates: Certificates
) -> None:
    """A client may send it with what asks for TLS."""
    _, theirs = contexts(certificates)
    one, other = sockets()
    tls = python_client(certificates, one)
    there = BufferEvent(plain_base, other)
    got = bytearray()

    def peer() -> bytes:
        with tls:
            tls.sendall(b"secret")
            return tls.recv(6)

    def turn() -> None:
        assert len(there.input) > 100
        above = there.start_tls(theirs)
        above.on_read = lambda bev: (got.extend(bev.read()), bev.write(b"answer"), bev.close(flush=True))

    thread = Thread(peer)
    timer = plain_base.every(0.001, lambda: len(there.input) > 100 and (turn(), timer.close()))
    run(plain_base)
    assert thread.finish() == b"answer"
    assert got == b"secret"


def test_plaintext_that_was_slipped_in_is_no_data(
    plain_base: EventBase, run: Run, certificates: Certificates
) -> None:
    """Commands that come together with STARTTLS make the handshake fail."""
    _, theirs = contexts(certificates)
    one, other = sockets()
    there = Side(BufferEvent(plain_base, one), theirs, b"STARTTLS", b"go ahead\r\n")
    other.sendall(b"STARTTLS\r\nRCPT TO: <evil@example>\r\n")
    run(plain_base)
    assert isinstance(there.error, TLSError)
    assert there.got == b""
    other.close()


def test_outside_of_the_loop_too(plain_base: EventBase, run: Run, certificates: Certificates) -> None:
    """on_server_name runs in the loop all the same."""
    names: list[Optional[str]] = []
    ours, theirs = contexts(certificates, on_server_name=names.append)
    one, other = sockets()
    here = BufferEvent(plain_base, one).start_tls(ours, server_hostname="localhost")
    there = BufferEvent(plain_base, other).start_tls(theirs)
    assert names == []
    told: list[BufferEventFlag] = []
    here.on_event = lambda bev, what, error: (told.append(what), bev.close(flush=True))
    run(plain_base)
    assert names == ["localhost"]
    assert told == [CONNECTED]
    assert there.closed


def test_what_is_refused(plain_base: EventBase, certificates: Certificates) -> None:
    """A connection that is not there, or has ended its sending, and arguments that make no sense."""
    ours, theirs = contexts(certificates)
    with pytest.raises(ValueError, match="connection"):
        BufferEvent(plain_base).start_tls(theirs)
    one, other = sockets()
    bev = BufferEvent(plain_base, one)
    with pytest.raises(ValueError, match="server_hostname"):
        bev.start_tls(ours)
    with pytest.raises(TypeError, match="TLSContext"):
        bev.start_tls(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="TLSContext"):
        bev.start_tls(ssl.create_default_context())  # type: ignore[arg-type]
    bev.write_eof()
    with pytest.raises(BrokenPipeError):
        bev.start_tls(theirs)
    bev.close()
    with pytest.raises(ClosedError):
        bev.start_tls(theirs)
    other.close()


def test_tls_within_tls(plain_base: EventBase, run: Run, certificates: Certificates) -> None:
    """As a client of a proxy that is spoken to in TLS has it."""
    ours, theirs = contexts(certificates)
    one, other = sockets()
    here = BufferEvent(plain_base, one, tls=ours, server_hostname="localhost")
    there = BufferEvent(plain_base, other, tls=theirs)
    got = bytearray()
    tops: list[BufferEvent] = []

    def inner_there(bev: BufferEvent, what: BufferEventFlag, error: Optional[Exception]) -> None:
        if what & CONNECTED:
            bev.write(b"x" * 100_000)
            bev.write_eof()
        elif what & ERROR:
            raise AssertionError(what, error, bev, bev.tls)

    def turn_there(bev: BufferEvent, what: BufferEventFlag, error: Optional[Exception]) -> None:
        bev.on_event = inner_there
        tops.append(bev.start_tls(theirs))

    def inner_here(bev: BufferEvent, what: BufferEventFlag, error: Optional[Exception]) -> None:
        if what & ERROR:
            raise AssertionError(what, error, bev, bev.tls)
        if what & EOF:
            bev.close(flush=True)

    def turn_here(bev: BufferEvent, what: BufferEventFlag, error: Optional[Exception]) -> None:
        bev.on_event = inner_here
        bev.on_read = lambda bev: got.extend(bev.read())
        tops.append(bev.start_tls(ours, server_hostname="localhost"))

    here.on_event, there.on_event = turn_here, turn_there
    run(plain_base)
    assert got == b"x" * 100_000
    assert all(top.closed for top in tops)
