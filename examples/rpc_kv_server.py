"""
A key-value service over libevent's RPC, for clients in Python and in C: rpc_kv_client.py and rpc_kv_client.c.

It prints its port; what is in its messages, rpc_kv.rpc says.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from libevent_cffi import EventBase, http, rpc

kv = rpc.load(Path(__file__).with_name("rpc_kv.rpc"))


class Store:
    """What the service keeps, and its calls."""

    def __init__(self, server: rpc.Server) -> None:
        self.values: dict[str, bytes] = {}
        server.register("Put", kv.kv_entry, kv.kv_entry, self.put)
        server.register("Get", kv.kv_key, kv.kv_entry, self.get)
        server.register("Keys", kv.kv_key, kv.kv_keys, self.keys)

    def put(self, call: rpc.Call[Any, Any]) -> None:
        """Take a value, or forget it; what was there before is the answer."""
        key, value = call.request.key, call.request.value
        before = self.values.pop(key, None)
        if value is not None:
            self.values[key] = value
        call.reply(kv.kv_entry(key=key, value=before))

    def get(self, call: rpc.Call[Any, Any]) -> None:
        """Look one up."""
        key = call.request.key
        call.reply(kv.kv_entry(key=key, value=self.values.get(key)))

    def keys(self, call: rpc.Call[Any, Any]) -> None:
        """Name those that begin so."""
        found = sorted(key for key in self.values if key.startswith(call.request.key))
        call.reply(kv.kv_keys(keys=found))


def main() -> None:
    """Serve until Ctrl-C or SIGTERM."""
    with EventBase() as base:
        web = http.Server(base, max_body_size=1_000_000)
        Store(rpc.Server(web))
        print(web.bind(("127.0.0.1", 0)).port, flush=True)
        for number in (signal.SIGINT, signal.SIGTERM):
            base.on_signal(number, web.stop, keepalive=False)
        base.dispatch()


if __name__ == "__main__":
    main()
