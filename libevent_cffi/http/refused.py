"""Requests that were answered without the user's functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ..types import SocketAddress

__all__ = ["Refused"]


class Refused(NamedTuple):
    """
    What is known of a request that was answered without a handler: see Server.on_refused.

    - *status*: of the answer: 400, 413, 417, 501 or 503.
    - *line*: the request line as it came, without its end, at most its first 1000 bytes; bytes that are no
      UTF-8 stand in it as surrogateescape has them.  "" where the answer did not wait for one.
    - *size*: bytes of the answer's body.
    - *peer_address*: the client's; "" where it could not be told.

    Wraps: evhttp_set_errorcb() <event2/http.h>; libevent >= 2.2, here on any.
    """

    status: int
    line: str
    size: int
    peer_address: SocketAddress
