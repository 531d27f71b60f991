"""
Messages between Python and C, byte for byte, with every kind of field.

fixtures/rpc has peer.rpc, peer.c, and peer.txt, which is what peer.c wrote; peer.c tells how to make it.
Where RPC_PEER names that program, it is asked too: whether it reads what Python writes, takes and refuses
what Python does, and is called and calls over libevent's own evrpc.
"""

from __future__ import annotations

import os
import random
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from libevent_cffi import EventBase, errors, http, rpc
from libevent_cffi.flags import HookResult, HookType, RPCStatus

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


def all_text(message: rpc.Message) -> list[str]:
    """Return the lines that ``peer print`` writes for a message."""
    return [line for name in everything.__rpc_fields__ for line in as_text(name, getattr(message, name))]


@needs_peer
@pytest.mark.parametrize("name", SAMPLES)
def test_c_reads_what_python_writes(name: str) -> None:
    """Every field arrives."""
    message = SAMPLES[name]
    done = subprocess.run([PEER, "print"], input=bytes(message), capture_output=True, timeout=20, check=True)
    assert done.stdout.decode("ascii").splitlines() == all_text(message)


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


# -- calls over evrpc ----------------------------------------------------------------------------------------

DEADLINE = 20.0


@contextmanager
def served_by_c(base: EventBase) -> Iterator[rpc.Pool]:
    """Have the program serve, and a pool of two connections to it."""
    command = [PEER, "serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as peer:
        assert peer.stdout is not None
        address = ("127.0.0.1", int(peer.stdout.readline()))
        with rpc.Pool(base, *(http.Connection(base, address) for _ in range(2)), timeout=DEADLINE) as pool:
            yield pool
        peer.communicate(timeout=DEADLINE)
    assert peer.returncode == 0


@needs_peer
@pytest.mark.parametrize("hooks", [False, True])
def test_python_calls_c(base: EventBase, hooks: bool) -> None:
    """With every kind of field, many calls at once, and hooks that pause both ways."""

    def pause(context: rpc.HookContext) -> HookResult:
        base.call_soon(context.resume)
        return HookResult.PAUSE

    with served_by_c(base) as pool:
        for type in HookType if hooks else ():
            pool.add_hook(type, pause)
        calls = [(pool.call("Echo", sample, everything), sample) for sample in [*SAMPLES.values()] * 5]
        for call, sample in calls:
            assert call.wait(DEADLINE) == sample


@needs_peer
def test_c_fails_the_calls_of_python(plain_base: EventBase) -> None:
    """What it cannot read, and a reply that lacks fields, have 503; a name that it has not has 404."""
    with served_by_c(plain_base) as pool:
        for name, message, status in [
            ("Echo", schema.empty(), 503),
            ("Partly", SAMPLES["least"], 503),
            ("Missing", SAMPLES["least"], 404),
        ]:
            call = pool.call(name, message, everything)
            with pytest.raises(errors.RPCError) as caught:
                call.wait(DEADLINE)
            assert (call.status, caught.value.http_status) == (RPCStatus.BADPAYLOAD, status)
        assert pool.call("Echo", SAMPLES["least"], everything).wait(DEADLINE) == SAMPLES["least"]


def call_by_c(base: EventBase, port: int, name: str, *samples: str) -> list[str]:
    """Have the program call, and return what it writes."""
    command = [PEER, "call", str(port), name, *samples]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as peer:
        assert peer.stdout is not None
        with peer.stdout as output:
            lines: list[str] = []

            def read() -> None:
                text = os.read(output.fileno(), 65536).decode("ascii")
                lines.append(text)
                if not text:
                    base.loop_exit()

            watch = base.on_readable(output, read)
            limit = base.call_later(DEADLINE, peer.kill)
            base.dispatch()
            watch.close()
            limit.close()
            assert peer.wait(DEADLINE) == 0
    return "".join(lines).splitlines()


@needs_peer
@pytest.mark.parametrize("how", ["at once", "later", "after hooks"])
def test_c_calls_python(base: EventBase, how: str) -> None:
    """With every kind of field, answered in the handler, later, or after hooks that paused."""
    seen: list[Any] = []

    def pause(context: rpc.HookContext) -> HookResult:
        base.call_soon(context.resume)
        return HookResult.PAUSE

    def answer(call: rpc.Call[Any, Any]) -> None:
        seen.append(call.request)
        if how == "later":
            call.defer()
            base.call_later(0.001, call.reply, call.request)
        else:
            call.reply(call.request)

    with http.Server(base) as web:
        port = web.bind(("127.0.0.1", 0)).port
        server = rpc.Server(web)
        server.register("Echo", everything, everything, answer)
        for type in HookType if how == "after hooks" else ():
            server.add_hook(type, pause)
        lines = call_by_c(base, port, "Echo", *SAMPLES)
    expected = [line for sample in SAMPLES.values() for line in ("status 0", *all_text(sample))]
    assert lines == expected
    assert len(seen) == len(SAMPLES)
    assert all(sample in seen for sample in SAMPLES.values())


@needs_peer
def test_python_fails_the_calls_of_c(plain_base: EventBase) -> None:
    """evrpc takes 503 for a reply that cannot be read, as it does in C, and so the 404 of a missing name."""
    with http.Server(plain_base) as web:
        port = web.bind(("127.0.0.1", 0)).port
        rpc.Server(web).register("Echo", everything, everything, lambda call: call.fail())
        for name in ("Echo", "Partly"):
            lines = call_by_c(plain_base, port, name, "least", "full")
            assert lines == [f"status {RPCStatus.BADPAYLOAD.value}"] * 2
