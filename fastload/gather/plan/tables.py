"""Tables of places of the user's: csv, or GeoJSON points; columns by any of their usual names."""

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

LON = ("lon", "lng", "long", "longitude", "x")
LAT = ("lat", "latitude", "y")
POPULATION = ("population", "pop_max", "pop")
NAME = ("city_ascii", "nameascii", "city", "name")
Row = Mapping[str, Any]


class Table(NamedTuple):
    """Rows of a file, at least one."""

    path: str
    rows: Sequence[Row]
    sha256: str

    def column(self, names: Sequence[str]) -> str:
        """Which of some names the file has.

        Raises:
            ValueError: where it has none.
        """
        for name in names:
            if name in self.rows[0]:
                return name
        there = ", ".join(self.rows[0])
        raise ValueError(f"{self.path}: expected a column named {' or '.join(names)}, got {there}")

    def degrees(self, names: Sequence[str], most: float) -> NDArray[np.float64]:
        """A column of degrees, none beyond `most`.

        Raises:
            ValueError: names the line.
        """
        name = self.column(names)
        out = np.empty(len(self.rows))
        for i, row in enumerate(self.rows):
            try:
                out[i] = float(row[name])
            except (TypeError, ValueError):
                out[i] = np.nan
            if not abs(out[i]) <= most:
                raise ValueError(
                    f"{self.path}, row {i + 1}: {name} must be a number of degrees within "
                    f"{most:g} of 0, got {row[name]!r}"
                )
        return out


def read(path: str) -> Table:
    """Read a csv file with a header, or a GeoJSON collection of points.

    Lines that begin with ``#`` are comments; names are taken in lower case.

    Raises:
        ValueError: a sentence with the file and what was expected.
    """
    data = Path(path).expanduser().read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected text in UTF-8, got {error}") from error
    geojson = Path(path).suffix.lower() in (".json", ".geojson")
    rows = _points(path, text) if geojson else _lines(path, text)
    if not rows:
        raise ValueError(f"{path}: expected a header and rows, found no row")
    return Table(path, rows, digest)


def _lines(path: str, text: str) -> list[Row]:
    lines = (line for line in io.StringIO(text, newline="") if not line.startswith("#"))
    try:
        reader = csv.reader(lines, strict=True)
        names = [name.strip().lower() for name in next(reader, [])]
        rows = [row for row in reader if row]
    except csv.Error as error:
        raise ValueError(f"{path}: expected csv, got {error}") from error
    for i, row in enumerate(rows, 1):
        if len(row) != len(names):
            raise ValueError(f"{path}, row {i}: expected {len(names)} fields, got {len(row)}")
    return [dict(zip(names, row, strict=True)) for row in rows]


def _points(path: str, text: str) -> list[Row]:
    try:
        features = json.loads(text)["features"]
        rows: list[Row] = []
        for feature in features:
            lon, lat, *_ = feature["geometry"]["coordinates"]
            told = {str(k).lower(): v for k, v in (feature.get("properties") or {}).items()}
            rows.append({**told, "lon": lon, "lat": lat})
        return rows
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: expected a GeoJSON collection of points, got {error}") from error


def source(table: Table) -> dict[str, Any]:
    """What a plan says of a file that it was made from."""
    return {"file": Path(table.path).name, "sha256": table.sha256, "rows": len(table.rows)}
