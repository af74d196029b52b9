"""Sentinel-1 that lies on the ground: gamma0 with terrain correction (RTC), in dB.

It is called S1RTC. What Google Earth Engine and v1.1 call S1GRD is sigma0 without correction of
slopes, and cannot be had from it; where a service has geocoded GRD it is read the same way. Scenes
in the geometry of the sensor are refused.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.bands import PUBLISHED
from fastload.gather.candidate import PATCH_M
from fastload.gather.patch import Patch
from fastload.gather.pixels.cog import Box, Cog
from fastload.gather.pixels.grid import PIXEL_M, Grid
from fastload.gather.pixels.reading import Reading
from fastload.gather.scene import Scene

_NO_DATA = -32768.0
"""What Planetary Computer's files hold where there is nothing, whatever their header says."""
DB = "dB"


def read_radar(scene: Scene, reading: Reading) -> Patch:
    """The patch of a scene: ``[2, 264, 264]`` float32 dB, VV and VH; NaN where there are no data.

    Pixels are the file's own. Where its grid of 10 m begins between those of Sentinel-2 the patch
    is moved by less than half a pixel, which its transform says. A scene whose properties say
    ``unit: dB`` is taken as it is; others are linear power, ``10 log10(gamma0)``.

    Raises:
        Unfit: where more pixels are without data than there may be.
        DataError, StorageError: see `fastload.gather.pixels.cog.read_all`; also where it is not
            geocoded.
    """
    names = PUBLISHED[scene.modality]
    is_db = scene.properties.get("unit") == DB

    def want(name: str, image: Cog) -> Box:
        if image.dtype.kind != "f" or (image.dx, image.dy) != (PIXEL_M, PIXEL_M):
            raise image.error(
                f"holds {image.dtype} pixels of {image.dx:g} x {image.dy:g} m, expected floating "
                f"point and {PIXEL_M} m"
            )
        grid = _nearest(image, reading.grid)
        return image.box(grid.left, grid.top, PATCH_M, PATCH_M)

    read = reading.bands(scene, [_file_of(scene, name) for name in names], want, _NO_DATA)
    bands = np.stack([decibels(band.pixels, band.image.nodata, is_db) for band in read])
    reading.check(scene, np.asarray(np.isnan(bands).any(axis=0)))
    grids = {_nearest(band.image, reading.grid) for band in read}
    if len(grids) > 1:
        raise read[0].image.error(f"begins elsewhere than {read[1].image.path}")
    return Patch(scene, bands, names, reading.grid.crs, grids.pop().transform)


def _file_of(scene: Scene, name: str) -> str:
    return name if name in scene.hrefs else name.lower()


def _nearest(image: Cog, grid: Grid) -> Grid:
    """The grid whose pixels are the file's."""
    left = image.left + PIXEL_M * round((grid.left - image.left) / PIXEL_M)
    top = image.top + PIXEL_M * round((grid.top - image.top) / PIXEL_M)
    return Grid(grid.crs, left, top)


def decibels(
    pixels: NDArray[Any], nodata: float | None, is_db: bool = False
) -> NDArray[np.float32]:
    """Power, or dB, as float32 dB of any shape; NaN where there are no data: `nodata`, -32768, what
    is no number, and power that is not above 0."""
    values = pixels.astype(np.float64)
    none = ~np.isfinite(values) | (values == _NO_DATA)
    if nodata is not None:
        none |= values == nodata
    if not is_db:
        none |= values <= 0
        values = 10 * np.log10(np.where(none, 1, values))
    return np.where(none, np.nan, values).astype(np.float32)
