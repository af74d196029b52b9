"""Footprints of scenes against the ground of a patch, also across the antimeridian."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from fastload.extras import missing
from fastload.gather.candidate import PATCH_M, Candidate
from fastload.ground import corners

MARGIN_M = 100.0
"""Metres around a patch that a scene must have to cover it. A patch looks north on the scene's
grid, not on the ground, between which lie up to 3 degrees; its corner is moved to a pixel of 60 m;
and footprints have few points. Half a patch is 1320 m: 1320 (cos 3 + sin 3) + 30 = 1417."""
_WORLD = 360 - 1e-6
_UNSOUND = (ValueError, TypeError, LookupError, AttributeError)
Shape = Any
"""A geometry of shapely, which has no types of its own."""


@cache
def _shapely() -> Any:
    try:
        import shapely
        import shapely.affinity
        import shapely.geometry
    except ImportError as error:
        raise missing("gathering needs shapely", "gather") from error
    return shapely


def centre(candidate: Candidate) -> Shape:
    """The middle of a patch."""
    return _shapely().Point(candidate.lon, candidate.lat)


def ground(candidate: Candidate, margin: float = 0.0) -> Shape:
    """A patch as a polygon in degrees, with metres around; longitudes may go beyond 180."""
    side = PATCH_M + 2 * margin
    lon, lat = np.array([candidate.lon]), np.array([candidate.lat])
    return _shapely().Polygon(corners(lon, lat, side, side)[0])


def asked(candidate: Candidate) -> dict[str, Any]:
    """A patch as GeoJSON that stays within 180 degrees, in two parts where it crosses them.

    Source: RFC 7946, 3.1.9.
    """
    patch = ground(candidate)
    west, _, east, _ = patch.bounds
    if west < -180 or east > 180:
        turn = 360 if west < -180 else -360
        inside = _shapely().box(-180, -90, 180, 90)
        parts = (patch, _shapely().affinity.translate(patch, turn))
        patch = _shapely().MultiPolygon([inside.intersection(part) for part in parts])
    return dict(_shapely().geometry.mapping(patch))


def near(geometry: Mapping[str, Any], lon: float) -> Shape:
    """A footprint as the polygon that it is where longitudes go on beyond 180, near a longitude.

    Footprints across the antimeridian come in three kinds: in two parts, as RFC 7946 asks; with
    longitudes beyond 180; or with such as jump from 180 to -180, which then span nearly the world.

    Raises:
        ValueError: where it is no polygon.
    """
    try:
        shape = _shapely().force_2d(_shapely().geometry.shape(geometry))
    except (_shapely().errors.ShapelyError, *_UNSOUND) as error:
        raise ValueError(f"expected a Polygon or MultiPolygon in GeoJSON ({error})") from error
    sound = shape.geom_type in ("Polygon", "MultiPolygon") and not shape.is_empty
    if not sound or not np.isfinite(shape.bounds).all():
        raise ValueError("expected a Polygon or MultiPolygon with numbers")
    return _shapely().union_all([_near(part, lon) for part in _shapely().get_parts(shape)])


def _near(polygon: Shape, lon: float) -> Shape:
    west, _, east, _ = polygon.bounds
    if 180 < east - west < _WORLD:
        polygon = _shapely().transform(polygon, _onward)
        west, _, east, _ = polygon.bounds
    if east - west < _WORLD:
        turns = round((lon - (west + east) / 2) / 360)
        polygon = _shapely().affinity.translate(polygon, 360 * turns)
    return polygon if polygon.is_valid else _shapely().make_valid(polygon)


def _onward(points: Any) -> Any:
    """Points whose negative longitudes are counted on from 180."""
    return np.where((np.arange(2) == 0) & (points < 0), points + 360, points)
