"""Splits that a distributor does not ship, as a function of the samples' keys alone."""

import hashlib

import numpy as np
from numpy.typing import NDArray

import fastload
from fastload.datasets.entries import texts


def shares(dataset: fastload.Dataset, share: float, salt: str) -> NDArray[np.bool_]:
    """Which samples belong to a share, bool ``[N]``: those whose keys' digests are lowest.

    Args:
        dataset: of N samples.
        share: of them, in (0, 1); at least one sample, and never all.
        salt: another one gives another choice.
    """
    digests = [_digest(f"{salt}/{key}") for key in texts(dataset._keys)]
    N = len(digests)
    count = min(max(1, round(share * N)), N - 1)
    chosen = np.zeros(N, np.bool_)
    chosen[np.argsort(np.array(digests, np.uint64), kind="stable")[:count]] = True
    return chosen


def hold_out(
    dataset: fastload.Dataset, share: float, salt: str = "validation"
) -> tuple[fastload.Dataset, fastload.Dataset]:
    """The dataset without a share of it, and that share, see `shares`."""
    chosen = shares(dataset, share, salt)
    return dataset.subset(~chosen), dataset.subset(chosen)


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
