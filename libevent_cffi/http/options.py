"""What a client's connection can be told, checked once."""

from __future__ import annotations

import ipaddress
import os
import socket
from typing import TYPE_CHECKING, Any, Optional, TypedDict

from .._native import convert
from ..bufferevent.secure import new_layer
from ..event.arguments import check_base
from .headers import is_token

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..dns import Resolver
    from ..event import EventBase
    from ..tls import TLSContext
    from ..types import Address

__all__ = ["ConnectionOptions", "Options", "host_of", "is_name"]

#: Methods that libevent knows, and whether a request with one may have a body.
_METHODS = {
    **dict.fromkeys("GET POST HEAD PUT DELETE OPTIONS CONNECT PATCH".split(), True),
    **dict.fromkeys("PROPFIND PROPPATCH MKCOL LOCK UNLOCK COPY MOVE".split(), True),
    "TRACE": False,
}


class ConnectionOptions(TypedDict, total=False):
    """
    What Connection and fetch() have in common; what is not given has its default.

    - *tls*: a TLSContext to speak TLS; fetch() makes one by itself for https.  *server_hostname*: the name to
      verify, the host of the address by default.
    - *resolver*: looks names up; the base's default one otherwise.
    - *timeout*: seconds without progress, 50 by default, for each of *connect_timeout*, *read_timeout* and
      *write_timeout* that is not given.  Connecting to one address, with its TLS handshake, is one step;
      sending and receiving begin anew with every byte.  None has no limit.
    - *total_timeout*: seconds for all of a request, from when it is asked for: the wait for its turn,
      connecting, redirects, pauses and the last byte of the response.  None, the default, has no limit, and a
      server that sends a byte now and then holds a request for as long.
    - *retries*: how often to try again when no address can be connected to, 0 by default, -1 without end;
      *retry_delay*: seconds before the first of them, 2 by default, doubled each time.
    - *max_headers_size*, *max_body_size*: bytes of a response, 65536 and 16777216 by default; None: any.
    - *local_address*: what to bind to first.  *family*: AF_INET or AF_INET6 restricts what is connected to.
    - *read_on_write_error*: when sending fails, take the response that may have come all the same.
    - *reuse_connected_address*: connect again to the address that worked, without looking the name up.
    - *lingering_close*: of a body that is too long, take the rest too before failing.
    - *methods*: names beyond libevent's own, and whether they may have a body.

    Wraps: evhttp_connection_set_timeout() evhttp_connection_set_timeout_tv()
    evhttp_connection_set_connect_timeout_tv() evhttp_connection_set_read_timeout_tv()
    evhttp_connection_set_write_timeout_tv() evhttp_connection_set_retries()
    evhttp_connection_set_initial_retry_tv() evhttp_connection_set_max_headers_size()
    evhttp_connection_set_max_body_size() evhttp_connection_set_local_address()
    evhttp_connection_set_local_port() evhttp_connection_set_family() evhttp_connection_set_flags()
    evhttp_connection_set_ext_method_cmp() <event2/http.h>; their effect, on every libevent.
    """

    tls: Optional[TLSContext]
    server_hostname: Optional[str]
    resolver: Optional[Resolver]
    timeout: Optional[float]
    connect_timeout: Optional[float]
    read_timeout: Optional[float]
    write_timeout: Optional[float]
    total_timeout: Optional[float]
    retries: int
    retry_delay: float
    max_headers_size: Optional[int]
    max_body_size: Optional[int]
    local_address: tuple[str, int]
    family: int
    read_on_write_error: bool
    reuse_connected_address: bool
    lingering_close: bool
    methods: Mapping[str, bool]


class Options:
    """ConnectionOptions, checked and with their defaults."""

    __slots__ = tuple(ConnectionOptions.__annotations__)

    tls: Any
    server_hostname: Optional[str]
    resolver: Any
    connect_timeout: Optional[float]
    read_timeout: Optional[float]
    write_timeout: Optional[float]
    total_timeout: Optional[float]
    methods: Mapping[str, bool]

    def __init__(self, base: EventBase, address: Address, given: Mapping[str, Any]) -> None:
        for name in given:
            if name not in self.__slots__:
                raise TypeError(f"there is no option {name!r}; there are {', '.join(self.__slots__)}")
        check_base(base)
        self.timeout = _seconds(given, "timeout", 50.0)
        for name in ("connect_timeout", "read_timeout", "write_timeout"):
            setattr(self, name, _seconds(given, name, self.timeout))
        self.total_timeout = _seconds(given, "total_timeout", None)
        self.retries: int = convert.c_int(given.get("retries", 0), "retries", -1)
        self.retry_delay = convert.check_seconds(given.get("retry_delay", 2.0), "retry_delay")
        self.max_headers_size = _limit(given, "max_headers_size", 65536)
        self.max_body_size = _limit(given, "max_body_size", 16777216)
        self.local_address: Optional[tuple[str, int]] = given.get("local_address")
        if self.local_address is not None:
            _check_local(self.local_address)
        self.family: int = convert.c_int(given.get("family", socket.AF_UNSPEC), "family")
        if self.family not in (socket.AF_UNSPEC, socket.AF_INET, socket.AF_INET6):
            raise ValueError(f"family must be AF_UNSPEC, AF_INET or AF_INET6, not {self.family}")
        self.read_on_write_error = bool(given.get("read_on_write_error", False))
        self.reuse_connected_address = bool(given.get("reuse_connected_address", False))
        self.lingering_close = bool(given.get("lingering_close", False))
        self.methods = _methods(given.get("methods", {}))
        self._set_tls(base, address, given)

    def _set_tls(self, base: EventBase, address: Address, given: Mapping[str, Any]) -> None:
        self.tls = given.get("tls")
        self.server_hostname = given.get("server_hostname")
        if self.tls is not None and self.server_hostname is None and isinstance(address, tuple):
            self.server_hostname = address[0]
        if new_layer(base, self.tls, self.server_hostname, True) is not None and self.tls.server_side:
            raise ValueError(f"tls must be a client's TLSContext, not {self.tls!r}")
        self.resolver = given.get("resolver")
        if self.resolver is not None and getattr(self.resolver, "base", None) is not base:
            raise ValueError(f"the resolver belongs to another base: {self.resolver!r}")

    def check_method(self, method: str, has_body: bool) -> None:
        """Raise ValueError for a method that is not known, or has a body that it cannot have."""
        may_have_body = self.methods.get(method, _METHODS.get(method))
        if may_have_body is None:
            known = method.upper()
            hint = f"{known!r} is one" if known in _METHODS else f"methods={{{method!r}: True}} declares one"
            raise ValueError(f"unknown method {method!r}: {hint}")
        if has_body and not may_have_body:
            raise ValueError(f"{method} cannot have a body")


def _seconds(given: Mapping[str, Any], name: str, default: Optional[float]) -> Optional[float]:
    value = given.get(name, default)
    return None if value is None else convert.check_seconds(value, name)


def _limit(given: Mapping[str, Any], name: str, default: int) -> Optional[int]:
    value = given.get(name, default)
    return None if value is None else convert.c_int(value, name, 0, 2**63 - 1)


def _methods(methods: Mapping[str, bool]) -> dict[str, bool]:
    for method in methods:
        if not isinstance(method, str) or not is_token(method):
            raise ValueError(f"{method!r} cannot be a method: letters, digits and !#$%&'*+-.^_`|~")
    return {method: bool(may_have_body) for method, may_have_body in methods.items()}


def _check_local(address: Any) -> None:
    if not isinstance(address, tuple) or len(address) != 2:
        raise TypeError(f"local_address is (host, port), not {address!r}")
    convert.sockaddr_to_c(address)


def is_name(address: Address) -> bool:
    """Tell whether *address* has to be looked up; ValueError and TypeError for what is no address."""
    if isinstance(address, tuple) and address and isinstance(address[0], str):
        host = address[0]
        if not convert.is_numeric(host):
            if not host or host.startswith(".") or len(host) > 253 or set(host) & set(" \0\r\n/@:?#[]"):
                raise ValueError(f"{host!r} is no host name")
            convert.sockaddr_to_c(("127.0.0.1", *address[1:]))  # checks the port
            return True
    convert.sockaddr_to_c(address)
    return False


def host_of(address: Address, default_port: int) -> str:
    """Return what stands for *address* in a Host header."""
    if not isinstance(address, tuple):
        return "localhost"
    host = address[0].partition("%")[0]
    try:
        host = f"[{ipaddress.IPv6Address(host)}]"
    except ValueError:
        host = host or "127.0.0.1"
    return host if address[1] == default_port else f"{host}:{address[1]}"


def path_of(address: Address) -> str:
    """Return the path of a UNIX socket as text."""
    return os.fsdecode(address)  # type: ignore[arg-type]
