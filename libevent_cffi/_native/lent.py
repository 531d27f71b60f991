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

from . import logs
from ._libevent import lib
from .callbacks import delivers

__all__ = ["LENT", "collect", "new_token"]

#: What C has, by its token: the memory, and what is to be called when C lets go.  Who gives C a token puts
#: it in, and takes it out when C has not taken it after all.
LENT: dict[int, tuple[Any, Optional[Callable[[], object]]]] = {}

_new_tokens = itertools.count(1)
_UNKNOWN = (None, None)

new_token = _new_tokens.__next__


def collect(everything: bool = False) -> None:
    """
    Forget what C has let go of on this thread, or anywhere, and call what is to be called.

    Raises what the first of these calls raised; others are logged.
    """
    if not lib.lev_released_count:
        return
    failures: list[BaseException] = []
    # An iterator all in C, so that no interrupt can lose a token.
    taken = map(LENT.pop, iter(lib.lev_released_next, 0), itertools.repeat(_UNKNOWN))
    try:
        for _, on_release in itertools.islice(taken, lib.lev_released_gather(everything)):
            if on_release is not None:
                _call(on_release, failures)
    except BaseException:
        lib.lev_released_give_back()
        raise
    for error in failures[1:]:
        logs.tell(logging.ERROR, "another on_release() failed", error=error)
    if failures:
        raise failures[0]


@delivers
def _call(callback: Callable[[], object], failures: list[BaseException]) -> None:
    try:
        callback()
    except BaseException as error:
        failures.append(error)
