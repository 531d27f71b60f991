"""
``python -m libevent_cffi COMMAND``: what a terminal can do with the package.

Each command is a module of ``_commands`` with HELP, add_arguments() and run(); only the one that is asked for
does any work.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ._commands import info, resolve, rpcgen, serve, tour
from ._version import VERSION

__all__ = ["main"]

_COMMANDS = {"info": info, "resolve": resolve, "rpcgen": rpcgen, "serve": serve, "tour": tour}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that *arguments* name (sys.argv's when left out), and return its exit status."""
    options = _parser().parse_args(arguments)
    status: int = options.run(options)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m libevent_cffi", description="Event-driven network programs on the system's libevent."
    )
    parser.add_argument("--version", action="version", version=f"libevent_cffi {VERSION}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, command in _COMMANDS.items():
        its_parser = commands.add_parser(name, help=command.HELP, description=command.HELP)
        command.add_arguments(its_parser)
        its_parser.set_defaults(run=command.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
