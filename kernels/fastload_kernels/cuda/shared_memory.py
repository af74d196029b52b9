"""Shared memory: what a device has of it, and letting kernels ask for all of it."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

STATIC = 64
"""Bytes that a kernel declares itself, at most."""
_RESERVED = 1024  # that CUDA takes for each block a multiprocessor runs
_UNIT = 128  # blocks get multiples of it


@dataclass(frozen=True)
class SharedMemory:
    """Bytes of shared memory that a device has: 99 and 100 KiB with compute capability 8.6, 8.9 and
    12.0, 163 and 164 KiB with 8.0, 227 and 228 KiB with 9.0 and 10.0."""

    per_block: int
    """Most that a block may ask for: CUDA's `sharedMemPerBlockOptin`."""
    per_multiprocessor: int
    """Of all blocks that a multiprocessor runs at a time: `sharedMemPerMultiprocessor`."""

    @classmethod
    def of(cls, device: int) -> "SharedMemory":
        """What a GPU has, by the number that CUDA gives it in this process (torch's index)."""
        from cupy.cuda import runtime

        return cls(
            runtime.deviceGetAttribute(runtime.cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
            runtime.deviceGetAttribute(runtime.cudaDevAttrMaxSharedMemoryPerMultiprocessor, device),
        )

    @property
    def dynamic(self) -> int:
        """Bytes of dynamic shared memory that a block may have beside its static ones."""
        return self.per_block - STATIC

    def blocks(self, dynamic: int) -> int:
        """How many blocks with so many bytes of dynamic shared memory a multiprocessor runs at a
        time, as far as this memory goes; 0 where not even one fits."""
        if dynamic > self.dynamic:
            return 0
        taken = -(-(dynamic + STATIC) // _UNIT) * _UNIT + _RESERVED
        return self.per_multiprocessor // taken


SMALLEST = SharedMemory(99 << 10, 100 << 10)
"""What every supported device has at least."""


class Function(Protocol):
    """A kernel, as `cupy.RawKernel`: both numbers are those of the current device."""

    max_dynamic_shared_size_bytes: int
    """The limit of dynamic shared memory, 48 KiB with the static one until it is set."""

    @property
    def shared_size_bytes(self) -> int:
        """Bytes of static shared memory."""


class Limits:
    """Raises each kernel's limit of dynamic shared memory to what its device gives a block.

    The limit belongs to the function, not to a launch. If each launch set what it needs itself, one
    thread could lower the limit between another thread's setting and its launch, which then fails.
    """

    def __init__(self, per_block: Callable[[int], int]) -> None:
        """`per_block` says how many bytes a block may ask for, static ones too, on a device."""
        self._per_block = per_block
        self._lock = threading.Lock()
        self._raised: set[tuple[Function, int]] = set()

    def lift(self, function: Function, device: int) -> None:
        """Raise the limit of a function on a device, which is current; once, whoever calls."""
        with self._lock:
            if (function, device) in self._raised:
                return
            static = function.shared_size_bytes
            function.max_dynamic_shared_size_bytes = self._per_block(device) - static
            self._raised.add((function, device))
