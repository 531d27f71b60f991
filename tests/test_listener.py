"""Listeners: every kind of address, what a callback may do, and what becomes of connections then."""

from __future__ import annotations

import contextlib
import errno
import gc
import logging
import os
import pathlib
import socket
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import output_of
from test_fork import in_child
from test_leaks import descriptors

from libevent_cffi import EventBase, Listener
from libevent_cffi._native import lib
from libevent_cffi.errors import ClosedError, WrongThreadError

LOCAL = ("127.0.0.1", 0)
HAS_IPV6 = socket.has_ipv6
try:
    socket.create_server(("::1", 0), family=socket.AF_INET6).close()
except OSError:
    HAS_IPV6 = False


def nothing(*_: object) -> None:
    """Be a callback; a socket that it gets is closed, since nobody keeps it."""
    for each in _:
        if isinstance(each, socket.socket):
            each.close()


@contextlib.contextmanager
def client(listener: Listener, count: int = 1) -> Iterator[list[socket.socket]]:
    """*count* connections to *listener*, closed at the end."""
    with contextlib.ExitStack() as stack:
        made = []
        for _ in range(count):
            address: Any = listener.address
            family = socket.AF_UNIX if isinstance(address, (str, bytes)) else socket.AF_INET
            if isinstance(address, tuple) and len(address) == 4:
                family = socket.AF_INET6
            sock = stack.enter_context(socket.socket(family))
            sock.settimeout(10)
            sock.connect(address)
            made.append(sock)
        yield made


def is_ended(sock: socket.socket) -> bool:
    """Tell whether the other side closed *sock*."""
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


# -- addresses -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address", [LOCAL, pytest.param(("::1", 0), marks=pytest.mark.skipif(not HAS_IPV6, reason="no IPv6"))]
)
def test_accepts_on_an_address(base: EventBase, run: Callable[..., None], address: tuple[str, int]) -> None:
    """The callback gets the listener, a socket that does not block, the peer's address, its own arguments."""
    told: list[Any] = []

    def accept(listener: Listener, sock: socket.socket, peer: Any, *args: int) -> None:
        told.append((listener, sock.getblocking(), sock.getpeername(), peer, sock.family, args))
        sock.send(b"hello")
        sock.close()
        listener.close()

    listener = Listener(base, address, accept, 1, 2)
    assert listener.port == listener.address[1] > 0
    assert listener.enabled
    assert listener.base is base
    assert os.fstat(listener.fileno())
    with client(listener) as [sock]:
        run(base)
        assert sock.recv(5) == b"hello"
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        assert told == [(listener, False, sock.getsockname(), sock.getsockname(), family, (1, 2))]


@pytest.mark.skipif(not HAS_IPV6, reason="no IPv6")
def test_an_ipv6_address_serves_both_families_unless_told(
    plain_base: EventBase, run: Callable[..., None]
) -> None:
    """``::`` takes IPv4 too; with ipv6_only it does not."""
    told: list[Any] = []

    def accept(listener: Listener, sock: socket.socket, peer: Any) -> None:
        told.append(peer[0])
        sock.close()
        listener.close()

    both = Listener(plain_base, ("::", 0), accept)
    with socket.create_connection(("127.0.0.1", both.port)):
        run(plain_base)
    assert told == ["::ffff:127.0.0.1"]
    with Listener(plain_base, ("::", 0), nothing, ipv6_only=True) as only:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", only.port))
        with socket.create_connection(("::1", only.port)):
            pass


@pytest.mark.parametrize("kind", ["str", "bytes", "path", "relative"])
def test_a_unix_path_is_made_and_removed(
    plain_base: EventBase,
    run: Callable[..., None],
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    """The file goes when the listener is closed, also after a chdir(); a peer without a name is ''."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "socket"
    given: Any = {"str": str(path), "bytes": os.fsencode(path), "path": path, "relative": "socket"}[kind]
    told: list[Any] = []

    def accept(listener: Listener, sock: socket.socket, peer: Any) -> None:
        told.append((peer, sock.family))
        sock.close()
        listener.close()

    listener = Listener(plain_base, given, accept)
    assert listener.address == ("socket" if kind == "relative" else str(path))
    with pytest.raises(ValueError, match="no port"):
        _ = listener.port
    with client(listener):
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        run(plain_base)
    assert told == [("", socket.AF_UNIX)]
    assert not path.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="abstract names are Linux's")
def test_an_abstract_name(plain_base: EventBase, run: Callable[..., None]) -> None:
    """Bytes that begin with NUL are a name without a file."""
    name = b"\0libevent_cffi-%d" % os.getpid()
    told: list[Any] = []
    listener = Listener(
        plain_base, name, lambda own, sock, peer: (told.append(peer), sock.close(), own.close())
    )
    assert listener.address == name
    with client(listener):
        run(plain_base)
    assert told == [""]


def test_a_dead_path_is_replaced_and_a_live_one_is_not(plain_base: EventBase, tmp_path: pathlib.Path) -> None:
    """A file that nobody listens on any more is in nobody's way; one that is no socket is left alone."""
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    with Listener(plain_base, path, nothing):
        with pytest.raises(OSError) as caught:
            Listener(plain_base, path, nothing)
        assert caught.value.errno == errno.EADDRINUSE
        assert os.path.exists(path)
    assert not os.path.exists(path)
    (tmp_path / "socket").write_text("mine")
    with pytest.raises(OSError, match="in use"):
        Listener(plain_base, path, nothing)
    assert (tmp_path / "socket").read_text() == "mine"


def test_a_path_that_another_took_stays(plain_base: EventBase, tmp_path: pathlib.Path) -> None:
    """What is there at the end and is not the file that was made is not removed."""
    path = str(tmp_path / "socket")
    first = Listener(plain_base, path, nothing)
    os.unlink(path)
    with Listener(plain_base, path, nothing):
        first.close()
        assert os.path.exists(path)


def test_reuse_of_port_and_address(plain_base: EventBase) -> None:
    """Two may share a port only when both ask for it."""
    with Listener(plain_base, LOCAL, nothing, reuse_port=True) as first:
        with Listener(plain_base, first.address, nothing, reuse_port=True) as second:
            assert first.port == second.port
        with pytest.raises(OSError) as caught:
            Listener(plain_base, first.address, nothing)
        assert caught.value.errno == errno.EADDRINUSE
    with Listener(plain_base, LOCAL, nothing, reuse_address=False) as third:
        sock = socket.socket(fileno=os.dup(third.fileno()))
        with sock:
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 0


# -- sockets handed over -------------------------------------------------------------------------------------


class HasFileno:
    """Something that has a descriptor, and stays its owner."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def fileno(self) -> int:
        """Return it."""
        return self.sock.fileno()


@pytest.mark.parametrize("how", ["socket", "int", "fileno"])
def test_a_listening_socket_is_handed_over(plain_base: EventBase, run: Callable[..., None], how: str) -> None:
    """A socket is detached, an int taken, and of anything else the descriptor is duplicated."""
    with socket.create_server(LOCAL) as sock:
        fd, address = sock.fileno(), sock.getsockname()
        given: Any = sock
        if how == "int":
            given = sock.detach()
        elif how == "fileno":
            given = HasFileno(sock)
        listener = Listener(plain_base, given, lambda own, made, peer: (made.close(), own.close()))
        assert (listener.fileno() == fd) == (how != "fileno")
        assert (sock.fileno() == fd) == (how == "fileno")
        assert listener.address == address
        with client(listener):
            run(plain_base)
    with pytest.raises(OSError):
        os.fstat(fd)


@pytest.mark.parametrize("how", ["not listening", "closed base", "datagram"])
def test_what_cannot_be_taken_over_stays_its_owners(plain_base: EventBase, how: str) -> None:
    """A socket that is refused is as it was."""
    kind = socket.SOCK_DGRAM if how == "datagram" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as sock:
        if how == "closed base":
            sock.bind(LOCAL)
            sock.listen()
            plain_base.close()
        fd = sock.fileno()
        for given in (sock, fd, HasFileno(sock)):
            with pytest.raises((ValueError, ClosedError, OSError)):
                Listener(plain_base, given, nothing)
        assert sock.fileno() == fd
        assert os.fstat(fd)


def test_a_blocking_socket_does_not_hang_the_loop(plain_base: EventBase, run: Callable[..., None]) -> None:
    """libevent accepts until there is nothing more: a socket that waits then would stop everything."""
    with socket.create_server(LOCAL) as sock:
        assert sock.getblocking()
        listener = Listener(plain_base, sock, nothing)
        plain_base.call_later(0.02, listener.close)
        with client(listener):
            run(plain_base)


@pytest.mark.parametrize("wrong", [None, 1.5, True, ("127.0.0.1",), ("localhost", 0), "", b"", object()])
def test_wrong_addresses_are_refused(plain_base: EventBase, wrong: Any) -> None:
    """TypeError or ValueError, with the reason."""
    with pytest.raises((TypeError, ValueError)):
        Listener(plain_base, wrong, nothing)


def test_wrong_arguments_are_refused(plain_base: EventBase) -> None:
    """Before a socket is made or taken."""
    before = descriptors()
    for keywords in ({"backlog": 0}, {"backlog": "1"}, {"on_error": 1}):
        with pytest.raises((TypeError, ValueError)):
            Listener(plain_base, LOCAL, nothing, **keywords)
    with pytest.raises(TypeError, match="callback must be callable"):
        Listener(plain_base, LOCAL, "nothing")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="base must be"):
        Listener(None, LOCAL, nothing)  # type: ignore[arg-type]
    plain_base.close()
    with pytest.raises(ClosedError):
        Listener(plain_base, LOCAL, nothing)
    assert descriptors() <= before


# -- settings ------------------------------------------------------------------------------------------------


def test_flags_of_connections(plain_base: EventBase, run: Callable[..., None]) -> None:
    """How a connection is made: plain, blocking, inheritable."""
    told: list[Any] = []

    def accept(listener: Listener, made: Any, peer: Any) -> None:
        fd = made if isinstance(made, int) else made.fileno()
        told.append((isinstance(made, int), os.get_blocking(fd), os.get_inheritable(fd)))
        if isinstance(made, int):
            os.close(made)
        else:
            assert made.getblocking() == os.get_blocking(fd)
            made.close()
        listener.close()

    for keywords in ({}, {"plain_fd": True}, {"leave_sockets_blocking": True}, {"close_on_exec": False}):
        listener: Listener = Listener(plain_base, LOCAL, accept, **keywords)  # type: ignore[call-overload]
        with client(listener):
            run(plain_base)
    assert told == [(False, False, False), (True, False, False), (False, True, False), (False, False, True)]


@pytest.mark.skipif(not hasattr(socket, "TCP_DEFER_ACCEPT"), reason="TCP_DEFER_ACCEPT is Linux's")
def test_deferred_accept(plain_base: EventBase, run: Callable[..., None]) -> None:
    """The option is set; a connection is told when its first byte is there."""
    told: list[bytes] = []

    def accept(listener: Listener, sock: socket.socket, peer: Any) -> None:
        told.append(sock.recv(1))
        sock.close()
        listener.close()

    listener = Listener(plain_base, LOCAL, accept, deferred_accept=True)
    with socket.socket(fileno=os.dup(listener.fileno())) as probe:
        assert probe.getsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT) > 0
    with client(listener) as [sock]:
        plain_base.poll()
        assert told == []
        sock.send(b"x")
        run(plain_base)
    assert told == [b"x"]


def test_a_disabled_listener_leaves_connections_waiting(base: EventBase, run: Callable[..., None]) -> None:
    """None is lost, and it does not keep the loop alive."""
    told: list[str] = []
    listener = Listener(
        base, LOCAL, lambda own, sock, peer: (told.append("told"), sock.close()), enabled=False
    )
    assert not listener.enabled
    with client(listener, 3):
        run(base)
        assert told == []
        listener.enable()
        assert listener.enabled
        base.poll(1.0)
        while len(told) < 3:
            base.poll(1.0)
        listener.disable()
        run(base)
    listener.close()
    assert not listener.enabled


def test_disable_in_the_callback_stops_at_once(plain_base: EventBase, run: Callable[..., None]) -> None:
    """The connections after it wait, although libevent accepts many in a row."""
    told: list[str] = []

    def accept(listener: Listener, sock: socket.socket, peer: Any) -> None:
        told.append("told")
        sock.close()
        listener.disable()

    listener = Listener(plain_base, LOCAL, accept)
    with client(listener, 3):
        for expected in (1, 2, 3):
            run(plain_base)
            assert len(told) == expected
            listener.enable()
        listener.close()


def test_another_callback(plain_base: EventBase, run: Callable[..., None]) -> None:
    """set_callback() changes who is told, from inside too."""
    told: list[Any] = []

    def second(listener: Listener, sock: socket.socket, peer: Any, word: str) -> None:
        told.append(word)
        sock.close()
        listener.close()

    def first(listener: Listener, sock: socket.socket, peer: Any) -> None:
        told.append("first")
        sock.close()
        listener.set_callback(second, "second")

    listener = Listener(plain_base, LOCAL, first)
    with client(listener, 2):
        run(plain_base)
    assert told == ["first", "second"]
    with pytest.raises(ClosedError):
        listener.set_callback(first)
    with pytest.raises(TypeError):
        listener.set_callback(1)  # type: ignore[arg-type]


def test_a_closed_one_says_so(plain_base: EventBase) -> None:
    """Every method but close() raises ClosedError."""
    with Listener(plain_base, LOCAL, nothing) as listener:
        text = repr(listener)
    assert text == f"<Listener 127.0.0.1:{text.split(':')[1].split()[0]} enabled>"
    assert listener.closed
    assert repr(listener).endswith("closed>")
    listener.close()
    for call in (
        listener.enable,
        listener.disable,
        listener.fileno,
        lambda: listener.address,
        lambda: listener.port,
        lambda: setattr(listener, "on_error", None),
        listener.__enter__,
    ):
        with pytest.raises(ClosedError):
            call()
    assert listener.on_error is None
    assert not listener.enabled


# -- what a callback may do ----------------------------------------------------------------------------------


class Mistake(Exception):
    """What a callback raises here."""


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


# -- processes and threads -----------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork()")
def test_a_child_leaves_the_parents_path_and_can_accept(
    plain_base: EventBase, run: Callable[..., None], tmp_path: pathlib.Path
) -> None:
    """The child's base works on the shared socket; its end removes nothing of the parent's."""
    path = str(tmp_path / "socket")
    told: list[str] = []

    def accept(listener: Listener, sock: socket.socket, peer: Any) -> None:
        told.append("told")
        sock.send(b"%d" % os.getpid())
        sock.close()
        listener.close()

    listener = Listener(plain_base, path, accept)

    def work() -> None:
        with client(listener) as [sock]:
            run(plain_base)
            assert sock.recv(20) == b"%d" % os.getpid()
        plain_base.close()

    in_child(work)
    in_child(listener.close)
    assert os.path.exists(path)
    with client(listener) as [sock]:
        run(plain_base)
        assert sock.recv(20) == b"%d" % os.getpid()
    assert told == ["told"]
    assert not os.path.exists(path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork()")
def test_a_fork_in_its_callback(
    plain_base: EventBase, run: Callable[..., None], tmp_path: pathlib.Path
) -> None:
    """The parent goes on; the child's base and listener are dead, and the child takes no connection."""
    told: list[str] = []

    def work() -> None:
        assert listener.closed
        listener.close()
        with pytest.raises(ClosedError):
            listener.enable()
        plain_base.close()

    def accept(own: Listener, sock: socket.socket, peer: Any) -> None:
        told.append("told")
        in_child(work)
        sock.send(b"x")
        sock.close()
        if len(told) == 2:
            own.close()

    listener = Listener(plain_base, str(tmp_path / "socket"), accept)
    with client(listener, 2) as socks:
        run(plain_base)
        assert [sock.recv(1) for sock in socks] == [b"x", b"x"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork()")
def test_a_child_that_returns_from_the_callback(plain_base: EventBase, tmp_path: pathlib.Path) -> None:
    """It leaves the loop with ClosedError; the parent's connections are the parent's."""
    path = str(tmp_path / "socket")
    parent = os.getpid()
    pids: list[int] = []

    def accept(own: Listener, sock: socket.socket, peer: Any) -> None:
        if os.getpid() == parent:
            with sock:
                pids.append(os.fork())
                if pids[0]:
                    own.disable()

    listener = Listener(plain_base, path, accept)
    with client(listener, 2) as socks:
        try:
            plain_base.dispatch()
        except ClosedError:
            os._exit(0 if os.getpid() != parent and os.path.exists(path) else 1)
        except BaseException:
            os._exit(2)
        assert os.getpid() == parent
        assert os.waitpid(pids[0], 0)[1] == 0
        listener.set_callback(lambda own, sock, peer: (sock.send(b"x"), sock.close(), own.close()))
        listener.enable()
        plain_base.dispatch()
        assert socks[1].recv(1) == b"x"


def test_other_threads_are_refused(plain_base: EventBase, run: Callable[..., None]) -> None:
    """While the base is dispatched by one thread, another may look and no more."""
    refused: list[str] = []
    listener = Listener(plain_base, LOCAL, nothing)

    def other() -> None:
        for call in (listener.enable, listener.disable, listener.close, listener.fileno):
            try:
                call()
            except WrongThreadError:
                refused.append(call.__name__)
        assert listener.enabled
        assert listener.port
        assert repr(listener)
        plain_base.call_soon_threadsafe(listener.close)

    thread = threading.Thread(target=other)
    plain_base.call_soon(thread.start)
    run(plain_base)
    thread.join()
    assert refused == ["enable", "disable", "close", "fileno"]


def test_dropped_by_another_thread(plain_base: EventBase, run: Callable[..., None]) -> None:
    """The loop is woken, and ends what was dropped."""
    box = [Listener(plain_base, LOCAL, nothing, enabled=False)]
    address: Any = box[0].address

    def drop() -> None:
        box.clear()
        for _ in range(3):
            gc.collect()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                socket.create_connection(address).close()
            except OSError:
                told.append("refused")
                break
        plain_base.call_soon_threadsafe(plain_base.loop_break)

    told: list[str] = []
    thread = threading.Thread(target=drop)
    plain_base.call_soon(thread.start)
    run(plain_base, exit_on_empty=False)
    thread.join()
    assert told == ["refused"]


DROPPED = """
import gc, random, sys, threading, time
from libevent_cffi import EventBase, Listener
sys.setswitchinterval(1e-5)
end = time.monotonic() + 1.5
def work():
    while time.monotonic() < end:
        base = EventBase()
        box = [Listener(base, ("127.0.0.1", 0), print, enabled=False) for _ in range(4)]
        targets = [box.clear, random.choice([base.close, gc.collect])]
        threads = [threading.Thread(target=target) for target in targets]
        for thread in threads:
            thread.start()
        del base, targets
        box.clear()
        for thread in threads:
            thread.join()
workers = [threading.Thread(target=work) for _ in range(3)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
del workers, worker
gc.collect(); gc.collect(); gc.collect()
print("alive")
"""


def test_drops_race_with_the_end_of_the_base() -> None:
    """Listeners dropped by some threads while others close or drop their base: each is ended once."""
    assert output_of(DROPPED) == "alive\n"


@pytest.mark.parametrize("rounds", [300])
def test_nothing_is_left_behind(plain_base: EventBase, run: Callable[..., None], rounds: int) -> None:
    """Neither memory nor descriptors, whichever way a listener ends."""
    plain_base.error_handler = nothing

    def accept(listener: Listener, sock: socket.socket, peer: Any) -> None:
        sock.close()
        listener.close()
        raise Mistake

    def one(number: int) -> None:
        listener = Listener(plain_base, LOCAL, accept, enabled=number % 4 != 0)
        if number % 4 == 1:
            with client(listener):
                run(plain_base)
        elif number % 4 == 2:
            listener.close()
        elif number % 4 == 3:
            listener.disable()

    def many(count: int) -> tuple[int, int, int]:
        for number in range(count):
            one(number)
        for _ in range(12 if sys.implementation.name == "pypy" else 3):
            gc.collect()
        plain_base.poll()
        return lib.lev_memory_blocks(), lib.lev_live_objects, descriptors()

    before = many(40)
    after = many(rounds)
    assert after[1:] == before[1:]
    if sys.implementation.name != "pypy":  # there the memory of a handle goes when its collector likes
        assert after[0] <= before[0] + 4


def test_messages_of_no_error_are_silent(plain_base: EventBase, caplog: pytest.LogCaptureFixture) -> None:
    """Making, using and closing a listener logs nothing."""
    with caplog.at_level(logging.DEBUG, "libevent"):
        listener = Listener(plain_base, LOCAL, nothing)
        with client(listener):
            plain_base.poll(1.0)
        listener.close()
        plain_base.poll()
    assert caplog.records == []
