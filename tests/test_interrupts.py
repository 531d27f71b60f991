"""Ctrl-C at any moment: it leaves dispatch() at once, and no event is lost or told twice."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import storm
from conftest import output_of

import libevent_cffi
from libevent_cffi import PERSIST, Event, EventBase
from libevent_cffi._native import callbacks, lib, wakeup

IS_PYPY = sys.implementation.name == "pypy"
#: A longer storm by hand: LIBEVENT_CFFI_STORM=5000 python -m pytest tests/test_interrupts.py
INTERRUPTS = int(os.environ.get("LIBEVENT_CFFI_STORM", "50"))
SECONDS = max(15.0, INTERRUPTS / 20)

INTERPRETERS = [(), ("--jit", "off")] if IS_PYPY else [()]
#: Elsewhere the interpreter may be interrupted between any two instructions, so the function has begun.
EXACT_IN_PYTHON = sys.version_info >= (3, 11) and not IS_PYPY
KINDS = [name for name in storm.KINDS if EXACT_IN_PYTHON or name not in ("PythonFunctions", "Generators")]
if IS_PYPY:
    KINDS.remove("Accepts")  # there no C function takes its arguments


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def _storm(name: str, options: tuple[str, ...], *more: str) -> dict[str, Any]:
    command = [
        sys.executable,
        *options,
        str(Path(storm.__file__)),
        name,
        str(INTERRUPTS),
        str(SECONDS),
        *more,
    ]
    done = subprocess.run(command, env=_environment(), capture_output=True, text=True, timeout=SECONDS + 60)
    assert (done.returncode, done.stderr) == (0, ""), done
    outcome: dict[str, Any] = json.loads(done.stdout)
    return outcome


@pytest.mark.parametrize("busy", [False, True], ids=["alone", "beside a busy thread"])
@pytest.mark.parametrize("options", INTERPRETERS, ids=lambda options: " ".join(options) or "default")
@pytest.mark.parametrize("name", [name for name in KINDS if name != "TakenCtrlC"])
def test_no_event_is_lost_or_told_twice_in_a_storm(name: str, options: tuple[str, ...], busy: bool) -> None:
    """
    Each event is told exactly as often as it happened, whatever KeyboardInterrupts come meanwhile.

    A KeyboardInterrupt that Python raises between C and the user's function loses the event or runs it twice,
    so the guard keeps it until the loop has stopped.
    """
    outcome = _storm(name, options, *(["--busy"] if busy else []))
    assert outcome["error"] == ""
    assert outcome["interrupts"] >= INTERRUPTS
    assert (outcome["stale"], outcome["handler"], outcome["wakeup"]) == (0, True, -1)


@pytest.mark.skipif(not EXACT_IN_PYTHON, reason="this interpreter may be interrupted where it cannot be told")
@pytest.mark.parametrize(
    "name",
    [
        "UserEvents",
        "CallSoon",
        "OneShotTimers",
        "Signals",
        "OneShotDescriptors",
        "Accepts",
        "Lookups",
        "Questions",
    ],
)
def test_a_raising_handler_of_the_users_loses_nothing(name: str) -> None:
    """
    A handler of the user's own, which raises wherever it likes, loses no event and leaves no base stuck.

    It may strike where a loop begins or ends: once that left the base dispatched for ever, and once the
    wake-up descriptor, which then wrote to itself without end.
    """
    outcome = _storm(name, (), "--raising")
    assert (outcome["error"], outcome["handler"], outcome["wakeup"]) == ("", True, -1)
    assert outcome["interrupts"] >= INTERRUPTS


@pytest.mark.parametrize("options", INTERPRETERS, ids=lambda options: " ".join(options) or "default")
def test_ctrl_c_that_an_event_waits_for_never_interrupts(options: tuple[str, ...]) -> None:
    """
    While a Signal event waits for SIGINT no KeyboardInterrupt comes, whenever loops begin and end.

    Python's signal.signal() takes the signal from the event for a moment at both ends of each loop.
    """
    command = [sys.executable, *options, str(Path(storm.__file__)), "TakenCtrlC", "1", "1.5"]
    done = subprocess.run(command, env=_environment(), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, ""), done
    outcome = json.loads(done.stdout)
    assert (outcome["interrupts"], outcome["handler"]) == (0, True)
    assert outcome["told"] > 0


# -- promptness ----------------------------------------------------------------------------------------------

LOCK_STEP = """
import functools, signal, socket, sys, threading, time
from libevent_cffi import Event, EventBase, READ, PERSIST, LoopFlag
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
def work():
    while True:
        sum(range(100))
for _ in range(sys.argv.count("busy")):
    threading.Thread(target=work, daemon=True).start()
base = EventBase()
left, right = socket.socketpair()
right.send(b"x")
kept = []
def spin():
    while True:
        pass
def again():
    base.call_soon(again)
def blocked():
    base.dispatch(exit_on_empty=False)
def polling():
    while True:
        base.poll(0.001)
def in_a_callback():
    base.call_soon(spin)
    base.dispatch()
def asleep_in_a_callback():
    base.call_soon(lambda: time.sleep(60))
    base.dispatch()
def asleep_in_c():
    base.call_soon(time.sleep, 60)
    base.dispatch()
def asleep_in_a_partial():
    base.call_later(0, functools.partial(time.sleep, 60))
    base.dispatch()
def busy_with_calls():
    base.call_soon(again)  # anew: Ctrl-C may come before again() has called itself
    base.dispatch()
def busy_with_events():
    if not kept:
        kept.append(Event(base, None, PERSIST, lambda fd, what: kept[0].activate()))
    kept[0].activate()
    base.dispatch(exit_on_empty=False)
def busy_in_c():
    if not kept:
        kept.append(base.on_readable(left, int))
    base.dispatch()
def not_blocking():
    if not kept:
        kept.append(base.on_readable(left, int))
    base.loop(LoopFlag.NONBLOCK)
def nested():
    inner = EventBase()
    base.call_soon(lambda: inner.dispatch(exit_on_empty=False))
    base.dispatch()
for _ in range(int(sys.argv[2])):
    print("ready", flush=True)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        globals()[sys.argv[1]]()
        print("returned", flush=True)
    except KeyboardInterrupt:
        now = time.monotonic()
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    print(now, flush=True)
"""

PLACES = [
    "blocked",
    "polling",
    "in_a_callback",
    "asleep_in_a_callback",
    "asleep_in_c",
    "asleep_in_a_partial",
    "busy_with_calls",
    "busy_with_events",
    "busy_in_c",
    "not_blocking",
    "nested",
]


def test_ctrl_c_before_a_callback_that_dispatches_ends_the_inner_loop() -> None:
    """
    A Ctrl-C that the outer loop is to raise is raised by the inner one, which nothing else would end.

    It struck in our code before the callback had begun, so that the outer loop keeps it and goes on to the
    call.
    """
    with EventBase() as outer, EventBase() as inner:

        def nested() -> None:
            lib.lev_interrupt(outer._l)  # what the guard does there
            inner.dispatch(exit_on_empty=False)

        inner.loop_exit(after=10)
        outer.call_soon(nested)
        begin = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            outer.dispatch()
        assert time.monotonic() - begin < 5
        outer.call_soon(outer.loop_exit)
        outer.dispatch(exit_on_empty=False)


@pytest.mark.parametrize("busy", ["alone", "busy"])
@pytest.mark.parametrize("place", PLACES)
def test_ctrl_c_leaves_dispatch_at_once(place: str, busy: str) -> None:
    """KeyboardInterrupt leaves the loop within a tenth of a second, wherever it was."""
    for _ in range(3):  # the machine may be busy too; what is broken takes for ever
        taken = _times_to_leave(place, 7, busy)
        assert max(taken) < 5
        if statistics.median(taken) < 0.1:
            return
    pytest.fail(f"it took {taken} s")


def test_one_ctrl_c_is_raised_once_beside_busy_threads() -> None:
    """
    A KeyboardInterrupt has left dispatch(): the same Ctrl-C raises no other one in what comes after.

    C sends it again while the main thread waits for its turn.  PyPy then calls the guard once more, but only
    some instructions after the first call has raised; by then Python's own handler was back, and raised too.
    """
    assert len(_times_to_leave("in_a_callback", 20, *["busy"] * 4)) == 20


def _times_to_leave(place: str, rounds: int, *busy: str) -> list[float]:
    """Send some, each when the one before has been taken; return how many seconds each took."""
    command = [sys.executable, "-c", LOCK_STEP, place, str(rounds), *busy]
    taken = []
    with subprocess.Popen(command, env=_environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        deadline = threading.Timer(20, process.kill)
        deadline.start()
        try:
            for number in range(rounds):
                assert process.stdout.readline() == "ready\n"
                time.sleep(0.003 * (number % 7))  # so that it comes at different moments
                sent = time.monotonic()
                process.send_signal(signal.SIGINT)
                taken.append(float(process.stdout.readline()) - sent)
        finally:
            deadline.cancel()
            process.kill()
    return taken


# -- one that was kept is repeated ---------------------------------------------------------------------------


def _strike(base: EventBase) -> None:
    """Do what the guard does when a Ctrl-C strikes before a callback has begun."""
    wakeup._keep(base)


def _no_other_comes() -> None:
    """Wait for some times as long as it takes to repeat one."""
    until = time.monotonic() + 0.1
    while time.monotonic() < until:
        time.sleep(0.01)


def test_ctrl_c_before_a_callback_that_blocks_is_raised_in_it(plain_base: EventBase) -> None:
    """What struck before the callback had begun interrupts it all the same, and once."""
    told: list[str] = []

    def sleep() -> None:
        _strike(plain_base)
        time.sleep(20)
        told.append("not reached")

    begin = time.monotonic()
    plain_base.call_soon(sleep)
    plain_base.call_soon(told.append, "next")
    with pytest.raises(KeyboardInterrupt):
        plain_base.dispatch()
    _no_other_comes()
    assert time.monotonic() - begin < 10
    assert told == []
    plain_base.dispatch()
    assert told == ["next"]


def test_a_callback_may_take_a_repeated_ctrl_c(base: EventBase) -> None:
    """A callback that catches it ends it: dispatch() goes on and raises nothing."""
    told: list[str] = []

    def sleep() -> None:
        _strike(base)
        with pytest.raises(KeyboardInterrupt):
            time.sleep(20)
        told.append("taken")

    event = Event(base, None, PERSIST, lambda fd, what: told.append("event"))
    event.activate()
    base.call_soon(sleep)
    base.call_soon(told.append, "next")
    base.call_later(0.001, told.append, "timer")
    base.dispatch()
    _no_other_comes()
    assert sorted(told) == ["event", "next", "taken", "timer"]
    assert told.index("taken") < told.index("next")


def test_ctrl_c_where_the_next_loop_begins_is_not_taken_for_a_repeated_one(
    plain_base: EventBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The guard may be called once more for what it has seen; that ends with the loop.

    It was still expected where the next one had set the guard but had not told C, and hid another Ctrl-C.
    """

    def spin() -> None:
        _strike(plain_base)
        while True:
            pass

    plain_base.call_soon(spin)
    with pytest.raises(KeyboardInterrupt):
        plain_base.dispatch()

    def set_and_strike(handler: Any) -> None:
        set_handler(handler)
        if handler is not signal.default_int_handler:
            signal.raise_signal(signal.SIGINT)

    set_handler = wakeup._set_handler
    monkeypatch.setattr(wakeup, "_set_handler", set_and_strike)
    with pytest.raises(KeyboardInterrupt):
        plain_base.dispatch()


def test_a_ctrl_c_that_an_inner_loop_raised_is_not_raised_by_the_outer_one(plain_base: EventBase) -> None:
    """One Ctrl-C is one KeyboardInterrupt, which a callback that dispatches may take."""
    told: list[str] = []

    def nested() -> None:
        _strike(plain_base)
        with EventBase() as inner, pytest.raises(KeyboardInterrupt):
            inner.dispatch(exit_on_empty=False)
        told.append("taken")

    plain_base.call_soon(nested)
    plain_base.call_soon(told.append, "next")
    plain_base.dispatch()
    assert told == ["taken", "next"]


def test_what_a_callback_blocks_is_not_let_in_later(plain_base: EventBase) -> None:
    """No repeated Ctrl-C waits behind a blocked signal until dispatch() is over."""

    def block() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        _strike(plain_base)
        _no_other_comes()

    plain_base.call_soon(block)
    try:
        with pytest.raises(KeyboardInterrupt):
            plain_base.dispatch()
        assert signal.SIGINT not in signal.sigpending()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])


def test_a_repeated_ctrl_c_is_for_nobody_else(plain_base: EventBase) -> None:
    """Neither a handler nor a Signal event that comes after the Ctrl-C is told of it again."""
    told: list[str] = []

    def watch() -> None:
        _strike(plain_base)
        event = plain_base.on_signal(signal.SIGINT, told.append, "event")
        _no_other_comes()
        event.close()
        signal.signal(signal.SIGINT, lambda number, frame: told.append("handler"))
        _no_other_comes()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    plain_base.call_soon(watch)
    with pytest.raises(KeyboardInterrupt):
        plain_base.dispatch()
    plain_base.dispatch()
    assert told == []


def test_a_ctrl_c_of_the_parent_is_not_repeated_in_a_child() -> None:
    """A child that was forked after a Ctrl-C struck hears nothing of it, and has its own."""
    code = """
import os, signal, time, warnings
from libevent_cffi import EventBase
from libevent_cffi._native import wakeup
def sleep(seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.01)
def fork():
    wakeup._keep(base)
    warnings.simplefilter("ignore", DeprecationWarning)  # Python sees the thread that repeats it
    children.append(os.fork())
    if not children[0]:
        try:
            sleep(0.1)
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            if time.monotonic() - begin >= 0.1:
                os._exit(7)
        os._exit(1)
    sleep(20)
children = []
begin = time.monotonic()
base = EventBase()
base.call_soon(fork)
try:
    base.dispatch()
except KeyboardInterrupt:
    print(os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]), time.monotonic() - begin < 10)
"""
    assert output_of(code).split() == ["7", "True"]


# -- what the guard looks at ---------------------------------------------------------------------------------


def test_ctrl_c_in_a_callback_is_raised_there(plain_base: EventBase) -> None:
    """The user's own code gets its KeyboardInterrupt where it is, and may take it."""
    told: list[str] = []

    def callback() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
            told.append("not reached")
        except KeyboardInterrupt:
            told.append("taken")

    plain_base.call_soon(callback)
    plain_base.call_soon(told.append, "next")
    plain_base.dispatch()
    assert told == ["taken", "next"]


def test_our_code_is_known_by_any_path() -> None:
    """
    The guard knows the package's own code also when it was found by a path with dots in it.

    With PYTHONPATH=. CPython 3.9 names files "/home/./libevent_cffi/…": everything was taken for the user's.
    """
    folder = Path(libevent_cffi.__file__).parent
    dotted = os.path.join(folder.parent.parent, ".", folder.parent.name)
    code = """
import signal
from libevent_cffi._native import callbacks, lib, wakeup
class Frame:
    f_code = callbacks.take_slot.__code__
    f_back = None
    f_lasti = 10
print(wakeup._is_users(Frame))
"""
    path = os.pathsep.join([dotted, *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, "-S", "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, cwd=os.sep)
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_ctrl_c_in_a_c_function_lets_it_finish(plain_base: EventBase) -> None:
    """A callback that is a C function has run when KeyboardInterrupt leaves; the others run later."""
    told: list[str] = []
    plain_base.call_soon(signal.raise_signal, signal.SIGINT)
    plain_base.call_soon(told.append, "next")
    with pytest.raises(KeyboardInterrupt):
        plain_base.dispatch()
    assert told == []
    plain_base.dispatch()
    assert told == ["next"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def _called_by_ours(code: Any, lasti: int) -> Any:
    ours = SimpleNamespace(f_code=callbacks.lev_py_soon.__code__, f_back=None, f_lasti=0)
    return SimpleNamespace(f_code=code, f_back=ours, f_lasti=lasti)


def test_a_generator_that_is_resumed_has_not_begun() -> None:
    """An interrupt where a generator goes on after a yield is kept: raised, it would end the generator."""

    def generator() -> Any:
        yield 1
        yield 2

    entries = wakeup._entries(generator.__code__)
    assert len(entries) >= 3
    for offset in entries:
        assert not wakeup._is_users(_called_by_ours(generator.__code__, offset))
    assert wakeup._is_users(_called_by_ours(generator.__code__, max(entries) + 100))


def test_a_function_that_begins_with_a_loop_can_be_interrupted() -> None:
    """On PyPy the first instruction of ``while True: pass`` comes again and again: it is no entry there."""

    def function() -> None:
        while True:
            pass

    last = len(function.__code__.co_code) - 2
    frame = _called_by_ours(function.__code__, 0 if sys.version_info < (3, 11) else last)
    assert wakeup._is_users(frame)


def test_a_handler_of_the_users_stays_and_runs(plain_base: EventBase) -> None:
    """signal.signal() of the user's own is neither replaced nor delayed."""
    seen: list[object] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: seen.append(signal.getsignal(number)))
    try:
        mine = signal.getsignal(signal.SIGINT)
        plain_base.call_soon(signal.raise_signal, signal.SIGINT)
        plain_base.dispatch()
        assert seen == [mine]
        assert signal.getsignal(signal.SIGINT) is mine
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_handler_set_in_a_callback_stays(plain_base: EventBase) -> None:
    """What a callback sets with signal.signal() is not undone when dispatch() returns."""
    before = signal.getsignal(signal.SIGINT)
    try:
        plain_base.call_soon(signal.signal, signal.SIGINT, signal.SIG_IGN)
        plain_base.dispatch()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_python_handler_is_back_after_a_failure(plain_base: EventBase) -> None:
    """Python's own handler is in place again whatever dispatch() raised."""
    plain_base.call_soon(int, "x")
    with pytest.raises(ValueError, match="invalid literal"):
        plain_base.dispatch()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("inside", [False, True], ids=["before", "inside"])
def test_a_signal_event_for_ctrl_c(plain_base: EventBase, inside: bool) -> None:
    """With a Signal event for SIGINT there is no KeyboardInterrupt, and afterwards there is again."""
    told: list[str] = []

    def watch() -> None:
        event = plain_base.on_signal(signal.SIGINT, lambda: (told.append("event"), event.close()))
        plain_base.call_soon(os.kill, os.getpid(), signal.SIGINT)

    if inside:
        plain_base.call_soon(watch)
    else:
        watch()
    plain_base.dispatch()
    assert told == ["event"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_an_interrupt_and_an_error_are_both_told(
    plain_base: EventBase, caplog: pytest.LogCaptureFixture
) -> None:
    """KeyboardInterrupt is raised, and the error that came with it is logged."""

    class Raises:
        def __init__(self) -> None:
            raise ValueError("lost?")

    plain_base.call_soon(signal.raise_signal, signal.SIGINT)
    plain_base.call_soon(Raises)
    with pytest.raises(KeyboardInterrupt):
        plain_base.dispatch()
    with pytest.raises(ValueError, match="lost"):
        plain_base.dispatch()
