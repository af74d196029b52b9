"""What every harness is given, and what is kept of each batch that it showed."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
import torch.utils.data

from fastload import SSL4EOS12, Dataset, Radiometry, Recipe, View
from tests.fastload.made import root
from tests.tolerances import assert_close

SAMPLES, BATCH, BANDS, SIZE = 18, 4, 13, 8
STEPS = -(-SAMPLES // BATCH)


def data(samples: int = SAMPLES) -> Dataset:
    """Some of the made samples, seen by one view with crops and flips."""
    view = View(size=SIZE, scale=(0.2, 1.0), hflip=0.5, d4=0.5, brightness=0.4, jitter=0.8)
    recipe = Recipe((view,), Radiometry.two_sigma())
    return SSL4EOS12(root(), recipe=recipe, progress=False).subset(range(samples))


class Plain(torch.utils.data.Dataset[dict[str, Any]]):
    """Map-style data of the same keys and shapes that knows nothing of fastload."""

    def __init__(self, samples: int = SAMPLES) -> None:
        self.keys = data(samples).keys.tolist()

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, i: int) -> dict[str, Any]:
        pixels = torch.full((BANDS, SIZE, SIZE), float(i))
        return {"key": str(self.keys[i]), "index": i, "S2L1C": [pixels]}


class Net(torch.nn.Module):
    """The smallest model that learns from a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(BANDS, 1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Loss of pixels ``[B, C, H, W]``."""
        return self.layer(pixels.mean((2, 3))).square().mean()


class Seen(NamedTuple):
    """What a step showed: the epoch, the keys, and the pixels ``[B, C, h, w]``."""

    epoch: int
    keys: list[str]
    pixels: torch.Tensor


def seen(epoch: int, batch: dict[str, Any]) -> Seen:
    """What is kept of a batch."""
    return Seen(epoch, list(batch["key"]), batch["S2L1C"][0].detach().cpu().clone())


def straight(loader: Iterable[Any], epochs: int = 2) -> list[Seen]:
    """What a loader shows without a harness and without an interruption."""
    return [seen(epoch, batch) for epoch in range(epochs) for batch in loader]


def keys(steps: Sequence[Seen]) -> list[tuple[int, list[str]]]:
    """Epoch and keys of each step."""
    return [(int(step.epoch), list(step.keys)) for step in steps]


def assert_same(mine: Sequence[Any], theirs: Sequence[Any], exact: bool = True) -> None:
    """The same epochs, keys and pixels; pixels by the table where `exact` is false."""
    a, b = [Seen(*step) for step in mine], [Seen(*step) for step in theirs]
    assert keys(a) == keys(b)
    for x, y in zip(a, b, strict=True):
        if exact:
            assert torch.equal(x.pixels, y.pixels)
        else:
            assert_close(x.pixels, y.pixels, "float32")
