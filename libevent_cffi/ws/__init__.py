"""
WebSocket (RFC 6455), server and client, in place of event2/ws.h.

One implementation for every libevent: the handshake goes over ``libevent_cffi.http``, and the frames are
wsproto's, which ``pip install 'libevent_cffi[ws]'`` brings.  libevent's own evws, from 2.2 on, answers no
ping, takes no fragmented message and reports no close code; it stays on ``lowlevel.lib``.
"""

from .websocket import WebSocket

__all__ = ["WebSocket"]
