"""TLS under filters, and filters under TLS: what one end has written arrives whole, however it ends."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any, Optional

import pytest
from certificates import Certificates
from tls_ends import client, server, sockets

from libevent_cffi import READ, WRITE, Buffer, BufferEvent, BufferEventFlag, EventBase
from libevent_cffi._native import lib
from libevent_cffi.bufferevent import FilterBufferEvent
from libevent_cffi.flags import FlushMode

pytestmark = pytest.mark.skipif(not lib.LEV_HAS_TLS, reason="this build has no TLS")

Run = Callable[..., None]
CONNECTED, EOF, ERROR = BufferEventFlag.CONNECTED, BufferEventFlag.EOF, BufferEventFlag.ERROR
DATA = os.urandom(700_000)


class Piecewise:
    """A filter that moves a piece at a call, and notes what it gets after it has been told the end."""

    def __init__(self) -> None:
        self.is_over = False
        self.came_late = 0

    def __call__(self, source: Buffer, target: Buffer, limit: Optional[int], mode: FlushMode) -> None:
        if self.is_over:
            self.came_late += len(source)
        self.is_over = mode == FlushMode.FINISHED
        most = len(source) if limit is None else min(limit, len(source))
        target.add(source.remove(most if self.is_over else min(most, 5000)))


class Last:
    """Who is told what of a connection, and what it got."""

    def __init__(self, sends: bytes, *, sends_at: BufferEventFlag) -> None:
        self.got = bytearray()
        self.told: list[BufferEventFlag] = []
        self.bev: Any = None
        self._sends, self._sends_at = sends, sends_at

    def take(self, bev: BufferEvent) -> Last:
        self.bev = bev
        bev.on_read, bev.on_event = self.on_read, self.on_event
        return self

    def on_read(self, bev: BufferEvent) -> None:
        self.got += bev.read()

    def on_event(self, bev: BufferEvent, what: BufferEventFlag, error: Optional[Exception]) -> None:
        self.told.append(what)
        if what & self._sends_at:
            bev.write(self._sends)
            bev.write_eof()


def test_a_filter_over_tls_writes_on_when_the_other_side_has_ended(
    plain_base: EventBase, run: Run, certificates: Certificates
) -> None:
    """The end of what TLS reads stops it both ways (bufferevent_openssl.c:conn_closed)."""
    one, other = sockets()
    here = Last(DATA, sends_at=EOF)
    there = Last(b"", sends_at=CONNECTED).take(BufferEvent(plain_base, other, tls=server(certificates)))

    def connected(bev: BufferEvent, what: BufferEventFlag, error: Optional[Exception]) -> None:
        here.take(FilterBufferEvent(bev, Piecewise(), Piecewise()))

    below = BufferEvent(
        plain_base, one, tls=client(certificates), server_hostname="localhost", on_event=connected
    )
    run(plain_base)
    assert here.told == [EOF | BufferEventFlag.READING]
    assert there.told == [CONNECTED, EOF | BufferEventFlag.READING]
    assert there.got == DATA
    assert here.bev.closed
    assert there.bev.closed
    assert below.closed


@pytest.mark.parametrize("flush", [True, False])
def test_a_filter_under_tls_is_told_the_end_when_tls_has_written_all(
    plain_base: EventBase, run: Run, certificates: Certificates, flush: bool
) -> None:
    """And what waits between the two of them is not left behind, by close(flush=True) or by write_eof()."""
    out = Piecewise()
    one, other = (BufferEvent(plain_base, sock) for sock in sockets())
    ours = FilterBufferEvent(one, Piecewise(), out)
    theirs = FilterBufferEvent(other, Piecewise(), Piecewise())
    here, there = Last(b"", sends_at=ERROR), Last(b"", sends_at=EOF)
    here.take(ours.start_tls(client(certificates), server_hostname="localhost"))
    there.take(theirs.start_tls(server(certificates)))
    here.bev.write(DATA)

    def connected(bev: BufferEvent, what: BufferEventFlag, error: Optional[Exception]) -> None:
        bev.on_event = here.on_event
        if flush:
            bev.close(flush=True)
        else:
            bev.write_eof()

    here.bev.on_event = connected
    run(plain_base)
    assert there.told == [CONNECTED, EOF | BufferEventFlag.READING]
    assert there.got == DATA
    assert out.is_over
    assert out.came_late == 0
    assert here.bev.closed
    assert there.bev.closed


def start_both(certificates: Certificates, bevs: Any) -> list[BufferEvent]:
    """Have two connected ones go on under TLS."""
    one, other = bevs
    return [
        one.start_tls(client(certificates), server_hostname="localhost"),
        other.start_tls(server(certificates)),
    ]


def tls_over_tls(
    base: EventBase,
    certificates: Certificates,
    socks: tuple[socket.socket, socket.socket],
    use: Callable[[list[BufferEvent]], None],
) -> None:
    """Call *use* with both ends of a connection that begins TLS within TLS."""
    one, other = socks
    below = [
        BufferEvent(base, one, tls=client(certificates), server_hostname="localhost"),
        BufferEvent(base, other, tls=server(certificates)),
    ]
    begun: list[BufferEvent] = []

    def connected(bev: BufferEvent, what: BufferEventFlag, error: Optional[Exception]) -> None:
        begun.append(bev)
        if len(begun) == 2:
            use(start_both(certificates, below))

    for bev in below:
        bev.on_event = connected


def test_tls_over_tls_closes_itself(plain_base: EventBase, run: Run, certificates: Certificates) -> None:
    """When both sides have ended, once the goodbyes of both layers have got there."""
    ends: list[Last] = []

    def use(bevs: list[BufferEvent]) -> None:
        ends.extend(Last(DATA, sends_at=CONNECTED).take(bev) for bev in bevs)

    tls_over_tls(plain_base, certificates, sockets(), use)
    run(plain_base)
    assert len(ends) == 2
    for end in ends:
        assert end.told == [CONNECTED, EOF | BufferEventFlag.READING]
        assert end.got == DATA
        assert end.bev.closed


def test_a_filter_over_tls_over_tls_hears_of_one_end(
    plain_base: EventBase, run: Run, certificates: Certificates
) -> None:
    """The goodbye of TLS is an end, and that of what it stands on, which comes after it, is none more."""
    here = Last(b"", sends_at=ERROR)

    def use(bevs: list[BufferEvent]) -> None:
        for bev in bevs:
            bev.on_event = opened

    def opened(bev: BufferEvent, what: BufferEventFlag, error: Optional[Exception]) -> None:
        assert bev.tls is not None
        if bev.tls.context.server_side:
            bev.write(b"data")
            bev.close(flush=True)
        else:
            here.take(FilterBufferEvent(bev, Piecewise(), Piecewise(), enabled=WRITE))
            plain_base.call_later(0.05, here.bev.enable, READ)  # when both ends have come

    tls_over_tls(plain_base, certificates, socket.socketpair(), use)
    run(plain_base)
    assert here.told == [EOF | BufferEventFlag.READING]
    assert here.got == b"data"
    here.bev.close()


def test_a_pair_under_tls_ends_when_all_of_it_is_read(
    plain_base: EventBase, run: Run, certificates: Certificates
) -> None:
    """A pair's end comes at once, while TLS may have to leave there what its user does not take yet."""
    one, other = start_both(certificates, BufferEvent.pair(plain_base))
    here, there = Last(b"", sends_at=ERROR), Last(DATA, sends_at=CONNECTED)
    there.take(other)
    here.take(one)
    one.set_watermark(READ, high=5000)
    one.on_read = None

    def take() -> None:
        if not one.closed:
            here.got += one.read()
        if here.told and here.told[-1] & (EOF | ERROR):
            timer.close()
            one.close()

    def ended(bev: BufferEvent, what: BufferEventFlag, error: Optional[Exception]) -> None:
        there.on_event(bev, what, error)
        bev.close(flush=True)

    other.on_event = ended
    timer = plain_base.every(0.001, take)
    run(plain_base)
    assert here.told == [CONNECTED, EOF | BufferEventFlag.READING]
    assert here.got == DATA
