"""
Ask the key-value service of rpc_kv_server.py, whose port comes first:

    python rpc_kv_client.py PORT put color blue size 12    any number, at once and in no order
    python rpc_kv_client.py PORT get color size
    python rpc_kv_client.py PORT delete size
    python rpc_kv_client.py PORT keys [PREFIX]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from libevent_cffi import EventBase, http, rpc
from libevent_cffi.errors import LibeventError

kv = rpc.load(Path(__file__).with_name("rpc_kv.rpc"))


def calls_of(pool: rpc.Pool, command: str, words: list[str]) -> list[rpc.ClientCall[Any]]:
    """Make the calls of a command: they are on their way together, over the connections of the pool."""
    if command == "put" and len(words) % 2 == 0:
        entries = [kv.kv_entry(key=key, value=value.encode()) for key, value in zip(words[::2], words[1::2])]
        return [pool.call("Put", entry, kv.kv_entry) for entry in entries]
    if command == "get":
        return [pool.call("Get", kv.kv_key(key=key), kv.kv_entry) for key in words]
    if command == "delete":
        return [pool.call("Put", kv.kv_entry(key=key), kv.kv_entry) for key in words]
    if command == "keys" and len(words) < 2:
        return [pool.call("Keys", kv.kv_key(key="".join(words)), kv.kv_keys)]
    sys.exit(__doc__)


def tell(call: rpc.ClientCall[Any]) -> None:
    """Print the reply."""
    reply = call.result()
    if call.name == "Keys":
        for key in reply.keys:
            print(key)
    else:
        value = "not there" if reply.value is None else reply.value.decode("utf-8", "replace")
        print(reply.key, "was" if call.name == "Put" else "is", value)


def main() -> int:
    """Ask, and print; 1 when a call failed."""
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    port, command, *words = sys.argv[1:]
    with EventBase() as base:
        connections = [http.Connection(base, ("127.0.0.1", int(port))) for _ in range(4)]
        with rpc.Pool(base, *connections, timeout=10) as pool:
            failed = 0
            for call in calls_of(pool, command, words):
                try:
                    call.wait()
                    tell(call)
                except (LibeventError, OSError) as error:
                    failed = 1
                    print(f"{call.name}: {error}", file=sys.stderr)
    return failed


if __name__ == "__main__":
    sys.exit(main())
