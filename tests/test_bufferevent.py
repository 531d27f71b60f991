"""Connections over sockets and pairs: data, ends, failures, and who keeps them alive."""

from __future__ import annotations

import errno
import gc
import os
import socket
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

import pytest

from libevent_cffi import READ, WRITE, BufferEventFlag, ClosedError, EventBase, Listener
from libevent_cffi.bufferevent import BufferEvent

Run = Callable[..., None]
Pair = tuple[socket.socket, socket.socket]
EOF_READ = BufferEventFlag.EOF | BufferEventFlag.READING


class Told(list[Any]):
    """Everything that on_event was told: (flags, error)."""

    def __call__(self, bev: BufferEvent, what: BufferEventFlag, error: Optional[Exception]) -> None:
        self.append((what, error))


def connected(base: EventBase, **keywords: Any) -> tuple[BufferEvent, socket.socket]:
    """Make a connection over one end of a socketpair; return it with the other end."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    return BufferEvent(base, ours, **keywords), theirs


# -- data ----------------------------------------------------------------------------------------------------


def test_what_the_peer_sends_is_told_and_read(base: EventBase, run: Run) -> None:
    """on_read is called, and read() takes what has arrived."""
    got: list[bytes] = []
    bev, peer = connected(base)

    def on_read(each: BufferEvent) -> None:
        got.append(each.read())
        each.close()

    bev.on_read = on_read
    with peer:
        peer.send(b"hello")
        run(base)
    assert got == [b"hello"]


def test_what_is_written_reaches_the_peer(base: EventBase, run: Run) -> None:
    """write() queues, and the loop sends; on_write tells when it is done."""
    bev, peer = connected(base, on_write=lambda each: each.close())
    with peer:
        bev.write(b"one ")
        bev.write(bytearray(b"two "))
        bev.writelines([b"three ", memoryview(b"four")])
        run(base)
        assert peer.recv(100) == b"one two three four"


def test_read_takes_no_more_than_asked_for(base: EventBase, run: Run) -> None:
    """read(n) leaves the rest, readinto() fills, and b"" means nothing there."""
    bev, peer = connected(base)
    with peer, bev:
        peer.send(b"0123456789")
        base.poll(1.0)
        base.poll(0)
        assert bev.read(0) == b""
        assert bev.read(3) == b"012"
        room = bytearray(4)
        assert bev.readinto(room) == 4
        assert room == b"3456"
        assert bev.read(100) == b"789"
        assert bev.read() == b""


def test_more_than_a_scratch_full_can_be_read_at_once(base: EventBase, run: Run) -> None:
    """A large input comes in one piece."""
    one, other = BufferEvent.pair(base)
    data = os.urandom(300_000)
    one.write(data)
    base.poll(0)
    assert other.read(100_000) + other.read() == data
    one.close()
    other.close()


def test_a_loop_over_lines_ends_with_its_connection(base: EventBase, run: Run) -> None:
    """Going on after close() is an error that says what was closed; breaking out of it is none."""
    errors: list[str] = []
    bev, peer = connected(base)

    def read(each: BufferEvent) -> None:
        try:
            for _ in each:
                each.close()
        except ClosedError as error:
            errors.append(str(error))

    bev.on_read = read
    with peer:
        peer.send(b"quit\nmore\n")
        run(base)
    assert bev.closed
    assert len(errors) == 1
    assert "with the connection or request that it belongs to" in errors[0]


def test_lines_and_separators(base: EventBase) -> None:
    """readline(), iteration and read_until() take what is complete."""
    one, other = BufferEvent.pair(base)
    one.write(b"first\r\nsecond\nhalf")
    assert other.readline() == b"first"
    assert list(other) == [b"second"]
    assert other.readline() is None
    one.write(b"--rest")
    assert other.read_until(b"--") == b"half--"
    assert other.read_until(b"--") is None
    with pytest.raises(ValueError, match="do not hold"):
        other.read_until(b"--", max_bytes=4)
    assert other.read() == b"rest"
    one.close()
    other.close()


def test_a_line_longer_than_the_limit_is_refused(base: EventBase) -> None:
    """read_until() takes nothing once the limit is passed, also when the separator comes later."""
    one, other = BufferEvent.pair(base)
    one.write(b"x" * 100 + b"\n")
    with pytest.raises(ValueError, match="first 50 bytes"):
        other.read_until(b"\n", max_bytes=50)
    with pytest.raises(ValueError, match="empty"):
        other.read_until(b"")
    assert len(other.input) == 101
    one.close()
    other.close()


# -- connecting ----------------------------------------------------------------------------------------------


def test_a_connection_is_opened_and_told(base: EventBase, run: Run) -> None:
    """connect() is followed by CONNECTED, and what was written before goes out."""
    told = Told()

    def server(listener: Listener, sock: socket.socket, address: object) -> None:
        BufferEvent(base, sock, on_read=lambda bev: (bev.write(bev.read()), bev.close(flush=True)))
        listener.close()

    with Listener(base, ("127.0.0.1", 0), server) as listener:
        client = BufferEvent(base, on_event=told)
        client.write(b"early")
        client.connect(("127.0.0.1", listener.port))
        run(base)
    assert told == [(BufferEventFlag.CONNECTED, None), (EOF_READ, None)]
    assert client.read() == b"early"
    client.close()


def test_a_unix_socket_is_connected_to(base: EventBase, run: Run, tmp_path: Path) -> None:
    """A path is an address."""
    told = Told()
    path = str(tmp_path / "socket")
    with Listener(base, path, lambda listener, sock, address: (sock.close(), listener.close())):
        client = BufferEvent(base, on_event=told)
        client.connect(path)
        assert client.peer_address == path
        run(base)
    assert [what for what, _ in told] == [BufferEventFlag.CONNECTED, EOF_READ]
    client.close()


@pytest.mark.parametrize("kind", ["refused", "no such path"])
def test_a_connection_that_fails_is_told_with_its_error(
    base: EventBase, run: Run, kind: str, tmp_path: Path
) -> None:
    """ERROR comes with the OSError, also when connect() knows at once; and another attempt may follow."""
    told = Told()
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address: Any = nobody.getsockname() if kind == "refused" else str(tmp_path / "none")
        client = BufferEvent(base, on_event=told)
        for _ in range(2):
            client.connect(address)
            run(base)
    number = errno.ECONNREFUSED if kind == "refused" else errno.ENOENT
    assert [what for what, _ in told] == [BufferEventFlag.ERROR] * 2
    assert [error.errno for _, error in told] == [number] * 2
    assert client.error is told[-1][1]
    assert client.fileno() == -1
    client.close()


def test_an_unconnected_one_keeps_no_loop_going(base: EventBase, run: Run) -> None:
    """Without a socket nothing is pending, whatever was written."""
    bev = BufferEvent(base)
    bev.write(b"x")
    run(base)
    with pytest.raises(ValueError, match="no socket"):
        bev.detach()
    bev.close()


# -- ends ----------------------------------------------------------------------------------------------------


def test_the_end_is_told_after_the_data(base: EventBase, run: Run) -> None:
    """EOF comes once, with no error, after what was sent before it."""
    order: list[Any] = []
    bev, peer = connected(
        base,
        on_read=lambda each: order.append(each.read()),
        on_event=lambda each, what, error: order.append((what, error)),
    )
    peer.send(b"last")
    peer.close()
    run(base)
    assert order == [b"last", (EOF_READ, None)]
    assert bev.enabled == WRITE
    bev.close()


def test_without_on_event_an_ended_connection_closes_itself(base: EventBase, run: Run) -> None:
    """Its descriptor goes too."""
    bev, peer = connected(base)
    fd = bev.fileno()
    peer.close()
    run(base)
    assert bev.closed
    with pytest.raises(OSError):
        os.fstat(fd)


def test_without_on_event_the_output_is_written_before_it_closes(base: EventBase, run: Run) -> None:
    """A peer that has ended its sending still gets its answer."""
    bev, peer = connected(base)
    with peer:
        peer.shutdown(socket.SHUT_WR)
        bev.write(b"answer")
        run(base)
        assert bev.closed
        assert peer.recv(100) == b"answer"
        assert peer.recv(100) == b""


def test_a_reset_is_told_as_an_error(base: EventBase, run: Run) -> None:
    """The OSError subclass of its number arrives, and nothing after it."""
    told = Told()
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
    bev = BufferEvent(base, client, on_event=told)
    bev.write(b"x" * 100)
    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    accepted.close()
    run(base)
    assert len(told) == 1
    assert told[0][0] & BufferEventFlag.ERROR
    assert isinstance(told[0][1], (ConnectionResetError, BrokenPipeError))
    assert bev.error is told[0][1]
    bev.close()


def test_write_eof_ends_one_direction(base: EventBase, run: Run) -> None:
    """The peer reads to the end, and its answer still arrives; then both have ended and it closes itself."""
    got: list[bytes] = []
    bev, peer = connected(base, on_read=lambda each: got.append(each.read()), on_event=Told())
    with peer:
        peer.setblocking(True)
        peer.settimeout(10)
        bev.write(b"question")
        bev.write_eof()
        with pytest.raises(BrokenPipeError):
            bev.write(b"more")
        while base.poll(0.01) and peer.recv(100, socket.MSG_PEEK) != b"question":
            pass
        assert peer.recv(100) == b"question"
        base.poll(0.01)
        assert peer.recv(100) == b""
        peer.send(b"answer")
        peer.close()
        run(base)
    assert got == [b"answer"]
    assert bev.closed


def test_close_with_flush_writes_first(base: EventBase, run: Run) -> None:
    """It is closed to its user at once, and to the peer when all is written."""
    bev, peer = connected(base)
    data = os.urandom(2_000_000)
    bev.write(data)
    bev.close(flush=True)
    assert bev.closed
    with pytest.raises(ClosedError):
        bev.write(b"more")
    del bev
    gc.collect()
    received = bytearray()

    def read() -> None:
        part = peer.recv(100_000)
        received.extend(part)
        if not part:
            watch.close()

    watch = base.on_readable(peer, read)
    with peer:
        run(base)
    assert received == data


def test_close_without_flush_drops_what_was_not_sent(base: EventBase) -> None:
    """The peer reads the end at once, also when no loop runs any more."""
    bev, peer = connected(base)
    with peer:
        bev.write(b"never")
        bev.close()
        bev.close()
        assert peer.recv(100) == b""
    assert bev.closed
    assert "closed" in repr(bev)


# -- pairs ---------------------------------------------------------------------------------------------------


def test_a_pair_passes_data_both_ways(base: EventBase, run: Run) -> None:
    """What one end writes the other one is told of."""
    one, other = BufferEvent.pair(base)
    got: list[tuple[str, bytes]] = []
    one.on_read = lambda bev: got.append(("one", bev.read()))
    other.on_read = lambda bev: (got.append(("other", bev.read())), bev.write(b"pong"))
    one.write(b"ping")
    run(base)
    assert got == [("other", b"ping"), ("one", b"pong")]
    assert one.partner is other
    assert other.partner is one
    assert one.fileno() == -1
    one.close()
    other.close()
    assert one.partner is None


def test_the_end_of_one_end_is_told_to_the_other(base: EventBase, run: Run) -> None:
    """Closing one end is EOF for the other, and writing to it fails as over a socket."""
    one, other = BufferEvent.pair(base)
    told = Told()
    other.on_event = told
    one.close()
    run(base)
    assert told == [(EOF_READ, None)]
    assert other.partner is None
    other.write(b"x")
    run(base)
    assert told[1][0] == BufferEventFlag.ERROR | BufferEventFlag.WRITING
    assert isinstance(told[1][1], BrokenPipeError)
    other.close()


def test_write_eof_of_a_pair(base: EventBase, run: Run) -> None:
    """The other end is told EOF, and can still write."""
    one, other = BufferEvent.pair(base)
    told, got = Told(), []
    other.on_event = told
    one.on_read = lambda bev: got.append(bev.read())
    one.on_event = Told()
    one.write(b"x")
    one.write_eof()
    run(base)
    assert told == [(EOF_READ, None)]
    assert other.read() == b"x"
    other.write(b"y")
    other.write_eof()
    run(base)
    assert got == [b"y"]
    assert one.closed
    assert other.closed


# -- who keeps it --------------------------------------------------------------------------------------------


def test_a_connection_that_reads_needs_no_reference(base: EventBase, run: Run) -> None:
    """Its base holds it until it has ended."""
    got: list[bytes] = []
    bev, peer = connected(base, on_read=lambda each: got.append(each.read()))
    alive = weakref.ref(bev)
    del bev
    gc.collect()
    with peer:
        peer.send(b"x")
        base.poll(1.0)
        assert alive() is not None
    run(base)
    gc.collect()
    assert got == [b"x"]
    assert alive() is None


def test_an_idle_connection_is_closed_when_it_is_dropped(base: EventBase) -> None:
    """Nobody could ever use it again, so the peer reads the end."""
    bev, peer = connected(base, enabled=WRITE)
    with peer:
        with pytest.raises(BlockingIOError):
            peer.recv(1)
        del bev
        gc.collect()
        assert peer.recv(1) == b""


def test_output_that_waits_keeps_a_connection(base: EventBase, run: Run) -> None:
    """What was written is sent though nobody refers to it, and then the connection is closed."""
    bev, peer = connected(base, enabled=WRITE)
    bev.write(b"x")
    del bev
    gc.collect()
    with peer:
        run(base)
        gc.collect()
        base.poll(0)
        assert peer.recv(10) == b"x"
        assert peer.recv(10) == b""


def test_a_pair_that_nobody_has_is_freed(base: EventBase, run: Run) -> None:
    """Both ends go, once what was on its way has been told."""
    got: list[bytes] = []
    one, other = BufferEvent.pair(base)
    other.on_read = lambda bev: got.append(bev.read())
    alive = weakref.ref(one), weakref.ref(other)
    one.write(b"x")
    del one, other
    gc.collect()
    run(base)
    for _ in range(3):
        gc.collect()
    assert got == [b"x"]
    assert [each() for each in alive] == [None, None]


def test_a_base_with_everything_open_closes(base: EventBase) -> None:
    """Whatever state its connections are in."""
    bev, peer = connected(base)
    bev.write(b"x" * 1_000_000)
    flushing, second = connected(base)
    flushing.write(b"x" * 1_000_000)
    flushing.close(flush=True)
    one, other = BufferEvent.pair(base)
    one.write(b"x")
    opening = BufferEvent(base)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        opening.connect(server.getsockname())
        base.close()
    assert all(each.closed for each in (bev, flushing, one, other, opening))
    with pytest.raises(ClosedError):
        bev.write(b"x")
    peer.close()
    second.close()


# -- descriptors ---------------------------------------------------------------------------------------------


def test_a_socket_is_handed_over_and_given_back(base: EventBase) -> None:
    """A socket object is detached, and detach() makes another one of it."""
    ours, theirs = socket.socketpair()
    number = ours.fileno()
    bev = BufferEvent(base, ours)
    assert ours.fileno() == -1
    assert bev.fileno() == number
    back = bev.detach()
    assert bev.closed
    assert back.fileno() == number
    with back, theirs:
        back.send(b"x")
        assert theirs.recv(1) == b"x"


def test_what_is_neither_socket_nor_number_is_duplicated(base: EventBase, run: Run) -> None:
    """The object stays its owner's; a pipe will do."""
    read, write = os.pipe()
    got: list[bytes] = []
    with os.fdopen(read, "rb") as reader:
        bev = BufferEvent(base, reader, on_read=lambda each: got.append(each.read()), enabled=READ)
        assert bev.fileno() != read
        os.write(write, b"x")
        os.close(write)
        run(base)
        assert reader.fileno() == read
    assert got == [b"x"]
    assert bev.closed


def test_what_cannot_be_waited_for_is_refused(base: EventBase, tmp_path: Path) -> None:
    """Files, listening sockets and datagrams stay their owner's."""
    with open(tmp_path / "file", "wb") as file, pytest.raises(PermissionError):
        BufferEvent(base, file)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        with pytest.raises(ValueError, match="listens"):
            BufferEvent(base, listening)
        assert listening.fileno() >= 0
    with socket.socket(type=socket.SOCK_DGRAM) as datagrams, pytest.raises(ValueError, match="datagram"):
        BufferEvent(base, datagrams)


def test_another_socket_takes_over(base: EventBase, run: Run) -> None:
    """replace_socket() closes the one before, and goes on with what was written."""
    bev, first = connected(base, on_event=Told())
    ours, second = socket.socketpair()
    with first, second:
        bev.replace_socket(ours)
        bev.write(b"x")
        base.poll(1.0)
        assert first.recv(1) == b""
        assert second.recv(1) == b"x"
        bev.close()
