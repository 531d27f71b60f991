"""Taking responses apart: every framing, every cut, and what is refused."""

from __future__ import annotations

from typing import Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libevent_cffi import Buffer
from libevent_cffi.errors import HTTPError
from libevent_cffi.flags import RequestErrorKind
from libevent_cffi.http.reader import CONTINUE, DATA, DONE, HEAD, MORE, Head, ResponseReader

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"

#: Complete responses, and the body that each has.
COMPLETE = {
    "sized": (OK + b"Content-Length: 5\r\n\r\nhello", b"hello"),
    "empty": (OK + b"Content-Length: 0\r\n\r\n", b""),
    "chunked": (CHUNKED + b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", b"hello world"),
    "extensions": (CHUNKED + b'5;a="b"\r\nhello\r\n1 ;x\r\n!\r\n00\r\n\r\n', b"hello!"),
    "trailers": (CHUNKED + b"1\r\na\r\n0\r\nX: 1\r\nY: 2\r\n\r\n", b"a"),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    "bare": (b"HTTP/1.1 304\r\n\r\n", b""),
    "lf only": (b"HTTP/1.0 200 OK\nContent-Length: 2\n\nab", b"ab"),
    "chunked lf": (b"HTTP/1.1 200 \nTransfer-Encoding: CHUNKED\n\n2\nab\n0\n\n", b"ab"),
    "interim": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n"
        + OK
        + b"Content-Length: 1\r\n\r\na",
        b"a",
    ),
    "same lengths": (OK + b"Content-Length: 1, 1\r\nContent-Length: 1\r\n\r\na", b"a"),
    "folded": (OK + b"A: 1\r\n  2\r\n\t3\r\nContent-Length: 1\r\n\r\na", b"a"),
}
UNTIL_CLOSED = OK + b"Connection: keep-alive\r\n\r\nhello"


def read(
    data: bytes, cuts: tuple[int, ...] = (), method: str = "GET", **limits: Optional[int]
) -> tuple[Optional[Head], bytes, bool, bytes]:
    """Give *data*, cut there, to a reader; return the head, the body, is it complete, and what is left."""
    reader = ResponseReader(method, **limits)
    input = Buffer()
    done = False
    for begin, end in zip((0, *cuts), (*cuts, len(data))):
        input.add(data[begin:end])
        while True:
            what = reader.step(input)
            assert what in (MORE, CONTINUE, HEAD, DATA, DONE)
            if what == DONE:
                done = True
            if what in (MORE, DONE):
                break
    if not done:
        reader.end()
        done = reader.step(input) == DONE
    return reader.head, bytes(reader.data), done, bytes(input)


@pytest.mark.parametrize(("data", "body"), COMPLETE.values(), ids=COMPLETE)
def test_a_response_is_the_same_however_it_arrives(data: bytes, body: bytes) -> None:
    """In one piece, byte by byte, and cut in two anywhere; what follows it is left in the input."""
    whole = read(data + b"rest")
    assert whole[1:] == (body, True, b"rest")
    assert read(data, tuple(range(1, len(data)))) == (*whole[:3], b"")
    for cut in range(1, len(data)):
        assert read(data, (cut,)) == (*whole[:3], b"")


@pytest.mark.parametrize(("data", "body"), COMPLETE.values(), ids=COMPLETE)
def test_no_prefix_of_a_response_passes_for_it(data: bytes, body: bytes) -> None:
    """Cut off at any byte it is an error of kind EOF, never a shorter body."""
    for size in range(len(data)):
        with pytest.raises(HTTPError, match="closed the connection before") as caught:
            read(data[:size])
        assert caught.value.kind is RequestErrorKind.EOF


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    """Also where the connection is said to be kept alive."""
    head, body, done, _ = read(UNTIL_CLOSED)
    assert head is not None
    assert (head.status, body, done) == (200, b"hello", True)


def test_the_head_of_a_response() -> None:
    """Status, reason, version and headers; trailers are added to them, but not those that frame a message."""
    head, *_ = read(
        b"HTTP/1.1 299 What ever \xc3\xbc\r\nA:  b c \r\na:\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\nX: 1\r\nContent-Length: 7\r\n\r\n"
    )
    assert head is not None
    assert head[:3] == (299, "What ever ü", (1, 1))
    assert head.headers.multi_items() == [
        ("A", "b c"),
        ("a", ""),
        ("Transfer-Encoding", "chunked"),
        ("X", "1"),
    ]
    assert read(COMPLETE["folded"][0])[0].headers["A"] == "1 2 3"  # type: ignore[union-attr]


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_response_to_head_has_no_body(method: str) -> None:
    """Whatever its headers say."""
    data = OK + b"Content-Length: 5\r\n\r\nhello"
    _, body, done, rest = read(data, method=method)
    assert (body, done, rest) == ((b"", True, b"hello") if method == "HEAD" else (b"hello", True, b""))


MALFORMED = {
    "another protocol": b"SSH-2.0-OpenSSH\r\n",
    "another protocol, not ended": b"220 smtp",
    "version 2": b"HTTP/2.0 200 OK\r\n\r\n",
    "no status": b"HTTP/1.1\r\n\r\n",
    "a status of two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "a status below 100": b"HTTP/1.1 099 OK\r\n\r\n",
    "a status with letters": b"HTTP/1.1 200x OK\r\n\r\n",
    "two spaces": b"HTTP/1.1  200 OK\r\n\r\n",
    "no colon": OK + b"nonsense\r\n\r\n",
    "a space before the colon": OK + b"A : b\r\n\r\n",
    "no name": OK + b": b\r\n\r\n",
    "a name that is no token": OK + b"A(: b\r\n\r\n",
    "folding with nothing before": OK + b" a: b\r\n\r\n",
    "a NUL": OK + b"A: b\0c\r\n\r\n",
    "a bare CR": OK + b"A: b\rSet-Cookie: x\r\n\r\n",
    "two lengths": OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "two lengths in one": OK + b"Content-Length: 1, 2\r\n\r\nab",
    "a negative length": OK + b"Content-Length: -1\r\n\r\n",
    "a signed length": OK + b"Content-Length: +1\r\n\r\na",
    "an empty length": OK + b"Content-Length:\r\n\r\n",
    "a length in hexadecimal": OK + b"Content-Length: 0x1\r\n\r\na",
    "a length beyond all": OK + b"Content-Length: 99999999999999999999\r\n\r\n",
    "a length and chunks": OK + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "an unknown coding": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    "chunked twice": OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n",
    "a chunk without a size": CHUNKED + b"\r\nab\r\n",
    "a chunk with a bad size": CHUNKED + b"xyz\r\n",
    "a chunk with a sign": CHUNKED + b"+5\r\nhello\r\n",
    "a chunk with 0x": CHUNKED + b"0x5\r\nhello\r\n",
    "a chunk with a negative size": CHUNKED + b"-1\r\n",
    "a chunk of more than 60 bits": CHUNKED + b"1" * 16 + b"\r\n",
    "a chunk longer than its size": CHUNKED + b"2\r\nabc\r\n",
    "a line for a size without end": CHUNKED + b"1;" + b"x" * 5000,
    "a bad trailer": CHUNKED + b"0\r\nbad\r\n\r\n",
    "interim responses only": b"HTTP/1.1 103 Early\r\n\r\n" * 200,
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_response_is_refused(data: bytes) -> None:
    """With kind INVALID_HEADER, at once, and however it arrives."""
    for cuts in ((), tuple(range(1, len(data)))):
        with pytest.raises(HTTPError) as caught:
            read(data + b"\r\n", cuts)
        assert caught.value.kind is RequestErrorKind.INVALID_HEADER


def test_limits() -> None:
    """What is exactly as long passes, and one byte more is DATA_TOO_LONG, before it is taken into memory."""
    data, body = COMPLETE["sized"]
    head = len(data) - len(body)
    assert read(data, max_head=head, max_body=5)[1] == body
    chunked, _ = COMPLETE["chunked"]
    assert read(chunked, max_body=11)[1] == b"hello world"
    assert read(UNTIL_CLOSED, max_body=5)[1] == b"hello"
    for wrong, limits in (
        (data, {"max_head": head - 1}),
        (OK + b"A: " + b"x" * 100, {"max_head": 100}),
        (data, {"max_body": 4}),
        (data[:head], {"max_body": 4}),
        (chunked, {"max_body": 10}),
        (CHUNKED + b"FFFFFFFF\r\n", {"max_body": 10}),
        (CHUNKED + b"0\r\n" + b"A: 1\r\n" * 50, {"max_head": 100}),
        (UNTIL_CLOSED, {"max_body": 4}),
    ):
        with pytest.raises(HTTPError, match="is longer than") as caught:
            read(wrong, **limits)
        assert caught.value.kind is RequestErrorKind.DATA_TOO_LONG


def test_lingering_takes_what_is_too_long_off_the_connection() -> None:
    """The error comes when it is all there, or the connection ends; nothing of it is kept."""
    data, _ = COMPLETE["sized"]
    reader, input = ResponseReader("GET", None, 4, lingering=True), Buffer(data[:-1])
    assert reader.step(input) == HEAD
    assert reader.step(input) == MORE
    assert not input
    assert not reader.data
    for finish in (lambda: reader.step(Buffer(b"o")), reader.end):
        with pytest.raises(HTTPError, match="is longer than 4 bytes"):
            finish()


def test_whether_a_connection_is_kept() -> None:
    """It depends on the version, on Connection, and on whether the body says where it ends."""

    def keeps(data: bytes) -> bool:
        reader, input = ResponseReader("GET"), Buffer(data)
        assert reader.step(input) == HEAD
        return reader.keeps_alive

    length = b"Content-Length: 0\r\n"
    assert keeps(OK + length + b"\r\n")
    assert not keeps(OK + length + b"Connection: Close\r\n\r\n")
    assert not keeps(OK + length + b"Connection: x, close\r\n\r\n")
    assert not keeps(OK + b"\r\n")
    assert not keeps(b"HTTP/1.0 200 OK\r\n" + length + b"\r\n")
    assert keeps(b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n" + length + b"\r\n")


@given(st.sampled_from(list(COMPLETE.values()) + [(UNTIL_CLOSED, b"")]), st.data())
@settings(deadline=None, max_examples=150)
def test_damaged_responses_are_responses_or_errors(
    response: tuple[bytes, bytes], data: st.DataObject
) -> None:
    """Nothing else is raised, nothing hangs, and no byte comes twice."""
    damaged = bytearray(response[0])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
        if not damaged:
            return
    try:
        _, body, done, rest = read(bytes(damaged), (data.draw(st.integers(0, len(damaged))),), max_body=1000)
    except HTTPError:
        return
    assert done
    assert len(body) + len(rest) <= len(damaged)
