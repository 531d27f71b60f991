"""RPC servers in unusual circumstances: clients that leave, hooks nobody resumes, threads, hosts, TLS."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest
import rpc_served
from certificates import Certificates
from rpc_served import DEADLINE, HELLO, Ask, Told, echo, poll_until, send

from libevent_cffi import EventBase, http, rpc, util
from libevent_cffi.errors import ClosedError, WrongThreadError
from libevent_cffi.flags import HookResult, HookType

web, server = rpc_served.web, rpc_served.server


@pytest.mark.parametrize("type", [None, HookType.OUTPUT])
def test_a_client_that_has_only_stopped_sending(web: http.Server, server: rpc.Server, type: Any) -> None:
    """Gets its answer, also one that comes later, though its server cannot know whether it is there."""
    calls: list[rpc.Call[Ask, Told]] = []
    gone: list[Any] = []

    @server.register("Echo", Ask, Told)
    def keep(call: rpc.Call[Ask, Told]) -> None:
        call.defer()
        call.http_request.on_close = gone.append
        calls.append(call)

    if type is not None:
        server.add_hook(type, lambda _context: None)
    with socket.create_connection(web.bound[0].address) as sock:
        body = bytes(HELLO)
        sock.sendall(b"POST /.rpc.Echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        sock.shutdown(socket.SHUT_WR)
        poll_until(web.base, lambda: gone)
        try:
            echo(calls[0])
        except BrokenPipeError:
            pass
        else:
            assert type is not None  # then nobody can be told
        assert calls[0].answered
        sock.setblocking(False)
        got = bytearray()

        def receive() -> bool:
            try:
                part = sock.recv(65536)
            except BlockingIOError:
                return False
            got.extend(part)
            return not part

        poll_until(web.base, receive)
    assert got.startswith(b"HTTP/1.1 200 ")
    assert got.endswith(body)


@pytest.mark.parametrize("pauses", [False, True])
@pytest.mark.parametrize("where", ["input", "handler", "output"])
def test_the_end_of_the_program_in_a_call(plain_base: EventBase, where: str, pauses: bool) -> None:
    """It leaves the loop, and the client is told all the same."""
    web = http.Server(plain_base)
    web.bind(("127.0.0.1", 0))
    server = rpc.Server(web)

    def end(_context: Any) -> None:
        raise SystemExit

    def pause(context: rpc.HookContext) -> HookResult:
        plain_base.call_soon(context.resume)
        return HookResult.PAUSE

    server.register("Echo", Ask, Told, end if where == "handler" else echo)
    if pauses:
        server.add_hook(HookType.OUTPUT if where == "output" else HookType.INPUT, pause)
    if where != "handler":
        server.add_hook(HookType[where.upper()], end)
    request = send(web)
    with pytest.raises(SystemExit):
        request.wait(DEADLINE)
    assert request.wait(DEADLINE).status in (500, 503)
    web.close()


def test_unregister_while_a_call_pauses(web: http.Server, server: rpc.Server) -> None:
    """The call goes on; the next one finds nobody."""
    server.register("Echo", Ask, Told, echo)
    contexts: list[rpc.HookContext] = []

    def pause(context: rpc.HookContext) -> HookResult:
        contexts.append(context)
        return HookResult.PAUSE

    handle = server.add_hook(HookType.INPUT, pause)
    request = send(web)
    poll_until(web.base, lambda: contexts)
    server.unregister("Echo")
    assert send(web).wait(DEADLINE).status == 404
    handle.close()
    contexts[0].resume()
    assert bytes(request.wait(DEADLINE).body) == bytes(HELLO)


@pytest.mark.parametrize("what", ["close", "resume"])
def test_another_thread_is_refused(web: http.Server, server: rpc.Server, what: str) -> None:
    """While the loop runs, and nothing is done; also while the hook runs that may pause."""
    server.register("Echo", Ask, Told, echo)
    errors: list[BaseException] = []

    def attempt(call: Any) -> None:
        try:
            call()
        except Exception as error:
            errors.append(error)

    def ask(context: rpc.HookContext) -> None:
        thread = threading.Thread(target=attempt, args=(server.close if what == "close" else context.resume,))
        thread.start()
        thread.join(DEADLINE)

    server.add_hook(HookType.INPUT, ask)
    assert send(web).wait(DEADLINE).status == 200
    assert [type(error) for error in errors] == [WrongThreadError]
    assert not server.closed


def test_a_hook_that_resumes_without_pausing(web: http.Server, server: rpc.Server) -> None:
    """Resumes nothing: the next hook pauses all the same."""
    server.register("Echo", Ask, Told, echo)
    contexts: list[rpc.HookContext] = []

    def pause(context: rpc.HookContext) -> HookResult:
        contexts.append(context)
        return HookResult.PAUSE

    server.add_hook(HookType.INPUT, lambda context: context.resume())
    server.add_hook(HookType.INPUT, pause)
    request = send(web)
    poll_until(web.base, lambda: contexts)
    for _ in range(3):
        web.base.poll(0.01)
    assert not request.done
    contexts[0].resume()
    assert request.wait(DEADLINE).status == 200


def test_a_message_that_cannot_be_read(plain_base: EventBase, caplog: pytest.LogCaptureFixture) -> None:
    """Because its class is wrong: the call fails, also after a pause, and it is logged."""

    class Wrong(rpc.Message):
        inner: Any = rpc.struct(1, lambda: missing)  # type: ignore[name-defined]  # noqa: F821

    web = http.Server(plain_base)
    web.bind(("127.0.0.1", 0))
    server = rpc.Server(web)
    server.register("Echo", Wrong, Ask, lambda call: call.fail())
    assert send(web).wait(DEADLINE).status in (500, 503)

    def pause(context: rpc.HookContext) -> HookResult:
        plain_base.call_soon(context.resume)
        return HookResult.PAUSE

    server.add_hook(HookType.INPUT, pause)
    assert send(web).wait(DEADLINE).status == 503
    assert "missing" in caplog.text
    web.close()


def test_virtual_hosts(base: EventBase) -> None:
    """Each host has its own calls, and ends alone."""
    with http.Server(base) as web, http.Server(base) as host:
        web.bind(("127.0.0.1", 0))
        web.add_virtual_host("other.example", host)
        rpc.Server(web).register("Echo", Ask, Told, echo)
        other = rpc.Server(host)
        other.register("Other", Ask, Told, echo)
        for name, host_name, status in [
            ("Echo", "x", 200),
            ("Other", "x", 404),
            ("Echo", "other.example", 404),
            ("Other", "other.example", 200),
        ]:
            assert send(web, name, Host=host_name).wait(DEADLINE).status == status
        other.close()
        assert send(web, "Other", Host="other.example").wait(DEADLINE).status == 404


@pytest.mark.skipif(not util.features()["tls"], reason="this build has no TLS")
def test_over_tls(web: http.Server, server: rpc.Server, certificates: Certificates) -> None:
    """A pool speaks it when its connections do."""
    from libevent_cffi.tls import TLSContext

    server.register("Echo", Ask, Told, echo)
    bound = web.bind(
        ("127.0.0.1", 0), tls=TLSContext.server(certificates("server.pem"), certificates("server.key"))
    )
    context = TLSContext(ca=certificates("ca.pem"))
    connection = http.Connection(web.base, bound.address, tls=context, server_hostname="localhost")
    with rpc.Pool(web.base, connection) as pool:
        assert pool.call("Echo", HELLO, Told).wait(DEADLINE) == Told(text="hello")


@pytest.mark.parametrize("first", ["rpc", "web", "base"])
def test_closed_in_any_order(web: http.Server, server: rpc.Server, first: str) -> None:
    """Each of them, twice, and handlers are let go of."""
    server.register("Echo", Ask, Told, echo)
    owners = {"rpc": server, "web": web, "base": web.base}
    owners.pop(first).close()  # type: ignore[attr-defined]
    assert server.closed
    for owner in (server, *owners.values(), server):
        owner.close()  # type: ignore[attr-defined]
    with pytest.raises(ClosedError):
        server.register("Other", Ask, Told, echo)
    with pytest.raises(ClosedError):
        rpc.Server(web)


def test_made_once(web: http.Server, server: rpc.Server) -> None:
    """A second __init__ would lose its calls."""
    with pytest.raises(RuntimeError, match="made already"):
        server.__init__(web)  # type: ignore[misc]
