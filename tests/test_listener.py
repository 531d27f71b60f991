"""Listeners: every kind of address, sockets handed over, and settings."""

from __future__ import annotations

import errno
import os
import pathlib
import socket
import sys
from collections.abc import Callable
from typing import Any

import pytest
from listening import HAS_IPV6, LOCAL, HasFileno, client, nothing
from test_leaks import descriptors

from libevent_cffi import EventBase, Listener
from libevent_cffi.errors import ClosedError

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
