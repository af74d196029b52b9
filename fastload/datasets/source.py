"""The seam between layouts and engines: one modality on disk, its columns and its pixels."""

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastload.bands import Shown, names_of
from fastload.profile import Stages
from fastload.storage.errors import DataError
from fastload.storage.store import Ranges, Store


@dataclass(frozen=True)
class Modality:
    """What the samples of a modality look like: ``[timestamps, bands, height, width]``."""

    name: str
    timestamps: int
    bands: int
    height: int
    width: int
    dtype: np.dtype[Any]
    band_names: tuple[str, ...]
    fill_value: float | None = None
    """What a pixel holds where nothing was seen, as far as the layout says."""
    picked: tuple[int, ...] | None = None
    """Where each band stands among the stored ones; None where all are shown as they are stored."""
    stored_bands: int | None = None
    """How many bands are stored, where some are picked."""
    ground: tuple[float, float] | None = None
    """Height and width in metres that the image covers, where the layout says it; modalities on
    other grids share a crop by it."""

    @property
    def absent(self) -> float:
        """What the pixels of a date are that a sample does not have: the fill value, or else 0."""
        return 0.0 if self.fill_value is None else self.fill_value

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """``(T, C, H, W)``."""
        return self.timestamps, self.bands, self.height, self.width

    @property
    def shown(self) -> Shown:
        """The bands, as statistics look theirs up."""
        names = names_of(self.name, self.band_names, self.bands)
        return Shown(self.bands, names, self.picked, self.stored_bands or self.bands)

    @property
    def plane_bytes(self) -> int:
        """Bytes of one decoded timestamp."""
        return self.bands * self.height * self.width * self.dtype.itemsize


@dataclass(frozen=True)
class Columns:
    """What is known of N samples without reading pixels.

    Attributes:
        key: bytes ``[N]``, UTF-8, each once.
        lon, lat: float64 ``[N]``, degrees.
        time: int64 ``[N, T]``, ns since 1970; `storage.dates.NO_TIME` where unknown.
        cloud: float32 ``[N, T]``, share of cloudy pixels; NaN where unknown.
        group: uint32 ``[N]``, samples that lie together on disk; what block shuffle mixes.
        extra: further columns by name, ``[N]`` or ``[N, T]``: int64, float64 or bytes (UTF-8); or
            vectors of numbers ``[N, 1, K]``.
        dates: int32 ``[N]``, from 1 to T: how many of the modality's T timestamps a sample has, the
            first ones; None where all have T. The time of the others is `NO_TIME`.
    """

    key: NDArray[np.bytes_]
    lon: NDArray[np.float64]
    lat: NDArray[np.float64]
    time: NDArray[np.int64]
    cloud: NDArray[np.float32]
    group: NDArray[np.uint32]
    extra: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    dates: NDArray[np.int32] | None = None


class Kinds(NamedTuple):
    """That the samples of one modality obey different statistics.

    Attributes:
        names: what statistics call each kind, such as S1GRD and S1RTC.
        of: int8 ``[N]``, which kind each sample is of.
    """

    names: tuple[str, ...]
    of: NDArray[np.int8]


class Source(ABC):
    """One modality on disk, its samples numbered from 0.

    Obligations. `modality` and `columns` are there after the constructor and never change. `read`
    is called by many threads at once, with any sample, in any order; it keeps no state that they
    share without a lock, holds no file open outside of a `Store`, and raises `DataError` (or
    `StorageError`) for a sample that cannot be had, naming shard, member, offset and reason: such a
    sample may be replaced. Any other error ends the run. A source pickles, and reads the same in
    another process.

    Where samples have fewer dates than T (`Columns.dates`), nobody asks a source for those that a
    sample lacks: `read_dates` and the engines put `Modality.absent` there. So a source need not
    know of it beyond the column.
    """

    modality: Modality
    columns: Columns
    kinds: Kinds | None = None
    """Where samples obey the statistics of different modalities, which ones."""
    by_date = True
    """Whether the dates of a sample ascend, unless something is wrong with them."""

    def __len__(self) -> int:
        """How many samples there are."""
        return len(self.columns.key)

    def beside(self) -> "Mapping[str, Source]":
        """Further arrays of the very same samples, such as a cloud mask, that go with them where
        they are packed anew: sources with the same rows, by the array's name."""
        return {}

    @abstractmethod
    def read(
        self, sample: int, timestamps: Sequence[int], out: NDArray[Any], stages: Stages
    ) -> None:
        """Decode some timestamps of a sample.

        Args:
            sample: from 0 to N - 1.
            timestamps: from 0 to T - 1, ascending, each once; of the sample's own dates.
            out: C-contiguous ``[len(timestamps), C, H, W]`` of the modality's dtype, which the
                caller owns; receives the pixels in the units on disk.
            stages: the calling thread's clock.
        """

    def check(self, sample: int) -> None:  # noqa: B027  # most have nothing to do
        """What only a whole look at a sample's files tells, beyond what `read` does; by default
        nothing. ``fastload verify`` calls it once a sample.

        Raises:
            DataError: where something is damaged.
        """


def read_dates(
    source: Source, sample: int, timestamps: Sequence[int], out: NDArray[Any], stages: Stages
) -> None:
    """As `Source.read`, with `Modality.absent` for the timestamps that the sample does not have."""
    dates = source.columns.dates
    there = len(timestamps) if dates is None else bisect_left(timestamps, int(dates[sample]))
    if there:
        source.read(sample, timestamps[:there], out[:there], stages)
    if there < len(timestamps):
        out[there:] = source.modality.absent


CHUNK = np.dtype(
    [(name, "<i4") for name in ("slot", "timestamp", "cell", "file")]
    + [(name, "<i8") for name in ("offset", "stored", "size")]
    + [("crc", "<u4"), ("method", "u1"), ("codec", "u1"), ("layout", "<u2")]
)
"""A chunk that a batch needs: which slot of the batch wants it; the first timestamp in it, as the
source numbers them, which need not be how they are stored; its number in the sample's chunk grid;
where its bytes lie and how many (0: there are none, and all is fill value); bytes and CRC-32 of
what a zip stored there, and by which zip method; `FRAME` or `OTHER`; the sample's layout."""

OTHER, FRAME = 0, 1
"""Codecs: what only the source can decode, or one Blosc frame of one whole timestamp."""


@dataclass(frozen=True)
class Chunks:
    """The chunks of a batch.

    Attributes:
        rows: `CHUNK` ``[n]``, by slot, within it by timestamp, and then in the order of the grid.
        starts: int64 ``[B + 1]``; those of slot b are from ``starts[b]`` to before
            ``starts[b + 1]``.
    """

    rows: NDArray[np.void]
    starts: NDArray[np.int64]


class ChunkedSource(Source):
    """A source whose pixels lie in chunks of bytes at known places.

    Movers can then carry the bytes of a whole batch, and a GPU can decode those that are a `FRAME`.

    Attributes:
        store: holds the files.
        files: their names; `CHUNK`'s `file` points here.
        sizes: int64, the bytes that each had when it was indexed.
        largest: bytes of the largest stored chunk, and
        chunks_a_timestamp: how many chunks hold one timestamp; they bound the memory of a batch.
        check_crc: whether stored bytes must match their CRC-32.
    """

    store: Store
    files: Sequence[str]
    sizes: NDArray[np.int64]
    largest: int
    chunks_a_timestamp: int
    check_crc: bool

    @abstractmethod
    def chunks(self, samples: NDArray[np.int64], wanted: NDArray[np.bool_]) -> Chunks:
        """The chunks that hold some timestamps of some samples; no others. Array work alone.

        Args:
            samples: ``[B]``, which may repeat.
            wanted: ``[B, T]``, of the samples' own dates.

        Raises:
            DataError: where the index is damaged.
        """

    @abstractmethod
    def decode(
        self,
        sample: int,
        rows: NDArray[np.void],
        data: Sequence[NDArray[np.uint8] | None],
        timestamps: Sequence[int],
        out: NDArray[Any],
        stages: Stages,
    ) -> None:
        """Check and decode chunks of one sample.

        Args:
            sample: theirs.
            rows: `CHUNK`, some of those that `chunks` gave for the sample.
            data: stored bytes of each; None where there are none.
            timestamps, out, stages: as of `read`. Only what the chunks hold is written.
        """

    @abstractmethod
    def whole_timestamps(self, sample: int) -> bool:
        """Whether each chunk of a sample is one whole timestamp."""

    @abstractmethod
    def error(self, sample: int, row: np.void, reason: str | DataError) -> DataError:
        """The error of a chunk, with its member's name."""

    def read(
        self, sample: int, timestamps: Sequence[int], out: NDArray[Any], stages: Stages
    ) -> None:
        """See `Source.read`."""
        wanted = np.zeros((1, self.modality.timestamps), bool)
        wanted[0, list(timestamps)] = True
        rows = self.chunks(np.array([sample]), wanted).rows
        buffer = np.empty(int(rows["stored"].sum()), np.uint8)
        data = self.fetch(sample, rows, buffer, stages)
        self.decode(sample, rows, data, timestamps, out, stages)

    def fetch(
        self, sample: int, rows: NDArray[np.void], buffer: NDArray[np.uint8], stages: Stages
    ) -> list[NDArray[np.uint8] | None]:
        """Read chunks of one sample one after the other into `buffer`; their bytes there.

        Raises:
            DataError: names the first chunk that cannot be read.
        """
        start, at = perf_counter(), 0
        data: list[NDArray[np.uint8] | None] = []
        if self.store.far:
            data = self._fetch_together(sample, rows, buffer)
            rows = rows[:0]
        for row in rows:
            stored, file = int(row["stored"]), int(row["file"])
            out = buffer[at : at + stored]
            at += stored
            data.append(out if stored else None)
            if stored:
                try:
                    self.store.fetch(
                        self.files[file], int(self.sizes[file]), int(row["offset"]), out
                    )
                except DataError as error:
                    raise self.error(sample, row, error) from error
        stages.read += perf_counter() - start
        return data

    def _fetch_together(
        self, sample: int, rows: NDArray[np.void], buffer: NDArray[np.uint8]
    ) -> list[NDArray[np.uint8] | None]:
        """As `fetch`, in one call of the store."""
        stored = rows["stored"].astype(np.int64)
        ends = np.cumsum(stored)
        address = buffer.ctypes.data + ends - stored
        ranges = Ranges(rows["file"].astype(np.int32), rows["offset"].astype(np.int64), stored,
                        address)  # fmt: skip
        failures = self.store.read_ranges(self.files, self.sizes, ranges)
        for i in sorted(failures):
            raise self.error(sample, rows[i], failures[i]) from failures[i]
        spans = zip((ends - stored).tolist(), ends.tolist(), strict=True)
        return [buffer[a:b] if b > a else None for a, b in spans]
