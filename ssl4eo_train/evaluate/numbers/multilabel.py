"""Figures of tasks of several labels an image."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl4eo_train.evaluate.numbers import average_precision, bootstrap
from ssl4eo_train.evaluate.numbers.confusion import mean, ratio
from ssl4eo_train.evaluate.numbers.number import Number, number
from ssl4eo_train.evaluate.outcome import Scored

Array = NDArray[np.float64]
THRESHOLD = 0.5
"""A label is said where its probability is above it."""


def measure(test: Scored, seed: int) -> tuple[dict[str, Number], list[dict[str, Number]]]:
    """Average precision and F1 of scores ``[N, K]``, micro and macro, and of each class."""
    scores, targets = test.scores.numpy(), test.targets.long().numpy()
    K = scores.shape[1]
    micro_again, ap_again = average_precision.resampled(scores, targets, seed)
    each = zip(test.scores.T, test.targets.T, strict=True)
    ap = np.array([_ap(*of) for of in each])
    stats = _stats(test)  # [N, 3, K]
    whole = stats.sum(axis=0).astype(float)
    again = bootstrap.sums(stats.reshape(len(stats), -1), seed).reshape(-1, 3, K)
    numbers = {
        "map_micro": number(_ap(test.scores, test.targets), micro_again),
        "map_macro": number(mean(ap), mean(ap_again)),
        "f1_micro": number(_f1(whole.sum(axis=-1)), _f1(again.sum(axis=-1).T)),
        "f1_macro": number(mean(_f1(whole)), mean(_f1(again.swapaxes(0, 1)))),
    }
    f1, f1_again = _f1(whole), _f1(again.swapaxes(0, 1))
    per_class = [
        {"ap": number(ap[k], ap_again[:, k]), "f1": number(f1[k], f1_again[:, k])} for k in range(K)
    ]
    return numbers, per_class


def _f1(counts: Array) -> Array:
    """Of true positives, false positives and false negatives ``[3, ...]``."""
    true, false, missed = counts
    return ratio(2 * true, 2 * true + false + missed)


def _stats(test: Scored) -> NDArray[np.int64]:
    """True positives, false positives and false negatives of each image, ``[N, 3, K]``."""
    said = (test.scores.sigmoid() if test.logits else test.scores) > THRESHOLD
    of = test.targets == 1
    return torch.stack([said & of, said & ~of, ~said & of], dim=1).long().numpy()


def _ranks(scores: Tensor) -> Tensor:
    """The scores' ranks, float64 in [0, 1], ties staying ties: torchmetrics would take the logistic
    function of scores beyond [0, 1], which ties those where it reaches 1."""
    found, rank = np.unique(scores.numpy(), return_inverse=True)
    return torch.from_numpy(rank.reshape(scores.shape) / max(1, len(found) - 1))


def _ap(scores: Tensor, targets: Tensor) -> float:
    """Average precision over all entries; NaN without a positive."""
    from torchmetrics.functional.classification import binary_average_precision

    if not (targets == 1).any():
        return float("nan")
    return float(binary_average_precision(_ranks(scores).flatten(), targets.long().flatten()))
