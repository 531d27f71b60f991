"""
Names to annotate with.

Nothing here exists for its behaviour: each name says what an argument accepts or what a method returns.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from socket import AddressFamily, SocketKind
from typing import TYPE_CHECKING, Protocol, Union

if TYPE_CHECKING:
    from typing_extensions import Buffer as _Buffer
    from typing_extensions import TypeAlias
elif sys.version_info >= (3, 12):
    from collections.abc import Buffer as _Buffer
else:
    _Buffer = Union[bytes, bytearray, memoryview]

__all__ = [
    "AddrInfo",
    "Address",
    "BytesLike",
    "FileDescriptorLike",
    "HasFileno",
    "HeadersLike",
    "InetAddress",
    "SocketAddress",
    "StrPath",
]


class HasFileno(Protocol):
    """A socket, a file, or anything else that names its descriptor."""

    def fileno(self) -> int:
        """Return the descriptor, or -1 when it is closed."""
        ...


#: Anything with the buffer protocol: bytes, bytearray, memoryview, array, mmap.
BytesLike: TypeAlias = _Buffer

#: A file system path as text.
StrPath: TypeAlias = Union[str, os.PathLike[str]]

#: A descriptor, or what has one; what only watches never closes it.
FileDescriptorLike: TypeAlias = Union[int, HasFileno]

#: The socket module's ``(host, port)`` of IPv4, and ``(host, port, flowinfo, scope_id)`` of IPv6.
InetAddress: TypeAlias = Union[tuple[str, int], tuple[str, int, int, int]]

#: An address as it is accepted: a tuple, or the path of a UNIX socket (bytes that begin with NUL: abstract).
Address: TypeAlias = Union[InetAddress, StrPath, bytes]

#: An address as it is returned: a tuple, a path, or the bytes of an abstract name.
SocketAddress: TypeAlias = Union[InetAddress, str, bytes]

#: One answer of getaddrinfo(): ``(family, type, proto, canonical name, address)``.
AddrInfo: TypeAlias = tuple[AddressFamily, SocketKind, int, str, InetAddress]

#: Headers as they are accepted: a mapping, or pairs where a name may come more than once.
HeadersLike: TypeAlias = Union[Mapping[str, str], Iterable[tuple[str, str]]]
