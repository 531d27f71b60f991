"""Connecting to a name: the first of its addresses that stands (RFC 8305)."""

from __future__ import annotations

import errno
import itertools
import os
import socket
from typing import TYPE_CHECKING, Any, Optional

from .._native import convert
from .._native.check import asked_for
from ..bufferevent import BufferEvent
from ..errors import TLSError
from ..event import Operation
from ..event.arguments import check_base
from ..flags import BufferEventFlag, EventFlag
from .resolver import Resolver

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import TypeVarTuple, Unpack

    from ..event import EventBase, Timer
    from ..tls import TLSContext
    from ..types import Address, AddrInfo
    from .queries import Query

    _Ts = TypeVarTuple("_Ts")

__all__ = ["connect"]


def connect(
    base: EventBase,
    address: Address,
    callback: Optional[Callable[[Operation[BufferEvent], Unpack[_Ts]], object]] = None,
    *args: Unpack[_Ts],
    resolver: Optional[Resolver] = None,
    tls: Optional[TLSContext] = None,
    server_hostname: Optional[str] = None,
    attempt_delay: float = 0.25,
    timeout: Optional[float] = None,
) -> Operation[BufferEvent]:
    """
    Connect to *address*, whose host may be a name: the first connection that stands is the result, after its
    handshake when *tls* is given.

    The addresses are tried in turn, IPv6 and IPv4 alternating, each *attempt_delay* seconds after the one
    before it or when that has failed; attempts that are not needed any more are closed.  *timeout* is for all
    of it, the look-up too; None is no limit.  *resolver* None is Resolver.default(); *server_hostname* None
    the host of the address.

    The Operation fails with DNSError, with what the last attempt failed with, or with TimeoutError; its
    callback runs on the thread that dispatches.  The connection has no callbacks yet: set them in there.

    Raises TypeError, ValueError, ClosedError, WrongThreadError.

    Wraps: evdns_getaddrinfo() <event2/dns.h>, bufferevent_socket_connect() <event2/bufferevent.h>; libevent
    >= 2.0.
    """
    check_base(base)
    delay = convert.check_seconds(attempt_delay, "attempt_delay")
    limit = None if timeout is None else convert.check_seconds(timeout)
    if not isinstance(address, tuple):
        convert.sockaddr_to_c(address)  # checks it
    elif len(address) < 2 or not isinstance(address[0], str):
        raise TypeError(f"an address is (host, port[, flowinfo, scope_id]), not {address!r}")
    race: _Race = _Race._start(base, callback, args)  # type: ignore[assignment]
    race._begin(tls, server_hostname, delay)
    try:
        race._run(address, resolver, limit)
    except BaseException:
        race._stop()
        base._operations.discard(race)
        raise
    return race


class _Race(Operation[BufferEvent]):
    """Attempts to connect."""

    __slots__ = ("_attempts", "_delay", "_hostname", "_last", "_left", "_query", "_timers", "_tls")

    _query: Optional[Query[list[AddrInfo]]]

    def _begin(self, tls: Optional[TLSContext], hostname: Optional[str], delay: float) -> None:
        self._tls, self._hostname, self._delay = tls, hostname, delay
        self._query = None
        self._attempts: dict[BufferEvent, Any] = {}
        self._left: list[Any] = []
        self._timers: list[Timer] = []
        self._last: Optional[Exception] = None

    def _run(self, address: Address, resolver: Optional[Resolver], limit: Optional[float]) -> None:
        if limit is not None:
            self._timers.append(self._base.call_later(limit, self._too_late, address, limit))
        if isinstance(address, tuple):
            host, port, *rest = address
            if self._hostname is None:
                self._hostname = host
            resolver = resolver or Resolver.default(self._base)
            self._query = resolver.getaddrinfo(host, port, self._resolved, rest, type=socket.SOCK_STREAM)
        else:
            self._left = [address]
            self._timers.append(self._base.call_later(0, self._next))

    def _resolved(self, query: Query[list[AddrInfo]], rest: list[int]) -> None:
        self._query = None
        if self._done:
            return
        if query.error is not None:
            self._end(error=query.error)
            return
        targets = [entry[4] for entry in query.result()]
        ipv6 = [(*target[:2], *rest) if rest else target for target in targets if len(target) == 4]
        ipv4 = [target for target in targets if len(target) == 2]
        pairs = itertools.zip_longest(ipv6, ipv4)
        self._left = [target for pair in pairs for target in pair if target is not None]
        self._next()

    def _next(self) -> None:
        """Begin the next attempt, and see to the one after it."""
        if self._done or not self._left:
            return
        target = self._left.pop(0)
        try:
            bev = BufferEvent(
                self._base,
                on_event=self._happened,
                tls=self._tls,
                server_hostname=self._hostname if self._tls is not None else None,
                enabled=EventFlag.WRITE,
            )
            self._attempts[bev] = target
            bev.connect(target)
        except OSError as error:
            self._failed(_with_address(error, target))
            return
        if self._left:
            self._timers.append(self._base.call_later(self._delay, self._next))

    def _happened(self, bev: BufferEvent, what: BufferEventFlag, error: Optional[Exception]) -> None:
        if self._done:
            return
        if what & BufferEventFlag.CONNECTED:
            del self._attempts[bev]
            bev.on_event = None
            bev.enable(EventFlag.READ | EventFlag.WRITE)
            self._end(bev)
            return
        bev.close()
        target = self._attempts.pop(bev, None)
        if target is not None:
            failure = error or ConnectionError("the connection ended before it stood")
            self._failed(_with_address(failure, target))

    def _failed(self, error: Exception) -> None:
        self._last = error
        if self._left:
            self._next()
        elif not any(not attempt.closed for attempt in self._attempts):
            self._end(error=self._last)

    def _too_late(self, address: Address, limit: float) -> None:
        if isinstance(address, tuple):
            where = asked_for(*address[:2])
        else:
            where = convert.format_address(os.fsdecode(address))
        self._end(error=TimeoutError(errno.ETIMEDOUT, f"no connection to {where}, after {limit:g} s"))

    def _end(self, value: Optional[BufferEvent] = None, error: Optional[Exception] = None) -> None:
        self._stop()
        self._finish(value, error)

    def _stop(self) -> None:
        self._left = []
        for timer in self._timers:
            timer.close()
        self._timers.clear()
        query, self._query = self._query, None
        if query is not None:
            query.cancel()
        for attempt in self._attempts:
            attempt.close()
        self._attempts.clear()

    def _abandon(self) -> None:
        self._stop()


def _with_address(error: Exception, target: Any) -> Exception:
    """Return *error* with the address that was tried: a name may have several."""
    if isinstance(error, TLSError) or not isinstance(error, OSError) or error.errno is None:
        return error
    return OSError(error.errno, f"{error.strerror}: {convert.format_address(target)}")
