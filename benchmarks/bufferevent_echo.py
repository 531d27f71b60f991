"""
An echo server on bufferevents: the server's CPU time per message, beside C, asyncio, uvloop and gevent.

The server in C is compiled here, against the libevent that LIBEVENT_PREFIX names or the compiler finds.
Each server is a process of its own; the clients are here and the same for all.  Rounds are interleaved.  The
figure is the server's CPU time per message in microseconds: the median of the rounds, with the least and the
most, and how much that is of C's.  What is not installed is left out.  Run by hand:

    python benchmarks/bufferevent_echo.py --connections 50 1000 --sizes 100 16384
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import resource
import select
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import _checkout  # noqa: F401  (finds the package)

IN_C = r"""
#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int count;

static void echo(struct bufferevent *bev, void *arg)
{
    struct evbuffer *input = bufferevent_get_input(bev);
    size_t size = evbuffer_get_length(input);
    char *data = malloc(size);

    (void)arg;
    bufferevent_read(bev, data, size);
    bufferevent_write(bev, data, size);
    free(data);
}

static void end(struct bufferevent *bev, short what, void *arg)
{
    (void)what;
    bufferevent_free(bev);
    if (--count == 0)
        event_base_loopbreak(arg);
}

static void come(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *a, int length, void *arg)
{
    struct bufferevent *bev =
        bufferevent_socket_new(arg, fd, BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);

    (void)l, (void)a, (void)length;
    count++;
    bufferevent_setcb(bev, echo, NULL, end, arg);
    bufferevent_enable(bev, EV_READ);
}

int main(void)
{
    struct event_base *base = event_base_new();
    struct sockaddr_in address;
    struct evconnlistener *listener;
    ev_socklen_t size = sizeof(address);

    memset(&address, 0, sizeof(address));
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener = evconnlistener_new_bind(base, come, base, LEV_OPT_CLOSE_ON_FREE, 1024,
        (struct sockaddr *)&address, sizeof(address));
    getsockname(evconnlistener_get_fd(listener), (struct sockaddr *)&address, &size);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    event_base_dispatch(base);
    return 0;
}
"""

OURS = """
from libevent_cffi import BufferEvent, EventBase, Listener
count = 0
def echo(bev):
    bev.write(bev.read())
def end(bev, what, error):
    global count
    bev.close()
    count -= 1
    if not count:
        base.loop_break()
def come(listener, sock, address):
    global count
    count += 1
    BufferEvent(base, sock, on_read=echo, on_event=end)
base = EventBase()
listener = Listener(base, ("127.0.0.1", 0), come, backlog=1024)
print(listener.port, flush=True)
base.dispatch()
"""

MOVED = OURS.replace("bev.write(bev.read())", "bev.write_buffer(bev.input)")

ASYNCIO = """
import asyncio, socket
count = 0
class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        global count
        count += 1
        self.transport = transport
    def data_received(self, data):
        self.transport.write(data)
    def connection_lost(self, error):
        global count
        count -= 1
        if not count:
            loop.stop()
sock = socket.socket()
sock.bind(("127.0.0.1", 0))
sock.listen(1024)
print(sock.getsockname()[1], flush=True)
loop.run_until_complete(loop.create_server(Echo, sock=sock))
loop.run_forever()
"""

GEVENT = """
import gevent, socket
from gevent.server import StreamServer
count = 0
def echo(sock, address):
    global count
    count += 1
    while True:
        data = sock.recv(65536)
        if not data:
            break
        sock.sendall(data)
    count -= 1
    if not count:
        server.stop()
server = StreamServer(("127.0.0.1", 0), echo, backlog=1024)
server.start()
print(server.server_port, flush=True)
server.serve_forever()
"""

PROGRAMS = {
    "libevent_cffi": OURS,
    "libevent_cffi, moved": MOVED,
    "asyncio": "import asyncio\nloop = asyncio.new_event_loop()\n" + ASYNCIO,
    "uvloop": "import uvloop\nloop = uvloop.new_event_loop()\n" + ASYNCIO,
    "gevent": GEVENT,
}


def compile_c(folder: str) -> list[str]:
    """Compile the server in C; return its command, or nothing where there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return []
    source, program = Path(folder, "echo.c"), str(Path(folder, "echo"))
    source.write_text(IN_C, encoding="utf-8")
    prefix = os.environ.get("LIBEVENT_PREFIX")
    where = [f"-I{prefix}/include", f"-L{prefix}/lib", f"-Wl,-rpath,{prefix}/lib"] if prefix else []
    subprocess.run([compiler, "-O2", str(source), "-o", program, *where, "-levent_core"], check=True)
    return [program]


class Server:
    """One kind of server, in a process that lives for one round."""

    def __init__(self, command: list[str], connections: int) -> None:
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        port = int(self._process.stdout.readline())
        self.sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]

    def end(self) -> float:
        """Close the connections, on which the server ends; return the CPU seconds that it took."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        for each in self.sockets:
            each.close()
        self._process.communicate(timeout=60)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def exchange(sockets: list[socket.socket], each: int, size: int) -> None:
    """Send *each* messages on every connection, the next one as soon as the one before is back."""
    poller = select.poll()
    by_fd = {one.fileno(): one for one in sockets}
    missing = dict.fromkeys(by_fd, size)
    left = dict.fromkeys(by_fd, each)
    data = b"x" * size
    for one in sockets:
        poller.register(one, select.POLLIN)
        one.sendall(data)
    while by_fd:
        for fd, _ in poller.poll():
            missing[fd] -= len(by_fd[fd].recv(65536))
            if missing[fd]:
                continue
            missing[fd] = size
            left[fd] -= 1
            if left[fd]:
                by_fd[fd].sendall(data)
            else:
                poller.unregister(fd)
                del by_fd[fd]


def one_round(command: list[str], connections: int, messages: int, size: int) -> float:
    """Return the server's CPU microseconds per message, without those of its start and end."""
    idle = Server(command, connections)
    exchange(idle.sockets, 1, size)
    fixed = idle.end()
    server = Server(command, connections)
    more = max(1, messages // connections)
    exchange(server.sockets, 1 + more, size)
    return (server.end() - fixed) / (more * connections) * 1e6


def compare(commands: dict[str, list[str]], rounds: int, connections: int, messages: int, size: int) -> None:
    """Print one table."""
    figures: dict[str, list[float]] = {kind: [] for kind in commands}
    for _ in range(rounds):
        for kind, command in commands.items():
            figures[kind].append(one_round(command, connections, messages, size))
    print(f"\n{connections} connections, {size} bytes")
    in_c = statistics.median(figures["C"]) if "C" in figures else 0
    for kind, values in figures.items():
        middle = statistics.median(values)
        share = f"  {middle / in_c:5.2f} x C" if in_c else ""
        print(f"{kind:24}{middle:7.2f}  ({min(values):.2f} to {max(values):.2f}){share}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, nargs="+", default=[50])
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 16384])
    parser.add_argument("--messages", type=int, default=30_000)
    options = parser.parse_args(arguments)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * max(options.connections) + 100
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
    with tempfile.TemporaryDirectory() as folder:
        in_c = compile_c(folder)
        commands = {"C": in_c} if in_c else {}
        for kind, program in PROGRAMS.items():
            package = kind.partition(",")[0]
            if package == "libevent_cffi" or importlib.util.find_spec(package):
                commands[kind] = [sys.executable, "-c", program]
        print(f"{platform.python_implementation()} {platform.python_version()}, CPU microseconds per message")
        for connections in options.connections:
            for size in options.sizes:
                compare(commands, options.rounds, connections, options.messages, size)


if __name__ == "__main__":
    main()
