"""Several sources of one modality as one: the samples of each, one source after the other."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.datasets.source import CHUNK, ChunkedSource, Chunks, Columns, Source
from fastload.profile import Stages
from fastload.storage.errors import DataError
from fastload.storage.union import Union


def union(sources: Sequence[Source]) -> Source:
    """Sources of one modality, joined.

    Raises:
        ValueError: names what they differ in.
    """
    first = sources[0].modality
    for other in (source.modality for source in sources[1:]):
        for field in ("shape", "dtype", "band_names", "fill_value"):
            a, b = getattr(first, field), getattr(other, field)
            if a != b and not (field == "fill_value" and a != a and b != b):
                raise ValueError(f"concat: {first.name} differs in {field}: {a} and {b}")
        if None not in (first.ground, other.ground) and first.ground != other.ground:
            a, b = first.ground, other.ground
            raise ValueError(f"concat: {first.name} differs in ground: {a} and {b}")
    chunked = [source for source in sources if isinstance(source, ChunkedSource)]
    return UnionChunks(chunked) if len(chunked) == len(sources) else UnionSource(sources)


class UnionSource(Source):
    """Sources side by side."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.parts = list(sources)
        self.starts = np.cumsum([0, *map(len, sources)])
        self.modality = sources[0].modality
        if any(source.modality.ground is None for source in sources):
            self.modality = replace(self.modality, ground=None)
        self.columns = _joined([source.columns for source in sources])

    def part(self, sample: int) -> tuple[int, int]:
        """Which part has a sample, and its number there."""
        k = int(np.searchsorted(self.starts, sample, "right")) - 1
        return k, sample - int(self.starts[k])

    def read(
        self, sample: int, timestamps: Sequence[int], out: NDArray[Any], stages: Stages
    ) -> None:
        """See `Source.read`."""
        k, row = self.part(sample)
        self.parts[k].read(row, timestamps, out, stages)


class UnionChunks(ChunkedSource):
    """Sources with chunks side by side."""

    def __init__(self, sources: Sequence[ChunkedSource]) -> None:
        self.parts = list(sources)
        self._samples = UnionSource(sources)
        self.modality, self.columns = self._samples.modality, self._samples.columns
        store = Union([s.store for s in sources], [s.files for s in sources])
        self.store, self.files = store, store.names
        self._file_starts = np.cumsum([0, *(len(s.files) for s in sources)])
        self.sizes = np.concatenate([s.sizes for s in sources])
        self.largest = max(s.largest for s in sources)
        self.chunks_a_timestamp = max(s.chunks_a_timestamp for s in sources)
        self.check_crc = any(s.check_crc for s in sources)

    def chunks(self, samples: NDArray[np.int64], wanted: NDArray[np.bool_]) -> Chunks:
        """See `ChunkedSource.chunks`."""
        starts = self._samples.starts
        owner = np.searchsorted(starts, samples, "right") - 1
        found = [np.empty(0, CHUNK)]
        for k in np.unique(owner).tolist():
            slots = np.flatnonzero(owner == k)
            rows = self.parts[k].chunks(samples[slots] - starts[k], wanted[slots]).rows
            rows["slot"] = slots[rows["slot"]]
            rows["file"] += self._file_starts[k]
            found.append(rows)
        rows = np.concatenate(found)
        rows = rows[np.argsort(rows["slot"], kind="stable")]
        return Chunks(rows, np.searchsorted(rows["slot"], np.arange(len(samples) + 1)))

    def _own(self, k: int, rows: NDArray[np.void]) -> NDArray[np.void]:
        """Rows of a part, as it gave them."""
        rows = rows.copy()
        rows["file"] -= self._file_starts[k]
        return rows

    def decode(
        self,
        sample: int,
        rows: NDArray[np.void],
        data: Sequence[NDArray[np.uint8] | None],
        timestamps: Sequence[int],
        out: NDArray[Any],
        stages: Stages,
    ) -> None:
        """See `ChunkedSource.decode`."""
        k, row = self._samples.part(sample)
        self.parts[k].decode(row, self._own(k, rows), data, timestamps, out, stages)

    def whole_timestamps(self, sample: int) -> bool:
        """See `ChunkedSource.whole_timestamps`."""
        k, row = self._samples.part(sample)
        return self.parts[k].whole_timestamps(row)

    def error(self, sample: int, row: np.void, reason: str | DataError) -> DataError:
        """See `ChunkedSource.error`."""
        k, own = self._samples.part(sample)
        return self.parts[k].error(own, self._own(k, np.array([row]))[0], reason)


def _joined(columns: Sequence[Columns]) -> Columns:
    groups, start = [], 0
    for some in columns:
        groups.append(some.group + np.uint32(start))
        start += int(some.group.max()) + 1 if len(some.group) else 0
    return Columns(
        np.concatenate([c.key for c in columns]),
        np.concatenate([c.lon for c in columns]),
        np.concatenate([c.lat for c in columns]),
        np.concatenate([c.time for c in columns]),
        np.concatenate([c.cloud for c in columns]),
        np.concatenate(groups),
        dates=_dates(columns),
    )


def _dates(columns: Sequence[Columns]) -> NDArray[np.int32] | None:
    """How many dates each sample has, where some part says so."""
    if all(c.dates is None for c in columns):
        return None
    each = [np.full(len(c.key), c.time.shape[1], np.int32) for c in columns]
    return np.concatenate(
        [c.dates if c.dates is not None else full for c, full in zip(columns, each, strict=True)]
    )
