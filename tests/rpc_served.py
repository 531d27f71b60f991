"""
What the tests of remote calls share: messages, a handler, servers as fixtures, and calls as HTTP requests.

A test module takes the fixtures as its own: ``web, server = rpc_served.web, rpc_served.server``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Optional

import pytest

from libevent_cffi import EventBase, http, rpc

DEADLINE = 15.0


class Ask(rpc.Message):
    """A question."""

    text: str = rpc.string(1)


class Told(rpc.Message):
    """Its answer."""

    text: Optional[str] = rpc.string(1, default=None)
    number: Optional[int] = rpc.int32(2, default=None)


HELLO = Ask(text="hello")


def echo(call: rpc.Call[Ask, Told]) -> None:
    """Answer with what came."""
    call.reply(Told(text=call.request.text))


@pytest.fixture
def web(base: EventBase) -> Iterator[http.Server]:
    """An HTTP server that listens, on each method."""
    with http.Server(base) as made:
        made.bind(("127.0.0.1", 0))
        yield made


@pytest.fixture
def logged(plain_base: EventBase) -> Iterator[http.Server]:
    """The same on one base, for tests whose log keeps tracebacks, and so what they refer to."""
    with http.Server(plain_base) as made:
        made.bind(("127.0.0.1", 0))
        yield made


@pytest.fixture
def server(web: http.Server) -> Iterator[rpc.Server]:
    """A server of calls on it."""
    with rpc.Server(web) as made:
        yield made


def send(
    web: http.Server, name: str = "Echo", body: Optional[bytes] = None, method: str = "POST", **headers: str
) -> http.ClientRequest:
    """Begin a call as any HTTP client can."""
    connection = http.Connection(web.base, ("127.0.0.1", web.bound[0].port))
    return connection.request(
        method, f"/.rpc.{name}", body=bytes(HELLO) if body is None else body, headers=headers
    )


def poll_until(base: EventBase, happened: Any) -> None:
    """Dispatch until *happened()*."""
    for _ in range(int(DEADLINE * 100)):
        if happened():
            return
        base.poll(0.01)
    pytest.fail("it did not happen")
