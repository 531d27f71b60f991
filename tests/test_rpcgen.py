"""``python -m libevent_cffi rpcgen``: typed modules from .rpc files."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from libevent_cffi import __main__, rpc
from libevent_cffi.rpc import fields, message, syntax
from libevent_cffi.rpc.generate import MARK
from libevent_cffi.rpc.schema import KINDS

FOLDER = Path(__file__).resolve().parent / "fixtures" / "rpc"
PEER = FOLDER / "peer.rpc"
AWKWARD = FOLDER / "awkward.rpc"

#: A required, an optional and an array field of each type that the language has; but bytes have no arrays.
EVERY = "".join(
    f"struct x_{name} {{ {kind} a = 1; optional {kind} b = 2; {array}}}"
    for name, kind, array in (
        (name, kind, "" if name == "bytes" else f"array {kind} c = 3;")
        for name, kind in ((name, "struct[x_string]" if name == "struct" else name) for name in KINDS)
    )
)

#: What type checkers are to make of a module: each line with its error, or without one.
USE = """
from peer import everything, inner

one = inner(name="n")
message = everything(text="a", number=1, large=2, key=b"123456", blob=b"", one=one)
text: str = message.text
maybe: int = message.maybe_number  # error: assignment
message.many.append(one)
message.many.append(message)  # error: arg-type
message.nothing = 1  # error: attr-defined
message = everything.from_bytes(bytes(message))
inner()  # error: call-arg
inner(name=1)  # error: arg-type
deep: "inner | None" = one.next
"""


def imported(path: Path) -> ModuleType:
    """Import the module in *path*."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shape(message: Any) -> list[tuple[Any, ...]]:
    """Return what a class declares."""
    return [
        (
            field.label,
            field.tag,
            type(field.kind),
            field.kind.message.__name__ if "message" in dir(field.kind) else vars(field.kind),
            field.optional,
            field.array,
        )
        for field in message.__rpc_fields__.values()
    ]


@pytest.mark.parametrize(
    "text",
    [PEER.read_text("utf-8"), AWKWARD.read_text("utf-8"), "", EVERY],
    ids=["peer", "awkward", "empty", "every"],
)
def test_a_module_has_the_classes_that_load_makes(tmp_path: Path, text: str) -> None:
    """The same names, and the same fields in the same order."""
    path = tmp_path / "x.rpc"
    path.write_text(text)
    assert __main__.main(["rpcgen", str(path)]) == 0
    module, schema = imported(tmp_path / "x.py"), rpc.load(path)
    assert module.__all__ == dir(schema)
    for name in module.__all__:
        assert shape(getattr(module, name)) == shape(schema[name])


def test_every_kind_of_field_is_whole() -> None:
    """The parser takes its name, and its specifier is public and known to type checkers."""
    source = Path(message.__file__).read_text("utf-8")
    known = source.partition("field_specifiers=(")[2].partition(")")[0].split(", ")
    specifiers = {specifier.__name__ for specifier, _ in KINDS.values()}
    assert sorted(syntax._TYPES) == sorted(KINDS)
    assert specifiers | {"array"} == {*known} == {name for name in fields.__all__ if name.islower()}
    assert specifiers <= {*rpc.__all__}


@pytest.mark.parametrize("path", [PEER, AWKWARD], ids=["peer", "awkward"])
def test_a_module_is_what_the_type_checker_of_this_project_sees(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The modules beside the files are made of them, and mypy checks these with the package."""
    assert __main__.main(["rpcgen", str(path), "-"]) == 0
    assert capsys.readouterr().out == path.with_name(f"{path.stem}_messages.py").read_text("utf-8")


def test_modules_pass_a_strict_type_checker(tmp_path: Path) -> None:
    """And it finds what is wrong in their use."""
    pytest.importorskip("mypy")
    (tmp_path / "use.py").write_text(USE)
    assert __main__.main(["rpcgen", str(PEER), str(tmp_path / "peer.py")]) == 0
    assert __main__.main(["rpcgen", str(AWKWARD), str(tmp_path / "awkward.py")]) == 0
    package = Path(rpc.__file__).parents[2]
    where = {} if package.name == "site-packages" else {"MYPYPATH": str(package)}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--python-version", "3.10", "--no-error-summary"),
            *("--follow-imports", "silent", "--hide-error-context", "peer.py", "awkward.py", "use.py"),
        ],
        cwd=tmp_path,
        env={**os.environ, **where},
        capture_output=True,
        text=True,
        timeout=300,
    )
    expected = [
        f"use.py:{number}: {line.partition('# error: ')[2]}"
        for number, line in enumerate(USE.split("\n"), 1)
        if "# error" in line
    ]
    found = [
        f"{line.split(' error: ')[0]} {line.split('[')[-1].rstrip(']')}" for line in done.stdout.splitlines()
    ]
    assert found == expected, done


def test_it_writes_where_it_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Beside the file, to another one, or to standard output, again and again."""
    path = tmp_path / "x.rpc"
    path.write_text("struct x { }")
    for _ in range(2):
        assert __main__.main(["rpcgen", str(path)]) == 0
    assert __main__.main(["rpcgen", str(path), str(tmp_path / "other.py")]) == 0
    assert capsys.readouterr() == ("", "")
    assert __main__.main(["rpcgen", str(path), "-"]) == 0
    written = (tmp_path / "x.py").read_text()
    assert written == (tmp_path / "other.py").read_text() == capsys.readouterr().out
    assert written.startswith(f"# {MARK}\n")


def test_it_writes_over_nothing_of_yours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A module that it did not make stays."""
    (tmp_path / "x.rpc").write_text("struct x { }")
    (tmp_path / "x.py").write_text("mine = 1\n")
    assert __main__.main(["rpcgen", str(tmp_path / "x.rpc")]) == 1
    assert "x.py was not made by rpcgen" in capsys.readouterr().err
    assert (tmp_path / "x.py").read_text() == "mine = 1\n"


def test_it_tells_where_a_file_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """File, line and column, as compilers do; no module is written."""
    path = tmp_path / "x.rpc"
    path.write_text("\nstruct x ;")
    assert __main__.main(["rpcgen", str(path)]) == 1
    assert capsys.readouterr().err == f"{path}:2:10: expected '{{' after the name of a struct, not ';'\n"
    assert not (tmp_path / "x.py").exists()
    assert __main__.main(["rpcgen", str(tmp_path / "none.rpc")]) == 1
    assert "none.rpc" in capsys.readouterr().err
