"""The 10 m grid of a patch: which pixels of a UTM zone a place's patch has."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastload.gather.candidate import PATCH_M
from fastload.storage.formats.geotiff import rasterio

PIXEL_M = 10
SIDE = round(PATCH_M / PIXEL_M)
"""Pixels of a patch's side."""
DEGREES = 4326
"""EPSG code of longitude and latitude."""
STEP_M = 60
"""Corners of patches are multiples of this, so that each patch is made of whole pixels of all bands
of Sentinel-2: its tiles begin at such multiples, in each zone."""


class Grid(NamedTuple):
    """A patch on the ground.

    Attributes:
        crs: EPSG code.
        left, top: of its north-western corner in metres.
    """

    crs: int
    left: float
    top: float

    @property
    def transform(self) -> tuple[float, float, float, float, float, float]:
        """Of its pixels, as affine's six numbers."""
        return (float(PIXEL_M), 0.0, self.left, 0.0, -float(PIXEL_M), self.top)

    @property
    def centre(self) -> tuple[float, float]:
        """Longitude and latitude of its middle in degrees."""
        half = PATCH_M / 2
        lon, lat = self.degrees([self.left + half], [self.top - half])
        return float(lon[0]), float(lat[0])

    def degrees(
        self, x: Sequence[float], y: Sequence[float]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Longitudes and latitudes ``[n]`` of coordinates in its zone."""
        return _transformed(self.crs, DEGREES, x, y)


def grid_of(crs: int, lon: float, lat: float) -> Grid:
    """The patch whose centre is nearest to a place: at most 30 m away along each axis, half a
    pixel of 60 m.

    Args:
        crs: EPSG code of a grid in metres.
        lon, lat: in degrees.
    """
    [x], [y] = _transformed(DEGREES, crs, [lon], [lat])
    half = PATCH_M / 2
    return Grid(crs, _snapped(x - half), _snapped(y + half))


def grid_of_transform(crs: int, transform: Sequence[float]) -> Grid:
    """The grid that a patch's `crs` and `transform` say."""
    return Grid(crs, transform[2], transform[5])


def _transformed(
    source: int, target: int, x: Sequence[float], y: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coordinates ``[n]`` of another grid; degrees are longitude first."""
    rasterio()
    from rasterio.warp import transform

    found = transform(f"EPSG:{source}", f"EPSG:{target}", x, y)
    return np.array(found[0]), np.array(found[1])


def utm_zone(lon: float, lat: float) -> int:
    """EPSG code of the UTM zone of a place, without the exceptions of Norway and Svalbard."""
    return (32600 if lat >= 0 else 32700) + min(int((lon + 180) // 6), 59) + 1


def _snapped(metres: float) -> float:
    return float(STEP_M * round(metres / STEP_M))
