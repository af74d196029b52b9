"""Which samples of a dataset are chosen: by number, mask or key, at random, or by what is known."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastload.seasons import SEASONS
from fastload_kernels.philox import ORDER, words

if TYPE_CHECKING:
    from fastload.datasets.base import Dataset

Indices = NDArray[np.int64]
_SPLIT = 2**20
"""Philox word that splits begin with; far from those that order an epoch."""


def positions(dataset: "Dataset", which: Any) -> Indices:
    """The samples ``[n]`` that a choice names, in its order; `which` as of `Dataset.subset`.

    Raises:
        ValueError, IndexError, KeyError: say what does not fit.
    """
    listed: Any = (
        which if hasattr(which, "__array__") or not isinstance(which, Iterable) else [*which]
    )
    chosen = np.asarray(listed)
    if chosen.ndim != 1:
        raise ValueError(f"subset: expected one axis of samples, got shape {chosen.shape}")
    if chosen.dtype.kind in "USO" and chosen.size:
        return _of_keys(dataset, [k.decode() if isinstance(k, bytes) else str(k) for k in chosen])
    if chosen.dtype == bool:
        if len(chosen) != len(dataset):
            raise ValueError(
                f"subset: the mask has {len(chosen)} entries, the dataset {len(dataset)} samples"
            )
        return np.flatnonzero(chosen)
    if chosen.size and chosen.dtype.kind not in "iu":
        raise ValueError(f"subset: expected numbers, a mask or keys, got {chosen.dtype}")
    chosen = chosen.astype(np.int64)
    wrong = chosen[(chosen < -len(dataset)) | (chosen >= len(dataset))]
    if wrong.size:
        raise IndexError(f"subset: there is no sample {wrong[0]}, the dataset has {len(dataset)}")
    return np.where(chosen < 0, chosen + len(dataset), chosen)


def _of_keys(dataset: "Dataset", keys: Sequence[str]) -> Indices:
    found = [dataset.number_of.get(key, -1) for key in keys]
    lacking = [key for key, at in zip(keys, found, strict=True) if at < 0]
    if lacking:
        some = ", ".join(lacking[:3])
        raise KeyError(f"subset: {len(lacking)} of {len(keys)} keys are not there, such as {some}")
    return np.array(found, np.int64)


def parts(samples: int, fractions: Sequence[float], seed: int) -> list[Indices]:
    """Disjoint random parts of ``range(samples)``, each ascending.

    Sizes are those of `torch.utils.data.random_split`: fractions are rounded down, and what is left
    over goes to the first ones, one each; whole numbers are sizes.

    Raises:
        ValueError: where the parts do not fit.
    """
    if all(isinstance(f, int) for f in fractions) and sum(fractions) > 1:
        sizes = [int(f) for f in fractions]
    else:
        if not fractions or min(fractions) < 0 or sum(fractions) > 1 + 1e-6:
            raise ValueError(f"split: fractions must be in [0, 1] and sum to 1, got {fractions}")
        sizes = [int(samples * f) for f in fractions]
        left = round(samples * sum(fractions)) - sum(sizes)
        for i in range(left):
            sizes[i % len(sizes)] += 1
    if min(sizes) < 1 or sum(sizes) > samples:
        raise ValueError(f"split: {samples} samples cannot be split into {sizes}")
    bits = words(seed, 0, np.arange(samples), ORDER, _SPLIT, 2)
    order = np.argsort((bits[:, 0] << np.uint64(32)) | bits[:, 1], kind="stable")
    ends = np.cumsum(sizes)
    return [np.sort(order[end - size : end]) for size, end in zip(sizes, ends, strict=True)]


def matching(
    dataset: "Dataset",
    bbox: Sequence[float] | None,
    months: Iterable[int] | None,
    seasons: Iterable[int | str] | None,
    since: Any,
    until: Any,
    max_cloud: float | None,
    dates: str,
) -> NDArray[np.bool_]:
    """Which samples ``[N]`` fit; arguments as of `Dataset.filter`."""
    if dates not in ("any", "all"):
        raise ValueError(f"filter: dates must be 'any' or 'all', got {dates!r}")
    fits = np.ones(len(dataset.lon), bool)
    if bbox is not None:
        fits &= _inside(dataset.lon, dataset.lat, bbox)
    time = dataset.all_times
    wanted = np.ones(time.shape, bool)
    lacks = np.arange(time.shape[1]) >= dataset.all_dates[:, None]
    stamps = time.astype("datetime64[ns]")
    if months is not None:
        month = stamps.astype("datetime64[M]").astype(np.int64) % 12 + 1
        wanted &= np.isin(month, _whole("months", months, 1, 12))
    if seasons is not None:
        numbers = [SEASONS.index(s) if isinstance(s, str) and s in SEASONS else s for s in seasons]
        wanted &= np.isin(dataset.all_seasons, _whole("seasons", numbers, 0, 3))
    if since is not None:
        wanted &= stamps >= np.datetime64(since, "ns")
    if until is not None:
        wanted &= stamps < np.datetime64(until, "ns")
    if any(x is not None for x in (months, seasons, since, until)):
        wanted &= ~np.isnat(stamps)
        fits &= wanted.any(axis=1) if dates == "any" else (wanted | lacks).all(axis=1)
    if max_cloud is not None:
        fits &= _clear(dataset.all_clouds, lacks, max_cloud)
    return fits


def lasting(dataset: "Dataset", dates: Any) -> NDArray[np.bool_]:
    """Which samples ``[N]`` have at least so many dates in every modality that has as many.

    Raises:
        ValueError: where the first modality has fewer timestamps.
    """
    if not isinstance(dates, int | np.integer) or not 1 <= dates <= dataset.timestamps:
        raise ValueError(
            f"filter: min_dates must be a whole number from 1 to {dataset.timestamps}, got {dates}"
        )
    fits = np.ones(dataset.places, bool)
    for name, m in dataset.modalities.items():
        fits &= dataset.dates_of(name) >= min(int(dates), m.timestamps)
    return fits


def _inside(lon: NDArray[Any], lat: NDArray[Any], bbox: Sequence[float]) -> NDArray[np.bool_]:
    if len(bbox) != 4 or not bbox[1] <= bbox[3]:
        raise ValueError(f"filter: bbox must be (west, south, east, north) in degrees, got {bbox}")
    west, south, east, north = bbox
    across = west > east  # over the antimeridian
    between = (lon >= west) | (lon <= east) if across else (lon >= west) & (lon <= east)
    return between & (lat >= south) & (lat <= north)


def _whole(name: str, values: Iterable[Any], low: int, high: int) -> list[int]:
    found = list(values)
    if not all(isinstance(v, int | np.integer) and low <= v <= high for v in found):
        names = f" or of {SEASONS}" if name == "seasons" else ""
        raise ValueError(f"filter: {name} must be from {low} to {high}{names}, got {found}")
    return [int(v) for v in found]


def _clear(cloud: NDArray[np.float32], lacks: NDArray[np.bool_], most: float) -> NDArray[np.bool_]:
    if np.isnan(cloud).all():
        raise ValueError("filter: max_cloud needs cloud shares, but none is known here")
    with np.errstate(invalid="ignore"):
        return np.asarray(((cloud <= most) | lacks).all(axis=1))
