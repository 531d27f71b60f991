"""How a base is made: event_config, and what may be in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional

from .._native import check, convert
from .._native._libevent import ffi, lib
from ..errors import ClosedError
from ..flags import BaseFlag, Feature, check_flags

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["make_base"]

_MOST_PRIORITIES = 255
_DEFAULT_CALLBACKS = 1000


def make_base(
    *,
    avoid_methods: Iterable[str],
    required_features: Feature,
    flags: BaseFlag,
    priorities: int,
    max_interval: Optional[float],
    max_callbacks: Optional[int],
    min_priority: int,
    cpu_hint: Optional[int],
) -> tuple[Any, Any]:
    """
    Return a lev_base, and what has to live as long as its base; see EventBase for the arguments and what is
    raised.
    """
    priorities = convert.c_int(priorities, "priorities", 1, _MOST_PRIORITIES)
    config = check.check_pointer(lib.event_config_new(), "event_config_new")
    try:
        _avoid(config, avoid_methods)
        lib.event_config_require_features(
            config, check_flags(Feature, required_features, "required_features")
        )
        lib.event_config_set_flag(config, check_flags(BaseFlag, flags, "flags"))
        if cpu_hint is not None:
            lib.event_config_set_num_cpus_hint(config, convert.c_int(cpu_hint, "cpu_hint", 1))
        _limit(config, max_interval, max_callbacks, convert.c_int(min_priority, "min_dispatch_priority", 0))
        if lib.lev_shut_down:  # after the user's own code has run, which the names may be
            raise ClosedError("libevent was shut down by util.global_shutdown()")
        memory = ffi.new("struct lev_base *")
        # Python finalizes garbage in any order, this perhaps before a user's __del__ that calls the base.
        # So it frees what C holds, and not the memory, which goes when nothing refers to it.
        owner = ffi.gc(memory, lib.lev_base_drop)
        check.clear_errno()
        if lib.lev_base_open(memory, config, priorities, bool(flags & BaseFlag.NOLOCK)) != 0:
            _explain(avoid_methods, required_features)
        return memory, owner
    finally:
        lib.event_config_free(config)


def _avoid(config: Any, names: Iterable[str]) -> None:
    if isinstance(names, str):
        raise TypeError(f"avoid_methods is a list of names, not the text {names!r}")
    for name in names:
        if lib.event_config_avoid_method(config, convert.c_text(name, "a method")) != 0:
            raise MemoryError("event_config_avoid_method")


def _limit(config: Any, interval: Optional[float], callbacks: Optional[int], min_priority: int) -> None:
    count = _DEFAULT_CALLBACKS if callbacks is None else convert.c_int(callbacks, "max_dispatch_callbacks", 1)
    tv = convert.timeval_from_seconds(interval, "max_dispatch_interval")
    lib.event_config_set_max_dispatch_interval(config, tv, count, min_priority)


def _explain(avoid_methods: Iterable[str], required_features: Feature) -> None:
    error = check.socket_error("event_base_new_with_config")
    if error.errno in (None, 0):
        raise ValueError(
            f"no method of this libevent fits: avoid_methods={list(avoid_methods)},"
            f" required_features={Feature(required_features)}; see EventBase.supported_methods()"
        )
    if isinstance(error, OSError) and error.errno == 12:
        raise MemoryError("event_base_new_with_config")
    raise error
