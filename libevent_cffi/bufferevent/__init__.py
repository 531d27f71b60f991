"""Buffered connections: event2/bufferevent.h."""

from __future__ import annotations

from .connection import BufferEvent
from .handle import DataCallback, EventCallback

__all__ = ["BufferEvent", "DataCallback", "EventCallback"]

for _class in (BufferEvent,):
    _class.__module__ = __name__
del _class
