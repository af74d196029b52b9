"""Grid cells, or their local patches, as samples; and their timestamps, modality by modality."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fastload.datasets.join import join
from fastload.datasets.source import Columns
from fastload.datasets.tensors.cell_images import CellImages, patch_places
from fastload.datasets.tensors.tensor_source import Images
from fastload.storage.cell_scan import REST
from fastload.storage.dates import NO_TIME
from fastload.storage.index import Index

Ints = NDArray[np.int64]
Patches = Literal["any", "each"]
_AT_ONCE = 2**12
"""Samples whose dates are compared together."""
_NOWHERE = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Series:
    """The timestamps of N samples in one modality; those that a sample lacks are at its end.

    Attributes:
        cell: int64 ``[N]``, of each sample among the cells of its `CellImages`.
        patch: int64 ``[N, T]``, of each timestamp.
        number: int64 ``[N, T]``, of each image; -1 where there is none.
        time: int64 ``[N, T]``.
    """

    cell: Ints
    patch: Ints
    number: Ints
    time: Ints

    def some(self, keep: NDArray[np.bool_]) -> "Series":
        """Only some of the timestamps ``[N, T]``, as few columns as hold them."""
        order = np.argsort(~keep, axis=1, kind="stable")[
            :, : max(1, int(keep.sum(1).max(initial=1)))
        ]
        kept = np.take_along_axis(keep, order, 1)

        def of(values: Ints, missing: int) -> Ints:
            return np.where(kept, np.take_along_axis(values, order, 1), missing)

        return Series(self.cell, of(self.patch, -1), of(self.number, -1), of(self.time, NO_TIME))


@dataclass(frozen=True)
class Samples:
    """The samples that several modalities share.

    Attributes:
        key: bytes ``[N]``.
        series: by modality.
        each: whether a sample is a local patch, else it is a cell.
    """

    key: NDArray[np.bytes_]
    series: dict[str, Series]
    each: bool


def samples_of(
    index: Index, images: Mapping[str, CellImages], patches: Patches, missing: str, align: bool
) -> Samples:
    """Join the cells of several modalities, or their patches.

    Args:
        index: theirs.
        images: by modality; the first gives the timestamps.
        patches: "any" for cells, whose timestamps are all images of all patches; "each" for
            patches, each with its own dates.
        missing: see `join`.
        align: whether each further modality shows its image nearest in time at each timestamp of
            the first.

    Raises:
        ValueError: where keys are missing.
    """
    each = patches == "each" and any(some.has_patches for some in images.values())
    keyed = _by_patch(index, images) if each else _by_cell(index, images)
    rows = join({name: key for name, (key, _, _) in keyed.items()}, missing)
    series, key = {}, np.empty(0, np.bytes_)
    for name, (keys, cell, patch) in reversed(keyed.items()):
        some = slice(None) if rows[name] is None else rows[name]
        key = keys[some]
        series[name] = _series(images[name], cell[some], patch[some])
    series = {name: series[name] for name in images}
    samples = Samples(key, series, each)
    return _aligned(samples, images, missing) if align else samples


Keyed = tuple[NDArray[np.bytes_], Ints, Ints]
"""Keys, cells and patches ``[N]``; patch -1 for all."""


def _by_cell(index: Index, images: Mapping[str, CellImages]) -> dict[str, Keyed]:
    return {
        name: (index.key[some.row], np.arange(len(some.row)), np.full(len(some.row), -1))
        for name, some in images.items()
    }


def _by_patch(index: Index, images: Mapping[str, CellImages]) -> dict[str, Keyed]:
    """Modalities of whole cells go with every patch of their cell that others have."""
    out: dict[str, Keyed] = {}
    for name, some in images.items():
        if some.has_patches:
            cell, patch = np.nonzero(some.there.any(axis=2))
            names = np.char.partition(some.patch[cell, patch], b"_")[:, 0]
            key = np.char.add(np.char.add(index.key[some.row[cell]], b"/"), names)
            if len(np.unique(key)) < len(key):
                raise ValueError(f"{name}: patches of one cell have the same number")
            out[name] = key, cell, patch
    every = np.unique(np.concatenate([key for key, _, _ in out.values()]))
    of_cell = np.char.rpartition(every, b"/")[:, 0]
    for name, some in images.items():
        if not some.has_patches:
            known = index.key[some.row]
            order = np.argsort(known, kind="stable")
            at = np.minimum(np.searchsorted(known[order], of_cell), len(known) - 1)
            cell = order[at]
            has = known[cell] == of_cell
            out[name] = every[has], cell[has], np.full(int(has.sum()), -1)
    return {name: out[name] for name in images}


def _series(images: CellImages, cell: Ints, patch: Ints) -> Series:
    there = images.there[cell]
    P = there.shape[1]
    if (patch >= 0).any():  # of one patch
        there = np.take_along_axis(there, patch[:, None, None], 1)
        number = np.take_along_axis(images.number[cell], patch[:, None, None], 1)
        time = np.take_along_axis(images.time[cell], patch[:, None, None], 1)
        of = np.broadcast_to(patch[:, None, None], there.shape)
    else:
        number, time = images.number[cell], images.time[cell]
        of = np.broadcast_to(np.arange(P)[None, :, None], there.shape)
    flat = (len(cell), -1)
    whole = Series(cell, of.reshape(flat), number.reshape(flat), time.reshape(flat))
    return whole.some(there.reshape(flat))


def _aligned(samples: Samples, images: Mapping[str, CellImages], missing: str) -> Samples:
    """Further modalities with as many timestamps as the first has."""
    first, *others = samples.series
    lead = samples.series[first]
    chosen = {}
    for name in others:
        series = samples.series[name]
        if series.number.shape[1] > 1:
            chosen[name] = _nearest(lead, series, _ids(images, first, lead, name, series))
    possible = lead.number >= 0
    for choice in chosen.values():
        possible &= choice >= 0
    _refuse_empty(samples.key, possible, missing)
    some = np.asarray(possible.any(axis=1))
    out = {}
    for name, series in samples.series.items():
        if name in chosen:
            series = _chosen(series, np.maximum(chosen[name], 0))
        shown = possible if name == first or name in chosen else series.number >= 0
        out[name] = _rows(series, some).some(shown[some])
    return Samples(samples.key[some], out, samples.each)


def _ids(
    images: Mapping[str, CellImages], first: str, lead: Series, name: str, other: Series
) -> tuple[Ints, Ints] | None:
    """Patches of two modalities as numbers that are the same for the same patch; None where one of
    them is of whole cells."""
    a, b = images[first], images[name]
    if not a.has_patches or not b.has_patches:
        return None
    names = [a.patch[lead.cell[:, None], lead.patch], b.patch[other.cell[:, None], other.patch]]
    _, number = np.unique(np.concatenate([n.reshape(-1) for n in names]), return_inverse=True)
    split = names[0].size
    return number[:split].reshape(names[0].shape), number[split:].reshape(names[1].shape)


def _nearest(lead: Series, other: Series, ids: tuple[Ints, Ints] | None) -> Ints:
    """The timestamp of another modality that is nearest in time to each one of the first
    ``[N, T]``, of the same patch; the first of several; -1 where there is none."""
    out = np.full(lead.number.shape, -1, np.int64)
    for at in range(0, len(out), _AT_ONCE):
        part = slice(at, at + _AT_ONCE)
        a, b = lead.time[part][:, :, None], other.time[part][:, None]
        known = (a != NO_TIME) & (b != NO_TIME)
        gap = np.where(known, np.abs(np.where(known, a, 0) - np.where(known, b, 0)), _NOWHERE - 1)
        gap[np.broadcast_to((other.number[part] < 0)[:, None], gap.shape)] = _NOWHERE
        if ids is not None:
            gap[ids[0][part][:, :, None] != ids[1][part][:, None]] = _NOWHERE
        best = gap.argmin(axis=2)
        found = np.take_along_axis(gap, best[:, :, None], 2)[:, :, 0] < _NOWHERE
        out[part] = np.where(found & (lead.number[part] >= 0), best, -1)
    return out


def _chosen(series: Series, choice: Ints) -> Series:
    take = (np.take_along_axis(a, choice, 1) for a in (series.patch, series.number, series.time))
    return Series(series.cell, *take)


def _rows(series: Series, some: NDArray[np.bool_]) -> Series:
    return Series(series.cell[some], series.patch[some], series.number[some], series.time[some])


def _refuse_empty(key: NDArray[np.bytes_], possible: NDArray[np.bool_], missing: str) -> None:
    empty = ~possible.any(axis=1)
    if not empty.any():
        return
    some = ", ".join(k.decode() for k in key[empty][:3])
    reason = f"{empty.sum()} of {len(key)} cells have no patch in all modalities, such as {some}"
    if missing == "error" or empty.all():
        raise ValueError(f"{reason} (missing='drop' skips)")
    print(f"dropped: {reason}")


def images_of(images: CellImages, series: Series) -> Images:
    """What a source reads."""
    return Images(images.row[series.cell], series.number.astype(np.int32))


def columns_of(index: Index, images: CellImages, samples: Samples, name: str) -> Columns:
    """Columns of the samples in one modality, where `cell` is the key of the grid cell, `patch`
    what the patch is called (of each timestamp, or of the sample), and `metadata` other fields of
    the json."""
    series = samples.series[name]
    row, (N, T) = images.row[series.cell], series.number.shape
    dates = (series.number >= 0).sum(axis=1).astype(np.int32)
    extra: dict[str, NDArray[np.generic]] = {"cell": index.key[row]}
    lon, lat = index.lon[row], index.lat[row]
    if images.has_patches:
        names = images.patch[series.cell[:, None], np.maximum(series.patch, 0)]
        names = np.where(series.number >= 0, names, b"")
        if samples.each:
            extra["patch"] = names[:, 0]
            places = patch_places(names[:, 0])
            lon, lat = np.where(np.isnan(places), np.stack([lon, lat], 1), places).T
        else:
            extra["patch"] = names
    if REST in index.extra:
        extra["metadata"] = index.extra[REST][row]
    return Columns(
        samples.key, lon, lat, series.time, np.full((N, T), np.nan, np.float32), index.shard[row],
        extra, None if (dates == T).all() else dates,
    )  # fmt: skip
