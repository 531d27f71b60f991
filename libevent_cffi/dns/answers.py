"""What a name server answers, and what went wrong."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional, Union, overload

from .._native import check, convert
from .._native._libevent import ffi, lib
from ..errors import DNSError
from ..flags import DNSErrorCode, DNSType, check_flags

__all__ = ["Answer", "Found", "error_text", "lookup_error", "name_server_error", "read_answer"]

#: The EAI number of each code; what is not here is EAI_FAIL.
_NUMBERS = {
    DNSErrorCode.SERVERFAILED: lib.EVUTIL_EAI_AGAIN,
    DNSErrorCode.NOTEXIST: lib.EVUTIL_EAI_NONAME,
    DNSErrorCode.TIMEOUT: lib.EVUTIL_EAI_AGAIN,
    DNSErrorCode.NODATA: lib.EVUTIL_EAI_NODATA,
}


@dataclass(frozen=True)
class Answer(Sequence[str]):
    """
    The records that a name server answered, as text, in its order.

    *name* is the queried one, *type* A, AAAA or PTR, *ttl* for how many seconds the records may be kept, and
    *canonical_name* what the name is an alias of, where that was asked for.  It is a sequence of its records.

    Wraps: evdns_callback_type <event2/dns.h>; libevent >= 1.4.
    """

    name: str
    type: DNSType
    records: tuple[str, ...]
    ttl: int
    canonical_name: Optional[str] = None

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...

    def __getitem__(self, index: Union[int, slice]) -> Union[str, Sequence[str]]:
        return self.records[index]

    def __len__(self) -> int:
        return len(self.records)


def error_text(code: DNSErrorCode) -> str:
    """
    Return libevent's words for *code*.

    Raises ValueError for a number that is no code, TypeError for what is none.

    Wraps: evdns_err_to_string() <event2/dns.h>; libevent >= 1.4.
    """
    code = DNSErrorCode(check_flags(DNSErrorCode, code, "code"))
    text: str = ffi.string(lib.evdns_err_to_string(code)).decode("ascii", "replace")
    return text


def name_server_error(name: str, number: int) -> DNSError:
    """Make the error of a query for *name* that ended with DNS_ERR *number*."""
    try:
        code = DNSErrorCode(number)
    except ValueError:  # the server may answer any number
        return DNSError(lib.EVUTIL_EAI_FAIL, f"{name}: the name server answered with code {number}")
    return DNSError(_NUMBERS.get(code, lib.EVUTIL_EAI_FAIL), f"{name}: {error_text(code)}", code=code)


def lookup_error(name: str, number: int) -> DNSError:
    """Make the error of a query for *name* that ended with EAI *number*."""
    return check.dns_error(number, name)


@dataclass(frozen=True)
class Found:
    """What C has of a query that has finished."""

    error: int
    type: int
    count: int
    ttl: int
    data: bytes
    canonical: Optional[str]

    def addresses(self) -> list[str]:
        """Return those that getaddrinfo() found."""
        stride: int = lib.LEV_ADDRESS_STRIDE
        memory = ffi.from_buffer(self.data)
        found = [convert.sockaddr_from_c(memory + at, stride) for at in range(0, len(self.data), stride)]
        return [str(each[0]) for each in found]

    @classmethod
    def of(cls, query: Any) -> Found:
        """Read a ``struct lev_query *``."""
        numbers = ffi.new("int[5]")
        data = lib.lev_query_data(query, numbers)
        error, kind, count, ttl, size = numbers
        canonical = lib.lev_query_canonical(query)
        name = ffi.string(canonical).decode("utf-8", "backslashreplace") if canonical else None
        return cls(error, kind, count, ttl, bytes(ffi.buffer(data, size)) if size else b"", name)


def read_answer(name: str, found: Found) -> Answer:
    """Make the Answer to a query for *name*."""
    data = found.data
    records: tuple[str, ...]
    if found.type == lib.DNS_PTR:
        kind, records = DNSType.PTR, (data.decode("utf-8", "backslashreplace"),) if data else ()
    elif found.type == lib.DNS_IPv6_AAAA:
        kind, records = DNSType.AAAA, _addresses(socket.AF_INET6, data, 16)
    else:
        kind, records = DNSType.A, _addresses(socket.AF_INET, data, 4)
    return Answer(name, kind, records, found.ttl, found.canonical)


def _addresses(family: int, data: bytes, size: int) -> tuple[str, ...]:
    return tuple(socket.inet_ntop(family, data[at : at + size]) for at in range(0, len(data), size))
