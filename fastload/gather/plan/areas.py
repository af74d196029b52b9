"""Polygons of the user's: where locations are drawn, or what is land."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.extras import missing

KINDS = "GeoJSON, GeoParquet (.parquet), WKT (.wkt) or WKB (.wkb)"
PLAIN = ("CRS84", "4326", "4979")
"""How a coordinate system of longitude and latitude on WGS 84 is named."""
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Areas:
    """Polygons that do not overlap, longitude and latitude in degrees.

    Attributes:
        parts: shapely polygons ``[P]``.
        bounds: west, south, east, north ``[P, 4]``.
        source: name and sha256 of the file, for the plan.
    """

    parts: NDArray[Any]
    bounds: Floats
    source: dict[str, Any]

    @classmethod
    def read(cls, path: str) -> "Areas":
        """Read a file of polygons.

        Raises:
            ValueError: a sentence with the file and what was expected.
            ImportError: where shapely is not installed.
        """
        try:
            import shapely
        except ImportError as error:
            raise missing("polygons need shapely", "gather") from error
        data = Path(path).expanduser().read_bytes()
        parts = _polygons(path, _geometries(path, data))
        whole = shapely.get_parts(shapely.union_all(parts))
        shapely.prepare(whole)
        digest = hashlib.sha256(data).hexdigest()
        source = {"file": Path(path).name, "sha256": digest, "polygons": len(parts)}
        return cls(whole, shapely.bounds(whole), source)

    def inside(self, part: NDArray[np.int64], lon: Floats, lat: Floats) -> Bools:
        """Whether places ``[M]`` lie in the parts ``[M]`` that are named."""
        import shapely

        return np.asarray(shapely.intersects_xy(self.parts[part], lon, lat))

    def contain(self, lon: Floats, lat: Floats) -> Bools:
        """Whether places ``[M]`` lie in any part."""
        import shapely

        # The tree alone would go through all corners of a part for each place; parts are prepared.
        place, part = shapely.STRtree(self.parts).query(shapely.points(lon, lat))
        found = np.zeros(len(lon), bool)
        found[place[self.inside(part, lon[place], lat[place])]] = True
        return found


def _geometries(path: str, data: bytes) -> Any:
    """All geometries of a file ``[G]``, of whatever kind."""
    import shapely

    kind = Path(path).suffix.lower()
    try:
        if kind in (".parquet", ".geoparquet"):
            return _of_parquet(path)
        if kind == ".wkt":
            return np.array([shapely.from_wkt(data.decode())])
        if kind == ".wkb":
            return np.array([shapely.from_wkb(data)])
        return _of_json(path, json.loads(data))
    except (shapely.GEOSException, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: expected polygons as {KINDS}, got {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: expected polygons as {KINDS}, missed {error}") from error


def _of_json(path: str, told: Any) -> Any:
    import shapely

    if not isinstance(told, dict) or "type" not in told:
        raise ValueError(f"{path}: expected a GeoJSON object with a type, got {str(told)[:40]!r}")
    # Not in RFC 7946, but written by programs that keep to its forerunner of 2008.
    name = str((told.get("crs") or {}).get("properties", {}).get("name", "CRS84"))
    _need_plain(path, name)
    features = told["features"] if told["type"] == "FeatureCollection" else [told]
    shapes = [f["geometry"] if f.get("type") == "Feature" else f for f in features]
    return shapely.from_geojson([json.dumps(shape) for shape in shapes if shape is not None])


def _of_parquet(path: str) -> Any:
    import shapely

    try:
        import pyarrow as pa
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise missing("GeoParquet needs pyarrow", "gather") from error
    try:
        table = parquet.read_table(Path(path).expanduser())
        told = json.loads((table.schema.metadata or {})[b"geo"])
        name = told["primary_column"]
        column = told["columns"][name]
    except (pa.ArrowInvalid, KeyError) as error:
        raise ValueError(f"{path}: expected GeoParquet with metadata, got {error}") from error
    if column.get("encoding") != "WKB":
        raise ValueError(f"{path}: geometries must be WKB, got {column.get('encoding')!r}")
    crs = column.get("crs", "CRS84")  # absent: longitude and latitude, by the specification
    _need_plain(path, str(crs.get("id", crs) if isinstance(crs, dict) else crs))
    return shapely.from_wkb([g for g in table[name].to_pylist() if g is not None])


def _need_plain(path: str, crs: str) -> None:
    if not any(name in crs for name in PLAIN):
        raise ValueError(
            f"{path}: coordinates must be longitude and latitude on WGS 84, got {crs[:60]}"
        )


def _polygons(path: str, geometries: Any) -> Any:
    """The polygons among them, all sound."""
    import shapely

    parts = shapely.get_parts(geometries)
    while np.any(shapely.get_type_id(parts) > 3):  # collections, and what is in these
        parts = shapely.get_parts(parts)
    parts = parts[(shapely.get_type_id(parts) == 3) & ~shapely.is_empty(parts)]
    if not len(parts):
        raise ValueError(f"{path}: expected polygons, found none")
    for i in np.flatnonzero(~shapely.is_valid(parts))[:1]:
        why = shapely.is_valid_reason(parts[i])
        raise ValueError(f"{path}: polygon {i} (from 0) is not valid: {why}")
    w, s, e, n = shapely.total_bounds(parts)
    if not (-180 <= w <= e <= 180 and -90 <= s <= n <= 90):
        raise ValueError(
            f"{path}: expected degrees, longitude -180 to 180 and latitude -90 to 90, "
            f"got {w:g} to {e:g} and {s:g} to {n:g}; polygons across 180 are split there (RFC 7946)"
        )
    return parts
