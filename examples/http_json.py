"""
A to-do list as a JSON API: GET /items, POST /items with {"text": ...}, DELETE /items?id=1.

    curl -d '{"text": "buy milk"}' http://127.0.0.1:PORT/items
"""

from __future__ import annotations

import itertools
import signal

from libevent_cffi import EventBase
from libevent_cffi.http import Request, Server

items: dict[int, str] = {}
numbers = itertools.count(1)


def list_items(request: Request) -> None:
    """Return all of them."""
    request.reply_json([{"id": number, "text": text} for number, text in items.items()])


def add_item(request: Request) -> None:
    """Take one; what is no JSON, or has no text, is the client's mistake."""
    try:
        text = request.json()["text"]
    except (ValueError, KeyError, TypeError) as error:
        request.reply_json({"error": f"{type(error).__name__}: {error}"}, 400)
        return
    number = next(numbers)
    items[number] = str(text)
    request.reply_json({"id": number, "text": items[number]}, 201)


def delete_item(request: Request) -> None:
    """Forget one."""
    found = items.pop(int(request.query.get("id", "0")), None)
    request.reply(204 if found is not None else 404)


METHODS = {"GET": list_items, "POST": add_item, "DELETE": delete_item}


def handle(request: Request) -> None:
    """Choose by the method."""
    method = METHODS.get(request.method)
    if method is None:
        request.reply(405, headers={"Allow": ", ".join(METHODS)})
    else:
        method(request)


def main() -> None:
    """Serve until Ctrl-C or SIGTERM."""
    with EventBase() as base:
        server = Server(base)
        server.route("/items", handle)
        print(f"http://127.0.0.1:{server.bind(('127.0.0.1', 0)).port}/items", flush=True)
        for number in (signal.SIGINT, signal.SIGTERM):
            base.on_signal(number, server.stop, keepalive=False)
        base.dispatch()


if __name__ == "__main__":
    main()
