"""
Questions by UDP whose answers are read here.

libevent 2.2 loses memory where it is to tell the alias and an answer has several, or one and an error
(evdns.c:reply_parse); 2.1 cannot tell it.
"""

from __future__ import annotations

import random
import socket
from typing import TYPE_CHECKING, Any, Optional

from .messages import make_question

if TYPE_CHECKING:
    from ..event import Event
    from ..types import InetAddress
    from .resolver import Resolver
    from .streams import Asker, Exchange

__all__ = ["Datagram"]

_random = random.SystemRandom()
_LARGEST = 65536


class _Socket(socket.socket):
    """One that is closed silently when it goes with a base that was dropped."""

    __slots__ = ()

    def __del__(self) -> None:
        self.close()


class Datagram:
    """A question by UDP, on a socket of its own that hears nobody but the name server."""

    __slots__ = ("_asker", "_event", "_sock", "open")

    def __init__(self, asker: Asker, resolver: Resolver, address: InetAddress) -> None:
        self._asker = asker
        self.open: dict[int, Exchange] = {}
        family = socket.AF_INET if len(address) == 2 else socket.AF_INET6
        self._sock = _Socket(family, socket.SOCK_DGRAM)
        self._event: Optional[Event] = None
        try:
            self._sock.setblocking(False)
            bound: Any = resolver._options.get("bind_to")
            if bound is not None and len(bound) == len(address):
                self._sock.bind(bound)
            self._sock.connect(address)
            self._event = resolver.base.on_readable(self._sock, self._read)
        except BaseException:
            self._sock.close()
            raise

    def ask(self, exchange: Exchange) -> None:
        """Send the question."""
        exchange.number, exchange.stream = _random.randrange(1, 65536), self
        self.open[exchange.number] = exchange
        self._sock.send(make_question(exchange.number, exchange.name, exchange.kind))

    def rest(self) -> None:
        """Close it: nobody waits any more."""
        if self._event is not None:
            self._event.close()
        self._sock.close()

    def end(self) -> None:
        """Close it."""
        self.rest()

    def _read(self) -> None:
        try:
            message = self._sock.recv(_LARGEST)
        except BlockingIOError:
            return
        except OSError:  # nobody is there; another may come before its time is over
            return
        self._asker.take(self, message)
