"""Scanning one shard: every chunk's place and every sample's small metadata, never the pixels."""

import json
import math
import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.storage.dates import NO_TIME, to_ns
from fastload.storage.errors import NotAShardError
from fastload.storage.extra import plain
from fastload.storage.formats.tar import members
from fastload.storage.formats.zarr import ArraySpec, place_chunk
from fastload.storage.formats.zip import check_names
from fastload.storage.group import (
    BANDS,
    CHUNK,
    CLOUD_MASK,
    CLOUD_SHARE,
    Group,
    band_names,
    group_of,
    specs_of,
)
from fastload.storage.member import Member, check_entry
from fastload.storage.store import Store

__all__ = ["CHUNK", "NO_TIME", "SUFFIX", "Sample", "band_names", "scan", "specs_of"]

SUFFIX = ".zarr.zip"
THIN_CLOUD, THICK_CLOUD = 3, 4
MOST_HEADERS = 2**20
"""Bytes of a group's headers, all together, that are believed."""
MOST_SMALL = 2**26
"""Bytes of the largest small array that is believed."""
SLACK, RATIO = 2**28, 1000
"""A sample of so many decoded bytes is believed; beyond, it may be so many times as large as what
is stored of it."""

_HEADERS = (".zgroup", ".zarray", ".zattrs", ".zmetadata")
_CHUNK_NAME = re.compile(r"/\d+([./]\d+)*$")
_FAULTS = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError,
           SystemError)  # fmt: skip
"""What headers that make no sense may raise, in this package or in those that it calls."""


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
    extra: dict[str, NDArray[Any]] = field(default_factory=dict)


def scan(store: Store, shard: str, size: int) -> list[Sample]:
    """Read the headers of one tar of so many bytes.

    Raises:
        DataError: names shard, member, offset and reason.
    """
    found = [
        _sample(Member(store, shard, name, start, length))
        for name, start, length in members(store, shard, size, SUFFIX)
    ]
    if not found:
        raise NotAShardError(store.path(shard), "", -1, f"the shard holds no *{SUFFIX} sample")
    return found


def _sample(member: Member) -> Sample:
    try:
        return _read(member, _open(member))
    except _FAULTS as error:
        reason = str(error) if isinstance(error, ValueError) else f"makes no sense ({error!r})"
        raise member.error(reason) from error


def _open(member: Member) -> Group:
    """The headers of a sample, after a look at its names."""
    found = member.open()
    group = group_of(_headers(member))
    if found.repeats or _doubtful(member, group):
        check_names(member.read, found.headers)
    return group


def _read(member: Member, group: Group) -> Sample:
    T = group.timestamps
    small = {n: _whole(member, n, spec) for n, spec in group.small.items()}
    mask = group.images.get(CLOUD_MASK)
    names = small["band"].ravel().astype(str) if "band" in small else ()
    chunks = np.concatenate([_places(member, n, spec) for n, spec in group.images.items()])
    _check_size(group.images.values(), int(chunks["stored"].sum(dtype=np.int64)))
    extra = {
        name: plain(_whole(member, name, spec))
        for name, spec in group.columns.items()
        if _is_there(member, name, spec)
    }
    cloud = _told_share(extra, T)
    if cloud is None:
        cloud = cloud_share(None if mask is None else _whole(member, CLOUD_MASK, mask), T)
    return Sample(
        group.key or posixpath.basename(member.name).removesuffix(SUFFIX),
        group.layout(tuple(map(str, names))),
        _place(member, group, small, "center_lon"),
        _place(member, group, small, "center_lat"),
        _time(small.get("time"), group, T),
        cloud,
        chunks,
        extra,
    )


def _doubtful(member: Member, group: Group) -> bool:
    """Whether a chunk is absent or a member unknown: then a name may be damaged.

    A chunk whose name was damaged would otherwise be taken for one that is all fill value.
    """
    found = {n for n in member.entries if n.rpartition("/")[2] not in _HEADERS}
    return bool(group.expected - found) or any(
        n.partition("/")[0] not in group.others or not _CHUNK_NAME.search(n)
        for n in found - group.expected
    )


def _headers(member: Member) -> bytes:
    """All headers that are needed as one JSON text: the consolidated one, or gathered."""
    data = member.get(".zmetadata", MOST_HEADERS)
    if data is not None:
        return data
    names = [n for n in member.entries if n.endswith(".zarray") or n == "time/.zattrs"]
    if not names and any(n.rpartition("/")[2] == "zarr.json" for n in member.entries):
        raise ValueError("is of zarr format 3, expected format 2 as zarr 2.18 writes it")
    if sum(member.entries[n].size for n in names) > MOST_HEADERS:
        raise ValueError(f"its headers exceed {MOST_HEADERS} bytes")
    found = {n: json.loads(member.get(n, MOST_HEADERS) or b"{}") for n in names}
    return json.dumps({"metadata": found}).encode()


def _places(member: Member, array: str, spec: ArraySpec) -> NDArray[np.void]:
    """Where the chunks of an array lie."""
    names = spec.chunk_names(array)
    rows = np.zeros(len(names), CHUNK)
    most = spec.most_stored
    for i, name in enumerate(names):
        entry = member.entries.get(name)
        if entry is None:
            continue
        try:
            check_entry(entry, most)
            if not entry.stored:
                raise ValueError("a chunk of no bytes")
        except ValueError as error:
            raise member.error(str(error), member.start + entry.offset, name) from error
        place = member.start + entry.offset
        rows[i] = (place, entry.stored, entry.size, entry.crc, entry.method, 0)
    return rows


def _check_size(specs: Iterable[ArraySpec], stored: int) -> None:
    """Refuse headers that promise far more than what is stored can be."""
    promised = sum(math.prod(spec.shape) * spec.dtype.itemsize for spec in specs)
    if promised > SLACK and promised > RATIO * stored:
        raise ValueError(
            f"its arrays promise {promised} bytes of pixels, but {stored} bytes are stored; "
            f"beyond {SLACK} bytes at most {RATIO} times as many are believed"
        )


def _is_there(member: Member, name: str, spec: ArraySpec) -> bool:
    """Whether any chunk of an array was written."""
    return any(chunk in member.entries for chunk in spec.chunk_names(name))


def _whole(member: Member, name: str, spec: ArraySpec) -> NDArray[Any]:
    """A small array, all of it."""
    if max(math.prod(spec.shape) * spec.dtype.itemsize, spec.chunk_bytes) > MOST_SMALL:
        raise member.error(f"array '{name}' {spec.shape} exceeds {MOST_SMALL} bytes")
    out = np.full(spec.shape, spec.fill_value, spec.dtype)
    for index, chunk in zip(np.ndindex(spec.grid), spec.chunk_names(name), strict=True):
        data = member.get(chunk, spec.most_stored)
        if data is None:
            continue
        try:
            place_chunk(spec, index, data, out)
        except _FAULTS as error:
            raise member.error(str(error), inner=chunk) from error
    return out


def _place(member: Member, group: Group, small: Mapping[str, NDArray[Any]], name: str) -> float:
    """A coordinate; NaN where there is none, or none was ever written."""
    if name not in small:
        return float("nan")
    value = small[name]
    if value.size != 1:
        raise ValueError(f"{name} must be one number, got shape {value.shape}")
    if not _is_there(member, name, group.small[name]):
        return float("nan")
    return float(value.ravel()[0])


def _time(time: NDArray[Any] | None, group: Group, T: int) -> NDArray[np.int64]:
    """When each timestamp was; see `dates`."""
    dated = len(group.images[BANDS].shape) == 4
    if time is None or (not dated and time.size != 1):  # several dates say nothing of one image
        return np.full(T, NO_TIME, np.int64)
    if time.size != T or time.dtype.kind not in "iufM":
        raise ValueError(f"time must be {T} numbers, as bands has timestamps, got {time!r}")
    if not isinstance(group.attributes, dict):
        raise ValueError(f"the attributes of time must be a dict, got {group.attributes!r}")
    return to_ns(time, group.attributes, group.small["time"].fill_value)


def _told_share(extra: dict[str, NDArray[Any]], T: int) -> NDArray[np.float32] | None:
    """The share that the group itself says, taken out of its columns; None where it does not."""
    share = extra.get(CLOUD_SHARE)
    if share is None or share.size != T or share.dtype.kind != "f":
        return None
    return np.asarray(extra.pop(CLOUD_SHARE).reshape(T), np.float32)


def cloud_share(mask: NDArray[Any] | None, T: int) -> NDArray[np.float32]:
    """Share of pixels under thin or thick cloud per timestamp; NaN without a mask."""
    if mask is None or (mask.ndim > 2 and len(mask) != T):
        return np.full(T, np.nan, np.float32)
    cloudy = (mask == THIN_CLOUD) | (mask == THICK_CLOUD)
    return np.asarray(cloudy.reshape(T, -1).mean(axis=1), np.float32)
