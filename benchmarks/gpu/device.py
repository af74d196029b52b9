"""The machine with its GPU, as plain values."""

import subprocess
from importlib.metadata import PackageNotFoundError, version

import torch

from benchmarks import machine

LIBRARIES = ("cupy-cuda13x", "cupy-cuda12x", "nvidia-libnvcomp-cu13", "nvidia-libnvcomp-cu12",
             "numba-cuda", "isal", "timm", "triton", "pytest")  # fmt: skip


def describe() -> dict[str, object]:
    """What `benchmarks.machine.describe` tells, and the GPU, its driver and more libraries."""
    found = machine.describe()
    p = torch.cuda.get_device_properties(0)
    more = {name: v for name in LIBRARIES if (v := _version(name)) is not None}
    known = found["libraries"]
    assert isinstance(known, dict)
    return found | {
        "libraries": {**known, **more},
        "gpu": p.name,
        "gpu_architecture": f"sm_{p.major}{p.minor}",
        "gpu_memory_gib": round(p.total_memory / 2**30, 1),
        "gpu_multiprocessors": p.multi_processor_count,
        "driver": driver(),
        "cuda": torch.version.cuda,
    }


def driver() -> str:
    """The driver's version, as nvidia-smi tells it."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return "unknown (nvidia-smi did not tell)"
    return done.stdout.splitlines()[0].strip()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
