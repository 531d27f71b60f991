"""
Look-ups of more than one step: search domains, and by TCP what was cut off or may not be asked by UDP.

libevent searches by itself, and takes an answer that was cut off for none; so where TCP may be used each name
is asked for alone, and what comes next is decided here.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Optional, Union

from .._native._libevent import ffi, lib
from .._native.asking import new_query
from ..errors import DNSError
from .addrinfo import packed_sockaddr
from .answers import Found

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..event import Timer
    from .resolver import Resolver
    from .streams import Exchange

    Result = Union[Found, DNSError]

__all__ = ["Addresses", "Lookup", "Way"]

#: What each kind of query asks for.
_RECORDS = {
    lib.LEV_ASK_IPV4: 1,
    lib.LEV_ASK_IPV6: 28,
    lib.LEV_ASK_REVERSE_IPV4: 12,
    lib.LEV_ASK_REVERSE_IPV6: 12,
}
#: After these no other name is tried (evdns.c:evdns_request_timeout_callback).
_FINAL = (lib.DNS_ERR_TIMEOUT, lib.DNS_ERR_SHUTDOWN, lib.DNS_ERR_CANCEL)
_STRIDE: int = lib.LEV_ADDRESS_STRIDE


class Way(NamedTuple):
    """How to ask: by TCP, by TCP what was cut off, with the alias, and in search domains."""

    by_tcp: bool
    asks_again: bool
    wants_alias: bool
    searches: bool

    @property
    def is_libevents(self) -> bool:
        """Can libevent do it?"""
        return not (self.by_tcp or self.asks_again or self.wants_alias)


class Lookup:
    """
    Asks for one kind of records of *names*, until there are some.

    A name is (what libevent is asked for, what is asked for by TCP).  ``done(result)`` is called in a pass of
    the loop, but for what fails at once.
    """

    __slots__ = ("_c", "_done", "_exchange", "_kind", "_name", "_names", "_number", "_resolver", "_way")

    def __init__(
        self,
        resolver: Resolver,
        kind: int,
        names: Sequence[tuple[bytes, bytes]],
        way: Way,
        done: Callable[[Result], object],
    ) -> None:
        self._resolver, self._kind, self._names = resolver, kind, list(names)
        self._way, self._done = way, done
        self._name = b""
        self._number = 0
        self._c: Any = None
        self._exchange: Optional[Exchange] = None

    def begin(self) -> None:
        """Ask for the next name."""
        what, self._name = self._names.pop(0)
        if self._way.by_tcp or self._way.wants_alias:
            self._ask_here(self._way.by_tcp)
            return
        self._c = new_query("struct lev_query *")
        self._number = self._resolver._add_part(self)
        name = self._name.decode("latin-1")
        try:
            error = self._resolver._ask_c(
                self._c, self._number, self._kind, what, lib.DNS_QUERY_NO_SEARCH, ffi.NULL, name
            )
        except BaseException:
            self._forget()
            raise
        if error is not None:
            self._forget()
            self._done(error)

    def _forget(self) -> None:
        self._resolver._parts.pop(self._number, None)
        self._c = None

    def _ask_here(self, by_tcp: bool) -> None:
        self._exchange = self._resolver._asker().ask(
            self._name, _RECORDS[self._kind], by_tcp, self._answered_by_tcp if by_tcp else self._answered
        )

    def _take(self) -> None:
        """Go on with what C has; called by the resolver."""
        c, number, self._c = self._c, self._number, None
        if c is None:
            return
        try:
            self._answered(Found.of(c))
        except BaseException:  # a signal handler's: C tells it again
            self._c, self._number = c, number
            raise
        self._resolver._parts.pop(number, None)

    def _answered(self, found: Found) -> None:
        if found.error == lib.DNS_ERR_TRUNCATED and self._way.asks_again:
            self._ask_here(by_tcp=True)
        else:
            self._answered_by_tcp(found)

    def _answered_by_tcp(self, found: Found) -> None:
        self._exchange = None
        if found.error and self._names and found.error not in _FINAL:
            self.begin()
        else:
            self._done(found)

    def stop(self) -> None:
        """Ask no more, and tell nothing."""
        if self._exchange is not None:
            self._exchange.cancel()
            self._exchange = None
        if self._c is not None:
            lib.lev_resolver_cancel(self._resolver._c, self._c)
            self._forget()


class Addresses:
    """Asks for both kinds of addresses at once; ``done(result)`` gets what evdns_getaddrinfo() would give."""

    __slots__ = ("_done", "_lookups", "_resolver", "_results", "_timer")

    def __init__(
        self,
        resolver: Resolver,
        kinds: Sequence[int],
        names: Sequence[tuple[bytes, bytes]],
        way: Way,
        done: Callable[[Result], object],
    ) -> None:
        self._resolver, self._done = resolver, done
        self._results: dict[int, Result] = {}
        self._timer: Optional[Timer] = None
        self._lookups = {kind: Lookup(resolver, kind, names, way, self._taker(kind)) for kind in kinds}

    def _taker(self, kind: int) -> Callable[[Result], object]:
        return lambda result: self._took(kind, result)

    def begin(self) -> None:
        """Ask."""
        for lookup in list(self._lookups.values()):
            lookup.begin()

    def _took(self, kind: int, result: Result) -> None:
        self._results[kind] = result
        if len(self._results) == len(self._lookups):
            self._end()
        elif self._timer is None:
            seconds = self._resolver._option("getaddrinfo_allow_skew")
            self._timer = self._resolver.base.call_later(seconds, self._end)

    def _end(self) -> None:
        self.stop()
        found = [
            self._results[kind] for kind in (lib.LEV_ASK_IPV4, lib.LEV_ASK_IPV6) if kind in self._results
        ]
        good = [each for each in found if isinstance(each, Found) and not each.error]
        if good:
            data = b"".join(_as_sockaddrs(each) for each in good)
            canonical = next((each.canonical for each in good if each.canonical), None)
            ttl = min(each.ttl for each in good)
            self._done(Found(0, 0, len(data) // _STRIDE, ttl, data, canonical))
            return
        for each in found:
            if isinstance(each, DNSError):
                self._done(each)
                return
        errors = [each.error for each in found if isinstance(each, Found)]
        self._done(Found(_worst(errors), 0, 0, 0, b"", None))

    def stop(self) -> None:
        """Ask no more, and tell nothing."""
        if self._timer is not None:
            self._timer.close()
            self._timer = None
        for lookup in self._lookups.values():
            lookup.stop()


def _worst(errors: list[int]) -> int:
    """Return the EAI number for these DNS_ERR numbers (evdns.c:evdns_err_to_getaddrinfo_err)."""
    if lib.DNS_ERR_NOTEXIST in errors:
        return int(lib.EVUTIL_EAI_NONAME)
    return int(lib.EVUTIL_EAI_AGAIN if lib.DNS_ERR_TIMEOUT in errors else lib.EVUTIL_EAI_FAIL)


def _as_sockaddrs(found: Found) -> bytes:
    family, size = (socket.AF_INET, 4) if found.type == lib.DNS_IPv4_A else (socket.AF_INET6, 16)
    return b"".join(
        packed_sockaddr(socket.inet_ntop(family, found.data[at : at + size]))
        for at in range(0, len(found.data), size)
    )
