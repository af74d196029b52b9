"""Whether an index holds together: nothing in it may point beyond what is there.

Checksums find damage, not intent; a file that was made by hand, or by a fault of this package, must
neither break the process nor point into what is not a shard.
"""

import json
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from fastload.storage.checksum import crc32
from fastload.storage.group import CHUNK, specs_of, timestamps_of

if TYPE_CHECKING:
    from fastload.storage.index_file import Index

COLUMNS = ("key", "shard", "layout", "first", "lon", "lat", "time", "cloud", "chunks")
"""Those that every index has."""
_DTYPES = {
    "shard": "<u4", "layout": "<u4", "first": "<i8", "lon": "<f8", "lat": "<f8", "time": "<i8",
    "cloud": "<f4",
}  # fmt: skip
_ROWS = 2**15
"""Rows of the chunk table that are looked at together."""


def dtype_of(column: dict[str, Any]) -> np.dtype[Any]:
    """Dtype of a column as the header has it."""
    described = column["dtype"]
    return np.dtype([tuple(d) for d in described] if isinstance(described, list) else described)


def nbytes_of(column: dict[str, Any]) -> int:
    """Bytes of a column as the header has it."""
    size: int = math.prod(column["shape"]) * dtype_of(column).itemsize
    return size


def check_columns(header: dict[str, Any]) -> None:
    """Compare dtypes, shapes and places with what columns must have.

    Raises:
        ValueError: names the column.
    """
    columns = header["columns"]
    if set(COLUMNS) - set(columns):
        raise ValueError(f"it lacks the columns {sorted(set(COLUMNS) - set(columns))}")
    N = columns["key"]["shape"][0]
    for name, column in columns.items():
        dtype, shape = dtype_of(column), column["shape"]
        dimensions = (2,) if name in ("time", "cloud") else (1, 2, 3) if "/" in name else (1,)
        fits = (
            _fits(name, dtype)
            and len(shape) in dimensions
            and all(type(n) is int and n >= 0 for n in shape)
            and (name == "chunks" or shape[0] == N)
            and type(column["at"]) is int
            and 0 <= column["at"] <= header["bytes"] - nbytes_of(column)
        )
        if not fits:
            raise ValueError(f"its column '{name}' {dtype} {shape} does not fit")


def _fits(name: str, dtype: np.dtype[Any]) -> bool:
    if name == "chunks":
        return dtype == CHUNK
    if name in _DTYPES:
        return dtype == np.dtype(_DTYPES[name])
    return dtype.itemsize > 0 and (dtype.kind == "S" or dtype.str in ("<i8", "<f8"))


def check_rows(index: "Index") -> None:
    """Compare samples with shards and layouts.

    Raises:
        ValueError: says what does not fit.
    """
    shards, N = index.shards, len(index)
    for shard in shards:
        numbers = (shard.size, shard.samples, shard.largest)
        texts = (shard.name, shard.version)
        if any(type(n) is not int or n < 0 for n in numbers) or any(
            type(s) is not str for s in texts
        ):
            raise ValueError(f"its shard {shard} makes no sense")
    if index.time.shape != index.cloud.shape:
        raise ValueError("its columns 'time' and 'cloud' differ in shape")
    samples = [shard.samples for shard in shards]
    if sum(samples) != N or (index.shard != np.repeat(np.arange(len(shards)), samples)).any():
        raise ValueError("its samples are not those of its shards")
    if N and int(index.layout.max()) >= len(index.layouts):
        raise ValueError("a sample has a layout that is not there")
    counts = np.array([_chunk_count(layout, index.time.shape[1]) for layout in index.layouts])
    ends = np.cumsum(counts[index.layout]) if N else np.zeros(0, np.int64)
    if (index.first[1:] != ends[:-1]).any() or (index.first[:1] != 0).any():
        raise ValueError("its samples do not have as many chunks as their layouts")
    if (int(ends[-1]) if N else 0) != len(index.chunks):
        raise ValueError("it has not as many chunks as its samples")


def _chunk_count(layout: str, timestamps: int) -> int:
    """How many chunks a sample of a layout has. One that is not of zarr says it."""
    said = json.loads(layout).get("chunks")
    if type(said) is int and said >= 0:
        return said
    specs = specs_of(layout)
    if timestamps_of(specs["bands"]) > timestamps:
        raise ValueError("a layout has more timestamps than there are dates")
    return sum(math.prod(spec.grid) for spec in specs.values())


def check_chunks(index: "Index", sums: list[int], read: Callable[[int, int], bytes]) -> None:
    """Compare each shard's chunk rows with their checksum, and with the size of the shard.

    Args:
        index: theirs.
        sums: CRC-32 of the rows of each shard.
        read: gives bytes of the chunk table, by offset and size.

    Raises:
        ValueError: names the shard.
    """
    for number, (rows, shard) in enumerate(zip(index.chunks_of(), index.shards, strict=True)):
        checksum = 0
        for first in range(rows.start, rows.stop, _ROWS):
            count = min(_ROWS, rows.stop - first)
            block = read(first * CHUNK.itemsize, count * CHUNK.itemsize)
            checksum = crc32(block, checksum)
            some = np.frombuffer(block, CHUNK)
            room = shard.size - some["stored"].astype(np.int64)
            largest = int(some["stored"].max(initial=0))
            if (
                len(some) < count
                or (some["file"] != number).any()
                or (room < 0).any()
                or (some["offset"] > room.astype(np.uint64)).any()
                or largest > shard.largest
            ):
                raise ValueError(f"its chunks do not lie in {shard.name}")
        if checksum != sums[number]:
            raise ValueError(f"its chunks of {shard.name} do not match their CRC-32")
