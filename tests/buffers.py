"""What the tests of buffers share."""

from __future__ import annotations

from libevent_cffi import Buffer

BIG = 300_000


def chunks(*parts: bytes) -> Buffer:
    """Make a buffer with each part in a chunk of its own."""
    made = Buffer()
    for part in parts:
        made.add_reference(part)
    return made
