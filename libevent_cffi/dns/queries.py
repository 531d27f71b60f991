"""A question on its way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional, TypeVar, Union

from .._native._libevent import lib
from ..errors import DNSError
from ..event import Operation
from .answers import Found

if TYPE_CHECKING:
    from collections.abc import Callable

    from .lookups import Addresses, Lookup
    from .resolver import Resolver

__all__ = ["Query"]

_T_co = TypeVar("_T_co", covariant=True)


class Query(Operation[_T_co]):
    """
    A question on its way; a Resolver makes it.

    It finishes with an Answer, or for getaddrinfo() a list of tuples; with DNSError; or with CancelledError,
    when it was cancelled or the resolver closed.

    Wraps: evdns_cancel_request() evdns_getaddrinfo_cancel() <event2/dns.h>; libevent >= 2.0.
    """

    __slots__ = ("_c", "_name", "_number", "_plan", "_read", "_resolver")

    _c: Any
    _name: str
    _number: int
    _plan: Union[Lookup, Addresses, None]
    _read: Callable[[Found], Any]
    _resolver: Resolver

    @property
    def name(self) -> str:
        """What was asked for: a name or, of a reverse query, an address."""
        return self._name

    @property
    def resolver(self) -> Resolver:
        """The resolver that asks."""
        return self._resolver

    def _abandon(self) -> None:
        if self._plan is not None:
            self._resolver._check_thread()
            self._plan.stop()
        if self._c is not None:
            lib.lev_resolver_cancel(self._resolver._c, self._c)

    def _finish(self, value: Any = None, error: Optional[Exception] = None) -> bool:
        is_first = super()._finish(value, error)
        self._plan = None
        self._resolver._queries.pop(self._number, None)  # last: what strikes before has C tell it again
        return is_first

    def _take(self) -> None:
        """Finish with what C has of it."""
        self._tell(Found.of(self._c))

    def _tell(self, found: Union[Found, DNSError]) -> None:
        """Finish with what was found."""
        try:
            if isinstance(found, DNSError):
                raise found
            value, error = self._read(found), None
        except DNSError as raised:  # any other is a signal handler's
            value, error = None, raised
        self._finish(value, error)

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]} {self._name!r}>"
