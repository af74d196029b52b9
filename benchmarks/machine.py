"""What a figure was measured on."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fastload.processors import processors

LIBRARIES = (
    "torch",
    "torchvision",
    "numpy",
    "numba",
    "numcodecs",
    "zarr",
    "webdataset",
    "albumentations",
    "opencv-python-headless",
    "kornia",
    "nvidia-dali-cuda130",
    "nvidia-dali-cuda120",
)
REPOSITORY = Path(__file__).parents[1]


def describe() -> dict[str, object]:
    """CPU, cores, memory, load, system, libraries and the commit, as plain values."""
    return {
        "cpu": cpu_name(),
        "cores": processors(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_before": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
        "libraries": {name: v for name in LIBRARIES if (v := _version(name))},
        "commit": commit(),
    }


def cpu_name() -> str:
    """The processor's name as the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def commit() -> str:
    """The commit of the working tree, with `-dirty` where files differ from it."""
    try:
        return subprocess.run(
            ["git", "describe", "--always", "--dirty", "--exclude", "*"],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown (no git repository)"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
