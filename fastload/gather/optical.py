"""Sentinel-2: DN of all bands on the 10 m grid, with clouds."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.bands import PUBLISHED
from fastload.gather.candidate import PATCH_M
from fastload.gather.clouds import NO_DATA, cloud_mask
from fastload.gather.cog import Cog
from fastload.gather.grid import PIXEL_M, STEP_M
from fastload.gather.patch import Patch
from fastload.gather.reading import Reading
from fastload.gather.scene import Scene

SCL = "SCL"
_SCL_M = 20
_MOST = np.iinfo(np.int16).max


def read_optical(scene: Scene, reading: Reading) -> Patch:
    """The patch of a scene: ``[C, 264, 264]`` int16 in the order of v1.1's bands.

    Bands of 20 and 60 m keep their pixels, each repeated 2 x 2 or 6 x 6 times (the grid's corner
    lies on their borders too). A pixel is without data where any band is 0 DN, or beyond the image;
    what is allowed of that is 0 in the band itself.

    Raises:
        Unfit: where more pixels are without data than there may be.
        DataError, StorageError: see `fastload.gather.cog.cog`.
    """
    names = PUBLISHED[scene.modality]
    with_scl = SCL in scene.hrefs

    def work(name: str, image: Cog) -> NDArray[Any]:
        if name == SCL:
            return _mask(image, read_classes(image, reading))
        return without_offset(_dn(image, reading), scene.offset)

    found = reading.each(scene, [*names, SCL] if with_scl else names, work)
    bands = np.stack(found[: len(names)])
    missing = (bands == 0).any(axis=0)
    reading.check(scene, missing)
    mask = None
    if with_scl:
        mask = np.where(missing, np.uint8(NO_DATA), found[-1])
    return Patch(scene, bands, names, reading.grid.crs, reading.grid.transform, mask)


def read_classes(image: Cog, reading: Reading) -> NDArray[np.uint8]:
    """Scene classes of the patch on their own grid of 20 m: ``[132, 132]``, 0 beyond the image."""
    if image.dtype != np.uint8:
        raise image.error(f"holds {image.dtype} pixels, expected uint8 scene classes")
    return _native(image, reading, _SCL_M)


def _mask(image: Cog, scl: NDArray[np.uint8]) -> NDArray[np.uint8]:
    try:
        return _repeated(cloud_mask(scl), _SCL_M // PIXEL_M)
    except ValueError as error:
        raise image.error(str(error)) from error


def without_offset(dn: NDArray[np.uint16], offset: int) -> NDArray[np.int16]:
    """DN with zero reflectance at 0, any shape.

    0 stays, being no data; what else would fall to 0 or below becomes 1, so that data are not taken
    for none. v1.1 has int16: what is brighter than 32767 DN, more than three times a white surface,
    is clipped.
    """
    moved = np.clip(dn.astype(np.int32) - offset, 1, _MOST)
    return np.where(dn == 0, 0, moved).astype(np.int16)


def _dn(image: Cog, reading: Reading) -> NDArray[np.uint16]:
    """A band on the 10 m grid ``[264, 264]``."""
    if image.dtype != np.uint16:
        raise image.error(f"holds {image.dtype} pixels, expected uint16 DN")
    size = round(image.dx)
    if size % PIXEL_M or STEP_M % size:
        raise image.error(f"has pixels of {image.dx:g} m, expected 10, 20 or 60")
    found: NDArray[np.uint16] = _native(image, reading, size)
    if image.nodata:
        found[found == image.nodata] = 0
    return _repeated(found, size // PIXEL_M)


def _native(image: Cog, reading: Reading, size: int) -> NDArray[Any]:
    """The patch's pixels as they are in the file."""
    if (image.dx, image.dy) != (size, size):
        raise image.error(f"has pixels of {image.dx:g} x {image.dy:g} m, expected {size} x {size}")
    grid = reading.grid
    return image.read(image.box(grid.left, grid.top, PATCH_M, PATCH_M))


def _repeated(pixels: NDArray[Any], times: int) -> NDArray[Any]:
    return pixels.repeat(times, 0).repeat(times, 1) if times > 1 else pixels
