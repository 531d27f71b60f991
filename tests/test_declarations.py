"""
Everything public in libevent's headers is in the compiled modules, with the compiler's own values.

The names come from the headers themselves, preprocessed, and not from our declarations: a function that a new
libevent adds makes this fail until it is declared.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import c_names
import pytest

from libevent_cffi._native._libevent import ffi, lib

PROJECT = Path(__file__).resolve().parents[1]
if not (PROJECT / "build_ffi.py").exists():
    pytest.skip("needs the source tree", allow_module_level=True)


def load_build_script() -> ModuleType:
    """Import it by its path: with the project on sys.path, the sources would hide the installed package."""
    spec = importlib.util.spec_from_file_location("build_ffi", PROJECT / "build_ffi.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build_ffi: Any = load_build_script()

tls: Any = importlib.import_module("libevent_cffi._native._libevent_tls") if lib.LEV_HAS_TLS else None

GENERATED = "pastes the names of members or functions that event_rpcgen.py generates"
UNREACHABLE = {
    "evbuffer_add_vprintf": "takes a va_list, which Python cannot make",
    "evutil_vsnprintf": "takes a va_list, which Python cannot make",
    "evutil_offsetof": "takes a type and a member; ffi.offsetof() is the same",
    "evutil_timercmp": "takes an operator",
    "EVTAG_ARRAY_ADD": GENERATED,
    "EVTAG_ARRAY_ADD_VALUE": GENERATED,
    "EVTAG_ARRAY_GET": GENERATED,
    "EVTAG_ARRAY_LEN": GENERATED,
    "EVTAG_ASSIGN": GENERATED,
    "EVTAG_ASSIGN_WITH_LEN": GENERATED,
    "EVTAG_GET": GENERATED,
    "EVTAG_GET_WITH_LEN": GENERATED,
    "EVTAG_HAS": GENERATED,
    "EVRPC_GENERATE": GENERATED,
    "EVRPC_HEADER": GENERATED,
    "EVRPC_MAKE_CTX": GENERATED,
    "EVRPC_MAKE_REQUEST": GENERATED,
    "EVRPC_REGISTER": GENERATED,
    "EVRPC_REQUEST_HTTP": GENERATED,
    "EVRPC_STRUCT": GENERATED,
    "EVRPC_UNREGISTER": GENERATED,
    "addrinfo": "is struct evutil_addrinfo here",
    "dns_question_class": "stands for a member, which has that name in Python",
    "EVENT2_EXPORT_SYMBOL": "marks declarations",
    "EVENT2_CORE_EXPORT_SYMBOL": "marks declarations",
}
OPAQUE = {
    "event_callback": "inside of struct event only",
    "event_list": "inside of libevent only",
    "event_dlist": "inside of libevent only",
    "bufferevent": "has accessors for all, and embeds struct event, whose layout changes",
}


class Found(NamedTuple):
    """Public names, by the header that has them."""

    functions: dict[str, str]
    function_macros: dict[str, str]
    object_macros: dict[str, str]
    enumerators: dict[str, str]
    callbacks: dict[str, str]
    structs: dict[str, str]
    complete: frozenset[str]  # structs with a body


# -- what the headers have ---------------------------------------------------------------------------------


def header_folder(libevent: Any) -> Path:
    """Return the folder that the compiler takes libevent's headers from."""
    text = build_ffi.preprocess("#include <event2/event.h>\n", libevent.dirs.include)
    return Path(next(re.finditer(r'^# \d+ "(.*/event2)/event\.h"', text, re.MULTILINE))[1])


@functools.cache
def prelude() -> tuple[str, tuple[str, ...]]:
    """Return C that includes all headers but those for old programs, and the compiler's flags for it."""
    try:
        libevent = build_ffi.probe()
    except SystemExit as error:
        pytest.skip(f"no libevent to compare with: {error}")
    if libevent.version != ffi.string(lib.LEV_BUILT_VERSION).decode():
        pytest.skip(f"the headers are of {libevent.version}, the module was built for another version")
    names = sorted(path.name for path in header_folder(libevent).glob("*.h"))
    wanted = [name for name in names if not name.endswith("_compat.h") and name != "event-config.h"]
    includes = "".join(f"#include <event2/{name}>\n" for name in wanted)
    system = "#include <stdio.h>\n#if __has_include(<sys/queue.h>)\n#include <sys/queue.h>\n#endif\n"
    return system + includes, tuple(f"-I{folder}" for folder in libevent.dirs.include)


def lines_of_libevent() -> Iterator[tuple[str, str]]:
    """Generate the preprocessed lines of libevent's headers, each with its header's name."""
    source, flags = prelude()
    header = ""
    for line in build_ffi.preprocess(source, [flag[2:] for flag in flags]).splitlines():
        marker = re.match(r'# \d+ "([^"]*)"', line)
        if marker:
            path = Path(marker[1])
            header = path.name if path.parent.name == "event2" and path.name != "event-config.h" else ""
        elif header:
            yield header, line


def statements(lines: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Put *lines* together to what ends with a semicolon outside of braces."""
    text = ""
    for header, line in lines:
        text += " " + line
        while ";" in text:
            end = next((m.end() for m in re.finditer(";", text) if balanced(text[: m.end()])), None)
            if end is None:
                break
            yield header, re.sub(r"\s+", " ", text[:end]).strip()
            text = text[end:]


def balanced(text: str) -> bool:
    return text.count("{") == text.count("}") and text.count("(") == text.count(")")


def classify(found: Found, header: str, statement: str, complete: set[str]) -> None:
    statement = re.sub(r"__attribute__ ?\(\((?:[^()]|\([^()]*\))*\)\)", "", statement)
    body = re.match(r"(struct|enum) (\w+) ?(?:\{(.*)\})? ?;$", statement)
    callback = re.match(r"typedef [^(]*\( ?\* ?(\w+) ?\) ?\(|typedef [^(]*?(\w+) ?\(", statement)
    function = re.match(r"(?!typedef)[^({]*?(\w+) ?\(", statement)
    if body and body[1] == "struct":
        found.structs[body[2]] = header
        complete.update([body[2]] if body[3] is not None else [])
    elif body:
        members = (member.split("=")[0].strip() for member in (body[3] or "").split(","))
        found.enumerators.update({member: header for member in members if member})
    elif callback:
        found.callbacks[callback[1] or callback[2]] = header
    elif function:
        found.functions[function[1]] = header
    else:
        assert re.match(r"typedef struct \w+ \w+ ;|typedef struct \w+ \w+;", statement), statement


@functools.cache
def public() -> Found:
    found = Found({}, {}, {}, {}, {}, {}, frozenset())
    lines = list(lines_of_libevent())
    for header, line in lines:
        macro = re.match(r"#define (\w+)(\()?(.*)", line)
        gone = re.match(r"#undef (\w+)", line)
        if macro and not macro[1].endswith("_") and (macro[2] or macro[3].strip()):
            (found.function_macros if macro[2] else found.object_macros)[macro[1]] = header
        elif gone:
            found.function_macros.pop(gone[1], None)
            found.object_macros.pop(gone[1], None)
    complete: set[str] = set()
    for header, statement in statements(pair for pair in lines if not pair[1].startswith("#")):
        classify(found, header, statement, complete)
    return found._replace(complete=frozenset(complete))


def accepted(names: Iterable[str], line: str) -> frozenset[str]:
    """Return those of *names* with which *line* is right in C."""
    left = list(names)
    source, flags = prelude()
    while left:
        text = source + '#line 1 "lines"\n' + "".join(line.replace("NAME", name) + "\n" for name in left)
        done = build_ffi.run_compiler([*flags, "-w", "-fsyntax-only"], text)
        wrong = {int(number) - 1 for number in re.findall(r"^lines:(\d+):", done.stderr, re.MULTILINE)}
        if not wrong:  # else once more: some compilers stop after twenty errors
            assert done.returncode == 0, done.stderr
            break
        left = [name for index, name in enumerate(left) if index not in wrong]
    return frozenset(left)


@functools.cache
def kinds() -> tuple[frozenset[str], frozenset[str], frozenset[str], frozenset[str]]:
    """Split the object-like macros: integer constants, strings, types, struct tags."""
    macros = public().object_macros
    return (
        accepted(macros, '_Static_assert(((NAME) | 1) != 0, "");'),
        accepted(macros, "static const char lev_NAME[] = NAME;"),
        accepted(macros, "extern NAME lev_NAME;"),
        accepted(macros, "enum { lev_NAME = sizeof(struct NAME) };"),
    )


def run_c(body: str, folder: Path) -> str:
    source, flags = prelude()
    program = folder / "program"
    done = build_ffi.run_compiler(
        [*flags, "-w", "-o", str(program)], f"{source}int main(void) {{\n{body}return 0;\n}}\n"
    )
    assert done.returncode == 0, done.stderr
    return subprocess.run([program], capture_output=True, text=True, check=True).stdout


# -- what was switched off ---------------------------------------------------------------------------------


def disabled() -> set[str]:
    """Return the groups that are not in the modules: switched off, or with no library to link."""
    off = set(filter(None, ffi.string(lib.LEV_DISABLED).decode().split(",")))
    switches = build_ffi.probe().switches
    return off | {
        group for group in ("tls", "mbedtls", "pthreads") if not switches[f"LEV_HAS_{group.upper()}"]
    }


@functools.cache
def newer_names() -> frozenset[str]:
    """Return what our declarations call newer than 2.1; the headers cannot tell."""
    text = "".join(path.read_text() for path in (PROJECT / "libevent_cffi" / "_native" / "cdef").glob("*.h"))
    blocks = re.findall(r"/\* if LEV_WANT_22 \*/(.*?)/\* end \*/", text, re.DOTALL)
    return frozenset(name for block in blocks for name in re.findall(r"\w+", block))


def is_off(name: str, header: str) -> bool:
    off = disabled()
    return (
        ("ws" in off and header == "ws.h")
        or ("watch" in off and header == "watch.h")
        or ("tls" in off and header == "bufferevent_ssl.h")
        or ("pthreads" in off and "pthread" in name.lower())
        or (bool(off & {"mbedtls", "tls"}) and "mbedtls" in name)
        or ("2.2" in off and (header in ("ws.h", "watch.h") or is_newer(name)))
    )


def is_newer(name: str) -> bool:
    # A struct that old functions use too is declared for them.
    return name in newer_names() and name not in ("bufferevent", "evbuffer", "event_base", "evconnlistener")


def has(name: str) -> bool:
    return hasattr(lib, name) or (tls is not None and hasattr(tls.lib, name))


def type_of(name: str) -> Any:
    try:
        return ffi.typeof(name)
    except ffi.error:
        try:
            return tls.ffi.typeof(name) if tls is not None else None
        except tls.ffi.error:
            return None


def report(names: dict[str, str], is_there: Any) -> list[str]:
    """List what is neither there nor excused, with its header."""
    return [
        f"{header}: {name}"
        for name, header in names.items()
        if name not in UNREACHABLE and not is_off(name, header) and not is_there(name)
    ]


DECLARE = (
    "declare them in the file of their header in libevent_cffi/_native/cdef/, and build; or say in"
    ' UNREACHABLE why Python cannot use one (CONTRIBUTING.md, "To add a function of C")'
)

# -- the tests ---------------------------------------------------------------------------------------------


def test_headers_are_read_as_a_whole() -> None:
    found = public()
    assert len(found.functions) > 400
    assert len(found.function_macros) > 40
    assert len(found.enumerators) > 50
    assert len(found.callbacks) > 17
    assert "event_base_new" in found.functions
    assert "EVRPC_TERMINATE" in found.enumerators


def test_functions() -> None:
    missing = report(public().functions, has)
    assert not missing, f"{DECLARE}: {missing}"


def test_function_macros() -> None:
    missing = report(public().function_macros, has)
    assert not missing, f"{DECLARE}: {missing}"


def test_enumerators() -> None:
    missing = report(public().enumerators, has)
    assert not missing, f"{DECLARE}: {missing}"


@pytest.mark.parametrize("header", ["rpc", "tag"])
def test_every_name_of_these_headers_stands_in_their_table(header: str) -> None:
    """Also macros and constants, in docs/c-names."""
    found = public()
    kinds = (found.functions, found.function_macros, found.enumerators)
    names = {name for kind in kinds for name, where in kind.items() if where == f"{header}.h"}
    assert names - set(c_names.rows(header)) == set()


def test_object_macros() -> None:
    integers, strings, types, tags = kinds()

    def is_there(name: str) -> bool:
        if name in types:
            return type_of(name) is not None
        if name in tags:
            return type_of(f"struct {name}") is not None
        return has(name)

    assert len(integers) >= 170
    assert "LIBEVENT_VERSION" in strings
    assert "evutil_socket_t" in types
    missing = report(public().object_macros, is_there)
    assert not missing, f"{DECLARE}: {missing}"


def test_callback_types() -> None:
    # Through a pointer, since one of them is a function's type and not a pointer's.
    missing = report(public().callbacks, lambda name: type_of(f"{name} *") is not None)
    assert not missing, f"{DECLARE}: {missing}"


def test_structs() -> None:
    structs = public().structs
    missing = report(structs, lambda name: type_of(f"struct {name}") is not None)
    assert not missing, f"{DECLARE}: {missing}"
    complete = {name: structs[name] for name in public().complete if name not in OPAQUE}
    assert report(complete, lambda name: ffi.sizeof(type_of(f"struct {name}")) > 0) == []


def test_what_is_excused_is_really_missing() -> None:
    declared = [name for name in UNREACHABLE if has(name)]
    assert declared == []
    for name in OPAQUE:
        with pytest.raises(ffi.error):
            ffi.sizeof(f"struct {name}")


def test_what_was_switched_off_is_missing() -> None:
    found = public()
    names = {**found.functions, **found.function_macros, **found.enumerators, **found.object_macros}
    still_there = [name for name, header in names.items() if is_off(name, header) and has(name)]
    assert still_there == []


def test_state_of_features() -> None:
    assert lib.LEV_HAS_WS == hasattr(lib, "evws_new_session")
    assert lib.LEV_HAS_WATCH == hasattr(lib, "evwatch_prepare_new")
    assert lib.LEV_HAS_PTHREADS == hasattr(lib, "evthread_use_pthreads")
    for group in disabled() & {"tls", "ws", "watch", "pthreads"}:
        assert getattr(lib, f"LEV_HAS_{group.upper()}") == 0
    assert lib.LEV_BUILT_VERSION_NUMBER == lib.LIBEVENT_VERSION_NUMBER


def test_every_name_can_be_read() -> None:
    """The values of constants are computed, and functions are made, when they are first touched."""
    for each in [lib] if tls is None else [lib, tls.lib]:
        for name in dir(each):
            getattr(each, name)


def test_values_are_those_of_the_compiler(tmp_path: Path) -> None:
    integers, strings, _, _ = kinds()
    every = {**public().object_macros, **public().enumerators}
    numbers = [name for name in every if (name in integers or name in public().enumerators) and has(name)]
    body = "".join(
        f'if (({name}) < 0) printf("{name} %lld\\n", (long long)({name}));'
        f' else printf("{name} %llu\\n", (unsigned long long)({name}));\n'
        for name in numbers
    )
    output = run_c(body, tmp_path)
    expected = {name: int(value) for name, value in (line.split() for line in output.splitlines())}
    assert {name: value_of(name) for name in numbers} == expected
    for name in strings:
        text = run_c(f'printf("%s", {name});\n', tmp_path)
        assert ffi.string(value_of(name)).decode() == text


def value_of(name: str) -> Any:
    return getattr(lib, name) if hasattr(lib, name) else getattr(tls.lib, name)


def test_sizes_are_those_of_the_compiler(tmp_path: Path) -> None:
    tags = [name for name in public().complete if name not in OPAQUE and type_of(f"struct {name}")]
    output = run_c("".join(f'printf("{tag} %d\\n", (int)sizeof(struct {tag}));\n' for tag in tags), tmp_path)
    expected = {tag: int(size) for tag, size in (line.split() for line in output.splitlines())}
    assert {tag: ffi.sizeof(f"struct {tag}") for tag in tags} == expected
