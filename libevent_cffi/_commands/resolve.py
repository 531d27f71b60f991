"""Looking names and addresses up, as host does, but any number of them at once."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

from .._native import convert
from ..dns import Query, Resolver
from ..event import EventBase

__all__ = ["HELP", "add_arguments", "run"]

HELP = "look up names and addresses, any number of them at once"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command can be told."""
    parser.add_argument(
        "names", nargs="+", metavar="NAME", help='a name or an address; "-" for those of stdin'
    )
    parser.add_argument("--server", action="append", default=[], help="ask this name server (address[:port])")
    parser.add_argument("--timeout", type=float, default=5.0, help="seconds for one try (%(default)s)")
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def run(options: argparse.Namespace) -> int:
    """Print what is found of each name; 0 when that is something for every one, else 1."""
    shows = not options.quiet and sys.stderr.isatty()
    with EventBase() as base:
        try:
            resolver = Resolver(base, nameservers=options.server, timeout=options.timeout)
        except (OSError, ValueError) as error:
            print(f"resolve: {error}", file=sys.stderr)
            return 2
        search = _Search(resolver, shows)
        for name in _names(options.names):
            search.ask(name)
        base.dispatch()
    return search.finish()


def _names(given: list[str]) -> Iterator[str]:
    for name in given:
        if name == "-":
            yield from (line.strip() for line in sys.stdin if line.strip())
        else:
            yield name


class _Search:
    """Names that are looked up."""

    def __init__(self, resolver: Resolver, shows: bool) -> None:
        self.resolver = resolver
        self.shows = shows
        self.asked = self.done = self.failed = 0
        self._left: dict[str, int] = {}
        self._found: dict[str, list[str]] = {}

    def ask(self, name: str) -> None:
        """Ask for *name*."""
        if name in self._left:
            return
        asks: list[Any] = [
            partial(self.resolver.resolve_ipv4, name, self._told, "has address"),
            partial(self.resolver.resolve_ipv6, name, self._told, "has IPv6 address"),
        ]
        if convert.is_numeric(name):
            asks = [partial(self.resolver.resolve_reverse, name, self._told, "is the address of")]
        self._left[name], self._found[name] = len(asks), []
        self.asked += 1
        try:
            for ask in asks:
                ask()
        except ValueError as error:
            self._failed(name, str(error))

    def _told(self, query: Query[Any], words: str) -> None:
        name = query.name
        self._left[name] -= 1
        if query.error is None:
            self._found[name] += [f"{name} {words} {record}" for record in query.result()]
        if self._left[name]:
            return
        if not self._found[name]:
            self._failed(name, query.error.args[1] if query.error is not None else "nothing was found")
            return
        self._print("\n".join(self._found.pop(name)))

    def _failed(self, name: str, why: str) -> None:
        self.failed += 1
        self._print(f"{name} was not found: {why.removeprefix(f'{name}: ')}")

    def _print(self, text: str) -> None:
        self.done += 1
        if self.shows:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        print(text, flush=True)
        if self.shows:
            print(f"{self.done} of {self.asked}", end="", file=sys.stderr, flush=True)

    def finish(self) -> int:
        """Take the progress away; return the exit status."""
        if self.shows:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        return 1 if self.failed else 0
