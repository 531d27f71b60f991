"""What the tests of TLS connections share: contexts, two sockets, and ends that tell what they got."""

from __future__ import annotations

import socket
from typing import Any, Optional

from certificates import Certificates
from conftest import Run

from libevent_cffi import BufferEventFlag, EventBase
from libevent_cffi.bufferevent import BufferEvent
from libevent_cffi.tls import TLSContext

CONNECTED, EOF, ERROR, TIMEOUT = (
    BufferEventFlag.CONNECTED,
    BufferEventFlag.EOF,
    BufferEventFlag.ERROR,
    BufferEventFlag.TIMEOUT,
)


class End:
    """One end of a connection: what it got and was told; it sends *sends* when it is connected."""

    def __init__(
        self,
        base: EventBase,
        sock: Optional[socket.socket],
        context: TLSContext,
        *,
        sends: bytes = b"",
        echoes: bool = False,
        expects: int = -1,
        **keywords: Any,
    ) -> None:
        self.got = bytearray()
        self.told: list[BufferEventFlag] = []
        self.error: Optional[Exception] = None
        self.layer: dict[str, Any] = {}
        self._sends, self._echoes, self._expects = sends, echoes, expects
        self.bev = BufferEvent(
            base, sock, tls=context, on_read=self._on_read, on_event=self._on_event, **keywords
        )

    def _on_read(self, bev: BufferEvent) -> None:
        data = bev.read()
        self.got += data
        if self._echoes:
            bev.write(data)
        if len(self.got) == self._expects:
            bev.write_eof()

    def _on_event(self, bev: BufferEvent, what: BufferEventFlag, error: Optional[Exception]) -> None:
        self.told.append(what)
        if what & CONNECTED:
            self.layer = {name: getattr(bev.tls, name) for name in LAYER}
            bev.write(self._sends)
        if what & ERROR:
            self.error = error
            bev.close()
        elif what & (EOF | TIMEOUT):
            bev.close(flush=True)


LAYER = (
    "state",
    "version",
    "cipher",
    "alpn",
    "server_name",
    "peer_certificate",
    "peer_chain",
    "session_reused",
)


def client(certificates: Certificates, **keywords: Any) -> TLSContext:
    return TLSContext(**{"ca": certificates("ca.pem"), **keywords})


def server(certificates: Certificates, name: str = "server", **keywords: Any) -> TLSContext:
    return TLSContext.server(certificates(f"{name}.pem"), certificates(f"{name}.key"), **keywords)


def sockets() -> tuple[socket.socket, socket.socket]:
    """Return two sockets that do not block, connected by TCP."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        one = socket.create_connection(listening.getsockname())
        other = listening.accept()[0]
    for sock in (one, other):
        sock.setblocking(False)
    return one, other


def meet(
    base: EventBase,
    run: Run,
    ours: TLSContext,
    theirs: TLSContext,
    *,
    name: str = "localhost",
    data: bytes = b"hello",
) -> tuple[End, End]:
    """Have a client send *data* to a server that sends it back, until both have ended; return both."""
    one, other = sockets()
    there = End(base, other, theirs, echoes=True)
    here = End(base, one, ours, server_hostname=name, sends=data, expects=len(data))
    run(base)
    return here, there
