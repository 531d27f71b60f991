"""Memory that buffers and others share: references, views, reservations, pointers."""

from __future__ import annotations

import functools
import gc
import os
import socket
import threading
import time
from collections.abc import Callable

import pytest
from buffers import BIG, chunks
from conftest import output_of

from libevent_cffi import Buffer, BufferEvent, EventBase, lowlevel, util
from libevent_cffi._native import ffi, lib
from libevent_cffi.buffer import BufferChange
from libevent_cffi.errors import ClosedError

pytestmark = pytest.mark.usefixtures("buffers_leave_nothing")


# -- references ----------------------------------------------------------------------------------------------


def test_a_reference_is_released_when_c_lets_go() -> None:
    """on_release() is called once, by the call that took the last byte."""
    told: list[str] = []
    buffer = Buffer()
    buffer.add_reference(b"abc", on_release=lambda: told.append("abc"))
    buffer.add_reference(b"xyzdef", offset=3, on_release=lambda: told.append("def"))
    buffer.add_reference(b"xyzdef", offset=1, length=2)
    assert (bytes(buffer), told) == (b"abcdefyz", [])
    buffer.remove(2)
    assert told == []
    buffer.remove(1)
    assert told == ["abc"]
    buffer.close()
    assert told == ["abc", "def"]


def test_many_references_are_released_in_order_and_in_no_time() -> None:
    """However many one call lets go of."""
    released: list[int] = []
    with Buffer() as buffer:
        for number in range(30_000):
            buffer.add_reference(b"x", on_release=functools.partial(released.append, number))
        begin = time.process_time()
        buffer.drain()
        assert time.process_time() - begin < 1  # in quadratic time it would be 4 s or more
    assert released == list(range(30_000))


def test_a_reference_moves_between_buffers() -> None:
    """It is released where it ends."""
    told: list[int] = []
    one, other = Buffer(), Buffer()
    one.add_reference(b"abc", on_release=lambda: told.append(1))
    other.add_buffer(one)
    one.close()
    assert told == []
    assert other.remove() == b"abc"
    assert told == [1]


def test_a_dropped_buffer_releases() -> None:
    """The next call on this thread tells of it."""
    told: list[int] = []
    buffer = Buffer()
    buffer.add_reference(b"abc", on_release=lambda: told.append(1))
    del buffer
    gc.collect()
    Buffer().drain()
    assert told == [1]


def test_a_loop_tells_of_what_was_released(plain_base: EventBase) -> None:
    """Also of what another thread's garbage was."""
    told: list[int] = []
    buffer = Buffer()
    buffer.add_reference(b"abc", on_release=lambda: told.append(threading.get_ident()))
    pointer = lowlevel.surrender(buffer)

    def free() -> None:
        lib.evbuffer_free(pointer)

    thread = threading.Thread(target=free)
    thread.start()
    thread.join()
    assert told == []
    plain_base.every(0.001, lambda: told and plain_base.loop_break())
    plain_base.dispatch()
    assert told == [threading.get_ident()]


ENDS: dict[str, Callable[[EventBase, BufferEvent], object]] = {
    "a loop that ends when it is sent": lambda base, bev: (bev.close(flush=True), base.dispatch()),
    "a loop in which it is dropped": lambda base, bev: (base.call_soon(bev.close), base.dispatch()),
    "close() of the base": lambda base, bev: base.close(),
    "close() of both": lambda base, bev: (bev.close(), base.close()),
    "close() of the base in a callback": lambda base, bev: (base.call_soon(base.close), base.dispatch()),
}


@pytest.mark.parametrize("way", ENDS)
def test_a_connection_that_ends_releases(plain_base: EventBase, way: str) -> None:
    """No other call has to come first, of which there may be none."""
    told: list[str] = []
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    bev, buffer = BufferEvent(plain_base, ours), Buffer()
    buffer.add_reference(b"abc", on_release=lambda: told.append("released"))
    bev.write_buffer(buffer)
    ENDS[way](plain_base, bev)
    assert told == ["released"]
    theirs.close()


def test_a_loop_goes_on_with_what_a_release_brings(plain_base: EventBase) -> None:
    """And raises what it raised."""
    told: list[str] = []
    ours, theirs = socket.socketpair()

    def released() -> None:
        plain_base.call_later(0.001, told.append, "later")
        raise KeyError("released")

    bev, buffer = BufferEvent(plain_base, ours), Buffer()
    buffer.add_reference(b"abc", on_release=released)
    bev.write_buffer(buffer)
    bev.close(flush=True)
    plain_base.error_handler = lambda error, source: told.append(repr(error))
    plain_base.dispatch()
    assert told == ["KeyError('released')", "later"]
    theirs.close()


def test_a_lent_bytearray_is_exported_until_then() -> None:
    """On CPython it cannot be resized meanwhile; on PyPy it was copied."""
    data = bytearray(b"abc")
    buffer = Buffer()
    buffer.add_reference(data)
    try:
        data += b"x"
    except BufferError:
        assert bytes(buffer) == b"abc"
    assert buffer.remove() == b"abc"
    data += b"y"


def test_an_error_of_on_release_comes_from_the_call(caplog: pytest.LogCaptureFixture) -> None:
    """And what the call took is put back; a second one is logged."""
    buffer = Buffer(b"ab")

    def fail(number: int) -> None:
        raise LookupError(number)

    buffer.add_reference(b"cd", on_release=lambda: fail(1))
    buffer.add_reference(b"ef", on_release=lambda: fail(2))
    with pytest.raises(LookupError, match="1"):
        buffer.remove()
    assert buffer.remove() == b"abcdef"
    assert [record.message for record in caplog.records] == ["another on_release() failed"]
    caplog.clear()  # it keeps the traceback, and that the buffer


def test_a_reference_that_is_refused_is_not_kept() -> None:
    """Nothing is called, and the object is free."""
    buffer, data = Buffer(), bytearray(b"abc")
    buffer.freeze(front=False)
    with pytest.raises(BufferError):
        buffer.add_reference(data, on_release=pytest.fail)
    data += b"x"
    for bad in ({"offset": 5}, {"offset": -1}, {"length": 5}, {"offset": 2, "length": 3}, {"length": -1}):
        with pytest.raises(ValueError):
            buffer.add_reference(data, **bad)
    with pytest.raises(TypeError):
        buffer.add_reference(data, on_release=5)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        buffer.add_reference("text")  # type: ignore[arg-type]


# -- views ---------------------------------------------------------------------------------------------------


def test_small_views_are_copies() -> None:
    """They are read-only, and stay."""
    buffer = Buffer(b"abcdef")
    (view,) = buffer.peek(3, start=2)
    assert (bytes(view), view.readonly) == (b"cde", True)
    buffer.close()
    assert bytes(view) == b"cde"
    assert Buffer().peek() == []


def test_large_views_show_what_was_there() -> None:
    """Whatever becomes of the buffer; nothing large is copied."""
    data = os.urandom(BIG)
    buffer = chunks(data[:100_000], data[100_000:])
    before = util.memory_counters().bytes
    views = buffer.peek()
    assert b"".join(views) == data
    assert all(view.readonly for view in views)
    assert util.memory_counters().bytes - before < 5_000
    part = buffer.peek(1000, start=99_500)
    large = buffer.peek(150_000, start=50_000)
    buffer.prepend(b"front")
    buffer.add(b"end")
    buffer.drain(150_000)
    buffer.pullup()
    buffer.add(data)
    buffer.close()
    assert b"".join(views) == data
    assert b"".join(part) == data[99_500:100_500]
    assert b"".join(large) == data[50_000:200_000]


def test_a_slice_of_a_view_keeps_the_memory() -> None:
    """Also after the view itself was released."""
    data = os.urandom(BIG)
    buffer = Buffer(data)
    (view,) = buffer.peek()
    part = view[1000:2000]
    view.release()
    del view
    buffer.close()
    gc.collect()
    assert bytes(part) == data[1000:2000]


def test_views_come_again_and_again() -> None:
    """The same snapshot serves while nothing was added; with additions in between it goes on for ever."""
    buffer = Buffer(bytes(BIG))
    first = util.memory_counters().bytes
    kept = [buffer.peek() for _ in range(100)]
    assert util.memory_counters().bytes < first + 50_000
    for number in range(2000):
        buffer.add(b"%d" % number)
        kept.append(buffer.peek())
        del kept[:-3]
    assert bytes(kept[-1][-1]).endswith(b"1999")
    assert len(buffer) == BIG + sum(len(b"%d" % number) for number in range(2000))


def test_snapshots_of_snapshots_are_freed_one_after_the_other() -> None:
    """However deep: moves to fresh buffers hide how deep it is already."""
    buffer = Buffer(bytes(BIG))
    for _ in range(20_000):
        buffer.peek()
        fresh = Buffer()
        lib.evbuffer_add_buffer(lowlevel.pointer(fresh), lowlevel.pointer(buffer))
        buffer = fresh
    buffer.close()
    del buffer, fresh
    gc.collect()


def test_a_change_callback_hears_nothing_of_views() -> None:
    """Looking is no change."""
    told: list[BufferChange] = []
    buffer = Buffer(bytes(BIG))
    buffer.on_change(lambda _, change: told.append(change))
    buffer.freeze(front=True)
    buffer.freeze(front=False)
    buffer.peek()
    buffer.pullup()
    assert told == []
    with pytest.raises(BufferError):
        buffer.add(b"x")
    with pytest.raises(BufferError):
        buffer.drain(1)


# -- reservations --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [10, 65536, BIG])
def test_room_is_filled_and_committed(size: int) -> None:
    """Only what is committed is added."""
    buffer = Buffer(b"_")
    with buffer.reserve(size + 5) as room:
        assert len(room.view) == size + 5
        assert not room.view.readonly
        room.view[:size] = b"x" * size
        kept = room.view[:3]
        room.commit(size)
        with pytest.raises(ValueError, match="committed"):
            room.view[0] = 1
        with pytest.raises(ValueError, match="committed"):
            room.commit(1)
    buffer.add(b"_")
    assert bytes(buffer) == b"_" + b"x" * size + b"_"
    buffer.close()
    assert bytes(kept) == b"xxx"


def test_room_that_is_not_committed_is_given_back() -> None:
    """Without commit(), and after an error."""
    buffer = Buffer()
    with buffer.reserve(10) as room:
        view = room.view
    with pytest.raises(ValueError):
        view[0] = 1
    with pytest.raises(ValueError):
        room.commit(1)
    with pytest.raises(LookupError), buffer.reserve(10) as room:
        raise LookupError
    with buffer.reserve(10) as room:
        room.commit(0)
    for bad in (0, -1, 2**61):
        with pytest.raises(ValueError):
            buffer.reserve(bad)
    with pytest.raises(MemoryError):
        buffer.reserve(2**60)
    with buffer.reserve(10) as room, pytest.raises(ValueError):
        room.commit(11)
    assert len(buffer) == 0


def test_room_takes_what_a_socket_gives(pair: tuple[socket.socket, socket.socket]) -> None:
    """recv_into() fills it."""
    left, right = pair
    left.send(b"hello")
    buffer = Buffer()
    with buffer.reserve(4096) as room:
        room.commit(right.recv_into(room.view))
    assert bytes(buffer) == b"hello"


# -- pointers ------------------------------------------------------------------------------------------------


def test_a_pointer_is_adopted_borrowed_and_surrendered() -> None:
    """Who frees it is in the name."""
    pointer = lib.evbuffer_new()
    lib.evbuffer_add(pointer, b"abc", 3)
    borrowed = lowlevel.borrow(Buffer, pointer)
    assert (bytes(borrowed), lowlevel.pointer(borrowed)) == (b"abc", pointer)
    with pytest.raises(TypeError, match="belongs to something else"):
        lowlevel.surrender(borrowed)
    borrowed._invalidate()
    with pytest.raises(ClosedError):
        len(borrowed)
    adopted = lowlevel.adopt(Buffer, pointer)
    adopted.add(b"def")
    assert lowlevel.surrender(adopted) == pointer
    assert adopted.closed
    again = lowlevel.adopt(Buffer, pointer)
    assert again.remove() == b"abcdef"
    for bad, kind in ((ffi.NULL, TypeError), (ffi.cast("struct evbuffer *", 0), ValueError), (5, TypeError)):
        with pytest.raises(kind):
            lowlevel.adopt(Buffer, bad)
    with pytest.raises(ClosedError):
        lowlevel.pointer(adopted)


def test_one_evbuffer_under_two_names_is_noticed() -> None:
    """To move it to itself is an error."""
    buffer = Buffer(b"abc")
    borrowed = lowlevel.borrow(Buffer, lowlevel.pointer(buffer))
    for call in (buffer.add_buffer, buffer.prepend_buffer, borrowed.add_buffer):
        for other in (buffer, borrowed):
            with pytest.raises(ValueError, match=r"same|itself"):
                call(other)
    borrowed._invalidate()


def test_nothing_is_made_after_the_shutdown() -> None:
    """An open buffer keeps util.global_shutdown() away."""
    assert (
        output_of(
            """
from libevent_cffi import Buffer, util
from libevent_cffi.errors import ClosedError, LoopBusyError
from libevent_cffi.buffer import FileSegment
buffer = Buffer(b"abc")
try:
    util.global_shutdown()
except LoopBusyError:
    print("busy")
buffer.close()
util.global_shutdown()
for make in (Buffer, lambda: FileSegment(0)):
    try:
        make()
    except ClosedError:
        print("shut down")
print(util.memory_counters()[:2])
"""
        )
        == "busy\nshut down\nshut down\n(0, 0)\n"
    )


def test_a_byte_after_a_large_reference_takes_little_memory() -> None:
    """libevent itself would make a chunk as large as the one before."""
    buffer = Buffer()
    buffer.add_reference(bytes(50_000_000))
    before = util.memory_counters().bytes
    buffer.add(b"x")
    buffer.writelines([b"y", b"z"])
    assert util.memory_counters().bytes - before < 10_000
    buffer.drain(49_999_999)
    assert buffer.remove() == b"\0xyz"


def test_many_small_pieces_are_taken_in_linear_time() -> None:
    """As a body that came in many pieces."""
    with Buffer() as buffer:
        for _ in range(60000):
            buffer.add_buffer(Buffer(b"x" * 8))
        begin = time.process_time()
        assert buffer.copyout(start=8) == b"x" * 479992
        assert buffer.remove() == b"x" * 480000
        assert time.process_time() - begin < 1  # in quadratic time it would be 2 s or more
