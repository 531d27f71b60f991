"""
Before and after the loop waits: event2/watch.h, and the same on 2.1.

On libevent 2.2 these are its own watchers.  On 2.1 each wait is a loop of its own, with the prepare watchers
before it; the check watchers run before the first callback after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional

from ._native._libevent import lib
from ._native.resources import Resource
from ._native.running import Loop, refuse

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import TypeVarTuple, Unpack

    from .event import EventBase

    _Ts = TypeVarTuple("_Ts")

__all__ = ["CheckWatcher", "PrepareWatcher"]


class _Watcher(Resource):
    __slots__ = ("_args", "_base", "_callback")

    _base: Loop
    _kind: int
    _callback: Optional[Callable[..., object]]
    _args: tuple[Any, ...]

    def __init__(self, base: EventBase, callback: Callable[..., object], *args: Any) -> None:
        if not isinstance(base, Loop):
            raise TypeError(f"base must be an EventBase, not {type(base).__name__}")
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r}")
        if hasattr(self, "_callback"):
            raise RuntimeError(f"{self!r} was made already: make another {type(self).__name__}")
        self._base = base
        self._args = args
        self._callback = None
        # Before C is asked, as the loop of a thread that begins meanwhile has C forget a kind that has none.
        watchers = self._list()
        watchers[id(self)] = self
        result = lib.lev_watch(base._l, self._kind)
        if result < 0:
            watchers.pop(id(self), None)
            refuse(base, result, "evwatch_prepare_new")
        self._callback = callback

    def _list(self) -> dict[int, Any]:
        """Return what its base has of its kind."""
        raise NotImplementedError

    @property
    def closed(self) -> bool:
        """Is it closed, or its base?"""
        return self._callback is None or self._base.closed

    def _close(self) -> None:
        if self._callback is None:
            return
        if not self._base.closed:
            result = lib.lev_watch(self._base._l, 0)
            if result < 0:
                refuse(self._base, result, "evwatch_free")
        self._callback = None
        self._args = ()
        self._list().pop(id(self), None)

    @property
    def base(self) -> EventBase:
        """Its base.  Wraps: evwatch_base() <event2/watch.h>; libevent >= 2.2, ours before."""
        return self._base  # type: ignore[return-value]


class PrepareWatcher(_Watcher):
    """
    Calls ``callback(watcher, timeout, *args)`` before each wait, on the thread that dispatches.

    *timeout* is how many seconds the wait would be at most; None: without end.  (Before 2.2 it takes a look
    at every pending event.)  What the callback adds, activates or stops is taken into account before waiting.
    It lives without a reference until it is closed, and does not keep dispatch() running.

    Raises TypeError, ClosedError, WrongThreadError.

    Wraps: evwatch_prepare_new() evwatch_free() evwatch_prepare_get_timeout() <event2/watch.h>; libevent >=
    2.2, and the same effect before.
    """

    __slots__ = ()

    _kind: int = lib.LEV_WATCH_PREPARE

    def __init__(
        self,
        base: EventBase,
        callback: Callable[[PrepareWatcher, Optional[float], Unpack[_Ts]], object],
        *args: Unpack[_Ts],
    ) -> None:
        super().__init__(base, callback, *args)

    def _list(self) -> dict[int, Any]:
        return self._base._preparing

    def close(self) -> None:
        """
        End it.  Raises WrongThreadError.

        Wraps: evwatch_free() <event2/watch.h>; libevent >= 2.2, ours before.
        """
        self._close()


class CheckWatcher(_Watcher):
    """
    Calls ``callback(watcher, *args)`` after each wait, before the callbacks of what happened, on the thread
    that dispatches.

    It lives without a reference until it is closed, and does not keep dispatch() running.

    Raises TypeError, ClosedError, WrongThreadError.

    Wraps: evwatch_check_new() evwatch_free() <event2/watch.h>; libevent >= 2.2, and the same effect before.
    """

    __slots__ = ()

    _kind: int = lib.LEV_WATCH_CHECK

    def __init__(
        self,
        base: EventBase,
        callback: Callable[[CheckWatcher, Unpack[_Ts]], object],
        *args: Unpack[_Ts],
    ) -> None:
        super().__init__(base, callback, *args)

    def _list(self) -> dict[int, Any]:
        return self._base._checking

    def close(self) -> None:
        """
        End it.  Raises WrongThreadError.

        Wraps: evwatch_free() <event2/watch.h>; libevent >= 2.2, ours before.
        """
        self._close()
