"""BufferEvent: making it, its descriptor, and its settings."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Optional

from .._native import children, convert
from .._native._libevent import ffi, lib
from ..errors import ClosedError
from ..event.arguments import check_base
from ..flags import EventFlag, check_flags
from .secure import Secure, new_layer
from .sockets import handed_over

if TYPE_CHECKING:
    from ..event import EventBase
    from ..tls import TLSContext
    from ..types import Address, FileDescriptorLike, SocketAddress
    from .handle import DataCallback, EventCallback

__all__ = ["BufferEvent"]

_BOTH = EventFlag.READ | EventFlag.WRITE


class BufferEvent(Secure):
    """
    A connection with an input and an output buffer; over *sock*, or over what connect() opens.

    *sock* is handed over: a socket object is detached, an int taken, of anything else the descriptor is
    duplicated.  It is closed at the end.  A pipe or a terminal will do as well, a file will not.

    - *on_read*: ``on_read(bev)`` when the input has reached its low mark.
    - *on_write*: ``on_write(bev)`` when the output has fallen to its low mark, which is empty by default.
    - *on_event*: ``on_event(bev, what, error)`` for CONNECTED; for EOF, where *error* is None; for TIMEOUT,
      with a TimeoutError; and for ERROR, with an OSError, DNSError or TLSError.  Without it a failure closes
      the connection, and so does EOF, when what waits in the output has been written.
    - *tls*: a context; a client's connects under TLS, a server's accepts.  CONNECTED comes after its
      handshake; what is written before that is sent after it.
    - *server_hostname*: the name that a client's handshake asks for and verifies; None is the host that
      connect() is given.
    - *enabled*: the directions that are on from the start, by default both.

    Callbacks run on the thread that dispatches, never inside of a call of its methods.  It is held by its
    base while it reads, connects, or has output to write; the connection of one that is dropped while it
    does none of this is closed.

    Raises OSError, TypeError, ValueError, ClosedError, WrongThreadError.

    Wraps: bufferevent_socket_new() bufferevent_openssl_socket_new() bufferevent_free() bufferevent_setcb()
    bufferevent_getcb() <event2/bufferevent.h>; libevent >= 2.0.
    """

    __slots__ = ()

    def __init__(
        self,
        base: EventBase,
        sock: Optional[FileDescriptorLike] = None,
        *,
        on_read: Optional[DataCallback] = None,
        on_write: Optional[DataCallback] = None,
        on_event: Optional[EventCallback] = None,
        tls: Optional[TLSContext] = None,
        server_hostname: Optional[str] = None,
        enabled: EventFlag = _BOTH,
    ) -> None:
        check_base(base)
        self._prepare(base, on_read, on_write, on_event)
        directions = check_directions(enabled)
        self._tls = new_layer(base, tls, server_hostname, sock is not None)
        if sock is None:
            self._open(base, -1, directions)
        else:
            with handed_over(sock) as fd:
                self._open(base, fd, directions)

    def _open(self, base: EventBase, fd: int, directions: int) -> None:
        if self._tls is not None:
            self._open_tls(base, fd, directions, self._tls)
            return
        handle = children.new("struct lev_bev *")
        result = lib.lev_bev_open(handle, base._l, fd, directions, self._wants())
        if result < 0:
            self._c = handle
            self._child = ffi.cast("struct lev_child *", handle)
            self._refuse_new(result, "bufferevent_socket_new")
        self._begin(base, handle)

    def _refuse_new(self, code: int, call: str) -> None:
        if code == lib.LEV_CLOSED:
            raise ClosedError(f"the base was closed: {self._base!r}")
        self._refuse(code, call)

    @classmethod
    def pair(cls, base: EventBase) -> tuple[BufferEvent, BufferEvent]:
        """
        Make two ends of a connection inside of this process: what one writes the other reads.

        They have no descriptor.  Closing one is EOF for the other, as with sockets.

        Raises MemoryError, TypeError, ClosedError, WrongThreadError.

        Wraps: bufferevent_pair_new() <event2/bufferevent.h>; libevent >= 2.0.
        """
        check_base(base)
        ends = [BufferEvent.__new__(BufferEvent) for _ in range(2)]
        handles = [children.new("struct lev_bev *") for _ in ends]
        for end in ends:
            end._prepare(base, None, None, None)
        result = lib.lev_bev_open_pair(handles[0], handles[1], base._l)
        for end, handle in zip(ends, handles):
            if result < 0:
                end._c = handle
                end._child = ffi.cast("struct lev_child *", handle)
                end._refuse_new(result, "bufferevent_pair_new")
            end._begin(base, handle)
        one, other = ends
        one._partner, other._partner = other, one
        return one, other

    @property
    def partner(self) -> Optional[BufferEvent]:
        """
        The other end of a pair; None for what is no pair, and when that end is closed.

        Wraps: bufferevent_pair_get_partner() <event2/bufferevent.h>; libevent >= 2.0.
        """
        partner = self._partner
        return None if partner is None or self.closed or partner.closed else partner

    # -- connecting ------------------------------------------------------------------------------------------

    def connect(self, address: Address) -> None:
        """
        Connect to *address*; on_event is told CONNECTED, or ERROR or TIMEOUT, later.

        An attempt takes at most the write timeout.  After a failure it may be tried again.

        Raises ValueError for an address that is none, and for a connection that is open; TypeError;
        ClosedError; WrongThreadError.

        Wraps: bufferevent_socket_connect() <event2/bufferevent.h>; libevent >= 2.0.
        """
        if self._tls is not None:
            self._tls._connect_to(address[0] if isinstance(address, tuple) else None)
        self._connect([address])

    def _connect(self, addresses: list[Any]) -> None:
        if self._engine is not None:
            self._engine.wire._connect(addresses)
            return
        targets = ffi.new("struct lev_target[]", len(addresses))
        for index, each in enumerate(addresses):
            memory, length = convert.sockaddr_to_c(each)
            lib.lev_target_set(targets + index, memory, length)
        self._reason = None
        self._done(lib.lev_bev_connect(self._c, targets, len(addresses)), "bufferevent_socket_connect")

    # -- control ---------------------------------------------------------------------------------------------

    def enable(self, events: EventFlag) -> None:
        """
        Turn READ or WRITE or both on.

        Raises ValueError for other flags, OSError, ClosedError, WrongThreadError.

        Wraps: bufferevent_enable() <event2/bufferevent.h>; libevent >= 1.4.
        """
        self._done(lib.lev_bev_enable(self._c, check_directions(events)), "bufferevent_enable")

    def disable(self, events: EventFlag) -> None:
        """
        Turn READ or WRITE or both off: what arrives stays where it is, and what was written waits.

        Raises ValueError for other flags, ClosedError, WrongThreadError.

        Wraps: bufferevent_disable() <event2/bufferevent.h>; libevent >= 1.4.
        """
        self._done(lib.lev_bev_disable(self._c, check_directions(events)), "bufferevent_disable")

    @property
    def enabled(self) -> EventFlag:
        """
        The directions that are on; an end, a failure or a timeout turns them off.

        Wraps: bufferevent_get_enabled() <event2/bufferevent.h>; libevent >= 2.0.
        """
        return EventFlag(self._checked(lib.lev_bev_enabled(self._c), "bufferevent_get_enabled"))

    @property
    def error(self) -> Optional[Exception]:
        """The last failure that was told to on_event, or None."""
        return self._error

    # -- descriptors -----------------------------------------------------------------------------------------

    def fileno(self) -> int:
        """
        Return its descriptor, which stays its own; -1 when it has none.

        Raises ClosedError, WrongThreadError.

        Wraps: bufferevent_getfd() <event2/bufferevent.h>; libevent >= 2.0.
        """
        fd: int = lib.lev_bev_fd((self if self._engine is None else self._engine.wire)._c)
        return -1 if fd == lib.LEV_BEV_NO_SOCKET else self._checked(fd, "bufferevent_getfd")

    def detach(self) -> socket.socket:
        """
        Give the socket back, and close the rest: what has arrived and was not read is lost.

        Raises ValueError when there is none, ClosedError, WrongThreadError.

        Wraps: bufferevent_setfd() <event2/bufferevent.h>; libevent >= 2.0.
        """
        fd = self._checked(lib.lev_bev_detach(self._c), "bufferevent_setfd")
        self._base._children.pop(self._token, None)
        return socket.socket(fileno=fd)

    def replace_socket(self, sock: FileDescriptorLike) -> None:
        """
        Go on over another socket, which is handed over; the one before is closed.

        What is in the buffers stays.  Raises as the constructor does, and ValueError while it connects.

        Wraps: bufferevent_replacefd() bufferevent_setfd() <event2/bufferevent.h>; libevent >= 2.0.
        """
        with handed_over(sock) as fd:
            self._done(lib.lev_bev_replace(self._c, fd), "bufferevent_setfd")

    @property
    def local_address(self) -> Optional[SocketAddress]:
        """The address of this side; None when it has no socket.  Raises ClosedError, WrongThreadError."""
        fd = self.fileno()
        return None if fd < 0 else convert.local_address(fd)

    @property
    def peer_address(self) -> Optional[SocketAddress]:
        """The address of the other side; None when it has no socket.  Raises OSError when not connected."""
        fd = self.fileno()
        return None if fd < 0 else convert.peer_address(fd)

    def _describe(self) -> list[str]:
        if self.closed:
            return []
        fd = self.fileno()
        where = "pair" if self._partner is not None else f"fd={fd}" if fd >= 0 else "unconnected"
        return [where, f"enabled={self.enabled}"]


def check_directions(events: EventFlag) -> int:
    """Return *events*, which may be READ and WRITE."""
    value = int(check_flags(EventFlag, events, "events"))
    if value & ~int(_BOTH):
        raise ValueError(f"events can be READ and WRITE only, not {events!r}")
    return value
