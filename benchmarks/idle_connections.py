"""
The memory of ten thousand idle connections on one base, beside the same in C.

A server accepts one after the other, hears a byte from it and answers.  Then all are idle, and it prints how
much it grew since it listened.  The clients are here.  The server in C is compiled here, against the libevent
that LIBEVENT_PREFIX names or the compiler finds.  Run by hand:

    python benchmarks/idle_connections.py [--connections 10000]
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import _checkout  # noqa: F401  (finds the package)

#: What both programs in C begin with.
RESIDENT_IN_C = r"""
#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static long resident(void)
{
    char line[200];
    long kilobytes = 0;
    FILE *status = fopen("/proc/self/status", "r");

    while (fgets(line, sizeof(line), status) != NULL)
        sscanf(line, "VmRSS: %ld", &kilobytes);
    fclose(status);
    return kilobytes;
}
"""

IN_C = (
    RESIDENT_IN_C
    + r"""
static long count, wanted, answered, before;

static void answer(struct bufferevent *bev, void *arg)
{
    char byte;

    (void)arg;
    if (bufferevent_read(bev, &byte, 1) == 1)
        bufferevent_write(bev, &byte, 1);
    if (answered++ == wanted) {
        printf("%ld\n", resident() - before);
        fflush(stdout);
    }
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
    bufferevent_setcb(bev, answer, NULL, end, arg);
    bufferevent_enable(bev, EV_READ);
}

int main(int argc, char **argv)
{
    struct event_base *base = event_base_new();
    struct sockaddr_in address;
    struct evconnlistener *listener;
    ev_socklen_t size = sizeof(address);

    wanted = argc > 1 ? atol(argv[1]) : 0;
    memset(&address, 0, sizeof(address));
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener = evconnlistener_new_bind(base, come, base, LEV_OPT_CLOSE_ON_FREE, 1024,
        (struct sockaddr *)&address, sizeof(address));
    getsockname(evconnlistener_get_fd(listener), (struct sockaddr *)&address, &size);
    before = resident();
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    event_base_dispatch(base);
    return 0;
}
"""
)

#: And those in Python.
RESIDENT = """
import gc, sys
def resident():
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
"""

OURS = (
    RESIDENT
    + """
from libevent_cffi import BufferEvent, EventBase, Listener
wanted = int(sys.argv[1])
count = answered = 0
def answer(bev):
    global answered
    bev.write(bev.read(1))
    answered += 1
    if answered > wanted:
        gc.collect()
        print(resident() - before, flush=True)
def end(bev, what, error):
    global count
    bev.close()
    count -= 1
    if not count:
        base.loop_break()
def come(listener, sock, address):
    global count
    count += 1
    BufferEvent(base, sock, on_read=answer, on_event=end)
base = EventBase()
gc.collect()
listener = Listener(base, ("127.0.0.1", 0), come, backlog=1024)
before = resident()
print(listener.port, flush=True)
base.dispatch()
"""
)


def compile_c(folder: str, text: str, library: str) -> list[str]:
    """Compile a server in C; return its command, or nothing where there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return []
    source, program = Path(folder, "idle.c"), str(Path(folder, "idle"))
    source.write_text(text, encoding="utf-8")
    prefix = os.environ.get("LIBEVENT_PREFIX")
    where = [f"-I{prefix}/include", f"-L{prefix}/lib", f"-Wl,-rpath,{prefix}/lib"] if prefix else []
    subprocess.run([compiler, "-O2", str(source), "-o", program, *where, f"-l{library}"], check=True)
    return [program]


def bytes_of_each(command: list[str], connections: int, ask: bytes = b"?", last: bytes = b"!") -> float:
    """Return by how much a server grew for a connection that has asked once."""
    with subprocess.Popen([*command, str(connections)], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = ("127.0.0.1", int(server.stdout.readline()))
        clients = []
        for _ in range(connections):
            clients.append(socket.create_connection(address, timeout=60))
            clients[-1].sendall(ask)
            assert clients[-1].recv(65536)
        clients[-1].sendall(last)
        grown = int(server.stdout.readline())
        for client in clients:
            client.close()
        assert server.wait(timeout=60) == 0
    return grown * 1024 / connections


def compare(
    text: str, library: str, ours: str, arguments: Sequence[str] | None, about: str, *asked: bytes
) -> None:
    """Measure the server in C, *text*, and the one in Python, *ours*, and print what came of it."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--connections", type=int, default=10_000)
    options = parser.parse_args(arguments)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory() as folder:
        in_c = compile_c(folder, text, library)
        theirs = bytes_of_each(in_c, options.connections, *asked) if in_c else 0.0
    mine = bytes_of_each([sys.executable, "-c", ours], options.connections, *asked)
    print(
        f"{platform.python_implementation()} {platform.python_version()}, {options.connections} connections"
    )
    print(f"libevent_cffi   {mine:6.0f} bytes of each")
    if theirs:
        print(f"C               {theirs:6.0f} bytes of each: {mine / theirs:.2f} x C")


def main(arguments: Sequence[str] | None = None) -> None:
    compare(IN_C, "event_core", OURS, arguments, __doc__.splitlines()[1])


if __name__ == "__main__":
    main()
