"""
A chat in web pages: run it, and open the address that it prints in several windows.

The first line that you type is your name.  Ctrl-C ends it.  It needs pip install 'libevent_cffi[ws]'.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Union

from libevent_cffi import EventBase
from libevent_cffi.http import Request, Server
from libevent_cffi.ws import WebSocket

PAGE = Path(__file__).with_suffix(".html")
LONGEST = 1000
MOST_UNSENT = 65536


class Room:
    """Those who are here, by connection; '' is one who has not said a name."""

    def __init__(self) -> None:
        self.names: dict[WebSocket, str] = {}

    def enter(self, request: Request) -> None:
        """Open a connection; pages of other sites may not."""
        ws = WebSocket.accept(
            request,
            on_message=self.say,
            on_close=self.leave,
            subprotocols=["chat"],
            max_message_size=LONGEST,
            ping_interval=20,
        )
        self.names[ws] = ""

    def say(self, ws: WebSocket, data: Union[str, bytes]) -> None:
        """Tell all what one says, and before that who it is."""
        if isinstance(data, bytes) or not data.strip():
            return
        if self.names[ws]:
            self.tell(f"{self.names[ws]}: {data}")
        else:
            self.names[ws] = data.strip()
            self.tell(f"* {self.names[ws]} is here")

    def leave(self, ws: WebSocket, code: int, reason: str) -> None:
        """Forget one that has gone, in whatever way."""
        name = self.names.pop(ws)
        if name:
            self.tell(f"* {name} has left")

    def tell(self, text: str) -> None:
        """Send a line to all who have a name; who does not read is dropped."""
        for ws, name in list(self.names.items()):
            if ws.unsent > MOST_UNSENT:
                ws.close(1008, "too slow")
                self.names.pop(ws)
            elif name and not ws.closed:
                ws.send(text)


def main() -> None:
    """Serve until Ctrl-C or SIGTERM."""
    with EventBase() as base:
        server = Server(base)
        server.route("/", lambda request: request.sendfile(PAGE))
        server.route("/chat", Room().enter)
        print(f"http://127.0.0.1:{server.bind(('127.0.0.1', 0)).port}/", flush=True)
        for number in (signal.SIGINT, signal.SIGTERM):
            base.on_signal(number, server.stop, keepalive=False)
        base.dispatch()


if __name__ == "__main__":
    main()
