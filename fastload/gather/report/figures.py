"""All figures of a report as plain values, which is what ``report.json`` holds."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fastload.gather.plan.plan import Plan
from fastload.gather.report import dates
from fastload.gather.report.distances import distances, overlaps
from fastload.gather.report.failures import failures
from fastload.gather.report.licences import licences, of_sources
from fastload.gather.report.locations import STATES, WHOLE, Locations
from fastload.gather.report.windows import windows

FORMAT = "fastload gather report 1"
SHOWN = 5
"""Open locations whose trouble is told."""


def of_plan(plan: Plan, side: float) -> dict[str, Any]:
    """Where and when a plan looks: its first candidates, and overlaps of all.

    Args:
        plan: any.
        side: of a patch, in metres.
    """
    N, K = plan.attempt.shape
    lon, lat = plan.lon, plan.lat

    def name(candidate: int) -> str:
        i, k = divmod(candidate, K)
        return f"{plan.key(i)}, attempt {plan.attempt[i, k]}"

    return {
        "locations": N,
        "candidates": K,
        "windows": windows(plan),
        "distances": distances(lon[:, 0], lat[:, 0], plan.key),
        "overlaps": overlaps(lon.ravel(), lat.ravel(), name, side,
                             groups=np.repeat(np.arange(N), K)),
    }  # fmt: skip


def of_gathered(plan: Plan, found: Locations, side: float) -> dict[str, Any]:
    """What came of it.

    Args:
        plan: the locations.
        found: what became of them.
        side: of a patch, in metres.
    """
    here = np.flatnonzero(found.state == WHOLE)
    lon, lat = found.lon[here], found.lat[here]

    def key(i: int) -> str:
        return plan.key(int(here[i]))

    return {
        "asked": len(found),
        **{name: int((found.state == k).sum()) for k, name in enumerate(STATES)},
        "left_out": found.left_out,
        "bytes": {name: int(n) for name, n in sorted(found.bytes.items())},
        "bytes_read": found.bytes_read,
        "requests": found.requests,
        "failures": failures(found),
        "trouble": _trouble(plan, found),
        "dates": {name: dates.figures(d, found.lat) for name, d in sorted(found.dates.items())},
        "scenes": _scenes(found),
        "distances": distances(lon, lat, key),
        "overlaps": overlaps(lon, lat, key, side, found.squares(here, side)),
        "zones": _zones(found.crs[here]),
    }


def _trouble(plan: Plan, found: Locations) -> dict[str, Any]:
    """Why locations are open, as far as it is known, of some."""
    some = [{"key": plan.key(i), "why": why} for i, why in sorted(found.trouble.items())[:SHOWN]]
    return {"locations": len(found.trouble), "such_as": some}


def _scenes(found: Locations) -> list[dict[str, Any]]:
    names = ("modality", "collection", "baseline", "why_offset", "offset")
    return [
        {**dict(zip(names, kind, strict=True)), "scenes": n}
        for kind, n in sorted(found.scenes.items())
    ]


def _zones(crs: np.ndarray[Any, np.dtype[np.int64]]) -> dict[str, int]:
    return {str(c): int(n) for c, n in zip(*np.unique(crs, return_counts=True), strict=True)}


def told(figures: Mapping[str, Any], sources: Mapping[str, Any]) -> list[str]:
    """Licences and attributions of what was gathered, and of what the plan was drawn from.

    Args:
        figures: of `of_gathered`.
        sources: of the plan.
    """
    known = [d for d in figures["dates"].values() if d["first"]]
    first = min((d["first"] for d in known), default=None)
    last = max((d["last"] for d in known), default=None)
    modalities = {scene["modality"] for scene in figures["scenes"]}
    return [*licences(sorted(modalities), first, last), *of_sources(sources)]
