"""``python -m libevent_cffi resolve``, and the DNS server of the examples that it asks here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from dns_peers import name_server
from test_examples import ENVIRONMENT, EXAMPLES

from libevent_cffi import __main__


@pytest.fixture
def zone(tmp_path: Path) -> Iterator[str]:
    """The address of the example's server, which serves a hosts file."""
    hosts = tmp_path / "hosts"
    hosts.write_text("192.0.2.1 one.example uno.example  # a comment\n2001:db8::1 one.example\n\n# nothing\n")
    command = [sys.executable, str(EXAMPLES / "dns_server.py"), str(hosts)]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.fullmatch(r"serving 2 names on port (\d+)\n", process.stdout.readline())
        assert found is not None
        yield f"127.0.0.1:{found[1]}"
        process.terminate()
        out, _ = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, "bye\n")


def test_names_and_addresses_of_the_example(zone: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Each is found; what is not there is told, and makes the status 1."""
    assert (
        __main__.main(["resolve", "--server", zone, "one.example", "192.0.2.1", "2001:db8::1", "uno.example"])
        == 0
    )
    lines = capfd.readouterr().out.splitlines()
    assert set(lines) == {
        "one.example has address 192.0.2.1",
        "one.example has IPv6 address 2001:db8::1",
        "uno.example has address 192.0.2.1",
        "192.0.2.1 is the address of one.example",
        "2001:db8::1 is the address of one.example",
    }
    assert __main__.main(["resolve", "--server", zone, "two.example.", "a..b", "one.example"]) == 1
    printed = capfd.readouterr()
    assert "two.example. was not found: name does not exist" in printed.out
    assert "a..b was not found: name is empty, or has an empty part" in printed.out
    assert "one.example has address 192.0.2.1" in printed.out
    assert printed.err == ""


def test_many_names_of_stdin() -> None:
    """As a program, with a thousand names at once."""
    with name_server() as peer:
        names = [f"n{number}.example" for number in range(1000)]
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "libevent_cffi",
                "resolve",
                "--server",
                "{}:{}".format(*peer.address),
                "-",
            ],
            input="\n".join(names),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert {line.split()[0] for line in done.stdout.splitlines()} == set(names)
    assert len(done.stdout.splitlines()) == 2000


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="this system has no terminals")
def test_progress_goes_to_the_terminal() -> None:
    """Only there, and it is gone at the end."""
    ours, its = os.openpty()
    with name_server() as peer:
        command = [
            sys.executable,
            "-m",
            "libevent_cffi",
            "resolve",
            "--server",
            "{}:{}".format(*peer.address),
        ]
        with subprocess.Popen(
            [*command, "a.example", "b.example"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdout=subprocess.PIPE,
            stderr=its,
        ) as process:
            os.close(its)
            assert process.communicate(timeout=60)[0].count(b" has address ") == 2
    shown = os.read(ours, 65536)
    os.close(ours)
    assert b"1 of 2" in shown
    assert b"2 of 2" in shown
    assert shown.endswith(b"\r\x1b[K")


def test_a_wrong_server_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """With status 2."""
    assert __main__.main(["resolve", "--server", "nothing", "a.example"]) == 2
    assert "resolve: " in capsys.readouterr().err
