"""Timer: when it fires, and how often, on every method."""

from __future__ import annotations

import time

import pytest
from conftest import Run

from libevent_cffi import EventBase, EventFlag, Timer

TIMEOUT = EventFlag.TIMEOUT


def test_a_timer_fires_after_its_delay(base: EventBase, run: Run) -> None:
    """callback(*args), once, and not early."""
    told: list[object] = []
    begin = time.monotonic()
    timer = Timer(base, lambda *got: told.append(got), 1, 2).add(0.05)
    assert timer.pending == TIMEOUT
    run(base)
    assert told == [(1, 2)]
    assert 0.045 <= time.monotonic() - begin < 2
    assert not timer.pending


def test_timers_fire_in_the_order_of_their_times(base: EventBase, run: Run) -> None:
    """Not in the order in which they were started."""
    told: list[float] = []
    for delay in (0.05, 0.01, 0.03, 0.0):
        Timer(base, told.append, delay).add(delay)
    run(base)
    assert told == [0.0, 0.01, 0.03, 0.05]


def test_timers_of_the_same_delay_fire_in_the_order_they_were_started(base: EventBase, run: Run) -> None:
    """A common timeout keeps the order of very many timers."""
    told: list[int] = []
    delay = base.common_timeout(0.02)
    for number in range(50):
        Timer(base, told.append, number).add(delay)
    run(base)
    assert told == list(range(50))


def test_a_timer_starts_again_with_its_last_delay(base: EventBase, run: Run) -> None:
    """add() without an argument, also in the timer's own callback."""
    told: list[int] = []

    def fired() -> None:
        told.append(1)
        if len(told) < 3:
            timer.add()

    timer = Timer(base, fired)
    with pytest.raises(ValueError, match="never started"):
        timer.add()
    timer.add(0.01)
    run(base)
    assert len(told) == 3
    assert timer.add().remaining == pytest.approx(0.01, abs=0.01)


def test_adding_a_timer_again_puts_it_off(base: EventBase, run: Run) -> None:
    """Start again means from now, with the new delay."""
    told: list[str] = []
    timer = Timer(base, told.append, "late").add(0.01)
    timer.add(0.06)
    Timer(base, told.append, "early").add(0.03)
    run(base)
    assert told == ["early", "late"]


@pytest.mark.parametrize("kind", ["delete", "cancel", "close", "remove_timer"])
def test_a_stopped_timer_does_not_fire(base: EventBase, run: Run, kind: str) -> None:
    """Each way of stopping it leaves nothing pending."""
    timer = Timer(base, pytest.fail, "it was stopped").add(0.01)
    getattr(timer, kind)()
    assert base.count() == 0
    run(base)


@pytest.mark.parametrize("interval", [0.0, 1e-9, 0.01])
def test_a_persistent_timer_fires_again_and_again(base: EventBase, run: Run, interval: float) -> None:
    """An interval of 0 too, which in C fires once and stops (event.c:event_persist_closure)."""
    told: list[int] = []

    def fired() -> None:
        told.append(1)
        if len(told) == 5:
            timer.delete()

    timer = Timer(base, fired, persist=True).add(interval)
    run(base)
    assert len(told) == 5


@pytest.mark.parametrize("seconds", [0.0, 0.01])
def test_a_persistent_timer_takes_a_common_timeout(base: EventBase, run: Run, seconds: float) -> None:
    """It starts again with the same one."""
    told: list[int] = []

    def fired() -> None:
        told.append(1)
        if len(told) == 5:
            timer.delete()

    timer = base.every(base.common_timeout(seconds), fired)
    run(base)
    assert len(told) == 5


def test_a_persistent_timer_does_not_make_up_for_what_it_missed(base: EventBase, run: Run) -> None:
    """After a callback that took four intervals it fires once, not four times at once."""
    times: list[float] = []

    def fired() -> None:
        times.append(time.monotonic())
        if len(times) == 1:
            time.sleep(0.2)
        if len(times) == 4:
            timer.close()

    timer = base.every(0.05, fired)
    run(base)
    assert times[3] - times[1] > 0.06


def test_a_slow_callback_does_not_spoil_timers_started_later(base: EventBase, run: Run) -> None:
    """
    A delay counts from add(), also in a callback that took long.

    libevent reckons with the time at which the pass began unless the base has NO_CACHE_TIME, and the timer
    would be 90 ms early.
    """
    times: dict[str, float] = {}

    def slow() -> None:
        time.sleep(0.09)
        times["begin"] = time.monotonic()
        base.call_later(0.1, lambda: times.setdefault("end", time.monotonic()))
        base.call_later(0.02, lambda: None)

    base.call_soon(slow)
    run(base)
    assert times["end"] - times["begin"] >= 0.09
