"""Flags and numbers: canonical objects, quick operators, the same text on every Python."""

from __future__ import annotations

import copy
import operator
import pickle

import pytest

from libevent_cffi import flags
from libevent_cffi._native import lib
from libevent_cffi.flags import (
    BUFFER_EVENT_FLAGS,
    CLOSED,
    EOL,
    ET,
    EVENT_FLAGS,
    PERSIST,
    READ,
    WRITE,
    BaseFlag,
    BufferEventFlag,
    DNSOption,
    EventFlag,
    LoopFlag,
    URIFlag,
    check_flags,
)

FLAG_TYPES = [
    value for name, value in vars(flags).items() if name in flags.__all__ and isinstance(value, type)
]


def test_values_are_those_of_the_compiled_constants() -> None:
    """A member's number is what C calls it."""
    assert [READ, WRITE, PERSIST, ET, CLOSED] == [
        lib.EV_READ,
        lib.EV_WRITE,
        lib.EV_PERSIST,
        lib.EV_ET,
        lib.EV_CLOSED,
    ]
    assert lib.BEV_EVENT_CONNECTED == BufferEventFlag.CONNECTED
    assert lib.EVBUFFER_EOL_NUL == EOL.NUL


def test_event_flag_table_covers_every_byte() -> None:
    """EVENT_FLAGS gives the flag of each number that C may put into the byte."""
    assert list(range(256)) == [int(flag) for flag in EVENT_FLAGS]
    assert all(type(flag) is EventFlag for flag in EVENT_FLAGS)


def test_buffer_event_table_leaves_nameless_bits_out() -> None:
    """BUFFER_EVENT_FLAGS answers for every byte, without the bits that have no name."""
    known = 0
    for member in BufferEventFlag:
        known |= member
    assert [value & known for value in range(256)] == [int(flag) for flag in BUFFER_EVENT_FLAGS]


@pytest.mark.parametrize(("cls", "table"), [(EventFlag, EVENT_FLAGS), (BufferEventFlag, BUFFER_EVENT_FLAGS)])
def test_operators_give_the_table_s_own_objects(cls: type, table: tuple[EventFlag, ...]) -> None:
    """Whatever way a value is reached, it is one and the same object."""
    members = sorted(set(table))
    for a in members:
        assert cls(int(a)) is a
        assert ~a is table[~int(a) & int(members[-1])]
        for b in members[:: max(1, len(members) // 16)]:
            assert (a & b) is table[int(a) & int(b)]
            assert (a | b) is table[int(a) | int(b)]
            assert (a ^ b) is table[int(a) ^ int(b)]


def test_plain_ints_mix_with_flags() -> None:
    """An int on either side gives a flag."""
    assert (READ | 4) is EVENT_FLAGS[6]
    assert (4 | READ) is EVENT_FLAGS[6]
    assert (EVENT_FLAGS[255] & -3) is EVENT_FLAGS[253]
    assert (2 ^ READ) is EVENT_FLAGS[0]


@pytest.mark.parametrize("cls", [EventFlag, BufferEventFlag, LoopFlag, BaseFlag, URIFlag])
@pytest.mark.parametrize("value", [-1, 1 << 30, 1 << 70])
def test_numbers_out_of_range_are_refused(cls: type, value: int) -> None:
    """No flag has a bit without a name."""
    with pytest.raises(ValueError, match="is not a valid"):
        cls(value)
    with pytest.raises(ValueError, match="is not a valid"):
        next(iter(cls)) | value


@pytest.mark.parametrize("other", ["2", 2.0, None])
def test_operators_refuse_what_is_no_int(other: object) -> None:
    """Flags combine with ints and nothing else."""
    for combine in (operator.and_, operator.or_, operator.xor):
        with pytest.raises(TypeError):
            combine(READ, other)
        with pytest.raises(TypeError):
            combine(other, READ)


def test_texts_are_the_same_on_every_python() -> None:
    """repr() shows kind, names and number; str() and format() the names."""
    assert repr(READ | PERSIST) == "<EventFlag.READ|PERSIST: 18>"
    assert repr(READ) == "<EventFlag.READ: 2>"
    assert repr(READ & WRITE) == "<EventFlag: 0>"
    assert str(READ | PERSIST) == f"{READ | PERSIST}" == "READ|PERSIST"
    assert str(READ & WRITE) == "0"
    assert f"{READ | PERSIST:#x}" == "0x12"
    assert repr(~BaseFlag.NOLOCK & BaseFlag.PRECISE_TIMER) == "<BaseFlag.PRECISE_TIMER: 32>"
    assert (DNSOption.SEARCH | DNSOption.MISC).name == str(DNSOption.SEARCH | DNSOption.MISC) == "SEARCH|MISC"
    assert str(DNSOption.ALL) == "ALL"
    assert (repr(EOL.LF), str(EOL.LF), f"{EOL.LF}", f"{EOL.LF:02}") == ("<EOL.LF: 3>", "LF", "LF", "03")


@pytest.mark.parametrize("cls", FLAG_TYPES)
def test_members_survive_pickling_and_copying(cls: type) -> None:
    """A copy of a member is the member."""
    for member in cls:  # type: ignore[attr-defined]
        assert pickle.loads(pickle.dumps(member)) is member
        assert copy.deepcopy(member) is member
    assert pickle.loads(pickle.dumps(READ | WRITE)) is READ | WRITE


def test_members_hash_as_their_numbers() -> None:
    """A flag finds what was stored under its number."""
    assert {2: "read"}[READ] == "read"
    assert {EOL.LF: "lf"}[3] == "lf"  # type: ignore[index]


def test_truth_and_membership() -> None:
    """No bits is false; `in` asks for all bits of the left side."""
    assert not READ & WRITE
    assert READ | WRITE
    assert READ in (READ | WRITE)
    assert (READ | PERSIST) not in (READ | WRITE)


def test_constants_this_libevent_lacks_are_left_out() -> None:
    """A member exists exactly when its constant does."""
    assert hasattr(BaseFlag, "USE_SIGNALFD") == hasattr(lib, "EVENT_BASE_FLAG_USE_SIGNALFD")
    assert hasattr(URIFlag, "UNIX_SOCKET") == hasattr(lib, "EVHTTP_URI_UNIX_SOCKET")


def test_check_flags_accepts_members_and_ints() -> None:
    """A member passes as it is, an int becomes the member."""
    assert check_flags(EventFlag, READ | WRITE, "events") is READ | WRITE
    assert check_flags(EventFlag, 6, "events") is READ | WRITE
    assert check_flags(EOL, 3, "eol") is EOL.LF


@pytest.mark.parametrize(
    ("cls", "value", "words"),
    [
        (EventFlag, 0x302, "events: unknown bits 0x300; EventFlag has TIMEOUT, READ"),
        (EventFlag, -2, "events: -2 is negative"),
        (LoopFlag, 0x80, "events: unknown bits 0x80; LoopFlag has ONCE"),
        (EOL, 77, "events: 77 is none of ANY, CRLF"),
    ],
)
def test_check_flags_names_what_is_unknown(cls: type[EventFlag], value: int, words: str) -> None:
    """The error says which bits, of which argument, and what there is instead."""
    with pytest.raises(ValueError, match=words.replace("|", r"\|")):
        check_flags(cls, value, "events")


@pytest.mark.parametrize("value", [True, LoopFlag.ONCE, EOL.LF, "2", 2.0, None])
def test_check_flags_refuses_other_types(value: int) -> None:
    """A bool or a member of another type is a mistake, not a number."""
    with pytest.raises(TypeError, match="events must be EventFlag or a plain int"):
        check_flags(EventFlag, value, "events")
