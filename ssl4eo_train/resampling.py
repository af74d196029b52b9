"""Locations that are drawn with replacement, as some published runs have theirs."""

import numpy as np
from numpy.typing import NDArray

import fastload
from ssl4eo_train.errors import SetupError


def resampled(dataset: fastload.Dataset, seed: int) -> fastload.Dataset:
    """As many samples as there are, drawn once with replacement: 63.2 % of them, some repeatedly.

    Source: SSL4EO-S12's pretrain_mae_s2c.py, ``random_subset(dataset, frac=1.0, seed=42)``, by the
    generator that it uses. Which locations come depends on their order, which in its LMDB is
    another. A location that was drawn again is seen in other views, as there: its ids are its own
    and then further ones past those of the dataset.

    Raises:
        SetupError: where so many ids are more than views can be drawn for.
    """
    count = len(dataset)
    drawn = np.random.default_rng(seed).choice(count, count)
    chosen = dataset.subset(drawn)
    ids = chosen.ids_of(np.arange(count)) + _copy(drawn) * dataset.numbers
    if ids.max() >= 2**32:
        raise SetupError(f"--resample: {count} locations are too many to tell their copies apart")
    chosen.ids = ids
    return chosen


def _copy(drawn: NDArray[np.int64]) -> NDArray[np.int64]:
    """How often each entry ``[N]`` came before."""
    order = drawn.argsort(kind="stable")
    ordered = drawn[order]
    copies = np.empty_like(drawn)
    copies[order] = np.arange(len(drawn)) - np.searchsorted(ordered, ordered)
    return copies
