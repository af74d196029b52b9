"""Where packing leaves something out: a crop, or pixels as 8 bits."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.datasets.source import Modality

_CROP = re.compile(r"(\d+)(?:x(\d+))?(?:\+(\d+)\+(\d+))?")
STEPS = 255


@dataclass(frozen=True)
class Box:
    """Rows and columns of an image that are kept."""

    y: int
    x: int
    height: int
    width: int


@dataclass(frozen=True)
class Scale:
    """Limits of each band ``[C]`` that become 0 and 255."""

    low: tuple[float, ...]
    high: tuple[float, ...]

    def apply(self, pixels: NDArray[Any]) -> NDArray[np.uint8]:
        """Pixels ``[T, C, H, W]`` as uint8: clipped, rounded to the nearest, NaN as 0."""
        low, high = (np.array(x, np.float64)[:, None, None] for x in (self.low, self.high))
        scaled = (pixels.astype(np.float64) - low) * (STEPS / (high - low))
        return np.rint(np.clip(np.nan_to_num(scaled, nan=0.0), 0, STEPS)).astype(np.uint8)

    def moments(
        self, mean: NDArray[np.float64], std: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What mean and standard deviation ``[C]`` are after it, but for the clipping."""
        low, factor = np.array(self.low), STEPS / (np.array(self.high) - np.array(self.low))
        return (mean - low) * factor, std * factor


def box_of(crop: str | None, m: Modality) -> Box | None:
    """The box of ``N``, ``HxW`` (of the centre) or ``HxW+Y+X`` (rows and columns from the upper
    left); None where that is all of the image.

    Raises:
        ValueError: where it is not written so, or does not lie in the image.
    """
    if crop is None:
        return None
    found = _CROP.fullmatch(crop.strip())
    if not found:
        raise ValueError(f"crop must be N, HxW or HxW+Y+X in pixels, got {crop!r}")
    height, width = int(found[1]), int(found[2] or found[1])
    y, x = (m.height - height) // 2, (m.width - width) // 2
    if found[3] is not None:
        y, x = int(found[3]), int(found[4])
    inside = 0 <= y <= m.height - height and 0 <= x <= m.width - width
    if not (height and width and inside):
        raise ValueError(f"crop {crop} does not lie in {m.name}, which has {m.height}x{m.width}")
    box = Box(y, x, height, width)
    return None if box == Box(0, 0, m.height, m.width) else box


def cut(pixels: NDArray[Any], box: Box | None) -> NDArray[Any]:
    """The box of images ``[..., H, W]``."""
    if box is None:
        return pixels
    return pixels[..., box.y : box.y + box.height, box.x : box.x + box.width]
