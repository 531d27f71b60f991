"""The methods of HTTP, as libevent has them: one bit each."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Optional

from .._native._libevent import lib

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["NONE", "bits_of"]

#: No methods beyond libevent's own.
NONE: Mapping[str, bool] = types.MappingProxyType({})

#: Those that this libevent knows.
BITS: dict[str, int] = {
    name: getattr(lib, f"EVHTTP_REQ_{name}")
    for name in (
        *("GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH"),
        *("PROPFIND", "PROPPATCH", "MKCOL", "LOCK", "UNLOCK", "COPY", "MOVE"),
    )
    if hasattr(lib, f"EVHTTP_REQ_{name}")
}
_USUAL = ("GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH")


def bits_of(methods: Optional[Iterable[str]]) -> int:
    """Return the bits of *methods*; ValueError for one that libevent does not know."""
    if isinstance(methods, str):
        raise TypeError(f"methods are several names, not {methods!r}")
    bits = 0
    for name in _USUAL if methods is None else methods:
        try:
            bits |= BITS[name]
        except KeyError:
            raise ValueError(
                f"{name!r} is none of the methods that libevent knows: {', '.join(BITS)}"
            ) from None
    return bits
