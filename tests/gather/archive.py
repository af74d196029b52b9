"""A made archive: scenes as COGs, and their items as the catalogues of real archives have them.

Pixels are a function of ground and date (`truth`, `classes`, `decibels`, `height`), so that what a
patch must hold can be said for any place.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.transform import Affine
from rasterio.warp import transform

from fastload.gather.scene import Scene

ASSETS = {
    "B01": ("coastal", 60), "B02": ("blue", 10), "B03": ("green", 10), "B04": ("red", 10),
    "B05": ("rededge1", 20), "B06": ("rededge2", 20), "B07": ("rededge3", 20), "B08": ("nir", 10),
    "B8A": ("nir08", 20), "B09": ("nir09", 60), "B11": ("swir16", 20), "B12": ("swir22", 20),
}  # fmt: skip
"""Of Sentinel-2 by band: what Earth Search calls the file, and metres of a pixel."""
S2, S1, DEM = "sentinel-2-l2a", "sentinel-1-rtc", "cop-dem-glo-30"
POLARISATIONS = ("vv", "vh")
DEM_PX = 360
"""Pixels of a degree; the real ones have 3,600."""
MOST_DN = 4000


@dataclass(frozen=True)
class Tile:
    """A square of ground in a UTM zone, in which scenes are made.

    Attributes:
        name: as MGRS has them; nothing but a name here.
        epsg: of the zone.
        lon, lat: of its centre, about.
        px: pixels of 10 m on a side, a multiple of 6.
    """

    name: str
    epsg: int
    lon: float
    lat: float
    px: int = 480

    @property
    def corner(self) -> tuple[int, int]:
        """Of the north-west, in metres: multiples of 60, as the real ones have."""
        [x], [y] = transform("EPSG:4326", f"EPSG:{self.epsg}", [self.lon], [self.lat])
        half = self.px * 5
        return 60 * round((x - half) / 60), 60 * round((y + half) / 60)

    def ring(self, cut: float = 1.0) -> list[list[float]]:
        """Longitude and latitude of its corners, or of its western part alone."""
        (x, y), side = self.corner, self.px * 10
        east = x + cut * side
        xs, ys = [x, x, east, east, x], [y, y - side, y - side, y, y]
        lon, lat = transform(f"EPSG:{self.epsg}", "EPSG:4326", xs, ys)
        return [[a, b] for a, b in zip(lon, lat, strict=True)]


@dataclass(frozen=True)
class Shot:
    """A date on which all tiles are seen.

    Attributes:
        time: such as "2020-03-20T10:10:31".
        cloud: per cent of the scene that is cloudy, as the item says it.
        clouds: share of the cells of 240 m that are cloudy in SCL.
        baseline: of processing; from 04.00 on 1000 DN are added, unless
        applied: the item says that they were taken out again; None: the item says nothing.
        cut: share of the tile, from the west, that has data.
        number: what the pixels depend on.
        sequence: of processings of one acquisition.
    """

    time: str
    cloud: float = 5.0
    clouds: float = 0.0
    baseline: str = "02.14"
    applied: bool | None = None
    cut: float = 1.0
    number: int = 0
    sequence: int = 0

    @property
    def offset(self) -> int:
        """DN of zero reflectance in the files."""
        return 1000 if self.baseline >= "04.00" and not self.applied else 0


TILES = (
    Tile("32UQU", 32632, 11.99, 48.0),
    Tile("33UTP", 32633, 12.01, 48.0),
    Tile("33UUP", 32633, 12.05, 48.0),
    Tile("34HBH", 32734, 18.5, -34.0),
)
"""Two that overlap, of neighbouring zones; one that overlaps the second in its own zone; one in the
south."""
SHOTS = (
    Shot("2020-03-22T10:10:31", number=0),
    Shot("2020-06-20T10:10:31", number=1, clouds=0.1),
    Shot("2020-09-23T10:10:31", number=2, baseline="05.00"),
    Shot("2020-12-20T10:10:31", number=3, baseline="05.00", applied=True),
)


@dataclass
class Archive:
    """What was made.

    Attributes:
        folder: of all files.
        base: URL of the folder, before all hrefs.
        items: by collection, as dicts of STAC.
    """

    folder: Path
    base: str
    items: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def item(self, tile: str, time: str, collection: str = S2) -> dict[str, Any]:
        """The item of a tile on a date."""
        return next(
            item for item in self.items[collection]
            if item["properties"]["datetime"].startswith(time) and tile in item["id"]
        )  # fmt: skip

    def write(self) -> tuple[Path, Path]:
        """Write collections and items as `rustac serve` takes them: two files."""
        every = [item for items in self.items.values() for item in items]
        found = self.folder / "items.json"
        found.write_text(json.dumps({"type": "FeatureCollection", "features": every}))
        names = self.folder / "collections.json"
        names.write_text(json.dumps([_collection(name) for name in self.items]))
        return names, found


def make(
    folder: Path,
    base: str | None = None,
    tiles: Sequence[Tile] = TILES,
    shots: Sequence[Shot] = SHOTS,
    collections: Sequence[str] = (S2, S1, DEM),
) -> Archive:
    """Make an archive in a folder; hrefs begin with `base`, by default the folder's own URL."""
    archive = Archive(folder, (base or folder.resolve().as_uri()).rstrip("/"))
    makers = {S2: _optical, S1: _radar}
    for name in (c for c in collections if c != DEM):
        archive.items[name] = [makers[name](archive, t, s) for t in tiles for s in shots]
    if DEM in collections:
        cells = sorted({cell for tile in tiles for cell in _cells(tile)})
        archive.items[DEM] = [degree(archive, lon, lat) for lon, lat in cells]
    return archive


# What pixels hold


def truth(band: str, x: Any, y: Any, number: int) -> NDArray[np.int64]:
    """DN with zero reflectance at 0, 1 to 4000, at metres of a zone: of the pixel of the band's own
    size that holds the pixel of 10 m whose north-western corner that is."""
    size = ASSETS[band][1]
    u, v = np.asarray(x, np.int64) // size, -(-np.asarray(y, np.int64) // size)
    seed = 7919 * [*ASSETS].index(band) + 104729 * number
    mixed = (u * 2654435761 + seed) ^ (v * 2246822519)  # noise, so that files are not too small
    return np.asarray(1 + (mixed >> 7) % MOST_DN)


def classes(x: Any, y: Any, number: int, clouds: float) -> NDArray[np.uint8]:
    """Scene classes (SCL) as `truth` has DN: cells of 240 m, that share of them 8 to 10, the others
    2 to 7 and 11."""
    u, v = np.asarray(x, np.int64) // 240, -(-np.asarray(y, np.int64) // 240)
    cell = (13 * u + 29 * v + 37 * number) % 100
    clear = np.array([4, 5, 6, 2, 3, 7, 11], np.uint8)[cell % 7]
    return np.where(cell < 100 * clouds, (8 + cell % 3).astype(np.uint8), clear)


def decibels(name: str, x: Any, y: Any, number: int) -> NDArray[np.float64]:
    """Of Sentinel-1, at the north-western corner of a pixel of 10 m."""
    u, v = np.asarray(x, np.int64) // 10, -(-np.asarray(y, np.int64) // 10)
    k = POLARISATIONS.index(name.lower())
    return np.asarray(-20 - 6 * k + ((u + 2 * v + 5 * number) % 100) / 8)


def height(lon: Any, lat: Any) -> Any:
    """Elevation in metres: linear, so that bilinear interpolation has no error."""
    return 500 + 7 * np.asarray(lon) + 11 * np.asarray(lat)


def corners(x: float, y: float, side: int = 264) -> tuple[NDArray[Any], NDArray[Any]]:
    """North-western corners of pixels of 10 m of a patch whose own corner is given: broadcast to
    ``[side, side]``."""
    steps = 10 * np.arange(side)
    return round(x) + steps[None, :], round(y) - steps[:, None]


# The files


def _write(path: Path, pixels: NDArray[Any], crs: str, at: Affine, nodata: float | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    H, W = pixels.shape
    with rasterio.open(
        path, "w", driver="COG", width=W, height=H, count=1, dtype=pixels.dtype, crs=crs,
        transform=at, nodata=nodata, compress="DEFLATE", level=1, blocksize=256,
        predictor="YES", overviews="NONE",
    ) as file:  # fmt: skip
        file.write(pixels, 1)


def _optical(archive: Archive, tile: Tile, shot: Shot) -> dict[str, Any]:
    id_ = f"S2A_{tile.name}_{shot.time[:10].replace('-', '')}_{shot.sequence}_L2A"
    (x, y), assets = tile.corner, {}
    for band, (name, size) in [*ASSETS.items(), ("SCL", ("scl", 20))]:
        xs, ys = _grid(tile, size)
        if band == "SCL":
            pixels = classes(xs, ys, shot.number, shot.clouds)
        else:
            pixels = (truth(band, xs, ys, shot.number) + shot.offset).astype(np.uint16)
        width = pixels.shape[1]
        pixels[:, round(shot.cut * width / (60 // size)) * (60 // size) :] = 0
        file = f"{S2}/{id_}/{band}.tif"
        _write(archive.folder / file, pixels, f"EPSG:{tile.epsg}", _at(x, y, size), 0)
        assets[name] = _asset(archive, file, pixels, _at(x, y, size))
    said = {
        "eo:cloud_cover": shot.cloud,
        "s2:processing_baseline": shot.baseline,
        "s2:sequence": str(shot.sequence),
        "s2:datatake_id": f"GS2A_{shot.time.replace('-', '').replace(':', '')}_000001_N00.00",
        "s2:product_uri": f"S2A_MSIL2A_{shot.time.replace('-', '').replace(':', '')}"
        f"_N{shot.baseline.replace('.', '')}_R022_T{tile.name}_{shot.sequence}.SAFE",
    }
    if shot.applied is not None:
        said["earthsearch:boa_offset_applied"] = shot.applied
    return _item(id_, S2, tile.ring(shot.cut), shot.time, tile.epsg, assets, said)


def _radar(archive: Archive, tile: Tile, shot: Shot) -> dict[str, Any]:
    """Sentinel-1 beside Sentinel-2, a day later, on a grid that begins 20 m elsewhere."""
    day = str(np.datetime64(shot.time) + np.timedelta64(1, "D"))
    id_ = f"S1A_IW_GRDH_1SDV_{day[:10].replace('-', '')}_{tile.name}_rtc"
    (x, y), assets = tile.corner, {}
    x, y = x - 20, y + 20
    steps = 10 * np.arange(tile.px)
    for name in POLARISATIONS:
        db = decibels(name, (x + steps)[None, :], (y - steps)[:, None], shot.number)
        pixels = (10 ** (db / 10)).astype(np.float32)
        pixels[:, round(shot.cut * tile.px) :] = -32768
        file = f"{S1}/{id_}/{name}.tif"
        _write(archive.folder / file, pixels, f"EPSG:{tile.epsg}", _at(x, y, 10), -32768)
        assets[name] = _asset(archive, file, pixels, _at(x, y, 10))
    said = {"sar:instrument_mode": "IW", "sar:polarizations": ["VV", "VH"]}
    return _item(id_, S1, tile.ring(shot.cut), day, tile.epsg, assets, said)


def degree(archive: Archive, lon: int, lat: int, columns: int = DEM_PX) -> dict[str, Any]:
    """Elevation of a square degree, by its south-western corner: its file, and its item.

    Pixels' middles lie on the lattice of degrees, as in the real ones.
    """
    ns, ew = "N" if lat >= 0 else "S", "E" if lon >= 0 else "W"
    id_ = f"Copernicus_DSM_COG_10_{ns}{abs(lat):02d}_00_{ew}{abs(lon):03d}_00_DEM"
    dx, dy = 1 / columns, 1 / DEM_PX
    xs, ys = lon + dx * np.arange(columns), lat + 1 - dy * np.arange(DEM_PX)
    pixels = height(xs[None, :], ys[:, None]).astype(np.float32)
    at = Affine(dx, 0, lon - dx / 2, 0, -dy, lat + 1 + dy / 2)
    file = f"{DEM}/{id_}.tif"
    _write(archive.folder / file, pixels, "EPSG:4326", at, None)
    ring = [[lon, lat], [lon + 1, lat], [lon + 1, lat + 1], [lon, lat + 1], [lon, lat]]
    assets = {"data": _asset(archive, file, pixels, at)}
    return _item(id_, DEM, ring, "2021-04-22T00:00:00", 4326, assets, {})


def _grid(tile: Tile, size: int) -> tuple[NDArray[Any], NDArray[Any]]:
    x, y = tile.corner
    steps = size * np.arange(tile.px * 10 // size)
    return (x + steps)[None, :], (y - steps)[:, None]


def _at(x: float, y: float, size: int) -> Affine:
    return Affine(size, 0, x, 0, -size, y)


def _cells(tile: Tile) -> list[tuple[int, int]]:
    """Square degrees that a tile touches."""
    return [(int(np.floor(lon)), int(np.floor(lat))) for lon, lat in tile.ring()]


# Their items


def _asset(archive: Archive, file: str, pixels: NDArray[Any], at: Affine) -> dict[str, Any]:
    return {
        "href": f"{archive.base}/{file}",
        "type": "image/tiff; application=geotiff; profile=cloud-optimized",
        "proj:shape": list(pixels.shape),
        "proj:transform": list(at)[:6],
        "roles": ["data"],
    }


def _item(
    id_: str,
    collection: str,
    ring: list[list[float]],
    time: str,
    epsg: int,
    assets: Mapping[str, Any],
    said: Mapping[str, Any],
) -> dict[str, Any]:
    lons, lats = zip(*ring, strict=True)
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": id_,
        "collection": collection,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [min(lons), min(lats), max(lons), max(lats)],
        "properties": {
            "datetime": f"{time}Z",
            "proj:code": f"EPSG:{epsg}",
            "proj:epsg": epsg,
            **said,
        },
        "links": [],
        "assets": dict(assets),
    }


def _collection(name: str) -> dict[str, Any]:
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": name,
        "description": "made",
        "license": "other",
        "extent": {
            "spatial": {"bbox": [[-180, -90, 180, 90]]},
            "temporal": {"interval": [[None, None]]},
        },
        "links": [],
    }


# As the package has them


def scene(item: Mapping[str, Any], shot: Shot | None = None) -> Scene:
    """A scene straight from an item that was made here, without a catalogue."""
    said, assets = item["properties"], item["assets"]
    modality = {S2: "S2L2A", S1: "S1RTC", DEM: "DEM"}[item["collection"]]
    names = {name: band for band, (name, _) in ASSETS.items()} | {"scl": "SCL", "data": "DEM"}
    cloud = said.get("eo:cloud_cover")
    return Scene(
        modality, item["id"], item["collection"], np.datetime64(said["datetime"][:-1], "ns"),
        None if cloud is None else cloud / 100, item["geometry"], said["proj:epsg"],
        {names.get(name, name): asset["href"] for name, asset in assets.items()},
        shot.offset if shot else 0, "made so", dict(said),
    )  # fmt: skip
