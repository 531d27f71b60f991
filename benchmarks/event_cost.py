"""
What one event costs above plain C: from event_active() to the user's function and back.

Two bases run the same number of active events in turn: one whose callbacks are an empty function in C, and
one of ours whose callbacks are an empty function in Python.  The figure is the difference, in nanoseconds
of this thread's CPU time per event: the median of the rounds, with the least and the most.  Events that
happen once are compared with such events in C, which libevent deletes before each call.  Run by hand:

    python benchmarks/event_cost.py
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import _checkout  # noqa: F401  (finds the package)
from cffi import FFI

from libevent_cffi import PERSIST, Event, EventBase, Timer, util
from libevent_cffi._native import ffi, lib

EVENTS = 500
PASSES = 100


def empty_c_function() -> Any:
    """Compile an empty event callback; return its address."""
    builder = FFI()
    builder.cdef("extern void *const address;")
    builder.set_source(
        "_lev_empty",
        "static void empty(intptr_t fd, short what, void *arg) { (void)fd; (void)what; (void)arg; }\n"
        "void *const address = (void *)empty;\n",
    )
    with tempfile.TemporaryDirectory() as folder:
        path = builder.compile(tmpdir=folder)
        import importlib.util

        spec = importlib.util.spec_from_file_location("_lev_empty", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    kept.append(module)
    return ffi.cast("event_callback_fn", int(module.ffi.cast("intptr_t", module.lib.address)))


kept: list[Any] = []


def in_c(flags: int) -> Callable[[], float]:
    """Return what runs one round of events with *flags* in C, and tells its nanoseconds per event."""
    config = lib.event_config_new()
    lib.event_config_set_flag(config, lib.EVENT_BASE_FLAG_NO_CACHE_TIME)
    base = lib.event_base_new_with_config(config)
    function = empty_c_function()
    events = [lib.event_new(base, -1, flags, function, ffi.NULL) for _ in range(EVENTS)]

    def one_round() -> float:
        total = 0.0
        for _ in range(PASSES):
            for event in events:
                lib.event_active(event, lib.EV_READ, 1)
            start = time.thread_time()
            lib.event_base_loop(base, lib.EVLOOP_ONCE | lib.EVLOOP_NONBLOCK)
            total += time.thread_time() - start
        return total / PASSES / EVENTS * 1e9

    return one_round


def in_python(make: Callable[[EventBase], Event], *, once: bool) -> Callable[[], float]:
    """The same for events that *make* makes; they are added before, unless they are to happen *once*."""
    base = EventBase()
    events = [make(base) for _ in range(EVENTS)]

    def one_round() -> float:
        total = 0.0
        for _ in range(PASSES):
            for event in events:
                event.activate()
            start = time.thread_time()
            base.poll()
            total += time.thread_time() - start
        return total / PASSES / EVENTS * 1e9

    if not once:
        for event in events:
            event.add()
    return one_round


def nothing() -> None:
    pass


def nothing_for_event(fd: int, what: int) -> None:
    pass


def nothing_for_argument(fd: int, what: int, argument: object) -> None:
    pass


KINDS: dict[str, tuple[Callable[[EventBase], Event], bool]] = {
    "persistent event": (lambda base: Event(base, None, PERSIST, nothing_for_event), False),
    "event, once": (lambda base: Event(base, None, 0, nothing_for_event), True),
    "event with an argument": (lambda base: Event(base, None, PERSIST, nothing_for_argument, 1), False),
    "timer, once": (lambda base: Timer(base, nothing), True),
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--rounds", type=int, default=15, help="interleaved rounds (default 15)")
    rounds = parser.parse_args(arguments).rounds
    runs = {"plain C": in_c(lib.EV_PERSIST), "plain C, once": in_c(0)}
    runs.update({name: in_python(make, once=once) for name, (make, once) in KINDS.items()})
    for run in runs.values():
        for _ in range(3):
            run()
    figures: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            figures[name].append(run())
    python = f"{platform.python_implementation()} {platform.python_version()}"
    print(f"{python}, libevent {util.version()}, ns per event")
    plain = {name: statistics.median(figures.pop(name)) for name in ("plain C", "plain C, once")}
    for name, nanoseconds in plain.items():
        print(f"{name:24}{nanoseconds:8.0f}")
    for name, values in figures.items():
        in_plain_c = plain["plain C, once" if KINDS[name][1] else "plain C"]
        above = [value - in_plain_c for value in values]
        print(f"{name:24}{statistics.median(above):8.0f} above C  ({min(above):.0f} to {max(above):.0f})")


if __name__ == "__main__":
    main()
