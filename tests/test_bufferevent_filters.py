"""Filters: what passes through them, when they are called, and what becomes of their failures."""

from __future__ import annotations

import errno
import gc
import hashlib
import logging
import os
import socket
import weakref
import zlib
from collections.abc import Callable
from typing import Any, Optional

import pytest
from test_bufferevent import EOF_READ, Told, connected

from libevent_cffi import READ, WRITE, Buffer, BufferEvent, BufferEventFlag, ClosedError, EventBase
from libevent_cffi.bufferevent import FilterBufferEvent
from libevent_cffi.flags import FilterResult, FlushMode

Run = Callable[..., None]


class Mistake(Exception):
    """What a filter raises here."""


def swap(source: Buffer, target: Buffer, limit: Optional[int], mode: FlushMode) -> None:
    """Swap upper and lower case."""
    target.add(source.remove(-1 if limit is None else limit).swapcase())


class Deflate:
    """Compress what is written, and hold back what zlib holds back."""

    def __init__(self) -> None:
        self.compressor = zlib.compressobj()

    def __call__(self, source: Buffer, target: Buffer, limit: Optional[int], mode: FlushMode) -> None:
        """Move all of it."""
        target.add(self.compressor.compress(source.remove()))
        if mode == FlushMode.FLUSH:
            target.add(self.compressor.flush(zlib.Z_SYNC_FLUSH))
        elif mode == FlushMode.FINISHED:
            target.add(self.compressor.flush())


class Inflate:
    """The other way."""

    def __init__(self) -> None:
        self.decompressor = zlib.decompressobj()

    def __call__(self, source: Buffer, target: Buffer, limit: Optional[int], mode: FlushMode) -> None:
        """Move all of it."""
        target.add(self.decompressor.decompress(source.remove()))


# -- data ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["socket", "pair"])
def test_filters_change_what_passes(base: EventBase, run: Run, kind: str) -> None:
    """What arrives goes through one, and what is written through the other."""
    got: list[bytes] = []
    if kind == "socket":
        ours, theirs = socket.socketpair()
        below, other = BufferEvent(base, ours), BufferEvent(base, theirs)
    else:
        below, other = BufferEvent.pair(base)
    top = FilterBufferEvent(below, swap, swap, on_read=lambda bev: got.append(bev.read()))
    other.on_read = lambda bev: (got.append(bev.read()), bev.write(b"Pong"), bev.close(flush=True))
    top.write(b"Ping")
    run(base)
    assert got == [b"pING", b"pONG"]
    assert top.closed
    assert below.closed


def test_none_lets_bytes_through(base: EventBase, run: Run) -> None:
    """A connection with no filter at all is one as well."""
    got: list[bytes] = []
    one, other = BufferEvent.pair(base)
    top = FilterBufferEvent(one, on_read=lambda bev: got.append(bev.read()))
    other.on_read = lambda bev: bev.write(bev.read())
    top.write(b"x")
    run(base)
    assert got == [b"x"]
    top.close()
    other.close()


def test_filters_can_be_stacked(base: EventBase, run: Run) -> None:
    """Each works on what the one below has made, and close(flush=True) drains them all."""
    got: list[bytes] = []
    bev, peer = connected(base)
    lower = FilterBufferEvent(bev, Inflate(), Deflate())
    upper = FilterBufferEvent(lower, swap, swap)
    upper.write(b"Hello")
    assert upper.underlying is lower
    assert lower.underlying is bev
    assert bev.underlying is None
    upper.close(flush=True)
    with peer:
        run(base)
        assert zlib.decompress(peer.recv(100)) == b"hELLO"
        assert peer.recv(100) == b""
    assert all(each.closed for each in (bev, lower, upper))
    assert got == []


def test_what_a_filter_holds_back_goes_out_with_a_flush(base: EventBase) -> None:
    """NORMAL keeps it in the compressor, FLUSH does not; and flush() says whether anything moved."""
    one, other = BufferEvent.pair(base)
    top = FilterBufferEvent(one, Inflate(), Deflate())
    inflate = zlib.decompressobj()
    top.write(b"x" * 1000)
    base.poll(0)
    assert inflate.decompress(other.read()) == b""
    assert top.flush(WRITE)
    assert inflate.decompress(other.read()) == b"x" * 1000
    assert top.flush(WRITE, FlushMode.FINISHED)
    assert inflate.decompress(other.read()) == b""
    assert inflate.eof
    top.close()
    other.close()


def test_what_came_before_the_filter_goes_through_it(base: EventBase, run: Run) -> None:
    """Unread input of what is below is not lost."""
    bev, peer = connected(base)
    got: list[bytes] = []
    with peer:
        peer.send(b"early")
        while not bev.input:
            base.poll(1.0)
        top = FilterBufferEvent(bev, swap, on_read=lambda each: (got.append(each.read()), each.close()))
        run(base)
    assert got == [b"EARLY"]
    assert top.closed


def test_what_is_written_while_it_is_off_goes_out_when_it_is_on(base: EventBase, run: Run) -> None:
    """enable(WRITE) has the filter look, which libevent leaves out."""
    one, other = BufferEvent.pair(base)
    top = FilterBufferEvent(one, swap, swap, enabled=READ)
    top.write(b"x")
    run(base)
    assert other.read() == b""
    top.enable(WRITE)
    run(base)
    assert other.read() == b"X"
    other.write(b"a")
    top.disable(READ)
    run(base)
    assert top.read() == b""
    top.enable(READ)
    run(base)
    assert top.read() == b"A"
    top.close()
    other.close()


def test_a_filter_gets_the_limit_of_the_high_mark(base: EventBase, run: Run) -> None:
    """The input filter is to move no more than there is room for, and is called again when there is."""
    one, other = BufferEvent.pair(base)
    limits: list[Optional[int]] = []

    def filter_in(source: Buffer, target: Buffer, limit: Optional[int], mode: FlushMode) -> None:
        limits.append(limit)
        source.remove_buffer(-1 if limit is None else limit, into=target)

    top = FilterBufferEvent(one, filter_in)
    top.set_watermark(READ, high=10)
    other.write(b"0123456789abcde")
    run(base)
    assert top.read() == b"0123456789"
    run(base)
    assert top.read() == b"abcde"
    assert limits[0] == 10
    top.close()
    other.close()


def test_the_end_is_told_to_the_input_filter_first(base: EventBase, run: Run) -> None:
    """FINISHED gets out of it what it held back, and that is read before EOF is told."""
    order: list[Any] = []
    held = bytearray()

    def hold(source: Buffer, target: Buffer, limit: Optional[int], mode: FlushMode) -> None:
        held.extend(source.remove())
        if mode == FlushMode.FINISHED:
            target.add(held)
            held.clear()

    bev, peer = connected(base)
    top = FilterBufferEvent(
        bev,
        hold,
        on_read=lambda each: order.append(each.read()),
        on_event=lambda each, what, error: order.append(what),
    )
    peer.send(b"all of it")
    peer.close()
    run(base)
    assert order == [b"all of it", EOF_READ]
    top.close()


def test_write_eof_finishes_the_output_filter(base: EventBase, run: Run) -> None:
    """The peer gets the trailer and then the end, and can still answer."""
    got: list[bytes] = []
    bev, peer = connected(base)
    top = FilterBufferEvent(bev, None, Deflate(), on_read=lambda each: got.append(each.read()))
    top.write(b"hello")
    top.write_eof()
    with pytest.raises(BrokenPipeError):
        top.write(b"more")
    with peer:
        while True:
            base.poll(0.01)
            try:
                data = peer.recv(1000)
                break
            except BlockingIOError:
                pass
        assert zlib.decompress(data) == b"hello"
        base.poll(0.01)
        assert peer.recv(1) == b""
        peer.send(b"answer")
    run(base)
    assert got == [b"answer"]
    assert top.closed


def test_much_data_passes_unchanged(base: EventBase, run: Run) -> None:
    """Both ways through filters, compared by digest."""
    one, other = BufferEvent.pair(base)
    top, end = FilterBufferEvent(one, swap, swap), FilterBufferEvent(other, Inflate(), None)
    end.close()
    one, other = BufferEvent.pair(base)
    top, end = FilterBufferEvent(one, Inflate(), Deflate()), FilterBufferEvent(other, Inflate(), Deflate())
    sent, received = hashlib.sha256(), hashlib.sha256()
    left = [64]

    def write(bev: BufferEvent) -> None:
        if not left[0]:
            bev.write_eof()
            return
        left[0] -= 1
        part = os.urandom(16384)
        sent.update(part)
        bev.write(part)
        bev.flush(WRITE)

    end.on_read = lambda bev: received.update(bev.read())
    top.on_write = write
    write(top)
    run(base)
    assert end.closed
    assert received.digest() == sent.digest()
    top.close()


# -- answers and failures ------------------------------------------------------------------------------------


def test_an_ok_without_progress_is_no_endless_loop(base: EventBase, run: Run) -> None:
    """It counts as NEED_MORE, and the filter is called again when there is more."""
    calls: list[int] = []
    one, other = BufferEvent.pair(base)

    def lazy(source: Buffer, target: Buffer, limit: Optional[int], mode: FlushMode) -> FilterResult:
        calls.append(len(source))
        return FilterResult.OK

    top = FilterBufferEvent(one, lazy)
    other.write(b"x")
    run(base)
    other.write(b"y")
    run(base)
    assert calls == [1, 2]
    top.close()
    other.close()


def test_a_filter_can_wait_for_more(base: EventBase, run: Run) -> None:
    """NEED_MORE leaves what has come where it is."""
    one, other = BufferEvent.pair(base)
    got: list[bytes] = []

    def fours(source: Buffer, target: Buffer, limit: Optional[int], mode: FlushMode) -> FilterResult:
        if len(source) < 4:
            return FilterResult.NEED_MORE
        target.add(source.remove(4) + b".")
        return FilterResult.OK

    top = FilterBufferEvent(one, fours, on_read=lambda bev: got.append(bev.read()))
    other.write(b"abcdefghij")
    run(base)
    other.write(b"kl")
    run(base)
    assert b"".join(got) == b"abcd.efgh.ijkl."
    top.close()
    other.close()


@pytest.mark.parametrize("way", ["in", "out"])
def test_a_filter_that_fails_ends_the_connection(base: EventBase, run: Run, way: str) -> None:
    """ERROR is told once, as an OSError, and the filter is called no more."""
    calls: list[int] = []
    told = Told()
    one, other = BufferEvent.pair(base)

    def bad(source: Buffer, target: Buffer, limit: Optional[int], mode: FlushMode) -> FilterResult:
        calls.append(1)
        return FilterResult.ERROR

    top = FilterBufferEvent(one, bad, bad, on_event=told)
    for _ in range(2):
        (other if way == "in" else top).write(b"x")
        run(base)
    assert calls == [1]
    assert [error.errno for _, error in told] == [errno.EPROTO]
    assert told[0][0] == BufferEventFlag.ERROR | (
        BufferEventFlag.READING if way == "in" else BufferEventFlag.WRITING
    )
    top.close()
    other.close()


@pytest.mark.parametrize("kind", [Mistake, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("way", ["in", "out"])
def test_what_a_filter_raises_leaves_dispatch(
    base: EventBase, run: Run, way: str, kind: type[BaseException]
) -> None:
    """And the connection has failed."""
    told = Told()
    one, other = BufferEvent.pair(base)

    def bad(source: Buffer, target: Buffer, limit: Optional[int], mode: FlushMode) -> None:
        raise kind

    top = FilterBufferEvent(one, bad, bad, on_event=told)
    (other if way == "in" else top).write(b"x")
    with pytest.raises(kind):
        run(base)
    run(base)
    assert len(told) == 1
    top.close()
    other.close()


def test_a_handler_takes_what_a_filter_raises(base: EventBase, run: Run) -> None:
    """error_handler gets the error with the connection."""
    seen: list[Any] = []
    base.error_handler = lambda error, source: seen.append((type(error), source))
    one, other = BufferEvent.pair(base)

    def bad(source: Buffer, target: Buffer, limit: Optional[int], mode: FlushMode) -> Any:
        return "nonsense"

    top = FilterBufferEvent(one, bad)
    other.write(b"x")
    run(base)
    assert seen == [(TypeError, top)]
    seen.clear()
    assert top.closed
    other.close()


def test_flush_outside_of_a_loop_raises_what_a_filter_raises(base: EventBase, run: Run) -> None:
    """As every call that runs callbacks does; the base goes on as before."""
    one, other = BufferEvent.pair(base)

    def bad(source: Buffer, target: Buffer, limit: Optional[int], mode: FlushMode) -> None:
        raise Mistake

    top = FilterBufferEvent(one, None, bad, on_event=Told())
    with pytest.raises(Mistake):
        top.flush()
    run(base)
    base.call_soon(int)
    run(base)
    top.close()
    other.close()


def test_filters_are_called_inside_of_callbacks(base: EventBase, run: Run) -> None:
    """What a callback writes has gone through when write() returns."""
    one, other = BufferEvent.pair(base)
    top = FilterBufferEvent(one, swap, swap)
    seen: list[int] = []
    base.call_soon(lambda: (top.write(b"abc"), seen.append(len(top.output))))
    run(base)
    assert seen == [0]
    assert other.read() == b"ABC"
    top.close()
    other.close()


def test_a_filter_may_close_its_connection(base: EventBase, run: Run) -> None:
    """Nothing of it runs any more, and nothing is touched that has gone."""
    one, other = BufferEvent.pair(base)
    calls: list[int] = []

    def closing(source: Buffer, target: Buffer, limit: Optional[int], mode: FlushMode) -> None:
        calls.append(1)
        target.add(source.remove())
        top.close()

    top = FilterBufferEvent(one, closing, closing, on_read=lambda bev: calls.append(2))
    other.write(b"x")
    run(base)
    assert calls == [1]
    assert one.closed
    other.close()


def test_a_filter_may_close_its_base(base: EventBase) -> None:
    """The loop stops, and everything on it is closed."""
    one, other = BufferEvent.pair(base)
    top = FilterBufferEvent(one, lambda source, target, limit, mode: base.close())
    other.write(b"x")
    base.dispatch()
    assert base.closed
    assert top.closed
    assert other.closed


def test_the_buffers_of_a_filter_are_open_during_the_call_only(base: EventBase, run: Run) -> None:
    """One that was kept is closed afterwards."""
    kept: list[Buffer] = []
    one, other = BufferEvent.pair(base)

    def keep(source: Buffer, target: Buffer, limit: Optional[int], mode: FlushMode) -> None:
        kept.extend((source, target))
        assert not source.closed
        target.add_buffer(source)

    top = FilterBufferEvent(one, keep)
    other.write(b"x")
    run(base)
    assert kept[0].closed
    with pytest.raises(ClosedError):
        kept[1].add(b"y")
    top.close()
    other.close()


# -- who has it ----------------------------------------------------------------------------------------------


def test_what_a_filter_stands_on_is_taken_over(base: EventBase) -> None:
    """Its methods raise, with a word about who has it; what only looks does not; closing closes both."""
    bev, peer = connected(base)
    borrowed = bev.input
    top = FilterBufferEvent(bev)
    assert borrowed.closed
    for call in (
        lambda: bev.write(b"x"),
        bev.read,
        lambda: bev.enable(READ),
        lambda: FilterBufferEvent(bev),
        lambda: setattr(bev, "on_read", print),
        bev.detach,
    ):
        with pytest.raises(ClosedError, match="FilterBufferEvent"):
            call()
    assert bev.fileno() == top.fileno() >= 0
    assert bev.enabled
    assert "FilterBufferEvent" in repr(top)
    bev.close()
    assert top.closed
    with peer:
        assert peer.recv(1) == b""


def test_a_filter_needs_a_connection(base: EventBase) -> None:
    """One that is not open, or has ended its sending, is refused."""
    bev = BufferEvent(base)
    with pytest.raises(ValueError, match="not connected"):
        FilterBufferEvent(bev)
    with pytest.raises(TypeError):
        FilterBufferEvent(base)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="input_filter"):
        FilterBufferEvent(bev, b"x")  # type: ignore[arg-type]
    bev.close()
    with pytest.raises(ClosedError):
        FilterBufferEvent(bev)
    one, other = BufferEvent.pair(base)
    one.write_eof()
    with pytest.raises(BrokenPipeError):
        FilterBufferEvent(one)
    one.close()
    other.close()


def test_a_filter_that_nobody_has_goes_with_what_it_stands_on(base: EventBase, run: Run) -> None:
    """An idle one is freed, and its peer reads the end."""
    bev, peer = connected(base)
    top = FilterBufferEvent(bev, swap, swap, enabled=WRITE)
    alive = weakref.ref(top)
    del bev, top
    gc.collect()
    gc.collect()
    assert alive() is None
    base.poll(0)
    with peer:
        assert peer.recv(1) == b""


def test_a_filter_that_reads_needs_no_reference(base: EventBase, run: Run) -> None:
    """It is held as any connection is."""
    got: list[bytes] = []
    bev, peer = connected(base)
    FilterBufferEvent(bev, swap, on_read=lambda each: got.append(each.read()))
    del bev
    gc.collect()
    peer.send(b"x")
    peer.close()
    run(base)
    assert got == [b"X"]


def test_a_base_with_filters_closes(base: EventBase, caplog: pytest.LogCaptureFixture) -> None:
    """Filters go before what they stand on, and are called no more."""
    calls: list[int] = []

    def count(source: Buffer, target: Buffer, limit: Optional[int], mode: FlushMode) -> None:
        calls.append(1)

    one, other = BufferEvent.pair(base)
    top = FilterBufferEvent(one, count, count)
    higher = FilterBufferEvent(top, count, count)
    higher.write(b"x")
    other.write(b"x")
    with caplog.at_level(logging.WARNING, "libevent"):
        base.close()
    assert calls == []
    assert all(each.closed for each in (one, other, top, higher))
    assert not caplog.records


def test_a_filter_that_lacks_room_goes_on_when_there_is_more(base: EventBase, run: Run) -> None:
    """One that moves whole blocks may find the room under the high mark too small, until more is taken."""

    def blocks(source: Buffer, target: Buffer, limit: Optional[int], mode: FlushMode) -> None:
        room = len(source) if limit is None else min(limit, len(source))
        source.remove_buffer(room - room % 1000, into=target)

    one, other = (BufferEvent(base, sock) for sock in socket.socketpair())
    top = FilterBufferEvent(one, blocks, None)
    top.set_watermark(READ, high=1000)
    got = bytearray()

    def read(bev: BufferEvent) -> None:
        got.extend(bev.read(300))
        base.call_soon(read_the_rest)

    def read_the_rest() -> None:
        got.extend(top.read())
        if len(got) == 5000:
            top.close()
            other.close()

    top.on_read = read
    data = os.urandom(5000)
    other.write(data)
    run(base)
    assert got == data


def test_what_piled_up_below_full_filters_comes_when_there_is_room(plain_base: EventBase, run: Run) -> None:
    """Those in the middle were full before more came, so that C did not know that something waits below."""

    def through(source: Buffer, target: Buffer, limit: Optional[int], mode: FlushMode) -> None:
        source.remove_buffer(-1 if limit is None else limit, into=target)

    one, other = BufferEvent.pair(plain_base)
    for _ in range(3):
        one, other = FilterBufferEvent(one, through, through), FilterBufferEvent(other, through, through)
    data = os.urandom(1_000_000)
    got = bytearray()

    def stop(bev: BufferEvent) -> None:
        bev.disable(READ)
        plain_base.call_later(0.02, go_on)  # when all are full

    def go_on() -> None:
        got.extend(one.read())
        if len(got) < len(data):
            one.enable(READ)
        else:
            one.close()
            other.close()

    one.on_read = stop
    other.write(data)
    run(plain_base, deadline=10)
    assert got == data
