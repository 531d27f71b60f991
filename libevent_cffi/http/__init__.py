"""HTTP: event2/http.h."""

from __future__ import annotations

from .encoding import html_escape, parse_query, uri_decode, uri_encode
from .headers import Headers
from .multidict import MultiDict
from .uri import URI

__all__ = [
    "URI",
    "Headers",
    "MultiDict",
    "html_escape",
    "parse_query",
    "uri_decode",
    "uri_encode",
]
