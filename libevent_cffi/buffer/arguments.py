"""What arguments of buffers become for C."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional

from .._native import convert
from .._native._libevent import ffi

if TYPE_CHECKING:
    from ..types import BytesLike

__all__ = ["MOST", "check_count", "check_offset", "export", "memory_of", "scratch", "scratches"]

#: More bytes than any buffer has; C adds such numbers up.
MOST = 2**60

SCRATCH = 65536

#: Memory for what is copied out of C, of SCRATCH bytes, with a number beside it.
scratches: list[tuple[Any, Any]] = []

_new_memory = ffi.new_allocator(should_clear_after_alloc=False)


def scratch() -> tuple[Any, Any]:
    """Return memory of SCRATCH bytes and a ``size_t *``; put them back into *scratches*."""
    try:
        return scratches.pop()
    except IndexError:
        return _new_memory("char[]", SCRATCH), ffi.new("size_t *")


def memory_of(size: int) -> Any:
    """Return memory whose content is undefined."""
    return _new_memory("char[]", size)


def check_count(nbytes: int) -> int:
    """Return *nbytes*, which may be -1 for all."""
    return convert.c_int(nbytes, "nbytes", -1, MOST)


def check_offset(offset: int, name: str) -> int:
    """Return an offset from the front."""
    return convert.c_int(offset, name, 0, MOST)


def export(data: BytesLike) -> Any:
    """Return memory of *data* to read from during one call; what is not contiguous is copied."""
    try:
        return convert.c_bytes(data)
    except BufferError:
        return ffi.from_buffer(bytes(memoryview(data)))


def check_length(length: Optional[int], offset: int, available: int, what: str) -> int:
    """Return how many bytes from *offset* on are meant; ValueError where *what* has not so many."""
    if offset > available:
        raise ValueError(f"offset {offset} is past the end of {what}, which has {available} bytes")
    if length is None:
        return available - offset
    length = convert.c_int(length, "length", 0, MOST)
    if length > available - offset:
        raise ValueError(f"{what} has {available - offset} bytes from offset {offset} on, not {length}")
    return length
