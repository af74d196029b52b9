"""Pixels as pictures that people can read: colours, decibels, classes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.bands import plain
from fastload.datasets.source import Modality
from fastload.recipe import holds_classes

Image = NDArray[np.uint8]
COLOURS = {
    "true colour": (("B4", "B3", "B2"), ("R", "G", "B"), ("red", "green", "blue")),
    "false colour (near infrared, red, green)": (("B8", "B4", "B3"),),
}
"""Compositions by name, each by the names of its bands; the first that is there."""
DECIBELS = {"vv": (-25.0, 0.0), "vh": (-32.0, -7.0), "hh": (-25.0, 0.0), "hv": (-32.0, -7.0)}
"""Limits of grey by polarisation."""
MASK = (
    ("land", "#8a9a5b"), ("water", "#2f6fb0"), ("snow", "#e8f4fa"), ("thin cloud", "#c9c9c9"),
    ("thick cloud", "#ffffff"), ("shadow", "#4a4458"), ("no data", "#000000"),
)  # fmt: skip
"""Cloud classes of SSL4EO-S12 v1.1, in the order of their numbers, and their colours."""


@dataclass(frozen=True)
class Picture:
    """A picture of one date.

    Attributes:
        kind: what it shows.
        pixels: uint8 ``[H, W, 3]``.
        limits: in words, what is black and what is white.
    """

    kind: str
    pixels: Image
    limits: str


def pictures(m: Modality, pixels: NDArray[Any]) -> Iterator[list[Picture]]:
    """All kinds of pictures of a modality; of each kind one for each date.

    Args:
        m: the modality.
        pixels: ``[T, C, H, W]`` in the units on disk.
    """
    names = [plain(name) for name in m.shown.names]
    if m.name.endswith("cloud_mask"):
        yield [Picture("cloud mask", mask(image[0]), "") for image in pixels]
        return
    if holds_classes(m.name):
        yield [Picture("classes", classes(image[0]), "") for image in pixels]
        return
    found = False
    for kind, places in _compositions(names, m.bands):
        found = True
        yield list(_colours(kind, pixels[:, places]))
    for c, name in enumerate(names):
        if name in DECIBELS:
            found = True
            yield [_grey(f"{m.shown.names[c]} in dB", image[c], *DECIBELS[name], "dB")
                   for image in pixels]  # fmt: skip
    if not found:
        name = m.shown.names[0] if m.shown.names else "band 0"
        low, high = stretch(pixels[:, 0])
        yield [_grey(name, image[0], low, high) for image in pixels]


def _compositions(names: Sequence[str], bands: int) -> Iterator[tuple[str, list[int]]]:
    for kind, choices in COLOURS.items():
        for choice in choices:
            wanted = [plain(name) for name in choice]
            if set(wanted) <= set(names):
                yield kind, [names.index(name) for name in wanted]
                break
    if not names and bands == 3:
        yield "bands 0, 1 and 2", [0, 1, 2]


def composition(names: Sequence[str], bands: int) -> list[int]:
    """The bands that show a view best: a true colour, else the first one or three."""
    known = [plain(name) for name in names]
    found = next((places for _, places in _compositions(known, bands)), None)
    return found or ([0, 1, 2] if bands >= 3 else [0])


def stretch(image: NDArray[Any]) -> tuple[float, float]:
    """Percentiles 1 and 99 of what is a number, and no data's zeros apart if there is more."""
    values = np.asarray(image, np.float64).ravel()
    values = values[np.isfinite(values)]
    values = values[values != 0] if (values != 0).any() else values
    if not values.size:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(values, (1, 99)))
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _colours(kind: str, pixels: NDArray[Any]) -> Iterator[Picture]:
    """Each date by itself, since clouds and haze would leave the others dark."""
    for image in pixels:
        low, high = (0.0, 255.0) if pixels.dtype == np.uint8 else stretch(image)
        yield Picture(kind, coloured(image, low, high), f"{low:.0f} to {high:.0f}")


def coloured(image: NDArray[Any], low: float, high: float) -> Image:
    """Three bands ``[3, H, W]``, or one, between limits as ``[H, W, 3]``; NaN is magenta."""
    values = np.asarray(image, np.float64)
    values = values.repeat(3, axis=0) if len(values) == 1 else values
    none = ~np.isfinite(values).all(axis=0)
    scaled = np.clip((np.nan_to_num(values) - low) / (high - low), 0, 1) * 255
    out = np.ascontiguousarray(scaled.astype(np.uint8).transpose(1, 2, 0))
    out[none] = (255, 0, 255)
    return out


def _grey(kind: str, image: NDArray[Any], low: float, high: float, unit: str = "") -> Picture:
    limits = f"{low:.4g} to {high:.4g} {unit}".rstrip()
    return Picture(kind, coloured(image[None], low, high), limits)


def mask(image: NDArray[Any]) -> Image:
    """Cloud classes ``[H, W]`` in the colours of `MASK`; unknown numbers are magenta."""
    table = np.full((256, 3), (255, 0, 255), np.uint8)
    for number, (_, colour) in enumerate(MASK):
        table[number] = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return np.asarray(table[np.clip(image.astype(np.int64), 0, 255)], np.uint8)


def classes(image: NDArray[Any]) -> Image:
    """Class numbers ``[H, W]`` in colours that differ from their neighbours'."""
    number = np.arange(256)
    hue = (number * 0.61803398875) % 1
    parts = [np.abs(((hue + shift) % 1) * 6 - 3) - 1 for shift in (0, 2 / 3, 1 / 3)]
    table: Image = (np.clip(np.stack(parts, axis=1), 0.1, 0.9) * 255).astype(np.uint8)
    table[0] = 0
    return np.asarray(table[np.clip(image.astype(np.int64), 0, 255)], np.uint8)
