"""The devices that the tests run kernels on, and memory there."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from fastload_kernels.cuda.launch import CudaDevice, Device
from tests.kernels.cuda.host import HostDevice


@dataclass(frozen=True)
class Place:
    """A device to launch on, and torch's name for the memory that it sees."""

    device: Device
    memory: str

    def upload(self, array: np.ndarray) -> torch.Tensor:
        """The bytes of an array, as uint8, on the device."""
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        return torch.from_numpy(data.copy()).to(self.memory)

    def download(self, tensor: torch.Tensor, dtype: np.dtype | type) -> np.ndarray:
        """Bytes on the device as an array again."""
        return tensor.cpu().numpy().view(dtype)


def shim(order: str = "forward") -> Place:
    """The host, through `shim.h`; `order` is that of its threads and blocks."""
    return Place(HostDevice(order), "cpu")


def cuda() -> Place:
    """A GPU, on torch's current stream."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    pytest.importorskip("cupy")
    return Place(CudaDevice(torch.cuda.current_stream().cuda_stream), "cuda")


PLACES: dict[str, Callable[[], Place]] = {"shim": shim, "cuda": cuda}
