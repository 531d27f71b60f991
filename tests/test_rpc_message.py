"""Messages: classes whose objects marshal themselves."""

from __future__ import annotations

import copy
import pickle
from typing import Any, ClassVar, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as some

from libevent_cffi import rpc
from libevent_cffi.errors import TagError
from libevent_cffi.tag import wire


class Label(rpc.Message):
    text: str = rpc.string(1)


class Entry(rpc.Message):
    SIZE: ClassVar[int] = 4

    name: str = rpc.string(1)
    number: int = rpc.int32(2)
    large: Optional[int] = rpc.int64(3, default=None)
    data: Optional[bytes] = rpc.data(4, default=None)
    key: Optional[bytes] = rpc.data(5, length=SIZE, default=None)
    label: Optional[Label] = rpc.struct(6, Label, default=None)
    below: Optional[Entry] = rpc.struct(7, lambda: Entry, default=None)
    names: list[str] = rpc.array(rpc.string(8), default_factory=list)
    numbers: list[int] = rpc.array(rpc.int32(200), default_factory=list)
    labels: list[Label] = rpc.array(rpc.struct(2**32 - 1, Label), default_factory=list)

    def double(self) -> int:
        return 2 * self.number


ENTRY = Entry(name="n", number=5)

texts = some.text(
    some.characters(blacklist_characters="\0", blacklist_categories=["Cs"])
) | some.binary().map(lambda data: data.replace(b"\0", b"").decode("utf-8", "surrogateescape"))
int32s = some.integers(0, 2**32 - 1)
labels = some.builds(Label, text=texts)
entries: Any = some.deferred(
    lambda: some.builds(
        Entry,
        name=texts,
        number=int32s,
        large=some.none() | some.integers(0, 2**64 - 1),
        data=some.none() | some.binary(),
        key=some.none() | some.binary(min_size=4, max_size=4),
        label=some.none() | labels,
        below=some.none() | entries,
        names=some.lists(texts, max_size=3),
        numbers=some.lists(int32s, max_size=3),
        labels=some.lists(labels, max_size=3),
    )
)


# -- as a dataclass ------------------------------------------------------------------------------------------


def test_fields_come_by_keyword_and_have_defaults() -> None:
    """What is optional is None, an array is empty."""
    assert (ENTRY.name, ENTRY.number, ENTRY.large, ENTRY.label) == ("n", 5, None, None)
    assert ENTRY.names == []
    assert Entry(name="n", number=5).names is not ENTRY.names
    assert ENTRY.double() == 10
    with pytest.raises(TypeError, match="Entry has no field 'nmae'"):
        Entry(nmae="n")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="positional"):
        Entry("n")  # type: ignore[call-arg]


def test_equality_and_repr() -> None:
    """Messages of one class with the same fields are equal, and show them."""
    assert Entry(name="n", number=5) == ENTRY
    assert Entry(name="n", number=6) != ENTRY
    assert Label(text="n") != ENTRY
    assert repr(Label(text="x")) == "Label(text='x')"
    assert repr(Label()) == "Label()"  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unhashable"):
        hash(ENTRY)


def test_a_message_that_contains_itself_has_a_repr_and_no_bytes() -> None:
    """A cycle is shown as "...", and cannot be sent."""
    entry = copy.copy(ENTRY)
    entry.below = entry
    assert "below=..." in repr(entry)
    with pytest.raises(ValueError, match="over 100 levels deep"):
        bytes(entry)


def test_copies_and_pickles_are_equal() -> None:
    """And their own."""
    entry = Entry(name="n", number=5, label=Label(text="x"), numbers=[1])
    for other in (copy.deepcopy(entry), pickle.loads(pickle.dumps(entry))):
        assert other == entry
        other.numbers.append(2)
        assert entry.numbers == [1]


def test_a_required_field_is_missing_until_it_is_set() -> None:
    """Reading it is AttributeError, sending the message ValueError, and del makes it so again."""
    entry = Entry(name="n")  # type: ignore[call-arg]
    with pytest.raises(AttributeError, match=r"Entry\.number is required, and was not set yet"):
        _ = entry.number
    with pytest.raises(ValueError, match=r"Entry\.number is required, and was not set"):
        bytes(entry)
    entry.number = 5
    assert bytes(entry) == bytes(ENTRY)
    del entry.number
    assert not hasattr(entry, "number")


def test_del_gives_other_fields_their_default() -> None:
    """None, or an empty list."""
    entry = Entry(name="n", number=5, large=1, names=["a"])
    del entry.large
    del entry.names
    assert entry == ENTRY


def test_names_that_are_no_fields_are_refused() -> None:
    """A typing error does not get lost."""
    entry: Any = copy.copy(ENTRY)
    for act in (lambda: entry.nmae, lambda: setattr(entry, "nmae", 1), lambda: delattr(entry, "nmae")):
        with pytest.raises(AttributeError, match="Entry has no field 'nmae'"):
            act()


@pytest.mark.parametrize(
    ("name", "value", "error", "text"),
    [
        ("name", b"x", TypeError, r"Entry\.name must be str, not bytes"),
        ("name", "a\0b", ValueError, r"Entry\.name holds a NUL"),
        ("name", None, TypeError, r"Entry\.name must be str, not NoneType"),
        ("number", "1", TypeError, r"Entry\.number must be an int"),
        ("number", True, TypeError, r"Entry\.number must be an int"),
        ("number", -1, ValueError, r"Entry\.number must be between 0 and 4294967295, not -1"),
        ("number", 2**32, ValueError, r"Entry\.number must be between"),
        ("large", 2**64, ValueError, r"Entry\.large must be between"),
        ("data", "x", TypeError, r"Entry\.data must be bytes, not str"),
        ("key", b"abc", ValueError, r"Entry\.key has 4 bytes, not 3"),
        ("label", ENTRY, TypeError, r"Entry\.label must be Label, not Entry"),
        ("names", "ab", TypeError, r"Entry\.names must be a list, not str"),
        ("names", None, TypeError, "not iterable"),
        ("numbers", [1, -1], ValueError, r"Entry\.numbers\[1\] must be between"),
        ("labels", [Label], TypeError, r"Entry\.labels\[0\] must be Label, not type"),
    ],
)
def test_wrong_values_are_refused_where_they_are_assigned(
    name: str, value: Any, error: type[Exception], text: str
) -> None:
    """By the constructor and by assignment, with the name of the field; the message stays as it was."""
    with pytest.raises(error, match=text):
        Entry(**{"name": "n", "number": 5, name: value})
    entry = copy.copy(ENTRY)
    with pytest.raises(error, match=text):
        setattr(entry, name, value)
    assert entry == ENTRY


def test_values_are_kept_as_the_field_has_them() -> None:
    """Lists are copied, and what is like bytes becomes bytes."""
    numbers = (1, 2)
    entry = Entry(name="n", number=5, data=bytearray(b"ab"), numbers=numbers)  # type: ignore[arg-type]
    assert (entry.data, entry.numbers) == (b"ab", [1, 2])
    assert type(entry.data) is bytes


def test_what_became_wrong_later_is_refused_when_it_is_sent() -> None:
    """Lists and inner messages change by themselves."""
    entry = Entry(name="n", number=5, numbers=[1], labels=[Label(text="x")])
    entry.numbers.append(-1)
    with pytest.raises(ValueError, match=r"Entry\.numbers\[1\] must be between"):
        bytes(entry)
    entry.numbers.clear()
    del entry.labels[0].text
    with pytest.raises(ValueError, match=r"Label\.text is required"):
        bytes(entry)


def test_a_class_has_the_fields_of_the_one_it_extends() -> None:
    """First, and its own after them."""

    class More(Label):
        more: int = rpc.int32(2)

    assert bytes(More(text="x", more=1)) == bytes(Label(text="x")) + b"\x02\x01\x01"
    assert More.from_bytes(bytes(More(text="x", more=1))) == More(text="x", more=1)
    assert bytes(Label(text="x")) == b"\x01\x01x"


def test_classes_that_type_checkers_would_see_otherwise_are_refused() -> None:
    """A field without annotation, an annotation without field, a tag that is there twice, a taken name."""
    string: Any = rpc.string(1)
    bodies: list[tuple[dict[str, Any], str]] = [
        ({"x": string}, "Odd.x is a field and needs an annotation"),
        ({"__annotations__": {"x": "int"}}, "Odd.x has no specifier"),
        ({"__annotations__": {"x": int}, "x": 5}, "Odd.x has no specifier"),
        (
            {"__annotations__": {"x": str, "y": str}, "x": string, "y": string},
            r"Odd\.x and Odd\.y both have the tag 1",
        ),
        ({"__annotations__": {"from_bytes": str}, "from_bytes": string}, "cannot have this name"),
        ({"__annotations__": {"__x": str}, "__x": string}, "cannot have this name"),
    ]
    for body, text in bodies:
        with pytest.raises(TypeError, match=text):
            type("Odd", (rpc.Message,), body)


def test_wrong_specifiers_are_refused() -> None:
    """Where they are written."""
    wrong: Any = rpc
    for call, error, text in (
        (lambda: rpc.string(-1), ValueError, "tag must be between 0 and 4294967295, not -1"),
        (lambda: rpc.string(2**32), ValueError, "tag must be between"),
        (lambda: wrong.int32("1"), TypeError, "tag must be an int"),
        (lambda: wrong.int32(1, default=0), TypeError, "default=None, which makes it optional"),
        (lambda: rpc.data(1, length=0), ValueError, "length must be between 1"),
        (lambda: wrong.struct(1, "Label"), TypeError, "must be a subclass of Message, or a function"),
        (lambda: rpc.array(rpc.string(1, default=None)), TypeError, "neither an array nor optional"),
        (lambda: rpc.array(rpc.array(rpc.string(1))), TypeError, "neither an array nor optional"),
        (lambda: rpc.array("x"), TypeError, "array.. takes a field"),
        (lambda: wrong.array(rpc.string(1), default_factory=tuple), TypeError, "default_factory is list"),
    ):
        with pytest.raises(error, match=text):
            call()


def test_a_struct_of_what_is_no_message_is_refused_at_its_first_use() -> None:
    """A function may return anything."""

    class Odd(rpc.Message):
        x: Any = rpc.struct(1, lambda: int)  # type: ignore[type-var]

    with pytest.raises(TypeError, match="a struct needs a subclass of Message, not <class 'int'>"):
        Odd(x=1)


# -- as bytes ------------------------------------------------------------------------------------------------


@given(entries)
def test_any_message_comes_back(entry: Entry) -> None:
    """What bytes() writes, from_bytes() reads."""
    assert Entry.from_bytes(bytes(entry)) == entry


@given(some.binary(max_size=200))
def test_any_bytes_are_a_message_or_an_error(data: bytes) -> None:
    """The error tells a position, and a message can be sent again."""
    read_or_refused(data)


def read_or_refused(data: bytes) -> None:
    position = 0
    try:
        entry = Entry.from_bytes(data)
        assert Entry.from_bytes(bytes(entry)) == entry
    except TagError as error:
        position = error.position
    assert 0 <= position <= len(data)


@given(entries, some.data())
def test_a_spoiled_message_is_a_message_or_an_error(entry: Entry, draw: some.DataObject) -> None:
    """One byte is another, or the rest is missing."""
    data = bytearray(bytes(entry))
    at = draw.draw(some.integers(0, len(data) - 1))
    if draw.draw(some.booleans()):
        data[at] = draw.draw(some.integers(0, 255))
    else:
        del data[at:]
    read_or_refused(bytes(data))


NAME, NUMBER = b"\x01\x01n", b"\x02\x01\x05"


@pytest.mark.parametrize(
    ("data", "position", "text"),
    [
        (b"", 0, "Entry.name is required, and does not come"),
        (NAME, 0, "Entry.number is required"),
        (NAME + NUMBER + b"\x09\x00", 6, "Entry has no field with tag 9"),
        (NAME + NUMBER + NAME, 6, "Entry.name comes twice"),
        (NAME + NUMBER + b"\x08\x02a\0", 9, "holds a NUL"),
        (NAME + NUMBER + b"\x03", 7, "ends before a number"),
        (NAME + NUMBER + b"\x03\x10", 7, "ends inside a number"),
        (NAME + NUMBER + b"\x03\x04ab", 7, "has 4 bytes, and the data ends after 2"),
        (NAME + NUMBER + b"\x83", 6, "ends inside a tag"),
        (NAME + NUMBER + b"\x83\x80\x80\x80\x80\x00", 6, "more than 32 bits"),
        (NAME + NUMBER + b"\x83\x80\x80\x80\x10\x00", 6, "more than 32 bits"),
        (NAME + b"\x02\x06\x80\x00\x00\x00\x01\x01", 5, "has 36 bits and may have 32"),
        (NAME + b"\x02\x00", 5, "ends before a number"),
        (NAME + NUMBER + b"\x05\x03abc", 8, "4 bytes were expected, and the payload has 3"),
        (NAME + NUMBER + b"\x06\x00", 8, "Label.text is required"),
        (NAME + NUMBER + b"\x06\x03\x01\x02x", 9, "has 2 bytes, and the data ends after 1"),
        (NAME + NUMBER + b"\x02\x90\x00\x00\x00\x00\x00", 7, "has 40 bits and may have 32"),
    ],
)
def test_errors_tell_what_is_wrong_and_where(data: bytes, position: int, text: str) -> None:
    """The position counts in the whole message, in inner messages too."""
    with pytest.raises(TagError, match=text) as caught:
        Entry.from_bytes(data)
    assert caught.value.position == position
    assert str(caught.value).endswith(f"(at byte {position})")


def test_unusual_data_that_c_takes_is_taken() -> None:
    """Fields in another order, long forms of numbers and tags, and bytes behind a number."""
    assert Entry.from_bytes(NUMBER + NAME) == ENTRY
    assert Entry.from_bytes(b"\x81\x00\x11\x00n" + NUMBER) == ENTRY
    assert Entry.from_bytes(NAME + b"\x02\x03\x05xx") == ENTRY
    assert Entry.from_bytes(NAME + b"\x02\x02\x15\x0f") == ENTRY


def test_messages_stand_in_each_other_a_hundred_levels_deep_and_no_more() -> None:
    """Neither way, and no depth of data ends Python's stack."""
    entry = ENTRY
    for _ in range(99):
        entry = Entry(name="n", number=5, below=entry)
    data = bytes(entry)
    assert Entry.from_bytes(data) == entry
    with pytest.raises(ValueError, match="over 100 levels deep"):
        bytes(Entry(name="n", number=5, below=entry))
    for _ in range(5000):
        data = NAME + NUMBER + wire.encode_header(7, len(data)) + data
    with pytest.raises(TagError, match="over 100 levels deep"):
        Entry.from_bytes(data)


def test_from_bytes_takes_whatever_has_bytes() -> None:
    """And nothing else."""
    data = bytes(ENTRY)
    for same in (bytearray(data), memoryview(data), memoryview(data + b"x")[:-1]):
        assert Entry.from_bytes(same) == ENTRY
    with pytest.raises(TypeError):
        Entry.from_bytes("text")  # type: ignore[arg-type]
