"""Made tasks of a class, or a change, a pixel, whose truth is known, and benches on them."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fastload.datasets.scenes.tables import Classes
from fastload.datasets.scenes.window_source import Layer
from fastload.datasets.scenes.windowed import windowed
from fastload.statistics import Statistics
from fastload.storage.at import Place, at
from ssl4eo_train.evaluate.bench import Bench
from ssl4eo_train.evaluate.inputs import match
from ssl4eo_train.evaluate.pretrained import Channel, Pretrained, load
from ssl4eo_train.evaluate.task import Bands, Splits, Task
from tests.conformance.test_windows import png

SIDE = 32
COUNTS = {"train": 12, "val": 4, "test": 6}
COLOURS = np.array([[40, 60, 200], [60, 190, 70], [200, 80, 60]])
"""Of three classes."""
IGNORED = 255
PICTURES = Statistics("pictures", 0.0, {}, {}, dn_scale=255.0)


class Regions(Task):
    """Halves and corners of an image are of some class; a row of pixels is of none."""

    kind = "segment"
    classes = ("water", "field", "roof")
    metric = "miou"
    size = SIDE
    ignored = IGNORED

    def offers(self, root: Place) -> dict[str, tuple[str, ...]]:
        return {"RGB": ("R", "G", "B")}

    def splits(self, root: Place, bands: Bands, seed: int) -> Splits:
        opened = {split: self._opened(root, split, bands) for split in COUNTS}
        return Splits(opened["train"], opened["val"], opened["test"], "made")

    def _opened(self, root: Place, split: str, bands: Bands) -> Any:
        keys = [f"{split}{i}" for i in range(COUNTS[split])]
        dates = "ab" if self.kind == "change" else "a"
        layers = {
            "RGB": Layer(
                files=[[[f"{key}_{date}.png"] for date in dates] for key in keys],
                names=("R", "G", "B"),
                bands=bands["RGB"],
            ),
            "mask": Layer(
                files=[[[f"{key}_mask.png"]] for key in keys],
                names=("mask",),
                classes=Classes({0: 0, 1: 1, 2: 2, IGNORED: IGNORED}),
            ),
        }
        return windowed(at(root), keys, layers, statistics=PICTURES)


class Changes(Regions):
    """A square of another colour is there on the second date."""

    kind = "change"
    classes = ("unchanged", "changed")
    metric = "f1"


def shown(numbers: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Class numbers in their colours, with noise: ``[3, H, W]``."""
    pixels = COLOURS[numbers] + rng.normal(0, 10, (*numbers.shape, 3))
    return pixels.clip(0, 255).astype(np.uint8).transpose(2, 0, 1)


def regions(root: Path, side: int = SIDE) -> Path:
    """Write images of `Regions`; the border between halves is on a multiple of 4."""
    rng = np.random.default_rng(3)
    for split, count in COUNTS.items():
        for i in range(count):
            first, second, corner = rng.permutation(3)
            truth = np.full((side, side), first)
            truth[:, 4 * rng.integers(2, side // 4 - 2) :] = second
            truth[: side // 2, : side // 4] = corner
            png(root / f"{split}{i}_a.png", shown(truth, rng))
            truth[-1] = IGNORED
            png(root / f"{split}{i}_mask.png", truth[None].astype(np.uint8))
    return root


def changes(root: Path, side: int = SIDE) -> Path:
    """Write images of `Changes`: all of one class, then a square is of another one."""
    rng = np.random.default_rng(4)
    for split, count in COUNTS.items():
        for i in range(count):
            before = np.full((side, side), rng.integers(3))
            after, truth = before.copy(), np.zeros_like(before)
            top, left = 4 * rng.integers(0, side // 8, 2)
            box = (slice(top, top + side // 2), slice(left, left + side // 2))
            after[box] = (before[box] + rng.integers(1, 3)) % 3
            truth[box] = 1
            for date, numbers in (("a", before), ("b", after)):
                png(root / f"{split}{i}_{date}.png", shown(numbers, rng))
            png(root / f"{split}{i}_mask.png", truth[None].astype(np.uint8))
    return root


def untrained(arch: str = "resnet18", size: int = SIDE, bands: int = 3) -> Pretrained:
    """A backbone for RGB, or for some bands of L1C."""
    if bands == 3:
        channels = tuple(Channel(modality="RGB", band=band) for band in "RGB")
    else:
        channels = tuple(Channel(modality="S2L1C", band=f"B{i}") for i in range(bands))
    return load("untrained", arch=arch, channels=channels, image_size=size)


def bench(root: Path, out: Path, its: Task, pretrained: Pretrained, seed: int = 0) -> Bench:
    """A bench of images that were written."""
    inputs = match(pretrained.channels, its.offers(root), False, pretrained.wanted)
    splits = its.splits(root, inputs.bands, seed)
    return Bench(
        task=its, pretrained=pretrained, inputs=inputs, device=torch.device("cpu"), workers=0,
        splits={"train": splits.train, "val": splits.val, "test": splits.test}, seed=seed, out=out,
    )  # fmt: skip
