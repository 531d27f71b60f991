"""The key-value service among the examples: its server, and its clients in Python and in C."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from running_example import DEADLINE, ENVIRONMENT, EXAMPLES, running

if not EXAMPLES.exists():
    pytest.skip("needs the source tree", allow_module_level=True)


@pytest.fixture
def port() -> Iterator[str]:
    """The port of the service, which is ended by SIGTERM."""
    with running("rpc_kv_server.py") as port:
        yield port


def run(*command: object, status: int = 0) -> list[str]:
    """Run a client, and return the lines that it printed."""
    words = [str(word) for word in command]
    done = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == status, done.stderr
    return (done.stderr if status else done.stdout).splitlines()


def ask(*words: str, status: int = 0) -> list[str]:
    """Ask by the client in Python."""
    return run(sys.executable, EXAMPLES / "rpc_kv_client.py", *words, status=status)


def test_a_client_in_python(port: str) -> None:
    """Values are put, got, named and deleted; mistakes are told."""
    assert ask(port, "put", "color", "grün", "size", "12") == ["color was not there", "size was not there"]
    assert ask(port, "delete", "size", "shape") == ["size was 12", "shape was not there"]
    assert ask(port, "keys", "c") == ["color"]
    assert "Get: " in ask("1", "get", "size", status=1)[0]


def test_a_client_in_c(port: str, tmp_path: Path) -> None:
    """It calls over libevent's own evrpc, and both see the same."""
    client = tmp_path / "client"
    has_headers = ["cc", "-E", "-include", "event2/rpc.h", "-x", "c", os.devnull]
    if shutil.which("cc") is None or subprocess.run(has_headers, capture_output=True).returncode:
        pytest.skip("needs a C compiler that finds libevent")
    command = ["cc", "-o", client, EXAMPLES / "rpc_kv_client.c", "-levent_extra", "-levent_core"]
    subprocess.run(command, check=True, timeout=DEADLINE)
    assert run(client, port, "put", "color", "grün") == ["color was not there"]
    assert ask(port, "get", "color", "shape") == ["color is grün", "shape is not there"]
    assert run(client, port, "put", "color", "blue") == ["color was grün"]
    assert run(client, port, "get", "shape") == ["shape is not there"]
    assert run(client, "1", "get", "shape", status=1)[0].startswith("the call failed: status ")
