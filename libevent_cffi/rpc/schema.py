"""Classes from .rpc files."""

from __future__ import annotations

import keyword
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from . import fields
from .message import Message
from .syntax import FieldSyntax, StructSyntax, parse

if TYPE_CHECKING:
    from ..types import StrPath

__all__ = ["KINDS", "Schema", "field_names", "load", "loads", "read", "struct_names"]

#: What the types of the language are in Python: a specifier, and the type of the values.
KINDS: dict[str, tuple[Any, type[Any]]] = {
    "string": (fields.string, str),
    "int": (fields.int32, int),
    "int64": (fields.int64, int),
    "bytes": (fields.data, bytes),
    "struct": (fields.struct, Message),
}

#: What the names of the headers end with that event_rpcgen.py makes of .rpc files.
_GENERATED = re.compile(r"(\.gen)?\.h$")

#: What a module that "rpcgen" writes needs for itself.
_USED = {"Optional", "annotations", "list", "rpc", *(plain.__name__ for _, plain in KINDS.values())}


class Schema:
    """
    The message classes of a .rpc file, by name: ``schema.entry`` or ``schema["entry"]``.

    Structs and fields keep their names, but for those that Python needs: from is from_, and list is list_.
    """

    def __init__(self, classes: dict[str, type[Message]]) -> None:
        self.__dict__.update(classes)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"there is no struct {name!r}: there are {', '.join(self.__dict__) or 'none'}")

    def __getitem__(self, name: str) -> type[Message]:
        found: type[Message] = self.__dict__[name]
        return found

    def __dir__(self) -> list[str]:
        return sorted(self.__dict__)

    def __repr__(self) -> str:
        return f"<Schema {', '.join(self.__dict__) or 'empty'}>"


def load(path: StrPath) -> Schema:
    """
    Read a .rpc file, and return the classes of its messages.

    Where it includes "other.gen.h", and other.rpc stands at that place, the structs of that file are there
    too.  What else there is for the compiler of C is passed over.

    Raises RPCSyntaxError with file, line and column; OSError when a file cannot be read.
    """
    return Schema(_classes(read(path)))


def loads(text: str, *, filename: str = "<string>") -> Schema:
    """
    Read .rpc text, and return the classes of its messages; includes are passed over.

    *filename* is what errors call it.  Raises RPCSyntaxError with file, line and column.
    """
    if not isinstance(text, str):
        raise TypeError(f"text must be str, not {type(text).__name__}: load() reads a file")
    structs = parse(text, filename).structs
    _check_references(structs)
    return Schema(_classes(structs))


# -- reading -------------------------------------------------------------------------------------------------


def read(path: StrPath) -> list[StructSyntax]:
    """Return the structs of a file, after those of the files that it includes; no reference is open."""
    structs: dict[str, StructSyntax] = {}
    _read_into(structs, Path(path), set())
    found = list(structs.values())
    _check_references(found)
    return found


def _read_into(structs: dict[str, StructSyntax], path: Path, seen: set[str]) -> None:
    seen.add(os.path.realpath(path))
    # What stands outside of ASCII can only be in comments, whose encoding nobody told.
    file = parse(path.read_text(encoding="utf-8-sig", errors="replace"), str(path))
    for name, _place in file.includes:
        other = path.parent / _GENERATED.sub(".rpc", name)
        if other.suffix == ".rpc" and other.exists() and os.path.realpath(other) not in seen:
            _read_into(structs, other, seen)
    for struct in file.structs:
        first = structs.setdefault(struct.name, struct).place
        if first is not struct.place:
            struct.place.fail(f"struct {struct.name} is also in {first.filename}, line {first.line}")


def _check_references(structs: Iterable[StructSyntax]) -> None:
    structs = list(structs)
    names = {struct.name for struct in structs}
    for each in (each for struct in structs for each in struct.fields):
        if each.struct and each.struct not in names:
            each.place.fail(f"{each.name!r} is of struct {each.struct}, which is not there")


# -- names ---------------------------------------------------------------------------------------------------


def struct_names(structs: Iterable[StructSyntax]) -> dict[str, str]:
    """Return what the classes of *structs* are called in Python."""
    return _python_names([struct.name for struct in structs])


def field_names(struct: StructSyntax) -> dict[str, str]:
    """Return what the fields of *struct* are called in Python."""
    return _python_names([each.name for each in struct.fields])


def _python_names(names: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        python = name
        while _is_reserved(python) or (python != name and python in {*names, *found.values()}):
            python += "_"
        found[name] = python
    return found


def _is_reserved(name: str) -> bool:
    return name in _USED or keyword.iskeyword(name) or hasattr(Message, name)


# -- classes -------------------------------------------------------------------------------------------------


def _classes(structs: list[StructSyntax]) -> dict[str, type[Message]]:
    names = struct_names(structs)
    classes: dict[str, type[Message]] = {}
    for struct in structs:
        called = field_names(struct)
        body = {called[each.name]: _field(each, names, classes) for each in struct.fields}
        types = {called[each.name]: _type(each) for each in struct.fields}
        doc = f"struct {struct.name} of {struct.place.filename}."
        own = {"__annotations__": types, "__doc__": doc, "__module__": __name__}
        name = names[struct.name]
        classes[name] = type(name, (Message,), {**own, **body})
    return classes


def _field(each: FieldSyntax, names: dict[str, str], classes: dict[str, type[Message]]) -> Any:
    options: dict[str, Any] = {"default": None} if each.optional else {}
    if each.type == "struct":
        field: Any = fields.struct(each.tag, lambda: classes[names[each.struct]], **options)
    elif each.type == "bytes":
        field = fields.data(each.tag, length=each.length, **options)
    else:
        field = KINDS[each.type][0](each.tag, **options)
    return fields.array(field) if each.array else field


def _type(each: FieldSyntax) -> Any:
    plain: Any = KINDS[each.type][1]
    if each.array:
        return list[plain]
    return Optional[plain] if each.optional else plain
