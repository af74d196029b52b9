"""Small labels: a frozen share of the training samples, and the papers' draws.

The frozen shares are functions of the samples' keys alone, and nested: what is in 1 % is in 10 %.
"""

import numpy as np
from numpy.typing import NDArray

import fastload
from ssl4eo_train.errors import SetupError
from ssl4eo_train.evaluate.held_out import shares
from ssl4eo_train.evaluate.task import Task

SALT = "fraction"


def part(dataset: fastload.Dataset, share: float, task: Task) -> fastload.Dataset:
    """A frozen share of a split, at least one sample; of each class, where an image has one.

    Args:
        dataset: of N samples with labels, see `Task`.
        share: of them, in (0, 1]; 1 is the dataset itself.
        task: says whether there are classes to keep in proportion. Of each class that the split
            has, at least one sample is kept, so that a small share may have somewhat more.

    Raises:
        SetupError: where the share is none.
    """
    if not 0 < share <= 1:
        raise SetupError(f"--fraction is {share}, expected a share in (0, 1]")
    if share == 1:
        return dataset
    chosen = np.zeros(len(dataset), np.bool_)
    for rows in _strata(dataset, task):
        few = dataset.subset(rows)
        # A class of one sample has no share to leave out.
        chosen[rows] = True if len(rows) == 1 else shares(few, share, SALT)
    return dataset.subset(chosen)


def _strata(dataset: fastload.Dataset, task: Task) -> list[NDArray[np.intp]]:
    if task.kind != "class":
        return [np.arange(len(dataset))]
    labels = dataset.extras[task.label]
    return [np.flatnonzero(labels == label) for label in np.unique(labels)]


def drawn(count: int, share: float, seed: int = 42) -> NDArray[np.int64]:
    """Numbers of samples as SeCo and SSL4EO-S12 draw a share of BigEarthNet and So2Sat.

    With replacement, so that of n draws out of N about N (1 - exp(-n / N)) are different: their
    `random_subset` (SeCo, utils/data.py; SSL4EO-S12, bigearthnet_dataset_seco_lmdb_s2_uint8.py).

    Args:
        count: N.
        share: n is the whole part of share x N.
        seed: of NumPy's generator; 42 in all their programs.
    """
    return np.random.default_rng(seed).choice(count, int(share * count)).astype(np.int64)


def kept(count: int, share: float, seed: int = 42) -> NDArray[np.int64]:
    """Numbers of samples as SSL4EO-S12 takes a share of EuroSAT: without replacement and not by
    class (linear_EU_moco.py), by scikit-learn's `train_test_split`."""
    from sklearn.model_selection import train_test_split  # Here, since it takes a second.

    few, _ = train_test_split(np.arange(count), train_size=share, random_state=seed)
    return np.asarray(few, np.int64)
