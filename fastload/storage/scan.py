"""Scanning one shard: every chunk's place and every sample's small metadata, never the pixels."""

import json
import math
import posixpath
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.storage.checksum import crc32
from fastload.storage.errors import DataError
from fastload.storage.formats.codecs import inflate
from fastload.storage.formats.tar import members
from fastload.storage.formats.zarr import ArraySpec, place_chunk
from fastload.storage.formats.zip import (
    DEFLATED,
    STORED,
    Directory,
    Entry,
    check_names,
    directory,
)
from fastload.storage.store import Store

SUFFIX = ".zarr.zip"
ARRAYS = ("bands", "cloud_mask")
"""Arrays whose chunks are indexed; the first is required."""
THIN_CLOUD, THICK_CLOUD = 3, 4
TAIL = 24 * 1024
"""Bytes read from a zip's end at once: its directory and the small arrays lie there."""
MOST_SMALL = 2**26
"""Bytes of the largest header or small array that is believed."""
NO_TIME = np.iinfo(np.int64).min
"""Pads the time column of samples with fewer timestamps."""

CHUNK = np.dtype(
    [("offset", "<u8")] + [(name, "<u4") for name in ("stored", "size", "crc", "method", "file")]
)
"""A chunk's bytes: where in which file, how many, inflated size, CRC-32 and zip method. `stored` is
0 where the chunk is absent and so is all fill value."""


_HEADERS = (".zgroup", ".zarray", ".zattrs", ".zmetadata")
_CHUNK_NAME = re.compile(r"/\d+([./]\d+)*$")


@dataclass
class Sample:
    """What the index keeps of one sample."""

    key: str
    layout: str
    lon: float
    lat: float
    time: NDArray[np.int64]
    cloud: NDArray[np.float32]
    chunks: NDArray[np.void]


@dataclass
class _Member:
    """One `{key}.zarr.zip` inside a tar."""

    store: Store
    shard: str
    name: str
    start: int
    size: int
    tail: bytes = b""
    entries: dict[str, Entry] = field(default_factory=dict)

    def open(self) -> Directory:
        """Read the zip's directory."""
        found = directory(self.read, self.size)
        self.entries = found.entries
        return found

    def error(self, reason: str, offset: int = -1, inner: str = "") -> DataError:
        name = f"{self.name}/{inner}" if inner else self.name
        return DataError(
            self.store.path(self.shard), name, self.start if offset < 0 else offset, reason
        )

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of the zip, from its cached tail where they lie there."""
        if not 0 <= offset <= offset + size <= self.size:
            raise ValueError(f"{size} bytes at {offset} reach beyond the zip of {self.size} bytes")
        tail_start = max(0, self.size - TAIL)
        if offset < tail_start:
            data = self.store.bytes(self.shard, self.start + offset, size)
        else:
            if not self.tail:
                start, length = self.start + tail_start, self.size - tail_start
                self.tail = self.store.bytes(self.shard, start, length)
            data = self.tail[offset - tail_start : offset - tail_start + size]
        if len(data) != size:
            raise ValueError(f"the file ends inside the {size} bytes at {self.start + offset}")
        return data

    def get(self, name: str, most: int = MOST_SMALL) -> bytes | None:
        """A zip member's content, CRC checked; None where there is no such member."""
        entry = self.entries.get(name)
        if entry is None:
            return None
        try:
            _check_entry(entry, most)
            data = self.read(entry.offset, entry.stored)
            if entry.method == DEFLATED:
                data = inflate(data, entry.size)
            if crc32(data) != entry.crc:
                raise ValueError("CRC-32 does not match the zip directory")
        except ValueError as error:
            raise self.error(str(error), self.start + entry.offset, name) from error
        return data


def scan(store: Store, shard: str, size: int) -> list[Sample]:
    """Read the headers of one tar of so many bytes.

    Raises:
        DataError: names shard, member, offset and reason.
    """
    return [
        _sample(_Member(store, shard, name, start, length))
        for name, start, length in members(store, shard, size, SUFFIX)
    ]


def _sample(member: _Member) -> Sample:
    try:
        found = member.open()
        headers = _headers(member)
        specs = _specs(headers)
        if found.repeats or _doubtful(member, headers, specs):
            check_names(member.read, found.headers)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise member.error(str(error)) from error
    small = {name: _whole(member, name, spec) for name, spec in specs.items() if name != "bands"}
    indexed = {name: specs[name] for name in ARRAYS if name in specs}
    places = [_places(member, name, spec) for name, spec in indexed.items()]
    T = specs["bands"].shape[0]
    try:
        return Sample(
            posixpath.basename(member.name).removesuffix(SUFFIX),
            _layout(headers, tuple(small["band"].ravel().astype(str)) if "band" in small else ()),
            _scalar(small, "center_lon"),
            _scalar(small, "center_lat"),
            _time(small.get("time"), T),
            _cloud_share(small.get("cloud_mask"), T),
            np.concatenate(places),
        )
    except (ValueError, TypeError) as error:
        raise member.error(str(error)) from error


def _doubtful(member: _Member, headers: bytes, specs: dict[str, ArraySpec]) -> bool:
    """Whether a chunk is absent or a member unknown: then a name may be damaged.

    A chunk whose name was damaged would otherwise be taken for one that is all fill value.
    """
    expected = {chunk for name, spec in specs.items() for chunk in spec.chunk_names(name)}
    others = {n.removesuffix("/.zarray") for n in json.loads(headers)["metadata"]} - set(specs)
    found = {n for n in member.entries if n.rpartition("/")[2] not in _HEADERS}
    unknown = found - expected
    return bool(expected - found) or any(
        n.partition("/")[0] not in others or not _CHUNK_NAME.search(n) for n in unknown
    )


def _headers(member: _Member) -> bytes:
    """All ``.zarray`` headers as one JSON text: the consolidated one, or gathered."""
    data = member.get(".zmetadata")
    if data is not None:
        return data
    found = {n: json.loads(member.get(n) or b"{}") for n in member.entries if n.endswith(".zarray")}
    return json.dumps({"metadata": found}).encode()


@lru_cache(64)
def _specs(headers: bytes) -> dict[str, ArraySpec]:
    """The arrays that the index is made from. A shard's samples mostly share one header text."""
    metadata = json.loads(headers)["metadata"]
    specs = {}
    for name in (*ARRAYS, "band", "time", "center_lon", "center_lat"):
        meta = metadata.get(f"{name}/.zarray")
        if meta is None:
            continue
        try:
            specs[name] = ArraySpec.parse(meta)
        except ValueError as error:
            raise ValueError(f"array '{name}': {error}") from error
    if "bands" not in specs:
        raise ValueError("there is no array 'bands'")
    bands = specs["bands"]
    if len(bands.shape) != 4 or bands.dtype.kind not in "biuf" or 0 in bands.shape:
        raise ValueError(
            f"array 'bands' must be numbers [T, C, H, W], got {bands.dtype} {bands.shape}"
        )
    return specs


@lru_cache(64)
def _layout(headers: bytes, names: tuple[str, ...]) -> str:
    """The indexed arrays' headers and the band names as canonical JSON."""
    metadata = json.loads(headers)["metadata"]
    arrays = {n: metadata[f"{n}/.zarray"] for n in ARRAYS if f"{n}/.zarray" in metadata}
    return json.dumps({"arrays": arrays, "band": names}, sort_keys=True)


@lru_cache(64)
def specs_of(layout: str) -> dict[str, ArraySpec]:
    """Array headers of a layout, in the order in which their chunks are indexed."""
    arrays = json.loads(layout)["arrays"]
    return {name: ArraySpec.parse(arrays[name]) for name in ARRAYS if name in arrays}


def band_names(layout: str) -> list[str]:
    """Band names of a layout, as far as the group has them."""
    return list(json.loads(layout)["band"])


def _places(member: _Member, array: str, spec: ArraySpec) -> NDArray[np.void]:
    """Where the chunks of an array lie."""
    names = spec.chunk_names(array)
    rows = np.zeros(len(names), CHUNK)
    most = _most(spec)
    for i, name in enumerate(names):
        entry = member.entries.get(name)
        if entry is None:
            continue
        try:
            _check_entry(entry, most)
            if not entry.stored:
                raise ValueError("a chunk of no bytes")
        except ValueError as error:
            raise member.error(str(error), member.start + entry.offset, name) from error
        place = member.start + entry.offset
        rows[i] = (place, entry.stored, entry.size, entry.crc, entry.method, 0)
    return rows


def _most(spec: ArraySpec) -> int:
    """Most bytes that a compressed chunk can have."""
    return spec.chunk_bytes + spec.chunk_bytes // 8 + 1024


def _check_entry(entry: Entry, most: int) -> None:
    if entry.method not in (STORED, DEFLATED):
        raise ValueError(f"zip method {entry.method} is not supported, expected stored or deflated")
    if entry.size > most or (entry.method == STORED and entry.size != entry.stored):
        raise ValueError(f"size field {entry.size} does not fit, expected at most {most} bytes")


def _whole(member: _Member, name: str, spec: ArraySpec) -> NDArray[Any]:
    """A small array, all of it."""
    if max(math.prod(spec.shape) * spec.dtype.itemsize, spec.chunk_bytes) > MOST_SMALL:
        raise member.error(f"array '{name}' {spec.shape} exceeds {MOST_SMALL} bytes")
    out = np.full(spec.shape, spec.fill_value, spec.dtype)
    for index, chunk in zip(np.ndindex(spec.grid), spec.chunk_names(name), strict=True):
        data = member.get(chunk, _most(spec))
        if data is None:
            continue
        try:
            place_chunk(spec, index, data, out)
        except ValueError as error:
            raise member.error(str(error), inner=chunk) from error
    return out


def _scalar(small: dict[str, NDArray[Any]], name: str) -> float:
    if name not in small:
        return float("nan")
    if small[name].size != 1:
        raise ValueError(f"{name} must be one number, got shape {small[name].shape}")
    return float(small[name].ravel()[0])


def _time(time: NDArray[Any] | None, T: int) -> NDArray[np.int64]:
    """When each timestamp was; 1970 without an array of them."""
    if time is None:
        return np.zeros(T, np.int64)
    if time.size != T or time.dtype.kind not in "iuf":
        raise ValueError(f"time must be {T} numbers, as bands has timestamps, got {time!r}")
    return time.ravel().astype(np.int64)


def _cloud_share(mask: NDArray[Any] | None, T: int) -> NDArray[np.float32]:
    """Share of pixels under thin or thick cloud per timestamp; NaN without a mask."""
    if mask is None or len(mask) != T:
        return np.full(T, np.nan, np.float32)
    cloudy = (mask == THIN_CLOUD) | (mask == THICK_CLOUD)
    return np.asarray(cloudy.reshape(T, -1).mean(axis=1), np.float32)
