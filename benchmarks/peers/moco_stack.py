"""The MoCo-v2 pair of SSL4EO-S12 on the common stack: webdataset, zarr and OpenCV.

Source of the behaviour: `pretrain_moco_v2_s2c.py`, `rs_transforms_uint8.py` of zhu-xlab/SSL4EO-S12
and cvtorchvision's RandomResizedCrop and ToTensor. Images are uint8, height x width x bands:
DN / 10000 * 255. Two seasons are drawn independently; each view is a random resized crop of 224,
brightness and contrast (p 0.8), gray (p 0.2), Gaussian blur (p 0.5), horizontal flip (p 0.5), then
float32 bands first. The published code read uint8 from an LMDB made beforehand; on the published
int16 shards the conversion has to happen here, and only the two drawn seasons are converted.

Two variants:

- `published`: all timestamps are decoded, as the v1.1 reading code does, and the operations are
  those of the published code in NumPy and OpenCV. This is the headline peer.
- `lean`: the same stack by a careful user: only the chunks of the two drawn seasons are decoded,
  the crop is taken before the conversion, brightness, contrast and gray are OpenCV calls, and a
  gray view is blurred as one plane.

There is no shuffle buffer of samples, which costs the peer nothing.
"""

import io
import math
import random
from typing import Any

import cv2
import fsspec
import numpy as np
import torch
import webdataset
import zarr
from numpy.typing import NDArray
from torch import Tensor

from benchmarks import workers as torch_workers
from benchmarks.data import Shards, read_zip
from benchmarks.measure import Stream

Image = Any  # OpenCV's stubs lose the dtype; uint8 ``[h, w, C]`` throughout
GRAYS = 255 / 10000


def crop_box(H: int, W: int) -> tuple[int, int, int, int]:
    """Top, left, height and width as cvtorchvision draws them, scale 0.2 to 1."""
    for _ in range(10):
        area = random.uniform(0.2, 1.0) * H * W
        ratio = random.uniform(3 / 4, 4 / 3)
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if random.random() < 0.5:
            w, h = h, w
        if w <= W and h <= H:
            return random.randint(0, H - h), random.randint(0, W - w), h, w
    side = min(H, W)
    return (H - side) // 2, (W - side) // 2, side, side


def published_view(pixels: NDArray[np.int16], size: int) -> Tensor:
    """One view of ``[C, H, W]`` int16, by the operations of the published code.

    The casts to uint8 wrap out-of-range values, as there; a clip would only cost the peer time.
    """
    C, H, W = pixels.shape
    image: Image = (pixels.transpose(1, 2, 0) * GRAYS).astype(np.uint8)
    top, left, h, w = crop_box(H, W)
    image = _resize(image[top : top + h, left : left + w], size)
    if random.random() < 0.8:
        factor = np.random.uniform(0.6, 1.4)
        image = (image * factor).astype(np.uint8)
        factor = np.random.uniform(0.6, 1.4)
        mean = image.mean(axis=(0, 1))
        image = ((image - mean) * factor + mean).astype(np.uint8)
    if random.random() < 0.2:
        gray = np.tile(image.mean(axis=-1), (C, 1, 1))
        image = gray.transpose(1, 2, 0).astype(np.uint8)
    if random.random() < 0.5:
        image = cv2.GaussianBlur(image, (0, 0), random.uniform(0.1, 2.0))
    if random.random() < 0.5:
        image = cv2.flip(image, 1)
    return torch.from_numpy(image.transpose(2, 0, 1).copy()).float().div(255)


def lean_view(pixels: NDArray[np.int16], size: int) -> Tensor:
    """One view of ``[C, H, W]`` int16, with the work ordered to save it. Clips, never wraps."""
    C, H, W = pixels.shape
    top, left, h, w = crop_box(H, W)
    crop = pixels[:, top : top + h, left : left + w]
    image: Image = np.empty((h, w, C), np.uint8)
    for c in range(C):
        image[..., c] = cv2.convertScaleAbs(np.maximum(crop[c], 0), alpha=GRAYS)
    image = _resize(image, size)
    if random.random() < 0.8:
        image = cv2.LUT(image, _tone(image))
    gray = random.random() < 0.2
    if gray:
        image = cv2.reduce(image.reshape(-1, C), 1, cv2.REDUCE_AVG).reshape(size, size)
    if random.random() < 0.5:
        image = cv2.GaussianBlur(image, (0, 0), random.uniform(0.1, 2.0))
    if random.random() < 0.5:
        image = cv2.flip(image, 1)
    planes = image[None] if gray else image.transpose(2, 0, 1)
    out = torch.empty((C, size, size))
    np.multiply(planes, np.float32(1 / 255), out=out.numpy())
    return out


def _tone(image: Image) -> Image:
    """Brightness and contrast as one table ``[256, 1, C]`` of grays."""
    h, w, C = image.shape
    mean = cv2.reduce(image.reshape(h * w, C), 0, cv2.REDUCE_AVG, dtype=cv2.CV_32F)
    brightness, contrast = np.random.uniform(0.6, 1.4, size=2)
    grays = np.arange(256, dtype=np.float32)[:, None] * brightness
    mean = mean * brightness
    table = np.clip((grays - mean) * contrast + mean, 0, 255).astype(np.uint8)
    return table.reshape(256, 1, C)


def _resize(image: Image, size: int) -> Image:
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR)


class Pair:
    """Make both views of a webdataset sample."""

    def __init__(self, size: int, lean: bool) -> None:
        self.size, self.lean = size, lean

    def __call__(self, sample: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Two tensors ``[C, size, size]``."""
        content = sample["zarr.zip"]
        if not self.lean:
            bands = read_zip(content)
            seasons = np.random.choice(len(bands)), np.random.choice(len(bands))
            q, k = (published_view(bands[s], self.size) for s in seasons)
            return q, k
        files = fsspec.filesystem("zip", fo=io.BytesIO(content), block_size=None)
        stored = zarr.open_consolidated(files.get_mapper(""), mode="r")["bands"]
        first, second = np.random.choice(len(stored)), np.random.choice(len(stored))
        one = stored[first]
        other = one if first == second else stored[second]
        return lean_view(one, self.size), lean_view(other, self.size)


def stream(shards: Shards, batch: int, workers: int, size: int, lean: bool = False) -> Stream:
    """Endless batches: two float32 tensors ``[B, C, size, size]``."""
    dataset = webdataset.WebDataset(
        shards.endless,
        shardshuffle=100,
        nodesplitter=webdataset.split_by_node,
        workersplitter=webdataset.split_by_worker,
        empty_check=False,
    ).map(Pair(size, lean))
    yield from torch_workers.stream(dataset, workers, batch_size=batch, drop_last=True)
