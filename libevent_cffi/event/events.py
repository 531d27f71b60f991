"""Events: what a base watches."""

from __future__ import annotations

import errno
import logging
import os
from typing import TYPE_CHECKING, Any, NoReturn, Optional

from .._native import check, convert, logs
from .._native._libevent import ffi, lib
from .._native.callbacks import SOON
from .._native.resources import Resource
from .._native.running import Loop, refuse
from ..errors import ClosedError
from ..flags import EVENT_FLAGS, EventFlag, check_flags
from .arguments import check_base, check_events, check_priority, check_signal, check_what, signal_name
from .timeouts import seconds_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self, TypeVarTuple, Unpack

    from ..types import FileDescriptorLike
    from .base import EventBase
    from .timeouts import Timeout

    _Ts = TypeVarTuple("_Ts")

__all__ = ["PLAIN", "SIGNAL", "Event", "evict"]

_CLOSED = -1

_FORM_SHIFT = 24
_PRIORITY_SHIFT = 16
PLAIN: int = lib.LEV_FORM_PLAIN << _FORM_SHIFT
_EVENT: int = lib.LEV_FORM_EVENT << _FORM_SHIFT
SIGNAL: int = lib.LEV_FORM_SIGNAL << _FORM_SHIFT
_FORMS = 3 << _FORM_SHIFT
_BACKGROUND: int = lib.LEV_SPEC_BACKGROUND
_USER: int = lib.LEV_SPEC_USER
_NO_DESCRIPTOR = int(EventFlag.SIGNAL) | _USER
_EVENTS = 0xFF


def _first_of(events: int) -> int:
    for flag in (EventFlag.READ, EventFlag.WRITE, EventFlag.SIGNAL, EventFlag.CLOSED):
        if events & flag:
            return int(flag)
    return int(EventFlag.TIMEOUT)


#: For all that an event can be made for, what activate() says has happened when it is not told.
_FIRST_OF = [_first_of(events) for events in range(_EVENTS + 1)]


class Event(Resource):
    """
    Watches one descriptor, one signal, or nothing.

    ``Event(base, fd, events, callback, *args)`` calls ``callback(fd, what, *args)``, on the thread that
    dispatches, when one of *events* happens: *what* tells which.  *fd* is an int or has fileno(); it is
    watched, and never closed.  With EventFlag.SIGNAL it is a signal's number.  None is a user event, which
    happens when its timeout has passed or activate() is called.  *events* are EventFlag.READ, WRITE, CLOSED,
    ET and PERSIST; without PERSIST the event happens once each time it is added.

    It is born *initialized*: add() makes it *pending*, and when something happens it is *active* until its
    callback runs.  A pending or active event lives without a reference, and keeps *fd* alive; any other is
    yours to keep.

    Close the event before its descriptor, or at least before the number is used again.  When another event is
    added for something else that has the number, those of the old one are deleted, with a warning in the log.

    *priority* 0 is the most urgent; None means the middle one.  *keepalive* False lets dispatch() return
    while the event is pending.

    Raises TypeError and ValueError for arguments that fit nothing: a closed socket, ET or CLOSED where the
    base's method lacks them, SIGNAL beside other events, a priority that the base has not.

    Wraps: event_new() event_free() event_assign() event_initialized() evuser_new() evuser_initialized()
    event_get_struct_event_size() <event2/event.h>; libevent >= 2.0.
    """

    __slots__ = ("_args", "_base", "_callback", "_fd", "_source", "_spec", "_token")

    _base: Loop
    _callback: Callable[..., object]
    _args: tuple[Any, ...]
    _fd: int
    _source: object
    _spec: int
    _token: int

    def __init__(
        self,
        base: EventBase,
        fd: Optional[FileDescriptorLike],
        events: EventFlag,
        callback: Callable[[int, EventFlag, Unpack[_Ts]], object],
        *args: Unpack[_Ts],
        priority: Optional[int] = None,
        keepalive: bool = True,
    ) -> None:
        check_base(base)
        events = EventFlag(check_flags(EventFlag, events, "events"))
        if events & EventFlag.SIGNAL:
            number = check_signal(fd, events)
            spec = int(events)
        else:
            number = -1 if fd is None else convert.fileno(fd)
            spec = check_events(base, fd, events) | (_USER if fd is None else 0)
        self._setup(base, number, spec | _EVENT, callback, args, priority, keepalive)
        self._source = None if isinstance(fd, int) else fd

    def _setup(
        self,
        base: Loop,
        fd: int,
        spec: int,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        priority: Optional[int],
        keepalive: bool,
    ) -> None:
        if hasattr(self, "_token"):
            raise RuntimeError(f"{self!r} was made already: make another {type(self).__name__}")
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r}")
        if base.closed:
            raise ClosedError(f"the base was closed: {base!r}")
        if priority is not None:
            spec |= check_priority(base, priority) + 1 << _PRIORITY_SHIFT
        if not keepalive:
            spec |= _BACKGROUND
        self._base = base
        self._fd = fd
        self._spec = spec
        self._callback = callback
        self._args = args
        self._source = None
        self._token = 0

    def _make_plain(self) -> Self:
        """Have the callback get *args* alone."""
        self._spec = self._spec & ~_FORMS | PLAIN
        return self

    # -- doing -----------------------------------------------------------------------------------------------

    def add(self, timeout: Optional[Timeout] = None) -> Self:
        """
        Make it pending, and return it.

        *timeout* is in seconds, or a CommonTimeout of the base: when it has passed the callback gets
        EventFlag.TIMEOUT.  None is no timeout, and drops one that is running.  With PERSIST the timeout
        starts again at each event.  An event that was pending already is changed.

        Raises ValueError for a timeout that is negative, not a number or over ten years, for one descriptor
        both edge- and level-triggered, and for a number too large for select; OSError when the descriptor is
        not open, or cannot be watched (PermissionError for a file or /dev/null under epoll); ClosedError;
        WrongThreadError.

        Wraps: event_add() <event2/event.h>; libevent >= 1.4.
        """
        seconds = -1.0 if timeout is None else seconds_of(timeout, self._base)
        if self._source is not None and not self._token:
            self._check_source()
        self._add(seconds)
        return self

    def _check_source(self) -> None:
        """The number of a socket that was closed may be another's now."""
        try:
            is_same = convert.fileno(self._source) == self._fd  # type: ignore[arg-type]
        except ValueError:
            is_same = False
        if not is_same:
            text = f"{os.strerror(errno.EBADF)}: {self._source!r}, which had {self._fd}, was closed"
            raise OSError(errno.EBADF, text)

    def _add(self, seconds: float) -> None:
        token = self._token
        if token < 0:
            token = self._leave_queue()
        base = self._base
        result = lib.lev_event_add(base._l, token, self._fd, self._spec, seconds)
        if result != token:
            if result < 0:
                self._add_again(result, seconds)
            else:
                self._take_token(token, result)

    def _take_token(self, before: int, token: int) -> None:
        """It is *token* now, unless another thread has added it since it was *before*."""
        base = self._base
        if self._token == before:
            self._token = token
            base._armed[token] = self
        else:
            lib.lev_event_delete(base._l, token)

    def _add_again(self, code: int, seconds: float) -> None:
        """After a failed try: once more if the descriptor was closed under other events, else raise."""
        if code == lib.LEV_FD_REUSED:
            evict(self._base, self._fd)
            code = lib.lev_event_add(self._base._l, self._token, self._fd, self._spec, seconds)
        if code < 0:
            self._refuse(code, "event_add")
        self._token = code
        self._base._armed[code] = self

    def delete(self) -> None:
        """
        Make it not pending, and not active; it may be added again.

        Raises ClosedError, WrongThreadError.

        Wraps: event_del() event_del_block() event_del_noblock() evuser_del() <event2/event.h>; libevent >=
        1.4.
        """
        token = self._token
        if token < 0:
            token = self._leave_queue()
        base = self._base
        result = lib.lev_event_delete(base._l, token)
        if result < 0:
            self._refuse(result, "event_del")
        if result:
            base._deleted = self
        if token:
            self._token = 0
            base._armed.pop(token, None)

    def cancel(self) -> None:
        """
        The same as delete(), under the name that asyncio and threading.Timer have taught.

        Wraps: event_del() <event2/event.h>; libevent >= 1.4.
        """
        self.delete()

    def activate(self, what: Optional[EventFlag] = None, *, count: int = 1) -> None:
        """
        Run the callback in this or the next pass, as if *what* had happened.

        None means the first of READ, WRITE, SIGNAL, CLOSED that it was made for, or else TIMEOUT.  A signal
        event is run *count* times (1 to 32767), others once, however often this is called before.  The event
        needs not be pending, and its descriptor not be open.

        Raises ValueError for flags that say nothing of what happened, or another count; ClosedError;
        WrongThreadError.

        Wraps: event_active() evuser_trigger() <event2/event.h>; libevent >= 1.4.
        """
        happened = _FIRST_OF[self._spec & _EVENTS] if what is None else int(check_what(what))
        count = convert.c_int(count, "count", 1, 32767)
        token = self._token
        if token == SOON:
            self._leave_queue()
            self._token = SOON  # as good as active
            return
        if token < 0:
            token = self._leave_queue()
        base = self._base
        result = lib.lev_event_activate(base._l, token, self._fd, self._spec, happened, count)
        if result < 0:
            self._refuse(result, "event_active")
        if result != token:
            self._take_token(token, result)

    def remove_timer(self) -> None:
        """
        Drop the timeout, and go on watching.

        Raises ClosedError, WrongThreadError.

        Wraps: event_remove_timer() <event2/event.h>; libevent >= 2.1.
        """
        token = self._token
        if token < 0:
            token = self._leave_queue()
        result = lib.lev_event_remove_timer(self._base._l, token)
        if result == lib.LEV_NOTHING_LEFT:
            self._token = 0
            self._base._armed.pop(token, None)
        elif result < 0:
            self._refuse(result, "event_remove_timer")

    def finalize(self, callback: Callable[[Event], object]) -> None:
        """
        Close it, and run ``callback(event)`` once no callback of it can be running.

        The callback runs in a later pass of the loop, or in EventBase.close().

        Raises TypeError, ClosedError, WrongThreadError.

        Wraps: event_finalize() event_free_finalize() <event2/event.h>; libevent >= 2.1.
        """
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r}")
        self.delete()
        self.close()
        self._base._queue_finalizer(callback, self)  # type: ignore[attr-defined]

    def close(self) -> None:
        """
        End it: not pending, never to be added again.

        Raises WrongThreadError, and closes nothing then.

        Wraps: event_free() <event2/event.h>; libevent >= 1.4.
        """
        token = self._token
        if token == _CLOSED:
            return
        if token == SOON and not self._base.closed:
            token = self._leave_queue()
        if token >= 0:
            base = self._base
            result = lib.lev_event_delete(base._l, token)
            if result == lib.LEV_WRONG_THREAD:
                self._refuse(result, "event_free")
            if result == 1:
                base._deleted = self
            base._armed.pop(token, None)
        self._token = _CLOSED

    # -- looking ---------------------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Is it closed, or its base?"""
        return self._token == _CLOSED or self._base.closed

    @property
    def pending(self) -> EventFlag:
        """
        What it is pending or active for; false when it is neither.

        A user event that waits without a timeout is pending for READ.  Any thread may ask.  Raises
        ClosedError; *closed* tells that without raising.

        Wraps: event_pending() evuser_pending() <event2/event.h>; libevent >= 1.4.
        """
        token = self._token
        if token < 0:
            if token == SOON and not self._base.closed:
                return EventFlag.TIMEOUT
            self._check_open()
        elif token == 0:
            self._check_open()
        flags: int = lib.lev_event_pending(self._base._l, token, ffi.NULL)
        if flags < 0:
            self._refuse(flags, "event_pending")
        return EVENT_FLAGS[flags & _EVENTS]

    @property
    def remaining(self) -> Optional[float]:
        """
        Seconds until its timeout, or None when it has none that is running.

        Any thread may ask.  Raises ClosedError.

        Wraps: event_pending() <event2/event.h>; libevent >= 1.4.
        """
        self._check_open()
        if self._token == SOON:
            return 0.0
        left = ffi.new("double *", -1.0)
        result = lib.lev_event_pending(self._base._l, self._token, left)
        if result < 0:
            self._refuse(result, "event_pending")
        return None if left[0] < 0 else left[0]

    @property
    def base(self) -> EventBase:
        """Its base.  Wraps: event_get_base() <event2/event.h>; libevent >= 1.4."""
        return self._base  # type: ignore[return-value]

    @property
    def fd(self) -> int:
        """The descriptor's or the signal's number, or -1.  Wraps: event_get_fd() <event2/event.h>."""
        return self._fd

    @property
    def events(self) -> EventFlag:
        """What it was made for.  Wraps: event_get_events() event_get_assignment() <event2/event.h>."""
        return EVENT_FLAGS[self._spec & _EVENTS]

    @property
    def callback(self) -> Callable[..., object]:
        """The function it calls.  Wraps: event_get_callback() <event2/event.h>."""
        return self._callback

    @property
    def args(self) -> tuple[Any, ...]:
        """What the function gets besides.  Wraps: event_get_callback_arg() <event2/event.h>."""
        return self._args

    @property
    def keepalive(self) -> bool:
        """Does it keep dispatch() from returning while it is pending?"""
        return not self._spec & _BACKGROUND

    @property
    def priority(self) -> int:
        """
        Its priority; 0 is the most urgent.

        It may be set while the event is not active: RuntimeError else, ValueError for one the base has not.

        Wraps: event_get_priority() event_priority_set() <event2/event.h>; libevent >= 2.0.
        """
        priority = (self._spec >> _PRIORITY_SHIFT & 0xFF) - 1
        return priority if priority >= 0 else self._base._priorities // 2

    @priority.setter
    def priority(self, value: int) -> None:
        self._check_open()
        number = check_priority(self._base, value)
        result = lib.lev_event_set_priority(self._base._l, max(self._token, 0), number)
        if result == lib.LEV_ACTIVE:
            raise RuntimeError(f"{self!r} is active: its priority can be set when its callback has run")
        if result < 0:
            self._refuse(result, "event_priority_set")
        self._spec = self._spec & ~(0xFF << _PRIORITY_SHIFT) | number + 1 << _PRIORITY_SHIFT

    # -- ours ------------------------------------------------------------------------------------------------

    def _leave_queue(self) -> int:
        """Leave the queue of call_soon(), where it may stand; ClosedError when it is closed."""
        if self._token == _CLOSED:
            self._check_open()
        result = lib.lev_event_delete(self._base._l, 0)  # may this thread do that?
        if result < 0:
            self._refuse(result, "event_del")
        self._token = 0
        return 0

    def _refuse(self, code: int, call: str) -> NoReturn:
        if code == lib.LEV_MIXED_ET:
            raise ValueError(
                f"descriptor {self._fd} is watched already, and of one descriptor all events must be"
                " edge-triggered or none: otherwise all would be, and some never told"
            )
        if code == lib.LEV_FD_TOO_LARGE:
            raise ValueError(f"descriptor {self._fd} is too large for select: see EventBase(avoid_methods=)")
        if code == lib.LEV_NO_FILES:
            raise PermissionError(
                errno.EPERM,
                f"descriptor {self._fd} is a file or folder, which epoll cannot watch: it is always ready, so"
                " read or write it, or make the base with avoid_methods=['epoll']",
            )
        error = check.socket_error(call) if code == lib.LEV_ERRNO else None
        if isinstance(error, PermissionError) and self._base._method.startswith("epoll"):
            raise PermissionError(
                error.errno,
                f"descriptor {self._fd} is a device that epoll cannot watch: read or write it without"
                " waiting, or make the base with avoid_methods=['epoll']",
            )
        if error is not None and error.errno and self._fd >= 0:
            error = type(error)(error.errno, f"{error.strerror} (watching descriptor {self._fd})")
            raise error
        refuse(self._base, code, call)

    def _describe(self) -> list[str]:
        words = ["user"] if self._fd < 0 else [f"fd={self._fd}"]
        if self._spec & EventFlag.SIGNAL:
            words = [signal_name(self._fd)]
        events = self.events & ~EventFlag.SIGNAL
        if events:
            words.append(str(events))
        return words if self.closed else [*words, self._state()]

    def _state(self) -> str:
        """Return libevent's word."""
        flags = lib.lev_event_pending(self._base._l, self._token, ffi.NULL)
        if flags & lib.LEV_IS_ACTIVE or self._token == SOON:
            return "active"
        return "pending" if flags else "initialized"


def evict(base: Loop, fd: int) -> None:
    """Delete the events of a descriptor that was closed under them and is something else now."""
    for event in list(base._armed.values()):
        if event._fd == fd and not event._spec & _NO_DESCRIPTOR:
            event.delete()
            text = "%r is deleted: its descriptor was closed, and opened again as another"
            logs.tell(logging.WARNING, text, event)
