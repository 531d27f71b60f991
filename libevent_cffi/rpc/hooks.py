"""Hooks: functions that see the messages of a server or a pool before they go on."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Optional, Union

from .._native.delivering import delivers
from ..errors import ClosedError
from ..event import Resource
from ..flags import HookResult, HookType
from ..http import Headers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..buffer import Buffer
    from ..event import EventBase
    from ..http import Connection, Request, ServerConnection
    from ..types import BytesLike

    Hook = Callable[["HookContext"], Optional[HookResult]]

__all__ = ["HookContext", "HookHandle", "Hooked"]

_log = logging.getLogger("libevent")
_RUNS, _PAUSED, _OVER = range(3)


class HookHandle(Resource):
    """
    A hook that was added; close() removes it, also from calls that are on their way.

    Wraps: evrpc_remove_hook() <event2/rpc.h>; libevent >= 2.0, its effect.
    """

    __slots__ = ("_hook", "_owner", "_type")

    _owner: Hooked
    _hook: Optional[Hook]
    _type: HookType

    def __init__(self) -> None:
        raise TypeError("HookHandle is made by the library only: see add_hook()")

    @classmethod
    def _make(cls, owner: Hooked, type: HookType, hook: Hook) -> HookHandle:
        handle = cls.__new__(cls)
        handle._owner, handle._type, handle._hook = owner, type, hook
        return handle

    @property
    def closed(self) -> bool:
        """Was it removed, or closed with its owner?"""
        return self._hook is None or self._owner.closed

    def close(self) -> None:
        """
        Remove it; any number of times, from inside the hook too.

        Wraps: evrpc_remove_hook() <event2/rpc.h>; libevent >= 2.0, its effect.
        """
        if self._hook is not None:
            self._hook = None
            hooks = self._owner._hooks
            hooks[self._type] = tuple(each for each in hooks[self._type] if each is not self)

    def _describe(self) -> list[str]:
        return [self._type.name]


class Hooked(Resource):
    """What has hooks."""

    __slots__ = ("_base", "_hooks")

    _base: EventBase
    _hooks: dict[HookType, tuple[HookHandle, ...]]

    def _start_hooks(self, base: EventBase) -> None:
        self._base = base
        self._hooks = {HookType.INPUT: (), HookType.OUTPUT: ()}

    def add_hook(self, type: HookType, hook: Hook) -> HookHandle:
        """
        Have ``hook(context)`` see every message that comes in, HookType.INPUT, or goes out, OUTPUT.

        Hooks run in the order they were added.  None and CONTINUE let the message pass; TERMINATE makes the
        call fail; after PAUSE it waits until ``context.resume()``.  A hook that raises, or returns something
        else, is logged and terminates.  They run on the thread that dispatches, or inside the reply() whose
        message they see.

        Returns a handle that removes it.  Raises TypeError, ValueError, ClosedError.

        Wraps: evrpc_add_hook() <event2/rpc.h>; libevent >= 2.0, its effect.
        """
        self._check_open()
        type = HookType(type)
        if not callable(hook):
            raise TypeError(f"hook must be callable, not {hook!r}")
        handle = HookHandle._make(self, type, hook)
        self._hooks[type] = (*self._hooks[type], handle)
        return handle


class HookContext:
    """
    What a hook sees of one message.  The library makes it, for all the hooks that the message passes.

    A hook may change *body*: the next one, and who reads the message, get what it leaves.
    """

    __slots__ = (
        *("__weakref__", "_answer", "_body", "_connection", "_handles", "_headers", "_meta", "_owner"),
        *("_paused", "_request", "_state", "_then", "_type"),
    )

    _answer: Optional[HookResult]
    _body: Buffer
    _connection: Optional[Connection]
    _handles: Iterator[HookHandle]
    _headers: Optional[Headers]
    _meta: dict[str, bytes]
    _owner: Hooked
    _paused: Callable[[], object]
    _request: Optional[Request]
    _state: int
    _then: Callable[[bool], object]
    _type: HookType

    def __init__(self) -> None:
        raise TypeError("HookContext is made by the library only")

    @classmethod
    def _make(
        cls,
        owner: Hooked,
        type: HookType,
        body: Buffer,
        meta: dict[str, bytes],
        then: Callable[[bool], object],
        paused: Callable[[], object],
        request: Optional[Request] = None,
        connection: Optional[Connection] = None,
        headers: Optional[Headers] = None,
    ) -> HookContext:
        context = cls.__new__(cls)
        context._owner, context._body, context._meta = owner, body, meta
        context._then, context._paused = then, paused
        context._request, context._connection = request, connection
        context._type, context._headers = type, headers
        context._state = _RUNS
        context._answer = None
        context._handles = iter(owner._hooks[type])
        return context

    # -- looking ---------------------------------------------------------------------------------------------

    @property
    def request(self) -> Optional[Request]:
        """The HTTP request that a server got; None on a client."""
        return self._request

    @property
    def body(self) -> Buffer:
        """The message as it travels.  It is closed when the message has gone on."""
        return self._body

    @property
    def headers(self) -> Headers:
        """
        The HTTP headers that came with the message, or that are to go out with it.

        A hook for OUTPUT may add to them: so something reaches the other side without being part of a
        message, such as a token that proves who calls.  What cannot be sent, such as a second length, fails
        the call.  Raises ClosedError where a server's request is gone.
        """
        if self._request is not None:
            incoming = self._type == HookType.INPUT
            return self._request.headers if incoming else self._request.response_headers
        if self._headers is None:
            self._headers = Headers()
        return self._headers

    @property
    def connection(self) -> Union[ServerConnection, Connection]:
        """
        What the message came over, or is to go over.  Raises ClosedError where it is gone.

        Wraps: evrpc_hook_get_connection() <event2/rpc.h>; libevent >= 2.0, its effect.
        """
        if self._connection is not None:
            return self._connection
        assert self._request is not None
        return self._request.connection

    def add_meta(self, key: str, data: BytesLike) -> None:
        """
        Keep a copy of *data* with the call, for its later hooks in both directions; the last one counts.

        It stays in this process: what the other side is to get goes into *headers*.  Raises TypeError.

        Wraps: evrpc_hook_add_meta() <event2/rpc.h>; libevent >= 2.0, its effect.
        """
        if not isinstance(key, str):
            raise TypeError(f"key must be str, not {key!r}")
        self._meta[key] = bytes(memoryview(data))

    def get_meta(self, key: str) -> Optional[bytes]:
        """
        Return what add_meta() kept, None when there is nothing.

        Wraps: evrpc_hook_find_meta() <event2/rpc.h>; libevent >= 2.0, its effect.
        """
        return self._meta.get(key)

    # -- going on --------------------------------------------------------------------------------------------

    def resume(self, result: HookResult = HookResult.CONTINUE) -> None:
        """
        Go on after PAUSE, in a later pass: CONTINUE with the next hook, TERMINATE with the call's failure.

        It may be called before the hook has returned PAUSE.  Raises ValueError for another result,
        ClosedError when it does not pause any more, as after a timeout; WrongThreadError.

        Wraps: evrpc_resume_request() <event2/rpc.h>; libevent >= 2.0, its effect.
        """
        result = HookResult(result)
        if result == HookResult.PAUSE:
            raise ValueError("it pauses already: resume() takes CONTINUE or TERMINATE")
        if self._state == _OVER or self._answer is not None or self._owner.closed:
            raise ClosedError(f"{self!r}: there is nothing to resume, or it was resumed already")
        self._owner._base.update_now()  # refuses another thread, also while the hook runs
        if self._state == _PAUSED:
            self._owner._base.call_soon(self._go_on)
        self._answer = result

    def _run(self) -> None:
        """Ask one hook after another, and tell the end."""
        try:
            self._ask_all()
        except BaseException:  # Ctrl-C in a hook, or the end of the program: it will not be asked again
            self._end(False)
            raise

    def _ask_all(self) -> None:
        for handle in self._handles:
            self._answer = None  # a hook that resumed, and did not pause, resumed nothing
            result = self._ask(handle)
            if self._state == _OVER:
                return
            if result == HookResult.PAUSE:
                if self._answer is None:
                    self._state = _PAUSED
                    self._paused()
                    return
                result, self._answer = self._answer, None
            if result == HookResult.TERMINATE:
                self._end(False)
                return
        self._end(True)

    def _go_on(self) -> None:
        answer, self._answer = self._answer, None
        if self._state == _OVER:
            return
        self._state = _RUNS
        if answer == HookResult.TERMINATE:
            self._end(False)
        else:
            self._run()

    @delivers
    def _ask(self, handle: HookHandle) -> HookResult:
        callback = handle._hook
        if callback is None:
            return HookResult.CONTINUE
        try:
            result = callback(self)
            return HookResult.CONTINUE if result is None else HookResult(result)
        except Exception as error:
            _log.error("a hook of %s failed, and the call with it", repr(self._owner), exc_info=error)
            return HookResult.TERMINATE

    def _end(self, passes: bool) -> None:
        then = self._then
        self._drop()
        then(passes)

    def _drop(self) -> None:
        """Have nothing more to tell."""
        self._state = _OVER
        self._handles = iter(())
        self._then = self._paused = _nothing

    def __repr__(self) -> str:
        return f"<HookContext {('running', 'paused', 'over')[self._state]}>"


def _nothing(*_args: Any) -> None:
    pass
