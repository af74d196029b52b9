"""The definition of views whose colour operations run one after another, in NumPy float64.

Published code does not do all in one linear map, as `reference` does; it keeps an image of limited
values after each operation. `View.steps` says which (`LEVELS`), `View.colours` what the operations
are. Sources, and what was read there:

- SSL4EO-S12's rs_transforms_uint8.py and cvtorchvision 0.0.1, for "uint8_wrap" and "bands": DN /
  10000 * 255 as uint8, resampled by OpenCV in 8 bits, which rounds and clips; brightness, contrast
  about each band's mean (not rounded) and the mean of the bands, each cast to uint8, which
  truncates and wraps; OpenCV's blur, which rounds; x < 128 inverted. "uint8" is the same but for
  clipping where that wraps.
- Pillow, and torchvision's ColorJitter and Grayscale on its images, as SeCo uses them, for "uint8"
  and "rgb": blends are truncated and clipped; luma is rounded, and so is its mean, which contrast
  turns about; hue turns in 8-bit HSV. "clip" is torchvision's way with floats.

OpenCV resamples and blurs in fixed point: a pixel may be another grey level there. Pillow blurs by
three box filters, and resamples with antialiasing; here both are as everywhere else.

- What is a whole level, or half of one, but for the rounding of float32 (`SLACK`) is just that: the
  numbers of `Scaling` and of resampling are float32, and halves are common there; they go up.
- NaN is NaN after each operation and spreads as `reference` says; contrast turns about the mean, or
  mean luma, of the other pixels. Saturation, hue and luma make NaN of all bands where one is.
- A dropped band is zero in the end, and a band like others before.
"""

from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from fastload_kernels import reference
from fastload_kernels.reference import Plane, mean_of_finite
from fastload_kernels.view import Scaling, View

ORDERS = tuple(permutations(("brightness", "contrast", "saturation", "hue")))
"""Of the jitter's operations, by the number in a record."""
LUMA = (0.299, 0.587, 0.114)
"""Of red, green and blue: ITU-R BT.601, as Pillow and torchvision."""
SLACK = 2.0**-13
"""In grey levels; float32 is off by less, and 16-bit DN lie further apart."""


@dataclass(frozen=True)
class Levels:
    """Which values an image holds between operations: those up to `top`, which stands for 1."""

    top: float
    whole: bool
    wraps: bool

    def settled(self, y: Plane) -> Plane:
        """What an operation that rounds leaves: resampling and blur."""
        y = np.floor(y + (0.5 + SLACK)) if self.whole else y
        return np.clip(y, 0, self.top)

    def kept(self, y: Plane) -> Plane:
        """What the other operations leave."""
        y = np.trunc(y) if self.whole else y
        return np.mod(y, self.top + 1) if self.wraps else np.clip(y, 0, self.top)

    def started(self, y: Plane) -> Plane:
        """The image, of reflectance or what else is 1 at the top."""
        y = y * self.top
        return self.kept(y + np.copysign(SLACK, y) if self.whole else y)


LEVELS = {
    "clip": Levels(1, False, False),
    "uint8": Levels(255, True, False),
    "uint8_wrap": Levels(255, True, True),
}


def apply(
    source: NDArray[np.generic],
    params: np.void,
    view: View,
    scaling: Scaling,
    keep: NDArray[np.uint8] | None = None,
) -> NDArray[np.float64]:
    """As `reference.apply`, for `View.steps` other than "fused"."""
    levels = LEVELS[view.steps]
    y = levels.started(reference.radiometry(source, scaling))
    if view.crop_last:
        y = _placed(_coloured(y, params, view, levels, scaling), params, view, levels)
    else:
        y = _coloured(_placed(y, params, view, levels), params, view, levels, scaling)
    y = y / levels.top
    return y if keep is None else np.where(keep[:, None, None] != 0, y, 0)


def _placed(y: Plane, params: np.void, view: View, levels: Levels) -> Plane:
    """Crop, resample, flip and turn."""
    top, left = params["top"], params["left"]
    y = y[:, top : top + params["height"], left : left + params["width"]]
    y = levels.settled(reference.resample(y, *view.shape, view.interpolation))
    return reference.flips(y, params)


def _coloured(y: Plane, params: np.void, view: View, levels: Levels, scaling: Scaling) -> Plane:
    """All else, on an image of whatever size."""
    rgb = scaling.rgb if view.colours == "rgb" else None
    for name in ("brightness", "contrast") if rgb is None else ORDERS[params["order"]]:
        y = jittered(y, name, float(params[name]), levels, rgb)
    if params["gray"]:
        gray = levels.kept(y.mean(axis=0)) if rgb is None else luma(y, rgb, levels)
        y = np.broadcast_to(gray, y.shape)
    if params["sigma"] > 0:
        y = levels.settled(reference.blur(y, float(params["sigma"])))
    threshold = float(params["solarize"]) * levels.top
    below = y < threshold if params["solarize_dark"] else y >= threshold
    return np.where(below, levels.top - y, y)


def jittered(
    y: Plane, name: str, factor: float, levels: Levels, rgb: tuple[int, int, int] | None
) -> Plane:
    """One operation of the jitter, if it does anything."""
    if factor == (0 if name == "hue" else 1):
        return y
    if name == "hue":
        assert rgb is not None
        return hue(y, factor, rgb, levels)
    about: Plane | float = 0.0
    if name == "contrast" and rgb is None:
        about = mean_of_finite(y)
    elif name == "contrast" and rgb is not None:
        about = mean_of_finite(luma(y, rgb, levels)[None])
        about = np.floor(about + 0.5) if levels.whole else about
    elif name == "saturation" and rgb is not None:
        about = luma(y, rgb, levels)
    return levels.kept((y - about) * factor + about)


def luma(y: Plane, rgb: tuple[int, int, int], levels: Levels) -> Plane:
    """Grey of red, green and blue, ``[h, w]``."""
    total: Plane = np.asarray(sum(w * y[band] for w, band in zip(LUMA, rgb, strict=True)))
    return np.floor(total + 0.5) if levels.whole else total


def hue(y: Plane, turns: float, rgb: tuple[int, int, int], levels: Levels) -> Plane:
    """Turn the hue in HSV (Smith, SIGGRAPH 1978); in whole levels, as Pillow has them."""
    red, green, blue = (y[band] for band in rgb)
    value, spread = y.max(axis=0), y.max(axis=0) - y.min(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = spread / value
        sector = np.select(
            [spread == 0, red == value, green == value],
            [0, (green - blue) / spread, 2 + (blue - red) / spread],
            4 + (red - green) / spread,
        )
    angle = np.mod(sector / 6, 1)
    share = np.where(spread == 0, 0, share)
    if levels.whole:
        angle = np.mod(np.trunc(angle * 255) + np.trunc(turns * 255), 256) / 255
        share = np.trunc(share * 255) / 255
    else:
        angle = np.mod(angle + turns, 1)
    out = np.empty_like(y)
    for band, shift in zip(rgb, (5, 3, 1), strict=True):
        k = np.mod(shift + 6 * angle, 6)
        part = value - value * share * np.clip(np.minimum(k, 4 - k), 0, 1)
        out[band] = levels.settled(part)
    return out
