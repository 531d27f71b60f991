"""
OpenSSL: the compiled module of TLS, where there is one, and its failures as TLSError.

Importing this loads libssl.  Each call of our C empties OpenSSL's queue of errors before and reads it after,
so nothing that others in this thread do with OpenSSL gets in between.
"""

from __future__ import annotations

import itertools
from typing import Any, NoReturn, Optional

from ..errors import FeatureUnavailableError, TLSError
from . import callbacks, features
from . import callbacks_stream as _callbacks_stream  # noqa: F401 - C calls what is there
from ._libevent import lib as main_lib

__all__ = ["call", "failure", "ffi", "lib", "new_number", "refuse", "require"]

ffi: Any = None
lib: Any = None

if features.has("tls"):
    from ._libevent_tls import ffi, lib

    if lib.lev_tls_start(main_lib.lev_bridge()) != 0:
        raise ImportError("OpenSSL has no room for what libevent_cffi keeps beside its objects")

_numbers = itertools.count(1)


def require() -> None:
    """Raise FeatureUnavailableError unless there is TLS."""
    if lib is None:
        raise FeatureUnavailableError("tls", f"TLS {features.why_missing('tls')}")


def new_number(context: Any) -> int:
    """Return a number by which callbacks from C find *context* for as long as it lives."""
    number = next(_numbers)
    callbacks.contexts[number] = context
    return number


def failure() -> Any:
    """Return memory for what a call complains of."""
    return ffi.new("struct lev_tls_failure *")


def call(what: str, function: Any, *args: Any) -> int:
    """Call *function* of our C with *args*; when it fails, raise TLSError: "*what*: OpenSSL's words"."""
    complaint = failure()
    result: int = function(*args, complaint)
    if result < 0:
        refuse(what, complaint)
    return result


def refuse(what: str, complaint: Any) -> NoReturn:
    """Raise the TLSError of *complaint*."""
    raise error(what, complaint)


def error(what: str, complaint: Any) -> TLSError:
    """Make a TLSError that says "*what*: OpenSSL's words"."""
    reasons = tuple(_text(complaint.reasons[i]) for i in range(complaint.count))
    code: Optional[int] = complaint.verify_code or None
    words = ", ".join(reasons) or "OpenSSL does not say why"
    if code is not None:
        words = f"{words} ({_text(complaint.verify_text)})"
    return TLSError(f"{what}: {words}", reasons=reasons, verify_code=code)


def _text(string: Any) -> str:
    text: str = ffi.string(string).decode("utf-8", "replace")
    return text
