"""Room at the end of a buffer."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from .._native import convert
from .._native._libevent import ffi, lib

if TYPE_CHECKING:
    from typing_extensions import Self

    from .buffer import Buffer

__all__ = ["Reservation"]

#: What is committed is copied when it is less; the room is then free at once.
_COPY_BELOW = 65536

_new_block = ffi.new_allocator(lib.lev_block_new, lib.lev_block_unref, should_clear_after_alloc=False)


class Reservation(contextlib.AbstractContextManager["Reservation"]):
    """
    Room at the end of a buffer, which Buffer.reserve() gives.

    ``with buf.reserve(4096) as room: room.commit(sock.recv_into(room.view))``

    Wraps: evbuffer_reserve_space() <event2/buffer.h>; libevent >= 2.0, by memory of our own.
    """

    __slots__ = ("_buffer", "_memory", "_size", "_view")

    _buffer: Buffer
    _memory: Any
    _size: int
    _view: Any

    def __init__(self) -> None:
        raise TypeError("Buffer.reserve() makes these")

    @classmethod
    def _make(cls, buffer: Buffer, size: int) -> Reservation:
        made = cls.__new__(cls)
        made._buffer = buffer
        # Views keep it: a slice of one may outlive this object.
        made._memory = _new_block("char[]", size)
        made._size = size
        made._view = memoryview(ffi.buffer(made._memory))
        return made

    def __enter__(self) -> Self:
        self._check()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Give the room back."""
        view, self._view = self._view, None
        self._memory = None
        if view is not None:
            with contextlib.suppress(BufferError):  # somebody uses it yet: it keeps its memory
                view.release()

    @property
    def view(self) -> memoryview:
        """Where to write; dead after the ``with``, and after commit().  Raises ValueError then."""
        self._check()
        view: memoryview = self._view
        return view

    def commit(self, nbytes: int) -> None:
        """
        Add the first *nbytes* of it to the buffer; without it nothing is added.  Once only.

        Raises ValueError, and as Buffer.add() does.

        Wraps: evbuffer_commit_space() <event2/buffer.h>; libevent >= 2.0.
        """
        self._check()
        size = convert.c_int(nbytes, "nbytes", 0, self._size)
        memory = self._memory
        if size:
            args = memory, size, int(size < _COPY_BELOW)
            buffer = self._buffer
            buffer._again(lib.lev_buffer_add_block(buffer._b, *args), lib.lev_buffer_add_block, *args)
        self.__exit__()
        if self._buffer._callbacks:
            self._buffer._changed()

    def _check(self) -> None:
        if self._view is None:
            raise ValueError("the room was committed or given back")
