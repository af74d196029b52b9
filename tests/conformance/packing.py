"""What comes out of packed shards is what went in, for the sources of any layout."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload import SSL4EOS12
from fastload.datasets.base import Dataset
from fastload.datasets.source import Modality, Source
from fastload.pack import Options, pack
from fastload.profile import Stages
from fastload.storage.dates import NO_TIME
from fastload.storage.extra import MISSING

PER_SHARD = 4


def packed(dataset: Dataset, root: Path, **options: Any) -> SSL4EOS12:
    """A dataset after packing, opened by the class of the published layout."""
    told: list[str] = []
    asked = Options(**{"samples_per_shard": PER_SHARD, **options})
    pack(dataset, root, asked, executor="threads", workers=2, say=told.append)
    lossy = asked.crop is not None or asked.uint8
    assert bool(told) == lossy, told
    return reopened(root, dataset)


def reopened(root: Path, like: Dataset) -> SSL4EOS12:
    """Packed shards, with all modalities and columns that a dataset has."""
    return SSL4EOS12(root, modalities=list(like.sources), columns=list(like.extras), progress=False)


def assert_round_trip(dataset: Dataset, root: Path, **options: Any) -> SSL4EOS12:
    """Pack losslessly and compare everything: order, columns, modalities, pixels, masks."""
    found = packed(dataset, root, **options)
    assert found.keys.tolist() == dataset.keys.tolist()
    for name in dataset.sources:
        theirs, ours = dataset.sources[name], found.sources[name]
        rows = dataset.rows_of(name, np.arange(len(dataset)))
        back = found.rows_of(name, np.arange(len(found)))
        same_modality(name, ours.modality, theirs.modality)
        same_columns(ours, back, theirs, rows)
        same_pixels(ours, back, theirs, rows)
        beside, others = theirs.beside(), ours.beside()
        assert list(others) == list(beside)
        for array, mask in beside.items():
            same_pixels(others[array], back, mask, rows)
    for name, column in dataset.extras.items():
        same_values(name, found.extras[name], np.asarray(column))
    return found


def same_modality(name: str, ours: Modality, theirs: Modality) -> None:
    """But for what a choice of bands says of the others."""
    wanted = replace(theirs, name=name, picked=None, stored_bands=None)
    nan = wanted.fill_value is not None and np.isnan(wanted.fill_value)
    if nan:
        assert ours.fill_value is not None
        assert np.isnan(ours.fill_value)
        ours, wanted = replace(ours, fill_value=None), replace(wanted, fill_value=None)
    assert ours == wanted


def same_columns(
    ours: Source, back: NDArray[np.int64], theirs: Source, rows: NDArray[np.int64]
) -> None:
    a, b = ours.columns, theirs.columns
    for column in ("key", "lon", "lat", "time", "cloud"):
        mine, wanted = getattr(a, column)[back], getattr(b, column)[rows]
        if column == "time":
            wanted = np.where(wanted > 0, wanted, NO_TIME)  # as on disk, see `storage.dates`
        assert mine.dtype.kind == wanted.dtype.kind, column
        np.testing.assert_array_equal(mine, wanted, err_msg=column)
    T = theirs.modality.timestamps
    dates = [np.full(len(rows), T) if c.dates is None else c.dates[r]
             for c, r in ((a, back), (b, rows))]  # fmt: skip
    np.testing.assert_array_equal(*dates)
    there = {n for n, v in b.extra.items() if not all_missing(v[rows])}
    assert there <= set(a.extra)
    for name in there:
        same_values(name, a.extra[name][back], b.extra[name][rows])


def all_missing(values: NDArray[Any]) -> bool:
    """A column that nobody has is none in an index."""
    if values.dtype.kind == "f":
        return bool(np.isnan(values).all())
    return bool((values == MISSING[values.dtype.kind]).all())


def same_values(name: str, mine: NDArray[Any], wanted: NDArray[Any]) -> None:
    """Text as text, numbers as numbers; a single date's entries need no axis."""
    if wanted.dtype.kind == "U":
        wanted = np.char.encode(wanted, "utf-8")
    assert (mine.dtype.kind == "S") == (wanted.dtype.kind == "S"), name
    np.testing.assert_array_equal(mine.reshape(wanted.shape), wanted, err_msg=name)


def same_pixels(
    ours: Source, back: NDArray[np.int64], theirs: Source, rows: NDArray[np.int64]
) -> None:
    """Bit for bit, not-a-number included."""
    assert (ours.modality.dtype, ours.modality.shape) == (
        theirs.modality.dtype,
        theirs.modality.shape,
    )
    for mine, wanted in zip(back.tolist(), rows.tolist(), strict=True):
        a, b = whole(ours, mine), whole(theirs, wanted)
        assert a.tobytes() == b.tobytes()


def whole(source: Source, row: int) -> NDArray[Any]:
    """All dates that a sample has ``[n, C, H, W]``."""
    m, dates = source.modality, source.columns.dates
    count = m.timestamps if dates is None else int(dates[row])
    out = np.empty((count, *m.shape[1:]), m.dtype)
    source.read(row, range(count), out, Stages())
    return out


def bytes_of(root: Path) -> Mapping[str, bytes]:
    """Every file below a root that is a function of samples and options."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.suffix in (".tar", ".json", ".jsonl")
    }
