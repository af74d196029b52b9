"""Made trees of GeoTIFF files, as SSL4EO-S12 v1.0 and SeCo lie on disk.

`python -m benchmarks.archives.trees v10 ROOT` writes some samples at true sizes.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

Pixels = NDArray[Any]
LATLON = CRS.from_string("+proj=latlong +datum=WGS84")
UTM33 = CRS.from_epsg(32633)
METRE_DEG = 360 / 40_075_017
SIZES = {"B1": 6, "B5": 2, "B6": 2, "B7": 2, "B8A": 2, "B9": 6, "B10": 6, "B11": 2, "B12": 2}
"""By how much the bands that have not 10 m are coarser."""
S2L1C = tuple(f"B{b}" for b in (1, 2, 3, 4, 5, 6, 7, 8, "8A", 9, 10, 11, 12))
S2L2A = tuple(band for band in S2L1C if band != "B10")
BANDS = {"s1": ("VV", "VH"), "s2c": S2L1C, "s2a": S2L2A}
DAYS = ("20200912", "20201221", "20210320", "20210621", "20210905")


def noise(seed: object, shape: tuple[int, ...], dtype: Any = np.uint16) -> Pixels:
    """Pixels that are a function of a seed: dB around -15, or numbers up to 4000."""
    rng = np.random.default_rng([*str(seed).encode()])
    if np.issubdtype(dtype, np.floating):
        return rng.normal(-15, 5, shape).astype(dtype)
    top = min(4000, np.iinfo(dtype).max)
    return rng.integers(0, top, shape, endpoint=True).astype(dtype)


def smooth(seed: object, shape: tuple[int, ...], dtype: Any = np.uint8) -> Pixels:
    """As `noise`, in blocks of 4 x 4, which JPEG keeps better."""
    *outer, H, W = shape
    coarse = noise(seed, (*outer, -(-H // 4), -(-W // 4)), dtype)
    return np.ascontiguousarray(coarse.repeat(4, -1).repeat(4, -2)[..., :H, :W])


def tif(
    path: Path,
    pixels: Pixels,
    crs: CRS | None = UTM33,
    names: Sequence[str] = (),
    pixel: float = 10.0,
    origin: tuple[float, float] = (404_400.0, 5_342_400.0),
    **options: Any,
) -> Path:
    """Write ``[C, H, W]`` or ``[H, W]``.

    Args:
        path: of the file; its folder is made.
        pixels: any dtype that GeoTIFF has.
        crs: of the coordinates.
        names: the bands' descriptions.
        pixel: its size, in units of the crs.
        origin: x and y of the upper left corner.
        options: of GDAL's writer.
    """
    bands = pixels if pixels.ndim == 3 else pixels[None]
    C, H, W = bands.shape
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", count=C, height=H, width=W, dtype=bands.dtype, crs=crs,
        transform=Affine(pixel, 0, origin[0], 0, -pixel, origin[1]), **options,
    ) as file:  # fmt: skip
        file.write(bands)
        for number, name in enumerate(names, 1):
            file.set_band_description(number, name)
    return path


def scene(folder: str, day: str, number: int) -> str:
    """A scene's name in Earth Engine's collections."""
    if folder == "s1":
        return f"S1A_IW_GRDH_1SDV_{day}T05{number % 60:02d}30_{day}T055014_034567_040B5C_2F1A"
    return f"{day}T10{number % 60:02d}31_{day}T101027_T33UUP"


def v10(
    root: Path,
    ids: Sequence[int],
    folders: Sequence[str] = ("s1", "s2c", "s2a"),
    size: int = 264,
    dates: int = 4,
    dtype: Any = None,
    **options: Any,
) -> Path:
    """SSL4EO-S12 v1.0: ``{folder}/{id}/{scene}/{band}.tif``, uncompressed, with metadata.json.

    Args:
        root: where the folders go.
        ids: of the samples.
        folders: "s1", "s2c", "s2a".
        size: of a band of 10 m, a multiple of 6.
        dates: scenes an id, up to 5.
        dtype: of all; float32 for s1 and uint16 for the others by default.
        options: of GDAL's writer.
    """
    for folder in folders:
        kind = dtype or (np.float32 if folder == "s1" else np.uint16)
        for number in ids:
            for day in DAYS[:dates]:
                place = root / folder / f"{number:07d}" / scene(folder, day, number)
                _bands(place, BANDS[folder], size, kind, number, options)
                (place / "metadata.json").write_text("{}")
    return root


def seco(root: Path, ids: Sequence[int], size: int = 264, dates: int = 5) -> Path:
    """SeCo: ``{id}/{scene}/{band}.tif``, uint8, JPEG inside, with a preview beside each scene."""
    for number in ids:
        for day in DAYS[:dates]:
            place = root / f"{number:06d}" / scene("s2a", day, number)
            _bands(place, S2L2A, size, np.uint8, number, {"compress": "JPEG"})
            preview = smooth(place.name, (3, size, size))
            tif(place.with_suffix(".tif"), preview, LATLON, compress="JPEG")
            (place / "metadata.json").write_text("{}")
    return root


def _bands(
    place: Path, bands: Sequence[str], size: int, dtype: Any, number: int, options: dict[str, Any]
) -> None:
    make = smooth if "compress" in options else noise
    for band in bands:
        times = SIZES.get(band, 1)
        n = size // times
        pixels = make(f"{place.parent.name}{place.name}{band}", (n, n), dtype)
        at = (13.0 + 0.1 * number, 48.0)
        tif(place / f"{band}.tif", pixels, LATLON, (), 10 * times * METRE_DEG, at, **options)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("layout", choices=("v10", "seco"))
    parser.add_argument("root", type=Path)
    parser.add_argument("--ids", type=int, default=32)
    parser.add_argument("--folders", nargs="+", default=["s2c"], choices=list(BANDS))
    given = parser.parse_args()
    ids = range(given.ids)
    if given.layout == "v10":
        v10(given.root, ids, given.folders)
    else:
        seco(given.root, ids)


if __name__ == "__main__":
    main()
