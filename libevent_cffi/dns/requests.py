"""What a DNS server is asked, and how it answers."""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Optional, Union

from .._native import children, convert
from .._native._libevent import ffi, lib
from .._native.resources import Answering
from .._native.running import refuse
from ..errors import ClosedError, FeatureUnavailableError
from ..flags import DNSErrorCode, DNSFlag, DNSSection, DNSType, check_flags
from .names import decode_record_name, encode_record_name, packed_address, reverse_name

if TYPE_CHECKING:
    from collections.abc import Iterable
    from ipaddress import IPv4Address, IPv6Address

    from ..types import BytesLike, InetAddress
    from .server import Server

__all__ = ["Question", "Request"]

_log = logging.getLogger("libevent.dns")

_NAME_SIZE = 1024
_INTERNET: int = lib.EVDNS_CLASS_INET
#: RD in the head of a question; EVDNS_FLAGS_RD is another bit.
_RECURSION = 0x0100
#: A longer record may not fit beside the others.  2.1 then sends what its memory holds (evdns.c:
#: evdns_server_request_format_response), and counts lengths in 16 bits.
_MOST_DATA = 700 if lib.event_get_version_number() < 0x02020000 else 60000


class Question(NamedTuple):
    """
    One question: a name, "." for the root, the number of a type (see DNSType), and a class, 1 for the
    internet.

    Wraps: struct evdns_server_question <event2/dns_struct.h>; libevent >= 1.4.
    """

    name: str
    type: int
    class_: int


class Request(Answering):
    """
    What a Server was asked: answer it once, with respond() or drop().

    That is to happen in the handler, or after defer() in any later callback; a request that nobody answers is
    answered SERVFAIL when the handler returns, and one that was deferred is dropped when nobody refers to it.

    Wraps: struct evdns_server_request <event2/dns_struct.h>; libevent >= 1.4.
    """

    __slots__ = (
        "__weakref__",
        "_c",
        "_deferred",
        "_flags",
        "_handled",
        "_is_tcp",
        "_peer",
        "_questions",
        "_server",
    )

    _c: Any
    _deferred: bool
    _flags: DNSFlag
    _handled: bool
    _is_tcp: bool
    _peer: Any
    _questions: Optional[tuple[Question, ...]]
    _server: Server

    def __init__(self) -> None:
        raise TypeError("a Request is made by its Server only")

    @classmethod
    def _of(cls, server: Server) -> Request:
        """Make one for the next that C has."""
        request = cls.__new__(cls)
        request._server, request._handled, request._deferred = server, False, False
        request._c, request._questions = children.new("struct lev_dns_request *"), None
        return request

    def _take(self) -> bool:
        """Take up what C has, when that is something; after an interrupt again."""
        if self._questions is not None:
            return True
        numbers = ffi.new("int[4]")
        memory = ffi.new("struct sockaddr[]", 8)
        if lib.lev_dns_request_open(self._c, self._server._c, numbers, memory, 128) <= 0:
            return False
        flags, count, length, is_tcp = numbers
        self._flags, self._is_tcp = DNSFlag.RD if flags & _RECURSION else DNSFlag(0), bool(is_tcp)
        self._peer = convert.sockaddr_from_c(memory, length) if length > 0 else None
        self._questions = tuple(self._question(index) for index in range(count))
        return True

    def _question(self, index: int) -> Question:
        name, numbers = ffi.new("char[]", _NAME_SIZE), ffi.new("int[2]")
        result = lib.lev_dns_request_question(self._c, index, name, _NAME_SIZE, numbers, numbers + 1)
        self._checked(result, "questions")
        return Question(decode_record_name(ffi.string(name)), numbers[0], numbers[1])

    # -- what was asked --------------------------------------------------------------------------------------

    @property
    def questions(self) -> tuple[Question, ...]:
        """What is asked: most often one question."""
        return self._questions or ()

    @property
    def flags(self) -> DNSFlag:
        """The flags of the question: RD when the client wants names to be looked for elsewhere."""
        return self._flags

    @property
    def peer_address(self) -> InetAddress:
        """
        Who asks.  Raises FeatureUnavailableError for a request by TCP, where libevent does not tell.

        Wraps: evdns_server_request_get_requesting_addr() <event2/dns.h>; libevent >= 1.4.
        """
        if self._peer is None:
            raise FeatureUnavailableError("dns_tcp", "libevent does not tell who asks by TCP")
        peer: InetAddress = self._peer
        return peer

    @property
    def server(self) -> Server:
        """The server that was asked."""
        return self._server

    @property
    def answered(self) -> bool:
        """Has it been answered or dropped, by you or by the end of its server?"""
        return bool(lib.lev_dns_request_is_answered(self._c))

    # -- records ---------------------------------------------------------------------------------------------

    def add_a(self, name: str, addresses: Union[str, Iterable[str]], *, ttl: int) -> None:
        """
        Answer with IPv4 addresses of *name*, which may be kept for *ttl* seconds.

        Raises ValueError, TypeError, ClosedError when it has been answered, WrongThreadError.

        Wraps: evdns_server_request_add_a_reply() <event2/dns.h>; libevent >= 1.4.
        """
        self._add_addresses(name, addresses, ttl, DNSType.A, socket.AF_INET)

    def add_aaaa(self, name: str, addresses: Union[str, Iterable[str]], *, ttl: int) -> None:
        """
        Answer with IPv6 addresses of *name*.  Raises as add_a() does.

        Wraps: evdns_server_request_add_aaaa_reply() <event2/dns.h>; libevent >= 1.4.
        """
        self._add_addresses(name, addresses, ttl, DNSType.AAAA, socket.AF_INET6)

    def _add_addresses(
        self, name: str, addresses: Union[str, Iterable[str]], ttl: int, kind: DNSType, family: int
    ) -> None:
        given = [addresses] if isinstance(addresses, str) else list(addresses)
        packed = []
        for address in given:
            found, data, _ = packed_address(address)
            if found != family:
                raise ValueError(f"{address!r} is no address for {kind} records")
            packed.append(data)
        for data in packed:
            self.add_reply(DNSSection.ANSWER, name, kind, data, ttl=ttl)

    def add_ptr(self, address: Union[str, IPv4Address, IPv6Address], name: str, *, ttl: int) -> None:
        """
        Answer that *address*, or the in-addr.arpa or ip6.arpa name of one, has the name *name*.

        Raises as add_a() does.

        Wraps: evdns_server_request_add_ptr_reply() <event2/dns.h>; libevent >= 1.4.
        """
        self.add_reply(DNSSection.ANSWER, reverse_name(address), DNSType.PTR, name, ttl=ttl)

    def add_cname(self, name: str, canonical_name: str, *, ttl: int) -> None:
        """
        Answer that *name* is an alias of *canonical_name*.  Raises as add_a() does.

        Wraps: evdns_server_request_add_cname_reply() <event2/dns.h>; libevent >= 1.4.
        """
        self.add_reply(DNSSection.ANSWER, name, DNSType.CNAME, canonical_name, ttl=ttl)

    def add_reply(
        self,
        section: DNSSection,
        name: str,
        type: int,
        data: Union[BytesLike, str],
        *,
        ttl: int,
        class_: int = _INTERNET,
    ) -> None:
        """
        Add any record to *section*; *data* is its bytes or, as str, a name, which is encoded and compressed.

        Raises as add_a() does; on libevent 2.1 a record has at most 700 bytes.

        Wraps: evdns_server_request_add_reply() <event2/dns.h>; libevent >= 1.4.
        """
        section = DNSSection(check_flags(DNSSection, section, "section"))
        kind = convert.c_int(type, "type", 0, 65535)
        number = convert.c_int(class_, "class_", 0, 65535)
        seconds = convert.c_int(ttl, "ttl", 0)
        encoded = encode_record_name(name)
        if isinstance(data, str):
            is_name, size, raw = 1, -1, encode_record_name(data)
        else:
            raw = bytes(memoryview(data))
            is_name, size = 0, len(raw)
            if size > _MOST_DATA:
                raise ValueError(f"a record has at most {_MOST_DATA} bytes, not {size}")
        self._checked(
            lib.lev_dns_request_add(self._c, section, encoded, kind, number, seconds, size, is_name, raw),
            "evdns_server_request_add_reply",
        )

    def set_flags(self, flags: DNSFlag) -> None:
        """
        Have the answer carry *flags*: AA says that it comes from who has to know, RD that the server looks
        for names elsewhere (libevent's constant is the bit that the protocol calls RA).

        Raises ValueError, ClosedError when it has been answered, WrongThreadError.

        Wraps: evdns_server_request_set_flags() <event2/dns.h>; libevent >= 1.4.
        """
        flags = DNSFlag(check_flags(DNSFlag, flags, "flags"))
        self._checked(lib.lev_dns_request_set_flags(self._c, flags), "evdns_server_request_set_flags")

    # -- answering -------------------------------------------------------------------------------------------

    def respond(self, code: Union[DNSErrorCode, int] = 0) -> None:
        """
        Send the answer, with an error *code* between 0 and 15 (see DNSErrorCode).

        What does not fit into a datagram is cut off, and says so.  Raises ValueError, ClosedError when it has
        been answered or the server was closed, WrongThreadError.

        Wraps: evdns_server_request_respond() <event2/dns.h>; libevent >= 1.4.
        """
        number = convert.c_int(code, "code", 0, 15)
        self._checked(lib.lev_dns_request_finish(self._c, number), "evdns_server_request_respond")

    def drop(self) -> None:
        """
        Answer nothing.  Raises ClosedError when it has been answered, WrongThreadError.

        Wraps: evdns_server_request_drop() <event2/dns.h>; libevent >= 1.4.
        """
        self._checked(lib.lev_dns_request_finish(self._c, -1), "evdns_server_request_drop")

    def defer(self) -> None:
        """
        Say that it will be answered after the handler has returned.

        Raises ClosedError when it has been answered; FeatureUnavailableError for a request by TCP, whose
        client libevent 2.2 still uses when it has gone; WrongThreadError.
        """
        self._checked(lib.lev_child_hold(self._c), "defer")
        if self.answered:
            self._refuse(lib.LEV_DNS_ANSWERED, "defer")
        if self._is_tcp:
            raise FeatureUnavailableError(
                "dns_tcp", "a request by TCP has to be answered in the handler: its client may go meanwhile"
            )
        self._deferred = True

    def _finish(self) -> None:
        """Answer it after its handler, if that has to be."""
        if not self._deferred and not self.answered and not self._server.closed:
            what = repr(self)
            self.respond(DNSErrorCode.SERVERFAILED)
            _log.warning("%s was neither answered nor deferred: it is answered SERVFAIL", what)

    def _fail(self, error: BaseException) -> bool:
        self._handled = True
        what, is_failure = repr(self), isinstance(error, Exception)
        if lib.lev_dns_request_finish(self._c, DNSErrorCode.SERVERFAILED) == 0:
            self._deferred = False
        self._server._current = None
        if is_failure:
            _log.error("the handler of %s failed", what, exc_info=error)
        return is_failure

    def _checked(self, result: int, call: str) -> None:
        if result < 0:
            self._refuse(result, call)

    def _refuse(self, code: int, call: str) -> NoReturn:
        if code in (lib.LEV_DNS_ANSWERED, lib.LEV_CLOSED) and not self._server.base.closed:
            raise ClosedError(f"{self!r}: it has been answered or dropped, or its server was closed")
        refuse(self._server._base, code, call)

    def __reduce__(self) -> NoReturn:
        raise TypeError("Request cannot be pickled or copied: it stands for something in C")

    def __repr__(self) -> str:
        asked = ", ".join(f"{_kind(question.type)} {question.name}" for question in self.questions[:3])
        state = "answered" if self.answered else "deferred" if self._deferred else "open"
        return f"<Request {asked or 'nothing'} {state}>"


def _kind(number: int) -> str:
    try:
        return DNSType(number).name
    except ValueError:
        return f"TYPE{number}"
