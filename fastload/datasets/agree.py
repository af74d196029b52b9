"""Whether modalities saw a sample on the same dates, and putting their timestamps side by side."""

import warnings
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fastload.storage.dates import NO_TIME

DAY = 86_400_000_000_000
MOST_APART_D = 45
"""Days that dates under one index may be apart without a word. Published pairs of S1 and S2 are
less than three weeks apart; timestamps of two seasons, three months or more."""
_AT_ONCE = 2**14
"""Samples that are looked at together."""

Times = NDArray[np.int64]


def nearest(first: Times, other: Times) -> NDArray[np.int8]:
    """The timestamp of `other` that belongs to each one of `first`: a permutation a sample, whose
    gaps add up to the least.

    On a line that is the pairing of both in ascending order. A sample with an unknown date keeps
    its order.

    Args:
        first, other: dates ``[N, T]``.

    Returns:
        int8 ``[N, T]``.
    """
    known = ((first != NO_TIME) & (other != NO_TIME)).all(axis=1)
    T = first.shape[1]
    order = np.tile(np.arange(T, dtype=np.int8), (len(first), 1))
    ranks = np.argsort(first[known], axis=1, kind="stable")
    sorted_other = np.argsort(other[known], axis=1, kind="stable").astype(np.int8)
    paired = np.empty_like(sorted_other)
    np.put_along_axis(paired, ranks, sorted_other, axis=1)
    order[known] = paired
    return order


def gaps(first: Times, other: Times) -> NDArray[np.int64]:
    """The largest gap of each sample ``[N]``, in whole days; 0 where no two dates are known."""
    out = np.zeros(len(first), np.int64)
    for at in range(0, len(first), _AT_ONCE):
        a, b = first[at : at + _AT_ONCE], other[at : at + _AT_ONCE]
        known = (a != NO_TIME) & (b != NO_TIME)
        out[at : at + _AT_ONCE] = np.where(known, np.abs(a - b) // DAY, 0).max(axis=1, initial=0)
    return out


def report(times: Mapping[str, Times], aligned: bool) -> None:
    """Warn once of modalities whose dates are far from the first one's under the same index.

    Args:
        times: dates ``[N, T]`` of the joined samples by modality; those with another number of
            timestamps than the first are not compared.
        aligned: whether they are side by side already.
    """
    name, *others = times
    first, said = times[name], []
    for other in others:
        if times[other].shape != first.shape:
            continue
        found = gaps(first, times[other])
        many = int(np.count_nonzero(found > MOST_APART_D))
        if many:
            said.append(f"{other} in {many} of {len(first)} samples, by up to {found.max()} days")
    if said:
        advice = (
            "" if aligned else "; align='nearest' puts the timestamps that belong together "
            "side by side"
        )  # fmt: skip
        warnings.warn(
            f"the dates under one index are more than {MOST_APART_D} days from those of {name}: "
            f"{', '.join(said)}{advice}",
            stacklevel=3,
        )
