"""No two patches share ground: against squares of true UTM grids."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastload.gather.candidate import PATCH_M
from fastload.gather.plan import plan
from fastload.gather.plan.apart import Kept, apart, radius, spot
from fastload.gather.plan.draws import E7, Places
from fastload.gather.plan.settings import Settings

pytest.importorskip("pyproj", reason="needs pyproj")
pytest.importorskip("shapely", reason="needs shapely")
from tests.gather import ground_truth

RADIUS = radius(PATCH_M)
HALF = Kept(PATCH_M, True, 1)._half
EDGES = [-180.0, -174.0, 0.0, 3.0, 6.0, 9.0, 12.0, 33.0, 180.0]
"""Of zones, also the odd ones."""


def at(lon: float, lat: float) -> Any:
    out = np.empty(4)
    spot(lon, lat, HALF, RADIUS, out)
    return out


def moved(lon: float, lat: float, angle: float, metres: float) -> tuple[float, float]:
    from pyproj import Geod

    x, y, _ = Geod(ellps="WGS84").fwd(lon, lat, angle, metres)
    return x, y


def nearest(lon: float, lat: float, angle: float) -> tuple[float, float]:
    """The nearest place in a direction whose patch is taken for apart."""
    near, far = 0.0, 2 * RADIUS + 10
    assert not apart(at(lon, lat), at(*moved(lon, lat, angle, 1)), RADIUS)
    while far - near > 0.1:
        middle = (near + far) / 2
        if apart(at(lon, lat), at(*moved(lon, lat, angle, middle)), RADIUS):
            far = middle
        else:
            near = middle
    return moved(lon, lat, angle, far)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.one_of(st.floats(-180, 180), st.sampled_from(EDGES)),
    st.one_of(st.floats(-79, 83.9), st.sampled_from([0.0, 56.0, 64.0, 70.0, 72.0, -45.0])),
    st.one_of(st.floats(-180, 180), st.sampled_from([0.0, 45.0, 90.0, 180.0])),
)
def test_patches_that_just_keep_apart_share_no_ground(lon: float, lat: float, angle: float) -> None:
    there = nearest(lon, lat, angle)
    assert not ground_truth.overlap((lon, lat), there)


@pytest.mark.parametrize(("lat", "most"), [(0, 2800), (45, 3000), (-45, 3000), (70, 3350)])
def test_no_more_room_is_asked_for_than_is_needed(lat: float, most: float) -> None:
    """East to west a side of 2,640 m, as much as a patch may be snapped and turned, and 5 %."""
    lon, _ = nearest(20, lat, 90)
    ring = 6378137 * np.cos(np.radians(lat))
    assert PATCH_M < np.radians(lon - 20) * ring < most


def test_beyond_utm_circles_keep_apart() -> None:
    for lat, angle in ((89.999, 10.0), (-88.0, 90.0), (85.0, 45.0)):
        there = nearest(0, lat, angle)
        from pyproj import Geod

        assert Geod(ellps="WGS84").inv(0, lat, *there)[2] == pytest.approx(2 * RADIUS, abs=1)


def fixed(lon: Any, lat: Any) -> Places:
    lon, lat = np.asarray(lon), np.asarray(lat)
    whole = [np.floor(v * E7 + 0.5).astype(np.int32) for v in (lon, lat)]
    return Places(*whole, np.zeros(len(lon), np.int32), np.ones(len(lon), bool))


@pytest.mark.parametrize("lat", [0.0, 70.0, -89.9])
def test_the_grid_of_cubes_forgets_nobody(lat: float) -> None:
    """What is kept is what comparing each with all before it keeps."""
    rng = np.random.default_rng(3)
    ring = max(np.cos(np.radians(lat)), 0.002)
    lon = 180 + rng.uniform(-0.3, 0.3, 400) / ring
    drawn = fixed((lon + 180) % 360 - 180, lat + rng.uniform(-0.09, 0.09, 400))
    kept = Kept(PATCH_M, True, 200)
    out = np.full((1, 200), -1, np.int32)
    assert kept.settle(drawn, 0, 0, 0, out)[0] == 0
    spots: list[Any] = []
    slow = []
    for i in range(400):
        new = at(drawn.lon[i] / E7, drawn.lat[i] / E7)
        if all(apart(old, new, RADIUS) for old in spots):
            spots.append(new)
            slow.append(i)
    assert out[0][out[0] >= 0].tolist() == slow
    assert 10 < len(slow) < 200


BOXES = {
    "a border of zones": (5.8, 49.9, 6.2, 50.1),
    "Norway": (2.7, 61.8, 3.4, 62.1),
    "at 70 N": (17.6, 69.9, 18.4, 70.1),
    "the south": (-72.2, -45.1, -71.8, -44.9),
    "the antimeridian": (179.8, -17.1, 180.2, -16.9),
}


def polygons(path: Path, box: tuple[float, float, float, float]) -> str:
    """A box as GeoJSON has it, parted at 180 degrees."""
    w, s, e, n = box
    parts = [(w, min(e, 180.0)), *([(-180.0, e - 360)] if e > 180 else [])]
    rings = [[[[a, s], [b, s], [b, n], [a, n], [a, s]]] for a, b in parts]
    path.write_text(json.dumps({"type": "MultiPolygon", "coordinates": rings}))
    return str(path)


@pytest.mark.parametrize("where", BOXES)
def test_all_candidates_of_a_plan_share_no_ground(where: str, tmp_path: Path) -> None:
    """As many as there is room for, by brute force."""
    box = BOXES[where]
    places = polygons(tmp_path / "box.geojson", box)
    made = plan.make(Settings("polygons", 6, candidates=3, places=places))
    spots = np.stack([made.lon.ravel(), made.lat.ravel()], axis=-1)
    pairs = 0
    for i, a in enumerate(spots):
        for b in spots[:i]:
            far = np.hypot((a[0] - b[0] + 180) % 360 - 180, a[1] - b[1])
            if far < 0.15:
                pairs += 1
                assert not ground_truth.overlap(tuple(a), tuple(b)), (a, b)
    assert pairs > 5


def test_where_there_is_no_room_is_said(tmp_path: Path) -> None:
    places = polygons(tmp_path / "box.geojson", (5.9, 50, 6.1, 50.1))
    with pytest.raises(ValueError, match=r"location 1 found .* at most 1 locations"):
        plan.make(Settings("polygons", 5, places=places))
