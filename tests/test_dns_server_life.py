"""DNS servers, their bases and their requests end in any order, and nothing is lost or left."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from typing import Any

import dns_serving
import pytest
from dns_serving import LOCAL, Client, Run, query, zone
from test_fork import in_child
from test_leaks import descriptors

from libevent_cffi import EventBase
from libevent_cffi._native import lib
from libevent_cffi.dns import Request, Server
from libevent_cffi.errors import ClosedError, WrongThreadError
from libevent_cffi.flags import LoopFlag

serve = dns_serving.serve


@pytest.mark.parametrize("where", ["handler", "after answering", "deferred", "timer"])
@pytest.mark.parametrize("what", ["server", "base"])
def test_closed_anywhere(serve: Any, run: Run, what: str, where: str) -> None:
    """No handler is called any more, requests that are open are closed, the port is free."""
    told: list[Request] = []

    def end() -> None:
        server.close() if what == "server" else server.base.close()

    def handler(request: Request) -> None:
        told.append(request)
        if where == "after answering":
            request.respond()
        elif where != "handler":
            request.defer()
        if where == "deferred":
            server.base.call_soon(end)
        elif where != "timer":
            end()

    server, client = serve(handler)
    for _ in range(3):
        client.ask("one.example")
    if where == "timer":
        server.base.call_later(0.02, end)
    address = server.address
    run(server.base)
    assert server.closed
    assert all(request.answered for request in told)
    assert 1 <= len(told) <= 3
    for call in (told[0].respond, told[0].drop, lambda: told[0].add_a("a.example", "192.0.2.1", ttl=1)):
        with pytest.raises(ClosedError):
            call()
    for call in (server.fileno, lambda: server.address, lambda: server.port):
        with pytest.raises(ClosedError):
            call()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(address)
    server.close()


def test_a_server_need_not_be_kept(serve: Any) -> None:
    """It is held by its base until it is closed."""
    told: list[object] = []
    server, client = serve(lambda request: (told.append(1), request.respond()))
    base = server.base
    client.server = None
    sock = client.sock
    del server
    gc.collect()
    sock.send(query("one.example"))
    while not told:
        base.poll(1)


def fill_a_base() -> None:
    """Make a base with a server and open requests, all of which refer to each other."""
    base = EventBase()
    kept: list[object] = []

    def handler(request: Request) -> None:
        request.defer()
        kept.append(request)

    server = Server(base, LOCAL, handler)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _ in range(3):
            sock.sendto(query("one.example"), server.address)
        while len(kept) < 3:
            base.poll(1)
    kept.append(kept)


def test_a_dropped_base_is_garbage_with_its_servers() -> None:
    """Also with requests that are open."""
    live, before = lib.lev_live_objects, descriptors()
    fill_a_base()
    for _ in range(6):
        gc.collect()
    assert (lib.lev_live_objects, descriptors()) == (live, before)


@pytest.mark.parametrize("stop", ["loop_break", "raise"])
def test_stopping_the_loop_loses_no_request(serve: Any, run: Run, stop: str) -> None:
    """Those that libevent read after it are told by the next dispatch()."""
    told: list[object] = []

    def handler(request: Request) -> None:
        told.append(request)
        request.respond()
        if stop == "raise":
            raise SystemExit
        server.base.loop_break()

    server, client = serve(handler)
    for _ in range(5):
        client.ask("one.example")
    for expected in range(1, 6):
        with pytest.raises(SystemExit) if stop == "raise" else contextlib.nullcontext():
            run(server.base)
        assert len(told) == expected


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork()")
def test_a_fork_in_the_handler(serve: Any) -> None:
    """The child's server is dead, and takes no datagram of the parent's."""

    def work() -> None:
        assert server.closed
        server.close()
        server.base.close()

    told: list[object] = []

    def handler(request: Request) -> None:
        told.append(request)
        if len(told) == 1:
            in_child(work)
        request.respond()

    server, client = serve(handler)
    client.ask("one.example")
    client.ask("two.example")
    assert client.answer()[1] == 0
    assert client.answer()[1] == 0
    assert len(told) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork()")
def test_a_child_that_returns_from_the_handler(serve: Any) -> None:
    """It leaves the loop with ClosedError, and every datagram is still the parent's."""
    parent, pids, told = os.getpid(), [], []  # type: ignore[var-annotated]

    def handler(request: Request) -> None:
        told.append(request)
        if len(told) == 1:
            pids.append(os.fork())
        if os.getpid() == parent:
            request.respond()

    _, client = serve(handler)
    for _ in range(3):
        client.ask("one.example")
    try:
        for _ in range(3):
            client.answer()
    except ClosedError:
        os._exit(0 if os.getpid() != parent else 1)
    except BaseException:
        os._exit(2)
    assert os.getpid() == parent
    assert len(told) == 3
    assert os.waitpid(pids[0], 0)[1] == 0


def test_other_threads_are_refused(serve: Any, run: Run) -> None:
    """While the base is dispatched elsewhere."""
    refused: list[str] = []
    kept: list[Request] = []

    def handler(request: Request) -> None:
        request.defer()
        kept.append(request)
        thread.start()

    def other() -> None:
        for call in (kept[0].respond, kept[0].drop, server.close, server.fileno):
            try:
                call()
            except WrongThreadError as error:
                refused.append(str(error))
        server.base.call_soon_threadsafe(server.base.loop_break)

    thread = threading.Thread(target=other)
    server, client = serve(handler)
    client.ask("one.example")
    run(server.base)
    thread.join()
    assert len(refused) == 4
    assert not kept[0].answered
    kept[0].respond()


def test_replies_that_cannot_be_sent(plain_base: EventBase, run: Run) -> None:
    """To port 0, say: libevent tries again later, and closing the server meanwhile is safe."""
    if os.geteuid() != 0:
        pytest.skip("needs a raw socket, to forge where a datagram comes from")
    for close in (False, True):
        told: list[Request] = []

        def handler(request: Request, close: bool = close, told: list[Request] = told) -> None:
            told.append(request)
            request.respond()
            if close and len(told) == 2:
                request.server.close()

        server = Server(plain_base, LOCAL, handler)
        payload = query("one.example")
        try:
            raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
        except PermissionError:
            pytest.skip("raw sockets are not allowed here")
        with raw:
            for _ in range(2):
                packet = struct.pack(">HHHH", 0, server.port, 8 + len(payload), 0) + payload
                raw.sendto(packet, ("127.0.0.1", 0))
        plain_base.call_later(0.05, plain_base.loop_exit)
        run(plain_base)
        assert len(told) == 2
        server.close()
        plain_base.poll()


def test_nothing_is_left_behind(plain_base: EventBase, run: Run) -> None:
    """Neither memory nor descriptors, whichever way requests and servers end."""

    def once(number: int) -> None:
        kept: list[Request] = []

        def handler(request: Request) -> None:
            if number % 4 == 0:
                request.defer()
            elif number % 4 == 1:
                request.drop()
            elif number % 4 == 2:
                zone(request)
            else:
                zone(request)
                server.close()
            kept.append(request)
            plain_base.loop_break()

        server = Server(plain_base, LOCAL, handler)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(query("one.example"), server.address)
            sock.sendto(query("one.example"), server.address)
            run(plain_base)
        assert kept
        server.close()

    def many(count: int) -> tuple[int, int, int]:
        for number in range(count):
            once(number)
        for _ in range(12 if sys.implementation.name == "pypy" else 3):
            gc.collect()
        plain_base.poll()
        return lib.lev_memory_blocks(), lib.lev_live_objects, descriptors()

    before, after = many(20), many(100)
    assert after[1:] == before[1:]
    if sys.implementation.name != "pypy":
        assert after[0] <= before[0] + 4


FLOOD = """
import os, socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.connect(("127.0.0.1", int(sys.argv[1])))
    while os.getppid() != 1:
        try:
            sock.send(bytes.fromhex(sys.argv[2]))
        except OSError:
            pass
"""


def test_a_flood_leaves_the_others_their_turn(plain_base: EventBase, run: Run) -> None:
    """libevent reads until nothing is left, which is never here; afterwards all is as before."""
    told, ticks = [0], [0]

    def handler(request: Request) -> None:
        told[0] += 1
        end = time.monotonic() + 0.0003  # slower than any sender
        while time.monotonic() < end:
            pass
        request.respond()

    def tick() -> None:
        ticks[0] += 1
        if ticks[0] == 5:
            plain_base.loop_break()

    with Server(plain_base, LOCAL, handler) as server:
        command = [sys.executable, "-c", FLOOD, str(server.port), query("one.example").hex()]
        with subprocess.Popen(command) as process:
            try:
                while told[0] < 10:
                    plain_base.loop(LoopFlag.ONCE)
                plain_base.every(0.01, tick, keepalive=False)
                run(plain_base)
            finally:
                process.kill()
        client = Client(server)
        with client.sock:
            while client.none_came():  # as long as the flood's rest is answered, it may be dropped too
                client.ask("one.example")
                plain_base.poll(0.1)
