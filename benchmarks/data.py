"""The shards that all contestants of a run read."""

import io
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import zarr
from numpy.typing import NDArray

CACHED = 64
"""Samples whose true pixels are kept for checks."""

REPEATS = 4096
"""How often the list of shards is repeated for a stream that never ends within a benchmark."""


@dataclass(frozen=True)
class Chunk:
    """The compressed bytes of one timestamp of a sample: a place in a shard."""

    timestamp: int
    offset: int
    size: int


@dataclass(frozen=True)
class Sample:
    """A member of a shard, and its chunks of `bands`. Chunks of zeros may be absent."""

    key: str
    shard: int
    offset: int
    size: int
    chunks: tuple[Chunk, ...]


@dataclass(frozen=True)
class Shards:
    """One modality of one split."""

    root: Path
    split: str
    modality: str
    origin: str
    """Where the pixels come from, for the report."""

    @classmethod
    def find(cls, root: Path, split: str, modality: str, origin: str) -> "Shards":
        """Look a modality up below a root.

        Raises:
            FileNotFoundError: where the folder holds no tar.
        """
        self = cls(root, split, modality, origin)
        if not self.paths:
            raise FileNotFoundError(
                f"{root / split / modality}: expected ssl4eos12_shard_*.tar, found none"
            )
        return self

    @classmethod
    def first(cls, root: Path, split: str, modality: str, count: int, scratch: Path) -> "Shards":
        """The first `count` shards of a large dataset, linked into a folder of their own."""
        whole = cls.find(root, split, modality, "")
        folder = scratch / split / modality
        folder.mkdir(parents=True)
        for path in whole.paths[:count]:
            (folder / path.name).symlink_to(path.resolve())
        origin = f"real: {root}, the first {count} of {len(whole.paths)} shards"
        return cls.find(scratch, split, modality, origin)

    @cached_property
    def paths(self) -> list[Path]:
        """All tars, in order."""
        return sorted((self.root / self.split / self.modality).glob("ssl4eos12_shard_*.tar"))

    @property
    def endless(self) -> list[str]:
        """Paths of all tars, many times over, for libraries that read a list to its end."""
        return [str(p) for p in self.paths] * REPEATS

    @cached_property
    def samples(self) -> dict[str, Sample]:
        """Every sample by key, in the order of the tars."""
        return {s.key: s for i, path in enumerate(self.paths) for s in _samples(i, path)}

    @cached_property
    def shape(self) -> tuple[int, int, int, int]:
        """``(T, C, H, W)`` of the first sample."""
        T, C, H, W = self.pixels(next(iter(self.samples))).shape
        return T, C, H, W

    @lru_cache(maxsize=CACHED)  # noqa: B019, there is one object a run
    def pixels(self, key: str) -> NDArray[np.generic]:
        """Pixels ``[T, C, H, W]`` of a sample as the zarr library reads them; slow, for checks."""
        sample = self.samples[key]
        with self.paths[sample.shard].open("rb") as file:
            file.seek(sample.offset)
            return read_zip(file.read(sample.size))

    def warm(self) -> int:
        """Read every shard once, so that it lies in the page cache; returns the bytes."""
        total = 0
        for path in self.paths:
            with path.open("rb", buffering=0) as file:
                while block := file.read(1 << 24):
                    total += len(block)
        return total


def read_zip(content: bytes) -> NDArray[np.generic]:
    """Pixels of a `.zarr.zip`, read the published way: fsspec, then zarr's own metadata."""
    import fsspec

    files = fsspec.filesystem("zip", fo=io.BytesIO(content), block_size=None)
    group = zarr.open_consolidated(files.get_mapper(""), mode="r")
    pixels: NDArray[np.generic] = group["bands"][...]
    return pixels


def _samples(shard: int, path: Path) -> Iterator[Sample]:
    """Where the samples of a tar and their chunks lie."""
    with tarfile.open(path) as tar, path.open("rb") as file:
        for member in tar:
            start, size = member.offset_data, member.size
            file.seek(start)
            found = _entries(file.read(size))
            chunks = (Chunk(t, start + at, n) for t, (at, n) in sorted(found.items()))
            yield Sample(member.name.split(".")[0], shard, start, size, tuple(chunks))


def _entries(content: bytes) -> dict[int, tuple[int, int]]:
    """Offset and size of each chunk of `bands` by timestamp, for one stored chunk a timestamp.

    Where the zip holds a name twice, the last one counts, as for zarr.

    Raises:
        ValueError: where chunks are deflated, or a timestamp has several.
    """
    found = {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for info in archive.infolist():
            folder, _, name = info.filename.partition("/")
            if folder != "bands" or not name[:1].isdigit():
                continue
            timestamp, *rest = name.split(".")
            if info.compress_type != zipfile.ZIP_STORED or any(r != "0" for r in rest):
                raise ValueError(f"{info.filename}: expected one stored chunk a timestamp")
            # The local header repeats the name and may carry an extra field of its own.
            lengths = content[info.header_offset + 26 : info.header_offset + 30]
            skip = (
                30 + int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")
            )
            found[int(timestamp)] = (info.header_offset + skip, info.compress_size)
    return found
