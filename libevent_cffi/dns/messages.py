"""Questions and answers as they are sent, for what is asked by TCP."""

from __future__ import annotations

import struct
from typing import Optional

from .._native._libevent import lib
from .answers import Found

__all__ = ["failure", "make_question", "read_answer_to"]

_HEAD = struct.Struct(">HHHHHH")
_RECORD = struct.Struct(">HHIH")
_ANSWERS, _CUT_OFF, _RECURSION, _CODE = 0x8000, 0x0200, 0x0100, 0x000F
_INTERNET = 1
_A, _CNAME, _PTR, _AAAA = 1, 5, 12, 28
_LONGEST_NAME = 255
#: The codes that have a number of their own; what else a server answers is UNKNOWN.
_LAST_CODE: int = lib.DNS_ERR_REFUSED
_KINDS = {_A: lib.DNS_IPv4_A, _AAAA: lib.DNS_IPv6_AAAA, _PTR: lib.DNS_PTR}
_SIZES = {_A: 4, _AAAA: 16}


class _Malformed(Exception):
    """It is no message."""


def make_question(number: int, name: bytes, kind: int) -> bytes:
    """Return the question for the records of type *kind* of *name*."""
    labels = b"".join(bytes([len(label)]) + label for label in name.split(b"."))
    return _HEAD.pack(number, _RECURSION, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", kind, _INTERNET)


def failure(error: int, kind: int) -> Found:
    """Return what a query for records of type *kind* finished with that failed."""
    return Found(error, _KINDS[kind], 0, 0, b"", None)


def read_answer_to(message: bytes, number: int, name: bytes, kind: int) -> Optional[Found]:
    """Return what *message* answers; None when it is no answer to that question."""
    if len(message) < _HEAD.size:
        return None
    its_number, flags, questions, answers, _, _ = _HEAD.unpack_from(message)
    if its_number != number or not flags & _ANSWERS:
        return None
    if flags & _CUT_OFF:
        return failure(lib.DNS_ERR_TRUNCATED, kind)
    code = flags & _CODE
    if code:
        return failure(code if code <= _LAST_CODE else lib.DNS_ERR_UNKNOWN, kind)
    try:
        at = _after_questions(message, questions, name)
        return _read_records(message, at, answers, kind)
    except (_Malformed, struct.error, IndexError):
        return failure(lib.DNS_ERR_UNKNOWN, kind)


def _after_questions(message: bytes, count: int, name: bytes) -> int:
    at, is_there = _HEAD.size, False
    for _ in range(count):
        asked, at = _read_name(message, at)
        at += 4
        is_there = is_there or asked.lower() == name.lower()
    if not is_there:
        raise _Malformed
    return at


def _read_records(message: bytes, at: int, count: int, kind: int) -> Found:
    data: list[bytes] = []
    ttls: list[int] = []
    alias = None
    for _ in range(count):
        _, at = _read_name(message, at)
        its_kind, its_class, ttl, size = _RECORD.unpack_from(message, at)
        at += _RECORD.size
        if at + size > len(message):
            raise _Malformed
        if its_class == _INTERNET and its_kind == _CNAME:
            alias = _read_name(message, at)[0]
        elif its_class == _INTERNET and its_kind == kind and not (kind == _PTR and data):
            data.append(_read_name(message, at)[0] if kind == _PTR else message[at : at + size])
            ttls.append(ttl if ttl < 2**31 else 0)  # RFC 2181, 8
            if kind != _PTR and size != _SIZES[kind]:
                raise _Malformed
        at += size
    if not data:
        return failure(lib.DNS_ERR_NODATA, kind)
    canonical = None if alias is None else alias.decode("utf-8", "backslashreplace")
    return Found(0, _KINDS[kind], len(data), min(ttls), b"".join(data), canonical)


def _read_name(message: bytes, at: int) -> tuple[bytes, int]:
    """Return a name, and where what comes after it begins."""
    labels: list[bytes] = []
    size, after, lowest = 0, -1, at
    while message[at]:
        length = message[at]
        if length & 0xC0 == 0xC0:
            after = after if after >= 0 else at + 2
            at = (length & 0x3F) << 8 | message[at + 1]
            if at >= lowest:  # it leads back, or round for ever
                raise _Malformed
            lowest = at
            continue
        size += length + 1
        if length > 63 or size > _LONGEST_NAME or at + 1 + length > len(message):
            raise _Malformed
        labels.append(message[at + 1 : at + 1 + length])
        at += 1 + length
    return b".".join(labels), after if after >= 0 else at + 1
