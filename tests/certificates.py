"""Certificates for the tests, made by the openssl command: an authority, and what it has signed."""

from __future__ import annotations

import subprocess
from pathlib import Path

_EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
PASSWORD = "open sesame"


class Certificates:
    """
    A folder of PEM files.

    ``ca`` signs ``server`` (localhost, 127.0.0.1 and ::1), ``other`` (other.example), ``expired`` (localhost)
    and ``client``; ``stranger`` is an authority that nobody trusts, and signs ``strange``.  Each NAME.pem has
    its key in NAME.key; locked.key is server.key under PASSWORD.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._authority("ca")
        self._authority("stranger")
        localhost = "DNS:localhost,IP:127.0.0.1,IP:::1"
        self._sign("server", localhost)
        self._sign("other", "DNS:other.example")
        self._sign("expired", localhost, days=-1)
        self._sign("client", "DNS:client.example")
        self._sign("strange", localhost, by="stranger")
        self.run("pkey", "-in", "server.key", "-aes256", "-passout", f"pass:{PASSWORD}", "-out", "locked.key")

    def __call__(self, name: str) -> str:
        """Return the path of file *name*."""
        return str(self.folder / name)

    def text(self, *names: str) -> bytes:
        """Return what is in files *names*, one after the other."""
        return b"".join((self.folder / name).read_bytes() for name in names)

    def der(self, name: str) -> bytes:
        """Return certificate *name* as DER."""
        return self.run("x509", "-in", f"{name}.pem", "-outform", "DER")

    def run(self, *arguments: str) -> bytes:
        """Run the openssl command in the folder; return its output."""
        command = ["openssl", *arguments]
        return subprocess.run(
            command, cwd=self.folder, check=True, capture_output=True, stdin=subprocess.DEVNULL
        ).stdout

    def _authority(self, name: str) -> None:
        files = ("-keyout", f"{name}.key", "-out", f"{name}.pem")
        usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")  # Python is strict from 3.13 on
        self.run("req", "-x509", *_EC, "-nodes", *files, "-subj", f"/CN={name}", "-days", "2", *usage)

    def _sign(self, name: str, names: str, *, days: int = 2, by: str = "ca") -> None:
        files = ("-keyout", f"{name}.key", "-out", f"{name}.csr")
        self.run("req", *_EC, "-nodes", *files, "-subj", f"/CN={name}")
        (self.folder / "extensions").write_text(
            f"subjectAltName={names}\nbasicConstraints=CA:FALSE\n"
            "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
        )
        signer = ("-CA", f"{by}.pem", "-CAkey", f"{by}.key", "-CAcreateserial", "-days", str(days))
        self.run(
            "x509", "-req", "-in", f"{name}.csr", *signer, "-extfile", "extensions", "-out", f"{name}.pem"
        )
