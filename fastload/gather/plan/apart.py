"""Candidates that keep apart: no two patches share ground, whichever UTM zones they are read in.

A patch is a square of its zone's grid, which is turned against the north by the convergence of
meridians, and its corner is snapped. Both are bounded at each latitude, so that the patch lies in a
box that looks north, and in a circle. Two patches are apart if their boxes are, or their circles.
"""

import math

import numpy as np
from numpy.typing import NDArray

from fastload.gather.plan.arithmetic import sin_cos
from fastload.gather.plan.draws import E7, Places
from fastload.ground import E2, A
from fastload_kernels.compiled import jit

SCALE = 0.9996
"""Least scale of UTM, on the central meridian: a metre of the grid is at most 1 / 0.9996 m."""
SNAP_M = 60.0
"""By how much the corner of a patch may be moved on each axis, to whole pixels of 60 m."""
OVERHANG_M = 200e3
"""How far a scene may lie beyond its zone: 110 km for a tile of Sentinel-2, that begins in the zone
with its last pixels, and half of a scene of Sentinel-1, whose zone is its centre's."""
WIDE_FROM, HALF, WIDE = 55.0, 3.0, 6.0
"""Degrees between a zone's edge and its central meridian; of the wider zones of Norway and Svalbard
from this latitude on, less one degree that their tiles hang over."""
UTM_ENDS = 84.0
"""Degrees; beyond it only circles are compared."""
SLACK_M = 0.5
"""For what is left out: straight lines of the grid are bent on the ground by millimetres, places
are rounded by a centimetre, distances are chords."""
MAX_BUCKETS = 30


class Kept:
    """Candidates that were kept so far, in a hash grid of cubes around the globe's centre."""

    def __init__(self, side: float, apart: bool, capacity: int) -> None:
        """Room for a plan.

        Args:
            side: of a patch in metres of its grid.
            apart: whether candidates are compared at all.
            capacity: most candidates that are kept.
        """
        self.apart = apart
        self.radius = radius(side)
        room = capacity if apart else 0
        buckets = 1 << min(MAX_BUCKETS, max(1, (2 * room - 1).bit_length()))
        # The last one kept of each bucket, the one before each, x, y, z and half a box's side of
        # each in metres, and how many there are.
        head, after = np.full(buckets, -1, np.int32), np.empty(room, np.int32)
        self._state = head, after, np.empty((room, 4)), np.zeros(1, np.int64)
        self._half = side / 2 / SCALE + SNAP_M

    def settle(
        self, drawn: Places, attempt: int, first: int, have: int, out: NDArray[np.int32]
    ) -> tuple[int, int]:
        """Keep what can be kept of some locations' draws, in their order.

        Args:
            drawn: for B locations, A attempts of each ``[B * A]``, from `attempt` on.
            attempt: number of the first.
            first: the location to begin with, 0 to B.
            have: how many candidates it has already.
            out: ``[B, K]``, takes the numbers of kept attempts.

        Returns:
            B and 0 when all have K candidates, or else the first one whose draws are used up, and
            how many it has; what it has is kept.
        """
        B, A_ = len(out), len(drawn.lon) // len(out)
        place = drawn.lon.reshape(B, A_), drawn.lat.reshape(B, A_), drawn.ok.reshape(B, A_)
        size = self._half, self.radius
        row, got = _settle(*place, attempt, first, have, out, self._state, self.apart, size)
        return int(row), int(got)


def radius(side: float) -> float:
    """Of a circle in metres that holds a patch of a side, around the place that was asked for."""
    return (side / 2 / SCALE + SNAP_M) * math.sqrt(2) + SLACK_M


@jit()
def half_box(half, radius, sin_lat, cos_lat, lat):  # type: ignore[no-untyped-def]
    """Half of the side of a box that looks north and holds a patch.

    A square that is turned by t needs cos t + sin t of its side. Convergence, on a sphere:
    tan t = tan(longitude from the central meridian) sin(latitude). Source: Snyder, "Map
    projections, a working manual", USGS 1395, 1987, equation 8-9. North is not the same at two
    places, either: it turns by tan(latitude) times their distance from east to west.
    """
    if abs(lat) >= UTM_ENDS:
        return math.inf
    wide = WIDE if lat >= WIDE_FROM else HALF
    s, c = sin_cos(wide + OVERHANG_M / (A * cos_lat) * 180.0 / math.pi)
    g = s / c * abs(sin_lat)
    turned = (1.0 + g) / math.sqrt(1.0 + g * g)
    norths = 1.0 + abs(sin_lat) / cos_lat * 2.0 * radius / (A * (1.0 - E2))
    return half * turned * norths + SLACK_M


@jit()
def apart(a, b, radius):  # type: ignore[no-untyped-def]
    """Whether two patches share no ground, given x, y, z and half a box's side of each."""
    x, y, z = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    if x * x + y * y + z * z >= 4.0 * radius * radius:
        return True
    if a[3] + b[3] == math.inf:
        return False
    # In the plane that touches the ellipsoid between them: its normal, then east, then north.
    ux, uy, uz = a[0] + b[0], a[1] + b[1], (a[2] + b[2]) / (1.0 - E2)
    ring2 = ux * ux + uy * uy
    ring, length = math.sqrt(ring2), math.sqrt(ring2 + uz * uz)
    east = (y * ux - x * uy) / ring
    north = (z * ring2 - uz * (x * ux + y * uy)) / (ring * length)
    return max(abs(east), abs(north)) >= a[3] + b[3]


@jit()
def spot(lon, lat, half, radius, out):  # type: ignore[no-untyped-def]
    """x, y, z of a place and half of its box's side into ``out [4]``."""
    s, c = sin_cos(lat)
    sl, cl = sin_cos(lon)
    across = A / math.sqrt(1.0 - E2 * s * s)
    out[0], out[1], out[2] = across * c * cl, across * c * sl, across * (1.0 - E2) * s
    out[3] = half_box(half, radius, s, c, lat)


@jit()
def _cube(new, size):  # type: ignore[no-untyped-def]
    x, y, z = math.floor(new[0] / size), math.floor(new[1] / size), math.floor(new[2] / size)
    return int(x), int(y), int(z)


@jit()
def _bucket(x, y, z, mask):  # type: ignore[no-untyped-def]
    """Of a cube. Source: Teschner et al., "Optimized spatial hashing", VMV 2003."""
    return ((x * 73856093) ^ (y * 19349663) ^ (z * 83492791)) & mask


@jit()
def _free(new, state, radius):  # type: ignore[no-untyped-def]
    """Whether a patch is apart from all that are kept; they are in its cube or the next ones."""
    head, after, spots, _ = state
    mask = len(head) - 1
    x, y, z = _cube(new, 2.0 * radius)
    for i in range(x - 1, x + 2):
        for j in range(y - 1, y + 2):
            for k in range(z - 1, z + 2):
                other = head[_bucket(i, j, k, mask)]
                while other >= 0:
                    if not apart(spots[other], new, radius):
                        return False
                    other = after[other]
    return True


@jit()
def _keep(new, state, radius):  # type: ignore[no-untyped-def]
    head, after, spots, count = state
    bucket, n = _bucket(*_cube(new, 2.0 * radius), len(head) - 1), count[0]
    spots[n] = new
    after[n], head[bucket] = head[bucket], n
    count[0] = n + 1


@jit()
def _settle(lon, lat, ok, attempt, first, have, out, state, compare, size):  # type: ignore[no-untyped-def]
    new = np.empty(4)
    half, radius = size
    for row in range(first, len(out)):
        column = 0
        while have < out.shape[1]:
            if column == lon.shape[1]:
                return row, have
            if ok[row, column]:
                free = True
                if compare:
                    spot(lon[row, column] / E7, lat[row, column] / E7, half, radius, new)
                    free = _free(new, state, radius)
                if free:
                    if compare:
                        _keep(new, state, radius)
                    out[row, have] = attempt + column
                    have += 1
            column += 1
        have = 0
    return len(out), 0
