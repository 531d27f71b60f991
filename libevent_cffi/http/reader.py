"""
Taking a response out of a Buffer, piece by piece: no I/O, and no callbacks.

libevent's own parser is not used for responses.  It takes 102 and 103 for the final answer, and a body that
ends with the connection for empty when "Connection: keep-alive" stands above it; it fails on a chunk with an
extension, believes the first of two lengths, and holds a chunk back until it is complete (http.c:
evhttp_read_header, evhttp_get_body_length, evhttp_handle_chunked_read).
"""

from __future__ import annotations

import re
from typing import NamedTuple, NoReturn, Optional

from ..buffer import Buffer
from ..errors import HTTPError
from ..flags import RequestErrorKind
from .headers import Headers, is_token

__all__ = ["CONTINUE", "DATA", "DONE", "HEAD", "MORE", "Head", "ResponseReader"]

#: What step() answers: it needs more input; an interim response went by; the head is there; a piece of the
#: body is; the response is complete.
MORE, CONTINUE, HEAD, DATA, DONE = range(5)

_MOST_INTERIM = 100  # responses before the real one: a peer that sends no other is not answering
_SMALL = 1024  # bytes that are rather copied than moved
_CHUNK_LINE = 4096  # bytes of a chunk's size with its extensions
_status_line = re.compile(r"HTTP/1\.([0-9]) ([1-9][0-9][0-9])(?: (.*))?", re.DOTALL).fullmatch
_length = re.compile(r"[0-9]{1,18}").fullmatch
_chunk_size = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?", re.DOTALL).fullmatch
#: Headers that say how a message is framed: they count where they stand above the body only.
_NO_TRAILERS = frozenset("connection content-length content-encoding host transfer-encoding trailer".split())

_UNTIL_CLOSED, _SIZED, _CHUNK_SIZE, _CHUNK, _CHUNK_END, _TRAILERS, _COMPLETE, _IN_HEAD, _DISCARD = range(9)


class Head(NamedTuple):
    """What stands above a body."""

    status: int
    reason: str
    version: tuple[int, int]
    headers: Headers


class ResponseReader:
    """Takes one response to a request with *method*; None for a limit is no limit."""

    __slots__ = (
        *("_interim", "_left", "_lingering", "_max_body", "_max_head", "_method", "_seen", "_size", "_state"),
        *("data", "head", "keeps_alive", "started"),
    )

    def __init__(
        self,
        method: str,
        max_head: Optional[int] = None,
        max_body: Optional[int] = None,
        *,
        lingering: bool = False,
    ) -> None:
        self._method = method
        self._max_head = max_head
        self._max_body = max_body
        self._lingering = lingering
        self._state = _IN_HEAD
        self._interim = 0
        #: How much of the input holds no end of the head.
        self._seen = 0
        #: Bytes of the body or the chunk that are missing, and that came already.
        self._left = 0
        self._size = 0
        #: Where pieces of the body go; whoever takes them leaves it empty.
        self.data = Buffer()
        self.head: Optional[Head] = None
        #: May another request follow on this connection?
        self.keeps_alive = False
        #: Has anything come?
        self.started = False

    def step(self, input: Buffer) -> int:
        """
        Go on with what is in *input*, as far as the next thing to tell.

        Raises HTTPError for what is no response.
        """
        return _STEPS[self._state](self, input)

    def _stay(self, input: Buffer) -> int:
        return DONE

    def end(self) -> None:
        """No more input will come; raises HTTPError where that cuts the response off."""
        if self._state == _UNTIL_CLOSED:
            self._state = _COMPLETE
        elif self._state == _DISCARD:
            self._too_long()
        elif self._state != _COMPLETE:
            where = "its end" if self.started else "the response"
            raise HTTPError(f"the server closed the connection before {where}", kind=RequestErrorKind.EOF)

    # -- the head --------------------------------------------------------------------------------------------

    def _read_head(self, input: Buffer) -> int:
        if not self.started:
            begin = input.copyout(5)
            if not begin:
                return MORE
            if not b"HTTP/".startswith(begin):
                _malformed(f"the server does not speak HTTP: {input.copyout(40)!r}")
            self.started = len(begin) == 5
        text = self._take_lines(input, "head")
        if text is None:
            return MORE
        first, *lines = text.split("\n")
        match = _status_line(first)
        if match is None:
            _malformed(f"malformed status line: {first[:80]!r}")
        status = int(match[2])
        if 100 <= status < 200 and status != 101:
            self._interim += 1
            if self._interim > _MOST_INTERIM:
                _malformed(f"more than {_MOST_INTERIM} interim responses")
            self.started = False
            return CONTINUE
        headers = _parse_headers(lines)
        self.head = Head(status, match[3] or "", (1, int(match[1])), headers)
        self._begin_body(status, headers, int(match[1]))
        return HEAD

    def _take_lines(self, input: Buffer, what: str) -> Optional[str]:
        """Take lines up to an empty one; None while it has not come."""
        found = [
            at + len(end)
            for end in (b"\n\r\n", b"\n\n")
            for at in [input.search(end, start=max(0, self._seen - 2))]
            if at is not None
        ]
        size = min(found) if found else len(input)
        if self._max_head is not None and size > self._max_head:
            raise HTTPError(
                f"the {what} is longer than {self._max_head} bytes", kind=RequestErrorKind.DATA_TOO_LONG
            )
        if not found:
            self._seen = size
            return None
        self._seen = 0
        text = input.remove(size).decode("utf-8", "surrogateescape").replace("\r\n", "\n")
        if "\r" in text or "\0" in text:
            _malformed(f"the {what} holds a bare CR or a NUL")
        return text[:-2]

    def _begin_body(self, status: int, headers: Headers, minor: int) -> None:
        options = _tokens(headers, "connection")
        self.keeps_alive = "close" not in options and (minor >= 1 or "keep-alive" in options)
        codings, length = _tokens(headers, "transfer-encoding"), _content_length(headers)
        if (
            self._method == "HEAD"
            or status in (101, 204, 304)
            or (self._method == "CONNECT" and status < 300)
        ):
            self._state = _COMPLETE
        elif codings:
            if length is not None:
                _malformed("both Transfer-Encoding and Content-Length")
            if codings != ["chunked"]:
                _malformed(f"unknown Transfer-Encoding: {', '.join(codings)}")
            self._state = _CHUNK_SIZE
        elif length is None:
            self.keeps_alive = False
            self._state = _UNTIL_CLOSED
        else:
            self._left = length
            self._state = _SIZED if length else _COMPLETE
            self._check_size(length)

    def _check_size(self, more: int) -> None:
        if self._max_body is None or self._size + more <= self._max_body:
            return
        if not self._lingering or self._state != _SIZED:
            self._too_long()
        self._state = _DISCARD

    def _too_long(self) -> NoReturn:
        raise HTTPError(
            f"the body is longer than {self._max_body} bytes", kind=RequestErrorKind.DATA_TOO_LONG
        )

    # -- the body --------------------------------------------------------------------------------------------

    def _read_data(self, input: Buffer) -> int:
        available = len(input)
        if not available:
            return MORE
        if self._state == _UNTIL_CLOSED:
            self._check_size(available)
            self._take(input, available)
            self._size += available
            return DATA
        size = min(available, self._left)
        self._take(input, size)
        self._left -= size
        self._size += size
        if not self._left:
            self._state = _COMPLETE if self._state == _SIZED else _CHUNK_END
        return DATA

    def _take(self, input: Buffer, size: int) -> None:
        # What is moved keeps the memory that it was read to, 1 KiB at least (buffer.c:evbuffer_chain_new): of
        # a server that sends byte by byte that would be a thousand times what it sends.
        if size < _SMALL:
            self.data.add(input.remove(size))
        else:
            input.remove_buffer(size, into=self.data)

    def _read_chunk_size(self, input: Buffer) -> int:
        line = self._take_line(input)
        if line is None:
            return MORE
        match = _chunk_size(line)
        if match is None:
            _malformed(f"malformed size of a chunk: {line[:40]!r}")
        self._left = int(match[1], 16)
        self._check_size(self._left)
        self._state = _CHUNK if self._left else _TRAILERS
        return self.step(input)

    def _read_chunk_end(self, input: Buffer) -> int:
        line = self._take_line(input)
        if line is None:
            return MORE
        if line:
            _malformed(f"a chunk is longer than its size: {line[:40]!r}")
        self._state = _CHUNK_SIZE
        return self._read_chunk_size(input)

    def _take_line(self, input: Buffer) -> Optional[bytes]:
        line = input.readline()
        if line is None:
            if len(input) > _CHUNK_LINE:
                _malformed(f"the size of a chunk has more than {_CHUNK_LINE} bytes")
            return None
        if len(line) > _CHUNK_LINE or b"\r" in line:
            _malformed(f"malformed size of a chunk: {line[:40]!r}")
        return line

    def _read_trailers(self, input: Buffer) -> int:
        begin = input.copyout(2)
        if begin.startswith(b"\n") or begin == b"\r\n":
            input.readline()
            self._state = _COMPLETE
            return DONE
        if begin in (b"", b"\r"):
            return MORE
        text = self._take_lines(input, "trailer")
        if text is None:
            return MORE
        assert self.head is not None
        for name, value in _parse_headers(text.split("\n")).multi_items():
            if name.lower() not in _NO_TRAILERS:
                self.head.headers.add(name, value)
        self._state = _COMPLETE
        return DONE

    def _discard(self, input: Buffer) -> int:
        size = min(len(input), self._left)
        input.drain(size)
        self._left -= size
        if not self._left:
            self._too_long()
        return MORE


_STEPS = {
    _IN_HEAD: ResponseReader._read_head,
    _SIZED: ResponseReader._read_data,
    _UNTIL_CLOSED: ResponseReader._read_data,
    _CHUNK: ResponseReader._read_data,
    _CHUNK_SIZE: ResponseReader._read_chunk_size,
    _CHUNK_END: ResponseReader._read_chunk_end,
    _TRAILERS: ResponseReader._read_trailers,
    _DISCARD: ResponseReader._discard,
    _COMPLETE: ResponseReader._stay,
}


def _malformed(text: str) -> NoReturn:
    raise HTTPError(text, kind=RequestErrorKind.INVALID_HEADER)


def _parse_headers(lines: list[str]) -> Headers:
    pairs: list[tuple[str, str]] = []
    for line in lines:
        if line.startswith((" ", "\t")):  # the old way to go on with a value on the next line
            if not pairs:
                _malformed(f"malformed header: {line[:80]!r}")
            name, value = pairs.pop()
            pairs.append((name, f"{value} {line.strip(_BLANK)}".strip(_BLANK)))
            continue
        name, colon, value = line.partition(":")
        if not colon or not is_token(name):
            _malformed(f"malformed header: {line[:80]!r}")
        pairs.append((name, value.strip(_BLANK)))
    return Headers._from_pairs(pairs)


_BLANK = " \t"


def _tokens(headers: Headers, name: str) -> list[str]:
    """Return the words of a header that is a list, in lower case."""
    words = ",".join(headers.get_list(name)).lower().split(",")
    return [word.strip(_BLANK) for word in words if word.strip(_BLANK)]


def _content_length(headers: Headers) -> Optional[int]:
    values = headers.get_list("content-length")
    if not values:
        return None
    numbers = {value.strip(_BLANK) for value in ",".join(values).split(",")}
    if len(numbers) > 1:
        _malformed(f"conflicting Content-Length: {', '.join(sorted(numbers))}")
    number = numbers.pop()
    if not _length(number):
        _malformed(f"malformed Content-Length: {number!r}")
    return int(number)
