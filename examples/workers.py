"""Threads that work, and a loop that takes their results: call_soon_threadsafe() is the way between them."""

from __future__ import annotations

import hashlib
import threading

from libevent_cffi import EventBase


class Pool:
    """Hands texts to threads, and stops the loop when every result is there."""

    def __init__(self, base: EventBase, texts: list[str]) -> None:
        self.base = base
        self.results: dict[str, str] = {}
        self.expected = len(texts)
        for text in texts:
            threading.Thread(target=self._work, args=(text,)).start()

    def _work(self, text: str) -> None:
        digest = hashlib.sha256(text.encode() * 100_000).hexdigest()
        self.base.call_soon_threadsafe(self._done, text, digest)

    def _done(self, text: str, digest: str) -> None:
        self.results[text] = digest
        print(f"{text:8} {digest[:16]}")
        if len(self.results) == self.expected:
            self.base.loop_exit()


def main() -> None:
    """Hash some words in threads; the loop's thread alone touches the results."""
    with EventBase() as base:
        pool = Pool(base, ["epoll", "kqueue", "poll", "select"])
        base.dispatch(exit_on_empty=False)
        print(f"{len(pool.results)} results")


if __name__ == "__main__":
    main()
