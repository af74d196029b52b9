"""The reading path that SSL4EO-S12 v1.1 publishes: webdataset, zarr 2.18 and albumentations.

Source of the behaviour: `ssl4eos12_dataset.py` and the README of DLR-MF-DAS/SSL4EO-S12-v1.1, as of
February 2026. A sample is a zip in memory, opened through fsspec; zarr decodes all timestamps; the
README's transform standardises the whole images in float64, then crops and turns them. Batches are
made by webdataset inside the workers; the loader prefetches one batch a worker.

`lean` is the same job from the same parts by a careful user: crop and turn int16 first, then
standardise the crop in float32. The published path gives float64, this one float32.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import albumentations
import numpy as np
import webdataset
from albumentations.pytorch import ToTensorV2
from numpy.typing import NDArray

from benchmarks import workers as torch_workers
from benchmarks.data import Shards, read_zip
from benchmarks.measure import Stream

Array = NDArray[Any]
Transform = Callable[[dict[str, Any]], dict[str, Any]]


def decode(key: str, value: bytes) -> Array | None:
    """Decode a `.zarr.zip` for webdataset; None leaves other members as they are."""
    return read_zip(value) if key.endswith("zarr.zip") else None


def channels_last(image: Array, **_: Any) -> Array:
    """``[T, C, H, W]`` to ``[T, H, W, C]``, a view."""
    return image.transpose(0, 2, 3, 1)


def standardise(image: Array, mean: Array, std: Array, **_: Any) -> Array:
    """``(x - mean) / std`` along the last axis, in the dtype of `mean`."""
    result: Array = (image - mean) / std
    return result


def fold_time(image: Array, **_: Any) -> Array:
    """``[T, H, W, C]`` to ``[H, W, T C]``, so that one crop serves all timestamps."""
    T, H, W, C = image.shape
    return image.transpose(1, 2, 0, 3).reshape(H, W, T * C)


def unfold_time(image: Any, timestamps: int, **_: Any) -> Any:
    """Tensor ``[T C, h, w]`` to ``[T, C, h, w]``."""
    return image.reshape(timestamps, -1, *image.shape[1:])


def published_transform(size: int, timestamps: int, mean: Array, std: Array) -> Any:
    """The README's transform for training, in its order and dtype (float64)."""
    return albumentations.Compose(
        [
            _step(channels_last),
            _step(partial(standardise, mean=mean, std=std)),
            _step(fold_time),
            albumentations.RandomCrop(size, size),
            albumentations.D4(),
            ToTensorV2(),
            _step(partial(unfold_time, timestamps=timestamps)),
        ],
        is_check_shapes=False,
    )


def lean_transform(size: int, timestamps: int, mean: Array, std: Array) -> Any:
    """Crop and turn the integers, then standardise what is left, in float32."""
    all_mean = np.tile(mean, timestamps).astype(np.float32)
    all_std = np.tile(std, timestamps).astype(np.float32)
    return albumentations.Compose(
        [
            _step(fold_time_view),
            albumentations.RandomCrop(size, size),
            albumentations.D4(),
            _step(partial(standardise_channels_first, mean=all_mean, std=all_std)),
            ToTensorV2(),
            _step(partial(unfold_time, timestamps=timestamps)),
        ],
        is_check_shapes=False,
    )


def fold_time_view(image: Array, **_: Any) -> Array:
    """``[T, C, H, W]`` to ``[H, W, T C]`` without a copy."""
    return image.reshape(-1, *image.shape[2:]).transpose(1, 2, 0)


def standardise_channels_first(image: Array, mean: Array, std: Array, **_: Any) -> Array:
    """Standardise a view whose memory has the channels first, in that memory order."""
    planes = image.transpose(2, 0, 1)
    out = np.subtract(planes, mean[:, None, None], dtype=np.float32, order="C")
    out /= std[:, None, None]
    return out.transpose(1, 2, 0)


def _step(function: Callable[..., Any]) -> Any:
    return albumentations.Lambda(image=function, p=1.0)


class Apply:
    """Run an albumentations transform on a webdataset sample."""

    def __init__(self, transform: Any) -> None:
        self.transform = transform

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        """Replace ``sample["image"]``."""
        sample["image"] = self.transform(image=sample["image"])["image"]
        return sample


def stream(
    shards: Shards, batch: int, workers: int, size: int, mean: Array, std: Array, lean: bool = False
) -> Stream:
    """Endless batches: a dict with ``image [B, T, C, size, size]``, float64, or float32 if lean."""
    T = shards.shape[0]
    make = lean_transform if lean else published_transform
    dataset = (
        webdataset.WebDataset(
            shards.endless,
            shardshuffle=100,
            nodesplitter=webdataset.split_by_node,
            workersplitter=webdataset.split_by_worker,
            empty_check=False,
        )
        .decode(decode)
        .rename(image="zarr.zip")
        .map(Apply(make(size, T, mean, std)))
        .batched(batch, partial=False)
    )
    yield from torch_workers.stream(
        dataset, workers, batch_size=None, prefetch_factor=1 if workers else None
    )
