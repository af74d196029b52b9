"""The land of a location: what covers each pixel, and in which units it is managed."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastload.synth.materials import MATERIALS, OF_COVER, material_weights
from fastload.synth.parcels import Parcels
from fastload.synth.places import COVER, COVERS, Place
from fastload.synth.streams import F32, Purpose, fractal, stream

_STANDS = 48  # units of each class that is not cut into fields
_PIXEL = 10.0  # metres
_FARMED = ("temperate", "continental", "mediterranean")
_OPEN = ("shrub", "grass", "crop", "bare")
_ASPHALT = [m.name for m in MATERIALS].index("asphalt")

# By cover: how much units differ, brightness and leaves of single pixels, brightness over the
# whole square. Standard deviations, relative.
_VARIETY = {
    "crop": (0.10, 0.05, 0.08, 0.04), "forest": (0.10, 0.14, 0.09, 0.08),
    "grass": (0.10, 0.06, 0.09, 0.07), "shrub": (0.10, 0.12, 0.10, 0.10),
    "wetland": (0.12, 0.10, 0.12, 0.15), "water": (0.0, 0.03, 0.0, 0.22),
    "town": (0.27, 0.12, 0.06, 0.06), "bare": (0.03, 0.07, 0.03, 0.18),
    "rock": (0.08, 0.15, 0.05, 0.15), "ice": (0.01, 0.05, 0.0, 0.08),
}  # fmt: skip


@dataclass(frozen=True)
class Landscape:
    """What does not change with the date. Maps are ``[size, size]``, tables ``[units]``."""

    cover: NDArray[np.uint8]
    """Index into `places.COVERS`."""
    unit: NDArray[np.int64]
    """Row of the tables that a pixel belongs to."""
    material: NDArray[np.int64]
    delay: NDArray[np.float64]
    """Days that a unit's season is late."""
    vigour: NDArray[np.float64]
    """Factor on a unit's leaves."""
    brightness: F32
    """Factor on a unit's reflectance."""
    shade: F32
    """Map: brightness of single pixels, relative, mean 0."""
    leaf: F32
    """Map: leaves of single pixels, relative, mean 0."""
    height: F32
    """Map: metres."""

    def fractions(self) -> NDArray[np.float64]:
        """Share of each cover class ``[10]``."""
        return np.bincount(self.cover.ravel(), minlength=len(COVERS)) / self.cover.size


def _top(field: F32, free: NDArray[np.bool_], share: float) -> NDArray[np.bool_]:
    """The free pixels with the highest values, `share` of all pixels."""
    left = field[free]
    wanted = min(int(share * field.size), left.size)
    if wanted < 4:
        return np.zeros_like(free)
    if wanted == left.size:
        return free
    cut = np.partition(left, left.size - wanted)[left.size - wanted]
    taken: NDArray[np.bool_] = free & (field >= cut)
    return taken


def _cover_map(place: Place, fields: F32, height: F32, open_land: F32) -> NDArray[np.uint8]:
    """Hand out pixels class by class, each class to those that suit it best.

    `open_land` orders what is left for shrub, grass, crops and bare soil.
    """
    share = dict(zip(COVERS, place.fractions, strict=True))
    river = share["water"] < 0.15
    suits = {
        "water": -np.abs(fields[0]) if river else -height,
        "ice": height,
        "rock": height + 0.4 * fields[1],
        "wetland": 0.5 * fields[1] - height,
        "town": fields[2],
        "forest": fields[1] + 0.5 * height,
    }
    cover = np.full(height.shape, 255, np.uint8)
    free = np.ones(height.shape, np.bool_)
    for name, field in suits.items():
        taken = _top(field, free, share[name])
        cover[taken] = COVER[name]
        free &= ~taken
    total = max(sum(share[n] for n in _OPEN), 1e-9)
    scale = free.sum() / free.size / total
    order = [n for n in _OPEN if share[n] > 0] or ["grass"]
    for name in order[:-1]:
        taken = _top(open_land, free, share[name] * scale)
        cover[taken] = COVER[name]
        free &= ~taken
    cover[free] = COVER[order[-1]]
    return cover


def _units(
    place: Place,
    rng: np.random.Generator,
    cover: NDArray[np.uint8],
    fields: Parcels,
    stands: Parcels,
    blocks: Parcels,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give each pixel its unit, and each unit its material; the last unit is road."""
    first = fields.count + _STANDS * np.arange(len(COVERS))
    unit = stands.id % _STANDS + first.take(cover)
    town = cover == COVER["town"]
    unit[town] = (blocks.id % _STANDS + first[COVER["town"]])[town]
    in_field = (cover == COVER["crop"]) | (cover == COVER["grass"])
    material = np.empty(fields.count + _STANDS * len(COVERS) + 1, np.int64)
    for c, name in enumerate(COVERS):
        drawn = rng.choice(OF_COVER[name], _STANDS, p=material_weights(name, place.biome))
        material[first[c] : first[c] + _STANDS] = drawn
    if place.biome in _FARMED:
        unit[in_field] = fields.id[in_field]
    else:
        unit[cover == COVER["crop"]] = fields.id[cover == COVER["crop"]]
    crops = rng.choice(OF_COVER["crop"], fields.count, p=material_weights("crop", place.biome))
    # A parcel is grass where most of it was given to grass: all its pixels agree on farmed land.
    material[: fields.count] = crops
    grass = np.zeros(fields.count, np.bool_)
    grass[fields.id[cover == COVER["grass"]]] = True
    grass[fields.id[cover == COVER["crop"]]] = False
    material[: fields.count][grass] = OF_COVER["grass"][0]
    material[-1] = _ASPHALT
    road = in_field & (fields.lane < 0.6) | town & (fields.lane < 1.2)
    unit[road] = len(material) - 1
    return unit, material


def draw_landscape(seed: int, split: str, location: int, place: Place, size: int) -> Landscape:
    """Draw the land of a location, a square of `size` pixels."""
    rng = stream(seed, split, location, Purpose.LAND)
    coarse = max(size / 2, 4.0)
    fields = fractal(rng, 6, size, coarse, 0.55, finest=2)
    height = fractal(rng, 1, size, coarse, 0.42, finest=4)[0]
    texture = fractal(rng, 2, size, min(16.0, coarse), 0.72)

    farm = Parcels(rng, size, rng.uniform(9, 30), fields[3:5], rng.uniform(0, 5), 1.6)
    stands = Parcels(rng, size, 40, fields[1:3], 14)
    blocks = Parcels(rng, size, 2.6, fields[3:5], 2, 1.3)

    farmed = place.biome in _FARMED or place.fractions[COVER["crop"]] > 0.4
    draw_of_parcel = rng.standard_normal(farm.count, dtype=np.float32)
    suits = draw_of_parcel.take(farm.id) if farmed else fields[5]
    cover = _cover_map(place, fields, height, suits)
    unit, material = _units(place, rng, cover, farm, stands, blocks)

    variety = np.array([_VARIETY[c] for c in COVERS], np.float32)
    cover_of = np.array([COVER[MATERIALS[m].cover] for m in material])
    brightness = np.exp(variety[cover_of, 0] * rng.standard_normal(len(material)))
    shade = variety[:, 1].take(cover) * texture[0] + variety[:, 3].take(cover) * fields[5]
    return Landscape(
        cover=cover,
        unit=unit,
        material=material,
        delay=rng.normal(0, 6, len(material)),
        vigour=rng.uniform(0.75, 1.05, len(material)),
        brightness=brightness.astype(np.float32),
        shade=shade,
        leaf=variety[:, 2].take(cover) * (texture[1] + 0.5 * fields[4]),
        height=height * np.float32(place.relief),
    )


def hillshade(height: F32, zenith: float, azimuth: float) -> F32:
    """Sunlight on a slope relative to level ground, clipped to [0.35, 1.6].

    The cosine of the angle between sun and surface normal over the cosine of the zenith. Rows run
    north to south, columns west to east, 10 m a pixel.
    """
    fall = np.empty_like(height)  # d height / d north and d height / d east, metres per metre
    fall[1:-1] = height[:-2] - height[2:]
    fall[0], fall[-1] = fall[1], fall[-2]
    rise = np.empty_like(height)
    rise[:, 1:-1] = height[:, 2:] - height[:, :-2]
    rise[:, 0], rise[:, -1] = rise[:, 1], rise[:, -2]
    scale = np.float32(1 / (2 * _PIXEL))
    fall *= scale
    rise *= scale
    tan = np.tan(zenith)
    north, east = np.float32(tan * np.cos(azimuth)), np.float32(tan * np.sin(azimuth))
    light = (1 - fall * north - rise * east) / np.sqrt(1 + fall * fall + rise * rise)
    return np.clip(light, np.float32(0.35), np.float32(1.6))
