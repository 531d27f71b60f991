"""The part of a BufferEvent that moves data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional

from .._native import convert
from .._native._libevent import lib
from ..buffer import Buffer
from ..buffer.arguments import (
    MOST,
    SCRATCH,
    bytes_of,
    check_count,
    export,
    memory_of,
    put_back,
    scratch,
    take_scratch,
)
from ..flags import EOL
from .handle import Handle

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..types import BytesLike, FileDescriptorLike

__all__ = ["Transfer"]

_TOO_SMALL: int = lib.LEV_TOO_SMALL
#: What each message passes through: looking them up costs as much as calling them.
_read = lib.lev_bev_read
_write = lib.lev_bev_write


class Transfer(Handle):
    """Reading and writing."""

    __slots__ = ()

    # -- out -------------------------------------------------------------------------------------------------

    def write(self, data: BytesLike) -> None:
        """
        Queue a copy of *data*.

        It is sent when the loop runs, in the order of the calls; what a callback writes, when the callback is
        over.  A connection that is not open yet keeps it until it is.

        Raises TypeError, MemoryError, BrokenPipeError after write_eof(), ClosedError, WrongThreadError.

        Wraps: bufferevent_write() <event2/bufferevent.h>; libevent >= 1.4.
        """
        memory = data if type(data) is bytes else export(data)
        result = _write(self._c, memory, len(memory))
        if result:
            self._done(result, "bufferevent_write")
        output = self._output
        if output is not None and output._callbacks:
            output._changed()

    def writelines(self, parts: Iterable[BytesLike]) -> None:
        """
        Queue many in one call, all or none.  Raises as write() does.

        Wraps: bufferevent_write() <event2/bufferevent.h>; libevent >= 1.4.
        """
        self._check_writable()
        self.output.writelines(parts)
        self._wrote()

    def write_buffer(self, buffer: Buffer) -> None:
        """
        Queue what is in *buffer* without copying, and leave it empty.

        Raises as write() and Buffer.add_buffer() do.

        Wraps: bufferevent_write_buffer() <event2/bufferevent.h>; libevent >= 1.4.
        """
        self._check_writable()
        self.output.add_buffer(buffer)
        self._wrote()

    def sendfile(self, file: FileDescriptorLike, *, offset: int = 0, length: Optional[int] = None) -> None:
        """
        Queue *length* bytes (None: the rest) of a file from *offset* on.

        *file* is duplicated, and stays yours.  Over a plain socket the system sends it without its bytes
        passing through the process; elsewhere, and under a rate limit, which that way would pay no heed to,
        it is read now.

        Raises as write() and Buffer.add_file() do.

        Wraps: bufferevent_get_output() <event2/bufferevent.h>; libevent >= 2.0.
        """
        self._check_writable()
        self.output.add_file(file, offset=offset, length=length)
        self._wrote()

    def _check_writable(self) -> None:
        result = lib.lev_bev_check_write(self._c)
        if result:
            self._refuse(result, "bufferevent_write")

    def _wrote(self) -> None:
        result = lib.lev_bev_wrote(self._c)
        if result:
            self._done(result, "bufferevent_write")

    def write_eof(self) -> None:
        """
        End this side's sending when the output is written; reading goes on.

        The other side is told EOF.  A connection that has ended both ways closes itself, and no callback
        tells of that: look at ``closed`` before using it from another one's callback.  Nothing can be written
        any more; on_write is still told when all is written.

        Raises ClosedError, WrongThreadError.
        """
        self._done(lib.lev_bev_write_eof(self._c), "shutdown")

    # -- in --------------------------------------------------------------------------------------------------

    def read(self, nbytes: int = -1) -> bytes:
        """
        Take at most *nbytes* (-1: all) of what has arrived, and return them.

        b"" means that nothing is there now, and never the end, of which on_event tells.

        Raises ValueError, ClosedError, WrongThreadError.

        Wraps: bufferevent_read() <event2/bufferevent.h>; libevent >= 1.4.
        """
        size = nbytes if nbytes == -1 else check_count(nbytes)
        try:
            keep = take_scratch()
        except IndexError:
            keep = scratch()
        memory, shown, _ = keep
        try:
            result = _read(self._c, memory, SCRATCH, size)
            data: bytes = shown[:result] if result >= 0 else self._read_large(result, size)
        finally:
            put_back(keep)
        received = self._input
        if received is not None and received._callbacks:
            received._changed()
        return data

    def _read_large(self, result: int, size: int) -> bytes:
        while result == _TOO_SMALL:
            length = len(self.input)
            memory = memory_of(min(length, size) if size >= 0 else length)
            result = _read(self._c, memory, len(memory), size)
        self._checked(result, "bufferevent_read")
        return bytes_of(memory, result)

    def readinto(self, target: BytesLike) -> int:
        """
        Take as many bytes as *target* has room for, and return how many.

        Raises TypeError or BufferError for what cannot be written to, and as read() does.

        Wraps: bufferevent_read() <event2/bufferevent.h>; libevent >= 1.4.
        """
        return self.input.readinto(target)

    def readline(self, eol: EOL = EOL.CRLF) -> Optional[bytes]:
        """
        Take the first line, and return it without its end; None while it is not complete.

        Raises as read() does.

        Wraps: bufferevent_get_input() <event2/bufferevent.h>; libevent >= 2.0.
        """
        return self.input.readline(eol)

    def read_until(self, separator: BytesLike, *, max_bytes: Optional[int] = None) -> Optional[bytes]:
        """
        Take what comes up to and including *separator*, and return it; None while that is not there.

        Raises ValueError when *separator* is empty, and, taking nothing, once *max_bytes* bytes (None: no
        limit) do not hold it; and as read() does.

        Wraps: bufferevent_get_input() <event2/bufferevent.h>; libevent >= 2.0.
        """
        wanted = bytes(memoryview(separator))
        if not wanted:
            raise ValueError("separator is empty")
        most = None if max_bytes is None else convert.c_int(max_bytes, "max_bytes", len(wanted), MOST)
        received = self.input
        found = received.search(wanted, end=most)
        if found is None:
            if most is not None and len(received) >= most:
                raise ValueError(f"the first {most} bytes do not hold {wanted!r}")
            return None
        return received.remove(found + len(wanted))

    def read_buffer(self, into: Buffer) -> None:
        """
        Move all that has arrived to the end of *into*, without copying.

        Raises as read() and Buffer.add_buffer() do.

        Wraps: bufferevent_read_buffer() <event2/bufferevent.h>; libevent >= 1.4.
        """
        if not isinstance(into, Buffer):
            raise TypeError(f"into must be a Buffer, not {into!r}")
        into.add_buffer(self.input)

    def __iter__(self) -> Iterator[bytes]:
        """
        Take complete lines, as readline() does, until none is left.

        A loop that closes the connection has to end there: the next line would raise ClosedError.
        """
        lines: Any = iter(self.input)
        return lines  # type: ignore[no-any-return]
