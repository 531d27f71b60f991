"""URIs: taken apart and put together by libevent, immutable here."""

from __future__ import annotations

import errno
import re
from typing import TYPE_CHECKING, Any, NamedTuple, Optional, Union

from .._native import check, convert, features
from .._native._libevent import ffi, lib
from ..flags import URIFlag, check_flags
from .encoding import _encode_query, parse_query

if TYPE_CHECKING:
    from ..types import HeadersLike
    from .multidict import MultiDict

__all__ = ["URI"]

_STRIP = getattr(URIFlag, "HOST_STRIP_BRACKETS", URIFlag(0))
_UNIX = getattr(URIFlag, "UNIX_SOCKET", URIFlag(0))
#: What is done here and not in C: 2.2 takes the path of the socket for the path of the URI as well, and loses
#: what follows (http.c:parse_authority).
_OURS = _STRIP | _UNIX
_WITH_UNIX_SOCKET = re.compile(r"((?:[^:/?#]+:)?//(?:[^/?#@]*@)?)unix:([^:]+):([/?#].*|)", re.DOTALL)
_DOTS_IN_FRONT = re.compile(r"\A(?:\.\.?/)+")
_HAS_UNIX = hasattr(lib, "evhttp_uri_get_unixsocket")


class _Parts(NamedTuple):
    """What a URI consists of, as build() takes it; the host with its brackets."""

    scheme: Optional[str] = None
    userinfo: Optional[str] = None
    host: Optional[str] = None
    port: Optional[int] = None
    unix_socket: Optional[str] = None
    path: str = ""
    query: Optional[str] = None
    fragment: Optional[str] = None


class URI:
    """
    A URI or a relative reference.

    It is immutable.  str() puts it together again; two are equal, and have the same hash, when that is the
    same.  A part that is absent is None, but *path* is ''.  Parts are as they stand in the text, with their
    percent signs.

    *flags*: see ``libevent_cffi.flags.URIFlag``.  NONCONFORMANT takes any character in path, query and
    fragment; HOST_STRIP_BRACKETS gives an IPv6 *host* without brackets; UNIX_SOCKET takes
    ``http://unix:/path/of/socket:/path`` (the last two from libevent 2.2 on).

    Raises ValueError for what is no URI, TypeError.

    Wraps: evhttp_uri_new() evhttp_uri_free() evhttp_uri_parse() evhttp_uri_parse_with_flags()
    evhttp_uri_set_flags() evhttp_uri_join() <event2/http.h>; libevent >= 2.0.
    """

    __slots__ = ("__weakref__", "_flags", "_parts", "_text")

    _flags: URIFlag
    _parts: _Parts
    _text: str

    def __init__(self, text: str, *, flags: URIFlag = URIFlag(0)) -> None:
        flags = URIFlag(check_flags(URIFlag, flags, "flags"))
        check.clear_errno()
        unix_socket, plain = _without_unix_socket(text) if flags & _UNIX else (None, text)
        encoded = convert.c_text(plain, "text")
        pointer = lib.evhttp_uri_parse_with_flags(encoded, flags & ~_OURS)
        if not pointer:
            _check_memory("evhttp_uri_parse_with_flags")
            raise ValueError(f"{text!r} is no URI; uri_encode() makes any text fit for a part of one")
        try:
            room = len(encoded)
            if unix_socket is not None:
                room += _put_unix_socket(pointer, unix_socket)
            self._parts, self._text, self._flags = _read(pointer), _join(pointer, room), flags
        finally:
            lib.evhttp_uri_free(pointer)

    @classmethod
    def build(
        cls,
        *,
        scheme: Optional[str] = None,
        userinfo: Optional[str] = None,
        host: Optional[str] = None,
        port: Optional[int] = None,
        unix_socket: Optional[str] = None,
        path: str = "",
        query: Union[str, HeadersLike, None] = None,
        fragment: Optional[str] = None,
    ) -> URI:
        """
        Put one together.

        Parts are given as they stand in the text: uri_encode() encodes what needs it.  *host* may be an IPv6
        address without brackets; *query* a mapping or pairs, which are encoded.

        Raises ValueError for a part that cannot stand there, and for parts that would be read differently
        from how they were given; TypeError; FeatureUnavailableError for *unix_socket* before libevent 2.2.

        Wraps: evhttp_uri_set_scheme() evhttp_uri_set_userinfo() evhttp_uri_set_host() evhttp_uri_set_port()
        evhttp_uri_set_unixsocket() evhttp_uri_set_path() evhttp_uri_set_query() evhttp_uri_set_fragment()
        <event2/http.h>; libevent >= 2.0.
        """
        given = _Parts(scheme, userinfo, host, port, unix_socket, path, _query(query), fragment)
        return cls._assemble(given, _UNIX if unix_socket is not None else URIFlag(0))

    @classmethod
    def _assemble(cls, parts: _Parts, flags: URIFlag) -> URI:
        if parts.unix_socket is not None:
            features.require("uri_unix_socket")
        if parts.host is not None and ":" in parts.host and not parts.host.startswith("["):
            parts = parts._replace(host=f"[{parts.host}]")
        pointer = check.check_pointer(lib.evhttp_uri_new(), "evhttp_uri_new")
        try:
            lib.evhttp_uri_set_flags(pointer, flags & ~_OURS)
            text = _join(pointer, _set(pointer, parts))
        finally:
            lib.evhttp_uri_free(pointer)
        made = cls(text, flags=flags)
        if made._parts != parts:
            raise ValueError(f"these parts make {text!r}, which would be read as {made._parts}")
        return made

    def replace(self, **parts: Any) -> URI:
        """
        Return a copy with some of build()'s parts changed; None takes one away.

        Raises as build() does.

        Wraps: evhttp_uri_join() <event2/http.h>; libevent >= 2.0.
        """
        for name in parts:
            if name not in _Parts._fields:
                raise TypeError(f"a URI has no part {name!r}; there are {', '.join(_Parts._fields)}")
        if "query" in parts:
            parts["query"] = _query(parts["query"])
        if parts.get("path", "") is None:
            parts["path"] = ""
        flags = self._flags | _UNIX if parts.get("unix_socket") is not None else self._flags
        return self._assemble(self._parts._replace(**parts), flags)

    def resolve(self, reference: Union[str, URI]) -> URI:
        """
        Return where *reference*, found in this document, leads: RFC 3986, section 5.2.

        Raises ValueError when *reference* is no URI, TypeError.
        """
        if not isinstance(reference, URI):
            reference = URI(reference, flags=self._flags)
        parts = _resolve(self._parts, reference._parts)
        return self._assemble(parts, self._flags | reference._flags)

    # -- parts -----------------------------------------------------------------------------------------------

    @property
    def scheme(self) -> Optional[str]:
        """What stands before the colon.  Wraps: evhttp_uri_get_scheme() <event2/http.h>; libevent >= 2.0."""
        return self._parts.scheme

    @property
    def userinfo(self) -> Optional[str]:
        """What stands before the @.  Wraps: evhttp_uri_get_userinfo() <event2/http.h>; libevent >= 2.0."""
        return self._parts.userinfo

    @property
    def host(self) -> Optional[str]:
        """
        A name, or an address, an IPv6 one in brackets unless HOST_STRIP_BRACKETS.

        Wraps: evhttp_uri_get_host() <event2/http.h>; libevent >= 2.0.
        """
        host = self._parts.host
        if host is not None and self._flags & _STRIP and host.startswith("["):
            return host[1:-1]
        return host

    @property
    def port(self) -> Optional[int]:
        """The port, if one is given.  Wraps: evhttp_uri_get_port() <event2/http.h>; libevent >= 2.0."""
        return self._parts.port

    @property
    def unix_socket(self) -> Optional[str]:
        """
        The path of a UNIX socket in the place of a host.

        Wraps: evhttp_uri_get_unixsocket() <event2/http.h>; libevent >= 2.2.
        """
        return self._parts.unix_socket

    @property
    def path(self) -> str:
        """The path, '' when there is none.  Wraps: evhttp_uri_get_path() <event2/http.h>; libevent >= 2.0."""
        return self._parts.path

    @property
    def query(self) -> Optional[str]:
        """What follows the ?.  Wraps: evhttp_uri_get_query() <event2/http.h>; libevent >= 2.0."""
        return self._parts.query

    @property
    def fragment(self) -> Optional[str]:
        """What follows the #.  Wraps: evhttp_uri_get_fragment() <event2/http.h>; libevent >= 2.0."""
        return self._parts.fragment

    @property
    def params(self) -> MultiDict:
        """
        The query, taken apart as parse_query() does with *nonconformant*; a copy.

        Wraps: evhttp_parse_query_str() <event2/http.h>; libevent >= 2.0.
        """
        return parse_query(self._parts.query or "", nonconformant=True)

    # -- as a value ------------------------------------------------------------------------------------------

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        flags = f", flags={self._flags!r}" if self._flags else ""
        return f"URI({self._text!r}{flags})"

    def __eq__(self, other: object) -> bool:
        return self._text == other._text if isinstance(other, URI) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self._text, int(self._flags))

    def __copy__(self) -> URI:
        return self

    def __deepcopy__(self, memo: object) -> URI:
        return self


def _restore(text: str, flags: int) -> URI:
    return URI(text, flags=URIFlag(flags))


def _query(query: Union[str, HeadersLike, None]) -> Optional[str]:
    return query if query is None or isinstance(query, str) else _encode_query(query)


# -- to and from C -------------------------------------------------------------------------------------------


def _check_memory(what: str) -> None:
    """Raise MemoryError when C function *what*, which was called last, found none."""
    if ffi.errno == errno.ENOMEM:
        raise MemoryError(f"{what} failed")


def _text(string: Any) -> Optional[str]:
    if not string:
        return None
    text: str = ffi.string(string).decode("utf-8", "surrogateescape")
    return text


def _without_unix_socket(text: str) -> tuple[Optional[str], str]:
    """Return the path of the socket in *text*, if there is one, and *text* with a name in its place."""
    match = _WITH_UNIX_SOCKET.fullmatch(text)
    if match is None:
        return None, text
    before, unix_socket, after = match.groups()
    return unix_socket, f"{before}unix{after}"


def _put_unix_socket(uri: Any, path: str) -> int:
    """Put a socket in the place of the host; return how many bytes it has."""
    encoded = convert.c_text(path, "unix_socket")
    if lib.evhttp_uri_set_host(uri, ffi.NULL) or lib.evhttp_uri_set_unixsocket(uri, encoded):
        raise MemoryError("evhttp_uri_set_unixsocket failed")
    return len(encoded)


def _read(uri: Any) -> _Parts:
    port = lib.evhttp_uri_get_port(uri)
    return _Parts(
        _text(lib.evhttp_uri_get_scheme(uri)),
        _text(lib.evhttp_uri_get_userinfo(uri)),
        _text(lib.evhttp_uri_get_host(uri)),
        None if port < 0 else port,
        _text(lib.evhttp_uri_get_unixsocket(uri)) if _HAS_UNIX else None,
        _text(lib.evhttp_uri_get_path(uri)) or "",
        _text(lib.evhttp_uri_get_query(uri)),
        _text(lib.evhttp_uri_get_fragment(uri)),
    )


def _join(uri: Any, room: int) -> str:
    """Put together parts that have no more than *room* bytes."""
    size = room + 32  # for "unix:", a port, and what stands between
    memory = ffi.new("char[]", size)
    check.clear_errno()
    joined = lib.evhttp_uri_join(uri, memory, size)
    _check_memory("evhttp_uri_join")  # where there is none it leaves out parts
    if not joined:
        path = _text(lib.evhttp_uri_get_path(uri))
        raise ValueError(f"after a host the path must begin with a slash: {path!r}")
    text: str = ffi.string(memory).decode("utf-8", "surrogateescape")
    return text


def _set(uri: Any, parts: _Parts) -> int:
    """Give C the parts; return how many bytes they have."""
    if parts.port is not None:
        if parts.host is None:
            raise ValueError(f"a port without a host: {parts.port}")
        lib.evhttp_uri_set_port(uri, convert.c_int(parts.port, "port", 0, 65535))
    size = 0
    for name, value in parts._replace(port=None)._asdict().items():
        if value is not None:
            setter = getattr(lib, f"evhttp_uri_set_{name.replace('unix_socket', 'unixsocket')}")
            encoded = convert.c_text(value, name)
            size += len(encoded)
            check.clear_errno()
            if setter(uri, encoded) != 0:
                _check_memory(f"evhttp_uri_set_{name}")
                raise ValueError(f"{value!r} cannot be the {name} of a URI; uri_encode() makes it fit")
    return size


# -- RFC 3986, section 5.2 -----------------------------------------------------------------------------------


def _resolve(base: _Parts, reference: _Parts) -> _Parts:
    if reference.scheme is not None:
        found = reference
    elif reference.host is not None or reference.unix_socket is not None:
        found = reference._replace(scheme=base.scheme)
    elif reference.path:
        path = reference.path if reference.path.startswith("/") else _merge(base, reference.path)
        found = base._replace(path=path, query=reference.query)
    else:
        query = base.query if reference.query is None else reference.query
        return base._replace(query=query, fragment=reference.fragment)
    path = _remove_dots(found.path)
    if path.startswith("//") and found.host is None and found.unix_socket is None:
        path = f"/.{path}"  # or it would be read as a host
    return found._replace(path=path, fragment=reference.fragment)


def _merge(base: _Parts, path: str) -> str:
    if not base.path and (base.host is not None or base.unix_socket is not None):
        return f"/{path}"
    return base.path[: base.path.rfind("/") + 1] + path


def _remove_dots(path: str) -> str:
    """Take "." and ".." out: section 5.2.4."""
    path = _DOTS_IN_FRONT.sub("", path)
    if path in (".", ".."):
        return ""
    first, *others = path.split("/")
    kept = [first]
    for segment in others:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(f"/{segment}")
    if others and others[-1] in (".", ".."):
        kept.append("/")
    return "".join(kept)
