"""Clients of calls."""

from __future__ import annotations

import errno
import weakref
from typing import TYPE_CHECKING, Any, Optional, TypeVar

from .._native import convert
from ..errors import CancelledError, ClosedError, RPCError
from ..event.arguments import check_base
from ..flags import HookType, RPCStatus
from ..http import Connection
from .clientcall import ClientCall, Line
from .hooks import Hooked
from .message import Message
from .server import check_class, check_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import TypeVarTuple, Unpack

    from ..event import EventBase

    _Ts = TypeVarTuple("_Ts")

__all__ = ["Pool"]

_R = TypeVar("_R", bound=Message)

#: The connections of all pools.
_taken: weakref.WeakSet[Connection] = weakref.WeakSet()


class Pool(Hooked):
    """
    Makes calls of libevent's RPC, each over any of its *connections* that is free.

    - *connections*: of http; they are the pool's from now on, and closed with it.
    - *timeout*: seconds that a call may take in all, with the time that it waits for a connection or a hook
      pauses it.  None: as long as its connection lets it, which has timeouts of its own.

    Hooks see messages: the requests, when a connection is free for them, and the replies, but not what came
    instead of one.  Raises TypeError, ValueError, ClosedError.

    Wraps: evrpc_pool_new() evrpc_pool_free() <event2/rpc.h>; libevent >= 1.4, their effect.
    """

    __slots__ = ("_calls", "_closed", "_lines", "_timeout", "_waiting")

    def __init__(self, base: EventBase, *connections: Connection, timeout: Optional[float] = None) -> None:
        if hasattr(self, "_lines"):
            raise RuntimeError(f"{self!r} was made already: make another Pool")
        self._closed = True
        check_base(base)
        self._start_hooks(base)
        if base.closed:
            raise ClosedError(f"the base was closed: {base!r}")
        self.__set_timeout(timeout)
        for connection in connections:
            self._check_connection(connection)
        if len(set(connections)) < len(connections):
            raise ValueError("a connection stands twice among those of the pool")
        _taken.update(connections)
        self._lines = [Line(connection) for connection in connections]
        #: Those that wait for a connection, in order; and all that are not done.
        self._waiting: dict[ClientCall[Any], None] = {}
        self._calls: dict[ClientCall[Any], None] = {}
        self._closed = False

    # -- settings --------------------------------------------------------------------------------------------

    @property
    def base(self) -> EventBase:
        """The base that it is on."""
        return self._base

    @property
    def timeout(self) -> Optional[float]:
        """
        Seconds that a call may take in all; a change counts for later calls.

        Wraps: evrpc_pool_set_timeout() <event2/rpc.h>; libevent >= 1.4, its effect.
        """
        return self._timeout

    @timeout.setter
    def timeout(self, seconds: Optional[float]) -> None:
        self._check_open()
        self.__set_timeout(seconds)

    def __set_timeout(self, seconds: Optional[float]) -> None:
        self._timeout = None if seconds is None else convert.check_seconds(seconds, "timeout")

    # -- connections -----------------------------------------------------------------------------------------

    def _check_connection(self, connection: Any) -> None:
        if not isinstance(connection, Connection):
            raise TypeError(f"a pool needs libevent_cffi.http.Connection, not {connection!r}")
        connection._check_open()
        if connection.base is not self._base:
            raise ValueError(f"{connection!r} is on another base")
        if connection in _taken or connection.pending:
            raise ValueError(f"{connection!r} belongs to a pool already, or has requests of its own")

    @property
    def connections(self) -> tuple[Connection, ...]:
        """Its connections, without those that were closed."""
        return tuple(line.connection for line in self._lines if not line.connection.closed)

    def add_connection(self, connection: Connection) -> None:
        """
        Hand over another one, on which nothing is pending.

        Raises TypeError, ValueError, ClosedError, WrongThreadError.

        Wraps: evrpc_pool_add_connection() <event2/rpc.h>; libevent >= 1.4, its effect.
        """
        self._check_open()
        self._check_connection(connection)
        self._base.update_now()  # refuses another thread, before anything is done
        _taken.add(connection)
        self._lines.append(Line(connection))
        self._go_on()

    def remove_connection(self, connection: Connection) -> None:
        """
        Close one; the calls that are on it finish with CancelledError.

        Raises ValueError when it is none of the pool's, ClosedError, WrongThreadError.

        Wraps: evrpc_pool_remove_connection() <event2/rpc.h>; libevent >= 2.0, its effect.
        """
        self._check_open()
        line = next((line for line in self._lines if line.connection is connection), None)
        if line is None:
            raise ValueError(f"{connection!r} is no connection of {self!r}")
        self._base.update_now()
        self._lines.remove(line)
        for call in [call for call in self._calls if call._line is line]:
            call._finish(error=CancelledError(f"the connection of {call!r} was removed from its pool"))
        connection.close()
        self._go_on()

    # -- calling ---------------------------------------------------------------------------------------------

    def call(
        self,
        name: str,
        request: Message,
        reply: type[_R],
        callback: Optional[Callable[[ClientCall[_R], Unpack[_Ts]], object]] = None,
        *args: Unpack[_Ts],
    ) -> ClientCall[_R]:
        """
        Call *name* with the message *request*; what comes back is a *reply*, a class of messages.

        It goes out over a connection that is free, or waits for one, in order; without any connection in
        the pool it fails.  ``callback(call, *args)`` is told when it is done, on the thread that dispatches,
        never inside this call.

        Returns the call, which need not be kept.  Raises ValueError for a name that cannot be one and while a
        required field is missing, TypeError, ClosedError, WrongThreadError.

        Wraps: evrpc_make_request() evrpc_make_request_ctx() evrpc_send_request_generic()
        evrpc_request_set_cb() <event2/rpc.h>; libevent >= 1.4, their effect.
        """
        path = check_name(name)
        if not isinstance(request, Message):
            raise TypeError(f"request must be a message, not {request!r}")
        check_class(reply, "reply")
        self._check_open()
        self._base.update_now()  # refuses another thread, before anything is done
        call = ClientCall._make(self, name, path, request, reply, callback, args)
        self._calls[call] = None
        try:
            self._start(call)
        except BaseException:
            call._callback = None  # it is told by what is raised
            call._finish(error=CancelledError("it could not be started"))
            raise
        return call

    def _start(self, call: ClientCall[Any]) -> None:
        if self._timeout is not None:
            call._timer = self._base.call_later(self._timeout, self._give_up, call, self._timeout)
        line = None
        if not self._waiting and not self._hooks[HookType.OUTPUT]:
            line = self._free_line()
        if line is not None:
            call._begin(line)
        else:  # hooks do not run in here, and nothing fails
            self._base.call_soon(self._schedule)
            self._waiting[call] = None

    def _give_up(self, call: ClientCall[Any], seconds: float) -> None:
        call._finish(error=TimeoutError(errno.ETIMEDOUT, f"no reply of {call.name!r} after {seconds:g} s"))

    def _free_line(self) -> Optional[Line]:
        """Return a connection over which nothing is going, and for which the fewest calls wait."""
        best: Optional[Line] = None
        for line in self._lines:
            if line.sent == 0 and not line.connection.closed and (best is None or line.calls < best.calls):
                best = line
                if line.calls == 0:
                    break
        return best

    def _go_on(self) -> None:
        """Look, in a later pass, whether a call that waits can be sent."""
        if self._waiting and not self.closed:
            self._base.call_soon(self._schedule)

    def _schedule(self) -> None:
        """Send calls that wait, as far as there are connections."""
        try:
            for _ in range(len(self._waiting)):  # not what hooks ask for meanwhile: the loop has its turn
                if not self._waiting or self.closed or not self._schedule_one():
                    return
        except BaseException:  # Ctrl-C in a hook, or what the handler of a signal raised
            self._go_on()
            raise
        self._go_on()

    def _schedule_one(self) -> bool:
        self._lines = [line for line in self._lines if not line.connection.closed]
        line = self._free_line()
        if line is None and self._lines:
            return False
        call = next(iter(self._waiting))
        if line is None:
            text = f"no connection to call {call.name!r} over: the pool has none, see add_connection()"
            call._finish(error=RPCError(text, status=RPCStatus.UNSTARTED))
            return True
        try:
            del self._waiting[call]
            call._begin(line)
        except BaseException:
            call._finish(error=CancelledError(f"{call!r} was interrupted"))
            raise
        return True

    def _forget(self, call: ClientCall[Any]) -> None:
        self._waiting.pop(call, None)
        self._calls.pop(call, None)

    # -- ending ----------------------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Is it closed, or its base?"""
        return self._closed or self._base.closed

    def close(self) -> None:
        """
        End it now, with its connections; any number of times, from inside any callback too.

        Calls that are not done finish with CancelledError; no hook runs any more.  Raises WrongThreadError,
        and closes nothing then.

        Wraps: evrpc_pool_free() <event2/rpc.h>; libevent >= 1.4, its effect.
        """
        if self._closed:
            return
        if not self._base.closed:  # which finishes its operations itself
            self._base.update_now()  # refuses another thread, before anything is done
            self._closed = True
            for call in list(self._calls):
                call._finish(error=CancelledError(f"the pool of {call!r} was closed"))
            for line in self._lines:
                line.connection.close()
        self._closed = True
        self._lines = []
        self._hooks = dict.fromkeys(self._hooks, ())

    def _describe(self) -> list[str]:
        return [] if self.closed else [f"connections={len(self.connections)}", f"calls={len(self._calls)}"]
