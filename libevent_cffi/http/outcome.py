"""What becomes of a request: was it answered, is its client there, and who is told."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, NoReturn, Optional

from .._native._libevent import lib
from ..buffer import Buffer
from ..errors import ClosedError
from .incoming import Incoming

if TYPE_CHECKING:
    from collections.abc import Callable

    from .request import Request

__all__ = ["READS_FILES", "STATE", "Outcome"]

#: What lev_sreq_state() answers: LEV_SREQ_ in the first bits, and these.
STATE = 15
READS_FILES = 64
_IS_GONE = 16
_IS_LOST = 32

_NO_REQUEST: int = lib.LEV_NO_REQUEST
_GONE: int = lib.LEV_CLIENT_GONE

_WHY = {
    lib.LEV_ANSWERED: "it was answered already",
    lib.LEV_TOO_LATE: "start() has sent the head of an answer: send_chunk() and end() send the rest",
    lib.LEV_NOT_STARTED: "there is nothing to go on with: call start() first",
}


class Outcome(Incoming):
    """The part of a Request that tells what became of it."""

    __slots__ = ()

    @property
    def answered(self) -> bool:
        """Has it been answered, or has an answer been begun?  Raises WrongThreadError."""
        if self._answered:
            return True
        state = self._state()
        return state >= 0 and state & STATE >= lib.LEV_SREQ_STARTED

    @property
    def status(self) -> Optional[int]:
        """
        The status of its answer, None before there is one: for a log, in on_complete and on_close too.

        Raises ClosedError when the request is over and everything about it is gone, WrongThreadError.

        Wraps: evhttp_request_get_response_code() <event2/http.h>; libevent >= 1.4.
        """
        status, _ = self._answer()
        return status or None

    @property
    def closed(self) -> bool:
        """
        Can nothing be sent any more: it was answered or given up, or the client is gone?

        Raises WrongThreadError.
        """
        state = self._state()
        return state < 0 or bool(state & (_IS_GONE | _IS_LOST)) or state & STATE == lib.LEV_SREQ_ANSWERED

    @property
    def client_gone(self) -> bool:
        """Did the client leave before all was written?  Raises WrongThreadError."""
        state = self._state()
        if state < 0:
            return state == _NO_REQUEST and self._was_lost()
        return bool(state & (_IS_GONE | _IS_LOST))

    @property
    def on_close(self) -> Optional[Callable[[Request], object]]:
        """Told when the client goes away first: ``on_close(request)``."""
        return self._extra.on_close if self._extra is not None else None

    @on_close.setter
    def on_close(self, callback: Optional[Callable[[Request], object]]) -> None:
        self._set("on_close", callback)

    @property
    def on_complete(self) -> Optional[Callable[[Request], object]]:
        """
        Told when all was written: ``on_complete(request)``.

        Wraps: evhttp_request_set_on_complete_cb() <event2/http.h>; libevent >= 2.1.
        """
        return self._extra.on_complete if self._extra is not None else None

    @on_complete.setter
    def on_complete(self, callback: Optional[Callable[[Request], object]]) -> None:
        self._set("on_complete", callback)

    @property
    def on_body(self) -> Optional[Callable[[Request, Buffer], object]]:
        """
        Gets the body, piece by piece, on routes with stream=True: ``on_body(request, chunk)``.

        Wraps: evhttp_request_set_chunked_cb() <event2/http.h>; libevent >= 1.4.
        """
        return self._extra.on_body if self._extra is not None else None

    @on_body.setter
    def on_body(self, callback: Optional[Callable[[Request, Buffer], object]]) -> None:
        self._set("on_body", callback)

    @property
    def on_body_end(self) -> Optional[Callable[[Request], object]]:
        """Told when there is no more of the body, on routes with stream=True: ``on_body_end(request)``."""
        return self._extra.on_body_end if self._extra is not None else None

    @on_body_end.setter
    def on_body_end(self, callback: Optional[Callable[[Request], object]]) -> None:
        self._set("on_body_end", callback)

    def _set(self, name: str, callback: Optional[Callable[..., object]]) -> None:
        if callback is not None and not callable(callback):
            raise TypeError(f"{name} must be callable or None, not {callback!r}")
        if callback is not None:
            self._hold(0)
        setattr(self._more(), name, callback)

    def _hold(self, defer: int) -> None:
        """Have the server keep it, and be told of its end."""
        requests, number = self._server._requests, self._number
        is_new = number not in requests
        requests[number] = self  # type: ignore[assignment]  # this is a part of one
        result = lib.lev_sreq_hold(self._server._c, number, defer)
        if result < 0:
            if is_new:
                requests.pop(number, None)
            self._refuse(result, "evhttp_request")

    def _was_lost(self) -> bool:
        """Tell of a request that C has no more: did the client leave first, as far as that is known?"""
        return not self._answered or (self._extra is not None and self._extra.lost)

    def _refuse(self, code: int, call: str) -> NoReturn:
        if code == _GONE or (code == _NO_REQUEST and self._was_lost()):
            raise BrokenPipeError(errno.EPIPE, f"{os.strerror(errno.EPIPE)}: the client has gone")
        if code == _NO_REQUEST:
            code = lib.LEV_ANSWERED
        if code in _WHY:
            raise ClosedError(f"{self!r}: {_WHY[code]}")
        if code == lib.LEV_WRONG_LENGTH:
            raise ValueError(
                "the body has not the length that the header Content-Length says, or there is a header"
                " Transfer-Encoding, which is libevent's affair: leave both out"
            )
        self._server._refuse(code, call)

    def __repr__(self) -> str:
        words = ["Request"]
        if self._line is not None:
            words += self._line[:2]
        state = lib.lev_sreq_state(self._server._c, self._number)  # another thread may want its name too
        if self._answered:
            words.append("answered")
        elif state != lib.LEV_WRONG_THREAD and (state < 0 or state & (_IS_GONE | _IS_LOST)):
            words.append("client gone" if self.client_gone else "closed")
        return f"<{' '.join(words)}>"
