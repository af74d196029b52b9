"""The whole archive as far as an index goes: tars without content, and their true-sized indexes.

`python -m benchmarks.archive ROOT` opens such an archive and prints what that took.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastload import SSL4EOS12
from fastload.datasets.source import ChunkedSource
from fastload.storage.index import FILE, Index, Shard, save
from fastload.storage.scan import CHUNK
from fastload.storage.store import version

SHARDS, PER_SHARD = 477, 512
TIMESTAMPS, SIZE = 4, 264
BANDS = {"S2L1C": 13, "S2L2A": 12, "S2RGB": 3, "S1GRD": 2, "NDVI": 1, "LULC": 1, "DEM": 1}
DTYPES = {"S2RGB": "|u1", "S1GRD": "<f2", "NDVI": "<f2", "LULC": "|u1", "DEM": "<f4"}
RATIO = 2
"""Decoded size over stored size, about what lz4 makes of such pixels."""
REPOSITORY = Path(__file__).parents[1]


class Opened(NamedTuple):
    """What opening took, in a process that had imported everything before."""

    seconds: float
    megabytes: float
    """Growth of resident memory."""
    samples: int


def fabricate(root: Path, modalities: Sequence[str] = tuple(BANDS)) -> Path:
    """Make the train split in its published size: sparse tars of zeros, and their indexes.

    Writes 70 MB a modality. Every sample has a chunk per timestamp of `bands` and of `cloud_mask`.
    Nothing can be read from it but the index.

    Returns:
        The root.
    """
    for modality in modalities:
        folder = root / "train" / modality
        folder.mkdir(parents=True)
        dtype = DTYPES.get(modality, "<i2")
        shape = (TIMESTAMPS, BANDS[modality], SIZE, SIZE)
        layout, chunks = _layout(shape, dtype), _chunks(shape, dtype)
        last = chunks[-1]
        size = int(last["offset"]) + int(last["stored"]) + 4096
        largest = int(chunks["stored"].max())
        shards = [
            _tar(folder / f"ssl4eos12_shard_{n:06d}.tar", size, largest)
            for n in range(1, SHARDS + 1)
        ]
        save(_index(shards, layout, chunks), folder / FILE)
    return root


def _tar(path: Path, size: int, largest: int) -> Shard:
    with path.open("wb") as file:
        file.truncate(size)
        stat = os.fstat(file.fileno())
        return Shard(path.name, size, version(stat), PER_SHARD, largest)


def _array(shape: tuple[int, ...], dtype: str) -> dict[str, Any]:
    return {
        "chunks": [1, *shape[1:]],
        "compressor": {"blocksize": 0, "clevel": 5, "cname": "lz4", "id": "blosc", "shuffle": 1},
        "dtype": dtype,
        "fill_value": 0,
        "filters": None,
        "order": "C",
        "shape": list(shape),
        "zarr_format": 2,
    }


def _layout(shape: tuple[int, ...], dtype: str) -> str:
    T, C, H, W = shape
    arrays = {"bands": _array(shape, dtype), "cloud_mask": _array((T, H, W), "|u1")}
    names = [f"B{band:02d}" for band in range(C)]
    return json.dumps({"arrays": arrays, "band": names}, sort_keys=True)


def _chunks(shape: tuple[int, ...], dtype: str) -> NDArray[np.void]:
    """The chunk table of one tar."""
    T, C, H, W = shape
    rng = np.random.default_rng(0)
    size = C * H * W * np.dtype(dtype).itemsize // RATIO
    rows = np.zeros((PER_SHARD, 2 * T), CHUNK)
    rows["stored"][:, :T] = rng.integers(size // 2, size, (PER_SHARD, T))
    rows["stored"][:, T:] = rng.integers(300, 3000, (PER_SHARD, T))
    rows["size"] = rows["stored"]
    rows["crc"] = rng.integers(0, 2**32, rows.shape)
    flat = rows.reshape(-1)
    ends = np.cumsum(flat["stored"].astype(np.uint64) + 128)
    flat["offset"] = ends - flat["stored"]
    return flat


def _index(shards: list[Shard], layout: str, chunks: NDArray[np.void]) -> Index:
    N = len(shards) * PER_SHARD
    rng = np.random.default_rng(1)
    start = np.datetime64("2020-01-01", "ns").astype(np.int64)
    days = np.sort(rng.integers(0, 730, (N, TIMESTAMPS)), axis=1)
    return Index(
        shards,
        [layout],
        np.array([f"{i:07d}" for i in range(N)], np.bytes_),
        np.repeat(np.arange(len(shards), dtype=np.uint32), PER_SHARD),
        np.zeros(N, np.uint32),
        np.arange(N, dtype=np.int64) * (len(chunks) // PER_SHARD),
        rng.uniform(-180, 180, N),
        rng.uniform(-60, 75, N),
        start + days * 86_400_000_000_000,
        rng.random((N, TIMESTAMPS), np.float32),
        _of_files(chunks, len(shards)),
    )


def _of_files(chunks: NDArray[np.void], files: int) -> NDArray[np.void]:
    rows = np.tile(chunks, files)
    rows["file"] = np.repeat(np.arange(files), len(chunks))
    return rows


def resident() -> int:
    """Resident memory of this process, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status: expected a line VmRSS, found none")


def open_here(root: Path) -> Opened:
    """Open all modalities below a root and look at one sample."""
    modalities = sorted(p.name for p in (root / "train").iterdir())
    before, start = resident(), perf_counter()
    dataset = SSL4EOS12(root, modalities=modalities, progress=False)
    seconds = perf_counter() - start
    grown = (resident() - before) / 1e6
    last = len(dataset) - 1
    wanted = np.arange(TIMESTAMPS)[None] == TIMESTAMPS - 1
    for name, source in dataset.sources.items():
        assert isinstance(source, ChunkedSource)
        (chunk,) = source.chunks(np.array([last]), wanted).rows
        if chunk["offset"] + chunk["stored"] > source.sizes[-1] or not chunk["stored"]:
            raise RuntimeError(f"the index of {name} does not hold what was saved")
    return Opened(seconds, grown, len(dataset))


def open_fresh(root: Path) -> Opened:
    """The same in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.archive", str(root)]
    done = subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True)
    return Opened(*json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    print(json.dumps(open_here(Path(sys.argv[1]))))
