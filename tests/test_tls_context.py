"""TLS contexts: what they take, what they refuse, and with which words."""

from __future__ import annotations

import copy
import gc
import os
import pathlib
import pickle
import sys
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from certificates import PASSWORD, Certificates
from conftest import output_of, run_python

from libevent_cffi import util
from libevent_cffi._native import lib
from libevent_cffi.errors import FeatureUnavailableError, TLSError
from libevent_cffi.flags import TLSVersion
from libevent_cffi.tls import TLSContext

has_tls = bool(lib.LEV_HAS_TLS)
needs_tls = pytest.mark.skipif(not has_tls, reason="this build has no TLS")


@pytest.mark.skipif(has_tls, reason="this build has TLS")
def test_without_tls_the_module_imports_and_its_use_says_what_is_missing() -> None:
    """A program can ask whether there is TLS, and learns why there is none."""
    for use in (TLSContext, lambda: TLSContext.server(b"")):
        with pytest.raises(FeatureUnavailableError, match=r"^TLS ") as caught:
            use()
        assert caught.value.feature == "tls"
    assert not util.features()["tls"]


@needs_tls
def test_only_this_module_loads_libssl() -> None:
    """A program without TLS does not pay for it."""
    code = """if True:
        import pathlib
        import libevent_cffi
        maps = lambda: "libssl" in pathlib.Path("/proc/self/maps").read_text()
        before = maps()
        import libevent_cffi.tls
        print(before, maps())
    """
    if not sys.platform.startswith("linux"):
        pytest.skip("needs /proc/self/maps")
    assert output_of(code) == "False True\n"


@needs_tls
def test_what_a_context_says_of_itself(certificates: Certificates) -> None:
    """It is a client's or a server's."""
    client, server = TLSContext(), TLSContext.server(certificates("server.pem"), certificates("server.key"))
    assert (client.server_side, server.server_side) == (False, True)
    assert (repr(client), repr(server)) == ("<TLSContext client>", "<TLSContext server>")
    for operation in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be pickled or copied"):
            operation(client)


@needs_tls
@pytest.mark.parametrize("as_what", [str, pathlib.Path, lambda path: pathlib.Path(path).read_bytes()])
def test_pem_comes_from_files_or_as_bytes(certificates: Certificates, as_what: Callable[[str], Any]) -> None:
    """A path as str or PathLike, or the text itself."""
    pem, key, ca = (as_what(certificates(name)) for name in ("server.pem", "server.key", "ca.pem"))
    TLSContext.server(pem, key, ca=ca, verify=True)
    TLSContext(certificate=pem, key=key, ca=ca)


@needs_tls
def test_the_key_may_stand_in_the_certificate_s_pem(certificates: Certificates) -> None:
    """And so may the certificates that lead to one that is trusted."""
    TLSContext.server(certificates.text("server.pem", "ca.pem", "server.key"))
    TLSContext.server(certificates.text("server.key", "server.pem"))


@needs_tls
def test_an_encrypted_key_needs_its_password(certificates: Certificates) -> None:
    """As str or bytes; a wrong one is refused."""
    for password in (PASSWORD, PASSWORD.encode()):
        TLSContext.server(certificates("server.pem"), certificates("locked.key"), password=password)
    for wrong in ("wrong", b"", "x" * 1023):
        with pytest.raises(TLSError, match=r"^key: "):
            TLSContext.server(certificates("server.pem"), certificates("locked.key"), password=wrong)
    with pytest.raises(ValueError, match="longer than 1023"):
        TLSContext.server(certificates("server.pem"), certificates("locked.key"), password="x" * 1024)
    with pytest.raises(TypeError, match="password must be"):
        TLSContext.server(
            certificates("server.pem"),
            certificates("locked.key"),
            password=bytearray(b"x"),  # type: ignore[arg-type]
        )


@needs_tls
@pytest.mark.skipif(sys.platform == "win32", reason="needs a terminal")
def test_nobody_is_asked_for_a_password_at_the_terminal(certificates: Certificates) -> None:
    """An encrypted key without one is an error, also with a terminal to ask at."""
    code = f"""if True:
        import os, pty
        pid, fd = pty.fork()
        if pid == 0:
            from libevent_cffi.tls import TLSContext
            try:
                TLSContext.server({certificates("server.pem")!r}, {certificates("locked.key")!r})
            except OSError as error:
                print(error, flush=True)
            os._exit(0)
        text = b""
        try:
            while True:
                data = os.read(fd, 1000)
                if not data:
                    break
                text += data
        except OSError:
            pass
        print(text.decode().strip())
    """
    done = run_python(code)
    assert done.stdout.startswith("key: it is encrypted, and there is no password: "), done
    assert "Enter" not in done.stdout


@needs_tls
def test_what_openssl_refuses_is_told_in_its_own_words(certificates: Certificates) -> None:
    """reasons has them one by one."""
    server, key = certificates("server.pem"), certificates("server.key")
    bad: list[tuple[Callable[[], object], str, str]] = [
        (lambda: TLSContext.server(server, certificates("ca.key")), "key", "key values mismatch"),
        (lambda: TLSContext.server(b"", key), "certificate", "no start line"),
        (lambda: TLSContext.server(server), "key: there is no private key in the certificate's PEM.*", ""),
        (lambda: TLSContext.server(server, server), "key: there is no private key in it", ""),
        (lambda: TLSContext(ca=b"no certificate"), "ca", "no certificate"),
        (lambda: TLSContext(ca=key), "ca", "no certificate"),
        (lambda: TLSContext(ciphers="NONSENSE"), "ciphers", "no cipher match"),
        (lambda: TLSContext(ciphersuites="NONSENSE"), "ciphers", "no cipher match"),
    ]
    for make, what, words in bad:
        with pytest.raises(TLSError, match=f"^{what}: ") as caught:
            make()
        assert caught.value.reasons
        assert words in caught.value.reasons or not words, caught.value
        assert caught.value.verify_code is None
        assert caught.value.errno is None
    broken = b"-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n"
    for text in (broken, certificates.text("ca.pem") + broken):
        with pytest.raises(TLSError, match="base64"):
            TLSContext(ca=text)


@needs_tls
def test_openssl_s_queue_of_errors_is_left_empty(certificates: Certificates) -> None:
    """What failed here is not told of by Python's ssl, which reads the same queue."""
    import ssl

    with pytest.raises(TLSError):
        TLSContext(ca=b"-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n")
    with pytest.raises(ssl.SSLError, match=r"(?i)no.cipher"):
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).set_ciphers("NONSENSE")
    with pytest.raises(TLSError) as caught:
        TLSContext(ciphers="NONSENSE")
    assert caught.value.reasons == ("no cipher match",)


@needs_tls
def test_files_and_folders_that_are_not_there_are_os_errors(
    certificates: Certificates, tmp_path: pathlib.Path
) -> None:
    """With the errno and the name that open() gives."""
    missing = str(tmp_path / "missing")
    uses: list[Callable[[], object]] = [
        lambda: TLSContext(ca=missing),
        lambda: TLSContext(ca_path=missing),
        lambda: TLSContext(certificate=missing),
        lambda: TLSContext.server(certificates("server.pem"), missing),
    ]
    for use in uses:
        with pytest.raises(FileNotFoundError, match="missing") as caught:
            use()
        assert caught.value.filename in (missing, os.fsencode(missing))
    with pytest.raises(NotADirectoryError):
        TLSContext(ca_path=certificates("ca.pem"))
    TLSContext(ca_path=tmp_path, system_trust=True)


@needs_tls
def test_pem_as_str_is_refused_without_telling_it(certificates: Certificates) -> None:
    """It would be taken for a path, and the error of a missing file would write a key into logs."""
    server, key = certificates("server.pem"), certificates.text("server.key").decode()
    uses: list[Callable[[], object]] = [
        lambda: TLSContext.server(server, key),
        lambda: TLSContext(certificate=key),
        lambda: TLSContext(ca=key),
    ]
    for use in uses:
        with pytest.raises(ValueError, match="as bytes") as caught:
            use()
        assert "BEGIN" not in str(caught.value)


@needs_tls
def test_versions_are_tls_1_2_and_later() -> None:
    """A plain int is taken; older ones are no TLSVersion, and the least is not above the most."""
    TLSContext(minimum_version=TLSVersion.TLSv1_3)
    TLSContext(minimum_version=0x0303, maximum_version=0x0304)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="minimum_version"):
        TLSContext(minimum_version=0x0301)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="older than"):
        TLSContext(minimum_version=TLSVersion.TLSv1_3, maximum_version=TLSVersion.TLSv1_2)


@needs_tls
@pytest.mark.parametrize(
    ("names", "error"),
    [
        ("h2", TypeError),
        ([1], TypeError),
        ([""], ValueError),
        (["x" * 256], ValueError),
        (["x"] * 33000, ValueError),
    ],
)
def test_alpn_takes_names_of_1_to_255_bytes(names: Any, error: type[Exception]) -> None:
    """As an iterable that is no str."""
    TLSContext(alpn=iter(["h2", "http/1.1", "x" * 255]))
    with pytest.raises(error, match="alpn"):
        TLSContext(alpn=names)


@needs_tls
def test_arguments_that_make_no_sense_are_refused(certificates: Certificates) -> None:
    """Before OpenSSL sees them."""
    server, key = certificates("server.pem"), certificates("server.key")
    with pytest.raises(ValueError, match="needs certificate="):
        TLSContext(key=key)
    with pytest.raises(ValueError, match="needs certificate="):
        TLSContext(password="x")
    with pytest.raises(ValueError, match="whom to trust"):
        TLSContext.server(server, key, verify=True)
    with pytest.raises(ValueError, match="verify must be"):
        TLSContext.server(server, key, ca=certificates("ca.pem"), verify="perhaps")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="on_server_name must be callable"):
        TLSContext.server(server, key, on_server_name=1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="ca must be a path"):
        TLSContext(ca=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="NUL"):
        TLSContext(ciphers="a\0b")
    with pytest.raises(ValueError, match="NUL"):
        TLSContext(ca="a\0b")


@needs_tls
def test_a_context_that_nobody_uses_is_freed(certificates: Certificates) -> None:
    """With what it refers to, also when the function that chooses by name refers to it."""

    def make() -> weakref.ref[TLSContext]:
        made: list[TLSContext] = []
        made.append(
            TLSContext.server(
                certificates("server.pem"), certificates("server.key"), on_server_name=lambda name: made[0]
            )
        )
        return weakref.ref(made[0])

    reference = make()
    for _ in range(3):
        gc.collect()
    assert reference() is None


@needs_tls
def test_many_contexts_take_no_more_memory_than_a_few(certificates: Certificates) -> None:
    """OpenSSL's memory is not counted by libevent's counters: the process is asked."""
    if not sys.platform.startswith("linux"):
        pytest.skip("needs /proc/self/statm")
    code = f"""if True:
        import gc, pathlib
        from libevent_cffi.errors import TLSError
        from libevent_cffi.tls import TLSContext
        pem = {certificates.text("server.pem", "ca.pem", "server.key")!r}
        ca = {certificates.text("ca.pem")!r}
        def make(count):
            for i in range(count):
                if i % 50 == 0:
                    gc.collect()
                TLSContext.server(pem, ca=ca, verify=True, alpn=["h2"], on_server_name=print)
                try:
                    TLSContext.server(pem, ciphers="NONSENSE")
                except TLSError:
                    pass
            return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * 4096
        make(150)
        before = make(50)
        print(make(400) - before < 3_000_000)
    """
    assert output_of(code) == "True\n"


def test_a_star_import_is_what_the_module_promises() -> None:
    """Its classes say that they live in it."""
    import libevent_cffi.tls

    for name in libevent_cffi.tls.__all__:
        assert getattr(libevent_cffi.tls, name).__module__ == "libevent_cffi.tls"
