"""Percent-encoding, queries, and text for HTML."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, Optional, Union

from .._native import check, convert
from .._native._libevent import ffi, lib
from .multidict import MultiDict

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..types import HeadersLike

__all__ = ["html_escape", "parse_query", "uri_decode", "uri_encode"]


def uri_encode(text: Union[str, bytes], *, space_as_plus: bool = False) -> str:
    """
    Percent-encode everything in *text* but letters, digits and ``-._~``.

    A str is taken as UTF-8.  With *space_as_plus* a space becomes ``+``, as forms have it.

    Raises TypeError for what is neither str nor bytes.

    Wraps: evhttp_uriencode() evhttp_encode_uri() <event2/http.h>; libevent >= 2.0.
    """
    if isinstance(text, str):
        memory = ffi.from_buffer(str.encode(text, "utf-8", "surrogateescape"))
    elif isinstance(text, bytes):
        memory = ffi.from_buffer(text)
    else:
        raise TypeError(f"text must be str or bytes, not {type(text).__name__}")
    check.clear_errno()
    encoded = lib.evhttp_uriencode(memory, len(memory), bool(space_as_plus))
    return _taken(encoded, "evhttp_uriencode").decode("ascii")


def uri_decode(text: str, *, plus_as_space: bool = False) -> bytes:
    """
    Undo percent-encoding.

    With *plus_as_space* a ``+`` is a space too.  A percent sign that two hexadecimal digits do not follow
    stands for itself.

    Returns bytes, since what was encoded need not be UTF-8, and may hold a NUL.  Raises TypeError.

    Wraps: evhttp_uridecode() evhttp_decode_uri() <event2/http.h>; libevent >= 2.0.
    """
    size = ffi.new("size_t *")

    def decode(piece: bytes) -> bytes:
        decoded = lib.evhttp_uridecode(piece, bool(plus_as_space), size)
        return _taken(decoded, "evhttp_uridecode", size)

    return _by_piece(text, decode)


def html_escape(text: str) -> str:
    """
    Replace what means something in HTML, ``< > & " '``, by what stands for it.

    Raises TypeError.

    Wraps: evhttp_htmlescape() <event2/http.h>; libevent >= 1.4.
    """
    escaped = _by_piece(text, lambda piece: _taken(lib.evhttp_htmlescape(piece), "evhttp_htmlescape"))
    return escaped.decode("utf-8", "surrogateescape")


def parse_query(text: str, *, nonconformant: bool = False, last_value: bool = False) -> MultiDict:
    """
    Take a query, or the body of a form, apart: ``a=1&b=two+words``.

    Names and values are decoded, ``+`` and percent signs alike; bytes that are not UTF-8 become U+FFFD.

    - *nonconformant*: a name without ``=`` has the value '', and a pair without a name counts for nothing.
      Otherwise both are a ValueError.
    - *last_value*: only the last value of each name.

    Raises ValueError, TypeError.

    Wraps: evhttp_parse_query_str() evhttp_parse_query_str_flags() evhttp_parse_query() <event2/http.h>;
    libevent >= 2.0.  (Its effect: libevent itself leaves names encoded, and cuts values at a NUL.)
    """
    if not isinstance(text, str):
        raise TypeError(f"text must be str, not {type(text).__name__}")
    pairs: list[tuple[str, str]] = []
    for pair in text.removesuffix("&").split("&") if text else ():
        name, separator, value = pair.partition("=")
        if name and (separator or nonconformant):
            pairs.append((_decoded(name), _decoded(value)))
        elif not nonconformant:
            raise ValueError(f"{pair!r} is no name=value: it can be taken with nonconformant=True")
    if last_value:
        last = dict(pairs)
        pairs = [(name, last[name]) for name in dict.fromkeys(name for name, _ in pairs)]
    return MultiDict._from_pairs(pairs)


def _encode_query(query: HeadersLike) -> str:
    """Make a query of pairs."""
    pairs = MultiDict(query).multi_items()
    return "&".join(
        f"{uri_encode(name, space_as_plus=True)}={uri_encode(value, space_as_plus=True)}"
        for name, value in pairs
    )


def _decoded(text: str) -> str:
    if "%" not in text and "+" not in text:
        return text
    return uri_decode(text, plus_as_space=True).decode("utf-8", "replace")


def _by_piece(text: str, convert_piece: Callable[[bytes], bytes]) -> bytes:
    """Give C what is between NULs, where it would take the text for ended."""
    if not isinstance(text, str):
        raise TypeError(f"text must be str, not {type(text).__name__}")
    check.clear_errno()
    return b"\0".join([convert_piece(convert.c_text(piece, "text")) for piece in text.split("\0")])


def _taken(string: Any, what: str, size: Optional[Any] = None) -> bytes:
    """Copy what C made, and free it."""
    is_whole = ffi.errno != errno.ENOMEM  # it may be what there was memory for
    check.check_pointer(string, what)
    try:
        if not is_whole:
            raise MemoryError(f"{what} failed")
        taken: bytes = ffi.string(string) if size is None else ffi.unpack(string, size[0])
        return taken
    finally:
        lib.lev_free(string)
