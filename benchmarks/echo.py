"""
An echo server on bare descriptors: CPU time of the server per message, against asyncio and uvloop.

Each server is a process of its own that watches its sockets, receives and sends; the clients are here and
the same for all.  Rounds are interleaved.  The figure is the server's CPU time per message in microseconds:
the median of the rounds, with the least and the most.  uvloop is left out where it is not installed.  Run
by hand:

    python benchmarks/echo.py
"""

from __future__ import annotations

import argparse
import importlib.util
import platform
import resource
import select
import socket
import statistics
import subprocess
import sys
from collections.abc import Sequence

import _checkout  # noqa: F401  (finds the package)

SERVERS = {
    "libevent_cffi": """
from libevent_cffi import EventBase
base = EventBase()
listen = base.on_readable(listener, accept)
add_reader, stop = base.on_readable, base.loop_break
def run(): base.dispatch()
def ended(sock): watched.pop(sock).close()
""",
    "asyncio": """
import asyncio
loop = asyncio.new_event_loop()
loop.add_reader(listener, accept)
add_reader, stop, run = loop.add_reader, loop.stop, loop.run_forever
ended = loop.remove_reader
""",
    "uvloop": """
import uvloop
loop = uvloop.new_event_loop()
loop.add_reader(listener, accept)
add_reader, stop, run = loop.add_reader, loop.stop, loop.run_forever
ended = loop.remove_reader
""",
}

COMMON = """
import socket
watched = {}
count = 0
listener = socket.create_server(("127.0.0.1", 0))
listener.setblocking(False)
print(listener.getsockname()[1], flush=True)
def accept():
    global count
    sock, _ = listener.accept()
    sock.setblocking(False)
    count += 1
    watched[sock] = add_reader(sock, echo, sock)
def echo(sock):
    global count
    data = sock.recv(4096)
    if data:
        sock.send(data)
        return
    ended(sock)
    sock.close()
    count -= 1
    if not count:
        stop()
"""


class Server:
    """One kind of server, in a process that lives for one round."""

    def __init__(self, kind: str, connections: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"{COMMON}{SERVERS[kind]}\nrun()"], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        port = int(self._process.stdout.readline())
        self.sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]

    def end(self) -> float:
        """Close the connections, on which the server ends; return the CPU seconds that it took."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        for each in self.sockets:
            each.close()
        self._process.communicate(timeout=30)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def exchange(sockets: list[socket.socket], each: int) -> None:
    """Send *each* messages on every connection, the next one as soon as the one before is back."""
    poller = select.poll()
    by_fd = {one.fileno(): one for one in sockets}
    left = dict.fromkeys(by_fd, each)
    for one in sockets:
        poller.register(one, select.POLLIN)
        one.send(b"x" * 100)
    while by_fd:
        for fd, _ in poller.poll():
            by_fd[fd].recv(4096)
            left[fd] -= 1
            if left[fd]:
                by_fd[fd].send(b"x" * 100)
            else:
                poller.unregister(fd)
                del by_fd[fd]


def one_round(kind: str, connections: int, messages: int) -> float:
    """Return the server's CPU microseconds per message, without those of its start and end."""
    idle = Server(kind, connections)
    exchange(idle.sockets, 1)
    fixed = idle.end()
    server = Server(kind, connections)
    more = max(1, messages // connections)
    exchange(server.sockets, 1 + more)
    return (server.end() - fixed) / (more * connections) * 1e6


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--messages", type=int, default=40_000)
    options = parser.parse_args(arguments)
    kinds = [kind for kind in SERVERS if kind != "uvloop" or importlib.util.find_spec("uvloop")]
    figures: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(options.rounds):
        for kind in kinds:
            figures[kind].append(one_round(kind, options.connections, options.messages))
    print(f"{platform.python_implementation()} {platform.python_version()}, CPU microseconds per message")
    for kind, values in figures.items():
        print(f"{kind:16}{statistics.median(values):6.2f}  ({min(values):.2f} to {max(values):.2f})")


if __name__ == "__main__":
    main()
