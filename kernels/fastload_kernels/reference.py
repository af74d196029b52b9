"""The definition of a view in NumPy float64: slow, obvious, and what all fast code is held to."""

import numpy as np
from numpy.typing import NDArray

from fastload_kernels.resample import blur_radius, gaussian, reflect, taps
from fastload_kernels.view import Scaling, View

Plane = NDArray[np.float64]


def apply(
    source: NDArray[np.generic],
    params: np.void,
    view: View,
    scaling: Scaling,
    keep: NDArray[np.uint8] | None = None,
) -> NDArray[np.float64]:
    """Make one view of one timestamp.

    Args:
        source: ``[C, H, W]`` pixels in the units on disk, any real dtype.
        params: one `VIEW_PARAMS` record.
        view: gives output size and interpolation; everything drawn is in `params`.
        scaling: radiometry of the C bands.
        keep: uint8 ``[C]``, 0 for a dropped band.

    Returns:
        ``[C, h, w]`` float64.
    """
    y = radiometry(source, scaling)
    top, left = params["top"], params["left"]
    y = y[:, top : top + params["height"], left : left + params["width"]]
    h, w = view.shape
    y = resample(y, h, w, view.interpolation)
    y = flips(y, params)
    y = y * float(params["brightness"])
    if params["contrast"] != 1:
        mean = y.mean(axis=(1, 2), keepdims=True)
        y = (y - mean) * float(params["contrast"]) + mean
    if params["gray"]:
        y = np.broadcast_to(y.mean(axis=0), y.shape)
    if params["sigma"] > 0:
        y = blur(y, float(params["sigma"]))
    y = solarize(y, float(params["solarize"]), bool(params["solarize_dark"]))
    if keep is not None:
        y = np.where(keep[:, None, None] != 0, y, 0)
    return y


def radiometry(source: NDArray[np.generic], scaling: Scaling) -> NDArray[np.float64]:
    """``clip((x - offset_c) * scale_c, low_c, high_c)``; NaN stays NaN."""
    offset, scale, low, high = (
        field.astype(np.float64)[:, None, None]
        for field in (scaling.offset, scaling.scale, scaling.low, scaling.high)
    )
    y: Plane = np.clip((source.astype(np.float64) - offset) * scale, low, high)
    return y


def resample(y: Plane, h: int, w: int, interpolation: str) -> Plane:
    """Resample ``[C, H, W]`` to ``[C, h, w]``, rows first, then columns."""
    index, weight = taps(y.shape[1], h, interpolation)
    y = np.einsum("cokw,ok->cow", y[:, index, :], weight)
    index, weight = taps(y.shape[2], w, interpolation)
    resampled: Plane = np.einsum("chok,ok->cho", y[:, :, index], weight)
    return resampled


def flips(y: Plane, params: np.void) -> Plane:
    """The element of the square's symmetry group: transpose, then flips."""
    if params["transpose"]:
        y = y.transpose(0, 2, 1)
    if params["flip_y"]:
        y = y[:, ::-1]
    if params["flip_x"]:
        y = y[:, :, ::-1]
    return y


def blur(y: Plane, sigma: float) -> Plane:
    """Separable Gaussian with reflected borders."""
    g, r = gaussian(sigma), blur_radius(sigma)
    for axis in (1, 2):
        n = y.shape[axis]
        index = reflect(np.arange(n)[:, None] + np.arange(-r, r + 1), n)
        y = np.moveaxis(np.moveaxis(y, axis, -1)[..., index] @ g, -1, axis)
    return y


def solarize(y: Plane, threshold: float, dark: bool) -> Plane:
    """``1 - y`` where y is below the threshold (`dark`), or at and above it."""
    if np.isnan(threshold):
        return y
    return np.where(y < threshold if dark else y >= threshold, 1 - y, y)


def count(
    source: NDArray[np.generic],
    params: np.void,
    view: View,
    keep: NDArray[np.uint8] | None = None,
    nodata: float | None = None,
) -> NDArray[np.int64]:
    """Count the output pixels whose nearest source pixel is NaN, infinite, or `nodata`.

    Nearest is, along each axis, the tap with the largest weight; the first of equals.

    Args:
        source, params, view, keep: as `apply`. Dropped bands do not count, except in a gray view,
            which is made of all bands.
        nodata: pixel value that means nothing was seen; None for none.

    Returns:
        int64 ``[3]``: how many, over all bands.
    """
    h, w = view.shape
    at = []
    for start, n_in, n_out in (
        (params["top"], params["height"], h),
        (params["left"], params["width"], w),
    ):
        index, weight = taps(int(n_in), n_out, view.interpolation)
        at.append(start + index[np.arange(n_out), weight.argmax(axis=1)])
    near = source[:, at[0][:, None], at[1]]
    if keep is not None and not params["gray"]:
        near = near[keep != 0]
    missing = 0 if nodata is None else int((near == nodata).sum())
    return np.array([np.isnan(near).sum(), np.isinf(near).sum(), missing], np.int64)
