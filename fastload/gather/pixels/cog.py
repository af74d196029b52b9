"""Windows of COGs, many files at once, in two or three requests each.

The first brings the header, by which GDAL knows where the blocks of pixels lie; the next bring the
blocks that the window touches, near ones together. GDAL then decodes from memory alone. (Left to
itself it would ask for one block after the other.) Files are waited for side by side, in threads;
GDAL works in the calling one, since it looks up a grid's code anew in each.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastload.gather.pixels.files import File, Files
from fastload.storage.errors import DataError
from fastload.storage.formats.geotiff import rasterio
from fastload.storage.formats.tiff_window import opened, pixels
from fastload.storage.remote.together import together

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


_JP2 = b"\0\0\0\x0cjP  \r\n\x87\n"
"""What JPEG 2000 begins with, as Sentinel-2 L1C is served. Its blocks are read as GDAL asks for
them: right, but by many requests."""
_AT_ONCE = 16
"""Files that are waited for at a time: all bands of Sentinel-2."""
Ranges = NDArray[np.int64]
"""Offsets and sizes ``[n, 2]``."""
_NONE = np.empty((0, 2), np.int64)


class Cog:
    """A COG of one band.

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

    def lacking(self, box: Box) -> Ranges:
        """Where the blocks of a box lie that are still to be read."""
        inside = self._inside(box)
        if inside is None:
            return _NONE
        height, width = self._image.block_shapes[0]
        rows = range(inside.top // height, (inside.top + inside.height - 1) // height + 1)
        columns = range(inside.left // width, (inside.left + inside.width - 1) // width + 1)
        found = [place for y in rows for x in columns if (place := self._place(x, y)) is not None]
        ranges = np.array(found, np.int64).reshape(-1, 2)
        if ranges[:, 1].sum() > _MOST_BYTES:
            raise self.error(f"{ranges[:, 1].sum()} bytes of blocks in a patch: a damaged header")
        return ranges

    def read(self, box: Box, fill: float) -> NDArray[Any]:
        """Pixels of a box ``[height, width]`` as the file has them, those outside of it `fill`."""
        out = np.full((box.height, box.width), fill, self.dtype)
        inside = self._inside(box)
        if inside is not None:
            top, left = inside.top - box.top, inside.left - box.left
            out[top : top + inside.height, left : left + inside.width] = pixels(
                self._image, [0], inside
            )[0]
        return out

    def _inside(self, box: Box) -> Box | None:
        """What of a box lies in the image."""
        top, left = max(box.top, 0), max(box.left, 0)
        bottom = min(box.top + box.height, self.shape[0])
        right = min(box.left + box.width, self.shape[1])
        return Box(top, left, bottom - top, right - left) if top < bottom and left < right else None

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


class Read(NamedTuple):
    """What was read of a file, which is closed: a box, and its pixels ``[height, width]``."""

    image: Cog
    box: Box
    pixels: NDArray[Any]


def read_all(
    files: Files,
    hrefs: Sequence[str],
    want: Callable[[int, Cog], Box | None],
    fill: float = 0,
) -> list[Read | None]:
    """Read a box of each file; None of those of which none is wanted.

    Args:
        files: opens files.
        hrefs: signed where they must be.
        want: says which, by the number of the file and what its header says.
        fill: what pixels outside of a file are.

    Raises:
        DataError: where a file is not there, no sound TIFF or not what is expected.
        StorageError: where it cannot be read for now.
        ImportError: where rasterio is missing.
    """
    heads: dict[int, File] = {}

    def head(i: int) -> None:
        heads[i] = files.open(hrefs[i], _HEADER)

    together(len(hrefs), head, _AT_ONCE)
    # With several threads GDAL would open a JPEG 2000 again in each, which only this one can.
    with rasterio().Env(GDAL_NUM_THREADS="1"):
        return _decoded([heads[i] for i in range(len(hrefs))], want, fill)


def _decoded(
    files: Sequence[File], want: Callable[[int, Cog], Box | None], fill: float
) -> list[Read | None]:
    """Open files, read the blocks of all that are wanted side by side, and decode them."""
    found = list[Read | None]()
    work = [_steps(file, partial(want, i), fill, found) for i, file in enumerate(files)]
    try:
        ranges = [next(steps) for steps in work]
        lacking = [(file, some) for file, some in zip(files, ranges, strict=True) if len(some)]
        together(len(lacking), lambda k: lacking[k][0].read(*lacking[k][1].T), _AT_ONCE)
        for steps in work:
            next(steps, None)
    finally:
        for steps in work:
            steps.close()
    return found


def _steps(
    file: File, want: Callable[[Cog], Box | None], fill: float, found: list[Read | None]
) -> Generator[Ranges, None, None]:
    """Open a file; say what of it is still to be read, and, when that was done, decode it. What
    goes wrong in between is said of this file, though others are open, too."""
    with cog(file) as image:
        box = want(image)
        yield _NONE if box is None else image.lacking(box)
        found.append(None if box is None else Read(image, box, image.read(box, fill)))


@contextmanager
def cog(file: File) -> Iterator[Cog]:
    """A file as a COG; errors are those of `read_all`."""
    if not file.size:
        raise DataError(file.path, "", 0, "is empty, expected a GeoTIFF")
    driver = "JP2OpenJPEG" if file.known[0].startswith(_JP2) else "GTiff"
    with opened(file.store, file.name, file.size, file.known, driver) as image:
        yield Cog(file, image)
