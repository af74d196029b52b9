"""Results of all kinds of tasks, of made scores."""

from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from ssl4eo_train.evaluate.numbers.metrics import measure
from ssl4eo_train.evaluate.outcome import Example, Mapped, Outcome, Scored
from ssl4eo_train.evaluate.result import FIELDS, _plain

METRIC = {"class": "accuracy", "labels": "map_micro", "segment": "miou", "change": "f1"}
TASK = {"class": "eurosat", "labels": "bigearthnet", "segment": "dfc2020", "change": "oscd"}
NAMES = ("Permanently irrigated & <bare> land", "Forest", "Water_bodies", "Urban", "Snow")
HISTORY = [{"l2": 10.0**-i, "val_accuracy": 0.6 + 0.1 * (i % 3)} for i in range(1, 6)]


def outcome(kind: str, K: int) -> Outcome:
    """Of 40 images; of pixels 5 of them."""
    g = torch.Generator().manual_seed(K)
    targets = torch.randint(0, K, (40,), generator=g)
    hint = torch.nn.functional.one_hot(targets, K).float()
    scores = torch.randn(40, K, generator=g) + 2 * hint
    if kind == "class":
        return Outcome(Scored(scores, targets, 8))
    if kind == "labels":
        return Outcome(Scored(scores - 1, hint, 8))
    matrices = torch.randint(0, 90, (5, K, K), generator=g) + 200 * torch.eye(K, dtype=torch.int64)
    return Outcome(Mapped(matrices, 2))


def made(kind: str, **changes: Any) -> dict[str, Any]:
    """What ``result.json`` holds."""
    names = ("unchanged", "changed") if kind == "change" else NAMES
    task: Any = SimpleNamespace(kind=kind, classes=names)
    judged = outcome(kind, len(names))
    found = {"images": judged.test.images, **asdict(measure(task, judged, seed=0))}
    content = {
        "format": 1, "version": "0", "task": TASK[kind], "task_options": {}, "kind": kind,
        "protocol": "linear", "metric": METRIC[kind], **found,
        "bootstrap": {"resamples": 1000, "of": "images", "percentiles": [2.5, 97.5],
                      "seed": 0},
        "classes": list(names), "splits": {"train": 80, "val": 10, "test": 40},
        "splits_told": "by <list> & name", "fraction": 1.0, "seed": 0,
        "chosen": {"l2": 0.01, "val_accuracy": 0.8},
        "settings": {"solver": "lbfgs", "rates": (1, 2)},
        "history": HISTORY, "told": ["the best l2 is the last one tried"],
        "checkpoint": {"source": "runs/x_y: backbone", "sha256": "00", "method": "moco_v2",
                       "arch": "resnet50", "channels": [{"modality": "S2L1C", "band": "B4"}],
                       "wanted": "reflectance"},
        "bands": {"S2L1C": ["B4"]}, "config": {"out": "o"}, "versions": {}, "device": "cpu",
        "commit": None, "seconds": 1.5,
    }  # fmt: skip
    content.update(changes)
    plain: dict[str, Any] = _plain(content)
    assert set(plain) == set(FIELDS)
    return plain


def examples(kind: str) -> list[Example]:
    """Two of 32 pixels a side, the second larger than is shown."""
    rng = np.random.default_rng(0)
    found = []
    for key, size in (("a<b>", 32), ("c", 300)):
        images = [rng.integers(0, 255, (size, size, 3)).astype(np.uint8)] * (
            2 if kind == "change" else 1
        )
        if kind in ("class", "labels"):
            found.append(Example(key, images, "Forest", "Forest" if size == 32 else "Urban"))
            continue
        labels = np.arange(size * size).reshape(size, size) * 2 // size**2
        truth = labels.astype(np.uint8)
        truth[:4] = 255
        found.append(Example(key, images, truth, 1 - labels.astype(np.uint8)))
    return found
