"""
Send a file to whoever connects, without its bytes passing through this process.

``python examples/send_file.py FILE``, then ``nc 127.0.0.1 PORT > copy``.  Ctrl-C ends it.
"""

from __future__ import annotations

import signal
import socket
import sys

from libevent_cffi import WRITE, BufferEvent, EventBase, Listener


def main() -> None:
    """Serve until Ctrl-C or SIGTERM."""

    def accept(listener: Listener, sock: socket.socket, address: object) -> None:
        client = BufferEvent(base, sock, enabled=WRITE, write_timeout=60)
        client.sendfile(file)
        client.close(flush=True)  # when all is sent, or nothing could be sent for a minute

    with (
        open(sys.argv[1], "rb") as file,
        EventBase() as base,
        Listener(base, ("127.0.0.1", 0), accept) as listener,
    ):
        base.on_signal(signal.SIGTERM, base.loop_exit)
        base.on_signal(signal.SIGINT, base.loop_exit)
        print(f"sending {file.name} on port {listener.port}", flush=True)
        base.dispatch()


if __name__ == "__main__":
    main()
