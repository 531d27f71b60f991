"""The parts of the tour that are more than events: buffered connections, DNS and HTTP, all on loopback."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from .. import dns, http, util
from ..bufferevent import BufferEvent
from ..flags import DNSErrorCode
from ..listener import Listener

if TYPE_CHECKING:
    import socket

    from ..event import EventBase
    from ..flags import BufferEventFlag
    from ..tls import TLSContext

__all__ = ["Connections", "Names", "Pages"]


def _tls_contexts() -> Optional[tuple[TLSContext, TLSContext]]:
    """Make a server's and a client's, with a certificate of the openssl command; None without TLS or that."""
    openssl = shutil.which("openssl")
    if not util.features()["tls"] or openssl is None:
        return None
    from ..tls import TLSContext

    with tempfile.TemporaryDirectory() as folder:
        certificate, key = Path(folder, "certificate.pem"), Path(folder, "key.pem")
        command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "1"]
        command += ["-keyout", str(key), "-out", str(certificate)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            return None
        return TLSContext.server(certificate, key), TLSContext(ca=certificate)


class Connections:
    """Clients that send a lot and read it back, over buffered connections under TLS."""

    title = "connections"
    _CLIENTS = 20
    _SIZE = 500_000

    def __init__(self) -> None:
        self.received = self.ended = 0
        self.seconds = 0.0
        self.error: Optional[Exception] = None
        self.tls = ""
        self._contexts = _tls_contexts() or (None, None)

    def start(self, base: EventBase) -> None:
        self._started = time.monotonic()
        server_hostname = "localhost" if self._contexts[1] is not None else None
        self._listener = Listener(base, ("127.0.0.1", 0), self._accept)
        for _ in range(self._CLIENTS):
            bev = BufferEvent(
                base,
                on_read=self._read,
                on_event=self._told,
                tls=self._contexts[1],
                server_hostname=server_hostname,
            )
            bev.write(bytes(self._SIZE))
            bev.connect(("127.0.0.1", self._listener.port))

    def _accept(self, listener: Listener, sock: socket.socket, address: object) -> None:
        BufferEvent(listener.base, sock, tls=self._contexts[0], on_read=self._echo)

    @staticmethod
    def _echo(bev: BufferEvent) -> None:
        bev.write_buffer(bev.input)

    def _read(self, bev: BufferEvent) -> None:
        self.received += len(bev.read())

    def _told(self, bev: BufferEvent, what: BufferEventFlag, error: Optional[Exception]) -> None:
        if what & what.CONNECTED:
            if bev.tls is not None:
                self.tls = f" under {bev.tls.version}"
            bev.write_eof()
            return
        bev.close()
        self.error = error or self.error
        self.ended += 1
        if self.ended == self._CLIENTS:
            self.seconds = time.monotonic() - self._started
            self._listener.close()

    def lines(self) -> list[str]:
        return [
            f"{self._CLIENTS} clients sent {self._SIZE:,} bytes each{self.tls} and read them back"
            f" in {self.seconds:.2f} s, {2 * self.received / self.seconds / 1e6:,.0f} MB a second"
        ]

    def problems(self) -> list[str]:
        if self.received == self._CLIENTS * self._SIZE and self.error is None:
            return []
        return [f"{self.received} bytes came back, and {self.error!r}"]


class Names:
    """A DNS server, and a resolver that asks it for many names at once."""

    title = "DNS"
    _COUNT = 500

    def __init__(self) -> None:
        self.answers: list[str] = []
        self.seconds = 0.0

    def start(self, base: EventBase) -> None:
        self._server = dns.Server(base, ("127.0.0.1", 0), self._answer)
        address = f"127.0.0.1:{self._server.port}"
        self._resolver = dns.Resolver(base, resolv_conf=False, hosts=False, nameservers=[address])
        self._left = self._COUNT
        self._started = time.monotonic()
        for number in range(self._COUNT):
            self._resolver.resolve_ipv4(f"host{number}.example", self._told)

    @staticmethod
    def _answer(request: dns.Request) -> None:
        for name, _, _ in request.questions:
            number = int(name.lower().partition(".")[0][4:])
            request.add_a(name, [f"10.0.{number // 256}.{number % 256}"], ttl=60)
        request.respond(DNSErrorCode.NONE)

    def _told(self, query: dns.Query[dns.Answer]) -> None:
        if query.error is None:
            self.answers += query.result().records
        self._left -= 1
        if self._left == 0:
            self.seconds = time.monotonic() - self._started
            self._resolver.close()
            self._server.close()

    def lines(self) -> list[str]:
        return [
            f"{len(self.answers)} names were asked for at once and answered here, in {self.seconds:.2f} s,"
            f" the last one with {self.answers[-1]}"
        ]

    def problems(self) -> list[str]:
        found = len(set(self.answers))
        return [] if found == self._COUNT else [f"{found} names were found, not {self._COUNT}"]


class Pages:
    """An HTTP server, and clients that fetch pages of it, one after the other on each connection."""

    title = "HTTP"
    _CONNECTIONS = 10
    _REQUESTS = 50

    def __init__(self) -> None:
        self.times: list[float] = []
        self.seconds = 0.0
        self.failures: list[Exception] = []

    def start(self, base: EventBase) -> None:
        self._server = http.Server(base, self._serve)
        port = self._server.bind(("127.0.0.1", 0)).port
        self._started = time.monotonic()
        self._left = self._CONNECTIONS
        for _ in range(self._CONNECTIONS):
            self._ask(http.Connection(base, ("127.0.0.1", port)), self._REQUESTS)

    @staticmethod
    def _serve(request: http.Request) -> None:
        request.reply(200, f"page {request.query['number']}\n")

    def _ask(self, connection: http.Connection, left: int) -> None:
        connection.request("GET", f"/?number={left}", self._told, connection, left, time.monotonic())

    def _told(
        self, request: http.ClientRequest, connection: http.Connection, left: int, asked: float
    ) -> None:
        if request.error is not None:
            self.failures.append(request.error)
        elif request.result().body == b"page %d\n" % left:
            self.times.append(time.monotonic() - asked)
        if left > 1:
            self._ask(connection, left - 1)
            return
        connection.close()
        self._left -= 1
        if self._left == 0:
            self.seconds = time.monotonic() - self._started
            self._server.close()

    def lines(self) -> list[str]:
        return [
            f"{len(self.times)} pages over {self._CONNECTIONS} connections in {self.seconds:.2f} s,"
            f" {len(self.times) / self.seconds:,.0f} a second",
            f"one page: median {statistics.median(self.times) * 1e3:.2f} ms,"
            f" worst {max(self.times) * 1e3:.2f} ms",
        ]

    def problems(self) -> list[str]:
        wanted = self._CONNECTIONS * self._REQUESTS
        if len(self.times) == wanted:
            return []
        return [f"{len(self.times)} pages, not {wanted}: {self.failures}"]
