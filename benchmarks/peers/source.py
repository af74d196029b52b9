"""What the augmentation peers share: decoded pixels in memory, and endless picks from them."""

from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from benchmarks.data import Shards


def pixels(shards: Shards, samples: int) -> Tensor:
    """The first timestamp of some samples: int16 ``[N, C, H, W]`` in shared memory."""
    first = [shards.pixels(key)[0] for key in islice(shards.samples, samples)]
    together = torch.from_numpy(np.stack(first))
    together.share_memory_()  # type: ignore[no-untyped-call]
    return together


class Endless(Sampler[int]):
    """Indices 0 to `length` - 1, over and over."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __iter__(self) -> Iterator[int]:
        """Never ends."""
        while True:
            yield from range(self.length)
