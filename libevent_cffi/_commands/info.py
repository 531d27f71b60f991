"""What this installation is: versions, methods, features and why one is missing, debugging, memory."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .. import thread, util
from .._native import features, ffi, lib
from .._version import VERSION
from ..flags import Feature

__all__ = ["HELP", "add_arguments", "collect", "run"]

HELP = "tell versions, methods and features of this installation, and why one is missing"

_Facts = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command can be told."""
    parser.add_argument("--json", action="store_true", help="print one JSON object, for programs")


def run(options: argparse.Namespace) -> int:
    """Print the facts; 0 always."""
    facts = collect()
    print(json.dumps(facts, indent=2) if options.json else "\n".join(_lines(facts)))
    return 0


# -- the facts ---------------------------------------------------------------------------------------------


def collect() -> _Facts:
    """Return everything that the command tells, ready for JSON."""
    return {
        "libevent": {"loaded": util.version(), "built_against": features.built_version()},
        "package": {"version": VERSION, "path": str(Path(__file__).resolve().parents[1])},
        "python": _python(),
        "method": _method(),
        "tls": _tls(),
        "threads": thread.enabled(),
        "debug": _debug(),
        "memory": _memory(),
        "features": {name: _feature(name) for name in features.features()},
    }


def _python() -> _Facts:
    return {
        "implementation": platform.python_implementation(),
        "version": platform.python_version(),
        "cffi": importlib.import_module("_cffi_backend").__version__,
    }


def _method() -> _Facts:
    """Tell which method a new base takes here, and which it could take."""
    base = lib.event_base_new()
    if base == ffi.NULL:
        return {"default": None, "features": [], "supported": _supported_methods()}
    try:
        name = ffi.string(lib.event_base_get_method(base)).decode("ascii", "replace")
        able = Feature(lib.event_base_get_features(base))
        return {
            "default": name,
            "features": [flag.name for flag in Feature if flag in able and flag.name],
            "supported": _supported_methods(),
        }
    finally:
        lib.event_base_free(base)


def _supported_methods() -> list[str]:
    names: list[str] = []
    methods = lib.event_get_supported_methods()
    while methods[len(names)] != ffi.NULL:
        names.append(ffi.string(methods[len(names)]).decode("ascii", "replace"))
    return names


def _tls() -> _Facts:
    backends = ["OpenSSL"] * bool(lib.LEV_HAS_TLS) + ["mbedTLS"] * bool(lib.LEV_HAS_MBEDTLS)
    return {"backends": backends, "missing": features.why_missing("tls")}


def _debug() -> _Facts:
    return {
        "mode": bool(lib.lev_debug_mode_on),
        "locks": bool(lib.lev_lock_debugging_on),
        "LIBEVENT_CFFI_DEBUG": os.environ.get("LIBEVENT_CFFI_DEBUG", ""),
    }


def _memory() -> _Facts:
    counters = util.memory_counters()
    return {"hook": features.has("memory_functions"), "blocks": counters.blocks, "bytes": counters.bytes}


def _feature(name: str) -> _Facts:
    return {
        "there": features.has(name),
        "emulated": features.is_emulated(name),
        "missing": features.why_missing(name),
    }


# -- as text -----------------------------------------------------------------------------------------------


def _lines(facts: _Facts) -> Iterator[str]:
    yield from _aligned(
        {
            "libevent": "{loaded}, built against {built_against}".format_map(facts["libevent"]),
            "package": "{version} in {path}".format_map(facts["package"]),
            "python": "{implementation} {version}, cffi {cffi}".format_map(facts["python"]),
            "method": _method_text(facts["method"]),
            "TLS": ", ".join(facts["tls"]["backends"]) or f"none: {facts['tls']['missing']}",
            "threads": "on" if facts["threads"] else "off",
            "debug": _debug_text(facts["debug"]),
            "memory": _memory_text(facts["memory"]),
        }
    )
    yield ""
    yield "features"
    rows = {name: _feature_text(feature) for name, feature in sorted(facts["features"].items())}
    yield from (f"  {line}" for line in _aligned(rows))


def _aligned(rows: Mapping[str, str]) -> Iterator[str]:
    width = max(map(len, rows))
    return (f"{name:<{width}}  {text}" for name, text in rows.items())


def _method_text(method: _Facts) -> str:
    supported = ", ".join(method["supported"])
    if method["default"] is None:
        return f"none of {supported} can be used: see the EVENT_NO... variables"
    return f"{method['default']} ({', '.join(method['features'])}), out of {supported}"


def _feature_text(feature: _Facts) -> str:
    if feature["there"]:
        return "yes"
    return f"{'emulated' if feature['emulated'] else 'no'}: {feature['missing']}"


def _debug_text(debug: _Facts) -> str:
    states = [f"{name} {'on' if debug[name] else 'off'}" for name in ("mode", "locks")]
    return f"{', '.join(states)}; LIBEVENT_CFFI_DEBUG={debug['LIBEVENT_CFFI_DEBUG']}"


def _memory_text(memory: _Facts) -> str:
    counted = "libevent's and ours" if memory["hook"] else "ours; libevent has no hook for its own"
    return f"{memory['blocks']} blocks, {memory['bytes']} bytes ({counted})"
