"""An echo server on buffered connections.  Run it, then ``nc 127.0.0.1 PORT``; Ctrl-C ends it."""

from __future__ import annotations

import signal
import socket
from typing import Optional

from libevent_cffi import READ, BufferEvent, BufferEventFlag, EventBase, Listener

MOST = 256 * 1024


def accept(listener: Listener, sock: socket.socket, address: object) -> None:
    """Serve a new client; its base keeps the connection for as long as it is open."""
    print(f"{address} came")
    client = BufferEvent(listener.base, sock, on_read=echo, on_write=go_on, on_event=end, read_timeout=60)
    client.set_watermark(READ, high=MOST)


def echo(client: BufferEvent) -> None:
    """Send back what has arrived, without copying; one that does not read is not read from."""
    client.write_buffer(client.input)
    if len(client.output) > MOST:
        client.disable(READ)


def go_on(client: BufferEvent) -> None:
    """All of it is sent."""
    client.enable(READ)


def end(client: BufferEvent, what: BufferEventFlag, error: Optional[Exception]) -> None:
    """The client has ended, was silent for a minute, or is lost; it still gets what it is owed."""
    print(f"{client.peer_address} left: {error or 'the end'}")
    client.close(flush=not what & BufferEventFlag.ERROR)


def main() -> None:
    """Serve until Ctrl-C or SIGTERM."""
    with EventBase() as base, Listener(base, ("127.0.0.1", 0), accept) as listener:
        base.on_signal(signal.SIGTERM, base.loop_exit)
        base.on_signal(signal.SIGINT, base.loop_exit)
        print(f"echoing on port {listener.port}", flush=True)
        base.dispatch()
        print("bye")


if __name__ == "__main__":
    main()
