"""
Where our code calls users' functions.

A Ctrl-C, or an error, that comes while one of our functions runs means one thing before the user's function
has begun and another afterwards.  Which it is tells the place in our function's code: ``f_lasti`` of a frame
that runs (wakeup.py), ``tb_lasti`` of a traceback (callbacks.py).
"""

from __future__ import annotations

import dis
from collections.abc import Callable
from types import CodeType
from typing import Any, TypeVar

__all__ = ["DELIVERING", "calls_in", "delivers"]

_F = TypeVar("_F", bound=Callable[..., Any])

#: The code of what calls users' functions, and the calls in it.
DELIVERING: dict[CodeType, frozenset[int]] = {}


def _offsets(code: CodeType, *, and_after: bool = False) -> frozenset[int]:
    """Return the offsets in *code* of calls of ``callback``, or from there to the end of their lines."""
    found: set[int] = set()
    lines = dict(dis.findlinestarts(code))
    loaded = called = False
    instructions = list(dis.get_instructions(code))
    for instruction, following in zip(instructions, instructions[1:]):
        if lines.get(instruction.offset) is not None:
            loaded = called = False
        loaded = loaded or (
            instruction.opname.startswith(("LOAD_FAST", "LOAD_DEREF"))
            and "callback" in str(instruction.argval)
        )
        is_call = loaded and instruction.opname.startswith(("CALL", "PRECALL"))
        called = is_call or (called and and_after)
        if called:  # from 3.11 on a call is several units long, and tb_lasti may be any of them
            found.update(range(instruction.offset, following.offset))
    return frozenset(found)


def delivers(function: _F) -> _F:
    """Mark *function* as one that calls users' functions, each by the name of ``callback``."""
    code = function.__code__
    if code not in DELIVERING:
        DELIVERING[code] = _offsets(code)
    return function


def calls_in(function: Callable[..., Any]) -> frozenset[int]:
    """Return the offsets in *function* from a call of ``callback`` to the end of its line."""
    return _offsets(function.__code__, and_after=True)
