"""The access log of serve: a line for each answer, in the common log format."""

from __future__ import annotations

import contextlib
import functools
import re
import time
from typing import TYPE_CHECKING

from ..errors import ClosedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from ..http import Refused, Request, Server
    from ..types import SocketAddress

__all__ = ["logged", "refusals"]

_MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()  # whatever language the system speaks
_escaped = re.compile(r'["\\]|[^ -~]').sub


def logged(handler: Callable[[Request], object], file: TextIO) -> Callable[[Request], None]:
    """Return *handler* with a line in *file* for each request, written when its answer was sent."""

    def handle(request: Request) -> None:
        entry = _Entry(request, file)
        request.on_complete, request.on_close = entry.sent, entry.left
        handler(request)

    return handle


def refusals(file: TextIO) -> Callable[[Server, Refused], None]:
    """Return an on_refused that writes a line in *file* for each answer that no handler has given."""

    def tell(server: Server, refused: Refused) -> None:
        line = _escape_all(refused.line) or "-"
        _write(file, _begin(_host(refused.peer_address), line), refused.status, str(refused.size))

    return tell


class _Entry:
    """A request that will be told of."""

    __slots__ = ("_begin", "_file", "_method")

    def __init__(self, request: Request, file: TextIO) -> None:
        self._file = file
        self._method = request.method
        line = f"{self._method} {_escape_all(request.target)} HTTP/{'.'.join(map(str, request.version))}"
        self._begin = _begin(_client(request), line)

    def sent(self, request: Request) -> None:
        """Write the line: all of the answer was sent."""
        status, size = request._answer()
        has_body = self._method != "HEAD" and status not in (204, 304)
        _write(self._file, self._begin, status, size if has_body else "")

    def left(self, request: Request) -> None:
        """Write the line: the client has left, and nobody knows how much it got."""
        status = 0
        with contextlib.suppress(ClosedError):
            status, _ = request._answer()
        _write(self._file, self._begin, status, "")


def _begin(client: str, line: str) -> str:
    return f'{client} - - [{_when(int(time.time()))}] "{line}"'


def _write(file: TextIO, begin: str, status: int, size: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # a log that cannot be written ends no server
        file.write(f"{begin} {status or '-'} {size or '-'}\n")


def _client(request: Request) -> str:
    with contextlib.suppress(OSError, ClosedError):
        return _host(request.peer_address)
    return "-"  # it has left already


def _host(address: SocketAddress) -> str:
    return address[0] if isinstance(address, tuple) and isinstance(address[0], str) else "-"


@functools.lru_cache(maxsize=2)
def _when(seconds: int) -> str:
    local = time.localtime(seconds)
    return time.strftime(f"%d/{_MONTHS[local.tm_mon - 1]}/%Y:%H:%M:%S %z", local)


def _escape_all(text: str) -> str:
    return _escaped(_escape, text.encode("utf-8", "surrogateescape").decode("latin-1"))


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    return f"\\{character}" if character in '"\\' else f"\\x{ord(character):02x}"
