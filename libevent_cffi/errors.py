"""
Every exception the library raises that is not Python's own.

The same failure has the same class wherever it surfaces.  A failed system call is its OSError subclass, and
time out is TimeoutError; the classes here are for the rest.  All of them can be pickled, and their repr()
shows their attributes.

This module imports nothing of the package.
"""

from __future__ import annotations

import functools
import socket
from typing import TYPE_CHECKING, Any, ClassVar, Optional

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .flags import DNSErrorCode, RequestErrorKind, RPCStatus
    from .http import Response

__all__ = [
    "CancelledError",
    "ClosedError",
    "DNSError",
    "FeatureUnavailableError",
    "HTTPError",
    "LibeventError",
    "LoopBusyError",
    "RPCError",
    "RPCSyntaxError",
    "TLSError",
    "TagError",
    "WebSocketError",
    "WrongThreadError",
]


class LibeventError(Exception):
    """Root of the library's exceptions; never raised itself."""

    #: The keyword-only arguments of the constructor, each also an attribute.
    _keywords: ClassVar[tuple[str, ...]] = ()

    def __repr__(self) -> str:
        shown = [repr(argument) for argument in self.args]
        shown += [f"{name}={value!r}" for name, value in self._given().items()]
        return f"{type(self).__name__}({', '.join(shown)})"

    def __reduce__(self) -> tuple[Any, ...]:
        if not self._keywords:
            result: tuple[Any, ...] = tuple(super().__reduce__())
            return result
        return functools.partial(type(self), **self._pickled()), self.args, self._state()

    def _given(self) -> dict[str, object]:
        values = ((name, getattr(self, name)) for name in self._keywords)
        return {name: value for name, value in values if value is not None and value != ()}

    def _pickled(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in self._keywords}

    def _state(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name not in self._keywords}


class ClosedError(LibeventError, ValueError):
    """The object was closed: by you, by its owner, or by a fork inside its base's callback."""


class LoopBusyError(LibeventError, RuntimeError):
    """The base is being dispatched: no second dispatch, no wait(), no close() from another thread."""


class WrongThreadError(LibeventError, RuntimeError):
    """The base is dispatched by another thread; the text names call_soon_threadsafe."""


class FeatureUnavailableError(LibeventError, NotImplementedError):
    """
    This libevent lacks it; the text says which one has it and which is loaded.

    *feature* is the name that ``util.features()`` knows it by.
    """

    feature: str

    def __init__(self, feature: str, message: str) -> None:
        super().__init__(message)
        self.feature = feature

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.feature!r}, {str(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.feature, *self.args), self._state()


class CancelledError(LibeventError):
    """The operation was cancelled, or what it belonged to was closed."""


class DNSError(LibeventError, socket.gaierror):
    """
    A name was not resolved.

    ``args`` are (EAI number, text) as in socket.gaierror.  *code* is what the name server answered, or None
    where the failure did not come from one.
    """

    code: Optional[DNSErrorCode]
    _keywords = ("code",)

    def __init__(self, *args: object, code: Optional[DNSErrorCode] = None) -> None:
        super().__init__(*args)
        self.code = code


class TLSError(LibeventError, OSError):
    """
    A handshake or a record failed.

    *reasons* are OpenSSL's own words, outermost first; *verify_code* is the X509_V_ERR_* number when a
    certificate was refused, else None.
    """

    reasons: tuple[str, ...]
    verify_code: Optional[int]
    _keywords = ("reasons", "verify_code")

    def __init__(self, *args: object, reasons: Iterable[str] = (), verify_code: Optional[int] = None) -> None:
        super().__init__(*args)
        self.reasons = tuple(reasons)
        self.verify_code = verify_code


class HTTPError(LibeventError):
    """
    The peer broke HTTP, or raise_for_status() met 4xx or 5xx.

    *kind* says what libevent complained of; *response* is what came, where something came.  A response is not
    pickled with the error: the copy has None.
    """

    kind: Optional[RequestErrorKind]
    response: Optional[Response]
    _keywords = ("kind", "response")

    def __init__(
        self, *args: object, kind: Optional[RequestErrorKind] = None, response: Optional[Response] = None
    ) -> None:
        super().__init__(*args)
        self.kind = kind
        self.response = response

    def _pickled(self) -> dict[str, object]:
        return {"kind": self.kind}


class RPCError(LibeventError):
    """A call failed; *status* says at which step, *http_status* what the server answered, if it did."""

    status: RPCStatus
    http_status: Optional[int]
    _keywords = ("status", "http_status")

    def __init__(self, *args: object, status: RPCStatus, http_status: Optional[int] = None) -> None:
        super().__init__(*args)
        self.status = status
        self.http_status = http_status


class RPCSyntaxError(LibeventError, SyntaxError):
    """A .rpc text is wrong; *filename*, *lineno* and *offset* are set, as in Python's own SyntaxError."""


class WebSocketError(LibeventError):
    """The peer broke RFC 6455 or refused the handshake; *code* is the close code, or the HTTP status."""

    code: int
    _keywords = ("code",)

    def __init__(self, *args: object, code: int) -> None:
        super().__init__(*args)
        self.code = code


class TagError(LibeventError, ValueError):
    """Tagged data is malformed at byte *position*, counted from 0; the text says so too."""

    position: int
    _keywords = ("position",)

    def __init__(self, *args: object, position: int) -> None:
        super().__init__(*args)
        self.position = position

    def __str__(self) -> str:
        return f"{super().__str__()} (at byte {self.position})"
