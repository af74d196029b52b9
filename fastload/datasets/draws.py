"""With which seed and epoch the views of ``dataset[i]`` are drawn."""

from typing import NamedTuple

import torch


class Draw(NamedTuple):
    """Seed and epoch of `fastload_kernels.draw`."""

    seed: int
    epoch: int


class Drawn(int):
    """A sample's number that says how its views are drawn: what a `DataLoader`'s sampler yields.

    Whoever hands it to ``dataset[i]``, in whatever process, gets the views of that loader's epoch.
    """

    draw: Draw

    def __new__(cls, sample: int, draw: Draw) -> "Drawn":
        """Number `sample`, with a draw."""
        self = super().__new__(cls, sample)
        self.draw = draw
        return self

    def __reduce__(self) -> tuple[type["Drawn"], tuple[int, Draw]]:
        return Drawn, (int(self), self.draw)


def torchs() -> Draw:
    """A draw of torch's generator, which torch seeds anew for each worker and epoch."""
    return Draw(int(torch.randint(2**62, ())), 0)
