"""Some of a folder's shards, as a data set of their own, so that no other is ever opened."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from fastload.datasets.ssl4eo_s12 import SSL4EOS12

MOST = 16
"""Shards that are opened."""
_SPLIT = "train"


def shards(folder: Path) -> dict[tuple[str, str], list[str]]:
    """Names of the modalities of each shard, by its split and file."""
    found: dict[tuple[str, str], list[str]] = {}
    for tar in sorted(folder.glob("*/*/*.tar")):
        split, modality = tar.parts[-3:-1]
        if not any(part.startswith(".") for part in (split, modality, tar.name)):
            found.setdefault((split, tar.name), []).append(modality)
    return found


def chosen(folder: Path, seed: int, most: int = MOST) -> list[tuple[str, str]]:
    """Some shards of a folder, a function of their names and the seed."""
    names = sorted(shards(folder))
    order = np.random.default_rng(seed).permutation(len(names))[:most]
    return [names[i] for i in sorted(order.tolist())]


@contextmanager
def opened(folder: Path, some: Sequence[tuple[str, str]]) -> Iterator[dict[str, SSL4EOS12]]:
    """Some shards as a data set for each modality.

    They are linked to from a folder that goes away afterwards, which gets their index.

    Raises:
        DataError: names a damaged shard.
    """
    there, modalities = shards(folder), set[str]()
    with tempfile.TemporaryDirectory(prefix="fastload-report-") as place:
        for number, (split, file) in enumerate(some):
            for modality in there[split, file]:
                target = Path(place) / _SPLIT / modality / f"shard_{number:06d}.tar"
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to((folder / split / modality / file).resolve())
                modalities.add(modality)
        yield {
            name: SSL4EOS12(place, _SPLIT, [name], progress=False) for name in sorted(modalities)
        }
