"""
Find libevent, ask the compiler which names it has, and describe the two extension modules to cffi.

The files in ``libevent_cffi/_native/cdef`` declare what any supported libevent may have.  Only what the
headers at hand really contain goes into a module, since a version tells nothing: two snapshots of 2.2 with
the same number differ.  A name left out is an AttributeError on ``lib``.

Environment: LIBEVENT_PREFIX names the libevent to use; LIBEVENT_CFFI_DISABLE, a comma list of tls, mbedtls,
ws, watch, pthreads and 2.2, leaves out what is there, so that every state can be tested on any machine.  CC,
CPPFLAGS, CFLAGS, LDFLAGS and PKG_CONFIG mean what they always do.

Our C sees LEV_HAS_TLS, _MBEDTLS, _WS, _WATCH and _PTHREADS as 0 or 1, and LEV_HAVE_<name> for every function
of libevent that is declared.  In the declarations, the lines between the comments "if LEV_HAS_WS" and "end"
count only where that is 1; native.h may ask for LEV_HAVE_<name> as well.
"""

from __future__ import annotations

import functools
import os
import re
import shlex
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

import cffi
from cffi import FFI

__all__ = ["Dirs", "Libevent", "ffibuilder", "preprocess", "probe", "run_compiler", "tls_ffibuilder"]

_PROJECT = Path(__file__).resolve().parent
_CDEF = _PROJECT / "libevent_cffi" / "_native" / "cdef"
_CSRC = _PROJECT / "libevent_cffi" / "_native" / "csrc"
_GROUPS = ("tls", "mbedtls", "ws", "watch", "pthreads", "2.2")
_OLDEST = 0x02010800
# In the order in which the declarations need each other.
_HEADERS = (
    "types util event event_struct buffer bufferevent bufferevent_struct thread listener keyvalq_struct"
    " dns dns_struct http http_struct ws watch tag rpc rpc_struct visibility"
).split()

# Our own C of the first module.
_OWN = [
    *("build", "native", "native_loop", "native_ctrl_c", "native_children"),
    *("native_buffer", "native_bufferevent"),
    "native_dns",
    "native_http_headers",
    "native_http_server",
    "native_bridge",
]

_HELP = """\
To install what it needs:
  Debian, Ubuntu   apt install gcc python3-dev libevent-dev libssl-dev pkg-config
  Fedora           dnf install gcc python3-devel libevent-devel openssl-devel pkgconf
  Alpine           apk add gcc musl-dev python3-dev libevent-dev openssl-dev pkgconf
  Arch             pacman -S gcc libevent openssl pkgconf
  Homebrew         xcode-select --install; brew install libevent openssl pkgconf
  FreeBSD          pkg install libevent pkgconf
Set LIBEVENT_PREFIX when libevent is somewhere else, and CC when the compiler is."""


class Dirs(NamedTuple):
    """Where the compiler and the linker look besides their own places."""

    include: list[str]
    library: list[str]


class Libevent(NamedTuple):
    """The libevent that was found, and what of it goes into the modules."""

    dirs: Dirs
    version: str
    macros: frozenset[str]
    names: frozenset[str]  # every identifier in its headers, the macros too; names of parameters do no harm
    libraries: list[str]
    tls_libraries: list[str]
    tls_missing: str  # why there is no TLS module; empty when there is one
    switches: dict[str, int]  # LEV_HAS_... and LEV_WANT_...


# -- the compiler ------------------------------------------------------------------------------------------


def _stop(problem: str) -> NoReturn:
    """End the build; the message has to stand on its own as the last lines that pip shows."""
    raise SystemExit(f"\nlibevent_cffi cannot be built: {problem}\n\n{_HELP}\n")


def _words(variable: str, default: str = "") -> list[str]:
    return shlex.split(os.environ.get(variable) or default)


def _run(command: Sequence[str], source: str = "") -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, input=source, capture_output=True, errors="replace", check=False)
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))


def _compiler() -> list[str]:
    command = _words("CC", sysconfig.get_config_var("CC") or "cc")
    if shutil.which(command[0]) is None:
        _stop(f"there is no C compiler ({command[0]}).")
    return [*command, *_words("CFLAGS")]


def run_compiler(arguments: Iterable[str], source: str) -> subprocess.CompletedProcess[str]:
    """Give *source* to the C compiler as everything here does."""
    return _run([*_compiler(), *_words("CPPFLAGS"), "-D_GNU_SOURCE", *arguments, "-x", "c", "-"], source)


def preprocess(source: str, include_dirs: Iterable[str]) -> str:
    """Return *source* with all that it includes; definitions of macros stay in the text."""
    done = run_compiler(["-E", "-dD", *(f"-I{path}" for path in include_dirs)], source)
    if done.returncode != 0:
        _stop(f"the C compiler ({' '.join(_compiler())}) failed:\n\n{done.stderr.strip()}")
    return done.stdout


def _has_header(header: str, include_dirs: Iterable[str]) -> bool:
    text = preprocess(f"#if __has_include(<{header}>)\nlev_found\n#endif\n", include_dirs)
    return "lev_found" in text.split()


def _link_errors(dirs: Dirs, libraries: Iterable[str], names: Sequence[str]) -> str:
    """
    Link a program that calls the functions *names*, and return what is wrong; nothing when all is well.

    What stands beside libevent_core is not looked for anywhere else: that would be another libevent's.
    """
    homes = [path for path in map(Path, dirs.library) if any(path.glob("libevent_core*"))]
    for name in libraries:
        if name.startswith("event") and homes and not any(any(path.glob(f"lib{name}*")) for path in homes):
            return f"there is no lib{name} in {homes[0]}"
    source = "".join(f"extern char {name}(void);\n" for name in names)
    calls = " + ".join(["0", *(f"{name}()" for name in names)])
    search = [*(f"-L{path}" for path in dirs.library), *(f"-l{name}" for name in libraries)]
    with tempfile.TemporaryDirectory() as folder:
        file, program = Path(folder, "probe.c"), Path(folder, "probe")
        file.write_text(f"{source}int main(void) {{ return {calls}; }}\n", encoding="utf-8")
        done = _run([*_compiler(), *_words("LDFLAGS"), str(file), "-o", str(program), *search])
    return "" if done.returncode == 0 else done.stderr or "it failed"


def _compile_args() -> list[str]:
    """Return flags for our C: wrong declarations are errors; speed, unless CFLAGS say something of it."""

    def is_taken(flag: str) -> bool:
        return run_compiler(["-Werror", flag, "-fsyntax-only"], "int lev_nothing;\n").returncode == 0

    mistakes = ("implicit-function-declaration", "incompatible-pointer-types", "int-conversion")
    own = _words("CFLAGS")
    defaults = [flag for flag in ("-O2", "-g0") if not any(word.startswith(flag[:2]) for word in own)]
    return [*defaults, *filter(is_taken, (f"-Werror={mistake}" for mistake in mistakes))]


# -- where libevent is -------------------------------------------------------------------------------------


def _from_prefix(prefix: str) -> Dirs:
    triplet = sysconfig.get_config_var("MULTIARCH") or "."
    include = [Path(prefix, "include"), Path(prefix, "include", triplet)]
    library = [Path(prefix, "lib", triplet), Path(prefix, "lib64"), Path(prefix, "lib")]
    return Dirs(
        list(dict.fromkeys(str(path) for path in include if (path / "event2").is_dir())),
        list(dict.fromkeys(str(path) for path in library if any(path.glob("libevent_core*")))),
    )


def _from_pkg_config(*packages: str) -> Dirs:
    """
    Return the folders of the first of *packages* that pkg-config knows.

    Never its -l: 2.1's .pc files say -levent, which loads a second copy of libevent's global state beside
    event_core, and thread support then lands in the wrong one.
    """
    for package in packages:
        done = _run([*_words("PKG_CONFIG", "pkg-config"), "--cflags-only-I", "--libs-only-L", package])
        if done.returncode == 0:
            flags = shlex.split(done.stdout)
            return Dirs([f[2:] for f in flags if f[:2] == "-I"], [f[2:] for f in flags if f[:2] == "-L"])
    return Dirs([], [])


def _from_brew(formula: str) -> Dirs:
    done = _run(["brew", "--prefix", formula])
    prefix = done.stdout.strip()
    return Dirs([f"{prefix}/include"], [f"{prefix}/lib"]) if prefix and done.returncode == 0 else Dirs([], [])


def _places() -> Iterator[Dirs]:
    yield _from_pkg_config("libevent_core", "libevent")
    yield _from_brew("libevent")
    yield from (_from_prefix(prefix) for prefix in ("/opt/homebrew", "/opt/local", "/usr/local"))


def _find() -> Dirs:
    """Return where libevent is; nowhere in particular when the compiler finds it by itself."""
    prefix = os.environ.get("LIBEVENT_PREFIX")
    if prefix:
        dirs = _from_prefix(prefix)
        for part, found in ("include/event2", dirs.include), ("lib/libevent_core", dirs.library):
            if not found:
                _stop(f"LIBEVENT_PREFIX is {prefix}, and there is no {part} in it.")
        return dirs
    for dirs in _places():
        if _has_header("event2/event.h", dirs.include):
            return dirs
    _stop("libevent's headers are not there (event2/event.h).")


def _find_openssl() -> Dirs:
    dirs = _from_pkg_config("libssl", "openssl")
    return dirs if _has_header("openssl/ssl.h", dirs.include) else _from_brew("openssl")


# -- what libevent has -------------------------------------------------------------------------------------


def _python_dirs() -> list[str]:
    return list(dict.fromkeys(sysconfig.get_path(name) for name in ("include", "platinclude")))


def _version(dirs: Dirs) -> str:
    """Return libevent's version, after checking that it is no older than can be."""
    text = preprocess("#include <event2/event-config.h>\n", dirs.include)
    found = dict(re.findall(r'^#define EVENT__(NUMERIC_VERSION|VERSION) "?([^"\n]*)', text, re.MULTILINE))
    version: str = found.get("VERSION", "older than 2.1")
    if int(found.get("NUMERIC_VERSION", "0"), 0) < _OLDEST:
        _stop(f"this libevent is {version}; 2.1.8 or a newer one is needed.")
    return version


def _names(text: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the macros, and all names, that *text* has from libevent's headers and from ours beside them."""
    macros: set[str] = set()
    others: set[str] = set()
    wanted = False
    for line in text.splitlines():
        marker = re.match(r'#(?:line)? \d+ "([^"]*)"', line)
        if marker:
            wanted = re.search(r"[/\\](event2[/\\]+[^/\\]*|csrc[/\\]+headers)\.h$", marker[1]) is not None
        elif wanted and line.startswith("#"):
            macros.update(re.findall(r"^#define (\w+)", line))
            macros.difference_update(re.findall(r"^#undef (\w+)", line))
        elif wanted:
            others.update(re.findall(r"[A-Za-z_]\w*", line))
    return frozenset(macros), frozenset(macros | others)


def _disabled() -> list[str]:
    words = [word.strip() for word in os.environ.get("LIBEVENT_CFFI_DISABLE", "").split(",") if word.strip()]
    for word in words:
        if word not in _GROUPS:
            raise SystemExit(f"\nLIBEVENT_CFFI_DISABLE: {word!r} is none of {', '.join(_GROUPS)}\n")
    return words


def _why_no_tls(dirs: Dirs, names: frozenset[str], disabled: Sequence[str]) -> str:
    if "tls" in disabled:
        return "switched off by LIBEVENT_CFFI_DISABLE"
    if "bufferevent_openssl_socket_new" not in names:
        return "this libevent was built without OpenSSL"
    if not _has_header("openssl/ssl.h", dirs.include):
        return "OpenSSL's headers are not there (openssl/ssl.h)"
    libraries = ["event_openssl", "ssl", "crypto", "event_core"]
    if _link_errors(dirs, libraries, ["bufferevent_openssl_socket_new", "SSL_new", "ERR_get_error"]):
        return "libevent_openssl, libssl or libcrypto cannot be linked"
    return ""


@functools.cache
def probe() -> Libevent:
    """Find libevent and what it has; SystemExit with one message when something is missing."""
    disabled, dirs = _disabled(), _find()
    version = _version(dirs)
    if not _has_header("Python.h", _python_dirs()):
        _stop("the headers of Python are not there (Python.h).")
    source = '#include <Python.h>\n#include "headers.h"\n'
    macros, names = _names(preprocess(source, [str(_CSRC), *dirs.include, *_python_dirs()]))
    openssl = _find_openssl()
    dirs = Dirs(dirs.include + openssl.include, dirs.library + openssl.library)
    tls_missing = _why_no_tls(dirs, names, disabled)

    def has(group: str, name: str, library: str) -> int:
        wanted = group not in disabled and name in names
        return int(wanted and not _link_errors(dirs, [library, "event_extra", "event_core"], [name]))

    tls, newer = int(not tls_missing), int("2.2" not in disabled)
    switches = {
        "LEV_HAS_TLS": tls,
        "LEV_HAS_MBEDTLS": has("mbedtls", "bufferevent_mbedtls_socket_new", "event_mbedtls") * tls,
        "LEV_HAS_WS": has("ws", "evws_new_session", "event_extra") * newer,
        "LEV_HAS_WATCH": has("watch", "evwatch_prepare_new", "event_core") * newer,
        "LEV_HAS_PTHREADS": has("pthreads", "evthread_use_pthreads", "event_pthreads"),
        "LEV_WANT_22": newer,
    }
    libraries = [*["event_pthreads"] * switches["LEV_HAS_PTHREADS"], "event_extra", "event_core"]
    mbedtls = ["event_mbedtls"] * switches["LEV_HAS_MBEDTLS"]
    tls_libraries = ["event_openssl", *mbedtls, "ssl", "crypto", "event_core"]
    return Libevent(dirs, version, macros, names, libraries, tls_libraries, tls_missing, switches)


# -- declarations ------------------------------------------------------------------------------------------


def _read(header: str, switches: dict[str, int]) -> str:
    """Return one file of declarations without the blocks that are off; blocks may nest."""
    path = _CDEF / f"{header}.h"
    kept: list[str] = []
    states = [True]
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        block = re.match(r"\s*/\* (?:if (\w+)|end) \*/\s*$", line)
        if not block:
            kept += [line] * all(states)
        elif block[1] is None:
            states.pop()
        elif block[1] in switches or block[1].startswith("LEV_HAVE_"):
            states.append(bool(switches.get(block[1])))
        else:
            raise SystemExit(f"{path}: unknown switch {block[1]}")
    return "\n".join(kept) + "\n"


def _split(text: str) -> Iterator[str]:
    """Split C text into declarations; a ``#define`` line is one."""
    pending = ""
    for line in re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL).splitlines():
        pending += line + "\n"
        if line.startswith("#") or (line.endswith(";") and pending.count("{") == pending.count("}")):
            yield pending.lstrip()
            pending = ""


def _name(declaration: str) -> str:
    forms = r"#define (\w+)|(?:struct|enum) (\w+)\s*[;{]|typedef.*?\(\*(\w+)\)\(|.*?(\w+)\s*[(;]"
    match = re.match(forms, declaration, re.DOTALL)
    return match[match.lastindex or 0] if match else ""


def _declarations(headers: Iterable[str], found: Libevent) -> Iterator[str]:
    """Generate the declarations of what libevent has; an enum goes without the members that it lacks."""

    def present(member: re.Match[str]) -> str:
        return member[0] if member[1] in found.names else ""

    for declaration in (one for header in headers for one in _split(_read(header, found.switches))):
        if _name(declaration) in found.names:
            is_enum = declaration.startswith("enum") and "{" in declaration
            yield re.sub(r"^ +(\w+),\n", present, declaration, flags=re.M) if is_enum else declaration


def _functions(declarations: Iterable[str]) -> list[str]:
    return [_name(one) for one in declarations if re.match(r"(?!#|typedef)[^{;]*\(", one)]


def _linkable(declarations: Sequence[str], libraries: Sequence[str], found: Libevent) -> list[str]:
    """Leave out the functions that the headers have and the libraries lack: there are such builds."""
    compiled = [name for name in _functions(declarations) if name not in found.macros]
    errors = _link_errors(found.dirs, libraries, compiled)
    lacking = set(re.findall(r"[A-Za-z]\w*", errors))
    rest = [name for name in compiled if name not in lacking]
    if not rest or (errors and _link_errors(found.dirs, libraries, rest)):
        last = "\n".join(errors.splitlines()[-3:])
        _stop(f"libevent {found.version} has headers, but {', '.join(libraries)} cannot be linked:\n\n{last}")
    return [one for one in declarations if one.startswith("#") or _name(one) not in lacking]


def _own(switches: dict[str, int]) -> str:
    """Return the declarations of our own C in the first module."""
    return "".join(_read(room, switches) for room in _OWN)


def _declare(text: str, base: FFI | None) -> FFI:
    """Declare *text* beside what *base* has; SystemExit with the declaration that is wrong."""

    def new() -> FFI:
        ffi = FFI()
        if base is not None:
            ffi.include(base)
        return ffi

    ffi = new()
    try:
        ffi.cdef(text)
    except (cffi.CDefError, cffi.FFIError):  # which often name nothing: each one by itself tells more
        ffi = new()
        for one in _split(text):
            try:
                ffi.cdef(one)
            except (cffi.CDefError, cffi.FFIError) as error:
                hint = f"in this declaration of {_CDEF}, or a type in it is not declared above it"
                raise SystemExit(f"\n{error}\n\n{hint}:\n\n{one}") from None
        raise
    return ffi


def _module(name: str, source: str, headers: Sequence[str], libraries: list[str], base: FFI | None) -> FFI:
    """Describe a module: libevent's *headers*, our C in *source*, and the declarations that belong to it."""
    found = probe()
    public = _linkable(list(_declarations(headers, found)), libraries, found)
    switches = {**found.switches, **{f"LEV_HAVE_{function}": 1 for function in _functions(public)}}
    texts = {"LEV_DISABLED": ",".join(_disabled()), "LEV_TLS_MISSING": found.tls_missing}
    defines = {**switches, **{key: f'"{text}"' for key, text in texts.items()}}
    own = _own(switches) if base is None else _read("native_tls", switches)
    ffi = _declare("".join(public) + own, base)
    unknown = [] if base is None else re.findall(r"^struct (\w+) \{ \.\.\.; \};", _own(switches), re.M)
    ffi.set_source(
        f"libevent_cffi._native.{name}",
        "".join(f"#define {key} {value}\n" for key, value in defines.items())
        + f'#include "{source}"\n'
        + "".join(f"struct {each} {{ char unknown; }};\n" for each in unknown),  # known to the first only
        include_dirs=[str(_CSRC.relative_to(_PROJECT)), *found.dirs.include],
        library_dirs=found.dirs.library,
        libraries=libraries,
        define_macros=[("_GNU_SOURCE", "1")],
        extra_compile_args=_compile_args(),
        depends=sorted(str(path.relative_to(_PROJECT)) for room in (_CDEF, _CSRC) for path in room.iterdir()),
    )
    return ffi


def ffibuilder() -> FFI:
    """Describe the module that binds libevent_core, libevent_extra and libevent_pthreads."""
    return _module("_libevent", "module.c", _HEADERS, probe().libraries, None)


def tls_ffibuilder() -> FFI:
    """Describe the module that binds libevent_openssl; SystemExit when probe() says that there is none."""
    if probe().tls_missing:
        _stop(f"there is no TLS: {probe().tls_missing}.")
    return _module("_libevent_tls", "tls.c", ["bufferevent_ssl"], probe().tls_libraries, ffibuilder())
