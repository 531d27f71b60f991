"""
The only room that builds ffi objects, callbacks and handles; importing it sets libevent up.

Imports point one way: ``errors`` and ``flags`` are below, the public modules above.
"""

from __future__ import annotations

import os

from . import startup
from ._libevent import ffi, lib

__all__ = ["ffi", "lib"]

startup.setup(frozenset(filter(None, os.environ.get("LIBEVENT_CFFI_DEBUG", "").replace(",", " ").split())))
