"""What C calls for listeners, buffers, connections and TLS contexts; see callbacks.py."""

from __future__ import annotations

from typing import Any

from ..flags import BUFFER_EVENT_FLAGS
from ._libevent import ffi, lib
from .callbacks import DONE, RAISED, STALE, UNDELIVERED, calls_in, contexts, loops, trampoline

__all__: list[str] = []

ON_READ: int = lib.LEV_BEV_ON_READ


@trampoline
def lev_py_accept(token: int, fd: int, address: Any, length: int, slot: int) -> int:
    """A connection: callback(listener, sock, address, *args)."""
    loop = loops[slot]
    try:
        listener = loop._children[token]
    except KeyError:
        return STALE
    sock, peer = listener._accepted(fd, address, length)
    callback = listener._callback
    args = listener._args
    try:
        callback(listener, sock, peer, *args)
    except BaseException as error:
        delivered = error.__traceback__ is None or error.__traceback__.tb_lasti in _calls_in_accept
        loop._failed = (error, listener, 0, delivered, loop._failed)
        return RAISED if delivered else UNDELIVERED
    listener._accepting = None
    return DONE


@trampoline
def lev_py_listener_error(token: int, number: int, slot: int) -> int:
    """Accepting failed: on_error(listener, error)."""
    loop = loops[slot]
    try:
        listener = loop._children[token]
    except KeyError:
        return STALE
    error = listener._error(number)
    callback = listener._on_error
    if callback is None:
        return DONE
    try:
        callback(listener, error)
    except BaseException as raised:
        delivered = raised.__traceback__ is None or raised.__traceback__.tb_lasti in _calls_in_listener_error
        loop._failed = (raised, listener, 0, delivered, loop._failed)
        return RAISED if delivered else UNDELIVERED
    return DONE


@trampoline
def lev_py_change(token: int, slot: int) -> int:
    """The loop has changed a buffer of one of its objects."""
    loop = loops[slot]
    buffer = loop._watched.get(token)
    if buffer is None:
        return STALE
    try:
        buffer._tell()
    except BaseException as error:
        loop._failed = (error, buffer, 0, True, loop._failed)
        return RAISED
    return DONE


@trampoline
def lev_py_server_name(number: int, name: Any, ssl: Any, slot: int) -> int:
    """A client names the server that it wants: on_server_name(name) gives the context to use, or None."""
    loop = loops[slot]
    try:
        context = contexts[number]
    except KeyError:
        return STALE
    callback = context._on_server_name
    text = ffi.string(name).decode("utf-8", "replace") if name else None
    try:
        chosen = callback(text)
    except BaseException as error:
        delivered = error.__traceback__ is None or error.__traceback__.tb_lasti in _calls_in_server_name
        loop._failed = (error, context, 0, delivered, loop._failed)
        return RAISED if delivered else UNDELIVERED
    wrong = context._switch(ssl, chosen)
    if wrong is None:
        return DONE
    loop._failed = (wrong, context, 0, True, loop._failed)
    return RAISED


@trampoline
def lev_py_bev_data(token: int, which: int, slot: int) -> int:
    """The data of a bufferevent: on_read(bev) or on_write(bev)."""
    loop = loops[slot]
    try:
        bev = loop._children[token]
    except KeyError:
        bev = loop._known.get(token)
        if bev is None:
            return STALE
    callback = bev._on_read if which == ON_READ else bev._on_write
    if callback is None:
        return DONE
    try:
        callback(bev)
    except BaseException as error:
        delivered = error.__traceback__ is None or error.__traceback__.tb_lasti in _calls_in_bev_data
        loop._failed = (error, bev, 0, delivered, loop._failed)
        return RAISED if delivered else UNDELIVERED
    return DONE


@trampoline
def lev_py_bev_event(token: int, what: int, number: int, slot: int) -> int:
    """What happened to a bufferevent: on_event(bev, what, error)."""
    loop = loops[slot]
    try:
        bev = loop._children[token]
    except KeyError:
        bev = loop._known.get(token)
        if bev is None:
            return STALE
    error = bev._failure(what, number)
    flags = BUFFER_EVENT_FLAGS[what]
    callback = bev._on_event
    if callback is None:
        return DONE
    try:
        callback(bev, flags, error)
    except BaseException as raised:
        delivered = raised.__traceback__ is None or raised.__traceback__.tb_lasti in _calls_in_bev_event
        loop._failed = (raised, bev, 0, delivered, loop._failed)
        return RAISED if delivered else UNDELIVERED
    return DONE


_calls_in_accept = calls_in(lev_py_accept)
_calls_in_listener_error = calls_in(lev_py_listener_error)
_calls_in_server_name = calls_in(lev_py_server_name)
_calls_in_bev_data = calls_in(lev_py_bev_data)
_calls_in_bev_event = calls_in(lev_py_bev_event)
