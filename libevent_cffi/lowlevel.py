"""
The C API itself: every function, macro and constant that the compiled modules have.

Nothing here is checked: a wrong call ends the process.  ``ffi`` and ``lib`` are cffi's; ``tls_ffi`` and
``tls_lib`` are those of TLS, and touching them loads libssl.  The functions go between this and the classes.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, TypeVar

from ._native import ffi, lib
from ._native.running import Loop
from .buffer import Buffer
from .errors import ClosedError, FeatureUnavailableError
from .event import Event

if TYPE_CHECKING:
    tls_ffi: Any
    tls_lib: Any

#: Without those of TLS: a ``*`` is not to load libssl, or to fail where there is none.
__all__ = ["adopt", "borrow", "ffi", "lib", "pointer", "surrender"]

_T = TypeVar("_T")


def __getattr__(name: str) -> Any:
    if name not in ("tls_ffi", "tls_lib"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module("._native._libevent_tls", __package__)
    except ModuleNotFoundError:
        raise FeatureUnavailableError("tls", "this package was built without TLS") from None
    return getattr(module, name[4:])


def pointer(obj: object) -> Any:
    """
    Return the C pointer behind an open object: yours to look at, not to free.

    An EventBase has its ``struct event_base *`` until it is closed, a Buffer its ``struct evbuffer *``.  An
    Event has a ``struct event *`` only while it is pending or active; NULL else.  The ``tls`` of a connection
    has OpenSSL's ``SSL *``, until the connection is closed.

    Raises TypeError for what has no pointer, ClosedError.
    """
    if isinstance(obj, Loop):
        found = lib.lev_base_pointer(obj._l)
    elif isinstance(obj, Buffer):
        found = lib.lev_buffer_pointer(obj._b)
    elif isinstance(obj, Event):
        if obj.closed:
            raise ClosedError(f"{obj!r} is closed")
        return lib.lev_event_pointer(obj._base._l, max(obj._token, 0))
    elif hasattr(type(obj), "_pointer"):
        found = obj._pointer()  # type: ignore[attr-defined]
    else:
        raise TypeError(f"{type(obj).__name__} has no C pointer")
    if not found:
        raise ClosedError(f"{obj!r} is closed")
    return found


def adopt(cls: type[_T], pointer: Any, *owner: object) -> _T:
    """
    Return an object of *cls* around a pointer, which it will free.

    Raises TypeError for a class whose objects cannot stand for a pointer from elsewhere: a base and its
    events keep more beside it than the pointer tells.
    """
    return _around(cls, "_adopt", pointer, owner)


def borrow(cls: type[_T], pointer: Any, *owner: object) -> _T:
    """
    Return an object of *cls* around a pointer that its owner frees.

    Raises TypeError as adopt() does.
    """
    return _around(cls, "_borrow", pointer, owner)


def surrender(obj: object) -> Any:
    """
    Return the pointer, which the caller must have freed; the object is closed.

    Raises TypeError for an object that cannot give its pointer away.
    """
    give = getattr(obj, "_surrender", None)
    if give is None:
        raise TypeError(f"{type(obj).__name__} cannot give its pointer away")
    return give()


def _around(cls: type[_T], how: str, pointer: Any, owner: tuple[object, ...]) -> _T:
    make = getattr(cls, how, None)
    if make is None:
        raise TypeError(f"{cls.__name__} cannot stand for a pointer from elsewhere")
    return make(pointer, *owner)  # type: ignore[no-any-return]
