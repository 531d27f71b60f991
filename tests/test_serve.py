"""``python -m libevent_cffi serve``, as a process."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Optional

import pytest
from certificates import Certificates
from http_peer import read_all, split

from libevent_cffi import __main__, util

DEADLINE = 30
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}

if not hasattr(os, "fork"):
    pytest.skip("needs POSIX", allow_module_level=True)


class Served:
    """A server's process, and where it serves."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        self.first = process.stdout.readline()
        found = re.search(r"(https?)://127\.0\.0\.1:(\d+)/$", self.first)
        self.port = int(found[2]) if found is not None else 0

    def get(
        self, path: str, method: str = "GET", **headers: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Ask for something, over a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        with contextlib.closing(connection):
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, headers={"Connection": "close", **names})
            with connection.getresponse() as response:
                return response.status, response.headers, response.read()

    def workers(self) -> list[int]:
        """Return the processes that it has started."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        if not children.exists():
            pytest.skip("this system does not tell who has started whom")
        return [int(word) for word in children.read_text(encoding="ascii").split()]

    def end(self, signum: int = signal.SIGTERM) -> tuple[int, list[str], str]:
        """End it; return its status, its log, and what it complained of."""
        self.process.send_signal(signum)
        out, errors = self.process.communicate(timeout=DEADLINE)
        return self.process.returncode, out.splitlines(), errors


@contextlib.contextmanager
def serve(*words: object) -> Iterator[Served]:
    """Run it for as long as the ``with`` lasts."""
    command = [sys.executable, "-m", "libevent_cffi", "serve", *map(str, words)]
    process = subprocess.Popen(
        command,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield Served(process)
    finally:
        process.kill()
        process.communicate()


def wait_for(condition: Callable[[], object]) -> None:
    """Look until it is so."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def has_ended(pid: int) -> bool:
    """Tell whether a process has, whoever waits for it."""
    try:
        return ") Z" in Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with files."""
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "a.txt").write_text("0123456789")
    (root / "large").write_bytes(bytes(50_000_000))
    (tmp_path / "secret").write_text("outside")
    (root / "link").symlink_to("../secret")
    return root


@pytest.mark.parametrize("workers", [1, 3])
def test_files_are_served_and_told_of(folder: Path, workers: int) -> None:
    """Listings, parts, conditions, types and safe paths; a line for each; and SIGTERM ends it well."""
    with serve(folder, "--port", 0, "--workers", workers) as served:
        assert served.first.startswith(f"serving {folder} at http://127.0.0.1:")
        status, headers, body = served.get("/")
        assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert b'href="./a.txt"' in body
        status, headers, body = served.get("/a.txt", Range="bytes=2-4")
        assert (status, headers["Content-Type"], body) == (206, "text/plain; charset=utf-8", b"234")
        assert served.get("/a.txt", If_Modified_Since=headers["Last-Modified"])[::2] == (304, b"")
        assert served.get("/a.txt", "HEAD")[::2] == (200, b"")
        for path in ("/../secret", "/%2e%2e/secret", "/link", "/nothing"):
            assert served.get(path)[0] == 404
        assert served.get("/", "POST")[0] == 405
        assert served.get("/a.txt", "BREW")[0] == 501
        assert served.get("/" + "y" * 70000)[0] == 400
        assert len(served.get("/large")[2]) == 50_000_000
        expected = 0 if workers == 1 else workers
        wait_for(lambda: len(served.workers()) == expected)
        pids = served.workers()
        status, log, errors = served.end()
    assert (status, errors) == (0, "")
    assert all(has_ended(pid) for pid in pids)
    when = r"\[\d\d/[A-Z][a-z][a-z]/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]"
    told = [re.fullmatch(rf'127\.0\.0\.1 - - {when} "(.*?)(?: HTTP/1\.1)?" (.*)', line) for line in log]
    lines = sorted(" ".join(found.groups()) for found in told if found is not None)
    assert len(lines) == len(log)
    assert {"GET /a.txt 206 3", "GET /a.txt 304 -", "HEAD /a.txt 200 -", "GET /large 200 50000000"} < {*lines}
    assert sum(" 404 " in line for line in lines) == 4
    assert sum(line.startswith("BREW /a.txt 501 ") for line in lines) == 1
    assert sum(line.startswith("GET /yyyyyyy") and "y 400 " in line for line in lines) == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_lets_answers_finish(folder: Path, workers: int) -> None:
    """One that is being sent comes whole; the status is that of Ctrl-C."""
    with serve(folder, "--port", 0, "--workers", workers) as served:
        with socket.create_connection(("127.0.0.1", served.port), timeout=DEADLINE) as sock:
            sock.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
            begin = sock.recv(1000, socket.MSG_WAITALL)
            served.process.send_signal(signal.SIGINT)
            assert len(split(begin + read_all(sock))[2]) == 50_000_000
        out, errors = served.process.communicate(timeout=DEADLINE)
    assert (served.process.returncode, errors) == (130, "")
    assert out.endswith('"GET /large HTTP/1.1" 200 50000000\n')


@pytest.mark.parametrize("workers", [1, 2])
def test_told_twice_it_ends_at_once(folder: Path, workers: int) -> None:
    """Though a client takes nothing."""
    with serve(folder, "--port", 0, "--workers", workers) as served:
        with socket.create_connection(("127.0.0.1", served.port), timeout=DEADLINE) as sock:
            sock.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
            sock.recv(1000, socket.MSG_WAITALL)
            # Soon again no more: a Python that ends has no handler of Ctrl-C, and would end by the signal.
            for seconds in (0.2, 5, 5, 5):
                if served.process.poll() is None:
                    served.process.send_signal(signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    served.process.wait(seconds)
        assert served.process.returncode == 130


def test_a_worker_that_dies_is_started_again(folder: Path) -> None:
    """It is told, and all are there again; nothing that is asked meanwhile is lost."""
    with serve(folder, "--port", 0, "--workers", 2) as served:
        wait_for(lambda: len(served.workers()) == 2)
        staying, dying = served.workers()
        for _ in range(2):
            os.kill(dying, signal.SIGKILL)
            for _ in range(8):
                assert served.get("/a.txt")[2] == b"0123456789"
            wait_for(lambda: {*served.workers()} - {staying, dying})  # noqa: B023
            (dying,) = {*served.workers()} - {staying, dying}
        status, _, errors = served.end()
    assert status == 0
    lines = [re.fullmatch(r"serve: worker \d+ ended by signal 9: (.*)", line) for line in errors.splitlines()]
    assert [found and found[1] for found in lines] == [
        "another one starts in 0.1 s",
        "another one starts in 0.2 s",
    ]


def test_workers_end_with_their_parent(folder: Path) -> None:
    """Also when that is killed."""
    with serve(folder, "--port", 0, "--workers", 2) as served:
        assert served.get("/a.txt")[0] == 200
        wait_for(lambda: len(served.workers()) == 2)
        pids = served.workers()
        served.process.kill()
        wait_for(lambda: all(has_ended(pid) for pid in pids))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_unix_socket(folder: Path, tmp_path: Path, workers: int) -> None:
    """Its file goes with the server; the log is a file, and what is odd in a request is escaped there."""
    path, log = tmp_path / "socket", tmp_path / "log"
    with serve(folder, "--unix", path, "--log", log, "--workers", workers) as served:
        assert served.first == f"serving {folder} at {path} (http)\n"
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(DEADLINE)
            sock.connect(str(path))
            sock.sendall(b'GET /\xff"\\\xc3\xa4 HTTP/1.0\r\n\r\n')
            assert split(read_all(sock))[0] == 404
        assert served.end()[:2] == (0, [])
    assert not path.exists()
    assert r'"GET /\xff\"\\\xc3\xa4 HTTP/1.0" 404 ' in log.read_text(encoding="ascii")


@pytest.mark.skipif(not util.features()["tls"], reason="this build has no TLS")
def test_https(folder: Path, certificates: Certificates) -> None:
    """With a certificate that a client can verify, in every worker."""
    key, cert = certificates("server.key"), certificates("server.pem")
    context = ssl.create_default_context(cafile=certificates("ca.pem"))
    with serve(folder, "--port", 0, "--cert", cert, "--key", key, "--workers", 2) as served:
        assert "https://" in served.first
        for _ in range(4):
            connection = http.client.HTTPSConnection(
                "127.0.0.1", served.port, timeout=DEADLINE, context=context
            )
            with contextlib.closing(connection):
                connection.request("GET", "/a.txt")
                with connection.getresponse() as response:
                    assert response.read() == b"0123456789"
        assert served.end()[0] == 0


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """Have it refuse to serve; return the one line that says why."""
    assert __main__.main(["serve", *map(str, words)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("serve: ")
    assert printed.err.count("\n") == 1
    return printed.err[7:-1]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("reuse", [False, True])
def test_a_busy_port_is_told(
    folder: Path, capsys: pytest.CaptureFixture[str], workers: int, reuse: bool
) -> None:
    """In one line, also where the other one would share it."""
    with socket.socket() as other:
        if reuse and hasattr(socket, "SO_REUSEPORT"):
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        words = refused(capsys, folder, "--port", port, "--workers", workers)
    assert words == f"cannot listen on 127.0.0.1 port {port}: Address already in use"


def test_what_cannot_be_served_is_told(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one line each."""
    assert refused(capsys, folder / "nothing") == f"{folder / 'nothing'}: No such file or directory"
    assert refused(capsys, folder / "a.txt") == f"{folder / 'a.txt'}: Not a directory"
    assert refused(capsys, folder, "--log", folder) == f"{folder}: Is a directory"
    assert refused(capsys, folder, "--bind", "no such.host").startswith(
        "cannot listen on no such.host port 8000"
    )
    assert refused(capsys, folder, "--unix", folder / "a.txt").startswith("cannot listen on ")
    assert refused(capsys, folder, "--key", "x") == "--key belongs to --cert"
    if util.features()["tls"]:
        cert: Optional[Any] = tmp_path / "cert"
        assert refused(capsys, folder, "--cert", cert) == f"{cert}: No such file or directory"
        assert "certificate" in refused(capsys, folder, "--cert", folder / "a.txt")
    else:
        assert "TLS" in refused(capsys, folder, "--cert", "x")
    monkeypatch.delattr(os, "fork")
    assert refused(capsys, folder, "--workers", "2") == "this system has no fork(): leave --workers out"


@pytest.mark.parametrize(
    "words", [["--port", "65536"], ["--port", "-1"], ["--workers", "0"], ["--workers", "x"]]
)
def test_wrong_arguments_are_told(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """With the usage."""
    with pytest.raises(SystemExit) as caught:
        __main__.main(["serve", *words])
    assert caught.value.code == 2
    assert "usage: " in capsys.readouterr().err
