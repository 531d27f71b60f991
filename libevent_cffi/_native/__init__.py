"""
The only room that builds ffi objects, callbacks and handles; importing it sets libevent up.

Imports point one way: ``errors`` and ``flags`` are below, the public modules above.
"""

from __future__ import annotations

import os
from pathlib import Path

try:
    from ._libevent import ffi, lib
except ModuleNotFoundError as error:
    if error.name != f"{__name__}._libevent":
        raise
    raise ImportError(
        f"libevent_cffi in {Path(__file__).parents[1]} has no compiled module for this Python. If these are"
        " its sources, leave their folder to use what pip installed, or build them in place: pip install -e ."
        " (./dev setup does it in .venv). If pip installed it, install it again with this interpreter.",
        name=error.name,
    ) from None
from . import startup

__all__ = ["ffi", "lib"]

startup.setup(frozenset(filter(None, os.environ.get("LIBEVENT_CFFI_DEBUG", "").replace(",", " ").split())))
