"""Files as answers: whole or in part, by sendfile() where that can be."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from typing import TYPE_CHECKING, Any, NamedTuple, Optional, Union

from .._native import convert
from ..buffer import Buffer
from . import conditions
from .headers import Headers
from .multidict import _pairs_of

if TYPE_CHECKING:
    from ..types import FileDescriptorLike, HeadersLike, StrPath
    from .request import Request

__all__ = ["send"]

#: Files up to this size are read at once.
_SMALL = 65536
#: How much is read at a time where there is no sendfile(), and how much one call of it is asked for.
_PIECE = 262144
_SEGMENT = 2**30

_range = re.compile(r"bytes=\s*([0-9]{0,18})-([0-9]{0,18})\s*").fullmatch


class _Part(NamedTuple):
    start: int
    length: int


def send(
    request: Request,
    file: Union[StrPath, FileDescriptorLike],
    content_type: Optional[str],
    headers: HeadersLike,
    ranges: bool,
) -> None:
    """Answer with *file*: see Request.sendfile()."""
    fd = _open(file)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{file!r} is no regular file: it has no length that could be told")
        pairs = list(_pairs_of(headers))
        found = conditions.validators_of(status, _with(request, pairs))
        failed = conditions.failed(request, found)
        if failed == 412:
            request.error(412)
            return
        names = {name.lower() for name, _ in pairs}
        tells = {"Last-Modified": found.modified, "ETag": found.tag}
        pairs += [pair for pair in tells.items() if pair[0].lower() not in names]
        if failed is not None:
            request.reply(failed, headers=pairs)
            return
        if ranges:
            pairs.append(("Accept-Ranges", "bytes"))
        part = _asked_for(request, status, found) if ranges else _Part(0, status.st_size)
        if part is None:
            pairs.append(("Content-Range", f"bytes */{status.st_size}"))
            request.reply(416, headers=pairs)
            return
        code = 200
        if part.length != status.st_size:
            code = 206
            end = part.start + part.length - 1
            pairs.append(("Content-Range", f"bytes {part.start}-{end}/{status.st_size}"))
        _send_part(request, fd, part, code, pairs, content_type)
    finally:
        os.close(fd)


def _with(request: Request, pairs: list[tuple[str, str]]) -> Headers:
    """Return all headers that the answer has already: of those with one name, what is in *pairs*."""
    given = Headers(request.response_headers)
    given.update(Headers(pairs))
    return given


def _open(file: Any) -> int:
    """Return a descriptor of our own."""
    if isinstance(file, (str, bytes, os.PathLike)):
        flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
        return os.open(convert.c_path(file, "file"), flags)
    return os.dup(convert.fileno(file))


# -- ranges --------------------------------------------------------------------------------------------------


def _asked_for(request: Request, status: os.stat_result, found: conditions.Validators) -> Optional[_Part]:
    """Return the part that the client wants; None when there is no such part."""
    whole = _Part(0, status.st_size)
    text = request.headers.get("Range")
    if text is None or request.method != "GET":
        return whole
    if not conditions.range_counts(request, found):
        return whole
    match = _range(text)
    if match is None or match.groups() == ("", ""):
        return whole  # several parts, or nothing that this means
    first, last = match.groups()
    if not first:
        start, end = max(status.st_size - int(last), 0), status.st_size
        return _Part(start, end - start) if end > start else None
    start = int(first)
    end = min(int(last) + 1 if last else status.st_size, status.st_size)
    if last and int(last) < start:
        return whole
    return _Part(start, end - start) if start < status.st_size else None


# -- sending -------------------------------------------------------------------------------------------------


def _send_part(
    request: Request,
    fd: int,
    part: _Part,
    status: int,
    headers: list[tuple[str, str]],
    content_type: Optional[str],
) -> None:
    if request.method == "HEAD":
        headers.append(("Content-Length", str(part.length)))
        request.reply(status, headers=headers, content_type=content_type)
    elif part.length <= _SMALL:
        request.reply(status, _read(fd, part), headers=headers, content_type=content_type)
    else:
        headers.append(("Content-Length", str(part.length)))
        request.start(status, headers=headers, content_type=content_type)
        if request._takes_files():
            _send_segments(request, fd, part)
        else:
            _Pieces(request, os.dup(fd), part).more(request)


def _read(fd: int, part: _Part) -> bytes:
    data = os.pread(fd, part.length, part.start)
    if len(data) != part.length:
        raise EOFError("the file has become shorter while it was sent")
    return data


def _send_segments(request: Request, fd: int, part: _Part) -> None:
    start, left = part
    while left > 0:
        size = min(left, _SEGMENT)
        body = Buffer()
        body.drains_to_fd = True
        body.add_file(fd, offset=start, length=size)
        request.send_chunk(body)
        start, left = start + size, left - size
    request.end()


class _Pieces:
    """A file that is read while it is sent; its descriptor is closed with the last piece, or with this."""

    __slots__ = ("_fd", "_left", "_start")

    def __init__(self, request: Request, fd: int, part: _Part) -> None:
        self._fd: Optional[int] = fd
        self._start, self._left = part
        request._more().on_end = self.close

    def more(self, request: Request) -> None:
        """Send the next piece."""
        if self._fd is None:
            return
        size = min(self._left, _PIECE)
        data = _read(self._fd, _Part(self._start, size))
        self._start, self._left = self._start + size, self._left - size
        if self._left:
            request.send_chunk(data, self.more)
            return
        self.close()
        request.send_chunk(data)
        request.end()

    def close(self) -> None:
        """Read no more."""
        fd, self._fd = self._fd, None
        if fd is not None:
            with contextlib.suppress(OSError):
                os.close(fd)
