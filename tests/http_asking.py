"""
What the tests of the HTTP client share.

A module whose tests leave no descriptor has
``descriptors_are_closed = http_asking.descriptors_are_closed``.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import pytest
from httpserver import Asked

from libevent_cffi.http import ClientRequest

CLOSED_PORT = 1
WAIT = 10.0


def echo(asked: Asked) -> bytes:
    """Answer with what came."""
    body = f"{asked.method} {asked.target} ".encode() + asked.body
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def body_of(request: ClientRequest) -> bytes:
    """Return the body of its response."""
    return bytes(request.result().body)


@pytest.fixture(autouse=True)
def descriptors_are_closed() -> Iterator[None]:
    """No test leaves a descriptor."""
    if not os.path.isdir("/proc/self/fd"):
        yield
        return
    before = len(os.listdir("/proc/self/fd"))
    yield
    if len(os.listdir("/proc/self/fd")) > before:
        gc.collect()
        gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before
