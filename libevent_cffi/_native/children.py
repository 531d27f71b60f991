"""
What a base has beside its events: objects that stand for something in C, and what keeps them alive.

The C side is a child of its base (csrc/children.h), in memory that the handle made by ``new()`` owns.  One
that is *armed*, because something of it can still happen by itself, stands in its base's table ``_children``;
one that is not is its user's alone.  When that user drops it the handle goes, and the base ends the C side:
so no class needs a finalizer, and a base that is dropped with everything on it is freed by one collection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import ClosedError
from . import callbacks_stream as _callbacks_stream  # noqa: F401 - C calls what is there
from ._libevent import ffi, lib
from .resources import Resource
from .running import Loop, refuse

if TYPE_CHECKING:
    from ..event import EventBase

__all__ = ["Child", "has_begun", "new"]

#: new("struct lev_listener *") is the handle of a child that has not begun; no interrupt can lose it.
new = ffi.new_allocator(lib.lev_child_alloc, lib.lev_child_drop, should_clear_after_alloc=False)


def has_begun(handle: Any) -> bool:
    """Tell whether C has taken up what *handle* is for."""
    return bool(lib.lev_child_is_open(handle))


class Child(Resource):
    """An object with a C side that is a child of its base."""

    __slots__ = ("_base", "_c", "_child", "_token")

    def _check_new(self) -> None:
        """RuntimeError for a second __init__(), which would pull what C has from under threads."""
        if hasattr(self, "_token"):
            raise RuntimeError(f"{self!r} was made already: make another {type(self).__name__}")

    def _begin(self, base: Loop, handle: Any) -> None:
        """Stand for *handle*, which a call into C has begun."""
        self._base = base
        self._c = handle
        self._child = handle
        self._token = lib.lev_child_token(self._child)
        self._hold()

    @property
    def base(self) -> EventBase:
        """The base that it is on."""
        return self._base  # type: ignore[return-value]

    @property
    def closed(self) -> bool:
        """Is it closed, or its base?"""
        return not lib.lev_child_is_open(self._child)

    def close(self) -> None:
        """
        End it now; any number of times, from inside any callback too.

        Raises WrongThreadError, and closes nothing then.
        """
        result = lib.lev_child_close(self._child)
        if result < 0:
            self._refuse(result, "close")
        self._base._children.pop(self._token, None)

    def _not_delivered(self) -> None:
        """Let go of what was made for a callback that has not begun: C tells it anew."""

    def _hold(self) -> None:
        """Have the base keep it alive while it is armed."""
        armed = lib.lev_child_hold(self._child)
        if armed > 0:
            self._base._children[self._token] = self
        elif armed == 0:
            self._base._children.pop(self._token, None)

    def _checked(self, result: int, call: str) -> int:
        """Return *result* of C function *call*; raise what it means when it is negative."""
        if result < 0:
            self._refuse(result, call)
        return result

    def _refuse(self, code: int, call: str) -> NoReturn:
        if code == lib.LEV_CLOSED and not self._base.closed:
            raise ClosedError(f"{self!r}: it was closed, by you or with its owner")
        refuse(self._base, code, call)
