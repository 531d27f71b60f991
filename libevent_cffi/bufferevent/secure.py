"""The part of a BufferEvent that has to do with TLS."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Optional

from .._native import children
from .._native._libevent import lib
from .connecting import Connecting

if TYPE_CHECKING:
    from ..event import EventBase
    from ..tls import TLSContext, TLSLayer
    from .connection import BufferEvent

__all__ = ["Secure", "new_layer"]


class Secure(Connecting):
    """TLS, from the start or from later on."""

    __slots__ = ()

    @property
    def tls(self) -> Optional[TLSLayer]:
        """What TLS has to say of this connection; None when it has none."""
        return self._tls

    def start_tls(self, context: TLSContext, *, server_hostname: Optional[str] = None) -> BufferEvent:
        """
        Go on under TLS, and return the connection to go on with: this one is closed to you.

        Callbacks, timeouts and limits move to it, and on_event is told CONNECTED after the handshake.  What
        was written before is sent before.  What has arrived and was not read is not carried over as data: it
        is the beginning of the handshake, or it makes that fail.

        A client's *context* needs *server_hostname* where it checks names.  Raises ValueError also when the
        connection is not open, or has ended its sending; TypeError; TLSError; ClosedError; WrongThreadError.

        Wraps: bufferevent_openssl_filter_new() <event2/bufferevent_ssl.h>; libevent >= 2.0.
        """
        layer = new_layer(self._base, context, server_hostname, True)  # type: ignore[arg-type]
        if layer is None:
            raise TypeError("start_tls() needs a TLSContext, not None")
        self._check_usable()
        if context._python is not None:
            from .engine import start_engine  # which imports ssl

            result = lib.lev_bev_check_start_tls(self._c)
            if result < 0:
                self._refuse(result, "bufferevent_openssl_filter_new")
            return start_engine(self, layer)  # type: ignore[arg-type]
        above: Any = type(self).__new__(type(self))
        above._prepare(self._base, self._on_read, self._on_write, self._on_event)
        above._tls = layer
        handle = children.new("struct lev_bev *")
        ssl, ops = layer._give()
        result = lib.lev_bev_start_tls(handle, self._c, ops, ssl)
        if result < 0:
            self._refuse(result, "bufferevent_openssl_filter_new")
        above._begin(self._base, handle)
        layer._attach(above, lib.lev_bev_pointer(handle))
        above._under = self
        self._above = weakref.ref(above)
        above._group, self._group = self._group, None
        if above._group is not None:
            above._group._members.discard(self)
            above._group._members.add(above)
        self._let_go()
        above._done(result, "bufferevent_openssl_filter_new")
        return above  # type: ignore[no-any-return]

    def _open_tls(self, base: EventBase, fd: int, directions: int, layer: TLSLayer) -> None:
        if layer.context._python is not None:
            from .engine import open_engine  # which imports ssl

            open_engine(self, base, fd, directions, layer)  # type: ignore[arg-type]
            return
        handle = children.new("struct lev_bev *")
        ssl, ops = layer._give()
        result = lib.lev_bev_open_tls(handle, base._l, fd, directions, self._wants(), ops, ssl)
        self._begin_checked(base, handle, result, "bufferevent_openssl_socket_new")
        layer._attach(self, lib.lev_bev_pointer(handle))


def new_layer(
    base: EventBase, context: Optional[TLSContext], server_hostname: Optional[str], is_connected: bool
) -> Optional[TLSLayer]:
    """Return the TLS of a connection to be made; None without *context*."""
    if context is None:
        if server_hostname is not None:
            raise ValueError("server_hostname needs tls=")
        return None
    make = getattr(type(context), "_new_layer", None)
    if make is None:
        raise TypeError(f"tls must be a libevent_cffi.tls.TLSContext, not {context!r}")
    layer: TLSLayer = make(context, base, server_hostname, is_connected)
    return layer
