"""
Python's signals while C waits, and Ctrl-C without losing an event.

Python runs its signal handlers between two of its own instructions, and there are none while C blocks.  So
the loop of the main thread lends its wake-up descriptor to ``signal.set_wakeup_fd()``, and what it wakes up
for is ``pthread_kill(main thread, 0)``: a call that runs the waiting handlers before it returns, on CPython
and PyPy. (A loop of Python instructions would not do: PyPy compiles it and looks for signals no more, and
on CPython another thread's instructions can take the signal away.)

Python's own handler of Ctrl-C raises KeyboardInterrupt wherever the main thread is.  In our code, between C
and the user's function, that would lose the event or run it twice.  So while a loop runs, a guard stands in
for that handler, and only for that one.  It looks at what was interrupted: the user's code gets its
KeyboardInterrupt there; when it is ours, or the user's function before its first instruction, the loop
stops and dispatch() raises.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal's own are slow Python functions around these
import dis
import functools
import os
import signal
import sys
import threading
from _thread import get_ident
from types import CodeType, FrameType
from typing import Any, Optional

from ._libevent import lib
from .callbacks import DELIVERING

__all__ = ["Standin", "on_main_thread", "run_signal_handlers"]

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_HAS_RESUME = "RESUME" in dis.opmap

_main_thread = threading.main_thread().ident
#: The loops of the main thread that run, the innermost last.
_stack: list[Any] = []


def on_main_thread() -> bool:
    """Tell whether this is the thread on which Python runs signal handlers."""
    return get_ident() == _main_thread


def run_signal_handlers() -> None:
    """Run the handlers of signals that have come; only on the main thread."""
    if hasattr(_signal, "pthread_kill"):
        _signal.pthread_kill(_main_thread, 0)


class Standin:
    """What the main thread's loop takes from Python for the time it runs, and gives back."""

    __slots__ = ("_guards", "_loop", "_wakeup")

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self._guards = False
        self._wakeup: Optional[int] = None

    def begin(self, wake_fd: Optional[int]) -> Optional[int]:
        """
        Take it; return the wake-up descriptor that was there before, or -1.

        With None for *wake_fd* that descriptor is left alone: the loop is not going to block.
        """
        # Once the guard is in place nothing can be raised in here, so it comes first.
        if _signal.getsignal(signal.SIGINT) is _signal.default_int_handler:
            _stack[:] = [self._loop]
            self._guards = True
            _set_handler(_guard)
        else:
            _stack.append(self._loop)
        if wake_fd is not None:
            self._wakeup = _signal.set_wakeup_fd(wake_fd, warn_on_full_buffer=False)
        return self._wakeup

    def end(self) -> None:
        """Give everything back; a Ctrl-C from here on is raised by Python itself."""
        if self._wakeup is not None:
            _signal.set_wakeup_fd(self._wakeup, warn_on_full_buffer=False)
        if self._guards and _signal.getsignal(signal.SIGINT) is _guard:
            _set_handler(_signal.default_int_handler)
        if self._loop in _stack:
            _stack.remove(self._loop)


def _set_handler(handler: Any) -> None:
    # Python would take the signal from an event of ours that waits for it.
    if lib.lev_signal_taken(signal.SIGINT):
        _signal.signal(signal.SIGINT, handler)
        lib.lev_signal_reassert(signal.SIGINT)
    else:
        _signal.signal(signal.SIGINT, handler)


def _guard(signum: int, frame: Optional[FrameType]) -> None:
    if _stack and not _is_users(frame):
        loop = _stack[-1]
        loop._breaking = True
        lib.lev_interrupt(loop._l)
    else:
        _signal.default_int_handler(signum, frame)


def _is_users(frame: Optional[FrameType]) -> bool:
    """Tell whether *frame* is the user's code, and has begun."""
    if frame is None or _is_ours(frame):
        return False
    caller = frame.f_back
    if caller is not None and caller.f_code in DELIVERING and frame.f_lasti <= _entry(frame.f_code):
        return False
    while caller is not None and not _is_ours(caller):
        caller = caller.f_back
    # Called by ours on its own behalf, it is as good as ours.
    return caller is None or caller.f_code in DELIVERING


def _is_ours(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(_PACKAGE)


@functools.lru_cache(maxsize=256)
def _entry(code: CodeType) -> int:
    """Return the last offset at which a call of *code* has not done anything yet."""
    if not _HAS_RESUME:
        return 0 if sys.implementation.name == "pypy" else -1
    for instruction in dis.get_instructions(code):
        if instruction.opname == "RESUME":
            return instruction.offset
    return 0


def _after_fork() -> None:
    global _main_thread
    if get_ident() != _main_thread:  # the thread that ran these is not here
        _stack.clear()
    _main_thread = get_ident()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
