"""What Sentinel-1 sees: backscatter in dB, with speckle."""

import numpy as np
from numpy.typing import NDArray

from fastload.synth.landscape import Landscape, hillshade
from fastload.synth.materials import MATERIALS, leaf_share
from fastload.synth.places import COVER, Place
from fastload.synth.streams import F32

LOOKS = 4.4
"""Equivalent number of looks of ground-range detected data (Sentinel-1 product specification)."""

_DB = np.float32(10 / np.log(10))
_INCIDENCE = np.radians(38)


def _speckle(rng: np.random.Generator, shape: tuple[int, int, int]) -> F32:
    """Multiplicative speckle of mean 1, gamma with `LOOKS` looks, neighbours correlated by 1/2.

    A sum of four gamma variates of shape L/4 is one of shape L, so a 2 x 2 running mean keeps the
    law and gives the correlation that oversampled pixels have.
    """
    bands, height, width = shape
    fine = rng.standard_gamma(LOOKS / 4, (bands, height + 1, width + 1), dtype=np.float32)
    pair = fine[:, 1:] + fine[:, :-1]
    total = pair[:, :, 1:] + pair[:, :, :-1]
    return total * np.float32(1 / LOOKS)


def backscatter(
    place: Place, land: Landscape, day: float, rng: np.random.Generator
) -> NDArray[np.float16]:
    """VV and VH of one date, ``[2, size, size]`` float16, dB."""
    share = leaf_share(place, day, land.material, land.delay, land.vigour)
    bare = np.array([m.radar_bare for m in MATERIALS]).take(land.material, 0)
    leaf = np.array([m.radar_leaf for m in MATERIALS]).take(land.material, 0)
    cover = np.array([COVER[MATERIALS[m].cover] for m in land.material])
    # Units keep their character over the year: it comes from their brightness, not from the date.
    character = 7 * np.log(land.brightness)
    character[cover == COVER["town"]] *= 2
    wet = rng.normal(0, 0.8)
    wind = rng.normal(0, 2.0)
    level = bare + (leaf - bare) * share[:, None] + (wet + character)[:, None]
    level[cover == COVER["water"]] += wind - wet
    # Slopes that face the radar (seen from the west, ascending) return more.
    facing = np.log(hillshade(land.height, _INCIDENCE, -np.pi / 2)) * (2 * _DB)
    facing[land.cover == COVER["water"]] = 0
    speckle = np.log(_speckle(rng, (level.shape[1], *land.unit.shape)) + np.float32(1e-4)) * _DB
    out = np.empty(speckle.shape, np.float16)
    for band in range(len(out)):
        plane = level[:, band].astype(np.float32).take(land.unit) + facing
        out[band] = plane + speckle[band] + land.shade * np.float32(4)
    return out
