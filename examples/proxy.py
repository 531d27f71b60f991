"""
A TCP proxy with a speed limit that its clients share, plain or under TLS.

``python examples/proxy.py HOST PORT [--rate BYTES] [--tls]`` passes each client on to HOST PORT; ``--tls``
talks TLS to that side.
"""

from __future__ import annotations

import argparse
import signal
import socket
from typing import Optional

from libevent_cffi import READ, BufferEvent, BufferEventFlag, EventBase, Listener
from libevent_cffi.bufferevent import RateLimit, RateLimitGroup
from libevent_cffi.dns import Resolver
from libevent_cffi.tls import TLSContext

MOST = 512 * 1024


def join(one: BufferEvent, other: BufferEvent) -> None:
    """Pass on what *one* reads to *other*, and stop reading while that has too much to write."""

    def read(source: BufferEvent) -> None:
        if other.closed:
            return
        other.write_buffer(source.input)
        if len(other.output) > MOST:
            source.disable(READ)

    def written(target: BufferEvent) -> None:
        if not one.closed:
            one.enable(READ)

    def ended(source: BufferEvent, what: BufferEventFlag, error: Optional[Exception]) -> None:
        if what & BufferEventFlag.CONNECTED or other.closed:
            return
        if error is not None:
            print(f"{source}: {error}")
            other.close(flush=True)
            source.close()
        else:
            other.write_eof()

    one.on_read, one.on_event, other.on_write = read, ended, written


def main() -> None:
    """Serve until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--rate", type=int, default=1_000_000, help="bytes per second each way, for all")
    parser.add_argument("--tls", action="store_true")
    options = parser.parse_args()
    tls = TLSContext() if options.tls else None

    def accept(listener: Listener, sock: socket.socket, address: object) -> None:
        client, server = BufferEvent(base, sock), BufferEvent(base, tls=tls)
        group.add(client)
        join(client, server)
        join(server, client)
        server.connect((options.host, options.port), resolver=resolver)

    with (
        EventBase() as base,
        Resolver(base) as resolver,
        Listener(base, ("127.0.0.1", 0), accept) as listener,
    ):
        group = RateLimitGroup(base, RateLimit(options.rate, options.rate), min_share=4096)
        base.on_signal(signal.SIGTERM, base.loop_exit)
        base.on_signal(signal.SIGINT, base.loop_exit)
        print(f"passing port {listener.port} on to {options.host} port {options.port}", flush=True)
        base.dispatch()


main()
