"""The part of Buffer that stands for the evbuffer: whose it is, who may use it, and who hears of changes."""

from __future__ import annotations

import contextlib
import itertools
import logging
from _thread import get_ident
from typing import TYPE_CHECKING, Any, NoReturn, Optional

from .._native import callbacks_stream as _callbacks_stream  # noqa: F401 - C calls what is there
from .._native import check, lent
from .._native._libevent import ffi, lib
from .._native.callbacks import delivers
from .._native.resources import Resource
from .._native.running import Loop, refuse
from ..errors import ClosedError
from .changes import BufferChange, ChangeCallback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typing_extensions import Self

    from ..event import EventBase

__all__ = ["Handle"]

_log = logging.getLogger("libevent")

_BUSY: int = lib.LEV_BUSY
_NO_FAILURE: int = lib.LEV_NOT_FOUND
_FRONT: int = lib.LEV_FRONT
_END: int = lib.LEV_END

_tokens = itertools.count(1)

_WHY = {
    lib.LEV_FROZEN: (
        BufferError,
        "that end of the buffer is frozen: by freeze(), or because it is its owner's (nothing can be added to"
        " the input of a bufferevent, nor taken from its output)",
    ),
    lib.LEV_NO_MEMORY: (MemoryError, "there is no memory for it"),
    lib.LEV_HOLDS_FILE: (
        BufferError,
        "the buffer holds a file that is to be sent by sendfile(), and no byte of it is in memory: add it"
        " with sendfile=False to look at it, to move or write a part of it, or to move it elsewhere",
    ),
    lib.LEV_SAME: (ValueError, "both are the same buffer"),
    lib.LEV_CUT_SHORT: (EOFError, "the file has become shorter since it was added"),
}


class Handle(Resource):
    """The evbuffer of a Buffer, its own or borrowed."""

    __slots__ = (
        "_b",
        "_base",
        "_callbacks",
        "_deferred",
        "_garbage",
        "_kind",
        "_owner",
        "_scheduled",
        "_telling",
        "_token",
    )

    _b: Any
    #: What frees what C holds; of a part, the handle of its owner.
    _garbage: Any
    _kind: str
    #: Whose thread may use it; None: it is locked at each call.
    _base: Optional[Loop]
    #: Whom it is a part of, kept alive.
    _owner: object
    #: A tuple that is replaced and never changed.
    _callbacks: tuple[ChangeCallback, ...]
    #: Where its changes are told, when not at once.
    _deferred: Optional[EventBase]
    #: The threads that tell of changes now.
    _telling: set[int]

    def _start(self, pointer: Any, kind: int, base: Optional[Loop] = None, owner: object = None) -> None:
        """Stand for the evbuffer *pointer*, or for a new one where that is NULL."""
        if lib.lev_shut_down:
            raise ClosedError("libevent was shut down by util.global_shutdown()")
        memory = ffi.new("struct lev_buffer *")
        # As with a base: it frees what C holds, and the memory goes when nothing refers to it.
        self._garbage = ffi.gc(memory, lib.lev_buffer_drop)
        self._set(memory, "own" if kind & lib.LEV_OWN else "borrowed", base, owner)
        c_base = ffi.NULL if base is None else base._l
        if lib.lev_buffer_open(memory, pointer, c_base, kind, self._token) != 0:
            raise MemoryError("evbuffer_new")

    def _set(self, memory: Any, kind: str, base: Optional[Loop], owner: object) -> None:
        self._b = memory
        self._kind = kind
        self._scheduled = False
        self._base = base
        self._owner = owner
        self._callbacks = ()
        self._deferred = None
        self._telling = set()
        self._token = next(_tokens)

    @classmethod
    def _adopt(cls, pointer: Any) -> Self:
        """Stand for a ``struct evbuffer *`` that is freed with the buffer."""
        self = cls.__new__(cls)
        self._start(_checked_pointer(pointer), lib.LEV_OWN)
        return self

    @classmethod
    def _borrow(
        cls, pointer: Any, base: Optional[Loop] = None, owner: object = None, *, sends_files: bool = False
    ) -> Self:
        """
        Stand for a ``struct evbuffer *`` that *owner* frees, who calls _invalidate() before it does.

        With a *base* its rules say which thread may use it; without, only one at a time does.
        """
        self = cls.__new__(cls)
        self._start(_checked_pointer(pointer), lib.LEV_SENDS_FILES if sends_files else 0, base, owner)
        return self

    @classmethod
    def _part(cls, memory: Any, handle: Any, base: Loop, owner: object) -> Self:
        """
        Use the ``struct lev_buffer *`` *memory*, a part of what *handle* keeps: the C side of *owner*.

        The owner's C has begun it by lev_buffer_open(), and calls lev_buffer_detach() before the evbuffer
        goes.  The owner keeps this one, to return the same each time, and calls _changed() where its own
        methods have changed it.
        """
        self = cls.__new__(cls)
        self._garbage = handle
        self._set(memory, "part", base, owner)
        lib.lev_buffer_name(memory, self._token)
        return self

    def _invalidate(self) -> None:
        """The owner frees the evbuffer: from now on this one is closed."""
        lib.lev_buffer_detach(self._b)
        self._let_go()

    def _surrender(self) -> Any:
        """Return the ``struct evbuffer *``, which is the caller's to free; TypeError for a borrowed one."""
        pointer = ffi.new("struct evbuffer **")
        result = self._again(lib.lev_buffer_surrender(self._b, pointer), lib.lev_buffer_surrender, pointer)
        if result:
            raise TypeError(f"{self!r} belongs to something else, which frees it")
        self._let_go()
        return pointer[0]

    def _let_go(self) -> None:
        if self._base is not None:
            self._base._watched.pop(self._token, None)
        self._callbacks = ()
        self._owner = None

    @property
    def closed(self) -> bool:
        """Is it closed, or has its owner gone?"""
        return not lib.lev_buffer_pointer(self._b)

    def close(self) -> None:
        """
        Free it, with all that is in it.

        Raises ValueError for one that is borrowed, which its owner closes; and what an on_release() raised.

        Wraps: evbuffer_free() <event2/buffer.h>; libevent >= 1.4.
        """
        if self.closed:
            return
        if self._kind != "own":
            raise ValueError(f"{self!r} is closed with what it belongs to")
        result = lib.lev_buffer_close(self._b)
        while result == _BUSY:
            result = lib.lev_buffer_close(self._b)
        if result < 0 and result != lib.LEV_CLOSED:
            self._refuse(result, "evbuffer_free")
        self._let_go()
        if lent.LENT:
            lent.collect()

    # -- answers of C ----------------------------------------------------------------------------------------

    def _again(self, result: int, function: Callable[..., int], *args: Any) -> int:
        """
        Return *result* of *function*, tried again for as long as another thread is inside.

        Signal handlers run in between.  Raises what a failure means; what is none is returned.
        """
        while result == _BUSY:
            result = function(self._b, *args)
        if 0 > result > _NO_FAILURE:
            self._refuse(result, function.__name__)
        return result

    def _refuse(self, result: int, call: str) -> NoReturn:
        why = _WHY.get(result)
        if why is not None:
            kind, text = why
            raise kind(text)
        if self._base is not None and not (result == lib.LEV_CLOSED and not self._base.closed):
            refuse(self._base, result, call)
        if result == lib.LEV_CLOSED:
            by = "by you" if self._kind == "own" else "with the connection or request that it belongs to"
            raise ClosedError(f"{self!r}: it was closed {by}")
        if result == lib.LEV_FORKED:
            raise ClosedError("another thread was in this buffer when the process was forked: make a new one")
        raise check.socket_error(call)

    # -- changes ---------------------------------------------------------------------------------------------

    def _add_change(self, callback: Callable[..., object], args: tuple[Any, ...]) -> ChangeCallback:
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r}")
        if self._kind == "borrowed":
            raise ValueError(f"{self!r} was borrowed from C: nobody tells of what its owner changes")
        made = ChangeCallback._make(self, callback, args)
        with self.lock():
            self._again(lib.lev_buffer_watch(self._b, 1), lib.lev_buffer_watch, 1)
            self._callbacks = (*self._callbacks, made)
        if self._base is not None:
            self._base._watched[self._token] = self
        return made

    def _remove_change(self, callback: ChangeCallback) -> None:
        with contextlib.suppress(ClosedError), self.lock():
            self._callbacks = tuple(each for each in self._callbacks if each is not callback)
            if not self._callbacks:
                self._again(lib.lev_buffer_watch(self._b, 0), lib.lev_buffer_watch, 0)
        if not self._callbacks and self._base is not None:
            self._base._watched.pop(self._token, None)

    def _after(self, *others: Handle) -> Optional[BaseException]:
        """Tell of what this call has changed, here and in *others*; return what one of the told raised."""
        failures: list[BaseException] = []
        for each in (self, *others):
            if each._callbacks:
                try:
                    each._tell_or_defer()
                except BaseException as error:
                    failures.append(error)
        if lent.LENT:
            try:
                lent.collect()
            except BaseException as error:
                failures.append(error)
        for another in failures[1:]:
            _log.error("another callback failed: %r", self, exc_info=another)
        return failures[0] if failures else None

    def _changed(self, *others: Handle) -> None:
        """The same, and raise it."""
        failure = self._after(*others)
        if failure is not None:
            try:
                raise failure
            finally:
                del failure

    def _tell_or_defer(self) -> None:
        if self._deferred is None:
            self._tell()
        elif not self._scheduled:
            self._scheduled = True
            try:
                self._deferred.call_soon_threadsafe(self._tell_deferred)
            except BaseException as error:
                self._scheduled = False
                if not isinstance(error, ClosedError):  # which says that there is no loop to tell it in
                    raise

    def _tell_deferred(self) -> None:
        self._scheduled = False
        if not self.closed:
            self._tell()

    def _tell(self) -> None:
        """
        Call the change callbacks, until nothing has changed any more; what they change is told together.

        Raises what the first one raised that did; others are logged.
        """
        me = get_ident()
        if me in self._telling:
            return
        failures: list[BaseException] = []
        try:
            self._telling.add(me)
            while self._callbacks and not self.closed:
                info = ffi.new("struct evbuffer_cb_info *")
                if not self._again(lib.lev_buffer_changes(self._b, info), lib.lev_buffer_changes, info):
                    break
                self._tell_all(BufferChange(info.orig_size, info.n_added, info.n_deleted), failures)
        finally:
            self._telling.discard(me)
        for error in failures[1:]:
            _log.error("another change callback failed: %r", self, exc_info=error)
        if failures:
            raise failures[0]

    def _tell_all(self, change: BufferChange, failures: list[BaseException]) -> None:
        for each in self._callbacks:
            callback = each._callback
            if callback is not None and each._enabled and not self.closed:
                self._call(callback, change, each._args, failures)

    @delivers
    def _call(
        self,
        callback: Callable[..., object],
        change: BufferChange,
        args: tuple[Any, ...],
        failures: list[BaseException],
    ) -> None:
        try:
            callback(self, change, *args)
        except BaseException as error:
            failures.append(error)

    # -- locking ---------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """
        Keep other threads out for the length of a ``with``, over several calls; each call locks by itself.

        They wait.  One thread may do it again inside of it.  A borrowed buffer needs none: its base keeps
        other threads out.  Raises ClosedError, WrongThreadError.

        Wraps: evbuffer_lock() evbuffer_unlock() <event2/buffer.h>; libevent >= 2.0, by a lock of ours.
        """
        inner = lib.lev_buffer_is_locked(self._b)
        # Unlocks when it is released, or dropped by an interrupt that strikes between any two of these lines.
        key = ffi.gc(ffi.NULL if inner else self._b, lib.lev_buffer_unlock)
        try:
            self._again(lib.lev_buffer_lock(self._b), lib.lev_buffer_lock)
            yield
        finally:
            ffi.release(key)

    def freeze(self, *, front: bool) -> None:
        """
        Refuse changes at that end from now on, with BufferError.

        Raises ValueError for a borrowed buffer, whose owner decides; ClosedError.

        Wraps: evbuffer_freeze() <event2/buffer.h>; libevent >= 2.0.
        """
        self._freeze(front, 1)

    def unfreeze(self, *, front: bool) -> None:
        """
        Allow them again.

        Raises ValueError for a borrowed buffer, ClosedError.

        Wraps: evbuffer_unfreeze() <event2/buffer.h>; libevent >= 2.0.
        """
        self._freeze(front, 0)

    def _freeze(self, front: bool, frozen: int) -> None:
        self._check_own("be frozen")
        end = _FRONT if front else _END
        self._again(lib.lev_buffer_freeze(self._b, end, frozen), lib.lev_buffer_freeze, end, frozen)

    def _check_own(self, what: str) -> None:
        self._check_open()
        if self._kind != "own":
            raise ValueError(f"{self!r} cannot {what}: it is a part of something else")


def _checked_pointer(pointer: Any) -> Any:
    if not isinstance(pointer, ffi.CData) or ffi.typeof(pointer) is not ffi.typeof("struct evbuffer *"):
        raise TypeError(f"a struct evbuffer * is wanted, not {pointer!r}")
    if not pointer:
        raise ValueError("the pointer is NULL")
    return pointer
