"""What every `fastload.datasets.source.Source` must do."""

import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from fastload import Radiometry, Recipe, View
from fastload.datasets.base import Dataset
from fastload.datasets.source import CHUNK, FRAME, OTHER, ChunkedSource, Source, read_dates
from fastload.engines.batch import draw, look_up, most_bytes
from fastload.profile import Stages
from fastload.statistics import statistics
from fastload.storage.dates import NO_TIME
from fastload.storage.errors import DataError

Pixels = NDArray[Any]
GUARD = 0xAB


class Damaged(NamedTuple):
    """A source with one sample that cannot be read; all others are sound."""

    source: Source
    sample: int
    timestamp: int
    """One that is damaged."""


def subsets(T: int) -> Iterator[list[int]]:
    """Every way to ask for some of T timestamps."""
    for count in range(1, T + 1):
        yield from map(list, combinations(range(T), count))


def own(source: Source, samples: NDArray[np.int64], wanted: Any = True) -> NDArray[np.bool_]:
    """Timestamps ``[B, T]`` that are wanted of samples ``[B]``, of those that they have."""
    T, dates = source.modality.timestamps, source.columns.dates
    each = np.full(len(samples), T) if dates is None else dates[samples]
    return np.asarray((np.arange(T) < each[:, None]) & wanted)


def dates_of(source: Source, sample: int) -> list[int]:
    """The timestamps that a sample has."""
    return np.flatnonzero(own(source, np.array([sample]))[0]).tolist()


def read(source: Source, sample: int, timestamps: list[int], way: Any = None) -> Pixels:
    """What a source reads, into memory that is full of something else, with guards around."""
    m = source.modality
    shape = (len(timestamps), *m.shape[1:])
    size = len(timestamps) * m.plane_bytes
    memory = np.full(size + 128, GUARD, np.uint8)
    out = memory[64 : 64 + size].view(m.dtype).reshape(shape)
    if way is None:
        source.read(sample, timestamps, out, Stages())
    else:
        way(source, sample, timestamps, out, Stages())
    assert (np.delete(memory, np.s_[64 : 64 + size]) == GUARD).all()
    return out


def same(actual: Pixels, expected: Pixels) -> None:
    """Bit for bit, not-a-number included."""
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
    assert actual.tobytes() == expected.tobytes()


class SourceTests:
    """Subclass it and give `make`."""

    def make(self, tmp_path: Path) -> tuple[Source, Pixels]:
        """A source of a few samples, and all their pixels ``[N, T, C, H, W]``."""
        raise NotImplementedError

    def damaged(self, tmp_path: Path) -> Damaged | None:
        """A source of a place that is damaged; None where there is no such thing."""
        return None

    @pytest.fixture
    def made(self, tmp_path: Path) -> tuple[Source, Pixels]:
        return self.make(tmp_path)

    @pytest.fixture
    def source(self, made: tuple[Source, Pixels]) -> Source:
        return made[0]

    @pytest.fixture
    def pixels(self, made: tuple[Source, Pixels]) -> Pixels:
        return made[1]

    @pytest.fixture
    def broken(self, tmp_path: Path) -> Damaged:
        found = self.damaged(tmp_path / "damaged")
        if found is None:
            pytest.skip("no damaged variant")
        return found

    def test_the_modality_says_what_samples_look_like(self, source: Source, pixels: Pixels) -> None:
        """`modality`: the shape, dtype and bands of what `read` gives."""
        m = source.modality
        assert len(source) == len(pixels) >= 2
        assert m.shape == pixels.shape[1:]
        assert m.dtype == pixels.dtype
        assert m.dtype.isnative
        assert len(m.band_names) in (0, m.bands)
        assert m.plane_bytes == pixels[0, 0].nbytes

    def test_columns_describe_every_sample(self, source: Source) -> None:
        """`columns`: one row a sample, in the dtypes of `Columns`; keys are there once."""
        N, T, c = len(source), source.modality.timestamps, source.columns
        assert c.key.dtype.kind == "S"
        assert len(set(c.key.tolist())) == len(c.key) == N
        expected = {
            "lon": (np.float64, (N,)), "lat": (np.float64, (N,)), "time": (np.int64, (N, T)),
            "cloud": (np.float32, (N, T)), "group": (np.uint32, (N,)),
        }  # fmt: skip
        for name, (dtype, shape) in expected.items():
            column = getattr(c, name)
            assert (column.dtype, column.shape) == (dtype, shape), name
        if c.dates is not None:
            assert (c.dates.dtype, c.dates.shape) == (np.int32, (N,))
            assert 1 <= c.dates.min() <= c.dates.max() <= T
            assert (c.time[~own(source, np.arange(N))] == NO_TIME).all()

    def test_any_timestamps_of_any_sample_are_read(self, source: Source, pixels: Pixels) -> None:
        """`read`: one, several or all, in the units on disk; into `out` and nowhere else."""
        for sample in reversed(range(len(source))):
            for timestamps in subsets(len(dates_of(source, sample))):
                same(read(source, sample, timestamps), pixels[sample, timestamps])

    def test_what_a_sample_lacks_is_no_data(self, source: Source, pixels: Pixels) -> None:
        """`Columns.dates`: a dataset asks for those dates alone, and fills the others."""
        for sample in range(len(source)):
            for timestamps in subsets(source.modality.timestamps):
                found = read(source, sample, timestamps, read_dates)
                same(found, pixels[sample, timestamps])
            lacking = ~own(source, np.array([sample]))[0]
            absent = np.asarray(source.modality.absent).astype(pixels.dtype)
            np.testing.assert_array_equal(pixels[sample, lacking], absent)

    def test_threads_read_at_once(self, source: Source, pixels: Pixels) -> None:
        """`read` is called by many threads, with any sample, in any order."""
        N, T = pixels.shape[:2]

        def some(seed: int) -> None:
            rng = np.random.default_rng(seed)
            for _ in range(20):
                sample = int(rng.integers(N))
                flags = own(source, np.array([sample]), rng.random(T) < 0.5)[0]
                timestamps = np.flatnonzero(flags).tolist() or [0]
                same(read(source, sample, timestamps), pixels[sample, timestamps])

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(some, range(6)))

    def test_a_pickled_source_reads_the_same(self, source: Source, pixels: Pixels) -> None:
        """A source pickles, also after it has read, with its modality and columns."""
        read(source, 0, [0])
        other = pickle.loads(pickle.dumps(source))
        assert other.modality == source.modality
        for name in ("key", "lon", "lat", "time", "cloud", "group"):
            same(getattr(other.columns, name), getattr(source.columns, name))
        for sample in range(len(source)):
            everything = dates_of(source, sample)
            same(read(other, sample, everything), pixels[sample, everything])

    def test_damage_is_an_error_of_the_data(self, broken: Damaged) -> None:
        """`DataError` with shard, member, offset and reason, from `read` and each time."""
        for _ in range(2):
            with pytest.raises(DataError) as caught:
                read(broken.source, broken.sample, [broken.timestamp])
            error = caught.value
            assert error.shard
            assert error.reason
            assert error.offset >= 0
            assert isinstance(error.member, str)
            assert error.shard in str(error)

    def test_damage_is_of_its_sample_alone(self, broken: Damaged) -> None:
        """All other samples are read."""
        for sample in set(range(len(broken.source))) - {broken.sample}:
            read(broken.source, sample, dates_of(broken.source, sample))


class ChunkedSourceTests(SourceTests):
    """Subclass it for a source that gives chunks, too."""

    frames: int | None = None
    """Which codec all chunks have that are there, `FRAME` or `OTHER`; None for some of each."""

    def wanted(self, source: Source, seed: int, B: int) -> tuple[NDArray[np.int64], Any]:
        """A batch of samples, which repeat, and any timestamps, of some none."""
        rng = np.random.default_rng(seed)
        flags = rng.random((B, source.modality.timestamps)) < 0.5
        if B > 2:
            flags[1] = False
        samples = rng.integers(0, len(source), B)
        return samples, own(source, samples, flags)

    @pytest.fixture
    def source(self, made: tuple[Source, Pixels]) -> ChunkedSource:
        assert isinstance(made[0], ChunkedSource)
        return made[0]

    @pytest.mark.parametrize("B", [0, 1, 2, 7, 40])
    def test_chunks_are_by_slot(self, source: ChunkedSource, B: int) -> None:
        """`chunks`: rows by slot, timestamp, place in the grid; `starts` frames each slot's."""
        samples, wanted = self.wanted(source, B, B)
        given = samples.copy(), wanted.copy()
        chunks = source.chunks(samples, wanted)
        rows, starts = chunks.rows, chunks.starts
        assert rows.dtype == CHUNK
        assert (starts.shape, starts[0], starts[-1]) == ((B + 1,), 0, len(rows))
        assert starts.dtype == np.int64
        for b in range(B):
            mine = rows[starts[b] : starts[b + 1]]
            assert (mine["slot"] == b).all()
            order = list(zip(mine["timestamp"].tolist(), mine["cell"].tolist(), strict=True))
            assert order == sorted(set(order))
        same(samples, given[0])
        same(wanted, given[1])

    def test_a_batchs_chunks_are_those_of_its_samples(self, source: ChunkedSource) -> None:
        """`chunks`: what a sample needs does not depend on the batch, nor on its repetition."""
        samples, wanted = self.wanted(source, 1, 20)
        chunks = source.chunks(samples, wanted)
        for b in range(len(samples)):
            one = source.chunks(samples[b : b + 1], wanted[b : b + 1]).rows
            mine = chunks.rows[chunks.starts[b] : chunks.starts[b + 1]].copy()
            mine["slot"] = 0
            same(mine, one)

    def test_only_wanted_timestamps_have_chunks(self, source: ChunkedSource) -> None:
        """`chunks`: none for none; those of a whole timestamp are exactly the wanted ones."""
        N, T = len(source), source.modality.timestamps
        everything = np.arange(N)
        assert len(source.chunks(everything, np.zeros((N, T), bool)).rows) == 0
        for sample in range(N):
            many = len(dates_of(source, sample))
            each = [
                source.chunks(np.array([sample]), np.arange(T)[None] == t).rows for t in range(many)
            ]
            for timestamps in subsets(many):
                wanted = np.isin(np.arange(T), timestamps)[None]
                rows = source.chunks(np.array([sample]), wanted).rows
                cells = np.unique(np.concatenate([each[t]["cell"] for t in timestamps]))
                assert sorted(rows["cell"].tolist()) == cells.tolist()
                if source.whole_timestamps(sample):
                    assert rows["timestamp"].tolist() == timestamps

    def test_chunks_lie_in_the_stores_files(self, source: ChunkedSource) -> None:
        """`files`, `sizes`: as the store has them; every chunk lies inside of its file."""
        stats = source.store.list()
        assert [stats[name].size for name in source.files] == source.sizes.tolist()
        rows = self.all_rows(source)
        some = rows[rows["stored"] > 0]
        assert (some["offset"] >= 0).all()
        assert (some["offset"] + some["stored"] <= source.sizes[some["file"]]).all()
        assert (rows["file"] >= 0).all()
        assert (rows["file"] < len(source.files)).all()
        codecs = set(some["codec"].tolist())
        assert codecs == ({FRAME, OTHER} if self.frames is None else {self.frames})

    def all_rows(self, source: ChunkedSource) -> NDArray[np.void]:
        """All chunks of all samples."""
        samples = np.arange(len(source))
        return source.chunks(samples, own(source, samples)).rows

    def test_fetched_chunks_decode_to_what_is_read(
        self, source: ChunkedSource, pixels: Pixels
    ) -> None:
        """`fetch` gives the bytes on disk; `decode` makes of them what `read` gives."""
        samples, wanted = self.wanted(source, 3, 30)
        chunks = source.chunks(samples, wanted)
        for b, sample in enumerate(samples.tolist()):
            timestamps = np.flatnonzero(wanted[b]).tolist()
            rows = chunks.rows[chunks.starts[b] : chunks.starts[b + 1]]
            stages = Stages()
            buffer = np.full(int(rows["stored"].sum()) + 16, GUARD, np.uint8)
            data = source.fetch(sample, rows, buffer[:-16], stages)
            assert (buffer[-16:] == GUARD).all()
            for row, part in zip(rows, data, strict=True):
                if not row["stored"]:
                    assert part is None
                    continue
                assert part is not None
                name, size = source.files[row["file"]], int(row["stored"])
                assert part.tobytes() == source.store.bytes(name, int(row["offset"]), size)
            out = np.empty((len(timestamps), *source.modality.shape[1:]), source.modality.dtype)
            source.decode(sample, rows, data, timestamps, out, stages)
            same(out, pixels[sample, timestamps])

    def test_chunks_of_whole_timestamps_decode_one_by_one(
        self, source: ChunkedSource, pixels: Pixels
    ) -> None:
        """`decode` takes some of a sample's chunks: where each is a timestamp, any one alone."""
        for sample in range(len(source)):
            if not source.whole_timestamps(sample):
                continue
            rows = source.chunks(np.array([sample]), own(source, np.array([sample]))).rows
            for t in dates_of(source, sample):
                one = rows[t : t + 1]
                data = source.fetch(sample, one, np.empty(int(one["stored"][0]), np.uint8),
                                    Stages())  # fmt: skip
                out = np.empty((1, *source.modality.shape[1:]), source.modality.dtype)
                source.decode(sample, one, data, [t], out, Stages())
                same(out[0], pixels[sample, t])

    @pytest.mark.parametrize("timestamp", ["independent", "same", "all", 0])
    def test_memory_of_a_batch_is_bounded(self, source: ChunkedSource, timestamp: Any) -> None:
        """`largest`, `chunks_a_timestamp`: no request is larger than they say."""
        rows = self.all_rows(source)
        assert source.largest >= rows["stored"].max()
        samples = np.arange(len(source)).repeat(3)
        for views in (1, 2, 3):
            view = View(size=8, timestamp=timestamp)
            recipe = Recipe((view,) * views, Radiometry.quantile(0, 4000))
            for some in (recipe, None):
                data = dataset(source, some)
                for epoch in range(3):
                    request = draw(data, 0, epoch, samples)
                    assert request.nbytes <= most_bytes(data, len(samples))

    def test_a_request_has_room_for_every_chunk(self, source: ChunkedSource) -> None:
        """`Part.at`: each chunk's bytes have a place of their own, within `nbytes`."""
        samples, wanted = self.wanted(source, 5, 20)
        name = source.modality.name
        request = look_up(dataset(source), 0, samples, None, {}, {name: wanted})
        part = request.parts[name]
        assert part.chunks is not None
        ends = part.at + part.chunks.rows["stored"]
        assert part.at[0] >= 0
        assert (part.at[1:] >= ends[:-1]).all()
        assert ends.max(initial=0) <= request.nbytes

    def test_bytes_that_do_not_match_their_checksum_are_found(self, source: ChunkedSource) -> None:
        """`decode` with `check_crc`: a `DataError` that names the chunk's file and offset."""
        assert source.check_crc
        rows = source.chunks(np.array([1]), own(source, np.array([1]))).rows
        rows = rows[rows["stored"] > 0][:1]
        data = source.fetch(1, rows, np.empty(int(rows["stored"][0]), np.uint8), Stages())
        assert data[0] is not None
        timestamps = dates_of(source, 1)
        out = np.empty((len(timestamps), *source.modality.shape[1:]), source.modality.dtype)
        for place in (0, len(data[0]) // 2, len(data[0]) - 1):
            data[0][place] ^= 0x40
            with pytest.raises(DataError) as caught:
                source.decode(1, rows, data, timestamps, out, Stages())
            data[0][place] ^= 0x40
            self.names_the_chunk(source, caught.value, rows[0])
        source.decode(1, rows, data, timestamps, out, Stages())

    def names_the_chunk(self, source: ChunkedSource, error: DataError, row: np.void) -> None:
        """Shard, member and offset of a chunk."""
        assert error.shard == source.store.path(source.files[row["file"]])
        assert error.offset == row["offset"]
        assert error.member
        assert error.reason

    def test_an_error_keeps_its_kind(self, source: ChunkedSource) -> None:
        """`error`: names the chunk; an error of the store stays of its kind."""
        rows = self.all_rows(source)
        row = rows[rows["stored"] > 0][0]
        sample = int(row["slot"])

        class OddError(DataError):
            pass

        self.names_the_chunk(source, source.error(sample, row, "why"), row)
        kept = source.error(sample, row, OddError("shard", "", 3, "why"))
        assert isinstance(kept, OddError)
        assert kept.reason == "why"
        self.names_the_chunk(source, kept, row)


def dataset(source: Source, recipe: Recipe | None = None) -> Dataset:
    """A source as a dataset."""
    return Dataset({source.modality.name: source}, recipe, statistics("v1.1-webdataset"), 0)
