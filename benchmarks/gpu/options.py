"""What the command line can choose."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastload.processors import processors


@dataclass(frozen=True, kw_only=True)
class Options:
    """Sizes and times of a run."""

    seconds: float = 0.5
    """About how long a contestant is timed in a round."""
    rounds: int = 5
    locations: int = 256
    """Of the made dataset."""
    batch: int = 64
    """Samples."""
    workers: int = 16
    size: int = 264
    """Height and width of the made pixels, as published."""
    crop: int = 224
    """Height and width of the views."""
    arch: str = "resnet50"
    copy_bytes: int = 1 << 30
    """Size of the copy that the kernels are measured by."""


QUICK = {"seconds": 0.05, "rounds": 2, "locations": 24, "batch": 8, "size": 96, "crop": 64,
         "copy_bytes": 1 << 26}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Command:
    """A whole command line."""

    options: Options
    only: tuple[str, ...]
    """Parts that were asked for; all where there is none."""
    json: Path
    minutes: float
    """When to end."""
    patience: float
    """Seconds after which a part counts as hanging."""


def parse(parts: Sequence[str], argv: Sequence[str] | None = None) -> Command:
    """Read the command line; `parts` are the names that ``--only`` takes."""
    default = Options(workers=min(16, processors()))
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description="Check and measure everything that runs on a GPU; see docs/gpu.md.",
        epilog=f"Parts: {', '.join(parts)}.",
    )
    add = parser.add_argument
    add("--json", type=Path, default=Path("gpu.json"), metavar="FILE", help="default: %(default)s")
    for name, kind, what in (
        ("seconds", _positive_float, "about how long each contestant is timed in a round"),
        ("rounds", _positive, "interleaved rounds of each contestant"),
        ("locations", _positive, "size of the made dataset"),
        ("batch", _positive, "samples in a batch"),
        ("workers", _positive, "threads of the loader, processes of the published path"),
    ):
        add(f"--{name}", type=kind, help=f"{what} ({getattr(default, name)})")
    add("--quick", action="store_true", help="tiny sizes, for a first look; no figure means much")
    add("--only", nargs="+", choices=parts, default=(), metavar="PART", help="run these alone")
    add("--minutes", type=_positive_float, default=9.5, help="end after (%(default)s)")
    add("--patience", type=_positive_float, default=180.0, metavar="SECONDS",
        help="a part that takes longer hangs (%(default)s)")  # fmt: skip
    args = parser.parse_args(argv)
    values: dict[str, Any] = {**vars(default), **(QUICK if args.quick else {})}
    values |= {name: v for name, v in vars(args).items() if name in values and v is not None}
    if values["locations"] < values["batch"]:
        parser.error(f"--locations {values['locations']} do not fill a batch of {values['batch']}")
    only = tuple(dict.fromkeys(args.only))
    return Command(
        options=Options(**values),
        only=only,
        json=args.json,
        minutes=args.minutes,
        patience=args.patience,
    )


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text}")
    return value


def _positive_float(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text}")
    return value
