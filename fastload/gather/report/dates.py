"""The figures of when: months, gaps, seasons and clouds of the dates of one modality."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.gather.report.histogram import histogram
from fastload.seasons import season

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
GAP_D = (*range(0, 200, 10), np.inf)
"""Edges of the bins of days between dates."""
CLOUD = tuple(np.arange(21) / 20)
PUBLISHED = {
    "one date in each": {"meteorological": 0.838, "calendar": 0.860},
    "three seasons": {"meteorological": 0.153, "calendar": 0.133},
    "two seasons": {"meteorological": 0.010, "calendar": 0.006},
}
"""Of the 2,176 locations of SSL4EO-S12 v1.1's validation split, counted on the metadata that it
publishes (splits/val_metadata.parquet)."""


@dataclass(frozen=True)
class Dates:
    """Dates of a modality ``[n]``, those of a location side by side in ascending order.

    Attributes:
        location: whose, as a row of the table of locations.
        time: int64 ns since 1970.
        cloud: share of the scene, 0 to 1; NaN where it is unknown.
        patch_cloud: of the patch itself.
        crs: EPSG code of the pixels' grid.
    """

    location: Ints
    time: Ints
    cloud: Floats
    patch_cloud: Floats
    crs: Ints

    @classmethod
    def joined(cls, parts: Sequence["Dates"]) -> "Dates":
        """Several in one, in the order that is promised."""
        columns = [np.concatenate(c) for c in zip(*(vars(p).values() for p in parts), strict=True)]
        order = np.lexsort((columns[1], columns[0]))
        return cls(*(column[order] for column in columns))


def figures(dates: Dates, lat: Floats) -> dict[str, Any]:
    """All figures of a modality's dates.

    Args:
        dates: in order.
        lat: degrees of every location ``[N]``.
    """
    days = dates.time.astype("datetime64[ns]").astype("datetime64[D]")
    local = season(dates.time, lat[dates.location])
    of_year = month(days)
    return {
        "locations": len(np.unique(dates.location)),
        "dates": len(days),
        "first": str(days.min()) if len(days) else None,
        "last": str(days.max()) if len(days) else None,
        "months": _months(days),
        "month_of_year": np.bincount(of_year, minlength=12).tolist(),
        "gaps": gaps(dates.location, days.astype(np.int64)),
        "seasons": {
            "meteorological": coverage(dates.location, local),
            "calendar": coverage(dates.location, of_year // 3),
        },
        "cloud": _clouds(dates.cloud),
        "patch_cloud": _clouds(dates.patch_cloud),
        "crs": {str(c): int(n) for c, n in zip(*np.unique(dates.crs, return_counts=True),
                                               strict=True)},
        "several_grids": int((_distinct(dates.location, dates.crs) > 1).sum()),
    }  # fmt: skip


def _months(days: NDArray[np.datetime64]) -> dict[str, int]:
    """Dates in each month from the first to the last."""
    of = days.astype("datetime64[M]").astype(np.int64)
    if not len(of):
        return {}
    counts = np.bincount(of - of.min()).tolist()
    return {str(np.datetime64(int(of.min()) + k, "M")): n for k, n in enumerate(counts)}


def month(days: NDArray[np.datetime64]) -> Ints:
    """Month of the year of each day, 0 to 11."""
    return days.astype("datetime64[M]").astype(np.int64) % 12


def _clouds(share: Floats) -> dict[str, Any] | None:
    known = share[np.isfinite(share)]
    if not len(known):
        return None
    return {
        "dates": len(known),
        "mean": float(known.mean()),
        "median": float(np.median(known)),
        "histogram": histogram(known, CLOUD),
    }


def gaps(location: Ints, day: Ints) -> dict[str, Any]:
    """Days between consecutive dates of a location, and from its first to its last.

    Args:
        location, day: of each date ``[n]``, in the order of `Dates`.
    """
    if not len(day):
        return {"between": None, "by_place": [], "span": None, "histogram": histogram([], GAP_D)}
    starts = np.flatnonzero(np.diff(location, prepend=-1))
    ends = np.append(starts[1:], len(day)) - 1
    gap = np.diff(day)[np.diff(location) == 0]
    place = (np.arange(len(day)) - np.repeat(starts, ends - starts + 1))[1:][np.diff(location) == 0]
    by_place = [_spread(gap[place == k]) for k in range(1, int(place.max(initial=0)) + 1)]
    span = (day[ends] - day[starts])[ends > starts]
    return {
        "between": _spread(gap),
        "by_place": by_place,
        "span": _spread(span),
        "histogram": histogram(gap, GAP_D),
    }


def _spread(days: Ints) -> dict[str, float] | None:
    if not len(days):
        return None
    return {"least": int(days.min()), "median": float(np.median(days)), "most": int(days.max())}


def coverage(location: Ints, of_four: Ints) -> dict[str, Any]:
    """In how many of four seasons locations have dates.

    Args:
        location: of each date ``[n]``.
        of_four: its season, 0 to 3.

    Returns:
        `one_date_in_each`, locations with exactly one date in each of the four; `covered`, how many
        locations have dates in so many of them; `dates` in each.
    """
    whose, row = np.unique(location, return_inverse=True)
    each = np.zeros((len(whose), 4), np.int64)
    np.add.at(each, (row, of_four), 1)
    covered = np.bincount((each > 0).sum(axis=1), minlength=5)[1:]
    return {
        "locations": len(whose),
        "one_date_in_each": int((each == 1).all(axis=1).sum()),
        "covered": {str(k + 1): int(n) for k, n in enumerate(covered)},
        "dates": each.sum(axis=0).tolist(),
    }


def _distinct(location: Ints, value: Ints) -> Ints:
    """How many values each location has."""
    pairs = np.unique(np.stack([location, value], axis=1), axis=0)
    return np.unique(pairs[:, 0], return_counts=True)[1]
