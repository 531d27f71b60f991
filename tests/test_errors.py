"""Exceptions: what they are, what they carry, how they show, and that they travel."""

from __future__ import annotations

import ast
import copy
import errno
import os
import pickle
import socket
from pathlib import Path

import pytest

from libevent_cffi import errors
from libevent_cffi._native import check, ffi
from libevent_cffi.flags import DNSErrorCode, RequestErrorKind, RPCStatus

EXAMPLES = [
    (errors.LibeventError("text"), "LibeventError('text')"),
    (errors.ClosedError("text"), "ClosedError('text')"),
    (errors.LoopBusyError("text"), "LoopBusyError('text')"),
    (errors.WrongThreadError("text"), "WrongThreadError('text')"),
    (errors.CancelledError(), "CancelledError()"),
    (errors.FeatureUnavailableError("ws", "text"), "FeatureUnavailableError('ws', 'text')"),
    (errors.DNSError(-2, "no name"), "DNSError(-2, 'no name')"),
    (
        errors.DNSError(-2, "no name", code=DNSErrorCode.NOTEXIST),
        "DNSError(-2, 'no name', code=<DNSErrorCode.NOTEXIST: 3>)",
    ),
    (
        errors.TLSError(1, "text", reasons=["a", "b"], verify_code=10),
        "TLSError(1, 'text', reasons=('a', 'b'), verify_code=10)",
    ),
    (errors.TLSError("text"), "TLSError('text')"),
    (
        errors.HTTPError("text", kind=RequestErrorKind.EOF),
        f"HTTPError('text', kind={RequestErrorKind.EOF!r})",
    ),
    (
        errors.RPCError("text", status=RPCStatus.TIMEOUT, http_status=503),
        "RPCError('text', status=<RPCStatus.TIMEOUT: 1>, http_status=503)",
    ),
    (errors.RPCSyntaxError("text", ("f.rpc", 3, 4, "struct")), None),
    (errors.WebSocketError("text", code=1002), "WebSocketError('text', code=1002)"),
    (errors.TagError("text", position=0), "TagError('text', position=0)"),
]


@pytest.mark.parametrize(("error", "shown"), EXAMPLES, ids=lambda value: type(value).__name__)
def test_repr_shows_arguments_and_attributes(error: Exception, shown: str) -> None:
    """repr() is the call that makes the exception."""
    assert shown is None or repr(error) == shown


@pytest.mark.parametrize(
    "travel", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy], ids=["pickle", "copy"]
)
@pytest.mark.parametrize("error", [pair[0] for pair in EXAMPLES], ids=lambda value: type(value).__name__)
def test_exceptions_travel_whole(error: Exception, travel) -> None:  # type: ignore[no-untyped-def]
    """A pickled or copied exception has the type, the text and the attributes of the first."""
    arrived = travel(error)
    assert type(arrived) is type(error)
    assert (repr(arrived), str(arrived), arrived.args) == (repr(error), str(error), error.args)
    assert arrived.__dict__ == error.__dict__


def test_response_stays_behind_when_pickled() -> None:
    """A response, which may hold C memory, does not keep an HTTPError from travelling."""
    error = errors.HTTPError("404", response=lambda: None)  # type: ignore[arg-type]
    assert pickle.loads(pickle.dumps(error)).response is None


@pytest.mark.parametrize(
    ("cls", "builtin"),
    [
        (errors.ClosedError, ValueError),
        (errors.LoopBusyError, RuntimeError),
        (errors.WrongThreadError, RuntimeError),
        (errors.FeatureUnavailableError, NotImplementedError),
        (errors.DNSError, socket.gaierror),
        (errors.TLSError, OSError),
        (errors.RPCSyntaxError, SyntaxError),
        (errors.TagError, ValueError),
    ],
)
def test_errors_are_also_python_s_own(cls: type, builtin: type) -> None:
    """Whoever catches the builtin catches ours."""
    assert issubclass(cls, builtin)
    assert issubclass(cls, errors.LibeventError)


def test_no_builtin_name_is_shadowed() -> None:
    """`from libevent_cffi.errors import *` hides nothing of Python's."""
    import builtins

    assert not set(errors.__all__) & set(vars(builtins))


def test_os_errors_keep_number_and_text() -> None:
    """DNSError and TLSError fill errno and strerror as OSError does."""
    error = errors.DNSError(socket.EAI_NONAME, "no name", code=DNSErrorCode.NOTEXIST)
    assert (error.errno, error.strerror, error.code) == (socket.EAI_NONAME, "no name", DNSErrorCode.NOTEXIST)
    assert errors.DNSError(-2, "x").code is None
    assert errors.TLSError(5, "x").reasons == ()
    assert errors.TLSError(5, "x").verify_code is None


def test_syntax_error_has_its_place() -> None:
    """RPCSyntaxError says where, as SyntaxError does."""
    error = errors.RPCSyntaxError("bad", ("f.rpc", 3, 4, "struct"))
    assert (error.filename, error.lineno, error.offset) == ("f.rpc", 3, 4)


def test_required_attributes_cannot_be_forgotten() -> None:
    """A status, a code or a position is part of the error."""
    for cls in (errors.RPCError, errors.WebSocketError, errors.TagError):
        with pytest.raises(TypeError):
            cls("text")


def test_notes_and_own_attributes_travel() -> None:
    """What a user hangs on the exception is pickled with it."""
    error = errors.TagError("text", position=3)
    error.__dict__["remark"] = "mine"
    assert pickle.loads(pickle.dumps(error)).remark == "mine"


def test_module_imports_nothing_of_the_package() -> None:
    """errors stands below everything, and imports nothing of it but for annotations."""
    tree = ast.parse(Path(errors.__file__).read_text(encoding="utf-8"))
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    assert all(node.level == 0 and not (node.module or "").startswith("libevent_cffi") for node in imports)


# -- from a C result to an exception -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "cls"),
    [
        (errno.ECONNREFUSED, ConnectionRefusedError),
        (errno.ETIMEDOUT, TimeoutError),
        (errno.EPIPE, BrokenPipeError),
        (errno.EBADF, OSError),
    ],
)
def test_errno_chooses_the_class(number: int, cls: type[OSError]) -> None:
    """A failed call is the OSError subclass of its errno, with the system's text."""
    for make in (lambda: check.socket_error("call"), lambda: check.socket_error("call", number)):
        ffi.errno = number
        error = make()
        assert (type(error), error.errno, error.strerror) == (cls, number, os.strerror(number))


def test_results_that_are_no_failure_pass() -> None:
    """0 and more, and a pointer, are returned as they are."""
    pointer = ffi.new("char *")
    assert (check.check_rc(0, "call"), check.check_rc(7, "call")) == (0, 7)
    assert check.check_pointer(pointer, "call") is pointer


def test_failures_raise_what_errno_says() -> None:
    """-1 and NULL are the error of errno; NULL without one, or for want of memory, is MemoryError."""
    ffi.errno = errno.ECONNREFUSED
    with pytest.raises(ConnectionRefusedError):
        check.check_rc(-1, "call")
    ffi.errno = errno.EMFILE
    with pytest.raises(OSError, match="Too many open files"):
        check.check_pointer(ffi.NULL, "call")
    for number in (0, errno.ENOMEM):
        ffi.errno = number
        with pytest.raises(MemoryError, match="call returned NULL"):
            check.check_pointer(ffi.NULL, "call")


def test_a_failure_without_errno_names_the_call() -> None:
    """Where the system says nothing, the text says which function failed."""
    check.clear_errno()
    with pytest.raises(OSError, match="evutil_something failed and did not say why") as caught:
        check.check_rc(-1, "evutil_something")
    assert caught.value.errno is None


def test_dns_errors_have_libevent_s_words() -> None:
    """A number of getaddrinfo() becomes a DNSError with a text."""
    error = check.dns_error(socket.EAI_FAIL, "a.example")
    assert (error.errno, error.code) == (socket.EAI_FAIL, None)
    assert error.strerror.startswith("a.example: ")
