"""
What is global in libevent, set up once, in the only order that works.

The allocator comes before libevent's first allocation, the log and fatal callbacks before its first message,
lock debugging before the first lock is used, threads before the first base, and debug mode before the first
event.  Two of these cannot be changed later and end the process when they are tried too late
(event.c:event_enable_debug_mode, evthread.c:evthread_set_lock_callbacks), so the module keeps track itself.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import os
import warnings
from typing import Any

from . import logs
from ._libevent import ffi, lib

__all__ = ["setup", "start_debug_mode", "start_lock_debugging"]

_DEBUG_WORDS = frozenset({"mode", "locks", "logging"})


def setup(debug: frozenset[str] = frozenset()) -> None:
    """
    Prepare libevent for use; called once, when the package is imported.

    *debug* holds any of "mode", "locks" and "logging", the words of LIBEVENT_CFFI_DEBUG.  ImportError when
    this is a sub-interpreter, or when the libevent loaded is of another series than the one the module was
    built for.
    """
    _check_interpreter()
    _check_version()
    if not lib.lev_started:  # a second import in the same process finds everything done
        _install(debug)


def _install(debug: frozenset[str]) -> None:
    lib.lev_memory_install()
    logs.install()
    _lend_traceback()
    if "locks" in debug:
        start_lock_debugging()
    _start_threads()
    if "mode" in debug:
        start_debug_mode()
    if "logging" in debug:
        lib.lev_log_set_debug(1)
    for word in sorted(debug - _DEBUG_WORDS):
        _warn(f"LIBEVENT_CFFI_DEBUG: {word!r} is none of {', '.join(sorted(_DEBUG_WORDS))}")
    lib.lev_started = 1


def start_debug_mode() -> None:
    """Turn libevent's debug mode on; RuntimeError when it is on, or when something was made already."""
    _check_early("debug mode", lib.lev_debug_mode_on)
    lib.event_enable_debug_mode()
    lib.lev_debug_mode_on = 1


def start_lock_debugging() -> None:
    """Turn libevent's lock debugging on; RuntimeError when it is on, or when something was made already."""
    _check_early("lock debugging", lib.lev_lock_debugging_on)
    lib.evthread_enable_lock_debugging()
    lib.lev_lock_debugging_on = 1


def _check_early(what: str, is_on: int) -> None:
    # libevent calls exit(1) for the same mistakes (event.c:event_enable_debug_mode).
    if is_on:
        raise RuntimeError(f"{what} is on already")
    if lib.lev_used:
        raise RuntimeError(
            f"{what} must be turned on before the first object is made; or set LIBEVENT_CFFI_DEBUG"
        )


def _check_interpreter() -> None:
    if not _in_main_interpreter():
        raise ImportError(
            "libevent_cffi works in the main interpreter only: its callbacks from C always land there"
        )


def _in_main_interpreter() -> bool:
    try:
        import _thread

        return bool(_thread._is_main_interpreter())  # type: ignore[attr-defined]
    except AttributeError:  # CPython before 3.12, and PyPy, which has no others
        pass
    try:
        import _xxsubinterpreters as interpreters  # type: ignore[import-not-found]
    except ImportError:
        return True
    return bool(interpreters.get_current() == interpreters.get_main())


def _check_version() -> None:
    """The first two numbers of a version are its series; within one, programs need not be built anew."""
    built, loaded = lib.LIBEVENT_VERSION_NUMBER, lib.event_get_version_number()
    if built >> 16 != loaded >> 16:
        built_text, loaded_text = _text(lib.LIBEVENT_VERSION), _text(lib.event_get_version())
        raise ImportError(
            f"libevent_cffi was built for libevent {built_text}, but {loaded_text} is loaded:"
            " build it again against that one"
        )


def _text(string: Any) -> str:
    text: str = ffi.string(string).decode("ascii", "replace")
    return text


def _start_threads() -> None:
    wanted = os.environ.get("LIBEVENT_CFFI_THREADS", "")
    if wanted not in ("", "prio_inherit"):
        _warn(f"LIBEVENT_CFFI_THREADS: {wanted!r} is not 'prio_inherit'")
    if wanted == "prio_inherit" and hasattr(lib, "evthread_use_pthreads_with_flags"):
        result = lib.evthread_use_pthreads_with_flags(lib.EVTHREAD_PTHREAD_PRIO_INHERIT)
    elif hasattr(lib, "evthread_use_pthreads"):
        if wanted == "prio_inherit":
            _warn("LIBEVENT_CFFI_THREADS=prio_inherit needs libevent 2.2 and has no effect")
        result = lib.evthread_use_pthreads()
    elif hasattr(lib, "evthread_use_windows_threads"):
        result = lib.evthread_use_windows_threads()
    else:
        return
    if result != 0:
        raise ImportError("libevent refused to turn its thread support on")
    lib.lev_threads_on = 1


def _lend_traceback() -> None:
    """
    Give C the means to write Python's stack when libevent gives up.

    faulthandler installs a C handler for a signal that nobody uses; C takes its address and gives the signal
    back.
    """
    register = getattr(faulthandler, "register", None)
    number = lib.lev_fatal_pick()
    if register is None or not number:
        return
    with contextlib.suppress(OSError, RuntimeError, ValueError):  # without it, only the stack is missing
        register(number, file=2, all_threads=True, chain=False)
    lib.lev_fatal_capture(number)
    atexit.register(lib.lev_fatal_forget)


def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=2)
