"""Our side at true sizes: schedules of a whole run, and how weights are drawn."""

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ssl4eo_train.methods import METHODS, Learner, Progress, Settings
from tests.originals.cases import EPOCHS, POINTS, SECO_EPOCHS, STEPS_PER_EPOCH
from tests.originals.names import names

DINO = {"outputs": 8, "hidden": 8, "bottleneck": 8}
DRAWN: dict[str, tuple[str, str, int, dict[str, Any]]] = {
    "moco_v2": ("moco_v2", "resnet50", 13, {"queue": 256}),
    "moco_v3": ("moco_v3", "vit_small_patch16_224", 13, {"published_patch_bound": True}),
    "dino_resnet": ("dino", "resnet50", 13, {}),
    "dino_vit": ("dino", "vit_small_patch16_224", 13, {}),
    "mae": ("mae", "vit_small_patch16_224", 13, {}),
    "data2vec": ("data2vec", "vit_small_patch16_224", 13, {}),
    "seco": ("seco", "resnet18", 3, {"queue": 256}),
}
"""By case: method, backbone, bands, options that are not the defaults."""


def build(method: str, arch: str, bands: int, options: dict[str, Any], side: int = 224) -> Learner:
    """Make a learner for steps of 256 samples."""
    module = METHODS[method]
    return module.build(
        Settings(
            arch=arch,
            bands=bands,
            image_size=side,
            batch=256,
            seed=0,
            options=module.Options(**options),
        )
    )


def schedule(method: str) -> dict[str, list[float]]:
    """Rates, weight decays and momenta of a published run, where the original has a schedule."""
    arch = "resnet18" if method in ("moco_v2", "seco") else "test_vit"
    learner = build(method, arch, 2, DINO if method == "dino" else {}, side=32)
    optimizer = learner.optimizer(None)
    per_epoch, epochs, points = STEPS_PER_EPOCH, EPOCHS, POINTS
    if method == "seco":
        per_epoch, epochs, points = 1, SECO_EPOCHS, tuple(range(SECO_EPOCHS))
    found: dict[str, list[float]] = {"rate": [], "decay": [], "momentum": []}
    with pytest.MonkeyPatch.context() as patch:
        moved: list[float] = []
        keep = lambda follower, leader, momentum: moved.append(momentum)  # noqa: E731
        patch.setattr(METHODS[method], "follow", keep, raising=False)
        for step in points:
            progress = Progress(step, per_epoch, epochs)
            found["rate"].append(learner.before_step(optimizer, progress))
            learner.after_step(progress)
            found["decay"].append(max(g["weight_decay"] for g in optimizer.param_groups))
            found["momentum"] += moved[-1:]
    return found


def drawn(case: str) -> dict[str, list[float]]:
    """Count, mean, standard deviation and largest magnitude of every parameter as it was drawn."""
    method, arch, bands, options = DRAWN[case]
    torch.manual_seed(1)
    learner = build(method, arch, bands, options)
    tensors: Iterable[tuple[str, Tensor]] = [*learner.named_parameters(), *learner.named_buffers()]
    kept = [(n, x.detach()) for n, x in tensors if isinstance(x, nn.Parameter) or "positions" in n]
    return {name: statistics(x) for name, x in names(case).leader(kept).items()}


def statistics(x: Tensor) -> list[float]:
    """See `drawn`."""
    count, x = x.numel(), x.double()
    # Normal draws in float32 that are cut at 2 land there once in ten million, however narrow.
    x = x[x.abs() < 2]
    numbers = (x.mean(), x.std(unbiased=False), x.abs().max())
    return [float(count), *(float(number) for number in numbers)]
