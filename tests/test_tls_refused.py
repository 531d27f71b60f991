"""TLS handshakes that are refused, on both sides."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import Optional

import pytest
from certificates import Certificates
from conftest import Run
from tls_ends import TIMEOUT, End, client, meet, server, sockets

from libevent_cffi import EventBase
from libevent_cffi._native import lib
from libevent_cffi.bufferevent import BufferEvent
from libevent_cffi.errors import TLSError
from libevent_cffi.flags import TLSVersion
from libevent_cffi.tls import TLSContext

pytestmark = pytest.mark.skipif(not lib.LEV_HAS_TLS, reason="this build has no TLS")


# -- what is refused -----------------------------------------------------------------------------------------

REFUSED: dict[
    str, tuple[Callable[[Certificates], tuple[TLSContext, TLSContext]], str, Optional[int], str]
] = {
    "wrong authority": (
        lambda c: (client(c, ca=c("stranger.pem")), server(c)),
        "certificate verify failed",
        20,
        "tlsv1 alert unknown ca",
    ),
    "authority unknown to the system": (
        lambda c: (TLSContext(), server(c)),
        "certificate verify failed",
        20,
        "tlsv1 alert unknown ca",
    ),
    "wrong host": (
        lambda c: (client(c), server(c, "other")),
        "certificate verify failed",
        62,
        "sslv3 alert bad certificate",
    ),
    "expired": (
        lambda c: (client(c), server(c, "expired")),
        "certificate verify failed",
        10,
        "sslv3 alert certificate expired",
    ),
    "no shared version": (
        lambda c: (
            client(c, maximum_version=TLSVersion.TLSv1_2),
            server(c, minimum_version=TLSVersion.TLSv1_3),
        ),
        "tlsv1 alert protocol version",
        None,
        "unsupported protocol",
    ),
    "no shared protocol": (
        lambda c: (client(c, alpn=["h2"]), server(c, alpn=["http/1.1"])),
        "tlsv1 alert no application protocol",
        None,
        "no application protocol",
    ),
    "no client certificate": (
        lambda c: (client(c), server(c, ca=c("ca.pem"), verify=True)),
        "tlsv13 alert certificate required",
        None,
        "peer did not return a certificate",
    ),
    "wrong client certificate": (
        lambda c: (
            client(c, certificate=c("strange.pem"), key=c("strange.key")),
            server(c, ca=c("ca.pem"), verify="optional"),
        ),
        "tlsv1 alert unknown ca",
        None,
        "certificate verify failed",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_the_right_error(
    plain_base: EventBase, run: Run, certificates: Certificates, case: str
) -> None:
    """On both sides, in OpenSSL's words, and with the number of what is wrong with a certificate."""
    make, at_client, code, at_server = REFUSED[case]
    here, there = meet(plain_base, run, *make(certificates))
    assert isinstance(here.error, TLSError)
    assert isinstance(there.error, TLSError)
    assert at_client in here.error.reasons
    assert at_server in there.error.reasons
    assert here.error.verify_code == code
    assert at_client in str(here.error)
    if at_server == "certificate verify failed":
        assert there.error.verify_code == 20
    assert here.got == there.got == b""


def test_a_client_s_certificate_may_be_optional(
    plain_base: EventBase, run: Run, certificates: Certificates
) -> None:
    """With verify="optional" one without is welcome."""
    theirs = server(certificates, ca=certificates("ca.pem"), verify="optional")
    here, there = meet(plain_base, run, client(certificates), theirs)
    assert here.got == b"hello"
    assert there.layer["peer_certificate"] is None
    assert there.layer["peer_chain"] == ()


def test_what_is_not_verified_is_taken(plain_base: EventBase, run: Run, certificates: Certificates) -> None:
    """Another host with check_hostname=False, anything with verify=False."""
    ours = client(certificates, check_hostname=False)
    assert meet(plain_base, run, ours, server(certificates, "other"))[0].got == b"hello"
    ours = TLSContext(verify=False)
    assert meet(plain_base, run, ours, server(certificates, "expired"))[0].got == b"hello"


def test_a_name_is_needed_where_one_is_checked(plain_base: EventBase, certificates: Certificates) -> None:
    """A client over a socket has to say whom it means; without the check it need not."""
    one, other = sockets()
    with pytest.raises(ValueError, match="server_hostname"):
        BufferEvent(plain_base, one, tls=client(certificates))
    assert one.fileno() >= 0
    with pytest.raises(ValueError, match="server_hostname"):
        BufferEvent(plain_base, one, tls=server(certificates), server_hostname="localhost")
    with pytest.raises(ValueError, match="server_hostname"):
        BufferEvent(plain_base, one, server_hostname="localhost")
    for name in ("", "a\0b", "x" * 300, "."):
        with pytest.raises(ValueError, match="server_hostname"):
            BufferEvent(plain_base, one, tls=client(certificates), server_hostname=name)
    with pytest.raises(TypeError, match="tls"):
        BufferEvent(plain_base, one, tls=ssl.create_default_context())  # type: ignore[arg-type]
    BufferEvent(plain_base, one, tls=client(certificates, check_hostname=False)).close()
    other.close()


def test_a_failure_that_is_not_tls_s_is_an_os_error(
    plain_base: EventBase, run: Run, certificates: Certificates
) -> None:
    """Nobody listens; or the connection is reset."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        here = End(plain_base, None, client(certificates))
        here.bev.connect(bound.getsockname())
        run(plain_base)
    assert isinstance(here.error, ConnectionRefusedError), here.error
    one, other = sockets()
    here = End(plain_base, one, client(certificates), server_hostname="localhost")
    other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    plain_base.call_later(0.01, other.close)
    run(plain_base)
    assert isinstance(here.error, ConnectionResetError), here.error


def test_a_peer_that_speaks_no_tls_is_refused(
    plain_base: EventBase, run: Run, certificates: Certificates
) -> None:
    """In OpenSSL's words."""
    one, other = sockets()
    here = End(plain_base, one, server(certificates))
    other.sendall(b"GET / HTTP/1.0\r\n\r\n")
    run(plain_base)
    assert isinstance(here.error, TLSError)
    assert "http request" in here.error.reasons
    other.close()


def test_a_handshake_that_takes_too_long_is_a_timeout(
    plain_base: EventBase, run: Run, certificates: Certificates
) -> None:
    """The read timeout counts from the start."""
    one, other = sockets()
    here = End(plain_base, one, server(certificates), read_timeout=0.05)
    run(plain_base)
    assert [what & TIMEOUT for what in here.told] == [TIMEOUT]
    assert here.bev.closed
    other.close()
