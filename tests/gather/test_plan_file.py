"""A plan's file: what others read of it, what is read back, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastload.gather.plan import plan, plan_file
from fastload.gather.plan.settings import Settings

pa = pytest.importorskip("pyarrow", reason="needs pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture(scope="module")
def made() -> plan.Plan:
    return plan.make(Settings(locations=30, candidates=2, city_list="shipped", cities=50))


@pytest.fixture
def path(made: plan.Plan, tmp_path: Path) -> Path:
    out = tmp_path / "plan.parquet"
    plan_file.write(made, out)
    return out


def test_what_is_read_back_is_equal(made: plan.Plan, path: Path) -> None:
    assert plan_file.read(path) == made
    assert plan_file.read(str(path)).candidates(29) == made.candidates(29)
    again = path.with_name("again.parquet")
    plan_file.write(plan_file.read(path), again)
    assert again.read_bytes() == path.read_bytes()


def test_many_row_groups_and_no_cities(tmp_path: Path) -> None:
    made = plan.make(Settings("uniform", 20_000, candidates=1, dates="generalised"))
    plan_file.write(made, tmp_path / "p.parquet")
    assert parquet.ParquetFile(tmp_path / "p.parquet").num_row_groups == 3
    assert plan_file.read(tmp_path / "p.parquet") == made
    rows = parquet.read_table(tmp_path / "p.parquet", columns=["city", "candidates"])
    assert rows["city"].null_count == 20_000
    assert rows["candidates"][0].as_py()[0]["city"] is None


def test_duckdb(made: plan.Plan, path: Path) -> None:
    duckdb = pytest.importorskip("duckdb", reason="needs duckdb")
    found = duckdb.sql(
        f"select key, city, c.attempt, c.lon, c.windows[1].start, len(c.windows) "
        f"from (select key, city, unnest(candidates) c from '{path}') order by key, c.attempt"
    ).fetchall()
    assert len(found) == 60
    first = made.candidates(0)[0]
    assert found[0] == (
        "0000000", made.names[made.city[0, 0]], first.attempt, first.lon,
        first.windows[0].start.item(), 4,
    )  # fmt: skip


def test_geopandas(made: plan.Plan, path: Path) -> None:
    geopandas = pytest.importorskip("geopandas", reason="needs geopandas")
    frame = geopandas.read_parquet(path)
    assert frame.crs.to_string() == "OGC:CRS84"
    np.testing.assert_array_equal(frame.geometry.x, made.lon[:, 0])


def test_the_geometry_is_the_first_candidates_centre(made: plan.Plan, path: Path) -> None:
    shapely = pytest.importorskip("shapely", reason="needs shapely")
    table = parquet.read_table(path)
    points = shapely.from_wkb(table["geometry"].to_pylist())
    np.testing.assert_array_equal(shapely.get_x(points), made.lon[:, 0])
    np.testing.assert_array_equal(shapely.get_y(points), made.lat[:, 0])
    geo = json.loads(table.schema.metadata[b"geo"])
    assert geo["columns"]["geometry"]["geometry_types"] == ["Point"]
    told = json.loads(table.schema.metadata[plan_file.META.encode()])
    assert told["settings"] == made.settings.describe()
    assert told["sources"]["cities"]["licence"].startswith("CC BY 4.0")


def changed(path: Path, change: Any) -> Path:
    """The file with its table changed."""
    parquet.write_table(change(parquet.read_table(path)), path)
    return path


def meta(**more: Any) -> Any:
    def change(table: Any) -> Any:
        told = json.loads(table.schema.metadata[plan_file.META.encode()])
        data = json.dumps({**told, **more}).encode()
        return table.replace_schema_metadata({plan_file.META.encode(): data})

    return change


def candidates(change: Any) -> Any:
    def changer(table: Any) -> Any:
        rows = table["candidates"].to_pylist()
        change(rows)
        column = pa.array(rows, table.schema.field("candidates").type)
        return table.set_column(table.schema.get_field_index("candidates"), "candidates", column)

    return changer


def swap(rows: Any) -> None:
    window = rows[4][0]["windows"][0]
    window["start"], window["end"] = window["end"], window["start"]


DAMAGE = {
    "another table": (lambda t: t.replace_schema_metadata({}), "expected a plan, of"),
    "a later format": (meta(format=2), "expected a plan of format 1, got 2"),
    "a column lost": (
        lambda t: t.drop_columns(["candidates"]),
        "expected a column candidates of list.* got none",
    ),
    "rows lost": (lambda t: t.slice(3), "location must count from 0"),
    "no rows": (lambda t: t.slice(0, 0), "expected locations, found none"),
    "an unknown setting": (meta(settings={"law": "cities", "colour": 1}), "colour is unknown"),
    "a wrong setting": (meta(settings={"law": "cities", "locations": "x"}), "locations: expected"),
    "a candidate lost": (candidates(lambda r: r[2].pop()), "must have 2 candidates"),
    "a window lost": (candidates(lambda r: r[2][1]["windows"].pop()), "as many windows"),
    "beyond the globe": (
        candidates(lambda r: r[0][0].update(lon=999.0)),
        "lon must be -180 to 180",
    ),
    "no latitude": (candidates(lambda r: r[0][0].update(lat=None)), "lacks 1 values"),
    "no such city": (candidates(lambda r: r[0][0].update(city=50)), "city must be one of those"),
    "another kind": (
        lambda t: t.set_column(5, "candidates", t["location"]),
        "expected a column candidates of list.* got int32",
    ),
    "metadata without names": (meta(names=None), "metadata fastload.gather.plan.plan: "),
    "metadata that is no JSON": (
        lambda t: t.replace_schema_metadata({plan_file.META: "{"}),
        "metadata fastload.gather.plan.plan: ",
    ),
    "a window turned": (candidates(swap), "a window must end after its start"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_no_plan_is_refused(damage: str, path: Path) -> None:
    change, sentence = DAMAGE[damage]
    with pytest.raises(ValueError, match=sentence) as caught:
        plan_file.read(changed(path, change))
    assert str(caught.value).startswith(str(path))


def tried(path: Path, data: bytes) -> plan.Plan | None:
    """The plan in some bytes; None where a sentence refuses them."""
    path.write_bytes(data)
    try:
        return plan_file.read(path)
    except ValueError as error:
        sentence = str(error)
    assert sentence.startswith(str(path))
    return None


def test_damaged_bytes_are_refused(path: Path) -> None:
    data = path.read_bytes()
    for bad in (data[: len(data) // 2], b"", b"PAR1", data[:-400] + b"\xff" * 200 + data[-200:]):
        assert tried(path, bad) is None
    path.unlink()
    with pytest.raises(FileNotFoundError):
        plan_file.read(path)


def test_a_turned_byte_never_gives_another_plan(made: plan.Plan, path: Path) -> None:
    """Pages have checksums."""
    data = path.read_bytes()
    end = len(data) - 8 - int.from_bytes(data[-8:-4], "little")  # where the metadata begins
    for i in range(4, end, max(1, end // 40)):
        found = tried(path, data[:i] + bytes([data[i] ^ 0x10]) + data[i + 1 :])
        assert found is None or found == made
