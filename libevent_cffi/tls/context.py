"""Contexts: what connections have in common, from certificates to versions."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Optional, Union

from .._native import convert, openssl
from ..errors import TLSError
from ..flags import TLSVersion, check_flags
from .layer import TLSLayer

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable

    from typing_extensions import Self

    from .._native.running import Loop
    from ..types import StrPath

__all__ = ["TLSContext"]

_LONGEST_PASSWORD = 1023  # OpenSSL has no more room for it (PEM_BUFSIZE)
_WEIGHT = 50_000  # bytes, for collectors that count; those of the system weigh more
_NOBODY, _OPTIONAL, _REQUIRED = range(3)  # whom lev_tls_set_verify() asks for a certificate


class TLSContext:
    """
    What TLS connections have in common: whom they trust, who they are, and which versions they speak.

    ``TLSContext()`` is a client's: it trusts what the system trusts, verifies the server's certificate and
    that it is for the name that was connected to, and speaks TLS 1.2 and later.  ``TLSContext.server()`` is
    a server's.  One context serves any number of connections, bases and threads, and does not change.

    A certificate, a key or *ca* is PEM: the path of a file as str or PathLike, or the text itself as bytes.

    - *ca*, *ca_path*: certificates to trust instead of the system's, as PEM and as a folder that ``openssl
      rehash`` has been run on; one that is not self-signed is trusted as well.
    - *system_trust*: trust the system's too; None does where neither of these is given.
    - *verify*: False takes any certificate from anybody, so that the connection is safe from listeners only.
    - *check_hostname*: False takes a certificate that is for another name; without *verify* it has no effect.
    - *certificate*, *key*, *password*: what a server that asks is shown: a certificate, followed by those
      that lead from it to one that is trusted; its key, None when it stands in the same PEM; and the key's
      password, up to 1,023 bytes.  Nobody is ever asked for one at a terminal.
    - *alpn*: names of protocols to offer, such as "h2", the preferred one first.
    - *minimum_version*, *maximum_version*: None is the newest that OpenSSL knows.
    - *ciphers*: a list for TLS 1.2 as OpenSSL writes it; *ciphersuites*: one for TLS 1.3.
    - *allow_dirty_shutdown*: take a connection that ends without TLS's own goodbye for one that has ended,
      although an attacker may have cut it off.

    Raises TLSError, with OpenSSL's words, for PEM, a key or a list that it does not take; OSError for a file;
    TypeError; ValueError; FeatureUnavailableError.

    Wraps: bufferevent_openssl_socket_new() bufferevent_openssl_filter_new() <event2/bufferevent_ssl.h>;
    libevent >= 2.0.
    """

    __slots__ = (
        "__weakref__",
        "_check_hostname",
        "_ctx",
        "_number",
        "_on_server_name",
        "_python",
        "_server_side",
    )

    #: An ssl.SSLContext, where it is from there.
    _python: Optional[ssl.SSLContext]
    _ctx: Any
    _on_server_name: Optional[Callable[[Optional[str]], Optional[TLSContext]]]

    def __init__(
        self,
        *,
        ca: Optional[Union[StrPath, bytes]] = None,
        ca_path: Optional[StrPath] = None,
        system_trust: Optional[bool] = None,
        verify: bool = True,
        check_hostname: bool = True,
        certificate: Optional[Union[StrPath, bytes]] = None,
        key: Optional[Union[StrPath, bytes]] = None,
        password: Optional[Union[str, bytes]] = None,
        alpn: Iterable[str] = (),
        minimum_version: TLSVersion = TLSVersion.TLSv1_2,
        maximum_version: Optional[TLSVersion] = None,
        ciphers: Optional[str] = None,
        ciphersuites: Optional[str] = None,
        allow_dirty_shutdown: bool = False,
    ) -> None:
        if hasattr(self, "_ctx"):
            raise RuntimeError(f"{self!r} was made already: make another TLSContext")
        self._begin(False, allow_dirty_shutdown)
        self._check_hostname = bool(verify and check_hostname)
        openssl.lib.lev_tls_set_verify(self._ctx, _REQUIRED if verify else _NOBODY)
        self._trust(ca, ca_path)
        if system_trust or (system_trust is None and ca is None and ca_path is None):
            openssl.call("the system's certificates", openssl.lib.lev_tls_trust_system, self._ctx)
        if certificate is not None:
            self._use(certificate, key, password)
        elif key is not None or password is not None:
            raise ValueError("a key or a password needs certificate=")
        self._negotiate(minimum_version, maximum_version, ciphers, ciphersuites, alpn)

    @classmethod
    def server(
        cls,
        certificate: Union[StrPath, bytes],
        key: Optional[Union[StrPath, bytes]] = None,
        *,
        password: Optional[Union[str, bytes]] = None,
        ca: Optional[Union[StrPath, bytes]] = None,
        ca_path: Optional[StrPath] = None,
        verify: Union[bool, Literal["optional"]] = False,
        alpn: Iterable[str] = (),
        on_server_name: Optional[Callable[[Optional[str]], Optional[TLSContext]]] = None,
        session_tickets: bool = True,
        minimum_version: TLSVersion = TLSVersion.TLSv1_2,
        maximum_version: Optional[TLSVersion] = None,
        ciphers: Optional[str] = None,
        ciphersuites: Optional[str] = None,
        allow_dirty_shutdown: bool = False,
    ) -> Self:
        """
        Make a server's context; the arguments are those of the class, and:

        - *verify*: True takes clients only that show a certificate which *ca* or *ca_path* leads to;
          "optional" takes those without one too, but none with a wrong one.
        - *alpn*: the names that are spoken, the preferred one first.  A client that offers others only is
          refused; one that offers none is not.
        - *on_server_name*: ``on_server_name(name)`` is called at the start of each handshake, on the thread
          that dispatches, with the name that the client wants or None.  It returns the server context to go
          on with, or None for this one.  When it raises, the handshake fails, and dispatch() raises the
          error.
        - *session_tickets*: let clients come back with a shorter handshake.

        Raises what the class does; ValueError also when clients are verified and nothing says whom to trust.

        Wraps: bufferevent_openssl_socket_new() <event2/bufferevent_ssl.h>; libevent >= 2.0.
        """
        self = cls.__new__(cls)
        self._begin(True, allow_dirty_shutdown)
        if on_server_name is not None:
            if not callable(on_server_name):
                raise TypeError(f"on_server_name must be callable, not {on_server_name!r}")
            self._on_server_name = on_server_name
            openssl.lib.lev_tls_ask_name(self._ctx)
        openssl.lib.lev_tls_set_verify(self._ctx, _whom_to_ask(verify, ca is not None or ca_path is not None))
        self._trust(ca, ca_path)
        self._use(certificate, key, password)
        if not session_tickets:
            openssl.lib.lev_tls_no_tickets(self._ctx)
        self._negotiate(minimum_version, maximum_version, ciphers, ciphersuites, alpn)
        return self

    @classmethod
    def from_ssl_context(cls, context: ssl.SSLContext) -> Self:
        """
        Use a context of Python's own ssl module, which stays as it is, behind the same interface.

        Its protocol tells whether it is a client's or a server's; one for both, PROTOCOL_TLS, is a client's
        when it checks host names.  Connections over it are slower, since
        every byte passes Python, and http cannot use it.  It works where the package was built without TLS.

        Raises TypeError, and ValueError for a protocol that is one version only.

        Wraps: bufferevent_pair_new() <event2/bufferevent.h>; libevent >= 2.0.
        """
        import ssl

        if not isinstance(context, ssl.SSLContext):
            raise TypeError(f"context must be an ssl.SSLContext, not {context!r}")
        for_both = context.protocol == ssl.PROTOCOL_TLS  # what create_default_context() makes before 3.10
        if not for_both and context.protocol not in (ssl.PROTOCOL_TLS_CLIENT, ssl.PROTOCOL_TLS_SERVER):
            raise ValueError(f"{context.protocol!r}: make the context with PROTOCOL_TLS_CLIENT or _SERVER")
        self = cls.__new__(cls)
        self._server_side = context.protocol == ssl.PROTOCOL_TLS_SERVER or (
            for_both and not context.check_hostname
        )
        self._check_hostname = context.check_hostname
        self._python = context
        self._ctx = self._on_server_name = None
        self._number = 0
        return self

    @property
    def server_side(self) -> bool:
        """Is it a server's?"""
        return self._server_side

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'server' if self._server_side else 'client'}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} cannot be pickled or copied: it stands for something in C")

    # -- making ----------------------------------------------------------------------------------------------

    def _begin(self, server_side: bool, allow_dirty_shutdown: bool) -> None:
        openssl.require()
        self._server_side = server_side
        self._check_hostname = False
        self._on_server_name = self._python = None
        self._number = openssl.new_number(self)
        complaint = openssl.failure()
        made = openssl.lib.lev_tls_context_new(server_side, self._number, complaint)
        if not made:
            openssl.refuse("TLS", complaint)
        if allow_dirty_shutdown:
            openssl.lib.lev_tls_take_dirty(made)
        self._ctx = openssl.ffi.gc(made, openssl.lib.lev_tls_context_free, _WEIGHT)

    def _trust(self, ca: Optional[Union[StrPath, bytes]], ca_path: Optional[StrPath]) -> None:
        if ca is not None:
            pem = _read(ca, "ca")
            if not openssl.call("ca", openssl.lib.lev_tls_trust, self._ctx, pem, len(pem), self._server_side):
                raise TLSError("ca: there is no certificate in it", reasons=("no certificate",))
        if ca_path is not None:
            path = convert.c_path(ca_path, "ca_path")
            os.scandir(path).close()  # says what is wrong with it; OpenSSL would only find nothing in it
            openssl.call("ca_path", openssl.lib.lev_tls_trust_path, self._ctx, path)

    def _use(
        self,
        certificate: Union[StrPath, bytes],
        key: Optional[Union[StrPath, bytes]],
        password: Optional[Union[str, bytes]],
    ) -> None:
        """Show the peer *certificate*, whose key may stand in the same PEM."""
        pem = _read(certificate, "certificate")
        openssl.call("certificate", openssl.lib.lev_tls_use_certificate, self._ctx, pem, len(pem))
        if key is not None:
            pem = _read(key, "key")
        text = openssl.ffi.NULL if password is None else _password(password)
        complaint = openssl.failure()
        size = len(text) if text else 0
        if openssl.lib.lev_tls_use_key(self._ctx, pem, len(pem), text, size, complaint) < 0:
            what = "key"
            if complaint.needs_password:
                what = "key: it is encrypted, and there is no password"
            elif b"PRIVATE KEY-----" not in pem:
                where = "the certificate's PEM, and key= is not given" if key is None else "it"
                what = f"key: there is no private key in {where}"
            openssl.refuse(what, complaint)

    def _negotiate(
        self,
        minimum_version: TLSVersion,
        maximum_version: Optional[TLSVersion],
        ciphers: Optional[str],
        ciphersuites: Optional[str],
        alpn: Iterable[str],
    ) -> None:
        least = check_flags(TLSVersion, minimum_version, "minimum_version")
        most = 0 if maximum_version is None else check_flags(TLSVersion, maximum_version, "maximum_version")
        if 0 < most < least:
            raise ValueError(f"maximum_version {most} is older than minimum_version {least}")
        openssl.call("versions", openssl.lib.lev_tls_set_versions, self._ctx, least, most)
        if ciphers is not None or ciphersuites is not None:
            old, suites = _list(ciphers, "ciphers"), _list(ciphersuites, "ciphersuites")
            openssl.call("ciphers", openssl.lib.lev_tls_set_ciphers, self._ctx, old, suites)
        names = _alpn_to_wire(alpn)
        if names:
            openssl.call(
                "alpn", openssl.lib.lev_tls_set_alpn, self._ctx, self._server_side, names, len(names)
            )

    # -- connections -----------------------------------------------------------------------------------------

    def _new_layer(self, base: Loop, server_hostname: Optional[str], is_connected: bool) -> TLSLayer:
        """Return the TLS of a connection to be made; connect() gives what *server_hostname* does not."""
        if self._server_side:
            if server_hostname is not None:
                raise ValueError("server_hostname is for clients: this is a server's context")
        elif server_hostname is None and is_connected and self._check_hostname:
            raise ValueError(
                "server_hostname is needed to check whom the server's certificate is for;"
                " or make the context with check_hostname=False"
            )
        if self._python is not None:
            from .memory import MemoryLayer

            layer: TLSLayer = MemoryLayer._make(self, base)
        else:
            layer = TLSLayer._make(self, base)
        if server_hostname is not None:
            layer._set_host(server_hostname, "server_hostname")
        return layer

    def _for_c(self) -> tuple[Any, Any]:
        """
        Return what C needs to make connections of this context itself: struct lev_tls_ops and the SSL_CTX.

        The caller keeps this object alive for as long as handshakes go on: on_server_name is found by it.
        """
        openssl.require()
        if self._python is not None:
            raise ValueError("a context of from_ssl_context() is for a BufferEvent: C cannot use it")
        return openssl.lib.lev_tls_ops(), self._ctx

    # -- called from callbacks_stream.py ---------------------------------------------------------------------

    def _switch(self, ssl: Any, chosen: Any) -> Optional[Exception]:
        """Have connection *ssl* go on with context *chosen*; return what is wrong with that."""
        if chosen is None or chosen is self:
            return None
        if not isinstance(chosen, TLSContext) or not chosen._server_side or chosen._python is not None:
            return TypeError(f"on_server_name must return a server's TLSContext or None, not {chosen!r}")
        if openssl.lib.lev_tls_switch(openssl.ffi.cast("struct ssl_st *", ssl), chosen._ctx) < 0:
            return TLSError("a connection could not be given the context that on_server_name chose")
        return None


def _whom_to_ask(verify: Union[bool, str], is_told_whom_to_trust: bool) -> int:
    if verify not in (False, True, "optional"):
        raise ValueError(f'verify must be True, False or "optional", not {verify!r}')
    if not verify:
        return _NOBODY
    if not is_told_whom_to_trust:
        raise ValueError("to verify clients it must be said whom to trust: give ca= or ca_path=")
    return _REQUIRED if verify is True else _OPTIONAL


def _read(pem: Union[StrPath, bytes], name: str) -> bytes:
    """Return PEM, from a file where *pem* is its path."""
    if isinstance(pem, bytes):
        return pem
    if not isinstance(pem, (str, os.PathLike)):
        raise TypeError(f"{name} must be a path as str or PathLike, or PEM as bytes, not {pem!r}")
    path = os.fsdecode(convert.c_path(pem, name))
    if "-----BEGIN " in path:  # the error of a file that is not there would tell all the world a key
        raise ValueError(f"{name} is PEM as str, which is taken for a path: give its text as bytes")
    with open(path, "rb") as file:
        return file.read()


def _password(password: Union[str, bytes]) -> bytes:
    encoded = password.encode() if isinstance(password, str) else password
    if not isinstance(encoded, bytes):
        raise TypeError(f"password must be str or bytes, not {type(password).__name__}")
    if len(encoded) > _LONGEST_PASSWORD:
        raise ValueError(f"password is longer than {_LONGEST_PASSWORD} bytes")
    return encoded


def _list(text: Optional[str], name: str) -> Any:
    return openssl.ffi.NULL if text is None else convert.c_text(text, name)


def _alpn_to_wire(names: Iterable[str]) -> bytes:
    """Return each name after its length, as TLS has it."""
    if isinstance(names, (str, bytes)):
        raise TypeError(f"alpn is an iterable of names, not {names!r}")
    wire = b""
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"alpn has names that are str, not {name!r}")
        encoded = name.encode()
        if not 1 <= len(encoded) <= 255:
            raise ValueError(f"alpn: a name has 1 to 255 bytes: {name!r}")
        wire += bytes([len(encoded)]) + encoded
    if len(wire) > 65535:
        raise ValueError("alpn: all names together have more than 65,535 bytes")
    return wire
