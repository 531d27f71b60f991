"""The part of Buffer that looks at what is in it."""

from __future__ import annotations

import functools
import itertools
import operator
from typing import TYPE_CHECKING, Any, Optional, Union, overload

from .._native import convert, features
from .._native._libevent import ffi, lib
from ..flags import EOL, check_flags
from .arguments import (
    MOST,
    SCRATCH,
    bytes_of,
    check_count,
    check_offset,
    export,
    memory_of,
    put_back,
    scratch,
)
from .handle import Handle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import ClassVar

    from ..types import BytesLike

__all__ = ["Looking"]

_NOT_FOUND: int = lib.LEV_NOT_FOUND
_TOO_SMALL: int = lib.LEV_TOO_SMALL
_COPY: int = lib.LEV_COPY
_INT_MAX = 2**31 - 1


_new_view = ffi.new_allocator(lib.lev_view_alloc, lib.lev_view_drop, should_clear_after_alloc=False)


class Looking(Handle):
    """What can be asked."""

    __slots__ = ()

    def __len__(self) -> int:
        """How many bytes are in it.  Wraps: evbuffer_get_length() <event2/buffer.h>; libevent >= 1.4."""
        result: int = lib.lev_buffer_length(self._b)
        return result if result >= 0 else self._again(result, lib.lev_buffer_length)

    def __bool__(self) -> bool:
        return len(self) > 0

    def __bytes__(self) -> bytes:
        return self.copyout()

    def __contains__(self, needle: BytesLike) -> bool:
        return self.search(needle) is not None

    @overload
    def __getitem__(self, index: int) -> int: ...

    @overload
    def __getitem__(self, index: slice) -> bytes: ...

    def __getitem__(self, index: Union[int, slice]) -> Union[int, bytes]:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step == 1:
                return self.copyout(max(0, stop - start), start=start)
            places = range(start, stop, step)
            if not places:
                return b""
            first = min(places[0], places[-1])
            covering = self.copyout(abs(places[-1] - places[0]) + 1, start=first)
            return covering[:: abs(step)] if step > 0 else covering[::step]
        place = operator.index(index)
        place += len(self) if place < 0 else 0
        found = self.copyout(1, start=place) if 0 <= place < MOST else b""
        if not found:
            raise IndexError(f"there is no byte {index} in {self!r}")
        return found[0]

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if isinstance(other, Looking):
            return bool(self._again(lib.lev_buffer_same(self._b, other._b), lib.lev_buffer_same, other._b))
        try:
            memory = export(other)  # type: ignore[arg-type]
        except TypeError:
            return NotImplemented
        size = len(memory)
        result = lib.lev_buffer_equals(self._b, memory, size)
        return bool(self._again(result, lib.lev_buffer_equals, memory, size))

    __hash__: ClassVar[None]  # type: ignore[assignment]

    def _describe(self) -> list[str]:
        words = [] if self._kind == "own" else ["borrowed"]
        length = lib.lev_buffer_length(self._b)
        if length >= 0:
            words.append(f"length={length}")
        return words

    # -- copies ----------------------------------------------------------------------------------------------

    def copyout(self, nbytes: int = -1, *, start: int = 0) -> bytes:
        """
        Return at most *nbytes* (-1: all) from offset *start* on, and leave them there.

        Raises BufferError when it holds a file for sendfile(), ValueError, ClosedError, WrongThreadError.

        Wraps: evbuffer_copyout() evbuffer_copyout_from() evbuffer_ptr_set() <event2/buffer.h>; libevent >=
        2.0.
        """
        start = check_offset(start, "start")
        size = check_count(nbytes)
        mem, shown, _ = keep = scratch()
        try:
            result = lib.lev_buffer_copy(self._b, start, mem, SCRATCH, size)
            if 0 <= result:
                data: bytes = shown[:result]
                return data
        finally:
            put_back(keep)
        while True:
            result = self._again(result, lib.lev_buffer_copy, start, mem, 0, size)
            if result != _TOO_SMALL:
                return bytes_of(mem, result)
            size = self._at_hand(size)
            mem = memory_of(size)
            result = lib.lev_buffer_copy(self._b, start, mem, size, size)

    def _at_hand(self, size: int) -> int:
        """Return *size*, or what there is now: others may add faster than one that wants all can take."""
        length = len(self)
        return length if size < 0 else min(size, length)

    # -- views -----------------------------------------------------------------------------------------------

    def peek(self, nbytes: int = -1, *, start: int = 0) -> list[memoryview]:
        """
        Return views of at most *nbytes* (-1: all) from offset *start* on, in order; they are read-only.

        They show the bytes as they are now, whatever becomes of the buffer, and own what they show.  Large
        chunks are not copied: their memory is then freed when they have left the buffer and the last view has
        gone.  Of a borrowed buffer they are copies.

        Raises BufferError when it holds a file for sendfile(), ValueError, ClosedError, WrongThreadError.

        Wraps: evbuffer_peek() <event2/buffer.h>; libevent >= 2.0.
        """
        start = check_offset(start, "start")
        size = check_count(nbytes)
        args = start, size, _new_view("struct lev_view *")
        result = self._again(lib.lev_buffer_view(self._b, *args), lib.lev_buffer_view, *args)
        if result == _COPY:
            copy = self.copyout(size, start=start)
            return [memoryview(copy)] if copy else []
        return list(_views(args[2], result))

    def pullup(self, nbytes: int = -1) -> memoryview:
        """
        Have the first *nbytes* (-1: all) in one chunk, and return a view of them, as peek() does.

        Raises MemoryError, BufferError when it holds a file for sendfile(), ValueError when there are not so
        many, ClosedError, WrongThreadError.

        Wraps: evbuffer_pullup() <event2/buffer.h>; libevent >= 1.4.
        """
        size = check_count(nbytes)
        result = self._again(lib.lev_buffer_pullup(self._b, size), lib.lev_buffer_pullup, size)
        if size > result:
            raise ValueError(f"there are {result} bytes in {self!r}, not {size}")
        views = self.peek(result)
        if len(views) > 1:  # another thread has changed it
            return memoryview(b"".join(views))
        return views[0] if views else memoryview(b"")

    # -- searching -------------------------------------------------------------------------------------------

    def search(self, needle: BytesLike, *, start: int = 0, end: Optional[int] = None) -> Optional[int]:
        """
        Return the offset of the first match that lies between the offsets *start* and *end* (None: the end).

        None where there is none; an empty *needle* is found at *start*.

        Raises BufferError when it holds a file for sendfile(), TypeError, ValueError, ClosedError,
        WrongThreadError.

        Wraps: evbuffer_search() evbuffer_search_range() <event2/buffer.h>; libevent >= 2.0.
        """
        start = check_offset(start, "start")
        last = -1 if end is None else check_offset(end, "end")
        memory = export(needle)
        args = memory, len(memory), start, last
        result = self._again(lib.lev_buffer_search(self._b, *args), lib.lev_buffer_search, *args)
        return None if result == _NOT_FOUND else result

    def search_eol(self, eol: EOL = EOL.CRLF, *, start: int = 0) -> Optional[tuple[int, int]]:
        """
        Return the offset of the first end of a line at or after *start*, and how many bytes it has; or None.

        Raises as search() does.

        Wraps: evbuffer_search_eol() <event2/buffer.h>; libevent >= 2.0.
        """
        style = check_flags(EOL, eol, "eol")
        start = check_offset(start, "start")
        size = ffi.new("size_t *")
        args = int(style), start, size
        result = self._again(lib.lev_buffer_search_eol(self._b, *args), lib.lev_buffer_search_eol, *args)
        return None if result == _NOT_FOUND else (result, size[0])

    # -- properties ------------------------------------------------------------------------------------------

    @property
    def contiguous_space(self) -> int:
        """
        How many bytes are in the first chunk.

        Wraps: evbuffer_get_contiguous_space() <event2/buffer.h>; libevent >= 1.4.
        """
        return self._number(lib.lev_buffer_contiguous)

    @property
    def max_read(self) -> int:
        """
        The most bytes that one read_from() takes, 4096 at first.

        Settable where ``util.features()["buffer_max_read"]``.  Raises FeatureUnavailableError, ValueError.

        Wraps: evbuffer_get_max_read() evbuffer_set_max_read() <event2/buffer.h>; libevent >= 2.2.
        """
        return self._number(lib.lev_buffer_max_read, 0)

    @max_read.setter
    def max_read(self, value: int) -> None:
        features.require("buffer_max_read")
        self._number(lib.lev_buffer_max_read, convert.c_int(value, "max_read", 1, _INT_MAX))

    @property
    def drains_to_fd(self) -> bool:
        """
        Do files that are added stay files, for write_to() to send by sendfile()?  Settable while it is empty.

        While it holds one it cannot be looked at.  Raises ValueError when it is not empty, or borrowed.

        Wraps: evbuffer_set_flags() evbuffer_clear_flags() <event2/buffer.h>; libevent >= 2.0.
        """
        return bool(self._number(lib.lev_buffer_sends_files))

    @drains_to_fd.setter
    def drains_to_fd(self, value: bool) -> None:
        self._check_own("be set to drain to a descriptor")
        on = int(bool(value))
        if self._number(lib.lev_buffer_send_files, on) == lib.LEV_REFUSED:
            raise ValueError(f"{self!r} must be empty for that")

    def _number(self, function: Callable[..., int], *args: Any) -> int:
        return self._again(function(self._b, *args), function, *args)


def _views(snapshot: Any, size: int) -> Iterator[memoryview]:
    """Generate views of the chunks in *snapshot*, of *size* bytes in all."""
    # Each view's pointer has this as its destructor, which has nothing to do but to refer to the snapshot; it
    # is no function of ours, in which a signal handler could raise.
    keeper = functools.partial(operator.is_, snapshot)
    data, length = ffi.new("char **"), ffi.new("size_t *")
    for index in itertools.count():
        if size <= 0 or not lib.lev_view_chunk(snapshot, index, data, length):
            break
        shown = min(length[0], size)
        size -= shown
        yield memoryview(ffi.buffer(ffi.gc(data[0], keeper), shown)).toreadonly()
