"""HTTP: event2/http.h."""

from __future__ import annotations

from .bound import BoundSocket
from .encoding import html_escape, parse_query, uri_decode, uri_encode
from .headers import Headers
from .multidict import MultiDict
from .request import Request
from .server import Server
from .serverconnection import ServerConnection
from .uri import URI

__all__ = [
    "URI",
    "BoundSocket",
    "Headers",
    "MultiDict",
    "Request",
    "Server",
    "ServerConnection",
    "html_escape",
    "parse_query",
    "uri_decode",
    "uri_encode",
]
