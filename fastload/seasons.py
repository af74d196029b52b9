"""Seasons from dates, since an index along time is no season."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

WINTER, SPRING, SUMMER, AUTUMN = range(4)
SEASONS = ("winter", "spring", "summer", "autumn")


def season(time: ArrayLike, lat: ArrayLike = 0.0, hemisphere: bool = True) -> NDArray[np.int64]:
    """Meteorological season of each date: December to February is the northern winter.

    Args:
        time: ns since 1970-01-01, any shape; an unknown date is the smallest int64, NumPy's NaT.
        lat: degrees north, broadcast against `time`.
        hemisphere: take the local season, so that January is summer south of the equator.

    Returns:
        int64 of the broadcast shape: 0 winter, 1 spring, 2 summer, 3 autumn; -1 where the date is
        unknown.
    """
    dates = np.asarray(time, np.int64).astype("datetime64[ns]")
    month = dates.astype("datetime64[M]").astype(np.int64) % 12
    northern = ((month + 1) // 3) % 4
    south = np.asarray(lat) < 0
    local = (northern + 2 * (south & hemisphere)) % 4
    return np.asarray(np.where(np.isnat(dates), -1, local), np.int64)
