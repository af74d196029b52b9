"""The smallest rooms: a store that is a dict, a layout of one `.npy` file a sample, a mover."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload import Recipe
from fastload.datasets.base import Dataset
from fastload.datasets.source import Columns, Modality, Source
from fastload.engines.batch import Request
from fastload.engines.workers import Workers
from fastload.profile import Profile, Stages
from fastload.statistics import statistics
from fastload.storage.dates import NO_TIME
from fastload.storage.errors import DataError
from fastload.storage.store import Stat, Store


class Memory(Store):
    """Files that are bytes in a dict."""

    def __init__(self, name: str, files: dict[str, bytes] | None) -> None:
        """Without `files` there is no such place."""
        self.name, self.files = name, files
        self.fails: list[OSError] = []
        """Errors of the next reads."""

    @property
    def place(self) -> str:
        return f"memory://{self.name}"

    def list(self, suffix: str = "") -> dict[str, Stat]:
        if self.files is None:
            raise FileNotFoundError(f"{self.place}: there is no such memory")
        named = {n: self.files[n] for n in sorted(self.files) if n.endswith(suffix)}
        return {n: Stat(len(d), hashlib.sha256(d).hexdigest()) for n, d in named.items()}

    def read(self, name: str, offset: int, out: memoryview) -> int:
        if self.fails:
            raise self.fails.pop()
        if self.files is None or name not in self.files:
            raise FileNotFoundError(f"{self.path(name)}: there is no such file")
        data = self.files[name][offset : offset + len(out)]
        out[: len(data)] = data
        return len(data)


class Npy(Source):
    """A folder of arrays ``[T, C, H, W]`` as `numpy.save` writes them; a file's name is the key."""

    def __init__(self, name: str, store: Store) -> None:
        stats = store.list(".npy")
        self.store, self.files = store, list(stats)
        head = io.BytesIO(store.bytes(self.files[0], 0, 4096))
        np.lib.format.read_magic(head)
        shape, _, dtype = np.lib.format.read_array_header_1_0(head)
        self.start, self.size = head.tell(), stats[self.files[0]].size
        if {stat.size for stat in stats.values()} != {self.size}:
            raise DataError(store.place, "", -1, "the arrays differ in size")
        T, C, H, W = shape
        N, bands = len(self.files), tuple(f"B{i:02d}" for i in range(C))
        self.modality = Modality(name, T, C, H, W, dtype, bands)
        self.columns = Columns(
            key=np.array([file.removesuffix(".npy").encode() for file in self.files]),
            lon=np.zeros(N),
            lat=np.zeros(N),
            time=np.zeros((N, T), np.int64),
            cloud=np.full((N, T), np.nan, np.float32),
            group=np.zeros(N, np.uint32),
        )

    def read(
        self, sample: int, timestamps: Sequence[int], out: NDArray[Any], stages: Stages
    ) -> None:
        start = perf_counter()
        for t, plane in zip(timestamps, out, strict=True):
            offset = self.start + t * plane.nbytes
            flat = plane.reshape(-1).view(np.uint8)
            self.store.fetch(self.files[sample], self.size, offset, flat)
        stages.read += perf_counter() - start


def npy(store: Store, recipe: Recipe | None = None, seed: int = 0) -> Dataset:
    """The arrays of a store as a dataset."""
    return Dataset({"toy": Npy("toy", store)}, recipe, statistics("v1.1-webdataset"), seed)


class Ragged(Npy):
    """The same, of which samples have only the first few dates; it reads no others."""

    def __init__(self, name: str, store: Store, dates: Sequence[int], fill: float | None) -> None:
        super().__init__(name, store)
        self.modality = replace(self.modality, fill_value=fill)
        lacks = np.arange(self.modality.timestamps) >= np.array(dates)[:, None]
        time = np.where(lacks, NO_TIME, self.columns.time)
        self.columns = replace(self.columns, dates=np.array(dates, np.int32), time=time)

    def read(
        self, sample: int, timestamps: Sequence[int], out: NDArray[Any], stages: Stages
    ) -> None:
        assert self.columns.dates is not None
        assert len(timestamps) == len(out) > 0
        assert max(timestamps) < self.columns.dates[sample]
        super().read(sample, timestamps, out, stages)


class Whole:
    """A mover for the host that reads a whole batch, chunk by chunk, in the calling thread."""

    def __init__(self, dataset: Dataset, profile: Profile, queue: Any, largest: int | None) -> None:
        assert queue is None
        self.dataset = dataset

    def begin(self, request: Request, workers: Workers) -> "Kept":
        return Kept(self.dataset, request)

    def close(self) -> None:
        pass


class Kept:
    """A load of `Whole`."""

    def __init__(self, dataset: Dataset, request: Request) -> None:
        self.dataset, self.request = dataset, request
        self.bytes: dict[str, list[NDArray[np.uint8] | DataError | None]] = {}

    def arrive(self) -> None:
        for name, part in self.request.parts.items():
            rows = () if part.chunks is None else part.chunks.rows
            self.bytes[name] = [self._read(name, row) for row in rows]

    def _read(self, name: str, row: np.void) -> NDArray[np.uint8] | DataError | None:
        source: Any = self.dataset.sources[name]
        sample = int(self.request.parts[name].rows[row["slot"]])
        try:
            return source.fetch(sample, [row], np.empty(row["stored"], np.uint8), Stages())[0]
        except DataError as error:
            return error

    def chunks(
        self, name: str, slot: int, span: slice, stages: Stages
    ) -> list[NDArray[np.uint8] | None]:
        found = self.bytes[name][span]
        for error in found:
            if isinstance(error, DataError):
                raise error
        return found

    def release(self) -> None:
        self.bytes = {}
