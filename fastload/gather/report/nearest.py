"""How far each place is from its nearest neighbour, and which are closer than so much, in metres.

Places are points on the ellipsoid, hashed into cubes of space, so that neither the antimeridian nor
a pole is anything special. Distances are along arcs: the chord is turned into the arc of a circle
of the Earth's mean radius, which is off from the geodesic by less than a part in 200 at any
distance, and by less than a millimetre below 10 km.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fastload.ground import earth_centred

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
MEAN_M = 6371008.8
"""Mean radius of WGS 84 (IUGG)."""
FIRST_M = 512.0
"""Edge of the cubes that are looked at first."""
FARTHEST_M = 1.3e7
"""More than any two points on the ellipsoid are apart through it."""
PAIRS, POINTS = 2**19, 2**18
"""That are held at a time."""


def arc(chord: Floats) -> Floats:
    """Distances along the ground for straight ones, in metres; infinity stays."""
    along = 2 * MEAN_M * np.arcsin(np.minimum(chord / (2 * MEAN_M), 1))
    return np.where(np.isinf(chord), np.inf, along)


class _Cubes:
    """Points ``[N, 3]`` by the cube that they are in."""

    def __init__(self, points: Floats, edge: float) -> None:
        self.points = points
        cubes = np.floor(points / edge).astype(np.int64)
        cubes -= cubes.min(axis=0) - 1  # 1 or more, so that neighbours are 0 or more
        size = cubes.max(axis=0) + 2
        self._step = np.array([size[1] * size[2], size[2], 1])
        self.code: Ints = cubes @ self._step
        self._order = np.argsort(self.code, kind="stable")
        self._sorted = self.code[self._order]

    def around(self, which: Ints) -> Iterator[tuple[Ints, Ints]]:
        """Pairs of a point and one in the 27 cubes around it, itself included."""
        near = np.stack(np.meshgrid(*[np.arange(-1, 2)] * 3, indexing="ij"), -1).reshape(-1, 3)
        for some in np.split(which, np.arange(POINTS, len(which), POINTS)):
            for shift in (near @ self._step).tolist():
                yield from self._of_cubes(some, self.code[some] + shift)

    def _of_cubes(self, which: Ints, cube: Ints) -> Iterator[tuple[Ints, Ints]]:
        """Pairs of a point and one in the cube that stands beside it."""
        start = np.searchsorted(self._sorted, cube, "left")
        count = np.searchsorted(self._sorted, cube, "right") - start
        some = np.flatnonzero(count)
        ends = np.cumsum(count[some])
        cuts = np.searchsorted(ends, np.arange(PAIRS, ends[-1] if len(ends) else 0, PAIRS))
        for part in np.split(some, cuts):
            yield self._pairs(which[part], start[part], count[part])

    def _pairs(self, which: Ints, start: Ints, count: Ints) -> tuple[Ints, Ints]:
        first = np.repeat(which, count)
        within = np.arange(len(first)) - np.repeat(np.cumsum(count) - count, count)
        return first, self._order[np.repeat(start, count) + within]

    def chord(self, i: Ints, j: Ints) -> Floats:
        """Straight distances."""
        gap = self.points[i] - self.points[j]
        return np.asarray(np.sqrt(np.einsum("ij,ij->i", gap, gap)))


def nearest(lon: Floats, lat: Floats) -> tuple[Floats, Ints]:
    """The nearest neighbour of each place.

    Args:
        lon, lat: degrees ``[N]``.

    Returns:
        Metres ``[N]``, infinite where there is no other place, and who it is ``[N]``, -1 likewise.
    """
    points = earth_centred(lon, lat)
    best, who = np.full(len(points), np.inf), np.full(len(points), -1)
    todo, edge = np.arange(len(points)), FIRST_M
    while len(todo) and len(points) > 1 and edge < 2 * FARTHEST_M:
        cubes = _Cubes(points, edge)
        for i, j in cubes.around(todo):
            chord = np.where(i == j, np.inf, cubes.chord(i, j))
            order = np.lexsort((j, chord, i))
            i, j, chord = i[order], j[order], chord[order]
            head = np.flatnonzero(np.diff(i, prepend=-1))
            i, j, chord = i[head], j[head], chord[head]
            closer = chord < best[i]
            best[i[closer]], who[i[closer]] = chord[closer], j[closer]
        todo = todo[best[todo] > edge]  # others may lie beyond the cubes that were looked at
        edge *= 2
    return arc(best), who


def closer(
    lon: Floats, lat: Floats, reach: float, groups: Ints | None = None
) -> Iterator[tuple[Ints, Ints]]:
    """Pairs of places less than `reach` metres apart (straight), the first below the second; each
    once, in parts of bounded size.

    Args:
        lon, lat: degrees ``[N]``.
        reach: metres.
        groups: ``[N]``; two of one group are no pair.
    """
    if not len(lon):
        return
    cubes = _Cubes(earth_centred(lon, lat), reach)
    for i, j in cubes.around(np.arange(len(lon))):
        keep = i < j if groups is None else (i < j) & (groups[i] != groups[j])
        i, j = i[keep], j[keep]
        keep = cubes.chord(i, j) < reach
        if keep.any():
            yield i[keep], j[keep]
