"""What getaddrinfo() gives, in the shape and number of socket.getaddrinfo()."""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING, Any, Optional, Union

from .._native import check, convert
from .._native._libevent import ffi, lib
from ..errors import DNSError
from .answers import Found, lookup_error
from .names import encode_name

if TYPE_CHECKING:
    from ..types import AddrInfo

__all__ = ["Wanted", "packed_sockaddr", "read_addresses"]

_STRIDE: int = lib.LEV_ADDRESS_STRIDE


class Wanted:
    """
    A question of getaddrinfo(), checked.

    *local* is the answer, or the error, where no name server has to be asked.  libevent would send "127.1" or
    an IPv6 address with AF_INET to one, knows other types and services than the system, and gives each
    address fewer times; so it is asked for addresses only, and the system for the rest, which never blocks.
    """

    def __init__(
        self, host: Optional[str], port: Union[int, str, None], family: int, type: int, proto: int, flags: int
    ) -> None:
        self._port = _check_port(port)
        self._family = convert.c_int(family, "family")
        self._type = convert.c_int(type, "type")
        self._proto = convert.c_int(proto, "proto")
        self._flags = convert.c_int(flags, "flags")
        self._kinds: list[tuple[int, int, int]] = []
        self.host = host
        if host is not None:
            convert.c_text(host, "host")
        self.name = "" if host is None else host
        self.encoded = b""
        self.local: Union[list[AddrInfo], DNSError, None] = self._answer_here()

    def _answer_here(self) -> Union[list[AddrInfo], DNSError, None]:
        try:
            if self.host is None or self._flags & socket.AI_NUMERICHOST or _is_address(self.host):
                flags = self._flags | (0 if self.host is None else socket.AI_NUMERICHOST)
                return socket.getaddrinfo(  # type: ignore[return-value]
                    self.host, self._port, self._family, self._type, self._proto, flags
                )
            self.encoded = encode_name(self.host, "host")
            flags = self._flags & socket.AI_NUMERICSERV | socket.AI_NUMERICHOST
            self._kinds = [
                (kind, proto, address[1])  # type: ignore[misc]
                for _, kind, proto, _, address in socket.getaddrinfo(
                    "127.0.0.1", self._port, socket.AF_INET, self._type, self._proto, flags
                )
            ]
        except socket.gaierror as error:
            return check.dns_error(error.args[0], check.asked_for(self.host, self._port), error.args[1])
        if self._family not in (socket.AF_UNSPEC, socket.AF_INET, socket.AF_INET6):
            return lookup_error(self.name, socket.EAI_FAMILY)
        return None

    def hints(self) -> Any:
        """Make what evdns_getaddrinfo() gets."""
        hints = ffi.new("struct evutil_addrinfo *")
        hints.ai_family = self._family
        hints.ai_socktype = socket.SOCK_STREAM
        hints.ai_protocol = socket.IPPROTO_TCP
        hints.ai_flags = self._flags & (socket.AI_CANONNAME | socket.AI_ADDRCONFIG)
        return hints

    def families(self) -> list[int]:
        """Return which kinds of addresses are wanted, IPv4 first; as evdns_getaddrinfo() takes the hints."""
        family = self._family
        if family == socket.AF_UNSPEC and self._flags & socket.AI_ADDRCONFIG:
            has = [each for each in _ELSEWHERE if _is_configured(each)]
            family = has[0] if len(has) == 1 else family
        return list(_ELSEWHERE) if family == socket.AF_UNSPEC else [family]

    @property
    def wants_canonical_name(self) -> bool:
        """Is AI_CANONNAME set?"""
        return bool(self._flags & socket.AI_CANONNAME)

    def known(self, addresses: list[str]) -> Union[list[AddrInfo], DNSError]:
        """Make the result of addresses that need not be asked for."""
        families = self.families()
        packed = [packed_sockaddr(each) for each in addresses if _family_of(each) in families]
        if not packed:
            return lookup_error(self.name, lib.EVUTIL_EAI_ADDRFAMILY)
        return self.read(Found(0, 0, len(packed), 0, b"".join(packed), None))

    def read(self, answer: Found) -> list[AddrInfo]:
        """Return the result; raise DNSError when it failed."""
        if answer.error:
            raise lookup_error(self.name, answer.error)
        canonical = (answer.canonical or self.name) if self._flags & socket.AI_CANONNAME else ""
        return read_addresses(answer.data, self._kinds, canonical)


def read_addresses(data: bytes, kinds: list[tuple[int, int, int]], canonical: str) -> list[AddrInfo]:
    """Make the tuples of the addresses in *data*: one for each of *kinds*, the first with the name."""
    memory = ffi.from_buffer(data)
    found: list[AddrInfo] = []
    for at in range(0, len(data), _STRIDE):
        address: Any = convert.sockaddr_from_c(memory + at, _STRIDE)
        family = socket.AF_INET if len(address) == 2 else socket.AF_INET6
        for kind, proto, port in kinds:
            entry = (family, socket.SocketKind(kind), proto, canonical, (address[0], port, *address[2:]))
            found.append(entry)
            canonical = ""
    return found


def packed_sockaddr(address: str) -> bytes:
    """Return *address* as C has it among those of a name."""
    memory, length = convert.sockaddr_to_c((address, 0))
    return bytes(ffi.buffer(ffi.cast("char *", memory), length)).ljust(_STRIDE, b"\0")


#: An address of each kind that is far away: nothing is sent there.
_ELSEWHERE = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}


def _is_configured(family: int) -> bool:
    """Has this host an address of this kind that others can reach?"""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((_ELSEWHERE[socket.AddressFamily(family)], 53))
            own = ipaddress.ip_address(sock.getsockname()[0].partition("%")[0])
    except OSError:
        return False
    return not (own.is_loopback or own.is_link_local or own.is_unspecified or own.is_multicast)


def _family_of(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _check_port(port: Union[int, str, None]) -> Union[int, str, None]:
    if port is None:
        return None
    if isinstance(port, str):
        convert.c_text(port, "port")
        return port
    return convert.c_int(port, "port", 0, 65535)


def _is_address(host: str) -> bool:
    try:
        socket.getaddrinfo(host, None, 0, 0, 0, socket.AI_NUMERICHOST)
    except (socket.gaierror, UnicodeError):
        return False
    return True
