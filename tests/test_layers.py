"""The house is as ARCHITECTURE.md draws it: imports point one way, from what users see down to C."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import libevent_cffi

PROJECT = Path(__file__).resolve().parents[1]
PACKAGE = Path(libevent_cffi.__file__).parent

#: Who may import whom: a module imports from rooms that stand before its own, and from its own.
ROOMS = (
    *("_version", "errors", "types", "_native", "flags", "event", "buffer", "tls", "bufferevent", "listener"),
    *("dns", "tag", "http", "ws", "rpc", "watch", "thread", "util", "lowlevel"),
)
TOP = ("_commands", "__main__", "__init__")
#: flags.py is built from the compiled constants, and callbacks.py hands flags to callbacks.
ALLOWED = {("_native", "flags")}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> Iterator[str]:
    """Generate the rooms that a module imports at run time: not what is for type checkers only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = path.relative_to(PACKAGE).parts[:-1]
    for node in walk_at_run_time(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            names = (
                [(*base, *node.module.split("."))] if node.module else [(*base, a.name) for a in node.names]
            )
            for name in names:
                yield name[0]


def walk_at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        yield child
        yield from walk_at_run_time(child)


def rank(room: str) -> int:
    return len(ROOMS) if room in TOP else ROOMS.index(room)


def test_imports_point_one_way() -> None:
    """No module imports one that stands above it."""
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {room}"
        for path in PACKAGE.rglob("*.py")
        for room in imports_of(path)
        if rank(room) > rank(room_of(path)) and (room_of(path), room) not in ALLOWED
    ]
    assert wrong == []


def test_only_one_room_makes_ffi_objects() -> None:
    """Callbacks and handles are made in _native: nowhere else is def_extern(), callback() or new_handle()."""
    words = ("def_extern", "ffi.callback", "new_handle", "from_handle")
    found = [
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if room_of(path) != "_native" and any(word in path.read_text(encoding="utf-8") for word in words)
    ]
    assert found == []


def test_no_module_is_too_long() -> None:
    """A module that grows past 500 lines becomes a package."""
    long = [path.name for path in PACKAGE.rglob("*.py") if len(path.read_text().splitlines()) > 500]
    assert long == []


def written(file: str) -> str:
    """Return the text of a *file* of the project, which an installed package does not have."""
    path = PROJECT / file
    if not path.exists():
        pytest.skip("needs the source tree")
    return path.read_text(encoding="utf-8")


def test_every_module_has_its_place_in_the_architecture() -> None:
    """The rooms in ARCHITECTURE.md name each file of Python."""
    rooms = written("ARCHITECTURE.md").split("```")[1]
    files = {path.name for path in PACKAGE.rglob("*.py")} - {"__init__.py"}
    assert [name for name in sorted(files) if not re.search(rf"(?<![\w.]){re.escape(name)}", rooms)] == []


def test_the_architecture_draws_the_order_of_rooms() -> None:
    """The line of arrows in ARCHITECTURE.md says what the tests here hold."""
    line = written("ARCHITECTURE.md").partition("Imports point one way:")[2].partition(".\n")[0]
    drawn = re.findall(r"\w+", line)
    assert drawn == [room for room in (*ROOMS, *TOP) if room not in ("_version", "__init__")]


# -- what C calls --------------------------------------------------------------------------------------------

#: They run functions of ours, which say by @delivers where the user's are.
INDIRECT = {"lev_py_wake", "lev_py_change"}


def trampolines() -> Iterator[ast.FunctionDef]:
    """Generate the functions that C calls."""
    for path in (PACKAGE / "_native").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and any(
                "trampoline" in ast.dump(d) for d in node.decorator_list
            ):
                yield node


def test_each_function_that_c_calls_is_there() -> None:
    """What is declared as extern "Python" has a function under @trampoline, and the other way round."""
    cdef = PROJECT / "libevent_cffi" / "_native" / "cdef"
    if not cdef.exists():
        pytest.skip("needs the source tree")
    texts = [path.read_text(encoding="utf-8") for path in cdef.glob("native*.h")]
    declared = [name for text in texts for name in re.findall(r'extern "Python" int (\w+)', text)]
    made = [function.name for function in trampolines()]
    assert len(made) == len(set(made))
    lost, unknown = sorted(set(declared) - set(made)), sorted(set(made) - set(declared))
    assert not lost, f'write {lost} under @trampoline in _native/ (CONTRIBUTING.md, "To add a callback")'
    assert not unknown, f'declare {unknown} as extern "Python" in cdef/native_*.h, and as static int in csrc/'


def test_what_c_calls_calls_the_user_by_one_name() -> None:
    """In the try of a trampoline stands a call of "callback", where the guard of Ctrl-C looks for it."""
    for function in trampolines():
        assert function.args.args[-1].arg == "slot", function.name
        for node in ast.walk(function):
            if isinstance(node, ast.Try) and any("BaseException" in ast.dump(each) for each in node.handlers):
                calls = (each for line in node.body for each in ast.walk(line) if isinstance(each, ast.Call))
                names = {ast.dump(each.func) for each in calls} - {ast.dump(ast.Name("len", ast.Load()))}
                expected = {ast.dump(ast.Name("callback", ast.Load()))}
                assert names == expected or function.name in INDIRECT, function.name
