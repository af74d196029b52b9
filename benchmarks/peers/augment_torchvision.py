"""The MoCo-v2 view by torchvision's v2 transforms, one sample at a time in torch's workers.

From torchvision: the crop's parameters, crop, resize (bilinear, no anti-aliasing, as the published
code), Gaussian blur, flip and RandomApply. What it cannot do: brightness and contrast refuse any
channel count but 1 and 3, and RandomGrayscale is for RGB, so these are plain tensor operations
here. The crop is taken from the integers, so that only its pixels are converted and clipped.
"""

from math import ceil

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

from benchmarks import workers as torch_workers
from benchmarks.measure import Stream
from benchmarks.peers.source import Endless


def brightness(x: Tensor) -> Tensor:
    """Scale all bands by one factor in [0.6, 1.4]."""
    return x * torch.empty(()).uniform_(0.6, 1.4)


def contrast(x: Tensor) -> Tensor:
    """Scale about each band's mean by one factor in [0.6, 1.4]."""
    mean = x.mean(dim=(-2, -1), keepdim=True)
    return torch.lerp(mean, x, torch.empty(()).uniform_(0.6, 1.4))


def gray(x: Tensor) -> Tensor:
    """The mean of the bands in every band; a view, as the values are the same."""
    return x.mean(dim=-3, keepdim=True).expand_as(x)


def blur(x: Tensor) -> Tensor:
    """Torchvision's Gaussian blur; the kernel grows with sigma, to 3 sigma on each side."""
    sigma = float(torch.empty(()).uniform_(0.1, 2.0))
    blurred: Tensor = F.gaussian_blur(x, [2 * ceil(3 * sigma) + 1] * 2, [sigma, sigma])
    return blurred


class View:
    """One view: int16 ``[C, H, W]`` to float32 ``[C, size, size]``."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.box = v2.RandomResizedCrop(size, scale=(0.2, 1.0), antialias=False)
        self.after = v2.Compose(
            [
                v2.RandomApply([brightness, contrast], p=0.8),
                v2.RandomApply([gray], p=0.2),
                v2.RandomApply([blur], p=0.5),
                v2.RandomHorizontalFlip(0.5),
            ]
        )

    def __call__(self, x: Tensor) -> Tensor:
        """Draw and make a view."""
        box = self.box.make_params([x])
        x = F.crop(x, box["top"], box["left"], box["height"], box["width"])
        x = x.to(torch.float32).mul_(1e-4).clamp_(0, 1)
        x = F.resize(x, [self.size] * 2, InterpolationMode.BILINEAR, antialias=False)
        result: Tensor = self.after(x)
        return result


class Views(Dataset[Tensor]):
    """A view of a sample, drawn at each access."""

    def __init__(self, source: Tensor, size: int) -> None:
        self.source, self.view = source, View(size)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Tensor:
        return self.view(self.source[index])


def stream(source: Tensor, batch: int, workers: int, size: int) -> Stream:
    """Endless batches float32 ``[B, C, size, size]``."""
    yield from torch_workers.stream(
        Views(source, size), workers, batch_size=batch, sampler=Endless(len(source))
    )
