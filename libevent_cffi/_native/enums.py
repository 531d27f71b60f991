"""
What the flag and number types of flags.py have in common: how they print, what they refuse, and quick
operators.
"""

from __future__ import annotations

from enum import Enum, IntEnum, IntFlag
from typing import Any, TypeVar

__all__ = ["MASKS", "Flags", "Numbers", "check_flags", "quick"]

_F = TypeVar("_F", bound="Flags")
_I = TypeVar("_I", "Flags", "Numbers")


class Flags(IntFlag):
    """What all flag types share: how they print, and that an unknown bit is a ValueError."""

    @classmethod
    def _missing_(cls, value: object) -> Any:
        """Make the member for several bits or none: enum's way is slower, and nameless before 3.11."""
        if not isinstance(value, int) or value & ~MASKS[cls]:
            raise ValueError(f"{value!r} is not a valid {cls.__name__}")
        member = int.__new__(cls, value)
        member._value_ = int(value)
        member._name_ = "|".join([name for name, bit in _BITS[cls] if value & bit]) or None
        return cls._value2member_map_.setdefault(member._value_, member)

    def __str__(self) -> str:
        return self._name_ or "0"

    def __repr__(self) -> str:
        name = f".{self._name_}" if self._name_ else ""
        return f"<{type(self).__name__}{name}: {self._value_}>"

    def __format__(self, spec: str) -> str:
        return int.__format__(self, spec) if spec else str(self)

    # int's own, in C: enum's are Python functions.
    __bool__ = int.__bool__
    __hash__ = int.__hash__


class Numbers(IntEnum):
    """What all number types share: how they print."""

    def __str__(self) -> str:
        return self.name

    def __format__(self, spec: str) -> str:
        return int.__format__(self, spec) if spec else str(self)

    __hash__ = int.__hash__


#: All bits of each type that quick() has seen.
MASKS: dict[type[Flags], int] = {}
_BITS: dict[type[Flags], list[tuple[str, int]]] = {}


def quick(cls: type[_F]) -> type[_F]:
    """
    Give *cls* operators that look their result up among the members that exist already.

    enum itself keeps one object per value in the same map, so what is made once is found from then on.  This
    is a decorator because enum puts its own operators into every new class.
    """
    numbers = [(name, int(member)) for name, member in cls.__members__.items()]
    bits = [(name, bit) for name, bit in numbers if not bit & (bit - 1)]
    _BITS[cls] = sorted(bits, key=lambda pair: pair[1])
    mask = MASKS[cls] = sum(bit for _, bit in bits)
    members: dict[object, _F] = cls._value2member_map_  # type: ignore[assignment]
    and_of, or_of, xor_of = int.__and__, int.__or__, int.__xor__

    def and_(self: _F, other: int) -> _F:
        try:
            return members[and_of(self, other)]
        except KeyError:
            return _new_member(cls, and_of(self, other))

    def or_(self: _F, other: int) -> _F:
        try:
            return members[or_of(self, other)]
        except KeyError:
            return _new_member(cls, or_of(self, other))

    def xor(self: _F, other: int) -> _F:
        try:
            return members[xor_of(self, other)]
        except KeyError:
            return _new_member(cls, xor_of(self, other))

    def invert(self: _F) -> _F:
        try:
            return members[mask ^ self._value_]
        except KeyError:
            return cls(mask ^ self._value_)

    for name, operator in {"and": and_, "or": or_, "xor": xor}.items():
        setattr(cls, f"__{name}__", operator)
        setattr(cls, f"__r{name}__", operator)
    cls.__invert__ = invert  # type: ignore[method-assign, assignment]
    return cls


def _new_member(cls: type[_F], value: int) -> _F:
    # int's operators answer NotImplemented for what is no int, and so must ours.
    return value if value is NotImplemented else cls(value)


def check_flags(cls: type[_I], value: int, name: str) -> _I:
    """
    Return *value* as a member of *cls*.

    *name* is what the argument is called.  ValueError lists the bits or the value that *cls* does not know;
    TypeError for a bool, a member of another enum, or what is no int.
    """
    if type(value) is cls:
        return value
    if not isinstance(value, int) or isinstance(value, (bool, Enum)):
        raise TypeError(f"{name} must be {cls.__name__} or a plain int, not {value!r}")
    try:
        return cls(value)
    except ValueError:
        raise ValueError(f"{name}: {_complaint(cls, value)}") from None


def _complaint(cls: type[Flags] | type[Numbers], value: int) -> str:
    known = ", ".join(cls.__members__)
    if not issubclass(cls, Flags):
        return f"{value} is none of {known}"
    if value < 0:
        return f"{value} is negative"
    return f"unknown bits {value & ~MASKS[cls]:#x}; {cls.__name__} has {known}"
