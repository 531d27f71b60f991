"""RPC clients: calls over pools of connections, every way they can fail, and that each is told once."""

from __future__ import annotations

import contextlib
import os
import random
import sys
import threading
from collections.abc import Iterator
from typing import Any, Optional

import pytest
from httpserver import Asked, serving
from rpc_served import DEADLINE, HELLO, Ask, Told, echo

from libevent_cffi import EventBase, http, rpc, util
from libevent_cffi._native import lib
from libevent_cffi.errors import CancelledError, ClosedError, HTTPError, RPCError, WrongThreadError
from libevent_cffi.flags import HookResult, HookType, RPCStatus


class Both:
    """A server that has Echo and Wait, which answers never, and what calls it."""

    def __init__(self, base: EventBase) -> None:
        self.base = base
        self.web = http.Server(base)
        self.address = self.web.bind(("127.0.0.1", 0)).address
        self.server = rpc.Server(self.web)
        self.server.register("Echo", Ask, Told, echo)
        self.server.register("Wait", Ask, Told, self.wait)
        self.waiting: list[rpc.Call[Ask, Told]] = []
        self.told: list[Any] = []
        self.pool = rpc.Pool(base, self.connect())

    def connect(self) -> http.Connection:
        """Make a connection to the server."""
        return http.Connection(self.base, self.address)

    def wait(self, call: rpc.Call[Ask, Told]) -> None:
        """Keep a call."""
        call.defer()
        self.waiting.append(call)

    def call(self, name: str = "Echo", message: rpc.Message = HELLO) -> rpc.ClientCall[Told]:
        """Call, and note what is told."""
        return self.pool.call(name, message, Told, self.told.append)

    def until_kept(self, count: int = 1) -> None:
        """Dispatch until the server keeps so many calls."""
        for _ in range(10000):
            if len(self.waiting) >= count:
                return
            self.base.poll(0.01)
        pytest.fail("the calls did not come")

    def fails(self, call: rpc.ClientCall[Any], kind: type[Exception], status: RPCStatus) -> Any:
        """Check how a call fails, and that it is told once; return the error."""
        with pytest.raises(kind) as caught:
            call.wait(DEADLINE)
        self.base.poll()
        assert caught.value is call.error
        assert call.status is status
        assert isinstance(call.error, RPCError) == (getattr(call.error, "status", None) is status)
        assert self.told.count(call) == 1
        return call.error

    def close(self) -> None:
        """Close all of it, and let go of what pytest would keep."""
        self.pool.close()
        self.server.close()
        self.web.close()
        self.__dict__.clear()


@pytest.fixture
def both(base: EventBase) -> Iterator[Both]:
    """Server and client on one base, on each method."""
    made = Both(base)
    yield made
    made.close()


@pytest.fixture
def plain(plain_base: EventBase) -> Iterator[Both]:
    """The same on one base."""
    made = Both(plain_base)
    yield made
    made.close()


def test_a_call_is_answered(both: Both) -> None:
    """By a message; the callback gets the call, later."""
    call = both.call()
    assert (call.done, call.status, both.told) == (False, RPCStatus.NONE, [])
    assert (call.name, call.request, call.pool, call.base) == ("Echo", HELLO, both.pool, both.base)
    assert call.wait(DEADLINE) == Told(text="hello")
    both.base.poll()
    assert both.told == [call]
    assert (call.status, call.error) == (RPCStatus.NONE, None)
    assert both.pool.call("Echo", HELLO, Told).wait(DEADLINE) == Told(text="hello")


def test_the_message_goes_out_as_it_was(both: Both) -> None:
    """A later change of it changes nothing."""
    message = Ask(text="before")
    call = both.call(message=message)
    message.text = "after"
    assert call.wait(DEADLINE).text == "before"


def test_many_calls_share_few_connections(both: Both) -> None:
    """All are told, in order over one connection; each of two gets some."""
    calls = [both.call(message=Ask(text=str(number))) for number in range(30)]
    assert calls[-1].wait(DEADLINE).text == "29"
    both.base.poll()
    assert both.told == calls
    both.pool.add_connection(both.connect())
    assert len(both.pool.connections) == 2
    for _ in range(2):
        both.call("Wait")
    both.until_kept(2)
    peers = {call.http_request.peer_address for call in both.waiting}
    assert len(peers) == 2


def test_what_is_called_wrongly(both: Both) -> None:
    """Nothing is sent, and nothing is told."""
    pool: Any = both.pool
    for name, request, reply, error in [
        ("a b", HELLO, Told, ValueError),
        ("Echo", "hello", Told, TypeError),
        ("Echo", HELLO, str, TypeError),
        ("Echo", Ask(), Told, ValueError),
        (b"Echo", HELLO, Told, TypeError),
    ]:
        with pytest.raises(error):
            pool.call(name, request, reply)
    with pytest.raises(TypeError, match="callable"):
        pool.call("Echo", HELLO, Told, "no function")
    with pytest.raises(TypeError, match="made by the library"):
        rpc.ClientCall()
    assert "calls=0" in repr(pool)


def test_what_a_pool_is_made_of(both: Both) -> None:
    """Connections of its base that are nobody else's."""
    for connections, error in [
        (("somewhere",), TypeError),
        (both.pool.connections, ValueError),
        ([both.connect()] * 2, ValueError),
    ]:
        with pytest.raises(error):
            rpc.Pool(both.base, *connections)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="timeout"):
        rpc.Pool(both.base, timeout=-1)
    busy, closed = both.connect(), both.connect()
    request = busy.request("GET", "/")
    closed.close()
    with (
        EventBase() as other,
        http.Connection(other, both.address) as foreign,
        pytest.raises(ValueError, match="another base"),
    ):
        both.pool.add_connection(foreign)
    with pytest.raises(ValueError, match="requests of its own"):
        both.pool.add_connection(busy)
    with pytest.raises(ClosedError):
        both.pool.add_connection(closed)
    request.wait(DEADLINE)
    both.pool.add_connection(busy)
    with pytest.raises(RuntimeError, match="made already"):
        both.pool.__init__(both.base)  # type: ignore[misc]


# -- failing -------------------------------------------------------------------------------------------------


def test_the_server_fails_a_call(both: Both) -> None:
    """Its status is in the error; the connection goes on."""
    both.server.register("Fail", Ask, Told, lambda call: call.fail())
    assert both.fails(both.call("Fail"), RPCError, RPCStatus.BADPAYLOAD).http_status == 503
    assert both.fails(both.call("Missing"), RPCError, RPCStatus.BADPAYLOAD).http_status == 404
    assert both.call().wait(DEADLINE).text == "hello"


def test_an_answer_that_is_no_reply(both: Both) -> None:
    """Is told as a bad payload, with the reason."""
    both.server.register("Odd", Ask, Ask, lambda call: call.reply(Ask(text="x" * 300)))
    call = both.pool.call("Odd", HELLO, Number, both.told.append)
    error = both.fails(call, RPCError, RPCStatus.BADPAYLOAD)
    assert error.http_status == 200
    assert type(error.__cause__).__name__ == "TagError"


class Number(rpc.Message):
    """A message with other fields."""

    number: int = rpc.int32(7)


def test_a_call_takes_too_long(both: Both) -> None:
    """The timeout is of each call, also of those that wait for a connection, and cuts the connection."""
    both.pool.timeout = 0.05
    first, second = both.call("Wait"), both.call("Wait")
    for call in (first, second):
        both.fails(call, TimeoutError, RPCStatus.TIMEOUT)
    both.pool.timeout = None
    assert both.pool.timeout is None
    assert both.call().wait(DEADLINE).text == "hello"


def test_nobody_listens(both: Both) -> None:
    """Nothing was sent then."""
    both.web.close()
    error = both.fails(both.call(), ConnectionRefusedError, RPCStatus.UNSTARTED)
    assert error.errno


def test_the_server_goes_away(both: Both) -> None:
    """Without an answer."""
    call = both.call("Wait")
    both.until_kept()
    both.waiting[0].http_request.close()
    both.fails(call, (HTTPError, OSError), RPCStatus.TIMEOUT)  # type: ignore[arg-type]


def test_a_pool_without_connections(both: Both) -> None:
    """Fails its calls, in a later pass: until then one can be added."""
    pool = rpc.Pool(both.base)
    call = pool.call("Echo", HELLO, Told, both.told.append)
    assert not call.done
    both.fails(call, RPCError, RPCStatus.UNSTARTED)
    late = pool.call("Echo", HELLO, Told)
    pool.add_connection(both.connect())
    assert late.wait(DEADLINE).text == "hello"
    pool.close()


def test_a_server_that_is_no_server(plain: Both) -> None:
    """What it says is told as the error of HTTP."""

    def answer(asked: Asked) -> bytes:
        return (
            b"NONSENSE\r\n\r\n"
            if asked.target.endswith("Bad")
            else b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n\x01"
        )

    with serving(answer) as server:
        plain.pool.add_connection(http.Connection(plain.base, server.address))
        plain.pool.remove_connection(plain.pool.connections[0])
        assert plain.fails(plain.call("Bad"), HTTPError, RPCStatus.TIMEOUT)
        assert plain.fails(plain.call("Cut"), RPCError, RPCStatus.BADPAYLOAD).http_status == 200


# -- ending --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["call", "pool", "connection", "remove", "base"])
def test_ends_are_told_once(both: Both, what: str) -> None:
    """Of one that is on its way, and of one that waits for its connection."""
    sent, waits = both.call("Wait"), both.call("Wait")
    both.until_kept()
    connection = both.pool.connections[0]
    ends = {
        "call": lambda: (sent.cancel(), waits.cancel()),
        "pool": both.pool.close,
        "connection": connection.close,
        "remove": lambda: both.pool.remove_connection(connection),
        "base": both.base.close,
    }
    both.base.call_soon(ends[what])
    if what == "base":
        both.base.dispatch()
    elif what in ("connection", "remove"):
        both.fails(waits, RPCError, RPCStatus.UNSTARTED)
    else:
        both.fails(waits, CancelledError, RPCStatus.UNSTARTED)
    assert sent.status is RPCStatus.TIMEOUT
    assert isinstance(sent.error, CancelledError)
    assert sorted(both.told, key=id) == sorted([sent, waits], key=id)
    assert sent.cancel() is False
    if what == "call":
        assert both.call().wait(DEADLINE).text == "hello"
    if what in ("pool", "base"):
        assert both.pool.closed
        with pytest.raises(ClosedError):
            both.call()
        with pytest.raises(ClosedError):
            both.pool.add_hook(HookType.INPUT, print)
        assert both.pool.connections == ()
        assert connection.closed


def test_a_callback_may_end_all_of_it(both: Both) -> None:
    """Also make calls; those are told of the end."""
    more: list[rpc.ClientCall[Told]] = []

    def told(call: rpc.ClientCall[Told]) -> None:
        more.extend([both.call(), both.call()])
        both.pool.close()

    both.pool.call("Echo", HELLO, Told, told).wait(DEADLINE)
    both.web.close()
    both.base.dispatch()
    assert both.told == more
    assert all(call.cancelled for call in more)


def test_another_thread_is_refused(both: Both) -> None:
    """While the loop runs, and nothing is done."""
    call = both.call("Wait")
    both.until_kept()
    connection = both.pool.connections[0]
    errors: list[Exception] = []

    def work() -> None:
        for attempt in (
            both.call,
            both.pool.close,
            call.cancel,
            both.server.close,
            both.waiting[0].fail,
            lambda: both.pool.remove_connection(connection),
        ):
            try:
                attempt()
            except Exception as error:
                errors.append(error)

    def ask() -> None:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(DEADLINE)
        both.base.loop_break()

    both.base.call_soon(ask)
    both.base.dispatch()
    assert [type(error) for error in errors] == [WrongThreadError] * 6
    assert not call.done
    echo(both.waiting[0])
    assert call.wait(DEADLINE).text == "hello"


# -- hooks ---------------------------------------------------------------------------------------------------


def test_hooks_see_and_change_messages(both: Both) -> None:
    """Both ways, with meta data that the call keeps, and the connection."""
    seen: list[Any] = []

    def going(context: rpc.HookContext) -> None:
        seen.append((context.request, context.connection))
        context.add_meta("who", b"me")
        context.body.drain()
        context.body.add(bytes(Ask(text="changed")))

    def coming(context: rpc.HookContext) -> HookResult:
        seen.append((context.get_meta("who"), context.connection, bytes(context.body)))
        return HookResult.CONTINUE

    connection = both.pool.connections[0]
    handles = [both.pool.add_hook(HookType.OUTPUT, going), both.pool.add_hook(HookType.INPUT, coming)]
    assert both.call().wait(DEADLINE).text == "changed"
    assert seen == [(None, connection), (b"me", connection, bytes(Told(text="changed")))]
    for handle in handles:
        handle.close()
    assert both.call().wait(DEADLINE).text == "hello"


@pytest.mark.parametrize("pauses", [False, True])
def test_hooks_send_headers(both: Both, pauses: bool) -> None:
    """A token goes out with a call, and the server's hooks see it and answer with headers too."""
    seen: list[Any] = []

    def going(context: rpc.HookContext) -> Optional[HookResult]:
        context.headers["Authorization"] = "Bearer t0ken"
        if pauses:
            both.base.call_soon(context.resume)
        return HookResult.PAUSE if pauses else None

    def allow(context: rpc.HookContext) -> HookResult:
        allowed = context.headers.get("authorization") == "Bearer t0ken"
        return HookResult.CONTINUE if allowed else HookResult.TERMINATE

    handle = both.pool.add_hook(HookType.OUTPUT, going)
    both.server.add_hook(HookType.INPUT, allow)
    both.server.add_hook(HookType.OUTPUT, lambda context: context.headers.add("X-Left", "7"))
    both.pool.add_hook(HookType.INPUT, lambda context: seen.append(context.headers.get("x-left")))
    assert both.call().wait(DEADLINE).text == "hello"
    handle.close()
    both.fails(both.call(), RPCError, RPCStatus.BADPAYLOAD)
    assert seen == ["7"]


def test_headers_of_hooks_that_cannot_be_sent(plain: Both, caplog: pytest.LogCaptureFixture) -> None:
    """Fail the call, on either side, and the next one goes on."""
    handle = plain.pool.add_hook(HookType.OUTPUT, lambda context: context.headers.add("Content-Length", "1"))
    error = plain.fails(plain.call(), RPCError, RPCStatus.HOOKABORTED)
    assert "Content-Length" in str(error)
    handle.close()
    handle = plain.server.add_hook(
        HookType.OUTPUT, lambda context: context.headers.add("Content-Length", "1")
    )
    error = plain.fails(plain.call(), RPCError, RPCStatus.BADPAYLOAD)
    assert error.http_status == 503
    assert "Content-Length" in caplog.text
    handle.close()
    assert plain.call().wait(DEADLINE).text == "hello"


@pytest.mark.parametrize("type", list(HookType))
@pytest.mark.parametrize("answer", [HookResult.CONTINUE, HookResult.TERMINATE])
def test_hooks_pause(both: Both, type: HookType, answer: HookResult) -> None:
    """And go on as they are told; other calls go on meanwhile, over the same connection."""
    contexts: list[rpc.HookContext] = []

    def pause(context: rpc.HookContext) -> Optional[HookResult]:
        contexts.append(context)
        return HookResult.PAUSE if len(contexts) == 1 else None

    both.pool.add_hook(type, pause)
    paused = both.call()
    assert both.call().wait(DEADLINE).text == "hello"
    assert not paused.done
    contexts[0].resume(answer)
    if answer == HookResult.CONTINUE:
        assert paused.wait(DEADLINE).text == "hello"
    else:
        error = both.fails(paused, RPCError, RPCStatus.HOOKABORTED)
        assert error.http_status == (200 if type == HookType.INPUT else None)
    with pytest.raises(ClosedError):
        contexts[0].resume()


@pytest.mark.parametrize("type", list(HookType))
def test_a_hook_that_raises_terminates(plain: Both, type: HookType, caplog: pytest.LogCaptureFixture) -> None:
    """And is logged; the next call goes on."""
    handle = plain.pool.add_hook(type, lambda _context: 1 / 0)  # type: ignore[arg-type, return-value]
    plain.fails(plain.call(), RPCError, RPCStatus.HOOKABORTED)
    assert "ZeroDivisionError" in caplog.text
    handle.close()
    assert plain.call().wait(DEADLINE).text == "hello"


@pytest.mark.parametrize("reply", [Told, Number])
@pytest.mark.parametrize("answer", [None, HookResult.TERMINATE])
def test_what_a_hook_saw_is_closed_with_the_call(both: Both, reply: Any, answer: Any) -> None:
    """Whether the reply was taken, could not be read, or was ended by a later hook."""
    contexts: list[Any] = []
    both.pool.add_hook(HookType.OUTPUT, contexts.append)  # type: ignore[arg-type]
    both.pool.add_hook(HookType.INPUT, contexts.append)  # type: ignore[arg-type]
    both.pool.add_hook(HookType.INPUT, lambda _context: answer)
    call = both.pool.call("Echo", HELLO, reply)
    with contextlib.suppress(RPCError):
        call.wait(DEADLINE)
    assert (call.error is None) == (reply is Told and answer is None)
    assert [context.body.closed for context in contexts] == [True, True]


@pytest.mark.parametrize("type", list(HookType))
def test_the_end_of_the_program_in_a_hook(plain: Both, type: HookType) -> None:
    """It leaves the loop, and the call is told all the same; so are those that wait."""

    def end(_context: rpc.HookContext) -> None:
        handle.close()
        raise SystemExit

    handle = plain.pool.add_hook(type, end)
    ended, waits = plain.call(), plain.call()
    with pytest.raises(SystemExit):
        waits.wait(DEADLINE)
    assert waits.wait(DEADLINE).text == "hello"
    plain.fails(ended, RPCError, RPCStatus.HOOKABORTED)


@pytest.mark.parametrize("type", list(HookType))
@pytest.mark.parametrize("what", ["call", "timeout", "pool", "remove", "base"])
def test_ends_while_hooks_pause(both: Both, type: HookType, what: str) -> None:
    """Are told once, and nothing can be resumed; what has come in needs no connection any more."""
    contexts: list[rpc.HookContext] = []
    calls: list[rpc.ClientCall[Told]] = []

    def pause(context: rpc.HookContext) -> HookResult:
        contexts.append(context)
        ends = {
            "call": calls[0].cancel,
            "timeout": int,
            "pool": both.pool.close,
            "remove": lambda: both.pool.remove_connection(both.pool.connections[0]),
            "base": both.base.close,
        }
        both.base.call_soon(ends[what])
        if what == "remove" and type == HookType.INPUT:
            both.base.call_soon(context.resume)
        return HookResult.PAUSE

    both.pool.add_hook(type, pause)
    both.pool.timeout = 0.1 if what == "timeout" else None
    call = both.call()
    calls.append(call)
    if what == "base":
        both.base.dispatch()
        assert call.cancelled
    elif what == "remove" and type == HookType.INPUT:
        assert call.wait(DEADLINE).text == "hello"
        return
    else:
        with pytest.raises(TimeoutError if what == "timeout" else CancelledError):
            call.wait(DEADLINE)
        both.base.poll()
    assert both.told == [call]
    with pytest.raises(ClosedError):
        contexts[0].resume()


def test_hooks_may_do_anything(both: Both) -> None:
    """Call, close what they stand in, and go on."""

    def end(_context: rpc.HookContext) -> None:
        both.call()
        both.pool.close()

    both.pool.add_hook(HookType.OUTPUT, end)
    calls = [both.call(), both.call()]
    with pytest.raises(CancelledError):
        calls[-1].wait(DEADLINE)
    both.base.poll()
    assert len(both.told) == 3


# -- random lives --------------------------------------------------------------------------------------------

PROGRAMS = int(os.environ.get("LIBEVENT_CFFI_PROGRAMS", "5" if sys.implementation.name == "pypy" else "20"))


class Mine(Exception):
    """What callbacks raise."""


class Program:
    """Servers, pools, calls, and hooks that pause, and anything done to them at any time."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.base = EventBase(error_handler=lambda _error, _source: None)
        self.web = http.Server(self.base)
        self.address = self.web.bind(("127.0.0.1", 0)).address
        self.servers = [self.serve()]
        self.pools: list[rpc.Pool] = []
        self.contexts: list[rpc.HookContext] = []
        self.kept: list[rpc.Call[Any, Any]] = []
        self.calls: list[rpc.ClientCall[Any]] = []
        self.told: list[rpc.ClientCall[Any]] = []
        self.steps = [
            *[self.call] * 6,
            *[self.resume, self.answer, self.hook] * 3,
            *[self.add_pool, self.add_connection, self.remove_connection, self.cancel, self.forget],
            *[self.close_pool, self.close_server, self.register, self.close_connection],
        ]

    def serve(self) -> rpc.Server:
        """Have an RPC server."""
        server = rpc.Server(self.web)
        with contextlib.suppress(ValueError):
            server.register("Echo", Ask, Told, self.handle)
        return server

    def handle(self, call: rpc.Call[Any, Any]) -> None:
        """Answer, or not, or later."""
        self.step()
        kind = self.dice.random()
        if kind < 0.1:
            raise Mine
        if kind < 0.2:
            call.fail()
        elif kind < 0.5:
            call.defer()
            self.kept.append(call)
        elif kind < 0.95:
            echo(call)

    def look(self, context: rpc.HookContext) -> Optional[HookResult]:
        """Be a hook."""
        self.step()
        kind = self.dice.random()
        if kind < 0.05:
            raise Mine
        if kind < 0.1:
            context.body.close()
        if kind < 0.15:
            context.resume()
        if kind < 0.5:
            self.contexts.append(context)
            return HookResult.PAUSE
        return self.dice.choice([None, HookResult.CONTINUE, HookResult.CONTINUE, HookResult.TERMINATE])

    def done(self, call: rpc.ClientCall[Any]) -> None:
        """Be told of a call."""
        assert call.done
        assert (call.error is None) == (call.status is RPCStatus.NONE)
        self.told.append(call)
        self.step()
        if self.dice.random() < 0.1:
            raise Mine

    # -- steps -----------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Do something, which may be refused."""
        if self.dice.random() < 0.5 and not self.base.closed and len(self.calls) < 60:
            with contextlib.suppress(ClosedError, BrokenPipeError, ValueError, KeyError):
                self.dice.choice(self.steps)()

    def call(self) -> None:
        before = len(self.told)
        pool = self.dice.choice(self.pools)
        pool.timeout = self.dice.choice([None, 0.01, 5.0])
        name = self.dice.choice(["Echo", "Echo", "Echo", "Missing"])
        self.calls.append(pool.call(name, HELLO, self.dice.choice([Told, Number]), self.done))
        assert len(self.told) == before

    def resume(self) -> None:
        self.contexts.pop(self.dice.randrange(len(self.contexts))).resume(
            self.dice.choice([HookResult.CONTINUE, HookResult.CONTINUE, HookResult.TERMINATE])
        )

    def answer(self) -> None:
        echo(self.kept.pop(self.dice.randrange(len(self.kept))))

    def hook(self) -> None:
        handle = self.dice.choice([*self.pools, *self.servers]).add_hook(
            self.dice.choice(list(HookType)), self.look
        )
        self.base.call_later(self.dice.random() * 0.01, handle.close)

    def add_pool(self) -> None:
        self.pools.append(rpc.Pool(self.base))
        self.add_connection()

    def add_connection(self) -> None:
        self.dice.choice(self.pools).add_connection(http.Connection(self.base, self.address))

    def remove_connection(self) -> None:
        pool = self.dice.choice(self.pools)
        pool.remove_connection(self.dice.choice(pool.connections or (http.Connection(self.base, "/"),)))

    def close_connection(self) -> None:
        for connection in self.dice.choice(self.pools).connections[:1]:
            connection.close()

    def cancel(self) -> None:
        self.dice.choice(self.calls or [self.call]).cancel()  # type: ignore[union-attr, list-item]

    def forget(self) -> None:
        del self.contexts[:1], self.kept[:1]

    def close_pool(self) -> None:
        self.pools.remove(pool := self.dice.choice(self.pools))
        pool.close()
        self.add_pool()

    def close_server(self) -> None:
        self.servers.pop(self.dice.randrange(len(self.servers))).close()
        self.servers.append(self.serve())

    def register(self) -> None:
        self.servers[0].unregister("Echo")
        self.base.call_soon(self.servers[0].register, "Echo", Ask, Told, self.handle)

    def run(self) -> None:
        """Do it, end it in one of many ways, and look whether every call was told once."""
        self.add_pool()
        for _ in range(40):
            with contextlib.suppress(ClosedError, BrokenPipeError, ValueError, KeyError, AttributeError):
                self.dice.choice(self.steps)()
            self.base.poll(self.dice.choice([0, 0, 0.001]))
        ends = [self.web.close, *[each.close for each in [*self.servers, *self.pools]]]
        self.dice.shuffle(ends)
        for end in ends[: self.dice.randrange(len(ends) + 1)]:
            with contextlib.suppress(Mine):
                end()
        with contextlib.suppress(Mine):
            self.base.close()
        assert all(call.done for call in self.calls)
        assert len(self.told) == len(self.calls) == len(set(map(id, self.told)))
        for context in self.contexts:
            with pytest.raises(ClosedError):
                context.resume()


def test_random_lives(base: EventBase, caplog: pytest.LogCaptureFixture) -> None:
    """Every call is told once, and C has nothing left."""
    caplog.set_level("CRITICAL", "libevent")
    seeds = [int(os.environ["LIBEVENT_CFFI_SEED"])] if "LIBEVENT_CFFI_SEED" in os.environ else range(PROGRAMS)
    before = util.memory_counters().blocks
    for seed in seeds:
        try:
            Program(seed).run()
        except BaseException as error:
            raise AssertionError(f"LIBEVENT_CFFI_SEED={seed}") from error
    assert lib.lev_debug_mode_on or util.memory_counters().blocks <= before + 1 or gc_helps(before)


def gc_helps(before: int) -> bool:
    """Are the blocks garbage only?"""
    import gc

    gc.collect()
    gc.collect()
    return util.memory_counters().blocks <= before + 1
