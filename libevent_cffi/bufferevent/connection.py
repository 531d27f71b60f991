"""BufferEvent: how one is made, and what it is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional

from .._native import children, convert
from .._native._libevent import ffi, lib
from ..event.arguments import check_base, check_priority
from ..event.events import evict
from ..flags import EventFlag, FlushMode, check_flags
from .control import BOTH, check_directions
from .flushing import with_a_road
from .limits import c_rate
from .secure import Secure, new_layer
from .sockets import handed_over

if TYPE_CHECKING:
    from typing_extensions import Self

    from ..event import EventBase
    from ..tls import TLSContext
    from ..types import FileDescriptorLike
    from .handle import DataCallback, EventCallback
    from .limits import RateLimit

__all__ = ["BufferEvent"]


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
    - *read_timeout*, *write_timeout*: as set_timeouts(), in seconds.
    - *priority*: 0 is the most urgent; None means the middle one.
    - *rate_limit*: how fast it may be.

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
        enabled: EventFlag = BOTH,
        read_timeout: Optional[float] = None,
        write_timeout: Optional[float] = None,
        priority: Optional[int] = None,
        rate_limit: Optional[RateLimit] = None,
    ) -> None:
        self._check_new()
        check_base(base)
        self._prepare(base, on_read, on_write, on_event)
        directions = check_directions(enabled)
        self._check_timeouts(read_timeout, write_timeout)
        number = None if priority is None else check_priority(base, priority)
        c_rate(rate_limit)
        self._tls = new_layer(base, tls, server_hostname, sock is not None)
        if sock is None:
            self._open(base, -1, directions)
        else:
            with handed_over(sock) as fd:
                self._open(base, fd, directions)
        if read_timeout is not None or write_timeout is not None:
            self.set_timeouts(read=read_timeout, write=write_timeout)
        if number is not None:
            self._checked(lib.lev_bev_set_priority(self._c, number, 1), "bufferevent_priority_set")
        if rate_limit is not None:
            self.rate_limit = rate_limit

    def _prepare(
        self,
        base: Any,
        on_read: Optional[DataCallback],
        on_write: Optional[DataCallback],
        on_event: Optional[EventCallback],
    ) -> None:
        super()._prepare(base, on_read, on_write, on_event)
        self._limit = self._group = None

    @staticmethod
    def _check_timeouts(read: Optional[float], write: Optional[float]) -> None:
        for each, name in ((read, "read_timeout"), (write, "write_timeout")):
            if each is not None:
                convert.check_seconds(each, name)

    def _open(self, base: EventBase, fd: int, directions: int) -> None:
        if self._tls is not None:
            self._open_tls(base, fd, directions, self._tls)
            return
        handle = children.new("struct lev_bev *")
        result = lib.lev_bev_open(handle, base._l, fd, directions, self._wants())
        if result == lib.LEV_FD_REUSED:
            evict(base, fd)
            result = lib.lev_bev_open(handle, base._l, fd, directions, self._wants())
        self._begin_checked(base, handle, result, "bufferevent_socket_new")

    # -- pairs -----------------------------------------------------------------------------------------------

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
            end._begin_checked(base, handle, result, "bufferevent_pair_new")
        one, other = ends
        one._partner, other._partner = other, one
        return one, other

    @property
    def partner(self) -> Optional[BufferEvent]:
        """
        The other end of a pair; None for what is no pair, and when one of them is closed.

        Wraps: bufferevent_pair_get_partner() <event2/bufferevent.h>; libevent >= 2.0.
        """
        partner = self._partner
        return None if partner is None or self.closed or partner.closed else partner

    # -- filters ---------------------------------------------------------------------------------------------

    @property
    def underlying(self) -> Optional[BufferEvent]:
        """
        What a filter stands on; None for what is no filter.

        Wraps: bufferevent_get_underlying() <event2/bufferevent.h>; libevent >= 2.0.
        """
        return self._under

    def flush(self, events: EventFlag = BOTH, mode: FlushMode = FlushMode.FLUSH) -> bool:
        """
        Have the filters move all that they can of READ, of WRITE or of both; return whether anything moved.

        A socket has nothing to flush: close(flush=True) and on_write tell when data is written.  For a pair
        it goes past the other end's high mark, and with FINISHED the other end is told EOF.

        Raises ValueError for other flags, ClosedError, WrongThreadError, and outside of a loop what a filter
        raised.

        Wraps: bufferevent_flush() <event2/bufferevent.h>; libevent >= 1.4.
        """
        args = self._c, check_directions(events), int(check_flags(FlushMode, mode, "mode"))
        result = with_a_road(self._base, lib.lev_bev_flush, *args)
        self._checked(result, "bufferevent_flush")
        if not self.closed:
            self._wrote()
        return result > 0

    # -- pointers --------------------------------------------------------------------------------------------

    @classmethod
    def _adopt(cls, pointer: Any, base: EventBase) -> Self:
        """Stand for a ``struct bufferevent *`` on *base*, which is freed with the object."""
        return cls._around(pointer, base, 0)

    @classmethod
    def _borrow(cls, pointer: Any, base: EventBase) -> Self:
        """
        Stand for a ``struct bufferevent *`` on *base* that its owner frees, who calls _invalidate() before.

        Its callbacks stay its owner's until a callback is set here.
        """
        return cls._around(pointer, base, 1)

    @classmethod
    def _around(cls, pointer: Any, base: EventBase, is_borrowed: int) -> Self:
        check_base(base)
        if not isinstance(pointer, ffi.CData) or ffi.typeof(pointer) is not ffi.typeof(
            "struct bufferevent *"
        ):
            raise TypeError(f"a struct bufferevent * is wanted, not {pointer!r}")
        if not pointer:
            raise ValueError("the pointer is NULL")
        self = cls.__new__(cls)
        self._prepare(base, None, None, None)
        handle = children.new("struct lev_bev *")
        result = lib.lev_bev_adopt(handle, base._l, pointer, 0, is_borrowed)
        if result == lib.LEV_BEV_NO_SOCKET:
            raise ValueError(f"the bufferevent is not on {base!r}")
        self._begin_checked(base, handle, result, "bufferevent_setcb")
        return self

    def _invalidate(self) -> None:
        """Whoever has the bufferevent frees it: from now on this one is closed, and does not touch it."""
        lib.lev_bev_forget(self._c)
        self._base._children.pop(self._token, None)

    def _pointer(self) -> Any:
        """Return the ``struct bufferevent *``, or NULL."""
        return lib.lev_bev_pointer(self._c)

    def _surrender(self) -> Any:
        """Return the ``struct bufferevent *``, which is the caller's to free."""
        self._check_usable()
        pointer = lib.lev_bev_surrender(self._c)
        if not pointer:
            raise TypeError(f"{self!r} cannot give its pointer away")
        self._base._children.pop(self._token, None)
        return pointer

    # -- looking ---------------------------------------------------------------------------------------------

    @property
    def base(self) -> EventBase:
        """
        The base that it is on.

        Wraps: bufferevent_get_base() <event2/bufferevent.h>; libevent >= 2.0.
        """
        return self._base  # type: ignore[return-value]

    @property
    def error(self) -> Optional[Exception]:
        """The last failure that was told to on_event, or None."""
        return self._error

    def _describe(self) -> list[str]:
        if self.closed:
            return []
        fd = self.fileno()
        where = "pair" if self._partner is not None else f"fd={fd}" if fd >= 0 else "unconnected"
        return [where, f"enabled={self.enabled}"]
