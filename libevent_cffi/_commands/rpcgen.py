"""The classes of a .rpc file, as a module of Python."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..errors import RPCSyntaxError
from ..rpc.generate import MARK, module_text
from ..rpc.schema import read

__all__ = ["HELP", "add_arguments", "run"]

HELP = "write the messages of a .rpc file as a typed module of Python"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command can be told."""
    parser.add_argument("file", type=Path, help="the .rpc file")
    parser.add_argument(
        "output",
        type=Path,
        nargs="?",
        help="the module to write, - for standard output; FILE with .py when left out",
    )


def run(options: argparse.Namespace) -> int:
    """Write the module; 0, or 1 when the file is wrong or cannot be read or written."""
    try:
        text = module_text(read(options.file), options.file.name)
        if str(options.output) == "-":
            sys.stdout.write(text)
        else:
            _write(options.output or options.file.with_suffix(".py"), text)
    except RPCSyntaxError as error:
        print(f"{error.filename}:{error.lineno}:{error.offset}: {error.msg}", file=sys.stderr)
        return 1
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _write(path: Path, text: str) -> None:
    if path.exists() and MARK not in path.read_text(encoding="utf-8", errors="replace").partition("\n")[0]:
        raise FileExistsError(f"{path} was not made by rpcgen: name another module to write")
    path.write_text(text, encoding="utf-8")
