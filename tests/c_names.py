"""
Which public form of Python stands for which function of C.

The "Wraps:" lines of docstrings say it.  ``./dev names`` writes it out, a table for each header that has one
in docs/c-names/, or that is named as an argument; what has no form of Python keeps the reason that stands in
its row, and gets an empty one to be filled in where there is none; so do constants and macros in BESIDE.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
TABLES = PROJECT / "docs" / "c-names"
CDEF = PROJECT / "libevent_cffi" / "_native" / "cdef"
#: Where it is not the name of the header.
MODULES = {"bufferevent_ssl": "tls"}
LOWLEVEL = "only on `lowlevel.lib`: "
#: Constants, and macros that only a compiler of C can expand.  Their Python forms are written by hand.
BESIDE = {
    "rpc": [
        *("EVRPC_INPUT", "EVRPC_OUTPUT", "EVRPC_TERMINATE", "EVRPC_CONTINUE", "EVRPC_PAUSE"),
        *("EVTAG_HAS", "EVTAG_ASSIGN", "EVTAG_ASSIGN_WITH_LEN", "EVTAG_GET", "EVTAG_GET_WITH_LEN"),
        *("EVTAG_ARRAY_ADD", "EVTAG_ARRAY_ADD_VALUE", "EVTAG_ARRAY_GET", "EVTAG_ARRAY_LEN"),
        *("EVRPC_STRUCT", "EVRPC_HEADER", "EVRPC_GENERATE", "EVRPC_REQUEST_HTTP", "EVRPC_REGISTER"),
        *("EVRPC_UNREGISTER", "EVRPC_MAKE_CTX", "EVRPC_MAKE_REQUEST"),
    ]
}


def public_modules() -> Iterator[ModuleType]:
    """Import every public module of the package."""
    package = PROJECT / "libevent_cffi"
    for path in sorted([*package.glob("*.py"), *package.glob("*/__init__.py")]):
        name = path.stem if path.parent == package else path.parent.name
        if not name.startswith("_"):
            yield importlib.import_module(f"libevent_cffi.{name}")


def documented() -> Iterator[tuple[str, str]]:
    """Generate the names of public classes, members and functions with their docstrings, each one once."""
    seen: set[int] = set()
    for module in public_modules():
        short = module.__name__.rpartition(".")[2]
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.isclass(thing) and id(thing) not in seen:
                seen.add(id(thing))
                yield f"{short}.{name}", thing.__doc__ or ""
                yield from _members(f"{short}.{name}", thing, set(module.__all__))
            elif inspect.isfunction(thing) and id(thing) not in seen:
                seen.add(id(thing))
                yield f"{short}.{name}()", thing.__doc__ or ""


def _members(name: str, cls: type, public: set[str]) -> Iterator[tuple[str, str]]:
    """Generate members that *cls* has of its own, or from a base that users do not see."""
    seen = [each for each in cls.__mro__[1:] if each.__name__ in public]
    for owner in cls.__mro__:
        if owner is not cls and (
            not owner.__module__.startswith("libevent_cffi.") or any(issubclass(each, owner) for each in seen)
        ):
            continue
        for member, thing in vars(owner).items():
            function: Any = getattr(thing, "__func__", thing)
            text = getattr(function, "__doc__", None) or ""
            if "Wraps: " in text:
                yield f"{name}.{member}" + ("()" if callable(function) else ""), text


def wrapped() -> dict[str, list[str]]:
    """Return the Python names of every function that a docstring says it wraps."""
    found: dict[str, list[str]] = {}
    for name, text in documented():
        for line in re.findall(r"Wraps: (.*?)(?:\n\n|\Z)", text, re.S):
            for function in re.findall(r"\b([A-Za-z_0-9]+)\(\)", line):
                if name not in found.setdefault(function, []):
                    found[function].append(name)
    return found


def declared(header: str) -> list[str]:
    """Return the functions that our declarations of *header* have, for any libevent."""
    text = re.sub(r"/\*.*?\*/|#.*?$", "", (CDEF / f"{header}.h").read_text("utf-8"), flags=re.S | re.M)
    one_by_one = re.sub(r"\{[^}]*\}", "", text).split(";")
    functions = (re.search(r"(\w+)\s*\(", each) for each in one_by_one if "typedef" not in each)
    return [found[1] for found in functions if found]


def rows(header: str) -> dict[str, str]:
    """Return what the table of *header* says of each name."""
    path = TABLES / f"{header}.md"
    return dict(
        re.findall(r"^\| `(\w+)` \| (.*) \|$", path.read_text("utf-8") if path.exists() else "", re.M)
    )


def reasons(header: str) -> dict[str, str]:
    """Return what the table of *header* says of functions that have no Python form."""
    found = rows(header).items()
    return {name: text.removeprefix(LOWLEVEL) for name, text in found if text.startswith(LOWLEVEL)}


def table(header: str) -> str:
    """Write the table of *header*."""
    forms, why, module = wrapped(), reasons(header), MODULES.get(header, header)
    lines = [f"# event2/{header}.h, in libevent_cffi.{module}", "", "| C | Python |", "|---|---|"]
    for name in declared(header):
        form = ", ".join(f"`{each.removeprefix(module + '.')}`" for each in sorted(forms.get(name, ())))
        lines.append(f"| `{name}` | {form or LOWLEVEL + why.get(name, '')} |")
    lines += [f"| `{name}` | {rows(header).get(name, '')} |" for name in BESIDE.get(header, ())]
    return "\n".join(lines) + "\n"


def main(headers: list[str]) -> None:
    """Write the tables of *headers* and of those that have one."""
    for header in sorted({*headers, *(path.stem for path in TABLES.glob("*.md"))}):
        (TABLES / f"{header}.md").write_text(table(header), "utf-8")


if __name__ == "__main__":
    sys.path.insert(0, str(PROJECT))
    main(sys.argv[1:])
