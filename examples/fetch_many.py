"""Fetches many pages at once, a few at a time, and shows how far it is: fetch_many.py URL..."""

from __future__ import annotations

import sys
from collections import deque

from libevent_cffi import Buffer, EventBase
from libevent_cffi.http import ClientRequest, fetch

AT_ONCE = 8
WIDTH = 30


class Fetcher:
    """Keeps so many requests going, until every page is there or has failed."""

    def __init__(self, base: EventBase, urls: list[str]) -> None:
        self.base = base
        self.waiting = deque(urls)
        self.total = len(urls)
        self.done = self.received = 0
        self.failures: list[str] = []
        for _ in range(min(AT_ONCE, self.total)):
            self.next()

    def next(self) -> None:
        """Begin the next one."""
        url = self.waiting.popleft()
        fetch(self.base, url, self.finished, url, follow_redirects=5, timeout=10, on_chunk=self.count)

    def count(self, request: ClientRequest, chunk: Buffer) -> None:
        """A piece of a page came: it is counted, and not kept."""
        self.received += len(chunk)
        self.show()

    def finished(self, request: ClientRequest, url: str) -> None:
        """One is done, in whatever way."""
        self.done += 1
        if request.error is not None:
            self.failures.append(f"{url}: {request.error}")
        elif not request.result().ok:
            self.failures.append(f"{url}: {request.result().status}")
        self.show()
        if self.waiting:
            self.next()

    def show(self) -> None:
        """Draw the bar."""
        bar = "#" * (WIDTH * self.done // self.total)
        print(f"\r[{bar:{WIDTH}}] {self.done}/{self.total}, {self.received:,} bytes", end="", flush=True)


def main(urls: list[str]) -> int:
    """Fetch all of them; return 1 when one has failed."""
    with EventBase() as base:
        fetcher = Fetcher(base, urls)
        base.dispatch()
    print("", *fetcher.failures, sep="\n")
    return 1 if fetcher.failures else 0


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1:]))
