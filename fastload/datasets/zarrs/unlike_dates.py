"""Samples of a modality that differ in their number of dates: kept, left out, or refused."""

from collections import Counter
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastload.datasets.join_sources import Joined
from fastload.datasets.zarrs.zarr_source import ZarrSource
from fastload.storage.errors import DataError

Dates = Literal["mask", "drop", "error"]


def check_dates(dates: Any) -> None:
    """Raise ValueError where an argument is none of `Dates`."""
    if dates not in ("mask", "drop", "error"):
        raise ValueError(f"dates must be 'mask', 'drop' or 'error', got {dates!r}")


def settled(source: ZarrSource, dates: Dates) -> ZarrSource:
    """A source as it is to be shown.

    Raises:
        DataError: where its samples differ and that is refused.
    """
    if source.columns.dates is None or dates == "mask":
        return source
    if dates == "drop":
        shown = source.showing(_most_common(source.stored_dates))
        # Those that are left have all dates; nobody is told of the others.
        shown.columns = replace(shown.columns, dates=None)
        return shown
    raise DataError(source.store.place, "", -1, _report(source))


def left_out(joined: Joined, dates: Dates) -> Joined:
    """Without the samples that have another number of dates than most, where that is asked for.

    Raises:
        ValueError: where none would be left.
    """
    kept = np.ones(_count(joined), bool)
    for name, source in joined.sources.items():
        if dates == "drop" and isinstance(source, ZarrSource):
            rows = joined.rows[name]
            counts = source.stored_dates
            fits = counts == source.modality.timestamps
            kept &= fits if rows is None else fits[rows]
    if kept.all():
        return joined
    if not kept.any():
        raise ValueError(
            "dates='drop' leaves no sample: none has the usual dates in all modalities"
        )
    some = np.flatnonzero(kept)
    print(f"{len(kept) - len(some)} samples dropped: they have other numbers of dates than most")
    left = {n: some if taken is None else taken[some] for n, taken in joined.rows.items()}
    return Joined(joined.sources, left, {n: c[some] for n, c in joined.extras.items()})


def _count(joined: Joined) -> int:
    name, source = next(iter(joined.sources.items()))
    rows = joined.rows[name]
    return len(source) if rows is None else len(rows)


def _most_common(counts: NDArray[np.int32]) -> int:
    """Of several as common, the largest."""
    return int(max(zip(*reversed(np.unique(counts, return_counts=True)), strict=True))[1])


def _report(source: ZarrSource) -> str:
    counts = Counter(source.stored_dates.tolist())
    said = ", ".join(f"{T} in {n} samples" for T, n in sorted(counts.items()))
    rare = min(counts, key=lambda T: (counts[T], T))
    key = source.columns.key[int(np.argmax(source.stored_dates == rare))].decode()
    return (
        f"samples differ in their number of dates: {said} ({key} has {rare}); dates='mask' keeps "
        "all and says in the batch which dates there are, 'drop' leaves out those that have "
        "another number than most"
    )
