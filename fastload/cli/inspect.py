"""``python -m fastload inspect ROOT``."""

import argparse
import json
import sys
from pathlib import Path

from fastload.cli import opened
from fastload.datasets.base import Dataset
from fastload.inspect.describe import described, of_sample, sample_table, table
from fastload.inspect.maps import degrees
from fastload.inspect.page import Seen, page
from fastload.inspect.views import fitting, views
from fastload.recipes import RECIPES, recipe_of
from fastload.storage.at import at

HELP = "show what a data set holds: a table, and a page with pictures of a sample and its views"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    opened.add_arguments(parser)
    parser.add_argument("--sample", metavar="KEY", help="key of the sample to look at (the first)")
    parser.add_argument(
        "--recipe", help=f"whose views are shown: series, {', '.join(RECIPES)}, "
        "module:function or FILE.json",
    )  # fmt: skip
    parser.add_argument("--image-size", type=int, help="side of a view in pixels (the recipe's)")
    parser.add_argument("--statistics", help="name of a set or FILE.json (the layout's)")
    parser.add_argument("--epochs", type=int, default=2, help="epochs whose views are shown (2)")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the page")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")


def run(args: argparse.Namespace) -> int:
    """Print the table; write the page."""
    if args.epochs < 1:
        raise ValueError(f"--epochs must be at least 1, got {args.epochs}")
    if args.modality is None:
        args.modality = opened.everything(args) or None
    dataset = opened.opened(args, missing="drop")
    sample = _number(dataset, args.sample)
    facts = described(dataset)
    print(table(facts))
    found = {}
    place = degrees(float(dataset.lat[sample]), float(dataset.lon[sample]))
    print(f"\nsample {dataset.keys[sample]}, {place}")
    for name, m in dataset.modalities.items():
        found[name] = of_sample(m, dataset.read(name, sample))
        print(sample_table(name, found[name]))
    if args.json:
        whole = {"modalities": facts, "sample": str(dataset.keys[sample]), "bands": found}
        args.json.write_text(json.dumps(whole, indent=2) + "\n")
    if args.html:
        seen = _seen(args, dataset, sample)
        seen.facts = facts
        args.html.write_text(page(seen))
        print(f"written to {args.html}")
    elif args.recipe:
        print("fastload inspect: --recipe shows its views with --html FILE", file=sys.stderr)
    return 0


def _number(dataset: Dataset, key: str | None) -> int:
    if key is None:
        return 0
    try:
        return dataset.index_of(key)
    except KeyError as error:
        some = ", ".join(map(str, dataset.keys[:3]))
        raise ValueError(f"--sample: {error.args[0]}, such as {some}") from error


def _seen(args: argparse.Namespace, dataset: Dataset, sample: int) -> Seen:
    seen = Seen(at(args.root).place, dataset, sample, {})
    recipe = recipe_of(args.recipe, args.image_size) if args.recipe else None
    if recipe is not None:
        seen.recipe = args.recipe
        fits, seen.notes = fitting(dataset, recipe)
        seen.views = list(views(fits, sample, args.epochs))
    return seen
