"""Something that finishes later, exactly once."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Optional, TypeVar

from .._native import logs
from ..errors import CancelledError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .base import EventBase

__all__ = ["Operation"]

_T_co = TypeVar("_T_co", covariant=True)


class _Unasked:
    """Logs a failure when it goes and nobody had asked; it refers to nothing that could refer to it."""

    __slots__ = ("error", "name")

    def __init__(self, name: str, error: Exception) -> None:
        self.name = name
        self.error: Optional[Exception] = error

    def __del__(self) -> None:
        if self.error is not None:
            text = "%s failed, and nobody asked for its result"
            logs.tell(logging.ERROR, text, self.name, error=self.error)


class Operation(Generic[_T_co]):
    """
    Something that finishes later, exactly once: with a result, a failure, or CancelledError.

    The library makes them.  It is held by its base until it has finished; its callback, if one was given,
    then gets ``callback(operation, *args)`` in a later pass of the loop, on the thread that dispatches.  A
    failure that had no callback and was never asked for is logged.
    """

    __slots__ = ("__weakref__", "_args", "_base", "_callback", "_done", "_error", "_unasked", "_value")

    _base: EventBase
    _callback: Optional[Callable[..., object]]
    _args: tuple[Any, ...]
    _done: bool
    _error: Optional[Exception]
    _unasked: Optional[_Unasked]
    _value: Any

    def __init__(self) -> None:
        raise TypeError(f"{type(self).__name__} is made by the library only")

    @classmethod
    def _start(
        cls, base: EventBase, callback: Optional[Callable[..., object]], args: tuple[Any, ...]
    ) -> Operation[_T_co]:
        if callback is not None and not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r}")
        if callback is None and args:
            raise TypeError("args without a callback")
        operation = cls.__new__(cls)
        operation._base, operation._callback, operation._args = base, callback, args
        operation._done, operation._error, operation._value = False, None, None
        operation._unasked = None
        base._operations.add(operation)
        return operation

    def _finish(self, value: Any = None, error: Optional[Exception] = None) -> bool:
        """Finish it; False when it was done already."""
        if self._done:
            return False
        base = self._base
        call = None if self._callback is None else base._owe(self._callback, (self, *self._args))
        # On CPython, from 3.11 on, no signal handler strikes from here until append() has ended: they run at
        # the end of calls.
        self._done, self._value, self._error = True, value, error
        self._callback, self._args = None, ()
        if call is not None:
            base._queue.append(call)
        base._operations.discard(self)
        if call is not None:
            base._announce(call)
        elif error is not None and not isinstance(error, CancelledError):
            self._unasked = _Unasked(type(self).__name__, error)
        return True

    def _ask(self) -> None:
        if self._unasked is not None:
            self._unasked.error = None

    def _abandon(self) -> None:
        """What _finish() cannot know: stop what runs in C.  Called once, before CancelledError is told."""

    @property
    def base(self) -> EventBase:
        """The base on which it runs."""
        return self._base

    @property
    def done(self) -> bool:
        """Has it finished, in whatever way?"""
        return self._done

    @property
    def cancelled(self) -> bool:
        """Did it finish with CancelledError?"""
        return isinstance(self._error, CancelledError)

    @property
    def error(self) -> Optional[Exception]:
        """Why it failed; None while it runs and when it succeeded."""
        self._ask()
        return self._error

    def result(self) -> _T_co:
        """
        Return what it gave.

        Raises its error if it failed, CancelledError if it was cancelled, RuntimeError if it is not done.
        """
        self._ask()
        if not self._done:
            raise RuntimeError(f"{self!r} is not done: wait() for it, or give it a callback")
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[no-any-return]

    def wait(self, timeout: Optional[float] = None) -> _T_co:
        """
        Dispatch until it is done, and return its result.

        The same as EventBase.wait(), with what that raises.
        """
        return self._base.wait(self, timeout)

    def cancel(self) -> bool:
        """
        Finish it with CancelledError; its callback runs in a later pass.

        Returns False when it was done already.
        """
        if self._done:
            return False
        self._abandon()
        return self._finish(error=CancelledError(f"{type(self).__name__} was cancelled"))

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} cannot be pickled or copied")

    def __repr__(self) -> str:
        state = "running"
        if self._done:
            state = "done" if self._error is None else f"failed {self._error!r}"
        return f"<{type(self).__name__} {'cancelled' if self.cancelled else state}>"
