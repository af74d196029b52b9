"""``python -m fastload gather PART``: a file for each part, with `add_arguments` and `run`."""

import argparse

from fastload.cli import gather_fetch, gather_plan, gather_report

HELP = "gather a data set such as SSL4EO-S12 from open archives"
PARTS = {
    "plan": gather_plan,
    "fetch": gather_fetch,
    "report": gather_report,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the sub-commands."""
    parts = parser.add_subparsers(dest="part", required=True)
    for name, module in PARTS.items():
        module.add_arguments(parts.add_parser(name, help=module.HELP, description=module.HELP))


def run(args: argparse.Namespace) -> int:
    """Run the one that was named."""
    return int(PARTS[args.part].run(args))
