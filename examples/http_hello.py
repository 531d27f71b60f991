"""The smallest web server: run it, and open the address that it prints; Ctrl-C ends it."""

from __future__ import annotations

import signal

from libevent_cffi import EventBase
from libevent_cffi.http import Request, Server


def hello(request: Request) -> None:
    """Greet whom the query names."""
    name = request.query.get("name", "world")
    request.reply(200, f"Hello, {name}!\n")


def main() -> None:
    """Serve until Ctrl-C or SIGTERM."""
    with EventBase() as base:
        server = Server(base, hello)
        print(f"http://127.0.0.1:{server.bind(('127.0.0.1', 0)).port}/", flush=True)
        for number in (signal.SIGINT, signal.SIGTERM):
            base.on_signal(number, server.stop, keepalive=False)
        base.dispatch()
        print("bye")


if __name__ == "__main__":
    main()
