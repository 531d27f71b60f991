"""A request that a server has to answer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Optional, Union

from .._native._libevent import ffi, lib
from ..buffer import Buffer
from ..errors import ClosedError
from . import files, reply
from .headers import Headers
from .outcome import READS_FILES, STATE, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import TypeVarTuple, Unpack

    from ..types import BytesLike, FileDescriptorLike, HeadersLike, StrPath
    from .uri import URI

    _Ts = TypeVarTuple("_Ts")

__all__ = ["Request"]

# Looked up once: a request that is answered at once needs these and no more.
_reply = lib.lev_sreq_reply
_reason = reply.REASONS.get
_NULL = ffi.NULL
_LEND = reply.LEND

_NO_REQUEST: int = lib.LEV_NO_REQUEST
_GONE: int = lib.LEV_CLIENT_GONE


class Request(Outcome):
    """
    A request to answer: in the handler, or later after defer().

    Once, by reply(), reply_json(), error(), redirect() or sendfile(), or by start(), send_chunk() and end().
    A handler that returns without any of this, or raises, has 500 answered for it.  An answer to HEAD, and
    one with status 204 or 304, is sent without its body.

    - ``on_close(request)``: the client went away first.  It is told at once, also while the answer is
      deferred.  Sending raises BrokenPipeError from then on.  A client that has only stopped sending looks
      the same: an answer by reply() is given to it all the same.
    - ``on_complete(request)``: all was written.  No read timeout runs between start() and on_complete.
    - ``on_body(request, chunk)`` and ``on_body_end(request)``: the body, piece by piece, for routes with
      stream=True.  The chunk is emptied when it returns.

    One of on_close and on_complete is called, on the thread that dispatches.  What they raise is logged.

    What the client sent can be read until the request is over; what was read before stays.

    Wraps: evhttp_request_set_on_complete_cb() evhttp_request_set_chunked_cb() evhttp_request_free()
    <event2/http.h>; libevent >= 2.0.
    """

    __slots__ = ()

    # -- called from callbacks_http.py -----------------------------------------------------------------------

    def _told(self, what: int) -> tuple[Optional[Callable[..., object]], tuple[Any, ...]]:
        """Return what is to be called, with what."""
        callback, args = self._callback_for(what)
        if callback is None:
            self._was_told(what)
        return callback, args

    def _callback_for(self, what: int) -> tuple[Optional[Callable[..., object]], tuple[Any, ...]]:
        extra = self._more()
        if what == lib.LEV_TELL_DRAINED:
            if not extra.waiting:
                return None, ()
            extra.ready = extra.ready or len(extra.waiting)
            callback, args = extra.waiting[0]
            return callback, (self, *args)
        if what == lib.LEV_TELL_BODY:
            return extra.on_body, (self, self.body)
        if what == lib.LEV_TELL_LATE:
            return self.error, (503,)
        if what == lib.LEV_TELL_BODY_END:
            return extra.on_body_end, (self,)
        # One that was told has a client that only stopped sending, and may have got its answer since.
        ended = extra.on_complete if what == lib.LEV_TELL_COMPLETE else extra.on_close
        return (None if extra.told else ended), (self,)

    def _was_told(self, what: int) -> bool:
        """Note that it was called; is there another one?"""
        extra = self._more()
        if what == lib.LEV_TELL_DRAINED:
            del extra.waiting[:1]
            extra.ready = max(extra.ready - 1, 0)
            return extra.ready > 0
        if what in (lib.LEV_TELL_GONE, lib.LEV_TELL_LOST):
            extra.told = True
        extra.lost = what == lib.LEV_TELL_LOST
        extra.complete = what == lib.LEV_TELL_COMPLETE and extra.unended
        if what in (lib.LEV_TELL_COMPLETE, lib.LEV_TELL_LOST):
            self._server._requests.pop(self._number, None)
            extra.end()
        return False

    # -- answering -------------------------------------------------------------------------------------------

    @property
    def response_headers(self) -> Headers:
        """
        Headers that go out with whatever answer comes, beside those that it has itself.

        Wraps: evhttp_request_get_output_headers() <event2/http.h>; libevent >= 2.0.
        """
        extra = self._more()
        if extra.headers is None:
            extra.headers = Headers()
        return extra.headers

    def defer(self) -> None:
        """
        Say that the answer comes after the handler has returned.

        The server keeps the request until then, at most for its *reply_timeout*, also when its client has
        left meanwhile: answer it, or close() it, all the same.  Where that raises BrokenPipeError in a
        callback that is not the request's, such as a timer's, it leaves dispatch(): look at *closed* first.

        Raises ClosedError when it was answered, BrokenPipeError, WrongThreadError.
        """
        self._hold(1)

    def reply(
        self,
        status: int = 200,
        body: Union[BytesLike, str, Buffer] = b"",
        *,
        headers: HeadersLike = (),
        reason: Optional[str] = None,
        content_type: Optional[str] = None,
    ) -> None:
        """
        Answer.

        - *status*: from 200 to 999.  *reason*: the words after it; None is the usual ones.
        - *body*: a str goes out as UTF-8, as text/plain unless said otherwise; a Buffer is emptied.
        - *headers*: beside response_headers, of which it takes the place where names are the same.
          Content-Length need not be among them; Date, and what HTTP/1.0 needs, libevent adds.
        - *content_type*: for Content-Type; None is the server's default_content_type.

        Raises ValueError for what cannot stand in a header, TypeError, ClosedError when it was answered,
        BrokenPipeError when the client is gone, WrongThreadError.

        Wraps: evhttp_send_reply() evhttp_request_get_output_buffer() <event2/http.h>; libevent >= 1.4.
        """
        if type(status) is not int or not 200 <= status <= 999:
            status = reply.check_status(status)
        if content_type is None and isinstance(body, str):
            content_type = "text/plain; charset=utf-8"
        extra = self._extra
        common = extra.headers if extra is not None else None
        packed = b""
        if headers or content_type is not None or common:
            packed = reply.pack(headers, common, content_type)
        phrase = _reason(status, _NULL) if reason is None else reply.check_reason(status, reason)
        if type(body) is bytes and len(body) < _LEND:
            data, size, moved, buffer = body, len(body), _NULL, None
        else:
            data, size, moved, buffer = reply.body_for_c(body)
        result = _reply(self._server._c, self._number, status, phrase, packed, len(packed), data, size, moved)
        if result == 0:
            self._answered = True
        elif result == _GONE and not self._answered:
            self._answered = self._state() & STATE == lib.LEV_SREQ_ANSWERED
            self._refuse(result, "evhttp_send_reply")
        else:
            self._refuse_body(result, buffer)
        if buffer is not None:
            buffer._changed()

    def _refuse_body(self, code: int, buffer: Optional[Buffer]) -> None:
        if buffer is not None and code in (
            lib.LEV_BUSY,
            lib.LEV_FROZEN,
            lib.LEV_NO_MEMORY,
            lib.LEV_HOLDS_FILE,
        ):
            buffer._refuse(code, "evbuffer_add_buffer")
        if code == lib.LEV_CLOSED and buffer is not None and buffer.closed:
            raise ClosedError(f"{buffer!r}: it was closed, by you or with its owner")
        self._refuse(code, "evhttp_send_reply")

    def reply_json(self, value: Any, status: int = 200, *, headers: HeadersLike = ()) -> None:
        """
        Answer with *value* as JSON.

        Raises TypeError for what JSON cannot say, and as reply().

        Wraps: evhttp_send_reply() <event2/http.h>; libevent >= 1.4.
        """
        body = json.dumps(value).encode("ascii")
        self.reply(status, body, headers=headers, content_type="application/json")

    def error(self, status: int, reason: Optional[str] = None) -> None:
        """
        Answer with a page that says what is wrong, which the server's *error_page* may make.

        *reason* stands on the status line and in the page; None is the usual words.  Raises as reply().

        Wraps: evhttp_send_error() <event2/http.h>; libevent >= 1.4.
        """
        status = reply.check_status(status)
        words = reply.phrase(status) if reason is None else reason
        reply.check_reason(status, words)
        extra = self._extra
        if (
            extra is not None and extra.headers
        ):  # these were for another body, and libevent would refuse the page
            for name in ("Content-Length", "Transfer-Encoding"):
                extra.headers.pop(name, None)
        self.reply(
            status,
            self._server._page_of(self, status, words),
            reason=reason,
            content_type="text/html; charset=utf-8",
        )

    def redirect(self, location: Union[str, URI], status: int = 302) -> None:
        """
        Send the client elsewhere.

        Raises ValueError for a *status* that is no redirection, and as reply().

        Wraps: evhttp_send_reply() <event2/http.h>; libevent >= 1.4.
        """
        if reply.check_status(status) not in (300, 301, 302, 303, 307, 308):
            raise ValueError(f"{status} is no redirection: 301, 302, 303, 307 and 308 are")
        self.reply(status, headers=[("Location", str(location))])

    def sendfile(
        self,
        file: Union[StrPath, FileDescriptorLike],
        *,
        content_type: Optional[str] = None,
        headers: HeadersLike = (),
        ranges: bool = True,
    ) -> None:
        """
        Answer with a file, or the part of it that a header Range asks for.

        - *file*: a path, or a descriptor or what has one, which stays its owner's.
        - *ranges*: False always sends all of it.

        HEAD is honoured, and so are conditions, as RFC 9110 orders them: If-Match and If-Unmodified-Since
        (412), If-None-Match and If-Modified-Since (304), If-Range.  They are about the ETag and Last-Modified
        among *headers* or response_headers, or those made of the file's time and size, where an ETag is weak
        within a second of the file's last change.  Several ranges at once get all of it.
        The system sends the file by itself; over TLS, and once the connection's bufferevent was asked for,
        which may have a limit, it is read while it is sent.  A file that becomes shorter meanwhile ends the
        connection.

        Raises OSError, ValueError for what is no regular file, and as reply().

        Wraps: evhttp_send_reply_start() evhttp_send_reply_chunk_with_cb() <event2/http.h>; libevent >= 2.1.
        """
        state = self._state()
        if state == _NO_REQUEST:
            self._refuse(state, "evhttp_send_reply")
        files.send(self, file, content_type, headers, ranges)

    def _takes_files(self) -> bool:
        """Can a file be sent as it is?"""
        state = self._state()
        return state >= 0 and not state & READS_FILES

    def start(
        self,
        status: int = 200,
        *,
        headers: HeadersLike = (),
        reason: Optional[str] = None,
        content_type: Optional[str] = None,
    ) -> None:
        """
        Send the head of an answer, whose body send_chunk() sends, and end() ends.

        With a header Content-Length the body has to be as long as that says; without, it goes out in chunks,
        or, to HTTP/1.0, until the connection is closed.  No timeout runs while it pauses.  A client that has
        got all of Content-Length and leaves before end() has left after the answer: on_complete is called.

        Raises as reply().

        Wraps: evhttp_send_reply_start() <event2/http.h>; libevent >= 1.4.
        """
        status = reply.check_status(status)
        common = self._extra.headers if self._extra is not None else None
        packed = reply.pack(headers, common, content_type)
        phrase = reply.check_reason(status, reason)
        requests, number = self._server._requests, self._number
        is_new = number not in requests
        requests[number] = self
        result = lib.lev_sreq_start(self._server._c, number, status, phrase, packed, len(packed))
        if result < 0:
            if is_new:
                requests.pop(number, None)
            self._refuse(result, "evhttp_send_reply_start")
        self._answered = self._more().unended = True

    def send_chunk(
        self,
        data: Union[BytesLike, str, Buffer],
        callback: Optional[Callable[[Request, Unpack[_Ts]], object]] = None,
        *args: Unpack[_Ts],
    ) -> None:
        """
        Send a piece of the body; a str goes out as UTF-8, a Buffer is emptied.

        ``callback(request, *args)`` is called when it is written, which is the time to send the next one; it
        is not called when the client goes away first.  What it raises is logged, and ends the connection.

        Raises ValueError when more is sent than Content-Length said, ClosedError before start() and after
        end(), BrokenPipeError when the client is gone, TypeError, WrongThreadError.

        Wraps: evhttp_send_reply_chunk() evhttp_send_reply_chunk_with_cb() <event2/http.h>; libevent >= 1.4.
        """
        if callback is not None and not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r}")
        memory, size, moved, buffer = reply.body_for_c(data)
        if callback is not None:
            self._more().waiting.append((callback, args))
        tell = callback is not None
        result = lib.lev_sreq_chunk(self._server._c, self._number, memory, size, moved, tell)
        if result < 0:
            if callback is not None:
                self._more().waiting.pop()
            self._refuse_body(result, buffer)
        if buffer is not None:
            buffer._changed()

    @property
    def unsent(self) -> int:
        """How many bytes wait for the client to take them.  Raises WrongThreadError."""
        result: int = lib.lev_sreq_unsent(self._server._c, self._number)
        if result == lib.LEV_WRONG_THREAD:
            self._server._refuse(result, "evbuffer_get_length")
        return max(result, 0)

    def end(self) -> None:
        """
        End the body that start() has begun.

        Raises ValueError when it is shorter than Content-Length said, and closes the connection; as
        send_chunk().

        Wraps: evhttp_send_reply_end() <event2/http.h>; libevent >= 1.4.
        """
        result = lib.lev_sreq_end(self._server._c, self._number)
        extra = self._more()
        if result < 0 and not (result == _NO_REQUEST and extra.complete):
            self._refuse(result, "evhttp_send_reply_end")
        extra.complete = extra.unended = False

    def close(self) -> None:
        """
        Give it up without an answer: the connection is closed, and none of its callbacks runs any more.

        Any number of times, also when it is over.  Raises WrongThreadError.

        Wraps: evhttp_connection_free() <event2/http.h>; libevent >= 1.4.
        """
        result = lib.lev_sreq_close(self._server._c, self._number)
        if result == lib.LEV_WRONG_THREAD:
            self._server._refuse(result, "evhttp_connection_free")
        self._server._requests.pop(self._number, None)
        if self._extra is not None:
            self._extra.end()
