"""
Thread support, on from import: event2/thread.h.

Importing the package makes libevent's own locks work, before anything can be made that would lack one.  Which
object may be used from which thread is told in EventBase: in short, only call_soon_threadsafe, loop_exit,
loop_break and introspection from others than the dispatching one.
"""

from __future__ import annotations

from ._native import startup
from ._native._libevent import lib

__all__ = ["enable_lock_debugging", "enabled", "make_notifiable"]


def enabled() -> bool:
    """
    Tell whether libevent's locks are on.

    They are from import on; False only where libevent was built without thread support.  The environment
    variable LIBEVENT_CFFI_THREADS=prio_inherit, read once at import, makes them priority-inheriting (libevent
    2.2).

    Wraps: evthread_use_pthreads() evthread_use_pthreads_with_flags() evthread_use_windows_threads()
    <event2/thread.h>; libevent >= 2.0.
    """
    return bool(lib.lev_threads_on)


def enable_lock_debugging() -> None:
    """
    Check every use of a lock from now on: a wrong one ends the process with a message.

    For tests.  It must come before the first object is made; the environment variable
    LIBEVENT_CFFI_DEBUG=locks turns it on at import.

    Raises RuntimeError when an object was made already, or when it is on already.

    Wraps: evthread_enable_lock_debugging() <event2/thread.h>; libevent >= 2.0.
    """
    startup.start_lock_debugging()


def make_notifiable(base: object) -> None:
    """
    Let other threads wake *base* up: true of every EventBase from its creation, so there is nothing left to
    do.

    Kept for its C name.

    Raises TypeError when *base* is no EventBase, and ClosedError when it is closed.

    Wraps: evthread_make_base_notifiable() <event2/thread.h>; libevent >= 2.0.
    """
    from .errors import ClosedError
    from .event import EventBase

    if not isinstance(base, EventBase):
        raise TypeError(f"base must be an EventBase, not {type(base).__name__}")
    if base.closed:
        raise ClosedError(f"{base!r} is closed")
