"""A client's call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional, TypeVar

from ..buffer import Buffer
from ..errors import CancelledError, ClosedError, RPCError
from ..event import Operation
from ..flags import HookType, RPCStatus
from ..http import Headers
from .hooks import HookContext
from .message import Message

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..event import Timer
    from ..http import ClientRequest, Connection
    from ..types import HeadersLike
    from .pool import Pool

__all__ = ["ClientCall", "Line"]

_R = TypeVar("_R", bound=Message)


class Line:
    """A connection of a pool."""

    __slots__ = ("calls", "connection", "sent")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        #: How many calls are to go over it, with those that hooks pause; and how many of them were sent.
        self.calls = self.sent = 0


class ClientCall(Operation[_R]):
    """
    A call on its way; a Pool makes it.

    Its result is the reply.  It fails with RPCError, when a hook ended it, when what came is no reply, or
    when the pool has no connection; with TimeoutError; with the error of its connection: OSError, DNSError,
    TLSError or HTTPError; or with CancelledError, when it was cancelled or its pool or connection closed.

    Wraps: struct evrpc_request_wrapper <event2/rpc.h>; libevent >= 2.0, its effect.
    """

    __slots__ = (
        *("_context", "_http", "_line", "_meta", "_name", "_path", "_payload", "_pool", "_reply", "_request"),
        *("_status", "_timer"),
    )

    _context: Optional[HookContext]
    _http: Optional[ClientRequest]
    _line: Optional[Line]
    _meta: dict[str, bytes]
    _name: str
    _path: str
    _payload: bytes
    _pool: Pool
    _reply: type[_R]
    _request: Message
    _status: RPCStatus
    _timer: Optional[Timer]

    @classmethod
    def _make(
        cls,
        pool: Pool,
        name: str,
        path: str,
        request: Message,
        reply: type[_R],
        callback: Optional[Callable[..., object]],
        args: tuple[Any, ...],
    ) -> ClientCall[_R]:
        payload = bytes(request)
        call: Any = cls._start(pool._base, callback, args)
        call._pool, call._name, call._path = pool, name, path
        call._request, call._payload, call._reply = request, payload, reply
        call._meta = {}
        call._context = call._http = call._line = call._timer = None
        call._status = RPCStatus.NONE
        return call  # type: ignore[no-any-return]

    # -- looking ---------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The name that is called."""
        return self._name

    @property
    def request(self) -> Message:
        """The message that is sent; as it was when call() was called, whatever becomes of it."""
        return self._request

    @property
    def status(self) -> RPCStatus:
        """
        At which step it failed; NONE while it runs, and when it succeeded.

        - UNSTARTED: nothing was sent.
        - TIMEOUT: no answer came, in time or because the connection failed, or what came is no HTTP.
        - BADPAYLOAD: the answer is no reply; so is any status but 200, such as the 503 by which a server
          fails a call, and its 404 for a name that it has not.
        - HOOKABORTED: a hook terminated it.

        Wraps: EVRPC_STATUS_ERR_NONE <event2/rpc_struct.h>; libevent >= 1.4, its effect.
        """
        return self._status

    @property
    def pool(self) -> Pool:
        """
        The pool that it was made by.

        Wraps: evrpc_request_get_pool() <event2/rpc.h>; libevent >= 2.0, its effect.
        """
        return self._pool

    # -- going out -------------------------------------------------------------------------------------------

    def _begin(self, line: Line) -> None:
        """Go out over *line*, when output hooks let it."""
        self._line = line
        line.calls += 1
        if not self._pool._hooks[HookType.OUTPUT]:
            self._send(self._payload)
            return
        body = Buffer(self._payload)
        headers = Headers()
        self._pass(HookType.OUTPUT, body, headers, lambda passes: self._passed_out(body, headers, passes))

    def _pass(self, type: HookType, body: Buffer, headers: Headers, then: Callable[[bool], object]) -> None:
        """Have hooks see *body* before ``then(passes)``, which need not be called at all."""
        assert self._line is not None
        connection = self._line.connection
        self._context = context = HookContext._make(
            self._pool, type, body, self._meta, then, _nothing, connection=connection, headers=headers
        )
        if type == HookType.INPUT:
            self._leave_line()  # it is free for the next call, also while hooks pause
        context._run()

    def _passed_out(self, body: Buffer, headers: Headers, passes: bool) -> None:
        self._context = None
        if not passes or body.closed:
            body.close()
            self._abort()
            return
        payload = bytes(body)
        body.close()
        try:
            self._send(payload, headers)
        except ValueError as error:  # two lengths, or the like: no message would arrive
            self._abort(error)

    def _send(self, payload: bytes, headers: HeadersLike = ()) -> None:
        line = self._line
        assert line is not None
        try:
            self._http = line.connection.request(
                "POST", self._path, self._answered, headers=headers, body=payload
            )
        except ClosedError:
            self._finish(error=CancelledError(f"the connection of {self!r} was closed"))
            return
        line.sent += 1

    # -- coming in -------------------------------------------------------------------------------------------

    def _answered(self, http: ClientRequest) -> None:
        """The HTTP request is done, in whatever way."""
        if self._done:
            return
        try:
            self._look_at(http)
        except BaseException:
            self._finish(error=CancelledError(f"{self!r} was interrupted"))  # a hook, or a signal's handler
            raise

    def _look_at(self, http: ClientRequest) -> None:
        if http.error is not None:
            self._finish(error=http.error)
            return
        response = http.result()
        if response.status != 200:
            text = f"the server failed {self._name!r}: {response.status} {response.reason}".rstrip()
            self._finish(error=RPCError(text, status=RPCStatus.BADPAYLOAD, http_status=response.status))
        elif self._pool._hooks[HookType.INPUT]:
            body = response.body
            self._pass(HookType.INPUT, body, response.headers, lambda passes: self._passed_in(body, passes))
        else:
            self._take(response.body)

    def _passed_in(self, body: Buffer, passes: bool) -> None:
        self._context = None
        if passes and not body.closed:
            self._take(body)
        else:
            body.close()
            self._abort(http_status=200)

    def _take(self, body: Buffer) -> None:
        try:
            reply = self._reply.from_bytes(bytes(body))
        except Exception as error:  # TagError, or what a function that names the class of a struct raises
            text = f"what came is no {self._reply.__name__}: {error}"
            failure = RPCError(text, status=RPCStatus.BADPAYLOAD, http_status=200)
            failure.__cause__ = error
            self._finish(error=failure)
            return
        finally:
            body.close()
        self._finish(reply)

    # -- ending ----------------------------------------------------------------------------------------------

    def _abort(self, cause: Optional[Exception] = None, http_status: Optional[int] = None) -> None:
        text = f"a hook of the pool ended the call of {self._name!r}"
        if cause is not None:
            text += f", by headers that cannot be sent: {cause}"
        failure = RPCError(text, status=RPCStatus.HOOKABORTED, http_status=http_status)
        failure.__cause__ = cause
        self._finish(error=failure)

    def _abandon(self) -> None:
        self._base.update_now()  # refuses another thread, before anything is done

    def _finish(self, value: Any = None, error: Optional[Exception] = None) -> bool:
        if self._done:
            return False
        if error is not None:
            self._status = self._status_of(error)
        super()._finish(value, error)
        self._let_go()
        return True

    def _status_of(self, error: Exception) -> RPCStatus:
        if isinstance(error, RPCError):
            return error.status
        was_sent = self._http is not None and self._http._tries > 0
        return RPCStatus.TIMEOUT if was_sent or isinstance(error, TimeoutError) else RPCStatus.UNSTARTED

    def _let_go(self) -> None:
        """Give back what it holds."""
        timer, self._timer = self._timer, None
        context, self._context = self._context, None
        if context is not None:
            context._drop()
            context.body.close()
        self._leave_line()
        http, self._http = self._http, None
        if not self._base.closed:
            if timer is not None:
                timer.close()
            if http is not None:
                http.cancel()
        self._payload = b""
        self._pool._forget(self)

    def _leave_line(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.calls -= 1
            line.sent -= self._http is not None
            self._pool._go_on()

    def __repr__(self) -> str:
        state = super().__repr__().removeprefix("<ClientCall ")
        return f"<ClientCall {self._name} {state}"


def _nothing() -> None:
    pass
