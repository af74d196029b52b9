"""Decoded samples that stay on the device between epochs, within a budget of bytes."""

from collections.abc import Mapping

import numpy as np
import torch

from fastload.datasets.layer import Modality

DTYPES = {
    "int16": torch.int16,
    "uint8": torch.uint8,
    "uint16": torch.uint16,
    "float16": torch.float16,
    "float32": torch.float32,
}
"""Pixels that the device reads."""


class DeviceCache:
    """Whole samples, all their timestamps. Who comes first stays: in an epoch each comes once, so
    that throwing out would only make room for what is not asked for again before the next one."""

    def __init__(
        self, budget: int, modalities: Mapping[str, Modality], device: torch.device
    ) -> None:
        """`budget` in bytes; nothing is allocated before the first sample."""
        self._modalities, self._device = modalities, device
        sample = sum(int(np.prod(m.shape)) * m.dtype.itemsize for m in modalities.values())
        self._room = budget // sample
        self.bytes = self._room * sample
        self._slots: dict[int, int] = {}
        self._filled: set[int] = set()
        self._memory: dict[str, torch.Tensor] = {}

    def take(self, sample: int) -> bool:
        """Whether a sample has a place here, which is made while there is room."""
        if sample not in self._slots and len(self._slots) < self._room:
            self._slots[sample] = len(self._slots)
        return sample in self._slots

    def holds(self, sample: int) -> bool:
        """Whether the sample's pixels are here, and sound."""
        return sample in self._filled

    def filled(self, sample: int) -> None:
        """Its pixels are here."""
        self._filled.add(sample)

    def pixels(self, modality: str, sample: int) -> torch.Tensor:
        """The sample's place, ``[T, C, H, W]``."""
        if modality not in self._memory:
            m = self._modalities[modality]
            self._memory[modality] = torch.empty(
                (self._room, *m.shape), dtype=DTYPES[m.dtype.name], device=self._device
            )
        return self._memory[modality][self._slots[sample]]
