"""TLS by Python's own ssl: back-pressure, half-closed connections, and what it stands on or carries."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from collections.abc import Callable
from typing import Any, Optional

import pytest
from certificates import Certificates
from test_tls_python import End, client, server, sockets
from tls_peers import Thread

from libevent_cffi import READ, WRITE, BufferEvent, BufferEventFlag, EventBase
from libevent_cffi.bufferevent import FilterBufferEvent, RateLimit, RateLimitGroup
from libevent_cffi.flags import EventFlag

Run = Callable[..., None]
CONNECTED, EOF, ERROR = BufferEventFlag.CONNECTED, BufferEventFlag.EOF, BufferEventFlag.ERROR
DATA = os.urandom(600_000)


def test_a_slow_reader_gets_all_of_it(plain_base: EventBase, run: Run, certificates: Certificates) -> None:
    """Whoever reads less than there is stops the socket, and taking the rest goes on with it."""
    one, other = sockets()
    here, there = End(), End(sends=DATA)
    here.begin(BufferEvent(plain_base, one, tls=client(certificates), server_hostname="localhost"))
    there.begin(BufferEvent(plain_base, other, tls=server(certificates)))
    here.bev.on_read = None
    most = 0

    def take() -> None:
        nonlocal most
        most = max(most, len(here.bev.input))
        here.got += here.bev.read()
        if len(here.got) == len(DATA):
            timer.close()
            here.bev.close()
            there.bev.close()

    timer = plain_base.every(0.002, take)
    run(plain_base)
    assert here.got == DATA
    assert most < 300_000


def receive_after_goodbye(sock: socket.socket, certificates: Certificates) -> bytes:
    """Be a client that ends its sending at once, that of its socket too, and reads what then comes."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context(cafile=certificates("ca.pem"))
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    sock.settimeout(20)
    is_open = False
    while not is_open:
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.do_handshake()
            is_open = True
        sock.sendall(outgoing.read())
        if not is_open:
            incoming.write(sock.recv(65536))
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.unwrap()
    sock.sendall(outgoing.read())
    sock.shutdown(socket.SHUT_WR)
    while data := sock.recv(65536):
        incoming.write(data)
    got = bytearray()
    with contextlib.suppress(ssl.SSLZeroReturnError, ssl.SSLWantReadError):
        while data := tls.read(65536):
            got += data
    return bytes(got)


def test_it_sends_on_when_the_socket_has_ended_its_side(
    plain_base: EventBase, run: Run, certificates: Certificates
) -> None:
    """An end that comes with a goodbye is that of one direction."""
    one, other = sockets()

    def on_event(bev: BufferEvent, what: BufferEventFlag, error: Optional[Exception]) -> None:
        assert error is None
        if what & EOF:
            # After a moment, for the end of the socket to have come too.
            plain_base.call_later(0.05, answer)

    def answer() -> None:
        bev.write(DATA)
        bev.write_eof()

    bev = BufferEvent(plain_base, other, tls=server(certificates), on_event=on_event)
    peer = Thread(lambda: receive_after_goodbye(one, certificates))
    run(plain_base)
    assert peer.finish() == DATA
    assert bev.closed
    one.close()


def through(source: Any, target: Any, limit: Optional[int], mode: object) -> None:
    source.remove_buffer(-1 if limit is None else limit, into=target)


def over_a_pair(base: EventBase, certificates: Certificates) -> tuple[BufferEvent, BufferEvent]:
    return BufferEvent.pair(base)


def over_filters(base: EventBase, certificates: Certificates) -> tuple[BufferEvent, BufferEvent]:
    one, other = (FilterBufferEvent(BufferEvent(base, sock), through, through) for sock in sockets())
    return one, other


def over_itself(base: EventBase, certificates: Certificates) -> tuple[BufferEvent, BufferEvent]:
    one, other = (BufferEvent(base, sock) for sock in sockets())
    inner = client(certificates), server(certificates)
    return one.start_tls(inner[0], server_hostname="localhost"), other.start_tls(inner[1])


@pytest.mark.parametrize("below", [over_a_pair, over_filters, over_itself])
def test_what_it_can_stand_on(
    plain_base: EventBase,
    run: Run,
    certificates: Certificates,
    below: Callable[[EventBase, Certificates], tuple[BufferEvent, BufferEvent]],
) -> None:
    """Whatever is connected."""
    here, there = End(sends=DATA, expects=len(DATA)), End(echoes=True)
    one, other = below(plain_base, certificates)
    begun: list[BufferEvent] = []

    def begin(bev: BufferEvent, what: object = None, error: Optional[Exception] = None) -> None:
        assert error is None
        if bev is one:
            here.begin(one.start_tls(client(certificates), server_hostname="localhost"))
        else:
            there.begin(other.start_tls(server(certificates)))
        begun.append(bev)

    if one.tls is None:
        begin(one)
        begin(other)
    else:
        one.on_event = other.on_event = begin
    run(plain_base)
    assert len(begun) == 2
    assert (here.error, there.error) == (None, None)
    assert here.got == there.got == DATA


@pytest.mark.parametrize("fails", [False, True])
def test_what_stands_on_it_is_told(
    plain_base: EventBase, run: Run, certificates: Certificates, fails: bool
) -> None:
    """A filter hears of the end of TLS and of its failure, as the connection itself would."""
    one, other = sockets()
    here, there = End(), End()

    def on_event(bev: BufferEvent, what: BufferEventFlag, error: Optional[Exception]) -> None:
        here.begin(FilterBufferEvent(bev, through, through))
        there.bev.write(b"data")
        if fails:
            there.bev._engine.wire.write(b"this is no record of TLS")  # type: ignore[union-attr]
        there.bev.close(flush=True)

    there.begin(BufferEvent(plain_base, other, tls=server(certificates)))
    ours = client(certificates)
    below = BufferEvent(plain_base, one, tls=ours, server_hostname="localhost", on_event=on_event)
    run(plain_base)
    assert here.told == [ERROR | BufferEventFlag.READING if fails else EOF | BufferEventFlag.READING]
    assert fails or here.got == b"data"
    assert below.closed


def test_settings_move_along(plain_base: EventBase, run: Run, certificates: Certificates) -> None:
    """The group, the timeouts and the directions; marks that the user had set hold no handshake up."""
    one, other = sockets()
    group = RateLimitGroup(plain_base, RateLimit(read_rate=10_000_000))
    old = BufferEvent(plain_base, one, read_timeout=15.0, enabled=WRITE)
    old.set_watermark(READ, low=100_000)
    group.add(old)
    bev = old.start_tls(client(certificates), server_hostname="localhost")
    assert bev.rate_limit_group is group
    assert group.members == {bev}
    assert (bev.read_timeout, bev.write_timeout) == (15.0, None)
    assert bev.enabled == WRITE
    here, there = End(), End(sends=b"hello")
    here.begin(bev)
    there.begin(BufferEvent(plain_base, other, tls=server(certificates)))
    bev.on_event = lambda bev, what, error: bev.enable(READ)
    bev.on_read = lambda bev: (here.got.extend(bev.read()), bev.close(), there.bev.close())
    run(plain_base)
    assert here.got == b"hello"
    assert group.totals()[0] > 1000
    assert group.members == set()
    with pytest.raises(ValueError, match="no member"):
        group.remove(BufferEvent(plain_base))


def test_what_starttls_needs(plain_base: EventBase, certificates: Certificates) -> None:
    """A connection that is open both ways."""
    one, other = sockets()
    other.close()
    with BufferEvent(plain_base) as bev, pytest.raises(ValueError, match="connect"):
        bev.start_tls(server(certificates))
    with BufferEvent(plain_base, one) as bev:
        bev.write_eof()
        with pytest.raises(BrokenPipeError):
            bev.start_tls(server(certificates))


def test_what_has_ended_has_no_descriptor(
    plain_base: EventBase, run: Run, certificates: Certificates
) -> None:
    """The rest of what it was told can be read all the same, and it can be shown."""
    one, other = sockets()
    told: list[BufferEventFlag] = []

    def on_event(bev: BufferEvent, what: BufferEventFlag, error: Optional[Exception]) -> None:
        told.append(what)

    there = BufferEvent(plain_base, other, tls=server(certificates), on_event=on_event)
    peer = Thread(one.close)
    run(plain_base)
    peer.finish()
    assert told == [ERROR | BufferEventFlag.READING]
    assert there.fileno() == -1
    assert "unconnected" in repr(there)
    assert there.read() == b""
    assert there.enabled == EventFlag(0)
    there.close()
