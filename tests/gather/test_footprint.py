"""Footprints, also across the antimeridian."""

from typing import Any

import pytest
import shapely

from fastload.gather.search.footprint import MARGIN_M, asked, centre, ground, near
from tests.gather.stac import SPLIT, box, candidate

BEYOND = box(179.6, -18, 180.5, -17)
BEFORE = box(-180.4, -18, -179.5, -17)
JUMPING = {"type": "Polygon", "coordinates": [
    [[179.6, -18], [-179.5, -18], [-179.5, -17], [179.6, -17], [179.6, -18]]]}  # fmt: skip


@pytest.mark.parametrize("footprint", [SPLIT, BEYOND, BEFORE, JUMPING],
                         ids=["split", "beyond", "before", "jumping"])  # fmt: skip
@pytest.mark.parametrize("lon", [179.7, 179.99, 180.0, -180.0, -179.99, -179.6])
def test_the_antimeridian_is_no_border(footprint: Any, lon: float) -> None:
    where = candidate(lon, -17.5)
    shape = near(footprint, lon)
    assert shape.covers(centre(where))
    assert shape.covers(ground(where, MARGIN_M))
    assert not shape.covers(ground(candidate(lon, -17.99), MARGIN_M))
    for outside in (178.0, -178.0, 0.0):
        assert not near(footprint, outside).intersects(ground(candidate(outside, -17.5)))


def test_what_is_asked_for_stays_within_180_degrees() -> None:
    for lon in (179.99, -179.99, 180.0):
        found = shapely.geometry.shape(asked(candidate(lon, 10)))
        assert found.geom_type == "MultiPolygon"
        assert found.is_valid
        assert found.bounds[::2] == (-180, 180)
        whole = ground(candidate(lon, 10))
        assert found.area == pytest.approx(whole.area)
    assert asked(candidate(10, 10))["type"] == "Polygon"


def test_a_footprint_of_the_whole_world_stays_whole() -> None:
    world = box(-180, -90, 180, 90)
    for lon in (0.0, 100.0, -170.0):
        assert near(world, lon).covers(ground(candidate(lon, 10)))


def test_a_patch_that_reaches_over_the_edge_is_not_covered() -> None:
    where = candidate(10.5, 50.0)
    half = near(box(10, 49.5, 10.5, 50.5), 10.5)
    assert half.covers(centre(where))
    assert half.intersects(ground(where))
    assert not half.covers(ground(where))


@pytest.mark.parametrize("geometry", [
    {}, {"type": "Point", "coordinates": [1, 2]}, {"type": "Polygon"},
    {"type": "Polygon", "coordinates": []}, {"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]},
    {"type": "Polygon", "coordinates": [[["a", 0], [1, 1], [2, 0], ["a", 0]]]},
    {"type": "Polygon", "coordinates": [[[float("nan"), 0], [1, 1], [2, 0], [float("nan"), 0]]]},
    {"type": "Nonsense", "coordinates": 3},
])  # fmt: skip
def test_what_is_no_polygon_is_said_to_be_none(geometry: Any) -> None:
    with pytest.raises(ValueError, match="expected a Polygon or MultiPolygon"):
        near(geometry, 0.0)


def test_a_footprint_that_crosses_itself_is_mended() -> None:
    bow = {"type": "Polygon", "coordinates": [[[0, 0], [2, 2], [2, 0], [0, 2], [0, 0]]]}
    assert near(bow, 0.0).covers(shapely.Point(1.8, 1.0))
