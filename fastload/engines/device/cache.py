"""Decoded samples that stay on the device between epochs, within a budget of bytes."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from fastload.datasets.source import Modality
from fastload.dtypes import TORCH


class DeviceCache:
    """Whole samples, all their timestamps. Who comes first stays: in an epoch each comes once, so
    that throwing out would only make room for what is not asked for again before the next one."""

    def __init__(
        self, budget: int, modalities: Mapping[str, Modality], samples: int, device: torch.device
    ) -> None:
        """`budget` in bytes; nothing is allocated before the first of so many samples."""
        self._modalities, self._device = modalities, device
        sample = sum(m.timestamps * m.plane_bytes for m in modalities.values())
        self._room = budget // sample
        self.bytes = self._room * sample
        self._place = np.full(samples if self._room else 0, -1, np.int32)
        self._filled = np.zeros(len(self._place), bool)
        self._taken = 0
        self._memory: dict[str, torch.Tensor] = {}

    def take(self, samples: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of some samples ``[B]`` have a place here, which is made while there is room."""
        if not self._room:
            return np.zeros(len(samples), bool)
        if self._taken < self._room:
            new = samples[self._place[samples] < 0]
            _, first = np.unique(new, return_index=True)
            new = new[np.sort(first)][: self._room - self._taken]
            self._place[new] = self._taken + np.arange(len(new), dtype=np.int32)
            self._taken += len(new)
        return np.asarray(self._place[samples] >= 0)

    def holds(self, samples: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether the pixels of samples ``[B]`` are here, and sound."""
        return self._filled[samples] if self._room else np.zeros(len(samples), bool)

    def filled(self, samples: NDArray[np.int64]) -> None:
        """Their pixels are here."""
        if self._room:
            self._filled[samples] = True

    def places(self, modality: str, samples: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Addresses ``[B, T]`` of the planes of samples ``[B]`` that have a place."""
        m = self._modalities[modality]
        if modality not in self._memory:
            self._memory[modality] = torch.empty(
                (self._room, *m.shape), dtype=TORCH[m.dtype.name], device=self._device
            )
        first = np.uint64(self._memory[modality].data_ptr())
        plane = self._place[samples][:, None] * m.timestamps + np.arange(m.timestamps)
        return np.asarray(first + plane.astype(np.uint64) * np.uint64(m.plane_bytes))

    def plane(self, modality: str, sample: int, timestamp: int) -> torch.Tensor:
        """A sample's plane ``[C, H, W]``, after `places`."""
        return self._memory[modality][int(self._place[sample]), timestamp]
