"""
Questions that are asked here and not by libevent: by TCP, and those of datagrams.py.

libevent 2.2 can ask by TCP, but uses memory that it has freed where a name server refuses or goes silent
(evdns.c:client_tcp_read_packet_cb, retransmit_all_tcp_requests_for), and so may any name server end the
process.  So this is done here, on every libevent: over one connection to each name server, kept for a while.
"""

from __future__ import annotations

import os
import random
import struct
import weakref
from collections import deque
from typing import TYPE_CHECKING, Optional, Union

from .._native._libevent import lib
from ..bufferevent import BufferEvent
from ..errors import ClosedError
from ..flags import BufferEventFlag, EventFlag
from .answers import Found
from .datagrams import Datagram
from .messages import failure, make_question, read_answer_to

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..event import Timer
    from ..types import InetAddress
    from .resolver import Resolver

__all__ = ["Asker", "Exchange"]

_random = random.SystemRandom()
#: After these another name server is asked.
_TRY_ANOTHER = (lib.DNS_ERR_SERVERFAILED, lib.DNS_ERR_NOTIMPL, lib.DNS_ERR_REFUSED)


class Exchange:
    """One question, until it is answered or its tries are used up; then ``done(found)`` is called."""

    __slots__ = ("asker", "by_tcp", "done", "error", "kind", "left", "name", "number", "stream", "timer")

    def __init__(
        self, asker: Asker, name: bytes, kind: int, by_tcp: bool, left: int, done: Callable[[Found], object]
    ) -> None:
        self.asker, self.name, self.kind, self.by_tcp = asker, name, kind, by_tcp
        self.left, self.done = left, done
        self.error: int = lib.DNS_ERR_TIMEOUT
        self.number = 0
        self.stream: Union[_Stream, Datagram, None] = None
        self.timer: Optional[Timer] = None

    def cancel(self) -> None:
        """Ask no more, and tell nothing."""
        self.leave()
        self.asker.forget(self)

    def leave(self) -> None:
        """Wait no more for an answer on this connection."""
        if self.timer is not None:
            self.timer.close()  # refuses another thread
        stream, self.stream, self.timer = self.stream, None, None
        if stream is not None:
            stream.open.pop(self.number, None)
            stream.rest()


class Asker:
    """What a resolver asks here, and its connections."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._streams: dict[InetAddress, _Stream] = {}
        self._waiting: deque[Exchange] = deque()
        self._active: set[Exchange] = set()
        self._turn = 0
        self._closed = False

    def ask(self, name: bytes, kind: int, by_tcp: bool, done: Callable[[Found], object]) -> Exchange:
        """Ask for the records of type *kind* of *name*; nothing is told before the loop runs."""
        exchange = Exchange(self, name, kind, by_tcp, max(self._resolver._option("attempts"), 1), done)
        self._waiting.append(exchange)
        self.pump_soon()
        return exchange

    def close(self) -> None:
        """End it; nothing is told any more."""
        self._closed = True
        for exchange in [*self._active, *self._waiting]:
            exchange.leave()
        self._active.clear()
        self._waiting.clear()
        for stream in list(self._streams.values()):
            stream.close()
        self._streams.clear()

    def forget(self, exchange: Exchange) -> None:
        """Let others have its turn."""
        if exchange in self._active:
            self._active.discard(exchange)
            if self._waiting:
                self.pump_soon()
        elif exchange in self._waiting:
            self._waiting.remove(exchange)

    def pump_soon(self) -> None:
        """Ask those that wait, in a pass of the loop."""
        if not self._resolver.base.closed:
            self._resolver.base.call_soon(self._pump)

    def _pump(self) -> None:
        while self._waiting and not self._resolver.closed:
            if len(self._active) >= self._resolver._option("max_inflight"):
                return
            servers = self._resolver.nameservers
            if not servers and self._resolver._is_suspended:
                return  # until resume()
            exchange = self._waiting.popleft()
            self._active.add(exchange)
            try:
                self._turn += 1
                if not servers or not self._begin(exchange, servers[self._turn % len(servers)]):
                    self.failed(exchange)
            except BaseException:  # a signal handler's
                self._put_back(exchange)
                raise

    def _put_back(self, exchange: Exchange) -> None:
        exchange.leave()
        self._active.discard(exchange)
        self._waiting.appendleft(exchange)
        self.pump_soon()

    def _begin(self, exchange: Exchange, address: InetAddress) -> bool:
        stream: Union[_Stream, Datagram, None] = None
        try:
            stream = self._stream(address) if exchange.by_tcp else Datagram(self, self._resolver, address)
            seconds = self._resolver._option("timeout")
            exchange.timer = self._resolver.base.call_later(seconds, self._too_late, exchange)
            stream.ask(exchange)
        except (OSError, ClosedError):
            exchange.leave()
            if stream is not None:
                stream.end()
            return False
        return True

    def _stream(self, address: InetAddress) -> _Stream:
        stream = self._streams.get(address)
        if stream is not None and (stream.bev.closed or stream.pid != os.getpid()):
            stream.end()
            stream = None
        if stream is None:
            stream = _Stream(self, self._resolver, address)
            stream.bev.connect(address)
            self._streams[address] = stream
        return stream

    def _too_late(self, exchange: Exchange) -> None:
        stream = exchange.stream
        exchange.leave()
        if stream is not None:
            stream.end()  # a connection may be dead without being closed
        self.failed(exchange)

    def failed(self, exchange: Exchange, *, counts: bool = True, error: int = lib.DNS_ERR_TIMEOUT) -> None:
        """Try again, or tell that it failed."""
        exchange.leave()
        self._active.discard(exchange)
        exchange.error = error if error != lib.DNS_ERR_SERVERFAILED else lib.DNS_ERR_TIMEOUT
        exchange.left -= counts
        if exchange.left > 0:
            self._waiting.appendleft(exchange)
        else:
            exchange.done(failure(exchange.error, exchange.kind))
        if self._waiting:
            self.pump_soon()

    def take(self, stream: Union[_Stream, Datagram], message: bytes) -> bool:
        """Take up what a name server sent; was it the answer to something?"""
        exchange = stream.open.get(int.from_bytes(message[:2], "big"))
        if exchange is None:
            return False
        found = read_answer_to(message, exchange.number, exchange.name, exchange.kind)
        if found is None:
            return False
        if found.error in _TRY_ANOTHER:
            self.failed(exchange, error=found.error)
            return False
        self._answered(exchange, found)
        return True

    def _answered(self, exchange: Exchange, found: Found) -> None:
        exchange.done(found)
        exchange.leave()
        self._active.discard(exchange)
        if self._waiting:
            self.pump_soon()

    def lost(self, stream: _Stream) -> None:
        """Forget a connection that has ended."""
        if self._streams.get(stream.address) is stream:
            del self._streams[stream.address]


class _Stream:
    """A connection to a name server."""

    __slots__ = (
        *("__weakref__", "address", "asker", "bev", "idle", "open", "pid", "resolver"),
        *("_data", "_has_answered", "_timer"),
    )

    def __init__(self, asker: Asker, resolver: Resolver, address: InetAddress) -> None:
        self.asker, self.resolver, self.address = asker, resolver, address
        self.open: dict[int, Exchange] = {}
        self.pid = os.getpid()
        self._data = bytearray()
        self._has_answered = False
        self._timer: Optional[Timer] = None
        self.bev = BufferEvent(resolver.base, on_read=self._read, on_event=self._happened)

    def ask(self, exchange: Exchange) -> None:
        """Send a question."""
        number = _random.randrange(1, 65535)
        while number in self.open:
            number = _random.randrange(1, 65535)
        exchange.number, exchange.stream = number, self
        self.open[number] = exchange
        self._wake()
        message = make_question(number, exchange.name, exchange.kind)
        self.bev.write(struct.pack(">H", len(message)) + message)

    def close(self) -> None:
        """Close the connection."""
        self._stop_timer()
        self.bev.close()

    def end(self) -> None:
        """Close it; what was asked on it is tried again."""
        self.asker.lost(self)
        self.close()
        lost, self.open = list(self.open.values()), {}
        for exchange in lost:
            # A connection may be closed after some answers: that is no failure of those behind them.
            self.asker.failed(exchange, counts=not self._has_answered)

    def rest(self) -> None:
        """Keep it for a while when there is nothing to wait for, without keeping the loop."""
        if self.open or self._timer is not None or self.bev.closed or self.resolver.base.closed:
            return
        self.bev.disable(EventFlag.READ)
        seconds, itself = self.resolver._option("tcp_idle_timeout"), weakref.ref(self)
        self._timer = self.resolver.base.call_later(seconds, _end_idle, itself, keepalive=False)

    def _wake(self) -> None:
        if self._timer is not None:
            self._stop_timer()
            self.bev.enable(EventFlag.READ)

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.close()

    def _happened(self, bev: BufferEvent, what: BufferEventFlag, error: Optional[Exception]) -> None:
        if not what & BufferEventFlag.CONNECTED:
            self.end()

    def _read(self, bev: BufferEvent) -> None:
        self._data += bev.read()
        while len(self._data) >= 2:
            size = int.from_bytes(self._data[:2], "big")
            if len(self._data) < 2 + size:
                return
            message = bytes(self._data[2 : 2 + size])
            del self._data[: 2 + size]
            if self.asker.take(self, message):
                self._has_answered = True


def _end_idle(itself: weakref.ref[_Stream]) -> None:
    stream = itself()
    if stream is not None:
        stream.end()
