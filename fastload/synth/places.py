"""Where and when: location, biome, landscape type, dates and the sun."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastload.synth.streams import Purpose, stream

COVERS = (
    "crop", "forest", "grass", "shrub", "wetland", "water", "town", "bare", "rock", "ice",
)  # fmt: skip
"""Land-cover classes, in the order of their index."""
COVER = {name: i for i, name in enumerate(COVERS)}

# Rough boxes of land: lon from, lon to, lat from, lat to, biome, weight.
_LAND = (
    (-124, -100, 33, 58, "mediterranean", 2), (-98, -72, 32, 50, "temperate", 4),
    (-150, -75, 49, 66, "boreal", 2), (-104, -92, 16, 27, "savanna", 2),
    (-66, -45, -12, 2, "tropical", 3), (-58, -42, -27, -13, "savanna", 3),
    (-70, -62, -50, -28, "steppe", 2), (-72, -70, -54, -42, "polar", 2),
    (-6, 24, 44, 57, "temperate", 7), (-8, 26, 37, 43, "mediterranean", 4),
    (12, 60, 57, 69, "boreal", 3), (25, 60, 46, 57, "continental", 4),
    (65, 130, 51, 66, "boreal", 2), (50, 110, 38, 51, "steppe", 4),
    (-12, 55, 17, 32, "desert", 6), (-14, 38, 5, 14, "savanna", 3),
    (12, 32, -6, 4, "tropical", 2), (15, 36, -32, -10, "savanna", 2),
    (73, 87, 12, 28, "savanna", 4), (100, 120, 24, 42, "continental", 5),
    (97, 116, -2, 20, "tropical", 3), (118, 145, -31, -19, "desert", 3),
    (141, 149, -38, -31, "mediterranean", 2), (168, 175, -45, -38, "temperate", 1),
    (-52, -44, 62, 69, "polar", 2), (72, 92, 28, 36, "polar", 2),
)  # fmt: skip

# Weight of each cover class as the dominant one and in the background, by biome.
_COVER_WEIGHT = {
    #               crop forest grass shrub wetl water town bare rock ice
    "temperate":     (5, 4, 3, 1, 1, 2, 3, 0.5, 0.2, 0.0),
    "continental":   (5, 3, 3, 1, 1, 2, 3, 1, 0.3, 0.0),
    "mediterranean": (4, 3, 3, 3, 0.5, 2, 3, 1, 1, 0.0),
    "boreal":        (1, 5, 1, 2, 3, 3, 1, 0.3, 1, 0.3),
    "steppe":        (2, 0.5, 4, 3, 0.5, 1, 1, 3, 2, 0.3),
    "desert":        (1, 0.1, 0.3, 2, 0.1, 1, 1.5, 7, 3, 0.0),
    "savanna":       (4, 2, 3, 4, 1, 1.5, 2, 1, 0.5, 0.0),
    "tropical":      (2, 6, 1, 1, 2, 2, 2, 0.3, 0.1, 0.0),
    "polar":         (0.1, 0.7, 1, 1, 0.5, 1.5, 0.3, 1, 4, 5),
}  # fmt: skip

_NANOSECONDS = 10**9
_FIRST_DAY = np.datetime64("2019-12-01", "D")
_S2_LOCAL_HOUR, _S1_LOCAL_HOUR = 10.5, 6.0


@dataclass(frozen=True)
class Place:
    """One location of the made world."""

    lon: float
    """Degrees east of the centre."""
    lat: float
    """Degrees north of the centre."""
    biome: str
    fractions: NDArray[np.float64]
    """Wanted share of each cover class ``[10]``; the map comes near it."""
    relief: float
    """Standard deviation of the height in metres."""

    @property
    def crs(self) -> int:
        """EPSG code of the UTM zone."""
        zone = int((self.lon + 180) // 6) % 60 + 1
        return (32600 if self.lat >= 0 else 32700) + zone


def draw_place(seed: int, split: str, location: int) -> Place:
    """Draw where a location lies and what dominates it."""
    rng = stream(seed, split, location, Purpose.PLACE)
    weight = np.array([box[5] for box in _LAND], float)
    west, east, south, north, biome, _ = _LAND[rng.choice(len(_LAND), p=weight / weight.sum())]
    lon, lat = rng.uniform(west, east), rng.uniform(south, north)
    cover = np.array(_COVER_WEIGHT[biome])
    main = rng.choice(len(cover), p=cover / cover.sum())
    rest = rng.gamma(0.35 * cover / cover.mean() + 1e-3)
    rest[main] = 0
    share = rng.uniform(0.5, 0.9)
    fractions = (1 - share) * rest / (rest.sum() + 1e-9)
    fractions[main] = share
    mountain = COVERS[main] in ("rock", "ice")
    relief = np.exp(rng.uniform(np.log(60 if mountain else 4), np.log(250 if mountain else 60)))
    return Place(round(lon, 6), round(lat, 6), str(biome), fractions, float(relief))


@dataclass(frozen=True)
class Dates:
    """When a location was seen."""

    optical: NDArray[np.int64]
    """Sentinel-2 acquisitions ``[T]``, nanoseconds since 1970, ascending."""
    radar: NDArray[np.int64]
    """Sentinel-1 acquisitions ``[T]``, within 3 days of the optical ones, ascending."""
    day: NDArray[np.float64]
    """Day of the year ``[T]`` of the optical ones, 0 is 1 January."""


def draw_dates(seed: int, split: str, location: int, timestamps: int, lon: float) -> Dates:
    """Draw one date in each of `timestamps` quarters in a row.

    Quarters are Dec-Feb, Mar-May, Jun-Aug and Sep-Nov; the first one is drawn, so that the index
    of a timestamp does not tell its season, as in the published data.
    """
    rng = stream(seed, split, location, Purpose.DATE)
    first = int(rng.integers(0, 4))
    # 8 days clear of the quarter's ends keep radar dates in order, too.
    months = _FIRST_DAY.astype("M8[M]") + 3 * (first + np.arange(timestamps))
    start = months.astype("M8[D]").astype(np.int64)
    length = (months + 3).astype("M8[D]").astype(np.int64) - start
    days = start + 8 + np.floor(rng.random(timestamps) * (length - 16)).astype(np.int64)

    def moment(day: NDArray[np.int64], local_hour: float) -> NDArray[np.int64]:
        jitter = rng.integers(0, 900, timestamps)
        second = int(3600 * ((local_hour - lon / 15) % 24))
        return (day * 86400 + second + jitter) * _NANOSECONDS

    optical = moment(days, _S2_LOCAL_HOUR)
    radar = moment(days + rng.integers(-2, 3, timestamps), _S1_LOCAL_HOUR)
    day = (days - days.astype("M8[D]").astype("M8[Y]").astype("M8[D]").astype(np.int64)) * 1.0
    return Dates(optical, radar, day)


def sun(lat: float, day: float) -> tuple[float, float]:
    """Return the sun's zenith angle and azimuth (clockwise from north), radians, at 10:30 local.

    Declination by Cooper (1969). The zenith stops at 75 degrees, as no scene is taken at night.
    """
    declination = np.radians(23.45) * np.sin(2 * np.pi * (284 + day + 1) / 365)
    phi, hour = np.radians(lat), np.radians(15 * (_S2_LOCAL_HOUR - 12))
    east = -np.cos(declination) * np.sin(hour)
    north = np.cos(phi) * np.sin(declination) - np.sin(phi) * np.cos(declination) * np.cos(hour)
    up = np.sin(phi) * np.sin(declination) + np.cos(phi) * np.cos(declination) * np.cos(hour)
    zenith = min(float(np.arccos(np.clip(up, -1, 1))), float(np.radians(75)))
    return zenith, float(np.arctan2(east, north))
