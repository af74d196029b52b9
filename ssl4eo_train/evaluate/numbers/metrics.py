"""Metrics over the whole test split, with their 95 % bootstrap intervals.

| kind of task | numbers |
|---|---|
| class | `accuracy` (micro), `accuracy_per_class` (mean recall), `f1_macro` |
| labels | `map_micro`, `map_macro`, `f1_micro`, `f1_macro` (at a probability of 0.5) |
| segment | `miou`, `accuracy` (of pixels), `accuracy_per_class`, `mf1` |
| change | `f1`, `iou`, `precision`, `recall` of what changed, `accuracy` (of pixels) |

Confusion matrices and average precision are torchmetrics'; what follows from a confusion matrix is
in `confusion`. Macro figures leave out classes that they are undefined for.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from ssl4eo_train.evaluate.numbers import bootstrap, confusion, multilabel
from ssl4eo_train.evaluate.numbers.by_batch import by_batch
from ssl4eo_train.evaluate.numbers.number import Number, number
from ssl4eo_train.evaluate.outcome import Mapped, Outcome, Scored
from ssl4eo_train.evaluate.task import Kind, Task

NUMBERS: dict[Kind, tuple[str, ...]] = {
    "class": tuple(confusion.CLASS),
    "labels": ("map_micro", "map_macro", "f1_micro", "f1_macro"),
    "segment": tuple(confusion.SEGMENT),
    "change": tuple(confusion.CHANGE),
}
"""By kind of task. `Task.metric` is one of them."""


@dataclass(frozen=True)
class Measured:
    """All figures of an evaluation.

    Attributes:
        numbers: by name, see `NUMBERS`.
        per_class: of each class its figures by name.
        support: of each class, how many images, or pixels, are of it.
        by_batch: see `ssl4eo_train.evaluate.numbers.by_batch`.
        confusion: ``[K, K]``, rows being what is true; of tasks of several labels none.
    """

    numbers: dict[str, Number]
    per_class: list[dict[str, Number]]
    support: list[int]
    by_batch: dict[str, float]
    confusion: list[list[int]] = field(default_factory=list)


def measure(task: Task, outcome: Outcome, seed: int) -> Measured:
    """Take the figures of an outcome.

    Args:
        task: its kind and number of classes.
        outcome: with N images of the test split.
        seed: of the resamples.

    Raises:
        ValueError: where there is no image, or a score is no number.
    """
    test, K = outcome.test, len(task.classes)
    _check(test, K)
    batches = by_batch(task.kind, test)
    if isinstance(test, Mapped):
        rows = test.confusion.reshape(len(test.confusion), -1).cpu().numpy()
        whole = rows.sum(axis=0).reshape(K, K)
        again = bootstrap.sums(rows, seed).reshape(-1, K, K)
        figures = confusion.CHANGE if task.kind == "change" else confusion.SEGMENT
        return _of_confusion(figures, whole, again, batches)
    if task.kind == "labels":
        numbers, per_class = multilabel.measure(test, seed)
        return Measured(numbers, per_class, (test.targets == 1).sum(dim=0).tolist(), batches)
    return _of_confusion(confusion.CLASS, *_confusions(test, K, seed), batches)


def _check(test: Scored | Mapped, K: int) -> None:
    found = test.confusion if isinstance(test, Mapped) else test.scores
    if not len(found):
        raise ValueError("the test split has no image, so that there is nothing to measure")
    if found.shape[1] != K:
        raise ValueError(f"the task has {K} classes, what was found of them has {found.shape[1]}")
    bad = int((~torch.isfinite(found)).flatten(1).any(dim=1).sum())
    if bad:
        raise ValueError(f"scores of {bad} of {len(found)} test images are no finite numbers")


def _confusions(test: Scored, K: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The confusion matrix ``[K, K]``, and those of the resamples ``[R, K, K]``."""
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    said = test.scores.argmax(dim=1)
    whole = multiclass_confusion_matrix(said, test.targets, K).numpy()
    cells = (test.targets * K + said).numpy()
    return whole, bootstrap.tallies(cells, K * K, seed).reshape(-1, K, K)


def _of_confusion(
    figures: dict[str, confusion.Figure],
    whole: NDArray[np.int64],
    again: NDArray[np.float64],
    batches: dict[str, float],
) -> Measured:
    numbers = {n: number(f(whole.astype(float)), f(again)) for n, f in figures.items()}
    each = {n: (f(whole.astype(float)), f(again)) for n, f in confusion.EACH.items()}
    per_class = [
        {name: number(of[k], resampled[:, k]) for name, (of, resampled) in each.items()}
        for k in range(len(whole))
    ]
    return Measured(numbers, per_class, whole.sum(axis=1).tolist(), batches, whole.tolist())
