"""How long something may take: seconds, or a delay that very many timers share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Union

from .._native import convert

if TYPE_CHECKING:
    from typing_extensions import TypeAlias

    from .._native.running import Loop
    from .base import EventBase

__all__ = ["CommonTimeout", "seconds_of"]

_MOST = convert.TEN_YEARS


class CommonTimeout:
    """
    A delay shared by very many timers, taken wherever a timeout of this base is.

    Made by EventBase.common_timeout().  Timers that have it cost the same to start and stop however many
    there are.

    Wraps: event_base_init_common_timeout() <event2/event.h>; libevent >= 2.0.
    """

    __slots__ = ("_base", "_number", "_seconds")

    _base: Loop
    _number: int
    _seconds: float

    @classmethod
    def _make(cls, base: Loop, number: int, seconds: float) -> CommonTimeout:
        made = cls.__new__(cls)
        made._base, made._number, made._seconds = base, number, seconds
        return made

    def __init__(self) -> None:
        raise TypeError("EventBase.common_timeout(seconds) makes these")

    @property
    def base(self) -> EventBase:
        """The base that it is for."""
        return self._base  # type: ignore[return-value]

    @property
    def seconds(self) -> float:
        """The delay in seconds."""
        return self._seconds

    def __repr__(self) -> str:
        return f"<CommonTimeout {self._seconds} s>"


Timeout: TypeAlias = Union[float, CommonTimeout]


def seconds_of(timeout: Timeout, base: Loop) -> float:
    """Return *timeout* as C takes it: seconds, or -2 - n for common timeout n; else ValueError, TypeError."""
    if type(timeout) is float and 0.0 <= timeout <= _MOST:
        return timeout
    if isinstance(timeout, CommonTimeout):
        if timeout._base is not base:
            raise ValueError(f"{timeout!r} belongs to another base")
        return -2.0 - timeout._number
    return convert.check_seconds(timeout)
