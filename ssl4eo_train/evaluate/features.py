"""Features of a frozen backbone."""

import torch
from torch import Tensor

from ssl4eo_train.evaluate.bench import Bench
from ssl4eo_train.evaluate.task import Split
from ssl4eo_train.knn import frozen


def features(bench: Bench, split: Split, size: int, batch: int) -> tuple[Tensor, Tensor]:
    """Features of all samples of a split, in order, and their targets.

    Args:
        bench: the backbone and the task.
        split: which.
        size: side in pixels that whole images are resampled to.
        batch: images a forward pass.

    Returns:
        float32 ``[N, F]``, and targets as `Bench.batches` gives them, on the device.
    """
    network = bench.pretrained.network.to(bench.device)
    rows, targets = [], []
    with frozen(network):
        for (images,), target, _ in bench.batches(split, bench.whole(size), batch):
            rows.append(network(images).float())
            targets.append(target)
    return torch.cat(rows), torch.cat(targets)
