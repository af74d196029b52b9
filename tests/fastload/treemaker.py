"""Trees of tiny GeoTIFF files, as published ones lie on disk."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.transform import from_origin

Pixels = NDArray[Any]
EAST, NORTH = 404_400.0, 5_342_400.0
UTM33 = CRS.from_epsg(32633)


def tif(
    path: Path,
    pixels: Pixels,
    crs: CRS | None = UTM33,
    names: Sequence[str] = (),
    size_m: float = 10.0,
    origin: tuple[float, float] = (EAST, NORTH),
    **options: Any,
) -> Path:
    """Write ``[C, H, W]`` or ``[H, W]``."""
    bands = pixels if pixels.ndim == 3 else pixels[None]
    C, H, W = bands.shape
    path.parent.mkdir(parents=True, exist_ok=True)
    transform = from_origin(*origin, size_m, size_m)
    with rasterio.open(
        path, "w", driver="GTiff", count=C, height=H, width=W, dtype=bands.dtype, crs=crs,
        transform=transform, **options,
    ) as file:  # fmt: skip
        file.write(bands)
        for number, name in enumerate(names, 1):
            file.set_band_description(number, name)
    return path


def noise(seed: str | int, shape: tuple[int, ...], dtype: Any = np.uint16) -> Pixels:
    """Pixels that are a function of a seed."""
    words = [*str(seed).encode()]
    rng = np.random.default_rng(words)
    if np.issubdtype(dtype, np.floating):
        return rng.normal(-15, 5, shape).astype(dtype)
    top = min(4000, np.iinfo(dtype).max)
    return rng.integers(0, top, shape, endpoint=True).astype(dtype)


def bands_of(files: Mapping[str, Pixels], folder: Path, **options: Any) -> None:
    """One file a band in a folder."""
    for name, pixels in files.items():
        tif(folder / f"{name}.tif", pixels, **options)
