"""
Have a benchmark, and the processes that it starts, measure the libevent_cffi of this checkout.

To be imported before libevent_cffi is.  Where it is not built here for this interpreter, the one that is
installed is measured; where there is none either, the benchmark ends and says so.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def _is_built() -> bool:
    native = ROOT / "libevent_cffi" / "_native"
    return any((native / f"_libevent{suffix}").exists() for suffix in EXTENSION_SUFFIXES)


if _is_built():
    sys.path.insert(0, str(ROOT))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
elif importlib.util.find_spec("libevent_cffi") is None:
    sys.exit(
        f"there is no libevent_cffi to measure: {sys.executable} has none, and in {ROOT} none is built."
        " With this interpreter, run there pip install . or python setup.py build_ext -i; or ./dev bench"
    )
