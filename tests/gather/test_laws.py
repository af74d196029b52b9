"""Where candidates lie, law by law: demand 2, on 100,000 draws."""

import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastload.gather.plan import plan
from fastload.gather.plan.areas import Areas
from fastload.gather.plan.draws import E7, Places
from fastload.gather.plan.land import land
from fastload.gather.plan.laws import LAWS
from fastload.gather.plan.settings import Settings

scipy_stats = pytest.importorskip("scipy.stats", reason="needs scipy")
N = 100_000
RARE = 1e-4
"""Seeds are fixed, so that a test fails always or never; true laws are below it once in 10,000."""


def silent(sentence: str) -> None:
    pass


def drawn(**more: Any) -> tuple[Places, Any]:
    settings = Settings(locations=1, city_list="shipped", **more)
    law: Any = LAWS[settings.law].make(settings, silent)
    return law.draw(7, np.arange(N), np.zeros(N, np.int64)), law


def is_normal(values: Any, spread: float) -> None:
    assert abs(values.mean()) < 4 * spread / math.sqrt(N)
    assert values.std() == pytest.approx(spread, rel=0.01)
    assert scipy_stats.kstest(values, "norm", args=(0, spread)).pvalue > RARE


def is_uniform(values: Any, low: float = 0, high: float = 1) -> None:
    assert scipy_stats.kstest(values, "uniform", args=(low, high - low)).pvalue > RARE


@pytest.mark.parametrize("law", ["seco", "ssl4eo-v1"])
def test_published_noise_is_in_degrees_on_both_axes(law: str) -> None:
    more = {"today": "2021-05-01"} if law == "seco" else {}
    places, made = drawn(law=law, **more)
    lon, lat = made.list.lon[places.city], made.list.lat[places.city]
    east = (places.lon / E7 - lon + 180) % 360 - 180
    north = places.lat / E7 - lat
    assert made.spread == pytest.approx(0.4496, abs=1e-4)
    is_normal(east, 0.4496)
    is_normal(north, 0.4496)
    assert abs(np.corrcoef(east, north)[0, 1]) < 0.02
    polar = abs(lat) > 50  # no cosine: as wide there in degrees
    assert east[polar].std() == pytest.approx(0.4496, rel=0.05)


def test_cities_are_chosen_with_replacement_and_not_by_population() -> None:
    for law in ("cities", "ssl4eo-v1"):
        places, made = drawn(law=law, cities=200)
        counts = np.bincount(places.city, minlength=200)
        assert len(counts) == 200
        assert scipy_stats.chisquare(counts).pvalue > RARE
        assert made.sources["cities"]["used"] == 200
        assert "CC BY 4.0" in made.sources["cities"]["licence"]


def test_cities_are_surrounded_in_metres() -> None:
    """50 km on each axis at all latitudes: distances are Rayleigh's, directions uniform."""
    geod = pytest.importorskip("pyproj", reason="needs pyproj").Geod(ellps="WGS84")
    places, made = drawn(law="cities")
    lon, lat = made.list.lon[places.city], made.list.lat[places.city]
    angle, _, metres = geod.inv(lon, lat, places.lon / E7, places.lat / E7)
    assert scipy_stats.kstest(metres, "rayleigh", args=(0, 50_000)).pvalue > RARE
    is_uniform(angle, -180, 180)
    is_normal(metres * np.sin(np.radians(angle)), 50_000)
    polar = abs(lat) > 50
    assert metres[polar].mean() == pytest.approx(metres[~polar].mean(), rel=0.03)
    assert places.ok.all()


def test_uniform_is_so_on_the_sphere() -> None:
    places, _ = drawn_of("uniform")
    is_uniform(places.lon / E7, -180, 180)
    is_uniform(np.sin(np.radians(places.lat / E7)), -1, 1)
    assert (places.city == -1).all()


def drawn_of(law: str, **more: Any) -> tuple[Places, Any]:
    made: Any = LAWS[law].make(Settings(law, 1, **more), silent)
    return made.draw(7, np.arange(N), np.zeros(N, np.int64)), made


def test_polygons_are_filled_by_area(tmp_path: Path) -> None:
    """A triangle, a box with a hole, and one that lies twice over it: equal areas, equal shares."""
    path = tmp_path / "areas.geojson"
    ring = [[0, 0], [4, 0], [4, 60], [0, 60], [0, 0]]
    hole = [[1, 10], [3, 10], [3, 50], [1, 50], [1, 10]]
    shapes = [
        {"type": "Polygon", "coordinates": [ring, hole]},
        {"type": "Polygon", "coordinates": [ring, hole]},
        {"type": "Polygon", "coordinates": [[[10, 0], [14, 0], [10, 4], [10, 0]]]},
    ]
    features = [{"type": "Feature", "properties": None, "geometry": s} for s in shapes]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    places, _ = drawn_of("polygons", places=str(path))
    lon, lat = places.lon[places.ok] / E7, places.lat[places.ok] / E7
    box, hollow = 4 * sine(0, 60), 2 * sine(10, 50)
    assert not ((lon > 1) & (lon < 3) & (lat > 10) & (lat < 50)).any()
    triangle = lon >= 10
    assert (lon[triangle] - 10 + lat[triangle] <= 4 + 1e-6).all()
    share = 8 * np.pi / 180 / (box - hollow + 8 * np.pi / 180)  # 8 square degrees at the equator
    assert triangle.mean() == pytest.approx(share, rel=0.05)
    side = ~triangle & (lon <= 1)
    heights = np.sin(np.radians(lat[side])) / np.sin(np.radians(60))
    is_uniform(heights)


def sine(south: float, north: float) -> float:
    return math.sin(math.radians(north)) - math.sin(math.radians(south))


def test_places_of_a_file_are_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "places.csv"
    path.write_text("id,Longitude,LAT\n1,10.12345678,-50\n2,-180,89.5\n3,10.1234568,-50\n")
    made = plan.make(Settings("csv", places=str(path)))
    assert made.lon7.tolist() == [[101234568], [-1800000000], [101234568]]
    assert made.lat.tolist() == [[-50], [89.5], [-50]]  # also one upon another
    assert made.attempt.tolist() == [[0], [0], [0]]
    assert len(plan.make(Settings("csv", 2, places=str(path)))) == 2
    with pytest.raises(ValueError, match="has 3 places, 4 locations"):
        plan.make(Settings("csv", 4, places=str(path)))
    assert made.sources["places"]["rows"] == 3


@pytest.mark.slow
def test_the_mask_of_land() -> None:
    if importlib.util.find_spec("global_land_mask") is None:
        pytest.skip("needs global-land-mask")
    is_land, told = land("mask")
    lon = np.array([2.35, -30.0, 25.0, -180.0, 180.0, 0.0, -0.001, 139.7])
    lat = np.array([48.85, 40.0, 20.0, -17.5, 68.7, -90.0, 51.5, 35.7])
    assert is_land(lon, lat).tolist() == [True, False, True, False, True, True, True, True]
    places, _ = drawn_of("uniform")
    share = is_land(places.lon / E7, places.lat / E7).mean()
    assert share == pytest.approx(0.292, abs=0.01)  # of the globe
    assert told["mask"].startswith("global-land-mask ")


def test_only_land_by_option(tmp_path: Path) -> None:
    path = tmp_path / "land.wkt"
    path.write_text(
        "MULTIPOLYGON(((-10 -10,30 -10,30 10,-10 10,-10 -10)),((90 50,91 50,91 51,90 50)))"
    )
    made = plan.make(Settings("uniform", 30, candidates=2, land=str(path)))
    assert Areas.read(str(path)).contain(made.lon.ravel(), made.lat.ravel()).all()
    assert made.sources["land"]["polygons"] == 2
    free = plan.make(Settings("uniform", 30, candidates=2))
    assert not Areas.read(str(path)).contain(free.lon.ravel(), free.lat.ravel()).all()
