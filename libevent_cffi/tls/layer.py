"""What the TLS of one connection has to say."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, Optional

from .._native import convert, openssl
from ..errors import FeatureUnavailableError, TLSError
from ..flags import BufferEventFlag, TLSState

if TYPE_CHECKING:
    from typing_extensions import Self

    from .._native.children import Child
    from .._native.running import Loop
    from .context import TLSContext

__all__ = ["CUT_OFF", "TLSLayer", "encode_host"]

_TEXT_SIZE = 256  # more than a server's name, a protocol's and a cipher's have
_LONGEST_NAME = 255
_WRITING = int(BufferEventFlag.WRITING)
CUT_OFF = (
    "TLS: the connection ended without the other side's goodbye (close_notify), so it may have been cut off;"
    " allow_dirty_shutdown=True takes that for an end"
)


class TLSLayer:
    """
    The TLS of one connection: its ``tls``.

    What a handshake settles is None before it, and for what was not settled.  Every property raises
    ClosedError when the connection is closed, and WrongThreadError.

    Wraps: bufferevent_openssl_get_ssl() bufferevent_get_openssl_error() <event2/bufferevent_ssl.h>;
    libevent >= 2.0.
    """

    __slots__ = ("__weakref__", "_bev", "_context", "_is_named", "_owner", "_ssl")

    _context: TLSContext
    _owner: Any
    _bev: Any
    _ssl: Any
    _is_named: bool

    def __init__(self) -> None:
        raise TypeError("a TLSLayer is made by its connection: give tls= to that, or call its start_tls()")

    @classmethod
    def _make(cls, context: TLSContext, base: Loop) -> Self:
        """Make the TLS of a connection on *base*, which is to be given to that."""
        self = cls.__new__(cls)
        self._context = context
        self._owner = self._bev = None
        self._is_named = False
        complaint = openssl.failure()
        made = openssl.lib.lev_tls_new(context._ctx, base._l, complaint)
        if not made:
            openssl.refuse("TLS", complaint)
        #: Ours to free until it is given away.
        self._ssl = openssl.ffi.gc(made, openssl.lib.lev_tls_free)
        return self

    @classmethod
    def _shared(cls, pointer: Any, context: TLSContext, owner: Any) -> Self:
        """Show the ``SSL *`` *pointer* of a connection that C made, of which a share is ours to free."""
        self = cls.__new__(cls)
        self._context = context
        self._is_named = True
        self._owner, self._bev = owner, openssl.ffi.NULL
        ssl = openssl.ffi.cast("struct ssl_st *", pointer)
        self._ssl = openssl.ffi.gc(ssl, openssl.lib.lev_tls_free)
        return self

    def _set_host(self, host: str, argument: str) -> None:
        """Ask for the server *host*, and verify that it is one where the context checks that."""
        name, is_address = encode_host(host, argument)
        check = self._context._check_hostname
        openssl.call(argument, openssl.lib.lev_tls_set_host, self._ssl, name, is_address, check)
        self._is_named = True

    def _connect_to(self, host: Optional[str]) -> None:
        """Ask for the *host* that is connected to, unless another one was named; None is a UNIX socket."""
        if self._is_named or self._context._server_side:
            return
        if host is not None:
            self._set_host(host, "host")
            self._is_named = False
        elif self._context._check_hostname:
            raise ValueError("a UNIX socket has no name to check: give server_hostname= with tls=")

    def _give(self) -> tuple[Any, Any]:
        """Return the ssl for a connection that frees it, and what C calls for it."""
        openssl.ffi.gc(self._ssl, None)
        return self._ssl, openssl.lib.lev_tls_ops()

    def _attach(self, owner: Child, bev: Any) -> None:
        """Belong to the connection *owner*, which is open for as long as *bev*, and so the ssl, is there."""
        self._owner = owner
        self._bev = bev

    # -- looking ---------------------------------------------------------------------------------------------

    @property
    def context(self) -> TLSContext:
        """The context that the connection was given."""
        return self._context

    @property
    def state(self) -> TLSState:
        """
        CONNECTING or ACCEPTING during a handshake, and OPEN after it.

        Wraps: bufferevent_openssl_get_ssl() <event2/bufferevent_ssl.h>; libevent >= 2.0.
        """
        return TLSState(self._state(openssl.lib.LEV_TLS_STATE))

    @property
    def version(self) -> Optional[str]:
        """
        The version of TLS, such as "TLSv1.3".

        Wraps: bufferevent_openssl_get_ssl() <event2/bufferevent_ssl.h>; libevent >= 2.0.
        """
        return self._text(openssl.lib.LEV_TLS_VERSION)

    @property
    def cipher(self) -> Optional[str]:
        """
        OpenSSL's name of the cipher, such as "TLS_AES_256_GCM_SHA384".

        Wraps: bufferevent_openssl_get_ssl() <event2/bufferevent_ssl.h>; libevent >= 2.0.
        """
        return self._text(openssl.lib.LEV_TLS_CIPHER)

    @property
    def alpn(self) -> Optional[str]:
        """
        The protocol that both sides chose by ALPN, such as "h2".

        Wraps: bufferevent_openssl_get_ssl() <event2/bufferevent_ssl.h>; libevent >= 2.0.
        """
        return self._text(openssl.lib.LEV_TLS_ALPN)

    @property
    def server_name(self) -> Optional[str]:
        """
        The name by which the client asks for the server; an address is not one.

        Wraps: bufferevent_openssl_get_ssl() <event2/bufferevent_ssl.h>; libevent >= 2.0.
        """
        return self._text(openssl.lib.LEV_TLS_NAME)

    @property
    def peer_certificate(self) -> Optional[bytes]:
        """
        The other side's certificate as DER, verified or not.

        Wraps: bufferevent_openssl_get_ssl() <event2/bufferevent_ssl.h>; libevent >= 2.0.
        """
        return self._certificate(0)

    @property
    def peer_chain(self) -> tuple[bytes, ...]:
        """
        All certificates that the other side sent, its own first, as DER; none when a session was reused.

        Wraps: bufferevent_openssl_get_ssl() <event2/bufferevent_ssl.h>; libevent >= 2.0.
        """
        chain: list[bytes] = []
        found = self._certificate(0)
        while found is not None:
            chain.append(found)
            found = self._certificate(len(chain))
        return tuple(chain)

    @property
    def session_reused(self) -> bool:
        """
        Was the handshake shorter, since the client came back?

        Wraps: bufferevent_openssl_get_ssl() <event2/bufferevent_ssl.h>; libevent >= 2.0.
        """
        return bool(self._state(openssl.lib.LEV_TLS_REUSED))

    def __repr__(self) -> str:
        if self._owner is None or self._owner.closed:
            return f"<{type(self).__name__} closed>"
        words = [self.state.name.lower(), self.version or "", self.cipher or ""]
        return f"<{type(self).__name__} {' '.join(filter(None, words))}>"

    # -- changing --------------------------------------------------------------------------------------------

    @property
    def allow_dirty_shutdown(self) -> bool:
        """
        Is a connection that ends without TLS's own goodbye taken for one that has ended?  Settable.

        Wraps: bufferevent_openssl_get_allow_dirty_shutdown() bufferevent_openssl_set_allow_dirty_shutdown()
        <event2/bufferevent_ssl.h>; libevent >= 2.0.
        """
        return bool(self._state(openssl.lib.LEV_TLS_DIRTY))

    @allow_dirty_shutdown.setter
    def allow_dirty_shutdown(self, allow: bool) -> None:
        self._set(openssl.lib.LEV_TLS_DIRTY, allow)

    @property
    def batch_write(self) -> bool:
        """
        Are small pieces of output put together before they are sent?  Settable where libevent is 2.2.

        Raises FeatureUnavailableError when it is set on an older one, where it is False.

        Wraps: bufferevent_ssl_get_flags() bufferevent_ssl_set_flags() bufferevent_ssl_clear_flags()
        <event2/bufferevent_ssl.h>; libevent >= 2.2.
        """
        return self._has_flags() and bool(self._state(openssl.lib.LEV_TLS_BATCHES))

    @batch_write.setter
    def batch_write(self, on: bool) -> None:
        if not self._has_flags():
            raise FeatureUnavailableError("tls_batch_write", "batch_write needs libevent 2.2")
        self._set(openssl.lib.LEV_TLS_BATCHES, on)

    def renegotiate(self) -> None:
        """
        Have another handshake on a connection of TLS 1.2; on_event tells CONNECTED once more after it.

        Raises TLSError during a handshake, for TLS 1.3, which has none, and where the context forbids it.

        Wraps: bufferevent_ssl_renegotiate() <event2/bufferevent_ssl.h>; libevent >= 2.0.
        """
        self._check_ready()
        result = openssl.lib.lev_tls_renegotiate(self._owner._child, self._ssl, self._bev)
        if result == openssl.lib.LEV_TLS_NOTHING:
            what = self.version if self.state is TLSState.OPEN else "a handshake that goes on"
            raise TLSError(f"{what} cannot be renegotiated", reasons=("no renegotiation",))
        self._owner._checked(result, "bufferevent_ssl_renegotiate")

    # -- asking C --------------------------------------------------------------------------------------------

    @staticmethod
    def _has_flags() -> bool:
        return hasattr(openssl.lib, "bufferevent_ssl_get_flags")

    def _check_ready(self) -> None:
        if self._owner is None:
            raise TLSError("the connection has not been made")

    def _state(self, which: int) -> int:
        self._check_ready()
        result: int = openssl.lib.lev_tls_state(self._owner._child, self._ssl, self._bev, which)
        if result == openssl.lib.LEV_TLS_NOTHING:
            return 0
        return self._owner._checked(result, "bufferevent_openssl_get_ssl")  # type: ignore[no-any-return]

    def _set(self, which: int, on: bool) -> None:
        self._check_ready()
        result = openssl.lib.lev_tls_set(self._owner._child, self._ssl, self._bev, which, bool(on))
        self._owner._checked(result, "bufferevent_openssl_get_ssl")

    def _text(self, which: int) -> Optional[str]:
        self._check_ready()
        text = openssl.ffi.new("char[]", _TEXT_SIZE)
        length = openssl.lib.lev_tls_text(self._owner._child, self._ssl, which, text, _TEXT_SIZE)
        if length == openssl.lib.LEV_TLS_NOTHING:
            return None
        self._owner._checked(length, "bufferevent_openssl_get_ssl")
        return bytes(openssl.ffi.buffer(text, length)).decode("utf-8", "replace")

    def _certificate(self, index: int) -> Optional[bytes]:
        self._check_ready()
        place = openssl.ffi.new("unsigned char *[1]")
        length = openssl.lib.lev_tls_certificate(self._owner._child, self._ssl, index, place)
        if length == openssl.lib.LEV_TLS_NOTHING:
            return None
        self._owner._checked(length, "bufferevent_openssl_get_ssl")
        try:
            return bytes(openssl.ffi.buffer(place[0], length))
        finally:
            openssl.lib.lev_tls_let_go(place[0])

    def _pointer(self) -> Any:
        """Return OpenSSL's SSL for lowlevel.pointer(); None when the connection is closed."""
        return None if self._owner is None or self._owner.closed else self._ssl

    # -- what went wrong -------------------------------------------------------------------------------------

    def _failure(self, what: int, number: int) -> Optional[TLSError]:
        """
        Return why TLS failed, or None when it was not TLS; called while the connection is told, from C.

        *number* is errno.  It is EPIPE when OpenSSL could not complain of its end to the other side.
        """
        complaint = openssl.failure()
        openssl.lib.lev_tls_why(self._ssl, self._bev, complaint)
        is_silent = not complaint.count and number in (0, errno.EPIPE) and not what & _WRITING
        if complaint.dirty or is_silent:
            return TLSError(CUT_OFF, reasons=("unexpected eof while reading",))
        return openssl.error("TLS", complaint) if complaint.count else None


def encode_host(name: str, argument: str) -> tuple[bytes, bool]:
    """Return the server that a client wants as TLS has it, and whether it is an address."""
    if not isinstance(name, str):
        raise TypeError(f"{argument} must be str, not {name!r}")
    name = name[:-1] if name.endswith(".") else name
    try:
        if convert.is_numeric(name):
            return name.partition("%")[0].encode("ascii"), True
        encoded = name.encode("ascii") if name.isascii() else name.encode("idna")
    except (UnicodeError, ValueError):
        encoded = b""
    if not encoded or b"\0" in encoded or len(encoded) > _LONGEST_NAME:
        raise ValueError(f"{argument} is no name of a host: {name!r}")
    return encoded, False
