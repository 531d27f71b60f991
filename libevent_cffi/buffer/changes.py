"""What is told of changes of a buffer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Optional

from .._native.resources import Resource

if TYPE_CHECKING:
    from collections.abc import Callable

    from .handle import Handle

__all__ = ["BufferChange", "ChangeCallback"]


class BufferChange(NamedTuple):
    """
    What has changed: how many bytes there were, how many were added, and how many taken.

    Wraps: struct evbuffer_cb_info <event2/buffer.h>; libevent >= 2.0.
    """

    original_size: int
    added: int
    deleted: int


class ChangeCallback(Resource):
    """
    One callback that Buffer.on_change() registered; it lives as long as its buffer, and need not be kept.

    Wraps: evbuffer_remove_cb() evbuffer_remove_cb_entry() <event2/buffer.h>; libevent >= 2.0.
    """

    __slots__ = ("_args", "_buffer", "_callback", "_enabled")

    _buffer: Handle
    _callback: Optional[Callable[..., object]]

    def __init__(self) -> None:
        raise TypeError("Buffer.on_change() makes these")

    @classmethod
    def _make(cls, buffer: Handle, callback: Callable[..., object], args: tuple[Any, ...]) -> ChangeCallback:
        made = cls.__new__(cls)
        made._buffer = buffer
        made._callback = callback
        made._args = args
        made._enabled = True
        return made

    @property
    def enabled(self) -> bool:
        """
        Is it told of changes?  Settable, from any thread.  What changes while it is not is never told.

        Wraps: evbuffer_cb_set_flags() evbuffer_cb_clear_flags() <event2/buffer.h>; libevent >= 2.0.
        """
        return self._enabled

    @enabled.setter
    def enabled(self, value: bool) -> None:
        self._enabled = bool(value)

    @property
    def closed(self) -> bool:
        """Is it closed, or its buffer?"""
        return self._callback is None or self._buffer.closed

    def close(self) -> None:
        """
        Remove it; from inside any callback too.  Raises WrongThreadError.

        Wraps: evbuffer_remove_cb_entry() <event2/buffer.h>; libevent >= 2.0.
        """
        if self._callback is None:
            return
        self._callback = None
        self._args = ()
        self._buffer._remove_change(self)
