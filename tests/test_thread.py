"""Thread support, debugging of locks and events, and what start-up checks."""

from __future__ import annotations

import os
import subprocess
import sys
import types

import pytest

from libevent_cffi import errors, thread, util
from libevent_cffi._native import ffi, lib, startup

HAS_THREADS = bool(lib.LEV_HAS_PTHREADS)


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run *code* in a process of its own, where nothing is debugged but what *environment* says."""
    path = os.pathsep.join(filter(None, sys.path))
    return subprocess.run(
        [sys.executable, "-c", "from libevent_cffi import thread\n" + code],
        env={**os.environ, "PYTHONPATH": path, "LIBEVENT_CFFI_DEBUG": "", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def output(code: str, **environment: str) -> str:
    """Run *code*, which must end well, and return what it printed."""
    done = run_python(code, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


USE = """
from libevent_cffi import thread, util
from libevent_cffi._native import lib
def attempt(function):
    try:
        function()
        print("on")
    except RuntimeError as error:
        print(error)
"""


def test_threads_are_on_from_import() -> None:
    """Whoever imports the package has libevent's locks, unless libevent was built without them."""
    assert thread.enabled() is HAS_THREADS


def test_a_base_is_notifiable_already() -> None:
    """make_notifiable() accepts an open base and has nothing to do."""
    from libevent_cffi.event import EventBase

    with EventBase() as base:
        assert thread.make_notifiable(base) is None
    with pytest.raises(errors.ClosedError):
        thread.make_notifiable(base)


def test_only_a_base_can_be_notifiable() -> None:
    """make_notifiable() refuses what is no EventBase."""
    with pytest.raises(TypeError, match="must be an EventBase, not object"):
        thread.make_notifiable(object())


@pytest.mark.parametrize(
    ("call", "name"),
    [("thread.enable_lock_debugging", "lock debugging"), ("util.enable_debug_mode", "debug mode")],
)
def test_debugging_can_be_turned_on_once(call: str, name: str) -> None:
    """The second call is a RuntimeError, where libevent would end the process."""
    assert output(f"{USE}attempt({call}); attempt({call})") == f"on\n{name} is on already\n"


@pytest.mark.parametrize("call", ["thread.enable_lock_debugging", "util.enable_debug_mode"])
def test_debugging_is_refused_when_it_comes_too_late(call: str) -> None:
    """After the first object it is a RuntimeError, where libevent would end the process."""
    printed = output(f"{USE}lib.lev_used = 1; attempt({call})")
    assert "must be turned on before the first object is made" in printed


def test_debugging_from_the_environment() -> None:
    """LIBEVENT_CFFI_DEBUG turns the modes on at import, and then they are on."""
    code = f"{USE}attempt(thread.enable_lock_debugging); attempt(util.enable_debug_mode)"
    printed = output(code, LIBEVENT_CFFI_DEBUG="mode,locks")
    assert printed == "lock debugging is on already\ndebug mode is on already\n"


@pytest.mark.parametrize("debug", ["", "locks", "mode", "mode,locks,logging"])
def test_libevent_works_in_every_debug_mode(debug: str) -> None:
    """Locks and events are in order whichever checks are on."""
    code = """
from libevent_cffi._native import lib
base = lib.event_base_new()
buffer = lib.evbuffer_new()
lib.evbuffer_free(buffer)
lib.event_base_free(base)
"""
    assert output(code, LIBEVENT_CFFI_DEBUG=debug) == ""


def test_an_unknown_debug_word_is_a_warning() -> None:
    """A typing error in the environment does not pass in silence, nor stop the program."""
    done = run_python("print('runs')", LIBEVENT_CFFI_DEBUG="mode,lokcs")
    assert done.stdout == "runs\n"
    assert "LIBEVENT_CFFI_DEBUG: 'lokcs' is none of locks, logging, mode" in done.stderr


def test_priority_inheritance_is_chosen_in_the_environment() -> None:
    """LIBEVENT_CFFI_THREADS=prio_inherit works where libevent has it, and says so where not."""
    done = run_python("print(thread.enabled())", LIBEVENT_CFFI_THREADS="prio_inherit")
    assert (done.returncode, done.stdout) == (0, f"{HAS_THREADS}\n")
    has_it = util.features()["thread_prio_inherit"] or not HAS_THREADS
    assert ("needs libevent 2.2" in done.stderr) is not has_it


def test_an_unknown_thread_word_is_a_warning() -> None:
    """Another word in LIBEVENT_CFFI_THREADS is told."""
    done = run_python("print(thread.enabled())", LIBEVENT_CFFI_THREADS="fair")
    assert done.stdout == f"{HAS_THREADS}\n"
    assert "LIBEVENT_CFFI_THREADS: 'fair' is not 'prio_inherit'" in done.stderr


def test_a_second_setup_changes_nothing() -> None:
    """A module that is imported anew finds libevent as it is, without warnings or exit."""
    code = """
import sys, logging; logging.basicConfig(level=logging.DEBUG)
from libevent_cffi._native import startup
startup.setup(frozenset({"mode"})); startup.setup()
"""
    assert output(code, LIBEVENT_CFFI_DEBUG="mode") == ""


# -- what start-up refuses -----------------------------------------------------------------------------------


def fake_lib(built: int, loaded: int) -> types.SimpleNamespace:
    """A compiled module of one version in a process with another."""
    return types.SimpleNamespace(
        LIBEVENT_VERSION_NUMBER=built,
        LIBEVENT_VERSION=ffi.new("char[]", b"2.1.12-stable"),
        event_get_version_number=lambda: loaded,
        event_get_version=lambda: kept,
        lev_started=1,
    )


kept = ffi.new("char[]", b"2.2.1-alpha-dev")


def test_another_series_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A libevent of another series than the module was built for is an ImportError that says so."""
    monkeypatch.setattr(startup, "lib", fake_lib(0x02010C00, 0x02020100))
    with pytest.raises(ImportError, match=r"built for libevent 2\.1\.12-stable, but 2\.2\.1-alpha-dev is"):
        startup.setup()


def test_another_release_of_the_series_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a series no program needs to be built anew."""
    monkeypatch.setattr(startup, "lib", fake_lib(0x02010800, 0x02010C00))
    startup.setup()


SUBINTERPRETER = """
import sys
code = '''
try:
    import libevent_cffi
except ImportError as error:
    print("refused", flush=True)
'''
try:
    import _interpreters
    kinds = [_interpreters.create("legacy"), _interpreters.create()]
    run = _interpreters.run_string
except ImportError:
    try:
        import _xxsubinterpreters
        kinds = [_xxsubinterpreters.create(isolated=False), _xxsubinterpreters.create()]
        run = _xxsubinterpreters.run_string
    except ImportError:  # PyPy has one interpreter
        kinds, run = [code, code], lambda _, code: print("refused")
for kind in kinds:
    run(kind, code)
print(thread.enabled())
"""


def test_a_sub_interpreter_is_refused() -> None:
    """The package is for the main interpreter, and stays whole there."""
    assert output("import sys; sys.stdout.reconfigure(line_buffering=True)\n" + SUBINTERPRETER) == (
        f"refused\nrefused\n{HAS_THREADS}\n"
    )
    assert lib.lev_started == 1
