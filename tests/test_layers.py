"""Imports inside of the package point one way: from what users see down to C."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import libevent_cffi

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
