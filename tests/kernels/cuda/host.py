"""A device that is the host: kernels compiled by the C++ compiler against `shim.h`."""

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

from fastload_kernels.cuda.launch import MOST_ARGUMENTS, Defines, HasPointer, numbers, source_text

SHIM = Path(__file__).with_name("shim.h")
OPTIONS = (
    *("-O1", "-std=c++17", "-fPIC", "-ffp-contract=off", "-fsanitize=alignment"),
    *("-Wall", "-Werror", "-Wno-unknown-pragmas"),
)
ORDERS = ("forward", "reverse", "random")
"""In which order blocks run, and threads between two barriers; `ShimOrder` in shim.h."""
PROBLEMS = {
    1: "some threads of a block ended while others wait at __syncthreads()",
    2: "a block wrote behind the end of its dynamic shared memory",
    3: "a thread used an address that is not a multiple of its type's alignment",
}


class HostDevice:
    """A `fastload_kernels.cuda.launch.Device` that runs the sources on the CPU, and at once.

    Arguments are arrays in host memory (NumPy, torch) or integers. A test that makes one is skipped
    where there is no C++ compiler.
    """

    def __init__(self, order: str = "forward") -> None:
        """`order` is one of `ORDERS`."""
        self.order = ORDERS.index(order)
        if _compiler() is None:
            pytest.skip("no C++ compiler to run the kernels with", allow_module_level=True)

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
        """See `Device.launch`; raises RuntimeError where a block misbehaves."""
        library = _library(source_text(source), defines)
        values = (ctypes.c_int64 * MOST_ARGUMENTS)(*numbers(args))
        address = ctypes.cast(getattr(library, kernel), ctypes.c_void_p)
        sizes = (ctypes.c_int64(size) for size in (grid, block, shared, self.order))
        if problem := library.shim_launch(address, *sizes, values):
            raise RuntimeError(f"{source}, kernel {kernel}: {PROBLEMS[problem]}")


@cache
def _compiler() -> str | None:
    return shutil.which("g++") or shutil.which("clang++")


@cache
def _library(text: str, defines: Defines) -> ctypes.CDLL:
    """The compiled source; kept between runs in a temporary folder, by its content."""
    compiler = _compiler()
    assert compiler is not None
    options = (*OPTIONS, *(f"-D{name}={value}" for name, value in defines))
    content = repr((compiler, options, SHIM.read_text(), text))
    folder = Path(tempfile.gettempdir()) / f"fastload-kernels-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    library = folder / f"{hashlib.sha256(content.encode()).hexdigest()[:32]}.so"
    if not library.exists():
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            source, compiled, built = (
                Path(scratch) / f"kernel.{end}" for end in ("cpp", "o", "so")
            )
            source.write_text(text)
            _run([compiler, *options, "-include", SHIM, "-c", source, "-o", compiled])
            _run([compiler, "-shared", compiled, "-o", built])
            built.replace(library)
    return ctypes.CDLL(str(library))


def _run(command: list[str | Path]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}\n{done.stderr}")
