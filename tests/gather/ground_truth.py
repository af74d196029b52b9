"""Patches as they are read: squares of a UTM zone's grid, made by pyproj and shapely."""

from typing import Any

import numpy as np
import pyproj
import shapely

SIDE, SNAP = 2640, 60
TILE_M = 110e3
"""By how much tiles of Sentinel-2 hang over their zone."""
_utm: dict[int, Any] = {}


def zones(lon: float, lat: float) -> list[int]:
    """EPSG codes of all zones whose tiles may show a place, those of Norway and Svalbard, too."""
    hang = np.degrees(TILE_M / (6378137 * np.cos(np.radians(lat))))
    widest = 6 if lat >= 56 else 3
    found = []
    for zone in range(1, 61):
        apart = abs((lon - (6 * zone - 183) + 180) % 360 - 180)
        if apart <= widest + hang:
            found.append((32600 if lat >= 0 else 32700) + zone)
    return found


def utm(epsg: int) -> Any:
    if epsg not in _utm:
        _utm[epsg] = pyproj.Transformer.from_crs(4326, epsg, always_xy=True)
    return _utm[epsg]


def patch(lon: float, lat: float, epsg: int, rounded: Any = np.round) -> Any:
    """The ground of a patch, longitude and latitude, on the side of the globe where it is."""
    x, y = utm(epsg).transform(lon, lat)
    w, s = (SNAP * rounded((v - SIDE / 2) / SNAP) for v in (x, y))
    ring = shapely.segmentize(shapely.box(w, s, w + SIDE, s + SIDE).exterior, SIDE / 4)
    lons, lats = utm(epsg).transform(*shapely.get_coordinates(ring).T, direction="INVERSE")
    lons = lon + (np.asarray(lons) - lon + 180) % 360 - 180
    return shapely.Polygon(np.stack([lons, lats], axis=-1))


def overlap(a: tuple[float, float], b: tuple[float, float]) -> bool:
    """Whether the patches of two places share ground, in any of the zones of each."""
    b = (a[0] + (b[0] - a[0] + 180) % 360 - 180, b[1])
    ours, theirs = (
        [patch(*at, zone, rounded) for zone in zones(*at) for rounded in (np.round, np.floor)]
        for at in (a, b)
    )
    return any(shapely.intersection(p, q).area > 0 for p in ours for q in theirs)
