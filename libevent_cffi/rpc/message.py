"""Messages."""

from __future__ import annotations

import reprlib
import sys
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import TagError
from ..tag import wire
from .fields import Field, array, data, int32, int64, string, struct

if TYPE_CHECKING:
    from typing_extensions import Self, dataclass_transform

    from ..types import BytesLike
else:

    def dataclass_transform(**_keywords):
        """Tell type checkers what Message does; at run time it is nothing."""
        return lambda cls: cls


__all__ = ["Message"]


@dataclass_transform(kw_only_default=True, field_specifiers=(string, int32, int64, data, struct, array))
class Message:
    """
    A message is a class, and its fields are declared in it.

        class Entry(rpc.Message):
            key: str = rpc.string(1)
            value: Optional[bytes] = rpc.data(2, default=None)
            labels: list[str] = rpc.array(rpc.string(3), default_factory=list)

        entry = Entry(key="k")
        entry.value = b"v"
        assert Entry.from_bytes(bytes(entry)) == entry

    The constructor takes fields by keyword.  An optional field that is not given is None, an array is empty,
    and a required field is missing until it is assigned: reading it is AttributeError.  ``del`` makes a field
    so again.  Messages of one class with equal fields are equal; they have no hash, since they change.

    A value is checked where it is assigned, TypeError or ValueError, and once more by ``bytes()``, since
    lists and inner messages change by themselves.  Lists are copied when they are assigned, and bytes-like
    objects become bytes.  A name that is no field is AttributeError.

    The bytes are those of the C that libevent's event_rpcgen.py makes from the same fields in the same order.
    """

    __rpc_fields__: ClassVar[dict[str, Field]] = {}
    __rpc_tags__: ClassVar[dict[int, Field]] = {}
    #: The names of fields, by what they are when nothing came for them.
    __rpc_optional__: ClassVar[tuple[str, ...]] = ()
    __rpc_arrays__: ClassVar[tuple[str, ...]] = ()
    __rpc_required__: ClassVar[tuple[str, ...]] = ()
    __hash__: ClassVar[None]  # type: ignore[assignment]

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        declared = {name: each for name, each in vars(cls).items() if isinstance(each, Field)}
        _check_annotations(cls, declared)
        fields = dict(cls.__rpc_fields__)
        for name, field in declared.items():
            fields[name] = field.named(cls.__name__, name)
            delattr(cls, name)
        cls.__rpc_fields__ = fields
        cls.__rpc_tags__ = _by_tag(cls)
        cls.__rpc_optional__ = tuple(name for name, field in fields.items() if field.optional)
        cls.__rpc_arrays__ = tuple(name for name, field in fields.items() if field.array)
        cls.__rpc_required__ = tuple(name for name, field in fields.items() if field.required)

    def __init__(self, /, **values: Any) -> None:
        own = self.__dict__
        for name, field in self.__rpc_fields__.items():
            if name in values:
                own[name] = field.convert(values.pop(name))
            elif not field.required:
                own[name] = field.default
        if values:
            raise TypeError(f"{type(self).__name__} has no field {', '.join(map(repr, values))}")

    if not TYPE_CHECKING:  # a checker that saw these would take any name for a field

        def __getattr__(self, name: str) -> Any:
            if name in self.__rpc_fields__:
                raise AttributeError(f"{type(self).__name__}.{name} is required, and was not set yet")
            raise AttributeError(f"{type(self).__name__} has no field {name!r}")

        def __setattr__(self, name: str, value: Any) -> None:
            field = self.__rpc_fields__.get(name)
            if field is None:
                raise AttributeError(f"{type(self).__name__} has no field {name!r}")
            self.__dict__[name] = field.convert(value)

        def __delattr__(self, name: str) -> None:
            field = self.__rpc_fields__.get(name)
            if field is None:
                raise AttributeError(f"{type(self).__name__} has no field {name!r}")
            if field.required:
                self.__dict__.pop(name, None)
            else:
                self.__dict__[name] = field.default

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.__dict__ == other.__dict__

    @reprlib.recursive_repr("...")
    def __repr__(self) -> str:
        own = self.__dict__
        shown = [f"{name}={own[name]!r}" for name in self.__rpc_fields__ if name in own]
        return f"{type(self).__name__}({', '.join(shown)})"

    def __bytes__(self) -> bytes:
        """
        Return the message as it is sent.

        Raises ValueError while a required field is missing, here or in an inner message, and TypeError or
        ValueError for what has become wrong since it was assigned.
        """
        return self._encode(1)

    @classmethod
    def from_bytes(cls, data: BytesLike) -> Self:
        """
        Return the message that *data* is.

        Raises TagError, with the position, for what the C that event_rpcgen.py makes would refuse: malformed
        data, a tag that is no field, a second value where there is no array, a required field that is
        missing.  It is also raised for two things where C goes wrong: text with a NUL, which C would cut, and
        messages in each other deeper than 100 levels, which could end its stack.
        """
        payload = wire.plain_bytes(data)
        return cls._decode(payload, 0, len(payload), 1)

    def _encode(self, level: int) -> bytes:
        parts = []
        for name, field in self.__rpc_fields__.items():
            value = self.__dict__.get(name)
            if value is not None:
                parts.append(field.encode(value, level))
            elif field.required:
                raise ValueError(f"{field.label} is required, and was not set")
        return b"".join(parts)

    @classmethod
    def _decode(cls, payload: bytes, at: int, end: int, level: int) -> Self:
        message = cls.__new__(cls)
        own = message.__dict__
        for name in cls.__rpc_optional__:
            own[name] = None
        for name in cls.__rpc_arrays__:
            own[name] = []
        begin = at
        while at < end:
            position = at
            tag, at, stop = wire.decode_header(payload, at, end)
            field = cls.__rpc_tags__.get(tag)
            if field is None:
                # tag.h says that unknown tags may be skipped, but the generated C refuses them
                # (event_rpcgen.py:StructCCode.PrintCode, "default: return -1").
                raise TagError(f"{cls.__name__} has no field with tag {tag}", position=position)
            value = field.kind.decode(payload, at, stop, level)
            if field.array:
                own[field.name].append(value)
            elif own.get(field.name) is None:
                own[field.name] = value
            else:
                raise TagError(f"{field.label} comes twice", position=position)
            at = stop
        for name in cls.__rpc_required__:
            if name not in own:
                label = cls.__rpc_fields__[name].label
                raise TagError(f"{label} is required, and does not come", position=begin)
        return message


def _by_tag(cls: type[Message]) -> dict[int, Field]:
    """Return the fields of *cls* by their tags; TypeError when two have the same."""
    tags: dict[int, Field] = {}
    for field in cls.__rpc_fields__.values():
        if field.tag in tags:
            raise TypeError(f"{tags[field.tag].label} and {field.label} both have the tag {field.tag}")
        tags[field.tag] = field
    return tags


def _check_annotations(cls: type, declared: dict[str, Field]) -> None:
    """TypeError where type checkers would see other fields than there are."""
    annotations = _annotations(cls)
    for name in declared:
        if name not in annotations:
            raise TypeError(f"{cls.__name__}.{name} is a field and needs an annotation")
        if name.startswith("__") or hasattr(Message, name):
            raise TypeError(f"{cls.__name__}.{name}: a field cannot have this name")
    for name, annotation in annotations.items():
        if name not in declared and "ClassVar" not in str(annotation):
            raise TypeError(f"{cls.__name__}.{name} has no specifier: give it one, such as rpc.string(TAG)")


def _annotations(cls: type) -> dict[str, Any]:
    if sys.version_info >= (3, 14):
        import annotationlib  # annotations may name classes that are not there yet

        return annotationlib.get_annotations(cls, format=annotationlib.Format.FORWARDREF)
    found: dict[str, Any] = vars(cls).get("__annotations__", {})
    return found
