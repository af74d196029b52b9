"""Pixels that are NaN, infinite or no-data, found by their bits: whether there are any, how many a
view shows, and where. `reference.count` and `reference.valid` are the definitions.

Nearly all crops hold none. So a crop is first run through once, with one comparison a pixel that
compiles to a few vector instructions; what follows is for those that hold some.
"""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload_kernels.compiled import jit
from fastload_kernels.tables import nearest

_jit = jit(error_model="numpy")
_BITS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
NOT_FINITE, NO_DATA = 1, 2
"""Flags of a band."""


Found = tuple[NDArray[Any], bool, bool]


def unsigned(source: NDArray[np.generic]) -> NDArray[Any]:
    """The bits of pixels, on the same memory."""
    return source.view(_BITS[source.dtype.itemsize])


@cache
def patterns_of(dtype: np.dtype[Any], nodata: float | None) -> Found:
    """Which bits mean what.

    Args:
        dtype: of the pixels.
        nodata: as of `reference.count`.

    Returns:
        Of the bits' dtype ``[4]``: all but the sign, those of infinity, those that no-data is
        compared in, and those of no-data; whether there can be NaN and infinity; whether no-data.
    """
    bits: np.dtype[Any] = np.dtype(_BITS[dtype.itemsize])
    every = int(np.iinfo(bits).max)
    floating, has_nodata = dtype.kind == "f", nodata is not None and _holds(dtype, nodata)
    infinite = int(np.array(np.inf, dtype).view(bits)) if floating else 0
    value = int(np.array(nodata).astype(dtype).view(bits)) if has_nodata else 0
    mask = every
    if floating and nodata == 0:  # -0 is 0 too
        value, mask = 0, every >> 1
    return np.array([every >> 1, infinite, mask, value], bits), floating, has_nodata


def _holds(dtype: np.dtype[Any], value: float) -> bool:
    """Whether a pixel can be equal to `value`."""
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return bool(np.array(value).astype(dtype).astype(np.float32) == np.float32(value))
    info = np.iinfo(dtype)
    return info.min <= value <= info.max and float(value).is_integer()


@_jit
def find(pixels, patterns, floating, has_nodata, top, height, flags):  # type: ignore[no-untyped-def]
    """Set the flags uint8 ``[C]`` of bands whose rows, whole ones, hold such pixels; any at all?"""
    C, _, W = pixels.shape
    found = False
    for c in range(C):
        run = pixels[c, top : top + height].reshape(height * W)
        flags[c] = 0
        if floating:
            most, least = _extremes(run, patterns)
            flags[c] |= NOT_FINITE if most >= patterns[1] else 0
            flags[c] |= NO_DATA if has_nodata and least == 0 else 0
        elif has_nodata and _equal(run, patterns[2], patterns[3]):
            flags[c] |= NO_DATA
        found |= flags[c] != 0
    return found


@_jit
def _extremes(run, patterns):  # type: ignore[no-untyped-def]
    """The largest magnitude, and zero where a pixel is no-data."""
    as_pixel = run.dtype.type  # without it the loop would count in 64 bits
    absolute, _, mask, value = patterns
    most, least = as_pixel(0), as_pixel(mask)
    for x in range(run.shape[0]):
        most = max(most, as_pixel(run[x] & absolute))
        least = min(least, as_pixel((run[x] & mask) ^ value))
    return most, least


@_jit
def _equal(run, mask, value):  # type: ignore[no-untyped-def]
    as_pixel = run.dtype.type
    least = as_pixel(mask)
    for x in range(run.shape[0]):
        least = min(least, as_pixel((run[x] & mask) ^ value))
    return least == 0


@_jit
def count(pixels, patterns, flags, params, size, K, keep, counts):  # type: ignore[no-untyped-def]
    """Add to int64 ``[3]`` how many output pixels are nearest to NaN, infinity, no-data."""
    rows = _shares(params.height, size[0], K)
    columns = _shares(params.width, size[1], K)
    left, right = params.left, params.left + params.width
    absolute, infinite, mask, value = patterns
    for c in range(pixels.shape[0]):
        if flags[c] == 0 or not (keep[c] or params.gray):
            continue
        for y in range(params.height):
            if rows[y] == 0:
                continue
            line = pixels[c, params.top + y, left:right]
            nan, inf, missing = 0, 0, 0
            if flags[c] & NOT_FINITE:
                for x in range(line.shape[0]):
                    nan += columns[x] if (line[x] & absolute) > infinite else 0
                    inf += columns[x] if (line[x] & absolute) == infinite else 0
            if flags[c] & NO_DATA:
                for x in range(line.shape[0]):
                    missing += columns[x] if (line[x] & mask) == value else 0
            counts[0] += rows[y] * nan
            counts[1] += rows[y] * inf
            counts[2] += rows[y] * missing


@_jit
def _shares(n_in, n_out, K):  # type: ignore[no-untyped-def]
    """How many outputs are nearest to each source pixel of an axis."""
    shares = np.zeros(n_in, np.int64)
    for index in nearest(n_in, n_out, K, False):
        shares[index] += 1
    return shares


@_jit
def valid(pixels, patterns, floating, has_nodata, params, K, out):  # type: ignore[no-untyped-def]
    """Write `reference.valid` into bool ``[h, w]``."""
    flags = np.empty(pixels.shape[0], np.uint8)
    out[:] = True
    if not find(pixels, patterns, floating, has_nodata, params.top, params.height, flags):
        return
    h, w = out.shape[::-1] if params.transpose else out.shape
    flip_rows = params.flip_x if params.transpose else params.flip_y
    flip_columns = params.flip_y if params.transpose else params.flip_x
    rows = nearest(params.height, h, K, flip_rows != 0)
    columns = nearest(params.width, w, K, flip_columns != 0)
    absolute, infinite, mask, value = patterns
    for c in range(pixels.shape[0]):
        if flags[c] == 0:
            continue
        for y in range(h):
            line = pixels[c, params.top + rows[y]]
            for x in range(w):
                bits = line[params.left + columns[x]]
                bad = floating and (bits & absolute) >= infinite
                if bad or (has_nodata and (bits & mask) == value):
                    if params.transpose:
                        out[x, y] = False
                    else:
                        out[y, x] = False
