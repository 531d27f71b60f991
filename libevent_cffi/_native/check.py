"""
From a C result to an exception: here, and nowhere else.

A function that returns -1 leaves its reason in errno, which cffi keeps per thread until the next call into C.
So the check comes right after the call.  libevent often logs the same failure; the log is read out before
raising.
"""

from __future__ import annotations

import errno
import os
from typing import Any, Optional, Union

from .. import errors
from . import logs
from ._libevent import ffi, lib

__all__ = ["asked_for", "check_pointer", "check_rc", "clear_errno", "dns_error", "socket_error"]


def clear_errno() -> None:
    """Forget what an earlier call left, before a function that may fail without setting errno."""
    ffi.errno = 0


def check_rc(rc: int, what: str) -> int:
    """Return *rc*; raise what errno says when it is negative, naming the C function *what*."""
    if rc < 0:
        raise socket_error(what)
    return rc


def check_pointer(pointer: Any, what: str) -> Any:
    """Return *pointer*; when it is NULL raise what errno says, or else MemoryError."""
    if pointer:
        return pointer
    error = socket_error(what)
    if error.errno in (None, 0, errno.ENOMEM):
        raise MemoryError(f"{what} returned NULL")
    raise error


def socket_error(what: Optional[str] = None, number: Optional[int] = None) -> OSError:
    """
    Make the OSError of the last call, or of error *number*; its class is the subclass that belongs to the
    number.

    *what*, the C function that failed, is the text where there is no number.
    """
    if number is None:
        number, text = _last_error()
    else:
        text = os.strerror(number)
    logs.drain()
    if number == 0:
        return OSError(f"{what or 'the call'} failed and did not say why")
    return OSError(number, text)


def dns_error(number: int, asked: str, text: Optional[str] = None) -> errors.DNSError:
    """Make the DNSError of EAI *number* for what was *asked*; *text* None: with libevent's own words."""
    if text is None:
        text = ffi.string(lib.evutil_gai_strerror(number)).decode("utf-8", "replace")
    return errors.DNSError(number, f"{asked}: {text}")


def asked_for(host: Optional[str], port: Union[int, str, None]) -> str:
    """Name what getaddrinfo() was asked for."""
    if host is None:
        return f"port {port!r} of this machine"
    return host if port is None else f"{host}, port {port!r}"


def _last_error() -> tuple[int, str]:
    if hasattr(ffi, "getwinerror"):  # Windows only, where sockets do not use errno
        number, text = ffi.getwinerror()
        return number, text
    return ffi.errno, os.strerror(ffi.errno)
