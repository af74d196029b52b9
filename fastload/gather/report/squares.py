"""Patches as squares of their UTM grids, and what share of their ground two have in common."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.extras import missing

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
LEAST_M2 = 1.0
"""Ground below which two patches only touch; rounding makes as much."""


@dataclass(frozen=True)
class Squares:
    """Patches ``[N]`` on their grids.

    Attributes:
        crs: EPSG codes, int64.
        west, north: metres of the upper left corner.
        side: metres.
    """

    crs: Ints
    west: Floats
    north: Floats
    side: float

    def some(self, which: Ints) -> "Squares":
        """Those of some numbers."""
        return Squares(self.crs[which], self.west[which], self.north[which], self.side)

    def corners(self) -> tuple[Floats, Floats]:
        """Of each, x and y ``[N, 4]`` around it."""
        x = self.west[:, None] + np.array([0, 1, 1, 0]) * self.side
        return x, self.north[:, None] - np.array([0, 0, 1, 1]) * self.side


def zone(lon: Floats, lat: Floats) -> Ints:
    """EPSG code of the UTM zone of each place, by longitude alone: Norway's and Svalbard's wider
    zones move a patch's square by a turn of some degrees and nothing else."""
    number = np.floor((np.asarray(lon) + 180) / 6).astype(np.int64) % 60 + 1
    return np.where(np.asarray(lat) < 0, 32700, 32600) + number


def around(lon: Floats, lat: Floats, side: float) -> Squares:
    """Squares about centres in the zone that each is in, as far as a plan knows them; reading moves
    them by less than a pixel of 60 m.

    Raises:
        ImportError: where pyproj is not installed.
    """
    crs = zone(lon, lat)
    x, y = np.empty(len(crs)), np.empty(len(crs))
    for code in np.unique(crs):
        some = crs == code
        x[some], y[some] = _transformed(4326, int(code), lon[some], lat[some])
    return Squares(crs, x - side / 2, y + side / 2, side)


@cache
def _transformer(source: int, target: int) -> Any:
    try:
        from pyproj import Transformer
    except ImportError as error:
        raise missing("the report needs pyproj", "gather") from error
    return Transformer.from_crs(source, target, always_xy=True)


def _transformed(source: int, target: int, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    moved = _transformer(source, target).transform(x, y)
    return np.asarray(moved[0], np.float64), np.asarray(moved[1], np.float64)


def shared(a: Squares, b: Squares) -> Floats:
    """Ground that each of a has in common with that of b ``[N]``, in square metres of a's grid."""
    out = np.zeros(len(a.crs))
    same = a.crs == b.crs
    across = a.side - np.abs(a.west - b.west)
    along = a.side - np.abs(a.north - b.north)
    out[same] = (np.maximum(across, 0) * np.maximum(along, 0))[same]
    others = np.flatnonzero(~same)
    pairs, which = np.unique(
        np.stack([a.crs[others], b.crs[others]], 1), axis=0, return_inverse=True
    )
    for number, (ours, theirs) in enumerate(pairs.tolist()):
        rows = others[which.reshape(-1) == number]
        out[rows] = _shared_across(a.some(rows), b.some(rows), ours, theirs)
    return out


def _shared_across(a: Squares, b: Squares, ours: int, theirs: int) -> Floats:
    """The same of two zones: edges stay straight to some centimetres."""
    from shapely import area, intersection, polygons

    x, y = b.corners()
    x, y = _transformed(theirs, ours, x, y)
    known = np.isfinite(x).all(axis=1) & np.isfinite(y).all(axis=1)
    out = np.zeros(len(x))
    mine = polygons(np.stack(a.corners(), axis=-1)[known])
    out[known] = area(intersection(mine, polygons(np.stack([x, y], axis=-1)[known])))
    return out


def iou(area: Floats, side: float) -> Floats:
    """Intersection over union of squares that share so much."""
    return area / (2 * side * side - area)
