"""What a listener's callback may do, what becomes of connections then, and errors of accepting."""

from __future__ import annotations

import gc
import os
import pathlib
import socket
import sys
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from conftest import output_of
from listening import LOCAL, HasFileno, Mistake, client, is_ended, nothing
from test_leaks import descriptors

from libevent_cffi import EventBase, Listener
from libevent_cffi._native import lib
from libevent_cffi.errors import ClosedError

# -- what a callback may do ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Mistake, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("plain_fd", [False, True])
def test_a_callback_that_raises_has_its_socket_closed(
    plain_base: EventBase, run: Callable[..., None], kind: Any, plain_fd: bool
) -> None:
    """A socket object is closed, also one that was kept; a plain descriptor stays its callback's."""
    told: list[Any] = []

    def accept(listener: Listener, made: Any, peer: Any) -> None:
        told.append(made)
        if len(told) == 1:
            raise kind
        os.close(made) if plain_fd else made.close()
        listener.close()

    listener: Listener = Listener(plain_base, LOCAL, accept, plain_fd=plain_fd)  # type: ignore[call-overload]
    with client(listener, 2) as [first, second]:
        with pytest.raises(kind):
            run(plain_base)
        if plain_fd:
            os.close(told[0])
        else:
            assert told[0].fileno() == -1
        assert is_ended(first)
        assert len(told) == 1
        run(plain_base)
        assert len(told) == 2
        assert is_ended(second)


def test_error_handler_takes_it_and_accepting_goes_on(
    plain_base: EventBase, run: Callable[..., None]
) -> None:
    """The source is the listener; every other connection is told."""
    handled: list[object] = []
    told: list[int] = []

    def accept(listener: Listener, sock: socket.socket, peer: Any) -> None:
        told.append(1)
        if len(told) == 5:
            listener.close()
            sock.close()
        elif len(told) % 2:
            raise Mistake
        else:
            sock.close()

    plain_base.error_handler = lambda error, source: handled.append(source)
    listener = Listener(plain_base, LOCAL, accept)
    with client(listener, 5) as socks:
        run(plain_base)
        assert all(map(is_ended, socks))
    assert handled == [listener, listener]


@pytest.mark.parametrize("where", ["callback", "timer", "error handler"])
@pytest.mark.parametrize("what", ["listener", "base"])
def test_closed_inside_callbacks(base: EventBase, run: Callable[..., None], where: str, what: str) -> None:
    """No callback of it runs any more, its port is free, and who waited is refused."""
    told: list[str] = []
    base.error_handler = lambda error, source: end()

    def end() -> None:
        if what == "base":
            base.close()
        else:
            listener.close()
            assert listener.closed

    def accept(own: Listener, sock: socket.socket, peer: Any) -> None:
        told.append("told")
        with sock:
            if where == "callback":
                end()
            elif where == "error handler":
                raise Mistake

    listener = Listener(base, LOCAL, accept, enabled=where != "timer")
    address: Any = listener.address
    if where == "timer":
        base.call_later(0, end)
    with client(listener, 3) as socks:
        run(base)
        assert all(map(is_ended, socks))
    assert told == ([] if where == "timer" else ["told"])
    assert listener.closed
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


def test_close_takes_nothing_from_those_who_share_the_socket(
    plain_base: EventBase, run: Callable[..., None]
) -> None:
    """A listener that is closed in its callback leaves the other connections for the socket's other users."""

    def accept(listener: Listener, sock: socket.socket, peer: Any) -> None:
        sock.close()
        listener.close()

    with socket.create_server(LOCAL) as sock:
        sock.settimeout(10)
        listener = Listener(plain_base, HasFileno(sock), accept)
        with client(listener, 3):
            run(plain_base)
            for _ in range(2):
                sock.accept()[0].close()


@pytest.mark.parametrize("stop", ["loop_break", "loop_exit"])
def test_stopping_the_loop_loses_no_connection(base: EventBase, run: Callable[..., None], stop: str) -> None:
    """Those accepted after it are told by the next dispatch()."""
    told: list[int] = []

    def accept(listener: Listener, sock: socket.socket, peer: Any) -> None:
        told.append(1)
        sock.close()
        getattr(base, stop)()
        if len(told) == 4:
            listener.close()

    listener = Listener(base, LOCAL, accept)
    with client(listener, 4):
        for _ in range(4):
            run(base)
    assert len(told) == 4


def test_an_enabled_one_need_not_be_kept(plain_base: EventBase, run: Callable[..., None]) -> None:
    """It is held by its base; a disabled one that is dropped is ended, and its port free."""
    told: list[str] = []

    def accept(listener: Listener, sock: socket.socket, peer: Any) -> None:
        told.append("told")
        sock.close()
        listener.close()

    address: Any = Listener(plain_base, LOCAL, accept).address
    gc.collect()
    with socket.create_connection(address):
        run(plain_base)
    assert told == ["told"]
    before = lib.lev_live_objects
    listener = Listener(plain_base, LOCAL, accept, enabled=False)
    address = listener.address
    listener.enable()
    listener.disable()
    gone = weakref.ref(listener)
    del listener
    for _ in range(3):
        gc.collect()
    assert gone() is None
    plain_base.poll()
    assert lib.lev_live_objects == before
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


def test_a_dropped_base_is_garbage_with_its_listeners(tmp_path: pathlib.Path) -> None:
    """The sockets are closed and the path is removed, however they refer to each other."""
    collected = lib.lev_live_objects
    before = descriptors()
    base = EventBase()
    kept: list[object] = [base]
    for number in range(3):
        kept.append(Listener(base, str(tmp_path / str(number)), nothing, kept))
    kept.append(Listener(base, LOCAL, nothing, kept, enabled=False))
    del base, kept
    for _ in range(6):
        gc.collect()
    assert lib.lev_live_objects == collected
    assert descriptors() == before
    assert list(tmp_path.iterdir()) == []


def test_a_closed_base_closes_its_listeners(plain_base: EventBase, tmp_path: pathlib.Path) -> None:
    """Also those with connections that nobody was told of."""
    path = str(tmp_path / "socket")
    listeners = [Listener(plain_base, LOCAL, nothing), Listener(plain_base, path, nothing, enabled=False)]
    with client(listeners[0], 2) as socks:
        plain_base.close()
        assert all(map(is_ended, socks))
    assert [listener.closed for listener in listeners] == [True, True]
    assert not os.path.exists(path)
    for listener in listeners:
        listener.close()
        with pytest.raises(ClosedError):
            listener.enable()


def test_dropped_in_its_own_callback(plain_base: EventBase, run: Callable[..., None]) -> None:
    """Disabling it there lets go of it while C is in the middle of it."""
    gone: list[weakref.ref[Listener]] = []

    def accept(listener: Listener, sock: socket.socket, peer: Any) -> None:
        gone.append(weakref.ref(listener))
        sock.close()
        listener.disable()

    address: Any = Listener(plain_base, LOCAL, accept).address
    with socket.create_connection(address, 10) as first, socket.create_connection(address, 10) as second:
        run(plain_base)
        for _ in range(3):
            gc.collect()
        assert gone[0]() is None
        plain_base.poll()
        assert is_ended(first)
        assert is_ended(second)


# -- errors of accepting -------------------------------------------------------------------------------------

EMFILE = """
import errno, logging, os, resource, socket, sys, time
from libevent_cffi import EventBase, Listener
told, errors = [], []
base = EventBase()
def accept(listener, sock, peer):
    told.append(time.monotonic())
    sock.close()
    if len(told) == 2:
        listener.close()
def on_error(listener, error):
    errors.append(error.errno)
    if len(errors) == 1:
        base.call_later(0.2, clear)
def clear():
    while hogs:
        os.close(hogs.pop())
listener = Listener(base, ("127.0.0.1", 0), accept, on_error=on_error if MODE == "told" else None)
clients = [socket.create_connection(listener.address) for _ in range(2)]
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
hogs = []
try:
    while True:
        hogs.append(os.dup(0))
except OSError:
    pass
if MODE != "told":
    logging.getLogger("libevent").addHandler(logging.StreamHandler(sys.stdout))
    base.call_later(0.2, clear)
began, used = time.monotonic(), time.process_time()
base.dispatch()
assert len(told) == 2
assert errors == ([errno.EMFILE] if MODE == "told" else []), errors
assert 0.9 < told[0] - began < 10, told[0] - began
assert time.process_time() - used < 0.5
for each in clients:
    each.close()
print("recovered")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="resource limits are POSIX's")
@pytest.mark.parametrize("mode", ["told", "logged"])
def test_without_descriptors_it_pauses_and_recovers(mode: str) -> None:
    """EMFILE is told once, or logged; the loop does not spin, and a second later the connections come."""
    output = output_of(f"MODE = {mode!r}\n{EMFILE}").splitlines()
    assert output[-1] == "recovered"
    if mode == "logged":
        assert output[0].startswith("<Listener 127.0.0.1:")
        assert "cannot accept and tries again in a second: " in output[0]


PAUSED = """
import os, resource, socket, time
from libevent_cffi import EventBase, Listener
class Mistake(Exception): pass
def on_error(listener, error):
    if ACTION == "raise":
        raise Mistake
    getattr(listener if ACTION != "close base" else base, ACTION.split()[0])()
base = EventBase()
listener = Listener(base, ("127.0.0.1", 0), print, on_error=on_error)
client = socket.create_connection(listener.address)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
hogs = []
try:
    while True:
        hogs.append(os.dup(0))
except OSError:
    pass
began = time.monotonic()
try:
    base.dispatch()
except Mistake:
    assert ACTION == "raise" and listener.enabled
    listener.close()
    base.dispatch()
assert time.monotonic() - began < 0.9
client.close()
print("done")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="resource limits are POSIX's")
@pytest.mark.parametrize("action", ["raise", "close", "disable", "close base"])
def test_on_error_may_do_anything(action: str) -> None:
    """Raise, close, disable: what pauses does not keep the loop alive then."""
    assert output_of(f"ACTION = {action!r}\n{PAUSED}") == "done\n"
