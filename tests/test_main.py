"""``python -m libevent_cffi``: the commands of the terminal."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from libevent_cffi import __main__, thread, util
from libevent_cffi._commands import info
from libevent_cffi._native import features, lib
from libevent_cffi._version import VERSION


def facts(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Return what ``info --json`` prints."""
    assert __main__.main(["info", "--json"]) == 0
    printed: dict[str, Any] = json.loads(capsys.readouterr().out)
    return printed


def text(capsys: pytest.CaptureFixture[str]) -> str:
    """Return what ``info`` prints."""
    assert __main__.main(["info"]) == 0
    return capsys.readouterr().out


def test_it_runs_as_a_module(tmp_path: Path) -> None:
    """``python -m libevent_cffi info`` ends well, and says nothing on standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "libevent_cffi", "info"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"libevent  {util.version()}, built against ")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """--version prints the package's version and ends."""
    with pytest.raises(SystemExit) as caught:
        __main__.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"libevent_cffi {VERSION}\n"


@pytest.mark.parametrize("arguments", [[], ["infos"], ["info", "--jsn"]])
def test_a_wrong_command_is_told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """What is no command ends with status 2 and the usage."""
    with pytest.raises(SystemExit) as caught:
        __main__.main(arguments)
    assert caught.value.code == 2
    assert "usage: python -m libevent_cffi" in capsys.readouterr().err


def test_json_tells_versions(capsys: pytest.CaptureFixture[str]) -> None:
    """The libevent loaded, the one built against, the package, Python and cffi."""
    found = facts(capsys)
    assert found["libevent"]["loaded"] == util.version()
    assert found["libevent"]["built_against"] == features.built_version()
    assert found["package"]["version"] == VERSION
    assert Path(found["package"]["path"], "__main__.py").samefile(__main__.__file__)
    assert found["python"]["version"] == ".".join(map(str, sys.version_info[:3]))
    assert found["python"]["cffi"]


def test_json_tells_methods(capsys: pytest.CaptureFixture[str]) -> None:
    """A new base's method is one of those supported, with what it can do."""
    method = facts(capsys)["method"]
    assert method["default"] in method["supported"]
    assert set(method["features"]) <= {"ET", "O1", "FDS", "EARLY_CLOSE"}


def test_json_tells_state(capsys: pytest.CaptureFixture[str]) -> None:
    """Threads, debugging and memory are what the modules say."""
    found = facts(capsys)
    assert found["threads"] is thread.enabled()
    assert found["debug"]["mode"] is bool(lib.lev_debug_mode_on)
    assert found["debug"]["locks"] is bool(lib.lev_lock_debugging_on)
    assert found["memory"]["hook"] is util.features()["memory_functions"]
    assert found["memory"]["blocks"] >= 0


def test_every_feature_is_there_or_has_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    """JSON and text both tell each feature, and why one is missing."""
    told = {name: each["there"] for name, each in facts(capsys)["features"].items()}
    assert told == dict(util.features())
    lines = text(capsys).split("features\n")[1].splitlines()
    rows = dict(line.split(maxsplit=1) for line in lines)
    assert {name: answer == "yes" for name, answer in rows.items()} == told
    reasons = ("no: needs", "no: was", "emulated: needs", "emulated: was")
    assert all(answer == "yes" or answer.startswith(reasons) for answer in rows.values())
    everywhere = ("watch", "ws", "tcp_keepalive", "unix_http_client", "http_connection_limit")
    for name in (*everywhere, "http_split_timeouts", "ipv6_dual_stack"):
        assert not rows[name].startswith("no")


def test_text_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    """Answers of one block start in one column."""
    for block in text(capsys).split("\nfeatures\n"):
        lines = [line for line in block.splitlines() if line]
        width = max(len(line.split()[0]) for line in lines)
        indent = len(lines[0]) - len(lines[0].lstrip())
        assert all(line[indent + width : indent + width + 2] == "  " for line in lines)


def test_debug_switches_are_told(tmp_path: Path) -> None:
    """What LIBEVENT_CFFI_DEBUG turns on is on in the report."""
    done = subprocess.run(
        [sys.executable, "-m", "libevent_cffi", "info"],
        cwd=tmp_path,
        env={
            **os.environ,
            "LIBEVENT_CFFI_DEBUG": "mode,locks",
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "mode on, locks on; LIBEVENT_CFFI_DEBUG=mode,locks" in done.stdout


def test_no_usable_method_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the environment forbids every method, the report says so instead of failing."""
    for method in facts(capsys)["method"]["supported"]:
        monkeypatch.setenv(f"EVENT_NO{method.upper()}", "1")
    assert "can be used: see the EVENT_NO... variables" in text(capsys)


def test_missing_tls_is_told_with_its_reason() -> None:
    """Without TLS its line says why."""
    missing = {**info.collect(), "tls": {"backends": [], "missing": "needs OpenSSL"}}
    assert "TLS       none: needs OpenSSL" in info._lines(missing)


def test_sources_that_are_not_built_say_what_to_do(tmp_path: Path) -> None:
    """Python started in the folder of the sources finds them before what pip installed, and says so."""
    sources = Path(info.__file__).parents[1]
    ignored = shutil.ignore_patterns("*.so", "*.pyd", "*.c", "__pycache__")
    shutil.copytree(sources, tmp_path / "libevent_cffi", ignore=ignored)
    done = subprocess.run(
        [sys.executable, "-m", "libevent_cffi", "info"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    folder = tmp_path / "libevent_cffi"
    assert last.startswith(f"ImportError: libevent_cffi in {folder} has no compiled module")
    assert "leave their folder" in last
    assert "pip install -e ." in last
