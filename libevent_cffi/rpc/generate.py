"""Writing the classes of a .rpc file as a module of Python."""

from __future__ import annotations

from collections.abc import Iterator

from .schema import KINDS, field_names, struct_names
from .syntax import FieldSyntax, StructSyntax

__all__ = ["MARK", "module_text"]

#: What the first line of a module that was written so ends with.
MARK = "Made by python -m libevent_cffi rpcgen: change the .rpc file, and make it again."


def module_text(structs: list[StructSyntax], filename: str) -> str:
    """Return the text of a module with the classes of *structs*; *filename* is where they are from."""
    return "\n".join(_Module(structs, filename).lines()) + "\n"


class _Module:
    def __init__(self, structs: list[StructSyntax], filename: str) -> None:
        self._structs = structs
        self._filename = filename
        self._names = struct_names(structs)
        self._written: set[str] = set()
        self._aliases: dict[str, str] = {}

    def lines(self) -> Iterator[str]:
        """Generate the lines of the module."""
        bodies = [line for struct in self._structs for line in self._class(struct)]
        yield f"# {MARK}"
        yield f'"""The messages of {_plain(self._filename)}."""'
        yield from ("", "from __future__ import annotations", "")
        if any(each.optional for struct in self._structs for each in struct.fields):
            yield from ("from typing import Optional", "")
        yield from ("from libevent_cffi import rpc", "")
        names = ", ".join(f'"{name}"' for name in sorted(self._names.values()))
        yield f"__all__ = [{names}]"
        yield from bodies
        if self._aliases:
            yield from ("", "", "# For annotations in classes where a field has the name of a message.")
            yield from (f"{alias} = {name}" for name, alias in self._aliases.items())

    def _class(self, struct: StructSyntax) -> Iterator[str]:
        called = field_names(struct)
        yield from ("", "", f"class {self._names[struct.name]}(rpc.Message):")
        yield f'    """struct {struct.name}."""'
        if struct.fields:
            yield ""
        for each in struct.fields:
            annotation = self._annotation(each, set(called.values()))
            yield f"    {called[each.name]}: {annotation} = {self._specifier(each, set(called.values()))}"
        self._written.add(struct.name)

    def _annotation(self, each: FieldSyntax, fields: set[str]) -> str:
        plain = KINDS[each.type][1].__name__ if each.type != "struct" else self._type_of(each, fields)
        if each.array:
            return f"list[{plain}]"
        return f"Optional[{plain}]" if each.optional else plain

    def _type_of(self, each: FieldSyntax, fields: set[str]) -> str:
        """Return a name for the class of a field; in a class, a field of that name would stand for it."""
        name = self._names[each.struct]
        if name not in fields:
            return name
        if name not in self._aliases:
            alias = f"{name}_message"
            while alias in self._names.values() or self._is_field(alias):
                alias += "_"
            self._aliases[name] = alias
        return self._aliases[name]

    def _is_field(self, name: str) -> bool:
        return any(name in field_names(struct).values() for struct in self._structs)

    def _specifier(self, each: FieldSyntax, fields: set[str]) -> str:
        arguments = [str(each.tag)]
        if each.type == "struct":
            name = self._names[each.struct]
            later = each.struct not in self._written or name in fields
            arguments.append(f"lambda: {name}" if later else name)
        if each.length is not None:
            arguments.append(f"length={each.length}")
        if each.optional:
            arguments.append("default=None")
        call = f"rpc.{KINDS[each.type][0].__name__}({', '.join(arguments)})"
        return f"rpc.array({call}, default_factory=list)" if each.array else call


def _plain(text: str) -> str:
    """Return *text* without what would mean something in a docstring."""
    return "".join(each if each.isprintable() and each not in '\\"' else "_" for each in text)
