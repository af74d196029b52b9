"""The MoCo-v2 view by kornia, some samples at a time in torch's workers.

From kornia: RandomResizedCrop by slicing, RandomGrayscale (it takes any number of bands),
RandomGaussianBlur and RandomHorizontalFlip, each with its own parameters per sample. What it cannot
do: its RandomContrast multiplies instead of scaling about the mean, so it is the same operation as
brightness; and both clip to [0, 1] unless told not to. RandomBrightness adds instead of
multiplying. Here RandomContrast without clip serves as the brightness, and the contrast about each
band's mean is a plain tensor operation. The blur has one kernel size for all sigmas.
"""

import kornia.augmentation as K
import torch
from torch import Tensor, nn
from torch.utils.data import BatchSampler, Dataset

from benchmarks import workers as torch_workers
from benchmarks.measure import Stream
from benchmarks.peers.source import Endless

KERNEL = 13
"""Side of the blur: 3 sigma on each side of the widest, sigma 2."""

PART = 4
"""Samples that go through kornia together. Whole batches of 32 take three times as long: each of
their intermediate images is too large for the allocator to reuse, and is paged in anew."""


class Views(Dataset[Tensor]):
    """Batches of views, drawn at each access by a list of indices."""

    def __init__(self, source: Tensor, size: int) -> None:
        self.source, self.size = source, size
        self.crop = K.RandomResizedCrop(
            (size, size), scale=(0.2, 1.0), cropping_mode="slice", resample="bilinear"
        )
        self.brightness = K.RandomContrast((0.6, 1.4), clip_output=False, p=1.0)
        # Plain calls: AugmentationSequential, which also tracks boxes, takes twice as long.
        self.rest = nn.Sequential(
            K.RandomGrayscale(p=0.2),
            K.RandomGaussianBlur((KERNEL, KERNEL), (0.1, 2.0), p=0.5),
            K.RandomHorizontalFlip(p=0.5),
        )

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, indices: list[int]) -> Tensor:
        """Float32 ``[B, C, size, size]``."""
        out = torch.empty(len(indices), self.source.shape[1], self.size, self.size)
        with torch.no_grad():
            for start in range(0, len(indices), PART):
                out[start : start + PART] = self._views(indices[start : start + PART])
        return out

    def _views(self, indices: list[int]) -> Tensor:
        x = self.source[indices].to(torch.float32).mul_(1e-4).clamp_(0, 1)
        x = self.crop(x)
        jitter = torch.rand(len(x)) < 0.8
        x[jitter] = contrast(self.brightness(x[jitter]))
        result: Tensor = self.rest(x)
        return result


def contrast(x: Tensor) -> Tensor:
    """Scale about each band's mean by a factor in [0.6, 1.4], one per sample."""
    mean = x.mean(dim=(-2, -1), keepdim=True)
    return torch.lerp(mean, x, torch.empty(len(x), 1, 1, 1).uniform_(0.6, 1.4))


def stream(source: Tensor, batch: int, workers: int, size: int) -> Stream:
    """Endless batches float32 ``[B, C, size, size]``."""
    yield from torch_workers.stream(
        Views(source, size),
        workers,
        batch_size=None,
        sampler=BatchSampler(Endless(len(source)), batch, drop_last=True),
    )
