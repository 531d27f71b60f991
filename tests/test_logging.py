"""libevent's messages in Python's logging, and the report when libevent gives up."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from libevent_cffi import util
from libevent_cffi._native import ffi, lib, logs

DEBUG, MSG, WARN, ERR = 0, 1, 2, 3


@pytest.fixture(autouse=True)
def _nothing_waits() -> Iterator[None]:
    logs.drain()
    yield
    util.set_debug_logging(False)
    logs.drain()


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run *code* in a process of its own."""
    path = os.pathsep.join(filter(None, sys.path))
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def put(level: int, text: str, source: int = lib.LEV_LOG_LIBEVENT) -> None:
    """Say something in libevent's place."""
    lib.lev_log_put(level, source, text.encode())


# -- reading out ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "expected"),
    [(DEBUG, logging.DEBUG), (MSG, logging.INFO), (WARN, logging.WARNING), (ERR, logging.ERROR)],
)
def test_levels_are_python_s(level: int, expected: int, caplog: pytest.LogCaptureFixture) -> None:
    """Each of libevent's levels has its level of logging."""
    caplog.set_level(logging.DEBUG, "libevent")
    put(level, "100 % fine")
    logs.drain()
    assert caplog.record_tuples == [("libevent", expected, "100 % fine")]


def test_messages_arrive_in_order_and_once(caplog: pytest.LogCaptureFixture) -> None:
    """drain() empties the ring from the oldest message on."""
    for number in range(20):
        put(WARN, f"message {number}")
    assert lib.lev_log_pending == 20
    logs.drain()
    logs.drain()
    assert caplog.messages == [f"message {number}" for number in range(20)]
    assert lib.lev_log_pending == 0


def test_a_failed_call_is_logged_with_its_error(caplog: pytest.LogCaptureFixture) -> None:
    """What libevent says about a failure is in the log when the exception arrives."""
    with pytest.raises(OSError):
        util.set_nonblocking(2**20)
    assert [record.name for record in caplog.records] == ["libevent"]
    assert "fcntl(1048576, F_GETFL)" in caplog.text


def test_long_messages_are_cut_and_bad_ones_replaced(caplog: pytest.LogCaptureFixture) -> None:
    """A message has at most 1023 bytes, and any bytes can be shown."""
    put(WARN, "x" * 5000)
    lib.lev_log_put(WARN, lib.LEV_LOG_LIBEVENT, b"\xff!")
    logs.drain()
    assert caplog.messages == ["x" * 1023, "\N{REPLACEMENT CHARACTER}!"]


def test_a_flood_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    """Where the ring is full the oldest messages are kept, and the number of the lost is told once."""
    extra = 37
    for number in range(lib.LEV_LOG_SLOTS + extra):
        put(WARN, str(number))
    logs.drain()
    assert caplog.messages[:-1] == [str(number) for number in range(lib.LEV_LOG_SLOTS)]
    assert caplog.messages[-1].startswith(f"{extra} messages of libevent were lost")
    caplog.clear()
    put(WARN, "after")
    logs.drain()
    assert caplog.messages == ["after"]


def test_many_threads_lose_and_mix_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Messages of many threads arrive whole, each thread's in order, and every lost one is counted."""
    writers, each = 6, 1500
    start = threading.Barrier(writers + 1)

    def write(name: int) -> None:
        start.wait()
        for number in range(each):
            put(WARN, f"{name} {number} " + "x" * (number % 900))

    threads = [threading.Thread(target=write, args=(name,)) for name in range(writers)]
    for thread in threads:
        thread.start()
    start.wait()
    while any(thread.is_alive() for thread in threads):
        logs.drain()
    logs.drain()

    lost = sum(int(text.split()[0]) for text in caplog.messages if "were lost" in text)
    seen = [text.split(" ") for text in caplog.messages if "were lost" not in text]
    assert len(seen) + lost == writers * each
    assert all(tail == "x" * (int(number) % 900) for _, number, tail in seen)
    for name in range(writers):
        numbers = [int(number) for who, number, _ in seen if who == str(name)]
        assert numbers == sorted(set(numbers))


def test_several_threads_may_read(caplog: pytest.LogCaptureFixture) -> None:
    """Two loops that read out at once share the messages between them."""
    for number in range(lib.LEV_LOG_SLOTS):
        put(WARN, str(number))
    threads = [threading.Thread(target=logs.drain) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    logs.drain()
    assert Counter(caplog.messages) == Counter(str(number) for number in range(lib.LEV_LOG_SLOTS))


# -- what handlers do ----------------------------------------------------------------------------------------


Emit = Callable[[logging.LogRecord], None]
Attach = Callable[[Emit], None]


@pytest.fixture
def attach() -> Iterator[Attach]:
    """Attach a handler with a given emit() to the logger, for the length of the test."""
    logger, attached = logging.getLogger("libevent"), []

    def attach(emit: Emit) -> None:
        handler = logging.Handler()
        handler.emit = emit  # type: ignore[method-assign]
        attached.append(handler)
        logger.addHandler(handler)

    yield attach
    for handler in attached:
        logger.removeHandler(handler)


def test_a_broken_handler_does_not_break_the_loop(attach: Attach, capsys: pytest.CaptureFixture[str]) -> None:
    """A handler that raises is reported in logging's own way, and later messages go on."""
    seen = []

    def emit(record: logging.LogRecord) -> None:
        seen.append(record.getMessage())
        raise ZeroDivisionError("broken handler")

    attach(emit)
    put(WARN, "one")
    put(WARN, "two")
    logs.drain()
    assert seen == ["one", "two"]
    assert "broken handler" in capsys.readouterr().err


def test_a_handler_may_use_libevent(attach: Attach) -> None:
    """What a handler makes libevent say waits for the next reading: there is no endless loop."""
    seen = []

    def emit(record: logging.LogRecord) -> None:
        seen.append(record.getMessage())
        put(WARN, "about: " + record.getMessage())
        logs.drain()

    attach(emit)
    put(WARN, "one")
    logs.drain()
    assert seen == ["one"]
    logs.drain()
    assert seen == ["one", "about: one"]


def test_interrupting_a_handler_interrupts(attach: Attach) -> None:
    """KeyboardInterrupt passes through, and reading goes on afterwards."""
    seen = []

    def emit(record: logging.LogRecord) -> None:
        seen.append(record.getMessage())
        if len(seen) == 1:
            raise KeyboardInterrupt

    attach(emit)
    put(WARN, "one")
    put(WARN, "two")
    with pytest.raises(KeyboardInterrupt):
        logs.drain()
    logs.drain()
    assert seen == ["one", "two"]


# -- libevent's own talk -------------------------------------------------------------------------------------


def test_debug_logging_tells_what_libevent_does(caplog: pytest.LogCaptureFixture) -> None:
    """Debug messages come while it is on, and only then."""
    caplog.set_level(logging.DEBUG)
    for on in (True, False):
        util.set_debug_logging(on)
        caplog.clear()
        base = lib.event_base_new()
        lib.event_base_free(base)
        logs.drain()
        assert bool(caplog.records) is on
        assert all(record.levelno == logging.DEBUG and record.name == "libevent" for record in caplog.records)


def test_dns_has_a_logger_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    """Warnings of DNS go to "libevent.dns"; its debug messages only while debug logging is on."""
    caplog.set_level(logging.DEBUG)
    base = lib.event_base_new()
    resolver = lib.evdns_base_new(base, 0)
    lib.evdns_base_nameserver_ip_add(resolver, b"no address")
    lib.evdns_base_nameserver_ip_add(resolver, b"127.0.0.1:53")
    logs.drain()
    assert [record[:2] for record in caplog.record_tuples] == [("libevent.dns", logging.WARNING)]
    caplog.clear()
    util.set_debug_logging(True)
    lib.evdns_base_nameserver_ip_add(resolver, b"127.0.0.1:54")
    logs.drain()
    assert ("libevent.dns", logging.DEBUG) in [record[:2] for record in caplog.record_tuples]
    util.set_debug_logging(False)
    lib.evdns_base_free(resolver, 0)
    lib.event_base_free(base)


def test_nothing_is_printed_where_logging_is_not_configured() -> None:
    """A warning that nobody asked for leaves stderr empty, also at the end of the program."""
    done = run_python(
        "from libevent_cffi._native import lib, logs\n"
        "lib.lev_log_put(2, 0, b'early'); logs.drain(); lib.lev_log_put(2, 0, b'late')"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_waits_at_the_end_is_told() -> None:
    """A message that came after the last loop is logged when the program ends."""
    done = run_python(
        "import logging; logging.basicConfig(format='%(name)s %(message)s')\n"
        "from libevent_cffi._native import lib\n"
        "lib.lev_log_put(2, 1, b'late')"
    )
    assert done.stderr == "libevent.dns late\n"


def test_debug_logging_from_the_environment() -> None:
    """LIBEVENT_CFFI_DEBUG=logging turns debug messages on at import."""
    code = (
        "import logging; logging.basicConfig(level=logging.DEBUG, format='%(levelname)s %(name)s')\n"
        "from libevent_cffi._native import lib; lib.event_base_loop(lib.event_base_new(), 0)"
    )
    assert "DEBUG libevent" in run_python(code, LIBEVENT_CFFI_DEBUG="logging").stderr
    assert run_python(code).stderr == ""


def test_a_forked_child_does_not_repeat_the_parent() -> None:
    """What waited at the fork is the parent's to tell; the child's own messages are told."""
    done = run_python(
        "import logging, os, warnings; logging.basicConfig(format='%(message)s')\n"
        "from libevent_cffi._native import lib, logs\n"
        "lib.lev_log_put(2, 0, b'parent')\n"
        "pid = os.fork()\n"
        "if not pid:\n"
        "    lib.lev_log_put(2, 0, b'child'); logs.drain(); os._exit(0)\n"
        "os.waitpid(pid, 0); logs.drain()"
    )
    assert done.stderr == "child\nparent\n"


# -- the end -------------------------------------------------------------------------------------------------

FATAL = """
import faulthandler, threading
from libevent_cffi._native import lib
{before}
def inner():
    lib.event_enable_debug_mode()
    lib.event_enable_debug_mode()
def outer():
    inner()
lib.lev_log_put(2, 1, b"an earlier warning")
{run}
"""


@pytest.mark.parametrize(
    "run",
    [
        "outer()",
        "thread = threading.Thread(target=outer); thread.start(); thread.join()",
        "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals()); outer()",
    ],
    ids=["main", "thread", "signals blocked"],
)
def test_a_fatal_error_shows_reason_and_stack(run: str) -> None:
    """The reason, the last messages and Python's stack go to stderr, and the process aborts."""
    done = run_python(FATAL.format(before="", run=run))
    assert done.returncode == -signal.SIGABRT
    assert "Fatal error in libevent: event_enable_debug_mode was called twice!\n" in done.stderr
    assert "before: an earlier warning\n" in done.stderr
    stack = done.stderr.partition("most recent call first")[2]
    assert " in inner\n" in done.stderr
    assert " in outer\n" in done.stderr
    assert stack


def test_a_fatal_error_is_told_when_the_ring_is_full() -> None:
    """The reason does not need a place in the ring."""
    before = "for number in range(2000): lib.lev_log_put(2, 0, b'flood')"
    done = run_python(FATAL.format(before=before, run="outer()"))
    assert done.returncode == -signal.SIGABRT
    assert done.stderr.startswith("Fatal error in libevent: event_enable_debug_mode was called twice!\n")
    assert done.stderr.count("before: flood\n") == 16


def test_a_fatal_error_after_python_has_ended_still_aborts() -> None:
    """With faulthandler gone there is no stack, but the reason is told and the process aborts."""
    done = run_python(
        "import atexit\nfrom libevent_cffi._native import lib\nlib.lev_fatal_forget()\nlib.lev_fatal(1)",
        PYTHONDEVMODE="",  # it keeps a faulthandler of its own
    )
    assert done.returncode == -signal.SIGABRT
    assert done.stderr == "Fatal error in libevent: no reason was given\n"


def test_the_borrowed_signal_is_given_back() -> None:
    """The signal that served to find the handler does what it did before: it is free, and it kills."""
    done = run_python(
        "import os\n"
        "from libevent_cffi._native import lib\n"
        "number = lib.lev_fatal_pick(); print(number, flush=True); os.kill(os.getpid(), number)"
    )
    assert done.returncode == -int(done.stdout)
    assert done.stderr == ""


def test_the_ring_takes_messages_of_any_length() -> None:
    """lev_log_take() never writes beyond the memory it was given."""
    put(WARN, "x" * 100)
    memory = ffi.new("char[]", b"?" * 20)
    level, source = ffi.new("int *"), ffi.new("int *")
    assert lib.lev_log_take(memory, 10, level, source) == 9
    assert bytes(ffi.buffer(memory, 20)) == b"x" * 9 + b"\0" + b"?" * 10
    assert lib.lev_log_take(memory, 10, level, source) == -1
