"""What a callback writes is sent when the callback is over; what that must not change."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest

from libevent_cffi import WRITE, BufferEvent, BufferEventFlag, EventBase
from libevent_cffi.bufferevent import RateLimit

Run = Callable[..., None]
BIG = b"0123456789abcdef" * 65536


def told_to_write(base: EventBase, work: Callable[[BufferEvent], Any]) -> tuple[BufferEvent, socket.socket]:
    """Make a connection to a peer who has spoken; on_read takes that and calls *work*.  Return both."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    theirs.send(b"?")

    def on_read(bev: BufferEvent) -> None:
        bev.read()
        work(bev)

    return BufferEvent(base, ours, on_read=on_read), theirs


def read_all(peer: socket.socket) -> bytes:
    """Take what is there without waiting."""
    parts: list[bytes] = []
    try:
        while part := peer.recv(1 << 20):
            parts.append(part)
    except BlockingIOError:
        pass
    return b"".join(parts)


def end_after_callback(base: EventBase) -> None:
    """End the loop once the callback that runs now is over."""
    base.loop_break()


def test_nothing_is_sent_before_the_callback_is_over(base: EventBase, run: Run) -> None:
    """All that it writes goes out in one piece when it is over, without another pass of the loop."""
    seen: list[object] = []

    def work(bev: BufferEvent) -> None:
        bev.write(b"one ")
        bev.writelines([b"two ", b"three "])
        bev.output.add(b"four")
        seen.append((len(bev.output), read_all(peer)))
        end_after_callback(base)

    bev, peer = told_to_write(base, work)
    with bev, peer:
        run(base)
        assert seen == [(18, b"")]
        assert read_all(peer) == b"one two three four"


def test_others_that_a_callback_writes_to_are_sent_to_as_well(base: EventBase, run: Run) -> None:
    """A proxy's or a chat's callback of one connection writes to others."""
    others = [socket.socketpair() for _ in range(3)]
    bevs = [BufferEvent(base, ours) for ours, _ in others]

    def work(bev: BufferEvent) -> None:
        for each in bevs:
            each.write(b"news")
        end_after_callback(base)

    bev, peer = told_to_write(base, work)
    with bev, peer:
        run(base)
        for each, (_, theirs) in zip(bevs, others):
            theirs.setblocking(False)
            assert read_all(theirs) == b"news"
            each.close()
            theirs.close()


def test_a_timer_writes_the_same_way(base: EventBase, run: Run) -> None:
    """Callbacks of events and of call_soon() send at their end, too."""
    ours, peer = socket.socketpair()
    peer.setblocking(False)
    with BufferEvent(base, ours) as bev, peer:

        def write_and_end() -> None:
            bev.write(b"tick")
            end_after_callback(base)

        for call in (base.call_soon, lambda callback: base.call_later(0, callback)):
            call(write_and_end)
            run(base)
            assert read_all(peer) == b"tick"


def test_what_the_socket_does_not_take_follows(base: EventBase, run: Run) -> None:
    """More than the socket has room for is sent as it gets room, in order, and on_write comes when all is."""
    got = bytearray()
    ends: list[int] = []

    def work(bev: BufferEvent) -> None:
        bev.write(BIG)
        bev.write(b"the end")

    def on_write(each: BufferEvent) -> None:
        ends.append(len(each.output))

    bev, peer = told_to_write(base, work)
    bev.on_write = on_write
    with peer, bev:
        reader = BufferEvent(base, peer.dup(), on_read=lambda each: got.extend(each.read()))
        while len(got) < len(BIG) + 7 or not ends:
            assert base.poll(10.0)
        reader.close()
    assert bytes(got) == BIG + b"the end"
    assert ends == [0]


def test_on_write_is_told_of_what_was_sent_at_once(base: EventBase, run: Run) -> None:
    """As often as libevent tells: once for each callback that wrote."""
    told: list[int] = []
    bev, peer = told_to_write(base, lambda each: each.write(b"answer"))

    def on_write(each: BufferEvent) -> None:
        told.append(len(each.output))
        each.close()

    bev.on_write = on_write
    with peer:
        run(base)
        assert (told, read_all(peer)) == ([0], b"answer")


def test_close_drops_what_the_callback_wrote(base: EventBase, run: Run) -> None:
    """close() is now, whatever was written; close(flush=True) sends it."""
    for flush, expected in ((False, b""), (True, b"answer")):

        def work(bev: BufferEvent, flush: bool = flush) -> None:
            bev.write(b"answer")
            bev.close(flush=flush)

        _, peer = told_to_write(base, work)
        with peer:
            run(base)
            assert read_all(peer) == expected


def test_disabling_in_the_callback_keeps_what_it_wrote(base: EventBase, run: Run) -> None:
    """What was written before disable(WRITE) waits for enable(WRITE)."""

    def work(bev: BufferEvent) -> None:
        bev.write(b"held ")
        bev.disable(WRITE)
        bev.write(b"back")
        end_after_callback(base)

    bev, peer = told_to_write(base, work)
    with peer, bev:
        run(base)
        assert read_all(peer) == b""
        bev.enable(WRITE)
        base.poll(10.0)
        assert read_all(peer) == b"held back"


def test_a_limit_set_in_the_callback_holds_for_what_it_wrote(base: EventBase, run: Run) -> None:
    """No more than the burst leaves at once."""

    def work(bev: BufferEvent) -> None:
        bev.write(b"x" * 5000)
        bev.rate_limit = RateLimit(write_rate=100, write_burst=100)
        end_after_callback(base)

    bev, peer = told_to_write(base, work)
    with peer, bev:
        run(base)
        base.poll(0)
        assert len(read_all(peer)) <= 200


@pytest.mark.parametrize("raises", [False, True])
def test_a_callback_that_raises_has_sent_what_it_wrote(base: EventBase, run: Run, raises: bool) -> None:
    """An exception ends the loop, and loses nothing that was written before."""

    def work(bev: BufferEvent) -> None:
        bev.write(b"answer")
        if raises:
            raise LookupError("on purpose")
        end_after_callback(base)

    bev, peer = told_to_write(base, work)
    with peer, bev:
        if raises:
            with pytest.raises(LookupError):
                run(base)
        else:
            run(base)
        assert read_all(peer) == b"answer"


def test_a_reset_is_told_as_a_reset(base: EventBase, run: Run) -> None:
    """
    The first write to a connection that was reset fails with ECONNRESET, a second one would with EPIPE: what
    the first one met is told.
    """
    told: list[tuple[BufferEventFlag, Any]] = []
    listening = socket.create_server(("127.0.0.1", 0))
    peer = socket.create_connection(listening.getsockname())
    ours, _ = listening.accept()
    listening.close()

    def on_read(bev: BufferEvent) -> None:
        bev.read()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        bev.write(b"too late")

    def on_event(bev: BufferEvent, what: BufferEventFlag, error: Any) -> None:
        told.append((what, error))
        bev.close()

    BufferEvent(base, ours, on_read=on_read, on_event=on_event)
    peer.send(b"?")
    run(base)
    assert len(told) == 1
    assert told[0][0] & BufferEventFlag.ERROR
    assert told[0][1].errno == errno.ECONNRESET


def test_a_pair_takes_what_a_callback_writes(base: EventBase, run: Run) -> None:
    """The ends of pairs have no socket, and move data as before."""
    got: list[bytes] = []
    one, other = BufferEvent.pair(base)

    def answer(bev: BufferEvent) -> None:
        bev.write(bev.read().upper())

    def end(bev: BufferEvent) -> None:
        got.append(bev.read())
        base.loop_break()

    other.on_read = answer
    one.on_read = end
    with one, other:
        one.write(b"hello")
        run(base)
    assert got == [b"HELLO"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork() here")
def test_a_fork_in_the_callback_sends_nothing_twice(base: EventBase, run: Run) -> None:
    """The child's copy of the base is dead, and what the callback wrote is the parent's to send."""
    children: list[int] = []

    def work(bev: BufferEvent) -> None:
        bev.write(b"answer")
        children.append(os.fork())
        if children[0]:
            os.waitpid(children[0], 0)
            end_after_callback(base)

    bev, peer = told_to_write(base, work)
    try:
        run(base)
    finally:
        if children and children[0] == 0:
            os._exit(0)
    with bev, peer:
        assert read_all(peer) == b"answer"
