"""RPC servers and pools that end in any order while hooks pause: all calls are told, and nothing is left."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple, Optional

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from libevent_cffi import EventBase, http, rpc, util
from libevent_cffi._native import lib
from libevent_cffi.errors import ClosedError
from libevent_cffi.flags import HookResult, HookType

PYPY = sys.implementation.name == "pypy"
LIVES = int(os.environ.get("LIBEVENT_CFFI_PROGRAMS", "10" if PYPY else "60"))


class Ask(rpc.Message):
    """A question, and its answer."""

    text: str = rpc.string(1)


class Plan(NamedTuple):
    """What happens in a life."""

    connections: int
    hooks: list[tuple[str, HookType, str]]
    calls: list[str]
    passes: int
    ends_at: Optional[int]  # the callback inside of which it ends; None: outside of any, after the passes
    ends: list[str]
    cancels: bool
    forgets: bool


PLANS = some.builds(
    Plan,
    connections=some.integers(0, 2),
    hooks=some.lists(
        some.tuples(
            some.sampled_from(["server", "pool"]),
            some.sampled_from(list(HookType)),
            some.sampled_from(["pass", "pause", "pause", "resume", "terminate later", "terminate", "raise"]),
        ),
        max_size=4,
    ),
    calls=some.lists(
        some.sampled_from(["reply", "reply", "fail", "defer", "reply later", "return", "raise"]),
        min_size=1,
        max_size=5,
    ),
    passes=some.integers(0, 12),
    ends_at=some.none() | some.integers(0, 8),
    ends=some.permutations(["server", "web", "pool", "base", "connection"]),
    cancels=some.booleans(),
    forgets=some.booleans(),
)


class Life:
    """A server, and a pool that calls it, as a plan says."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.base = EventBase(error_handler=lambda _error, _source: None)
        self.web = http.Server(self.base)
        address = self.web.bind(("127.0.0.1", 0)).address
        self.server = rpc.Server(self.web)
        self.server.register("Do", Ask, Ask, self.handle)
        connections = [http.Connection(self.base, address) for _ in range(plan.connections)]
        self.connection = connections[0] if connections else http.Connection(self.base, address)
        self.pool = rpc.Pool(self.base, *connections)
        self.kept: list[Any] = []
        self.told: list[rpc.ClientCall[Ask]] = []
        self.callbacks = 0
        for side, type, does in plan.hooks:
            getattr(self, side).add_hook(type, self.hook(does))

    def enter(self) -> None:
        """Count a callback, and end it all in the one that was chosen."""
        if self.callbacks == self.plan.ends_at:
            self.end()
        self.callbacks += 1

    def hook(self, does: str) -> Any:
        """Make a hook."""

        def look(context: rpc.HookContext) -> Optional[HookResult]:
            self.enter()
            if does == "raise":
                raise ValueError
            if does in ("pass", "terminate"):
                return HookResult.TERMINATE if does == "terminate" else None
            if not self.plan.forgets:
                self.kept.append(context)
            if does != "pause" and not self.base.closed:
                result = HookResult.CONTINUE if does == "resume" else HookResult.TERMINATE
                self.base.call_soon(self.attempt, context.resume, result)
            return HookResult.PAUSE

        return look

    def attempt(self, function: Any, *args: Any) -> None:
        """Call what may be refused."""
        with contextlib.suppress(ClosedError, BrokenPipeError):
            function(*args)

    def handle(self, call: rpc.Call[Ask, Ask]) -> None:
        """Do what the message says."""
        self.enter()
        does = call.request.text
        if does == "raise":
            raise ValueError
        if does == "reply":
            self.attempt(call.reply, call.request)
        elif does == "fail":
            self.attempt(call.fail)
        elif does != "return":
            self.attempt(call.defer)
            if not self.plan.forgets:
                self.kept.append(call)
            if does == "reply later" and not self.base.closed:
                self.base.call_soon(self.attempt, call.reply, call.request)

    def end(self) -> None:
        """Close all of it, in the order of the plan."""
        for name in self.plan.ends:
            getattr(self, name).close()

    def tell(self, call: rpc.ClientCall[Ask]) -> None:
        """Note that a call is done."""
        self.told.append(call)
        self.enter()

    def run(self) -> None:
        """Live, and look at what is left."""
        calls = [self.pool.call("Do", Ask(text=does), Ask, self.tell) for does in self.plan.calls]
        for number in range(self.plan.passes):
            if self.base.closed:
                break
            self.base.poll(0.001 if number % 4 == 3 else 0)
            if self.plan.cancels and number == 3:
                calls[-1].cancel()
        self.end()
        assert all(call.done for call in calls)
        assert len(self.told) == len(calls) == len(set(map(id, self.told)))
        for kept in self.kept:
            with pytest.raises((ClosedError, BrokenPipeError)):
                kept.resume() if isinstance(kept, rpc.HookContext) else kept.fail()


@pytest.fixture
def _quiet() -> Iterator[None]:
    """What is logged would be kept, with the frames of its tracebacks."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def left(before: tuple[int, int]) -> bool:
    """Is there more in C than before, also when what Python has dropped is collected?"""
    for _ in range(3):
        if util.memory_counters().blocks <= before[0] and lib.lev_live_objects <= before[1]:
            return False
        gc.collect()
    return not lib.lev_debug_mode_on


@pytest.mark.usefixtures("_quiet")
def test_ends_while_hooks_pause() -> None:
    """Nothing is left of any life."""
    gc.collect()
    before = util.memory_counters().blocks, lib.lev_live_objects

    @settings(max_examples=LIVES, suppress_health_check=list(HealthCheck))
    @given(PLANS)
    def live(plan: Plan) -> None:
        Life(plan).run()
        assert PYPY or not left(before)

    live()
    assert not left(before)
