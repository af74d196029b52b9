"""Average precision in many resamples at once."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastload_kernels.compiled import jit
from ssl4eo_train.evaluate.numbers import bootstrap


@dataclass(frozen=True)
class Ranked:
    """E entries from the greatest score to the least.

    Attributes:
        image: whose, int64 ``[E]``.
        positive: bool ``[E]``.
        last: the last one of its score, bool ``[E]``.
    """

    image: NDArray[np.int64]
    positive: NDArray[np.bool_]
    last: NDArray[np.bool_]


def ranked(scores: NDArray[np.float32], targets: NDArray[np.int64]) -> Ranked:
    """All entries of ``[N, K]`` in the order of their scores."""
    K = scores.shape[1]
    order = np.argsort(-scores.ravel(), kind="stable")
    sorted_scores = scores.ravel()[order]
    last = np.append(sorted_scores[1:] != sorted_scores[:-1], True)
    return Ranked(order // K, targets.ravel()[order] == 1, last)


def resampled(
    scores: NDArray[np.float32], targets: NDArray[np.int64], seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Average precision in each resample of images: over all entries ``[N, K]``, and of each label.

    Returns:
        float64 ``[R]`` and ``[R, K]``.
    """
    N, K = scores.shape
    ranks = [ranked(scores, targets)]
    ranks += [ranked(scores[:, [k]], targets[:, [k]]) for k in range(K)]
    found = [
        [weighted(r.image, r.positive, r.last, some) for r in ranks]
        for some in bootstrap.together(N, seed)
    ]
    every = np.concatenate(found, axis=1).T
    return every[:, 0], every[:, 1:]


@jit()  # type: ignore[untyped-decorator]
def weighted(
    image: NDArray[np.int64],
    positive: NDArray[np.bool_],
    last: NDArray[np.bool_],
    counts: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Average precision where images count several times.

    The sum, over scores from the greatest to the least, of what recall gains by the precision that
    is reached there, ``Σ (R_i - R_{i-1}) P_i``: scikit-learn's definition, without interpolation.

    Args:
        image, positive, last: see `Ranked`.
        counts: how often each image counts, int64 ``[R, N]``.

    Returns:
        float64 ``[R]``, NaN where there is no positive.
    """
    R, E = len(counts), len(image)
    out = np.empty(R, np.float64)
    for r in range(R):
        seen, true, before, total = 0, 0, 0, 0.0
        for e in range(E):
            count = counts[r, image[e]]
            seen += count
            if positive[e]:
                true += count
            if last[e] and true > before:
                total += (true - before) * (true / seen)
                before = true
        out[r] = total / true if true else np.nan
    return out
