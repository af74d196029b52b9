"""The MoCo-v2 view by DALI's own CPU operators, in one pipeline with as many threads as workers.

All of the view is DALI: random crop window, slice and clip of the integers, then one affine warp
that resamples and flips, tone by its fused arithmetic, Gaussian blur. Conditionals skip, per
sample, what the dice do not ask for. What it cannot do: `brightness_contrast` has one centre for
all bands, so the contrast about each band's mean and gray are its reductions and arithmetic; no
operator averages bands in place; and nothing is fused beyond an arithmetic expression, so each
operator writes a whole float image.

The warp (bilinear, channels last) costs a third less than `fn.resize` and `fn.flip`, transpose
included, and the images leave as they are, bands last in memory, seen as ``[B, C, h, w]``.
"""

from collections.abc import Callable
from itertools import cycle, islice
from typing import Any

import numpy as np
import torch.utils.dlpack
from nvidia import dali
from torch import Tensor

from benchmarks.measure import Stream

fn: Any = dali.fn
math: Any = dali.math
types: Any = dali.types
pipeline_def: Any = dali.pipeline.pipeline_def


def view(x: Any, size: int) -> Any:
    """Operators that make the view ``[size, size, C]`` of int16 ``[C, H, W]``, for a pipeline with
    conditionals."""
    x, matrix = _crop(x, size)
    x = fn.transpose(_clip(x), perm=(1, 2, 0))
    x = fn.warp_affine(
        x, matrix, size=(size, size), dtype=types.FLOAT, inverse_map=True,
        interp_type=types.DALIInterpType.INTERP_LINEAR,
    )  # fmt: skip
    if _chance(0.8):
        brightness, contrast = _factor(), _factor()
        mean = fn.reductions.mean(x, axes=(0, 1), keep_dims=True)
        x = x * (1e-4 * brightness * contrast) + mean * (1e-4 * brightness * (1 - contrast))
    else:
        x = x * 1e-4
    if _chance(0.2):
        x = fn.reductions.mean(x, axes=2, keep_dims=True) + x * 0.0
    x = fn.reshape(x, layout="HWC")
    if _chance(0.5):
        x = fn.gaussian_blur(x, sigma=fn.random.uniform(range=(0.1, 2.0)))
    return x


def _pipeline(read: Callable[[], Any], size: int, **options: Any) -> Any:
    @pipeline_def(enable_conditionals=True, **options)  # type: ignore[untyped-decorator]
    def views() -> Any:
        return view(fn.external_source(read, layout="CHW", no_copy=True), size)

    return views()


def _chance(probability: float) -> Any:
    return fn.random.coin_flip(probability=probability, dtype=types.BOOL)


def _factor() -> Any:
    return fn.random.uniform(range=(0.6, 1.4))


def _clip(x: Any) -> Any:
    """Reflectance 0 to 1 in the integers' unit; constants of int16 keep the result int16."""
    return math.clamp(x, types.Constant(np.int16(0)), types.Constant(np.int16(10000)))


def _crop(x: Any, size: int) -> Any:
    """A random crop, and the matrix from output pixels to its pixels, flipped half of the time."""
    H, W = (fn.cast(x.shape()[axis], dtype=types.INT32) for axis in (1, 2))
    anchor, shape = fn.random_crop_generator(
        fn.stack(H, W), random_area=(0.2, 1.0), random_aspect_ratio=(3 / 4, 4 / 3)
    )
    h, w = (fn.cast(shape[axis], dtype=types.FLOAT) for axis in (0, 1))
    flip = fn.cast(fn.random.coin_flip(probability=0.5), dtype=types.FLOAT)
    matrix = fn.transforms.scale(scale=fn.stack(w * (1 - 2 * flip) / size, h / size))
    matrix = fn.transforms.translation(matrix, offset=fn.stack(w * flip, h * 0))
    return fn.slice(x, anchor, shape, axes=(1, 2)), matrix


def stream(source: Tensor, batch: int, workers: int, size: int) -> Stream:
    """Endless batches float32 ``[B, C, size, size]``, without a copy out of DALI."""
    order = cycle(source.numpy())
    pipeline = _pipeline(
        lambda: list(islice(order, batch)),
        size,
        batch_size=batch,
        num_threads=workers,
        device_id=None,
        prefetch_queue_depth=2,
        seed=0,
    )
    while True:
        (views,) = pipeline.run()
        yield torch.utils.dlpack.from_dlpack(views.as_tensor()).permute(0, 3, 1, 2)
