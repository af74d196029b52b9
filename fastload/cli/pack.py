"""``python -m fastload pack SRC DST``."""

import argparse
import inspect
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from fastload.datasets.base import Dataset
from fastload.datasets.known import LAYOUTS, layout, recognised
from fastload.datasets.opening import open as open_dataset
from fastload.pack import Options, Packing, pack
from fastload.pack.crew import EXECUTORS
from fastload.pack.manifest import SKIPPED
from fastload.pack.options import CODECS, SHUFFLES, size_of
from fastload.storage.at import at
from fastload.storage.store import Store

HELP = "pack a data set of any layout into WebDataset shards that load fast"
_DEFAULT = Options()
_FILTERS = ("bbox", "months", "seasons", "since", "until", "max_cloud", "dates")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("source", metavar="SRC", help="what fastload.open opens: a folder or URL")
    parser.add_argument("target", metavar="DST", help="root of the packed data set, a folder")
    _add_source(parser.add_argument_group("what is packed (all by default)"))
    _add_filters(parser.add_argument_group("samples by what is known of them"))
    _add_bytes(parser.add_argument_group("how it is stored (lossless by default)"))
    _add_work(parser.add_argument_group("how it is done"))


def _add_source(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--layout", choices=list(LAYOUTS), help="what SRC is, if its names do not tell")
    add("--split", help="split of SRC and of DST (that which the layout opens; train)")
    add("--modality", nargs="+", metavar="NAME", help="these modalities")
    add("--bands", nargs="+", metavar="NAME", help="these bands; of several modalities as "
        "S2L2A=B04,B03,B02")  # fmt: skip
    add("--columns", nargs="+", default=[], metavar="NAME", help="columns of the data set's own")
    add("--missing", choices=("error", "drop"), default="error",
        help="what to do about keys that some modality lacks")  # fmt: skip
    add("--statistics", metavar="NAME|FILE", help="which statistics SRC obeys")


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
    store = at(args.source)
    name = args.layout or recognised(store)
    takes: Mapping[str, Any] = {}
    if name is not None:
        takes = inspect.signature(layout(name)).parameters
    split = args.split or _default_split(takes)
    asked = _asked(args, store, name, split, takes)
    if name is not None:
        refused = [option for option in asked if option not in takes]
        if refused:
            raise ValueError(f"{store.place}: the layout {name!r} has no {', '.join(refused)}")
    dataset = open_dataset(store, layout_name=args.layout, **asked)
    given = {f: getattr(args, f) for f in _FILTERS if getattr(args, f) is not None}
    if len(given) > 1:  # `dates` is always there
        given["seasons"] = _seasons(args.seasons)
        dataset = dataset.filter(**given)
    return dataset, split


def _default_split(takes: Mapping[str, Any]) -> str:
    default = takes["split"].default if "split" in takes else None
    return default if isinstance(default, str) else "train"


def _asked(
    args: argparse.Namespace, store: Store, name: str | None, split: str, takes: Mapping[str, Any]
) -> dict[str, Any]:
    """Arguments of the layout's class: those that were given, and those that it takes."""
    modalities = args.modality
    if modalities is None and name is not None and "modalities" in takes:
        modalities = layout(name).modalities_at(store, split) or None  # type: ignore[attr-defined]
    given = {
        "split": args.split,
        "modalities": modalities,
        "bands": _bands(args.bands),
        "columns": args.columns or None,
        "statistics": args.statistics,
        "missing": "drop" if args.missing == "drop" or args.on_error == "skip" else None,
    }
    asked = {option: value for option, value in given.items() if value is not None}
    offered: dict[str, Any] = {"progress": not args.quiet}
    if args.on_error == "skip":
        asked.pop("missing")
        offered |= {"bad_shards": "skip", "missing": "drop"}
    return asked | {option: value for option, value in offered.items() if option in takes}


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
