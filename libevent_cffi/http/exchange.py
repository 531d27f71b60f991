"""One request on one connection: it goes out, and its response comes in."""

from __future__ import annotations

import errno
from time import monotonic
from typing import TYPE_CHECKING, Optional, Union

from ..buffer import Buffer
from ..errors import ClosedError, HTTPError
from ..event.shortforms import Posted
from ..flags import READ, WRITE, BufferEventFlag, RequestErrorKind
from .reader import CONTINUE, DATA, DONE, HEAD, MORE, ResponseReader
from .response import Response

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..bufferevent import BufferEvent
    from ..event import EventBase, Timer
    from .clientrequest import ClientRequest
    from .options import Options
    from .uri import URI

__all__ = ["Exchange"]

#: How long a server may think about "Expect: 100-continue" before the body goes out all the same.
_CONTINUE_WAIT = 1.0


class Exchange:
    """
    Sends *request* over *bev*, and reads its response; then ``ended(exchange, error)``, once.

    User's functions are called from the queue of call_soon(), with ``_resume()`` queued after each: so one
    that raises, forks, or is struck by a signal is as any other callback, and nothing more is read before it
    has run.
    """

    def __init__(
        self,
        base: EventBase,
        request: ClientRequest,
        bev: BufferEvent,
        options: Options,
        ended: Callable[[Exchange, Optional[Exception]], None],
    ) -> None:
        self._base = base
        self.request = request
        self.bev = bev
        self._options = options
        self._ended: Optional[Callable[[Exchange, Optional[Exception]], None]] = ended
        self.reader = ResponseReader(
            request.method,
            options.max_headers_size,
            options.max_body_size,
            lingering=options.lingering_close,
        )
        #: Where the response redirects to, when that is followed.
        self.redirect: Optional[URI] = None
        #: Was there another request on the connection before?
        self.was_reused = False
        #: Is all of the request written?
        self._is_sent = False
        #: May another request follow?
        self.is_reusable = False
        self._body: Union[bytes, Buffer, None] = None  # waits for "100 Continue"
        self._timer: Optional[Timer] = None
        #: Looks, in its time, whether something has moved since.
        self._clock: Optional[Timer] = None
        self._moved = 0.0
        self._unsent = 0
        self._busy = False  # a function of the user's is to be called
        self._eof = False
        self._failure: Optional[Exception] = None  # what ended the connection, told when its input is used up
        self._write_failure: Optional[Exception] = None
        self._chunk: Optional[Buffer] = None

    # -- out -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Send the request."""
        request, bev = self.request, self.bev
        self._clock = self._limit(self._options.write_timeout)
        body, head = request._body, request._head_bytes()
        if isinstance(body, Buffer):
            request._body = None
        if body and request._headers.get("expect", "").lower() == "100-continue":
            self._body = body
            bev.write(head)
        elif isinstance(body, bytes):
            bev.writelines((head, body)) if len(body) > 4096 else bev.write(head + body)
        else:
            bev.write(head)
            if body is not None:
                bev.write_buffer(body)
        bev.enable(WRITE if request._paused else READ | WRITE)

    def on_write(self) -> None:
        """All that was queued is written."""
        if self._ended is None or self._is_sent:
            return
        if self._body is not None:
            if self._timer is None:
                self._timer = self._base.call_later(_CONTINUE_WAIT, self._send_body)
            return
        self._is_sent = True
        self._drop_clock()
        self._clock = self._limit(self._options.read_timeout)

    def _send_body(self) -> None:
        body, self._body = self._body, None
        self._drop_timer()
        if body is None or self._write_failure is not None:
            return
        if isinstance(body, bytes):
            self.bev.write(body)
        else:
            self.bev.write_buffer(body)

    def _drop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.close()

    # -- time ------------------------------------------------------------------------------------------------

    def _limit(self, seconds: Optional[float]) -> Optional[Timer]:
        """Begin to wait for the next byte, at most so long."""
        self._moved = monotonic()
        self._unsent = len(self.bev.output)
        return None if seconds is None else self._base.call_later(seconds, self._look, seconds)

    def _look(self, seconds: float) -> None:
        """So much time has passed: go on waiting if something has moved meanwhile."""
        self._clock = None
        if self._ended is None:
            return
        try:
            unsent = len(self.bev.output)
        except ClosedError as error:  # somebody has put a filter on it, or taken its pointer
            self._end(error)
            return
        if unsent != self._unsent or (self._is_sent and (self._busy or self.request._paused)):
            self._clock = self._limit(seconds)
            return
        left = self._moved + seconds - monotonic()
        if left > 0:
            self._clock = self._base.call_later(left, self._look, seconds)
        elif self._is_sent:
            self._end(TimeoutError(errno.ETIMEDOUT, f"nothing came from the server for {seconds:g} s"))
        else:
            self._end(TimeoutError(errno.ETIMEDOUT, f"the server took nothing for {seconds:g} s"))

    def _drop_clock(self) -> None:
        clock, self._clock = self._clock, None
        if clock is not None:
            clock.close()

    # -- in --------------------------------------------------------------------------------------------------

    def on_event(self, what: BufferEventFlag, error: Optional[Exception]) -> None:
        """The connection has ended, or stands still."""
        if self._ended is None:
            return
        if what & BufferEventFlag.EOF:
            self._eof = True
        elif what & BufferEventFlag.ERROR:
            if what & BufferEventFlag.WRITING and self._options.read_on_write_error:
                self._write_failure = self._write_failure or error
                return  # what the server has said is still to be read
            self._failure = error or OSError("the connection failed")
        self.go_on()

    def go_on(self) -> None:
        """Read, as far as there is input and nobody has to be called first."""
        self._moved = monotonic()
        try:
            while not self._busy and not self.request._paused and self._ended is not None:
                if not self._step():
                    return
        except Exception as error:
            self._end(error)
        except BaseException:
            self._end(OSError("reading the response was interrupted"))
            raise

    def _step(self) -> bool:
        """Take the next thing; False when there is none now."""
        what = self.reader.step(self.bev.input)
        if what == MORE:
            return self._at_the_end()
        if what == CONTINUE:
            if self._body is not None:
                self._send_body()
        elif what == HEAD:
            self._got_head()
        elif what == DATA:
            self._got_data()
        elif what == DONE:
            self._end(None)
        return True

    def _at_the_end(self) -> bool:
        if self._eof:
            try:
                self.reader.end()
            except HTTPError:
                if self._write_failure is not None:
                    raise self._write_failure from None
                raise
            return True
        if self._failure is not None:
            raise self._write_failure or self._failure
        return False

    def _got_head(self) -> None:
        request, head = self.request, self.reader.head
        assert head is not None
        if head.status == 101 and "upgrade" not in request._headers:
            raise HTTPError(
                "the server went over to another protocol unasked", kind=RequestErrorKind.INVALID_HEADER
            )
        response = Response._make(head, request._url, self.reader.data)
        self._body = None  # it will not be asked for any more
        self._drop_timer()
        if request._route is not None:
            self.redirect = request._route.target(request, response)
        if self.redirect is None:
            request._response = response
            if request._on_headers is not None:
                self._call(request._on_headers, request)

    def _got_data(self) -> None:
        if self.redirect is not None:
            self.reader.data.drain()
        elif self.request._on_chunk is not None:
            chunk, self.reader.data = self.reader.data, Buffer()
            response = self.request._response
            assert response is not None
            response._body = self.reader.data
            self._chunk = chunk
            self._call(self.request._on_chunk, self.request, chunk)

    def _call(self, callback: Callable[..., object], *args: object) -> None:
        self._busy = True
        self._base._post(Posted(callback, args, self.request))
        self._base._post(Posted(self._resume, (), self.request))

    def _resume(self) -> None:
        self._busy = False
        chunk, self._chunk = self._chunk, None
        if chunk is not None:
            chunk.close()
        self.go_on()

    # -- ending ----------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Let go of the connection; ended() is not called any more."""
        self._ended = None
        self._drop_clock()
        self._drop_timer()

    def fail(self, error: Exception) -> None:
        """Give it up, and say why."""
        self._end(error)

    def _end(self, error: Optional[Exception]) -> None:
        ended, self._ended = self._ended, None
        if ended is None:
            return
        self._drop_clock()
        self._drop_timer()
        if error is None:
            self.is_reusable = (
                self.reader.keeps_alive
                and self._body is None
                and not self.bev.output
                and not self._eof
                and self._failure is None
                and self._write_failure is None
                and not self.bev.input
                and "close" not in self.request._headers.get("connection", "").lower()
            )
        ended(self, error)

    def was_never_seen(self, error: Exception) -> bool:
        """Can it be that *error* came because the server had closed an idle connection?"""
        if self.reader.started:
            return False
        return isinstance(error, ConnectionError) or (
            isinstance(error, HTTPError) and error.kind is RequestErrorKind.EOF
        )
