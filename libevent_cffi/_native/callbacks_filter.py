"""What C calls for filters of connections; see callbacks.py."""

from __future__ import annotations

from ..flags import FilterResult, FlushMode
from ._libevent import lib
from .callbacks import DONE, RAISED, STALE, UNDELIVERED, calls_in, loops, trampoline

__all__ = ["lev_py_filter"]

ANSWER: int = lib.LEV_FILTER_ANSWER
RESULTS = {int(each): int(each) for each in FilterResult}
MODES = {int(each): each for each in FlushMode}


@trampoline
def lev_py_filter(token: int, which: int, limit: int, mode: int, slot: int) -> int:
    """Data may move: filter(source, target, limit, mode), whose answer C gets, with ANSWER added."""
    loop = loops[slot]
    try:
        bev = loop._children[token]
    except KeyError:
        bev = loop._known.get(token)
        if bev is None:
            return STALE
    callback, source, target = bev._filters[which]
    most = None if limit < 0 else limit
    how = MODES[mode]
    try:
        result = callback(source, target, most, how)
    except BaseException as error:
        delivered = error.__traceback__ is None or error.__traceback__.tb_lasti in _calls_in_filter
        loop._failed = (error, bev, 0, delivered, loop._failed)
        return RAISED if delivered else UNDELIVERED
    if result is None:
        return DONE
    try:
        return ANSWER + RESULTS[result]
    except (KeyError, TypeError):
        wrong = TypeError(f"a filter returns a FilterResult or None, not {result!r}")
        loop._failed = (wrong, bev, 0, True, loop._failed)
        return RAISED


_calls_in_filter = calls_in(lev_py_filter)
