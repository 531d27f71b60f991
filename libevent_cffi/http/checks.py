"""What a client's connection is given, checked."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Any, Optional, Union

from ..buffer import Buffer
from ..bufferevent import BufferEvent

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..event import EventBase
    from ..types import BytesLike
    from .connection import Connection
    from .options import Options

__all__ = ["checked_bufferevent", "checked_callback", "has_body", "is_readable"]


def has_body(body: Union[BytesLike, str, Buffer]) -> bool:
    if isinstance(body, (str, Buffer)):
        return len(body) > 0
    try:
        view = memoryview(body)
    except TypeError:
        raise TypeError(f"a body is bytes-like, a str or a Buffer, not {type(body).__name__}") from None
    with view:
        return view.nbytes > 0


def checked_callback(
    callback: Optional[Callable[[Connection], object]],
) -> Optional[Callable[[Connection], object]]:
    if callback is not None and not callable(callback):
        raise TypeError(f"on_close must be callable, not {callback!r}")
    return callback


def checked_bufferevent(base: EventBase, bev: Any, options: Options) -> Optional[BufferEvent]:
    if bev is None:
        return None
    if not isinstance(bev, BufferEvent):
        raise TypeError(f"bufferevent must be a BufferEvent, not {bev!r}")
    if bev.base is not base:
        raise ValueError(f"{bev!r} is on another base")
    if (bev._under is not None and bev.tls is None) or bev.fileno() < 0:
        raise ValueError(f"HTTP is spoken over a connected socket, or its TLS, not over {bev!r}")
    if options.tls is not None and bev.tls is None:
        raise ValueError("tls= with a bufferevent that does not speak TLS: make it with tls=")
    return bev


def is_readable(fd: int) -> bool:
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([fd], [], [], 0)[0])
