"""Serving the files of a folder, as python -m http.server does, but for many clients at once."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Optional, Union

from ..errors import LibeventError
from ..event import EventBase
from ..http import DirectoryHandler, Server
from ..listener import Listener
from .access_log import logged, refusals
from .workers import Workers

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from ..http import Request
    from ..tls import TLSContext
    from ..types import Address

__all__ = ["HELP", "add_arguments", "run"]

HELP = "serve the files of a folder over HTTP"

#: Seconds that running requests have when it is to end, and bytes of a body that nobody needs here.
_GRACE = 10.0
_MAX_BODY = 65536


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command can be told."""
    add = parser.add_argument
    add("folder", nargs="?", default=".", metavar="DIR", help="the folder (the current one)")
    add("--bind", default="127.0.0.1", metavar="ADDRESS", help='"::" or "0.0.0.0" for all (%(default)s)')
    add("--port", type=_port, default=8000, help="0 for one that is free (%(default)s)")
    add("--unix", metavar="PATH", help="listen on a UNIX socket instead")
    add("--cert", metavar="FILE", help="speak TLS with this certificate (PEM)")
    add("--key", metavar="FILE", help="its key, where it stands in another file")
    add("--workers", type=_count, default=1, metavar="N", help="so many processes (%(default)s)")
    add("--log", metavar="FILE", help="write the access log there, not on stdout")
    add("--no-listing", action="store_true", help="answer 404 for a folder without index.html")
    add("--follow-symlinks", action="store_true", help="also those that lead out of DIR")


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"a port is a number from 0 to 65535, not {text!r}")
    return int(text)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= 1024):
        raise argparse.ArgumentTypeError(f"a number from 1 to 1024, not {text!r}")
    return int(text)


def run(options: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C; 0 after the one, 130 after the other, 2 when it could not begin."""
    with contextlib.ExitStack() as stack:
        base = stack.enter_context(EventBase())
        try:
            site, listeners = _prepare(base, options, stack)
        except (OSError, ValueError, LibeventError) as error:
            print(f"serve: {_words(error)}", file=sys.stderr)
            return 2
        _say(f"serving {os.path.abspath(options.folder)} at {_url(options, listeners[0])}")
        if options.workers > 1:
            return Workers(base, listeners, options.workers, site.serve).run()
        return site.serve(base, listeners[0], None)


def _prepare(
    base: EventBase, options: argparse.Namespace, stack: contextlib.ExitStack
) -> tuple[_Site, list[Listener]]:
    if options.workers > 1 and not hasattr(os, "fork"):
        raise ValueError("this system has no fork(): leave --workers out")
    if options.key is not None and options.cert is None:
        raise ValueError("--key belongs to --cert")
    site = _Site(options, stack)
    try:
        return site, _listen(base, options)
    except (OSError, ValueError) as error:
        place = options.unix if options.unix is not None else f"{options.bind} port {options.port}"
        raise ValueError(f"cannot listen on {place}: {_words(error)}") from error


def _words(error: Exception) -> str:
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    return error.strerror if error.filename is None else f"{os.fsdecode(error.filename)}: {error.strerror}"


def _say(words: str) -> None:
    with contextlib.suppress(OSError):  # whoever reads it may have seen enough
        print(words, flush=True)


# -- where ---------------------------------------------------------------------------------------------------


def _listen(base: EventBase, options: argparse.Namespace) -> list[Listener]:
    """Listen for each worker; on what only one can listen on, they all do."""
    if options.unix is not None:
        return [_listener(base, options.unix, False)]
    found = socket.getaddrinfo(
        options.bind, options.port, type=socket.SOCK_STREAM, flags=getattr(socket, "AI_PASSIVE", 0)
    )
    address: Address = found[0][4]  # type: ignore[assignment]  # those of other families have no port
    first = _listener(base, address, False)  # which fails where another program listens
    if options.workers == 1 or not hasattr(socket, "SO_REUSEPORT"):
        return [first]
    address = first.address
    first.close()
    return [_listener(base, address, True) for _ in range(options.workers)]


def _listener(base: EventBase, address: Address, shared: bool) -> Listener:
    return Listener(base, address, _never, enabled=False, reuse_port=shared)


def _never(listener: Listener, sock: socket.socket, address: object) -> None:
    raise AssertionError("a Listener that was never enabled has accepted a connection")


def _url(options: argparse.Namespace, listener: Listener) -> str:
    address = listener.address
    scheme = "http" if options.cert is None else "https"
    if not isinstance(address, tuple):
        return f"{options.unix} ({scheme})"
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"{scheme}://{host}:{address[1]}/"


# -- serving -------------------------------------------------------------------------------------------------


class _Site:
    """What is served, in whatever process."""

    def __init__(self, options: argparse.Namespace, stack: contextlib.ExitStack) -> None:
        directory = DirectoryHandler(
            options.folder, listing=not options.no_listing, follow_symlinks=options.follow_symlinks
        )
        self._file = _log(options.log, stack)
        self._handler: Callable[[Request], None] = logged(directory, self._file)
        self._tls = _tls(options)

    def serve(self, base: EventBase, source: Union[Listener, int], parent: Optional[int]) -> int:
        """
        Serve what listens there; return the exit status.

        It ends at a signal, or, where there is a *parent*, when that descriptor comes to its end.
        """
        server = Server(
            base,
            self._handler,
            tls=self._tls,
            max_body_size=_MAX_BODY,
            on_refused=refusals(self._file),
        )
        ending = _Ending(server)
        server.accept(source)
        base.on_signal(signal.SIGTERM, ending.begin, 0, keepalive=False)
        if parent is None:
            base.on_signal(signal.SIGINT, ending.begin, 128 + signal.SIGINT, keepalive=False)
        else:
            base.on_readable(parent, ending.begin, 0, keepalive=False)
        base.dispatch()
        return ending.status


class _Ending:
    """How a server ends: it finishes what it is at, unless it is told again."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._has_begun = False
        self.status = 0

    def begin(self, status: int) -> None:
        """End it."""
        if self._server.closed:
            return
        self.status = status
        if self._has_begun:
            self._server.close()
            return
        self._has_begun = True
        self._server.stop(timeout=_GRACE)


def _log(path: Optional[str], stack: contextlib.ExitStack) -> TextIO:
    if path is None:
        with contextlib.suppress(AttributeError, ValueError):
            sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # or it is replaced
        return sys.stdout
    return stack.enter_context(open(path, "a", encoding="ascii", buffering=1))


def _tls(options: argparse.Namespace) -> Optional[TLSContext]:
    if options.cert is None:
        return None
    from ..tls import TLSContext  # which loads libssl

    return TLSContext.server(options.cert, options.key)
