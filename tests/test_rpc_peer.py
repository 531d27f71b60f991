"""
Messages between Python and C, byte for byte, with every kind of field.

fixtures/rpc has peer.rpc, peer.c, and peer.txt, which is what peer.c wrote; peer.c tells how to make it.
Where RPC_PEER names that program, it is asked too: whether it reads what Python writes, and takes and refuses
what Python does.
"""

from __future__ import annotations

import os
import random
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from libevent_cffi import errors, rpc

FOLDER = Path(__file__).resolve().parent / "fixtures" / "rpc"
WRITTEN_BY_C = {
    name: bytes.fromhex(text)
    for name, text in (line.split() for line in (FOLDER / "peer.txt").read_text("ascii").splitlines())
}
PEER = os.environ.get("RPC_PEER", "")
needs_peer = pytest.mark.skipif(not PEER, reason="RPC_PEER does not name the program of fixtures/rpc/peer.c")

schema = rpc.load(FOLDER / "peer.rpc")
inner, everything = schema.inner, schema.everything


def powers(count: int) -> list[int]:
    return [1 << i for i in range(count)]


SAMPLES: dict[str, Any] = {
    "least": everything(text="", number=0, large=0, key=bytes(6), blob=b"", one=inner(name="")),
    "full": everything(
        text="hello",
        number=7,
        large=0x1234567890,
        key=b"abcdef",
        blob=b"\0\1\2",
        one=inner(name="one", counts=powers(3)),
        maybe_text="gr\u00fc\u00df",
        maybe_number=16,
        maybe_large=255,
        maybe_key=b"xyz",
        maybe_blob=b"blob",
        maybe_one=inner(
            name="outer",
            counts=powers(1),
            next=inner(name="middle", next=inner(name="innermost", counts=powers(2))),
        ),
        texts=["a", "", "ccc"],
        numbers=[0xF << i & 2**32 - 1 for i in range(0, 32, 3)],
        larges=[0x1F << i & 2**64 - 1 for i in range(0, 64, 5)],
        many=[inner(name="first"), inner(name="second", counts=powers(32))],
    ),
    "edges": everything(
        text="x" * 300,
        number=2**32 - 1,
        large=2**64 - 1,
        key=b"\xff\xfe\xfd\xfc\xfb\xfa",
        blob=b"x" * 300,
        one=inner(name="\udcff not UTF-8", counts=powers(32)),
        maybe_text="",
        maybe_number=0,
        maybe_large=0,
        maybe_key=bytes(3),
        maybe_blob=b"",
        maybe_one=inner(name=""),
    ),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_python_writes_what_c_writes(name: str) -> None:
    """The same message has the same bytes."""
    assert bytes(SAMPLES[name]) == WRITTEN_BY_C[name]


@pytest.mark.parametrize("name", SAMPLES)
def test_python_reads_what_c_wrote(name: str) -> None:
    """And the same fields."""
    assert everything.from_bytes(WRITTEN_BY_C[name]) == SAMPLES[name]


def test_every_field_has_a_sample() -> None:
    """No kind of field is left out."""
    full = SAMPLES["full"]
    assert all(getattr(full, name) not in (None, []) for name in everything.__rpc_fields__)


def test_what_c_wrote_is_refused_when_it_is_cut_off_or_spoiled() -> None:
    """Any cut, and any changed byte, gives a message or a TagError that says where."""
    written = WRITTEN_BY_C["full"]
    for size in range(len(written)):
        read_or_refused(written[:size])
        for changed in (0, 0xFF, written[size] ^ 1, written[size] ^ 0x80):
            read_or_refused(written[:size] + bytes([changed]) + written[size + 1 :])


def read_or_refused(data: bytes) -> Any:
    """Return the message, or the error, whose position is in the data."""
    result: Any
    try:
        result = everything.from_bytes(data)
    except errors.TagError as error:
        result = error
    assert 0 <= getattr(result, "position", 0) <= len(data)
    return result


# -- with the program ----------------------------------------------------------------------------------------


def as_text(name: str, value: Any, indent: str = "") -> Iterator[str]:
    """Generate the lines that ``peer print`` writes for a field."""
    if isinstance(value, list):
        for item in value:
            yield from as_text(name, item, indent)
    elif isinstance(value, rpc.Message):
        yield f"{indent}{name}"
        for each in type(value).__rpc_fields__:
            yield from as_text(each, getattr(value, each), indent + "  ")
    elif isinstance(value, int):
        yield f"{indent}{name} {value}"
    elif value is not None:
        data = value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
        yield f"{indent}{name} {data.hex()}"


@needs_peer
@pytest.mark.parametrize("name", SAMPLES)
def test_c_reads_what_python_writes(name: str) -> None:
    """Every field arrives."""
    message = SAMPLES[name]
    done = subprocess.run([PEER, "print"], input=bytes(message), capture_output=True, timeout=20, check=True)
    expected = [line for each in everything.__rpc_fields__ for line in as_text(each, getattr(message, each))]
    assert done.stdout.decode("ascii").splitlines() == expected


@needs_peer
def test_c_and_python_take_and_refuse_the_same() -> None:
    """Spoiled messages are read alike, and marshal to the same bytes again."""
    chance = random.Random(int(os.environ.get("RPC_PEER_SEED", "1")))
    tried = [spoiled(chance) for _ in range(int(os.environ.get("RPC_PEER_COUNT", "2000")))]
    sent = b"".join(struct.pack("=I", len(data)) + data for data in tried)
    answers = subprocess.run([PEER, "judge"], input=sent, capture_output=True, timeout=600, check=True).stdout
    at = taken = 0
    for data in tried:
        ours = read_or_refused(data)
        at += 1
        if answers[at - 1]:
            (size,) = struct.unpack_from("=I", answers, at)
            theirs = answers[at + 4 : at + 4 + size]
            at += 4 + size
            taken += 1
            assert "holds a NUL" in str(ours) or bytes(ours) == theirs, data.hex()
        else:
            assert isinstance(ours, errors.TagError), data.hex()
    assert at == len(answers)
    assert 0 < taken < len(tried)


def spoiled(chance: random.Random) -> bytes:
    """Return a message with some bytes changed, left out, doubled or moved."""
    data = bytearray(WRITTEN_BY_C[chance.choice(list(WRITTEN_BY_C))])
    for _ in range(chance.randrange(4)):
        at = chance.randrange(len(data))
        length = chance.choice([1, 1, 1, 2, 4, 8, 20])
        how = chance.randrange(5)
        if how == 0:
            data[at] = chance.randrange(256)
        elif how == 1:
            data[at] ^= 1 << chance.randrange(8)
        elif how == 2:
            del data[at : at + length]
        elif how == 3:
            data[at:at] = data[at : at + length]
        else:
            part = data[at : at + length]
            del data[at : at + length]
            where = chance.randrange(len(data) + 1)
            data[where:where] = part
        if not data:
            break
    return bytes(data)
