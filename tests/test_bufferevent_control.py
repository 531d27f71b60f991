"""What can be set: directions, timeouts, watermarks, triggers, limits; and every method when it is closed."""

from __future__ import annotations

import gc
import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Optional

import pytest
from conftest import Method
from test_bufferevent import EOF_READ, Told, connected

from libevent_cffi import (
    READ,
    WRITE,
    Buffer,
    BufferEvent,
    BufferEventFlag,
    ClosedError,
    Event,
    EventBase,
    EventFlag,
    Operation,
    lowlevel,
)
from libevent_cffi.buffer import FileSegment
from libevent_cffi.bufferevent import FilterBufferEvent, RateLimit, RateLimitGroup
from libevent_cffi.errors import DNSError
from libevent_cffi.flags import FlushMode

Run = Callable[..., None]


# -- directions and timeouts ---------------------------------------------------------------------------------


def test_a_direction_that_is_off_stands_still(base: EventBase, run: Run) -> None:
    """Neither data nor the end is told until it is on again."""
    got: list[bytes] = []
    bev, peer = connected(base, on_read=lambda each: got.append(each.read()), on_event=Told())
    bev.disable(READ)
    assert bev.enabled == WRITE
    with peer:
        peer.send(b"x")
        run(base)
        assert got == []
        bev.enable(READ)
        assert bev.enabled == READ | WRITE
        bev.disable(WRITE)
        bev.write(b"y")
        base.poll(1.0)
        with pytest.raises(BlockingIOError):
            peer.recv(1)
        bev.enable(WRITE)
        base.poll(1.0)
        assert peer.recv(1) == b"y"
    run(base)
    assert got == [b"x"]
    bev.close()
    with pytest.raises(ValueError, match="READ and WRITE"):
        BufferEvent(base, enabled=EventFlag.SIGNAL)


@pytest.mark.parametrize("kind", ["socket", "pair", "filter"])
def test_silence_is_told_as_a_timeout(base: EventBase, run: Run, kind: str) -> None:
    """READING|TIMEOUT with a TimeoutError, once; then the direction is off, and can be turned on again."""
    told = Told()
    other: Any
    if kind == "pair":
        bev, other = BufferEvent.pair(base)
        bev.on_event = told
        bev.set_timeouts(read=0.01)
        assert bev.read_timeout == 0.01
    elif kind == "socket":
        bev, other = connected(base, on_event=told, read_timeout=0.01)
    else:
        below, other = connected(base)
        bev = FilterBufferEvent(below, on_event=told, read_timeout=0.01)
    for _ in range(2):
        run(base)
        bev.enable(READ)
    bev.close()
    other.close()
    assert [what for what, _ in told] == [BufferEventFlag.TIMEOUT | BufferEventFlag.READING] * 2
    assert all(isinstance(error, TimeoutError) for _, error in told)


def test_a_peer_that_does_not_read_is_told_as_a_timeout(base: EventBase, run: Run) -> None:
    """WRITING|TIMEOUT; and a flush that goes on in the background is given up then."""
    told = Told()
    bev, peer = connected(base, on_event=told, enabled=WRITE, write_timeout=0.02)
    bev.write(bytes(4_000_000))
    run(base)
    assert [what for what, _ in told] == [BufferEventFlag.TIMEOUT | BufferEventFlag.WRITING]
    bev.close(flush=True)
    run(base)
    with peer:
        size = 0
        while True:
            part = peer.recv(1_000_000)
            if not part:
                break
            size += len(part)
        assert 0 < size < 4_000_000
    assert base.events() == []


def test_timeouts_can_be_read_and_changed(base: EventBase) -> None:
    """In seconds; None is none, and each alone leaves the other as it is."""
    bev, peer = connected(base, read_timeout=1.5)
    assert (bev.read_timeout, bev.write_timeout) == (1.5, None)
    bev.write_timeout = 2
    assert (bev.read_timeout, bev.write_timeout) == (1.5, 2.0)
    bev.read_timeout = None
    assert (bev.read_timeout, bev.write_timeout) == (None, 2.0)
    bev.set_timeouts()
    assert (bev.read_timeout, bev.write_timeout) == (None, None)
    for wrong in (-1, float("nan"), 1e12):
        with pytest.raises(ValueError, match="read"):
            bev.set_timeouts(read=wrong)
        with pytest.raises(ValueError, match="write_timeout"):
            BufferEvent(base, write_timeout=wrong)
    bev.close()
    peer.close()


def test_a_timeout_without_on_event_closes(base: EventBase, run: Run) -> None:
    """As any failure does."""
    bev, peer = connected(base, read_timeout=0.001)
    run(base)
    assert bev.closed
    peer.close()


# -- watermarks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["socket", "pair"])
def test_a_full_input_stops_reading_and_goes_on_when_it_is_taken(
    base: EventBase, run: Run, kind: str
) -> None:
    """The high mark is back-pressure: the sender waits, nothing spins, nothing is lost."""
    calls: list[int] = []
    if kind == "socket":
        ours, theirs = socket.socketpair()
        bev, sender = BufferEvent(base, ours), BufferEvent(base, theirs)
    else:
        bev, sender = BufferEvent.pair(base)
    bev.on_read = lambda each: calls.append(len(each.input))
    bev.set_watermark(READ, low=10, high=1000)
    assert bev.get_watermark(READ) == (10, 1000)
    assert bev.get_watermark(WRITE) == (0, None)
    sender.write(b"x" * 1_000_000)
    for _ in range(5):
        base.poll(0.01)
    assert len(calls) < 5
    assert len(bev.input) == 1000
    total = 0
    while total < 1_000_000:
        total += len(bev.read())
        base.poll(0.01)
    assert total == 1_000_000
    bev.close()
    sender.close()


def test_on_read_waits_for_the_low_mark(base: EventBase, run: Run) -> None:
    """And gets all that is there then."""
    one, other = BufferEvent.pair(base)
    got: list[bytes] = []
    one.on_read = lambda each: got.append(each.read())
    one.set_watermark(READ, low=5)
    other.write(b"abc")
    run(base)
    assert got == []
    other.write(b"def")
    run(base)
    assert got == [b"abcdef"]
    for keywords in ({"low": -1}, {"low": 5, "high": 4}, {"high": 0}):
        with pytest.raises(ValueError, match="must be between"):
            one.set_watermark(READ, **keywords)
    with pytest.raises(ValueError, match="READ or WRITE"):
        one.get_watermark(READ | WRITE)
    one.close()
    other.close()


def test_a_slow_reader_makes_back_pressure(base: EventBase, run: Run) -> None:
    """on_write comes only when what was written is gone, so a sender that waits for it holds little."""
    bev, peer = connected(base, enabled=WRITE)
    most, written, received = 0, 0, 0

    def on_write(each: BufferEvent) -> None:
        nonlocal most, written
        if written >= 3_000_000:
            each.close()
            return
        each.write(bytes(65536))
        written += 65536
        most = max(most, len(each.output))

    def read() -> None:
        nonlocal received
        part = peer.recv(1000 if received < 20_000 else 1_000_000)
        received += len(part)
        if not part:
            watch.close()

    bev.on_write = on_write
    on_write(bev)
    watch = base.on_readable(peer, read)
    with peer:
        run(base)
    assert received == written >= 3_000_000
    assert most <= 65536


# -- triggers and priorities ---------------------------------------------------------------------------------


def test_callbacks_can_be_asked_for(base: EventBase, run: Run) -> None:
    """In the next pass, once, as the low marks say or in any case."""
    calls: list[str] = []
    bev, peer = connected(base, enabled=EventFlag(0))
    bev.on_read = lambda each: calls.append("read")
    bev.on_write = lambda each: calls.append("write")
    bev.trigger(READ | WRITE)
    assert calls == []
    run(base)
    assert calls == ["write"]
    bev.trigger(READ, ignore_watermarks=True)
    run(base)
    assert calls == ["write", "read"]
    bev.close()
    peer.close()


def test_an_event_can_be_asked_for(base: EventBase, run: Run) -> None:
    """It is told as if it had happened."""
    told = Told()
    bev, peer = connected(base, on_event=told)
    bev.trigger_event(BufferEventFlag.EOF | BufferEventFlag.READING)
    run(base)
    bev.trigger_event(BufferEventFlag.ERROR)
    run(base)
    assert [what for what, _ in told] == [EOF_READ, BufferEventFlag.ERROR]
    assert isinstance(told[1][1], OSError)
    for wrong in (0, 0x1000):
        with pytest.raises(ValueError, match="what"):
            bev.trigger_event(wrong)  # type: ignore[arg-type]
    bev.close()
    peer.close()


def test_what_is_triggered_needs_no_reference(base: EventBase, run: Run) -> None:
    """It is held until it has been told."""
    calls: list[str] = []
    bev, peer = connected(base, enabled=EventFlag(0), on_write=lambda each: calls.append("write"))
    bev.trigger(WRITE)
    del bev
    gc.collect()
    run(base)
    assert calls == ["write"]
    with peer:
        gc.collect()
        base.poll(0)
        assert peer.recv(1) == b""


def test_a_priority_is_set_while_callbacks_are_on_their_way(method: Method, run: Run) -> None:
    """
    It counts from the next ones on, and nothing is lost.

    libevent would take a deferred callback out of the queue of its new priority, and lose what comes into
    that one, or into its old one, later (bufferevent.c:bufferevent_priority_set).
    """
    read: list[bytes] = []
    set_to: list[int] = []
    with method.make(priorities=2) as base:
        ours, theirs = socket.socketpair()
        bev, peer = connected(base, priority=1, on_read=lambda each: (read.append(each.read()), go_on()))

        def urge() -> None:
            ours.recv(1)
            bev.priority = 1 - bev.priority
            set_to.append(bev.priority)
            go_on()

        def go_on() -> None:
            if len(read) == len(set_to) == 8:
                base.loop_exit()
            elif len(read) == len(set_to):
                base.call_later(0.001, send)

        def send() -> None:
            peer.send(b"x")
            theirs.send(b"x")

        other = base.on_readable(ours, urge, priority=1)
        base.call_soon(send)
        run(base)
        assert (read, set_to) == ([b"x"] * 8, [0, 1] * 4)
        other.close()
        for each in (ours, theirs, peer):
            each.close()


def test_a_connection_has_a_priority(method: Method, run: Run) -> None:
    """The more urgent one is called first, also over a socket that came later."""
    order: list[str] = []
    with method.make(priorities=3) as base:
        low, one = connected(base, priority=2, on_read=lambda each: (order.append("low"), each.close()))
        high, two = connected(base, priority=0, on_read=lambda each: (order.append("high"), each.close()))
        assert (low.priority, high.priority) == (2, 0)
        low.priority, high.priority = 1, 0
        ours, three = socket.socketpair()
        low.replace_socket(ours)
        assert low.priority == 1
        two.send(b"x")
        three.send(b"x")
        run(base)
        assert order == ["high", "low"]
        pair = BufferEvent.pair(base)
        with pytest.raises(ValueError, match="no socket"):
            pair[0].priority = 1
        assert pair[0].priority == 1
        with pytest.raises(ValueError, match="priority"):
            BufferEvent(base, priority=3)
        for each in (one, two, three):
            each.close()


# -- sockets -------------------------------------------------------------------------------------------------


def test_options_and_addresses_of_the_socket(base: EventBase, run: Run) -> None:
    """They are looked up in the socket that is there."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        bev = BufferEvent(base)
        assert (bev.local_address, bev.peer_address) == (None, None)
        with pytest.raises(ValueError, match="no socket"):
            bev.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        bev.connect(server.getsockname())
        assert bev.local_address is not None
        bev.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        assert bev.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert not os.get_blocking(bev.fileno())
        with server.accept()[0]:
            assert bev.peer_address == server.getsockname()
        with pytest.raises(ValueError, match="has a connection"):
            bev.connect(server.getsockname())
        bev.close()


def test_a_socket_that_is_not_connected_waits_for_connect(base: EventBase, run: Run) -> None:
    """It may be bound before; nothing is told until it is connected."""
    told = Told()
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        ours = socket.socket()
        ours.bind(("127.0.0.1", 0))
        address = ours.getsockname()
        bev = BufferEvent(base, ours, on_event=told)
        run(base)
        assert told == []
        assert bev.peer_address is None
        bev.connect(server.getsockname())
        accepted, peer = server.accept()
        accepted.close()
        run(base)
    assert peer == address
    assert [what for what, _ in told] == [BufferEventFlag.CONNECTED, EOF_READ]
    bev.close()


def test_a_number_that_is_used_again_belongs_to_the_new_connection(
    base: EventBase, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """Events of a descriptor that was closed under them are deleted, with a word in the log."""
    got: list[bytes] = []
    first, second = socket.socketpair()
    stale = Event(base, first, READ, lambda fd, what: None).add()
    number = first.fileno()
    os.close(first.detach())
    ours, theirs = socket.socketpair()
    if ours.fileno() != number:
        os.dup2(ours.fileno(), number)
        ours.close()
        ours = socket.socket(fileno=number)
    with second, theirs:
        bev = BufferEvent(base, ours, on_read=lambda each: (got.append(each.read()), each.close()))
        assert not stale.pending
        theirs.send(b"x")
        run(base)
    assert got == [b"x"]
    assert bev.closed
    assert "closed, and opened again" in caplog.text


# -- names ---------------------------------------------------------------------------------------------------


class Names:
    """What connect() needs of a resolver."""

    def __init__(self, base: EventBase, answer: Any) -> None:
        self.base, self.answer = base, answer
        self.asked: list[Any] = []
        self.operation: Any = None

    def getaddrinfo(self, host: str, port: int, callback: Any, *args: Any, **hints: int) -> Operation[Any]:
        """Answer in a later pass."""
        self.asked.append((host, port, hints))
        self.operation = operation = Operation._start(self.base, callback, args)
        if isinstance(self.answer, Exception):
            self.base.call_soon(operation._finish, None, self.answer)
        elif self.answer is not None:
            self.base.call_soon(operation._finish, self.answer)
        return operation


def info(address: tuple[str, int]) -> tuple[Any, ...]:
    """Make one answer of getaddrinfo()."""
    return socket.AF_INET, socket.SOCK_STREAM, 6, "", address


def test_the_addresses_of_a_name_are_tried_in_turn(base: EventBase, run: Run) -> None:
    """The first refuses, the second answers; only that is told."""
    told = Told()
    with socket.socket() as server, socket.socket() as nobody:
        server.bind(("127.0.0.1", 0))
        server.listen()
        nobody.bind(("127.0.0.1", 0))
        names = Names(base, [info(nobody.getsockname()), info(server.getsockname())])
        bev = BufferEvent(base, on_event=told)
        with pytest.raises(ValueError, match="resolver="):
            bev.connect(("example.test", 80))
        bev.connect(("example.test", 80), resolver=names, family=socket.AF_INET)
        with pytest.raises(ValueError, match="opening one"):
            bev.connect(("127.0.0.1", 1))
        while not told:
            base.poll(1.0)
        assert bev.peer_address == server.getsockname()
    assert names.asked == [("example.test", 80, {"family": socket.AF_INET, "type": socket.SOCK_STREAM})]
    assert told == [(BufferEventFlag.CONNECTED, None)]
    bev.close()


def test_when_no_address_answers_the_last_failure_is_told(base: EventBase, run: Run) -> None:
    """Once."""
    told = Told()
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        bev = BufferEvent(base, on_event=told)
        bev.connect(("a.test", 1), resolver=Names(base, [info(nobody.getsockname())] * 3))
        run(base)
    assert [type(error) for _, error in told] == [ConnectionRefusedError]
    bev.close()


def test_a_name_that_is_not_found_is_told(base: EventBase, run: Run) -> None:
    """As the DNSError that the resolver gave; without on_event it closes."""
    told = Told()
    error = DNSError(-2, "no such name")
    bev = BufferEvent(base, on_event=told)
    for _ in range(2):
        bev.connect(("a.test", 1), resolver=Names(base, error))
        run(base)
    assert told == [(BufferEventFlag.ERROR, error)] * 2
    assert bev.error is error
    bev.on_event = None
    bev.connect(("a.test", 1), resolver=Names(base, error))
    run(base)
    assert bev.closed


def test_a_lookup_needs_no_reference_and_ends_with_its_connection(base: EventBase, run: Run) -> None:
    """The base holds what waits for a name, and close() cancels the lookup."""
    told = Told()
    names = Names(base, DNSError(-2, "no such name"))
    BufferEvent(base, on_event=told).connect(("a.test", 1), resolver=names)
    gc.collect()
    run(base)
    assert len(told) == 1
    names = Names(base, None)
    bev = BufferEvent(base, on_event=told)
    bev.connect(("a.test", 1), resolver=names)
    bev.close()
    run(base)
    assert names.operation.cancelled
    assert len(told) == 1


# -- files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["socket", "limited", "pair", "filter"])
def test_a_file_is_sent(base: EventBase, run: Run, kind: str, tmp_path: Path) -> None:
    """Whole or in part, over anything."""
    data = os.urandom(300_000)
    path = tmp_path / "file"
    path.write_bytes(data)
    bev, end = BufferEvent.pair(base)
    if kind != "pair":
        ours, theirs = socket.socketpair()
        bev.close()
        end.close()
        bev, end = BufferEvent(base, ours), BufferEvent(base, theirs)
    if kind == "limited":
        bev.rate_limit = RateLimit(write_rate=10**9)
    elif kind == "filter":
        bev = FilterBufferEvent(bev)
    got = Buffer()
    end.on_read = lambda each: each.read_buffer(got)
    bev.write(b"head")
    with open(path, "rb") as file:
        bev.sendfile(file, offset=10, length=250_000)
        bev.sendfile(file)
    bev.write(b"tail")
    bev.close(flush=True)
    run(base)
    assert bytes(got) == b"head" + data[10:250_010] + data + b"tail"
    assert end.closed


LIMITED: dict[str, Callable[[BufferEvent, IO[bytes], RateLimitGroup], object]] = {
    "before": lambda bev, file, group: (setattr(bev, "rate_limit", group.limit), bev.sendfile(file)),
    "after": lambda bev, file, group: (bev.sendfile(file), setattr(bev, "rate_limit", group.limit)),
    "in a group before": lambda bev, file, group: (group.add(bev), bev.sendfile(file)),
    "in a group after": lambda bev, file, group: (bev.sendfile(file), group.add(bev)),
    "added to its output": lambda bev, file, group: (group.add(bev), bev.output.add_file(file)),
    "as a segment": lambda bev, file, group: (group.add(bev), bev.output.add_file_segment(FileSegment(file))),
}


@pytest.mark.parametrize("when", LIMITED)
def test_a_limit_holds_for_files(plain_base: EventBase, run: Run, when: str) -> None:
    """The system's sendfile() would send three megabytes at once, whatever the limit says."""
    ours, theirs = socket.socketpair()
    bev, end = BufferEvent(plain_base, ours), BufferEvent(plain_base, theirs)
    got: list[int] = []
    end.on_read = lambda each: got.append(len(each.read()))
    with tempfile.TemporaryFile() as file:
        file.truncate(3_000_000)
        group = RateLimitGroup(plain_base, RateLimit(write_rate=200_000, write_burst=20_000))
        LIMITED[when](bev, file, group)
    plain_base.loop_exit(after=0.15)
    run(plain_base)
    assert 20_000 <= sum(got) < 1_000_000
    bev.close()
    end.close()


def test_buffers_are_moved_in_and_out(base: EventBase, run: Run) -> None:
    """write_buffer() leaves the one empty, read_buffer() the other."""
    one, other = BufferEvent.pair(base)
    buffer = Buffer(b"moved")
    one.write_buffer(buffer)
    assert len(buffer) == 0
    other.read_buffer(buffer)
    assert bytes(buffer) == b"moved"
    assert other.read() == b""
    with pytest.raises(TypeError):
        other.read_buffer(bytearray())  # type: ignore[arg-type]
    with pytest.raises(BufferError):
        other.input.add(b"x")
    one.disable(WRITE)
    one.output.add(b"direct")
    with pytest.raises(BufferError):
        one.output.drain(1)
    one.enable(WRITE)
    run(base)
    assert other.read() == b"direct"
    changes: list[int] = []
    other.input.on_change(lambda each, change: changes.append(change.added - change.deleted))
    one.write(b"abc")
    run(base)
    other.read(1)
    run(base)
    assert sum(changes) == 2
    buffer = other.input
    other.close()
    assert buffer.closed
    with pytest.raises(ClosedError):
        buffer.remove()
    one.close()


# -- closed --------------------------------------------------------------------------------------------------

USES: dict[str, Callable[[BufferEvent], object]] = {
    "write": lambda bev: bev.write(b"x"),
    "writelines": lambda bev: bev.writelines([b"x"]),
    "write_buffer": lambda bev: bev.write_buffer(Buffer(b"x")),
    "sendfile": lambda bev: bev.sendfile(0),
    "write_eof": lambda bev: bev.write_eof(),
    "flush": lambda bev: bev.flush(),
    "read": lambda bev: bev.read(),
    "readinto": lambda bev: bev.readinto(bytearray(1)),
    "readline": lambda bev: bev.readline(),
    "read_until": lambda bev: bev.read_until(b"x"),
    "read_buffer": lambda bev: bev.read_buffer(Buffer()),
    "iter": list,
    "input": lambda bev: bev.input.remove(),
    "output": lambda bev: bev.output.add(b"x"),
    "connect": lambda bev: bev.connect(("127.0.0.1", 1)),
    "enable": lambda bev: bev.enable(READ),
    "disable": lambda bev: bev.disable(READ),
    "enabled": lambda bev: bev.enabled,
    "set_timeouts": lambda bev: bev.set_timeouts(read=1),
    "read_timeout": lambda bev: bev.read_timeout,
    "write_timeout": lambda bev: setattr(bev, "write_timeout", 1),
    "set_watermark": lambda bev: bev.set_watermark(READ, low=1),
    "get_watermark": lambda bev: bev.get_watermark(READ),
    "trigger": lambda bev: bev.trigger(READ),
    "trigger_event": lambda bev: bev.trigger_event(BufferEventFlag.EOF),
    "priority": lambda bev: bev.priority,
    "set priority": lambda bev: setattr(bev, "priority", 0),
    "rate_limit": lambda bev: bev.rate_limit,
    "set rate_limit": lambda bev: setattr(bev, "rate_limit", None),
    "read_limit": lambda bev: bev.read_limit,
    "write_limit": lambda bev: bev.write_limit,
    "decrement_read_limit": lambda bev: bev.decrement_read_limit(1),
    "decrement_write_limit": lambda bev: bev.decrement_write_limit(1),
    "max_single_read": lambda bev: bev.max_single_read,
    "set max_single_read": lambda bev: setattr(bev, "max_single_read", 1),
    "max_single_write": lambda bev: bev.max_single_write,
    "set max_single_write": lambda bev: setattr(bev, "max_single_write", 1),
    "fileno": lambda bev: bev.fileno(),
    "replace_socket": lambda bev: bev.replace_socket(bev.fileno()),
    "detach": lambda bev: bev.detach(),
    "setsockopt": lambda bev: bev.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    "getsockopt": lambda bev: bev.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
    "local_address": lambda bev: bev.local_address,
    "peer_address": lambda bev: bev.peer_address,
    "set on_read": lambda bev: setattr(bev, "on_read", print),
    "set on_write": lambda bev: setattr(bev, "on_write", print),
    "set on_event": lambda bev: setattr(bev, "on_event", print),
    "filter": FilterBufferEvent,
    "with": lambda bev: bev.__enter__(),
    "pointer": lowlevel.pointer,
    "surrender": lowlevel.surrender,
}


#: What goes on telling when it is closed; the callbacks are set above, and start_tls() has tests of its own.
TELLING = {"base", "close", "closed", "error", "partner", "rate_limit_group", "tls", "underlying"}
ELSEWHERE = {"on_event", "on_read", "on_write", "pair", "start_tls"}


def test_every_method_of_a_connection_is_in_the_table() -> None:
    """One that is new is tried on what is closed, too."""
    public = {name for name in dir(BufferEvent) if not name.startswith("_")}
    assert public - set(USES) == TELLING | ELSEWHERE


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_closed_connection_refuses_everything(plain_base: EventBase, use: Callable[..., object]) -> None:
    """After close() in its base's loop or outside, after a flush has begun, and when its base is closed."""
    closed: list[BufferEvent] = []
    bev, peer = connected(plain_base)
    bev.close()
    closed.append(bev)
    flushing, second = connected(plain_base)
    flushing.write(b"x")
    flushing.close(flush=True)
    closed.append(flushing)
    inside, third = connected(plain_base)
    failures: list[BaseException] = []

    def in_a_loop() -> None:
        inside.close()
        try:
            use(inside)
        except ClosedError as error:
            failures.append(error)

    plain_base.call_soon(in_a_loop)
    plain_base.poll(0)
    assert len(failures) == 1
    last, fourth = connected(plain_base)
    plain_base.close()
    closed.append(last)
    for each in closed:
        with pytest.raises(ClosedError):
            use(each)
        assert "closed" in repr(each)
        each.close()
    assert bev.error is None
    assert bev.partner is None
    assert bev.rate_limit_group is None
    assert bev.base is plain_base
    for other in (peer, second, third, fourth):
        other.close()


def test_wrong_arguments_are_refused(plain_base: EventBase) -> None:
    """With a word about which, before anything is taken over."""
    ours, theirs = socket.socketpair()
    for keywords in (
        {"on_read": 1},
        {"on_write": b""},
        {"on_event": "x"},
        {"enabled": "READ"},
        {"read_timeout": "1"},
        {"priority": "0"},
        {"rate_limit": 5},
    ):
        with pytest.raises(TypeError):
            BufferEvent(plain_base, ours, **keywords)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        BufferEvent(None, ours)  # type: ignore[arg-type]
    assert ours.fileno() >= 0
    bev = BufferEvent(plain_base, ours)
    with pytest.raises(RuntimeError, match="made already"):
        bev.__init__(plain_base)  # type: ignore[misc]
    for wrong in ("text", None, 5):
        with pytest.raises(TypeError):
            bev.write(wrong)  # type: ignore[arg-type]
    for address in (("127.0.0.1", 70000), ("127.0.0.1",), ""):
        with pytest.raises(ValueError, match=r"."):
            bev.connect(address)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="nbytes"):
        bev.read(-2)
    with pytest.raises(ValueError, match="mode"):
        bev.flush(mode=9)  # type: ignore[arg-type]
    assert not bev.flush(mode=FlushMode.FLUSH)
    bev.close()
    theirs.close()


# -- pointers ------------------------------------------------------------------------------------------------


def test_a_pointer_is_lent_given_and_taken(base: EventBase, run: Run) -> None:
    """lowlevel has the struct bufferevent, and makes a connection of one."""
    lib, ffi = lowlevel.lib, lowlevel.ffi
    got: list[bytes] = []
    bev, peer = connected(base)
    pointer = lowlevel.pointer(bev)
    assert lib.bufferevent_getfd(pointer) == bev.fileno()
    assert lowlevel.surrender(bev) == pointer
    assert bev.closed
    base.poll(0)
    with pytest.raises(TypeError):
        lowlevel.adopt(BufferEvent, ffi.NULL, base)  # a void *
    with EventBase() as another, pytest.raises(ValueError, match="not on"):
        lowlevel.adopt(BufferEvent, pointer, another)
    lent = lowlevel.borrow(BufferEvent, pointer, base)
    assert lent.fileno() >= 0
    lent.close()
    base.poll(0)
    again = lowlevel.adopt(BufferEvent, pointer, base)
    again.on_read = lambda each: (got.append(each.read()), each.close())
    again.enable(READ)
    with peer:
        peer.send(b"x")
        run(base)
    assert got == [b"x"]
    pair = BufferEvent.pair(base)
    with pytest.raises(TypeError, match="give"):
        lowlevel.surrender(pair[0])


# -- rate limits ---------------------------------------------------------------------------------------------


def test_a_rate_limit_holds(plain_base: EventBase, run: Run) -> None:
    """Within the little that half a second tells; and lifting it lets the rest go at once."""
    ours, theirs = socket.socketpair()
    bev = BufferEvent(
        plain_base, ours, rate_limit=RateLimit(write_rate=100_000, write_burst=10_000, tick=0.02)
    )
    got = Buffer()
    end = BufferEvent(plain_base, theirs, on_read=lambda each: each.read_buffer(got))
    bev.write(bytes(1_000_000))
    plain_base.call_later(0.5, plain_base.loop_exit)
    run(plain_base)
    assert 30_000 <= len(got) <= 65_000
    bev.rate_limit = None
    assert bev.rate_limit is None
    bev.close(flush=True)
    run(plain_base)
    assert len(got) == 1_000_000
    assert end.closed


def test_a_rate_limit_can_be_read_and_counted(base: EventBase) -> None:
    """read_limit is what is left of the tick; what has no limit can be counted nothing."""
    bev, peer = connected(base)
    assert bev.rate_limit is None
    with pytest.raises(ValueError, match="no rate limit"):
        bev.decrement_read_limit(5)
    limit = RateLimit(read_rate=10_000, write_rate=20_000, tick=1.0)
    for _ in range(2):
        bev.rate_limit = limit
    assert bev.rate_limit is limit
    assert (bev.read_limit, bev.write_limit) == (10_000, 20_000)
    bev.decrement_read_limit(10_500)
    bev.decrement_write_limit(1)
    assert bev.read_limit <= 0
    assert bev.write_limit == 19_999
    bev.decrement_read_limit(-10_500)
    bev.max_single_read, bev.max_single_write = 100, 200
    assert (bev.max_single_read, bev.max_single_write) == (100, 200)
    top = FilterBufferEvent(bev)
    assert top.rate_limit is limit
    top.rate_limit = None
    assert bev.rate_limit is None
    top.close()
    peer.close()
    one, other = BufferEvent.pair(base)
    with pytest.raises(ValueError, match="pair"):
        one.rate_limit = limit
    one.close()
    other.close()


def test_rate_limits_are_checked(plain_base: EventBase) -> None:
    """What C would take for a division by zero or a wrong number is refused."""
    for keywords in (
        {"read_rate": 0},
        {"write_rate": -5},
        {"read_rate": 100, "read_burst": 5},
        {"read_burst": 5},
        {"read_rate": 10**12},
        {"tick": 0.0},
        {"tick": 0.0001},
        {"tick": -1.0},
        {"tick": 2**32 / 1000},  # in 32 bits of milliseconds 0, by which libevent would divide
        {"read_rate": 1, "tick": 2**31 / 1000},
    ):
        with pytest.raises(ValueError, match=r"."):
            RateLimit(**keywords)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        RateLimit(read_rate=1.5)  # type: ignore[arg-type]
    assert RateLimit(read_rate=100) == RateLimit(read_rate=100)
    with pytest.raises(TypeError):
        RateLimitGroup(plain_base, None)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        RateLimitGroup(plain_base, RateLimit(read_rate=5)).add(plain_base)  # type: ignore[arg-type]


def test_a_slow_rate_has_whole_bytes(base: EventBase, run: Run) -> None:
    """15 bytes a second are not 20 because a tick would have one and a half."""
    bev, peer = connected(base)
    bev.rate_limit = RateLimit(write_rate=15)
    assert bev.write_limit == 3
    bev.close()
    peer.close()


def test_a_share_of_nothing_is_no_end(plain_base: EventBase, run: Run) -> None:
    """With one byte for two members none has a whole one: reading nothing is what an end looks like to C."""
    group = RateLimitGroup(plain_base, RateLimit(read_rate=100, read_burst=1, tick=0.01), min_share=0)
    assert group.min_share == 0
    got = [b"", b""]
    told: list[BufferEventFlag] = []

    def on_event(bev: BufferEvent, what: BufferEventFlag, error: Optional[Exception]) -> None:
        told.append(what)
        bev.close()

    for number in range(2):
        ours, theirs = socket.socketpair()
        member = BufferEvent(plain_base, ours, on_event=on_event)
        group.add(member)

        def read(each: BufferEvent, number: int = number) -> None:
            got[number] += each.read()

        member.on_read = read
        theirs.sendall(b"some")
        theirs.close()
    group.min_share = 0
    run(plain_base)
    assert got == [b"some", b"some"]
    assert told == [BufferEventFlag.EOF | BufferEventFlag.READING] * 2
    group.close()


def test_a_group_shares_its_limit(plain_base: EventBase, run: Run) -> None:
    """Members together keep to it, each gets its part, and the totals say how much it was."""
    group = RateLimitGroup(
        plain_base, RateLimit(write_rate=200_000, write_burst=10_000, tick=0.02), min_share=100
    )
    sizes = [0, 0]
    members = []
    for number in range(2):
        ours, theirs = socket.socketpair()
        member = BufferEvent(plain_base, ours)
        group.add(member)
        members.append(member)
        member.write(bytes(1_000_000))

        def read(each: BufferEvent, number: int = number) -> None:
            sizes[number] += len(each.read())

        BufferEvent(plain_base, theirs, on_read=read)
    assert group.members == frozenset(members)
    assert members[0].rate_limit_group is group
    plain_base.call_later(0.5, plain_base.loop_exit)
    run(plain_base)
    assert 50_000 <= sum(sizes) <= 140_000
    assert min(sizes) > sum(sizes) / 4
    assert group.totals() == (0, sum(sizes)) or abs(group.totals()[1] - sum(sizes)) < 20_000
    group.reset_totals()
    assert group.totals() == (0, 0)
    group.remove(members[0])
    with pytest.raises(ValueError, match="no member"):
        group.remove(members[0])
    members[1].close()
    assert group.members == frozenset()
    group.close()
    members[0].close()


def test_a_group_can_be_changed_and_counted(base: EventBase) -> None:
    """Its limit, its least share, and what others use."""
    limit = RateLimit(read_rate=10_000, write_rate=10_000, tick=1.0)
    group = RateLimitGroup(base, limit)
    assert (group.limit, group.min_share) == (limit, 64)
    group.decrement_read(1000)
    group.decrement_write(2000)
    assert (group.read_limit, group.write_limit) == (9000, 8000)
    group.limit = slower = RateLimit(read_rate=1000, write_rate=1000, read_burst=1000, tick=1.0)
    assert group.limit is slower
    assert group.read_limit <= 1000
    group.min_share = 10
    assert group.min_share == 10
    bev, peer = connected(base)
    another = RateLimitGroup(base, limit)
    group.add(bev)
    another.add(bev)
    assert (group.members, another.members) == (frozenset(), frozenset({bev}))
    with EventBase() as elsewhere:
        far = RateLimitGroup(elsewhere, limit)
        with pytest.raises(ValueError, match="another base"):
            far.add(bev)
    pair = BufferEvent.pair(base)
    with pytest.raises(ValueError, match="pair"):
        group.add(pair[0])
    group.close()
    with pytest.raises(ClosedError):
        group.add(bev)
    another.close()
    assert bev.rate_limit_group is None
    bev.close()
    peer.close()


def test_a_group_keeps_no_loop_going_but_its_members_do(base: EventBase, run: Run) -> None:
    """An idle one is nothing to wait for; a member that waits for its share is."""
    group = RateLimitGroup(base, RateLimit(write_rate=100_000, write_burst=2000, tick=0.01))
    run(base)
    ours, theirs = socket.socketpair()
    size = 0

    def read(each: BufferEvent) -> None:
        nonlocal size
        size += len(each.read())

    member = BufferEvent(base, ours, enabled=WRITE)
    group.add(member)
    end = BufferEvent(base, theirs, on_read=read, enabled=READ)
    member.write(bytes(20_000))
    while size < 20_000:
        assert base.poll(1.0)
    end.close()
    run(base)
    member.close()
    group.close()
    run(base)


def ends_at_once(base: EventBase, end: Callable[[BufferEvent], object]) -> bool:
    """Does a loop end within 50 ms of what *end* does to the only member of a group?"""
    ours, theirs = socket.socketpair()
    with theirs:
        member = BufferEvent(base, ours, on_event=lambda *_: None)
        group = RateLimitGroup(base, RateLimit(read_rate=1_000_000))
        group.add(member)
        base.call_soon(end, member)
        if end is ended_there:
            theirs.close()
        late: list[bool] = []
        timer = base.call_later(0.05, late.append, True, keepalive=False)
        base.dispatch()
        timer.close()
        member.close()
        group.close()
        return not late


def ended_there(member: BufferEvent) -> None:
    """The other side ends it, not this one."""


def disabled(member: BufferEvent) -> None:
    """Nothing can come any more."""
    member.disable(READ)


@pytest.mark.parametrize("end", [BufferEvent.close, ended_there, disabled])
def test_a_loop_ends_with_the_last_that_a_group_waits_for(
    plain_base: EventBase, end: Callable[[BufferEvent], object]
) -> None:
    """It need not wait until the group looks at its members again, ten times a second."""
    assert any(ends_at_once(plain_base, end) for _ in range(5))  # a busy machine may be late once


def test_a_group_lives_as_long_as_its_members(base: EventBase) -> None:
    """Whoever drops what, in whatever order."""
    group = RateLimitGroup(base, RateLimit(read_rate=1000))
    bev, peer = connected(base)
    group.add(bev)
    del group
    gc.collect()
    assert bev.rate_limit_group is not None
    bev.rate_limit = RateLimit(read_rate=500)
    del bev
    gc.collect()
    base.close()
    peer.close()
