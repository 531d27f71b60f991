"""
Names looked up: queries per second and CPU time per query, beside aiodns and asyncio's getaddrinfo().

All of them ask the same dnsmasq for other IPv4 addresses, a hundred at a time.  Each is a process of its own,
in a namespace where that dnsmasq is the system's name server, as getaddrinfo() asks no other; so this needs
unshare, as root or where users may.  Rounds are interleaved; the figures are medians, with the least and the
most, the CPU time that of the asking process alone, in microseconds.  Without aiodns it is left out.  Run by
hand:

    python benchmarks/dns_queries.py
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import importlib.util
import json
import os
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import _checkout  # noqa: F401  (finds the package)

BEGIN = """
import json, os, socket, sys, time
count, most = int(sys.argv[1]), int(sys.argv[2])
names = iter([f"n{number}.many.test" for number in range(count)])
done = 0
def begin():
    global wall, cpu
    wall, cpu = time.monotonic(), time.process_time()
"""
END = """
assert done == count, done
print(json.dumps([time.monotonic() - wall, time.process_time() - cpu]))
sys.stdout.flush()
os._exit(0)
"""
ON_LIBEVENT = """
from libevent_cffi import EventBase
from libevent_cffi.dns import Resolver
base = EventBase()
resolver = Resolver(base, hosts=False, max_inflight=most)
def ask(query=None):
    global done
    if query is not None:
        query.result()
        done += 1
    name = next(names, None)
    if name is not None:
        LOOK_UP
begin()
for _ in range(most):
    ask()
base.dispatch()
"""
ON_ASYNCIO = """
import asyncio
async def work(ask):
    global done
    for name in names:
        await ask(name)
        done += 1
async def main():
    PREPARE
    begin()
    await asyncio.gather(*[work(ask) for _ in range(most)])
    print(json.dumps([time.monotonic() - wall, time.process_time() - cpu]))
    sys.stdout.flush()
    os._exit(0)
asyncio.run(main())
"""
CONTENDERS = {
    "resolve_ipv4()": ON_LIBEVENT.replace("LOOK_UP", "resolver.resolve_ipv4(name, ask)"),
    "getaddrinfo()": ON_LIBEVENT.replace(
        "LOOK_UP", "resolver.getaddrinfo(name, 80, ask, family=socket.AF_INET, type=socket.SOCK_STREAM)"
    ),
    "aiodns": ON_ASYNCIO.replace(
        "PREPARE", "import aiodns; made = aiodns.DNSResolver(); ask = lambda name: made.query_dns(name, 'A')"
    ),
    "asyncio, threads": ON_ASYNCIO.replace(
        "PREPARE",
        "ask = lambda name: asyncio.get_running_loop().getaddrinfo(name, 80, family=socket.AF_INET, type=1)",
    ),
}


def bring_up_loopback() -> None:
    """Have the namespace's own loopback device work."""
    get, put, up = 0x8913, 0x8914, 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        asked = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack_from("16sH", fcntl.ioctl(sock, get, asked))[1]
        fcntl.ioctl(sock, put, struct.pack("16sH14x", b"lo", flags | up))


def start_name_server(folder: str) -> subprocess.Popen[bytes]:
    """Start a dnsmasq as the system's name server."""
    Path(folder, "resolv.conf").write_text("nameserver 127.0.0.1\n", encoding="ascii")
    subprocess.run(["mount", "--bind", Path(folder, "resolv.conf"), "/etc/resolv.conf"], check=True)
    program = shutil.which("dnsmasq") or shutil.which("dnsmasq", path="/usr/sbin") or "dnsmasq"
    server = subprocess.Popen(
        [
            *(program, "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts"),
            *(
                "--address=/many.test/192.0.2.20",
                "--user=",
                "--group=",
                "--pid-file=",
                "--listen-address=127.0.0.1",
            ),
            *("--bind-interfaces", "--local=/test/"),
        ]
    )
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            socket.getaddrinfo("ready.many.test", 80)
            return server
        time.sleep(0.05)
    raise TimeoutError("dnsmasq does not answer")


def measure(code: str, count: int, most: int) -> tuple[float, float]:
    """Return queries per second and microseconds of CPU time per query."""
    command = [sys.executable, "-c", BEGIN + code + END, str(count), str(most)]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
    wall, cpu = json.loads(output)
    return count / wall, cpu / count * 1e6


def compare(options: argparse.Namespace) -> None:
    """Measure, and print a line for each."""
    bring_up_loopback()
    with tempfile.TemporaryDirectory() as folder:
        server = start_name_server(folder)
        try:
            found: dict[str, list[tuple[float, float]]] = {
                name: [] for name in CONTENDERS if name != "aiodns" or importlib.util.find_spec(name)
            }
            for _ in range(options.rounds):
                for name, figures in found.items():
                    figures.append(measure(CONTENDERS[name], options.count, options.most))
        finally:
            server.terminate()
            server.wait()
    for name, figures in found.items():
        rates, times = zip(*figures)
        print(
            f"{name:16} {statistics.median(rates):7.0f} queries/s ({min(rates):.0f} to {max(rates):.0f})"
            f"  {statistics.median(times):6.1f} us ({min(times):.1f} to {max(times):.1f})"
        )


def main() -> None:
    """Enter the namespace, and compare there."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=10000)
    parser.add_argument("--most", type=int, default=100, help="how many at a time")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        compare(options)
        return
    command = [
        "unshare",
        "--user",
        "--map-root-user",
        "--mount",
        "--net",
        sys.executable,
        *sys.argv,
        "--inside",
    ]
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
