"""Made chips in EuroSAT's layout whose classes are known, and benches on them."""

import copy
import dataclasses
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from fastload.datasets.eurosat import CLASSES
from ssl4eo_train.evaluate.bench import Bench
from ssl4eo_train.evaluate.inputs import match
from ssl4eo_train.evaluate.pretrained import Channel, Pretrained, load
from ssl4eo_train.evaluate.task import Task
from ssl4eo_train.evaluate.tasks import task

SIZE = 16
Colours = Callable[[int, np.random.Generator], NDArray[np.float64]]
"""From a class's number to the mean colour of a chip, ``[3]`` in 0 to 255."""


def by_mean(number: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Each class has a colour of its own."""
    return np.array([60.0 + 130 * (number >> i & 1) for i in range(3)]) + rng.normal(0, 8, 3)


def by_order(number: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Classes have the same three brightnesses, of other bands each: no sum of them tells any."""
    return np.roll([60.0, 120.0, 180.0], number % 3) + rng.normal(0, 3) + rng.normal(0, 3, 3)


def tree(
    root: Path, classes: int = 4, train: int = 30, test: int = 12, colours: Colours = by_mean
) -> Path:
    """Write chips and a list of splits; of each class `train` and `test` of them."""
    rng = np.random.default_rng(5)
    names: dict[str, list[str]] = {"train": [], "test": []}
    for number, name in enumerate(CLASSES[:classes]):
        for i in range(train + test):
            key = f"{name}_{i + 1}"
            pixels = colours(number, rng) + rng.normal(0, 12, (SIZE, SIZE, 3))
            path = root / "2750" / name / f"{key}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            file = io.BytesIO()
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
            path.write_bytes(file.getvalue())
            names["train" if i < train else "test"].append(f"{key}.tif")
    (root / "train_test_split.json").write_text(json.dumps(names))
    return root


def untrained(arch: str = "resnet18", size: int = SIZE, **more: Any) -> Pretrained:
    """A backbone for RGB."""
    channels = tuple(Channel(modality="S2RGB", band=band) for band in "RGB")
    return load("untrained", arch=arch, channels=channels, image_size=size, **more)


def blind(pretrained: Pretrained) -> Pretrained:
    """The backbone with a first layer that sees the sum of all bands, until it is trained."""
    network = copy.deepcopy(pretrained.network)
    first = next(m for m in network.modules() if isinstance(m, torch.nn.Conv2d))
    first.weight.data[:] = first.weight.mean(dim=1, keepdim=True)
    return dataclasses.replace(pretrained, network=network)


def bench(
    root: Path,
    out: Path,
    pretrained: Pretrained,
    its: Task | None = None,
    seed: int = 0,
    extras: Mapping[str, NDArray[Any]] | None = None,
    **more: Any,
) -> Bench:
    """A bench of a tree.

    Args:
        extras: columns instead of those of each split, by its name.
    """
    its = its or task("eurosat_rgb")
    inputs = match(pretrained.channels, its.offers(root), False, pretrained.wanted)
    splits = its.splits(root, inputs.bands, seed)
    opened = {"train": splits.train, "val": splits.val, "test": splits.test}
    for name, labels in (extras or {}).items():
        opened[name].extras["label"] = labels
    device = torch.device("cpu")
    return Bench(
        task=its, pretrained=pretrained, inputs=inputs, splits=opened, device=device,
        workers=0, seed=seed, out=out, **more,
    )  # fmt: skip
