"""Server-sent events: a page that shows the time, and every client is sent each tick.  Ctrl-C ends it."""

from __future__ import annotations

import contextlib
import signal
import time

from libevent_cffi import EventBase
from libevent_cffi.http import Request, Server

PAGE = """<!DOCTYPE html><title>Ticks</title><h1 id="time">...</h1>
<script>
new EventSource("/events").onmessage = event => document.getElementById("time").textContent = event.data
</script>
"""
MOST_UNSENT = 65536

listening: set[Request] = set()


def page(request: Request) -> None:
    """Show them."""
    request.reply(200, PAGE, content_type="text/html; charset=utf-8")


def events(request: Request) -> None:
    """Begin a stream that ends when the client leaves."""
    request.on_close = listening.discard
    request.start(200, content_type="text/event-stream", headers={"Cache-Control": "no-store"})
    listening.add(request)


def tick() -> None:
    """Tell everybody; who does not read is dropped."""
    data = f"data: {time.strftime('%H:%M:%S')}\n\n"
    for request in list(listening):
        if request.unsent > MOST_UNSENT:
            listening.discard(request)
            request.close()
            continue
        with contextlib.suppress(BrokenPipeError):
            request.send_chunk(data)


def stop(server: Server) -> None:
    """End the streams, or the server would wait for them."""
    while listening:
        listening.pop().end()
    server.stop(timeout=5)


def main() -> None:
    """Serve until Ctrl-C or SIGTERM."""
    with EventBase() as base:
        server = Server(base)
        server.route("/", page)
        server.route("/events", events)
        print(f"http://127.0.0.1:{server.bind(('127.0.0.1', 0)).port}/", flush=True)
        base.every(0.1, tick, keepalive=False)
        for number in (signal.SIGINT, signal.SIGTERM):
            base.on_signal(number, stop, server, keepalive=False)
        base.dispatch()


if __name__ == "__main__":
    main()
