"""TLS leaves nothing behind, survives whatever is done to it, and keeps processes apart."""

from __future__ import annotations

import gc
import os
import socket
import sys
import time
import weakref
from collections.abc import Callable
from typing import Any, Optional

import pytest
from certificates import Certificates
from conftest import output_of
from tls_peers import Thread, python_client

from libevent_cffi import READ, BufferEvent, BufferEventFlag, EventBase, lowlevel, util
from libevent_cffi._native import lib
from libevent_cffi.bufferevent import RateLimit, RateLimitGroup
from libevent_cffi.errors import ClosedError, TLSError, WrongThreadError
from libevent_cffi.tls import TLSContext

pytestmark = pytest.mark.skipif(not lib.LEV_HAS_TLS, reason="this build has no TLS")

Run = Callable[..., None]
CONNECTED, EOF, ERROR = BufferEventFlag.CONNECTED, BufferEventFlag.EOF, BufferEventFlag.ERROR


def sockets() -> tuple[socket.socket, socket.socket]:
    one, other = socket.socketpair()
    for sock in (one, other):
        sock.setblocking(False)
    return one, other


def contexts(certificates: Certificates, **keywords: Any) -> tuple[TLSContext, TLSContext]:
    """Return a client's and a server's."""
    theirs = TLSContext.server(certificates("server.pem"), certificates("server.key"), **keywords)
    return TLSContext(ca=certificates("ca.pem")), theirs


def ending(bev: BufferEvent, what: BufferEventFlag, error: Optional[Exception]) -> None:
    """Say something when connected, and end it at anything else."""
    if what & CONNECTED:
        bev.write(b"x" * 1000)
        bev.write_eof()
    else:
        bev.close()


def talk(base: EventBase, ours: TLSContext, theirs: TLSContext) -> None:
    one, other = sockets()
    BufferEvent(base, one, tls=ours, server_hostname="localhost", on_event=ending)
    BufferEvent(base, other, tls=theirs, on_event=ending)
    base.dispatch()


def fail(base: EventBase, ours: TLSContext, theirs: TLSContext) -> None:
    one, other = sockets()
    BufferEvent(base, one, tls=ours, server_hostname="other.example", on_event=ending)
    BufferEvent(base, other, tls=theirs)
    base.dispatch()


def close_early(base: EventBase, ours: TLSContext, theirs: TLSContext) -> None:
    one, other = sockets()
    ends = [
        BufferEvent(base, one, tls=ours, server_hostname="localhost"),
        BufferEvent(base, other, tls=theirs),
    ]
    base.poll(0.0)
    for end in ends:
        end.close()
    base.dispatch()


def drop(base: EventBase, ours: TLSContext, theirs: TLSContext) -> None:
    one, other = sockets()
    BufferEvent(base, one, tls=ours, server_hostname="localhost", enabled=0)
    other.close()
    base.dispatch()


def start_late(base: EventBase, ours: TLSContext, theirs: TLSContext) -> None:
    one, other = sockets()
    BufferEvent(base, one, on_event=ending).start_tls(ours, server_hostname="localhost")
    BufferEvent(base, other, on_event=ending).start_tls(theirs)
    base.dispatch()


def refuse(base: EventBase, ours: TLSContext, theirs: TLSContext) -> None:
    one, other = sockets()
    with pytest.raises(ValueError, match="server_hostname"):
        BufferEvent(base, one, tls=ours)
    one.close()
    other.close()


@pytest.mark.parametrize("do", [talk, fail, close_early, drop, start_late, refuse])
def test_what_is_done_again_and_again_leaves_nothing(
    certificates: Certificates, do: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    """No block of C's, no descriptor, and no memory of OpenSSL's, which nobody counts."""
    ours, theirs = contexts(certificates)
    counts = []
    with EventBase() as base:
        for rounds in (20, 60, 60):
            for _ in range(rounds):
                do(base, ours, theirs)
            caplog.clear()
            gc.collect()
            gc.collect()
            base.poll(0.0)
            fds = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
            # Debug mode keeps an entry for each event that a bufferevent ever had.
            blocks = 0 if lib.lev_debug_mode_on else util.memory_counters().blocks
            counts.append((blocks, fds))
    assert counts[1] == counts[2]


def test_a_dropped_base_ends_its_connections(certificates: Certificates) -> None:
    """During a handshake, and after it."""
    ours, theirs = contexts(certificates)

    def make(passes: int) -> weakref.ref[EventBase]:
        base = EventBase()
        one, other = sockets()
        BufferEvent(base, one, tls=ours, server_hostname="localhost")
        BufferEvent(base, other, tls=theirs)
        for _ in range(passes):
            base.poll(0.001)
        return weakref.ref(base)

    for passes in (0, 1, 2, 20):
        reference = make(passes)
        for _ in range(4):
            gc.collect()
        assert reference() is None


def test_the_context_may_go_before_its_connections(
    plain_base: EventBase, run: Run, certificates: Certificates
) -> None:
    """A connection keeps what it needs, on_server_name too."""
    names: list[Optional[str]] = []
    one, other = sockets()
    ours, theirs = contexts(certificates, on_server_name=names.append)
    BufferEvent(plain_base, one, tls=ours, server_hostname="localhost", on_event=ending)
    BufferEvent(plain_base, other, tls=theirs, on_event=ending)
    del ours, theirs
    gc.collect()
    run(plain_base)
    assert names == ["localhost"]


@pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt, SystemExit, RecursionError, MemoryError])
def test_whatever_on_server_name_raises(
    plain_base: EventBase, run: Run, certificates: Certificates, error: type[BaseException]
) -> None:
    """It comes out of dispatch(), once, and the loop can go on."""
    calls: list[Optional[str]] = []

    def choose(name: Optional[str]) -> None:
        calls.append(name)
        raise error

    ours, theirs = contexts(certificates, on_server_name=choose)
    one, other = sockets()
    BufferEvent(plain_base, one, tls=ours, server_hostname="localhost")
    BufferEvent(plain_base, other, tls=theirs)
    with pytest.raises(error):
        run(plain_base)
    run(plain_base)
    assert calls == ["localhost"]


def test_the_pointer_of_a_layer(plain_base: EventBase, certificates: Certificates) -> None:
    """For those who know what to do with it, until the connection is closed."""
    ours, _ = contexts(certificates)
    one, other = sockets()
    bev = BufferEvent(plain_base, one, tls=ours, server_hostname="localhost")
    layer = bev.tls
    found = lowlevel.pointer(layer)
    assert lowlevel.tls_ffi.typeof(found) is lowlevel.tls_ffi.typeof("struct ssl_st *")
    bev.close()
    with pytest.raises(ClosedError):
        lowlevel.pointer(layer)
    other.close()


def test_another_thread_is_refused(plain_base: EventBase, certificates: Certificates) -> None:
    """While the base is dispatched, its layers belong to that thread."""
    ours, _ = contexts(certificates)
    one, other = sockets()
    bev = BufferEvent(plain_base, one, tls=ours, server_hostname="localhost")
    layer = bev.tls
    assert layer is not None

    def look() -> None:
        try:
            with pytest.raises(WrongThreadError):
                _ = layer.version
            with pytest.raises(WrongThreadError):
                layer.allow_dirty_shutdown = True
        finally:
            plain_base.loop_break()

    started: list[Thread] = []
    plain_base.call_later(0, lambda: started.append(Thread(look)))
    plain_base.dispatch()
    started[0].finish()
    bev.close()
    other.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_says_no_goodbye_for_its_parent(
    plain_base: EventBase, run: Run, certificates: Certificates
) -> None:
    """It closes its copy in silence, and the parent's connection goes on."""
    _, theirs = contexts(certificates)
    one, other = sockets()
    there = BufferEvent(plain_base, other, tls=theirs)
    tls = python_client(certificates, one)

    def peer() -> bytes:
        with tls:
            tls.sendall(b"a")
            got = tls.recv(1)
            tls.sendall(b"b")
            assert tls.recv(1) == b"!"
            tls.unwrap()
            return got

    def on_read(bev: BufferEvent) -> None:
        if bev.read() == b"b":
            bev.write(b"!")
        else:
            plain_base.loop_exit()

    there.on_read = on_read
    thread = Thread(peer)
    run(plain_base)
    pid = os.fork()
    if pid == 0:
        try:
            there.close()
            plain_base.close()
        finally:
            os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    there.write(b"y")
    run(plain_base)
    assert thread.finish() == b"y"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_inside_of_on_server_name(plain_base: EventBase, run: Run, certificates: Certificates) -> None:
    """The child's handshake reaches nobody; the parent's goes on."""
    code = f"""if True:
        import os, socket, sys
        sys.path.insert(0, {os.path.dirname(os.path.abspath(__file__))!r})
        from libevent_cffi import BufferEvent, EventBase
        from libevent_cffi.errors import ClosedError
        from libevent_cffi.tls import TLSContext

        def choose(name):
            if os.fork() == 0:
                children.append(True)
            else:
                assert os.wait()[1] == 0

        children = []
        pem = {certificates.text("server.pem", "server.key")!r}
        theirs = TLSContext.server(pem, on_server_name=choose)
        ours = TLSContext(ca={certificates("ca.pem")!r})
        one, other = socket.socketpair()
        told = []
        def on_event(bev, what, error):
            told.append(str(what))
            bev.close()
        base = EventBase()
        here = BufferEvent(base, one, tls=ours, server_hostname="localhost", on_event=on_event)
        there = BufferEvent(base, other, tls=theirs)
        try:
            base.dispatch()
        except ClosedError as error:
            assert children and "forked" in str(error)
            os._exit(0)
        assert not children
        print(told)
    """
    assert output_of(code) == "['CONNECTED']\n"


@pytest.mark.skipif(sys.platform == "win32", reason="needs sendfile")
def test_a_file_goes_over_tls_as_it_is(
    plain_base: EventBase, run: Run, certificates: Certificates, tmp_path: Any
) -> None:
    """It is read, not sent by the kernel past TLS."""
    data = os.urandom(700_000)
    path = tmp_path / "file"
    path.write_bytes(data)
    ours, theirs = contexts(certificates)
    one, other = sockets()
    got = bytearray()
    there = BufferEvent(plain_base, other, tls=theirs, on_read=lambda bev: got.extend(bev.read()))
    here = BufferEvent(plain_base, one, tls=ours, server_hostname="localhost")
    with path.open("rb") as file:
        here.sendfile(file, offset=100)
    here.close(flush=True)
    run(plain_base)
    assert got == data[100:]
    assert there.closed


def test_an_error_of_tls_can_be_pickled() -> None:
    """With its reasons and its code."""
    import pickle

    error = pickle.loads(pickle.dumps(TLSError("TLS: x", reasons=("x",), verify_code=20)))
    assert (str(error), error.reasons, error.verify_code) == ("TLS: x", ("x",), 20)


@pytest.mark.parametrize("how", ["from the start", "later", "by Python"])
def test_a_reader_that_is_slow_makes_the_writer_wait(
    plain_base: EventBase, certificates: Certificates, how: str
) -> None:
    """on_write is not told while what was written cannot be sent, however much more there is."""
    import ssl

    ours, theirs = contexts(certificates)
    if how == "by Python":
        ours = TLSContext.from_ssl_context(ssl.create_default_context(cafile=certificates("ca.pem")))
    one, other = sockets()
    written: list[int] = []

    def on_write(bev: BufferEvent) -> None:
        while len(bev.output) < 65536:
            written.append(32768)
            bev.write(bytes(32768))
            assert len(written) < 200, "it takes whatever it gets"

    def stop_reading(bev: BufferEvent, what: BufferEventFlag, error: Optional[Exception]) -> None:
        bev.disable(READ)

    def begin(bev: BufferEvent, what: BufferEventFlag, error: Optional[Exception]) -> None:
        bev.on_write = on_write
        on_write(bev)

    if how == "later":
        there = BufferEvent(plain_base, other).start_tls(theirs)
        here = BufferEvent(plain_base, one).start_tls(ours, server_hostname="localhost")
    else:
        there = BufferEvent(plain_base, other, tls=theirs)
        here = BufferEvent(plain_base, one, tls=ours, server_hostname="localhost")
    there.on_event, here.on_event = stop_reading, begin
    seen = -1
    while not written or seen != len(written):
        seen = len(written)
        for _ in range(20):
            plain_base.poll(0.005)
    here.close()
    there.close()


@pytest.mark.parametrize("limited", ["read", "write"])
def test_a_rate_limit_holds_under_tls(
    plain_base: EventBase, run: Run, certificates: Certificates, limited: str
) -> None:
    """Also for one large write, which would else be sent in one go; and for reading."""
    ours, theirs = contexts(certificates)
    one, other = sockets()
    got = bytearray()
    limit = RateLimit(**{f"{limited}_rate": 400_000, f"{limited}_burst": 40_000})
    there = BufferEvent(plain_base, other, tls=theirs, on_read=lambda bev: got.extend(bev.read()))
    here = BufferEvent(plain_base, one, tls=ours, server_hostname="localhost")
    (here if limited == "write" else there).rate_limit = limit
    here.write(bytes(240_000))
    here.close(flush=True)
    start = time.monotonic()
    run(plain_base)
    assert len(got) == 240_000
    assert time.monotonic() - start > 0.35


def test_a_rate_limit_has_to_have_room_for_a_record(
    plain_base: EventBase, certificates: Certificates
) -> None:
    """For one connection and in a group; what was set before stays."""
    ours, theirs = contexts(certificates)
    one, other = sockets()
    bev = BufferEvent(plain_base, one, tls=ours, server_hostname="localhost")
    small, enough = RateLimit(read_rate=1000), RateLimit(read_rate=20_000, write_rate=20_000)
    bev.rate_limit = enough
    with pytest.raises(ValueError, match="16384"):
        bev.rate_limit = small
    assert bev.rate_limit == enough
    with pytest.raises(ValueError, match="16384"):
        RateLimitGroup(plain_base, small).add(bev)
    group = RateLimitGroup(plain_base, enough)
    group.add(bev)
    with pytest.raises(ValueError, match="16384"):
        group.limit = small
    assert group.limit == enough
    later = BufferEvent(plain_base, other, read_timeout=5.0, write_timeout=6.0, rate_limit=enough)
    above = later.start_tls(theirs)
    assert (above.read_timeout, above.write_timeout, above.rate_limit) == (5.0, 6.0, enough)
    above.close()
    bev.close()
