"""Files in buffers: read once where they have to be, sent by sendfile() where they can, closed in the end."""

from __future__ import annotations

import gc
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from conftest import DEADLINE, output_of

from libevent_cffi import Buffer, util
from libevent_cffi._native import lib
from libevent_cffi.buffer import FileSegment
from libevent_cffi.errors import ClosedError

CONTENT = bytes(range(256)) * 800


def descriptors() -> int:
    """How many descriptors this process has."""
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """When a test is over, C holds as much as before, and no descriptor more is open."""
    gc.collect()
    before = util.memory_counters().blocks, descriptors()
    yield
    gc.collect()
    gc.collect()
    lib.lev_memory_fail_after(-1)
    with Buffer() as last:
        last.drain()
    gc.collect()
    assert (util.memory_counters().blocks, descriptors()) == before


@pytest.fixture
def file() -> Iterator[IO[bytes]]:
    """A file with CONTENT, positioned somewhere in it."""
    with tempfile.TemporaryFile() as made:
        made.write(CONTENT)
        made.flush()
        made.seek(1000)
        yield made


def draining() -> Buffer:
    """Make a buffer that drains to a descriptor."""
    buffer = Buffer()
    buffer.drains_to_fd = True
    return buffer


def test_a_file_is_added_to_any_buffer(file: IO[bytes]) -> None:
    """From an offset on, so many bytes; the file's own position does not matter, and stays."""
    buffer = Buffer(b"<")
    buffer.add_file(file, offset=10, length=5)
    buffer.add_file(file.fileno(), offset=len(CONTENT) - 3)
    buffer.add_file(file, offset=len(CONTENT))
    buffer.add_file(file, length=0)
    buffer.add(b">")
    assert bytes(buffer) == b"<" + CONTENT[10:15] + CONTENT[-3:] + b">"
    assert file.tell() == 1000
    buffer.drain()
    buffer.add_file(file)
    file.close()
    assert buffer.pullup() == CONTENT
    assert buffer.remove() == CONTENT


def test_one_segment_serves_many_buffers(file: IO[bytes]) -> None:
    """It is read once; on_close() is called when it is closed and the last buffer has let go."""
    told: list[int] = []
    segment = FileSegment(file, offset=100, length=1000, on_close=lambda: told.append(1))
    assert (len(segment), repr(segment)) == (1000, "<FileSegment length=1000>")
    buffers = [Buffer() for _ in range(5)]
    before = util.memory_counters().bytes
    for buffer in buffers:
        buffer.add_file_segment(segment)
        buffer.add_file_segment(segment, offset=10, length=20)
        buffer.add_file_segment(segment, offset=1000)
        assert bytes(buffer) == CONTENT[100:1100] + CONTENT[110:130]
    assert util.memory_counters().bytes - before < 1000 + 12_000
    segment.close()
    segment.close()
    assert (segment.closed, repr(segment)) == (True, "<FileSegment closed>")
    with pytest.raises(ClosedError):
        buffers[0].add_file_segment(segment)
    for buffer in buffers:
        assert told == []
        buffer.close()
    assert told == [1]


def test_a_segment_is_not_made_again(file: IO[bytes]) -> None:
    """A second __init__() is refused, and leaves it as it was."""
    with FileSegment(file, length=10) as segment:
        with pytest.raises(RuntimeError, match="was made already"):
            segment.__init__(file)  # type: ignore[misc]
        assert len(segment) == 10


def test_a_segment_that_nobody_uses_is_closed_at_once(file: IO[bytes]) -> None:
    """And one that is dropped, as well."""
    told: list[int] = []
    with FileSegment(file, on_close=lambda: told.append(1)):
        pass
    assert told == [1]
    FileSegment(file, on_close=lambda: told.append(2))
    gc.collect()
    with Buffer() as last:
        last.drain()
    assert told == [1, 2]


def test_what_is_no_part_of_a_file_is_refused(file: IO[bytes], tmp_path: Path) -> None:
    """Beyond its end, a pipe, a folder, a closed one."""
    buffer = Buffer()
    size = len(CONTENT)
    for bad in (
        {"offset": size + 1},
        {"length": size + 1},
        {"offset": 1, "length": size},
        {"offset": -1},
        {"length": -1},
        {"offset": 2**62},
    ):
        with pytest.raises(ValueError):
            buffer.add_file(file, **bad)
        with FileSegment(file) as segment, pytest.raises(ValueError):
            buffer.add_file_segment(segment, **bad)
    reader, writer = os.pipe()
    folder = os.open(tmp_path, os.O_RDONLY)
    for number in (reader, folder):
        with pytest.raises(ValueError, match="no regular file"):
            buffer.add_file(number)
    for number in (reader, writer, folder):
        os.close(number)
    with pytest.raises(OSError):
        buffer.add_file(reader)
    for wrong in (None, "name", True):
        with pytest.raises((TypeError, ValueError)):
            buffer.add_file(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        buffer.add_file_segment(file)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        FileSegment(file, on_close=5)  # type: ignore[arg-type]
    with (tmp_path / "write only").open("wb") as target:
        target.write(b"abc")
        target.flush()
        with pytest.raises(OSError):
            buffer.add_file(target)
    assert len(buffer) == 0


def test_a_file_that_was_cut_short_is_noticed(file: IO[bytes]) -> None:
    """Before it is read: EOFError; afterwards it does not matter, as it is not mapped."""
    buffer, target = Buffer(), draining()
    with FileSegment(file) as read, FileSegment(file) as unread:
        buffer.add_file_segment(read)
        target.add_file_segment(unread)
        os.ftruncate(file.fileno(), 100)
        assert bytes(buffer) == CONTENT
        buffer.add_file_segment(read, offset=50_000)
        with pytest.raises(EOFError):
            buffer.add_file_segment(unread)
        with socket.socket() as unused:
            del unused
        left, right = socket.socketpair()
        with left, right:
            assert target.write_to(left) == 100
            with pytest.raises(EOFError):
                target.write_to(left)
    target.drain()
    assert not target


def test_a_file_is_sent_by_sendfile(file: IO[bytes]) -> None:
    """Between other bytes, and not a byte of it is in memory."""
    buffer = draining()
    assert buffer.drains_to_fd
    before = util.memory_counters().bytes
    buffer.add(b"head")
    buffer.add_file(file, offset=100)
    buffer.add(b"tail")
    assert util.memory_counters().bytes - before < 20_000
    assert len(buffer) == 8 + len(CONTENT) - 100
    left, right = socket.socketpair()
    got = bytearray()
    with left, right:
        left.setblocking(False)
        while buffer:
            try:
                buffer.write_to(left)
            except BlockingIOError:
                got += right.recv(1_000_000)
        left.close()
        while data := right.recv(1_000_000):
            got += data
    assert got == b"head" + CONTENT[100:] + b"tail"


def test_a_buffer_with_a_file_cannot_be_looked_at(file: IO[bytes]) -> None:
    """Until the file is gone; what would move or limit a part of it is refused too."""
    buffer, other = draining(), Buffer()
    buffer.add(b"head")
    buffer.add_file(file)
    for call in (
        buffer.remove,
        buffer.copyout,
        buffer.peek,
        buffer.pullup,
        buffer.readline,
        buffer.search_eol,
        lambda: buffer.search(b"x"),
        lambda: buffer[0],
        lambda: buffer == bytes(len(buffer)),
        lambda: buffer == buffer.remove_buffer(0),
        lambda: b"x" in buffer,
        lambda: buffer.write_to(1, 10),
        lambda: other.add_buffer(buffer),
        lambda: other.add_buffer_reference(buffer),
        lambda: buffer.remove_buffer(2),
        lambda: buffer.remove_buffer(into=other),
        lambda: list(buffer),
    ):
        with pytest.raises(BufferError, match="sendfile"):
            call()
    assert (buffer == b"") is False
    buffer.prepend(b"_")
    moved = buffer.remove_buffer()
    assert (len(buffer), len(moved), moved.drains_to_fd) == (0, len(CONTENT) + 5, True)
    buffer.add(b"x")
    assert bytes(buffer) == b"x"
    moved.add(b"tail")
    buffer.prepend_buffer(moved)
    buffer.add_buffer(moved)
    buffer.add(b"end")
    buffer.drain(5 + len(CONTENT) - 1)
    with pytest.raises(BufferError):
        bytes(buffer)
    buffer.drain(1)
    assert bytes(buffer) == b"tailxend"
    with pytest.raises(ValueError, match="must be empty"):
        buffer.drains_to_fd = False
    buffer.drain()
    buffer.drains_to_fd = False
    buffer.add_file(file, length=10)
    assert bytes(buffer) == CONTENT[:10]


def test_without_sendfile_it_is_read(file: IO[bytes]) -> None:
    """Also into a buffer that drains to a descriptor."""
    buffer = draining()
    buffer.add_file(file, offset=10, length=10, sendfile=False)
    assert bytes(buffer) == CONTENT[10:20]
    left, right = socket.socketpair()
    with left, right:
        assert buffer.write_to(left, 4) == 4
        assert right.recv(100) == CONTENT[10:14]


def test_frozen_and_closed_buffers_take_no_file(file: IO[bytes]) -> None:
    """And the file is closed again."""
    for buffer in (Buffer(), draining()):
        buffer.freeze(front=False)
        with pytest.raises(BufferError, match="frozen"):
            buffer.add_file(file)
        buffer.close()
        with pytest.raises(ClosedError):
            buffer.add_file(file)


@pytest.mark.skipif(bool(lib.lev_debug_mode_on), reason="libevent's debug mode ends without memory")
@pytest.mark.parametrize("make", [Buffer, draining])
def test_every_allocation_may_fail(file: IO[bytes], make: Any) -> None:
    """Whichever it is: MemoryError, and nothing is left behind or added."""
    for number in range(1, 100):
        buffer = make()
        lib.lev_memory_fail_after(number)
        try:
            buffer.add_file(file)
        except MemoryError:
            assert len(buffer) == 0
        finally:
            done = lib.lev_failing_in > 0
            lib.lev_memory_fail_after(-1)
        if done:
            break
        gc.collect()
    assert 3 < number < 20


def test_segments_are_used_and_closed_by_many_threads(file: IO[bytes]) -> None:
    """Each gets the bytes or ClosedError, and the last one closes the file."""
    told: list[int] = []
    failures: list[BaseException] = []

    def use(segment: FileSegment, number: int) -> None:
        buffer = Buffer()
        try:
            for _ in range(20):
                buffer.add_file_segment(segment, offset=number, length=100)
                assert buffer.remove() == CONTENT[number : number + 100]
            segment.close()
        except ClosedError:
            pass
        except BaseException as error:
            failures.append(error)

    for _ in range(30):
        segment = FileSegment(file, on_close=lambda: told.append(1))
        threads = [threading.Thread(target=use, args=(segment, number)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE)
        del segment, threads
    gc.collect()
    with Buffer() as last:
        last.drain()
    assert failures == []
    assert len(told) == 30


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_descriptors_are_not_inherited(file: IO[bytes]) -> None:
    """A program that is run meanwhile does not get the copy."""
    with FileSegment(file):
        there = os.readlink(f"/proc/self/fd/{file.fileno()}")
        listed = subprocess.run(
            ["ls", "-l", "/proc/self/fd"], capture_output=True, text=True, close_fds=False
        )
    assert there not in listed.stdout


def test_a_file_with_an_end_that_leaves_the_process() -> None:
    """A program may end with files in buffers and segments open."""
    assert (
        output_of(
            """
import tempfile
from libevent_cffi import Buffer
from libevent_cffi.buffer import FileSegment
file = tempfile.TemporaryFile()
file.write(b"abc")
file.flush()
buffer = Buffer()
buffer.drains_to_fd = True
segment = FileSegment(file, on_close=lambda: print("closed"))
file.close()
buffer.add_file_segment(segment)
buffer.on_change(print)
view = Buffer(bytes(100_000)).peek()
print("end")
"""
        )
        == "end\n"
    )
