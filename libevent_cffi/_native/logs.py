"""
libevent's messages, on their way into Python's logging.

C puts each message into a ring (csrc/log.c), from any thread and from inside signal handlers; drain() reads
the ring out into the loggers "libevent" and "libevent.dns".  The loop calls it when ``lib.lev_log_pending``
says that something waits; so does whatever raises an error that came from C, and the end of the program.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Optional

from ._libevent import ffi, lib

__all__ = ["drain", "install", "tell", "traceback_of"]

_LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)  # by EVENT_LOG_*, 0 to 3
_root = logging.getLogger("libevent")
_loggers = {lib.LEV_LOG_LIBEVENT: _root, lib.LEV_LOG_DNS: logging.getLogger("libevent.dns")}
_last_resort = logging.Handler()
_draining: set[int] = set()

#: What error.__traceback__ is, whatever the error's class makes of it.
traceback_of: Callable[[BaseException], Optional[TracebackType]] = BaseException.__dict__[
    "__traceback__"
].__get__


def install() -> None:
    """Let messages in; called once, at start-up."""
    # Else logging's "last resort" would write warnings to stderr in a program that never configured logging.
    _root.addHandler(logging.NullHandler())
    lib.lev_log_install()
    atexit.register(drain)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_after_fork)


def drain() -> None:
    """
    Hand every waiting message to logging, and say how many were lost where the ring was full.

    Never raises what a handler or a filter raises: logging's own way of reporting it is used.  What a handler
    makes libevent say meanwhile waits for the next call.
    """
    me = threading.get_ident()
    if me in _draining:
        return
    try:
        _draining.add(me)
        _drain()
    finally:
        _draining.discard(me)


def _drain() -> None:
    text = ffi.new("char[]", lib.LEV_LOG_TEXT)
    level, source = ffi.new("int *"), ffi.new("int *")
    for _ in range(lib.lev_log_pending):
        length = lib.lev_log_take(text, lib.LEV_LOG_TEXT, level, source)
        if length < 0:
            break
        message = ffi.unpack(text, length).decode("utf-8", "replace")
        _log(_loggers.get(source[0], _root), _LEVELS[level[0] & 3], "%s", message)
    lost = lib.lev_log_take_dropped()
    if lost:
        _log(_root, logging.WARNING, "%d messages of libevent were lost: they came too fast", lost)


def tell(level: int, message: str, *args: Any, error: Optional[BaseException] = None) -> None:
    """
    Log something of our own, with *error* and its traceback.

    It is told where another error is about to be raised, so as drain() it never raises what a handler does.
    """
    _log(_root, level, message, *args, error=error)


def _log(
    logger: logging.Logger, level: int, message: str, *args: Any, error: Optional[BaseException] = None
) -> None:
    if not logger.isEnabledFor(level):
        return
    details = None if error is None else (type(error), error, traceback_of(error))
    record = logger.makeRecord(logger.name, level, "(libevent)", 0, message, args, details)
    try:
        logger.handle(record)
    except Exception:
        with contextlib.suppress(Exception):  # stderr itself is broken: there is nobody left to tell
            _last_resort.handleError(record)


def _after_fork() -> None:
    # The parent tells what waited; and a thread that was writing is not here to finish.
    lib.lev_log_reset()
    _draining.clear()
