"""
Buffers against a bytearray each: any operations in any order, with references, files, moves and live views.

LIBEVENT_CFFI_PROGRAMS=n has n tenths as many programs tried.
"""

from __future__ import annotations

import gc
import os
import tempfile
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as some
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from libevent_cffi import Buffer, util
from libevent_cffi._native import lib
from libevent_cffi.buffer import BufferChange, FileSegment
from libevent_cffi.flags import EOL

PROGRAMS = int(os.environ.get("LIBEVENT_CFFI_PROGRAMS", "1000")) // 10

#: Small ones with few different bytes, so that lines and needles are found; and some that are not copied.
DATA = some.one_of(
    some.lists(some.sampled_from(b"ab\r\n\0"), max_size=40).map(bytes),
    some.tuples(some.integers(0, 255), some.sampled_from([1000, 4096, 65536, 100_000])).map(
        lambda made: bytes([made[0]]) * made[1]
    ),
)
COUNT = some.one_of(some.integers(-1, 50), some.sampled_from([4096, 65536, 100_000, 2**40]))
OFFSET = some.one_of(some.integers(0, 50), some.sampled_from([1000, 65536, 150_000]))


def first_line(model: bytearray, eol: EOL) -> tuple[int, int] | None:
    """Say where the first line ends, and how long its end is, as libevent defines the styles."""
    if eol is EOL.ANY:
        at = min((place for place in (model.find(b"\r"), model.find(b"\n")) if place >= 0), default=-1)
        end = at
        while 0 <= end < len(model) and model[end] in b"\r\n":
            end += 1
        return None if at < 0 else (at, end - at)
    end_of = {EOL.CRLF_STRICT: b"\r\n", EOL.NUL: b"\0"}.get(eol, b"\n")
    at = model.find(end_of)
    if at < 0:
        return None
    if eol is EOL.CRLF and at > 0 and model[at - 1 : at] == b"\r":
        return at - 1, 2
    return at, len(end_of)


class Model:
    """A buffer, and what has to be in it."""

    def __init__(self, data: bytes) -> None:
        self.buffer = Buffer(data)
        self.model = bytearray(data)
        self.told = len(data)
        self.buffer.on_change(self.count)

    def count(self, _: Buffer, change: BufferChange) -> None:
        """Follow its length by what is told of changes."""
        assert change.original_size == self.told
        self.told += change.added - change.deleted


class Shown:
    """Views, and what they have to show as long as they live."""

    def __init__(self, views: list[memoryview], data: bytes) -> None:
        self.views = views
        self.data = data

    def check(self) -> None:
        """Let go of them when they are right."""
        assert b"".join(self.views) == self.data
        self.views = []


class Buffers(RuleBasedStateMachine):
    """What can be done."""

    lent = released = 0
    models: Bundle[Model] = Bundle("models")
    views: Bundle[Shown] = Bundle("views")

    def __init__(self) -> None:
        super().__init__()
        self.file = tempfile.TemporaryFile()  # noqa: SIM115 - teardown() closes it
        self.content = bytes(range(256)) * 4 + b"line\r\n" * 20_000
        self.file.write(self.content)
        self.file.flush()
        self.all: list[Model] = []
        self.shown: list[Shown] = []

    @initialize(target=models)
    def begin(self) -> Model:
        """There is one at least."""
        return self.make(b"")

    @rule(target=models, data=DATA)
    def make(self, data: bytes) -> Model:
        made = Model(data)
        self.all.append(made)
        return made

    # -- in ------------------------------------------------------------------------------------------------

    @rule(it=models, data=DATA)
    def add(self, it: Model, data: bytes) -> None:
        it.buffer.add(data)
        it.model += data

    @rule(it=models, data=DATA)
    def prepend(self, it: Model, data: bytes) -> None:
        it.buffer.prepend(bytearray(data))
        it.model[:0] = data

    @rule(it=models, parts=some.lists(DATA, max_size=4))
    def writelines(self, it: Model, parts: list[bytes]) -> None:
        it.buffer.writelines(parts)
        it.model += b"".join(parts)

    @rule(it=models, data=DATA, offset=some.integers(0, 10))
    def add_reference(self, it: Model, data: bytes, offset: int) -> None:
        offset = min(offset, len(data))
        Buffers.lent += 1
        it.buffer.add_reference(data, offset=offset, on_release=self.release)
        it.model += data[offset:]

    def release(self) -> None:
        Buffers.released += 1

    @rule(it=models, offset=OFFSET, length=OFFSET, times=some.integers(1, 2))
    def add_file(self, it: Model, offset: int, length: int, times: int) -> None:
        offset = min(offset, len(self.content))
        length = min(length, len(self.content) - offset)
        with FileSegment(self.file, offset=offset, length=length) as segment:
            for _ in range(times):
                it.buffer.add_file_segment(segment)
        it.model += self.content[offset : offset + length] * times

    @rule(it=models, data=DATA)
    def reserve(self, it: Model, data: bytes) -> None:
        with it.buffer.reserve(len(data) + 10) as room:
            room.view[: len(data)] = data
            room.commit(len(data))
        it.model += data

    @rule(it=models, size=OFFSET)
    def expand(self, it: Model, size: int) -> None:
        it.buffer.expand(size)

    # -- between -------------------------------------------------------------------------------------------

    @rule(it=models, other=models)
    def add_buffer(self, it: Model, other: Model) -> None:
        if it is not other:
            it.buffer.add_buffer(other.buffer)
            it.model += other.model
            other.model.clear()

    @rule(it=models, other=models)
    def prepend_buffer(self, it: Model, other: Model) -> None:
        if it is not other:
            it.buffer.prepend_buffer(other.buffer)
            it.model[:0] = other.model
            other.model.clear()

    @rule(it=models, other=models)
    def add_buffer_reference(self, it: Model, other: Model) -> None:
        if it is not other:
            it.buffer.add_buffer_reference(other.buffer)
            it.model += other.model

    @rule(it=models, other=models, size=COUNT)
    def remove_buffer(self, it: Model, other: Model, size: int) -> None:
        if it is not other:
            it.buffer.remove_buffer(size, into=other.buffer)
            count = len(it.model) if size < 0 else size
            other.model += it.model[:count]
            del it.model[:count]

    # -- out -----------------------------------------------------------------------------------------------

    @rule(it=models, size=COUNT)
    def remove(self, it: Model, size: int) -> None:
        count = len(it.model) if size < 0 else size
        assert it.buffer.remove(size) == it.model[:count]
        del it.model[:count]

    @rule(it=models, size=COUNT)
    def drain(self, it: Model, size: int) -> None:
        it.buffer.drain(size)
        del it.model[: len(it.model) if size < 0 else size]

    @rule(it=models, eol=some.sampled_from(EOL))
    def readline(self, it: Model, eol: EOL) -> None:
        found = first_line(it.model, eol)
        assert it.buffer.search_eol(eol) == found
        line = it.buffer.readline(eol)
        if found is None:
            assert line is None
        else:
            assert line == it.model[: found[0]]
            del it.model[: sum(found)]

    # -- looking -------------------------------------------------------------------------------------------

    @rule(it=models, size=COUNT, start=OFFSET)
    def copyout(self, it: Model, size: int, start: int) -> None:
        end = len(it.model) if size < 0 else start + size
        assert it.buffer.copyout(size, start=start) == it.model[start:end]

    @rule(target=views, it=models, size=COUNT, start=OFFSET)
    def peek(self, it: Model, size: int, start: int) -> Shown:
        end = len(it.model) if size < 0 else start + size
        return self.show(it.buffer.peek(size, start=start), bytes(it.model[start:end]))

    def show(self, views: list[memoryview], data: bytes) -> Shown:
        self.shown.append(Shown(views, data))
        return self.shown[-1]

    @rule(target=views, it=models, size=COUNT)
    def pullup(self, it: Model, size: int) -> Shown:
        size = min(size, len(it.model))
        view = it.buffer.pullup(size)
        assert it.buffer.contiguous_space >= len(view)
        return self.show([view[1:], view[:1]], bytes(view[1:]) + bytes(view[:1]))

    @rule(shown=consumes(views))
    def forget_view(self, shown: Shown) -> None:
        shown.check()
        self.shown.remove(shown)

    @rule(it=models, needle=some.lists(some.sampled_from(b"ab\r\n\0"), max_size=4).map(bytes), start=OFFSET)
    def search(self, it: Model, needle: bytes, start: int) -> None:
        found = it.model.find(needle, start)
        assert it.buffer.search(needle, start=start) == (None if found < 0 else found)

    @rule(it=models, other=models)
    def compare(self, it: Model, other: Model) -> None:
        assert (it.buffer == other.buffer) == (it.model == other.model)
        assert it.buffer == bytes(it.model)

    @rule(it=models, front=some.booleans())
    def freeze(self, it: Model, front: bool) -> None:
        it.buffer.freeze(front=front)
        with pytest.raises(BufferError):
            (it.buffer.prepend if front else it.buffer.add)(b"x")
        it.buffer.peek()
        it.buffer.unfreeze(front=front)

    @rule(it=consumes(models))
    def close(self, it: Model) -> None:
        it.buffer.close()
        self.all.remove(it)

    @invariant()
    def lengths_are_right(self) -> None:
        """Also the one that follows from what was told."""
        for it in self.all:
            assert len(it.buffer) == len(it.model) == it.told

    def teardown(self) -> None:
        for it in self.all:
            assert bytes(it.buffer) == it.model
            it.buffer.close()
        for each in self.shown:
            each.check()
        self.file.close()


def test_any_program_does_what_bytes_do() -> None:
    """And when it is over, and the views are gone, C holds nothing of it."""
    gc.collect()
    before = util.memory_counters().blocks, lib.lev_live_objects
    buffers: Any = Buffers
    buffers.TestCase.settings = settings(
        max_examples=PROGRAMS, stateful_step_count=40, suppress_health_check=list(HealthCheck)
    )
    buffers.TestCase().runTest()
    gc.collect()
    gc.collect()
    with Buffer() as buffer:
        buffer.drain()
    assert (util.memory_counters().blocks, lib.lev_live_objects) == before
    assert Buffers.released == Buffers.lent > 0
