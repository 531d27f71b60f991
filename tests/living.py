"""What the tests of lives and ends share."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

from libevent_cffi import EventBase
from libevent_cffi.event import Operation


def collect() -> None:
    """Collect what is garbage; PyPy needs a second round for what the first one finalized."""
    gc.collect()
    gc.collect()


def nothing(*_: object) -> None:
    """Be a callback."""


def started(base: EventBase, callback: Callable[..., object] | None = None) -> Operation[Any]:
    """Start an operation, as the library's asynchronous calls do."""
    return Operation._start(base, callback, ())
