"""
The memory of one million pending timers, Python's part and C's: how much the process grew, in megabytes.

    python benchmarks/million_timers.py
"""

from __future__ import annotations

import gc
import platform

import _checkout  # noqa: F401  (finds the package)

from libevent_cffi import EventBase, util

COUNT = 1_000_000


def resident_kilobytes() -> int:
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def nothing() -> None:
    pass


def main() -> None:
    base = EventBase()
    gc.collect()
    before = resident_kilobytes()
    for number in range(COUNT):
        base.call_later(1000.0 + number * 1e-3, nothing)
    gc.collect()
    grown = (resident_kilobytes() - before) / 1024
    in_c = util.memory_counters().bytes / 2**20
    python = f"{platform.python_implementation()} {platform.python_version()}"
    print(f"{python}: {COUNT} timers, {grown:.0f} MB in all, {in_c:.0f} MB of it in C")
    base.close()
    gc.collect()
    print(f"after close(): {util.memory_counters().blocks} blocks in C")


if __name__ == "__main__":
    main()
