"""Buffers of one's own: what goes in comes out, in order, and looking changes nothing."""

from __future__ import annotations

import array
import copy
import functools
import gc
import mmap
import os
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import output_of

from libevent_cffi import Buffer, EventBase, lowlevel, util
from libevent_cffi._native import ffi, lib
from libevent_cffi.buffer import BufferChange, ChangeCallback, Reservation
from libevent_cffi.errors import ClosedError, FeatureUnavailableError
from libevent_cffi.flags import EOL

BIG = 300_000


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """When a test is over, C holds as much as before."""
    gc.collect()
    before = util.memory_counters().blocks, lib.lev_live_objects
    yield
    for _ in range(3):
        gc.collect()
    lib.lev_memory_fail_after(-1)
    with Buffer() as buffer:
        buffer.drain()  # what was let go of is told
    assert (util.memory_counters().blocks, lib.lev_live_objects) == before


def chunks(*parts: bytes) -> Buffer:
    """Make a buffer with each part in a chunk of its own."""
    made = Buffer()
    for part in parts:
        made.add_reference(part)
    return made


# -- in and out ----------------------------------------------------------------------------------------------


def test_what_goes_in_comes_out_in_order() -> None:
    """add() appends, prepend() puts in front, remove() takes from the front."""
    buffer = Buffer(b"cd")
    buffer.add(b"ef")
    buffer.prepend(b"ab")
    assert (len(buffer), bool(buffer), bytes(buffer)) == (6, True, b"abcdef")
    assert (buffer.remove(4), buffer.remove(), buffer.remove()) == (b"abcd", b"ef", b"")
    assert (len(buffer), bool(buffer)) == (0, False)


@pytest.mark.parametrize(
    "data",
    [
        b"abc",
        bytearray(b"abc"),
        memoryview(b"abc"),
        memoryview(b"aXbXcX")[::2],
        array.array("b", b"abc"),
        array.array("H", [1, 2]),
        b"",
    ],
    ids=repr,
)
def test_whatever_has_bytes_is_taken(data: Any) -> None:
    """Also what is not contiguous, and what has items of several bytes."""
    wanted = bytes(memoryview(data))
    buffer = Buffer(data)
    buffer.add(data)
    buffer.prepend(data)
    buffer.add_reference(data)
    buffer.writelines([data, data])
    assert bytes(buffer) == wanted * 6
    assert buffer == wanted * 6
    assert not wanted or wanted in buffer


def test_a_mapping_is_taken() -> None:
    """mmap has bytes as well."""
    with mmap.mmap(-1, 10) as mapped:
        mapped[:3] = b"abc"
        assert bytes(Buffer(mapped)) == b"abc" + bytes(7)


@pytest.mark.parametrize("size", [0, 1, 4096, 65535, 65536, 65537, 5_000_000])
def test_any_size_goes_through(size: int) -> None:
    """What is small comes out by another way than what is large."""
    data = os.urandom(size)
    buffer = Buffer(data)
    assert bytes(buffer) == data
    assert buffer.copyout(size, start=size // 2) == data[size // 2 :]
    assert buffer.remove(10**15) == data
    buffer.add(data)
    target = bytearray(size + 10)
    assert buffer.readinto(target) == size
    assert target == data + bytes(10)
    assert not buffer


def test_many_parts_in_one_call() -> None:
    """writelines() adds all of them, or none."""
    buffer = Buffer()
    buffer.writelines(b"%d," % number for number in range(1000))
    assert bytes(buffer).split(b",")[:-1] == [b"%d" % number for number in range(1000)]
    with pytest.raises(TypeError):
        buffer.writelines([b"more", "text"])  # type: ignore[list-item]
    assert bytes(buffer).endswith(b"999,")
    Buffer().writelines([])


def test_moves_take_all() -> None:
    """add_buffer() and prepend_buffer() leave the other one empty."""
    one, other = Buffer(b"cd"), Buffer(b"ef")
    one.add_buffer(other)
    assert (bytes(one), bytes(other)) == (b"cdef", b"")
    other.add(b"ab")
    one.prepend_buffer(other)
    assert (bytes(one), bytes(other)) == (b"abcdef", b"")
    one.add_buffer(other)
    assert bytes(one) == b"abcdef"


def test_a_reference_to_a_buffer_is_a_copy() -> None:
    """add_buffer_reference() leaves the other one as it was, and neither sees what becomes of the other."""
    one, other = Buffer(b"ab"), chunks(b"cd", b"ef")
    one.add_buffer_reference(other)
    other.remove(3)
    other.add(b"XY")
    other.pullup()
    assert (bytes(one), bytes(other)) == (b"abcdef", b"fXY")


@pytest.mark.parametrize("nbytes", [0, 1, 2, 3, 4, 5, 6, 7, 8, 100, -1])
def test_the_first_bytes_go_to_another_buffer(nbytes: int) -> None:
    """remove_buffer() moves them, wherever chunks end, to a new buffer or to the one given."""
    buffer = chunks(b"abc", b"de", b"fgh")
    taken = buffer.remove_buffer(nbytes)
    count = 8 if nbytes == -1 else nbytes
    assert (bytes(taken), bytes(buffer)) == (b"abcdefgh"[:count], b"abcdefgh"[count:])
    assert taken.remove_buffer(1, into=buffer) is buffer
    assert bytes(buffer) == (b"abcdefgh"[count:] + b"abcdefgh"[: min(count, 1)])


def test_drain_throws_away() -> None:
    """At most what there is."""
    buffer = chunks(b"abc", b"def")
    buffer.drain(4)
    assert bytes(buffer) == b"ef"
    buffer.drain(100)
    buffer.add(b"x")
    buffer.drain()
    assert not buffer


# -- looking -------------------------------------------------------------------------------------------------


def test_a_buffer_is_indexed_and_sliced_like_bytes() -> None:
    """Integers and slices of every kind, over ends of chunks."""
    data = b"0123456789"
    buffer = chunks(b"012", b"3456", b"789")
    for index in range(-10, 10):
        assert buffer[index] == data[index]
    for start in (None, -20, -7, 0, 3, 9, 10, 20):
        for stop in (None, -20, -3, 0, 5, 10, 20):
            for step in (None, 1, 2, 3, -1, -2, 30):
                assert buffer[start:stop:step] == data[start:stop:step], (start, stop, step)
    for index in (10, -11, 2**70):
        with pytest.raises(IndexError):
            buffer[index]
    with pytest.raises(ValueError, match="zero"):
        buffer[::0]
    with pytest.raises((TypeError, AttributeError)):
        buffer["1"]  # type: ignore[call-overload]


def test_equality_is_that_of_bytes() -> None:
    """With another buffer, however it is cut, and with what has bytes; there is no hash."""
    buffer = chunks(b"abc", b"de")
    assert buffer == chunks(b"a", b"bcde") == b"abcde" == buffer == bytearray(b"abcde")
    assert buffer == memoryview(b"abcde")
    assert buffer != chunks(b"abc", b"dX")
    assert buffer != b"abcdef"
    assert buffer != "abcde"
    assert (buffer == 5) is False
    assert Buffer() == b""
    with pytest.raises(TypeError):
        hash(buffer)


def test_search_finds_what_find_finds() -> None:
    """Over ends of chunks, from a start, before an end."""
    data = b"abcabcabd"
    buffer = chunks(b"ab", b"cab", b"cabd")
    for needle in (b"a", b"ab", b"bc", b"abd", b"cabd", b"x", b"", b"abcabcabd", b"abcabcabdx"):
        for start in range(12):
            for end in (None, 0, 2, 4, 5, 8, 9, 50):
                found = data.find(needle, start, end)
                assert buffer.search(needle, start=start, end=end) == (None if found < 0 else found)
    assert b"cab" in buffer
    assert b"cx" not in buffer


EOLS = {
    EOL.LF: [(b"a\nb", (1, 1)), (b"a\r\nb", (2, 1)), (b"a\r", None)],
    EOL.CRLF: [(b"a\nb", (1, 1)), (b"a\r\nb", (1, 2)), (b"\n", (0, 1)), (b"\r\n", (0, 2)), (b"a\r", None)],
    EOL.CRLF_STRICT: [(b"a\nb\r\n", (3, 2)), (b"a\r\n", (1, 2)), (b"a\n", None)],
    EOL.NUL: [(b"a\0b", (1, 1)), (b"a\n", None)],
    EOL.ANY: [(b"a\r\r\n\nb", (1, 4)), (b"a\rb", (1, 1)), (b"ab", None), (b"\n\r", (0, 2))],
}


@pytest.mark.parametrize("eol", EOLS, ids=str)
def test_lines_end_as_asked(eol: EOL) -> None:
    """Each style, with the data in one chunk and in chunks of a byte."""
    for data, wanted in EOLS[eol]:
        for buffer in (Buffer(data), chunks(*(data[i : i + 1] for i in range(len(data))))):
            assert buffer.search_eol(eol) == wanted
            assert bytes(buffer) == data
            line = buffer.readline(eol)
            if wanted is None:
                assert (line, bytes(buffer)) == (None, data)
            else:
                assert (line, bytes(buffer)) == (data[: wanted[0]], data[sum(wanted) :])


def test_search_eol_begins_where_it_is_told() -> None:
    """start counts from the front."""
    buffer = Buffer(b"a\nb\nc")
    assert buffer.search_eol(start=1) == (1, 1)
    assert buffer.search_eol(start=2) == (3, 1)
    assert [buffer.search_eol(start=at) for at in (4, 5, 6, 100)] == [None] * 4


def test_iterating_takes_complete_lines() -> None:
    """What is after the last line end stays."""
    buffer = Buffer(b"one\r\ntwo\n\nthr")
    assert list(buffer) == [b"one", b"two", b""]
    assert bytes(buffer) == b"thr"
    buffer.add(b"ee\n" + b"x" * BIG + b"\n")
    assert [len(line) for line in buffer] == [5, BIG]


def test_repr_tells_what_it_is() -> None:
    """Its length while it is open."""
    buffer = Buffer(b"abc")
    assert repr(buffer) == "<Buffer length=3>"
    buffer.close()
    assert repr(buffer) == "<Buffer closed>"


def test_pullup_makes_one_chunk() -> None:
    """The first bytes lie together afterwards, and are shown."""
    buffer = chunks(b"abc", b"def", b"ghi")
    assert buffer.contiguous_space == 3
    view = buffer.pullup(5)
    assert (bytes(view), view.readonly) == (b"abcde", True)
    assert buffer.contiguous_space >= 5
    assert bytes(buffer.pullup()) == b"abcdefghi"
    assert bytes(buffer.pullup(0)) == b""
    with pytest.raises(ValueError, match="9 bytes"):
        buffer.pullup(10)
    assert bytes(Buffer().pullup()) == b""


def test_expand_makes_room() -> None:
    """Adding that much then takes no memory."""
    buffer = Buffer()
    buffer.expand(10_000)
    before = util.memory_counters()
    buffer.add(bytes(10_000))
    assert util.memory_counters().bytes == before.bytes
    buffer.expand(0)
    with pytest.raises(MemoryError):
        buffer.expand(2**60)
    assert len(buffer) == 10_000


# -- closing -------------------------------------------------------------------------------------------------


def every_method(buffer: Buffer) -> Iterator[Any]:
    """Generate calls of all methods and properties."""
    calls: dict[str, tuple[Any, ...]] = {
        "add": (b"x",),
        "prepend": (b"x",),
        "writelines": ([b"x"],),
        "add_reference": (b"x",),
        "add_buffer": (Buffer(),),
        "prepend_buffer": (Buffer(),),
        "add_buffer_reference": (Buffer(),),
        "reserve": (10,),
        "expand": (10,),
        "read_from": (0,),
        "remove": (),
        "readinto": (bytearray(1),),
        "remove_buffer": (),
        "readline": (),
        "drain": (),
        "write_to": (1,),
        "copyout": (),
        "peek": (),
        "pullup": (),
        "search": (b"x",),
        "search_eol": (),
        "as_file": (),
        "on_change": (print,),
        "__len__": (),
        "__bool__": (),
        "__bytes__": (),
        "__contains__": (b"x",),
        "__getitem__": (0,),
        "__eq__": (b"x",),
        "__enter__": (),
    }
    for name, args in calls.items():
        yield lambda name=name, args=args: getattr(buffer, name)(*args)
    yield lambda: buffer.add_file(0)
    yield lambda: next(iter(buffer))
    yield lambda: buffer.freeze(front=True)
    yield lambda: buffer.unfreeze(front=True)
    yield lambda: buffer.lock().__enter__()
    yield lambda: buffer.contiguous_space
    yield lambda: buffer.max_read
    yield lambda: buffer.drains_to_fd
    yield lambda: setattr(buffer, "drains_to_fd", True)


def test_after_close_everything_is_refused() -> None:
    """Every method says so, and close() may come again."""
    buffer = Buffer(b"abc")
    with buffer:
        pass
    assert buffer.closed
    for call in every_method(buffer):
        with pytest.raises((ClosedError, ValueError)) as caught:
            call()
        assert isinstance(caught.value, ClosedError) or "regular file" in str(caught.value)
    buffer.close()
    with pytest.raises(ClosedError):
        Buffer().add_buffer(buffer)


def test_it_is_not_made_again() -> None:
    """A second __init__() would take it away under threads that are inside."""
    with Buffer(b"abc") as buffer:
        with pytest.raises(RuntimeError, match="was made already"):
            buffer.__init__(b"x")  # type: ignore[misc]
        assert bytes(buffer) == b"abc"


def test_a_class_that_misleads_adds_what_it_holds() -> None:
    """What a subclass of bytes says of itself does not count."""

    class Misleading(bytes):
        def __len__(self) -> int:
            return 1_000_000

        def __ne__(self, other: object) -> bool:
            return False

        __hash__ = bytes.__hash__

    with Buffer(Misleading(b"ab")) as buffer:
        buffer.add(Misleading(b"cd"))
        buffer.prepend(Misleading(b"0"))
        buffer.writelines([Misleading(b"ef")])
        buffer.add_reference(Misleading(b"gh"))
        assert buffer.search(Misleading(b"cd")) == 3
        assert bytes(buffer) == b"0abcdefgh"


def test_what_cannot_be_read_into_takes_nothing() -> None:
    """Not even when that shows only in the end."""
    with Buffer(b"abcdef") as buffer:
        for target in (memoryview(bytearray(6))[::2], b"read-only"):
            with pytest.raises((TypeError, BufferError)):
                buffer.readinto(target)
        assert bytes(buffer) == b"abcdef"


def test_it_cannot_be_copied() -> None:
    """It stands for something in C."""
    for way in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be pickled or copied"):
            way(Buffer())


def test_what_the_library_makes_cannot_be_made_otherwise() -> None:
    """ChangeCallback and Reservation come from methods."""
    for kind in (ChangeCallback, Reservation):
        with pytest.raises(TypeError, match="makes these"):
            kind()


# -- frozen ends ---------------------------------------------------------------------------------------------


def test_a_frozen_end_is_not_changed() -> None:
    """Adding and taking are refused at that end, looking never."""
    buffer, other = Buffer(b"abc"), Buffer(b"x")
    buffer.freeze(front=False)
    for call in (
        lambda: buffer.add(b"x"),
        lambda: buffer.writelines([b"x"]),
        lambda: buffer.add_reference(b"x"),
        lambda: buffer.add_buffer(other),
        lambda: buffer.add_buffer_reference(other),
        lambda: other.remove_buffer(into=buffer),
    ):
        with pytest.raises(BufferError, match="frozen"):
            call()
    buffer.prepend(b"_")
    buffer.unfreeze(front=False)
    buffer.freeze(front=True)
    for call in (
        lambda: buffer.prepend(b"x"),
        lambda: buffer.prepend_buffer(other),
        buffer.remove,
        buffer.drain,
        lambda: buffer.remove(1),
        lambda: buffer.remove_buffer(2),
        lambda: other.add_buffer(buffer),
    ):
        with pytest.raises(BufferError, match="frozen"):
            call()
    buffer.add(b"d")
    assert (bytes(buffer), bytes(other), buffer[0], b"cd" in buffer) == (b"_abcd", b"x", 95, True)
    assert b"".join(buffer.peek()) == b"_abcd"
    buffer.unfreeze(front=True)
    assert buffer.remove() == b"_abcd"


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


# -- descriptors ---------------------------------------------------------------------------------------------


def test_bytes_go_through_sockets(pair: tuple[socket.socket, socket.socket]) -> None:
    """read_from() and write_to() each do it once, and tell how many bytes."""
    left, right = pair
    source, target = Buffer(b"hello world"), Buffer()
    assert source.write_to(left, 5) == 5
    assert source.write_to(left) == 6
    assert source.write_to(left) == 0
    assert target.read_from(right, 3) == 3
    assert target.read_from(right) == 8
    assert bytes(target) == b"hello world"
    with pytest.raises(BlockingIOError):
        target.read_from(right)
    source.add(bytes(10_000_000))

    def write_on() -> None:
        while True:
            assert source.write_to(left.fileno()) > 0

    with pytest.raises(BlockingIOError):
        write_on()
    left.close()
    while target.read_from(right) > 0:
        pass
    with pytest.raises(OSError):
        source.write_to(right)
    with pytest.raises(ValueError):
        source.write_to(left)
    assert target.read_from(right, 0) == 0
    for bad in (True, -1, 2**40, "x", None):
        with pytest.raises((TypeError, ValueError)):
            target.read_from(bad)  # type: ignore[arg-type]
    with pytest.raises(OSError):
        target.read_from(2**30)


def test_max_read_limits_one_read(pair: tuple[socket.socket, socket.socket]) -> None:
    """It can be set where libevent has it."""
    left, right = pair
    buffer = Buffer()
    assert buffer.max_read == 4096
    left.send(bytes(20_000))
    assert buffer.read_from(right) == 4096
    if util.features()["buffer_max_read"]:
        buffer.max_read = 10_000
        assert buffer.max_read == 10_000
        assert buffer.read_from(right) == 10_000
        with pytest.raises(ValueError):
            buffer.max_read = 0
    else:
        with pytest.raises(FeatureUnavailableError, match="buffer_max_read"):
            buffer.max_read = 10_000


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
