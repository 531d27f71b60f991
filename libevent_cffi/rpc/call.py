"""A call that a server has to answer."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any, Generic, Optional, TypeVar

from ..buffer import Buffer
from ..errors import ClosedError, TagError
from ..flags import HookType
from .hooks import HookContext
from .message import Message

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..http import Request
    from .server import Server

__all__ = ["Call"]

_Q = TypeVar("_Q", bound=Message)
_R = TypeVar("_R", bound=Message)
_log = logging.getLogger("libevent")
_TYPE = "application/octet-stream"


class Call(Generic[_Q, _R]):
    """
    A call to answer: in the handler, or later after defer(); once, by reply() or fail().

    A handler that returns without any of this, or raises, has the failure answered for it, and is logged.

    Wraps: evrpc_get_request() evrpc_get_reply() evrpc_request_done() EVRPC_REQUEST_DONE() <event2/rpc.h>;
    libevent >= 1.4, their effect.
    """

    __slots__ = (
        *("__weakref__", "_answered", "_context", "_deferred", "_http", "_message", "_meta", "_name"),
        *("_reply", "_server"),
    )

    _answered: bool
    _context: Optional[HookContext]
    _deferred: bool
    _http: Request
    _message: _Q
    _meta: dict[str, bytes]
    _name: str
    _reply: type[_R]
    _server: Server

    def __init__(self) -> None:
        raise TypeError("Call is made by the library only")

    @classmethod
    def _make(cls, server: Server, name: str, http: Request, reply: type[_R]) -> Call[Any, _R]:
        call = cls.__new__(cls)
        call._server, call._name, call._http, call._reply = server, name, http, reply
        call._meta = {}
        call._context = None
        call._answered = call._deferred = False
        return call

    @property
    def name(self) -> str:
        """The name that is called."""
        return self._name

    @property
    def request(self) -> _Q:
        """
        The message that came.

        Wraps: evrpc_get_request() <event2/rpc.h>; libevent >= 2.0, its effect.
        """
        return self._message

    @property
    def http_request(self) -> Request:
        """The HTTP request that it came in: for headers, and the client's address."""
        return self._http

    @property
    def answered(self) -> bool:
        """
        Was it answered, or has it ended without?

        A client that has left does not end a deferred call: ``http_request.client_gone`` tells.
        """
        return self._answered or self._http.closed

    def reply(self, message: _R) -> None:
        """
        Answer with *message*, of the class that was registered; output hooks see it first.

        Raises TypeError, ValueError while a required field is missing, ClosedError when it was answered,
        BrokenPipeError when the client is gone, unless there are output hooks, WrongThreadError.

        Wraps: evrpc_request_done() EVRPC_REQUEST_DONE() evrpc_get_reply() <event2/rpc.h>; libevent >= 1.4,
        their effect.
        """
        if not isinstance(message, self._reply):
            raise TypeError(f"the reply of {self._name!r} is a {self._reply.__name__}, not {message!r}")
        payload = bytes(message)
        self._check()
        if not self._server._hooks[HookType.OUTPUT]:
            self._answer(lambda: self._http.reply(200, payload, content_type=_TYPE))
            return
        self._server._base.update_now()  # refuses another thread, before hooks are asked
        if self._http.answered:
            raise ClosedError(f"{self!r}: its HTTP request was answered already")
        self._answered = True
        body = Buffer(payload)
        self._pass(HookType.OUTPUT, body, lambda passes: self._send(body, passes))

    def _answer(self, answer: Callable[[], None]) -> None:
        try:
            answer()
        finally:  # a client that has only stopped sending gets it, though BrokenPipeError is raised
            self._answered = self._http.answered

    def fail(self) -> None:
        """Answer with the failure of RPCs, status 503, past the hooks.  Raises as reply()."""
        self._check()
        self._answer(lambda: self._http.error(503))

    def defer(self) -> None:
        """
        Say that the answer comes after the handler has returned; who has the call gives it.

        The HTTP server's *reply_timeout* ends what is never answered.  Raises as reply().
        """
        self._check()
        self._http.defer()
        self._deferred = True

    def _check(self) -> None:
        if self._answered:
            raise ClosedError(f"{self!r} was answered already")
        if self._server.closed:
            raise ClosedError(f"{self!r}: its server was closed")

    # -- on the way ------------------------------------------------------------------------------------------

    def _pass(self, type: HookType, body: Buffer, then: Any) -> None:
        """Have hooks see *body* before ``then(passes)``."""
        if not self._server._hooks[type]:
            then(True)
            return
        self._context = context = HookContext._make(
            self._server, type, body, self._meta, then, self._pause, self._http
        )
        context._run()

    def _pause(self) -> None:
        with contextlib.suppress(BrokenPipeError, ClosedError):
            self._http.defer()

    def _send(self, body: Buffer, passes: bool) -> None:
        self._context = None
        with contextlib.suppress(BrokenPipeError, ClosedError):
            try:
                if passes and not body.closed:
                    self._http.reply(200, body, content_type=_TYPE)
            except ValueError as error:
                _log.error("%s fails, by the headers of a hook", repr(self), exc_info=error)
            if not self._http.answered:
                self._http.error(503)
        body.close()

    def _refuse(self) -> None:
        """Answer with the failure, if somebody is there."""
        self._answered = True
        with contextlib.suppress(BrokenPipeError, ClosedError):
            self._http.error(503)

    def _decode(self, request: type[_Q]) -> bool:
        """Read the message; False when it is none."""
        try:
            self._message = request.from_bytes(bytes(self._http.body))
        except (TagError, ClosedError) as error:
            _log.info("a call of %s is no %s: %s", repr(self._name), request.__name__, error)
            return False
        except Exception as error:  # a function that names the class of a struct may raise anything
            _log.error("a call of %s could not be read", repr(self._name), exc_info=error)
            return False
        return True

    def _drop(self) -> None:
        """End it with its server."""
        context, self._context = self._context, None
        if context is not None:
            context._drop()
        if context is not None or self._deferred:
            self._refuse()

    def __repr__(self) -> str:
        return f"<Call {self._name}{' answered' if self._answered else ''}>"
