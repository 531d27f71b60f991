"""The handles of queries, and what C calls for resolvers and DNS servers as callbacks.py tells."""

from __future__ import annotations

from . import callbacks
from ._libevent import ffi, lib

__all__ = ["new_query"]

#: new_query("struct lev_query *") is the handle of a query; C refers to it too while libevent has the query.
new_query = ffi.new_allocator(lib.lev_query_alloc, lib.lev_query_drop, should_clear_after_alloc=False)


@callbacks.trampoline
def lev_py_dns_finished(token: int, slot: int) -> int:
    """Queries of a resolver have finished: no user's function is called, their completions are queued."""
    try:
        resolver = callbacks.loops[slot]._children[token]
    except KeyError:
        return callbacks.STALE
    resolver._take_finished()
    return callbacks.DONE


@callbacks.trampoline
def lev_py_dns_request(token: int, slot: int) -> int:
    """A request to a DNS server: handler(request)."""
    loop = callbacks.loops[slot]
    try:
        server = loop._children[token]
    except KeyError:
        return callbacks.STALE
    request = server._take_request()
    if request is None:
        return callbacks.DONE
    callback = server._handler
    try:
        callback(request)
    except BaseException as error:
        delivered = error.__traceback__ is None or error.__traceback__.tb_lasti in _calls_in_dns_request
        request._handled = delivered
        loop._failed = (error, request, 0, delivered, loop._failed)
        return callbacks.RAISED if delivered else callbacks.UNDELIVERED
    request._handled = True  # from here on an interrupt calls the handler no more
    server._finish_request(request)
    return callbacks.DONE


_calls_in_dns_request = callbacks.calls_in(lev_py_dns_request)
