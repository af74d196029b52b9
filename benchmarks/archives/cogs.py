"""Scenes of Sentinel-2 as COGs with their STAC items, to gather from.

Pixels are noise that compresses about as the real ones do; what counts is how many bytes and
requests a patch takes, which depends on sizes of blocks and files.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

COLLECTION = "sentinel-2-l2a"
EPSG, LEFT, TOP = 32632, 600000, 5400000
ASSETS = {
    "coastal": 60, "blue": 10, "green": 10, "red": 10, "rededge1": 20, "rededge2": 20,
    "rededge3": 20, "nir": 10, "nir08": 20, "nir09": 60, "swir16": 20, "swir22": 20, "scl": 20,
}  # fmt: skip
"""Files of a scene as Earth Search names them, and metres of a pixel."""
DAYS = ("2021-03-20", "2021-06-20", "2021-09-20", "2021-12-20")


def make(folder: Path, px: int, block: int) -> None:
    """Make the files of a scene for each of `DAYS`.

    Args:
        folder: of all files.
        px: pixels of 10 m on a side, a multiple of 6.
        block: pixels on a side of a COG's block; Earth Search has 1024, Planetary Computer 512.
    """
    for day in DAYS:
        rng = np.random.default_rng(DAYS.index(day))
        for band, metres in ASSETS.items():
            path = folder / _name(day) / f"{band}.tif"
            _write(path, _pixels(rng, px * 10 // metres, band), metres, block)


def items(folder: Path, base: str, px: int) -> list[Path]:
    """Write what `rustac serve` takes, for files below the URL `base`."""
    paths = [folder / "collection.json", folder / "items.json"]
    paths[0].write_text(json.dumps(_COLLECTION))
    every = [_item(base, px, day) for day in DAYS]
    paths[1].write_text(json.dumps({"type": "FeatureCollection", "features": every}))
    return paths


def ring(px: int, inside: int = 0) -> list[list[float]]:
    """Longitude and latitude of a scene's corners, `inside` metres within them."""
    from rasterio.warp import transform

    left, right = LEFT + inside, LEFT + 10 * px - inside
    top, bottom = TOP - inside, TOP - 10 * px + inside
    xs, ys = [left, left, right, right, left], [top, bottom, bottom, top, top]
    lon, lat = transform(f"EPSG:{EPSG}", "EPSG:4326", xs, ys)
    return [[x, y] for x, y in zip(lon, lat, strict=True)]


def _name(day: str) -> str:
    return f"S2A_32UPU_{day.replace('-', '')}_0_L2A"


def _item(base: str, px: int, day: str) -> dict[str, Any]:
    name = _name(day)
    files = {band: f"{base}/{name}/{band}.tif" for band in ASSETS}
    assets = {band: {"href": href, "type": "image/tiff"} for band, href in files.items()}
    corners = ring(px)
    lons, lats = zip(*corners, strict=True)
    properties = {
        "datetime": f"{day}T10:10:31Z", "eo:cloud_cover": 5.0, "proj:epsg": EPSG,
        "proj:code": f"EPSG:{EPSG}", "s2:processing_baseline": "02.14", "s2:sequence": "0",
        "s2:datatake_id": f"GS2A_{day.replace('-', '')}T101031_000001_N02.14",
    }  # fmt: skip
    return {
        "type": "Feature", "stac_version": "1.0.0", "stac_extensions": [], "id": name,
        "collection": COLLECTION, "links": [], "assets": assets, "properties": properties,
        "geometry": {"type": "Polygon", "coordinates": [corners]},
        "bbox": [min(lons), min(lats), max(lons), max(lats)],
    }  # fmt: skip


def _pixels(rng: np.random.Generator, size: int, band: str) -> NDArray[Any]:
    """Noise on a slope ``[size, size]``: uint16 DN, or scene classes in large fields."""
    if band == "scl":
        fields = rng.choice(np.array([4, 5, 6, 7], np.uint8), (size // 16 + 1, size // 16 + 1))
        return fields.repeat(16, 0).repeat(16, 1)[:size, :size]
    slope = np.linspace(800, 2500, size)[:, None]
    return np.clip(slope + rng.normal(0, 60, (size, size)), 1, 10000).astype(np.uint16)


def _write(path: Path, pixels: NDArray[Any], metres: int, block: int) -> None:
    import rasterio

    path.parent.mkdir(parents=True, exist_ok=True)
    H, W = pixels.shape
    with rasterio.open(
        path, "w", driver="COG", width=W, height=H, count=1, dtype=pixels.dtype, nodata=0,
        crs=f"EPSG:{EPSG}", transform=rasterio.Affine(metres, 0, LEFT, 0, -metres, TOP),
        compress="DEFLATE", level=6, predictor="YES", blocksize=block,
        overview_resampling="nearest",
    ) as file:  # fmt: skip
        file.write(pixels, 1)


_COLLECTION = {
    "type": "Collection", "stac_version": "1.0.0", "id": COLLECTION, "description": "made",
    "license": "other", "links": [],
    "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]},
               "temporal": {"interval": [["2015-01-01T00:00:00Z", None]]}},
}  # fmt: skip
