"""
Hello, world over HTTP: CPU time of the server per request, beside the same in C on evhttp, and other servers.

wrk asks over 50 connections.  Each server is a process of its own; rounds are interleaved, and the figure is
the server's CPU time per request in microseconds: the median of the rounds, with the least and the most.  The
C is compiled here, by cc with -levent.  uvicorn (with uvloop and httptools), gevent, bjoern and nginx, as one
process that returns a text from its configuration, are left out where they are not installed.  Run by hand:

    python benchmarks/http_hello.py
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import _checkout  # noqa: F401  (finds the package)

IN_C = """
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <stdlib.h>

static void hello(struct evhttp_request *request, void *arg)
{
    struct evbuffer *body = evbuffer_new();

    evbuffer_add(body, "Hello, world!", 13);
    evhttp_send_reply(request, 200, "OK", body);
    evbuffer_free(body);
}

int main(int count, char **words)
{
    struct event_base *base = event_base_new();
    struct evhttp *server = evhttp_new(base);

    evhttp_set_timeout(server, 50);
    evhttp_set_gencb(server, hello, NULL);
    evhttp_bind_socket(server, "127.0.0.1", (unsigned short)atoi(words[1]));
    return event_base_dispatch(base);
}
"""

IN_PYTHON = """
import sys
from libevent_cffi import EventBase
from libevent_cffi.http import Server
base = EventBase()
server = Server(base, lambda request: request.reply(200, b"Hello, world!"))
server.bind(("127.0.0.1", int(sys.argv[1])))
base.dispatch()
"""

ON_UVICORN = """
import sys, uvicorn
async def app(scope, receive, send):
    headers = [(b"content-length", b"13")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"Hello, world!"})
uvicorn.run(app, port=int(sys.argv[1]), log_level="critical", lifespan="off", loop="uvloop", http="httptools")
"""

ON_GEVENT = """
import sys
from gevent.pywsgi import WSGIServer
def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "13")])
    return [b"Hello, world!"]
WSGIServer(("127.0.0.1", int(sys.argv[1])), app, log=None).serve_forever()
"""

ON_BJOERN = """
import sys, bjoern
def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "13")])
    return [b"Hello, world!"]
bjoern.run(app, "127.0.0.1", int(sys.argv[1]))
"""

ON_NGINX = """
daemon off; master_process off; worker_processes 1; pid nginx.pid; error_log stderr emerg;
events {} http { access_log off; keepalive_requests 1000000000;
server { listen 127.0.0.1:PORT; location / { return 200 "Hello, world!"; } } }
"""


def peers(folder: str) -> dict[str, list[str]]:
    """Return the commands of the other servers that are installed here."""
    known = {
        "uvicorn, uvloop": (("uvicorn", "uvloop", "httptools"), ON_UVICORN),
        "gevent, pywsgi": (("gevent",), ON_GEVENT),
        "bjoern": (("bjoern",), ON_BJOERN),
    }
    found = {
        name: [sys.executable, "-c", program]
        for name, (needed, program) in known.items()
        if all(importlib.util.find_spec(each) for each in needed)
    }
    nginx = shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))
    if nginx is not None:
        Path(folder, "nginx.in").write_text(ON_NGINX, encoding="utf-8")
        start = (
            f"sed s/PORT/$0/ {folder}/nginx.in > {folder}/nginx.conf; exec {nginx} -p {folder} -c nginx.conf"
        )
        found["nginx"] = ["sh", "-c", start]
    return found


def compiled(folder: str) -> list[str]:
    """Make the server in C; return its command."""
    source, program = Path(folder, "hello.c"), Path(folder, "hello")
    source.write_text(IN_C, encoding="utf-8")
    subprocess.run(["cc", "-O2", source, "-o", program, "-levent"], check=True)
    return [str(program)]


def free_port() -> int:
    """Return a port that nobody uses."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def cpu_time(pid: int) -> float:
    """Return the seconds of CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(command: list[str], seconds: float) -> float:
    """Run a server under wrk; return its microseconds of CPU time per request."""
    port = free_port()
    server = subprocess.Popen([*command, str(port)])
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        before = cpu_time(server.pid)
        wrk = ["wrk", "-t1", "-c50", f"-d{seconds}", f"http://127.0.0.1:{port}/"]
        output = subprocess.run(wrk, check=True, capture_output=True, text=True).stdout
        used = cpu_time(server.pid) - before
    finally:
        server.kill()
        server.wait()
    found = re.search(r"(\d+) requests in", output)
    assert found, output
    return used / int(found[1]) * 1e6


def main() -> None:
    """Measure, and print a line for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        commands = {"C, evhttp": compiled(folder), "libevent_cffi": [sys.executable, "-c", IN_PYTHON]}
        commands.update(peers(folder))
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(options.rounds):
            for name, command in commands.items():
                times[name].append(measure(command, options.seconds))
    base = statistics.median(times["C, evhttp"])
    for name, found in times.items():
        middle = statistics.median(found)
        print(f"{name:16} {middle:6.2f} us ({min(found):.2f} to {max(found):.2f})  {middle / base:.2f} x C")


if __name__ == "__main__":
    main()
