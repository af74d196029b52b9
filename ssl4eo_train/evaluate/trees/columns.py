"""Columns of samples of which nothing but a name is known, and labels for them."""

from collections.abc import Sequence
from copy import copy
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

import fastload
from fastload.datasets.source import Columns
from fastload.storage.dates import NO_TIME

D = TypeVar("D", bound=fastload.Dataset)
TOGETHER = 256
"""Samples that lie together on disk, where samples follow each other in a file."""


def nowhere(keys: Sequence[str], together: int = 1) -> Columns:
    """Columns of N samples without place or date.

    Args:
        keys: each once.
        together: samples that lie together on disk, see `Columns.group`.
    """
    N = len(keys)
    time = np.full((N, 1), NO_TIME, np.int64)
    cloud = np.full((N, 1), np.nan, np.float32)
    unknown, group = np.full(N, np.nan), np.arange(N, dtype=np.uint32) // together
    encoded = np.array([key.encode() for key in keys], np.bytes_)
    return Columns(encoded, unknown, unknown.copy(), time, cloud, group.astype(np.uint32))


def labelled(dataset: D, labels: NDArray[np.int64]) -> D:
    """The same samples with labels ``[N]``, or ``[N, K]`` of several, as the column ``label``."""
    other = copy(dataset)
    column = labels if labels.ndim == 1 else labels[:, None]
    other.extras = {**dataset.extras, "label": column}
    return other
