"""
The .rpc language, as libevent's event_rpcgen.py reads it.

    /* what the compiler of C gets as it is */
    #include "other.h"
    #define KEY_BYTES 16

    struct entry {
        bytes key[KEY_BYTES] = 1;
        optional string value = 2;   // one that may be missing
        array struct[label] labels = 3;
    }

White space is freer here than there, where "{" ends a line and "=" stands between two spaces.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, NoReturn, Optional

from ..errors import RPCSyntaxError

__all__ = ["FieldSyntax", "FileSyntax", "Place", "StructSyntax", "parse"]

_MOST_TAG = 2**32 - 1
_MOST_LENGTH = 2**31 - 1
_TYPES = ("string", "bytes", "int", "int64", "struct")

_TOKEN = re.compile(
    r"""
      (?P<space>   [ \t\r\n\f\v]+ | //[^\n]* | /\*.*?\*/ )
    | (?P<comment> /\* )
    | (?P<directive> \#[^\n]* )
    | (?P<name>    [A-Za-z_][A-Za-z0-9_]* )
    | (?P<number>  [0-9][A-Za-z0-9_]* )
    | (?P<sign>    [{}\[\]=;] )
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)
#: One that has no end on its line goes on to the end of that, or looking for the end would take for ever.
_COMMENT = re.compile(r"//.*|/\*.*?(?:\*/|$)")
_INCLUDE = re.compile(r'#\s*include\s*(?:"(?P<name>[^"]+)"|<[^>]+>)$')
_DEFINE = re.compile(r"#\s*define\s+(?P<name>\w+)(?:\s+(?P<value>\w+))?", re.ASCII)
#: What is between these, event_rpcgen.py generates in any case.
_CONDITION = re.compile(r"#\s*(?:if|ifdef|ifndef|else|elif|endif)\b")


class Place(NamedTuple):
    """Where something stands: *line* and *column* count from 1, and *text* is the line."""

    filename: str
    line: int
    column: int
    text: str

    def fail(self, message: str) -> NoReturn:
        """Raise RPCSyntaxError for this place."""
        raise RPCSyntaxError(message, (self.filename, self.line, self.column, self.text))


@dataclass(frozen=True)
class FieldSyntax:
    """One line of a struct."""

    name: str
    tag: int
    type: str
    place: Place
    optional: bool = False
    array: bool = False
    length: Optional[int] = None
    struct: str = ""


@dataclass(frozen=True)
class StructSyntax:
    """One struct."""

    name: str
    place: Place
    fields: tuple[FieldSyntax, ...]


@dataclass
class FileSyntax:
    """What a file says: its structs, and the files that it includes by a name in quotes."""

    structs: list[StructSyntax] = field(default_factory=list)
    includes: list[tuple[str, Place]] = field(default_factory=list)


class _Token(NamedTuple):
    kind: str
    text: str
    place: Place

    def __str__(self) -> str:
        return repr(self.text) if self.text else "the end of the file"


def parse(text: str, filename: str) -> FileSyntax:
    """Return what *text* says; RPCSyntaxError with the place, which is in *filename*, when it is wrong."""
    return _Parser(text, filename).file()


def _tokens(text: str, filename: str) -> Iterator[_Token]:
    lines = text.split("\n")
    line = column = 1
    at = 0
    while at < len(text):
        place = Place(filename, line, column, lines[line - 1])
        match = _TOKEN.match(text, at)
        if match is None:
            place.fail(f"{text[at]!r} has no meaning here")
        kind, found = match.lastgroup or "", match.group()
        if kind == "comment":
            place.fail("this comment has no end")
        if kind != "space":
            yield _Token(kind, found, place)
        at = match.end()
        newlines = found.count("\n")
        line += newlines
        column = len(found) - found.rfind("\n") if newlines else column + len(found)
    yield _Token("end", "", Place(filename, line, column, lines[line - 1]))


class _Parser:
    def __init__(self, text: str, filename: str) -> None:
        tokens = list(_tokens(text, filename))
        self._found = FileSyntax()
        self._numbers = _numbers(token.text for token in tokens if token.kind == "directive")
        self._rest = iter(tokens)
        self._next = next(self._rest)

    def file(self) -> FileSyntax:
        names: dict[str, StructSyntax] = {}
        while self._next.kind != "end":
            token = self._take()
            if token.kind == "directive":
                self._directive(token)
            elif token.text == "struct":
                struct = self._struct()
                if struct.name in names:
                    first = names[struct.name].place.line
                    struct.place.fail(f"struct {struct.name} was there already, in line {first}")
                names[struct.name] = struct
            else:
                token.place.fail(f"expected a struct, not {token}")
        self._found.structs = list(names.values())
        return self._found

    # -- tokens ----------------------------------------------------------------------------------------------

    def _take(self) -> _Token:
        token = self._next
        if token.kind != "end":
            self._next = next(self._rest)
        return token

    def _expect(self, text: str, where: str) -> _Token:
        if self._next.text != text:
            self._next.place.fail(f"expected {text!r} {where}, not {self._next}")
        return self._take()

    def _accept(self, text: str) -> bool:
        return self._next.text == text and bool(self._take())

    def _name(self, what: str) -> _Token:
        token = self._take()
        if token.kind != "name":
            token.place.fail(f"expected {what}, not {token}")
        if token.text.startswith("__"):
            token.place.fail(f"{token.text}: names with two underscores in front are C's and Python's own")
        return token

    def _number(self, what: str, least: int, most: int) -> int:
        token = self._take()
        if token.kind not in ("number", "name"):
            token.place.fail(f"expected {what}, not {token}")
        value = _integer(token.text) if token.kind == "number" else self._numbers.get(token.text)
        if value is None:
            token.place.fail(f"{what} must be a number, decimal or 0x…, and {token} is none")
        if not least <= value <= most:
            token.place.fail(f"{what} must be between {least} and {most}, not {token.text}")
        return value

    # -- what they make --------------------------------------------------------------------------------------

    def _directive(self, token: _Token) -> None:
        text = _COMMENT.sub(" ", token.text).strip()
        include = _INCLUDE.match(text)
        if include is not None:
            if include["name"]:
                self._found.includes.append((include["name"], token.place))
        elif not _DEFINE.match(text) and not _CONDITION.match(text):
            token.place.fail(f"expected #include, #define or #if, not {text.split()[0]!r}")

    def _struct(self) -> StructSyntax:
        name = self._name("the name of a struct")
        self._expect("{", "after the name of a struct")
        fields: dict[str, FieldSyntax] = {}
        tags: dict[int, FieldSyntax] = {}
        while not self._accept("}"):
            if self._next.kind == "end":
                name.place.fail(f"struct {name.text} has no end: expected '}}'")
            if self._accept(";"):
                continue
            made = self._field()
            if made.tag in tags:
                made.place.fail(f"the tag {made.tag} is that of {tags[made.tag].name!r} already")
            if made.name in fields:
                first = fields[made.name].place.line
                made.place.fail(f"the field {made.name!r} was there already, in line {first}")
            fields[made.name] = tags[made.tag] = made
        return StructSyntax(name.text, name.place, tuple(fields.values()))

    def _field(self) -> FieldSyntax:
        optional = array = False
        while self._next.text in ("optional", "array"):
            word = self._take()
            optional, array = optional or word.text == "optional", array or word.text == "array"
            if optional and array:
                word.place.fail("a field is optional or an array, not both: an array may be empty")
        kind = self._take()
        if kind.text not in _TYPES:
            kind.place.fail(f"expected a type, {', '.join(_TYPES[:-1])} or struct[name], not {kind}")
        struct = self._reference() if kind.text == "struct" else ""
        name = self._name("the name of a field")
        length = self._length(kind) if self._next.text == "[" else None
        if array and kind.text == "bytes":
            kind.place.fail("there are no arrays of bytes: put the bytes into a struct")
        self._expect("=", f"and a tag after {name.text!r}")
        tag = self._tag()
        if self._next.text != "}":
            self._expect(";", f"after the tag of {name.text!r}")
        return FieldSyntax(name.text, tag, kind.text, name.place, optional, array, length, struct)

    def _reference(self) -> str:
        self._expect("[", "and a name after 'struct'")
        name = self._name("the name of a struct")
        self._expect("]", "after the name of a struct")
        return name.text

    def _length(self, kind: _Token) -> Optional[int]:
        bracket = self._take()
        if kind.text != "bytes":
            bracket.place.fail(f"only bytes have a length: write 'array {kind.text}' for many")
        if self._accept("]"):  # event_rpcgen.py:ProcessOneEntry takes it for bytes of any length
            return None
        length = self._number("a length", 1, _MOST_LENGTH)
        self._expect("]", "after a length")
        return length

    def _tag(self) -> int:
        if self._next.kind != "number":
            self._next.place.fail(f"expected a tag, which is a number, not {self._next}")
        return self._number("a tag", 0, _MOST_TAG)


def _numbers(directives: Iterable[str]) -> dict[str, int]:
    """Return what is defined as a number, wherever: event_rpcgen.py puts such lines in front of all."""
    defines = (_DEFINE.match(_COMMENT.sub(" ", text)) for text in directives)
    found = {define["name"]: _integer(define["value"] or "") for define in defines if define is not None}
    return {name: value for name, value in found.items() if value is not None}


def _integer(text: str) -> Optional[int]:
    """Return the number that *text* is, decimal or 0x…; None when it is none, such as octal."""
    try:
        return int(text, 0) if re.fullmatch("0[xX][0-9a-fA-F]+|0|[1-9][0-9]*", text) else None
    except ValueError:  # Python 3.11 reads at most 4300 digits
        return None
