"""Buffered connections: event2/bufferevent.h."""

from __future__ import annotations

from .connection import BufferEvent
from .filters import Filter, FilterBufferEvent
from .handle import DataCallback, EventCallback
from .limits import RateLimit, RateLimitGroup

__all__ = [
    "BufferEvent",
    "DataCallback",
    "EventCallback",
    "Filter",
    "FilterBufferEvent",
    "RateLimit",
    "RateLimitGroup",
]

for _class in (BufferEvent, FilterBufferEvent, RateLimit, RateLimitGroup):
    _class.__module__ = __name__
del _class
