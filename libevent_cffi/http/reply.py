"""What an answer consists of, checked and packed for C."""

from __future__ import annotations

import functools
import http
import re
from typing import TYPE_CHECKING, Any, Optional, Union

from .._native import convert
from .._native._libevent import ffi
from ..buffer import Buffer
from ..buffer.arguments import export
from .encoding import html_escape
from .headers import Headers
from .multidict import _pairs_of

if TYPE_CHECKING:
    from ..types import BytesLike, HeadersLike

__all__ = ["body_for_c", "check_reason", "check_status", "error_page", "pack", "phrase", "text_type"]

#: From how many bytes on a body is lent to libevent and not copied.
LEND = 65536

#: What there is to say of each status.
REASONS = {status.value: status.phrase.encode("ascii") for status in http.HTTPStatus}
_unsafe = re.compile("[\0-\x08\x0a-\x1f\x7f]").search


def check_status(status: int, least: int = 200) -> int:
    """Return *status*, which may be any number that clients take for the end of an exchange."""
    return convert.c_int(status, "status", least, 999)


def check_reason(status: int, reason: Optional[str]) -> Any:
    """Return the reason phrase for C; ValueError for one that would begin another line."""
    if reason is None:
        return REASONS.get(status, ffi.NULL)
    encoded = convert.c_text(reason, "reason")
    if _unsafe(reason):
        raise ValueError(f"reason holds a control character: {reason!r}")
    return encoded


def phrase(status: int) -> str:
    """Return what *status* means."""
    return REASONS.get(status, b"Unknown").decode("ascii")


def text_type(content_type: Optional[str], body: object) -> Optional[str]:
    """Return the Content-Type: a str is plain text unless something else was said."""
    if content_type is None and isinstance(body, str):
        return "text/plain; charset=utf-8"
    return content_type


@functools.lru_cache(maxsize=512)
def _pair(name: str, value: str) -> bytes:
    Headers._check(name, value)
    return f"{name}\0{value}\0".encode("utf-8", "surrogateescape")


def pack(headers: HeadersLike, common: Optional[Headers], content_type: Optional[str]) -> bytes:
    """
    Return the headers as C takes them: those of this answer, and those in *common* that it does not name.

    *content_type* is for an answer that names none itself.
    """
    pairs = list(_pairs_of(headers)) if headers else []
    names = {name.lower() for name, _ in pairs if isinstance(name, str)}
    if common:
        pairs[:0] = [pair for pair in common.multi_items() if pair[0].lower() not in names]
        names.update(name.lower() for name in common)
    if content_type is not None and "content-type" not in names:
        pairs.insert(0, ("Content-Type", content_type))
    return b"".join([_pair(name, value) for name, value in pairs])


def body_for_c(body: Union[BytesLike, str, Buffer]) -> tuple[Any, int, Any, Optional[Buffer]]:
    """Return *body* as memory and its size, or as a buffer to be emptied and the one that it belongs to."""
    if type(body) is bytes and len(body) < LEND:
        return body, len(body), ffi.NULL, None
    if isinstance(body, Buffer):
        return ffi.NULL, 0, body._b, body
    if isinstance(body, str):
        data: BytesLike = body.encode("utf-8", "surrogateescape")
    else:
        data = body
    try:
        memory = export(data)
    except TypeError:
        raise TypeError(
            f"a body is bytes-like, a str or a Buffer, not {type(body).__name__}; reply_json() sends values"
        ) from None
    if len(memory) < LEND:
        return memory, len(memory), ffi.NULL, None
    lent = Buffer()
    lent.add_reference(bytes(memory) if not isinstance(data, bytes) else data)
    return ffi.NULL, 0, lent._b, lent


def error_page(status: int, reason: str) -> bytes:
    """Make the page of an error."""
    title = f"{status} {html_escape(reason)}"
    return (
        f"<!DOCTYPE html>\n<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n"
    ).encode("utf-8", "surrogateescape")
