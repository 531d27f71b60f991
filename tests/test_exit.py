"""The interpreter ends with everything open: status 0, nothing on stderr, no hang; each ten times."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import run_python

REPEAT = int(os.environ.get("LIBEVENT_CFFI_REPEAT", "10"))

START = """
import atexit, os, signal, socket, sys, threading, gc, warnings
warnings.simplefilter("ignore", ResourceWarning)  # the sockets are left open on purpose
from libevent_cffi import Event, EventBase, PERSIST, READ, WRITE, Timer
from libevent_cffi.watch import CheckWatcher, PrepareWatcher
def nothing(*_):
    pass
def in_daemon(work):
    started = threading.Event()
    def run():
        started.set()
        work()
    threading.Thread(target=run, daemon=True).start()
    started.wait(10)
"""

PROGRAMS = {
    "a base in a global with everything pending": """
base = EventBase()
left, right = socket.socketpair()
right.send(b"x")
event = Event(base, left, READ | PERSIST, nothing).add(1.0)
timers = [base.every(0.0001, nothing) for _ in range(20)]
base.on_signal(signal.SIGUSR1, nothing)
base.call_soon(nothing)
base.call_soon_threadsafe(nothing)
PrepareWatcher(base, nothing); CheckWatcher(base, nothing)
base.common_timeout(1.0)
base.poll()
""",
    "bases in cycles": """
class Holder: pass
for _ in range(20):
    holder = Holder()
    holder.base = EventBase()
    holder.timer = holder.base.every(0.001, lambda holder=holder: holder)
gc.disable()
""",
    "daemon threads inside dispatch with timers at 10 kHz": """
for _ in range(4):
    base = EventBase()
    for _ in range(5):
        base.every(0.0001, nothing)
    in_daemon(base.dispatch)
""",
    "a daemon thread that waits without end": """
base = EventBase()
in_daemon(lambda: base.dispatch(exit_on_empty=False))
""",
    "a daemon thread that makes, runs and closes bases": """
def work():
    while True:
        with EventBase() as base:
            base.call_later(0.0001, nothing)
            base.dispatch()
in_daemon(work)
""",
    "a daemon thread that polls": """
base = EventBase()
base.every(0.0001, nothing)
def work():
    while True:
        base.poll(0.001)
in_daemon(work)
""",
    "daemon threads that post to a base of the main thread": """
base = EventBase()
def work():
    while True:
        if base.statistics().pending < 1000:
            base.call_soon_threadsafe(nothing)
in_daemon(work); in_daemon(work)
base.call_later(0.01, base.loop_break)
base.dispatch()
""",
    "a non-daemon thread that still posts and dispatches": """
base = EventBase()
base.every(0.0001, nothing)
base.call_later(0.05, base.loop_break)
thread = threading.Thread(target=base.dispatch)
thread.start()
def post():
    for _ in range(2000):
        base.call_soon_threadsafe(nothing)
threading.Thread(target=post).start()
""",
    "an atexit handler that dispatches": """
base = EventBase()
base.every(0.0001, nothing)
base.call_later(0.01, base.loop_break)
atexit.register(base.dispatch)
""",
    "an atexit handler older than the package that dispatches": """
# registered in front of everything by the first line of the program, so it runs last
base = EventBase()
base.every(0.0001, nothing)
base.call_later(0.01, base.loop_break)
late.append(base.dispatch)
""",
    "an atexit handler that makes a base": """
def last():
    with EventBase() as base:
        told = []
        base.call_later(0.001, told.append, 1)
        base.dispatch()
        assert told == [1], told
late.append(last)
""",
    "an atexit handler that closes": """
base = EventBase()
timer = base.every(0.0001, nothing)
atexit.register(base.close)
atexit.register(timer.close)
""",
    "sys.exit in a callback": """
base = EventBase()
base.every(0.0001, nothing)
base.call_later(0.01, sys.exit, 0)
base.dispatch()
""",
    "sys.exit in a callback of a nested loop": """
outer, inner = EventBase(), EventBase()
inner.call_soon(sys.exit)
inner.every(0.001, nothing)
outer.every(0.001, nothing)
outer.call_soon(inner.dispatch)
outer.dispatch()
""",
    "os._exit in a callback": """
base = EventBase()
base.every(0.0001, nothing)
base.call_later(0.01, os._exit, 0)
base.dispatch()
""",
    "os._exit under daemon threads": """
base = EventBase()
base.every(0.0001, nothing)
in_daemon(base.dispatch)
os._exit(0)
""",
    "a finalizer that uses a base": """
class Last:
    def __del__(self):
        self.timer.close()
        self.base.close()
last = Last()
last.base = EventBase()
last.timer = last.base.every(0.001, nothing)
last.itself = last
""",
    "a signal handler in place": """
base = EventBase()
base.on_signal(signal.SIGINT, nothing)
base.on_signal(signal.SIGTERM, base.loop_break)
os.kill(os.getpid(), signal.SIGTERM)
base.dispatch()
os.kill(os.getpid(), signal.SIGINT)
""",
    "an operation that nobody awaits": """
from libevent_cffi.event import Operation
base = EventBase()
kept = Operation._start(base, nothing, ())
base.call_later(0.001, nothing)
base.dispatch()
""",
    "the package imported and nothing else": "",
}


def once(name: str) -> tuple[int, str, str]:
    """Run the program; return its status and output."""
    program = (
        "late = []\nimport atexit\natexit.register(lambda: [call() for call in late])\n"
        + START
        + PROGRAMS[name]
    )
    done = run_python(program, timeout=60)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_interpreter_ends_silently(name: str) -> None:
    """Whatever is open, and whatever threads are inside: rc 0, nothing printed, every time."""
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(once, [name] * REPEAT))
    assert outcomes == [(0, "", "")] * REPEAT
