"""Asking name servers."""

from __future__ import annotations

import contextlib
import itertools
import socket
from typing import TYPE_CHECKING, Any, Optional, Union

from .._native import children, convert, features
from .._native._libevent import ffi, lib
from .._native.asking import new_query
from ..errors import CancelledError, ClosedError, DNSError, WrongThreadError
from ..event.arguments import check_base
from ..flags import DNSOption, check_flags
from .addrinfo import Wanted, packed_sockaddr, read_addresses
from .answers import Answer, Found, name_server_error, read_answer
from .configuration import DEFAULT_OPTIONS, Configuration, read_servers
from .files import Hosts
from .lookups import Addresses, Lookup, Way
from .names import encode_name, packed_address, reverse_name
from .options import ResolverOptions, encode_options
from .queries import Query
from .streams import Asker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from ipaddress import IPv4Address, IPv6Address

    from typing_extensions import TypeVarTuple, Unpack

    from ..event import EventBase
    from ..types import AddrInfo, InetAddress, StrPath

    _Ts = TypeVarTuple("_Ts")

__all__ = ["Resolver"]

_MOST_KEPT = 256
#: How nearly every question is asked, made once.
_WITH_SEARCH, _ALONE = Way(False, False, False, True), Way(False, False, False, False)
_KINDS = {int(socket.AF_INET): lib.LEV_ASK_IPV4, int(socket.AF_INET6): lib.LEV_ASK_IPV6}


class Resolver(Configuration):
    """
    Asks name servers, and blocks for nothing.

    Without arguments it takes the system's configuration:

    - *resolv_conf*: True for the system's file, a path for another, False for none; *resolv_conf_options*:
      which of its lines count.  Where the system has none, the name server is 127.0.0.1.
    - *hosts*: the same for the hosts file, which getaddrinfo() looks into first.
    - *nameservers*: in the place of the configured ones, as "9.9.9.9", "[::1]:5353" or address tuples.
    - *search*: domains in which names without dots are looked for, in the place of the configured ones.
    - *cache*: keep what getaddrinfo() found for as long as it may be kept; libevent 2.2 or nothing.  What is
      kept keeps dispatch() running.
    - *keepalive*: keep dispatch() running also while nothing is asked.
    - the options of ResolverOptions.

    Queries that exceed *max_inflight* wait their turn.  Without a name server a query fails with DNSError.  A
    name server that failed is now and then asked for "google.com" while there are queries.  An answer counts
    when it comes from the host of a name server, with the number and the spelling of the question (see
    randomize_case).  With libevent 2.2 on Linux it has to come from the port that was asked, elsewhere it may
    come from any, which is libevent's way.

    It is held by its base while there are queries.  In a forked child they are asked anew.

    Raises OSError for a file that cannot be read, ValueError and TypeError for arguments that fit nothing,
    FeatureUnavailableError, ClosedError, WrongThreadError.

    Wraps: evdns_base_new() evdns_base_free() <event2/dns.h>; libevent >= 2.0.
    """

    __slots__ = ("_has_cache", "_numbers", "_parts", "_queries", "_tcp")

    def __init__(
        self,
        base: EventBase,
        *,
        resolv_conf: Union[bool, StrPath] = True,
        resolv_conf_options: DNSOption = DEFAULT_OPTIONS,
        hosts: Union[bool, StrPath] = True,
        nameservers: Iterable[Union[str, InetAddress]] = (),
        search: Optional[Iterable[str]] = None,
        cache: bool = False,
        keepalive: bool = False,
        **options: Unpack[ResolverOptions],
    ) -> None:
        self._check_new()
        check_base(base)
        encoded = list(encode_options(options))
        servers = read_servers(nameservers)
        if isinstance(search, str):
            raise TypeError(f"search is several domains: [{search!r}], not {search!r}")
        domains = None if search is None else [encode_name(each, "search") for each in search]
        which = DNSOption(check_flags(DNSOption, resolv_conf_options, "resolv_conf_options"))
        if servers:
            which &= ~DNSOption.NAMESERVERS
        self._numbers = itertools.count(1)
        self._queries: dict[int, Query[Any]] = {}
        self._parts: dict[int, Lookup] = {}
        self._tcp: Optional[Asker] = None
        self._has_cache = bool(cache) and hasattr(lib, "evdns_cache_write")
        self._options, self._file_options, self._ndots, self._domains = {}, {}, 1, []
        self._hosts, self._is_suspended, self._asks_simply = Hosts(), False, True
        self._base = base
        handle = children.new("struct lev_resolver *")
        flags = 0 if cache else getattr(lib, "EVDNS_BASE_NO_CACHE", 0)
        result = lib.lev_resolver_open(handle, base._l, flags, bool(keepalive))
        self._checked(result, "evdns_base_new")
        self._begin(base, handle)
        try:
            self._configure(resolv_conf, which, hosts, servers, domains, encoded, options)
        except BaseException:
            self.close()
            raise

    @classmethod
    def default(cls, base: EventBase) -> Resolver:
        """
        Return the one that *base* shares, made of the system's configuration at first use.

        Raises as Resolver does.

        Wraps: evdns_base_new() <event2/dns.h>; libevent >= 2.0.
        """
        check_base(base)
        if base._resolver is None or base._resolver.closed:
            base._resolver = cls(base)
        resolver: Resolver = base._resolver
        return resolver

    def close(self) -> None:
        """
        Finish every query with CancelledError, and end it; any number of times, from inside any callback too.

        Raises WrongThreadError, and closes nothing then.

        Wraps: evdns_base_free() <event2/dns.h>; libevent >= 2.0.
        """
        super().close()
        queries = list(self._queries.values())
        self._queries.clear()
        self._parts.clear()
        if self._tcp is not None:
            self._tcp.close()
        for query in queries:
            with contextlib.suppress(ClosedError):  # the base has told it
                if query._plan is not None:
                    query._plan.stop()
                query._finish(error=CancelledError(f"the resolver of {query!r} was closed"))

    # -- asking ----------------------------------------------------------------------------------------------

    def resolve_ipv4(
        self,
        name: str,
        callback: Optional[Callable[[Query[Answer], Unpack[_Ts]], object]] = None,
        *args: Unpack[_Ts],
        search: bool = True,
        tcp: bool = False,
        ignore_truncation: bool = False,
        canonical_name: bool = False,
    ) -> Query[Answer]:
        """
        Ask for the IPv4 addresses of *name*; ``callback(query, *args)`` is told when the Query has finished,
        on the thread that dispatches, in a later pass.

        With *search* a name without enough dots is looked for in the search domains too, unless it ends with
        a dot.  *tcp* asks by TCP, *ignore_truncation* never does so because an answer was cut off (see
        ignore_tc), *canonical_name* has the Answer tell what the name is an alias of.

        A name server that answers SERVFAIL is waited for as one that is silent, so that ends with TIMEOUT.
        By TCP a connection that fails is one of the *attempts*; after each the next name server is asked.

        Raises ValueError for what cannot be a name, FeatureUnavailableError, ClosedError, WrongThreadError.

        Wraps: evdns_base_resolve_ipv4() <event2/dns.h>; libevent >= 2.0.
        """
        encoded = encode_name(name)
        way = self._way(name, search, tcp, ignore_truncation, canonical_name)
        return self._resolve(lib.LEV_ASK_IPV4, name, encoded, way, callback, args)

    def resolve_ipv6(
        self,
        name: str,
        callback: Optional[Callable[[Query[Answer], Unpack[_Ts]], object]] = None,
        *args: Unpack[_Ts],
        search: bool = True,
        tcp: bool = False,
        ignore_truncation: bool = False,
        canonical_name: bool = False,
    ) -> Query[Answer]:
        """
        Ask for the IPv6 addresses of *name*, as resolve_ipv4() does for the others.

        Wraps: evdns_base_resolve_ipv6() <event2/dns.h>; libevent >= 2.0.
        """
        encoded = encode_name(name)
        way = self._way(name, search, tcp, ignore_truncation, canonical_name)
        return self._resolve(lib.LEV_ASK_IPV6, name, encoded, way, callback, args)

    def resolve_reverse(
        self,
        address: Union[str, IPv4Address, IPv6Address],
        callback: Optional[Callable[[Query[Answer], Unpack[_Ts]], object]] = None,
        *args: Unpack[_Ts],
        tcp: bool = False,
    ) -> Query[Answer]:
        """
        Ask for the name of *address*; the rest is as in resolve_ipv4().

        Wraps: evdns_base_resolve_reverse() evdns_base_resolve_reverse_ipv6() <event2/dns.h>; libevent >= 2.0.
        """
        family, packed, text = packed_address(address)
        kind = lib.LEV_ASK_REVERSE_IPV4 if family == socket.AF_INET else lib.LEV_ASK_REVERSE_IPV6
        return self._resolve(kind, text, packed, self._way("", True, tcp, False, False), callback, args)

    def getaddrinfo(
        self,
        host: Optional[str],
        port: Union[int, str, None],
        callback: Optional[Callable[[Query[list[AddrInfo]], Unpack[_Ts]], object]] = None,
        *args: Unpack[_Ts],
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> Query[list[AddrInfo]]:
        """
        Ask for what a connection to *host* and *port* needs: the Query's result is the list of tuples that
        socket.getaddrinfo() gives, with the arguments that it takes.

        The hosts file is looked into first; addresses and services are read on the spot.  IPv4 and IPv6 are
        asked for at once, and IPv4 addresses come first.  AI_V4MAPPED counts for addresses only.

        A DNSError has no code here: libevent tells EAI_NONAME, for a name that does not exist, from EAI_FAIL,
        for everything else, also TIMEOUT and NODATA.  resolve_ipv4() and resolve_ipv6() tell more.

        Raises as resolve_ipv4() does.

        Wraps: evdns_getaddrinfo() <event2/dns.h>; libevent >= 2.0.
        """
        wanted = Wanted(host, port, family, type, proto, flags)
        self._check_open()
        query: Query[list[AddrInfo]] = Query._start(self._base, callback, args)  # type: ignore[assignment, arg-type]
        self._prepare(query, wanted.name, wanted.read)
        if wanted.local is None:
            self._look_up(query, wanted)
        elif isinstance(wanted.local, DNSError):
            query._finish(error=wanted.local)
        else:
            query._finish(wanted.local)
        return query

    @property
    def pending(self) -> int:
        """How many queries have not finished."""
        return len(self._queries)

    def _way(self, name: str, search: bool, tcp: bool, ignore_truncation: bool, canonical_name: bool) -> Way:
        if self._asks_simply and not (tcp or canonical_name):
            return _WITH_SEARCH if search and not name.endswith(".") else _ALONE
        asks_again = not (ignore_truncation or self._option("ignore_tc"))
        searches = search and not name.endswith(".")
        return Way(bool(tcp or self._option("use_vc")), asks_again, bool(canonical_name), searches)

    def _resolve(
        self,
        kind: int,
        name: str,
        what: bytes,
        way: Way,
        callback: Optional[Callable[..., object]],
        args: tuple[Any, ...],
    ) -> Query[Answer]:
        def read(found: Found) -> Answer:
            if found.error:
                raise name_server_error(name, found.error)
            return read_answer(name, found)

        self._check_open()
        query: Query[Answer] = Query._start(self._base, callback, args)  # type: ignore[assignment, arg-type]
        self._prepare(query, name, read)
        if way is _WITH_SEARCH or way is _ALONE or way.is_libevents:
            self._ask(query, kind, what, 0 if way.searches else lib.DNS_QUERY_NO_SEARCH, ffi.NULL)
        else:
            self._follow(query, Lookup(self, kind, self._names_for(kind, name, what, way), way, query._tell))
        return query

    def _names_for(self, kind: int, name: str, what: bytes, way: Way) -> list[tuple[bytes, bytes]]:
        if kind in (lib.LEV_ASK_REVERSE_IPV4, lib.LEV_ASK_REVERSE_IPV6):
            return [(what, reverse_name(name).encode("ascii"))]
        names = self._candidates(what, way.searches)
        return [(each, each) for each in names]

    def _look_up(self, query: Query[list[AddrInfo]], wanted: Wanted) -> None:
        way = self._way(wanted.name, True, False, False, False)
        if way.is_libevents:
            self._ask(query, lib.LEV_ASK_ADDRINFO, wanted.encoded, 0, wanted.hints())
            return
        name = wanted.encoded.decode("ascii")
        known = self._hosts.find(name) or self._kept(name)
        if known:
            result = wanted.known(known)
            if isinstance(result, DNSError):
                query._finish(error=result)
            else:
                query._finish(result)
            return
        if wanted.wants_canonical_name:
            way = way._replace(wants_alias=True)
        kinds = [_KINDS[family] for family in wanted.families()]
        names = self._names_for(kinds[0], wanted.name, wanted.encoded, way)

        def done(found: Union[Found, DNSError]) -> None:
            if isinstance(found, Found) and not found.error and self._has_cache:
                with contextlib.suppress(ClosedError):
                    self.cache_add(name, found.addresses(), ttl=found.ttl)
            query._tell(found)

        self._follow(query, Addresses(self, kinds, names, way, done))

    def _kept(self, name: str) -> list[str]:
        kept = self.cache_lookup(name) if self._has_cache else None
        return [entry[4][0] for entry in kept or ()]

    def _follow(self, query: Query[Any], plan: Union[Lookup, Addresses]) -> None:
        """Have a query finish with what comes of several steps."""
        query._plan = plan
        query._number = next(self._numbers)
        self._queries[query._number] = query
        try:
            plan.begin()
        except BaseException:
            self._queries.pop(query._number, None)
            self._base._operations.discard(query)
            with contextlib.suppress(ClosedError, WrongThreadError):
                plan.stop()
            raise

    def _prepare(self, query: Query[Any], name: str, read: Callable[[Found], Any]) -> None:
        query._resolver, query._name, query._read = self, name, read
        query._number, query._c, query._plan = 0, None, None

    def _ask(self, query: Query[Any], kind: int, what: bytes, flags: int, hints: Any) -> None:
        number = query._number = next(self._numbers)
        query._c = new_query("struct lev_query *")
        self._queries[number] = query  # before C could call back
        try:
            error = self._ask_c(query._c, number, kind, what, flags, hints, query._name)
        except BaseException:
            del self._queries[number]
            self._base._operations.discard(query)
            raise
        if error is not None:
            del self._queries[number]
            query._finish(error=error)

    def _ask_c(
        self, c: Any, number: int, kind: int, what: bytes, flags: int, hints: Any, name: str
    ) -> Optional[DNSError]:
        """Have libevent ask; return why it does not."""
        result = lib.lev_resolver_ask(self._c, c, number, kind, what, flags, hints)
        if result == 0:
            self._hold()
            return None
        if result == lib.LEV_NO_NAMESERVER:
            return DNSError(lib.EVUTIL_EAI_FAIL, f"{name}: there is no name server to ask")
        if result != lib.LEV_ERRNO:
            self._refuse(result, "evdns_base_resolve_ipv4")
        return DNSError(lib.EVUTIL_EAI_FAIL, f"{name}: cannot be asked for")

    def _add_part(self, lookup: Lookup) -> int:
        number = next(self._numbers)
        self._parts[number] = lookup
        return number

    def _asker(self) -> Asker:
        if self._tcp is None:
            self._tcp = Asker(self)
        return self._tcp

    def _go_on(self) -> None:
        if self._tcp is not None:
            self._tcp.pump_soon()

    def _check_thread(self) -> None:
        """Raise WrongThreadError where that is so."""
        result = lib.lev_resolver_count_nameservers(self._c)
        if result < 0 and result != lib.LEV_CLOSED:
            self._refuse(result, "evdns_cancel_request")

    def _take_finished(self) -> None:
        """Finish the queries that C has finished; called by asking.py, again after an interrupt."""
        while True:
            number = lib.lev_resolver_finished(self._c)
            if number <= 0:
                return
            query = self._queries.get(number) or self._parts.get(number)
            if query is not None:
                query._take()
            lib.lev_resolver_forget(self._c, number)

    # -- the cache of 2.2 ------------------------------------------------------------------------------------

    def cache_add(self, name: str, addresses: Iterable[str], *, ttl: int) -> None:
        """
        Keep *addresses* of *name* for *ttl* seconds, in the place of those that are kept; none: forget them.

        Needs cache=True to have getaddrinfo() look there.  Raises ValueError, FeatureUnavailableError,
        ClosedError, WrongThreadError.

        Wraps: evdns_cache_write() <event2/dns.h>; libevent >= 2.2.
        """
        features.require("dns_cache")
        seconds = convert.c_int(ttl, "ttl", 0)
        packed = [packed_sockaddr(each) for each in addresses]
        result = lib.lev_resolver_cache_add(
            self._c, encode_name(name), b"".join(packed), len(packed), seconds
        )
        self._checked(result, "evdns_cache_write")

    def cache_lookup(self, name: str, port: int = 0, *, family: int = 0) -> Optional[list[AddrInfo]]:
        """
        Return what is kept of *name*, as getaddrinfo() with SOCK_STREAM gives it; None when that is nothing.

        Raises ValueError, FeatureUnavailableError, ClosedError, WrongThreadError.

        Wraps: evdns_cache_lookup() <event2/dns.h>; libevent >= 2.2.
        """
        features.require("dns_cache")
        number = convert.c_int(port, "port", 0, 65535)
        wanted = convert.c_int(family, "family")
        encoded = encode_name(name)
        memory = ffi.new("char[]", _MOST_KEPT * lib.LEV_ADDRESS_STRIDE)
        result = lib.lev_resolver_cache_lookup(self._c, encoded, wanted, number, memory, _MOST_KEPT)
        count = min(self._checked(result, "evdns_cache_lookup"), _MOST_KEPT)
        addresses = bytes(ffi.buffer(memory, count * lib.LEV_ADDRESS_STRIDE))
        kinds = [(int(socket.SOCK_STREAM), int(socket.IPPROTO_TCP), number)]
        return read_addresses(addresses, kinds, "") or None

    def _describe(self) -> list[str]:
        return [] if self.closed else [f"pending={self.pending}"]
