"""
What the tests of resolvers share: a name server, resolvers that ask it, and what they fail with.

A test module takes the fixtures as its own: ``peer, make = dns_asking.peer, dns_asking.make``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from dns_peers import NameServer, name_server

from libevent_cffi import EventBase
from libevent_cffi.dns import Query, Resolver
from libevent_cffi.errors import CancelledError, DNSError


@pytest.fixture
def peer() -> Iterator[NameServer]:
    """A name server that answers as usual."""
    with name_server() as made:
        yield made


@pytest.fixture
def make(plain_base: EventBase, peer: NameServer) -> Callable[..., Resolver]:
    """make(**options) gives a resolver that asks the peer and nothing else."""

    def resolver(**keywords: Any) -> Resolver:
        given = {"resolv_conf": False, "hosts": False, "nameservers": [peer.address], "timeout": 5.0}
        return Resolver(plain_base, **{**given, **keywords})

    return resolver


def nothing(*_: object) -> None:
    """Be a callback."""


def failure(query: Query[Any]) -> BaseException:
    """Wait for a query that fails; return why."""
    with pytest.raises((DNSError, CancelledError)) as caught:
        query.wait(10)
    return caught.value
