"""95 % intervals by the bootstrap (Efron 1979): percentiles over images drawn with replacement."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
PERCENTILES = (2.5, 97.5)
TOGETHER = 32
"""Resamples in one product of matrices."""

Array = NDArray[np.float64]


def counts(N: int, seed: int, resamples: int = RESAMPLES) -> Iterator[NDArray[np.int64]]:
    """How often each of N images is in a resample of N, int64 ``[N]``; the same for every figure
    of the same N and seed."""
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.bincount(rng.integers(0, N, N), minlength=N)


def together(N: int, seed: int, resamples: int = RESAMPLES) -> Iterator[NDArray[np.int64]]:
    """See `counts`: ``[R, N]``, some resamples at a time."""
    some = list[NDArray[np.int64]]()
    for count in counts(N, seed, resamples):
        some.append(count)
        if len(some) == TOGETHER:
            yield np.stack(some)
            some.clear()
    if some:
        yield np.stack(some)


def sums(rows: NDArray[np.int64], seed: int, resamples: int = RESAMPLES) -> Array:
    """Sums over the images of each resample, float64 ``[R, D]``, of whole numbers ``[N, D]``; exact
    below 2**53."""
    values = rows.astype(np.float64)
    every = [some @ values for some in together(len(rows), seed, resamples)]
    return np.concatenate(every)


def tallies(cells: NDArray[np.int64], size: int, seed: int, resamples: int = RESAMPLES) -> Array:
    """How many images of each resample lie in each cell, float64 ``[R, size]``.

    Args:
        cells: of each image, from 0 to `size` - 1, ``[N]``.
        size: number of cells.
        seed: of the resamples.
        resamples: R.
    """
    every = [np.bincount(cells, count, size) for count in counts(len(cells), seed, resamples)]
    return np.stack(every)


def interval(found: Array) -> tuple[float, float] | None:
    """The percentiles of a figure in all resamples ``[R]``, without those where it is undefined
    (NaN); None where it is so in all."""
    defined = found[~np.isnan(found)]
    if not defined.size:
        return None
    low, high = np.percentile(defined, PERCENTILES)
    return float(low), float(high)
