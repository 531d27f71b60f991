"""
The loop and what it watches: event2/event.h.

EventBase is one loop; Event, Timer and Signal are what it watches; Operation is what finishes later.
"""

from __future__ import annotations

from .._native.resources import Resource
from .base import ErrorHandler, EventBase, Statistics
from .events import Event, Signal, Timer
from .operation import Operation
from .timeouts import CommonTimeout, Timeout

__all__ = [
    "CommonTimeout",
    "ErrorHandler",
    "Event",
    "EventBase",
    "Operation",
    "Resource",
    "Signal",
    "Statistics",
    "Timeout",
    "Timer",
]
