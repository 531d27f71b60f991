"""What pyproject.toml cannot say: the cffi modules, and the tag by which one wheel serves every CPython."""

from __future__ import annotations

import platform
import sys
import sysconfig
from pathlib import Path

from setuptools import setup

_BUILDING = {"build", "build_ext", "bdist_wheel", "bdist_egg", "editable_wheel", "develop", "install"}


def _cffi_modules() -> list[str]:
    """Name the modules to build; metadata and a source archive need neither libevent nor a compiler."""
    if not _BUILDING.intersection(sys.argv):
        return []
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    from build_ffi import probe

    missing = probe().tls_missing
    if missing:
        print(f"libevent_cffi is built without TLS: {missing}")
        return ["build_ffi.py:ffibuilder"]
    return ["build_ffi.py:ffibuilder", "build_ffi.py:tls_ffibuilder"]


def _options() -> dict[str, dict[str, str]]:
    """Return the abi3 tag where cffi makes abi3 modules: not on PyPy, not without the GIL."""
    if platform.python_implementation() != "CPython" or sysconfig.get_config_var("Py_GIL_DISABLED"):
        return {}
    return {"bdist_wheel": {"py_limited_api": "cp39"}}


setup(cffi_modules=_cffi_modules(), options=_options())
