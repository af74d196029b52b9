"""One location of the made world, all modalities."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastload.synth.landscape import Landscape, draw_landscape
from fastload.synth.materials import local_grounds, local_leaves
from fastload.synth.optical import Visit, true_colour, visit
from fastload.synth.places import Dates, Place, draw_dates, draw_place
from fastload.synth.radar import backscatter
from fastload.synth.streams import Purpose, stream


@dataclass(frozen=True)
class Scene:
    """The arrays of one location."""

    place: Place
    dates: Dates
    land: Landscape
    bands: dict[str, NDArray[np.generic]]
    """By modality ``[T, C, size, size]``: int16 DN, uint8 for S2RGB, float16 dB for S1GRD."""
    cloud_mask: NDArray[np.uint8] | None
    """``[T, size, size]``, classes of `sky`; None where no optical modality was asked for."""

    def time(self, modality: str) -> NDArray[np.int64]:
        """Acquisition times ``[T]`` of a modality, nanoseconds since 1970."""
        return self.dates.radar if modality == "S1GRD" else self.dates.optical


def draw_land(seed: int, split: str, location: int, size: int) -> tuple[Place, Landscape]:
    """Draw what a location is, without looking at it."""
    place = draw_place(seed, split, location)
    return place, draw_landscape(seed, split, location, place, size)


def draw_scene(
    seed: int,
    location: int,
    *,
    split: str = "train",
    modalities: tuple[str, ...],
    timestamps: int = 4,
    size: int = 264,
    dn_offset: int = 0,
) -> Scene:
    """Make one location, a pure function of the arguments.

    A modality's pixels do not depend on which other modalities are asked for.

    Args:
        seed: of the dataset.
        location: its number in the dataset.
        split: splits share no location, also under one seed.
        modalities: any of S2L1C, S2L2A, S2RGB, S1GRD.
        timestamps: number of dates, one a quarter.
        size: height and width in 10 m pixels.
        dn_offset: DN of zero reflectance in S2L1C and S2L2A; DN 0 always means no data.
    """
    place, land = draw_land(seed, split, location, size)
    dates = draw_dates(seed, split, location, timestamps, place.lon)
    bands: dict[str, NDArray[np.generic]] = {}
    mask = None
    if set(modalities) - {"S1GRD"}:
        surface = "S2L2A" in modalities or "S2RGB" in modalities
        visits = _visits(
            seed, split, location, place, land, dates, (surface, "S2L1C" in modalities), dn_offset
        )
        mask = np.stack([v.mask for v in visits])
        level1 = [v.level1 for v in visits if v.level1 is not None]
        level2 = [v.level2 for v in visits if v.level2 is not None]
        if "S2L1C" in modalities:
            bands["S2L1C"] = np.stack(level1)
        if "S2L2A" in modalities:
            bands["S2L2A"] = np.stack(level2)
        if "S2RGB" in modalities:
            bands["S2RGB"] = np.stack([true_colour(x) for x in level2])
    if "S1GRD" in modalities:
        rngs = [stream(seed, split, location, Purpose.RADAR, t) for t in range(timestamps)]
        looks = zip(dates.day, rngs, strict=True)
        bands["S1GRD"] = np.stack([backscatter(place, land, day, rng) for day, rng in looks])
    return Scene(place, dates, land, bands, mask)


def _visits(
    seed: int,
    split: str,
    location: int,
    place: Place,
    land: Landscape,
    dates: Dates,
    levels: tuple[bool, bool],
    dn_offset: int,
) -> list[Visit]:
    grounds = local_grounds(place, stream(seed, split, location, Purpose.LAND, 1))
    leaves = local_leaves()
    return [
        visit(
            place,
            land,
            grounds,
            leaves,
            float(day),
            stream(seed, split, location, Purpose.SKY, t),
            stream(seed, split, location, Purpose.SENSOR, t),
            levels,
            dn_offset,
        )
        for t, day in enumerate(dates.day)
    ]
