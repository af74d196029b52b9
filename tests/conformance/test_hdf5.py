"""Sources of HDF5 arrays, contiguous and in chunks, some bands of them, in any process."""

import multiprocessing
import threading
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from benchmarks.archives.trees import noise
from fastload.datasets.hdf5_source import HDF5Source
from fastload.datasets.source import Columns
from fastload.storage.dates import NO_TIME
from fastload.storage.errors import DataError
from fastload.storage.store import Local
from tests.conformance.source import Damaged, Pixels, SourceTests, read

pytestmark = pytest.mark.timeout(60)
N, H, W = 9, 8, 6
NAMES = ("B02", "B03", "B8A")


def columns(count: int = N) -> Columns:
    nowhere, time = np.full(count, np.nan), np.full((count, 1), NO_TIME, np.int64)
    keys = np.array([f"chip_{i}".encode() for i in range(count)])
    cloud = np.full((count, 1), np.nan, np.float32)
    return Columns(keys, nowhere, nowhere, time, cloud, np.zeros(count, np.uint32))


def values() -> Any:
    """``[N, H, W, C]``, float64, as So2Sat has them."""
    return noise("hdf5", (N, H, W, len(NAMES)), np.uint16) / 7.0


class TestContiguous(SourceTests):
    """One row after the other."""

    layout: dict[str, Any] = {}  # noqa: RUF012
    bands: tuple[str, ...] | None = None

    def write(self, root: Path) -> Path:
        root.mkdir(parents=True, exist_ok=True)
        with h5py.File(root / "a.h5", "w") as file:
            file.create_dataset("sen2", data=values(), **self.layout)
        return root

    def open(self, root: Path) -> HDF5Source:
        return HDF5Source("S2L1C", Local(root), "a.h5", "sen2", NAMES, columns(), self.bands)

    def make(self, tmp_path: Path) -> tuple[HDF5Source, Pixels]:
        pixels = values().astype(np.float32).transpose(0, 3, 1, 2)[:, None]
        shown = [NAMES.index(name) for name in self.bands or NAMES]
        return self.open(self.write(tmp_path)), np.ascontiguousarray(pixels[:, :, shown])


class TestChunks(TestContiguous):
    """In chunks of one image, deflated."""

    layout = {"chunks": (1, H, W, len(NAMES)), "compression": "gzip"}  # noqa: RUF012
    bands = ("B8A", "B02")

    def damaged(self, tmp_path: Path) -> Damaged:
        path = self.write(tmp_path) / "a.h5"
        with h5py.File(path) as file:
            chunk = file["sen2"].id.get_chunk_info_by_coord((4, 0, 0, 0))
        data = bytearray(path.read_bytes())
        at = chunk.byte_offset + chunk.size // 2
        data[at : at + 8] = bytes(8)
        path.write_bytes(data)
        return Damaged(self.open(tmp_path), 4, 0)


class TestLarger(TestContiguous):
    """In chunks of several images."""

    layout = {"chunks": (4, 4, W, 2)}  # noqa: RUF012


def test_a_forked_process_opens_the_file_anew(tmp_path: Path) -> None:
    """While threads of this one read."""
    source, pixels = TestChunks().make(tmp_path)
    stop = threading.Event()

    def on() -> None:
        while not stop.is_set():
            read(source, 3, [0])

    threads = [threading.Thread(target=on) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        context = multiprocessing.get_context("fork")
        for _ in range(5):
            queue = context.SimpleQueue()
            child = context.Process(target=lambda q=queue: q.put(read(source, 7, [0])))
            child.start()
            child.join(30)
            assert child.exitcode == 0
            assert np.array_equal(queue.get(), pixels[7])
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize(
    ("file", "array", "count", "names", "reason"),
    [
        ("a.h5", "sen3", N, NAMES, "member sen3: is not there, only sen2"),
        ("a.h5", "sen2", N + 1, NAMES, r"is \[9, 8, 6, 3\], expected \[10, height, width, 3\]"),
        ("a.h5", "sen2", N, NAMES[:2], r"expected \[9, height, width, 2\]"),
        ("b.h5", "sen2", N, NAMES, "b.h5: is no sound HDF5 file"),
    ],
)
def test_another_file_is_refused(
    tmp_path: Path, file: str, array: str, count: int, names: tuple[str, ...], reason: str
) -> None:
    TestContiguous().write(tmp_path)
    (tmp_path / "b.h5").write_bytes(b"not HDF5")
    with pytest.raises(DataError, match=reason):
        HDF5Source("S2L1C", Local(tmp_path), file, array, names, columns(count))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    TestContiguous().write(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"c\.h5: there is no such file, but a\.h5"):
        HDF5Source("S2L1C", Local(tmp_path), "c.h5", "sen2", NAMES, columns())
