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


def compiled() -> set[str]:
    """Return the names that the compiled modules have."""
    names = set(dir(lib))
    if lib.LEV_HAS_TLS:
        tls: Any = importlib.import_module("libevent_cffi._native._libevent_tls")
        names |= set(dir(tls.lib))
    return names


@pytest.mark.parametrize("header", HEADERS)
def test_the_table_is_what_docstrings_say(header: str) -> None:
    """Run "python tests/c_names.py" when a "Wraps:" line has changed."""
    assert (c_names.TABLES / f"{header}.md").read_text("utf-8") == c_names.table(header)


@pytest.mark.parametrize("header", HEADERS)
def test_what_has_no_python_form_has_a_reason(header: str) -> None:
    """In its row, where no docstring names the function."""
    assert [name for name, why in c_names.reasons(header).items() if len(why) < 10] == []


@pytest.mark.parametrize("header", HEADERS)
def test_the_table_has_what_is_compiled(header: str) -> None:
    """The functions in it are those of this libevent, beside those of others."""
    functions = c_names.declared(header)
    assert len(functions) == len(set(functions))
    assert set(functions) & compiled()
    assert all(isinstance(getattr(lib, name, print), type(lib.event_new)) for name in functions)


def test_what_docstrings_name_exists() -> None:
    """Every function that a docstring says it wraps is one of libevent's."""
    declared = {name for path in c_names.CDEF.glob("*.h") for name in c_names.declared(path.stem)}
    assert set(c_names.wrapped()) - declared == set()
