"""The figures of a plan's windows: which seasons they promise."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.gather.plan.plan import Plan
from fastload.gather.report.dates import coverage, month
from fastload.seasons import season

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
DAY_NS = 86_400_000_000_000
SEASON_D = 92
"""A season has no more days."""


def windows(plan: Plan) -> dict[str, Any]:
    """Of each location's first candidate."""
    N, _, D, _ = plan.days.shape
    start, end = plan.days[:, 0].astype(np.int64).reshape(-1, 2).T
    location = np.repeat(np.arange(N), D)
    return {"locations": N, **_figures(location, start, end, plan.lat[:, 0])}


def _figures(location: Ints, start: Ints, end: Ints, lat: Floats) -> dict[str, Any]:
    """Of windows ``[W]`` of locations, in days since 1970, the end excluded."""
    middle, last = (start + end) // 2, end - 1
    days, counts = np.unique(end - start, return_counts=True)
    found: dict[str, Any] = {
        "windows": len(start),
        "earliest": str(np.datetime64(int(start.min()), "D")) if len(start) else None,
        "latest": str(np.datetime64(int(last.max()), "D")) if len(start) else None,
        "days": {str(d): n for d, n in zip(days.tolist(), counts.tolist(), strict=True)},
    }

    def local(day: Ints) -> Ints:
        return season(day * DAY_NS, lat[location])

    for kind, rule in (("meteorological", local), ("calendar", _quarter)):
        within = (rule(start) == rule(last)) & (end - start <= SEASON_D)
        found[kind] = {
            "by_middle": coverage(location, rule(middle)),
            "promised": _promised(location, rule(middle), within),
        }
    return found


def _promised(location: Ints, of_four: Ints, within: NDArray[np.bool_]) -> int:
    """Locations whose windows let no choice of dates miss a season: one in each, wholly inside."""
    whole = np.setdiff1d(location, location[~within])
    some = np.isin(location, whole)
    return int(coverage(location[some], of_four[some])["one_date_in_each"])


def _quarter(day: Ints) -> Ints:
    return month(day.astype("datetime64[D]")) // 3
