"""TLS connections: handshakes, what is refused, data, ends, and what a layer tells, against several peers."""

from __future__ import annotations

import gc
import hashlib
import os
import socket
import ssl
from collections.abc import Callable
from typing import Any, Optional

import pytest
from certificates import Certificates
from tls_peers import SClient, Thread, python_client, python_server, s_server

from libevent_cffi import BufferEventFlag, EventBase, Listener
from libevent_cffi._native import lib
from libevent_cffi.bufferevent import BufferEvent
from libevent_cffi.errors import ClosedError, FeatureUnavailableError, TLSError
from libevent_cffi.flags import READ, WRITE, TLSState, TLSVersion
from libevent_cffi.tls import TLSContext

pytestmark = pytest.mark.skipif(not lib.LEV_HAS_TLS, reason="this build has no TLS")

Run = Callable[..., None]
CONNECTED, EOF, ERROR, TIMEOUT = (
    BufferEventFlag.CONNECTED,
    BufferEventFlag.EOF,
    BufferEventFlag.ERROR,
    BufferEventFlag.TIMEOUT,
)


class End:
    """One end of a connection: what it got and was told; it sends *sends* when it is connected."""

    def __init__(
        self,
        base: EventBase,
        sock: Optional[socket.socket],
        context: TLSContext,
        *,
        sends: bytes = b"",
        echoes: bool = False,
        expects: int = -1,
        **keywords: Any,
    ) -> None:
        self.got = bytearray()
        self.told: list[BufferEventFlag] = []
        self.error: Optional[Exception] = None
        self.layer: dict[str, Any] = {}
        self._sends, self._echoes, self._expects = sends, echoes, expects
        self.bev = BufferEvent(
            base, sock, tls=context, on_read=self._on_read, on_event=self._on_event, **keywords
        )

    def _on_read(self, bev: BufferEvent) -> None:
        data = bev.read()
        self.got += data
        if self._echoes:
            bev.write(data)
        if len(self.got) == self._expects:
            bev.write_eof()

    def _on_event(self, bev: BufferEvent, what: BufferEventFlag, error: Optional[Exception]) -> None:
        self.told.append(what)
        if what & CONNECTED:
            self.layer = {name: getattr(bev.tls, name) for name in LAYER}
            bev.write(self._sends)
        if what & ERROR:
            self.error = error
            bev.close()
        elif what & (EOF | TIMEOUT):
            bev.close(flush=True)


LAYER = (
    "state",
    "version",
    "cipher",
    "alpn",
    "server_name",
    "peer_certificate",
    "peer_chain",
    "session_reused",
)


def client(certificates: Certificates, **keywords: Any) -> TLSContext:
    return TLSContext(**{"ca": certificates("ca.pem"), **keywords})


def server(certificates: Certificates, name: str = "server", **keywords: Any) -> TLSContext:
    return TLSContext.server(certificates(f"{name}.pem"), certificates(f"{name}.key"), **keywords)


def sockets() -> tuple[socket.socket, socket.socket]:
    """Return two sockets that do not block, connected by TCP."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        one = socket.create_connection(listening.getsockname())
        other = listening.accept()[0]
    for sock in (one, other):
        sock.setblocking(False)
    return one, other


def meet(
    base: EventBase,
    run: Run,
    ours: TLSContext,
    theirs: TLSContext,
    *,
    name: str = "localhost",
    data: bytes = b"hello",
) -> tuple[End, End]:
    """Have a client send *data* to a server that sends it back, until both have ended; return both."""
    one, other = sockets()
    there = End(base, other, theirs, echoes=True)
    here = End(base, one, ours, server_hostname=name, sends=data, expects=len(data))
    run(base)
    return here, there


# -- what goes well ------------------------------------------------------------------------------------------


def test_data_goes_both_ways_and_both_ends_end(base: EventBase, run: Run, certificates: Certificates) -> None:
    """Over sockets that are connected already, on every method."""
    data = os.urandom(200_000)
    here, there = meet(base, run, client(certificates), server(certificates), data=data)
    assert here.told == [CONNECTED, EOF | BufferEventFlag.READING] == there.told
    assert bytes(here.got) == data == bytes(there.got)
    assert here.bev.closed
    assert there.bev.closed


def test_what_a_layer_tells_after_the_handshake(
    plain_base: EventBase, run: Run, certificates: Certificates
) -> None:
    """Version, cipher, names and certificates, on both sides."""
    ours = client(certificates, certificate=certificates("client.pem"), key=certificates("client.key"))
    theirs = server(certificates, ca=certificates("ca.pem"), verify=True)
    here, there = meet(plain_base, run, ours, theirs)
    for layer in (here.layer, there.layer):
        assert layer["state"] is TLSState.OPEN
        assert layer["version"] == "TLSv1.3"
        assert layer["cipher"].startswith("TLS_")
        assert layer["alpn"] is None
        assert layer["server_name"] == "localhost"
        assert layer["session_reused"] is False
    assert here.layer["peer_certificate"] == certificates.der("server")
    assert there.layer["peer_certificate"] == certificates.der("client")
    for layer, name in ((here.layer, "server"), (there.layer, "client")):
        assert layer["peer_chain"][0] == certificates.der(name)
        assert set(layer["peer_chain"]) <= {certificates.der(name), certificates.der("ca")}


def test_what_a_layer_tells_before_the_handshake(plain_base: EventBase, certificates: Certificates) -> None:
    """Nothing that the handshake settles; and after close() nothing at all."""
    ours, theirs = client(certificates), server(certificates)
    one, other = sockets()
    here = BufferEvent(plain_base, one, tls=ours, server_hostname="localhost")
    there = BufferEvent(plain_base, other, tls=theirs)
    layer = here.tls
    assert layer is not None
    assert there.tls is not None
    assert (layer.state, there.tls.state) == (TLSState.CONNECTING, TLSState.ACCEPTING)
    assert (layer.context, there.tls.context) == (ours, theirs)
    assert (layer.server_name, there.tls.server_name) == ("localhost", None)
    for each in (layer, there.tls):
        assert [each.version, each.cipher, each.alpn, each.peer_certificate] == [None] * 4
        assert each.peer_chain == ()
        assert not each.session_reused
    assert repr(layer) == "<TLSLayer connecting>"
    here.close()
    there.close()
    for name in (*LAYER, "allow_dirty_shutdown"):
        with pytest.raises(ClosedError):
            getattr(layer, name)
    with pytest.raises(ClosedError):
        layer.renegotiate()
    with pytest.raises(ClosedError):
        layer.allow_dirty_shutdown = True
    assert repr(layer) == "<TLSLayer closed>"
    assert layer.context is ours
    with pytest.raises(TypeError, match="made by its connection"):
        type(layer)()


@pytest.mark.parametrize("version", list(TLSVersion))
def test_either_version(
    plain_base: EventBase, run: Run, certificates: Certificates, version: TLSVersion
) -> None:
    """The newest that both sides have, within what their contexts allow."""
    ours = client(certificates, maximum_version=version)
    here, there = meet(plain_base, run, ours, server(certificates))
    assert here.layer["version"] == there.layer["version"] == str(version).replace("_", ".")
    assert here.got == b"hello"


def test_ciphers_are_those_that_the_context_allows(
    plain_base: EventBase, run: Run, certificates: Certificates
) -> None:
    """By a list for TLS 1.2, and another one for 1.3."""
    ours = client(certificates, ciphersuites="TLS_AES_128_GCM_SHA256")
    assert meet(plain_base, run, ours, server(certificates))[0].layer["cipher"] == "TLS_AES_128_GCM_SHA256"
    name = "ECDHE-ECDSA-AES128-GCM-SHA256"
    theirs = server(certificates, ciphers=name, maximum_version=TLSVersion.TLSv1_2)
    assert meet(plain_base, run, client(certificates), theirs)[1].layer["cipher"] == name


def test_alpn_takes_the_server_s_first_choice(
    plain_base: EventBase, run: Run, certificates: Certificates
) -> None:
    """None where the client offers nothing, or the server knows nothing."""
    for offered, spoken, chosen in (
        (["h2", "http/1.1"], ["http/1.1", "h2"], "http/1.1"),
        (["spdy", "h2"], ["http/1.1", "h2"], "h2"),
        ([], ["h2"], None),
        (["h2"], [], None),
    ):
        here, there = meet(
            plain_base, run, client(certificates, alpn=offered), server(certificates, alpn=spoken)
        )
        assert here.layer["alpn"] == there.layer["alpn"] == chosen


def test_an_address_is_verified_but_not_sent_as_a_name(
    plain_base: EventBase, run: Run, certificates: Certificates
) -> None:
    """The certificate has it as an address."""
    for name in ("127.0.0.1", "::1"):
        here, there = meet(plain_base, run, client(certificates), server(certificates), name=name)
        assert here.error is None
        assert there.layer["server_name"] is None
        assert here.got == b"hello"


def test_a_dot_at_a_name_s_end_and_capitals_make_no_difference(
    plain_base: EventBase, run: Run, certificates: Certificates
) -> None:
    """As in DNS."""
    here, there = meet(plain_base, run, client(certificates), server(certificates), name="LocalHost.")
    assert here.error is None
    assert there.layer["server_name"] == "LocalHost"


def test_connect_makes_the_handshake_too(base: EventBase, run: Run, certificates: Certificates) -> None:
    """CONNECTED comes after it; the address connected to is what is verified."""
    ends: list[End] = []

    def on_accept(listener: Listener, sock: socket.socket, address: object) -> None:
        ends.append(End(base, sock, theirs, echoes=True))
        listener.close()

    theirs = server(certificates)
    listener = Listener(base, ("127.0.0.1", 0), on_accept)
    here = End(base, None, client(certificates), sends=b"x" * 100, expects=100)
    here.bev.connect(("127.0.0.1", listener.port))
    run(base)
    assert here.told == [CONNECTED, EOF | BufferEventFlag.READING]
    assert here.got == b"x" * 100


def test_what_is_written_before_the_handshake_is_sent_after_it(
    plain_base: EventBase, run: Run, certificates: Certificates
) -> None:
    """And close(flush=True) waits for both."""
    one, other = sockets()
    there = End(plain_base, other, server(certificates))
    here = BufferEvent(plain_base, one, tls=client(certificates), server_hostname="localhost")
    here.write(b"early" * 50_000)
    here.close(flush=True)
    assert here.closed
    run(plain_base)
    assert there.told == [CONNECTED, EOF | BufferEventFlag.READING]
    assert there.got == b"early" * 50_000


def test_what_is_disabled_during_the_handshake_waits_for_its_end(
    plain_base: EventBase, run: Run, certificates: Certificates
) -> None:
    """The handshake itself reads and writes all the same."""
    one, other = sockets()
    there = End(plain_base, other, server(certificates), sends=b"data")
    here = End(plain_base, one, client(certificates), server_hostname="localhost", enabled=0)
    plain_base.call_later(0.05, lambda: held.append(bytes(here.got)))
    plain_base.call_later(0.06, lambda: here.bev.enable(READ | WRITE))
    plain_base.call_later(0.07, here.bev.write_eof)
    held: list[bytes] = []
    run(plain_base)
    assert there.told[0] == CONNECTED
    assert held == [b""]
    assert here.got == b"data"


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


# -- ends ----------------------------------------------------------------------------------------------------


def test_each_side_may_end_its_sending_first(
    plain_base: EventBase, run: Run, certificates: Certificates
) -> None:
    """write_eof() says goodbye after the last byte, and the other direction goes on."""
    one, other = sockets()
    got = bytearray()

    def reply(bev: BufferEvent, what: BufferEventFlag, error: Optional[Exception]) -> None:
        if what & EOF:
            bev.write(b"reply" * 100_000)
            bev.write_eof()

    there = BufferEvent(plain_base, other, tls=server(certificates), on_event=reply)
    here = BufferEvent(
        plain_base,
        one,
        tls=client(certificates),
        server_hostname="localhost",
        on_read=lambda bev: got.extend(bev.read()),
    )
    here.write(b"request" * 100_000)
    here.write_eof()
    there.on_read = lambda bev: bev.read()
    run(plain_base)
    assert got == b"reply" * 100_000
    assert here.closed
    assert there.closed


ENDINGS: dict[str, Callable[[BufferEvent], object]] = {
    "close": lambda bev: bev.close(),
    "flush": lambda bev: bev.close(flush=True),
    "write_eof": lambda bev: bev.write_eof(),
    "base": lambda bev: bev.base.close(),
}


@pytest.mark.parametrize("how", ENDINGS)
def test_goodbye_is_said_whatever_way_it_ends(run: Run, certificates: Certificates, how: str) -> None:
    """Python's client tells a clean end from one that is cut off."""
    base = EventBase()
    one, other = sockets()

    def on_event(bev: BufferEvent, what: BufferEventFlag, error: Optional[Exception]) -> None:
        if what & CONNECTED:
            bev.write(b"data")
        else:
            bev.close()

    def on_write(bev: BufferEvent) -> None:
        if (bev.tls and bev.tls.state == TLSState.OPEN) and not done:
            done.append(True)
            ENDINGS[how](bev)

    done: list[bool] = []
    there = BufferEvent(base, other, tls=server(certificates), on_event=on_event, on_write=on_write)
    tls = python_client(certificates, one)

    def talk() -> bytes:
        with tls:
            got = tls.recv(4)
            assert tls.recv(1) == b""
            return got

    peer = Thread(talk)
    run(base)
    assert peer.finish() == b"data"
    there.close()
    base.close()


def test_an_end_without_goodbye_is_an_error(base: EventBase, run: Run, certificates: Certificates) -> None:
    """It may have been cut off; the text says what to do where that is known and harmless."""
    one, other = sockets()
    here = End(base, other, server(certificates))
    tls = python_client(certificates, one)

    def talk() -> None:
        tls.sendall(b"half a mess")
        tls.shutdown(socket.SHUT_WR)
        socket.socket(fileno=tls.detach()).close()

    peer = Thread(talk)
    run(base)
    peer.finish()
    assert here.got == b"half a mess"
    assert here.told[-1] & ERROR
    assert isinstance(here.error, TLSError)
    assert "allow_dirty_shutdown" in str(here.error)
    assert here.error.reasons


@pytest.mark.parametrize("where", ["context", "layer"])
def test_an_end_without_goodbye_may_be_allowed(
    plain_base: EventBase, run: Run, certificates: Certificates, where: str
) -> None:
    """By the context, or on the connection."""
    one, other = sockets()
    here = End(plain_base, other, server(certificates, allow_dirty_shutdown=where == "context"))
    assert here.bev.tls is not None
    assert here.bev.tls.allow_dirty_shutdown == (where == "context")
    here.bev.tls.allow_dirty_shutdown = True
    assert here.bev.tls.allow_dirty_shutdown
    tls = python_client(certificates, one)

    def talk() -> None:
        tls.sendall(b"all of it")
        socket.socket(fileno=tls.detach()).close()

    peer = Thread(talk)
    run(plain_base)
    peer.finish()
    assert here.error is None, here.error
    assert here.told == [CONNECTED, EOF | BufferEventFlag.READING]
    assert here.got == b"all of it"


# -- other programs ------------------------------------------------------------------------------------------


def serve_one(base: EventBase, context: TLSContext, **keywords: Any) -> tuple[Listener, list[End]]:
    ends: list[End] = []

    def on_accept(listener: Listener, sock: socket.socket, address: object) -> None:
        ends.append(End(base, sock, context, **keywords))
        listener.close()

    return Listener(base, ("127.0.0.1", 0), on_accept), ends


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_s_client_is_served(
    plain_base: EventBase, run: Run, certificates: Certificates, version: str
) -> None:
    """It verifies us, gets what it sent, and ends with us."""
    listener, ends = serve_one(plain_base, server(certificates, alpn=["echo"]), echoes=True, expects=6)
    peer = SClient(
        certificates,
        listener.port,
        *("-CAfile", "ca.pem", "-verify_return_error", "-verify_hostname", "localhost"),
        *("-servername", "localhost", "-alpn", "echo", version),
        data=b"hello\n",
    )
    run(plain_base)
    status, output, errors = peer.wait()
    assert output == b"hello\n", errors
    assert status == 0
    assert ends[0].layer["alpn"] == "echo"
    assert ends[0].error is None


def test_openssl_s_client_refuses_what_it_does_not_trust(
    plain_base: EventBase, run: Run, certificates: Certificates
) -> None:
    """And we are told why."""
    listener, ends = serve_one(plain_base, server(certificates))
    peer = SClient(certificates, listener.port, "-CAfile", "stranger.pem", "-verify_return_error")
    run(plain_base)
    assert peer.wait()[0] != 0
    assert isinstance(ends[0].error, TLSError)
    assert "tlsv1 alert unknown ca" in ends[0].error.reasons


@pytest.mark.parametrize(
    ("arguments", "reason", "code"),
    [
        ((), None, None),
        (("-tls1_2",), None, None),
        (("-cert", "expired.pem", "-key", "expired.key"), "certificate verify failed", 10),
        (("-cert", "other.pem", "-key", "other.key"), "certificate verify failed", 62),
        (("-cert", "strange.pem", "-key", "strange.key"), "certificate verify failed", 20),
        (
            (
                "-Verify",
                "1",
                "-verify_return_error",
                "-CAfile",
                "ca.pem",
                "-cert",
                "server.pem",
                "-key",
                "server.key",
            ),
            "tlsv13 alert certificate required",
            None,
        ),
    ],
)
def test_openssl_s_server_is_talked_to(
    plain_base: EventBase,
    run: Run,
    certificates: Certificates,
    arguments: tuple[str, ...],
    reason: Optional[str],
    code: Optional[int],
) -> None:
    """Over TCP, or refused."""
    with s_server(certificates, *arguments) as port:
        here = End(plain_base, None, client(certificates), server_hostname="localhost", sends=b"abc\n")
        here.bev.on_read = lambda bev: (here.got.extend(bev.read()), bev.close())
        here.bev.connect(("127.0.0.1", port))
        run(plain_base)
    if reason is None:
        assert here.got == b"cba\n"
        assert here.error is None
    else:
        assert isinstance(here.error, TLSError), (here.error, here.told)
        assert reason in here.error.reasons
        assert here.error.verify_code == code


def test_python_s_ssl_is_served_and_talked_to(
    plain_base: EventBase, run: Run, certificates: Certificates
) -> None:
    """In both directions, with a megabyte each way."""
    data = os.urandom(1_000_000)

    def talk(tls: ssl.SSLSocket, first: bool) -> bytes:
        with tls:
            got = b""
            if first:
                tls.sendall(data)
            while len(got) < len(data):
                got += tls.recv(65536)
            if not first:
                tls.sendall(data)
            assert tls.recv(1) == b""
            return got

    one, other = sockets()
    there = End(plain_base, other, server(certificates), echoes=True, expects=len(data))
    peer = Thread(talk, python_client(certificates, one), True)
    run(plain_base)
    assert peer.finish() == data == there.got
    one, other = sockets()
    here = End(
        plain_base, one, client(certificates), server_hostname="localhost", sends=data, expects=len(data)
    )
    peer = Thread(talk, python_server(certificates, other), False)
    run(plain_base)
    assert peer.finish() == data == here.got


# -- much data -----------------------------------------------------------------------------------------------


def test_what_openssl_holds_is_read_when_there_is_room_again(
    plain_base: EventBase, run: Run, certificates: Certificates
) -> None:
    """A watermark stops in the middle of a record; nothing more comes from the socket."""
    one, other = sockets()
    got = bytearray()

    def take() -> None:
        if not here.closed:
            got.extend(here.read())

    here = BufferEvent(
        plain_base, other, tls=server(certificates), on_read=lambda bev: plain_base.call_later(0.001, take)
    )
    here.set_watermark(READ, high=1000)
    tls = python_client(certificates, one)

    def talk() -> None:
        tls.sendall(b"x" * 40_000)
        assert tls.recv(1) == b"!"
        tls.close()

    peer = Thread(talk)
    watch = plain_base.every(
        0.005, lambda: len(got) == 40_000 and (here.write(b"!"), here.close(flush=True), watch.close())
    )
    run(plain_base)
    peer.finish()
    assert got == b"x" * 40_000


def test_a_hundred_megabytes_arrive_as_they_were(
    plain_base: EventBase, run: Run, certificates: Certificates
) -> None:
    """By their digest; and neither side has more than its buffers in memory."""
    one, other = sockets()
    size, block = 100_000_000, os.urandom(1 << 20)
    sent, got = hashlib.blake2b(), hashlib.blake2b()
    left = [size]
    received = [0]
    most = [0]

    def fill(bev: BufferEvent) -> None:
        while left[0] and len(bev.output) < 256 * 1024:
            piece = block[: min(left[0], 65536)]
            sent.update(piece)
            left[0] -= len(piece)
            bev.write(piece)
        most[0] = max(most[0], len(bev.output))
        if not left[0]:
            bev.close(flush=True)

    def on_event(bev: BufferEvent, what: BufferEventFlag, error: Optional[Exception]) -> None:
        if what & CONNECTED:
            fill(bev)

    def drain(bev: BufferEvent) -> None:
        data = bev.read()
        received[0] += len(data)
        got.update(data)

    BufferEvent(plain_base, other, tls=server(certificates), on_read=drain)
    here = BufferEvent(
        plain_base,
        one,
        tls=client(certificates),
        server_hostname="localhost",
        on_write=fill,
        on_event=on_event,
    )
    here.set_watermark(WRITE, low=128 * 1024)
    run(plain_base, deadline=60.0)
    assert received[0] == size
    assert got.digest() == sent.digest()
    assert most[0] <= 512 * 1024


# -- changing ------------------------------------------------------------------------------------------------


def test_batch_write_is_there_from_libevent_2_2_on(
    plain_base: EventBase, run: Run, certificates: Certificates
) -> None:
    """And says so before."""
    one, other = sockets()
    here = BufferEvent(plain_base, one, tls=client(certificates), server_hostname="localhost")
    assert here.tls is not None
    assert here.tls.batch_write is False
    if lib.event_get_version_number() < 0x02020000 or "2.2" in os.environ.get("LIBEVENT_CFFI_DISABLE", ""):
        with pytest.raises(FeatureUnavailableError, match=r"2\.2"):
            here.tls.batch_write = True
    else:
        here.tls.batch_write = True
        assert here.tls.batch_write
        here.tls.batch_write = False
        assert not here.tls.batch_write
    here.close()
    other.close()


def test_tls_1_2_can_be_renegotiated(plain_base: EventBase, run: Run, certificates: Certificates) -> None:
    """CONNECTED comes once more; a client of TLS 1.3, or during a handshake, cannot."""
    one, other = sockets()
    there = End(plain_base, other, server(certificates), echoes=True)
    count = [0]

    def on_event(bev: BufferEvent, what: BufferEventFlag, error: Optional[Exception]) -> None:
        here_told.append(what)
        if what & CONNECTED:
            count[0] += 1
            bev.write(b"x")
        else:
            bev.close()

    def on_read(bev: BufferEvent) -> None:
        bev.read()
        assert bev.tls is not None
        if count[0] == 1:
            with pytest.raises(TLSError, match=r"TLSv1\.3 cannot be renegotiated"):
                bev.tls.renegotiate()
        bev.write_eof()

    here_told: list[BufferEventFlag] = []
    here = BufferEvent(
        plain_base,
        one,
        tls=client(certificates),
        server_hostname="localhost",
        on_event=on_event,
        on_read=on_read,
    )
    assert here.tls is not None
    with pytest.raises(TLSError, match="handshake"):
        here.tls.renegotiate()
    run(plain_base)
    assert count[0] == 1
    assert there.error is None


def test_a_server_asks_for_another_handshake(
    plain_base: EventBase, run: Run, certificates: Certificates
) -> None:
    """A client of TLS 1.2 makes it, and data goes on afterwards."""
    one, other = sockets()
    told: list[BufferEventFlag] = []

    def on_read(bev: BufferEvent) -> None:
        bev.write(bev.read())
        assert bev.tls is not None
        if told.count(CONNECTED) == 1:
            bev.tls.renegotiate()
        else:
            bev.close(flush=True)

    there = BufferEvent(
        plain_base,
        other,
        tls=server(certificates),
        on_read=on_read,
        on_event=lambda bev, what, error: told.append(what),
    )
    tls = python_client(certificates, one, maximum_version=ssl.TLSVersion.TLSv1_2)

    def talk() -> bytes:
        with tls:
            tls.sendall(b"one")
            got = tls.recv(3)
            tls.sendall(b"two")
            return got + tls.recv(3) + tls.recv(1)

    peer = Thread(talk)
    run(plain_base)
    assert peer.finish() == b"onetwo"
    assert there.closed
    assert told == [CONNECTED, CONNECTED]
