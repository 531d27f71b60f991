"""A handler that serves the files of a folder."""

from __future__ import annotations

import errno
import mimetypes
import os
import stat
from typing import TYPE_CHECKING, Optional

from .encoding import html_escape, uri_encode

if TYPE_CHECKING:
    from ..types import StrPath
    from .request import Request

__all__ = ["DirectoryHandler"]

_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_HAS_DIR_FD = os.open in os.supports_dir_fd
_MISSING = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO, errno.EINVAL}
_MISSING.add(getattr(errno, "EMLINK", errno.ELOOP))  # what FreeBSD says of a symbolic link


class DirectoryHandler:
    """
    A handler that serves the files in *root*, for GET and HEAD.

    Range and conditions are honoured as by Request.sendfile(); the Content-Type is guessed by the name.  No
    path leads out of *root*.

    - *prefix*: what the paths of requests begin with, taken off before they are looked for.
    - *listing*: list a folder that has none of the files *index*; otherwise it is 404.
    - *follow_symlinks*: serve what symbolic links lead to, wherever that is; otherwise they are 404.

    Raises TypeError, ValueError for a *prefix* that does not begin and end with "/", OSError for a *root*
    that is no folder.

    Wraps: evhttp_send_reply() <event2/http.h>; libevent >= 2.0.
    """

    __slots__ = ("_follow", "_index", "_listing", "_prefix", "_root")

    def __init__(
        self,
        root: StrPath,
        *,
        prefix: str = "/",
        listing: bool = True,
        index: tuple[str, ...] = ("index.html",),
        follow_symlinks: bool = False,
    ) -> None:
        if not isinstance(prefix, str):
            raise TypeError(f"prefix must be str, not {prefix!r}")
        if not (prefix.startswith("/") and prefix.endswith("/")):
            raise ValueError(f"prefix must begin and end with '/': {prefix!r}")
        self._root = os.path.realpath(os.fspath(root))
        if not stat.S_ISDIR(os.stat(self._root).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), root)
        self._prefix, self._listing, self._index = prefix, bool(listing), tuple(index)
        self._follow = bool(follow_symlinks)

    def __call__(self, request: Request, /) -> None:
        """Answer *request*.  Raises as Request.sendfile()."""
        if request.method not in ("GET", "HEAD"):
            request.reply(405, headers={"Allow": "GET, HEAD"})
            return
        parts = self._parts(request.path)
        if parts is None:
            request.error(404)
            return
        try:
            fd = self._open(parts)
        except OSError as error:
            self._refuse(request, error)
            return
        try:
            self._send(request, fd, parts)
        finally:
            os.close(fd)

    def _parts(self, path: str) -> Optional[list[str]]:
        """Return the names on the way to *path*; None for one that is not served."""
        if not path.startswith(self._prefix):
            return None
        parts = path[len(self._prefix) :].split("/")
        if any(part in (".", "..") or "\0" in part or "\\" in part for part in parts):
            return None
        if any(not part for part in parts[:-1]) or (os.name == "nt" and any(":" in part for part in parts)):
            return None
        return [part for part in parts if part]

    def _open(self, parts: list[str]) -> int:
        """Open a file or a folder below the root, without following symbolic links."""
        flags = _FLAGS if self._follow else _FLAGS | _NOFOLLOW
        if not _HAS_DIR_FD:
            path = os.path.join(self._root, *parts)
            if not self._follow and os.path.realpath(path) != path:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            return os.open(path, flags)
        fd = os.open(self._root, _FLAGS)
        try:
            for part in parts:
                below = os.open(part, flags, dir_fd=fd)
                os.close(fd)
                fd = below
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _refuse(self, request: Request, error: OSError) -> None:
        if error.errno in (errno.EACCES, errno.EPERM):
            request.error(403)
        elif error.errno in _MISSING:
            request.error(404)
        else:
            raise error

    def _send(self, request: Request, fd: int, parts: list[str]) -> None:
        mode = os.fstat(fd).st_mode
        ends_in_slash = request.path.endswith("/")
        if stat.S_ISREG(mode) and not ends_in_slash:
            request.sendfile(fd, content_type=_type_of(parts[-1]))
        elif not stat.S_ISDIR(mode):
            request.error(404)
        elif not ends_in_slash:
            path, question, query = request.target.partition("?")
            request.redirect(f"/{path.lstrip('/')}/{question}{query}", 301)
        else:
            self._send_folder(request, fd, parts)

    def _send_folder(self, request: Request, fd: int, parts: list[str]) -> None:
        for name in self._index:
            try:
                file = self._open([*parts, name])
            except OSError:
                continue
            try:
                if stat.S_ISREG(os.fstat(file).st_mode):
                    request.sendfile(file, content_type=_type_of(name))
                    return
            finally:
                os.close(file)
        if not self._listing:
            request.error(404)
            return
        page = _page(request.path, self._names(fd, parts), bool(parts))
        request.reply(200, page, content_type="text/html; charset=utf-8")

    def _names(self, fd: int, parts: list[str]) -> list[str]:
        """Return what is in a folder, folders with a slash."""
        names = []
        where = fd if os.scandir in os.supports_fd else os.path.join(self._root, *parts)
        with os.scandir(where) as entries:
            for entry in entries:
                if entry.is_symlink() and not self._follow:
                    continue
                names.append(f"{entry.name}/" if entry.is_dir() else entry.name)
        return sorted(names)

    def __repr__(self) -> str:
        return f"<DirectoryHandler {self._prefix} {self._root}>"


def _type_of(name: str) -> str:
    kind, encoding = mimetypes.guess_type(name)
    if encoding is not None:
        return {"gzip": "application/gzip", "bzip2": "application/x-bzip2"}.get(
            encoding, "application/octet-stream"
        )
    if kind is None:
        return "application/octet-stream"
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind


def _page(path: str, names: list[str], has_parent: bool) -> bytes:
    title = html_escape(f"Folder {path}")
    links = [("..", "../")] if has_parent else []
    links += [(name, "./" + uri_encode(name.rstrip("/")) + "/" * name.endswith("/")) for name in names]
    items = "".join(
        f'<li><a href="{html_escape(href)}">{html_escape(name)}</a></li>\n' for name, href in links
    )
    page = (
        f'<!DOCTYPE html>\n<html><head><meta charset="utf-8"><title>{title}</title></head>\n'
        f"<body><h1>{title}</h1>\n<ul>\n{items}</ul></body></html>\n"
    )
    return page.encode("utf-8", "surrogateescape")
