"""Descriptors that are handed over to a connection."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .._native import convert

if TYPE_CHECKING:
    from ..types import FileDescriptorLike

__all__ = ["handed_over"]


@contextlib.contextmanager
def handed_over(what: FileDescriptorLike) -> Iterator[int]:
    """
    Give the descriptor that *what* hands over to the ``with``, which owns it when it succeeds.

    A socket is detached then, an int taken, of anything else the descriptor is duplicated.
    """
    fd = convert.fileno(what)
    if isinstance(what, socket.socket):
        if type(what).__module__ == "ssl":
            raise TypeError("TLS goes with tls=, over a plain socket: what an SSLSocket has read is its own")
        yield fd
        what.detach()
    elif isinstance(what, int):
        yield fd
    else:
        copy = os.dup(fd)
        try:
            yield copy
        except BaseException:
            os.close(copy)
            raise
