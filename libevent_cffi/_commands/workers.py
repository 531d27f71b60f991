"""Several processes that serve the same: they are forked, started again when they die, and ended together."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import traceback
from typing import TYPE_CHECKING, NoReturn, Optional

from ..event import EventBase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..listener import Listener

    #: serve(base, descriptor that listens, descriptor that ends with the parent): returns the exit status.
    Serve = Callable[[EventBase, int, Optional[int]], int]

__all__ = ["Workers"]

#: Seconds before a worker is started again: more each time, until one has lived as long as LIVED.
_LEAST, _MOST, _LIVED = 0.1, 5.0, 10.0
#: Seconds that workers have to end, which is more than running requests have.
_PATIENCE = 15.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)


class _Worker:
    """One of them: a process, or a time to start it."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.pid = 0
        self.started = 0.0
        self.pause = _LEAST


class Workers:
    """The parent of so many workers, each with a listener of its own where there are several."""

    def __init__(self, base: EventBase, listeners: list[Listener], count: int, serve: Serve) -> None:
        self._base, self._serve = base, serve
        self._listeners = listeners
        self._workers = [_Worker(listeners[i % len(listeners)]) for i in range(count)]
        self._due = list(self._workers)
        self._status: Optional[int] = None

    def run(self) -> int:
        """Keep them running until a signal; return the exit status when the last one has ended."""
        self._alive, self._held = os.pipe()
        base = self._base
        base.on_signal(signal.SIGCHLD, self._reap)
        base.on_signal(signal.SIGTERM, self._end, 0)
        base.on_signal(signal.SIGINT, self._end, 128 + signal.SIGINT)
        try:
            while self._status is None or any(worker.pid for worker in self._workers):
                self._start_due()
                base.dispatch()
        finally:
            self._kill()
            os.close(self._alive)
            os.close(self._held)
        return self._status

    # -- starting: outside of the loop, or its base could not be closed in the child ---------------------

    def _start_due(self) -> None:
        due, self._due = self._due, []
        for worker in due:
            if self._status is None:
                self._start(worker)

    def _start(self, worker: _Worker) -> None:
        sys.stdout.flush()
        # Signals wait until the child takes them itself: this base's handlers would lose them there.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            worker.started = time.monotonic()
            worker.pid = os.fork()
            if worker.pid == 0:
                self._be_a_worker(worker, before)
        except OSError as error:
            _say(f"no worker could be started: {error.strerror}")
            self._start_later(worker)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _be_a_worker(self, worker: _Worker, mask: Iterable[int]) -> NoReturn:
        status = 1
        try:
            fd = os.dup(worker.listener.fileno())
            os.close(self._held)
            self._base.close()
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for all: the parent ends its workers
            with EventBase() as base:
                base.call_soon(signal.pthread_sigmask, signal.SIG_SETMASK, mask)
                status = self._serve(base, fd, self._alive)
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(OSError):
                sys.stdout.flush()
            os._exit(status)

    # -- ending ----------------------------------------------------------------------------------------------

    def _reap(self) -> None:
        """See which of them have ended."""
        for worker in self._workers:
            if not worker.pid:
                continue
            with contextlib.suppress(InterruptedError):
                pid, status = os.waitpid(worker.pid, os.WNOHANG)
                if pid:
                    self._ended(worker, status)
        if self._status is not None and not any(worker.pid for worker in self._workers):
            self._base.loop_exit()

    def _ended(self, worker: _Worker, status: int) -> None:
        pid, worker.pid = worker.pid, 0
        if self._status is not None:
            return
        if time.monotonic() - worker.started > _LIVED:
            worker.pause = _LEAST
        how = (
            f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"status {os.WEXITSTATUS(status)}"
        )
        _say(f"worker {pid} ended by {how}: another one starts in {worker.pause:.1f} s")
        self._start_later(worker)

    def _start_later(self, worker: _Worker) -> None:
        self._base.call_later(worker.pause, self._is_due, worker)
        worker.pause = min(worker.pause * 2, _MOST)

    def _is_due(self, worker: _Worker) -> None:
        self._due.append(worker)
        self._base.loop_exit()

    def _end(self, status: int) -> None:
        """Have them finish what they are at; told again, or when that takes too long, not even that."""
        if self._status is not None:
            self._kill()
            return
        self._status = status
        for listener in self._listeners:
            listener.close()  # or who comes now would wait for nobody
        self._send(signal.SIGTERM)
        self._base.call_later(_PATIENCE, self._kill)
        self._reap()

    def _kill(self) -> None:
        self._send(signal.SIGKILL)

    def _send(self, signum: int) -> None:
        for worker in self._workers:
            if worker.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.pid, signum)


def _say(words: str) -> None:
    with contextlib.suppress(OSError):
        print(f"serve: {words}", file=sys.stderr, flush=True)
