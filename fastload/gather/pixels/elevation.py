"""Elevation from tiles in degrees, such as cop-dem-glo-30, on a patch's own grid.

Bilinear between the four pixels about each point, of which some may lie in the next tile.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastload.gather.patch import Patch
from fastload.gather.pixels.cog import Box, Cog, Read, read_all
from fastload.gather.pixels.grid import DEGREES, PIXEL_M, SIDE
from fastload.gather.pixels.reading import Reading
from fastload.gather.scene import Scene

DEM = "DEM"
_MARGIN = 2
"""Pixels about the patch that are read along."""
_SAME = 1e-3
"""Of a pixel: what two tiles' grids may differ by and still be one."""
Floats = NDArray[np.float64]


class Piece(NamedTuple):
    """What was read of a tile.

    Attributes:
        pixels: ``[h, w]`` float64, NaN where there are no data.
        left, top: longitude and latitude of the first pixel's centre.
        dx, dy: degrees between pixels, above 0.
    """

    pixels: Floats
    left: float
    top: float
    dx: float
    dy: float


def read_elevation(scenes: Sequence[Scene], reading: Reading) -> Patch:
    """The patch ``[1, 264, 264]`` float32 metres, from all tiles that it touches.

    Where there is no tile, or its pixel has no data, a point is without data; of what is allowed of
    that the elevation is 0, as that of the sea is (of which cop-dem-glo-30 has no tiles).

    Args:
        scenes: the tiles, in any order, or one scene whose files are tiles, whatever their names;
            the patch is said to be of the first by id.
        reading: see there.

    Raises:
        Unfit: where more points are without data than there may be.
        DataError, StorageError: see `fastload.gather.pixels.cog.read_all`.
    """
    first = min(scenes, key=lambda scene: scene.id)
    lon, lat = points(reading)
    tiles = sorted({href for scene in scenes for href in scene.hrefs.values()})
    hrefs = [reading.open_href(href) for href in tiles]
    read = read_all(reading.files, hrefs, lambda _, image: _box(image, lon, lat))
    found = sample(joined([_piece(r, lon) for r in read if r is not None]), lon, lat)
    reading.check(first, np.isnan(found))
    bands = np.nan_to_num(found, nan=0.0).astype(np.float32)[None]
    return Patch(first, bands, (DEM,), reading.grid.crs, reading.grid.transform)


def points(reading: Reading) -> tuple[Floats, Floats]:
    """Longitude and latitude of the centres of a patch's pixels ``[264, 264]``; longitudes go
    beyond 180 where it crosses the antimeridian."""
    grid = reading.grid
    steps = PIXEL_M * (np.arange(SIDE) + 0.5)
    x, y = np.meshgrid(grid.left + steps, grid.top - steps)
    lon, lat = grid.degrees(x.ravel().tolist(), y.ravel().tolist())
    return _near(lon, grid.centre[0]).reshape(x.shape), lat.reshape(x.shape)


def _near(lon: Floats, middle: float) -> Floats:
    return (lon - middle + 180) % 360 - 180 + middle


def _corner(image: Cog, lon: Floats) -> tuple[float, float]:
    """Longitude and latitude of the middle of a tile's first pixel, whole turns away from what the
    file says, so that tiles on both sides of the antimeridian lie beside each other."""
    turns = 360 * round((lon.mean() - image.left) / 360)
    return image.left + turns + image.dx / 2, image.top - image.dy / 2


def _box(image: Cog, lon: Floats, lat: Floats) -> Box | None:
    """The pixels of a tile about some points; None where it has none."""
    if image.crs != DEGREES or image.dtype.kind not in "fiu":
        raise image.error(
            f"holds {image.dtype} pixels in EPSG:{image.crs}, expected numbers in EPSG:{DEGREES}"
        )
    left, top = _corner(image, lon)
    columns = _about((lon.min() - left) / image.dx, (lon.max() - left) / image.dx, image.shape[1])
    rows = _about((top - lat.max()) / image.dy, (top - lat.min()) / image.dy, image.shape[0])
    return Box(rows.start, columns.start, len(rows), len(columns)) if rows and columns else None


def _about(first: float, last: float, size: int) -> range:
    """Numbers of the pixels about two places, and a margin; of `size` that there are."""
    return range(max(int(np.floor(first)) - _MARGIN, 0), min(int(np.ceil(last)) + _MARGIN, size))


def _piece(read: Read, lon: Floats) -> Piece:
    image, box, pixels = read.image, read.box, read.pixels.astype(np.float64)
    if image.nodata is not None:
        pixels[pixels == image.nodata] = np.nan
    left, top = _corner(image, lon)
    at = left + box.left * image.dx, top - box.top * image.dy
    return Piece(pixels, *at, image.dx, image.dy)


def joined(pieces: Sequence[Piece]) -> list[Piece]:
    """Pieces on one grid as one, NaN between them. (cop-dem-glo-30's grid is coarser along the
    parallel from 50, 60, 70, 75, 80 and 85 degrees on.)"""
    left = list(pieces)
    out: list[Piece] = []
    while left:
        first = left.pop(0)
        same = [first, *(piece for piece in left if _one_grid(first, piece))]
        left = [piece for piece in left if not any(piece is other for other in same)]
        out.append(_merge(same))
    return out


def _one_grid(a: Piece, b: Piece) -> bool:
    apart = (b.left - a.left) / a.dx, (b.top - a.top) / a.dy
    sizes = b.dx / a.dx - 1, b.dy / a.dy - 1
    off = [abs(x - round(x)) for x in apart] + [abs(x) * max(a.pixels.shape) for x in sizes]
    return bool(max(off) < _SAME)


def _merge(pieces: Sequence[Piece]) -> Piece:
    dx, dy = pieces[0].dx, pieces[0].dy
    left, top = min(p.left for p in pieces), max(p.top for p in pieces)
    at = [(round((top - p.top) / dy), round((p.left - left) / dx)) for p in pieces]
    height = max(y + len(p.pixels) for (y, _), p in zip(at, pieces, strict=True))
    width = max(x + p.pixels.shape[1] for (_, x), p in zip(at, pieces, strict=True))
    out = np.full((height, width), np.nan)
    for (y, x), p in zip(at, pieces, strict=True):
        part = out[y : y + len(p.pixels), x : x + p.pixels.shape[1]]
        np.copyto(part, p.pixels, where=~np.isnan(p.pixels))
    return Piece(out, left, top, dx, dy)


def sample(pieces: Sequence[Piece], lon: Floats, lat: Floats) -> Floats:
    """Elevation of points, any shape, by the first piece that has it; NaN where none has."""
    out = np.full(lon.shape, np.nan)
    for piece in pieces:
        mine = np.isnan(out)
        out[mine] = _bilinear(piece, lon[mine], lat[mine])
    return out


def _bilinear(piece: Piece, lon: Floats, lat: Floats) -> Floats:
    """At points up to half a pixel beyond the outermost centres, where the outermost count."""
    H, W = piece.pixels.shape
    x, y = (lon - piece.left) / piece.dx, (piece.top - lat) / piece.dy
    inside = (x >= -0.5) & (x <= W - 0.5) & (y >= -0.5) & (y <= H - 0.5)
    x, y = np.clip(x, 0, W - 1), np.clip(y, 0, H - 1)
    i, j = np.floor(x).astype(int), np.floor(y).astype(int)
    right, below = np.minimum(i + 1, W - 1), np.minimum(j + 1, H - 1)
    u, v, p = x - i, y - j, piece.pixels
    upper = p[j, i] * (1 - u) + p[j, right] * u
    lower = p[below, i] * (1 - u) + p[below, right] * u
    return np.where(inside, upper * (1 - v) + lower * v, np.nan)
