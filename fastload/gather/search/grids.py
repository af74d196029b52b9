"""The order in which grids are tried."""

from collections.abc import Mapping, Sequence

from fastload.gather.candidate import Candidate
from fastload.gather.scene import Scene
from fastload.gather.search.offsets import ItemError


def grids_in_order(
    fitting: Mapping[str, Sequence[Sequence[Scene]]], candidate: Candidate, first: int | None
) -> list[int]:
    """EPSG codes of all scenes: `first`, then zones by how near they are to the candidate.

    Raises:
        ItemError: where an item does not tell its grid.
    """
    codes = set[int]()
    for scene in (s for dates in fitting.values() for scenes in dates for s in scenes):
        if scene.crs is None:
            raise ItemError(
                f"item {scene.id}: neither proj:code nor proj:epsg nor a tile tells its grid"
            )
        codes.add(scene.crs)
    return sorted(codes, key=lambda code: (code != first, *_distance(code, candidate), code))


def _distance(code: int, candidate: Candidate) -> tuple[float, bool]:
    """Degrees from a UTM zone's central meridian, and whether it is of the other hemisphere."""
    series, zone = divmod(code, 100)
    if series not in (326, 327) or not 1 <= zone <= 60:
        return 360.0, False
    away = (6 * zone - 183 - candidate.lon + 180) % 360 - 180
    return abs(away), (series == 327) != (candidate.lat < 0)
