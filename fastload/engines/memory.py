"""Batch memory that is used again once nobody holds it.

A fresh batch of many megabytes costs more in page faults than in pixels. So a buffer goes back to
its pool when the last tensor on it dies: torch keeps the NumPy array that a tensor was made from,
and that array's end is what the pool waits for. No consumer can hold a batch too long.
"""

import contextlib
import threading
import weakref
from collections import defaultdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

_ALIGN = 64
_KEPT = 4
"""Times the largest buffer that may be kept in buffers of sizes that are not asked for."""


class Pool:
    """Buffers by size. `list.append` and `list.pop` are atomic, so threads may share a pool."""

    def __init__(self) -> None:
        self._free: defaultdict[int, list[NDArray[np.uint8]]] = defaultdict(list)
        self._largest = 0

    def __reduce__(self) -> tuple[type["Pool"], tuple[()]]:
        """Free memory does not travel to another process."""
        return Pool, ()

    def take(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> "Buffer":
        """A buffer with arbitrary content."""
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        self._largest = max(self._largest, size)
        try:
            memory = self._free[size].pop()
        except IndexError:
            self._trim(size)
            memory = aligned(size)
        return Buffer(memory, shape, dtype, self._free[size])

    @property
    def kept(self) -> int:
        """Bytes that nobody holds."""
        return sum(size * len(buffers) for size, buffers in list(self._free.items()))

    def _trim(self, size: int) -> None:
        """Let go of what is kept of other sizes, beyond a few times the largest: where batches vary
        in size, each would leave its own behind."""
        excess = self.kept - _KEPT * self._largest
        for other, buffers in list(self._free.items()):
            while excess > 0 and other != size and buffers:
                with contextlib.suppress(IndexError):  # another thread was faster
                    buffers.pop()
                excess -= other


class Buffer:
    """Memory of one batch tensor, filled through `array` and handed out by `tensor`."""

    def __init__(
        self,
        memory: NDArray[np.uint8],
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        home: list[NDArray[np.uint8]],
    ) -> None:
        self._memory, self._home = memory, home
        self.array: NDArray[Any] = memory.view(dtype).reshape(shape)

    def tensor(self) -> torch.Tensor:
        """The tensor on this memory; the buffer goes home when its storage dies. Call once."""
        handle = self.array.view()
        weakref.finalize(handle, self._home.append, self._memory).atexit = False
        return torch.from_numpy(handle)


class Pinned:
    """As `Pool`, in page-locked memory, which torch's own allocator keeps and orders by stream."""

    def take(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> "PinnedBuffer":
        """A page-locked buffer with arbitrary content."""
        return PinnedBuffer(shape, dtype)


class PinnedBuffer:
    """See `Buffer`."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        torch_dtype = torch.from_numpy(np.empty(0, dtype)).dtype
        self._tensor = torch.empty(shape, dtype=torch_dtype, pin_memory=True)
        self.array: NDArray[Any] = self._tensor.numpy()

    def tensor(self) -> torch.Tensor:
        """The tensor itself."""
        return self._tensor


class Scratch:
    """Memory of each thread's own, which grows to what it needs."""

    def __init__(self) -> None:
        self._local = threading.local()

    def take(self, name: str, nbytes: int) -> NDArray[np.uint8]:
        """The calling thread's memory of a name, at least so many bytes."""
        held: dict[str, NDArray[np.uint8]] = self._local.__dict__
        if name not in held or len(held[name]) < nbytes:
            held[name] = aligned(nbytes + nbytes // 4)
        return held[name]

    def __reduce__(self) -> tuple[type["Scratch"], tuple[()]]:
        """Memory does not travel to another process."""
        return Scratch, ()


def aligned(size: int) -> NDArray[np.uint8]:
    """Uninitialised bytes that start on a cache line."""
    memory = np.empty(size + _ALIGN, np.uint8)
    start = -memory.ctypes.data % _ALIGN
    return memory[start : start + size]
