"""The tour that ``./dev demo`` shows."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys

import pytest

from libevent_cffi import util

COMMAND = [sys.executable, "-m", "libevent_cffi", "tour"]


def test_the_tour_does_its_work_and_ends_well() -> None:
    """Every part reports, and the exit status is 0."""
    done = subprocess.run(COMMAND, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    for line in ("10 ticks", "SIGTERM came 5 times", "5000 messages came back in", "posted 20000 calls"):
        assert line in done.stdout
    for line in ("20 clients sent 500,000 bytes", "500 names were asked", "500 pages over 10 connections"):
        assert line in done.stdout
    assert ("under TLSv1" in done.stdout) is (util.features()["tls"] and shutil.which("openssl") is not None)
    assert "PROBLEM" not in done.stdout


@pytest.mark.parametrize("signum", [signal.SIGINT])
def test_serving_ends_at_ctrl_c(signum: int) -> None:
    """With --serve it echoes until Ctrl-C, also after a reset, then ends with status 0 and no traceback."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*COMMAND, "--serve"], stdout=pipe, stderr=pipe, text=True, env=environment
    ) as server:
        assert server.stdout is not None
        found = re.fullmatch(r"echoing on (\S+) port (\d+); Ctrl-C ends it\n", server.stdout.readline())
        assert found is not None
        with socket.create_connection((found[1], int(found[2])), timeout=20) as rude:
            rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with socket.create_connection((found[1], int(found[2])), timeout=20) as client:
            client.sendall(b"hello")
            assert client.recv(5, socket.MSG_WAITALL) == b"hello"
            server.send_signal(signum)
            out, err = server.communicate(timeout=20)
    assert (server.returncode, out, err) == (0, "\n2 connections were served\n", "")
