"""``python -m fastload verify ROOT``."""

import argparse
import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

from fastload.cache import below
from fastload.cli import opened
from fastload.datasets.base import Dataset
from fastload.datasets.source import Source
from fastload.storage.errors import DataError
from fastload.verify import Finding, verify
from fastload.verify.finding import of_error
from fastload.verify.report import table
from fastload.verify.state import digest
from fastload.verify.verify import SOME_IOU

HELP = "check shards, keys, chunks, CRCs, dates, pixels, radiometry and places; exit 1 on findings"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    opened.add_arguments(parser)
    parser.add_argument("--statistics", help="set that the pixels should obey (the layout's)")
    parser.add_argument("--quick", type=int, metavar="N", help="read the pixels of N samples")
    parser.add_argument("--seed", type=int, default=0, help="of their choice (0)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="threads")
    parser.add_argument("--processes", action="store_true", help="workers are processes")
    parser.add_argument("--state", type=Path, metavar="FILE",
                        help="what is done, to go on from (in the cache)")  # fmt: skip
    parser.add_argument("--fresh", action="store_true", help="begin anew")
    parser.add_argument("--patch-metres", type=float, help="side of a patch (the layout's)")
    parser.add_argument("--iou", type=float, default=SOME_IOU,
                        help=f"overlap that is told, 1 for none ({SOME_IOU})")  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the whole report")
    parser.add_argument("--quiet", action="store_true", help="show no progress bar")


def run(args: argparse.Namespace) -> int:
    """0 where all is sound, 1 where there are findings, 2 where arguments do not fit."""
    try:
        return _run(args)
    except (ValueError, FileNotFoundError, ImportError) as error:
        print(f"fastload verify: {error}", file=sys.stderr)
        return 2


def _run(args: argparse.Namespace) -> int:
    found: list[Finding] = []
    sources, statistics = _opened(args, found)
    if not sources:
        print("\n".join(map(str, found)))
        _write(args, {"sound": False, "findings": [f.plain() for f in found]})
        return 1
    named = digest(sources, {name: range(len(s)) for name, s in sources.items()}, 0)
    report = verify(
        sources,
        statistics,
        before=found,
        quick=args.quick,
        seed=args.seed,
        workers=args.workers,
        processes=args.processes,
        state=args.state or below("verify", f"{named}-{args.quick}-{args.seed}.jsonl"),
        fresh=args.fresh,
        patch_metres=args.patch_metres,
        least_iou=args.iou,
        progress=not args.quiet,
    )
    print(table(report))
    _write(args, report.plain())
    return 1 if report.findings else 0


def _write(args: argparse.Namespace, plain: dict[str, Any]) -> None:
    if args.json:
        args.json.write_text(json.dumps(plain, indent=2) + "\n")


def _opened(args: argparse.Namespace, found: list[Finding]) -> tuple[dict[str, Source], Any]:
    """Sources of all modalities, each opened by itself where the layout can, and the statistics;
    what cannot be opened is a finding."""
    sources, statistics = dict[str, Source](), None
    for name in args.modality or opened.everything(args) or [None]:
        one = argparse.Namespace(**vars(args) | {"modality": name and [name]})
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what they tell of is found below
                dataset = opened.opened(one, bad_shards="skip", missing="drop", check_crc=True)
        except DataError as error:
            found.append(of_error(name or "", error, "structure"))
            continue
        sources |= dataset.sources
        statistics = statistics or dataset.statistics
        found += _bad_shards(name or "", dataset)
    return sources, statistics


def _bad_shards(name: str, dataset: Dataset) -> list[Finding]:
    bad = getattr(dataset, "bad_shards", ())
    return [of_error(name, error, "structure") for error in bad]
