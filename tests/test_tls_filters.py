"""TLS under filters, and filters under TLS: what one end has written arrives whole, however it ends."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Optional

import pytest
from certificates import Certificates
from tls_ends import client, server, sockets

from libevent_cffi import Buffer, BufferEvent, BufferEventFlag, EventBase
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
