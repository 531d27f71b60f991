"""The headers of a message, and their way to and from libevent's list."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from .._native._libevent import ffi, lib
from .multidict import MultiDict

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Headers", "is_token"]

is_token = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
_unsafe = re.compile("[\r\n\0]").search
_new_text = ffi.new_allocator(should_clear_after_alloc=False)


class Headers(MultiDict):
    """
    The headers of a message: a MultiDict whose names have no case.

    Values are text; what is not ASCII goes out and comes in as UTF-8, and other bytes as surrogates.  What
    cannot stand in a header raises ValueError: a CR, LF or NUL in a value, which would begin a header of its
    own, and a name that is no token.  What a peer sent is there as it came.

    Wraps: evhttp_add_header() evhttp_find_header() evhttp_remove_header() evhttp_clear_headers()
    <event2/http.h>; libevent >= 1.4.
    """

    __slots__ = ()

    @staticmethod
    def _key(name: str) -> str:
        return name.lower()

    @staticmethod
    def _check(name: str, value: str) -> None:
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"names and values of headers must be str, not {name!r}: {value!r}")
        if not is_token(name):
            raise ValueError(f"{name!r} cannot be the name of a header: letters, digits and !#$%&'*+-.^_`|~")
        if _unsafe(value):
            raise ValueError(f"header {name!r} holds a CR, LF or NUL: {value!r}")

    @classmethod
    def _from_c(cls, queue: Any) -> Self:
        """Copy libevent's ``struct evkeyvalq *``."""
        size = lib.lev_headers_size(queue)
        if not size:
            return cls._from_pairs([])
        memory = _new_text("char[]", size)
        lib.lev_headers_pack(queue, memory)
        return cls._unpack(ffi.unpack(memory, size))

    @classmethod
    def _unpack(cls, packed: bytes) -> Self:
        """Make one of what C packed: ``name NUL value NUL``, again and again."""
        texts = packed.decode("utf-8", "surrogateescape").split("\0")
        return cls._from_pairs(list(zip(texts[::2], texts[1::2])))

    def _pack(self) -> bytes:
        """Return it as C takes it; UnicodeEncodeError for what no bytes belong to."""
        text = "".join(["\0".join((name, value, "")) for name, value in self._pairs])
        return text.encode("utf-8", "surrogateescape")

    def _to_c(self, queue: Any) -> None:
        """Add it to libevent's ``struct evkeyvalq *``; ValueError for what came from a peer and is unsafe."""
        for name, value in self._pairs:
            self._check(name, value)
        packed = self._pack()
        if lib.lev_headers_add(queue, packed, len(packed)) != 0:
            raise MemoryError("evhttp_add_header failed")
