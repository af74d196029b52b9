"""The law by which SeCo and SSL4EO-S12 drew places, as their code has it.

Sources: seco_downloader.py of ServiceNow/seasonal-contrast, ssl4eo_s12_downloader.py of
zhu-xlab/SSL4EO-S12.
"""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fastload.gather.plan.arithmetic import normals
from fastload.gather.plan.city_lists import CityList, chosen
from fastload.gather.plan.draws import E7, PLACE, Ints, Places, empty_places, words
from fastload_kernels.compiled import jit
from fastload_kernels.philox import choice, uniform

if TYPE_CHECKING:
    from fastload.gather.plan.settings import Settings
    from fastload.gather.say import Say

RADIUS_KM = 6371


class Published:
    """A city uniformly among the most populous, then independent normal noise on its longitude and
    latitude, of 50 km / (2 pi 6371 km / 360) = 0.4496 degrees in both.

    So the spread from east to west is 50 km times the cosine of the latitude, at 60 degrees north
    25 km. No place is refused: not on the sea, and not beside others. SSL4EO-S12 has a rule
    against overlap, but its program goes on with the coordinates that were refused, so that the
    rule has no effect; SeCo has none.
    """

    most: int | None = None

    def __init__(self, settings: "Settings", say: "Say") -> None:
        self.list: CityList = chosen(settings, say)
        self.spread = settings.spread_km / (2 * math.pi * RADIUS_KM / 360)
        self.sources: dict[str, Any] = {"cities": self.list.source}
        self.names = self.list.names

    def draw(self, seed: int, location: Ints, attempt: Ints) -> Places:
        """Places of these attempts ``[M]``."""
        # Published: the city from a generator without a seed, the noise from NumPy's, which threads
        # share, so that no run can be repeated.
        word = words(seed, PLACE, location, attempt)
        out = empty_places(len(location))
        out.city[:] = choice(word[:, 0], len(self.names))
        lon, lat = self.list.lon[out.city], self.list.lat[out.city]
        _noise(lon, lat, uniform(word[:, 1]), uniform(word[:, 2]), self.spread, *out[:2], out.ok)
        return out


@jit()
def _noise(lon, lat, u, v, spread, out_lon, out_lat, ok):  # type: ignore[no-untyped-def]
    for n in range(len(lon)):
        x, y = normals(u[n], v[n])
        east, north = lon[n] + spread * x, lat[n] + spread * y
        # Published: longitudes beyond 180 stay so, which Earth Engine takes for the same place; a
        # STAC API does not, so they are written as what they are.
        east -= 360.0 * math.floor((east + 180.0) / 360.0)
        ok[n] = abs(north) < 90.0  # published: goes on beyond the pole, where no city is near
        out_lon[n] = np.int32(math.floor(east * E7 + 0.5))
        out_lat[n] = np.int32(math.floor(north * E7 + 0.5)) if ok[n] else np.int32(0)
