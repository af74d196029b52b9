"""A source of images that lie one after the other in raw tensors, at known places of files."""

import math
from collections.abc import Sequence
from functools import cached_property
from itertools import groupby
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastload.bands import pick
from fastload.datasets.source import CHUNK, OTHER, ChunkedSource, Chunks, Columns, Modality
from fastload.profile import Stages
from fastload.storage.cell_scan import PART, PTH, Stack, stacks_of
from fastload.storage.checksum import CRC_FAULT, crc32
from fastload.storage.errors import DataError
from fastload.storage.formats.tensors import place, shown_dtype, span, strided
from fastload.storage.formats.zip import STORED
from fastload.storage.index import Index
from fastload.storage.store import Store

_BLOCK = 2**20
"""Bytes of a member that are compared at once."""


class Images(NamedTuple):
    """Which images of a modality the samples show.

    Attributes:
        row: int64 ``[N]``, of each sample in the index.
        number: int32 ``[N, T]``, of each timestamp among the images of its cell, patches before
            dates; -1 where there is none.
    """

    row: NDArray[np.int64]
    number: NDArray[np.int32]


class Run(NamedTuple):
    """Bands that are read together: the first stored one, how many, and where they are shown."""

    first: int
    bands: int
    shown: list[tuple[int, int]]
    """Pairs of the place in the batch, and in the run."""


class TensorSource(ChunkedSource):
    """Images ``[C, H, W]`` of grid cells, each read alone, or only its bands that are shown.

    A chunk is a range of a stored member. The member's CRC-32 tells nothing of a part of it, so
    that a damaged value can be noticed only where one image is all of its member; for the others
    `check` compares whole members, which ``fastload verify`` does.

    Args:
        name: of the modality, as the members have it.
        store: holds the tars.
        index: of them, see `cell_scan`.
        images: those that the samples show.
        columns: of the samples.
        check_crc: compare an image that is all of its member with the CRC-32 of its zip directory.
        names: of the stored bands; none where nobody knows.
        bands: names of those to show, in this order; all as stored by default.
        ground: see `Modality`.

    Raises:
        DataError: where cells differ in the images' shape or dtype, or the index is damaged.
        ValueError: lists the names, where one of `bands` is unknown.
    """

    by_date = False  # one patch comes after the other, and nobody promises more

    def __init__(
        self,
        name: str,
        store: Store,
        index: Index,
        images: Images,
        columns: Columns,
        check_crc: bool = True,
        names: tuple[str, ...] = (),
        bands: Sequence[str] | None = None,
        ground: tuple[float, float] | None = None,
    ) -> None:
        self.store, self.index, self.images, self.columns = store, index, images, columns
        self.check_crc = check_crc
        self.files = [shard.name for shard in index.shards]
        self.sizes = np.array([shard.size for shard in index.shards], np.int64)
        self.stacks, self._stack = self._found(name)
        self.modality = self._modality(name, names, bands, ground)
        self._runs = _runs(self.stacks, self.modality)
        self._places = _Places(self.stacks, self._runs)
        self._row = index.first[images.row] + self._before(name)
        self._check()
        self.chunks_a_timestamp = len(self._runs)
        self.largest = int(self._places.stored.max())

    def _found(self, name: str) -> tuple[list[Stack], NDArray[np.int64]]:
        """How cells keep the modality, and which way each sample's cell does."""
        layouts, number = np.unique(self.index.layout[self.images.row], return_inverse=True)
        each = [stacks_of(self.index.layouts[n])[name] for n in layouts]
        distinct = list(dict.fromkeys(each))
        return distinct, np.array([distinct.index(stack) for stack in each], np.int64)[number]

    def _before(self, name: str) -> NDArray[np.int64]:
        """How many chunks of its cell come before a sample's."""
        names = [list(stacks_of(layout)) for layout in self.index.layouts]
        before = np.array([n.index(name) if name in n else 0 for n in names], np.int64)
        return before[self.index.layout[self.images.row]]

    def _modality(
        self, name: str, names: tuple[str, ...], bands: Sequence[str] | None,
        ground: tuple[float, float] | None,
    ) -> Modality:  # fmt: skip
        kinds = {(stack.image, stack.dtype) for stack in self.stacks}
        if len(kinds) != 1:
            reason = f"cells differ in the shape or dtype of {name}: {sorted(kinds)}"
            raise DataError(self.store.place, "", -1, reason)
        [((C, H, W), dtype)] = kinds
        T, known = self.images.number.shape[1], names if len(names) == C else ()
        picked = pick(bands, known, f"{name} in {self.store.place}")
        shape = (T, C if picked is None else len(picked), H, W)
        shown = known if picked is None else tuple(known[i] for i in picked)
        stored = None if picked is None else C
        return Modality(name, *shape, shown_dtype(dtype), shown, None, picked, stored, ground)

    def _check(self) -> None:
        """Nothing that a damaged index says may reach beyond a member."""
        stored = np.array([stack.nbytes for stack in self.stacks])[self._stack]
        images = np.array([math.prod(stack.shape[:2]) for stack in self.stacks])[self._stack]
        fits = (self.index.chunks["stored"][self._row] == stored).all()
        if not fits or (self.images.number >= images[:, None]).any():
            reason = f"its index does not fit the tensors of {self.modality.name}"
            raise DataError(self.store.place, "", -1, reason)

    def whole_timestamps(self, sample: int) -> bool:
        """See `ChunkedSource.whole_timestamps`."""
        return len(self._runs) == 1

    def chunks(self, samples: NDArray[np.int64], wanted: NDArray[np.bool_]) -> Chunks:
        """See `ChunkedSource.chunks`."""
        slot, timestamp = np.nonzero(wanted)
        number = self.images.number[samples[slot], timestamp].astype(np.int64)
        slot, timestamp, number = (a[number >= 0] for a in (slot, timestamp, number))
        member = self.index.chunks[self._row[samples[slot]]]
        stack, R = self._stack[samples[slot]], len(self._runs)
        stored = self._places.stored[stack]
        whole = (member["method"][:, None] == STORED) & (stored == member["stored"][:, None])
        rows = np.zeros((len(slot), R), CHUNK)
        rows["slot"], rows["timestamp"] = slot[:, None], timestamp[:, None]
        rows["cell"] = timestamp[:, None] * R + np.arange(R)
        rows["file"], rows["layout"] = member["file"][:, None], stack[:, None]
        rows["offset"] = self._places.of(stack, number) + member["offset"].astype(np.int64)[:, None]
        rows["stored"] = rows["size"] = stored
        rows["method"], rows["codec"] = np.where(whole, STORED, PART), OTHER
        rows["crc"] = np.where(whole, member["crc"][:, None], 0)
        starts = np.searchsorted(slot, np.arange(len(samples) + 1)) * R
        return Chunks(rows.reshape(-1), starts)

    def decode(
        self,
        sample: int,
        rows: NDArray[np.void],
        data: Sequence[NDArray[np.uint8] | None],
        timestamps: Sequence[int],
        out: NDArray[Any],
        stages: Stages,
    ) -> None:
        """See `ChunkedSource.decode`: values are copied, to native byte order and their places."""
        stack = self.stacks[self._stack[sample]]
        for row, part in zip(rows, data, strict=True):
            try:
                self._check_sum(row, part, stages)
                start = perf_counter()
                run = self._runs[int(row["cell"]) % len(self._runs)]
                _decode(stack, run, part, out[timestamps.index(int(row["timestamp"]))])
                stages.decode += perf_counter() - start
            except ValueError as error:
                raise self.error(sample, row, str(error)) from error
            stages.bytes_in += int(row["stored"])
        stages.bytes_out += out.nbytes

    def check(self, sample: int) -> None:
        """Compare the whole member with its CRC-32, once for all samples that are of it.

        Raises:
            DataError: where it differs.
        """
        member, found = self.index.chunks[self._row[sample]], 0
        if member["method"] == PART or not self._are_first[sample]:
            return
        file, offset, left = int(member["file"]), int(member["offset"]), int(member["stored"])
        name, size, block = self.files[file], int(self.sizes[file]), np.empty(_BLOCK, np.uint8)
        for at in range(0, left, _BLOCK):
            part = block[: min(_BLOCK, left - at)]
            self.store.fetch(name, size, offset + at, part)
            found = crc32(part, found)
        if found != member["crc"]:
            raise self.error(sample, member, CRC_FAULT)

    @cached_property
    def _are_first(self) -> NDArray[np.bool_]:
        """Which samples are the first of their member."""
        out = np.zeros(len(self), bool)
        out[np.unique(self._row, return_index=True)[1]] = True
        return out

    def _check_sum(self, row: np.void, data: NDArray[np.uint8] | None, stages: Stages) -> None:
        if not self.check_crc or row["method"] == PART or data is None:
            return
        start = perf_counter()
        if crc32(data) != row["crc"]:
            raise ValueError(CRC_FAULT)
        stages.read += perf_counter() - start

    def error(self, sample: int, row: np.void, reason: str | DataError) -> DataError:
        """See `ChunkedSource.error`."""
        key = self.index.key[self.images.row[sample]].decode()
        kind = type(reason) if isinstance(reason, DataError) else DataError
        text = reason.reason if isinstance(reason, DataError) else reason
        path = self.store.path(self.files[row["file"]])
        return kind(path, f"{key}.{self.modality.name}{PTH}", int(row["offset"]), text)


class _Places:
    """Where images and their runs of bands lie, for S stacks and R runs.

    Attributes:
        stored: int64 ``[S, R]``, bytes of a run.
    """

    def __init__(self, stacks: Sequence[Stack], runs: Sequence[Run]) -> None:
        size = np.array([stack.disk_dtype.itemsize for stack in stacks], np.int64)[:, None]
        stride = np.array([stack.stride for stack in stacks], np.int64) * size
        self._dates = np.array([stack.shape[1] for stack in stacks], np.int64)
        self._patch, self._date = stride[:, 0], stride[:, 1]
        self._start = np.array([run.first for run in runs], np.int64) * stride[:, 2:3]
        spans = [[span((r.bands, *s.image[1:]), s.stride[2:]) for r in runs] for s in stacks]
        self.stored = np.array(spans, np.int64) * size

    def of(self, stack: NDArray[np.int64], number: NDArray[np.int64]) -> NDArray[np.int64]:
        """Bytes ``[n, R]`` from a stack's first value to the runs of its images ``[n]``."""
        patch, date = np.divmod(number, self._dates[stack])
        image = patch * self._patch[stack] + date * self._date[stack]
        return np.asarray(image[:, None] + self._start[stack])


def _runs(stacks: Sequence[Stack], modality: Modality) -> list[Run]:
    """Bands that lie side by side are read at once; all, where they lie between each other."""
    bands = modality.stored_bands or modality.bands
    picked = modality.picked or tuple(range(bands))
    stored = sorted(picked)
    if any(s.stride[2] < span(s.image[1:], s.stride[3:]) for s in stacks):
        groups = [list(range(stored[0], stored[-1] + 1))]
    else:
        neighbours = groupby(enumerate(stored), lambda pair: pair[1] - pair[0])
        groups = [[band for _, band in pairs] for _, pairs in neighbours]
    return [
        Run(g[0], len(g), [(c, band - g[0]) for c, band in enumerate(picked) if band in g])
        for g in groups
    ]


def _decode(stack: Stack, run: Run, data: NDArray[np.uint8] | None, out: NDArray[Any]) -> None:
    """Put a run's bands into an image ``[C, H, W]``."""
    if data is None:
        raise ValueError("there are no bytes")
    shape = (run.bands, *stack.image[1:])
    values = strided(data, stack.disk_dtype, shape, stack.stride[2:])
    if run.shown == [(c, c) for c in range(len(out))]:
        place(values, stack.dtype, out)
        return
    for c, band in run.shown:
        place(values[band], stack.dtype, out[c])
