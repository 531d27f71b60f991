"""Buffer: what goes in, and what comes out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional

from .._native import convert, lent
from .._native._libevent import ffi, lib
from .._native.running import Loop
from ..errors import ClosedError
from ..flags import EOL, check_flags
from .arguments import (
    MOST,
    SCRATCH,
    bytes_of,
    check_count,
    check_length,
    check_offset,
    export,
    memory_of,
    put_back,
    scratch,
)
from .fileobject import BufferFile
from .files import FileSegment, again_interrupted
from .looking import Looking
from .reservation import Reservation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from typing_extensions import TypeVarTuple, Unpack

    from ..event import EventBase
    from ..types import BytesLike, FileDescriptorLike
    from .changes import BufferChange, ChangeCallback

    _Ts = TypeVarTuple("_Ts")

__all__ = ["Buffer"]

_TOO_SMALL: int = lib.LEV_TOO_SMALL
_NOT_FOUND: int = lib.LEV_NOT_FOUND
_COPY: int = lib.LEV_COPY
_SAME: int = lib.LEV_SAME
_INT_MAX = 2**31 - 1


class Buffer(Looking):
    """
    A queue of bytes in chunks.

    ``Buffer(data)`` is one of your own.  It belongs to no base; any thread may use it, one at a time: each
    call locks it, and waits for the others.  Those of a BufferEvent or a request are *borrowed*: they die
    with their owner, cannot be closed, and refuse what would break it, such as adding to an input or taking
    from an output; the rules of their base say which thread may use them.

    It has a length and is true when it is not empty; bytes(), indexing, slicing, ``in`` and ``==`` look, and
    iterating takes lines.  With *defer_callbacks_to* a base, its change callbacks run in that base's loop and
    not in the call that changed it.

    In a forked child it goes on, unless another thread was inside of it at that moment.

    Raises TypeError for *data* that has no bytes, MemoryError, ClosedError after util.global_shutdown().

    Wraps: evbuffer_new() evbuffer_free() evbuffer_enable_locking() evbuffer_defer_callbacks()
    <event2/buffer.h>; libevent >= 2.0.
    """

    __slots__ = ()

    def __init__(self, data: BytesLike = b"", *, defer_callbacks_to: Optional[EventBase] = None) -> None:
        if defer_callbacks_to is not None:
            if not isinstance(defer_callbacks_to, Loop):
                raise TypeError(f"defer_callbacks_to must be an EventBase, not {defer_callbacks_to!r}")
            if defer_callbacks_to.closed:
                raise ClosedError(f"the base was closed: {defer_callbacks_to!r}")
        if hasattr(self, "_b"):
            raise RuntimeError(f"{self!r} was made already: make another {type(self).__name__}")
        self._start(ffi.NULL, lib.LEV_OWN)
        self._deferred = defer_callbacks_to
        if type(data) is not bytes or data:
            self.add(data)

    # -- in --------------------------------------------------------------------------------------------------

    def add(self, data: BytesLike) -> None:
        """
        Copy *data* to the end.  (For evbuffer_add_printf(), format in Python.)

        Raises TypeError, BufferError when that end is frozen, MemoryError, ClosedError, WrongThreadError, and
        what a change callback raised: it is added then all the same.

        Wraps: evbuffer_add() evbuffer_add_printf() <event2/buffer.h>; libevent >= 1.4.
        """
        memory = data if type(data) is bytes else export(data)
        size = len(memory)
        result = lib.lev_buffer_add(self._b, memory, size)
        if result:
            self._again(result, lib.lev_buffer_add, memory, size)
        if self._callbacks:
            self._changed()

    def prepend(self, data: BytesLike) -> None:
        """
        Copy *data* to the front.  Raises as add() does.

        Wraps: evbuffer_prepend() <event2/buffer.h>; libevent >= 1.4.
        """
        memory = export(data)
        size = len(memory)
        self._again(lib.lev_buffer_prepend(self._b, memory, size), lib.lev_buffer_prepend, memory, size)
        if self._callbacks:
            self._changed()

    def writelines(self, parts: Iterable[BytesLike]) -> None:
        """
        Add many in one call, all or none.  Raises as add() does.

        Wraps: evbuffer_add_iovec() <event2/buffer.h>; libevent >= 2.1.
        """
        memories = [export(part) for part in parts]
        chunks = ffi.new("struct evbuffer_iovec[]", len(memories))
        size = 0
        for chunk, memory in zip(chunks, memories):
            chunk.iov_base = ffi.cast("void *", memory)
            chunk.iov_len = len(memory)
            size += len(memory)
        args = chunks, len(memories), size
        self._again(lib.lev_buffer_add_many(self._b, *args), lib.lev_buffer_add_many, *args)
        if self._callbacks:
            self._changed()

    def add_reference(
        self,
        data: BytesLike,
        *,
        offset: int = 0,
        length: Optional[int] = None,
        on_release: Optional[Callable[[], object]] = None,
    ) -> None:
        """
        Add *data*, or *length* bytes (None: the rest) of it from *offset* on, without copying it.

        It must not change for as long as C needs it, and stays exported: a bytearray cannot be resized.  On
        PyPy only bytes are lent, and all else is copied.  ``on_release()`` is called when C lets go, by the
        call that had it let go, or in a loop.

        Raises as add() does, ValueError, and what an on_release() raised; nothing is called where this fails.

        Wraps: evbuffer_add_reference() evbuffer_add_reference_with_offset() <event2/buffer.h>; libevent >=
        2.0.
        """
        if on_release is not None and not callable(on_release):
            raise TypeError(f"on_release must be callable or None, not {on_release!r}")
        memory = export(data)
        offset = check_offset(offset, "offset")
        size = check_length(length, offset, len(memory), "data")
        token, taken = lent.new_token(), ffi.new("int *")
        try:
            lent.LENT[token] = memory, on_release
            args = memory + offset, size, token, taken
            self._again(lib.lev_buffer_add_ref(self._b, *args), lib.lev_buffer_add_ref, *args)
        finally:
            if not taken[0]:
                lent.LENT.pop(token, None)
        self._changed()

    def add_buffer(self, other: Buffer) -> None:
        """
        Move everything from *other* to the end, without copying.

        Raises TypeError, ValueError when it is the same, BufferError when one of these ends is frozen,
        ClosedError, WrongThreadError, and what a change callback of either raised.

        Wraps: evbuffer_add_buffer() <event2/buffer.h>; libevent >= 1.4.
        """
        self._move_all(other, 0)

    def prepend_buffer(self, other: Buffer) -> None:
        """
        Move everything from *other* to the front, without copying.  Raises as add_buffer() does.

        Wraps: evbuffer_prepend_buffer() <event2/buffer.h>; libevent >= 2.0.
        """
        self._move_all(other, 1)

    def _move_all(self, other: Buffer, front: int) -> None:
        args = _buffer(other, self), front, 0
        self._again(lib.lev_buffer_move_all(self._b, *args), lib.lev_buffer_move_all, *args)
        if self._callbacks or other._callbacks:
            self._changed(other)

    def add_buffer_reference(self, other: Buffer) -> None:
        """
        Add what *other* holds, and leave it there.

        It is copied: where libevent shares chunks it can overwrite what both show.  Raises as add_buffer().

        Wraps: evbuffer_add_buffer_reference() <event2/buffer.h>; libevent >= 2.1, its effect.
        """
        source = _buffer(other, self)
        self._again(lib.lev_buffer_add_copy(self._b, source), lib.lev_buffer_add_copy, source)
        if self._callbacks:
            self._changed()

    def add_file(
        self,
        file: FileDescriptorLike,
        *,
        offset: int = 0,
        length: Optional[int] = None,
        sendfile: bool = True,
    ) -> None:
        """
        Add *length* bytes (None: the rest) of a file from *offset* on.

        *file*, an int or what has fileno(), is duplicated and stays yours.  In a buffer that drains to a
        descriptor it stays a file, and is sent by sendfile(); elsewhere, and with *sendfile* False, it is
        read now.

        Raises OSError, EOFError when it becomes shorter meanwhile, and as FileSegment and add() do.

        Wraps: evbuffer_add_file() <event2/buffer.h>; libevent >= 2.0.
        """
        with FileSegment(file, offset=offset, length=length, sendfile=sendfile) as segment:
            self.add_file_segment(segment)

    def add_file_segment(
        self, segment: FileSegment, *, offset: int = 0, length: Optional[int] = None
    ) -> None:
        """
        Add *length* bytes (None: the rest) of *segment* from *offset* on.  Raises as add_file() does.

        Wraps: evbuffer_add_file_segment() <event2/buffer.h>; libevent >= 2.1.
        """
        if not isinstance(segment, FileSegment):
            raise TypeError(f"segment must be a FileSegment, not {segment!r}")
        offset = check_offset(offset, "offset")
        size = check_length(length, offset, len(segment), "the segment")
        args = segment._file, offset, size, int(segment._sendfile)
        result = self._again(lib.lev_buffer_add_file(self._b, *args), lib.lev_buffer_add_file, *args)
        if result == _COPY:
            segment._load()
            self._again(lib.lev_buffer_add_file(self._b, *args), lib.lev_buffer_add_file, *args)
        if self._callbacks:
            self._changed()

    def reserve(self, nbytes: int) -> Reservation:
        """
        Return room for *nbytes* at the end: ``with buf.reserve(n) as room:`` fill ``room.view``, then
        ``room.commit(count)``.

        Raises MemoryError, ValueError, ClosedError.

        Wraps: evbuffer_reserve_space() <event2/buffer.h>; libevent >= 2.0, by memory of our own.
        """
        self._check_open()
        return Reservation._make(self, convert.c_int(nbytes, "nbytes", 1, MOST))

    def expand(self, nbytes: int) -> None:
        """
        Have room for *nbytes* more in one chunk, so that adding them allocates nothing.

        Raises MemoryError, ValueError, ClosedError, WrongThreadError.

        Wraps: evbuffer_expand() <event2/buffer.h>; libevent >= 1.4.
        """
        size = convert.c_int(nbytes, "nbytes", 0, MOST)
        self._again(lib.lev_buffer_expand(self._b, size), lib.lev_buffer_expand, size)

    def read_from(self, file: FileDescriptorLike, nbytes: int = -1) -> int:
        """
        Read once from a descriptor, at most *nbytes* (-1: as much as max_read says); return how many came.

        0 is the end of the file.  Raises BlockingIOError when nothing is there, OSError, and as add() does.

        Wraps: evbuffer_read() <event2/buffer.h>; libevent >= 1.4.
        """
        fd = convert.fileno(file)
        size = convert.c_int(nbytes, "nbytes", -1, _INT_MAX)
        if size == 0:
            self._check_open()
            return 0
        result = again_interrupted(self, lib.lev_buffer_read, fd, size)
        if self._callbacks:
            self._changed()
        return result

    # -- out -------------------------------------------------------------------------------------------------

    def remove(self, nbytes: int = -1) -> bytes:
        """
        Take at most *nbytes* (-1: all) from the front, and return them.

        Raises BufferError when that end is frozen, or it holds a file for sendfile(); ValueError,
        ClosedError, WrongThreadError; and what a change callback or an on_release() raised: then the bytes
        are put back, which is told as a change too.

        Wraps: evbuffer_remove() <event2/buffer.h>; libevent >= 1.4.
        """
        size = nbytes if type(nbytes) is int and -1 <= nbytes <= MOST else check_count(nbytes)
        mem, shown, _ = keep = scratch()
        try:
            result = lib.lev_buffer_remove(self._b, mem, SCRATCH, size)
            data: bytes = shown[:result] if result > 0 else b""
        finally:
            put_back(keep)
        if result < 0:
            data = self._remove_large(result, size)
        if self._callbacks or lent.LENT:
            try:
                self._changed()
            except BaseException:
                # Called from here, since there was stack for such a call before.
                self._given_back(lib.lev_buffer_give_back(self._b, data, len(data)), data)
                raise
        return data

    def _remove_large(self, result: int, size: int) -> bytes:
        mem = memory_of(0)
        while True:
            result = self._again(result, lib.lev_buffer_remove, mem, len(mem), size)
            if result != _TOO_SMALL:
                return bytes_of(mem, result)
            size = self._at_hand(size)
            mem = memory_of(size)
            result = lib.lev_buffer_remove(self._b, mem, size, size)

    def _given_back(self, result: int, data: bytes) -> None:
        """Tell that *data* was put back, as *result* says; what is closed takes nothing back."""
        if result != lib.LEV_CLOSED:
            self._again(result, lib.lev_buffer_give_back, data, len(data))
            self._after()

    def readinto(self, target: BytesLike) -> int:
        """
        Take as many bytes from the front as *target* has room for, and return how many.

        Raises TypeError or BufferError for what cannot be written to, and as remove() does.

        Wraps: evbuffer_remove() <event2/buffer.h>; libevent >= 1.4.
        """
        with memoryview(target) as view, view.cast("B") as octets:
            if view.readonly:
                raise TypeError("target must be writable")
            data = self.remove(len(octets))
            octets[: len(data)] = data
            return len(data)

    def remove_buffer(self, nbytes: int = -1, *, into: Optional[Buffer] = None) -> Buffer:
        """
        Move at most *nbytes* (-1: all) to the end of *into* (None: a new Buffer), and return that one.

        Whole chunks are not copied.  Raises as add_buffer() does.

        Wraps: evbuffer_remove_buffer() <event2/buffer.h>; libevent >= 2.0.
        """
        size = check_count(nbytes)
        target = Buffer() if into is None else into
        destination = _buffer(target, self)
        if into is None and lib.lev_buffer_sends_files(self._b) > 0 and self._base is None:
            target.drains_to_fd = True
        result = lib.lev_buffer_move(destination, self._b, size)
        while result == lib.LEV_BUSY:
            result = lib.lev_buffer_move(destination, self._b, size)
        if result < 0:
            self._refuse(result, "evbuffer_remove_buffer")
        try:
            self._changed(target)
        except BaseException:
            if into is None:
                self._moved_back(lib.lev_buffer_move_all(self._b, destination, 1, 1), destination)
            raise
        return target

    def _moved_back(self, result: int, source: Any) -> None:
        """The same for what stands in *source*."""
        if result != lib.LEV_CLOSED:
            self._again(result, lib.lev_buffer_move_all, source, 1, 1)
            self._after()

    def readline(self, eol: EOL = EOL.CRLF) -> Optional[bytes]:
        """
        Take the first line, and return it without its end; None while it is not complete.

        Raises as remove() does.

        Wraps: evbuffer_readln() <event2/buffer.h>; libevent >= 2.0.
        """
        style = int(check_flags(EOL, eol, "eol"))
        mem, shown, end = keep = scratch()
        try:
            result = lib.lev_buffer_readline(self._b, mem, SCRATCH, style, end)
            if result >= 0:
                data: bytes = shown[:result]
                line = data[: result - end[0]]
        finally:
            put_back(keep)
        if result < 0:
            found = self._readline_large(result, style)
            if found is None:
                return None
            data, line = found
        if self._callbacks or lent.LENT:
            try:
                self._changed()
            except BaseException:
                self._given_back(lib.lev_buffer_give_back(self._b, data, len(data)), data)
                raise
        return line

    def _readline_large(self, result: int, style: int) -> Optional[tuple[bytes, bytes]]:
        mem, end = memory_of(0), ffi.new("size_t *")
        while True:
            result = self._again(result, lib.lev_buffer_readline, mem, len(mem), style, end)
            if result == _NOT_FOUND:
                return None
            if result != _TOO_SMALL:
                data = bytes_of(mem, result)
                return data, data[: result - end[0]]
            mem = memory_of(len(self))
            result = lib.lev_buffer_readline(self._b, mem, len(mem), style, end)

    def __iter__(self) -> Iterator[bytes]:
        """
        Take complete lines, as readline() does, until none is left.

        A loop that closes it, or the connection that it belongs to, has to end there: the next line would
        raise ClosedError.
        """
        return iter(self.readline, None)

    def drain(self, nbytes: int = -1) -> None:
        """
        Throw away at most *nbytes* (-1: all) at the front.

        Raises BufferError when that end is frozen, ValueError, ClosedError, WrongThreadError, and what a
        change callback or an on_release() raised.

        Wraps: evbuffer_drain() <event2/buffer.h>; libevent >= 1.4.
        """
        size = check_count(nbytes)
        size = MOST if size < 0 else size
        self._again(lib.lev_buffer_drain(self._b, size), lib.lev_buffer_drain, size)
        if self._callbacks or lent.LENT:
            self._changed()

    def write_to(self, file: FileDescriptorLike, nbytes: int = -1) -> int:
        """
        Write once to a descriptor, at most *nbytes* (-1: all); take what was written, and return how many.

        Raises BlockingIOError when it takes nothing, OSError; BufferError when that end is frozen, or there
        is a limit and the buffer holds a file for sendfile(), which has none; EOFError when that file has
        become shorter; ClosedError, WrongThreadError; and what a change callback or an on_release() raised.

        Wraps: evbuffer_write() evbuffer_write_atmost() <event2/buffer.h>; libevent >= 1.4.
        """
        fd = convert.fileno(file)
        result = again_interrupted(self, lib.lev_buffer_write, fd, check_count(nbytes))
        if self._callbacks or lent.LENT:
            self._changed()
        return result

    # -- behaviour -------------------------------------------------------------------------------------------

    def on_change(
        self, callback: Callable[[Buffer, BufferChange, Unpack[_Ts]], object], *args: Unpack[_Ts]
    ) -> ChangeCallback:
        """
        Have ``callback(buffer, change, *args)`` called after each change; return the handle that undoes it.

        It is called on the thread that made the change, before that call returns, and may do anything; what
        it changes itself is told when all have been called.  What a loop changes in a borrowed buffer is told
        by that loop, soon after.  What it raises comes from the call that made the change, or dispatch().

        Raises TypeError, ValueError for a buffer that lowlevel.borrow() made, ClosedError, WrongThreadError.

        Wraps: evbuffer_add_cb() <event2/buffer.h>; libevent >= 2.0.
        """
        return self._add_change(callback, args)

    def as_file(self) -> BufferFile:
        """Return a binary file that reads from the front, and writes to the end."""
        self._check_open()
        return BufferFile(self)


def _buffer(other: Any, own: Buffer) -> Any:
    if not isinstance(other, Buffer):
        raise TypeError(f"a Buffer is wanted, not {other!r}")
    if other is own:
        raise ValueError("a buffer cannot be moved to itself")
    return other._b
