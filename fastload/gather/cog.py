"""Windows of the pixels of one COG, in two or three requests.

The first brings the header, by which GDAL knows where the blocks of pixels lie; the next bring the
blocks that the window touches, near ones together. GDAL then decodes from memory alone. (Left to
itself it would ask for one block after the other.)
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastload.gather.files import File, Files
from fastload.storage.errors import DataError
from fastload.storage.formats.tiff_window import opened, pixels

_HEADER = 2**15
"""Bytes that hold the header of a COG of 10980 x 10980 pixels in blocks of 512 with overviews."""
_MOST_BYTES = 2**28
"""Of blocks that a patch may take; a patch takes some MB."""
_AROUND = 4
"""Bytes before and after a block in which COGs of GDAL repeat what the header says of it."""


class Box(NamedTuple):
    """Pixels of an image, which may lie outside of it."""

    top: int
    left: int
    height: int
    width: int


class Cog:
    """An opened COG of one band.

    Attributes:
        path: what messages call it.
        crs: EPSG code.
        left, top: coordinates of the north-western corner.
        dx, dy: of a pixel, both above 0.
        shape: height and width.
        dtype: of the pixels.
        nodata: what a pixel holds where nothing was seen; None if the file does not say it.
    """

    def __init__(self, file: File, image: Any) -> None:
        self._file, self._image, self.path = file, image, file.path
        a, b, self.left, d, e, self.top = image.transform[:6]
        if image.count != 1:
            raise self.error(f"has {image.count} bands, expected one")
        if image.crs is None or image.gcps[0]:
            raise self.error(
                "is not geocoded (it has no grid on the ground, as Sentinel-1 GRD has none before "
                "terrain correction): expected pixels of a map, such as those of sentinel-1-rtc"
            )
        if b or d or a <= 0 or e >= 0:
            raise self.error(f"has the transform {(a, b, d, e)}, expected rows that run eastward")
        self.crs, self.dx, self.dy = self._code(), a, -e
        self.dtype, self.nodata = np.dtype(image.dtypes[0]), image.nodata
        self.shape: tuple[int, int] = (image.height, image.width)

    def _code(self) -> int:
        code = self._image.crs.to_epsg()
        if code is None:
            raise self.error("is on a grid without an EPSG code")
        return int(code)

    def error(self, reason: str) -> DataError:
        """What is wrong with it."""
        return DataError(self.path, "", -1, reason)

    def box(self, left: float, top: float, height: float, width: float) -> Box:
        """The pixels of a piece of ground, by its north-western corner; both in the grid's units.

        Raises:
            DataError: where it does not begin and end on borders of pixels (to a hundredth).
        """
        sides = ((self.top - top) / self.dy, (left - self.left) / self.dx,
                 height / self.dy, width / self.dx)  # fmt: skip
        whole = [round(side) for side in sides]
        if any(abs(a - b) > 0.01 for a, b in zip(sides, whole, strict=True)):
            raise self.error(
                f"has pixels of {self.dx:g} from ({self.left:g}, {self.top:g}) on, of which none "
                f"begins at ({left:g}, {top:g})"
            )
        return Box(*whole)

    def read(self, box: Box, fill: float = 0) -> NDArray[Any]:
        """Pixels of a box ``[height, width]`` as the file has them, those outside of it `fill`."""
        out = np.full((box.height, box.width), fill, self.dtype)
        top, left = max(box.top, 0), max(box.left, 0)
        bottom = min(box.top + box.height, self._image.height)
        right = min(box.left + box.width, self._image.width)
        if top < bottom and left < right:
            inside = Box(top, left, bottom - top, right - left)
            self._fetch(inside)
            rows = slice(top - box.top, bottom - box.top)
            columns = slice(left - box.left, right - box.left)
            out[rows, columns] = pixels(self._image, [0], inside)[0]
        return out

    def _fetch(self, box: Box) -> None:
        """Read the blocks of a box that are not known."""
        height, width = self._image.block_shapes[0]
        rows = range(box.top // height, (box.top + box.height - 1) // height + 1)
        columns = range(box.left // width, (box.left + box.width - 1) // width + 1)
        found = [place for y in rows for x in columns if (place := self._place(x, y)) is not None]
        ranges = np.array(found, np.int64).reshape(-1, 2)
        if ranges[:, 1].sum() > _MOST_BYTES:
            raise self.error(f"{ranges[:, 1].sum()} bytes of blocks in a patch: a damaged header")
        if len(ranges):
            self._file.read(ranges[:, 0], ranges[:, 1])

    def _place(self, x: int, y: int) -> tuple[int, int] | None:
        """Offset and bytes of a block; None where it is absent, or known."""
        at, size = (
            self._image.get_tag_item(f"BLOCK_{what}_{x}_{y}", "TIFF", bidx=1)
            for what in ("OFFSET", "SIZE")
        )
        if not at or not size or int(at) >= self._file.size:
            return None  # GDAL says what such a block is
        start, end = int(at) - _AROUND, int(at) + int(size) + _AROUND
        start, end = max(start, 0), min(end, self._file.size)
        known = any(a <= start and end <= a + len(d) for a, d in self._file.known.items())
        return None if known else (start, end - start)


@contextmanager
def cog(files: Files, href: str) -> Iterator[Cog]:
    """Open a COG.

    Args:
        files: opens files.
        href: signed where it must be.

    Raises:
        DataError: where it is not there, no sound TIFF or not what is expected, at once or inside.
        StorageError: where it cannot be read for now.
        ImportError: where rasterio is missing.
    """
    file = files.open(href, _HEADER)
    if not file.size:
        raise DataError(file.path, "", 0, "is empty, expected a GeoTIFF")
    with opened(file.store, file.name, file.size, file.known) as image:
        yield Cog(file, image)
