"""Patches on the ground: their corners, and which of them overlap by how much."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastload.datasets.source import Modality

A, F = 6378137.0, 1 / 298.257223563
"""WGS 84: semi-major axis in metres, and flattening (NIMA TR8350.2)."""
E2 = F * (2 - F)
SENTINEL = ("S2L1C", "S2L2A", "S2RGB", "S1GRD", "S1RTC", "NDVI", "LULC", "DEM")
"""Modalities that SSL4EO-S12 and TerraMesh give on a grid of 10 m."""
Floats = NDArray[np.float64]


class Pairs(NamedTuple):
    """Patches ``[P]`` that overlap: which two, the first below the second, and by how much."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    iou: Floats


def size_of(m: Modality, patch_metres: float | None = None) -> tuple[float, float] | None:
    """Height and width of a patch in metres: as asked, as the layout says, or of 10 m pixels where
    the modality is known to have such; None where nobody knows."""
    if patch_metres is not None:
        return patch_metres, patch_metres
    if m.ground is not None:
        return m.ground
    return (10.0 * m.height, 10.0 * m.width) if m.name in SENTINEL else None


def radii(lat: Floats) -> tuple[Floats, Floats]:
    """Radii of curvature in metres, along the meridian and across it, at latitudes in degrees."""
    w2 = 1 - E2 * np.sin(np.radians(lat)) ** 2
    return A * (1 - E2) / w2**1.5, A / np.sqrt(w2)


def boxes(lon: Floats, lat: Floats, height: float, width: float) -> Floats:
    """West, south, east, north of patches ``[N, 4]`` in degrees, by the radii at their centres.

    Longitudes go beyond 180 where a patch crosses the antimeridian; one that touches a pole has all
    longitudes.
    """
    meridian, across = radii(lat)
    dlat = np.degrees(height / 2 / meridian)
    south, north = np.maximum(lat - dlat, -90), np.minimum(lat + dlat, 90)
    # The parallel that is nearest to a pole is the shortest, and the box the widest there.
    farthest = np.radians(np.maximum(np.abs(south), np.abs(north)))
    ring = across * np.cos(farthest)
    with np.errstate(divide="ignore"):
        dlon = np.degrees(np.minimum(width / 2 / np.maximum(ring, 1e-9), np.pi))
    return np.stack([lon - dlon, south, lon + dlon, north], axis=1)


def corners(lon: Floats, lat: Floats, height: float, width: float) -> Floats:
    """Corners of patches that look north ``[N, 4, 2]`` as longitude and latitude, from the
    south-western one on against the clock. Longitudes go beyond 180 as those of `boxes`."""
    meridian, across = radii(lat)
    dlat = np.degrees(height / 2 / meridian)
    out = np.empty((len(lon), 4, 2))
    for i, (x, y) in enumerate(((-1, -1), (1, -1), (1, 1), (-1, 1))):
        edge = np.clip(lat + y * dlat, -90, 90)
        ring = np.maximum(across * np.cos(np.radians(edge)), 1e-9)
        out[:, i, 0] = lon + x * np.degrees(np.minimum(width / 2 / ring, np.pi))
        out[:, i, 1] = edge
    return out


def overlaps(lon: Floats, lat: Floats, height: float, width: float, least: float) -> Pairs:
    """Pairs of patches of an intersection over union above `least`.

    Candidates come from a tree of their boxes; how much two overlap is computed in the plane that
    touches the ellipsoid between them, where both are taken as squares that look north.

    Args:
        lon, lat: centres ``[N]`` in degrees; those that are not finite have no patch.
        height, width: in metres.
        least: 0 to 1.

    Raises:
        ImportError: where shapely is not installed.
    """
    known = np.flatnonzero(np.isfinite(lon) & np.isfinite(lat))
    first, second = _candidates(boxes(_wrapped(lon[known]), lat[known], height, width))
    a, b = known[first], known[second]
    dx, dy = _apart(lon, lat, a, b)
    shared = np.maximum(0, width - np.abs(dx)) * np.maximum(0, height - np.abs(dy))
    iou = shared / (2 * height * width - shared)
    some = iou > least
    return Pairs(a[some], b[some], iou[some])


def _wrapped(lon: Floats) -> Floats:
    return (lon + 180) % 360 - 180


def _candidates(box: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs whose boxes touch, also across the antimeridian, each once."""
    from shapely import STRtree
    from shapely import box as rectangle

    N = len(box)
    over, under = np.flatnonzero(box[:, 2] > 180), np.flatnonzero(box[:, 0] < -180)
    turn: Any = np.array([360.0, 0, 360, 0])
    every = np.concatenate([box, box[over] - turn, box[under] + turn])
    of = np.concatenate([np.arange(N), over, under])
    shapes = rectangle(*every.T)
    i, j = STRtree(shapes).query(shapes, predicate="intersects")
    first, second = of[i], of[j]
    pairs = np.unique(np.stack([first, second], axis=1)[first < second], axis=0)
    return pairs[:, 0], pairs[:, 1]


def earth_centred(lon: Floats, lat: Floats) -> Floats:
    """Points on the ellipsoid ``[N, 3]`` in metres."""
    _, across = radii(lat)
    x, y = np.radians(lon), np.radians(lat)
    return np.stack(
        [
            across * np.cos(y) * np.cos(x),
            across * np.cos(y) * np.sin(x),
            across * (1 - E2) * np.sin(y),
        ],
        axis=1,
    )


def _apart(
    lon: Floats, lat: Floats, a: NDArray[np.int64], b: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """How far b lies east and north of a in metres, in the plane between them."""
    start, end = earth_centred(lon[a], lat[a]), earth_centred(lon[b], lat[b])
    up = start + end
    up[:, 2] /= 1 - E2  # the ellipsoid's normal
    up /= np.linalg.norm(up, axis=1, keepdims=True)
    ring = np.hypot(up[:, 0], up[:, 1])
    at_pole = ring < 1e-12
    ring = np.where(at_pole, 1, ring)
    east = np.stack([-up[:, 1] / ring, up[:, 0] / ring, np.zeros(len(up))], axis=1)
    east[at_pole] = (0, 1, 0)
    gap = end - start
    return (gap * east).sum(axis=1), (gap * np.cross(up, east)).sum(axis=1)
