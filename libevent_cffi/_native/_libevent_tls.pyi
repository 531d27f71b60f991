"""The compiled module for TLS, where it was built; untyped for the same reason as the first."""

from typing import Any

ffi: Any
lib: Any
