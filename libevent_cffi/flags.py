"""
IntFlag and IntEnum types built from the compiled constants.

A plain int is accepted wherever a flag is, and range-checked.  A value that this libevent lacks is an
AttributeError here.  All of them print their names, and the same on every Python: ``str()`` gives
``READ|PERSIST``, ``repr()`` gives ``<EventFlag.READ|PERSIST: 18>``.

The two kinds that callbacks receive, EventFlag and BufferEventFlag, have exactly one object per value, made
at import.  The callback layer takes them from the tables EVENT_FLAGS and BUFFER_EVENT_FLAGS, and ``&``,
``|``, ``^``, ``~`` look their result up: enum's own operators would cost more than the whole rest of a
callback.
"""

from __future__ import annotations

from ._native._libevent import lib
from ._native.enums import MASKS, Flags, Numbers, check_flags, quick

__all__ = [
    "BUFFER_EVENT_FLAGS",
    "CLOSED",
    "EOL",
    "ET",
    "EVENT_FLAGS",
    "PERSIST",
    "READ",
    "WRITE",
    "BaseFlag",
    "BufferEventFlag",
    "DNSErrorCode",
    "DNSFlag",
    "DNSOption",
    "DNSSection",
    "DNSType",
    "EventCount",
    "EventFlag",
    "Feature",
    "FilterResult",
    "FlushMode",
    "HookResult",
    "HookType",
    "LoopFlag",
    "RPCStatus",
    "RequestErrorKind",
    "TLSState",
    "TLSVersion",
    "URIFlag",
    "check_flags",
]


# -- what callbacks receive ----------------------------------------------------------------------------------


@quick
class EventFlag(Flags):
    """What to watch, and what happened.  Wraps: EV_* <event2/event.h>."""

    TIMEOUT = lib.EV_TIMEOUT
    READ = lib.EV_READ
    WRITE = lib.EV_WRITE
    SIGNAL = lib.EV_SIGNAL
    PERSIST = lib.EV_PERSIST
    ET = lib.EV_ET
    FINALIZE = lib.EV_FINALIZE
    CLOSED = lib.EV_CLOSED


@quick
class BufferEventFlag(Flags):
    """What on_event tells.  Wraps: BEV_EVENT_* <event2/bufferevent.h>."""

    READING = lib.BEV_EVENT_READING
    WRITING = lib.BEV_EVENT_WRITING
    EOF = lib.BEV_EVENT_EOF
    ERROR = lib.BEV_EVENT_ERROR
    TIMEOUT = lib.BEV_EVENT_TIMEOUT
    CONNECTED = lib.BEV_EVENT_CONNECTED


#: The EventFlag of each value from 0 to 255, which is what C may put into the byte.
EVENT_FLAGS: tuple[EventFlag, ...] = tuple(EventFlag(value & MASKS[EventFlag]) for value in range(256))
#: The BufferEventFlag of each value from 0 to 255; a bit that has no name is left out of the entry.
BUFFER_EVENT_FLAGS: tuple[BufferEventFlag, ...] = tuple(
    BufferEventFlag(value & MASKS[BufferEventFlag]) for value in range(256)
)

READ: EventFlag = EventFlag.READ
WRITE: EventFlag = EventFlag.WRITE
PERSIST: EventFlag = EventFlag.PERSIST
ET: EventFlag = EventFlag.ET
CLOSED: EventFlag = EventFlag.CLOSED


# -- the loop ------------------------------------------------------------------------------------------------


@quick
class LoopFlag(Flags):
    """
    How EventBase.loop() runs.

    Prefer EventBase.poll() to NONBLOCK alone, which never returns while a descriptor stays ready.
    Wraps: EVLOOP_* <event2/event.h>.
    """

    ONCE = lib.EVLOOP_ONCE
    NONBLOCK = lib.EVLOOP_NONBLOCK
    NO_EXIT_ON_EMPTY = lib.EVLOOP_NO_EXIT_ON_EMPTY


@quick
class BaseFlag(Flags):
    """
    How a base is made.

    NOLOCK keeps call_soon_threadsafe, loop_exit and loop_break of other threads working: they use a
    descriptor of their own.  Without PRECISE_TIMER timers follow the system's coarse clock where it has one:
    on Linux each may be late by a tick of the kernel, 1 to 10 ms, and nothing is repeated faster.
    Wraps: enum event_base_config_flag <event2/event.h>.
    """

    NOLOCK = lib.EVENT_BASE_FLAG_NOLOCK
    IGNORE_ENV = lib.EVENT_BASE_FLAG_IGNORE_ENV
    STARTUP_IOCP = lib.EVENT_BASE_FLAG_STARTUP_IOCP
    NO_CACHE_TIME = lib.EVENT_BASE_FLAG_NO_CACHE_TIME
    EPOLL_USE_CHANGELIST = lib.EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST
    PRECISE_TIMER = lib.EVENT_BASE_FLAG_PRECISE_TIMER
    if hasattr(lib, "EVENT_BASE_FLAG_EPOLL_DISALLOW_TIMERFD"):
        EPOLL_DISALLOW_TIMERFD = lib.EVENT_BASE_FLAG_EPOLL_DISALLOW_TIMERFD
    if hasattr(lib, "EVENT_BASE_FLAG_USE_SIGNALFD"):
        USE_SIGNALFD = lib.EVENT_BASE_FLAG_USE_SIGNALFD


@quick
class Feature(Flags):
    """What a base's method can do.  Wraps: enum event_method_feature <event2/event.h>."""

    ET = lib.EV_FEATURE_ET
    O1 = lib.EV_FEATURE_O1
    FDS = lib.EV_FEATURE_FDS
    EARLY_CLOSE = lib.EV_FEATURE_EARLY_CLOSE


@quick
class EventCount(Flags):
    """Which events to count.  Wraps: EVENT_BASE_COUNT_* <event2/event.h>."""

    ACTIVE = lib.EVENT_BASE_COUNT_ACTIVE
    VIRTUAL = lib.EVENT_BASE_COUNT_VIRTUAL
    ADDED = lib.EVENT_BASE_COUNT_ADDED


# -- buffers -------------------------------------------------------------------------------------------------


class EOL(Numbers):
    """
    Line ends.

    CRLF is LF with an optional CR before it; ANY is any run of CR and LF and so swallows empty lines.
    Wraps: enum evbuffer_eol_style <event2/buffer.h>.
    """

    ANY = lib.EVBUFFER_EOL_ANY
    CRLF = lib.EVBUFFER_EOL_CRLF
    CRLF_STRICT = lib.EVBUFFER_EOL_CRLF_STRICT
    LF = lib.EVBUFFER_EOL_LF
    NUL = lib.EVBUFFER_EOL_NUL


class FlushMode(Numbers):
    """How far a flush goes.  Wraps: enum bufferevent_flush_mode <event2/bufferevent.h>."""

    NORMAL = lib.BEV_NORMAL
    FLUSH = lib.BEV_FLUSH
    FINISHED = lib.BEV_FINISHED


class FilterResult(Numbers):
    """What a filter answers.  Wraps: enum bufferevent_filter_result <event2/bufferevent.h>."""

    OK = lib.BEV_OK
    NEED_MORE = lib.BEV_NEED_MORE
    ERROR = lib.BEV_ERROR


# -- TLS: written out, so that importing this module loads no libssl -----------------------------------------


class TLSVersion(Numbers):
    """Protocol versions: the numbers of ssl.TLSVersion, without importing ssl."""

    TLSv1_2 = 0x0303
    TLSv1_3 = 0x0304


class TLSState(Numbers):
    """Where a TLS layer stands at first.  Wraps: enum bufferevent_ssl_state <event2/bufferevent_ssl.h>."""

    OPEN = 0
    CONNECTING = 1
    ACCEPTING = 2


# -- DNS -----------------------------------------------------------------------------------------------------


class DNSErrorCode(Numbers):
    """
    Answer codes.

    The first six are also what a server may respond; the rest is the resolver's own.
    Wraps: DNS_ERR_* <event2/dns.h>.
    """

    NONE = lib.DNS_ERR_NONE
    FORMAT = lib.DNS_ERR_FORMAT
    SERVERFAILED = lib.DNS_ERR_SERVERFAILED
    NOTEXIST = lib.DNS_ERR_NOTEXIST
    NOTIMPL = lib.DNS_ERR_NOTIMPL
    REFUSED = lib.DNS_ERR_REFUSED
    TRUNCATED = lib.DNS_ERR_TRUNCATED
    UNKNOWN = lib.DNS_ERR_UNKNOWN
    TIMEOUT = lib.DNS_ERR_TIMEOUT
    SHUTDOWN = lib.DNS_ERR_SHUTDOWN
    CANCEL = lib.DNS_ERR_CANCEL
    NODATA = lib.DNS_ERR_NODATA


@quick
class DNSOption(Flags):
    """Which kinds of resolv.conf lines count.  Wraps: DNS_OPTION_* <event2/dns.h>."""

    SEARCH = lib.DNS_OPTION_SEARCH
    NAMESERVERS = lib.DNS_OPTION_NAMESERVERS
    MISC = lib.DNS_OPTION_MISC
    HOSTSFILE = lib.DNS_OPTION_HOSTSFILE
    if hasattr(lib, "DNS_OPTION_NAMESERVERS_NO_DEFAULT"):
        NAMESERVERS_NO_DEFAULT = lib.DNS_OPTION_NAMESERVERS_NO_DEFAULT
    ALL = lib.DNS_OPTIONS_ALL


class DNSSection(Numbers):
    """A section of a DNS answer.  Wraps: EVDNS_*_SECTION <event2/dns.h>."""

    ANSWER = lib.EVDNS_ANSWER_SECTION
    AUTHORITY = lib.EVDNS_AUTHORITY_SECTION
    ADDITIONAL = lib.EVDNS_ADDITIONAL_SECTION


class DNSType(Numbers):
    """Kinds of records and of questions.  Wraps: EVDNS_TYPE_*, EVDNS_QTYPE_* <event2/dns.h>."""

    A = lib.EVDNS_TYPE_A
    NS = lib.EVDNS_TYPE_NS
    CNAME = lib.EVDNS_TYPE_CNAME
    SOA = lib.EVDNS_TYPE_SOA
    PTR = lib.EVDNS_TYPE_PTR
    MX = lib.EVDNS_TYPE_MX
    TXT = lib.EVDNS_TYPE_TXT
    AAAA = lib.EVDNS_TYPE_AAAA
    AXFR = lib.EVDNS_QTYPE_AXFR
    ALL = lib.EVDNS_QTYPE_ALL


@quick
class DNSFlag(Flags):
    """Bits of a DNS answer's head.  Wraps: EVDNS_FLAGS_* <event2/dns.h>."""

    AA = lib.EVDNS_FLAGS_AA
    RD = lib.EVDNS_FLAGS_RD


# -- HTTP and RPC --------------------------------------------------------------------------------------------


class RequestErrorKind(Numbers):
    """Why evhttp gave a request up.  Wraps: enum evhttp_request_error <event2/http.h>."""

    TIMEOUT = lib.EVREQ_HTTP_TIMEOUT
    EOF = lib.EVREQ_HTTP_EOF
    INVALID_HEADER = lib.EVREQ_HTTP_INVALID_HEADER
    BUFFER_ERROR = lib.EVREQ_HTTP_BUFFER_ERROR
    REQUEST_CANCEL = lib.EVREQ_HTTP_REQUEST_CANCEL
    DATA_TOO_LONG = lib.EVREQ_HTTP_DATA_TOO_LONG


@quick
class URIFlag(Flags):
    """How a URI is parsed.  Wraps: EVHTTP_URI_* <event2/http.h>."""

    NONCONFORMANT = lib.EVHTTP_URI_NONCONFORMANT
    if hasattr(lib, "EVHTTP_URI_HOST_STRIP_BRACKETS"):
        HOST_STRIP_BRACKETS = lib.EVHTTP_URI_HOST_STRIP_BRACKETS
    if hasattr(lib, "EVHTTP_URI_UNIX_SOCKET"):
        UNIX_SOCKET = lib.EVHTTP_URI_UNIX_SOCKET


class RPCStatus(Numbers):
    """At which step a call failed.  Wraps: EVRPC_STATUS_ERR_* <event2/rpc_struct.h>."""

    NONE = lib.EVRPC_STATUS_ERR_NONE
    TIMEOUT = lib.EVRPC_STATUS_ERR_TIMEOUT
    BADPAYLOAD = lib.EVRPC_STATUS_ERR_BADPAYLOAD
    UNSTARTED = lib.EVRPC_STATUS_ERR_UNSTARTED
    HOOKABORTED = lib.EVRPC_STATUS_ERR_HOOKABORTED


class HookType(Numbers):
    """Which way a hook looks.  Wraps: enum EVRPC_HOOK_TYPE <event2/rpc.h>."""

    INPUT = lib.EVRPC_INPUT
    OUTPUT = lib.EVRPC_OUTPUT


class HookResult(Numbers):
    """What a hook answers.  Wraps: enum EVRPC_HOOK_RESULT <event2/rpc.h>."""

    TERMINATE = lib.EVRPC_TERMINATE
    CONTINUE = lib.EVRPC_CONTINUE
    PAUSE = lib.EVRPC_PAUSE
