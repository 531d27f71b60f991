"""
One GiB there and one GiB back, checked by digest (by CRC on PyPy), and what memory that took.

One side writes, ends its sending, and gets the same amount from the other side, which writes only when it has
been told of that end: so each direction also runs while the other one is over.  With --slow the reader stops
for a while after each MiB, and the writer has to wait for it.  Each kind runs in a process of its own.
The figures are the process's peak when a sixteenth was through, and at the end; they are to be the same, and
the most that a writer had in its output.  Run by hand:

    python benchmarks/one_gib.py [pair] [socket] [filter] [tls] [--mib 1024] [--slow]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Sequence
from pathlib import Path

import _checkout  # noqa: F401  (finds the package)

from libevent_cffi import READ, WRITE, Buffer, BufferEvent, BufferEventFlag, EventBase, util
from libevent_cffi.bufferevent import FilterBufferEvent
from libevent_cffi.flags import FlushMode
from libevent_cffi.tls import TLSContext

KINDS = ("pair", "socket", "filter", "tls")
BLOCK = os.urandom(1 << 20)
PIECE = 65536
MOST = 4 * PIECE
FLIP = bytes(255 - value for value in range(256))


def peak_kilobytes() -> int:
    """Return the most memory that this process ever had."""
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


class Checksum:
    """A CRC behind hashlib's interface."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes) -> None:
        """Take *data* in."""
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> int:
        """Return it."""
        return self._value


#: PyPy 3.9's hashlib keeps memory for all that it is given, which would be measured instead.
Digest = Checksum if platform.python_implementation() == "PyPy" else hashlib.blake2b


class Side:
    """One end: it writes *size* bytes when it begins, and reads what the other end writes."""

    def __init__(self, bev: BufferEvent, size: int, slow: bool) -> None:
        self.bev, self.left, self.slow = bev, size, slow
        self.sent, self.got = Digest(), Digest()
        self.received = self.most = self.early = 0
        self.milestone = size // 16
        bev.on_read = self.read
        bev.set_watermark(READ, high=MOST)
        bev.set_watermark(WRITE, low=PIECE)

    def begin(self) -> None:
        """Write, and end when all is written."""
        self.bev.on_write = self.write
        self.write(self.bev)

    def write(self, bev: BufferEvent) -> None:
        """Keep some pieces in the output, and no more."""
        while self.left and len(bev.output) < MOST:
            start = self.left * 7919 % (len(BLOCK) - PIECE)
            piece = BLOCK[start : start + min(self.left, PIECE)]
            self.sent.update(piece)
            bev.write(piece)
            self.left -= len(piece)
            self.most = max(self.most, len(bev.output))
        if not self.left:
            bev.on_write = None
            bev.write_eof()

    def read(self, bev: BufferEvent) -> None:
        """Take what is there; a slow one stops then and now."""
        before = self.received
        self.take()
        if not self.early and self.received >= self.milestone:
            self.early = peak_kilobytes()
        if self.slow and before >> 20 != self.received >> 20:
            bev.disable(READ)
            bev.base.call_later(0.01, self.again)

    def take(self) -> None:
        """Take what is there, and count it."""
        data = self.bev.read()
        self.got.update(data)
        self.received += len(data)

    def again(self) -> None:
        """Go on reading."""
        if not self.bev.closed:
            self.bev.enable(READ)


def flip(source: Buffer, target: Buffer, limit: int | None, mode: FlushMode) -> None:
    """Be a filter that changes every byte."""
    data = source.remove(len(source) if limit is None else min(limit, len(source)))
    target.add(data.translate(FLIP))


def ends(kind: str, base: EventBase) -> tuple[BufferEvent, BufferEvent]:
    """Return two ends of a connection."""
    if kind == "pair":
        return BufferEvent.pair(base)
    one, other = socket.socketpair()
    if kind == "socket":
        return BufferEvent(base, one), BufferEvent(base, other)
    if kind == "filter":
        here, there = (FilterBufferEvent(BufferEvent(base, each), flip, flip) for each in (one, other))
        return here, there
    server, client = contexts()
    return (
        BufferEvent(base, one, tls=client, server_hostname="localhost"),
        BufferEvent(base, other, tls=server),
    )


def contexts() -> tuple[TLSContext, TLSContext]:
    """Make a certificate; return a server's context and a client's that trusts it."""
    with tempfile.TemporaryDirectory() as folder:
        key, certificate = Path(folder, "key.pem"), Path(folder, "certificate.pem")
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
        command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
        subprocess.run(command, check=True, capture_output=True)
        return TLSContext.server(certificate, key), TLSContext(ca=certificate)


def transfer(kind: str, size: int, slow: bool) -> None:
    """Move *size* bytes there and back, check them, and print what that took."""
    with EventBase() as base:
        here, there = ends(kind, base)
        one, other = Side(here, size, slow), Side(there, size, slow)

        def ended(bev: BufferEvent, what: BufferEventFlag, error: Exception | None) -> None:
            if error is not None:
                raise error
            if what & BufferEventFlag.EOF:
                (other if bev is there else one).take()
                if bev is there:
                    other.begin()

        here.on_event = there.on_event = ended
        one.begin()
        started = time.monotonic()
        base.dispatch()
        seconds = time.monotonic() - started
        assert (here.closed, there.closed) == (True, True)
    assert one.received == other.received == size, (one.received, other.received)
    assert one.got.digest() == other.sent.digest()
    assert other.got.digest() == one.sent.digest()
    print(
        f"{kind:8}{size >> 20} MiB there and back in {seconds:5.1f} s, digests agree;"
        f" peak {other.early / 1024:.1f} MB after a sixteenth, {peak_kilobytes() / 1024:.1f} MB at the end;"
        f" output at most {max(one.most, other.most) >> 10} KiB",
        flush=True,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("kinds", nargs="*", metavar="kind")
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--slow", action="store_true")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.here:
        transfer(options.kinds[0], options.mib << 20, options.slow)
        return
    print(f"{platform.python_implementation()} {platform.python_version()}", flush=True)
    for kind in options.kinds or KINDS:
        if kind == "tls" and not util.features()["tls"]:
            continue
        command = [sys.executable, __file__, kind, "--here", "--mib", str(options.mib)]
        subprocess.run(command + ["--slow"] * options.slow, check=True)


if __name__ == "__main__":
    main()
