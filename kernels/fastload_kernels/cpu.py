"""The view operation in Numba: one pass per band from the pixels on disk to the stored view.

How it is fast (`fastload_kernels.reference` says what it means):

- Up to solarize everything after the clip is linear, so the order is free. Each source row of the
  crop is converted, clipped and resampled horizontally once, then kept.
- Brightness and contrast become one multiply-add at the store. The mean that contrast needs falls
  out of the kept rows: it is their weighted sum.
- A gray view averages the bands' clipped source rows and carries on with a single plane.
- Blur runs along the finished row, and vertically inside the resampling weights.
- Flips reverse the tap tables. A transpose is done while storing.
- All of it is for finite numbers: crops with others, which `seen` finds, are mended (`mend`).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload_kernels import stepwise_cpu
from fastload_kernels.compiled import jit
from fastload_kernels.half import load, store_row
from fastload_kernels.lanes import (
    LANES,
    aligned,
    copy,
    gather,
    gather_near,
    near,
    transposed,
    weighted,
)
from fastload_kernels.mend import NAN_BITS, mark, means, mended, spread
from fastload_kernels.resample import TAPS
from fastload_kernels.seen import NOT_FINITE, count, find, patterns_of, unsigned, valid
from fastload_kernels.tables import fold, gaussian, rows, taps
from fastload_kernels.view import Scaling, View, geometry, without_colours

U = np.uint64
_jit = jit(fastmath={"contract"}, error_model="numpy")


def apply(
    source: NDArray[np.generic],
    params: np.void,
    view: View,
    scaling: Scaling,
    keep: NDArray[np.uint8] | None,
    out: NDArray[Any],
    *,
    dtype: str = "float32",
    channels_last: bool = False,
    nodata: float | None = None,
    counts: NDArray[np.int64] | None = None,
) -> None:
    """Write one view of one timestamp into `out`. Releases the GIL; keeps no state.

    Args:
        source: ``[C, H, W]`` C-contiguous; int16, uint8, float16 and float32 are read as they are.
        params, view, scaling, keep: as `fastload_kernels.reference.apply`.
        out: ``[C, h, w]``, or ``[h, w, C]`` with `channels_last`; C-contiguous, float32 for
            `dtype` "float32", else uint16 that receives the bits.
        nodata: pixel value that means nothing was seen, for the counts.
        counts: int64 ``[3]``; `fastload_kernels.reference.count` is added to it.

    Raises:
        ValueError: where shapes or dtypes do not fit each other.
    """
    C = source.shape[0]
    params, view, keep = scaling.seen(params, view, keep)
    h, w = view.shape
    expected = (h, w, C) if channels_last else (C, h, w)
    out_dtype = np.dtype(np.float32 if dtype == "float32" else np.uint16)
    if out.shape != expected or out.dtype != out_dtype or not out.flags.c_contiguous:
        raise ValueError(
            f"out must be C-contiguous {out_dtype} {expected}, got {out.dtype} {out.shape}"
        )
    if len(scaling.offset) != C:
        raise ValueError(f"scaling has {len(scaling.offset)} bands, source has {C}")
    patterns, floating, has_nodata = patterns_of(source.dtype, None if counts is None else nodata)
    readable, kept = _readable(source), np.ones(C, np.uint8) if keep is None else keep
    numbers = scaling.offset, scaling.scale, scaling.low, scaling.high
    how = (h, w), TAPS[view.interpolation], kept, channels_last, dtype == "bfloat16"
    passes = scaling.labels and scaling.fill is None
    tally = _NO_COUNTS if counts is None else counts
    bits = unsigned(source)
    if view.steps != "fused":
        _counted(bits, patterns, floating, has_nodata, params, how, tally)
        _stepwise(readable, params, view, scaling, how, out)
        return
    if not _finite(
        readable, params, numbers, how, out, bits, patterns, floating, has_nodata, passes, tally
    ):
        _mended(readable, params, numbers, scaling.substitutes(), how, out, NAN_BITS[dtype])


_NO_COUNTS = np.empty(0, np.int64)


def mask(
    source: NDArray[np.generic],
    params: np.void,
    view: View,
    scaling: Scaling,
    nodata: float | None,
    out: NDArray[np.bool_],
) -> None:
    """Write where the view shows what was seen into `out`, bool ``[h, w]``; the other arguments
    are those of `apply`, and `fastload_kernels.reference.valid` is the definition."""
    params, view, _ = scaling.seen(params, view, None)
    bits, found = unsigned(source), patterns_of(source.dtype, nodata)
    valid(bits, *found, params, TAPS[view.interpolation], out)


@_jit
def _counted(bits, patterns, floating, has_nodata, params, how, counts):  # type: ignore[no-untyped-def]
    """Only count."""
    flags = np.empty(bits.shape[0], np.uint8)
    if len(counts) and find(bits, patterns, floating, has_nodata, params.top, params.height, flags):
        count(bits, patterns, flags, params, how[0], how[1], how[2], counts)


def _stepwise(
    source: NDArray[Any], params: np.void, view: View, scaling: Scaling, how: Any, out: NDArray[Any]
) -> None:
    """As `apply`, by `stepwise`: the image as levels, then geometry and colours in their order."""
    (h, w), _, keep, channels_last, bfloat = how
    numbers = scaling.offset, scaling.scale, scaling.low, scaling.high
    levels, order = stepwise_cpu.numbers_of(view), stepwise_cpu.operations(view, params)
    rgb = np.array(scaling.rgb if view.colours == "rgb" else (), np.int64)
    box = tuple(int(params[name]) for name in ("top", "left", "height", "width"))
    if view.crop_last:
        box = (0, 0, *source.shape[1:])
    image = stepwise_cpu.started(source, box, numbers, scaling.substitutes(), levels)
    if view.crop_last:
        stepwise_cpu.coloured(image, params, order, levels, rgb)
    inner = without_colours(params)
    if not view.crop_last:
        inner["top"] = inner["left"] = 0
    shown, C = np.empty((len(image), h, w), np.float32), len(image)
    apply(image, inner, geometry(view), Scaling.make(0, 1, bands=C), None, shown)
    stepwise_cpu.settle(shown, levels)
    if not view.crop_last:
        stepwise_cpu.coloured(shown, params, order, levels, rgb)
    stepwise_cpu.store(shown, keep, levels[0], channels_last, bfloat, out)


@_jit
def _finite(  # type: ignore[no-untyped-def]
    source, params, scaling, how, out, bits, patterns, floating, has_nodata, passes, counts
):
    """Make the view, unless the crop has to be mended before; whether it was made."""
    flags = np.empty(source.shape[0], np.uint8)
    if find(bits, patterns, floating, has_nodata, params.top, params.height, flags):
        if len(counts):
            count(bits, patterns, flags, params, how[0], how[1], how[2], counts)
        if not passes and (flags & NOT_FINITE).any():
            return False
    _view(source, params, scaling, how, np.empty(0, np.float32), out)
    return True


def _mended(
    source: NDArray[Any],
    params: np.void,
    scaling: tuple[NDArray[np.float32], ...],
    substitutes: tuple[NDArray[np.float32], ...],
    how: Any,
    out: NDArray[Any],
    nan: Any,
) -> None:
    """As `apply`, for a crop that holds NaN or infinity."""
    size, K, keep, channels_last, _ = how
    crop, bad = mended(source, params, scaling, substitutes)
    spoilt = bad.any()
    some = np.empty(0, np.float32)
    if spoilt and params["contrast"] != 1:
        some = means(crop, bad, size, K)
    C = len(crop)
    as_it_is = [np.full(C, x, np.float32) for x in (0, 1, -np.inf, np.inf)]
    inner = params.copy()
    inner["top"] = inner["left"] = 0
    _view(crop, inner, tuple(as_it_is), how, some, out)
    if spoilt:
        mark(spread(bad, size, K, params), keep, channels_last, nan, out)


def _readable(source: NDArray[np.generic]) -> NDArray[Any]:
    """Half floats travel as their bits in uint16, so true uint16 pixels widen to int32."""
    if source.dtype == np.float16:
        return source.view(np.uint16)
    if source.dtype == np.uint16:
        return source.astype(np.int32)
    return source


@_jit
def _view(source, params, scaling, how, means, out):  # type: ignore[no-untyped-def]
    """Of finite pixels; `means` are those of the bands where contrast is not to take its own."""
    size, K, keep, channels_last, bfloat = how
    C = source.shape[0]
    h, w = size
    transpose = params.transpose != 0
    # A transpose comes before the flips, so the rows and columns of the plane swap theirs.
    flip_rows = params.flip_x if transpose else params.flip_y
    flip_columns = params.flip_y if transpose else params.flip_x
    half = gaussian(params.sigma)
    kernel = np.concatenate((half[:0:-1], half)).astype(np.float32)
    first, row_weight, row_total = rows(params.height, h, K, flip_rows, half)
    wide_index, wide_weight = taps(params.width, w, K, flip_columns)
    index = wide_index.astype(np.uint32)
    column_weight = aligned(wide_weight.size).reshape(wide_weight.shape)
    column_weight[:] = wide_weight
    base, relative = near(wide_index)
    staged = transpose or channels_last
    contrast = params.contrast
    line = aligned(params.width + PADDING)
    line[:] = 0
    padded = aligned(w + len(kernel))
    kept = aligned(params.height * w).reshape(params.height, w)
    sums = np.empty(w, np.float32)
    finished = aligned(w)
    plane = np.empty((h if staged else 0, w), np.float32)
    line_at, kept_at = line.ctypes.data, kept.ctypes.data
    relative_at, weight_at = relative.ctypes.data, column_weight.ctypes.data
    row_weight_at, kernel_at = row_weight.ctypes.data, kernel.ctypes.data
    padded_at, plane_at, finished_at = padded.ctypes.data, plane.ctypes.data, finished.ctypes.data
    plain = params.width == w and params.height == h and len(kernel) == 1 and contrast == 1
    left, right = params.left, params.left + params.width
    for c in range(1 if params.gray else C):
        last = C if params.gray else c + 1
        if not params.gray and not keep[c]:
            _put_zero(out, c, channels_last)
            continue
        offset, scale = scaling[0][c], scaling[1][c]
        low, high = scaling[2][c], scaling[3][c]
        if plain:
            gain, bias = params.brightness, np.float32(0)
        else:
            sums[:] = 0
            for y in range(params.height):
                # Not a function of its own: so many arguments would cost as much as the row.
                if params.gray:
                    _mean_line(source, params.top + y, params.left, params.width, scaling, line)
                else:
                    _line(source[c, params.top + y, left:right], offset, scale, low, high, line)
                row = kept[y]
                if params.width == w:
                    copy(line, flip_columns, row)
                else:
                    at = kept_at + 4 * w * y
                    gather_near(line_at, base, relative_at, weight_at, index.shape[0], w, at)
                    if base.shape[0] * LANES < w:
                        gather(line, index, column_weight, row, base.shape[0] * LANES)
                if contrast != 1:
                    _add_scaled(sums, row_total[y], row)
                if len(kernel) > 1:
                    at = kept_at + 4 * w * y
                    _blur_row(row, at, kernel, kernel_at, padded, padded_at)
            gain, bias = params.brightness, np.float32(0)
            if contrast != 1:
                known = len(means) > 0
                mean = _mean_of(means[c:last]) if known else _mean_over(sums, h * w)
                gain, bias = _affine(mean, params.brightness, contrast)
        for y in range(h):
            row = plane[y] if staged else finished
            if plain:
                top = params.top + first[y]
                if params.gray:
                    _mean_line(source, top, params.left, params.width, scaling, line)
                else:
                    _line(source[c, top, left:right], offset, scale, low, high, line)
                copy(line, flip_columns, row)
                if gain != 1:
                    _scale(row, gain)
            else:
                if row_weight.shape[1] == 2:
                    o = first[y]
                    w0, w1 = gain * row_weight[y, 0], gain * row_weight[y, 1]
                    _lerp(kept[o], kept[o + 1], w0, w1, bias, row)
                else:
                    at = plane_at + 4 * w * y if staged else finished_at
                    _combine(
                        kept, kept_at, first, row_weight, row_weight_at, y, gain, bias, row, at
                    )
            if params.solarize == params.solarize:
                _solarize(row, params.solarize, params.solarize_dark)
            if not staged:
                for band in range(c, last):
                    store_row(row, out[band, y], bfloat)
        if staged:
            shown = transposed(plane) if transpose else plane
            for band in range(c, last):
                _put(shown, out, band, channels_last, bfloat)
        if params.gray:
            for band in range(C):
                if not keep[band]:
                    _put_zero(out, band, channels_last)


PADDING = 64
"""Floats behind a line that vector loads may touch."""


@_jit
def _line(pixels, offset, scale, low, high, line):  # type: ignore[no-untyped-def]
    """Radiometry of one band's row of the crop."""
    for x in range(pixels.shape[0]):
        # Selects instead of min and max: they compile to one instruction and let NaN through.
        v = (load(pixels[x]) - offset) * scale
        v = low if v < low else v
        line[x] = high if v > high else v


@_jit
def _mean_line(source, y, left, width, scaling, line):  # type: ignore[no-untyped-def]
    """Radiometry of one row of the crop, averaged over bands."""
    C = source.shape[0]
    line = line[:width]
    line[:] = 0
    share = np.float32(1) / np.float32(C)
    for c in range(C):
        offset, scale = scaling[0][c], scaling[1][c]
        low, high = scaling[2][c], scaling[3][c]
        pixels = source[c, y, left : left + width]
        for x in range(width):
            v = (load(pixels[x]) - offset) * scale
            v = low if v < low else v
            v = high if v > high else v
            line[x] += v * share


@_jit
def _add_scaled(sums, factor, row):  # type: ignore[no-untyped-def]
    for x in range(row.shape[0]):
        sums[x] += factor * row[x]


@_jit
def _scale(row, gain):  # type: ignore[no-untyped-def]
    for x in range(row.shape[0]):
        row[x] *= gain


@_jit
def _affine(mean, brightness, contrast):  # type: ignore[no-untyped-def]
    """Brightness and contrast as ``gain * y + bias``, where y has that mean."""
    return brightness * contrast, mean * brightness * (np.float32(1) - contrast)


@_jit
def _mean_over(sums, pixels):  # type: ignore[no-untyped-def]
    total = 0.0
    for x in range(sums.shape[0]):
        total += sums[x]
    return np.float32(total / pixels)


@_jit
def _mean_of(means):  # type: ignore[no-untyped-def]
    return _mean_over(means, means.shape[0])


@_jit
def _blur_row(row, row_at, kernel, kernel_at, padded, padded_at):  # type: ignore[no-untyped-def]
    """Blur a row in place: a sum of shifted copies of the row padded by reflection.

    Unsigned indices spare the loops the handling of negative ones.
    """
    n, K, r = row.shape[0], kernel.shape[0], kernel.shape[0] // 2
    w = U(n)
    for x in range(w):
        padded[U(r) + x] = row[x]
    for i in range(1, r + 1):
        padded[r - i] = row[fold(-i, n)]
        padded[r + n - 1 + i] = row[fold(n - 1 + i, n)]
    one, zero = np.float32(1), np.float32(0)
    for x in range(weighted(padded_at, 4, kernel_at, K, one, zero, row_at, n), n):
        total = zero
        for k in range(K):
            total += kernel[k] * padded[x + k]
        row[x] = total


@_jit
def _lerp(near, far, w0, w1, bias, row):  # type: ignore[no-untyped-def]
    """Output row of two kept rows, simple enough for the compiler."""
    for x in range(row.shape[0]):
        row[x] = w0 * near[x] + w1 * far[x] + bias


@_jit
def _combine(kept, kept_at, first, weight, weight_at, o, gain, bias, row, row_at):  # type: ignore[no-untyped-def]
    """Output row `o`: kept rows from ``first[o]`` on, weighted; then gain and bias."""
    K, w = weight.shape[1], row.shape[0]
    rows_at, weights_at = kept_at + 4 * w * first[o], weight_at + 4 * K * o
    for x in range(weighted(rows_at, 4 * w, weights_at, K, gain, bias, row_at, w), w):
        total = np.float32(0)
        for k in range(K):
            total += weight[o, k] * kept[first[o] + k, x]
        row[x] = gain * total + bias


@_jit
def _solarize(row, threshold, dark):  # type: ignore[no-untyped-def]
    one = np.float32(1)
    if dark:
        for x in range(row.shape[0]):
            row[x] = one - row[x] if row[x] < threshold else row[x]
    else:
        for x in range(row.shape[0]):
            row[x] = one - row[x] if row[x] >= threshold else row[x]


@_jit
def _put(plane, out, band, channels_last, bfloat):  # type: ignore[no-untyped-def]
    for y in range(plane.shape[0]):
        if channels_last:
            store_row(plane[y], out[y, :, band], bfloat)
        else:
            store_row(plane[y], out[band, y], bfloat)


@_jit
def _put_zero(out, band, channels_last):  # type: ignore[no-untyped-def]
    if channels_last:
        out[:, :, band] = 0
    else:
        out[band] = 0
