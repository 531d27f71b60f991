"""HTTP servers: conditional requests for files, as RFC 9110, section 13, orders them."""

from __future__ import annotations

import email.utils
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from http_peer import DEADLINE, Client, ask, get, split

from libevent_cffi import EventBase
from libevent_cffi.http import Headers, Request, Server

WHEN = 1_600_000_000
SAME, OLDER, NEWER = (email.utils.formatdate(WHEN + n, usegmt=True) for n in (0, -1, 1))
PART = "Range: bytes=0-1"

Ask = Callable[..., tuple[int, Headers, bytes]]


@pytest.fixture
def server(plain_base: EventBase) -> Iterator[Server]:
    """A server without a handler."""
    with Server(plain_base) as made:
        yield made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file that was last changed long ago."""
    made = tmp_path / "file"
    made.write_bytes(b"0123456789")
    os.utime(made, (WHEN, WHEN))
    return made


def serving(file: Path, **headers: str) -> Callable[[Request], None]:
    return lambda request: request.sendfile(file, headers={"ETag": '"a"', **headers})


@pytest.mark.parametrize(
    ("conditions", "status"),
    [
        # each alone: with lists, several lines, weak and strong tags, what is none of them
        (["If-Match: *"], 200),
        (['If-Match: "a"'], 200),
        (['If-Match: "b", "a"'], 200),
        (['If-Match: "b"', 'If-Match: "a"'], 200),
        (['If-Match: "b"'], 412),
        (['If-Match: W/"a"'], 412),
        (["If-Match: a"], 412),
        (['If-Match: "b,"a"'], 412),
        (["If-Match:"], 412),
        (["If-None-Match: *"], 304),
        (['If-None-Match: "a"'], 304),
        (['If-None-Match: W/"a"'], 304),
        (['If-None-Match: "b" , W/"a"'], 304),
        (['If-None-Match: "b"', 'If-None-Match: "a"'], 304),
        (['If-None-Match: "b"'], 200),
        (['If-None-Match: "A"'], 200),
        (["If-None-Match: a"], 200),
        (["If-None-Match: *, *"], 200),
        ([f"If-Unmodified-Since: {SAME}"], 200),
        ([f"If-Unmodified-Since: {NEWER}"], 200),
        ([f"If-Unmodified-Since: {OLDER}"], 412),
        (["If-Unmodified-Since: yesterday"], 200),
        ([f"If-Modified-Since: {SAME}"], 304),
        ([f"If-Modified-Since: {NEWER}"], 304),
        ([f"If-Modified-Since: {OLDER}"], 200),
        (["If-Modified-Since: yesterday"], 200),
        (["If-Modified-Since: Thu, 99 Jan 99999999999 00:00:00 GMT"], 200),
        (["If-Modified-Since: Sunday, 13-Sep-20 12:26:40 GMT"], 304),
        (["If-Modified-Since: Sun Sep 13 12:26:40 2020"], 304),
        (["If-Modified-Since: Sun Sep 13 12:26:39 2020"], 200),
        ([f"If-Modified-Since: {SAME}", f"If-Modified-Since: {SAME}"], 200),
        # which of them counts
        (['If-Match: "a"', f"If-Unmodified-Since: {OLDER}"], 200),
        (['If-Match: "b"', f"If-Unmodified-Since: {NEWER}"], 412),
        (['If-Match: "a"', 'If-None-Match: "a"'], 304),
        (['If-Match: "b"', 'If-None-Match: "a"'], 412),
        ([f"If-Unmodified-Since: {OLDER}", 'If-None-Match: "a"'], 412),
        ([f"If-Unmodified-Since: {SAME}", f"If-Modified-Since: {SAME}"], 304),
        (['If-None-Match: "b"', f"If-Modified-Since: {NEWER}"], 200),
        (['If-None-Match: "a"', f"If-Modified-Since: {OLDER}"], 304),
        # a part of it
        ([PART], 206),
        ([PART, 'If-Range: "a"'], 206),
        ([PART, 'If-Range: W/"a"'], 200),
        ([PART, 'If-Range: "b"'], 200),
        ([PART, 'If-Range: "a", "a"'], 200),
        ([PART, f"If-Range: {SAME}"], 206),
        ([PART, f"If-Range: {NEWER}"], 200),
        ([PART, f"If-Range: {OLDER}"], 200),
        ([PART, "If-Range: yesterday"], 200),
        ([PART, "If-Range: *"], 200),
        (['If-Range: "a"'], 200),
        ([PART, 'If-Range: "a"', 'If-None-Match: "a"'], 304),
        ([PART, 'If-Range: "a"', 'If-Match: "b"'], 412),
        ([PART, 'If-Match: "a"'], 206),
        (["Range: bytes=99-", 'If-Range: "a"'], 416),
        (["Range: bytes=99-", 'If-Range: "b"'], 200),
    ],
)
def test_conditions_and_their_order(
    plain_base: EventBase, server: Server, file: Path, conditions: list[str], status: int
) -> None:
    """To GET; and to HEAD, which has no parts."""
    server.handler = serving(file)
    code, headers, body = split(ask(plain_base, server, get("/", *conditions)))
    assert code == status
    if status in (200, 206, 304):
        assert (headers["ETag"], headers["Last-Modified"]) == ('"a"', SAME)
        assert body == {200: b"0123456789", 206: b"01", 304: b""}[status]
    code, headers, body = split(ask(plain_base, server, get("/", *conditions, method="HEAD")))
    assert (code, body) == (status if status not in (206, 416) else 200, b"")
    if code == 200:
        assert headers["Content-Length"] == "10"


@pytest.mark.parametrize(
    ("method", "condition", "status"),
    [
        ("PUT", "If-None-Match: *", 412),
        ("POST", 'If-None-Match: "a"', 412),
        ("POST", 'If-Match: "b"', 412),
        ("DELETE", f"If-Unmodified-Since: {OLDER}", 412),
        ("POST", f"If-Modified-Since: {SAME}", 200),
        ("POST", PART, 200),
        ("OPTIONS", 'If-Match: "b"', 200),
    ],
)
def test_other_methods(
    plain_base: EventBase, server: Server, file: Path, method: str, condition: str, status: int
) -> None:
    """They get 412 where GET would get 304, and no part."""
    server.handler = serving(file)
    asked = get("/", condition, "Content-Length: 0", method=method)
    assert split(ask(plain_base, server, asked))[0] == status


def test_tags_are_made_of_the_file(plain_base: EventBase, server: Server, file: Path) -> None:
    """Another one when its time or size is another; weak while it may change again unseen."""
    server.handler = lambda request: request.sendfile(file)
    tags = []
    for size, when in ((10, WHEN), (11, WHEN), (10, WHEN + 1)):
        file.write_bytes(bytes(size))
        os.utime(file, (when, when))
        tags.append(split(ask(plain_base, server, get()))[1]["ETag"])
    assert len({*tags}) == 3
    assert all(tag.startswith('"') for tag in tags)

    def status(*headers: str) -> int:
        return split(ask(plain_base, server, get("/", *headers)))[0]

    assert status(PART, f"If-Range: {tags[2]}") == 206
    assert status(f"If-None-Match: {tags[2]}") == 304
    now = time.time() + 60
    os.utime(file, (now, now))
    headers = split(ask(plain_base, server, get()))[1]
    assert headers["ETag"].startswith('W/"')
    assert (
        status(f"If-None-Match: {headers['ETag']}") == status(f"If-None-Match: {headers['ETag'][2:]}") == 304
    )
    assert (
        status(PART, f"If-Range: {headers['ETag']}")
        == status(PART, f"If-Range: {headers['ETag'][2:]}")
        == 200
    )
    assert status(PART, f"If-Range: {headers['Last-Modified']}") == 200
    assert status(f"If-Match: {headers['ETag']}") == 412


def test_what_the_answer_says_itself_counts(plain_base: EventBase, server: Server, file: Path) -> None:
    """An ETag or Last-Modified of its own, once each, also from response_headers."""

    def handle(request: Request) -> None:
        request.response_headers["ETag"] = '"all"'
        request.response_headers["Last-Modified"] = OLDER
        request.sendfile(file, headers={"last-modified": NEWER} if request.path == "/newer" else {})

    server.handler = handle
    headers = split(ask(plain_base, server, get()))[1]
    assert (headers.get_list("ETag"), headers.get_list("Last-Modified")) == (['"all"'], [OLDER])
    assert split(ask(plain_base, server, get("/", 'If-None-Match: "all"')))[0] == 304
    assert split(ask(plain_base, server, get("/", f"If-Unmodified-Since: {OLDER}")))[0] == 200
    status, headers, _ = split(ask(plain_base, server, get("/newer", f"If-Modified-Since: {SAME}")))
    assert (status, headers.get_list("Last-Modified")) == (200, [NEWER])
    server.handler = serving(file, **{"Last-Modified": "long ago"})
    assert split(ask(plain_base, server, get("/", f"If-Modified-Since: {SAME}")))[0] == 200


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_curl_asks_by_tag_and_by_date(plain_base: EventBase, server: Server, file: Path) -> None:
    """What it has it gets no second time: --etag-save, --etag-compare and -z."""
    seen = []

    def handle(request: Request) -> None:
        request.on_complete = lambda request: seen.append(request._answer()[0])
        request.sendfile(file)

    server.handler = handle
    url = f"http://127.0.0.1:{server.bind(('127.0.0.1', 0)).port}/"
    words = (["--etag-save", "tag"], ["--etag-compare", "tag"], ["-z", SAME], ["-z", OLDER])

    def talk(_: object) -> None:
        for some in words:
            command = ["curl", "-s", "-o", "body", *some, url]
            subprocess.run(command, cwd=file.parent, timeout=DEADLINE, check=True)

    Client(plain_base, server.bound[0].address, talk).finish()
    assert seen == [200, 304, 304, 200]
