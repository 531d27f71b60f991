"""
What this libevent has: the one place that decides it.

A feature is there when every name that it needs is in the compiled module: versions decide nothing, because
two snapshots of 2.2 with the same number differ.  The build can leave features out, so that both states are
tested.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ..errors import FeatureUnavailableError
from ._libevent import ffi, lib

__all__ = ["built_version", "features", "has", "loaded_version", "require", "why_missing"]


class _Feature(NamedTuple):
    names: tuple[str, ...]
    needs: str


_FROM_22 = "libevent 2.2"
_NUMBER_OF_22 = 0x02020000
_THREADS = "evthread_use_windows_threads" if sys.platform == "win32" else "evthread_use_pthreads"

_FEATURES: dict[str, _Feature] = {
    "buffer_max_read": _Feature(("evbuffer_set_max_read", "evbuffer_get_max_read"), _FROM_22),
    "dns_edns": _Feature(("DNS_QUERY_USEVC",), _FROM_22),
    "dns_nameserver_fd": _Feature(("evdns_base_get_nameserver_fd",), _FROM_22),
    "dns_cache": _Feature(("evdns_cache_write", "evdns_cache_lookup"), _FROM_22),
    "dns_tcp": _Feature(("evdns_add_server_port_with_listener", "evdns_server_port_set_option"), _FROM_22),
    "http_connection_limit": _Feature(
        ("evhttp_set_max_connections", "evhttp_get_connection_count"), _FROM_22
    ),
    "http_error_page": _Feature(("evhttp_set_errorcb",), _FROM_22),
    "http_ext_methods": _Feature(
        ("evhttp_set_ext_method_cmp", "evhttp_connection_set_ext_method_cmp"), _FROM_22
    ),
    "http_split_timeouts": _Feature(
        ("evhttp_connection_set_connect_timeout_tv", "evhttp_connection_set_read_timeout_tv"), _FROM_22
    ),
    "ipv6_dual_stack": _Feature(("evutil_make_listen_socket_not_ipv6only",), _FROM_22),
    "listener_dual_stack": _Feature(("LEV_OPT_BIND_IPV4_AND_IPV6",), _FROM_22),
    "memory_functions": _Feature(
        ("event_set_mem_functions",), "a libevent built with --enable-malloc-replacement"
    ),
    "query_flags": _Feature(("evhttp_parse_query_str_flags",), _FROM_22),
    "signalfd": _Feature(("EVENT_BASE_FLAG_USE_SIGNALFD", "event_base_get_signal_method"), _FROM_22),
    "tcp_keepalive": _Feature(("evutil_set_tcp_keepalive",), _FROM_22),
    "thread_prio_inherit": _Feature(("evthread_use_pthreads_with_flags",), _FROM_22),
    "threads": _Feature((_THREADS,), "a libevent built with thread support (libevent_pthreads)"),
    "tls": _Feature((), "a libevent built with OpenSSL (libevent_openssl)"),
    "unix_http_client": _Feature(("evhttp_connection_base_bufferevent_unix_new",), _FROM_22),
    "upload_streaming": _Feature(("evhttp_set_newreqcb",), _FROM_22),
    "uri_flags": _Feature(("EVHTTP_URI_HOST_STRIP_BRACKETS",), _FROM_22),
    "uri_unix_socket": _Feature(("EVHTTP_URI_UNIX_SOCKET", "evhttp_uri_get_unixsocket"), _FROM_22),
    "watch": _Feature(("evwatch_prepare_new", "evwatch_check_new", "evwatch_free"), _FROM_22),
    "ws": _Feature(("evws_new_session", "evws_send_text", "evws_send_binary"), _FROM_22),
}

#: What the package does by itself where libevent cannot.
_OURS_ELSEWHERE = frozenset(
    {
        "http_connection_limit",
        "http_split_timeouts",
        "ipv6_dual_stack",
        "tcp_keepalive",
        "unix_http_client",
        "watch",
        "ws",
    }
)


def has(name: str) -> bool:
    """Tell whether this libevent has feature *name*; KeyError for a name that is no feature."""
    feature = _FEATURES[name]
    if name == "tls":  # in a module of its own: to import it would load libssl
        return bool(lib.LEV_HAS_TLS)
    return all(hasattr(lib, each) for each in feature.names)


def is_emulated(name: str) -> bool:
    """Tell whether this libevent lacks feature *name*, and the package has the same without it."""
    return name in _OURS_ELSEWHERE and not has(name)


def require(name: str) -> None:
    """Raise FeatureUnavailableError unless this libevent has feature *name*."""
    if not has(name):
        raise FeatureUnavailableError(name, f"{name} {why_missing(name)}")


def why_missing(name: str) -> str:
    """Say what feature *name* lacks, to follow its name in a sentence; empty when it is there."""
    if has(name):
        return ""
    if _is_switched_off(name):
        return "was switched off when libevent_cffi was built (LIBEVENT_CFFI_DISABLE)"
    because = _text(lib.LEV_TLS_MISSING) if name == "tls" else ""
    return f"needs {_FEATURES[name].needs}; {because or f'this is {loaded_version()}'}"


def _is_switched_off(name: str) -> bool:
    """Tell whether the build left out what this libevent would have."""
    off = set(_text(lib.LEV_DISABLED).split(","))
    if name in ("threads", "thread_prio_inherit") and "pthreads" in off:
        return True
    if _FEATURES[name].needs == _FROM_22:
        return bool(off & {"2.2", name}) and lib.event_get_version_number() >= _NUMBER_OF_22
    return name in off


def features() -> Mapping[str, bool]:
    """Return every feature's name with whether this libevent has it."""
    return MappingProxyType({name: has(name) for name in _FEATURES})


def loaded_version() -> str:
    """Return the version of the libevent in this process."""
    return _text(lib.event_get_version())


def built_version() -> str:
    """Return the version of the libevent that this package was built against."""
    return _text(lib.LEV_BUILT_VERSION)


def _text(string: Any) -> str:
    text: str = ffi.string(string).decode("ascii", "replace")
    return text
