"""Taps: which source pixels an output pixel is made of, and with which weights.

Plain tables in float64, shared by every backend, so that all of them mean the same by `bilinear`,
`bicubic` and `blur`.
"""

import numpy as np
from numpy.typing import NDArray

TAPS = {"nearest": 1, "bilinear": 2, "bicubic": 4}
"""Source pixels that an output pixel is made of, along an axis, by interpolation."""

Table = tuple[NDArray[np.int64], NDArray[np.float64]]

BICUBIC_A = -0.75
"""The cubic's free parameter; OpenCV and torch use the same."""


def taps(n_in: int, n_out: int, interpolation: str) -> Table:
    """Resampling from `n_in` to `n_out` pixels.

    Half-pixel centres, no anti-aliasing, indices clamped to the crop.

    Returns:
        index int64 and weight float64, each ``[n_out, K]``: K is as `TAPS` has it, and 1 where the
        sizes agree.
    """
    if n_in == n_out or interpolation == "nearest":
        at = np.floor((np.arange(n_out) + 0.5) * (n_in / n_out)).astype(np.int64)
        return np.minimum(at, n_in - 1)[:, None], np.ones((n_out, 1))
    x = (np.arange(n_out) + 0.5) * (n_in / n_out) - 0.5
    base = np.floor(x)
    f = x - base
    if interpolation == "bilinear":
        offsets, weight = np.arange(2), np.stack([1 - f, f], axis=1)
    else:
        offsets = np.arange(-1, 3)
        weight = _cubic(np.abs(f[:, None] - offsets))
    index = base[:, None].astype(np.int64) + offsets
    return np.clip(index, 0, n_in - 1), weight


def _cubic(d: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' cubic convolution at distances `d` below 2 (Keys, IEEE TASSP 29, 1981)."""
    a = BICUBIC_A
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, far)


def blur_radius(sigma: float) -> int:
    """Radius that OpenCV picks for 8-bit images, which the published code had."""
    return (round(6 * sigma + 1) | 1) // 2


def gaussian(sigma: float) -> NDArray[np.float64]:
    """Normalised Gaussian weights ``[2 r + 1]`` for `sigma` in pixels; ``[1.0]`` for no blur."""
    if sigma <= 0:
        return np.ones(1)
    r = blur_radius(sigma)
    g: NDArray[np.float64] = np.exp(-0.5 * (np.arange(-r, r + 1) / sigma) ** 2)
    return np.asarray(g / g.sum())


def reflect(i: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Fold indices into ``[0, n)`` by reflection that does not repeat the edge."""
    if n == 1:
        return np.zeros_like(i)
    period = 2 * (n - 1)
    i = np.abs(i) % period
    return np.minimum(i, period - i)
