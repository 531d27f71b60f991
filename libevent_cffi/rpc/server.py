"""Servers of calls."""

from __future__ import annotations

import logging
import weakref
from typing import TYPE_CHECKING, Any, Optional, TypeVar, overload

from .._native.delivering import delivers
from ..errors import ClosedError
from ..flags import HookType
from ..http import Server as HTTPServer
from .call import Call
from .hooks import Hooked
from .message import Message

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..http import Request

__all__ = ["Server", "check_class", "check_name"]

_Q = TypeVar("_Q", bound=Message)
_R = TypeVar("_R", bound=Message)
_log = logging.getLogger("libevent")


def check_name(name: str) -> str:
    """Return the path of calls of *name*."""
    if not isinstance(name, str):
        raise TypeError(f"name must be str, not {name!r}")
    if not name.isascii() or not name.isidentifier():
        raise ValueError(f"{name!r} cannot be called: a name has ASCII letters, digits and underscores")
    return f"/.rpc.{name}"


def check_class(cls: type[Any], what: str) -> None:
    """TypeError for what is no class of messages."""
    if not (isinstance(cls, type) and issubclass(cls, Message)):
        raise TypeError(f"{what} must be a class of messages, not {cls!r}")


class Server(Hooked):
    """
    Serves calls of libevent's RPC on an http.Server: POST of a message to ``/.rpc.NAME``.

    A call that fails, in a hook, in its handler or as a message, has 503 answered, as C does.  It is closed
    with the HTTP server.  close() takes its names away, and fails the calls that hooks pause or that were
    deferred; the HTTP server goes on.

    Set *max_body_size* of the HTTP server to what your messages need: what comes is read at once when it is
    whole, and a message of many small ones takes 150 times its bytes as Python's objects.

    Raises TypeError, ClosedError.

    Wraps: evrpc_init() evrpc_free() <event2/rpc.h>; libevent >= 1.4, their effect.
    """

    __slots__ = ("_calls", "_closed", "_http", "_names")

    def __init__(self, server: HTTPServer) -> None:
        if hasattr(self, "_calls"):
            raise RuntimeError(f"{self!r} was made already: make another Server")
        self._closed = True
        if not isinstance(server, HTTPServer):
            raise TypeError(f"server must be a libevent_cffi.http.Server, not {server!r}")
        if server.closed:
            raise ClosedError(f"{server!r}: it was closed, by you or with its owner")
        self._start_hooks(server.base)
        self._http = server
        self._names: dict[str, str] = {}
        self._calls: weakref.WeakSet[Call[Any, Any]] = weakref.WeakSet()
        self._closed = False

    @overload
    def register(
        self, name: str, request: type[_Q], reply: type[_R], handler: Callable[[Call[_Q, _R]], object]
    ) -> Callable[[Call[_Q, _R]], object]: ...
    @overload
    def register(
        self, name: str, request: type[_Q], reply: type[_R]
    ) -> Callable[[Callable[[Call[_Q, _R]], object]], Callable[[Call[_Q, _R]], object]]: ...
    def register(
        self,
        name: str,
        request: type[_Q],
        reply: type[_R],
        handler: Optional[Callable[[Call[_Q, _R]], object]] = None,
    ) -> Any:
        """
        Have ``handler(call)`` answer calls of *name*, on the thread that dispatches; also a decorator.

        *request* and *reply* are the classes of its messages.  Raises ValueError for a name that is taken or
        cannot be one, TypeError, ClosedError.

        Wraps: evrpc_register_rpc() evrpc_register_generic() <event2/rpc.h>; libevent >= 1.4, their effect.
        """
        path = check_name(name)
        check_class(request, "request")
        check_class(reply, "reply")
        self._check_open()
        if handler is None:
            return lambda handler: self.register(name, request, reply, handler)
        if not callable(handler):
            raise TypeError(f"handler must be callable, not {handler!r}")
        answers = handler
        self._http.route(path, lambda http: self._begin(http, name, request, reply, answers))
        self._names[name] = path
        return handler

    def unregister(self, name: str) -> None:
        """
        Answer calls of *name* no more: 404.  Calls on their way go on.  Raises KeyError, ClosedError.

        Wraps: evrpc_unregister_rpc() <event2/rpc.h>; libevent >= 1.4, its effect.
        """
        self._check_open()
        self._http.remove_route(self._names.pop(name))

    # -- serving ---------------------------------------------------------------------------------------------

    def _begin(self, http: Request, name: str, request: type[Any], reply: type[Any], handler: Any) -> None:
        call: Call[Any, Any] = Call._make(self, name, http, reply)
        if http.method != "POST":
            call._refuse()
            return
        self._calls.add(call)
        if not self._hooks[HookType.INPUT]:
            self._serve(call, request, handler, True)
            return
        call._pass(HookType.INPUT, http.body, lambda passes: self._serve(call, request, handler, passes))

    def _serve(self, call: Call[Any, Any], request: type[Any], handler: Any, passes: bool) -> None:
        call._context = None
        if call._http.closed:
            return  # the client has gone while a hook paused
        if not passes or not call._decode(request):
            call._refuse()
            return
        self._deliver(call, handler)

    @delivers
    def _deliver(self, call: Call[Any, Any], handler: Any) -> None:
        callback = handler
        try:
            callback(call)
        except Exception as error:
            if isinstance(error, BrokenPipeError) and call._http.client_gone:
                _log.debug("the client of %s has gone", repr(call))
            else:
                _log.error("the handler of %s failed", repr(call), exc_info=error)
            if not call._answered:
                call._refuse()
            return
        except BaseException:  # Ctrl-C in it, or the end of the program: it will not be called again
            if not call._answered and not call._deferred:
                call._refuse()
            raise
        if not call._answered and not call._deferred and not call._http.closed:
            _log.error(
                "%s was not answered, and fails: its handler returned without reply() or defer()", call
            )
            call._refuse()

    # -- ending ----------------------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Is it closed, or the HTTP server?"""
        return self._closed or self._http.closed

    def close(self) -> None:
        """
        End it now; any number of times, from inside any callback too.

        No handler or hook runs any more.  Raises WrongThreadError, and closes nothing then.

        Wraps: evrpc_free() <event2/rpc.h>; libevent >= 1.4, its effect.
        """
        if self._closed:
            return
        if not self._base.closed:
            self._base.update_now()  # refuses another thread, before anything is done
        if not self._http.closed:
            for path in self._names.values():
                self._http.remove_route(path)
        self._closed = True
        for call in list(self._calls):
            call._drop()
        self._names.clear()
        self._hooks = dict.fromkeys(self._hooks, ())

    def _describe(self) -> list[str]:
        return [] if self.closed else list(self._names)
