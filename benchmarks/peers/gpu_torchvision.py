"""The MoCo-v2 view by torchvision's v2 transforms on the device that the pixels are on.

A transform of a whole batch draws once for all of it, so samples go one by one, as in the peer on
the CPU; see there for what is torchvision's. The factors are plain numbers, since drawing them on a
GPU would make the CPU wait for each.
"""

from collections.abc import Callable
from random import uniform

import torch
from torch import Tensor
from torchvision.transforms import v2

from benchmarks.peers import augment_torchvision


def brightness(x: Tensor) -> Tensor:
    """Scale all bands by one factor in [0.6, 1.4]."""
    return x * uniform(0.6, 1.4)


def contrast(x: Tensor) -> Tensor:
    """Scale about each band's mean by one factor in [0.6, 1.4]."""
    return torch.lerp(x.mean(dim=(-2, -1), keepdim=True), x, uniform(0.6, 1.4))


def views(source: Tensor, size: int) -> Callable[[], Tensor]:
    """Views of int16 ``[B, C, H, W]``: each call gives float32 ``[B, C, size, size]``."""
    view = augment_torchvision.View(size)
    view.after = v2.Compose(
        [
            v2.RandomApply([brightness, contrast], p=0.8),
            v2.RandomApply([augment_torchvision.gray], p=0.2),
            v2.RandomApply([augment_torchvision.blur], p=0.5),
            v2.RandomHorizontalFlip(0.5),
        ]
    )

    def made() -> Tensor:
        with torch.no_grad():
            return torch.stack([view(x) for x in source])

    return made
