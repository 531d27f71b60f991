"""Buffers of one's own: what goes in comes out, in order, and looking changes nothing."""

from __future__ import annotations

import array
import copy
import mmap
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from buffers import BIG, chunks

from libevent_cffi import Buffer, util
from libevent_cffi.buffer import ChangeCallback, Reservation
from libevent_cffi.errors import ClosedError, FeatureUnavailableError
from libevent_cffi.flags import EOL

pytestmark = pytest.mark.usefixtures("buffers_leave_nothing")


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
    with pytest.raises(TypeError):
        buffer["1"]  # type: ignore[call-overload]


def test_text_is_refused_with_what_to_do() -> None:
    """Wherever bytes go in or are looked for."""
    buffer, text = Buffer(b"abc"), cast("Any", "abc")
    uses: list[Callable[[], object]] = [
        lambda: Buffer(text),
        lambda: buffer.add(text),
        lambda: buffer.prepend(text),
        lambda: buffer.writelines([b"a", text]),
        lambda: buffer.add_reference(text),
        lambda: buffer.search(text),
        lambda: text in buffer,
    ]
    for use in uses:
        with pytest.raises(TypeError, match=r"bytes-like object .* not str: encode 'abc' first"):
            use()
    assert buffer == b"abc"
    assert buffer != text


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
