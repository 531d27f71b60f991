"""
Opening a connection: looking the name up, and one address after another.

libevent tries the first address of a name only (bufferevent_sock.c:bufferevent_connect_getaddrinfo_cb),
which is why this is done here.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING, Any, Optional

from .._native import check, convert
from .._native._libevent import ffi, lib
from ..bufferevent import BufferEvent
from ..errors import TLSError
from ..flags import BufferEventFlag, EventFlag
from .options import is_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..event import Event, EventBase, Operation
    from ..types import Address
    from .options import Options

__all__ = ["Opening"]

_AF_UNIX = getattr(socket, "AF_UNIX", None)
_UNDER_WAY = frozenset(
    getattr(errno, name) for name in ("EINPROGRESS", "EINTR", "WSAEWOULDBLOCK") if hasattr(errno, name)
)
_FULL_BACKLOG = errno.EAGAIN  # of a UNIX socket: nothing tells when there is room again
_AGAIN_SOON = 0.01
_MOST_DELAY = 3600.0

#: (family, address) to connect to.
_Target = tuple[int, Any]


class Opening:
    """
    Opens one connection, with its TLS handshake; then ``done(bufferevent, target, None)``, or
    ``done(None, None, error)`` when every address has failed as often as it may.

    *known* is a target that worked before, and saves looking the name up.
    """

    def __init__(
        self,
        base: EventBase,
        address: Address,
        options: Options,
        known: Optional[_Target],
        done: Callable[[Optional[BufferEvent], Optional[_Target], Optional[Exception]], None],
    ) -> None:
        self._base = base
        self._address = address
        self._options = options
        self._known = known
        self._done: Optional[Callable[..., None]] = done
        self._targets: list[_Target] = []
        self._target: Optional[_Target] = None
        self._tries = 0
        self._error: Optional[Exception] = None
        self._query: Optional[Operation[Any]] = None
        #: The connection that is being made, and what it waits for.
        self._bev: Optional[BufferEvent] = None
        self._writable: Optional[Event] = None
        self._timer: Optional[Event] = None

    def start(self) -> None:
        """Begin, or begin again."""
        try:
            if self._known is not None:
                self._targets = [self._known]
            elif is_name(self._address):
                self._look_up()
                return
            else:
                self._targets = [_numeric(self._address)]
        except Exception as error:
            self._finish(None, error)
            return
        self._next()

    def cancel(self) -> None:
        """Stop; done() is not called."""
        self._done = None
        if self._query is not None:
            self._query.cancel()
            self._query = None
        self._let_go()

    def _finish(self, bev: Optional[BufferEvent], error: Optional[Exception]) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(bev, self._target, error)

    # -- looking the name up ---------------------------------------------------------------------------------

    def _look_up(self) -> None:
        assert isinstance(self._address, tuple)
        host, port = self._address[:2]
        resolver = self._options.resolver
        if resolver is None:
            from ..dns import Resolver  # loads at its first use

            resolver = Resolver.default(self._base)
        self._query = resolver.getaddrinfo(
            host, port, self._found, family=self._options.family, type=socket.SOCK_STREAM
        )

    def _found(self, query: Operation[Any]) -> None:
        self._query = None
        if self._done is None:
            return
        if query.error is not None:
            self._failed_all(query.error)
            return
        found = [(entry[0], entry[4]) for entry in query.result()]
        self._targets = list(dict.fromkeys(found))
        self._next()

    # -- connecting ------------------------------------------------------------------------------------------

    def _next(self) -> None:
        """Try the next address."""
        while self._targets and self._done is not None:
            self._target = self._targets.pop(0)
            family = self._options.family
            if family and self._target[0] not in (family, _AF_UNIX):
                continue
            try:
                self._connect()
                return
            except OSError as error:
                self._let_go()
                self._error = error
            except Exception as error:
                self._let_go()
                self._finish(None, error)
                return
        if self._done is not None:
            self._failed_all(self._error or OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT)))

    def _connect(self) -> None:
        assert self._target is not None
        family, address = self._target
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.setblocking(False)
            if family != _AF_UNIX:  # or what is sent after another waits until that is confirmed
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._options.local_address is not None and family != _AF_UNIX:
                sock.bind(self._options.local_address)
            number = sock.connect_ex(address)
            if number and number not in _UNDER_WAY and not (number == _FULL_BACKLOG and family == _AF_UNIX):
                raise self._refusal(number)
            self._bev = BufferEvent(self._base, sock, enabled=EventFlag(0))
        if self._timer is None and self._options.connect_timeout is not None:
            self._timer = self._base.call_later(self._options.connect_timeout, self._timed_out)
        if number == 0:
            self._connected()
        elif number == _FULL_BACKLOG:
            self._writable = self._base.call_later(_AGAIN_SOON, self._connect_again)
        else:
            self._writable = self._base.on_writable(self._bev.fileno(), self._is_writable)

    def _connect_again(self) -> None:
        """Try a UNIX socket whose backlog was full, under the same timeout."""
        self._writable = None
        self._close_bev()
        assert self._target is not None
        self._targets.insert(0, self._target)
        self._next()

    def _is_writable(self) -> None:
        assert self._bev is not None
        number = _error_of(self._bev.fileno())
        self._drop_event("_writable")
        if number:
            self._failed(self._refusal(number))
        else:
            self._connected()

    def _refusal(self, number: int) -> OSError:
        assert self._target is not None
        return OSError(number, f"{os.strerror(number)}: {convert.format_address(self._target[1])}")

    def _connected(self) -> None:
        assert self._bev is not None
        if self._options.tls is None:
            bev, self._bev = self._bev, None
            self._let_go()
            self._finish(bev, None)
            return
        try:
            with self._bev.detach() as sock:
                self._bev = BufferEvent(
                    self._base,
                    sock,
                    on_event=self._handshake,
                    tls=self._options.tls,
                    server_hostname=self._options.server_hostname,
                )
        except Exception as error:
            self._let_go()
            self._finish(None, error)

    def _handshake(self, bev: BufferEvent, what: BufferEventFlag, error: Optional[Exception]) -> None:
        if bev is not self._bev:
            return
        if what & BufferEventFlag.CONNECTED:
            self._bev = None
            self._let_go()
            self._finish(bev, None)
        elif isinstance(error, TLSError):  # another address would hardly have another certificate
            self._let_go()
            self._finish(None, error)
        else:
            self._failed(
                error or ConnectionResetError("the server closed the connection in the TLS handshake")
            )

    def _timed_out(self) -> None:
        self._timer = None
        seconds = self._options.connect_timeout
        where = convert.format_address(self._target[1]) if self._target else repr(self._address)
        self._failed(TimeoutError(errno.ETIMEDOUT, f"no connection to {where} after {seconds:g} s"))

    # -- failing ---------------------------------------------------------------------------------------------

    def _failed(self, error: Exception) -> None:
        self._let_go()
        self._error = error
        self._next()

    def _failed_all(self, error: Exception) -> None:
        self._known = None
        if self._options.retries >= 0 and self._tries >= self._options.retries:
            self._finish(None, error)
            return
        delay = min(self._options.retry_delay * 2 ** min(self._tries, 40), _MOST_DELAY)
        self._tries += 1
        self._timer = self._base.call_later(delay, self._retry)

    def _retry(self) -> None:
        self._timer = None
        self.start()

    def _let_go(self) -> None:
        self._drop_event("_writable")
        self._drop_event("_timer")
        self._close_bev()

    def _close_bev(self) -> None:
        if self._bev is not None:
            self._bev.close()
            self._bev = None

    def _drop_event(self, name: str) -> None:
        event: Optional[Event] = getattr(self, name)
        if event is not None:
            setattr(self, name, None)
            event.close()


def _error_of(fd: int) -> int:
    """Return what became of the connect() of socket *fd*: 0, or the number of an error."""
    found = ffi.new("int *")
    check.check_rc(lib.lev_getsockopt(fd, socket.SOL_SOCKET, socket.SO_ERROR, found), "getsockopt")
    number: int = found[0]
    return number


def _numeric(address: Address) -> _Target:
    memory, length = convert.sockaddr_to_c(address)  # checks it
    if not isinstance(address, tuple):
        if _AF_UNIX is None:
            raise ValueError("this system has no UNIX sockets")
        return _AF_UNIX, os.fspath(address)
    found: Any = convert.sockaddr_from_c(memory, length)
    return (socket.AF_INET if len(found) == 2 else socket.AF_INET6), found
