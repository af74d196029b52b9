"""``index --to``: what other libraries read of the table."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest
import shapely

import fastload
from fastload import SSL4EOS12
from fastload.cli import main
from fastload.geoparquet import write
from fastload.ground import radii
from tests.conformance import toys
from tests.conformance.toy import Memory, npy
from tests.fastload import made
from tests.fastload import shardmaker as make

PLACES = [(10.0, 50.0), (-179.999, 10.0), (179.999, -60.0), (0.0, 0.0), (30.0, 85.0)]


def one(number: int, modality: str) -> bytes:
    bands = make.pixels(f"{modality} {number}")
    cloud = np.zeros((4, 24, 24), np.uint8)
    cloud[number % 4] = 4
    lon, lat = PLACES[number] if number < len(PLACES) else (np.nan, np.nan)
    return make.zipped(make.group(bands, number=number, lon=lon, lat=lat, cloud=cloud))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make.write(tmp_path / "data", ("S2L2A", "S1GRD"), make=one)


@pytest.fixture
def table(root: Path, tmp_path: Path) -> Path:
    path = tmp_path / "index.parquet"
    command = ["index", str(root), "--to", str(path), "--modality", "S2L2A", "S1GRD",
               "--option", 'columns=["crs"]', "--patches"]  # fmt: skip
    assert main(command) == 0
    return path


def geo(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(parquet.read_schema(path).metadata[b"geo"])
    return found


def test_columns(root: Path, table: Path) -> None:
    ds = SSL4EOS12(root, modalities=["S2L2A", "S1GRD"], progress=False)
    rows = parquet.read_table(table).to_pylist()
    assert [row["key"] for row in rows] == list(ds.keys)
    assert [row["index"] for row in rows] == list(range(6))
    assert [row["shard"] for row in rows] == [
        f"ssl4eos12_shard_00000{n}.tar" for n in (1,) * 3 + (2,) * 3
    ]
    assert [(row["lon"], row["lat"]) for row in rows[:5]] == PLACES
    assert rows[5]["lon"] is rows[5]["geometry"] is rows[5]["bbox"] is None
    for number, row in enumerate(rows):
        days = make.dates(number, 4).astype("datetime64[ns]").astype("datetime64[D]").tolist()
        assert [t.date() for t in row["time"]] == days
        assert [t.date() for t in row["time_S1GRD"]] == days
        assert (row["first_date"].date(), row["last_date"].date()) == (days[0], days[-1])
        assert row["cloud"] == [float(number % 4 == t) for t in range(4)]
        assert row["crs"] == 32633
    assert rows[0]["season"] == ["winter", "spring", "summer", "autumn"]
    assert rows[2]["season"] == ["summer", "autumn", "winter", "spring"]


def test_metadata_is_that_of_the_specification(table: Path) -> None:
    found = geo(table)
    assert found["version"] == "1.1.0"
    assert found["primary_column"] == "geometry"
    column = found["columns"]["geometry"]
    assert column["encoding"] == "WKB"
    assert column["geometry_types"] == ["Polygon", "MultiPolygon"]
    assert column["covering"] == {
        "bbox": {name: ["bbox", name] for name in ("xmin", "ymin", "xmax", "ymax")}
    }
    assert column["orientation"] == "counterclockwise"
    west, south, east, north = column["bbox"]
    assert (west, east) == (-180, 180)
    assert south < -60 < 85 < north


def test_patches(table: Path) -> None:
    """Of 240 m, valid, round their centres, apart where the antimeridian parts them."""
    rows = parquet.read_table(table).to_pylist()
    for row, (lon, lat) in zip(rows, PLACES, strict=False):
        shape = shapely.from_wkb(row["geometry"])
        assert shape.is_valid
        meridian, across = radii(np.array([lat]))
        scale = np.radians(1) ** 2 * meridian[0] * across[0] * np.cos(np.radians(lat))
        assert shape.area * scale == pytest.approx(240**2, rel=1e-3)
        assert shape.covers(shapely.Point(lon, lat))
        parts = shape.geoms if shape.geom_type == "MultiPolygon" else [shape]
        assert (len(parts) == 2) == (abs(lon) > 179)
        assert all(part.exterior.is_ccw for part in parts)
        w, s, e, n = shape.bounds
        assert -180 <= w <= e <= 180
        box = row["bbox"]
        assert box["xmin"] <= w
        assert box["xmax"] >= e
        assert (box["ymin"], box["ymax"]) == (s, n)


def test_points(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "points.parquet"
    assert write(SSL4EOS12(root, modalities=["S2L2A"], progress=False), path) == 6
    rows = parquet.read_table(path).to_pylist()
    points = [shapely.from_wkb(row["geometry"]) for row in rows[:5]]
    assert [(p.x, p.y) for p in points] == PLACES
    assert geo(path)["columns"]["geometry"]["geometry_types"] == ["Point"]
    assert list(tmp_path.glob(".*")) == []


def test_pandas(table: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_parquet(table)
    assert len(frame) == 6
    assert (frame.lat > 0).sum() == 3
    assert str(frame.first_date.dtype).startswith("datetime64[ms, UTC")


def test_duckdb(table: Path) -> None:
    duckdb = pytest.importorskip("duckdb", reason="needs duckdb")
    found = duckdb.sql(
        f"select key, shard, len(time), season[1] from '{table}' "
        "where lat between 49 and 51 and bbox.xmin > 9"
    ).fetchall()
    assert found == [("0000000", "ssl4eos12_shard_000001.tar", 4, "winter")]


def test_geopandas(table: Path) -> None:
    geopandas = pytest.importorskip("geopandas", reason="needs geopandas")
    frame = geopandas.read_parquet(table)
    assert frame.crs.to_string() == "OGC:CRS84"
    assert frame.geometry.notna().sum() == 5
    near = geopandas.read_parquet(table, bbox=(9, 49, 11, 51))
    assert "0000000" in set(near.key)


def test_any_layout(tmp_path: Path) -> None:
    """Sources without files, and a subset of samples in another order."""
    path = tmp_path / "t.parquet"
    dataset = npy(Memory("toy", toys.arrays())).subset([3, 1])
    write(dataset, path)
    rows = parquet.read_table(path).to_pylist()
    assert [(row["key"], row["index"], row["shard"]) for row in rows] == [
        ("003", 3, None), ("001", 1, None),
    ]  # fmt: skip
    assert rows[0]["cloud"] == [None] * 3
    with pytest.raises(ValueError, match="--patch-metres"):
        write(dataset, path, patches=True)
    write(dataset, path, patches=True, patch_metres=100)


def test_made_data(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    assert main(["index", str(made.root()), "--to", str(path)]) == 0
    table = parquet.read_table(path)
    ds = fastload.open(made.root(), progress=False)
    np.testing.assert_array_equal(table["lon"].to_numpy(), ds.lon)


def test_where_it_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["index", str(made.root()), "--to", str(tmp_path / "no" / "t.parquet")]) == 1
    assert "no/" in capsys.readouterr().err
