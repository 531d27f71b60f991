"""
A base's loop: what runs it, and what becomes of what its callbacks raise.

Loop is the part of EventBase that the rest of this room knows.  Its attributes with one underscore belong to
the package: callbacks.py reads them at every event.
"""

from __future__ import annotations

import logging
import os
from _thread import get_ident
from collections import deque
from typing import TYPE_CHECKING, Any, NoReturn, Optional
from weakref import WeakValueDictionary

from ..errors import ClosedError, LoopBusyError, WrongThreadError
from ..flags import Feature
from . import callbacks, check, lent, logs, wakeup
from ._libevent import ffi, lib
from .resources import Answering, Resource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Loop", "refuse"]

_ONE_PASS: int = lib.EVLOOP_ONCE | lib.EVLOOP_NONBLOCK
_INTERRUPTED: int = lib.LEV_WAS_INTERRUPTED
_FORKED: int = lib.LEV_WAS_FORKED
_BROKEN: int = lib.LEV_WAS_BROKEN
_WITHDRAWN: int = lib.LEV_WAS_WITHDRAWN
_GONE: int = _FORKED | lib.LEV_WAS_CLOSED

#: What a callback raised: the error, whose callback, its token, whether it had begun, and the failure before.
Failure = tuple[BaseException, Any, int, bool, Any]


#: How many calls deep the end of a loop goes, and how often it is tried again.
_FRAMES = 16
_ATTEMPTS = (0,) * 64


def _stack_left(count: int) -> None:
    """Raise RecursionError while nothing has been taken yet, rather than when it has to be given back."""
    if count:
        _stack_left(count - 1)


def refuse(loop: Loop, code: int, call: str) -> NoReturn:
    """Raise what the negative *code* of our C means for an object of *loop*; *call* is the C function."""
    if code == lib.LEV_CLOSED:
        raise ClosedError(f"the base was closed: {loop!r}")
    if code == lib.LEV_FORKED:
        raise ClosedError(
            "the base is dead in this process: it was forked while the loop, or another thread, was in it;"
            " make a new EventBase here"
        )
    if code == lib.LEV_WRONG_THREAD:
        raise WrongThreadError(
            "another thread is using the base or dispatching it: have it do this with"
            " base.call_soon_threadsafe(callback, *args)"
        )
    if code == lib.LEV_RUNNING:
        raise LoopBusyError("the base is being dispatched: this has to wait until dispatch() has returned")
    raise check.socket_error(call)


class Loop(Resource):
    """The part of an EventBase that runs."""

    __slots__ = (
        "_armed",
        "_breaking",
        "_checking",
        "_children",
        "_closed",
        "_common",
        "_deleted",
        "_failed",
        "_features",
        "_handler",
        "_known",
        "_l",
        "_method",
        "_operations",
        "_owner",
        "_preparing",
        "_priorities",
        "_queue",
        "_resolver",
        "_running",
        "_signal_method",
        "_soon",
        "_thread",
        "_watched",
    )

    _handler: Optional[Callable[[Exception, object], object]]

    def __init__(self, l: Any, owner: Any) -> None:  # noqa: E741 - the name it has in C
        #: The lev_base; the owner's destructor frees everything that C holds of the base.
        self._l = l
        self._owner = owner
        #: Pending and active events by token: what keeps them alive.
        self._armed: dict[int, Any] = {}
        #: Children that are armed, by token: see children.py.
        self._children: dict[int, Any] = {}
        #: Bufferevents that are not armed, by token: while its user has it an idle one has callbacks too.
        self._known: WeakValueDictionary[int, Any] = WeakValueDictionary()
        #: Calls of call_soon() and call_soon_threadsafe(); "soon" says that C knows of them.
        self._queue: deque[Any] = deque()
        self._soon = False
        #: Watchers by their ids: a thread adds or takes one in one step, so that none gets lost between two.
        self._preparing: dict[int, Any] = {}
        self._checking: dict[int, Any] = {}
        #: The newest Failure of this loop.
        self._failed: Optional[Failure] = None
        #: The running event, when its callback deleted it.
        self._deleted: Any = None
        self._breaking = False
        self._running = False
        #: The thread that dispatched last.
        self._thread = 0
        self._closed = False
        eb = lib.lev_base_pointer(l)
        self._features = Feature(lib.event_base_get_features(eb))
        self._method: str = ffi.string(lib.event_base_get_method(eb)).decode("ascii")
        self._signal_method = "signal"
        if hasattr(lib, "event_base_get_signal_method"):
            self._signal_method = ffi.string(lib.event_base_get_signal_method(eb)).decode("ascii")
        self._priorities: int = lib.event_base_get_npriorities(eb)
        #: Common timeouts by their seconds.
        self._common: dict[float, Any] = {}
        #: Borrowed buffers that have change callbacks, by their tokens in C.
        self._watched: dict[int, Any] = {}
        #: What finishes later.
        self._operations: set[Any] = set()
        self._handler = None
        #: What dns.Resolver.default() made.
        self._resolver: Any = None

    @property
    def closed(self) -> bool:
        """Is it closed, or dead after a fork?"""
        return self._closed or bool(lib.lev_loop_state(self._l) & _GONE)

    @property
    def running(self) -> bool:
        """Is some thread dispatching this base?"""
        return self._running

    def _checked(self, result: int, call: str) -> None:
        """Raise what *result* of C function *call* means, when it is negative."""
        if result < 0:
            refuse(self, result, call)

    # -- running ---------------------------------------------------------------------------------------------

    def _run(self, flags: int, limit: float = -1.0) -> int:
        """
        Run the loop as *flags* say, for at most *limit* seconds unless that is negative.

        Returns 1 when nothing is pending any more, else 0.  Raises what a callback raised.
        """
        _stack_left(_FRAMES)
        wake_fd = lib.lev_loop_prepare(self._l)
        if wake_fd < 0:
            self._refuse_loop(wake_fd)
        standin = wakeup.Standin(self, wake_fd) if wakeup.on_main_thread() else None
        result, failure = 0, None
        try:
            try:
                if standin is not None:
                    standin.begin(blocks=flags & _ONE_PASS != _ONE_PASS)
                result, failure = self._run_guarded(flags, limit, standin)
                if self._closed:
                    failure = self._closed_inside(failure)
                if lib.lev_log_pending:
                    logs.drain()
            except BaseException as error:
                if lib.lev_loop_is_mine(self._l):
                    self._end(True, standin)  # struck between two tries of it
                self._tell(failure)
                failure = error
            if standin is not None:
                standin.end()
        except BaseException:  # a Ctrl-C, from Python's own handler again, or what struck the giving back
            self._give_back(standin)
            lib.lev_take_interrupt(self._l)
            self._tell(failure)
            raise
        if lib.lev_take_interrupt(self._l):
            if not isinstance(failure, KeyboardInterrupt):
                self._tell(failure)
                failure = KeyboardInterrupt()
            wakeup.let_go()  # the loops around wait for it no more
        if failure is None:
            return result
        try:
            raise failure
        finally:
            del failure, self  # the traceback refers to this frame

    def _refuse_loop(self, code: int) -> NoReturn:
        if code == lib.LEV_WRONG_THREAD and self._running:
            raise LoopBusyError(
                "the base is being dispatched by another thread: call_soon_threadsafe() has that one call you"
            )
        if code == lib.LEV_RUNNING:
            raise LoopBusyError(
                "the base is being dispatched already, by the caller of this callback: return from it"
            )
        refuse(self, code, "event_base_loop")

    def _run_guarded(
        self, flags: int, limit: float, standin: Optional[wakeup.Standin]
    ) -> tuple[int, Optional[BaseException]]:
        result = 0
        failure: Optional[BaseException] = None
        try:
            lost_signal = lib.lev_loop_begin(self._l)
            if lost_signal < 0:
                self._refuse_loop(lost_signal)
            lib.lev_loop_use(self._l, callbacks.take_slot(self, self._armed))
            self._thread = get_ident()
            self._running = True
            self._breaking = False
            self._before(lost_signal, standin)
            result, failure = self._loop(flags, limit)
        except BaseException as error:
            failure = error
        keep = failure is not None or flags & lib.EVLOOP_ONCE
        struck: Any = None
        for _ in _ATTEMPTS:  # no call: it would let in more
            try:
                self._end(bool(keep), standin)
                break
            except BaseException as error:  # of a signal handler of the user's own
                struck = (error, struck)
        while struck is not None:
            self._tell(failure)
            failure, struck = struck
        if self._failed is not None:
            # What ended the loop came from none of the callbacks.
            for told, source, *_ in self._take_failures():
                self._tell(told, source)
        try:
            return result, failure
        finally:
            del failure  # its traceback knows this frame

    def _end(self, keep: bool, standin: Optional[wakeup.Standin]) -> None:
        """Give back what the loop took; again and again, if need be."""
        if standin is not None:
            standin.give_wakeup_back()
        if lib.lev_loop_is_mine(self._l):
            self._running = False
            self._deleted = None
            callbacks.give_slot_back(self)
            lib.lev_loop_end(self._l, keep)

    def _give_back(self, standin: Optional[wakeup.Standin]) -> None:
        """Give back what the loop still has, after something struck where that was being done."""
        if lib.lev_loop_is_mine(self._l):
            self._end(True, standin)
        if standin is not None:
            standin.end()

    def _before(self, lost_signal: int, standin: Optional[wakeup.Standin]) -> None:
        if lost_signal:
            text = "signal %d was taken from its events by signal.signal() or the like: taken back"
            logs.tell(logging.WARNING, text, lost_signal)
        if lib.lev_base_used(self._l) != len(self._armed):
            self._reconcile()
        if standin is not None and standin.old_wakeup is not None:
            lib.lev_loop_wakeup(self._l, standin.old_wakeup)
            wakeup.run_signal_handlers()

    def _reconcile(self) -> None:
        """Make C forget what a KeyboardInterrupt kept out of the table, between add() and its end."""
        token = lib.lev_next_token(self._l, 0)
        while token:
            if token not in self._armed:
                lib.lev_event_delete(self._l, token)
            token = lib.lev_next_token(self._l, token)

    def _loop(self, flags: int, limit: float) -> tuple[int, Optional[BaseException]]:
        """Run until the loop ends or a failure has to be raised, which is returned."""
        l = self._l  # noqa: E741
        # First, so that a call posted in between is seen here or has C told of it by who posted it.
        self._soon = False
        while True:
            if self._queue and not self._soon:
                self._soon = lib.lev_soon(l) == 0  # it is not in a child
            result: int = lib.lev_loop(l, flags, limit)
            state = lib.lev_loop_state(l)
            if state or self._failed is not None:
                failure = self._settle(state)
                if failure is not None or state & ~(_BROKEN | _WITHDRAWN):
                    try:
                        return 0, failure
                    finally:
                        del failure  # its traceback knows this frame
                if not lib.lev_base_got(l):
                    # A handler took the error, or a callback the Ctrl-C: go on with what is left, without
                    # another wait.
                    if state & _WITHDRAWN:
                        self._breaking = False
                    if flags & lib.EVLOOP_ONCE:
                        flags |= lib.EVLOOP_NONBLOCK
                    continue
            if result == 1 and lib.lev_released_count and not lib.lev_base_got(l):
                # The last pass let go of memory, and nothing kept the loop for one that tells of it.
                self._queue.append(callbacks.Call(lent.collect, (True,), self))
            if result == 1 and self._queue and not lib.lev_base_got(l):
                self._soon = False
                continue  # another thread posted a call while the loop was ending, or the line above
            if result < 0:
                return result, check.socket_error("event_base_loop")
            return result, None

    # -- what callbacks raised -------------------------------------------------------------------------------

    def _settle(self, state: int) -> Optional[BaseException]:
        """Return the failure that dispatch() has to raise, after offering it to error_handler."""
        taken = list(self._take_failures())
        failures = [failure for failure in taken if not self._is_answered(failure, state)]
        held = callbacks.take_held(self) if state & _BROKEN else None
        if held is not None:
            failures.append((held, self, 0, False, None))
        if not failures:
            return None if taken else self._unexplained(state)
        for _, source, _, delivered, _ in failures:
            if delivered and isinstance(source, Resource):
                source._after_failure()
        if not all(delivered for _, _, _, delivered, _ in failures):
            for child in list(self._children.values()):
                child._not_delivered()
        for error, source, *_ in failures[1:]:
            self._tell(error, source)
        error, source = failures[0][:2]
        if isinstance(source, callbacks.Call):
            source = source._source
        handler = self._handler
        if handler is None or not isinstance(error, Exception) or state & _FORKED:
            return error
        return self._handle(handler, error, source)

    def _is_answered(self, failure: Failure, state: int) -> bool:
        """Have the request of a server whose handler failed answered; that is no failure of the loop."""
        error, source, _, delivered, _ = failure
        if not delivered or state & _FORKED or not isinstance(source, Answering):
            return False
        return source._fail(error)

    def _take_failures(self) -> Iterator[Failure]:
        """Generate the failures, the first one first; a one-shot event that had its turn leaves the table."""
        chain = []
        while self._failed is not None:
            chain.append(self._failed)
            self._failed = self._failed[4]
        for failure in reversed(chain):
            _, source, token, delivered, _ = failure
            if token and source._token != token:
                if not delivered and lib.lev_event_pending(self._l, token, ffi.NULL):
                    source._token = token
                else:
                    self._armed.pop(token, None)
            yield failure

    @staticmethod
    @callbacks.delivers
    def _handle(
        callback: Callable[[Exception, object], object], error: Exception, source: object
    ) -> Optional[BaseException]:
        try:
            callback(error, source)
        except BaseException as raised:
            if raised.__context__ is None and raised is not error:
                raised.__context__ = error
            return raised
        return None

    def _unexplained(self, state: int) -> Optional[BaseException]:
        if state & _INTERRUPTED:
            return None
        if state & _FORKED:
            return ClosedError(
                "this process was forked inside a callback: the base goes on in the parent and is dead here;"
                " make a new EventBase"
            )
        if state & _BROKEN and not state & _WITHDRAWN:
            return RuntimeError("a callback could not be started; it will be called by the next dispatch()")
        return None

    def _tell(self, error: Optional[BaseException], source: object = None) -> None:
        if error is not None:
            text = "another callback failed before the loop had stopped: %r"
            logs.tell(logging.ERROR, text, source, error=error)

    # -- called from C ---------------------------------------------------------------------------------------

    def _woken(self, python_signals: int) -> None:
        if python_signals:
            wakeup.run_signal_handlers()
        logs.drain()
        lent.collect(everything=True)

    # -- ending ----------------------------------------------------------------------------------------------

    def _closed_inside(self, failure: Optional[BaseException]) -> Optional[BaseException]:
        """Finish the close() of a callback; return what dispatch() has to raise."""
        try:
            self._finish_close()
        except Exception as error:
            if failure is None:
                return error
            self._tell(error)
        return failure

    def _finish_close(self) -> None:
        """Free the C side, now that no loop runs."""
        raise NotImplementedError


def _after_fork() -> None:
    """In a child: no loop goes on that was going on; C knows it, and is asked by the next call for each."""
    for loop in callbacks.loops:
        if loop is not None:
            loop._breaking = True
            loop._soon = False


def _at_exit() -> None:
    lib.lev_begin_exit()


def _install() -> None:
    import atexit

    atexit.register(_at_exit)
    lib.lev_install_fork()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_after_fork)


_install()
