"""./dev, as far as it can be tried without changing the machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DEV = Path(__file__).resolve().parents[1] / "dev"
BENCHMARKS = DEV.parent / "benchmarks"
TOOLS = ("sh", "dirname", "cat", "id", "uname")

if not DEV.exists() or os.name != "posix":
    pytest.skip("needs the source tree and a POSIX shell", allow_module_level=True)


def dev(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ./dev with *environment* over ours."""
    return subprocess.run(
        ["sh", DEV, *arguments],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def bare_machine(folder: Path, *managers: str) -> str:
    """Return a PATH with a shell, this Python and the package *managers*, which do nothing; no compiler."""
    for name in TOOLS:
        found = shutil.which(name)
        if found:
            (folder / name).symlink_to(found)
    (folder / "python3").symlink_to(sys.executable)
    for name in managers:
        (folder / name).write_text("#!/bin/sh\nexit 1\n", encoding="ascii")
        (folder / name).chmod(0o755)
    return str(folder)


def test_help_names_every_command() -> None:
    """Each command of the script is told, with what its arguments are."""
    done = dev("help")
    assert (done.returncode, done.stderr) == (0, "")
    for command in ("demo", "test", "lint", "types", "names", "bench", "setup", "help"):
        assert f"\n  {command} " in done.stdout


@pytest.mark.parametrize("name", sorted(path.name for path in BENCHMARKS.glob("[!_]*.py")))
def test_a_benchmark_without_the_package_says_so(tmp_path: Path, name: str) -> None:
    """It does not leave out what it is to measure, nor end with a traceback."""
    shutil.copytree(BENCHMARKS, tmp_path / "benchmarks")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-S", tmp_path / "benchmarks" / name],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("there is no libevent_cffi to measure: ")
    assert done.stdout == ""


def test_without_a_command_it_helps() -> None:
    """No argument is no mistake."""
    assert dev().stdout == dev("help").stdout


def test_an_unknown_command_is_told() -> None:
    """A typing error ends with status 1, the usage, and the word."""
    done = dev("tset")
    assert done.returncode == 1
    assert done.stderr.startswith("usage: ./dev COMMAND")
    assert done.stderr.endswith("dev: there is no command tset\n")


@pytest.mark.parametrize(
    ("manager", "command"),
    [
        ("dnf", "dnf install gcc"),
        ("apk", "apk add gcc musl-dev"),
        ("pacman", "pacman -S --needed gcc"),
        ("zypper", "zypper install gcc"),
    ],
)
def test_elsewhere_the_command_that_installs_is_told(tmp_path: Path, manager: str, command: str) -> None:
    """Where it does not install by itself, it says what is missing and how to get it."""
    done = dev("test", PATH=bare_machine(tmp_path, manager), CC="", PYTHON="")
    assert done.returncode == 1
    assert "dev: this machine lacks: compiler" in done.stderr
    assert f"\n  {command}" in done.stderr


def test_without_a_package_manager_the_lack_is_told(tmp_path: Path) -> None:
    """Where no package manager is known, it says at least what is missing."""
    done = dev("test", PATH=bare_machine(tmp_path), CC="", PYTHON="")
    assert done.returncode == 1
    assert done.stderr.startswith("dev: this machine lacks: compiler")
