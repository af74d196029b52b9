"""One modality of a dataset: where its chunks lie, and how they become pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastload.profile import Stages
from fastload.storage.checksum import crc32
from fastload.storage.codecs import Buffer, inflate
from fastload.storage.errors import DataError
from fastload.storage.index import Index
from fastload.storage.scan import band_names, specs_of
from fastload.storage.shards import Shards
from fastload.storage.zarr import ArraySpec
from fastload.storage.zip import DEFLATED


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

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """``(T, C, H, W)``."""
        return self.timestamps, self.bands, self.height, self.width


class Chunk(NamedTuple):
    """A chunk's place in its shard, and in the array's chunk grid. `stored` is 0 if absent."""

    shard: int
    offset: int
    stored: int
    size: int
    crc: int
    method: int
    grid: tuple[int, ...]


class Layer:
    """The chunks of one modality, by the dataset's sample number."""

    def __init__(self, name: str, directory: Path, index: Index, check_crc: bool) -> None:
        self.index = index
        self.rows: NDArray[np.int64] | None = None
        self.check_crc = check_crc
        self.specs = [specs_of(layout)["bands"] for layout in index.layouts]
        self.shards = Shards(
            [directory / s.name for s in index.shards], [s.size for s in index.shards]
        )
        self.modality = self._modality(name, directory)

    def _modality(self, name: str, directory: Path) -> Modality:
        shapes = {(spec.shape, spec.dtype.str) for spec in self.specs}
        if len(shapes) != 1:
            raise DataError(
                str(directory), "", -1, f"samples differ in shape or dtype: {sorted(shapes)}"
            )
        spec = self.specs[0]
        T, C, H, W = spec.shape
        return Modality(name, T, C, H, W, spec.dtype, tuple(band_names(self.index.layouts[0])))

    def row(self, sample: int) -> int:
        """Row of a sample in the index."""
        return sample if self.rows is None else int(self.rows[sample])

    def spec(self, sample: int) -> ArraySpec:
        """Array header of a sample."""
        return self.specs[int(self.index.layout[self.row(sample)])]

    def chunks(self, sample: int, timestamps: Sequence[int]) -> list[Chunk]:
        """The chunks that hold `timestamps`, in C order of the grid; no others."""
        row = self.row(sample)
        spec = self.spec(sample)
        shard, first = int(self.index.shard[row]), int(self.index.first[row])
        if spec.whole_rows:
            wanted = [(t, (t, 0, 0, 0)) for t in timestamps]
        else:
            along_time = {t // spec.chunks[0] for t in timestamps}
            grid = enumerate(np.ndindex(spec.grid))
            wanted = [(i, g) for i, g in grid if g[0] in along_time]
        self.index.verify(shard)
        places = self.index.chunks
        return [Chunk._make((shard, *places[first + i].item(), g)) for i, g in wanted]

    def fetch(self, chunk: Chunk) -> Buffer | None:
        """The chunk's bytes as they lie in the shard; None if it is absent."""
        if not chunk.stored:
            return None
        return self.shards.view(chunk.shard, chunk.offset, chunk.stored)

    def decode(
        self,
        sample: int,
        timestamps: Sequence[int],
        chunks: Sequence[Chunk],
        data: Sequence[Buffer | None],
        out: NDArray[Any],
        stages: Stages,
    ) -> None:
        """Check and decode fetched `chunks(sample, timestamps)` into `out` ``[.., C, H, W]``.

        Raises:
            DataError: names shard, member, offset and reason.
        """
        spec = self.spec(sample)
        for i, (chunk, packed) in enumerate(zip(chunks, data, strict=True)):
            try:
                content = self._checked(chunk, packed, stages)
                start = perf_counter()
                if spec.whole_rows:
                    self._decode_row(spec, content, out[i])
                else:
                    _decode_part(spec, chunk.grid, content, timestamps, out)
                stages.decode += perf_counter() - start
            except ValueError as error:
                raise self._error(sample, chunk, str(error)) from error
            stages.bytes_in += chunk.stored
        if not spec.disk_dtype.isnative:
            out.byteswap(inplace=True)
        stages.bytes_out += out.nbytes

    def verify(
        self, sample: int, chunks: Sequence[Chunk], data: Sequence[Buffer | None], stages: Stages
    ) -> None:
        """Check fetched chunks that are decoded elsewhere.

        Raises:
            DataError: names shard, member, offset and reason.
        """
        for chunk, packed in zip(chunks, data, strict=True):
            try:
                self._checked(chunk, packed, stages)
            except ValueError as error:
                raise self._error(sample, chunk, str(error)) from error
            stages.bytes_in += chunk.stored

    def are_frames(self, sample: int, chunks: Sequence[Chunk]) -> bool:
        """Whether each of the chunks lies in its shard as one Blosc frame of a whole timestamp."""
        spec = self.spec(sample)
        plain = spec.whole_rows and spec.disk_dtype.isnative and spec.codec.name == "blosc"
        return plain and all(c.stored and c.method != DEFLATED for c in chunks)

    def _checked(self, chunk: Chunk, data: Buffer | None, stages: Stages) -> Buffer | None:
        """Content of the zip member, its CRC-32 compared with the zip directory's."""
        if data is None:
            return None
        start = perf_counter()
        # An engine may have fetched the bytes long before they are touched here.
        self.shards.check(chunk.shard, chunk.offset)
        content: Buffer = data
        if chunk.method == DEFLATED:
            content = memoryview(inflate(data, chunk.size))
        if self.check_crc and crc32(content) != chunk.crc:
            raise ValueError("CRC-32 does not match the zip directory")
        stages.read += perf_counter() - start
        return content

    @staticmethod
    def _decode_row(spec: ArraySpec, content: Buffer | None, out: NDArray[Any]) -> None:
        """Decode a chunk that is one whole timestamp straight to where it belongs."""
        if content is None:
            out[...] = spec.fill_value if spec.disk_dtype.isnative else _swapped(spec)
        else:
            spec.codec.decode(content, out.reshape(-1).view(np.uint8))

    def _error(self, sample: int, chunk: Chunk, reason: str) -> DataError:
        key = self.index.key[self.row(sample)].decode()
        names = spec_name(self.spec(sample), chunk)
        path = str(self.shards.paths[chunk.shard])
        return DataError(path, f"{key}.zarr.zip/{names}", chunk.offset, reason)


def spec_name(spec: ArraySpec, chunk: Chunk) -> str:
    """Member name of a chunk of the array `bands`."""
    return "bands/" + spec.separator.join(map(str, chunk.grid))


def _swapped(spec: ArraySpec) -> Any:
    """The fill value with its bytes swapped, because all of the array will be swapped back."""
    return np.asarray(spec.fill_value, spec.dtype).byteswap()[()]


def _decode_part(
    spec: ArraySpec,
    grid: tuple[int, ...],
    content: Buffer | None,
    timestamps: Sequence[int],
    out: NDArray[Any],
) -> None:
    """Decode a chunk of any grid and spread it over the timestamps that it holds part of."""
    if content is None:
        chunk = np.full(spec.chunks, spec.fill_value, spec.dtype)
        chunk = chunk if spec.disk_dtype.isnative else chunk.byteswap()
    else:
        buffer = np.empty(spec.chunk_bytes, np.uint8)
        spec.codec.decode(content, buffer)
        chunk = buffer.view(spec.dtype).reshape(spec.chunks, order=spec.order)
    starts = [g * c for g, c in zip(grid, spec.chunks, strict=True)]
    box = tuple(slice(s, s + c) for s, c in zip(starts[1:], spec.chunks[1:], strict=True))
    for j, t in enumerate(timestamps):
        if 0 <= t - starts[0] < spec.chunks[0]:
            target = out[j][box]
            target[...] = chunk[t - starts[0]][tuple(slice(0, n) for n in target.shape)]
