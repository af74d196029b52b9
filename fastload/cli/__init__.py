"""The command line: one file per command, each with `add_arguments` and `run`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from fastload import __version__
from fastload.cli import gather, index, inspect, pack, profile, stats, synth, verify
from fastload.storage.errors import DataError

COMMANDS = {
    "gather": gather,
    "index": index,
    "inspect": inspect,
    "pack": pack,
    "profile": profile,
    "stats": stats,
    "synth": synth,
    "verify": verify,
}


def parser_of_all() -> argparse.ArgumentParser:
    """The parser of all commands."""
    script = Path(sys.argv[0]).stem == "fastload"
    parser = argparse.ArgumentParser(
        prog="fastload" if script else "python -m fastload",
        description="Look at data sets, index, measure and pack them, and make some to try.",
    )
    parser.add_argument("--version", action="version", version=f"fastload {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, module in COMMANDS.items():
        module.add_arguments(commands.add_parser(name, help=module.HELP, description=module.HELP))
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; 1 after a sentence on stderr where data or arguments are at fault."""
    args = parser_of_all().parse_args(argv)
    try:
        return int(COMMANDS[args.command].run(args))
    except (DataError, OSError, ValueError, ImportError) as error:
        print(f"fastload {args.command}: {error}", file=sys.stderr)
        return 1
