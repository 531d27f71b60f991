"""
Remote calls between two processes: calls per second, and CPU time of client and server for each.

A call has a message of a text and a number, and is answered by the same.  One at a time, and ten at once over
ten connections.  Beside it the same in C on libevent's evrpc, which is compiled here, by cc with -levent;
xmlrpc of the standard library, one at a time only, since its server takes one connection at a time; and gRPC
where grpcio is installed, with bytes in place of a message, which is less work.  Rounds are interleaved; a
figure is the median of the rounds, and so is a ratio, with the least and the most.  Run by hand, on Linux:

    python benchmarks/rpc_calls.py
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import _checkout  # noqa: F401  (finds the package)

# Each program serves, and prints its port; or it calls, given a port, seconds, and how many calls at once,
# and prints how many calls it made, in which time, with which CPU time.

IN_C = r"""
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/rpc.h>
#include <event2/rpc_struct.h>
#include <event2/tag.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

struct entry { char *key; ev_uint32_t number; int has_number; };

static void *entry_new_with_arg(void *arg) { return calloc(1, sizeof(struct entry)); }
static void entry_clear(struct entry *it) { free(it->key); memset(it, 0, sizeof(*it)); }
static void entry_free(struct entry *it) { free(it->key); free(it); }
static int entry_complete(struct entry *it) { return it->key && it->has_number ? 0 : -1; }

static void entry_marshal(struct evbuffer *out, const struct entry *it)
{
    evtag_marshal_string(out, 1, it->key);
    evtag_marshal_int(out, 2, it->number);
}

static int entry_unmarshal(struct entry *it, struct evbuffer *in)
{
    ev_uint32_t tag;
    while (evbuffer_get_length(in) > 0) {
        if (evtag_peek(in, &tag) == -1)
            return -1;
        if (tag == 1 && !it->key) {
            if (evtag_unmarshal_string(in, 1, &it->key) == -1)
                return -1;
        } else if (tag == 2) {
            if (evtag_unmarshal_int(in, 2, &it->number) == -1)
                return -1;
            it->has_number = 1;
        } else {
            return -1;
        }
    }
    return entry_complete(it);
}

EVRPC_HEADER(Echo, entry, entry)
EVRPC_GENERATE(Echo, entry, entry)

static void echo(EVRPC_STRUCT(Echo) *call, void *arg)
{
    call->reply->key = strdup(call->request->key);
    call->reply->number = call->request->number;
    call->reply->has_number = 1;
    EVRPC_REQUEST_DONE(call);
}

static int serve(struct event_base *base)
{
    struct evhttp *http = evhttp_new(base);
    struct evhttp_bound_socket *bound = evhttp_bind_socket_with_handle(http, "127.0.0.1", 0);
    struct sockaddr_in address;
    socklen_t length = sizeof(address);
    getsockname(evhttp_bound_socket_get_fd(bound), (struct sockaddr *)&address, &length);
    EVRPC_REGISTER(evrpc_init(http), Echo, entry, entry, echo, NULL);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return event_base_dispatch(base);
}

static struct evrpc_pool *pool;
static struct entry request = { "a key of some length", 1234567, 1 };
static double end;
static int calls, running;

static double now(clockid_t clock)
{
    struct timespec at;
    clock_gettime(clock, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}

static void told(struct evrpc_status *status, struct entry *sent, struct entry *reply, void *arg)
{
    if (status->error)
        abort();
    calls++;
    entry_clear(reply);
    if (now(CLOCK_MONOTONIC) < end)
        EVRPC_MAKE_REQUEST(Echo, pool, &request, reply, told, NULL);
    else
        running--;
}

int main(int count, char **words)
{
    struct event_base *base = event_base_new();
    if (count < 4)
        return serve(base);
    double begin = now(CLOCK_MONOTONIC), used = now(CLOCK_PROCESS_CPUTIME_ID);
    end = begin + atof(words[2]);
    running = atoi(words[3]);
    pool = evrpc_pool_new(base);
    for (int i = 0; i < running; i++)
        evrpc_pool_add_connection(pool, evhttp_connection_base_bufferevent_new(
            NULL, NULL, bufferevent_socket_new(base, -1, 0), "127.0.0.1", atoi(words[1])));
    for (int i = running; i > 0; i--)
        EVRPC_MAKE_REQUEST(Echo, pool, &request, entry_new_with_arg(NULL), told, NULL);
    while (running > 0)
        event_base_loop(base, EVLOOP_ONCE);
    printf("%d %f %f\n", calls, now(CLOCK_MONOTONIC) - begin, now(CLOCK_PROCESS_CPUTIME_ID) - used);
    return 0;
}
"""

IN_PYTHON = """
from libevent_cffi import EventBase, http, rpc
class Entry(rpc.Message):
    key: str = rpc.string(1)
    number: int = rpc.int32(2)
base = EventBase()
def serve():
    web = http.Server(base)
    rpc.Server(web).register("Echo", Entry, Entry, lambda call: call.reply(
        Entry(key=call.request.key, number=call.request.number)))
    print(web.bind(("127.0.0.1", 0)).port, flush=True)
    base.dispatch()
def call():
    pool = rpc.Pool(base, *(http.Connection(base, ("127.0.0.1", port)) for _ in range(at_once)))
    request = Entry(key="a key of some length", number=1234567)
    def told(call):
        global calls
        call.result()
        calls += 1
        if time.perf_counter() < end:
            pool.call("Echo", request, Entry, told)
    for _ in range(at_once):
        pool.call("Echo", request, Entry, told)
    base.dispatch()
"""

BY_XMLRPC = """
import xmlrpc.client, xmlrpc.server
def serve():
    class Handler(xmlrpc.server.SimpleXMLRPCRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
    server = xmlrpc.server.SimpleXMLRPCServer(("127.0.0.1", 0), Handler, logRequests=False)
    server.register_function(lambda entry: {"key": entry["key"], "number": entry["number"]}, "Echo")
    print(server.server_address[1], flush=True)
    server.serve_forever()
def call():
    global calls
    with xmlrpc.client.ServerProxy(f"http://127.0.0.1:{port}/") as proxy:
        while time.perf_counter() < end:
            proxy.Echo({"key": "a key of some length", "number": 1234567})
            calls += 1
"""

BY_GRPC = """
import concurrent.futures, grpc
def serve():
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(1))
    echo = grpc.unary_unary_rpc_method_handler(lambda request, context: bytes(request))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("kv", {"Echo": echo})])
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    server.wait_for_termination()
def call():
    global calls
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        echo, request = channel.unary_unary("/kv/Echo"), bytes(28)
        waiting = [echo.future(request) for _ in range(at_once)]
        while waiting:
            waiting.pop(0).result()
            calls += 1
            if time.perf_counter() < end:
                waiting.append(echo.future(request))
"""

MAIN = """
import sys, time
calls = 0
clocks = lambda: (time.perf_counter(), time.process_time())
if len(sys.argv) > 1:
    port, seconds, at_once = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    begin, used = clocks()
    end = begin + seconds
    call()
    now, cpu = clocks()
    print(calls, now - begin, cpu - used)
else:
    serve()
"""


class Round(NamedTuple):
    """What one round took: calls per second, and microseconds of CPU time per call."""

    rate: float
    client: float
    server: float


def compiled(folder: str) -> list[str]:
    """Make the program in C; return its command."""
    source, program = Path(folder, "calls.c"), Path(folder, "calls")
    source.write_text(IN_C, encoding="utf-8")
    subprocess.run(["cc", "-O2", source, "-o", program, "-levent"], check=True)
    return [str(program)]


def cpu_time(pid: int) -> float:
    """Return the seconds of CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(command: list[str], seconds: float, at_once: int) -> Round:
    """Run a server and a client."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            port = server.stdout.readline().strip()
            if not port:  # its own error stands above
                sys.exit(f"the server ended with status {server.wait()} and told no port: {command[0]}")
            before = cpu_time(server.pid)
            client = [*command, port, str(seconds), str(at_once)]
            output = subprocess.run(client, check=True, stdout=subprocess.PIPE, text=True).stdout
            used = cpu_time(server.pid) - before
        finally:
            server.kill()
    calls, elapsed, cpu = (float(word) for word in output.split())
    return Round(calls / elapsed, cpu / calls * 1e6, used / calls * 1e6)


def programs(folder: str) -> dict[str, list[str]]:
    """Return the commands that can be run here; ours is the first."""

    def python(text: str) -> list[str]:
        return [sys.executable, "-c", text + MAIN]

    found = {"libevent_cffi": python(IN_PYTHON)}
    if shutil.which("cc"):
        found["C, evrpc"] = compiled(folder)
    else:
        print("C is left out: there is no compiler (cc)")
    found["xmlrpc"] = python(BY_XMLRPC)
    if importlib.util.find_spec("grpc"):
        found["gRPC, of bytes"] = python(BY_GRPC)
    else:
        print("gRPC is left out: grpcio is not installed")
    return found


def show(rounds: dict[str, list[Round]]) -> None:
    """Print a line for each, with how many times as much CPU time it took as ours, round by round."""
    ours = next(iter(rounds.values()))
    for name, found in rounds.items():
        rate, client, server = (statistics.median(column) for column in zip(*found))
        ratios = [sum(other[1:]) / sum(our[1:]) for other, our in zip(found, ours)]
        least, most = min(ratios), max(ratios)
        print(
            f"{name:15} {rate:7.0f} calls/s; CPU of each: client {client:4.0f} us, server {server:4.0f} us, "
            f"both {statistics.median(ratios):.2f} ({least:.2f} to {most:.2f}) x libevent_cffi"
        )


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    options = parser.parse_args()
    print(platform.python_implementation(), platform.python_version())
    with tempfile.TemporaryDirectory() as folder:
        commands = programs(folder)
        for at_once in (1, 10):
            rounds: dict[str, list[Round]] = {
                name: [] for name in commands if at_once == 1 or name != "xmlrpc"
            }
            for _ in range(options.rounds):
                for name, found in rounds.items():
                    found.append(measure(commands[name], options.seconds, at_once))
            print(f"{at_once} at once:")
            show(rounds)


if __name__ == "__main__":
    main()
