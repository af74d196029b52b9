"""Where device work is enqueued: a stream beside the consumer's, or, on the host, plain order."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fastload.engines.memory import Pinned, Pool
from fastload.engines.staging import Buffer
from fastload_kernels.cuda.launch import CudaDevice, Device

_PRIORITY = -1
"""Of the stream: above the consumer's, so that small launches are not stuck behind a step."""


class DeviceQueue:
    """One in-order queue of copies and kernels, with the memory that they use.

    On a GPU it is a CUDA stream of its own. Device memory comes from torch's allocator inside the
    stream, so it may be freed as soon as nothing else is enqueued that needs it. On the host (which
    the tests use) everything runs at once, and an event is nothing.
    """

    def __init__(self, device: torch.device, runner: Device | None = None) -> None:
        """`runner` launches the kernels; the queue's GPU by default."""
        self.device = device
        self.is_device = device.type == "cuda"
        self.stream: torch.cuda.Stream | None = None
        self.memory: Pool | Pinned = Pool()
        if self.is_device:
            self.stream = torch.cuda.Stream(device, priority=_PRIORITY)  # type: ignore[no-untyped-call]
            self.memory = Pinned()
        self.runner: Device = CudaDevice(self.handle) if runner is None else runner
        self._lock = threading.RLock()
        self._scratch: torch.Tensor | None = None

    @property
    def handle(self) -> int:
        """The stream's handle; 0 on the host."""
        return 0 if self.stream is None else int(self.stream.cuda_stream)

    @contextmanager
    def work(self) -> Iterator[None]:
        """Within this context, what is enqueued by torch or a kernel goes to this queue, and
        nothing that another thread enqueues comes between."""
        with self._lock:
            if self.stream is None:
                yield
                return
            with torch.cuda.device(self.device), torch.cuda.stream(self.stream):
                yield

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """Device memory with arbitrary content."""
        return torch.empty(tuple(shape), dtype=dtype, device=self.device)

    def scratch(self, nbytes: int) -> torch.Tensor:
        """Device memory that every batch uses in turn; it grows to what the largest one needs."""
        if self._scratch is None or self._scratch.numel() < nbytes:
            self._scratch = None  # first, so that the allocator can use it again
            self._scratch = self.empty((max(16, nbytes),), torch.uint8)
        return self._scratch

    def upload(self, data: NDArray[np.uint8]) -> torch.Tensor:
        """A copy of bytes on the device.

        Torch gives the page-locked memory that it passes through to nobody else before the copy
        has run.
        """
        staged = self.memory.take(data.shape, data.dtype)
        staged.array[...] = data
        return staged.tensor().to(self.device, non_blocking=True)

    def copy(self, buffer: Buffer, nbytes: int) -> torch.Tensor:
        """The first bytes of a staging buffer on the device."""
        moved = self.empty((max(1, nbytes),), torch.uint8)
        source = torch.from_numpy(buffer.array) if buffer.tensor is None else buffer.tensor
        moved[:nbytes].copy_(source[:nbytes], non_blocking=True)
        return moved

    def mark(self) -> "torch.cuda.Event | None":
        """An event after all that is enqueued now."""
        if self.stream is None:
            return None
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(self.stream)
        return event

    def wait(self) -> None:
        """Until nothing that is enqueued now is left. The CPU waits."""
        if self.stream is not None:
            self.stream.synchronize()

    def hand_over(self, tensors: Sequence[torch.Tensor], mark: Any) -> None:
        """Let the consumer's stream wait for `mark`, and keep the tensors' memory until it is done.

        The CPU does not wait.
        """
        if mark is None:
            return
        current = torch.cuda.current_stream(self.device)
        current.wait_event(mark)
        for tensor in tensors:
            tensor.record_stream(current)
