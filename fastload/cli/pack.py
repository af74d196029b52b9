"""``python -m fastload pack SRC DST``."""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from fastload.cli import opened as opening
from fastload.crew import EXECUTORS
from fastload.datasets.base import Dataset
from fastload.pack import Options, Packing, pack
from fastload.pack.manifest import SKIPPED
from fastload.pack.options import CODECS, SHUFFLES, size_of

HELP = "pack a data set of any layout into WebDataset shards that load fast"
_DEFAULT = Options()
_FILTERS = ("bbox", "months", "seasons", "since", "until", "max_cloud", "dates")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    opening.add_arguments(parser)
    parser.add_argument("target", metavar="DST", help="root of the packed data set, a folder")
    _add_source(parser.add_argument_group("what is packed (all by default)"))
    _add_filters(parser.add_argument_group("samples by what is known of them"))
    _add_bytes(parser.add_argument_group("how it is stored (lossless by default)"))
    _add_work(parser.add_argument_group("how it is done"))


def _add_source(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--bands", nargs="+", metavar="NAME", help="these bands; of several modalities as "
        "S2L2A=B04,B03,B02")  # fmt: skip
    add("--columns", nargs="+", default=[], metavar="NAME", help="columns of the data set's own")
    add("--missing", choices=("error", "drop"), default="error",
        help="what to do about keys that some modality lacks")  # fmt: skip
    add("--statistics", metavar="NAME|FILE", help="which statistics the samples obey")


def _add_filters(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--bbox", nargs=4, type=float, metavar=("W", "S", "E", "N"), help="degrees")
    add("--months", nargs="+", type=int, metavar="1..12")
    add("--seasons", nargs="+", metavar="NAME", help="winter, spring, summer, autumn; local ones")
    add("--since", metavar="DATE")
    add("--until", metavar="DATE", help="this date is excluded")
    add("--max-cloud", type=float, metavar="SHARE", help="0 to 1, of every date")
    add("--dates", choices=("any", "all"), default="any", help="which of a sample's dates must fit")


def _add_bytes(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--codec", choices=CODECS, default=_DEFAULT.codec, help=f"({_DEFAULT.codec})")
    add("--level", type=int, default=_DEFAULT.level, help=f"0 to 9 ({_DEFAULT.level})")
    add(
        "--shuffle", choices=tuple(SHUFFLES), default=_DEFAULT.shuffle, help=f"({_DEFAULT.shuffle})"
    )
    add("--block", default=str(_DEFAULT.block), metavar="SIZE",
        help="of a Blosc block, such as 64K; 0: Blosc's choice (64K)")  # fmt: skip
    add("--crop", metavar="N|HxW[+Y+X]", help="pixels that are kept, of the centre (all)")
    add("--uint8", nargs="*", type=float, metavar="LIMIT",
        help="keep 8 bits, from LOW to HIGH; without these from the mean less to the mean plus two "
        "standard deviations")  # fmt: skip
    add("--samples-per-shard", type=int, default=_DEFAULT.samples_per_shard, metavar="N",
        help=f"({_DEFAULT.samples_per_shard})")  # fmt: skip
    add("--shard-bytes", metavar="SIZE", help="about so many in a tar, such as 1G; instead of that")
    add("--shuffle-order", type=int, metavar="SEED", help="shuffle the samples (as they come)")
    add("--name", default=_DEFAULT.name, help=f"of the shards: NAME_000001.tar ({_DEFAULT.name})")


def _add_work(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--on-error", choices=("raise", "skip"), default="raise",
        help=f"skip leaves damaged samples out and lists them in {SKIPPED}")  # fmt: skip
    add("--executor", default="processes", help=f"{EXECUTORS} (processes)")
    add("--workers", type=int, help="threads or processes (one a processor)")
    add("--no-space-check", action="store_true", help="do not look for free space first")
    add("--quiet", action="store_true", help="show no progress bar")


def run(args: argparse.Namespace) -> int:
    """Pack, and say what came of it."""
    options = options_of(args)
    dataset, split = opened(args)
    done = pack(
        dataset,
        args.target,
        options,
        split=split,
        executor=args.executor,
        workers=args.workers,
        check_free=not args.no_space_check,
        progress=not args.quiet,
        say=lambda sentence: print(sentence, file=sys.stderr),
    )
    print(summary(done))
    return 0


def options_of(args: argparse.Namespace) -> Options:
    """The options that the arguments say."""
    limits = args.uint8 or None
    if limits is not None and len(limits) != 2:
        raise ValueError(f"--uint8 takes two limits or none, got {limits}")
    return Options(
        codec=args.codec,
        level=args.level,
        shuffle=args.shuffle,
        block=size_of(args.block, "--block"),
        crop=args.crop,
        uint8=args.uint8 is not None,
        limits=limits and (limits[0], limits[1]),
        samples_per_shard=args.samples_per_shard,
        shard_bytes=args.shard_bytes and size_of(args.shard_bytes, "--shard-bytes"),
        order=args.shuffle_order,
        name=args.name,
        on_error=args.on_error,
    )


def opened(args: argparse.Namespace) -> tuple[Dataset, str]:
    """What is to be packed, and the name of its split."""
    skips = args.on_error == "skip"
    one = argparse.Namespace(**{**vars(args), "option": [*args.option, *_options(args)]})
    if args.modality is None:
        one.modality = opening.everything(args) or None
    wanted = {"bad_shards": "skip", "missing": "drop"} if skips else {}
    dataset = opening.opened(one, progress=not args.quiet, **wanted)
    given = {f: getattr(args, f) for f in _FILTERS if getattr(args, f) is not None}
    if len(given) > 1:  # `dates` is always there
        dataset = dataset.filter(**{**given, "seasons": _seasons(args.seasons)})
    return dataset, args.split or opening.split_of(args) or "train"


def _options(args: argparse.Namespace) -> list[str]:
    """Arguments of the layout's class, which refuses those that it does not know."""
    given = {
        "bands": _bands(args.bands),
        "columns": args.columns or None,
        "missing": "drop" if args.missing == "drop" else None,
    }
    return [f"{name}={json.dumps(value)}" for name, value in given.items() if value is not None]


def _bands(given: Sequence[str] | None) -> Any:
    """A list of names, or lists by modality."""
    if given is None or not any("=" in text for text in given):
        return None if given is None else [n for text in given for n in text.split(",")]
    pairs = [text.partition("=") for text in given]
    if not all(names for _, _, names in pairs):
        raise ValueError(f"--bands must be names, or such as S2L2A=B04,B03 for each, got {given}")
    return {modality: names.split(",") for modality, _, names in pairs}


def _seasons(given: Sequence[str] | None) -> list[int | str] | None:
    return [int(s) if s.isdigit() else s for s in given] if given else None


def summary(done: Packing) -> str:
    """What came of it, in two lines."""
    sizes = ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in done.sizes.items())
    skipped = f"; {done.skipped} damaged ones are left out, see {SKIPPED}" if done.skipped else ""
    return (
        f"{done.folder}: {done.samples} samples in {done.shards} shards, {done.written} of them "
        f"written now{skipped}\n{sizes}"
    )
