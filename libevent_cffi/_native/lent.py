"""
Objects of Python's that C reads from: what keeps them alive, and what happens when C lets go.

C knows such an object by a token.  When the last piece of it has gone, on whichever thread and in the middle
of whatever, C puts the token on a list (csrc/lend.c), and Python takes it from there at the next good moment:
the end of the call that let go, or, when that was no call of Python's, in a loop.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from typing import Any, Optional

from ._libevent import ffi, lib
from .callbacks import delivers

__all__ = ["LENT", "collect", "forget", "lend"]

_log = logging.getLogger("libevent")

#: What C has, by its token: the memory, and what is to be called when C lets go.
LENT: dict[int, tuple[Any, Optional[Callable[[], object]]]] = {}

_tokens = itertools.count(1)
_MOST = 64


def lend(memory: Any, on_release: Optional[Callable[[], object]]) -> int:
    """Keep *memory* until C gives the token back, which is returned; then ``on_release()`` is called."""
    token = next(_tokens)
    LENT[token] = (memory, on_release)
    return token


def forget(token: int) -> None:
    """C has not taken it after all."""
    LENT.pop(token, None)


def collect(everything: bool = False) -> None:
    """
    Forget what C has let go of on this thread, or anywhere, and call what is to be called.

    Raises what the first of these calls raised; others are logged.
    """
    if not lib.lev_released_count:
        return
    failures: list[BaseException] = []
    tokens = ffi.new("int64_t[]", _MOST)
    while True:
        count = lib.lev_released_take(tokens, _MOST, everything)
        for token in ffi.unpack(tokens, count):
            _, on_release = LENT.pop(token, (None, None))
            if on_release is not None:
                _call(on_release, failures)
        if count < _MOST:
            break
    for error in failures[1:]:
        _log.error("another on_release() failed", exc_info=error)
    if failures:
        raise failures[0]


@delivers
def _call(callback: Callable[[], object], failures: list[BaseException]) -> None:
    try:
        callback()
    except BaseException as error:
        failures.append(error)
