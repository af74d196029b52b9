"""Finding the shards of a modality, and saying what lies there where there are none."""

import os
import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path

from fastload.storage.store import Local

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
_MOST_NAMED, _MOST_LOOKED_AT = 12, 1000
_KNOWN = "expected {root}/{split}/{modality}/*.tar, as SSL4EO-S12 v1.1 is published for WebDataset"


def split_folder(root: str | Path, split: str) -> Path:
    """The folder of a split, which need not be there.

    Raises:
        ValueError: where the root is a URL.
    """
    if _URL.match(str(root)):
        raise ValueError(
            f"root {str(root)!r}: URLs are not read, expected a folder of this machine: download "
            "the data first, such as by `hf download`"
        )
    return Path(root).expanduser() / split


def shards(split: Path, modality: str) -> Local:
    """The store of a modality's shards in the folder of a split.

    Raises:
        FileNotFoundError: says what is there instead.
    """
    folder = split / modality
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder}: there is no such folder of shards; {_instead(split, modality)}"
        )
    if not any(name.endswith(".tar") for name in _names(folder)):
        found = _other_content(folder) or _tree(split.parent)
        hint = f"; {found}" if found else ""
        raise FileNotFoundError(f"{folder}: expected shards named *.tar, found none{hint}")
    return Local(folder)


def _instead(split: Path, modality: str) -> str:
    """What lies where a folder of shards should."""
    root = split.parent
    if split.is_dir():
        there = _folders(split)
        lower = {name.lower(): name for name in there}
        near = lower.get(modality.lower()) or next(iter(get_close_matches(modality, there, 1)), "")
        meant = f"; did you mean {near!r}?" if near else ""
        return f"{split} holds {_list(there)}{meant}"
    if not root.is_dir():
        return f"there is no folder {root}"
    if (tree := _tree(root)) is not None:
        return tree
    if (root / modality).is_dir():
        meant = f"give root={str(root.parent)!r} and split={root.name!r}"
        return f"{root} holds modalities, as the folder of a split does: {meant}"
    return f"{root} holds {_list(_folders(root))}; {_KNOWN}"


def _other_content(folder: Path) -> str | None:
    """What a folder holds where shards are expected."""
    names = list(_names(folder))
    if any(name.endswith(".zarr.zip") for name in names):
        return (
            "it holds zarr files of 64 samples each, the release of SSL4EO-S12 v1.1 of March 2025, "
            "which is not supported: download the WebDataset release (embed2scale/SSL4EO-S12-v1.1)"
        )
    packed = [n for n in names if re.search(r"\.(tgz|tar\.(gz|bz2|xz|zst))$", n)]
    if packed:
        return f"it holds compressed tars such as {packed[0]}: unpack them to plain *.tar"
    if any(name.endswith(".parquet") for name in names):
        return _MAJOR_TOM
    for name in _folders(folder):
        if any(n.endswith(".tar") for n in _names(folder / name)):
            return f"there are some in {folder / name}: move or link them to {folder}"
    return None


_MAJOR_TOM = "there are parquet files, as of Major TOM, which are not supported: " + _KNOWN


def _tree(root: Path) -> str | None:
    """The name of another data set's tree, as far as it is known."""
    for top in (root, *(root / name for name in _folders(root)[:_MOST_NAMED])):
        names = _folders(top)
        if {"s1", "s2a", "s2c", "s2_l1c", "s2_l2a"} & set(names):
            return (
                f"{top} looks like SSL4EO-S12 v1.0 (a folder of GeoTIFFs a date), which is not "
                f"supported: {_KNOWN}"
            )
        if any(re.fullmatch(r"\d{6}", name) for name in names):
            return f"{top} looks like SeCo, which is not supported: {_KNOWN}"
        if any(name.startswith("BigEarthNet") or "_MSIL2A_" in name for name in names):
            return f"{top} looks like BigEarthNet, which is not supported: {_KNOWN}"
        for folder in (top, *(top / name for name in names[:_MOST_NAMED])):
            if any(name.endswith(".parquet") for name in _names(folder)):
                return f"{folder}: {_MAJOR_TOM}"
    return None


def _names(folder: Path) -> Iterator[str]:
    """Names in a folder, the first of very many; those that macOS made are passed over."""
    try:
        with os.scandir(folder) as entries:
            for _, entry in zip(range(_MOST_LOOKED_AT), entries, strict=False):
                if not entry.name.startswith("._"):
                    yield entry.name
    except OSError:
        return


def _folders(folder: Path) -> list[str]:
    return sorted(name for name in _names(folder) if (folder / name).is_dir())


def _list(names: Sequence[str]) -> str:
    if not names:
        return "no folders"
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
