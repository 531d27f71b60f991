"""A build that cannot work ends with one message: what is missing, and how to install it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
SYSTEMS = ("Debian, Ubuntu", "Fedora", "Alpine", "Arch", "Homebrew", "FreeBSD")

if not (PROJECT / "build_ffi.py").exists():
    pytest.skip("needs the source tree", allow_module_level=True)


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the project with *environment* over ours."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("LIBEVENT_CFFI_")}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=PROJECT,
        env={**ours, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def run_code(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run("-c", f"import build_ffi\n{code}", **environment)


def message(done: subprocess.CompletedProcess[str]) -> str:
    """Return what a failed build said, after checking that it said nothing else."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    _, marker, text = done.stderr.partition("libevent_cffi cannot be built: ")
    assert marker, done.stderr
    assert "libevent_cffi cannot be built" not in text
    assert all(text.count(system) == 1 for system in SYSTEMS)
    assert text.rstrip().endswith("and CC when the compiler is.")
    return text


def build(code: str = "", **environment: str) -> str:
    return message(run_code(f"{code}\nbuild_ffi.ffibuilder()", **environment))


def make_prefix(folder: Path, config: str = "", libraries: tuple[str, ...] = ("event_core",)) -> str:
    """Make a folder that looks like an installed libevent; with *config*, its headers are made up as well."""
    (folder / "include" / "event2").mkdir(parents=True)
    (folder / "lib").mkdir()
    (folder / "include" / "event2" / "event.h").touch()
    if config:
        (folder / "include" / "event2" / "event-config.h").write_text(config)
    for name in libraries:
        (folder / "lib" / f"lib{name}.so").write_text("this is no library\n")
    return str(folder)


def test_no_compiler(tmp_path: Path) -> None:
    text = build(CC=str(tmp_path / "no-such-cc"))
    assert text.startswith(f"there is no C compiler ({tmp_path / 'no-such-cc'}).")


def test_no_compiler_in_path(tmp_path: Path) -> None:
    assert build(PATH=str(tmp_path), CC="").startswith("there is no C compiler (")


def test_broken_compiler() -> None:
    text = build(CC=f"{sys.executable} -c 'raise SystemExit(\"I am no compiler\")'")
    assert text.startswith("the C compiler (")
    assert "I am no compiler" in text


def test_no_libevent(tmp_path: Path) -> None:
    nowhere = "build_ffi._places = lambda: [build_ffi.Dirs([], [])]"
    text = build(nowhere, CFLAGS=f"-nostdinc -I{tmp_path}", LIBEVENT_PREFIX="")
    assert text.startswith("libevent's headers are not there (event2/event.h).")


def test_no_libevent_in_prefix(tmp_path: Path) -> None:
    text = build(LIBEVENT_PREFIX=str(tmp_path))
    assert text.startswith(f"LIBEVENT_PREFIX is {tmp_path}, and there is no include/event2 in it.")


def test_no_library_in_prefix(tmp_path: Path) -> None:
    text = build(LIBEVENT_PREFIX=make_prefix(tmp_path, libraries=()))
    assert text.startswith(f"LIBEVENT_PREFIX is {tmp_path}, and there is no lib/libevent_core in it.")


@pytest.mark.parametrize(
    ("config", "version"),
    [
        ('#define EVENT__NUMERIC_VERSION 0x02010700\n#define EVENT__VERSION "2.1.7-rc"\n', "2.1.7-rc"),
        ('#define _EVENT_NUMERIC_VERSION 0x02001600\n#define _EVENT_VERSION "2.0.22"\n', "older than 2.1"),
    ],
)
def test_too_old(tmp_path: Path, config: str, version: str) -> None:
    text = build(LIBEVENT_PREFIX=make_prefix(tmp_path, config))
    assert text.startswith(f"this libevent is {version}; 2.1.8 or a newer one is needed.")


def test_no_python_headers(tmp_path: Path) -> None:
    text = build(f"build_ffi._python_dirs = lambda: [{str(tmp_path)!r}]")
    assert text.startswith("the headers of Python are not there (Python.h).")


def test_headers_without_libraries(tmp_path: Path) -> None:
    folder = make_prefix(tmp_path, libraries=("event_core", "event_extra"))
    headers = f"build_ffi._find = lambda: found._replace(library=[{folder + '/lib'!r}])"
    text = build(f"found = build_ffi._find()\n{headers}")
    assert "has headers, but event_extra, event_core cannot be linked:" in text


def test_optional_libraries_of_another_libevent(tmp_path: Path) -> None:
    """Its own threads and TLS, or none: those beside another libevent_core would work on other state."""
    folder = make_prefix(tmp_path, libraries=("event_core", "event_extra"))
    code = f"""
found = build_ffi._find()
build_ffi._find = lambda: found._replace(library=[{folder + "/lib"!r}])
probed = build_ffi.probe()
print(probed.switches["LEV_HAS_PTHREADS"], probed.switches["LEV_HAS_TLS"], probed.libraries)
"""
    done = run_code(code)
    assert done.stdout == "0 0 ['event_extra', 'event_core']\n", done.stderr


@pytest.mark.parametrize("wrong", ["void lev_wrong(nowhere_declared_t);", "int lev_wrong(struct event x y);"])
def test_a_wrong_declaration_is_shown(wrong: str) -> None:
    """What cffi says of it may name nothing."""
    text = f"int lev_right(void);\n{wrong}\nint lev_more(void);\n"
    done = run_code(f"build_ffi._own = lambda switches: {text!r}\nbuild_ffi.ffibuilder()")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.rstrip().endswith(f"declared above it:\n\n{wrong}")


def test_unknown_group() -> None:
    done = run_code("build_ffi.probe()", LIBEVENT_CFFI_DISABLE="tls,wss")
    assert done.returncode == 1
    assert "LIBEVENT_CFFI_DISABLE: 'wss' is none of tls, mbedtls, ws, watch, pthreads, 2.2" in done.stderr
    assert "Traceback" not in done.stderr


def test_tls_module_cannot_be_described_without_tls() -> None:
    done = run_code("build_ffi.tls_ffibuilder()", LIBEVENT_CFFI_DISABLE="tls")
    assert message(done).startswith("there is no TLS: switched off by LIBEVENT_CFFI_DISABLE.")


def test_setup_ends_with_the_message(tmp_path: Path) -> None:
    pytest.importorskip("setuptools")
    text = message(run("setup.py", "build_ext", CC=str(tmp_path / "no-such-cc")))
    assert text.startswith("there is no C compiler")


def test_metadata_needs_no_compiler(tmp_path: Path) -> None:
    pytest.importorskip("setuptools")
    done = run("setup.py", "--name", CC=str(tmp_path / "no-such-cc"))
    assert done.returncode == 0, done.stderr
