"""HTTP servers."""

from __future__ import annotations

import logging
import os
import socket
from typing import TYPE_CHECKING, Optional, Union

from .._native import callbacks_http as _callbacks_http  # noqa: F401 - C calls what is there
from .._native import children, convert, features
from .._native._libevent import lib
from ..event import Operation, Timer
from ..event.arguments import check_base
from ..listener import _NO_FILE, Listener, _bind, _look_at, _unlink
from . import methods as known
from .bound import BoundSocket
from .request import Request
from .serving import Serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ..bufferevent import BufferEvent
    from ..event import EventBase
    from ..tls import TLSContext
    from ..types import Address, HasFileno
    from .refused import Refused

    Handler = Callable[[Request], object]

__all__ = ["Server"]

_log = logging.getLogger("libevent")
_INTERNET = {socket.AF_INET, socket.AF_INET6}
_FAMILIES = {*_INTERNET, getattr(socket, "AF_UNIX", socket.AF_INET)}


class Server(Serving):
    """
    Serves HTTP: ``handler(request)`` answers what no route takes, on the thread that dispatches.

    Without a handler that is 404.  A handler that raises has 500 answered, its traceback is logged, and the
    server goes on.

    - *tls*: a TLSContext.server() for every bind() that names none.
    - *max_headers_size*, *max_body_size*: bytes; to more 400 and 413 is answered.  None: no limit.
    - *max_connections*: one more is told 503 and closed.
    - *timeout*: seconds for a client to send the head of a request, or anything of its body, and to take
      anything of an answer.  *read_timeout* and *write_timeout*: the one and the other apart.  No time runs
      while a request is deferred, or an answer pauses.
    - *reply_timeout*: seconds after which a request that was deferred has 503 answered.
    - *allowed_methods*: others have 501 answered; None: GET, POST, HEAD, PUT, DELETE, OPTIONS, PATCH.
    - *methods*: names beyond libevent's own, with whether they may have a body; libevent >= 2.2.
    - *default_content_type*: for answers that say none themselves; None: no header.
    - *lingering_close*: read a body that is too long to its end before 413 is answered.
    - *on_request*: ``on_request(request)`` before the handler.
    - *on_refused*: ``on_refused(server, refused)`` is told of the answers to requests that nobody has seen.
    - *error_page*: ``error_page(request, status, reason)`` gives the body of error replies; None: the usual.
    - *bufferevent_factory*: ``bufferevent_factory(base)`` makes the BufferEvent of each connection, without a
      socket yet.  If it raises, the connection is refused.

    All but *tls*, *allowed_methods* and *methods* are attributes too, which can be set at any time, and
    raise what the constructor does.

    It is held by its base while it listens or has connections.

    Raises TypeError, ValueError, ClosedError, WrongThreadError, FeatureUnavailableError.

    Wraps: evhttp_new() evhttp_free() evhttp_set_gencb() evhttp_set_bevcb() evhttp_set_max_headers_size()
    evhttp_set_max_body_size() evhttp_set_max_connections() evhttp_set_default_content_type()
    evhttp_set_allowed_methods() evhttp_set_ext_method_cmp() evhttp_set_timeout() evhttp_set_timeout_tv()
    evhttp_set_read_timeout_tv() evhttp_set_write_timeout_tv() evhttp_set_flags() evhttp_set_newreqcb()
    evhttp_set_errorcb() <event2/http.h>; libevent >= 1.4.
    """

    __slots__ = (
        "_bound",
        "_hosts",
        "_limit",
        "_parent",
        "_stopping",
        "_tls",
    )

    def __init__(
        self,
        base: EventBase,
        handler: Optional[Handler] = None,
        *,
        tls: Optional[TLSContext] = None,
        max_headers_size: Optional[int] = 65536,
        max_body_size: Optional[int] = 16777216,
        max_connections: Optional[int] = None,
        timeout: Optional[float] = 50.0,
        read_timeout: Optional[float] = None,
        write_timeout: Optional[float] = None,
        reply_timeout: Optional[float] = None,
        allowed_methods: Optional[Iterable[str]] = None,
        methods: Mapping[str, bool] = known.NONE,
        default_content_type: Optional[str] = None,
        lingering_close: bool = False,
        on_request: Optional[Callable[[Request], object]] = None,
        on_refused: Optional[Callable[[Server, Refused], object]] = None,
        error_page: Optional[Callable[[Request, int, str], Optional[bytes]]] = None,
        bufferevent_factory: Optional[Callable[[EventBase], BufferEvent]] = None,
    ) -> None:
        self._check_new()
        check_base(base)
        self._base = base
        self._bound: list[BoundSocket] = []
        self._start_serving()
        self._parent: Optional[Server] = None
        self._hosts: list[Server] = []
        self._stopping: Optional[Operation[None]] = None
        self._limit: Optional[Timer] = None
        if methods:
            features.require("http_ext_methods")
        bits = known.bits_of(allowed_methods, methods)
        handle = children.new("struct lev_http *")
        result = lib.lev_http_open(handle, base._l)
        if result < 0:
            self._refuse(result, "evhttp_new")
        self._begin(base, handle)
        try:
            self.handler = handler
            self.on_request = on_request
            self.on_refused = on_refused
            self.error_page = error_page
            self.bufferevent_factory = bufferevent_factory
            self._tls = None if tls is None else _check_tls(tls)
            self.max_headers_size = max_headers_size
            self.max_body_size = max_body_size
            self.max_connections = max_connections
            self._set_timeouts(timeout, read_timeout, write_timeout)
            self.reply_timeout = reply_timeout
            self.default_content_type = default_content_type
            self.lingering_close = lingering_close
            self._set(lib.LEV_SET_METHODS, bits)
        except BaseException:
            self.close()
            raise

    # -- listening -------------------------------------------------------------------------------------------

    def bind(
        self,
        address: Address,
        *,
        tls: Optional[TLSContext] = None,
        backlog: int = 128,
        reuse_port: bool = False,
        ipv6_only: Optional[bool] = None,
    ) -> BoundSocket:
        """
        Listen on *address*: (host, port), with port 0 for one that is free, or the path of a UNIX socket.

        *tls* is a TLSContext.server() for this address.  The rest is as for a Listener.  Its connections have
        TCP_NODELAY: pieces of an answer go out as they are sent.

        Raises OSError, ValueError, TypeError, ClosedError, WrongThreadError.

        Wraps: evhttp_bind_socket() evhttp_bind_socket_with_handle() <event2/http.h>; libevent >= 1.4.
        """
        self._check_open()
        backlog = convert.c_int(backlog, "backlog", 1)
        sock, file = _bind(address, backlog, True, reuse_port, ipv6_only)
        return self._listen(sock, file, tls)

    def accept(
        self, source: Union[HasFileno, int, Listener], *, tls: Optional[TLSContext] = None
    ) -> BoundSocket:
        """
        Serve what listens already, which is handed over: a socket object is detached, an int taken, a
        Listener closed; of anything else the descriptor is duplicated.

        Raises as bind().

        Wraps: evhttp_accept_socket() evhttp_accept_socket_with_handle() evhttp_bind_listener()
        <event2/http.h>; libevent >= 1.4.
        """
        self._check_open()
        if isinstance(source, Listener):
            sock = socket.socket(fileno=os.dup(source.fileno()))
            sock.setblocking(False)
            file = source._give_file()
            source.close()
            return self._listen(sock, file, tls)
        sock = _look_at(source)
        is_shared = isinstance(source, (int, socket.socket))
        try:
            bound = self._listen_with(sock, _NO_FILE, tls)
        except BaseException:
            if is_shared:
                sock.detach()  # it is the caller's still
            else:
                sock.close()
            raise
        if isinstance(source, socket.socket):
            source.detach()
        return bound

    def _listen(
        self, sock: socket.socket, file: tuple[bytes, int, int], tls: Optional[TLSContext]
    ) -> BoundSocket:
        try:
            return self._listen_with(sock, file, tls)
        except BaseException:
            sock.close()
            _unlink(file)
            raise

    def _listen_with(
        self, sock: socket.socket, file: tuple[bytes, int, int], tls: Optional[TLSContext]
    ) -> BoundSocket:
        if sock.family not in _FAMILIES:
            raise ValueError(f"HTTP is served over TCP and UNIX sockets, not over {sock.family!r}")
        context = self._tls if tls is None else _check_tls(tls)
        if sock.family in _INTERNET:  # connections inherit it; a piece would wait until the last is confirmed
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        bound = BoundSocket._make(self, sock, file, context)
        self._bound = [*self._bound, bound]
        self._hold()
        return bound

    @property
    def bound(self) -> tuple[BoundSocket, ...]:
        """
        What it listens on.

        Wraps: evhttp_foreach_bound_socket() <event2/http.h>; libevent >= 2.1.
        """
        return tuple(bound for bound in self._bound if not bound.closed)

    # -- hosts -----------------------------------------------------------------------------------------------

    def _root(self) -> Server:
        server = self
        while server._parent is not None:
            server = server._parent
        return server

    def add_virtual_host(self, pattern: str, host: Server) -> None:
        """
        Have *host* answer for the hosts that *pattern* fits, such as ``*.example.org``.

        A star stands for any characters, but libevent finds nothing with one at the end.

        It must not listen itself, nor answer for another server.  It is closed with this one.

        Raises ValueError, TypeError, ClosedError, WrongThreadError.

        Wraps: evhttp_add_virtual_host() <event2/http.h>; libevent >= 2.0.
        """
        encoded = convert.c_text(pattern, "pattern")
        if not isinstance(host, Server):
            raise TypeError(f"host must be a Server, not {host!r}")
        host._check_open()
        result = lib.lev_http_add_host(self._c, encoded, host._c)
        if result == lib.LEV_BAD_VHOST:
            raise ValueError(f"{host!r} listens, answers for a server already, or has another base")
        self._checked(result, "evhttp_add_virtual_host")
        host._parent = self
        self._hosts.append(host)
        host._hold()

    def remove_virtual_host(self, host: Server) -> None:
        """
        Have *host* answer for this server no more.  Raises ValueError, ClosedError, WrongThreadError.

        Wraps: evhttp_remove_virtual_host() <event2/http.h>; libevent >= 2.0.
        """
        if not isinstance(host, Server):
            raise TypeError(f"host must be a Server, not {host!r}")
        result = lib.lev_http_remove_host(self._c, host._c)
        if result == lib.LEV_BAD_VHOST:
            raise ValueError(f"{host!r} is no virtual host of this server")
        self._checked(result, "evhttp_remove_virtual_host")
        host._parent = None
        self._hosts.remove(host)
        host._hold()

    def add_alias(self, name: str) -> None:
        """
        Have this server, rather than a virtual host, answer for the host *name*.

        Raises ValueError, ClosedError, WrongThreadError.

        Wraps: evhttp_add_server_alias() <event2/http.h>; libevent >= 2.0.
        """
        encoded = convert.c_text(name, "name")
        self._checked(lib.lev_http_alias(self._c, encoded, 1), "evhttp_add_server_alias")

    def remove_alias(self, name: str) -> None:
        """
        Undo add_alias().  Raises KeyError, ClosedError, WrongThreadError.

        Wraps: evhttp_remove_server_alias() <event2/http.h>; libevent >= 2.0.
        """
        result = lib.lev_http_alias(self._c, convert.c_text(name, "name"), 0)
        if result == lib.LEV_BAD_VHOST:
            raise KeyError(name)
        self._checked(result, "evhttp_remove_server_alias")

    # -- ending ----------------------------------------------------------------------------------------------

    def _stopped(self) -> None:
        stopping = self._stopping
        self.close()
        if stopping is not None:
            stopping._finish(None)

    @property
    def connections(self) -> int:
        """
        How many connections there are.

        Wraps: evhttp_get_connection_count() <event2/http.h>; libevent >= 2.2, here on any.
        """
        count: int = lib.lev_http_count(self._c)
        return 0 if self.closed else count

    def stop(
        self,
        callback: Optional[Callable[[Operation[None]], object]] = None,
        *,
        timeout: Optional[float] = None,
    ) -> Operation[None]:
        """
        Accept no more, let running requests finish for at most *timeout* seconds, and close.

        Connections on which nothing runs are closed at once; a WebSocket is closed with 1001, which its
        client is to answer.  ``callback(operation)`` is told when it is
        closed.  Raises TypeError, ValueError, ClosedError, WrongThreadError.

        Wraps: evhttp_del_accept_socket() evhttp_free() <event2/http.h>; libevent >= 2.0.
        """
        if timeout is not None:
            convert.check_seconds(timeout)
        self._check_open()
        operation: Operation[None] = Operation._start(self.base, callback, ())
        for bound in self._bound:
            bound.close()
        before, self._stopping = self._stopping, operation
        if before is not None:
            before._finish(None)
        self._checked(lib.lev_http_stop(self._c), "evhttp_free")
        self._hold()
        for _, guest in list(self._guests.values()):
            guest._stopping()
        if timeout is not None:
            self._limit = self.base.call_later(timeout, self._give_up)
        return operation

    def _give_up(self) -> None:
        if not self.closed:
            self._stopped()

    def close(self) -> None:
        """
        End it now, with all its connections; any number of times, from inside any callback too.

        No callback of its requests runs any more.  stop() lets them finish.  Raises WrongThreadError.
        """
        super().close()
        requests, self._requests = self._requests, {}
        for request in requests.values():
            request._more().end()
        guests, self._guests = self._guests, {}
        for _, guest in guests.values():
            guest._left()
        self._latest = None
        self._routes = {}
        self._shown = {}
        self._bound = []
        self._end_hosting()
        limit, self._limit = self._limit, None
        if limit is not None and not self._base.closed:
            limit.close()
        stopping, self._stopping = self._stopping, None
        if stopping is not None:
            stopping._finish(None)

    def _end_hosting(self) -> None:
        """Be no virtual host any more, and close those that are this server's."""
        parent, self._parent = self._parent, None
        if parent is not None and self in parent._hosts:
            parent._hosts.remove(self)
        hosts, self._hosts = self._hosts, []
        for host in hosts:
            host.close()

    def _describe(self) -> list[str]:
        if self.closed:
            return []
        return [word for bound in self.bound for word in bound._describe()]


def _check_tls(context: TLSContext) -> TLSContext:
    """Return *context*, which C can use for a server's connections."""
    if not hasattr(context, "_for_c"):
        raise TypeError(f"tls must be a libevent_cffi.tls.TLSContext, not {context!r}")
    if not context.server_side:
        raise ValueError(f"tls is for a server: {context!r} is a client's; see TLSContext.server()")
    context._for_c()
    return context
