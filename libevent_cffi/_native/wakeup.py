"""
Python's signals while C waits, and Ctrl-C without losing an event.

Python runs its signal handlers between two of its own instructions, and there are none while C blocks.  So
the loop of the main thread lends its wake-up descriptor to ``signal.set_wakeup_fd()``, and what it wakes up
for is ``pthread_kill(main thread, 0)``: a call that runs the waiting handlers before it returns, on CPython
and PyPy. (A loop of Python instructions would not do: PyPy compiles it and looks for signals no more, and
on CPython another thread's instructions can take the signal away.)

Python's own handler of Ctrl-C raises KeyboardInterrupt wherever the main thread is.  In our code, between C
and the user's function, that would lose the event or run it twice.  So while a loop runs, a guard stands in
for that handler, and only for that one.  It looks at what was interrupted: the user's code, also a C function
that is the callback itself, gets its KeyboardInterrupt there; when it is ours, or the user's function before
its first instruction, the guard keeps it: the loop stops and dispatch() raises.  What then blocks all the
same is struck by the same Ctrl-C again: C repeats it (csrc/ctrl_c.c) until the loop has ended.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal's own are slow Python functions around these
import dis
import functools
import os
import signal
import sys
import threading
import time
from _thread import get_ident
from types import CodeType, FrameType
from typing import Any, Optional

from ._libevent import lib
from .callbacks import DELIVERING

__all__ = ["Standin", "let_go", "on_main_thread", "run_signal_handlers"]

#: As the code of the package names it, which need not be a normal path.
_PACKAGE = os.path.dirname(os.path.dirname((lambda: None).__code__.co_filename)) + os.sep
_HAS_RESUME = "RESUME" in dis.opmap

_IS_PYPY = sys.implementation.name == "pypy"

_main_thread = threading.main_thread().ident
#: The loops of the main thread that run, the innermost last; on greenlets they may end in any order.
_stack: list[Any] = []
#: What those that took the wake-up descriptor know of it.
_lent: list[Standin] = []


def on_main_thread() -> bool:
    """Tell whether this is the thread on which Python runs signal handlers."""
    return get_ident() == _main_thread


def run_signal_handlers() -> None:
    """Run the handlers of signals that have come; only on the main thread."""
    if hasattr(_signal, "pthread_kill"):
        _signal.pthread_kill(_main_thread, 0)


class Standin:
    """What the main thread's loop takes from Python for the time it runs, and gives back."""

    __slots__ = ("_loop", "_old", "_wake_fd")

    def __init__(self, loop: Any, wake_fd: int) -> None:
        self._loop = loop
        self._wake_fd = wake_fd
        #: The wake-up descriptor that was there before, when ours took its place.
        self._old: list[int] = []

    @property
    def old_wakeup(self) -> Optional[int]:
        """The wake-up descriptor that was there before, or -1; None while ours is not there."""
        return self._old[0] if self._old else None

    def begin(self, *, blocks: bool) -> None:
        """Take it; the wake-up descriptor only for a loop that *blocks*."""
        # Once the guard is in place a Ctrl-C raises nothing in here, so it comes first.
        if _signal.getsignal(signal.SIGINT) is _signal.default_int_handler:
            lib.lev_ctrl_c_forget()
            _stack[:] = [self._loop]
            _set_handler(_guard)
        else:
            _stack.append(self._loop)
        lib.lev_ctrl_c_begin(_signal.getsignal(signal.SIGINT) is _guard)
        if any(lib.lev_loop_state(each._l) & lib.LEV_WAS_INTERRUPTED for each in _stack[:-1]):
            # A Ctrl-C struck before the callback that dispatches had begun, and the loop around waits for it.
            lib.lev_interrupt(self._loop._l)
        if blocks:
            # In one C function, which the handler of another signal cannot leave half done.
            self._old.extend(map(_set_wakeup_fd, (self._wake_fd,)))
            _lent.append(self)
            lib.lev_ctrl_c_wakes(self._wake_fd)

    def give_wakeup_back(self) -> None:
        """Give the wake-up descriptor back, unless somebody has set another one meanwhile."""
        others = [each._wake_fd for each in _lent if each is not self]
        lib.lev_ctrl_c_wakes(others[-1] if others else -1)
        if self._old:
            found = _give_wakeup(self._old[0] if self._old[0] != self._wake_fd else -1)
            if found != self._wake_fd:
                _give_wakeup(found)
            _lent[:] = [each for each in _lent if each is not self]
            for each in _lent:  # who has ours to give back gives back what we would have
                each._old[:] = [self._old[0] if fd == self._wake_fd else fd for fd in each._old]
            del self._old[:]

    def end(self) -> None:
        """Give back the rest; a Ctrl-C from here on is raised by Python itself."""
        self.give_wakeup_back()
        others = [loop for loop in _stack if loop is not self._loop]
        try:
            if not others and lib.lev_ctrl_c_end():
                run_signal_handlers()
            if not others and _signal.getsignal(signal.SIGINT) is _guard:
                _set_handler(_signal.default_int_handler)
        finally:
            _stack[:] = others


_set_wakeup_fd = functools.partial(_signal.set_wakeup_fd, warn_on_full_buffer=False)


def _give_wakeup(fd: int) -> int:
    """Set the wake-up descriptor, or none when somebody has closed that one; return which there was."""
    try:
        found: int = _set_wakeup_fd(fd)
    except (ValueError, OSError):
        found = _set_wakeup_fd(-1)
    return found


def _set_handler(handler: Any) -> None:
    if not lib.lev_signal_taken(signal.SIGINT):
        _signal.signal(signal.SIGINT, handler)
        return
    # An event of ours waits for the signal, and Python would take it away.  What comes in between waits; or
    # is the event's all the same, when another thread gets it.
    held = lib.lev_signal_hold(signal.SIGINT, 1)
    try:
        _signal.signal(signal.SIGINT, handler)
        lib.lev_signal_reassert(signal.SIGINT)
        run_signal_handlers()
    except KeyboardInterrupt:
        lib.lev_signal_reassert(signal.SIGINT)
        lib.lev_signal_came(signal.SIGINT)
    finally:
        lib.lev_signal_hold(signal.SIGINT, held)


def _guard(signum: int, frame: Optional[FrameType]) -> None:
    if lib.lev_ctrl_c_is_stale() or lib.lev_signal_came(signum):
        return
    if not _stack or _is_users(frame) or _is_in_call(frame):
        let_go()
        _signal.default_int_handler(signum, frame)
    else:
        _keep(_stack[-1])


def _keep(loop: Any) -> None:
    """Have dispatch() of *loop* raise it, or what is struck when C repeats it."""
    loop._breaking = True
    lib.lev_interrupt(loop._l)
    lib.lev_ctrl_c_keep(1)
    if _IS_PYPY:
        _witness.left = time.monotonic()


def let_go() -> None:
    """Forget the Ctrl-C that loops wait to raise: it is being raised."""
    lib.lev_ctrl_c_keep(0)
    for loop in _stack:
        lib.lev_withdraw_interrupt(loop._l)


class _Witness:
    """
    Tells on PyPy whether a C function is running, of which the frame that calls it tells only the place.

    The same place is seen just before the call.  But signals are looked for once before each instruction, so
    what is seen there again after a while has begun; unless this process waited for a processor all the
    while, which is why it has to be seen twice more.
    """

    __slots__ = ("left", "place", "times")

    PAUSE = 0.01  # seconds without a signal: those that come at once are looked for at once
    TIMES = 2

    def __init__(self) -> None:
        self.place: tuple[int, int] = (0, 0)
        self.times = 0
        #: When the guard last kept one.
        self.left = 0.0

    def blocks(self, frame: FrameType) -> bool:
        """Has *frame* been where it is for long enough?"""
        place = (id(frame), frame.f_lasti)
        is_first = not any(lib.lev_loop_state(each._l) & lib.LEV_WAS_INTERRUPTED for each in _stack)
        if is_first or place != self.place:
            self.place = place
            self.times = 0
        elif time.monotonic() - self.left > self.PAUSE:
            self.times += 1
        return self.times >= self.TIMES


_witness = _Witness()


def _is_in_call(frame: Optional[FrameType]) -> bool:
    """Tell whether *frame* is ours and a C function of the user's runs in it, or has just ended."""
    caller = _without_partials(frame)
    if caller is None or caller.f_lasti not in DELIVERING.get(caller.f_code, ()):
        return False
    failed = sys.exc_info()[2]
    if failed is not None and failed.tb_frame is caller:  # it is catching what was raised; 3.9 says it calls
        return False
    return not _IS_PYPY or (frame is not None and _witness.blocks(frame))


def _is_users(frame: Optional[FrameType]) -> bool:
    """Tell whether *frame* is the user's code, and has begun."""
    frame = _without_partials(frame)
    if frame is None or _is_ours(frame):
        return False
    caller = _without_partials(frame.f_back)
    if caller is not None and caller.f_code in DELIVERING and frame.f_lasti in _entries(frame.f_code):
        return False
    while caller is not None and not _is_ours(caller):
        caller = caller.f_back
    # Called by ours on its own behalf, it is as good as ours.
    return caller is None or caller.f_code in DELIVERING


def _is_ours(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(_PACKAGE)


#: On PyPy functools.partial is a Python class: as the callback it is as good as our code that calls it.
_partial: Optional[CodeType] = getattr(functools.partial.__call__, "__code__", None)


def _without_partials(frame: Optional[FrameType]) -> Optional[FrameType]:
    while _partial is not None and frame is not None and frame.f_code is _partial:
        frame = frame.f_back
    return frame


@functools.lru_cache(maxsize=256)
def _entries(code: CodeType) -> frozenset[int]:
    """Return the values of f_lasti with which *code* has just been called, or resumed after a yield."""
    instructions = list(dis.get_instructions(code))
    if _HAS_RESUME:
        return frozenset(each.offset for each in instructions if each.opname == "RESUME")
    yields = [index for index, each in enumerate(instructions) if each.opname == "YIELD_VALUE"]
    if sys.implementation.name != "pypy":  # f_lasti is the last instruction that was run
        return frozenset([-1, *(instructions[index].offset for index in yields)])
    # On PyPy it is the next; a loop that begins the function comes to it again and again.
    first = [each.offset for each in instructions[:1] if not each.is_jump_target]
    return frozenset([-1, *first, *(instructions[index + 1].offset for index in yields)])


def _after_fork() -> None:
    global _main_thread
    if get_ident() != _main_thread:  # the thread that ran these is not here
        _stack.clear()
        _lent.clear()
    _main_thread = get_ident()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
