"""The arguments of events, checked before C sees them."""

from __future__ import annotations

import signal

from .._native._libevent import lib
from .._native.convert import plain_int
from .._native.running import Loop
from ..flags import EventFlag, Feature, check_flags

__all__ = ["check_base", "check_events", "check_priority", "check_signal", "check_what", "signal_name"]

DESCRIPTOR_EVENTS = EventFlag.READ | EventFlag.WRITE | EventFlag.CLOSED


def check_base(base: object) -> None:
    if not isinstance(base, Loop):
        raise TypeError(f"base must be an EventBase, not {type(base).__name__}")


def check_events(base: Loop, fd: object, events: EventFlag) -> int:
    features: Feature = base._features
    if fd is not None and not events & DESCRIPTOR_EVENTS:
        raise ValueError("events must have READ, WRITE or CLOSED when there is a descriptor to watch")
    if fd is None and events & (DESCRIPTOR_EVENTS | EventFlag.ET):
        raise ValueError(f"events of a user event can only be PERSIST, not {events}")
    for flag, feature in ((EventFlag.ET, Feature.ET), (EventFlag.CLOSED, Feature.EARLY_CLOSE)):
        if events & flag and not features & feature:
            raise ValueError(f"events: {base._method} cannot watch for {flag}: see EventBase.features")
    return int(events & ~EventFlag.TIMEOUT)


def check_signal(number: object, events: EventFlag = EventFlag.SIGNAL) -> int:
    if events & (DESCRIPTOR_EVENTS | EventFlag.ET):
        raise ValueError(f"SIGNAL goes with PERSIST only, not with {events & ~EventFlag.SIGNAL}")
    if isinstance(number, bool) or not isinstance(number, int):
        raise TypeError(f"a signal is an int, not {number!r}")
    number = plain_int(number)
    if not 0 < number < lib.LEV_NSIG or number not in signal.valid_signals():
        raise ValueError(f"{number} is no signal of this system")
    if number in _UNCATCHABLE:
        raise ValueError(f"{signal_name(number)} cannot be caught")
    return number


_UNCATCHABLE = {getattr(signal, name) for name in ("SIGKILL", "SIGSTOP") if hasattr(signal, name)}


def check_priority(base: Loop, priority: int) -> int:
    most: int = base._priorities
    if isinstance(priority, bool) or not isinstance(priority, int):
        raise TypeError(f"priority must be an int, not {priority!r}")
    priority = plain_int(priority)
    if not 0 <= priority < most:
        raise ValueError(f"priority must be between 0 and {most - 1}, as EventBase(priorities={most}) has it")
    return priority


def check_what(what: EventFlag) -> EventFlag:
    what = EventFlag(check_flags(EventFlag, what, "what"))
    happened = DESCRIPTOR_EVENTS | EventFlag.TIMEOUT | EventFlag.SIGNAL
    if not what or what & ~happened:
        raise ValueError(f"what must be some of {happened}, not {what}")
    return what


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
