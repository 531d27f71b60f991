"""The small things of util.h: sockets and addresses."""

from __future__ import annotations

import errno
import ipaddress
import math
import os
import random
import select
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import needs_services

from libevent_cffi import errors, util
from libevent_cffi._native import convert, ffi

SOCKET_CALLS = [
    util.set_nonblocking,
    util.set_close_on_exec,
    util.set_reuse_address,
    util.set_reuse_port,
    util.set_ipv6_only,
    lambda fd: util.set_ipv6_only(fd, False),
    util.set_deferred_accept,
    lambda fd: util.set_keepalive(fd, 10),
    lambda fd: util.set_keepalive(fd, None),
    util.socket_error,
]


@pytest.fixture
def tcp() -> Iterator[socket.socket]:
    """An IPv6 TCP socket."""
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
        yield sock


# -- sockets -------------------------------------------------------------------------------------------------


def test_socketpair_is_connected_and_not_inherited() -> None:
    """The two sockets talk to each other, block, and stay in this process."""
    for pair in (util.socketpair(), util.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)):
        with pair[0] as a, pair[1] as b:
            a.send(b"there")
            assert b.recv(10) == b"there"
            assert (a.getblocking(), a.get_inheritable(), b.get_inheritable()) == (True, False, False)
            assert a.type == b.type


def test_socketpair_of_an_impossible_kind_is_an_error() -> None:
    """The system's refusal is an OSError; no number is one to C that is none."""
    with pytest.raises(OSError) as caught:
        util.socketpair(socket.AF_INET6)
    assert caught.value.errno in (errno.EOPNOTSUPP, errno.EAFNOSUPPORT)
    with pytest.raises(ValueError, match="family must be between"):
        util.socketpair(1 << 40)


def test_flags_of_the_descriptor_are_set(tcp: socket.socket) -> None:
    """set_nonblocking() and set_close_on_exec() act on a number and on an object."""
    tcp.set_inheritable(True)
    util.set_close_on_exec(tcp)
    util.set_nonblocking(tcp.fileno())
    assert (os.get_inheritable(tcp.fileno()), os.get_blocking(tcp.fileno())) == (False, False)


def test_reuse_options_are_set(tcp: socket.socket) -> None:
    """Address and port can be shared afterwards."""
    util.set_reuse_address(tcp)
    util.set_reuse_port(tcp)
    assert tcp.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
    assert tcp.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)


@pytest.mark.parametrize("on", [True, False])
def test_ipv6_only_is_set_both_ways(tcp: socket.socket, on: bool) -> None:
    """set_ipv6_only() chooses between IPv6 alone and both."""
    util.set_ipv6_only(tcp, not on)
    util.set_ipv6_only(tcp, on)
    assert bool(tcp.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)) is on


def test_keepalive_is_set_in_whole_seconds_and_off(tcp: socket.socket) -> None:
    """Silence of the time, then probes a third of it apart; None ends it."""
    util.set_keepalive(tcp, 59.5)
    assert tcp.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
    assert [tcp.getsockopt(socket.IPPROTO_TCP, option) for option in options] == [60, 20, 3]
    util.set_keepalive(tcp, 0.01)
    assert [tcp.getsockopt(socket.IPPROTO_TCP, option) for option in options] == [1, 1, 3]
    util.set_keepalive(tcp, None)
    assert not tcp.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


@pytest.mark.parametrize("timeout", [0, -1, math.nan, math.inf, 1e9])
def test_keepalive_refuses_impossible_times(tcp: socket.socket, timeout: float) -> None:
    """A time is more than 0 and at most ten years."""
    with pytest.raises(ValueError, match="timeout must be"):
        util.set_keepalive(tcp, timeout)
    with pytest.raises(OSError):  # what the system refuses
        util.set_keepalive(tcp, 100_000)


def test_deferred_accept_is_set(tcp: socket.socket) -> None:
    """A listener can wait for the first bytes."""
    util.set_deferred_accept(tcp)
    assert tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT)


def test_socket_error_tells_a_failed_connect_once() -> None:
    """The error waiting on a socket is an object of its OSError subclass, and is cleared."""
    with socket.socket() as listener, socket.socket() as client:
        listener.bind(("127.0.0.1", 0))  # not listening
        client.setblocking(False)
        assert util.socket_error(client) is None
        assert client.connect_ex(listener.getsockname()) == errno.EINPROGRESS
        select.select([], [client], [])
        error = util.socket_error(client)
        assert type(error) is ConnectionRefusedError
        assert (error.errno, error.strerror) == (errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        assert util.socket_error(client) is None


@pytest.mark.parametrize("call", SOCKET_CALLS)
def test_options_leave_the_socket_s_mode_alone(call: Callable[[object], object]) -> None:
    """No call but set_nonblocking() changes whether a socket blocks, whatever the default timeout is."""
    socket.setdefaulttimeout(5)
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.setblocking(True)
            call(sock)
            assert os.get_blocking(sock.fileno()) is (call is not util.set_nonblocking)
    finally:
        socket.setdefaulttimeout(None)


@pytest.mark.parametrize("call", SOCKET_CALLS)
def test_bad_descriptors_are_refused(call: Callable[[object], object], tcp: socket.socket) -> None:
    """Closed, negative, huge: ValueError; no descriptor at all: TypeError; not open: OSError."""
    closed = socket.socket()
    closed.close()
    for bad in (closed, -1, 1 << 31, 1 << 80):
        with pytest.raises(ValueError, match="descriptor"):
            call(bad)
    for bad in (True, "3", 3.0, None, object()):
        with pytest.raises(TypeError, match="descriptor"):
            call(bad)
    with pytest.raises(OSError) as caught:
        call(1 << 20)
    assert caught.value.errno == errno.EBADF


def test_close_socket_closes_a_number_and_nothing_else(tcp: socket.socket) -> None:
    """A number is closed; an object is not taken, a number not open is an error."""
    number = tcp.detach()
    util.close_socket(number)
    with pytest.raises(OSError):
        util.close_socket(number)
    with socket.socket() as other, pytest.raises(TypeError, match="an object closes itself"):
        util.close_socket(other)  # type: ignore[arg-type]
    for bad in (-1, True):
        with pytest.raises((ValueError, TypeError)):
            util.close_socket(bad)


# -- addresses -----------------------------------------------------------------------------------------------

LOOPBACK_NAME = "lo" if sys.platform.startswith("linux") else "lo0"
LOOPBACK = socket.getaddrinfo(f"fe80::1%{LOOPBACK_NAME}", None)[0][4][3]  # PyPy has no if_nametoindex()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("1.2.3.4:80", ("1.2.3.4", 80)),
        ("1.2.3.4", ("1.2.3.4", 0)),
        ("1.2.3.4:0", ("1.2.3.4", 0)),
        ("255.255.255.255:65535", ("255.255.255.255", 65535)),
        ("::1", ("::1", 0, 0, 0)),
        ("[::1]", ("::1", 0, 0, 0)),
        ("[::1]:80", ("::1", 80, 0, 0)),
        ("::", ("::", 0, 0, 0)),
        ("0:0:0:0:0:0:0:1", ("::1", 0, 0, 0)),
        ("[::ffff:1.2.3.4]:80", ("::ffff:1.2.3.4", 80, 0, 0)),
        ("[2001:DB8::A]:80", ("2001:db8::a", 80, 0, 0)),
        (f"[::1%{LOOPBACK_NAME}]:80", ("::1", 80, 0, LOOPBACK)),
        (f"fe80::1%{LOOPBACK_NAME}", ("fe80::1", 0, 0, LOOPBACK)),
        ("[fe80::1%77]:80", ("fe80::1", 80, 0, 77)),
    ],
)
def test_addresses_are_read_and_written_exactly(text: str, address: tuple[object, ...]) -> None:
    """parse_address() gives the socket module's tuple, and format_address() leads back to it."""
    assert util.parse_address(text) == address
    assert util.parse_address(util.format_address(address)) == address  # type: ignore[arg-type]


def test_default_port_is_for_texts_without_one() -> None:
    """The default stands in only where no port is written."""
    assert util.parse_address("1.2.3.4", default_port=80) == ("1.2.3.4", 80)
    assert util.parse_address("[::1]", default_port=80)[:2] == ("::1", 80)
    assert util.parse_address("1.2.3.4:0", default_port=80) == ("1.2.3.4", 0)
    for bad in (-1, 65536):
        with pytest.raises(ValueError, match="default_port"):
            util.parse_address("1.2.3.4", default_port=bad)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", ":80", "1.2.3.4:", "1.2.3.4:x", "1.2.3.4:80x", "1.2.3.4: 80", "1.2.3.4:+80", "1.2.3.4:-1"),
        *(
            "1.2.3.4:65536",
            "1.2.3.4:080000",
            "1.2.3.4:8_0",
            "1.2.3.4:\u0663",
            "1.2.3",
            "1.2.3.4.5",
            "256.1.1.1",
        ),
        *(
            "1.2.3.4\0",
            "1.2.3.4\0:80",
            "[::1",
            "::1]",
            "[::1]x",
            "[::1]80",
            "[::1]:",
            "[1.2.3.4]:80",
            "[]:80",
        ),
        *(":::1", "1::2::3", "12345::", "::1%", "[::1%]:80", "::1%no-such-if", "1.2.3.4%lo", "localhost"),
        *("a.b:80", "http://1.2.3.4", "\ud800:80"),
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """Names, bad ports, NULs and rubbish are a ValueError."""
    with pytest.raises(ValueError):
        util.parse_address(text)


def test_random_addresses_agree_with_ipaddress() -> None:
    """Two thousand addresses mean the same to libevent and to Python."""
    source = random.Random(12)
    for _ in range(1000):
        v4 = ipaddress.IPv4Address(source.getrandbits(32))
        v6 = ipaddress.IPv6Address(
            source.getrandbits(128) & source.getrandbits(128) & source.getrandbits(128)
        )
        port = source.randrange(65536)
        assert util.parse_address(f"{v4}:{port}") == (str(v4), port)
        written = socket.inet_ntop(socket.AF_INET6, v6.packed)
        assert util.parse_address(f"[{v6.exploded}]:{port}") == (written, port, 0, 0)
        assert util.format_address((v6.exploded, port, 0, 0)) == f"[{written}]:{port}"


@pytest.mark.parametrize(
    ("address", "error"),
    [
        (("localhost", 80), ValueError),
        (("1.2.3.4", -1), ValueError),
        (("1.2.3.4", 65536), ValueError),
        (("1.2.3.4", "80"), TypeError),
        (("1.2.3.4", True), TypeError),
        ((b"1.2.3.4", 80), TypeError),
        (("1.2.3.4", 80, 0, 0), ValueError),
        (("::1", 80, 1 << 20, 0), ValueError),
        (("::1", 80, 0, 1 << 32), ValueError),
        (("::1%3", 80, 0, 4), ValueError),
        (("1.2.3.4",), ValueError),
        (("::1", 80, 0, 0, 0), ValueError),
        (("1.2.3.4\0", 80), ValueError),
        ("1.2.3.4:80", TypeError),
        (None, TypeError),
    ],
)
def test_tuples_that_are_no_address_are_refused(address: object, error: type[Exception]) -> None:
    """format_address() and compare_addresses() check every part of a tuple."""
    with pytest.raises(error):
        util.format_address(address)  # type: ignore[arg-type]
    with pytest.raises(error):
        util.compare_addresses(("1.2.3.4", 1), address)  # type: ignore[arg-type]


def test_comparing_is_an_order() -> None:
    """Equal is 0, swapping changes the sign, and the port may be left out."""
    some = [("1.2.3.4", 1), ("1.2.3.4", 2), ("4.3.2.1", 1), ("::1", 1), ("::2", 1), ("::2", 70)]
    for a in some:
        assert util.compare_addresses(a, a) == 0
        for b in some:
            forth, back = util.compare_addresses(a, b), util.compare_addresses(b, a)
            assert (forth > 0) == (back < 0)
            assert (forth == 0) == (a == b)
            assert (util.compare_addresses(a, b, port=False) == 0) == (a[0] == b[0])


def test_unix_addresses_go_to_c_and_back(tmp_path: Path) -> None:
    """Paths, bytes and abstract names arrive in C as the system itself writes them."""
    for name in (
        str(tmp_path / "s"),
        os.fsencode(tmp_path / "b"),
        tmp_path / "p",
        b"\0lev-test-name",
        b"\0a\0b",
    ):
        memory, length = convert.sockaddr_to_c(name)
        expected = name if isinstance(name, bytes) and name.startswith(b"\0") else os.fsdecode(name)
        assert convert.sockaddr_from_c(memory, length) == expected
    assert convert.sockaddr_from_c(ffi.new("struct sockaddr[]", 1), 0) == ""
    assert convert.format_address(b"\0name") == "@name"
    for bad in ("", b"", "a\0b", "x" * 200, b"\0" * 200, Path("x" * 120)):
        with pytest.raises(ValueError):
            convert.sockaddr_to_c(bad)
    assert convert.is_numeric("::1") is True
    assert convert.is_numeric("localhost") is False


def test_a_cut_off_address_is_not_read_beyond_its_end() -> None:
    """What is too short for its family comes back as bytes, never with memory that is not its own."""
    for address in (("127.0.0.1", 80), ("::1", 80)):
        memory, length = convert.sockaddr_to_c(address)
        for size in range(2, length):
            family, rest = convert.sockaddr_from_c(memory, size)
            assert (int(family) in (socket.AF_INET, socket.AF_INET6), len(rest)) == (True, size - 2)


@pytest.mark.parametrize("address", [("127.0.0.1", 0), ("", 0), ("::1", 0, 0, 0)])
def test_what_c_binds_is_what_python_reads(address: tuple[str, int]) -> None:
    """An address made here is the one the kernel knows, and the other way round."""
    memory, length = convert.sockaddr_to_c(address)
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family) as sock:
        sock.bind(convert.sockaddr_from_c(memory, length))
        name = sock.getsockname()
        memory, length = convert.sockaddr_to_c(name)
        assert convert.sockaddr_from_c(memory, length) == name


@pytest.mark.parametrize(
    ("arguments", "keywords"),
    [
        (("127.0.0.1", 80), {}),
        pytest.param(("::1", "http"), {"type": socket.SOCK_STREAM}, marks=needs_services),
        (("localhost", None), {"flags": socket.AI_CANONNAME}),
        ((None, 80), {"flags": socket.AI_PASSIVE}),
        ((None, "80"), {"family": socket.AF_INET, "proto": socket.IPPROTO_UDP}),
    ],
)
def test_getaddrinfo_answers_as_the_socket_module(
    arguments: tuple[object, object], keywords: dict[str, int]
) -> None:
    """The same list, with the same types in it."""
    ours = util.getaddrinfo(*arguments, **keywords)  # type: ignore[arg-type]
    theirs = socket.getaddrinfo(*arguments, **keywords)  # type: ignore[call-overload]
    assert ours == theirs
    assert [type(entry[0]) for entry in ours] == [type(entry[0]) for entry in theirs]


def test_getaddrinfo_failures_are_dns_errors() -> None:
    """A failure has the system's number and libevent's words, and is a socket.gaierror too."""
    for host, port, number in (
        ("no-such-name.invalid", 80, socket.EAI_NONAME),
        ("127.0.0.1", "no-such-service", socket.EAI_SERVICE),
        (None, None, socket.EAI_NONAME),
    ):
        with pytest.raises(errors.DNSError) as caught:
            util.getaddrinfo(host, port, flags=socket.AI_NUMERICHOST)
        assert isinstance(caught.value, socket.gaierror)
        assert (caught.value.errno, caught.value.code) == (number, None)
        assert caught.value.strerror


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("a\0b", 80), ValueError),
        (("a", "b\0"), ValueError),
        (("a", 65536), ValueError),
        (("a", -1), ValueError),
        (("a", True), TypeError),
        (("a", 1.5), TypeError),
        ((b"a", 80), TypeError),
        (("\u00e4" * 300, 80), ValueError),
    ],
)
def test_getaddrinfo_refuses_bad_arguments(arguments: tuple[str, int], error: type[Exception]) -> None:
    """What C would misread is refused before."""
    with pytest.raises(error):
        util.getaddrinfo(*arguments)
