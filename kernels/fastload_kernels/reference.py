"""The definition of a view in NumPy float64: slow, obvious, and what all fast code is held to.

Pixels that are NaN or infinite on disk:

- With `Scaling.fill` they take that value right after the radiometry, and are pixels like others.
- Without it, the radiometry clips infinity to its limits; where it has none, infinity becomes NaN.
  So from here on a pixel is finite or NaN, except in labels, which pass as they are.
- NaN spreads to every output pixel that it is a tap of, whatever the weight, zero too: of the
  resampling, of the blur (its radius along both axes), and of gray (the mean over all bands).
- The mean that contrast turns about is over the view's pixels that are not NaN.
- Solarize leaves NaN. A dropped band is zero.
- No-data, as of `count`, is a number like any other, here and for `fill`.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fastload_kernels.resample import blur_radius, gaussian, reflect, taps
from fastload_kernels.view import Scaling, View

Plane = NDArray[np.float64]
T = TypeVar("T", bound=np.generic)


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
        scaling: radiometry of the C bands. Of labels only the geometry is obeyed, by nearest.
        keep: uint8 ``[C]``, 0 for a dropped band.

    Returns:
        ``[C, h, w]`` float64.
    """
    params, view, keep = scaling.seen(params, view, keep)
    if view.steps != "fused":
        from fastload_kernels import stepwise  # which is made of what stands below

        return stepwise.apply(source, params, view, scaling, keep)
    y = radiometry(source, scaling)
    top, left = params["top"], params["left"]
    y = y[:, top : top + params["height"], left : left + params["width"]]
    h, w = view.shape
    y = resample(y, h, w, view.interpolation)
    y = flips(y, params)
    y = y * float(params["brightness"])
    if params["contrast"] != 1:
        mean = mean_of_finite(y)
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
    """``clip((x - offset_c) * scale_c, low_c, high_c)``; then what is not finite, see above."""
    offset, scale, low, high = (
        field.astype(np.float64)[:, None, None]
        for field in (scaling.offset, scaling.scale, scaling.low, scaling.high)
    )
    x = source.astype(np.float64)
    y: Plane = np.clip((x - offset) * scale, low, high)
    if scaling.fill is not None:
        return np.where(np.isfinite(x), y, scaling.fill)
    return y if scaling.labels else np.where(np.isinf(y), np.nan, y)


def resample(y: Plane, h: int, w: int, interpolation: str) -> Plane:
    """Resample ``[C, H, W]`` to ``[C, h, w]``, rows first, then columns."""
    index, weight = taps(y.shape[1], h, interpolation)
    y = np.einsum("cokw,ok->cow", y[:, index, :], weight)
    index, weight = taps(y.shape[2], w, interpolation)
    resampled: Plane = np.einsum("chok,ok->cho", y[:, :, index], weight)
    return resampled


def mean_of_finite(y: Plane) -> Plane:
    """Mean ``[C, 1, 1]`` of each band over what is not NaN; 0 where nothing is."""
    finite = ~np.isnan(y)
    total: Plane = np.where(finite, y, 0).sum(axis=(1, 2), keepdims=True)
    return np.asarray(total / np.maximum(finite.sum(axis=(1, 2), keepdims=True), 1))


def flips(y: NDArray[T], params: np.void) -> NDArray[T]:
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
    near = nearest(source, params, view)
    if keep is not None and not params["gray"]:
        near = near[keep != 0]
    missing = 0 if nodata is None else int(_equal(near, nodata).sum())
    return np.array([np.isnan(near).sum(), np.isinf(near).sum(), missing], np.int64)


def valid(
    source: NDArray[np.generic], params: np.void, view: View, nodata: float | None = None
) -> NDArray[np.bool_]:
    """Where a view shows what was seen: bool ``[h, w]``, turned and flipped as the view.

    True where in every band, dropped ones too, the nearest source pixel is finite and not `nodata`.
    Arguments as of `count`.
    """
    near = nearest(source, params, view)
    seen: NDArray[np.bool_] = np.isfinite(near)
    if nodata is not None:
        seen &= ~_equal(near, nodata)
    every: NDArray[np.bool_] = np.asarray(seen.all(axis=0))
    return np.asarray(flips(every[None], params)[0])


def _equal(near: NDArray[np.generic], nodata: float) -> NDArray[np.bool_]:
    """Which pixels are `nodata`, as float32 has it."""
    return np.asarray(near.astype(np.float32) == np.float32(nodata))


def nearest(source: NDArray[np.generic], params: np.void, view: View) -> NDArray[np.generic]:
    """The source pixels ``[C, h, w]`` nearest to each output pixel, before flips and turns."""
    at = []
    for start, n_in, n_out in zip(
        (params["top"], params["left"]), (params["height"], params["width"]), view.shape,
        strict=True,
    ):  # fmt: skip
        index, weight = taps(int(n_in), n_out, view.interpolation)
        at.append(start + index[np.arange(n_out), weight.argmax(axis=1)])
    return np.asarray(source[:, at[0][:, None], at[1]])
