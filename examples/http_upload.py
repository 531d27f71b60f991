"""
Take uploads of any size, piece by piece, and tell their SHA-256: nothing of them is kept.

    curl -T a-file http://127.0.0.1:PORT/upload
"""

from __future__ import annotations

import hashlib
import signal

from libevent_cffi import EventBase
from libevent_cffi.buffer import Buffer
from libevent_cffi.http import Request, Server


class Upload:
    """What is known of one that is coming."""

    def __init__(self, request: Request) -> None:
        self.digest = hashlib.sha256()
        self.size = 0
        # On libevent 2.1 all of it comes at once, and shall not be copied at once.
        self.part = memoryview(bytearray(65536))
        request.on_body = self.more
        request.on_body_end = self.end
        request.on_close = self.left

    def more(self, request: Request, chunk: Buffer) -> None:
        """Take a piece."""
        while chunk:
            size = chunk.readinto(self.part)
            self.digest.update(self.part[:size])
            self.size += size

    def end(self, request: Request) -> None:
        """Answer: all of it has come."""
        request.reply(200, f"{self.digest.hexdigest()} {self.size}\n")

    def left(self, request: Request) -> None:
        """Say that the client has left in the middle."""
        print(f"a client left after {self.size} bytes", flush=True)


def main() -> None:
    """Serve until Ctrl-C or SIGTERM."""
    with EventBase() as base:
        server = Server(base, max_body_size=None)
        server.route("/upload", Upload, stream=True)
        print(f"http://127.0.0.1:{server.bind(('127.0.0.1', 0)).port}/upload", flush=True)
        for number in (signal.SIGINT, signal.SIGTERM):
            base.on_signal(number, server.stop, keepalive=False)
        base.dispatch()


if __name__ == "__main__":
    main()
