"""The options of a resolver, as keyword arguments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Callable, NamedTuple, TypedDict

from .._native import convert
from .._native._libevent import lib
from .._native.features import loaded_version
from ..errors import FeatureUnavailableError

if TYPE_CHECKING:
    from ..types import InetAddress

__all__ = ["DEFAULTS", "ResolverOptions", "encode_options", "read_options"]


class ResolverOptions(TypedDict, total=False):
    """
    What a resolver does, in libevent's words; times are seconds.

    - *ndots*: a name with fewer dots is tried in the search domains first (1).
    - *timeout*: how long one try may take (5); at least a millisecond.
    - *attempts*: how often a query is sent in all before it ends with TIMEOUT (3).
    - *max_timeouts*: after how many in a row a name server counts as failed (3).
    - *max_inflight*: how many queries are on their way at once, the others wait (64).
    - *randomize_case*: write names in random case, against forged answers; some servers dislike it (True).
    - *bind_to*: the local address for name servers that are added afterwards.
    - *initial_probe_timeout*: how long a failed name server is left alone at first (10; at most an hour).
    - *max_probe_timeout*, *probe_backoff_factor*: how that grows (3600, in whole seconds; 3, at most 10).
    - *getaddrinfo_allow_skew*: how long one family's answer may wait for the other's (3).
    - *so_rcvbuf*, *so_sndbuf*: the sockets' buffers, in bytes (the system's).
    - *tcp_idle_timeout*: how long a connection by TCP is kept (30).
    - *use_vc*: ask by TCP.
    - *ignore_tc*: fail with TRUNCATED when an answer was cut off (True), rather than ask again by TCP.
    - *edns_udp_size*: how large an answer by UDP may be (512 to 65535); libevent 2.2.

    Wraps: evdns_base_set_option() <event2/dns.h>; libevent >= 2.0.
    """

    ndots: int
    timeout: float
    max_timeouts: int
    max_inflight: int
    attempts: int
    randomize_case: bool
    bind_to: InetAddress
    initial_probe_timeout: float
    max_probe_timeout: float
    probe_backoff_factor: int
    getaddrinfo_allow_skew: float
    so_rcvbuf: int
    so_sndbuf: int
    tcp_idle_timeout: float
    use_vc: bool
    ignore_tc: bool
    edns_udp_size: int


class _Option(NamedTuple):
    encode: Callable[[str, Any], bytes]
    from_22: bool = False


def _number(least: int, most: int = 2**31 - 1) -> Callable[[str, Any], bytes]:
    return lambda name, value: b"%d" % convert.c_int(value, name, least, most)


def _seconds(name: str, value: Any) -> bytes:
    seconds = convert.check_seconds(value, name)
    if seconds < 0.001:
        raise ValueError(f"{name} must be at least a millisecond, not {value!r}")
    return b"%.6f" % seconds


def _whole_seconds(name: str, value: Any) -> bytes:
    seconds = convert.check_seconds(value, name)
    if not 1 <= seconds <= 3600 or seconds != int(seconds):
        raise ValueError(f"{name} must be 1 to 3600 whole seconds, not {value!r}")
    return b"%d" % int(seconds)


def _yes_or_no(name: str, value: Any) -> bytes:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be a bool, not {value!r}")
    return b"1" if value else b"0"


def _address(name: str, value: Any) -> bytes:
    if not isinstance(value, tuple):
        raise TypeError(f"{name} must be (host, port[, flowinfo, scope_id]), not {value!r}")
    try:
        text = convert.format_address(value)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None
    if value[1] == 0:  # which libevent does not read
        text = text.rpartition(":")[0].strip("[]")
    return text.encode("ascii")


_OPTIONS = {
    "ndots": _Option(_number(0)),
    "timeout": _Option(_seconds),
    "max_timeouts": _Option(_number(1, 255)),
    "max_inflight": _Option(_number(1, 65000)),
    "attempts": _Option(_number(0, 255)),
    "randomize_case": _Option(_yes_or_no),
    "bind_to": _Option(_address),
    "initial_probe_timeout": _Option(_seconds),
    "max_probe_timeout": _Option(_whole_seconds),
    "probe_backoff_factor": _Option(_number(1, 10)),
    "getaddrinfo_allow_skew": _Option(_seconds),
    "so_rcvbuf": _Option(_number(0)),
    "so_sndbuf": _Option(_number(0)),
    "tcp_idle_timeout": _Option(_seconds),
    "use_vc": _Option(_yes_or_no),
    "ignore_tc": _Option(_yes_or_no),
    "edns_udp_size": _Option(_number(512, 65535), True),
}
_TIMES = (
    *("timeout", "initial_probe_timeout", "max_probe_timeout", "getaddrinfo_allow_skew"),
    "tcp_idle_timeout",
)
#: What is done here, and not by libevent.
_OURS = ("tcp_idle_timeout", "use_vc", "ignore_tc")
#: What counts where neither the program nor a file says something else, as far as it is asked for here.
DEFAULTS = {
    **{"ndots": 1, "timeout": 5.0, "attempts": 3, "max_inflight": 64, "getaddrinfo_allow_skew": 3.0},
    **{"tcp_idle_timeout": 30.0, "use_vc": False, "ignore_tc": True},
}


def encode_options(options: Mapping[str, Any]) -> Iterator[tuple[bytes, bytes]]:
    """Generate the names and values for evdns_base_set_option(); raise what is wrong with *options*."""
    for name, value in options.items():
        option = _OPTIONS.get(name)
        if option is None:
            raise TypeError(f"a resolver has no option {name!r}: there are {', '.join(_OPTIONS)}")
        if option.from_22 and not hasattr(lib, "DNS_QUERY_USEVC"):
            raise FeatureUnavailableError(
                "dns_edns", f"the option {name} needs libevent 2.2; this is {loaded_version()}"
            )
        encoded = option.encode(name, value)
        if name not in _OURS:
            yield name.replace("_", "-").encode("ascii") + b":", encoded


def read_options(words: Iterable[str]) -> Iterator[tuple[str, Any, bytes]]:
    """
    Generate name, value and what libevent takes of the options in a resolv.conf.

    What is no option here, or has a value that it cannot have, is passed over as libevent does; other
    programs have options of their own there.
    """
    for word in words:
        text, _, value = word.partition(":")
        name = text.replace("-", "_")
        option = _OPTIONS.get(name)
        if option is None or name == "bind_to" or (option.from_22 and not hasattr(lib, "DNS_QUERY_USEVC")):
            continue
        try:
            given: Any = name in ("use_vc", "ignore_tc") or _parse(name, value)
            yield name, given, option.encode(name, given)
        except (TypeError, ValueError, OverflowError):
            continue


def _parse(name: str, value: str) -> Any:
    if name == "randomize_case":
        return int(value) != 0
    return float(value) if name in _TIMES else int(value)
