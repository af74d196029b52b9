"""The command line: one file per command, each with `add_arguments` and `run`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from fastload import __version__
from fastload.cli import index, pack, profile, stats, synth, verify
from fastload.storage.errors import DataError

COMMANDS = {
    "index": index,
    "pack": pack,
    "profile": profile,
    "stats": stats,
    "synth": synth,
    "verify": verify,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; 1 after a sentence on stderr where data or arguments are at fault."""
    script = Path(sys.argv[0]).stem == "fastload"
    parser = argparse.ArgumentParser(
        prog="fastload" if script else "python -m fastload",
        description="Index, measure and pack data sets, and make some to try things on.",
    )
    parser.add_argument("--version", action="version", version=f"fastload {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, module in COMMANDS.items():
        module.add_arguments(commands.add_parser(name, help=module.HELP, description=module.HELP))
    args = parser.parse_args(argv)
    try:
        return int(COMMANDS[args.command].run(args))
    except (DataError, OSError, ValueError, ImportError) as error:
        print(f"fastload {args.command}: {error}", file=sys.stderr)
        return 1
