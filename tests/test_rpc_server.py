"""RPC servers: calls over real sockets, with hooks that pause, and ends in the middle."""

from __future__ import annotations

import logging
from typing import Any, Optional

import pytest
import rpc_served
from rpc_served import DEADLINE, Ask, Told, echo, send

from libevent_cffi import http, rpc
from libevent_cffi.errors import ClosedError
from libevent_cffi.flags import HookResult, HookType

web, logged, server = rpc_served.web, rpc_served.logged, rpc_served.server


def ask(web: http.Server, *args: Any, **keywords: Any) -> tuple[int, bytes]:
    """Call, and return status and body."""
    response = send(web, *args, **keywords).wait(DEADLINE)
    return response.status, bytes(response.body)


ANSWER = (200, bytes(Told(text="hello")))


def test_a_handler_answers(web: http.Server, server: rpc.Server) -> None:
    """With a message, and can look at how it came."""
    seen: list[Any] = []

    @server.register("Echo", Ask, Told)
    def answer(call: rpc.Call[Ask, Told]) -> None:
        seen.append((call.name, call.http_request.peer_address[0], call.answered))
        echo(call)
        seen.append(call.answered)

    response = send(web).wait(DEADLINE)
    assert (response.status, bytes(response.body)) == ANSWER
    assert response.headers["Content-Type"] == "application/octet-stream"
    assert seen == [("Echo", "127.0.0.1", False), True]
    assert callable(answer)


@pytest.mark.parametrize(("body", "verb"), [(b"\x01", "POST"), (b"", "POST"), (b"", "GET")])
def test_what_is_no_call_fails(web: http.Server, server: rpc.Server, body: bytes, verb: str) -> None:
    """With 503, and no handler sees it."""
    server.register("Echo", Ask, Told, lambda _call: pytest.fail("it was called"))
    assert ask(web, body=body, method=verb)[0] == 503


def test_a_deferred_call_is_answered_later(web: http.Server, server: rpc.Server) -> None:
    """Once."""
    calls: list[rpc.Call[Ask, Told]] = []

    def later(call: rpc.Call[Ask, Told]) -> None:
        call.defer()
        calls.append(call)
        web.base.call_soon(echo, call)

    server.register("Echo", Ask, Told, later)
    assert ask(web) == ANSWER
    with pytest.raises(ClosedError, match="answered already"):
        echo(calls[0])
    with pytest.raises(ClosedError):
        calls[0].fail()


@pytest.mark.parametrize("type", [None, *HookType])
def test_a_call_that_is_forgotten(web: http.Server, server: rpc.Server, type: Optional[HookType]) -> None:
    """Deferred and dropped, or paused and dropped, it fails after the reply_timeout, as a request does."""
    web.reply_timeout = 0.05
    server.register("Echo", Ask, Told, rpc.Call.defer if type is None else echo)
    if type is not None:
        server.add_hook(type, lambda _context: HookResult.PAUSE)
    assert ask(web)[0] == 503


def test_a_handler_that_does_not_answer_fails(logged: http.Server, caplog: pytest.LogCaptureFixture) -> None:
    """It is told at once, and logged."""
    server = rpc.Server(logged)
    server.register("Echo", Ask, Told, lambda _call: None)
    assert ask(logged)[0] == 503
    assert "without reply() or defer()" in caplog.text


def test_a_handler_that_raises_fails(logged: http.Server, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the next call is answered."""
    server = rpc.Server(logged)
    server.register("Echo", Ask, Told, lambda call: 1 / (call.request.text != "hello"))
    assert ask(logged)[0] == 503
    assert "ZeroDivisionError" in caplog.text
    server.unregister("Echo")
    server.register("Echo", Ask, Told, echo)
    assert ask(logged) == ANSWER


def test_fail_and_wrong_replies(web: http.Server, server: rpc.Server) -> None:
    """A reply of another class, or without a field, leaves the call to be answered."""

    def handle(call: rpc.Call[Any, Any]) -> None:
        with pytest.raises(TypeError, match="Ask"):
            call.reply(Told())
        with pytest.raises(ValueError, match="required"):
            call.reply(Ask())
        assert not call.answered
        call.fail()

    server.register("Echo", Ask, Ask, handle)
    assert ask(web)[0] == 503


def test_names(web: http.Server, server: rpc.Server) -> None:
    """One handler for each, until it is taken away."""
    server.register("Echo", Ask, Told, echo)
    with pytest.raises(ValueError, match="has a handler"):
        server.register("Echo", Ask, Told, echo)
    for name in ("", "a b", "a/b", "é"):
        with pytest.raises(ValueError, match="cannot be called"):
            server.register(name, Ask, Told, echo)
    with pytest.raises(TypeError):
        server.register("Other", str, Told, echo)  # type: ignore[type-var]
    assert ask(web, name="Other")[0] == 404
    server.unregister("Echo")
    assert ask(web)[0] == 404
    with pytest.raises(KeyError):
        server.unregister("Echo")


def test_hooks_see_and_change_messages(web: http.Server, server: rpc.Server) -> None:
    """Both ways, in order, with meta data that the call keeps; a closed one sees nothing."""
    server.register("Echo", Ask, Told, echo)
    seen: list[Any] = []

    def coming(context: rpc.HookContext) -> None:
        assert context.request is not None
        seen.append((context.request.path, context.connection == context.request.connection))
        assert context.get_meta("who") is None
        context.add_meta("who", b"me")
        context.body.drain()
        context.body.add(bytes(Ask(text="changed")))

    def going(context: rpc.HookContext) -> HookResult:
        seen.append((context.get_meta("who"), bytes(context.body)))
        return HookResult.CONTINUE

    handles = [server.add_hook(HookType.INPUT, coming), server.add_hook(HookType.OUTPUT, going)]
    changed = bytes(Told(text="changed"))
    assert ask(web) == (200, changed)
    assert seen == [("/.rpc.Echo", True), (b"me", changed)]
    for handle in handles:
        handle.close()
        assert handle.closed
    assert ask(web) == ANSWER
    assert len(seen) == 2


@pytest.mark.parametrize("type", list(HookType))
@pytest.mark.parametrize("answer", [HookResult.CONTINUE, HookResult.TERMINATE])
def test_hooks_pause(web: http.Server, server: rpc.Server, type: HookType, answer: HookResult) -> None:
    """And go on once, with the next one, as they are told."""
    server.register("Echo", Ask, Told, echo)
    contexts: list[rpc.HookContext] = []
    after: list[rpc.HookContext] = []

    def pause(context: rpc.HookContext) -> HookResult:
        contexts.append(context)
        web.base.call_soon(context.resume, answer)
        return HookResult.PAUSE

    server.add_hook(type, pause)
    server.add_hook(type, after.append)  # type: ignore[arg-type]
    passes = answer == HookResult.CONTINUE
    assert ask(web)[0] == (200 if passes else 503)
    assert len(after) == passes
    with pytest.raises(ClosedError):
        contexts[0].resume()
    with pytest.raises(ValueError, match="CONTINUE or TERMINATE"):
        contexts[0].resume(HookResult.PAUSE)


@pytest.mark.parametrize("type", list(HookType))
def test_a_hook_that_raises_terminates(
    logged: http.Server, type: HookType, caplog: pytest.LogCaptureFixture
) -> None:
    """And is logged."""
    server = rpc.Server(logged)
    server.register("Echo", Ask, Told, echo)
    server.add_hook(type, lambda _context: 1 / 0)  # type: ignore[arg-type, return-value]
    assert ask(logged)[0] == 503
    assert "ZeroDivisionError" in caplog.text


def test_resume_inside_the_hook(web: http.Server, server: rpc.Server) -> None:
    """It may be faster than the PAUSE that it undoes."""

    def pause(context: rpc.HookContext) -> HookResult:
        context.resume()
        return HookResult.PAUSE

    server.register("Echo", Ask, Told, echo)
    server.add_hook(HookType.INPUT, pause)
    assert ask(web) == ANSWER


@pytest.mark.parametrize("what", ["rpc", "web", "base"])
@pytest.mark.parametrize("type", [*HookType, None])
def test_close_while_calls_wait(
    web: http.Server, server: rpc.Server, what: str, type: Optional[HookType]
) -> None:
    """In a hook, or deferred: nothing is told any more, and nothing stays in C."""
    base, waiting = web.base, []

    def wait(thing: Any) -> HookResult:
        waiting.append(thing)
        if type is None:
            thing.defer()
        base.call_soon({"rpc": server, "web": web, "base": base}[what].close)
        return HookResult.PAUSE

    server.register("Echo", Ask, Told, echo if type is not None else wait)
    if type is not None:
        server.add_hook(type, wait)
    request = send(web)
    if what == "rpc":
        assert request.wait(DEADLINE).status == 503
    else:
        base.dispatch()
        assert request.error is not None
    assert server.closed
    with pytest.raises((ClosedError, BrokenPipeError)):
        waiting[0].resume() if type is not None else echo(waiting[0])
    with pytest.raises(ClosedError):
        server.add_hook(HookType.INPUT, wait)
    server.close()


def test_the_client_goes_while_a_hook_pauses(
    web: http.Server, server: rpc.Server, caplog: pytest.LogCaptureFixture
) -> None:
    """No handler sees the call then."""
    server.register("Echo", Ask, Told, lambda _call: pytest.fail("it was called"))
    contexts: list[rpc.HookContext] = []

    def pause(context: rpc.HookContext) -> HookResult:
        contexts.append(context)
        assert context.request is not None
        context.request.on_close = lambda _request: (context.resume(), web.base.call_soon(web.close))
        request.cancel()
        return HookResult.PAUSE

    server.add_hook(HookType.INPUT, pause)
    request = send(web)
    web.base.dispatch()
    assert contexts
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
