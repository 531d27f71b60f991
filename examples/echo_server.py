"""An echo server: what each client sends comes back.  Run it, then ``nc 127.0.0.1 PORT``; Ctrl-C ends it."""

from __future__ import annotations

import signal
import socket

from libevent_cffi import PERSIST, READ, Event, EventBase, EventFlag


def accept(base: EventBase, listener: socket.socket) -> None:
    """Take a new client, and echo to it for as long as it stays."""
    client, address = listener.accept()
    client.setblocking(False)
    print(f"{address[0]} port {address[1]} came")
    Event(base, client, READ | PERSIST, echo, base, client).add(timeout=60)


def echo(fd: int, what: EventFlag, base: EventBase, client: socket.socket) -> None:
    """Send back what has arrived; a client is dropped that is silent for a minute, or does not read."""
    try:
        data = b"" if what & EventFlag.TIMEOUT else client.recv(65536)
        client.sendall(data)
    except OSError as error:  # reset by the client, or BlockingIOError: it reads too slowly
        print(f"a client is dropped: {error}")
        data = b""
    if data:
        return
    event = base.running_event
    if event is not None:
        event.close()
    client.close()


def main() -> None:
    """Serve until Ctrl-C or SIGTERM."""
    with EventBase() as base, socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        base.on_readable(listener, accept, base, listener)
        base.on_signal(signal.SIGTERM, base.loop_exit)
        base.on_signal(signal.SIGINT, base.loop_exit)
        print(f"echoing on port {listener.getsockname()[1]}", flush=True)
        base.dispatch()
        print("bye")


if __name__ == "__main__":
    main()
