"""Running filters inside of a call that is outside of a loop."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from .._native import callbacks
from .._native._libevent import lib

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._native.running import Loop

__all__ = ["with_a_road"]

_log = logging.getLogger("libevent")


def with_a_road(base: Loop, call: Callable[..., int], *args: Any) -> int:
    """
    Return what ``call(*args)`` answers, with filters finding Python from inside of it.

    In a loop they do anyway.  Raises what a filter raised, outside of one; there the loop does.
    """
    entered = lib.lev_road_begin(base._l)
    if entered <= 0:
        return call(*args) if entered == 0 else entered
    try:
        lib.lev_road_use(base._l, callbacks.take_slot(base, base._armed))
        result = call(*args)
    finally:
        callbacks.give_slot_back(base)
        lib.lev_road_end(base._l)
    failure, base._failed = base._failed, None
    if failure is not None:
        while failure[4] is not None:
            _log.error("another filter failed: %r", failure[1], exc_info=failure[0])
            failure = failure[4]
        raise failure[0]
    return result
