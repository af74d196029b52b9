"""The MoCo-v2 view by kornia on the device that the pixels are on, whole batches at a time.

As the peer on the CPU, see there for what is kornia's, but for what suits a GPU: all samples go
together, and the crop is kornia's "resample", one warp of the batch, since "slice" cuts and resizes
them one by one.
"""

from collections.abc import Callable

import kornia.augmentation as K
import torch
from torch import Tensor, nn

from benchmarks.peers.augment_kornia import KERNEL


def views(source: Tensor, size: int) -> Callable[[], Tensor]:
    """Views of int16 ``[B, C, H, W]``: each call gives float32 ``[B, C, size, size]``."""
    crop = K.RandomResizedCrop(
        (size, size), scale=(0.2, 1.0), cropping_mode="resample", resample="bilinear"
    )
    brightness = K.RandomContrast((0.6, 1.4), clip_output=False, p=1.0)
    rest = nn.Sequential(
        K.RandomGrayscale(p=0.2),
        K.RandomGaussianBlur((KERNEL, KERNEL), (0.1, 2.0), p=0.5),
        K.RandomHorizontalFlip(p=0.5),
    )

    def made() -> Tensor:
        with torch.no_grad():
            x = crop(source.to(torch.float32).mul_(1e-4).clamp_(0, 1))
            # Indices that the CPU draws: a mask on the device would make the CPU wait for it.
            drawn = torch.nonzero(torch.rand(len(x)) < 0.8).flatten().to(x.device)
            x[drawn] = contrast(brightness(x[drawn]))
            result: Tensor = rest(x)
            return result

    return made


def contrast(x: Tensor) -> Tensor:
    """Scale about each band's mean by a factor in [0.6, 1.4], one per sample."""
    mean = x.mean(dim=(-2, -1), keepdim=True)
    factor = torch.empty(len(x), 1, 1, 1, device=x.device).uniform_(0.6, 1.4)
    return torch.lerp(mean, x, factor)
