"""`stepwise` in Numba: an image of levels, and one pass over it for each operation.

Levels lie in float32, which holds whole ones exactly, and are reckoned with in float64. So whole
levels are those of the definition, to the bit, wherever resampling gave the same ones.
"""

import numpy as np
from numpy.typing import NDArray

from fastload_kernels.compiled import jit
from fastload_kernels.half import load, store_row
from fastload_kernels.stepwise import LEVELS, LUMA, ORDERS, SLACK, Levels
from fastload_kernels.tables import fold, gaussian
from fastload_kernels.view import View

_jit = jit(error_model="numpy")
_NAMES = ORDERS[0]
_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE = range(len(_NAMES))
_BY_NUMBER = np.array([[_NAMES.index(name) for name in order] for order in ORDERS])
_R, _G, _B = LUMA

Numbers = tuple[float, bool, bool]
"""A `Levels`, for Numba."""


def numbers_of(view: View) -> Numbers:
    """The levels of a view."""
    levels: Levels = LEVELS[view.steps]
    return float(levels.top), levels.whole, levels.wraps


def operations(view: View, params: np.void) -> NDArray[np.int64]:
    """The jitter's operations in their order, by their places in `ORDERS[0]`."""
    return np.asarray(_BY_NUMBER[params["order"] if view.colours == "rgb" else 0])


@_jit
def _kept(v, levels):  # type: ignore[no-untyped-def]
    top, whole, wraps = levels
    if whole:
        v = np.trunc(v)
    if wraps:
        return v - (top + 1) * np.floor(v / (top + 1))
    v = 0.0 if v < 0 else v
    return top if v > top else v


@_jit
def _settled(v, levels):  # type: ignore[no-untyped-def]
    top, whole, _ = levels
    if whole:
        v = np.floor(v + (0.5 + SLACK))
    v = 0.0 if v < 0 else v
    return top if v > top else v


@_jit
def started(source, box, scaling, substitutes, levels):  # type: ignore[no-untyped-def]
    """A box ``(top, left, height, width)`` of the source as levels, float32 ``[C, height, width]``;
    NaN where it is not finite and nothing stands for that."""
    top, left, height, width = box
    C = source.shape[0]
    out = np.empty((C, height, width), np.float32)
    for c in range(C):
        offset, scale = np.float64(scaling[0][c]), np.float64(scaling[1][c])
        low, high = np.float64(scaling[2][c]), np.float64(scaling[3][c])
        for y in range(height):
            pixels = source[c, top + y, left : left + width]
            for x in range(width):
                raw = load(pixels[x])
                v = (np.float64(raw) - offset) * scale
                v = low if v < low else v
                v = high if v > high else v
                if not np.isfinite(raw):
                    v = np.float64(substitutes[0 if np.isnan(raw) else (1 if raw > 0 else 2)][c])
                v *= levels[0]
                out[c, y, x] = _kept(v + np.copysign(SLACK, v) if levels[1] else v, levels)
    return out


@_jit
def settle(y, levels):  # type: ignore[no-untyped-def]
    """In place, after resampling."""
    for c in range(y.shape[0]):
        for i in range(y.shape[1]):
            for x in range(y.shape[2]):
                y[c, i, x] = _settled(np.float64(y[c, i, x]), levels)


@_jit
def coloured(y, params, order, levels, rgb):  # type: ignore[no-untyped-def]
    """All colour operations and the blur, in place.

    Args:
        y: levels float32 ``[C, h, w]``.
        params: one `VIEW_PARAMS` record.
        order: see `operations`.
        levels: see `numbers_of`.
        rgb: int64 ``[3]``, the bands that are red, green and blue; empty for "bands".
    """
    factors = (params.brightness, params.contrast, params.saturation, params.hue)
    for k in order:
        factor = np.float64(factors[k])
        if len(rgb) == 0:
            if k <= _CONTRAST and factor != 1:
                for c in range(y.shape[0]):
                    about = _mean(y[c]) if k == _CONTRAST else 0.0
                    _blend(y[c], about, factor, levels)
        elif k == _HUE and factor != 0:
            _hue(y[rgb[0]], y[rgb[1]], y[rgb[2]], factor, levels)
        elif k != _HUE and factor != 1:
            _blend_rgb(y, k, factor, levels, rgb)
    if params.gray:
        _gray(y, levels, rgb)
    if params.sigma > 0:
        half = gaussian(params.sigma)
        for c in range(y.shape[0]):
            _blur(y[c], half, levels)
    if params.solarize == params.solarize:
        _solarize(y, np.float64(params.solarize) * levels[0], params.solarize_dark, levels[0])


@_jit
def _mean(plane):  # type: ignore[no-untyped-def]
    """Over what is not NaN."""
    total, count = 0.0, 0
    for row in plane:
        for v in row:
            if v == v:
                total += np.float64(v)
                count += 1
    return total / max(count, 1)


@_jit
def _blend(plane, about, factor, levels):  # type: ignore[no-untyped-def]
    for i in range(plane.shape[0]):
        for x in range(plane.shape[1]):
            plane[i, x] = _kept((np.float64(plane[i, x]) - about) * factor + about, levels)


@_jit
def _luma(red, green, blue, levels):  # type: ignore[no-untyped-def]
    total = _R * np.float64(red) + _G * np.float64(green) + _B * np.float64(blue)
    return np.floor(total + 0.5) if levels[1] else total


@_jit
def _luma_of(y, levels, rgb):  # type: ignore[no-untyped-def]
    """float64 ``[h, w]``."""
    _, h, w = y.shape
    out = np.empty((h, w), np.float64)
    for i in range(h):
        for x in range(w):
            out[i, x] = _luma(y[rgb[0], i, x], y[rgb[1], i, x], y[rgb[2], i, x], levels)
    return out


@_jit
def _blend_rgb(y, kind, factor, levels, rgb):  # type: ignore[no-untyped-def]
    """Brightness, contrast or saturation, about black, the mean luma and the luma."""
    about = _luma_of(y, levels, rgb) if kind != _BRIGHTNESS else np.zeros(y.shape[1:])
    if kind == _CONTRAST:
        mean = _mean(about)
        about[:] = np.floor(mean + 0.5) if levels[1] else mean
    for c in range(y.shape[0]):
        for i in range(y.shape[1]):
            for x in range(y.shape[2]):
                a = about[i, x]
                y[c, i, x] = _kept((np.float64(y[c, i, x]) - a) * factor + a, levels)


@_jit
def _hue(reds, greens, blues, turns, levels):  # type: ignore[no-untyped-def]
    _, whole, _ = levels
    for i in range(reds.shape[0]):
        for x in range(reds.shape[1]):
            red, green = np.float64(reds[i, x]), np.float64(greens[i, x])
            blue = np.float64(blues[i, x])
            value = max(red, green, blue)
            spread = value - min(red, green, blue)
            if red != red or green != green or blue != blue:
                value = spread = np.float64(np.nan)
            angle, share = 0.0, 0.0
            if spread != 0:
                share = spread / value
                if red == value:
                    angle = (green - blue) / spread
                elif green == value:
                    angle = 2 + (blue - red) / spread
                else:
                    angle = 4 + (red - green) / spread
            angle = (angle / 6) % 1.0
            if whole:
                angle = (np.trunc(angle * 255) + np.trunc(turns * 255)) % 256.0 / 255
                share = np.trunc(share * 255) / 255
            else:
                angle = (angle + turns) % 1.0
            reds[i, x] = _settled(_part(5.0, angle, share, value), levels)
            greens[i, x] = _settled(_part(3.0, angle, share, value), levels)
            blues[i, x] = _settled(_part(1.0, angle, share, value), levels)


@_jit
def _part(shift, angle, share, value):  # type: ignore[no-untyped-def]
    k = (shift + 6 * angle) % 6.0
    part = min(k, 4 - k)
    return value - value * share * min(max(part, 0.0), 1.0)


@_jit
def _gray(y, levels, rgb):  # type: ignore[no-untyped-def]
    C, h, w = y.shape
    for i in range(h):
        for x in range(w):
            if len(rgb):
                v = _luma(y[rgb[0], i, x], y[rgb[1], i, x], y[rgb[2], i, x], levels)
            else:
                v = 0.0
                for c in range(C):
                    v += np.float64(y[c, i, x])
                v = _kept(v / C, levels)
            for c in range(C):
                y[c, i, x] = v


@_jit
def _blur(plane, half, levels):  # type: ignore[no-untyped-def]
    """In place: down into float64 sums, then across."""
    h, w = plane.shape
    r = len(half) - 1
    line, padded = np.empty((h, w), np.float64), np.empty(w + 2 * r, np.float64)
    for i in range(h):
        line[i] = 0
        for d in range(-r, r + 1):
            row, weight = plane[fold(i + d, h)], half[abs(d)]
            for x in range(w):
                line[i, x] += weight * np.float64(row[x])
    for i in range(h):
        for x in range(w + 2 * r):
            padded[x] = line[i, fold(x - r, w)]
        for x in range(w):
            total = 0.0
            for d in range(2 * r + 1):
                total += half[abs(d - r)] * padded[x + d]
            plane[i, x] = _settled(total, levels)


@_jit
def _solarize(y, threshold, dark, top):  # type: ignore[no-untyped-def]
    for c in range(y.shape[0]):
        for i in range(y.shape[1]):
            for x in range(y.shape[2]):
                v = np.float64(y[c, i, x])
                if v < threshold if dark else v >= threshold:
                    y[c, i, x] = top - v


@_jit
def store(y, keep, top, channels_last, bfloat, out):  # type: ignore[no-untyped-def]
    """Levels ``[C, h, w]`` as numbers in [0, 1] to `out`, zeros for dropped bands; see
    `cpu.apply`."""
    C, h, w = y.shape
    line = np.empty(w, np.float32)
    for c in range(C):
        for i in range(h):
            for x in range(w):
                line[x] = np.float64(y[c, i, x]) / top if keep[c] else 0.0
            if channels_last:
                store_row(line, out[i, :, c], bfloat)
            else:
                store_row(line, out[c, i], bfloat)
