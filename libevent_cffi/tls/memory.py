"""TLS by Python's own ssl module, between two ssl.MemoryBIO."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, Optional

from ..errors import ClosedError, FeatureUnavailableError, TLSError
from ..flags import TLSState
from .layer import CUT_OFF, TLSLayer, encode_host

if TYPE_CHECKING:
    from typing_extensions import Self

    from .._native.running import Loop
    from .context import TLSContext

__all__ = ["MemoryLayer"]

_AT_ONCE = 65536


class MemoryLayer(TLSLayer):
    """A TLSLayer whose TLS is an ssl.SSLObject; bufferevent/engine.py moves what goes in and out."""

    __slots__ = ("_in", "_name", "_object", "_out", "allows_dirty")

    _object: Optional[ssl.SSLObject]
    _in: ssl.MemoryBIO
    _out: ssl.MemoryBIO
    _name: Optional[str]
    allows_dirty: bool

    @classmethod
    def _make(cls, context: TLSContext, base: Loop) -> Self:
        self = cls.__new__(cls)
        self._context = context
        self._owner = self._bev = self._ssl = self._object = None
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._name = None
        self._is_named = self.allows_dirty = False
        return self

    def _set_host(self, host: str, argument: str) -> None:
        encode_host(host, argument)
        self._name = host[:-1] if host.endswith(".") else host
        self._is_named = True

    # -- called by the engine --------------------------------------------------------------------------------

    @property
    def has_begun(self) -> bool:
        """Is it ready for the handshake?"""
        return self._object is not None

    def _begin(self) -> None:
        """Be ready for the handshake, with the name that is known by now."""
        context: Any = self._context._python
        self._object = context.wrap_bio(
            self._in, self._out, server_side=self._context._server_side, server_hostname=self._name
        )

    def _shake_hands(self) -> bool:
        """Go on with the handshake; return whether it is over."""
        assert self._object is not None
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def _put(self, data: bytes) -> None:
        """Take what has arrived; its end is not told to ssl, of which some versions take it for a goodbye."""
        self._in.write(data)

    def _take(self) -> bytes:
        """Return what is to be sent."""
        return self._out.read()

    def _read(self) -> Optional[bytes]:
        """Return data, nothing at the other side's goodbye, and None when there is none now."""
        assert self._object is not None
        try:
            return self._object.read(_AT_ONCE)
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLZeroReturnError:
            return b""

    def _write(self, data: bytes) -> None:
        assert self._object is not None
        self._object.write(data)

    def _say_goodbye(self) -> None:
        """Say that nothing more comes, if a handshake has been."""
        if self._object is None or self._object.version() is None:
            return
        try:
            self._object.unwrap()
        except ssl.SSLError:  # the other side's goodbye is not waited for
            return

    @staticmethod
    def _explain(error: ssl.SSLError) -> TLSError:
        """Return what ssl complains of as an error of ours."""
        reason = (error.reason or "").replace("_", " ").lower() or str(error)
        code: Optional[int] = getattr(error, "verify_code", None)
        detail = f" ({error.verify_message})" if isinstance(error, ssl.SSLCertVerificationError) else ""
        return TLSError(f"TLS: {reason}{detail}", reasons=(reason,), verify_code=code)

    @staticmethod
    def cut_off() -> TLSError:
        """Return what an end without goodbye is."""
        return TLSError(CUT_OFF, reasons=("unexpected eof while reading",))

    def _failure(self, what: int, number: int) -> Optional[TLSError]:
        return None

    # -- what the properties ask -----------------------------------------------------------------------------

    def _asked(self) -> Optional[ssl.SSLObject]:
        self._check_ready()
        if self._owner.closed:
            raise ClosedError(f"{self._owner!r}: it was closed, by you or with its owner")
        return self._object

    @property
    def state(self) -> TLSState:
        """CONNECTING or ACCEPTING during a handshake, and OPEN after it."""
        found = self._asked()
        if found is not None and found.version() is not None:
            return TLSState.OPEN
        return TLSState.ACCEPTING if self._context._server_side else TLSState.CONNECTING

    @property
    def version(self) -> Optional[str]:
        """The version of TLS, such as "TLSv1.3"."""
        found = self._asked()
        return None if found is None else found.version()

    @property
    def cipher(self) -> Optional[str]:
        """OpenSSL's name of the cipher."""
        found = self._asked()
        cipher = None if found is None else found.cipher()
        return None if cipher is None else cipher[0]

    @property
    def alpn(self) -> Optional[str]:
        """The protocol that both sides chose by ALPN."""
        found = self._asked()
        return None if found is None else found.selected_alpn_protocol()

    @property
    def server_name(self) -> Optional[str]:
        """The name by which a client asks for the server; what a server is asked for, ssl does not tell."""
        self._asked()
        if self._name is None or encode_host(self._name, "host")[1]:
            return None
        return self._name

    @property
    def peer_certificate(self) -> Optional[bytes]:
        """The other side's certificate as DER, verified or not."""
        found = self._asked()
        if found is None or found.version() is None:
            return None
        return found.getpeercert(True)

    @property
    def peer_chain(self) -> tuple[bytes, ...]:
        """What the other side sent, as DER: all certificates from Python 3.13 on, else its own only."""
        own = self.peer_certificate
        if own is None:
            return ()
        chain: Any = getattr(self._object, "get_unverified_chain", None)
        return (own,) if chain is None else tuple(chain())

    @property
    def session_reused(self) -> bool:
        """Was the handshake shorter, since the client came back?"""
        found = self._asked()
        return found is not None and bool(found.session_reused)

    @property
    def allow_dirty_shutdown(self) -> bool:
        """Is a connection that ends without TLS's own goodbye taken for one that has ended?  Settable."""
        self._asked()
        return self.allows_dirty

    @allow_dirty_shutdown.setter
    def allow_dirty_shutdown(self, allow: bool) -> None:
        self._asked()
        self.allows_dirty = bool(allow)

    @property
    def batch_write(self) -> bool:
        """Always False: this is libevent's."""
        self._asked()
        return False

    @batch_write.setter
    def batch_write(self, on: bool) -> None:
        self._asked()
        raise FeatureUnavailableError("tls", "batch_write is libevent's, and this TLS is Python's")

    def renegotiate(self) -> None:
        """Raise TLSError: Python's ssl has none."""
        self._asked()
        raise TLSError("Python's ssl cannot renegotiate", reasons=("no renegotiation",))
