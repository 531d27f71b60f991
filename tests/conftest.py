"""What the tests share: bases on every method of the machine, loops that cannot hang, and no leaks."""

from __future__ import annotations

import gc
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import hypothesis
import pytest
from certificates import Certificates

from libevent_cffi import Buffer, EventBase, util
from libevent_cffi._native import lib
from libevent_cffi.flags import BaseFlag

DEADLINE = 20.0

Pair = tuple[socket.socket, socket.socket]
#: What the fixture "run" gives.
Run = Callable[..., None]

# No deadline per example: another process may have the machine.
hypothesis.settings.register_profile("ours", deadline=None, database=None)
hypothesis.settings.load_profile("ours")


class Method(NamedTuple):
    """A way to make a base: the method, and the flags that change how it works."""

    name: str
    flags: BaseFlag

    def make(self, **keywords: Any) -> EventBase:
        """Make such a base."""
        flags = self.flags | keywords.pop("flags", BaseFlag.NO_CACHE_TIME)
        avoid = [name for name in EventBase.supported_methods() if name != self.name]
        return EventBase(avoid_methods=avoid, flags=flags, **keywords)

    def __str__(self) -> str:
        return f"{self.name}+{self.flags}" if self.flags else self.name


def _knows_services() -> bool:
    try:
        return bool(socket.getservbyname("http", "tcp"))
    except OSError:
        return False


needs_services = pytest.mark.skipif(not _knows_services(), reason="this machine has no /etc/services")


def _methods() -> list[Method]:
    found = [
        Method(name, BaseFlag(0)) for name in EventBase.supported_methods() if name != "epoll_changelist"
    ]
    if "epoll" in EventBase.supported_methods():
        found.append(Method("epoll", BaseFlag.EPOLL_USE_CHANGELIST))
        found.append(Method("epoll", BaseFlag.PRECISE_TIMER))  # on 2.2 by timerfd
        if hasattr(BaseFlag, "USE_SIGNALFD"):
            found.append(Method("epoll", BaseFlag.USE_SIGNALFD))
    if os.environ.get("LIBEVENT_CFFI_TEST_METHODS") == "few":
        return [found[0], *found[-1:]]  # what a kernel's method does is the same on every interpreter
    return found


METHODS = _methods()


@pytest.fixture(params=METHODS, ids=str)
def method(request: pytest.FixtureRequest) -> Method:
    """Each method of this machine in turn."""
    made: Method = request.param
    return made


@pytest.fixture(scope="session", autouse=True)
def _tables_are_made() -> None:
    """Have libevent make what it keeps for good, such as debug mode's table, before blocks are counted."""
    with EventBase() as made:
        made.call_later(0, int)
        made.dispatch()
    if hasattr(gc, "freeze"):
        gc.freeze()  # what is there already would be looked through in every collection


@pytest.fixture
def base(method: Method) -> Iterator[EventBase]:
    """A base on each method in turn; when the test is over, C holds no more of it than before."""
    before = util.memory_counters().blocks
    with method.make() as made:
        yield made
    if lib.lev_debug_mode_on:
        # Debug mode keeps an entry for each event that a bufferevent ever had: bufferevent.c unassigns none.
        return
    # One block stays as long as the closed EventBase is referred to, and pytest still does.
    if util.memory_counters().blocks > before + 1:
        gc.collect()  # a test's own garbage: to collect after every test would take longer than the tests
    assert util.memory_counters().blocks <= before + 1


def same_blocks(now: int, before: int) -> bool:
    """
    Tell whether C holds as many blocks as before.

    In libevent's debug mode it may be fewer: the entries of bufferevents' events stay, found by address, and
    go with an event that is made and ended where one of those was (event.c:event_debug_note_teardown_).
    """
    return now == before or (bool(lib.lev_debug_mode_on) and now < before)


@pytest.fixture
def plain_base() -> Iterator[EventBase]:
    """One base, on the default method."""
    with EventBase() as made:
        yield made


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected sockets that do not block."""
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        right.setblocking(False)
        yield left, right


@pytest.fixture
def run() -> Callable[..., None]:
    """run(base) dispatches, and fails when that takes longer than a deadline."""

    def dispatch(base: EventBase, *, deadline: float = DEADLINE, **keywords: bool) -> None:
        late: list[bool] = []

        def stop() -> None:
            late.append(True)
            base.loop_break()

        timer = base.call_later(deadline, stop, keepalive=False)
        try:
            base.dispatch(**keywords)
        finally:
            if not base.closed:
                timer.close()
        assert not late, f"the loop still runs after {deadline} s: {base.events()}"

    return dispatch


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Certificates of an authority of the tests' own."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


def run_python(code: str, *, timeout: float = 60.0, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run *code* in a process of its own, with this one's way to the package."""
    path = os.pathsep.join(filter(None, sys.path))
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", code],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
    )


def output_of(code: str, *, timeout: float = 60.0, **environment: str) -> str:
    """Run *code* in a process of its own, which must end well with nothing on stderr; return its output."""
    done = run_python(code, timeout=timeout, **environment)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


@pytest.fixture
def no_leak() -> Iterator[None]:
    """C holds as many blocks after the test as before."""
    before = util.memory_counters().blocks
    yield
    if util.memory_counters().blocks > before:
        gc.collect()
        gc.collect()  # PyPy needs a second round for what the first one finalized
    assert util.memory_counters().blocks <= before


@pytest.fixture
def buffers_leave_nothing(request: pytest.FixtureRequest) -> Iterator[None]:
    """When a test is over, C holds as much as before."""
    gc.collect()
    objects, blocks = lib.lev_live_objects, util.memory_counters().blocks
    yield
    for _ in range(3):
        gc.collect()
    lib.lev_memory_fail_after(-1)
    with Buffer() as buffer:
        buffer.drain()  # what was let go of is told
    assert lib.lev_live_objects == objects
    if lib.lev_debug_mode_on and "plain_base" in request.fixturenames:
        return  # as in base()
    assert util.memory_counters().blocks == blocks
