"""
Byte queues: event2/buffer.h.

A Buffer is a queue of bytes in chunks: what is added at its end and taken from its front is not moved in
between, and goes from one buffer to another without being copied.
"""

from __future__ import annotations

from .buffer import Buffer
from .changes import BufferChange, ChangeCallback
from .fileobject import BufferFile
from .files import FileSegment
from .reservation import Reservation

__all__ = ["Buffer", "BufferChange", "BufferFile", "ChangeCallback", "FileSegment", "Reservation"]
