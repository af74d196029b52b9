"""The law by which SeCo and SSL4EO-S12 drew places, as their code has it.

Sources: seco_downloader.py of ServiceNow/seasonal-contrast, ssl4eo_s12_downloader.py of
zhu-xlab/SSL4EO-S12.
"""

import math

import numpy as np

from fastload.gather.plan.arithmetic import normals
from fastload.gather.plan.draws import E7, Places
from fastload.gather.plan.laws.cities import AroundCities, Floats
from fastload_kernels.compiled import jit

RADIUS_KM = 6371


class Published(AroundCities):
    """Independent normal noise on the city's longitude and latitude, of
    50 km / (2 pi 6371 km / 360) = 0.4496 degrees in both.

    So the spread from east to west is 50 km times the cosine of the latitude, at 60 degrees north
    25 km. No place is refused: not on the sea, and not beside others. SSL4EO-S12 has a rule
    against overlap, but its program goes on with the coordinates that were refused, so that the
    rule has no effect; SeCo has none.

    Published: the city comes from a generator without a seed, the noise from NumPy's, which threads
    share, so that no run can be repeated. Here both are a function of the seed.
    """

    def spread_of(self, km: float) -> float:
        """In degrees."""
        return km / (2 * math.pi * RADIUS_KM / 360)

    def scatter(self, lon: Floats, lat: Floats, u: Floats, v: Floats, out: Places) -> None:
        """See `AroundCities.scatter`."""
        _noise(lon, lat, u, v, self.spread, out.lon, out.lat, out.ok)


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
