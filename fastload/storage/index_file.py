"""The file of an index: columns that are used in place, each with a checksum.

``FASTLOAD``, the header's length (8 bytes) and CRC-32 (4 bytes), the header as JSON, then the
columns as they lie in memory, each on a cache line; all numbers little-endian.
"""

import json
import mmap
import os
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastload.storage.checksum import crc32
from fastload.storage.errors import DataError
from fastload.storage.index_check import (
    COLUMNS,
    check_chunks,
    check_columns,
    check_rows,
    dtype_of,
    nbytes_of,
)

_MAGIC = b"FASTLOAD"
_VERSION = 4
_ALIGN = 64
_BLOCK = 2**20
_MOST_HEADER = 2**26
_START = len(_MAGIC) + 12
_EXTRA = "extra/"
"""How the names of further columns begin in a file."""


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

    A loaded index pickles as the place of its file, one that no file keeps with all that it holds.

    Attributes:
        shards: the tars, in the order of the rows; `shard` points here.
        layouts: distinct array headers as JSON (see `group.specs_of`); `layout` points here.
        key: bytes ``[N]``, UTF-8.
        first: int64 ``[N]``, the sample's first row in `chunks`.
        lon, lat: float64 ``[N]``, degrees; NaN where unknown.
        time: int64 ``[N, T]``, ns since 1970; `dates.NO_TIME` where unknown, and as padding.
        cloud: float32 ``[N, T]``, share of cloudy pixels; NaN where unknown.
        chunks: `scan.CHUNK` records ``[M]``, whose `file` points to `shards`.
        extra: further columns by name, ``[N]``, ``[N, T]`` or vectors ``[N, 1, K]``: int64, float64
            or bytes (UTF-8). A sample that lacks one has -1, NaN or nothing there.
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
    extra: dict[str, NDArray[Any]] = field(default_factory=dict)
    origin: "Origin | None" = field(default=None, compare=False)

    def __len__(self) -> int:
        return len(self.key)

    @property
    def ending(self) -> str:
        """What follows a sample's key in the name of its member, before ".zarr.zip"."""
        return ""

    def columns(self) -> dict[str, NDArray[Any]]:
        """All columns by the names that a file has."""
        extra = {_EXTRA + name: array for name, array in self.extra.items()}
        return {name: getattr(self, name) for name in COLUMNS} | extra

    def chunks_of(self) -> list[slice]:
        """The rows in `chunks` of each shard."""
        ends = np.append(self.first, len(self.chunks))
        bounds = ends[np.cumsum([0, *(s.samples for s in self.shards)])].tolist()
        return [slice(a, b) for a, b in pairwise(bounds)]

    def __reduce__(self) -> Any:
        if self.origin is None:
            return _of_values, (self.shards, self.layouts, self.columns())
        return _load_same, (self.origin.path, self.origin.token)


class Origin(NamedTuple):
    """The file that an index was loaded from; `token` is the CRC-32 of its header, which holds
    those of all columns."""

    path: Path
    token: int


def _of_values(
    shards: list[Shard],
    layouts: list[str],
    columns: dict[str, NDArray[Any]],
    origin: Origin | None = None,
) -> Index:
    plain = {name: columns[name] for name in COLUMNS}
    extra = {n.removeprefix(_EXTRA): a for n, a in columns.items() if n not in plain}
    return Index(shards, layouts, **plain, extra=extra, origin=origin)


def save(index: Index, path: Path) -> None:
    """Write atomically.

    Raises:
        OSError: where it cannot be written; nothing is left behind then.
    """
    arrays = {name: np.ascontiguousarray(array) for name, array in index.columns().items()}
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
        "chunk_sums": [crc32(_bytes(index.chunks[rows])) for rows in index.chunks_of()],
    }
    text = json.dumps(header).encode()
    text += b" " * (-(_START + len(text)) % _ALIGN)
    sizes = len(text).to_bytes(8, "little") + crc32(text).to_bytes(4, "little")
    temporary = path.with_suffix(f".{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:  # never what is there, nor through a link
            file.write(_MAGIC + sizes + text)
            for array in arrays.values():
                file.write(_bytes(array).data)
                file.write(b"\0" * (-array.nbytes % _ALIGN))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def load(path: Path, trusted: Collection[int] | None = None) -> Index:
    """Map an index file, after all of it was compared with its checksums and its own bounds.

    Args:
        path: of the file.
        trusted: users whose file is believed, by number; None: anybody's.

    Raises:
        ValueError: where the file is not a sound index of this version.
    """
    with path.open("rb") as file:
        fd, stat = file.fileno(), os.fstat(file.fileno())
        if trusted is not None and stat.st_uid not in trusted:
            raise ValueError(f"it is of user {stat.st_uid}, who owns neither this process nor the "
                             "shards")  # fmt: skip

        def read(at: int, size: int) -> bytes:
            """Not through the map, so that no page of it becomes resident."""
            return os.pread(fd, size, at)

        try:
            header, token, base = _header(read, stat.st_size)
            check_columns(header)
            for name, column in header["columns"].items():
                if name != "chunks":
                    _check_column(read, name, column, base)
            data = mmap.mmap(fd, 0, access=mmap.ACCESS_READ)
            columns = {n: _column(data, c, base) for n, c in header["columns"].items()}
            shards = [Shard(*s) for s in header["shards"]]
            index = _of_values(shards, header["layouts"], columns, Origin(path, token))
            check_rows(index)
            start = base + header["columns"]["chunks"]["at"]
            check_chunks(index, header["chunk_sums"], lambda at, size: read(start + at, size))
        except (LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
            raise ValueError(f"its header makes no sense ({error})") from error
    return index


def _header(read: Callable[[int, int], bytes], size: int) -> tuple[dict[str, Any], int, int]:
    """The header, its checksum, and where the columns start."""
    start = read(0, _START)
    if not start.startswith(_MAGIC) or len(start) < _START:
        raise ValueError("it has no index signature")
    length = int.from_bytes(start[len(_MAGIC) : -4], "little")
    token = int.from_bytes(start[-4:], "little")
    if length > min(size, _MOST_HEADER):
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


def _check_column(
    read: Callable[[int, int], bytes], name: str, column: dict[str, Any], base: int
) -> None:
    at, checksum = base + column["at"], 0
    end = at + nbytes_of(column)
    while at < end:
        block = read(at, min(_BLOCK, end - at))
        if not block:
            break
        checksum = crc32(block, checksum)
        at += len(block)
    if checksum != column["crc"]:
        raise ValueError(f"its column '{name}' does not match its CRC-32")


def _column(data: mmap.mmap, column: dict[str, Any], base: int) -> NDArray[Any]:
    dtype = dtype_of(column)
    count = nbytes_of(column) // dtype.itemsize
    flat: NDArray[Any] = np.frombuffer(data, dtype, count, base + column["at"])
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
