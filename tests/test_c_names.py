"""
Every function of libevent has a public Python form, or a written reason why it has none.

docs/c-names/ has a table for each header that is done; c_names.py writes it from docstrings.
"""

from __future__ import annotations

import importlib
from typing import Any

import c_names
import pytest

from libevent_cffi._native import lib

HEADERS = sorted(path.stem for path in c_names.TABLES.glob("*.md"))


def libraries() -> list[Any]:
    """Return what the compiled modules have."""
    if not lib.LEV_HAS_TLS:
        return [lib]
    tls: Any = importlib.import_module("libevent_cffi._native._libevent_tls")
    return [lib, tls.lib]


@pytest.mark.parametrize("header", HEADERS)
def test_the_table_is_what_docstrings_say(header: str) -> None:
    """It is written anew when a declaration or a "Wraps:" line has changed."""
    written = (c_names.TABLES / f"{header}.md").read_text("utf-8").splitlines()
    differ = sorted({*written} ^ {*c_names.table(header).splitlines()})
    assert not differ, f"docs/c-names/{header}.md is old, and ./dev names writes it anew: {differ}"


@pytest.mark.parametrize("header", HEADERS)
def test_what_has_no_python_form_has_a_reason(header: str) -> None:
    """In its row, where no docstring names the function."""
    bare = [name for name, why in c_names.reasons(header).items() if len(why) < 10]
    where = f"write a Wraps: line, or the reason into its row of docs/c-names/{header}.md"
    assert not bare, f"{where}: {bare}"


@pytest.mark.parametrize("header", c_names.BESIDE)
def test_constants_and_macros_have_a_python_form(header: str) -> None:
    """Written by hand, since no docstring tells it."""
    rows = c_names.rows(header)
    bare = [name for name in c_names.BESIDE[header] if not rows[name]]
    assert not bare, f"write their Python forms into their rows of docs/c-names/{header}.md: {bare}"


@pytest.mark.parametrize("header", HEADERS)
def test_what_is_in_a_table_is_a_function_of_c(header: str) -> None:
    """Of this libevent, or of another one; each stands there once."""
    functions = c_names.declared(header)
    assert len(functions) == len(set(functions)) > 0
    found = [getattr(each, name) for each in libraries() for name in functions if hasattr(each, name)]
    assert all(callable(function) for function in found)
    assert found or header in ("bufferevent_ssl", "watch", "ws")


def test_what_docstrings_name_exists() -> None:
    """Every function that a docstring says it wraps is one of libevent's."""
    declared = {name for path in c_names.CDEF.glob("*.h") for name in c_names.declared(path.stem)}
    unknown = {name: forms for name, forms in c_names.wrapped().items() if name not in declared}
    assert not unknown, f"Wraps: lines name what libevent_cffi/_native/cdef/ does not declare: {unknown}"
