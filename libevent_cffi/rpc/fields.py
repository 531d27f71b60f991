"""
The kinds of field that a message can have, and the specifiers that declare them.

A kind knows three things: which values it takes, and how they become a payload and come back from one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Optional, TypeVar, Union, overload

from .._native import convert
from ..errors import TagError
from ..tag import wire

if TYPE_CHECKING:
    from .message import Message

    _M = TypeVar("_M", bound=Message)

__all__ = ["MOST_LEVELS", "Field", "array", "data", "int32", "int64", "string", "struct"]

_T = TypeVar("_T")

#: How deep messages may stand in each other.  C has no bound, and its stack ends.
MOST_LEVELS = 100


class Kind:
    """What the values of a field are."""

    def convert(self, value: Any, name: str) -> Any:
        """Return *value* as the message keeps it; TypeError or ValueError, with *name*, when it is wrong."""
        raise NotImplementedError

    def encode(self, value: Any, name: str, level: int) -> bytes:
        """Return the payload of a converted value."""
        raise NotImplementedError

    def decode(self, payload: bytes, at: int, end: int, level: int) -> Any:
        """Return the value of the payload between *at* and *end*; TagError when it is none of this kind."""
        raise NotImplementedError


class _String(Kind):
    def convert(self, value: Any, name: str) -> Any:
        convert.c_text(value, name)
        return value

    def encode(self, value: Any, name: str, level: int) -> bytes:
        return convert.c_text(value, name)

    def decode(self, payload: bytes, at: int, end: int, level: int) -> Any:
        return wire.decode_text(payload, at, end)


class _Int(Kind):
    def __init__(self, bits: int) -> None:
        self.bits = bits

    def convert(self, value: Any, name: str) -> Any:
        return convert.c_int(value, name, 0, 2**self.bits - 1)

    def encode(self, value: Any, name: str, level: int) -> bytes:
        return wire.encode_number(self.convert(value, name))

    def decode(self, payload: bytes, at: int, end: int, level: int) -> Any:
        return wire.decode_number(payload, at, end, self.bits)[0]


class _Data(Kind):
    def __init__(self, length: Optional[int]) -> None:
        self.length = length

    def convert(self, value: Any, name: str) -> Any:
        try:
            converted = wire.plain_bytes(value)
        except TypeError:
            raise TypeError(f"{name} must be bytes, not {type(value).__name__}") from None
        if self.length is not None and len(converted) != self.length:
            raise ValueError(f"{name} has {self.length} bytes, not {len(converted)}")
        return converted

    def encode(self, value: Any, name: str, level: int) -> bytes:
        converted: bytes = self.convert(value, name)
        return converted

    def decode(self, payload: bytes, at: int, end: int, level: int) -> Any:
        if self.length is not None:
            return wire.decode_fixed(payload, at, end, self.length)
        return payload[at:end]


class Struct(Kind):
    """A message in a message; *message* is its class, or a function that returns it once it is there."""

    def __init__(self, message: Any) -> None:
        self._given = message

    @property
    def message(self) -> type[Message]:
        """The class of the messages."""
        cls: Any = self._given if inspect.isclass(self._given) else self._given()
        if not hasattr(cls, "__rpc_tags__"):
            raise TypeError(f"a struct needs a subclass of Message, not {cls!r}")
        self._given = cls
        return cls  # type: ignore[no-any-return]

    def convert(self, value: Any, name: str) -> Any:
        if not isinstance(value, self.message):
            raise TypeError(f"{name} must be {self.message.__name__}, not {type(value).__name__}")
        return value

    def encode(self, value: Any, name: str, level: int) -> bytes:
        if level >= MOST_LEVELS:
            raise ValueError(f"{name}: messages stand in each other over {MOST_LEVELS} levels deep")
        payload: bytes = self.convert(value, name)._encode(level + 1)
        return payload

    def decode(self, payload: bytes, at: int, end: int, level: int) -> Any:
        if level >= MOST_LEVELS:
            raise TagError(f"messages stand in each other over {MOST_LEVELS} levels deep", position=at)
        return self.message._decode(payload, at, end, level + 1)


class Field:
    """One field of a message: what a specifier really returns."""

    def __init__(self, tag: int, kind: Kind, options: dict[str, Any]) -> None:
        if options and options != {"default": None}:
            raise TypeError(f"a field takes default=None, which makes it optional, and not {options!r}")
        self.tag = wire.check_tag(tag)
        self.kind = kind
        self.optional = bool(options)
        self.array = False
        self.name = self.label = ""
        self.encoded_tag = wire.encode_tag(tag)

    def named(self, owner: str, name: str) -> Field:
        """Return it as the field *name* of the class *owner*."""
        named = Field(self.tag, self.kind, {})
        named.optional, named.array = self.optional, self.array
        named.name, named.label = name, f"{owner}.{name}"
        return named

    @property
    def required(self) -> bool:
        """Whether a message without it cannot be sent."""
        return not (self.optional or self.array)

    @property
    def default(self) -> Any:
        """What a field that is not required has at first."""
        return [] if self.array else None

    def convert(self, value: Any) -> Any:
        """Return *value* as the message keeps it."""
        if self.array:
            if isinstance(value, (str, bytes, bytearray)):
                raise TypeError(f"{self.label} must be a list, not {type(value).__name__}")
            return [self.kind.convert(item, f"{self.label}[{i}]") for i, item in enumerate(value)]
        if value is None and self.optional:
            return None
        return self.kind.convert(value, self.label)

    def encode(self, value: Any, level: int) -> bytes:
        """Return the items of a value."""
        if not self.array:
            return self._item(self.kind.encode(value, self.label, level))
        items = enumerate(value)
        return b"".join(
            [self._item(self.kind.encode(item, f"{self.label}[{i}]", level)) for i, item in items]
        )

    def _item(self, payload: bytes) -> bytes:
        if len(payload) > wire.MOST_BYTES:
            raise ValueError(
                f"{self.label} has {len(payload)} bytes, more than a field holds, {wire.MOST_BYTES}"
            )
        return self.encoded_tag + wire.encode_number(len(payload)) + payload


# -- specifiers ----------------------------------------------------------------------------------------------


@overload
def string(tag: int) -> str: ...
@overload
def string(tag: int, *, default: None) -> Optional[str]: ...
def string(tag: int, **options: Any) -> Any:
    """
    Declare text: UTF-8 with surrogateescape, and no NUL.

    *tag* is the field's number, 0 to 2**32 - 1, which no other field of the message has.  With default=None
    the field is optional.
    """
    return Field(tag, _String(), options)


@overload
def int32(tag: int) -> int: ...
@overload
def int32(tag: int, *, default: None) -> Optional[int]: ...
def int32(tag: int, **options: Any) -> Any:
    """Declare a number from 0 to 2**32 - 1, "int" in a .rpc file; the arguments are those of string()."""
    return Field(tag, _Int(32), options)


@overload
def int64(tag: int) -> int: ...
@overload
def int64(tag: int, *, default: None) -> Optional[int]: ...
def int64(tag: int, **options: Any) -> Any:
    """Declare a number from 0 to 2**64 - 1; the arguments are those of string()."""
    return Field(tag, _Int(64), options)


@overload
def data(tag: int, *, length: Optional[int] = None) -> bytes: ...
@overload
def data(tag: int, *, length: Optional[int] = None, default: None) -> Optional[bytes]: ...
def data(tag: int, *, length: Optional[int] = None, **options: Any) -> Any:
    """
    Declare bytes, "bytes" in a .rpc file: exactly *length* of them, or any number.

    The other arguments are those of string().
    """
    if length is not None:
        length = convert.c_int(length, "length", 1)
    return Field(tag, _Data(length), options)


@overload
def struct(tag: int, message: Union[type[_M], Callable[[], type[_M]]]) -> _M: ...
@overload
def struct(tag: int, message: Union[type[_M], Callable[[], type[_M]]], *, default: None) -> Optional[_M]: ...
def struct(tag: int, message: Any, **options: Any) -> Any:
    """
    Declare a message in the message.

    *message* is its class.  A class that comes later in the module, or this one itself, is given as
    ``lambda: Name``.  The other arguments are those of string().
    """
    if not callable(message):
        raise TypeError(
            f"message must be a subclass of Message, or a function that returns one, not {message!r}"
        )
    return Field(tag, Struct(message), options)


def array(item: _T, *, default_factory: type[list[_T]] = list) -> list[_T]:
    """
    Declare any number of values of one kind, such as ``array(string(4), default_factory=list)``.

    *item* is another specifier.  *default_factory* is list, and says to type checkers what is so anyway: the
    field need not be given, and is empty then.
    """
    field: Any = item
    if not isinstance(field, Field) or field.array or field.optional:
        raise TypeError(
            "array() takes a field that is neither an array nor optional, such as rpc.string(TAG)"
        )
    if default_factory is not list:
        raise TypeError("default_factory is list or left out")
    declared: Any = Field(field.tag, field.kind, {})
    declared.array = True
    return declared  # type: ignore[no-any-return]
