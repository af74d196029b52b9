"""The arguments by which commands open whatever lies at a place, and the opening."""

import argparse
import inspect
import json
from collections.abc import Sequence
from typing import Any

from fastload.datasets.base import Dataset
from fastload.datasets.opening import kind, open_as
from fastload.storage.at import at


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare them."""
    parser.add_argument("root", metavar="ROOT", help="data set of any layout that is read")
    parser.add_argument("--split", help="split, where the layout has splits (its default)")
    parser.add_argument(
        "--modality", nargs="+", metavar="NAME", help="modalities (the layout's own)"
    )
    parser.add_argument("--layout", help="name of the layout, where it is not recognised")
    parser.add_argument(
        "--option", action="append", default=[], metavar="NAME=VALUE",
        help="a further argument of the layout's class, as JSON or plain text",
    )  # fmt: skip


def opened(args: argparse.Namespace, **wanted: Any) -> Dataset:
    """Open the data set that arguments name.

    Args:
        args: parsed, see `add_arguments`.
        wanted: further options; those that the layout does not know are left out.

    Raises:
        ValueError: names an argument that the layout does not take.
    """
    store = at(args.root)
    cls = kind(store, args.layout)
    return open_as(cls, store, _asked(args), {"progress": False} | wanted)


def apart(args: argparse.Namespace, **wanted: Any) -> dict[str, Dataset]:
    """The data set's modalities, each opened by itself where the layout can, so that what is wrong
    with one hides no other; else one data set under the name "".

    Arguments and errors are those of `opened`.
    """
    names = args.modality or everything(args)
    if not names:
        return {"": opened(args, **wanted)}
    one = argparse.Namespace(**vars(args))
    found = {}
    for name in names:
        one.modality = [name]
        found[name] = opened(one, **wanted)
    return found


def everything(args: argparse.Namespace) -> list[str]:
    """All modalities that lie there, as far as the layout tells."""
    store = at(args.root)
    return kind(store, args.layout).modalities_at(store, args.split or split_of(args))


def split_of(args: argparse.Namespace) -> str:
    """The split that the layout opens by default; "" where it has none."""
    split = inspect.signature(kind(at(args.root), args.layout)).parameters.get("split")
    return split.default if split and isinstance(split.default, str) else ""


def _asked(args: argparse.Namespace) -> dict[str, Any]:
    asked = assigned(args.option, "--option")
    if args.split is not None:
        asked["split"] = args.split
    if args.modality:
        asked["modalities"] = list(args.modality)
    if getattr(args, "statistics", None) is not None:
        asked["statistics"] = args.statistics
    return asked


def assigned(words: Sequence[str], where: str) -> dict[str, Any]:
    """Read ``NAME=VALUE`` words; a value is JSON or plain text.

    Raises:
        ValueError: quotes what is no such word.
    """
    found: dict[str, Any] = {}
    for text in words:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise ValueError(f"{where} must be NAME=VALUE, got {text!r}")
        found[name] = _value(value)
    return found


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
