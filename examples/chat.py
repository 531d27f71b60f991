"""A chat by lines: run it, then ``nc 127.0.0.1 PORT`` from several terminals; the first line is your name."""

from __future__ import annotations

import signal
import socket
from typing import Optional

from libevent_cffi import BufferEvent, BufferEventFlag, EventBase, Listener

LONGEST = 1000


class Room:
    """Those who are here, by connection."""

    def __init__(self, base: EventBase) -> None:
        self.base = base
        self.names: dict[BufferEvent, str] = {}

    def accept(self, listener: Listener, sock: socket.socket, address: object) -> None:
        """Ask a new one for a name."""
        client = BufferEvent(self.base, sock, on_read=self.read, on_event=self.leave, write_timeout=30)
        client.write(b"your name?\n")

    def read(self, client: BufferEvent) -> None:
        """Take whole lines; what is incomplete stays where it is."""
        for line in client:
            text = line[:LONGEST].decode("utf-8", "replace").strip()
            if client not in self.names:
                self.names[client] = text or "nobody"
                self.tell(f"* {self.names[client]} is here")
            elif text:
                self.tell(f"{self.names[client]}: {text}")
        if len(client.input) > LONGEST:
            self.leave(client, BufferEventFlag.ERROR, ValueError("a line without end"))

    def leave(self, client: BufferEvent, what: BufferEventFlag, error: Optional[Exception]) -> None:
        """Forget one whose connection has ended, in whatever way."""
        client.close()
        name = self.names.pop(client, None)
        if name is not None:
            self.tell(f"* {name} has left" + (f" ({error})" if error else ""))

    def tell(self, text: str) -> None:
        """Send a line to all who have a name."""
        print(text, flush=True)
        for client in list(self.names):
            client.write(text.encode() + b"\n")


def main() -> None:
    """Serve until Ctrl-C or SIGTERM."""
    with EventBase() as base, Listener(base, ("127.0.0.1", 0), Room(base).accept) as listener:
        base.on_signal(signal.SIGTERM, base.loop_exit)
        base.on_signal(signal.SIGINT, base.loop_exit)
        print(f"chatting on port {listener.port}", flush=True)
        base.dispatch()


if __name__ == "__main__":
    main()
