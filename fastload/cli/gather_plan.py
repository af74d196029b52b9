"""``python -m fastload gather plan PLAN.parquet``."""

import argparse
import sys
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

import numpy as np

HELP = "draw where and when to look, as a function of a seed, and write it as GeoParquet"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments: a setting each."""
    from fastload.gather.plan.settings import Settings

    parser.add_argument("file", type=Path, metavar="PLAN.parquet", help="what is written")
    for setting in fields(Settings):
        _add(parser, setting)
    parser.add_argument("--quiet", action="store_true", help="show no progress bar")


def _add(parser: argparse.ArgumentParser, setting: "Field[Any]") -> None:
    told = dict(setting.metadata)
    kind, several = told.pop("kind", str), setting.name == "years"
    default: Any = setting.default
    if default not in (None, False):
        shown = " ".join(map(str, default)) if several else default
        told["help"] += f" ({shown})"
    told |= {"action": argparse.BooleanOptionalAction} if kind is bool else {"type": kind}
    told |= {"nargs": 2} if several else {}
    name = "--" + setting.name.replace("_", "-")
    parser.add_argument(name, default=default, **told)


def run(args: argparse.Namespace) -> int:
    """Make the plan, write it, and say what it is."""
    from fastload.gather.plan import plan, plan_file
    from fastload.gather.plan.settings import Settings

    given = {f.name: getattr(args, f.name) for f in fields(Settings)}
    given["years"] = tuple(given["years"])
    made = plan.make(Settings(**given), say=_say, progress=not args.quiet)
    plan_file.write(made, args.file)
    print(summary(args.file, made))
    return 0


def _say(sentence: str) -> None:
    print(f"fastload gather plan: {sentence}", file=sys.stderr)


def summary(path: Path, made: Any) -> str:
    """What was made, in a line or two."""
    N, K = made.attempt.shape
    ends = made.days[..., 0].min(), made.days[..., 1].max() - 1
    days = [np.datetime64(int(day), "D") for day in ends]
    lines = [
        f"{path}: {N} locations, {K} candidate{'s' * (K > 1)} each by law {made.settings.law}, "
        f"{made.days.shape[2]} dates from {days[0]} to {days[1]}"
    ]
    return "\n".join([*lines, *(_source(name, told) for name, told in made.sources.items())])


def _source(name: str, told: dict[str, Any]) -> str:
    return f"{name}: " + ", ".join(f"{k} {v}" for k, v in told.items())
