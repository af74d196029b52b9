"""What Sentinel-2 sees: reflectance of each band at its native pixel size, as DN."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastload.synth import spectra
from fastload.synth.landscape import Landscape, hillshade
from fastload.synth.materials import leaf_share, snow_share
from fastload.synth.places import COVER, COVERS, Place, sun
from fastload.synth.sky import Sky, cloud_mask, draw_sky, opacity
from fastload.synth.streams import F32, block_mean, blur, repeat_to, sensor_noise

_PSF = 0.14  # share of light that a native pixel takes from each neighbour along an axis
_SHARP = 2  # wider pixels are averages that hide it
_SHADOW_DEPTH = 0.62
# How well snow settles, by cover; on water only where it is very cold.
_SNOW_HOLD = {"forest": 0.2, "town": 0.45, "shrub": 0.6, "rock": 0.7, "wetland": 0.75}


@dataclass(frozen=True)
class Visit:
    """One Sentinel-2 date of a location."""

    level2: NDArray[np.int16] | None
    """Surface DN ``[12, size, size]``."""
    level1: NDArray[np.int16] | None
    """Top-of-atmosphere DN ``[13, size, size]``."""
    mask: NDArray[np.uint8]
    """Cloud mask ``[size, size]``."""


def _snow_map(place: Place, land: Landscape, day: float, rng: np.random.Generator) -> F32 | None:
    share = snow_share(place, day, rng)
    if share == 0:
        return None
    hold = np.array([_SNOW_HOLD.get(c, 1.0) for c in COVERS], np.float32)
    hold[COVER["water"]] = 0.9 if share > 0.9 else 0.0
    patchy = np.float32(1.4 * share - 0.2) + land.height * np.float32(0.25 / place.relief)
    lies: F32 = np.clip(patchy - 2 * land.shade, 0, 1) * hold.take(land.cover)
    return lies


def surface_table(place: Place, land: Landscape, grounds: F32, leaves: F32, day: float) -> F32:
    """Reflectance ``[12, units]`` of each unit on a date, x 10000, without snow and terrain."""
    share = leaf_share(place, day, land.material, land.delay, land.vigour)[:, None]
    bare = grounds.take(land.material, 0) * land.brightness[:, None]
    table = bare * (1 - share) + leaves.take(land.material, 0) * share
    return np.ascontiguousarray(table.T)


class _Light:
    """Multipliers of one date, shared by the bands that need the same ones."""

    def __init__(self, land: Landscape, sky: Sky, zenith: float, azimuth: float, level: float):
        self.light = hillshade(land.height, zenith, azimuth) * np.float32(level)
        self.light[land.cover == COVER["water"]] = np.float32(level)  # water lies level
        if sky.shadow is not None:
            self.light *= 1 - np.float32(_SHADOW_DEPTH) * sky.shadow
        self.land = land
        self.cache: dict[float, F32] = {}

    def of(self, sign: float) -> F32:
        if sign not in self.cache:
            texture = 1 + self.land.shade + self.land.leaf * np.float32(sign)
            self.cache[sign] = np.maximum(texture, np.float32(0.3)) * self.light
        return self.cache[sign]


def _native(x: F32, step: int) -> F32:
    return block_mean(x, step) if step > _SHARP else blur(block_mean(x, step), _PSF)


def visit(
    place: Place,
    land: Landscape,
    grounds: F32,
    leaves: F32,
    day: float,
    sky_rng: np.random.Generator,
    sensor_rng: np.random.Generator,
    levels: tuple[bool, bool],
    dn_offset: int,
) -> Visit:
    """Look at a location on one date.

    Args:
        place: where.
        land: what lies there.
        grounds: reflectance ``[materials, 12]`` without leaves.
        leaves: reflectance ``[materials, 12]`` under leaves.
        day: day of the year.
        sky_rng: draws weather and air.
        sensor_rng: draws the sensor's noise.
        levels: whether surface and top-of-atmosphere DN are wanted.
        dn_offset: DN of zero reflectance.
    """
    size = land.cover.shape[0]
    zenith, azimuth = sun(place.lat, day)
    sky = draw_sky(sky_rng, size, zenith, azimuth)
    snow = _snow_map(place, land, day, sky_rng)
    haze = float(np.exp(sky_rng.normal(0, spectra.DATES_SPREAD_OF_PATH)))
    light = _Light(land, sky, zenith, azimuth, float(np.exp(sky_rng.normal(0, 0.05))))
    fresh = np.float32(sky_rng.uniform(0.5, 1.0))  # old snow is darker
    glow = sky_rng.uniform(0.75, 1.2)  # brightness of the clouds
    mask = cloud_mask(land.cover, snow, sky)
    hidden = opacity(sky)
    table = surface_table(place, land, grounds, leaves, day)

    store = [_Store(sky, size, dn_offset, wanted) for wanted in levels]
    for band, name in enumerate(spectra.S2L2A):
        plane = table[band].take(land.unit)
        if snow is not None:
            plane += (spectra.SNOW[band] * fresh - plane) * snow
        plane *= light.of(float(spectra.TEXTURE_SIGN[band]))
        if hidden is not None:
            top = spectra.CLOUD[band] * np.float32(glow)
            plane += ((top if sky.billow is None else top * sky.billow) - plane) * hidden
        step = spectra.STEP[name]
        plane = _native(plane, step)
        noise = sensor_noise(sensor_rng, plane.shape)
        noise *= spectra.NOISE[band] + np.float32(spectra.NOISE_GAIN[step]) * plane
        plane += noise
        store[0].add(plane, step)
        air = np.float32(spectra.PATH[band] * haze)
        store[1].add(plane * spectra.THROUGH[band] + air, step)
    if levels[1]:  # last, so that the other bands do not depend on it
        cirrus = _cirrus_band(sky, size, sky_rng, sensor_rng)
        at = spectra.S2L1C.index(spectra.CIRRUS_BAND)
        store[1].add(cirrus, spectra.STEP[spectra.CIRRUS_BAND], at)
    return Visit(store[0].planes(), store[1].planes(), mask)


def _cirrus_band(
    sky: Sky, size: int, sky_rng: np.random.Generator, sensor_rng: np.random.Generator
) -> F32:
    """B10 at its native pixels: dark air, bright only where clouds stand above the vapour."""
    step = spectra.STEP[spectra.CIRRUS_BAND]
    plane = np.full((size, size), np.float32(sky_rng.gamma(4, 2.5)), np.float32)
    if sky.cloud is not None:
        plane += sky.cloud * np.float32(sky_rng.uniform(5, 200))
    if sky.cirrus is not None:
        plane += sky.cirrus * np.float32(600)
    native = block_mean(plane, step)
    return native + np.float32(1.5) * sensor_noise(sensor_rng, native.shape)


class _Store:
    """Collects the bands of one product as DN."""

    def __init__(self, sky: Sky, size: int, dn_offset: int, wanted: bool) -> None:
        self.sky, self.size, self.offset, self.wanted = sky, size, dn_offset, wanted
        self.bands: list[NDArray[np.int16]] = []

    def add(self, native: F32, step: int, at: int | None = None) -> None:
        if not self.wanted:
            return
        dn = np.rint(native + np.float32(self.offset))
        np.clip(dn, 1, np.iinfo(np.int16).max, out=dn)
        at = len(self.bands) if at is None else at
        self.bands.insert(at, repeat_to(dn.astype(np.int16), step, self.size))

    def planes(self) -> NDArray[np.int16] | None:
        if not self.wanted:
            return None
        planes = np.stack(self.bands)
        if self.sky.outside is not None:
            planes[:, self.sky.outside] = 0
        return planes


def true_colour(level2: NDArray[np.int16]) -> NDArray[np.uint8]:
    """Stretch red, green and blue of ``[12, H, W]`` surface DN to ``[3, H, W]`` uint8.

    The 2nd and 98th percentile of the three bands together become 0 and 255; pixels without data
    (DN 0) stay 0 and do not count.
    """
    rgb = level2[[spectra.S2L2A.index(b) for b in ("B04", "B03", "B02")]]
    seen = rgb[rgb > 0]
    if not seen.size:
        return np.zeros(rgb.shape, np.uint8)
    below = np.cumsum(np.bincount(seen))
    low, high = np.searchsorted(below, (0.02 * seen.size, 0.98 * seen.size))
    scale = np.float32(255 / max(int(high) - int(low), 1))
    stretched = (rgb.astype(np.float32) - np.float32(low)) * scale
    dn: NDArray[np.uint8] = np.clip(np.rint(stretched), 0, 255).astype(np.uint8)
    return dn
