"""The one figure by which a protocol chooses on the validation split."""

import torch
from torch import Tensor

from ssl4eo_train.evaluate.task import Kind

NAMES: dict[Kind, str] = {"class": "accuracy", "labels": "micro_ap"}


def figure(kind: Kind, scores: Tensor, targets: Tensor) -> float:
    """How good scores are: the accuracy, or of several labels the micro average precision.

    Args:
        kind: of the task, ``class`` or ``labels``.
        scores: ``[N, K]``, of each class, the greater the likelier.
        targets: int64 ``[N]``, or 0 and 1 ``[N, K]``.

    Returns:
        In [0, 1], over the whole split; 0 where no score is a number.
    """
    if kind == "class":
        return (scores.argmax(dim=1) == targets).double().mean().item()
    return average_precision(scores.double().flatten(), targets.flatten() > 0)


def average_precision(scores: Tensor, truth: Tensor) -> float:
    """Area under precision over recall, as a sum of steps: ``sum (R_n - R_n-1) P_n``.

    Scores that are equal are one step. That is scikit-learn's `average_precision_score`.

    Args:
        scores: ``[M]``.
        truth: bool ``[M]``.
    """
    if not bool(truth.any()) or bool(scores.isnan().any()):
        return 0.0
    order = scores.argsort(descending=True, stable=True)
    ranked, hits = scores[order], truth[order].double().cumsum(0)
    last = torch.ones_like(truth)
    last[:-1] = ranked[1:] != ranked[:-1]
    hits, places = hits[last], last.nonzero().flatten().double() + 1
    gained = hits.diff(prepend=hits.new_zeros(1))
    return float((gained * hits / places).sum() / hits[-1])
