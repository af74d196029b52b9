"""Drawing view parameters on the device, bit-identical with `fastload_kernels.draw`."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastload_kernels.cuda.launch import Device, HasPointer
from fastload_kernels.view import View, central_box, draw

_REAL = (
    *("scale_low", "scale_span", "ratio_low", "ratio_span"),
    *("hflip", "vflip", "d4", "jitter", "brightness", "contrast"),
    *("gray", "blur", "sigma_low", "sigma_span", "solarize", "solarize_threshold", "drop"),
    *("saturation", "hue"),
)
_WHOLE = (
    *("policy", "timestamp", "crop", "height", "width"),
    *("solarize_dark", "fewest", "most", "rgb"),
)
RULE = np.dtype([(name, "<f8") for name in _REAL] + [(name, "<i8") for name in _WHOLE])
"""A `View` as the numbers that `draw.cu` needs."""

_POLICIES = ("independent", "same", "distinct", "as_first", "fixed")
_CROPS = ("plain", "center", "log", "uniform")
_BLOCK = 128


def rules(views: Sequence[View], height: int, width: int, timestamps: int) -> NDArray[np.void]:
    """What `draw_on` reads: ``[V]`` records of `RULE`, to be uploaded once for many draws.

    Args:
        views: the V descriptions.
        height, width: source size in pixels.
        timestamps: how many timestamps each sample has; where some have fewer, the fewest.

    Raises:
        ValueError: as `fastload_kernels.draw`.
    """
    draw(views, 0, 0, np.empty(0, np.int64), height, width, timestamps)
    table = np.zeros(len(views), RULE)
    distinct = 0
    for rule, view in zip(table, views, strict=True):
        for name in ("hflip", "vflip", "d4", "jitter", "brightness", "contrast", "gray", "blur"):
            rule[name] = getattr(view, name)
        for name in ("solarize", "solarize_threshold", "solarize_dark", "drop"):
            rule[name] = getattr(view, name)
        rule["saturation"], rule["hue"] = view.saturation, view.hue
        rule["rgb"] = view.colours == "rgb"
        rule["sigma_low"], rule["sigma_span"] = view.sigma[0], view.sigma[1] - view.sigma[0]
        rule["fewest"], rule["most"] = view.drop_bands
        rule["policy"], rule["timestamp"] = _timestamp(view, distinct)
        distinct += view.timestamp == "distinct"
        _crop(rule, view, height, width)
    return table


def _timestamp(view: View, distinct: int) -> tuple[int, int]:
    if view.timestamp == "all":
        return _POLICIES.index("fixed"), -1
    if isinstance(view.timestamp, int):
        return _POLICIES.index("fixed"), view.timestamp
    return _POLICIES.index(view.timestamp), distinct


def _crop(rule: np.void, view: View, H: int, W: int) -> None:
    if view.scale is None:
        rule["crop"] = _CROPS.index("center" if view.center else "plain")
        rule["height"], rule["width"] = view.shape
        return
    rule["crop"] = _CROPS.index("center" if view.center else view.ratio_law)
    rule["height"], rule["width"] = (H, W) if view.center else central_box(view.ratio, H, W)
    rule["scale_low"], rule["scale_span"] = view.scale[0], view.scale[1] - view.scale[0]
    low, high = view.ratio
    if view.ratio_law == "log":
        low, high = float(np.log(low)), float(np.log(high))
    rule["ratio_low"], rule["ratio_span"] = low, high - low


def draw_on(
    device: Device,
    rules: HasPointer,
    shape: tuple[int, int],
    seed: int,
    epoch: int,
    ids: HasPointer,
    source: tuple[int, int, int],
    params: HasPointer,
    dates: int | HasPointer = 0,
) -> None:
    """Draw the parameters of every view of every sample; enqueued, not waited for.

    Args:
        device: where to.
        rules: `rules` of the views, on the device.
        shape: (N, V).
        seed, epoch: see `fastload_kernels.philox.words`.
        ids: int64 sample ids ``[N]`` on the device, each below 2**32.
        source: (timestamps, height, width) of the samples.
        params: receives ``[N, V]`` records of `VIEW_PARAMS`, on the device.
        dates: int32 ``[N]`` on the device, how many of the timestamps each sample has, the first
            ones; 0 where each has all.
    """
    records = math.prod(shape)
    args = [rules, ids, dates, params, records, shape[1], seed, epoch, *source]
    device.launch("draw.cu", "draw", -(-records // _BLOCK), _BLOCK, args)


def draw_bands_on(
    device: Device,
    rules: HasPointer,
    shape: tuple[int, int],
    seed: int,
    epoch: int,
    ids: HasPointer,
    bands: int,
    keep: HasPointer,
) -> None:
    """Draw which bands every view keeps, as `draw_bands`; enqueued, not waited for.

    Args:
        device, rules, shape, seed, epoch, ids: as `draw_on`.
        bands: C.
        keep: receives uint8 ``[N, V, C]``, on the device.
    """
    flags = math.prod(shape) * bands
    args = [rules, ids, keep, flags, shape[1], seed, epoch, bands]
    device.launch("draw.cu", "draw_bands", -(-flags // _BLOCK), _BLOCK, args)
