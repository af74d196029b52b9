"""A source of zarr groups in zips, ``[T, C, H, W]`` each, that lie in the tars of a store."""

import threading
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from time import perf_counter
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fastload.bands import names_of, pick
from fastload.datasets.cells import count_cells, fill_cells
from fastload.datasets.source import CHUNK, ChunkedSource, Chunks, Columns, Modality, Source
from fastload.profile import Stages
from fastload.storage.checksum import CRC_FAULT, crc32
from fastload.storage.errors import DataError
from fastload.storage.formats.codecs import inflate
from fastload.storage.formats.zarr import ArraySpec
from fastload.storage.formats.zip import DEFLATED
from fastload.storage.group import BANDS, band_names, specs_of
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

    Attributes:
        order: int8 ``[N, T]``, which stored timestamp each one is; None: in the order stored.

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
    ) -> None:
        self.store, self.index, self.check_crc, self.array = store, index, check_crc, array
        self.files = [shard.name for shard in index.shards]
        self.sizes = np.array([shard.size for shard in index.shards], np.int64)
        self.largest = max(shard.largest for shard in index.shards)
        self._stored = [self._spec_of(number) for number in range(len(index.layouts))]
        self.specs = [_with_bands(spec) for spec in self._stored]
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
            some = column[:, :T]
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
        )

    def ordered(self, order: NDArray[np.int8]) -> Self:
        """The same samples with their timestamps in another order, a permutation of each sample's
        ``[N, T]``: entry t says which stored timestamp is t."""
        other = copy(self)
        other.order = order
        other.columns = other._columns()
        return other

    def _modality(self, name: str, asked: Sequence[str] | None) -> Modality:
        shapes = {(spec.shape, spec.dtype.str) for spec in self.specs}
        if len(shapes) != 1:
            reason = f"samples differ in shape or dtype: {sorted(shapes)}"
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
        plain = spec.whole_timestamps and spec.disk_dtype.isnative and spec.codec.name == "blosc"
        plain = plain and self.modality.picked is None  # a device knows whole timestamps only
        rows = np.empty(count_cells(wanted, depth) * each, CHUNK)
        first = self.index.first[samples] + self._before[layout]
        fill_cells(wanted, depth, each, slots, first, places, layout, plain, rows)
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
                    _decode_timestamp(spec, content, target, picked)
                else:
                    stored = self._stored_timestamps(sample, timestamps)
                    _decode_part(spec, int(row["cell"]), content, stored, out, picked)
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
        name = f"{self.array}/" + spec.separator.join(str(int(i)) for i in grid)
        key = self.index.key[sample].decode()
        kind = type(reason) if isinstance(reason, DataError) else DataError
        text = reason.reason if isinstance(reason, DataError) else reason
        path = self.store.path(self.files[row["file"]])
        return kind(path, f"{key}.zarr.zip/{name}", int(row["offset"]), text)


def _with_bands(spec: ArraySpec) -> ArraySpec:
    """An array ``[T, H, W]`` as ``[T, 1, H, W]``, of which the bytes are the same."""
    if len(spec.shape) == 4:
        return spec
    shape, chunks = ((*sizes[:1], 1, *sizes[1:]) for sizes in (spec.shape, spec.chunks))
    return replace(spec, shape=shape, chunks=chunks)


def _chunks_before(layout: str, array: str) -> int:
    """How many chunks of other arrays come before those of one in the rows of a sample."""
    specs = specs_of(layout)
    names = list(specs)
    return sum(int(np.prod(specs[n].grid)) for n in names[: names.index(array)])


class _Scratch(threading.local):
    """A thread's own memory for bands of which some are shown."""

    memory = np.empty(0, np.uint8)

    def take(self, nbytes: int) -> NDArray[np.uint8]:
        """So many bytes, until the thread asks again."""
        if len(self.memory) < nbytes:
            self.memory = np.empty(nbytes, np.uint8)
        return self.memory[:nbytes]


_SCRATCH = _Scratch()


def _decode_timestamp(
    spec: ArraySpec, content: Any, out: NDArray[Any], picked: Sequence[int] | None
) -> None:
    """Decode a chunk that is one whole timestamp straight to where it belongs, if all of it is."""
    if content is None:
        out[...] = spec.fill_value if spec.disk_dtype.isnative else _swapped(spec)
    elif picked is None:
        spec.codec.decode(content, out.reshape(-1).view(np.uint8))
    else:
        whole = _SCRATCH.take(spec.chunk_bytes)
        spec.codec.decode(content, whole)
        np.take(whole.view(spec.dtype).reshape(spec.shape[1:]), picked, 0, out, "clip")


def _swapped(spec: ArraySpec) -> Any:
    """The fill value with its bytes swapped, because all of the array will be swapped back."""
    return np.asarray(spec.fill_value, spec.dtype).byteswap()[()]


def _decode_part(
    spec: ArraySpec,
    cell: int,
    content: Any,
    timestamps: Sequence[int],
    out: NDArray[Any],
    picked: Sequence[int] | None,
) -> None:
    """Decode a chunk of any grid and spread it over the timestamps that it holds part of."""
    if content is None:
        chunk = np.full(spec.chunks, spec.fill_value, spec.dtype)
        chunk = chunk if spec.disk_dtype.isnative else chunk.byteswap()
    else:
        buffer = np.empty(spec.chunk_bytes, np.uint8)
        spec.codec.decode(content, buffer)
        chunk = buffer.view(spec.dtype).reshape(spec.chunks, order=spec.order)
    grid = np.unravel_index(cell, spec.grid)
    starts = [int(g) * c for g, c in zip(grid, spec.chunks, strict=True)]
    box = tuple(slice(s, s + c) for s, c in zip(starts[2:], spec.chunks[2:], strict=True))
    bands = range(spec.shape[1]) if picked is None else picked
    shown = [(c, b - starts[1]) for c, b in enumerate(bands) if 0 <= b - starts[1] < spec.chunks[1]]
    for j, t in enumerate(timestamps):
        if not 0 <= t - starts[0] < spec.chunks[0]:
            continue
        for c, b in shown:
            target = out[j, c][box]
            target[...] = chunk[t - starts[0], b][: target.shape[0], : target.shape[1]]
