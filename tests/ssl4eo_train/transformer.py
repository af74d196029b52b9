"""What the tests of the masked methods share: a tiny vision transformer, and images for it."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ssl4eo_train.methods import Samples, Settings


def settings(
    options: Any, bands: int = 13, image_size: int = 64, batch: int = 4, **more: Any
) -> Settings:
    given: dict[str, Any] = {"arch": "test_vit", "options": options, **more}
    return Settings(bands=bands, image_size=image_size, batch=batch, seed=0, **given)


def samples(count: int = 4, epoch: int = 0, seed: int = 0) -> Samples:
    return Samples(seed, epoch, np.arange(count) + 7)


def images(count: int = 4, bands: int = 13, size: int = 64, seed: int = 0) -> Tensor:
    return torch.rand(count, bands, size, size, generator=torch.Generator().manual_seed(seed))
