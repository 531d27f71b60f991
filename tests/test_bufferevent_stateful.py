"""
Random programs of connections: made, paired, filtered, under TLS, limited, ended in callbacks, raising.

Each program is a seed.  A failure names it; LIBEVENT_CFFI_SEED=n runs that one alone, and
LIBEVENT_CFFI_PROGRAMS=n that many.  Nothing is called after its end, every byte arrives in order, and C has
nothing left when all is closed.
"""

from __future__ import annotations

import contextlib
import gc
import os
import random
import socket
import sys
from collections.abc import Sequence
from typing import Any, Optional

import pytest
from certificates import Certificates

from libevent_cffi import READ, WRITE, Buffer, BufferEvent, BufferEventFlag, EventBase, EventFlag, util
from libevent_cffi._native import lib
from libevent_cffi.bufferevent import FilterBufferEvent, RateLimit, RateLimitGroup
from libevent_cffi.errors import ClosedError
from libevent_cffi.flags import FilterResult, FlushMode
from libevent_cffi.tls import TLSContext

PROGRAMS = int(os.environ.get("LIBEVENT_CFFI_PROGRAMS", "60" if sys.implementation.name == "pypy" else "400"))
SEED = os.environ.get("LIBEVENT_CFFI_SEED")
STEPS = 40
MOST_CALLS = 200
DIRECTIONS = (EventFlag(0), READ, WRITE, READ | WRITE)


class Mine(Exception):
    """What callbacks raise."""


class Program:
    """One program: its base, its connections, and what may be done to them."""

    def __init__(self, seed: int, contexts: Sequence[TLSContext] = ()) -> None:
        self.dice = random.Random(seed)
        self.contexts = contexts
        self.base = EventBase(error_handler=self.failed if seed % 2 else None)
        self.connections: list[BufferEvent] = []
        self.groups: list[RateLimitGroup] = []
        self.peers: list[socket.socket] = []
        self.ended: set[int] = set()
        self.everything: list[Any] = []  # ids stay theirs
        self.calls = 0
        self.actions = [
            *[self.make_socket, self.make_pair, self.make_filter, self.make_unconnected, self.make_group],
            *[self.write, self.read, self.peer, self.toggle, self.mark, self.time, self.limit] * 2,
            *[self.trigger, self.write_eof, self.flush, self.close, self.drop, self.detach, self.callbacks],
            *[self.move, self.send_file, self.watch, self.replace],
            *([self.make_tls, self.start_tls] if contexts else []),
        ]

    def failed(self, error: Exception, source: object) -> None:
        """Take what a callback raised."""

    # -- callbacks -------------------------------------------------------------------------------------------

    def called(self, bev: BufferEvent) -> None:
        """Run for every callback: check that it may, then do something, and sometimes raise."""
        self.calls += 1
        assert id(bev) not in self.ended, f"{bev!r} was called after its end"
        assert not bev.closed
        if self.calls > MOST_CALLS:
            self.base.loop_break()
            return
        for _ in range(self.dice.choice((0, 0, 1, 2))):
            self.step()
        if self.dice.random() < 0.05:
            raise Mine

    def on_event(self, bev: BufferEvent, what: BufferEventFlag, error: Optional[Exception]) -> None:
        """Check what comes with it."""
        assert (error is None) == (not what & (BufferEventFlag.ERROR | BufferEventFlag.TIMEOUT))
        self.called(bev)

    def filter(
        self, source: Buffer, target: Buffer, limit: Optional[int], mode: FlushMode
    ) -> Optional[FilterResult]:
        """Move something, or not, or fail."""
        self.calls += 1
        if self.calls > MOST_CALLS:
            self.base.loop_break()
        kind = self.dice.random()
        if kind < 0.02:
            raise Mine
        if kind < 0.04:
            return FilterResult.ERROR
        if kind < 0.1:
            return self.dice.choice((FilterResult.OK, FilterResult.NEED_MORE, None))
        source.remove_buffer(-1 if limit is None else limit, into=target)
        if kind < 0.2:
            self.step()
        return None

    def some_callbacks(self) -> dict[str, Any]:
        """Return some of them."""
        every = {"on_read": self.called, "on_write": self.called, "on_event": self.on_event}
        return {name: callback for name, callback in every.items() if self.dice.random() < 0.6}

    # -- actions ---------------------------------------------------------------------------------------------

    def add(self, bev: BufferEvent) -> None:
        """Have a new one."""
        self.everything.append(id(bev))
        self.ended.discard(id(bev))
        self.connections.append(bev)

    def one(self) -> BufferEvent:
        """Choose one of them."""
        if not self.connections:
            self.make_pair()
        return self.dice.choice(self.connections)

    def make_socket(self) -> None:
        if len(self.peers) < 20:
            ours, theirs = socket.socketpair()
            theirs.setblocking(False)
            self.peers.append(theirs)
            with ours:
                self.add(BufferEvent(self.base, ours, **self.some_callbacks()))

    def make_pair(self) -> None:
        for bev in BufferEvent.pair(self.base):
            for name, callback in self.some_callbacks().items():
                setattr(bev, name, callback)
            self.add(bev)

    def make_filter(self) -> None:
        filters = [self.dice.choice((None, self.filter)) for _ in range(2)]
        self.add(FilterBufferEvent(self.one(), *filters, **self.some_callbacks()))

    def make_tls(self) -> None:
        if len(self.everything) < 100:
            for sock, context in zip(socket.socketpair(), self.contexts):
                self.add(BufferEvent(self.base, sock, tls=context, **self.some_callbacks()))

    def start_tls(self) -> None:
        bev = self.one()
        self.add(bev.start_tls(self.dice.choice(self.contexts)))
        self.end(bev)

    def make_unconnected(self) -> None:
        bev = BufferEvent(self.base, **self.some_callbacks())
        self.add(bev)
        if self.dice.random() < 0.5:
            bev.connect(self.dice.choice(("/no/such/path", ("127.0.0.1", 1))))

    def make_group(self) -> None:
        if not self.groups:
            self.groups.append(
                RateLimitGroup(self.base, RateLimit(write_rate=10_000_000, read_rate=10_000_000))
            )
        if self.dice.random() < 0.1:
            self.groups.pop().close()
        else:
            self.groups[0].add(self.one())

    def write(self) -> None:
        bev = self.one()
        data = bytes(self.dice.choice((0, 1, 100, 5000, 200_000)))
        if self.dice.random() < 0.2:
            bev.output.add(data)
        else:
            bev.write(data)

    def move(self) -> None:
        bev = self.one()
        buffer = Buffer(b"some bytes")
        buffer.add_reference(bytes(self.dice.choice((1, 100_000))))
        bev.write_buffer(buffer)
        bev.read_buffer(buffer)

    def send_file(self) -> None:
        with open(__file__, "rb") as file:
            self.one().sendfile(file, length=self.dice.choice((0, 10, None)))

    def watch(self) -> None:
        bev = self.one()
        handle = self.dice.choice((bev.input, bev.output)).on_change(self.changed)
        if self.dice.random() < 0.3:
            handle.close()

    def changed(self, buffer: Buffer, change: object) -> None:
        """Be a change callback."""
        self.calls += 1
        assert not buffer.closed
        if self.calls > MOST_CALLS:
            self.base.loop_break()
        elif self.dice.random() < 0.3:
            self.step()
        elif self.dice.random() < 0.1:
            raise Mine

    def replace(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self.one().replace_socket(ours)

    def read(self) -> None:
        bev = self.one()
        self.dice.choice((bev.read, bev.readline, bev.input.drain, lambda: bev.read(10)))()

    def peer(self) -> None:
        if not self.peers:
            return
        peer = self.dice.choice(self.peers)
        kind = self.dice.random()
        with contextlib.suppress(OSError):
            if kind < 0.4:
                peer.send(bytes(self.dice.choice((1, 100, 10_000))))
            elif kind < 0.7:
                peer.recv(100_000)
            elif kind < 0.8:
                peer.shutdown(socket.SHUT_WR)
            elif kind < 0.9:
                self.peers.remove(peer)
                peer.close()

    def toggle(self) -> None:
        bev = self.one()
        self.dice.choice((bev.enable, bev.disable))(self.dice.choice(DIRECTIONS))

    def mark(self) -> None:
        self.one().set_watermark(
            self.dice.choice(DIRECTIONS), low=self.dice.choice((0, 5)), high=self.dice.choice((None, 5, 1000))
        )

    def time(self) -> None:
        self.one().set_timeouts(read=self.dice.choice((None, 0.001)), write=self.dice.choice((None, 0.001)))

    def limit(self) -> None:
        self.one().rate_limit = self.dice.choice((None, RateLimit(write_rate=10_000_000, tick=0.001)))

    def trigger(self) -> None:
        bev = self.one()
        if self.dice.random() < 0.5:
            bev.trigger(self.dice.choice(DIRECTIONS), ignore_watermarks=self.dice.random() < 0.5)
        else:
            bev.trigger_event(self.dice.choice(tuple(BufferEventFlag)))

    def write_eof(self) -> None:
        self.one().write_eof()

    def flush(self) -> None:
        self.one().flush(self.dice.choice(DIRECTIONS), self.dice.choice(tuple(FlushMode)))

    def callbacks(self) -> None:
        bev = self.one()
        bev.on_read = self.dice.choice((None, self.called))
        bev.on_event = self.dice.choice((None, self.on_event))

    def close(self) -> None:
        bev = self.one()
        bev.close(flush=self.dice.random() < 0.4)
        self.end(bev)

    def end(self, bev: BufferEvent) -> None:
        """Have it called no more."""
        self.ended.add(id(bev))
        self.connections = [each for each in self.connections if each is not bev]

    def drop(self) -> None:
        bev = self.one()
        self.connections = [each for each in self.connections if each is not bev]

    def detach(self) -> None:
        with self.one().detach():
            pass

    def step(self) -> None:
        """Do one thing; what cannot be done now says so."""
        with contextlib.suppress(ClosedError, ValueError, BufferError, BrokenPipeError):
            self.dice.choice(self.actions)()

    # -- running ---------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Do it all, and close it."""
        for _ in range(STEPS):
            with contextlib.suppress(Mine):
                self.step()
            if self.dice.random() < 0.3:
                self.calls = 0
                with contextlib.suppress(Mine):
                    self.base.poll(0.002 if self.dice.random() < 0.1 else 0.0)
        if self.dice.random() < 0.5:
            self.base.close()
        for bev in self.connections:
            bev.close()
        self.base.close()
        assert all(bev.closed for bev in self.connections)
        for peer in self.peers:
            peer.close()


def seeds() -> list[int]:
    """Return the seeds of one group of programs."""
    return [int(SEED)] if SEED else list(range(PROGRAMS))


@pytest.fixture(scope="module")
def contexts(request: pytest.FixtureRequest) -> Sequence[TLSContext]:
    """Return a client's and a server's context, or nothing where there is no TLS."""
    if not lib.LEV_HAS_TLS:
        return ()
    certificates: Certificates = request.getfixturevalue("certificates")
    client = TLSContext(ca=certificates("ca.pem"), check_hostname=False)
    return client, TLSContext.server(certificates("server.pem"), certificates("server.key"))


def test_random_programs_break_nothing(contexts: Sequence[TLSContext]) -> None:
    """Whatever is done in whatever order: nobody is called after the end, and nothing is left in C."""
    gc.collect()
    gc.collect()
    before = util.memory_counters().blocks
    for seed in seeds():
        program = Program(seed, contexts)
        try:
            program.run()
        except BaseException:
            print(f"seed {seed}: LIBEVENT_CFFI_SEED={seed}")
            raise
        del program
        if seed % 20 == 19 or SEED:
            gc.collect()
            gc.collect()
            with Buffer() as buffer:
                buffer.drain()  # the next call forgets what buffers had that were dropped
            # Debug mode keeps an entry for each event that a bufferevent ever had.
            assert lib.lev_debug_mode_on or util.memory_counters().blocks <= before, f"up to seed {seed}"


@pytest.mark.parametrize("kind", ["socket", "pair", "filter", "filters"])
@pytest.mark.parametrize("seed", range(4))
def test_every_byte_arrives_in_order(plain_base: EventBase, kind: str, seed: int) -> None:
    """Whatever is turned off and on, limited, marked and raised meanwhile."""
    base, dice = plain_base, random.Random(seed)
    ours: Any
    theirs: Any
    if kind == "pair":
        ours, theirs = BufferEvent.pair(base)
    else:
        ours, theirs = (BufferEvent(base, each) for each in socket.socketpair())
    for _ in range({"filter": 1, "filters": 2}.get(kind, 0)):
        ours = FilterBufferEvent(ours, _careful(dice), _careful(dice))
        theirs = FilterBufferEvent(theirs, _careful(dice), _careful(dice))
    sent, received = bytearray(), bytearray()
    ended: list[BufferEventFlag] = []

    def on_read(bev: BufferEvent) -> None:
        received.extend(bev.read(dice.choice((-1, 1000, 50_000))))
        if bev.input:
            bev.trigger(READ)
        if dice.random() < 0.1:
            raise Mine

    theirs.on_read, theirs.on_event = on_read, lambda bev, what, error: ended.append(what)
    for _ in range(150):
        data = dice.randbytes(dice.choice((0, 1, 1000, 40_000)))
        sent += data
        ours.write(data)
        bev = dice.choice((ours, theirs))
        dice.choice(
            (
                lambda bev=bev: bev.disable(dice.choice(DIRECTIONS)),
                lambda bev=bev: bev.enable(dice.choice(DIRECTIONS)),
                lambda bev=bev: bev.set_watermark(READ, high=dice.choice((None, 5000))),
                lambda: None,
            )
        )()
        with contextlib.suppress(Mine):
            base.poll()
    for bev in (ours, theirs):
        bev.enable(READ | WRITE)
        bev.set_watermark(READ)
    ours.write_eof()
    while not ended or theirs.input:
        with contextlib.suppress(Mine):
            theirs.trigger(READ)
            base.poll(5.0)
    assert received == sent
    assert ended == [BufferEventFlag.EOF | BufferEventFlag.READING]
    ours.close()
    theirs.close()


def _careful(dice: random.Random) -> Any:
    """Return a filter that moves as little as it likes, but all at the end."""

    def moves(source: Buffer, target: Buffer, limit: Optional[int], mode: FlushMode) -> None:
        most = len(source) if limit is None else min(limit, len(source))
        if mode == FlushMode.NORMAL and most > 10:
            most = dice.randint(1, most)
        source.remove_buffer(most, into=target)

    return moves
