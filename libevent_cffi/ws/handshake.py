"""The opening handshake: what a request and an answer have to say (RFC 6455, 4)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple, Optional

from ..errors import WebSocketError
from ..http import URI, Headers
from ..http.headers import is_token

if TYPE_CHECKING:
    from ..http import Request, Response
    from ..types import HeadersLike

__all__ = ["Refused", "answer_to", "chosen_by", "names_of", "new_key", "question", "read_question"]

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_VERSION = "13"
_KEY_BYTES = 16
_OURS = frozenset(
    "connection upgrade content-length transfer-encoding sec-websocket-key sec-websocket-version"
    " sec-websocket-accept sec-websocket-protocol sec-websocket-extensions".split()
)
_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


class Refused(NamedTuple):
    """Why a request is no handshake that can be accepted, and the status that says so."""

    status: int
    why: str


def names_of(names: Iterable[str], what: str) -> tuple[str, ...]:
    """Return *names* of subprotocols, checked."""
    if isinstance(names, (str, bytes)):
        raise TypeError(f"{what} must be several names, such as a list, not {names!r}")
    found = tuple(names)
    for name in found:
        if not isinstance(name, str):
            raise TypeError(f"{what} must be str, not {name!r}")
        if not is_token(name):
            raise ValueError(f"{name!r} cannot be a subprotocol: letters, digits and !#$%&'*+-.^_`|~")
    if len(set(found)) != len(found):
        raise ValueError(f"{what} names one twice: {', '.join(found)}")
    return found


def _listed(headers: Headers, name: str) -> list[str]:
    """Return the words of a header that is a list, and may come several times."""
    return [word.strip() for line in headers.get_list(name) for word in line.split(",") if word.strip()]


def _has(headers: Headers, name: str, word: str) -> bool:
    return any(each.lower() == word for each in _listed(headers, name))


def _is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key.encode("ascii"), validate=True)) == _KEY_BYTES
    except (binascii.Error, ValueError):
        return False


def new_key() -> str:
    """Return what a client's handshake asks the server to answer."""
    return base64.b64encode(os.urandom(_KEY_BYTES)).decode("ascii")


def _proof(key: str) -> str:
    return base64.b64encode(hashlib.sha1(key.encode("ascii") + _GUID).digest()).decode("ascii")


# -- the server's side ---------------------------------------------------------------------------------------


def read_question(request: Request, origins: Optional[frozenset[str]]) -> Optional[Refused]:
    """Return why *request* cannot be accepted; None when it can."""
    why = _what_is_wrong(request)
    if why is not None:
        return Refused(400, why)
    if not _may_come(request.headers, origins):
        return Refused(403, f"pages of {request.headers.get('Origin')} may not connect")
    return None


def _what_is_wrong(request: Request) -> Optional[str]:
    headers, keys = request.headers, request.headers.get_list("Sec-WebSocket-Key")
    why = None
    if request.method != "GET" or request.version < (1, 1):
        why = "a WebSocket is asked for by GET, with HTTP/1.1"
    elif not _has(headers, "Upgrade", "websocket") or not _has(headers, "Connection", "upgrade"):
        why = "this is for WebSockets: Upgrade: websocket and Connection: Upgrade are missing"
    elif headers.get_list("Sec-WebSocket-Version") != [_VERSION]:
        why = f"only version {_VERSION} of WebSocket is known here"
    elif len(keys) != 1 or not _is_key(keys[0]):
        why = "Sec-WebSocket-Key must be 16 bytes in base64"
    elif headers.get("Content-Length", "0").strip("0") or "Transfer-Encoding" in headers:
        why = "a handshake has no body"
    return why


def _may_come(headers: Headers, origins: Optional[frozenset[str]]) -> bool:
    found = headers.get_list("Origin")
    if not found or (origins is not None and "*" in origins):
        return True  # only browsers say where a page is from, and what is none may say anything
    if len(found) != 1:
        return False
    if origins is not None:
        return found[0].lower() in origins
    return _is_here(found[0], headers.get("Host", ""))


def _is_here(origin: str, host: str) -> bool:
    """Is *origin* that of a page that came from *host*?"""
    try:
        where = URI(origin)
        here = URI(f"//{host}")
    except ValueError:
        return False
    usual = _PORTS.get((where.scheme or "").lower())
    if usual is None or not where.host or not here.host:
        return False
    return (where.host.lower(), where.port or usual) == (here.host.lower(), here.port or usual)


def answer_to(request: Request, subprotocols: tuple[str, ...]) -> tuple[bytes, Optional[str]]:
    """Return the head of the answer that accepts *request*, and the subprotocol that it names."""
    offered = _listed(request.headers, "Sec-WebSocket-Protocol")
    chosen = next((name for name in subprotocols if name in offered), None)
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {_proof(request.headers['Sec-WebSocket-Key'])}",
    ]
    if chosen is not None:
        lines.append(f"Sec-WebSocket-Protocol: {chosen}")
    lines += [
        f"{name}: {value}"
        for name, value in request.response_headers.multi_items()
        if name.lower() not in _OURS
    ]
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape"), chosen


# -- the client's side ---------------------------------------------------------------------------------------


def question(headers: HeadersLike, key: str, subprotocols: tuple[str, ...]) -> Headers:
    """Return *headers* with those that ask for a WebSocket."""
    asked = Headers(headers)
    for name in asked:
        if name.lower() in _OURS:
            raise ValueError(f"{name} is the handshake's own header (subprotocols= names those)")
    asked.add("Connection", "Upgrade")
    asked.add("Upgrade", "websocket")
    asked.add("Sec-WebSocket-Version", _VERSION)
    asked.add("Sec-WebSocket-Key", key)
    if subprotocols:
        asked.add("Sec-WebSocket-Protocol", ", ".join(subprotocols))
    return asked


def chosen_by(response: Response, key: str, subprotocols: tuple[str, ...]) -> Optional[str]:
    """Return the subprotocol that the server chose.  WebSocketError: it did not accept, or not rightly."""
    headers = response.headers
    if response.status != 101:
        raise WebSocketError(
            f"the server opened no WebSocket: it answered {response.status} {response.reason}",
            code=response.status,
        )
    if not _has(headers, "Upgrade", "websocket") or not _has(headers, "Connection", "upgrade"):
        raise WebSocketError("the server switched to something that is no WebSocket", code=1002)
    if headers.get_list("Sec-WebSocket-Accept") != [_proof(key)]:
        raise WebSocketError("the server's Sec-WebSocket-Accept does not fit what it was asked", code=1002)
    if _listed(headers, "Sec-WebSocket-Extensions"):
        raise WebSocketError("the server uses an extension that it was not offered", code=1002)
    chosen = headers.get_list("Sec-WebSocket-Protocol")
    if len(chosen) > 1 or (chosen and chosen[0] not in subprotocols):
        raise WebSocketError(f"the server chose {chosen!r}, which it was not offered", code=1002)
    return chosen[0] if chosen else None
