"""The methods of HTTP, as libevent has them: one bit each."""

from __future__ import annotations

import re
import types
from typing import TYPE_CHECKING, Optional

from .._native import convert
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
_DIFFERENT = -2
_is_token = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
_USUAL = ("GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH")


def bits_of(methods: Optional[Iterable[str]], more: Mapping[str, bool]) -> int:
    """
    Return the bits of *methods*, and of *more*, which libevent does not know.

    ValueError for a name that neither has, for more names than there are bits, and for one that another
    server has declared differently.
    """
    if isinstance(methods, str):
        raise TypeError(f"methods are several names, not {methods!r}")
    bits, own = 0, {}
    for name, has_body in more.items():
        own[name] = _declare(name, has_body)
        bits |= own[name] if methods is None else 0
    for name in _USUAL if methods is None else methods:
        bit = BITS.get(name) or own.get(name)
        if bit is None:
            names = ", ".join((*BITS, *own))
            raise ValueError(f"{name!r} is none of the methods that there are: {names}")
        bits |= bit
    return bits


def _declare(name: str, has_body: bool) -> int:
    encoded = convert.c_text(name, "a method")
    if not _is_token(name):
        raise ValueError(f"{name!r} cannot be the name of a method")
    if name in BITS:
        raise ValueError(f"{name} is one of libevent's own methods: it is for allowed_methods")
    number: int = lib.lev_http_method(encoded, bool(has_body))
    if number == _DIFFERENT:
        raise ValueError(f"{name} was declared before, with another word on whether it has a body")
    if number < 0:
        raise ValueError(f"{name!r} is too long, or one too many: a process can declare 16 methods")
    return 1 << number
