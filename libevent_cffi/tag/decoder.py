"""Reading tagged data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Optional, TypeVar, Union

from .._native import convert
from ..buffer import Buffer
from ..errors import TagError
from . import wire

if TYPE_CHECKING:
    from ..types import BytesLike

__all__ = ["Decoder"]

_T = TypeVar("_T")

#: Enough for a header and the payload of a number or a time.
_FIRST_BYTES = 32


class Decoder:
    """
    Reads tagged values from the front of a Buffer, or from bytes, in order.

    A Buffer loses what is read.  Bytes are copied first.

    Every method raises TagError where the data is not what was asked for, or is cut off; then nothing was
    taken, and its ``position`` tells the byte, counted from where the decoder began.  So a reader of a stream
    may call again when more has come.  One thread at a time.
    """

    __slots__ = ("_buffer", "_position")

    def __init__(self, data: Union[Buffer, BytesLike]) -> None:
        self._buffer = data if isinstance(data, Buffer) else Buffer(data)
        self._position = 0

    @property
    def position(self) -> int:
        """How many bytes this decoder has taken."""
        return self._position

    # -- looking ---------------------------------------------------------------------------------------------

    def peek(self) -> Optional[int]:
        """
        Return the next tag, and take nothing; None at the end.

        Raises TagError for what is no tag.

        Wraps: evtag_peek() <event2/tag.h>; libevent >= 1.4.
        """
        return self._read(wire.decode_tag)[0] if self._buffer else None

    def peek_length(self) -> int:
        """
        Return how many bytes the next item has: tag, length and payload, which need not have come.

        Wraps: evtag_peek_length() <event2/tag.h>; libevent >= 1.4.
        """
        return self._read(_item_length)

    def payload_length(self) -> int:
        """
        Return how many bytes the next payload has, which need not have come.

        Wraps: evtag_payload_length() <event2/tag.h>; libevent >= 1.4.
        """
        return self._read(_payload_length)

    # -- taking ----------------------------------------------------------------------------------------------

    def header(self) -> tuple[int, int]:
        """
        Take tag and length of the next item, and return them; its payload is next, and is all there.

        Wraps: evtag_unmarshal_header() <event2/tag.h>; libevent >= 1.4.
        """
        tag, begin, stop = self._read(wire.decode_header)
        self._drop(begin)
        return tag, stop - begin

    def skip(self) -> None:
        """
        Take the next item, whatever it is.

        Wraps: evtag_consume() <event2/tag.h>; libevent >= 1.4.
        """
        self._drop(self._read(wire.decode_header)[2])

    def decode_int(self) -> int:
        """
        Take a number without a tag, as Encoder.encode_int() adds it.

        libevent has the function that does this, evtag_decode_int64(), but in no header.
        """
        value, stop = self._read(_number64)
        self._drop(stop)
        return value

    def unmarshal(self) -> tuple[int, bytes]:
        """
        Take the next item, and return its tag and payload.

        Wraps: evtag_unmarshal() <event2/tag.h>; libevent >= 1.4.
        """
        tag, begin, stop = self._read(wire.decode_header)
        return tag, self._drop(stop)[begin:]

    def unmarshal_int(self, tag: int) -> int:
        """
        Take the next item, which must have this *tag* and be a number of up to 32 bits.

        Wraps: evtag_unmarshal_int() <event2/tag.h>; libevent >= 1.4.
        """
        return self._take(tag, lambda data, at, end: wire.decode_number(data, at, end)[0])

    def unmarshal_int64(self, tag: int) -> int:
        """
        Take the next item, which must have this *tag* and be a number of up to 64 bits.

        Wraps: evtag_unmarshal_int64() <event2/tag.h>; libevent >= 2.0.
        """
        return self._take(tag, lambda data, at, end: wire.decode_number(data, at, end, 64)[0])

    def unmarshal_fixed(self, tag: int, length: int) -> bytes:
        """
        Take the next item, which must have this *tag* and *length* bytes.

        Wraps: evtag_unmarshal_fixed() <event2/tag.h>; libevent >= 1.4.
        """
        convert.c_int(length, "length", 0)
        return self._take(tag, lambda data, at, end: wire.decode_fixed(data, at, end, length))

    def unmarshal_string(self, tag: int) -> str:
        """
        Take the next item, which must have this *tag* and be text, UTF-8 with surrogateescape.

        TagError also for a NUL, where C would cut the text.

        Wraps: evtag_unmarshal_string() <event2/tag.h>; libevent >= 1.4.
        """
        return self._take(tag, wire.decode_text)

    def unmarshal_timeval(self, tag: int) -> float:
        """
        Take the next item, which must have this *tag* and be a time, and return its seconds.

        Wraps: evtag_unmarshal_timeval() <event2/tag.h>; libevent >= 1.4.
        """
        return self._take(tag, wire.decode_time)

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """Take item after item, as unmarshal() does, until the end."""
        while self._buffer:
            yield self.unmarshal()

    # -- how -------------------------------------------------------------------------------------------------

    def _take(self, tag: int, decode: Callable[[bytes, int, int], _T]) -> _T:
        """Take the next item if it has *tag* and *decode* can read its payload."""
        wire.check_tag(tag)

        def read(data: bytes, at: int, end: int) -> tuple[_T, int]:
            found, begin, stop = wire.decode_header(data, at, end)
            if found != tag:
                raise TagError(f"the next tag is {found}, not {tag}", position=at)
            whole = data if stop <= len(data) else self._buffer.copyout(stop)
            return decode(whole, begin, stop), stop

        value, stop = self._read(read)
        self._drop(stop)
        return value

    def _read(self, decode: Callable[[bytes, int, int], _T]) -> _T:
        """Return what *decode* finds at the front, of which it gets the first bytes."""
        end = len(self._buffer)  # first, since another thread may add meanwhile
        try:
            return decode(self._buffer.copyout(_FIRST_BYTES), 0, end)
        except TagError as error:
            error.position += self._position
            raise

    def _drop(self, nbytes: int) -> bytes:
        # Not drain(): where a change callback raises, remove() puts the bytes back.
        data = self._buffer.remove(nbytes)
        self._position += nbytes
        return data


def _number64(data: bytes, at: int, end: int) -> tuple[int, int]:
    return wire.decode_number(data, at, end, 64)


def _payload_length(data: bytes, at: int, end: int) -> int:
    return wire.decode_number(data, wire.decode_tag(data, at, end)[1], end)[0]


def _item_length(data: bytes, at: int, end: int) -> int:
    length, begin = wire.decode_number(data, wire.decode_tag(data, at, end)[1], end)
    return begin - at + length
