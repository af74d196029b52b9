"""Clouds, their shadows, and the mask that tells of them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastload.synth.places import COVER
from fastload.synth.streams import F32, fractal

LAND, WATER, SNOW, THIN_CLOUD, THICK_CLOUD, SHADOW, NO_DATA = range(7)
"""Classes of the published cloud mask."""

_THICK, _THIN, _SHADED, _SNOWY = 0.6, 0.15, 0.2, 0.5
_NO_DATA_CHANCE = 0.02


@dataclass(frozen=True)
class Sky:
    """What stands between the sun, the land and the satellite on one date."""

    cloud: F32 | None
    """Opacity of clouds ``[size, size]``, 0 to 1; None: clear."""
    billow: F32 | None
    """Brightness of the clouds' tops ``[size, size]``, about 1; None: clear."""
    cirrus: F32 | None
    """Opacity of high thin clouds ``[size, size]``; None: none."""
    shadow: F32 | None
    """Share of direct sunlight that clouds take away ``[size, size]``; None: none."""
    outside: NDArray[np.bool_] | None
    """Pixels beyond the edge of the swath ``[size, size]``; None: none."""


def _cumulus(
    rng: np.random.Generator, size: int, share: float, zenith: float, azimuth: float
) -> tuple[F32, F32, F32]:
    """Clouds over `share` of the square, their billows, and the shadow they cast off the sun."""
    reach = rng.uniform(400, 1500) / 10 * np.tan(zenith)  # height of the base, in pixels
    limit = size // 2
    down = int(np.clip(round(reach * np.cos(azimuth)), -limit, limit))  # rows run south
    right = int(np.clip(round(-reach * np.sin(azimuth)), -limit, limit))
    margin = max(abs(down), abs(right))
    coarse = rng.uniform(0.15, 0.5) * size
    field = fractal(rng, 1, size + 2 * margin, max(coarse, 4), 0.6)[0]
    inner = field[margin : margin + size, margin : margin + size]
    cut = np.quantile(inner[::2, ::2], 1 - share)
    softness = rng.uniform(0.25, 0.7)
    opacity = np.clip((field - np.float32(cut)) * np.float32(1 / softness), 0, 1)
    opacity *= np.float32(rng.uniform(0.75, 1.0))

    def window(top: int, left: int) -> F32:
        return np.ascontiguousarray(opacity[top : top + size, left : left + size])

    billow = np.clip(np.float32(0.8) + np.float32(0.22) * (inner - np.float32(cut)), 0.7, 1.35)
    return window(margin, margin), billow, window(margin - down, margin - right)


def draw_sky(rng: np.random.Generator, size: int, zenith: float, azimuth: float) -> Sky:
    """Draw the sky of one date; about three dates in five are clear.

    Args:
        rng: where the bits come from.
        size: height and width in pixels.
        zenith: of the sun, radians.
        azimuth: of the sun, radians clockwise from north.
    """
    kind = rng.choice(4, p=(0.64, 0.24, 0.05, 0.07))  # clear, scattered, broken, cirrus
    cloud = billow = shadow = cirrus = outside = None
    if kind in (1, 2):
        share = rng.uniform(0.02, 0.15) if kind == 1 else rng.uniform(0.15, 0.6)
        cloud, billow, shadow = _cumulus(rng, size, share, zenith, azimuth)
    if kind == 3:
        veil = fractal(rng, 1, size, max(size / 2, 4), 0.45, finest=4)[0]
        cirrus = np.clip(0.12 + 0.12 * veil, 0, np.float32(0.5)) * np.float32(rng.uniform(0.4, 1.3))
    if rng.random() < _NO_DATA_CHANCE:
        axis = np.arange(size, dtype=np.float32) / size
        tilt, offset = rng.uniform(0.1, 0.3), rng.uniform(-0.1, 0.4)
        outside = axis[None, :] < np.float32(offset) + np.float32(tilt) * axis[:, None]
    return Sky(cloud, billow, cirrus, shadow, outside)


def opacity(sky: Sky) -> F32 | None:
    """Share of the light that clouds of all kinds hide ``[size, size]``; None: clear."""
    if sky.cloud is None or sky.cirrus is None:
        return sky.cloud if sky.cirrus is None else sky.cirrus
    return 1 - (1 - sky.cloud) * (1 - sky.cirrus)


def cloud_mask(cover: NDArray[np.uint8], snow: F32 | None, sky: Sky) -> NDArray[np.uint8]:
    """Class of each pixel ``[size, size]``: what hides the land wins over what lies on it."""
    mask = np.where(cover == COVER["water"], np.uint8(WATER), np.uint8(LAND))
    mask[cover == COVER["ice"]] = SNOW
    if snow is not None:
        mask[snow > _SNOWY] = SNOW
    if sky.shadow is not None:
        mask[sky.shadow > _SHADED] = SHADOW
    hidden = opacity(sky)
    if hidden is not None:
        mask[hidden > _THIN] = THIN_CLOUD
        mask[hidden > _THICK] = THICK_CLOUD
    if sky.outside is not None:
        mask[sky.outside] = NO_DATA
    return mask
