"""
Clients of the tour's echo server, in a process of their own.

``python -m libevent_cffi._commands.echo_clients HOST PORT CLIENTS MESSAGES`` sends every message again when
the one before has come back whole, over all connections at once, and prints what it saw as one JSON object.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from typing import Any

from libevent_cffi import EventBase

__all__ = ["main"]

_DEADLINE = 30.0


class _Client:
    """One connection: sends a message, waits until it is back, and sends the next."""

    def __init__(self, base: EventBase, address: tuple[str, int], number: int, messages: int) -> None:
        self.left = messages
        self.round_trips: list[float] = []
        self._message = b"%06d " % number * 16
        self._received = b""
        self._sent_at = 0.0
        self._socket = socket.create_connection(address)
        self._socket.setblocking(False)
        self._event = base.on_readable(self._socket, self._on_readable)
        self._send()

    def _send(self) -> None:
        self._sent_at = time.monotonic()
        self._socket.send(self._message)

    def _on_readable(self) -> None:
        data = self._socket.recv(4096)
        if not data:
            raise ConnectionError("the server ended the connection")
        self._received += data
        if len(self._received) < len(self._message):
            return
        if self._received != self._message:
            raise ValueError(f"sent {self._message!r}, got {self._received!r}")
        self.round_trips.append(time.monotonic() - self._sent_at)
        self._received = b""
        self.left -= 1
        if self.left:
            self._send()
        else:
            self._event.close()
            self._socket.close()


def main(arguments: list[str]) -> int:
    """Run the clients; 0 when every message came back."""
    host, port, clients, messages = arguments[0], *map(int, arguments[1:])
    start = time.monotonic()
    with EventBase() as base:
        everyone = [_Client(base, (host, port), number, messages) for number in range(clients)]
        base.call_later(_DEADLINE, base.loop_exit, keepalive=False)
        base.dispatch()
    round_trips = sorted(each for client in everyone for each in client.round_trips)
    result: dict[str, Any] = {
        "messages": len(round_trips),
        "seconds": time.monotonic() - start,
        "median": round_trips[len(round_trips) // 2],
        "worst": round_trips[-1],
    }
    print(json.dumps(result))
    return 0 if result["messages"] == clients * messages else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
