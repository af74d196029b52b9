"""Crops that hold NaN or infinity, for the CPU: mended before the view is made, marked afterwards.

The passes of `cpu` are written for finite numbers. So radiometry is done here, what is not finite
gets its substitute, and where that is NaN a zero takes its place; afterwards NaN is written to all
output pixels that `reference` gives it to. The mean for contrast is taken pixel by pixel.
"""

from typing import Any

import numpy as np

from fastload_kernels.compiled import jit
from fastload_kernels.half import load
from fastload_kernels.tables import fold, radius, taps

_jit = jit(error_model="numpy")


@_jit
def mended(source, params, scaling, substitutes):  # type: ignore[no-untyped-def]
    """The crop after radiometry, float32 ``[C, height, width]``, zero where it is NaN; and where
    that is, bool of the same shape."""
    C = source.shape[0]
    crop = np.empty((C, params.height, params.width), np.float32)
    bad = np.zeros(crop.shape, np.bool_)
    for c in range(C):
        offset, scale = scaling[0][c], scaling[1][c]
        low, high = scaling[2][c], scaling[3][c]
        for y in range(params.height):
            pixels = source[c, params.top + y, params.left : params.left + params.width]
            for x in range(params.width):
                raw = load(pixels[x])
                v = (raw - offset) * scale
                v = low if v < low else v
                v = high if v > high else v
                if not np.isfinite(raw):
                    which = 0 if np.isnan(raw) else (1 if raw > 0 else 2)
                    v = substitutes[which][c]
                    if np.isnan(v):
                        v, bad[c, y, x] = np.float32(0), True
                crop[c, y, x] = v
    return crop, bad


@_jit
def means(crop, bad, size, K):  # type: ignore[no-untyped-def]
    """Mean float32 ``[C]`` of each band over the resampled pixels that are not NaN, before
    brightness; 0 where all are."""
    C, height, width = crop.shape
    row, row_weight = taps(height, size[0], K, False)
    column, column_weight = taps(width, size[1], K, False)
    out = np.zeros(C, np.float32)
    for c in range(C):
        total, count = 0.0, 0
        for y in range(size[0]):
            for x in range(size[1]):
                value, isnan = 0.0, False
                for i in range(len(row)):
                    for k in range(len(column)):
                        at = c, row[i, y], column[k, x]
                        isnan |= bad[at]
                        value += row_weight[i, y] * column_weight[k, x] * crop[at]
                if not isnan:
                    total += value
                    count += 1
        out[c] = total / max(count, 1)
    return out


@_jit
def spread(bad, size, K, params):  # type: ignore[no-untyped-def]
    """Where the view is NaN, bool ``[C, h, w]``: what `bad` reaches by taps, blur and gray."""
    C = bad.shape[0]
    transpose = params.transpose != 0
    flip_rows = params.flip_x if transpose else params.flip_y
    flip_columns = params.flip_y if transpose else params.flip_x
    r = radius(params.sigma)
    h, w = size[::-1] if transpose else size
    reached = np.empty((C, h, w), np.bool_)
    for c in range(C):
        across = _reached(bad[c], size[1], K, flip_columns != 0, r)
        down = _reached(across.T, size[0], K, flip_rows != 0, r)  # [w, h]
        if transpose:
            reached[c] = down
        else:
            reached[c] = down.T
    if params.gray:
        for c in range(1, C):
            reached[0] |= reached[c]
        for c in range(1, C):
            reached[c] = reached[0]
    return reached


@_jit
def _reached(bad, n_out, K, flip, r):  # type: ignore[no-untyped-def]
    """What the taps of the last axis and then a blur of radius r reach, bool ``[n, n_out]``."""
    n, n_in = bad.shape
    index, _ = taps(n_in, n_out, K, flip)
    tapped = np.zeros((n, n_out), np.bool_)
    out = np.zeros((n, n_out), np.bool_)
    for y in range(n):
        for x in range(n_out):
            for k in range(len(index)):
                tapped[y, x] |= bad[y, index[k, x]]
        for x in range(n_out):
            for d in range(-r, r + 1):
                out[y, x] |= tapped[y, fold(x + d, n_out)]
    return out


@_jit
def mark(reached, keep, channels_last, nan, out):  # type: ignore[no-untyped-def]
    """Write the bits of NaN where the view has it, but for dropped bands."""
    C, h, w = reached.shape
    for c in range(C):
        if not keep[c]:
            continue
        for y in range(h):
            for x in range(w):
                if reached[c, y, x]:
                    if channels_last:
                        out[y, x, c] = nan
                    else:
                        out[c, y, x] = nan


NAN_BITS: dict[str, Any] = {
    "float32": np.float32(np.nan),
    "float16": np.uint16(0x7E00),
    "bfloat16": np.uint16(0x7FC0),
}
"""By output dtype, as `mark` writes it."""
