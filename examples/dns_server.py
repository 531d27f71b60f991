"""
A DNS server for a hosts file: ``python dns_server.py /etc/hosts``, then ``dig @127.0.0.1 -p PORT NAME``.

Without a file it serves what stands in ZONE.  Ctrl-C ends it.
"""

from __future__ import annotations

import ipaddress
import signal
import sys
from collections.abc import Iterable, Mapping

from libevent_cffi import EventBase
from libevent_cffi.dns import Request, Server
from libevent_cffi.flags import DNSErrorCode, DNSFlag, DNSType

ZONE = {"one.example": ["192.0.2.1", "2001:db8::1"], "two.example": ["192.0.2.2"]}
TTL = 60


class Zone:
    """Names with their addresses, and the way back."""

    def __init__(self, names: Mapping[str, Iterable[str]]) -> None:
        self.addresses: dict[str, dict[int, list[str]]] = {}
        self.names: dict[str, str] = {}
        for name, addresses in names.items():
            kinds = self.addresses.setdefault(name.lower(), {DNSType.A: [], DNSType.AAAA: []})
            for address in map(ipaddress.ip_address, addresses):
                kinds[DNSType.A if address.version == 4 else DNSType.AAAA].append(str(address))
                self.names.setdefault(address.reverse_pointer, name)

    @classmethod
    def from_hosts(cls, path: str) -> Zone:
        """Read a hosts file."""
        names: dict[str, list[str]] = {}
        with open(path, encoding="utf-8") as file:
            for line in file:
                for host in (words := line.partition("#")[0].split())[1:]:
                    names.setdefault(host, []).append(words[0].partition("%")[0])
        return cls(names)

    def answer(self, request: Request) -> None:
        """Answer what is asked: the handler of a server."""
        code = DNSErrorCode.NOTEXIST
        request.set_flags(DNSFlag.AA)
        for name, kind, _ in request.questions:
            plain = name.lower().rstrip(".")
            if plain in self.addresses:
                code = DNSErrorCode.NONE
                for wanted, add in ((DNSType.A, request.add_a), (DNSType.AAAA, request.add_aaaa)):
                    if kind in (wanted, DNSType.ALL):
                        add(name, self.addresses[plain][wanted], ttl=TTL)
            elif plain in self.names:
                code = DNSErrorCode.NONE
                if kind in (DNSType.PTR, DNSType.ALL):
                    request.add_ptr(name, self.names[plain], ttl=TTL)
        request.respond(code)


def main() -> None:
    """Serve until Ctrl-C or SIGTERM."""
    zone = Zone.from_hosts(sys.argv[1]) if len(sys.argv) > 1 else Zone(ZONE)
    with EventBase() as base:
        server = Server(base, ("127.0.0.1", 0), zone.answer)
        base.on_signal(signal.SIGTERM, base.loop_exit)
        base.on_signal(signal.SIGINT, base.loop_exit)
        print(f"serving {len(zone.addresses)} names on port {server.port}", flush=True)
        base.dispatch()
        print("bye")


if __name__ == "__main__":
    main()
