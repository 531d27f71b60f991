"""Peers for the tests of TLS: the openssl command, and Python's own ssl in a thread."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any

from certificates import Certificates

DEADLINE = 20.0


@contextlib.contextmanager
def s_server(certificates: Certificates, *arguments: str) -> Iterator[int]:
    """Run "openssl s_server", which sends lines back reversed; give its port."""
    names = {"-cert", "-key", "-CAfile"}
    command = ["openssl", "s_server", "-accept", "127.0.0.1:0", "-naccept", "1", "-rev", *arguments]
    if not names & set(arguments):
        command += ["-cert", "server.pem", "-key", "server.key"]
    with subprocess.Popen(
        command,
        cwd=certificates.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        timer = threading.Timer(DEADLINE, process.kill)
        timer.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                port = re.search(rb"ACCEPT .*:(\d+)\s*$", line)
                if port:
                    yield int(port[1])
                    break
            process.kill()
            process.stdout.read()
        finally:
            timer.cancel()
            process.kill()


class SClient:
    """The command "openssl s_client" on a port of 127.0.0.1, which is given *data*."""

    def __init__(self, certificates: Certificates, port: int, *arguments: str, data: bytes = b"") -> None:
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-quiet", *arguments]
        self._process = subprocess.Popen(
            command,
            cwd=certificates.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self._process.stdin is not None
        self._process.stdin.write(data)
        self._process.stdin.flush()

    def wait(self) -> tuple[int, bytes, str]:
        """Return its status, what it got, and what it complained of."""
        try:
            output, errors = self._process.communicate(timeout=DEADLINE)
        finally:
            self._process.kill()
        return self._process.returncode, output, errors.decode()


class Thread(threading.Thread):
    """A peer in Python, whose failure is raised by join()."""

    def __init__(self, run: Callable[..., Any], *args: Any) -> None:
        super().__init__(daemon=True)
        self._what = (run, args)
        self.result: Any = None
        self._failure: BaseException | None = None
        self.start()

    def run(self) -> None:
        """Run it."""
        run, args = self._what
        try:
            self.result = run(*args)
        except BaseException as error:
            self._failure = error

    def finish(self) -> Any:
        """Wait for its end; return its result, or raise its failure."""
        self.join(DEADLINE)
        assert not self.is_alive(), "the peer still runs"
        if self._failure is not None:
            raise self._failure
        return self.result


def python_client(
    certificates: Certificates, sock: socket.socket, *, name: str = "localhost", **settings: Any
) -> ssl.SSLSocket:
    """Return *sock* as a client of Python's ssl, which makes the handshake with its first use."""
    context = ssl.create_default_context(cafile=certificates("ca.pem"))
    for key, value in settings.items():
        setattr(context, key, value)
    sock.settimeout(DEADLINE)
    return context.wrap_socket(
        sock, server_hostname=name, do_handshake_on_connect=False, suppress_ragged_eofs=False
    )


def python_server(certificates: Certificates, sock: socket.socket) -> ssl.SSLSocket:
    """Return *sock* as a server of Python's ssl, which makes the handshake with its first use."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates("server.pem"), certificates("server.key"))
    sock.settimeout(DEADLINE)
    return context.wrap_socket(
        sock, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=False
    )
