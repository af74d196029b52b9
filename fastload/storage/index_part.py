"""The rows of one modality in an index of tars that hold several side by side."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.storage.errors import DataError
from fastload.storage.index_file import Index
from fastload.storage.scan import SUFFIX

Keys = NDArray[np.bytes_]


@dataclass(frozen=True)
class Part(Index):
    """Rows of the members ``{key}.{modality}.zarr.zip``, whose keys are without the modality.

    The chunk table is that of all modalities; it pickles as the whole index does.
    """

    whole: Index | None = None
    modality: str = ""

    @property
    def ending(self) -> str:
        """See `Index.ending`."""
        return f".{self.modality}"

    def __reduce__(self) -> Any:
        assert self.whole is not None
        return _rows_of, (self.whole, self.modality)


def modality_of(member: str) -> str:
    """The modality in a member's name, ``{key}.{modality}``; "" where there is none."""
    key, _, modality = member.rpartition(".")
    return modality if key else ""


def part_of(index: Index, modality: str, place: str) -> Index:
    """The index of one modality.

    Args:
        index: of tars that lie at `place`.
        modality: its name in those of the members.

    Raises:
        FileNotFoundError: lists the modalities that there are.
        DataError: names members that are of no modality.
    """
    bare = np.flatnonzero(np.char.find(index.key, b".") < 1)
    if len(bare):
        key, shard = index.key[bare[0]].decode(), index.shards[index.shard[bare[0]]].name
        raise DataError(
            f"{place}/{shard}", f"{key}{SUFFIX}", -1,
            f"expected a name such as {key}.{modality}{SUFFIX}, as others in these tars have; "
            f"{len(bare)} of {len(index)} members are of no modality",
        )  # fmt: skip
    part = _rows_of(index, modality)
    if not len(part):
        there = ", ".join(modalities(index.key))
        raise FileNotFoundError(
            f"{place}: no member is called {{key}}.{modality}{SUFFIX}; there are: {there}"
        )
    return part


def modalities(keys: Iterable[bytes]) -> list[str]:
    """The modalities in the names of members."""
    return sorted({modality_of(key.decode()) for key in keys} - {""})


def _rows_of(index: Index, modality: str) -> Part:
    ending = f".{modality}".encode()
    rows = np.flatnonzero(np.char.endswith(index.key, ending))
    used, layout = np.unique(index.layout[rows], return_inverse=True)
    return Part(
        index.shards,
        [index.layouts[i] for i in used],
        _without(index.key[rows], len(ending)),
        index.shard[rows],
        layout.astype(np.uint32),
        index.first[rows],
        index.lon[rows],
        index.lat[rows],
        index.time[rows],
        index.cloud[rows],
        index.chunks,
        {name: column[rows] for name, column in index.extra.items()},
        whole=index,
        modality=modality,
    )


def _without(keys: Keys, ending: int) -> Keys:
    """Keys without so many bytes at their ends."""
    lengths = np.char.str_len(keys) - ending
    width = max(1, int(lengths.max(initial=1)))
    table = np.ascontiguousarray(keys).view(np.uint8).reshape(-1, keys.itemsize)[:, :width]
    kept = np.where(np.arange(width) < lengths[:, None], table, 0).astype(np.uint8)
    return kept.reshape(-1).view(f"S{width}")
