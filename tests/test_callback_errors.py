"""What a callback raises: it leaves dispatch() as it is, nothing is lost, and dispatch() can go on."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import threading
import traceback
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Optional

import pytest
from conftest import output_of
from test_layers import trampolines

from libevent_cffi import PERSIST, READ, WRITE, BufferEvent, Event, EventBase, Operation, Signal, Timer, dns
from libevent_cffi._native import callbacks
from libevent_cffi.bufferevent import FilterBufferEvent
from libevent_cffi.dns import Resolver
from libevent_cffi.flags import EventFlag
from libevent_cffi.watch import CheckWatcher, PrepareWatcher

Fail = Callable[[], None]
Pair = tuple[socket.socket, socket.socket]


class Place(NamedTuple):
    """Where a callback fails: start() has it called, and returns the source that error_handler is to get."""

    start: Callable[[EventBase, Pair, Fail], object]
    #: The function of _native that C calls.
    through: str
    persistent: bool = False


def _timer(base: EventBase, pair: Pair, fail: Fail) -> object:
    return base.call_later(0, fail)


def _every(base: EventBase, pair: Pair, fail: Fail) -> object:
    return base.every(0.001, fail, keepalive=False)


def _descriptor(base: EventBase, pair: Pair, fail: Fail) -> object:
    pair[1].send(b"x")
    return Event(base, pair[0], READ, lambda fd, what: fail()).add()


def _persistent_descriptor(base: EventBase, pair: Pair, fail: Fail) -> object:
    pair[1].send(b"x")

    def ready(fd: int, what: EventFlag) -> None:
        pair[0].recv(1)
        fail()

    return Event(base, pair[0], READ | PERSIST, ready, keepalive=False).add()


def _user_event(base: EventBase, pair: Pair, fail: Fail) -> object:
    event = Event(base, None, EventFlag(0), lambda fd, what: fail())
    event.activate()
    return event


def _signal(base: EventBase, pair: Pair, fail: Fail) -> object:
    event = Signal(base, signal.SIGUSR1, lambda number: fail(), keepalive=False).add()
    signal.raise_signal(signal.SIGUSR1)
    return event


def _on_readable(base: EventBase, pair: Pair, fail: Fail) -> object:
    pair[1].send(b"x")

    def ready() -> None:
        pair[0].recv(1)
        fail()

    return base.on_readable(pair[0], ready, keepalive=False)


def _call_soon(base: EventBase, pair: Pair, fail: Fail) -> object:
    return base.call_soon(fail)


def _threadsafe(base: EventBase, pair: Pair, fail: Fail) -> object:
    thread = threading.Thread(target=base.call_soon_threadsafe, args=(fail,))
    thread.start()
    thread.join()
    return base


def _prepare(base: EventBase, pair: Pair, fail: Fail) -> object:
    return PrepareWatcher(base, lambda watcher, timeout: fail())


def _check(base: EventBase, pair: Pair, fail: Fail) -> object:
    return CheckWatcher(base, lambda watcher: fail())


def _wake(base: EventBase, pair: Pair, fail: Fail) -> object:
    signal.signal(signal.SIGALRM, lambda number, frame: fail())
    base.call_soon(signal.setitimer, signal.ITIMER_REAL, 0.002)  # sooner it could come before the loop
    return base


def _finalizer(base: EventBase, pair: Pair, fail: Fail) -> object:
    event = Event(base, None, EventFlag(0), print)
    event.finalize(lambda source: fail())
    return event


def _completion(base: EventBase, pair: Pair, fail: Fail) -> object:
    operation: Operation[None] = Operation._start(base, lambda source: fail(), ())
    operation._finish()
    return operation


def _on_read(base: EventBase, pair: Pair, fail: Fail) -> object:
    pair[1].send(b"x")
    return BufferEvent(base, os.dup(pair[0].fileno()), on_read=lambda bev: (bev.disable(READ), fail()))


def _on_write(base: EventBase, pair: Pair, fail: Fail) -> object:
    bev = BufferEvent(base, os.dup(pair[0].fileno()), enabled=WRITE, on_write=lambda bev: fail())
    bev.write(b"x")
    return bev


def _on_event(base: EventBase, pair: Pair, fail: Fail) -> object:
    pair[1].shutdown(socket.SHUT_WR)
    return BufferEvent(base, os.dup(pair[0].fileno()), on_event=lambda bev, what, error: fail())


def _filter(base: EventBase, pair: Pair, fail: Fail) -> object:
    pair[1].send(b"x")
    below = BufferEvent(base, os.dup(pair[0].fileno()))

    def reads(source: object, target: object, limit: object, mode: object) -> None:
        top.disable(READ)
        fail()

    top = FilterBufferEvent(below, reads, on_event=lambda bev, what, error: None)
    return top


def _lookup(base: EventBase, pair: Pair, fail: Fail) -> object:
    resolver = Resolver(base, resolv_conf=False, hosts=False, nameservers=["127.0.0.1:9"])
    query = resolver.resolve_ipv4("a.example", lambda query: (resolver.close(), fail()))
    base.call_soon(query.cancel)
    return query


def _numeric_lookup(base: EventBase, pair: Pair, fail: Fail) -> object:
    resolver = Resolver(base, resolv_conf=False, hosts=False)
    return resolver.getaddrinfo("::1", 80, lambda query: fail())


def _connected(base: EventBase, pair: Pair, fail: Fail) -> object:
    def told(operation: Operation[BufferEvent]) -> None:
        assert isinstance(operation.error, OSError)
        fail()

    return dns.connect(base, "/there/is/no/such/socket", told)


PLACES = {
    "timer": Place(_timer, "lev_py_plain_last"),
    "every": Place(_every, "lev_py_plain", True),
    "descriptor": Place(_descriptor, "lev_py_event_last"),
    "persistent descriptor": Place(_persistent_descriptor, "lev_py_event", True),
    "user event": Place(_user_event, "lev_py_event_last"),
    "signal": Place(_signal, "lev_py_signal", True),
    "on_readable": Place(_on_readable, "lev_py_plain", True),
    "call_soon": Place(_call_soon, "lev_py_soon"),
    "call_soon_threadsafe": Place(_threadsafe, "lev_py_soon"),
    "prepare": Place(_prepare, "lev_py_prepare"),
    "check": Place(_check, "lev_py_check"),
    "wake": Place(_wake, "lev_py_wake"),
    "finalizer": Place(_finalizer, "lev_py_soon"),
    "completion": Place(_completion, "lev_py_soon"),
    "on_read": Place(_on_read, "lev_py_bev_data"),
    "on_write": Place(_on_write, "lev_py_bev_data"),
    "on_event": Place(_on_event, "lev_py_bev_event"),
    "filter": Place(_filter, "lev_py_filter"),
    "look-up": Place(_lookup, "lev_py_soon"),
    "look-up of a number": Place(_numeric_lookup, "lev_py_soon"),
    "connect": Place(_connected, "lev_py_soon"),
}


#: What else C calls: the test that tries it, or nothing where no function of the user's runs.
ELSEWHERE = {
    "lev_py_accept": "test_listener_callbacks.test_a_callback_that_raises_has_its_socket_closed",
    "lev_py_change": "test_buffer_changes.test_what_is_raised_in_the_loop_comes_from_dispatch",
    "lev_py_dns_finished": "",
    "lev_py_dns_request": "test_dns_server.test_a_request_that_is_not_answered_is_answered_servfail",
    "lev_py_http_bev": "test_http_server_limits.test_a_factory_that_fails_refuses_the_connection",
    "lev_py_http_page": "test_http_server_limits.test_an_error_page_that_fails_is_logged",
    "lev_py_http_refused": "test_http_refused.test_it_may_do_anything",
    "lev_py_http_stopped": "",
    "lev_py_let_go": "",
    "lev_py_listener_error": "test_listener_callbacks.test_on_error_may_do_anything",
    "lev_py_request": "test_http_server.test_a_handler_that_raises_answers_500",
    "lev_py_request_event": "test_http_server.test_a_stream_that_raises_ends_the_connection",
    "lev_py_request_failed": "",
    "lev_py_request_headers": "test_http_upload.test_a_callback_that_raises_is_500",
    "lev_py_request_was_told": "",
    "lev_py_server_name": "test_tls_names.test_what_on_server_name_raises_is_raised_by_dispatch",
}


class Mistake(Exception):
    """What a callback raises here."""


class HandlerMistake(Exception):
    """What an error_handler raises here."""


@pytest.fixture
def alarm() -> Iterator[None]:
    """Give SIGALRM back."""
    before = signal.getsignal(signal.SIGALRM)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_every_function_that_c_calls_is_tried() -> None:
    """In a place here, or by a test with another answer to what is raised."""
    called = {function.name for function in trampolines()}
    tried = {place.through for place in PLACES.values()} | set(ELSEWHERE)
    untried, gone = sorted(called - tried), sorted(tried - called)
    assert not untried, f"C calls {untried}: give each a Place here, or a test named in ELSEWHERE"
    assert not gone, f"C does not call {gone}: take them out of PLACES and ELSEWHERE"
    for where in filter(None, ELSEWHERE.values()):
        module, _, test = where.partition(".")
        text = Path(__file__).with_name(f"{module}.py").read_text(encoding="utf-8")
        assert f"def {test}(" in text, f"there is no test {where}: ELSEWHERE names it"


@pytest.mark.parametrize("hook", ["absent", "returns", "raises"])
@pytest.mark.parametrize("kind", [Mistake, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("place", PLACES)
def test_what_a_callback_raises(
    plain_base: EventBase, pair: Pair, run: Callable[..., None], alarm: None, place: str, kind: Any, hook: str
) -> None:
    """The error leaves dispatch() with its own traceback, or error_handler takes it; the loop can go on."""
    base = plain_base
    raised = kind("here")
    told: list[str] = []
    handled: list[tuple[Exception, object]] = []

    def fail_once() -> None:
        if "failed" not in told:
            told.append("failed")
            raise raised

    def handler(error: Exception, source: object) -> None:
        handled.append((error, source))
        if hook == "raises":
            raise HandlerMistake

    base.error_handler = None if hook == "absent" else handler
    source = PLACES[place].start(base, pair, fail_once)
    base.call_later(0.02, told.append, "went on")
    taken = kind is Mistake and hook == "returns"
    if not taken:
        expected = HandlerMistake if kind is Mistake and hook == "raises" else kind
        with pytest.raises(expected) as caught:
            run(base)
        error = caught.value.__context__ if expected is HandlerMistake else caught.value
        assert error is raised
        names = [frame.name for frame in traceback.extract_tb(raised.__traceback__)]
        assert names[-1] == "fail_once"
        assert PLACES[place].through in names
        assert "failed" in told  # on a slow machine the timer may be due in the same pass, and come first
    base.error_handler = None
    if taken:
        base.error_handler = handler
    run(base)
    assert sorted(told) == ["failed", "went on"]
    assert handled == ([(raised, source)] if kind is Mistake and hook != "absent" else [])
    if isinstance(source, Event) and not source.closed:
        assert bool(source.pending) == PLACES[place].persistent
        source.close()
    assert len(base._armed) == 0
    assert lib_used(base) == 0


def lib_used(base: EventBase) -> int:
    """Return how many events C holds."""
    from libevent_cffi._native._libevent import lib

    used: int = lib.lev_base_used(base._l)
    return used


def test_the_other_active_events_run_at_the_next_dispatch(base: EventBase, run: Callable[..., None]) -> None:
    """What was active beside the event that failed is not lost."""
    told: list[int] = []

    def callback(fd: int, what: EventFlag, number: int) -> None:
        told.append(number)
        if number in (1, 3):
            raise Mistake

    for number in range(5):
        Event(base, None, EventFlag(0), callback, number).activate()
    with pytest.raises(Mistake):
        run(base)
    with pytest.raises(Mistake):
        run(base)
    run(base)
    assert told == [0, 1, 2, 3, 4]


def test_an_event_may_be_added_again_before_it_fails(plain_base: EventBase) -> None:
    """A timer that starts itself again and then fails is pending."""
    told: list[int] = []

    def callback() -> None:
        told.append(1)
        if len(told) == 1:
            timer.add(0.001)
            raise Mistake

    timer = Timer(plain_base, callback).add(0)
    with pytest.raises(Mistake):
        plain_base.dispatch()
    assert timer.pending
    plain_base.dispatch()
    assert told == [1, 1]
    assert not timer.pending


def test_an_event_may_be_closed_before_it_fails(plain_base: EventBase) -> None:
    """An event that closes itself and then fails is gone, and its error is raised."""

    def callback() -> None:
        timer.close()
        raise Mistake

    timer = plain_base.every(0.001, callback)
    with pytest.raises(Mistake):
        plain_base.dispatch()
    plain_base.dispatch()
    assert timer.closed


def test_an_error_is_not_kept_after_it_was_raised(plain_base: EventBase) -> None:
    """Nothing of ours holds the error, its traceback or the callback's locals."""

    class Local:
        pass

    seen: list[weakref.ref[Local]] = []

    def callback() -> None:
        local = Local()
        seen.append(weakref.ref(local))
        raise Mistake

    was_enabled: bool = gc.isenabled()
    gc.disable()
    try:
        plain_base.call_soon(callback)
        with contextlib.suppress(Mistake):
            plain_base.dispatch()
        if sys.implementation.name == "pypy":
            gc.collect()
        assert seen[0]() is None
    finally:
        if was_enabled:
            gc.enable()


def test_the_first_of_two_errors_is_raised_and_the_other_logged(
    plain_base: EventBase, caplog: pytest.LogCaptureFixture
) -> None:
    """close() in a callback that fails has a finalizer that fails too."""

    def fails_too(source: object) -> None:
        raise HandlerMistake("second")

    def callback() -> None:
        Event(plain_base, None, EventFlag(0), print).finalize(fails_too)
        plain_base.close()
        raise Mistake("first")

    plain_base.call_soon(callback)
    with pytest.raises(Mistake, match="first"):
        plain_base.dispatch()
    assert "second" in caplog.text


def test_a_log_handler_that_raises_hides_no_error(
    plain_base: EventBase, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    dispatch() raises what the callback raised, when the second error cannot be logged.

    The handler's own error came out of dispatch() in its place, and nobody was told of the first.
    """

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise HandlerMistake("cannot write")

    def fails_too(source: object) -> None:
        raise HandlerMistake("second")

    def callback() -> None:
        Event(plain_base, None, EventFlag(0), print).finalize(fails_too)
        plain_base.close()
        raise Mistake("first")

    broken = Broken()
    plain_base.call_soon(callback)
    logging.getLogger("libevent").addHandler(broken)
    try:
        with pytest.raises(Mistake, match="first"):
            plain_base.dispatch()
    finally:
        logging.getLogger("libevent").removeHandler(broken)
    assert "cannot write" in capsys.readouterr().err


def test_a_failed_dispatch_may_be_inside_another_one(plain_base: EventBase) -> None:
    """An inner loop's error goes through the outer callback, which may take it."""
    told: list[Optional[str]] = []
    with EventBase() as inner:
        inner.call_soon(int, "x")

        def callback() -> None:
            try:
                inner.dispatch()
            except ValueError:
                told.append("taken")

        plain_base.call_soon(callback)
        plain_base.dispatch()
    assert told == ["taken"]


@pytest.mark.parametrize("kind", ["timer", "event", "signal", "soon"])
def test_an_error_that_hides_its_traceback_is_raised_once(plain_base: EventBase, kind: str) -> None:
    """Of a class that shadows __traceback__ it cannot be told where it was raised: the callback had begun."""

    class Hides(Exception):
        __traceback__ = None  # type: ignore[assignment]

    calls: list[object] = []

    def callback(*args: object) -> None:
        calls.append(args)
        raise Hides

    if kind == "timer":
        plain_base.call_later(0, callback)
    elif kind == "event":
        Event(plain_base, None, PERSIST, callback).activate()
    elif kind == "signal":
        Signal(plain_base, signal.SIGUSR1, callback, keepalive=False).activate()
    else:
        plain_base.call_soon(callback)
    with pytest.raises(Hides):
        plain_base.dispatch()
    assert len(calls) == 1
    plain_base.dispatch()
    assert len(calls) == 1


@pytest.mark.parametrize("kind", ["timer", "every", "event", "signal", "soon"])
def test_an_error_that_raises_when_its_traceback_is_asked_for_is_raised_once(
    plain_base: EventBase, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """
    Both errors are told of, one by dispatch() and one in the log, and the callback has run once.

    What asking raised left our function by the way of what comes before a callback has begun, so C called it
    again, up to 64 times.
    """

    class Refuses(Exception):
        @property
        def __traceback__(self) -> None:  # type: ignore[override]
            raise ZeroDivisionError("hidden")

    calls: list[object] = []

    def callback(*args: object) -> None:
        calls.append(args)
        raise Refuses

    if kind == "timer":
        plain_base.call_later(0, callback)
    elif kind == "every":
        plain_base.every(0.001, callback)
    elif kind == "event":
        Event(plain_base, None, PERSIST, callback).activate()
    elif kind == "signal":
        Signal(plain_base, signal.SIGUSR1, callback, keepalive=False).activate()
    else:
        plain_base.call_soon(callback)
    with pytest.raises(ZeroDivisionError, match="hidden"):
        plain_base.dispatch()
    assert len(calls) == 1
    if sys.implementation.name != "pypy":  # it asks when the error is raised, which is not raised then
        assert "Refuses" in caplog.text


def test_an_error_outside_of_every_callback_is_raised_by_its_own_loop(plain_base: EventBase) -> None:
    """What another thread's loop could not tell of stays for it."""
    with EventBase() as other:
        slot = callbacks.take_slot(other, {})
        try:
            try:
                callbacks.lev_py_check(slot)
                other._checking[0] = None
                callbacks.lev_py_check(slot)
            except AttributeError as error:
                callbacks._held.__init__(type(error), error, error.__traceback__.tb_next)  # type: ignore
            assert callbacks.take_held(plain_base) is None
            assert isinstance(callbacks.take_held(other), AttributeError)
            assert callbacks.take_held(other) is None
        finally:
            other._checking.clear()
            callbacks.give_slot_back(other)


def test_nearly_no_stack_loses_no_event() -> None:
    """Where there is no stack left to call with, dispatch() raises, and the event is told the next time."""
    code = """
import sys
from libevent_cffi import EventBase
told = []
base = EventBase()
def deep(left):
    if left:
        return deep(left - 1)
    base.dispatch()
failed = 0
for left in range(sys.getrecursionlimit(), sys.getrecursionlimit() - 120, -1):
    timer = base.call_later(0, told.append, left)
    before = len(told)
    try:
        deep(left)
    except RecursionError:
        failed += 1
        assert len(told) == before or told[-1] == left
    base.dispatch()
    assert told.count(left) == 1, (left, told)
    assert not base.running
print(failed > 0, len(told))
base.close()
"""
    failed, told = output_of(code).split()
    assert told == "120"
    assert failed == "True" or sys.implementation.name == "pypy"  # whose stack has no limit in calls
