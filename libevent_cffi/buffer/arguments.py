"""What arguments of buffers become for C."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Optional

from .._native import convert
from .._native._libevent import ffi

if TYPE_CHECKING:
    from ..types import BytesLike

__all__ = [
    "MOST",
    "bytes_of",
    "check_count",
    "check_offset",
    "export",
    "memory_of",
    "put_back",
    "scratch",
    "take_scratch",
]

#: More bytes than any buffer has; C adds such numbers up.
MOST = 2**60

SCRATCH = 65536

#: Memory for what is copied out of C, of SCRATCH bytes; the same to take slices of; and a number beside it.
#: A list would allocate memory each time the first one comes back.
_scratches: deque[tuple[Any, Any, Any]] = deque()
#: Take one, or IndexError; and put one back.  Looking the methods up would cost more than calling them.
take_scratch = _scratches.pop
put_back = _scratches.append

_new_memory = ffi.new_allocator(should_clear_after_alloc=False)


def scratch() -> tuple[Any, Any, Any]:
    """Return memory of SCRATCH bytes, a buffer of it, and a ``size_t *``; put_back() all when done."""
    try:
        return take_scratch()
    except IndexError:
        memory = _new_memory("char[]", SCRATCH)
        return memory, ffi.buffer(memory, SCRATCH), ffi.new("size_t *")


def memory_of(size: int) -> Any:
    """Return memory whose content is undefined."""
    return _new_memory("char[]", size)


def bytes_of(memory: Any, size: int) -> bytes:
    """Return the first *size* bytes there, and free it: PyPy would keep it until it collects."""
    data = bytes(ffi.buffer(memory, size))
    ffi.release(memory)
    return data


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
