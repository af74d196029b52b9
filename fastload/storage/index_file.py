"""The file of an index: columns that are used in place, each with a checksum.

``FASTLOAD``, the header's length (8 bytes) and CRC-32 (4 bytes), the header as JSON, then the
columns as they lie in memory, each on a cache line; all numbers little-endian.
"""

import json
import mmap
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastload.storage.checksum import crc32
from fastload.storage.errors import DataError

_MAGIC = b"FASTLOAD"
_VERSION = 3
_ALIGN = 64
_BLOCK = 2**20
_START = len(_MAGIC) + 12
COLUMNS = ("key", "shard", "layout", "first", "lon", "lat", "time", "cloud", "chunks")


class Shard(NamedTuple):
    """A tar as it was when it was scanned, and what it holds.

    Attributes:
        size, version: see `store.Stat`.
        samples: how many.
        largest: bytes of its largest chunk as it is stored, which bounds the memory of a batch.
    """

    name: str
    size: int
    version: str
    samples: int
    largest: int


@dataclass(frozen=True)
class Index:
    """Rows of N samples and their M chunks; every array may be a view of a memory map.

    A loaded index pickles as the place of its file.

    Attributes:
        shards: the tars, in the order of the rows; `shard` points here.
        layouts: distinct array headers as JSON (see `scan.specs_of`); `layout` points here.
        key: bytes ``[N]``, UTF-8.
        first: int64 ``[N]``, the sample's first row in `chunks`.
        lon, lat: float64 ``[N]``, degrees.
        time: int64 ``[N, T]``, ns since 1970, padded by `scan.NO_TIME`.
        cloud: float32 ``[N, T]``, share of cloudy pixels; NaN where unknown.
        chunks: `scan.CHUNK` records ``[M]``, whose `file` points to `shards`; call `verify` before
            the first use of a shard's.
    """

    shards: list[Shard]
    layouts: list[str]
    key: NDArray[np.bytes_]
    shard: NDArray[np.uint32]
    layout: NDArray[np.uint32]
    first: NDArray[np.int64]
    lon: NDArray[np.float64]
    lat: NDArray[np.float64]
    time: NDArray[np.int64]
    cloud: NDArray[np.float32]
    chunks: NDArray[np.void]
    origin: "Origin | None" = field(default=None, compare=False)

    def __len__(self) -> int:
        return len(self.key)

    def verify(self, shards: NDArray[np.uint32]) -> None:
        """Compare shards' chunk rows with their checksum; each is read only then, and once.

        Raises:
            DataError: names the index file.
        """
        if self.origin is None:
            return
        for shard in np.unique(shards[~self.origin.verified[shards]]).tolist():
            rows = _chunk_rows(self, self.origin.starts[shard], self.shards[shard].samples)
            if crc32(_bytes(self.chunks[rows])) != self.origin.chunk_sums[shard]:
                reason = "the index is damaged (CRC-32 of its chunks); delete it, to build it anew"
                raise DataError(str(self.origin.path), self.shards[shard].name, -1, reason)
            self.origin.verified[shard] = True

    def __reduce__(self) -> Any:
        if self.origin is None:
            return super().__reduce__()
        return _load_same, (self.origin.path, self.origin.token)


@dataclass(frozen=True)
class Origin:
    """The file that an index was loaded from."""

    path: Path
    token: int
    """CRC-32 of its header, which holds those of all columns."""
    chunk_sums: list[int]
    starts: list[int]
    """First row of each shard."""
    verified: NDArray[np.bool_]


def save(index: Index, path: Path) -> None:
    """Write atomically."""
    arrays = {name: np.ascontiguousarray(getattr(index, name)) for name in COLUMNS}
    columns, at = {}, 0
    for name, array in arrays.items():
        dtype = array.dtype.descr if array.dtype.names else array.dtype.str
        checksum = 0 if name == "chunks" else crc32(_bytes(array))
        columns[name] = {"dtype": dtype, "shape": array.shape, "at": at, "crc": checksum}
        at += -(-array.nbytes // _ALIGN) * _ALIGN
    header = {
        "version": _VERSION,
        "bytes": at,
        "shards": index.shards,
        "layouts": index.layouts,
        "columns": columns,
        "chunk_sums": _chunk_sums(index),
    }
    text = json.dumps(header).encode()
    text += b" " * (-(_START + len(text)) % _ALIGN)
    sizes = len(text).to_bytes(8, "little") + crc32(text).to_bytes(4, "little")
    temporary = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(_MAGIC + sizes + text)
            for array in arrays.values():
                file.write(_bytes(array).data)
                file.write(b"\0" * (-array.nbytes % _ALIGN))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _chunk_rows(index: Index, start: int, samples: int) -> slice:
    """Rows in `chunks` of so many samples from `start` on."""
    ends = (start, start + samples)
    first, last = (int(index.first[e]) if e < len(index) else len(index.chunks) for e in ends)
    return slice(first, last)


def _chunk_sums(index: Index) -> list[int]:
    """CRC-32 of each shard's chunk rows."""
    starts = np.cumsum([0, *(s.samples for s in index.shards)])
    return [
        crc32(_bytes(index.chunks[_chunk_rows(index, int(start), shard.samples)]))
        for start, shard in zip(starts, index.shards, strict=False)
    ]


def load(path: Path) -> Index:
    """Map an index file. All but the chunks is compared with its checksums here.

    Raises:
        ValueError: where the file is not a sound index of this version.
    """
    with path.open("rb") as file:
        fd = file.fileno()
        header, token, base = _header(lambda at, size: os.pread(fd, size, at), os.fstat(fd).st_size)
        for name in COLUMNS[:-1]:
            _check_column(fd, name, header["columns"][name], base)
        data = mmap.mmap(fd, 0, access=mmap.ACCESS_READ)
    columns = {name: _column(data, header["columns"][name], base) for name in COLUMNS}
    shards = [Shard(*s) for s in header["shards"]]
    starts = np.cumsum([0, *(s.samples for s in shards)]).tolist()
    origin = Origin(path, token, header["chunk_sums"], starts, np.zeros(len(shards), bool))
    return Index(shards, header["layouts"], **columns, origin=origin)


def _header(read: Callable[[int, int], bytes], size: int) -> tuple[dict[str, Any], int, int]:
    """The header, its checksum, and where the columns start."""
    start = read(0, _START)
    if not start.startswith(_MAGIC) or len(start) < _START:
        raise ValueError("it has no index signature")
    length = int.from_bytes(start[len(_MAGIC) : -4], "little")
    token = int.from_bytes(start[-4:], "little")
    if length > size:
        raise ValueError("its header does not fit the file")
    text = read(_START, length)
    if crc32(text) != token:
        raise ValueError("its header does not match its CRC-32")
    header: dict[str, Any] = json.loads(text)
    if header["version"] != _VERSION:
        raise ValueError(f"it is of version {header['version']}, expected {_VERSION}")
    if _START + length + header["bytes"] != size:
        raise ValueError("it was cut short")
    return header, token, _START + length


def _dtype(column: dict[str, Any]) -> np.dtype[Any]:
    described = column["dtype"]
    return np.dtype([tuple(d) for d in described] if isinstance(described, list) else described)


def _check_column(fd: int, name: str, column: dict[str, Any], base: int) -> None:
    """By reading, not through the map, so that no page of it becomes resident."""
    at = base + column["at"]
    end = at + int(np.prod(column["shape"], dtype=np.int64)) * _dtype(column).itemsize
    checksum = 0
    while at < end:
        block = os.pread(fd, min(_BLOCK, end - at), at)
        if not block:
            break
        checksum = crc32(block, checksum)
        at += len(block)
    if checksum != column["crc"]:
        raise ValueError(f"its column '{name}' does not match its CRC-32")


def _column(data: mmap.mmap, column: dict[str, Any], base: int) -> NDArray[Any]:
    count = int(np.prod(column["shape"], dtype=np.int64))
    flat: NDArray[Any] = np.frombuffer(data, _dtype(column), count, base + column["at"])
    return flat.reshape(column["shape"])


def _load_same(path: Path, token: int) -> Index:
    """Load the index that was pickled.

    Raises:
        DataError: where another one has taken its place.
    """
    index = load(path)
    if index.origin is None or index.origin.token != token:
        raise DataError(str(path), "", -1, "the index was built anew meanwhile; open the data anew")
    return index
