"""Where device work is enqueued: a stream beside the consumer's, or, on the host, plain order."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from fastload_kernels.cuda.launch import CudaDevice, Device
from numpy.typing import NDArray

from fastload.engines.memory import Pinned, Pool


class Lane:
    """One in-order queue of copies and kernels, with the memory that they use.

    On a GPU it is a CUDA stream of its own. Device memory comes from torch's allocator inside the
    stream, so it may be freed as soon as nothing else is enqueued that needs it. On the host (which
    the tests use) everything runs at once, and an event is nothing.
    """

    def __init__(self, device: torch.device, runner: Device | None = None) -> None:
        """`runner` launches the kernels; the lane's GPU by default."""
        self.device = device
        self.stream: torch.cuda.Stream | None = None
        self.memory: Pool | Pinned = Pool()
        if device.type == "cuda":
            self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self.memory = Pinned()
        self.runner: Device = CudaDevice(self.handle) if runner is None else runner

    @property
    def handle(self) -> int:
        """The stream's handle; 0 on the host."""
        return 0 if self.stream is None else int(self.stream.cuda_stream)

    @contextmanager
    def work(self) -> Iterator[None]:
        """Within this context, what is enqueued by torch or a kernel goes to this lane."""
        if self.stream is None:
            yield
            return
        with torch.cuda.device(self.device), torch.cuda.stream(self.stream):
            yield

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """Device memory with arbitrary content."""
        return torch.empty(tuple(shape), dtype=dtype, device=self.device)

    def upload(self, data: NDArray[np.uint8]) -> torch.Tensor:
        """A copy of bytes on the device.

        Torch gives the page-locked memory that it passes through to nobody else before the copy
        has run.
        """
        staged = self.memory.take(data.shape, data.dtype)
        staged.array[...] = data
        return staged.tensor().to(self.device, non_blocking=True)

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
