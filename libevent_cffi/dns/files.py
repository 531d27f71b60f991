"""What resolv.conf and hosts say, where libevent keeps it to itself or may not act upon it."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Optional

from .._native import convert

if TYPE_CHECKING:
    from ..types import StrPath

__all__ = ["Hosts", "hostname_domain", "read_lines"]


def read_lines(path: StrPath) -> Optional[list[list[str]]]:
    """Return the words of each line of a file; None when it cannot be read."""
    try:
        with open(path, encoding="latin-1") as file:
            return [line.split() for line in file.read().replace("\r", " ").split("\n")]
    except OSError:
        return None


def hostname_domain() -> Optional[str]:
    """Return the domain in the name of this host (evdns.c:search_set_from_hostname)."""
    name = socket.gethostname()
    return name.partition(".")[2].lstrip(".") or None


class Hosts:
    """The names of hosts files, which libevent looks through for evdns_getaddrinfo() only."""

    def __init__(self) -> None:
        self._paths: list[str] = []
        self._found: Optional[dict[str, list[str]]] = None

    def add(self, path: StrPath) -> None:
        """Look into this one too."""
        self._paths.append(os.fspath(path))
        self._found = None

    def clear(self) -> None:
        """Look into none."""
        self._paths.clear()
        self._found = None

    def find(self, name: str) -> list[str]:
        """Return the addresses of *name*, in the order of the files."""
        if self._found is None:
            self._found = {}
            for path in self._paths:
                self._read(path, self._found)
        return self._found.get(name.lower(), [])

    @staticmethod
    def _read(path: str, found: dict[str, list[str]]) -> None:
        lines = read_lines(path)
        if lines is None:  # as evdns.c:evdns_base_load_hosts_impl does
            lines = [["127.0.0.1", "localhost"], ["::1", "localhost"]]
        for words in lines:
            names = " ".join(words).partition("#")[0].split()
            if len(names) < 2:
                continue
            try:
                convert.sockaddr_to_c((names[0], 0))
            except (ValueError, TypeError, OSError):
                continue
            for name in names[1:]:
                found.setdefault(name.lower(), []).append(names[0])
