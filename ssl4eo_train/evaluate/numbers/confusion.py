"""Figures of confusion matrices, of one or of many at once, exact, in float64.

A matrix ``[..., K, K]`` counts what is of a class (rows) and was said to be of another (columns).
A class whose figure is undefined (0 / 0) is NaN, and is left out of means over classes: what
scikit-learn does with ``zero_division=numpy.nan``, and mmsegmentation with its ``nanmean``.
torchmetrics counts a class that does not occur, but was said, as a recall of 0.
"""

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Figure = Callable[[Array], Array]


def ratio(above: Array, below: Array) -> Array:
    """Quotients, NaN for 0 / 0."""
    with np.errstate(invalid="ignore"):
        return np.asarray(above / below, np.float64)


def mean(figures: Array) -> Array:
    """Over classes, the last axis, of those where it is defined."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # Of nothing but NaN: NaN.
        return np.asarray(np.nanmean(figures, axis=-1), np.float64)


def right(matrix: Array) -> Array:
    """True positives of each class ``[..., K]``."""
    return np.diagonal(matrix, axis1=-2, axis2=-1)


def accuracy(matrix: Array) -> Array:
    """Share of all that is said right."""
    return ratio(right(matrix).sum(-1), matrix.sum((-2, -1)))


def recall(matrix: Array) -> Array:
    """Of each class, the share that is said to be of it."""
    return ratio(right(matrix), matrix.sum(-1))


def precision(matrix: Array) -> Array:
    """Of all said to be of a class, the share that is."""
    return ratio(right(matrix), matrix.sum(-2))


def f1(matrix: Array) -> Array:
    """Harmonic mean of precision and recall of each class: 2 TP / (2 TP + FP + FN)."""
    return ratio(2 * right(matrix), matrix.sum(-1) + matrix.sum(-2))


def iou(matrix: Array) -> Array:
    """Intersection over union of each class: TP / (TP + FP + FN)."""
    return ratio(right(matrix), matrix.sum(-1) + matrix.sum(-2) - right(matrix))


def over_classes(figure: Figure) -> Figure:
    """Mean of a figure over classes."""
    return lambda matrix: mean(figure(matrix))


def changed(figure: Figure) -> Figure:
    """A figure of class 1 of two; 0 where it is undefined, as in scikit-learn and in the papers'
    code for OSCD (pytorch_lightning.metrics)."""
    return lambda matrix: np.nan_to_num(figure(matrix)[..., 1], nan=0.0)


CLASS: dict[str, Figure] = {
    "accuracy": accuracy,
    "accuracy_per_class": over_classes(recall),
    "f1_macro": over_classes(f1),
}
"""Of one label an image, by name."""
SEGMENT: dict[str, Figure] = {
    "miou": over_classes(iou),
    "accuracy": accuracy,
    "accuracy_per_class": over_classes(recall),
    "mf1": over_classes(f1),
}
"""Of a class a pixel."""
CHANGE: dict[str, Figure] = {
    "f1": changed(f1),
    "iou": changed(iou),
    "precision": changed(precision),
    "recall": changed(recall),
    "accuracy": accuracy,
}
"""Of changed pixels."""
EACH: dict[str, Figure] = {"recall": recall, "precision": precision, "f1": f1, "iou": iou}
"""Of each class, of any kind but `labels`."""
