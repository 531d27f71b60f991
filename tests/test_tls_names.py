"""A TLS server that chooses by the name it is asked for, and sessions that are taken up again."""

from __future__ import annotations

import gc
import socket
import ssl
from typing import Any, Optional

import pytest
from certificates import Certificates
from conftest import Run
from tls_ends import End, client, meet, server, sockets
from tls_peers import Thread

from libevent_cffi import EventBase
from libevent_cffi._native import lib
from libevent_cffi.errors import TLSError
from libevent_cffi.flags import TLSVersion
from libevent_cffi.tls import TLSContext

pytestmark = pytest.mark.skipif(not lib.LEV_HAS_TLS, reason="this build has no TLS")


# -- on_server_name ------------------------------------------------------------------------------------------


def test_on_server_name_chooses_the_context(
    plain_base: EventBase, run: Run, certificates: Certificates
) -> None:
    """All of it: certificate, versions, protocols and whom it trusts; None is the one at hand."""
    asked: list[Optional[str]] = []
    other = server(
        certificates,
        "other",
        alpn=["other"],
        maximum_version=TLSVersion.TLSv1_2,
        ca=certificates("ca.pem"),
        verify="optional",
    )

    def choose(name: Optional[str]) -> Optional[TLSContext]:
        asked.append(name)
        return other if name == "other.example" else None

    theirs = server(certificates, alpn=["first"], on_server_name=choose)
    ours = client(
        certificates,
        alpn=["other", "first"],
        certificate=certificates("client.pem"),
        key=certificates("client.key"),
    )
    here, there = meet(plain_base, run, ours, theirs, name="other.example")
    assert here.error is None
    assert here.layer["peer_certificate"] == certificates.der("other")
    assert (here.layer["alpn"], here.layer["version"]) == ("other", "TLSv1.2")
    assert there.layer["peer_certificate"] == certificates.der("client")
    assert there.layer["server_name"] == "other.example"
    here, there = meet(plain_base, run, ours, theirs, name="localhost")
    assert here.layer["peer_certificate"] == certificates.der("server")
    assert (here.layer["alpn"], here.layer["version"]) == ("first", "TLSv1.3")
    assert there.layer["peer_certificate"] is None
    assert meet(plain_base, run, ours, theirs, name="127.0.0.1")[0].error is None
    assert asked == ["other.example", "localhost", None]


def test_what_on_server_name_raises_is_raised_by_dispatch(
    base: EventBase, run: Run, certificates: Certificates
) -> None:
    """The handshake fails, both sides hear of it, and the loop can go on."""

    def choose(name: Optional[str]) -> None:
        raise LookupError(name)

    one, other = sockets()
    there = End(base, other, server(certificates, on_server_name=choose))
    here = End(base, one, client(certificates), server_hostname="localhost")
    with pytest.raises(LookupError, match="localhost"):
        run(base)
    run(base)
    assert isinstance(there.error, TLSError)
    assert isinstance(here.error, TLSError)
    assert "tlsv1 alert internal error" in here.error.reasons


def test_error_handler_may_take_it(plain_base: EventBase, run: Run, certificates: Certificates) -> None:
    """With the context as the source."""
    taken: list[tuple[Exception, object]] = []
    plain_base.error_handler = lambda error, source: taken.append((error, source))
    theirs = server(certificates, on_server_name=lambda name: 1 / 0)  # type: ignore[arg-type, return-value]
    here, _ = meet(plain_base, run, client(certificates), theirs)
    assert isinstance(here.error, TLSError)
    assert isinstance(taken[0][0], ZeroDivisionError)
    assert taken[0][1] is theirs


@pytest.mark.parametrize("wrong", [1, "client"])
def test_on_server_name_must_return_a_server_s_context(
    plain_base: EventBase, run: Run, certificates: Certificates, wrong: object
) -> None:
    """Anything else is a TypeError, and the handshake fails."""
    answer = client(certificates) if wrong == "client" else wrong
    theirs = server(certificates, on_server_name=lambda name: answer)  # type: ignore[arg-type, return-value]
    one, other = sockets()
    there = End(plain_base, other, theirs)
    here = End(plain_base, one, client(certificates), server_hostname="localhost")
    with pytest.raises(TypeError, match="on_server_name must return"):
        run(plain_base)
    run(plain_base)
    assert here.error
    assert there.error


@pytest.mark.parametrize("what", ["connection", "base", "drop"])
def test_on_server_name_may_close_everything(run: Run, certificates: Certificates, what: str) -> None:
    """The connection whose handshake it is, and the base, with the client on it."""
    base = EventBase()
    ends: list[End] = []

    def choose(name: Optional[str]) -> None:
        if what == "connection":
            ends[0].bev.close()
        elif what == "base":
            base.close()
        else:
            ends.clear()
            gc.collect()

    one, other = sockets()
    ends.append(End(base, other, server(certificates, on_server_name=choose)))
    here = End(base, one, client(certificates), server_hostname="localhost", sends=b"x", expects=0)
    if what == "drop":
        base.call_later(0.1, here.bev.close)
    run(base)
    if what == "connection":
        assert here.error is not None
    base.close()


# -- sessions ------------------------------------------------------------------------------------------------


def resume(
    base: EventBase, run: Run, certificates: Certificates, first: TLSContext, second: TLSContext, version: int
) -> list[bool]:
    """Have Python's client come to *first* and again to *second*; return what the servers say of it."""
    context = ssl.create_default_context(cafile=certificates("ca.pem"))
    context.maximum_version = ssl.TLSVersion(version)
    session: Any = None
    reused = []

    def talk(sock: socket.socket) -> Any:
        sock.settimeout(20)
        tls = context.wrap_socket(sock, server_hostname="localhost", session=session)
        tls.sendall(b"x")
        assert tls.recv(1) == b"x"
        found = tls.session
        tls.unwrap().close()
        return found

    for theirs in (first, second):
        one, other = sockets()
        there = End(base, other, theirs, echoes=True)
        peer = Thread(talk, one)
        run(base)
        session = peer.finish()
        reused.append(there.layer["session_reused"])
    return reused


@pytest.mark.parametrize("version", list(TLSVersion))
def test_a_client_comes_back_with_a_shorter_handshake(
    plain_base: EventBase, run: Run, certificates: Certificates, version: int
) -> None:
    """By a ticket, unless the server makes none."""
    theirs = server(certificates)
    assert resume(plain_base, run, certificates, theirs, theirs, version) == [False, True]
    without = server(certificates, session_tickets=False)
    assert resume(plain_base, run, certificates, without, without, version) == [False, False]


@pytest.mark.parametrize("version", list(TLSVersion))
def test_a_session_of_one_context_is_none_of_another(
    plain_base: EventBase, run: Run, certificates: Certificates, version: int
) -> None:
    """Also where on_server_name chooses: what one has verified proves nothing to the other."""
    chosen: list[TLSContext] = []
    theirs = server(certificates, on_server_name=lambda name: chosen.pop() if chosen else None)
    assert resume(plain_base, run, certificates, theirs, theirs, version) == [False, True]
    other = server(certificates, ca=certificates("ca.pem"), verify="optional")
    one = server(certificates)
    chosen += [other, one]
    assert resume(plain_base, run, certificates, theirs, theirs, version) == [False, False]
    chosen += [one, one]
    assert resume(plain_base, run, certificates, theirs, theirs, version) == [False, True]
