"""The programs in README.md run as they stand."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import output_of

README = Path(__file__).resolve().parents[1] / "README.md"
if not README.exists():
    pytest.skip("needs the source tree", allow_module_level=True)

PROGRAMS = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)

#: Those that end by themselves, by what only they contain; and something that they print.
ENDING = {
    "Listener(": "HELLO",
    "add_a(": "192.0.2.1",
    "WebSocket.accept(": "hello",
    "rpc.Pool(": "Number(value=42)",
}


@pytest.mark.parametrize("has", ENDING)
def test_a_program_of_the_readme_runs(has: str) -> None:
    """It ends well, says what it is about, and nothing on stderr."""
    (program,) = [each for each in PROGRAMS if has in each]
    if "WebSocket" in program and find_spec("wsproto") is None:
        pytest.skip("needs wsproto")
    assert ENDING[has] in output_of(program)
