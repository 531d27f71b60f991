"""
Event-driven network programs on the system's libevent.

This module has the everyday names.  The others load at first use: ``libevent_cffi.util``, ``thread``,
``watch`` and so on, one public module per header of libevent, with the same name.  Beside them stand
``errors``, every exception that is not Python's own; ``flags``, every flag and enumeration; ``types``, names
to annotate with; and ``lowlevel``, libevent's functions as they are in C.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from . import _native  # sets libevent up, or says why not
from ._version import VERSION as __version__
from .buffer import Buffer
from .bufferevent import BufferEvent
from .errors import ClosedError, LibeventError, LoopBusyError, WrongThreadError
from .event import Event, EventBase, Operation, Signal, Timer
from .flags import CLOSED, ET, PERSIST, READ, WRITE, BufferEventFlag, EventFlag, LoopFlag
from .listener import Listener

if TYPE_CHECKING:
    from . import dns, http, rpc, tag, thread, tls, util, watch, ws

__all__ = [
    "CLOSED",
    "ET",
    "PERSIST",
    "READ",
    "WRITE",
    "Buffer",
    "BufferEvent",
    "BufferEventFlag",
    "ClosedError",
    "Event",
    "EventBase",
    "EventFlag",
    "LibeventError",
    "Listener",
    "LoopBusyError",
    "LoopFlag",
    "Operation",
    "Signal",
    "Timer",
    "WrongThreadError",
    "__version__",
    "dns",
    "http",
    "rpc",
    "tag",
    "thread",
    "tls",
    "util",
    "watch",
    "ws",
]

_MODULES = frozenset({"dns", "http", "lowlevel", "rpc", "tag", "thread", "tls", "util", "watch", "ws"})


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})


del _native
