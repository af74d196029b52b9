"""The view operation in Numba: one pass per band from the pixels on disk to the stored view.

How it is fast (`kernels.reference` says what it means):

- Up to solarize everything after the clip is linear, so the order is free. Each source row of the
  crop is converted, clipped and resampled horizontally once, then kept.
- Brightness and contrast become one multiply-add at the store. The mean that contrast needs falls
  out of the kept rows: it is their weighted sum.
- A gray view averages the bands' clipped source rows and carries on with a single plane.
- Blur runs along the finished row, and vertically inside the resampling weights.
- Flips reverse the tap tables. A transpose is done while storing.
"""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from kernels.half import load, store_row
from kernels.lanes import gather
from kernels.resample import gaussian, reflect, taps
from kernels.view import Scaling, View

_jit = numba.njit(nogil=True, cache=True, fastmath={"contract"}, error_model="numpy")

F32 = np.float32


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
) -> None:
    """Write one view of one timestamp into `out`. Releases the GIL; keeps no state.

    Args:
        source: ``[C, H, W]`` C-contiguous; int16, uint8, float16 and float32 are read as they are.
        params, view, scaling, keep: as `kernels.reference.apply`.
        out: ``[C, h, w]``, or ``[h, w, C]`` with `channels_last`; C-contiguous, float32 for
            `dtype` "float32", else uint16 that receives the bits.

    Raises:
        ValueError: where shapes or dtypes do not fit each other.
    """
    C = source.shape[0]
    h, w = view.shape
    expected = (h, w, C) if channels_last else (C, h, w)
    out_dtype = np.dtype(np.float32 if dtype == "float32" else np.uint16)
    if out.shape != expected or out.dtype != out_dtype or not out.flags.c_contiguous:
        raise ValueError(
            f"out must be C-contiguous {out_dtype} {expected}, got {out.dtype} {out.shape}"
        )
    if len(scaling.offset) != C:
        raise ValueError(f"scaling has {len(scaling.offset)} bands, source has {C}")
    transpose = bool(params["transpose"])
    flip_rows, flip_columns = bool(params["flip_y"]), bool(params["flip_x"])
    if transpose:
        flip_rows, flip_columns = flip_columns, flip_rows
    sigma = float(params["sigma"])
    columns = _columns(int(params["width"]), w, view.interpolation, flip_columns)
    rows = _rows(int(params["height"]), h, view.interpolation, flip_rows, sigma)
    _view(
        _readable(source),
        (int(params["top"]), int(params["left"]), int(params["height"]), int(params["width"])),
        (scaling.offset, scaling.scale, scaling.low, scaling.high),
        *columns,
        *rows,
        gaussian(sigma).astype(F32),
        (F32(params["brightness"]), F32(params["contrast"]), F32(params["solarize"])),
        (bool(params["gray"]), transpose, bool(params["solarize_dark"])),
        np.ones(C, np.uint8) if keep is None else keep,
        channels_last,
        dtype == "bfloat16",
        out,
    )


def _readable(source: NDArray[np.generic]) -> NDArray[Any]:
    """Half floats travel as their bits in uint16, so true uint16 pixels widen to int32."""
    if source.dtype == np.float16:
        return source.view(np.uint16)
    if source.dtype == np.uint16:
        return source.astype(np.int32)
    return source


def _columns(n_in: int, n_out: int, interpolation: str, flip: bool) -> tuple[Any, Any]:
    """Horizontal taps: index uint32 and weight float32, each ``[K, w]``."""
    index, weight = taps(n_in, n_out, interpolation)
    if flip:
        index, weight = index[::-1], weight[::-1]
    return np.ascontiguousarray(index.T, np.uint32), np.ascontiguousarray(weight.T, F32)


def _rows(
    n_in: int, n_out: int, interpolation: str, flip: bool, sigma: float
) -> tuple[Any, Any, Any]:
    """Vertical weights with the blur inside.

    Returns:
        first: uint32 ``[h]``, the first kept row that an output row needs.
        weight: float32 ``[h, K]``, over K kept rows from there.
        total: float32 ``[n_in]``, what each kept row adds to the view's sum, before the blur.
    """
    index, weight = taps(n_in, n_out, interpolation)
    if flip:
        index, weight = index[::-1], weight[::-1]
    total = np.bincount(index.ravel(), weight.ravel(), minlength=n_in).astype(F32)
    if sigma > 0:
        g = gaussian(sigma)
        around = reflect(np.arange(n_out)[:, None] + np.arange(len(g)) - len(g) // 2, n_out)
        index = index[around].reshape(n_out, -1)
        weight = (g[:, None] * weight[around]).reshape(n_out, -1)
    first = index.min(axis=1)
    K = int((index.max(axis=1) - first).max()) + 1
    first = np.minimum(first, n_in - K)
    dense = np.zeros((n_out, K))
    np.add.at(dense, (np.arange(n_out)[:, None], index - first[:, None]), weight)
    return first.astype(np.uint32), dense.astype(F32), total


@_jit
def _view(  # type: ignore[no-untyped-def]
    source, box, scaling, column_index, column_weight, row_first, row_weight, row_total,
    kernel, tone, flags, keep, channels_last, bfloat, out,
):  # fmt: skip
    C = source.shape[0]
    top, left, height, width = box
    brightness, contrast, threshold = tone
    gray, transpose, dark = flags
    h, w = row_first.shape[0], column_index.shape[1]
    radius = kernel.shape[0] // 2
    staged = transpose or channels_last
    line = np.zeros(width + PADDING, np.float32)
    padded = np.empty(w + 2 * radius, np.float32)
    kept = np.empty((height, w), np.float32)
    sums = np.empty(w, np.float32)
    finished = np.empty(w, np.float32)
    plane = np.empty((h if staged else 0, w), np.float32)
    for c in range(1 if gray else C):
        last = C if gray else c + 1
        if not gray and not keep[c]:
            _put_zero(out, c, channels_last)
            continue
        sums[:] = 0
        for y in range(height):
            if gray:
                _mean_line(source, top + y, left, width, scaling, line)
            else:
                _line(source[c, top + y], left, width, scaling, c, line)
            row = kept[y]
            gather(line, column_index, column_weight, row)
            if contrast != 1:
                _add_scaled(sums, row_total[y], row)
            if radius > 0:
                _blur_row(row, kernel, padded)
        gain, bias = _affine(sums, h * w, brightness, contrast)
        for y in range(h):
            row = plane[y] if staged else finished
            _combine(kept, row_first[y], row_weight[y], gain, bias, row)
            if threshold == threshold:
                _solarize(row, threshold, dark)
            if not staged:
                for band in range(c, last):
                    store_row(row, out[band, y], bfloat)
        if staged:
            if transpose:
                plane = _transposed(plane)
            for band in range(c, last):
                _put(plane, out, band, channels_last, bfloat)
        if gray:
            for band in range(C):
                if not keep[band]:
                    _put_zero(out, band, channels_last)


PADDING = 64
"""Floats behind a line that vector loads may touch."""


@_jit
def _line(pixels, left, width, scaling, c, line):  # type: ignore[no-untyped-def]
    """Radiometry of one band's row of the crop."""
    offset, scale = scaling[0][c], scaling[1][c]
    low, high = scaling[2][c], scaling[3][c]
    pixels = pixels[left : left + width]
    line = line[:width]
    for x in range(width):
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
def _affine(sums, pixels, brightness, contrast):  # type: ignore[no-untyped-def]
    """Brightness and contrast as ``gain * y + bias``, where the mean of y is sums over pixels."""
    if contrast == 1:
        return brightness, np.float32(0)
    total = 0.0
    for x in range(sums.shape[0]):
        total += sums[x]
    mean = np.float32(total / pixels) * brightness
    return brightness * contrast, mean * (np.float32(1) - contrast)


@_jit
def _blur_row(row, kernel, padded):  # type: ignore[no-untyped-def]
    """Blur a row in place: a sum of shifted copies of the row padded by reflection."""
    w, r = row.shape[0], kernel.shape[0] // 2
    period = max(2 * (w - 1), 1)
    for i in range(r):
        a, b = (r - i) % period, (w + i) % period
        padded[i] = row[min(a, period - a) if w > 1 else 0]
        padded[r + w + i] = row[min(b, period - b) if w > 1 else 0]
    padded[r : r + w] = row
    middle = padded[r : r + w]
    for x in range(w):
        row[x] = kernel[r] * middle[x]
    for k in range(1, r + 1):
        before, after, weight = padded[r - k : r - k + w], padded[r + k : r + k + w], kernel[r + k]
        for x in range(w):
            row[x] += weight * (before[x] + after[x])


@_jit
def _combine(kept, first, weight, gain, bias, row):  # type: ignore[no-untyped-def]
    """One output row: kept rows from `first` on, weighted; then gain and bias."""
    K, w = weight.shape[0], row.shape[0]
    if K == 1:
        a, w0 = kept[first], gain * weight[0]
        for x in range(w):
            row[x] = w0 * a[x] + bias
        return
    a, b, w0, w1 = kept[first], kept[first + 1], gain * weight[0], gain * weight[1]
    for x in range(w):
        row[x] = w0 * a[x] + w1 * b[x] + bias
    k = 2
    while k + 3 < K:
        a, b, c, d = kept[first + k], kept[first + k + 1], kept[first + k + 2], kept[first + k + 3]
        w0, w1, w2, w3 = gain * weight[k], gain * weight[k + 1], gain * weight[k + 2], gain * weight[k + 3]
        for x in range(w):
            row[x] += w0 * a[x] + w1 * b[x] + w2 * c[x] + w3 * d[x]
        k += 4
    while k < K:
        a, w0 = kept[first + k], gain * weight[k]
        for x in range(w):
            row[x] += w0 * a[x]
        k += 1


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
def _transposed(plane):  # type: ignore[no-untyped-def]
    """Transpose in blocks that fit the cache."""
    n, m = plane.shape
    out = np.empty((m, n), np.float32)
    for y0 in range(0, n, 16):
        for x0 in range(0, m, 16):
            for x in range(x0, min(x0 + 16, m)):
                for y in range(y0, min(y0 + 16, n)):
                    out[x, y] = plane[y, x]
    return out


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
