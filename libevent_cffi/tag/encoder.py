"""Writing tagged data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

from .._native import convert
from ..buffer import Buffer
from . import wire

if TYPE_CHECKING:
    from ..types import BytesLike

__all__ = ["Encoder"]

#: Where one copy more takes longer than writelines() in place of add().
_LARGE = 16384


class Encoder:
    """
    Writes tagged values to the end of a Buffer, its own or yours.

    *buffer* is yours; None makes one.  Each call adds one item, whole or not at all.  Tags are ints of 32
    bits, and a payload has less than 2**31 bytes.

    Every method raises TypeError and ValueError for what cannot be written so, and what Buffer.add() raises.

    Wraps: evtag_init() <event2/tag.h>; libevent >= 1.4.
    """

    __slots__ = ("_buffer",)

    def __init__(self, buffer: Optional[Buffer] = None) -> None:
        if buffer is None:
            buffer = Buffer()
        elif not isinstance(buffer, Buffer):
            raise TypeError(f"buffer must be a Buffer, not {type(buffer).__name__}")
        self._buffer = buffer

    @property
    def buffer(self) -> Buffer:
        """The Buffer that is written to."""
        return self._buffer

    def encode_int(self, value: int) -> None:
        """
        Add a number without a tag, 0 to 2**64 - 1.

        Wraps: evtag_encode_int() evtag_encode_int64() <event2/tag.h>; libevent >= 2.0.
        """
        self._buffer.add(wire.encode_number(convert.c_int(value, "value", 0, 2**64 - 1)))

    def marshal(self, tag: int, data: BytesLike) -> None:
        """
        Add bytes.

        Wraps: evtag_marshal() <event2/tag.h>; libevent >= 1.4.
        """
        self._add(tag, wire.plain_bytes(data))

    def marshal_buffer(self, tag: int, buffer: Buffer) -> None:
        """
        Add what *buffer* holds, and leave it empty.

        Raises ValueError for the encoder's own buffer.

        Wraps: evtag_marshal_buffer() <event2/tag.h>; libevent >= 2.0.
        """
        if not isinstance(buffer, Buffer):
            raise TypeError(f"buffer must be a Buffer, not {type(buffer).__name__}: use marshal() for bytes")
        if buffer is self._buffer:
            raise ValueError("an encoder cannot add its own buffer to itself")
        wire.check_tag(tag)
        header = b""
        with Buffer() as item:
            try:
                item.drains_to_fd = buffer.drains_to_fd
                item.add_buffer(buffer)
                header_of_item = wire.encode_header(tag, len(item))
                item.prepend(header_of_item)
                header = header_of_item
                self._buffer.add_buffer(item)
            except BaseException:
                item.drain(len(header))
                buffer.prepend_buffer(item)
                raise

    def marshal_int(self, tag: int, value: int) -> None:
        """
        Add a number, 0 to 2**32 - 1.

        Wraps: evtag_marshal_int() <event2/tag.h>; libevent >= 1.4.
        """
        self._add(tag, wire.encode_number(convert.c_int(value, "value", 0, 2**32 - 1)))

    def marshal_int64(self, tag: int, value: int) -> None:
        """
        Add a number, 0 to 2**64 - 1.

        Wraps: evtag_marshal_int64() <event2/tag.h>; libevent >= 2.0.
        """
        self._add(tag, wire.encode_number(convert.c_int(value, "value", 0, 2**64 - 1)))

    def marshal_string(self, tag: int, value: str) -> None:
        """
        Add text, as UTF-8 with surrogateescape.

        Raises ValueError for a NUL, where a reader in C would cut the text.

        Wraps: evtag_marshal_string() <event2/tag.h>; libevent >= 1.4.
        """
        self._add(tag, convert.c_text(value, "value"))

    def marshal_timeval(self, tag: int, seconds: float) -> None:
        """
        Add a time, 0 to 2**32 seconds, rounded to a microsecond: an interval or a time of day.

        Wraps: evtag_marshal_timeval() <event2/tag.h>; libevent >= 1.4.
        """
        self._add(tag, wire.encode_time(seconds))

    def _add(self, tag: int, payload: bytes) -> None:
        header = wire.encode_header(wire.check_tag(tag), len(payload))
        if len(payload) < _LARGE:
            self._buffer.add(header + payload)
        else:
            self._buffer.writelines((header, payload))
