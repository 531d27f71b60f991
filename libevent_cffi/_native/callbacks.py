"""
The way back from C: every function that C calls, and the tables by which it finds the user's.

The journey of an event:

1.  ``Event.add()`` asks C for a slot (csrc/slots.c), gets a *token*, and puts the event into its base's table
    ``_armed`` under it.  The table is what keeps a pending event alive; it belongs to the base, so that a
    base that is dropped is garbage with all its events.
2.  ``dispatch()`` takes a *slot* of ``tables`` for the time it runs and puts that table there: the only way
    from a global to an object, and open only while something runs (running.py).
3.  libevent calls the shim in csrc/events.c, which calls the function here that fits the event's form, with
    the token and twice the slot; the lowest bit says that the event is not pending any more.  cffi takes the
    GIL.  (What is called for the loop itself, from csrc/loop.c and watch.c, gets the slot as it is.)
4.  The function here looks the event up and calls the user's.  What it returns is all that C learns:

    ===========  ===========================================================================================
    UNDELIVERED  0, also what cffi returns when something was raised outside of our ``try``: by a signal
                 handler that struck before the user's function began, or for want of stack.  C calls again.
    DONE         The user's function returned.
    GONE         The same, and the event is in no table any more: C frees its slot.
    RAISED       The user's function raised.  C leaves the loop; running.py raises the error from dispatch().
    STALE        Nobody knows the token.  It is counted, and C forgets the event.
    ===========  ===========================================================================================

A signal handler may raise between any two steps of these functions.  So the ``except`` branches call nothing:
what a call would let in would escape.  ``tb_lasti`` tells whether it struck before the call (when a class of
errors hides its traceback, the user's function is taken for begun; what asking for it raises is a failure
too); what escapes all the same is kept by ``held``, whose ``__init__`` is in C and cannot be interrupted.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any, Optional, TypeVar

from ..flags import EVENT_FLAGS
from . import logs
from ._libevent import ffi, lib
from .delivering import DELIVERING, calls_in, delivers

__all__ = [
    "DELIVERING",
    "SOON",
    "Call",
    "calls_in",
    "delivers",
    "give_slot_back",
    "take_held",
    "take_slot",
    "trampoline",
]

_F = TypeVar("_F", bound=Callable[..., Any])

UNDELIVERED: int = lib.LEV_UNDELIVERED
DONE: int = lib.LEV_DONE
GONE: int = lib.LEV_GONE
RAISED: int = lib.LEV_RAISED
STALE: int = lib.LEV_STALE

#: The token of a timer that waits in the queue of call_soon().
SOON: int = lib.LEV_SOON

#: Per slot of a running loop twice its table of events, token to event; and the loop.
tables: list[dict[int, Any]] = []
loops: list[Any] = []
#: TLS contexts by their number; only what uses one keeps it alive.
contexts: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()

_no_table: dict[int, Any] = {}
_free_slots: list[int] = []
_growing = threading.Lock()
_held = BaseException()


class Call:
    """A call in the queue of call_soon() that is no Timer; what it raises comes from its *source*."""

    __slots__ = ("_args", "_callback", "_source", "_token")

    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...], source: object) -> None:
        self._callback = callback
        self._args = args
        self._source = source
        self._token = SOON


def trampoline(function: _F) -> _F:
    """Have C call *function* under its name; what it raises counts as not delivered, and is held."""
    ffi.def_extern(error=UNDELIVERED, onerror=_held.__init__)(function)  # type: ignore[misc]
    return delivers(function)


def take_held(loop: Any) -> Any:
    """Return what was raised in *loop* outside of every ``try`` here, or None, and forget it."""
    kind, error, traceback = _held.args or (None, None, None)
    if _loop_of(traceback) not in (loop, None):  # a loop of another thread's raised it meanwhile
        return None
    _held.args = ()
    if error is None and kind is not None:
        error = kind()
    return error if error is None else error.with_traceback(traceback)


def _loop_of(traceback: Optional[TracebackType]) -> Any:
    """Return the loop for which C called the function that *traceback* begins with, or None."""
    frame = traceback.tb_frame if traceback is not None else None
    slot = frame.f_locals.get("slot") if frame is not None and frame.f_code in DELIVERING else None
    if frame is None or slot is None:
        return None
    return loops[slot >> 1 if frame.f_code in _TOLD_IF_LAST else slot]


def had_begun(loop: Any, error: BaseException, hidden: Exception, calls: frozenset[int]) -> bool:
    """Tell it of an *error* whose class raises *hidden* when asked for the traceback."""
    loop._failed = (hidden, loop, 0, True, loop._failed)
    traceback = logs.traceback_of(error)
    return traceback is None or traceback.tb_lasti in calls


def take_slot(loop: Any, table: dict[int, Any]) -> int:
    """Let C find *table* and *loop*; return where."""
    try:
        slot = _free_slots.pop()
    except IndexError:
        with _growing:
            slot = len(loops)
            tables.extend((_no_table, _no_table))
            loops.append(None)
    loops[slot] = loop
    tables[2 * slot] = tables[2 * slot + 1] = table
    return slot


def give_slot_back(loop: Any) -> None:
    """Close that way again."""
    for slot, user in enumerate(loops):
        if user is loop:
            tables[2 * slot] = tables[2 * slot + 1] = _no_table
            loops[slot] = None
            _free_slots.append(slot)


# -- what C calls --------------------------------------------------------------------------------------------


@trampoline
def lev_py_plain(token: int, slot: int) -> int:
    """A timer, or what a short form of EventBase made, that stays pending: callback(*args)."""
    try:
        event = tables[slot][token]
    except KeyError:
        return STALE
    callback = event._callback
    args = event._args
    try:
        if args:
            if len(args) == 1:  # a star call costs more
                callback(args[0])
            else:
                callback(*args)
        else:
            callback()
    except BaseException as error:
        loop = loops[slot >> 1]
        try:
            delivered = error.__traceback__ is None or error.__traceback__.tb_lasti in _calls_in_plain
        except Exception as hidden:
            delivered = had_begun(loop, error, hidden, _calls_in_plain)
        loop._failed = (error, event, token, delivered, loop._failed)
        return RAISED if delivered else UNDELIVERED
    return DONE


@trampoline
def lev_py_plain_last(token: int, slot: int) -> int:
    """The same of one that is not pending any more."""
    table = tables[slot]
    try:
        event = table[token]
    except KeyError:
        return STALE
    callback = event._callback
    args = event._args
    event._token = 0
    try:
        if args:
            if len(args) == 1:
                callback(args[0])
            else:
                callback(*args)
        else:
            callback()
    except BaseException as error:
        loop = loops[slot >> 1]
        try:
            delivered = error.__traceback__ is None or error.__traceback__.tb_lasti in _calls_in_plain_last
        except Exception as hidden:
            delivered = had_begun(loop, error, hidden, _calls_in_plain_last)
        loop._failed = (error, event, token, delivered, loop._failed)
        return RAISED if delivered else UNDELIVERED
    del table[token]
    return GONE


@trampoline
def lev_py_event(token: int, what: int, slot: int) -> int:
    """An Event that stays pending: callback(fd, what, *args)."""
    try:
        event = tables[slot][token]
    except KeyError:
        return STALE
    callback = event._callback
    args = event._args
    fd = event._fd
    flags = EVENT_FLAGS[what]
    try:
        if args:
            if len(args) == 1:
                callback(fd, flags, args[0])
            else:
                callback(fd, flags, *args)
        else:
            callback(fd, flags)
    except BaseException as error:
        loop = loops[slot >> 1]
        try:
            delivered = error.__traceback__ is None or error.__traceback__.tb_lasti in _calls_in_event
        except Exception as hidden:
            delivered = had_begun(loop, error, hidden, _calls_in_event)
        loop._failed = (error, event, token, delivered, loop._failed)
        return RAISED if delivered else UNDELIVERED
    return DONE


@trampoline
def lev_py_event_last(token: int, what: int, slot: int) -> int:
    """An Event that is not pending any more, which lev_py_event() would have to ask each time."""
    table = tables[slot]
    try:
        event = table[token]
    except KeyError:
        return STALE
    callback = event._callback
    args = event._args
    fd = event._fd
    flags = EVENT_FLAGS[what]
    event._token = 0
    try:
        if args:
            if len(args) == 1:
                callback(fd, flags, args[0])
            else:
                callback(fd, flags, *args)
        else:
            callback(fd, flags)
    except BaseException as error:
        loop = loops[slot >> 1]
        try:
            delivered = error.__traceback__ is None or error.__traceback__.tb_lasti in _calls_in_event_last
        except Exception as hidden:
            delivered = had_begun(loop, error, hidden, _calls_in_event_last)
        loop._failed = (error, event, token, delivered, loop._failed)
        return RAISED if delivered else UNDELIVERED
    del table[token]
    return GONE


@trampoline
def lev_py_signal(token: int, slot: int) -> int:
    """A Signal: callback(signum, *args)."""
    table = tables[slot]
    try:
        event = table[token]
    except KeyError:
        return STALE
    callback = event._callback
    args = event._args
    signum = event._fd
    is_last = slot & 1
    if is_last:
        event._token = 0
    try:
        if args:
            callback(signum, *args)
        else:
            callback(signum)
    except BaseException as error:
        loop = loops[slot >> 1]
        try:
            delivered = error.__traceback__ is None or error.__traceback__.tb_lasti in _calls_in_signal
        except Exception as hidden:
            delivered = had_begun(loop, error, hidden, _calls_in_signal)
        loop._failed = (error, event, token, delivered, loop._failed)
        return RAISED if delivered else UNDELIVERED
    if is_last:
        del table[token]
        return GONE
    return DONE


@trampoline
def lev_py_soon(slot: int) -> int:
    """
    The calls that call_soon() and call_soon_threadsafe() queued before this pass, in order.

    What is queued meanwhile waits for the next pass, or ready descriptors would never be looked at.
    """
    loop = loops[slot]
    loop._soon = False
    queue = loop._queue
    count = len(queue)
    while count > 0 and not loop._breaking:
        count -= 1
        item = queue[0]
        if item._token != SOON:
            del queue[0]
            continue
        callback = item._callback
        args = item._args
        try:
            item._token = 0
            if args:
                if len(args) == 1:
                    callback(args[0])
                else:
                    callback(*args)
            else:
                callback()
        except BaseException as error:
            try:
                delivered = error.__traceback__ is None or error.__traceback__.tb_lasti in _calls_in_soon
            except Exception as hidden:
                delivered = had_begun(loop, error, hidden, _calls_in_soon)
            loop._failed = (error, item, 0, delivered, loop._failed)
            if delivered:
                del queue[0]
                return RAISED
            item._token = SOON
            return UNDELIVERED
        del queue[0]
    if queue and not loop._soon:
        loop._soon = lib.lev_soon(loop._l) == 0  # it is not in a child
    return DONE


@trampoline
def lev_py_wake(python_signals: int, slot: int) -> int:
    """The loop was woken: Python's signal handlers run, and libevent's messages reach the log."""
    loop = loops[slot]
    try:
        loop._woken(python_signals)
    except BaseException as error:
        loop._failed = (error, loop, 0, True, loop._failed)
        return RAISED
    return DONE


@trampoline
def lev_py_prepare(timeout: float, slot: int) -> int:
    """The loop is about to wait, at most *timeout* seconds or, below 0, without end."""
    loop = loops[slot]
    left = None if timeout < 0 else timeout
    watchers = (*loop._preparing.values(),)
    if not watchers:
        lib.lev_unwatch(loop._l, lib.LEV_WATCH_PREPARE)
    for watcher in watchers:
        callback = watcher._callback
        args = watcher._args
        if callback is None or loop._breaking:
            continue
        try:
            callback(watcher, left, *args)
        except BaseException as error:
            loop._failed = (error, watcher, 0, True, loop._failed)
            return RAISED
    return DONE


@trampoline
def lev_py_check(slot: int) -> int:
    """The loop has waited, and no event of this wait has been told yet."""
    loop = loops[slot]
    watchers = (*loop._checking.values(),)
    if not watchers:
        lib.lev_unwatch(loop._l, lib.LEV_WATCH_CHECK)
    for watcher in watchers:
        callback = watcher._callback
        args = watcher._args
        if callback is None or loop._breaking:
            continue
        try:
            callback(watcher, *args)
        except BaseException as error:
            loop._failed = (error, watcher, 0, True, loop._failed)
            return RAISED
    return DONE


@trampoline
def lev_py_let_go(token: int, slot: int) -> int:
    """A child waits for nothing any more: it is its user's alone."""
    loop = loops[slot]
    child = loop._children.get(token)
    if child is not None:
        loop._known[token] = child
        loop._children.pop(token, None)
    return DONE


#: These get twice the slot, and whether the event is not pending any more.
_TOLD_IF_LAST = (
    lev_py_plain.__code__,
    lev_py_plain_last.__code__,
    lev_py_event.__code__,
    lev_py_event_last.__code__,
    lev_py_signal.__code__,
)

_calls_in_plain = calls_in(lev_py_plain)
_calls_in_plain_last = calls_in(lev_py_plain_last)
_calls_in_event = calls_in(lev_py_event)
_calls_in_event_last = calls_in(lev_py_event_last)
_calls_in_signal = calls_in(lev_py_signal)
_calls_in_soon = calls_in(lev_py_soon)
