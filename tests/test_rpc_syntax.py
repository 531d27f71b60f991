"""The .rpc language: what load() and loads() make of it, and where they say it is wrong."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from libevent_cffi import rpc
from libevent_cffi.errors import RPCSyntaxError
from libevent_cffi.rpc import syntax

MESSAGE = """
/* a message */
#include <stdio.h>
#include "other.h"  /* for C */
#ifdef NEVER
#define SIZE 0x10   // hexadecimal
#endif
#define NOTHING
#define FLAG() 1

struct msg {
\tstring /* sender */ from_name = 1; // be verbose
\toptional struct[kill] attack = 0x10;
\tarray struct[msg] inner=3;bytes
\t  fixed [ SIZE ] = 4;
\tbytes any[] = 5;
\toptional int number = 6; array int64 larges = 0;
}

struct kill { }
"""


def shape(message: Any) -> list[tuple[Any, ...]]:
    """Return what a class declares."""
    return [
        (name, field.tag, type(field.kind).__name__, *vars(field.kind).values(), field.optional, field.array)
        if "Struct" not in type(field.kind).__name__
        else (name, field.tag, field.kind.message.__name__, field.optional, field.array)
        for name, field in message.__rpc_fields__.items()
    ]


def test_a_file_becomes_classes() -> None:
    """Every kind of field, in its order, with free white space and comments."""
    schema = rpc.loads(MESSAGE)
    assert shape(schema.msg) == [
        ("from_name", 1, "_String", False, False),
        ("attack", 16, "kill", True, False),
        ("inner", 3, "msg", False, True),
        ("fixed", 4, "_Data", 16, False, False),
        ("any", 5, "_Data", None, False, False),
        ("number", 6, "_Int", 32, True, False),
        ("larges", 0, "_Int", 64, False, True),
    ]
    assert shape(schema.kill) == []
    message = schema.msg(from_name="a", fixed=bytes(16), any=b"", attack=schema.kill())
    assert schema.msg.from_bytes(bytes(message)) == message


def test_a_schema_has_its_classes_by_name() -> None:
    """As attributes and as items."""
    schema = rpc.loads(MESSAGE)
    assert schema["msg"] is schema.msg
    assert issubclass(schema.msg, rpc.Message)
    assert dir(schema) == ["kill", "msg"]
    assert repr(schema) == "<Schema msg, kill>"
    assert repr(rpc.loads("")) == "<Schema empty>"
    assert schema.msg.__doc__ == "struct msg of <string>."
    with pytest.raises(KeyError):
        schema["nothing"]
    with pytest.raises(AttributeError, match="no struct 'nothing': there are msg, kill"):
        _ = schema.nothing


def test_names_that_python_needs_get_an_underscore() -> None:
    """Of structs and of fields; other names stay as they are."""
    schema = rpc.loads(
        "struct class { string from = 1; int from_ = 2; bytes list = 3; struct[class] from_bytes = 4; }"
        "struct class_ { }"
    )
    assert dir(schema) == ["class_", "class__"]
    assert list(schema.class__.__rpc_fields__) == ["from__", "from_", "list_", "from_bytes_"]


def test_a_semicolon_more_or_less_and_a_later_define_are_taken() -> None:
    """As event_rpcgen.py does."""
    schema = rpc.loads("struct x { ; bytes a[SIZE] = 1;; int b = 2 }\n#define SIZE 3")
    assert shape(schema.x) == [("a", 1, "_Data", 3, False, False), ("b", 2, "_Int", 32, False, False)]


def test_long_texts_take_no_time() -> None:
    """Many fields are each looked at once, and so is each beginning of a comment that has no end."""
    begin = time.process_time()
    message = rpc.loads("struct m { " + "".join(f"int f{i} = {i}; " for i in range(10_000)) + "}").m
    assert len(message.__rpc_fields__) == 10_000
    assert dir(rpc.loads("#define X 1 " + "/* " * 30_000 + "\nstruct m { bytes b[X] = 1; }")) == ["m"]
    assert time.process_time() - begin < 3  # in quadratic time it would be 10 s or more


def test_a_field_may_have_the_name_of_an_argument_of_ours() -> None:
    """The constructor has none by name."""
    message = rpc.loads("struct m { int self = 1; int cls = 2; int values = 3; }").m(self=1, cls=2, values=3)
    assert (message.self, message.cls, message.values) == (1, 2, 3)


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("\n  struc x { }", 2, 3, "expected a struct, not 'struc'"),
        ("struct { }", 1, 8, "expected the name of a struct, not '{'"),
        ("struct x", 1, 9, "expected '{' after the name of a struct, not the end of the file"),
        ("struct x {\n  int a = 1;\n", 1, 8, "struct x has no end: expected '}'"),
        ("struct x {\n  int a = 1\n  int b = 2; }", 3, 3, "expected ';' after the tag of 'a', not 'int'"),
        ("struct x { int a; }", 1, 17, "expected '=' and a tag after 'a', not ';'"),
        ("struct x { int a = b; }", 1, 20, "expected a tag, which is a number, not 'b'"),
        ("struct x { int a = 010; }", 1, 20, "a tag must be a number, decimal or 0x…, and '010' is none"),
        ("struct x { int a = 4294967296; }", 1, 20, "a tag must be between 0 and 4294967295"),
        ("struct x { int a = -1; }", 1, 20, "'-' has no meaning here"),
        ("struct x { float a = 1; }", 1, 12, "expected a type, string, bytes, int, int64 or struct[name]"),
        ("struct x { int = 1; }", 1, 16, "expected the name of a field, not '='"),
        ("struct x { struct y = 1; }", 1, 19, "expected '[' and a name after 'struct', not 'y'"),
        ("struct x {\n\tstruct[y] z = 1; }", 2, 12, "'z' is of struct y, which is not there"),
        ("struct x { array bytes b = 1; }", 1, 18, "no arrays of bytes"),
        ("struct x { optional array int b = 1; }", 1, 21, "optional or an array, not both"),
        ("struct x { array optional int b = 1; }", 1, 18, "optional or an array, not both"),
        ("struct x { int b[3] = 1; }", 1, 17, "only bytes have a length: write 'array int'"),
        ("struct x { bytes b[0] = 1; }", 1, 20, "a length must be between 1 and 2147483647, not 0"),
        ("struct x { bytes b[N] = 1; }", 1, 20, "a length must be a number, decimal or 0x…, and 'N' is none"),
        ("struct x { bytes b[3 = 1; }", 1, 22, "expected ']' after a length"),
        ("struct x { int a = 1; int b = 1; }", 1, 27, "the tag 1 is that of 'a' already"),
        ("struct x { int a = 1;\n int a = 2; }", 2, 6, "the field 'a' was there already, in line 1"),
        ("struct x { }\nstruct x { }", 2, 8, "struct x was there already, in line 1"),
        ("struct x { int __a = 1; }", 1, 16, "__a: names with two underscores in front"),
        ("struct x { };", 1, 13, "expected a struct, not ';'"),
        ("/* a */ /* b\n\n", 1, 9, "this comment has no end"),
        ("#pragma once", 1, 1, "expected #include, #define or #if, not '#pragma'"),
        ("struct x {\n#if 1\n}", 2, 1, "expected a type"),
        ("struct x { } \u00e9", 1, 14, "'\u00e9' has no meaning here"),
        ("struct x { int a = 1" + "0" * 5000 + "; }", 1, 20, "a tag must be"),
    ],
)
def test_errors_tell_line_and_column(text: str, line: int, column: int, message: str) -> None:
    """As Python's own syntax errors do, with the line itself."""
    with pytest.raises(RPCSyntaxError) as caught:
        rpc.loads(text, filename="x.rpc")
    error = caught.value
    assert (error.filename, error.lineno, error.offset) == ("x.rpc", line, column)
    assert error.text == text.split("\n")[line - 1]
    assert message in error.msg


def test_loads_takes_text_only() -> None:
    """Not bytes, and not a path."""
    for wrong in (b"", Path("x.rpc")):
        with pytest.raises(TypeError, match="load"):
            rpc.loads(wrong)  # type: ignore[arg-type]


@given(
    some.text('{}[]=;#/*\n "<>019xfaZ_\0\u00e9')
    | some.lists(some.sampled_from(MESSAGE.split())).map(" ".join)
)
def test_any_text_is_a_schema_or_an_error(text: str) -> None:
    """And the error stands in the text."""
    place = (1, 1)
    try:
        rpc.loads(text)
    except RPCSyntaxError as error:
        place = (error.lineno or 0, error.offset or 0)
    assert 1 <= place[0] <= text.count("\n") + 1
    assert 1 <= place[1] <= len(text.split("\n")[place[0] - 1]) + 1


# -- files ---------------------------------------------------------------------------------------------------


def test_a_file_that_is_included_gives_its_structs(tmp_path: Path) -> None:
    """Where there is a .rpc file for the header; others are for C."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "main.rpc").write_text(
        '#include "sub/a.gen.h"\n#include "b.h"\n#include "c.h"\n#include "peer.c"\n'
        "struct m { struct[a] x = 1; struct[b] y = 2; }"
    )
    (tmp_path / "sub" / "a.rpc").write_text('#include "../b.rpc"\nstruct a { }')
    (tmp_path / "b.rpc").write_text('#include "main.gen.h"\nstruct b { }')
    assert dir(rpc.load(tmp_path / "main.rpc")) == ["a", "b", "m"]
    assert dir(rpc.load(str(tmp_path / "b.rpc"))) == ["a", "b", "m"]


def test_errors_name_the_file_that_is_wrong(tmp_path: Path) -> None:
    """Of those that are included, too."""
    main, other = tmp_path / "main.rpc", tmp_path / "other.rpc"
    main.write_text('#include "other.h"\nstruct x { }')
    other.write_text("struct y {")
    with pytest.raises(RPCSyntaxError) as caught:
        rpc.load(main)
    assert (caught.value.filename, caught.value.lineno) == (str(other), 1)
    other.write_text("\nstruct x { }")
    with pytest.raises(RPCSyntaxError, match="struct x is also in") as caught:
        rpc.load(main)
    assert (caught.value.filename, caught.value.lineno, caught.value.offset) == (str(main), 2, 8)
    with pytest.raises(FileNotFoundError):
        rpc.load(tmp_path / "none.rpc")


def test_comments_may_have_any_encoding(tmp_path: Path) -> None:
    """With a byte order mark or without."""
    (tmp_path / "x.rpc").write_bytes(b"\xef\xbb\xbf// gr\xfc\xdf\r\nstruct x { }\r\n")
    assert dir(rpc.load(tmp_path / "x.rpc")) == ["x"]


def test_a_place_is_found_by_line_and_column() -> None:
    """Behind comments of several lines."""
    (struct,) = syntax.parse("/*\n*/ struct /* \n */ x { }", "f").structs
    assert (struct.place.line, struct.place.column, struct.place.text) == (3, 5, " */ x { }")
