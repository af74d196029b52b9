"""Scanning a zarr group of many samples in one zip: where the chunks of each lie, and its columns.

As far as the index goes, a sample is an array like those of a zip of its own: the axis of samples
is left off, and where a chunk holds several samples, its layout says which one it is.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.storage.dates import NO_TIME, to_ns
from fastload.storage.errors import NotAShardError
from fastload.storage.extra import plain
from fastload.storage.formats.foreign import HEAD, foreign
from fastload.storage.formats.zarr import ArraySpec
from fastload.storage.formats.zip import check_names
from fastload.storage.group import CLOUD_MASK
from fastload.storage.many import DATES, IDS, NAMES, Many, many_of
from fastload.storage.member import Member
from fastload.storage.scan import (
    FAULTS,
    SUFFIX,
    Sample,
    check_size,
    cloud_share,
    doubtful,
    headers,
    is_there,
    places,
    whole,
)
from fastload.storage.store import Store


def scan_zip(store: Store, shard: str, size: int) -> list[Sample]:
    """Read the headers and columns of a zip of so many bytes.

    Raises:
        DataError: names shard, member, offset and reason.
    """
    member = Member(store, shard, "", 0, size)
    if (what := foreign(store.bytes(shard, 0, min(HEAD, size)))) and not what.startswith("a zip"):
        raise NotAShardError(store.path(shard), "", -1, f"expected a zip, found {what}")
    try:
        found = member.open()
        many = many_of(headers(member))
        if found.repeats or doubtful(member, many.expected, many.others):
            check_names(member.read, found.headers)
        return _samples(member, many)
    except FAULTS as error:
        reason = str(error) if isinstance(error, ValueError) else f"makes no sense ({error!r})"
        raise member.error(reason) from error


def _samples(member: Member, many: Many) -> list[Sample]:
    columns = {
        name: whole(member, name, spec)
        for name, spec in many.columns.items()
        if is_there(member, name, spec)
    }
    chunks = _chunks(member, many)
    keys = _keys(columns, member.shard.removesuffix(SUFFIX), many.samples)
    times = _times(columns, many)
    lon, lat = (_place(columns, name, many.samples) for name in ("center_lon", "center_lat"))
    clouds = _clouds(member, many)
    bands = tuple(map(str, columns["band"].ravel().astype(str))) if "band" in columns else ()
    extra = {n: c for n, c in columns.items() if n not in NAMES}
    return [
        Sample(
            keys[i],
            many.layout(bands, i),
            float(lon[i]),
            float(lat[i]),
            times[i],
            clouds[i],
            np.concatenate([rows[i // many.depth[name]] for name, rows in chunks.items()]),
            {name: plain(np.asarray(column[i])) for name, column in extra.items()},
        )
        for i in range(many.samples)
    ]


def _chunks(member: Member, many: Many) -> dict[str, NDArray[np.void]]:
    """Where chunks lie, by array: ``[g, n]`` for each group of samples that share chunks."""
    out, stored = {}, 0
    for name, spec in many.images.items():
        groups = many.groups(name)
        names = [chunk for g in range(groups) for chunk in many.chunk_names(name, g)]
        out[name] = places(member, names, spec).reshape(groups, -1)
        stored += int(out[name]["stored"].sum(dtype=np.int64))
    check_size((replace(s, shape=(many.samples, *s.shape)) for s in many.images.values()), stored)
    return out


def _keys(columns: Mapping[str, NDArray[Any]], stem: str, samples: int) -> list[str]:
    """The samples' names, or else the file's with their places in it."""
    for name in IDS:
        ids = columns.get(name)
        if ids is not None and ids.shape == (samples,) and ids.dtype.kind in "USO":
            found = [i.decode() if isinstance(i, bytes) else str(i) for i in ids.tolist()]
            if all(found):
                return found
    return [f"{stem}_{i:02d}" for i in range(samples)]


def _place(columns: Mapping[str, NDArray[Any]], name: str, samples: int) -> NDArray[np.float64]:
    """A coordinate of each sample; NaN where there is none."""
    values = columns.get(name)
    if values is None:
        return np.full(samples, np.nan)
    if values.shape != (samples,) or values.dtype.kind not in "iuf":
        raise ValueError(
            f"{name} must be a number for each of {samples} samples, got {values.dtype} "
            f"{list(values.shape)}"
        )
    return values.astype(np.float64)


def _times(columns: Mapping[str, NDArray[Any]], many: Many) -> NDArray[np.int64]:
    """When each date of each sample was ``[S, T]``."""
    shape = (many.samples, many.timestamps)
    for name in DATES:
        values, attributes = columns.get(name), many.metadata.get(f"{name}/.zattrs") or {}
        if values is None or values.dtype.kind not in "iufM":
            continue
        if not isinstance(attributes, dict):
            raise ValueError(f"the attributes of {name} must be a dict, got {attributes!r}")
        # One date for all samples must say that it is one; a plain axis is numbered from 0.
        dated = values.dtype.kind == "M" or "units" in attributes
        if values.shape == shape or (values.shape == shape[1:] and dated):
            ns = to_ns(values, attributes, many.columns[name].fill_value)
            return np.broadcast_to(ns.reshape(values.shape), shape).astype(np.int64)
    return np.full(shape, NO_TIME, np.int64)


def _clouds(member: Member, many: Many) -> NDArray[np.float32]:
    """Shares of cloudy pixels ``[S, T]``."""
    out = np.full((many.samples, many.timestamps), np.nan, np.float32)
    mask = many.images.get(CLOUD_MASK)
    if mask is None or mask.shape[0] != many.timestamps:
        return out
    depth = many.depth[CLOUD_MASK]
    for g in range(many.groups(CLOUD_MASK)):
        for k, values in enumerate(_group(member, many, CLOUD_MASK, g)):
            if g * depth + k < many.samples:
                out[g * depth + k] = cloud_share(values, many.timestamps)
    return out


def _group(member: Member, many: Many, name: str, g: int) -> NDArray[Any]:
    """All of an array for the samples that share chunks."""
    one, depth = many.images[name], many.depth[name]
    spec: ArraySpec = replace(
        one, shape=(depth, *one.shape), chunks=(depth, *one.chunks), depth=1, number=0
    )
    return whole(member, name, spec, many.chunk_names(name, g))
