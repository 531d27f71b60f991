"""Names and addresses on their way to C, checked before: for what it does not take libevent never calls."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address
from typing import Union

from .._native import convert

__all__ = ["encode_name", "packed_address"]


def encode_name(name: str, what: str = "name") -> bytes:
    """
    Return *name* as it is sent, without the dot at its end; *what* is what the argument is called.

    ValueError for what cannot be one: an empty name or label, one that is too long, a NUL.
    """
    convert.c_text(name, what)
    text = name[:-1] if name.endswith(".") else name
    if not text.isascii():
        text = _to_ascii(text, what)
    labels = text.split(".")
    if not text or not all(labels):
        raise ValueError(f"{what} is empty, or has an empty part: {name!r}")
    if len(text) > 253 or max(map(len, labels)) > 63:
        raise ValueError(f"{what} may have 253 characters, 63 between two dots: {name[:300]!r}")
    return text.encode("ascii")


def _to_ascii(text: str, what: str) -> str:
    try:
        return text.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise ValueError(f"{what} cannot be written in a name server's way: {text!r} ({error})") from None


def is_name(encoded: bytes) -> bool:
    """Can it be sent as a name?"""
    return len(encoded) <= 253 and all(0 < len(label) <= 63 for label in encoded.split(b"."))


def packed_address(address: Union[str, IPv4Address, IPv6Address]) -> tuple[int, bytes, str]:
    """Return family, bytes and text of an address; ValueError for what is none."""
    if isinstance(address, (IPv4Address, IPv6Address)):
        address = str(address)
    convert.c_text(address, "address")
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return family, socket.inet_pton(family, address), address
        except OSError:
            continue
    raise ValueError(f"not an address: {address!r}")


def encode_record_name(name: str) -> bytes:
    """
    Return a name as it stands in records: also the root, and what decode_record_name() gave.

    ValueError for what is too long.  libevent would send memory that is not the answer's.
    """
    if name in (".", ""):
        convert.c_text(name, "name")
        return b""
    if name.isascii() or not _has_odd_bytes(name):
        return encode_name(name)
    convert.c_text(name, "name")
    encoded = name.rstrip(".").encode("ascii", "surrogateescape")
    if not is_name(encoded):
        raise ValueError(f"a name may have 253 characters, 1 to 63 between two dots: {name[:300]!r}")
    return encoded


def _has_odd_bytes(name: str) -> bool:
    return any("\udc80" <= character <= "\udcff" for character in name)


def decode_record_name(name: bytes) -> str:
    """Return a name that a client sent: "." for the root, and bytes that are not ASCII as surrogates."""
    return name.decode("ascii", "surrogateescape") or "."


def reverse_name(address: Union[str, IPv4Address, IPv6Address]) -> str:
    """Return the name under which the name of *address* is looked for; such a name is returned as it is."""
    if isinstance(address, str) and address.rstrip(".").lower().endswith((".in-addr.arpa", ".ip6.arpa")):
        return address
    _, packed, _ = packed_address(address)
    if len(packed) == 4:
        return ".".join(str(byte) for byte in reversed(packed)) + ".in-addr.arpa"
    return ".".join(reversed(packed.hex())) + ".ip6.arpa"
