"""EventBase: how it is made, and what it tells of itself."""

from __future__ import annotations

import gc
import io
import os
import signal
import threading
import time
from typing import Any

import pytest
from conftest import Pair, Run, same_blocks

from libevent_cffi import PERSIST, READ, WRITE, Event, EventBase, EventFlag, Signal, Timer, util
from libevent_cffi.errors import LoopBusyError
from libevent_cffi.flags import BaseFlag, EventCount, Feature

NOTHING = EventFlag(0)


# -- how it is made ------------------------------------------------------------------------------------------


def test_each_method_can_be_asked_for() -> None:
    """Avoiding all methods but one gives that one."""
    names = EventBase.supported_methods()
    assert names
    for name in names:
        with EventBase(avoid_methods=[each for each in names if each != name]) as base:
            assert base.method.startswith(name.partition("_")[0])
    with EventBase() as base:
        assert base.method == names[0]


def test_avoided_methods_may_be_any_iterable(plain_base: EventBase) -> None:
    """A generator, a set, and names that this libevent does not know."""
    with EventBase(
        avoid_methods=(name for name in [plain_base.method, "/dev/poll", "no such method"])
    ) as base:
        assert base.method != plain_base.method


def test_no_method_left_is_refused() -> None:
    """ValueError tells what was asked for."""
    with pytest.raises(ValueError, match="avoid_methods"):
        EventBase(avoid_methods=EventBase.supported_methods())


@pytest.mark.parametrize("feature", list(Feature), ids=str)
def test_required_features_choose_the_method(feature: Feature) -> None:
    """The base has what was asked for, or there is none."""
    able = []
    names = EventBase.supported_methods()
    for name in names:
        with EventBase(avoid_methods=[each for each in names if each != name]) as base:
            if base.features & feature:
                able.append(base.method)
    if able:
        with EventBase(required_features=feature) as base:
            assert base.features & feature
            assert base.method in able


def test_features_that_no_method_has_together_are_refused() -> None:
    """epoll cannot watch files, and what can is not edge-triggered."""
    if "kqueue" in EventBase.supported_methods():
        return
    with pytest.raises(ValueError, match=r"required_features=ET\|FDS"):
        EventBase(required_features=Feature.ET | Feature.FDS)


@pytest.mark.parametrize("flag", list(BaseFlag), ids=str)
def test_every_flag_makes_a_base_that_works(flag: BaseFlag, pair: Pair, run: Run) -> None:
    """Descriptors, timers, signals and posted calls work whatever the flag."""
    left, right = pair
    right.send(b"x")
    told: list[str] = []
    with EventBase(flags=flag) as base:
        base.on_readable(left, lambda: told.append(left.recv(9).decode()))
        base.call_later(0.02, base.loop_exit)
        base.on_signal(signal.SIGUSR1, told.append, "signal")
        thread = threading.Thread(target=base.call_soon_threadsafe, args=(told.append, "posted"))
        thread.start()
        os.kill(os.getpid(), signal.SIGUSR1)
        run(base)
        thread.join()
    assert sorted(told) == ["posted", "signal", "x"]


def test_the_changelist_is_taken_where_it_is_asked_for() -> None:
    """The method's name tells."""
    if "epoll" in EventBase.supported_methods():
        with EventBase(flags=BaseFlag.EPOLL_USE_CHANGELIST) as base:
            assert "changelist" in base.method


def test_the_environment_counts_unless_it_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """EVENT_NOEPOLL and the like are libevent's; IGNORE_ENV says no to them."""
    first = EventBase.supported_methods()[0]
    monkeypatch.setenv(f"EVENT_NO{first.upper()}", "1")
    with EventBase() as base:
        assert base.method != first
    with EventBase(flags=BaseFlag.IGNORE_ENV) as base:
        assert base.method == first


@pytest.mark.parametrize("priorities", [1, 2, 255])
def test_priorities_are_as_many_as_asked_for(priorities: int) -> None:
    """From 0 to priorities - 1; the middle one is the default."""
    with EventBase(priorities=priorities) as base:
        assert base.priorities == priorities
        assert Timer(base, print).priority == priorities // 2
        assert Timer(base, print, priority=priorities - 1).priority == priorities - 1
        with pytest.raises(ValueError, match="priority must be between"):
            Timer(base, print, priority=priorities)


def _count_of_urgent_before_last(base: EventBase, run: Run) -> int:
    """Run 50 callbacks, the first of which adds an urgent event; tell how many ran before that."""
    told: list[str] = []
    urgent = Event(base, None, NOTHING, lambda fd, what: told.append("urgent"), priority=0)

    def happened(fd: int, what: EventFlag) -> None:
        if not told:
            urgent.add(0)
        told.append("other")
        time.sleep(0.001)

    for _ in range(50):
        Event(base, None, NOTHING, happened, priority=1).activate()
    run(base)
    assert told.count("urgent") == 1
    return told.index("urgent")


def test_max_dispatch_callbacks_lets_the_urgent_in(method: Any, run: Run) -> None:
    """After so many callbacks the loop looks for new events."""
    with method.make(priorities=2, max_dispatch_callbacks=3) as base:
        assert _count_of_urgent_before_last(base, run) == 3


def test_max_dispatch_interval_lets_the_urgent_in(method: Any, run: Run) -> None:
    """After so long the loop looks for new events."""
    with method.make(priorities=2, max_dispatch_interval=0.01) as base:
        assert _count_of_urgent_before_last(base, run) < 20


def test_min_dispatch_priority_spares_the_more_urgent(run: Run) -> None:
    """The limits hold from that priority on."""
    with EventBase(priorities=2, max_dispatch_callbacks=3, min_dispatch_priority=2) as base:
        assert _count_of_urgent_before_last(base, run) == 50


def test_a_cpu_hint_is_taken() -> None:
    """It says something on Windows only."""
    EventBase(cpu_hint=4).close()


def test_making_and_closing_bases_leaks_nothing() -> None:
    """Neither memory nor descriptors."""
    EventBase().close()
    gc.collect()
    before = util.memory_counters().blocks, len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        base = EventBase(priorities=3)
        base.every(1, print)
        base.common_timeout(3)
        base.close()
    del base
    gc.collect()
    assert same_blocks(util.memory_counters().blocks, before[0])
    assert len(os.listdir("/proc/self/fd")) == before[1]


# -- what it is and holds ------------------------------------------------------------------------------------


def test_now_is_the_wall_clock(base: EventBase, run: Run) -> None:
    """And moves with it, as bases are made with NO_CACHE_TIME."""
    told: list[float] = []
    base.call_soon(lambda: (told.append(base.now()), time.sleep(0.05), told.append(base.now())))
    assert base.now() == pytest.approx(time.time(), abs=2)
    run(base)
    assert told[1] - told[0] >= 0.04


def test_update_now_reads_the_clock_of_a_base_that_caches_it(run: Run) -> None:
    """Without NO_CACHE_TIME now() stands still during a pass."""
    with EventBase(flags=BaseFlag(0)) as base:
        told: list[float] = []

        def measure() -> None:
            told.append(base.now())
            time.sleep(0.05)
            told.append(base.now())
            base.update_now()
            told.append(base.now())

        base.call_later(0, measure)
        run(base)
        base.update_now()
    assert told[0] == told[1]
    assert told[2] - told[1] >= 0.04


def test_common_timeouts_are_one_object_per_length(plain_base: EventBase) -> None:
    """At most 256 of them, as C has it."""
    first = plain_base.common_timeout(5)
    assert plain_base.common_timeout(5.0) is first
    assert (first.base, first.seconds, repr(first)) == (plain_base, 5.0, "<CommonTimeout 5.0 s>")
    for number in range(1, 256):
        plain_base.common_timeout(5 + number)
    with pytest.raises(ValueError, match="at most 256"):
        plain_base.common_timeout(1.25)
    assert plain_base.common_timeout(260.0).seconds == 260
    timers = [Timer(plain_base, print).add(plain_base.common_timeout(5 + n)) for n in range(256)]
    assert timers[255].remaining == pytest.approx(260, abs=1)


def test_counters_count_the_users_events(base: EventBase, pair: Pair) -> None:
    """Added ones, active ones; not those that do not keep the loop alive."""
    assert base.count() == 0
    events = [Timer(base, print).add(9), Event(base, pair[0], READ, print).add()]
    Timer(base, print, keepalive=False).add(9)
    assert (base.count(), base.count(EventCount.ADDED), base.count(EventCount.ACTIVE)) == (2, 2, 0)
    assert base.max_count(EventCount.ADDED) == 2
    events[0].activate()
    assert base.count(EventCount.ACTIVE) == 1
    assert base.count(EventCount.VIRTUAL) == 0
    assert base.max_count(EventCount.ACTIVE) == 1
    events[0].close()
    assert base.max_count(EventCount.ADDED, clear=True) >= 2
    assert base.max_count(EventCount.ADDED) <= 1


def test_events_are_the_objects_that_were_made(base: EventBase, pair: Pair) -> None:
    """A list that nothing changes any more, without what is idle."""
    idle = Timer(base, print)
    active = Event(base, None, NOTHING, print)
    active.activate()
    background = Timer(base, print, keepalive=False).add(5)
    reader = base.on_readable(pair[0], print)
    queued = base.call_soon(print)
    found = base.events()
    assert set(found) == {active, background, reader, queued}
    assert idle not in found
    reader.close()
    assert reader in found
    assert reader not in base.events()


def test_statistics_tell_what_there_is(base: EventBase, pair: Pair) -> None:
    """By class, and how many are pending and active; a closed base has nothing."""
    base.on_readable(pair[0], print)
    base.call_later(9, print)
    base.call_soon(int)
    Event(base, None, NOTHING, print).activate()
    found = base.statistics()
    assert (found.pending, found.active) == (4, 1)
    assert found.live == {"Event": 2, "Timer": 2}
    assert (found.stale_callbacks, found.redelivered) == (0, 0)
    base.close()
    assert base.statistics().pending == 0
    assert base.statistics().live == {}


def test_dump_lists_the_pending_events(base: EventBase, pair: Pair) -> None:
    """As text, and to anything with write()."""
    base.on_readable(pair[0], print)
    file = io.StringIO()
    text = base.dump(file)
    assert text == file.getvalue()
    assert "Inserted events" in text
    assert f"fd {pair[0].fileno()}" in text.replace("  ", " ")
    assert base.dump() == text


def test_activate_fd_activates_the_pending_events(base: EventBase, pair: Pair, run: Run) -> None:
    """Those that wait for what is said to have happened."""
    left, _ = pair
    told: list[EventFlag] = []
    reader = Event(base, left, READ, lambda fd, what: told.append(what)).add()
    Event(base, left, READ | PERSIST, lambda fd, what: (told.append(what), base.loop_break())).add()
    base.activate_fd(left, WRITE)
    base.poll()
    assert told == []
    base.activate_fd(left.fileno(), READ | WRITE)
    base.dispatch()
    assert told[-1] == READ
    assert not reader.pending or told == [READ]
    base.activate_fd(1_000_000, READ)


def test_activate_signal_activates_the_pending_events(base: EventBase) -> None:
    """Those of that signal only."""
    told: list[int] = []
    events = [Signal(base, number, told.append).add() for number in (signal.SIGUSR1, signal.SIGUSR2)]
    base.activate_signal(signal.SIGUSR1)
    base.poll()
    assert told == [signal.SIGUSR1]
    for event in events:
        event.close()


def test_signal_method_says_how_libevent_would(base: EventBase) -> None:
    """signalfd only where it was asked for."""
    assert base.signal_method in ("signal", "signalfd_signal")
    if hasattr(BaseFlag, "USE_SIGNALFD"):
        with EventBase(flags=BaseFlag.USE_SIGNALFD) as other:
            assert other.signal_method == "signalfd_signal"


def test_reinit_outside_of_a_child_does_no_harm(base: EventBase, pair: Pair, run: Run) -> None:
    """Everything stays pending; inside a callback it is refused."""
    left, right = pair
    told: list[str] = []
    base.once(left, READ, lambda fd, what: told.append("io"))
    base.call_later(0.02, told.append, "timer")
    base.reinit()
    right.send(b"x")

    def inside() -> None:
        with pytest.raises(LoopBusyError):
            base.reinit()
        told.append("refused")

    base.call_soon(inside)
    run(base)
    assert sorted(told) == ["io", "refused", "timer"]


def test_repr_names_method_and_state(method: Any) -> None:
    """Idle, running, closed."""
    told: list[str] = []
    with method.make() as base:
        base.call_soon(lambda: told.append(repr(base)))
        assert repr(base) == f"<EventBase {base.method} idle pending=1>"
        base.dispatch()
        assert told[0].startswith(f"<EventBase {base.method} running pending=")
    assert repr(base) == f"<EventBase {base.method} closed>"


def test_priorities_are_served_in_order_of_urgency(run: Run) -> None:
    """A stream of urgent events does not keep posted calls and stopping out for ever."""
    with EventBase(priorities=2) as base:
        told: list[int] = []

        def urgent(fd: int, what: EventFlag) -> None:
            told.append(1)
            event.activate()

        event = Event(base, None, PERSIST, urgent, priority=0)
        event.activate()
        thread = threading.Thread(target=lambda: (time.sleep(0.05), base.loop_break()))
        thread.start()
        base.dispatch()
        thread.join()
        assert told
