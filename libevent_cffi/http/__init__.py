"""
HTTP server and client: event2/http.h.

A Server gives each Request to a handler, which answers it.  fetch() asks for one URL, and a Connection for
any number of targets of one server; each is a ClientRequest, an operation that gives a Response.
"""

from __future__ import annotations

from .bound import BoundSocket
from .clientrequest import ClientRequest
from .connection import Connection
from .directory import DirectoryHandler
from .encoding import html_escape, parse_query, uri_decode, uri_encode
from .fetch import fetch
from .headers import Headers
from .multidict import MultiDict
from .options import ConnectionOptions
from .refused import Refused
from .request import Request
from .response import Response
from .server import Server
from .serverconnection import ServerConnection
from .uri import URI

__all__ = [
    "URI",
    "BoundSocket",
    "ClientRequest",
    "Connection",
    "ConnectionOptions",
    "DirectoryHandler",
    "Headers",
    "MultiDict",
    "Refused",
    "Request",
    "Response",
    "Server",
    "ServerConnection",
    "fetch",
    "html_escape",
    "parse_query",
    "uri_decode",
    "uri_encode",
]
