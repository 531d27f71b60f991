"""What a resolver asks, and how: name servers, options, search domains, hosts."""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING, Any, Optional, Union

from .._native import children, convert, features
from .._native._libevent import ffi, lib
from ..flags import DNSOption, check_flags
from .files import Hosts, hostname_domain, read_lines
from .names import encode_name, is_name
from .options import DEFAULTS, ResolverOptions, encode_options, read_options

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Unpack

    from ..types import InetAddress, StrPath

__all__ = ["DEFAULT_OPTIONS", "Configuration", "read_servers"]

_RESOLV_CONF = "/etc/resolv.conf"
DEFAULT_OPTIONS = DNSOption.SEARCH | DNSOption.NAMESERVERS | DNSOption.MISC
#: What evdns_base_resolv_conf_parse() answers.
_NO_FILE, _NO_NAMESERVERS = 1, 6
_LOAD_ERRORS = {2: errno.EIO, 3: errno.EFBIG, 4: errno.ENOMEM, 5: errno.EIO}


class Configuration(children.Child):
    """The part of a Resolver that is configured."""

    __slots__ = ("_asks_simply", "_domains", "_file_options", "_hosts", "_is_suspended", "_ndots", "_options")

    _asks_simply: bool
    _domains: list[bytes]
    _file_options: dict[str, Any]
    _hosts: Hosts
    _is_suspended: bool
    _ndots: int
    _options: dict[str, Any]

    def _configure(
        self,
        resolv_conf: Union[bool, StrPath],
        which: DNSOption,
        hosts: Union[bool, StrPath],
        servers: list[tuple[Any, int]],
        domains: Optional[list[bytes]],
        encoded: list[tuple[bytes, bytes]],
        options: ResolverOptions,
    ) -> None:
        self._set(encoded, options)
        if resolv_conf is not False:
            self._load_resolv_conf(None if resolv_conf is True else resolv_conf, which)
            self._set(encoded, options)  # they count more than the file
        for memory, length in servers:
            self._add_server(memory, length)
        if hosts is not False:
            self.load_hosts(None if hosts is True else hosts)
        if domains is not None:
            self.clear_search()
            for domain in reversed(domains):  # each goes before those that are there
                self._add_search(domain)

    def set_options(self, **options: Unpack[ResolverOptions]) -> None:
        """
        Change options; those that are not named stay.

        *bind_to* and the buffers count for name servers that are added later.  Raises as Resolver does.

        Wraps: evdns_base_set_option() <event2/dns.h>; libevent >= 2.0.
        """
        self._set(list(encode_options(options)), options)

    def _set(self, encoded: list[tuple[bytes, bytes]], options: ResolverOptions) -> None:
        known = {**self._options, **options}
        for name, value in encoded:
            result = lib.lev_resolver_set_option(self._c, name, value)
            if result == lib.LEV_ERRNO:
                raise ValueError(f"libevent does not take {value.decode()!r} for {name.decode()[:-1]}")
            self._checked(result, "evdns_base_set_option")
        self._options = known
        self._ndots = known.get("ndots", self._ndots)
        self._note_ways()

    def _note_ways(self) -> None:
        self._asks_simply = self._option("ignore_tc") and not self._option("use_vc")

    def _option(self, name: str) -> Any:
        """Return the value of an option, whoever has set it."""
        return self._options.get(name, self._file_options.get(name, DEFAULTS[name]))

    def load_resolv_conf(
        self, path: Optional[StrPath] = None, *, options: DNSOption = DEFAULT_OPTIONS
    ) -> None:
        """
        Add what a resolv.conf says; None for the system's.  *options* tell which of its lines count.

        Raises OSError when a file that was named cannot be read, ClosedError, WrongThreadError.

        Wraps: evdns_base_resolv_conf_parse() evdns_base_config_windows_nameservers() <event2/dns.h>; libevent
        >= 2.0.
        """
        self._load_resolv_conf(path, DNSOption(check_flags(DNSOption, options, "options")))

    def _load_resolv_conf(self, path: Optional[StrPath], which: DNSOption) -> None:
        if path is None:
            encoded: Any = ffi.NULL if sys.platform == "win32" else os.fsencode(_RESOLV_CONF)
        else:
            encoded = convert.c_path(path, "resolv_conf")
            with open(path, "rb"):
                pass  # libevent does not say why it cannot
        lines = read_lines(path or _RESOLV_CONF) if sys.platform != "win32" or path is not None else []
        if which & DNSOption.MISC:
            self._take_file_options(lines or [])
        which &= ~DNSOption.MISC  # it would ask by TCP, and for names of its own
        code = self._checked(lib.lev_resolver_load(self._c, which, encoded), "evdns_base_resolv_conf_parse")
        if which & DNSOption.SEARCH:
            if lines is None:  # libevent begins anew (evdns.c:evdns_resolv_set_defaults)
                self._domains = []
            self._take_domains(lines or [])
        if which & DNSOption.HOSTSFILE:
            self._hosts.add(_system_hosts())
        if code in (0, _NO_NAMESERVERS) or (code == _NO_FILE and path is None):
            return
        number = _LOAD_ERRORS.get(code, errno.ENOENT)
        raise OSError(number, os.strerror(number), os.fspath(path or _RESOLV_CONF))

    def _take_file_options(self, lines: list[list[str]]) -> None:
        for name, value, encoded in read_options(
            word for words in lines if words[:1] == ["options"] for word in words[1:]
        ):
            if name in self._options:
                continue
            self._file_options[name] = value
            if name not in ("ndots", "use_vc", "ignore_tc", "tcp_idle_timeout"):
                option = name.replace("_", "-").encode("ascii") + b":"
                self._checked(lib.lev_resolver_set_option(self._c, option, encoded), "evdns_base_set_option")
        self._note_ways()

    def _take_domains(self, lines: list[list[str]]) -> None:
        """Have the domains that libevent has of these lines (evdns.c:resolv_conf_parse_line)."""
        for words in lines:
            if words[:1] == ["search"] or (words[:1] == ["domain"] and len(words) > 1):
                wanted = words[1:] if words[0] == "search" else words[1:2]
                self._domains = [each.lstrip(".").encode("latin-1") for each in wanted]
                self._ndots = 1
            elif words[:1] == ["options"]:
                ndots = [value for name, value, _ in read_options(words[1:]) if name == "ndots"]
                self._ndots = ndots[-1] if ndots else self._ndots
        if not self._domains:
            domain = hostname_domain()
            self._domains, self._ndots = ([domain.encode("latin-1", "replace")] if domain else []), 1

    def _candidates(self, name: bytes, search: bool) -> list[bytes]:
        """Return the names to ask for, in their order (evdns.c:search_request_new, search_try_next)."""
        if not search or not self._domains:
            return [name]
        longer = [each for each in (name + b"." + domain for domain in self._domains) if is_name(each)]
        return [name, *longer] if name.count(b".") >= self._ndots else [*longer, name]

    def add_nameserver(self, address: Union[str, InetAddress]) -> None:
        """
        Ask this one too; *address* is "9.9.9.9", "[::1]:5353" or an address tuple, the port 53 unless given.

        One that is there already is not added again.  Raises ValueError, OSError, ClosedError,
        WrongThreadError.

        Wraps: evdns_base_nameserver_add() evdns_base_nameserver_ip_add() evdns_base_nameserver_sockaddr_add()
        <event2/dns.h>; libevent >= 2.0.
        """
        self._add_server(*read_server(address))

    def _add_server(self, memory: Any, length: int) -> None:
        result = lib.lev_resolver_add_nameserver(self._c, memory, length)
        if self._checked(result, "evdns_base_nameserver_sockaddr_add") in (1, 2):
            where = convert.format_address(convert.sockaddr_from_c(memory, length))
            raise OSError(errno.EADDRNOTAVAIL, f"libevent cannot open a socket to name server {where}")

    @property
    def nameservers(self) -> list[InetAddress]:
        """
        The name servers that are asked, the next one first.

        Wraps: evdns_base_count_nameservers() evdns_base_get_nameserver_addr() <event2/dns.h>; libevent
        >= 2.1.
        """
        memory = ffi.new("struct sockaddr[]", 8)
        found: list[InetAddress] = []
        count = self._checked(lib.lev_resolver_count_nameservers(self._c), "evdns_base_count_nameservers")
        for index in range(count):
            length = lib.lev_resolver_nameserver(self._c, index, memory, 128)
            if self._checked(length, "evdns_base_get_nameserver_addr"):
                found.append(convert.sockaddr_from_c(memory, length))  # type: ignore[arg-type]
        return found

    def nameserver_fd(self, index: int) -> int:
        """
        Return the descriptor of the socket to name server *index*, which stays its own.

        Raises IndexError, FeatureUnavailableError, ClosedError, WrongThreadError.

        Wraps: evdns_base_get_nameserver_fd() <event2/dns.h>; libevent >= 2.2.
        """
        features.require("dns_nameserver_fd")
        result = lib.lev_resolver_nameserver_fd(self._c, convert.c_int(index, "index", 0))
        if result == lib.LEV_NO_NAMESERVER:
            raise IndexError(f"there is no name server {index}")
        return self._checked(result, "evdns_base_get_nameserver_fd")

    def clear_nameservers(self) -> None:
        """
        Forget the name servers; queries wait until there are others and resume() is called.

        Raises ClosedError, WrongThreadError.

        Wraps: evdns_base_clear_nameservers_and_suspend() <event2/dns.h>; libevent >= 2.0.
        """
        self._checked(lib.lev_resolver_suspend(self._c), "evdns_base_clear_nameservers_and_suspend")
        self._is_suspended = True

    def resume(self) -> None:
        """
        Ask what waits, after clear_nameservers().

        Raises ClosedError, WrongThreadError.

        Wraps: evdns_base_resume() <event2/dns.h>; libevent >= 2.0.
        """
        self._checked(lib.lev_resolver_resume(self._c), "evdns_base_resume")
        self._is_suspended = False
        self._go_on()

    def _go_on(self) -> None:
        """Ask by TCP what waits."""

    def add_search(self, domain: str) -> None:
        """
        Look for names without dots in *domain* too, before the domains that are there.

        Raises ValueError, ClosedError, WrongThreadError.

        Wraps: evdns_base_search_add() <event2/dns.h>; libevent >= 2.0.
        """
        if not isinstance(domain, str):
            raise TypeError(f"domain must be str, not {type(domain).__name__}")
        self._add_search(encode_name(domain.lstrip("."), "domain"))

    def _add_search(self, domain: bytes) -> None:
        self._checked(lib.lev_resolver_add_search(self._c, domain), "evdns_base_search_add")
        self._domains.insert(0, domain)

    def clear_search(self) -> None:
        """
        Look for names as they are.

        Raises ClosedError, WrongThreadError.

        Wraps: evdns_base_search_clear() evdns_base_search_ndots_set() (the ndots option) <event2/dns.h>;
        libevent >= 2.0.
        """
        self._checked(lib.lev_resolver_add_search(self._c, ffi.NULL), "evdns_base_search_clear")
        self._domains.clear()
        self._ndots = 1
        if "ndots" in self._options:  # which libevent forgets (evdns.c:search_postfix_clear)
            self._set(list(encode_options({"ndots": self._options["ndots"]})), {})

    def load_hosts(self, path: Optional[StrPath] = None) -> None:
        """
        Add what a hosts file says, for getaddrinfo(); None for the system's, or localhost without one.

        Raises OSError when a file that was named cannot be read, ClosedError, WrongThreadError.

        Wraps: evdns_base_load_hosts() <event2/dns.h>; libevent >= 2.0.
        """
        if path is not None:
            encoded = convert.c_path(path, "hosts")
            with open(path, "rb"):
                pass
        else:
            encoded = os.fsencode(_system_hosts())
        result = self._checked(lib.lev_resolver_load_hosts(self._c, encoded), "evdns_base_load_hosts")
        self._hosts.add(_system_hosts() if path is None else path)
        if result and path is not None:  # else it has added localhost (evdns.c:evdns_base_load_hosts_impl)
            raise OSError(errno.EIO, os.strerror(errno.EIO), os.fspath(path))

    def clear_hosts(self) -> None:
        """
        Forget every hosts file.

        Raises ClosedError, WrongThreadError.

        Wraps: evdns_base_clear_host_addresses() <event2/dns.h>; libevent >= 2.1.
        """
        self._checked(lib.lev_resolver_clear_hosts(self._c), "evdns_base_clear_host_addresses")
        self._hosts.clear()


def read_servers(addresses: Iterable[Union[str, InetAddress]]) -> list[tuple[Any, int]]:
    given: Any = addresses
    if isinstance(given, str) or (isinstance(given, tuple) and given and isinstance(given[-1], int)):
        raise TypeError(f"nameservers are several: [{given!r}], not {given!r}")
    return [read_server(each) for each in given]


def read_server(address: Union[str, InetAddress]) -> tuple[Any, int]:
    if isinstance(address, str):
        address = convert.parse_address(address, 53)
    elif not isinstance(address, tuple):
        raise TypeError(f"a name server is an address as str or tuple, not {address!r}")
    if address[1] == 0:
        raise ValueError(f"a name server needs a port: {address!r}")
    return convert.sockaddr_to_c(address)


def _system_hosts() -> str:
    if sys.platform == "win32":
        return os.path.join(os.environ.get("SYSTEMROOT", r"C:\Windows"), r"System32\drivers\etc\hosts")
    return "/etc/hosts"
