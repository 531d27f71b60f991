"""
An HTTP proxy: ``curl -x http://127.0.0.1:PORT http://example.org/`` goes through it.  Ctrl-C ends it.

Answers are passed on as they come, and no faster than the client takes them.  What a client sends is passed
on when it is whole: libevent 2.1 gives a server no part of a body before that, 2.2 gives parts to routes
only, whose paths a proxy does not know; and a request's body goes out in one piece.  Only http is spoken, and
no CONNECT.
"""

from __future__ import annotations

import contextlib
import signal

from libevent_cffi import Buffer, EventBase
from libevent_cffi.http import ClientRequest, Headers, Request, Server, fetch

MOST_UNSENT = 262144
#: What concerns one connection only, and not what is behind it.
OWN = set("connection keep-alive proxy-connection te trailer transfer-encoding upgrade expect".split())


def passed_on(headers: Headers) -> list[tuple[str, str]]:
    """Return what is for the other side as well."""
    named = {name.strip().lower() for value in headers.get_list("Connection") for name in value.split(",")}
    return [pair for pair in headers.multi_items() if pair[0].lower() not in OWN | named]


class Exchange:
    """A request of a client, and the same to the server."""

    def __init__(self, client: Request) -> None:
        self.client = client
        headers = [
            pair for pair in passed_on(client.headers) if pair[0].lower() not in ("host", "content-length")
        ]
        self.server = fetch(
            client.server.base,
            client.target,
            self.end,
            method=client.method,
            headers=headers,
            body=client.body,
            on_headers=self.begin,
            on_chunk=self.more,
            max_body_size=None,
        )
        client.defer()
        client.on_close = self.left

    def begin(self, server: ClientRequest) -> None:
        """Status and headers are in."""
        response = server.response
        assert response is not None
        with contextlib.suppress(BrokenPipeError):
            self.client.start(response.status, headers=passed_on(response.headers), reason=response.reason)

    def more(self, server: ClientRequest, chunk: Buffer) -> None:
        """A piece of the body: wait for a client that is slower."""
        with contextlib.suppress(BrokenPipeError):
            self.client.send_chunk(chunk)
            if self.client.unsent > MOST_UNSENT:
                server.pause_reading()
                self.client.send_chunk(b"", self.drained)

    def drained(self, client: Request) -> None:
        """The client has taken all of it."""
        self.server.resume_reading()

    def left(self, client: Request) -> None:
        """Nobody waits for it any more."""
        self.server.cancel()

    def end(self, server: ClientRequest) -> None:
        """All is there; or not, and then the client must not take it for the whole."""
        if self.client.closed:
            return
        if server.error is None:
            self.client.end()
        elif self.client.answered:
            self.client.close()
        else:
            self.client.error(504 if isinstance(server.error, TimeoutError) else 502)


def handle(request: Request) -> None:
    """Pass on what is asked for with its whole address."""
    if request.uri.scheme != "http" or request.method == "CONNECT":
        request.error(501 if request.method == "CONNECT" else 400)
        return
    Exchange(request)


def main() -> None:
    """Serve until Ctrl-C or SIGTERM."""
    with EventBase() as base:
        server = Server(base, handle)
        print(f"http://127.0.0.1:{server.bind(('127.0.0.1', 0)).port}", flush=True)
        for number in (signal.SIGINT, signal.SIGTERM):
            base.on_signal(number, server.stop, keepalive=False)
        base.dispatch()


if __name__ == "__main__":
    main()
