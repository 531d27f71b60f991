"""Addresses: their text, their order, and names looked up with the system's resolver."""

from __future__ import annotations

import enum
import socket
from typing import TYPE_CHECKING, Any, Optional, TypeVar, Union

from .._native import check, convert
from .._native._libevent import ffi, lib

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..types import AddrInfo, InetAddress

__all__ = ["compare_addresses", "format_address", "getaddrinfo", "parse_address"]

_E = TypeVar("_E", bound=enum.IntEnum)


def parse_address(text: str, *, default_port: Optional[int] = None) -> InetAddress:
    """
    Read an address: "1.2.3.4:80", "1.2.3.4", "[::1]:80", "[::1%eth0]:80", "[::1]" or "::1".

    *default_port* (0 to 65535) is the port where the text has none; None means 0.

    Returns (host, port) or (host, port, flowinfo, scope_id), with the host as the system writes it.  Raises
    ValueError for anything else: a name, a bad port, an interface that does not exist, a NUL.

    Wraps: evutil_parse_sockaddr_port() evutil_inet_pton() evutil_inet_pton_scope() <event2/util.h>; libevent
    >= 2.0, with the port checked more strictly.
    """
    return convert.parse_address(text, convert.c_int(default_port or 0, "default_port", 0, 65535))


def format_address(address: InetAddress) -> str:
    """
    Write an address as parse_address() reads it: "1.2.3.4:80", "[fe80::1%2]:80".

    Raises ValueError or TypeError when it is no such tuple, or when its host is a name.

    Wraps: evutil_inet_ntop() <event2/util.h>; libevent >= 2.0.
    """
    return convert.format_address(_inet(address, "address"))


def compare_addresses(a: InetAddress, b: InetAddress, *, port: bool = True) -> int:
    """
    Compare two addresses, with their ports unless *port* is False.

    Returns 0 when they are equal, else a negative or a positive number: some fixed order, IPv4 and IPv6
    apart, but not that of the numbers.  Flow and scope of IPv6 do not count, as in C.

    Raises ValueError or TypeError when one is no (host, port[, flowinfo, scope_id]) or its host a name.

    Wraps: evutil_sockaddr_cmp() <event2/util.h>; libevent >= 2.0.
    """
    left, _ = convert.sockaddr_to_c(_inet(a, "a"))
    right, _ = convert.sockaddr_to_c(_inet(b, "b"))
    order: int = lib.evutil_sockaddr_cmp(left, right, bool(port))
    return order


def _inet(address: InetAddress, name: str) -> InetAddress:
    if not isinstance(address, tuple):
        raise TypeError(f"{name} must be a tuple (host, port), not {address!r}")
    return address


def getaddrinfo(
    host: Optional[str],
    port: Union[int, str, None],
    *,
    family: int = 0,
    type: int = 0,
    proto: int = 0,
    flags: int = 0,
) -> list[AddrInfo]:
    """
    Resolve a name with the system's resolver.  It blocks; dns.Resolver does not.

    *host* None means this machine: loopback, or with AI_PASSIVE in *flags* every interface.  *port* is a
    number, a service's name, or None for 0.  *family*, *type* and *proto* choose among the results, 0 takes
    all; *flags* are the socket module's AI_*.

    Returns a list of (family, type, proto, canonical name, address), as socket.getaddrinfo() does.  Raises
    DNSError, which is a socket.gaierror, when there is no answer, and ValueError for a port out of range or a
    NUL.

    Wraps: evutil_getaddrinfo() evutil_freeaddrinfo() evutil_gai_strerror() <event2/util.h>; libevent >= 2.0.
    """
    hints = ffi.new("struct evutil_addrinfo *")
    hints.ai_family = convert.c_int(family, "family")
    hints.ai_socktype = convert.c_int(type, "type")
    hints.ai_protocol = convert.c_int(proto, "proto")
    hints.ai_flags = convert.c_int(flags, "flags")
    found = ffi.new("struct evutil_addrinfo **")
    result = lib.evutil_getaddrinfo(_encode_host(host), _encode_port(port), hints, found)
    if result:
        raise _lookup_error(result, check.asked_for(host, port))
    try:
        return list(_read_addrinfo(found[0]))
    finally:
        lib.evutil_freeaddrinfo(found[0])


def _encode_host(host: Optional[str]) -> Any:
    if host is None:
        return ffi.NULL
    encoded = convert.c_text(host, "host")
    return encoded if host.isascii() else host.encode("idna")


def _encode_port(port: Union[int, str, None]) -> Any:
    if port is None:
        return ffi.NULL
    if isinstance(port, str):
        return convert.c_text(port, "port")
    return b"%d" % convert.c_int(port, "port", 0, 65535)


def _lookup_error(number: int, asked: str) -> Exception:
    if number == getattr(socket, "EAI_MEMORY", None):
        return MemoryError("evutil_getaddrinfo")
    if number == getattr(socket, "EAI_SYSTEM", None):  # "see errno" tells a user nothing
        cause = check.socket_error("evutil_getaddrinfo")
        return check.dns_error(number, asked, cause.strerror or str(cause))
    return check.dns_error(number, asked)


def _read_addrinfo(entry: Any) -> Iterator[AddrInfo]:
    while entry:
        name = ffi.string(entry.ai_canonname).decode("utf-8", "replace") if entry.ai_canonname else ""
        address: Any = convert.sockaddr_from_c(entry.ai_addr, entry.ai_addrlen)
        yield (
            _enum_or_int(socket.AddressFamily, entry.ai_family),
            _enum_or_int(socket.SocketKind, entry.ai_socktype),
            entry.ai_protocol,
            name,
            address,
        )
        entry = entry.ai_next


def _enum_or_int(cls: type[_E], value: int) -> _E:
    try:
        return cls(value)
    except ValueError:  # a number that Python has no name for, as in the socket module
        return value  # type: ignore[return-value]
