"""Timers of every kind: once, again and again, in the background, and very many with one delay."""

from __future__ import annotations

import time

from libevent_cffi import EventBase


def main() -> None:
    """Let a second pass, and tell what happened in it."""
    started = time.monotonic()

    def tell(text: str) -> None:
        print(f"{time.monotonic() - started:5.2f} s  {text}")

    with EventBase() as base:
        base.call_soon(tell, "as soon as the loop runs")
        base.call_later(0.3, tell, "once, after 0.3 s")
        base.every(0.25, tell, "every 0.25 s, in the background", keepalive=False)

        share = base.common_timeout(0.5)
        count = [0]
        for _ in range(10_000):
            base.call_later(share, lambda: count.append(count.pop() + 1))
        base.call_later(0.6, lambda: tell(f"{count[0]} timers fired that share one delay"))

        cancelled = base.call_later(0.4, tell, "this is never told")
        cancelled.cancel()
        base.call_later(1.0, tell, "the last one: dispatch() returns")
        base.dispatch()


if __name__ == "__main__":
    main()
