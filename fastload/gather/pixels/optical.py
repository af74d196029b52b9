"""Sentinel-2: DN of all bands on the 10 m grid, with clouds."""

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.bands import PUBLISHED
from fastload.gather.candidate import PATCH_M
from fastload.gather.patch import Patch
from fastload.gather.pixels.clouds import NO_DATA, cloud_mask
from fastload.gather.pixels.cog import Box, Cog, Read
from fastload.gather.pixels.grid import PIXEL_M
from fastload.gather.pixels.reading import Reading
from fastload.gather.scene import Scene

SCL = "SCL"
_SCL_M = 20
_SIZES_M = (10, 20, 60)
_MOST = np.iinfo(np.int16).max


def read_optical(scene: Scene, reading: Reading) -> Patch:
    """The patch of a scene: ``[C, 264, 264]`` int16 in the order of v1.1's bands.

    Bands of 20 and 60 m keep their pixels, each repeated 2 x 2 or 6 x 6 times (the grid's corner
    lies on their borders too). A pixel is without data where any band is 0 DN, or beyond the image;
    what is allowed of that is 0 in the band itself.

    Raises:
        Unfit: where more pixels are without data than there may be.
        DataError, StorageError: see `fastload.gather.pixels.cog.read_all`.
    """
    names = PUBLISHED[scene.modality]
    read = reading.bands(scene, [*names, *_scl(scene)], partial(_box, reading))
    bands = np.stack([_dn(band, scene.offset) for band in read[: len(names)]])
    missing = (bands == 0).any(axis=0)
    reading.check(scene, missing)
    masks = [np.where(missing, np.uint8(NO_DATA), _mask(band)) for band in read[len(names) :]]
    return Patch(
        scene, bands, names, reading.grid.crs, reading.grid.transform, masks[0] if masks else None
    )


def read_classes(scene: Scene, reading: Reading) -> NDArray[np.uint8]:
    """Scene classes of the patch on their own grid of 20 m: ``[132, 132]``, 0 beyond the image.
    Errors are those of `read_optical`."""
    [read] = reading.bands(scene, [SCL], partial(_box, reading))
    return read.pixels


def _scl(scene: Scene) -> list[str]:
    return [SCL] if SCL in scene.hrefs else []


def _box(reading: Reading, name: str, image: Cog) -> Box:
    """The patch's pixels of a band, as they are in the file."""
    dtype, sizes = (np.uint8, (_SCL_M,)) if name == SCL else (np.uint16, _SIZES_M)
    if image.dtype != dtype:
        raise image.error(f"holds {image.dtype} pixels, expected {np.dtype(dtype)} of {name}")
    if image.dx != image.dy or image.dx not in sizes:
        said = " or ".join(map(str, sizes))
        raise image.error(
            f"has pixels of {image.dx:g} x {image.dy:g} m, expected squares of {said}"
        )
    grid = reading.grid
    return image.box(grid.left, grid.top, PATCH_M, PATCH_M)


def _mask(read: Read) -> NDArray[np.uint8]:
    """Classes of v1.1 on the 10 m grid ``[264, 264]``."""
    try:
        return _repeated(cloud_mask(read.pixels), _SCL_M)
    except ValueError as error:
        raise read.image.error(str(error)) from error


def _dn(read: Read, offset: int) -> NDArray[np.int16]:
    """A band on the 10 m grid ``[264, 264]``, zero reflectance at 0."""
    found = read.pixels
    if read.image.nodata:
        found[found == read.image.nodata] = 0
    return _repeated(without_offset(found, offset), read.image.dx)


def _repeated(pixels: NDArray[Any], metres: float) -> NDArray[Any]:
    times = round(metres) // PIXEL_M
    return pixels.repeat(times, 0).repeat(times, 1) if times > 1 else pixels


def without_offset(dn: NDArray[np.uint16], offset: int) -> NDArray[np.int16]:
    """DN with zero reflectance at 0, any shape.

    0 stays, being no data; what else would fall to 0 or below becomes 1, so that data are not taken
    for none. v1.1 has int16: what is brighter than 32767 DN, more than three times a white surface,
    is clipped.
    """
    moved = np.clip(dn.astype(np.int32) - offset, 1, _MOST)
    return np.where(dn == 0, 0, moved).astype(np.int16)
