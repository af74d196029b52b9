"""``python -m fastload index ROOT``."""

import argparse
import multiprocessing
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from fastload.cli import opened
from fastload.geoparquet import write
from fastload.storage.errors import DataError, NotAShardError
from fastload.storage.formats.tar import TWIN
from fastload.storage.index import TARS, ZIPS, Kind, open_index
from fastload.storage.store import Local

HELP = "build or refresh the index of every folder of shards below ROOT, or write it as a table"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    opened.add_arguments(parser)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument(
        "--to", type=Path, metavar="FILE.parquet",
        help="write what is known of each sample as GeoParquet; ROOT is what fastload.open takes",
    )  # fmt: skip
    parser.add_argument("--patches", action="store_true", help="places as polygons, not points")
    parser.add_argument("--patch-metres", type=float, help="side of a patch (the layout's)")


def run(args: argparse.Namespace) -> int:
    """Index every folder that holds tars, or zarr files of many samples; processes scan them in
    parallel. What is no shard is named and passed over; damaged shards are named, and make the
    outcome 1. Or write a table."""
    if args.to:
        return _export(args)
    folders = sorted(_folders(Path(args.root).expanduser()), key=lambda found: found[0])
    if not folders:
        raise FileNotFoundError(f"{args.root}: expected shards named *.tar below it, found none")
    spawn = multiprocessing.get_context("spawn")
    bad: list[DataError] = []
    indexed = 0
    with ProcessPoolExecutor(args.workers, mp_context=spawn) as pool:
        for folder, kind in folders:
            try:
                index = open_index(
                    Local(folder),
                    pool,
                    progress=True,
                    bad=bad,
                    scanner=kind.scanner,
                    suffix=kind.suffix,
                )
            except DataError as error:
                if error not in bad:  # of the folder as a whole
                    bad.append(error)
                continue
            indexed += 1
            print(f"{folder}: {len(index)} samples in {len(index.shards)} shards")
    damaged = [error for error in bad if not isinstance(error, NotAShardError)]
    for foreign in (error for error in bad if error not in damaged):
        print(f"fastload index: passed over {foreign}", file=sys.stderr)
    for worse in damaged:
        print(f"fastload index: {worse}", file=sys.stderr)
    return 1 if damaged or not indexed else 0


def _export(args: argparse.Namespace) -> int:
    dataset = opened.opened(args)
    written = write(dataset, args.to, patches=args.patches, patch_metres=args.patch_metres)
    print(f"{args.to}: {written} samples")
    return 0


def _folders(root: Path) -> Iterator[tuple[Path, Kind]]:
    """Folders that hold shards and of which kind, through links, each once."""
    seen: set[tuple[int, int]] = set()
    for place, folders, files in os.walk(root, followlinks=True):
        stat = os.stat(place)
        if (stat.st_dev, stat.st_ino) in seen:  # a link back, or a second way
            folders.clear()
            continue
        seen.add((stat.st_dev, stat.st_ino))
        folders.sort()
        names = [name for name in files if not name.startswith(TWIN)]
        for kind in (TARS, ZIPS):
            if any(name.endswith(kind.suffix) for name in names):
                yield Path(place), kind
                break
