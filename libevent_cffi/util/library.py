"""The library as a whole: its version, what it can do, its debugging, its memory, its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .._native import features as _features
from .._native import logs, startup
from .._native._libevent import lib
from ..errors import LoopBusyError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "MemoryCounters",
    "enable_debug_mode",
    "features",
    "global_shutdown",
    "memory_counters",
    "set_debug_logging",
    "version",
    "version_number",
]


def version() -> str:
    """
    Return the version of the libevent that is loaded, such as "2.1.12-stable".

    Wraps: event_get_version() <event2/event.h>; libevent >= 1.4.
    """
    return _features.loaded_version()


def version_number() -> int:
    """
    Return that version as a number: 0x02010c00 for 2.1.12.

    Wraps: event_get_version_number() <event2/event.h>; libevent >= 2.0.
    """
    number: int = lib.event_get_version_number()
    return number


def features() -> Mapping[str, bool]:
    """
    Tell what this libevent gives natively, by name: "tls", "ws", "watch", "dns_tcp", "upload_streaming" and
    others.

    False does not always mean out of reach: where the effect can be had exactly without it, this package
    gives it.  What it cannot give raises FeatureUnavailableError.

    Wraps nothing: it looks for the functions that a feature needs.
    """
    return _features.features()


def enable_debug_mode() -> None:
    """
    Have libevent check every use of an event from now on: a wrong one ends the process with a message.

    For tests.  It must come before the first object is made; the environment variable
    LIBEVENT_CFFI_DEBUG=mode turns it on at import.

    Raises RuntimeError when an object was made already, or when it is on already.

    Wraps: event_enable_debug_mode() event_debug_unassign() <event2/event.h>; libevent >= 2.0.
    """
    startup.start_debug_mode()


def set_debug_logging(on: bool) -> None:
    """
    Have libevent tell what it does, to ``logging.getLogger("libevent")`` and "libevent.dns" at level DEBUG,
    or stop it.

    Its warnings go there always.  Messages reach the loggers from the running loop, on its thread, or when an
    error is raised; they are no longer read than kept, so a flood loses some, and says how many.  The
    environment variable LIBEVENT_CFFI_DEBUG=logging turns it on at import.  It has no effect where libevent
    was built without it.

    Wraps: event_enable_debug_logging() event_set_log_callback() event_set_fatal_callback() <event2/event.h>
    evdns_set_log_fn() <event2/dns.h>; libevent >= 2.1.
    """
    lib.lev_log_set_debug(bool(on))
    logs.drain()


class MemoryCounters(NamedTuple):
    """
    What libevent and this package's C have allocated: blocks and bytes alive, and the most bytes alive at any
    time.

    Bytes are what the system's allocator set aside, so somewhat more than was asked for; 0 on systems that do
    not tell.

    Wraps: event_set_mem_functions() <event2/event.h>; libevent >= 2.0.
    """

    blocks: int
    bytes: int
    peak_bytes: int


def memory_counters() -> MemoryCounters:
    """
    Return what is allocated in C now.

    Where libevent was built without the hook (``features()["memory_functions"]`` is False), only this
    package's own C is counted.

    Wraps: event_set_mem_functions() <event2/event.h>; libevent >= 2.0.
    """
    return MemoryCounters(lib.lev_memory_blocks(), lib.lev_memory_bytes(), lib.lev_memory_peak())


def global_shutdown() -> None:
    """
    Free what libevent keeps for the whole process, for a leak checker's sake; at the very end, and for good.

    Afterwards every constructor raises ClosedError.  A second call does nothing.

    Raises LoopBusyError when an object is still open.

    Wraps: libevent_global_shutdown() <event2/event.h>; libevent >= 2.1.
    """
    if lib.lev_shut_down:
        return
    if lib.lev_live_objects:
        raise LoopBusyError(f"{lib.lev_live_objects} objects are still open: close their bases first")
    lib.lev_shut_down = 1
    lib.libevent_global_shutdown()
    logs.drain()
