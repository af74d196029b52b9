"""GeoTIFF files from their bytes: what their headers say, and their pixels, by rasterio (GDAL).

GDAL is asked for GeoTIFF alone, and reads from memory alone: what calls itself .tif and is a list
of other files or addresses is refused. No setting of GDAL is touched.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, contextmanager
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastload.extras import missing
from fastload.storage.errors import DataError
from fastload.storage.formats.tiff import plain_pixels


class Head(NamedTuple):
    """What a file says of its pixels ``[bands, height, width]``.

    Attributes:
        names: the bands' descriptions; "" where there is none.
        nodata: what a pixel holds where nothing was seen; None if the file does not say it.
        crs: of the coordinates as WKT; "" if unknown.
        x, y: the image's centre, in units of the crs.
        ground: height and width in metres; None where the crs is not in metres.
    """

    bands: int
    height: int
    width: int
    dtype: str
    names: tuple[str, ...]
    nodata: float | None
    crs: str
    x: float
    y: float
    ground: tuple[float, float] | None


def head(content: bytes, path: str) -> Head:
    """The header of a file.

    Args:
        content: all of the file.
        path: what errors call it.

    Raises:
        DataError: where it is no GeoTIFF.
        ImportError: where rasterio is missing.
    """
    with _opened(content, path) as (image, crs_error):
        size = image.height, image.width
        x, y = image.transform @ (image.width / 2, image.height / 2)
        try:
            crs, metres = (image.crs.to_wkt(), image.crs.is_projected) if image.crs else ("", False)
            metres = metres and image.crs.linear_units_factor[1] == 1
        except crs_error:
            crs, metres = "", False
        a, _, _, _, e, _ = image.transform[:6]
        ground = (abs(e) * size[0], abs(a) * size[1]) if metres else None
        names = tuple(name or "" for name in image.descriptions)
        return Head(
            image.count, *size, _one_dtype(image, path), names, image.nodata, crs, x, y, ground
        )


def decode(
    content: bytes, path: str, bands: Sequence[int] | None = None, like: Head | None = None
) -> NDArray[Any]:
    """Pixels ``[C, H, W]`` of some bands, numbered from 0, or of all; native byte order.

    Args:
        content: all of the file.
        path: what errors call it.
        bands: some; None for all.
        like: what the file must look like, in bands, size and dtype. Then plain files are read
            without GDAL, to the same pixels, which cannot be written to.

    Raises:
        DataError: where the bytes are no sound GeoTIFF, it has no such band or looks otherwise.
        ImportError: where rasterio is missing.
    """
    plain = None if like is None else plain_pixels(content)
    if plain is not None and like is not None and (*plain.shape, plain.dtype) == like[:4]:
        return plain if bands is None else plain[list(bands)]
    with _opened(content, path) as (image, _):
        if like is not None:
            _compare(image, like, path)
        numbers = range(image.count) if bands is None else bands
        if any(not 0 <= band < image.count for band in numbers):
            wanted = max(numbers) + 1
            raise DataError(path, "", 0, f"has {image.count} bands, expected {wanted} at least")
        pixels: NDArray[Any] = image.read([band + 1 for band in numbers])
        return pixels


def _compare(image: Any, like: Head, path: str) -> None:
    found = image.count, image.height, image.width, _one_dtype(image, path)
    if found != like[:4]:
        reason = f"holds {_text(*found)}, expected {_text(*like[:4])} as the first scene has"
        raise DataError(path, "", 0, reason)


def _text(bands: int, height: int, width: int, dtype: str) -> str:
    return f"{bands} band{'s' * (bands != 1)} of {height} x {width} {dtype}"


def centres(heads: Sequence[Head | None]) -> NDArray[np.float64]:
    """Longitude and latitude ``[N, 2]`` in degrees of images' centres; NaN where unknown."""
    from rasterio.warp import transform

    out = np.full((len(heads), 2), np.nan)
    for crs in {h.crs for h in heads if h is not None and h.crs}:
        rows = [i for i, h in enumerate(heads) if h is not None and h.crs == crs]
        some = [h for h in heads if h is not None and h.crs == crs]
        lon, lat = transform(crs, "EPSG:4326", [h.x for h in some], [h.y for h in some])
        out[rows] = np.stack([lon, lat], 1)
    return np.where(np.isfinite(out), out, np.nan)


def rasterio() -> ModuleType:
    """The library.

    Raises:
        ImportError: names the extra that brings it.
    """
    try:
        import rasterio
    except ImportError as error:
        raise missing("GeoTIFF files need rasterio", "rasters") from error
    return rasterio  # type: ignore[no-any-return]


def _one_dtype(image: Any, path: str) -> str:
    if len(set(image.dtypes)) != 1:
        raise DataError(path, "", 0, f"its bands differ in dtype: {list(image.dtypes)}")
    return str(image.dtypes[0])


def _opened(content: bytes, path: str) -> AbstractContextManager[tuple[Any, type[Exception]]]:
    """A file as rasterio has it, and the error that an unknown crs is; what rasterio raises inside
    is raised as `DataError`."""
    rasterio()
    return _open(content, path)


@contextmanager
def _open(content: bytes, path: str) -> Any:
    from rasterio.errors import CRSError, RasterioError
    from rasterio.io import MemoryFile

    if not content:
        raise DataError(path, "", 0, "is empty, expected a GeoTIFF")
    try:
        with MemoryFile(content) as file, file.open(driver="GTiff") as image:
            yield image, CRSError
    except RasterioError as error:
        cause = error.__cause__ or error
        raise DataError(path, "", 0, f"is no sound GeoTIFF ({cause})") from error
