"""The figures of how near patches lie to each other."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.gather.report.histogram import histogram
from fastload.gather.report.nearest import closer, nearest
from fastload.gather.report.squares import LEAST_M2, Squares, around, iou, shared

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
EDGES_M = (0, 660, 1320, 1980, 2640, 3960, 5280, 10e3, 20e3, 50e3, 100e3, 500e3, np.inf)
"""Of the histogram: quarters of a patch's side, 1,980 m being v1.0's rule, then wider ones."""
NAMED = 10
"""Pairs that are named."""
DIAGONAL, MOVED_M = 1.42, 200.0
"""How far apart the centres of two patches that share ground can be at most: a diagonal, with the
stretch of a zone, and what both are moved by to whole pixels of 60 m."""


def distances(lon: Floats, lat: Floats, key: Callable[[int], str]) -> dict[str, Any]:
    """Of nearest neighbours, in metres.

    Args:
        lon, lat: degrees ``[N]``.
        key: names one of the N.
    """
    metres, who = nearest(lon, lat)
    known = metres[np.isfinite(metres)]
    of = np.flatnonzero(who >= 0)
    pairs, at = np.unique(np.sort(np.stack([of, who[of]], 1), axis=1), axis=0, return_index=True)
    apart = metres[of[at]]
    order = np.argsort(apart, kind="stable")[:NAMED]
    return {
        "places": len(lon),
        "median": float(np.median(known)) if len(known) else None,
        "least": float(known.min()) if len(known) else None,
        "below": {f"{m} m": int((known < m).sum()) for m in (1980, 2640)},
        "histogram": histogram(known, EDGES_M),
        "smallest": [
            {"first": key(a), "second": key(b), "metres": float(m)}
            for (a, b), m in zip(pairs[order].tolist(), apart[order], strict=True)
        ],
    }


def overlaps(
    lon: Floats,
    lat: Floats,
    name: Callable[[int], str],
    side: float,
    squares: Squares | None = None,
    groups: Ints | None = None,
) -> dict[str, Any]:
    """Pairs of patches that share ground, counted, and those that share most.

    Args:
        lon, lat: centres ``[N]`` in degrees.
        name: names one of the N.
        side: of a patch, in metres.
        squares: the patches' own, where they are known.
        groups: ``[N]``; two of one group are no pair.
    """
    count, worst = 0, list[tuple[float, int, int]]()
    for i, j in closer(lon, lat, DIAGONAL * side + MOVED_M, groups):
        a, b = (
            around(lon[at], lat[at], side) if squares is None else squares.some(at) for at in (i, j)
        )
        area = shared(a, b)
        some = np.flatnonzero(area > LEAST_M2)
        count += len(some)
        best = some[np.lexsort((j[some], i[some], -area[some]))][:NAMED]
        ratio = iou(area[best], side).tolist()
        worst += zip(ratio, i[best].tolist(), j[best].tolist(), strict=True)
        worst = sorted(worst, key=lambda pair: (-pair[0], *pair[1:]))[:NAMED]
    pairs = [{"first": name(a), "second": name(b), "iou": ratio} for ratio, a, b in worst]
    return {"patches": len(lon), "side_m": side, "pairs": count, "most": pairs}
