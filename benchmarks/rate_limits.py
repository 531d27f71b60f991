"""
How exactly rate limits hold over ten seconds: alone and in a group, writing and reading, and how fairly.

The limits have ticks of 0.1 s and bursts of one tick.  Everything runs on one base at once.  The figures are
the bytes that arrived, of what the limit allows; for a group also the least and the most that a member got,
of its part.  Run by hand:

    python benchmarks/rate_limits.py [--seconds 10]
"""

from __future__ import annotations

import argparse
import platform
import socket
import tempfile
from collections.abc import Sequence

import _checkout  # noqa: F401  (finds the package)

from libevent_cffi import READ, WRITE, BufferEvent, EventBase, util
from libevent_cffi.bufferevent import RateLimit, RateLimitGroup

MEMBERS = 10
RATE = 1_000_000
SLOW = 10_000
PIECE = bytes(65536)


class Stream:
    """A connection over which one end writes all the time; it counts what the other end reads."""

    def __init__(self, base: EventBase) -> None:
        one, other = socket.socketpair()
        self.writer, self.reader = BufferEvent(base, one), BufferEvent(base, other)
        self.received = 0
        self.reader.on_read = self._read
        self.reader.set_watermark(READ, high=len(PIECE))

    def start(self) -> Stream:
        """Begin to write."""
        self.writer.on_write = self._write
        self.writer.set_watermark(WRITE, low=len(PIECE))
        self._write(self.writer)
        return self

    def _write(self, bev: BufferEvent) -> None:
        bev.write(PIECE)
        bev.write(PIECE)

    def _read(self, bev: BufferEvent) -> None:
        self.received += len(bev.read())


class Case:
    """Some streams and what they may carry together."""

    def __init__(self, name: str, streams: list[Stream], rate: int) -> None:
        self.name, self.streams, self.rate = name, streams, rate

    def tell(self, seconds: float) -> None:
        """Print what they carried, of what they might."""
        allowed = self.rate * seconds
        each = [stream.received / allowed * len(self.streams) for stream in self.streams]
        share = sum(each) / len(each)
        members = f"; a member {min(each):.1%} to {max(each):.1%} of its part" if len(each) > 1 else ""
        print(
            f"{self.name:44}{share:7.2%}{members}{'' if abs(share - 1) <= 0.05 else '   MORE THAN 5 % OFF'}"
        )


def limit(rate: int, read: bool) -> RateLimit:
    """Make a limit of ten ticks a second, which saves nothing up."""
    if read:
        return RateLimit(read_rate=rate, read_burst=rate // 10)
    return RateLimit(write_rate=rate, write_burst=rate // 10)


def alone(base: EventBase, rate: int, read: bool) -> Case:
    """One connection."""
    stream = Stream(base)
    (stream.reader if read else stream.writer).rate_limit = limit(rate, read)
    return Case(f"{'reading' if read else 'writing'} {rate:,} bytes/s", [stream.start()], rate)


def together(base: EventBase, rate: int, read: bool) -> Case:
    """Ten connections in a group."""
    streams = [Stream(base) for _ in range(MEMBERS)]
    group = RateLimitGroup(base, limit(rate, read))
    for stream in streams:
        group.add(stream.reader if read else stream.writer)
        stream.start()
    return Case(f"{MEMBERS} {'reading' if read else 'writing'} {rate:,} bytes/s together", streams, rate)


def sending_a_file(base: EventBase, file: tempfile._TemporaryFileWrapper[bytes], rate: int) -> Case:
    """One that has a file to send, which the system would send at once."""
    stream = Stream(base)
    stream.writer.rate_limit = limit(rate, read=False)
    stream.writer.sendfile(file)
    return Case(f"a file at {rate:,} bytes/s", [stream], rate)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args(arguments)
    print(f"{platform.python_implementation()} {platform.python_version()}, libevent {util.version()}")
    with EventBase() as base, tempfile.NamedTemporaryFile() as file:
        file.truncate(int(RATE * options.seconds) * 2)
        cases = [sending_a_file(base, file, RATE)]
        for rate in (RATE, SLOW):
            for read in (False, True):
                cases += [alone(base, rate, read), together(base, rate, read)]
        started = base.now()
        base.call_later(options.seconds, base.loop_break)
        base.dispatch()
        seconds = base.now() - started
    for case in cases:
        case.tell(seconds)


if __name__ == "__main__":
    main()
