"""A source of zarr groups in zips, ``[T, C, H, W]`` each, that lie in the tars of a store."""

from collections import Counter
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from time import perf_counter
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fastload.bands import names_of, pick
from fastload.datasets.source import CHUNK, ChunkedSource, Chunks, Columns, Modality, Source
from fastload.datasets.zarrs.cells import count_cells, fill_cells
from fastload.datasets.zarrs.zarr_decode import decode_part, decode_timestamp
from fastload.profile import Stages
from fastload.storage.checksum import CRC_FAULT, crc32
from fastload.storage.errors import DataError
from fastload.storage.extra import padded
from fastload.storage.formats.streams import inflate
from fastload.storage.formats.zarr import ArraySpec
from fastload.storage.formats.zip import DEFLATED
from fastload.storage.group import BANDS, band_names, images_of, specs_of
from fastload.storage.index import Index
from fastload.storage.store import Store


class ZarrSource(ChunkedSource):
    """One array of each sample's group, with what the index knows of the rest.

    An array ``[T, H, W]`` is one of a single band.

    Args:
        name: of the modality.
        store: holds the tars.
        index: of them.
        check_crc: compare each chunk read with the CRC-32 of its zip directory.
        array: of the group.
        bands: names of the bands to show, in this order; all as stored by default. A chunk that
            holds others too is decoded whole, on the host.
        dates: how many timestamps to show, the first ones; by default as many as the sample with
            the most has.

    Attributes:
        order: int8 ``[N, T]``, which stored timestamp each one is; None: in the order stored.
        stored_dates: int32 ``[N]``, how many timestamps each sample has stored.

    Raises:
        DataError: where the samples differ in shape or dtype, or some lack the array.
        ValueError: lists the names, where one of `bands` is unknown.
    """

    order: NDArray[np.int8] | None = None

    def __init__(
        self,
        name: str,
        store: Store,
        index: Index,
        check_crc: bool,
        array: str = BANDS,
        bands: Sequence[str] | None = None,
        dates: int | None = None,
    ) -> None:
        self.store, self.index, self.check_crc, self.array = store, index, check_crc, array
        self._asked = bands
        self.files = [shard.name for shard in index.shards]
        self.sizes = np.array([shard.size for shard in index.shards], np.int64)
        self.largest = max(shard.largest for shard in index.shards)
        self._stored = [self._spec_of(number) for number in range(len(index.layouts))]
        images = [images_of(layout)[array] for layout in index.layouts]
        T = dates or max(spec.shape[0] for spec in images)
        self.stored_dates = np.array([s.shape[0] for s in images], np.int32)[index.layout]
        self._dates = np.array([min(T, spec.shape[0]) for spec in images], np.int32)
        self._cells = [int(np.prod(spec.grid)) for spec in images]
        self.specs = [replace(spec, shape=(T, *spec.shape[1:])) for spec in images]
        self._before = [_chunks_before(layout, array) for layout in index.layouts]
        self.chunks_a_timestamp = max(int(np.prod(spec.grid[1:])) for spec in self.specs)
        self.modality = self._modality(name, bands)
        self.columns = self._columns()

    def _spec_of(self, number: int) -> ArraySpec:
        specs = specs_of(self.index.layouts[number])
        if self.array not in specs:
            lacking = int(np.count_nonzero(self.index.layout == number))
            reason = f"{lacking} of {len(self.index)} samples have no array '{self.array}'"
            there = f"of those that can be read they have {', '.join(specs)}"
            raise DataError(self.store.place, "", -1, f"{reason}; {there}")
        return specs[self.array]

    def _columns(self) -> Columns:
        index, T = self.index, self.modality.timestamps

        def ordered(column: NDArray[Any]) -> NDArray[Any]:
            some = padded(column[:, :T], T)
            return some if self.order is None else np.take_along_axis(some, self.order, axis=1)

        extra = {n: ordered(c) if c.ndim == 2 else c for n, c in index.extra.items()}
        return Columns(
            index.key,
            index.lon,
            index.lat,
            ordered(index.time),
            ordered(index.cloud),
            index.shard,
            extra,
            None if (self._dates == T).all() else self._dates[index.layout],
        )

    def ordered(self, order: NDArray[np.int8]) -> Self:
        """The same samples with their timestamps in another order, a permutation of each sample's
        ``[N, T]``: entry t says which stored timestamp is t."""
        other = copy(self)
        other.order = order
        other.columns = other._columns()
        return other

    def showing(self, dates: int) -> Self:
        """The same samples with so many timestamps, as they are stored."""
        name, asked = self.modality.name, self._asked
        return type(self)(name, self.store, self.index, self.check_crc, self.array, asked, dates)

    def _modality(self, name: str, asked: Sequence[str] | None) -> Modality:
        shapes = {(spec.shape[1:], spec.dtype.str) for spec in self.specs}
        if len(shapes) != 1:
            reason = f"samples differ in shape or dtype: {self._different()}"
            raise DataError(self.store.place, "", -1, reason)
        spec = self.specs[0]
        T, C, H, W = spec.shape
        names: tuple[str, ...] = (self.array,) if C == 1 else ()
        if self.array == BANDS:
            names = tuple(band_names(self.index.layouts[0]))
        fill, known = float(spec.fill_value), names_of(name, names, C)
        picked = pick(asked, known, f"{name} in {self.store.place}")
        if picked is None:
            return Modality(name, T, C, H, W, spec.dtype, names, fill)
        shown = tuple(known[i] for i in picked)
        return Modality(name, T, len(picked), H, W, spec.dtype, shown, fill, picked, C)

    def _different(self) -> str:
        """The shapes of a date and dtypes that there are, with how many samples have each."""
        counts = Counter[str]()
        for number, count in enumerate(np.bincount(self.index.layout, minlength=len(self.specs))):
            spec = self.specs[number]
            counts[f"{list(spec.shape[1:])} {spec.dtype}"] += int(count)
        return ", ".join(f"{what} in {n}" for what, n in sorted(counts.items()))

    def beside(self) -> dict[str, Source]:
        """See `Source.beside`: what the bands' samples all have."""
        if self.array != BANDS:
            return {}
        each = [set(specs_of(layout)) for layout in self.index.layouts]
        names = sorted(set.intersection(*each) - {BANDS})
        return {name: self._other(name) for name in names}

    def _other(self, array: str) -> Self:
        name = f"{self.modality.name}/{array}"
        other = type(self)(name, self.store, self.index, self.check_crc, array)
        if other.modality.timestamps > self.modality.timestamps:
            other = other.showing(self.modality.timestamps)
        return other if self.order is None else other.ordered(self.order)

    def spec(self, sample: int) -> ArraySpec:
        """Array header of a sample."""
        return self.specs[int(self.index.layout[sample])]

    def whole_timestamps(self, sample: int) -> bool:
        """See `ChunkedSource.whole_timestamps`."""
        return self.spec(sample).whole_timestamps

    def chunks(self, samples: NDArray[np.int64], wanted: NDArray[np.bool_]) -> Chunks:
        """See `ChunkedSource.chunks`."""
        if self.order is None:
            return self._in_stored_order(samples, wanted)
        order = self.order[samples].astype(np.int64)
        stored = np.zeros_like(wanted)
        np.put_along_axis(stored, order, wanted, axis=1)
        found = self._in_stored_order(samples, stored)
        self._number_anew(found.rows, np.argsort(order, axis=1))
        by = np.lexsort([found.rows[name] for name in ("cell", "timestamp", "slot")])
        return Chunks(found.rows[by], found.starts)

    def _number_anew(self, rows: NDArray[np.void], places: NDArray[np.int64]) -> None:
        """Let rows say which timestamp is the first of theirs; `places` ``[B, T]`` says which one
        each stored timestamp of a slot is."""
        depth = np.array([spec.chunks[0] for spec in self.specs])[rows["layout"]]
        slot, stored = rows["slot"], rows["timestamp"].copy()
        first = places[slot, stored]
        for more in range(1, int(depth.max(initial=1))):
            inside = (more < depth) & (stored + more < places.shape[1])
            also = places[slot[inside], stored[inside] + more]
            first[inside] = np.minimum(first[inside], also)
        rows["timestamp"] = first

    def _in_stored_order(self, samples: NDArray[np.int64], wanted: NDArray[np.bool_]) -> Chunks:
        """As `chunks`, with timestamps as they are stored."""
        layouts = self.index.layout[samples]
        if len(self.specs) == 1 or (layouts == layouts[:1]).all():
            slots = np.arange(len(samples))
            rows = self._chunks_of(int(layouts[0]) if len(layouts) else 0, slots, samples, wanted)
        else:
            parts = []
            for layout in np.unique(layouts).tolist():
                slots = np.flatnonzero(layouts == layout)
                parts.append(self._chunks_of(layout, slots, samples[slots], wanted[slots]))
            rows = np.concatenate(parts)
            rows = rows[np.argsort(rows["slot"], kind="stable")]
        starts = np.searchsorted(rows["slot"], np.arange(len(samples) + 1))
        return Chunks(rows, starts)

    def _chunks_of(
        self,
        layout: int,
        slots: NDArray[np.int64],
        samples: NDArray[np.int64],
        wanted: NDArray[np.bool_],
    ) -> NDArray[np.void]:
        """`CHUNK` rows of samples ``[b]`` that share a layout and go to `slots` ``[b]``."""
        spec, places = self.specs[layout], self.index.chunks
        depth, each = spec.chunks[0], int(np.prod(spec.grid[1:]))
        plain = spec.whole_timestamps and spec.disk_dtype.isnative and spec.codec.is_frame
        plain = plain and self.modality.picked is None  # a device knows whole timestamps only
        rows, cells = np.empty(count_cells(wanted, depth) * each, CHUNK), self._cells[layout]
        first = self.index.first[samples] + self._before[layout]
        fill_cells(wanted, depth, each, cells, slots, first, places, layout, plain, rows)
        return rows if self.modality.picked is None else rows[self._shows(spec, rows["cell"])]

    def _shows(self, spec: ArraySpec, cell: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Which cells ``[n]`` of the grid hold a band that is picked."""
        groups = np.zeros(spec.grid[1], bool)
        groups[[band // spec.chunks[1] for band in self.modality.picked or ()]] = True
        return groups[cell // int(np.prod(spec.grid[2:])) % spec.grid[1]]

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
        spec, picked = self.spec(sample), self.modality.picked
        for row, packed in zip(rows, data, strict=True):
            try:
                content = self._checked(row, packed, stages)
                start = perf_counter()
                if spec.whole_timestamps:
                    target = out[timestamps.index(int(row["timestamp"]))]
                    decode_timestamp(spec, content, target, picked)
                else:
                    stored = self._stored_timestamps(sample, timestamps)
                    decode_part(spec, int(row["cell"]), content, stored, out, picked)
                stages.decode += perf_counter() - start
            except ValueError as error:
                raise self.error(sample, row, str(error)) from error
            stages.bytes_in += int(row["stored"])
        if not spec.disk_dtype.isnative:
            out.byteswap(inplace=True)
        stages.bytes_out += out.nbytes

    def _stored_timestamps(self, sample: int, timestamps: Sequence[int]) -> Sequence[int]:
        if self.order is None:
            return timestamps
        stored: list[int] = self.order[sample, list(timestamps)].tolist()
        return stored

    def _checked(
        self, row: np.void, data: NDArray[np.uint8] | None, stages: Stages
    ) -> NDArray[np.uint8] | bytes | None:
        """Content of the zip member, its CRC-32 compared with the zip directory's."""
        if data is None:
            return None
        start = perf_counter()
        content = inflate(data, int(row["size"])) if row["method"] == DEFLATED else data
        if self.check_crc and crc32(content) != row["crc"]:
            raise ValueError(CRC_FAULT)
        stages.read += perf_counter() - start
        return content

    def error(self, sample: int, row: np.void, reason: str | DataError) -> DataError:
        """See `ChunkedSource.error`."""
        spec = self._stored[int(self.index.layout[sample])]
        grid = np.unravel_index(int(row["cell"]), spec.grid)
        name = self._member(sample, spec, [int(i) for i in grid])
        kind = type(reason) if isinstance(reason, DataError) else DataError
        text = reason.reason if isinstance(reason, DataError) else reason
        path = self.store.path(self.files[row["file"]])
        return kind(path, name, int(row["offset"]), text)

    def _member(self, sample: int, spec: ArraySpec, grid: Sequence[int]) -> str:
        """Name of a chunk in its shard."""
        chunk = spec.separator.join(map(str, grid)) or "0"
        key = self.index.key[sample].decode()
        return f"{key}{self.index.ending}.zarr.zip/{self.array}/{chunk}"


def _chunks_before(layout: str, array: str) -> int:
    """How many chunks of other arrays come before those of one in the rows of a sample."""
    specs = specs_of(layout)
    names = list(specs)
    return sum(int(np.prod(specs[n].grid)) for n in names[: names.index(array)])
