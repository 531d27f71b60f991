"""
STARTTLS: a server that speaks in the clear until it is asked for TLS, and a client that asks.

Without arguments both run here, with a certificate made by the openssl command.  With a certificate and a key
(PEM files) only the server runs: try "openssl s_client -starttls smtp -connect 127.0.0.1:PORT".
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from libevent_cffi import BufferEvent, BufferEventFlag, EventBase, Listener
from libevent_cffi.tls import TLSContext


def make_certificate(folder):
    names = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1")
    files = ("-keyout", "key.pem", "-out", "certificate.pem")
    subprocess.run(
        ["openssl", "req", "-x509", *kind, *names, *files], cwd=folder, check=True, capture_output=True
    )
    return Path(folder, "certificate.pem"), Path(folder, "key.pem")


def serve(listener, sock, address, context):
    BufferEvent(listener.base, sock, on_read=lambda bev: answer(bev, context)).write(b"220 ready\r\n")


def answer(bev, context):
    for line in iter(bev.readline, None):
        command = line.upper()
        if command == b"STARTTLS" and bev.tls is None:
            bev.write(b"220 go ahead\r\n")
            bev.start_tls(
                context
            )  # what comes now comes to answer() too, of the connection that this returns
            return
        if command == b"QUIT":
            bev.write(b"221 bye\r\n")
            bev.close(flush=True)
            return
        bev.write(b"250 %s%s\r\n" % (line, b" (nobody else can read this)" if bev.tls else b""))


def ask(bev, lines, context):
    for line in iter(bev.readline, None):
        print(line.decode())
        if line == b"220 go ahead":
            bev.start_tls(context, server_hostname="localhost")
            return
        if lines:
            bev.write(lines.pop(0) + b"\r\n")


def on_event(bev, what, error, lines):
    if what & BufferEventFlag.CONNECTED and bev.tls:
        print(f"-- {bev.tls.version} with {bev.tls.server_name} --")
        bev.write(lines.pop(0) + b"\r\n")
    elif not what & BufferEventFlag.CONNECTED:
        bev.base.loop_exit()


with EventBase() as base, tempfile.TemporaryDirectory() as folder:
    certificate, key = sys.argv[1:] or make_certificate(folder)
    listener = Listener(base, ("127.0.0.1", 0), serve, TLSContext.server(certificate, key))
    print(f"listening on port {listener.port}", flush=True)
    if not sys.argv[1:]:
        lines = [b"EHLO me", b"STARTTLS", b"a secret", b"QUIT"]
        client = TLSContext(ca=certificate)
        bev = BufferEvent(
            base,
            on_read=lambda bev: ask(bev, lines, client),
            on_event=lambda bev, what, error: on_event(bev, what, error, lines),
        )
        bev.connect(("127.0.0.1", listener.port))
    base.dispatch()
