"""Conditional requests: what a client asks for depends on what it has (RFC 9110, section 13)."""

from __future__ import annotations

import calendar
import email.utils
import re
import time
from typing import TYPE_CHECKING, NamedTuple, Optional

if TYPE_CHECKING:
    import os

    from .headers import Headers
    from .request import Request

__all__ = ["Validators", "failed", "range_counts", "validators_of"]

_tags_in = re.compile(r'(?:W/)?"[^"]*"').findall
_is_tag = re.compile(r'(?:W/)?"[^"]*"').fullmatch

#: Seconds in which a file may have been written twice without a change in what tells of it.
_DOUBT = 1.0
_UNCONDITIONAL = ("CONNECT", "OPTIONS", "TRACE")


class Validators(NamedTuple):
    """What tells one state of a file from another."""

    tag: str
    modified: str
    #: *modified* in seconds; None where it is no date.
    seconds: Optional[int]
    #: It may have changed in the second that *modified* names.
    in_doubt: bool


def validators_of(status: os.stat_result, given: Headers) -> Validators:
    """Return those of a file; what is *given*, in the headers of the answer, counts before our own."""
    in_doubt = time.time() - status.st_mtime < _DOUBT
    own = f'{"W/" * in_doubt}"{status.st_mtime_ns:x}-{status.st_size:x}"'
    modified = given.get("Last-Modified") or email.utils.formatdate(int(status.st_mtime), usegmt=True)
    return Validators(given.get("ETag") or own, modified, _seconds(modified), in_doubt)


def failed(request: Request, found: Validators) -> Optional[int]:
    """Return the status that the conditions of a request have, in their order; None: it is to be done."""
    headers, reads = request.headers, request.method in ("GET", "HEAD")
    if request.method in _UNCONDITIONAL:
        return None
    if "If-Match" in headers:
        if not _matches(headers, "If-Match", found.tag, strong=True):
            return 412
    elif "If-Unmodified-Since" in headers:
        since = _date_in(headers, "If-Unmodified-Since")
        if since is not None and found.seconds is not None and found.seconds > since:
            return 412
    if "If-None-Match" in headers:
        if _matches(headers, "If-None-Match", found.tag, strong=False):
            return 304 if reads else 412
    elif reads and "If-Modified-Since" in headers:
        since = _date_in(headers, "If-Modified-Since")
        if since is not None and found.seconds is not None and found.seconds <= since:
            return 304
    return None


def range_counts(request: Request, found: Validators) -> bool:
    """Is the part that a header Range asks for one of what the client has, as far as it says?"""
    headers = request.headers
    if "If-Range" not in headers:
        return True
    value = ", ".join(headers.get_list("If-Range")).strip()
    if _is_tag(value):
        return _is_strong(found.tag) and value == found.tag
    return not found.in_doubt and found.seconds is not None and _seconds(value) == found.seconds


def _matches(headers: Headers, name: str, tag: str, *, strong: bool) -> bool:
    value = ", ".join(headers.get_list(name)).strip()
    if value == "*":
        return True
    if strong:
        return _is_strong(tag) and tag in _tags_in(value)
    return _opaque(tag) in map(_opaque, _tags_in(value))


def _is_strong(tag: str) -> bool:
    return not tag.startswith("W/")


def _opaque(tag: str) -> str:
    return tag[2:] if tag.startswith("W/") else tag


def _date_in(headers: Headers, name: str) -> Optional[int]:
    values = headers.get_list(name)
    return _seconds(values[0]) if len(values) == 1 else None


def _seconds(value: str) -> Optional[int]:
    """Return a date in seconds since 1970; None for what is none."""
    try:
        parts = email.utils.parsedate_tz(value)
        return None if parts is None else calendar.timegm(parts[:6]) - (parts[9] or 0)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
