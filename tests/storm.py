"""
A storm of Ctrl-C.

``python tests/storm.py KIND INTERRUPTS [SECONDS] [--busy] [--raising]`` prints what came of it.

Another process sends SIGINT without pause.  The main thread blocks the signal, makes events happen, lets it
in for the time of one loop call, and blocks it again, until a loop call was not interrupted.  Then each event
must have been told exactly as often as it happened.  Every callback is one atomic C function: it is where the
interpreter cannot be interrupted, so what it counted is what was delivered.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import logging
import operator
import os
import queue
import random
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from libevent_cffi import BufferEvent, Event, EventBase, Listener, Signal
from libevent_cffi.dns import Resolver, Server
from libevent_cffi.flags import EventFlag, LoopFlag
from libevent_cffi.watch import CheckWatcher, PrepareWatcher

SENDER = """
import os, random, select, sys, time
victim, fewest, most = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
end = time.monotonic() + float(sys.argv[4])
clock, kill, watch = time.perf_counter, os.kill, select.select
while clock and time.monotonic() < end and os.getppid() == victim:
    for _ in range(100):
        until = clock() + fewest * (most / fewest) ** random.random()
        while clock() < until:
            pass
        kill(victim, 2)
    if watch([0], [], [], 0)[0]:
        break
"""

COUNT = 40


class Kind:
    """Events that happen: fill() makes them, step() is one loop call, errors() says what is wrong."""

    #: Up to which number they were compared.
    checked = 0

    def __init__(self, base: EventBase) -> None:
        self.base = base

    def fill(self) -> None:
        """Make events happen."""

    def step(self) -> None:
        """Run the loop until everything was told, or it is interrupted."""
        self.base.dispatch()

    def errors(self) -> str:
        """Compare what was told with what happened."""
        return ""

    def close(self) -> None:
        """End it."""


class UserEvents(Kind):
    """Events without a descriptor that are activated; callback(fd, what) is list.insert."""

    persist = EventFlag.PERSIST

    def __init__(self, base: EventBase) -> None:
        super().__init__(base)
        self.told: list[list[Any]] = [[] for _ in range(COUNT)]
        self.events = [Event(base, None, self.persist, told.insert) for told in self.told]
        self.happened = 0

    def fill(self) -> None:
        self.happened += 1
        for event in self.events:
            event.activate()

    def errors(self) -> str:
        for number, told in enumerate(self.told):
            if len(told) != self.happened:
                return f"event {number} was told {len(told)} times of {self.happened}"
        return ""

    def close(self) -> None:
        for event in self.events:
            event.close()


class OneShotUserEvents(UserEvents):
    """The same, not persistent."""

    persist = EventFlag(0)


class OneShotTimers(Kind):
    """Timers of no time at all."""

    def __init__(self, base: EventBase) -> None:
        super().__init__(base)
        self.told: list[int] = []
        self.made = 0

    def fill(self) -> None:
        for _ in range(COUNT):
            self.base.call_later(0, self.told.append, self.made)
            self.made += 1

    def errors(self) -> str:
        return _difference(sorted(self.told), self)


class CallSoon(OneShotTimers):
    """The queue of call_soon(), in order."""

    def fill(self) -> None:
        for _ in range(COUNT):
            self.base.call_soon(self.told.append, self.made)
            self.made += 1

    def errors(self) -> str:
        return _difference(self.told, self)


class PersistentTimers(Kind):
    """Timers of an hour, activated: told once each, and still due in an hour."""

    def __init__(self, base: EventBase) -> None:
        super().__init__(base)
        self.told: list[list[int]] = [[] for _ in range(COUNT)]
        self.timers = [base.every(3600, told.append, 1, keepalive=False) for told in self.told]
        self.happened = 0

    def fill(self) -> None:
        self.happened += 1
        for timer in self.timers:
            timer.activate(EventFlag.READ)  # as TIMEOUT, libevent would reckon from when it was due

    def errors(self) -> str:
        for number, told in enumerate(self.told):
            if len(told) != self.happened:
                return f"timer {number} was told {len(told)} times of {self.happened}"
        left = [timer.remaining or 0 for timer in self.timers]
        return "" if 3500 < min(left) <= max(left) <= 3601 else f"due in {min(left)} to {max(left)} s"

    def close(self) -> None:
        for timer in self.timers:
            timer.close()


class TickingTimer(Kind):
    """A timer of a millisecond: never more ticks than milliseconds, and it never stops."""

    def __init__(self, base: EventBase) -> None:
        super().__init__(base)
        self.told: list[int] = []
        self.timer = base.every(0.001, self.told.append, 1)
        self.began = time.monotonic()

    def fill(self) -> None:
        self.before = len(self.told)

    def step(self) -> None:
        while len(self.told) - self.before < 10:
            self.base.loop(LoopFlag.ONCE)

    def errors(self) -> str:
        most = (time.monotonic() - self.began) * 1000 + 1
        left = self.timer.remaining
        if len(self.told) > most or left is None or left > 0.01:
            return f"{len(self.told)} ticks in {most} ms; the next in {left} s"
        return ""

    def close(self) -> None:
        self.timer.close()


class _Pairs(Kind):
    """One byte more for each of some sockets."""

    def __init__(self, base: EventBase) -> None:
        super().__init__(base)
        self.pairs = [socket.socketpair() for _ in range(COUNT)]
        self.told: list[list[Any]] = [[] for _ in range(COUNT)]
        self.happened = 0
        for left, right in self.pairs:
            left.setblocking(False)
            right.setblocking(False)
        self.events = [self.watch(pair[0], told) for pair, told in zip(self.pairs, self.told)]

    def watch(self, left: socket.socket, told: list[Any]) -> Event:
        raise NotImplementedError

    def fill(self) -> None:
        self.happened += 1
        for left, right in self.pairs:
            if self.happened % 100 == 0:
                while select.select([left], [], [], 0)[0]:
                    left.recv(4096)
            right.send(b"x")

    def errors(self) -> str:
        for number, told in enumerate(self.told):
            if len(told) != self.happened:
                return f"descriptor {number} was told {len(told)} times of {self.happened}"
        return ""

    def close(self) -> None:
        for event in self.events:
            event.close()
        for pair in self.pairs:
            pair[0].close()
            pair[1].close()


class EdgeTriggered(_Pairs):
    """Edge-triggered descriptors, which are told once for each byte."""

    def watch(self, left: socket.socket, told: list[Any]) -> Event:
        return self.base.on_readable(left, told.append, 1, edge_triggered=True)

    def step(self) -> None:
        self.base.loop(LoopFlag.NONBLOCK)


class OneShotDescriptors(_Pairs):
    """Descriptors that are watched until they are readable once."""

    def watch(self, left: socket.socket, told: list[Any]) -> Event:
        return Event(self.base, left, EventFlag.READ, told.insert)

    def fill(self) -> None:
        super().fill()
        for event in self.events:
            event.add()


class Reads(_Pairs):
    """Connections whose on_read(bev) is list.append, told once for each byte that comes."""

    def watch(self, left: socket.socket, told: list[Any]) -> Any:
        return BufferEvent(self.base, left, on_read=told.append)

    def fill(self) -> None:
        self.happened += 1
        for _, right in self.pairs:
            right.send(b"x")

    def step(self) -> None:
        self.base.loop(LoopFlag.NONBLOCK)


class Accepts(Kind):
    """Connections to a listener; its callback(listener, sock, address) is SimpleQueue.put, which is C."""

    def __init__(self, base: EventBase) -> None:
        super().__init__(base)
        warnings.simplefilter("ignore", ResourceWarning)  # of put()'s arguments only the listener is kept
        self.queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.folder = tempfile.TemporaryDirectory()
        path = os.path.join(self.folder.name, "socket")
        self.listener = Listener(base, path, self.queue.put)
        self.happened = 0

    def fill(self) -> None:
        for _ in range(COUNT // 4):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(self.listener.address)
            self.happened += 1

    def step(self) -> None:
        self.base.loop(LoopFlag.NONBLOCK)

    def errors(self) -> str:
        told = self.queue.qsize()
        return "" if told == self.happened else f"{told} connections were told of {self.happened}"

    def close(self) -> None:
        self.listener.close()
        self.folder.cleanup()


class Lookups(Kind):
    """Queries of a resolver, whose completion(query) is list.append."""

    def __init__(self, base: EventBase) -> None:
        from dns_peers import NameServer  # which imports pytest: the other kinds need not wait for that

        super().__init__(base)
        self.told: list[Any] = []
        self.made = 0
        self.server = NameServer()
        servers = [self.server.address]
        self.resolver = Resolver(base, resolv_conf=False, hosts=False, nameservers=servers)

    def fill(self) -> None:
        for _ in range(COUNT // 4):
            self.resolver.resolve_ipv4(f"{self.made}.example", self.told.append)
            self.made += 1

    def errors(self) -> str:
        failed = [query for query in self.told if query.error is not None]
        told = sorted(int(query.name.partition(".")[0]) for query in self.told)
        return repr(failed) if failed else _difference(told, self)

    def close(self) -> None:
        self.resolver.close()
        self.server.close()


class Questions(Kind):
    """Datagrams to a DNS server, whose handler(request) is list.append: each is answered once, SERVFAIL."""

    def __init__(self, base: EventBase) -> None:
        super().__init__(base)
        logging.getLogger("libevent.dns").setLevel(logging.CRITICAL)
        self.told: list[Any] = []
        self.server = Server(base, ("127.0.0.1", 0), self.told.append)
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.connect(self.server.address)
        self.sock.setblocking(False)

    def fill(self) -> None:
        del self.told[:]
        for number in range(COUNT):
            self.sock.send(bytes([1, number]) + b"\1\0\0\1\0\0\0\0\0\0\1a\0\0\1\0\1")

    def step(self) -> None:
        self.base.loop(LoopFlag.NONBLOCK)

    def errors(self) -> str:
        answers = []
        with contextlib.suppress(BlockingIOError):
            while True:
                answers.append(self.sock.recv(512)[1])
        if len(self.told) == COUNT and sorted(answers) == list(range(COUNT)):
            return ""
        return f"{len(self.told)} requests were told and {answers} answered of {COUNT}"

    def close(self) -> None:
        self.server.close()
        self.sock.close()


class Signals(Kind):
    """Signals that came five times before the loop looked."""

    keepalive = False

    def __init__(self, base: EventBase) -> None:
        super().__init__(base)
        self.told: list[list[int]] = [[] for _ in range(3)]
        numbers = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGUSR1)
        self.events = [
            Signal(base, number, told.append, keepalive=self.keepalive).add()
            for number, told in zip(numbers, self.told)
        ]
        self.happened = 0

    def fill(self) -> None:
        self.happened += 1
        for event in self.events:
            event.activate(count=5)

    def errors(self) -> str:
        counts = [len(told) for told in self.told]
        return "" if counts == [5 * self.happened] * 3 else f"told {counts} of {5 * self.happened}"

    def close(self) -> None:
        for event in self.events:
            event.close()


class SentSignals(Signals):
    """The same, sent by this process to itself."""

    keepalive = True

    def fill(self) -> None:
        self.happened += 1
        for _ in range(5):
            signal.raise_signal(signal.SIGUSR1)
            signal.raise_signal(signal.SIGUSR2)

    def step(self) -> None:
        self.base.loop(LoopFlag.NONBLOCK)


class Watched(UserEvents):
    """User events beside prepare and check watchers."""

    def __init__(self, base: EventBase) -> None:
        super().__init__(base)
        self.watchers = PrepareWatcher(base, operator.is_), CheckWatcher(base, id)

    def close(self) -> None:
        super().close()
        for watcher in self.watchers:
            watcher.close()


class Nested(Kind):
    """Calls of an inner base that an outer one's timer dispatches."""

    def __init__(self, base: EventBase) -> None:
        super().__init__(base)
        self.inner = EventBase()
        self.told: list[int] = []
        self.made = 0

    def fill(self) -> None:
        for _ in range(COUNT):
            self.inner.call_later(0, self.told.append, self.made)
            self.made += 1

    def step(self) -> None:
        while self.inner.count():
            self.base.call_later(0, self.inner.dispatch)
            self.base.dispatch()

    def errors(self) -> str:
        return _difference(sorted(self.told), self)

    def close(self) -> None:
        self.inner.close()


class Posted(Kind):
    """Numbered calls of a second thread, in order."""

    def __init__(self, base: EventBase) -> None:
        super().__init__(base)
        self.told: list[int] = []
        self.made = 0
        self.go = threading.Semaphore(0)
        self.ended = False
        self.thread = threading.Thread(target=self.post)
        self.thread.start()

    def post(self) -> None:
        while True:
            self.go.acquire()
            if self.ended:
                return
            for _ in range(COUNT):
                self.made += 1
                self.base.call_soon_threadsafe(self.told.append, self.made - 1)

    def fill(self) -> None:
        self.go.release()

    def step(self) -> None:
        while len(self.told) < COUNT:
            self.base.loop(LoopFlag.ONCE | LoopFlag.NO_EXIT_ON_EMPTY)

    def errors(self) -> str:
        return _difference(self.told, self)

    def close(self) -> None:
        self.ended = True
        self.go.release()
        self.thread.join()


class PythonFunctions(OneShotTimers):
    """Python functions whose first act is that C function."""

    def fill(self) -> None:
        for _ in range(COUNT):
            self.base.call_later(0, self.tell, self.made)
            self.made += 1

    def tell(self, number: int) -> None:
        """Count; what comes after may be interrupted."""
        self.told.append(number)


class Generators(OneShotTimers):
    """Generators that wait in a yield, and whose first act is that C function."""

    def fill(self) -> None:
        for _ in range(COUNT):
            waiting = self.tell(self.made)
            next(waiting)
            self.base.call_later(0, waiting.__next__)
            self.made += 1

    def tell(self, number: int) -> Iterator[None]:
        """Count when resumed."""
        yield
        self.told.append(number)
        yield


class Partials(OneShotTimers):
    """functools.partial, which is a Python class on PyPy."""

    def fill(self) -> None:
        for _ in range(COUNT):
            self.base.call_soon(functools.partial(self.told.append, self.made))
            self.made += 1


class TakenCtrlC(Kind):
    """Ctrl-C itself is an event: there is no KeyboardInterrupt, however often the loop begins and ends."""

    def __init__(self, base: EventBase) -> None:
        super().__init__(base)
        self.told: list[int] = []
        self.signal = Signal(base, signal.SIGINT, self.told.append).add()

    def step(self) -> None:
        for _ in range(1000):
            self.base.poll()

    def close(self) -> None:
        self.signal.close()


KINDS: dict[str, Callable[[EventBase], Kind]] = {
    kind.__name__: kind
    for kind in (
        UserEvents,
        OneShotUserEvents,
        OneShotTimers,
        CallSoon,
        PersistentTimers,
        TickingTimer,
        EdgeTriggered,
        OneShotDescriptors,
        Reads,
        Accepts,
        Lookups,
        Questions,
        Signals,
        SentSignals,
        Watched,
        Nested,
        Posted,
        PythonFunctions,
        Generators,
        Partials,
        TakenCtrlC,
    )
}


def _difference(told: list[int], kind: Any) -> str:
    """Compare the numbers that were told since the last time with those that were made, and forget them."""
    expected = list(range(kind.checked, kind.made))
    if told == expected:
        kind.checked = kind.made
        del kind.told[:]
        return ""
    lost = sorted(set(expected) - set(told))
    doubled = sorted(number for number, count in Counter(told).items() if count > 1)
    return f"{len(told)} told of {len(expected)}: lost {lost[:5]}, doubled {doubled[:5]}, or out of order"


class Storm:
    """The main thread's side; whatever a stray KeyboardInterrupt cuts short is begun again by drive()."""

    def __init__(self, kind: Kind, wanted: int, seconds: float) -> None:
        self.kind = kind
        self.wanted = wanted
        self.end = time.monotonic() + seconds
        self.interrupts = self.rounds = 0
        self.error = ""
        self.filled = False

    def drive(self) -> None:
        """Go on until there were enough interrupts, or something is wrong."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        while not self.error and (self.filled or self.goes_on()) and time.monotonic() < self.end + 10:
            if not self.filled:
                self.kind.fill()
                self.filled = True
            if self.step():
                self.filled = False
                self.rounds += 1
                self.error = self.kind.errors()

    def goes_on(self) -> bool:
        """Is there time, and a need, for more interrupts?"""
        return self.interrupts < self.wanted and time.monotonic() < self.end

    def step(self) -> bool:
        """One loop call with the signal let in; True when it was not interrupted."""
        whole = False
        try:
            try:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
                self.kind.step()
                whole = True
            finally:
                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        except (KeyboardInterrupt, Struck):
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            self.interrupts += 1
        return whole


def _insist(drive: Callable[[], None]) -> None:
    """Run it to its end, whatever strikes before it has blocked the signal; and before this has caught it."""
    while True:
        try:
            while True:
                try:
                    while True:
                        try:
                            drive()
                            return
                        except (KeyboardInterrupt, Struck):
                            pass
                except (KeyboardInterrupt, Struck):
                    pass
        except (KeyboardInterrupt, Struck):
            pass


def _keep_busy(stop: list[bool]) -> None:
    while not stop:
        sum(range(100))


class Struck(BaseException):
    """What a handler of the user's own raises."""


def _raise(signum: int, frame: object) -> None:
    raise Struck


def main(name: str, wanted: int, seconds: float, busy: bool, raising: bool) -> None:
    """Run one storm, and print its outcome as JSON."""
    if raising:
        signal.signal(signal.SIGINT, _raise)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # for every thread that is started from here on
    random.seed()
    base = EventBase()
    kind = KINDS[name](base)
    stop: list[bool] = []
    worker = threading.Thread(target=_keep_busy, args=(stop,))
    if busy:
        worker.start()
    before = threading.active_count()
    handler = signal.getsignal(signal.SIGINT)
    storm = Storm(kind, wanted, seconds)
    most = "1e-3" if busy or sys.implementation.name == "pypy" else "3e-4"
    command = [sys.executable, "-c", SENDER, str(os.getpid()), "5e-6", most, str(seconds + 10)]
    sender = subprocess.Popen(command, stdin=subprocess.PIPE)
    # Else PyPy may collect the import system's locks in the storm, and a KeyboardInterrupt in their
    # callbacks is reported on stderr and lost.
    gc.collect()
    gc.collect()
    _insist(storm.drive)
    sender.communicate()
    stop.append(True)
    if busy:
        worker.join()
    kind.close()
    statistics = base.statistics()
    result = {
        "interrupts": storm.interrupts,
        "rounds": storm.rounds,
        "error": storm.error or ("" if not storm.filled else "the events never all came"),
        "told": len(getattr(kind, "told", ())),
        "stale": statistics.stale_callbacks,
        "pending": statistics.pending,
        "threads": before,
        "handler": signal.getsignal(signal.SIGINT) is handler,
        "wakeup": signal.set_wakeup_fd(-1),
    }
    base.close()
    print(json.dumps(result))


if __name__ == "__main__":
    main(
        sys.argv[1],
        int(sys.argv[2]),
        float(sys.argv[3]) if len(sys.argv) > 3 and sys.argv[3][0] != "-" else 30.0,
        "--busy" in sys.argv,
        "--raising" in sys.argv,
    )
