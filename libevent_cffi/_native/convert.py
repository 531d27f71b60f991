"""
Between Python's values and C's: descriptors, strings, memory, time, addresses.

Everything here checks before C sees a value, because C would take a NUL for the end, -1 for "no socket" and a
huge number modulo something.
"""

from __future__ import annotations

import os
import platform
import re
import socket
import struct
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Optional, Union

from ._libevent import ffi, lib

if TYPE_CHECKING:
    from ..types import Address, BytesLike, FileDescriptorLike, InetAddress, SocketAddress, StrPath

__all__ = [
    "TEN_YEARS",
    "c_bytes",
    "c_int",
    "c_path",
    "c_text",
    "check_seconds",
    "fileno",
    "format_address",
    "is_numeric",
    "local_address",
    "parse_address",
    "peer_address",
    "plain_int",
    "plain_number",
    "seconds_from_timeval",
    "sockaddr_from_c",
    "sockaddr_to_c",
    "timeval_from_seconds",
]

_INT_MAX = 2**31 - 1
TEN_YEARS = 10 * 366 * 24 * 3600.0
_IS_PYPY = platform.python_implementation() == "PyPy"


# -- descriptors and numbers ---------------------------------------------------------------------------------


def fileno(what: FileDescriptorLike) -> int:
    """
    Return the descriptor that *what* is or has.

    TypeError for a bool and for what has no fileno(); ValueError for a negative number, which is also what a
    closed socket has.
    """
    if isinstance(what, bool):
        raise TypeError(f"a descriptor is an int or has fileno(); {what!r} is a bool")
    number = plain_int(what if isinstance(what, int) else _call_fileno(what))
    if number < 0:
        raise ValueError(f"descriptor {number}: the socket or file is closed")
    if number > _INT_MAX:
        raise ValueError(f"descriptor {number} is too large")
    return number


def _call_fileno(what: Any) -> int:
    method: Optional[Callable[[], Any]] = getattr(what, "fileno", None)
    if method is None:
        raise TypeError(f"a descriptor is an int or has fileno(), not {type(what).__name__}")
    number = method()
    if isinstance(number, bool) or not isinstance(number, int):
        raise TypeError(f"{type(what).__name__}.fileno() returned {number!r}, not an int")
    return number


def plain_int(value: int) -> int:
    """Return the number in *value*, whose class could compare and convert as it likes."""
    return int.__add__(value, 0)


def plain_number(value: float) -> float:
    """Return the number in an int or a float in the same way."""
    return plain_int(value) if isinstance(value, int) else float.__pos__(value)


def c_int(value: int, name: str, least: int = -_INT_MAX - 1, most: int = _INT_MAX) -> int:
    """Return *value* when it is an int between *least* and *most*; *name* is what the argument is called."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {value!r}")
    value = plain_int(value)
    if not least <= value <= most:
        raise ValueError(f"{name} must be between {least} and {most}, not {value}")
    return value


# -- strings and memory --------------------------------------------------------------------------------------


def c_text(text: str, name: str) -> bytes:
    """Encode *text* as UTF-8 for a ``const char *``; ValueError for a NUL, where C would stop reading."""
    if not isinstance(text, str):
        raise TypeError(f"{name} must be str, not {type(text).__name__}")
    encoded = str.encode(text, "utf-8", "surrogateescape")  # whatever its class makes of encode()
    if b"\0" in encoded:
        raise ValueError(f"{name} holds a NUL: {text!r}")
    return encoded


def c_path(path: Union[StrPath, bytes], name: str) -> bytes:
    """Encode a file system path for a ``const char *``; ValueError for a NUL or an empty path."""
    encoded = os.fsencode(path)
    if b"\0" in encoded or not encoded:
        raise ValueError(f"{name} must be a path without NUL and not empty, not {path!r}")
    return encoded


def c_bytes(data: BytesLike) -> Any:
    """
    Return memory of *data* to read from during one call into C; its length is ``len()`` of it.

    On PyPy only bytes may be lent: a bytearray moves there when another thread changes its size, also while
    it is exported.
    """
    try:
        if _IS_PYPY and not isinstance(data, bytes):
            data = bytes(memoryview(data))
        return ffi.from_buffer(data)
    except TypeError:
        if isinstance(data, str):
            raise TypeError(f"a bytes-like object is required, not str: encode {data[:20]!r} first") from None
        raise


# -- time ----------------------------------------------------------------------------------------------------


def check_seconds(seconds: float, name: str = "timeout") -> float:
    """Return *seconds* as float; ValueError when it is negative, not a number, or more than ten years."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"{name} is seconds as float, not {seconds!r}")
    number = plain_number(seconds)
    if not 0 <= number <= TEN_YEARS:  # false for NaN
        raise ValueError(f"{name} must be between 0 and ten years of seconds, not {seconds!r}")
    return float(number)


def timeval_from_seconds(seconds: Optional[float], name: str = "timeout") -> Any:
    """
    Make a ``struct timeval *`` of *seconds*; NULL for None, "no limit".

    Rounds to a microsecond, but never to 0, which would mean "now".
    """
    if seconds is None:
        return ffi.NULL
    seconds = check_seconds(seconds, name)
    microseconds = max(round(seconds * 1e6), 1 if seconds else 0)
    whole, rest = divmod(microseconds, 1_000_000)
    result = ffi.new("struct timeval *")
    result.tv_sec = whole
    result.tv_usec = rest
    return result


def seconds_from_timeval(value: Any) -> float:
    """Return the seconds in a ``struct timeval`` or a pointer to one."""
    seconds: float = value.tv_sec + value.tv_usec / 1e6
    return seconds


# -- addresses -----------------------------------------------------------------------------------------------
#
# The parts of sockaddr_in, sockaddr_in6 and sockaddr_un stand at the same places on every system; only the
# first two bytes differ, which the BSDs share between the length and the family.

_HAS_SA_LEN = sys.platform.startswith(("darwin", "freebsd", "openbsd", "netbsd", "dragonfly"))
_UNIX_PATH_SIZE = 104 if _HAS_SA_LEN else 108
_AF_UNIX = getattr(socket, "AF_UNIX", None)
_SOCKADDR_SIZE = 128
_PORT = re.compile("[0-9]{1,5}")
#: "127.0.0.1:80" and "http://..." are meant for something else than a UNIX socket of that name.
_NO_PATH = re.compile(r"[^/\0]*:[0-9]{1,5}\Z|[a-z][a-z0-9+]*://")


def sockaddr_to_c(address: Address) -> tuple[Any, int]:
    """
    Make a ``struct sockaddr`` of *address*; return the memory, which C reads as ``struct sockaddr *``, and
    its length.

    A tuple is the socket module's: (host, port), for IPv6 also with flowinfo and scope_id; an empty host is
    0.0.0.0.  str, bytes or PathLike is a UNIX socket, bytes that begin with NUL an abstract name.  ValueError
    for a host that is a name, a port that is none, a path that is too long, and text such as "127.0.0.1:80".
    """
    data = _pack_inet(address) if isinstance(address, tuple) else _pack_unix(address)
    memory = ffi.new("struct sockaddr[]", _SOCKADDR_SIZE // ffi.sizeof("struct sockaddr"))
    ffi.memmove(memory, data, len(data))
    return memory, len(data)


def sockaddr_from_c(pointer: Any, length: int) -> SocketAddress:
    """
    Return the address in *length* bytes of a ``struct sockaddr *``, in the socket module's shape.

    A UNIX socket without a name is "".  What is of another family, or too short for its own: (family, bytes).
    """
    if length < 2:
        return ""
    data = bytes(ffi.buffer(ffi.cast("char *", pointer), length))
    family: int = data[1] if _HAS_SA_LEN else struct.unpack_from("=H", data)[0]
    if family == socket.AF_INET and length >= 16:
        return _ntop(socket.AF_INET, data[4:8]), struct.unpack_from(">H", data, 2)[0]
    if family == socket.AF_INET6 and length >= 28:
        port, flowinfo = struct.unpack_from(">HI", data, 2)
        return _ntop(socket.AF_INET6, data[8:24]), port, flowinfo, struct.unpack_from("=I", data, 24)[0]
    if family == _AF_UNIX:
        return _unpack_unix(data[2:])
    return family, data[2:]  # type: ignore[return-value]


def local_address(fd: int) -> SocketAddress:
    """Return the address that socket *fd* is bound to."""
    return _address_of(fd, 0)


def peer_address(fd: int) -> SocketAddress:
    """Return the address that socket *fd* is connected to."""
    return _address_of(fd, 1)


def _address_of(fd: int, is_peer: int) -> SocketAddress:
    """Ask without a socket object: PyPy has one that is made of a descriptor block again."""
    memory = ffi.new("struct sockaddr[]", _SOCKADDR_SIZE // ffi.sizeof("struct sockaddr"))
    length = lib.lev_socket_address(fd, is_peer, memory, _SOCKADDR_SIZE)
    if length < 0:
        raise OSError(ffi.errno, os.strerror(ffi.errno))
    return sockaddr_from_c(memory, length)


def parse_address(text: str, default_port: int = 0) -> InetAddress:
    """
    Read "1.2.3.4", "1.2.3.4:80", "::1", "[::1]" or "[::1%eth0]:80"; ValueError for anything else.

    We take the port off ourselves: evutil_parse_sockaddr_port() accepts "80x" and ignores what follows "]".
    """
    c_text(text, "the address")
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        valid = bracket and ":" in host and (not rest or rest.startswith(":"))
        port_text = rest[1:] if rest else None
    elif text.count(":") == 1:
        host, _, port_text = text.partition(":")
        valid = True
    else:
        host, valid, port_text = text, True, None
    if not valid or not host:
        raise ValueError(f"not an address: {text!r}")
    port = default_port if port_text is None else _parse_port(port_text, text)
    memory, length = sockaddr_to_c((host, port))
    return sockaddr_from_c(memory, length)  # type: ignore[return-value]


def format_address(address: SocketAddress) -> str:
    """Return "1.2.3.4:80", "[::1%2]:80", a path, or "@name" for an abstract one."""
    if not isinstance(address, tuple):
        path = address if isinstance(address, str) else os.fsdecode(address)
        return "@" + path[1:] if path.startswith("\0") else path
    memory, length = sockaddr_to_c(address)
    parts: Any = sockaddr_from_c(memory, length)
    if len(parts) == 2:
        return "{}:{}".format(*parts)
    scope = f"%{parts[3]}" if parts[3] else ""
    return f"[{parts[0]}{scope}]:{parts[1]}"


def is_numeric(host: str) -> bool:
    """Tell whether *host* is an address rather than a name to resolve."""
    try:
        _pton(host)
    except ValueError:
        return False
    return True


def _parse_port(text: str, whole: str) -> int:
    if not _PORT.fullmatch(text) or int(text) > 65535:
        raise ValueError(f"not a port between 0 and 65535: {text!r} in {whole!r}")
    return int(text)


def _pack_inet(address: tuple[Any, ...]) -> bytes:
    if not 2 <= len(address) <= 4:
        raise ValueError(f"an address is (host, port[, flowinfo, scope_id]), not {address!r}")
    host, port, flowinfo, scope_id = (*address, 0, 0)[:4]
    if not isinstance(host, str):
        raise TypeError(f"a host is str, not {host!r}")
    port = c_int(port, "port", 0, 65535)
    family, packed, scope = _pton(host or "0.0.0.0")
    if family == socket.AF_INET:
        if len(address) > 2:
            raise ValueError(f"an IPv4 address is (host, port), not {address!r}")
        return _head(family, 16) + struct.pack(">H", port) + packed + bytes(8)
    flowinfo = c_int(flowinfo, "flowinfo", 0, 0xFFFFF)
    scope_id = c_int(scope_id, "scope_id", 0, 0xFFFFFFFF)
    if scope and scope_id and scope != scope_id:
        raise ValueError(f"two scopes in {address!r}")
    head = _head(family, 28) + struct.pack(">HI", port, flowinfo)
    return head + packed + struct.pack("=I", scope or scope_id)


def _pack_unix(path: Any) -> bytes:
    if _AF_UNIX is None:
        raise ValueError("this system has no UNIX sockets")
    if isinstance(path, bytes) and path.startswith(b"\0"):
        name = path
    elif not isinstance(path, (str, bytes, os.PathLike)):
        raise TypeError(f"an address is (host, port), or the path of a UNIX socket, not {path!r}")
    elif isinstance(path, str) and _NO_PATH.match(path):
        raise ValueError(
            f"{path!r} would be the path of a UNIX socket: an address of TCP is (host, port), and a path that"
            f" looks like one is written as './{path}'"
        )
    else:
        name = c_path(path, "the address") + b"\0"
    if len(name) > _UNIX_PATH_SIZE:
        raise ValueError(f"a UNIX socket's path has at most {_UNIX_PATH_SIZE - 1} bytes: {path!r}")
    return _head(_AF_UNIX, 2 + len(name)) + name


def _unpack_unix(name: bytes) -> Union[str, bytes]:
    if name.startswith(b"\0") and name.strip(b"\0"):
        return name
    return os.fsdecode(name.partition(b"\0")[0])


def _head(family: int, length: int) -> bytes:
    return struct.pack("=BB", length, family) if _HAS_SA_LEN else struct.pack("=H", family)


def _pton(host: str) -> tuple[int, bytes, int]:
    """
    Return family, bytes and scope of an address.

    The scope is ours: evutil_inet_pton_scope() accepts "%" without one, is missing before 2.1.12, and up to
    there ends a block of our allocator with free().
    """
    text, percent, zone = host.partition("%")
    encoded = c_text(text, "the host")
    scope = 0
    for family, size in ((socket.AF_INET, 4), (socket.AF_INET6, 16)):
        packed = ffi.new("unsigned char[]", size)
        if lib.evutil_inet_pton(family, encoded, packed) == 1:
            if percent:
                scope = _scope(zone, host, family)
            return family, bytes(ffi.buffer(packed)), scope
    raise ValueError(f"{host!r} is a name, not an address: it has to be resolved first")


def _scope(zone: str, host: str, family: int) -> int:
    if family != socket.AF_INET6 or not zone:
        raise ValueError(f"not an address: {host!r}")
    try:
        # By name or by number; PyPy has no if_nametoindex(), and this address is one of every interface.
        found = socket.getaddrinfo(f"fe80::1%{zone}", None, socket.AF_INET6, 0, 0, socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        raise ValueError(f"there is no interface {zone!r} for {host!r}") from None
    scope: int = found[0][4][3]  # type: ignore[misc]
    return scope


def _ntop(family: int, packed: bytes) -> str:
    text = ffi.new("char[]", 64)
    if not lib.evutil_inet_ntop(family, ffi.from_buffer(packed), text, 64):
        raise ValueError(f"not an address: {packed!r}")
    name: str = ffi.string(text).decode("ascii")
    return name
