"""Who hears of changes of a buffer, where, and what becomes of what they raise."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import DEADLINE

from libevent_cffi import Buffer, EventBase, lowlevel, util
from libevent_cffi._native import ffi, lib
from libevent_cffi.buffer import BufferChange
from libevent_cffi.errors import ClosedError, WrongThreadError

Told = list[tuple[int, int, int]]


@pytest.fixture
def told() -> Told:
    """What callbacks were told."""
    return []


def watched(told: Told, data: bytes = b"") -> Buffer:
    """Make a buffer whose changes are noted."""
    buffer = Buffer(data)
    buffer.on_change(lambda _, change: told.append(tuple(change)))
    return buffer


def test_every_method_tells_what_it_changed(told: Told, pair: tuple[socket.socket, socket.socket]) -> None:
    """How many bytes there were, how many came and went; before the call returns."""
    buffer, other = watched(told, b"ab"), Buffer(b"xyz")
    left, right = pair
    right.send(b"123")
    steps: list[tuple[Any, tuple[int, int, int]]] = [
        (lambda: buffer.add(b"cd"), (2, 2, 0)),
        (lambda: buffer.prepend(b"_"), (4, 1, 0)),
        (lambda: buffer.writelines([b"e", b"f"]), (5, 2, 0)),
        (lambda: buffer.add_reference(b"gh"), (7, 2, 0)),
        (lambda: buffer.add_buffer(other), (9, 3, 0)),
        (lambda: buffer.remove_buffer(2, into=other), (12, 0, 2)),
        (lambda: buffer.prepend_buffer(other), (10, 2, 0)),
        (lambda: buffer.add_buffer_reference(Buffer(b"!")), (12, 1, 0)),
        (lambda: buffer.remove(3), (13, 0, 3)),
        (lambda: buffer.readinto(bytearray(2)), (10, 0, 2)),
        (lambda: buffer.drain(1), (8, 0, 1)),
        (lambda: buffer.read_from(left), (7, 3, 0)),
        (lambda: buffer.write_to(left, 4), (10, 0, 4)),
        (lambda: buffer.add(b"\r\n"), (6, 2, 0)),
        (buffer.readline, (8, 0, 8)),
    ]
    for step, change in steps:
        step()
        assert told == [change]
        told.clear()
    with buffer.reserve(10) as room:
        room.commit(7)
    assert told == [(0, 7, 0)]
    told.clear()
    for quiet in (
        lambda: bytes(buffer),
        buffer.peek,
        buffer.pullup,
        lambda: buffer.expand(100),
        buffer.readline,
    ):
        quiet()
    buffer.add(b"")
    assert told == []


def test_a_move_tells_both() -> None:
    """The one that lost, and the one that got."""
    first: Told = []
    second: Told = []
    one, other = watched(first, b"abc"), watched(second, b"x")
    other.add_buffer(one)
    assert (first, second) == ([(3, 0, 3)], [(1, 3, 0)])


def test_the_callback_gets_the_buffer_and_its_arguments() -> None:
    """callback(buffer, change, *args), in the order of registration."""
    calls: list[Any] = []
    buffer = Buffer()
    buffer.on_change(lambda *args: calls.append(args), "first", 1)
    buffer.on_change(lambda *args: calls.append(args))
    buffer.add(b"ab")
    assert calls == [(buffer, BufferChange(0, 2, 0), "first", 1), (buffer, BufferChange(0, 2, 0))]
    with pytest.raises(TypeError):
        buffer.on_change(5)  # type: ignore[arg-type]


def test_a_callback_is_switched_off_and_removed(told: Told) -> None:
    """What changes meanwhile is never told."""
    buffer = Buffer()
    handle = buffer.on_change(lambda _, change: told.append(tuple(change)))
    assert (handle.enabled, handle.closed) == (True, False)
    handle.enabled = False
    buffer.add(b"ab")
    handle.enabled = True
    buffer.add(b"c")
    assert told == [(2, 1, 0)]
    handle.close()
    handle.close()
    assert handle.closed
    buffer.add(b"d")
    with buffer.on_change(lambda _, change: told.append(tuple(change))):
        buffer.add(b"e")
    assert told == [(2, 1, 0), (4, 1, 0)]
    open_one = buffer.on_change(print)
    buffer.close()
    assert open_one.closed
    open_one.close()


def test_changes_of_a_callback_are_told_together_afterwards(told: Told) -> None:
    """It may change the buffer as it likes: no callback runs inside another."""
    buffer = Buffer()
    depth: list[int] = []

    def change(changed: Buffer, what: BufferChange) -> None:
        assert not depth
        depth.append(1)
        told.append(tuple(what))
        if len(changed) < 5:
            changed.add(b"x")
            changed.add(b"y")
            changed.remove(1)
        depth.pop()

    buffer.on_change(change)
    buffer.add(b"ab")
    assert told == [(0, 2, 0), (2, 2, 1), (3, 2, 1), (4, 2, 1)]


def test_a_callback_may_do_anything(told: Told) -> None:
    """Remove others and itself, register new ones, and close the buffer."""
    buffer = Buffer()
    names: list[str] = []

    def first(*_: object) -> None:
        names.append("first")
        handles[1].close()
        handles[0].close()
        buffer.on_change(lambda *_: names.append("new"))

    handles = [buffer.on_change(first), buffer.on_change(lambda *_: names.append("second"))]
    buffer.add(b"x")
    assert names == ["first"]
    buffer.add(b"x")
    assert names == ["first", "new"]
    buffer.on_change(lambda *_: buffer.close())
    buffer.on_change(lambda *_: names.append("after"))
    buffer.add(b"x")
    assert buffer.closed
    with pytest.raises(ClosedError):
        buffer.add(b"x")


def test_what_a_callback_raises_comes_from_the_call(caplog: pytest.LogCaptureFixture) -> None:
    """All are told; the first error is raised, others are logged; what was added stays."""
    buffer = Buffer()
    told: list[int] = []

    def fail(_: Buffer, change: BufferChange, number: int) -> None:
        told.append(number)
        if change.original_size == 0:
            raise LookupError(number)

    for number in (1, 2, 3):
        buffer.on_change(fail, number)
    with pytest.raises(LookupError, match="1"):
        buffer.add(b"ab")
    assert told == [1, 2, 3]
    assert bytes(buffer) == b"ab"
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    buffer.add(b"c")
    assert told == [1, 2, 3] * 2


@pytest.mark.parametrize(
    "take",
    [
        lambda buffer: buffer.remove(4),
        lambda buffer: buffer.remove(),
        lambda buffer: buffer.readline(),
        lambda buffer: buffer.readinto(bytearray(5)),
        lambda buffer: buffer.remove_buffer(4),
        lambda buffer: buffer.as_file().read(3),
        lambda buffer: next(iter(buffer)),
    ],
    ids=["remove", "remove all", "readline", "readinto", "remove_buffer", "file", "iterate"],
)
def test_what_was_taken_is_put_back_when_a_callback_raises(take: Any) -> None:
    """No byte is lost, and who counts by changes counts right."""
    buffer = Buffer(b"line\r\nrest")
    length = len(buffer)

    def count(_: Buffer, change: BufferChange) -> None:
        nonlocal length
        length += change.added - change.deleted
        if change.deleted:
            buffer.freeze(front=True)
            raise LookupError

    buffer.on_change(count)
    with pytest.raises(LookupError):
        take(buffer)
    assert (bytes(buffer), length) == (b"line\r\nrest", 10)


def test_nothing_is_lost_for_want_of_stack() -> None:
    """Whoever takes bytes just where Python's stack ends has them, or the buffer does."""
    buffer, into = Buffer(b"ab\n" * 2000), Buffer()
    buffer.on_change(lambda *_: None)
    taken: list[bytes] = []

    # PyPy fails in its own way where there is no room to note which exception came in which.
    ends = (RecursionError, TypeError) if sys.implementation.name == "pypy" else (RecursionError,)

    def descend(take: Any) -> None:
        with contextlib.suppress(*ends):
            descend(take)
        with contextlib.suppress(*ends):
            taken.append(take())

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(300)
    try:
        for take in (
            lambda: buffer.remove(3),
            lambda: (buffer.readline() or b"") + b"\n",
            lambda: bytes(buffer.remove_buffer(3)),
            lambda: b"" if buffer.remove_buffer(3, into=into) else b"never",
        ):
            with contextlib.suppress(*ends):
                descend(take)
    finally:
        sys.setrecursionlimit(limit)
    assert b"".join(taken) + bytes(into) + bytes(buffer) == b"ab\n" * 2000


def test_no_callback_runs_after_one_that_closes() -> None:
    """Also where several are told of the same change."""
    buffer, told = Buffer(), []
    buffer.on_change(lambda buffer, _: buffer.close())
    buffer.on_change(lambda *_: told.append("late"))
    buffer.add(b"x")
    assert told == []


def test_a_change_is_told_after_all_when_the_base_could_not_be_asked(
    plain_base: EventBase, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupt there does not end what is told for good."""
    buffer = Buffer(defer_callbacks_to=plain_base)
    buffer.on_change(lambda _, change: told.append(tuple(change)))

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(EventBase, "call_soon_threadsafe", interrupted)
        with pytest.raises(KeyboardInterrupt):
            buffer.add(b"a")
    buffer.add(b"b")
    plain_base.poll()
    assert told == [(0, 2, 0)]


def test_deferred_callbacks_run_in_the_loop(plain_base: EventBase, told: Told) -> None:
    """Several changes are told together there; what they raise comes from dispatch()."""
    buffer = Buffer(defer_callbacks_to=plain_base)
    threads: list[int] = []
    buffer.on_change(lambda _, change: (told.append(tuple(change)), threads.append(threading.get_ident())))
    buffer.add(b"abc")
    buffer.remove(1)
    assert told == []
    plain_base.dispatch()
    assert told == [(0, 3, 1)]
    thread = threading.Thread(target=buffer.add, args=(b"d",))
    thread.start()
    thread.join(DEADLINE)
    plain_base.dispatch()
    assert told == [(0, 3, 1), (2, 1, 0)]
    assert threads == [threading.get_ident()] * 2
    buffer.on_change(lambda *_: 1 / 0)
    buffer.add(b"e")
    with pytest.raises(ZeroDivisionError):
        plain_base.dispatch()
    plain_base.close()
    buffer.add(b"f")
    with pytest.raises(ClosedError):
        Buffer(defer_callbacks_to=plain_base)
    with pytest.raises(TypeError):
        Buffer(defer_callbacks_to=5)  # type: ignore[arg-type]


def test_a_buffer_with_callbacks_is_garbage_like_any_other() -> None:
    """A callback that refers to its buffer does not keep it."""
    gc.collect()
    before = util.memory_counters().blocks
    for _ in range(10):
        buffer = Buffer(b"abc")
        buffer.on_change(lambda _, __, mine: mine, buffer)
        buffer.add(b"x")
    del buffer
    gc.collect()
    gc.collect()
    assert util.memory_counters().blocks <= before


# -- buffers of something else ------------------------------------------------------------------------------


class Pair:
    """Two connected bufferevents in C, and the input of one as a part of them."""

    def __init__(self, base: EventBase) -> None:
        pointers = ffi.new("struct bufferevent *[2]")
        assert lib.bufferevent_pair_new(lowlevel.pointer(base), 0, pointers) == 0
        self.one, self.other = pointers
        lib.bufferevent_enable(self.one, lib.EV_READ | lib.EV_WRITE)
        lib.bufferevent_enable(self.other, lib.EV_READ | lib.EV_WRITE)
        self.memory = ffi.new("struct lev_buffer *")
        assert lib.lev_buffer_open(self.memory, lib.bufferevent_get_input(self.other), base._l, 0, 0) == 0
        self.input = Buffer._part(self.memory, self.memory, base, self)
        self.output = Buffer._borrow(lib.bufferevent_get_output(self.other), base, self, sends_files=True)

    def send(self, data: bytes) -> None:
        """Have data arrive."""
        assert lib.bufferevent_write(self.one, data, len(data)) == 0

    def close(self) -> None:
        """Free both."""
        self.input._invalidate()
        self.output._invalidate()
        lib.bufferevent_free(self.one)
        lib.bufferevent_free(self.other)


@pytest.fixture
def pipe(plain_base: EventBase) -> Iterator[Pair]:
    """Two connected bufferevents."""
    made = Pair(plain_base)
    yield made
    made.close()


def test_a_borrowed_buffer_is_read_and_refuses_what_would_break_its_owner(pipe: Pair) -> None:
    """Adding to an input, taking from an output, closing either."""
    pipe.send(b"hello\nworld")
    assert (len(pipe.input), bytes(pipe.input), pipe.input.readline()) == (11, b"hello\nworld", b"hello")
    assert pipe.input.peek()[0] == b"world"
    assert repr(pipe.input) == "<Buffer borrowed length=5>"
    assert bytes(pipe.input.remove_buffer(2)) == b"wo"
    own = Buffer(b"x")
    lib.bufferevent_disable(pipe.one, lib.EV_READ)
    pipe.output.add(b"answer")
    for call in (
        lambda: pipe.input.add(b"x"),
        lambda: pipe.input.add_buffer(own),
        lambda: pipe.input.writelines([b"x"]),
        lambda: own.remove_buffer(into=pipe.input),
        pipe.output.remove,
        lambda: pipe.output.drain(1),
        lambda: pipe.output.prepend(b"x"),
        lambda: own.add_buffer(pipe.output),
    ):
        with pytest.raises(BufferError, match="owner"):
            call()
    assert (bytes(own), bytes(pipe.output), bytes(pipe.input)) == (b"x", b"answer", b"rld")
    own.add_buffer(pipe.input)
    pipe.output.add_buffer(own)
    assert bytes(pipe.output) == b"answerxrld"
    for buffer in (pipe.input, pipe.output):
        for refused in (
            buffer.close,
            lambda buffer=buffer: buffer.freeze(front=True),
            lambda buffer=buffer: setattr(buffer, "drains_to_fd", False),
        ):
            with pytest.raises(ValueError, match=r"belongs to|part of"):
                refused()
    with pytest.raises(ValueError, match="borrowed from C"):
        pipe.output.on_change(print)
    with pytest.raises(TypeError):
        lowlevel.surrender(pipe.input)


def test_a_borrowed_buffer_dies_with_its_owner(plain_base: EventBase) -> None:
    """And with the base; later use is ClosedError."""
    pipe = Pair(plain_base)
    pipe.input.on_change(print)
    pipe.close()
    for buffer in (pipe.input, pipe.output):
        assert buffer.closed
        with pytest.raises(ClosedError):
            len(buffer)
    assert plain_base._watched == {}


def test_a_borrowed_buffer_belongs_to_the_thread_of_its_base(pipe: Pair, plain_base: EventBase) -> None:
    """While that base is dispatched, another thread is refused."""
    errors: list[BaseException] = []

    def look() -> None:
        try:
            len(pipe.input)
        except WrongThreadError as error:
            errors.append(error)

    def start() -> None:
        thread = threading.Thread(target=look)
        thread.start()
        thread.join(DEADLINE)
        with pipe.input.lock():
            assert len(pipe.input) == 0

    plain_base.call_soon(start)
    plain_base.dispatch()
    assert len(errors) == 1
    assert "call_soon_threadsafe" in str(errors[0])


def test_what_the_loop_changes_is_told_by_the_loop(pipe: Pair, plain_base: EventBase, told: Told) -> None:
    """Not inside of libevent's own change, but before other callbacks; changes of ours at once."""
    threads: set[int] = set()

    def note(buffer: Buffer, change: BufferChange) -> None:
        told.append(tuple(change))
        threads.add(threading.get_ident())
        if change.added:
            assert buffer.remove() == b"hello"

    pipe.input.on_change(note)
    plain_base.call_soon(pipe.send, b"hello")
    plain_base.dispatch()
    assert told == [(0, 5, 0), (5, 0, 5)]
    assert threads == {threading.get_ident()}


def test_what_is_raised_in_the_loop_comes_from_dispatch(
    pipe: Pair, plain_base: EventBase, told: Told
) -> None:
    """The other callbacks were told, and nothing is told twice."""
    pipe.input.on_change(lambda *_: 1 / 0)
    pipe.input.on_change(lambda _, change: told.append(tuple(change)))
    plain_base.call_soon(pipe.send, b"hello")
    with pytest.raises(ZeroDivisionError):
        plain_base.dispatch()
    plain_base.dispatch()
    assert told == [(0, 5, 0)]
    sources: list[object] = []
    plain_base.error_handler = lambda _, source: sources.append(source)
    plain_base.call_soon(pipe.send, b"again")
    plain_base.dispatch()
    assert sources == [pipe.input]
    assert told == [(0, 5, 0), (5, 5, 0)]


def test_what_changed_outside_of_a_loop_is_told_by_the_next(
    pipe: Pair, plain_base: EventBase, told: Told
) -> None:
    """C changed it, and nobody asked."""
    pipe.input.on_change(lambda _, change: told.append(tuple(change)))
    pipe.send(b"hello")
    pipe.send(b"world")
    assert told == []
    plain_base.dispatch()
    assert told == [(0, 10, 0)]


def test_a_change_callback_may_end_its_owner(pipe: Pair, plain_base: EventBase) -> None:
    """The loop goes on without it, and its other callbacks are not called."""
    calls: list[int] = []

    def close(buffer: Buffer, _: BufferChange) -> None:
        calls.append(1)
        buffer._invalidate()

    pipe.input.on_change(close)
    pipe.input.on_change(lambda *_: calls.append(2))
    plain_base.call_soon(pipe.send, b"hello")
    plain_base.call_soon(pipe.send, b"hello")
    plain_base.dispatch()
    assert calls == [1]


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs signals to threads")
def test_a_ctrl_c_in_a_change_callback_ends_the_loop(pipe: Pair, plain_base: EventBase) -> None:
    """As in any other callback."""
    pipe.input.on_change(lambda *_: os.kill(os.getpid(), signal.SIGINT))
    plain_base.call_soon(pipe.send, b"hello")
    plain_base.call_later(DEADLINE, plain_base.loop_break)
    with pytest.raises(KeyboardInterrupt):
        plain_base.dispatch()
