"""What the views of a loader show of pixels that are no numbers: counted, and said once."""

import threading
import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastload.datasets.base import Dataset

COUNTED = ("nan", "infinite", "no_data")
"""What is counted, as `fastload_kernels.reference.count` defines it."""


class Shown:
    """The counts of a loader on the host, and the warning of any. Safe in threads."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._names = tuple(dataset.modalities)
        self._lock = threading.Lock()
        self._total = np.zeros(len(COUNTED), np.int64)
        self._found: tuple[str, int] | None = None
        self._said = False

    def counts(self) -> NDArray[np.int64]:
        """Zeros ``[M, 3]``, a row a modality, for the counts of a sample."""
        return np.zeros((len(self._names), len(COUNTED)), np.int64)

    def add(self, counts: NDArray[np.int64], sample: int) -> None:
        """Add the counts ``[M, 3]`` of a sample."""
        if not counts.any():
            return
        with self._lock:
            self._total += counts.sum(axis=0)
        for name, row in zip(self._names, counts, strict=True):
            if row[:2].any():
                self.find(name, sample)

    def watches(self, name: str) -> bool:
        """Whether a modality that shows NaN or infinity is still worth a word."""
        floating = self._dataset.modalities[name].dtype.kind == "f"
        unfilled = self._dataset.scalings[name].fill is None
        return floating and unfilled and self._found is None

    def find(self, name: str, sample: int) -> None:
        """A sample shows NaN or infinity in a modality."""
        if self.watches(name):
            self._found = name, sample

    def say(self) -> None:
        """Warn of the first sample that was found, once; in the consumer's thread."""
        if self._found is None or self._said:
            return
        self._said = True
        name, sample = self._found
        key = self._dataset.describe(np.array([sample]), None)["key"][0]
        warnings.warn(
            f"{name} of sample {key} shows pixels that are NaN or infinite, and NaN spreads; "
            f"Radiometry's fill= gives them a value, DataLoader.stats()['pixels'] counts them",
            stacklevel=5,
        )

    def summary(self, more: Sequence[int] = (0, 0, 0)) -> dict[str, int]:
        """All counts by name, with `more` that were counted elsewhere."""
        with self._lock:
            total = self._total + np.asarray(more)
        return dict(zip(COUNTED, total.tolist(), strict=True))
