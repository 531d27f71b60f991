"""
The bytes of tagged data: numbers, tags, headers.

A tag is the number's 7-bit groups, the lowest first, with the high bit set in all but the last.  A number is
a half byte that counts its hexadecimal digits less one, then the digits, the lowest first (a comment in
event_tagging.c says the highest), then half a byte of padding where one is needed.  An item is its tag, the
length of its payload as a number, and the payload.

Nothing of libevent's own evtag functions is used.  They take away what they could not decode, or half of it
(event_tagging.c:evtag_unmarshal_int), read a byte behind the end of a tag that is too long
(event_tagging.c:decode_tag_internal), give lengths beyond 2**31 as negative ones
(event_tagging.c:evtag_unmarshal_header), cut longer ones when they write, and do not tell when a buffer
refuses what they add (event_tagging.c:evtag_marshal).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._native import convert
from ..errors import TagError

if TYPE_CHECKING:
    from ..types import BytesLike

__all__ = [
    "MOST_BYTES",
    "check_tag",
    "decode_fixed",
    "decode_header",
    "decode_number",
    "decode_tag",
    "decode_text",
    "decode_time",
    "encode_header",
    "encode_number",
    "encode_tag",
    "encode_time",
    "plain_bytes",
]

#: The longest payload: event_tagging.c:evtag_unmarshal_header returns lengths as int.
MOST_BYTES = 2**31 - 1

_DIGITS = {32: 8, 64: 16}
_SHORT = [bytes([value]) for value in range(16)]


# -- to bytes ------------------------------------------------------------------------------------------------


def encode_number(value: int) -> bytes:
    """Return the bytes of *value*, which has at most 64 bits."""
    if value < 16:
        return _SHORT[value]
    digits = f"{value:x}"
    padding = "" if len(digits) & 1 else "0"
    return bytes.fromhex(f"{len(digits) - 1:x}{digits[::-1]}{padding}")


def encode_tag(tag: int) -> bytes:
    """Return the bytes of *tag*, which has at most 32 bits."""
    groups = bytearray()
    while tag > 0x7F:
        groups.append(tag & 0x7F | 0x80)
        tag >>= 7
    groups.append(tag)
    return bytes(groups)


def encode_header(tag: int, length: int) -> bytes:
    """Return what stands before a payload; ValueError when it is too long."""
    if length > MOST_BYTES:
        raise ValueError(f"{length} bytes are more than an item holds, {MOST_BYTES}: send them in parts")
    return encode_tag(tag) + encode_number(length)


def encode_time(seconds: float) -> bytes:
    """Return the payload of a timeval, rounded to a microsecond."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"seconds must be a float, not {seconds!r}")
    seconds = convert.plain_number(seconds)
    if not 0 <= seconds < 2**32:  # false for NaN
        raise ValueError(f"seconds must be between 0 and 2**32, not {seconds!r}")
    whole, rest = divmod(round(seconds * 1_000_000), 1_000_000)
    if whole == 2**32:
        raise ValueError(f"seconds must be between 0 and 2**32, not {seconds!r}")
    return encode_number(whole) + encode_number(rest)


def check_tag(tag: int) -> int:
    """Return *tag* when it is an int of 32 bits."""
    return convert.c_int(tag, "tag", 0, 2**32 - 1)


def plain_bytes(data: BytesLike) -> bytes:
    """Return the bytes in *data*; TypeError when it has none."""
    return data if type(data) is bytes else bytes(memoryview(data))


# -- from bytes ----------------------------------------------------------------------------------------------
#
# What is read lies between *at* and *end*, and errors tell their position in *data*.


def decode_number(data: bytes, at: int, end: int, bits: int = 32) -> tuple[int, int]:
    """Return the number at *at* and where it ends; TagError when it has more *bits* or is cut off."""
    if at >= end:
        raise TagError("the data ends before a number", position=at)
    first = data[at]
    if first < 16:
        return first, at + 1
    digits = (first >> 4) + 1
    stop = at + digits // 2 + 1
    if digits > _DIGITS[bits]:
        raise TagError(f"a number has {4 * digits} bits and may have {bits}", position=at)
    if stop > end:
        raise TagError("the data ends inside a number", position=at)
    return int(data[at:stop].hex()[digits:0:-1], 16), stop


def decode_tag(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Return the tag at *at* and where it ends; TagError when it has over 32 bits or is cut off."""
    tag = shift = 0
    for stop in range(at, min(end, at + 5)):
        group = data[stop]
        tag |= (group & 0x7F) << shift
        if group < 0x80:
            break
        shift += 7
    else:
        if end - at < 5:
            raise TagError(
                "the data ends inside a tag" if at < end else "the data ends before a tag", position=at
            )
        raise TagError("a tag has more than 32 bits", position=at)
    if tag >= 2**32:
        raise TagError("a tag has more than 32 bits", position=at)
    return tag, stop + 1


def decode_header(data: bytes, at: int, end: int) -> tuple[int, int, int]:
    """Return the tag at *at*, and where its payload begins and ends; TagError when that is beyond *end*."""
    if end - at > 1 and data[at] < 0x80 and data[at + 1] < 16:  # as most are
        tag, length, at_length, begin = data[at], data[at + 1], at + 1, at + 2
    else:
        tag, at_length = decode_tag(data, at, end)
        length, begin = decode_number(data, at_length, end)
    if length > end - begin:
        raise TagError(
            f"a payload has {length} bytes, and the data ends after {end - begin}", position=at_length
        )
    return tag, begin, begin + length


def decode_fixed(data: bytes, at: int, end: int, length: int) -> bytes:
    """Return the payload between *at* and *end*; TagError when it has not *length* bytes."""
    if end - at != length:
        raise TagError(f"{length} bytes were expected, and the payload has {end - at}", position=at)
    return data[at:end]


def decode_text(data: bytes, at: int, end: int) -> str:
    """Return the text between *at* and *end*; TagError for a NUL, which C's text cannot have."""
    nul = data.find(0, at, end)
    if nul >= 0:
        raise TagError("a string holds a NUL", position=nul)
    return data[at:end].decode("utf-8", "surrogateescape")


def decode_time(data: bytes, at: int, end: int) -> float:
    """Return the seconds between *at* and *end*."""
    whole, at = decode_number(data, at, end)
    rest, at = decode_number(data, at, end)
    return whole + rest / 1e6
