"""From a task's bands to a network's channels: by name, never by position."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fastload.bands import plain
from fastload.recipe import REFLECTANCE, Radiometry
from fastload.statistics import Statistics
from ssl4eo_train.errors import SetupError
from ssl4eo_train.evaluate.pretrained import Channel, Wanted
from ssl4eo_train.expected import IMAGENET_MEAN, IMAGENET_STD, seco_radiometry

SAME = {"r": "b4", "g": "b3", "b": "b2", "red": "b4", "green": "b3", "blue": "b2", "nir": "b8"}
"""Colours as bands of Sentinel-2."""
COLOURS = ("b4", "b3", "b2")
"""Red, green and blue, in ImageNet's order."""
PICTURES = ("S2RGB", "RGB")
"""Modalities of eight bits."""
OPTICAL = (*REFLECTANCE, *PICTURES)
"""Modalities whose bands stand for each other where their names agree, whatever the level."""
RADAR = ("S1GRD", "S1RTC", "S1", "s1_grd")


@dataclass(frozen=True)
class Inputs:
    """How a network's C channels are filled.

    Attributes:
        bands: what is read of the task's data, by modality, in this order.
        places: of each channel, where its band stands among all that are read, one modality after
            the other; None for zeros.
        wanted: see `pretrained.Wanted`.
    """

    bands: dict[str, tuple[str, ...]]
    places: tuple[int | None, ...]
    wanted: Wanted

    def channels(self, batch: Mapping[str, Any], view: int = 0) -> Tensor:
        """A view of a batch, ``[N, C, h, w]``, or of all dates ``[N, T, C, h, w]``."""
        read = torch.cat([batch[name][view] for name in self.bands], dim=-3)
        if self.places == tuple(range(read.shape[-3])):
            return read
        empty = torch.zeros_like(read[..., :1, :, :])
        padded = torch.cat([read, empty], dim=-3)
        index = [read.shape[-3] if place is None else place for place in self.places]
        return padded[..., index, :, :]

    def radiometry(self, modality: str, statistics: Statistics) -> Radiometry:
        """What the network wants of a modality of the task.

        Args:
            modality: of `bands`.
            statistics: those of the task's data; they say what reflectances 0 and 1 are on disk.

        Raises:
            SetupError: where ImageNet's numbers are wanted of a band that is none of its colours.
        """
        if self.wanted in ("imagenet", "seco"):
            if self.wanted == "imagenet" or eight_bits(modality):  # Pictures are stretched already.
                return _imagenet(modality, self.bands[modality], statistics)
            colours = _colours(modality, self.bands[modality])
            return seco_radiometry(colours, statistics.dn_offset, statistics.dn_scale)
        if self.wanted == "standardise":
            return Radiometry.standardise()
        if modality in RADAR or self.wanted == "two_sigma":
            return Radiometry.two_sigma()
        return Radiometry.quantile(0.0, 255.0) if eight_bits(modality) else Radiometry.reflectance()


def eight_bits(modality: str) -> bool:
    """Whether a modality is one of pictures, of which 255 is 1."""
    return modality in PICTURES


def _imagenet(modality: str, bands: Sequence[str], statistics: Statistics) -> Radiometry:
    """ImageNet's mean and standard deviation, in the units on disk."""
    units = statistics.dn_offset, statistics.dn_scale
    offset, scale = (0.0, 255.0) if eight_bits(modality) else units
    where = _colours(modality, bands)
    mean = [offset + IMAGENET_MEAN[i] * scale for i in where]
    return Radiometry.standardise(mean, [IMAGENET_STD[i] * scale for i in where])


def _colours(modality: str, bands: Sequence[str]) -> list[int]:
    """Which of ImageNet's colours each band is."""
    strange = [band for band in bands if _name(band) not in COLOURS]
    if strange:
        raise SetupError(
            f"ImageNet's mean and standard deviation are of red, green and blue; {modality} "
            f"{', '.join(strange)} is none of them"
        )
    return [COLOURS.index(_name(band)) for band in bands]


def match(
    channels: Sequence[Channel], offered: Mapping[str, Sequence[str]], zeros: bool, wanted: Wanted
) -> Inputs:
    """Find the band of each channel among those that a task offers.

    Args:
        channels: of the network.
        offered: names of the task's bands, by modality.
        zeros: show zeros to a channel whose band there is not, as the papers do with B10 of L2A.
        wanted: see `pretrained.Wanted`.

    Raises:
        SetupError: names the bands that there are not.
    """
    found = [_band(channel, offered) for channel in channels]
    missing = [f"{c.modality} {c.band}" for c, f in zip(channels, found, strict=True) if f is None]
    if len(missing) == len(found) or (missing and not zeros):
        there = "; ".join(f"{name} {', '.join(bands)}" for name, bands in offered.items())
        hint = "" if len(missing) == len(found) else "; --missing-bands zero shows zeros for them"
        raise SetupError(f"the backbone wants {', '.join(missing)}, but the task has {there}{hint}")
    bands: dict[str, list[str]] = {}
    for pair in found:
        if pair is not None and pair[1] not in bands.setdefault(pair[0], []):
            bands[pair[0]].append(pair[1])
    order = [(name, band) for name, of in bands.items() for band in of]
    places = tuple(None if pair is None else order.index(pair) for pair in found)
    return Inputs({name: tuple(of) for name, of in bands.items()}, places, wanted)


def _band(channel: Channel, offered: Mapping[str, Sequence[str]]) -> tuple[str, str] | None:
    """A band of the same name, of the same modality rather than of another level."""
    kin = sorted(offered, key=lambda name: name != channel.modality)
    for modality in kin:
        if _family(modality) == _family(channel.modality):
            for band in offered[modality]:
                if _name(band) == _name(channel.band):
                    return modality, band
    return None


def _family(modality: str) -> str:
    kinds = {"optical": OPTICAL, "radar": RADAR}
    return next((kind for kind, names in kinds.items() if modality in names), modality)


def _name(band: str) -> str:
    return SAME.get(plain(band), plain(band))
