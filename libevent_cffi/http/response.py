"""What came back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Optional, Union

from ..buffer import Buffer
from ..errors import HTTPError
from ..flags import URIFlag
from .text import codec_of, parse_json
from .uri import URI

if TYPE_CHECKING:
    from typing_extensions import Self

    from .headers import Headers
    from .reader import Head

__all__ = ["Response", "decode_body"]

_charset = re.compile(r""";\s*charset\s*=\s*["']?([^\s;"']+)""", re.IGNORECASE).search


class Response:
    """
    What came back: a status, headers, and a body.  It lives on its own, whatever becomes of the connection.

    Any status makes one: raise_for_status() tells bad ones.
    """

    __slots__ = ("__weakref__", "_body", "_head", "_url")

    _body: Buffer
    _head: Head
    _url: Union[URI, str]  # what was written is taken apart when somebody asks for it

    def __init__(self) -> None:
        raise TypeError("Response is made by the library only")

    @classmethod
    def _make(cls, head: Head, url: Union[URI, str], body: Buffer) -> Response:
        made = cls.__new__(cls)
        made._head, made._url, made._body = head, url, body
        return made

    @property
    def status(self) -> int:
        """
        The status code, 100 to 999.

        Wraps: evhttp_request_get_response_code() <event2/http.h>; libevent >= 2.0, its effect.
        """
        return self._head.status

    @property
    def reason(self) -> str:
        """
        The words after it, '' when there are none.

        Wraps: evhttp_request_get_response_code_line() <event2/http.h>; libevent >= 2.1, its effect.
        """
        return self._head.reason

    @property
    def version(self) -> tuple[int, int]:
        """The version that the server speaks: (1, 1)."""
        return self._head.version

    @property
    def headers(self) -> Headers:
        """
        The headers; those that came after the body in chunks stand at the end.

        Wraps: evhttp_request_get_input_headers() <event2/http.h>; libevent >= 2.0, its effect.
        """
        return self._head.headers

    @property
    def body(self) -> Buffer:
        """
        The body; empty if on_chunk took it.

        Wraps: evhttp_request_get_input_buffer() <event2/http.h>; libevent >= 2.0, its effect.
        """
        return self._body

    @property
    def url(self) -> URI:
        """Where it came from, after redirects."""
        if isinstance(self._url, str):
            self._url = URI(self._url, flags=URIFlag.NONCONFORMANT)
        return self._url

    @property
    def ok(self) -> bool:
        """Is the status below 400?"""
        return self.status < 400

    def text(self) -> str:
        """
        Return the body as text, by the charset of Content-Type, UTF-8 by default.

        What is malformed becomes U+FFFD.
        """
        return decode_body(bytes(self._body), self.headers.get("content-type"))

    def json(self) -> Any:
        """Return what the body means as JSON; ValueError when it is none."""
        return parse_json(bytes(self._body))

    def raise_for_status(self) -> Self:
        """Return itself; raises HTTPError, with this as its *response*, for a status of 400 and more."""
        if not self.ok:
            raise HTTPError(f"{self.status} {self.reason or 'without a reason'}: {self.url}", response=self)
        return self

    def __repr__(self) -> str:
        return f"<Response {self.status} {self.url} {len(self._body)} bytes>"


def decode_body(body: bytes, content_type: Optional[str]) -> str:
    """Decode *body* by the charset that *content_type* names."""
    match = _charset(content_type or "")
    try:
        return body.decode(codec_of(match[1]) if match else "utf-8", "replace")
    except LookupError:  # no such charset
        return body.decode("utf-8", "replace")
