"""Materials: what a land-cover class is made of, and how it changes over the year."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastload.synth.places import COVER, Place
from fastload.synth.spectra import green, ground
from fastload.synth.streams import F32


@dataclass(frozen=True)
class Material:
    """A ground with something that may grow on it."""

    name: str
    cover: str
    bare: str
    leaf: str
    season: tuple[float, float, float]
    """First and last day of growth in the northern year, and the days that the change takes."""
    leaves: tuple[float, float]
    """Share of ground under leaves, out of season and in season."""
    radar_bare: tuple[float, float]
    """VV and VH in dB without leaves."""
    radar_leaf: tuple[float, float]
    """VV and VH in dB under full leaves."""


MATERIALS = tuple(
    Material(*row)
    for row in (
        ("cereal", "crop", "soil", "cereal", (80, 182, 12), (0.12, 0.93), (-11, -20), (-12, -17.5)),
        ("maize", "crop", "soil", "maize", (160, 262, 11), (0.03, 0.93), (-11, -20.5), (-9, -14.5)),
        ("rape", "crop", "soil", "rape", (85, 178, 10), (0.15, 0.93), (-11, -20), (-9, -14)),
        ("rice", "crop", "mud", "rice", (172, 258, 12), (0.03, 0.92), (-15, -24), (-9, -16)),
        ("fallow", "crop", "straw", "meadow", (100, 250, 25), (0.1, 0.4), (-12, -20), (-11, -18)),
        ("broadleaf", "forest", "litter", "broadleaf",
         (118, 288, 9), (0.1, 0.95), (-9, -15), (-8.5, -13.8)),
        ("conifer", "forest", "litter", "conifer",
         (60, 330, 30), (0.82, 0.95), (-9, -15), (-8.7, -14.2)),
        ("rainforest", "forest", "litter", "rainforest",
         (20, 350, 30), (0.88, 0.97), (-9, -15), (-7.6, -13)),
        ("meadow", "grass", "straw", "meadow",
         (88, 300, 22), (0.35, 0.88), (-12.5, -20.5), (-11, -18)),
        ("scrub", "shrub", "soil", "scrub",
         (100, 290, 25), (0.35, 0.65), (-12, -20), (-10, -16.5)),
        ("reed", "wetland", "mud", "reed", (118, 285, 18), (0.22, 0.82), (-14, -22), (-9.5, -16)),
        ("water", "water", "water", "reed", (100, 280, 30), (0, 0), (-21, -28), (-21, -28)),
        ("roofs", "town", "concrete", "meadow",
         (95, 290, 20), (0.08, 0.22), (-3.5, -11.5), (-4, -12)),
        ("tiles", "town", "tiles", "broadleaf",
         (105, 290, 15), (0.1, 0.35), (-5, -13), (-5.5, -13)),
        ("asphalt", "town", "asphalt", "meadow",
         (95, 290, 20), (0.05, 0.2), (-10, -19), (-10, -18)),
        ("dunes", "bare", "soil", "scrub", (100, 260, 25), (0, 0.04), (-15.5, -24.5), (-14, -22)),
        ("stone", "rock", "stone", "meadow", (130, 270, 20), (0.03, 0.15), (-10, -17), (-10, -17)),
        ("firn", "ice", "firn", "meadow", (150, 250, 20), (0, 0), (-11, -18), (-11, -18)),
    )
)  # fmt: skip
"""All materials; a unit of land holds an index into this."""
OF_COVER = {c: [i for i, m in enumerate(MATERIALS) if m.cover == c] for c in COVER}
"""Indices of the materials of a cover class."""

_SEASONALITY = {"tropical": 0.2, "desert": 0.5, "savanna": 0.8}
_WET_SEASON_SHIFT = {"mediterranean": -75.0, "savanna": 55.0, "tropical": 55.0}
_FOREST_WEIGHT = {  # broadleaf, conifer, rainforest
    "tropical": (0.1, 0, 1), "savanna": (1, 0, 0.4), "boreal": (0.25, 1, 0),
    "polar": (0.2, 1, 0), "mediterranean": (0.5, 1, 0), "desert": (1, 0, 0),
}  # fmt: skip
_CROP_WEIGHT = {  # cereal, maize, rape, rice, fallow
    "tropical": (0, 1, 0, 2, 1), "savanna": (0.5, 1.5, 0, 1, 1), "desert": (1, 0.5, 0, 0, 1.5),
    "mediterranean": (2, 1, 0.2, 0.2, 1), "steppe": (2, 0.5, 0.4, 0, 1),
}  # fmt: skip


def material_weights(cover: str, biome: str) -> NDArray[np.float64]:
    """How often each material of a cover class occurs in a biome; sums to 1."""
    known = {
        "forest": _FOREST_WEIGHT.get(biome, (1, 0.6, 0)),
        "crop": _CROP_WEIGHT.get(biome, (2, 1.5, 0.8, 0.1, 0.5)),
        "town": (1, 1.2, 1),
    }
    weight: NDArray[np.float64] = np.array(known.get(cover, (1,)), float)
    weight /= weight.sum()
    return weight


def local_grounds(place: Place, rng: np.random.Generator) -> F32:
    """Reflectance ``[materials, 12]`` without leaves, with this location's soil and water."""
    soils = ("clay", "loam", "sand", "laterite")
    alpha = {"desert": (0.1, 0.7, 3, 0.6), "savanna": (0.5, 1, 0.4, 1.2),
             "tropical": (0.7, 0.5, 0.2, 1.5), "steppe": (0.4, 2, 0.7, 0.1)}  # fmt: skip
    mix = rng.dirichlet(alpha.get(place.biome, (1.2, 1.5, 0.15, 0.15)))
    soil = sum(np.float32(w) * ground(s) for w, s in zip(mix, soils, strict=True))
    soil = np.asarray(soil, np.float32) * np.float32(rng.uniform(0.75, 1.3))
    turbid = np.float32(rng.beta(0.8, 1.6))
    water = turbid * ground("turbid") + (1 - turbid) * ground("clear")
    special = {"soil": soil, "water": water, "stone": 0.5 * ground("stone") + 0.5 * soil}
    rows = [special[m.bare] if m.bare in special else ground(m.bare) for m in MATERIALS]
    return np.stack(rows).astype(np.float32)


def local_leaves() -> F32:
    """Reflectance ``[materials, 12]`` under full leaves."""
    return np.stack([green(m.leaf) for m in MATERIALS])


def leaf_share(
    place: Place,
    day: float,
    material: NDArray[np.int64],
    delay: NDArray[np.float64],
    vigour: NDArray[np.float64],
) -> F32:
    """Share of ground under leaves ``[units]``: a rise and a fall, both logistic.

    Args:
        place: gives hemisphere, latitude and biome.
        day: day of the year.
        material: index of each unit's material ``[units]``.
        delay: days that a unit is late ``[units]``.
        vigour: factor on the leaves of a unit ``[units]``.
    """
    first, last, change = (np.array([m.season[k] for m in MATERIALS])[material] for k in range(3))
    low, high = (np.array([m.leaves[k] for m in MATERIALS])[material] for k in range(2))
    north = np.clip(abs(place.lat) - 45, -15, 22)
    shift = _WET_SEASON_SHIFT.get(place.biome, 0.45 * north) + (182.5 if place.lat < 0 else 0.0)
    half = (last - first) / 2 - 0.4 * np.maximum(north, 0)
    off = (day - (first + last) / 2 - shift - delay + 182.5) % 365 - 182.5
    grown = 1 / ((1 + np.exp(-(off + half) / change)) * (1 + np.exp((off - half) / change)))
    strength = _SEASONALITY.get(place.biome, 1.0)
    grown = strength * grown + (1 - strength) * 0.6
    dry = 0.55 if place.biome in ("desert", "steppe") else 1.0
    return np.asarray(np.clip((low + (high - low) * grown) * vigour * dry, 0, 1), np.float32)


def snow_share(place: Place, day: float, rng: np.random.Generator) -> float:
    """How much of the open ground lies under snow, 0 to 1, from latitude, height and season."""
    latitude = abs(place.lat)
    coldest = 20.0 if place.lat >= 0 else 202.5
    yearly = 28.5 - 0.0064 * latitude**2 - 7 * (place.biome == "polar")
    swing = (0.16 if place.biome == "temperate" else 0.27) * latitude
    air = yearly - swing * np.cos(2 * np.pi * (day - coldest) / 365) - 0.01 * place.relief
    share = 1 / (1 + np.exp((air + 2 + rng.normal(0, 2.5)) / 1.2))
    return float(share) if share > 0.05 else 0.0
