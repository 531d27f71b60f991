"""Tagged data: what Encoder writes and Decoder reads, beside libevent's own functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as some

from libevent_cffi.buffer import Buffer
from libevent_cffi.errors import ClosedError, TagError
from libevent_cffi.lowlevel import ffi, lib
from libevent_cffi.tag import Decoder, Encoder, wire

int32s = some.integers(0, 2**32 - 1)
int64s = some.integers(0, 2**64 - 1)
tags = int32s
times = some.integers(0, 2**32 * 10**6 - 1)
texts = some.text(some.characters(blacklist_characters="\0", blacklist_categories=["Cs"]))


class CBuffer:
    """An evbuffer of C's own, for its evtag functions."""

    def __init__(self, data: bytes = b"") -> None:
        self.c = ffi.gc(lib.evbuffer_new(), lib.evbuffer_free)
        lib.evbuffer_add(self.c, data, len(data))

    def __bytes__(self) -> bytes:
        length = lib.evbuffer_get_length(self.c)
        return bytes(ffi.buffer(lib.evbuffer_pullup(self.c, -1), length)) if length else b""


def timeval(microseconds: int) -> Any:
    return ffi.new("struct timeval *", divmod(microseconds, 10**6))


# -- writing -------------------------------------------------------------------------------------------------


@given(tags, int32s, int64s, some.binary(), texts, times)
def test_python_writes_what_c_writes(
    tag: int, number: int, large: int, data: bytes, text: str, microseconds: int
) -> None:
    """Every function of the encoder, byte for byte."""
    ours, theirs = Encoder(), CBuffer()
    ours.encode_int(number)
    lib.evtag_encode_int(theirs.c, number)
    ours.encode_int(large)
    lib.evtag_encode_int64(theirs.c, large)
    ours.marshal(tag, data)
    lib.evtag_marshal(theirs.c, tag, data, len(data))
    ours.marshal_int(tag, number)
    lib.evtag_marshal_int(theirs.c, tag, number)
    ours.marshal_int64(tag, large)
    lib.evtag_marshal_int64(theirs.c, tag, large)
    ours.marshal_string(tag, text)
    lib.evtag_marshal_string(theirs.c, tag, text.encode())
    ours.marshal_timeval(tag, microseconds / 1e6)
    lib.evtag_marshal_timeval(theirs.c, tag, timeval(microseconds))
    inner = CBuffer(data)
    with Buffer(data) as moved:
        ours.marshal_buffer(tag, moved)
        assert len(moved) == 0
    lib.evtag_marshal_buffer(theirs.c, tag, inner.c)
    assert bytes(ours.buffer) == bytes(theirs)


@pytest.mark.parametrize("exponent", range(65))
def test_numbers_and_tags_at_every_edge(exponent: int) -> None:
    """Where another digit or another group begins."""
    for number in (2**exponent - 1, 2**exponent, 2**exponent + 1):
        if number < 2**64:
            ours, theirs = Encoder(), CBuffer()
            ours.encode_int(number)
            lib.evtag_encode_int64(theirs.c, number)
            assert bytes(ours.buffer) == bytes(theirs)
            assert Decoder(bytes(theirs)).decode_int() == number
        if number < 2**32:
            theirs = CBuffer()
            lib.evtag_marshal(theirs.c, number, b"", 0)
            assert wire.encode_header(number, 0) == bytes(theirs)
            assert Decoder(bytes(theirs)).unmarshal() == (number, b"")


def test_an_encoder_writes_to_the_buffer_that_it_is_given() -> None:
    """To its end; without one it has its own."""
    with Buffer(b"before ") as buffer:
        encoder = Encoder(buffer)
        assert encoder.buffer is buffer
        encoder.marshal(1, b"x")
        assert bytes(buffer) == b"before \x01\x01x"
    assert bytes(Encoder().buffer) == b""


def test_an_encoder_takes_whatever_has_bytes() -> None:
    """And nothing else."""
    encoder = Encoder()
    for data in (b"ab", bytearray(b"ab"), memoryview(b"xaybz")[1:4:2]):
        encoder.marshal(1, data)
    assert bytes(encoder.buffer) == 3 * b"\x01\x02ab"
    wrong: Any = encoder
    for call in (
        lambda: wrong.marshal(1, "text"),
        lambda: wrong.marshal("1", b""),
        lambda: wrong.marshal(True, b""),
        lambda: wrong.marshal_buffer(1, b"x"),
        lambda: wrong.marshal_int(1, 1.0),
        lambda: wrong.marshal_string(1, b"x"),
        lambda: wrong.marshal_timeval(1, "1"),
        lambda: wrong.marshal_timeval(1, None),
        lambda: wrong.encode_int(None),
        lambda: Encoder(b"x"),  # type: ignore[arg-type]
    ):
        with pytest.raises(TypeError):
            call()
    assert bytes(encoder.buffer) == 3 * b"\x01\x02ab"


def test_values_that_do_not_fit_are_refused() -> None:
    """And nothing is written."""
    encoder = Encoder()
    calls: list[Callable[[], None]] = [
        lambda: encoder.marshal(-1, b""),
        lambda: encoder.marshal(2**32, b""),
        lambda: encoder.marshal_int(1, 2**32),
        lambda: encoder.marshal_int(1, -1),
        lambda: encoder.marshal_int64(1, 2**64),
        lambda: encoder.encode_int(2**64),
        lambda: encoder.marshal_string(1, "a\0b"),
        lambda: encoder.marshal_buffer(1, encoder.buffer),
    ]
    for seconds in (-1.0, -1e-9, math.nan, math.inf, 2**32, 2.0**32, 2**32 - 1e-7):
        calls.append(lambda seconds=seconds: encoder.marshal_timeval(1, seconds))  # type: ignore[misc]
    for call in calls:
        with pytest.raises(ValueError):
            call()
    assert bytes(encoder.buffer) == b""
    with pytest.raises(ValueError, match="2147483648 bytes are more than an item holds"):
        wire.encode_header(1, 2**31)


def test_a_large_payload_is_written_and_read() -> None:
    """Of many chunks."""
    data = bytes(range(256)) * 1000
    encoder = Encoder()
    encoder.marshal(1, data)
    with Buffer(data) as buffer:
        encoder.marshal_buffer(2, buffer)
    assert list(Decoder(encoder.buffer)) == [(1, data), (2, data)]


def test_a_buffer_that_cannot_be_added_keeps_what_it_holds() -> None:
    """Whichever end is frozen, and whoever raises."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    with Buffer(b"kept") as ours, Buffer(b"data") as theirs:
        encoder = Encoder(ours)
        ours.freeze(front=False)
        with pytest.raises(BufferError):
            encoder.marshal_buffer(1, theirs)
        ours.unfreeze(front=False)
        theirs.freeze(front=True)
        with pytest.raises(BufferError):
            encoder.marshal_buffer(1, theirs)
        theirs.unfreeze(front=True)
        with theirs.on_change(fail), pytest.raises(ZeroDivisionError):
            encoder.marshal_buffer(1, theirs)
        assert (bytes(ours), bytes(theirs)) == (b"kept", b"data")
        with ours.on_change(fail), pytest.raises(ZeroDivisionError):
            encoder.marshal_buffer(1, theirs)
        assert (bytes(ours), bytes(theirs)) == (b"kept\x01\x04data", b"")


def test_a_file_that_a_buffer_holds_is_added_to_one_that_may_hold_it(tmp_path: Path) -> None:
    """It stays a file, to be sent by sendfile(); another buffer does not take it, and nothing is lost."""
    (tmp_path / "file").write_bytes(b"data")
    with Buffer() as ours, Buffer() as theirs, open(tmp_path / "file", "rb") as file:
        theirs.drains_to_fd = True
        theirs.add_file(file)
        encoder = Encoder(ours)
        with pytest.raises(BufferError):
            encoder.marshal_buffer(1, theirs)
        assert (len(ours), len(theirs)) == (0, 4)
        ours.drains_to_fd = True
        encoder.marshal_buffer(1, theirs)
        assert (len(ours), len(theirs)) == (6, 0)


def test_closed_buffers_are_refused() -> None:
    """By the encoder and the decoder."""
    with Buffer(b"\x01\x00") as buffer:
        encoder, decoder = Encoder(buffer), Decoder(buffer)
    calls: list[Callable[[], Any]] = [
        lambda: encoder.marshal_int(1, 1),
        lambda: encoder.marshal_buffer(1, Buffer(b"x")),
        lambda: Encoder().marshal_buffer(1, buffer),
        lambda: Encoder(buffer).marshal(1, bytes(100000)),
        *(lambda method=method: method(decoder) for method in METHODS),  # type: ignore[misc]
    ]
    for call in calls:
        with pytest.raises(ClosedError):
            call()


# -- reading -------------------------------------------------------------------------------------------------


def written(write: Callable[[Encoder], None]) -> bytes:
    encoder = Encoder()
    write(encoder)
    return bytes(encoder.buffer)


@given(tags, int32s, int64s, some.binary(), texts, times)
def test_what_was_written_is_read(
    tag: int, number: int, large: int, data: bytes, text: str, microseconds: int
) -> None:
    """Every function of the decoder, in order."""
    encoder = Encoder()
    encoder.encode_int(large)
    encoder.marshal_int(tag, number)
    encoder.marshal_int64(tag, large)
    encoder.marshal_string(tag, text)
    encoder.marshal_timeval(tag, microseconds / 1e6)
    encoder.marshal(tag, data)
    encoder.marshal(tag, data)
    encoder.marshal(tag, data)
    size = len(encoder.buffer)
    decoder = Decoder(encoder.buffer)
    assert decoder.decode_int() == large
    assert decoder.peek() == tag
    assert decoder.unmarshal_int(tag) == number
    assert decoder.unmarshal_int64(tag) == large
    assert decoder.unmarshal_string(tag) == text
    assert round(decoder.unmarshal_timeval(tag) * 1e6) == microseconds
    assert decoder.payload_length() == len(data)
    assert 3 * decoder.peek_length() == size - decoder.position
    assert decoder.unmarshal_fixed(tag, len(data)) == data
    decoder.skip()
    assert list(decoder) == [(tag, data)]
    assert decoder.position == size
    assert decoder.peek() is None
    assert len(encoder.buffer) == 0


def test_a_decoder_takes_from_the_front_of_a_buffer() -> None:
    """What comes behind the last item that was read stays, and bytes are not changed."""
    with Buffer(b"\x01\x01x\x02\x01y rest") as buffer:
        decoder = Decoder(buffer)
        assert decoder.unmarshal() == (1, b"x")
        assert bytes(buffer) == b"\x02\x01y rest"
        assert decoder.header() == (2, 1)
        assert (bytes(buffer), decoder.position) == (b"y rest", 5)
    data = bytearray(b"\x01\x01x")
    decoder = Decoder(data)
    data[2] = 0
    assert decoder.unmarshal() == (1, b"x")
    with pytest.raises(TypeError):
        Decoder("text")  # type: ignore[arg-type]


def test_a_decoder_goes_on_when_more_has_come() -> None:
    """An item that is cut off is an error that takes nothing."""
    whole = written(lambda encoder: encoder.marshal(300, b"data" * 5))
    with Buffer() as buffer:
        decoder = Decoder(buffer)
        for at in range(len(whole)):
            with pytest.raises(TagError):
                decoder.unmarshal()
            assert (bytes(buffer), decoder.position) == (whole[:at], 0)
            if at >= 4:
                assert (decoder.peek_length(), decoder.payload_length()) == (len(whole), 20)
            buffer.add(whole[at : at + 1])
        assert decoder.unmarshal() == (300, b"data" * 5)


def test_what_a_change_callback_raises_leaves_the_item_where_it_was() -> None:
    """Nothing was taken."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    with Buffer(b"\x01\x01\x05") as buffer:
        decoder = Decoder(buffer)
        with buffer.on_change(fail), pytest.raises(ZeroDivisionError):
            decoder.unmarshal_int(1)
        assert decoder.position == 0
        assert decoder.unmarshal_int(1) == 5


def test_a_decoder_checks_its_arguments() -> None:
    """A tag and a length are ints in their range; nothing is taken."""
    decoder: Any = Decoder(b"\x01\x00")
    for call, error in (
        (lambda: decoder.unmarshal_int("1"), TypeError),
        (lambda: decoder.unmarshal_int(-1), ValueError),
        (lambda: decoder.unmarshal_string(2**32), ValueError),
        (lambda: decoder.unmarshal_fixed(1, -1), ValueError),
        (lambda: decoder.unmarshal_fixed(1, None), TypeError),
    ):
        with pytest.raises(error):
            call()
    with pytest.raises(TagError, match="the next tag is 1, not 2"):
        decoder.unmarshal_fixed(2, 0)
    assert decoder.unmarshal_fixed(1, 0) == b""


METHODS: list[Callable[[Decoder], Any]] = [
    Decoder.peek,
    Decoder.peek_length,
    Decoder.payload_length,
    Decoder.header,
    Decoder.skip,
    Decoder.decode_int,
    Decoder.unmarshal,
    lambda decoder: decoder.unmarshal_int(1),
    lambda decoder: decoder.unmarshal_int64(1),
    lambda decoder: decoder.unmarshal_fixed(1, 2),
    lambda decoder: decoder.unmarshal_string(1),
    lambda decoder: decoder.unmarshal_timeval(1),
    list,
]

#: Bytes that are often nearly right, and any bytes.
nearly = (
    some.lists(
        some.binary(max_size=3)
        | some.builds(
            lambda tag, data: wire.encode_header(tag, len(data)) + data,
            some.integers(0, 3),
            some.binary(max_size=6),
        )
        | some.builds(
            lambda number: (
                wire.encode_header(1, len(wire.encode_number(number))) + wire.encode_number(number)
            ),
            int64s,
        ),
        max_size=4,
    ).map(b"".join)
    | some.binary()
)


@given(nearly)
def test_any_bytes_are_a_value_or_an_error(data: bytes) -> None:
    """An error tells where, and takes nothing."""
    for method in METHODS:
        decoder = Decoder(b"\x01\x01x" + data)
        decoder.skip()
        position = -1
        try:
            method(decoder)
        except TagError as error:
            position = error.position
            if method is not list:
                assert bytes(decoder._buffer) == data
                assert decoder.position == 3
        assert position == -1 or 3 <= position <= 3 + len(data)


def by_c(data: bytes) -> Iterator[Optional[tuple[Any, int]]]:
    """Generate what C reads by each of METHODS but the last, with the bytes left; None where it fails."""
    number, large = ffi.new("ev_uint32_t *"), ffi.new("ev_uint64_t *")
    text, when = ffi.new("char **"), ffi.new("struct timeval *")

    def result(value: Any, buffer: CBuffer, bad: bool) -> Optional[tuple[Any, int]]:
        return None if bad else (value(), lib.evbuffer_get_length(buffer.c))

    buffer = CBuffer(data)
    bad = lib.evtag_peek(buffer.c, number) == -1
    yield (None, 0) if not data else result(lambda: number[0], buffer, bad)
    bad = lib.evtag_peek_length(buffer.c, number) == -1
    yield result(lambda: number[0], buffer, bad)
    bad = lib.evtag_payload_length(buffer.c, number) == -1
    yield result(lambda: number[0], buffer, bad)
    length = lib.evtag_unmarshal_header(buffer.c, number)
    yield result(lambda: (number[0], length), buffer, length < 0)
    buffer = CBuffer(data)
    bad = lib.evtag_consume(buffer.c) == -1
    yield result(lambda: None, buffer, bad)
    yield None
    buffer, into = CBuffer(data), CBuffer()
    bad = lib.evtag_unmarshal(buffer.c, number, into.c) == -1
    yield result(lambda: (number[0], bytes(into)), buffer, bad)
    buffer = CBuffer(data)
    bad = lib.evtag_unmarshal_int(buffer.c, 1, number) == -1
    yield result(lambda: number[0], buffer, bad)
    buffer = CBuffer(data)
    bad = lib.evtag_unmarshal_int64(buffer.c, 1, large) == -1
    yield result(lambda: large[0], buffer, bad)
    buffer, fixed = CBuffer(data), ffi.new("char[2]")
    bad = lib.evtag_unmarshal_fixed(buffer.c, 1, fixed, 2) == -1
    yield result(lambda: bytes(ffi.buffer(fixed)), buffer, bad)
    buffer = CBuffer(data)
    bad = lib.evtag_unmarshal_string(buffer.c, 1, text) == -1
    yield result(lambda: ffi.string(text[0]).decode("utf-8", "surrogateescape"), buffer, bad)
    if not bad:
        lib.lev_free(text[0])
    buffer = CBuffer(data)
    bad = lib.evtag_unmarshal_timeval(buffer.c, 1, when) == -1
    yield result(lambda: when.tv_sec + when.tv_usec / 1e6, buffer, bad)


@given(nearly)
def test_python_reads_what_c_reads(data: bytes) -> None:
    """And fails where C fails: but for text with a NUL, which C cuts."""
    for method, theirs in zip(METHODS, by_c(data)):
        if method is Decoder.decode_int:
            continue  # libevent has the function in no header
        decoder = Decoder(data)
        failure = ""
        ours = None
        try:
            ours = (method(decoder), len(decoder._buffer))
        except TagError as error:
            failure = str(error)
        assert ours == theirs or "holds a NUL" in failure
