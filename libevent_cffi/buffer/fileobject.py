"""A buffer as a file."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Optional

from ..flags import EOL

if TYPE_CHECKING:
    from typing import Any

    from ..types import BytesLike
    from .buffer import Buffer

__all__ = ["BufferFile"]


class BufferFile(io.BufferedIOBase):
    """
    A Buffer as a binary file, which Buffer.as_file() makes.

    read() and readline() take from the front, and return b"" when there is nothing; write() appends.  To
    close it does not close the buffer.
    """

    def __init__(self, buffer: Buffer) -> None:
        self._buffer = buffer

    def _open(self) -> Buffer:
        if self.closed:
            raise ValueError("I/O operation on closed file")
        return self._buffer

    def readable(self) -> bool:
        """Return True."""
        return self._open() is not None

    def writable(self) -> bool:
        """Return True."""
        return self._open() is not None

    def read(self, size: Optional[int] = -1, /) -> bytes:
        """Take at most *size* bytes (None or negative: all)."""
        return self._open().remove(-1 if size is None or size < 0 else size)

    def read1(self, size: int = -1, /) -> bytes:
        """The same: there is nothing to wait for."""
        return self.read(size)

    def readinto(self, target: Any, /) -> int:
        """Take as many bytes as *target* has room for; return how many."""
        return self._open().readinto(target)

    def readinto1(self, target: Any, /) -> int:
        """The same."""
        return self.readinto(target)

    def readline(self, size: Optional[int] = -1, /) -> bytes:
        """Take a line with its end, or what there is of it, but at most *size* bytes."""
        buffer = self._open()
        found = buffer.search_eol(EOL.LF)
        length = len(buffer) if found is None else found[0] + 1
        return buffer.remove(length if size is None or size < 0 else min(length, size))

    def write(self, data: BytesLike, /) -> int:
        """Append; return how many bytes."""
        buffer = self._open()
        with memoryview(data) as view:
            buffer.add(data)
            return view.nbytes
