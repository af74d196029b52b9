"""Bands of other sizes brought to one grid: bilinear as the published reader of SSL4EO-S12 v1.0 has
it, or nearest.

Both have half-pixel centres: the pixel ``i`` of ``n`` lies at ``(i + 1/2) / n`` of the image.
Bilinear is that of OpenCV's INTER_LINEAR_EXACT, edges clamped, no filter before where an image is
made smaller; nearest is GDAL's default when it reads into another size.

OpenCV computes INTER_LINEAR_EXACT in fixed point, with weights rounded to 1/256 for uint8 and to
1/65536 for 16 bits; here it is float64, rounded at the end, halves up. The greatest difference on
real Sentinel-2 pixels is 1 grey level in uint8, and in 16 bits as well (where OpenCV's weights,
such as 1/12, are no multiples of 1/65536); see `tests/fastload/test_resample.py`.
"""

from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastload_kernels.compiled import jit

Resampling = Literal["bilinear", "nearest"]
RULES = ("bilinear", "nearest")
Line = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]


def resample(image: NDArray[Any], out: NDArray[Any], rule: Resampling) -> None:
    """Bring a band to the size of `out`.

    Args:
        image: ``[h, w]``, any number's dtype.
        out: ``[H, W]`` of the same dtype; receives the pixels. An image of that size is copied.
        rule: one of `RULES`. Not-a-number reaches every pixel that it has a share in.
    """
    if image.shape == out.shape:
        out[...] = image
    elif rule == "nearest":
        rows, columns = (_nearest(n, m) for n, m in zip(image.shape, out.shape, strict=True))
        np.take(image[rows], columns, 1, out, "clip")
    else:
        rows_, columns_ = (_line(n, m) for n, m in zip(image.shape, out.shape, strict=True))
        found = np.empty(out.shape)
        _bilinear(image.astype(np.float64), found, *rows_, *columns_)
        whole = np.issubdtype(out.dtype, np.integer)
        out[...] = np.floor(np.add(found, 0.5, found), found) if whole else found


@lru_cache(64)
def _nearest(n: int, m: int) -> NDArray[np.int64]:
    return ((2 * np.arange(m) + 1) * n) // (2 * m)


@lru_cache(64)
def _line(n: int, m: int) -> Line:
    """For each of m places the two of n pixels around it ``[m]``, and the share of the second."""
    at = np.clip((np.arange(m) + 0.5) * (n / m) - 0.5, 0, n - 1)
    first = np.minimum(np.floor(at).astype(np.int64), n - 1)
    return first, np.minimum(first + 1, n - 1), at - first


@jit(error_model="numpy")
def _bilinear(image, out, y0, y1, fy, x0, x1, fx):  # type: ignore[no-untyped-def]
    """Rows first, then columns, float64; a pixel without a share is not looked at."""
    row = np.empty(image.shape[1])
    for y in range(len(y0)):
        for x in range(len(row)):
            a, b = image[y0[y], x], image[y1[y], x]
            row[x] = a if fy[y] == 0 or a == b else a + (b - a) * fy[y]
        for x in range(len(x0)):
            a, b = row[x0[x]], row[x1[x]]
            out[y, x] = a if fx[x] == 0 or a == b else a + (b - a) * fx[x]
