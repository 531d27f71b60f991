"""
What C calls for an HTTP server; see callbacks.py.

Two answers are added to those that it lists:

===========  ===========================================================================================
FAILED       The user's function raised, and its server goes on: ``_failures`` has the error.  C then calls
             lev_py_request_failed(), which logs it and answers 500.
MORE         It returned, and there is another one to be called.
===========  ===========================================================================================

What a signal handler raises, and what ends a program, leaves the loop as everywhere.
"""

from __future__ import annotations

from typing import Any

from ._libevent import lib
from .callbacks import DONE, RAISED, STALE, UNDELIVERED, calls_in, loops, trampoline

__all__ = ["FAILED", "MORE"]

FAILED: int = lib.LEV_FAILED
MORE: int = lib.LEV_MORE


@trampoline
def lev_py_request(token: int, number: int, slot: int) -> int:
    """A request has come: handler(request)."""
    loop = loops[slot]
    try:
        server = loop._children[token]
    except KeyError:
        return STALE
    request, callback = server._incoming(number)
    try:
        callback(request)
    except Exception as error:
        if error.__traceback__ is None or error.__traceback__.tb_lasti in _calls_in_request:
            server._failures = (error, server._failures)
            return FAILED
        loop._failed = (error, request, 0, False, loop._failed)
        return UNDELIVERED
    except BaseException as error:
        delivered = error.__traceback__ is None or error.__traceback__.tb_lasti in _calls_in_request
        loop._failed = (error, request, 0, delivered, loop._failed)
        return RAISED if delivered else UNDELIVERED
    return DONE


@trampoline
def lev_py_request_headers(token: int, number: int, slot: int) -> int:
    """The head of a request has come: on_request(request), or the handler of a route with stream=True."""
    loop = loops[slot]
    try:
        server = loop._children[token]
    except KeyError:
        return STALE
    request, callback, answer = server._looked_at(number)
    if callback is None:
        return DONE
    try:
        callback(request)
    except Exception as error:
        if error.__traceback__ is None or error.__traceback__.tb_lasti in _calls_in_request_headers:
            server._failures = (error, server._failures)
            return FAILED
        loop._failed = (error, request, 0, False, loop._failed)
        return UNDELIVERED
    except BaseException as error:
        delivered = error.__traceback__ is None or error.__traceback__.tb_lasti in _calls_in_request_headers
        loop._failed = (error, request, 0, delivered, loop._failed)
        return RAISED if delivered else UNDELIVERED
    return answer  # type: ignore[no-any-return]


@trampoline
def lev_py_request_failed(token: int, number: int, slot: int) -> int:
    """A callback of a request raised, or its handler returned without an answer."""
    loop = loops[slot]
    try:
        server = loop._children[token]
    except KeyError:
        return STALE
    server._handler_failed(number)
    return DONE


@trampoline
def lev_py_request_event(token: int, number: int, what: int, slot: int) -> int:
    """Something happened to a request: one of its on_ functions, or a callback of send_chunk()."""
    loop = loops[slot]
    try:
        server = loop._children[token]
        request = server._requests[number]
    except KeyError:
        return STALE
    callback, args = request._told(what)
    if callback is None:
        return DONE
    try:
        callback(*args)
    except Exception as error:
        if error.__traceback__ is None or error.__traceback__.tb_lasti in _calls_in_request_event:
            server._failures = (error, server._failures)
            return FAILED
        loop._failed = (error, request, 0, False, loop._failed)
        return UNDELIVERED
    except BaseException as error:
        delivered = error.__traceback__ is None or error.__traceback__.tb_lasti in _calls_in_request_event
        loop._failed = (error, request, 0, delivered, loop._failed)
        return RAISED if delivered else UNDELIVERED
    return MORE if request._was_told(what) else DONE


@trampoline
def lev_py_request_was_told(token: int, number: int, what: int, slot: int) -> int:
    """What was told raised: it is not told again."""
    loop = loops[slot]
    try:
        server = loop._children[token]
        request = server._requests[number]
    except KeyError:
        return STALE
    return MORE if request._was_told(what) else DONE


@trampoline
def lev_py_http_bev(token: int, slot: int) -> int:
    """A server needs a bufferevent for a connection that was accepted."""
    loop = loops[slot]
    try:
        server = loop._children[token]
    except KeyError:
        return STALE
    server._make_bufferevent()
    return DONE


@trampoline
def lev_py_http_page(token: int, number: int, status: int, slot: int) -> int:
    """libevent, or C for it, answers with an error: error_page(request, status, reason)."""
    loop = loops[slot]
    try:
        server = loop._children[token]
    except KeyError:
        return STALE
    server._make_page(number, status)
    return DONE


@trampoline
def lev_py_http_refused(
    token: int, status: int, size: int, line: Any, line_size: int, peer: Any, peer_length: int, slot: int
) -> int:
    """A request was answered that Python has not seen: on_refused(server, refused)."""
    loop = loops[slot]
    try:
        server = loop._children[token]
    except KeyError:
        return STALE
    callback, refused = server._refusal(status, size, (line, line_size), (peer, peer_length))
    if callback is None:
        return DONE
    try:
        callback(server, refused)
    except Exception as error:
        if error.__traceback__ is None or error.__traceback__.tb_lasti in _calls_in_http_refused:
            server._refusal_failed(error)
            return DONE
        loop._failed = (error, server, 0, False, loop._failed)
        return UNDELIVERED
    except BaseException as error:
        delivered = error.__traceback__ is None or error.__traceback__.tb_lasti in _calls_in_http_refused
        loop._failed = (error, server, 0, delivered, loop._failed)
        return RAISED if delivered else UNDELIVERED
    return DONE


@trampoline
def lev_py_http_stopped(token: int, slot: int) -> int:
    """A server that was to stop has no connection any more."""
    loop = loops[slot]
    try:
        server = loop._children[token]
    except KeyError:
        return STALE
    server._stopped()
    return DONE


_calls_in_request = calls_in(lev_py_request)
_calls_in_request_headers = calls_in(lev_py_request_headers)
_calls_in_request_event = calls_in(lev_py_request_event)
_calls_in_http_refused = calls_in(lev_py_http_refused)
