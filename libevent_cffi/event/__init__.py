"""
The loop and what it watches: event2/event.h.

EventBase is one loop; Event, Timer and Signal are what it watches; Operation is what finishes later.
"""

from __future__ import annotations

from .._native.resources import Resource
from .base import ErrorHandler, EventBase
from .events import Event
from .inspection import Statistics
from .operation import Operation
from .signals import Signal
from .timeouts import CommonTimeout, Timeout
from .timers import Timer

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
