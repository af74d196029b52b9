"""Finding the shards of a modality, and saying what lies there where there are none."""

import re
from collections.abc import Sequence
from difflib import get_close_matches

from fastload.datasets.known import looks_like
from fastload.storage.store import Store

_OWN = "ssl4eo_s12"
_MOST_NAMED, _MOST_LOOKED_AT = 12, 1000
_KNOWN = "expected {root}/{split}/{modality}/*.tar, as SSL4EO-S12 v1.1 is published for WebDataset"


def shards(
    root: Store,
    split: str,
    modality: str,
    own: str = _OWN,
    suffix: str = ".tar",
    tree: str = _KNOWN,
) -> Store:
    """The store of a modality's shards in a split.

    Args:
        root: where the splits are.
        split, modality: folders.
        own: the layout that is being opened.
        suffix: of the shards' names.
        tree: a sentence on how they lie.

    Raises:
        FileNotFoundError: says what is there instead.
    """
    within = root.below(split)
    folder = within.below(modality)
    if modality not in within.folders():
        found = _instead(root, split, modality, own, tree)
        raise FileNotFoundError(f"{folder.place}: there is no such folder of shards; {found}")
    if not folder.filenames(suffix, 1):
        other = _other_content(folder) if suffix == ".tar" else None
        other = other or looks_like(root, own)
        hint = f"; {other}" if other else ""
        raise FileNotFoundError(
            f"{folder.place}: expected shards named *{suffix}, found none{hint}"
        )
    return folder


def _instead(root: Store, split: str, modality: str, own: str, tree: str) -> str:
    """What lies where a folder of shards should."""
    within = root.below(split)
    if split in root.folders():
        there = within.folders()
        lower = {name.lower(): name for name in there}
        near = lower.get(modality.lower()) or next(iter(get_close_matches(modality, there, 1)), "")
        meant = f"; did you mean {near!r}?" if near else ""
        return f"{within.place} holds {_list(there)}{meant}"
    there = root.folders()
    if not there and not root.filenames("", 1):
        return f"there is no folder {root.place}"
    if (other := looks_like(root, own)) is not None:
        return other
    if modality in there:
        parent, _, name = root.place.rstrip("/").rpartition("/")
        meant = f"give root={parent!r} and split={name!r}"
        return f"{root.place} holds modalities, as the folder of a split does: {meant}"
    return f"{root.place} holds {_list(there)}; {tree}"


def _other_content(folder: Store) -> str | None:
    """What a folder holds where shards are expected."""
    names = folder.filenames("", _MOST_LOOKED_AT)
    packed = [n for n in names if re.search(r"\.(tgz|tar\.(gz|bz2|xz|zst))$", n)]
    if packed:
        return f"it holds compressed tars such as {packed[0]}: unpack them to plain *.tar"
    for name in folder.folders()[:_MOST_LOOKED_AT]:
        if folder.below(name).filenames(".tar", 1):
            return (
                f"there are some in {folder.below(name).place}: move or link them to {folder.place}"
            )
    return None


def _list(names: Sequence[str]) -> str:
    if not names:
        return "no folders"
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
