"""
Small things: event2/util.h, and what is global in event2/event.h.

Sockets, addresses, numbers and text, time, random bytes; then the library as a whole: its version, what it
can do, its debugging and its memory.  No function here runs a callback, and each may be called from any
thread.
"""

from __future__ import annotations

from .addresses import compare_addresses, format_address, getaddrinfo, parse_address
from .library import (
    MemoryCounters,
    enable_debug_mode,
    features,
    global_shutdown,
    memory_counters,
    set_debug_logging,
    version,
    version_number,
)
from .sockets import (
    close_socket,
    set_close_on_exec,
    set_deferred_accept,
    set_ipv6_only,
    set_keepalive,
    set_nonblocking,
    set_reuse_address,
    set_reuse_port,
    socket_error,
    socketpair,
)
from .values import (
    MonotonicTimer,
    add_entropy,
    ascii_compare,
    http_date,
    random_bytes,
    set_urandom_file,
    strtoll,
    wall_clock,
)

__all__ = [
    "MemoryCounters",
    "MonotonicTimer",
    "add_entropy",
    "ascii_compare",
    "close_socket",
    "compare_addresses",
    "enable_debug_mode",
    "features",
    "format_address",
    "getaddrinfo",
    "global_shutdown",
    "http_date",
    "memory_counters",
    "parse_address",
    "random_bytes",
    "set_close_on_exec",
    "set_debug_logging",
    "set_deferred_accept",
    "set_ipv6_only",
    "set_keepalive",
    "set_nonblocking",
    "set_reuse_address",
    "set_reuse_port",
    "set_urandom_file",
    "socket_error",
    "socketpair",
    "strtoll",
    "version",
    "version_number",
    "wall_clock",
]
