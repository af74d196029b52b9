"""``python -m fastload profile ROOT --recipe NAME``."""

import argparse
import json
from importlib import import_module
from pathlib import Path
from typing import Any

from fastload.cli import opened
from fastload.processors import processors
from fastload.profiling import measure
from fastload.profiling.report import chart, table
from fastload.recipes import RECIPES, recipe_of

HELP = "run the loader, replay its batches, measure its parts, and name the setting to change"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    opened.add_arguments(parser)
    parser.add_argument(
        "--recipe", default="series",
        help=f"raw, series, {', '.join(RECIPES)}, module:function or FILE.json (series)",
    )  # fmt: skip
    parser.add_argument("--image-size", type=int, help="side of a view in pixels (the recipe's)")
    parser.add_argument("--statistics", help="name of a set or FILE.json (the layout's)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of the loader's run (5)")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=min(4, processors()), help="num_workers")
    parser.add_argument("--engine", choices=("auto", "threads", "dali"), default="auto")
    parser.add_argument("--device", help="cpu or cuda (cpu)")
    parser.add_argument("--shuffle-window", type=int, default=0, help="shards mixed at a time (0)")
    parser.add_argument("--on-error", choices=("raise", "replace"), default="raise")
    parser.add_argument(
        "--consumer", metavar="MODULE:FUNCTION", help="called with each batch, as a training step"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parser.add_argument("--chart", type=Path, metavar="FILE.png", help="draw them")


def run(args: argparse.Namespace) -> int:
    """Measure and say what was found."""
    dataset = opened.opened(args, recipe=recipe_of(args.recipe, args.image_size))
    found = measure(
        dataset,
        seconds=args.seconds,
        batch_size=args.batch_size,
        num_workers=args.workers,
        engine=args.engine,
        device=args.device,
        shuffle_window=args.shuffle_window,
        consumer=_consumer(args.consumer),
        on_error=args.on_error,
    )
    print(table(found))
    if args.json:
        args.json.write_text(json.dumps(found.plain(), indent=2) + "\n")
    if args.chart:
        chart(found, args.chart)
    return 0


def _consumer(place: str | None) -> Any:
    if place is None:
        return None
    module, _, name = place.partition(":")
    try:
        function = getattr(import_module(module), name or "", None)
    except ImportError as error:
        raise ValueError(f"--consumer {place}: {error}") from error
    if not callable(function):
        raise ValueError(f"--consumer must be MODULE:FUNCTION, got {place!r}")
    return function
