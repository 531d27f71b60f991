"""Parts of files, for buffers."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING, Any, Optional

from .._native import check, convert, lent
from .._native._libevent import ffi, lib
from .._native.resources import Resource
from ..errors import ClosedError
from .arguments import check_length, check_offset

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..types import FileDescriptorLike
    from .handle import Handle

__all__ = ["FileSegment", "again_interrupted"]

_new_file = ffi.new_allocator(lib.lev_file_alloc, lib.lev_file_drop, should_clear_after_alloc=False)


def again_interrupted(buffer: Handle, function: Callable[..., int], *args: Any) -> int:
    """Call *function*, again when a signal has interrupted it and its handlers have run."""
    while True:
        with contextlib.suppress(InterruptedError):
            return buffer._again(function(buffer._b, *args), function, *args)


class FileSegment(Resource):
    """
    A part of a file, to be added to any number of buffers: *length* bytes (None: the rest) from *offset* on.

    *file*, an int or what has fileno(), is duplicated and stays yours; its position does not matter and does
    not change.  The part must lie within the file now.  Where a buffer drains to a descriptor it is sent by
    sendfile() unless *sendfile* is False; for others it is read once, and never mapped: a file that is cut
    short under a mapping ends the process.

    ``on_close()`` is called when it is closed and the last buffer has let go, by the call that had it let go,
    or in a loop.

    Raises TypeError, ValueError when it is no regular file or has not so many bytes, OSError, MemoryError.

    Wraps: evbuffer_file_segment_new() evbuffer_file_segment_free() evbuffer_file_segment_add_cleanup_cb()
    <event2/buffer.h>; libevent >= 2.1.
    """

    __slots__ = ("_closed", "_file", "_length", "_sendfile")

    def __init__(
        self,
        file: FileDescriptorLike,
        *,
        offset: int = 0,
        length: Optional[int] = None,
        sendfile: bool = True,
        on_close: Optional[Callable[[], object]] = None,
    ) -> None:
        if hasattr(self, "_file"):
            raise RuntimeError(f"{self!r} was made already: make another {type(self).__name__}")
        self._closed = True
        if lib.lev_shut_down:
            raise ClosedError("libevent was shut down by util.global_shutdown()")
        if on_close is not None and not callable(on_close):
            raise TypeError(f"on_close must be callable or None, not {on_close!r}")
        fd = convert.fileno(file)
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"descriptor {fd} is no regular file, which alone has parts")
        offset = check_offset(offset, "offset")
        self._length = check_length(length, offset, status.st_size, "the file")
        self._sendfile = bool(sendfile)
        self._file = _new_file("struct lev_file *")
        token = 0 if on_close is None else lent.new_token()
        try:
            if on_close is not None:
                lent.LENT[token] = None, on_close
            result = lib.lev_file_open(self._file, fd, offset, self._length, token)
            if result < 0:
                raise MemoryError("FileSegment") if result == lib.LEV_NO_MEMORY else check.socket_error("dup")
            self._closed = False
        except BaseException:
            lent.LENT.pop(token, None)
            raise

    def __len__(self) -> int:
        """How many bytes it has."""
        return self._length

    def _describe(self) -> list[str]:
        return [] if self._closed else [f"length={self._length}"]

    def _load(self) -> None:
        """Have its bytes in memory."""
        result = lib.lev_file_load_open(self._file)
        if result == lib.LEV_NO_MEMORY:
            raise MemoryError(f"there is no memory for {self!r}")
        if result == lib.LEV_CUT_SHORT:
            raise EOFError("the file has become shorter since it was opened")
        if result == lib.LEV_CLOSED:
            raise ClosedError(f"{self!r} was closed")
        if result < 0:
            raise check.socket_error("pread")

    @property
    def closed(self) -> bool:
        """Is it closed?"""
        return self._closed

    def close(self) -> None:
        """
        Add it to no more buffers; those that have it keep it.  Raises what on_close() raises.

        Wraps: evbuffer_file_segment_free() <event2/buffer.h>; libevent >= 2.1.
        """
        if self._closed:
            return
        self._closed = True
        lib.lev_file_close(self._file)
        if lent.LENT:
            lent.collect()
