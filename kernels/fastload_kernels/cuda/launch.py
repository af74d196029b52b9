"""Launching kernels: the sources, and the devices that run them.

A kernel takes at most 16 arguments, pointers and 64-bit integers only, so that one generic call
serves the GPU and the host. Structures travel by address, as NumPy records of the same layout.
"""

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fastload_kernels.cuda.shared_memory import Limits, SharedMemory

Defines = tuple[tuple[str, str], ...]

OPTIONS = ("--std=c++17", "--fmad=false")
"""Options of NVRTC for every source. Products and sums are fused only where the source says `fmaf`,
so that the bits do not depend on what a compiler likes to fuse."""

MOST_ARGUMENTS = 16
_FOLDER = Path(__file__).parent
_limits = Limits(lambda device: SharedMemory.of(device).per_block)


class Tensor(Protocol):
    """What holds memory the way torch does."""

    def data_ptr(self) -> int:
        """Address of the first element."""


class CudaArray(Protocol):
    """What holds device memory the way CuPy and Numba do."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """See Numba's documentation of the CUDA array interface."""


HasPointer = NDArray[Any] | Tensor | CudaArray


class Device(Protocol):
    """Runs kernels somewhere: on a GPU, or, in the tests, on the host."""

    def launch(
        self,
        source: str,
        kernel: str,
        grid: int,
        block: int,
        args: Sequence[int | HasPointer],
        *,
        defines: Defines = (),
        shared: int = 0,
    ) -> None:
        """Enqueue a kernel; it may not have run when this returns.

        Args:
            source: name of a file in this folder, such as ``"view.cu"``.
            kernel: name of the function in it.
            grid, block: number of blocks, and of threads in each. Without blocks nothing is done.
            args: addresses and 64-bit integers, in the kernel's order. What they point to must live
                until the kernel has run.
            defines: macros, name and value.
            shared: bytes of dynamic shared memory, at most `SharedMemory.dynamic`.
        """


class CudaDevice:
    """The GPU that is current in CuPy. Launches are asynchronous; nothing is allocated.

    A kernel is compiled the first time it runs (seconds; CuPy keeps the result on disk), then kept.
    """

    def __init__(self, stream: int | None = None) -> None:
        """`stream` is a CUDA stream's handle; without it, CuPy's current stream is used."""
        self.stream = stream

    def launch(
        self,
        source: str,
        kernel: str,
        grid: int,
        block: int,
        args: Sequence[int | HasPointer],
        *,
        defines: Defines = (),
        shared: int = 0,
    ) -> None:
        """See `Device.launch`."""
        import cupy

        if grid == 0:
            return
        function = _function(source, kernel, defines)
        values = tuple(np.int64(number) for number in numbers(args))
        if shared:
            _limits.lift(function, cupy.cuda.runtime.getDevice())
        if self.stream is None:
            function((grid,), (block,), values, shared_mem=shared)
            return
        with cupy.cuda.Stream.from_external(_Foreign(self.stream)):
            function((grid,), (block,), values, shared_mem=shared)


class _Foreign(NamedTuple):
    """A stream that is not CuPy's, by CUDA's stream protocol."""

    handle: int

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.handle


@cache
def _function(source: str, kernel: str, defines: Defines) -> Any:
    """The compiled kernel, a `cupy.RawKernel`, which itself keeps one binary a GPU."""
    import cupy

    options = OPTIONS + tuple(f"-D{name}={value}" for name, value in defines)
    return cupy.RawModule(code=source_text(source), options=options).get_function(kernel)


def numbers(args: Sequence[int | HasPointer]) -> list[int]:
    """Arguments as signed 64-bit integers; larger unsigned ones keep their bits."""
    if len(args) > MOST_ARGUMENTS:
        raise ValueError(f"a kernel takes at most {MOST_ARGUMENTS} arguments, got {len(args)}")
    return [(pointer(arg) + 2**63) % 2**64 - 2**63 for arg in args]


def pointer(x: int | HasPointer) -> int:
    """Address of an array's memory (NumPy, torch, CuPy, or the interface that it has); an integer
    is passed on."""
    if isinstance(x, int | np.integer):
        return int(x)
    if isinstance(x, np.ndarray):
        return int(x.ctypes.data)
    if hasattr(x, "data_ptr"):
        return x.data_ptr()
    return int(x.__cuda_array_interface__["data"][0])


@cache
def source_text(name: str) -> str:
    """A source of this folder with its includes pasted in, each once; for compilers without a
    file system."""
    return _pasted(name, set())


def _pasted(name: str, seen: set[str]) -> str:
    def paste(match: re.Match[str]) -> str:
        if match[1] in seen:
            return ""
        seen.add(match[1])
        return _pasted(match[1], seen)

    return re.sub(r'^#include "(.+)"$', paste, (_FOLDER / name).read_text(), flags=re.MULTILINE)
