"""The default law: a normal spread around cities in metres on the ground."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastload.gather.plan.arithmetic import angle_of, normals, sin_cos
from fastload.gather.plan.city_lists import CityList, chosen
from fastload.gather.plan.draws import E7, PLACE, Ints, Places, empty_places, words
from fastload.ground import E2, A
from fastload_kernels.compiled import jit
from fastload_kernels.philox import choice, uniform

if TYPE_CHECKING:
    from fastload.gather.plan.settings import Settings
    from fastload.gather.say import Say

Floats = NDArray[np.float64]


class AroundCities:
    """A city uniformly among the most populous, then a place around it."""

    most: int | None = None

    def __init__(self, settings: "Settings", say: "Say") -> None:
        self.list: CityList = chosen(settings, say)
        self.spread = self.spread_of(settings.spread_km)
        self.sources: dict[str, Any] = {"cities": self.list.source}
        self.names = self.list.names

    def spread_of(self, km: float) -> float:
        """The standard deviation on each axis, in the unit in which `scatter` takes it."""
        raise NotImplementedError

    def scatter(self, lon: Floats, lat: Floats, u: Floats, v: Floats, out: Places) -> None:
        """Write places around cities ``lon, lat [M]`` in degrees to ``out [M]``, by two numbers
        ``[M]`` each, uniform in [0, 1)."""
        raise NotImplementedError

    def draw(self, seed: int, location: Ints, attempt: Ints) -> Places:
        """Places of these attempts ``[M]``."""
        word = words(seed, PLACE, location, attempt)
        out = empty_places(len(location))
        out.city[:] = choice(word[:, 0], len(self.names))
        lon, lat = self.list.lon[out.city], self.list.lat[out.city]
        self.scatter(lon, lat, uniform(word[:, 1]), uniform(word[:, 2]), out)
        return out


class Cities(AroundCities):
    """East and north of the city two independent normal distances.

    The place lies in the direction and at the distance that they make, along the globe: so the
    distance from the city is Rayleigh's, and all directions are as likely at all latitudes.
    """

    def spread_of(self, km: float) -> float:
        """In metres."""
        return 1000 * km

    def scatter(self, lon: Floats, lat: Floats, u: Floats, v: Floats, out: Places) -> None:
        """See `AroundCities.scatter`."""
        _around(lon, lat, u, v, self.spread, out.lon, out.lat)


@jit()
def _around(lon, lat, u, v, spread, out_lon, out_lat):  # type: ignore[no-untyped-def]
    """Normal steps from ``lon, lat [M]`` on the globe.

    Steps become angles by the radii of curvature at the city (fastload/ground.py), and then an arc
    of a great circle; beside a geodesic of WGS 84 of 150 km that is metres off.
    """
    for n in range(len(lon)):
        x, y = normals(u[n], v[n])
        s, c = sin_cos(lat[n])
        w2 = 1.0 - E2 * s * s
        across = A / math.sqrt(w2)
        east, north = x * spread / across, y * spread / (across * (1.0 - E2) / w2)
        arc = math.sqrt(east * east + north * north)
        sin_arc, cos_arc = sin_cos(arc * 180.0 / math.pi)
        share = sin_arc / arc
        up, along = cos_arc * s + share * north * c, cos_arc * c - share * north * s
        turn = angle_of(share * east, along)
        degrees = lon[n] + turn
        if degrees >= 180.0:
            degrees -= 360.0
        if degrees < -180.0:
            degrees += 360.0
        ring = math.sqrt(along * along + share * east * share * east)
        out_lon[n] = np.int32(math.floor(degrees * E7 + 0.5))
        out_lat[n] = np.int32(math.floor(angle_of(up, ring) * E7 + 0.5))
