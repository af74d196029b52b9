"""`python -m fastload synth DIR --locations N`."""

import argparse
import sys

from fastload.synth.spectra import BANDS
from fastload.synth.writer import synth


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to a parser."""
    parser.add_argument("directory", help="root of the dataset to make")
    parser.add_argument("--locations", type=int, required=True, help="how many locations")
    parser.add_argument("--split", default="train", help="folder below the root (train)")
    parser.add_argument(
        "--modalities", nargs="+", default=list(BANDS), metavar="NAME",
        help=f"any of {', '.join(BANDS)} (all)",
    )  # fmt: skip
    parser.add_argument("--timestamps", type=int, default=4, help="dates of each location (4)")
    parser.add_argument("--size", type=int, default=264, help="height and width in pixels (264)")
    parser.add_argument("--samples-per-shard", type=int, default=512, help="in one tar (512)")
    parser.add_argument("--seed", type=int, default=0, help="of the invented world (0)")
    parser.add_argument("--dn-offset", type=int, default=0, help="DN of zero reflectance (0)")
    parser.add_argument("--workers", type=int, default=None, help="threads (one a processor)")
    parser.add_argument("--quiet", action="store_true", help="show no progress bar")


def run(args: argparse.Namespace) -> int:
    """Make the dataset; return 0, or 2 after a sentence on standard error."""
    try:
        root = synth(
            args.directory,
            args.locations,
            split=args.split,
            modalities=args.modalities,
            timestamps=args.timestamps,
            size=args.size,
            samples_per_shard=args.samples_per_shard,
            seed=args.seed,
            dn_offset=args.dn_offset,
            workers=args.workers,
            progress=not args.quiet,
        )
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{args.locations} locations in {root / args.split}")
    return 0
