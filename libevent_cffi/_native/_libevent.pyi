"""The compiled module.  Types end here: its names depend on the libevent at hand, and only C knows them."""

from typing import Any

ffi: Any
lib: Any
