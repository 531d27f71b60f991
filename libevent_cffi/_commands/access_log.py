"""The access log of serve: a line for each request, in the common log format."""

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

    from ..http import Request

__all__ = ["logged"]

_MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()  # whatever language the system speaks
_escaped = re.compile(r'["\\]|[^ -~]').sub


def logged(handler: Callable[[Request], object], file: TextIO) -> Callable[[Request], None]:
    """Return *handler* with a line in *file* for each request, written when its answer was sent."""

    def handle(request: Request) -> None:
        entry = _Entry(request, file)
        request.on_complete, request.on_close = entry.sent, entry.left
        handler(request)

    return handle


class _Entry:
    """A request that will be told of."""

    __slots__ = ("_begin", "_file", "_method")

    def __init__(self, request: Request, file: TextIO) -> None:
        self._file = file
        self._method = request.method
        target = request.target.encode("utf-8", "surrogateescape").decode("latin-1")
        line = f"{self._method} {_escaped(_escape, target)} HTTP/{'.'.join(map(str, request.version))}"
        self._begin = f'{_client(request)} - - [{_when(int(time.time()))}] "{line}"'

    def sent(self, request: Request) -> None:
        """Write the line: all of the answer was sent."""
        status, size = request._answer()
        has_body = self._method != "HEAD" and status not in (204, 304)
        self._write(status, size if has_body else "")

    def left(self, request: Request) -> None:
        """Write the line: the client has left, and nobody knows how much it got."""
        status = 0
        with contextlib.suppress(ClosedError):
            status, _ = request._answer()
        self._write(status, "")

    def _write(self, status: int, size: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # a log that cannot be written ends no server
            self._file.write(f"{self._begin} {status or '-'} {size or '-'}\n")


def _client(request: Request) -> str:
    with contextlib.suppress(OSError, ClosedError):
        address = request.peer_address
        if isinstance(address, tuple):
            return address[0]
    return "-"  # on a UNIX socket, or it has left already


@functools.lru_cache(maxsize=2)
def _when(seconds: int) -> str:
    local = time.localtime(seconds)
    return time.strftime(f"%d/{_MONTHS[local.tm_mon - 1]}/%Y:%H:%M:%S %z", local)


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    return f"\\{character}" if character in '"\\' else f"\\x{ord(character):02x}"
