"""HTTP servers: files, whole and in parts, and folders."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from certificates import Certificates
from http_peer import Client, ask, get, read_all, split
from tls_peers import python_client

from libevent_cffi import EventBase
from libevent_cffi._native import lib
from libevent_cffi.bufferevent import RateLimit
from libevent_cffi.http import DirectoryHandler, Request, Server
from libevent_cffi.tls import TLSContext

LARGE = bytes(range(256)) * 4000


@pytest.fixture
def server(plain_base: EventBase) -> Iterator[Server]:
    """A server without a handler."""
    with Server(plain_base) as made:
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with files in it, and something outside."""
    (tmp_path / "secret").write_text("outside")
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "with").mkdir()
    (root / "with" / "index.html").write_text("<p>index")
    (root / "small.txt").write_text("0123456789")
    (root / "large.bin").write_bytes(LARGE)
    (root / "sub" / "a <b>&c.txt").write_text("odd")
    (root / "archive.tar.gz").write_bytes(b"x")
    (root / "link").symlink_to("../secret")
    (root / "away").symlink_to("..")
    os.mkfifo(root / "pipe")
    return root


def serve(path: Path, **keywords: Any) -> Callable[[Request], None]:
    return lambda request: request.sendfile(path, **keywords)


def test_a_file_keeps_to_the_limit_of_its_connection(
    plain_base: EventBase, server: Server, folder: Path
) -> None:
    """It is read then: sendfile() pays no heed to what libevent allows (buffer.c:evbuffer_write_sendfile)."""
    rate, burst = 200_000, 20_000

    def handle(request: Request) -> None:
        bev = request.connection.bufferevent
        assert bev is not None
        bev.rate_limit = RateLimit(write_rate=rate, write_burst=burst, tick=0.02)
        request.sendfile(folder / "large.bin")

    def talk(sock: socket.socket) -> tuple[int, float]:
        began, got = time.monotonic(), 0
        sock.sendall(get())
        while got < 100_000:
            got += len(sock.recv(1 << 20))
        return got, time.monotonic() - began

    server.handler = handle
    got, seconds = Client(plain_base, server.bind(("127.0.0.1", 0)).address, talk).finish()
    assert got <= rate * seconds + 2 * burst


@pytest.mark.parametrize("name", ["small.txt", "large.bin"])
def test_a_file_is_sent(plain_base: EventBase, server: Server, folder: Path, name: str) -> None:
    """Whole, with its length and date; to HEAD without it; by path and by descriptor."""
    server.handler = serve(folder / name, content_type="a/b", headers={"X": "y"})
    content = (folder / name).read_bytes()
    status, headers, body = split(ask(plain_base, server, get()))
    assert (status, body) == (200, content)
    assert headers["Content-Length"] == str(len(content))
    assert (headers["Content-Type"], headers["X"], headers["Accept-Ranges"]) == ("a/b", "y", "bytes")
    assert "Transfer-Encoding" not in headers
    status, other, body = split(ask(plain_base, server, get(method="HEAD")))
    assert (status, body, other["Content-Length"]) == (200, b"", headers["Content-Length"])
    with open(folder / name, "rb") as file:
        server.handler = lambda request: request.sendfile(file)
        assert split(ask(plain_base, server, get()))[2] == content
        assert file.read() == content


@pytest.mark.parametrize(
    ("asked", "status", "part"),
    [
        ("bytes=0-4", 206, slice(0, 5)),
        ("bytes=5-", 206, slice(5, None)),
        ("bytes=-3", 206, slice(-3, None)),
        ("bytes=-2000000", 200, slice(None)),
        ("bytes=3-99999999", 206, slice(3, None)),
        ("bytes=99999999-", 416, slice(0)),
        ("bytes=-0", 416, slice(0)),
        ("bytes=5-3", 200, slice(None)),
        ("bytes=0-1,3-4", 200, slice(None)),
        ("bytes=-", 200, slice(None)),
        ("lines=1-2", 200, slice(None)),
        ("bytes=0-99999999999999999999", 200, slice(None)),
    ],
)
@pytest.mark.parametrize("name", ["small.txt", "large.bin"])
def test_ranges(
    plain_base: EventBase, server: Server, folder: Path, name: str, asked: str, status: int, part: slice
) -> None:
    """One range is honoured; what means nothing gets all."""
    server.handler = serve(folder / name)
    content = (folder / name).read_bytes()
    code, headers, body = split(ask(plain_base, server, get("/", f"Range: {asked}")))
    assert (code, body) == (status, content[part])
    if code == 206:
        start = part.indices(len(content))[0]
        assert headers["Content-Range"] == f"bytes {start}-{start + len(body) - 1}/{len(content)}"
    elif code == 416:
        assert headers["Content-Range"] == f"bytes */{len(content)}"
    server.handler = serve(folder / name, ranges=False)
    assert split(ask(plain_base, server, get("/", f"Range: {asked}")))[2] == content


def test_what_is_no_file_is_refused(plain_base: EventBase, server: Server, folder: Path) -> None:
    """And another answer can be given."""

    def handle(request: Request) -> None:
        with pytest.raises(FileNotFoundError):
            request.sendfile(folder / "nothing")
        for path in (folder, folder / "pipe"):
            with pytest.raises(ValueError, match="no regular file"):
                request.sendfile(path)
        with pytest.raises(TypeError):
            request.sendfile(None)  # type: ignore[arg-type]
        request.reply(200, b"fine")

    server.handler = handle
    assert split(ask(plain_base, server, get()))[2] == b"fine"


@pytest.mark.skipif(not lib.LEV_HAS_TLS, reason="this build has no TLS")
def test_a_file_over_tls_is_read_piece_by_piece(
    plain_base: EventBase, folder: Path, certificates: Certificates
) -> None:
    """And its descriptor is closed, also when the client leaves."""
    context = TLSContext.server(certificates("server.pem"), certificates("server.key"))
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0

    def talk(sock: socket.socket) -> bytes:
        with python_client(certificates, sock) as wrapped:
            wrapped.sendall(get())
            return read_all(wrapped)

    def leave(sock: socket.socket) -> None:
        wrapped = python_client(certificates, sock)
        wrapped.sendall(get())
        wrapped.recv(10)
        wrapped.close()

    (folder / "large.bin").write_bytes(LARGE * 10)
    with Server(plain_base, serve(folder / "large.bin"), tls=context) as server:
        bound = server.bind(("127.0.0.1", 0))
        assert split(Client(plain_base, bound.address, talk).finish())[2] == LARGE * 10
        Client(plain_base, bound.address, leave).finish()
        for _ in range(100):
            plain_base.poll()
    plain_base.poll()
    if before:
        assert len(os.listdir("/proc/self/fd")) <= before


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/small.txt", 200, b"0123456789"),
        ("/small.txt/", 404, None),
        ("/small.txt/x", 404, None),
        ("/nothing", 404, None),
        ("/sub", 301, b""),
        ("/with/", 200, b"<p>index"),
        ("/../secret", 404, None),
        ("/sub/../small.txt", 404, None),
        ("/%2e%2e/secret", 404, None),
        ("/sub%2f..%2f..%2fsecret", 404, None),
        ("/..%5csecret", 404, None),
        ("//small.txt", 404, None),
        ("/small.txt%00", 404, None),
        ("/link", 404, None),
        ("/away/secret", 404, None),
        ("/pipe", 404, None),
        ("/" + "x" * 300, 404, None),
        ("/sub/a%20%3Cb%3E%26c.txt", 200, b"odd"),
    ],
)
def test_no_path_leads_out_of_a_folder(
    plain_base: EventBase, server: Server, folder: Path, path: str, status: int, body: Any
) -> None:
    """What is in it is served, and nothing else is."""
    server.handler = DirectoryHandler(folder)
    code, _, got = split(ask(plain_base, server, get(path)))
    assert code == status
    assert b"outside" not in got
    if body is not None:
        assert got == body


def test_links_are_followed_where_that_is_wanted(plain_base: EventBase, server: Server, folder: Path) -> None:
    """Wherever they lead."""
    server.handler = DirectoryHandler(folder, follow_symlinks=True)
    assert split(ask(plain_base, server, get("/link")))[2] == b"outside"


def test_a_listing(plain_base: EventBase, server: Server, folder: Path) -> None:
    """Names are safe in it, and lead to the files; it can be left out."""
    server.handler = DirectoryHandler(folder, prefix="/files/")
    page = split(ask(plain_base, server, get("/files/sub/")))[2]
    assert b'<a href="./a%20%3Cb%3E%26c.txt">a &lt;b&gt;&amp;c.txt</a>' in page
    assert b'<a href="../">' in page
    page = split(ask(plain_base, server, get("/files/")))[2]
    assert b'<a href="./sub/">sub/</a>' in page
    assert b"link" not in page
    assert split(ask(plain_base, server, get("/other/")))[0] == 404
    status, headers, _ = split(ask(plain_base, server, get("/files/sub?a=b")))
    assert (status, headers["Location"]) == (301, "/files/sub/?a=b")
    server.handler = DirectoryHandler(folder, listing=False)
    assert split(ask(plain_base, server, get("/sub/")))[0] == 404
    assert split(ask(plain_base, server, get("/with/")))[0] == 200


def test_types_and_methods(plain_base: EventBase, server: Server, folder: Path) -> None:
    """Types by the name; other methods are not allowed."""
    server.handler = DirectoryHandler(folder)

    def kind(path: str) -> str:
        return split(ask(plain_base, server, get(path)))[1]["Content-Type"]

    assert kind("/small.txt") == "text/plain; charset=utf-8"
    assert kind("/archive.tar.gz") == "application/gzip"
    assert kind("/large.bin") == "application/octet-stream"
    status, headers, _ = split(ask(plain_base, server, get("/small.txt", method="DELETE")))
    assert (status, headers["Allow"]) == (405, "GET, HEAD")
    with pytest.raises(NotADirectoryError):
        DirectoryHandler(folder / "small.txt")
    with pytest.raises(FileNotFoundError):
        DirectoryHandler(folder / "nothing")
    with pytest.raises(ValueError, match="begin and end"):
        DirectoryHandler(folder, prefix="files")


def test_a_client_that_has_gone_gets_no_file(plain_base: EventBase, server: Server, folder: Path) -> None:
    """That is said as of every other answer."""
    seen: list[Request] = []
    gone: list[Request] = []

    def handle(request: Request) -> None:
        request.on_close = gone.append
        request.defer()
        seen.append(request)

    server.handler = handle
    with socket.create_connection(server.bind(("127.0.0.1", 0)).address) as sock:
        sock.sendall(get())
        while not seen:
            plain_base.poll(0.1)
    seen[0].connection.close()
    while not gone:
        plain_base.poll(0.1)
    with pytest.raises(BrokenPipeError):
        seen[0].sendfile(folder / "small.txt")
